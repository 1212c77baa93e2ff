//! AlterReplicaLogDirs, API key 34.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-2.
    pub struct AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir> [0..],
    }

    pub struct AlterReplicaLogDir {
        path: Str [0..],
        topics: Vec<AlterReplicaLogDirTopic> [0..],
    }

    pub struct AlterReplicaLogDirTopic {
        name: Str [0..],
        partitions: Vec<i32> [0..],
    }
}

message! { flexible 2..;
    /// Versions 0-2.
    pub struct AlterReplicaLogDirsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<AlterReplicaLogDirTopicResult> [0..],
    }

    pub struct AlterReplicaLogDirTopicResult {
        topic_name: Str [0..],
        partitions: Vec<AlterReplicaLogDirPartitionResult> [0..],
    }

    pub struct AlterReplicaLogDirPartitionResult {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
