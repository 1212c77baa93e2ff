//! The replicas of one partition from one seed: real partition cores, simulated time, network, disks and clients, and
//! a small controller that moves the leadership about.
//!
//! A run has two parts, as in [`crate::sim`]: trouble, in which nothing that was promised may break, and calm, after
//! which everyone must be in sync with one log.
//!
//! | modelled | how |
//! |---|---|
//! | network | messages late, out of order and lost; one-way cuts; the controller's requests keep their order |
//! | crashes | with or without a part of what was not flushed |
//! | sessions | end under living brokers, and are seen to end late: leaders that do not know that they no longer are |
//! | controller | elections from the ISR, preferred ones in between, ISR changes granted by version and epoch |
//! | producers | idempotent, acks=all, answers lost and batches sent again |
//! | consumers | follow the leadership late, and never go back in epochs |
//!
//! Not modelled, because replication promises nothing there: loss on the last disk in sync, unclean elections.

pub mod broker;
pub mod checks;
pub mod clients;
pub mod controller;
pub mod faults;
pub mod ledger;
pub mod world;

use world::World;

/// What a run is made from. The same setup gives the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub seed: u64,
    pub replicas: usize,
    /// Keep what happened, for a person to read.
    pub trace: bool,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// What broke, with its virtual time; `None`: nothing did.
    pub failure: Option<String>,
    pub trace: Vec<String>,
    pub figures: Figures,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub crashes: u64,
    pub elections: u64,
    /// Batches.
    pub acknowledged: u64,
}

/// How many replicas a seed has where nobody says: 2 to 5.
pub fn replicas_of(seed: u64) -> usize {
    2 + (seed % 4) as usize
}

pub fn run(setup: Setup) -> Report {
    let mut world = World::new(setup);
    world.run();
    world.report()
}

/// Runs a seed and panics with what broke and how to see it again.
pub fn check(seed: u64, replicas: usize) -> Figures {
    let report = run(Setup { seed, replicas, trace: false });
    if let Some(failure) = report.failure {
        panic!(
            "seed {seed} with {replicas} replicas: {failure}\n\
             replay: cargo run -p tests --bin simulate -- --partition --seed {seed} --servers {replicas}"
        );
    }
    report.figures
}
