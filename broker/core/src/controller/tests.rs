//! The controller against a ZooKeeper that is a map.

use super::*;
use crate::MetadataVersion;
use wire::kafka::alter_partition::{BrokerState, RequestPartitionData, RequestTopicData};
use wire::kafka::leader_and_isr::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use wire::kafka::stop_replica::StopReplicaPartitionError;
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse, StopReplicaResponse};

const TOPIC_ID: Uuid = Uuid([7; 16]);

pub(super) struct Cluster {
    pub controller: Controller,
    pub states: BTreeMap<TopicPartition, PartitionState>,
    pub brokers: BTreeMap<i32, Broker>,
    /// The lists in the topic's node.
    pub lists: BTreeMap<i32, Assignment>,
    /// What was taken out of `/admin/reassign_partitions`.
    pub legacy_done: Vec<TopicPartition>,
    pub deleted: Vec<Str>,
    /// What the last event made, apart from reads and writes.
    pub out: Vec<Effect>,
    /// Writes that another controller's write gets in front of.
    pub conflicts: usize,
    /// Writes whose good outcome is lost, so that their repetition conflicts.
    pub lost: usize,
    /// Writes of lists that fail.
    pub failing: usize,
    /// Writes that are still done before the controller is no more.
    pub writes_left: usize,
}

pub(super) fn broker(epoch: i64) -> Broker {
    let endpoint = Endpoint { listener: "IN".into(), security_protocol: 0, host: "h".into(), port: 9092 };
    Broker { epoch, endpoints: vec![endpoint], rack: None }
}

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}

fn topic(partitions: &[&[i32]]) -> Topic {
    let assigned = |replicas: &&[i32]| Assignment { replicas: replicas.to_vec(), ..Assignment::default() };
    Topic { id: TOPIC_ID, partitions: (0..).zip(partitions.iter().map(assigned)).collect() }
}

impl Cluster {
    /// Three brokers, and a topic whose partitions are assigned so.
    pub fn new(partitions: &[&[i32]]) -> Cluster {
        let brokers: BTreeMap<i32, Broker> = [(1, broker(1)), (2, broker(2)), (3, broker(3))].into();
        let config = ControllerConfig {
            id: 1,
            listener: "IN".into(),
            delete_topics: true,
            imbalance_percent_max: 10,
            protocol: MetadataVersion::LATEST,
        };
        let snapshot = Snapshot { brokers: brokers.clone(), ..Snapshot::default() };
        let mut cluster = Cluster {
            controller: Controller::new(config, 5, snapshot),
            states: BTreeMap::new(),
            brokers,
            lists: topic(partitions).partitions,
            legacy_done: Vec::new(),
            deleted: Vec::new(),
            out: Vec::new(),
            conflicts: 0,
            lost: 0,
            failing: 0,
            writes_left: usize::MAX,
        };
        let mut out = Vec::new();
        cluster.controller.start(BTreeSet::new(), &mut out);
        cluster.perform(out);
        let added = BTreeMap::from([("t".into(), topic(partitions))]);
        cluster.step(Event::Topics { names: BTreeSet::from(["t".into()]), added });
        cluster
    }

    pub fn step(&mut self, event: Event) {
        self.out.clear();
        let mut out = Vec::new();
        self.controller.step(event, &mut out);
        self.perform(out);
    }

