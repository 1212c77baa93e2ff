//! What happens by the clock: checkpoints, retention, flushes, files whose time has come; and the end.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use wire::Str;

use super::replica::{Records, Replica};
use super::{Notice, Shard, find};
use crate::config::BrokerConfig;
use crate::log::{Checkpoint, LogError};
use crate::store::Point;

/// When each kind of upkeep is due, in the loop's ms: (next, every).
pub struct Schedule {
    watermarks: (i64, i64),
    recovery_points: (i64, i64),
    log_starts: (i64, i64),
    retention: (i64, i64),
    /// Whose turn has not come in the retention pass that is under way.
    retained: Vec<(Str, i32)>,
    files: (i64, i64),
    /// What each checkpoint said last, in short.
    saved: HashMap<Checkpoint, u64>,
}

/// The first retention pass after a start.
const RETENTION_DELAY_MS: i64 = 30_000;
/// Logs that retention looks at in one turn of the loop.
const RETAINED_PER_TURN: usize = 64;
/// How often flushes by time, producers and files to be removed are looked at, at least.
const FILES_INTERVAL_MS: i64 = 5_000;

/// With more logs to flush at the end, the file systems are synced as a whole.
const SYNC_EACH_MAX: usize = 64;

impl Schedule {
    pub fn new(config: &BrokerConfig) -> Schedule {
        let every = |key: &str| config.int(key).max(1);
        let same = |interval: i64| (interval, interval);
        let retention = every("log.retention.check.interval.ms");
        Schedule {
            watermarks: same(every("replica.high.watermark.checkpoint.interval.ms")),
            recovery_points: same(every("log.flush.offset.checkpoint.interval.ms")),
            log_starts: same(every("log.flush.start.offset.checkpoint.interval.ms")),
            retention: (RETENTION_DELAY_MS, retention),
            retained: Vec::new(),
            files: same(every("log.flush.scheduler.interval.ms").min(FILES_INTERVAL_MS)),
            saved: HashMap::new(),
        }
    }

    /// The earliest of all.
    pub fn next(&self) -> i64 {
        let all = [self.watermarks, self.recovery_points, self.log_starts, self.retention, self.files];
        let next = all.iter().map(|(next, _)| *next).min().unwrap_or(i64::MAX);
        if self.retained.is_empty() { next } else { 0 }
    }
}

fn due(timer: &mut (i64, i64), now: i64) -> bool {
    let due = timer.0 <= now;
    if due {
        timer.0 = now.saturating_add(timer.1);
    }
    due
}

impl Shard {
    pub(super) fn keep_up(&mut self) {
        let now = self.turn.now;
        if due(&mut self.upkeep.retention, now) {
            let all = self.replicas.values().flat_map(BTreeMap::values);
            self.upkeep.retained = all.map(|replica| (replica.topic.clone(), replica.partition)).collect();
        }
        self.apply_retention();
        if due(&mut self.upkeep.files, now) {
            self.tick_files();
        }
        if due(&mut self.upkeep.watermarks, now) {
            self.save_watermarks();
        }
        if due(&mut self.upkeep.recovery_points, now) {
            self.save(Checkpoint::RecoveryPoint, |r| Some(r.log.recovery_point()));
        }
        if due(&mut self.upkeep.log_starts, now) {
            self.save_log_starts();
        }
    }

    /// Some logs a turn: each may need a look at its files.
    fn apply_retention(&mut self) {
        let wall = self.turn.wall;
        let rest = self.upkeep.retained.len().saturating_sub(RETAINED_PER_TURN);
        for (topic, partition) in self.upkeep.retained.split_off(rest) {
            let replica = find(&mut self.replicas, &topic, partition);
            let Some(replica) = replica.filter(|replica| self.store.is_live(replica.dir)) else { continue };
            match replica.log.apply_retention(replica.core.high_watermark(), wall) {
                Ok(0) => {}
                Ok(segments) => {
                    let start = replica.log.log_start_offset();
                    tracing::info!(
                        "Deleted {segments} segments of {}-{}, it starts at offset {start} now",
                        replica.topic,
                        replica.partition
                    );
                    replica
                        .step(&mut self.turn, Records::None, |core, _, out| core.log_start_moved(start, out));
                }
                Err(error) => {
                    tracing::error!("{error}");
                    self.turn.failed_dirs.push(replica.dir);
                }
            }
        }
    }

    fn tick_files(&mut self) {
        let wall = self.turn.wall;
        let expiration = self.broker.config.int("producer.id.expiration.ms");
        let mut doomed = Vec::new();
        let replicas = self.replicas.values_mut().flat_map(BTreeMap::values_mut);
        for replica in replicas.filter(|replica| self.store.is_live(replica.dir)) {
            replica.core.expire_producers(wall, expiration);
            replica.log.tick(wall);
            doomed.extend(replica.log.take_doomed(wall));
            if let Err(error) = replica.log.start_flush(wall) {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(replica.dir);
                continue;
            }
            if let Some(job) = replica.log.take_flush_job() {
                let (topic, partition) = (replica.topic.clone(), replica.partition);
                let _ = self.notices.send(Notice::Flush { topic, partition, job });
            }
        }
        remove(doomed, self.store.take_doomed(wall));
    }

