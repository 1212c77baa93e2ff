//! OffsetDelete, API key 47.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible none;
    /// Versions 0.
    pub struct OffsetDeleteRequest {
        group_id: Str [0..],
        topics: Vec<OffsetDeleteRequestTopic> [0..],
    }

    pub struct OffsetDeleteRequestTopic {
        name: Str [0..],
        partitions: Vec<OffsetDeleteRequestPartition> [0..],
    }

    pub struct OffsetDeleteRequestPartition {
        partition_index: i32 [0..],
    }
}

message! { flexible none;
    /// Versions 0.
    pub struct OffsetDeleteResponse {
        error_code: ErrorCode [0..],
        throttle_time_ms: i32 [0..],
        topics: Vec<OffsetDeleteResponseTopic> [0..],
    }

    pub struct OffsetDeleteResponseTopic {
        name: Str [0..],
        partitions: Vec<OffsetDeleteResponsePartition> [0..],
    }

    pub struct OffsetDeleteResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
