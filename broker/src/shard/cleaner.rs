//! Compaction's place in the broker: threads of their own ask the loop for the dirtiest log, clean it, and hand each new
//! segment to the loop, which alone changes a log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wire::Str;

use super::replica::Replica;
use super::{Event, Shard, ShardHandle, find};
use crate::broker::Broker;
use crate::log::{CleanError, CleanJob, CleanStats, Cleanable, CleanedGroup, CleanerOptions, LogError};

/// What a cleaner thread tells the loop.
pub enum CleanerEvent {
    /// It is idle: which log is the dirtiest?
    Idle { reply: oneshot::Sender<Option<Cleaning>> },
    /// A segment is ready; the answer is whether the log took it.
    Swap { topic: Str, partition: i32, group: CleanedGroup, reply: oneshot::Sender<bool> },
    /// The job is over.
    Done {
        topic: Str,
        partition: i32,
        stop: Arc<AtomicBool>,
        outcome: Result<CleanStats, CleanError>,
        /// By which thread, and how long it took.
        thread: usize,
        took: Duration,
    },
}

/// What the loop hears of the cleaner threads.
#[derive(Debug, Default)]
pub struct CleanerTally {
    /// When a thread asked last which log is the dirtiest, ms since 1970.
    pub asked_ms: Option<i64>,
    /// How dirty that was, of 1; what had to be cleaned waited for so many ms at most.
    pub dirtiest: f64,
    pub overdue_ms: i64,
    /// The last cleaning of each thread.
    last: BTreeMap<usize, (CleanStats, Duration)>,
}

/// That, of all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CleanerFigures {
    /// Of 100.
    pub buffer_used: f64,
    pub recopied: f64,
    pub dirtiest: f64,
    pub seconds: f64,
    pub overdue_seconds: f64,
    pub since_asked_ms: i64,
}

impl CleanerTally {
    fn asked(&mut self, now: i64, dirtiest: f64, overdue_ms: i64) {
        (self.asked_ms, self.dirtiest, self.overdue_ms) = (Some(now), dirtiest, overdue_ms);
    }

    pub(super) fn figures(&self, now: i64) -> CleanerFigures {
        let last = || self.last.values();
        let most = |of: fn(&(CleanStats, Duration)) -> f64| last().map(of).fold(0.0, f64::max);
        let sum = |of: fn(&CleanStats) -> u64| last().map(|(stats, _)| of(stats)).sum::<u64>() as f64;
        CleanerFigures {
            buffer_used: most(|(stats, _)| 100.0 * stats.keys as f64 / stats.keys_max.max(1) as f64),
            recopied: 100.0 * sum(|stats| stats.bytes_written) / sum(|stats| stats.bytes_read).max(1.0),
            dirtiest: 100.0 * self.dirtiest,
            seconds: most(|(_, took)| took.as_secs_f64()),
            overdue_seconds: self.overdue_ms as f64 / 1e3,
            since_asked_ms: self.asked_ms.map_or(0, |asked| (now - asked).max(0)),
        }
    }
}

/// One log's cleaning.
pub struct Cleaning {
    topic: Str,
    partition: i32,
    job: CleanJob,
    range: Cleanable,
}

/// The settings of the moment: they may change between two cleanings.
struct Settings {
    threads: usize,
    backoff: Duration,
    options: CleanerOptions,
}

impl Settings {
    fn of(broker: &Broker) -> Settings {
        let threads = usize::try_from(broker.setting_int("log.cleaner.threads")).unwrap_or(0);
        let number = |key: &str| broker.setting(key).and_then(|value| value.parse().ok());
        let map_bytes = usize::try_from(broker.setting_int("log.cleaner.dedupe.buffer.size")).unwrap_or(0);
        let bytes_per_second = number("log.cleaner.io.max.bytes.per.second").unwrap_or(f64::MAX);
        let backoff = broker.setting_int("log.cleaner.backoff.ms").max(1).unsigned_abs();
        Settings {
            threads,
            backoff: Duration::from_millis(backoff),
            options: CleanerOptions {
                map_bytes: map_bytes / threads.max(1),
                load_factor: number("log.cleaner.io.buffer.load.factor").unwrap_or(0.9),
                bytes_per_second: bytes_per_second / threads.max(1) as f64,
            },
        }
    }
}

