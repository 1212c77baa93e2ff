//! ListPartitionReassignments, API key 46.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct ListPartitionReassignmentsRequest {
        timeout_ms: i32 [0..] = 60_000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0..],
    }

    pub struct ListPartitionReassignmentsTopics {
        name: Str [0..],
        partition_indexes: Vec<i32> [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct ListPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        topics: Vec<OngoingTopicReassignment> [0..],
    }

    pub struct OngoingTopicReassignment {
        name: Str [0..],
        partitions: Vec<OngoingPartitionReassignment> [0..],
    }

    pub struct OngoingPartitionReassignment {
        partition_index: i32 [0..],
        replicas: Vec<i32> [0..],
        adding_replicas: Vec<i32> [0..],
        removing_replicas: Vec<i32> [0..],
    }
}
