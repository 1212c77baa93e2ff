//! Requests between brokers, and administrators' requests for the whole cluster.

use std::collections::BTreeSet;

use broker_core::acl::Operation;
use wire::kafka::alter_client_quotas::{ResponseEntityData, ResponseEntryData};
use wire::kafka::alter_partition_reassignments::{ReassignablePartitionResponse, ReassignableTopicResponse};
use wire::kafka::alter_replica_log_dirs::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use wire::kafka::alter_user_scram_credentials::AlterUserScramCredentialsResult;
use wire::kafka::describe_user_scram_credentials::DescribeUserScramCredentialsResult;
use wire::kafka::elect_leaders::{PartitionResult, ReplicaElectionResult};
use wire::kafka::leader_and_isr::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use wire::kafka::list_partition_reassignments::{OngoingPartitionReassignment, OngoingTopicReassignment};
use wire::kafka::stop_replica::StopReplicaPartitionError;
use wire::kafka::write_txn_markers::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use wire::kafka::*;

use crate::api::access::NO_CLUSTER;
use crate::api::{
    Call, alter_log_dirs, client_quotas, control, describe_cluster, reassignments, scram_users, text,
    txn_markers,
};

const ERROR: ErrorCode = NO_CLUSTER;

pub async fn leader_and_isr(call: &Call<'_>, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::leader_and_isr(call, request).await;
    }
    let mut response = LeaderAndIsrResponse { error_code: ERROR, ..Default::default() };
    let failed = |topic: &wire::Str, partition_index| LeaderAndIsrPartitionError {
        topic_name: topic.clone(),
        partition_index,
        error_code: ERROR,
    };
    let ungrouped = request.ungrouped_partition_states.iter();
    response.partition_errors.extend(ungrouped.map(|state| failed(&state.topic_name, state.partition_index)));
    for topic in &request.topic_states {
        let states = topic.partition_states.iter();
        let partition_errors = states.map(|state| failed(&topic.topic_name, state.partition_index));
        match call.version() >= 5 {
            true => response.topics.push(LeaderAndIsrTopicError {
                topic_id: topic.topic_id,
                partition_errors: partition_errors.collect(),
            }),
            false => response.partition_errors.extend(partition_errors),
        }
    }
    response
}

pub async fn stop_replica(call: &Call<'_>, request: StopReplicaRequest) -> StopReplicaResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::stop_replica(call, request).await;
    }
    let ungrouped = request.ungrouped_partitions.iter().map(|one| (&one.topic_name, one.partition_index));
    let old =
        request.topics.iter().flat_map(|topic| topic.partition_indexes.iter().map(|n| (&topic.name, *n)));
    let states = request.topic_states.iter().flat_map(|topic| {
        topic.partition_states.iter().map(|state| (&topic.topic_name, state.partition_index))
    });
    let failed = |(topic_name, partition_index): (&wire::Str, i32)| StopReplicaPartitionError {
        topic_name: topic_name.clone(),
        partition_index,
        error_code: ERROR,
    };
    let partition_errors = ungrouped.chain(old).chain(states).map(failed).collect();
    StopReplicaResponse { error_code: ERROR, partition_errors }
}

pub async fn update_metadata(call: &Call<'_>, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::update_metadata(call, request).await;
    }
    UpdateMetadataResponse { error_code: ERROR }
}

pub async fn controlled_shutdown(
    call: &Call<'_>,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::controlled_shutdown(call, request).await;
    }
    ControlledShutdownResponse { error_code: ERROR, ..Default::default() }
}

pub async fn alter_partition(call: &Call<'_>, request: AlterPartitionRequest) -> AlterPartitionResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::alter_partition(call, request).await;
    }
    AlterPartitionResponse { error_code: ERROR, ..Default::default() }
}

pub async fn allocate_producer_ids(
    call: &Call<'_>,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return control::allocate_producer_ids(call, request).await;
    }
    AllocateProducerIdsResponse { error_code: ERROR, ..Default::default() }
}

pub async fn write_txn_markers(call: &Call<'_>, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    if call.may_on_cluster(Operation::ClusterAction) {
        return txn_markers::answer(call, request).await;
    }
    let markers = request.markers.into_iter().map(|marker| {
        let topics = marker.topics.into_iter().map(|topic| {
            let failed =
                |partition_index| WritableTxnMarkerPartitionResult { partition_index, error_code: ERROR };
            let partitions = topic.partition_indexes.into_iter().map(failed).collect();
            WritableTxnMarkerTopicResult { name: topic.name, partitions }
        });
        WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() }
    });
    WriteTxnMarkersResponse { markers: markers.collect() }
}

