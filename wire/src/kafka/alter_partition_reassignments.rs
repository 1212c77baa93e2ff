//! AlterPartitionReassignments, API key 45.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct AlterPartitionReassignmentsRequest {
        timeout_ms: i32 [0..] = 60_000,
        topics: Vec<ReassignableTopic> [0..],
    }

    pub struct ReassignableTopic {
        name: Str [0..],
        partitions: Vec<ReassignablePartition> [0..],
    }

    pub struct ReassignablePartition {
        partition_index: i32 [0..],
        replicas: Option<Vec<i32>> [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        responses: Vec<ReassignableTopicResponse> [0..],
    }

    pub struct ReassignableTopicResponse {
        name: Str [0..],
        partitions: Vec<ReassignablePartitionResponse> [0..],
    }

    pub struct ReassignablePartitionResponse {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
