//! AlterPartition, API key 56.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 0..;
    /// Versions 0-3.
    pub struct AlterPartitionRequest {
        broker_id: i32 [0..],
        broker_epoch: i64 [0..] = -1,
        topics: Vec<RequestTopicData> [0..],
    }

    pub struct RequestTopicData {
        topic_name: Str [0..=1],
        topic_id: Uuid [2..],
        partitions: Vec<RequestPartitionData> [0..],
    }

    pub struct RequestPartitionData {
        partition_index: i32 [0..],
        leader_epoch: i32 [0..],
        new_isr: Vec<i32> [0..=2],
        new_isr_with_epochs: Vec<BrokerState> [3..],
        leader_recovery_state: i8 [1..],
        partition_epoch: i32 [0..],
    }

    pub struct BrokerState {
        broker_id: i32 [3..],
        broker_epoch: i64 [3..] = -1,
    }
}

message! { flexible 0..;
    /// Versions 0-3.
    pub struct AlterPartitionResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        topics: Vec<ResponseTopicData> [0..],
    }

    pub struct ResponseTopicData {
        topic_name: Str [0..=1],
        topic_id: Uuid [2..],
        partitions: Vec<ResponsePartitionData> [0..],
    }

    pub struct ResponsePartitionData {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [0..],
        isr: Vec<i32> [0..],
        leader_recovery_state: i8 [1..],
        partition_epoch: i32 [0..],
    }
}
