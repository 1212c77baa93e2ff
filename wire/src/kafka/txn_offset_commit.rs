//! TxnOffsetCommit, API key 28.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 3..;
    /// Versions 0-3.
    pub struct TxnOffsetCommitRequest {
        transactional_id: Str [0..],
        group_id: Str [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        generation_id: i32 [3..] = -1,
        member_id: Str [3..],
        group_instance_id: Option<Str> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic> [0..],
    }

    pub struct TxnOffsetCommitRequestTopic {
        name: Str [0..],
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..],
    }

    pub struct TxnOffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<Str> [0..],
    }
}

message! { flexible 3..;
    /// Versions 0-3.
    pub struct TxnOffsetCommitResponse {
        throttle_time_ms: i32 [0..],
        topics: Vec<TxnOffsetCommitResponseTopic> [0..],
    }

    pub struct TxnOffsetCommitResponseTopic {
        name: Str [0..],
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..],
    }

    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
