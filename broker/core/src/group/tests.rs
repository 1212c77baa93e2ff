//! Scenarios: members and clients on one side, the log on the other.

use super::{Request, Response, *};
use bytes::Bytes;
use wire::batch::message_set::Entry;
use wire::batch::{Batch, BatchBuilder};
use wire::kafka::consumer_protocol::ConsumerProtocolSubscription;
use wire::kafka::join_group::JoinGroupRequestProtocol;
use wire::kafka::leave_group::MemberIdentity;
use wire::kafka::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::kafka::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::kafka::sync_group::SyncGroupRequestAssignment;
use wire::kafka::txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::kafka::*;

mod crowds;
mod java_logs;
mod old_formats;

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
    /// What the coordinator told its log.
    told: Vec<String>,
    next: u64,
}

fn text(value: &str) -> Str {
    Str::from(value)
}

impl World {
    fn new(config: Config) -> World {
        let mut world = World {
            coordinator: Coordinator::new(Config { partitions: 1, ..config }),
            now: 1_000_000,
            log: Vec::new(),
            answers: BTreeMap::new(),
            appends: Vec::new(),
            auto: Some(Ok(())),
            told: Vec::new(),
            next: 0,
        };
        world.step(Event::Elected { partition: 0, epoch: 1 });
        world
    }

    fn step(&mut self, event: Event) {
        let mut queue = vec![event];
        while let Some(event) = queue.pop() {
            let mut out = Vec::new();
            self.coordinator.step(self.now, event, &mut out);
            for effect in out {
                match effect {
                    Effect::Reply { token, response } => {
                        assert!(
                            self.answers.insert(token.0, response).is_none(),
                            "{token:?} is answered twice"
                        );
                    }
                    Effect::Append { append, records, producer, .. } => {
                        let at = self.write(records, producer);
                        match (append, self.auto) {
                            (Some(append), Some(result)) => {
                                queue.insert(0, Event::Appended { append, result: result.map(|()| at) });
                            }
                            (Some(append), None) => self.appends.push(append),
                            (None, _) => {}
                        }
                    }
                    Effect::Load { partition, epoch } => {
                        let mut events: Vec<Event> = self
                            .log
                            .iter()
                            .map(|batch| Event::Loaded {
                                partition,
                                epoch,
                                entry: Entry::Batch(batch.clone()),
                            })
                            .collect();
                        events.push(Event::LoadDone { partition, epoch });
                        events.reverse();
                        queue.extend(events);
                    }
                    Effect::Warn(why) => panic!("{why}"),
                    Effect::Tell(text) => self.told.push(text),
                }
            }
        }
    }

