//! Membership in a consumer group: a background task that joins, keeps its heart beating, and joins again.
//! The consumer is told what it owns, and is asked to let go before every rebalance.

use crate::TopicPartition;
use crate::assignor::{Assignor, Subscriber, by_topic};
use crate::cluster::{Cluster, Target};
use crate::consumer::ConsumerOptions;
use crate::error::ClientError;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use wire::Str;
use wire::kafka::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, SubscriptionTopicPartition,
};
use wire::kafka::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use wire::kafka::leave_group::MemberIdentity;
use wire::kafka::sync_group::SyncGroupRequestAssignment;
use wire::kafka::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, Message,
    SyncGroupRequest, encode_versioned, split_version,
};

const CONSUMER: Str = Str::from_static("consumer");

/// What the consumer has to know.
#[derive(Debug)]
pub enum GroupEvent {
    /// Commit, and stop reading these, or all; then answer.
    Revoke(Option<Vec<TopicPartition>>, oneshot::Sender<()>),
    /// These in place of all others.
    Assigned(Vec<TopicPartition>),
    /// These besides those that it has.
    Added(Vec<TopicPartition>),
    /// The group went on without this member: what it read since its last commit may be read twice.
    Lost,
    Failed(ClientError),
}

/// Who this member is now: what commits have to say.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    pub generation: i32,
    pub member_id: Str,
}