    pub fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if self.writes_left == 0 {
                return;
            }
            let event = match effect {
                Effect::Write { op, write } => {
                    self.writes_left -= 1;
                    Event::Written { op, result: self.write(write) }
                }
                Effect::ReadState { op, partition } => {
                    Event::StateRead { op, state: self.states.get(&partition).cloned() }
                }
                other => {
                    self.out.push(other);
                    continue;
                }
            };
            let mut out = Vec::new();
            self.controller.step(event, &mut out);
            self.perform(out);
        }
    }

    fn write(&mut self, write: Write) -> Result<i32, WriteError> {
        match write {
            Write::CreateState { partition, state } => {
                assert!(self.states.insert(partition, state).is_none());
                Ok(0)
            }
            Write::SetState { partition, mut state } => {
                let current = self.states.get_mut(&partition).expect("only what is there is replaced");
                if self.conflicts > 0 {
                    self.conflicts -= 1;
                    current.version += 1;
                }
                if current.version != state.version {
                    return Err(WriteError::Conflict);
                }
                state.version += 1;
                *current = state;
                if self.lost > 0 {
                    self.lost -= 1;
                    return Err(WriteError::Conflict);
                }
                Ok(current.version)
            }
            Write::DeleteTopic { topic } => {
                self.states.retain(|tp, _| tp.topic != topic);
                self.deleted.push(topic);
                Ok(0)
            }
            Write::SetAssignments { partitions, .. } => {
                if self.failing > 0 {
                    self.failing -= 1;
                    return Err(WriteError::Failed);
                }
                self.lists.extend(partitions);
                Ok(0)
            }
            Write::DropLegacy { partitions } => {
                self.legacy_done.extend(partitions);
                Ok(0)
            }
            Write::DropDeletion { topic } => {
                self.deleted.push(topic);
                Ok(0)
            }
        }
    }

    pub fn die(&mut self, id: i32) {
        self.brokers.remove(&id);
        self.step(Event::Brokers(self.brokers.clone()));
    }

    pub fn live(&mut self, id: i32, epoch: i64) {
        self.brokers.insert(id, broker(epoch));
        self.step(Event::Brokers(self.brokers.clone()));
    }

    pub fn state(&self, partition: i32) -> (i32, Vec<i32>, i32) {
        let state = &self.states[&tp(partition)];
        assert_eq!(Some(state), self.controller.state(&tp(partition)), "the controller knows what it wrote");
        (state.leader, state.isr.clone(), state.leader_epoch)
    }

    /// Whom the last event sent LeaderAndIsr about a partition: broker, leader, "new".
    pub fn told(&self, partition: i32) -> Vec<(i32, i32, bool)> {
        let mut told = Vec::new();
        for effect in &self.out {
            let Effect::Send { broker, request: ToBroker::LeaderAndIsr(request), .. } = effect else {
                continue;
            };
            for state in request.topic_states.iter().flat_map(|topic| &topic.partition_states) {
                if state.partition_index == partition {
                    told.push((*broker, state.leader, state.is_new));
                }
            }
        }
        told
    }

    pub fn stopped(&self) -> Vec<(i32, i32, i32, bool)> {
        let mut stopped = Vec::new();
        for effect in &self.out {
            let Effect::Send { broker, request: ToBroker::StopReplica(request), .. } = effect else {
                continue;
            };
            for state in request.topic_states.iter().flat_map(|topic| &topic.partition_states) {
                stopped.push((*broker, state.partition_index, state.leader_epoch, state.delete_partition));
            }
        }
        stopped
    }

    /// What brokers were told of a partition's leader, for everyone.
    pub fn metadata(&self, partition: i32) -> Vec<(i32, i32)> {
        let mut told = Vec::new();
        for effect in &self.out {
            let Effect::Send { broker, request: ToBroker::UpdateMetadata(request), .. } = effect else {
                continue;
            };
            for state in request.topic_states.iter().flat_map(|topic| &topic.partition_states) {
                if state.partition_index == partition {
                    told.push((*broker, state.leader));
                }
            }
        }
        told
    }

    pub fn ask_alter(&mut self, broker: i32, leader_epoch: i32, partition_epoch: i32, isr: &[i32]) {
        let member = |&broker_id: &i32| BrokerState { broker_id, broker_epoch: -1 };
        let partition = RequestPartitionData {
            partition_index: 0,
            leader_epoch,
            new_isr_with_epochs: isr.iter().map(member).collect(),
            partition_epoch,
            ..RequestPartitionData::default()
        };
        let topic = RequestTopicData {
            topic_id: TOPIC_ID,
            partitions: vec![partition],
            ..RequestTopicData::default()
        };
        let request =
            AlterPartitionRequest { broker_id: broker, broker_epoch: i64::from(broker), topics: vec![topic] };
        self.step(Event::AlterPartition { token: Token(1), version: 3, request });
    }

    pub fn alter(
        &mut self,
        broker: i32,
        leader_epoch: i32,
        partition_epoch: i32,
        isr: &[i32],
    ) -> AlterPartitionResponse {
        self.ask_alter(broker, leader_epoch, partition_epoch, isr);
        let reply = self.out.iter().find_map(|effect| match effect {
            Effect::AlterPartitionReply { response, .. } => Some(response.clone()),
            _ => None,
        });
        reply.expect("every AlterPartition is answered")
    }

    pub fn elect(
        &mut self,
        election: ElectionType,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Vec<(i32, ErrorCode)> {
        self.step(Event::ElectLeaders { token: Token(2), election, partitions });
        let reply = self.out.iter().find_map(|effect| match effect {
            Effect::ElectLeadersReply { results, .. } => Some(results),
            _ => None,
        });
        let results = reply.expect("every election is answered");
        results.iter().map(|elected| (elected.partition.partition, elected.error)).collect()
    }

    pub fn shut_down(&mut self, broker: i32) -> Result<Vec<TopicPartition>, ErrorCode> {
        self.step(Event::ControlledShutdown { token: Token(3), broker, broker_epoch: i64::from(broker) });
        let reply = self.out.iter().find_map(|effect| match effect {
            Effect::ControlledShutdownReply { result, .. } => Some(result.clone()),
            _ => None,
        });
        reply.expect("every shutdown is answered")
    }

    pub fn answer_stop(&mut self, broker: i32, error: ErrorCode) {
        let request = self.out.iter().find_map(|effect| match effect {
            Effect::Send { broker: to, request: ToBroker::StopReplica(request), .. } if *to == broker => {
                Some(request.clone())
            }
            _ => None,
        });
        let request = request.expect("it was told to stop");
        let errors = request.topic_states.iter().flat_map(|topic| {
            topic.partition_states.iter().map(|partition| StopReplicaPartitionError {
                topic_name: topic.topic_name.clone(),
                partition_index: partition.partition_index,
                error_code: error,
            })
        });
        let response =
            StopReplicaResponse { partition_errors: errors.collect(), ..StopReplicaResponse::default() };
        let rest = std::mem::take(&mut self.out);
        self.step(Event::StopReplicaAnswered { broker, request, response });
        self.out.extend(rest);
    }
}

