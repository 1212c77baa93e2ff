//! CreateDelegationToken, API key 38.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreateDelegationTokenRequest {
        owner_principal_type: Option<Str> [3..],
        owner_principal_name: Option<Str> [3..],
        renewers: Vec<CreatableRenewers> [0..],
        max_lifetime_ms: i64 [0..],
    }

    pub struct CreatableRenewers {
        principal_type: Str [0..],
        principal_name: Str [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreateDelegationTokenResponse {
        error_code: ErrorCode [0..],
        principal_type: Str [0..],
        principal_name: Str [0..],
        token_requester_principal_type: Str [3..],
        token_requester_principal_name: Str [3..],
        issue_timestamp_ms: i64 [0..],
        expiry_timestamp_ms: i64 [0..],
        max_timestamp_ms: i64 [0..],
        token_id: Str [0..],
        hmac: Bytes [0..],
        throttle_time_ms: i32 [0..],
    }
}
