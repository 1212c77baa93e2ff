//! Kafka's error codes: answers, never failures of ours. The type is the wire's own.

pub use wire::kafka::ErrorCode;
