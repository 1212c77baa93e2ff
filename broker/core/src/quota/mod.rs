//! Quotas of clients: how much each may produce, fetch, ask and change, and how long it has to wait when it was more.
//!
//! Time comes with every call, as milliseconds of a clock that does not go back. Of clients without a quota nothing is
//! kept, and counters of those that have been idle for so long that nothing of them is left are dropped.

mod bucket;
mod entity;
mod rate;
mod used;

use std::collections::BTreeMap;

pub use bucket::Bucket;
pub use entity::{Bounds, DEFAULT, Entity, Group, Name, desanitize, sanitize};
pub use rate::{Rate, Windows};
pub use used::Used;
use used::Waits;

/// What a quota limits, and its key in ZooKeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// Bytes of Produce requests per second.
    Produce,
    /// Bytes of Fetch responses per second.
    Fetch,
    /// Per cent of one thread's time.
    Request,
    /// Partitions created and deleted per second.
    ControllerMutation,
}

impl QuotaKind {
    pub const ALL: [QuotaKind; 4] =
        [QuotaKind::Produce, QuotaKind::Fetch, QuotaKind::Request, QuotaKind::ControllerMutation];

    /// The key of its bound.
    pub fn key(self) -> &'static str {
        match self {
            QuotaKind::Produce => "producer_byte_rate",
            QuotaKind::Fetch => "consumer_byte_rate",
            QuotaKind::Request => "request_percentage",
            QuotaKind::ControllerMutation => "controller_mutation_rate",
        }
    }

    /// As Kafka's log has it.
    pub fn name(self) -> &'static str {
        match self {
            QuotaKind::Produce => "PRODUCE",
            QuotaKind::Fetch => "FETCH",
            QuotaKind::Request => "REQUEST",
            QuotaKind::ControllerMutation => "CONTROLLER_MUTATION",
        }
    }
}

/// Idle counters are looked for this often.
const SWEEP_MS: i64 = 60_000;

/// What those have done who share a quota.
#[derive(Debug, Default)]
struct Counter {
    used_ms: i64,
    rate: Rate,
    waits: Waits,
}

/// Quotas on a rate: all kinds but [`QuotaKind::ControllerMutation`].
#[derive(Debug)]
pub struct RateQuota {
    windows: Windows,
    bounds: Bounds,
    counters: BTreeMap<Group, Counter>,
    /// No wait is longer.
    throttle_ms_max: i32,
    swept_ms: i64,
}

impl RateQuota {
    /// Without bounds. Waits for a [`QuotaKind::Request`] are one window at most.
    pub fn new(kind: QuotaKind, windows: Windows) -> RateQuota {
        let one_window = i32::try_from(windows.size_ms).unwrap_or(i32::MAX);
        let throttle_ms_max = if kind == QuotaKind::Request { one_window } else { i32::MAX };
        RateQuota {
            windows,
            bounds: Bounds::default(),
            counters: BTreeMap::new(),
            throttle_ms_max,
            swept_ms: 0,
        }
    }

    /// Sets or removes a bound; what was counted stays.
    pub fn set(&mut self, entity: &Entity, bound: Option<f64>) {
        self.bounds.set(entity, bound);
    }

    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Records a value and tells for how many milliseconds the client has to wait for it.
    pub fn record(&mut self, now_ms: i64, user: &str, client_id: &str, value: f64) -> i32 {
        let (windows, longest) = (self.windows, self.throttle_ms_max);
        let Some((bound, counter)) = self.counter(now_ms, user, client_id) else { return 0 };
        counter.rate.record(windows, now_ms, value);
        let throttle_ms = counter.rate.throttle_ms(windows, now_ms, bound).min(longest);
        counter.waits.record(windows, now_ms, throttle_ms);
        throttle_ms
    }

    /// Records without asking; a negative value takes back.
    pub fn record_only(&mut self, now_ms: i64, user: &str, client_id: &str, value: f64) {
        let windows = self.windows;
        if let Some((_, counter)) = self.counter(now_ms, user, client_id) {
            counter.rate.record(windows, now_ms, value);
        }
    }

    /// More than this at once is throttled even if nothing was recorded before; `None`: no bound.
    pub fn burst(&self, user: &str, client_id: &str) -> Option<f64> {
        self.bounds.find(user, client_id).map(|(bound, _)| bound * self.windows.burst_seconds())
    }

