//! A broker's transaction coordinator, and its log, its markers and its callers, as the broker crate's
//! `shard::transactions` and `markers` are.

use super::*;
use crate::cluster::{GROUP_TOPIC, TRANSACTION_TOPIC};
use broker_core::transaction::{
    AppendId, Coordinator, Effect as TxnEffect, Event as TxnEvent, MarkerOutcome, Markers,
};
use bytes::Bytes;
use wire::batch::message_set::Entry;
use wire::batch::{Batch, BatchBuilder, control};

/// Where wall clocks begin; each broker's is off by a few ms.
const WALL_MS: i64 = 1_000_000;
const SKEW_MS: i64 = 7;

/// The coordinator, and who waits for it.
pub struct Transactions {
    coordinator: Coordinator,
    /// What it has not looked at yet.
    events: VecDeque<TxnEvent>,
    waiting: BTreeMap<Token, (Party, u64)>,
    tokens: u64,
    /// Partitions to be read when their time has come, and the epochs for which.
    loads: Vec<(u64, i32, i32)>,
    /// When producer ids that were claimed come.
    claims: VecDeque<u64>,
    /// Markers under way, by their calls, and when they are given up.
    markers: BTreeMap<u64, (Markers, u64)>,
}

impl Transactions {
    pub fn new(net: &Net) -> Transactions {
        Transactions {
            coordinator: Coordinator::new(net.transactions.clone()),
            events: VecDeque::new(),
            waiting: BTreeMap::new(),
            tokens: 0,
            loads: vec![],
            claims: VecDeque::new(),
            markers: BTreeMap::new(),
        }
    }

    pub fn appended(&mut self, append: AppendId, error: ErrorCode) {
        let result = if error.is_ok() { Ok(()) } else { Err(error) };
        self.events.push_back(TxnEvent::Appended { append, result });
    }
}

impl Broker {
    pub(super) fn wall(&self, now: u64) -> i64 {
        WALL_MS + now as i64 + i64::from(self.id) * SKEW_MS
    }

    /// A partition got a leader here, in that epoch, or lost it.
    pub(super) fn coordinates(&mut self, tp: &TopicPartition, leads: Option<i32>) {
        if tp.topic == GROUP_TOPIC {
            return self.looks_after_groups(tp.partition, leads);
        }
        let Some(life) = self.up.as_mut().filter(|_| tp.topic == TRANSACTION_TOPIC) else { return };
        let partition = tp.partition;
        life.transactions.events.push_back(match leads {
            Some(epoch) => TxnEvent::Elected { partition, epoch },
            None => TxnEvent::Resigned { partition },
        });
    }

    pub(super) fn transaction_request(&mut self, from: Party, call: u64, request: transaction::Request) {
        let Some(life) = &mut self.up else { return };
        let transactions = &mut life.transactions;
        transactions.tokens += 1;
        let token = Token(transactions.tokens);
        transactions.waiting.insert(token, (from, call));
        transactions.events.push_back(TxnEvent::Request { token, request });
    }

    /// What became of a marker that was sent.
    pub(super) fn marked(&mut self, call: u64, error: ErrorCode) {
        let Some(life) = &mut self.up else { return };
        let Some((markers, _)) = life.transactions.markers.remove(&call) else { return };
        let outcome = if error.is_ok() { MarkerOutcome::Written } else { MarkerOutcome::Failed(error) };
        life.transactions.events.push_back(written(markers, outcome));
    }

    /// Whatever the coordinators have to do now, and all that follows from it.
    pub(super) fn coordinate(&mut self, net: &mut Net, checks: &mut Checks) {
        let (now, wall) = (net.now, self.wall(net.now));
        self.bring(net, checks, now);
        self.bring_to_groups(net, checks);
        let Some(life) = &mut self.up else { return };
        if life.transactions.coordinator.deadline().is_some_and(|at| at <= wall) {
            life.transactions.events.push_back(TxnEvent::Tick);
        }
        loop {
            let groups = self.group_step(net, checks);
            let Some(life) = &mut self.up else { return };
            let Some(event) = life.transactions.events.pop_front() else {
                if groups {
                    continue;
                }
                return;
            };
            let mut effects = vec![];
            life.transactions.coordinator.step(wall, event, &mut effects);
            effects.into_iter().for_each(|effect| self.coordinated(net, checks, effect));
        }
    }

    fn coordinated(&mut self, net: &mut Net, checks: &mut Checks, effect: TxnEffect) {
        let (id, party) = (self.id, self.party());
        let Some(life) = &mut self.up else { return };
        match effect {
            TxnEffect::Reply { token, response } => {
                if let Some((caller, call)) = life.transactions.waiting.remove(&token) {
                    net.answer(party, caller, call, Response::Transaction(response));
                }
            }
            TxnEffect::Append { partition, append, records } => {
                let tp = TopicPartition { topic: TRANSACTION_TOPIC.into(), partition };
                let records: Vec<_> = records.into_iter().map(|record| (record.key, record.value)).collect();
                let batch = batch_of(net, &records, self.wall(net.now), None);
                self.produce(net, checks, Waiter::Append(append), &tp, -1, batch, Origin::Coordinator);
            }
            TxnEffect::ClaimProducerId => {
                let after = net.rng.random_range(1..30);
                life.transactions.claims.push_back(net.now + after);
            }
            TxnEffect::SendMarkers(markers) => self.send_markers(net, markers),
            TxnEffect::Load { partition, epoch } => {
                let after = net.rng.random_range(0..40);
                life.transactions.loads.push((net.now + after, partition, epoch));
            }
            TxnEffect::Info(line) | TxnEffect::Warn(line) => net.note(|| format!("broker {id}: {line}")),
        }
    }

