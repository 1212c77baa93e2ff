//! Producers with transactional ids. Each id is two rivals': who has been shut out rests, and then takes the id back. Now and
//! then one dies in the middle of everything, and what it had sent is still on its way.

use super::broker::{Produced, Request};
use super::checks::Checks;
use super::clients::{PATIENCE_MS, Place};
use super::disk::Stored;
use super::net::{Net, Party};
use super::transaction_checks::value_of;
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::partition::BatchMeta;
use broker_core::transaction::{self, Response};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

/// Batches of one transaction.
const BATCHES_MAX: u64 = 4;
/// Refusals of one batch as out of order, until a producer believes it.
const REFUSALS: u32 = 8;

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Resting { until: u64 },
    Init,
    Open,
    Adding(usize),
    Ending { commit: bool },
}

#[derive(Debug)]
struct Flight {
    target: usize,
    batch: Stored,
    call: Option<(u64, u64)>,
    refusals: u32,
}

#[derive(Debug)]
pub struct Transactional {
    id: Str,
    /// Where its coordinator's log is.
    home: TopicPartition,
    targets: Vec<TopicPartition>,
    timeout_ms: i32,
    phase: Phase,
    producer: (i64, i16),
    /// The coordinator, and partitions of `targets`; it never goes back in epochs.
    places: BTreeMap<TopicPartition, Place>,
    /// Which place it looks for next.
    looks_for: usize,
    call: Option<(u64, u64)>,
    added: BTreeSet<usize>,
    sequences: BTreeMap<usize, i32>,
    /// One batch of each partition at most.
    flights: Vec<Flight>,
    transaction: u64,
    batches: u64,
    batches_wanted: u64,
}

impl Transactional {
    pub fn new(
        id: &str,
        home: TopicPartition,
        targets: Vec<TopicPartition>,
        timeout_ms: i32,
    ) -> Transactional {
        Transactional {
            id: id.to_owned().into(),
            home,
            targets,
            timeout_ms,
            phase: Phase::Resting { until: 0 },
            producer: (-1, -1),
            places: BTreeMap::new(),
            looks_for: 0,
            call: None,
            added: BTreeSet::new(),
            sequences: BTreeMap::new(),
            flights: vec![],
            transaction: 0,
            batches: 0,
            batches_wanted: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        match self.phase {
            Phase::Resting { .. } | Phase::Init => true,
            _ => self.added.is_empty() && self.flights.is_empty(),
        }
    }

    /// The partition whose leader it wants to know next.
    pub fn wants(&self) -> &TopicPartition {
        self.targets.get(self.looks_for).unwrap_or(&self.home)
    }

    pub fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>, closing: bool) {
        self.learn(place);
        self.give_up_late_calls(net);
        if !net.calm && net.rng.random_range(0..300) == 0 {
            let line = format!("a producer of {} dies", self.id);
            net.note(|| line);
            return self.rest(net);
        }
        self.send_batches(at, net);
        if self.call.is_some() {
            return;
        }
        match self.phase.clone() {
            Phase::Resting { until } if until > net.now || closing => {}
            Phase::Resting { .. } => self.phase = Phase::Init,
            Phase::Init if closing => {}
            Phase::Init => {
                let timeout_ms = self.timeout_ms;
                self.ask(at, net, |transactional_id, _| transaction::Request::Init {
                    transactional_id,
                    timeout_ms,
                    expected: None,
                });
            }
            Phase::Open => self.go_on(net, closing),
            Phase::Adding(target) => {
                let tp = self.targets[target].clone();
                self.ask(at, net, |transactional_id, (producer_id, producer_epoch)| {
                    transaction::Request::AddPartitions {
                        transactional_id,
                        producer_id,
                        producer_epoch,
                        partitions: vec![(tp.topic, tp.partition)],
                    }
                });
            }
            Phase::Ending { commit } => {
                self.ask(at, net, |transactional_id, (producer_id, producer_epoch)| {
                    transaction::Request::End { transactional_id, producer_id, producer_epoch, commit }
                });
            }
        }
    }

    fn learn(&mut self, place: Option<Place>) {
        let tp = self.wants().clone();
        if let Some(place) = place
            && self.places.get(&tp).is_none_or(|known| known.leader_epoch <= place.leader_epoch)
        {
            self.places.insert(tp, place);
        }
        self.looks_for = (self.looks_for + 1) % (self.targets.len() + 1);
    }

    /// Their connections are closed: what is on the way does not arrive any more.
    fn give_up_late_calls(&mut self, net: &mut Net) {
        let now = net.now;
        for call in std::iter::once(&mut self.call).chain(self.flights.iter_mut().map(|f| &mut f.call)) {
            if let Some((late, _)) = call.take_if(|(_, until)| *until <= now) {
                net.forget(late);
            }
        }
    }

    fn rest(&mut self, net: &mut Net) {
        let until = net.now + net.rng.random_range(10..1_000);
        self.phase = Phase::Resting { until };
        self.call = None;
        self.flights.clear();
        self.added.clear();
    }

