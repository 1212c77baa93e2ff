//! ControlledShutdown, API key 7.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 3..;
    /// Versions 0-3.
    pub struct ControlledShutdownRequest {
        broker_id: i32 [0..],
        broker_epoch: i64 [2..] = -1,
    }
}

message! { flexible 3..;
    /// Versions 0-3.
    pub struct ControlledShutdownResponse {
        error_code: ErrorCode [0..],
        remaining_partitions: Vec<RemainingPartition> [0..],
    }

    pub struct RemainingPartition {
        topic_name: Str [0..],
        partition_index: i32 [0..],
    }
}
