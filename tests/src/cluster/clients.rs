//! Clients with recorded histories: producers of either kind of promise, and consumers.

use super::broker::{Consumed, Produced, Request, Response};
use super::checks::Checks;
use super::disk::{Aborted, Stored};
use super::groups::committer::Committer;
use super::groups::job::Job;
use super::groups::simple::Simple;
use super::net::{Net, Party};
use super::transactional::Transactional;
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::partition::{BatchMeta, Isolation};
use rand::RngExt;
use std::collections::{BTreeSet, VecDeque};
use wire::kafka::Uuid;

pub const PATIENCE_MS: u64 = 300;
/// Leaders that refuse the first sequence under way as out of order, one after the other, until a producer believes it:
/// of several batches under way, a log that was read anew knows the last one only.
const REFUSALS: u32 = 8;

/// Where a partition is to be found, as some broker says.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub id: Uuid,
    pub leader: i32,
    pub leader_epoch: i32,
}

#[derive(Debug)]
struct Flight {
    batch: Stored,
    call: Option<(u64, u64)>,
    done: bool,
}

/// Idempotent with acks=all and several batches under way, or without either (`producer_id` -1).
#[derive(Debug)]
pub struct Producer {
    pub tp: TopicPartition,
    producer_id: i64,
    epoch: i16,
    /// Of the first batch under way, as out of order.
    refusals: u32,
    sequence: i32,
    value: u64,
    flights: VecDeque<Flight>,
    flights_max: usize,
    /// Topic, sequence and offset of the last batch that was acknowledged.
    last: Option<(Uuid, i32, i64)>,
}

/// Reads on from where it is, from whoever leads as far as it knows; it never goes back in epochs.
#[derive(Debug)]
pub struct Consumer {
    pub tp: TopicPartition,
    isolation: Isolation,
    place: Option<Place>,
    position: i64,
    /// The largest end that it was told.
    latest: i64,
    call: Option<(u64, u64)>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Client {
    Producer(Producer),
    Consumer(Consumer),
    Transactional(Transactional),
    Committer(Committer),
    Simple(Simple),
    Job(Job),
}

impl Client {
    pub fn producer(at: usize, tp: TopicPartition, strict: bool, flights_max: usize) -> Client {
        Client::Producer(Producer {
            tp,
            producer_id: if strict { 1000 + at as i64 } else { -1 },
            epoch: 0,
            refusals: 0,
            sequence: 0,
            value: at as u64 + 1,
            flights: VecDeque::new(),
            flights_max: if strict { flights_max } else { 1 },
            last: None,
        })
    }

    pub fn consumer(tp: TopicPartition, isolation: Isolation) -> Client {
        Client::Consumer(Consumer { tp, isolation, place: None, position: 0, latest: 0, call: None })
    }

    pub fn tp(&self) -> &TopicPartition {
        match self {
            Client::Producer(producer) => &producer.tp,
            Client::Consumer(consumer) => &consumer.tp,
            Client::Transactional(producer) => producer.wants(),
            Client::Committer(member) => &member.membership.home,
            Client::Simple(simple) => simple.home(),
            Client::Job(job) => job.wants(),
        }
    }

    /// Nothing is under way that has to be written: topics of other names come and go.
    pub fn is_done(&self) -> bool {
        match self {
            Client::Producer(producer) => !producer.tp.topic.starts_with('t') || producer.flights.is_empty(),
            Client::Consumer(_) => true,
            Client::Transactional(producer) => producer.is_done(),
            Client::Committer(member) => member.is_done(),
            Client::Simple(simple) => simple.is_done(),
            Client::Job(job) => job.is_done(),
        }
    }

    pub fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>, closing: bool) {
        match self {
            Client::Producer(producer) => producer.act(at, net, place, closing),
            Client::Consumer(consumer) => consumer.act(at, net, place),
            Client::Transactional(producer) => producer.act(at, net, place, closing),
            Client::Committer(member) => member.act(at, net, place, closing),
            Client::Simple(simple) => simple.act(at, net, place, closing),
            Client::Job(job) => job.act(at, net, place),
        }
    }

