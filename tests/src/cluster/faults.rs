//! What goes wrong, as far as replication makes promises.

use super::broker::Request;
use super::checks::Cluster;
use super::disk::DIRS;
use super::groups::OUTPUT;
use super::net::{Happening, Party};
use super::nodes;
use super::office::Errand;
use super::world::World;
use super::{GROUP_TOPIC, TRANSACTION_TOPIC};
use broker_core::controller::TopicPartition;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::collections::BTreeMap;
use std::ops::Range;
use wire::kafka::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash,
    /// Whoever governs.
    CrashController,
    /// A machine: a part of what was not flushed goes.
    Lose,
    Leave,
    Stall,
    StallController,
    /// Between two brokers, one way or both.
    Cut,
    /// One broker from all others.
    Isolate,
    /// A broker from ZooKeeper, one way or both.
    CutZooKeeper,
    FailDir,
    FailWrite,
    Elect,
    /// Other replicas for a partition, or none of what is under way.
    Reassign,
    CreateTopic,
    DeleteTopic,
    GrowTopic,
    Flush,
}

const USUAL: [(Fault, u32); 17] = [
    (Fault::Crash, 10),
    (Fault::CrashController, 5),
    (Fault::Lose, 10),
    (Fault::Leave, 5),
    (Fault::Stall, 8),
    (Fault::StallController, 4),
    (Fault::Cut, 10),
    (Fault::Isolate, 5),
    (Fault::CutZooKeeper, 8),
    (Fault::FailDir, 3),
    (Fault::FailWrite, 3),
    (Fault::Elect, 6),
    (Fault::Reassign, 8),
    (Fault::CreateTopic, 8),
    (Fault::DeleteTopic, 6),
    (Fault::GrowTopic, 3),
    (Fault::Flush, 20),
];

/// What a seed is like.
#[derive(Debug, Clone)]
pub struct Profile {
    weights: Vec<(Fault, u32)>,
    /// The time between two faults, ms.
    pub pause_ms: Range<u64>,
    /// How long faults go on, ms.
    pub faulty_ms: u64,
    /// Machines are lost, and nothing else goes wrong at such times.
    pub lossy: bool,
    /// ZooKeeper's servers have faults of their own.
    pub zookeeper: bool,
    pub min_insync: usize,
    /// Batches under way of a producer.
    pub flights: usize,
    /// The time between two thoughts of a client, ms.
    pub think_ms: Range<u64>,
    /// Of a hundred messages.
    pub loss: u32,
    /// The longest delay of a message, ms.
    pub delay_ms: u64,
}

impl Profile {
    pub fn new(rng: &mut ChaCha8Rng) -> Profile {
        let lossy = rng.random_bool(0.3);
        let mut weights = USUAL.to_vec();
        for (fault, weight) in &mut weights {
            let factor = [0, 1, 1, 2, 4][rng.random_range(0..5)];
            *weight *= match *fault {
                Fault::Flush | Fault::Lose => 1,
                // A session that ends by itself is a second failure next to a lost machine.
                Fault::CutZooKeeper | Fault::Stall | Fault::StallController | Fault::FailDir if lossy => 0,
                // The one that is left of those in sync may be the one that goes.
                Fault::Reassign if lossy => 0,
                _ => factor,
            };
            if *fault == Fault::Lose && !lossy {
                *weight = 0;
            }
        }
        let longest = [60, 200, 600][rng.random_range(0..3)];
        let think = [10, 40, 120][rng.random_range(0..3)];
        Profile {
            weights,
            pause_ms: longest / 10..longest,
            faulty_ms: rng.random_range(3_000..7_000),
            lossy,
            zookeeper: !lossy && rng.random_bool(0.4),
            min_insync: rng.random_range(1..=2),
            flights: rng.random_range(1..=5),
            think_ms: think / 4..think,
            loss: [0, 0, 4, 12][rng.random_range(0..4)],
            delay_ms: [2, 10, 60, 200][rng.random_range(0..4)],
        }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Fault {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.random_range(0..total);
        for (fault, weight) in &self.weights {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return *fault,
            }
        }
        Fault::Flush
    }
}