/// The cleaner threads. The first looks whether there are as many as there should be.
#[derive(Clone)]
struct Crew {
    /// Weak: a thread that waits does not keep the broker's session open.
    broker: Weak<Broker>,
    shard: ShardHandle,
    at_work: Arc<Mutex<BTreeSet<usize>>>,
}

/// Starts the cleaner threads, which end with the loop.
pub(super) fn start(broker: &Arc<Broker>) -> std::io::Result<()> {
    if !broker.config.bool("log.cleaner.enable") {
        return Ok(());
    }
    let (broker, shard) = (Arc::downgrade(broker), broker.shard.clone());
    Crew { broker, shard, at_work: Arc::default() }.hire(0)
}

impl Crew {
    fn at_work(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        self.at_work.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn hire(&self, number: usize) -> std::io::Result<()> {
        if !self.at_work().insert(number) {
            return Ok(());
        }
        let crew = self.clone();
        let work = move || {
            while crew.work(number).is_some() {}
            crew.at_work().remove(&number);
        };
        thread::Builder::new().name(format!("kafka-log-cleaner-thread-{number}")).spawn(work).map(drop)
    }

    /// One log, or one wait; `None` when the thread is no longer needed.
    fn work(&self, number: usize) -> Option<()> {
        let Settings { threads, backoff, options } = Settings::of(&*self.broker.upgrade()?);
        for other in 1..threads {
            if number == 0
                && let Err(error) = self.hire(other)
            {
                tracing::error!("cannot start a cleaner thread: {error}");
            }
        }
        if number >= threads {
            // The first stays, to see when there is work for it again.
            return (number == 0).then(|| thread::sleep(backoff));
        }
        clean_one(&self.shard, number, &options, backoff)
    }
}

/// Asks for a log and cleans it, or waits; `None` once the loop has ended.
fn clean_one(shard: &ShardHandle, thread: usize, options: &CleanerOptions, backoff: Duration) -> Option<()> {
    let asked = ask(shard, |reply| CleanerEvent::Idle { reply })?;
    let Some(Cleaning { topic, partition, job, range }) = asked else {
        thread::sleep(backoff);
        return Some(());
    };
    tracing::info!(
        "Beginning cleaning of log {topic}-{partition}: dirty from offset {} to {}, {:.1}% of it",
        range.first_dirty,
        range.first_uncleanable,
        100.0 * range.ratio
    );
    let started = Instant::now();
    let outcome = job.run(options, &mut |group| {
        ask(shard, |reply| CleanerEvent::Swap { topic: topic.clone(), partition, group, reply })
            .unwrap_or(false)
    });
    let took = started.elapsed();
    match &outcome {
        Ok(stats) => say(&topic, partition, stats, took),
        Err(CleanError::CalledOff) => tracing::info!("The cleaning of {topic}-{partition} was called off"),
        Err(error) => tracing::error!("The cleaning of {topic}-{partition} failed: {error}"),
    }
    let done = CleanerEvent::Done { topic, partition, stop: job.stop_flag(), outcome, thread, took };
    shard.inbox.blocking_send(Event::Cleaner(done)).ok()
}

fn ask<T>(shard: &ShardHandle, event: impl FnOnce(oneshot::Sender<T>) -> CleanerEvent) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    shard.inbox.blocking_send(Event::Cleaner(event(reply))).ok()?;
    answer.blocking_recv().ok()
}

fn say(topic: &str, partition: i32, stats: &CleanStats, took: Duration) {
    tracing::info!(
        "Cleaned log {topic}-{partition} up to offset {} in {:.1} seconds: {} keys, {} bytes of {} and {} records of {} kept",
        stats.end_offset,
        took.as_secs_f64(),
        stats.keys,
        stats.bytes_written,
        stats.bytes_read,
        stats.records_kept,
        stats.records_read
    );
    if stats.keyless > 0 {
        tracing::warn!("Found {} records without a key in {topic}-{partition}", stats.keyless);
    }
}

