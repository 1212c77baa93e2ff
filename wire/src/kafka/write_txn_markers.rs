//! WriteTxnMarkers, API key 27.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 1..;
    /// Versions 0-1.
    pub struct WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker> [0..],
    }

    pub struct WritableTxnMarker {
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        transaction_result: bool [0..],
        topics: Vec<WritableTxnMarkerTopic> [0..],
        coordinator_epoch: i32 [0..],
    }

    pub struct WritableTxnMarkerTopic {
        name: Str [0..],
        partition_indexes: Vec<i32> [0..],
    }
}

message! { flexible 1..;
    /// Versions 0-1.
    pub struct WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult> [0..],
    }

    pub struct WritableTxnMarkerResult {
        producer_id: i64 [0..],
        topics: Vec<WritableTxnMarkerTopicResult> [0..],
    }

    pub struct WritableTxnMarkerTopicResult {
        name: Str [0..],
        partitions: Vec<WritableTxnMarkerPartitionResult> [0..],
    }

    pub struct WritableTxnMarkerPartitionResult {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
