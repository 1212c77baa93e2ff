//! DescribeConfigs, API key 32.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 4..;
    /// Versions 0-4.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [0..],
        include_synonyms: bool [1..],
        include_documentation: bool [3..],
    }

    pub struct DescribeConfigsResource {
        resource_type: i8 [0..],
        resource_name: Str [0..],
        configuration_keys: Option<Vec<Str>> [0..],
    }
}

message! { flexible 4..;
    /// Versions 0-4.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<DescribeConfigsResult> [0..],
    }

    pub struct DescribeConfigsResult {
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        resource_type: i8 [0..],
        resource_name: Str [0..],
        configs: Vec<DescribeConfigsResourceResult> [0..],
    }

    pub struct DescribeConfigsResourceResult {
        name: Str [0..],
        value: Option<Str> [0..],
        read_only: bool [0..],
        is_default: bool [0..=0],
        config_source: i8 [1..] = -1,
        is_sensitive: bool [0..],
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        config_type: i8 [3..],
        documentation: Option<Str> [3..],
    }

    pub struct DescribeConfigsSynonym {
        name: Str [1..],
        value: Option<Str> [1..],
        source: i8 [1..],
    }
}