impl Shard {
    pub(super) fn cleaner_event(&mut self, event: CleanerEvent) {
        match event {
            CleanerEvent::Idle { reply } => {
                let _ = reply.send(self.dirtiest());
            }
            CleanerEvent::Swap { topic, partition, group, reply } => {
                let wall = self.turn.wall;
                let swapped = match find(&mut self.replicas, &topic, partition) {
                    Some(replica) => match replica.log.swap_in(&group, wall) {
                        Ok(swapped) => swapped,
                        Err(error) => {
                            tracing::error!("{error}");
                            self.turn.failed_dirs.push(replica.dir);
                            false
                        }
                    },
                    None => false,
                };
                let _ = reply.send(swapped);
            }
            CleanerEvent::Done { topic, partition, stop, outcome, thread, took } => {
                if let Ok(stats) = &outcome {
                    self.cleaner_tally.last.insert(thread, (*stats, took));
                }
                let Some(replica) = find(&mut self.replicas, &topic, partition) else { return };
                match &outcome {
                    Ok(_) | Err(CleanError::CalledOff) => {}
                    Err(CleanError::Log(LogError::Io { .. })) => self.turn.failed_dirs.push(replica.dir),
                    Err(CleanError::Log(_)) => {
                        tracing::warn!("{topic}-{partition} is not cleaned any more until the next start");
                        replica.log.mark_uncleanable();
                    }
                }
                replica.log.finish_cleaning(&stop, outcome.ok().map(|stats| stats.end_offset));
                let is_moving = replica.future.is_some();
                self.save_cleaned();
                if is_moving {
                    // It waited for the cleaning to end.
                    let _ = self.notices.send(super::Notice::Move);
                }
            }
        }
    }

    /// Of the logs that have to be cleaned, the one with the largest dirty part.
    fn dirtiest(&mut self) -> Option<Cleaning> {
        let wall = self.turn.wall;
        let mut best: Option<(Cleanable, &mut Replica)> = None;
        let (mut dirtiest, mut overdue_ms) = (0.0f64, 0);
        let replicas = self.replicas.values_mut().flat_map(BTreeMap::values_mut);
        let rests = |replica: &Replica| replica.future.is_some() || !self.store.is_live(replica.dir);
        for replica in replicas.filter(|replica| !rests(replica)) {
            match replica.log.dirt(replica.core.last_stable_offset(), wall) {
                Ok(Some(range)) => {
                    dirtiest = dirtiest.max(range.ratio);
                    overdue_ms = overdue_ms.max(range.overdue_ms);
                    if range.is_due && best.as_ref().is_none_or(|(best, _)| range.ratio > best.ratio) {
                        best = Some((range, replica));
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("{error}");
                    self.turn.failed_dirs.push(replica.dir);
                }
            }
        }
        self.cleaner_tally.asked(wall, dirtiest, overdue_ms);
        let (range, replica) = best?;
        match replica.log.start_cleaning(range, wall) {
            Ok(job) => {
                let (topic, partition) = (replica.topic.clone(), replica.partition);
                Some(Cleaning { topic, partition, job, range })
            }
            Err(error) => {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(replica.dir);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_threads_did_last_is_summed_up() {
        let mut tally = CleanerTally::default();
        assert_eq!(tally.figures(7), CleanerFigures::default());
        let stats = |keys, bytes_read, bytes_written| CleanStats {
            keys,
            keys_max: 10,
            bytes_read,
            bytes_written,
            ..CleanStats::default()
        };
        tally.asked(1_000, 0.25, 1_500);
        tally.last.insert(0, (stats(9, 1, 1), Duration::from_secs(9)));
        tally.last.insert(0, (stats(2, 300, 100), Duration::from_secs(2)));
        tally.last.insert(1, (stats(5, 100, 100), Duration::from_secs(1)));
        let figures = tally.figures(3_000);
        assert_eq!((figures.buffer_used, figures.recopied, figures.dirtiest), (50.0, 50.0, 25.0));
        assert_eq!((figures.seconds, figures.overdue_seconds, figures.since_asked_ms), (2.0, 1.5, 2_000));
    }
}
