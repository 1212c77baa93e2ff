//! The ZooKeeper server: sockets, files and the loop round `zk-core`.

mod admin;
mod audit;
pub mod config;
pub mod disk;
mod election_net;
mod http;
mod members_file;
mod metrics;
mod net;
mod quorum_net;
pub mod sasl;
pub mod server;
pub mod tls;
mod words;
