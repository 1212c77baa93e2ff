//! The controller: one broker of the cluster, elected by an ephemeral node, who decides on leaders and replicas.
//!
//! What it decides is broker-core's [`broker_core::controller`]; here is what it takes to do so: the election
//! (`claim`), reading the cluster (`load`), writing it (`writes`), hearing of changes and requests (`active`), and
//! telling the brokers (`channel`). Every broker runs [`start`]'s task, which is the controller now and then, and
//! otherwise refuses requests with NOT_CONTROLLER.

mod active;
mod channel;
mod claim;
mod lists;
mod load;
pub mod missed;
pub(crate) mod nodes;
pub mod stats;
pub mod topics;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use broker_core::MetadataVersion;

use broker_core::controller::Counts;
pub use broker_core::controller::{Assignment, Elected, ElectionType, Reassigned, TopicPartition};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::Str;
use wire::kafka::controlled_shutdown::RemainingPartition;
use wire::kafka::{
    AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse, ControlledShutdownResponse,
    ErrorCode,
};
use zookeeper_client::{Error, EventType};

use crate::broker::Broker;
use crate::zk::{Zk, ZkError};
use stats::ControllerStats;
use writes::Deposed;

/// Requests that wait for the controller before senders have to.
const INBOX: usize = 1024;
/// Pause before a controller that could not govern stands for election again.
const SETBACK: Duration = Duration::from_secs(1);

/// Settings of a would-be controller.
pub struct Options {
    pub id: i32,
    /// `inter.broker.listener.name`, or the listener that stands for it.
    pub listener: Str,
    /// By which brokers are told what to do, and how to come in by it.
    pub orders_listener: Str,
    pub security: Arc<ArcSwap<client::Security>>,
    /// `inter.broker.protocol.version`
    pub protocol: MetadataVersion,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `leader.imbalance.per.broker.percentage`
    pub imbalance_percent_max: u32,
    /// `leader.imbalance.check.interval.seconds`, unless `auto.leader.rebalance.enable` is off.
    pub balance_every: Option<Duration>,
    /// `controller.socket.timeout.ms`
    pub socket_timeout: Duration,
    /// A topic's effective `unclean.leader.election.enable`.
    pub unclean: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// What it does is noted there.
    pub stats: Arc<ControllerStats>,
}

impl Options {
    pub fn of(broker: &Arc<Broker>) -> Options {
        let config = &broker.config;
        let seconds = u64::try_from(config.int("leader.imbalance.check.interval.seconds")).unwrap_or(300);
        let settings = broker.clone();
        Options {
            id: broker.id,
            listener: config.listeners.inter_broker.as_str().into(),
            orders_listener: config.listeners.of_controller().into(),
            security: broker.of_controller.clone(),
            protocol: config.protocol,
            delete_topics: config.bool("delete.topic.enable"),
            imbalance_percent_max: u32::try_from(config.int("leader.imbalance.per.broker.percentage"))
                .unwrap_or(10),
            balance_every: config.bool("auto.leader.rebalance.enable").then(|| Duration::from_secs(seconds)),
            socket_timeout: config.millis("controller.socket.timeout.ms"),
            unclean: Box::new(move |topic| settings.topic_config(topic).unclean_election),
            stats: broker.controller_stats.clone(),
        }
    }
}

pub(crate) enum Command {
    AlterPartition {
        version: i16,
        request: AlterPartitionRequest,
        reply: oneshot::Sender<AlterPartitionResponse>,
    },
    ControlledShutdown {
        broker: i32,
        broker_epoch: i64,
        reply: oneshot::Sender<Result<Vec<TopicPartition>, ErrorCode>>,
    },
    ElectLeaders {
        election: ElectionType,
        partitions: Option<Vec<TopicPartition>>,
        reply: oneshot::Sender<Result<Vec<Elected>, ErrorCode>>,
    },
    AlterReassignments {
        partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
        reply: oneshot::Sender<Result<Vec<Reassigned>, ErrorCode>>,
    },
    ListReassignments {
        of: Option<BTreeSet<TopicPartition>>,
        reply: oneshot::Sender<Result<Vec<(TopicPartition, Assignment)>, ErrorCode>>,
    },
    AllocateProducerIds {
        broker: i32,
        broker_epoch: i64,
        reply: oneshot::Sender<AllocateProducerIdsResponse>,
    },
    TopicConfigChanged {
        topic: Str,
    },
    TopicDefaultsChanged,
    Count {
        reply: oneshot::Sender<Counts>,
    },
}

