//! StopReplica, API key 5.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-4.
    pub struct StopReplicaRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [4..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [1..] = -1,
        delete_partitions: bool [0..=2],
        ungrouped_partitions: Vec<StopReplicaPartitionV0> [0..=0],
        topics: Vec<StopReplicaTopicV1> [1..=2],
        topic_states: Vec<StopReplicaTopicState> [3..],
    }

    pub struct StopReplicaPartitionV0 {
        topic_name: Str [0..=0],
        partition_index: i32 [0..=0],
    }

    pub struct StopReplicaTopicV1 {
        name: Str [1..=2],
        partition_indexes: Vec<i32> [1..=2],
    }

    pub struct StopReplicaTopicState {
        topic_name: Str [3..],
        partition_states: Vec<StopReplicaPartitionState> [3..],
    }

    pub struct StopReplicaPartitionState {
        partition_index: i32 [3..],
        leader_epoch: i32 [3..] = -1,
        delete_partition: bool [3..],
    }
}

message! { flexible 2..;
    /// Versions 0-4.
    pub struct StopReplicaResponse {
        error_code: ErrorCode [0..],
        partition_errors: Vec<StopReplicaPartitionError> [0..],
    }

    pub struct StopReplicaPartitionError {
        topic_name: Str [0..],
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
