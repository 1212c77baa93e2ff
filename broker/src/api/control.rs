//! What the controller sends: LeaderAndIsr, StopReplica, UpdateMetadata; and what it is asked: AlterPartition,
//! ControlledShutdown, AllocateProducerIds, ElectLeaders.

use wire::Str;
use wire::kafka::elect_leaders::{PartitionResult, ReplicaElectionResult, TopicPartitions};
use wire::kafka::leader_and_isr::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use wire::kafka::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse,
    ControlledShutdownRequest, ControlledShutdownResponse, ElectLeadersRequest, ElectLeadersResponse,
    ErrorCode, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest, UpdateMetadataResponse, Uuid,
};

use super::Call;
use crate::controller::{ElectionType, TopicPartition};
use crate::shard::Event;

/// New replicas need their topic's settings, so those are read first.
pub async fn leader_and_isr(call: &Call<'_>, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
    let named = named_by(&request);
    let mut topics = std::collections::BTreeSet::new();
    if !request.topic_states.iter().all(|topic| topics.insert(&topic.topic_name)) {
        // Java stumbles over a topic that is named twice.
        return all_refused(named, ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let ungrouped = request.ungrouped_partition_states.iter().map(|state| &state.topic_name);
    let grouped = request.topic_states.iter().map(|topic| &topic.topic_name);
    let unknown = ungrouped.chain(grouped).filter(|topic| !call.broker.knows_topic_overrides(topic));
    let unknown: std::collections::BTreeSet<Str> = unknown.cloned().collect();
    let unknown: Vec<Str> = unknown.into_iter().collect();
    if !unknown.is_empty()
        && let Err(error) = call.broker.load_topic_overrides(&unknown).await
    {
        tracing::error!("Reading the settings of {} topics, {} first: {error}", unknown.len(), unknown[0]);
        return LeaderAndIsrResponse { error_code: ErrorCode::UNKNOWN_SERVER_ERROR, ..Default::default() };
    }
    let answer = call.broker.shard.ask(|reply| Event::LeaderAndIsr { request, reply }).await;
    match answer {
        Ok(answer)
            if matches!(
                answer.error_code,
                ErrorCode::STALE_CONTROLLER_EPOCH | ErrorCode::STALE_BROKER_EPOCH
            ) =>
        {
            all_refused(named, answer.error_code)
        }
        Ok(answer) => answer,
        Err(_) => LeaderAndIsrResponse { error_code: ErrorCode::UNKNOWN_SERVER_ERROR, ..Default::default() },
    }
}

/// Topics and partitions of a request: by id, or by name before version 5.
type Named = Vec<(Str, Uuid, Vec<i32>)>;

fn named_by(request: &LeaderAndIsrRequest) -> Named {
    let old = request.ungrouped_partition_states.iter();
    let old = old.map(|state| (state.topic_name.clone(), Uuid::ZERO, vec![state.partition_index]));
    let grouped = request.topic_states.iter().map(|topic| {
        let partitions = topic.partition_states.iter().map(|state| state.partition_index);
        (topic.topic_name.clone(), topic.topic_id, partitions.collect())
    });
    old.chain(grouped).collect()
}

/// A request of an older controller, or to a broker's former life, or one that names a topic twice, is refused with every
/// partition that it names.
fn all_refused(named: Named, error_code: ErrorCode) -> LeaderAndIsrResponse {
    let mut response = LeaderAndIsrResponse { error_code, ..Default::default() };
    for (topic_name, topic_id, partitions) in named {
        let error = |partition_index| LeaderAndIsrPartitionError {
            topic_name: topic_name.clone(),
            partition_index,
            error_code,
        };
        let partition_errors: Vec<_> = partitions.into_iter().map(error).collect();
        response.partition_errors.extend(partition_errors.iter().cloned());
        response.topics.push(LeaderAndIsrTopicError { topic_id, partition_errors });
    }
    response
}

/// Replicas stop, and may be deleted.
pub async fn stop_replica(call: &Call<'_>, request: StopReplicaRequest) -> StopReplicaResponse {
    let answer = call.broker.shard.ask(|reply| Event::StopReplica { request, reply }).await;
    answer.unwrap_or_else(|_| StopReplicaResponse {
        error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
        ..Default::default()
    })
}

/// The cluster's state as clients are told.
pub async fn update_metadata(call: &Call<'_>, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
    let broker = call.broker;
    if let Err(error_code) = broker.check_fence(request.controller_epoch, request.broker_epoch) {
        return UpdateMetadataResponse { error_code };
    }
    let before = broker.metadata.snapshot();
    let brokers = request.live_brokers.iter().map(|node| node.id).collect();
    let gone = broker.metadata.update(request);
    let mut partitions = Vec::new();
    for topic in &gone {
        broker.forget_topic(topic);
        let had = before.topics.get(topic).into_iter().flat_map(|info| info.partitions.keys());
        partitions.extend(had.map(|partition| (topic.clone(), *partition)));
    }
    if !partitions.is_empty() {
        let _ = broker.shard.tell(Event::GroupTopicsDeleted { partitions }).await;
    }
    let _ = broker.shard.tell(Event::Alive { brokers }).await;
    UpdateMetadataResponse::default()
}

fn not_controller() -> ErrorCode {
    ErrorCode::NOT_CONTROLLER
}

/// A leader's wish for another ISR.
pub async fn alter_partition(call: &Call<'_>, request: AlterPartitionRequest) -> AlterPartitionResponse {
    match call.broker.controller.get() {
        Some(controller) => controller.alter_partition(call.version(), request).await,
        None => AlterPartitionResponse { error_code: not_controller(), ..Default::default() },
    }
}

/// A broker that is about to go.
pub async fn controlled_shutdown(
    call: &Call<'_>,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    match call.broker.controller.get() {
        Some(controller) => controller.controlled_shutdown(request.broker_id, request.broker_epoch).await,
        None => ControlledShutdownResponse { error_code: not_controller(), ..Default::default() },
    }
}

/// A broker that needs producer ids.
pub async fn allocate_producer_ids(
    call: &Call<'_>,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    match call.broker.controller.get() {
        Some(controller) => controller.allocate_producer_ids(request.broker_id, request.broker_epoch).await,
        None => AllocateProducerIdsResponse { error_code: not_controller(), ..Default::default() },
    }
}

