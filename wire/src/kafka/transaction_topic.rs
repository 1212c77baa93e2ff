//! Records of the topic `__transaction_state`. Key and value each start with their version as an `i16`: see
//! [`super::encode_versioned`].

use crate::Str;
use crate::kafka::codec::message;

message! { flexible none;
    /// Versions 0.
    pub struct TransactionLogKey {
        transactional_id: Str [0..=0],
    }
}

message! { flexible 1..;
    /// Versions 0-1.
    pub struct TransactionLogValue {
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        transaction_timeout_ms: i32 [0..],
        transaction_status: i8 [0..],
        transaction_partitions: Option<Vec<PartitionsSchema>> [0..],
        transaction_last_update_timestamp_ms: i64 [0..],
        transaction_start_timestamp_ms: i64 [0..],
    }

    pub struct PartitionsSchema {
        topic: Str [0..],
        partition_ids: Vec<i32> [0..],
    }
}
