//! A member of a job that reads, works and writes exactly once: in one transaction are what it has made of its input, and how far
//! it has read. Another member goes on from there, whatever became of this one.

use super::founding::Founding;
use super::membership::{Manner, Membership, Tenure};
use super::requests::{self, Offsets, is_passing};
use crate::cluster::TRANSACTION_TOPIC;
use crate::cluster::broker::{Consumed, Produced, Request};
use crate::cluster::checks::Checks;
use crate::cluster::clients::{PATIENCE_MS, Place};
use crate::cluster::disk::Stored;
use crate::cluster::net::{Net, Party};
use crate::cluster::transaction_checks::value_of;
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::partition::{BatchMeta, Isolation};
use broker_core::{group, transaction};
use rand::RngExt;
use std::collections::BTreeMap;
use wire::Str;

/// Refusals of one batch as out of order, until a producer believes it.
const REFUSALS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Resting {
        until: u64,
    },
    Init,
    /// No transaction is open.
    Idle,
    Positions,
    Read(i32),
    AddOutput,
    Produce,
    AddOffsets,
    Commit,
    End {
        commit: bool,
    },
}

/// A part of an input, on its way to the output.
#[derive(Debug, Clone, Copy)]
struct Part {
    n: i32,
    to: i64,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Plan {
    pub inputs: Vec<TopicPartition>,
    pub output: TopicPartition,
    /// Of the transactional id, and of the group.
    pub homes: [TopicPartition; 2],
}

#[derive(Debug)]
pub struct Job {
    pub membership: Membership,
    founding: Founding,
    id: Str,
    plan: Plan,
    timeout_ms: i32,
    places: BTreeMap<TopicPartition, Place>,
    looks_for: usize,
    asleep_until: u64,
    phase: Phase,
    call: Option<(u64, u64)>,
    asked_at: u64,
    producer: (i64, i16),
    sequence: i32,
    refusals: u32,
    transaction: u64,
    parts: u64,
    tenure: Option<Tenure>,
    /// In whose name the open transaction's offsets are committed.
    author: Option<Tenure>,
    positions: Offsets,
    reached: Offsets,
    flight: Option<(Stored, Part)>,
    committed_at: u64,
}

impl Job {
    pub fn new(group: &str, id: &str, plan: Plan, manner: Manner, timeout_ms: i32) -> Job {
        Job {
            membership: Membership::new(group, plan.homes[1].clone(), manner),
            founding: Founding::default(),
            id: id.to_owned().into(),
            plan,
            timeout_ms,
            places: BTreeMap::new(),
            looks_for: 0,
            asleep_until: 0,
            phase: Phase::Resting { until: 0 },
            call: None,
            asked_at: 0,
            producer: (-1, -1),
            sequence: 0,
            refusals: 0,
            transaction: 0,
            parts: 0,
            tenure: None,
            author: None,
            positions: Offsets::new(),
            reached: Offsets::new(),
            flight: None,
            committed_at: 0,
        }
    }

    fn sought(&self) -> impl Iterator<Item = &TopicPartition> {
        self.plan.inputs.iter().chain(&self.plan.homes).chain([&self.plan.output])
    }

    /// The partition whose leader it wants to know next.
    pub fn wants(&self) -> &TopicPartition {
        self.sought().nth(self.looks_for).unwrap_or(&self.plan.output)
    }

    /// No transaction is open.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Positions | Phase::Read(_)) && self.parts == 0
    }

    fn learn(&mut self, place: Option<Place>) {
        let tp = self.wants().clone();
        if tp == self.plan.homes[1] {
            self.membership.learn(place);
        }
        if let Some(place) = place
            && self.places.get(&tp).is_none_or(|known| known.leader_epoch <= place.leader_epoch)
        {
            self.places.insert(tp, place);
        }
        self.looks_for = (self.looks_for + 1) % self.sought().count();
    }

    pub fn act(&mut self, at: usize, net: &mut Net, place: Option<Place>) {
        if self.asleep_until > net.now && !net.calm {
            return;
        }
        self.learn(place);
        if let Some((late, _)) = self.call.take_if(|(_, until)| *until <= net.now) {
            net.forget(late);
        }
        if !self.founding.act(at, net, &self.membership) {
            return;
        }
        if !net.calm {
            self.live(net);
        }
        self.keep_up(net);
        self.membership.act(at, net, false);
        if self.call.is_none() {
            self.go_on(at, net);
        }
    }

