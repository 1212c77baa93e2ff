//! Replicas on their way from one log directory to another: as Kafka does it, a copy beside the log (`-future`) is filled
//! from it, batch by batch, and takes its place when it has all of it.
//!
//! The loop owns both logs. The movers ([`crate::mover`]) read and check what the loop tells them to, and bring it back to
//! be appended. What cuts the log cuts the copy with it, so that the copy is always the beginning of the log; only one
//! that an earlier life of the broker left has to be compared with it first, by leader epochs. Compaction of the log rests
//! meanwhile. The log and the copy change places within one turn of the loop, so nobody sees anything in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use tokio::sync::oneshot;
use wire::Str;
use wire::kafka::ErrorCode;

use super::replica::{Replica, Turn};
use super::{Notice, Shard, find};
use crate::log::{FetchSlice, Log, LogError, TopicPartition, future_name, whole_batches};

/// The last bytes are copied by the loop itself, so that a log that is written to all the time comes to its end.
const LAST_BYTES: u32 = 64 << 10;
/// So often in one turn.
const LAST_STEPS: usize = 4;
/// Pause before a log is read again that could not be copied.
const RETRY_MS: i64 = 1000;

/// (topic, partition)
type Name = (Str, i32);

/// The copy of one replica's log.
pub struct Future {
    pub log: Log,
    /// Index of its log directory.
    pub dir: usize,
    /// As the checkpoint said, or as the log's was at the last step.
    high_watermark: i64,
    /// It is the beginning of the log.
    is_prefix: bool,
    /// What a mover is at work on; 0: none is.
    token: u64,
    /// On the loop's clock.
    not_before: i64,
}

impl Future {
    fn new(log: Log, dir: usize) -> Box<Future> {
        let high_watermark = log.log_start_offset();
        Box::new(Future { log, dir, high_watermark, is_prefix: true, token: 0, not_before: 0 })
    }

    /// One that an earlier life of the broker left.
    pub fn found(log: Log, dir: usize, high_watermark: i64) -> Box<Future> {
        Box::new(Future { log, dir, high_watermark, is_prefix: false, token: 0, not_before: 0 })
    }

    /// For the checkpoint.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.clamp(self.log.log_start_offset(), self.log.log_end_offset())
    }
}

/// What the loop remembers of moves.
#[derive(Default)]
pub struct Moves {
    /// Where replicas are to be created that are not there yet.
    preferred: BTreeMap<Name, usize>,
    /// Replicas that have a copy, in the order in which they are moved.
    moving: BTreeSet<Name>,
    /// Copies of an earlier life whose log was not found.
    orphans: BTreeMap<Name, Box<Future>>,
    last_token: u64,
}

impl Moves {
    pub fn attach(&mut self, replica: &mut Replica, future: Box<Future>) {
        replica.log.call_cleaning_off();
        self.moving.insert((replica.topic.clone(), replica.partition));
        replica.future = Some(future);
    }

    pub fn keep(&mut self, name: Name, future: Box<Future>) {
        tracing::warn!(
            "{}-{} is only there as a copy under way, in {}",
            name.0,
            name.1,
            future.log.dir().display()
        );
        self.orphans.insert(name, future);
    }

    pub fn take_preferred(&mut self, topic: &Str, partition: i32) -> Option<usize> {
        self.preferred.remove(&(topic.clone(), partition))
    }

    pub fn preferred(&self, topic: &Str, partition: i32) -> Option<usize> {
        self.preferred.get(&(topic.clone(), partition)).copied()
    }

    pub fn orphans(&self) -> impl Iterator<Item = (&Str, i32, &Future)> + Clone {
        self.orphans.iter().map(|((topic, partition), future)| (topic, *partition, &**future))
    }

    pub fn take_orphan(&mut self, topic: &Str, partition: i32) -> Option<Box<Future>> {
        self.orphans.remove(&(topic.clone(), partition))
    }

    pub fn take_orphans(&mut self) -> impl Iterator<Item = (Name, Box<Future>)> + use<> {
        std::mem::take(&mut self.orphans).into_iter()
    }

    pub fn forget(&mut self, topic: &Str, partition: i32) {
        self.moving.remove(&(topic.clone(), partition));
    }
}

/// What the loop hears about moves.
pub enum MoveEvent {
    /// Replicas are to be in these directories: (topic, partition, directory).
    Alter { asks: Vec<(Str, i32, Str)>, reply: oneshot::Sender<Vec<ErrorCode>> },
    /// A mover is idle.
    Next { reply: oneshot::Sender<Work> },
    /// A mover has read what it was told to.
    Copied { copied: Copied, reply: oneshot::Sender<Work> },
}

