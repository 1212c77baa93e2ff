//! A follower that serves observers (`observerMasterPort`): they get its history and then what is committed, as from
//! the leader, which need not know of them. What they ask of the leader goes up through the follower's own link.
//!
//! ```text
//! observer                        follower in service
//! OBSERVERINFO accepted epoch  ->
//!                              <- LEADERINFO  the epoch that the follower has
//! ACKEPOCH current epoch, end  ->
//!                              <- DIFF | TRUNC | SNAP, committed transactions, NEWLEADER
//! ACK of NEWLEADER             ->
//!                              <- UPTODATE, then INFORM for each commit
//! ```

use super::links::{self, Link, Links, Stage};
use super::{Server, log, sync};
use crate::event::{Effect, LinkId, LogLevel, Now};
use bytes::BytesMut;
use std::collections::BTreeMap;
use wire::jute::{Reader, Record};
use wire::zk::quorum::{LearnerInfo, PROTOCOL, QuorumPacket, SessionTouch, packet};
use wire::zk::txn::Txn;
use wire::zk::{SessionId, Sid, zxid};

#[derive(Debug)]
pub struct ObserverMaster {
    observers: Links,
    ping_at: u64,
    /// Sessions of the observers' clients, with their time-outs, of which the leader is still to hear.
    touched: BTreeMap<SessionId, i32>,
}

impl ObserverMaster {
    pub fn new(server: &Server, now: Now) -> ObserverMaster {
        let ping_at = now.mono + server.config.tick_ms / 2;
        ObserverMaster { observers: Links::new(), ping_at, touched: BTreeMap::new() }
    }

    pub fn links(&self) -> &Links {
        &self.observers
    }

    /// Observers that are served.
    pub fn in_sync(&self) -> usize {
        self.observers.values().filter(|link| link.stage == Stage::Active).count()
    }

    pub fn is_one_of_mine(&self, link: LinkId) -> bool {
        self.observers.contains_key(&link)
    }

    pub fn deadline(&self) -> u64 {
        self.ping_at
    }

    pub fn on_link(&mut self, link: LinkId, now: Now) {
        self.observers.insert(link, Link::new(now));
    }

    pub fn on_closed(&mut self, link: LinkId) {
        self.observers.remove(&link);
    }

