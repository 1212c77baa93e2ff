//! Appending what producers send, and telling them.

use broker_core::partition::{Origin, Produce, ProduceResult, Token};
use tokio::sync::oneshot;
use wire::Str;
use wire::kafka::ErrorCode;

use super::replica::{Records, meta};
use super::{ProducePart, Shard, find};

/// A produce request of which some partitions still wait.
pub struct PendingProduce {
    left: usize,
    results: Vec<ProduceResult>,
    reply: oneshot::Sender<Vec<ProduceResult>>,
}

/// A DeleteRecords request of which some partitions still wait.
pub struct PendingDelete {
    left: usize,
    results: Vec<Result<i64, ErrorCode>>,
    reply: oneshot::Sender<Vec<Result<i64, ErrorCode>>>,
}

fn refused(error: ErrorCode) -> ProduceResult {
    ProduceResult { error, base_offset: -1, next_offset: -1, log_append_time_ms: -1, log_start: -1 }
}

impl Shard {
    pub(super) fn produce(
        &mut self,
        mut parts: Vec<ProducePart>,
        acks: i16,
        timeout_ms: i64,
        reply: oneshot::Sender<Vec<ProduceResult>>,
    ) {
        let first = self.tokens(parts.len());
        let mut pending =
            PendingProduce { left: parts.len(), results: vec![refused(ErrorCode::NONE); parts.len()], reply };
        for (index, part) in parts.iter_mut().enumerate() {
            let Some(replica) = find(&mut self.replicas, &part.topic, part.partition) else {
                pending.results[index] = refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
                pending.left -= 1;
                continue;
            };
            let produce = Produce {
                token: Token(first + index as u64),
                acks,
                timeout_ms,
                batch: meta(&part.accepted.batch),
                origin: Origin::Client,
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
        let Some(slot) = pending.results.get_mut((token.0 - first) as usize) else { return };
        *slot = result;
        pending.left -= 1;
        if pending.left == 0
            && let Some(done) = self.produces.remove(&first)
        {
            let _ = done.reply.send(done.results);
        }
    }

    pub(super) fn check_produce(&mut self, parts: &[(Str, i32)], acks: i16) -> Vec<Result<(), ErrorCode>> {
        let check = |(topic, partition): &(Str, i32)| {
            find(&mut self.replicas, topic, *partition)
                .map_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER), |replica| replica.core.check_produce(acks))
        };
        parts.iter().map(check).collect()
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
