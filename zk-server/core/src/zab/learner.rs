//! A follower or an observer: finds its leader, takes its history over, then logs, acknowledges and applies.
//!
//! What a learner promises is on stable storage before it says so: the accepted epoch before ACKEPOCH; the history
//! and the current epoch before the ACK of NEWLEADER; each proposal before its ACK.

use super::history::History;
use super::leader::read_request;
use super::links::Links;
use super::observer_master::ObserverMaster;
use super::{Over, Server, log};
use crate::config::Ensemble;
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::front::{Request, Upcall};
use crate::measure;
use crate::membership::observes;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use wire::jute::Record;
use wire::zk::quorum::{LearnerInfo, PROTOCOL, QuorumPacket, SessionTouch, SessionVerdict, packet};
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{SessionId, Sid, Zxid, epoch_of, op, zxid};

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

    fn on_leader_info(
        &mut self,
        packet: QuorumPacket,
        server: &mut Server,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        if packet.kind != packet::LEADER_INFO {
            let why = format!(
                "leader {} answered by a packet of type {}: it is older than 3.4",
                self.leader, packet.kind
            );
            return Err(Over(why));
        }
        self.epoch = epoch_of(packet.zxid);
        let accepted = server.accepted_epoch;
        // What an observer has accepted, no leader counts: only a history of a later epoch keeps it from this one.
        let least = if self.observer { server.current_epoch } else { accepted };
        if self.epoch < least {
            let why = format!("Leaders epoch, {} is less than accepted epoch, {accepted}", self.epoch);
            return Err(Over(why));
        }
        // A promise is made once: -1 says that this epoch was promised before.
        let mut current = -1;
        if self.epoch > accepted {
            current = server.current_epoch as i32;
            server.store_accepted_epoch(self.epoch, out);
        }
        let last = server.history.last_logged();
        self.send(QuorumPacket::new(packet::ACK_EPOCH, last, Some(current.encode())), out);
        self.stage = Stage::Choosing;
        Ok(())
    }

    fn on_choice(&mut self, packet: QuorumPacket, out: &mut Vec<Effect>) -> Result<(), Over> {
        let zxid = packet.zxid;
        match packet.kind {
            packet::DIFF => {
                log(out, LogLevel::Info, format!("Getting a diff from the leader 0x{zxid:x}"));
                self.stage = Stage::Syncing;
            }
            packet::SNAP => {
                log(out, LogLevel::Info, format!("Getting a snapshot from leader 0x{zxid:x}"));
                self.stage = Stage::Streaming { zxid };
            }
            packet::TRUNC => {
                let line = format!("Truncating log to get in sync with the leader 0x{zxid:x}");
                log(out, LogLevel::Warn, line);
                out.push(Effect::Truncate { zxid });
                self.stage = Stage::Truncating { zxid };
            }
            kind => return Err(Over(format!("Got unexpected packet from leader: type {kind}"))),
        }
        Ok(())
    }

    pub fn on_snapshot(
        &mut self,
        link: LinkId,
        database: crate::Database,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Stage::Streaming { zxid } = self.stage else { return Ok(()) };
        if self.link != Some(link) {
            return Ok(());
        }
        self.heard_at = now.mono;
        self.replaced = Some(server.history.install(server.adopt(database), zxid));
        server.replacements += 1;
        self.snapshot = true;
        self.stage = Stage::Syncing;
        self.release(server, now, out)
    }

    pub fn on_truncated(
        &mut self,
        database: crate::Database,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Stage::Truncating { zxid } = self.stage else { return Ok(()) };
        let end = database.last_zxid();
        let before = server.history.truncated(server.adopt(database));
        out.push(Effect::Discard { database: Box::new(before) });
        server.replacements += 1;
        self.stage = Stage::Syncing;
        if end != zxid {
            // A snapshot of a leader held what is cut off, and what the log lacks. The next leader is told the truth.
            return Err(Over(format!("The log was to be cut behind 0x{zxid:x}, and ends with 0x{end:x}")));
        }
        self.release(server, now, out)
    }

    /// Takes the packets that came before their time, as far as they can be taken now.
    fn release(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let Some(link) = self.link else { return Ok(()) };
        for packet in std::mem::take(&mut self.held) {
            self.on_packet(link, packet, server, now, out)?;
        }
        Ok(())
    }

    fn on_sync(
        &mut self,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        match packet.kind {
            packet::PROPOSAL => {
                let txn = decode(packet)?;
                note_proposed_members(&txn, server, out);
                self.unlogged.push_back(txn);
            }
            packet::COMMIT | packet::COMMIT_AND_ACTIVATE => {
                let next = self.unlogged.pop_front_if(|txn| txn.zxid() == packet.zxid);
                let txn = next.ok_or_else(|| {
                    Over(format!("Committing 0x{:x}, which is not the next proposal", packet.zxid))
                })?;
                // What the leader has is applied before a quorum has it: a snapshot that was begun before would keep it
                // under a name from before, when it is cut off again.
                server.replacements += 1;
                self.take_committed(&txn, server, out);
                if packet.kind == packet::COMMIT_AND_ACTIVATE {
                    self.activate(&txn, designated(&packet)?, server, now, out)?;
                }
            }
            packet::INFORM => self.take_committed(&decode(packet)?, server, out),
            packet::INFORM_AND_ACTIVATE => {
                let leader = designated(&packet)?;
                let txn = decode(without_leader(packet))?;
                self.take_committed(&txn, server, out);
                self.activate(&txn, leader, server, now, out)?;
            }
            packet::NEW_LEADER => {
                self.note_members(packet.data, server, out);
                self.on_new_leader(server, out);
            }
            // A ping is not answered here: the next packet has to be the ACK of NEWLEADER.
            _ => {}
        }
        Ok(())
    }

    fn take_committed(&mut self, txn: &Txn, server: &mut Server, out: &mut Vec<Effect>) {
        if !self.snapshot {
            server.history.log(txn, out);
        }
        server.history.replay(txn);
    }

    fn on_new_leader(&mut self, server: &mut Server, out: &mut Vec<Effect>) {
        log(out, LogLevel::Info, "Learner received NEWLEADER message");
        if self.snapshot {
            self.stage = Stage::Saving;
            out.push(Effect::SaveSnapshot);
        } else {
            self.stage = Stage::Settling;
            self.acknowledge_new_leader(server, out);
        }
    }

    pub fn on_snapshot_saved(
        &mut self,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        if self.stage != Stage::Saving {
            return Ok(());
        }
        server.history.snapshot_saved();
        if let Some(history) = self.replaced.take() {
            out.push(Effect::Discard { database: Box::new(history.db) });
        }
        self.stage = Stage::Settling;
        self.acknowledge_new_leader(server, out);
        self.release(server, now, out)
    }

    /// The ACK leaves when everything that it vouches for is on stable storage.
    fn acknowledge_new_leader(&mut self, server: &mut Server, out: &mut Vec<Effect>) {
        if self.stage != Stage::Settling || !server.history.is_durable() {
            return;
        }
        if server.current_epoch != self.epoch {
            server.store_current_epoch(self.epoch, out);
        }
        out.push(Effect::RollLog);
        let start = zxid(self.epoch, 0);
        self.send(QuorumPacket::new(packet::ACK, start, None), out);
        log(out, LogLevel::Info, format!("Sent NEWLEADER ack to leader with zxid {start:x}"));
        self.stage = Stage::Synced;
    }

    fn on_synced(
        &mut self,
        packet: QuorumPacket,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        match packet.kind {
            packet::UP_TO_DATE => self.on_up_to_date(server, now, out),
            // As Java's: answers are counted from service on.
            packet::PING => Ok(()),
            _ => {
                self.held.push_back(packet);
                Ok(())
            }
        }
    }

    fn on_up_to_date(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        log(out, LogLevel::Info, "Learner received UPTODATE message");
        // One of those is only proposed, whatever a Java leader says of it.
        let proposed = |told: &Ensemble| self.unlogged.iter().any(|txn| txn.zxid() == told.version);
        if let Some(told) = self.told.take().filter(|told| !proposed(told))
            && server.activate_members(told, self.leader, None, now, out)
        {
            return Err(changed());
        }
        self.send(QuorumPacket::new(packet::ACK, zxid(self.epoch, 0), None), out);
        self.stage = Stage::Active;
        server.publish_config(now);
        let measures = &mut server.front.measures;
        measures.served(false, now);
        let sync_time =
            if self.observer { &mut measures.observer_sync_time } else { &mut measures.follower_sync_time };
        sync_time.add(now.mono.saturating_sub(self.since));
        server.front.serve(true, now, out);
        if server.config.observer_masters && !self.observer {
            log(out, LogLevel::Info, "Starting ObserverMaster");
            self.observers = Some(ObserverMaster::new(server, now));
        }
        for txn in std::mem::take(&mut self.unlogged) {
            self.accept(txn, server, out);
        }
        self.release(server, now, out)
    }

    fn on_active(
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

    /// The members that a NEWLEADER names are on their way at least: the leader completes what it finds begun.
    fn note_members(&mut self, text: Option<Bytes>, server: &mut Server, out: &mut Vec<Effect>) {
        let Some(text) = text.filter(|text| text.len() > 1) else { return };
        match read_members(&text) {
            Ok(members) => {
                server.propose_members(members.clone(), out);
                self.told = Some(members);
            }
            Err(why) => log(out, LogLevel::Error, format!("NEWLEADER's members cannot be read: {why}")),
        }
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

    fn accept(&mut self, txn: Txn, server: &mut Server, out: &mut Vec<Effect>) {
        note_proposed_members(&txn, server, out);
        self.unacked.push_back((txn.zxid(), txn.header.time));
        server.history.propose(txn, out);
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

fn forward(request: &Request) -> QuorumPacket {
    let mut data = BytesMut::with_capacity(16 + request.body.len());
    request.session.write(&mut data);
    request.cxid.write(&mut data);
    request.op.write(&mut data);
    data.extend_from_slice(&request.body);
    let auth = (!request.auth.is_empty()).then(|| request.auth.clone());
    QuorumPacket { kind: packet::REQUEST, zxid: -1, data: Some(data.freeze()), auth }
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

fn read_members(text: &[u8]) -> Result<Ensemble, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    Ensemble::parse(text).map_err(|wrong| wrong.why)
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

fn changed() -> Over {
    Over("changes proposed in reconfig".into())
}

#[cfg(test)]
mod tests;
