//! Seeds that once found a bug, each with what it was.

/// Seed, servers, what it found. With the fix taken out, 170 and 3204 fail again as they did. The first two are of the
/// simulator as it was before it dealt faults by profile: today they are other histories, and what they found is held
/// by the tests of `zab::learner` alone. Whoever changes what the world draws has to look for its seeds anew.
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