    /// A flush off the loop has come to its end offset, or failed.
    pub(super) fn flushed(&mut self, topic: &Str, partition: i32, end_offset: Option<i64>) {
        let Some(replica) = find(&mut self.replicas, topic, partition) else { return };
        match end_offset {
            Some(end_offset) => replica.log.mark_flushed(end_offset, self.turn.wall),
            None => self.turn.failed_dirs.push(replica.dir),
        }
    }

    fn save_watermarks(&mut self) {
        self.save(Checkpoint::HighWatermark, |replica| Some(replica.core.high_watermark()));
    }

    /// Only what the segments' names do not tell.
    fn save_log_starts(&mut self) {
        self.save(Checkpoint::LogStart, |replica| {
            let start = replica.log.log_start_offset();
            (start > replica.log.first_segment_base()).then_some(start)
        });
    }

    /// Leaves a checkpoint to the thread that writes them, unless it would say what the last one says.
    pub(super) fn save(&mut self, which: Checkpoint, offset: impl Fn(&Replica) -> Option<i64>) {
        let all = self.replicas.values().flat_map(BTreeMap::values);
        let mut digest = DefaultHasher::new();
        for replica in all.clone() {
            (replica.dir, &replica.topic, replica.partition, offset(replica)).hash(&mut digest);
        }
        let digest = digest.finish();
        if self.upkeep.saved.insert(which, digest) == Some(digest) {
            return;
        }
        let points = all.filter_map(|r| Some((r.dir, &r.topic, r.partition, offset(r)?)));
        let failed = self.store.save_later(which, points);
        self.turn.failed_dirs.extend(failed);
    }

    /// The end: everything to disk, in good order, several logs at a time.
    pub(super) fn close(&mut self) {
        self.turn.wall = super::wall_clock();
        self.save_watermarks();
        self.save_log_starts();
        let failed = self.store.finish_saving();
        self.turn.failed_dirs.extend(failed);
        let wall = self.turn.wall;
        let replicas = std::mem::take(&mut self.replicas).into_values().flat_map(BTreeMap::into_values);
        let replicas: Vec<Replica> = replicas.filter(|replica| self.store.is_live(replica.dir)).collect();
        let threads = crate::store::threads(&self.broker.config);
        let at_once = replicas.iter().filter(|replica| !replica.log.is_flushed()).count() > SYNC_EACH_MAX;
        let queue = Mutex::new(replicas);
        let closed = Mutex::new((Vec::new(), Vec::new()));
        let work = || {
            while let Some(replica) = pop(&queue) {
                let (dir, end) = (replica.dir, replica.log.log_end_offset());
                let done = if at_once { replica.log.close_unsynced() } else { replica.log.close(wall) };
                let mut closed = closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match done {
                    Ok(()) => closed.0.push((dir, replica.topic, replica.partition, end)),
                    Err(error) => {
                        tracing::error!("{error}");
                        closed.1.push(dir);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.max(1) * self.store.live_dirs().count() {
                scope.spawn(work);
            }
            work();
        });
        let (points, mut failed) = closed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if at_once {
            failed.extend(self.store.sync());
        }
        failed.extend(self.store.save(Checkpoint::RecoveryPoint, borrow(&points)));
        failed.append(&mut self.turn.failed_dirs);
        self.store.close(&failed);
    }
}

fn pop(queue: &Mutex<Vec<Replica>>) -> Option<Replica> {
    queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
}

fn borrow(points: &[(usize, Str, i32, i64)]) -> impl Iterator<Item = Point<'_>> {
    points.iter().map(|(dir, topic, partition, offset)| (*dir, topic, *partition, *offset))
}

/// Unlinks on a thread of its own: a large file takes the disk a while.
fn remove(files: Vec<PathBuf>, dirs: Vec<PathBuf>) {
    if files.is_empty() && dirs.is_empty() {
        return;
    }
    let work = move || {
        let failed = |path: &PathBuf, error: std::io::Error| {
            if error.kind() != ErrorKind::NotFound {
                tracing::error!("Cannot delete {}: {error}", path.display());
            }
        };
        for path in &files {
            if let Err(error) = std::fs::remove_file(path) {
                failed(path, error);
            }
        }
        for path in &dirs {
            match std::fs::remove_dir_all(path) {
                Ok(()) => tracing::info!("Deleted log directory {}", path.display()),
                Err(error) => failed(path, error),
            }
        }
    };
    if let Err(source) = thread::Builder::new().name("delete-files".into()).spawn(work) {
        let error = LogError::Io { op: "cannot start a thread to delete", path: PathBuf::new(), source };
        tracing::error!("{error}; the files go at the next start");
    }
}