    fn write(&mut self, records: Vec<Record>, producer: Option<(i64, i16)>) -> i64 {
        let at = self.log.last().map_or(0, |batch| batch.header().next_offset());
        let mut builder = BatchBuilder::new().base_offset(at);
        if let Some((id, epoch)) = producer {
            builder = builder.producer(id, epoch, 0).transactional(true);
        }
        for record in records {
            builder.push(self.now, Some(&record.key), record.value.as_deref(), &[]);
        }
        self.log.extend(Batch::split_from(&mut builder.finish().unwrap()).unwrap());
        at
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

    fn join(&mut self, member: &str, options: Join) -> u64 {
        let uuid = text(&format!("u{}", self.next));
        let request = JoinGroupRequest {
            group_id: text("g"),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: options.rebalance_ms,
            member_id: text(member),
            group_instance_id: options.instance.map(text),
            protocol_type: text("consumer"),
            protocols: options
                .protocols
                .iter()
                .map(|name| JoinGroupRequestProtocol {
                    name: text(name),
                    metadata: subscription(options.topic),
                })
                .collect(),
            reason: None,
        };
        let context = JoinContext {
            client_id: text("c"),
            client_host: text("/127.0.0.1"),
            uuid,
            known_member_id_required: options.id_first,
            can_skip_assignment: options.can_skip,
        };
        self.send(Request::Join(request, context))
    }

    fn joined(&mut self, token: u64) -> JoinGroupResponse {
        match self.answers.remove(&token) {
            Some(Response::Join(response)) => response,
            other => panic!("no answer to a JoinGroup: {other:?}"),
        }
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[&str]) -> u64 {
        let assignments = assignments.iter().map(|id| SyncGroupRequestAssignment {
            member_id: text(id),
            assignment: Bytes::from(format!("for {id}")),
        });
        let assignments = assignments.collect();
        self.send(Request::Sync(SyncGroupRequest {
            group_id: text("g"),
            generation_id: generation,
            member_id: text(member),
            assignments,
            ..SyncGroupRequest::default()
        }))
    }

    fn synced(&mut self, token: u64) -> (Code, Bytes) {
        match self.answers.remove(&token) {
            Some(Response::Sync(response)) => (response.error_code, response.assignment),
            other => panic!("no answer to a SyncGroup: {other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Code {
        let request = HeartbeatRequest {
            group_id: text("g"),
            generation_id: generation,
            member_id: text(member),
            group_instance_id: None,
        };
        let token = self.send(Request::Heartbeat(request));
        match self.answers.remove(&token) {
            Some(Response::Heartbeat(response)) => response.error_code,
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> Code {
        let member =
            MemberIdentity { member_id: text(member), group_instance_id: instance.map(text), reason: None };
        let request =
            LeaveGroupRequest { group_id: text("g"), members: vec![member], ..LeaveGroupRequest::default() };
        let token = self.send(Request::Leave { request, single: false });
        match self.answers.remove(&token) {
            Some(Response::Leave(response)) => response.members[0].error_code,
            other => panic!("no answer to a LeaveGroup: {other:?}"),
        }
    }

    fn commit(&mut self, member: &str, generation: i32, offset: i64, metadata: &str) -> u64 {
        let partition = OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_metadata: Some(text(metadata)),
            ..OffsetCommitRequestPartition::default()
        };
        self.send(Request::OffsetCommit(OffsetCommitRequest {
            group_id: text("g"),
            generation_id: generation,
            member_id: text(member),
            topics: vec![OffsetCommitRequestTopic { name: text("t"), partitions: vec![partition] }],
            ..OffsetCommitRequest::default()
        }))
    }

    fn committed(&mut self, token: u64) -> Code {
        match self.answers.remove(&token) {
            Some(Response::OffsetCommit(response)) => response.topics[0].partitions[0].error_code,
            other => panic!("no answer to an OffsetCommit: {other:?}"),
        }
    }

    /// Offset and error of all partitions that the group has offsets for.
    fn offsets(&mut self, require_stable: bool, topics: Option<&str>) -> Vec<(i64, Code)> {
        let topics = topics.map(|name| {
            vec![offset_fetch::OffsetFetchRequestTopic { name: text(name), partition_indexes: vec![0] }]
        });
        let request = OffsetFetchRequest {
            group_id: text("g"),
            topics,
            require_stable,
            ..OffsetFetchRequest::default()
        };
        let token = self.send(Request::OffsetFetch { request, errors_by_partition: false });
        let Some(Response::OffsetFetch(response)) = self.answers.remove(&token) else { panic!("no answer") };
        assert_eq!(response.error_code, Code::NONE);
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|partition| (partition.committed_offset, partition.error_code)).collect()
    }

    fn state(&mut self) -> (String, usize) {
        let request = DescribeGroupsRequest { groups: vec![text("g")], include_authorized_operations: false };
        let token = self.send(Request::Describe(request));
        let Some(Response::Describe(response)) = self.answers.remove(&token) else { panic!("no answer") };
        (response.groups[0].group_state.to_string(), response.groups[0].members.len())
    }

    fn delete(&mut self) -> Code {
        let token = self.send(Request::Delete(DeleteGroupsRequest { groups_names: vec![text("g")] }));
        let Some(Response::Delete(response)) = self.answers.remove(&token) else { panic!("no answer") };
        response.results[0].error_code
    }

    /// Two members of generation 1, the first the leader, with their assignments.
    fn stable_pair(&mut self) -> (String, String) {
        let tokens = [self.join("", Join::default()), self.join("", Join::default())];
        self.pass(3_000);
        self.pass(3_000);
        let [first, second] = tokens.map(|token| self.joined(token).member_id.to_string());
        let waiting = self.sync(&second, 1, &[]);
        let leader = self.sync(&first, 1, &[&first, &second]);
        assert_eq!(self.synced(leader), (Code::NONE, Bytes::from(format!("for {first}"))));
        assert_eq!(self.synced(waiting), (Code::NONE, Bytes::from(format!("for {second}"))));
        assert_eq!(self.state(), ("Stable".into(), 2));
        (first, second)
    }

    /// The broker dies, and another takes over from the log.
    fn fail_over(&mut self) {
        let config = self.coordinator.config.clone();
        self.coordinator = Coordinator::new(config);
        self.step(Event::Elected { partition: 0, epoch: 2 });
    }
}

fn subscription(topic: &str) -> Bytes {
    let subscription = ConsumerProtocolSubscription { topics: vec![text(topic)], ..Default::default() };
    encode_versioned(&subscription, 0)
}

struct Join {
    rebalance_ms: i32,
    instance: Option<&'static str>,
    protocols: &'static [&'static str],
    topic: &'static str,
    id_first: bool,
    can_skip: bool,
}

impl Default for Join {
    fn default() -> Join {
        Join {
            rebalance_ms: 60_000,
            instance: None,
            protocols: &["range"],
            topic: "t",
            id_first: false,
            can_skip: false,
        }
    }
}

#[test]
fn a_group_hashes_to_javas_partition() {
    let coordinator = Coordinator::new(Config::default());
    assert_eq!(
        ["console-consumer-1", "g", "polygenelubricants"].map(|id| coordinator.partition_for(id)),
        [
            "console-consumer-1".chars().fold(0i32, |h, c| h.wrapping_mul(31).wrapping_add(c as i32)).abs()
                % 50,
            103 % 50,
            0
        ]
    );
}

#[test]
fn an_empty_group_waits_for_more_members_up_to_the_rebalance_time_out() {
    let mut world = World::new(Config::default());
    let first = world.join("", Join { rebalance_ms: 7_000, ..Join::default() });
    world.pass(2_000);
    let second = world.join("", Join { rebalance_ms: 7_000, ..Join::default() });
    world.pass(1_500);
    assert!(world.answers.is_empty(), "the wait is extended by the second member");
    world.pass(2_500);
    let leader = world.joined(first);
    let follower = world.joined(second);
    assert_eq!((leader.error_code, leader.generation_id, leader.members.len()), (Code::NONE, 1, 2));
    assert_eq!((leader.leader.clone(), leader.protocol_name), (leader.member_id, Some(text("range"))));
    assert_eq!((follower.leader, follower.members.len()), (leader.leader, 0));
    assert_eq!(world.state(), ("CompletingRebalance".into(), 2));
}

#[test]
fn a_new_member_is_given_its_id_first_and_loses_it_after_the_session_time_out() {
    let mut world = World::new(Config::default());
    let token = world.join("", Join { id_first: true, ..Join::default() });
    let given = world.joined(token);
    assert_eq!(given.error_code, Code::MEMBER_ID_REQUIRED);
    assert!(given.member_id.starts_with("c-"));
    let token = world.join(&given.member_id, Join::default());
    world.pass(3_000);
    assert_eq!(world.joined(token).error_code, Code::NONE);

    let token = world.join("", Join { id_first: true, ..Join::default() });
    let late = world.joined(token).member_id;
    world.pass(10_000);
    let token = world.join(&late, Join::default());
    assert_eq!(world.joined(token).error_code, Code::UNKNOWN_MEMBER_ID);
}

#[test]
fn joins_that_cannot_be_are_refused_with_their_codes() {
    let mut world = World::new(Config { size_max: 1, ..Config::default() });
    let token = world.join("nobody", Join::default());
    assert_eq!(world.joined(token).error_code, Code::UNKNOWN_MEMBER_ID);
    let token = world.join("", Join { protocols: &[], ..Join::default() });
    assert_eq!(world.joined(token).error_code, Code::INCONSISTENT_GROUP_PROTOCOL);
    let first = world.join("", Join::default());
    let token = world.join("", Join::default());
    assert_eq!(world.joined(token).error_code, Code::GROUP_MAX_SIZE_REACHED);
    world.pass(3_000);
    let member = world.joined(first).member_id;
    let token = world.join(&member, Join { protocols: &["other"], ..Join::default() });
    assert_eq!(world.joined(token).error_code, Code::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn session_time_outs_and_group_names_are_checked() {
    let mut world = World::new(Config::default());
    let context = JoinContext::default();
    for (group, session, expected) in
        [("", 10_000, Code::INVALID_GROUP_ID), ("g", 100, Code::INVALID_SESSION_TIMEOUT)]
    {
        let request = JoinGroupRequest {
            group_id: text(group),
            session_timeout_ms: session,
            ..JoinGroupRequest::default()
        };
        let token = world.send(Request::Join(request, context.clone()));
        assert_eq!(world.joined(token).error_code, expected);
    }
    world.step(Event::Resigned { partition: 0 });
    assert_eq!(world.heartbeat("m", 1), Code::NOT_COORDINATOR);
}

#[test]
fn the_protocol_with_the_most_votes_among_the_common_ones_wins() {
    let mut world = World::new(Config::default());
    let tokens = [
        world.join("", Join { protocols: &["a", "b"], ..Join::default() }),
        world.join("", Join { protocols: &["b", "a"], ..Join::default() }),
        world.join("", Join { protocols: &["c", "b", "a"], ..Join::default() }),
    ];
    world.pass(6_000);
    assert_eq!(tokens.map(|token| world.joined(token).protocol_name), [(); 3].map(|()| Some(text("b"))));
}

#[test]
fn assignments_are_given_out_once_they_are_in_the_log() {
    let mut world = World::new(Config::default());
    let token = world.join("", Join::default());
    world.pass(3_000);
    let member = world.joined(token).member_id;
    world.auto = None;
    let token = world.sync(&member, 1, &[&member]);
    assert!(world.answers.is_empty());
    let append = world.appends.pop().unwrap();
    world.step(Event::Appended { append, result: Err(Code::NOT_ENOUGH_REPLICAS) });
    assert_eq!(world.synced(token).0, Code::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(world.state(), ("PreparingRebalance".into(), 1));
}

#[test]
fn a_heartbeat_is_answered_by_the_groups_state() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    assert_eq!(world.heartbeat(&first, 1), Code::NONE);
    assert_eq!(world.heartbeat(&first, 2), Code::ILLEGAL_GENERATION);
    assert_eq!(world.heartbeat("x", 1), Code::UNKNOWN_MEMBER_ID);
    let rejoin = world.join(&first, Join::default());
    assert_eq!(world.heartbeat(&second, 1), Code::REBALANCE_IN_PROGRESS);
    let token = world.sync(&second, 1, &[]);
    assert_eq!(world.synced(token).0, Code::REBALANCE_IN_PROGRESS);
    let other = world.join(&second, Join::default());
    assert_eq!((world.joined(rejoin).generation_id, world.joined(other).generation_id), (2, 2));
    assert_eq!(world.heartbeat(&second, 2), Code::NONE);
}

#[test]
fn a_follower_that_joins_again_unchanged_disturbs_nobody() {
    let mut world = World::new(Config::default());
    let (_, second) = world.stable_pair();
    let token = world.join(&second, Join::default());
    assert_eq!(world.joined(token).generation_id, 1);
    assert_eq!(world.state(), ("Stable".into(), 2));
    world.join(&second, Join { topic: "other", ..Join::default() });
    assert_eq!(world.state(), ("PreparingRebalance".into(), 2));
}

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    world.pass(9_000);
    assert_eq!(world.heartbeat(&second, 1), Code::NONE);
    world.pass(1_000);
    assert_eq!(world.state(), ("PreparingRebalance".into(), 1));
    let why = format!(
        "with old generation 1 (__consumer_offsets-0) (reason: removing member {first} on heartbeat expiration)"
    );
    assert!(world.told.last().is_some_and(|told| told.ends_with(&why)), "{:?}", world.told);
    assert_eq!(world.heartbeat(&first, 1), Code::UNKNOWN_MEMBER_ID);
    let token = world.join(&second, Join::default());
    let joined = world.joined(token);
    assert_eq!((joined.generation_id, joined.leader), (2, text(&second)));
}

#[test]
fn members_that_miss_the_rebalance_or_do_not_sync_are_out() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    let token = world.join(&first, Join { rebalance_ms: 8_000, ..Join::default() });
    for _ in 0..11 {
        world.pass(5_000);
        assert_eq!(world.heartbeat(&second, 1), Code::REBALANCE_IN_PROGRESS);
    }
    world.pass(5_000);
    assert_eq!((world.joined(token).generation_id, world.state()), (2, ("CompletingRebalance".into(), 1)));
    for _ in 0..2 {
        world.pass(4_000);
        world.heartbeat(&first, 2);
    }
    assert_eq!(world.state(), ("Empty".into(), 0));
}

#[test]
fn whoever_leaves_is_gone_at_once() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    assert_eq!(world.leave("x", None), Code::UNKNOWN_MEMBER_ID);
    assert_eq!(world.leave(&first, None), Code::NONE);
    assert_eq!(world.state(), ("PreparingRebalance".into(), 1));
    assert_eq!(world.leave(&second, None), Code::NONE);
    assert_eq!(world.state(), ("Empty".into(), 0));
    assert_eq!(world.delete(), Code::NONE);
    assert_eq!((world.state().0, world.delete()), ("Dead".into(), Code::GROUP_ID_NOT_FOUND));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_old_self() {
    for can_skip in [false, true] {
        let mut world = World::new(Config::default());
        let as_one = || Join { instance: Some("one"), can_skip, ..Join::default() };
        let token = world.join("", as_one());
        world.pass(3_000);
        let old = world.joined(token).member_id;
        assert!(old.starts_with("one-"));
        let token = world.sync(&old, 1, &[&old]);
        assert_eq!(world.synced(token).0, Code::NONE);
        let token = world.join("", as_one());
        let joined = world.joined(token);
        assert_eq!(
            (joined.error_code, joined.generation_id, joined.skip_assignment),
            (Code::NONE, 1, can_skip)
        );
        let leader = if can_skip { joined.member_id.clone() } else { old.clone() };
        assert_eq!((joined.leader, world.state()), (leader, ("Stable".into(), 1)));
        let token = world.sync(&joined.member_id, 1, &[]);
        assert_eq!(world.synced(token), (Code::NONE, Bytes::from(format!("for {old}"))));
        let token = world.join(&old, as_one());
        assert_eq!(world.joined(token).error_code, Code::FENCED_INSTANCE_ID);
        assert_eq!(world.leave(&old, Some("one")), Code::FENCED_INSTANCE_ID);
        assert_eq!(world.leave("", Some("one")), Code::NONE);
        assert_eq!(world.state(), ("Empty".into(), 0));
    }
}

#[test]
fn offsets_are_there_once_they_are_in_the_log() {
    let mut world = World::new(Config::default());
    world.auto = None;
    let token = world.commit("", -1, 7, "m");
    assert_eq!(world.offsets(false, Some("t")), [(-1, Code::NONE)]);
    assert_eq!(world.offsets(true, Some("t")), [(-1, Code::UNSTABLE_OFFSET_COMMIT)]);
    let append = world.appends.pop().unwrap();
    world.step(Event::Appended { append, result: Ok(0) });
    assert_eq!((world.committed(token), world.offsets(true, None)), (Code::NONE, vec![(7, Code::NONE)]));
    let token = world.commit("", -1, 9, "m");
    let append = world.appends.pop().unwrap();
    world.step(Event::Appended { append, result: Err(Code::NOT_LEADER_OR_FOLLOWER) });
    assert_eq!(
        (world.committed(token), world.offsets(true, None)),
        (Code::NOT_COORDINATOR, vec![(7, Code::NONE)])
    );
}

#[test]
fn commits_are_checked_against_members_generations_and_sizes() {
    let mut world = World::new(Config::default());
    let token = world.commit("", 3, 1, "");
    assert_eq!(world.committed(token), Code::ILLEGAL_GENERATION);
    let (first, _) = world.stable_pair();
    let cases = [
        ("", -1, "", Code::UNKNOWN_MEMBER_ID),
        ("x", 1, "", Code::UNKNOWN_MEMBER_ID),
        (&first[..], 2, "", Code::ILLEGAL_GENERATION),
        (&first[..], 1, &"x".repeat(4097)[..], Code::OFFSET_METADATA_TOO_LARGE),
        (&first[..], 1, &"é".repeat(4096)[..], Code::NONE),
    ]
    .map(|(member, generation, metadata, code)| (member.to_owned(), generation, metadata.to_owned(), code));
    for (member, generation, metadata, code) in cases {
        let token = world.commit(&member, generation, 5, &metadata);
        assert_eq!(world.committed(token), code);
    }
}

fn txn_commit(world: &mut World, offset: i64) -> u64 {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        ..TxnOffsetCommitRequestPartition::default()
    };
    world.send(Request::TxnOffsetCommit(TxnOffsetCommitRequest {
        transactional_id: text("x"),
        group_id: text("g"),
        producer_id: 77,
        topics: vec![TxnOffsetCommitRequestTopic { name: text("t"), partitions: vec![partition] }],
        ..TxnOffsetCommitRequest::default()
    }))
}

#[test]
fn transactional_offsets_count_from_the_commit_of_their_transaction() {
    let mut world = World::new(Config::default());
    txn_commit(&mut world, 5);
    assert_eq!(world.offsets(true, Some("t")), [(-1, Code::UNSTABLE_OFFSET_COMMIT)]);
    world.fail_over();
    assert_eq!(
        world.offsets(true, Some("t")),
        [(-1, Code::UNSTABLE_OFFSET_COMMIT)],
        "known from the log, too"
    );
    world.step(Event::TxnCompleted { producer_id: 77, partitions: vec![0], commit: true });
    assert_eq!(world.offsets(true, Some("t")), [(5, Code::NONE)]);
    txn_commit(&mut world, 6);
    world.step(Event::TxnCompleted { producer_id: 77, partitions: vec![0], commit: false });
    assert_eq!(world.offsets(true, Some("t")), [(5, Code::NONE)]);
}

#[test]
fn a_transaction_that_ends_while_the_log_is_loaded_has_ended_when_it_is() {
    let mut world = World::new(Config::default());
    txn_commit(&mut world, 5);
    let mut out = Vec::new();
    world.coordinator.step(world.now, Event::Resigned { partition: 0 }, &mut out);
    world.coordinator.step(world.now, Event::Elected { partition: 0, epoch: 5 }, &mut out);
    let batch = world.log[0].clone();
    world.step(Event::Loaded { partition: 0, epoch: 5, entry: Entry::Batch(batch) });
    // Its marker stands behind what was read.
    world.step(Event::TxnCompleted { producer_id: 77, partitions: vec![0], commit: true });
    world.step(Event::LoadDone { partition: 0, epoch: 5 });
    assert_eq!(world.offsets(true, Some("t")), [(5, Code::NONE)]);
}

#[test]
fn a_new_coordinator_knows_members_assignments_and_offsets_from_the_log() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    let token = world.commit(&first, 1, 42, "");
    assert_eq!(world.committed(token), Code::NONE);
    world.fail_over();
    assert_eq!((world.state(), world.offsets(true, None)), (("Stable".into(), 2), vec![(42, Code::NONE)]));
    assert_eq!(world.heartbeat(&first, 1), Code::NONE);
    let token = world.sync(&second, 1, &[]);
    assert_eq!(world.synced(token), (Code::NONE, Bytes::from(format!("for {second}"))));
    world.pass(10_000);
    assert_eq!(world.state(), ("Empty".into(), 0), "sessions run from the load on");
}

