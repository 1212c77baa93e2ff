//! What the loop takes in.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::partition::{Altered, EpochEnd, Fetch, NextFetch, OffsetBounds, ProduceResult};
use tokio::sync::oneshot;
use wire::Str;
use wire::batch::produce::Accepted;
use wire::kafka::{
    ErrorCode, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse, Uuid,
};

use crate::log::FetchSlice;
use crate::metadata::Snapshot;

/// One batch for one partition.
pub struct ProducePart {
    pub topic: Str,
    pub partition: i32,
    pub accepted: Accepted,
    /// The topic wants the broker's time on its records.
    pub log_append_time: bool,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct FetchPart {
    pub topic: Str,
    pub id: Uuid,
    pub partition: i32,
    pub fetch: Fetch,
    pub max_bytes: i32,
}

/// A consumer that says where it is, on a broker that sends it to a replica near there.
#[derive(Clone, Debug)]
pub struct Near {
    pub rack: Str,
    /// The listener that the replica has to have.
    pub listener: Arc<str>,
    pub cluster: Arc<Snapshot>,
}

impl Near {
    /// Whether a live broker with that listener is in the rack.
    pub fn is_in_rack(&self, broker: i32) -> bool {
        self.cluster.nodes.get(&broker).is_some_and(|node| {
            node.rack.as_ref() == Some(&self.rack) && node.endpoints.contains_key(&*self.listener)
        })
    }
}

/// A fetch that may wait.
pub struct FetchAsk {
    pub parts: Vec<FetchPart>,
    pub max_wait_ms: i64,
    pub min_bytes: i64,
    pub max_bytes: i64,
    /// Of the request: from 3 on the first batch comes whole even above the limits.
    pub version: i16,
    pub read_committed: bool,
    pub near: Option<Near>,
    /// Errors that are known without the loop make the fetch answer at once.
    pub at_once: bool,
}

/// What became of one partition of a fetch.
#[derive(Debug)]
pub struct FetchedPart {
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start: i64,
    pub diverging: Option<EpochEnd>,
    /// Nothing is read here: this replica is nearer.
    pub preferred: Option<i32>,
    pub slice: Option<FetchSlice>,
    /// (producer id, first offset), for read_committed.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// For a replica that is being added.
    pub reassigns: bool,
}

impl FetchedPart {
    /// An error, with nothing known of the log.
    pub fn failed(error: ErrorCode) -> FetchedPart {
        FetchedPart {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            diverging: None,
            preferred: None,
            slice: None,
            aborted: None,
            reassigns: false,
        }
    }

