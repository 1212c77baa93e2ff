//! The server's files: log, snapshots, epochs, and how they become a database again.

use crate::config::Config;
use std::io;
use std::path::{Path, PathBuf};
use wire::zk::Zxid;
use zk_core::Database;
use zk_core::peer::Recovered;

/// Why a file operation failed, with the file.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A folder cannot be used: exit code 3, texts as ZooKeeper's.
    #[error("{0}")]
    Folder(String),
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} at byte {at}: {what}", path.display())]
    Corrupt { path: PathBuf, at: u64, what: String },
    #[error("{0}")]
    Broken(String),
}

/// The folders `dataDir/version-2` and `dataLogDir/version-2`. Cheap to clone: hand one to each thread.
#[derive(Debug, Clone)]
pub struct Disk {}

impl Disk {
    /// Checks and makes the folders, then loads the newest valid snapshot and replays the log.
    pub fn open(_config: &Config) -> Result<(Disk, Recovered), DiskError> {
        unimplemented!()
    }
    /// A writer that begins a new file with its first append.
    pub fn log(&self) -> Log {
        unimplemented!()
    }
    /// Begins `snapshot.<zxid>`; `zxid` is the last one applied at this moment. `sync`: temporary name, fsync, rename.
    pub fn snapshot(&self, _zxid: Zxid, _sync: bool) -> Result<SnapshotWriter, DiskError> {
        unimplemented!()
    }
    /// A whole database at once.
    pub fn save(&self, _database: &Database, _sync: bool) -> Result<PathBuf, DiskError> {
        unimplemented!()
    }
    /// Cuts the log behind `zxid` (no [`Log`] may be writing) and loads what is left.
    pub fn truncate(&self, _zxid: Zxid) -> Result<Database, DiskError> {
        unimplemented!()
    }
    /// `acceptedEpoch`, `currentEpoch`: synced when this returns.
    pub fn store_accepted_epoch(&self, _epoch: i64) -> Result<(), DiskError> {
        unimplemented!()
    }
    pub fn store_current_epoch(&self, _epoch: i64) -> Result<(), DiskError> {
        unimplemented!()
    }
    /// Deletes what the newest `keep` valid snapshots do not need. Returns what was deleted.
    pub fn purge(&self, _keep: usize) -> Result<Vec<PathBuf>, DiskError> {
        unimplemented!()
    }
    /// Bytes under the data folder and under the log folder (`dirs`, `conf`).
    pub fn sizes(&self) -> (u64, u64) {
        unimplemented!()
    }
    /// `dataDir/version-2`, `dataLogDir/version-2`.
    pub fn folders(&self) -> (&Path, &Path) {
        unimplemented!()
    }
}

/// The log's end, on the log thread.
#[derive(Debug)]
pub struct Log {}

impl Log {
    /// Buffers one entry; a new file begins after [`Log::roll`].
    pub fn append(&mut self, _zxid: Zxid, _txn: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }
    /// Writes and syncs what was appended: after it, entries are safe.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        unimplemented!()
    }
    /// Syncs, and lets the next append begin a new file.
    pub fn roll(&mut self) -> Result<(), DiskError> {
        unimplemented!()
    }
    /// Bytes of entries in the current file, padding not counted.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A snapshot under way; dropped without [`SnapshotWriter::finish`] it leaves no candidate behind.
#[derive(Debug)]
pub struct SnapshotWriter {}

impl SnapshotWriter {
    /// The next bytes of [`Database::encode_stream`].
    pub fn write(&mut self, _chunk: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }
    /// Seals it: `digest` is the tree's digest as of `zxid`, `last_zxid` the last applied by now.
    pub fn finish(self, _digest: Option<(Zxid, i64)>, _last_zxid: Zxid) -> Result<PathBuf, DiskError> {
        unimplemented!()
    }
}
