//! The leader's side: produce, followers' progress, the in-sync set, the high watermark.

use super::isr::Isr;
use super::{
    AlterPartition, Altered, Effect, Fetcher, LeaderAndIsr, Partition, Produce, ProduceResult, Role,
    RoleChange, Token,
};
use crate::error::ErrorCode;
use crate::producer::Verdict;
use std::collections::BTreeMap;

/// A time before all others.
const NEVER: i64 = i64::MIN / 2;
/// Pause before a refused ISR change is sent again.
const ALTER_RETRY_MS: i64 = 50;

/// DeleteRecords' word for "all that is committed".
pub const TO_HIGH_WATERMARK: i64 = -1;

/// What a leader knows of another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replica {
    id: i32,
    /// -1 until its first fetch, as the next two.
    log_end: i64,
    log_start: i64,
    /// The leader's end at its last fetch.
    leader_end_seen: i64,
    fetched_ms: i64,
    caught_up_ms: i64,
    alive: bool,
}

impl Replica {
    fn new(id: i32) -> Replica {
        Replica {
            id,
            log_end: -1,
            log_start: -1,
            leader_end_seen: -1,
            fetched_ms: NEVER,
            caught_up_ms: NEVER,
            alive: true,
        }
    }

    fn is_caught_up(&self, leader_end: i64, now_ms: i64, lag_ms_max: i64) -> bool {
        self.log_end == leader_end || now_ms - self.caught_up_ms <= lag_ms_max
    }

    /// Caught up is who has all that the leader had at this fetch, or had at the one before.
    fn fetched(&mut self, offset: i64, leader_end: i64, now_ms: i64) {
        if offset >= leader_end {
            self.caught_up_ms = self.caught_up_ms.max(now_ms);
        } else if offset >= self.leader_end_seen {
            self.caught_up_ms = self.caught_up_ms.max(self.fetched_ms);
        }
        self.log_end = offset;
        self.leader_end_seen = self.leader_end_seen.max(leader_end);
        self.fetched_ms = now_ms;
    }
}

#[derive(Debug)]
struct WaitingProduce {
    token: Token,
    deadline_ms: i64,
    result: ProduceResult,
}

#[derive(Debug)]
struct WaitingDelete {
    token: Token,
    deadline_ms: i64,
    offset: i64,
}

#[derive(Debug)]
pub(super) struct Leader {
    pub(super) isr: Isr,
    /// In the order of the assignment, without this broker.
    replicas: Vec<Replica>,
    pub(super) epoch_start: i64,
    /// By the offset that the high watermark must reach.
    produces: BTreeMap<(i64, u64), WaitingProduce>,
    deletes: Vec<WaitingDelete>,
    /// No wait ends earlier; not always exact.
    first_deadline_ms: i64,
    isr_check_ms: i64,
    alter_retry_ms: Option<i64>,
    sequence: u64,
}

