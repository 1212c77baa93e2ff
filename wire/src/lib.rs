//! Bytes to plain values and back. Nothing above this crate sees an API version or a byte order.
//!
//! * [`jute`] and [`zk`]: what ZooKeeper clients, servers and files speak.
//! * [`kafka`]: the messages of Kafka 3.5.1. [`batch`]: record batches, checked in place.
//!
//! Every decoder is bounded: a length in a frame never reserves more than the bytes that remain.

pub mod batch;
pub mod jute;
pub mod kafka;
pub mod zk;

/// UTF-8 text that is a slice of what was read; cheap to clone.
pub use bytestring::ByteString as Str;
