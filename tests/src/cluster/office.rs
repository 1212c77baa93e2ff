//! A broker's dealings with ZooKeeper, and the controller at work: the order of reads, writes and watches of the
//! broker crate's `zk` and `controller::{claim, load, writes, active}`, over simulated sessions. What is decided in
//! between is broker-core's.
//!
//! It is written as tasks that wait, as there; a task is polled when something has happened to its broker.

use super::nodes;
use super::session::{Answer, EPHEMERAL, Fired, Op, Outcome, PERSISTENT, Promise, Session, ZkError};
use broker_core::ErrorCode;
use broker_core::controller::{
    Broker, Controller, ControllerConfig, Effect, ElectionType, Event, LEADER_DURING_DELETE, PartitionState,
    Snapshot, ToBroker, Token, Topic, TopicPartition, Write, WriteError,
};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use wire::Str;
use wire::kafka::update_metadata::UpdateMetadataTopicState;
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse, Uuid};
use wire::zk::{Stat, err};

const RETRY_PAUSE_MS: u64 = 20;
const SETBACK_MS: u64 = 100;
const BALANCE_MS: u64 = 700;
/// A broker whose machine was lost waits no longer than this to be missed.
const MISSED_MS: u64 = 5_000;

/// What the controller is asked; the number is the call that waits for the answer.
#[derive(Debug)]
pub enum Command {
    Alter { version: i16, request: AlterPartitionRequest },
    Shutdown { broker: i32, epoch: i64 },
    Elect { partitions: Option<Vec<TopicPartition>> },
}

#[derive(Debug, Clone)]
pub enum Reply {
    NotController,
    Altered(AlterPartitionResponse),
    Remaining(Result<usize, ErrorCode>),
    Elected,
}

/// Requests for one registration of one broker, one at a time.
#[derive(Debug)]
pub struct Channel {
    pub epoch: i64,
    pub queue: VecDeque<ToBroker>,
    /// The call that is under way, and when it is given up.
    pub call: Option<(u64, u64)>,
    pub retry_at: u64,
}

impl Channel {
    fn deletions(&self) -> impl Iterator<Item = Str> {
        let update = |request: &ToBroker| match request {
            ToBroker::UpdateMetadata(update) => Some(update.clone()),
            _ => None,
        };
        self.queue.iter().filter_map(update).flat_map(|update| {
            let goes = |topic: &&UpdateMetadataTopicState| {
                topic.partition_states.iter().any(|state| state.leader == LEADER_DURING_DELETE)
            };
            update.topic_states.iter().filter(goes).map(|topic| topic.topic_name.clone()).collect::<Vec<_>>()
        })
    }
}

/// What a broker's tasks and the world have in common.
#[derive(Debug)]
pub struct Desk {
    pub id: i32,
    pub now: u64,
    /// -1 before the first registration.
    pub broker_epoch: i64,
    pub registrations: u32,
    /// The controller, as far as ZooKeeper has told this broker.
    pub current: i32,
    /// The controller epoch of who governs here.
    pub governs: Option<i32>,
    /// Sessions that were opened and are to be given to the ensemble.
    pub opened: Vec<Session>,
    pub session: Option<Session>,
    /// The session of a former life, as its note on disk says.
    pub former: Option<(i64, Bytes)>,
    /// The machine was lost since the last registration, and what was not flushed may be gone.
    pub lost: bool,
    pub commands: VecDeque<(u64, Command)>,
    pub answers: VecDeque<Event>,
    pub replies: Vec<(u64, Reply)>,
    pub channels: BTreeMap<i32, Channel>,
    /// Topics that went, with brokers that a controller ended before it could tell of it, as Kafka's own would.
    pub untold: Vec<(i32, Str)>,
    /// The broker closes its session: it opens no other.
    pub leaving: bool,
    pub elections: u64,
    pub log: Vec<String>,
}

pub type SharedDesk = Rc<RefCell<Desk>>;

