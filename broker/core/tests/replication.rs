//! Three replicas of one partition, driven from one seed: messages are lost and late, brokers crash and lose what was
//! not flushed, sessions expire under living leaders, and a small controller moves the leadership about. Whatever
//! happens, nothing that was acknowledged by all may be lost or doubled.
//!
//! `SEED=n cargo test -p broker-core --test replication` runs one seed and prints its story.

use broker_core::ErrorCode;
use broker_core::partition::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const LAG_MS: i64 = 400;
const SESSION_MS: i64 = 150;
const CHAOS_MS: i64 = 6_000;
const CALM_MS: i64 = 6_000;
const IDS: [i32; 3] = [1, 2, 3];

/// A batch on disk; the value stands for its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stored {
    meta: BatchMeta,
    value: u64,
}

#[derive(Debug, Clone)]
struct Disk {
    batches: Vec<Stored>,
    flushed: usize,
    epochs: Vec<EpochStart>,
    high_watermark: i64,
}

#[derive(Debug)]
struct Node {
    disk: Disk,
    up: Option<Partition>,
    /// Grows with each start and each new session.
    broker_epoch: u64,
    /// When its next fetch leaves, and whose answer it waits for.
    fetch_at: i64,
    fetch_id: u64,
    /// The ISR change that has no answer yet, and when to send it again.
    alter: Option<(AlterPartition, i64)>,
    waiting: BTreeMap<Token, usize>,
}

#[derive(Debug, Clone)]
enum Message {
    LeaderAndIsr(LeaderAndIsr),
    Fetch { from: i32, id: u64, ask: NextFetch },
    Fetched { id: u64, ask: NextFetch, answer: Result<Fetched, ErrorCode>, batches: Vec<Stored> },
    Bounds { id: u64, ask: NextFetch, bounds: Result<OffsetBounds, ErrorCode> },
    Alter { from: i32, broker_epoch: u64, alter: AlterPartition },
    Altered { request: u64, result: Result<Altered, ErrorCode> },
}

#[derive(Debug)]
struct Controller {
    leader: i32,
    leader_epoch: i32,
    version: i32,
    isr: Vec<i32>,
    /// Brokers with a session, by the epoch it was seen with.
    alive: BTreeMap<i32, u64>,
}

/// An idempotent producer with one batch under way, acks=all.
#[derive(Debug)]
struct Client {
    producer_id: i64,
    sequence: i32,
    value: u64,
    count: i32,
    /// When to send it again.
    retry_at: i64,
}

struct World {
    rng: ChaCha8Rng,
    now: i64,
    min_insync: usize,
    nodes: BTreeMap<i32, Node>,
    controller: Controller,
    wire: BTreeMap<(i64, u64), (i32, u64, Message)>,
    sequence: u64,
    clients: Vec<Client>,
    calm: bool,
    loud: bool,
    /// Lost their tail while the controller counted them as in sync, and it does not know yet.
    tainted: BTreeSet<i32>,
    leader_of: BTreeMap<i32, i32>,
    /// What some leader has shown as committed.
    committed: BTreeMap<i64, u64>,
    acknowledged: Vec<(i64, u64)>,
    /// How much of each node's log has been compared with `committed`.
    crashes: u32,
    elections: u32,
}

const CONTROLLER: i32 = 0;

