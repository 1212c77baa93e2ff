//! ElectLeaders, API key 43.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-2.
    pub struct ElectLeadersRequest {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<TopicPartitions>> [0..],
        timeout_ms: i32 [0..] = 60_000,
    }

    pub struct TopicPartitions {
        topic: Str [0..],
        partitions: Vec<i32> [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-2.
    pub struct ElectLeadersResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [1..],
        replica_election_results: Vec<ReplicaElectionResult> [0..],
    }

    pub struct ReplicaElectionResult {
        topic: Str [0..],
        partition_result: Vec<PartitionResult> [0..],
    }

    pub struct PartitionResult {
        partition_id: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