    /// Takes an observer's packet. Returns what is the leader's to answer.
    pub fn on_packet(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<QuorumPacket> {
        let link = self.observers.get_mut(&id)?;
        link.heard_at = now.mono;
        let taken = match link.stage {
            Stage::Hello => self.on_hello(id, packet, server, out),
            Stage::AckEpoch => self.on_ack_epoch(id, packet, server, now, out),
            Stage::Syncing => on_new_leader_ack(link, id, packet, out),
            Stage::Active => return self.on_steady(packet, out),
            Stage::Epoch | Stage::Acked { .. } | Stage::Streaming | Stage::Synced => {
                Err("it spoke out of turn".into())
            }
        };
        if let Err(why) = taken {
            self.drop_link(id, &why, out);
        }
        None
    }

    pub fn drop_link(&mut self, id: LinkId, why: &str, out: &mut Vec<Effect>) {
        if let Some(link) = self.observers.remove(&id) {
            log(out, LogLevel::Warn, format!("Closing the connection to observer {}: {why}", link.sid));
            out.push(Effect::CloseLink { link: id });
        }
    }

    fn on_hello(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &Server,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if packet.kind != packet::OBSERVER_INFO {
            return Err(format!(
                "Non observer attempting to connect to ObserverMaster. type = {}",
                packet.kind
            ));
        }
        let info =
            LearnerInfo::decode(&packet.data.unwrap_or_default()).map_err(|error| error.to_string())?;
        links::check_hello(&info, server.members().committed().version)?;
        let earlier = links::of_the_same(&self.observers, id, info.sid);
        earlier.into_iter().for_each(|at| self.drop_link(at, "it has connected anew", out));
        let link = self.observers.get_mut(&id).expect("its packet is being handled");
        (link.sid, link.observer, link.stage) = (info.sid, true, Stage::AckEpoch);
        let epoch = zxid(server.current_epoch, 0);
        let packet = QuorumPacket::new(packet::LEADER_INFO, epoch, Some(PROTOCOL.encode()));
        out.push(Effect::SendPacket { link: id, packet });
        Ok(())
    }

    /// Everything that is committed here by now; commits from here on follow as INFORM.
    fn on_ack_epoch(
        &mut self,
        id: LinkId,
        packet: QuorumPacket,
        server: &Server,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), String> {
        if packet.kind != packet::ACK_EPOCH {
            return Err(format!("it answered LEADERINFO by a packet of type {}", packet.kind));
        }
        let link = self.observers.get_mut(&id).expect("its packet is being handled");
        let (packets, stream) = sync::packets(link.sid, packet.zxid, &server.history, out);
        out.extend(packets.into_iter().map(|packet| Effect::SendPacket { link: id, packet }));
        link.stage = Stage::Streaming;
        match stream {
            Some(stream) => out.push(Effect::SendSnapshot { link: id, stream }),
            None => self.on_snapshot_sent(id, server, now, out),
        }
        Ok(())
    }

    /// A part of its snapshot has left: the observer takes it.
    pub fn on_progress(&mut self, id: LinkId, now: Now) {
        if let Some(link) = self.observers.get_mut(&id).filter(|link| link.stage == Stage::Streaming) {
            link.heard_at = now.mono;
        }
    }

    /// What a snapshot may show of later commits has been told by now: NEWLEADER stands behind all of it.
    pub fn on_snapshot_sent(&mut self, id: LinkId, server: &Server, now: Now, out: &mut Vec<Effect>) {
        let Some(link) = self.observers.get_mut(&id).filter(|link| link.stage == Stage::Streaming) else {
            return;
        };
        (link.stage, link.heard_at) = (Stage::Syncing, now.mono);
        let text = server.members().last_seen().text.clone().into_bytes();
        let packet = QuorumPacket::new(packet::NEW_LEADER, zxid(server.current_epoch, 0), Some(text));
        out.push(Effect::SendPacket { link: id, packet });
    }

    fn on_steady(&mut self, packet: QuorumPacket, out: &mut Vec<Effect>) -> Option<QuorumPacket> {
        match packet.kind {
            packet::REQUEST | packet::REVALIDATE => return Some(packet),
            packet::PING => {
                let mut from = Reader::new(packet.data.unwrap_or_default());
                while let Ok(SessionTouch { session, timeout }) = from.read() {
                    self.touched.insert(session, timeout);
                }
            }
            // Of UPTODATE: an observer acknowledges nothing else.
            packet::ACK => {}
            kind => log(out, LogLevel::Warn, format!("unexpected quorum packet, type: {kind}")),
        }
        None
    }

    /// A transaction is committed. `designated`: it activates other members, and this is who leads under them.
    pub fn committed(&self, txn: &Txn, designated: Option<Sid>, out: &mut Vec<Effect>) {
        let (kind, data) = match designated {
            None => (packet::INFORM, txn.bytes.clone()),
            Some(leader) => {
                let mut data = BytesMut::with_capacity(8 + txn.bytes.len());
                leader.write(&mut data);
                data.extend_from_slice(&txn.bytes);
                (packet::INFORM_AND_ACTIVATE, data.freeze())
            }
        };
        let packet = QuorumPacket::new(kind, txn.zxid(), Some(data));
        for (link, _) in self.observers.iter().filter(|(_, link)| link.is_forwarded()) {
            out.push(Effect::SendPacket { link: *link, packet: packet.clone() });
        }
    }

    /// The leader's answer to what one observer asked.
    pub fn answer(&self, link: LinkId, packet: QuorumPacket, out: &mut Vec<Effect>) {
        if self.is_one_of_mine(link) {
            out.push(Effect::SendPacket { link, packet });
        }
    }

    pub fn take_touched(&mut self) -> BTreeMap<SessionId, i32> {
        std::mem::take(&mut self.touched)
    }

    /// Pings twice per tick; lets go of observers that are silent.
    pub fn tick(&mut self, server: &Server, now: Now, out: &mut Vec<Effect>) {
        if self.ping_at > now.mono {
            return;
        }
        self.ping_at = now.mono + server.config.tick_ms / 2;
        let limit = |stage| if stage == Stage::Active { server.sync_ms() } else { server.init_ms() };
        let silent = |link: &Link| link.heard_at + limit(link.stage) <= now.mono;
        let gone: Vec<LinkId> =
            self.observers.iter().filter(|(_, link)| silent(link)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.drop_link(id, "Read timed out", out));
        let ping = QuorumPacket::new(packet::PING, server.history.db.last_zxid(), None);
        for (link, _) in self.observers.iter().filter(|(_, link)| link.stage >= Stage::Syncing) {
            out.push(Effect::SendPacket { link: *link, packet: ping.clone() });
        }
    }

    /// Closes every connection: this server follows no more.
    pub fn shutdown(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.observers.keys().map(|link| Effect::CloseLink { link: *link }));
        self.observers.clear();
    }
}

fn on_new_leader_ack(
    link: &mut Link,
    id: LinkId,
    packet: QuorumPacket,
    out: &mut Vec<Effect>,
) -> Result<(), String> {
    if packet.kind != packet::ACK {
        return Err(format!("it answered NEWLEADER by a packet of type {}", packet.kind));
    }
    link.stage = Stage::Active;
    out.push(Effect::SendPacket { link: id, packet: QuorumPacket::new(packet::UP_TO_DATE, -1, None) });
    Ok(())
}

#[cfg(test)]
mod tests;