    fn live(&mut self, net: &mut Net) {
        match net.rng.random_range(0..500) {
            0 => {
                self.membership.die(net);
                self.rest(net);
            }
            1 if self.parts == 0 && self.membership.tenure.is_some() => self.membership.leave(),
            2..=4 => self.asleep_until = net.now + net.rng.random_range(100..2_500),
            _ => {}
        }
    }

    /// What has become of its partitions: what it does for those that are not its own any more is taken back.
    fn keep_up(&mut self, net: &mut Net) {
        if self.membership.is_called && self.parts == 0 && self.is_done() {
            self.membership.join_again();
        }
        if self.tenure == self.membership.tenure {
            return;
        }
        self.tenure = self.membership.tenure.clone();
        self.positions.clear();
        match self.phase {
            Phase::Resting { .. } | Phase::Init => {}
            _ if self.parts == 0 => (self.phase, self.call) = (Phase::Idle, None),
            // What is committed stands, if it was in time.
            Phase::Commit | Phase::End { .. } => {}
            _ if net.chance(50) => self.back_out(net),
            // It does not look, and is told when it commits.
            _ => {}
        }
    }

    /// Its process is gone, or its id is another's.
    fn rest(&mut self, net: &mut Net) {
        self.phase = Phase::Resting { until: net.now + net.rng.random_range(10..600) };
        (self.call, self.flight, self.parts) = (None, None, 0);
        self.positions.clear();
        self.reached.clear();
    }

    /// Its connection is closed: what was sent for the transaction does not come behind its end.
    fn back_out(&mut self, net: &mut Net) {
        if let Some((late, _)) = self.call.take() {
            net.forget(late);
        }
        (self.phase, self.flight) = (Phase::End { commit: false }, None);
    }

    fn begin(&mut self, net: &mut Net) {
        self.transaction = net.number();
        (self.parts, self.author, self.phase) = (0, None, Phase::Idle);
        self.reached.clear();
    }

    fn go_on(&mut self, at: usize, net: &mut Net) {
        match self.phase {
            Phase::Resting { until } if until > net.now => {}
            Phase::Resting { .. } => self.phase = Phase::Init,
            Phase::Init => {
                let (transactional_id, timeout_ms) = (self.id.clone(), self.timeout_ms);
                let request = transaction::Request::Init { transactional_id, timeout_ms, expected: None };
                self.ask(at, net, 0, Request::Transaction(request));
            }
            Phase::Idle => self.choose(net),
            Phase::Positions => {
                let request = requests::fetch(self.membership.group());
                self.ask(at, net, 1, Request::Group(Box::new(request)));
            }
            Phase::Read(n) => self.read(at, net, n),
            Phase::AddOutput => self.add(at, net, self.plan.output.clone()),
            Phase::Produce => self.produce(at, net),
            Phase::AddOffsets => self.add(at, net, self.plan.homes[1].clone()),
            Phase::Commit => {
                let Some(author) = &self.author else { return };
                let request = requests::txn_commit(&author.author, &self.id, self.producer, &self.reached);
                self.ask(at, net, 1, Request::Group(Box::new(request)));
                self.committed_at = net.now;
            }
            Phase::End { commit } => {
                let (producer_id, producer_epoch) = self.producer;
                let transactional_id = self.id.clone();
                let request =
                    transaction::Request::End { transactional_id, producer_id, producer_epoch, commit };
                self.ask(at, net, 0, Request::Transaction(request));
            }
        }
    }

    /// To the coordinator of its id (0) or of the group (1).
    fn ask(&mut self, at: usize, net: &mut Net, home: usize, request: Request) {
        let tp = self.plan.homes[home].clone();
        self.send(at, net, &tp, request);
    }

    fn send(&mut self, at: usize, net: &mut Net, tp: &TopicPartition, request: Request) {
        let Some(place) = self.places.get(tp).filter(|place| place.leader >= 0) else { return };
        let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
        (self.call, self.asked_at) = (Some((call, net.now + PATIENCE_MS)), net.now);
    }

    fn choose(&mut self, net: &mut Net) {
        let Some(tenure) = &self.tenure else { return };
        let own: Vec<i32> =
            tenure.partitions.iter().copied().filter(|n| (*n as usize) < self.plan.inputs.len()).collect();
        if own.is_empty() || self.membership.is_called && self.parts == 0 {
            return;
        }
        let n = own[net.rng.random_range(0..own.len())];
        self.phase = if self.positions.contains_key(&n) { Phase::Read(n) } else { Phase::Positions };
    }