pub async fn elect_leaders(call: &Call<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if call.may_on_cluster(Operation::Alter) {
        return control::elect_leaders(call, request).await;
    }
    let topics = request.topic_partitions.unwrap_or_default().into_iter().map(|topic| {
        let failed = |partition_id| PartitionResult { partition_id, error_code: ERROR, error_message: None };
        let partition_result = topic.partitions.into_iter().map(failed).collect();
        ReplicaElectionResult { topic: topic.topic, partition_result }
    });
    ElectLeadersResponse {
        error_code: ERROR,
        replica_election_results: topics.collect(),
        ..Default::default()
    }
}

pub async fn alter_reassignments(
    call: &Call<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    if call.may_on_cluster(Operation::Alter) {
        return reassignments::alter(call, request).await;
    }
    let error_message = Some(call.refused_text());
    let responses = request.topics.into_iter().map(|topic| {
        let failed = |partition_index| ReassignablePartitionResponse {
            partition_index,
            error_code: ERROR,
            error_message: error_message.clone(),
        };
        let partitions = topic.partitions.into_iter().map(|one| failed(one.partition_index)).collect();
        ReassignableTopicResponse { name: topic.name, partitions }
    });
    let responses = responses.collect();
    AlterPartitionReassignmentsResponse { error_code: ERROR, error_message, responses, ..Default::default() }
}

pub async fn list_reassignments(
    call: &Call<'_>,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    if call.may_on_cluster(Operation::Describe) {
        return reassignments::list(call, request).await;
    }
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic
            .partition_indexes
            .into_iter()
            .map(|partition_index| OngoingPartitionReassignment { partition_index, ..Default::default() });
        OngoingTopicReassignment { name: topic.name, partitions: partitions.collect() }
    });
    ListPartitionReassignmentsResponse {
        error_code: ERROR,
        error_message: Some(call.refused_text()),
        topics: topics.collect(),
        ..Default::default()
    }
}

pub async fn log_dirs(call: &Call<'_>, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    if call.may_on_cluster(Operation::Describe) {
        return describe_cluster::log_dirs(call, request).await;
    }
    DescribeLogDirsResponse { error_code: ERROR, ..Default::default() }
}

pub async fn alter_log_dirs(
    call: &Call<'_>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    if call.may_on_cluster(Operation::Alter) {
        return alter_log_dirs::answer(call, request).await;
    }
    let topics = request.dirs.into_iter().flat_map(|dir| dir.topics).map(|topic| {
        let failed =
            |partition_index| AlterReplicaLogDirPartitionResult { partition_index, error_code: ERROR };
        let partitions = topic.partitions.into_iter().map(failed).collect();
        AlterReplicaLogDirTopicResult { topic_name: topic.name, partitions }
    });
    AlterReplicaLogDirsResponse { results: topics.collect(), ..Default::default() }
}

pub async fn describe_quotas(
    call: &Call<'_>,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    if call.may_on_cluster(Operation::DescribeConfigs) {
        return client_quotas::describe(call, request).await;
    }
    DescribeClientQuotasResponse { error_code: ERROR, entries: None, ..Default::default() }
}

pub async fn alter_quotas(call: &Call<'_>, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    if call.may_on_cluster(Operation::AlterConfigs) {
        return client_quotas::alter(call, request).await;
    }
    let entries = request.entries.into_iter().map(|entry| {
        let entity = entry
            .entity
            .into_iter()
            .map(|part| ResponseEntityData { entity_type: part.entity_type, entity_name: part.entity_name });
        let error_message = text(ERROR.message());
        ResponseEntryData { error_code: ERROR, error_message, entity: entity.collect() }
    });
    AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() }
}

pub async fn describe_scram(
    call: &Call<'_>,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    if call.may_on_cluster(Operation::Describe) {
        return scram_users::describe(call, request).await;
    }
    // Java does not name the users here.
    let failed = |_| DescribeUserScramCredentialsResult { error_code: ERROR, ..Default::default() };
    let results = request.users.unwrap_or_default().into_iter().map(failed).collect();
    DescribeUserScramCredentialsResponse { error_code: ERROR, results, ..Default::default() }
}

/// Whoever does not govern says so first.
pub async fn alter_scram(
    call: &Call<'_>,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    if !call.broker.is_controller() || call.may_on_cluster(Operation::Alter) {
        return scram_users::alter(call, request).await;
    }
    let deleted = request.deletions.into_iter().map(|deletion| deletion.name);
    let users: BTreeSet<wire::Str> =
        deleted.chain(request.upsertions.into_iter().map(|upsertion| upsertion.name)).collect();
    let failed = |user| AlterUserScramCredentialsResult { user, error_code: ERROR, error_message: None };
    AlterUserScramCredentialsResponse {
        results: users.into_iter().map(failed).collect(),
        ..Default::default()
    }
}
