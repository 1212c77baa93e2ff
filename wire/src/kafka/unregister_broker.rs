//! UnregisterBroker, API key 64.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct UnregisterBrokerRequest {
        broker_id: i32 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct UnregisterBrokerResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
