//! What a server owes its own clients: handshakes, requests answered in order, watches.
//!
//! A connection's requests are served strictly in order. Reads are answered from the [`Database`] at once, unless a
//! write of the same session is under way: then they wait behind it. Writes go up ([`Upcall::Write`]) and are
//! answered when they come back as a committed transaction with the session's id and cxid. Events go out before the
//! answer to any read that could see the change, because both happen on this one thread, in this order.

use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{ConnId, Effect, LinkId, Now};
use bytes::Bytes;
use std::net::IpAddr;
use wire::zk::txn::Txn;
use wire::zk::{Id, SessionId};

/// A request that needs the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub session: SessionId,
    pub cxid: i32,
    /// An opcode; createSession and closeSession travel here too.
    pub op: i32,
    /// As the client sent it, behind its header; `i32` time-out for createSession.
    pub body: Bytes,
    pub auth: Vec<Id>,
    /// The learner that forwarded it; `None` for a client of this server.
    pub origin: Option<LinkId>,
}

/// What the front asks of its place in the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upcall {
    /// Order it, commit it, and give it back by [`Front::committed`] (a refused one as an error transaction).
    Write(Request),
    /// Answer by [`Front::synced`] when everything that the leader has committed up to now is applied here.
    Sync(Request),
    /// A client came back with a session: is it alive, and does it now belong here? Answer: [`Front::revalidated`].
    Revalidate { session: SessionId, timeout: i32 },
}

/// One server's clients.
#[derive(Debug)]
pub struct Front {}

impl Front {
    pub fn new(_config: &CoreConfig) -> Front {
        todo!()
    }

    /// From now on clients are served (`true`), or everyone is sent away and newcomers are closed (`false`).
    pub fn serve(&mut self, _serving: bool, _now: Now, _out: &mut Vec<Effect>) {
        todo!()
    }

    pub fn opened(&mut self, _conn: ConnId, _peer: IpAddr, _now: Now, _out: &mut Vec<Effect>) {
        todo!()
    }

    pub fn frame(
        &mut self,
        _conn: ConnId,
        _frame: Bytes,
        _now: Now,
        _db: &Database,
        _out: &mut Vec<Effect>,
        _up: &mut Vec<Upcall>,
    ) {
        todo!()
    }

    pub fn closed(&mut self, _conn: ConnId) {
        todo!()
    }

    /// Applies a committed transaction, fires watches, answers whoever waits for it, and serves what waited behind.
    pub fn committed(
        &mut self,
        _txn: &Txn,
        _now: Now,
        _db: &mut Database,
        _out: &mut Vec<Effect>,
        _up: &mut Vec<Upcall>,
    ) {
        todo!()
    }

    pub fn synced(
        &mut self,
        _request: &Request,
        _now: Now,
        _db: &Database,
        _out: &mut Vec<Effect>,
        _up: &mut Vec<Upcall>,
    ) {
        todo!()
    }

    pub fn revalidated(
        &mut self,
        _session: SessionId,
        _valid: bool,
        _now: Now,
        _db: &Database,
        _out: &mut Vec<Effect>,
        _up: &mut Vec<Upcall>,
    ) {
        todo!()
    }

    /// The session belongs to another server now: its connection here is closed without a reply.
    pub fn session_moved(&mut self, _session: SessionId, _out: &mut Vec<Effect>) {
        todo!()
    }

    /// Sessions heard of since the last call, with their time-outs: a learner's PING reply, a leader's own touches.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        todo!()
    }

    /// Next moment (mono ms) at which [`Front::tick`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        todo!()
    }

    /// Connections without a session for too long, and the like.
    pub fn tick(&mut self, _now: Now, _out: &mut Vec<Effect>) {
        todo!()
    }
}