    pub fn take(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: Response) {
        match (self, response) {
            (Client::Producer(producer), Response::Produce(produced)) => {
                producer.take(net, checks, call, &produced);
            }
            (Client::Consumer(consumer), Response::Consume(consumed)) => {
                consumer.take(checks, call, &consumed);
            }
            (Client::Transactional(producer), Response::Transaction(response)) => {
                producer.answered(net, checks, call, &response);
            }
            (Client::Transactional(producer), Response::Produce(produced)) => {
                producer.produced(net, checks, call, &produced);
            }
            (Client::Committer(member), Response::Group(response)) => {
                member.answered(net, checks, call, &response);
            }
            (Client::Simple(simple), Response::Group(response)) => {
                simple.answered(net, checks, call, &response);
            }
            (Client::Job(job), Response::Group(response)) => job.answered(net, checks, call, &response),
            (Client::Job(job), Response::Transaction(response)) => job.decided(net, checks, call, &response),
            (Client::Job(job), Response::Produce(produced)) => job.produced(net, checks, call, &produced),
            (Client::Job(job), Response::Consume(consumed)) => job.consumed(net, call, &consumed),
            _ => {}
        }
    }
}

impl Producer {
    fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>, closing: bool) {
        for flight in &mut self.flights {
            flight.call = flight.call.filter(|(_, until)| *until > net.now);
        }
        if self.flights.len() < self.flights_max && !closing && net.chance(60) {
            let batch = self.next(net);
            self.flights.push_back(Flight { batch, call: None, done: false });
        }
        let Some(place) = place.filter(|place| place.leader >= 0) else { return };
        let acks = if self.producer_id >= 0 { -1 } else { 1 };
        for flight in self.flights.iter_mut().filter(|flight| flight.call.is_none() && !flight.done) {
            let request = Request::Produce { tp: self.tp.clone(), acks, batch: flight.batch };
            let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
            flight.call = Some((call, net.now + PATIENCE_MS));
        }
    }

    fn next(&mut self, net: &mut Net) -> Stored {
        let count = net.rng.random_range(1..4);
        let strict = self.producer_id >= 0;
        let meta = BatchMeta {
            base_offset: 0,
            last_offset_delta: count - 1,
            leader_epoch: -1,
            producer_id: self.producer_id,
            producer_epoch: if strict { self.epoch } else { -1 },
            base_sequence: if strict { self.sequence } else { -1 },
            max_timestamp: net.now as i64,
            size: 100,
            transactional: false,
            marker: None,
        };
        self.sequence += count;
        self.value += 100;
        Stored { meta, value: self.value }
    }

    /// What is under way has an unknown outcome, and the producer goes on in a new epoch.
    fn give_up(&mut self, checks: &mut Checks) {
        checks.given_up += self.flights.len() as u64;
        self.flights.clear();
        (self.epoch, self.sequence, self.refusals, self.last) = (self.epoch + 1, 0, 0, None);
    }

    fn take(&mut self, net: &mut Net, checks: &mut Checks, call: u64, produced: &Produced) {
        let found = self.flights.iter().position(|flight| flight.call.is_some_and(|(c, _)| c == call));
        let Some(found) = found else { return };
        let (result, batch) = (produced.result, self.flights[found].batch);
        self.flights[found].call = None;
        let (tp, sequence) = (&self.tp, batch.meta.base_sequence);
        net.note(|| {
            format!("a producer of {tp:?} hears of {} with sequence {sequence}: {result:?}", batch.value)
        });
        match result.error {
            ErrorCode::NONE => {
                // What is under way is a window: as long as the first batch waits, no more than so many follow it.
                self.flights[found].done = true;
                while self.flights.pop_front_if(|first| first.done).is_some() {
                    self.refusals = 0;
                }
                if self.producer_id < 0 {
                    return;
                }
                checks.acknowledged((produced.id, self.tp.partition), result.base_offset, batch.value);
                let last = self.last.filter(|(id, last, _)| *id == produced.id && *last < sequence);
                if let Some((_, before, offset)) =
                    last.filter(|(.., at)| *at >= result.base_offset && !checks.unclean)
                {
                    checks.fail(format!(
                        "sequence {sequence} of {tp:?} is at {}, and {before} at {offset}",
                        result.base_offset
                    ));
                }
                if self.last.is_none_or(|(id, last, _)| id != produced.id || last < sequence) {
                    self.last = Some((produced.id, sequence, result.base_offset));
                }
            }
            ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::KAFKA_STORAGE_ERROR
            | ErrorCode::INVALID_PRODUCER_EPOCH => {}
            // One that came before its predecessor, or to a leader of the past, or else one that is forgotten.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                self.refusals += u32::from(found == 0);
                if self.refusals == REFUSALS {
                    self.give_up(checks);
                }
            }
            other => checks.fail(format!("value {} of {tp:?} was refused: {other}", batch.value)),
        }
    }
}

