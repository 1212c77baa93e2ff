//! Seeds that once found a bug, each with what it was.

/// Seed, replicas, what it found.
pub const LEDGER: &[(u64, usize, &str)] = &[];
