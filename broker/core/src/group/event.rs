//! What reaches the group coordinator, and what it asks for in return.

use crate::MetadataVersion;
use bytes::Bytes;
use wire::Str;
use wire::batch::message_set::Entry;
use wire::kafka::*;

pub use crate::partition::Token;

/// The broker's settings for groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Partitions of `__consumer_offsets`, as the topic has them (else `offsets.topic.num.partitions`).
    pub partitions: i32,
    /// `group.min.session.timeout.ms`
    pub session_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.max.size`
    pub size_max: usize,
    /// `offset.metadata.max.bytes`, in Java characters.
    pub metadata_max: usize,
    /// `offsets.retention.minutes`, in ms.
    pub offsets_retention_ms: i64,
    /// `inter.broker.protocol.version`: how records are written.
    pub protocol: MetadataVersion,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            partitions: 50,
            session_ms_min: 6_000,
            session_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            size_max: i32::MAX as usize,
            metadata_max: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            protocol: MetadataVersion::LATEST,
        }
    }
}

/// Who sends a JoinGroup, and what its version brings along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinContext {
    pub client_id: Str,
    /// As Java prints an address: `/127.0.0.1`.
    pub client_host: Str,
    /// A random UUID in its text form, for a member id that may be generated.
    pub uuid: Str,
    /// Version 4 and above: a new dynamic member is only given its id first.
    pub known_member_id_required: bool,
    /// Version 9 and above: a static leader that comes back is told to skip the assignment.
    pub can_skip_assignment: bool,
}

/// A client's request, its topics and partitions authorized and known to exist, all versions' fields in one shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Join(JoinGroupRequest, JoinContext),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    /// Versions 0-2 name their one member in `member_id` (`single`), and get its error at the top.
    Leave {
        request: LeaveGroupRequest,
        single: bool,
    },
    OffsetCommit(OffsetCommitRequest),
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// With `groups` (version 8 and above) or without. Versions 0 and 1 have errors by partition only.
    OffsetFetch {
        request: OffsetFetchRequest,
        errors_by_partition: bool,
    },
    Describe(DescribeGroupsRequest),
    List(ListGroupsRequest),
    Delete(DeleteGroupsRequest),
    OffsetDelete(OffsetDeleteRequest),
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    TxnOffsetCommit(TxnOffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    Describe(DescribeGroupsResponse),
    List(ListGroupsResponse),
    Delete(DeleteGroupsResponse),
    OffsetDelete(OffsetDeleteResponse),
}

/// An [`Effect::Append`] that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Request {
        token: Token,
        request: Request,
    },
    /// An append is replicated as `offsets.commit.required.acks` asks for; `Ok` has its base offset.
    Appended {
        append: AppendId,
        result: Result<i64, ErrorCode>,
    },
    /// This broker leads a partition of `__consumer_offsets`.
    Elected {
        partition: i32,
        epoch: i32,
    },
    /// A batch of the log, or a message of an older format, in order; answers [`Effect::Load`].
    Loaded {
        partition: i32,
        epoch: i32,
        entry: Entry,
    },
    /// There are no more batches.
    LoadDone {
        partition: i32,
        epoch: i32,
    },
    /// This broker no longer leads it, or no longer holds it.
    Resigned {
        partition: i32,
    },
    /// A transaction's marker was written to these partitions.
    TxnCompleted {
        producer_id: i64,
        partitions: Vec<i32>,
        commit: bool,
    },
    /// These partitions' topics were deleted.
    Deleted {
        partitions: Vec<(Str, i32)>,
    },
    /// `offsets.retention.check.interval.ms` has passed.
    ExpireOffsets,
    /// The time of [`super::Coordinator::deadline`] has come.
    Tick,
    /// The broker shuts down: from here on every request is refused.
    Stop,
}

/// A record for `__consumer_offsets`, created at the time of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    /// `None` deletes the key.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Reply {
        token: Token,
        response: Response,
    },
    /// One batch for a partition of `__consumer_offsets`. With `append`: `offsets.commit.required.acks` and
    /// `offsets.commit.timeout.ms`, answered by [`Event::Appended`]; without: acks 0, and nobody waits.
    Append {
        partition: i32,
        append: Option<AppendId>,
        records: Vec<Record>,
        /// Id and epoch of the transactional producer in whose name the batch is written.
        producer: Option<(i64, i16)>,
    },
    /// Read the partition from its log start to its end, and send it as [`Event::Loaded`], then [`Event::LoadDone`].
    Load {
        partition: i32,
        epoch: i32,
    },
    /// Something in the log that cannot be read, for the broker's own log.
    Warn(String),
    /// What became of a group, for the broker's own log.
    Tell(String),
}
