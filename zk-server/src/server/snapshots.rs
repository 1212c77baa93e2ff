//! When a snapshot is due, and how it gets to disk without stopping the loop.

use crate::disk::{Disk, DiskError, SnapshotWriter};
use crate::server::inbox::{Inbox, Input};
use bytes::Bytes;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tracing::{info, warn};
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
    Finish { digest: Option<(Zxid, i64)>, last_zxid: Zxid },
}

/// A snapshot that a thread is writing.
#[derive(Debug)]
pub(crate) struct Writing {
    pieces: SyncSender<Piece>,
}

impl Writing {
    /// Begins `snapshot.<zxid>`.
    pub fn start(disk: &Disk, zxid: Zxid, inbox: Inbox) -> Result<Writing, DiskError> {
        let writer = disk.snapshot(zxid, false)?;
        let (pieces, todo) = sync_channel(CHUNKS_WAITING);
        info!("Snapshotting: 0x{zxid:x}");
        let thread = std::thread::Builder::new().name("Snapshot Thread".into());
        let spawned = thread.spawn(move || match write(writer, todo) {
            Ok(Some(path)) => info!("Snapshot written: {}", path.display()),
            Ok(None) => warn!("The snapshot of 0x{zxid:x} was given up"),
            Err(error) => {
                let why = format!("Severe unrecoverable error, exiting: {error}");
                inbox.send(Input::Broken { code: 10, why });
            }
        });
        spawned
            .map_err(|source| DiskError::Broken(format!("cannot start the snapshot's thread: {source}")))?;
        Ok(Writing { pieces })
    }

    /// Gives the chunk back where the disk is behind.
    pub fn chunk(&self, chunk: Bytes) -> Option<Bytes> {
        match self.pieces.try_send(Piece::Chunk(chunk)) {
            Err(TrySendError::Full(Piece::Chunk(chunk))) => Some(chunk),
            _ => None,
        }
    }

    /// Seals it.
    pub fn finish(self, digest: Option<(Zxid, i64)>, last_zxid: Zxid) {
        let _ = self.pieces.send(Piece::Finish { digest, last_zxid });
    }
}

fn write(mut writer: SnapshotWriter, todo: Receiver<Piece>) -> Result<Option<PathBuf>, DiskError> {
    for piece in todo {
        match piece {
            Piece::Chunk(chunk) => writer.write(&chunk)?,
            Piece::Finish { digest, last_zxid } => return writer.finish(digest, last_zxid).map(Some),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
