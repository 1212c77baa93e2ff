//! The Kafka broker: sockets, logs, ZooKeeper and the loop round broker-core.

mod acl_session;
mod alter;
mod api;
pub mod authorizer;
pub mod broker;
pub mod config;
mod connections;
pub mod controller;
pub mod dynamic;
mod features;
mod fetcher;
mod isr_changes;
pub mod log;
mod loggers;
mod markers;
pub mod metadata;
pub mod metrics;
mod mover;
pub mod net;
pub mod passwords;
mod peers;
pub mod quotas;
pub mod security;
pub mod server;
pub mod shard;
mod shared_map;
mod store;
mod throttles;
mod tokens;
pub mod topics;
pub mod zk;

pub use broker_core::{acl, assignment};
pub use config::BrokerConfig;
pub use server::{Running, StartError, run, start};