#[test]
fn while_the_log_is_loaded_members_are_put_off() {
    let mut world = World::new(Config::default());
    let mut out = Vec::new();
    world.coordinator.step(world.now, Event::Resigned { partition: 0 }, &mut out);
    world.coordinator.step(world.now, Event::Elected { partition: 0, epoch: 5 }, &mut out);
    assert_eq!(out, [Effect::Load { partition: 0, epoch: 5 }]);
    assert_eq!(world.heartbeat("m", 1), Code::NONE);
    let token = world.sync("m", 1, &[]);
    assert_eq!(world.synced(token).0, Code::REBALANCE_IN_PROGRESS);
    let token = world.join("", Join::default());
    assert_eq!(world.joined(token).error_code, Code::COORDINATOR_LOAD_IN_PROGRESS);
    world.step(Event::LoadDone { partition: 0, epoch: 4 });
    assert_eq!(world.delete(), Code::COORDINATOR_LOAD_IN_PROGRESS, "another load's end is not this one's");
    world.step(Event::LoadDone { partition: 0, epoch: 5 });
    assert_eq!(world.delete(), Code::GROUP_ID_NOT_FOUND);
}

#[test]
fn who_waits_when_the_partition_moves_is_sent_to_the_new_coordinator() {
    let mut world = World::new(Config::default());
    let join = world.join("", Join::default());
    world.step(Event::Resigned { partition: 0 });
    assert_eq!(world.joined(join).error_code, Code::NOT_COORDINATOR);
    assert_eq!(world.coordinator.deadline(), None);
}

