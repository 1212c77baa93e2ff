//! Incremental fetch sessions: a fetcher names its partitions once, and is told only what is new.
//!
//! A request opens a [`Context`]. For [`Context::Full`] the caller serves what the request names and then offers the
//! answers to [`FetchSessions::create`]; for [`Context::Incremental`] it serves [`FetchSessions::asked`] and sends the
//! answers that [`FetchSessions::select`] picks.

use crate::error::ErrorCode;
use std::collections::BTreeMap;

/// No session.
pub const INVALID_SESSION: i32 = 0;
/// A request with this epoch wants a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// A request with this epoch ends its session and wants none.
pub const FINAL_EPOCH: i32 = -1;

/// What a fetcher asks of one partition; kept between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub offset: i64,
    pub log_start: i64,
    pub max_bytes: i32,
    /// -1: none, likewise below.
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What matters of one partition's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub error: ErrorCode,
    pub has_records: bool,
    pub high_watermark: i64,
    pub log_start: i64,
    pub has_preferred_replica: bool,
    pub has_diverging_epoch: bool,
}

/// How a request is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Answer with this error, session id 0 and no partitions.
    Error(ErrorCode),
    /// Serve what the request names; no session.
    Sessionless,
    /// Serve what the request names, then [`FetchSessions::create`].
    Full,
    /// Serve what the session names.
    Incremental { session: i32, request_epoch: i32 },
}

#[derive(Debug)]
struct Cached {
    position: u64,
    asked: Asked,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session<K> {
    follower: bool,
    uses_topic_ids: bool,
    created_ms: i64,
    used_ms: i64,
    /// The epoch of its next request.
    epoch: i32,
    partitions: BTreeMap<K, Cached>,
    /// The order in which partitions are served: who got data goes to the end.
    order: BTreeMap<u64, K>,
    next_position: u64,
    /// As of the last use, what eviction compares.
    size: usize,
    evictable_by_followers: bool,
    evictable_by_all: bool,
}

impl<K: Ord + Clone> Session<K> {
    fn add(&mut self, key: K, asked: Asked, answered: Option<&Answered>) {
        let position = self.next_position;
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.asked = asked;
            return;
        }
        self.next_position += 1;
        self.order.insert(position, key.clone());
        let cached = Cached {
            position,
            asked,
            high_watermark: answered.map_or(-1, |answer| answer.high_watermark),
            log_start: answered.map_or(-1, |answer| answer.log_start),
        };
        self.partitions.insert(key, cached);
    }

    fn forget(&mut self, key: &K) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.position);
        }
    }

    fn touch(&mut self, now_ms: i64, eviction_ms: i64) {
        self.used_ms = now_ms;
        self.size = self.partitions.len();
        let old = now_ms - self.created_ms > eviction_ms;
        self.evictable_by_followers = !self.follower || old;
        self.evictable_by_all = old;
    }
}

/// The sessions of one broker. `K` names a partition, by topic id or name.
#[derive(Debug)]
pub struct FetchSessions<K> {
    slots: usize,
    eviction_ms: i64,
    sessions: BTreeMap<i32, Session<K>>,
    evictions: u64,
}

