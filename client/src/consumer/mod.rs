//! The consumer: reads partitions that it was given, or that its group assigns to it.
//!
//! * `options`: what it is told. `offsets`: where it may begin, and what its group remembers.

mod offsets;
mod options;
#[cfg(test)]
mod tests;

pub use offsets::{Committed, ListedOffset, list_offsets};
pub(crate) use offsets::{commit_offsets, commit_request, fetch_offsets};
pub use options::{ConsumerOptions, OffsetReset};

use crate::TopicPartition;
use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::fetch::{Fetched, Position, fetch};
use crate::group::{GroupEvent, Membership};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use wire::Str;
use wire::batch::RecordHeader;
use wire::kafka::ErrorCode;

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
