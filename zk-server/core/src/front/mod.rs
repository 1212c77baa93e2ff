//! What a server owes its own clients: handshakes, requests answered in order, watches.
//!
//! A connection's requests are served strictly in order. Reads are answered from the [`Database`] at once, unless a
//! write of the same session is under way: then they wait behind it. Writes go up ([`Upcall::Write`]) and are
//! answered when they come back as a committed transaction with the session's id and cxid. Events go out before the
//! answer to any read that could see the change, because both happen on this one thread, in this order.

mod admission;
mod figures;
mod handshake;
mod notify;
mod pipeline;
mod read;
mod reply;
mod sasl;
mod watching;

pub use figures::{FrontFigures, Watching};

use crate::auth::{self, AuthRules};
use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{ConnId, Effect, LinkId, Now};
use crate::hash::Map;
use crate::local_session::LocalSessions;
use crate::measure::{self, Measures};
use crate::throttle::ConnectThrottle;
use crate::watch::Watches;
use admission::Admission;
use bytes::Bytes;
use pipeline::Connection;
use reply::Replies;
use std::collections::VecDeque;
use std::net::IpAddr;
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{Id, SessionId, Sid};

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
pub struct Front {
    myid: Sid,
    session_ms_min: i32,
    session_ms_max: i32,
    auth: AuthRules,
    /// Writes are told for the audit trail.
    audit: bool,
    sessionless_ms: u64,
    jute_max: usize,
    service: Service,
    next_session: SessionId,
    conns: Map<ConnId, Connection>,
    by_session: Map<SessionId, ConnId>,
    watches: Watches,
    replies: Replies,
    /// Connections by the moment (mono ms) at which they must have a session; some have one by now, or are gone.
    sessionless: VecDeque<(u64, ConnId)>,
    touched: Vec<(ConnId, SessionId, i32)>,
    locals: LocalSessions,
    connects: ConnectThrottle,
    admission: Admission,
    /// Connections of which more can be served than one step may.
    ready: VecDeque<ConnId>,
    /// Requests that wait for their answer.
    outstanding: u64,
    /// What the whole server counts; it stands here because the clients' side counts the most.
    pub measures: Measures,
}

/// Who is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Nobody,
    /// Clients that ask for no more; there is nobody to order writes.
    ReadOnly,
    All,
}

impl Front {
    pub fn new(config: &CoreConfig) -> Front {
        Front {
            myid: config.myid,
            session_ms_min: config.session_ms_min,
            session_ms_max: config.session_ms_max,
            auth: config.auth.clone(),
            audit: config.audit,
            sessionless_ms: config.sessionless_ms,
            jute_max: config.jute_max,
            service: Service::Nobody,
            next_session: 0,
            conns: Map::default(),
            by_session: Map::default(),
            watches: Watches::default(),
            replies: Replies::default(),
            sessionless: VecDeque::new(),
            touched: vec![],
            locals: LocalSessions::new(config.local_sessions, config.tick_ms),
            connects: ConnectThrottle::new(&config.connects, config.myid as u64),
            admission: Admission::new(&config.requests),
            ready: VecDeque::new(),
            outstanding: 0,
            measures: Measures::default(),
        }
    }

    /// From now on clients are served (`true`), or everyone is sent away and newcomers are closed (`false`).
    pub fn serve(&mut self, serving: bool, now: Now, out: &mut Vec<Effect>) {
        self.change_to(if serving { Service::All } else { Service::Nobody }, now, out);
    }

    /// From now on those are served who only want to read.
    pub fn serve_read_only(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.change_to(Service::ReadOnly, now, out);
    }

    fn change_to(&mut self, service: Service, now: Now, out: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.service, service);
        if before == service {
            return;
        }
        if before != Service::Nobody {
            let mut conns: Vec<ConnId> = self.conns.keys().copied().collect();
            conns.sort_unstable();
            conns.into_iter().for_each(|conn| self.close(conn, out));
            self.sessionless.clear();
            self.touched.clear();
            self.locals.clear();
            self.admission.clear();
            self.ready.clear();
        }
        if service != Service::Nobody {
            self.next_session = self.next_session.max(crate::session::first_id(self.myid, now.wall));
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.service == Service::ReadOnly
    }

    /// The session is known to this server only.
    pub fn is_local(&self, session: SessionId) -> bool {
        self.locals.contains(session)
    }

    pub fn local_sessions(&self) -> &LocalSessions {
        &self.locals
    }

    /// The server itself stood still for so long: nobody could be heard of meanwhile.
    pub fn postpone(&mut self, ms: u64) {
        self.locals.postpone(ms);
        self.sessionless.iter_mut().for_each(|(deadline, _)| *deadline += ms);
    }