impl<K: Ord + Clone> FetchSessions<K> {
    /// `slots`: `max.incremental.fetch.session.cache.slots`; `eviction_ms`: 120000 in Kafka.
    pub fn new(slots: usize, eviction_ms: i64) -> FetchSessions<K> {
        FetchSessions { slots, eviction_ms, sessions: BTreeMap::new(), evictions: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Partitions in all sessions, as of their last use.
    pub fn partitions(&self) -> usize {
        self.sessions.values().map(|session| session.size).sum()
    }

    /// Sessions that had to make room, ever.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Looks at a request's session id and epoch, and takes its changes into the session.
    pub fn open(
        &mut self,
        now_ms: i64,
        id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        named: impl IntoIterator<Item = (K, Asked)>,
        forgotten: impl IntoIterator<Item = K>,
    ) -> Context {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.sessions.remove(&id);
            return if epoch == FINAL_EPOCH { Context::Sessionless } else { Context::Full };
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Context::Error(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != epoch {
            return Context::Error(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Context::Error(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        named.into_iter().for_each(|(key, asked)| session.add(key, asked, None));
        forgotten.into_iter().for_each(|key| session.forget(&key));
        if session.partitions.is_empty() {
            self.sessions.remove(&id);
            return Context::Sessionless;
        }
        session.touch(now_ms, self.eviction_ms);
        session.epoch = next_epoch(epoch);
        Context::Incremental { session: id, request_epoch: epoch }
    }

    /// What a session's fetcher wants, in the order of serving.
    pub fn asked(&self, session: i32) -> impl Iterator<Item = (&K, &Asked)> {
        self.sessions.get(&session).into_iter().flat_map(|session| {
            session.order.values().filter_map(|key| Some((key, &session.partitions.get(key)?.asked)))
        })
    }

    /// A new session for a full fetch, with what was asked and answered; `random` yields numbers until one is free.
    /// [`INVALID_SESSION`] when there is no room.
    pub fn create(
        &mut self,
        now_ms: i64,
        follower: bool,
        uses_topic_ids: bool,
        served: impl ExactSizeIterator<Item = (K, Asked, Answered)>,
        mut random: impl FnMut() -> i32,
    ) -> i32 {
        if self.sessions.len() >= self.slots && !self.evict(now_ms, follower, served.len()) {
            return INVALID_SESSION;
        }
        let id = loop {
            let id = random() & i32::MAX;
            if id != INVALID_SESSION && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            follower,
            uses_topic_ids,
            created_ms: now_ms,
            used_ms: now_ms,
            epoch: next_epoch(INITIAL_EPOCH),
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
            next_position: 0,
            size: 0,
            evictable_by_followers: false,
            evictable_by_all: false,
        };
        served.for_each(|(key, asked, answered)| session.add(key, asked, Some(&answered)));
        session.touch(now_ms, self.eviction_ms);
        self.sessions.insert(id, session);
        id
    }

    /// Whether a request may still be answered within its session: not if another of the same epoch came meanwhile.
    pub fn check(&self, session: i32, request_epoch: i32) -> Result<(), ErrorCode> {
        match self.sessions.get(&session) {
            Some(found) if found.epoch != next_epoch(request_epoch) => {
                Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH)
            }
            _ => Ok(()),
        }
    }

    /// Whether this answer goes into an incremental response: only news do. A partition with data goes to the end of
    /// the order, so that all get their turn.
    pub fn select(&mut self, session: i32, key: &K, answered: &Answered) -> bool {
        let Some(session) = self.sessions.get_mut(&session) else { return true };
        let Some(cached) = session.partitions.get_mut(key) else { return true };
        let news = answered.has_records
            || answered.has_preferred_replica
            || answered.has_diverging_epoch
            || answered.error != ErrorCode::NONE
            || cached.high_watermark != answered.high_watermark
            || cached.log_start != answered.log_start;
        // After an error the next good answer is news again.
        cached.high_watermark = if answered.error != ErrorCode::NONE { -1 } else { answered.high_watermark };
        cached.log_start = answered.log_start;
        if answered.has_records {
            session.order.remove(&cached.position);
            cached.position = session.next_position;
            session.next_position += 1;
            session.order.insert(cached.position, key.clone());
        }
        news
    }

    /// Makes room for a session of this kind and size, if one that is worth less can go.
    fn evict(&mut self, now_ms: i64, follower: bool, size: usize) -> bool {
        let Some((&oldest, session)) = self.sessions.iter().min_by_key(|(id, s)| (s.used_ms, **id)) else {
            return false;
        };
        let victim = if now_ms - session.used_ms > self.eviction_ms {
            Some(oldest)
        } else {
            let evictable =
                |s: &Session<K>| if follower { s.evictable_by_followers } else { s.evictable_by_all };
            let candidates = self.sessions.iter().filter(|(_, session)| evictable(session));
            let least = candidates.map(|(&id, s)| (s.follower, s.size, id)).min();
            least.filter(|&least| (follower, size, 0) >= least).map(|(_, _, id)| id)
        };
        let Some(victim) = victim else { return false };
        self.sessions.remove(&victim);
        self.evictions += 1;
        true
    }
}

fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        FINAL_EPOCH => FINAL_EPOCH,
        i32::MAX => 1,
        epoch => epoch + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        offset: 0,
        log_start: -1,
        max_bytes: 1 << 20,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    };
    const QUIET: Answered = Answered {
        error: ErrorCode::NONE,
        has_records: false,
        high_watermark: 5,
        log_start: 0,
        has_preferred_replica: false,
        has_diverging_epoch: false,
    };

    fn create(sessions: &mut FetchSessions<u32>, now: i64, follower: bool, count: u32, id: i32) -> i32 {
        let served: Vec<_> = (0..count).map(|p| (p, ASKED, QUIET)).collect();
        sessions.create(now, follower, true, served.into_iter(), || id)
    }

    fn reopen(sessions: &mut FetchSessions<u32>, now: i64, id: i32, epoch: i32) -> Context {
        sessions.open(now, id, epoch, true, [], [])
    }

    fn order(sessions: &FetchSessions<u32>, id: i32) -> Vec<u32> {
        sessions.asked(id).map(|(key, _)| *key).collect()
    }

    #[test]
    fn a_session_is_used_epoch_by_epoch() {
        let mut s = FetchSessions::new(10, 120_000);
        assert_eq!(s.open(0, 0, 0, true, [(1, ASKED)], []), Context::Full);
        let id = create(&mut s, 0, false, 2, 77);
        assert_eq!(reopen(&mut s, 1, id, 1), Context::Incremental { session: 77, request_epoch: 1 });
        assert_eq!(s.check(id, 1), Ok(()));
        assert_eq!(
            reopen(&mut s, 2, id, 1),
            Context::Error(ErrorCode::INVALID_FETCH_SESSION_EPOCH),
            "an epoch is good once"
        );
        assert_eq!(reopen(&mut s, 2, id, 2), Context::Incremental { session: 77, request_epoch: 2 });
        assert_eq!(s.check(id, 1), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH), "overtaken");
        assert_eq!(reopen(&mut s, 3, 78, 1), Context::Error(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(
            s.open(3, id, 3, false, [], []),
            Context::Error(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR),
            "ids and names do not mix"
        );
        assert_eq!(reopen(&mut s, 4, id, FINAL_EPOCH), Context::Sessionless);
        assert!(s.is_empty());
    }

    #[test]
    fn the_epoch_wraps_to_one() {
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn only_news_are_selected() {
        let mut s = FetchSessions::new(10, 120_000);
        let id = create(&mut s, 0, false, 3, 1);
        assert!(!s.select(id, &0, &QUIET));
        let moved = Answered { high_watermark: 6, ..QUIET };
        assert!(s.select(id, &0, &moved));
        assert!(!s.select(id, &0, &moved));
        let failed = Answered { error: ErrorCode::NOT_LEADER_OR_FOLLOWER, ..moved };
        assert!(s.select(id, &0, &failed));
        assert!(s.select(id, &0, &failed), "errors are repeated");
        assert!(s.select(id, &0, &moved), "and so is the first good answer behind one");
        assert!(!s.select(id, &0, &moved));
    }

    #[test]
    fn partitions_with_data_go_to_the_end() {
        let mut s = FetchSessions::new(10, 120_000);
        let id = create(&mut s, 0, false, 3, 1);
        assert!(s.select(id, &0, &Answered { has_records: true, ..QUIET }));
        assert_eq!(order(&s, id), [1, 2, 0]);
        s.open(1, id, 1, true, [(9, ASKED)], [2]);
        assert_eq!(order(&s, id), [1, 0, 9]);
    }

    #[test]
    fn a_session_without_partitions_is_closed() {
        let mut s = FetchSessions::new(10, 120_000);
        let id = create(&mut s, 0, false, 1, 1);
        assert_eq!(s.open(1, id, 1, true, [], [0]), Context::Sessionless);
        assert!(s.is_empty());
    }

    #[test]
    fn a_full_cache_gives_up_stale_then_small_old_sessions_and_followers_only_to_followers() {
        let mut s = FetchSessions::new(2, 100);
        let consumer = create(&mut s, 0, false, 5, 1);
        let follower = create(&mut s, 0, true, 5, 2);
        assert_eq!(create(&mut s, 50, false, 9, 3), INVALID_SESSION, "both are young");
        assert_eq!(create(&mut s, 50, true, 1, 4), 4, "a follower may push out a consumer, however small");
        assert_eq!(reopen(&mut s, 50, consumer, 1), Context::Error(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        reopen(&mut s, 101, follower, 1);
        reopen(&mut s, 101, 4, 1);
        assert_eq!(create(&mut s, 102, false, 100, 5), INVALID_SESSION, "followers' sessions are worth more");
        assert_eq!(create(&mut s, 102, true, 5, 6), INVALID_SESSION, "and the old one is not smaller");
        assert_eq!(create(&mut s, 102, true, 6, 7), 7);
        assert_eq!(create(&mut s, 500, false, 1, 8), 8, "stale sessions go to anyone");
        assert_eq!(s.evictions(), 3);
    }
}
