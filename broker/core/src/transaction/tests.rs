//! Scenarios: producers on one side, the log and the partitions' leaders on the other.

use super::*;
use bytes::Bytes;
use wire::batch::message_set::Entry;
use wire::batch::{Batch, BatchBuilder};

mod java_log;

type Code = ErrorCode;

/// A coordinator of the one partition there is, its log, and the answers that have not been looked at.
struct World {
    coordinator: Coordinator,
    now: i64,
    log: Vec<Batch>,
    answers: BTreeMap<u64, Response>,
    appends: Vec<AppendId>,
    /// Appends are answered at once, with this error if any.
    auto: Option<Result<(), Code>>,
    markers: Vec<Markers>,
    notes: Vec<String>,
    next: u64,
    next_id: i64,
    epoch: i32,
}

fn text(value: &str) -> Str {
    Str::from(value)
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    (text(topic), partition)
}

impl World {
    fn new() -> World {
        let config = Config { partitions: 1, ..Config::default() };
        let mut world = World {
            coordinator: Coordinator::new(config),
            now: 1_000_000,
            log: Vec::new(),
            answers: BTreeMap::new(),
            appends: Vec::new(),
            auto: Some(Ok(())),
            markers: Vec::new(),
            notes: Vec::new(),
            next: 0,
            next_id: 4000,
            epoch: 0,
        };
        world.elect();
        world
    }

    fn elect(&mut self) {
        self.epoch += 1;
        self.step(Event::Elected { partition: 0, epoch: self.epoch });
    }

