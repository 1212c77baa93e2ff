//! The ZooKeeper server: sockets, files and the loop round `zk-core`.

pub mod config;
pub mod disk;
