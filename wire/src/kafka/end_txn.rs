//! EndTxn, API key 26.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 3..;
    /// Versions 0-3.
    pub struct EndTxnRequest {
        transactional_id: Str [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        committed: bool [0..],
    }
}

message! { flexible 3..;
    /// Versions 0-3.
    pub struct EndTxnResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
