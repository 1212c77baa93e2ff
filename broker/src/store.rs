//! The log directories of one broker: who they belong to, what is in them, where new logs go, their checkpoints.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use wire::Str;

use crate::log::{
    Checkpoint, LoadOptions, LoadedDir, LoadedLog, Log, LogConfig, LogDir, LogError, MetaProperties, OpenAt,
    TopicPartition, future_name,
};

struct Dir {
    path: PathBuf,
    /// `None` where it could not be opened.
    dir: Option<Arc<LogDir>>,
    live: bool,
    logs: usize,
}

impl Dir {
    fn live(&self) -> Option<&Arc<LogDir>> {
        self.dir.as_ref().filter(|_| self.live)
    }
}

/// A log that was there at the start.
pub struct FoundLog {
    pub topic: String,
    pub partition: i32,
    pub log: Log,
    pub dir: usize,
    pub high_watermark: i64,
    /// The copy of a move to this directory that is not finished (`-future`).
    pub future: bool,
}

/// All of `log.dirs`.
pub struct Store {
    dirs: Vec<Dir>,
    found: Vec<FoundLog>,
    /// Directories to be removed, and when (ms since 1970).
    doomed: Vec<(PathBuf, i64)>,
    /// Started with the first checkpoint that is left to it.
    writer: Option<Writer>,
}

/// A checkpoint file to be written: of the directory of this number.
struct Page {
    at: usize,
    dir: Arc<LogDir>,
    which: Checkpoint,
    points: BTreeMap<TopicPartition, i64>,
}

/// A thread that writes checkpoints one after the other: a sync would keep the loop.
struct Writer {
    pages: mpsc::Sender<Page>,
    /// Directories that a page could not be written to.
    failed: Arc<Mutex<Vec<usize>>>,
    thread: thread::JoinHandle<()>,
}

impl Writer {
    fn start() -> std::io::Result<Writer> {
        let (pages, inbox) = mpsc::channel::<Page>();
        let failed = Arc::<Mutex<Vec<usize>>>::default();
        let fail = Arc::clone(&failed);
        let work = move || {
            for page in inbox {
                if let Err(error) = page.dir.write_checkpoint(page.which, &page.points) {
                    tracing::error!("{error}");
                    fail.lock().unwrap_or_else(PoisonError::into_inner).push(page.at);
                }
            }
        };
        let thread = thread::Builder::new().name("checkpoints".into()).spawn(work)?;
        Ok(Writer { pages, failed, thread })
    }
}

/// Threads that open or close the logs of one directory: `num.recovery.threads.per.data.dir`, or a thread for each
/// processor where that is more.
pub fn threads(config: &crate::config::BrokerConfig) -> usize {
    let least = usize::try_from(config.int("num.recovery.threads.per.data.dir")).unwrap_or(1);
    least.max(thread::available_parallelism().map_or(1, usize::from))
}

/// One value for the checkpoint of a directory: (directory, topic, partition, offset).
pub type Point<'a> = (usize, &'a Str, i32, i64);

impl Store {
    /// Creates and locks the directories. One that cannot be used is left out; an error if that is so of all.
    pub fn open(paths: &[PathBuf]) -> Result<Store, LogError> {
        let mut store = Store { dirs: Vec::new(), found: Vec::new(), doomed: Vec::new(), writer: None };
        for path in paths {
            // Without a slash at the end: administrators name directories as brokers do.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let path = &path.components().collect::<PathBuf>();
            let dir = match LogDir::open(path) {
                Ok(dir) => Some(Arc::new(dir)),
                Err(error) if error.is_io() => {
                    tracing::error!(
                        "Failed to create or validate data directory {}: {error}",
                        path.display()
                    );
                    None
                }
                Err(error) => return Err(error),
            };
            store.dirs.push(Dir { path: path.clone(), live: dir.is_some(), dir, logs: 0 });
        }
        store.check_any_live()?;
        Ok(store)
    }

