//! Kafka client: producer, consumer, admin.
//!
//! * [`Connection`]: one socket to one broker, requests pipelined, versions negotiated; no policy. Brokers use it too.
//! * [`Cluster`]: bootstrap, metadata, a connection per broker, retries; what the three clients stand on.
//! * [`Producer`], [`Consumer`], [`Admin`].
//!
//! Warnings go to `tracing` under the names of Java's classes, in Java's words, since operators search logs for them.

pub mod admin;
pub mod assignor;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
mod fetch;
pub mod group;
pub mod options;
pub mod partitioner;
pub mod producer;
mod reauthentication;
pub mod security;
pub mod transactions;

pub use admin::Admin;
pub use cluster::{Cluster, Metadata, Node};
pub use connection::{CallError, Connection, ConnectionOptions};
pub use consumer::{Consumer, ConsumerOptions, ConsumerRecord, OffsetReset, Rebalance};
pub use error::ClientError;
pub use options::{ClientKind, ClientOptions};
pub use producer::{
    Delivery, GroupMetadata, Producer, ProducerOptions, ProducerRecord, RecordMetadata, TxnOffset,
};
pub use security::{Protocol, Security};

use std::fmt;
use wire::Str;

/// A partition of a topic; shown as `topic-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Str,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Str>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
