//! CreatePartitions, API key 37.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0..],
        timeout_ms: i32 [0..],
        validate_only: bool [0..],
    }

    pub struct CreatePartitionsTopic {
        name: Str [0..],
        count: i32 [0..],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..],
    }

    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    pub struct CreatePartitionsTopicResult {
        name: Str [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
