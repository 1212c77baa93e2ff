//! Settings of a broker that are only dynamic: in `/config/brokers/<id>`, never in its file.

use super::keys::{Key, Kind, Update, Valid, find};
use super::{BROKER_KEYS, THROTTLE_KEYS as KEYS};

const fn rate(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Long,
        default: Some("9223372036854775807"),
        valid: Valid::AtLeast(0),
        update: Update::ClusterWide,
        server_key: "",
        internal: false,
    }
}

/// Sorted by name.
pub static THROTTLE_KEYS: &[Key] = &[
    rate(crate::throttles::FOLLOWER_RATE),
    rate(crate::throttles::LEADER_RATE),
    rate(crate::throttles::LOG_DIRS_RATE),
];

/// A key of a broker, from its file or only dynamic.
pub fn find_dynamic(name: &str) -> Option<&'static Key> {
    find(BROKER_KEYS, name).or_else(|| find(KEYS, name))
}