/// What a mover does next.
pub enum Work {
    Copy(Copy),
    /// Ask again after others.
    Again,
    /// Ask again after a pause.
    Wait,
    /// Nothing is to be moved.
    Idle,
}

/// Bytes of a log that its copy has to have.
pub struct Copy {
    topic: Str,
    partition: i32,
    token: u64,
    slice: FetchSlice,
}

/// What came of it: whole batches.
pub struct Copied {
    topic: Str,
    partition: i32,
    token: u64,
    read: Result<Bytes, std::io::Error>,
}

impl Copy {
    /// Reads the slice and compares the checksums; takes as long as the disk does.
    pub fn run(self) -> Copied {
        let Copy { topic, partition, token, slice } = self;
        let read = slice.read().and_then(|bytes| check(bytes, &slice));
        Copied { topic, partition, token, read }
    }
}

impl Copied {
    pub fn bytes(&self) -> u64 {
        self.read.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }
}

/// The whole batches.
fn check(bytes: Bytes, slice: &FetchSlice) -> std::io::Result<Bytes> {
    let damaged = |(at, reason): (usize, String)| {
        let (base, position) = (slice.segment_base, slice.position + at as u64);
        let text = format!("{base:020}.log is corrupt at byte {position}: {reason}");
        std::io::Error::new(std::io::ErrorKind::InvalidData, text)
    };
    whole_batches(&bytes).map_err(damaged).map(|whole| bytes.slice(..whole))
}

impl Replica {
    /// The log was cut: what its copy has above goes as well.
    pub fn truncate_future(
        &mut self,
        turn: &mut Turn,
        cut: impl FnOnce(&mut Log, i64) -> Result<(), LogError>,
    ) {
        let Some(future) = &mut self.future else { return };
        future.token = 0;
        if let Err(error) = cut(&mut future.log, turn.wall) {
            tracing::error!("{error}");
            turn.failed_dirs.push(future.dir);
        }
    }
}

/// Up to where the copy of an earlier life is the beginning of the log, as far as leader epochs tell; it may have to be
/// asked again after it was cut there. As a follower's log is compared with its leader's.
fn common_end(replica: &Replica, future: &Future) -> (i64, bool) {
    let end = future.log.log_end_offset();
    let Some(latest) = future.log.latest_epoch() else { return (future.high_watermark, true) };
    let theirs = replica.core.epochs().end_of(latest, replica.core.log_end());
    if theirs.end_offset < 0 {
        return (future.high_watermark, true);
    }
    let (epoch, ours) = future.log.end_offset_for_epoch(theirs.epoch);
    match ours {
        _ if theirs.epoch < 0 || ours < 0 => (theirs.end_offset.min(end), true),
        ours if epoch != theirs.epoch => (ours.min(end), false),
        ours => (ours.min(theirs.end_offset).min(end), true),
    }
}

/// Makes the copy the beginning of the log, within its bounds.
fn fit(replica: &mut Replica, wall: i64) -> Result<(), LogError> {
    let Some(mut future) = replica.future.take() else { return Ok(()) };
    let fitted = fit_future(replica, &mut future, wall);
    replica.future = Some(future);
    fitted
}

fn fit_future(replica: &Replica, future: &mut Future, wall: i64) -> Result<(), LogError> {
    while !future.is_prefix {
        let before = future.log.log_end_offset();
        let (to, done) = common_end(replica, future);
        future.log.truncate_to(to, wall)?;
        future.is_prefix = done || future.log.log_end_offset() >= before;
        if to < before {
            tracing::info!("Cut {} to offset {to}", future.log.dir().display());
        }
    }
    if future.log.log_end_offset() > replica.core.log_end() {
        future.log.truncate_to(replica.core.log_end(), wall)?;
    }
    if future.log.log_end_offset() < replica.core.log_start() {
        future.log.truncate_fully_and_start_at(replica.core.log_start(), wall)?;
    }
    Ok(())
}

impl Shard {
    pub(super) fn move_event(&mut self, event: MoveEvent) {
        match event {
            MoveEvent::Alter { asks, reply } => {
                let alter = |(topic, partition, dir): (Str, i32, Str)| {
                    let altered = self.alter_dir(&topic, partition, &dir);
                    altered.err().unwrap_or(ErrorCode::NONE)
                };
                let _ = reply.send(asks.into_iter().map(alter).collect());
            }
            MoveEvent::Next { reply } => {
                let _ = reply.send(self.next_copy());
            }
            MoveEvent::Copied { copied, reply } => {
                let more = self.copied(copied);
                let _ = reply.send(more.map_or_else(|| self.next_copy(), Work::Copy));
            }
        }
    }