#[test]
fn a_new_topic_is_led_by_its_first_replicas_and_everyone_hears_of_it() {
    let c = Cluster::new(&[&[2, 3], &[3, 1]]);
    assert_eq!(c.state(0), (2, vec![2, 3], 0));
    assert_eq!(c.state(1), (3, vec![3, 1], 0));
    assert_eq!(c.told(0), [(2, 2, true), (3, 2, true)]);
    assert_eq!(c.metadata(1), [(1, 3), (2, 3), (3, 3)]);
    let Some(Effect::Send { request: ToBroker::LeaderAndIsr(request), broker_epoch, broker }) =
        c.out.iter().find(|e| matches!(e, Effect::Send { request: ToBroker::LeaderAndIsr(_), .. }))
    else {
        panic!("nobody was told")
    };
    assert_eq!((*broker_epoch, request.broker_epoch), (i64::from(*broker), i64::from(*broker)));
    assert_eq!((request.controller_epoch, request.topic_states[0].topic_id), (5, TOPIC_ID));
    assert_eq!(request.live_leaders.len(), 1);
}

#[test]
fn requests_are_gathered_to_one_per_broker() {
    let c = Cluster::new(&[[1, 2, 3].as_slice(); 50]);
    let sends = |wanted: fn(&ToBroker) -> bool| {
        c.out.iter().filter(|e| matches!(e, Effect::Send { request, .. } if wanted(request))).count()
    };
    // All writes of one step are begun before the first is done.
    assert_eq!(sends(|r| matches!(r, ToBroker::LeaderAndIsr(_))), 3);
    assert_eq!(sends(|r| matches!(r, ToBroker::UpdateMetadata(_))), 3);
}

#[test]
fn a_dead_brokers_partitions_move_on() {
    let mut c = Cluster::new(&[&[1, 2, 3], &[2, 1]]);
    c.die(1);
    assert_eq!(c.state(0), (2, vec![2, 3], 1));
    assert_eq!(c.state(1), (2, vec![2], 1));
    assert_eq!(c.told(0), [(2, 2, false), (3, 2, false)]);
}

