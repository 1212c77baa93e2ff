//! Seeds that once found a bug, each with what it was.

/// Seed, brokers, what it found. A seed is a history of the world as it drew at the time: whoever changes what the world
/// draws, or what the cores send, gets other histories, and what was found is held by the tests that came with the fixes.
pub const LEDGER: &[(u64, usize, &str)] = &[
    (
        5532,
        2,
        "a broker that was not registered yet took what the controller had ordered its former life to do, and led",
    ),
    (520, 2, "the same: it obeyed before it was registered, and one it led stayed alone in the ISR"),
    (
        348,
        2,
        "a governing broker's machine was lost and back before the next controller read the cluster: it led on without its tail",
    ),
    (
        3716,
        2,
        "the same: other records came to stand below the watermark (tests/controllers.rs, `controller::missed`)",
    ),
    (
        644,
        2,
        "of the simulator: the session in which a topic was to be made expired, and nobody made it later",
    ),
    (716, 2, "of the simulator: the last imbalance was below the percentage from which leaders are moved"),
    (
        726,
        4,
        "of the simulator: a controller ended before it had told all of a topic's end; nobody does later, with Kafka too",
    ),
    (
        895,
        5,
        "a late refusal of what a broker's former life was to delete hid this life's answer: the topic was never deleted",
    ),
    (9940, 2, "of the simulator: a broker that had left opened another session, and governed"),
];

/// The same of clusters with transactions.
pub const TRANSACTIONS: &[(u64, usize, &str)] = &[];

/// The same of clusters with consumer groups.
pub const GROUPS: &[(u64, usize, &str)] = &[(
    1410,
    4,
    "of a move whose ISR was complete when all that it led to died, the next controller ended it: it took them out of the ISR, \
     and had the one copy that was left deleted",
)];
