//! ListTransactions, API key 66.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 0..;
    /// Versions 0.
    pub struct ListTransactionsRequest {
        state_filters: Vec<Str> [0..],
        producer_id_filters: Vec<i64> [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct ListTransactionsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        unknown_state_filters: Vec<Str> [0..],
        transaction_states: Vec<TransactionState> [0..],
    }

    pub struct TransactionState {
        transactional_id: Str [0..],
        producer_id: i64 [0..],
        transaction_state: Str [0..],
    }
}
