//! One broker's process round the cores, as the broker crate's shard, alter, fetcher and controller channels are.

mod effects;
pub mod groups;
mod orders;
mod transactions;

use super::GROUP_TOPIC;
use super::checks::Checks;
use super::disk::{Aborted, DIRS, Disk, LogFile, Stored};
use super::metadata::Metadata;
use super::net::{Body, Happening, Message, Net, Party};
use super::nodes;
use super::office::{Channel, Command, Desk, Reply, SharedDesk, Task, live};
use super::session::{Op, PERSISTENT, SEQUENTIAL, Session};
use broker_core::ErrorCode;
use broker_core::alter::{self, Ask, Asks};
use broker_core::controller::{Event, ToBroker, TopicPartition};
use broker_core::group;
use broker_core::partition::*;
use broker_core::transaction;
use effects::perform;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};
use wire::kafka::{
    AlterPartitionRequest, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest,
    StopReplicaResponse, UpdateMetadataRequest, UpdateMetadataResponse, Uuid,
};

/// For the answer to a call.
const PATIENCE_MS: u64 = 250;
const RETRY_PAUSE_MS: u64 = 20;
pub const LAG_MS: i64 = 400;
/// Batches that one fetch brings for a partition.
const FETCH_MAX: usize = 4;
/// The version of AlterPartition that has topic ids, which brokers of 3.5 speak.
const ALTER_VERSION: i16 = 3;
pub const TURN_MS: u64 = 8;

/// What a leader has for one partition.
pub type Answer = Result<(Fetched, Vec<Stored>), ErrorCode>;

/// What a follower wants of one partition.
#[derive(Debug, Clone)]
pub struct Part {
    pub tp: TopicPartition,
    pub id: Uuid,
    pub next: NextFetch,
}

#[derive(Debug)]
pub enum Request {
    Control(ToBroker),
    Alter(AlterPartitionRequest),
    Shutdown {
        broker: i32,
        epoch: i64,
    },
    Elect(Option<Vec<TopicPartition>>),
    /// Other replicas, or `None`: what is under way is taken back.
    Reassign(TopicPartition, Option<Vec<i32>>),
    Fetch(Vec<Part>),
    /// The bounds of a leader's log.
    Bounds(Box<Part>),
    Produce {
        tp: TopicPartition,
        acks: i16,
        batch: Stored,
    },
    Consume {
        tp: TopicPartition,
        id: Uuid,
        leader_epoch: i32,
        offset: i64,
        isolation: Isolation,
    },
    /// For a transaction coordinator.
    Transaction(transaction::Request),
    /// For a group coordinator.
    Group(Box<group::Request>),
    /// The end of a transaction, for the log of a partition.
    Mark {
        tp: TopicPartition,
        batch: Stored,
    },
}

#[derive(Debug)]
pub struct Produced {
    pub result: ProduceResult,
    /// Of the log that has it.
    pub id: Uuid,
}

#[derive(Debug)]
pub struct Consumed {
    /// What ListOffsets says of the end.
    pub bounds: Result<OffsetBounds, ErrorCode>,
    pub fetched: Answer,
    /// Of those read, for who reads what is committed only.
    pub aborted: Vec<Aborted>,
}

#[derive(Debug)]
pub enum Response {
    LeaderAndIsr(LeaderAndIsrResponse),
    UpdateMetadata(UpdateMetadataResponse),
    StopReplica(StopReplicaResponse),
    Controller(Reply),
    Fetch(Vec<(Part, Answer)>),
    Bounds(Box<Part>, Result<OffsetBounds, ErrorCode>),
    Produce(Produced),
    Consume(Box<Consumed>),
    Transaction(transaction::Response),
    Group(group::Response),
}

/// Who hears of an append.
#[derive(Debug, Clone, Copy)]
enum Waiter {
    Caller(Party, u64),
    /// The transaction coordinator here.
    Append(transaction::AppendId),
    /// The group coordinator here.
    Group(group::AppendId),
    /// Both the transaction coordinator that sent it, and the group coordinator here.
    Ending(groups::Ending),
    Nobody,
}

pub struct Replica {
    pub id: Uuid,
    pub core: Partition,
}

#[derive(Debug, Default)]
struct Follower {
    call: Option<(u64, u64)>,
    at: u64,
}

