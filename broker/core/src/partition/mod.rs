//! One replica of one partition, as leader or follower.
//!
//! A [`Partition`] knows the log by its bounds, its batches' headers and its leader epochs, never by its bytes. Each
//! method is one step: the time comes in (milliseconds on any clock that never goes back), [`Effect`]s come out, in
//! the order in which the shell performs them. An append is done when its effect has been executed: the page cache is
//! enough, as replication, not the disk, is what makes a record durable.
//!
//! * `leader`: produce, the in-sync set, the high watermark. `follower`: what comes from the leader.
//! * `fetch`: answers about the log, to consumers and followers. `epochs`: who wrote what.

mod epochs;
mod event;
mod fetch;
mod follower;
mod isr;
mod leader;
#[cfg(test)]
mod tests;

pub use epochs::{EpochEnd, EpochStart, LeaderEpochs};
pub use event::*;
pub use leader::TO_HIGH_WATERMARK;

use crate::error::ErrorCode;
use crate::producer::{ProducerSnapshot, Producers};
use leader::Leader;

/// StopReplica's leader epoch when the topic is being deleted.
pub const EPOCH_DURING_DELETE: i32 = -2;
/// Or when the sender does not know one.
pub const EPOCH_UNKNOWN: i32 = -1;

#[derive(Debug)]
enum Role {
    /// Nothing heard from a controller yet, or the replica was stopped.
    Idle,
    Leader(Leader),
    Follower,
    /// The log directory failed.
    Failed,
}

#[derive(Debug)]
struct Watcher {
    token: Token,
    watch: WatchFor,
    /// Woken when the watched position is above this.
    above: i64,
}

#[derive(Debug)]
pub struct Partition {
    local_id: i32,
    config: PartitionConfig,
    role: Role,

    log_start: i64,
    log_end: i64,
    high_watermark: i64,
    epochs: LeaderEpochs,
    producers: Producers,

    controller_epoch: i32,
    leader_id: i32,
    /// -1 until the controller speaks.
    leader_epoch: i32,
    partition_epoch: i32,
    replicas: Vec<i32>,
    adding_replicas: Vec<i32>,
    removing_replicas: Vec<i32>,

    watchers: Vec<Watcher>,
    /// No leader of a later epoch is followed any more.
    last_epoch_followed: i32,
}