#[test]
fn a_partition_without_in_sync_replica_waits_for_it() {
    let mut c = Cluster::new(&[&[1]]);
    c.die(1);
    assert_eq!(c.state(0), (-1, vec![1], 1));
    assert_eq!(c.controller.counts().offline_partitions, 1);
    c.live(1, 10);
    assert_eq!(c.state(0), (1, vec![1], 2));
    assert_eq!(c.told(0), [(1, 1, false)]);
    assert_eq!(c.metadata(0).first(), Some(&(1, 1)), "and the newcomer gets all metadata");
}

#[test]
fn a_bounced_broker_has_failed_in_between() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.live(1, 10);
    assert_eq!(c.state(0), (2, vec![2], 1), "it may have lost the end of its log");
    assert_eq!(c.told(0), [(1, 2, false), (2, 2, false)]);
}

#[test]
fn an_unclean_election_needs_leave() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.die(2);
    c.live(2, 20);
    c.die(1);
    assert_eq!(c.state(0), (-1, vec![1], 2));
    c.step(Event::UncleanElection { topic: "t".into(), enabled: true });
    assert_eq!(c.state(0), (2, vec![2], 3));
    assert_eq!((c.controller.take_unclean_elections(), c.controller.take_unclean_elections()), (1, 0));
}

#[test]
fn new_partitions_and_partitions_without_a_live_replica_come_when_they_can() {
    let mut c = Cluster::new(&[&[1]]);
    c.die(3);
    c.step(Event::TopicChanged { name: "t".into(), topic: topic(&[&[1], &[2], &[3]]) });
    assert_eq!(c.state(1), (2, vec![2], 0));
    assert!(!c.states.contains_key(&tp(2)));
    c.live(3, 30);
    assert_eq!(c.state(2), (3, vec![3], 0));
    assert_eq!(c.told(2), [(3, 3, true)]);
}

#[test]
fn a_leader_alters_its_isr() {
    let mut c = Cluster::new(&[&[1, 2, 3]]);
    let answer = c.alter(1, 0, 0, &[1, 3]).topics[0].partitions[0].clone();
    assert_eq!((answer.error_code, answer.partition_epoch, answer.isr), (ErrorCode::NONE, 1, vec![1, 3]));
    assert_eq!(c.state(0), (1, vec![1, 3], 0), "the leader epoch stays");
    assert_eq!(c.told(0), [], "and the replicas need not hear");
    assert_eq!(c.metadata(0).len(), 3);
    let again = c.alter(1, 0, 0, &[1, 3]).topics[0].partitions[0].clone();
    assert_eq!(
        (again.error_code, again.partition_epoch),
        (ErrorCode::NONE, 1),
        "a repetition is answered alike"
    );
}

#[test]
fn an_alter_partition_is_refused_by_what_is_wrong_with_it() {
    let mut c = Cluster::new(&[&[1, 2, 3]]);
    let mut code = |broker, leader_epoch, partition_epoch, isr: &[i32]| {
        let response = c.alter(broker, leader_epoch, partition_epoch, isr);
        response.topics.first().map_or(response.error_code, |topic| topic.partitions[0].error_code)
    };
    assert_eq!(code(1, 0, 0, &[1, 2]), ErrorCode::NONE);
    assert_eq!(code(1, 0, 0, &[1]), ErrorCode::INVALID_UPDATE_VERSION);
    assert_eq!(code(1, 0, 2, &[1]), ErrorCode::NOT_CONTROLLER);
    assert_eq!(code(1, 1, 1, &[1]), ErrorCode::NOT_CONTROLLER);
    assert_eq!(code(9, 0, 1, &[1]), ErrorCode::STALE_BROKER_EPOCH);
    assert_eq!(code(1, 0, 1, &[1, 9]), ErrorCode::INELIGIBLE_REPLICA);
    c.die(3);
    c.die(1);
    c.live(1, 1);
    let fenced = c.alter(1, 0, 1, &[1]).topics[0].partitions[0].error_code;
    assert_eq!(fenced, ErrorCode::FENCED_LEADER_EPOCH);
}

#[test]
fn a_conflicting_write_is_read_again_and_repeated() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.conflicts = 1;
    c.die(1);
    assert_eq!(c.state(0), (2, vec![2], 1));
    assert_eq!(c.states[&tp(0)].version, 2);
}

