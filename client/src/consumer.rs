//! The consumer: reads partitions that it was given, or that its group assigns to it.

use crate::TopicPartition;
use crate::assignor::Assignor;
use crate::cluster::{Cluster, Target};
use crate::error::ClientError;
use crate::fetch::{Fetched, Position, fetch};
use crate::group::{GroupEvent, Membership};
use crate::options::{ClientKind, ClientOptions, set};
use base::Properties;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use wire::Str;
use wire::batch::RecordHeader;
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::kafka::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::kafka::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponsePartition,
};
use wire::kafka::{
    ErrorCode, ListOffsetsRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
};

/// `auto.offset.reset`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// A partition without a position is an error.
    None,
}

#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    pub client: ClientOptions,
    pub group_id: Option<Str>,
    /// Makes a static member.
    pub instance_id: Option<Str>,
    pub reset: OffsetReset,
    pub auto_commit: Option<Duration>,
    pub read_committed: bool,
    pub poll_records_max: usize,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    pub wait_max: Duration,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub poll_interval_max: Duration,
    pub allow_auto_create_topics: bool,
    /// Empty: none.
    pub rack: Str,
    /// How the group's partitions may be dealt out, the first choice first.
    pub assignors: Vec<Assignor>,
}

impl ConsumerOptions {
    /// Java's defaults.
    pub fn new(bootstrap: &str, client_id: &str) -> Result<ConsumerOptions, ClientError> {
        Ok(ConsumerOptions {
            client: ClientOptions::new(ClientKind::Consumer, bootstrap, client_id)?,
            group_id: None,
            instance_id: None,
            reset: OffsetReset::Latest,
            auto_commit: Some(Duration::from_secs(5)),
            read_committed: false,
            poll_records_max: 500,
            bytes_min: 1,
            bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
            wait_max: Duration::from_millis(500),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            poll_interval_max: Duration::from_secs(300),
            allow_auto_create_topics: true,
            rack: Str::new(),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
        })
    }

    pub fn group(mut self, group: impl Into<Str>) -> ConsumerOptions {
        let group = group.into();
        self.client.group_id = Some(group.clone());
        self.group_id = Some(group);
        self
    }

    /// Takes the settings that are given under Java's names.
    pub fn with(mut self, properties: &Properties) -> Result<ConsumerOptions, ClientError> {
        self.client = self.client.with(properties)?;
        let text = |key: &str| properties.get(key).map(|entry| entry.value.clone());
        if let Some(group) = text("group.id") {
            self = self.group(group);
        }
        if let Some(instance) = text("group.instance.id") {
            self.instance_id = Some(instance.into());
        }
        if let Some(rack) = text("client.rack") {
            self.rack = rack.into();
        }
        if let Some(classes) = text("partition.assignment.strategy") {
            self.assignors = assignors(&classes)?;
        }
        let choice = |key: &str, words: &[&str]| -> Result<Option<usize>, ClientError> {
            let Some(value) = text(key) else { return Ok(None) };
            let place = words.iter().position(|word| *word == value.to_lowercase());
            place.map(Some).ok_or_else(|| {
                let words = words.join(", ");
                let why =
                    format!("Invalid value {value} for configuration {key}: String must be one of: {words}");
                ClientError::Config(why)
            })
        };
        if let Some(place) = choice("auto.offset.reset", &["latest", "earliest", "none"])? {
            self.reset = [OffsetReset::Latest, OffsetReset::Earliest, OffsetReset::None][place];
        }
        if let Some(place) = choice("isolation.level", &["read_committed", "read_uncommitted"])? {
            self.read_committed = place == 0;
        }
        let millis = |to: &mut Duration, key| set(properties, key, |ms: u64| *to = Duration::from_millis(ms));
        let mut interval = self.auto_commit.unwrap_or(Duration::from_secs(5));
        millis(&mut interval, "auto.commit.interval.ms")?;
        if self.auto_commit.is_some() {
            self.auto_commit = Some(interval);
        }
        if let Some(place) = choice("enable.auto.commit", &["false", "true"])? {
            self.auto_commit = (place == 1).then_some(interval);
        }
        if let Some(place) = choice("allow.auto.create.topics", &["false", "true"])? {
            self.allow_auto_create_topics = place == 1;
        }
        millis(&mut self.wait_max, "fetch.max.wait.ms")?;
        millis(&mut self.session_timeout, "session.timeout.ms")?;
        millis(&mut self.heartbeat_interval, "heartbeat.interval.ms")?;
        millis(&mut self.poll_interval_max, "max.poll.interval.ms")?;
        set(properties, "max.poll.records", |max| self.poll_records_max = max)?;
        set(properties, "fetch.min.bytes", |bytes| self.bytes_min = bytes)?;
        set(properties, "fetch.max.bytes", |bytes| self.bytes_max = bytes)?;
        set(properties, "max.partition.fetch.bytes", |bytes| self.partition_bytes_max = bytes)?;
        Ok(self)
    }
}

