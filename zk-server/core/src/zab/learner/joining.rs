//! From the leader's greeting to UPTODATE: its history is taken over, and is on stable storage before it is acknowledged.

use super::{
    Learner, Stage, changed, decode, designated, note_proposed_members, read_members, without_leader,
};
use crate::config::Ensemble;
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::zab::observer_master::ObserverMaster;
use crate::zab::{Over, Server, log};
use bytes::Bytes;
use wire::jute::Record;
use wire::zk::quorum::{QuorumPacket, packet};
use wire::zk::txn::Txn;
use wire::zk::{epoch_of, zxid};

impl Learner {
    pub(super) fn on_leader_info(
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

    pub(super) fn on_choice(&mut self, packet: QuorumPacket, out: &mut Vec<Effect>) -> Result<(), Over> {
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

    pub(super) fn on_sync(
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
    pub(super) fn acknowledge_new_leader(&mut self, server: &mut Server, out: &mut Vec<Effect>) {
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

    pub(super) fn on_synced(
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

    pub(super) fn on_up_to_date(
        &mut self,
        server: &mut Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
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
}
