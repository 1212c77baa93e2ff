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
use wire::kafka::error::ErrorTally;
use wire::kafka::{Api, ApiKey, ErrorCode};

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

/// What each request of a kind took.
#[derive(Debug, Default)]
pub struct Spans {
    /// µs from a whole request to its whole answer.
    pub time: Histogram,
    /// ms for which the client had to wait afterwards.
    pub throttle: Histogram,
    /// Bytes of the request without its header.
    pub bytes: Histogram,
}

impl Spans {
    fn note(&self, size: usize, took: Duration) {
        self.time.note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.bytes.note(size as u64);
    }
}

/// One API.
#[derive(Debug)]
pub struct ApiFigures {
    pub name: &'static str,
    versions: [AtomicU64; VERSIONS],
    errors: [AtomicU64; ErrorCode::COUNT],
    pub spans: Spans,
}

impl ApiFigures {
    fn new(name: &'static str) -> ApiFigures {
        ApiFigures {
            name,
            versions: [const { AtomicU64::new(0) }; VERSIONS],
            errors: [const { AtomicU64::new(0) }; ErrorCode::COUNT],
            spans: Spans::default(),
        }
    }

    /// Requests by version, of those that were asked.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(|count| count.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// How often each error was answered, `NONE` among them.
    pub fn errors(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        let counts = self.errors.iter().map(|count| count.load(Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0).map(|(at, count)| (ErrorCode::at(at), count))
    }

    fn count_error(&self, error: ErrorCode, count: u64) {
        self.errors[error.index()].fetch_add(count, Relaxed);
    }
}

/// Leaves of the errors of a response those that Kafka counts.
fn as_kafka_counts(key: ApiKey, version: i16, tally: &mut ErrorTally) {
    match key {
        ApiKey::FindCoordinator if tally.count_from(1) > 0 => tally.forget(..1),
        ApiKey::OffsetFetch if version >= 8 => tally.forget(..1),
        ApiKey::AddPartitionsToTxn if version <= 3 && tally.count_from(1) > 0 => tally.forget(..1),
        ApiKey::DescribeUserScramCredentials => tally.forget(..1),
        // Not those of each ACL that a filter found.
        ApiKey::DeleteAcls => tally.forget(2..),
        _ => {}
    }
}

/// What connections count.
#[derive(Debug)]
pub struct Traffic {
    /// Bytes of records that went to consumers.
    pub out: ByTopic,
    /// Likewise to followers.
    pub replication_out: AtomicU64,
    /// Of these, to replicas that are being added.
    pub reassignment_out: AtomicU64,
    /// Partitions of fetches that failed without a fault of who asked.
    pub failed_fetches: ByTopic,
    /// Records that consumers of old formats got in theirs, and that were written in another form than they came in.
    pub fetch_conversions: ByTopic,
    pub produce_conversions: ByTopic,
    /// Bytes of records that were too large.
    pub rejected: ByTopic,
    /// Batches whose checksums are wrong; records without keys for compacted topics; batches that are no producer's.
    pub damaged: AtomicU64,
    pub keyless: AtomicU64,
    pub misnumbered: AtomicU64,
    /// Partitions of produces that the loop never saw: something was wrong with their records.
    pub refused: ByTopic,
    /// Partitions of produces that failed, see [`Traffic::produce_failed`].
    pub failed: ByTopic,
    /// By key.
    apis: [OnceLock<Box<ApiFigures>>; APIS],
    /// Of Fetch once more, by who asks.
    pub consumers: Spans,
    pub followers: Spans,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            out: ByTopic::default(),
            replication_out: AtomicU64::new(0),
            reassignment_out: AtomicU64::new(0),
            failed_fetches: ByTopic::default(),
            fetch_conversions: ByTopic::default(),
            produce_conversions: ByTopic::default(),
            rejected: ByTopic::default(),
            damaged: AtomicU64::new(0),
            keyless: AtomicU64::new(0),
            misnumbered: AtomicU64::new(0),
            refused: ByTopic::default(),
            failed: ByTopic::default(),
            apis: [const { OnceLock::new() }; APIS],
            consumers: Spans::default(),
            followers: Spans::default(),
        }
    }
}

impl Traffic {
    fn api(&self, api: &Api) -> Option<&ApiFigures> {
        let slot = self.apis.get(usize::try_from(api.key as i16).ok()?)?;
        Some(slot.get_or_init(|| Box::new(ApiFigures::new(api.name))))
    }

