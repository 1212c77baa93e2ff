//! OffsetFetch, API key 9.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 6..;
    /// Versions 0-8.
    pub struct OffsetFetchRequest {
        group_id: Str [0..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0..=7, null 2..=7],
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }

    pub struct OffsetFetchRequestTopic {
        name: Str [0..=7],
        partition_indexes: Vec<i32> [0..=7],
    }

    pub struct OffsetFetchRequestGroup {
        group_id: Str [8..],
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..],
    }

    pub struct OffsetFetchRequestTopics {
        name: Str [8..],
        partition_indexes: Vec<i32> [8..],
    }
}

message! { flexible 6..;
    /// Versions 0-8.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetFetchResponseTopic> [0..=7],
        error_code: ErrorCode [2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    pub struct OffsetFetchResponseTopic {
        name: Str [0..=7],
        partitions: Vec<OffsetFetchResponsePartition> [0..=7],
    }

    pub struct OffsetFetchResponsePartition {
        partition_index: i32 [0..=7],
        committed_offset: i64 [0..=7],
        committed_leader_epoch: i32 [5..=7] = -1,
        metadata: Option<Str> [0..=7],
        error_code: ErrorCode [0..=7],
    }

    pub struct OffsetFetchResponseGroup {
        group_id: Str [8..],
        topics: Vec<OffsetFetchResponseTopics> [8..],
        error_code: ErrorCode [8..],
    }

    pub struct OffsetFetchResponseTopics {
        name: Str [8..],
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    pub struct OffsetFetchResponsePartitions {
        partition_index: i32 [8..],
        committed_offset: i64 [8..],
        committed_leader_epoch: i32 [8..] = -1,
        metadata: Option<Str> [8..],
        error_code: ErrorCode [8..],
    }
}
