//! Followers: one task per leader broker asks it for all partitions that follow it, over a fetch session.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::partition::{EpochEnd, NextFetch};
use client::Connection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::Str;
use wire::kafka::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData, ReplicaState,
};
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::kafka::{ErrorCode, Uuid};

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::peers::{self, PeerError};
use crate::shard::{EARLIEST, Event, FollowerPart, LATEST, LeaderPart, LeaderRecords};

/// The first version with topic ids; before it partitions go by name.
const TOPIC_IDS_FROM: i16 = 13;

/// The tasks, by leader.
pub struct Fetchers {
    broker: Arc<Broker>,
    tasks: HashMap<i32, (Arc<Notify>, JoinHandle<()>)>,
}

impl Drop for Fetchers {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

impl Fetchers {
    pub fn new(broker: Arc<Broker>) -> Fetchers {
        Fetchers { broker, tasks: HashMap::new() }
    }

    /// Something follows this leader from now on.
    pub fn follow(&mut self, leader: i32) {
        let broker = &self.broker;
        let (wake, _) = self.tasks.entry(leader).or_insert_with(|| {
            let wake = Arc::new(Notify::new());
            let follower = Follower::new(broker.clone(), leader);
            (wake.clone(), tokio::spawn(follower.run(wake)))
        });
        wake.notify_one();
    }
}

/// What one leader is asked, and what it was told before.
struct Follower {
    broker: Arc<Broker>,
    leader: i32,
    connection: Option<Connection>,
    session: Session,
    /// Partitions whose last answer was an error.
    delayed: HashMap<(Str, i32), Delay>,
    /// The leader's high watermark, as last heard, of throttled partitions.
    ends: HashMap<(Str, i32), i64>,
    backoff: Duration,
    limits: Limits,
}

/// What a fetch may bring, and how long it may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// `replica.fetch.max.bytes`
    partition_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`
    bytes_max: i32,
    /// `replica.fetch.min.bytes`
    bytes_min: i32,
    /// `replica.fetch.wait.max.ms`
    wait_ms_max: i32,
    /// For the leader's answer.
    patience: Duration,
}

impl Limits {
    fn of(config: &BrokerConfig) -> Limits {
        let number = |key: &str| i32::try_from(config.int(key)).unwrap_or(i32::MAX);
        Limits {
            partition_bytes_max: number("replica.fetch.max.bytes"),
            bytes_max: number("replica.fetch.response.max.bytes"),
            bytes_min: number("replica.fetch.min.bytes"),
            wait_ms_max: number("replica.fetch.wait.max.ms"),
            patience: config.millis("replica.fetch.wait.max.ms") + config.millis("replica.socket.timeout.ms"),
        }
    }
}

/// How long a partition waits after an error, the first and the longest time. A leader that has not heard of its role
/// yet hears of it in a moment; `replica.fetch.backoff.ms` is for what lasts.
#[derive(Debug, Clone, Copy)]
struct Delay {
    /// The leader epoch that was asked in: in a newer one the refusal is out of date.
    epoch: i32,
    until: Instant,
    time: Duration,
}

const DELAY_FIRST: Duration = Duration::from_millis(5);

/// Our side of the fetch session.
#[derive(Default)]
struct Session {
    id: i32,
    epoch: i32,
    told: BTreeMap<(Uuid, Str, i32), NextFetch>,
}

impl Follower {
    fn new(broker: Arc<Broker>, leader: i32) -> Follower {
        let backoff = broker.config.millis("replica.fetch.backoff.ms");
        let limits = Limits::of(&broker.config);
        Follower {
            broker,
            leader,
            connection: None,
            session: Session::default(),
            delayed: HashMap::new(),
            ends: HashMap::new(),
            backoff,
            limits,
        }
    }

    async fn run(mut self, wake: Arc<Notify>) {
        let broker = self.broker.clone();
        let leader = self.leader;
        let mut next = None;
        loop {
            let mut parts = match next.take() {
                Some(parts) => parts,
                None => match broker.shard.ask(|reply| Event::FollowerParts { leader, reply }).await {
                    Ok(parts) => parts,
                    Err(_) => return,
                },
            };
            if parts.is_empty() {
                self.connection = None;
                self.session = Session::default();
                wake.notified().await;
                continue;
            }
            let wait = leave_delayed_out(&mut self.delayed, &mut parts, Instant::now());
            let throttled = self.leave_throttled_out(&mut parts);
            if parts.is_empty() {
                let _ = tokio::time::timeout(wait.unwrap_or(self.backoff), wake.notified()).await;
                continue;
            }
            let more = more_to_follow(&broker, leader, &parts, self.left_out(throttled), &wake);
            let fetched = tokio::select! {
                fetched = self.fetch(&parts, wait) => fetched,
                () = more => {
                    // The leader would answer what is parked there first, and that may take its longest wait.
                    self.connection = None;
                    continue;
                }
            };
            match fetched {
                Ok(parts) => {
                    let taken = broker.shard.ask(|reply| Event::FromLeader { leader, parts, reply }).await;
                    let Ok(parts) = taken else { return };
                    next = Some(parts);
                }
                Err(error) => {
                    tracing::warn!("Fetching from leader {leader}: {error}");
                    self.connection = None;
                    self.session = Session::default();
                    let _ = tokio::time::timeout(self.backoff, wake.notified()).await;
                }
            }
        }
    }

    /// What `follower.replication.throttled.rate` keeps waiting: the listed replicas, but for those in sync. Returns
    /// them, with their leader epochs.
    fn leave_throttled_out(&mut self, parts: &mut Vec<FollowerPart>) -> Vec<((Str, i32), i32)> {
        let limit = &self.broker.throttles.follower;
        if !limit.is_bounded() {
            self.ends.clear();
            return Vec::new();
        }
        if !limit.is_exceeded() {
            return Vec::new();
        }
        let (broker, ends) = (&self.broker, &self.ends);
        let waits = |part: &mut FollowerPart| {
            let in_sync = ends.get(&key(part)).is_some_and(|end| *end <= part.next.offset);
            !in_sync && is_throttled(broker, part)
        };
        parts.extract_if(.., waits).map(|part| (key(&part), part.next.leader_epoch)).collect()
    }

    /// Whoever is not asked for now, on purpose.
    fn left_out(&self, throttled: Vec<((Str, i32), i32)>) -> HashMap<(Str, i32), Delay> {
        let mut all = self.delayed.clone();
        let delay = |epoch| Delay { epoch, until: Instant::now(), time: self.backoff };
        all.extend(throttled.into_iter().map(|(key, epoch)| (key, delay(epoch))));
        all
    }

    async fn connection(&mut self) -> Result<Connection, PeerError> {
        if let Some(open) = self.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        self.session = Session::default();
        let connection =
            peers::connect(&self.broker, self.leader, &format!("fetcher-{}", self.leader)).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// The leader answers within `wait`, if that is given: then others want to be asked for.
    async fn fetch(
        &mut self,
        parts: &[FollowerPart],
        wait: Option<Duration>,
    ) -> Result<Vec<LeaderPart>, PeerError> {
        let connection = self.connection().await?;
        // A topic from before there were ids can only be asked for by name.
        let highest = if parts.iter().any(|part| part.id.is_zero()) { TOPIC_IDS_FROM - 1 } else { i16::MAX };
        let request = self.request(parts, wait);
        let response = connection.start_up_to(&request, highest)?.within(self.limits.patience).await?;
        if !self.session.answered(&response) {
            tracing::info!("Fetch session with leader {} ended: {}", self.leader, response.error_code.name());
            return Ok(Vec::new());
        }
        let asked: HashMap<(&str, i32), &FollowerPart> =
            parts.iter().map(|part| ((&*part.topic, part.partition), part)).collect();
        let names: HashMap<Uuid, &Str> = parts.iter().map(|part| (part.id, &part.topic)).collect();
        let mut found = Vec::new();
        for topic in response.responses {
            let name =
                if topic.topic.is_empty() { names.get(&topic.topic_id).copied() } else { Some(&topic.topic) };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                if let Some(part) = asked.get(&(&**name, data.partition_index)) {
                    found.extend(self.one(&connection, part, data).await?);
                }
            }
        }
        Ok(found)
    }

    fn request(&mut self, parts: &[FollowerPart], wait: Option<Duration>) -> FetchRequest {
        let wait = wait.map_or(i32::MAX, |wait| i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        let (topics, forgotten_topics_data) = self.session.changes(parts, self.limits.partition_bytes_max);
        FetchRequest {
            replica_id: self.broker.id,
            replica_state: ReplicaState { replica_id: self.broker.id, replica_epoch: self.broker.epoch() },
            max_wait_ms: self.limits.wait_ms_max.min(wait),
            min_bytes: self.limits.bytes_min,
            max_bytes: self.limits.bytes_max,
            session_id: self.session.id,
            session_epoch: self.session.epoch,
            topics,
            forgotten_topics_data,
            ..Default::default()
        }
    }

    async fn one(
        &mut self,
        connection: &Connection,
        part: &FollowerPart,
        data: PartitionData,
    ) -> Result<Option<LeaderPart>, PeerError> {
        let body = match data.error_code {
            ErrorCode::NONE if data.diverging_epoch.epoch >= 0 => LeaderRecords::Diverging(EpochEnd {
                epoch: data.diverging_epoch.epoch,
                end_offset: data.diverging_epoch.end_offset,
            }),
            ErrorCode::NONE => LeaderRecords::Records(data.records.unwrap_or_default()),
            ErrorCode::OFFSET_OUT_OF_RANGE => match self.bounds(connection, part).await? {
                Ok((earliest, latest)) => LeaderRecords::Bounds { earliest, latest },
                Err(error) => return Ok(self.delay(part, error)),
            },
            error => return Ok(self.delay(part, error)),
        };
        if self.broker.throttles.follower.is_bounded() && is_throttled(&self.broker, part) {
            if let LeaderRecords::Records(records) = &body {
                self.broker.throttles.follower.record(records.len() as u64);
            }
            self.ends.insert(key(part), data.high_watermark);
        }
        if !self.delayed.is_empty() {
            self.delayed.remove(&(part.topic.clone(), part.partition));
        }
        Ok(Some(LeaderPart {
            topic: part.topic.clone(),
            id: part.id,
            partition: part.partition,
            leader_epoch: part.next.leader_epoch,
            offset: part.next.offset,
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
            body,
        }))
    }

    fn delay(&mut self, part: &FollowerPart, error: ErrorCode) -> Option<LeaderPart> {
        tracing::info!("Leader {} of {}-{}: {}", self.leader, part.topic, part.partition, error.name());
        let key = (part.topic.clone(), part.partition);
        let time = self.delayed.get(&key).map_or(DELAY_FIRST, |delay| delay.time * 2).min(self.backoff);
        let delay = Delay { epoch: part.next.leader_epoch, until: Instant::now() + time, time };
        self.delayed.insert(key, delay);
        None
    }

    /// The leader's earliest and latest offset.
    async fn bounds(
        &self,
        connection: &Connection,
        part: &FollowerPart,
    ) -> Result<Result<(i64, i64), ErrorCode>, PeerError> {
        let mut offsets = [0; 2];
        for (offset, timestamp) in offsets.iter_mut().zip([EARLIEST, LATEST]) {
            let partition = ListOffsetsPartition {
                partition_index: part.partition,
                current_leader_epoch: part.next.leader_epoch,
                timestamp,
                ..Default::default()
            };
            let request = ListOffsetsRequest {
                replica_id: self.broker.id,
                topics: vec![ListOffsetsTopic { name: part.topic.clone(), partitions: vec![partition] }],
                ..Default::default()
            };
            let response = connection.call(&request).await?;
            let answer = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
            match answer {
                Some(answer) if answer.error_code.is_ok() => *offset = answer.offset,
                Some(answer) => return Ok(Err(answer.error_code)),
                None => return Ok(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
            }
        }
        Ok(Ok((offsets[0], offsets[1])))
    }
}

fn is_throttled(broker: &Broker, part: &FollowerPart) -> bool {
    broker.topic_config(&part.topic).follower_throttled.contains(part.partition, broker.id)
}

fn key(part: &FollowerPart) -> (Str, i32) {
    (part.topic.clone(), part.partition)
}

/// Gives the time until one of those left out is due again.
fn leave_delayed_out(
    delayed: &mut HashMap<(Str, i32), Delay>,
    parts: &mut Vec<FollowerPart>,
    now: Instant,
) -> Option<Duration> {
    if delayed.is_empty() {
        return None;
    }
    // A partition that is not followed any more is forgotten, as is one with a newer leader epoch.
    let epochs: HashMap<(Str, i32), i32> =
        parts.iter().map(|part| (key(part), part.next.leader_epoch)).collect();
    delayed.retain(|key, delay| epochs.get(key).is_some_and(|epoch| *epoch <= delay.epoch));
    parts.retain(|part| delayed.get(&key(part)).is_none_or(|delay| delay.until <= now));
    let waiting = delayed.values().map(|delay| delay.until.saturating_duration_since(now));
    waiting.filter(|wait| !wait.is_zero()).min()
}

/// Until a partition is to be followed, or in a newer leader epoch, that is neither asked for nor delayed.
async fn more_to_follow(
    broker: &Arc<Broker>,
    leader: i32,
    asked: &[FollowerPart],
    delayed: HashMap<(Str, i32), Delay>,
    wake: &Notify,
) {
    loop {
        wake.notified().await;
        let followed = broker.shard.ask(|reply| Event::FollowerParts { leader, reply }).await;
        let Ok(followed) = followed else { continue };
        let asked = asked.iter().map(|part| (key(part), part.next.leader_epoch));
        let known: HashMap<(Str, i32), i32> =
            delayed.iter().map(|(key, delay)| (key.clone(), delay.epoch)).chain(asked).collect();
        let is_news =
            |part: &FollowerPart| known.get(&key(part)).is_none_or(|epoch| *epoch < part.next.leader_epoch);
        if followed.iter().any(is_news) {
            return;
        }
    }
}

impl Session {
    /// What the leader has to be told: all at first, then what changed and what is no longer wanted.
    fn changes(&mut self, parts: &[FollowerPart], max_bytes: i32) -> (Vec<FetchTopic>, Vec<ForgottenTopic>) {
        let wanted: BTreeMap<(Uuid, Str, i32), NextFetch> =
            parts.iter().map(|part| ((part.id, part.topic.clone(), part.partition), part.next)).collect();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (key, next) in &wanted {
            if self.epoch > 0 && self.told.get(key) == Some(next) {
                continue;
            }
            let (id, name, partition) = key;
            let ask = FetchPartition {
                partition: *partition,
                current_leader_epoch: next.leader_epoch,
                fetch_offset: next.offset,
                last_fetched_epoch: next.last_fetched_epoch,
                log_start_offset: next.log_start,
                partition_max_bytes: max_bytes,
            };
            match topics.last_mut() {
                Some(topic) if topic.topic_id == *id && topic.topic == *name => topic.partitions.push(ask),
                _ => topics.push(FetchTopic { topic: name.clone(), topic_id: *id, partitions: vec![ask] }),
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        if self.epoch > 0 {
            for (id, name, partition) in self.told.keys().filter(|key| !wanted.contains_key(*key)) {
                match forgotten.last_mut() {
                    Some(topic) if topic.topic_id == *id && topic.topic == *name => {
                        topic.partitions.push(*partition)
                    }
                    _ => forgotten.push(ForgottenTopic {
                        topic: name.clone(),
                        topic_id: *id,
                        partitions: vec![*partition],
                    }),
                }
            }
        }
        self.told = wanted;
        (topics, forgotten)
    }

    /// Takes the response's session in; false when the leader wants to start over.
    fn answered(&mut self, response: &FetchResponse) -> bool {
        if !response.error_code.is_ok() {
            *self = Session::default();
            return false;
        }
        if response.session_id == 0 {
            // No room for a session: everything is said every time.
            *self = Session::default();
        } else {
            self.id = response.session_id;
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(partition: i32, offset: i64) -> FollowerPart {
        let next = NextFetch { leader: 2, leader_epoch: 1, offset, last_fetched_epoch: 1, log_start: 0 };
        FollowerPart { topic: "t".into(), id: Uuid([1; 16]), partition, next }
    }

    fn response(session_id: i32, error_code: ErrorCode) -> FetchResponse {
        FetchResponse { session_id, error_code, ..Default::default() }
    }

    #[test]
    fn a_refused_partition_waits_until_its_time_is_up_or_its_epoch_is_newer() {
        let now = Instant::now();
        let (time, name) = (Duration::from_millis(5), Str::from_static("t"));
        let delay = Delay { epoch: 1, until: now + time, time };
        let mut delayed = HashMap::from([((name.clone(), 0), delay), ((name, 7), delay)]);
        let mut parts = vec![part(0, 5), part(1, 5)];
        assert_eq!(leave_delayed_out(&mut delayed, &mut parts, now), Some(time));
        assert_eq!(parts.iter().map(|part| part.partition).collect::<Vec<_>>(), [1]);
        assert_eq!(delayed.len(), 1, "partition 7 is not followed any more");
        let mut parts = vec![part(0, 5)];
        assert_eq!(leave_delayed_out(&mut delayed, &mut parts, now + time), None);
        assert_eq!((parts.len(), delayed.len()), (1, 1), "asked for again, and its delay remembered");
        let mut newer = part(0, 5);
        newer.next.leader_epoch = 2;
        let mut parts = vec![newer];
        assert_eq!(leave_delayed_out(&mut delayed, &mut parts, now), None);
        assert_eq!((parts.len(), delayed.len()), (1, 0));
    }

    #[test]
    fn a_session_says_everything_once_and_then_only_changes() {
        let mut session = Session::default();
        let (topics, forgotten) = session.changes(&[part(0, 5), part(1, 7)], 100);
        assert_eq!((topics[0].partitions.len(), forgotten.len()), (2, 0));
        assert!(session.answered(&response(9, ErrorCode::NONE)));
        assert_eq!((session.id, session.epoch), (9, 1));
        let (topics, _) = session.changes(&[part(0, 5), part(1, 8)], 100);
        assert_eq!((topics[0].partitions.len(), topics[0].partitions[0].partition), (1, 1));
        assert!(session.answered(&response(9, ErrorCode::NONE)));
        let (topics, forgotten) = session.changes(&[part(1, 8)], 100);
        assert!(topics.is_empty());
        assert_eq!(forgotten[0].partitions, [0]);
        assert_eq!(session.epoch, 2);
    }

    #[test]
    fn a_lost_session_starts_over_and_no_session_says_everything_every_time() {
        let mut session = Session::default();
        session.changes(&[part(0, 5)], 100);
        session.answered(&response(9, ErrorCode::NONE));
        assert!(!session.answered(&response(0, ErrorCode::FETCH_SESSION_ID_NOT_FOUND)));
        assert_eq!((session.id, session.epoch), (0, 0));
        session.changes(&[part(0, 5)], 100);
        assert!(session.answered(&response(0, ErrorCode::NONE)));
        let (topics, _) = session.changes(&[part(0, 5)], 100);
        assert_eq!(topics.len(), 1);
    }
}
