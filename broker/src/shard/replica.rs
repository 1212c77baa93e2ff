//! One replica: what broker-core decides and the log that obeys.

use broker_core::partition::{
    AlterPartition, BatchMeta, Effect, EpochStart, LeaderEpochs, LogState, Marker, Partition,
    PartitionConfig, ProduceResult, Token,
};
use broker_core::producer::{CachedBatch, ProducerSnapshot};
use bytes::Bytes;
use wire::Str;
use wire::batch::control::{EndTransaction, Marker as MarkerKind};
use wire::batch::message_set::Entry;
use wire::batch::{Batch, Header};
use wire::kafka::{ErrorCode, Uuid};

use super::event::ProducePart;
use super::figures::TopicTraffic;
use super::moves::Future;
use crate::config::TopicConfig;
use crate::log::{Log, LogError, ProducerBatch, ProducerEntry, open_handles};

/// A replica that this broker has.
pub struct Replica {
    pub topic: Str,
    pub id: Uuid,
    pub partition: i32,
    pub core: Partition,
    pub log: Log,
    /// Index of its log directory.
    pub dir: usize,
    /// The copy that takes the log's place, if it is moved to another directory.
    pub future: Option<Box<Future>>,
    pub traffic: TopicTraffic,
    /// The leader's high watermark, as it was told last.
    pub leader_watermark: i64,
}

/// What one turn of the loop has to do besides the logs.
#[derive(Default)]
pub struct Turn {
    /// Monotonic, ms.
    pub now: i64,
    /// Since 1970, ms.
    pub wall: i64,
    pub replies: Vec<(Token, ProduceResult)>,
    pub deleted: Vec<(Token, Result<i64, ErrorCode>)>,
    pub woken: Vec<Token>,
    pub alters: Vec<(Str, Uuid, i32, AlterPartition)>,
    /// Followers that have something else to ask of this leader than before, or nothing.
    pub moves: Vec<(i32, Str, i32)>,
    /// So many files of logs may be open when a turn begins.
    pub handles_max: usize,
    /// Directories whose disk failed.
    pub failed_dirs: Vec<usize>,
    effects: Vec<Effect>,
}

impl Turn {
    /// The first turn; the logs keep so many files open.
    pub fn new(handles_max: usize) -> Turn {
        Turn { handles_max, ..Turn::default() }
    }
}

/// The records that the effects of one step are about.
pub enum Records<'a> {
    None,
    Produced(&'a mut ProducePart),
    /// A leader's batches: (start in the bytes, header).
    Fetched(&'a Bytes, &'a [(usize, BatchMeta)]),
}

/// The core's view of a batch.
pub fn meta(batch: &Batch) -> BatchMeta {
    let header: &Header = batch.header();
    let marker = if header.attributes.is_control() {
        EndTransaction::from_batch(batch).ok().flatten().map(|end| Marker {
            coordinator_epoch: end.coordinator_epoch,
            commit: matches!(end.marker, MarkerKind::Commit),
        })
    } else {
        None
    };
    BatchMeta {
        base_offset: header.base_offset,
        last_offset_delta: header.last_offset_delta,
        leader_epoch: header.leader_epoch,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        max_timestamp: header.max_timestamp,
        size: header.size() as u32,
        transactional: header.attributes.is_transactional(),
        marker,
    }
}

/// As [`meta`], also of a message from before record batches: of a wrapper only the last offset inside is known.
pub fn entry_meta(entry: &Entry) -> BatchMeta {
    match entry {
        Entry::Batch(batch) => meta(batch),
        Entry::Message(message) => BatchMeta {
            base_offset: message.offset(),
            last_offset_delta: 0,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            max_timestamp: message.timestamp().unwrap_or(-1),
            size: message.bytes().len() as u32,
            transactional: false,
            marker: None,
        },
    }
}

/// The part of a topic's settings that the core obeys.
pub fn partition_config(config: &TopicConfig, replica_lag_ms_max: i64) -> PartitionConfig {
    PartitionConfig {
        min_insync_replicas: usize::try_from(config.insync_min).unwrap_or(1),
        replica_lag_ms_max,
        message_bytes_max: u32::try_from(config.message_bytes_max).unwrap_or(0),
        segment_bytes: config.log.segment_bytes,
    }
}

fn snapshot((entry, earlier): (&ProducerEntry, Vec<ProducerBatch>)) -> ProducerSnapshot {
    let batch = |batch: ProducerBatch| CachedBatch {
        last_sequence: batch.last_sequence,
        last_offset: batch.last_offset,
        offset_delta: batch.offset_delta,
        timestamp: batch.timestamp,
    };
    ProducerSnapshot {
        earlier: earlier.into_iter().map(batch).collect(),
        producer_id: entry.producer_id,
        producer_epoch: entry.epoch,
        last_sequence: entry.last_sequence,
        last_offset: entry.last_offset,
        offset_delta: entry.offset_delta,
        timestamp: entry.timestamp,
        coordinator_epoch: entry.coordinator_epoch,
        txn_first_offset: entry.txn_first_offset,
    }
}

