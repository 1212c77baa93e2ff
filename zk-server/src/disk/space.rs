//! Room on the disks: a reserve that writes of clients do not touch, and patience where there is none at all.
//!
//! A write that meets a full disk is tried again until there is room: nothing behind it is acknowledged meanwhile, and
//! reads go on. Any other error of the disk still ends the server.

use super::DiskError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tracing::{error, info, warn};

/// Between two looks, and between two attempts to write.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of the room on the disks, for every thread.
#[derive(Debug, Clone)]
pub struct Space {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    folders: [PathBuf; 2],
    /// Bytes; 0: never low.
    reserve: u64,
    /// Of the fuller disk, at the last look.
    free: AtomicU64,
    low: AtomicBool,
    /// The server is being stopped: nobody waits any more.
    stopping: AtomicBool,
}

impl Space {
    pub fn new(snapshots: &Path, logs: &Path, reserve: u64) -> Space {
        let folders = [snapshots.into(), logs.into()];
        let (free, low, stopping) = (AtomicU64::new(u64::MAX), AtomicBool::default(), AtomicBool::default());
        Space { state: Arc::new(State { folders, reserve, free, low, stopping }) }
    }

    /// Bytes that are left on the fuller disk.
    pub fn free(&self) -> u64 {
        self.state.free.load(SeqCst)
    }

    /// Less than the reserve is left.
    pub fn is_low(&self) -> bool {
        self.state.low.load(SeqCst)
    }

    /// Looks anew. Answers where the state has changed: whether there is enough.
    pub fn look(&self) -> Option<bool> {
        let free = self.state.folders.iter().filter_map(|folder| free(folder).ok()).min()?;
        self.state.free.store(free, SeqCst);
        self.judge(free)
    }

    fn judge(&self, free: u64) -> Option<bool> {
        let reserve = self.state.reserve;
        let was_low = self.is_low();
        // A quarter more before it is over, so that it does not begin again at once.
        let low = free < if was_low { reserve + reserve / 4 } else { reserve };
        self.state.low.store(low, SeqCst);
        if low == was_low {
            return None;
        }
        let mib = |bytes: u64| bytes >> 20;
        match low {
            true => error!(
                "The disk is nearly full: {} MiB are left, {} MiB are the reserve. Clients' writes are refused, reads \
                 go on.",
                mib(free),
                mib(reserve)
            ),
            false => info!("There is room on the disk again: {} MiB. Writes go on.", mib(free)),
        }
        Some(!low)
    }

    /// Looks twice a second, and tells of changes, until the other end of `stop` is gone.
    pub fn watch(&self, stop: &Receiver<()>, tell: impl Fn(bool)) {
        while stop.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            if let Some(enough) = self.look() {
                tell(enough);
            }
        }
    }

    pub fn stop_waiting(&self) {
        self.state.stopping.store(true, SeqCst);
    }

    /// Does `write` until the disk is not full; it must be one that may be repeated.
    pub(super) fn patiently<T>(
        &self,
        path: &Path,
        mut write: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut told = false;
        loop {
            match write() {
                Err(error) if is_full(&error) && !self.state.stopping.load(SeqCst) => {
                    if !std::mem::replace(&mut told, true) {
                        error!(
                            "cannot write to {}: {error}. Nothing is acknowledged until there is room.",
                            path.display()
                        );
                    }
                    std::thread::sleep(PAUSE);
                }
                done => {
                    if told && done.is_ok() {
                        warn!("{} could be written to again", path.display());
                    }
                    return done;
                }
            }
        }
    }
}

fn free(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// No blocks, or none that this user may have.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl DiskError {
    /// The cause is a full disk: it may have room again.
    pub fn is_full(&self) -> bool {
        matches!(self, DiskError::Io { source, .. } if is_full(source))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    /// A file system of its own, of some MiB; `None` where this user may not mount one.
    pub(crate) struct SmallDisk(pub tempfile::TempDir);

    impl SmallDisk {
        pub(crate) fn mount(mib: usize) -> Option<SmallDisk> {
            let folder = tempfile::tempdir().unwrap();
            let options = format!("size={mib}m");
            let mut mount = Command::new("mount");
            let mounted = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
            match mounted {
                Ok(output) if output.status.success() => Some(SmallDisk(folder)),
                other => {
                    println!("skipped: no tmpfs can be mounted here: {other:?}");
                    None
                }
            }
        }

        /// Leaves no byte; the way back is to delete the file.
        pub(crate) fn fill(&self) -> PathBuf {
            use std::io::Write;
            let path = self.0.path().join("filler");
            let mut file = fs::File::create(&path).unwrap();
            while file.write_all(&[7; 4096]).is_ok() {}
            path
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }

    #[test]
    fn the_reserve_is_left_alone_until_there_is_a_quarter_more() {
        let space = Space::new(Path::new("/"), Path::new("/"), 100);
        let steps = [(100, None), (99, Some(false)), (110, None), (50, None), (125, Some(true)), (100, None)];
        for (free, told) in steps {
            assert_eq!(space.judge(free), told, "{free}");
        }
        assert_eq!(Space::new(Path::new("/"), Path::new("/"), 0).judge(0), None, "no reserve, no state");
    }

    #[test]
    fn a_full_disk_is_seen_and_its_end_is_waited_for() {
        let Some(disk) = SmallDisk::mount(4) else { return };
        let space = Space::new(disk.0.path(), disk.0.path(), 1 << 20);
        assert_eq!(space.look(), None);
        let filler = disk.fill();
        assert_eq!((space.look(), space.free()), (Some(false), 0));
        let target = disk.0.path().join("target");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| space.patiently(&target, || fs::write(&target, [1; 9000])));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!writer.is_finished());
            fs::remove_file(&filler).unwrap();
            writer.join().unwrap().unwrap();
        });
        assert_eq!(space.look(), Some(true));
        assert_eq!(fs::read(&target).unwrap(), [1; 9000]);
        disk.fill();
        space.stop_waiting();
        assert!(is_full(&space.patiently(&target, || fs::write(&target, [1; 90_000])).unwrap_err()));
    }
}