    fn counter(&mut self, now_ms: i64, user: &str, client_id: &str) -> Option<(f64, &mut Counter)> {
        let (bound, group) = self.bounds.find(user, client_id)?;
        if now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            let memory_ms = self.windows.memory_ms();
            self.counters.retain(|_, counter| now_ms - counter.used_ms < memory_ms);
        }
        let counter = self.counters.entry(group).or_default();
        counter.used_ms = now_ms;
        Some((bound, counter))
    }

    /// How those stand who were counted lately.
    pub fn used(&mut self, now_ms: i64) -> Vec<Used> {
        let windows = self.windows;
        let used = |((user, client_id), counter): (&Group, &mut Counter)| Used {
            user: user.clone(),
            client_id: client_id.clone(),
            rate: counter.rate.measure(windows, now_ms),
            throttle_ms: counter.waits.mean(windows, now_ms),
            tokens: None,
        };
        self.counters.iter_mut().map(used).collect()
    }
}

/// What those have changed who share a quota.
#[derive(Debug, Default)]
struct Changes {
    bucket: Bucket,
    rate: Rate,
    waits: Waits,
}

/// The quota on changes of the cluster.
#[derive(Debug)]
pub struct MutationQuota {
    windows: Windows,
    bounds: Bounds,
    buckets: BTreeMap<Group, Changes>,
    swept_ms: i64,
}

/// What a change has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// It may be done; the client waits so many milliseconds with its next request.
    Allowed { throttle_ms: i32 },
    /// It may not be done for so many milliseconds.
    Refused { throttle_ms: i32 },
}

impl MutationQuota {
    /// Without bounds.
    pub fn new(windows: Windows) -> MutationQuota {
        MutationQuota { windows, bounds: Bounds::default(), buckets: BTreeMap::new(), swept_ms: 0 }
    }