#[derive(Debug)]
struct Altering {
    call: u64,
    until: u64,
    asks: Asks,
}

#[derive(Debug)]
enum Leaving {
    /// Controlled shutdown, for the given number of times.
    Asking { call: Option<(u64, u64)>, left: u32 },
    /// The session is being closed.
    Closing { until: u64 },
}

/// A process.
pub struct Life {
    pub replicas: BTreeMap<TopicPartition, Replica>,
    /// The newest controller epoch that was obeyed.
    pub seen: i32,
    pub metadata: Metadata,
    alive: BTreeSet<i32>,
    followers: BTreeMap<i32, Follower>,
    wishes: Asks,
    altering: Option<Altering>,
    alter_at: u64,
    produces: BTreeMap<Token, Waiter>,
    transactions: transactions::Transactions,
    groups: groups::Groups,
    /// Who waits for the controller here.
    callers: BTreeMap<u64, Party>,
    pub desk: SharedDesk,
    tasks: Vec<Task>,
    /// By guest.
    pub sessions: BTreeMap<usize, Session>,
    leaving: Option<Leaving>,
    pub failed_dirs: BTreeSet<usize>,
    /// The next write to this directory fails.
    pub doomed_dir: Option<usize>,
    tokens: u64,
}

pub struct Broker {
    pub id: i32,
    pub disk: Disk,
    pub up: Option<Life>,
    pub lives: u32,
    pub stalled_until: u64,
    /// The turn that is scheduled first; others are forgotten.
    turn_at: Option<u64>,
    mailbox: VecDeque<Message>,
    /// When its monotonic clock began, and how many of its ms pass in 1000 of the world's.
    clock: (i64, i64),
    config: PartitionConfig,
}

/// What the effects of a step ask for besides the log.
#[derive(Default)]
struct Outs {
    replies: Vec<(Token, ProduceResult)>,
    alters: Vec<(TopicPartition, Uuid, AlterPartition)>,
    failed_dir: Option<usize>,
}

impl Life {
    /// Tells who waits what became of an append.
    fn produced(&mut self, net: &mut Net, own: Party, token: Token, produced: Produced) {
        match self.produces.remove(&token) {
            Some(Waiter::Caller(caller, call)) => net.answer(own, caller, call, Response::Produce(produced)),
            Some(Waiter::Append(append)) => self.transactions.appended(append, produced.result.error),
            Some(Waiter::Group(append)) => self.groups.appended(append, produced.result),
            Some(Waiter::Ending(ending)) => {
                self.groups.ended(ending, produced.result.error);
                let (caller, call) = ending.caller;
                net.answer(own, caller, call, Response::Produce(produced));
            }
            Some(Waiter::Nobody) | None => {}
        }
    }

    /// Nothing about an ISR is asked for or waited for, and nobody is leaving it.
    pub fn asks_nothing(&self) -> bool {
        self.wishes.is_empty() && self.altering.is_none() && self.leaving.is_none()
    }
}

impl Broker {
    pub fn new(id: i32, clock: (i64, i64), config: PartitionConfig) -> Broker {
        Broker {
            id,
            disk: Disk::default(),
            up: None,
            lives: 0,
            stalled_until: 0,
            turn_at: None,
            mailbox: VecDeque::new(),
            clock,
            config,
        }
    }

    pub fn party(&self) -> Party {
        Party::Broker(self.id)
    }

    fn mono(&self, now: u64) -> i64 {
        self.clock.0 + now as i64 * self.clock.1 / 1000
    }

    pub fn boot(&mut self, net: &mut Net) {
        if self.up.is_some() {
            return;
        }
        self.lives += 1;
        net.lives.insert(self.id, self.lives);
        self.stalled_until = 0;
        let desk = Desk::new(self.id, self.disk.session.clone(), self.disk.lost);
        desk.borrow_mut().unclean = net.unclean;
        let mut replicas = BTreeMap::new();
        for (tp, log) in &mut self.disk.logs {
            let snapshot_at = net.rng.random_range(0..=log.batches.len());
            let core = log.open(self.id, self.config.clone(), snapshot_at);
            // Recovery has read the tail and synced it.
            log.flushed = log.batches.len();
            replicas.insert(tp.clone(), Replica { id: log.id, core });
        }
        self.up = Some(Life {
            replicas,
            seen: 0,
            metadata: Metadata::default(),
            alive: BTreeSet::new(),
            followers: BTreeMap::new(),
            wishes: Asks::new(),
            altering: None,
            alter_at: 0,
            produces: BTreeMap::new(),
            transactions: transactions::Transactions::new(net),
            groups: groups::Groups::new(net),
            callers: BTreeMap::new(),
            tasks: vec![Box::pin(live(desk.clone()))],
            desk,
            sessions: BTreeMap::new(),
            leaving: None,
            failed_dirs: BTreeSet::new(),
            doomed_dir: None,
            tokens: 0,
        });
        let id = self.id;
        net.note(|| format!("broker {id} starts"));
        self.turn_at = None;
        self.wake(net, 0);
    }

