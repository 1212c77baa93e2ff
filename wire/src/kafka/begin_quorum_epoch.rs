//! BeginQuorumEpoch, API key 53.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible none;
    /// Versions 0.
    pub struct BeginQuorumEpochRequest {
        cluster_id: Option<Str> [0..],
        topics: Vec<RequestTopicData> [0..],
    }

    pub struct RequestTopicData {
        topic_name: Str [0..],
        partitions: Vec<RequestPartitionData> [0..],
    }

    pub struct RequestPartitionData {
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [0..],
    }
}

message! { flexible none;
    /// Versions 0.
    pub struct BeginQuorumEpochResponse {
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
    }
}
