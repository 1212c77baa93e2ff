//! The order of one connection's requests: what is served at once, what goes up, and what waits behind it.

use super::handshake::create_session;
use super::reply::{put_buffer, put_path, put_stat, put_written};
use super::watching::SetWatches;
use super::{Front, Request, Service, Upcall, read};
use crate::audit;
use crate::auth;
use crate::database::{Database, Outcome};
use crate::event::{ConnId, Effect, LogLevel, Now};
use crate::measure::Measures;
use crate::prepare::makes_ephemeral;
use crate::sasl;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::IpAddr;
use wire::Str;
use wire::jute::{Reader, Record};
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{AuthRequest, Id, RequestHeader, SessionId, err, op};

/// What a frame counts for beyond its bytes while it waits for the session.
const EARLY_OVERHEAD: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was received yet.
    New,
    /// A createSession is under way.
    Creating,
    /// Somebody is asked whether the session is alive.
    Reattaching,
    Open,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub id: ConnId,
    pub peer: IpAddr,
    pub stage: Stage,
    /// 0 until a handshake began.
    pub session: SessionId,
    pub timeout: i32,
    /// The connect request's last byte; answered in kind.
    pub read_only: Option<bool>,
    pub auth: Vec<Id>,
    /// Begun with its first token.
    pub sasl: Option<sasl::Server>,
    /// Frames that came before the session was there; together no longer than one request may be.
    pub early: VecDeque<Bytes>,
    early_bytes: usize,
    /// From the oldest that went up to the newest.
    pub waiting: VecDeque<Waiting>,
    /// More of it can be served than one step may: it has its turn.
    in_line: bool,
    /// Is in the list of touched sessions.
    pub touched: bool,
    /// Mono ms at which the session was asked for.
    pub asked_at: u64,
}

/// A request that cannot be answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    xid: i32,
    op: i32,
    body: Bytes,
    /// Mono ms.
    since: u64,
    state: WaitingFor,
    /// The code that the client is told if it is refused, whatever the leader calls it.
    refusal: Option<i32>,
}

#[derive(Debug)]
enum WaitingFor {
    /// Those before it.
    Turn,
    /// What went up.
    Answer,
    /// Those before it, with the answer at hand.
    TurnWith(Bytes),
    /// Its own end: it is first, and was begun.
    Watches(Box<SetWatches>),
}

/// What one connection's requests that waited for their turn may do in one step, as a number of paths: a request counts
/// for some. The others have theirs later.
const STEP_WORK: usize = 1024;
const REQUEST_WORK: usize = 8;
/// A setWatches of so many bytes may be more than that.
const LONG_SET_WATCHES: usize = 4 * STEP_WORK;

impl Connection {
    pub fn new(id: ConnId, peer: IpAddr, ip: Id, now: Now) -> Connection {
        Connection {
            id,
            peer,
            stage: Stage::New,
            session: 0,
            timeout: 0,
            read_only: None,
            auth: vec![ip],
            sasl: None,
            early: VecDeque::new(),
            early_bytes: 0,
            waiting: VecDeque::new(),
            in_line: false,
            touched: false,
            asked_at: now.mono,
        }
    }

    pub fn has_session(&self) -> bool {
        self.stage == Stage::Open
    }

    pub fn outstanding(&self) -> u64 {
        self.waiting.len() as u64
    }
}

/// How a request travels.
enum Way {
    Read,
    Write,
    Sync,
    Auth,
    Sasl,
    /// Answered with this code, at once.
    Refused(i32),
    Unknown,
}

fn way(op: i32) -> Way {
    match op {
        op::EXISTS
        | op::GET_DATA
        | op::GET_ACL
        | op::GET_CHILDREN
        | op::GET_CHILDREN2
        | op::PING
        | op::CHECK_WATCHES
        | op::REMOVE_WATCHES
        | op::MULTI_READ
        | op::SET_WATCHES
        | op::SET_WATCHES2
        | op::GET_EPHEMERALS
        | op::GET_ALL_CHILDREN_NUMBER
        | op::ADD_WATCH
        | op::WHO_AM_I => Way::Read,
        op::CREATE
        | op::CREATE2
        | op::CREATE_CONTAINER
        | op::CREATE_TTL
        | op::DELETE
        | op::DELETE_CONTAINER
        | op::SET_DATA
        | op::SET_ACL
        | op::MULTI
        | op::RECONFIG
        | op::CLOSE_SESSION => Way::Write,
        op::SYNC => Way::Sync,
        op::AUTH => Way::Auth,
        op::SASL => Way::Sasl,
        op::CREATE_SESSION => Way::Refused(err::MARSHALLING),
        _ => Way::Unknown,
    }
}

