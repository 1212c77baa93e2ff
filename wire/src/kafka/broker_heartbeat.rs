//! BrokerHeartbeat, API key 63.

use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct BrokerHeartbeatRequest {
        broker_id: i32 [0..],
        broker_epoch: i64 [0..] = -1,
        current_metadata_offset: i64 [0..],
        want_fence: bool [0..],
        want_shut_down: bool [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct BrokerHeartbeatResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        is_caught_up: bool [0..],
        is_fenced: bool [0..] = true,
        should_shut_down: bool [0..],
    }
}
