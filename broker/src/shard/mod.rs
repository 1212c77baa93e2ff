//! The loop: one thread that owns every replica of this broker. It takes a batch of events, lets broker-core decide,
//! appends, and answers; nothing else touches a log's end, so nothing here is locked.

mod cleaner;
mod control;
mod event;
mod fetch;
mod figures;
mod following;
mod groups;
mod handles;
mod moves;
mod produce;
mod queries;
mod replica;
mod transactions;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::partition::{AlterPartition, Token};
use tokio::sync::{mpsc, oneshot};
use wire::Str;
use wire::kafka::Uuid;

use crate::broker::Broker;
use crate::store::Store;
use crate::topics::{GROUP_TOPIC, TRANSACTION_TOPIC};
pub use cleaner::CleanerEvent;
pub use event::*;
use fetch::ParkedFetch;
pub use figures::{PartitionFigures, ShardFigures, TopicTraffic};
use following::Following;
use groups::Groups;
pub use moves::{Copied, Copy, MoveEvent, Work};
use moves::{Future, Moves};
use produce::{PendingDelete, PendingProduce};
use replica::{Replica, Turn};
use transactions::Transactions;

/// Events in the inbox before senders have to wait.
const INBOX: usize = 4096;
/// Events that one turn takes.
const TURN_MAX: usize = 1024;

/// What the loop asks of the rest of the broker.
pub enum Notice {
    /// An ISR change for the controller.
    Alter { topic: Str, id: Uuid, partition: i32, ask: AlterPartition },
    /// Partitions are to be fetched from this leader.
    Fetch { leader: i32 },
    /// Replicas are to be copied to another log directory.
    Move,
    /// A group partition is to be read back, by [`Event::CoordinatorRead`] and [`Event::CoordinatorLoaded`].
    LoadGroups { partition: i32, epoch: i32 },
    /// Likewise a partition of the transaction topic.
    LoadTransactions { partition: i32, epoch: i32 },
    /// Markers for the leaders of a transaction's partitions.
    SendMarkers(broker_core::transaction::Markers),
    /// The transaction coordinator wants a producer id.
    ClaimProducerId,
    /// Files of a log to be synced, off the loop.
    Flush { topic: Str, partition: i32, job: crate::log::FlushJob },
    /// The disk under a log directory failed.
    DirFailed { dir: std::path::PathBuf, last: bool },
}

/// The way to the loop.
#[derive(Clone)]
pub struct ShardHandle {
    inbox: mpsc::Sender<Event>,
}

/// The loop has ended: the broker is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the broker is stopping")]
pub struct Stopped;

impl ShardHandle {
    /// Sends an event and waits for its answer.
    pub async fn ask<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(event(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Sends an event that has no answer.
    pub async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.inbox.send(event).await.map_err(|_| Stopped)
    }
}

/// A loop that has not started: the inbox can be handed out before.
pub fn inbox() -> (ShardHandle, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel(INBOX);
    (ShardHandle { inbox: sender }, receiver)
}

/// Starts the thread.
pub fn start(
    broker: Arc<Broker>,
    store: Store,
    events: mpsc::Receiver<Event>,
    notices: mpsc::UnboundedSender<Notice>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    cleaner::start(&broker)?;
    std::thread::Builder::new().name(format!("shard-{}", broker.id)).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(Shard::new(broker, store, notices).run(events)),
            Err(error) => tracing::error!("cannot start the loop: {error}"),
        }
    })
}

/// The loop's state.
struct Shard {
    broker: Arc<Broker>,
    store: Store,
    replicas: HashMap<Str, BTreeMap<i32, Replica>>,
    following: Following,
    turn: Turn,
    notices: mpsc::UnboundedSender<Notice>,
    started: Instant,
    next_token: u64,
    /// By first token; one token per partition of the request.
    produces: BTreeMap<u64, PendingProduce>,
    deletes: BTreeMap<u64, PendingDelete>,
    fetches: HashMap<Token, ParkedFetch>,
    fetch_deadlines: BTreeSet<(i64, u64)>,
    /// No replica has to be ticked earlier.
    replicas_due: i64,
    upkeep: upkeep::Schedule,
    alive: BTreeSet<i32>,
    /// The broker is shutting down.
    retired: bool,
    groups: Groups,
    transactions: Transactions,
    moves: Moves,
    tally: figures::Tally,
    cleaner_tally: cleaner::CleanerTally,
}

