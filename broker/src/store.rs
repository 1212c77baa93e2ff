//! The log directories of one broker: who they belong to, what is in them, where new logs go, their checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wire::Str;

use crate::log::{
    Checkpoint, LoadOptions, LoadedLog, Log, LogConfig, LogDir, LogError, MetaProperties, OpenAt,
    TopicPartition,
};

/// How long a deleted log's directory stays (Kafka keeps it as long as deleted segments by default).
const DELETE_DELAY_MS: i64 = 60_000;

struct Dir {
    dir: LogDir,
    live: bool,
    logs: usize,
}

/// A log that was there at the start.
pub struct FoundLog {
    pub topic: String,
    pub partition: i32,
    pub log: Log,
    pub dir: usize,
    pub high_watermark: i64,
}

/// All of `log.dirs`.
pub struct Store {
    dirs: Vec<Dir>,
    found: Vec<FoundLog>,
    /// Directories to be removed, and when (ms since 1970).
    doomed: Vec<(PathBuf, i64)>,
}

/// One value for the checkpoint of a directory: (directory, topic, partition, offset).
pub type Point<'a> = (usize, &'a Str, i32, i64);

impl Store {
    /// Creates and locks the directories.
    pub fn open(paths: &[PathBuf]) -> Result<Store, LogError> {
        let open = |path: &PathBuf| Ok(Dir { dir: LogDir::open(path)?, live: true, logs: 0 });
        let dirs = paths.iter().map(open).collect::<Result<_, LogError>>()?;
        Ok(Store { dirs, found: Vec::new(), doomed: Vec::new() })
    }

    /// The broker id that the directories remember, checked against the configured one and the cluster's id.
    pub fn agree(&self, broker_id: Option<i32>, cluster_id: &str) -> Result<Option<i32>, LogError> {
        let mut found = Vec::new();
        for dir in &self.dirs {
            if let Some(meta) = MetaProperties::read(dir.dir.path())? {
                found.push((dir.dir.path(), meta));
            }
        }
        Ok(MetaProperties::agree(&found, broker_id, cluster_id)?.broker_id)
    }

    /// Writes `meta.properties` where it is not there yet.
    pub fn sign(&self, broker_id: i32, cluster_id: &str, wall: i64) -> Result<(), LogError> {
        let meta = MetaProperties { broker_id: Some(broker_id), cluster_id: Some(cluster_id.to_owned()) };
        for dir in &self.dirs {
            if MetaProperties::read(dir.dir.path())?.as_ref() != Some(&meta) {
                meta.write(dir.dir.path(), wall)?;
            }
        }
        Ok(())
    }

    /// Opens every log, recovering what a crash left.
    pub fn load(
        &mut self,
        config: &(dyn Fn(&str) -> LogConfig + Sync),
        threads: usize,
        wall: i64,
    ) -> Result<(), LogError> {
        for (at, dir) in self.dirs.iter_mut().enumerate() {
            tracing::info!("Loading logs from {}", dir.dir.path().display());
            let loaded = dir.dir.load(&LoadOptions { config, threads, now: wall })?;
            if let Some((partition, error)) = loaded.failed.into_iter().next() {
                tracing::error!("Log of {partition}: {error}");
                return Err(error);
            }
            self.doomed.extend(loaded.deleted.into_iter().map(|path| (path, wall)));
            for LoadedLog { partition, log, high_watermark, future } in loaded.logs {
                if future {
                    tracing::warn!(
                        "Leaving the unfinished copy of {partition} in {}",
                        dir.dir.path().display()
                    );
                    continue;
                }
                dir.logs += 1;
                let (topic, partition) = (partition.topic, partition.partition);
                self.found.push(FoundLog { topic, partition, log, dir: at, high_watermark });
            }
        }
        tracing::info!("Loaded {} logs", self.found.len());
        Ok(())
    }

    /// What [`Store::load`] found.
    pub fn take_found(&mut self) -> Vec<FoundLog> {
        std::mem::take(&mut self.found)
    }

    /// A new log, in the live directory with the fewest.
    pub fn create(
        &mut self,
        topic: &str,
        partition: i32,
        config: LogConfig,
        wall: i64,
    ) -> Result<(Log, usize), LogError> {
        let live = self.dirs.iter_mut().enumerate().filter(|(_, dir)| dir.live);
        let Some((at, dir)) = live.min_by_key(|(at, dir)| (dir.logs, *at)) else {
            return Err(LogError::Identity("no log directory is left".into()));
        };
        let path = dir.dir.log_path(&TopicPartition { topic: topic.to_owned(), partition });
        let log = Log::open(&path, config, OpenAt::default(), wall)?;
        dir.logs += 1;
        Ok((log, at))
    }

    /// Takes a log out of service; its directory goes after a while.
    pub fn delete(&mut self, log: Log, dir: usize, wall: i64) -> Result<(), LogError> {
        self.dirs[dir].logs -= 1;
        self.doomed.push((log.delete()?, wall + DELETE_DELAY_MS));
        Ok(())
    }

    /// Removes directories of deleted logs whose time has come.
    pub fn remove_deleted(&mut self, wall: i64) {
        self.doomed.retain(|(path, due)| {
            if *due > wall {
                return true;
            }
            match std::fs::remove_dir_all(path) {
                Ok(()) => tracing::info!("Deleted {}", path.display()),
                Err(error) => tracing::error!("Cannot delete {}: {error}", path.display()),
            }
            false
        });
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
        self.dirs.iter().filter(|dir| dir.live).map(|dir| dir.dir.path())
    }

    /// A directory's path.
    pub fn path(&self, dir: usize) -> &Path {
        self.dirs[dir].dir.path()
    }

    /// Writes a checkpoint file in every live directory; the directories that failed are returned.
    pub fn save<'a>(&self, which: Checkpoint, points: impl Iterator<Item = Point<'a>>) -> Vec<usize> {
        let mut by_dir: Vec<BTreeMap<TopicPartition, i64>> = vec![BTreeMap::new(); self.dirs.len()];
        for (dir, topic, partition, offset) in points {
            by_dir[dir].insert(TopicPartition { topic: topic.to_string(), partition }, offset);
        }
        let mut failed = Vec::new();
        for (at, (dir, points)) in self.dirs.iter().zip(&by_dir).enumerate().filter(|(_, (dir, _))| dir.live)
        {
            if let Err(error) = dir.dir.write_checkpoint(which, points) {
                tracing::error!("{error}");
                failed.push(at);
            }
        }
        failed
    }

    /// Marks the live directories as closed in good order, but for those in which a log could not be closed.
    pub fn close(&self, failed: &[usize]) {
        for (_, dir) in self.dirs.iter().enumerate().filter(|(at, dir)| dir.live && !failed.contains(at)) {
            if let Err(error) = dir.dir.mark_clean() {
                tracing::error!("{error}");
            }
        }
    }
}