    fn ask(
        &mut self,
        at: usize,
        net: &mut Net,
        request: impl FnOnce(Str, (i64, i16)) -> transaction::Request,
    ) {
        let Some(place) = self.places.get(&self.home).filter(|place| place.leader >= 0) else { return };
        let request = Request::Transaction(request(self.id.clone(), self.producer));
        let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
        self.call = Some((call, net.now + PATIENCE_MS));
    }

    /// Another batch, or the end.
    fn go_on(&mut self, net: &mut Net, closing: bool) {
        if self.batches < self.batches_wanted && !closing {
            let target = net.rng.random_range(0..self.targets.len());
            if !self.added.contains(&target) {
                self.phase = Phase::Adding(target);
            } else if self.flights.iter().all(|flight| flight.target != target) {
                let batch = self.next_batch(net, target);
                self.flights.push(Flight { target, batch, call: None, refusals: 0 });
            }
        } else if self.flights.is_empty() && !self.added.is_empty() {
            self.phase = Phase::Ending { commit: net.chance(70) };
        }
    }

    fn next_batch(&mut self, net: &mut Net, target: usize) -> Stored {
        let count = net.rng.random_range(1..4);
        let sequence = self.sequences.entry(target).or_default();
        let meta = BatchMeta {
            base_offset: 0,
            last_offset_delta: count - 1,
            leader_epoch: -1,
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            base_sequence: *sequence,
            max_timestamp: net.now as i64,
            size: 100,
            transactional: true,
            marker: None,
        };
        *sequence += count;
        self.batches += 1;
        Stored { meta, value: value_of(self.transaction, self.batches) }
    }

    fn send_batches(&mut self, at: usize, net: &mut Net) {
        for flight in self.flights.iter_mut().filter(|flight| flight.call.is_none()) {
            let tp = &self.targets[flight.target];
            let Some(place) = self.places.get(tp).filter(|place| place.leader >= 0) else { continue };
            let request = Request::Produce { tp: tp.clone(), acks: -1, batch: flight.batch };
            let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
            flight.call = Some((call, net.now + PATIENCE_MS));
        }
    }

    pub fn answered(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: &Response) {
        if self.call.take_if(|(asked, _)| *asked == call).is_none() {
            return;
        }
        let (id, phase) = (&self.id, &self.phase);
        net.note(|| format!("a producer of {id} in {phase:?} hears {response:?}"));
        let error = match response {
            Response::Init { error: ErrorCode::NONE, producer_id, producer_epoch } => {
                self.producer = (*producer_id, *producer_epoch);
                checks.transactions.producer(&self.id, self.producer);
                self.sequences.clear();
                return self.begin(net);
            }
            Response::Init { error, .. } | Response::Done(error) => *error,
            other => return checks.fail(format!("a producer hears {other:?}")),
        };
        match (error, self.phase.clone()) {
            (ErrorCode::NONE, Phase::Adding(target)) => {
                self.added.insert(target);
                self.phase = Phase::Open;
            }
            (ErrorCode::NONE, Phase::Ending { commit }) => {
                checks.transactions.told(self.transaction, commit);
                self.begin(net);
            }
            (
                ErrorCode::CONCURRENT_TRANSACTIONS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::NOT_COORDINATOR,
                _,
            ) => {}
            (
                ErrorCode::PRODUCER_FENCED
                | ErrorCode::INVALID_PRODUCER_EPOCH
                | ErrorCode::INVALID_PRODUCER_ID_MAPPING
                | ErrorCode::INVALID_TXN_STATE,
                Phase::Adding(_) | Phase::Ending { .. },
            ) => self.rest(net),
            (other, phase) => checks.fail(format!("{} hears {other} in {phase:?}", self.id)),
        }
    }

    fn begin(&mut self, net: &mut Net) {
        self.transaction = net.number();
        self.batches = 0;
        self.batches_wanted = net.rng.random_range(1..=BATCHES_MAX);
        self.added.clear();
        self.phase = Phase::Open;
    }

    pub fn produced(&mut self, net: &mut Net, checks: &mut Checks, call: u64, produced: &Produced) {
        let found = self.flights.iter().position(|flight| flight.call.is_some_and(|(c, _)| c == call));
        let Some(found) = found else { return };
        let flight = &mut self.flights[found];
        flight.call = None;
        let (batch, tp, result) = (flight.batch, self.targets[flight.target].clone(), produced.result);
        net.note(|| format!("{} of {tp:?} in a transaction: {result:?}", batch.value));
        match result.error {
            ErrorCode::NONE => {
                checks.acknowledged((produced.id, tp.partition), result.base_offset, batch.value);
                checks.transactions.acknowledged(batch.value);
                self.flights.remove(found);
            }
            ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::KAFKA_STORAGE_ERROR => {}
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                flight.refusals += 1;
                if flight.refusals == REFUSALS {
                    self.rest(net);
                }
            }
            ErrorCode::INVALID_PRODUCER_EPOCH => self.rest(net),
            other => checks.fail(format!("{} of {tp:?} was refused: {other}", batch.value)),
        }
    }
}