impl Replica {
    /// A replica as its log was found; the high watermark comes from the checkpoint.
    pub fn new(
        local_id: i32,
        (topic, partition): (Str, i32),
        log: Log,
        dir: usize,
        high_watermark: i64,
        config: PartitionConfig,
    ) -> Replica {
        let epochs = log.epochs().iter();
        let state = LogState {
            log_start: log.log_start_offset(),
            log_end: log.log_end_offset(),
            high_watermark,
            epochs: LeaderEpochs::new(
                epochs.map(|e| EpochStart { epoch: e.epoch, start_offset: e.start_offset }),
            ),
            producers: log.producers_with_batches().map(snapshot).collect(),
        };
        let id = log.topic_id().map_or(Uuid::ZERO, Uuid);
        Replica {
            topic,
            id,
            partition,
            core: Partition::new(local_id, config, state),
            log,
            dir,
            future: None,
            traffic: TopicTraffic::default(),
            leader_watermark: -1,
        }
    }

    /// Lets the core take one step and does what it asks for.
    pub fn step<R>(
        &mut self,
        turn: &mut Turn,
        records: Records<'_>,
        step: impl FnOnce(&mut Partition, i64, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = std::mem::take(&mut turn.effects);
        let before = self.core.next_fetch();
        let result = step(&mut self.core, turn.now, &mut effects);
        self.perform(&mut effects, records, turn);
        effects.clear();
        turn.effects = effects;
        let after = self.core.next_fetch();
        if before != after {
            let [old, new] = [before, after].map(|next| next.map(|next| next.leader));
            for leader in old.into_iter().chain(new.filter(|_| new != old)) {
                turn.moves.push((leader, self.topic.clone(), self.partition));
            }
        }
        result
    }

    fn perform(&mut self, effects: &mut Vec<Effect>, mut records: Records<'_>, turn: &mut Turn) {
        let mut failed = None;
        for effect in effects.drain(..) {
            if let Err(error) = self.perform_one(effect, &mut records, turn) {
                failed = Some(error);
                break;
            }
        }
        // One event may be about very many partitions.
        if open_handles() > turn.handles_max {
            self.log.release();
        }
        let Some(error) = failed else { return };
        tracing::error!("{}-{}: {error}", self.topic, self.partition);
        turn.failed_dirs.push(self.dir);
        self.core.log_failed(effects);
        for effect in effects.drain(..) {
            // Only answers come of a failed log.
            let _ = self.perform_one(effect, &mut Records::None, turn);
        }
    }

    fn perform_one(
        &mut self,
        effect: Effect,
        records: &mut Records<'_>,
        turn: &mut Turn,
    ) -> Result<(), LogError> {
        match effect {
            Effect::Append { base_offset, leader_epoch } => {
                let Records::Produced(part) = records else { return Ok(()) };
                let max_timestamp = part.accepted.max_timestamp;
                part.accepted.batch.assign(base_offset, leader_epoch, max_timestamp, part.log_append_time);
                let of_max = part.accepted.max_timestamp_at.map(|at| base_offset + i64::from(at));
                self.log.append_hinted(part.accepted.batch.bytes(), of_max, turn.wall)?;
                let last_offset_delta = part.accepted.batch.header().last_offset_delta;
                self.traffic.messages_in += u64::try_from(last_offset_delta).unwrap_or(0) + 1;
                self.traffic.bytes_in += part.accepted.batch.bytes().len() as u64;
            }
            Effect::AppendFetched { from } => {
                let Records::Fetched(bytes, batches) = records else { return Ok(()) };
                let start = batches.get(from).map_or(bytes.len(), |(start, _)| *start);
                let end = batches.last().map_or(start, |(start, batch)| start + batch.size as usize);
                self.log.append(&bytes[start..end], turn.wall)?;
            }
            Effect::Truncate { to, producers_lost } => {
                tracing::info!("Truncating {}-{} to offset {to}", self.topic, self.partition);
                self.log.truncate_to(to, turn.wall)?;
                self.truncate_future(turn, |log, wall| log.truncate_to(to, wall).map(|_| ()));
                if producers_lost {
                    self.core.rebuild_producers(self.log.producers_with_batches().map(snapshot), []);
                }
            }
            Effect::TruncateFully { start_at } => {
                tracing::info!("Restarting {}-{} at offset {start_at}", self.topic, self.partition);
                self.log.truncate_fully_and_start_at(start_at, turn.wall)?;
                self.truncate_future(turn, |log, wall| log.truncate_fully_and_start_at(start_at, wall));
            }
            Effect::AdvanceLogStart { to } => {
                self.log.advance_log_start(to)?;
            }
            Effect::SaveEpochs => {
                let latest = self.log.latest_epoch().unwrap_or(-1);
                for entry in self.core.epochs().entries().iter().filter(|entry| entry.epoch > latest) {
                    self.log.assign_epoch(entry.epoch, entry.start_offset)?;
                }
            }
            // The log keeps its transaction index itself, from the markers it appends.
            Effect::TxnCompleted(_) => {}
            Effect::Reply { token, result } => turn.replies.push((token, result)),
            Effect::RecordsDeleted { token, result } => turn.deleted.push((token, result)),
            Effect::AlterPartition(ask) => {
                turn.alters.push((self.topic.clone(), self.id, self.partition, ask))
            }
            // Coordinators hear of it by the answers to their appends.
            Effect::HighWatermark { .. } => {}
            Effect::Wake { token } => turn.woken.push(token),
        }
        Ok(())
    }
}
