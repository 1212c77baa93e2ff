//! ZAB: one order of transactions, the same on every server.
//!
//! A [`leader`] agrees with a quorum on a new epoch, brings every [`learner`] to its own history ([`sync`]), and from
//! then on orders requests ([`pipeline`]), commits what a quorum has logged, and tells. [`standalone`] is a quorum of
//! one. What a server has, whatever its role, is its [`history`]. A follower may bring up observers in the leader's
//! place ([`observer_master`]).

pub mod history;
pub mod leader;
pub mod learner;
pub mod links;
pub mod observer_master;
pub mod pipeline;
pub mod standalone;
pub mod sync;

use crate::config::{CoreConfig, Ensemble};
use crate::database::Database;
use crate::event::{Effect, LogLevel, Now};
use crate::front::{Front, Upcall};
use crate::membership::{Membership, observes};
use history::History;
use std::collections::BTreeMap;
use wire::zk::Sid;

/// What a server keeps when its role changes.
#[derive(Debug)]
pub struct Server {
    pub config: CoreConfig,
    /// `None`: standalone.
    pub members: Option<Membership>,
    /// The members have changed so that this server's role is over, and this is who leads next.
    pub next_leader: Option<Sid>,
    pub history: History,
    pub front: Front,
    /// The highest epoch that this server has promised to.
    pub accepted_epoch: i64,
    /// The epoch whose initial history this server has.
    pub current_epoch: i64,
    /// Counts how often the database became another one than the committed transactions make of it.
    pub replacements: u64,
    /// The disk has more room than its reserve: clients may write.
    pub has_room: bool,
    /// It has less, and this server has left the lead to another once since then.
    pub gave_way: bool,
    /// In the next election this server says less of its history than there is.
    pub gives_way: bool,
    /// What the front has asked for and its role has not yet taken.
    pub up: Vec<Upcall>,
    /// Where an observer begins to look for a master the next time: how often it has done so.
    pub masters_tried: usize,
    /// By voter: the epoch of the furthest history that it knew of when it was last heard looking for a leader.
    pub sought: BTreeMap<Sid, i64>,
}

impl Server {
    pub fn store_accepted_epoch(&mut self, epoch: i64, out: &mut Vec<Effect>) {
        self.accepted_epoch = epoch;
        out.push(Effect::StoreAcceptedEpoch { epoch });
    }

    pub fn store_current_epoch(&mut self, epoch: i64, out: &mut Vec<Effect>) {
        self.current_epoch = epoch;
        out.push(Effect::StoreCurrentEpoch { epoch });
    }

    /// The membership becomes readable as `/zookeeper/config`: part of no transaction, as each member's is its own.
    pub fn publish_config(&mut self, now: Now) {
        if let Some(members) = &self.members {
            let ensemble = members.committed();
            self.history.db.set_config(ensemble.text.as_bytes(), ensemble.version, now.wall);
        }
    }

    /// A database that was loaded, read as this server is told to read it.
    pub fn adopt(&self, mut db: Database) -> Database {
        if self.config.emulate_353 {
            db.emulate_353();
        }
        db
    }

    /// Not for a server of its own.
    pub fn members(&self) -> &Membership {
        self.members.as_ref().expect("only servers of an ensemble have roles in it")
    }

    /// Whether followers are there to be asked.
    pub fn note_alone(&mut self, alone: bool) {
        if let Some(members) = &mut self.members {
            members.set_alone(alone);
        }
    }

    /// Other members are on their way.
    pub fn propose_members(&mut self, ensemble: Ensemble, out: &mut Vec<Effect>) {
        if let Some(members) = &mut self.members {
            members.propose(ensemble, out);
        }
    }

    /// These members count from here on. `leader`: of this server until now. `designated`: who leads next, where the
    /// leader that committed the change has said so. True: this server's role under its leader is over.
    pub fn activate_members(
        &mut self,
        ensemble: Ensemble,
        leader: Sid,
        designated: Option<Sid>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        let me = self.config.myid;
        let Some(before) = self.members.as_mut().and_then(|members| members.commit(ensemble, out)) else {
            return false;
        };
        self.publish_config(now);
        let after = self.members().committed();
        if before.lines() == after.lines() {
            return false;
        }
        log(out, LogLevel::Info, format!("The members are now:\n{}", after.text));
        let observed = observes(after, me);
        let role_changes = observed != observes(&before, me);
        if role_changes {
            let role = match (observed, after.is_voter(me)) {
                (true, _) => "an observer",
                (false, true) => "a voting participant",
                (false, false) => "a non-voting participant",
            };
            log(out, LogLevel::Info, format!("Becoming {role}"));
        }
        let Some(designated) = designated else {
            let at = |ensemble: &Ensemble| {
                ensemble
                    .members
                    .get(&leader)
                    .filter(|_| ensemble.is_voter(leader))
                    .map(|at| at.quorum.clone())
            };
            return role_changes || at(&before).is_none() || at(&before) != at(after);
        };
        if designated != leader {
            log(out, LogLevel::Warn, format!("Suggested leader: {designated}"));
        }
        let over = role_changes || designated != leader;
        self.next_leader = over.then_some(designated);
        over
    }

    /// ms until a peer that is to be brought up must have moved.
    pub fn init_ms(&self) -> u64 {
        self.config.init_limit * self.config.tick_ms
    }

    /// ms in which a learner must have connected.
    pub fn dial_ms(&self) -> u64 {
        match self.config.dialling.limit {
            0 => self.init_ms(),
            ticks => ticks * self.config.tick_ms,
        }
    }

    /// ms until a silent peer that is in sync counts as gone.
    pub fn sync_ms(&self) -> u64 {
        self.config.sync_limit * self.config.tick_ms
    }
}

/// Why a role ends; the server looks for a leader again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over(pub String);

pub(crate) fn log(out: &mut Vec<Effect>, level: LogLevel, line: impl Into<String>) {
    out.push(Effect::Log { level, line: line.into() });
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::config::{CoreConfig, Ensemble};
    use wire::zk::Sid;

    /// ZooKeeper's usual numbers: ticks of 2 s, initLimit 10, syncLimit 5.
    pub fn config(myid: Sid, ensemble: Option<Ensemble>) -> CoreConfig {
        CoreConfig {
            myid,
            ensemble,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            session_ms_min: 4000,
            session_ms_max: 40_000,
            auth: crate::auth::AuthRules::default(),
            extended_types: true,
            emulate_353: false,
            enforce_quota: false,
            digest: true,
            sessionless_ms: 10_000,
            connects: Default::default(),
            requests: Default::default(),
            close_session_lists: true,
            commit_log_count: 500,
            term_end: crate::config::TERM_END,
            jute_max: 0xfffff,
            reaping: crate::config::Reaping::default(),
            multi_address: false,
            local_sessions: Default::default(),
            read_only_after_ms: None,
            reconfig: crate::config::Reconfig::default(),
            oracle: false,
            observer_masters: false,
            leader_serves: true,
            dialling: Default::default(),
            audit: false,
        }
    }
}