#[test]
fn offsets_expire_after_the_group_became_empty_and_the_group_with_them() {
    let mut world = World::new(Config { offsets_retention_ms: 100_000, ..Config::default() });
    let (first, second) = world.stable_pair();
    world.commit(&first, 1, 42, "");
    for _ in 0..40 {
        world.pass(5_000);
        world.heartbeat(&first, 1);
        world.heartbeat(&second, 1);
    }
    world.step(Event::ExpireOffsets);
    assert_eq!(world.offsets(false, None), [(42, Code::NONE)], "the topic is subscribed");
    world.leave(&first, None);
    world.leave(&second, None);
    world.pass(99_999);
    world.step(Event::ExpireOffsets);
    assert_eq!(world.state().0, "Empty");
    world.pass(1);
    world.step(Event::ExpireOffsets);
    assert_eq!((world.state().0, world.offsets(false, None).len()), ("Dead".into(), 0));
    world.fail_over();
    assert_eq!(
        (world.state().0, world.offsets(false, None).len()),
        ("Dead".into(), 0),
        "the log says so, too"
    );
}

#[test]
fn offsets_of_subscribed_topics_cannot_be_deleted() {
    let mut world = World::new(Config::default());
    let (first, _) = world.stable_pair();
    world.commit(&first, 1, 42, "");
    let mut delete = |topic: &str| {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: text(topic), partitions }];
        let token = world.send(Request::OffsetDelete(OffsetDeleteRequest { group_id: text("g"), topics }));
        let Some(Response::OffsetDelete(response)) = world.answers.remove(&token) else {
            panic!("no answer")
        };
        response.topics[0].partitions[0].error_code
    };
    assert_eq!((delete("t"), delete("u")), (Code::GROUP_SUBSCRIBED_TO_TOPIC, Code::NONE));
    assert_eq!(world.delete(), Code::NON_EMPTY_GROUP);
    world.step(Event::Deleted { partitions: vec![(text("t"), 0)] });
    assert_eq!(world.offsets(false, None).len(), 0);
}

#[test]
fn groups_are_listed_by_state() {
    let mut world = World::new(Config::default());
    world.stable_pair();
    let mut list = |states: &[&str]| {
        let states_filter = states.iter().map(|state| text(state)).collect();
        let token = world.send(Request::List(ListGroupsRequest { states_filter }));
        let Some(Response::List(response)) = world.answers.remove(&token) else { panic!("no answer") };
        response
            .groups
            .iter()
            .map(|group| format!("{} {}", group.protocol_type, group.group_state))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["consumer Stable"]);
    assert_eq!(list(&["Stable", "Empty"]), ["consumer Stable"]);
    assert_eq!((list(&["stable"]).len(), list(&["Dead"]).len()), (0, 0));
}
