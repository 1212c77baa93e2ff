//! OffsetForLeaderEpoch, API key 23.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 4..;
    /// Versions 0-4.
    pub struct OffsetForLeaderEpochRequest {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic> [0..],
    }

    pub struct OffsetForLeaderTopic {
        topic: Str [0..],
        partitions: Vec<OffsetForLeaderPartition> [0..],
    }

    pub struct OffsetForLeaderPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [2..] = -1,
        leader_epoch: i32 [0..],
    }
}

message! { flexible 4..;
    /// Versions 0-4.
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2..],
        topics: Vec<OffsetForLeaderTopicResult> [0..],
    }

    pub struct OffsetForLeaderTopicResult {
        topic: Str [0..],
        partitions: Vec<EpochEndOffset> [0..],
    }

    pub struct EpochEndOffset {
        error_code: ErrorCode [0..],
        partition: i32 [0..],
        leader_epoch: i32 [1..] = -1,
        end_offset: i64 [0..] = -1,
    }
}