    /// Whether the former life wrote everything to disk and said so, in each directory that can be used.
    pub fn was_clean(&self) -> bool {
        self.dirs.iter().filter_map(|dir| dir.dir.as_ref()).all(|dir| dir.was_clean())
    }

    fn check_any_live(&self) -> Result<(), LogError> {
        if self.has_live_dir() {
            return Ok(());
        }
        let paths: Vec<String> = self.dirs.iter().map(|dir| dir.path.display().to_string()).collect();
        Err(LogError::Identity(format!(
            "Shutdown broker because none of the specified log dirs from {} can be created or validated",
            paths.join(", ")
        )))
    }

    /// The broker id that the directories remember, checked against the configured one and the cluster's id.
    pub fn agree(&self, broker_id: Option<i32>, cluster_id: &str) -> Result<Option<i32>, LogError> {
        let mut found = Vec::new();
        for dir in self.live_dirs() {
            if let Some(meta) = MetaProperties::read(dir)? {
                found.push((dir, meta));
            }
        }
        Ok(MetaProperties::agree(&found, broker_id, cluster_id)?.broker_id)
    }

    /// Writes `meta.properties` where it is not there yet.
    pub fn sign(&self, broker_id: i32, cluster_id: &str, wall: i64) -> Result<(), LogError> {
        let meta = MetaProperties { broker_id: Some(broker_id), cluster_id: Some(cluster_id.to_owned()) };
        for dir in self.live_dirs() {
            if MetaProperties::read(dir)?.as_ref() != Some(&meta) {
                meta.write(dir, wall)?;
            }
        }
        Ok(())
    }

    /// Opens every log, recovering what a crash left, all directories at once with `threads` threads each. A directory
    /// that cannot be read is given up; the broker goes on with the others.
    pub fn load(
        &mut self,
        config: &(dyn Fn(&str) -> LogConfig + Sync),
        threads: usize,
        wall: i64,
    ) -> Result<(), LogError> {
        let started = Instant::now();
        let options = LoadOptions { config, threads, now: wall };
        let loaded: Vec<Option<Result<LoadedDir, LogError>>> = thread::scope(|scope| {
            let dirs =
                self.dirs.iter().map(|dir| dir.live().map(|log_dir| scope.spawn(|| log_dir.load(&options))));
            let running: Vec<_> = dirs.collect();
            let join = |handle: thread::ScopedJoinHandle<'_, _>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(|handle| handle.map(join)).collect()
        });
        for (at, loaded) in loaded.into_iter().enumerate() {
            match loaded.map(|loaded| loaded.and_then(LoadedDir::all_or_error)) {
                None => {}
                Some(Ok(loaded)) => self.take_loaded(at, loaded, wall),
                Some(Err(error @ (LogError::Io { .. } | LogError::Corrupt { .. }))) => {
                    tracing::error!("Error while loading log dir {}: {error}", self.dirs[at].path.display());
                    self.dirs[at].live = false;
                }
                Some(Err(error)) => return Err(error),
            }
        }
        self.check_any_live()?;
        self.check_doubles()?;
        tracing::info!("Loaded {} logs in {}ms", self.found.len(), started.elapsed().as_millis());
        Ok(())
    }

    fn take_loaded(&mut self, at: usize, loaded: LoadedDir, wall: i64) {
        let dir = &mut self.dirs[at];
        self.doomed.extend(loaded.deleted.into_iter().map(|path| (path, wall)));
        for LoadedLog { partition, log, high_watermark, future } in loaded.logs {
            if future {
                tracing::info!("Found the unfinished copy of {partition} in {}", dir.path.display());
            }
            dir.logs += 1;
            let (topic, partition) = (partition.topic, partition.partition);
            self.found.push(FoundLog { topic, partition, log, dir: at, high_watermark, future });
        }
    }

