//! SyncGroup, API key 14.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 4..;
    /// Versions 0-5.
    pub struct SyncGroupRequest {
        group_id: Str [0..],
        generation_id: i32 [0..],
        member_id: Str [0..],
        group_instance_id: Option<Str> [3..],
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignments: Vec<SyncGroupRequestAssignment> [0..],
    }

    pub struct SyncGroupRequestAssignment {
        member_id: Str [0..],
        assignment: Bytes [0..],
    }
}

message! { flexible 4..;
    /// Versions 0-5.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignment: Bytes [0..],
    }
}
