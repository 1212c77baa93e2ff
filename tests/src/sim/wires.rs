//! The network between servers, and between clients and servers.

use super::net::{Conn, End, Payload};
use super::world::{Happening, World};
use bytes::Bytes;
use rand::RngExt;
use std::net::{IpAddr, Ipv4Addr};
use wire::Str;
use wire::jute::{Reader, Record};
use wire::zk::quorum::{Notification, QuorumPacket, SNAP_SIGNATURE};
use zk_core::{ConnId, Database, Event, LinkId};

impl World {
    pub fn latency(&mut self) -> u64 {
        let slow = self.slow_network_until > self.now;
        self.rng.random_range(if slow { 5..250 } else { 0..6 })
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    fn is_cut_either_way(&self, a: usize, b: usize) -> bool {
        self.is_cut(a, b) || self.is_cut(b, a)
    }

    pub fn send(&mut self, conn: usize, to: usize, payload: Payload) {
        if self.conns[conn].open {
            let mut at = self.now + self.latency();
            if matches!(payload, Payload::Snapshot(_)) {
                at += self.rng.random_range(0..self.profile.stream_ms);
            }
            let at = self.conns[conn].push(to, at, payload);
            self.schedule_at(at, Happening::Pump { conn, to });
        }
    }

    /// `by` closes: what it sent still arrives, what it has not read is lost.
    pub fn close(&mut self, conn: usize, by: usize) {
        self.conns[conn].queues[by].clear();
        self.send(conn, 1 - by, Payload::Closed);
        self.conns[conn].open = false;
    }

    /// Both ends learn that the connection is gone, and nothing else.
    pub fn reset(&mut self, conn: usize) {
        for to in [0, 1] {
            self.conns[conn].queues[to].clear();
            self.send(conn, to, Payload::Closed);
        }
        self.conns[conn].open = false;
    }

    pub fn pump(&mut self, conn: usize, to: usize) -> Result<(), String> {
        let way = self.conns[conn].servers().map(|(a, b)| if to == 1 { (a, b) } else { (b, a) });
        if way.is_some_and(|(from, to)| self.is_cut(from, to)) || self.is_guest_cut(conn, to) {
            return Ok(());
        }
        while let Some((_, payload)) = self.conns[conn].queues[to].pop_front_if(|(at, _)| *at <= self.now) {
            match self.conns[conn].ends[to] {
                End::Client { client } => self.to_client(client, conn, payload)?,
                End::Guest { guest } => self.guest_mail.push((guest, conn, payload)),
                End::Server { node, life } => {
                    let quorum = self.conns[conn].servers().is_some();
                    let event = to_event(conn, to, quorum, payload)?;
                    self.deliver(node, life, event);
                }
            }
        }
        Ok(())
    }

    fn is_guest_cut(&self, conn: usize, to: usize) -> bool {
        matches!(self.conns[conn].ends[0], End::Guest { guest } if self.guest_cuts.contains(&(guest, to)))
    }

    /// Holds up what goes to the guest (`to` 0) or to its server (1), until [`World::join_guest`].
    pub fn cut_guest(&mut self, guest: usize, to: usize) {
        self.guest_cuts.insert((guest, to));
    }

    pub fn join_guest(&mut self, guest: usize, to: usize) {
        self.guest_cuts.remove(&(guest, to));
        for conn in 0..self.conns.len() {
            if self.conns[conn].ends[0] == (End::Guest { guest }) {
                self.schedule(0, Happening::Pump { conn, to });
            }
        }
    }

    pub fn dial(&mut self, from: usize, life: u32, to: usize) {
        if self.is_cut_either_way(from, to) {
            let after = self.rng.random_range(300..1500);
            return self.schedule(after, Happening::DialFailed { from, life, to });
        }
        if self.nodes[to].peer.is_none() {
            return self.schedule(1, Happening::DialFailed { from, life, to });
        }
        if self.nodes[from].peer.is_none() || self.nodes[from].life != life {
            return;
        }
        let ends = [End::Server { node: from, life }, End::Server { node: to, life: self.nodes[to].life }];
        self.conns.push(Conn::new(ends));
        let conn = self.conns.len() - 1;
        self.send(conn, 0, Payload::Opened { leader: Some(to as i64 + 1) });
        self.send(conn, 1, Payload::Opened { leader: None });
    }

    pub fn send_vote(&mut self, from: usize, to: usize, vote: Bytes) {
        self.votes.insert((from, to), vote);
        self.repeat_vote(from, to);
    }

    /// Sends the last vote again: it is new, or so is the link.
    pub fn repeat_vote(&mut self, from: usize, to: usize) {
        if self.is_cut(from, to) || self.nodes[from].peer.is_none() || self.nodes[to].peer.is_none() {
            return;
        }
        let Some(vote) = self.votes.get(&(from, to)).cloned() else { return };
        let at = self.now + self.latency();
        let arrival = self.vote_arrival.entry((from, to)).or_default();
        *arrival = at.max(*arrival);
        let at = *arrival;
        let link = self.vote_link(from, to);
        self.schedule_at(at, Happening::Vote { from, to, vote, link });
    }

    fn vote_link(&self, a: usize, b: usize) -> u32 {
        self.vote_links.get(&(a.min(b), a.max(b))).copied().unwrap_or_default()
    }

    /// The connection of the election port breaks: what is under way is lost, and the last votes go out again.
    pub fn reset_votes(&mut self, a: usize, b: usize) {
        *self.vote_links.entry((a.min(b), a.max(b))).or_default() += 1;
        self.note(|| format!("the votes between {} and {} are lost", a + 1, b + 1));
        self.repeat_vote(a, b);
        self.repeat_vote(b, a);
    }

    pub fn vote_arrives(&mut self, from: usize, to: usize, vote: Bytes, link: u32) {
        if self.is_cut(from, to) || link != self.vote_link(from, to) {
            return;
        }
        let life = self.nodes[to].life;
        let vote = Notification::decode(&vote).expect("it was encoded here");
        self.deliver(to, life, Event::Vote { from: from as i64 + 1, vote });
    }

    pub fn heal_way(&mut self, way: (usize, usize)) {
        let Some(cuts) = self.cuts.get_mut(&way) else { return };
        *cuts -= 1;
        if *cuts > 0 {
            return;
        }
        self.cuts.remove(&way);
        self.note(|| format!("{} reaches {} again", way.0 + 1, way.1 + 1));
        for conn in 0..self.conns.len() {
            let between = self.conns[conn].servers();
            if between != Some(way) && between != Some((way.1, way.0)) {
                continue;
            }
            if self.conns[conn].open && self.rng.random_bool(0.3) {
                self.reset(conn);
            }
            for to in [0, 1] {
                self.schedule(1, Happening::Pump { conn, to });
            }
        }
        self.repeat_vote(way.0, way.1);
    }

    /// Connects a client to a server; `None` where nobody answers.
    pub fn connect(&mut self, client: usize, node: usize) -> Option<usize> {
        self.connect_end(End::Client { client }, node)
    }

    /// The same for a guest.
    pub fn connect_guest(&mut self, guest: usize, node: usize) -> Option<usize> {
        self.connect_end(End::Guest { guest }, node)
    }

    fn connect_end(&mut self, end: End, node: usize) -> Option<usize> {
        self.nodes[node].peer.as_ref()?;
        let life = self.nodes[node].life;
        self.conns.push(Conn::new([end, End::Server { node, life }]));
        let conn = self.conns.len() - 1;
        self.send(conn, 1, Payload::Opened { leader: None });
        Some(conn)
    }
}

fn to_event(conn: usize, to: usize, quorum: bool, payload: Payload) -> Result<Event, String> {
    let (link, client) = (LinkId(conn as u64 * 2 + to as u64), ConnId(conn as u64));
    Ok(match payload {
        Payload::Opened { leader } if quorum => Event::LinkOpened { link, leader },
        Payload::Opened { .. } => {
            Event::ClientOpened { conn: client, peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)) }
        }
        Payload::Packet(bytes) => {
            let packet = QuorumPacket::decode(&bytes).map_err(|error| format!("packet: {error}"))?;
            Event::LinkPacket { link, packet }
        }
        Payload::Snapshot(bytes) => {
            let mut from = Reader::new(bytes);
            let database = Database::decode_stream(&mut from).map_err(|error| format!("stream: {error}"))?;
            let signature: Str = from.read().map_err(|error| format!("signature: {error}"))?;
            if signature != SNAP_SIGNATURE || from.remaining() > 0 {
                return Err("a snapshot stream does not end with its signature".into());
            }
            Event::LinkSnapshot { link, database: Box::new(database) }
        }
        Payload::Frame(frame) => Event::ClientFrame { conn: client, frame },
        Payload::Closed if quorum => Event::LinkClosed { link },
        Payload::Closed => Event::ClientClosed { conn: client },
    })
}
