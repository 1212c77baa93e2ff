//! A sync is answered when a quorum has shown that it still follows: a leader that stood still, or is cut off, may have
//! been replaced without knowing, and would show its clients a past that others have left behind. Java's leader answers
//! at once.
//!
//! Whoever follows answers a PING. A round is one PING to every voter in service; the syncs that come during a round wait
//! for the next, so that there is one at a time, however many syncs there are. A transaction that was proposed behind a
//! sync and that a quorum has logged shows as much; and a learner, Java's above all, gets the answer before the commit.

use crate::event::{Effect, LinkId};
use crate::front::Request;
use crate::membership::Membership;
use crate::zab::links::{Links, Stage};
use std::collections::BTreeMap;
use wire::zk::quorum::{QuorumPacket, packet};
use wire::zk::{Sid, Zxid};

#[derive(Debug, Default)]
pub struct Confirmations {
    round: Option<Round>,
    /// Those that wait for the next round, each with the last proposal before it.
    waiting: Vec<(Zxid, Request)>,
}

#[derive(Debug)]
struct Round {
    /// How many PINGs each link has to have answered.
    due: BTreeMap<LinkId, u64>,
    syncs: Vec<(Zxid, Request)>,
}

impl Confirmations {
    /// A sync whose place in the order has come: behind the proposal `last`, which is committed.
    pub fn wait(&mut self, last: Zxid, request: Request) {
        self.waiting.push((last, request));
    }

    /// A quorum has logged `zxid`: what is to be answered before its commit, in order.
    pub fn proven(&mut self, zxid: Zxid) -> Vec<Request> {
        let round = self.round.as_mut().map(|round| &mut round.syncs);
        let syncs = round.into_iter().chain([&mut self.waiting]);
        syncs.flat_map(|syncs| syncs.extract_if(.., |(last, _)| *last < zxid)).map(|(_, sync)| sync).collect()
    }

    /// PINGs have left to every link: whoever came into service since the round began takes part in it.
    pub fn pinged(&mut self, links: &Links) {
        if let Some(round) = &mut self.round {
            for (id, link) in links.iter().filter(|(_, link)| link.stage == Stage::Active) {
                round.due.entry(*id).or_insert(link.pings);
            }
        }
    }

    /// Begins a round where syncs wait and none is under way. What is to be answered now, in order.
    pub fn advance(
        &mut self,
        me: Sid,
        members: &Membership,
        links: &mut Links,
        last_proposed: Zxid,
        out: &mut Vec<Effect>,
    ) -> Vec<Request> {
        let mut confirmed = vec![];
        loop {
            if let Some(round) = &self.round {
                let follows = |(id, due): (&LinkId, &u64)| {
                    links.get(id).filter(|link| link.pongs >= *due).map(|link| link.sid)
                };
                if !members.is_quorum(round.due.iter().filter_map(follows).chain([me])) {
                    return confirmed;
                }
            }
            let syncs = self.round.take().into_iter().flat_map(|round| round.syncs);
            confirmed.extend(syncs.map(|(_, sync)| sync));
            if self.waiting.is_empty() {
                return confirmed;
            }
            let mut due = BTreeMap::new();
            let asked = links.iter_mut().filter(|(_, link)| link.stage == Stage::Active);
            for (id, link) in asked.filter(|(_, link)| members.is_voter(link.sid)) {
                link.pings += 1;
                due.insert(*id, link.pings);
                let packet = QuorumPacket::new(packet::PING, last_proposed, None);
                out.push(Effect::SendPacket { link: *id, packet });
            }
            self.round = Some(Round { due, syncs: std::mem::take(&mut self.waiting) });
        }
    }
}