    /// No partition has two logs, nor two copies. Which of them is right cannot be told: as in Kafka, an operator decides.
    fn check_doubles(&self) -> Result<(), LogError> {
        let mut seen: HashMap<(&str, i32, bool), &Log> = HashMap::new();
        for found in &self.found {
            let Some(other) = seen.insert((&found.topic, found.partition, found.future), &found.log) else {
                continue;
            };
            let what = if found.future { "copies under way" } else { "logs" };
            return Err(LogError::Identity(format!(
                "{}-{} has two {what}, {} and {}. A log directory may have failed while the partition was being moved to \
                 another: delete the one of the two that is in the directory that failed",
                found.topic,
                found.partition,
                other.dir().display(),
                found.log.dir().display()
            )));
        }
        Ok(())
    }

    /// What [`Store::load`] found.
    pub fn take_found(&mut self) -> Vec<FoundLog> {
        std::mem::take(&mut self.found)
    }

    /// A new log, in the directory that somebody `preferred`, or else in the live one with the fewest. While a directory
    /// is offline, only for a partition that `is_new` to this broker: the log of another may lie there.
    pub fn create(
        &mut self,
        (topic, partition): (&str, i32),
        is_new: bool,
        preferred: Option<usize>,
        config: LogConfig,
        wall: i64,
    ) -> Result<(Log, usize), LogError> {
        if !is_new {
            self.check_all_live(topic, partition)?;
        }
        let live = self.dirs.iter_mut().enumerate().filter(|(_, dir)| dir.live);
        let mut live = live.filter(|(at, _)| preferred.is_none_or(|preferred| preferred == *at));
        let least = match preferred {
            Some(_) => live.next(),
            None => live.min_by_key(|(at, dir)| (dir.logs, *at)),
        };
        let Some((at, dir)) = least else {
            return Err(LogError::Identity(format!("no log directory is left for {topic}-{partition}")));
        };
        let path = dir.path.join(TopicPartition { topic: topic.to_owned(), partition }.to_string());
        let log = Log::open(&path, config, OpenAt::default(), wall)?;
        dir.logs += 1;
        tracing::info!("Created log for partition {topic}-{partition} in {}", path.display());
        Ok((log, at))
    }

    /// A new log for the copy of a partition's log that is moved to this directory; it starts at `start`.
    pub fn create_future(
        &mut self,
        dir: usize,
        partition: &TopicPartition,
        start: i64,
        config: LogConfig,
        wall: i64,
    ) -> Result<Log, LogError> {
        self.check_all_live(&partition.topic, partition.partition)?;
        let name = future_name(partition).ok_or_else(|| {
            LogError::Identity(format!("the name of {partition} leaves no room for -future"))
        })?;
        let path = self.dirs[dir].path.join(name);
        let at = OpenAt { log_start_offset: start, ..OpenAt::default() };
        let log = Log::open(&path, config, at, wall)?;
        self.dirs[dir].logs += 1;
        tracing::info!("Created {} to move {partition} there", path.display());
        Ok(log)
    }

    fn check_all_live(&self, topic: &str, partition: i32) -> Result<(), LogError> {
        if self.dirs.iter().all(|dir| dir.live) {
            return Ok(());
        }
        Err(LogError::Identity(format!(
            "Can not create log for {topic}-{partition} because log directories {} are offline",
            self.dead_dirs().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(",")
        )))
    }

    /// The directory of that name.
    pub fn find(&self, path: &Path) -> Option<usize> {
        self.dirs.iter().position(|dir| dir.path == path)
    }

    /// Takes a log out of service; its directory goes after the delay.
    pub fn delete(&mut self, log: Log, dir: usize, wall: i64, delay_ms: i64) -> Result<(), LogError> {
        self.dirs[dir].logs -= 1;
        self.doomed.push((log.delete()?, wall.saturating_add(delay_ms)));
        Ok(())
    }

    /// Directories of deleted logs whose time has come; the caller removes them.
    pub fn take_doomed(&mut self, wall: i64) -> Vec<PathBuf> {
        self.doomed.extract_if(.., |(_, due)| *due <= wall).map(|(path, _)| path).collect()
    }

