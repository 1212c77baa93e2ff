//! Seeds that once found a bug, each with what it was.

/// Seed, servers, what it found. The seed brings the bug back in the simulator as of that fix; later changes of the
/// world's own choices make another history of it, so each bug has its test at the lowest layer as well.
pub const LEDGER: &[(u64, usize, &str)] = &[
    (1050, 4, "a snapshot that was never saved counted as history once its leader was lost"),
    (661, 3, "a snapshot taken while the log was being cut brought the cut transactions back"),
    (
        170,
        5,
        "an observer could not cut its log where a snapshot of the deposed leader had stood, and did not say so",
    ),
    (
        3204,
        3,
        "a leader vouched for its epoch, lost the unsynced end of its log, and won against those who had it",
    ),
];
