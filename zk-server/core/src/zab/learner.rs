//! A follower or an observer: finds its leader, takes its history over, then logs, acknowledges and applies.
//!
//! What a learner promises is on stable storage before it says so: the accepted epoch before ACKEPOCH; the history
//! and the current epoch before the ACK of NEWLEADER; each proposal before its ACK.

mod active;
mod joining;

use super::history::History;
use super::leader::read_request;
use super::links::Links;
use super::observer_master::ObserverMaster;
use super::{Over, Server, log};
use crate::config::Ensemble;
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::front::Request;
use crate::membership::observes;
use std::collections::VecDeque;
use wire::jute::Record;
use wire::zk::quorum::{LearnerInfo, PROTOCOL, QuorumPacket, SessionTouch, packet};
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{SessionId, Sid, Zxid, op, zxid};

const DIAL_TRIES: u32 = 5;
/// How often an observer asks every observer master before it turns to the leader: followers come into service a
/// little after it has heard of their leader.
const MASTER_ROUNDS: usize = 10;
/// `UNMATCHED_TXN_COMMIT`: a commit that is not of the oldest proposal.
const EXIT_UNMATCHED_COMMIT: i32 = 12;

/// How far the bring-up has got, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// `again_at`: the next attempt, between two.
    Dialing {
        tries: u32,
        again_at: Option<u64>,
    },
    /// Has said who it is; waits for LEADERINFO.
    Registering,
    /// Waits for DIFF, TRUNC or SNAP.
    Choosing,
    /// Waits for the stream behind SNAP.
    Streaming {
        zxid: Zxid,
    },
    /// Waits for its log to be cut.
    Truncating {
        zxid: Zxid,
    },
    /// Takes transactions until NEWLEADER.
    Syncing,
    /// Has the leader's history in memory, and waits until the snapshot of it is saved.
    Saving,
    /// Has the leader's history, but not yet all of it on stable storage.
    Settling,
    /// Has acknowledged NEWLEADER; waits for UPTODATE.
    Synced,
    Active,
}

#[derive(Debug)]
pub struct Learner {
    me: Sid,
    leader: Sid,
    /// Mono ms.
    since: u64,
    observer: bool,
    /// Observer masters to be tried before the leader, the next one first.
    masters: VecDeque<Sid>,
    stage: Stage,
    link: Option<LinkId>,
    heard_at: u64,
    dial_until: u64,
    /// ms between two attempts.
    dial_pause: u64,
    epoch: i64,
    /// The members that NEWLEADER told of: they count once the leader's history does.
    told: Option<Ensemble>,
    /// The state came as a snapshot: what follows goes into the next one, not into the log.
    snapshot: bool,
    /// The history that the snapshot has replaced, until the snapshot is saved.
    replaced: Option<History>,
    /// Proposals of the synchronization that are not committed.
    unlogged: VecDeque<Txn>,
    /// Packets that came before their time.
    held: VecDeque<QuorumPacket>,
    /// Logged, not acknowledged; with the wall clock's ms at which the leader made it.
    unacked: VecDeque<(Zxid, i64)>,
    /// Syncs that the leader has not answered, in order; those with an origin are an observer's.
    syncs: VecDeque<Request>,
    /// Whose sessions the leader is asked about, in order; `None`: this server's own clients'.
    revalidations: VecDeque<(SessionId, Option<LinkId>)>,
    /// Observers that this follower serves, once it is in service itself.
    observers: Option<ObserverMaster>,
}

