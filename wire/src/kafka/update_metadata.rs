//! UpdateMetadata, API key 6.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 6..;
    /// Versions 0-8.
    pub struct UpdateMetadataRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [8..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [5..] = -1,
        ungrouped_partition_states: Vec<UpdateMetadataPartitionState> [0..=4],
        topic_states: Vec<UpdateMetadataTopicState> [5..],
        live_brokers: Vec<UpdateMetadataBroker> [0..],
    }

    pub struct UpdateMetadataPartitionState {
        topic_name: Str [0..=4],
        partition_index: i32 [0..],
        controller_epoch: i32 [0..],
        leader: i32 [0..],
        leader_epoch: i32 [0..],
        isr: Vec<i32> [0..],
        zk_version: i32 [0..],
        replicas: Vec<i32> [0..],
        offline_replicas: Vec<i32> [4..],
    }

    pub struct UpdateMetadataTopicState {
        topic_name: Str [5..],
        topic_id: Uuid [7..],
        partition_states: Vec<UpdateMetadataPartitionState> [5..],
    }

    pub struct UpdateMetadataBroker {
        id: i32 [0..],
        v0_host: Str [0..=0],
        v0_port: i32 [0..=0],
        endpoints: Vec<UpdateMetadataEndpoint> [1..],
        rack: Option<Str> [2..],
    }

    pub struct UpdateMetadataEndpoint {
        port: i32 [1..],
        host: Str [1..],
        listener: Str [3..],
        security_protocol: i16 [1..],
    }
}

message! { flexible 6..;
    /// Versions 0-8.
    pub struct UpdateMetadataResponse {
        error_code: ErrorCode [0..],
    }
}