/// Java's class names, separated by commas.
fn assignors(classes: &str) -> Result<Vec<Assignor>, ClientError> {
    let classes: Vec<&str> = classes.split(',').map(str::trim).filter(|class| !class.is_empty()).collect();
    if classes.is_empty() {
        return Err(ClientError::State(
            "Must configure at least one partition assigner class name to partition.assignment.strategy \
             configuration property"
                .to_owned(),
        ));
    }
    let known = |class: &&str| {
        let unknown = || ClientError::State(format!("{class} ClassNotFoundException exception occurred"));
        Assignor::of_class(class).ok_or_else(unknown)
    };
    classes.iter().map(known).collect()
}

#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerRecord {
    pub partition: TopicPartition,
    pub offset: i64,
    /// Milliseconds; -1: none.
    pub timestamp: i64,
    /// The timestamp is the broker's.
    pub is_log_append_time: bool,
    pub leader_epoch: i32,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// What a group remembers of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Str,
}

#[derive(Debug, Default)]
struct Assigned {
    /// The next record that [`Consumer::poll`] returns.
    position: Option<i64>,
    /// The next record to fetch.
    fetch_from: i64,
    /// Reset to this, whatever is committed.
    seek_to: Option<OffsetReset>,
    buffered: VecDeque<ConsumerRecord>,
    fetching: bool,
    paused: bool,
    high_watermark: Option<i64>,
    /// The replica that the leader sent us to, until it is asked again.
    preferred: Option<(i32, Instant)>,
}

impl Assigned {
    /// Who is fetched from.
    fn source(&self, leader: i32, is_known: impl Fn(i32) -> bool) -> i32 {
        let now = Instant::now();
        let preferred = self.preferred.filter(|(replica, until)| *until > now && is_known(*replica));
        preferred.map_or(leader, |(replica, _)| replica)
    }
}

type Topics = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Topics by name are the membership's; those by pattern have to be looked for.
struct Matching {
    matches: Topics,
    looked: Option<Instant>,
}

struct Answer {
    leader: i32,
    /// Answers to fetches of an earlier assignment are dropped.
    epoch: u64,
    asked: BTreeMap<TopicPartition, Position>,
    fetched: Result<Vec<Fetched>, ClientError>,
}

/// What a group did to a consumer's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// These are no longer its own.
    Revoked(Vec<TopicPartition>),
    Assigned(Vec<TopicPartition>),
}

pub struct Consumer {
    cluster: Cluster,
    options: ConsumerOptions,
    matching: Option<Matching>,
    membership: Option<Membership>,
    assigned: BTreeMap<TopicPartition, Assigned>,
    epoch: u64,
    busy: BTreeSet<i32>,
    answers: (mpsc::UnboundedSender<Answer>, mpsc::UnboundedReceiver<Answer>),
    /// Which partition's records come next.
    turn: Option<TopicPartition>,
    metadata_fetched: Option<Instant>,
    committed_at: Instant,
    /// What [`Consumer::rebalances`] has not told yet, if somebody asks.
    rebalances: Option<Vec<Rebalance>>,
}

impl Consumer {
    /// Connects to nobody yet.
    pub fn new(options: ConsumerOptions) -> Consumer {
        Consumer {
            cluster: Cluster::new(options.client.clone()),
            options,
            matching: None,
            membership: None,
            assigned: BTreeMap::new(),
            epoch: 0,
            busy: BTreeSet::new(),
            answers: mpsc::unbounded_channel(),
            turn: None,
            metadata_fetched: None,
            committed_at: Instant::now(),
            rebalances: None,
        }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What the group has done since this was last asked; it is kept from the first call on.
    pub fn rebalances(&mut self) -> Vec<Rebalance> {
        self.rebalances.replace(Vec::new()).unwrap_or_default()
    }

    fn note_revoked(&mut self) {
        if let Some(rebalances) = &mut self.rebalances
            && !self.assigned.is_empty()
        {
            rebalances.push(Rebalance::Revoked(self.assigned.keys().cloned().collect()));
        }
    }

    /// Reads these partitions, without a group's help.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.matching = None;
        self.membership = None;
        self.take_over(partitions);
    }

