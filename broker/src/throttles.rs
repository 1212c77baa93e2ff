//! The throttles of replication that all of a broker shares; their bounds are its dynamic settings.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use broker_core::throttle::Throttle;

use crate::config::BrokerConfig;

pub const LEADER_RATE: &str = "leader.replication.throttled.rate";
pub const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
pub const LOG_DIRS_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// One throttle. Without a bound it costs a load of a flag.
#[derive(Debug)]
pub struct Limit {
    key: &'static str,
    is_bounded: AtomicBool,
    throttle: Mutex<Throttle>,
    started: Instant,
}

impl Limit {
    fn new(config: &BrokerConfig, key: &'static str, windows: &str) -> Limit {
        let number = |what: &str| config.int(&format!("{windows}replication.quota.window.{what}"));
        let count = usize::try_from(number("num")).unwrap_or(1);
        let throttle = Throttle::new(count, number("size.seconds").saturating_mul(1000));
        Limit { key, is_bounded: AtomicBool::new(false), throttle: throttle.into(), started: Instant::now() }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether there is a bound at all.
    pub fn is_bounded(&self) -> bool {
        self.is_bounded.load(Ordering::Relaxed)
    }

    /// So many bytes of throttled replicas went by.
    pub fn record(&self, bytes: u64) {
        if self.is_bounded() && bytes > 0 {
            self.lock().record(self.now(), bytes);
        }
    }

    /// Whether throttled replicas have to wait.
    pub fn is_exceeded(&self) -> bool {
        self.is_bounded() && self.lock().is_exceeded(self.now())
    }

    fn set(&self, settings: &BTreeMap<String, String>) {
        let bound = settings.get(self.key).and_then(|value| value.trim().parse::<i64>().ok());
        let bound = bound.filter(|bound| *bound < i64::MAX).map(|bound| u64::try_from(bound).unwrap_or(0));
        let mut throttle = self.lock();
        if throttle.bound() != bound {
            tracing::info!("{} is {}", self.key, bound.map_or("unbounded".to_owned(), |b| b.to_string()));
            throttle.set_bound(bound);
        }
        self.is_bounded.store(bound.is_some(), Ordering::Relaxed);
    }
}

/// As a leader, as a follower, and from one log directory to another.
#[derive(Debug)]
pub struct Throttles {
    pub leader: Limit,
    pub follower: Limit,
    pub log_dirs: Limit,
}

impl Throttles {
    pub fn new(config: &BrokerConfig) -> Throttles {
        Throttles {
            leader: Limit::new(config, LEADER_RATE, ""),
            follower: Limit::new(config, FOLLOWER_RATE, ""),
            log_dirs: Limit::new(config, LOG_DIRS_RATE, "alter.log.dirs."),
        }
    }

    /// Takes the bounds from `/config/brokers/<id>`; the default for all brokers has none, as in Kafka.
    pub fn set(&self, settings: &BTreeMap<String, String>) {
        [&self.leader, &self.follower, &self.log_dirs].into_iter().for_each(|limit| limit.set(settings));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Properties;

    #[test]
    fn a_bound_comes_and_goes_with_the_brokers_settings() {
        let text = b"zookeeper.connect=h\nbroker.id=1\nreplication.quota.window.num=2\n";
        let config = BrokerConfig::read(&Properties::parse("t", text).unwrap()).unwrap();
        let throttles = Throttles::new(&config);
        throttles.leader.record(1_000_000);
        assert!(!throttles.leader.is_exceeded(), "there is no bound");
        throttles.set(&BTreeMap::from([(LEADER_RATE.to_owned(), "1000".to_owned())]));
        throttles.leader.record(1_000_000);
        throttles.follower.record(1_000_000);
        assert!(throttles.leader.is_exceeded() && !throttles.follower.is_exceeded());
        throttles.set(&BTreeMap::new());
        assert!(!throttles.leader.is_exceeded());
    }
}