#[test]
fn an_isr_change_whose_outcome_was_lost_is_found_written() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.lost = 1;
    let answer = c.alter(1, 0, 0, &[1]).topics[0].partitions[0].clone();
    assert_eq!((answer.error_code, answer.partition_epoch), (ErrorCode::NONE, 1));
    c.conflicts = 1;
    assert_eq!(
        c.alter(1, 0, 1, &[1, 2]).topics[0].partitions[0].error_code,
        ErrorCode::INVALID_UPDATE_VERSION
    );
}

#[test]
fn a_controlled_shutdown_moves_leaders_and_stops_followers() {
    let mut c = Cluster::new(&[&[1, 2], &[2, 1], &[1]]);
    assert_eq!(c.shut_down(1), Ok(vec![]), "what only it has does not count");
    assert_eq!(c.state(0), (2, vec![2], 1));
    assert_eq!(c.state(1), (2, vec![2], 1));
    assert_eq!(c.state(2), (1, vec![1], 0));
    assert_eq!(c.stopped(), [(1, 1, 1, false)]);
    assert_eq!(c.alter(2, 1, 1, &[2, 1]).topics[0].partitions[0].error_code, ErrorCode::INELIGIBLE_REPLICA);
    c.die(1);
    assert_eq!(c.state(2), (-1, vec![1], 1));
}

#[test]
fn a_shutdown_tells_what_cannot_be_moved() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.die(2);
    c.live(2, 20);
    assert_eq!(c.shut_down(1), Ok(vec![tp(0)]), "2 is not in sync yet");
    assert_eq!(c.state(0).0, 1);
}

#[test]
fn preferred_leaders_are_elected_where_needed() {
    let mut c = Cluster::new(&[&[1, 2], &[2, 1]]);
    c.die(1);
    c.live(1, 1);
    let preferred = ElectionType::Preferred;
    assert_eq!(c.elect(preferred, None), [(0, ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE)]);
    c.alter(2, 1, 1, &[2, 1]);
    assert_eq!(
        c.elect(preferred, Some(vec![tp(0), tp(1), tp(9)])),
        [
            (1, ErrorCode::ELECTION_NOT_NEEDED),
            (9, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            (0, ErrorCode::NONE)
        ]
    );
    assert_eq!(c.state(0), (1, vec![2, 1], 2));
}

#[test]
fn leaders_are_balanced_when_too_many_are_elsewhere() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.die(1);
    c.live(1, 1);
    c.alter(2, 1, 1, &[2, 1]);
    assert_eq!(c.controller.counts().preferred_imbalance, 1);
    c.step(Event::BalanceLeaders);
    assert_eq!(c.state(0).0, 1);
}

#[test]
fn a_topic_is_deleted_when_all_its_replicas_are() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    assert_eq!(c.metadata(0), [(1, -2), (2, -2), (3, -2)]);
    assert_eq!(c.stopped(), [(1, 0, -2, true), (2, 0, -2, true)]);
    c.answer_stop(1, ErrorCode::NONE);
    assert!(c.deleted.is_empty());
    c.answer_stop(2, ErrorCode::NONE);
    assert_eq!(c.deleted, ["t"]);
    assert!(!c.controller.knows("t"));
}

#[test]
fn a_deletion_waits_for_brokers_that_are_away() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.die(2);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    assert_eq!(c.stopped(), [(1, 0, -2, true)]);
    let counted = |c: &Cluster| {
        let counts = c.controller.counts();
        (
            counts.topics_to_delete,
            counts.replicas_to_delete,
            counts.topics_ineligible,
            counts.replicas_ineligible,
        )
    };
    assert_eq!(counted(&c), (1, 2, 1, 1));
    c.answer_stop(1, ErrorCode::NONE);
    assert_eq!(counted(&c), (1, 1, 1, 1));
    assert!(c.deleted.is_empty());
    c.live(2, 20);
    assert_eq!(c.stopped(), [(2, 0, -2, true)]);
    assert_eq!(c.told(0), [], "nobody leads or follows any more");
    assert_eq!(c.metadata(0), [(2, -2)], "it may know the topic from before its session ended");
    c.answer_stop(2, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(c.deleted.is_empty(), "a failure lasts until the broker is back");
    c.die(2);
    c.live(2, 21);
    c.answer_stop(2, ErrorCode::NONE);
    assert_eq!(c.deleted, ["t"]);
}

