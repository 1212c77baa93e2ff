//! Which brokers get the replicas of new partitions.
