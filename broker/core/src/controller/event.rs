//! What reaches the controller, and what it asks for in return.

use super::state::{Assignment, Broker, PartitionState, Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::partition::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::Str;
use wire::kafka::{
    AlterPartitionRequest, AlterPartitionResponse, LeaderAndIsrRequest, LeaderAndIsrResponse,
    StopReplicaRequest, StopReplicaResponse, UpdateMetadataRequest,
};

/// A read or write of ZooKeeper, numbered by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionType {
    Preferred,
    Unclean,
}

#[derive(Debug)]
pub enum Event {
    /// All of `/brokers/ids`, with data and czxid.
    Brokers(BTreeMap<i32, Broker>),
    /// All names in `/brokers/topics`, and the nodes of those that are new to the core ([`super::Controller::knows`]).
    Topics {
        names: BTreeSet<Str>,
        added: BTreeMap<Str, Topic>,
    },
    /// A topic's node changed: partitions were added.
    TopicChanged {
        name: Str,
        topic: Topic,
    },
    /// All of `/admin/delete_topics`.
    DeleteTopics(BTreeSet<Str>),
    /// A topic's `unclean.leader.election.enable`.
    UncleanElection {
        topic: Str,
        enabled: bool,
    },
    /// Topics whose `unclean.leader.election.enable` is on, all of them: the default is another.
    UncleanTopics(BTreeSet<Str>),
    /// States that leaders wrote themselves, and told of by `/isr_change_notification`, as those of Kafka before 2.7 do.
    StatesChanged(BTreeMap<TopicPartition, PartitionState>),
    /// Brokers that told of failed log directories.
    LogDirsFailed(Vec<i32>),
    /// `leader.imbalance.check.interval.seconds` have passed.
    BalanceLeaders,

    /// The outcome of an [`Effect::Write`]. The epoch check's failure is not among them: then this core is dropped.
    Written {
        op: OpId,
        result: Result<i32, WriteError>,
    },
    /// The outcome of an [`Effect::ReadState`].
    StateRead {
        op: OpId,
        state: Option<PartitionState>,
    },

    /// A broker's answers.
    LeaderAndIsrAnswered {
        broker: i32,
        response: LeaderAndIsrResponse,
    },
    StopReplicaAnswered {
        broker: i32,
        request: StopReplicaRequest,
        response: StopReplicaResponse,
    },

    /// Requests to the controller.
    AlterPartition {
        token: Token,
        version: i16,
        request: AlterPartitionRequest,
    },
    ControlledShutdown {
        token: Token,
        broker: i32,
        broker_epoch: i64,
    },
    /// `partitions`: `None` for all.
    ElectLeaders {
        token: Token,
        election: ElectionType,
        partitions: Option<Vec<TopicPartition>>,
    },
    /// Each partition's new replicas, the preferred leader first; `None` takes back what is under way.
    AlterReassignments {
        token: Token,
        partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
    },
    /// `/admin/reassign_partitions` is there.
    LegacyReassignment(BTreeMap<TopicPartition, Vec<i32>>),
}

/// Why ZooKeeper refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The node has another version, or is there already.
    Conflict,
    /// Anything else, a lost session apart.
    Failed,
}

/// A change in ZooKeeper, in one transaction with a check of `/controller_epoch`'s version for each node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The state node is new, and its parents may be. The result is version 0.
    CreateState { partition: TopicPartition, state: PartitionState },
    /// Replaces the state of exactly `state.version`. The result is the new version.
    SetState { partition: TopicPartition, state: PartitionState },
    /// All of `/brokers/topics/T`, `/config/topics/T`, and last `/admin/delete_topics/T`.
    DeleteTopic { topic: Str },
    /// `/admin/delete_topics/T` alone: there is no such topic, or deletion is disabled.
    DropDeletion { topic: Str },
    /// These partitions' lists in `/brokers/topics/T`; those of others stay.
    SetAssignments { topic: Str, partitions: BTreeMap<i32, Assignment> },
    /// Takes partitions out of `/admin/reassign_partitions`, and the node away when it is empty.
    DropLegacy { partitions: BTreeSet<TopicPartition> },
}

/// A request for a broker, in the form of the newest version, which has a place for everything.
#[derive(Debug, Clone, PartialEq)]
pub enum ToBroker {
    LeaderAndIsr(LeaderAndIsrRequest),
    /// One for all brokers that hear the same, so that it is encoded once: the shell adds each broker's own epoch.
    UpdateMetadata(Arc<UpdateMetadataRequest>),
    StopReplica(StopReplicaRequest),
}

/// One partition's outcome of an election asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    pub partition: TopicPartition,
    pub error: ErrorCode,
    pub message: Option<Str>,
}

/// One partition's outcome of a reassignment asked for: NONE when it has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassigned {
    pub partition: TopicPartition,
    pub error: ErrorCode,
    pub message: Option<Str>,
}

/// Why replicas of a topic that is to be deleted are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The broker is away.
    Away { broker: i32 },
    /// The broker is about to leave.
    ShuttingDown { broker: i32 },
    /// The replica lies in a failed log directory of the broker.
    DirFailed { broker: i32 },
    /// The broker could not delete it; it is asked again when it is back.
    Refused { broker: i32, error: ErrorCode },
    /// The partition is being reassigned, which comes first.
    Reassigned,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Obstacle::Away { broker } => write!(f, "broker {broker} is away"),
            Obstacle::ShuttingDown { broker } => write!(f, "broker {broker} is shutting down"),
            Obstacle::DirFailed { broker } => write!(f, "a log directory of broker {broker} has failed"),
            Obstacle::Refused { broker, error } => {
                write!(
                    f,
                    "broker {broker} could not delete its replica ({}) and is asked again when it is back",
                    error.name()
                )
            }
            Obstacle::Reassigned => write!(f, "a reassignment is under way"),
        }
    }
}

/// What the shell does, in this order. Reads and writes may be pipelined; their outcomes come back as events.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Write {
        op: OpId,
        write: Write,
    },
    /// The state node of a partition, `None` if there is none.
    ReadState {
        op: OpId,
        partition: TopicPartition,
    },
    /// On the broker's own channel, behind what was sent before, again and again until it is answered or this
    /// registration of the broker is gone.
    Send {
        broker: i32,
        broker_epoch: i64,
        request: ToBroker,
    },
    AlterPartitionReply {
        token: Token,
        response: AlterPartitionResponse,
    },
    /// The partitions that the broker still leads.
    ControlledShutdownReply {
        token: Token,
        result: Result<Vec<TopicPartition>, ErrorCode>,
    },
    ElectLeadersReply {
        token: Token,
        results: Vec<Elected>,
    },
    AlterReassignmentsReply {
        token: Token,
        results: Vec<Reassigned>,
    },
    /// A topic's deletion waits for more than answers, and for what, with the partitions; or, when empty, no longer.
    /// Told once for each change.
    DeletionWaits {
        topic: Str,
        obstacles: Vec<(Obstacle, Vec<i32>)>,
    },
}
