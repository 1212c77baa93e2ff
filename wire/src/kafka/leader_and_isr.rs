//! LeaderAndIsr, API key 4.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 4..;
    /// Versions 0-7.
    pub struct LeaderAndIsrRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [7..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [2..] = -1,
        r#type: i8 [5..],
        ungrouped_partition_states: Vec<LeaderAndIsrPartitionState> [0..=1],
        topic_states: Vec<LeaderAndIsrTopicState> [2..],
        live_leaders: Vec<LeaderAndIsrLiveLeader> [0..],
    }

    pub struct LeaderAndIsrPartitionState {
        topic_name: Str [0..=1],
        partition_index: i32 [0..],
        controller_epoch: i32 [0..],
        leader: i32 [0..],
        leader_epoch: i32 [0..],
        isr: Vec<i32> [0..],
        partition_epoch: i32 [0..],
        replicas: Vec<i32> [0..],
        adding_replicas: Vec<i32> [3..],
        removing_replicas: Vec<i32> [3..],
        is_new: bool [1..],
        leader_recovery_state: i8 [6..],
    }

    pub struct LeaderAndIsrTopicState {
        topic_name: Str [2..],
        topic_id: Uuid [5..],
        partition_states: Vec<LeaderAndIsrPartitionState> [2..],
    }

    pub struct LeaderAndIsrLiveLeader {
        broker_id: i32 [0..],
        host_name: Str [0..],
        port: i32 [0..],
    }
}

message! { flexible 4..;
    /// Versions 0-7.
    pub struct LeaderAndIsrResponse {
        error_code: ErrorCode [0..],
        partition_errors: Vec<LeaderAndIsrPartitionError> [0..=4],
        topics: Vec<LeaderAndIsrTopicError> [5..],
    }

    pub struct LeaderAndIsrPartitionError {
        topic_name: Str [0..=4],
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }

    pub struct LeaderAndIsrTopicError {
        topic_id: Uuid [5..],
        partition_errors: Vec<LeaderAndIsrPartitionError> [5..],
    }
}
