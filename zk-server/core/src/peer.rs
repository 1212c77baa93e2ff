//! One server: its place in the ensemble, and the single entry to everything that it decides.

use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{Effect, Event, Now};
use crate::front::Front;
use wire::zk::txn::Txn;
use wire::zk::{Sid, Zxid};

/// What was found on disk at the start.
#[derive(Debug)]
pub struct Recovered {
    pub database: Database,
    /// Last zxid in the log (or of the snapshot, where the log ends before it).
    pub last_logged: Zxid,
    /// The last transactions of the log in its order, [`CoreConfig::commit_log_count`] at most; empty is correct,
    /// but costs learners that lag a whole snapshot.
    pub recent: Vec<Txn>,
    pub accepted_epoch: i64,
    pub current_epoch: i64,
}

/// What a server is at the moment, as `srvr` and `mntr` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Looking,
    Standalone,
    Following { leader: Sid },
    Observing { leader: Sid },
    Leading,
}

/// Figures that only the core knows; `None` where they do not apply to the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub mode: Mode,
    /// Clients are being served.
    pub serving: bool,
    pub last_zxid: Zxid,
    /// Leader only: connected learners, and those in sync.
    pub learners: Option<usize>,
    pub synced_followers: Option<usize>,
    pub synced_observers: Option<usize>,
    /// Leader only: bytes of the last, smallest and largest proposal; -1 before the first.
    pub proposal_sizes: Option<[i64; 3]>,
}

#[derive(Debug)]
pub struct Peer {}

impl Peer {
    /// The first [`Event::Tick`] starts the election, or the standalone server.
    pub fn new(_config: CoreConfig, _recovered: Recovered) -> Peer {
        todo!()
    }

    pub fn step(&mut self, _now: Now, _event: Event, _out: &mut Vec<Effect>) {
        todo!()
    }

    /// The moment (mono ms) at which [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<u64> {
        todo!()
    }

    pub fn status(&self) -> Status {
        todo!()
    }

    /// What has been applied: snapshots and `mntr` are made from it.
    pub fn database(&self) -> &Database {
        todo!()
    }

    /// The clients: `cons`, `dump`, `wchs` are made from it.
    pub fn front(&self) -> &Front {
        todo!()
    }
}