    /// Sets or removes a bound; what was counted stays.
    pub fn set(&mut self, entity: &Entity, bound: Option<f64>) {
        self.bounds.set(entity, bound);
    }

    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    /// Asks for as many changes. Where it is `strict` nothing is done while tokens are owed, and what is done needs no
    /// waiting, however much it was; otherwise all is done and waited for.
    pub fn record(
        &mut self,
        now_ms: i64,
        user: &str,
        client_id: &str,
        partitions: usize,
        strict: bool,
    ) -> Mutation {
        let free = Mutation::Allowed { throttle_ms: 0 };
        let Some((bound, group)) = self.bounds.find(user, client_id) else { return free };
        let windows = self.windows;
        if now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            let bounds = &self.bounds;
            self.buckets.retain(|(user, client_id), changes| {
                let bound = bounds.find(user, client_id);
                bound.is_some_and(|(bound, _)| !changes.bucket.is_full(windows, now_ms, bound))
            });
        }
        let Changes { bucket, rate, waits } = self.buckets.entry(group).or_default();
        if strict {
            let throttle_ms = bucket.throttle_ms(windows, now_ms, bound);
            if throttle_ms > 0 || bucket.tokens(windows, now_ms, bound) < 0.0 {
                waits.record(windows, now_ms, throttle_ms);
                return Mutation::Refused { throttle_ms };
            }
            rate.record(windows, now_ms, partitions as f64);
            bucket.take(windows, now_ms, bound, partitions as f64);
            return free;
        }
        rate.record(windows, now_ms, partitions as f64);
        bucket.take(windows, now_ms, bound, partitions as f64);
        let throttle_ms = bucket.throttle_ms(windows, now_ms, bound);
        waits.record(windows, now_ms, throttle_ms);
        Mutation::Allowed { throttle_ms }
    }

    /// How those stand who changed something lately.
    pub fn used(&mut self, now_ms: i64) -> Vec<Used> {
        let (windows, bounds) = (self.windows, &self.bounds);
        let used = |((user, client_id), changes): (&Group, &mut Changes)| {
            let (bound, _) = bounds.find(user, client_id)?;
            Some(Used {
                user: user.clone(),
                client_id: client_id.clone(),
                rate: changes.rate.measure(windows, now_ms),
                throttle_ms: changes.waits.mean(windows, now_ms),
                tokens: Some(changes.bucket.tokens(windows, now_ms, bound)),
            })
        };
        self.buckets.iter_mut().filter_map(used).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };

    fn entity(path: &str) -> Entity {
        Entity::parse(path).unwrap()
    }

    #[test]
    fn every_user_of_a_default_has_a_counter_of_its_own_and_idle_ones_go() {
        let mut quota = RateQuota::new(QuotaKind::Produce, WINDOWS);
        assert_eq!(quota.record(0, "a", "c", 1e9), 0, "nobody has a quota");
        assert!(quota.counters.is_empty());
        quota.set(&entity("users/<default>"), Some(100.0));
        assert_eq!(quota.record(0, "a", "c", 1500.0), 5000);
        assert_eq!(quota.record(0, "b", "c", 900.0), 0);
        assert_eq!(quota.record(0, "b", "d", 600.0), 5000, "client ids of a user count together");
        assert_eq!(quota.record(SWEEP_MS, "c", "c", 1.0), 0);
        assert_eq!(quota.counters.len(), 1);
        assert_eq!(quota.burst("a", "c"), Some(1000.0));
        quota.set(&entity("users/<default>"), None);
        assert_eq!((quota.burst("a", "c"), quota.is_empty()), (None, true));
    }

    #[test]
    fn who_measures_sees_rates_waits_and_tokens() {
        let mut quota = RateQuota::new(QuotaKind::Produce, WINDOWS);
        quota.set(&entity("clients/c"), Some(100.0));
        quota.record(0, "u", "c", 500.0);
        let used = |quota: &mut RateQuota, now_ms| {
            let all = quota.used(now_ms);
            let [used] = &all[..] else { panic!("{all:?}") };
            (used.client_id.clone(), used.rate, used.throttle_ms)
        };
        let (client, rate, wait) = used(&mut quota, 0);
        assert!((client.as_str(), rate) == ("c", 50.0) && wait.is_nan(), "{client} {rate} {wait}");
        let waits = [1500.0, 100.0].map(|bytes| quota.record(0, "u", "c", bytes));
        assert_eq!(used(&mut quota, 0), ("c".into(), 210.0, f64::from(waits[0] + waits[1]) / 2.0));
        assert!(used(&mut quota, 11_000).2.is_nan(), "waits are forgotten with their windows");
        let mut quota = MutationQuota::new(WINDOWS);
        quota.set(&entity("users/u"), Some(1.0));
        quota.record(0, "u", "c", 16, true);
        quota.record(0, "u", "c", 1, true);
        let used = Used {
            user: "u".into(),
            client_id: String::new(),
            rate: 1.6,
            throttle_ms: 5000.0,
            tokens: Some(-5.0),
        };
        assert_eq!(quota.used(0), [used]);
    }

    #[test]
    fn requests_wait_for_one_window_at_most() {
        let mut quota = RateQuota::new(QuotaKind::Request, WINDOWS);
        quota.set(&entity("clients/c"), Some(1.0));
        assert_eq!(quota.record(0, "u", "c", 100.0), 1000);
        quota.record_only(0, "u", "c", -100.0);
        assert_eq!(quota.record(0, "u", "c", 1.0), 0);
    }

    #[test]
    fn strict_changes_are_refused_and_others_waited_for() {
        let mut quota = MutationQuota::new(WINDOWS);
        quota.set(&entity("users/u"), Some(1.0));
        let mut ask = |now_ms, partitions, strict| quota.record(now_ms, "u", "c", partitions, strict);
        assert_eq!(ask(0, 16, true), Mutation::Allowed { throttle_ms: 0 }, "eleven are there: five are owed");
        assert_eq!(ask(0, 1, true), Mutation::Refused { throttle_ms: 5000 });
        assert_eq!(ask(0, 1, false), Mutation::Allowed { throttle_ms: 6000 });
        assert_eq!(ask(6000, 1, true), Mutation::Allowed { throttle_ms: 0 });
        assert_eq!(ask(6000, 0, true), Mutation::Refused { throttle_ms: 1000 });
        assert_eq!(quota.record(6000, "v", "c", 99, true), Mutation::Allowed { throttle_ms: 0 });
    }
}