    /// The process is gone; the connections of its sessions come back, to be closed.
    pub fn kill(&mut self, net: &mut Net, checks: &mut Checks) -> Vec<usize> {
        let Some(life) = self.up.take() else { return vec![] };
        net.lives.remove(&self.id);
        drop(life.tasks);
        let mut desk = life.desk.borrow_mut();
        desk.close_channels(|_, _| false);
        desk.tell(checks);
        (self.disk.session, self.disk.lost) = (desk.former.clone(), desk.lost);
        drop(desk);
        self.mailbox.clear();
        life.sessions.into_values().filter_map(|session| session.conn()).collect()
    }

    /// Leaves in good order.
    pub fn leave(&mut self) {
        let Some(life) = &mut self.up else { return };
        if life.leaving.is_none() {
            life.leaving = Some(Leaving::Asking { call: None, left: 3 });
            life.replicas.values_mut().for_each(|replica| replica.core.retire());
        }
    }

    pub fn arrives(&mut self, net: &mut Net, message: Message) {
        if self.up.is_none() || message.life != self.lives {
            return;
        }
        // Whoever connects is refused until it is registered.
        if matches!(message.body, Body::Request(_)) && !self.is_registered() {
            return;
        }
        self.mailbox.push_back(message);
        self.wake(net, 0);
    }

    fn is_registered(&self) -> bool {
        self.up.as_ref().is_some_and(|life| life.desk.borrow().broker_epoch >= 0)
    }

    /// What has come, and what time brings. True: the process has left.
    pub fn turn(&mut self, net: &mut Net, checks: &mut Checks) -> bool {
        if self.up.is_none() || self.stalled_until > net.now {
            return false;
        }
        while let Some(message) = self.mailbox.pop_front() {
            self.take(net, checks, message);
            self.coordinate(net, checks);
        }
        self.tick(net, checks);
        self.coordinate(net, checks);
        self.poll(net, checks);
        self.fetch(net);
        self.alter(net, checks);
        self.channels(net);
        self.go_on_leaving(net)
    }

    /// A turn comes after `after` ms at the latest.
    pub fn wake(&mut self, net: &mut Net, after: u64) {
        let at = (net.now + after).max(self.stalled_until);
        if self.up.is_some() && self.turn_at.is_none_or(|turn_at| at < turn_at) {
            self.turn_at = Some(at);
            net.schedule(at - net.now, Happening::Turn { broker: self.id });
        }
    }

    /// Whether this is the turn that counts; then the next one is not scheduled yet.
    pub fn begin_turn(&mut self, now: u64) -> bool {
        let counts = self.up.is_some() && self.turn_at == Some(now);
        if counts {
            self.turn_at = None;
        }
        counts
    }

    /// Lets the tasks go on, and takes what they leave on the desk.
    pub fn poll(&mut self, net: &mut Net, checks: &mut Checks) {
        let party = self.party();
        let Some(life) = &mut self.up else { return };
        life.desk.borrow_mut().now = net.now;
        let mut context = Context::from_waker(Waker::noop());
        life.tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        let mut desk = life.desk.borrow_mut();
        for line in desk.log.drain(..) {
            net.note(|| line);
        }
        desk.tell(checks);
        if let Some(epoch) = desk.governs {
            checks.governs(self.id, epoch);
        }
        for (call, reply) in desk.replies.drain(..) {
            if let Some(caller) = life.callers.remove(&call) {
                net.answer(party, caller, call, Response::Controller(reply));
            }
        }
    }

    fn take(&mut self, net: &mut Net, checks: &mut Checks, message: Message) {
        let Message { from, call, body, .. } = message;
        match body {
            Body::Request(request) => self.request(net, checks, from, call, request),
            Body::Response(response) => self.response(net, checks, from, call, response),
        }
    }