impl Front {
    /// A frame of a client: its hello first, then a request each.
    pub fn frame(
        &mut self,
        id: ConnId,
        frame: Bytes,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match conn.stage {
            Stage::New => {
                conn.asked_at = now.mono;
                self.connect(id, &frame, now, db, out, up);
            }
            Stage::Creating | Stage::Reattaching => {
                conn.early_bytes += frame.len() + EARLY_OVERHEAD;
                conn.early.push_back(frame);
                if conn.early_bytes > self.jute_max {
                    self.close(id, out);
                }
            }
            Stage::Open => self.admit(id, frame, now, db, out, up),
        }
    }

    pub(super) fn request(
        &mut self,
        id: ConnId,
        frame: Bytes,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some((head, _)) = frame.split_first_chunk::<8>() else { return self.close(id, out) };
        let [a, b, c, d, e, f, g, h] = *head;
        let header =
            RequestHeader { xid: i32::from_be_bytes([a, b, c, d]), op: i32::from_be_bytes([e, f, g, h]) };
        let local = self.locals.touch(conn.session, now);
        if !local && !conn.touched {
            conn.touched = true;
            self.touched.push((id, conn.session, conn.timeout));
        }
        let way = match way(header.op) {
            Way::Write if local && header.op == op::CLOSE_SESSION => Way::Read,
            Way::Write | Way::Sync if self.service == Service::ReadOnly => Way::Refused(err::NOT_READ_ONLY),
            way => way,
        };
        if !matches!(way, Way::Auth | Way::Sasl) && !self.auth.admits(&conn.auth) {
            return self.refuse_stranger(id, header, out);
        }
        match way {
            Way::Read if conn.waiting.is_empty() && !is_long(header.op, &frame) => {
                let reply = read::serve(
                    &mut read::Context {
                        conn,
                        db,
                        watches: &mut self.watches,
                        replies: &mut self.replies,
                        auth: &self.auth,
                        out,
                    },
                    header,
                    &frame[8..],
                );
                self.measures.readlatency.add(0);
                note_read(&mut self.measures, header.op, &frame[8..], &reply);
                out.push(Effect::ToClient { conn: id, bytes: reply });
                if header.op == op::CLOSE_SESSION {
                    self.end_local(id, out);
                }
            }
            Way::Read => {
                let first = conn.waiting.is_empty();
                self.outstanding += 1;
                conn.wait(header, frame, WaitingFor::Turn, now);
                if first {
                    self.serve_waiting(id, STEP_WORK, now, db, out);
                }
            }
            Way::Write => {
                let body = frame.slice(8..);
                let mut refusal = None;
                if local && makes_ephemeral(header.op, &body) {
                    // The nodes of the ensemble are owned by its own sessions.
                    if !self.locals.rules.upgrading {
                        refusal = Some(err::EPHEMERAL_ON_LOCAL_SESSION);
                    } else if let Some(timeout) = self.locals.remove(conn.session) {
                        up.push(Upcall::Write(create_session(conn.session, timeout)));
                    }
                }
                up.push(Upcall::Write(conn.request(header, body.clone())));
                self.outstanding += 1;
                conn.wait(header, frame, WaitingFor::Answer, now);
                if let Some(last) = conn.waiting.back_mut() {
                    last.refusal = refusal;
                    if self.audit {
                        last.body = body;
                    }
                }
            }
            Way::Sync => {
                up.push(Upcall::Sync(conn.request(header, frame.slice(8..))));
                self.outstanding += 1;
                conn.wait(header, frame, WaitingFor::Answer, now);
            }
            Way::Auth => self.authenticate(id, header, &frame, db, out),
            Way::Sasl => self.sasl(id, header, &frame, out),
            Way::Refused(code) => {
                let bytes = self.replies.reply(header.xid, db.last_zxid(), code, |_| {});
                out.push(Effect::ToClient { conn: id, bytes });
            }
            Way::Unknown => {
                let bytes = self.replies.reply(header.xid, -1, err::UNIMPLEMENTED, |_| {});
                out.push(Effect::ToClient { conn: id, bytes });
                self.close(id, out);
            }
        }
    }

