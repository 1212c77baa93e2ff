//! The Kafka broker: sockets, logs, ZooKeeper and the loop round broker-core.

pub mod config;
pub mod log;
pub mod metadata;
pub mod net;
pub mod zk;
