//! The elected controller at work: ZooKeeper's watches and the brokers' requests go into broker-core's controller, its
//! writes go to ZooKeeper, its orders to the brokers. One event is finished before the next is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker_core::MetadataVersion;
use broker_core::controller::{
    Broker, Controller, ControllerConfig, Effect, Elected, ElectionType, Event, Obstacle, PartitionState,
    Reassigned, Snapshot, ToBroker, Token, TopicPartition,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::Str;
use wire::kafka::{AllocateProducerIdsResponse, AlterPartitionResponse, ErrorCode};
use zookeeper_client::{Error, EventType, OneshotWatcher};

use super::channel::{Channel, News, Order, Target};
use super::claim::Mandate;
use super::stats::Work;
use super::writes::{Deposed, Pen};
use super::{Command, Options, load, nodes};
use crate::zk::{PRODUCER_ID_BLOCK, Zk, ZkError, retry};

/// Leaders are balanced this long after an election for the first time.
const FIRST_BALANCE: Duration = Duration::from_secs(5);

/// What the controller hears of.
pub enum Observed {
    Changed(Place),
    Answer(Event),
    /// The ZooKeeper session is over.
    SessionOver,
}

/// Where something changed in ZooKeeper.
#[derive(Debug, Clone)]
pub enum Place {
    Controller,
    Brokers,
    Broker(i32),
    Topics,
    Topic(Str),
    Deletions,
    LogDirs,
    IsrChanges,
    PreferredElection,
    Reassignments,
}

impl Observed {
    /// What it makes the controller do.
    fn work(&self) -> Option<Work> {
        match self {
            Observed::SessionOver => Some(Work::ControllerChange),
            Observed::Answer(Event::LeaderAndIsrAnswered { .. }) => Some(Work::LeaderAndIsrResponseReceived),
            Observed::Answer(Event::StopReplicaAnswered { .. }) => Some(Work::TopicDeletion),
            Observed::Answer(_) => None,
            Observed::Changed(place) => Some(match place {
                Place::Controller => Work::ControllerChange,
                Place::Brokers | Place::Broker(_) => Work::BrokerChange,
                Place::Topics | Place::Topic(_) => Work::TopicChange,
                Place::Deletions => Work::TopicDeletion,
                Place::LogDirs => Work::LogDirChange,
                Place::IsrChanges => Work::IsrChange,
                Place::PreferredElection => Work::ManualLeaderBalance,
                Place::Reassignments => Work::PartitionReassignment,
            }),
        }
    }
}

enum Waiting {
    Alter(oneshot::Sender<AlterPartitionResponse>),
    Shutdown(oneshot::Sender<Result<Vec<TopicPartition>, ErrorCode>>),
    Elect(oneshot::Sender<Result<Vec<Elected>, ErrorCode>>),
    Reassign(oneshot::Sender<Result<Vec<Reassigned>, ErrorCode>>),
}

pub struct Active {
    options: Arc<Options>,
    pen: Pen,
    core: Controller,
    channels: BTreeMap<i32, (i64, Channel)>,
    observed: mpsc::UnboundedSender<Observed>,
    watching: JoinSet<()>,
    waiting: BTreeMap<Token, Waiting>,
    next_token: u64,
    /// The czxid of the `/admin/reassign_partitions` that was taken up.
    reassignments_czxid: Option<i64>,
}

/// Governs until something ends it.
pub async fn govern(
    options: Arc<Options>,
    zk: Zk,
    mandate: Mandate,
    commands: &mut mpsc::Receiver<Command>,
) -> Deposed {
    let (observed, mut hearing) = mpsc::unbounded_channel();
    let stats = options.stats.clone();
    let taking = Active::take_office(options.clone(), zk, mandate, observed);
    let mut active = match stats.time(Some(Work::ControllerChange), taking).await {
        Ok(active) => active,
        Err(deposed) => return deposed,
    };
    stats.elected_uncleanly(active.core.take_unclean_elections());
    let mut balance_at = Instant::now() + FIRST_BALANCE;
    loop {
        let done = tokio::select! {
            Some(observed) = hearing.recv() => {
                let work = observed.work();
                stats.time(work, active.observe(observed)).await
            }
            Some(command) = commands.recv() => {
                let work = active.work_of(&command);
                stats.time(work, active.command(command)).await
            }
            () = tokio::time::sleep_until(balance_at), if options.balance_every.is_some() => {
                balance_at = Instant::now() + options.balance_every.unwrap_or(FIRST_BALANCE);
                stats.time(Some(Work::AutoLeaderBalance), active.step(Event::BalanceLeaders)).await
            }
        };
        stats.elected_uncleanly(active.core.take_unclean_elections());
        if let Err(deposed) = done {
            return deposed;
        }
    }
}

impl Active {
    /// Reads everything, watches everything, and has the core begin.
    async fn take_office(
        options: Arc<Options>,
        zk: Zk,
        mandate: Mandate,
        observed: mpsc::UnboundedSender<Observed>,
    ) -> Result<Active, Deposed> {
        make_feature_node(&zk, options.protocol).await?;
        let config = ControllerConfig {
            id: options.id,
            listener: options.listener.clone(),
            delete_topics: options.delete_topics,
            imbalance_percent_max: options.imbalance_percent_max,
            protocol: options.protocol,
        };
        let mut active = Active {
            core: Controller::new(config.clone(), mandate.epoch, Snapshot::default()),
            pen: Pen { zk, mandate },
            options,
            channels: BTreeMap::new(),
            observed,
            watching: JoinSet::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            reassignments_czxid: None,
        };
        active.watch_controller().await?;
        // The states themselves are read below.
        active.isr_changes().await?;
        // Of log directories that failed before, the brokers tell in their answers to LeaderAndIsr.
        active.purge(nodes::LOG_DIR_EVENTS).await?;
        active.log_dir_events().await?;
        let begun = Instant::now();
        let brokers = active.read_brokers().await?;
        let names: Vec<Str> = active.list(nodes::TOPICS, Place::Topics).await?.into_iter().collect();
        let topics = active.read_topics(&names).await?;
        let states = load::states(&active.pen.zk, &topics).await?;
        let deletions = active.list(nodes::DELETIONS, Place::Deletions).await?;
        let unclean = names.iter().filter(|name| (active.options.unclean)(name)).cloned().collect();
        tracing::info!(
            "[Controller id={}] {} brokers, {} topics, {} partition states, {} topics to delete, read in {} ms",
            active.options.id,
            brokers.len(),
            topics.len(),
            states.len(),
            deletions.len(),
            begun.elapsed().as_millis()
        );
        let snapshot = Snapshot { brokers, topics, states, unclean };
        active.core = Controller::new(config, mandate.epoch, snapshot);
        let mut effects = Vec::new();
        active.core.start(deletions, &mut effects);
        active.perform(effects).await?;
        tracing::info!(
            "[Controller id={}] At work after {} ms",
            active.options.id,
            begun.elapsed().as_millis()
        );
        active.reassignments().await?;
        active.preferred_election().await?;
        Ok(active)
    }

    // ---- ZooKeeper's news

    async fn observe(&mut self, observed: Observed) -> Result<(), Deposed> {
        while self.watching.try_join_next().is_some() {}
        match observed {
            Observed::Answer(event) => self.step(event).await,
            Observed::SessionOver => {
                let path = nodes::CONTROLLER.to_owned();
                Err(ZkError::Operation { operation: "watch", path, source: Error::SessionExpired }.into())
            }
            Observed::Changed(place) => self.changed(place).await,
        }
    }

    async fn changed(&mut self, place: Place) -> Result<(), Deposed> {
        match place {
            Place::Controller => self.watch_controller().await,
            Place::Brokers => {
                let brokers = self.read_brokers().await?;
                self.brokers_are(brokers).await
            }
            Place::Broker(id) => self.broker_changed(id).await,
            Place::Topics => self.topics_changed().await,
            Place::Topic(name) => self.topic_changed(name).await,
            Place::Deletions => {
                let topics = self.list(nodes::DELETIONS, Place::Deletions).await?;
                self.step(Event::DeleteTopics(topics)).await
            }
            Place::LogDirs => {
                let brokers = self.log_dir_events().await?;
                self.step(Event::LogDirsFailed(brokers)).await
            }
            Place::IsrChanges => {
                let states = self.isr_changes().await?;
                self.step(Event::StatesChanged(states)).await
            }
            Place::PreferredElection => self.preferred_election().await,
            Place::Reassignments => self.reassignments().await,
        }
    }

    /// Tells this controller when the watch fires; again and again is the reader's business.
    fn await_change(&mut self, watcher: OneshotWatcher, place: Place) {
        let observed = self.observed.clone();
        self.watching.spawn(async move {
            let event = watcher.changed().await;
            let _ = observed.send(if event.event_type == EventType::Session {
                Observed::SessionOver
            } else {
                Observed::Changed(place)
            });
        });
    }

    async fn watch_controller(&mut self) -> Result<(), Deposed> {
        let (id, watcher) = super::claim::current(&self.pen.zk).await?;
        if id != self.options.id {
            return Err(Deposed::Moved);
        }
        self.await_change(watcher, Place::Controller);
        Ok(())
    }

    async fn list(&mut self, path: &str, place: Place) -> Result<BTreeSet<Str>, Deposed> {
        let (names, watcher) = load::children(&self.pen.zk, path).await?;
        self.await_change(watcher, place);
        Ok(names.into_iter().map(Str::from).collect())
    }

    async fn read_brokers(&mut self) -> Result<BTreeMap<i32, Broker>, Deposed> {
        let ids: Vec<String> =
            self.list(nodes::BROKERS, Place::Brokers).await?.iter().map(ToString::to_string).collect();
        let (brokers, watches) = load::brokers(&self.pen.zk, &ids).await?;
        for (id, watcher) in watches {
            let known = self.core.brokers().get(&id).is_some_and(|old| old.epoch == brokers[&id].epoch);
            if !known {
                self.await_change(watcher, Place::Broker(id));
            }
        }
        Ok(brokers)
    }

    async fn brokers_are(&mut self, brokers: BTreeMap<i32, Broker>) -> Result<(), Deposed> {
        let ids: Vec<i32> = brokers.keys().copied().collect();
        tracing::info!("[Controller id={}] live brokers: {ids:?}", self.options.id);
        self.channels.retain(|id, (epoch, _)| brokers.get(id).is_some_and(|broker| broker.epoch == *epoch));
        self.step(Event::Brokers(brokers)).await
    }

    /// A registration was written anew under the same session; one that is gone shows among the children.
    async fn broker_changed(&mut self, id: i32) -> Result<(), Deposed> {
        let (read, watches) = load::brokers(&self.pen.zk, &[id.to_string()]).await?;
        let mut brokers = self.core.brokers().clone();
        let Some(new) = read.get(&id) else { return Ok(()) };
        if brokers.get(&id).is_none_or(|old| old.epoch != new.epoch) {
            return Ok(());
        }
        for (id, watcher) in watches {
            self.await_change(watcher, Place::Broker(id));
        }
        brokers.insert(id, new.clone());
        self.step(Event::Brokers(brokers)).await
    }

    async fn read_topics(
        &mut self,
        names: &[Str],
    ) -> Result<BTreeMap<Str, broker_core::controller::Topic>, Deposed> {
        let (topics, watches) =
            load::topics(&self.pen.zk, names, self.options.protocol.has_topic_ids()).await?;
        for (name, watcher) in watches {
            self.await_change(watcher, Place::Topic(name));
        }
        Ok(topics)
    }

    async fn topics_changed(&mut self) -> Result<(), Deposed> {
        let names = self.list(nodes::TOPICS, Place::Topics).await?;
        let new: Vec<Str> = names.iter().filter(|name| !self.core.knows(name)).cloned().collect();
        let added = self.read_topics(&new).await?;
        if !new.is_empty() {
            tracing::info!("[Controller id={}] new topics: {new:?}", self.options.id);
        }
        self.step(Event::Topics { names, added }).await?;
        for topic in new {
            if (self.options.unclean)(&topic) {
                self.step(Event::UncleanElection { topic, enabled: true }).await?;
            }
        }
        Ok(())
    }

    async fn topic_changed(&mut self, name: Str) -> Result<(), Deposed> {
        let read = self.read_topics(std::slice::from_ref(&name)).await?;
        for (name, topic) in read {
            self.step(Event::TopicChanged { name, topic }).await?;
        }
        Ok(())
    }

    /// The brokers that left notes of failed directories; the notes are deleted.
    async fn log_dir_events(&mut self) -> Result<Vec<i32>, Deposed> {
        let names = self.list(nodes::LOG_DIR_EVENTS, Place::LogDirs).await?;
        let paths: Vec<String> =
            names.iter().map(|name| format!("{}/{name}", nodes::LOG_DIR_EVENTS)).collect();
        let mut brokers = Vec::new();
        for (at, (data, _)) in load::read_all(&self.pen.zk, &paths).await? {
            match nodes::log_dir_event(&paths[at], &data) {
                Ok(broker) => brokers.push(broker),
                Err(error) => tracing::error!("{error}"),
            }
        }
        self.pen.delete_all(&paths).await?;
        Ok(brokers)
    }

    /// The states of partitions whose leaders left notes of them; the notes are deleted.
    async fn isr_changes(&mut self) -> Result<BTreeMap<TopicPartition, PartitionState>, Deposed> {
        let names = self.list(nodes::ISR_CHANGES, Place::IsrChanges).await?;
        let paths: Vec<String> = names.iter().map(|name| format!("{}/{name}", nodes::ISR_CHANGES)).collect();
        let mut partitions = BTreeSet::new();
        for (at, (data, _)) in load::read_all(&self.pen.zk, &paths).await? {
            match nodes::isr_change(&paths[at], &data) {
                Ok(changed) => partitions.extend(changed),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let known = partitions.into_iter().filter(|tp| self.core.state(tp).is_some()).collect();
        let states = load::states_of(&self.pen.zk, known).await?;
        self.pen.delete_all(&paths).await?;
        Ok(states)
    }

    async fn purge(&mut self, parent: &str) -> Result<(), Deposed> {
        let names = self.pen.zk.children(parent).await?;
        let paths: Vec<String> = names.iter().map(|name| format!("{parent}/{name}")).collect();
        self.pen.delete_all(&paths).await
    }

    /// The old way of asking for preferred leaders: a node, deleted when it is done.
    async fn preferred_election(&mut self) -> Result<(), Deposed> {
        let path = nodes::PREFERRED_ELECTION;
        let zk = self.pen.zk.clone();
        loop {
            let (stat, watcher) = retry("exists", path, || zk.client().check_and_watch_stat(path)).await?;
            if stat.is_none() {
                self.await_change(watcher, Place::PreferredElection);
                return Ok(());
            }
            if let Some((data, _)) = zk.get(path).await? {
                match nodes::preferred_election(&data) {
                    Ok(partitions) => {
                        let token = self.token();
                        let election = ElectionType::Preferred;
                        let partitions = Some(partitions);
                        self.step(Event::ElectLeaders { token, election, partitions }).await?;
                    }
                    Err(error) => tracing::error!("{error}"),
                }
            }
            self.pen.delete_all(&[path.to_owned()]).await?;
        }
    }

    /// The old way of asking for reassignments: a node whose entries go as they are done. Only its creation counts.
    async fn reassignments(&mut self) -> Result<(), Deposed> {
        let path = nodes::REASSIGNMENTS;
        let zk = self.pen.zk.clone();
        let (stat, watcher) = retry("exists", path, || zk.client().check_and_watch_stat(path)).await?;
        self.await_change(watcher, Place::Reassignments);
        let czxid = stat.map(|stat| stat.czxid);
        if std::mem::replace(&mut self.reassignments_czxid, czxid) == czxid || czxid.is_none() {
            return Ok(());
        }
        let Some((data, _)) = zk.get(path).await? else { return Ok(()) };
        match nodes::reassignments(&data) {
            Ok(partitions) => self.step(Event::LegacyReassignment(partitions)).await,
            Err(error) => {
                tracing::warn!("Ignoring partition reassignment due to invalid json: {error}");
                Ok(())
            }
        }
    }

    // ---- requests

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn wait(&mut self, waiting: Waiting) -> Token {
        let token = self.token();
        self.waiting.insert(token, waiting);
        token
    }

    /// What it makes the controller do.
    fn work_of(&self, command: &Command) -> Option<Work> {
        match command {
            Command::AlterPartition { .. } => Some(Work::IsrChange),
            Command::ControlledShutdown { .. } => Some(Work::ControlledShutdown),
            Command::ElectLeaders { .. } => Some(Work::ManualLeaderBalance),
            Command::AlterReassignments { .. } => Some(Work::PartitionReassignment),
            Command::ListReassignments { .. } => Some(Work::ListPartitionReassignment),
            Command::TopicDefaultsChanged => Some(Work::UncleanLeaderElectionEnable),
            Command::TopicConfigChanged { topic } => {
                (self.options.unclean)(topic).then_some(Work::TopicUncleanLeaderElectionEnable)
            }
            Command::AllocateProducerIds { .. } | Command::Count { .. } => None,
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), Deposed> {
        let event = match command {
            Command::AlterPartition { version, request, reply } => {
                let token = self.wait(Waiting::Alter(reply));
                Event::AlterPartition { token, version, request }
            }
            Command::ControlledShutdown { broker, broker_epoch, reply } => {
                tracing::info!("[Controller id={}] Shutting down broker {broker}", self.options.id);
                let token = self.wait(Waiting::Shutdown(reply));
                Event::ControlledShutdown { token, broker, broker_epoch }
            }
            Command::ElectLeaders { election, partitions, reply } => {
                let token = self.wait(Waiting::Elect(reply));
                Event::ElectLeaders { token, election, partitions }
            }
            Command::AlterReassignments { partitions, reply } => {
                let token = self.wait(Waiting::Reassign(reply));
                Event::AlterReassignments { token, partitions }
            }
            Command::ListReassignments { of, reply } => {
                let _ = reply.send(Ok(self.core.reassignments(of.as_ref())));
                return Ok(());
            }
            Command::Count { reply } => {
                let _ = reply.send(self.core.counts());
                return Ok(());
            }
            Command::AllocateProducerIds { broker, broker_epoch, reply } => {
                let response = self.allocate_producer_ids(broker, broker_epoch).await?;
                let _ = reply.send(response);
                return Ok(());
            }
            Command::TopicDefaultsChanged => {
                let unclean =
                    self.core.topics().filter(|topic| (self.options.unclean)(topic)).cloned().collect();
                Event::UncleanTopics(unclean)
            }
            Command::TopicConfigChanged { topic } => {
                let enabled = (self.options.unclean)(&topic);
                Event::UncleanElection { topic, enabled }
            }
        };
        self.step(event).await
    }

    async fn allocate_producer_ids(
        &self,
        broker: i32,
        broker_epoch: i64,
    ) -> Result<AllocateProducerIdsResponse, Deposed> {
        let refused = |error_code| AllocateProducerIdsResponse { error_code, ..Default::default() };
        match self.core.brokers().get(&broker) {
            None => return Ok(refused(ErrorCode::BROKER_ID_NOT_REGISTERED)),
            Some(known) if known.epoch != broker_epoch => return Ok(refused(ErrorCode::STALE_BROKER_EPOCH)),
            Some(_) => {}
        }
        match self.pen.zk.claim_producer_ids(broker).await {
            Ok(start) => Ok(AllocateProducerIdsResponse {
                producer_id_start: start,
                producer_id_len: PRODUCER_ID_BLOCK as i32,
                ..Default::default()
            }),
            Err(error @ ZkError::ProducerIdsExhausted { .. }) => {
                tracing::error!("{error}");
                Ok(refused(ErrorCode::UNKNOWN_SERVER_ERROR))
            }
            Err(error) => Err(error.into()),
        }
    }

    // ---- the core

    async fn step(&mut self, event: Event) -> Result<(), Deposed> {
        let mut effects = Vec::new();
        self.core.step(event, &mut effects);
        self.perform(effects).await
    }

    /// Begins all reads and writes of a round, then gives their outcomes to the core, which may want another round.
    fn say_what_it_waits_for(&self, topic: &Str, obstacles: &[(Obstacle, Vec<i32>)]) {
        let id = self.options.id;
        if obstacles.is_empty() {
            tracing::info!("[Controller id={id}] Deletion of topic {topic} goes on");
        }
        for (obstacle, partitions) in obstacles {
            tracing::warn!(
                "[Controller id={id}] Deletion of topic {topic} waits at partitions {partitions:?}: {obstacle}"
            );
        }
    }

    async fn perform(&mut self, mut effects: Vec<Effect>) -> Result<(), Deposed> {
        let pen = self.pen.clone();
        let mut news: Option<Arc<News>> = None;
        while !effects.is_empty() {
            let (mut writes, mut reads) = (Vec::new(), Vec::new());
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Write { op, write } => writes.push((op, write)),
                    Effect::ReadState { op, partition } => reads.push((op, partition)),
                    Effect::Send { broker, broker_epoch, request } => {
                        let order = order(request, &mut news);
                        if let Some(channel) = self.channel(broker, broker_epoch) {
                            channel.send(order);
                        }
                    }
                    Effect::DeletionWaits { topic, obstacles } => {
                        self.say_what_it_waits_for(&topic, &obstacles)
                    }
                    reply => self.reply(reply),
                }
            }
            for (op, result) in pen.write_all(writes).await? {
                self.core.step(Event::Written { op, result }, &mut effects);
            }
            for (op, partition) in reads {
                let state = pen.read_state(&partition).await?;
                self.core.step(Event::StateRead { op, state }, &mut effects);
            }
        }
        Ok(())
    }

    fn channel(&mut self, broker: i32, broker_epoch: i64) -> Option<&Channel> {
        let registered = self.core.brokers().get(&broker).filter(|known| known.epoch == broker_epoch)?;
        let open = self.channels.get(&broker).is_some_and(|(epoch, _)| *epoch == broker_epoch);
        if !open {
            let listener = &self.options.orders_listener;
            let Some(endpoint) = registered.endpoints.iter().find(|endpoint| endpoint.listener == *listener)
            else {
                tracing::error!("Broker {broker} has no listener {listener}, so it cannot be told anything");
                return None;
            };
            let host = if endpoint.host.contains(':') {
                format!("[{}]", endpoint.host)
            } else {
                endpoint.host.to_string()
            };
            let target = Target {
                broker,
                broker_epoch,
                address: format!("{host}:{}", endpoint.port),
                timeout: self.options.socket_timeout,
                controller: self.options.id,
                protocol: self.options.protocol,
                security: client::Security::clone(&self.options.security.load()),
            };
            self.channels.insert(broker, (broker_epoch, Channel::open(target, self.observed.clone())));
        }
        self.channels.get(&broker).map(|(_, channel)| channel)
    }

    fn reply(&mut self, effect: Effect) {
        let (Effect::AlterPartitionReply { token, .. }
        | Effect::ControlledShutdownReply { token, .. }
        | Effect::ElectLeadersReply { token, .. }
        | Effect::AlterReassignmentsReply { token, .. }) = &effect
        else {
            return;
        };
        // Whoever no longer waits need not be told; elections of our own have nobody.
        match (self.waiting.remove(token), effect) {
            (Some(Waiting::Alter(reply)), Effect::AlterPartitionReply { response, .. }) => {
                let _ = reply.send(response);
            }
            (Some(Waiting::Shutdown(reply)), Effect::ControlledShutdownReply { result, .. }) => {
                let _ = reply.send(result);
            }
            (Some(Waiting::Elect(reply)), Effect::ElectLeadersReply { results, .. }) => {
                let _ = reply.send(Ok(results));
            }
            (Some(Waiting::Reassign(reply)), Effect::AlterReassignmentsReply { results, .. }) => {
                let _ = reply.send(Ok(results));
            }
            _ => {}
        }
    }
}

/// Brokers that hear the same share it; they come one after the other.
fn order(request: ToBroker, last: &mut Option<Arc<News>>) -> Order {
    match request {
        ToBroker::LeaderAndIsr(request) => Order::LeaderAndIsr(request),
        ToBroker::StopReplica(request) => Order::StopReplica(request),
        ToBroker::UpdateMetadata(request) => {
            let news = match last.take() {
                Some(news) if news.is_of(&request) => news,
                _ => News::new(request),
            };
            Order::UpdateMetadata(last.insert(news).clone())
        }
    }
}

/// Brokers wait for this node when they start. One that a controller of another protocol left is made what it is in this one.
async fn make_feature_node(zk: &Zk, protocol: MetadataVersion) -> Result<(), ZkError> {
    match zk.create(nodes::FEATURE, nodes::features(protocol).as_bytes()).await {
        Err(error) if !error.node_exists() => return Err(error),
        Ok(()) => return Ok(()),
        Err(_) => {}
    }
    let Some((data, stat)) = zk.get(nodes::FEATURE).await? else { return Ok(()) };
    match nodes::renewed_features(nodes::FEATURE, &data, protocol) {
        Ok(Some(node)) => zk.set(nodes::FEATURE, node.as_bytes(), Some(stat.version)).await.map(drop),
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::warn!("{error}");
            Ok(())
        }
    }
}
