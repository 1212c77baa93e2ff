//! SaslAuthenticate, API key 36.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 2..;
    /// Versions 0-2.
    pub struct SaslAuthenticateRequest {
        auth_bytes: Bytes [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-2.
    pub struct SaslAuthenticateResponse {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        auth_bytes: Bytes [0..],
        session_lifetime_ms: i64 [1..],
    }
}
