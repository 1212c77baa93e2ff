//! What must hold, whatever goes wrong.

use super::disk::{LogFile, Stored};
use super::groups::checks::Groups;
use super::nodes;
use super::transaction_checks::Transactions;
use broker_core::controller::{PartitionState, Topic, TopicPartition};
use broker_core::partition::Partition;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::Uuid;
use zk_core::Database;

/// A partition of one topic, whatever others had its name.
pub type Key = (Uuid, i32);

/// Everything that was promised so far.
#[derive(Debug, Default)]
pub struct Checks {
    /// The first thing that broke.
    pub failure: Option<String>,
    /// Who led each partition in each of its epochs.
    leaders: BTreeMap<(Key, i32), i32>,
    /// What some leader has shown as committed.
    committed: BTreeMap<Key, BTreeMap<i64, u64>>,
    pub acknowledged: BTreeMap<Key, Vec<(i64, u64)>>,
    read: BTreeMap<Key, BTreeMap<i64, u64>>,
    /// The newest controller epoch that a life of a broker has obeyed.
    obeyed: BTreeMap<(i32, u32), i32>,
    controllers: BTreeMap<i32, i32>,
    /// States as last seen in ZooKeeper, by the czxid of their nodes.
    states: BTreeMap<(String, i64), PartitionState>,
    /// The newest transaction that was seen in ZooKeeper.
    zxid: i64,
    /// Logs that lost what their broker is counted as having.
    pub tainted: BTreeSet<(i32, Key)>,
    /// Topics that went, and who was not told.
    pub untold: BTreeSet<(i32, Str)>,
    /// Replicas that nobody will delete.
    pub kept: BTreeSet<(i32, TopicPartition)>,
    pub acks: u64,
    /// Batches whose producers never heard what became of them.
    pub given_up: u64,
    pub elections: u64,
    /// Promises may be broken; what a leader of one epoch wrote is still the same everywhere.
    pub unclean: bool,
    pub unclean_elections: u64,
    written: BTreeMap<Key, BTreeMap<(i32, i64), u64>>,
    pub transactions: Transactions,
    pub groups: Groups,
}

/// The topics that ZooKeeper has, with their partitions' states.
pub struct Cluster {
    pub topics: BTreeMap<Str, Topic>,
    pub states: BTreeMap<TopicPartition, PartitionState>,
}

impl Cluster {
    pub fn read(database: &Database) -> Cluster {
        let mut cluster = Cluster { topics: BTreeMap::new(), states: BTreeMap::new() };
        for name in database.node(nodes::TOPICS).into_iter().flat_map(|node| node.children()) {
            let path = nodes::topic_path(name);
            let Some(data) = database.node(&path).and_then(|node| node.data()) else { continue };
            let found = nodes::topic(data);
            for &partition in found.partitions.keys() {
                let tp = TopicPartition { topic: Str::from(name), partition };
                let path = nodes::state_path(&tp);
                let Some(node) = database.node(&path) else { continue };
                let data = node.data().unwrap_or_default();
                cluster.states.insert(tp, nodes::partition_state(data, node.stat().version));
            }
            cluster.topics.insert(Str::from(name), found);
        }
        cluster
    }
}

