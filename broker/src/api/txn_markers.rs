//! WriteTxnMarkers: a coordinator ends transactions on the partitions that are led here. DescribeProducers: who has one
//! open.

use broker_core::acl::{Operation, ResourceType};
use broker_core::partition::Origin;
use wire::Str;
use wire::batch::Batch;
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::produce::Accepted;
use wire::kafka::ErrorCode;
use wire::kafka::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use wire::kafka::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopic,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::Call;
use super::access::NO_TOPIC;
use crate::broker::Broker;
use crate::shard::{Event, ProducePart, wall_clock};
use crate::topics;

pub async fn answer(call: &Call<'_>, mut request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let now = call.broker.metadata.snapshot();
    let is_there = |topic: &WritableTxnMarkerTopic| {
        topic.partition_indexes.iter().any(|partition| now.partition(&topic.name, *partition).is_some())
    };
    // Java stumbles over a marker of nobody, if there is any partition to write it to; those before it are written.
    let nobodys = |marker: &WritableTxnMarker| is_nobodys(marker) && marker.topics.iter().any(is_there);
    match request.markers.iter().position(nobodys) {
        None => write_markers(call.broker, request).await,
        Some(at) => {
            let refused = all_failed(&request, ErrorCode::UNKNOWN_SERVER_ERROR);
            request.markers.truncate(at);
            write_markers(call.broker, request).await;
            refused
        }
    }
}

/// A marker without a producer, or without the epoch of one.
fn is_nobodys(marker: &WritableTxnMarker) -> bool {
    marker.producer_id == -1 || marker.producer_epoch == -1
}

fn all_failed(request: &WriteTxnMarkersRequest, error_code: ErrorCode) -> WriteTxnMarkersResponse {
    let topic = |topic: &WritableTxnMarkerTopic| {
        let failed = |partition_index| WritableTxnMarkerPartitionResult { partition_index, error_code };
        let partitions = topic.partition_indexes.iter().copied().map(failed).collect();
        WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions }
    };
    let markers = request.markers.iter().map(|marker| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker.topics.iter().map(topic).collect(),
    });
    WriteTxnMarkersResponse { markers: markers.collect() }
}

/// Appends each marker to each of its partitions, and waits until all are replicated or the time is up.
pub async fn write_markers(broker: &Broker, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let now = wall_clock();
    let mut parts = Vec::new();
    for marker in &request.markers {
        let end = EndTransaction {
            marker: if marker.transaction_result { Marker::Commit } else { Marker::Abort },
            coordinator_epoch: marker.coordinator_epoch,
        };
        let mut bytes = end.to_batch(marker.producer_id, marker.producer_epoch, -1, now);
        let batch = Batch::split_from(&mut bytes).ok().flatten().expect("a marker is a batch");
        for topic in &marker.topics {
            let log_append_time = broker.topic_config(&topic.name).log_append_time;
            parts.extend(topic.partition_indexes.iter().map(|partition| ProducePart {
                topic: topic.name.clone(),
                partition: *partition,
                accepted: Accepted { batch: batch.clone(), max_timestamp: now, max_timestamp_at: None },
                log_append_time,
            }));
        }
    }
    let timeout_ms = broker.config.int("request.timeout.ms");
    let results = match parts.is_empty() {
        true => Vec::new(),
        false => {
            let origin = Origin::Coordinator;
            let produce = |reply| Event::Produce { parts, acks: -1, timeout_ms, origin, reply };
            broker.shard.ask(produce).await.unwrap_or_default()
        }
    };
    let mut errors = results.iter().map(|result| result.error);
    let mut next = || errors.next().unwrap_or(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let markers = request.markers.into_iter().map(|marker| {
        let topics = marker.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.into_iter();
            let partitions = partitions.map(|partition_index| WritableTxnMarkerPartitionResult {
                partition_index,
                error_code: next(),
            });
            WritableTxnMarkerTopicResult { name: topic.name, partitions: partitions.collect() }
        });
        WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() }
    });
    WriteTxnMarkersResponse { markers: markers.collect() }
}

pub async fn describe_producers(
    call: &Call<'_>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let now = call.broker.metadata.snapshot();
    let of_topic = |topic: &Str| match topics::check_name(topic) {
        Err(why) => Some((ErrorCode::INVALID_TOPIC_EXCEPTION, Some(Str::from(why)))),
        Ok(()) if !call.may(Operation::Read, ResourceType::Topic, topic) => {
            Some((NO_TOPIC, Some(Str::from(NO_TOPIC.message()))))
        }
        Ok(()) if !now.topics.contains_key(topic) => {
            let error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            Some((error, Some(Str::from(error.message()))))
        }
        Ok(()) => None,
    };
    let mut parts = Vec::new();
    for topic in request.topics.iter().filter(|topic| of_topic(&topic.name).is_none()) {
        parts.extend(topic.partition_indexes.iter().map(|partition| (topic.name.clone(), *partition)));
    }
    let asked = call.broker.shard.ask(|reply| Event::DescribeProducers { parts, reply });
    let mut results = asked.await.unwrap_or_default().into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let refused = of_topic(&topic.name);
        let name = topic.name;
        let partitions = topic.partition_indexes.into_iter().map(|partition_index| {
            let answer = PartitionResponse { partition_index, ..Default::default() };
            if let Some((error_code, error_message)) = refused.clone() {
                return PartitionResponse { error_code, error_message, ..answer };
            }
            match results.next().unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)) {
                Ok(producers) => PartitionResponse {
                    active_producers: producers.into_iter().map(state).collect(),
                    ..answer
                },
                Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) if now.partition(&name, partition_index).is_none() => {
                    PartitionResponse { error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ..answer }
                }
                Err(error_code) => PartitionResponse { error_code, ..answer },
            }
        });
        let partitions = partitions.collect();
        TopicResponse { name, partitions }
    });
    DescribeProducersResponse { topics: topics.collect(), ..Default::default() }
}

fn state(producer: broker_core::producer::ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.txn_first_offset,
    }
}
