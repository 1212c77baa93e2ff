//! DescribeClientQuotas, API key 48.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 1..;
    /// Versions 0-1.
    pub struct DescribeClientQuotasRequest {
        components: Vec<ComponentData> [0..],
        strict: bool [0..],
    }

    pub struct ComponentData {
        entity_type: Str [0..],
        match_type: i8 [0..],
        r#match: Option<Str> [0..],
    }
}

message! { flexible 1..;
    /// Versions 0-1.
    pub struct DescribeClientQuotasResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        entries: Option<Vec<EntryData>> [0..],
    }

    pub struct EntryData {
        entity: Vec<EntityData> [0..],
        values: Vec<ValueData> [0..],
    }

    pub struct EntityData {
        entity_type: Str [0..],
        entity_name: Option<Str> [0..],
    }

    pub struct ValueData {
        key: Str [0..],
        value: f64 [0..],
    }
}
