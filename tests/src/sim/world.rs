//! The world's clock and everything that happens on it, in one order that the seed fixes.

use super::cells::History;
use super::checks::Checks;
use super::client::Client;
use super::invariants::Invariant::{EveryClientWrites, EveryoneServes, Watches};
use super::net::{Conn, Payload};
use super::node::{self, Clock, Node};
use super::profile::Profile;
use super::shape;
use super::{Figures, Report, Setup, Variety};
use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use zk_core::config::LocalSessionRules;
use zk_core::{Event, LinkId, Peer};

/// Within this time after the last fault every server must serve, and then have the same state.
const HEAL_MS: u64 = 15_000;
const SETTLE_MS: u64 = 15_000;
/// Within this time a healed ensemble ends the sessions that nobody has any more.
const EXPIRY_MS: u64 = 2 * super::node::SESSION_MS as u64;
/// How long an answer is under way at most in a healed network.
const ARRIVAL_MS: u64 = 500;
const CLIENTS: usize = 3;
/// Without a leader, where a seed has read-only mode.
const READ_ONLY_AFTER_MS: u64 = 500;

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
        /// Which of the connections between the two it travels on.
        link: u32,
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
    /// A snapshot that is being written goes on.
    Slice {
        node: usize,
        life: u32,
    },
    /// So does one that is sent.
    Piece {
        node: usize,
        life: u32,
        link: LinkId,
    },
    Boot {
        node: usize,
    },
    /// Its shell looks whether the disk has room again.
    Room {
        node: usize,
    },
    /// Packets of the first reach the second again.
    Heal {
        way: (usize, usize),
    },
    Fault,
    Act {
        client: usize,
    },
}

pub struct World {
    pub setup: Setup,
    pub profile: Profile,
    pub rng: ChaCha8Rng,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    pub nodes: Vec<Node>,
    pub conns: Vec<Conn>,
    /// How many faults keep packets of the first from the second.
    pub cuts: BTreeMap<(usize, usize), u32>,
    /// The last vote from one server to another: a fresh link repeats it.
    pub votes: BTreeMap<(usize, usize), Bytes>,
    pub vote_arrival: BTreeMap<(usize, usize), u64>,
    /// Counts the connections of the election port between two servers.
    pub vote_links: BTreeMap<(usize, usize), u32>,
    pub slow_network_until: u64,
    pub clients: Vec<Client>,
    /// What arrived for guests since it was last taken away: to whom, on which connection.
    pub guest_mail: Vec<(usize, usize, Payload)>,
    /// Guests that what is sent towards an end does not reach.
    pub guest_cuts: BTreeSet<(usize, usize)>,
    pub checks: Checks,
    pub history: History,
    /// The liveness part has begun.
    pub calm: bool,
    pub figures: Figures,
    trace: Vec<String>,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let profile = Profile::new(&mut rng, setup.variety);
        let observers = if setup.servers > 3 { rng.random_range(0..=setup.servers - 3) } else { 0 };
        let voters = setup.servers - observers;
        let mut configs = node::configs(voters, setup.servers, profile.commit_log_count);
        shape::reshape(setup.seed, &mut configs);
        configs.iter_mut().for_each(|config| config.term_end = profile.term_end);
        // By the seed itself, so that it draws nothing from what the others are made of.
        if setup.servers > 1 {
            let local = setup.seed % 8 == 7;
            for config in &mut configs {
                config.local_sessions = LocalSessionRules { enabled: local, upgrading: local };
                config.read_only_after_ms = (setup.seed % 8 == 3).then_some(READ_ONLY_AFTER_MS);
            }
        }
        if setup.variety == Variety::Changing {
            configs.iter_mut().for_each(node::let_members_change);
        }
        let nodes = configs.into_iter().map(|config| {
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
            profile,
            rng,
            now: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            conns: vec![],
            cuts: BTreeMap::new(),
            votes: BTreeMap::new(),
            vote_arrival: BTreeMap::new(),
            vote_links: BTreeMap::new(),
            slow_network_until: 0,
            clients: (0..CLIENTS).map(Client::new).collect(),
            guest_mail: vec![],
            guest_cuts: BTreeSet::new(),
            checks: Checks::default(),
            history: History::default(),
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
            changes: self.checks.changes(),
            ..self.figures
        };
        Report { failure, trace: self.trace, figures }
    }

    /// An ensemble for guests, without clients of its own. It moves by [`World::advance`].
    pub fn hosting(setup: Setup, faulty: bool) -> World {
        let mut world = World::new(setup);
        for node in 0..world.nodes.len() {
            world.schedule(0, Happening::Boot { node });
        }
        if faulty {
            world.schedule(1500, Happening::Fault);
        } else {
            world.calm = true;
        }
        world
    }

    /// When something happens next.
    pub fn next_at(&self) -> u64 {
        self.queue.first_key_value().map_or(u64::MAX, |((at, _), _)| *at)
    }

    /// Lets everything up to this moment happen.
    pub fn advance(&mut self, to: u64) -> Result<(), String> {
        self.run_until(to, |_| false)
    }

