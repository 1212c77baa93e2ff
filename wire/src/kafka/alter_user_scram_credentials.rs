//! AlterUserScramCredentials, API key 51.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 0..;
    /// Versions 0.
    pub struct AlterUserScramCredentialsRequest {
        deletions: Vec<ScramCredentialDeletion> [0..],
        upsertions: Vec<ScramCredentialUpsertion> [0..],
    }

    pub struct ScramCredentialDeletion {
        name: Str [0..],
        mechanism: i8 [0..],
    }

    pub struct ScramCredentialUpsertion {
        name: Str [0..],
        mechanism: i8 [0..],
        iterations: i32 [0..],
        salt: Bytes [0..],
        salted_password: Bytes [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct AlterUserScramCredentialsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<AlterUserScramCredentialsResult> [0..],
    }

    pub struct AlterUserScramCredentialsResult {
        user: Str [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
