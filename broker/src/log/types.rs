//! The values that go into a log and come out of it.

use super::checkpoint::sync_dir;
use super::error::{At, Result};
use super::flushes::FLUSHES;
use super::handle::Handle;
use std::path::PathBuf;
use std::sync::Arc;

/// What the checkpoints and the clean-shutdown marker say about a log that is about to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAt {
    /// From `log-start-offset-checkpoint`, 0 where absent.
    pub log_start_offset: i64,
    /// From `recovery-point-offset-checkpoint`, 0 where absent.
    pub recovery_point: i64,
    /// From `cleaner-offset-checkpoint`: below it the log is compacted.
    pub cleaned: Option<i64>,
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
    pub file: Option<Arc<Handle>>,
    pub position: u64,
    pub len: u32,
    /// Base offset of the segment the slice lies in.
    pub segment_base: i64,
    /// The size limit cut the first batch (never with `min_one`).
    pub first_incomplete: bool,
    /// What [`FetchSlice::load`] read.
    pub bytes: Option<bytes::Bytes>,
}

impl FetchSlice {
    /// Reads now, and gives the file back.
    pub fn load(&mut self) -> std::io::Result<()> {
        self.bytes = Some(self.read()?);
        self.file = None;
        Ok(())
    }

    /// The bytes, as far as they are still there.
    pub fn read(&self) -> std::io::Result<bytes::Bytes> {
        use std::os::unix::fs::FileExt;
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.clone());
        }
        let Some(file) = &self.file else { return Ok(bytes::Bytes::new()) };
        let mut bytes = vec![0; self.len as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], self.position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }
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

/// A batch of a producer that its last one came after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    /// Last offset − first offset.
    pub offset_delta: i32,
    pub timestamp: i64,
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

/// Files and their directory to fsync; [`FlushJob::run`] may be called on any thread, then [`Log::mark_flushed`] by the owner.
#[derive(Debug)]
pub struct FlushJob {
    pub(super) files: Vec<(PathBuf, Arc<Handle>)>,
    pub(super) dir: PathBuf,
    /// The recovery point once the files are on disk.
    pub end_offset: i64,
}

impl FlushJob {
    /// Of the log whose files these are.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// Waits for the disk.
    pub fn run(&self) -> Result<()> {
        FLUSHES.time(|| self.sync())
    }

    fn sync(&self) -> Result<()> {
        for (path, file) in &self.files {
            file.sync_data().at("cannot sync", path)?;
        }
        match sync_dir(&self.dir) {
            // The log was deleted meanwhile, and its directory renamed.
            Err(_) if !self.dir.exists() => Ok(()),
            synced => synced,
        }
    }
}
