//! One replica's rules, one at a time; several replicas together are simulated in `broker/core/tests`.
