//! OffsetForLeaderEpoch and DeleteRecords.

use std::collections::HashSet;

use wire::kafka::ErrorCode;
use wire::kafka::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use wire::kafka::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::Call;
use crate::shard::Event;

/// Where a leader epoch ends.
pub async fn epoch_ends(
    call: &Call<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let now = call.broker.metadata.snapshot();
    let all =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |one| (&topic.topic, one)));
    let asks = all
        .filter(|(topic, one)| now.partition(topic, one.partition).is_some())
        .map(|(topic, one)| (topic.clone(), one.partition, one.current_leader_epoch, one.leader_epoch))
        .collect();
    let found = call.broker.shard.ask(|reply| Event::EpochEnds { asks, reply }).await;
    let mut found = found.unwrap_or_default().into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            let result = if now.partition(&topic.topic, one.partition).is_none() {
                Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            } else {
                found.next().unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))
            };
            let answer = EpochEndOffset { partition: one.partition, ..Default::default() };
            match result {
                Ok(end) => EpochEndOffset { leader_epoch: end.epoch, end_offset: end.end_offset, ..answer },
                Err(error_code) => EpochEndOffset { error_code, ..answer },
            }
        });
        OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions: partitions.collect() }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

/// Of a partition that is named twice the last offset counts.
fn keep_the_last(request: &mut DeleteRecordsRequest) {
    let mut seen = HashSet::new();
    for topic in request.topics.iter_mut().rev() {
        let name = &topic.name;
        topic.partitions.reverse();
        topic.partitions.retain(|one| seen.insert((name.clone(), one.partition_index)));
        topic.partitions.reverse();
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
}

/// Moves log starts, and waits until all live replicas have done so.
pub async fn delete_records(call: &Call<'_>, mut request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    keep_the_last(&mut request);
    let now = call.broker.metadata.snapshot();
    let check = |topic: &str, partition: i32| {
        if now.partition(topic, partition).is_none() {
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        } else if crate::topics::is_internal(topic) {
            Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
        } else if !call.broker.topic_config(topic).log.delete {
            Err(ErrorCode::POLICY_VIOLATION)
        } else {
            Ok(())
        }
    };
    let all =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |one| (&topic.name, one)));
    let asks = all
        .filter(|(topic, one)| check(topic, one.partition_index).is_ok())
        .map(|(topic, one)| (topic.clone(), one.partition_index, one.offset))
        .collect();
    let timeout_ms = i64::from(request.timeout_ms);
    let done = call.broker.shard.ask(|reply| Event::DeleteRecords { asks, timeout_ms, reply }).await;
    let mut done = done.unwrap_or_default().into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            let result = check(&topic.name, one.partition_index)
                .and_then(|()| done.next().unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
            DeleteRecordsPartitionResult {
                partition_index: one.partition_index,
                low_watermark: result.unwrap_or(-1),
                error_code: result.err().unwrap_or_default(),
            }
        });
        DeleteRecordsTopicResult { name: topic.name.clone(), partitions: partitions.collect() }
    });
    DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::delete_records::{DeleteRecordsPartition, DeleteRecordsTopic};

    #[test]
    fn records_of_a_partition_named_twice_go_up_to_the_last_offset() {
        let topic = |partitions: &[(i32, i64)]| DeleteRecordsTopic {
            name: "t".into(),
            partitions: partitions
                .iter()
                .map(|&(partition_index, offset)| DeleteRecordsPartition { partition_index, offset })
                .collect(),
        };
        let topics = vec![topic(&[(0, 1), (1, 2), (0, 3)]), topic(&[(1, 9)])];
        let mut request = DeleteRecordsRequest { topics, timeout_ms: 1 };
        keep_the_last(&mut request);
        assert_eq!(request.topics, [topic(&[(0, 3)]), topic(&[(1, 9)])]);
    }
}
