//! Values of KRaft's control records.

use crate::kafka::codec::message;

message! { flexible 0..;
    /// Versions 0.
    pub struct LeaderChangeMessage {
        version: i16 [0..],
        leader_id: i32 [0..],
        voters: Vec<Voter> [0..],
        granting_voters: Vec<Voter> [0..],
    }

    pub struct Voter {
        voter_id: i32 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct SnapshotHeaderRecord {
        version: i16 [0..],
        last_contained_log_timestamp: i64 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0.
    pub struct SnapshotFooterRecord {
        version: i16 [0..],
    }
}
