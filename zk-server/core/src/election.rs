//! Fast leader election: who leads, decided by votes on the election port alone.
//!
//! Every voter proposes itself, adopts whatever is better, and decides when a quorum agrees on one proposal of one
//! round and nothing better turns up for a moment. A settled server answers whoever is still looking. Better is:
//! higher epoch, then longer history, then higher id. Behaviour as of ZooKeeper 3.9.3, except that nobody waits for
//! something better once every voter agrees, that a server which settles tells those whom it kept waiting, that servers
//! without a vote do not answer answers, and for two things while other members are proposed: their voters' rounds
//! count, and a settled quorum of the members that count is joined.

use crate::event::{Effect, LogLevel, Now};
use crate::membership::{Membership, observes};
use std::collections::{BTreeMap, BTreeSet};
use wire::zk::quorum::{Notification, PeerState};
use wire::zk::{Sid, Zxid};

/// How long a quorum waits for something better, ms.
const FINALIZE_MS: u64 = 200;
/// Pause before an unanswered vote is sent again, ms: the first one, doubling up to the last.
const RESEND_MS_MIN: u64 = 200;
const RESEND_MS_MAX: u64 = 60_000;
/// What a server without a vote says of itself.
const NO_VOTE: i64 = i64::MIN;

/// A proposal: this server, because its history is this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    pub leader: Sid,
    pub zxid: Zxid,
    pub round: i64,
    pub peer_epoch: i64,
}

/// What a server said last: its vote, and what it was when it said so.
#[derive(Debug, Clone, Copy)]
struct Heard {
    vote: Vote,
    state: PeerState,
}

impl Heard {
    /// Settled servers agree by leader and epoch: their rounds and zxids may differ, having joined at different times.
    fn agrees_with(&self, other: &Heard) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            self.vote == other.vote
        } else {
            self.vote.leader == other.vote.leader && self.vote.peer_epoch == other.vote.peer_epoch
        }
    }
}

/// One server's side of the election, between elections too.
#[derive(Debug)]
pub struct Election {
    me: Sid,
    state: PeerState,
    round: i64,
    /// The candidate while looking; the outcome afterwards.
    vote: Vote,
    /// What this server would vote for alone.
    own: Vote,
    /// The votes of this round.
    votes: BTreeMap<Sid, Heard>,
    /// What settled servers said, of whatever round.
    settled: BTreeMap<Sid, Heard>,
    /// Looking servers that have not been told the outcome.
    waiting: BTreeSet<Sid>,
    resend_ms: u64,
    resend_at: u64,
    decide_at: Option<u64>,
}

impl Election {
    pub fn new(me: Sid) -> Election {
        let none = Vote { leader: NO_VOTE, zxid: NO_VOTE, round: 0, peer_epoch: NO_VOTE };
        Election {
            me,
            state: PeerState::Looking,
            round: 0,
            vote: none,
            own: none,
            votes: BTreeMap::new(),
            settled: BTreeMap::new(),
            waiting: BTreeSet::new(),
            resend_ms: RESEND_MS_MIN,
            resend_at: 0,
            decide_at: None,
        }
    }