    /// The tree of a server that has everything that was committed, as far as one is seen.
    pub fn newest(&self) -> Option<&zk_core::Database> {
        let serving =
            self.nodes.iter().filter_map(|node| node.peer.as_ref()).filter(|peer| peer.status().serving);
        serving.map(Peer::database).max_by_key(|database| database.last_zxid())
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub fn run(&mut self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let after = self.rng.random_range(0..500);
            self.schedule(after, Happening::Boot { node });
        }
        (0..CLIENTS).for_each(|client| self.schedule(0, Happening::Act { client }));
        self.schedule(1500, Happening::Fault);
        self.run_until(self.profile.faulty_ms, |_| false)?;
        self.heal();
        let healed = self.now;
        self.run_until(healed + HEAL_MS, World::all_serve)?;
        if !self.all_serve() {
            return Err(EveryoneServes
                .broken(format!("not everyone serves {HEAL_MS} ms after the last fault: {}", self.modes())));
        }
        // A write of every client must still come through, on whatever server it is.
        self.clients.iter_mut().for_each(Client::ask_for_one_more);
        self.run_until(self.now + SETTLE_MS, |world| world.clients.iter().all(Client::is_content))?;
        if let Some(client) = self.clients.iter().find(|client| !client.is_content()) {
            return Err(EveryClientWrites.broken(format!(
                "client {} cannot write in a healed ensemble: {}",
                client.id,
                self.modes()
            )));
        }
        if self.checks.awaits_expiry() {
            self.run_until(self.now + EXPIRY_MS, |_| false)?;
        }
        self.run_until(self.now + SETTLE_MS, World::all_agree)?;
        self.checks.final_state(&self.nodes).map_err(|why| self.at(why))?;
        let Some(peer) = &self.nodes[0].peer else { return Err(EveryoneServes.broken("a server is down")) };
        self.figures.unclear = self.history.check(peer.database()).map_err(|why| self.at(why))?;
        // What is under way to the clients arrives.
        self.run_until(self.now + ARRIVAL_MS, |_| false)?;
        self.clients.iter().try_for_each(|client| self.check_client(client)).map_err(|why| self.at(why))
    }

    fn check_client(&self, client: &Client) -> Result<(), String> {
        let Some(peer) = &self.nodes[0].peer else { return Ok(()) };
        self.checks.session_state(client, peer.database())?;
        match client.overdue_watch(peer.database()).filter(|_| client.established) {
            Some(watch) => Err(Watches.broken(format!("client {} still waits for {watch}", client.id))),
            None => Ok(()),
        }
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

    pub fn schedule_at(&mut self, at: u64, happening: Happening) {
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
            Happening::Vote { from, to, vote, link } => self.vote_arrives(from, to, vote, link),
            Happening::Dial { from, life, to } => self.dial(from, life, to),
            Happening::DialFailed { from, life, to } => {
                self.deliver(from, life, Event::DialFailed { leader: to as i64 + 1 });
            }
            Happening::Synced { node, life } => self.synced(node, life),
            Happening::Loaded { node, life } => return self.loaded(node, life),
            Happening::Slice { node, life } => self.snapshot_slice(node, life),
            Happening::Piece { node, life, link } => self.snapshot_piece(node, life, link),
            Happening::Boot { node } => return self.boot(node),
            Happening::Room { node } => self.look_at_disk(node),
            Happening::Heal { way } => self.heal_way(way),
            Happening::Fault if !self.calm => self.fault(),
            Happening::Fault => {}
            Happening::Act { client } => self.act(client),
        }
        Ok(())
    }

    /// The liveness part begins: everyone is up and connected.
    pub fn heal(&mut self) {
        self.calm = true;
        self.note(|| "all is healed".into());
        for way in self.cuts.keys().copied().collect::<Vec<_>>() {
            self.cuts.insert(way, 1);
            self.heal_way(way);
        }
        self.slow_network_until = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].slow_disk_until = 0;
            self.nodes[node].full_disk_until = 0;
            if std::mem::take(&mut self.nodes[node].no_room_until) > self.now {
                self.look_at_disk(node);
            }
            self.schedule(1, Happening::Boot { node });
        }
    }

    pub fn all_serve(&self) -> bool {
        let serves = |peer: &Peer| {
            let status = peer.status();
            status.serving && !status.read_only
        };
        self.nodes.iter().all(|node| node.peer.as_ref().is_some_and(serves))
    }

    /// Whoever is being brought up shows its members when that is done.
    fn all_agree(&self) -> bool {
        if !self.all_serve() {
            return false;
        }
        let mut ends =
            self.nodes.iter().map(|node| node.peer.as_ref().map(|peer| peer.database().last_zxid()));
        let first = ends.next().flatten();
        first.is_some() && ends.all(|end| end == first)
    }

    fn modes(&self) -> String {
        let mode = |node: &Node| node.peer.as_ref().map(Peer::status);
        format!("{:?}", self.nodes.iter().map(mode).collect::<Vec<_>>())
    }

    pub fn count_reply(&mut self) {
        self.figures.replies += 1;
    }
}
