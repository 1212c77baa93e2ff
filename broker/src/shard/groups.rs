//! The group coordinator's place in the loop: its log is `__consumer_offsets`, whose leaders here it looks after.

use std::collections::{BTreeMap, HashMap};

use broker_core::group::{AppendId, Config, Coordinator, Effect, Event, Record, Request, Response};
use broker_core::partition::{Origin, Produce, ProduceResult, Token};
use broker_core::transaction::Event as TxnEvent;
use bytes::Bytes;
use tokio::sync::oneshot;
use wire::Str;
use wire::batch::message_set::Entry;
use wire::batch::produce::Accepted;
use wire::batch::{Batch, BatchBuilder, Compression};
use wire::kafka::ErrorCode;

use super::produce::refused;
use super::replica::{Records, meta};
use super::{Notice, ProducePart, Shard, find};
use crate::broker::Broker;
use crate::log::FetchSlice;
use crate::topics::GROUP_TOPIC;

/// The coordinator, and who waits for it.
pub struct Groups {
    coordinator: Coordinator,
    effects: Vec<Effect>,
    waiting: HashMap<Token, oneshot::Sender<Response>>,
    appends: BTreeMap<Token, AppendId>,
    timeout_ms: i64,
    /// `offsets.commit.required.acks`: -1 all in-sync replicas, 1 the leader alone, 0 nobody.
    acks: i16,
    /// `offsets.topic.compression.codec`
    codec: Compression,
    /// `offsets.retention.check.interval.ms`: (next in the loop's ms, every).
    expiry: (i64, i64),
}

/// Bytes that one step of loading reads.
const LOAD_BYTES: u32 = 1 << 20;

/// Java fails every commit where a number of replicas is asked for; here all in sync have it then.
fn acks(given: i64) -> i16 {
    match given {
        0 | 1 => given as i16,
        _ => -1,
    }
}

/// The codec of an id; those that do not exist are refused at the start.
fn codec(id: i64) -> Compression {
    u8::try_from(id).ok().and_then(Compression::from_id).unwrap_or_default()
}

impl Groups {
    pub fn new(broker: &Broker) -> Groups {
        let number = |key: &str| i32::try_from(broker.config.int(key)).unwrap_or(i32::MAX);
        let config = Config {
            partitions: broker.group_partitions,
            session_ms_min: number("group.min.session.timeout.ms"),
            session_ms_max: number("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: broker.config.int("group.initial.rebalance.delay.ms"),
            size_max: usize::try_from(number("group.max.size")).unwrap_or(usize::MAX),
            metadata_max: usize::try_from(number("offset.metadata.max.bytes")).unwrap_or(0),
            offsets_retention_ms: broker.config.int("offsets.retention.minutes").saturating_mul(60_000),
            protocol: broker.config.protocol,
        };
        let every = broker.config.int("offsets.retention.check.interval.ms").max(1);
        Groups {
            coordinator: Coordinator::new(config),
            effects: Vec::new(),
            waiting: HashMap::new(),
            appends: BTreeMap::new(),
            timeout_ms: broker.config.int("offsets.commit.timeout.ms"),
            acks: acks(broker.config.int("offsets.commit.required.acks")),
            codec: codec(broker.config.int("offsets.topic.compression.codec")),
            expiry: (every, every),
        }
    }

    /// Numbers for metrics.
    pub(super) fn figures(&self) -> broker_core::group::GroupFigures {
        self.coordinator.figures()
    }
}

impl Shard {
    pub(super) fn group_request(&mut self, request: Request, reply: oneshot::Sender<Response>) {
        let token = Token(self.tokens(1));
        self.groups.waiting.insert(token, reply);
        self.group_step(Event::Request { token, request });
    }

    /// When the coordinator wants the time, in the loop's ms.
    pub(super) fn group_deadline(&self) -> i64 {
        let lead = super::wall_clock() - self.clock();
        let deadline = self.groups.coordinator.deadline().map_or(i64::MAX, |at| at - lead);
        deadline.min(self.groups.expiry.0)
    }

    pub(super) fn group_tick(&mut self) {
        if self.groups.coordinator.deadline().is_some_and(|at| at <= self.turn.wall) {
            self.group_step(Event::Tick);
        }
        if self.groups.expiry.0 <= self.turn.now {
            self.groups.expiry.0 = self.turn.now + self.groups.expiry.1;
            self.group_step(Event::ExpireOffsets);
        }
    }

    /// A partition of the group topic got a leader here, or lost it.
    pub(super) fn group_role(&mut self, partition: i32, leads: Option<i32>) {
        self.group_step(match leads {
            Some(epoch) => Event::Elected { partition, epoch },
            None => Event::Resigned { partition },
        });
    }

