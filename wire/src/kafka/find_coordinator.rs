//! FindCoordinator, API key 10.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 3..;
    /// Versions 0-4.
    pub struct FindCoordinatorRequest {
        key: Str [0..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<Str> [4..],
    }
}

message! { flexible 3..;
    /// Versions 0-4.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..=3],
        error_message: Option<Str> [1..=3],
        node_id: i32 [0..=3],
        host: Str [0..=3],
        port: i32 [0..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    pub struct Coordinator {
        key: Str [4..],
        node_id: i32 [4..],
        host: Str [4..],
        port: i32 [4..],
        error_code: ErrorCode [4..],
        error_message: Option<Str> [4..],
    }
}
