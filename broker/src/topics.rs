//! Topics: their names, and making new ones in ZooKeeper.

use std::collections::BTreeMap;

use broker_core::assignment::{AssignmentError, Candidate, Start, assign};
use wire::Str;
use wire::kafka::{ErrorCode, Uuid};

use crate::broker::Broker;
use crate::metadata::Snapshot;
use crate::quotas::Mutations;
use crate::zk::{Assignment, TopicNode, ZkError};

/// Committed offsets and groups.
pub const GROUP_TOPIC: &str = "__consumer_offsets";
/// Transactions' states.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

const NAME_LENGTH_MAX: usize = 249;

/// Whether clients may not write to it.
pub fn is_internal(topic: &str) -> bool {
    topic == GROUP_TOPIC || topic == TRANSACTION_TOPIC
}

/// Checks a name; the error is Kafka's `Topic name is invalid: …`.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let problem = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.chars().count() > NAME_LENGTH_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}")
        }
        _ if !name.bytes().all(legal) => {
            format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            )
        }
        _ => return Ok(()),
    };
    Err(format!("Topic name is invalid: {problem}"))
}

/// Existing topics whose name differs only in `.` and `_`, which metrics cannot tell apart.
pub fn colliding<'a>(name: &str, topics: impl Iterator<Item = &'a Str>) -> Vec<&'a str> {
    let unified = name.replace('.', "_");
    topics
        .map(|topic| &**topic)
        .filter(|topic| *topic != name && topic.replace('.', "_") == unified)
        .collect()
}

/// Why a topic was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("{0}")]
    Name(String),
    #[error("Topic '{0}' already exists.")]
    Exists(Str),
    #[error("Topic '{0}' is marked for deletion.")]
    BeingDeleted(Str),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
}

