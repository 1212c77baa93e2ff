//! What the tasks of connections count beside the loop: requests by kind, bytes by listener, what is sent of topics.
//!
//! A request costs a few additions that nobody waits for. Counts by topic stand behind a mutex that is held for one addition,
//! once for each topic of an answer with records.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base::metrics::Histogram;
use wire::Str;
use wire::kafka::ErrorCode;

/// A count of the broker, and of each topic.
#[derive(Debug, Default)]
pub struct ByTopic {
    all: AtomicU64,
    topics: Mutex<HashMap<Str, u64>>,
}

impl ByTopic {
    pub fn add(&self, topic: &Str, count: u64) {
        self.all.fetch_add(count, Relaxed);
        let mut topics = self.topics();
        match topics.get_mut(topic) {
            Some(known) => *known += count,
            None => drop(topics.insert(topic.clone(), count)),
        }
    }

    pub fn all(&self) -> u64 {
        self.all.load(Relaxed)
    }

    /// Of one topic.
    pub fn of(&self, topic: &str) -> u64 {
        self.topics().get(topic).copied().unwrap_or(0)
    }

    /// Forgets topics that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.topics().retain(|topic, _| is_there(topic));
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Str, u64>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys and versions of APIs are below these.
const APIS: usize = 80;
const VERSIONS: usize = 24;

/// One API.
#[derive(Debug)]
pub struct ApiTimes {
    pub name: &'static str,
    versions: [AtomicU64; VERSIONS],
    /// µs from a whole request to its whole answer.
    pub time: Histogram,
}

impl ApiTimes {
    fn new(name: &'static str) -> ApiTimes {
        ApiTimes { name, versions: [const { AtomicU64::new(0) }; VERSIONS], time: Histogram::default() }
    }

    /// Requests by version, of those that were asked.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(|count| count.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}

/// What connections count.
#[derive(Debug)]
pub struct Traffic {
    /// Bytes of records that went to consumers.
    pub out: ByTopic,
    /// Likewise to followers.
    pub replication_out: AtomicU64,
    /// Partitions of produces that the loop never saw: something was wrong with their records.
    pub refused: ByTopic,
    /// Partitions of produces that failed, see [`Traffic::produce_failed`].
    pub failed: ByTopic,
    /// By key.
    apis: [OnceLock<Box<ApiTimes>>; APIS],
    /// Of Fetch once more, by who asks.
    pub consumers: Histogram,
    pub followers: Histogram,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            out: ByTopic::default(),
            replication_out: AtomicU64::new(0),
            refused: ByTopic::default(),
            failed: ByTopic::default(),
            apis: [const { OnceLock::new() }; APIS],
            consumers: Histogram::default(),
            followers: Histogram::default(),
        }
    }
}

impl Traffic {
    /// A request has been answered.
    pub fn answered(&self, key: i16, name: &'static str, version: i16, took: Duration) {
        let (Ok(key), Ok(version)) = (usize::try_from(key), usize::try_from(version)) else { return };
        let Some(api) = self.apis.get(key) else { return };
        let api = api.get_or_init(|| Box::new(ApiTimes::new(name)));
        api.time.note(micros(took));
        if let Some(count) = api.versions.get(version) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A Fetch has been answered, as [`Traffic::answered`] hears as well.
    pub fn fetched(&self, by_follower: bool, took: Duration) {
        let times = if by_follower { &self.followers } else { &self.consumers };
        times.note(micros(took));
    }

    /// Forgets topics that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        for counts in [&self.out, &self.refused, &self.failed] {
            counts.retain(&is_there);
        }
    }

    /// The APIs that were asked.
    pub fn apis(&self) -> impl Iterator<Item = &ApiTimes> {
        self.apis.iter().filter_map(OnceLock::get).map(|api| &**api)
    }

    /// A partition of a produce failed. Who asks the wrong broker, and records that are too large or damaged, do not count, as in
    /// Kafka.
    pub fn produce_failed(&self, topic: &Str, error: ErrorCode) {
        let counts = !matches!(
            error,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::MESSAGE_TOO_LARGE
                | ErrorCode::RECORD_LIST_TOO_LARGE
                | ErrorCode::CORRUPT_MESSAGE
                | ErrorCode::KAFKA_STORAGE_ERROR
                | ErrorCode::TOPIC_AUTHORIZATION_FAILED
                | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
                | ErrorCode::REQUEST_TIMED_OUT
                | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        );
        if counts {
            self.failed.add(topic, 1);
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// What goes through one listener.
#[derive(Debug, Default)]
pub struct ListenerFigures {
    pub open: AtomicU64,
    pub accepted: AtomicU64,
    pub closed: AtomicU64,
    pub requests: AtomicU64,
    pub responses: AtomicU64,
    /// With the lengths before the frames.
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub authenticated: AtomicU64,
    pub refused: AtomicU64,
}

impl ListenerFigures {
    pub fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
    }

    pub fn ended(&self) {
        self.open.fetch_sub(1, Relaxed);
        self.closed.fetch_add(1, Relaxed);
    }

    pub fn received(&self, frame: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(frame as u64 + 4, Relaxed);
    }

    pub fn sent(&self, frame: usize) {
        self.responses.fetch_add(1, Relaxed);
        self.bytes_out.fetch_add(frame as u64 + 4, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_version_and_failures_as_kafka_counts_them() {
        let traffic = Traffic::default();
        for version in [3, 3, 9] {
            traffic.answered(1, "Fetch", version, Duration::from_millis(2));
        }
        traffic.answered(-1, "?", 0, Duration::ZERO);
        traffic.answered(i16::MAX, "?", 0, Duration::ZERO);
        let seen: Vec<_> = traffic.apis().map(|api| (api.name, api.versions().collect::<Vec<_>>())).collect();
        assert_eq!(seen, [("Fetch", vec![(3, 2), (9, 1)])]);
        assert_eq!(traffic.apis().next().unwrap().time.look().sum, 6_000);
        let topic = Str::from_static("t");
        for error in [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER] {
            traffic.produce_failed(&topic, error);
        }
        assert_eq!((traffic.failed.all(), traffic.failed.of("t")), (1, 1));
        traffic.failed.retain(|topic| topic != "t");
        assert_eq!((traffic.failed.all(), traffic.failed.of("t")), (1, 0));
    }
}
