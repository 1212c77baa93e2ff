//! Metadata: nodes, topics, leaders; topics that are asked for and missing are created where that is allowed.

use std::sync::Arc;

use wire::Str;
use wire::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use wire::kafka::{ErrorCode, Uuid};

use super::{CLUSTER_OPERATIONS, Call, TOPIC_OPERATIONS};
use crate::metadata::{PartitionInfo, Snapshot, TopicInfo};
use crate::topics;

/// Answers from the snapshot of this moment.
pub async fn answer(call: &Call<'_>, request: MetadataRequest) -> MetadataResponse {
    let now = call.broker.metadata.snapshot();
    let version = call.version();
    let asked = request.topics.filter(|asked| version > 0 || !asked.is_empty());
    let mut topics: Vec<MetadataResponseTopic> = match asked {
        None => now.topics.iter().map(|(name, topic)| known(call, &now, name, topic)).collect(),
        Some(asked) => {
            let may_create =
                request.allow_auto_topic_creation && call.broker.config.bool("auto.create.topics.enable");
            let mut topics = Vec::with_capacity(asked.len());
            for topic in asked {
                let by_id = topic.name.is_none() && !topic.topic_id.is_zero();
                let name = if by_id { now.names.get(&topic.topic_id).cloned() } else { topic.name };
                topics.push(match (name, by_id) {
                    (Some(name), _) => match now.topics.get(&name) {
                        Some(topic) => known(call, &now, &name, topic),
                        None => missing(call, name, may_create).await,
                    },
                    (None, true) => failed(None, topic.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
                    (None, false) => failed(None, Uuid::ZERO, ErrorCode::INVALID_REQUEST),
                });
            }
            topics
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code.is_ok()) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let mut response = MetadataResponse {
        brokers: nodes(&now, &call.peer.listener),
        cluster_id: Some(call.broker.cluster_id.clone()),
        controller_id: now.controller.unwrap_or(-1),
        topics,
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn nodes(now: &Snapshot, listener: &str) -> Vec<MetadataResponseBroker> {
    let on_listener = |(id, node): (&i32, &crate::metadata::Node)| {
        let (host, port) = node.endpoints.get(listener)?.clone();
        Some(MetadataResponseBroker { node_id: *id, host, port, rack: node.rack.clone() })
    };
    now.nodes.iter().filter_map(on_listener).collect()
}

fn failed(name: Option<Str>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(topics::is_internal);
    MetadataResponseTopic { error_code: error, name, topic_id: id, is_internal, ..Default::default() }
}

async fn missing(call: &Call<'_>, name: Str, may_create: bool) -> MetadataResponseTopic {
    let error = if topics::check_name(&name).is_err() {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    } else if may_create {
        topics::auto_create(call.broker, &name).await
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    };
    failed(Some(name), Uuid::ZERO, error)
}

fn known(call: &Call<'_>, now: &Snapshot, name: &Str, topic: &Arc<TopicInfo>) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|(index, partition)| one_partition(call.version(), &call.peer.listener, now, *index, partition))
        .collect();
    MetadataResponseTopic {
        name: Some(name.clone()),
        topic_id: topic.id,
        is_internal: topics::is_internal(name),
        partitions,
        ..Default::default()
    }
}

fn one_partition(
    version: i16,
    listener: &str,
    now: &Snapshot,
    index: i32,
    partition: &PartitionInfo,
) -> MetadataResponsePartition {
    // Version 0 leaves out replicas that nobody can reach, and says so.
    let reachable = |ids: &Vec<i32>| -> Vec<i32> {
        ids.iter().copied().filter(|id| version > 0 || now.address(*id, listener).is_some()).collect()
    };
    let replicas = reachable(&partition.replicas);
    let isr = reachable(&partition.isr);
    let (leader, error) = if now.address(partition.leader, listener).is_some() {
        let short = replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len();
        (partition.leader, if short { ErrorCode::REPLICA_NOT_AVAILABLE } else { ErrorCode::NONE })
    } else if now.nodes.contains_key(&partition.leader) && version >= 6 {
        (-1, ErrorCode::LISTENER_NOT_FOUND)
    } else {
        (-1, ErrorCode::LEADER_NOT_AVAILABLE)
    };
    MetadataResponsePartition {
        error_code: error,
        partition_index: index,
        leader_id: leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: replicas,
        isr_nodes: isr,
        offline_replicas: partition.offline.clone(),
    }
}
