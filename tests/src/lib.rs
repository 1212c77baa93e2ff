//! Simulated time, network and disk; checkers; end-to-end tests.

pub mod cluster;
pub mod differ;
pub mod linear;
pub mod replicas;
pub mod script;
pub mod sim;
