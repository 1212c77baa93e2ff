//! When a snapshot is due, and how it gets to disk without stopping the loop.

use crate::disk::{Disk, DiskError, SealedSnapshot, SnapshotWriter};
use crate::server::inbox::{Inbox, Input};
use bytes::Bytes;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{error, info, warn};
use wire::zk::Zxid;

/// Chunks between the loop and the writing thread: the disk's pace becomes the loop's only beyond them.
const CHUNKS_WAITING: usize = 64;

/// Counts what is logged, and says when the log should roll and a snapshot be taken: after half of `snapCount` and a
/// random part of its other half, so that the servers of an ensemble do not all do it at the same time.
#[derive(Debug)]
pub(crate) struct Trigger {
    count_max: u64,
    bytes_max: u64,
    count: u64,
    bytes: u64,
    count_due: u64,
    bytes_due: u64,
}

impl Trigger {
    /// `bytes_max`: 0 for no limit.
    pub fn new(count_max: u64, bytes_max: u64) -> Trigger {
        let mut trigger = Trigger {
            count_max: count_max.max(2),
            bytes_max,
            count: 0,
            bytes: 0,
            count_due: 0,
            bytes_due: 0,
        };
        trigger.reset(random());
        trigger
    }

    pub fn reset(&mut self, random: u64) {
        (self.count, self.bytes) = (0, 0);
        self.count_due = self.count_max / 2 + random % (self.count_max / 2);
        self.bytes_due = match self.bytes_max / 2 {
            0 => u64::MAX,
            half => half + random % half,
        };
    }

    pub fn logged(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    pub fn is_due(&self) -> bool {
        self.count > self.count_due || self.bytes > self.bytes_due
    }
}

/// A number that nobody can foretell, from the seed that std draws for each of its hash maps.
pub(crate) fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// What is still to be written of the snapshot under way.
#[derive(Debug)]
enum Piece {
    Chunk(Bytes),
    Finish(Seal),
}

/// What ends a snapshot.
#[derive(Debug)]
pub(crate) struct Seal {
    pub digest: Option<(Zxid, i64)>,
    pub last_zxid: Zxid,
    /// Tells when the log holds all that the snapshot may show. Before that the file must not count: with the end of
    /// the log lost, it would show transactions that nobody has logged.
    pub logged: Receiver<()>,
}

/// Whether a snapshot may still become a file that counts.
#[derive(Debug, Clone)]
pub(crate) struct Permit(Arc<Mutex<bool>>);

impl Permit {
    fn new() -> Permit {
        Permit(Arc::new(Mutex::new(true)))
    }

    /// When this returns, the file is there, or never will be.
    pub fn withdraw(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    pub fn is_granted(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn use_by<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        granted.then(act)
    }
}

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Taken now and then while the database goes on changing: the thread gives it its name when it is complete.
    Periodic,
    /// What the core waits for: on stable storage, and the loop gives it its name.
    Saved,
}

/// A [`Kind::Saved`] one that is complete.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub file: SealedSnapshot,
    pub permit: Permit,
}

/// A snapshot that a thread is writing.
#[derive(Debug)]
pub(crate) struct Writing {
    pieces: SyncSender<Piece>,
    permit: Permit,
}

impl Writing {
    /// Begins `snapshot.<zxid>`.
    pub fn start(disk: &Disk, zxid: Zxid, kind: Kind, inbox: Inbox) -> Result<Writing, DiskError> {
        let writer = disk.snapshot(zxid, kind == Kind::Saved)?;
        let (pieces, todo) = sync_channel(CHUNKS_WAITING);
        let permit = Permit::new();
        let granted = permit.clone();
        info!("Snapshotting: 0x{zxid:x}");
        let thread = std::thread::Builder::new().name("Snapshot Thread".into());
        let spawned = thread.spawn(move || match write(writer, todo, kind, &granted) {
            Ok(Some(Written::Published(path))) => info!("Snapshot written: {}", path.display()),
            Ok(Some(Written::Sealed(file))) => {
                inbox.send(Input::Sealed(Box::new(Sealed { file, permit: granted })));
            }
            Ok(None) => warn!("The snapshot of 0x{zxid:x} was given up"),
            Err(error) if error.is_full() && kind == Kind::Periodic => {
                error!("The snapshot of 0x{zxid:x} was given up, and nothing is left of it: {error}");
            }
            // The core waits, and the ensemble has others meanwhile.
            Err(error) if error.is_full() => {
                error!("The snapshot of 0x{zxid:x} is not saved, and is tried again: {error}");
                inbox.send(Input::Unsaved);
            }
            Err(error) => {
                let why = format!("Severe unrecoverable error, exiting: {error}");
                inbox.send(Input::Broken { code: 10, why });
            }
        });
        spawned
            .map_err(|source| DiskError::Broken(format!("cannot start the snapshot's thread: {source}")))?;
        Ok(Writing { pieces, permit })
    }

    /// Gives the chunk back where the disk is behind.
    pub fn chunk(&self, chunk: Bytes) -> Option<Bytes> {
        match self.pieces.try_send(Piece::Chunk(chunk)) {
            Err(TrySendError::Full(Piece::Chunk(chunk))) => Some(chunk),
            _ => None,
        }
    }

