//! SaslHandshake, API key 17.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible none;
    /// Versions 0-1.
    pub struct SaslHandshakeRequest {
        mechanism: Str [0..],
    }
}

message! { flexible none;
    /// Versions 0-1.
    pub struct SaslHandshakeResponse {
        error_code: ErrorCode [0..],
        mechanisms: Vec<Str> [0..],
    }
}
