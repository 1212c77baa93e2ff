//! Sessions that only their server knows (`localSessionsEnabled`): no transaction begins or ends them, and they are gone
//! with the connection of their server to the ensemble.

use crate::config::LocalSessionRules;
use crate::event::Now;
use crate::session::Buckets;
use std::collections::BTreeMap;
use wire::zk::SessionId;

/// So many end in one step.
const EXPIRED_MAX: usize = 256;

#[derive(Debug)]
struct Local {
    timeout: i32,
    /// Mono ms; the key of its bucket.
    deadline: u64,
}

#[derive(Debug)]
pub struct LocalSessions {
    pub rules: LocalSessionRules,
    known: BTreeMap<SessionId, Local>,
    buckets: Buckets,
}

impl LocalSessions {
    pub fn new(rules: LocalSessionRules, tick_ms: u64) -> LocalSessions {
        LocalSessions { rules, known: BTreeMap::new(), buckets: Buckets::new(tick_ms) }
    }

    pub fn add(&mut self, session: SessionId, timeout: i32, now: Now) {
        let deadline = self.buckets.deadline_of(timeout, now);
        self.known.insert(session, Local { timeout, deadline });
        self.buckets.insert(session, deadline);
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.known.contains_key(&session)
    }

    /// False: there is no such session here.
    pub fn touch(&mut self, session: SessionId, now: Now) -> bool {
        let Some(known) = self.known.get_mut(&session) else { return false };
        let deadline = self.buckets.deadline_of(known.timeout, now);
        let before = std::mem::replace(&mut known.deadline, deadline);
        self.buckets.reinsert(session, before, deadline);
        true
    }

    /// It ends, or becomes one of the ensemble's; its time-out.
    pub fn remove(&mut self, session: SessionId) -> Option<i32> {
        let known = self.known.remove(&session)?;
        self.buckets.remove(session, known.deadline);
        Some(known.timeout)
    }

    /// Takes out those whose time is over, many of them in parts.
    pub fn expire(&mut self, now: Now) -> Vec<SessionId> {
        let expired = self.buckets.take_expired(now, EXPIRED_MAX);
        for session in &expired {
            self.known.remove(session);
        }
        expired
    }

    /// The server itself stood still for so long.
    pub fn postpone(&mut self, ms: u64) {
        let shift = self.buckets.postpone(ms);
        self.known.values_mut().for_each(|known| known.deadline += shift);
    }

    pub fn clear(&mut self) {
        self.known.clear();
        self.buckets.take_expired(Now { mono: u64::MAX, wall: 0 }, usize::MAX);
    }

    /// Next moment (mono ms) at which one may expire.
    pub fn deadline(&self) -> Option<u64> {
        self.buckets.next()
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// As `dump` lists them.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: u64) -> Now {
        Now { mono, wall: 0 }
    }

    #[test]
    fn a_local_session_lives_from_touch_to_touch() {
        let mut locals = LocalSessions::new(LocalSessionRules { enabled: true, upgrading: true }, 1000);
        locals.add(7, 3000, at(0));
        locals.add(8, 3000, at(0));
        assert!(locals.touch(7, at(2500)) && !locals.touch(9, at(2500)));
        assert_eq!(locals.expire(at(4000)), [8]);
        assert_eq!((locals.contains(8), locals.deadline()), (false, Some(6000)));
        locals.postpone(10);
        assert_eq!(locals.deadline(), Some(7000));
        assert_eq!((locals.remove(7), locals.remove(7), locals.deadline()), (Some(3000), None, None));
    }
}
