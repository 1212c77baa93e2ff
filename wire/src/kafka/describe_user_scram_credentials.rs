//! DescribeUserScramCredentials, API key 50.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct DescribeUserScramCredentialsRequest {
        users: Option<Vec<UserName>> [0..],
    }

    pub struct UserName {
        name: Str [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct DescribeUserScramCredentialsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        results: Vec<DescribeUserScramCredentialsResult> [0..],
    }

    pub struct DescribeUserScramCredentialsResult {
        user: Str [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        credential_infos: Vec<CredentialInfo> [0..],
    }

    pub struct CredentialInfo {
        mechanism: i8 [0..],
        iterations: i32 [0..],
    }
}
