//! ListOffsets: ends, starts, and offsets by time.

use std::collections::HashMap;

use broker_core::partition::Isolation;
use wire::kafka::ErrorCode;
use wire::kafka::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use super::Call;
use crate::shard::{Event, OffsetAsk, OldOffsetsAsk};

const CONSUMER: i32 = -1;

/// A consumer that may ask any replica, for debugging.
const DEBUGGING_CONSUMER: i32 = -2;

/// Answers for leaders (and for followers, to whoever debugs).
pub async fn answer(call: &Call<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    if call.version() == 0 {
        return answer_old(call, request).await;
    }
    let isolation = match (request.replica_id, request.isolation_level) {
        (CONSUMER, 1) => Some(Isolation::ReadCommitted),
        (CONSUMER, _) => Some(Isolation::ReadUncommitted),
        _ => None,
    };
    // Java stumbles over an isolation level that it does not know.
    let stumbles = request.replica_id == CONSUMER && !matches!(request.isolation_level, 0 | 1);
    let now = call.broker.metadata.snapshot();
    let mut asks = Vec::new();
    let mut seen: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *seen.entry((&topic.name, partition.partition_index)).or_default() += 1;
            if now.partition(&topic.name, partition.partition_index).is_some() {
                asks.push(OffsetAsk {
                    topic: topic.name.clone(),
                    partition: partition.partition_index,
                    current_leader_epoch: partition.current_leader_epoch,
                    isolation,
                    leader_only: request.replica_id != DEBUGGING_CONSUMER,
                    timestamp: partition.timestamp,
                });
            }
        }
    }
    let found = call.broker.shard.ask(|reply| Event::ListOffsets { asks, reply }).await;
    let mut found = found.unwrap_or_default().into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let result = if now.partition(&topic.name, index).is_none() {
                Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            } else {
                found.next().unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
            };
            let result = match seen.get(&(&*topic.name, index)) {
                Some(2..) => Err(ErrorCode::INVALID_REQUEST),
                _ if stumbles => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
                _ => result,
            };
            one(call.version(), index, result)
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

/// Version 0: offsets of segments by when their files were written.
async fn answer_old(call: &Call<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let now = call.broker.metadata.snapshot();
    let known = |topic: &str, index: i32| now.partition(topic, index).is_some();
    let mut asks = Vec::new();
    for topic in &request.topics {
        let partitions = topic.partitions.iter().filter(|one| known(&topic.name, one.partition_index));
        asks.extend(partitions.map(|one| OldOffsetsAsk {
            topic: topic.name.clone(),
            partition: one.partition_index,
            is_consumer: request.replica_id == CONSUMER,
            leader_only: request.replica_id != DEBUGGING_CONSUMER,
            timestamp: one.timestamp,
            count_max: one.max_num_offsets,
        }));
    }
    let found = call.broker.shard.ask(|reply| Event::OldOffsets { asks, reply }).await;
    let mut found = found.unwrap_or_default().into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let partition_index = partition.partition_index;
            let result = match known(&topic.name, partition_index) {
                true => found.next().unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)),
                false => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            let (error_code, old_style_offsets) = match result {
                Ok(offsets) => (ErrorCode::NONE, offsets),
                Err(error) => (error, Vec::new()),
            };
            ListOffsetsPartitionResponse {
                partition_index,
                error_code,
                old_style_offsets,
                ..Default::default()
            }
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

fn one(
    version: i16,
    partition_index: i32,
    result: Result<crate::shard::OffsetFound, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    match result {
        Ok(found) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: found.leader_epoch,
            ..response
        },
        Err(ErrorCode::OFFSET_NOT_AVAILABLE) if version < 5 => {
            ListOffsetsPartitionResponse { error_code: ErrorCode::LEADER_NOT_AVAILABLE, ..response }
        }
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..response },
    }
}