    /// Has the thread seal it once the log is that far, unless the permit is withdrawn before.
    pub fn finish(self, seal: Seal) -> Permit {
        let _ = self.pieces.send(Piece::Finish(seal));
        self.permit
    }
}

#[derive(Debug)]
enum Written {
    Published(PathBuf),
    Sealed(SealedSnapshot),
}

fn write(
    mut writer: SnapshotWriter,
    todo: Receiver<Piece>,
    kind: Kind,
    permit: &Permit,
) -> Result<Option<Written>, DiskError> {
    for piece in todo {
        match piece {
            Piece::Chunk(chunk) => writer.write(&chunk)?,
            Piece::Finish(Seal { digest, last_zxid, logged }) => {
                if logged.recv().is_err() {
                    return Ok(None);
                }
                let sealed = writer.seal(digest, last_zxid)?;
                return match kind {
                    Kind::Periodic => permit.use_by(|| sealed.publish().map(Written::Published)).transpose(),
                    Kind::Saved => Ok(Some(Written::Sealed(sealed))),
                };
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::space::tests::SmallDisk;
    use crate::disk::tests::{Home, disk_in};
    use bytes::BytesMut;
    use std::time::Duration;

    #[test]
    fn a_snapshot_is_due_in_the_upper_half_of_its_count_or_bytes() {
        let mut trigger = Trigger::new(100, 0);
        trigger.reset(7);
        let due_after = |trigger: &mut Trigger| {
            (1..).find(|_| {
                trigger.logged(10);
                trigger.is_due()
            })
        };
        assert_eq!(due_after(&mut trigger), Some(58));
        trigger.reset(49);
        assert_eq!(due_after(&mut trigger), Some(100));
        let mut by_size = Trigger::new(1_000_000, 1000);
        by_size.reset(0);
        assert_eq!(due_after(&mut by_size), Some(51));
    }

    #[test]
    fn a_snapshot_that_the_core_waits_for_and_that_meets_a_full_disk_is_to_be_tried_again() {
        let Some(small) = SmallDisk::mount(2) else { return };
        let disk = disk_in(small.0.path());
        let (inbox, inputs) = Inbox::new();
        let writing = Writing::start(&disk, 7, Kind::Saved, inbox).unwrap();
        small.fill();
        let chunk = Bytes::from(vec![7; 100_000]);
        let told = (0..1000).find_map(|_| {
            writing.chunk(chunk.clone());
            inputs.recv_timeout(Duration::from_millis(10)).ok()
        });
        assert!(matches!(told, Some(Input::Unsaved)), "{told:?}");
        let left: Vec<_> =
            std::fs::read_dir(disk.folders().0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["filler"], "nothing is left of it");
    }

    /// Everything that the thread is to write of `snapshot.<zxid>`, and what tells it of the log.
    fn whole(disk: &Disk, zxid: Zxid) -> (SnapshotWriter, Receiver<Piece>, SyncSender<()>) {
        let mut stream = BytesMut::new();
        zk_core::Database::new().encode_stream(&mut stream);
        let (pieces, todo) = sync_channel(2);
        let (log, logged) = sync_channel(1);
        pieces.send(Piece::Chunk(stream.freeze())).unwrap();
        pieces.send(Piece::Finish(Seal { digest: None, last_zxid: zxid, logged })).unwrap();
        (disk.snapshot(zxid, false).unwrap(), todo, log)
    }

    #[test]
    fn a_snapshot_counts_once_the_log_is_as_far() {
        let home = Home::new();
        let (disk, _) = home.open().unwrap();
        let (writer, todo, log) = whole(&disk, 7);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| write(writer, todo, Kind::Periodic, &Permit::new()).unwrap());
            assert!(!home.files().contains(&"snapshot.7".to_owned()));
            log.send(()).unwrap();
            assert!(thread.join().unwrap().is_some());
        });
        assert!(home.files().contains(&"snapshot.7".to_owned()));
    }

    #[test]
    fn a_snapshot_that_the_core_waits_for_counts_when_the_loop_says_so() {
        let home = Home::new();
        let (disk, _) = home.open().unwrap();
        let before = home.files();
        for wanted in [false, true] {
            let (writer, todo, log) = whole(&disk, 7);
            log.send(()).unwrap();
            let Ok(Some(Written::Sealed(sealed))) = write(writer, todo, Kind::Saved, &Permit::new()) else {
                panic!("it is sealed, and no more")
            };
            assert!(!home.files().contains(&"snapshot.7".to_owned()));
            if wanted {
                sealed.publish().unwrap();
                assert!(home.files().contains(&"snapshot.7".to_owned()));
            } else {
                drop(sealed);
                assert_eq!(home.files(), before);
            }
        }
    }

    #[test]
    fn a_snapshot_never_counts_without_its_permit_or_its_log() {
        let home = Home::new();
        let (disk, _) = home.open().unwrap();
        let before = home.files();
        let (writer, todo, log) = whole(&disk, 7);
        let permit = Permit::new();
        permit.withdraw();
        log.send(()).unwrap();
        assert!(write(writer, todo, Kind::Periodic, &permit).unwrap().is_none());
        let (writer, todo, log) = whole(&disk, 8);
        drop(log);
        assert!(write(writer, todo, Kind::Periodic, &Permit::new()).unwrap().is_none());
        assert_eq!(home.files(), before);
    }
}
