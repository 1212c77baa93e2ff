//! DeleteTopics, API key 20.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 4..;
    /// Versions 0-6.
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Str> [0..=5],
        timeout_ms: i32 [0..],
    }

    pub struct DeleteTopicState {
        name: Option<Str> [6..],
        topic_id: Uuid [6..],
    }
}

message! { flexible 4..;
    /// Versions 0-6.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32 [1..],
        responses: Vec<DeletableTopicResult> [0..],
    }

    pub struct DeletableTopicResult {
        name: Option<Str> [0.., null 6..],
        topic_id: Uuid [6..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [5..],
    }
}