    pub(super) fn coordinator_loaded(
        &mut self,
        topic: &'static str,
        partition: i32,
        epoch: i32,
        entries: Vec<Entry>,
        done: bool,
    ) {
        for entry in entries {
            match topic {
                GROUP_TOPIC => self.group_step(Event::Loaded { partition, epoch, entry }),
                _ => self.transaction_step(TxnEvent::Loaded { partition, epoch, entry }),
            }
        }
        match topic {
            _ if !done => {}
            GROUP_TOPIC => self.group_step(Event::LoadDone { partition, epoch }),
            _ => self.transaction_step(TxnEvent::LoadDone { partition, epoch }),
        }
    }

    /// Some bytes of a coordinator's partition for a load, and where the log ends.
    pub(super) fn coordinator_read(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Option<i64>,
    ) -> Option<(FetchSlice, i64)> {
        let replica = find(&mut self.replicas, topic, partition)?;
        let (start, end) = (replica.log.log_start_offset(), replica.log.log_end_offset());
        let offset = offset.unwrap_or(start).max(start);
        let slice = replica.log.read(offset, LOAD_BYTES, end, true).ok()?;
        Some((slice, end))
    }

    /// One step of the coordinator, and all that follows.
    pub(super) fn group_step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.groups.effects);
        self.groups.coordinator.step(self.turn.wall, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Reply { token, response } => {
                    if let Some(reply) = self.groups.waiting.remove(&token) {
                        let _ = reply.send(response);
                    }
                }
                Effect::Append { partition, append, records, producer } => {
                    self.group_append(partition, append, &records, producer);
                }
                Effect::Load { partition, epoch } => {
                    let _ = self.notices.send(Notice::LoadGroups { partition, epoch });
                }
                Effect::Warn(text) => tracing::warn!("{text}"),
                Effect::Tell(text) => tracing::info!("[GroupCoordinator] {text}"),
            }
        }
        self.groups.effects = effects;
    }

    fn group_append(
        &mut self,
        partition: i32,
        append: Option<AppendId>,
        records: &[Record],
        producer: Option<(i64, i16)>,
    ) {
        let token = Token(self.tokens(1));
        if let Some(append) = append {
            self.groups.appends.insert(token, append);
        }
        let mut builder = BatchBuilder::new().compression(self.groups.codec);
        if let Some((id, epoch)) = producer {
            // Java's base sequence; nobody checks those of a coordinator.
            builder = builder.producer(id, epoch, 0).transactional(true);
        }
        for record in records {
            builder.push(self.turn.wall, Some(&record.key), record.value.as_deref(), &[]);
        }
        let acks = if append.is_some() { self.groups.acks } else { 0 };
        self.append_own(GROUP_TOPIC, partition, token, acks, self.groups.timeout_ms, builder);
    }

    /// A coordinator's own batch; what becomes of it is told as of any produce.
    pub(super) fn append_own(
        &mut self,
        topic: &'static str,
        partition: i32,
        token: Token,
        acks: i16,
        timeout_ms: i64,
        builder: BatchBuilder,
    ) {
        let batch =
            builder.finish().ok().and_then(|mut bytes: Bytes| Batch::split_from(&mut bytes).ok().flatten());
        let Some(batch) = batch else {
            self.turn.replies.push((token, refused(ErrorCode::UNKNOWN_SERVER_ERROR)));
            return;
        };
        let Some(replica) = find(&mut self.replicas, topic, partition) else {
            self.turn.replies.push((token, refused(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
            return;
        };
        let max_timestamp = batch.header().max_timestamp;
        // Its records are of one moment.
        let max_timestamp_at = (batch.header().base_timestamp == max_timestamp).then_some(0);
        let mut part = ProducePart {
            topic: Str::from_static(topic),
            partition,
            accepted: Accepted { batch, max_timestamp, max_timestamp_at },
            log_append_time: false,
        };
        let produce = Produce {
            token,
            acks,
            timeout_ms,
            batch: meta(&part.accepted.batch),
            origin: Origin::Coordinator,
            log_append_time_ms: -1,
        };
        replica.step(&mut self.turn, Records::Produced(&mut part), |core, now, out| {
            core.produce(now, produce, out)
        });
        self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
    }

    /// A marker of a transaction is replicated on a partition of the group topic.
    pub(super) fn group_txn_completed(&mut self, producer_id: i64, partition: i32, commit: bool) {
        self.group_step(Event::TxnCompleted { producer_id, partitions: vec![partition], commit });
    }

    /// Whether the answer was to an append of the coordinator, which then hears of it.
    pub(super) fn group_appended(&mut self, token: Token, result: &ProduceResult) -> bool {
        let Some(append) = self.groups.appends.remove(&token) else { return false };
        let result = if result.error.is_ok() { Ok(result.base_offset) } else { Err(result.error) };
        self.group_step(Event::Appended { append, result });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_topic_has_the_codec_and_the_acks_that_are_asked_for() {
        assert_eq!([0, 1, 2, 3, 4].map(codec), Compression::ALL);
        assert_eq!([-1, 0, 1, 2].map(acks), [-1, 0, 1, -1]);
    }
}
