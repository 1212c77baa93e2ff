//! Requests into transactions, in the one order: the part that a leader and a standalone server share.

use super::{Over, Server, log};
use crate::config::Reaping;
use crate::database::ReapCursor;
use crate::event::{Effect, LinkId, LogLevel, Now};
use crate::front::Request;
use crate::prepare::{Context, Prepare, SessionTracker, View};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use wire::Str;
use wire::jute::Record;
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{PathRequest, SessionId, Sid, Zxid, counter_of, op};

/// Sessions that expire in one step, and containers and TTL nodes that are looked at in one: more would be felt.
const EXPIRED_MAX: usize = 256;
const LOOKED_AT_MAX: usize = 2048;

#[derive(Debug)]
pub struct Pipeline {
    prepare: Prepare,
    pub sessions: SessionTracker,
    last_proposed: Zxid,
    /// Syncs that wait until this zxid is committed, in order.
    syncs: VecDeque<(Zxid, Request)>,
    reaping: Reaping,
    /// When containers and TTL nodes are looked for again, or the next of those that were found is removed.
    reap_at: u64,
    /// Found, and not removed yet: removals keep a distance.
    doomed: VecDeque<Str>,
    /// A look that goes on.
    looking: Option<ReapCursor>,
    /// Mono ms at which service began.
    since: u64,
    /// Sessions that own nodes and are not known: closed once service begins.
    orphans: Vec<SessionId>,
    /// Bytes of the last, smallest and largest proposal.
    sizes: [i64; 3],
}

impl Pipeline {
    /// The next transaction follows `last`.
    pub fn new(server: &Server, last: Zxid, now: Now) -> Pipeline {
        Pipeline {
            prepare: Prepare::new(&server.config),
            sessions: SessionTracker::new(&server.config, &server.history.db, now),
            last_proposed: last,
            syncs: VecDeque::new(),
            reaping: server.config.reaping.clone(),
            reap_at: now.mono + server.config.reaping.check_ms,
            doomed: VecDeque::new(),
            looking: None,
            since: now.mono,
            orphans: server.history.db.orphaned_sessions(),
            sizes: [-1; 3],
        }
    }

    /// The state has become another one: its sessions count from now on.
    pub fn restored(&mut self, server: &Server, now: Now) {
        self.prepare = Prepare::new(&server.config);
        self.sessions = SessionTracker::new(&server.config, &server.history.db, now);
        self.orphans = server.history.db.orphaned_sessions();
        self.doomed.clear();
    }

    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    pub fn proposal_sizes(&self) -> [i64; 3] {
        self.sizes
    }

    /// Mono ms at which service began.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Transactions that syncs wait for.
    pub fn pending_syncs(&self) -> usize {
        let zxids = self.syncs.iter().map(|(zxid, _)| *zxid);
        zxids.clone().zip(zxids.skip(1)).filter(|(one, next)| one != next).count()
            + usize::from(!self.syncs.is_empty())
    }

    /// Gives a request its place in the order. The caller proposes the transaction. `synced`: this server and its
    /// followers that are in sync; asked for where members are to change.
    pub fn order(
        &mut self,
        request: &Request,
        server: &mut Server,
        synced: &BTreeSet<Sid>,
        now: Now,
    ) -> Result<Txn, Over> {
        let zxid = self.last_proposed + 1;
        if server.members.is_some() && counter_of(zxid) >= server.config.term_end {
            let why =
                "zxid lower 32 bits have rolled over, forcing re-election, and therefore new epoch start";
            return Err(Over(why.into()));
        }
        let before = self.prepare.pending();
        let context = Context {
            local: request.origin.is_none() && server.front.is_local(request.session),
            view: server.members.as_ref().map(|members| View { members, synced }),
            full: !server.has_room,
        };
        let txn = self.prepare.prepare(request, context, zxid, now, &server.history.db, &mut self.sessions);
        let measures = &mut server.front.measures;
        measures.prep_processor_request_queued += 1;
        measures.outstanding_changes_queued += (self.prepare.pending() - before) as u64;
        for path in self.prepare.take_exceeded() {
            measures.quota_exceeded_error_per_namespace.of(&path).into_iter().for_each(|count| *count += 1);
        }
        self.last_proposed = zxid;
        let size = txn.bytes.len() as i64;
        let [_, min, max] = self.sizes;
        self.sizes = [size, if min < 0 { size } else { min.min(size) }, max.max(size)];
        Ok(txn)
    }

