//! Produce, API key 0.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};
use bytes::Bytes;

message! { flexible 9..;
    /// Versions 0-9.
    pub struct ProduceRequest {
        transactional_id: Option<Str> [3..],
        acks: i16 [0..],
        timeout_ms: i32 [0..],
        topic_data: Vec<TopicProduceData> [0..],
    }

    pub struct TopicProduceData {
        name: Str [0..],
        partition_data: Vec<PartitionProduceData> [0..],
    }

    pub struct PartitionProduceData {
        index: i32 [0..],
        records: Option<Bytes> [0..],
    }
}

message! { flexible 9..;
    /// Versions 0-9.
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse> [0..],
        throttle_time_ms: i32 [1..],
    }

    pub struct TopicProduceResponse {
        name: Str [0..],
        partition_responses: Vec<PartitionProduceResponse> [0..],
    }

    pub struct PartitionProduceResponse {
        index: i32 [0..],
        error_code: ErrorCode [0..],
        base_offset: i64 [0..],
        log_append_time_ms: i64 [2..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        error_message: Option<Str> [8..],
    }

    pub struct BatchIndexAndErrorMessage {
        batch_index: i32 [8..],
        batch_index_error_message: Option<Str> [8..],
    }
}
