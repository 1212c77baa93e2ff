//! Opening all logs of a directory at start.

use super::dirs::{Checkpoint, LogDir};
use super::error::{At, LogError, Result};
use super::types::OpenAt;
use super::{Log, LogConfig, TopicPartition};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// From then on the load of one log is worth a line.
const SLOW_LOAD_MS: u128 = 100;

/// How [`LogDir::load`] opens logs.
pub struct LoadOptions<'a> {
    /// A topic's settings.
    pub config: &'a (dyn Fn(&str) -> LogConfig + Sync),
    /// `num.recovery.threads.per.data.dir`
    pub threads: usize,
    /// ms since 1970
    pub now: i64,
}

/// One partition's log and what the checkpoints said about it.
#[derive(Debug)]
pub struct LoadedLog {
    pub partition: TopicPartition,
    pub log: Log,
    /// From the checkpoint, within the log's start and end; the start where there is no entry.
    pub high_watermark: i64,
    /// The copy of a move to this directory that is not finished (`-future`).
    pub future: bool,
}

/// What a directory holds, each list by name.
#[derive(Debug, Default)]
pub struct LoadedDir {
    pub logs: Vec<LoadedLog>,
    /// Directories of deleted partitions (`-delete`), to be removed.
    pub deleted: Vec<PathBuf>,
    /// Logs that did not open. Kafka gives the whole directory up over one of them.
    pub failed: Vec<(TopicPartition, LogError)>,
}

impl LoadedDir {
    /// The first log that failed speaks for the directory.
    pub fn all_or_error(self) -> Result<Self> {
        let Self { logs, deleted, mut failed } = self;
        if failed.is_empty() {
            return Ok(Self { logs, deleted, failed });
        }
        let (partition, error) = failed.remove(0);
        tracing::error!("The log of {partition} cannot be loaded: {error}");
        Err(error)
    }
}

struct Found {
    path: PathBuf,
    partition: TopicPartition,
    future: bool,
}

/// Logs that a thread opens before it asks for more.
const BITE: usize = 32;

/// A log to be opened and the place of what comes of it.
type Task<'a> = (&'a Found, &'a mut Option<Result<LoadedLog>>);

/// The offsets of all partitions in a checkpoint.
type Offsets = BTreeMap<TopicPartition, i64>;

/// What the checkpoints of a directory say.
struct Checkpoints {
    recovery_points: Offsets,
    log_starts: Offsets,
    cleaned: Offsets,
    high_watermarks: Offsets,
}

impl LogDir {
    /// Opens every partition's log, several at a time. Fails where the directory itself cannot be read or holds
    /// something that is no partition's.
    pub fn load(&self, options: &LoadOptions<'_>) -> Result<LoadedDir> {
        let mut loaded = LoadedDir::default();
        let found = self.list(&mut loaded.deleted)?;
        let recovery_points = self.read_or_reset(Checkpoint::RecoveryPoint)?;
        let log_starts = self.read_or_reset(Checkpoint::LogStart)?;
        let cleaned = self.read_or_reset(Checkpoint::Cleaner)?;
        self.say_what_is_done(found.len());
        let high_watermarks = self.read_checkpoint(Checkpoint::HighWatermark)?;
        let checkpoints = Checkpoints { recovery_points, log_starts, cleaned, high_watermarks };
        let mut opened: Vec<Option<Result<LoadedLog>>> = Vec::new();
        opened.resize_with(found.len(), || None);
        let mut bites: Vec<Vec<Task<'_>>> = Vec::with_capacity(found.len().div_ceil(BITE));
        let mut tasks = found.iter().zip(&mut opened).peekable();
        while tasks.peek().is_some() {
            bites.push(tasks.by_ref().take(BITE).collect());
        }
        bites.reverse();
        let queue = Mutex::new(bites);
        let work = || {
            while let Some(bite) = pop(&queue) {
                for (found, place) in bite {
                    *place = Some(self.open_log(found, &checkpoints, options));
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..options.threads {
                scope.spawn(work);
            }
            work();
        });
        loaded.logs.reserve_exact(found.len());
        for (found, opened) in found.into_iter().zip(opened.into_iter().flatten()) {
            match opened {
                Ok(log) => loaded.logs.push(log),
                Err(error) => loaded.failed.push((found.partition, error)),
            }
        }
        Ok(loaded)
    }

    fn open_log(
        &self,
        Found { path, partition, future }: &Found,
        checkpoints: &Checkpoints,
        options: &LoadOptions<'_>,
    ) -> Result<LoadedLog> {
        let offset = |offsets: &Offsets| offsets.get(partition).copied();
        let at = OpenAt {
            log_start_offset: offset(&checkpoints.log_starts).unwrap_or(0),
            recovery_point: offset(&checkpoints.recovery_points).unwrap_or(0),
            cleaned: offset(&checkpoints.cleaned),
            clean: self.was_clean(),
        };
        let started = Instant::now();
        let log = Log::open(path, (options.config)(&partition.topic), at, options.now)?;
        say_that_it_is_loaded(&log, started.elapsed());
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let high_watermark = offset(&checkpoints.high_watermarks).unwrap_or(start).clamp(start, end);
        Ok(LoadedLog { partition: partition.clone(), log, high_watermark, future: *future })
    }

    fn say_what_is_done(&self, logs: usize) {
        let path = self.path().display();
        match (logs, self.was_clean()) {
            (0, _) => tracing::info!("No logs found to be loaded in {path}"),
            (_, true) => tracing::info!(
                "Skipping recovery of {logs} logs from {path} since clean shutdown file was found"
            ),
            (_, false) => {
                tracing::info!("Recovering {logs} logs from {path} since no clean shutdown file was found");
            }
        }
    }

    /// A checkpoint that only saves work when it can be read: without it more is read, or cleaned again.
    fn read_or_reset(&self, which: Checkpoint) -> Result<BTreeMap<TopicPartition, i64>> {
        match self.read_checkpoint(which) {
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!("Starting without a checkpoint: {error}");
                Ok(BTreeMap::new())
            }
            read => read,
        }
    }

