//! LeaveGroup, API key 13.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 4..;
    /// Versions 0-5.
    pub struct LeaveGroupRequest {
        group_id: Str [0..],
        member_id: Str [0..=2],
        members: Vec<MemberIdentity> [3..],
    }

    pub struct MemberIdentity {
        member_id: Str [3..],
        group_instance_id: Option<Str> [3..],
        reason: Option<Str> [5..],
    }
}

message! { flexible 4..;
    /// Versions 0-5.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        members: Vec<MemberResponse> [3..],
    }

    pub struct MemberResponse {
        member_id: Str [3..],
        group_instance_id: Option<Str> [3..],
        error_code: ErrorCode [3..],
    }
}
