//! A controller at work: the order of the broker crate's `controller::{load, active}`.

use super::election::{Deposed, Mandate, current};
use super::pen::{Pen, settle};
use super::*;

/// Where something changed in ZooKeeper.
#[derive(Debug, Clone)]
enum Place {
    Controller,
    Brokers,
    Broker(i32),
    Topics,
    Topic(Str),
    Deletions,
    LogDirs,
}

pub(super) struct Active {
    desk: SharedDesk,
    pen: Pen,
    core: Controller,
    watching: Vec<(Promise<Fired>, Place)>,
    waiting: BTreeMap<Token, u64>,
    next_token: u64,
}

/// Who ends tells nobody of what is still to be deleted.
impl Drop for Active {
    fn drop(&mut self) {
        self.desk.borrow_mut().kept.extend(self.core.unwanted());
    }
}

enum Heard {
    Place(Place),
    SessionOver,
    Answer(Event),
    Command(u64, Command),
    Balance,
}

impl Active {
    pub(super) async fn govern(desk: &SharedDesk, zk: Zk, mandate: Mandate) -> Deposed {
        let mut active = match Active::take_office(desk, zk, mandate).await {
            Ok(active) => active,
            Err(deposed) => return deposed,
        };
        let mut balance_at = desk.borrow().now + BALANCE_MS;
        loop {
            let heard = poll_fn(|_| active.hear(balance_at).map_or(Poll::Pending, Poll::Ready)).await;
            let done = match heard {
                Heard::SessionOver => return ZkError::Expired.into(),
                Heard::Place(place) => active.changed(place).await,
                Heard::Answer(event) => active.step(event).await,
                Heard::Command(call, command) => active.command(call, command).await,
                Heard::Balance => {
                    balance_at += BALANCE_MS;
                    active.step(Event::BalanceLeaders).await
                }
            };
            if let Err(deposed) = done {
                return deposed;
            }
        }
    }

    fn hear(&mut self, balance_at: u64) -> Option<Heard> {
        for at in 0..self.watching.len() {
            if let Some(fired) = self.watching[at].0.take() {
                let (_, place) = self.watching.remove(at);
                return Some(match fired {
                    Fired::SessionOver => Heard::SessionOver,
                    Fired::Changed => Heard::Place(place),
                });
            }
        }
        let mut desk = self.desk.borrow_mut();
        if let Some(event) = desk.answers.pop_front() {
            return Some(Heard::Answer(event));
        }
        if let Some((call, command)) = desk.commands.pop_front() {
            return Some(Heard::Command(call, command));
        }
        (desk.now >= balance_at).then_some(Heard::Balance)
    }

    async fn take_office(desk: &SharedDesk, zk: Zk, mandate: Mandate) -> Result<Active, Deposed> {
        let config = ControllerConfig {
            id: desk.borrow().id,
            listener: "PLAINTEXT".into(),
            delete_topics: true,
            // So that in the end all are led by whom they should be.
            imbalance_percent_max: 0,
            protocol: broker_core::MetadataVersion::LATEST,
        };
        let mut active = Active {
            desk: desk.clone(),
            core: Controller::new(config.clone(), mandate.epoch, Snapshot::default()),
            pen: Pen { zk, mandate },
            watching: vec![],
            waiting: BTreeMap::new(),
            next_token: 0,
        };
        active.watch_controller().await?;
        active.log_dir_events().await?;
        let brokers = active.read_brokers().await?;
        let names: Vec<Str> = active.list(nodes::TOPICS, Place::Topics).await?.into_iter().collect();
        let topics = active.read_topics(&names).await?;
        let states = active.states(&topics).await?;
        let deletions = active.list(nodes::DELETIONS, Place::Deletions).await?;
        let unclean = if desk.borrow().unclean { names.into_iter().collect() } else { BTreeSet::new() };
        let snapshot = Snapshot { brokers, topics, states, unclean };
        active.core = Controller::new(config, mandate.epoch, snapshot);
        let mut effects = Vec::new();
        active.core.start(deletions, &mut effects);
        active.perform(effects).await?;
        Ok(active)
    }

