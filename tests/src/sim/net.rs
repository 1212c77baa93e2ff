//! Connections: two queues, each first in, first out.

use bytes::Bytes;
use std::collections::VecDeque;
use wire::zk::Sid;

/// Who holds an end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `life`: which of its starts. A connection does not outlive the process.
    Server {
        node: usize,
        life: u32,
    },
    Client {
        client: usize,
    },
    /// Whoever else lives in this world: what it is sent waits in [`super::world::World::guest_mail`].
    Guest {
        guest: usize,
    },
}

#[derive(Debug, Clone)]
pub enum Payload {
    /// `leader` as in [`zk_core::Event::LinkOpened`].
    Opened {
        leader: Option<Sid>,
    },
    /// A quorum packet, encoded.
    Packet(Bytes),
    /// A snapshot stream with its signature.
    Snapshot(Bytes),
    /// Client traffic: a frame's payload towards the server, whole frames towards the client.
    Frame(Bytes),
    Closed,
}

#[derive(Debug)]
pub struct Conn {
    pub ends: [End; 2],
    /// `queues[i]`: on the way to `ends[i]`, with the time of arrival.
    pub queues: [VecDeque<(u64, Payload)>; 2],
    pub open: bool,
}

impl Conn {
    pub fn new(ends: [End; 2]) -> Conn {
        Conn { ends, queues: [VecDeque::new(), VecDeque::new()], open: true }
    }

    /// Queues towards `ends[to]`, never ahead of what is there; returns the time of arrival.
    pub fn push(&mut self, to: usize, at: u64, payload: Payload) -> u64 {
        let at = self.queues[to].back().map_or(at, |(last, _)| at.max(*last));
        self.queues[to].push_back((at, payload));
        at
    }

    /// The two servers, where both ends are servers.
    pub fn servers(&self) -> Option<(usize, usize)> {
        match self.ends {
            [End::Server { node: a, .. }, End::Server { node: b, .. }] => Some((a, b)),
            _ => None,
        }
    }

    /// Which end this server's process holds.
    pub fn end_of(&self, node: usize) -> Option<usize> {
        self.ends.iter().position(|end| matches!(end, End::Server { node: at, .. } if *at == node))
    }
}
