//! The world's clock and everything that happens on it, in one order that the seed fixes.

use super::checks::Checks;
use super::client::Client;
use super::net::{Conn, End, Payload};
use super::node::{self, Clock, Node};
use super::{Figures, Report, Setup};
use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use wire::Str;
use wire::jute::{Reader, Record};
use wire::zk::quorum::{Notification, QuorumPacket, SNAP_SIGNATURE};
use zk_core::peer::Mode;
use zk_core::{ConnId, Database, Effect, Event, LinkId, LogLevel, Now, Peer};

/// How long faults go on, ms.
const FAULTY_MS: u64 = 12_000;
/// Within this time after the last fault every server must serve, and then have the same state.
const HEAL_MS: u64 = 15_000;
const SETTLE_MS: u64 = 15_000;
/// How many events of a server's inbox are one batch at most.
const BATCH_MAX: usize = 8;
const CLIENTS: usize = 3;

#[derive(Debug, Clone)]
pub enum Happening {
    /// A server takes its inbox, or the time.
    Run {
        node: usize,
        life: u32,
    },
    /// What is due on a connection arrives.
    Pump {
        conn: usize,
        to: usize,
    },
    /// A vote arrives on the election port.
    Vote {
        from: usize,
        to: usize,
        vote: Bytes,
    },
    Dial {
        from: usize,
        life: u32,
        to: usize,
    },
    DialFailed {
        from: usize,
        life: u32,
        to: usize,
    },
    Synced {
        node: usize,
        life: u32,
    },
    /// What is left of a log that was cut has been loaded.
    Loaded {
        node: usize,
        life: u32,
    },
    Boot {
        node: usize,
    },
    Heal {
        pair: (usize, usize),
    },
    Fault,
    Act {
        client: usize,
    },
}

