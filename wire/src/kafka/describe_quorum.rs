//! DescribeQuorum, API key 55.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0-1.
    pub struct DescribeQuorumRequest {
        topics: Vec<RequestTopicData> [0..],
    }

    pub struct RequestTopicData {
        topic_name: Str [0..],
        partitions: Vec<RequestPartitionData> [0..],
    }

    pub struct RequestPartitionData {
        partition_index: i32 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0-1.
    pub struct DescribeQuorumResponse {
        error_code: ErrorCode [0..],
        topics: Vec<ResponseTopicData> [0..],
    }

    pub struct ResponseTopicData {
        topic_name: Str [0..],
        partitions: Vec<ResponsePartitionData> [0..],
    }

    pub struct ResponsePartitionData {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [0..],
        high_watermark: i64 [0..],
        current_voters: Vec<ReplicaState> [0..],
        observers: Vec<ReplicaState> [0..],
    }

    pub struct ReplicaState {
        replica_id: i32 [0..],
        log_end_offset: i64 [0..],
        last_fetch_timestamp: i64 [1..] = -1,
        last_caught_up_timestamp: i64 [1..] = -1,
    }
}
