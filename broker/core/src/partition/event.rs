//! What goes into a partition, and what it asks for in return.

use super::epochs::EpochEnd;
use crate::error::ErrorCode;
use crate::producer::{CompletedTxn, ProducerSnapshot};
use wire::kafka::leader_and_isr::LeaderAndIsrPartitionState;

/// Whoever waits for an answer, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What the header of a record batch says; the data bytes stay in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMeta {
    /// Meaningless in a batch to be appended by a leader, which assigns it.
    pub base_offset: i64,
    pub last_offset_delta: i32,
    /// Likewise.
    pub leader_epoch: i32,
    /// -1: no idempotence, and epoch and sequence are -1 as well.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub max_timestamp: i64,
    /// All of the batch, in bytes, with the 12 before its length field's end.
    pub size: u32,
    pub transactional: bool,
    /// A control batch's content.
    pub marker: Option<Marker>,
}

impl BatchMeta {
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }
}

/// The end of a transaction, as its control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub coordinator_epoch: i32,
    pub commit: bool,
}

/// Settings that a partition's decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_ms_max: i64,
    /// `max.message.bytes`, of one batch.
    pub message_bytes_max: u32,
    /// `segment.bytes`.
    pub segment_bytes: u32,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        PartitionConfig {
            min_insync_replicas: 1,
            replica_lag_ms_max: 30_000,
            message_bytes_max: 1_048_588,
            segment_bytes: 1 << 30,
        }
    }
}

/// The log as it was found on disk.
#[derive(Debug, Clone, Default)]
pub struct LogState {
    pub log_start: i64,
    /// The offset of the next record.
    pub log_end: i64,
    /// From the checkpoint; clamped to the log.
    pub high_watermark: i64,
    pub epochs: super::LeaderEpochs,
    pub producers: Vec<ProducerSnapshot>,
}

/// One partition's share of a LeaderAndIsr request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderAndIsr {
    pub controller_epoch: i32,
    /// -1: none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    /// The version of the partition's state znode.
    pub partition_epoch: i32,
    pub replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub removing_replicas: Vec<i32>,
}

impl From<&LeaderAndIsrPartitionState> for LeaderAndIsr {
    fn from(state: &LeaderAndIsrPartitionState) -> LeaderAndIsr {
        LeaderAndIsr {
            controller_epoch: state.controller_epoch,
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            isr: state.isr.clone(),
            partition_epoch: state.partition_epoch,
            replicas: state.replicas.clone(),
            adding_replicas: state.adding_replicas.clone(),
            removing_replicas: state.removing_replicas.clone(),
        }
    }
}

/// What a LeaderAndIsr made of this replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleChange {
    /// `newly`: it was not the leader before.
    Leader { newly: bool },
    /// Fetch from this leader from now on, by [`super::Partition::next_fetch`]; -1: there is none.
    Follower { leader: i32 },
    /// The state was older than what is known; nothing changed, and that is no error.
    Unchanged,
}

/// Who made a batch that a leader is to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// A group or transaction coordinator: sequence numbers are not checked.
    Coordinator,
}