impl Shard {
    fn new(broker: Arc<Broker>, mut store: Store, notices: mpsc::UnboundedSender<Notice>) -> Shard {
        let lag = broker.config.int("replica.lag.time.max.ms");
        let mut replicas: HashMap<Str, BTreeMap<i32, Replica>> = HashMap::new();
        let mut moves = Moves::default();
        let (futures, found) = store.take_found().into_iter().partition::<Vec<_>, _>(|found| found.future);
        for found in found {
            let topic = Str::from(found.topic);
            let config = replica::partition_config(&broker.topic_config(&topic), lag);
            let name = (topic.clone(), found.partition);
            let replica = Replica::new(broker.id, name, found.log, found.dir, found.high_watermark, config);
            replicas.entry(topic).or_default().insert(found.partition, replica);
        }
        for found in futures {
            let name = (Str::from(found.topic), found.partition);
            let future = Future::found(found.log, found.dir, found.high_watermark);
            match find(&mut replicas, &name.0, name.1) {
                Some(replica) => moves.attach(replica, future),
                None => moves.keep(name, future),
            }
        }
        let upkeep = upkeep::Schedule::new(&broker.config);
        for dir in store.dead_dirs() {
            let _ = notices.send(Notice::DirFailed { dir: dir.to_owned(), last: false });
        }
        let groups = Groups::new(&broker);
        let transactions = Transactions::new(&broker);
        Shard {
            broker,
            store,
            replicas,
            following: Following::default(),
            turn: Turn::new(handles::handles_max()),
            notices,
            started: Instant::now(),
            next_token: 1,
            produces: BTreeMap::new(),
            deletes: BTreeMap::new(),
            fetches: HashMap::new(),
            fetch_deadlines: BTreeSet::new(),
            replicas_due: i64::MAX,
            upkeep,
            alive: BTreeSet::new(),
            retired: false,
            groups,
            transactions,
            moves,
            tally: figures::Tally::default(),
            cleaner_tally: cleaner::CleanerTally::default(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut events = Vec::with_capacity(TURN_MAX);
        loop {
            let wait = self.next_deadline() - self.clock();
            let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
            tokio::select! {
                biased;
                taken = inbox.recv_many(&mut events, TURN_MAX) => if taken == 0 { break },
                () = tokio::time::sleep(wait) => {}
            }
            self.turn.now = self.clock();
            self.turn.wall = wall_clock();
            let mut stop = None;
            for event in events.drain(..) {
                match event {
                    Event::Stop { done } => stop = Some(done),
                    event => self.take(event),
                }
            }
            self.tick();
            self.settle();
            if crate::log::open_handles() > self.turn.handles_max {
                self.release_handles();
            }
            if let Some(done) = stop {
                // Whoever asked meanwhile hears that nobody coordinates here any more.
                self.group_step(broker_core::group::Event::Stop);
                self.transaction_step(broker_core::transaction::Event::Stop);
                self.close();
                let _ = done.send(());
                return;
            }
        }
        self.close();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Produce { parts, acks, timeout_ms, origin, reply } => {
                self.produce(parts, acks, timeout_ms, origin, reply);
            }
            Event::DescribeProducers { parts, reply } => {
                let _ = reply.send(self.describe_producers(&parts));
            }
            Event::CheckProduce { parts, acks, reply } => {
                let _ = reply.send(self.check_produce(&parts, acks));
            }
            Event::Fetch { ask, reply } => self.fetch(ask, reply),
            Event::ListOffsets { asks, reply } => {
                let _ = reply.send(asks.iter().map(|ask| self.list_offset(ask)).collect());
            }
            Event::OldOffsets { asks, reply } => {
                let _ = reply.send(asks.iter().map(|ask| self.old_offsets(ask)).collect());
            }
            Event::EpochEnds { asks, reply } => {
                let _ = reply.send(asks.iter().map(|ask| self.epoch_end(ask)).collect());
            }
            Event::DeleteRecords { asks, timeout_ms, reply } => self.delete_records(asks, timeout_ms, reply),
            Event::LeaderAndIsr { request, reply } => {
                let _ = reply.send(self.leader_and_isr(&request));
            }
            Event::Retire => {
                self.retired = true;
                for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
                    replica.core.retire();
                }
            }
            Event::StopReplica { request, reply } => {
                let _ = reply.send(self.stop_replica(&request));
            }
            Event::FollowerParts { leader, known, reply } => {
                let _ = reply.send(self.follower_news(leader, known));
            }
            Event::FromLeader { leader, known, parts, reply } => {
                for part in parts {
                    self.from_leader(part);
                }
                let _ = reply.send(self.follower_news(leader, known));
            }
            Event::Altered { topic, id, partition, request, result } => {
                let replica = find(&mut self.replicas, &topic, partition);
                if let Some(replica) = replica.filter(|replica| replica.id == id) {
                    let (before, altered) = (replica.core.isr().len(), result.is_ok());
                    replica.step(&mut self.turn, replica::Records::None, |core, now, out| {
                        core.altered(now, request, result, out);
                    });
                    self.tally.isr_altered(before, altered.then(|| replica.core.isr().len()));
                    self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
                }
            }
            Event::Flushed { topic, partition, dir, end_offset } => {
                self.flushed(&topic, partition, &dir, end_offset);
            }
            Event::Group { request, reply } => self.group_request(request, reply),
            Event::TransactionRequest { request, reply } => self.transaction_request(request, reply),
            Event::Transaction(event) => self.transaction_step(event),
            Event::CoordinatorRead { topic, partition, offset, reply } => {
                let _ = reply.send(self.coordinator_read(topic, partition, offset));
            }
            Event::CoordinatorLoaded { topic, partition, epoch, entries, done } => {
                self.coordinator_loaded(topic, partition, epoch, entries, done);
            }
            Event::GroupTopicsDeleted { partitions } => {
                self.group_step(broker_core::group::Event::Deleted { partitions });
            }
            Event::ConfigChanged { topic } => self.config_changed(topic.as_ref()),
            Event::Alive { brokers } => self.set_alive(brokers.into_iter().collect()),
            Event::DescribeLogs { reply } => {
                let _ = reply.send(self.describe_logs());
            }
            Event::Measure { partitions, reply } => {
                let _ = reply.send(self.measure(partitions));
            }
            Event::Move(event) => self.move_event(event),
            Event::Cleaner(event) => self.cleaner_event(event),
            Event::Stop { .. } => {}
        }
    }