    fn step(&mut self, event: Event) {
        let mut queue = std::collections::VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let mut out = Vec::new();
            self.coordinator.step(self.now, event, &mut out);
            for effect in out {
                match effect {
                    Effect::Reply { token, response } => {
                        let twice = self.answers.insert(token.0, response);
                        assert!(twice.is_none(), "{token:?} is answered twice");
                    }
                    Effect::Append { append, records, .. } => {
                        self.write(records);
                        match self.auto {
                            Some(result) => queue.push_back(Event::Appended { append, result }),
                            None => self.appends.push(append),
                        }
                    }
                    Effect::ClaimProducerId => {
                        queue.push_back(Event::ProducerId(Ok(self.next_id)));
                        self.next_id += 1;
                    }
                    Effect::SendMarkers(markers) => self.markers.push(markers),
                    Effect::Load { partition, epoch } => {
                        let entries = self.log.iter().cloned().map(Entry::Batch);
                        queue.extend(entries.map(|entry| Event::Loaded { partition, epoch, entry }));
                        queue.push_back(Event::LoadDone { partition, epoch });
                    }
                    Effect::Info(note) | Effect::Warn(note) => self.notes.push(note),
                }
            }
        }
    }

    fn write(&mut self, records: Vec<Record>) {
        let offset = self.log.last().map_or(0, |batch| batch.header().next_offset());
        let mut builder = BatchBuilder::new().base_offset(offset);
        for record in records {
            builder.push(self.now, Some(&record.key), record.value.as_deref(), &[]);
        }
        self.log.extend(Batch::split_from(&mut builder.finish().unwrap()).unwrap());
    }

    /// Moves the time, stopping wherever the coordinator wants to be called.
    fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.step(Event::Tick);
        }
        self.now = end;
    }

    fn send(&mut self, request: Request) -> u64 {
        self.next += 1;
        self.step(Event::Request { token: Token(self.next), request });
        self.next
    }

    fn answer(&mut self, sent: u64) -> Response {
        self.answers.remove(&sent).expect("it is answered")
    }

    fn init_with(&mut self, expected: Option<(i64, i16)>) -> Result<(i64, i16), Code> {
        let id = text("id");
        let sent = self.send(Request::Init { transactional_id: id, timeout_ms: 60_000, expected });
        match self.answer(sent) {
            Response::Init { error: Code::NONE, producer_id, producer_epoch } => {
                Ok((producer_id, producer_epoch))
            }
            Response::Init { error, .. } => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn init(&mut self) -> Result<(i64, i16), Code> {
        self.init_with(None)
    }

    fn done(&mut self, request: Request) -> Code {
        let sent = self.send(request);
        match self.answer(sent) {
            Response::Done(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, producer: (i64, i16), partitions: &[TopicPartition]) -> Code {
        self.done(add(producer, partitions))
    }

    fn end(&mut self, producer: (i64, i16), commit: bool) -> Code {
        self.done(end(producer, commit))
    }

    /// All markers that are under way get this outcome.
    fn written(&mut self, outcome: MarkerOutcome) -> Vec<Markers> {
        let sent = std::mem::take(&mut self.markers);
        for markers in &sent {
            self.step(Event::MarkersWritten {
                transactional_id: markers.transactional_id.clone(),
                coordinator_epoch: markers.coordinator_epoch,
                outcomes: markers.partitions.iter().map(|one| (one.clone(), outcome)).collect(),
            });
        }
        sent
    }

    fn state(&mut self) -> String {
        let sent = self.send(Request::Describe { transactional_id: text("id") });
        match self.answer(sent) {
            Response::Describe(state) if state.error_code.is_ok() => state.transaction_state.to_string(),
            Response::Describe(state) => state.error_code.name().to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

fn add((producer_id, producer_epoch): (i64, i16), partitions: &[TopicPartition]) -> Request {
    let partitions = partitions.to_vec();
    Request::AddPartitions { transactional_id: text("id"), producer_id, producer_epoch, partitions }
}

fn end((producer_id, producer_epoch): (i64, i16), commit: bool) -> Request {
    Request::End { transactional_id: text("id"), producer_id, producer_epoch, commit }
}

#[test]
fn a_new_id_gets_a_fresh_producer_with_epoch_0_and_each_producer_after_it_the_next() {
    let mut world = World::new();
    assert_eq!(world.init(), Ok((4000, 0)));
    assert_eq!(world.init(), Ok((4000, 1)));
    assert_eq!(world.state(), "Empty");
    let empty = Request::Init { transactional_id: text(""), timeout_ms: 1, expected: None };
    let sent = world.send(empty);
    assert!(matches!(world.answer(sent), Response::Init { error: Code::INVALID_REQUEST, .. }));
    for timeout_ms in [0, 900_001] {
        let sent = world.send(Request::Init { transactional_id: text("id"), timeout_ms, expected: None });
        let answer = world.answer(sent);
        assert!(matches!(answer, Response::Init { error: Code::INVALID_TRANSACTION_TIMEOUT, .. }));
    }
}

#[test]
fn a_commit_is_answered_once_it_is_decided_and_complete_once_every_marker_is_written() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    assert_eq!(world.add(producer, &[at("t", 1), at("t", 0), at("s", 4)]), Code::NONE);
    assert_eq!(world.state(), "Ongoing");
    let records = world.log.len();
    assert_eq!(world.add(producer, &[at("t", 0)]), Code::NONE);
    assert_eq!(world.log.len(), records, "what is in the transaction already is not written again");
    assert_eq!(world.end(producer, true), Code::NONE);
    assert_eq!(world.state(), "PrepareCommit");
    assert_eq!(world.end(producer, true), Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(world.add(producer, &[at("t", 2)]), Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(world.init(), Err(Code::CONCURRENT_TRANSACTIONS));
    let sent = world.written(MarkerOutcome::Written);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].commit && sent[0].coordinator_epoch == 1);
    assert_eq!(sent[0].partitions, [at("s", 4), at("t", 0), at("t", 1)]);
    assert_eq!(world.state(), "CompleteCommit");
    assert_eq!(world.end(producer, true), Code::NONE);
    assert_eq!(world.end(producer, false), Code::INVALID_TXN_STATE);
    assert_eq!(world.add(producer, &[at("t", 2)]), Code::NONE);
    assert_eq!(world.end(producer, false), Code::NONE);
    assert!(!world.written(MarkerOutcome::Gone)[0].commit);
    assert_eq!(world.state(), "CompleteAbort");
}

#[test]
fn a_broker_is_told_which_partitions_are_part_of_a_transaction() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    let verify = |world: &mut World, id: &str, (producer_id, producer_epoch): (i64, i16)| {
        let partitions = vec![at("t", 0), at("t", 1)];
        let transactional_id = text(id);
        let sent = world.send(Request::VerifyPartitions {
            transactional_id,
            producer_id,
            producer_epoch,
            partitions,
        });
        match world.answer(sent) {
            Response::Verified(errors) => errors,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(verify(&mut world, "id", producer), [Code::INVALID_TXN_STATE; 2]);
    assert_eq!(world.add(producer, &[at("t", 1)]), Code::NONE);
    let records = world.log.len();
    assert_eq!(verify(&mut world, "id", producer), [Code::INVALID_TXN_STATE, Code::NONE]);
    assert_eq!(world.log.len(), records, "a question changes nothing");
    assert_eq!(verify(&mut world, "", producer), [Code::INVALID_REQUEST; 2]);
    assert_eq!(verify(&mut world, "id", (1, 0)), [Code::INVALID_PRODUCER_ID_MAPPING; 2]);
    assert_eq!(verify(&mut world, "id", (producer.0, 7)), [Code::PRODUCER_FENCED; 2]);
    assert_eq!(world.end(producer, true), Code::NONE);
    assert_eq!(verify(&mut world, "id", producer), [Code::CONCURRENT_TRANSACTIONS; 2]);
}

#[test]
fn a_stranger_may_not_touch_a_transaction() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    assert_eq!(world.add((1, 0), &[at("t", 0)]), Code::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(world.add((producer.0, 7), &[at("t", 0)]), Code::PRODUCER_FENCED);
    assert_eq!(world.end((1, 0), true), Code::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(world.end((producer.0, 7), true), Code::PRODUCER_FENCED);
    assert_eq!(world.end(producer, true), Code::INVALID_TXN_STATE);
}

#[test]
fn a_second_producer_aborts_what_the_first_had_open_and_gets_the_epoch_after_the_fence() {
    let mut world = World::new();
    let first = world.init().unwrap();
    world.add(first, &[at("t", 0)]);
    assert_eq!(world.init(), Err(Code::CONCURRENT_TRANSACTIONS));
    assert_eq!(world.end(first, true), Code::PRODUCER_FENCED);
    let sent = world.written(MarkerOutcome::Written);
    assert_eq!((sent[0].commit, sent[0].producer_epoch), (false, 1));
    assert_eq!(world.init(), Ok((first.0, 2)));
}

#[test]
fn a_fence_that_could_not_be_written_takes_no_second_epoch() {
    let mut world = World::new();
    let first = world.init().unwrap();
    world.add(first, &[at("t", 0)]);
    world.auto = Some(Err(Code::NOT_ENOUGH_REPLICAS));
    assert_eq!(world.init(), Err(Code::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(world.end(first, true), Code::PRODUCER_FENCED);
    world.auto = Some(Ok(()));
    assert_eq!(world.init(), Err(Code::CONCURRENT_TRANSACTIONS));
    assert_eq!(world.written(MarkerOutcome::Written)[0].producer_epoch, 1);
}

#[test]
fn a_producer_that_asks_for_the_next_epoch_names_the_one_it_has_or_had() {
    let mut world = World::new();
    let first = world.init().unwrap();
    assert_eq!(world.init_with(Some(first)), Ok((first.0, 1)));
    assert_eq!(world.init_with(Some(first)), Ok((first.0, 1)), "the answer had been lost");
    assert_eq!(world.init_with(Some((first.0, 7))), Err(Code::PRODUCER_FENCED));
    assert_eq!(world.init_with(Some((1, 0))), Err(Code::PRODUCER_FENCED));
}

#[test]
fn epochs_that_are_used_up_bring_a_new_producer_id() {
    let mut world = World::new();
    let (id, _) = world.init().unwrap();
    let Some(Slot::Active(active)) = world.coordinator.slots.get_mut(&0) else { panic!("it is active") };
    active.transactions.get_mut("id").unwrap().producer_epoch = i16::MAX - 1;
    let (next, epoch) = world.init().unwrap();
    assert_eq!((next != id, epoch), (true, 0));
}

#[test]
fn one_change_at_a_time() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.auto = None;
    let adding = world.send(add(producer, &[at("t", 0)]));
    assert_eq!(world.add(producer, &[at("t", 1)]), Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(world.end(producer, true), Code::CONCURRENT_TRANSACTIONS);
    assert_eq!(world.init(), Err(Code::CONCURRENT_TRANSACTIONS));
    let append = world.appends.remove(0);
    world.step(Event::Appended { append, result: Err(Code::REQUEST_TIMED_OUT) });
    assert_eq!(world.answer(adding), Response::Done(Code::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(world.state(), "Empty");
    world.auto = Some(Ok(()));
    assert_eq!(world.add(producer, &[at("t", 0)]), Code::NONE);
}

#[test]
fn markers_are_sent_again_until_a_leader_takes_them() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.add(producer, &[at("t", 0)]);
    world.end(producer, true);
    for error in [Code::NOT_LEADER_OR_FOLLOWER, Code::REQUEST_TIMED_OUT, Code::UNKNOWN_SERVER_ERROR] {
        assert_eq!(world.written(MarkerOutcome::Failed(error)).len(), 1);
        assert!(world.markers.is_empty(), "not at once");
        world.pass(100);
    }
    world.auto = Some(Err(Code::NOT_ENOUGH_REPLICAS));
    world.written(MarkerOutcome::Written);
    assert_eq!(world.state(), "PrepareCommit");
    world.auto = Some(Ok(()));
    world.pass(100);
    assert_eq!(world.state(), "CompleteCommit");
}

#[test]
fn markers_that_a_later_epoch_overtook_are_given_up() {
    for error in [Code::INVALID_PRODUCER_EPOCH, Code::TRANSACTION_COORDINATOR_FENCED] {
        let mut world = World::new();
        let producer = world.init().unwrap();
        world.add(producer, &[at("t", 0)]);
        world.end(producer, true);
        world.written(MarkerOutcome::Failed(error));
        world.pass(1000);
        assert!(world.markers.is_empty() && world.notes.len() == 1);
        assert_eq!(world.state(), "PrepareCommit");
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_shut_out() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.add(producer, &[at("t", 0)]);
    world.pass(59_000);
    assert!(world.markers.is_empty());
    world.pass(12_000);
    let sent = world.written(MarkerOutcome::Written);
    assert_eq!((sent[0].commit, sent[0].producer_epoch), (false, 1));
    assert_eq!(world.end(producer, true), Code::PRODUCER_FENCED);
    assert_eq!(world.init(), Ok((producer.0, 2)));
}

#[test]
fn an_id_that_nobody_uses_is_forgotten_but_not_with_a_transaction_open() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.pass(604_800_000 + 3_600_000);
    assert_eq!(world.state(), "TRANSACTIONAL_ID_NOT_FOUND");
    assert_eq!(world.add(producer, &[at("t", 0)]), Code::INVALID_PRODUCER_ID_MAPPING);
    world.elect();
    assert_eq!(world.state(), "TRANSACTIONAL_ID_NOT_FOUND", "the log has its tombstone");
    let (other, epoch) = world.init().unwrap();
    assert_eq!((other == producer.0, epoch), (false, 0));
}

#[test]
fn a_later_coordinator_ends_what_an_earlier_one_decided() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.add(producer, &[at("t", 0), at("t", 1)]);
    world.end(producer, true);
    let before = world.markers.clone();
    world.step(Event::MarkersWritten {
        transactional_id: text("id"),
        coordinator_epoch: 1,
        outcomes: vec![(at("t", 0), MarkerOutcome::Written)],
    });
    world.markers.clear();
    world.step(Event::Resigned { partition: 0 });
    assert_eq!(world.add(producer, &[at("t", 0)]), Code::NOT_COORDINATOR);
    world.elect();
    assert_eq!(world.end(producer, true), Code::CONCURRENT_TRANSACTIONS);
    world.step(Event::MarkersWritten {
        transactional_id: text("id"),
        coordinator_epoch: 1,
        outcomes: before[0].partitions.iter().map(|one| (one.clone(), MarkerOutcome::Written)).collect(),
    });
    assert_eq!(world.state(), "PrepareCommit", "word for the earlier one");
    let sent = world.written(MarkerOutcome::Written);
    assert_eq!((sent[0].coordinator_epoch, sent[0].commit, sent[0].partitions.len()), (2, true, 2));
    assert_eq!(world.state(), "CompleteCommit");
}

#[test]
fn while_it_loads_a_coordinator_asks_for_patience() {
    let mut world = World::new();
    let mut out = Vec::new();
    world.coordinator.step(world.now, Event::Elected { partition: 0, epoch: 9 }, &mut out);
    assert_eq!(out, [Effect::Load { partition: 0, epoch: 9 }]);
    assert_eq!(world.init(), Err(Code::COORDINATOR_LOAD_IN_PROGRESS));
    assert_eq!(world.end((1, 1), true), Code::COORDINATOR_LOAD_IN_PROGRESS);
    let sent = world.send(Request::List { states: Vec::new(), producer_ids: Vec::new() });
    let Response::List(list) = world.answer(sent) else { panic!("a list") };
    assert_eq!(list.error_code, Code::COORDINATOR_LOAD_IN_PROGRESS);
}

#[test]
fn a_list_is_filtered_by_state_and_producer_and_names_states_that_do_not_exist() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    let mut list = |states: &[&str], producer_ids: &[i64]| {
        let states = states.iter().map(|name| text(name)).collect();
        let sent = world.send(Request::List { states, producer_ids: producer_ids.to_vec() });
        let Response::List(list) = world.answer(sent) else { panic!("a list") };
        (list.transaction_states.len(), list.unknown_state_filters.len())
    };
    assert_eq!(list(&[], &[]), (1, 0));
    assert_eq!(list(&["Empty"], &[producer.0]), (1, 0));
    assert_eq!(list(&["Ongoing", "Bogus"], &[]), (0, 1));
    assert_eq!(list(&[], &[1]), (0, 0));
}

#[test]
fn records_are_java_s_to_the_byte() {
    let mut world = World::new();
    let producer = world.init().unwrap();
    world.add(producer, &[at("t", 1)]);
    let record = |batch: &Batch| {
        let record = batch.records().unwrap().next().unwrap().unwrap();
        (record.key.unwrap().to_vec(), record.value.unwrap().to_vec())
    };
    let (key, value) = record(&world.log[0]);
    assert_eq!(key, [0, 0, 0, 2, b'i', b'd']);
    let mut empty = vec![0, 0];
    empty.extend_from_slice(&4000i64.to_be_bytes());
    empty.extend_from_slice(&0i16.to_be_bytes());
    empty.extend_from_slice(&60_000i32.to_be_bytes());
    empty.extend_from_slice(&[0, 255, 255, 255, 255]);
    empty.extend_from_slice(&1_000_000i64.to_be_bytes());
    empty.extend_from_slice(&(-1i64).to_be_bytes());
    assert_eq!(value, empty);
    let (_, value) = record(&world.log[1]);
    assert_eq!(value[16..29], [1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0]);
    assert_eq!(value.len(), 16 + 1 + 4 + 3 + 4 + 4 + 8 + 8);
}

#[test]
fn a_log_with_nonsense_in_it_is_loaded_as_far_as_it_makes_sense() {
    let mut world = World::new();
    world.init().unwrap();
    let key = world.log[0].records().unwrap().next().unwrap().unwrap().key.unwrap();
    let records = [
        Record { key: Bytes::from_static(&[0]), value: None },
        Record { key: Bytes::from_static(&[0, 9, 1]), value: None },
        Record { key: Bytes::from_static(&[0, 0, 0, 1, b'x']), value: Some(Bytes::from_static(&[0, 0, 1])) },
        Record { key, value: Some(Bytes::from_static(&[0, 7])) },
    ];
    for record in records {
        world.write(vec![record]);
    }
    world.elect();
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.notes.len(), 4, "{:?}", world.notes);
}
