//! Appending what producers send, and telling them.

use broker_core::partition::{Origin, Produce, ProduceResult, Token};
use broker_core::producer::ActiveProducer;
use tokio::sync::oneshot;
use wire::Str;
use wire::kafka::ErrorCode;

use super::replica::{Records, meta};
use super::{ProducePart, Shard, find};
use crate::topics::GROUP_TOPIC;

/// A produce request of which some partitions still wait.
pub struct PendingProduce {
    left: usize,
    results: Vec<ProduceResult>,
    reply: oneshot::Sender<Vec<ProduceResult>>,
    /// Markers on partitions of the group topic, by index: its coordinator hears of them.
    ends: Vec<(usize, TxnEnd)>,
}

/// The end of a transaction on a partition of the group topic.
#[derive(Clone, Copy)]
struct TxnEnd {
    producer_id: i64,
    partition: i32,
    commit: bool,
}

/// A DeleteRecords request of which some partitions still wait.
pub struct PendingDelete {
    left: usize,
    results: Vec<Result<i64, ErrorCode>>,
    reply: oneshot::Sender<Vec<Result<i64, ErrorCode>>>,
}

/// Nothing was appended.
pub(super) fn refused(error: ErrorCode) -> ProduceResult {
    ProduceResult { error, base_offset: -1, next_offset: -1, log_append_time_ms: -1, log_start: -1 }
}

impl Shard {
    pub(super) fn produce(
        &mut self,
        mut parts: Vec<ProducePart>,
        acks: i16,
        timeout_ms: i64,
        origin: Origin,
        reply: oneshot::Sender<Vec<ProduceResult>>,
    ) {
        let first = self.tokens(parts.len());
        let results = vec![refused(ErrorCode::NONE); parts.len()];
        let mut pending = PendingProduce { left: parts.len(), results, reply, ends: Vec::new() };
        for (index, part) in parts.iter_mut().enumerate() {
            let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) else {
                pending.results[index] = refused(match origin {
                    Origin::Client => ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    Origin::Coordinator => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                });
                pending.left -= 1;
                continue;
            };
            replica.traffic.produces += 1;
            let batch = meta(&part.accepted.batch);
            if let Some(marker) = batch.marker.filter(|_| part.topic == GROUP_TOPIC) {
                let (producer_id, partition) = (batch.producer_id, part.partition);
                pending.ends.push((index, TxnEnd { producer_id, partition, commit: marker.commit }));
            }
            let produce = Produce {
                token: Token(first + index as u64),
                acks,
                timeout_ms,
                batch,
                origin,
                log_append_time_ms: if part.log_append_time { part.accepted.max_timestamp } else { -1 },
            };
            replica.step(&mut self.turn, Records::Produced(part), |core, now, out| {
                core.produce(now, produce, out)
            });
            self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
        }
        if pending.left == 0 {
            let _ = pending.reply.send(pending.results);
        } else {
            self.produces.insert(first, pending);
        }
    }

    /// One partition of a produce is done.
    pub(super) fn produced(&mut self, token: Token, result: ProduceResult) {
        let Some((&first, pending)) = self.produces.range_mut(..=token.0).next_back() else { return };
        let index = (token.0 - first) as usize;
        let Some(slot) = pending.results.get_mut(index) else { return };
        *slot = result;
        pending.left -= 1;
        let end =
            pending.ends.iter().find(|(of, _)| *of == index && result.error.is_ok()).map(|(_, end)| *end);
        if let Some(TxnEnd { producer_id, partition, commit }) = end {
            self.group_txn_completed(producer_id, partition, commit);
        }
        if self.produces.get(&first).is_some_and(|pending| pending.left == 0)
            && let Some(done) = self.produces.remove(&first)
        {
            let _ = done.reply.send(done.results);
        }
    }

    pub(super) fn check_produce(
        &mut self,
        parts: &[(Str, i32)],
        acks: i16,
    ) -> Vec<(Result<(), ErrorCode>, i64)> {
        let check = |(topic, partition): &(Str, i32)| match find(&mut self.replicas, topic, *partition) {
            Some(replica) => (replica.core.check_produce(acks), replica.log.log_start_offset()),
            None => (Err(ErrorCode::NOT_LEADER_OR_FOLLOWER), -1),
        };
        parts.iter().map(check).collect()
    }

    /// The producers that each partition knows, as leader or follower.
    pub(super) fn describe_producers(
        &mut self,
        parts: &[(Str, i32)],
    ) -> Vec<Result<Vec<ActiveProducer>, ErrorCode>> {
        let describe = |(topic, partition): &(Str, i32)| {
            let replica = find(&mut self.replicas, topic, *partition);
            let replica = replica.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
            match replica.core.check_epoch(-1, false) {
                Err(error @ ErrorCode::KAFKA_STORAGE_ERROR) => Err(error),
                _ => Ok(replica.core.producers().active().collect()),
            }
        };
        parts.iter().map(describe).collect()
    }

    pub(super) fn delete_records(
        &mut self,
        asks: Vec<(Str, i32, i64)>,
        timeout_ms: i64,
        reply: oneshot::Sender<Vec<Result<i64, ErrorCode>>>,
    ) {
        let first = self.tokens(asks.len());
        let mut pending = PendingDelete { left: asks.len(), results: vec![Ok(-1); asks.len()], reply };
        for (index, (topic, partition, offset)) in asks.iter().enumerate() {
            let Some(replica) = find(&mut self.replicas, topic, *partition) else {
                pending.results[index] = Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
                pending.left -= 1;
                continue;
            };
            let token = Token(first + index as u64);
            replica.step(&mut self.turn, Records::None, |core, now, out| {
                core.delete_records(now, token, *offset, timeout_ms, out);
            });
            self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
        }
        if pending.left == 0 {
            let _ = pending.reply.send(pending.results);
        } else {
            self.deletes.insert(first, pending);
        }
    }

    /// One partition of a DeleteRecords is done.
    pub(super) fn records_deleted(&mut self, token: Token, result: Result<i64, ErrorCode>) {
        let Some((&first, pending)) = self.deletes.range_mut(..=token.0).next_back() else { return };
        let Some(slot) = pending.results.get_mut((token.0 - first) as usize) else { return };
        *slot = result;
        pending.left -= 1;
        if pending.left == 0
            && let Some(done) = self.deletes.remove(&first)
        {
            let _ = done.reply.send(done.results);
        }
    }
}
