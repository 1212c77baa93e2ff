//! The ZooKeeper server: sockets, files and the loop round zk-core.