impl World {
    /// One fault, chosen by the seed; the next one is scheduled.
    pub fn fault(&mut self) {
        let pause = self.net.rng.random_range(self.profile.pause_ms.clone());
        self.net.schedule(pause, Happening::Fault);
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let id = ids[self.net.rng.random_range(0..ids.len())];
        let other = ids[self.net.rng.random_range(0..ids.len())];
        let fault = self.profile.draw(&mut self.net.rng);
        // While a machine's loss is not made good, nothing else goes wrong.
        if !self.checks.tainted.is_empty() && fault != Fault::Flush {
            return;
        }
        match fault {
            Fault::Crash => self.crash_and_return(id),
            Fault::CrashController => self.governor().into_iter().for_each(|id| self.crash_and_return(id)),
            Fault::Lose => self.lose(id),
            Fault::Leave => {
                self.net.note(|| format!("broker {id} is asked to leave"));
                if let Some(broker) = self.brokers.get_mut(&id) {
                    broker.leave();
                }
            }
            Fault::Stall => self.stall(id),
            Fault::StallController => self.governor().into_iter().for_each(|id| self.stall(id)),
            Fault::Cut => self.cut(&[(id, other)]),
            Fault::Isolate => {
                let ways: Vec<(i32, i32)> = ids.iter().map(|other| (id, *other)).collect();
                self.cut(&ways);
            }
            Fault::CutZooKeeper => self.cut_zookeeper(id),
            Fault::FailDir => {
                let dir = self.net.rng.random_range(0..DIRS);
                let World { brokers, net, checks, .. } = self;
                let Some(broker) = brokers.get_mut(&id) else { return };
                if broker.up.as_ref().is_some_and(|life| life.failed_dirs.is_empty()) {
                    broker.fail_dir(net, checks, dir);
                }
            }
            Fault::FailWrite => {
                let dir = self.net.rng.random_range(0..DIRS);
                let life = self.brokers.get_mut(&id).and_then(|broker| broker.up.as_mut());
                if let Some(life) = life.filter(|life| life.failed_dirs.is_empty()) {
                    life.doomed_dir = Some(dir);
                }
            }
            Fault::Elect => self.elect(),
            Fault::Reassign => self.reassign(),
            Fault::CreateTopic => self.create_topic(),
            Fault::DeleteTopic => {
                let topic = self.passing_topic();
                self.errands.borrow_mut().push_back(Errand::Delete { topic });
            }
            Fault::GrowTopic => {
                let (topic, replicas) = (self.passing_topic(), self.assignment());
                self.errands.borrow_mut().push_back(Errand::Grow { topic, replicas });
            }
            Fault::Flush => {
                if let Some(broker) = self.brokers.get_mut(&id) {
                    broker.flush();
                }
            }
        }
    }

    pub fn governor(&self) -> Option<i32> {
        let governs = |life: &super::broker::Life| life.desk.borrow().governs.is_some();
        self.brokers.values().find(|broker| broker.up.as_ref().is_some_and(governs)).map(|broker| broker.id)
    }

    fn passing_topic(&mut self) -> String {
        format!("d{}", self.net.rng.random_range(0..2))
    }

    /// Replicas of a partition, the first one anywhere.
    pub fn assignment(&mut self) -> Vec<i32> {
        let count = self.brokers.len();
        let first = self.net.rng.random_range(0..count);
        let factor = self.net.rng.random_range(2..=3.min(count));
        (0..factor).map(|at| ((first + at) % count) as i32 + 1).collect()
    }

    pub fn new_topic(&mut self, topic: String) {
        let id = Uuid(self.net.rng.random());
        let first = self.assignment();
        let count = if self.net.chance(50) { 2 } else { 1 };
        self.make_topic(topic, id, first, count);
    }

    pub fn new_topic_of(&mut self, topic: String, count: usize) {
        let id = Uuid(self.net.rng.random());
        let first = self.assignment();
        self.make_topic(topic, id, first, count);
    }

    fn make_topic(&mut self, topic: String, id: Uuid, first: Vec<i32>, count: usize) {
        let turned = |by| first.iter().cycle().skip(by).take(first.len()).copied().collect();
        let partitions: BTreeMap<i32, Vec<i32>> = (0..count).map(|n| (n as i32, turned(n))).collect();
        self.figures.topics_made += 1;
        self.errands.borrow_mut().push_back(Errand::Create { topic, id, partitions });
    }

