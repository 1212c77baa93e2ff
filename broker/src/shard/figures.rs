//! What the loop knows of itself, for who measures: plain fields, looked over when somebody asks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker_core::group::GroupFigures;
use wire::Str;

use super::Shard;
use super::cleaner::CleanerFigures;
use super::replica::Replica;

/// What came for a topic, or for one of its replicas, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicTraffic {
    /// Records that a leader here appended.
    pub messages_in: u64,
    /// Bytes of their batches.
    pub bytes_in: u64,
    /// Partitions of produces.
    pub produces: u64,
    /// Partitions of fetches.
    pub fetches: u64,
}

impl TopicTraffic {
    pub(super) fn add(&mut self, more: TopicTraffic) {
        self.messages_in += more.messages_in;
        self.bytes_in += more.bytes_in;
        self.produces += more.produces;
        self.fetches += more.fetches;
    }
}

/// What the loop counts that no replica keeps.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Of replicas that went, of topics that have others here.
    pub gone: BTreeMap<Str, TopicTraffic>,
    /// Of all replicas that went.
    pub all_gone: TopicTraffic,
    pub replication_bytes_in: u64,
    /// Of these, those of replicas that are being added.
    pub reassignment_bytes_in: u64,
    pub isr_shrinks: u64,
    pub isr_expands: u64,
    pub isr_failures: u64,
}

impl Tally {
    /// A replica has gone; `last`: its topic has no other here.
    pub fn replica_gone(&mut self, topic: &Str, traffic: TopicTraffic, last: bool) {
        self.all_gone.add(traffic);
        match last {
            true => drop(self.gone.remove(topic)),
            false => self.gone.entry(topic.clone()).or_default().add(traffic),
        }
    }