impl World {
    fn new(seed: u64, loud: bool) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let min_insync = rng.random_range(1..=2);
        let disk = Disk { batches: vec![], flushed: 0, epochs: vec![], high_watermark: 0 };
        let node = |id: i32| Node {
            disk: disk.clone(),
            up: Some(Partition::new(id, config(min_insync), LogState::default())),
            broker_epoch: id as u64,
            fetch_at: 0,
            fetch_id: 0,
            alter: None,
            waiting: BTreeMap::new(),
        };
        let client = |n: i64| Client {
            producer_id: 1000 + n,
            sequence: 0,
            value: n as u64 + 1,
            count: 1,
            retry_at: 0,
        };
        let mut world = World {
            rng,
            now: 0,
            min_insync,
            nodes: IDS.iter().map(|&id| (id, node(id))).collect(),
            controller: Controller {
                leader: 1,
                leader_epoch: 0,
                version: 0,
                isr: IDS.to_vec(),
                alive: IDS.iter().map(|&id| (id, id as u64)).collect(),
            },
            wire: BTreeMap::new(),
            sequence: 100,
            clients: (0..2).map(client).collect(),
            calm: false,
            loud,
            tainted: BTreeSet::new(),
            leader_of: BTreeMap::new(),
            committed: BTreeMap::new(),
            acknowledged: Vec::new(),
            crashes: 0,
            elections: 0,
        };
        world.announce();
        world
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if self.loud {
            println!("{:6} {}", self.now, line());
        }
    }

    /// Late by a random time, and lost at times, but for the controller's own channel, which keeps its order.
    fn send(&mut self, to: i32, message: Message) {
        let reliable = matches!(message, Message::LeaderAndIsr(_));
        if !reliable && !self.calm && self.chance(5) {
            return;
        }
        let delay = if reliable {
            5
        } else if self.calm {
            2
        } else {
            self.rng.random_range(1..40)
        };
        let epoch = self.nodes.get(&to).map_or(0, |node| node.broker_epoch);
        let sequence = self.next();
        self.wire.insert((self.now + delay, sequence), (to, epoch, message));
    }

    fn run(&mut self) {
        while self.now < CHAOS_MS + CALM_MS {
            self.now += 1;
            if self.now == CHAOS_MS {
                self.calm = true;
                self.tell(|| "calm".into());
            }
            if self.calm {
                self.restart_everyone();
            } else {
                self.disturb();
            }
            while let Some(first) = self.wire.first_entry() {
                if first.key().0 > self.now {
                    break;
                }
                let (to, epoch, message) = first.remove();
                self.deliver(to, epoch, message);
            }
            self.watch_sessions();
            for id in IDS {
                self.turn(id);
            }
            for client in 0..self.clients.len() {
                self.produce(client);
            }
        }
        self.check_end();
    }

    fn disturb(&mut self) {
        let id = IDS[self.rng.random_range(0..3)];
        match self.rng.random_range(0..1000) {
            0..4 => self.crash(id, true),
            4..8 => self.crash(id, false),
            8..12 => self.expire(id),
            12..20 => self.start(id),
            20..24 => self.elect_preferred(id),
            24..60 => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.disk.flushed = node.disk.batches.len();
                    if let Some(partition) = &node.up {
                        node.disk.high_watermark = partition.high_watermark();
                    }
                }
            }
            _ => {}
        }
    }

    /// Someone in sync who is up, keeps a session, and has all that was acknowledged, besides `id`.
    fn another_is_safe(&self, id: i32) -> bool {
        let safe = |other: &&i32| {
            **other != id
                && !self.tainted.contains(other)
                && self.nodes[other].up.is_some()
                && self.controller.alive.get(other) == Some(&self.nodes[other].broker_epoch)
        };
        self.controller.isr.iter().any(|other| safe(&other))
    }

    fn alters_under_way(&self) -> bool {
        self.wire.values().any(|(_, _, message)| matches!(message, Message::Alter { .. }))
            || self.nodes.values().any(|node| node.alter.is_some())
    }

    fn crash(&mut self, id: i32, lossy: bool) {
        let in_sync = self.controller.isr.contains(&id);
        // Replication promises nothing when the last in-sync disk loses data, so that is not tried.
        if !self.another_is_safe(id) && (lossy || !self.tainted.is_empty()) && in_sync {
            return;
        }
        if lossy && self.alters_under_way() {
            return;
        }
        let keep = self.rng.random_range(0..=100u32) as usize;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.up.take().is_none() {
            return;
        }
        node.waiting.clear();
        node.alter = None;
        self.crashes += 1;
        let mut lost = 0;
        if lossy {
            let unflushed = node.disk.batches.len() - node.disk.flushed.min(node.disk.batches.len());
            lost = unflushed * keep / 100;
            node.disk.batches.truncate(node.disk.batches.len() - lost);
            if lost > 0 && in_sync {
                self.tainted.insert(id);
            }
            // Its connections die with it: a fetch from before the loss could bring it into the ISR with an offset it
            // no longer has. Only AlterPartition with broker epochs (KIP-903, not in ZooKeeper mode) closes that gap.
            self.wire.retain(|_, (_, _, m)| !matches!(m, Message::Fetch { from, .. } if *from == id));
        }
        self.tell(|| format!("{id} crashes, losing {lost} batches"));
    }

    fn expire(&mut self, id: i32) {
        let guarded = self.controller.isr.contains(&id) && !self.tainted.is_empty();
        if guarded && !self.another_is_safe(id) {
            return;
        }
        if self.nodes[&id].up.is_some() {
            self.tell(|| format!("{id} loses its session"));
            self.register(id);
        }
    }

    /// A new session, as after a start or an expiry; the controller hears of it later.
    fn register(&mut self, id: i32) {
        let epoch = self.next();
        if let Some(node) = self.nodes.get_mut(&id) {
            node.broker_epoch = epoch;
            node.alter = None;
        }
    }

    fn start(&mut self, id: i32) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.up.is_some() {
            return;
        }
        let log_end = node.disk.batches.last().map_or(0, |last| last.meta.next_offset());
        let mut epochs = LeaderEpochs::new(node.disk.epochs.iter().copied());
        epochs.truncate_end(log_end);
        let log =
            LogState { log_end, high_watermark: node.disk.high_watermark, epochs, ..LogState::default() };
        let mut partition = Partition::new(id, config(self.min_insync), log);
        partition.rebuild_producers([], node.disk.batches.iter().map(|stored| stored.meta));
        node.disk.flushed = node.disk.batches.len();
        node.up = Some(partition);
        self.tell(|| format!("{id} starts at {log_end}"));
        self.register(id);
    }

    fn restart_everyone(&mut self) {
        IDS.iter().for_each(|&id| self.start(id));
    }

    // ---- the controller

    /// Sees who came and went, some time after it happened; a new session under a known id is a failure first.
    fn watch_sessions(&mut self) {
        if self.now % SESSION_MS != 0 {
            return;
        }
        for id in IDS {
            let now = self.nodes[&id].up.is_some().then_some(self.nodes[&id].broker_epoch);
            let seen = self.controller.alive.get(&id).copied();
            if seen.is_some() && seen != now {
                self.controller.alive.remove(&id);
                self.broker_failed(id);
            }
            if let Some(epoch) = now
                && self.controller.alive.insert(id, epoch) != Some(epoch)
            {
                if self.controller.leader < 0 {
                    self.elect(None);
                }
                self.announce();
            }
        }
    }

    fn broker_failed(&mut self, id: i32) {
        if self.controller.isr.contains(&id) && self.controller.isr.len() > 1 {
            self.controller.isr.retain(|&other| other != id);
        }
        if !self.controller.isr.contains(&id) {
            self.tainted.remove(&id);
        }
        self.elect((self.controller.leader != id).then_some(self.controller.leader));
        self.announce();
    }

    fn elect(&mut self, keep: Option<i32>) {
        let c = &mut self.controller;
        let eligible = |id: &i32| c.isr.contains(id) && c.alive.contains_key(id);
        let leader = keep.filter(|_| true).or(IDS.iter().copied().find(eligible)).unwrap_or(-1);
        c.leader = leader;
        c.leader_epoch += 1;
        c.version += 1;
        self.elections += 1;
    }

    fn elect_preferred(&mut self, id: i32) {
        if self.controller.isr.contains(&id) && self.controller.alive.contains_key(&id) {
            self.elect(Some(id));
            self.announce();
        }
    }

    fn announce(&mut self) {
        let c = &self.controller;
        let state = LeaderAndIsr {
            controller_epoch: 1,
            leader: c.leader,
            leader_epoch: c.leader_epoch,
            isr: c.isr.clone(),
            partition_epoch: c.version,
            replicas: IDS.to_vec(),
            ..LeaderAndIsr::default()
        };
        self.tell(|| format!("controller: {state:?}"));
        let alive: Vec<i32> = self.controller.alive.keys().copied().collect();
        alive.into_iter().for_each(|id| self.send(id, Message::LeaderAndIsr(state.clone())));
    }

    fn alter(&mut self, from: i32, broker_epoch: u64, alter: AlterPartition) {
        let c = &mut self.controller;
        let result = if c.alive.get(&from) != Some(&broker_epoch) {
            Err(ErrorCode::STALE_BROKER_EPOCH)
        } else if alter.leader_epoch > c.leader_epoch {
            Err(ErrorCode::NOT_CONTROLLER)
        } else if alter.leader_epoch < c.leader_epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else if alter.isr == c.isr {
            Ok(())
        } else if alter.partition_epoch < c.version {
            Err(ErrorCode::INVALID_UPDATE_VERSION)
        } else if alter.isr.iter().any(|id| !c.alive.contains_key(id)) {
            Err(ErrorCode::INELIGIBLE_REPLICA)
        } else {
            c.isr.clone_from(&alter.isr);
            c.version += 1;
            Ok(())
        };
        let altered =
            Altered { leader_epoch: c.leader_epoch, partition_epoch: c.version, isr: c.isr.clone() };
        self.tell(|| format!("{from} alters the ISR to {:?}: {result:?}", alter.isr));
        self.send(from, Message::Altered { request: alter.request, result: result.map(|()| altered) });
    }

    // ---- the brokers

    fn deliver(&mut self, to: i32, epoch: u64, message: Message) {
        if to == CONTROLLER {
            if let Message::Alter { from, broker_epoch, alter } = message {
                self.alter(from, broker_epoch, alter);
            }
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        let Some(partition) = &mut node.up else { return };
        let mut out = Vec::new();
        match message {
            Message::LeaderAndIsr(state) if epoch == node.broker_epoch => {
                if partition.leader_and_isr(now, &state, &mut out).is_ok() {
                    node.alter = None;
                    node.fetch_id = 0;
                    node.fetch_at = now;
                    if partition.is_leader() {
                        let owner = *self.leader_of.entry(state.leader_epoch).or_insert(to);
                        assert_eq!(owner, to, "two leaders of epoch {}", state.leader_epoch);
                    }
                }
                self.execute(to, out, None, &[]);
            }
            Message::Fetch { from, id, ask } => {
                let alive = self.controller.alive.contains_key(&from);
                let fetcher = Fetcher::Follower { id: from, alive, log_start: ask.log_start };
                let fetch = Fetch {
                    fetcher,
                    offset: ask.offset,
                    current_leader_epoch: ask.leader_epoch,
                    last_fetched_epoch: ask.last_fetched_epoch,
                };
                let answer = partition.fetch(now, &fetch, false, &mut out);
                let batches = match answer.map(|fetched| fetched.outcome) {
                    Ok(FetchOutcome::Read { up_to }) => {
                        let wanted = |stored: &&Stored| {
                            stored.meta.last_offset() >= ask.offset && stored.meta.last_offset() < up_to
                        };
                        node.disk.batches.iter().filter(wanted).take(3).copied().collect()
                    }
                    _ => Vec::new(),
                };
                let bounds = partition.offset_bounds(ask.leader_epoch, None, true);
                self.execute(to, out, None, &[]);
                let reply = if answer == Err(ErrorCode::OFFSET_OUT_OF_RANGE) {
                    Message::Bounds { id, ask, bounds }
                } else {
                    Message::Fetched { id, ask, answer, batches }
                };
                self.send(from, reply);
            }
            Message::Fetched { id, ask, answer, batches } if id == node.fetch_id => {
                node.fetch_id = 0;
                let Ok(fetched) = answer else { return };
                let metas: Vec<BatchMeta> = batches.iter().map(|stored| stored.meta).collect();
                let body = match fetched.outcome {
                    FetchOutcome::Read { .. } => LeaderBody::Batches(&metas),
                    FetchOutcome::Diverging(end) => LeaderBody::Diverging(end),
                };
                let from = FromLeader {
                    leader_epoch: ask.leader_epoch,
                    offset: ask.offset,
                    high_watermark: fetched.high_watermark,
                    log_start: fetched.log_start,
                    body,
                };
                let outcome = partition.fetched(from, &mut out);
                assert!(
                    !matches!(outcome, FollowerOutcome::Rejected { .. }),
                    "{to} cannot append {metas:?}: {outcome:?}"
                );
                self.execute(to, out, None, &batches);
            }
            Message::Bounds { id, ask, bounds } if id == node.fetch_id => {
                node.fetch_id = 0;
                if let Ok(bounds) = bounds {
                    partition.leader_bounds(ask.leader_epoch, bounds.log_start, bounds.latest, &mut out);
                }
                self.execute(to, out, None, &[]);
            }
            Message::Altered { request, result } => {
                if node.alter.as_ref().is_some_and(|(alter, _)| alter.request == request) {
                    node.alter = None;
                }
                partition.altered(now, request, result, &mut out);
                self.execute(to, out, None, &[]);
            }
            _ => {}
        }
    }

    /// A broker's own doing: time, fetching, repeating.
    fn turn(&mut self, id: i32) {
        let now = self.now;
        let request = self.next();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(partition) = &mut node.up else { return };
        let mut out = Vec::new();
        if partition.deadline().is_some_and(|deadline| deadline <= now) {
            partition.tick(now, &mut out);
        }
        let mut sends = Vec::new();
        if let Some(ask) = partition.next_fetch()
            && node.fetch_at <= now
        {
            let answered = node.fetch_id == 0;
            node.fetch_id = request;
            node.fetch_at = now + if answered { 15 } else { 60 };
            sends.push((ask.leader, Message::Fetch { from: id, id: request, ask }));
        }
        if let Some((alter, at)) = &mut node.alter
            && *at <= now
        {
            *at = now + 120;
            let alter = alter.clone();
            sends.push((CONTROLLER, Message::Alter { from: id, broker_epoch: node.broker_epoch, alter }));
        }
        self.execute(id, out, None, &[]);
        sends.into_iter().for_each(|(to, message)| self.send(to, message));
    }

    /// What the shell of a broker does. `produced` is the batch just produced, `fetched` the ones just fetched.
    fn execute(&mut self, id: i32, effects: Vec<Effect>, produced: Option<Stored>, fetched: &[Stored]) {
        let now = self.now;
        let mut finished = Vec::new();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(partition) = &mut node.up else { return };
        let disk = &mut node.disk;
        for effect in effects {
            match effect {
                Effect::Append { base_offset, leader_epoch } => {
                    let mut stored = produced.expect("an append follows a produce");
                    stored.meta.base_offset = base_offset;
                    stored.meta.leader_epoch = leader_epoch;
                    disk.batches.push(stored);
                }
                Effect::AppendFetched { from } => disk.batches.extend(&fetched[from..]),
                Effect::Truncate { to, producers_lost } => {
                    disk.batches.retain(|stored| stored.meta.last_offset() < to);
                    disk.flushed = disk.flushed.min(disk.batches.len());
                    if producers_lost {
                        partition.rebuild_producers([], disk.batches.iter().map(|stored| stored.meta));
                    }
                }
                Effect::TruncateFully { start_at } => {
                    assert_eq!(start_at, 0, "nobody deletes records here");
                    disk.batches.clear();
                    disk.flushed = 0;
                }
                Effect::SaveEpochs => disk.epochs = partition.epochs().entries().to_vec(),
                Effect::AlterPartition(alter) => node.alter = Some((alter, now)),
                Effect::Reply { token, result } => {
                    finished.extend(node.waiting.remove(&token).map(|client| (client, result)));
                }
                _ => {}
            }
        }
        let end = disk.batches.last().map_or(0, |last| last.meta.next_offset());
        assert_eq!(end, partition.log_end(), "{id}: the log and its state agree");
        if partition.is_leader() {
            self.check_committed(id);
        }
        finished.into_iter().for_each(|(client, result)| self.answered(client, result));
    }

    // ---- clients

    fn produce(&mut self, at: usize) {
        if self.clients[at].retry_at > self.now || (self.calm && self.now > CHAOS_MS + CALM_MS - 2_000) {
            return;
        }
        self.clients[at].retry_at = self.now + 300;
        let leading = |id: &i32| self.nodes[id].up.as_ref().is_some_and(Partition::is_leader);
        let leaders: Vec<i32> = IDS.into_iter().filter(leading).collect();
        if leaders.is_empty() {
            return;
        }
        let id = leaders[self.rng.random_range(0..leaders.len())];
        let token = Token(self.next());
        let client = &self.clients[at];
        let meta = BatchMeta {
            base_offset: 0,
            last_offset_delta: client.count - 1,
            leader_epoch: -1,
            producer_id: client.producer_id,
            producer_epoch: 0,
            base_sequence: client.sequence,
            max_timestamp: self.now,
            size: 100,
            transactional: false,
            marker: None,
        };
        let stored = Stored { meta, value: client.value };
        let produce = Produce {
            token,
            acks: -1,
            timeout_ms: 250,
            batch: meta,
            origin: Origin::Client,
            log_append_time_ms: -1,
        };
        let mut out = Vec::new();
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.waiting.insert(token, at);
        let Some(partition) = &mut node.up else { return };
        partition.produce(now, produce, &mut out);
        self.execute(id, out, Some(stored), &[]);
    }

    fn answered(&mut self, at: usize, result: ProduceResult) {
        let value = self.clients[at].value;
        match result.error {
            ErrorCode::NONE => {
                // An answer may be lost, and the batch sent again.
                if !self.calm && self.chance(10) {
                    return;
                }
                self.acknowledged.push((result.base_offset, value));
                let client = &mut self.clients[at];
                client.sequence += client.count;
                client.value += 10;
                client.count = self.rng.random_range(1..4);
                client.retry_at = self.now + self.rng.random_range(1..30);
            }
            ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => {}
            other => panic!("value {value} was refused: {other}"),
        }
    }

    // ---- what must hold

    /// Once shown below some leader's high watermark, a record stays what and where it is.
    fn check_committed(&mut self, id: i32) {
        let Some(node) = self.nodes.get(&id) else { return };
        let Some(partition) = &node.up else { return };
        let high_watermark = partition.high_watermark();
        for stored in node.disk.batches.iter().rev() {
            if stored.meta.last_offset() >= high_watermark {
                continue;
            }
            match self.committed.insert(stored.meta.base_offset, stored.value) {
                None => {}
                Some(value) => {
                    assert_eq!(value, stored.value, "{id}: offset {}", stored.meta.base_offset);
                    break;
                }
            }
        }
    }

    fn check_end(&self) {
        let logs: Vec<&[Stored]> = IDS.iter().map(|id| self.nodes[id].disk.batches.as_slice()).collect();
        let leader = self.nodes[&self.controller.leader].up.as_ref().expect("all are up");
        let mut isr = leader.isr().to_vec();
        isr.sort_unstable();
        assert_eq!(isr, IDS, "after a while of calm all are in sync");
        assert_eq!(leader.high_watermark(), leader.log_end(), "and everything is committed");
        assert_eq!(logs[0], logs[1]);
        assert_eq!(logs[0], logs[2]);
        let at: BTreeMap<i64, u64> = logs[0].iter().map(|s| (s.meta.base_offset, s.value)).collect();
        for (offset, value) in &self.acknowledged {
            assert_eq!(at.get(offset), Some(value), "an acknowledged batch at {offset} is lost");
        }
        for (offset, value) in &self.committed {
            assert_eq!(at.get(offset), Some(value), "a committed batch at {offset} is lost");
        }
        let values: BTreeSet<u64> = at.values().copied().collect();
        assert_eq!(values.len(), at.len(), "a batch is in the log twice");
        assert!(self.acknowledged.len() > 20, "only {} got through", self.acknowledged.len());
    }
}

fn config(min_insync_replicas: usize) -> PartitionConfig {
    PartitionConfig { min_insync_replicas, replica_lag_ms_max: LAG_MS, ..PartitionConfig::default() }
}

fn run(seed: u64, loud: bool) -> World {
    let mut world = World::new(seed, loud);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = outcome {
        eprintln!("seed {seed} failed at {} ms", world.now);
        std::panic::resume_unwind(panic);
    }
    world
}

#[test]
fn nothing_acknowledged_by_all_is_lost_or_doubled() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed, true);
        return;
    }
    let (mut crashes, mut elections, mut acknowledged) = (0, 0, 0);
    for seed in 0..200 {
        let world = run(seed, false);
        crashes += world.crashes;
        elections += world.elections;
        acknowledged += world.acknowledged.len();
    }
    assert!(crashes > 1000 && elections > 2000, "too quiet: {crashes} crashes, {elections} elections");
    assert!(acknowledged > 20_000, "{acknowledged}");
}
