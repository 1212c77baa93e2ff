//! AllocateProducerIds, API key 67.

use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct AllocateProducerIdsRequest {
        broker_id: i32 [0..],
        broker_epoch: i64 [0..] = -1,
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct AllocateProducerIdsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        producer_id_start: i64 [0..],
        producer_id_len: i32 [0..],
    }
}