    async fn changed(&mut self, place: Place) -> Result<(), Deposed> {
        match place {
            Place::Controller => self.watch_controller().await,
            Place::Brokers => {
                let brokers = self.read_brokers().await?;
                self.desk
                    .borrow_mut()
                    .close_channels(|id, epoch| brokers.get(&id).is_some_and(|broker| broker.epoch == epoch));
                self.step(Event::Brokers(brokers)).await
            }
            Place::Broker(id) => self.broker_changed(id).await,
            Place::Topics => {
                let names = self.list(nodes::TOPICS, Place::Topics).await?;
                let new: Vec<Str> = names.iter().filter(|name| !self.core.knows(name)).cloned().collect();
                let added = self.read_topics(&new).await?;
                self.step(Event::Topics { names, added }).await
            }
            Place::Topic(name) => {
                for (name, topic) in self.read_topics(&[name]).await? {
                    self.step(Event::TopicChanged { name, topic }).await?;
                }
                Ok(())
            }
            Place::Deletions => {
                let topics = self.list(nodes::DELETIONS, Place::Deletions).await?;
                self.step(Event::DeleteTopics(topics)).await
            }
            Place::LogDirs => {
                let brokers = self.log_dir_events().await?;
                self.step(Event::LogDirsFailed(brokers)).await
            }
        }
    }

    async fn watch_controller(&mut self) -> Result<(), Deposed> {
        let (id, fired) = current(&self.pen.zk).await?;
        if id != self.desk.borrow().id {
            return Err(Deposed::Moved);
        }
        self.watching.push((fired, Place::Controller));
        Ok(())
    }

    async fn list(&mut self, path: &str, place: Place) -> Result<BTreeSet<Str>, Deposed> {
        let listed = self.pen.zk.watched(|| Op::Children { path: path.into(), watch: true }).await?;
        let (Answer::Children(names), fired) = listed else { return Ok(BTreeSet::new()) };
        self.watching.push((fired, place));
        Ok(names.into_iter().map(Str::from).collect())
    }

    /// Data, stat and a watch of those nodes that exist, by position.
    async fn watch_all(
        &mut self,
        paths: &[String],
    ) -> Result<BTreeMap<usize, (Vec<u8>, Stat, Promise<Fired>)>, Deposed> {
        let zk = self.pen.zk.clone();
        let reads: Vec<_> = paths
            .iter()
            .map(|path| zk.session.watched(Op::Get { path: path.clone(), watch: true }))
            .collect();
        let mut found = BTreeMap::new();
        for (at, (asked, fired)) in reads.into_iter().enumerate() {
            let node = match asked.await {
                Ok(Answer::Data(data, stat)) => Some((data, stat, fired)),
                Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => None,
                Err(_) => match zk.watched(|| Op::Get { path: paths[at].clone(), watch: true }).await {
                    Ok((Answer::Data(data, stat), fired)) => Some((data, stat, fired)),
                    Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => None,
                    Err(error) => return Err(error.into()),
                },
            };
            found.extend(node.map(|node| (at, node)));
        }
        Ok(found)
    }

    async fn brokers(&mut self, ids: &[i32]) -> Result<BTreeMap<i32, (Broker, Promise<Fired>)>, Deposed> {
        let paths: Vec<String> = ids.iter().map(|id| format!("{}/{id}", nodes::BROKERS)).collect();
        let mut brokers = BTreeMap::new();
        for (at, (data, stat, fired)) in self.watch_all(&paths).await? {
            let broker = nodes::broker(&data, stat.czxid);
            brokers.insert(ids[at], (broker, fired));
        }
        Ok(brokers)
    }

    async fn read_brokers(&mut self) -> Result<BTreeMap<i32, Broker>, Deposed> {
        let names = self.list(nodes::BROKERS, Place::Brokers).await?;
        let ids: Vec<i32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let mut brokers = BTreeMap::new();
        for (id, (broker, fired)) in self.brokers(&ids).await? {
            if self.core.brokers().get(&id).is_none_or(|old| old.epoch != broker.epoch) {
                self.watching.push((fired, Place::Broker(id)));
            }
            brokers.insert(id, broker);
        }
        Ok(brokers)
    }

    async fn broker_changed(&mut self, id: i32) -> Result<(), Deposed> {
        let Some((new, fired)) = self.brokers(&[id]).await?.remove(&id) else { return Ok(()) };
        let mut brokers = self.core.brokers().clone();
        if brokers.get(&id).is_none_or(|old| old.epoch != new.epoch) {
            return Ok(());
        }
        self.watching.push((fired, Place::Broker(id)));
        brokers.insert(id, new);
        self.step(Event::Brokers(brokers)).await
    }

    async fn read_topics(&mut self, names: &[Str]) -> Result<BTreeMap<Str, Topic>, Deposed> {
        let paths: Vec<String> = names.iter().map(|name| nodes::topic_path(name)).collect();
        let mut topics = BTreeMap::new();
        for (at, (data, _, fired)) in self.watch_all(&paths).await? {
            topics.insert(names[at].clone(), nodes::topic(&data));
            self.watching.push((fired, Place::Topic(names[at].clone())));
        }
        Ok(topics)
    }

