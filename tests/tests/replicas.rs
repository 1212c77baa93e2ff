//! Replicas of a partition under faults, from seeds. A failure says how to see the run again.

use tests::replicas::ledger::LEDGER;
use tests::replicas::{Figures, check, replicas_of};

#[test]
fn nothing_acknowledged_by_all_is_lost_or_doubled_and_what_was_read_stays() {
    let figures: Vec<Figures> = (0..160).map(|seed| check(seed, replicas_of(seed))).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.crashes) >= 5 && sum(|run| run.elections) >= 10, "too quiet: {figures:?}");
    assert!(sum(|run| run.acknowledged) >= 100, "{figures:?}");
}

#[test]
fn seeds_that_once_found_a_bug_pass() {
    for (seed, replicas, found) in LEDGER {
        println!("{found}");
        check(*seed, *replicas);
    }
}
