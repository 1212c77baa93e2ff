//! Places in logs: where they begin and end, and moving the beginning.

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType};
use wire::kafka::delete_records::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::kafka::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::kafka::offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderTopicResult};
use wire::kafka::*;

use crate::api::access::NO_TOPIC;
use crate::api::{Call, list_offsets as listing, offsets};

use ResourceType::Topic;

pub async fn list_offsets(call: &Call<'_>, mut request: ListOffsetsRequest) -> ListOffsetsResponse {
    let denied = call.split(Operation::Describe, Topic, &mut request.topics, |topic| &topic.name);
    let mut response = listing::answer(call, request).await;
    response.topics.extend(denied.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| ListOffsetsPartitionResponse {
            partition_index: one.partition_index,
            error_code: NO_TOPIC,
            ..Default::default()
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse { name: topic.name, partitions }
    }));
    response
}

/// Followers need a right on the cluster, everybody else one on each topic.
pub async fn epoch_ends(
    call: &Call<'_>,
    mut request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    if call.may_quietly(Operation::ClusterAction, ResourceType::Cluster, CLUSTER_NAME) {
        return offsets::epoch_ends(call, request).await;
    }
    let denied = call.split(Operation::Describe, Topic, &mut request.topics, |topic| &topic.topic);
    let mut response = offsets::epoch_ends(call, request).await;
    response.topics.extend(denied.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| EpochEndOffset {
            partition: one.partition,
            error_code: NO_TOPIC,
            ..Default::default()
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions }
    }));
    response
}

pub async fn delete_records(call: &Call<'_>, mut request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let denied = call.split(Operation::Delete, Topic, &mut request.topics, |topic| &topic.name);
    let mut response = offsets::delete_records(call, request).await;
    response.topics.extend(denied.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| DeleteRecordsPartitionResult {
            partition_index: one.partition_index,
            low_watermark: -1,
            error_code: NO_TOPIC,
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult { name: topic.name, partitions }
    }));
    response
}
