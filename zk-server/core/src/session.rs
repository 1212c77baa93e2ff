//! Sessions: their ids, and the leader's clock of who is still alive.

use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{LinkId, Now};
use crate::hash::Sharded;
use std::collections::{BTreeMap, BTreeSet};
use wire::zk::{SessionId, Sid, err};

/// The first session id that a server gives out when it begins to serve at `wall` (ms since 1970); the following are
/// counted up from it.
pub fn first_id(myid: Sid, wall: i64) -> SessionId {
    let first = ((((wall as u64) << 24) >> 8) | (myid as u64) << 56) as i64;
    // As an owner of nodes, this one would make containers of them.
    if first == i64::MIN { first + 1 } else { first }
}

/// The server that gave out this id.
pub fn server_of(session: SessionId) -> Sid {
    session >> 56
}

/// Sessions by the moment (mono ms) at which they end: deadlines rounded up to whole ticks.
#[derive(Debug)]
pub struct Buckets {
    tick_ms: u64,
    by_deadline: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl Buckets {
    pub fn new(tick_ms: u64) -> Buckets {
        Buckets { tick_ms: tick_ms.max(1), by_deadline: BTreeMap::new() }
    }

    /// The tick at whose end a session dies that was heard of now.
    pub fn deadline_of(&self, timeout: i32, now: Now) -> u64 {
        ((now.mono + timeout.max(0) as u64) / self.tick_ms + 1) * self.tick_ms
    }

    pub fn insert(&mut self, session: SessionId, deadline: u64) {
        self.by_deadline.entry(deadline).or_default().insert(session);
    }

    pub fn remove(&mut self, session: SessionId, deadline: u64) {
        if let Some(bucket) = self.by_deadline.get_mut(&deadline) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.by_deadline.remove(&deadline);
            }
        }
    }

    pub fn reinsert(&mut self, session: SessionId, before: u64, after: u64) {
        if before != after {
            self.remove(session, before);
            self.insert(session, after);
        }
    }

    /// Takes out those whose time is over, `max` at most.
    pub fn take_expired(&mut self, now: Now, max: usize) -> Vec<SessionId> {
        let mut expired = vec![];
        while expired.len() < max
            && let Some(mut bucket) = self.by_deadline.first_entry().filter(|at| *at.key() <= now.mono)
        {
            while expired.len() < max
                && let Some(session) = bucket.get_mut().pop_first()
            {
                expired.push(session);
            }
            if bucket.get().is_empty() {
                bucket.remove();
            }
        }
        expired
    }

    /// Puts every deadline off by so many ms, rounded up to whole ticks; says by how much.
    pub fn postpone(&mut self, ms: u64) -> u64 {
        let shift = ms.div_ceil(self.tick_ms) * self.tick_ms;
        let before = std::mem::take(&mut self.by_deadline);
        self.by_deadline = before.into_iter().map(|(at, sessions)| (at + shift, sessions)).collect();
        shift
    }

    /// Next moment (mono ms) at which something may expire.
    pub fn next(&self) -> Option<u64> {
        self.by_deadline.keys().next().copied()
    }

    pub fn by_deadline(&self) -> &BTreeMap<u64, BTreeSet<SessionId>> {
        &self.by_deadline
    }
}

#[derive(Debug)]
struct Session {
    /// Mono ms; the key of its bucket.
    deadline: u64,
    /// Who may write in its name. Unknown until the first request after a change of leader.
    owner: Option<Option<LinkId>>,
    closing: bool,
}

/// The leader's clock of every session of the ensemble, and which server each belongs to.
#[derive(Debug)]
pub struct SessionTracker {
    myid: Sid,
    /// Servers may have sessions that are not known here.
    local_sessions: bool,
    /// A standalone server has another name for a session that it does not know.
    unknown: i32,
    sessions: Sharded<SessionId, Session>,
    buckets: Buckets,
}

impl SessionTracker {
    /// All sessions of the database get a full time-out from now.
    pub fn new(config: &CoreConfig, db: &Database, now: Now) -> SessionTracker {
        const UNKNOWN_SESSION: i32 = -12;
        let mut tracker = SessionTracker {
            myid: config.myid,
            local_sessions: config.local_sessions.enabled,
            unknown: if config.ensemble.is_some() { err::SESSION_EXPIRED } else { UNKNOWN_SESSION },
            sessions: Sharded::default(),
            buckets: Buckets::new(config.tick_ms),
        };
        for (session, timeout) in db.sessions() {
            tracker.track(*session, *timeout, None, now);
        }
        tracker
    }

