//! Heartbeat, API key 12.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 4..;
    /// Versions 0-4.
    pub struct HeartbeatRequest {
        group_id: Str [0..],
        generation_id: i32 [0..],
        member_id: Str [0..],
        group_instance_id: Option<Str> [3..],
    }
}

message! { flexible 4..;
    /// Versions 0-4.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
    }
}