    /// A request of so many bytes has been answered.
    pub fn answered(&self, api: &Api, version: i16, size: usize, took: Duration) {
        let Some(figures) = self.api(api) else { return };
        figures.spans.note(size, took);
        if let Some(count) = usize::try_from(version).ok().and_then(|version| figures.versions.get(version)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A Fetch has been answered, as [`Traffic::answered`] hears as well.
    pub fn fetched(&self, by_follower: bool, size: usize, took: Duration) {
        self.fetches(by_follower).note(size, took);
    }

    fn fetches(&self, by_follower: bool) -> &Spans {
        if by_follower { &self.followers } else { &self.consumers }
    }

    /// A client has to wait for so long; `by_follower`: of a Fetch, who asked.
    pub fn throttled(&self, api: &Api, by_follower: Option<bool>, throttle_ms: i32) {
        let throttle_ms = u64::try_from(throttle_ms).unwrap_or(0);
        if let Some(figures) = self.api(api) {
            figures.spans.throttle.note(throttle_ms);
        }
        if let Some(by_follower) = by_follower {
            self.fetches(by_follower).throttle.note(throttle_ms);
        }
    }

    /// A response has these errors.
    pub fn errors(&self, api: &Api, version: i16, mut tally: ErrorTally) {
        let Some(figures) = self.api(api) else { return };
        as_kafka_counts(api.key, version, &mut tally);
        // An error of the whole request is that of all its partitions here.
        let own = tally.failed().iter().find(|(depth, _)| *depth == 0).map(|(_, error)| *error);
        let whole = matches!(api.key, ApiKey::LeaderAndIsr | ApiKey::StopReplica);
        if let Some(error) = own.filter(|_| whole) {
            return figures.count_error(error, tally.count_from(0));
        }
        let failed = tally.failed().len() as u64;
        let ok = tally.count_from(0) - failed;
        if ok > 0 {
            figures.count_error(ErrorCode::NONE, ok);
        }
        tally.failed().iter().for_each(|(_, error)| figures.count_error(*error, 1));
    }

    /// Forgets topics that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let reading = [&self.out, &self.failed_fetches, &self.fetch_conversions];
        let writing = [&self.refused, &self.failed, &self.produce_conversions, &self.rejected];
        for counts in reading.into_iter().chain(writing) {
            counts.retain(&is_there);
        }
    }

    /// The APIs that were asked.
    pub fn apis(&self) -> impl Iterator<Item = &ApiFigures> {
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
    use wire::kafka::{
        FindCoordinatorResponse, HeartbeatResponse, Message, OffsetFetchResponse, StopReplicaResponse,
        find_coordinator, offset_fetch, stop_replica,
    };

    #[test]
    fn requests_are_counted_by_version_and_failures_as_kafka_counts_them() {
        let traffic = Traffic::default();
        let fetch = ApiKey::Fetch.api();
        for version in [3, 3, 9] {
            traffic.answered(fetch, version, 50, Duration::from_millis(2));
            traffic.fetched(version == 9, 50, Duration::from_millis(2));
        }
        traffic.answered(fetch, -1, 50, Duration::ZERO);
        traffic.throttled(fetch, Some(true), 30);
        let seen: Vec<_> = traffic.apis().map(|api| (api.name, api.versions().collect::<Vec<_>>())).collect();
        assert_eq!(seen, [("Fetch", vec![(3, 2), (9, 1)])]);
        let spans = &traffic.apis().next().unwrap().spans;
        assert_eq!(
            (spans.time.look().sum, spans.bytes.look().sum, spans.throttle.look().sum),
            (6_000, 200, 30)
        );
        assert_eq!((traffic.consumers.bytes.look().sum, traffic.followers.throttle.look().count), (100, 1));
        let topic = Str::from_static("t");
        for error in [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER] {
            traffic.produce_failed(&topic, error);
        }
        assert_eq!((traffic.failed.all(), traffic.failed.of("t")), (1, 1));
        traffic.failed.retain(|topic| topic != "t");
        assert_eq!((traffic.failed.all(), traffic.failed.of("t")), (1, 0));
    }

    fn counted(response: &impl Message, api: ApiKey, version: i16) -> Vec<(ErrorCode, u64)> {
        let traffic = Traffic::default();
        let mut tally = ErrorTally::default();
        response.count_errors(&mut tally);
        traffic.errors(api.api(), version, tally);
        traffic.apis().flat_map(ApiFigures::errors).collect()
    }

    #[test]
    fn errors_count_as_kafka_counts_them() {
        let (ok, gone) = (ErrorCode::NONE, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        let coordinators = vec![find_coordinator::Coordinator { error_code: gone, ..Default::default() }];
        let found = FindCoordinatorResponse { coordinators, ..Default::default() };
        assert_eq!(
            counted(&found, ApiKey::FindCoordinator, 4),
            [(gone, 1)],
            "the old field is none of this version"
        );
        let found = FindCoordinatorResponse { error_code: gone, ..Default::default() };
        assert_eq!(counted(&found, ApiKey::FindCoordinator, 2), [(gone, 1)]);
        let group = offset_fetch::OffsetFetchResponseGroup::default();
        let fetched = OffsetFetchResponse { groups: vec![group], ..Default::default() };
        assert_eq!(counted(&fetched, ApiKey::OffsetFetch, 8), [(ok, 1)]);
        assert_eq!(counted(&OffsetFetchResponse::default(), ApiKey::OffsetFetch, 1), [(ok, 1)]);
        let stale = ErrorCode::STALE_CONTROLLER_EPOCH;
        let partition_errors = vec![stop_replica::StopReplicaPartitionError::default(); 2];
        let stopped = StopReplicaResponse { error_code: stale, partition_errors };
        assert_eq!(counted(&stopped, ApiKey::StopReplica, 3), [(stale, 3)]);
        assert_eq!(
            counted(&StopReplicaResponse { error_code: ok, ..stopped }, ApiKey::StopReplica, 3),
            [(ok, 3)]
        );
        let unheard_of = HeartbeatResponse { error_code: ErrorCode(4711), ..Default::default() };
        assert_eq!(counted(&unheard_of, ApiKey::Heartbeat, 4), [(ErrorCode::UNKNOWN_SERVER_ERROR, 1)]);
    }
}
