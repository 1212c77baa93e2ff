//! Offsets that brokers know: by time, and of groups.

use crate::TopicPartition;
use crate::cluster::{Cluster, Target};
use crate::error::ClientError;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::kafka::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::kafka::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponsePartition,
};
use wire::kafka::{
    ErrorCode, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
};

/// What a group remembers of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Str,
}

/// An offset that was looked up by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1: no record is that late.
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

/// Looks offsets up by timestamp: ms, or -1 latest, -2 earliest, -3 largest timestamp. Needs the topics' metadata. A
/// partition whose leader is not known, or cannot be asked, gets an error of its own.
pub async fn list_offsets(
    cluster: &Cluster,
    partitions: &BTreeMap<TopicPartition, i64>,
    read_committed: bool,
) -> Result<BTreeMap<TopicPartition, Result<ListedOffset, ErrorCode>>, ClientError> {
    let metadata = cluster.metadata();
    let mut found = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, BTreeMap<Str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for (partition, timestamp) in partitions {
        let Some(known) = metadata.partition(&partition.topic, partition.partition) else {
            found.insert(partition.clone(), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            continue;
        };
        if known.leader < 0 {
            found.insert(partition.clone(), Err(ErrorCode::LEADER_NOT_AVAILABLE));
            continue;
        }
        by_leader.entry(known.leader).or_default().entry(partition.topic.clone()).or_default().push(
            ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: known.leader_epoch,
                timestamp: *timestamp,
                max_num_offsets: 1,
            },
        );
    }
    for (leader, topics) in by_leader {
        let asked: Vec<TopicPartition> = (topics.iter())
            .flat_map(|(topic, all)| {
                all.iter().map(|p| TopicPartition::new(topic.clone(), p.partition_index))
            })
            .collect();
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: read_committed as i8,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic { name, partitions })
                .collect(),
        };
        let answer = async { Ok::<_, ClientError>(cluster.connect(leader).await?.call(&request).await?) };
        match answer.await {
            Ok(response) => {
                for topic in response.topics {
                    for answered in topic.partitions {
                        let partition = TopicPartition::new(topic.name.clone(), answered.partition_index);
                        // Version 0 answers with a list.
                        let offset = answered.old_style_offsets.first().copied().unwrap_or(answered.offset);
                        let listed = ListedOffset {
                            offset,
                            timestamp: answered.timestamp,
                            leader_epoch: answered.leader_epoch,
                        };
                        found.insert(partition, answered.error_code.ok().map(|()| listed));
                    }
                }
            }
            Err(error) if error.is_retriable() => {
                found.extend(
                    asked.into_iter().map(|partition| (partition, Err(ErrorCode::NETWORK_EXCEPTION))),
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(crate) fn commit_request(
    group: &Str,
    generation: i32,
    member_id: Str,
    instance_id: Option<Str>,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<Str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset) in offsets {
        topics.entry(partition.topic.clone()).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: *offset,
            committed_metadata: Some(Str::new()),
            ..Default::default()
        });
    }
    OffsetCommitRequest {
        group_id: group.clone(),
        generation_id: generation,
        member_id,
        group_instance_id: instance_id,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| OffsetCommitRequestTopic { name, partitions })
            .collect(),
        ..Default::default()
    }
}

/// Commits, and retries what may pass; the first partition's error counts for all.
pub(crate) async fn commit_offsets(
    cluster: &Cluster,
    request: OffsetCommitRequest,
) -> Result<(), ClientError> {
    let first_error = |response: &wire::kafka::OffsetCommitResponse| {
        let mut codes =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        codes.find(|code| !code.is_ok()).unwrap_or_default()
    };
    let target = Target::Group(request.group_id.clone());
    let response = cluster.call(&target, &request, first_error).await?;
    Ok(first_error(&response).ok()?)
}

/// What a group has committed: of these partitions, or of all (`None`).
pub(crate) async fn fetch_offsets(
    cluster: &Cluster,
    group: &Str,
    partitions: Option<&[TopicPartition]>,
) -> Result<BTreeMap<TopicPartition, Committed>, ClientError> {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic.clone()).or_default().push(partition.partition);
        }
        topics
    });
    // Up to version 7 there is one group, later a list.
    let request = OffsetFetchRequest {
        group_id: group.clone(),
        topics: topics.clone().map(|topics| {
            let topic = |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes };
            topics.into_iter().map(topic).collect()
        }),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: topics.map(|topics| {
                let topic = |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes };
                topics.into_iter().map(topic).collect()
            }),
        }],
        require_stable: false,
    };
    let first_error = |response: &OffsetFetchResponse| {
        let group = response.groups.first().map_or(response.error_code, |group| group.error_code);
        let old =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let new = response.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
        let partition = old.chain(new.map(|partition| partition.error_code)).find(|code| !code.is_ok());
        if group.is_ok() { partition.unwrap_or_default() } else { group }
    };
    let mut response = cluster.call(&Target::Group(group.clone()), &request, first_error).await?;
    first_error(&response).ok()?;
    let mut committed = BTreeMap::new();
    let mut take = |topic: &Str, partition: OffsetFetchResponsePartition| {
        if partition.committed_offset >= 0 {
            committed.insert(
                TopicPartition::new(topic.clone(), partition.partition_index),
                Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.metadata.unwrap_or_default(),
                },
            );
        }
    };
    for topic in response.topics {
        topic.partitions.into_iter().for_each(|partition| take(&topic.name, partition));
    }
    for topic in response.groups.pop().map(|group| group.topics).unwrap_or_default() {
        for partition in topic.partitions {
            let partition = OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            };
            take(&topic.name, partition);
        }
    }
    Ok(committed)
}