#[test]
fn why_a_deletion_does_not_go_on_is_told_once_for_each_change() {
    let told = |c: &Cluster| -> Vec<Vec<(Obstacle, Vec<i32>)>> {
        c.out
            .iter()
            .filter_map(|effect| match effect {
                Effect::DeletionWaits { obstacles, .. } => Some(obstacles.clone()),
                _ => None,
            })
            .collect()
    };
    let mut c = Cluster::new(&[&[1, 2], &[2, 1]]);
    c.die(2);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    assert_eq!(told(&c), [[(Obstacle::Away { broker: 2 }, vec![0, 1])]]);
    c.answer_stop(1, ErrorCode::NONE);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    assert!(told(&c).is_empty(), "nothing has changed");
    c.live(2, 20);
    assert_eq!(told(&c), [vec![]], "it goes on");
    c.answer_stop(2, ErrorCode::KAFKA_STORAGE_ERROR);
    let refused = Obstacle::Refused { broker: 2, error: ErrorCode::KAFKA_STORAGE_ERROR };
    assert_eq!(told(&c)[0], [(refused, vec![0, 1])]);
    assert!(refused.to_string().starts_with("broker 2 could not delete its replica (KAFKA_STORAGE_ERROR)"));
    c.die(2);
    assert_eq!(told(&c), [[(Obstacle::Away { broker: 2 }, vec![0, 1])]]);
    c.live(2, 21);
    c.answer_stop(2, ErrorCode::NONE);
    assert_eq!(c.deleted, ["t"]);
}

#[test]
fn a_replica_that_is_deleted_counts_though_a_refusal_of_its_brokers_former_life_came_first() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    c.answer_stop(1, ErrorCode::NONE);
    c.answer_stop(2, ErrorCode::STALE_BROKER_EPOCH);
    assert!(c.deleted.is_empty());
    c.answer_stop(2, ErrorCode::NONE);
    assert_eq!(c.deleted, ["t"]);
}

#[test]
fn a_deletion_of_nothing_is_dropped() {
    let mut c = Cluster::new(&[&[1]]);
    c.step(Event::DeleteTopics(BTreeSet::from(["none".into()])));
    assert_eq!(c.deleted, ["none"]);
    assert!(c.controller.knows("t"));
}

#[test]
fn a_replica_in_a_failed_directory_is_offline() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.step(Event::LogDirsFailed(vec![1]));
    assert_eq!(c.told(0), [(1, 1, false)], "the broker is asked by telling it again");
    let error = LeaderAndIsrPartitionError {
        partition_index: 0,
        error_code: ErrorCode::KAFKA_STORAGE_ERROR,
        ..LeaderAndIsrPartitionError::default()
    };
    let topics = vec![LeaderAndIsrTopicError { topic_id: TOPIC_ID, partition_errors: vec![error] }];
    let response = LeaderAndIsrResponse { topics, ..LeaderAndIsrResponse::default() };
    c.step(Event::LeaderAndIsrAnswered { broker: 1, response });
    assert_eq!(c.state(0), (2, vec![2], 1));
}

#[test]
fn a_new_controller_takes_the_cluster_as_it_finds_it() {
    let old = Cluster::new(&[&[1, 2], &[2, 1], &[3]]);
    let brokers: BTreeMap<i32, Broker> = [(2, broker(2)), (3, broker(3))].into();
    let snapshot = Snapshot {
        brokers: brokers.clone(),
        topics: BTreeMap::from([("t".into(), topic(&[&[1, 2], &[2, 1], &[3], &[2, 3]]))]),
        states: old.states.clone(),
        ..Snapshot::default()
    };
    let config = old.controller.config.clone();
    let mut c = Cluster { controller: Controller::new(config, 6, snapshot), brokers, ..old };
    c.out.clear();
    let mut out = Vec::new();
    c.controller.start(BTreeSet::new(), &mut out);
    c.perform(out);
    assert_eq!(c.state(0), (2, vec![2], 2), "once for the loss of the leader, once for the next");
    assert_eq!(c.state(1), (2, vec![2], 1));
    assert_eq!(c.state(2), (3, vec![3], 0));
    assert_eq!(c.state(3), (2, vec![2, 3], 0), "a partition that the last one did not get to");
    assert_eq!(c.told(2), [(3, 3, false)], "everyone is told, changed or not");
    assert_eq!(c.states[&tp(0)].controller_epoch, 6);
    assert_eq!(c.states[&tp(2)].controller_epoch, 5);
}

