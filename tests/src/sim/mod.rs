//! A whole ensemble from one seed: real cores, simulated time, network, disks, clients and faults.
//!
//! A run has two parts. *Safety*: clients work while servers crash, links break, the network splits, disks and
//! processes stall; whatever happens, nothing that was promised may break. *Liveness*: everything is healed, and
//! within a bounded time every server must serve, and all must end up with the same state.
//!
//! | modelled | how |
//! |---|---|
//! | links | FIFO each, free to overtake one another; reset with loss of what was under way; silent death |
//! | partitions | both ways or one way; packets wait, as TCP holds them, and arrive or are lost with their link |
//! | votes | lost with their connection, of which only the last one is sent again |
//! | crashes | between any two effects of a turn, or at rest; one server, or all; those that are just being brought up |
//! | disk | appends are stable after a simulated fsync; a crash keeps a random part of what was not, the next one torn |
//! | damage | sectors of the log, at its end or within, and of snapshots; whoever cannot read its log starts empty |
//! | space | a disk is full for a while: whoever has to write ends, as without a reserve, and comes back; old logs are removed |
//! | a reserve | in runs of their own: a server is told that its disk is nearly full; on a full one its log waits |
//! | stalls | a process does nothing for a while; slow fsyncs; slow networks; slow snapshot streams |
//! | clocks | wall clocks minutes apart that jump, monotonic clocks with their own origin and up to 5% drift |
//! | shell | events are taken in turns, what is sent leaves at their end; snapshots are written between them, fuzzy |
//! | members | in runs of their own: who is one, and who of them votes, changes by requests of the clients |
//! | clients | pipelined writes, reads, multis, syncs, nodes that all change under recorded histories, watches that move with the session, closed and expired sessions |
//!
//! One seed in eight has local sessions that become the ensemble's with their first ephemeral node, and one in eight
//! has servers that go read-only without a leader.
//!
//! A seed's [`profile`] weighs the faults, so that rare ones meet undiluted.
//!
//! What must hold has names: [`invariants`]. Out of the promise: disks that lie about their syncs ([`Variety::LyingDisks`]
//! shows that they are seen to break it), damage on a majority at a time, servers that lie.

pub mod cells;
pub mod checks;
pub mod client;
pub mod disk;
pub mod faults;
pub mod invariants;
pub mod ledger;
pub mod net;
pub mod node;
pub mod profile;
pub mod replies;
pub mod request;
pub mod shape;
pub mod shell;
pub mod wires;
pub mod world;

use world::World;

/// What a run is made from. The same setup gives the same run, to the last packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub seed: u64,
    /// 1: standalone. 4 and more: the seed decides how many of them are observers.
    pub servers: usize,
    /// Keep what happened, for a person to read.
    pub trace: bool,
    pub variety: Variety,
}

/// What is special about a run. The seeds of each variety are its own: a ledger's seed stays what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Variety {
    #[default]
    Usual,
    /// A crash also takes some of what the disk said to be synced. No promise stands on such disks.
    LyingDisks,
    /// Clients also change who the members are and who of them votes. Disks stay whole then: how many copies a write
    /// has is not the same for long.
    Changing,
    /// Disks come to their reserve, of which servers are told, and to their end, where the log waits for room.
    FullDisks,
}

impl Variety {
    /// The option that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            Variety::Usual => "",
            Variety::LyingDisks => "--lying-disks ",
            Variety::Changing => "--changing ",
            Variety::FullDisks => "--full-disks ",
        }
    }
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
    pub replies: u64,
    pub writes_acked: u64,
    pub crashes: u64,
    pub leaderships: u64,
    /// Acknowledged changes of the members.
    pub changes: u64,
    /// Writes that a server without room refused.
    pub refused: u64,
    /// Nodes of which nobody could say in a reasonable time whether what was done to them is linearizable.
    pub unclear: u64,
}

/// How many servers a seed has where nobody says: 3, 4 or 5.
pub fn servers_of(seed: u64) -> usize {
    3 + (seed % 3) as usize
}

pub fn run(setup: Setup) -> Report {
    let mut world = World::new(setup);
    let failure = world.run().err();
    world.report(failure)
}

/// Runs a seed and panics with what broke and how to see it again.
pub fn check(variety: Variety, seed: u64, servers: usize) -> Figures {
    let report = run(Setup { seed, servers, trace: false, variety });
    if let Some(failure) = report.failure {
        let option = variety.option();
        panic!(
            "seed {seed} with {servers} servers: {failure}\n\
             replay: cargo run -p tests --bin simulate -- {option}--seed {seed} --servers {servers}"
        );
    }
    let unclear = report.figures.unclear;
    assert_eq!(unclear, 0, "seed {seed} with {servers} servers: {unclear} nodes may be linearizable or not");
    report.figures
}
