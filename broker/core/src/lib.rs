//! What a Kafka broker decides, without I/O.
