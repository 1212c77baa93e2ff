//! Records of the topic `__consumer_offsets`. Key and value each start with their version as an `i16`: see
//! [`super::encode_versioned`]. Key versions 0 and 1 are offset commits, 2 is group metadata; a null value deletes.

use crate::Str;
use crate::kafka::codec::message;
use bytes::Bytes;

message! { flexible none;
    /// Versions 2.
    pub struct GroupMetadataKey {
        group: Str [2..=2],
    }
}

message! { flexible 4..;
    /// Versions 0-4.
    pub struct GroupMetadataValue {
        protocol_type: Str [0..],
        generation: i32 [0..],
        protocol: Option<Str> [0..],
        leader: Option<Str> [0..],
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<MemberMetadata> [0..],
    }

    pub struct MemberMetadata {
        member_id: Str [0..],
        group_instance_id: Option<Str> [3..],
        client_id: Str [0..],
        client_host: Str [0..],
        rebalance_timeout: i32 [1..],
        session_timeout: i32 [0..],
        subscription: Bytes [0..],
        assignment: Bytes [0..],
    }
}

message! { flexible none;
    /// Versions 0-1.
    pub struct OffsetCommitKey {
        group: Str [0..=1],
        topic: Str [0..=1],
        partition: i32 [0..=1],
    }
}

message! { flexible 4..;
    /// Versions 0-4.
    pub struct OffsetCommitValue {
        offset: i64 [0..],
        leader_epoch: i32 [3..] = -1,
        metadata: Str [0..],
        commit_timestamp: i64 [0..],
        expire_timestamp: i64 [1..=1] = -1,
    }
}
