//! In service: proposals are logged, acknowledged and applied, and what this server's clients want goes to the leader.

use super::{EXIT_UNMATCHED_COMMIT, Learner, Stage, decode, designated, without_leader};
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::front::{Request, Upcall};
use crate::measure;
use crate::zab::observer_master::ObserverMaster;
use crate::zab::{Over, Server, log};
use bytes::BytesMut;
use wire::jute::Record;
use wire::zk::quorum::{QuorumPacket, SessionTouch, SessionVerdict, packet};
use wire::zk::txn::Txn;
use wire::zk::{Sid, Zxid, op};

impl Learner {
    pub(super) fn on_active(
        &mut self,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        match packet.kind {
            packet::PROPOSAL => {
                let txn = decode(packet)?;
                server.front.measures.learner_proposal_received_count += 1;
                if let Some(age) = measure::age(&txn, now) {
                    server.front.measures.proposal_latency.add(age);
                }
                self.accept(txn, server, out);
            }
            packet::COMMIT => self.on_commit(packet.zxid, None, server, now, out),
            packet::COMMIT_AND_ACTIVATE => {
                let leader = designated(&packet)?;
                let next = server.history.pending().front();
                let change = next.filter(|txn| txn.zxid() == packet.zxid).cloned();
                let over = change.map(|txn| self.activate(&txn, leader, server, now, out));
                // Whoever asked for the change is answered, also where it ends this server's role.
                self.on_commit(packet.zxid, Some(leader), server, now, out);
                over.transpose()?;
            }
            packet::INFORM => self.on_inform(decode(packet)?, server, now, out),
            packet::INFORM_AND_ACTIVATE => {
                let leader = designated(&packet)?;
                let txn = decode(without_leader(packet))?;
                let over = self.activate(&txn, leader, server, now, out);
                self.on_inform(txn, server, now, out);
                over?;
            }
            packet::PING => self.pong(packet, server, out),
            packet::SYNC => {
                if let Some(request) = self.syncs.pop_front() {
                    self.on_synced_up(request, packet, server, now, out);
                }
            }
            packet::REVALIDATE => {
                let data = packet.data.clone().unwrap_or_default();
                let verdict = SessionVerdict::decode(&data).map_err(|error| Over(error.to_string()))?;
                let SessionVerdict { session, valid } = verdict;
                let asked = self.revalidations.iter().position(|(asked, _)| *asked == session);
                match asked.and_then(|at| self.revalidations.remove(at)).and_then(|(_, link)| link) {
                    Some(link) => self.answer(link, packet, out),
                    None => {
                        let db = &server.history.db;
                        server.front.revalidated(session, valid, now, db, out, &mut server.up);
                    }
                }
            }
            packet::UP_TO_DATE => {
                log(out, LogLevel::Error, "Received an UPTODATE message after Follower started")
            }
            kind => log(out, LogLevel::Warn, format!("Unknown packet type: {kind}")),
        }
        self.serve_front(server, out);
        Ok(())
    }

    fn on_synced_up(
        &self,
        request: Request,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match request.origin {
            Some(link) => self.answer(link, packet, out),
            None => server.front.synced(&request, now, &server.history.db, out, &mut server.up),
        }
    }

    /// Passes the leader's answer on to the observer that asked.
    fn answer(&self, link: LinkId, packet: QuorumPacket, out: &mut Vec<Effect>) {
        if let Some(observers) = &self.observers {
            observers.answer(link, packet, out);
        }
    }

    /// `designated`: who leads under the members that this transaction activates.
    fn on_commit(
        &mut self,
        zxid: Zxid,
        designated: Option<Sid>,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(next) = server.history.pending().front().map(Txn::zxid) else {
            return log(out, LogLevel::Warn, format!("Committing 0x{zxid:x} without seeing txn"));
        };
        if next != zxid {
            let why = format!("Committing zxid 0x{zxid:x} but next pending txn 0x{next:x}");
            return out.push(Effect::Exit { code: EXIT_UNMATCHED_COMMIT, why });
        }
        server.front.measures.learner_commit_received_count += 1;
        if let Some(txn) = server.history.commit() {
            note_committed(&txn, server, now);
            if let Some(observers) = &self.observers {
                observers.committed(&txn, designated, out);
            }
            server.front.committed(&txn, now, &mut server.history.db, out, &mut server.up);
        }
    }

    fn on_inform(&mut self, txn: Txn, server: &mut Server, now: Now, out: &mut Vec<Effect>) {
        note_committed(&txn, server, now);
        server.history.log(&txn, out);
        server.history.remember(&txn);
        server.front.committed(&txn, now, &mut server.history.db, out, &mut server.up);
    }

    fn pong(&mut self, ping: QuorumPacket, server: &mut Server, out: &mut Vec<Effect>) {
        let mut touched = BytesMut::new();
        let theirs = self.observers.as_mut().map(ObserverMaster::take_touched).unwrap_or_default();
        for (session, timeout) in server.front.take_touched().into_iter().chain(theirs) {
            SessionTouch { session, timeout }.write(&mut touched);
        }
        self.send(QuorumPacket { data: Some(touched.freeze()), ..ping }, out);
    }

    pub fn on_durable(
        &mut self,
        zxid: Zxid,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        if let Some(history) = &mut self.replaced {
            history.on_durable(zxid);
        }
        let durable = server.history.durable();
        while let Some((zxid, made_at)) = self.unacked.pop_front_if(|(zxid, _)| *zxid <= durable) {
            if let Ok(age) = u64::try_from(now.wall - made_at) {
                server.front.measures.proposal_ack_creation_latency.add(age);
            }
            if !self.observer {
                self.send(QuorumPacket::new(packet::ACK, zxid, None), out);
            }
        }
        if self.stage == Stage::Settling {
            self.acknowledge_new_leader(server, out);
            if self.stage == Stage::Synced {
                return self.release(server, now, out);
            }
        }
        Ok(())
    }

    /// Passes on what this server's own clients want.
    pub fn serve_front(&mut self, server: &mut Server, out: &mut Vec<Effect>) {
        for upcall in std::mem::take(&mut server.up) {
            if self.stage != Stage::Active {
                continue;
            }
            match upcall {
                Upcall::Write(request) => self.send(forward(&request), out),
                Upcall::Sync(request) => {
                    self.send(forward(&Request { op: op::SYNC, ..request.clone() }), out);
                    self.syncs.push_back(request);
                }
                Upcall::Revalidate { session, timeout } => {
                    let data = SessionTouch { session, timeout }.encode();
                    self.revalidations.push_back((session, None));
                    self.send(QuorumPacket::new(packet::REVALIDATE, -1, Some(data)), out);
                }
            }
        }
    }
}

fn note_committed(txn: &Txn, server: &mut Server, now: Now) {
    if let Some(age) = measure::age(txn, now) {
        server.front.measures.commit_propagation_latency.add(age);
    }
}

fn forward(request: &Request) -> QuorumPacket {
    let mut data = BytesMut::with_capacity(16 + request.body.len());
    request.session.write(&mut data);
    request.cxid.write(&mut data);
    request.op.write(&mut data);
    data.extend_from_slice(&request.body);
    let auth = (!request.auth.is_empty()).then(|| request.auth.clone());
    QuorumPacket { kind: packet::REQUEST, zxid: -1, data: Some(data.freeze()), auth }
}