pub struct World {
    setup: Setup,
    pub rng: ChaCha8Rng,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    pub nodes: Vec<Node>,
    pub conns: Vec<Conn>,
    /// How many faults keep a pair of servers apart.
    pub cuts: BTreeMap<(usize, usize), u32>,
    /// The last vote from one server to another: a fresh link repeats it.
    votes: BTreeMap<(usize, usize), Bytes>,
    vote_arrival: BTreeMap<(usize, usize), u64>,
    pub slow_network_until: u64,
    pub clients: Vec<Client>,
    pub checks: Checks,
    /// The liveness part has begun.
    pub calm: bool,
    figures: Figures,
    trace: Vec<String>,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let observers = if setup.servers > 3 { rng.random_range(0..=setup.servers - 3) } else { 0 };
        let nodes = node::configs(setup.servers - observers, setup.servers).into_iter().map(|config| {
            let clock = Clock {
                wall_offset: rng.random_range(-600_000..600_000),
                mono_origin: rng.random_range(0..1_000_000),
                rate: rng.random_range(950..=1050),
            };
            Node::new(config, clock)
        });
        let nodes = nodes.collect();
        World {
            setup,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            conns: vec![],
            cuts: BTreeMap::new(),
            votes: BTreeMap::new(),
            vote_arrival: BTreeMap::new(),
            slow_network_until: 0,
            clients: (0..CLIENTS).map(Client::new).collect(),
            checks: Checks::default(),
            calm: false,
            figures: Figures::default(),
            trace: vec![],
        }
    }

    pub fn report(self, failure: Option<String>) -> Report {
        let figures = Figures {
            virtual_ms: self.now,
            writes_acked: self.checks.writes_acked(),
            leaderships: self.checks.leaderships(),
            ..self.figures
        };
        Report { failure, trace: self.trace, figures }
    }

    pub fn run(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let after = self.rng.random_range(0..500);
            self.schedule(after, Happening::Boot { node });
        }
        (0..CLIENTS).for_each(|client| self.schedule(0, Happening::Act { client }));
        self.schedule(1500, Happening::Fault);
        self.run_until(FAULTY_MS, |_| false)?;
        self.heal();
        let healed = self.now;
        self.run_until(healed + HEAL_MS, World::all_serve)?;
        if !self.all_serve() {
            return Err(format!("not everyone serves {HEAL_MS} ms after the last fault: {}", self.modes()));
        }
        // A write of every client must still come through, on whatever server it is.
        self.clients.iter_mut().for_each(Client::ask_for_one_more);
        self.run_until(self.now + SETTLE_MS, |world| world.clients.iter().all(Client::is_content))?;
        if let Some(client) = self.clients.iter().find(|client| !client.is_content()) {
            return Err(format!("client {} cannot write in a healed ensemble: {}", client.id, self.modes()));
        }
        self.run_until(self.now + SETTLE_MS, World::all_agree)?;
        self.checks.final_state(&self.nodes).map_err(|why| self.at(why))
    }

    fn run_until(&mut self, end: u64, done: impl Fn(&World) -> bool) -> Result<(), String> {
        while !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = entry.key().0;
            let happening = entry.remove();
            self.happen(happening).map_err(|why| self.at(why))?;
        }
        Ok(())
    }

    fn at(&self, why: String) -> String {
        format!("at {} ms: {why}", self.now)
    }

    pub fn schedule(&mut self, after: u64, happening: Happening) {
        self.schedule_at(self.now + after, happening);
    }

    fn schedule_at(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), happening);
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.setup.trace {
            self.trace.push(format!("{:>6} {}", self.now, what()));
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Run { node, life } => return self.run_node(node, life),
            Happening::Pump { conn, to } => return self.pump(conn, to),
            Happening::Vote { from, to, vote } => self.vote_arrives(from, to, vote),
            Happening::Dial { from, life, to } => self.dial(from, life, to),
            Happening::DialFailed { from, life, to } => {
                self.deliver(from, life, Event::DialFailed { leader: to as i64 + 1 });
            }
            Happening::Synced { node, life } => self.synced(node, life),
            Happening::Loaded { node, life } => {
                let database = Box::new(self.nodes[node].disk.recover(0)?.database);
                self.deliver(node, life, Event::Truncated { database });
            }
            Happening::Boot { node } => return self.boot(node),
            Happening::Heal { pair } => self.heal_pair(pair),
            Happening::Fault if !self.calm => self.fault(),
            Happening::Fault => {}
            Happening::Act { client } => self.act(client),
        }
        Ok(())
    }

    // Servers.

    fn boot(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].peer.is_some() {
            return Ok(());
        }
        let server = &mut self.nodes[node];
        let recovered = server.disk.recover(server.config.commit_log_count)?;
        let last = recovered.last_logged;
        server.peer = Some(Peer::new(server.config.clone(), recovered));
        server.life += 1;
        server.run_at = None;
        server.inbox.clear();
        self.note(|| format!("server {} starts with 0x{last:x}", node + 1));
        for conn in std::mem::take(&mut self.nodes[node].silent) {
            self.reset(conn);
        }
        self.wake(node, 0);
        for other in 0..self.nodes.len() {
            self.repeat_vote(other, node);
        }
        Ok(())
    }

    pub fn crash(&mut self, node: usize) {
        if self.nodes[node].peer.take().is_none() {
            return;
        }
        self.figures.crashes += 1;
        let unsynced = self.nodes[node].disk.unsynced();
        let kept = self.rng.random_range(0..=unsynced);
        self.nodes[node].disk.crash(kept);
        if self.nodes.len() == 1 {
            self.checks.forget_behind(self.nodes[node].disk.last_synced());
        }
        self.note(|| format!("server {} crashes; {kept} of {unsynced} unsynced appends survive", node + 1));
        self.votes.retain(|(from, _), _| *from != node);
        let silent = self.rng.random_bool(0.3);
        for conn in 0..self.conns.len() {
            if !self.conns[conn].open {
                continue;
            }
            let Some(end) = self.conns[conn].end_of(node) else { continue };
            self.conns[conn].queues[end].clear();
            if silent && self.conns[conn].servers().is_some() {
                self.nodes[node].silent.push(conn);
            } else {
                self.close(conn, end);
            }
        }
    }

    pub fn leads(&self, node: usize) -> bool {
        self.nodes[node].peer.as_ref().is_some_and(|peer| peer.status().mode == Mode::Leading)
    }

    /// A snapshot as the shell takes them now and then.
    pub fn snapshot(&mut self, node: usize) {
        let Node { peer: Some(peer), disk, .. } = &mut self.nodes[node] else { return };
        if peer.snapshot_basis().is_some() {
            disk.save_snapshot(peer.database());
        }
    }

    /// The server runs after `after` ms at the latest.
    fn wake(&mut self, node: usize, after: u64) {
        let server = &mut self.nodes[node];
        let at = (self.now + after).max(server.stalled_until);
        if server.run_at.is_none_or(|run_at| at < run_at) {
            server.run_at = Some(at);
            let life = server.life;
            self.schedule_at(at, Happening::Run { node, life });
        }
    }

    pub fn deliver(&mut self, node: usize, life: u32, event: Event) {
        if self.nodes[node].peer.is_some() && self.nodes[node].life == life {
            self.nodes[node].inbox.push_back(event);
            let after = self.rng.random_range(0..2);
            self.wake(node, after);
        }
    }

    fn run_node(&mut self, node: usize, life: u32) -> Result<(), String> {
        let server = &mut self.nodes[node];
        if server.life != life || server.run_at != Some(self.now) {
            return Ok(());
        }
        server.run_at = None;
        if server.stalled_until > self.now {
            self.wake(node, 0);
            return Ok(());
        }
        let Some(peer) = &mut server.peer else { return Ok(()) };
        let now: Now = server.clock.now(self.now);
        let mut out = vec![];
        let batch = self.rng.random_range(1..=BATCH_MAX);
        let mut events: Vec<Event> = Vec::with_capacity(batch + 1);
        while events.len() < batch
            && let Some(event) = server.inbox.pop_front()
        {
            events.push(event);
        }
        if peer.deadline().is_some_and(|deadline| deadline <= now.mono) {
            events.push(Event::Tick);
        }
        for event in events {
            peer.step(now, event, &mut out);
            self.checks.after_step(node, life, peer)?;
        }
        let crashes = !self.calm && self.rng.random_bool(0.0015);
        let performed = if crashes { self.rng.random_range(0..=out.len()) } else { out.len() };
        for effect in out.into_iter().take(performed) {
            self.perform(node, life, effect)?;
        }
        if crashes {
            self.crash(node);
            let down = self.rng.random_range(20..1500);
            self.schedule(down, Happening::Boot { node });
            return Ok(());
        }
        self.rest(node);
        Ok(())
    }

    /// Schedules the next run: more events, or the deadline.
    fn rest(&mut self, node: usize) {
        let server = &self.nodes[node];
        let Some(peer) = &server.peer else { return };
        let after = if server.inbox.is_empty() {
            peer.deadline().map(|mono| server.clock.world_at(mono).saturating_sub(self.now).max(1))
        } else {
            Some(1)
        };
        if let Some(after) = after {
            self.wake(node, after);
        }
    }

    fn perform(&mut self, node: usize, life: u32, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::ToClient { conn, bytes } => self.send(conn.0 as usize, 0, Payload::Frame(bytes)),
            Effect::CloseClient { conn } => {
                self.close(conn.0 as usize, 1);
                self.deliver(node, life, Event::ClientClosed { conn });
            }
            Effect::SendVote { to, vote } => self.send_vote(node, to as usize - 1, vote.encode()),
            Effect::DialLeader { leader } => {
                let after = self.latency();
                self.schedule(after, Happening::Dial { from: node, life, to: leader as usize - 1 });
            }
            Effect::SendPacket { link, packet } => {
                let name = format!("{} 0x{:x}", packet.kind, packet.zxid);
                self.note(|| format!("server {} sends packet {name} on link {}", node + 1, link.0));
                self.send(link.0 as usize / 2, 1 - link.0 as usize % 2, Payload::Packet(packet.encode()));
            }
            Effect::SendSnapshot { link, stream } => {
                self.send(link.0 as usize / 2, 1 - link.0 as usize % 2, Payload::Snapshot(stream));
            }
            Effect::CloseLink { link } => self.close(link.0 as usize / 2, link.0 as usize % 2),
            Effect::Append { zxid, txn } => {
                self.checks.appended(zxid, &txn)?;
                self.nodes[node].disk.append(zxid, txn);
                self.begin_sync(node);
            }
            Effect::RollLog => {}
            Effect::Truncate { zxid } => self.truncate(node, life, zxid),
            Effect::SaveSnapshot => {
                self.flush(node, life);
                if let Node { peer: Some(peer), disk, .. } = &mut self.nodes[node] {
                    disk.save_snapshot(peer.database());
                }
            }
            Effect::StoreAcceptedEpoch { epoch } => self.nodes[node].disk.accepted_epoch = epoch,
            Effect::StoreCurrentEpoch { epoch } => self.nodes[node].disk.current_epoch = epoch,
            Effect::Log { level, line } => {
                if level != LogLevel::Debug {
                    self.note(|| format!("server {}: {line}", node + 1));
                }
            }
            Effect::Exit { code, why } => {
                return Err(format!("server {} exits with {code}: {why}", node + 1));
            }
        }
        Ok(())
    }

    fn begin_sync(&mut self, node: usize) {
        if self.nodes[node].disk.begin_sync() {
            let slow = self.nodes[node].slow_disk_until > self.now;
            let ms = self.rng.random_range(if slow { 50..600 } else { 1..8 });
            let life = self.nodes[node].life;
            self.schedule(ms, Happening::Synced { node, life });
        }
    }

    fn synced(&mut self, node: usize, life: u32) {
        if self.nodes[node].peer.is_none() || self.nodes[node].life != life {
            return;
        }
        if let Some(zxid) = self.nodes[node].disk.end_sync() {
            self.deliver(node, life, Event::Durable { zxid });
        }
        self.begin_sync(node);
    }

    fn flush(&mut self, node: usize, life: u32) {
        if let Some(zxid) = self.nodes[node].disk.flush() {
            self.deliver(node, life, Event::Durable { zxid });
        }
    }

    fn truncate(&mut self, node: usize, life: u32, zxid: i64) {
        self.flush(node, life);
        self.nodes[node].disk.truncate(zxid);
        let ms = if self.rng.random_bool(0.3) { self.rng.random_range(50..800) } else { 2 };
        self.schedule(ms, Happening::Loaded { node, life });
    }

    // The network.

    fn latency(&mut self) -> u64 {
        let slow = self.slow_network_until > self.now;
        self.rng.random_range(if slow { 5..250 } else { 0..6 })
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains_key(&(a.min(b), a.max(b)))
    }

    pub fn send(&mut self, conn: usize, to: usize, payload: Payload) {
        if self.conns[conn].open {
            let at = self.now + self.latency();
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

    fn pump(&mut self, conn: usize, to: usize) -> Result<(), String> {
        if self.conns[conn].servers().is_some_and(|(a, b)| self.is_cut(a, b)) {
            return Ok(());
        }
        while let Some((_, payload)) = self.conns[conn].queues[to].pop_front_if(|(at, _)| *at <= self.now) {
            match self.conns[conn].ends[to] {
                End::Client { client } => self.to_client(client, conn, payload)?,
                End::Server { node, life } => {
                    let quorum = self.conns[conn].servers().is_some();
                    let event = to_event(conn, to, quorum, payload)?;
                    self.deliver(node, life, event);
                }
            }
        }
        Ok(())
    }

    fn dial(&mut self, from: usize, life: u32, to: usize) {
        if self.is_cut(from, to) {
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

    fn send_vote(&mut self, from: usize, to: usize, vote: Bytes) {
        self.votes.insert((from, to), vote);
        self.repeat_vote(from, to);
    }

    /// Sends the last vote again: it is new, or so is the link.
    fn repeat_vote(&mut self, from: usize, to: usize) {
        if self.is_cut(from, to) || self.nodes[from].peer.is_none() || self.nodes[to].peer.is_none() {
            return;
        }
        let Some(vote) = self.votes.get(&(from, to)).cloned() else { return };
        let at = self.now + self.latency();
        let arrival = self.vote_arrival.entry((from, to)).or_default();
        *arrival = at.max(*arrival);
        let at = *arrival;
        self.schedule_at(at, Happening::Vote { from, to, vote });
    }

    fn vote_arrives(&mut self, from: usize, to: usize, vote: Bytes) {
        if self.is_cut(from, to) {
            return;
        }
        let life = self.nodes[to].life;
        let vote = Notification::decode(&vote).expect("it was encoded here");
        self.deliver(to, life, Event::Vote { from: from as i64 + 1, vote });
    }

    fn heal_pair(&mut self, pair: (usize, usize)) {
        let Some(cuts) = self.cuts.get_mut(&pair) else { return };
        *cuts -= 1;
        if *cuts > 0 {
            return;
        }
        self.cuts.remove(&pair);
        self.note(|| format!("{} and {} can talk again", pair.0 + 1, pair.1 + 1));
        for conn in 0..self.conns.len() {
            let between = self.conns[conn].servers();
            if between != Some(pair) && between != Some((pair.1, pair.0)) {
                continue;
            }
            if self.conns[conn].open && self.rng.random_bool(0.4) {
                self.reset(conn);
            }
            for to in [0, 1] {
                self.schedule(1, Happening::Pump { conn, to });
            }
        }
        self.repeat_vote(pair.0, pair.1);
        self.repeat_vote(pair.1, pair.0);
    }

    /// The liveness part begins: everyone is up and connected.
    fn heal(&mut self) {
        self.calm = true;
        self.note(|| "all is healed".into());
        for pair in self.cuts.keys().copied().collect::<Vec<_>>() {
            self.cuts.insert(pair, 1);
            self.heal_pair(pair);
        }
        self.slow_network_until = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].slow_disk_until = 0;
            self.schedule(1, Happening::Boot { node });
        }
    }

    fn all_serve(&self) -> bool {
        self.nodes.iter().all(|node| node.peer.as_ref().is_some_and(|peer| peer.status().serving))
    }

    fn all_agree(&self) -> bool {
        let mut ends =
            self.nodes.iter().map(|node| node.peer.as_ref().map(|peer| peer.database().last_zxid()));
        let first = ends.next().flatten();
        first.is_some() && ends.all(|end| end == first)
    }

    fn modes(&self) -> String {
        let mode = |node: &Node| node.peer.as_ref().map(Peer::status);
        format!("{:?}", self.nodes.iter().map(mode).collect::<Vec<_>>())
    }

    // Clients.

    /// Connects a client to a server; `None` where nobody answers.
    pub fn connect(&mut self, client: usize, node: usize) -> Option<usize> {
        self.nodes[node].peer.as_ref()?;
        let life = self.nodes[node].life;
        self.conns.push(Conn::new([End::Client { client }, End::Server { node, life }]));
        let conn = self.conns.len() - 1;
        self.send(conn, 1, Payload::Opened { leader: None });
        Some(conn)
    }

    pub fn count_reply(&mut self) {
        self.figures.replies += 1;
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
