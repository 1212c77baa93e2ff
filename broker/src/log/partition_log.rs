//! [`Log`]: the segments of one partition, its epochs and its producers.

use super::{LogConfig, LogError, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the checkpoints and the clean-shutdown marker say about a log that is about to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAt {
    /// From `log-start-offset-checkpoint`, 0 where absent.
    pub log_start_offset: i64,
    /// From `recovery-point-offset-checkpoint`, 0 where absent.
    pub recovery_point: i64,
    /// The directory was closed in good order: nothing is re-read.
    pub clean: bool,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: i64,
    /// The log end offset after the append.
    pub end_offset: i64,
    /// The largest timestamp among the batches, -1: none.
    pub max_timestamp: i64,
    /// Last offset of the batch that has it.
    pub offset_of_max_timestamp: i64,
    /// The append started a new segment.
    pub rolled: bool,
}

/// Bytes of one segment, to be read later by any thread with `read_at`. The last batch may be cut short, as Kafka's own
/// fetch answers are. A truncation that comes in between makes the read short; the reader sends what is there.
#[derive(Debug, Clone)]
pub struct FetchSlice {
    /// `None` where `len` is 0.
    pub file: Option<Arc<File>>,
    pub position: u64,
    pub len: u32,
    /// Base offset of the segment the slice lies in.
    pub segment_base: i64,
    /// The size limit cut the first batch (never with `min_one`).
    pub first_incomplete: bool,
}

/// A record's timestamp and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// -1: none.
    pub timestamp: i64,
    pub offset: i64,
}

/// A leader epoch and the first offset written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

/// What a snapshot keeps of one producer: its last batch and its open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub epoch: i16,
    /// Of the last batch; -1 where there is none.
    pub last_sequence: i32,
    /// Of the last batch; -1 where there is none.
    pub last_offset: i64,
    /// Last offset − first offset of the last batch.
    pub offset_delta: i32,
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    /// First offset of the open transaction; -1 where there is none.
    pub txn_first_offset: i64,
}

/// An aborted transaction as the transaction index keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    /// Offset of the abort marker.
    pub last_offset: i64,
    /// The last stable offset once the transaction had ended.
    pub last_stable_offset: i64,
}

/// Files to fsync; [`FlushJob::run`] may be called on any thread, then [`Log::mark_flushed`] by the owner.
#[derive(Debug)]
pub struct FlushJob {
    pub(crate) files: Vec<(PathBuf, Arc<File>)>,
    /// The recovery point once the files are on disk.
    pub end_offset: i64,
}

impl FlushJob {
    /// Waits for the disk.
    pub fn run(&self) -> Result<()> {
        Ok(())
    }
}

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
}

