//! Seeds that once found a bug, each with what it was.

/// Seed, servers, what it found. The seed brings the bug back in the simulator as of that fix; later changes of the
/// world's own choices make another history of it, so each bug has its test at the lowest layer as well.
pub const LEDGER: &[(u64, usize, &str)] = &[
    (1050, 4, "a snapshot that was never saved counted as history once its leader was lost"),
    (661, 3, "a snapshot taken while the log was being cut brought the cut transactions back"),
];
