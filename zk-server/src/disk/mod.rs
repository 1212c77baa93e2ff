//! The server's files: log, snapshots, epochs, and how they become a database again.
//!
//! ```text
//! <dataDir>/myid, initialize
//! <dataDir>/version-2/snapshot.<hex zxid>[.gz|.snappy]  currentEpoch  acceptedEpoch
//! <dataLogDir>/version-2/log.<hex zxid of its first entry>
//! ```
//!
//! Formats, names and the order of recovery are ZooKeeper 3.9.3's: either server starts on the other's folders.

mod epoch;
pub mod history;
pub mod inspect;
mod loading;
pub mod purge;
mod recovery;
mod snappy;
mod snapshot;
pub(crate) mod space;
pub mod txnlog;

pub use snapshot::{SealedSnapshot, SnapshotWriter};
pub use txnlog::Log;

use crate::config::{Config, DiskConfig};
use crate::disk::history::{History, HistoryError, Point};
use bytes::Bytes;
use rustix::fs::Access;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;
use wire::zk::Zxid;
use zk_core::Database;
use zk_core::measure::Summary;
use zk_core::peer::Recovered;

/// Why a file operation failed, with the file.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A folder cannot be used: exit code 3, texts as ZooKeeper's.
    #[error("{0}")]
    Folder(String),
    /// The system refused: no space, no permission, a failing disk.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Bytes that no server wrote so.
    #[error("{} at byte {at}: {what}", path.display())]
    Corrupt { path: PathBuf, at: u64, what: String },
    /// Files that contradict each other, or are missing.
    #[error("{0}")]
    Broken(String),
}

impl DiskError {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> DiskError + 'a {
        move |source| DiskError::Io { action, path: path.into(), source }
    }
}

/// The folders `dataDir/version-2` and `dataLogDir/version-2`. Cheap to clone: hand one to each thread.
#[derive(Debug, Clone)]
pub struct Disk {
    snapshots: PathBuf,
    logs: PathBuf,
    config: DiskConfig,
    /// Transactions that recovery hands over for learners.
    recent_max: usize,
    standalone: bool,
    loads: Arc<Mutex<LoadStats>>,
    space: space::Space,
}

/// What loading databases has taken so far: at the start, and when a leader had the log cut. Times in ms.
#[derive(Debug, Clone, Default)]
pub struct LoadStats {
    pub all: Summary,
    pub snapshots: Summary,
    pub transactions: Summary,
    /// How many transactions were replayed.
    pub replayed: Summary,
}

impl Disk {
    /// Checks and makes the folders, then loads the newest valid snapshot and replays the log.
    pub fn open(config: &Config) -> Result<(Disk, Recovered), DiskError> {
        let (snapshots, logs) = (config.data_dir.join("version-2"), config.data_log_dir.join("version-2"));
        let disk = Disk {
            space: space::Space::new(&snapshots, &logs, config.disk.reserve),
            snapshots,
            logs,
            config: config.disk.clone(),
            recent_max: config.core.commit_log_count,
            standalone: config.is_standalone(),
            loads: Arc::default(),
        };
        disk.check_folders()?;
        disk.remove_temporaries()?;
        let recovered = recovery::recover(&disk)?;
        Ok((disk, recovered))
    }

    /// A writer that begins a new file with its first append.
    pub fn log(&self) -> Log {
        Log::new(&self.logs, &self.config, self.space.clone())
    }

    /// The room on both disks.
    pub fn space(&self) -> &space::Space {
        &self.space
    }

    /// Begins `snapshot.<zxid>`; `zxid` is the last one applied at this moment. With `sync`, it is on stable storage
    /// once finished.
    pub fn snapshot(&self, zxid: Zxid, sync: bool) -> Result<SnapshotWriter, DiskError> {
        SnapshotWriter::new(&self.snapshots, zxid, &self.config, sync)
    }

    /// A whole database at once, as [`Disk::snapshot`].
    pub fn save(&self, database: &Database, sync: bool) -> Result<PathBuf, DiskError> {
        let digest = database.snapshot_digest();
        let writer = self.write_body(database, sync)?;
        writer.finish(Some((digest.zxid, digest.digest)), database.last_zxid())
    }

    /// All of a database but for the file's end.
    pub fn write_body(&self, database: &Database, sync: bool) -> Result<SnapshotWriter, DiskError> {
        let mut writer = self.snapshot(database.last_zxid(), sync)?;
        let mut cursor = zk_core::database::SnapshotCursor::new();
        let mut chunk = bytes::BytesMut::new();
        loop {
            let last = cursor.next(database, 1 << 20, &mut chunk);
            writer.write(&chunk)?;
            chunk.clear();
            if last {
                return Ok(writer);
            }
        }
    }

    /// Cuts the log behind `zxid`, deletes the snapshots that are newer, and loads what is left. Call it with every
    /// [`Log`] rolled.
    pub fn truncate(&self, zxid: Zxid) -> Result<Database, DiskError> {
        recovery::truncate(self, zxid)
    }

    /// `acceptedEpoch`: on stable storage when this returns.
    pub fn store_accepted_epoch(&self, epoch: i64) -> Result<(), DiskError> {
        epoch::store(&self.snapshots, epoch::ACCEPTED, epoch)
    }

    /// `currentEpoch`: likewise.
    pub fn store_current_epoch(&self, epoch: i64) -> Result<(), DiskError> {
        epoch::store(&self.snapshots, epoch::CURRENT, epoch)
    }

    /// Deletes what the newest `keep` valid snapshots do not need. Returns what was deleted.
    pub fn purge(&self, keep: usize) -> Result<Vec<PathBuf>, DiskError> {
        purge::purge(&self.snapshots, &self.logs, keep)
    }

