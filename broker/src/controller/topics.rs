//! Topics as administrators want them: made, grown and deleted in ZooKeeper, where the controller takes over.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::MetadataVersion;
use broker_core::assignment::{AssignmentError, Candidate, assign, start_for_added};
use wire::Str;
use wire::kafka::create_partitions::CreatePartitionsTopic;
use wire::kafka::create_topics::CreatableTopic;
use wire::kafka::{ErrorCode, Uuid};

use crate::broker::Broker;
use crate::config::{check_local_retention, effective};
use crate::quotas::Mutations;
use crate::topics::{CreateError, candidates, check_name, colliding, create, place};
use crate::zk::{Assignment, ZkError};

/// Why one topic's change was refused, in Kafka's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

impl From<ZkError> for Refusal {
    fn from(error: ZkError) -> Refusal {
        tracing::error!("{error}");
        Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::UNKNOWN_SERVER_ERROR.message())
    }
}

impl From<AssignmentError> for Refusal {
    fn from(error: AssignmentError) -> Refusal {
        let message = error.to_string();
        Refusal::new(CreateError::Assignment(error).code(), message)
    }
}

/// A topic that was made, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Zero when it was only checked.
    pub id: Uuid,
    pub partitions: i32,
    pub replication_factor: i16,
    pub overrides: BTreeMap<String, String>,
}

/// Makes a topic, or only checks whether it could be made; `check` says what is wrong with its settings.
pub async fn create_topic(
    broker: &Broker,
    topic: &CreatableTopic,
    check: fn(&BTreeMap<String, String>, MetadataVersion) -> Result<(), String>,
    mutations: &mut Mutations<'_>,
    validate_only: bool,
) -> Result<Created, Refusal> {
    check_is_new(broker, topic)?;
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|config| config.value.is_none()).map(|config| &*config.name).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
    }
    let values = topic.configs.iter();
    let overrides: BTreeMap<String, String> = values
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    let assignment = assignment_for(broker, topic)?;
    check_new(broker, topic, &assignment).await?;
    let of_topic = |key: &str| effective(key, &broker.config, &broker.dynamic.load(), Some(&overrides)).0;
    check(&overrides, broker.config.protocol)
        .and_then(|()| check_local_retention(of_topic))
        .map_err(|problem| Refusal::new(ErrorCode::INVALID_CONFIG, problem))?;
    let id = if validate_only {
        Uuid::ZERO
    } else {
        allow(mutations, assignment.len())?;
        let made = create(broker, &topic.name, assignment.clone(), &overrides).await;
        made.map_err(|error| match error {
            CreateError::ZooKeeper(error) => Refusal::from(error),
            error => Refusal::new(error.code(), error.to_string()),
        })?
    };
    Ok(Created {
        id,
        partitions: assignment.len() as i32,
        replication_factor: assignment.values().next().map_or(0, |replicas| replicas.len() as i16),
        overrides,
    })
}

/// Whether the client's quota lets it make so many partitions.
fn allow(mutations: &mut Mutations<'_>, partitions: usize) -> Result<(), Refusal> {
    let code = ErrorCode::THROTTLING_QUOTA_EXCEEDED;
    if mutations.allow(partitions) { Ok(()) } else { Err(Refusal::new(code, code.message())) }
}

fn check_is_new(broker: &Broker, topic: &CreatableTopic) -> Result<(), Refusal> {
    if broker.metadata.snapshot().topics.contains_key(&topic.name) {
        let exists = CreateError::Exists(topic.name.clone());
        return Err(Refusal::new(exists.code(), exists.to_string()));
    }
    Ok(())
}

fn assignment_for(broker: &Broker, topic: &CreatableTopic) -> Result<Assignment, Refusal> {
    let now = broker.metadata.snapshot();
    if topic.assignments.is_empty() {
        let default = |key: &str| i32::try_from(broker.config.int(key)).unwrap_or(i32::MAX);
        let partitions = match topic.num_partitions {
            -1 => default("num.partitions"),
            partitions => partitions,
        };
        let replication_factor = match topic.replication_factor {
            -1 => default("default.replication.factor"),
            replication_factor => i32::from(replication_factor),
        };
        return Ok(place(&now, partitions, replication_factor)?);
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::INVALID_REQUEST,
            "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the \
             same time.",
        ));
    }
    Ok(topic.assignments.iter().map(|a| (a.partition_index, a.broker_ids.clone())).collect())
}