    /// A replica is to be in this directory; one that is not there yet is to be created in it.
    fn alter_dir(&mut self, topic: &Str, partition: i32, dir: &str) -> Result<(), ErrorCode> {
        let refuse = |error: ErrorCode, why: &str| {
            tracing::warn!("Unable to alter log dirs for {topic}-{partition}: {why}");
            Err(error)
        };
        let name = TopicPartition { topic: topic.to_string(), partition };
        if future_name(&name).is_none() {
            return refuse(ErrorCode::INVALID_TOPIC_EXCEPTION, "The topic name is too long.");
        }
        let Some(to) = self.store.find(Path::new(dir)) else {
            return refuse(
                ErrorCode::LOG_DIR_NOT_FOUND,
                &format!("Log dir {dir} is not found in the config."),
            );
        };
        if !self.store.is_live(to) {
            return refuse(ErrorCode::KAFKA_STORAGE_ERROR, &format!("Log directory {dir} is offline"));
        }
        let known = self.broker.metadata.snapshot().partition(topic, partition).cloned();
        let Some(replica) = find(&mut self.replicas, topic, partition) else {
            let offline = known.as_ref().is_some_and(|known| known.offline.contains(&self.broker.id));
            if offline && self.store.dead_dirs().next().is_some() {
                return refuse(ErrorCode::KAFKA_STORAGE_ERROR, "the partition is offline");
            }
            self.moves.preferred.insert((topic.clone(), partition), to);
            return match known {
                Some(_) => refuse(ErrorCode::REPLICA_NOT_AVAILABLE, "the replica is not there yet"),
                None => refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "the partition is not known"),
            };
        };
        if !self.store.is_live(replica.dir) {
            return refuse(ErrorCode::KAFKA_STORAGE_ERROR, "the partition is offline");
        }
        if replica.future.as_ref().is_some_and(|future| future.dir != to) {
            self.drop_future(topic, partition);
        }
        self.start_move(topic, partition, to, &name)
    }

    fn start_move(
        &mut self,
        topic: &Str,
        partition: i32,
        to: usize,
        name: &TopicPartition,
    ) -> Result<(), ErrorCode> {
        let Some(replica) = find(&mut self.replicas, topic, partition) else { return Ok(()) };
        if replica.dir == to || replica.future.is_some() {
            return Ok(());
        }
        let (start, config) = (replica.core.log_start(), replica.log.config().clone());
        let created =
            self.store.create_future(to, name, start, config, self.turn.wall).and_then(|mut log| {
                if !replica.id.is_zero() {
                    log.set_topic_id(replica.id.0)?;
                }
                Ok(log)
            });
        match created {
            Ok(log) => {
                self.moves.attach(replica, Future::new(log, to));
                let _ = self.notices.send(Notice::Move);
                Ok(())
            }
            Err(error) => {
                tracing::error!("{error}");
                if error.is_io() {
                    self.turn.failed_dirs.push(to);
                }
                Err(ErrorCode::KAFKA_STORAGE_ERROR)
            }
        }
    }

    /// The move is called off.
    pub(super) fn drop_future(&mut self, topic: &Str, partition: i32) {
        self.moves.forget(topic, partition);
        let Some(replica) = find(&mut self.replicas, topic, partition) else { return };
        let Some(future) = replica.future.take() else { return };
        self.delete_copy(*future);
    }

    fn delete_copy(&mut self, future: Future) {
        tracing::info!("Deleting {}", future.log.dir().display());
        let delay = self.broker.config.int("log.segment.delete.delay.ms");
        if let Err(error) = self.store.delete(future.log, future.dir, self.turn.wall, delay) {
            tracing::error!("{error}");
            self.turn.failed_dirs.push(future.dir);
        }
    }

    /// The partition is deleted: so is a copy whose log was not found.
    pub(super) fn drop_orphan(&mut self, topic: &Str, partition: i32) {
        let Some(future) = self.moves.take_orphan(topic, partition) else { return };
        self.delete_copy(*future);
    }

    /// A directory failed: the replica goes on where it is.
    pub(super) fn fail_moves_to(&mut self, dir: usize) {
        let replicas = self.replicas.values_mut().flat_map(BTreeMap::values_mut);
        for replica in replicas.filter(|replica| replica.future.as_ref().is_some_and(|f| f.dir == dir)) {
            tracing::warn!("{}-{} is not moved any more", replica.topic, replica.partition);
            replica.future = None;
            self.moves.forget(&replica.topic, replica.partition);
        }
        self.moves.orphans.retain(|_, future| future.dir != dir);
    }

    /// The first replica in order that can be moved and is not in a mover's hands.
    fn next_copy(&mut self) -> Work {
        let mut waiting = false;
        for name in self.moves.moving.clone() {
            let Some(replica) = find(&mut self.replicas, &name.0, name.1) else { continue };
            let Some(future) = &replica.future else { continue };
            // Until a controller has spoken, nobody may read.
            let has_role = replica.core.is_leader() || replica.core.is_follower();
            if future.token != 0 || !has_role {
                continue;
            }
            if future.not_before > self.turn.now || replica.log.is_being_cleaned() {
                waiting = true;
                continue;
            }
            let from = future.log.log_end_offset();
            if let Some(copy) = self.advance(&name) {
                tracing::info!("Copying {}-{} from offset {from} on", name.0, name.1);
                return Work::Copy(copy);
            }
            // Directories were renamed and synced: the next one has time until the loop has done other work.
            if !self.moves.moving.contains(&name) {
                return Work::Again;
            }
            waiting = true;
        }
        if waiting { Work::Wait } else { Work::Idle }
    }

    /// A mover brings what it read; the reply is what to read next of that log.
    fn copied(&mut self, copied: Copied) -> Option<Copy> {
        let Copied { topic, partition, token, read } = copied;
        let wall = self.turn.wall;
        let replica = find(&mut self.replicas, &topic, partition)?;
        let dir = replica.dir;
        // The log was cut meanwhile, or the move called off.
        let future = replica.future.as_mut().filter(|future| future.token == token)?;
        future.token = 0;
        match read {
            Ok(bytes) => {
                if let Err(error) = future.log.append_copy(&bytes, wall) {
                    tracing::error!("{error}");
                    self.turn.failed_dirs.push(future.dir);
                    return None;
                }
            }
            Err(error) => {
                tracing::error!("Copying {}: {error}", replica.log.dir().display());
                future.not_before = self.turn.now + RETRY_MS;
                if error.kind() != std::io::ErrorKind::InvalidData {
                    self.turn.failed_dirs.push(dir);
                }
                return None;
            }
        }
        self.advance(&(topic, partition))
    }

    /// Copies the last bytes and lets the copy take the log's place; or says what is to be read first.
    fn advance(&mut self, name: &Name) -> Option<Copy> {
        let wall = self.turn.wall;
        for step in 0..=LAST_STEPS {
            let replica = find(&mut self.replicas, &name.0, name.1)?;
            let to = replica.future.as_ref()?.dir;
            if let Err(error) = fit(replica, wall) {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(to);
                return None;
            }
            let (start, end, high_watermark) =
                (replica.core.log_start(), replica.core.log_end(), replica.core.high_watermark());
            let future = replica.future.as_mut()?;
            let at = future.log.log_end_offset();
            future.high_watermark = high_watermark.min(at);
            if let Err(error) = future.log.advance_log_start(start.min(at)) {
                tracing::error!("{error}");
                self.turn.failed_dirs.push(to);
                return None;
            }
            if at == end {
                self.swap(name);
                return None;
            }
            let max = self.broker.config.int("replica.fetch.max.bytes");
            let max = max.min(self.broker.config.int("replica.fetch.response.max.bytes"));
            let slice = match replica.log.read(at, u32::try_from(max).unwrap_or(u32::MAX), end, true) {
                Ok(slice) => slice,
                Err(error) => {
                    tracing::error!("{error}");
                    future.not_before = self.turn.now + RETRY_MS;
                    if error.is_io() {
                        self.turn.failed_dirs.push(replica.dir);
                    }
                    return None;
                }
            };
            if step == LAST_STEPS || slice.len > LAST_BYTES || self.broker.throttles.log_dirs.is_exceeded() {
                self.moves.last_token += 1;
                let token = self.moves.last_token;
                future.token = token;
                return Some(Copy { topic: name.0.clone(), partition: name.1, token, slice });
            }
            let read = slice.read().and_then(|bytes| check(bytes, &slice));
            match read {
                Ok(bytes) if !bytes.is_empty() => {
                    self.broker.throttles.log_dirs.record(bytes.len() as u64);
                    if let Err(error) = future.log.append_copy(&bytes, wall) {
                        tracing::error!("{error}");
                        self.turn.failed_dirs.push(to);
                        return None;
                    }
                }
                Ok(_) => {
                    tracing::error!("{} has nothing at offset {at}", replica.log.dir().display());
                    future.not_before = self.turn.now + RETRY_MS;
                    return None;
                }
                Err(error) => {
                    tracing::error!("Copying {}: {error}", replica.log.dir().display());
                    future.not_before = self.turn.now + RETRY_MS;
                    return None;
                }
            }
        }
        None
    }

    /// The copy has all of the log, and becomes it. First it gets the name, then the log is marked as deleted: a crash in
    /// between leaves two logs, never none.
    fn swap(&mut self, name: &Name) {
        let (topic, partition) = name;
        self.moves.forget(topic, *partition);
        let Some(replica) = find(&mut self.replicas, topic, *partition) else { return };
        let Some(mut future) = replica.future.take() else { return };
        let to = future.dir;
        if let Err(error) = take_over(replica, &mut future.log) {
            tracing::error!("{error}");
            self.turn.failed_dirs.push(to);
            return;
        }
        let old = std::mem::replace(&mut replica.log, future.log);
        let old_dir = std::mem::replace(&mut replica.dir, to);
        tracing::info!("{topic}-{partition} lies in {} now", replica.log.dir().display());
        let delay = self.broker.config.int("log.segment.delete.delay.ms");
        if let Err(error) = self.store.delete(old, old_dir, self.turn.wall, delay) {
            tracing::error!("{topic}-{partition}: {error}");
            self.turn.failed_dirs.push(old_dir);
        }
        self.upkeep.checkpoint_now(self.turn.now);
    }
}

