//! Simulated time, network and disk; checkers; end-to-end tests.

pub mod sim;
