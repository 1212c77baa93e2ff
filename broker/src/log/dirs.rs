//! One of `log.dirs`: its lock, its checkpoints, the marker of a clean shutdown.

use super::TopicPartition;
use super::checkpoint::{read_offsets, sync_dir, write_offsets};
use super::error::{At, LogError, Result};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const CLEAN: &str = ".kafka_cleanshutdown";

/// The four files with an offset per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// Below it everything is on stable storage.
    RecoveryPoint,
    /// Only of logs that start above their first segment's base.
    LogStart,
    HighWatermark,
    /// Below it everything is compacted.
    Cleaner,
}

impl Checkpoint {
    pub(crate) const ALL: [Self; 4] =
        [Self::RecoveryPoint, Self::LogStart, Self::HighWatermark, Self::Cleaner];

    fn file(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::LogStart => "log-start-offset-checkpoint",
            Self::HighWatermark => "replication-offset-checkpoint",
            Self::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

/// A locked log directory. Every method may be called from any thread, but one writer per checkpoint file.
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    _lock: File,
    clean: bool,
}

impl LogDir {
    /// Creates the directory where missing, locks it, and takes the clean-shutdown marker away.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).at("cannot create", path)?;
        let lock = lock(path)?;
        for checkpoint in Checkpoint::ALL {
            let file = path.join(checkpoint.file());
            OpenOptions::new().create(true).append(true).open(&file).at("cannot create", &file)?;
        }
        let marker = path.join(CLEAN);
        let clean = match fs::remove_file(&marker) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error).at("cannot remove", &marker),
        };
        if clean {
            sync_dir(path)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock, clean })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last broker closed all logs in good order.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Where this partition's log lies or will lie.
    pub fn log_path(&self, partition: &TopicPartition) -> PathBuf {
        self.path.join(partition.to_string())
    }

    pub fn read_checkpoint(&self, which: Checkpoint) -> Result<BTreeMap<TopicPartition, i64>> {
        read_offsets(&self.path.join(which.file()))
    }

    pub fn write_checkpoint(&self, which: Checkpoint, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        write_offsets(&self.path.join(which.file()), offsets)
    }

    /// The last step of a clean shutdown, after every log was closed and the checkpoints were written.
    pub fn mark_clean(&self) -> Result<()> {
        let marker = self.path.join(CLEAN);
        File::create(&marker).at("cannot create", &marker)?;
        sync_dir(&self.path)
    }
}

/// Takes `.lock`: by `fcntl` against Java's brokers, by `flock` against another one in this process.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(".lock");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.at("cannot open", &path)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive));
    match locked {
        Ok(()) => Ok(file),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(LogError::Locked { path: dir.to_owned() }),
        Err(error) => Err(std::io::Error::from(error)).at("cannot lock", &path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_broker_is_locked_out() {
        let dir = tempfile::tempdir().unwrap();
        let first = LogDir::open(dir.path()).unwrap();
        assert!(matches!(LogDir::open(dir.path()), Err(LogError::Locked { .. })));
        drop(first);
        LogDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_clean_marker_lives_from_shutdown_to_start() {
        let dir = tempfile::tempdir().unwrap();
        let log_dir = LogDir::open(dir.path()).unwrap();
        assert!(!log_dir.was_clean());
        log_dir.mark_clean().unwrap();
        drop(log_dir);
        let log_dir = LogDir::open(dir.path()).unwrap();
        assert!(log_dir.was_clean() && !dir.path().join(CLEAN).exists());
    }

    #[test]
    fn a_checkpoint_is_kafkas_text_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let log_dir = LogDir::open(dir.path()).unwrap();
        assert!(log_dir.read_checkpoint(Checkpoint::Cleaner).unwrap().is_empty());
        let offsets = BTreeMap::from([("cmp-0".parse().unwrap(), 8), ("a-b-11".parse().unwrap(), 3)]);
        log_dir.write_checkpoint(Checkpoint::HighWatermark, &offsets).unwrap();
        let path = dir.path().join("replication-offset-checkpoint");
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n2\na-b 11 3\ncmp 0 8\n");
        assert_eq!(log_dir.read_checkpoint(Checkpoint::HighWatermark).unwrap(), offsets);
        fs::write(&path, "0\n3\na-b 11 3\ncmp 0 8\n").unwrap();
        assert!(matches!(log_dir.read_checkpoint(Checkpoint::HighWatermark), Err(LogError::Corrupt { .. })));
    }
}
