//! A broker's disk: what survives its process, and what a lost page cache takes.

use broker_core::controller::TopicPartition;
use broker_core::partition::{BatchMeta, EpochStart, LeaderEpochs, LogState, Partition, PartitionConfig};
use broker_core::producer::{CompletedTxn, Producers};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::kafka::Uuid;

/// Log directories of a broker.
pub const DIRS: usize = 2;

/// An entry of the transaction index.
pub type Aborted = CompletedTxn;

/// A batch on disk; the value stands for its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    pub meta: BatchMeta,
    pub value: u64,
}

#[derive(Debug, Clone, Default)]
pub struct LogFile {
    pub id: Uuid,
    pub dir: usize,
    pub batches: Vec<Stored>,
    /// Transactions that were aborted, in the order of their markers.
    pub aborted: Vec<Aborted>,
    pub flushed: usize,
    pub epochs: Vec<EpochStart>,
    /// As checkpointed.
    pub high_watermark: i64,
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub logs: BTreeMap<TopicPartition, LogFile>,
    /// The session that the broker's last life noted.
    pub session: Option<(i64, Bytes)>,
    /// The machine was lost since the broker's last registration: its boot id tells.
    pub lost: bool,
}

impl LogFile {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |last| last.meta.next_offset())
    }

    /// A replica as a start finds it; `snapshot_at`: how many batches the newest producer snapshot covers.
    pub fn open(&self, broker: i32, config: PartitionConfig, snapshot_at: usize) -> Partition {
        let mut epochs = LeaderEpochs::new(self.epochs.iter().copied());
        epochs.truncate_end(self.end());
        let mut producers = Producers::default();
        let (covered, rest) = self.batches.split_at(snapshot_at.min(self.batches.len()));
        for stored in covered {
            producers.record(&stored.meta);
        }
        let mut found = Producers::import(producers.export());
        for stored in rest {
            found.record(&stored.meta);
        }
        let log = LogState {
            log_start: 0,
            log_end: self.end(),
            high_watermark: self.high_watermark,
            epochs,
            producers: found.export().collect(),
        };
        Partition::new(broker, config, log)
    }

    pub fn truncate_to(&mut self, end: i64) {
        self.batches.retain(|stored| stored.meta.last_offset() < end);
        self.aborted.retain(|one| one.last_offset < end);
    }

    /// Aborted transactions that records from `start` to `end` may belong to.
    pub fn aborted_in(&self, start: i64, end: i64) -> Vec<Aborted> {
        let touches = |one: &&Aborted| one.last_offset >= start && one.first_offset < end;
        self.aborted.iter().filter(touches).copied().collect()
    }

    /// The page cache is gone: of what was not flushed, this many batches stay, and what tears is cut.
    pub fn lose(&mut self, percent: usize) -> usize {
        let unflushed = self.batches.len() - self.flushed.min(self.batches.len());
        let lost = unflushed * percent / 100;
        self.batches.truncate(self.batches.len() - lost);
        self.truncate_to(self.end());
        lost
    }
}
