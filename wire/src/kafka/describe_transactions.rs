//! DescribeTransactions, API key 65.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct DescribeTransactionsRequest {
        transactional_ids: Vec<Str> [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct DescribeTransactionsResponse {
        throttle_time_ms: i32 [0..],
        transaction_states: Vec<TransactionState> [0..],
    }

    pub struct TransactionState {
        error_code: ErrorCode [0..],
        transactional_id: Str [0..],
        transaction_state: Str [0..],
        transaction_timeout_ms: i32 [0..],
        transaction_start_time_ms: i64 [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        topics: Vec<TopicData> [0..],
    }

    pub struct TopicData {
        topic: Str [0..],
        partitions: Vec<i32> [0..],
    }
}
