//! What happens by the clock: checkpoints, retention, flushes, files whose time has come.

use std::collections::BTreeMap;

use wire::Str;

use super::replica::Records;
use super::{Notice, Shard};
use crate::config::BrokerConfig;
use crate::log::Checkpoint;
use crate::store::Point;

/// When each kind of upkeep is due, in the loop's ms.
pub struct Schedule {
    watermarks: (i64, i64),
    recovery_points: (i64, i64),
    retention: (i64, i64),
    files: (i64, i64),
}

/// The first retention pass after a start.
const RETENTION_DELAY_MS: i64 = 30_000;
const FILES_INTERVAL_MS: i64 = 5_000;

impl Schedule {
    /// Intervals of the configuration: (next, every).
    pub fn new(config: &BrokerConfig) -> Schedule {
        let watermarks = config.int("replica.high.watermark.checkpoint.interval.ms").max(1);
        let recovery = config.int("log.flush.offset.checkpoint.interval.ms").max(1);
        let retention = config.int("log.retention.check.interval.ms").max(1);
        Schedule {
            watermarks: (watermarks, watermarks),
            recovery_points: (recovery, recovery),
            retention: (RETENTION_DELAY_MS, retention),
            files: (FILES_INTERVAL_MS, FILES_INTERVAL_MS),
        }
    }

    /// The earliest of all.
    pub fn next(&self) -> i64 {
        self.watermarks.0.min(self.recovery_points.0).min(self.retention.0).min(self.files.0)
    }
}

fn due(timer: &mut (i64, i64), now: i64) -> bool {
    let due = timer.0 <= now;
    if due {
        timer.0 = now + timer.1;
    }
    due
}

impl Shard {
    pub(super) fn keep_up(&mut self) {
        let now = self.turn.now;
        if due(&mut self.upkeep.retention, now) {
            self.apply_retention();
        }
        if due(&mut self.upkeep.files, now) {
            self.tick_files();
        }
        if due(&mut self.upkeep.watermarks, now) {
            self.save_watermarks();
        }
        if due(&mut self.upkeep.recovery_points, now) {
            self.save_recovery_points();
        }
    }

    fn apply_retention(&mut self) {
        let wall = self.turn.wall;
        for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
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
        for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
            replica.core.expire_producers(wall, expiration);
            let done = replica.log.tick(wall).and_then(|()| match replica.log.flush_due(wall) {
                true => replica.log.flush(wall),
                false => Ok(()),
            });
            if let Err(error) = done {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(replica.dir);
                continue;
            }
            if let Some(job) = replica.log.take_flush_job() {
                let (topic, partition) = (replica.topic.clone(), replica.partition);
                let _ = self.notices.send(Notice::Flush { topic, partition, job });
            }
        }
        self.store.remove_deleted(wall);
    }

    fn save_watermarks(&mut self) {
        let all = self.replicas.values().flat_map(BTreeMap::values);
        let all = all
            .map(|replica| (replica.dir, &replica.topic, replica.partition, replica.core.high_watermark()));
        let failed = self.store.save(Checkpoint::HighWatermark, all);
        self.turn.failed_dirs.extend(failed);
    }

    fn save_recovery_points(&mut self) {
        let all = self.replicas.values().flat_map(BTreeMap::values);
        let points = all.clone().map(|r| (r.dir, &r.topic, r.partition, r.log.recovery_point()));
        let mut failed = self.store.save(Checkpoint::RecoveryPoint, points);
        // Only what the segments' names do not tell.
        let starts = all.filter(|r| r.log.log_start_offset() > r.log.first_segment_base());
        let starts = starts.map(|r| (r.dir, &r.topic, r.partition, r.log.log_start_offset()));
        failed.extend(self.store.save(Checkpoint::LogStart, starts));
        self.turn.failed_dirs.extend(failed);
    }

    /// The end: everything to disk, in good order.
    pub(super) fn close(&mut self) {
        self.turn.wall = super::wall_clock();
        self.save_watermarks();
        let mut points = Vec::new();
        let mut starts = Vec::new();
        let mut failed = Vec::new();
        for (_, partitions) in std::mem::take(&mut self.replicas) {
            for replica in partitions.into_values() {
                let (dir, topic, partition) = (replica.dir, replica.topic, replica.partition);
                let (start, end) = (replica.log.log_start_offset(), replica.log.log_end_offset());
                let start_is_told = start <= replica.log.first_segment_base();
                match replica.log.close(self.turn.wall) {
                    Ok(()) => {
                        points.push((dir, topic.clone(), partition, end));
                        if !start_is_told {
                            starts.push((dir, topic, partition, start));
                        }
                    }
                    Err(error) => {
                        tracing::error!("{error}");
                        failed.push(dir);
                    }
                }
            }
        }
        failed.extend(self.store.save(Checkpoint::RecoveryPoint, borrow(&points)));
        failed.extend(self.store.save(Checkpoint::LogStart, borrow(&starts)));
        self.store.close(&failed);
    }
}

fn borrow(points: &[(usize, Str, i32, i64)]) -> impl Iterator<Item = Point<'_>> {
    points.iter().map(|(dir, topic, partition, offset)| (*dir, topic, *partition, *offset))
}
