//! The world's clock, its wires, and everything that happens on them in one order that the seed fixes.

use super::broker::{Disk, Node, Stored};
use super::checks::Checks;
use super::clients::{Consumer, Producer};
use super::controller::Controller;
use super::faults::Profile;
use super::{Figures, Report, Setup};
use broker_core::ErrorCode;
use broker_core::partition::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const LAG_MS: i64 = 400;
pub const SESSION_MS: i64 = 150;
const CHAOS_MS: i64 = 6_000;
const CALM_MS: i64 = 6_000;
/// Producers end this long before the run does.
const CLOSING_MS: i64 = 2_000;
/// The controller's place on the wires.
pub const CONTROLLER: i32 = 0;

#[derive(Debug, Clone)]
pub enum Message {
    LeaderAndIsr(LeaderAndIsr),
    Fetch { from: i32, id: u64, ask: NextFetch },
    Fetched { id: u64, ask: NextFetch, answer: Result<Fetched, ErrorCode>, batches: Vec<Stored> },
    Bounds { id: u64, ask: NextFetch, bounds: Result<OffsetBounds, ErrorCode> },
    Alter { from: i32, broker_epoch: u64, alter: AlterPartition },
    Altered { request: u64, result: Result<Altered, ErrorCode> },
}

pub struct World {
    setup: Setup,
    pub profile: Profile,
    pub rng: ChaCha8Rng,
    pub now: i64,
    pub min_insync: usize,
    pub nodes: BTreeMap<i32, Node>,
    pub controller: Controller,
    /// By the time of arrival: to whom, in which of its lives as the controller knew it.
    pub wire: BTreeMap<(i64, u64), (i32, u64, Message)>,
    /// Nothing gets from the first to the second before then.
    pub cuts: BTreeMap<(i32, i32), i64>,
    sequence: u64,
    pub clients: Vec<Producer>,
    pub consumers: Vec<Consumer>,
    pub calm: bool,
    /// Lost their tail while the controller counted them as in sync, and it does not know yet.
    pub tainted: BTreeSet<i32>,
    pub checks: Checks,
    pub crashes: u64,
    pub elections: u64,
    trace: Vec<String>,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let profile = Profile::new(&mut rng);
        let min_insync = rng.random_range(1..=2);
        let disk = Disk { batches: vec![], flushed: 0, epochs: vec![], high_watermark: 0 };
        let node = |id: i32| Node {
            disk: disk.clone(),
            up: Some(Partition::new(id, config(min_insync), LogState::default())),
            broker_epoch: id as u64,
            fetch_at: 0,
            fetch_id: 0,
            alter: None,
            waiting: BTreeMap::new(),
        };
        let client = |n: i64| Producer {
            producer_id: 1000 + n,
            sequence: 0,
            value: n as u64 + 1,
            count: 1,
            retry_at: 0,
            leader_epoch: 0,
        };
        let ids: Vec<i32> = (1..=setup.replicas as i32).collect();
        let mut world = World {
            setup,
            profile,
            rng,
            now: 0,
            min_insync,
            nodes: ids.iter().map(|&id| (id, node(id))).collect(),
            controller: Controller {
                leader: 1,
                leader_epoch: 0,
                version: 0,
                isr: ids.clone(),
                alive: ids.iter().map(|&id| (id, id as u64)).collect(),
            },
            wire: BTreeMap::new(),
            cuts: BTreeMap::new(),
            sequence: 100,
            clients: (0..2).map(client).collect(),
            consumers: vec![Consumer::default(), Consumer::default()],
            calm: false,
            tainted: BTreeSet::new(),
            checks: Checks::default(),
            crashes: 0,
            elections: 0,
            trace: vec![],
        };
        world.announce();
        world
    }

    pub fn ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    pub fn config(&self) -> PartitionConfig {
        config(self.min_insync)
    }

    pub fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.setup.trace {
            self.trace.push(format!("{:>6} {}", self.now, line()));
        }
    }

    /// Late by a random time, and lost at times, but for the controller's own channel, which keeps its order.
    pub fn send(&mut self, from: i32, to: i32, message: Message) {
        let reliable = matches!(message, Message::LeaderAndIsr(_));
        let cut = self.cuts.get(&(from, to)).is_some_and(|until| *until > self.now);
        if !reliable && !self.calm && (cut || self.chance(self.profile.loss)) {
            return;
        }
        let delay = match (reliable, self.calm) {
            (true, _) => 5,
            (_, true) => 2,
            _ => self.rng.random_range(1..self.profile.delay_ms),
        };
        // A broker that has started anew takes nothing that was meant for its life before.
        let epoch = self.controller.alive.get(&to).copied().unwrap_or(0);
        let sequence = self.number();
        self.wire.insert((self.now + delay, sequence), (to, epoch, message));
    }

    /// Nothing new is written any more.
    pub fn closing(&self) -> bool {
        self.calm && self.now > CHAOS_MS + CALM_MS - CLOSING_MS
    }

    pub fn run(&mut self) {
        while self.now < CHAOS_MS + CALM_MS && self.checks.failure.is_none() {
            self.now += 1;
            if self.now == CHAOS_MS {
                self.calm = true;
                self.note(|| "calm".into());
            }
            if self.calm {
                self.restart_everyone();
            } else {
                self.disturb();
            }
            while let Some(first) = self.wire.first_entry() {
                if first.key().0 > self.now {
                    break;
                }
                let (to, epoch, message) = first.remove();
                self.deliver(to, epoch, message);
            }
            self.watch_sessions();
            self.ids().into_iter().for_each(|id| self.turn(id));
            (0..self.clients.len()).for_each(|client| self.produce(client));
            (0..self.consumers.len()).for_each(|consumer| self.consume(consumer));
        }
        if self.checks.failure.is_none() {
            self.checks.end(&self.nodes, &self.controller);
        }
    }

    pub fn report(self) -> Report {
        let failure = self.checks.failure.map(|why| format!("at {} ms: {why}", self.now));
        let figures = Figures {
            crashes: self.crashes,
            elections: self.elections,
            acknowledged: self.checks.acknowledged.len() as u64,
        };
        Report { failure, trace: self.trace, figures }
    }
}

fn config(min_insync_replicas: usize) -> PartitionConfig {
    PartitionConfig { min_insync_replicas, replica_lag_ms_max: LAG_MS, ..PartitionConfig::default() }
}
