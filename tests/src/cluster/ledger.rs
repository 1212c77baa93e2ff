//! Seeds that once found a bug, each with what it was.

/// Seed, brokers, what it found.
pub const LEDGER: &[(u64, usize, &str)] = &[];
