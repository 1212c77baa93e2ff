//! Sessions: their ids, and the leader's clock of who is still alive.

use crate::config::CoreConfig;
use crate::database::Database;
use crate::event::{LinkId, Now};
use crate::hash::Map;
use std::collections::{BTreeMap, BTreeSet};
use wire::zk::{SessionId, Sid, err};

/// The first session id that a server gives out when it begins to serve at `wall` (ms since 1970); the following are
/// counted up from it.
pub fn first_id(myid: Sid, wall: i64) -> SessionId {
    ((((wall as u64) << 24) >> 8) | (myid as u64) << 56) as i64
}

#[derive(Debug)]
struct Session {
    /// Mono ms; the key of its bucket.
    deadline: u64,
    /// Who may write in its name. Unknown until the first request after a change of leader.
    owner: Option<Option<LinkId>>,
    closing: bool,
}

/// The leader's clock of every session: deadlines rounded up to whole ticks, and which server each belongs to.
#[derive(Debug)]
pub struct SessionTracker {
    tick_ms: u64,
    /// A standalone server has another name for a session that it does not know.
    unknown: i32,
    sessions: Map<SessionId, Session>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl SessionTracker {
    /// All sessions of the database get a full time-out from now.
    pub fn new(config: &CoreConfig, db: &Database, now: Now) -> SessionTracker {
        const UNKNOWN_SESSION: i32 = -12;
        let mut tracker = SessionTracker {
            tick_ms: config.tick_ms.max(1),
            unknown: if config.ensemble.is_some() { err::SESSION_EXPIRED } else { UNKNOWN_SESSION },
            sessions: Map::default(),
            buckets: BTreeMap::new(),
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
        let deadline = self.bucket(timeout, now);
        let known = self.sessions.entry(session).or_insert(Session { deadline, owner: None, closing: false });
        if owner.is_some() {
            known.owner = owner;
        }
        let before = std::mem::replace(&mut known.deadline, deadline);
        self.rebucket(session, before, deadline);
    }

    /// The tick at whose end a session dies that was heard of now.
    fn bucket(&self, timeout: i32, now: Now) -> u64 {
        ((now.mono + timeout.max(0) as u64) / self.tick_ms + 1) * self.tick_ms
    }

    fn rebucket(&mut self, session: SessionId, before: u64, after: u64) {
        if before != after {
            self.unbucket(session, before);
        }
        self.buckets.entry(after).or_default().insert(session);
    }

    fn unbucket(&mut self, session: SessionId, deadline: u64) {
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// Its closeSession was committed.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(known) = self.sessions.remove(&session) {
            self.unbucket(session, known.deadline);
        }
    }

    /// False: no such session, or it is closing.
    pub fn touch(&mut self, session: SessionId, timeout: i32, now: Now) -> bool {
        let deadline = self.bucket(timeout, now);
        let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.closing) else {
            return false;
        };
        let before = std::mem::replace(&mut known.deadline, deadline);
        if before != deadline {
            self.rebucket(session, before, deadline);
        }
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

    /// May a request that came this way write in the session's name? The first who asks becomes its owner.
    pub fn check(&mut self, session: SessionId, origin: Option<LinkId>) -> Result<(), i32> {
        let known = self.sessions.get_mut(&session).ok_or(self.unknown)?;
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

    /// As [`SessionTracker::check`]; what makes an ephemeral node also refuses a session that is not known.
    pub fn check_global(&mut self, session: SessionId, origin: Option<LinkId>) -> Result<(), i32> {
        self.check(session, origin)
            .map_err(|err| if err == self.unknown { err::SESSION_EXPIRED } else { err })
    }

    /// Sessions whose time is over, marked as closing: the caller proposes a closeSession (cxid 0) for each.
    pub fn expire(&mut self, now: Now) -> Vec<SessionId> {
        let mut expired = vec![];
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now.mono) {
            for session in bucket.remove() {
                if let Some(known) = self.sessions.get_mut(&session)
                    && !known.closing
                {
                    known.closing = true;
                    expired.push(session);
                }
            }
        }
        expired
    }

    /// Next moment (mono ms) at which something may expire.
    pub fn deadline(&self) -> Option<u64> {
        self.buckets.keys().next().copied()
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions by the moment (mono ms) at which they expire, as `dump` lists them.
    pub fn by_deadline(&self) -> &BTreeMap<u64, BTreeSet<SessionId>> {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_server_in_the_top_byte() {
        let id = first_id(3, 1_700_000_000_000);
        assert_eq!((id as u64) >> 56, 3);
        assert_eq!(id & 0xffff, 0);
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
        assert_eq!(tracker.expire(at(3999)), []);
        assert_eq!(tracker.expire(at(4000)), [7]);
        assert!(!tracker.touch(7, 1000, at(4000)));
        assert_eq!((tracker.expire(at(9000)), tracker.deadline()), (vec![], None));
        assert_eq!(tracker.check(7, None), Err(err::SESSION_EXPIRED));
    }

    #[test]
    fn a_moved_session_is_refused_where_it_was() {
        let mut tracker = tracker();
        assert_eq!(tracker.check(7, None), Err(-12));
        tracker.add(7, 1000, Some(LinkId(1)), at(0));
        assert_eq!(tracker.check(7, Some(LinkId(1))), Ok(()));
        tracker.set_owner(7, None);
        assert_eq!(tracker.check(7, Some(LinkId(1))), Err(err::SESSION_MOVED));
        assert_eq!(tracker.check(7, None), Ok(()));
    }
}
