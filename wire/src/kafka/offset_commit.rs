//! OffsetCommit, API key 8.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 8..;
    /// Versions 0-8.
    pub struct OffsetCommitRequest {
        group_id: Str [0..],
        generation_id: i32 [1..] = -1,
        member_id: Str [1..],
        group_instance_id: Option<Str> [7..],
        retention_time_ms: i64 [2..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic> [0..],
    }

    pub struct OffsetCommitRequestTopic {
        name: Str [0..],
        partitions: Vec<OffsetCommitRequestPartition> [0..],
    }

    pub struct OffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [6..] = -1,
        commit_timestamp: i64 [1..=1] = -1,
        committed_metadata: Option<Str> [0..],
    }
}

message! { flexible 8..;
    /// Versions 0-8.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetCommitResponseTopic> [0..],
    }

    pub struct OffsetCommitResponseTopic {
        name: Str [0..],
        partitions: Vec<OffsetCommitResponsePartition> [0..],
    }

    pub struct OffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