    /// It waited for too long; its answer leaves when it is its turn.
    pub(super) fn refuse_throttled(
        &mut self,
        id: ConnId,
        frame: &Bytes,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Ok(header) = RequestHeader::decode(&frame.slice(..frame.len().min(8))) else {
            return self.close(id, out);
        };
        let bytes = self.replies.reply(header.xid, db.last_zxid(), err::THROTTLED_OP, |_| {});
        if conn.waiting.is_empty() {
            return out.push(Effect::ToClient { conn: id, bytes });
        }
        self.outstanding += 1;
        conn.wait(header, frame.clone(), WaitingFor::TurnWith(bytes), now);
    }

    /// Whoever has no id of a scheme that is asked for (`enforce.auth.schemes`) is told so, and sent away.
    fn refuse_stranger(&mut self, id: ConnId, header: RequestHeader, out: &mut Vec<Effect>) {
        if let Some(conn) = self.conns.get(&id) {
            let has: Vec<&str> = conn.auth.iter().map(|id| &*id.scheme).collect();
            let line = format!(
                "Client authentication scheme(s) [{}] does not match with any of the expected authentication scheme \
                 [{}], closing session.",
                has.join(", "),
                self.auth.enforced.join(", ")
            );
            out.push(Effect::Log { level: LogLevel::Error, line });
        }
        let code = err::SESSION_CLOSED_REQUIRE_SASL_AUTH;
        let bytes = self.replies.reply(header.xid, 0, code, |_| {});
        out.push(Effect::ToClient { conn: id, bytes });
        self.close(id, out);
    }

    /// Out of order, as the real server does it: the new ids count for whatever is looked at from now on.
    fn authenticate(
        &mut self,
        id: ConnId,
        header: RequestHeader,
        frame: &Bytes,
        db: &Database,
        out: &mut Vec<Effect>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Ok(request) = AuthRequest::decode(&frame.slice(8..)) else { return self.close(id, out) };
        let ip = auth::ip_id(conn.peer);
        let ids = auth::authenticate(&self.auth, &request.scheme, request.auth.as_deref(), &ip, db);
        if &*request.scheme == "ensemble" && self.auth.ensemble_names.is_some() {
            let named = request.auth.as_ref().is_some_and(|name| !name.is_empty());
            let counter = match &ids {
                Err(_) => &mut self.measures.ensemble_auth_fail,
                Ok(_) if named => &mut self.measures.ensemble_auth_success,
                Ok(_) => &mut self.measures.ensemble_auth_skip,
            };
            *counter += 1;
        }
        if ids == Err(auth::Refusal::Elsewhere) {
            return self.close(id, out);
        }
        self.measures.auth_failed_count += u64::from(ids.is_err());
        let code = if ids.is_ok() { err::OK } else { err::AUTH_FAILED };
        let refused = ids.is_err();
        for new in ids.into_iter().flatten() {
            if !conn.auth.contains(&new) {
                conn.auth.push(new);
            }
        }
        let bytes = self.replies.reply(header.xid, 0, code, |_| {});
        out.push(Effect::ToClient { conn: id, bytes });
        if refused {
            self.close(id, out);
        }
    }

