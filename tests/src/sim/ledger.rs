//! Seeds that once found a bug, each with what it was.

/// Seed, servers, what it found. A seed is a history of the world as it drew at the time: whoever changes what the world
/// draws, or what the core sends, gets other histories, and what was found is held by the tests that came with the fixes
/// (`zab::leader`, `zab::learner` in zk-core; `disk` in zk-server and beside [`super::disk`]).
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
    (986, 5, "a voter had accepted an epoch that came to nothing, and could follow no older one ever after"),
    (138, 3, "a leader's snapshot was damaged: an older one and the log made a tree with a hole"),
    (2, 5, "a sync was answered behind the commit of a later write of its own session"),
    (2311, 4, "of the simulator: what is left of a cut log was loaded for a process that had died"),
    (4411, 4, "of the simulator: a disk that a leader's snapshot had filled counted as emptied"),
    (
        1807,
        4,
        "of the simulator: a log was cut before the snapshot that had hidden its damage, and was to be read",
    ),
];

/// The same of seeds whose members change. What was found is held by the tests in `election` of zk-core.
pub const CHANGING: &[(u64, usize, &str)] = &[
    (
        616,
        4,
        "a voter waited for the new members of a proposal that only it had, and never joined the leader the others had",
    ),
    (
        1017,
        3,
        "a voter of the proposed members only was in a later round, which nobody took from it: no vote of the others \
         counted for it, and they answered each other's answers without end",
    ),
    (979, 4, "of the simulator: a server that was being brought up was taken for one that serves"),
    (
        12_896,
        5,
        "a snapshot begun before a passing leader's history was applied kept, under its older name, what was cut off",
    ),
];
