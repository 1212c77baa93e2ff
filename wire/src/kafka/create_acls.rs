//! CreateAcls, API key 30.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreateAclsRequest {
        creations: Vec<AclCreation> [0..],
    }

    pub struct AclCreation {
        resource_type: i8 [0..],
        resource_name: Str [0..],
        resource_pattern_type: i8 [1..] = 3,
        principal: Str [0..],
        host: Str [0..],
        operation: i8 [0..],
        permission_type: i8 [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-3.
    pub struct CreateAclsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<AclCreationResult> [0..],
    }

    pub struct AclCreationResult {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