async fn check_new(broker: &Broker, topic: &CreatableTopic, assignment: &Assignment) -> Result<(), Refusal> {
    let name = &topic.name;
    check_name(name).map_err(|message| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))?;
    let zk = broker.zk();
    let exists = if zk.topic_is_being_deleted(name).await? {
        Some(CreateError::BeingDeleted(name.clone()))
    } else if zk.topic(name).await?.is_some() {
        Some(CreateError::Exists(name.clone()))
    } else {
        None
    };
    if let Some(exists) = exists {
        return Err(Refusal::new(exists.code(), exists.to_string()));
    }
    if name.contains(['.', '_']) {
        let all: Vec<Str> = zk.topics().await?.into_iter().map(Str::from).collect();
        let colliding = colliding(name, all.iter());
        if !colliding.is_empty() {
            let message = format!("Topic '{name}' collides with existing topics: {}", colliding.join(", "));
            return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
        }
    }
    check_assignment(assignment)
}

/// An assignment that a client gave. As in Java, of a partition that stands there twice the last replicas count.
fn check_assignment(assignment: &Assignment) -> Result<(), Refusal> {
    let refused = |message: &str| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    let factors: BTreeSet<usize> = assignment.values().map(Vec::len).collect();
    if factors.len() != 1 {
        return refused("All partitions should have the same number of replicas");
    }
    for (partition, replicas) in assignment {
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            let list = join(replicas);
            return refused(&format!(
                "Duplicate replica assignment found: Map({partition} -> ArrayBuffer({list}))"
            ));
        }
    }
    if !assignment.keys().copied().eq(0..assignment.len() as i32) {
        return refused("partitions should be a consecutive 0-based integer sequence");
    }
    Ok(())
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Has a topic deleted; the controller does so when all its replicas' brokers are there.
pub async fn delete_topic(broker: &Broker, name: &Str) -> Result<(), Refusal> {
    let zk = broker.zk();
    if zk.topic(name).await?.is_none() {
        let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        return Err(Refusal::new(code, code.message()));
    }
    Ok(zk.request_topic_deletion(name).await?)
}

/// Adds partitions to a topic, up to `topic.count`, or only checks whether they could be added.
pub async fn create_partitions(
    broker: &Broker,
    topic: &CreatePartitionsTopic,
    mutations: &mut Mutations<'_>,
    validate_only: bool,
) -> Result<(), Refusal> {
    // Asked for once, however often it is tried.
    let mut mutations = Some(mutations);
    loop {
        match try_create_partitions(broker, topic, &mut mutations, validate_only).await {
            // The controller wrote it meanwhile: a reassignment ended, or began.
            Err(GrowError::ZooKeeper(error)) if error.bad_version() => {}
            Err(GrowError::ZooKeeper(error)) => return Err(error.into()),
            Err(GrowError::Refused(refusal)) => return Err(refusal),
            Ok(()) => return Ok(()),
        }
    }
}

enum GrowError {
    Refused(Refusal),
    ZooKeeper(ZkError),
}

impl From<ZkError> for GrowError {
    fn from(error: ZkError) -> GrowError {
        GrowError::ZooKeeper(error)
    }
}

impl From<Refusal> for GrowError {
    fn from(refusal: Refusal) -> GrowError {
        GrowError::Refused(refusal)
    }
}

async fn try_create_partitions(
    broker: &Broker,
    topic: &CreatePartitionsTopic,
    mutations: &mut Option<&mut Mutations<'_>>,
    validate_only: bool,
) -> Result<(), GrowError> {
    let zk = broker.zk();
    let found = zk.versioned_topic(&topic.name).await?.filter(|(node, _)| !node.partitions.is_empty());
    let Some((mut node, version)) = found else {
        let message = format!("The topic '{}' does not exist.", topic.name);
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message).into());
    };
    if node.adding.values().chain(node.removing.values()).any(|replicas| !replicas.is_empty()) {
        let message = format!("A partition reassignment is in progress for the topic '{}'.", topic.name);
        return Err(Refusal::new(ErrorCode::REASSIGNMENT_IN_PROGRESS, message).into());
    }
    let brokers = candidates(&broker.metadata.snapshot());
    let added = added_partitions(&brokers, &node.partitions, topic)?;
    if !validate_only {
        if let Some(mutations) = mutations.take() {
            allow(mutations, added.len())?;
        }
        tracing::info!("Creating {} partitions for '{}': {added:?}", added.len(), topic.name);
        node.partitions.extend(added);
        zk.set_topic(&topic.name, &node, version).await?;
    }
    Ok(())
}

fn added_partitions(
    brokers: &[Candidate],
    existing: &Assignment,
    topic: &CreatePartitionsTopic,
) -> Result<Assignment, Refusal> {
    let old = existing.len() as i32;
    let increment = topic.count - old;
    if increment <= 0 {
        let message = if increment == 0 {
            format!("Topic already has {old} partitions.")
        } else {
            format!(
                "Topic currently has {old} partitions, which is higher than the requested {}.",
                topic.count
            )
        };
        return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
    }
    let Some(first) = existing.get(&0) else {
        return Err(Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, "partition id 0 is missing"));
    };
    let lists = match &topic.assignments {
        Some(given) => {
            let lists: Vec<Vec<i32>> = given.iter().map(|list| list.broker_ids.clone()).collect();
            check_added(brokers, &lists, old, increment, first.len())?;
            lists
        }
        None => {
            let preferred = first.first().copied().unwrap_or_default();
            assign(brokers, increment, first.len() as i32, start_for_added(brokers, old as u32, preferred))?
        }
    };
    Ok((old..).zip(lists).collect())
}