    /// A committed transaction may answer the request of a client here, or end its session.
    pub(super) fn answer(
        &mut self,
        txn: &Txn,
        outcome: &Outcome,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let session = txn.header.session;
        let Some(id) = self.by_session.get(&session).copied() else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match (conn.stage, &txn.record) {
            // A local session has become one of the ensemble's: its client need not know.
            (Stage::Open, TxnRecord::CreateSession { .. }) => return,
            (Stage::Open, _) => {}
            (Stage::Creating, TxnRecord::CreateSession { .. }) => {
                return self.finish(id, true, now, db, out, up);
            }
            (Stage::Creating, TxnRecord::Error { .. }) | (_, TxnRecord::CloseSession { .. }) => {
                return self.finish(id, false, now, db, out, up);
            }
            _ => return,
        }
        let closed = matches!(txn.record, TxnRecord::CloseSession { .. });
        let at = conn.waiting.iter().position(|waiting| {
            matches!(waiting.state, WaitingFor::Answer)
                && waiting.xid == txn.header.cxid
                && waiting.op != op::SYNC
                && (waiting.op == op::CLOSE_SESSION) == closed
        });
        if let Some(at) = at {
            let moved = |outcome: &Outcome| outcome.kind == op::ERROR && outcome.err == err::SESSION_MOVED;
            if moved(outcome) || outcome.parts.iter().any(moved) {
                return self.close(id, out);
            }
            let (asked, refusal) = (conn.waiting[at].op, conn.waiting[at].refusal);
            if self.audit {
                let write = audit::Write {
                    session,
                    ids: &conn.auth,
                    ip: &auth::ip_id(conn.peer).id,
                    op: asked,
                    body: &conn.waiting[at].body,
                    outcome: (!matches!(txn.record, TxnRecord::Error { .. })).then_some(outcome),
                };
                out.extend(write.lines().into_iter().map(Effect::Audit));
            }
            let bytes = match txn.record {
                TxnRecord::Error { err } => {
                    let err = refusal.unwrap_or(err);
                    self.replies.reply(txn.header.cxid, db.last_zxid(), err, |_| {})
                }
                TxnRecord::Reconfig(ref members) => {
                    self.replies.reply(txn.header.cxid, db.last_zxid(), outcome.err, |to| {
                        put_buffer(to, members.data.as_deref());
                        put_stat(to, &outcome.stat);
                    })
                }
                _ => {
                    // A multi that failed says so in its parts only.
                    let err = if asked == op::MULTI { 0 } else { outcome.err };
                    self.replies
                        .reply(txn.header.cxid, db.last_zxid(), err, |to| put_written(to, asked, outcome))
                }
            };
            // Behind a session's end nobody has another turn.
            self.settle(id, at, bytes, if closed { usize::MAX } else { STEP_WORK }, now, db, out);
        }
        if closed {
            self.close(id, out);
        }
    }

    pub(super) fn answer_sync(
        &mut self,
        request: &Request,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        _up: &mut Vec<Upcall>,
    ) {
        let Some(id) = self.by_session.get(&request.session).copied() else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let at = conn.waiting.iter().position(|waiting| {
            matches!(waiting.state, WaitingFor::Answer)
                && waiting.xid == request.cxid
                && waiting.op == op::SYNC
        });
        if let Some(at) = at {
            let bytes = self.replies.try_reply(request.cxid, db.last_zxid(), |to| {
                let mut body = Reader::new(request.body.clone());
                let path: Option<Str> = body.read().map_err(|_| err::MARSHALLING)?;
                put_path(to, &path);
                Ok(())
            });
            self.settle(id, at, bytes, STEP_WORK, now, db, out);
        }
    }

    /// The answer of the request at `at` is known: it leaves as soon as all before it have left, and so does what
    /// only waited for its turn.
    #[expect(clippy::too_many_arguments, reason = "what a step works on")]
    fn settle(
        &mut self,
        id: ConnId,
        at: usize,
        bytes: Bytes,
        work: usize,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.waiting[at].state = WaitingFor::TurnWith(bytes);
        // Who has more to be served than one step may keeps his place in the line.
        conn.in_line &= work <= STEP_WORK;
        self.serve_waiting(id, work, now, db, out);
    }