impl Learner {
    pub fn new(leader: Sid, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Learner {
        let me = server.config.myid;
        let observer = observes(server.members().committed(), me);
        let learner = Learner {
            me,
            leader,
            since: now.mono,
            observer,
            masters: if observer { masters(leader, server) } else { VecDeque::new() },
            stage: Stage::Dialing { tries: 1, again_at: None },
            link: None,
            heard_at: now.mono,
            dial_until: now.mono + server.dial_ms(),
            dial_pause: server.config.dialling.pause_ms,
            epoch: 0,
            told: None,
            snapshot: false,
            replaced: None,
            unlogged: VecDeque::new(),
            held: VecDeque::new(),
            unacked: VecDeque::new(),
            syncs: VecDeque::new(),
            revalidations: VecDeque::new(),
            observers: None,
        };
        learner.dial(out);
        learner
    }

    /// Whom this learner dials, or is served by: an observer master, or the leader.
    pub fn master(&self) -> Sid {
        self.masters.front().copied().unwrap_or(self.leader)
    }

    /// Those that learn from this server; `None` where it serves none.
    pub fn observer_links(&self) -> Option<&Links> {
        self.observers.as_ref().map(ObserverMaster::links)
    }

    /// Observers in sync with this server; `None` where it serves none.
    pub fn observers(&self) -> Option<usize> {
        self.observers.as_ref().map(ObserverMaster::in_sync)
    }

    fn dial(&self, out: &mut Vec<Effect>) {
        out.push(match self.masters.front() {
            Some(follower) => Effect::DialMaster { follower: *follower },
            None => Effect::DialLeader { leader: self.leader },
        });
    }

    pub fn leader(&self) -> Sid {
        self.leader
    }

    pub fn is_observer(&self) -> bool {
        self.observer
    }

    /// Memory and disk hold one history: not between a snapshot's coming and its being saved, nor during a cut.
    pub fn is_one_with_disk(&self) -> bool {
        self.replaced.is_none() && !matches!(self.stage, Stage::Truncating { .. })
    }

    /// Waits for [`crate::Event::SnapshotSaved`]; the state stays as it is meanwhile.
    pub fn is_saving(&self) -> bool {
        self.stage == Stage::Saving
    }

    /// NEWLEADER, behind which a snapshot is whole, has not come.
    pub fn is_fuzzy(&self) -> bool {
        self.snapshot && self.stage == Stage::Syncing
    }

    /// A part of the leader's snapshot has come, or one of ours has gone to an observer.
    pub fn on_progress(&mut self, link: LinkId, now: Now) {
        if let Some(observers) = &mut self.observers {
            observers.on_progress(link, now);
        }
        if self.link == Some(link) && matches!(self.stage, Stage::Streaming { .. }) {
            self.heard_at = now.mono;
        }
    }

    /// An observer has got the whole of its snapshot.
    pub fn on_snapshot_sent(&mut self, link: LinkId, server: &Server, now: Now, out: &mut Vec<Effect>) {
        if let Some(observers) = &mut self.observers {
            observers.on_snapshot_sent(link, server, now, out);
        }
    }

    /// The epoch, once this server serves.
    pub fn established(&self) -> Option<i64> {
        (self.stage == Stage::Active).then_some(self.epoch)
    }

    pub fn deadline(&self, server: &Server) -> u64 {
        match self.stage {
            Stage::Dialing { again_at, .. } => again_at.map_or(self.dial_until, |at| at.min(self.dial_until)),
            _ => {
                let silent = self.heard_at + self.patience_ms(server);
                self.observers.as_ref().map_or(silent, |observers| silent.min(observers.deadline()))
            }
        }
    }

    fn patience_ms(&self, server: &Server) -> u64 {
        if self.stage >= Stage::Synced { server.sync_ms() } else { server.init_ms() }
    }

    pub fn tick(&mut self, server: &Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        if let Some(observers) = &mut self.observers {
            observers.tick(server, now, out);
        }
        if let Stage::Dialing { tries, again_at } = self.stage {
            if self.dial_until <= now.mono {
                return Err(Over(format!(
                    "connectToLeader exceeded on retries: leader {} is not reached",
                    self.leader
                )));
            }
            if again_at.is_some_and(|at| at <= now.mono) {
                self.stage = Stage::Dialing { tries: tries + 1, again_at: None };
                self.dial(out);
            }
        } else if self.heard_at + self.patience_ms(server) <= now.mono {
            return Err(Over(format!("Read timed out: leader {} is silent", self.leader)));
        }
        Ok(())
    }

    pub fn on_dial_failed(&mut self, now: Now) -> Result<(), Over> {
        if let Stage::Dialing { tries, again_at: None } = self.stage {
            if self.masters.pop_front().is_some() {
                self.stage = Stage::Dialing { tries: 0, again_at: Some(now.mono + self.dial_pause) };
                return Ok(());
            }
            if tries >= DIAL_TRIES {
                return Err(Over(format!("Failed connect to leader {}", self.leader)));
            }
            self.stage = Stage::Dialing { tries, again_at: Some(now.mono + self.dial_pause) };
        }
        Ok(())
    }

    /// A connection that answers a dial: false where this learner has no use for it.
    pub fn on_link(&mut self, link: LinkId, server: &Server, now: Now, out: &mut Vec<Effect>) -> bool {
        if !matches!(self.stage, Stage::Dialing { .. }) {
            return false;
        }
        self.link = Some(link);
        self.stage = Stage::Registering;
        self.heard_at = now.mono;
        let config_version = server.members().committed().version;
        let info = LearnerInfo { sid: self.me, protocol: PROTOCOL, config_version };
        let kind = if self.observer { packet::OBSERVER_INFO } else { packet::FOLLOWER_INFO };
        self.send(QuorumPacket::new(kind, zxid(server.accepted_epoch, 0), Some(info.encode())), out);
        true
    }

    /// An observer has dialled: false where this server is nobody's master.
    pub fn on_observer(&mut self, link: LinkId, now: Now) -> bool {
        self.observers.as_mut().map(|observers| observers.on_link(link, now)).is_some()
    }

    pub fn on_closed(&mut self, link: LinkId) -> Result<(), Over> {
        if let Some(observers) = &mut self.observers {
            observers.on_closed(link);
        }
        if self.link == Some(link) {
            self.link = None;
            return Err(Over(format!("Disconnected from leader {}", self.leader)));
        }
        Ok(())
    }

    /// Lets the leader go. True: the log is being cut, and the history is unknown until that is done.
    pub fn shutdown(&mut self, server: &mut Server, out: &mut Vec<Effect>) -> bool {
        if let Some(history) = self.replaced.take() {
            let partial = std::mem::replace(&mut server.history, history);
            out.push(Effect::Discard { database: Box::new(partial.db) });
            server.replacements += 1;
        }
        if let Some(link) = self.link.take() {
            out.push(Effect::CloseLink { link });
        }
        if let Some(observers) = &mut self.observers {
            observers.shutdown(out);
        }
        matches!(self.stage, Stage::Truncating { .. })
    }

    fn send(&self, packet: QuorumPacket, out: &mut Vec<Effect>) {
        if let Some(link) = self.link {
            out.push(Effect::SendPacket { link, packet });
        }
    }

    pub fn on_packet(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        if self.link != Some(link) {
            self.on_observer_packet(link, packet, server, now, out);
            return Ok(());
        }
        self.heard_at = now.mono;
        match self.stage {
            Stage::Dialing { .. } => Ok(()),
            Stage::Registering => self.on_leader_info(packet, server, out),
            Stage::Choosing => self.on_choice(packet, out),
            Stage::Streaming { .. } | Stage::Truncating { .. } | Stage::Saving | Stage::Settling => {
                self.held.push_back(packet);
                Ok(())
            }
            Stage::Syncing => self.on_sync(packet, server, now, out),
            Stage::Synced => self.on_synced(packet, server, now, out),
            Stage::Active => self.on_active(packet, server, now, out),
        }
    }

    /// What an observer asks of the leader goes up by this server's own link, and is answered in order.
    fn on_observer_packet(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        server: &Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(observers) = &mut self.observers else { return };
        let Some(packet) = observers.on_packet(link, packet, server, now, out) else { return };
        let asked = match packet.kind {
            packet::REVALIDATE => SessionTouch::decode(&packet.data.clone().unwrap_or_default())
                .map(|SessionTouch { session, .. }| self.revalidations.push_back((session, Some(link)))),
            _ => read_request(packet.clone(), link).map(|request| {
                if request.op == op::SYNC {
                    self.syncs.push_back(request);
                }
            }),
        };
        match asked {
            Ok(()) => self.send(packet, out),
            Err(error) => observers.drop_link(link, &error.to_string(), out),
        }
    }

    /// Takes the packets that came before their time, as far as they can be taken now.
    fn release(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let Some(link) = self.link else { return Ok(()) };
        for packet in std::mem::take(&mut self.held) {
            self.on_packet(link, packet, server, now, out)?;
        }
        Ok(())
    }

    /// A change of the members is committed.
    fn activate(
        &self,
        txn: &Txn,
        leader: Sid,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Some(members) = proposed_members(txn) else { return Ok(()) };
        let members = members.map_err(|why| Over(format!("transaction 0x{:x}: {why}", txn.zxid())))?;
        match server.activate_members(members, self.leader, Some(leader), now, out) {
            true => Err(changed()),
            false => Ok(()),
        }
    }

    fn accept(&mut self, txn: Txn, server: &mut Server, out: &mut Vec<Effect>) {
        note_proposed_members(&txn, server, out);
        self.unacked.push_back((txn.zxid(), txn.header.time));
        server.history.propose(txn, out);
    }
}

/// The followers that may be observer masters, each a few times over, beginning with another one each time.
fn masters(leader: Sid, server: &mut Server) -> VecDeque<Sid> {
    if !server.config.observer_masters {
        return VecDeque::new();
    }
    let followers: Vec<Sid> = server.members().committed().voters().filter(|sid| *sid != leader).collect();
    // Observers spread over them by their ids.
    let first = (server.config.myid.unsigned_abs() as usize).wrapping_add(server.masters_tried);
    server.masters_tried = server.masters_tried.wrapping_add(1);
    let tries = followers.len() * MASTER_ROUNDS;
    (0..tries).map(|at| followers[first.wrapping_add(at) % followers.len()]).collect()
}

fn decode(packet: QuorumPacket) -> Result<Txn, Over> {
    let zxid = packet.zxid;
    Txn::decode(packet.data.unwrap_or_default())
        .map_err(|error| Over(format!("transaction 0x{zxid:x} cannot be read: {error}")))
}

/// The `*_AND_ACTIVATE` packets start with the id of the leader of the new members.
fn designated(packet: &QuorumPacket) -> Result<Sid, Over> {
    let id = packet.data.as_deref().and_then(|data| data.first_chunk());
    let id = id.ok_or_else(|| Over(format!("the packet of 0x{:x} is cut short", packet.zxid)))?;
    Ok(Sid::from_be_bytes(*id))
}

/// Behind [`designated`].
fn without_leader(packet: QuorumPacket) -> QuorumPacket {
    let data = packet.data.map(|data| data.slice(data.len().min(8)..));
    QuorumPacket { data, ..packet }
}

/// `None` for any other transaction.
pub(super) fn proposed_members(txn: &Txn) -> Option<Result<Ensemble, String>> {
    let TxnRecord::Reconfig(change) = &txn.record else { return None };
    Some(read_members(change.data.as_deref().unwrap_or_default()))
}

/// On stable storage before the transaction is: see [`crate::membership`].
fn note_proposed_members(txn: &Txn, server: &mut Server, out: &mut Vec<Effect>) {
    match proposed_members(txn) {
        Some(Ok(members)) => server.propose_members(members, out),
        Some(Err(why)) => {
            log(
                out,
                LogLevel::Error,
                format!("transaction 0x{:x} has unreadable members: {why}", txn.zxid()),
            );
        }
        None => {}
    }
}

fn read_members(text: &[u8]) -> Result<Ensemble, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    Ensemble::parse(text).map_err(|wrong| wrong.why)
}

fn changed() -> Over {
    Over("changes proposed in reconfig".into())
}

#[cfg(test)]
mod tests;