fn check_added(
    brokers: &[Candidate],
    lists: &[Vec<i32>],
    existing: i32,
    increment: i32,
    replication_factor: usize,
) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    let known: BTreeSet<i32> = brokers.iter().map(|broker| broker.id).collect();
    let mut unknown: Vec<i32> = Vec::new();
    for id in lists.iter().flatten().filter(|id| !known.contains(id)) {
        if !unknown.contains(id) {
            unknown.push(*id);
        }
    }
    if !unknown.is_empty() {
        return refused(format!("Unknown broker(s) in replica assignment: {}.", join(&unknown)));
    }
    if lists.len() != increment as usize {
        return refused(format!(
            "Increasing the number of partitions by {increment} but {} assignments provided.",
            lists.len()
        ));
    }
    for (partition, replicas) in (existing..).zip(lists) {
        if replicas.is_empty() {
            return refused(format!("Cannot have replication factor of 0 for partition id {partition}."));
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return refused(format!(
                "Duplicate brokers not allowed in replica assignment: {} for partition id {partition}.",
                join(replicas)
            ));
        }
    }
    let odd = (existing..).zip(lists).filter(|(_, replicas)| replicas.len() != replication_factor);
    let (partitions, factors): (Vec<i32>, Vec<i32>) =
        odd.map(|(partition, replicas)| (partition, replicas.len() as i32)).unzip();
    if !partitions.is_empty() {
        return refused(format!(
            "Inconsistent replication factor between partitions, partition 0 has {replication_factor} while partitions \
             [{}] have replication factors [{}], respectively.",
            join(&partitions),
            join(&factors)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::create_partitions::CreatePartitionsAssignment;

    fn lists(given: &[(i32, &[i32])]) -> Assignment {
        given.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect()
    }

    #[test]
    fn a_given_assignment_is_checked_in_kafkas_words() {
        let refused = |given: &[(i32, &[i32])]| check_assignment(&lists(given)).unwrap_err().message;
        assert!(check_assignment(&lists(&[(0, &[1, 2]), (1, &[2, 1])])).is_ok());
        assert!(check_assignment(&lists(&[(0, &[1, 2]), (0, &[2])])).is_ok());
        assert_eq!(refused(&[(1, &[1])]), "partitions should be a consecutive 0-based integer sequence");
        assert_eq!(
            refused(&[(0, &[1, 1])]),
            "Duplicate replica assignment found: Map(0 -> ArrayBuffer(1, 1))"
        );
        assert_eq!(
            refused(&[(0, &[1]), (1, &[1, 2])]),
            "All partitions should have the same number of replicas"
        );
    }

    #[test]
    fn partitions_are_only_added_where_it_makes_sense() {
        let brokers: Vec<Candidate> = (1..=3).map(|id| Candidate { id, rack: None }).collect();
        let existing = lists(&[(0, &[2, 3]), (1, &[3, 1])]);
        let add = |count: i32, given: Option<&[&[i32]]>| {
            let assignments = given.map(|given| {
                given.iter().map(|ids| CreatePartitionsAssignment { broker_ids: ids.to_vec() }).collect()
            });
            let topic = CreatePartitionsTopic { name: "t".into(), count, assignments };
            added_partitions(&brokers, &existing, &topic).map_err(|refusal| refusal.message)
        };
        assert_eq!(add(3, None), Ok(lists(&[(2, &[1, 3])])));
        assert_eq!(add(3, Some(&[&[3, 2]])), Ok(lists(&[(2, &[3, 2])])));
        assert_eq!(add(2, None).unwrap_err(), "Topic already has 2 partitions.");
        assert_eq!(
            add(4, Some(&[&[1, 2], &[99, 1]])).unwrap_err(),
            "Unknown broker(s) in replica assignment: 99."
        );
        assert_eq!(
            add(4, Some(&[&[1, 2]])).unwrap_err(),
            "Increasing the number of partitions by 2 but 1 assignments provided."
        );
        assert_eq!(
            add(4, Some(&[&[1, 2], &[1, 1]])).unwrap_err(),
            "Duplicate brokers not allowed in replica assignment: 1, 1 for partition id 3."
        );
        assert_eq!(
            add(3, Some(&[&[]])).unwrap_err(),
            "Cannot have replication factor of 0 for partition id 2."
        );
    }
}