    pub fn opened(&mut self, conn: ConnId, peer: IpAddr, now: Now, out: &mut Vec<Effect>) {
        if self.service == Service::Nobody {
            self.measures.cnxn_closed_without_zk_server_running += 1;
            out.push(Effect::CloseClient { conn });
            return;
        }
        self.conns.insert(conn, Connection::new(conn, peer, auth::ip_id(peer), now));
        self.sessionless.push_back((now.mono + self.sessionless_ms, conn));
    }

    /// The connection has these ids, too.
    pub fn identified(&mut self, conn: ConnId, ids: Vec<Id>) {
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        for id in ids {
            if !conn.auth.contains(&id) {
                conn.auth.push(id);
            }
        }
    }

    pub fn closed(&mut self, conn: ConnId) {
        self.forget(conn);
    }

    /// Applies a committed transaction, fires watches, answers whoever waits for it, and serves what waited behind.
    pub fn committed(
        &mut self,
        txn: &Txn,
        now: Now,
        db: &mut Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let closing = matches!(txn.record, TxnRecord::CloseSession { .. }).then_some(txn.header.session);
        let outcome = {
            let mut notifier = notify::Notifier {
                zxid: txn.header.zxid,
                closing: closing.filter(|_| self.audit),
                auth: &self.auth,
                watches: &mut self.watches,
                conns: &mut self.conns,
                replies: &mut self.replies,
                measures: &mut self.measures,
                out,
                hit: vec![],
            };
            db.apply(txn, &mut notifier)
        };
        self.measures.written(&txn.record);
        if let Some(age) = measure::age(txn, now) {
            self.measures.propagation_latency.add(age);
        }
        self.answer(txn, &outcome, now, db, out, up);
        self.admit_waiting(now, db, out, up);
    }

    pub fn synced(
        &mut self,
        request: &Request,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        self.answer_sync(request, now, db, out, up);
        self.admit_waiting(now, db, out, up);
    }

    pub fn revalidated(
        &mut self,
        session: SessionId,
        valid: bool,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        self.finish_reattach(session, valid, now, db, out, up);
    }

    /// The session is over, or belongs to another server now: its connection here is closed without a reply.
    pub fn session_moved(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        if let Some(conn) = self.by_session.get(&session).copied() {
            self.close(conn, out);
        }
    }

    /// Sessions heard of since the last call, with their time-outs: a learner's PING reply, a leader's own touches.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        let touched = std::mem::take(&mut self.touched);
        for (conn, ..) in &touched {
            if let Some(conn) = self.conns.get_mut(conn) {
                conn.touched = false;
            }
        }
        touched.into_iter().map(|(_, session, timeout)| (session, timeout)).collect()
    }

    /// The ids that these credentials stand for; `None`: they stand for nobody.
    pub fn identify(
        &self,
        scheme: &str,
        data: Option<&[u8]>,
        from: IpAddr,
        db: &Database,
    ) -> Option<Vec<Id>> {
        let ids = auth::authenticate(&self.auth, scheme, data, &auth::ip_id(from), db).ok()?;
        (!ids.is_empty()).then_some(ids)
    }

    /// Next moment (mono ms) at which [`Front::tick`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        let forgetting = (self.watches.is_forgetting() || !self.ready.is_empty()).then_some(0);
        let sessionless = self.sessionless.front().map(|(deadline, _)| *deadline);
        [forgetting, sessionless, self.locals.deadline()].into_iter().flatten().min()
    }

    /// Connections without a session for too long, local sessions whose time is over, and what was too much for a step.
    pub fn tick(&mut self, now: Now, db: &Database, out: &mut Vec<Effect>) {
        self.watches.forget_more();
        self.serve_ready(now, db, out);
        while let Some((_, conn)) = self.sessionless.pop_front_if(|(deadline, _)| *deadline <= now.mono) {
            if self.conns.get(&conn).is_some_and(|conn| !conn.has_session()) {
                self.measures.sessionless_connections_expired += 1;
                self.close(conn, out);
            }
        }
        for session in self.locals.expire(now) {
            self.session_moved(session, out);
        }
    }

    /// Nothing more is served on this connection, and it is closed behind what was sent.
    fn close(&mut self, conn: ConnId, out: &mut Vec<Effect>) {
        self.forget(conn);
        out.push(Effect::CloseClient { conn });
    }

    fn forget(&mut self, conn: ConnId) {
        let Some(gone) = self.conns.remove(&conn) else { return };
        self.watches.forget(conn);
        self.outstanding -= gone.outstanding();
        if self.by_session.get(&gone.session) == Some(&conn) {
            self.by_session.remove(&gone.session);
        }
    }
}

#[cfg(test)]
mod tests;