impl Desk {
    pub fn new(id: i32, former: Option<(i64, Bytes)>, lost: bool) -> SharedDesk {
        Rc::new(RefCell::new(Desk {
            id,
            now: 0,
            broker_epoch: -1,
            registrations: 0,
            current: -1,
            governs: None,
            opened: vec![],
            session: None,
            former,
            lost,
            commands: VecDeque::new(),
            answers: VecDeque::new(),
            replies: vec![],
            channels: BTreeMap::new(),
            untold: vec![],
            leaving: false,
            elections: 0,
            log: vec![],
        }))
    }

    /// Channels of brokers that are not to be kept end, and what stands in them.
    pub fn close_channels(&mut self, keep: impl Fn(i32, i64) -> bool) {
        let Desk { channels, untold, .. } = self;
        channels.retain(|&id, channel| {
            let kept = keep(id, channel.epoch);
            if !kept {
                untold.extend(channel.deletions().map(|topic| (id, topic)));
            }
            kept
        });
    }

    fn refuse_commands(&mut self) {
        let refused = self.commands.drain(..).map(|(call, _)| (call, Reply::NotController));
        self.replies.extend(refused);
    }
}

async fn sleep(desk: &SharedDesk, ms: u64) {
    let until = desk.borrow().now + ms;
    poll_fn(|_| if desk.borrow().now >= until { Poll::Ready(()) } else { Poll::Pending }).await
}

/// A session with the repetitions that the broker's own has.
#[derive(Clone)]
pub struct Zk {
    pub session: Session,
    desk: SharedDesk,
}

impl Zk {
    pub fn open(desk: &SharedDesk, former: Option<(i64, Bytes)>) -> Zk {
        let session = Session::new(former);
        desk.borrow_mut().opened.push(session.clone());
        Zk { session, desk: desk.clone() }
    }

    async fn retry(&self, op: impl Fn() -> Op) -> Outcome {
        loop {
            match self.session.begin(op()).await {
                Err(ZkError::Loss) => sleep(&self.desk, RETRY_PAUSE_MS).await,
                done => return done,
            }
        }
    }

    async fn watched(&self, op: impl Fn() -> Op) -> Result<(Answer, Promise<Fired>), ZkError> {
        loop {
            let (asked, fired) = self.session.watched(op());
            match asked.await {
                Err(ZkError::Loss) => sleep(&self.desk, RETRY_PAUSE_MS).await,
                done => return done.map(|answer| (answer, fired)),
            }
        }
    }