    /// Bytes of records.
    pub fn bytes(&self) -> i64 {
        self.slice.as_ref().map_or(0, |slice| i64::from(slice.len))
    }
}

/// One partition of a ListOffsets.
#[derive(Clone, Debug)]
pub struct OffsetAsk {
    pub topic: Str,
    pub partition: i32,
    pub current_leader_epoch: i32,
    /// `None` for a replica.
    pub isolation: Option<broker_core::partition::Isolation>,
    pub leader_only: bool,
    /// A time, or -1 latest, -2 and -4 earliest, -3 that of the largest timestamp.
    pub timestamp: i64,
}

/// One partition of a ListOffsets of version 0.
#[derive(Clone, Debug)]
pub struct OldOffsetsAsk {
    pub topic: Str,
    pub partition: i32,
    /// Whoever is none sees all of the log.
    pub is_consumer: bool,
    pub leader_only: bool,
    /// As [`OffsetAsk::timestamp`], but for -3, which means nothing yet.
    pub timestamp: i64,
    /// How many offsets at most.
    pub count_max: i32,
}

/// Its answer: timestamp, offset and leader epoch, -1 where there is none.
#[derive(Clone, Copy, Debug)]
pub struct OffsetFound {
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// One partition that a follower here fetches.
#[derive(Clone, Debug)]
pub struct FollowerPart {
    pub topic: Str,
    pub id: Uuid,
    pub partition: i32,
    pub next: NextFetch,
}

/// What changed of that which a leader is asked for.
#[derive(Debug, Default)]
pub struct FollowerNews {
    /// The number of the newest change.
    pub newest: u64,
    pub changed: Vec<FollowerPart>,
    /// What is not to be asked of that leader any more.
    pub gone: Vec<(Str, i32)>,
}

/// A leader's answer for one partition.
#[derive(Debug)]
pub struct LeaderPart {
    pub topic: Str,
    /// Of the topic that was asked for: another may have its name by now.
    pub id: Uuid,
    pub partition: i32,
    /// Leader epoch and offset of the ask.
    pub leader_epoch: i32,
    pub offset: i64,
    pub high_watermark: i64,
    pub log_start: i64,
    pub body: LeaderRecords,
}

/// What a leader had for us.
#[derive(Debug)]
pub enum LeaderRecords {
    Records(bytes::Bytes),
    Diverging(EpochEnd),
    /// After OFFSET_OUT_OF_RANGE: the leader's earliest and latest offset.
    Bounds {
        earliest: i64,
        latest: i64,
    },
}

/// One replica's place on disk, for DescribeLogDirs.
#[derive(Clone, Debug)]
pub struct LogDescription {
    pub topic: Str,
    pub partition: i32,
    pub size: u64,
    /// -1: unknown.
    pub offset_lag: i64,
    /// The copy of a move that is not finished.
    pub future: bool,
}

/// Everything the loop takes in.
pub enum Event {
    Produce {
        parts: Vec<ProducePart>,
        acks: i16,
        timeout_ms: i64,
        origin: broker_core::partition::Origin,
        reply: oneshot::Sender<Vec<ProduceResult>>,
    },
    /// The producers that partitions know.
    DescribeProducers {
        parts: Vec<(Str, i32)>,
        reply: oneshot::Sender<Vec<Result<Vec<broker_core::producer::ActiveProducer>, ErrorCode>>>,
    },
    /// Could a produce be taken? In the order of the partitions.
    CheckProduce {
        parts: Vec<(Str, i32)>,
        acks: i16,
        /// And where the logs start, -1 without a log.
        reply: oneshot::Sender<Vec<(Result<(), ErrorCode>, i64)>>,
    },
    Fetch {
        ask: FetchAsk,
        reply: oneshot::Sender<Vec<FetchedPart>>,
    },
    ListOffsets {
        asks: Vec<OffsetAsk>,
        reply: oneshot::Sender<Vec<Result<OffsetFound, ErrorCode>>>,
    },
    /// In the form of version 0.
    OldOffsets {
        asks: Vec<OldOffsetsAsk>,
        reply: oneshot::Sender<Vec<Result<Vec<i64>, ErrorCode>>>,
    },
    /// (topic, partition, current leader epoch, asked epoch)
    EpochEnds {
        asks: Vec<(Str, i32, i32, i32)>,
        reply: oneshot::Sender<Vec<Result<EpochEnd, ErrorCode>>>,
    },
    DeleteRecords {
        asks: Vec<(Str, i32, i64)>,
        timeout_ms: i64,
        reply: oneshot::Sender<Vec<Result<i64, ErrorCode>>>,
    },
    LeaderAndIsr {
        request: LeaderAndIsrRequest,
        reply: oneshot::Sender<LeaderAndIsrResponse>,
    },
    /// The broker is shutting down: no new leader is followed.
    Retire,
    StopReplica {
        request: StopReplicaRequest,
        reply: oneshot::Sender<StopReplicaResponse>,
    },
    /// A fetcher that knows all changes up to `known`: what else is to be asked of this leader?
    FollowerParts {
        leader: i32,
        known: u64,
        reply: oneshot::Sender<FollowerNews>,
    },
    /// A leader's answer; the reply is what to ask it next.
    FromLeader {
        leader: i32,
        known: u64,
        parts: Vec<LeaderPart>,
        reply: oneshot::Sender<FollowerNews>,
    },
    Altered {
        topic: Str,
        id: Uuid,
        partition: i32,
        request: u64,
        result: Result<Altered, ErrorCode>,
    },
    /// A [`super::Notice::Flush`] is done; `None`: it failed.
    Flushed {
        topic: Str,
        partition: i32,
        /// The log's, when the flush began.
        dir: std::path::PathBuf,
        end_offset: Option<i64>,
    },
    /// Settings of a topic, or of all, may have changed.
    ConfigChanged {
        topic: Option<Str>,
    },
    /// These brokers are alive.
    Alive {
        brokers: Vec<i32>,
    },
    /// A request to the group coordinator.
    Group {
        request: broker_core::group::Request,
        reply: oneshot::Sender<broker_core::group::Response>,
    },
    /// A request to the transaction coordinator.
    TransactionRequest {
        request: broker_core::transaction::Request,
        reply: oneshot::Sender<broker_core::transaction::Response>,
    },
    /// What was done for the transaction coordinator: producer ids, markers.
    Transaction(broker_core::transaction::Event),
    /// Bytes of a partition of a coordinator's topic from an offset (its start: `None`), and the end of its log.
    CoordinatorRead {
        topic: &'static str,
        partition: i32,
        offset: Option<i64>,
        reply: oneshot::Sender<Option<(FetchSlice, i64)>>,
    },
    /// What was read back.
    CoordinatorLoaded {
        topic: &'static str,
        partition: i32,
        epoch: i32,
        entries: Vec<wire::batch::message_set::Entry>,
        done: bool,
    },
    /// Topics are gone, and so are the offsets in them.
    GroupTopicsDeleted {
        partitions: Vec<(Str, i32)>,
    },
    /// By log directory; `None` for one that is offline.
    DescribeLogs {
        reply: oneshot::Sender<BTreeMap<std::path::PathBuf, Option<Vec<LogDescription>>>>,
    },
    /// What there is to be measured; `partitions`: of each of them, too.
    Measure {
        partitions: bool,
        reply: oneshot::Sender<super::ShardFigures>,
    },
    /// About replicas on their way from one log directory to another.
    Move(super::MoveEvent),
    /// From a thread that compacts.
    Cleaner(super::CleanerEvent),
    /// Close the logs and end.
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// ListOffsets' special times.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;
pub const MAX_TIMESTAMP: i64 = -3;
pub const EARLIEST_LOCAL: i64 = -4;

/// What the bounds alone answer; `None`: the log has to be asked.
pub fn from_bounds(timestamp: i64, bounds: &OffsetBounds) -> Option<Result<i64, ErrorCode>> {
    match timestamp {
        LATEST if bounds.not_available => Some(Err(ErrorCode::OFFSET_NOT_AVAILABLE)),
        LATEST => Some(Ok(bounds.latest)),
        EARLIEST | EARLIEST_LOCAL => Some(Ok(bounds.log_start)),
        _ => None,
    }
}