    /// Serves what has only waited for its turn; where that is much, [`Front::tick`] goes on with it.
    pub(super) fn serve_waiting(
        &mut self,
        id: ConnId,
        mut work: usize,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
    ) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.in_line) else { return };
        let (watches, replies, auth) = (&mut self.watches, &mut self.replies, &self.auth);
        let mut context = read::Context { conn, db, watches, replies, auth, out };
        while let Some(next) = context.conn.waiting.pop_front_if(|next| !next.waits_for_answer()) {
            if work == 0 {
                context.conn.waiting.push_front(next);
                context.conn.in_line = true;
                return self.ready.push_back(id);
            }
            let (header, since) = (RequestHeader { xid: next.xid, op: next.op }, next.since);
            let (bytes, body) = match next.serve(&mut context, &mut work) {
                Ok(served) => served,
                Err(unfinished) => {
                    context.conn.waiting.push_front(unfinished);
                    context.conn.in_line = true;
                    return self.ready.push_back(id);
                }
            };
            work = work.saturating_sub(REQUEST_WORK);
            self.outstanding -= 1;
            let took = now.mono.saturating_sub(since);
            match way(header.op) {
                Way::Write => self.measures.updatelatency.add(took),
                _ => {
                    self.measures.readlatency.add(took);
                    note_read(&mut self.measures, header.op, &body, &bytes);
                }
            }
            context.out.push(Effect::ToClient { conn: id, bytes });
            if header.op == op::CLOSE_SESSION && self.locals.contains(context.conn.session) {
                return self.end_local(id, out);
            }
        }
    }

    /// Goes on with one of those that have more to be served.
    pub(super) fn serve_ready(&mut self, now: Now, db: &Database, out: &mut Vec<Effect>) {
        let Some(id) = self.ready.pop_front() else { return };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.in_line = false;
            self.serve_waiting(id, STEP_WORK, now, db, out);
        }
    }

    /// The client has closed a session that only this server knows.
    fn end_local(&mut self, id: ConnId, out: &mut Vec<Effect>) {
        if let Some(conn) = self.conns.get(&id) {
            self.locals.remove(conn.session);
        }
        self.close(id, out);
    }

    /// The frames that came before the session was there.
    pub(super) fn serve_early(
        &mut self,
        id: ConnId,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        while let Some(frame) = self.conns.get_mut(&id).and_then(|conn| conn.early.pop_front()) {
            self.admit(id, frame, now, db, out, up);
        }
    }
}

/// More than one step may do.
fn is_long(op: i32, frame: &[u8]) -> bool {
    matches!(op, op::SET_WATCHES | op::SET_WATCHES2) && frame.len() > LONG_SET_WATCHES
}

impl Waiting {
    fn waits_for_answer(&self) -> bool {
        matches!(self.state, WaitingFor::Answer)
    }

    /// The answer, and the request's body. An error is a request that is not done with yet.
    fn serve(mut self, context: &mut read::Context, work: &mut usize) -> Result<(Bytes, Bytes), Waiting> {
        let header = RequestHeader { xid: self.xid, op: self.op };
        let mut set = match self.state {
            WaitingFor::TurnWith(bytes) => return Ok((bytes, self.body)),
            WaitingFor::Watches(set) => set,
            _ => match is_long(self.op, &self.body).then(|| SetWatches::read(self.op, &self.body)) {
                Some(Ok(set)) => Box::new(set),
                // What cannot be read is refused as any other.
                Some(Err(_)) | None => return Ok((read::serve(context, header, &self.body), self.body)),
            },
        };
        if set.go_on(context, work) {
            let bytes = context.replies.reply(header.xid, context.db.last_zxid(), err::OK, |_| {});
            return Ok((bytes, self.body));
        }
        self.state = WaitingFor::Watches(set);
        Err(self)
    }
}

/// A read's answer, as a whole frame: length and header come first.
fn note_read(measures: &mut Measures, op: i32, request: &[u8], reply: &[u8]) {
    const HEAD: usize = 4 + 16;
    if reply.get(16..HEAD) == Some(&[0; 4]) {
        measures.read(op, request, &reply[HEAD..]);
    }
}

impl Connection {
    fn wait(&mut self, header: RequestHeader, frame: Bytes, state: WaitingFor, now: Now) {
        // What went up took its body along.
        let body = if matches!(state, WaitingFor::Turn) { frame.slice(8..) } else { Bytes::new() };
        self.waiting.push_back(Waiting {
            xid: header.xid,
            op: header.op,
            body,
            since: now.mono,
            state,
            refusal: None,
        });
    }

    fn request(&self, header: RequestHeader, body: Bytes) -> Request {
        Request {
            session: self.session,
            cxid: header.xid,
            op: header.op,
            body,
            auth: self.auth.clone(),
            origin: None,
        }
    }
}