    async fn states(
        &mut self,
        topics: &BTreeMap<Str, Topic>,
    ) -> Result<BTreeMap<TopicPartition, PartitionState>, Deposed> {
        let of = |(name, topic): (&Str, &Topic)| -> Vec<TopicPartition> {
            let of = |partition: &i32| TopicPartition { topic: name.clone(), partition: *partition };
            topic.partitions.keys().map(of).collect()
        };
        let partitions: Vec<TopicPartition> = topics.iter().flat_map(of).collect();
        let zk = self.pen.zk.clone();
        let reads: Vec<_> = partitions
            .iter()
            .map(|tp| zk.session.begin(Op::Get { path: nodes::state_path(tp), watch: false }))
            .collect();
        let mut states = BTreeMap::new();
        for (tp, read) in partitions.into_iter().zip(reads) {
            let path = nodes::state_path(&tp);
            let node = match read.await {
                Ok(Answer::Data(data, stat)) => Some((data, stat)),
                Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => None,
                Err(_) => zk.get(&path).await?,
            };
            if let Some((data, stat)) = node {
                states.insert(tp, nodes::partition_state(&data, stat.version));
            }
        }
        Ok(states)
    }

    async fn log_dir_events(&mut self) -> Result<Vec<i32>, Deposed> {
        let names = self.list(nodes::LOG_DIR_EVENTS, Place::LogDirs).await?;
        let mut brokers = vec![];
        for name in names {
            let path = format!("{}/{name}", nodes::LOG_DIR_EVENTS);
            let Some((data, _)) = self.pen.zk.get(&path).await? else { continue };
            brokers.push(nodes::number(&data));
            let _ = settle(self.pen.delete(path).await)?;
        }
        Ok(brokers)
    }

    async fn command(&mut self, call: u64, command: Command) -> Result<(), Deposed> {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.waiting.insert(token, call);
        self.step(match command {
            Command::Alter { version, request } => Event::AlterPartition { token, version, request },
            Command::Shutdown { broker, epoch } => {
                Event::ControlledShutdown { token, broker, broker_epoch: epoch }
            }
            Command::Elect { partitions } => {
                Event::ElectLeaders { token, election: ElectionType::Preferred, partitions }
            }
            Command::Reassign { partitions } => Event::AlterReassignments { token, partitions },
        })
        .await
    }

    async fn step(&mut self, event: Event) -> Result<(), Deposed> {
        let mut effects = Vec::new();
        self.core.step(event, &mut effects);
        self.perform(effects).await
    }

    async fn perform(&mut self, mut effects: Vec<Effect>) -> Result<(), Deposed> {
        let pen = self.pen.clone();
        while !effects.is_empty() {
            let (mut writes, mut reads) = (Vec::new(), Vec::new());
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Write { op, write } => {
                        let sent = pen.begin(&write);
                        writes.push((op, write, sent));
                    }
                    Effect::ReadState { op, partition } => reads.push((op, partition)),
                    Effect::Send { broker, broker_epoch, request } => {
                        self.send(broker, broker_epoch, request)
                    }
                    Effect::AlterPartitionReply { token, response } => {
                        self.reply(token, Reply::Altered(response));
                    }
                    Effect::ControlledShutdownReply { token, result } => {
                        self.reply(token, Reply::Remaining(result.map(|left| left.len())));
                    }
                    Effect::ElectLeadersReply { token, .. } => self.reply(token, Reply::Elected),
                    Effect::AlterReassignmentsReply { token, .. } => self.reply(token, Reply::Reassigned),
                    _ => {}
                }
            }
            for (op, write, sent) in writes {
                let result = match pen.finish(&write, sent).await {
                    Ok(result) => result,
                    Err(Deposed::Zk(error)) if error != ZkError::Expired => Err(WriteError::Failed),
                    Err(deposed) => return Err(deposed),
                };
                self.core.step(Event::Written { op, result }, &mut effects);
            }
            for (op, partition) in reads {
                let path = nodes::state_path(&partition);
                let found = pen.zk.get(&path).await?;
                let state = found.map(|(data, stat)| nodes::partition_state(&data, stat.version));
                self.core.step(Event::StateRead { op, state }, &mut effects);
            }
        }
        Ok(())
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        if let Some(call) = self.waiting.remove(&token) {
            self.desk.borrow_mut().replies.push((call, reply));
        }
    }

    fn send(&mut self, broker: i32, epoch: i64, request: ToBroker) {
        if self.core.brokers().get(&broker).is_none_or(|known| known.epoch != epoch) {
            return;
        }
        let mut desk = self.desk.borrow_mut();
        if desk.channels.get(&broker).is_none_or(|channel| channel.epoch != epoch) {
            let channel = Channel { epoch, queue: VecDeque::new(), call: None, retry_at: 0 };
            desk.channels.insert(broker, channel);
        }
        if let Some(channel) = desk.channels.get_mut(&broker) {
            channel.queue.push_back(request);
        }
    }
}
