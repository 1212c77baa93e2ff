//! Seeds that once found a bug, each with what it was.

/// Seed, brokers, what it found.
pub const LEDGER: &[(u64, usize, &str)] = &[
    (
        5532,
        2,
        "a broker that was not registered yet took what the controller had ordered its former life to do, and led",
    ),
    (
        5488,
        2,
        "the same: its log had lost what that life had not flushed, and other records stood below the watermark",
    ),
];
