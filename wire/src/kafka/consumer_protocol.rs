//! What members of a consumer group tell each other through the coordinator, which carries it unread. Each starts with
//! its version as an `i16`: see [`super::encode_versioned`].

use crate::Str;
use crate::kafka::codec::message;
use bytes::Bytes;

message! { flexible none;
    /// Versions 0-3.
    pub struct ConsumerProtocolSubscription {
        topics: Vec<Str> [0..],
        user_data: Option<Bytes> [0..],
        owned_partitions: Vec<SubscriptionTopicPartition> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<Str> [3..],
    }

    pub struct SubscriptionTopicPartition {
        topic: Str [1..],
        partitions: Vec<i32> [1..],
    }
}

message! { flexible none;
    /// Versions 0-3.
    pub struct ConsumerProtocolAssignment {
        assigned_partitions: Vec<AssignmentTopicPartition> [0..],
        user_data: Option<Bytes> [0..],
    }

    pub struct AssignmentTopicPartition {
        topic: Str [0..],
        partitions: Vec<i32> [0..],
    }
}

message! { flexible none;
    /// What a member with the sticky assignor had before: its `user_data`. Versions 0 and 1, which nobody tells.
    pub struct StickyUserData {
        previous_assignment: Vec<AssignmentTopicPartition> [0..],
        generation: i32 [1..] = -1,
    }
}

message! { flexible none;
    /// The `user_data` of the cooperative sticky assignor; it has no version.
    pub struct CooperativeUserData {
        generation: i32 [0..] = -1,
    }
}
