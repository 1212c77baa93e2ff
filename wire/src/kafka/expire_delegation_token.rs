//! ExpireDelegationToken, API key 40.

use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 2..;
    /// Versions 0-2.
    pub struct ExpireDelegationTokenRequest {
        hmac: Bytes [0..],
        expiry_time_period_ms: i64 [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-2.
    pub struct ExpireDelegationTokenResponse {
        error_code: ErrorCode [0..],
        expiry_timestamp_ms: i64 [0..],
        throttle_time_ms: i32 [0..],
    }
}
