//! A whole cluster from one seed: the partition, follower, producer-state and controller cores of every broker, and the
//! ZooKeeper ensemble of [`crate::sim`], which they reach over sessions of their own.
//!
//! A run has two parts, as in [`crate::sim`]: trouble, in which nothing that was promised may break, and calm, after
//! which everyone must have what ZooKeeper says.
//!
//! | modelled | how |
//! |---|---|
//! | ZooKeeper | 1 to 3 real servers with their own faults; sessions that reconnect, expire, and are seen to end late |
//! | network | messages late, overtaking one another and lost; LeaderAndIsr twice, the second time behind later ones; cuts of one way or both, that hold messages up or lose them; brokers cut off from ZooKeeper, one way or both |
//! | crashes | of the process; of the machine, with a part of what was not flushed; good-order leaves |
//! | stalls | a process does nothing for a while, longer than its session lives: leaders and controllers of the past |
//! | clocks | each broker's monotonic clock has its own origin, and up to 5% drift |
//! | disks | two directories; one fails, at rest or in a write, until the next start |
//! | controller | election, writes fenced by `/controller_epoch`, brokers coming and going, ISR changes, deletion, growth, reassignment (also taken back, and replaced), preferred leaders, controlled shutdown, notes of failed directories |
//! | producers | idempotent with acks=all and up to five batches under way; acks=1 without a promise |
//! | consumers | follow the leadership late, and never go back in epochs |
//!
//! Whole machines are lost one at a time, where another replica in sync is there and nothing else goes wrong until
//! ZooKeeper no longer counts the loser as in sync: replication on ZooKeeper promises no more.
//!
//! Broken on purpose, the cores were caught by seeds from 0 on (the first seed that saw it):
//!
//! | broken | seed |
//! |---|---|
//! | a broker obeys a controller of an older epoch | 27 |
//! | a broker obeys what was meant for an earlier life | 15 |
//! | the high watermark is the leader's own end | 0 |
//! | a replica that is about to join the ISR does not hold the watermark up | 185 |
//! | a replica joins the ISR before it has reached the watermark | 144 |
//! | leaders are elected from the assignment, not the ISR | 0 |
//! | an ISR change against an older version is granted | 445 |
//! | no check of min.insync.replicas before an append | 1 |
//! | no check of the leader epoch in a fetch | 1 |
//! | producers are forgotten when a log is loaded | 0 |
//! | a leader does not see where a follower's log left its own | 0 |
//! | followers do not note the epochs of what they append | 0 |
//! | a topic's nodes are deleted before all replicas are | 5 |
//! | who comes is told nothing of the partitions | 0 |
//! | a broker that is back with another epoch is taken for the one that was there | 15 |
//! | a broker that is back with another epoch only comes, and never went | 249 |
//! | a broker whose machine was lost registers at once | 348 |
//! | a broker answers before it is registered | 520 |
//! | a reassignment ends whoever of its target is in sync | 30 |
//!
//! 2000 seeds did not see: no check of an older leader epoch in LeaderAndIsr, even without that of the partition epoch behind it (a
//! controller's orders to one broker come in their order, and those of an older one are refused by its own epoch); AlterPartition
//! granted to an earlier life of a broker (its leader epoch is older, as a rule).
//!
//! 10,000 seeds (`--seeds 0..10000`) passed; each takes about 15 ms of a processor in a release build.
//!
//! Whoever connects to a broker is refused until it is registered, and it registers after the loss of its machine when it is
//! out of the ISRs (`docs/decisions/0015-missed.md`); both were found here. Where Kafka's own brokers are left behind, so are
//! these: who is not told of a topic's end, because the controller that deleted it ended first, knows of it until told anew; and
//! who is not told to delete a replica that a reassignment took away keeps its log.
//!
//! Not modelled: fetch sessions and parked fetches, unclean elections, DeleteRecords and retention,
//! transactions, groups, the metadata cache and the shells' order of doing things (written here again), message formats and the files' own recovery (`broker::log` has tests of its own).

pub mod broker;
pub mod checks;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod ledger;
pub mod metadata;
pub mod net;
pub mod nodes;
pub mod office;
pub mod session;
pub mod world;

use world::World;

/// What a run is made from. The same setup gives the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub seed: u64,
    pub brokers: usize,
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
    pub virtual_ms: u64,
    pub crashes: u64,
    /// Of whole machines.
    pub losses: u64,
    pub controllers: u64,
    /// LeaderAndIsr that made a leader.
    pub leaderships: u64,
    /// Batches.
    pub acknowledged: u64,
    /// Batches whose producers never heard what became of them.
    pub given_up: u64,
    pub topics_made: u64,
}

/// How many brokers a seed has where nobody says: 2 to 5.
pub fn brokers_of(seed: u64) -> usize {
    2 + (seed % 4) as usize
}

pub fn run(setup: Setup) -> Report {
    let mut world = World::new(setup);
    let failure = world.run().err();
    world.report(failure)
}

/// Runs a seed and panics with what broke and how to see it again.
pub fn check(seed: u64, brokers: usize) -> Figures {
    let report = run(Setup { seed, brokers, trace: false });
    if let Some(failure) = report.failure {
        panic!(
            "seed {seed} with {brokers} brokers: {failure}\n\
             replay: cargo run -p tests --bin simulate -- --brokers --seed {seed} --servers {brokers}"
        );
    }
    report.figures
}
