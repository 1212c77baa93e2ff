//! Coordinators that crash, a log whose unreplicated tail may be lost, markers that come late, producers that are replaced:
//! whatever happens, a transaction ends everywhere in the same way, and in the way that its producer was told.

use super::*;
use crate::partition::{BatchMeta, Marker, Origin};
use crate::producer::Producers;
use wire::batch::message_set::Entry as LogEntry;
use wire::batch::{Batch, BatchBuilder};

const IDS: usize = 3;
const PARTITIONS: i32 = 4;
const BROKERS: usize = 2;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What stands in a partition.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Data { transaction: u64, producer_id: i64 },
    End { producer_id: i64, commit: bool },
}

#[derive(Default)]
struct Data {
    producers: Producers,
    log: Vec<Entry>,
}

impl Data {
    fn append(
        &mut self,
        producer: (i64, i16),
        marker: Option<Marker>,
        entry: Entry,
    ) -> Result<(), ErrorCode> {
        let batch = BatchMeta {
            base_offset: self.log.len() as i64,
            last_offset_delta: 0,
            leader_epoch: 0,
            producer_id: producer.0,
            producer_epoch: producer.1,
            base_sequence: 0,
            max_timestamp: 0,
            size: 100,
            transactional: true,
            marker,
        };
        self.producers.check(&batch, Origin::Coordinator)?;
        self.producers.record(&batch);
        self.producers.high_watermark(batch.next_offset());
        self.log.push(entry);
        Ok(())
    }
}

struct Broker {
    coordinator: Coordinator,
    /// Appends that wait for replication: the record's index in the log, and the epoch it was written in.
    appends: Vec<(AppendId, usize, i32)>,
    claims: usize,
}

/// A producer's life; another one with the same id may follow at any time.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Init,
    Idle,
    Adding(TopicPartition),
    Ending(bool),
}

struct Producer {
    id: Str,
    phase: Phase,
    producer: (i64, i16),
    added: BTreeSet<TopicPartition>,
    transaction: u64,
    waiting: Option<u64>,
}

struct Sim {
    random: Random,
    now: i64,
    brokers: Vec<Broker>,
    leader: usize,
    epoch: i32,
    log: Vec<Batch>,
    replicated: usize,
    markers: Vec<(Option<usize>, Markers)>,
    partitions: BTreeMap<TopicPartition, Data>,
    next_id: i64,
    producers: Vec<Producer>,
    answers: BTreeMap<u64, Response>,
    next_token: u64,
    next_transaction: u64,
    /// What producers were told about the end of their transactions.
    told: BTreeMap<u64, bool>,
    ended: usize,
}