#[derive(Debug)]
pub struct Membership {
    pub events: mpsc::UnboundedReceiver<GroupEvent>,
    identity: Arc<Mutex<Identity>>,
    topics: watch::Sender<Vec<Str>>,
    last_poll: Arc<Mutex<Instant>>,
    task: tokio::task::AbortHandle,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Membership {
    /// Starts to join.
    pub fn start(cluster: Cluster, options: ConsumerOptions, group: Str, topics: Vec<Str>) -> Membership {
        let (to_consumer, events) = mpsc::unbounded_channel();
        let (topics, subscribed) = watch::channel(topics);
        let identity = Arc::new(Mutex::new(Identity { generation: -1, member_id: Str::new() }));
        let last_poll = Arc::new(Mutex::new(Instant::now()));
        let member = Member {
            cluster,
            options,
            target: Target::Group(group.clone()),
            group,
            events: to_consumer,
            identity: identity.clone(),
            topics: subscribed,
            last_poll: last_poll.clone(),
            counts: None,
            owned: None,
        };
        let task = tokio::spawn(member.run()).abort_handle();
        Membership { events, identity, topics, last_poll, task }
    }

    pub fn identity(&self) -> Identity {
        self.identity.lock().expect("no panic holds it").clone()
    }

    /// The consumer still works.
    pub fn polled(&self) {
        *self.last_poll.lock().expect("no panic holds it") = Instant::now();
    }

    /// Joins again if the topics are others.
    pub fn subscribe(&self, topics: Vec<Str>) {
        self.topics.send_if_modified(|subscribed| {
            let other = *subscribed != topics;
            *subscribed = topics;
            other
        });
    }

    /// Leaves the group, so that the others need not wait for the session to end. A static member stays.
    pub async fn leave(self, cluster: &Cluster, options: &ConsumerOptions, group: &Str) {
        self.task.abort();
        let Identity { member_id, .. } = self.identity();
        if !member_id.is_empty() && options.instance_id.is_none() {
            leave(cluster, group, member_id, "the consumer is being closed").await;
        }
    }
}

async fn leave(cluster: &Cluster, group: &Str, member_id: Str, reason: &'static str) {
    let request = LeaveGroupRequest {
        group_id: group.clone(),
        member_id: member_id.clone(),
        members: vec![MemberIdentity {
            member_id,
            group_instance_id: None,
            reason: Some(Str::from_static(reason)),
        }],
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    let leaving = async {
        Ok::<_, ClientError>(
            cluster.find(&Target::Group(group.clone()), deadline, "leaveGroup").await?.call(&request).await?,
        )
    };
    // A member that cannot say so is missed when its session ends.
    if let Ok(Err(error)) = tokio::time::timeout_at(deadline, leaving).await {
        tracing::debug!("could not leave group {group}: {error}");
    }
}

struct Member {
    cluster: Cluster,
    options: ConsumerOptions,
    group: Str,
    target: Target,
    events: mpsc::UnboundedSender<GroupEvent>,
    identity: Arc<Mutex<Identity>>,
    topics: watch::Receiver<Vec<Str>>,
    last_poll: Arc<Mutex<Instant>>,
    /// Of the group's leader: the partition counts that it assigned by.
    counts: Option<BTreeMap<Str, i32>>,
    /// What it was assigned last, and in which generation.
    owned: Option<(Vec<TopicPartition>, i32)>,
}

/// Why a member's generation ended.
#[derive(Debug)]
enum Ended {
    /// Join again as the same member.
    Rebalance,
    /// Join again as a new one.
    Lost,
}

/// The consumer is gone.
struct NobodyListens;

impl Member {
    async fn run(mut self) {
        loop {
            let joined = self.join().await;
            let ended = match joined {
                Ok(Some(assigned)) => match self.take(assigned).await {
                    Ok(None) => self.stay().await,
                    Ok(Some(ended)) => Ok(ended),
                    Err(_) => return,
                },
                Ok(None) => Ok(Ended::Rebalance),
                Err(error) => Err(error),
            };
            match ended {
                Ok(Ended::Rebalance) => {}
                Ok(Ended::Lost) => self.lose(),
                Err(error) if matches!(error, ClientError::TimedOut(_)) || error.is_retriable() => {
                    self.cluster.back_off().await;
                }
                Err(error) => {
                    let _ = self.events.send(GroupEvent::Failed(error));
                    return;
                }
            }
        }
    }

    /// All assignors of this member let it keep what it owns while the group rebalances.
    fn is_cooperative(&self) -> bool {
        !self.options.assignors.is_empty() && self.options.assignors.iter().all(|one| one.is_cooperative())
    }

    /// Hands the consumer what it owns now. Where it has to let go of something first, another round follows, in which
    /// others get that. Fails if nobody listens.
    async fn take(&mut self, assigned: Vec<TopicPartition>) -> Result<Option<Ended>, NobodyListens> {
        let generation = self.identity().generation;
        let (before, _) = self.owned.replace((assigned.clone(), generation)).unwrap_or_default();
        if !self.is_cooperative() {
            return self
                .events
                .send(GroupEvent::Assigned(assigned))
                .map(|()| None)
                .map_err(|_| NobodyListens);
        }
        let gone: Vec<TopicPartition> =
            before.iter().filter(|partition| !assigned.contains(partition)).cloned().collect();
        let new = assigned.into_iter().filter(|partition| !before.contains(partition)).collect();
        let again = match gone.is_empty() {
            true => None,
            false => Some(self.let_go(Some(gone)).await),
        };
        if matches!(again, Some(Ended::Lost)) {
            return Ok(again);
        }
        self.events.send(GroupEvent::Added(new)).map(|()| again).map_err(|_| NobodyListens)
    }

    fn lose(&mut self) {
        if self.is_cooperative() {
            self.owned = None;
        }
        *self.identity.lock().expect("no panic holds it") =
            Identity { generation: -1, member_id: Str::new() };
        let _ = self.events.send(GroupEvent::Lost);
    }

    fn identity(&self) -> Identity {
        self.identity.lock().expect("no panic holds it").clone()
    }

    /// One round of JoinGroup and SyncGroup; `None`: the round was overtaken by another.
    async fn join(&mut self) -> Result<Option<Vec<TopicPartition>>, ClientError> {
        let topics = self.topics.borrow_and_update().clone();
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: self.options.session_timeout.as_millis() as i32,
            rebalance_timeout_ms: self.options.poll_interval_max.as_millis() as i32,
            member_id: self.identity().member_id,
            group_instance_id: self.options.instance_id.clone(),
            protocol_type: CONSUMER,
            protocols: self.protocols(topics),
            reason: None,
        };
        let deadline = self.cluster.deadline();
        let connection = self.cluster.find(&self.target, deadline, "joinGroup").await?;
        let timeout = self.options.poll_interval_max + Duration::from_secs(5);
        let joined = connection.call_within(&request, timeout).await?;
        let mut identity = self.identity();
        match joined.error_code {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                identity.member_id = joined.member_id;
                *self.identity.lock().expect("no panic holds it") = identity;
                return Ok(None);
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                self.lose();
                return Ok(None);
            }
            error => return Err(error.into()),
        }
        identity = Identity { generation: joined.generation_id, member_id: joined.member_id.clone() };
        *self.identity.lock().expect("no panic holds it") = identity.clone();
        self.sync(joined, identity, connection).await
    }

