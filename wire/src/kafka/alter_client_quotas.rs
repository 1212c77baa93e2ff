//! AlterClientQuotas, API key 49.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 1..;
    /// Versions 0-1.
    pub struct AlterClientQuotasRequest {
        entries: Vec<RequestEntryData> [0..],
        validate_only: bool [0..],
    }

    pub struct RequestEntryData {
        entity: Vec<RequestEntityData> [0..],
        ops: Vec<OpData> [0..],
    }

    pub struct RequestEntityData {
        entity_type: Str [0..],
        entity_name: Option<Str> [0..],
    }

    pub struct OpData {
        key: Str [0..],
        value: f64 [0..],
        remove: bool [0..],
    }
}

message! { flexible 1..;
    /// Versions 0-1.
    pub struct AlterClientQuotasResponse {
        throttle_time_ms: i32 [0..],
        entries: Vec<ResponseEntryData> [0..],
    }

    pub struct ResponseEntryData {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        entity: Vec<ResponseEntityData> [0..],
    }

    pub struct ResponseEntityData {
        entity_type: Str [0..],
        entity_name: Option<Str> [0..],
    }
}
