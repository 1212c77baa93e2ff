//! DescribeCluster and DescribeLogDirs: what there is, for administrators.

use std::collections::BTreeMap;

use wire::Str;
use wire::kafka::ErrorCode;
use wire::kafka::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use wire::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::Call;
use crate::shard::Event;

/// The live brokers on the listener of the asker.
pub async fn answer(call: &Call<'_>, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let now = call.broker.metadata.snapshot();
    let broker = |(id, node): (&i32, &crate::metadata::Node)| {
        let (host, port) = node.endpoints.get(&*call.peer.listener)?.clone();
        Some(DescribeClusterBroker { broker_id: *id, host, port, rack: node.rack.clone() })
    };
    let mut response = DescribeClusterResponse {
        cluster_id: call.broker.cluster_id.clone(),
        controller_id: now.controller.unwrap_or(-1),
        brokers: now.nodes.iter().filter_map(broker).collect(),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = call.cluster_operations();
    }
    response
}

/// Sizes of this broker's logs by directory.
pub async fn log_dirs(call: &Call<'_>, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let wanted = |topic: &str, partition: i32| {
        request.topics.as_ref().is_none_or(|topics| {
            topics.iter().any(|asked| asked.topic == topic && asked.partitions.contains(&partition))
        })
    };
    let dirs = call.broker.shard.ask(|reply| Event::DescribeLogs { reply }).await.unwrap_or_default();
    let results = dirs.into_iter().map(|(path, logs)| {
        let log_dir = Str::from(path.display().to_string());
        let Some(logs) = logs else {
            let error_code = ErrorCode::KAFKA_STORAGE_ERROR;
            return DescribeLogDirsResult { log_dir, error_code, ..Default::default() };
        };
        // Kafka names the other topics of the directory, too, without their partitions.
        let mut topics: BTreeMap<Str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for log in logs {
            let wanted = wanted(&log.topic, log.partition);
            let partitions = topics.entry(log.topic).or_default();
            if !wanted {
                continue;
            }
            partitions.push(DescribeLogDirsPartition {
                partition_index: log.partition,
                partition_size: i64::try_from(log.size).unwrap_or(i64::MAX),
                offset_lag: log.offset_lag,
                is_future_key: log.future,
            });
        }
        let (total_bytes, usable_bytes) = volume(&path);
        let topics = topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name, partitions });
        DescribeLogDirsResult {
            log_dir,
            topics: topics.collect(),
            total_bytes,
            usable_bytes,
            ..Default::default()
        }
    });
    DescribeLogDirsResponse { results: results.collect(), ..Default::default() }
}

/// Size of the volume, and what may still be written to it; -1 where that cannot be told.
fn volume(path: &std::path::Path) -> (i64, i64) {
    let Ok(found) = rustix::fs::statvfs(path) else { return (-1, -1) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.f_frsize)).unwrap_or(i64::MAX);
    (bytes(found.f_blocks), bytes(found.f_bavail))
}