impl Leader {
    pub(super) fn deadline(&self) -> i64 {
        let timed = self.first_deadline_ms.min(self.isr_check_ms);
        self.alter_retry_ms.map_or(timed, |retry| retry.min(timed))
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Partition {
    fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(super) fn become_leader(
        &mut self,
        now_ms: i64,
        state: &LeaderAndIsr,
        out: &mut Vec<Effect>,
    ) -> RoleChange {
        let start = self.log_end;
        if self.epochs.assign(state.leader_epoch, start) {
            out.push(Effect::SaveEpochs);
        }
        let local_id = self.local_id;
        let followers = state.replicas.iter().copied().filter(|&id| id != local_id);
        let in_sync_since = |id| if state.isr.contains(&id) { now_ms } else { NEVER };
        let isr_check_ms = now_ms + self.config.replica_lag_ms_max / 2;
        let newly = match &mut self.role {
            Role::Leader(leader) => {
                let known = std::mem::take(&mut leader.replicas);
                leader.replicas = followers
                    .map(|id| {
                        let mut replica =
                            known.iter().find(|r| r.id == id).copied().unwrap_or(Replica::new(id));
                        replica.leader_end_seen = start;
                        replica.fetched_ms = in_sync_since(id);
                        replica.caught_up_ms = in_sync_since(id);
                        replica
                    })
                    .collect();
                leader.isr = Isr::new(state.isr.clone());
                leader.epoch_start = start;
                leader.alter_retry_ms = None;
                false
            }
            _ => {
                let replicas = followers
                    .map(|id| Replica { caught_up_ms: in_sync_since(id), ..Replica::new(id) })
                    .collect();
                self.role = Role::Leader(Leader {
                    isr: Isr::new(state.isr.clone()),
                    replicas,
                    epoch_start: start,
                    produces: BTreeMap::new(),
                    deletes: Vec::new(),
                    first_deadline_ms: i64::MAX,
                    isr_check_ms,
                    alter_retry_ms: None,
                    // An answer that comes late is not to be taken for that to a request of this leadership.
                    sequence: (state.leader_epoch as u64) << 32,
                });
                // Whoever was parked here as at a follower may now be answered otherwise.
                self.wake_all(out);
                true
            }
        };
        self.advance_high_watermark(now_ms, out);
        RoleChange::Leader { newly }
    }

    /// Answers everyone who waits for this leader.
    pub(super) fn leave_leadership(&mut self, error: ErrorCode, out: &mut Vec<Effect>) {
        let Some(leader) = self.leader_mut() else { return };
        let produces = std::mem::take(&mut leader.produces);
        out.extend(
            produces.into_values().map(|wait| Effect::Reply {
                token: wait.token,
                result: ProduceResult { error, ..wait.result },
            }),
        );
        let deletes = std::mem::take(&mut leader.deletes);
        out.extend(
            deletes.into_iter().map(|wait| Effect::RecordsDeleted { token: wait.token, result: Err(error) }),
        );
    }

    /// Whether a produce could be taken at all; to be asked before the batch is looked into, as its errors come first.
    pub fn check_produce(&self, acks: i16) -> Result<(), ErrorCode> {
        match &self.role {
            Role::Failed => Err(ErrorCode::KAFKA_STORAGE_ERROR),
            Role::Leader(leader) => {
                if acks == -1 && leader.isr.committed().len() < self.config.min_insync_replicas {
                    return Err(ErrorCode::NOT_ENOUGH_REPLICAS);
                }
                Ok(())
            }
            _ => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// Takes a batch: [`Effect::Append`], and [`Effect::Reply`] now or when enough replicas have it.
    pub fn produce(&mut self, now_ms: i64, produce: Produce, out: &mut Vec<Effect>) {
        match self.append(now_ms, &produce, out) {
            Err(error) => {
                // As in Java, some carry the log's start and others do not.
                let log_start = match error {
                    ErrorCode::NOT_ENOUGH_REPLICAS
                    | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                    | ErrorCode::INVALID_PRODUCER_EPOCH
                    | ErrorCode::INVALID_TXN_STATE
                    | ErrorCode::TRANSACTION_COORDINATOR_FENCED => self.log_start,
                    _ => -1,
                };
                let result = ProduceResult {
                    error,
                    base_offset: -1,
                    next_offset: -1,
                    log_append_time_ms: -1,
                    log_start,
                };
                out.push(Effect::Reply { token: produce.token, result });
            }
            Ok(result) if produce.acks == -1 => self.await_replication(now_ms, &produce, result, out),
            Ok(result) => out.push(Effect::Reply { token: produce.token, result }),
        }
    }

    fn append(
        &mut self,
        now_ms: i64,
        produce: &Produce,
        out: &mut Vec<Effect>,
    ) -> Result<ProduceResult, ErrorCode> {
        self.check_produce(produce.acks)?;
        if produce.batch.size > self.config.message_bytes_max {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        if produce.batch.size > self.config.segment_bytes {
            return Err(ErrorCode::RECORD_LIST_TOO_LARGE);
        }
        let mut result = ProduceResult {
            error: ErrorCode::NONE,
            base_offset: self.log_end,
            next_offset: self.log_end + i64::from(produce.batch.last_offset_delta) + 1,
            log_append_time_ms: produce.log_append_time_ms,
            log_start: self.log_start,
        };
        if let Verdict::Duplicate { base_offset, last_offset, timestamp } =
            self.producers.check(&produce.batch, produce.origin)?
        {
            result.base_offset = base_offset;
            result.next_offset = last_offset + 1;
            result.log_append_time_ms = timestamp;
            return Ok(result);
        }
        let mut batch = produce.batch;
        batch.base_offset = self.log_end;
        batch.leader_epoch = self.leader_epoch;
        out.push(Effect::Append { base_offset: batch.base_offset, leader_epoch: batch.leader_epoch });
        self.log_end = batch.next_offset();
        if self.epochs.assign(batch.leader_epoch, batch.base_offset) {
            out.push(Effect::SaveEpochs);
        }
        out.extend(self.producers.record(&batch).map(Effect::TxnCompleted));
        self.advance_high_watermark(now_ms, out);
        self.wake(out);
        Ok(result)
    }

    fn await_replication(
        &mut self,
        now_ms: i64,
        produce: &Produce,
        result: ProduceResult,
        out: &mut Vec<Effect>,
    ) {
        let high_watermark = self.high_watermark;
        let min_insync = self.config.min_insync_replicas;
        let Some(leader) = self.leader_mut() else { return };
        if high_watermark >= result.next_offset {
            let error = enough_replicas(&leader.isr, min_insync);
            out.push(Effect::Reply { token: produce.token, result: ProduceResult { error, ..result } });
            return;
        }
        if produce.timeout_ms <= 0 {
            let error = ErrorCode::REQUEST_TIMED_OUT;
            out.push(Effect::Reply { token: produce.token, result: ProduceResult { error, ..result } });
            return;
        }
        let deadline_ms = now_ms.saturating_add(produce.timeout_ms);
        leader.first_deadline_ms = leader.first_deadline_ms.min(deadline_ms);
        let key = (result.next_offset, leader.next());
        leader.produces.insert(key, WaitingProduce { token: produce.token, deadline_ms, result });
    }

    /// A follower asked for what is behind `offset`, so it has what is before.
    pub(super) fn follower_fetched(
        &mut self,
        now_ms: i64,
        fetcher: Fetcher,
        offset: i64,
        out: &mut Vec<Effect>,
    ) {
        let Fetcher::Follower { id, alive, log_start } = fetcher else { return };
        let log_end = self.log_end;
        let Some(leader) = self.leader_mut() else { return };
        let Some(replica) = leader.replicas.iter_mut().find(|replica| replica.id == id) else { return };
        let moved = replica.log_end != offset;
        let start_moved = replica.log_start != log_start || replica.alive != alive;
        replica.fetched(offset, log_end, now_ms);
        replica.log_start = log_start;
        replica.alive = alive;
        self.maybe_expand_isr(id, out);
        if moved {
            self.advance_high_watermark(now_ms, out);
        }
        if start_moved {
            self.finish_record_deletions(out);
        }
    }

    /// Which brokers live, by the controller's word. One that went is no longer waited for, however recently it had
    /// everything, unless it is in the ISR.
    pub fn alive_are(&mut self, now_ms: i64, alive: impl Fn(i32) -> bool, out: &mut Vec<Effect>) {
        let Some(leader) = self.leader_mut() else { return };
        let mut gone = false;
        for replica in &mut leader.replicas {
            gone |= replica.alive && !alive(replica.id);
            replica.alive = alive(replica.id);
        }
        if gone {
            self.advance_high_watermark(now_ms, out);
            self.finish_record_deletions(out);
        }
    }

    pub(super) fn has_replica(&self, id: i32) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.replicas.iter().any(|replica| replica.id == id))
    }

    pub(super) fn furthest_in_sync(&self, offset: i64, wanted: impl Fn(i32) -> bool) -> Option<i32> {
        let Role::Leader(leader) = &self.role else { return None };
        let has_it = |replica: &&Replica| {
            leader.isr.committed().contains(&replica.id)
                && replica.log_end >= offset
                && replica.log_start <= offset
                && wanted(replica.id)
        };
        let found = leader.replicas.iter().filter(has_it);
        found
            .max_by_key(|replica| (replica.log_end, replica.caught_up_ms, replica.id))
            .map(|replica| replica.id)
    }

    /// How far a follower has come, as far as this leader knows; -1 before its first fetch, `None` for a stranger.
    pub fn follower_log_end(&self, id: i32) -> Option<i64> {
        let Role::Leader(leader) = &self.role else { return None };
        leader.replicas.iter().find(|replica| replica.id == id).map(|replica| replica.log_end)
    }

    /// When a follower last had all that this leader had (this partition's clock); `None` before that.
    pub fn follower_caught_up_ms(&self, id: i32) -> Option<i64> {
        let Role::Leader(leader) = &self.role else { return None };
        let replica = leader.replicas.iter().find(|replica| replica.id == id)?;
        (replica.caught_up_ms != NEVER).then_some(replica.caught_up_ms)
    }

    fn maybe_expand_isr(&mut self, id: i32, out: &mut Vec<Effect>) {
        let high_watermark = self.high_watermark;
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let Some(leader) = self.leader_mut() else { return };
        let Some(replica) = leader.replicas.iter().find(|replica| replica.id == id) else { return };
        let eligible = leader.isr.pending().is_none()
            && !leader.isr.committed().contains(&id)
            && replica.alive
            && replica.log_end >= high_watermark
            && replica.log_end >= leader.epoch_start;
        if !eligible {
            return;
        }
        let request = leader.next();
        let isr = leader.isr.expand(request, id).to_vec();
        out.push(Effect::AlterPartition(AlterPartition { request, leader_epoch, partition_epoch, isr }));
    }

    /// Whoever caught up while another one joined need not wait for its next fetch, which may be parked for long.
    fn expand_isr_further(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        let lag = self.config.replica_lag_ms_max;
        let Some(leader) = self.leader_mut() else { return };
        let fetches = |replica: &&Replica| now_ms.saturating_sub(replica.fetched_ms) <= lag;
        let ids: Vec<i32> = leader.replicas.iter().filter(fetches).map(|replica| replica.id).collect();
        // The first who may join makes a change pending, which keeps the others waiting for the next one.
        for id in ids {
            self.maybe_expand_isr(id, out);
        }
    }

    fn maybe_shrink_isr(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        let (local_id, log_end, lag) = (self.local_id, self.log_end, self.config.replica_lag_ms_max);
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let Some(leader) = self.leader_mut() else { return };
        if leader.isr.pending().is_some() {
            return;
        }
        let replicas = &leader.replicas;
        let lags = |id: i32| {
            replicas
                .iter()
                .find(|replica| replica.id == id)
                .is_none_or(|r| !r.is_caught_up(log_end, now_ms, lag))
        };
        let out_of_sync: Vec<i32> =
            leader.isr.committed().iter().copied().filter(|&id| id != local_id && lags(id)).collect();
        if out_of_sync.is_empty() {
            return;
        }
        let request = leader.next();
        let isr = leader.isr.shrink(request, &out_of_sync).to_vec();
        out.push(Effect::AlterPartition(AlterPartition { request, leader_epoch, partition_epoch, isr }));
    }

    /// The controller's answer to an [`Effect::AlterPartition`]: the state as written, or why not.
    pub fn altered(
        &mut self,
        now_ms: i64,
        request: u64,
        result: Result<Altered, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let Some(leader) = self.leader_mut() else { return };
        if leader.isr.pending().is_none_or(|pending| pending.request != request) {
            return;
        }
        match result {
            Ok(altered) => {
                if altered.leader_epoch != leader_epoch || altered.partition_epoch < partition_epoch {
                    return;
                }
                let expanded = leader.isr.pending().is_some_and(|pending| pending.joining.is_some());
                leader.isr.commit(altered.isr);
                self.partition_epoch = altered.partition_epoch;
                self.advance_high_watermark(now_ms, out);
                if expanded {
                    self.expand_isr_further(now_ms, out);
                }
            }
            Err(ErrorCode::OPERATION_NOT_ATTEMPTED | ErrorCode::INELIGIBLE_REPLICA) => {
                leader.isr.reset();
                self.advance_high_watermark(now_ms, out);
            }
            // Our view is old: the controller's next LeaderAndIsr brings a newer one.
            Err(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::FENCED_LEADER_EPOCH
                | ErrorCode::INVALID_UPDATE_VERSION
                | ErrorCode::INVALID_REQUEST
                | ErrorCode::NEW_LEADER_ELECTED,
            ) => {}
            Err(_) => leader.alter_retry_ms = Some(now_ms + ALTER_RETRY_MS),
        }
    }

    pub(super) fn tick_leader(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        let lag_ms_max = self.config.replica_lag_ms_max;
        let (leader_epoch, partition_epoch) = (self.leader_epoch, self.partition_epoch);
        let Some(leader) = self.leader_mut() else { return };
        if leader.first_deadline_ms <= now_ms {
            expire_waits(leader, now_ms, out);
        }
        if leader.alter_retry_ms.is_some_and(|retry| retry <= now_ms) {
            leader.alter_retry_ms = None;
            if let Some(pending) = leader.isr.pending() {
                let (request, isr) = (pending.request, pending.isr.clone());
                out.push(Effect::AlterPartition(AlterPartition {
                    request,
                    leader_epoch,
                    partition_epoch,
                    isr,
                }));
            }
        }
        if leader.isr_check_ms <= now_ms {
            leader.isr_check_ms = now_ms + (lag_ms_max / 2).max(1);
            self.maybe_shrink_isr(now_ms, out);
        }
    }

    /// Committed is what every replica has that is in the ISR, may be soon, or lives and keeps up.
    fn advance_high_watermark(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        let (log_end, lag) = (self.log_end, self.config.replica_lag_ms_max);
        let Role::Leader(leader) = &self.role else { return };
        let counts = |replica: &&Replica| {
            leader.isr.maximal_contains(replica.id)
                || (replica.alive && replica.is_caught_up(log_end, now_ms, lag))
        };
        let slowest = leader.replicas.iter().filter(counts).map(|replica| replica.log_end).min();
        let to = slowest.map_or(log_end, |slowest| slowest.min(log_end));
        if self.raise_high_watermark(to, out) {
            self.complete_produces(out);
            self.wake(out);
        }
    }

    fn complete_produces(&mut self, out: &mut Vec<Effect>) {
        let (high_watermark, min_insync) = (self.high_watermark, self.config.min_insync_replicas);
        let Some(leader) = self.leader_mut() else { return };
        while let Some(first) = leader.produces.first_entry()
            && first.key().0 <= high_watermark
        {
            let wait = first.remove();
            let error = enough_replicas(&leader.isr, min_insync);
            out.push(Effect::Reply { token: wait.token, result: ProduceResult { error, ..wait.result } });
        }
    }

    /// Deletes records below `offset` ([`TO_HIGH_WATERMARK`]: all committed ones), and answers with
    /// [`Effect::RecordsDeleted`] when all live replicas have done so. The cleanup policy is checked by the caller.
    pub fn delete_records(
        &mut self,
        now_ms: i64,
        token: Token,
        offset: i64,
        timeout_ms: i64,
        out: &mut Vec<Effect>,
    ) {
        let offset = if offset == TO_HIGH_WATERMARK { self.high_watermark } else { offset };
        let error = match &self.role {
            Role::Failed => Some(ErrorCode::KAFKA_STORAGE_ERROR),
            Role::Leader(_) if offset < 0 || offset > self.high_watermark => {
                Some(ErrorCode::OFFSET_OUT_OF_RANGE)
            }
            Role::Leader(_) => None,
            _ => Some(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        };
        if let Some(error) = error {
            out.push(Effect::RecordsDeleted { token, result: Err(error) });
            return;
        }
        if offset > self.log_start {
            out.push(Effect::AdvanceLogStart { to: offset });
            self.log_start_moved(offset, out);
        }
        let deadline_ms = now_ms.saturating_add(timeout_ms.max(0));
        let Some(leader) = self.leader_mut() else { return };
        leader.first_deadline_ms = leader.first_deadline_ms.min(deadline_ms);
        leader.deletes.push(WaitingDelete { token, deadline_ms, offset });
        self.finish_record_deletions(out);
    }

    pub(super) fn finish_record_deletions(&mut self, out: &mut Vec<Effect>) {
        let log_start = self.log_start;
        let Some(leader) = self.leader_mut() else { return };
        if leader.deletes.is_empty() {
            return;
        }
        let followers =
            leader.replicas.iter().filter(|replica| replica.alive).map(|replica| replica.log_start);
        let low_watermark = followers.min().map_or(log_start, |slowest| slowest.min(log_start));
        leader.deletes.retain(|wait| {
            let done = wait.offset <= low_watermark;
            if done {
                out.push(Effect::RecordsDeleted { token: wait.token, result: Ok(low_watermark) });
            }
            !done
        });
    }
}

fn enough_replicas(isr: &Isr, min_insync: usize) -> ErrorCode {
    if isr.maximal_len() >= min_insync {
        ErrorCode::NONE
    } else {
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
    }
}

fn expire_waits(leader: &mut Leader, now_ms: i64, out: &mut Vec<Effect>) {
    let error = ErrorCode::REQUEST_TIMED_OUT;
    leader.produces.retain(|_, wait| {
        let late = wait.deadline_ms <= now_ms;
        if late {
            out.push(Effect::Reply { token: wait.token, result: ProduceResult { error, ..wait.result } });
        }
        !late
    });
    leader.deletes.retain(|wait| {
        let late = wait.deadline_ms <= now_ms;
        if late {
            out.push(Effect::RecordsDeleted { token: wait.token, result: Err(error) });
        }
        !late
    });
    let produces = leader.produces.values().map(|wait| wait.deadline_ms);
    let deletes = leader.deletes.iter().map(|wait| wait.deadline_ms);
    leader.first_deadline_ms = produces.chain(deletes).min().unwrap_or(i64::MAX);
}
