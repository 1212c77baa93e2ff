//! What happens by the clock: checkpoints, retention, flushes, files whose time has come; and the end.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use wire::Str;

use super::moves::Future;
use super::replica::{Records, Replica};
use super::{Notice, Shard, find};
use crate::config::BrokerConfig;
use crate::log::{Checkpoint, Log, LogError};
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
    /// The cleaner's checkpoint, too.
    clean_offsets_moved: bool,
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
            clean_offsets_moved: false,
            saved: HashMap::new(),
        }
    }

    /// Checkpoints are due: logs have moved.
    pub fn checkpoint_now(&mut self, now: i64) {
        for timer in [&mut self.watermarks, &mut self.recovery_points, &mut self.log_starts] {
            timer.0 = timer.0.min(now);
        }
        self.clean_offsets_moved = true;
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

/// A log that this broker holds: a replica's, or the copy of one.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    pub dir: usize,
    pub topic: &'a Str,
    pub partition: i32,
    pub log: &'a Log,
    pub high_watermark: i64,
    pub is_future: bool,
}

impl<'a> Held<'a> {
    /// Its log, and the copy if there is one.
    fn of(replica: &'a Replica) -> impl Iterator<Item = Held<'a>> + Clone {
        let own = Held {
            dir: replica.dir,
            topic: &replica.topic,
            partition: replica.partition,
            log: &replica.log,
            high_watermark: replica.core.high_watermark(),
            is_future: false,
        };
        let future = replica.future.as_deref();
        let future = future.map(|future| Held::of_future(&replica.topic, replica.partition, future));
        std::iter::once(own).chain(future)
    }

    fn of_future(topic: &'a Str, partition: i32, future: &'a Future) -> Held<'a> {
        let high_watermark = future.high_watermark();
        Held { dir: future.dir, topic, partition, log: &future.log, high_watermark, is_future: true }
    }
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
            self.save(Checkpoint::RecoveryPoint, |held| Some(held.log.recovery_point()));
        }
        if due(&mut self.upkeep.log_starts, now) {
            self.save_log_starts();
        }
        if std::mem::take(&mut self.upkeep.clean_offsets_moved) {
            self.save_cleaned();
        }
    }

    /// Some logs a turn: each may need a look at its files.
    fn apply_retention(&mut self) {
        let wall = self.turn.wall;
        let rest = self.upkeep.retained.len().saturating_sub(RETAINED_PER_TURN);
        for (topic, partition) in self.upkeep.retained.split_off(rest) {
            let replica = find(&mut self.replicas, &topic, partition);
            let Some(replica) = replica.filter(|replica| self.store.is_live(replica.dir)) else { continue };
            if let Some(future) = &mut replica.future
                && let Err(error) = future.log.apply_retention(future.high_watermark(), wall)
            {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(future.dir);
            }
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
            let future = replica.future.as_mut().map(|future| (&mut future.log, future.dir));
            for (log, dir) in std::iter::once((&mut replica.log, replica.dir)).chain(future) {
                log.tick(wall);
                doomed.extend(log.take_doomed(wall));
                if let Err(error) = log.start_flush(wall) {
                    tracing::error!("{error}");
                    self.turn.failed_dirs.push(dir);
                    continue;
                }
                if let Some(job) = log.take_flush_job() {
                    let (topic, partition) = (replica.topic.clone(), replica.partition);
                    let _ = self.notices.send(Notice::Flush { topic, partition, job });
                }
            }
        }
        remove(doomed, self.store.take_doomed(wall));
    }

    /// A flush off the loop has come to its end offset, or failed. The log may lie elsewhere meanwhile.
    pub(super) fn flushed(&mut self, topic: &Str, partition: i32, dir: &Path, end_offset: Option<i64>) {
        let Some(replica) = find(&mut self.replicas, topic, partition) else { return };
        let (log, at) = match &mut replica.future {
            Some(future) if future.log.dir() == dir => (&mut future.log, future.dir),
            _ if replica.log.dir() == dir => (&mut replica.log, replica.dir),
            _ => return,
        };
        match end_offset {
            Some(end_offset) => log.mark_flushed(end_offset, self.turn.wall),
            None => self.turn.failed_dirs.push(at),
        }
    }

    /// Copies are not cleaned.
    pub(super) fn save_cleaned(&mut self) {
        self.save(Checkpoint::Cleaner, |held| held.log.cleaned_offset().filter(|_| !held.is_future));
    }

    fn save_watermarks(&mut self) {
        self.save(Checkpoint::HighWatermark, |held| Some(held.high_watermark));
    }

    /// Only what the segments' names do not tell.
    fn save_log_starts(&mut self) {
        self.save(Checkpoint::LogStart, |held| {
            let start = held.log.log_start_offset();
            (start > held.log.first_segment_base()).then_some(start)
        });
    }

    /// Leaves a checkpoint to the thread that writes them, unless it would say what the last one says.
    pub(super) fn save(&mut self, which: Checkpoint, offset: impl Fn(&Held<'_>) -> Option<i64>) {
        let orphans =
            self.moves.orphans().map(|(topic, partition, future)| Held::of_future(topic, partition, future));
        let all = self.replicas.values().flat_map(BTreeMap::values).flat_map(Held::of).chain(orphans);
        let mut digest = DefaultHasher::new();
        for held in all.clone() {
            (held.dir, held.topic, held.partition, offset(&held)).hash(&mut digest);
        }
        let digest = digest.finish();
        if self.upkeep.saved.insert(which, digest) == Some(digest) {
            self.turn.failed_dirs.extend(self.store.failed_saves());
            return;
        }
        let points = all.filter_map(|held| Some((held.dir, held.topic, held.partition, offset(&held)?)));
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
        let mut logs: Vec<HeldLog> = Vec::new();
        for Replica { topic, partition, log, dir, future, .. } in replicas {
            logs.extend(future.map(|future| (future.dir, topic.clone(), partition, future.log)));
            logs.push((dir, topic, partition, log));
        }
        let orphans = self.moves.take_orphans();
        logs.extend(orphans.map(|((topic, partition), future)| (future.dir, topic, partition, future.log)));
        logs.retain(|(dir, ..)| self.store.is_live(*dir));
        let threads = crate::store::threads(&self.broker.config);
        let at_once = logs.iter().filter(|(.., log)| !log.is_flushed()).count() > SYNC_EACH_MAX;
        let queue = Mutex::new(logs);
        let closed = Mutex::new((Vec::new(), Vec::new()));
        let work = || {
            while let Some((dir, topic, partition, log)) = pop(&queue) {
                let end = log.log_end_offset();
                let done = if at_once { log.close_unsynced() } else { log.close(wall) };
                let mut closed = closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match done {
                    Ok(()) => closed.0.push((dir, topic, partition, end)),
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

/// (directory, topic, partition, log)
type HeldLog = (usize, Str, i32, Log);

fn pop(queue: &Mutex<Vec<HeldLog>>) -> Option<HeldLog> {
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
