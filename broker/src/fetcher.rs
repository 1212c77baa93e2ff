//! Followers: one task per leader broker asks it for all partitions that follow it, over a fetch session.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::MetadataVersion;
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
use crate::shard::{EARLIEST, Event, FollowerNews, FollowerPart, LATEST, LeaderPart, LeaderRecords, Stopped};

mod parting;

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
    /// `inter.broker.protocol.version`: no request is newer.
    protocol: MetadataVersion,
    /// Before 2.7-IV1: in which leader epoch a partition's log was found to be a part of the leader's.
    sound: BTreeMap<Name, i32>,
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

/// A partition by its name.
type Name = (Str, i32);
/// What a leader is to be asked for, and under which topic id.
type Wanted = BTreeMap<Name, (Uuid, NextFetch)>;

/// All that a leader is to be asked for, kept from one fetch to the next.
#[derive(Default)]
struct Roster {
    /// The newest change that is in it.
    newest: u64,
    parts: Wanted,
    /// Names of topics by their ids, some perhaps of topics that are gone.
    names: HashMap<Uuid, Str>,
    /// Partitions of topics from before there were ids.
    without_id: usize,
}

/// Our side of the fetch session.
#[derive(Default)]
struct Session {
    id: i32,
    epoch: i32,
    told: Wanted,
    /// What changed since; all else was told as it is, if `in_step`.
    changed: BTreeSet<Name>,
    in_step: bool,
}