/// What the log knows beside its batches, and its name.
fn take_over(replica: &Replica, copy: &mut Log) -> Result<(), LogError> {
    let latest = copy.latest_epoch().unwrap_or(-1);
    for entry in replica.core.epochs().entries().iter().filter(|entry| entry.epoch > latest) {
        copy.assign_epoch(entry.epoch, entry.start_offset)?;
    }
    copy.set_cleaned(replica.log.cleaned_offset());
    copy.rename(
        &TopicPartition { topic: replica.topic.to_string(), partition: replica.partition }.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogConfig, OpenAt};
    use broker_core::partition::PartitionConfig;
    use wire::batch::BatchBuilder;

    /// A log with a batch of one record for each epoch.
    fn log(dir: &Path, name: &str, start: i64, epochs: &[i32]) -> Log {
        let at = OpenAt { log_start_offset: start, ..OpenAt::default() };
        let mut log = Log::open(&dir.join(name), LogConfig::default(), at, 0).unwrap();
        for (offset, epoch) in (start..).zip(epochs) {
            let mut builder = BatchBuilder::new().base_offset(offset).leader_epoch(*epoch);
            builder.push(1, Some(b"k"), Some(b"v"), &[]);
            log.append(&builder.finish().unwrap(), 0).unwrap();
        }
        log
    }

    /// Start and end of a copy with these epochs once it fits a log with those.
    fn fitted(start: i64, of_log: &[i32], of_copy: &[i32]) -> (i64, i64) {
        let dir = tempfile::tempdir().unwrap();
        let config = PartitionConfig {
            min_insync_replicas: 1,
            replica_lag_ms_max: 1,
            message_bytes_max: 1000,
            segment_bytes: 1000,
        };
        let log_of = log(dir.path(), "t-0", start, of_log);
        let mut replica = Replica::new(1, ("t".into(), 0), log_of, 0, start, config);
        let copy = log(dir.path(), "t-0.x-future", 0, of_copy);
        replica.future = Some(Future::found(copy, 1, 0));
        fit(&mut replica, 0).unwrap();
        let copy = &replica.future.unwrap().log;
        (copy.log_start_offset(), copy.log_end_offset())
    }

    #[test]
    fn a_copy_of_an_earlier_life_is_cut_to_what_it_has_in_common_with_the_log() {
        assert_eq!(fitted(0, &[0, 0, 2, 2], &[0, 0, 2]), (0, 3));
        assert_eq!(fitted(0, &[0, 0, 2, 2], &[]), (0, 0));
        // The log was cut and written anew while the copy was away.
        assert_eq!(fitted(0, &[0, 0, 3, 3, 3], &[0, 0, 1, 1]), (0, 2));
        assert_eq!(fitted(0, &[0, 3, 3, 3, 3], &[0, 0, 1, 2, 2]), (0, 1));
        assert_eq!(fitted(0, &[0, 0], &[0, 0, 0, 0]), (0, 2));
        // The log lost what the copy ends with, or was begun anew.
        assert_eq!(fitted(2, &[4, 4], &[0]), (2, 2));
        assert_eq!(fitted(0, &[], &[0, 0]), (0, 0));
    }
}
