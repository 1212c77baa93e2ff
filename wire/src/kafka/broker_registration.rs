//! BrokerRegistration, API key 62.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 0..;
    /// Versions 0-1.
    pub struct BrokerRegistrationRequest {
        broker_id: i32 [0..],
        cluster_id: Str [0..],
        incarnation_id: Uuid [0..],
        listeners: Vec<Listener> [0..],
        features: Vec<Feature> [0..],
        rack: Option<Str> [0..],
        is_migrating_zk_broker: bool [1..],
    }

    pub struct Listener {
        name: Str [0..],
        host: Str [0..],
        port: u16 [0..],
        security_protocol: i16 [0..],
    }

    pub struct Feature {
        name: Str [0..],
        min_supported_version: i16 [0..],
        max_supported_version: i16 [0..],
    }
}

message! { flexible 0..;
    /// Versions 0-1.
    pub struct BrokerRegistrationResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        broker_epoch: i64 [0..] = -1,
    }
}
