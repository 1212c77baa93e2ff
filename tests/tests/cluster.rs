//! A cluster of brokers, its controllers and its ensemble under faults, from seeds. A failure says how to see the run
//! again.

use tests::cluster::ledger::{GROUPS, LEDGER, TRANSACTIONS};
use tests::cluster::{Figures, Variety, brokers_of, check};

#[test]
fn a_cluster_keeps_its_promises_and_ends_as_zookeeper_says() {
    let figures: Vec<Figures> = (0..28).map(|seed| check(seed, brokers_of(seed), Variety::Usual)).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.crashes) >= 2 && sum(|run| run.leaderships) >= 8, "too quiet: {figures:?}");
    assert!(sum(|run| run.acknowledged) >= 30, "{figures:?}");
}

#[test]
fn transactions_end_everywhere_as_their_producers_are_told_and_what_is_read_as_committed_is() {
    let figures: Vec<Figures> =
        (0..28).map(|seed| check(seed, brokers_of(seed), Variety::Transactions)).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.commits) >= 5 && sum(|run| run.aborts) >= 2, "too quiet: {figures:?}");
    assert!(sum(|run| run.untold) >= 2, "nobody is ever shut out: {figures:?}");
}

#[test]
fn groups_lose_no_offset_share_no_partition_and_settle() {
    let figures: Vec<Figures> = (0..8).map(|seed| check(seed, brokers_of(seed), Variety::Groups)).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>();
    assert!(sum(|run| run.tenures) >= 100 && sum(|run| run.offsets) >= 300, "too quiet: {figures:?}");
    assert!(sum(|run| run.commits) >= 100, "no transaction has offsets: {figures:?}");
    assert!(sum(|run| run.fenced) >= 3, "nobody is ever replaced: {figures:?}");
}

#[test]
fn after_unclean_elections_all_replicas_have_the_same() {
    let figures: Vec<Figures> = (0..28).map(|seed| check(seed, brokers_of(seed), Variety::Unclean)).collect();
    assert!(figures.iter().map(|run| run.unclean).sum::<u64>() >= 5, "too clean: {figures:?}");
}

#[test]
fn seeds_that_once_found_a_bug_pass() {
    for (seed, brokers, found) in LEDGER {
        println!("{found}");
        check(*seed, *brokers, Variety::Usual);
    }
    for (seed, brokers, found) in TRANSACTIONS {
        println!("{found}");
        check(*seed, *brokers, Variety::Transactions);
    }
    for (seed, brokers, found) in GROUPS {
        println!("{found}");
        check(*seed, *brokers, Variety::Groups);
    }
}
