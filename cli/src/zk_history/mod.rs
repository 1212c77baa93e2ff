//! What a server's files say of the past: `zk-who` tells who changed a node, `zk-restore` brings a subtree back.

mod image;
mod live;
mod options;
mod plan;
pub mod restore;
pub mod who;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time as these tools print it: `2026-11-21 17:03:11.123 UTC`.
fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}
