//! FetchSnapshot, API key 59.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 0..;
    /// Versions 0.
    pub struct FetchSnapshotRequest {
        cluster_id: Option<Str> [0.., tag 0],
        replica_id: i32 [0..] = -1,
        max_bytes: i32 [0..] = i32::MAX,
        topics: Vec<RequestTopicSnapshot> [0..],
    }

    pub struct RequestTopicSnapshot {
        name: Str [0..],
        partitions: Vec<RequestPartitionSnapshot> [0..],
    }

    pub struct RequestPartitionSnapshot {
        partition: i32 [0..],
        current_leader_epoch: i32 [0..],
        snapshot_id: RequestSnapshotId [0..],
        position: i64 [0..],
    }

    pub struct RequestSnapshotId {
        end_offset: i64 [0..],
        epoch: i32 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct FetchSnapshotResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        topics: Vec<ResponseTopicSnapshot> [0..],
    }

    pub struct ResponseTopicSnapshot {
        name: Str [0..],
        partitions: Vec<ResponsePartitionSnapshot> [0..],
    }

    pub struct ResponsePartitionSnapshot {
        index: i32 [0..],
        error_code: ErrorCode [0..],
        snapshot_id: ResponseSnapshotId [0..],
        current_leader: LeaderIdAndEpoch [0.., tag 0],
        size: i64 [0..],
        position: i64 [0..],
        unaligned_records: Bytes [0..],
    }

    pub struct ResponseSnapshotId {
        end_offset: i64 [0..],
        epoch: i32 [0..],
    }

    pub struct LeaderIdAndEpoch {
        leader_id: i32 [0..],
        leader_epoch: i32 [0..],
    }
}