impl CreateError {
    /// The code that clients get.
    pub fn code(&self) -> ErrorCode {
        match self {
            CreateError::Name(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            CreateError::Exists(_) | CreateError::BeingDeleted(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
            CreateError::Assignment(AssignmentError::NoPartitions) => ErrorCode::INVALID_PARTITIONS,
            CreateError::Assignment(AssignmentError::RacksIncomplete) => ErrorCode::UNKNOWN_SERVER_ERROR,
            CreateError::Assignment(_) => ErrorCode::INVALID_REPLICATION_FACTOR,
            CreateError::ZooKeeper(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        }
    }
}

/// The live brokers that may get replicas.
pub fn candidates(now: &Snapshot) -> Vec<Candidate> {
    let candidate = |(id, node): (&i32, &crate::metadata::Node)| Candidate {
        id: *id,
        rack: node.rack.as_ref().map(ToString::to_string),
    };
    now.nodes.iter().map(candidate).collect()
}

/// Where a new topic's replicas go.
pub fn place(
    now: &Snapshot,
    partitions: i32,
    replication_factor: i32,
) -> Result<Assignment, AssignmentError> {
    let brokers = candidates(now);
    let count = u32::try_from(brokers.len().max(1)).unwrap_or(1);
    let start =
        Start { index: rand::random::<u32>() % count, shift: rand::random::<u32>() % count, partition: 0 };
    let lists = assign(&brokers, partitions, replication_factor, start)?;
    Ok((0..).zip(lists).collect())
}

/// Writes a new topic to ZooKeeper. The controller then makes its partitions.
pub async fn create(
    broker: &Broker,
    name: &Str,
    partitions: Assignment,
    config: &BTreeMap<String, String>,
) -> Result<Uuid, CreateError> {
    let zk = broker.zk();
    if zk.topic(name).await?.is_some() {
        return Err(CreateError::Exists(name.clone()));
    }
    if zk.topic_is_being_deleted(name).await? {
        return Err(CreateError::BeingDeleted(name.clone()));
    }
    let id = match broker.config.protocol.has_topic_ids() {
        true => crate::zk::random_uuid(),
        false => uuid::Uuid::nil(),
    };
    let node = TopicNode { id, partitions, ..Default::default() };
    match zk.create_topic(name, &node, config).await {
        Err(error) if error.node_exists() => Err(CreateError::Exists(name.clone())),
        Err(error) => Err(error.into()),
        Ok(()) => {
            tracing::info!("Created topic {name} with assignment {:?}", node.partitions);
            Ok(Uuid(*id.as_bytes()))
        }
    }
}

/// Makes a topic that somebody asked for, with this broker's defaults; the error code that the asker gets, who has to
/// come again when the controller has elected leaders.
pub async fn auto_create(broker: &Broker, name: &Str, mutations: &mut Mutations<'_>) -> ErrorCode {
    let claimed = lock(broker).insert(name.clone());
    if !claimed {
        return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    }
    let created = create_with_defaults(broker, name, mutations).await;
    lock(broker).remove(name);
    match created {
        Ok(_) | Err(CreateError::Exists(_)) => ErrorCode::LEADER_NOT_AVAILABLE,
        Err(error) => {
            tracing::warn!("Topic {name} could not be created: {error}");
            error.code()
        }
    }
}

fn lock(broker: &Broker) -> std::sync::MutexGuard<'_, std::collections::HashSet<Str>> {
    broker.creating.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn create_with_defaults(
    broker: &Broker,
    name: &Str,
    mutations: &mut Mutations<'_>,
) -> Result<Uuid, CreateError> {
    let config = &broker.config;
    let number = |key: &str| i32::try_from(config.int(key)).unwrap_or(i32::MAX);
    let mut overrides = BTreeMap::new();
    let (partitions, replication_factor) = match &**name {
        GROUP_TOPIC => {
            overrides.insert("cleanup.policy".to_owned(), "compact".to_owned());
            overrides.insert("compression.type".to_owned(), "producer".to_owned());
            overrides
                .insert("segment.bytes".to_owned(), config.int("offsets.topic.segment.bytes").to_string());
            (number("offsets.topic.num.partitions"), number("offsets.topic.replication.factor"))
        }
        TRANSACTION_TOPIC => {
            overrides.insert("unclean.leader.election.enable".to_owned(), "false".to_owned());
            overrides.insert("compression.type".to_owned(), "uncompressed".to_owned());
            overrides.insert("cleanup.policy".to_owned(), "compact".to_owned());
            let min_isr = config.int("transaction.state.log.min.isr").to_string();
            overrides.insert("min.insync.replicas".to_owned(), min_isr);
            let segment_bytes = config.int("transaction.state.log.segment.bytes").to_string();
            overrides.insert("segment.bytes".to_owned(), segment_bytes);
            let partitions = number("transaction.state.log.num.partitions");
            (partitions, number("transaction.state.log.replication.factor"))
        }
        _ => (number("num.partitions"), number("default.replication.factor")),
    };
    let now = broker.metadata.snapshot();
    if name.contains(['.', '_']) {
        // As ZooKeeper has them: one that was made a moment ago is not in the metadata yet.
        let all: Vec<Str> = broker.zk().topics().await?.into_iter().map(Str::from).collect();
        if let Some(existing) = colliding(name, all.iter()).first() {
            return Err(CreateError::Name(format!(
                "Topic '{name}' collides with existing topics: {existing}"
            )));
        }
    }
    let assignment = place(&now, partitions, replication_factor)?;
    // Counted against who asked, but never refused.
    mutations.allow(assignment.len());
    create(broker, name, assignment, &overrides).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_in_kafkas_words() {
        assert!(check_name("a.b_c-9").is_ok());
        assert!(check_name(&"a".repeat(249)).is_ok());
        assert_eq!(check_name(".").unwrap_err(), "Topic name is invalid: '.' is not allowed");
        assert!(
            check_name(&"a".repeat(250)).unwrap_err().ends_with("is longer than the max allowed length 249")
        );
        assert!(check_name("a b").unwrap_err().contains("contains one or more characters other than"));
        assert!(check_name("").unwrap_err().contains("empty string"));
    }

    #[test]
    fn names_that_metrics_confuse_collide() {
        let topics = [Str::from_static("a_b"), Str::from_static("a.c")];
        assert_eq!(colliding("a.b", topics.iter()), ["a_b"]);
        assert!(colliding("a_b", topics.iter()).is_empty());
    }
}
