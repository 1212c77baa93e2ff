//! What can go wrong with a log on disk.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = LogError> = std::result::Result<T, E>;

/// An operating error of the log. All but [`LogError::OffsetOutOfRange`] mean that the log directory can no longer be
/// trusted with new writes (Kafka takes the directory offline); that one is an answer to a reader.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused (`ENOSPC`, `EIO`, `EACCES`, ...).
    #[error("{op} {}: {source}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// A file's content contradicts its format.
    #[error("{}: corrupt at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    /// The offset asked for is not in `start..=end`.
    #[error("offset {offset} is outside of {start} to {end} in {}", dir.display())]
    OffsetOutOfRange { dir: PathBuf, offset: i64, start: i64, end: i64 },
    /// The caller handed in bytes that cannot be appended; nothing was written.
    #[error("cannot append to {}: {reason}", dir.display())]
    Append { dir: PathBuf, reason: String },
    /// Another process holds the directory.
    #[error("{} is locked by another broker", path.display())]
    Locked { path: PathBuf },
    /// `meta.properties` belongs to another broker or cluster, or the directories disagree.
    #[error("{0}")]
    Identity(String),
    /// Something in a log directory is no partition's directory.
    #[error(
        "found directory {}, '{}' is not in the form of topic-partition or topic-partition.uniqueId-delete (if marked for deletion)",
        path.display(), path.file_name().unwrap_or_default().to_string_lossy()
    )]
    NotAPartition { path: PathBuf },
}

impl LogError {
    pub(crate) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), position, reason: reason.into() }
    }

    /// True where the disk, not the content, is at fault.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// Adds what was being done to which file.
pub(crate) trait At<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| LogError::Io { op, path: path.to_owned(), source })
    }
}
