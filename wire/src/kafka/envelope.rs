//! Envelope, API key 58.

use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 0..;
    /// Versions 0.
    pub struct EnvelopeRequest {
        request_data: Bytes [0..],
        request_principal: Option<Bytes> [0..],
        client_host_address: Bytes [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct EnvelopeResponse {
        response_data: Option<Bytes> [0..],
        error_code: ErrorCode [0..],
    }
}
