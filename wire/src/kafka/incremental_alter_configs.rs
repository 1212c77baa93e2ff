//! IncrementalAlterConfigs, API key 44.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 1..;
    /// Versions 0-1.
    pub struct IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0..],
        validate_only: bool [0..],
    }

    pub struct AlterConfigsResource {
        resource_type: i8 [0..],
        resource_name: Str [0..],
        configs: Vec<AlterableConfig> [0..],
    }

    pub struct AlterableConfig {
        name: Str [0..],
        config_operation: i8 [0..],
        value: Option<Str> [0..],
    }
}

message! { flexible 1..;
    /// Versions 0-1.
    pub struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32 [0..],
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }

    pub struct AlterConfigsResourceResponse {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        resource_type: i8 [0..],
        resource_name: Str [0..],
    }
}
