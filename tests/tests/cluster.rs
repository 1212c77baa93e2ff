//! A cluster of brokers, its controllers and its ensemble under faults, from seeds. A failure says how to see the run
//! again.

use tests::cluster::ledger::LEDGER;
use tests::cluster::{Figures, brokers_of, check};

#[test]
fn a_cluster_keeps_its_promises_and_ends_as_zookeeper_says() {
    let figures: Vec<Figures> = (0..28).map(|seed| check(seed, brokers_of(seed))).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.crashes) >= 2 && sum(|run| run.leaderships) >= 8, "too quiet: {figures:?}");
    assert!(sum(|run| run.acknowledged) >= 30, "{figures:?}");
}

#[test]
fn seeds_that_once_found_a_bug_pass() {
    for (seed, brokers, found) in LEDGER {
        println!("{found}");
        check(*seed, *brokers);
    }
}
