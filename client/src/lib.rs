//! Kafka producer, consumer and admin client.