    /// A createSession was prepared or committed.
    pub fn add(&mut self, session: SessionId, timeout: i32, owner: Option<LinkId>, now: Now) {
        self.track(session, timeout, Some(owner), now);
    }

    fn track(&mut self, session: SessionId, timeout: i32, owner: Option<Option<LinkId>>, now: Now) {
        let deadline = self.buckets.deadline_of(timeout, now);
        let before = match self.sessions.get_mut(&session) {
            Some(known) => {
                known.owner = owner.or(known.owner);
                std::mem::replace(&mut known.deadline, deadline)
            }
            None => {
                self.sessions.insert(session, Session { deadline, owner, closing: false });
                deadline
            }
        };
        self.buckets.remove(session, before);
        self.buckets.insert(session, deadline);
    }

    /// Its closeSession was committed.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(known) = self.sessions.remove(&session) {
            self.buckets.remove(session, known.deadline);
        }
    }

    /// False: no such session, or it is closing.
    pub fn touch(&mut self, session: SessionId, timeout: i32, now: Now) -> bool {
        let deadline = self.buckets.deadline_of(timeout, now);
        let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.closing) else {
            return false;
        };
        let before = std::mem::replace(&mut known.deadline, deadline);
        self.buckets.reinsert(session, before, deadline);
        true
    }

    /// A client came back through another server.
    pub fn set_owner(&mut self, session: SessionId, owner: Option<LinkId>) {
        if let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.closing) {
            known.owner = Some(owner);
        }
    }

    /// A closeSession is under way: nothing more is done in its name.
    pub fn set_closing(&mut self, session: SessionId) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.closing = true;
        }
    }

    /// May a request that came this way write in the session's name? The first who asks becomes its owner. `local`: it
    /// is a local session of this very server; one of another server is taken at that server's word.
    pub fn check(&mut self, session: SessionId, origin: Option<LinkId>, local: bool) -> Result<(), i32> {
        let elsewhere = self.local_sessions && server_of(session) != self.myid;
        match self.sessions.get_mut(&session) {
            None if local || elsewhere => Ok(()),
            None => Err(self.unknown),
            Some(known) => check_owner(known, origin),
        }
    }

    /// As [`SessionTracker::check`], for what makes an ephemeral node: only sessions of the ensemble may.
    pub fn check_global(
        &mut self,
        session: SessionId,
        origin: Option<LinkId>,
        local: bool,
    ) -> Result<(), i32> {
        match self.sessions.get_mut(&session) {
            None if local => Err(err::EPHEMERAL_ON_LOCAL_SESSION),
            None => Err(err::SESSION_EXPIRED),
            Some(known) => check_owner(known, origin),
        }
    }

    /// Sessions whose time is over, marked as closing: the caller proposes a closeSession (cxid 0) for each. Where more
    /// than `max` are, the others come with the next call, and [`SessionTracker::deadline`] stays in the past.
    pub fn expire(&mut self, now: Now, max: usize) -> Vec<SessionId> {
        let mut expired = self.buckets.take_expired(now, max);
        expired.retain(|session| {
            let known = self.sessions.get_mut(session).filter(|known| !known.closing);
            known.map(|known| known.closing = true).is_some()
        });
        expired
    }

    /// The server itself stood still for so long: nobody could be heard of meanwhile.
    pub fn postpone(&mut self, ms: u64) {
        let shift = self.buckets.postpone(ms);
        self.sessions.values_mut().for_each(|known| known.deadline += shift);
    }

    /// Next moment (mono ms) at which something may expire.
    pub fn deadline(&self) -> Option<u64> {
        self.buckets.next()
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions by the moment (mono ms) at which they expire, as `dump` lists them.
    pub fn by_deadline(&self) -> &BTreeMap<u64, BTreeSet<SessionId>> {
        self.buckets.by_deadline()
    }
}