    pub async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, ZkError> {
        match self.retry(|| Op::Get { path: path.into(), watch: false }).await {
            Ok(Answer::Data(data, stat)) => Ok(Some((data, stat))),
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        match self.retry(|| Op::Exists { path: path.into(), watch: false }).await? {
            Answer::Stat(stat) => Ok(stat),
            _ => Ok(None),
        }
    }

    /// False: it was there.
    pub async fn create(&self, path: &str, data: &[u8], flags: i32) -> Result<bool, ZkError> {
        match self.retry(|| Op::Create { path: path.into(), data: data.to_vec(), flags }).await {
            Ok(_) => Ok(true),
            Err(ZkError::Refused(err::NODE_EXISTS)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub async fn set(&self, path: &str, data: &[u8], version: i32) -> Outcome {
        self.retry(|| Op::Set { path: path.into(), data: data.to_vec(), version }).await
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ZkError> {
        match self.retry(|| Op::Children { path: path.into(), watch: false }).await {
            Ok(Answer::Children(names)) => Ok(names),
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }

    async fn make_path(&self, path: &str) -> Result<(), ZkError> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            self.create(&path[..end], b"", PERSISTENT).await?;
        }
        Ok(())
    }
}

const BASE: [&str; 5] = [
    "/brokers/ids",
    "/brokers/topics",
    "/admin/delete_topics",
    "/log_dir_event_notification",
    "/config/topics",
];

/// A broker's life with ZooKeeper: registered, a candidate, and again in a new session when one is over.
pub async fn live(desk: SharedDesk) {
    loop {
        let zk = Zk::open(&desk, None);
        desk.borrow_mut().session = Some(zk.session.clone());
        let over = match enter(&desk, &zk).await {
            Ok(()) => candidate(&desk, &zk).await,
            Err(error) => error,
        };
        desk.borrow_mut().current = -1;
        desk.borrow_mut().refuse_commands();
        let line = format!("the session of broker {} is over: {over:?}", desk.borrow().id);
        desk.borrow_mut().log.push(line);
        if desk.borrow().leaving {
            return;
        }
        if over != ZkError::Expired {
            sleep(&desk, SETBACK_MS).await;
        }
    }
}

async fn enter(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    for path in BASE {
        zk.make_path(path).await?;
    }
    let id = desk.borrow().id;
    let path = format!("{}/{id}", nodes::BROKERS);
    let former = desk.borrow_mut().former.take();
    if let Some(former) = former
        && zk.stat(&path).await?.is_some_and(|stat| stat.ephemeral_owner == former.0)
    {
        let before = Zk::open(desk, Some(former));
        let _ = before.retry(|| Op::Close).await;
    }
    if desk.borrow().lost {
        be_missed(desk, zk, id).await?;
    }
    let data = id.to_string().into_bytes();
    loop {
        let create = Op::Create { path: path.clone(), data: vec![], flags: EPHEMERAL };
        let set = Op::Set { path: path.clone(), data: data.clone(), version: 0 };
        match zk.session.begin(Op::Multi(vec![create, set])).await {
            Ok(_) | Err(ZkError::Part(_, err::NODE_EXISTS)) => {}
            Err(ZkError::Loss) => {
                sleep(desk, RETRY_PAUSE_MS).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(stat) = zk.stat(&path).await? else { continue };
        if stat.ephemeral_owner == zk.session.id() {
            desk.borrow_mut().broker_epoch = stat.czxid;
            desk.borrow_mut().registrations += 1;
            desk.borrow_mut().lost = false;
            desk.borrow_mut().former = zk.session.credentials();
            let line = format!("broker {id} is registered with epoch 0x{:x}", stat.czxid);
            desk.borrow_mut().log.push(line);
            return Ok(());
        }
        sleep(desk, RETRY_PAUSE_MS).await;
    }
}

/// Until no partition counts this broker as in sync any more with anyone else: a controller that came while the broker
/// was away and reads the cluster when it is back would not see that it was away.
async fn be_missed(desk: &SharedDesk, zk: &Zk, id: i32) -> Result<(), ZkError> {
    let until = desk.borrow().now + MISSED_MS;
    let own = format!("{}/{id}", nodes::BROKERS);
    while desk.borrow().now < until {
        let there = zk.children(nodes::BROKERS).await?;
        if there.is_empty() {
            break;
        }
        if zk.stat(&own).await?.is_none() && !is_counted(zk, id).await? {
            break;
        }
        sleep(desk, RETRY_PAUSE_MS).await;
    }
    Ok(())
}

async fn is_counted(zk: &Zk, id: i32) -> Result<bool, ZkError> {
    let deletions = zk.children(nodes::DELETIONS).await?;
    for name in zk.children(nodes::TOPICS).await?.iter().filter(|name| !deletions.contains(name)) {
        let Some((data, _)) = zk.get(&nodes::topic_path(name)).await? else { continue };
        for (partition, assignment) in nodes::topic(&data).partitions {
            let tp = TopicPartition { topic: Str::from(name.as_str()), partition };
            if !assignment.replicas.contains(&id) {
                continue;
            }
            let Some((data, stat)) = zk.get(&nodes::state_path(&tp)).await? else { continue };
            if nodes::partition_state(&data, stat.version).counts_on(id) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[derive(Debug, Clone, Copy)]
struct Mandate {
    epoch: i32,
    version: i32,
}

/// Why a controller is one no longer.
#[derive(Debug)]
enum Deposed {
    Moved,
    Zk(ZkError),
}

impl From<ZkError> for Deposed {
    fn from(error: ZkError) -> Deposed {
        Deposed::Zk(error)
    }
}

/// Stands for election again and again, until the session ends.
async fn candidate(desk: &SharedDesk, zk: &Zk) -> ZkError {
    loop {
        match stand(desk, zk).await {
            Err(ZkError::Expired) => return ZkError::Expired,
            Ok(()) => {}
            Err(error) => {
                let line = format!("broker {}: {error:?}", desk.borrow().id);
                desk.borrow_mut().log.push(line);
                desk.borrow_mut().current = -1;
                sleep(desk, SETBACK_MS).await;
            }
        }
    }
}

async fn stand(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    let (id, fired) = current(zk).await?;
    desk.borrow_mut().current = id;
    let own = desk.borrow().id;
    if id == own && give_back(zk).await? {
        return Ok(());
    }
    if id == -1 {
        return try_to_govern(desk, zk).await;
    }
    let event = poll_fn(|_| {
        desk.borrow_mut().refuse_commands();
        fired.take().map_or(Poll::Pending, Poll::Ready)
    });
    match event.await {
        Fired::SessionOver => Err(ZkError::Expired),
        Fired::Changed => Ok(()),
    }
}

async fn try_to_govern(desk: &SharedDesk, zk: &Zk) -> Result<(), ZkError> {
    let id = desk.borrow().id;
    let Some(mandate) = claim(desk, zk, id).await? else { return Ok(()) };
    {
        let mut desk = desk.borrow_mut();
        desk.current = id;
        desk.governs = Some(mandate.epoch);
        desk.elections += 1;
        desk.log.push(format!("broker {id} is the controller of epoch {}", mandate.epoch));
    }
    let deposed = Active::govern(desk, zk.clone(), mandate).await;
    {
        let mut desk = desk.borrow_mut();
        desk.current = -1;
        desk.governs = None;
        desk.close_channels(|_, _| false);
        desk.answers.clear();
        desk.refuse_commands();
        desk.log
            .push(format!("broker {id} is no longer the controller of epoch {}: {deposed:?}", mandate.epoch));
    }
    match deposed {
        Deposed::Moved => Ok(()),
        Deposed::Zk(ZkError::Expired) => Err(ZkError::Expired),
        Deposed::Zk(error) => {
            resign(zk, mandate).await?;
            Err(error)
        }
    }
}

async fn current(zk: &Zk) -> Result<(i32, Promise<Fired>), ZkError> {
    let path = || nodes::CONTROLLER.to_owned();
    loop {
        match zk.watched(|| Op::Get { path: path(), watch: true }).await {
            Ok((Answer::Data(data, _), fired)) => {
                return Ok((nodes::number(&data), fired));
            }
            Ok(_) | Err(ZkError::Refused(err::NO_NODE)) => {}
            Err(error) => return Err(error),
        }
        if let (Answer::Stat(None), fired) = zk.watched(|| Op::Exists { path: path(), watch: true }).await? {
            return Ok((-1, fired));
        }
    }
}

async fn claim(desk: &SharedDesk, zk: &Zk, id: i32) -> Result<Option<Mandate>, ZkError> {
    let Mandate { epoch, version } = read_epoch(zk).await?;
    let next = epoch + 1;
    loop {
        let create =
            Op::Create { path: nodes::CONTROLLER.into(), data: id.to_string().into(), flags: EPHEMERAL };
        let set = Op::Set { path: nodes::CONTROLLER_EPOCH.into(), data: next.to_string().into(), version };
        match zk.session.begin(Op::Multi(vec![create, set])).await {
            Ok(_) => return Ok(Some(Mandate { epoch: next, version: version + 1 })),
            Err(ZkError::Loss) => sleep(desk, RETRY_PAUSE_MS).await,
            Err(ZkError::Part(_, err::NODE_EXISTS | err::BAD_VERSION)) => return confirm(zk, id, next).await,
            Err(error) => return Err(error),
        }
    }
}

/// A lost answer may have been a good one: the node is ours and the epoch as we wanted it.
async fn confirm(zk: &Zk, id: i32, epoch: i32) -> Result<Option<Mandate>, ZkError> {
    let Some((data, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(None) };
    let ours = nodes::number(&data) == id && stat.ephemeral_owner == zk.session.id();
    let found = read_epoch(zk).await?;
    Ok((ours && found.epoch == epoch).then_some(found))
}

async fn read_epoch(zk: &Zk) -> Result<Mandate, ZkError> {
    loop {
        if let Some((data, stat)) = zk.get(nodes::CONTROLLER_EPOCH).await? {
            let epoch = nodes::number(&data);
            return Ok(Mandate { epoch, version: stat.version });
        }
        zk.create(nodes::CONTROLLER_EPOCH, b"0", PERSISTENT).await?;
    }
}

async fn resign(zk: &Zk, mandate: Mandate) -> Result<(), ZkError> {
    let check = Op::Check { path: nodes::CONTROLLER_EPOCH.into(), version: mandate.version };
    let delete = Op::Delete { path: nodes::CONTROLLER.into(), version: -1 };
    match zk.session.begin(Op::Multi(vec![check, delete])).await {
        Ok(_) | Err(ZkError::Part(1, err::NO_NODE)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn give_back(zk: &Zk) -> Result<bool, ZkError> {
    let Some((_, stat)) = zk.get(nodes::CONTROLLER).await? else { return Ok(true) };
    if stat.ephemeral_owner != zk.session.id() {
        return Ok(false);
    }
    let mandate = read_epoch(zk).await?;
    resign(zk, mandate).await?;
    Ok(true)
}

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

/// The controller's pen: each node in one transaction with a check of `/controller_epoch`.
#[derive(Clone)]
struct Pen {
    zk: Zk,
    mandate: Mandate,
}

impl Pen {
    fn send(&self, change: Op) -> Promise<Outcome> {
        let check = Op::Check { path: nodes::CONTROLLER_EPOCH.into(), version: self.mandate.version };
        self.zk.session.begin(Op::Multi(vec![check, change]))
    }

    fn create(&self, path: String, data: Vec<u8>) -> Promise<Outcome> {
        self.send(Op::Create { path, data, flags: PERSISTENT })
    }

    fn delete(&self, path: String) -> Promise<Outcome> {
        self.send(Op::Delete { path, version: -1 })
    }

    fn begin(&self, write: &Write) -> Vec<Promise<Outcome>> {
        match write {
            Write::CreateState { partition, state } => vec![
                self.create(nodes::partitions_path(&partition.topic), vec![]),
                self.create(nodes::partition_path(partition), vec![]),
                self.create(nodes::state_path(partition), nodes::encode_state(state)),
            ],
            Write::SetState { partition, state } => {
                let (path, data) = (nodes::state_path(partition), nodes::encode_state(state));
                vec![self.send(Op::Set { path, data, version: state.version })]
            }
            // The rest begins with reads, or is not asked for: nobody reassigns here.
            _ => vec![],
        }
    }

    async fn finish(
        &self,
        write: &Write,
        mut sent: Vec<Promise<Outcome>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        loop {
            match self.outcome(write, sent).await {
                Err(Deposed::Zk(ZkError::Loss)) => {
                    sleep(&self.zk.desk, RETRY_PAUSE_MS).await;
                    sent = self.begin(write);
                }
                done => return done,
            }
        }
    }

    async fn outcome(
        &self,
        write: &Write,
        sent: Vec<Promise<Outcome>>,
    ) -> Result<Result<i32, WriteError>, Deposed> {
        match write {
            Write::CreateState { .. } | Write::SetState { .. } => {
                let mut last = Err(WriteError::Failed);
                for one in sent {
                    last = match settle(one.await)? {
                        Ok(Answer::Version(version)) => Ok(version),
                        Ok(_) => Ok(0),
                        Err(err::NODE_EXISTS | err::BAD_VERSION) => Err(WriteError::Conflict),
                        Err(_) => Err(WriteError::Failed),
                    };
                }
                Ok(last)
            }
            Write::DeleteTopic { topic } => self.delete_topic(topic).await.map(|()| Ok(0)),
            Write::DropDeletion { topic } => {
                settle(self.delete(format!("{}/{topic}", nodes::DELETIONS)).await).map(|_| Ok(0))
            }
            _ => Ok(Err(WriteError::Failed)),
        }
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), Deposed> {
        let partitions = nodes::partitions_path(topic);
        let ids = self.zk.children(&partitions).await?;
        let states = ids.iter().map(|id| format!("{partitions}/{id}/state"));
        let parents = ids.iter().map(|id| format!("{partitions}/{id}"));
        let rest = [
            partitions.clone(),
            nodes::topic_path(topic),
            format!("/config/topics/{topic}"),
            format!("{}/{topic}", nodes::DELETIONS),
        ];
        let sent: Vec<_> = states.chain(parents).chain(rest).map(|path| self.delete(path)).collect();
        for one in sent {
            match settle(one.await)? {
                Ok(_) | Err(err::NO_NODE) => {}
                Err(code) => return Err(ZkError::Refused(code).into()),
            }
        }
        Ok(())
    }
}

/// The change's own outcome; a failed check and a lost session end the controller.
fn settle(outcome: Outcome) -> Result<Result<Answer, i32>, Deposed> {
    match outcome {
        Ok(Answer::Parts(mut parts)) => Ok(Ok(parts.pop().unwrap_or(Answer::Done))),
        Ok(answer) => Ok(Ok(answer)),
        Err(ZkError::Part(0, err::BAD_VERSION | err::NO_NODE)) => Err(Deposed::Moved),
        Err(ZkError::Part(1, code)) => Ok(Err(code)),
        Err(error) => Err(Deposed::Zk(error)),
    }
}

struct Active {
    desk: SharedDesk,
    pen: Pen,
    core: Controller,
    watching: Vec<(Promise<Fired>, Place)>,
    waiting: BTreeMap<Token, u64>,
    next_token: u64,
}

enum Heard {
    Place(Place),
    SessionOver,
    Answer(Event),
    Command(u64, Command),
    Balance,
}

impl Active {
    async fn govern(desk: &SharedDesk, zk: Zk, mandate: Mandate) -> Deposed {
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
        let snapshot = Snapshot { brokers, topics, states, unclean: BTreeSet::new() };
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

/// An administrator's doing: what it takes to change the topics in ZooKeeper.
#[derive(Debug, Clone)]
pub enum Errand {
    Create { topic: String, id: Uuid, partitions: BTreeMap<i32, Vec<i32>> },
    Delete { topic: String },
    Grow { topic: String, replicas: Vec<i32> },
}

/// Runs errands, one after the other, as long as there is a world.
pub async fn administer(desk: SharedDesk, errands: Rc<RefCell<VecDeque<Errand>>>) {
    loop {
        let zk = Zk::open(&desk, None);
        loop {
            let next = poll_fn(|_| {
                if zk.session.is_over() {
                    return Poll::Ready(None);
                }
                errands.borrow().front().cloned().map_or(Poll::Pending, |errand| Poll::Ready(Some(errand)))
            });
            let Some(errand) = next.await else { break };
            // One whose session ended on the way is run again: nobody knows how far it came.
            if run(&zk, &errand).await == Err(ZkError::Expired) {
                break;
            }
            errands.borrow_mut().pop_front();
        }
    }
}

async fn run(zk: &Zk, errand: &Errand) -> Result<(), ZkError> {
    match errand {
        Errand::Create { topic, id, partitions } => {
            zk.make_path("/brokers/topics").await?;
            if zk.stat(&format!("{}/{topic}", nodes::DELETIONS)).await?.is_some() {
                return Ok(());
            }
            let data = nodes::encode_topic(id, partitions);
            zk.create(&nodes::topic_path(topic), &data, PERSISTENT).await.map(drop)
        }
        Errand::Delete { topic } => {
            if zk.stat(&nodes::topic_path(topic)).await?.is_some() {
                zk.create(&format!("{}/{topic}", nodes::DELETIONS), b"", PERSISTENT).await?;
            }
            Ok(())
        }
        Errand::Grow { topic, replicas } => {
            let path = nodes::topic_path(topic);
            let Some((data, _)) = zk.get(&path).await? else { return Ok(()) };
            let found = nodes::topic(&data);
            let known = found.partitions.into_iter().map(|(id, assignment)| (id, assignment.replicas));
            let mut partitions: BTreeMap<i32, Vec<i32>> = known.collect();
            partitions.insert(partitions.len() as i32, replicas.clone());
            zk.set(&path, &nodes::encode_topic(&found.id, &partitions), -1).await.map(drop)
        }
    }
}

/// A task of one broker.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()>>>;
