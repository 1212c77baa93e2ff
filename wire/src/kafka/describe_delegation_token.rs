//! DescribeDelegationToken, API key 41.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 2..;
    /// Versions 0-3.
    pub struct DescribeDelegationTokenRequest {
        owners: Option<Vec<DescribeDelegationTokenOwner>> [0..],
    }

    pub struct DescribeDelegationTokenOwner {
        principal_type: Str [0..],
        principal_name: Str [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-3.
    pub struct DescribeDelegationTokenResponse {
        error_code: ErrorCode [0..],
        tokens: Vec<DescribedDelegationToken> [0..],
        throttle_time_ms: i32 [0..],
    }

    pub struct DescribedDelegationToken {
        principal_type: Str [0..],
        principal_name: Str [0..],
        token_requester_principal_type: Str [3..],
        token_requester_principal_name: Str [3..],
        issue_timestamp: i64 [0..],
        expiry_timestamp: i64 [0..],
        max_timestamp: i64 [0..],
        token_id: Str [0..],
        hmac: Bytes [0..],
        renewers: Vec<DescribedDelegationTokenRenewer> [0..],
    }

    pub struct DescribedDelegationTokenRenewer {
        principal_type: Str [0..],
        principal_name: Str [0..],
    }
}
