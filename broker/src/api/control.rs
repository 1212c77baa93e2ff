//! What the controller sends: LeaderAndIsr, StopReplica, UpdateMetadata.

use std::sync::atomic::Ordering;

use wire::kafka::{
    ErrorCode, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest, UpdateMetadataResponse,
};

use super::Call;
use crate::shard::Event;

/// New replicas need their topic's settings, so those are read first.
pub async fn leader_and_isr(call: &Call<'_>, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
    let ungrouped = request.ungrouped_partition_states.iter().map(|state| &state.topic_name);
    let grouped = request.topic_states.iter().map(|topic| &topic.topic_name);
    for topic in ungrouped.chain(grouped) {
        if call.broker.knows_topic_overrides(topic) {
            continue;
        }
        if let Err(error) = call.broker.reload_topic_overrides(topic).await {
            tracing::error!("Reading the settings of {topic}: {error}");
            return LeaderAndIsrResponse {
                error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
                ..Default::default()
            };
        }
    }
    let answer = call.broker.shard.ask(|reply| Event::LeaderAndIsr { request, reply }).await;
    answer.unwrap_or_else(|_| LeaderAndIsrResponse {
        error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
        ..Default::default()
    })
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
    if request.controller_epoch
        < broker.controller_epoch.fetch_max(request.controller_epoch, Ordering::AcqRel)
    {
        return UpdateMetadataResponse { error_code: ErrorCode::STALE_CONTROLLER_EPOCH };
    }
    if request.broker_epoch >= 0 && request.broker_epoch < broker.epoch() {
        return UpdateMetadataResponse { error_code: ErrorCode::STALE_BROKER_EPOCH };
    }
    let gone = broker.metadata.update(&request);
    for topic in &gone {
        broker.forget_topic(topic);
    }
    let brokers = request.live_brokers.iter().map(|node| node.id).collect();
    let _ = broker.shard.tell(Event::Alive { brokers }).await;
    UpdateMetadataResponse::default()
}