/// The way to this broker's controller, active or not.
#[derive(Clone)]
pub struct ControllerHandle {
    commands: mpsc::Sender<Command>,
    current: watch::Receiver<i32>,
    id: i32,
}

impl ControllerHandle {
    /// Whether this broker is the controller.
    pub fn is_active(&self) -> bool {
        *self.current.borrow() == self.id
    }

    /// The controller's broker id; -1 while there is none.
    pub fn controller_id(&self) -> i32 {
        *self.current.borrow()
    }

    /// Follows [`ControllerHandle::controller_id`].
    pub fn follow(&self) -> watch::Receiver<i32> {
        self.current.clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        // A controller that is deposed before it answers drops the sender.
        answer.await.ok()
    }

    pub async fn alter_partition(
        &self,
        version: i16,
        request: AlterPartitionRequest,
    ) -> AlterPartitionResponse {
        let answer = self.ask(|reply| Command::AlterPartition { version, request, reply }).await;
        answer.unwrap_or_else(|| AlterPartitionResponse {
            error_code: ErrorCode::NOT_CONTROLLER,
            ..Default::default()
        })
    }

    pub async fn controlled_shutdown(&self, broker: i32, broker_epoch: i64) -> ControlledShutdownResponse {
        let answer = self.ask(|reply| Command::ControlledShutdown { broker, broker_epoch, reply }).await;
        match answer.unwrap_or(Err(ErrorCode::NOT_CONTROLLER)) {
            Err(error_code) => ControlledShutdownResponse { error_code, ..Default::default() },
            Ok(partitions) => {
                let remaining = |tp: TopicPartition| RemainingPartition {
                    topic_name: tp.topic,
                    partition_index: tp.partition,
                };
                ControlledShutdownResponse {
                    error_code: ErrorCode::NONE,
                    remaining_partitions: partitions.into_iter().map(remaining).collect(),
                }
            }
        }
    }

    /// `partitions`: `None` for all. The error is the whole request's.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<Vec<Elected>, ErrorCode> {
        let answer = self.ask(|reply| Command::ElectLeaders { election, partitions, reply }).await;
        answer.unwrap_or(Err(ErrorCode::NOT_CONTROLLER))
    }

    /// New replicas for each partition; `None` takes back what is under way. The error is the whole request's.
    pub async fn alter_reassignments(
        &self,
        partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> Result<Vec<Reassigned>, ErrorCode> {
        let answer = self.ask(|reply| Command::AlterReassignments { partitions, reply }).await;
        answer.unwrap_or(Err(ErrorCode::NOT_CONTROLLER))
    }

    /// Numbers for metrics; `None`: it does not govern any more.
    pub async fn counts(&self) -> Option<Counts> {
        self.ask(|reply| Command::Count { reply }).await
    }

    /// Reassignments under way, of these partitions or of all.
    pub async fn reassignments(
        &self,
        of: Option<BTreeSet<TopicPartition>>,
    ) -> Result<Vec<(TopicPartition, Assignment)>, ErrorCode> {
        let answer = self.ask(|reply| Command::ListReassignments { of, reply }).await;
        answer.unwrap_or(Err(ErrorCode::NOT_CONTROLLER))
    }

    pub async fn allocate_producer_ids(&self, broker: i32, broker_epoch: i64) -> AllocateProducerIdsResponse {
        let answer = self.ask(|reply| Command::AllocateProducerIds { broker, broker_epoch, reply }).await;
        answer.unwrap_or_else(|| AllocateProducerIdsResponse {
            error_code: ErrorCode::NOT_CONTROLLER,
            ..Default::default()
        })
    }

    /// A topic's settings may have changed, among them whether it may lose data for a leader.
    pub async fn topic_config_changed(&self, topic: Str) {
        let _ = self.commands.send(Command::TopicConfigChanged { topic }).await;
    }

    /// As [`ControllerHandle::topic_config_changed`], for the defaults of all topics.
    pub async fn topic_defaults_changed(&self) {
        let _ = self.commands.send(Command::TopicDefaultsChanged).await;
    }
}