/// A batch for a leader. Checks of its content (checksum, counts, codec, timestamps) have been made.
#[derive(Debug, Clone, Copy)]
pub struct Produce {
    pub token: Token,
    /// -1, 0 or 1.
    pub acks: i16,
    pub timeout_ms: i64,
    pub batch: BatchMeta,
    pub origin: Origin,
    /// The append time for LogAppendTime topics, else -1; given back in the answer.
    pub log_append_time_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceResult {
    pub error: ErrorCode,
    pub base_offset: i64,
    /// Exclusive end of what was appended; -1 if nothing was.
    pub next_offset: i64,
    pub log_append_time_ms: i64,
    pub log_start: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetcher {
    Follower {
        id: i32,
        /// In the metadata cache of this broker: only such replicas may enter the ISR.
        alive: bool,
        /// The follower's own log start.
        log_start: i64,
    },
    Consumer {
        isolation: Isolation,
        /// Followers may not answer it (Fetch before v11).
        leader_only: bool,
    },
}

/// One partition of a fetch request.
#[derive(Debug, Clone, Copy)]
pub struct Fetch {
    pub fetcher: Fetcher,
    pub offset: i64,
    /// -1: not checked.
    pub current_leader_epoch: i32,
    /// -1: no divergence check.
    pub last_fetched_epoch: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start: i64,
    pub log_end: i64,
    pub outcome: FetchOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOutcome {
    /// Read from the asked offset, only batches that end below `up_to`; nothing if it is not above the offset.
    Read { up_to: i64 },
    /// The fetcher's log left ours: it is to truncate.
    Diverging(EpochEnd),
}

/// What a parked fetch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFor {
    LogEnd,
    HighWatermark,
    LastStableOffset,
}

/// Bounds for ListOffsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetBounds {
    pub log_start: i64,
    /// What `latest` answers, and below which a timestamp's offset must be.
    pub latest: i64,
    pub leader_epoch: i32,
    /// A fresh leader whose high watermark is still below its epoch's start: `latest`, and a timestamp without an
    /// answer below the bound, are to be refused with OFFSET_NOT_AVAILABLE.
    pub not_available: bool,
}

/// What a follower asks its leader next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextFetch {
    pub leader: i32,
    pub leader_epoch: i32,
    pub offset: i64,
    pub last_fetched_epoch: i32,
    pub log_start: i64,
}

/// A leader's answer to a follower. Errors are the fetcher's, but for OFFSET_OUT_OF_RANGE, which it follows up with
/// two ListOffsets and [`super::Partition::leader_bounds`].
#[derive(Debug, Clone, Copy)]
pub struct FromLeader<'a> {
    /// As they were when the fetch left: [`NextFetch`].
    pub leader_epoch: i32,
    pub offset: i64,
    pub high_watermark: i64,
    pub log_start: i64,
    pub body: LeaderBody<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum LeaderBody<'a> {
    Batches(&'a [BatchMeta]),
    Diverging(EpochEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerOutcome {
    Applied,
    /// The role or the log's end changed while the fetch was under way; nothing was done.
    Stale,
    /// Offsets that cannot follow this log; nothing was done. The fetcher logs it and stops for this partition.
    Rejected {
        expected: i64,
        got: i64,
    },
}

/// An ISR that the leader wants the controller to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterPartition {
    /// Give it back with the result.
    pub request: u64,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub isr: Vec<i32>,
}

/// The controller's good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    pub isr: Vec<i32>,
}

/// What the shell does, in the order in which they stand, before it gives the partition anything else. Should one
/// about the log fail, what stands behind it is dropped and [`super::Partition::log_failed`] called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append the batch just given to `produce`, with these in its header.
    Append { base_offset: i64, leader_epoch: i32 },
    /// Append `batches[from..]` of the answer just given to `fetched`, as they are.
    AppendFetched { from: usize },
    /// The log ends here (exclusive) from now on. `producers_lost`: [`super::Partition::rebuild_producers`] must
    /// follow, with the batch headers of the log from the last producer snapshot on.
    Truncate { to: i64, producers_lost: bool },
    /// All of the log goes; the next record has this offset.
    TruncateFully { start_at: i64 },
    /// Records below this are deleted (their segments when the shell sees fit).
    AdvanceLogStart { to: i64 },
    /// Write `leader-epoch-checkpoint` from [`super::Partition::epochs`].
    SaveEpochs,
    /// A transaction ended on this partition; the aborted ones belong into the transaction index.
    TxnCompleted(CompletedTxn),

    /// Answers a produce, with acks=0 too (the shell then only looks at the error).
    Reply { token: Token, result: ProduceResult },
    /// Answers `delete_records`: the low watermark.
    RecordsDeleted { token: Token, result: Result<i64, ErrorCode> },
    /// To the controller; answered by [`super::Partition::altered`], after whatever retries.
    AlterPartition(AlterPartition),

    /// The high watermark moved to here: coordinators listen.
    HighWatermark { offset: i64 },
    /// A parked fetch has something to look at.
    Wake { token: Token },
}
