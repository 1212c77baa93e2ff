//! ConsumerGroupHeartbeat, API key 68.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};
use bytes::Bytes;

message! { flexible 0..;
    /// Versions 0.
    pub struct ConsumerGroupHeartbeatRequest {
        group_id: Str [0..],
        member_id: Str [0..],
        member_epoch: i32 [0..],
        instance_id: Option<Str> [0..],
        rack_id: Option<Str> [0..],
        rebalance_timeout_ms: i32 [0..] = -1,
        subscribed_topic_names: Option<Vec<Str>> [0..],
        subscribed_topic_regex: Option<Str> [0..],
        server_assignor: Option<Str> [0..],
        client_assignors: Option<Vec<Assignor>> [0..],
        topic_partitions: Option<Vec<RequestTopicPartitions>> [0..],
    }

    pub struct Assignor {
        name: Str [0..],
        minimum_version: i16 [0..],
        maximum_version: i16 [0..],
        reason: i8 [0..],
        metadata_version: i16 [0..],
        metadata_bytes: Bytes [0..],
    }

    pub struct RequestTopicPartitions {
        topic_id: Uuid [0..],
        partitions: Vec<i32> [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<Str> [0..],
        member_id: Option<Str> [0..],
        member_epoch: i32 [0..],
        should_compute_assignment: bool [0..],
        heartbeat_interval_ms: i32 [0..],
        assignment: Option<Assignment> [0..],
    }

    pub struct Assignment {
        error: i8 [0..],
        assigned_topic_partitions: Vec<ResponseTopicPartitions> [0..],
        pending_topic_partitions: Vec<ResponseTopicPartitions> [0..],
        metadata_version: i16 [0..],
        metadata_bytes: Bytes [0..],
    }

    pub struct ResponseTopicPartitions {
        topic_id: Uuid [0..],
        partitions: Vec<i32> [0..],
    }
}
