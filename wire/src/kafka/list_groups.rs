//! ListGroups, API key 16.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 3..;
    /// Versions 0-4.
    pub struct ListGroupsRequest {
        states_filter: Vec<Str> [4..],
    }
}

message! { flexible 3..;
    /// Versions 0-4.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        groups: Vec<ListedGroup> [0..],
    }

    pub struct ListedGroup {
        group_id: Str [0..],
        protocol_type: Str [0..],
        group_state: Str [4..],
    }
}
