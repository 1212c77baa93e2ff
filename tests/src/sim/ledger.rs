//! Seeds that once found a bug, each with what it was.

/// Seed, servers, what it found.
pub const LEDGER: &[(u64, usize, &str)] = &[];