    fn read(&mut self, at: usize, net: &mut Net, n: i32) {
        let tp = self.plan.inputs[n as usize].clone();
        let Some(place) = self.places.get(&tp).copied() else { return self.phase = Phase::Idle };
        let Some(offset) = self.reached.get(&n).or(self.positions.get(&n)).copied() else {
            return self.phase = Phase::Idle;
        };
        let isolation = Isolation::ReadUncommitted;
        let (id, leader_epoch) = (place.id, place.leader_epoch);
        self.send(at, net, &tp.clone(), Request::Consume { tp, id, leader_epoch, offset, isolation });
    }

    fn add(&mut self, at: usize, net: &mut Net, tp: TopicPartition) {
        let (producer_id, producer_epoch) = self.producer;
        let request = transaction::Request::AddPartitions {
            transactional_id: self.id.clone(),
            producer_id,
            producer_epoch,
            partitions: vec![(tp.topic, tp.partition)],
        };
        self.ask(at, net, 0, Request::Transaction(request));
    }

    fn produce(&mut self, at: usize, net: &mut Net) {
        let Some((batch, _)) = self.flight else { return };
        let tp = self.plan.output.clone();
        self.send(at, net, &tp.clone(), Request::Produce { tp, acks: -1, batch });
    }

    // ---- answers

    fn takes(&mut self, net: &Net, call: u64) -> bool {
        (self.asleep_until <= net.now || net.calm) && self.call.take_if(|(asked, _)| *asked == call).is_some()
    }

    pub fn consumed(&mut self, net: &mut Net, call: u64, consumed: &Consumed) {
        let Phase::Read(n) = self.phase else { return };
        if !self.takes(net, call) {
            return;
        }
        self.phase = if self.parts == 0 { Phase::Idle } else { Phase::AddOffsets };
        // Whoever lags does not have it yet.
        let Ok((_, batches)) = &consumed.fetched else { return };
        let from = self.reached.get(&n).or(self.positions.get(&n)).copied().unwrap_or(0);
        let (Some(last), Some(tenure)) = (batches.last(), &self.tenure) else { return };
        if self.parts == 0 {
            self.author = Some(tenure.clone());
        }
        self.parts += 1;
        let meta = BatchMeta {
            base_offset: 0,
            last_offset_delta: 0,
            leader_epoch: -1,
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            base_sequence: self.sequence,
            max_timestamp: net.now as i64,
            size: 100,
            transactional: true,
            marker: None,
        };
        self.sequence += 1;
        let (value, part) = (value_of(self.transaction, self.parts), Part { n, to: last.meta.next_offset() });
        net.note(|| format!("{} makes {value} of {from} to {part:?}", self.id));
        self.flight = Some((Stored { meta, value }, part));
        self.refusals = 0;
        self.phase = if self.parts == 1 { Phase::AddOutput } else { Phase::Produce };
    }

    pub fn produced(&mut self, net: &mut Net, checks: &mut Checks, call: u64, produced: &Produced) {
        if self.phase != Phase::Produce || !self.takes(net, call) {
            return;
        }
        let Some((batch, part)) = self.flight else { return };
        let result = produced.result;
        net.note(|| format!("{} hears of {}: {result:?}", self.id, batch.value));
        match result.error {
            ErrorCode::NONE => {
                let from = self.reached.get(&part.n).or(self.positions.get(&part.n)).copied();
                let Some(from) = from else { return self.back_out(net) };
                checks.acknowledged(
                    (produced.id, self.plan.output.partition),
                    result.base_offset,
                    batch.value,
                );
                checks.transactions.acknowledged(batch.value);
                self.reached.insert(part.n, part.to);
                checks.groups.made(batch.value, part.n, (from, part.to));
                self.flight = None;
                self.phase =
                    if self.parts < 3 && net.chance(30) { Phase::Read(part.n) } else { Phase::AddOffsets };
            }
            ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::KAFKA_STORAGE_ERROR => {}
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => {
                self.refusals += 1;
                if self.refusals == REFUSALS {
                    self.rest(net);
                }
            }
            ErrorCode::INVALID_PRODUCER_EPOCH => self.rest(net),
            other => checks.fail(format!("{} of {} was refused: {other}", batch.value, self.id)),
        }
    }

