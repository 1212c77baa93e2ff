//! AlterReplicaLogDirs: replicas of this broker move to other log directories.

use std::collections::BTreeMap;

use wire::Str;
use wire::kafka::alter_replica_log_dirs::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use wire::kafka::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, ErrorCode};

use super::Call;
use crate::shard::{Event, MoveEvent};

/// Starts the moves. Of a partition that is named twice the last directory counts.
pub async fn answer(call: &Call<'_>, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let mut wanted: BTreeMap<(Str, i32), Str> = BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let partitions = topic.partitions.into_iter();
            wanted.extend(partitions.map(|partition| ((topic.name.clone(), partition), dir.path.clone())));
        }
    }
    let names: Vec<(Str, i32)> = wanted.keys().cloned().collect();
    let asks = wanted.into_iter().map(|((topic, partition), dir)| (topic, partition, dir)).collect();
    let codes = call.broker.shard.ask(|reply| Event::Move(MoveEvent::Alter { asks, reply })).await;
    let codes = codes.unwrap_or_else(|_| vec![ErrorCode::UNKNOWN_SERVER_ERROR; names.len()]);
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for ((topic_name, partition_index), error_code) in names.into_iter().zip(codes) {
        let partition = AlterReplicaLogDirPartitionResult { partition_index, error_code };
        match results.last_mut() {
            Some(last) if last.topic_name == topic_name => last.partitions.push(partition),
            _ => results.push(AlterReplicaLogDirTopicResult { topic_name, partitions: vec![partition] }),
        }
    }
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}
