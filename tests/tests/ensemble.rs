//! Ensembles under faults, from seeds. A failure says how to see the run again.

use tests::sim::ledger::{CHANGING, LEDGER};
use tests::sim::shape::SHAPED;
use tests::sim::{Figures, Setup, Variety, check, servers_of};

fn check_all(seeds: std::ops::Range<u64>) -> Vec<Figures> {
    seeds.map(|seed| check(Variety::Usual, seed, servers_of(seed))).collect()
}

#[test]
fn ensembles_of_3_to_5_servers_keep_their_promises_and_recover() {
    let figures = check_all(0..240);
    // The runs are no idle ones: servers fell, leaders changed, and clients got through nevertheless.
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.crashes) >= 3 && sum(|run| run.leaderships) >= 3, "{figures:?}");
    assert!(sum(|run| run.writes_acked) >= 50, "{figures:?}");
}

#[test]
fn ensembles_with_groups_and_with_observers_behind_followers_keep_their_promises_too() {
    let figures: Vec<Figures> = (SHAPED..SHAPED + 80).map(|seed| check(Variety::Usual, seed, 5)).collect();
    let acked = figures.iter().map(|run| run.writes_acked).sum::<u64>() / figures.len() as u64;
    assert!(acked >= 50, "{figures:?}");
}

#[test]
fn while_members_come_go_and_change_roles_no_promise_breaks() {
    let figures: Vec<Figures> =
        (0..50).map(|seed| check(Variety::Changing, seed, servers_of(seed))).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.changes) >= 2 && sum(|run| run.writes_acked) >= 40, "{figures:?}");
}

#[test]
fn a_standalone_server_keeps_its_promises_through_crashes() {
    for seed in 0..40 {
        check(Variety::Usual, seed, 1);
    }
}

#[test]
fn servers_without_room_refuse_what_they_do_not_do_and_go_on_when_there_is_some() {
    let figures: Vec<Figures> =
        (0..40).map(|seed| check(Variety::FullDisks, seed, servers_of(seed))).collect();
    let sum = |of: fn(&Figures) -> u64| figures.iter().map(of).sum::<u64>() / figures.len() as u64;
    assert!(sum(|run| run.refused) >= 5 && sum(|run| run.writes_acked) >= 30, "{figures:?}");
    for seed in 0..10 {
        check(Variety::FullDisks, seed, 1);
    }
}

/// What [`Disk`](tests::sim::disk::Disk) promises is what the servers' promises stand on.
#[test]
fn disks_that_lie_about_their_syncs_are_seen_to_break_durability() {
    let run = |seed| tests::sim::run(Setup { seed, servers: 3, trace: false, variety: Variety::LyingDisks });
    let failures: Vec<String> = (0..30).filter_map(|seed| run(seed).failure).collect();
    let lost = failures.iter().filter(|why| why.contains("Durability") || why.contains("Linearizability"));
    assert!(lost.count() >= 2, "{failures:?}");
}

#[test]
fn seeds_that_once_found_a_bug_pass() {
    for (seed, servers, found) in LEDGER {
        println!("{found}");
        check(Variety::Usual, *seed, *servers);
    }
    for (seed, servers, found) in CHANGING {
        println!("{found}");
        check(Variety::Changing, *seed, *servers);
    }
}