    /// Reads what the group assigns of these topics. Needs a group id.
    pub fn subscribe(&mut self, topics: Vec<Str>) -> Result<(), ClientError> {
        self.check_group()?;
        match &self.membership {
            Some(membership) => membership.subscribe(topics),
            None => self.join(topics),
        }
        self.matching = None;
        Ok(())
    }

    /// As [`Consumer::subscribe`], for all topics that `matches`, those that are created later too.
    pub fn subscribe_matching(
        &mut self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        self.check_group()?;
        self.matching = Some(Matching { matches: Box::new(matches), looked: None });
        Ok(())
    }

    fn check_group(&self) -> Result<(), ClientError> {
        match self.options.group_id {
            Some(_) => Ok(()),
            None => Err(ClientError::Config(
                "To use the group management or offset commit APIs, you must provide a valid group.id in the consumer \
                 configuration."
                    .to_owned(),
            )),
        }
    }

    fn join(&mut self, topics: Vec<Str>) {
        let group = self.options.group_id.clone().expect("checked when subscribing");
        self.membership = Some(Membership::start(self.cluster.clone(), self.options.clone(), group, topics));
    }

    fn take_over(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.epoch += 1;
        self.busy.clear();
        self.assigned = partitions.into_iter().map(|partition| (partition, Assigned::default())).collect();
        self.metadata_fetched = None;
    }

    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys()
    }

    /// Reads on from `offset`.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) {
        if let Some(assigned) = self.assigned.get_mut(partition) {
            *assigned = Assigned {
                position: Some(offset),
                fetch_from: offset,
                fetching: assigned.fetching,
                paused: assigned.paused,
                ..Assigned::default()
            };
        }
    }

    /// Reads on from the partition's start or end, as it is at the next poll.
    pub fn seek_to(&mut self, partition: &TopicPartition, place: OffsetReset) {
        if let Some(assigned) = self.assigned.get_mut(partition) {
            *assigned = Assigned { seek_to: Some(place), fetching: assigned.fetching, ..Assigned::default() };
        }
    }

    /// Returns no records of this partition until it is resumed.
    pub fn pause(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(assigned) = self.assigned.get_mut(partition) {
            assigned.paused = paused;
        }
    }

    /// The offset of the next record that [`Consumer::poll`] returns.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.assigned.get(partition)?.position
    }

    /// High watermark - position, as far as is known.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let assigned = self.assigned.get(partition)?;
        Some((assigned.high_watermark? - assigned.position?).max(0))
    }

    /// Waits up to `timeout` for records; none may come. Group work is done here too.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = Instant::now() + timeout;
        if let Some(membership) = &self.membership {
            membership.polled();
        }
        loop {
            self.group_events().await?;
            self.commit_if_due().await;
            match timeout_at(deadline, self.prepare(deadline)).await {
                Ok(Err(ClientError::TimedOut(_))) | Err(_) => return Ok(Vec::new()),
                Ok(prepared) => prepared?,
            }
            self.start_fetches();
            let mut taken = false;
            while let Ok(answer) = self.answers.1.try_recv() {
                self.take(answer)?;
                taken = true;
            }
            let records = self.take_records();
            if !records.is_empty() {
                self.start_fetches();
                return Ok(records);
            }
            if taken && Instant::now() < deadline {
                // An answer without records leaves its broker to be asked again, before there is anything to wait for.
                continue;
            }
            let look_again = self.needs_metadata();
            let membership = self.membership.as_mut();
            let group_event = async {
                match membership {
                    Some(membership) => membership.events.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answer) = self.answers.1.recv() => self.take(answer)?,
                event = group_event => match event {
                    Some(event) => self.group_event(event).await?,
                    None => return Err(ClientError::Closed),
                },
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
                // Partitions that have no leader now, or a topic that is not there yet.
                () = tokio::time::sleep(self.options.client.retry_backoff), if look_again => {}
            }
        }
    }

    async fn group_events(&mut self) -> Result<(), ClientError> {
        while let Some(event) =
            self.membership.as_mut().and_then(|membership| membership.events.try_recv().ok())
        {
            self.group_event(event).await?;
        }
        Ok(())
    }

    async fn group_event(&mut self, event: GroupEvent) -> Result<(), ClientError> {
        match event {
            GroupEvent::Revoke(which, answer) => {
                if self.options.auto_commit.is_some() {
                    self.commit_quietly().await;
                }
                match which {
                    None => {
                        self.note_revoked();
                        self.take_over([]);
                    }
                    Some(gone) => {
                        gone.iter().for_each(|partition| drop(self.assigned.remove(partition)));
                        if let Some(rebalances) = &mut self.rebalances {
                            rebalances.push(Rebalance::Revoked(gone));
                        }
                    }
                }
                let _ = answer.send(());
            }
            GroupEvent::Added(partitions) => {
                if let Some(rebalances) = &mut self.rebalances {
                    rebalances.push(Rebalance::Assigned(partitions.clone()));
                }
                let added = partitions.into_iter().map(|partition| (partition, Assigned::default()));
                self.assigned.extend(added);
                self.metadata_fetched = None;
            }
            GroupEvent::Lost => {
                self.note_revoked();
                self.take_over([]);
            }
            GroupEvent::Assigned(partitions) => {
                if let Some(rebalances) = &mut self.rebalances {
                    rebalances.push(Rebalance::Assigned(partitions.clone()));
                }
                self.take_over(partitions);
            }
            GroupEvent::Failed(error) => return Err(error),
        }
        Ok(())
    }

    fn needs_metadata(&self) -> bool {
        self.metadata_fetched.is_none_or(|fetched| fetched.elapsed() > self.options.client.metadata_age_max)
    }

    /// Sees to topics, metadata and positions.
    async fn prepare(&mut self, deadline: Instant) -> Result<(), ClientError> {
        self.look_for_topics(deadline).await?;
        if self.assigned.is_empty() {
            return Ok(());
        }
        if self.needs_metadata() {
            let mut topics: Vec<Str> =
                self.assigned.keys().map(|partition| partition.topic.clone()).collect();
            topics.dedup();
            let create = self.options.allow_auto_create_topics;
            let metadata = self.cluster.fetch_metadata(Some(&topics), create, deadline).await?;
            if let Some(error) = metadata.fatal_error() {
                return Err(error);
            }
            let led =
                |partition: &TopicPartition| metadata.leader(&partition.topic, partition.partition).is_some();
            if self.assigned.keys().all(led) {
                self.metadata_fetched = Some(Instant::now());
            }
        }
        self.find_positions().await
    }

    async fn look_for_topics(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let age = self.options.client.metadata_age_max;
        let Some(Matching { matches, looked }) = &mut self.matching else { return Ok(()) };
        if looked.is_some_and(|looked| looked.elapsed() < age) {
            return Ok(());
        }
        let metadata = self.cluster.fetch_metadata(None, false, deadline).await?;
        let topics: Vec<Str> = metadata.topics.keys().filter(|topic| matches(topic)).cloned().collect();
        *looked = Some(Instant::now());
        match &self.membership {
            Some(membership) => membership.subscribe(topics),
            None => self.join(topics),
        }
        Ok(())
    }

    /// Gives every partition a position: the committed one, or the one that the reset policy says.
    async fn find_positions(&mut self) -> Result<(), ClientError> {
        let missing: Vec<TopicPartition> = (self.assigned.iter())
            .filter(|(_, assigned)| assigned.position.is_none() && assigned.seek_to.is_none())
            .map(|(partition, _)| partition.clone())
            .collect();
        if !missing.is_empty() {
            let committed = match &self.options.group_id {
                Some(_) => self.committed(&missing).await?,
                None => BTreeMap::new(),
            };
            for partition in missing {
                match (committed.get(&partition), self.options.reset) {
                    (Some(committed), _) => self.seek(&partition, committed.offset),
                    (None, OffsetReset::None) => {
                        let why =
                            format!("Undefined offset with no reset policy for partitions: [{partition}]");
                        return Err(ClientError::broker(ErrorCode::OFFSET_OUT_OF_RANGE, &Some(why.into())));
                    }
                    (None, reset) => self.seek_to(&partition, reset),
                }
            }
        }
        let resets: BTreeMap<TopicPartition, i64> = (self.assigned.iter())
            .filter(|(_, assigned)| assigned.position.is_none())
            .filter_map(|(partition, assigned)| {
                let timestamp = if assigned.seek_to? == OffsetReset::Earliest { -2 } else { -1 };
                Some((partition.clone(), timestamp))
            })
            .collect();
        if resets.is_empty() {
            return Ok(());
        }
        for (partition, found) in list_offsets(&self.cluster, &resets, self.options.read_committed).await? {
            match found {
                Ok(found) => self.seek(&partition, found.offset),
                Err(code) if code.is_retriable() => self.metadata_fetched = None,
                Err(code) => return Err(code.into()),
            }
        }
        Ok(())
    }

    fn start_fetches(&mut self) {
        let metadata = self.cluster.metadata();
        let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, Position>> = BTreeMap::new();
        for (partition, assigned) in &self.assigned {
            let wanted = !assigned.fetching
                && !assigned.paused
                && assigned.position.is_some()
                && assigned.buffered.len() < self.options.poll_records_max;
            if !wanted {
                continue;
            }
            let Some(known) =
                metadata.partition(&partition.topic, partition.partition).filter(|p| p.leader >= 0)
            else {
                self.metadata_fetched = None;
                continue;
            };
            let source = assigned.source(known.leader, |replica| metadata.brokers.contains_key(&replica));
            if !self.busy.contains(&source) {
                let position = Position { offset: assigned.fetch_from, leader_epoch: known.leader_epoch };
                by_leader.entry(source).or_default().insert(partition.clone(), position);
            }
        }
        for (leader, positions) in by_leader {
            for partition in positions.keys() {
                self.assigned.get_mut(partition).expect("taken from there").fetching = true;
            }
            self.busy.insert(leader);
            let (cluster, options, metadata) = (self.cluster.clone(), self.options.clone(), metadata.clone());
            let (epoch, answers) = (self.epoch, self.answers.0.clone());
            tokio::spawn(async move {
                let fetched = async {
                    let connection = cluster.connect(leader).await?;
                    Ok(fetch(&connection, &metadata, &positions, &options).await?)
                };
                let fetched = fetched.await;
                if fetched.is_err() {
                    cluster.back_off().await;
                }
                let _ = answers.send(Answer { leader, epoch, asked: positions, fetched });
            });
        }
    }

    fn take(&mut self, answer: Answer) -> Result<(), ClientError> {
        if answer.epoch != self.epoch {
            return Ok(());
        }
        self.busy.remove(&answer.leader);
        for partition in answer.asked.keys() {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.fetching = false;
            }
        }
        match answer.fetched {
            Ok(all) => all.into_iter().try_for_each(|fetched| {
                let asked = answer.asked.get(&fetched.partition).map(|position| position.offset);
                self.take_partition(fetched, asked)
            }),
            Err(error) if error.is_retriable() => {
                for partition in answer.asked.keys() {
                    if let Some(assigned) = self.assigned.get_mut(partition) {
                        assigned.preferred = None;
                    }
                }
                self.metadata_fetched = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn take_partition(&mut self, fetched: Fetched, asked: Option<i64>) -> Result<(), ClientError> {
        let Some(assigned) = self.assigned.get_mut(&fetched.partition) else { return Ok(()) };
        // A seek since the request was sent leaves its answer without a use.
        if assigned.position.is_none() || asked != Some(assigned.fetch_from) {
            return Ok(());
        }
        if let Some(replica) = fetched.preferred {
            // An old replica is forgotten after a while, and the leader asked for the nearest one anew.
            let until = Instant::now() + self.options.client.metadata_age_max;
            assigned.preferred = Some((replica, until));
            return Ok(());
        }
        if !fetched.error.is_ok() && assigned.preferred.take().is_some() {
            // Only the leader's word counts.
            self.metadata_fetched = None;
            return Ok(());
        }
        match fetched.error {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE if assigned.buffered.is_empty() => {
                let (offset, partition) = (assigned.fetch_from, fetched.partition);
                if self.options.reset == OffsetReset::None {
                    let why = format!("Fetch position {offset} is out of range for partition {partition}");
                    return Err(ClientError::broker(fetched.error, &Some(why.into())));
                }
                self.seek_to(&partition, self.options.reset);
                return Ok(());
            }
            error if error.is_retriable() || error == ErrorCode::OFFSET_OUT_OF_RANGE => {
                self.metadata_fetched = None;
                return Ok(());
            }
            error => return Err(error.into()),
        }
        assigned.high_watermark = Some(fetched.high_watermark);
        if fetched.records.is_empty() && assigned.buffered.is_empty() {
            assigned.position = Some(fetched.next_offset);
        }
        assigned.fetch_from = fetched.next_offset;
        assigned.buffered.extend(fetched.records);
        match fetched.malformed {
            Some(error) if assigned.buffered.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Up to `max.poll.records` records; each poll starts with another partition.
    fn take_records(&mut self) -> Vec<ConsumerRecord> {
        let mut order: Vec<TopicPartition> = self.assigned.keys().cloned().collect();
        let start = self.turn.as_ref().and_then(|turn| order.iter().position(|p| p > turn)).unwrap_or(0);
        order.rotate_left(start);
        let mut records = Vec::new();
        for partition in order {
            let assigned = self.assigned.get_mut(&partition).expect("taken from there");
            let room = self.options.poll_records_max - records.len();
            if assigned.paused || assigned.buffered.is_empty() || room == 0 {
                continue;
            }
            let taken = room.min(assigned.buffered.len());
            records.extend(assigned.buffered.drain(..taken));
            let next = assigned.buffered.front().map_or(assigned.fetch_from, |record| record.offset);
            assigned.position = Some(next);
            self.turn = Some(partition);
        }
        records
    }

    async fn commit_if_due(&mut self) {
        let Some(interval) = self.options.auto_commit else { return };
        if self.options.group_id.is_some() && self.committed_at.elapsed() >= interval {
            self.commit_quietly().await;
        }
    }

    async fn commit_quietly(&mut self) {
        self.committed_at = Instant::now();
        if let Err(error) = self.commit().await {
            tracing::warn!(
                target: "org.apache.kafka.clients.consumer.internals.ConsumerCoordinator",
                "{}Asynchronous auto-commit of offsets failed: {error}",
                self.cluster.log_prefix()
            );
        }
    }

    /// Commits the positions: what was returned by [`Consumer::poll`] counts as done.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let positions = (self.assigned.iter())
            .filter_map(|(partition, assigned)| Some((partition.clone(), assigned.position?)))
            .collect();
        self.commit_offsets(&positions).await
    }

    /// Commits these offsets, as the member that this consumer is.
    pub async fn commit_offsets(
        &mut self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), ClientError> {
        self.check_group()?;
        if offsets.is_empty() {
            return Ok(());
        }
        let group = self.options.group_id.clone().expect("just checked");
        let identity = self.membership.as_ref().map(Membership::identity);
        let (generation, member_id) = identity.map_or((-1, Str::new()), |id| (id.generation, id.member_id));
        let request =
            commit_request(&group, generation, member_id, self.options.instance_id.clone(), offsets);
        commit_offsets(&self.cluster, request).await
    }

    /// What the group has committed of these partitions; those without are left out.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Committed>, ClientError> {
        self.check_group()?;
        let group = self.options.group_id.as_ref().expect("just checked");
        fetch_offsets(&self.cluster, group, Some(partitions)).await
    }

    /// Commits, if that is automatic, and leaves the group.
    pub async fn close(mut self) {
        if self.options.auto_commit.is_some() && self.options.group_id.is_some() {
            self.commit_quietly().await;
        }
        if let (Some(membership), Some(group)) = (self.membership.take(), &self.options.group_id) {
            membership.leave(&self.cluster, &self.options, group).await;
        }
    }
}

/// An offset that was looked up by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1: no record is that late.
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

/// Looks offsets up by timestamp: ms, or -1 latest, -2 earliest, -3 largest timestamp. Needs the topics' metadata. A
/// partition whose leader is not known, or cannot be asked, gets an error of its own.
pub async fn list_offsets(
    cluster: &Cluster,
    partitions: &BTreeMap<TopicPartition, i64>,
    read_committed: bool,
) -> Result<BTreeMap<TopicPartition, Result<ListedOffset, ErrorCode>>, ClientError> {
    let metadata = cluster.metadata();
    let mut found = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, BTreeMap<Str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for (partition, timestamp) in partitions {
        let Some(known) = metadata.partition(&partition.topic, partition.partition) else {
            found.insert(partition.clone(), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            continue;
        };
        if known.leader < 0 {
            found.insert(partition.clone(), Err(ErrorCode::LEADER_NOT_AVAILABLE));
            continue;
        }
        by_leader.entry(known.leader).or_default().entry(partition.topic.clone()).or_default().push(
            ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: known.leader_epoch,
                timestamp: *timestamp,
                max_num_offsets: 1,
            },
        );
    }
    for (leader, topics) in by_leader {
        let asked: Vec<TopicPartition> = (topics.iter())
            .flat_map(|(topic, all)| {
                all.iter().map(|p| TopicPartition::new(topic.clone(), p.partition_index))
            })
            .collect();
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: read_committed as i8,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| ListOffsetsTopic { name, partitions })
                .collect(),
        };
        let answer = async { Ok::<_, ClientError>(cluster.connect(leader).await?.call(&request).await?) };
        match answer.await {
            Ok(response) => {
                for topic in response.topics {
                    for answered in topic.partitions {
                        let partition = TopicPartition::new(topic.name.clone(), answered.partition_index);
                        // Version 0 answers with a list.
                        let offset = answered.old_style_offsets.first().copied().unwrap_or(answered.offset);
                        let listed = ListedOffset {
                            offset,
                            timestamp: answered.timestamp,
                            leader_epoch: answered.leader_epoch,
                        };
                        found.insert(partition, answered.error_code.ok().map(|()| listed));
                    }
                }
            }
            Err(error) if error.is_retriable() => {
                found.extend(
                    asked.into_iter().map(|partition| (partition, Err(ErrorCode::NETWORK_EXCEPTION))),
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(crate) fn commit_request(
    group: &Str,
    generation: i32,
    member_id: Str,
    instance_id: Option<Str>,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<Str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, offset) in offsets {
        topics.entry(partition.topic.clone()).or_default().push(OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: *offset,
            committed_metadata: Some(Str::new()),
            ..Default::default()
        });
    }
    OffsetCommitRequest {
        group_id: group.clone(),
        generation_id: generation,
        member_id,
        group_instance_id: instance_id,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| OffsetCommitRequestTopic { name, partitions })
            .collect(),
        ..Default::default()
    }
}

/// Commits, and retries what may pass; the first partition's error counts for all.
pub(crate) async fn commit_offsets(
    cluster: &Cluster,
    request: OffsetCommitRequest,
) -> Result<(), ClientError> {
    let first_error = |response: &wire::kafka::OffsetCommitResponse| {
        let mut codes =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        codes.find(|code| !code.is_ok()).unwrap_or_default()
    };
    let target = Target::Group(request.group_id.clone());
    let response = cluster.call(&target, &request, first_error).await?;
    Ok(first_error(&response).ok()?)
}

/// What a group has committed: of these partitions, or of all (`None`).
pub(crate) async fn fetch_offsets(
    cluster: &Cluster,
    group: &Str,
    partitions: Option<&[TopicPartition]>,
) -> Result<BTreeMap<TopicPartition, Committed>, ClientError> {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic.clone()).or_default().push(partition.partition);
        }
        topics
    });
    // Up to version 7 there is one group, later a list.
    let request = OffsetFetchRequest {
        group_id: group.clone(),
        topics: topics.clone().map(|topics| {
            let topic = |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes };
            topics.into_iter().map(topic).collect()
        }),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: topics.map(|topics| {
                let topic = |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes };
                topics.into_iter().map(topic).collect()
            }),
        }],
        require_stable: false,
    };
    let first_error = |response: &OffsetFetchResponse| {
        let group = response.groups.first().map_or(response.error_code, |group| group.error_code);
        let old =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        let new = response.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| &topic.partitions);
        let partition = old.chain(new.map(|partition| partition.error_code)).find(|code| !code.is_ok());
        if group.is_ok() { partition.unwrap_or_default() } else { group }
    };
    let mut response = cluster.call(&Target::Group(group.clone()), &request, first_error).await?;
    first_error(&response).ok()?;
    let mut committed = BTreeMap::new();
    let mut take = |topic: &Str, partition: OffsetFetchResponsePartition| {
        if partition.committed_offset >= 0 {
            committed.insert(
                TopicPartition::new(topic.clone(), partition.partition_index),
                Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.metadata.unwrap_or_default(),
                },
            );
        }
    };
    for topic in response.topics {
        topic.partitions.into_iter().for_each(|partition| take(&topic.name, partition));
    }
    for topic in response.groups.pop().map(|group| group.topics).unwrap_or_default() {
        for partition in topic.partitions {
            let partition = OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            };
            take(&topic.name, partition);
        }
    }
    Ok(committed)
}
