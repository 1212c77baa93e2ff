//! Connections to other servers, as the loop writes to them, and what operators are told of each.

use crate::net::gate::Gate;
use crate::net::outlet::Outlet;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::jute::Record;
use wire::zk::Zxid;
use wire::zk::quorum::{QuorumPacket, packet};
use zk_core::LinkId;

pub(crate) type OutLinks = BTreeMap<LinkId, OutLink>;

#[derive(Debug)]
pub(crate) struct OutLink {
    pub outlet: Outlet,
    pub gate: Arc<Gate>,
    /// This turn's output.
    pub out: BytesMut,
    pub closing: bool,
    /// Wall clock, ms.
    pub established: i64,
    pub stats: LinkStats,
    /// Packets in `out`, and an upper bound of those that the other side has not taken yet.
    fresh: usize,
    unsent: usize,
}

/// Since the connection's start, or the last `observer_connection_stat_reset`. What is said while a learner is brought
/// up does not count, as in Java.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkStats {
    pub received: u64,
    pub sent: u64,
    /// Of those received, requests of clients.
    pub requests: u64,
    /// Of the last packet sent that has one; -1 before it.
    pub last_zxid: Zxid,
}

impl Default for LinkStats {
    fn default() -> LinkStats {
        LinkStats { received: 0, sent: 0, requests: 0, last_zxid: -1 }
    }
}

impl LinkStats {
    fn note_sent(&mut self, packet: &QuorumPacket) {
        if !matches!(packet.kind, packet::LEADER_INFO | packet::SNAP) {
            self.sent += 1;
            self.last_zxid = if packet.zxid > 0 { packet.zxid } else { self.last_zxid };
        }
    }

    pub fn note_received(&mut self, kind: i32) {
        let brings_up = [packet::FOLLOWER_INFO, packet::OBSERVER_INFO, packet::ACK_EPOCH, packet::ACK];
        self.received += u64::from(!brings_up.contains(&kind));
        self.requests += u64::from(kind == packet::REQUEST);
    }
}

impl OutLink {
    pub fn new(outlet: Outlet, gate: Arc<Gate>, established: i64) -> OutLink {
        OutLink {
            outlet,
            gate,
            out: BytesMut::new(),
            closing: false,
            established,
            stats: LinkStats::default(),
            fresh: 0,
            unsent: 0,
        }
    }

    pub fn queue(&mut self, packet: &QuorumPacket) {
        packet.write(&mut self.out);
        self.stats.note_sent(packet);
        self.fresh += 1;
    }

    /// This turn's packets leave, with whatever is still on its way. Says how many wait for each other.
    pub fn leaves(&mut self) -> usize {
        if self.outlet.pending() == 0 {
            self.unsent = 0;
        }
        self.unsent += std::mem::take(&mut self.fresh);
        self.unsent
    }

    /// Packets and bytes that the other side has not taken yet.
    pub fn queued(&self) -> (usize, usize) {
        match self.outlet.pending() + self.out.len() {
            0 => (0, 0),
            bytes => (self.unsent + self.fresh, bytes),
        }
    }

    pub fn from(&self) -> Option<SocketAddr> {
        let from = self.outlet.peer_addr()?;
        Some(SocketAddr::new(from.ip().to_canonical(), from.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brings_a_learner_up_does_not_count() {
        let mut stats = LinkStats::default();
        for kind in [packet::OBSERVER_INFO, packet::ACK_EPOCH, packet::ACK, packet::PING, packet::REQUEST] {
            stats.note_received(kind);
        }
        for (kind, zxid) in [(packet::LEADER_INFO, 9), (packet::SNAP, 9), (packet::UP_TO_DATE, 0)] {
            stats.note_sent(&QuorumPacket::new(kind, zxid, None));
        }
        assert_eq!(stats, LinkStats { received: 2, sent: 1, requests: 1, last_zxid: -1 });
        stats.note_sent(&QuorumPacket::new(packet::INFORM, 7, None));
        assert_eq!((stats.sent, stats.last_zxid), (2, 7));
    }
}