impl Consumer {
    fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>) {
        if self.call.is_some_and(|(_, until)| until > net.now) {
            return;
        }
        if let Some(place) = place {
            if self.place.is_some_and(|known| known.id != place.id) {
                // A topic made anew; word of the old one may still come from a broker that lags.
                (self.position, self.latest) = (0, 0);
            }
            if self.place.is_none_or(|known| known.id != place.id || known.leader_epoch <= place.leader_epoch)
            {
                self.place = Some(place);
            }
        }
        let Some(place) = self.place.filter(|place| place.leader >= 0) else { return };
        let request = Request::Consume {
            tp: self.tp.clone(),
            id: place.id,
            leader_epoch: place.leader_epoch,
            offset: self.position,
            isolation: self.isolation,
        };
        let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
        self.call = Some((call, net.now + PATIENCE_MS));
    }

    fn take(&mut self, checks: &mut Checks, call: u64, consumed: &Consumed) {
        if self.call.is_none_or(|(asked, _)| asked != call) {
            return;
        }
        self.call = None;
        let Some(place) = self.place else { return };
        let (tp, key) = (&self.tp, (place.id, self.tp.partition));
        if let Ok(bounds) = consumed.bounds
            && !bounds.not_available
        {
            if bounds.latest < self.latest && !checks.unclean {
                let (before, now) = (self.latest, bounds.latest);
                checks.fail(format!("a consumer saw the end of {tp:?} at {before}, now at {now}"));
            }
            self.latest = bounds.latest;
        }
        match &consumed.fetched {
            Ok((_, batches)) => {
                let mut decided = Decided::new(&consumed.aborted);
                for stored in batches {
                    checks.read(key, stored);
                    if self.isolation == Isolation::ReadCommitted && decided.lets_through(&stored.meta) {
                        checks.transactions.seen(key, stored);
                    }
                    self.position = stored.meta.next_offset();
                }
                if self.isolation == Isolation::ReadCommitted {
                    checks.transactions.read_to(key, self.position);
                }
            }
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) if checks.unclean => self.position = 0,
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                checks.fail(format!(
                    "a consumer of {tp:?} is at {}, which broker {} lacks",
                    self.position, place.leader
                ));
            }
            Err(_) => {}
        }
    }
}

/// Leaves out what belongs to aborted transactions, as those who read only what is committed do.
struct Decided {
    /// By first offset, the last one first.
    ahead: Vec<Aborted>,
    producers: BTreeSet<i64>,
}

impl Decided {
    fn new(aborted: &[Aborted]) -> Decided {
        let mut ahead = aborted.to_vec();
        ahead.sort_by_key(|one| std::cmp::Reverse(one.first_offset));
        Decided { ahead, producers: BTreeSet::new() }
    }

    fn lets_through(&mut self, batch: &BatchMeta) -> bool {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= batch.last_offset()) {
            self.producers.insert(next.producer_id);
        }
        match batch.marker {
            Some(marker) if !marker.commit => drop(self.producers.remove(&batch.producer_id)),
            Some(_) => {}
            None => return !(batch.transactional && self.producers.contains(&batch.producer_id)),
        }
        false
    }
}