    /// A new round with this server's own history. Returns the outcome where it needs nobody else.
    pub fn start(
        &mut self,
        zxid: Zxid,
        current_epoch: i64,
        members: &Membership,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Sid> {
        self.round += 1;
        self.state = PeerState::Looking;
        self.own = Vote { leader: NO_VOTE, zxid: NO_VOTE, round: self.round, peer_epoch: NO_VOTE };
        if members.committed().is_voter(self.me) {
            self.own = Vote { leader: self.me, zxid, round: self.round, peer_epoch: current_epoch };
        }
        self.vote = self.own;
        self.votes.clear();
        self.settled.clear();
        self.waiting.clear();
        self.decide_at = None;
        self.resend_ms = RESEND_MS_MIN;
        self.resend_at = now.mono + self.resend_ms;
        let line = format!("New election. My id = {}, proposed zxid=0x{:x}", self.me, self.vote.zxid);
        out.push(Effect::Log { level: LogLevel::Info, line });
        self.broadcast(members, out);
        self.count(members, now)
    }

    /// The outcome without an election: a change of the members has named the leader.
    pub fn appoint(&mut self, leader: Sid, zxid: Zxid, epoch: i64, members: &Membership) {
        self.vote = Vote { leader, zxid, round: self.round, peer_epoch: epoch };
        self.state = self.state_under(leader, members);
        self.decide_at = None;
    }

    /// Settled votes name the new epoch once its leader is active.
    pub fn established(&mut self, epoch: i64) {
        self.vote.peer_epoch = epoch;
    }

    pub fn deadline(&self) -> Option<u64> {
        (self.state == PeerState::Looking)
            .then(|| self.decide_at.map_or(self.resend_at, |at| at.min(self.resend_at)))
    }

    /// Decides, or sends the vote again. Returns the leader once there is one.
    pub fn tick(&mut self, members: &Membership, now: Now, out: &mut Vec<Effect>) -> Option<Sid> {
        if self.state != PeerState::Looking {
            return None;
        }
        if self.decide_at.is_some_and(|at| at <= now.mono) {
            return Some(self.settle(self.vote, members, out));
        }
        if self.resend_at <= now.mono {
            self.resend_ms = (self.resend_ms * 2).min(RESEND_MS_MAX);
            self.resend_at = now.mono + self.resend_ms;
            let line = format!("Notification time out: {} ms", self.resend_ms);
            out.push(Effect::Log { level: LogLevel::Info, line });
            self.broadcast(members, out);
        }
        None
    }

    /// What is enough to decide has changed. Returns the leader once there is one.
    pub fn recount(&mut self, members: &Membership, now: Now, out: &mut Vec<Effect>) -> Option<Sid> {
        if self.state != PeerState::Looking {
            return None;
        }
        let leader = self.count(members, now)?;
        self.tell_waiting(members, out);
        Some(leader)
    }

    /// Takes a vote in. Returns the leader once there is one.
    pub fn on_vote(
        &mut self,
        from: Sid,
        said: &Notification,
        members: &Membership,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Sid> {
        out.push(Effect::Log { level: LogLevel::Info, line: self.describe(from, said) });
        if !members.is_voter(from) {
            // Two that have no vote in each other's eyes would answer each other's answers for ever.
            let asks = said.state == PeerState::Looking;
            if asks && (self.state != PeerState::Looking || members.is_voter(self.me)) {
                self.answer(from, members, out);
            } else if asks && members.is_member(from) {
                self.waiting.insert(from);
            }
            return None;
        }
        let vote =
            Vote { leader: said.leader, zxid: said.zxid, round: said.round, peer_epoch: said.peer_epoch };
        if self.state != PeerState::Looking {
            if said.state == PeerState::Looking {
                self.answer(from, members, out);
            }
            return None;
        }
        match said.state {
            PeerState::Looking => self.on_looking(from, vote, members, now, out),
            PeerState::Following | PeerState::Leading if members.is_voter(vote.leader) => {
                self.on_settled(from, Heard { vote, state: said.state }, members, out)
            }
            _ => None,
        }
    }

    fn on_looking(
        &mut self,
        from: Sid,
        vote: Vote,
        members: &Membership,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Sid> {
        if vote.round < self.round {
            // Whoever has no vote is answered by each voter, and would answer that for ever.
            if members.is_voter(self.me) {
                self.answer(from, members, out);
            }
            return None;
        }
        // -1: a server whose emptiness is not trusted. It neither counts nor is counted.
        if vote.zxid == -1 || self.own.zxid == -1 {
            return None;
        }
        if !members.is_voter(vote.leader) {
            // A voter of the proposed members only names nobody, but agrees to nothing of an older round.
            if vote.round > self.round && self.decide_at.is_none() {
                self.enter_round(vote.round);
                self.vote = self.own;
                self.broadcast(members, out);
            }
            return None;
        }
        if self.decide_at.is_some() && !is_better(&vote, &self.vote, members) && vote != self.vote {
            self.waiting.insert(from);
            return None;
        }
        if vote.round > self.round {
            self.enter_round(vote.round);
            self.vote = if is_better(&vote, &self.own, members) { vote } else { self.own };
            self.broadcast(members, out);
        } else if is_better(&vote, &self.vote, members) {
            self.vote = vote;
            self.broadcast(members, out);
        }
        self.waiting.insert(from);
        self.votes.insert(from, Heard { vote, state: PeerState::Looking });
        let leader = self.count(members, now)?;
        self.tell_waiting(members, out);
        Some(leader)
    }

    fn enter_round(&mut self, round: i64) {
        self.round = round;
        self.own.round = round;
        self.votes.clear();
    }

    /// A quorum that is settled already is joined, if its leader itself says that it leads. One of the members that
    /// count is enough: it may have settled without a change that was proposed to this server and came to nothing,
    /// and whether the leader has to ask others as well is between it and them.
    fn on_settled(
        &mut self,
        from: Sid,
        heard: Heard,
        members: &Membership,
        out: &mut Vec<Effect>,
    ) -> Option<Sid> {
        let leader = heard.vote.leader;
        let agreed = |among: &BTreeMap<Sid, Heard>| members.is_committed_quorum(agreeing(among, &heard));
        if heard.vote.round == self.round {
            self.votes.insert(from, heard);
            if agreed(&self.votes) && self.leads(&self.votes, heard.vote) {
                return Some(self.settle(heard.vote, members, out));
            }
        }
        self.settled.insert(from, heard);
        let lone = heard.state == PeerState::Leading && leader == from && members.follows_lone_leader();
        if lone || agreed(&self.settled) && self.leads(&self.settled, heard.vote) {
            self.round = heard.vote.round;
            self.settle(heard.vote, members, out);
            return Some(leader);
        }
        None
    }

    fn leads(&self, heard: &BTreeMap<Sid, Heard>, vote: Vote) -> bool {
        if vote.leader == self.me {
            return vote.round == self.round;
        }
        heard.get(&vote.leader).is_some_and(|heard| heard.state == PeerState::Leading)
    }

    /// Starts the wait for something better where a quorum agrees; ends the election where every voter does.
    fn count(&mut self, members: &Membership, now: Now) -> Option<Sid> {
        let wanted = Heard { vote: self.vote, state: PeerState::Looking };
        if !has_quorum(&self.votes, &wanted, members) {
            self.decide_at = None;
            return None;
        }
        let agrees = |sid: &Sid| self.votes.get(sid).is_some_and(|heard| wanted.agrees_with(heard));
        if members.voters().iter().all(agrees) {
            self.state = self.state_under(self.vote.leader, members);
            return Some(self.vote.leader);
        }
        self.decide_at.get_or_insert(now.mono + FINALIZE_MS);
        None
    }

    fn settle(&mut self, vote: Vote, members: &Membership, out: &mut Vec<Effect>) -> Sid {
        self.vote = vote;
        self.state = self.state_under(vote.leader, members);
        self.tell_waiting(members, out);
        vote.leader
    }

    fn state_under(&self, leader: Sid, members: &Membership) -> PeerState {
        match observes(members.committed(), self.me) {
            _ if leader == self.me => PeerState::Leading,
            true => PeerState::Observing,
            false => PeerState::Following,
        }
    }

    /// Tells the outcome to those who would otherwise learn it only when they ask again.
    fn tell_waiting(&mut self, members: &Membership, out: &mut Vec<Effect>) {
        for sid in std::mem::take(&mut self.waiting) {
            let agreed = self.votes.get(&sid).is_some_and(|heard| heard.vote == self.vote);
            if !agreed {
                self.answer(sid, members, out);
            }
        }
    }

    fn broadcast(&mut self, members: &Membership, out: &mut Vec<Effect>) {
        let vote = self.notification(members);
        for sid in members.voters().into_iter().filter(|sid| *sid != self.me) {
            out.push(Effect::SendVote { to: sid, vote: vote.clone() });
        }
        if members.is_voter(self.me) {
            self.votes.insert(self.me, Heard { vote: self.vote, state: PeerState::Looking });
        }
    }

    fn answer(&mut self, to: Sid, members: &Membership, out: &mut Vec<Effect>) {
        if self.state == PeerState::Looking && members.is_member(to) {
            self.waiting.insert(to);
        }
        out.push(Effect::SendVote { to, vote: self.notification(members) });
    }

    fn notification(&self, members: &Membership) -> Notification {
        let Vote { leader, zxid, peer_epoch, .. } = self.vote;
        let round = if self.state == PeerState::Looking { self.round } else { self.vote.round };
        let config = Some(members.committed().text.clone().into_bytes());
        Notification { state: self.state, leader, zxid, round, peer_epoch, config }
    }

    fn describe(&self, from: Sid, said: &Notification) -> String {
        let version = if said.config.is_some() { 2 } else { 0 };
        let config = said.config.as_deref().map_or("0", config_version);
        format!(
            "Notification: my state:{}; n.sid:{from}, n.state:{}, n.leader:{}, n.round:0x{:x}, n.peerEpoch:0x{:x}, \
             n.zxid:0x{:x}, message format version:0x{version:x}, n.config version:0x{config}",
            name(self.state),
            name(said.state),
            said.leader,
            said.round,
            said.peer_epoch,
            said.zxid,
        )
    }
}

/// Nobody changes over to a server whose vote weighs nothing.
fn is_better(vote: &Vote, than: &Vote, members: &Membership) -> bool {
    let rank = |vote: &Vote| (vote.peer_epoch, vote.zxid, vote.leader);
    members.may_lead(vote.leader) && rank(vote) > rank(than)
}

fn has_quorum(among: &BTreeMap<Sid, Heard>, wanted: &Heard, members: &Membership) -> bool {
    members.is_quorum(agreeing(among, wanted))
}

fn agreeing(among: &BTreeMap<Sid, Heard>, wanted: &Heard) -> impl Iterator<Item = Sid> + Clone {
    among.iter().filter(|(_, heard)| wanted.agrees_with(heard)).map(|(sid, _)| *sid)
}

fn name(state: PeerState) -> &'static str {
    match state {
        PeerState::Looking => "LOOKING",
        PeerState::Following => "FOLLOWING",
        PeerState::Leading => "LEADING",
        PeerState::Observing => "OBSERVING",
    }
}

/// The hex digits behind the last line's `version=`.
pub fn config_version(config: &[u8]) -> &str {
    std::str::from_utf8(config)
        .ok()
        .and_then(|text| text.lines().rev().find_map(|line| line.strip_prefix("version=")))
        .unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CoreConfig;
    use std::ops::{Deref, DerefMut};

    fn config(me: Sid, voters: &[Sid], observers: &[Sid]) -> CoreConfig {
        let ensemble = crate::config::tests::ensemble(voters, observers);
        crate::zab::tests::config(me, Some(ensemble))
    }

    /// A server's election, with the members that it knows.
    struct Voter {
        election: Election,
        members: Membership,
    }

    impl Voter {
        fn new(config: &CoreConfig) -> Voter {
            Voter { election: Election::new(config.myid), members: Membership::new(config).unwrap() }
        }

        fn start(&mut self, zxid: Zxid, epoch: i64, now: Now, out: &mut Vec<Effect>) -> Option<Sid> {
            self.election.start(zxid, epoch, &self.members, now, out)
        }

        fn on_vote(
            &mut self,
            from: Sid,
            said: &Notification,
            now: Now,
            out: &mut Vec<Effect>,
        ) -> Option<Sid> {
            self.election.on_vote(from, said, &self.members, now, out)
        }

        fn tick(&mut self, now: Now, out: &mut Vec<Effect>) -> Option<Sid> {
            self.election.tick(&self.members, now, out)
        }
    }

    impl Deref for Voter {
        type Target = Election;
        fn deref(&self) -> &Election {
            &self.election
        }
    }

    impl DerefMut for Voter {
        fn deref_mut(&mut self) -> &mut Election {
            &mut self.election
        }
    }

    fn at(mono: u64) -> Now {
        Now { mono, wall: 0 }
    }

    fn said(state: PeerState, leader: Sid, zxid: Zxid, round: i64, peer_epoch: i64) -> Notification {
        Notification { state, leader, zxid, round, peer_epoch, config: None }
    }

    fn votes(out: &mut Vec<Effect>) -> Vec<(Sid, Notification)> {
        out.drain(..)
            .filter_map(|effect| match effect {
                Effect::SendVote { to, vote } => Some((to, vote)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_quorum_waits_for_something_better_and_decides_after_200_ms() {
        let mut out = vec![];
        let mut election = Voter::new(&config(1, &[1, 2, 3], &[]));
        assert_eq!(election.start(5, 1, at(0), &mut out), None);
        assert_eq!(votes(&mut out).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(election.on_vote(2, &said(PeerState::Looking, 2, 5, 1, 1), at(10), &mut out), None);
        assert!(votes(&mut out).iter().all(|(_, vote)| vote.leader == 2), "the higher id is adopted");
        assert_eq!(election.tick(at(209), &mut out), None);
        assert_eq!(election.tick(at(210), &mut out), Some(2));
        election.on_vote(3, &said(PeerState::Looking, 3, 9, 1, 1), at(300), &mut out);
        let (to, answer) = votes(&mut out).pop().unwrap();
        assert_eq!((to, answer.state, answer.leader), (3, PeerState::Following, 2));
    }

    #[test]
    fn when_every_voter_agrees_nobody_waits() {
        let mut out = vec![];
        let mut election = Voter::new(&config(3, &[1, 2, 3], &[]));
        election.start(5, 1, at(0), &mut out);
        assert_eq!(election.on_vote(1, &said(PeerState::Looking, 3, 5, 1, 1), at(1), &mut out), None);
        assert_eq!(election.on_vote(2, &said(PeerState::Looking, 3, 5, 1, 1), at(2), &mut out), Some(3));
    }

    #[test]
    fn a_longer_history_beats_a_higher_id_and_a_higher_epoch_beats_both() {
        let mut out = vec![];
        let mut election = Voter::new(&config(3, &[1, 2, 3], &[]));
        election.start(5, 1, at(0), &mut out);
        election.on_vote(1, &said(PeerState::Looking, 1, 6, 1, 1), at(1), &mut out);
        assert_eq!(election.vote.leader, 1);
        election.on_vote(2, &said(PeerState::Looking, 2, 0, 1, 2), at(2), &mut out);
        assert_eq!(election.vote.leader, 2);
    }

    #[test]
    fn a_higher_round_is_adopted_with_votes_cleared_and_a_lower_one_is_answered() {
        let mut out = vec![];
        let mut election = Voter::new(&config(1, &[1, 2, 3], &[]));
        election.start(5, 1, at(0), &mut out);
        election.on_vote(3, &said(PeerState::Looking, 1, 5, 1, 1), at(1), &mut out);
        assert!(election.decide_at.is_some());
        election.on_vote(2, &said(PeerState::Looking, 2, 9, 7, 1), at(2), &mut out);
        assert_eq!((election.round, election.vote.leader, election.votes.contains_key(&3)), (7, 2, false));
        votes(&mut out);
        election.on_vote(3, &said(PeerState::Looking, 3, 5, 2, 1), at(3), &mut out);
        let sent = votes(&mut out);
        assert_eq!((sent.len(), sent[0].0, sent[0].1.round), (1, 3, 7));
    }

    #[test]
    fn a_settled_quorum_is_joined_only_when_its_leader_says_that_it_leads() {
        let mut out = vec![];
        let mut election = Voter::new(&config(1, &[1, 2, 3, 4, 5], &[]));
        election.start(5, 1, at(0), &mut out);
        let following = said(PeerState::Following, 4, 0, 9, 2);
        for sid in [2, 3, 5] {
            assert_eq!(election.on_vote(sid, &following, at(1), &mut out), None);
        }
        let leading = said(PeerState::Leading, 4, 3, 8, 2);
        assert_eq!(election.on_vote(4, &leading, at(2), &mut out), Some(4));
        assert_eq!(election.round, 8);
    }

    #[test]
    fn an_observer_asks_the_voters_and_is_never_counted() {
        let mut out = vec![];
        let mut observer = Voter::new(&config(9, &[1, 2, 3], &[9]));
        observer.start(5, 1, at(0), &mut out);
        let sent = votes(&mut out);
        assert_eq!(sent.len(), 3);
        assert_eq!((sent[0].1.leader, sent[0].1.zxid, sent[0].1.peer_epoch), (i64::MIN, i64::MIN, i64::MIN));
        observer.on_vote(1, &said(PeerState::Following, 2, 3, 4, 1), at(1), &mut out);
        assert_eq!(observer.on_vote(2, &said(PeerState::Leading, 2, 3, 4, 1), at(1), &mut out), Some(2));
        assert_eq!(observer.state, PeerState::Observing);

        let mut voter = Voter::new(&config(1, &[1, 2, 3], &[9]));
        voter.start(5, 1, at(0), &mut out);
        votes(&mut out);
        assert_eq!(voter.on_vote(9, &said(PeerState::Looking, 1, 5, 1, 1), at(1), &mut out), None);
        assert_eq!(voter.votes.len(), 1);
        assert_eq!(votes(&mut out)[0].0, 9);
    }

    #[test]
    fn an_untrusted_empty_server_neither_counts_nor_is_counted() {
        let mut out = vec![];
        let mut election = Voter::new(&config(1, &[1, 2, 3], &[]));
        election.start(-1, 0, at(0), &mut out);
        election.on_vote(2, &said(PeerState::Looking, 2, 5, 1, 1), at(1), &mut out);
        assert_eq!(election.vote.leader, 1);
    }

    #[test]
    fn a_server_that_weighs_nothing_is_never_preferred() {
        let lines = ["group.1=1:2:3", "group.2=4:5", "weight.4=0", "weight.5=0"];
        let ensemble = crate::config::tests::grouped(&lines, &[1, 2, 3, 4, 5], &[]);
        let weighed = |me| crate::zab::tests::config(me, Some(ensemble.clone()));
        let mut out = vec![];
        let mut election = Voter::new(&weighed(1));
        election.start(5, 1, at(0), &mut out);
        election.on_vote(5, &said(PeerState::Looking, 5, 9, 1, 2), at(1), &mut out);
        assert_eq!(election.vote.leader, 1);
        election.on_vote(2, &said(PeerState::Looking, 2, 5, 1, 1), at(2), &mut out);
        assert_eq!(election.vote.leader, 2);
        assert_eq!(election.tick(at(202), &mut out), Some(2), "4 and 5 need not agree");

        let mut weightless = Voter::new(&weighed(5));
        weightless.start(9, 2, at(0), &mut out);
        weightless.on_vote(4, &said(PeerState::Looking, 5, 9, 1, 2), at(1), &mut out);
        assert_eq!(weightless.tick(at(201), &mut out), None, "what weighs nothing makes no quorum");
    }

    #[test]
    fn a_single_voter_elects_itself_at_once() {
        let mut out = vec![];
        assert_eq!(Voter::new(&config(1, &[1], &[9])).start(0, 0, at(0), &mut out), Some(1));
    }

    #[test]
    fn votes_are_sent_again_after_200_ms_and_then_ever_more_rarely() {
        let mut out = vec![];
        let mut election = Voter::new(&config(1, &[1, 2, 3], &[]));
        election.start(0, 0, at(0), &mut out);
        let mut sent = vec![];
        while let Some(at_ms) = election.deadline().filter(|at| *at < 200_000) {
            election.tick(at(at_ms), &mut out);
            sent.push(at_ms);
        }
        assert_eq!(sent[..4], [200, 600, 1400, 3000]);
        assert_eq!(sent.last().unwrap() - sent[sent.len() - 2], 60_000);
    }

    #[test]
    fn while_other_members_are_proposed_a_leader_needs_a_quorum_of_both() {
        let mut out = vec![];
        let mut voter = Voter::new(&config(1, &[1, 2, 3], &[]));
        voter.members = crate::membership::tests::changing(&[1, 2, 3], &[3, 4, 5]);
        voter.start(5, 1, at(0), &mut out);
        assert_eq!(votes(&mut out).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2, 3, 4, 5]);
        for sid in [2, 3, 4] {
            voter.on_vote(sid, &said(PeerState::Looking, 4, 9, 1, 1), at(1), &mut out);
            let decides = sid == 4;
            assert_eq!(voter.decide_at.is_some(), decides, "1, 2 and 3 agree, of the others 3 alone");
        }
        assert_eq!(voter.tick(at(201), &mut out), Some(4));
    }

    #[test]
    fn a_settled_quorum_of_the_members_that_count_is_joined_whatever_is_proposed() {
        let mut out = vec![];
        let mut voter = Voter::new(&config(3, &[1, 2, 3], &[]));
        voter.members = crate::membership::tests::changing(&[1, 2, 3], &[1, 2, 3, 4]);
        voter.start(9, 1, at(0), &mut out);
        let leading = said(PeerState::Leading, 1, 7, 3, 3);
        assert_eq!(voter.on_vote(1, &leading, at(1), &mut out), None);
        let observing = said(PeerState::Observing, 1, 7, 3, 3);
        assert_eq!(voter.on_vote(4, &observing, at(1), &mut out), None, "the proposal is not known to it");
        assert_eq!(voter.on_vote(2, &said(PeerState::Following, 1, 7, 3, 3), at(2), &mut out), Some(1));
    }

    #[test]
    fn the_round_of_a_voter_that_is_only_proposed_counts() {
        let mut out = vec![];
        let (mut old, mut new) = (Voter::new(&config(3, &[3], &[])), Voter::new(&config(1, &[3], &[])));
        for voter in [&mut old, &mut new] {
            voter.members = crate::membership::tests::changing(&[3], &[1, 3]);
        }
        (0..3).for_each(|_| assert_eq!(new.start(9, 1, at(0), &mut out), None));
        votes(&mut out);
        assert_eq!(old.start(9, 1, at(0), &mut out), None, "1 has to agree");
        // What is sent to the other one arrives, until one of them is done.
        let mut decided = None;
        for _ in 0..4 {
            for (_, vote) in votes(&mut out) {
                new.on_vote(3, &vote, at(1), &mut out);
            }
            for (_, vote) in votes(&mut out) {
                decided = decided.or(old.on_vote(1, &vote, at(1), &mut out));
            }
        }
        assert_eq!((decided, old.round), (Some(3), 3));
    }

    #[test]
    fn servers_without_a_vote_do_not_answer_answers() {
        let mut out = vec![];
        // A voter answers whoever has no vote, also where that one's round is ahead.
        let mut observer = Voter::new(&config(9, &[1, 2, 3], &[8, 9]));
        (0..2).for_each(|_| assert_eq!(observer.start(5, 1, at(0), &mut out), None));
        votes(&mut out);
        observer.on_vote(1, &said(PeerState::Looking, 1, 5, 1, 1), at(1), &mut out);
        assert_eq!(votes(&mut out), []);
        // Under other members this one may have none in its eyes. It hears of the outcome.
        observer.on_vote(8, &said(PeerState::Looking, NO_VOTE, NO_VOTE, 1, NO_VOTE), at(1), &mut out);
        assert_eq!(votes(&mut out), []);
        observer.on_vote(1, &said(PeerState::Leading, 1, 5, 1, 1), at(2), &mut out);
        observer.on_vote(2, &said(PeerState::Following, 1, 5, 1, 1), at(2), &mut out);
        assert_eq!(votes(&mut out).iter().map(|(to, _)| *to).collect::<Vec<_>>(), [8]);
        observer.on_vote(8, &said(PeerState::Observing, 1, 5, 1, 1), at(3), &mut out);
        assert_eq!(votes(&mut out), []);
    }

    #[test]
    fn an_appointed_leader_is_told_to_whoever_asks() {
        let mut out = vec![];
        let mut voter = Voter::new(&config(1, &[1, 2, 3], &[]));
        voter.start(5, 1, at(0), &mut out);
        votes(&mut out);
        voter.election.appoint(2, 7, 1, &voter.members);
        voter.on_vote(3, &said(PeerState::Looking, 3, 5, 1, 1), at(1), &mut out);
        let (to, vote) = votes(&mut out).remove(0);
        assert_eq!((to, vote.state, vote.leader, vote.zxid), (3, PeerState::Following, 2, 7));
        assert_eq!(voter.deadline(), None);
    }
}
