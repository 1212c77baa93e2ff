//! One partition's log on disk, in Kafka's own format, byte for byte.
//!
//! A [`Log`] is a directory `<topic>-<partition>`: segments (`.log`, `.index`, `.timeindex`, `.txnindex`), producer
//! snapshots, `leader-epoch-checkpoint`, `partition.metadata`. It has one owner (a loop thread) and no locks; what
//! leaves the owner is a [`FetchSlice`], which any thread may read later, and a [`FlushJob`], which any thread may run.
//! A [`LogDir`] is one of `log.dirs`: its lock, `meta.properties`, clean-shutdown marker and checkpoint files.
//! Time comes in as an argument, ms since 1970.

mod config;
mod error;
mod partition_log;

pub use config::LogConfig;
pub use error::{LogError, Result};
pub use partition_log::{
    AbortedTxn, Appended, EpochEntry, FetchSlice, FlushJob, Log, OpenAt, ProducerEntry, TimestampOffset,
};

/// A topic's name and a partition's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}