#[allow(unused_variables, clippy::missing_const_for_fn)]
impl Log {
    /// Opens `dir` (created where missing), finishing what a crash interrupted: temporary files, and from the recovery
    /// point on every batch's CRC, the indexes and the producers, up to the first batch that is not whole.
    pub fn open(dir: &Path, config: LogConfig, at: OpenAt, now: i64) -> Result<Self> {
        Err(LogError::Append { dir: dir.to_owned(), reason: "the log is not built yet".into() })
    }
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    pub fn log_start_offset(&self) -> i64 {
        0
    }
    /// The next offset to be assigned (LEO).
    pub fn log_end_offset(&self) -> i64 {
        0
    }
    /// Everything below is on stable storage; goes to `recovery-point-offset-checkpoint`.
    pub fn recovery_point(&self) -> i64 {
        0
    }
    /// Bytes of all segments' `.log`.
    pub fn size(&self) -> u64 {
        0
    }
    pub fn segment_count(&self) -> usize {
        0
    }
    /// Takes effect with the next append or retention pass.
    pub fn set_config(&mut self, config: LogConfig) {}
    /// Appends whole batches whose offsets and leader epochs are final. No fsync. Rolls first where it must.
    pub fn append(&mut self, records: &[u8], now: i64) -> Result<Appended> {
        Err(LogError::Append { dir: self.dir.clone(), reason: "the log is not built yet".into() })
    }
    /// Up to `max_bytes` from the batch that holds `offset`, none of a batch at or above `upper` (high watermark, last
    /// stable offset or log end). With `min_one` the first batch comes whole even where it is larger.
    /// [`LogError::OffsetOutOfRange`] below the log start or beyond the log end.
    pub fn read(&mut self, offset: i64, max_bytes: u32, upper: i64, min_one: bool) -> Result<FetchSlice> {
        Err(LogError::Append { dir: self.dir.clone(), reason: "the log is not built yet".into() })
    }
    /// Aborted transactions that overlap `from..upper`, in the order of their markers.
    pub fn aborted_txns(&mut self, from: i64, upper: i64) -> Result<Vec<AbortedTxn>> {
        Ok(Vec::new())
    }
    /// The first record with at least this timestamp (its own timestamp and offset); decompresses one batch.
    pub fn offset_for_timestamp(&mut self, timestamp: i64) -> Result<Option<TimestampOffset>> {
        Ok(None)
    }
    /// The largest timestamp of the log and its batch's last offset (ListOffsets -3).
    pub fn max_timestamp(&mut self) -> Result<TimestampOffset> {
        Ok(TimestampOffset { timestamp: -1, offset: 0 })
    }
    /// Drops everything at `offset` and above; false where the log already ends there. Producers are reloaded.
    pub fn truncate_to(&mut self, offset: i64, now: i64) -> Result<bool> {
        Ok(false)
    }
    /// Drops everything; the next offset is `offset`.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now: i64) -> Result<()> {
        Ok(())
    }
    /// DeleteRecords or a leader's log start. False where it is not above the current one. The caller bounds it by the
    /// high watermark.
    pub fn advance_log_start(&mut self, offset: i64) -> Result<bool> {
        Ok(false)
    }
    /// Removes the segments that log start, size and time let go, none above the high watermark; returns how many.
    pub fn apply_retention(&mut self, high_watermark: i64, now: i64) -> Result<usize> {
        Ok(0)
    }
    /// Starts a new segment unless the active one is empty.
    pub fn roll(&mut self, now: i64) -> Result<bool> {
        Ok(false)
    }
    /// Unlinks `.deleted` files whose delay has passed and expires producers; call it every few seconds.
    pub fn tick(&mut self, now: i64) -> Result<()> {
        Ok(())
    }
    /// Work left by a roll: old segments to fsync on another thread.
    pub fn take_flush_job(&mut self) -> Option<FlushJob> {
        None
    }
    /// A job's files are on disk.
    pub fn mark_flushed(&mut self, end_offset: i64, now: i64) {}
    /// `flush.messages` or `flush.ms` asks for a [`Log::flush`].
    pub fn flush_due(&self, now: i64) -> bool {
        false
    }
    /// fsyncs everything now; the recovery point becomes the log end.
    pub fn flush(&mut self, now: i64) -> Result<()> {
        Ok(())
    }
    /// Flushes, snapshots the producers, trims the indexes: the directory then opens without a scan.
    pub fn close(self, now: i64) -> Result<()> {
        Ok(())
    }
    /// Renames the directory to `<topic>-<partition>.<uuid>-delete` and returns its new path; the caller removes it
    /// after the delay.
    pub fn delete(self) -> Result<PathBuf> {
        Ok(self.dir)
    }

    /// This replica became leader of `epoch` with `start_offset` = its log end.
    pub fn assign_epoch(&mut self, epoch: i32, start_offset: i64) -> Result<()> {
        Ok(())
    }
    pub fn latest_epoch(&self) -> Option<i32> {
        None
    }
    /// OffsetsForLeaderEpoch: the largest epoch ≤ `epoch` and its end offset; (-1, -1) where unknown.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        (-1, -1)
    }
    pub fn epochs(&self) -> &[EpochEntry] {
        &[]
    }
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        None
    }

    /// The producers as of the log end, by id: after `open` and truncations the partition core starts from these.
    pub fn producers(&self) -> Vec<ProducerEntry> {
        Vec::new()
    }

    /// The 16 bytes of `partition.metadata`, `None` where the file is absent.
    pub fn topic_id(&self) -> Option<[u8; 16]> {
        None
    }
    /// Writes `partition.metadata`; an error where another id is there.
    pub fn set_topic_id(&mut self, id: [u8; 16]) -> Result<()> {
        Ok(())
    }
}