impl Checks {
    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn require(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.fail(why());
        }
    }

    /// One controller per epoch.
    pub fn governs(&mut self, id: i32, epoch: i32) {
        let owner = *self.controllers.entry(epoch).or_insert(id);
        self.require(owner == id, || format!("controller epoch {epoch} is {owner}'s and {id}'s"));
    }

    /// No fenced controller is obeyed, nor anyone who means an earlier life.
    pub fn obeys(&mut self, id: i32, life: u32, controller_epoch: i32, broker_epoch: i64, own_epoch: i64) {
        let newest = self.obeyed.entry((id, life)).or_insert(controller_epoch);
        let seen = *newest;
        *newest = seen.max(controller_epoch);
        self.require(controller_epoch >= seen, || {
            format!("broker {id} obeys the controller of epoch {controller_epoch} after that of {seen}")
        });
        self.require(broker_epoch >= own_epoch, || {
            format!("broker {id} of epoch {own_epoch} obeys what was meant for epoch {broker_epoch}")
        });
    }

    /// One leader per epoch, and it has everything that was acknowledged.
    pub fn leads(&mut self, id: i32, key: Key, epoch: i32, log: &LogFile) {
        self.elections += 1;
        let owner = *self.leaders.entry((key, epoch)).or_insert(id);
        self.require(owner == id, || format!("epoch {epoch} of {key:?} is led by {owner} and by {id}"));
        let newest = self.leaders.range((key, epoch)..=(key, i32::MAX)).next_back();
        if newest.is_some_and(|((_, newest), _)| *newest > epoch) {
            // Word of a past leadership, which came late.
            return;
        }
        let missing = self.acknowledged.get(&key).and_then(|promised| missing(promised, log));
        if self.unclean {
            self.unclean_elections += u64::from(missing.is_some());
            return;
        }
        if let Some((offset, value)) = missing {
            self.fail(format!(
                "broker {id} leads {key:?} in epoch {epoch} without {value}, acknowledged at {offset}; its log ends at {}",
                log.end()
            ));
        }
    }

    /// Logs are equal up to the high watermark: what one replica shows as committed stays what and where it is.
    pub fn watermark(&mut self, id: i32, key: Key, partition: &Partition, log: &LogFile) {
        if self.unclean {
            return self.one_log_of_each_epoch(id, key, log);
        }
        let high_watermark = partition.high_watermark();
        let known = self.committed.entry(key).or_default();
        for stored in log.batches.iter().rev().filter(|stored| stored.meta.last_offset() < high_watermark) {
            let (offset, value) = (stored.meta.base_offset, stored.value);
            match known.get(&offset) {
                // A follower is told of the watermark by its leader: it has nothing to add.
                None if partition.is_leader() => drop(known.insert(offset, value)),
                None => {}
                Some(found) => {
                    let found = *found;
                    self.require(found == value, || {
                        format!("broker {id} has {value} at {offset} of {key:?} below its watermark, where {found} was committed")
                    });
                    return;
                }
            }
        }
    }

    /// Nobody has another batch than others where the leader of an epoch put one.
    fn one_log_of_each_epoch(&mut self, id: i32, key: Key, log: &LogFile) {
        let written = self.written.entry(key).or_default();
        for stored in log.batches.iter().rev() {
            let at = (stored.meta.leader_epoch, stored.meta.base_offset);
            match written.insert(at, stored.value) {
                None => {}
                Some(value) if value == stored.value => return,
                Some(other) => {
                    let value = stored.value;
                    return self.fail(format!(
                        "broker {id} has {value} of {key:?} in epoch and at offset {at:?}, where {other} was"
                    ));
                }
            }
        }
    }

    /// Consumers read what is committed, each the same.
    pub fn read(&mut self, key: Key, stored: &Stored) {
        if self.unclean {
            return;
        }
        let (offset, value) = (stored.meta.base_offset, stored.value);
        let known = *self.read.entry(key).or_default().entry(offset).or_insert(value);
        self.require(known == value, || {
            format!("a consumer reads {value} at {offset} of {key:?}, where {known} was read before")
        });
    }

    pub fn acknowledged(&mut self, key: Key, offset: i64, value: u64) {
        self.acks += 1;
        self.acknowledged.entry(key).or_default().push((offset, value));
    }

    /// What stands in ZooKeeper: no older controller writes after a newer one, and leader epochs only grow.
    pub fn zookeeper(&mut self, database: &Database, cluster: &Cluster) {
        // Whoever is left may not have heard of everything that was committed.
        if database.last_zxid() < self.zxid {
            return;
        }
        self.zxid = database.last_zxid();
        let epoch = database.node(nodes::CONTROLLER_EPOCH);
        for (tp, state) in &cluster.states {
            let path = nodes::state_path(tp);
            let (Some(node), Some(epoch)) = (database.node(&path), epoch) else { continue };
            let written = nodes::number(epoch.data().unwrap_or_default());
            if node.stat().mzxid > epoch.stat().mzxid && state.controller_epoch != written {
                self.fail(format!(
                    "{path} was written by the controller of epoch {} in epoch {written}",
                    state.controller_epoch
                ));
            }
            let before = self.states.insert((path.clone(), node.stat().czxid), state.clone());
            if let Some(before) = before {
                let grows = state.leader_epoch >= before.leader_epoch
                    && state.controller_epoch >= before.controller_epoch
                    && (state.leader_epoch > before.leader_epoch || state.leader == before.leader);
                self.require(grows, || format!("{path} goes from {before:?} to {state:?}"));
            }
            let id = cluster.topics[&tp.topic].id;
            self.tainted.retain(|(broker, key)| *key != (id, tp.partition) || state.isr.contains(broker));
        }
        let ids: BTreeSet<Uuid> = cluster.topics.values().map(|topic| topic.id).collect();
        self.tainted.retain(|(_, (id, _))| ids.contains(id));
    }

    /// After a while of calm, of a log that everyone has: nothing lost, nothing twice.
    pub fn end(&mut self, key: Key, log: &LogFile) {
        let all = log.batches.iter();
        let unique: BTreeSet<u64> =
            all.clone().filter(|stored| stored.meta.producer_id >= 0).map(|s| s.value).collect();
        let count = all.filter(|stored| stored.meta.producer_id >= 0).count();
        self.require(unique.len() == count, || format!("a batch is in {key:?} twice"));
        if self.unclean {
            return;
        }
        let promised = [
            ("acknowledged", self.acknowledged.get(&key).cloned().unwrap_or_default()),
            ("committed", to_vec(self.committed.get(&key))),
            ("read", to_vec(self.read.get(&key))),
        ];
        for (what, promised) in promised {
            if let Some((offset, value)) = missing(&promised, log) {
                self.fail(format!("{value} was {what} at {offset} of {key:?}, and is not there at the end"));
            }
        }
    }
}

fn missing(promised: &[(i64, u64)], log: &LogFile) -> Option<(i64, u64)> {
    let has = |(offset, value): &(i64, u64)| {
        let at = log.batches.partition_point(|stored| stored.meta.base_offset < *offset);
        log.batches.get(at).is_some_and(|stored| stored.meta.base_offset == *offset && stored.value == *value)
    };
    promised.iter().find(|promise| !has(promise)).copied()
}

fn to_vec(map: Option<&BTreeMap<i64, u64>>) -> Vec<(i64, u64)> {
    map.into_iter().flatten().map(|(offset, value)| (*offset, *value)).collect()
}