    /// The term is nearly used up, and nothing is under way: a good moment for an election, which comes anyway where the
    /// last counter is reached. 1/256 before that: at 50,000 writes a second, more than five minutes.
    pub fn should_end(&self, server: &Server) -> bool {
        let end = server.config.term_end;
        counter_of(self.last_proposed) >= end - end / 256 && server.history.pending().is_empty()
    }

    /// Applies the oldest pending transaction, answers its client, and returns the syncs that waited for it.
    pub fn commit(&mut self, server: &mut Server, now: Now, out: &mut Vec<Effect>) -> Vec<Request> {
        let Some(txn) = server.history.commit() else { return vec![] };
        server.front.committed(&txn, now, &mut server.history.db, out, &mut server.up);
        let before = self.prepare.pending();
        self.prepare.committed(txn.zxid());
        server.front.measures.outstanding_changes_removed += (before - self.prepare.pending()) as u64;
        if let Some(line) = self.prepare.take_excess(now) {
            log(out, LogLevel::Warn, line);
        }
        if matches!(txn.record, TxnRecord::CloseSession { .. }) {
            self.sessions.remove(txn.header.session);
        }
        let ready = self.syncs.partition_point(|(zxid, _)| *zxid <= txn.zxid());
        self.syncs.drain(..ready).map(|(_, request)| request).collect()
    }

    /// `None`: the request waits for what is pending. Otherwise it is to be answered at once.
    pub fn sync(&mut self, request: Request, server: &Server) -> Option<Request> {
        if server.history.pending().is_empty() {
            return Some(request);
        }
        self.syncs.push_back((self.last_proposed, request));
        None
    }

    /// A client came back through `owner`: is its session alive?
    pub fn revalidate(&mut self, session: SessionId, timeout: i32, owner: Option<LinkId>, now: Now) -> bool {
        let valid = self.sessions.touch(session, timeout, now);
        if valid {
            self.sessions.set_owner(session, owner);
        }
        valid
    }

    /// The server itself stood still for so long: no session is to die of that.
    pub fn postpone(&mut self, ms: u64) {
        self.sessions.postpone(ms);
    }

    pub fn deadline(&self) -> u64 {
        let at = if self.orphans.is_empty() { self.reap_at } else { 0 };
        self.sessions.deadline().map_or(at, |expiry| expiry.min(at))
    }

    /// Requests that time alone brings: sessions that have expired, nodes whose time is over.
    pub fn tick(&mut self, server: &mut Server, now: Now) -> Vec<Request> {
        for (session, timeout) in server.front.take_touched() {
            self.sessions.touch(session, timeout, now);
        }
        let mut over = self.sessions.expire(now, EXPIRED_MAX);
        server.front.measures.stale_sessions_expired += over.len() as u64;
        over.append(&mut self.orphans);
        let close = |session| own_request(session, op::CLOSE_SESSION, Bytes::new());
        let mut requests: Vec<Request> = over.into_iter().map(close).collect();
        if self.reap_at <= now.mono && server.has_room {
            requests.extend(self.reap(server, now));
        }
        requests
    }

    /// One of those that were found, or, when none is left, another look.
    fn reap(&mut self, server: &Server, now: Now) -> Option<Request> {
        if self.doomed.is_empty() {
            let mut cursor = self.looking.take().unwrap_or_default();
            let (db, never_used_ms) = (&server.history.db, self.reaping.never_used_ms);
            self.doomed = db.reapable(now.wall, never_used_ms, &mut cursor, LOOKED_AT_MAX).into();
            self.looking = (!cursor.is_done()).then_some(cursor);
        }
        let path = self.doomed.pop_front();
        let wait = match (self.doomed.is_empty(), &self.looking) {
            (true, None) => self.reaping.check_ms,
            // Nothing was found in this part.
            (true, Some(_)) if path.is_none() => 1,
            _ => self.reaping.gap_ms,
        };
        self.reap_at = now.mono + wait.max(1);
        Some(own_request(0, op::DELETE_CONTAINER, PathRequest { path: path? }.encode()))
    }
}

/// A request of the server itself.
fn own_request(session: SessionId, op: i32, body: Bytes) -> Request {
    Request { session, cxid: 0, op, body, auth: vec![], origin: None }
}