/// Java stumbles over a kind of election that it does not know.
fn unknown_election(request: ElectLeadersRequest) -> ElectLeadersResponse {
    let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
    let topics =
        request.topic_partitions.unwrap_or_default().into_iter().map(|topic| ReplicaElectionResult {
            topic: topic.topic,
            partition_result: topic
                .partitions
                .into_iter()
                .map(|partition_id| PartitionResult { partition_id, error_code, error_message: None })
                .collect(),
        });
    ElectLeadersResponse { error_code, replica_election_results: topics.collect(), ..Default::default() }
}

/// An administrator wants other leaders.
pub async fn elect_leaders(call: &Call<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let failed = |error_code| ElectLeadersResponse { error_code, ..Default::default() };
    let Some(controller) = call.broker.controller.get() else { return failed(not_controller()) };
    let election = match request.election_type {
        0 => ElectionType::Preferred,
        1 => ElectionType::Unclean,
        _ => return unknown_election(request),
    };
    let partitions = request.topic_partitions.map(|topics| {
        let of = |topic: TopicPartitions| {
            let name = topic.topic;
            topic
                .partitions
                .into_iter()
                .map(move |partition| TopicPartition { topic: name.clone(), partition })
        };
        topics.into_iter().flat_map(of).collect()
    });
    let elected = match controller.elect_leaders(election, partitions).await {
        Ok(elected) => elected,
        Err(error) => return failed(error),
    };
    let mut response = ElectLeadersResponse::default();
    for one in elected {
        let result = PartitionResult {
            partition_id: one.partition.partition,
            error_code: one.error,
            error_message: one.message,
        };
        match response.replica_election_results.last_mut() {
            Some(last) if last.topic == one.partition.topic => last.partition_result.push(result),
            _ => response
                .replica_election_results
                .push(ReplicaElectionResult { topic: one.partition.topic, partition_result: vec![result] }),
        }
    }
    response
}
