//! One partition's log on disk, in Kafka's own format, byte for byte.
//!
//! A [`Log`] is a directory `<topic>-<partition>`: segments (`.log`, `.index`, `.timeindex`, `.txnindex`), producer
//! snapshots, `leader-epoch-checkpoint`, `partition.metadata`. It has one owner (a loop thread) and no locks; what
//! leaves the owner is a [`FetchSlice`], which any thread may read later, and a [`FlushJob`], which any thread may run.
//! A [`LogDir`] is one of `log.dirs`: its lock, `meta.properties`, clean-shutdown marker and checkpoint files.
//! Time comes in as an argument, ms since 1970.

mod checkpoint;
mod clean_filter;
mod cleaner;
mod compaction;
#[cfg(test)]
mod compaction_tests;
mod config;
#[cfg(test)]
mod damage_tests;
mod dirs;
mod error;
mod flushes;
mod handle;
mod header;
mod index_file;
mod key_map;
mod leader_epochs;
mod load;
mod meta;
mod moving;
mod offset_index;
mod partition_dir;
mod partition_log;
mod producers;
mod rebuild;
mod records;
mod recovery;
mod segment;
mod split;
#[cfg(test)]
mod tests;
mod time_index;
mod topic_id;
mod truncate;
mod txn_index;
mod types;

pub use cleaner::{CleanError, CleanJob, CleanStats, CleanedGroup, CleanerOptions};
pub use compaction::Cleanable;
pub use config::LogConfig;
pub use dirs::{Checkpoint, LogDir};
pub use error::{LogError, Result};
pub use flushes::FLUSHES;
pub use handle::{Handle, open_handles};
pub use load::{LoadOptions, LoadedDir, LoadedLog};
pub use meta::MetaProperties;
pub use moving::{future_name, whole_batches};
pub use partition_log::Log;
pub use types::{
    AbortedTxn, Appended, EpochEntry, FetchSlice, FlushJob, OpenAt, ProducerBatch, ProducerEntry,
    TimestampOffset,
};

/// A topic's name and a partition's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

/// As the log's directory is named.
impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl std::str::FromStr for TopicPartition {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (topic, partition) = name.rsplit_once('-').ok_or(())?;
        let partition = partition.parse().ok().filter(|partition| *partition >= 0).ok_or(())?;
        if topic.is_empty() {
            return Err(());
        }
        Ok(Self { topic: topic.to_owned(), partition })
    }
}