    /// What each assignor is to know of this member.
    fn protocols(&self, topics: Vec<Str>) -> Vec<JoinGroupRequestProtocol> {
        let (owned, generation) =
            self.owned.clone().map_or((None, -1), |(owned, since)| (Some(owned), since));
        let kept = owned.clone().filter(|_| self.is_cooperative()).unwrap_or_default();
        let subscription = ConsumerProtocolSubscription {
            topics,
            owned_partitions: by_topic(&kept)
                .into_iter()
                .map(|topic| SubscriptionTopicPartition { topic: topic.topic, partitions: topic.partitions })
                .collect(),
            generation_id: self.identity().generation,
            rack_id: Some(self.options.rack.clone()).filter(|rack| !rack.is_empty()),
            user_data: None,
        };
        let protocol = |assignor: &Assignor| {
            let user_data = assignor.user_data(owned.as_deref(), generation);
            let metadata =
                encode_versioned(&ConsumerProtocolSubscription { user_data, ..subscription.clone() }, 3);
            JoinGroupRequestProtocol { name: assignor.name(), metadata }
        };
        self.options.assignors.iter().map(protocol).collect()
    }

    async fn sync(
        &mut self,
        joined: JoinGroupResponse,
        identity: Identity,
        connection: crate::Connection,
    ) -> Result<Option<Vec<TopicPartition>>, ClientError> {
        self.counts = None;
        let protocol = joined.protocol_name.clone().unwrap_or_default();
        let assignments = match joined.leader == joined.member_id && !joined.skip_assignment {
            true => self.assign(&protocol, &joined.members).await?,
            false => Vec::new(),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: identity.generation,
            member_id: identity.member_id,
            group_instance_id: self.options.instance_id.clone(),
            protocol_type: joined.protocol_type.or(Some(CONSUMER)),
            protocol_name: Some(protocol),
            assignments,
        };
        let synced = connection.call_within(&request, self.options.poll_interval_max).await?;
        match synced.error_code {
            ErrorCode::NONE => Ok(Some(read_assignment(&synced.assignment)?)),
            ErrorCode::REBALANCE_IN_PROGRESS => Ok(None),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                self.lose();
                Ok(None)
            }
            error => Err(error.into()),
        }
    }

    /// The leader's part: all topics to all members, by the assignor that all know.
    async fn assign(
        &mut self,
        protocol: &str,
        members: &[JoinGroupResponseMember],
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let unknown =
            || ClientError::State(format!("Coordinator selected invalid assignment protocol: {protocol}"));
        let assignor = Assignor::of_name(protocol).ok_or_else(unknown)?;
        let mut subscribers = Vec::new();
        for member in members {
            let (version, body) = split_version(&member.metadata).map_err(malformed)?;
            let subscription =
                ConsumerProtocolSubscription::decode(&body, version.clamp(0, 3)).map_err(malformed)?;
            let (owned, generation) = assignor.owned(&subscription);
            subscribers.push(Subscriber {
                owned,
                generation,
                member_id: member.member_id.clone(),
                instance_id: member.group_instance_id.clone(),
                topics: subscription.topics,
            });
        }
        let counts = self.partition_counts(&subscribers).await?;
        let assignment = assignor.assign(&subscribers, &counts);
        self.counts = Some(counts);
        Ok(assignment
            .into_iter()
            .map(|(member_id, partitions)| SyncGroupRequestAssignment {
                member_id,
                assignment: write_assignment(partitions),
            })
            .collect())
    }

    async fn partition_counts(&self, subscribers: &[Subscriber]) -> Result<BTreeMap<Str, i32>, ClientError> {
        let topics: BTreeSet<Str> =
            subscribers.iter().flat_map(|member| member.topics.iter().cloned()).collect();
        let topics: Vec<Str> = topics.into_iter().collect();
        let create = self.options.allow_auto_create_topics;
        let metadata = self.cluster.fetch_metadata(Some(&topics), create, self.cluster.deadline()).await?;
        if let Some(error) = metadata.fatal_error() {
            return Err(error);
        }
        let existing =
            metadata.topics.iter().filter(|(name, topic)| topics.contains(name) && topic.error.is_ok());
        Ok(existing.map(|(name, topic)| (name.clone(), topic.partitions.len() as i32)).collect())
    }

    /// Beats until the generation ends.
    async fn stay(&mut self) -> Result<Ended, ClientError> {
        let mut checked = Instant::now();
        loop {
            tokio::select! {
                () = sleep(self.options.heartbeat_interval) => {}
                changed = self.topics.changed() => {
                    return match changed {
                        Ok(()) => self.revoke().await,
                        Err(_) => std::future::pending().await,
                    };
                }
            }
            let idle = self.last_poll.lock().expect("no panic holds it").elapsed();
            if idle > self.options.poll_interval_max {
                tracing::warn!(
                    target: "org.apache.kafka.clients.consumer.internals.ConsumerCoordinator",
                    "{}consumer poll timeout has expired: the time between polls was longer than max.poll.interval.ms",
                    self.cluster.log_prefix()
                );
                leave(
                    &self.cluster,
                    &self.group,
                    self.identity().member_id,
                    "consumer poll timeout has expired",
                )
                .await;
                self.wait_for_poll().await;
                return Ok(Ended::Lost);
            }
            match self.beat().await {
                Ok(ErrorCode::NONE) => {}
                Ok(ErrorCode::REBALANCE_IN_PROGRESS) => return self.revoke().await,
                Ok(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => return Ok(Ended::Lost),
                Ok(error) if error.is_retriable() => {}
                Ok(error) => return Err(error.into()),
                // The session lasts longer than one lost heartbeat.
                Err(error) => tracing::debug!("heartbeat of group {}: {error}", self.group),
            }
            if self.counts.is_some() && checked.elapsed() > self.options.client.metadata_age_max {
                checked = Instant::now();
                if self.partitions_changed().await {
                    return self.revoke().await;
                }
            }
        }
    }

    async fn wait_for_poll(&self) {
        let left = *self.last_poll.lock().expect("no panic holds it");
        while *self.last_poll.lock().expect("no panic holds it") == left {
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn partitions_changed(&self) -> bool {
        let Some(counts) = &self.counts else { return false };
        let topics: Vec<Str> = counts.keys().cloned().collect();
        let subscriber = Subscriber {
            member_id: Str::new(),
            instance_id: None,
            topics,
            owned: Vec::new(),
            generation: -1,
        };
        self.partition_counts(&[subscriber]).await.is_ok_and(|now| now != *counts)
    }

    async fn beat(&self) -> Result<ErrorCode, ClientError> {
        let Identity { generation, member_id } = self.identity();
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: generation,
            member_id,
            group_instance_id: self.options.instance_id.clone(),
        };
        let deadline = Instant::now() + self.options.session_timeout;
        let beat = async {
            let connection = self.cluster.find(&self.target, deadline, "heartbeat").await?;
            Ok(connection.call(&request).await?.error_code)
        };
        let late = || ClientError::TimedOut("no answer to a heartbeat".to_owned());
        tokio::time::timeout_at(deadline, beat).await.unwrap_or_else(|_| Err(late()))
    }

    /// Before the next round: all is let go of, or, where members cooperate, what is no longer subscribed to.
    async fn revoke(&mut self) -> Result<Ended, ClientError> {
        let gone = match (self.is_cooperative(), &mut self.owned) {
            (false, _) => None,
            (true, None) => return Ok(Ended::Rebalance),
            (true, Some((owned, _))) => {
                let topics = self.topics.borrow();
                let (kept, gone) = owned.drain(..).partition(|partition| topics.contains(&partition.topic));
                *owned = kept;
                Some::<Vec<TopicPartition>>(gone)
            }
        };
        match gone.as_ref().is_some_and(Vec::is_empty) {
            true => Ok(Ended::Rebalance),
            false => Ok(self.let_go(gone).await),
        }
    }

    /// Asks the consumer to let go of these, or all, and beats on while it does.
    async fn let_go(&mut self, gone: Option<Vec<TopicPartition>>) -> Ended {
        let (answer, mut answered) = oneshot::channel();
        let _ = self.events.send(GroupEvent::Revoke(gone, answer));
        let deadline = Instant::now() + self.options.poll_interval_max;
        loop {
            tokio::select! {
                _ = &mut answered => return Ended::Rebalance,
                () = tokio::time::sleep_until(deadline) => return Ended::Rebalance,
                () = sleep(self.options.heartbeat_interval) => {}
            }
            if let Ok(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) = self.beat().await {
                return Ended::Lost;
            }
        }
    }
}

fn malformed(error: wire::jute::DecodeError) -> ClientError {
    let message = format!("a member's subscription or assignment is malformed: {error}");
    ClientError::Broker { code: ErrorCode::INCONSISTENT_GROUP_PROTOCOL, message: Some(message.into()) }
}

pub(crate) fn write_assignment(partitions: Vec<TopicPartition>) -> Bytes {
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: by_topic(&partitions), user_data: None };
    encode_versioned(&assignment, 3)
}

/// The partitions of an assignment as members and tools find it; none where there is none.
pub fn read_assignment(assignment: &Bytes) -> Result<Vec<TopicPartition>, ClientError> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let (version, body) = split_version(assignment).map_err(malformed)?;
    let assignment = ConsumerProtocolAssignment::decode(&body, version.clamp(0, 3)).map_err(malformed)?;
    Ok(assignment
        .assigned_partitions
        .into_iter()
        .flat_map(|topic| {
            topic
                .partitions
                .into_iter()
                .map(move |partition| TopicPartition::new(topic.topic.clone(), partition))
        })
        .collect())
}