    /// The in-sync replicas were to change: how many there were, and are; `None`: it failed.
    pub fn isr_altered(&mut self, before: usize, after: Option<usize>) {
        match after {
            None => self.isr_failures += 1,
            Some(after) if after < before => self.isr_shrinks += 1,
            Some(after) if after > before => self.isr_expands += 1,
            Some(_) => {}
        }
    }
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct ShardFigures {
    pub replicas: usize,
    pub leaders: usize,
    pub offline: usize,
    pub under_replicated: usize,
    pub under_min_isr: usize,
    pub at_min_isr: usize,
    pub reassigning: usize,
    pub producer_ids: usize,
    /// How many records the follower here is behind that is behind most.
    pub lag_max: i64,
    pub isr_shrinks: u64,
    pub isr_expands: u64,
    pub isr_failures: u64,
    pub replication_bytes_in: u64,
    pub reassignment_bytes_in: u64,
    pub cleaner: CleanerFigures,
    /// Logs that are not cleaned any more, and their bytes, by directory; all that work are there.
    pub uncleanable: BTreeMap<PathBuf, (usize, u64)>,
    pub topics: BTreeMap<Str, TopicTraffic>,
    pub all: TopicTraffic,
    /// Requests that wait.
    pub produces: usize,
    pub fetches: usize,
    pub deletes: usize,
    pub groups: GroupFigures,
    /// Whether each works.
    pub log_dirs: Vec<(PathBuf, bool)>,
    pub retired: bool,
    /// In the order of their names, where they were asked for.
    pub partitions: Vec<PartitionFigures>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionFigures {
    pub topic: Str,
    pub partition: i32,
    pub size: u64,
    pub segments: usize,
    pub log_start: i64,
    pub log_end: i64,
    /// The rest is known to a leader only, and 0 elsewhere, as in Kafka.
    pub under_replicated: bool,
    pub under_min_isr: bool,
    pub at_min_isr: bool,
    pub in_sync: usize,
    pub assigned: usize,
    pub stable_lag: i64,
    /// Records behind the leader; of followers.
    pub lag: Option<i64>,
}

/// How a replica stands with regard to its copies; all false where it does not lead.
struct Copies {
    under_replicated: bool,
    under_min: bool,
    at_min: bool,
}

fn copies(replica: &Replica) -> Copies {
    let core = &replica.core;
    let in_sync = core.isr().len();
    // Replicas that are being added do not count yet.
    let wanted = core.replicas().iter().filter(|replica| !core.is_adding(**replica)).count();
    let min = core.config().min_insync_replicas;
    let leads = core.is_leader();
    Copies {
        under_replicated: leads && in_sync < wanted,
        under_min: leads && in_sync < min,
        at_min: leads && in_sync == min,
    }
}

fn lag(replica: &Replica) -> Option<i64> {
    replica.core.is_follower().then(|| (replica.leader_watermark - replica.core.log_end()).max(0))
}

impl PartitionFigures {
    fn of(replica: &Replica) -> PartitionFigures {
        let (core, copies) = (&replica.core, copies(replica));
        let leads = core.is_leader();
        PartitionFigures {
            topic: replica.topic.clone(),
            partition: replica.partition,
            size: replica.log.size(),
            segments: replica.log.segment_count(),
            log_start: core.log_start(),
            log_end: core.log_end(),
            under_replicated: copies.under_replicated,
            under_min_isr: copies.under_min,
            at_min_isr: copies.at_min,
            in_sync: if leads { core.isr().len() } else { 0 },
            assigned: if leads { core.replicas().len() } else { 0 },
            stable_lag: if leads { core.high_watermark() - core.last_stable_offset() } else { 0 },
            lag: lag(replica),
        }
    }
}

impl Shard {
    /// `partitions`: each of them, too.
    pub(super) fn measure(&self, partitions: bool) -> ShardFigures {
        let mut all = ShardFigures {
            isr_shrinks: self.tally.isr_shrinks,
            isr_expands: self.tally.isr_expands,
            isr_failures: self.tally.isr_failures,
            replication_bytes_in: self.tally.replication_bytes_in,
            reassignment_bytes_in: self.tally.reassignment_bytes_in,
            cleaner: self.cleaner_tally.figures(self.turn.wall),
            uncleanable: self.store.live_dirs().map(|dir| (dir.to_owned(), (0, 0))).collect(),
            topics: self.tally.gone.clone(),
            all: self.tally.all_gone,
            produces: self.produces.len(),
            fetches: self.fetches.len(),
            deletes: self.deletes.len(),
            groups: self.groups.figures(),
            retired: self.retired,
            ..ShardFigures::default()
        };
        for replica in self.replicas.values().flat_map(BTreeMap::values) {
            all.topics.entry(replica.topic.clone()).or_default().add(replica.traffic);
            all.all.add(replica.traffic);
            let (core, copies) = (&replica.core, copies(replica));
            let is_in_use = core.is_leader() || core.is_follower() || core.has_failed();
            all.replicas += usize::from(is_in_use);
            all.leaders += usize::from(core.is_leader());
            all.offline += usize::from(core.has_failed());
            all.under_replicated += usize::from(copies.under_replicated);
            all.under_min_isr += usize::from(copies.under_min);
            all.at_min_isr += usize::from(copies.at_min);
            all.reassigning += usize::from(core.is_leader() && core.is_reassigning());
            all.producer_ids += core.producers().len();
            all.lag_max = all.lag_max.max(lag(replica).unwrap_or(0));
            if replica.log.is_uncleanable()
                && let Some(dir) = replica.log.dir().parent()
                && let Some((logs, bytes)) = all.uncleanable.get_mut(dir)
            {
                *logs += 1;
                *bytes += replica.log.size();
            }
            if partitions && is_in_use {
                all.partitions.push(PartitionFigures::of(replica));
            }
        }
        all.partitions.sort_unstable_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let live = self.store.live_dirs().map(|dir| (dir.to_owned(), true));
        all.log_dirs = live.chain(self.store.dead_dirs().map(|dir| (dir.to_owned(), false))).collect();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_took_stays_counted_when_it_goes() {
        let topic = Str::from_static("t");
        let traffic = TopicTraffic { messages_in: 3, bytes_in: 30, produces: 2, fetches: 1 };
        let mut tally = Tally::default();
        tally.replica_gone(&topic, traffic, false);
        assert_eq!(tally.gone["t"], traffic);
        tally.replica_gone(&topic, traffic, true);
        assert!(tally.gone.is_empty());
        assert_eq!(tally.all_gone.messages_in, 6);
    }

    #[test]
    fn changes_of_the_in_sync_replicas_are_told_apart() {
        let mut tally = Tally::default();
        for (before, after) in [(2, Some(1)), (1, Some(2)), (1, Some(2)), (2, Some(2)), (2, None)] {
            tally.isr_altered(before, after);
        }
        assert_eq!((tally.isr_shrinks, tally.isr_expands, tally.isr_failures), (1, 2, 1));
    }
}