/// Starts the task that stands for election in every session, and governs when elected. It ends when the last handle
/// and the sender of sessions are gone.
pub fn start(options: Options, sessions: watch::Receiver<Zk>) -> (ControllerHandle, JoinHandle<()>) {
    let (commands, inbox) = mpsc::channel(INBOX);
    let (tell_current, current) = watch::channel(-1);
    let handle = ControllerHandle { commands, current, id: options.id };
    let candidate =
        Candidate { options: Arc::new(options), sessions, commands: inbox, current: tell_current };
    (handle, tokio::spawn(candidate.run()))
}

struct Candidate {
    options: Arc<Options>,
    sessions: watch::Receiver<Zk>,
    commands: mpsc::Receiver<Command>,
    current: watch::Sender<i32>,
}

impl Candidate {
    async fn run(mut self) {
        loop {
            let zk = self.sessions.borrow_and_update().clone();
            let Err(error) = self.stand(&zk).await;
            self.current.send_replace(-1);
            if error.session_over() {
                tracing::info!("[Controller id={}] waiting for a new session: {error}", self.options.id);
                if !self.new_session().await {
                    return;
                }
            } else {
                tracing::error!("[Controller id={}] {error}", self.options.id);
                tokio::time::sleep(SETBACK).await;
            }
        }
    }

    /// Refuses requests until there is a new session; `false` when there will be none.
    async fn new_session(&mut self) -> bool {
        loop {
            tokio::select! {
                changed = self.sessions.changed() => return changed.is_ok(),
                Some(command) = self.commands.recv() => refuse(command),
            }
        }
    }

    /// Stands for election again and again, until the session ends.
    async fn stand(&mut self, zk: &Zk) -> Result<Infallible, ZkError> {
        loop {
            let (id, watcher) = claim::current(zk).await?;
            self.current.send_replace(id);
            if id == self.options.id && claim::give_back(zk).await? {
                continue;
            }
            if id == -1 {
                self.try_to_govern(zk).await?;
                continue;
            }
            let change = watcher.changed();
            tokio::pin!(change);
            loop {
                tokio::select! {
                    event = &mut change => {
                        if event.event_type == EventType::Session {
                            return Err(session_over());
                        }
                        break;
                    }
                    Some(command) = self.commands.recv() => refuse(command),
                }
            }
        }
    }

    async fn try_to_govern(&mut self, zk: &Zk) -> Result<(), ZkError> {
        let id = self.options.id;
        let Some(mandate) = claim::claim(zk, id).await? else { return Ok(()) };
        tracing::info!(
            "[Controller id={id}] {id} successfully elected as the controller. Epoch incremented to {} and epoch zk \
             version is now {}",
            mandate.epoch,
            mandate.version
        );
        self.current.send_replace(id);
        let deposed = active::govern(self.options.clone(), zk.clone(), mandate, &mut self.commands).await;
        self.current.send_replace(-1);
        tracing::info!("[Controller id={id}] Resigned: {deposed}");
        match deposed {
            Deposed::Moved => Ok(()),
            Deposed::ZooKeeper(error) if error.session_over() => Err(error),
            Deposed::ZooKeeper(error) => {
                claim::resign(zk, mandate).await?;
                Err(error)
            }
        }
    }
}

fn session_over() -> ZkError {
    let path = nodes::CONTROLLER.to_owned();
    ZkError::Operation { operation: "watch", path, source: Error::SessionExpired }
}

/// Dropping a command's reply is an answer: [`ControllerHandle`] reads NOT_CONTROLLER.
fn refuse(command: Command) {
    drop(command);
}
