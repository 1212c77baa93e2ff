//! AlterPartitionReassignments and ListPartitionReassignments: the controller's business.

use std::collections::{BTreeMap, BTreeSet};

use wire::kafka::alter_partition_reassignments::{ReassignablePartitionResponse, ReassignableTopicResponse};
use wire::kafka::list_partition_reassignments::{OngoingPartitionReassignment, OngoingTopicReassignment};
use wire::kafka::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ErrorCode,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{Call, text};
use crate::controller::TopicPartition;

/// An administrator wants partitions to have other replicas, or takes such a wish back.
pub async fn alter(
    call: &Call<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let failed = |error_code: ErrorCode| AlterPartitionReassignmentsResponse {
        error_code,
        error_message: text(error_code.message()),
        ..Default::default()
    };
    let Some(controller) = call.broker.controller.get() else { return failed(ErrorCode::NOT_CONTROLLER) };
    let mut partitions = BTreeMap::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let tp = TopicPartition { topic: topic.name.clone(), partition: partition.partition_index };
            partitions.insert(tp, partition.replicas);
        }
    }
    let results = match controller.alter_reassignments(partitions).await {
        Ok(results) => results,
        Err(error) => return failed(error),
    };
    let mut responses: Vec<ReassignableTopicResponse> = Vec::new();
    for one in results {
        let partition = ReassignablePartitionResponse {
            partition_index: one.partition.partition,
            error_code: one.error,
            error_message: one.message,
        };
        match responses.last_mut() {
            Some(last) if last.name == one.partition.topic => last.partitions.push(partition),
            _ => responses
                .push(ReassignableTopicResponse { name: one.partition.topic, partitions: vec![partition] }),
        }
    }
    AlterPartitionReassignmentsResponse { error_message: text(""), responses, ..Default::default() }
}

/// What is under way, of these partitions or of all.
pub async fn list(
    call: &Call<'_>,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let failed = |error_code: ErrorCode| ListPartitionReassignmentsResponse {
        error_code,
        error_message: text(error_code.message()),
        ..Default::default()
    };
    let Some(controller) = call.broker.controller.get() else { return failed(ErrorCode::NOT_CONTROLLER) };
    let of: Option<BTreeSet<TopicPartition>> = request.topics.map(|topics| {
        let named = topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            let of = move |partition| TopicPartition { topic: name.clone(), partition };
            topic.partition_indexes.into_iter().map(of)
        });
        named.collect()
    });
    let ongoing = match controller.reassignments(of).await {
        Ok(ongoing) => ongoing,
        Err(error) => return failed(error),
    };
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    for (tp, assignment) in ongoing {
        let partition = OngoingPartitionReassignment {
            partition_index: tp.partition,
            replicas: assignment.replicas,
            adding_replicas: assignment.adding,
            removing_replicas: assignment.removing,
        };
        match topics.last_mut() {
            Some(last) if last.name == tp.topic => last.partitions.push(partition),
            _ => topics.push(OngoingTopicReassignment { name: tp.topic, partitions: vec![partition] }),
        }
    }
    ListPartitionReassignmentsResponse { error_message: text(""), topics, ..Default::default() }
}