fn check_owner(known: &mut Session, origin: Option<LinkId>) -> Result<(), i32> {
    if known.closing {
        return Err(err::SESSION_EXPIRED);
    }
    match known.owner {
        None => known.owner = Some(origin),
        Some(owner) if owner != origin => return Err(err::SESSION_MOVED),
        Some(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CoreConfig, LocalSessionRules};

    #[test]
    fn ids_carry_the_server_in_the_top_byte() {
        let id = first_id(3, 1_700_000_000_000);
        assert_eq!((id as u64) >> 56, 3);
        assert_eq!((id & 0xffff, server_of(id)), (0, 3));
        assert_eq!(first_id(0x80, 0), i64::MIN + 1);
    }

    fn at(mono: u64) -> Now {
        Now { mono, wall: 0 }
    }

    fn tracker() -> SessionTracker {
        SessionTracker::new(&crate::config::tests::standalone(), &Database::new(), at(0))
    }

    #[test]
    fn a_session_dies_at_the_end_of_a_tick_and_only_once() {
        let mut tracker = tracker();
        tracker.add(7, 1000, None, at(100));
        assert_eq!(tracker.deadline(), Some(2000));
        assert!(tracker.touch(7, 1000, at(1500)));
        assert_eq!(tracker.deadline(), Some(4000));
        assert_eq!(tracker.expire(at(3999), 9), []);
        assert_eq!(tracker.expire(at(4000), 9), [7]);
        assert!(!tracker.touch(7, 1000, at(4000)));
        assert_eq!((tracker.expire(at(9000), 9), tracker.deadline()), (vec![], None));
        assert_eq!(tracker.check(7, None, false), Err(err::SESSION_EXPIRED));
    }

    #[test]
    fn many_sessions_that_are_over_at_once_go_in_parts() {
        let mut tracker = tracker();
        (1..=5).for_each(|session| tracker.add(session, 1000, None, at(0)));
        tracker.add(6, 3000, None, at(0));
        assert_eq!(tracker.expire(at(4000), 3), [1, 2, 3]);
        assert_eq!(tracker.deadline(), Some(2000), "already over");
        assert_eq!(tracker.expire(at(4000), 3), [4, 5, 6]);
        assert_eq!((tracker.expire(at(4000), 3), tracker.deadline()), (vec![], None));
    }

    #[test]
    fn a_moved_session_is_refused_where_it_was() {
        let mut tracker = tracker();
        assert_eq!(tracker.check(7, None, false), Err(-12));
        tracker.add(7, 1000, Some(LinkId(1)), at(0));
        assert_eq!(tracker.check(7, Some(LinkId(1)), false), Ok(()));
        tracker.set_owner(7, None);
        assert_eq!(tracker.check(7, Some(LinkId(1)), false), Err(err::SESSION_MOVED));
        assert_eq!(tracker.check(7, None, false), Ok(()));
    }

    #[test]
    fn a_server_that_stood_still_gives_every_session_that_time() {
        let mut tracker = tracker();
        tracker.add(7, 1000, None, at(100));
        tracker.add(8, 9000, None, at(100));
        tracker.postpone(5001);
        assert_eq!(tracker.by_deadline().keys().copied().collect::<Vec<_>>(), [8000, 16_000]);
        assert_eq!(tracker.expire(at(7999), 9), []);
        assert!(tracker.touch(8, 9000, at(7999)));
        assert_eq!(tracker.expire(at(8000), 9), [7]);
    }

    #[test]
    fn a_local_session_writes_but_owns_no_nodes() {
        let ensemble = crate::config::tests::ensemble(&[1, 2, 3], &[]);
        let config = |enabled| CoreConfig {
            myid: 3,
            ensemble: Some(ensemble.clone()),
            local_sessions: LocalSessionRules { enabled, upgrading: false },
            ..crate::config::tests::standalone()
        };
        let mut tracker = SessionTracker::new(&config(true), &Database::new(), at(0));
        let (own, other) = (first_id(3, 5), first_id(2, 5));
        assert_eq!(tracker.check(own, None, true), Ok(()));
        assert_eq!(tracker.check(own, None, false), Err(err::SESSION_EXPIRED));
        assert_eq!(tracker.check(other, Some(LinkId(1)), false), Ok(()));
        assert_eq!(tracker.check_global(own, None, true), Err(err::EPHEMERAL_ON_LOCAL_SESSION));
        assert_eq!(tracker.check_global(other, Some(LinkId(1)), false), Err(err::SESSION_EXPIRED));
        let mut strict = SessionTracker::new(&config(false), &Database::new(), at(0));
        assert_eq!(strict.check(other, Some(LinkId(1)), false), Err(err::SESSION_EXPIRED));
    }
}
