//! On the leader: request -> transaction, checked against the tree and the changes still under way; and who is alive.

use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{LinkId, Now};
use crate::front::Request;
use wire::zk::txn::Txn;
use wire::zk::{SessionId, Zxid};

/// The changes that are proposed and not yet applied.
#[derive(Debug)]
pub struct Prepare {}

impl Prepare {
    pub fn new(_config: &CoreConfig) -> Prepare {
        todo!()
    }

    /// Always a transaction: a request that is refused becomes an error transaction.
    pub fn prepare(
        &mut self,
        _request: &Request,
        _zxid: Zxid,
        _now: Now,
        _db: &Database,
        _sessions: &mut SessionTracker,
    ) -> Txn {
        todo!()
    }

    /// Call after the database has applied everything up to `zxid`.
    pub fn committed(&mut self, _zxid: Zxid) {
        todo!()
    }
}

/// The leader's clock of every session: deadlines rounded up to whole ticks, and which server each belongs to.
#[derive(Debug)]
pub struct SessionTracker {}

impl SessionTracker {
    /// All sessions of the database get a full time-out from now.
    pub fn new(_config: &CoreConfig, _db: &Database, _now: Now) -> SessionTracker {
        todo!()
    }
    /// A createSession was prepared or committed.
    pub fn add(&mut self, _session: SessionId, _timeout: i32, _owner: Option<LinkId>, _now: Now) {
        todo!()
    }
    pub fn remove(&mut self, _session: SessionId) {
        todo!()
    }
    /// False: no such session, or it is closing.
    pub fn touch(&mut self, _session: SessionId, _timeout: i32, _now: Now) -> bool {
        todo!()
    }
    /// A client came back through another server.
    pub fn set_owner(&mut self, _session: SessionId, _owner: Option<LinkId>) {
        todo!()
    }
    /// Sessions whose time is over, marked as closing: the caller proposes a closeSession (cxid 0) for each.
    pub fn expire(&mut self, _now: Now) -> Vec<SessionId> {
        todo!()
    }
    /// Next moment (mono ms) at which something may expire.
    pub fn deadline(&self) -> Option<u64> {
        todo!()
    }
}
