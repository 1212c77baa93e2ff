//! What a seed is like: each has its own mix of faults, load and settings, so that rare ones meet undiluted.

use super::Variety;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use std::ops::Range;
use zk_core::config::TERM_END;

/// The kinds of fault, as [`super::faults`] deals them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash,
    CrashAll,
    CrashLeader,
    /// A server that leads and does not serve yet.
    CrashNewLeader,
    /// A server that follows and does not serve yet.
    CrashNewLearner,
    Isolate,
    Split,
    CutPair,
    /// One direction only: what is sent does not arrive, what is received does.
    CutOneWay,
    ResetConnection,
    ResetVotes,
    Stall,
    SlowDisk,
    SlowNetwork,
    ClockJump,
    Snapshot,
    /// The log that the oldest snapshot holds is removed.
    Purge,
    /// A sector of the log goes bad, in its middle or at its end. The next start refuses it, and the disk is emptied.
    DamageLog,
    DamageSnapshot,
    /// What is written does not fit for a while: the process ends at the first attempt, and comes back; or, in runs with
    /// full disks, the log waits.
    FullDisk,
    /// The disk is down to the reserve for a while.
    NoRoom,
}

/// Each with its usual weight.
const USUAL: [(Fault, u32); 20] = [
    (Fault::Crash, 20),
    (Fault::CrashAll, 3),
    (Fault::CrashLeader, 8),
    (Fault::CrashNewLeader, 6),
    (Fault::CrashNewLearner, 6),
    (Fault::Isolate, 10),
    (Fault::Split, 8),
    (Fault::CutPair, 6),
    (Fault::CutOneWay, 6),
    (Fault::ResetConnection, 10),
    (Fault::ResetVotes, 5),
    (Fault::Stall, 8),
    (Fault::SlowDisk, 12),
    (Fault::SlowNetwork, 5),
    (Fault::ClockJump, 3),
    (Fault::Snapshot, 12),
    (Fault::Purge, 4),
    (Fault::DamageLog, 4),
    (Fault::DamageSnapshot, 4),
    (Fault::FullDisk, 5),
];

#[derive(Debug, Clone)]
pub struct Profile {
    weights: Vec<(Fault, u32)>,
    /// The time between two faults, ms.
    pub pause_ms: Range<u64>,
    /// How long faults go on, ms.
    pub faulty_ms: u64,
    /// How often a turn ends in a crash.
    pub crash_in_turn: f64,
    /// How long a slow disk takes for a sync, ms.
    pub slow_sync_ms: Range<u64>,
    /// How long the stream of a learner's snapshot is under way at most, ms.
    pub stream_ms: u64,
    pub commit_log_count: usize,
    /// Transactions of an epoch: with few, terms end one after the other.
    pub term_end: i64,
    /// Events of a server's inbox in one turn at most.
    pub batch_max: usize,
    /// The time between two thoughts of a client, ms.
    pub think_ms: Range<u64>,
}

impl Profile {
    pub fn new(rng: &mut ChaCha8Rng, variety: Variety) -> Profile {
        let mut weights = USUAL.to_vec();
        if rng.random_bool(0.75) {
            for (fault, weight) in &mut weights {
                let factor = [0, 0, 1, 1, 4][rng.random_range(0..5)];
                // Some seeds have no crashes at all, but none has no faults.
                *weight *= if *fault == Fault::ResetConnection { factor.max(1) } else { factor };
            }
        }
        if variety == Variety::FullDisks {
            weights.extend([(Fault::FullDisk, 10), (Fault::NoRoom, 40)]);
        }
        let longest = [150, 600, 1200, 3000][rng.random_range(0..4)];
        let think = [12, 120, 400][rng.random_range(0..3)];
        let mut profile = Profile {
            weights,
            pause_ms: longest / 10..longest,
            faulty_ms: rng.random_range(5_000..15_000),
            crash_in_turn: [0.0, 0.0015, 0.0015, 0.006][rng.random_range(0..4)],
            slow_sync_ms: if rng.random_bool(0.5) { 50..600 } else { 300..2500 },
            stream_ms: [1, 1, 300, 1500][rng.random_range(0..4)],
            commit_log_count: [0, 5, 20, 60][rng.random_range(0..4)],
            batch_max: rng.random_range(1..=12),
            think_ms: think / 10..think,
            term_end: [TERM_END, TERM_END, TERM_END, 400][rng.random_range(0..4)],
        };
        if profile.term_end != TERM_END {
            // A term of two seconds ends before a longer stream does, time after time.
            profile.stream_ms = profile.stream_ms.min(300);
        }
        profile
    }

    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Fault {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.random_range(0..total);
        for (fault, weight) in &self.weights {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return *fault,
            }
        }
        unreachable!("the draw is below the sum of the weights")
    }
}
