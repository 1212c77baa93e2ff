//! What must hold, whatever goes wrong.

use super::broker::{Node, Stored};
use super::controller::Controller;
use broker_core::partition::Partition;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Checks {
    /// The first thing that broke.
    pub failure: Option<String>,
    leader_of: BTreeMap<i32, i32>,
    /// What some leader has shown as committed.
    committed: BTreeMap<i64, u64>,
    pub acknowledged: Vec<(i64, u64)>,
    read: BTreeMap<i64, u64>,
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

    /// One leader per epoch.
    pub fn leads(&mut self, id: i32, epoch: i32) {
        let owner = *self.leader_of.entry(epoch).or_insert(id);
        self.require(owner == id, || format!("epoch {epoch} is led by {owner} and by {id}"));
    }

    /// Logs are equal up to the high watermark: what one replica shows as committed stays what and where it is.
    pub fn watermark(&mut self, id: i32, partition: &Partition, log: &[Stored]) {
        let high_watermark = partition.high_watermark();
        for stored in log.iter().rev().filter(|stored| stored.meta.last_offset() < high_watermark) {
            let (offset, value) = (stored.meta.base_offset, stored.value);
            match self.committed.get(&offset) {
                // A follower is told of the watermark by its leader: it has nothing to add.
                None if partition.is_leader() => drop(self.committed.insert(offset, value)),
                None => {}
                Some(known) => {
                    let known = *known;
                    self.require(known == value, || {
                        format!("broker {id} has {value} at {offset} below its watermark, where {known} was committed")
                    });
                    return;
                }
            }
        }
    }

    /// Consumers read what is committed, each the same.
    pub fn read(&mut self, consumer: usize, stored: &Stored) {
        let (offset, value) = (stored.meta.base_offset, stored.value);
        let known = *self.read.entry(offset).or_insert(value);
        self.require(known == value, || {
            format!("consumer {consumer} reads {value} at {offset}, where {known} was read before")
        });
    }

    /// After a while of calm: everyone in sync, nothing lost, nothing twice.
    pub fn end(&mut self, nodes: &BTreeMap<i32, Node>, controller: &Controller) {
        let leader = nodes.get(&controller.leader).and_then(|node| node.up.as_ref());
        let Some(leader) = leader else { return self.fail("nobody leads at the end".into()) };
        let mut isr = leader.isr().to_vec();
        isr.sort_unstable();
        let ids: Vec<i32> = nodes.keys().copied().collect();
        self.require(isr == ids, || format!("in sync at the end: {isr:?}"));
        let (committed, end) = (leader.high_watermark(), leader.log_end());
        self.require(committed == end, || format!("the watermark is {committed} at the end, the log {end}"));
        let log = &nodes[&controller.leader].disk.batches;
        for (id, node) in nodes {
            self.require(node.disk.batches == *log, || format!("broker {id} has another log at the end"));
        }
        let at: BTreeMap<i64, u64> =
            log.iter().map(|stored| (stored.meta.base_offset, stored.value)).collect();
        let values: BTreeSet<u64> = at.values().copied().collect();
        self.require(values.len() == at.len(), || "a batch is in the log twice".into());
        let promised = [
            ("acknowledged", self.acknowledged.clone()),
            ("committed", to_vec(&self.committed)),
            ("read", to_vec(&self.read)),
        ];
        for (what, promised) in promised {
            for (offset, value) in promised {
                let found = at.get(&offset).copied();
                self.require(found == Some(value), || {
                    format!("{value} was {what} at {offset}: now {found:?}")
                });
            }
        }
    }
}

fn to_vec(map: &BTreeMap<i64, u64>) -> Vec<(i64, u64)> {
    map.iter().map(|(offset, value)| (*offset, *value)).collect()
}