    /// Gives a directory up. False if it was already.
    pub fn fail(&mut self, dir: usize) -> bool {
        std::mem::replace(&mut self.dirs[dir].live, false)
    }

    /// Whether any directory works.
    pub fn has_live_dir(&self) -> bool {
        self.dirs.iter().any(|dir| dir.live)
    }

    /// The directories that work.
    pub fn live_dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().filter(|dir| dir.live).map(|dir| &*dir.path)
    }

    /// Those that do not.
    pub fn dead_dirs(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().filter(|dir| !dir.live).map(|dir| &*dir.path)
    }

    /// Whether a directory works.
    pub fn is_live(&self, dir: usize) -> bool {
        self.dirs[dir].live
    }

    /// A directory's path.
    pub fn path(&self, dir: usize) -> &Path {
        &self.dirs[dir].path
    }

    /// Writes a checkpoint file in every live directory; the directories that failed are returned.
    pub fn save<'a>(&self, which: Checkpoint, points: impl Iterator<Item = Point<'a>>) -> Vec<usize> {
        let mut failed = Vec::new();
        for Page { at, dir, which, points } in self.pages(which, points) {
            if let Err(error) = dir.write_checkpoint(which, &points) {
                tracing::error!("{error}");
                failed.push(at);
            }
        }
        failed
    }

    /// As [`Store::save`], on another thread; what failed since the last call is returned.
    pub fn save_later<'a>(
        &mut self,
        which: Checkpoint,
        points: impl Iterator<Item = Point<'a>>,
    ) -> Vec<usize> {
        if self.writer.is_none() {
            match Writer::start() {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => {
                    tracing::error!("cannot start the thread for checkpoints: {error}");
                    return self.save(which, points);
                }
            }
        }
        let pages = self.pages(which, points);
        let Some(writer) = &self.writer else { return Vec::new() };
        for page in pages {
            let _ = writer.pages.send(page);
        }
        self.failed_saves()
    }

    /// Directories where something that was left to the other thread could not be written since this was asked last.
    pub fn failed_saves(&self) -> Vec<usize> {
        let Some(writer) = &self.writer else { return Vec::new() };
        std::mem::take(&mut *writer.failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for what was left to the other thread, so that nothing older overwrites what [`Store::save`] writes next.
    pub fn finish_saving(&mut self) -> Vec<usize> {
        let Some(Writer { pages, failed, thread }) = self.writer.take() else { return Vec::new() };
        drop(pages);
        if thread.join().is_err() {
            tracing::error!("the thread for checkpoints has failed");
        }
        std::mem::take(&mut *failed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pages<'a>(&self, which: Checkpoint, points: impl Iterator<Item = Point<'a>>) -> Vec<Page> {
        let mut by_dir: Vec<BTreeMap<TopicPartition, i64>> = vec![BTreeMap::new(); self.dirs.len()];
        for (dir, topic, partition, offset) in points {
            by_dir[dir].insert(TopicPartition { topic: topic.to_string(), partition }, offset);
        }
        let all = self.dirs.iter().zip(by_dir).enumerate();
        all.filter_map(|(at, (dir, points))| Some(Page { at, dir: Arc::clone(dir.live()?), which, points }))
            .collect()
    }

    /// Puts everything on disk that lies in the live directories; those that failed are returned.
    pub fn sync(&self) -> Vec<usize> {
        let synced = |dir: &Dir| -> Result<(), LogError> {
            let Some(dir) = dir.live() else { return Ok(()) };
            let failed = |source| LogError::Io { op: "cannot sync", path: dir.path().to_owned(), source };
            let open = std::fs::File::open(dir.path()).map_err(failed)?;
            rustix::fs::syncfs(open).map_err(|errno| failed(errno.into()))
        };
        let all = self.dirs.iter().enumerate().map(|(at, dir)| (at, synced(dir)));
        all.filter_map(|(at, result)| {
            result.inspect_err(|error| tracing::error!("{error}")).is_err().then_some(at)
        })
        .collect()
    }

    /// Marks the live directories as closed in good order, but for those in which a log could not be closed.
    pub fn close(&self, failed: &[usize]) {
        for (at, dir) in self.dirs.iter().enumerate() {
            let Some(dir) = dir.live().filter(|_| !failed.contains(&at)) else { continue };
            if let Err(error) = dir.mark_clean() {
                tracing::error!("{error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use wire::batch::BatchBuilder;

    fn config(_: &str) -> LogConfig {
        LogConfig::default()
    }

    fn open(root: &Path, dirs: &[&str]) -> Result<Store, LogError> {
        let paths: Vec<PathBuf> = dirs.iter().map(|dir| root.join(dir)).collect();
        let mut store = Store::open(&paths)?;
        store.load(&config, 2, 0)?;
        Ok(store)
    }

    fn fill(log: &mut Log) {
        let mut builder = BatchBuilder::new().base_offset(log.log_end_offset()).leader_epoch(0);
        builder.push(1, Some(b"k"), Some(b"v"), &[]);
        log.append(&builder.finish().unwrap(), 0).unwrap();
    }

    #[test]
    fn a_new_log_goes_where_the_fewest_are() {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path(), &["a", "b", "c"]).unwrap();
        let mut place = |topic: &str| store.create((topic, 0), true, None, config(topic), 0).unwrap();
        assert_eq!([place("t").1, place("u").1, place("v").1, place("w").1], [0, 1, 2, 0]);
        let (log, dir) = place("x");
        assert_eq!(dir, 1);
        store.delete(log, dir, 1000, 60).unwrap();
        assert_eq!(store.create(("y", 0), true, None, config("y"), 0).unwrap().1, 1);
        assert!(store.take_doomed(1059).is_empty());
        let doomed = store.take_doomed(1060);
        assert!(doomed.len() == 1 && doomed[0].to_string_lossy().ends_with("-delete"));
        assert!(doomed[0].starts_with(root.path().join("b")) && doomed[0].is_dir());
    }

    #[test]
    fn a_directory_that_fails_is_left_out_and_takes_no_partition_that_may_lie_there() {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path(), &["a", "b"]).unwrap();
        for topic in ["t", "u"] {
            let (mut log, _) = store.create((topic, 0), true, None, config(topic), 0).unwrap();
            fill(&mut log);
            log.close(0).unwrap();
        }
        drop(store);
        fs::write(root.path().join("b/u-0/partition.metadata"), "nonsense").unwrap();
        fs::write(root.path().join("c"), "no directory").unwrap();
        let mut store = open(root.path(), &["a", "b", "c"]).unwrap();
        let found: Vec<_> = store.take_found().into_iter().map(|found| (found.topic, found.dir)).collect();
        assert_eq!(found, [("t".to_owned(), 0)]);
        assert_eq!(store.live_dirs().collect::<Vec<_>>(), [root.path().join("a")]);
        let refused = store.create(("u", 0), false, None, config("u"), 0).unwrap_err().to_string();
        assert!(refused.contains("are offline") && refused.contains("/b"), "{refused}");
        assert_eq!(store.create(("new", 0), true, None, config("new"), 0).unwrap().1, 0);
        store.close(&[]);
        assert!(root.path().join("a/.kafka_cleanshutdown").exists());
        assert!(!root.path().join("b/.kafka_cleanshutdown").exists());
        drop(store);
        let error = open(root.path(), &["c"]).err().unwrap().to_string();
        assert!(error.contains("none of the specified log dirs from"), "{error}");
    }

    #[test]
    fn a_copy_under_way_is_found_beside_its_log_and_two_logs_of_a_partition_stop_the_start() {
        let root = tempfile::tempdir().unwrap();
        let partition: TopicPartition = "t-0".parse().unwrap();
        let mut store = open(root.path(), &["a", "b/"]).unwrap();
        assert_eq!(store.find(&root.path().join("b")), Some(1));
        assert_eq!(store.path(1).to_str(), root.path().join("b").to_str());
        let (mut log, at) = store.create(("t", 0), true, Some(1), config("t"), 0).unwrap();
        assert_eq!(at, 1);
        fill(&mut log);
        let copy = store.create_future(0, &partition, 7, config("t"), 0).unwrap();
        assert_eq!((copy.log_start_offset(), copy.log_end_offset()), (7, 7));
        drop((log, copy));
        assert!(store.fail(0));
        assert!(store.create(("u", 0), true, Some(0), config("u"), 0).is_err());
        assert!(store.create_future(0, &partition, 0, config("t"), 0).is_err());
        drop(store);
        let found = open(root.path(), &["a", "b"]).unwrap().take_found();
        let found: Vec<_> = found.into_iter().map(|found| (found.dir, found.future)).collect();
        assert_eq!(found, [(0, true), (1, false)]);
        fs::create_dir(root.path().join("a/t-0")).unwrap();
        let error = open(root.path(), &["a", "b"]).err().unwrap().to_string();
        assert!(error.contains("t-0 has two logs") && error.contains("/a/t-0 and "), "{error}");
    }

    #[test]
    fn a_strange_directory_stops_the_start() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/lost+found")).unwrap();
        assert!(matches!(open(root.path(), &["a", "b"]).err(), Some(LogError::NotAPartition { .. })));
    }

    #[test]
    fn what_the_other_thread_could_not_write_is_told_when_it_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path(), &["a", "b"]).unwrap();
        assert!(store.failed_saves().is_empty());
        fs::rename(root.path().join("b"), root.path().join("gone")).unwrap();
        store.save_later(Checkpoint::HighWatermark, std::iter::empty());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut failed = Vec::new();
        while failed.is_empty() && std::time::Instant::now() < end {
            thread::sleep(std::time::Duration::from_millis(1));
            failed = store.failed_saves();
        }
        assert_eq!(failed, [1]);
        assert!(store.failed_saves().is_empty(), "once");
    }

    #[test]
    fn checkpoints_come_back_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path(), &["a"]).unwrap();
        let (mut log, dir) = store.create(("t", 3), true, None, config("t"), 0).unwrap();
        (0..5).for_each(|_| fill(&mut log));
        log.advance_log_start(2).unwrap();
        drop(log);
        let topic = Str::from_static("t");
        let point = |offset| [(dir, &topic, 3, offset)].into_iter();
        for (which, offset) in
            [(Checkpoint::HighWatermark, 4), (Checkpoint::LogStart, 2), (Checkpoint::Cleaner, 3)]
        {
            // What is left to the other thread is written in order, and before what follows.
            for older in 0..offset {
                assert!(store.save_later(which, point(older)).is_empty());
            }
            assert!(store.finish_saving().is_empty());
            assert!(store.save(which, point(offset)).is_empty());
        }
        let text = fs::read_to_string(root.path().join("a/replication-offset-checkpoint")).unwrap();
        assert_eq!(text, "0\n1\nt 3 4\n");
        drop(store);
        let found = open(root.path(), &["a"]).unwrap().take_found().remove(0);
        assert_eq!(
            (found.high_watermark, found.log.log_start_offset(), found.log.cleaned_offset()),
            (4, 2, Some(3))
        );
        // Nothing was flushed, and all of it was read.
        assert_eq!((found.log.recovery_point(), found.log.log_end_offset()), (0, 5));
        // A damaged recovery point only costs time; a damaged high watermark might cost records.
        drop(found);
        fs::write(root.path().join("a/recovery-point-offset-checkpoint"), "0\nx\n").unwrap();
        assert_eq!(open(root.path(), &["a"]).unwrap().take_found().len(), 1);
        fs::write(root.path().join("a/replication-offset-checkpoint"), "0\nx\n").unwrap();
        assert!(open(root.path(), &["a"]).is_err());
    }
}