impl Follower {
    fn new(broker: Arc<Broker>, leader: i32) -> Follower {
        let backoff = broker.config.millis("replica.fetch.backoff.ms");
        let limits = Limits::of(&broker.config);
        Follower {
            protocol: broker.config.protocol,
            sound: BTreeMap::new(),
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
        let mut roster = Roster::default();
        let mut next = None;
        loop {
            let known = roster.newest;
            let news = match next.take() {
                Some(news) => news,
                None => match broker.shard.ask(|reply| Event::FollowerParts { leader, known, reply }).await {
                    Ok(news) => news,
                    Err(_) => return,
                },
            };
            roster.take_in(news, &mut self.session.changed);
            if roster.parts.is_empty() {
                self.connection = None;
                self.session = Session::default();
                wake.notified().await;
                continue;
            }
            match self.compare(&roster).await {
                Ok(parts) if parts.is_empty() => {}
                compared => {
                    // The roster is to show what has been cut before anything is fetched.
                    let known = roster.newest;
                    next = match self.hand_in(compared, leader, known, &wake).await {
                        Ok(news) => news,
                        Err(_) => return,
                    };
                    continue;
                }
            }
            let Asking { some, wait } = self.leave_out(&roster);
            if some.as_ref().is_some_and(Wanted::is_empty) {
                let _ = tokio::time::timeout(wait.unwrap_or(self.backoff), wake.notified()).await;
                continue;
            }
            let fetched = tokio::select! {
                fetched = self.fetch(&roster, some.as_ref(), wait) => fetched,
                () = more_to_follow(&broker, leader, &roster, &wake) => {
                    // The leader would answer what is parked there first, and that may take its longest wait.
                    self.connection = None;
                    continue;
                }
            };
            next = match self.hand_in(fetched, leader, roster.newest, &wake).await {
                Ok(news) => news,
                Err(_) => return,
            };
        }
    }

    /// Gives the partitions what the leader said, and tells what has changed; or forgets the connection, and waits a little.
    /// The error: the broker stops.
    async fn hand_in(
        &mut self,
        said: Result<Vec<LeaderPart>, PeerError>,
        leader: i32,
        known: u64,
        wake: &Notify,
    ) -> Result<Option<FollowerNews>, Stopped> {
        match said {
            Ok(parts) => {
                let taken = self.broker.shard.ask(|reply| Event::FromLeader { leader, known, parts, reply });
                taken.await.map(Some)
            }
            Err(error) => {
                tracing::warn!("Fetching from leader {leader}: {error}");
                self.connection = None;
                self.session = Session::default();
                let _ = tokio::time::timeout(self.backoff, wake.notified()).await;
                Ok(None)
            }
        }
    }

    /// Leaves out who waits after an error or for the throttle. Nobody does most of the time, and then nothing is looked at.
    fn leave_out(&mut self, roster: &Roster) -> Asking {
        if !self.broker.throttles.follower.is_bounded() {
            self.ends.clear();
            if self.delayed.is_empty() {
                return Asking { some: None, wait: None };
            }
        }
        let part = |((topic, partition), (id, next)): (&Name, &(Uuid, NextFetch))| FollowerPart {
            topic: topic.clone(),
            id: *id,
            partition: *partition,
            next: *next,
        };
        let mut parts: Vec<FollowerPart> = roster.parts.iter().map(part).collect();
        let wait = leave_delayed_out(&mut self.delayed, &mut parts, Instant::now());
        self.leave_throttled_out(&mut parts);
        parts.retain(|part| self.is_sound(part));
        let some = (parts.len() < roster.parts.len()).then(|| {
            parts.into_iter().map(|part| ((part.topic, part.partition), (part.id, part.next))).collect()
        });
        Asking { some, wait }
    }

    /// What `follower.replication.throttled.rate` keeps waiting: the listed replicas, but for those in sync.
    fn leave_throttled_out(&mut self, parts: &mut Vec<FollowerPart>) {
        let limit = &self.broker.throttles.follower;
        if !limit.is_bounded() || !limit.is_exceeded() {
            return;
        }
        let (broker, ends) = (&self.broker, &self.ends);
        let goes_on = |part: &FollowerPart| {
            let in_sync = ends.get(&key(part)).is_some_and(|end| *end <= part.next.offset);
            in_sync || !is_throttled(broker, part)
        };
        parts.retain(goes_on);
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

    /// Asks for all, or for `some`. The leader answers within `wait`, if that is given: then others want to be asked for.
    async fn fetch(
        &mut self,
        roster: &Roster,
        some: Option<&Wanted>,
        wait: Option<Duration>,
    ) -> Result<Vec<LeaderPart>, PeerError> {
        let connection = self.connection().await?;
        // A topic from before there were ids can only be asked for by name.
        let spoken = self.protocol.fetch();
        let highest = if roster.without_id > 0 { spoken.min(TOPIC_IDS_FROM - 1) } else { spoken };
        let request = self.request(roster, some, wait);
        let response = connection.start_up_to(&request, highest)?.within(self.limits.patience).await?;
        if !self.session.answered(&response) {
            tracing::info!("Fetch session with leader {} ended: {}", self.leader, response.error_code.name());
            return Ok(Vec::new());
        }
        let wanted = some.unwrap_or(&roster.parts);
        let mut found = Vec::new();
        for topic in response.responses {
            let name = if topic.topic.is_empty() {
                roster.names.get(&topic.topic_id).cloned()
            } else {
                Some(topic.topic)
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let asked = (name.clone(), data.partition_index);
                let Some((id, next)) = wanted.get(&asked) else { continue };
                if topic.topic_id.is_zero() || topic.topic_id == *id {
                    let (topic, partition) = asked;
                    let part = FollowerPart { topic, id: *id, partition, next: *next };
                    found.extend(self.one(&connection, &part, data).await?);
                }
            }
        }
        Ok(found)
    }

    fn request(&mut self, roster: &Roster, some: Option<&Wanted>, wait: Option<Duration>) -> FetchRequest {
        let wait = wait.map_or(i32::MAX, |wait| i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        let (topics, forgotten_topics_data) =
            self.session.changes(&roster.parts, some, self.limits.partition_bytes_max);
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
            let response = connection.call_up_to(&request, self.protocol.list_offsets()).await?;
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

/// What the next fetch is for.
struct Asking {
    /// `None` for all that is followed.
    some: Option<Wanted>,
    /// Until one of those left out is due.
    wait: Option<Duration>,
}

/// Until a partition is to be followed, or in a newer leader epoch, that is not in the roster.
async fn more_to_follow(broker: &Arc<Broker>, leader: i32, roster: &Roster, wake: &Notify) {
    loop {
        wake.notified().await;
        let known = roster.newest;
        let news = broker.shard.ask(|reply| Event::FollowerParts { leader, known, reply }).await;
        if news.is_ok_and(|news| news.changed.iter().any(|part| roster.is_news(part))) {
            return;
        }
    }
}

impl Roster {
    /// Takes changes in, and adds to `changed` what they are about.
    fn take_in(&mut self, news: FollowerNews, changed: &mut BTreeSet<Name>) {
        self.newest = news.newest;
        for name in news.gone {
            if let Some((id, _)) = self.parts.remove(&name) {
                self.without_id -= usize::from(id.is_zero());
            }
            changed.insert(name);
        }
        for part in news.changed {
            let name = key(&part);
            if !part.id.is_zero() && self.names.get(&part.id) != Some(&part.topic) {
                self.names.insert(part.id, part.topic);
            }
            self.without_id += usize::from(part.id.is_zero());
            if let Some((id, _)) = self.parts.insert(name.clone(), (part.id, part.next)) {
                self.without_id -= usize::from(id.is_zero());
            }
            changed.insert(name);
        }
        // Every topic has a partition, so that more names than partitions are those of topics that are gone.
        if self.names.len() > 2 * self.parts.len() {
            let named = self.parts.iter().filter(|(_, (id, _))| !id.is_zero());
            self.names = named.map(|((topic, _), (id, _))| (*id, topic.clone())).collect();
        }
    }

    fn is_news(&self, part: &FollowerPart) -> bool {
        let known = self.parts.get(&key(part));
        known.is_none_or(|(id, next)| *id != part.id || next.leader_epoch < part.next.leader_epoch)
    }
}

impl Session {
    /// What the leader has to be told: all at first, then what changed and what is no longer wanted. `some` of `all` are
    /// wanted, if that is given.
    fn changes(
        &mut self,
        all: &Wanted,
        some: Option<&Wanted>,
        max_bytes: i32,
    ) -> (Vec<FetchTopic>, Vec<ForgottenTopic>) {
        let changed = std::mem::take(&mut self.changed);
        let incremental = self.epoch > 0;
        if !incremental {
            self.told.clear();
        }
        let wanted = some.unwrap_or(all);
        let names: BTreeSet<Name> = match self.in_step && incremental && some.is_none() {
            true => changed,
            false => wanted.keys().chain(self.told.keys()).cloned().collect(),
        };
        self.in_step = some.is_none();
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for name in names {
            let (old, new) = (self.told.get(&name), wanted.get(&name));
            if old == new {
                continue;
            }
            if let Some((id, _)) = old
                && new.is_none_or(|(new, _)| new != id)
            {
                forget(&mut forgotten, *id, &name);
            }
            match new {
                Some((id, next)) => {
                    tell(&mut topics, *id, &name, next, max_bytes);
                    self.told.insert(name, (*id, *next));
                }
                None => {
                    self.told.remove(&name);
                }
            }
        }
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

fn tell(topics: &mut Vec<FetchTopic>, id: Uuid, (name, partition): &Name, next: &NextFetch, max_bytes: i32) {
    let ask = FetchPartition {
        partition: *partition,
        current_leader_epoch: next.leader_epoch,
        fetch_offset: next.offset,
        last_fetched_epoch: next.last_fetched_epoch,
        log_start_offset: next.log_start,
        partition_max_bytes: max_bytes,
    };
    match topics.last_mut() {
        Some(topic) if topic.topic_id == id && topic.topic == *name => topic.partitions.push(ask),
        _ => topics.push(FetchTopic { topic: name.clone(), topic_id: id, partitions: vec![ask] }),
    }
}

fn forget(forgotten: &mut Vec<ForgottenTopic>, id: Uuid, (name, partition): &Name) {
    match forgotten.last_mut() {
        Some(topic) if topic.topic_id == id && topic.topic == *name => topic.partitions.push(*partition),
        _ => {
            let (topic, partitions) = (name.clone(), vec![*partition]);
            forgotten.push(ForgottenTopic { topic, topic_id: id, partitions });
        }
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

    /// One leader's follower, as its task goes about it.
    #[derive(Default)]
    struct Rig {
        roster: Roster,
        session: Session,
    }

    impl Rig {
        fn hear(&mut self, changed: Vec<FollowerPart>, gone: &[i32]) {
            let gone = gone.iter().map(|partition| (Str::from_static("t"), *partition)).collect();
            let news = FollowerNews { newest: self.roster.newest + 1, changed, gone };
            self.roster.take_in(news, &mut self.session.changed);
        }

        /// (partition, offset) of what the leader is told, and the partitions that it is to forget.
        fn ask(&mut self, some: Option<&[i32]>) -> (Vec<(i32, i64)>, Vec<i32>) {
            let some: Option<Wanted> = some.map(|some| {
                let parts = self.roster.parts.iter().filter(|((_, partition), _)| some.contains(partition));
                parts.map(|(name, part)| (name.clone(), *part)).collect()
            });
            let (topics, forgotten) = self.session.changes(&self.roster.parts, some.as_ref(), 100);
            let told = topics.iter().flat_map(|topic| &topic.partitions);
            let told = told.map(|part| (part.partition, part.fetch_offset)).collect();
            (told, forgotten.iter().flat_map(|topic| topic.partitions.clone()).collect())
        }

        fn answer(&mut self, session_id: i32, error_code: ErrorCode) -> bool {
            self.session.answered(&response(session_id, error_code))
        }
    }

    #[test]
    fn a_session_says_everything_once_and_then_only_changes() {
        let mut rig = Rig::default();
        rig.hear(vec![part(0, 5), part(1, 7)], &[]);
        assert_eq!(rig.ask(None), (vec![(0, 5), (1, 7)], vec![]));
        assert!(rig.answer(9, ErrorCode::NONE));
        assert_eq!((rig.session.id, rig.session.epoch), (9, 1));
        assert_eq!(rig.ask(None), (vec![], vec![]));
        rig.answer(9, ErrorCode::NONE);
        rig.hear(vec![part(0, 5), part(1, 8)], &[]);
        assert_eq!(rig.ask(None), (vec![(1, 8)], vec![]));
        assert!(rig.answer(9, ErrorCode::NONE));
        rig.hear(vec![], &[0, 3]);
        assert_eq!(rig.ask(None), (vec![], vec![0]), "partition 3 was never asked for");
        assert_eq!(rig.session.epoch, 3);
    }

    #[test]
    fn a_lost_session_starts_over_and_no_session_says_everything_every_time() {
        let mut rig = Rig::default();
        rig.hear(vec![part(0, 5), part(1, 5)], &[]);
        rig.ask(None);
        assert!(rig.answer(9, ErrorCode::NONE));
        rig.hear(vec![part(1, 6)], &[]);
        rig.ask(None);
        assert!(!rig.answer(0, ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!((rig.session.id, rig.session.epoch), (0, 0));
        for _ in 0..2 {
            assert_eq!(rig.ask(None), (vec![(0, 5), (1, 6)], vec![]));
            assert!(rig.answer(0, ErrorCode::NONE));
        }
    }

    #[test]
    fn who_is_left_out_is_forgotten_and_told_again_when_it_is_due() {
        let mut rig = Rig::default();
        rig.hear(vec![part(0, 5), part(1, 5), part(2, 5)], &[]);
        rig.ask(None);
        rig.answer(9, ErrorCode::NONE);
        assert_eq!(rig.ask(Some(&[0, 2])), (vec![], vec![1]));
        rig.answer(9, ErrorCode::NONE);
        rig.hear(vec![part(1, 6), part(2, 7)], &[]);
        assert_eq!(rig.ask(Some(&[0, 2])), (vec![(2, 7)], vec![]));
        rig.answer(9, ErrorCode::NONE);
        assert_eq!(rig.ask(None), (vec![(1, 6)], vec![]));
        rig.answer(9, ErrorCode::NONE);
        rig.hear(vec![part(0, 6)], &[]);
        assert_eq!(rig.ask(None), (vec![(0, 6)], vec![]));
    }

    #[test]
    fn a_topic_made_anew_is_asked_for_by_its_new_id_and_its_old_one_forgotten() {
        let mut rig = Rig::default();
        rig.hear(vec![part(0, 5), part(1, 5)], &[]);
        rig.ask(None);
        rig.answer(9, ErrorCode::NONE);
        let anew = FollowerPart { id: Uuid([2; 16]), ..part(0, 0) };
        assert!(rig.roster.is_news(&anew) && !rig.roster.is_news(&part(0, 6)));
        rig.hear(vec![anew], &[1]);
        let (topics, forgotten) = rig.session.changes(&rig.roster.parts, None, 100);
        assert_eq!((topics.len(), topics[0].topic_id), (1, Uuid([2; 16])));
        assert_eq!((forgotten.len(), forgotten[0].topic_id), (1, Uuid([1; 16])));
        assert_eq!(forgotten[0].partitions, [0, 1]);
        assert_eq!(rig.roster.names[&Uuid([2; 16])], Str::from_static("t"));
    }

    #[test]
    fn partitions_of_topics_without_an_id_are_counted() {
        let mut rig = Rig::default();
        let old = || FollowerPart { id: Uuid::ZERO, ..part(0, 5) };
        rig.hear(vec![old(), part(1, 5)], &[]);
        rig.hear(vec![old()], &[]);
        assert_eq!(rig.roster.without_id, 1);
        rig.hear(vec![part(0, 5)], &[]);
        assert_eq!(rig.roster.without_id, 0);
        rig.hear(vec![old()], &[]);
        rig.hear(vec![], &[0]);
        assert_eq!((rig.roster.without_id, rig.roster.parts.len()), (0, 1));
    }
}