    fn list(&self, deleted: &mut Vec<PathBuf>) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path()).at("cannot list", self.path())? {
            let entry = entry.at("cannot list", self.path())?;
            let path = entry.path();
            // The list itself tells what is a directory; only a link has to be followed.
            let kind = entry.file_type().at("cannot list", &path)?;
            let is_dir = if kind.is_symlink() { path.is_dir() } else { kind.is_dir() };
            // A remote storage's cache belongs to no partition.
            if !is_dir || path.ends_with("remote-log-index-cache") {
                continue;
            }
            match classify(&path)? {
                (_, Kind::Deleted) => deleted.push(path),
                (partition, kind) => found.push(Found { path, partition, future: kind == Kind::Future }),
            }
        }
        deleted.sort();
        found.sort_unstable_by(|a, b| (&a.partition, a.future).cmp(&(&b.partition, b.future)));
        Ok(found)
    }
}

/// A line for each of many thousand logs would take longer than loading them.
fn say_that_it_is_loaded(log: &Log, took: Duration) {
    match took.as_millis() {
        ..SLOW_LOAD_MS => tracing::debug!("Completed load of {log} in {took:?}"),
        ms => tracing::info!("Completed load of {log} in {ms}ms"),
    }
}

fn pop<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().expect("no thread panics with the queue").pop()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Current,
    Future,
    Deleted,
}

/// Reads a directory's name: `<topic>-<partition>`, or `<topic>-<partition>.<32 hex digits>-delete` or `-future`.
fn classify(path: &Path) -> Result<(TopicPartition, Kind)> {
    let refuse = || LogError::NotAPartition { path: path.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(refuse)?;
    let suffixed = [("-delete", Kind::Deleted), ("-future", Kind::Future)].into_iter();
    let suffixed = suffixed.filter_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, kind))).next();
    let (stem, kind) = match suffixed {
        None => (name, Kind::Current),
        Some((stem, kind)) => {
            let (stem, uuid) = stem.rsplit_once('.').ok_or_else(refuse)?;
            if uuid.is_empty() || !uuid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(refuse());
            }
            (stem, kind)
        }
    };
    Ok((stem.parse().map_err(|()| refuse())?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_known_by_their_names() {
        let kinds = [
            ("a-b-7", "a-b-7", Kind::Current),
            ("t.x-0.0123456789abcdef0123456789abcdef-delete", "t.x-0", Kind::Deleted),
            ("t-3.0123456789abcdef0123456789abcdef-future", "t-3", Kind::Future),
        ];
        for (name, partition, kind) in kinds {
            assert_eq!(classify(Path::new(name)).unwrap(), (partition.parse().unwrap(), kind));
        }
        for name in
            ["lost+found", "-1", "t-", "t-x", "t-0-delete", "t-0.0123456789abcdef0123456789abcdef-stray"]
        {
            let error = classify(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("is not in the form of topic-partition"), "{error}");
        }
    }
}