    fn request(&mut self, net: &mut Net, checks: &mut Checks, from: Party, call: u64, request: Request) {
        let command = match request {
            Request::Control(ToBroker::LeaderAndIsr(request)) => {
                let response = self.leader_and_isr(net, checks, &request);
                return net.answer(self.party(), from, call, Response::LeaderAndIsr(response));
            }
            Request::Control(ToBroker::StopReplica(request)) => {
                let response = self.stop_replica(net, checks, &request);
                return net.answer(self.party(), from, call, Response::StopReplica(response));
            }
            Request::Control(ToBroker::UpdateMetadata(request)) => {
                let response = self.update_metadata(net, checks, &request);
                return net.answer(self.party(), from, call, Response::UpdateMetadata(response));
            }
            Request::Fetch(parts) => {
                let response = self.serve_fetch(net, checks, from, parts);
                return net.answer(self.party(), from, call, Response::Fetch(response));
            }
            Request::Bounds(part) => {
                let found =
                    self.replica(&part.tp).map_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER), |replica| {
                        replica.core.offset_bounds(part.next.leader_epoch, None, true)
                    });
                return net.answer(self.party(), from, call, Response::Bounds(part, found));
            }
            Request::Produce { tp, acks, batch } => {
                let waiter = Waiter::Caller(from, call);
                return self.produce(net, checks, waiter, &tp, acks, batch, Origin::Client);
            }
            Request::Mark { tp, batch } if tp.topic == GROUP_TOPIC => {
                return self.end_offsets(net, checks, &tp, batch, (from, call));
            }
            Request::Mark { tp, batch } => {
                let waiter = Waiter::Caller(from, call);
                return self.produce(net, checks, waiter, &tp, -1, batch, Origin::Coordinator);
            }
            Request::Transaction(request) => return self.transaction_request(from, call, request),
            Request::Group(request) => return self.group_request(net, from, call, *request),
            Request::Consume { tp, id, leader_epoch, offset, isolation } => {
                let consumed = self.consume(net, checks, &tp, id, (leader_epoch, isolation), offset);
                return net.answer(self.party(), from, call, Response::Consume(Box::new(consumed)));
            }
            Request::Alter(request) => Command::Alter { version: ALTER_VERSION, request },
            Request::Shutdown { broker, epoch } => Command::Shutdown { broker, epoch },
            Request::Elect(partitions) => Command::Elect { partitions },
            Request::Reassign(tp, target) => Command::Reassign { partitions: [(tp, target)].into() },
        };
        let Some(life) = &mut self.up else { return };
        life.callers.insert(call, from);
        life.desk.borrow_mut().commands.push_back((call, command));
    }

    fn replica(&self, tp: &TopicPartition) -> Option<&Replica> {
        self.up.as_ref()?.replicas.get(tp)
    }

    // ---- the cores and their logs

    /// Lets a partition take one step and does what it asks for; `None`: there is no such replica.
    fn step<R>(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        tp: &TopicPartition,
        produced: Option<Stored>,
        fetched: &[Stored],
        step: impl FnOnce(&mut Partition, i64, &mut Vec<Effect>) -> R,
    ) -> Option<R> {
        let (own, now, party) = (self.id, self.mono(net.now), self.party());
        let life = self.up.as_mut()?;
        let replica = life.replicas.get_mut(tp)?;
        let log = self.disk.logs.get_mut(tp)?;
        let mut effects = vec![];
        let result = step(&mut replica.core, now, &mut effects);
        let mut outs = Outs::default();
        let failing = life.doomed_dir == Some(log.dir) || life.failed_dirs.contains(&log.dir);
        perform(own, tp, replica, log, effects, (produced, fetched), failing, &mut outs, checks);
        if !life.failed_dirs.contains(&log.dir) && outs.failed_dir.is_none() {
            checks.watermark(own, (replica.id, tp.partition), &replica.core, log);
        }
        for (tp, id, ask) in outs.alters {
            net.note(|| format!("broker {own} wants {tp:?} {ask:?}"));
            let ask = Ask { topic: tp.topic, id, partition: tp.partition, ask };
            life.wishes.insert(ask.place(), ask);
        }
        for (token, result) in outs.replies {
            let id = life.replicas.get(tp).map_or(Uuid::ZERO, |replica| replica.id);
            life.produced(net, party, token, Produced { result, id });
        }
        if let Some(dir) = outs.failed_dir {
            self.fail_dir(net, checks, dir);
        }
        Some(result)
    }

    /// The disk under a directory is gone for this process.
    pub fn fail_dir(&mut self, net: &mut Net, checks: &mut Checks, dir: usize) {
        let own = self.id;
        let Some(life) = &mut self.up else { return };
        life.doomed_dir = None;
        if !life.failed_dirs.insert(dir) {
            return;
        }
        net.note(|| format!("directory {dir} of broker {own} fails"));
        if let Some(session) = life.desk.borrow().session.clone() {
            let data = own.to_string().into_bytes();
            let path = format!("{}/log_dir_event_", nodes::LOG_DIR_EVENTS);
            life.tasks.push(Box::pin(async move {
                let create =
                    || Op::Create { path: path.clone(), data: data.clone(), flags: PERSISTENT | SEQUENTIAL };
                while session.begin(create()).await == Err(super::session::ZkError::Loss) {}
            }));
        }
        let of_dir = |tp: &TopicPartition| self.disk.logs.get(tp).is_some_and(|log| log.dir == dir);
        let failed: Vec<TopicPartition> = life.replicas.keys().filter(|tp| of_dir(tp)).cloned().collect();
        for tp in failed {
            self.step(net, checks, &tp, None, &[], |core, _, out| core.log_failed(out));
        }
    }

    fn tick(&mut self, net: &mut Net, checks: &mut Checks) {
        let now = self.mono(net.now);
        let Some(life) = &self.up else { return };
        let is_due = |replica: &Replica| replica.core.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<TopicPartition> =
            life.replicas.iter().filter(|(_, replica)| is_due(replica)).map(|(tp, _)| tp.clone()).collect();
        for tp in due {
            self.step(net, checks, &tp, None, &[], |core, now, out| core.tick(now, out));
        }
    }

    /// A flush, and the checkpoint of the high watermarks.
    pub fn flush(&mut self) {
        let Some(life) = &self.up else { return };
        for (tp, log) in &mut self.disk.logs {
            if life.failed_dirs.contains(&log.dir) {
                continue;
            }
            log.flushed = log.batches.len();
            if let Some(replica) = life.replicas.get(tp) {
                log.high_watermark = replica.core.high_watermark();
            }
        }
    }

    // ---- leaders and followers

    fn serve_fetch(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        from: Party,
        parts: Vec<Part>,
    ) -> Vec<(Part, Answer)> {
        let Party::Broker(id) = from else { return vec![] };
        let alive = self.up.as_ref().is_some_and(|life| life.alive.contains(&id));
        let mut answers = vec![];
        for part in parts {
            let fetcher = Fetcher::Follower { id, alive, log_start: part.next.log_start };
            let fetch = Fetch {
                fetcher,
                offset: part.next.offset,
                current_leader_epoch: part.next.leader_epoch,
                last_fetched_epoch: part.next.last_fetched_epoch,
            };
            let answer = self.read(net, checks, &part.tp, part.id, fetch);
            answers.push((part, answer));
        }
        answers
    }

    fn read(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        tp: &TopicPartition,
        id: Uuid,
        fetch: Fetch,
    ) -> Answer {
        let replica = self.replica(tp).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        if replica.id != id {
            return Err(ErrorCode::INCONSISTENT_TOPIC_ID);
        }
        let step =
            self.step(net, checks, tp, None, &[], |core, now, out| core.fetch(now, &fetch, false, out));
        let found = step.unwrap_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER))?;
        let epoch = self.replica(tp).map_or(-1, |replica| replica.core.leader_epoch());
        if fetch.current_leader_epoch != epoch {
            let (own, other) = (self.id, fetch.current_leader_epoch);
            checks.fail(format!("broker {own} serves a fetch of {tp:?} in epoch {other}, and is in {epoch}"));
        }
        let batches = match found.outcome {
            FetchOutcome::Read { up_to } => {
                let wanted = |stored: &&Stored| {
                    stored.meta.last_offset() >= fetch.offset && stored.meta.last_offset() < up_to
                };
                let log = self.disk.logs.get(tp).map_or(&[][..], |log| &log.batches);
                let from = log.partition_point(|stored| stored.meta.last_offset() < fetch.offset);
                log[from..].iter().filter(wanted).take(FETCH_MAX).copied().collect()
            }
            FetchOutcome::Diverging(_) => vec![],
        };
        Ok((found, batches))
    }

    fn consume(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        tp: &TopicPartition,
        id: Uuid,
        (leader_epoch, isolation): (i32, Isolation),
        offset: i64,
    ) -> Consumed {
        let fetch = Fetch {
            fetcher: Fetcher::Consumer { isolation, leader_only: true },
            offset,
            current_leader_epoch: leader_epoch,
            last_fetched_epoch: -1,
        };
        let fetched = self.read(net, checks, tp, id, fetch);
        let bounds = self
            .replica(tp)
            .filter(|replica| replica.id == id)
            .map_or(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER), |replica| {
                replica.core.offset_bounds(leader_epoch, Some(isolation), true)
            });
        let aborted = match (&fetched, self.disk.logs.get(tp)) {
            (Ok((_, batches)), Some(log)) if isolation == Isolation::ReadCommitted => {
                log.aborted_in(offset, batches.last().map_or(offset, |last| last.meta.next_offset()))
            }
            _ => vec![],
        };
        Consumed { bounds, fetched, aborted }
    }

    #[allow(clippy::too_many_arguments)]
    fn produce(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        waiter: Waiter,
        tp: &TopicPartition,
        acks: i16,
        batch: Stored,
        origin: Origin,
    ) {
        let party = self.party();
        let Some(life) = &mut self.up else { return };
        life.tokens += 1;
        let token = Token(life.tokens);
        let before = self.disk.logs.get(tp).map(|log| log.batches.len());
        let few = |replica: &Replica| replica.core.isr().len() < self.config.min_insync_replicas;
        let too_few = acks == -1 && life.replicas.get(tp).is_some_and(few);
        life.produces.insert(token, waiter);
        let produce =
            Produce { token, acks, timeout_ms: 200, batch: batch.meta, origin, log_append_time_ms: -1 };
        let taken =
            self.step(net, checks, tp, Some(batch), &[], |core, now, out| core.produce(now, produce, out));
        if taken.is_none()
            && let Some(life) = &mut self.up
        {
            let error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            let result = ProduceResult {
                error,
                base_offset: -1,
                next_offset: -1,
                log_append_time_ms: -1,
                log_start: -1,
            };
            life.produced(net, party, token, Produced { result, id: Uuid::ZERO });
        }
        if too_few && self.disk.logs.get(tp).map(|log| log.batches.len()) != before {
            let own = self.id;
            checks.fail(format!(
                "broker {own} appends to {tp:?} for all replicas in sync, and those are too few"
            ));
        }
    }

    fn fetch(&mut self, net: &mut Net) {
        let party = self.party();
        let Some(life) = &mut self.up else { return };
        let mut parts: BTreeMap<i32, Vec<Part>> = BTreeMap::new();
        for (tp, replica) in &life.replicas {
            if let Some(next) = replica.core.next_fetch() {
                parts.entry(next.leader).or_default().push(Part { tp: tp.clone(), id: replica.id, next });
            }
        }
        for (leader, parts) in parts {
            let follower = life.followers.entry(leader).or_default();
            if follower.call.is_some_and(|(_, until)| until <= net.now) {
                follower.call = None;
            }
            if follower.call.is_none() && follower.at <= net.now {
                let call = net.call(party, Party::Broker(leader), Request::Fetch(parts));
                follower.call = Some((call, net.now + PATIENCE_MS));
            }
        }
    }

    fn fetched(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        leader: i32,
        call: u64,
        answers: Vec<(Part, Answer)>,
    ) {
        let (own, party) = (self.id, self.party());
        let pause = net.rng.random_range(2..25);
        let Some(life) = &mut self.up else { return };
        let Some(follower) =
            life.followers.get_mut(&leader).filter(|f| f.call.is_some_and(|(c, _)| c == call))
        else {
            return;
        };
        follower.call = None;
        let brought =
            answers.iter().any(|(_, answer)| matches!(answer, Ok((_, batches)) if !batches.is_empty()));
        follower.at = if brought { net.now } else { net.now + pause };
        for (part, answer) in answers {
            if self.replica(&part.tp).is_none_or(|replica| replica.id != part.id) {
                continue;
            }
            match answer {
                Err(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                    net.call(party, Party::Broker(leader), Request::Bounds(Box::new(part)));
                }
                Err(_) => {}
                Ok((found, batches)) => {
                    let metas: Vec<BatchMeta> = batches.iter().map(|stored| stored.meta).collect();
                    let body = match found.outcome {
                        FetchOutcome::Read { .. } => LeaderBody::Batches(&metas),
                        FetchOutcome::Diverging(end) => LeaderBody::Diverging(end),
                    };
                    let from = FromLeader {
                        leader_epoch: part.next.leader_epoch,
                        offset: part.next.offset,
                        high_watermark: found.high_watermark,
                        log_start: found.log_start,
                        body,
                    };
                    let outcome = self
                        .step(net, checks, &part.tp, None, &batches, |core, _, out| core.fetched(from, out));
                    if let Some(FollowerOutcome::Rejected { .. }) = outcome {
                        checks.fail(format!("broker {own} cannot append {metas:?}: {outcome:?}"));
                    }
                }
            }
        }
    }

    // ---- ISR changes

    fn alter(&mut self, net: &mut Net, checks: &mut Checks) {
        let (party, id) = (self.party(), self.id);
        let Some(life) = &mut self.up else { return };
        if let Some(altering) = &life.altering {
            if altering.until <= net.now {
                return self.altered(net, checks, None);
            }
            return;
        }
        if life.wishes.is_empty() || life.alter_at > net.now {
            return;
        }
        let desk = life.desk.borrow();
        let elected = Some(desk.current).filter(|id| *id >= 0);
        let asks = std::mem::take(&mut life.wishes);
        let epoch = desk.broker_epoch;
        let Some(controller) = elected.or(life.metadata.controller) else {
            life.altering = Some(Altering { call: 0, until: net.now + RETRY_PAUSE_MS, asks });
            return;
        };
        let request = alter::request(id, epoch, &asks);
        let call = net.call(party, Party::Broker(controller), Request::Alter(request));
        life.altering = Some(Altering { call, until: net.now + PATIENCE_MS, asks });
    }

    /// The controller's answer, or that there is none.
    fn altered(&mut self, net: &mut Net, checks: &mut Checks, reply: Option<Reply>) {
        let Some(altering) = self.up.as_mut().and_then(|life| life.altering.take()) else { return };
        let answers = match reply {
            Some(Reply::Altered(response)) if response.error_code.is_ok() => {
                Ok(alter::answers(&altering.asks, response))
            }
            Some(Reply::Altered(response)) => Err(response.error_code),
            Some(_) => Err(ErrorCode::NOT_CONTROLLER),
            None => Err(ErrorCode::NETWORK_EXCEPTION),
        };
        if let Some(life) = &mut self.up
            && answers.is_err()
        {
            life.alter_at = net.now + RETRY_PAUSE_MS;
        }
        for (key, ask) in altering.asks {
            let result = match &answers {
                Ok(found) => found.get(&key).cloned().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
                Err(error) => Err(*error),
            };
            let tp = TopicPartition { topic: ask.topic, partition: ask.partition };
            if self.replica(&tp).is_none_or(|replica| replica.id != ask.id) {
                continue;
            }
            let own = self.id;
            net.note(|| format!("broker {own}: wish {} of {tp:?} gives {result:?}", ask.ask.request));
            self.step(net, checks, &tp, None, &[], |core, now, out| {
                core.altered(now, ask.ask.request, result, out);
            });
        }
    }

    // ---- answers, and the controller's channels

    fn response(&mut self, net: &mut Net, checks: &mut Checks, from: Party, call: u64, response: Response) {
        let Party::Broker(peer) = from else { return };
        match response {
            Response::Fetch(answers) => self.fetched(net, checks, peer, call, answers),
            Response::Bounds(part, bounds) => {
                if let Ok(bounds) = bounds
                    && self.replica(&part.tp).is_some_and(|replica| replica.id == part.id)
                {
                    self.step(net, checks, &part.tp, None, &[], |core, _, out| {
                        core.leader_bounds(part.next.leader_epoch, bounds.log_start, bounds.latest, out);
                    });
                }
            }
            Response::Controller(reply) => {
                let Some(life) = &mut self.up else { return };
                if life.altering.as_ref().is_some_and(|altering| altering.call == call) {
                    return self.altered(net, checks, Some(reply));
                }
                if let Some(Leaving::Asking { call: asked, left }) = &mut life.leaving
                    && asked.is_some_and(|(asked, _)| asked == call)
                {
                    *asked = None;
                    *left = if matches!(reply, Reply::Remaining(Ok(0))) { 0 } else { *left - 1 };
                }
            }
            Response::LeaderAndIsr(response) => {
                self.channel_answered(peer, call, |_| {
                    Some(Event::LeaderAndIsrAnswered { broker: peer, response })
                });
            }
            Response::UpdateMetadata(_) => self.channel_answered(peer, call, |_| None),
            Response::StopReplica(response) => self.channel_answered(peer, call, |request| match request {
                ToBroker::StopReplica(request) => {
                    Some(Event::StopReplicaAnswered { broker: peer, request, response })
                }
                _ => None,
            }),
            Response::Produce(produced) => self.marked(call, produced.result.error),
            Response::Consume(_) | Response::Transaction(_) | Response::Group(_) => {}
        }
    }

    fn channel_answered(&mut self, peer: i32, call: u64, event: impl FnOnce(ToBroker) -> Option<Event>) {
        let Some(life) = &mut self.up else { return };
        let mut desk = life.desk.borrow_mut();
        let channel = desk.channels.get_mut(&peer).filter(|c| c.call.is_some_and(|(asked, _)| asked == call));
        let Some(channel) = channel else { return };
        channel.call = None;
        let request = channel.queue.pop_front();
        let event = request.and_then(event);
        desk.answers.extend(event);
    }

    fn channels(&mut self, net: &mut Net) {
        let party = self.party();
        let Some(life) = &mut self.up else { return };
        for (&broker, channel) in &mut life.desk.borrow_mut().channels {
            let Channel { queue, call, retry_at, epoch } = channel;
            if let Some((late, until)) = *call
                && until <= net.now
            {
                // Its connection is closed. What is on the way may be read all the same, behind what the next one brings;
                // of a topic that goes it would bring a replica back, as with Kafka's brokers.
                if !queue.front().is_some_and(is_of_lasting_topics) || net.chance(50) {
                    net.forget(late);
                }
                *call = None;
                *retry_at = net.now + RETRY_PAUSE_MS;
            }
            if let (None, Some(request)) = (&call, queue.front())
                && *retry_at <= net.now
            {
                let mut request = request.clone();
                // One for all brokers: each one's own epoch is put into it here.
                if let ToBroker::UpdateMetadata(shared) = &mut request {
                    Arc::make_mut(shared).broker_epoch = *epoch;
                }
                let number = net.call(party, Party::Broker(broker), Request::Control(request));
                *call = Some((number, net.now + PATIENCE_MS));
            }
        }
    }

    fn go_on_leaving(&mut self, net: &mut Net) -> bool {
        let (party, id) = (self.party(), self.id);
        let Some(life) = &mut self.up else { return false };
        match &mut life.leaving {
            None => false,
            Some(Leaving::Asking { left: 0, .. }) => {
                life.desk.borrow_mut().leaving = true;
                if let Some(session) = life.desk.borrow().session.clone() {
                    drop(session.begin(Op::Close));
                }
                life.leaving = Some(Leaving::Closing { until: net.now + PATIENCE_MS });
                false
            }
            Some(Leaving::Asking { call, left }) => {
                let desk = life.desk.borrow();
                match call {
                    Some((_, until)) if *until > net.now => {}
                    Some(_) => {
                        *call = None;
                        *left -= 1;
                    }
                    None if desk.current >= 0 => {
                        let request = Request::Shutdown { broker: id, epoch: desk.broker_epoch };
                        let number = net.call(party, Party::Broker(desk.current), request);
                        *call = Some((number, net.now + PATIENCE_MS));
                    }
                    None => *left -= 1,
                }
                false
            }
            Some(Leaving::Closing { until }) => {
                let over = life.desk.borrow().session.as_ref().is_none_or(Session::is_closed);
                over || *until <= net.now
            }
        }
    }
}

/// LeaderAndIsr of nothing that is ever deleted.
fn is_of_lasting_topics(request: &ToBroker) -> bool {
    matches!(request, ToBroker::LeaderAndIsr(request)
        if request.topic_states.iter().all(|topic| topic.topic_name.starts_with('t')))
}
