//! The Kafka broker: sockets, logs, ZooKeeper and the loop round broker-core.

pub mod log;