impl Partition {
    /// A replica on this broker, as its log was found.
    pub fn new(local_id: i32, config: PartitionConfig, log: LogState) -> Partition {
        Partition {
            local_id,
            config,
            role: Role::Idle,
            log_start: log.log_start,
            log_end: log.log_end,
            high_watermark: log.high_watermark.clamp(log.log_start, log.log_end),
            epochs: log.epochs,
            producers: Producers::import(log.producers),
            controller_epoch: 0,
            leader_id: -1,
            leader_epoch: -1,
            partition_epoch: 0,
            replicas: Vec::new(),
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
            watchers: Vec::new(),
            last_epoch_followed: i32::MAX,
        }
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Its log directory failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.role, Role::Failed)
    }

    pub fn is_follower(&self) -> bool {
        matches!(self.role, Role::Follower)
    }

    /// -1: none known.
    pub fn leader_id(&self) -> i32 {
        self.leader_id
    }

    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    pub fn controller_epoch(&self) -> i32 {
        self.controller_epoch
    }

    /// The assignment, the preferred leader first.
    pub fn replicas(&self) -> &[i32] {
        &self.replicas
    }

    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    pub fn is_adding(&self, replica: i32) -> bool {
        self.adding_replicas.contains(&replica)
    }

    /// The committed ISR; empty on a follower, which is not told.
    pub fn isr(&self) -> &[i32] {
        match &self.role {
            Role::Leader(leader) => leader.isr.committed(),
            _ => &[],
        }
    }

    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The offset of the next record.
    pub fn log_end(&self) -> i64 {
        self.log_end
    }

    /// Records below it are committed.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Records below it are decided as well: read_committed ends here.
    pub fn last_stable_offset(&self) -> i64 {
        let unstable = self.producers.first_unstable().map(|first| first.max(self.log_start));
        unstable.map_or(self.high_watermark, |first| first.min(self.high_watermark))
    }

    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    pub fn config(&self) -> &PartitionConfig {
        &self.config
    }

    pub fn set_config(&mut self, config: PartitionConfig) {
        self.config = config;
    }

    /// Forgets producers that have been silent; `wall_ms` since 1970.
    pub fn expire_producers(&mut self, wall_ms: i64, expiration_ms: i64) {
        self.producers.expire(wall_ms, expiration_ms);
    }

    /// The controller's word. Topic ids and the controller's epoch are checked by the caller. Errors:
    /// STALE_CONTROLLER_EPOCH for a leader epoch that is not news, UNKNOWN_TOPIC_OR_PARTITION where this broker has
    /// no replica, KAFKA_STORAGE_ERROR on a failed log.
    pub fn leader_and_isr(
        &mut self,
        now_ms: i64,
        state: &LeaderAndIsr,
        out: &mut Vec<Effect>,
    ) -> Result<RoleChange, ErrorCode> {
        if matches!(self.role, Role::Failed) {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        if state.leader_epoch <= self.leader_epoch {
            return Err(ErrorCode::STALE_CONTROLLER_EPOCH);
        }
        if !state.replicas.contains(&self.local_id) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        if state.partition_epoch < self.partition_epoch {
            return Ok(RoleChange::Unchanged);
        }
        self.controller_epoch = state.controller_epoch;
        self.leader_id = state.leader;
        self.leader_epoch = state.leader_epoch;
        self.partition_epoch = state.partition_epoch;
        self.replicas.clone_from(&state.replicas);
        self.adding_replicas.clone_from(&state.adding_replicas);
        self.removing_replicas.clone_from(&state.removing_replicas);
        if state.leader == self.local_id {
            Ok(self.become_leader(now_ms, state, out))
        } else {
            Ok(self.become_follower(out))
        }
    }

    /// StopReplica for this replica. Errors: FENCED_LEADER_EPOCH, KAFKA_STORAGE_ERROR. Afterwards the shell stops
    /// fetching, and with `delete` drops the partition and its log.
    pub fn stop_replica(&mut self, leader_epoch: i32, out: &mut Vec<Effect>) -> Result<(), ErrorCode> {
        if matches!(self.role, Role::Failed) {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        let current = leader_epoch == EPOCH_DURING_DELETE
            || leader_epoch == EPOCH_UNKNOWN
            || leader_epoch >= self.leader_epoch;
        if !current {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        self.leave_leadership(ErrorCode::NOT_LEADER_OR_FOLLOWER, out);
        self.role = Role::Idle;
        self.leader_id = -1;
        self.wake_all(out);
        Ok(())
    }

    /// The log directory is gone: everyone who waits is sent away, and everything from now on refused.
    pub fn log_failed(&mut self, out: &mut Vec<Effect>) {
        self.leave_leadership(ErrorCode::KAFKA_STORAGE_ERROR, out);
        self.role = Role::Failed;
        self.wake_all(out);
    }

    /// The next moment at which [`Partition::tick`] has something to do.
    pub fn deadline(&self) -> Option<i64> {
        match &self.role {
            Role::Leader(leader) => Some(leader.deadline()),
            _ => None,
        }
    }

    /// Time has passed: produces run out of time, replicas fall out of the ISR.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        if self.is_leader() {
            self.tick_leader(now_ms, out);
        }
    }

    /// Retention moved the log's start; also DeleteRecords of another life (a checkpoint). The effect is not repeated.
    pub fn log_start_moved(&mut self, log_start: i64, out: &mut Vec<Effect>) {
        if log_start <= self.log_start {
            return;
        }
        self.log_start = log_start;
        self.log_end = self.log_end.max(log_start);
        self.high_watermark = self.high_watermark.max(log_start);
        if self.epochs.truncate_start(log_start) {
            out.push(Effect::SaveEpochs);
        }
        self.finish_record_deletions(out);
    }

    /// After [`Effect::Truncate`] with `producers_lost`: state as of the newest snapshot at or below the log's end, and
    /// the headers of the batches behind it, in order.
    pub fn rebuild_producers(
        &mut self,
        snapshot: impl IntoIterator<Item = ProducerSnapshot>,
        batches: impl IntoIterator<Item = BatchMeta>,
    ) {
        self.producers = Producers::import(snapshot).with_batches_of(&self.producers);
        for batch in batches {
            self.producers.record(&batch);
        }
        self.producers.high_watermark(self.high_watermark);
    }

    /// Wakes `token` once (as [`Effect::Wake`]) when the position is above `above`, or the role or the log's end
    /// changes so that a parked fetch must look again. At once if it already is.
    pub fn watch(&mut self, token: Token, watch: WatchFor, above: i64, out: &mut Vec<Effect>) {
        if self.position(watch) > above {
            out.push(Effect::Wake { token });
        } else {
            self.watchers.push(Watcher { token, watch, above });
        }
    }

    pub fn unwatch(&mut self, token: Token) {
        self.watchers.retain(|watcher| watcher.token != token);
    }

    fn position(&self, watch: WatchFor) -> i64 {
        match watch {
            WatchFor::LogEnd => self.log_end,
            WatchFor::HighWatermark => self.high_watermark,
            WatchFor::LastStableOffset => self.last_stable_offset(),
        }
    }

    fn wake(&mut self, out: &mut Vec<Effect>) {
        if self.watchers.is_empty() {
            return;
        }
        let (end, high, stable) = (self.log_end, self.high_watermark, self.last_stable_offset());
        self.watchers.retain(|watcher| {
            let position = match watcher.watch {
                WatchFor::LogEnd => end,
                WatchFor::HighWatermark => high,
                WatchFor::LastStableOffset => stable,
            };
            if position > watcher.above {
                out.push(Effect::Wake { token: watcher.token });
            }
            position <= watcher.above
        });
    }

    fn wake_all(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.watchers.drain(..).map(|watcher| Effect::Wake { token: watcher.token }));
    }

    /// The high watermark goes up, never down but by truncation.
    fn raise_high_watermark(&mut self, to: i64, out: &mut Vec<Effect>) -> bool {
        let to = to.min(self.log_end);
        if to <= self.high_watermark {
            return false;
        }
        self.high_watermark = to;
        self.producers.high_watermark(to);
        out.push(Effect::HighWatermark { offset: to });
        true
    }
}