fn config() -> Config {
    Config { partitions: 1, abort_interval_ms: 1000, ..Config::default() }
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let broker = |_| Broker { coordinator: Coordinator::new(config()), appends: Vec::new(), claims: 0 };
        let mut sim = Sim {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 1_000_000,
            brokers: (0..BROKERS).map(broker).collect(),
            leader: 0,
            epoch: 0,
            log: Vec::new(),
            replicated: 0,
            markers: Vec::new(),
            partitions: (0..PARTITIONS).map(|n| ((Str::from("t"), n), Data::default())).collect(),
            next_id: 0,
            producers: Vec::new(),
            answers: BTreeMap::new(),
            next_token: 0,
            next_transaction: 0,
            told: BTreeMap::new(),
            ended: 0,
        };
        for n in 0..IDS {
            sim.producers.push(producer(n));
        }
        sim.elect(0);
        sim
    }

    fn step(&mut self, broker: usize, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let mut out = Vec::new();
            self.brokers[broker].coordinator.step(self.now, event, &mut out);
            for effect in out {
                match effect {
                    Effect::Reply { token, response } => {
                        self.answers.insert(token.0, response);
                    }
                    Effect::Append { append, records, .. } if broker == self.leader => {
                        self.write(&records);
                        let at = self.log.len() - 1;
                        self.brokers[broker].appends.push((append, at, self.epoch));
                    }
                    Effect::Append { append, .. } => {
                        queue.push_back(Event::Appended {
                            append,
                            result: Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                        });
                    }
                    Effect::ClaimProducerId => self.brokers[broker].claims += 1,
                    Effect::SendMarkers(markers) => self.markers.push((Some(broker), markers)),
                    Effect::Load { partition, epoch } => {
                        let entries = self.log.iter().cloned().map(LogEntry::Batch);
                        queue.extend(entries.map(|entry| Event::Loaded { partition, epoch, entry }));
                        queue.push_back(Event::LoadDone { partition, epoch });
                    }
                    Effect::Info(_) | Effect::Warn(_) => {}
                }
            }
        }
    }

    fn write(&mut self, records: &[Record]) {
        let mut builder = BatchBuilder::new().base_offset(self.log.len() as i64);
        for record in records {
            builder.push(self.now, Some(&record.key), record.value.as_deref(), &[]);
        }
        self.log.extend(Batch::split_from(&mut builder.finish().unwrap()).unwrap());
    }

    /// Another leader, or the same again; what was not replicated may be gone. The old one hears of it later, or never.
    fn elect(&mut self, leader: usize) {
        let keep = self.replicated + self.random.below(self.log.len() - self.replicated + 1);
        self.log.truncate(keep);
        self.leader = leader;
        self.epoch += 1;
        self.replicated = self.log.len();
        for broker in 0..BROKERS {
            for (append, ..) in std::mem::take(&mut self.brokers[broker].appends) {
                self.step(broker, Event::Appended { append, result: Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) });
            }
        }
        self.step(leader, Event::Elected { partition: 0, epoch: self.epoch });
    }

    fn crash(&mut self, broker: usize) {
        self.brokers[broker] =
            Broker { coordinator: Coordinator::new(config()), appends: Vec::new(), claims: 0 };
        for (from, _) in &mut self.markers {
            if *from == Some(broker) {
                *from = None;
            }
        }
        if broker == self.leader {
            self.elect((broker + 1) % BROKERS);
        }
    }

    fn replicate(&mut self) {
        self.replicated += self.random.below(self.log.len() - self.replicated + 1);
        let leader = self.leader;
        let waiting = std::mem::take(&mut self.brokers[leader].appends);
        let (done, left) = waiting.into_iter().partition(|(_, at, _)| *at < self.replicated);
        self.brokers[leader].appends = left;
        for (append, ..) in done {
            self.step(leader, Event::Appended { append, result: Ok(()) });
        }
    }

    /// An append's time is up, though its record stays.
    fn time_out(&mut self) {
        let leader = self.leader;
        if !self.brokers[leader].appends.is_empty() {
            let (append, ..) = self.brokers[leader].appends.remove(0);
            self.step(leader, Event::Appended { append, result: Err(ErrorCode::REQUEST_TIMED_OUT) });
        }
    }

    fn deliver(&mut self, lossy: bool) {
        if self.markers.is_empty() {
            return;
        }
        let (from, markers) = self.markers.swap_remove(self.random.below(self.markers.len()));
        let producer = (markers.producer_id, markers.producer_epoch);
        let marker = Marker { coordinator_epoch: markers.coordinator_epoch, commit: markers.commit };
        let mut outcomes = Vec::new();
        for one in &markers.partitions {
            let refused = lossy && self.random.one_in(6);
            let data = self.partitions.get_mut(one).unwrap();
            let entry = Entry::End { producer_id: producer.0, commit: markers.commit };
            let outcome = match refused {
                true => MarkerOutcome::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                false => match data.append(producer, Some(marker), entry) {
                    Ok(()) if lossy && self.random.one_in(6) => {
                        MarkerOutcome::Failed(ErrorCode::REQUEST_TIMED_OUT)
                    }
                    Ok(()) => MarkerOutcome::Written,
                    Err(error) => MarkerOutcome::Failed(error),
                },
            };
            outcomes.push((one.clone(), outcome));
        }
        if let Some(broker) = from {
            let (id, coordinator_epoch) = (markers.transactional_id, markers.coordinator_epoch);
            self.step(broker, Event::MarkersWritten { transactional_id: id, coordinator_epoch, outcomes });
        }
    }

    fn claim(&mut self, broker: usize) {
        if self.brokers[broker].claims > 0 {
            self.brokers[broker].claims -= 1;
            self.next_id += 1;
            let failed = self.random.one_in(8);
            let result = if failed { Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) } else { Ok(self.next_id) };
            self.step(broker, Event::ProducerId(result));
        }
    }

    fn ask(&mut self, n: usize, request: Request, stray: bool) {
        self.next_token += 1;
        self.producers[n].waiting = Some(self.next_token);
        let broker = if stray && self.random.one_in(10) { self.random.below(BROKERS) } else { self.leader };
        if broker != self.leader {
            // As with Java, one that still believes to be the coordinator may answer from memory; but no client goes back
            // to it from a later one.
            self.step(broker, Event::Resigned { partition: 0 });
        }
        self.step(broker, Event::Request { token: Token(self.next_token), request });
    }

    /// A producer does what is next, or waits for an answer, or gives up on it.
    fn produce(&mut self, n: usize, wild: bool) {
        if let Some(token) = self.producers[n].waiting {
            match self.answers.remove(&token) {
                Some(response) => {
                    self.producers[n].waiting = None;
                    self.answered(n, response);
                }
                None if self.random.one_in(20) => self.producers[n].waiting = None,
                None => {}
            }
            return;
        }
        if wild && self.random.one_in(60) {
            self.producers[n] = producer(n);
            return;
        }
        let id = self.producers[n].id.clone();
        let (producer_id, producer_epoch) = self.producers[n].producer;
        match self.producers[n].phase.clone() {
            Phase::Init => {
                let request = Request::Init { transactional_id: id, timeout_ms: 3000, expected: None };
                self.ask(n, request, wild);
            }
            Phase::Idle => {
                let partition = (Str::from("t"), self.random.below(PARTITIONS as usize) as i32);
                self.producers[n].phase = Phase::Adding(partition);
            }
            Phase::Adding(partition) => {
                let partitions = vec![partition];
                let request =
                    Request::AddPartitions { transactional_id: id, producer_id, producer_epoch, partitions };
                self.ask(n, request, wild);
            }
            Phase::Ending(commit) => {
                let request = Request::End { transactional_id: id, producer_id, producer_epoch, commit };
                self.ask(n, request, wild);
            }
        }
    }

    fn answered(&mut self, n: usize, response: Response) {
        let phase = self.producers[n].phase.clone();
        let error = match response {
            Response::Init { error: ErrorCode::NONE, producer_id, producer_epoch } => {
                let next = self.next_transaction;
                self.next_transaction += 1;
                let one = &mut self.producers[n];
                (one.producer, one.phase, one.transaction) =
                    ((producer_id, producer_epoch), Phase::Idle, next);
                return;
            }
            Response::Init { error, .. } | Response::Done(error) => error,
            other => panic!("{other:?}"),
        };
        match (error, phase) {
            (ErrorCode::NONE, Phase::Adding(partition)) => {
                let (transaction, producer) = (self.producers[n].transaction, self.producers[n].producer);
                let entry = Entry::Data { transaction, producer_id: producer.0 };
                let data = self.partitions.get_mut(&partition).unwrap();
                if data.append(producer, None, entry).is_err() {
                    self.producers[n] = self::producer(n);
                    return;
                }
                self.producers[n].added.insert(partition);
                let more = !self.random.one_in(3);
                let commit = !self.random.one_in(3);
                self.producers[n].phase = if more { Phase::Idle } else { Phase::Ending(commit) };
            }
            (ErrorCode::NONE, Phase::Ending(commit)) => {
                self.told.insert(self.producers[n].transaction, commit);
                self.ended += 1;
                self.producers[n].added.clear();
                self.producers[n].transaction = self.next_transaction;
                self.next_transaction += 1;
                self.producers[n].phase = Phase::Idle;
            }
            (
                ErrorCode::CONCURRENT_TRANSACTIONS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::NOT_COORDINATOR,
                _,
            ) => {}
            // Shut out: a new life.
            (_, _) => self.producers[n] = producer(n),
        }
    }

    fn event(&mut self) {
        match self.random.below(40) {
            0 => {
                let leader = self.random.below(BROKERS);
                self.elect(leader);
            }
            1 if self.random.one_in(3) => {
                let broker = self.random.below(BROKERS);
                self.crash(broker);
            }
            2 => {
                let broker = self.random.below(BROKERS);
                if broker != self.leader {
                    self.step(broker, Event::Resigned { partition: 0 });
                }
            }
            3 => self.time_out(),
            4..=6 => {
                let broker = self.random.below(BROKERS);
                self.now += self.random.below(700) as i64;
                self.step(broker, Event::Tick);
            }
            7..=12 => self.replicate(),
            13..=20 => self.deliver(true),
            21..=23 => {
                let broker = self.random.below(BROKERS);
                self.claim(broker);
            }
            _ => {
                let n = self.random.below(IDS);
                self.produce(n, true);
            }
        }
    }

    /// Nothing fails any more, and nobody begins anything: all that was begun ends.
    fn settle(&mut self) {
        self.elect(self.leader);
        for _ in 0..400 {
            self.now += 100;
            for broker in 0..BROKERS {
                self.step(broker, Event::Tick);
                self.claim(broker);
            }
            self.replicated = self.log.len();
            self.replicate();
            while !self.markers.is_empty() {
                self.deliver(false);
            }
        }
    }

    /// Each transaction that has ended somewhere has ended in the same way everywhere, and as its producer was told.
    fn check(&self) {
        let mut ends: BTreeMap<u64, bool> = self.told.clone();
        for (partition, data) in &self.partitions {
            let mut open: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
            for entry in &data.log {
                match *entry {
                    Entry::Data { transaction, producer_id } => {
                        open.entry(producer_id).or_default().insert(transaction);
                    }
                    Entry::End { producer_id, commit } => {
                        let ended = open.remove(&producer_id).unwrap_or_default();
                        assert!(ended.len() <= 1, "one marker ends transactions {ended:?} on {partition:?}");
                        for transaction in ended {
                            let known = *ends.entry(transaction).or_insert(commit);
                            assert_eq!(known, commit, "transaction {transaction} on {partition:?}");
                        }
                    }
                }
            }
        }
    }

    fn check_all_ended(&self) {
        for (partition, data) in &self.partitions {
            assert_eq!(data.producers.first_unstable(), None, "{partition:?} has an open transaction");
        }
    }
}

fn producer(n: usize) -> Producer {
    Producer {
        id: Str::from(format!("id-{n}")),
        phase: Phase::Init,
        producer: (-1, -1),
        added: BTreeSet::new(),
        transaction: 0,
        waiting: None,
    }
}

fn run(seed: u64, events: usize) -> usize {
    let mut sim = Sim::new(seed);
    for n in 0..events {
        sim.event();
        if n % 50 == 0 {
            sim.check();
        }
    }
    sim.settle();
    sim.check();
    sim.check_all_ended();
    sim.ended
}

#[test]
fn a_transaction_ends_everywhere_as_its_producer_was_told_whatever_crashes() {
    let seeds = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let ended: usize = (0..seeds)
        .map(|seed| {
            let told = std::panic::catch_unwind(|| run(seed, 1500));
            told.unwrap_or_else(|why| panic!("seed {seed}: {:?}", why.downcast_ref::<String>()))
        })
        .sum();
    assert!(ended > 5 * seeds as usize, "{ended} transactions ended in {seeds} seeds");
}