    /// Each to who leads, as far as is known here.
    fn send_markers(&mut self, net: &mut Net, markers: Markers) {
        let party = self.party();
        let Some(life) = &mut self.up else { return };
        for (topic, partition) in &markers.partitions {
            let one = Markers { partitions: vec![(topic.clone(), *partition)], ..markers.clone() };
            let leader = life.metadata.partition(topic, *partition).map_or(-1, |known| known.leader);
            if leader < 0 {
                let failed = MarkerOutcome::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER);
                life.transactions.events.push_back(written(one, failed));
                continue;
            }
            let tp = TopicPartition { topic: topic.clone(), partition: *partition };
            let request = Request::Mark { tp, batch: marker_of(&one, net) };
            let call = net.call(party, Party::Broker(leader), request);
            life.transactions.markers.insert(call, (one, net.now + PATIENCE_MS));
        }
    }

    /// What comes by itself: logs that are read, producer ids, markers whose time is up.
    fn bring(&mut self, net: &mut Net, checks: &mut Checks, now: u64) {
        let Some(life) = &mut self.up else { return };
        let transactions = &mut life.transactions;
        while transactions.claims.pop_front_if(|at| *at <= now).is_some() {
            net.producer_ids += 1;
            let id = net.producer_ids;
            let result = if net.chance(10) { Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) } else { Ok(id) };
            transactions.events.push_back(TxnEvent::ProducerId(result));
        }
        for (call, (markers, _)) in transactions.markers.extract_if(.., |_, (_, until)| *until <= now) {
            // Its connection is closed.
            net.forget(call);
            let failed = MarkerOutcome::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            transactions.events.push_back(written(markers, failed));
        }
        for (_, partition, epoch) in transactions.loads.extract_if(.., |(at, ..)| *at <= now) {
            let tp = TopicPartition { topic: TRANSACTION_TOPIC.into(), partition };
            for stored in self.disk.logs.get(&tp).map_or(&[][..], |log| &log.batches) {
                match entry_of(net, stored) {
                    Some(entry) => {
                        transactions.events.push_back(TxnEvent::Loaded { partition, epoch, entry })
                    }
                    None => checks.fail(format!("{} of {tp:?} is no batch of a coordinator", stored.value)),
                }
            }
            transactions.events.push_back(TxnEvent::LoadDone { partition, epoch });
        }
    }
}

fn written(markers: Markers, outcome: MarkerOutcome) -> TxnEvent {
    TxnEvent::MarkersWritten {
        transactional_id: markers.transactional_id,
        coordinator_epoch: markers.coordinator_epoch,
        outcomes: markers.partitions.into_iter().map(|one| (one, outcome)).collect(),
    }
}

fn meta(wall: i64) -> BatchMeta {
    BatchMeta {
        base_offset: 0,
        last_offset_delta: 0,
        leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        max_timestamp: wall,
        size: 100,
        transactional: false,
        marker: None,
    }
}

/// Values that stand for markers are all alike; those of coordinators' records tell where they are.
const MARKERS: u64 = 1 << 62;
const CONTENTS: u64 = 1 << 61;

fn marker_of(markers: &Markers, net: &mut Net) -> Stored {
    let marker = Some(Marker { coordinator_epoch: markers.coordinator_epoch, commit: markers.commit });
    let meta = BatchMeta {
        producer_id: markers.producer_id,
        producer_epoch: markers.producer_epoch,
        transactional: true,
        marker,
        ..meta(net.now as i64)
    };
    Stored { meta, value: MARKERS + net.number() }
}

/// A coordinator's records; of a transaction where there is a producer.
pub(super) fn batch_of(
    net: &mut Net,
    records: &[(Bytes, Option<Bytes>)],
    wall: i64,
    producer: Option<(i64, i16)>,
) -> Stored {
    let mut meta = meta(wall);
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch)) = producer {
        builder = builder.producer(id, epoch, 0).transactional(true);
        (meta.producer_id, meta.producer_epoch, meta.base_sequence, meta.transactional) =
            (id, epoch, 0, true);
    }
    for (key, value) in records {
        builder.push(wall, Some(key), value.as_deref(), &[]);
    }
    let bytes: Bytes = builder.finish().unwrap_or_default();
    let (size, value) = (bytes.len() as u32, CONTENTS + net.contents.len() as u64);
    net.contents.push(bytes);
    Stored { meta: BatchMeta { last_offset_delta: records.len() as i32 - 1, size, ..meta }, value }
}

pub(super) fn entry_of(net: &Net, stored: &Stored) -> Option<Entry> {
    let Stored { meta, value } = stored;
    let mut bytes = match meta.marker {
        Some(Marker { coordinator_epoch, commit }) => {
            let marker = if commit { control::Marker::Commit } else { control::Marker::Abort };
            let end = control::EndTransaction { marker, coordinator_epoch };
            end.to_batch(meta.producer_id, meta.producer_epoch, meta.leader_epoch, meta.max_timestamp)
        }
        None => net.contents.get(value.checked_sub(CONTENTS)? as usize)?.clone(),
    };
    let mut batch = Batch::split_from(&mut bytes).ok()??;
    batch.assign(meta.base_offset, meta.leader_epoch, meta.max_timestamp, false);
    Some(Entry::Batch(batch))
}