    /// Deletes the oldest snapshots and logs until `size_max` bytes are left, but for the newest three snapshots and
    /// the logs that they need. Returns what was deleted.
    pub fn purge_to_size(&self, size_max: u64) -> Result<Vec<PathBuf>, DiskError> {
        purge::purge_to_size(&self.snapshots, &self.logs, size_max)
    }

    /// Bytes of the files under the data folder and under the log folder (`dirs`, `conf`).
    pub fn sizes(&self) -> (u64, u64) {
        (folder_size(&self.snapshots), folder_size(&self.logs))
    }

    /// The state as of `zxid`, which has been applied and is in the log, while the log is being written. Blocks for as
    /// long as a start takes.
    pub fn as_of(&self, zxid: Zxid) -> Result<Database, HistoryError> {
        Ok(History::of(self).at(Point::Zxid(zxid))?.database)
    }

    /// Snapshots can be restored: they say how far they go.
    pub fn tells_last_zxid(&self) -> bool {
        self.config.last_zxid_trailer
    }

    /// A snapshot's bytes, uncompressed.
    pub fn encode(&self, database: &Database) -> Bytes {
        snapshot::encode(database, self.config.digest)
    }

    /// The database that a snapshot's bytes hold, and how far it goes.
    pub fn decode(&self, bytes: &Bytes) -> Result<(Database, Zxid), String> {
        let snapshot = loading::decode(bytes.clone(), self.config.entry_max)?;
        let last_zxid =
            snapshot.last_zxid.ok_or("it does not say how far it goes: it lacks its last zxid")?;
        Ok((snapshot.database, last_zxid))
    }

    /// Zxid and time (seconds since 1970) of the newest snapshot; `None`: there is none.
    pub fn last_snapshot(&self) -> Option<(Zxid, u64)> {
        let (zxid, path) = files_by_zxid(&self.snapshots, "snapshot").ok()?.pop()?;
        let written = fs::metadata(path).and_then(|meta| meta.modified()).ok()?;
        Some((zxid, written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()))
    }

    pub fn loads(&self) -> LoadStats {
        self.note_load(|stats| stats.clone())
    }

    pub fn reset_loads(&self) {
        self.note_load(|stats| *stats = LoadStats::default());
    }

    fn note_load<T>(&self, note: impl FnOnce(&mut LoadStats) -> T) -> T {
        note(&mut self.loads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `dataDir/version-2`, `dataLogDir/version-2`.
    pub fn folders(&self) -> (&Path, &Path) {
        (&self.snapshots, &self.logs)
    }

    fn check_folders(&self) -> Result<(), DiskError> {
        self.check_folder(&self.logs, "data", " ")?;
        self.check_folder(&self.snapshots, "snap", "")?;
        if self.logs == self.snapshots {
            return Ok(());
        }
        let has = |folder: &Path, prefix: &str| -> Result<bool, DiskError> {
            Ok(names(folder)?.iter().any(|name| name.starts_with(prefix)))
        };
        if has(&self.logs, "snapshot.")? {
            return Err(DiskError::Folder(
                "Log directory has snapshot files. Check if dataLogDir and dataDir configuration is correct."
                    .into(),
            ));
        }
        if has(&self.snapshots, "log.")? {
            return Err(DiskError::Folder(
                "Snapshot directory has log files. Check if dataLogDir and dataDir configuration is correct."
                    .into(),
            ));
        }
        Ok(())
    }

    /// `what` and `gap` are ZooKeeper's own wording, oddities included.
    fn check_folder(&self, folder: &Path, what: &str, gap: &str) -> Result<(), DiskError> {
        let shown = folder.display();
        if !folder.exists() {
            if !self.config.autocreate {
                return Err(DiskError::Folder(format!(
                    "Missing {what} directory {shown}, automatic data directory creation is disabled \
                     (zookeeper.datadir.autocreate is false).{gap}Please create this directory manually."
                )));
            }
            if let Err(error) = fs::create_dir_all(folder) {
                return Err(DiskError::Folder(format!(
                    "Unable to create {what} directory {shown} ({error})"
                )));
            }
        }
        match rustix::fs::access(folder, Access::WRITE_OK) {
            Ok(()) => Ok(()),
            Err(_) => Err(DiskError::Folder(format!("Cannot write to {what} directory {shown}"))),
        }
    }

    /// What an interrupted write left. `currentEpoch.tmp` stays: recovery may need it.
    fn remove_temporaries(&self) -> Result<(), DiskError> {
        for name in names(&self.snapshots)? {
            if name.starts_with("snapshot.") && name.ends_with(".tmp") {
                let path = self.snapshots.join(name);
                fs::remove_file(&path).map_err(DiskError::io("delete", &path))?;
            }
        }
        Ok(())
    }
}

/// File names in a folder; those that are not UTF-8 are none of ours.
fn names(folder: &Path) -> Result<Vec<String>, DiskError> {
    let failed = DiskError::io("list", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(&failed)? {
        names.extend(entry.map_err(&failed)?.file_name().into_string());
    }
    Ok(names)
}

/// Files named `<prefix>.<hex zxid>[.anything]`, oldest first. As in Java, the second part of the name counts.
fn files_by_zxid(folder: &Path, prefix: &str) -> Result<Vec<(Zxid, PathBuf)>, DiskError> {
    let mut files = Vec::new();
    for name in names(folder)? {
        let mut parts = name.split('.');
        if parts.next() != Some(prefix) || name.ends_with(".tmp") {
            continue;
        }
        if let Some(zxid) = parts.next().and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            files.push((zxid as Zxid, folder.join(&name)));
        }
    }
    files.sort();
    Ok(files)
}

/// Makes creations, renames and deletions in a folder durable.
fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DiskError::io("sync", folder))
}

fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
pub(crate) mod tests;