    /// Monotonic ms since the loop began.
    fn clock(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn next_deadline(&self) -> i64 {
        let fetch = self.fetch_deadlines.first().map_or(i64::MAX, |(deadline, _)| *deadline);
        fetch
            .min(self.replicas_due)
            .min(self.upkeep.next())
            .min(self.group_deadline())
            .min(self.transaction_deadline())
    }

    /// Everything that time brings.
    fn tick(&mut self) {
        let now = self.turn.now;
        if self.replicas_due <= now {
            let mut due = i64::MAX;
            for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut) {
                if replica.core.deadline().is_some_and(|deadline| deadline <= now) {
                    replica
                        .step(&mut self.turn, replica::Records::None, |core, now, out| core.tick(now, out));
                }
                due = due.min(replica.core.deadline().unwrap_or(i64::MAX));
            }
            self.replicas_due = due;
        }
        while let Some((deadline, token)) = self.fetch_deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.fetch_deadlines.remove(&(deadline, token));
            self.finish_fetch(Token(token));
        }
        self.group_tick();
        self.transaction_tick();
        self.keep_up();
    }

    /// Hands out what the turn's steps produced; answering may make more.
    fn settle(&mut self) {
        loop {
            let replies = std::mem::take(&mut self.turn.replies);
            let deleted = std::mem::take(&mut self.turn.deleted);
            let woken = std::mem::take(&mut self.turn.woken);
            let failed = std::mem::take(&mut self.turn.failed_dirs);
            if replies.is_empty() && deleted.is_empty() && woken.is_empty() && failed.is_empty() {
                break;
            }
            for (token, result) in replies {
                if !self.group_appended(token, &result) && !self.transaction_appended(token, &result) {
                    self.produced(token, result);
                }
            }
            for (token, result) in deleted {
                self.records_deleted(token, result);
            }
            let woken: BTreeSet<Token> = woken.into_iter().collect();
            for token in woken {
                self.wake_fetch(token);
            }
            for dir in failed {
                self.fail_dir(dir);
            }
        }
        self.note_moves();
        for (topic, id, partition, ask) in self.turn.alters.drain(..) {
            let _ = self.notices.send(Notice::Alter { topic, id, partition, ask });
        }
    }

    fn tokens(&mut self, count: usize) -> u64 {
        let first = self.next_token;
        self.next_token += count as u64;
        first
    }

    /// A disk failed under one log: its whole directory is given up. Who coordinates from a log there does so no more:
    /// another will as soon as the controller knows, and would be a second one.
    fn fail_dir(&mut self, dir: usize) {
        if !self.store.fail(dir) {
            return;
        }
        self.fail_moves_to(dir);
        let mut lost = Vec::new();
        for replica in self.replicas.values_mut().flat_map(BTreeMap::values_mut).filter(|r| r.dir == dir) {
            replica.step(&mut self.turn, replica::Records::None, |core, _, out| core.log_failed(out));
            if matches!(&*replica.topic, GROUP_TOPIC | TRANSACTION_TOPIC) {
                lost.push((replica.topic.clone(), replica.partition));
            }
        }
        lost.iter().for_each(|(topic, partition)| self.coordinator_role(topic, *partition, None));
        let last = !self.store.has_live_dir();
        let _ = self.notices.send(Notice::DirFailed { dir: self.store.path(dir).to_owned(), last });
    }
}

fn find<'a>(
    replicas: &'a mut HashMap<Str, BTreeMap<i32, Replica>>,
    topic: &str,
    partition: i32,
) -> Option<&'a mut Replica> {
    replicas.get_mut(topic)?.get_mut(&partition)
}

/// Milliseconds since 1970.
pub fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