#[test]
fn a_state_that_its_leader_wrote_is_told_to_all_and_built_upon() {
    let mut cluster = Cluster::new(&[&[1, 2, 3], &[2, 3, 1]]);
    let mut state = cluster.states[&tp(0)].clone();
    state.isr = vec![1, 3];
    state.version += 1;
    cluster.states.insert(tp(0), state.clone());
    cluster.step(Event::StatesChanged([(tp(0), state)].into()));
    let told = cluster.out.iter().filter(|effect| match effect {
        Effect::Send { request: ToBroker::UpdateMetadata(request), .. } => {
            let states = &request.topic_states[0].partition_states;
            states.len() == 1 && states[0].isr == [1, 3] && states[0].zk_version == 1
        }
        _ => false,
    });
    assert_eq!((told.count(), cluster.out.len()), (3, 3), "nobody's leader is another: {:?}", cluster.out);
    cluster.brokers.remove(&1);
    cluster.step(Event::Brokers(cluster.brokers.clone()));
    let after = &cluster.states[&tp(0)];
    assert_eq!((after.leader, after.isr.as_slice(), after.version), (3, [3].as_slice(), 2));
}

#[test]
fn a_new_default_of_unclean_elections_concerns_topics_that_had_the_old_one() {
    let mut cluster = Cluster::new(&[&[1, 2]]);
    let mut state = cluster.states[&tp(0)].clone();
    (state.isr, state.version) = (vec![1], state.version + 1);
    cluster.states.insert(tp(0), state.clone());
    cluster.step(Event::StatesChanged([(tp(0), state)].into()));
    cluster.brokers.remove(&1);
    cluster.step(Event::Brokers(cluster.brokers.clone()));
    assert_eq!(cluster.states[&tp(0)].leader, NO_LEADER);
    cluster.step(Event::UncleanTopics(BTreeSet::from(["other".into()])));
    assert_eq!(cluster.states[&tp(0)].leader, NO_LEADER);
    cluster.step(Event::UncleanTopics(BTreeSet::from(["t".into()])));
    assert_eq!((cluster.states[&tp(0)].leader, cluster.states[&tp(0)].recovering), (2, true));
}

/// A successor takes over a cluster in which two thirds of everything stays as it is.
#[test]
fn brokers_that_hear_the_same_share_it_and_those_that_hear_all_hear_it_once() {
    let mut cluster = Cluster::new(&[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]]);
    cluster.brokers.remove(&1);
    let config = ControllerConfig {
        id: 2,
        listener: "IN".into(),
        delete_topics: true,
        imbalance_percent_max: 10,
        protocol: MetadataVersion::LATEST,
    };
    let snapshot = Snapshot {
        brokers: cluster.brokers.clone(),
        topics: BTreeMap::from([("t".into(), topic(&[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]]))]),
        states: cluster.states.clone(),
        ..Snapshot::default()
    };
    cluster.controller = Controller::new(config, 6, snapshot);
    cluster.out.clear();
    let mut out = Vec::new();
    cluster.controller.start(BTreeSet::new(), &mut out);
    cluster.perform(out);
    let mut metadata = Vec::new();
    for effect in &cluster.out {
        let Effect::Send { broker, request, .. } = effect else { continue };
        match request {
            ToBroker::UpdateMetadata(request) => metadata.push((*broker, request.clone())),
            ToBroker::LeaderAndIsr(request) => {
                let states = &request.topic_states[0].partition_states;
                let leaders: Vec<i32> = states.iter().map(|state| state.leader).collect();
                assert_eq!(leaders, [2, 2, 3], "to broker {broker}");
                assert!(states.iter().all(|state| !state.is_new && !state.isr.contains(&1)));
            }
            ToBroker::StopReplica(_) => panic!("nothing is to stop"),
        }
    }
    assert_eq!(metadata.iter().map(|(broker, _)| *broker).collect::<Vec<_>>(), [2, 3]);
    assert!(std::sync::Arc::ptr_eq(&metadata[0].1, &metadata[1].1));
    assert_eq!(metadata[0].1.topic_states[0].partition_states[0].leader, 2);
}
