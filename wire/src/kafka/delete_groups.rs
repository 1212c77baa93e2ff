//! DeleteGroups, API key 42.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-2.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<Str> [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-2.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<DeletableGroupResult> [0..],
    }

    pub struct DeletableGroupResult {
        group_id: Str [0..],
        error_code: ErrorCode [0..],
    }
}
