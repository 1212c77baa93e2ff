//! What a Kafka broker decides, without I/O: no clock, thread, socket, file, or global randomness.
//!
//! * `partition`: one replica of one partition, as leader or follower. `producer`: idempotence.
//! * `fetch_session`: what a fetch response may leave out. `assignment`: where new replicas go.
//! * `alter`: ISR changes on their way to the controller. `fence`: whose orders count.
//! * `group`: the consumer-group coordinator. `throttle`: how fast replicas may be copied.
//! * `transaction`: the transaction coordinator.
//! * `acl`: who may do what. `quota`: how much each client may ask for. `connections`: who is let in.
//! * `controller`: what the elected controller decides for the whole cluster.
//! * `metadata_version`: what the brokers of a cluster have agreed to speak among themselves.

pub mod acl;
pub mod alter;
pub mod assignment;
pub mod connections;
pub mod controller;
pub mod error;
pub mod fence;
pub mod fetch_session;
pub mod group;
#[cfg(test)]
mod hex;
mod loaded;
mod metadata_version;
pub mod partition;
pub mod producer;
pub mod quota;
pub mod throttle;
pub mod transaction;

pub use error::ErrorCode;
pub use metadata_version::MetadataVersion;
