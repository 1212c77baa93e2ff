//! DeleteAcls, API key 31.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-3.
    pub struct DeleteAclsRequest {
        filters: Vec<DeleteAclsFilter> [0..],
    }

    pub struct DeleteAclsFilter {
        resource_type_filter: i8 [0..],
        resource_name_filter: Option<Str> [0..],
        pattern_type_filter: i8 [1..] = 3,
        principal_filter: Option<Str> [0..],
        host_filter: Option<Str> [0..],
        operation: i8 [0..],
        permission_type: i8 [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-3.
    pub struct DeleteAclsResponse {
        throttle_time_ms: i32 [0..],
        filter_results: Vec<DeleteAclsFilterResult> [0..],
    }

    pub struct DeleteAclsFilterResult {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        matching_acls: Vec<DeleteAclsMatchingAcl> [0..],
    }

    pub struct DeleteAclsMatchingAcl {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        resource_type: i8 [0..],
        resource_name: Str [0..],
        pattern_type: i8 [1..] = 3,
        principal: Str [0..],
        host: Str [0..],
        operation: i8 [0..],
        permission_type: i8 [0..],
    }
}