    fn create_topic(&mut self) {
        let topic = self.passing_topic();
        self.new_topic(topic);
    }

    pub fn crash_and_return(&mut self, id: i32) {
        let down = self.net.rng.random_range(20..1500);
        if self.kill(id) {
            self.figures.crashes += 1;
            self.net.note(|| format!("broker {id} crashes"));
            self.net.schedule(down, Happening::Boot { broker: id });
        }
    }

    /// A machine is lost where that is all that is wrong.
    fn lose(&mut self, id: i32) {
        let Some(database) = self.ensemble.newest() else { return };
        let cluster = Cluster::read(database);
        let well = |broker: &super::broker::Broker| {
            let Some(life) = &broker.up else { return false };
            let path = format!("{}/{}", nodes::BROKERS, broker.id);
            let registered = database.node(&path).map(|node| node.stat().czxid);
            registered == Some(life.desk.borrow().broker_epoch)
                && life.asks_nothing()
                && life.failed_dirs.is_empty()
                && life.doomed_dir.is_none()
                && broker.stalled_until <= self.net.now
        };
        if !self.brokers.values().all(well) || self.net.cuts.values().any(|until| *until + 300 > self.net.now)
        {
            return;
        }
        let mut lost = vec![];
        for (tp, state) in &cluster.states {
            if state.isr.contains(&id) {
                if state.isr.len() < 2 {
                    return;
                }
                lost.push((id, (cluster.topics[&tp.topic].id, tp.partition)));
            }
        }
        let percent = self.net.rng.random_range(0..=100);
        let down = self.net.rng.random_range(20..1500);
        self.kill(id);
        self.net.forget_requests_of(id);
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        let batches: usize = broker.disk.logs.values_mut().map(|log| log.lose(percent)).sum();
        broker.disk.lost = true;
        self.checks.tainted.extend(lost);
        self.figures.crashes += 1;
        self.figures.losses += 1;
        self.net.note(|| format!("the machine of broker {id} is lost, and {batches} batches with it"));
        self.net.schedule(down, Happening::Boot { broker: id });
    }

    fn stall(&mut self, id: i32) {
        let ms = self.net.rng.random_range(50..2000);
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.stalled_until = self.net.now + ms;
            self.net.note(|| format!("broker {id} stalls for {ms} ms"));
        }
    }

    /// Each one way at least.
    fn cut(&mut self, ways: &[(i32, i32)]) {
        let until = self.net.now + self.net.rng.random_range(50..2000);
        let both = self.net.chance(60);
        for &(from, to) in ways.iter().filter(|(from, to)| from != to) {
            self.net.note(|| format!("broker {from} is cut from {to} until {until}, both ways: {both}"));
            self.net.cuts.insert((Party::Broker(from), Party::Broker(to)), until);
            if both {
                self.net.cuts.insert((Party::Broker(to), Party::Broker(from)), until);
            }
        }
    }

    fn cut_zookeeper(&mut self, id: i32) {
        let until = self.net.now + self.net.rng.random_range(100..2000);
        let ends: &[usize] = [&[0][..], &[1], &[0, 1]][self.net.rng.random_range(0..3)];
        self.net.note(|| format!("broker {id} is cut from ZooKeeper until {until}, ends {ends:?}"));
        for &end in ends {
            self.zookeeper_cuts.insert((id, end), until);
        }
    }

    fn reassign(&mut self) {
        let topics = ["t0", "t1", "d0", "d1", TRANSACTION_TOPIC, GROUP_TOPIC, OUTPUT];
        let count = if self.has_groups() { 7 } else { 4 + usize::from(self.has_transactions()) };
        let topic = topics[self.net.rng.random_range(0..count)];
        let tp = TopicPartition { topic: topic.into(), partition: self.net.rng.random_range(0..2) };
        let target = self.net.chance(75).then(|| self.assignment());
        self.net.note(|| format!("{tp:?} is to have the replicas {target:?}"));
        if let Some(governor) = self.governor() {
            let request = Request::Reassign(tp, target);
            self.net.call(Party::Client(usize::MAX), Party::Broker(governor), request);
        }
    }

    fn elect(&mut self) {
        if let Some(governor) = self.governor() {
            self.net.call(Party::Client(usize::MAX), Party::Broker(governor), Request::Elect(None));
        }
    }
}