    pub fn decided(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        call: u64,
        response: &transaction::Response,
    ) {
        if !self.takes(net, call) {
            return;
        }
        let (id, phase) = (&self.id, self.phase);
        net.note(|| format!("{id} in {phase:?} hears {response:?}"));
        let error = match response {
            transaction::Response::Init { error: ErrorCode::NONE, producer_id, producer_epoch } => {
                self.producer = (*producer_id, *producer_epoch);
                checks.transactions.producer(&self.id, self.producer);
                self.sequence = 0;
                return self.begin(net);
            }
            transaction::Response::Init { error, .. } | transaction::Response::Done(error) => *error,
            other => return checks.fail(format!("{id} hears {other:?}")),
        };
        match (error, phase) {
            (ErrorCode::NONE, Phase::AddOutput) => self.phase = Phase::Produce,
            (ErrorCode::NONE, Phase::AddOffsets) => self.phase = Phase::Commit,
            (ErrorCode::NONE, Phase::End { commit }) => {
                checks.transactions.told(self.transaction, commit);
                self.ended(net, checks, commit);
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
                Phase::AddOutput | Phase::AddOffsets | Phase::End { .. },
            ) => self.rest(net),
            (other, phase) => checks.fail(format!("{} hears {other} in {phase:?}", self.id)),
        }
    }

    fn ended(&mut self, net: &mut Net, checks: &mut Checks, commit: bool) {
        if let Some(author) = self.author.clone().filter(|_| commit) {
            checks.groups.committed(&author, &self.reached, self.committed_at);
            if self.tenure == self.author {
                self.positions.extend(std::mem::take(&mut self.reached));
            }
        }
        if !commit {
            self.positions.clear();
        }
        self.begin(net);
    }

    pub fn answered(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: &group::Response) {
        let asleep = self.asleep_until > net.now && !net.calm;
        if asleep
            || self.founding.answered(call, response)
            || self.membership.answered(net, checks, call, response)
            || !self.takes(net, call)
        {
            return;
        }
        match self.phase {
            Phase::Positions => self.positioned(net, checks, response),
            Phase::Commit => self.committed(net, checks, response),
            _ => {}
        }
    }

    fn positioned(&mut self, net: &mut Net, checks: &mut Checks, response: &group::Response) {
        self.phase = Phase::Idle;
        let Some(tenure) = self.tenure.clone().filter(|own| self.membership.tenure.as_ref() == Some(own))
        else {
            return;
        };
        let Some(found) = requests::found(checks, &tenure, response) else { return };
        net.note(|| format!("{} finds {found:?}", self.id));
        for n in tenure.partitions.iter().filter(|n| (**n as usize) < self.plan.inputs.len()) {
            match found.get(n) {
                Some(Ok(offset)) if !self.positions.contains_key(n) => {
                    checks.groups.fetched(&tenure, *n, *offset, (self.asked_at, net.now));
                    self.positions.insert(*n, (*offset).max(0));
                }
                Some(Ok(_) | Err(ErrorCode::UNSTABLE_OFFSET_COMMIT)) => {}
                other => checks.fail(format!("{tenure:?} hears {other:?} of partition {n}")),
            }
        }
    }

    fn committed(&mut self, net: &mut Net, checks: &mut Checks, response: &group::Response) {
        let error = requests::commit_error(response);
        let (id, reached) = (&self.id, &self.reached);
        net.note(|| format!("{id} hears of {reached:?}: {error}"));
        match error {
            ErrorCode::NONE => self.phase = Phase::End { commit: net.chance(85) },
            ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                checks.groups.fenced += 1;
                if self.membership.tenure == self.author {
                    self.membership.refused(net, error);
                }
                self.back_out(net);
            }
            ErrorCode::INVALID_PRODUCER_EPOCH => self.rest(net),
            error if is_passing(error) => {}
            error => checks.fail(format!("{} hears {error} of its offsets", self.id)),
        }
    }

    /// Where a transactional id's coordinator has its log.
    pub fn home_of(config: &transaction::Config, id: &str) -> TopicPartition {
        let partition = transaction::Coordinator::new(config.clone()).partition_for(id);
        TopicPartition { topic: TRANSACTION_TOPIC.into(), partition }
    }
}
