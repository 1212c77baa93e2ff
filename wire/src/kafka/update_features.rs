//! UpdateFeatures, API key 57.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0-1.
    pub struct UpdateFeaturesRequest {
        timeout_ms: i32 [0..] = 60_000,
        feature_updates: Vec<FeatureUpdateKey> [0..],
        validate_only: bool [1..],
    }

    pub struct FeatureUpdateKey {
        feature: Str [0..],
        max_version_level: i16 [0..],
        allow_downgrade: bool [0..=0],
        upgrade_type: i8 [1..] = 1,
    }
}

message! { flexible 0..;
    /// Versions 0-1.
    pub struct UpdateFeaturesResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        results: Vec<UpdatableFeatureResult> [0..],
    }

    pub struct UpdatableFeatureResult {
        feature: Str [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
    }
}
