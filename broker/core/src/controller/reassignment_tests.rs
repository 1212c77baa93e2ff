//! Reassignments, against a ZooKeeper that is a map.

use super::tests::{Cluster, broker, tp};
use super::*;

fn moving(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Assignment {
    Assignment { replicas: replicas.to_vec(), adding: adding.to_vec(), removing: removing.to_vec() }
}

fn at(replicas: &[i32]) -> Assignment {
    moving(replicas, &[], &[])
}

impl Cluster {
    /// The same with more brokers.
    fn of(brokers: i32, partitions: &[&[i32]]) -> Cluster {
        let mut cluster = Cluster::new(partitions);
        (4..=brokers).for_each(|id| cluster.live(id, i64::from(id)));
        cluster
    }

    fn reassign(&mut self, partition: i32, target: Option<&[i32]>) -> (ErrorCode, Option<String>) {
        let partitions = BTreeMap::from([(tp(partition), target.map(<[i32]>::to_vec))]);
        self.step(Event::AlterReassignments { token: Token(7), partitions });
        let reply = self.out.iter().find_map(|effect| match effect {
            Effect::AlterReassignmentsReply { results, .. } => Some(results.clone()),
            _ => None,
        });
        let results = reply.expect("every request is answered");
        assert_eq!(results.len(), 1);
        (results[0].error, results[0].message.as_ref().map(ToString::to_string))
    }

    fn begin(&mut self, target: &[i32]) {
        assert_eq!(self.reassign(0, Some(target)), (ErrorCode::NONE, None));
    }

    /// The leader takes these into its ISR.
    fn in_sync(&mut self, isr: &[i32]) {
        let state = self.states[&tp(0)].clone();
        let answer = self.alter(state.leader, state.leader_epoch, state.version, isr);
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE);
    }

    /// Another controller takes over with these brokers alive.
    fn fail_over(&mut self, alive: &[i32]) {
        self.brokers = alive.iter().map(|&id| (id, broker(i64::from(id)))).collect();
        let topic = Topic { id: Uuid([7; 16]), partitions: self.lists.clone() };
        let snapshot = Snapshot {
            brokers: self.brokers.clone(),
            topics: BTreeMap::from([("t".into(), topic)]),
            states: self.states.clone(),
            ..Snapshot::default()
        };
        let config = self.controller.config.clone();
        let epoch = self.controller.epoch + 1;
        self.controller = Controller::new(config, epoch, snapshot);
        self.writes_left = usize::MAX;
        self.out.clear();
        let mut out = Vec::new();
        self.controller.start(BTreeSet::new(), &mut out);
        self.perform(out);
    }

    fn whom_told(&self) -> Vec<(i32, bool)> {
        self.told(0).into_iter().map(|(broker, _, is_new)| (broker, is_new)).collect()
    }

    fn deleted_on(&self) -> Vec<i32> {
        self.stopped().into_iter().filter(|stop| stop.3).map(|stop| stop.0).collect()
    }
}

#[test]
fn replicas_move_to_other_brokers() {
    let mut c = Cluster::of(6, &[&[1, 2, 3]]);
    c.begin(&[4, 5, 6]);
    assert_eq!(c.lists[&0], moving(&[4, 5, 6, 1, 2, 3], &[4, 5, 6], &[1, 2, 3]));
    assert_eq!(c.state(0), (1, vec![1, 2, 3], 1), "a new epoch, and nothing else");
    assert_eq!(
        c.whom_told(),
        [(1, false), (2, false), (3, false), (4, true), (5, true), (6, true)],
        "new replicas may be made in any directory"
    );
    assert_eq!(c.controller.counts().reassigning_partitions, 1);
    c.in_sync(&[1, 2, 3, 4]);
    assert_eq!(c.state(0), (1, vec![1, 2, 3, 4], 1));
    c.in_sync(&[1, 2, 3, 4, 5, 6]);
    assert_eq!(c.state(0), (4, vec![4, 5, 6], 2), "the old leader is among those that go");
    assert_eq!(c.lists[&0], at(&[4, 5, 6]));
    assert_eq!(c.whom_told(), [(4, false), (5, false), (6, false)]);
    assert_eq!(c.deleted_on(), [1, 2, 3]);
    assert!(c.stopped().iter().all(|stop| stop.2 == 2), "with the epoch that a replica accepts");
    assert_eq!(c.controller.reassignments(None), []);
    assert_eq!(c.controller.counts().reassigning_partitions, 0);
}

#[test]
fn who_goes_is_told_before_the_node_forgets_it() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[1, 4]);
    c.writes_left = 2;
    // The ISR, then the state; the lists are not written any more.
    let state = c.states[&tp(0)].clone();
    c.alter(1, state.leader_epoch, state.version, &[1, 2, 4]);
    assert_eq!(c.lists[&0], moving(&[1, 4, 2], &[4], &[2]));
    assert_eq!(c.states[&tp(0)].isr, [1, 4]);
    c.fail_over(&[1, 2, 3, 4]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[1, 4]), vec![2]));
    assert_eq!(c.state(0).0, 1);
}

#[test]
fn a_leader_that_stays_goes_on_leading() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[4, 1]);
    c.in_sync(&[1, 2, 4]);
    assert_eq!(c.state(0), (1, vec![1, 4], 2));
    assert_eq!(c.lists[&0], at(&[4, 1]));
    assert_eq!(c.controller.counts().preferred_imbalance, 1);
}

#[test]
fn replicas_are_only_added_only_removed_or_only_put_in_order() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.begin(&[1, 2, 3]);
    assert_eq!(c.lists[&0], moving(&[1, 2, 3], &[3], &[]));
    c.in_sync(&[1, 2, 3]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[1, 2, 3]), vec![]));
    c.begin(&[3, 2]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[3, 2]), vec![1]), "at once: both are in sync");
    let (leader, isr, epoch) = c.state(0);
    assert_eq!((leader, isr), (3, vec![2, 3]));
    c.begin(&[2, 3]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[2, 3]), vec![]));
    assert_eq!(c.state(0), (3, vec![2, 3], epoch + 1));
}

#[test]
fn what_is_so_already_is_told_once_more_under_a_new_epoch() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[1, 2]);
    assert_eq!((c.lists[&0].clone(), c.state(0)), (at(&[1, 2]), (1, vec![1, 2], 1)));
    assert_eq!(c.whom_told(), [(1, false), (2, false)]);
    c.begin(&[2, 1]);
    assert_eq!((c.lists[&0].clone(), c.state(0)), (at(&[2, 1]), (1, vec![1, 2], 2)), "in another order");
    c.begin(&[2, 4]);
    c.begin(&[2, 4]);
    assert_eq!(c.lists[&0], moving(&[2, 4, 1], &[4], &[1]));
    assert_eq!(c.state(0), (1, vec![1, 2], 4), "a move under way is announced again");
    assert_eq!(c.whom_told(), [(1, false), (2, false), (4, true)]);
    c.in_sync(&[1, 2, 4]);
    assert_eq!((c.lists[&0].clone(), c.state(0)), (at(&[2, 4]), (2, vec![2, 4], 5)));
}

#[test]
fn nobody_is_told_once_more_of_a_partition_that_nobody_leads() {
    let mut c = Cluster::new(&[&[1, 2]]);
    c.die(2);
    c.die(1);
    let state = c.state(0);
    assert_eq!((state.0, state.1.clone()), (NO_LEADER, vec![1]));
    c.begin(&[1, 2]);
    assert_eq!(c.state(0), state);
}

#[test]
fn an_answer_comes_when_the_new_epoch_is_written() {
    let mut c = Cluster::new(&[&[1, 2]]);
    let partitions = BTreeMap::from([(tp(0), Some(vec![1, 2]))]);
    let mut out = Vec::new();
    c.controller.step(Event::AlterReassignments { token: Token(7), partitions }, &mut out);
    let [Effect::Write { op, write: Write::SetState { state, .. } }] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(state.leader_epoch, 1);
    let (op, mut after) = (*op, Vec::new());
    c.controller.step(Event::Written { op, result: Ok(1) }, &mut after);
    assert!(matches!(after.last(), Some(Effect::AlterReassignmentsReply { .. })), "{after:?}");
}

#[test]
fn a_reassignment_is_taken_back() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[4, 3]);
    c.in_sync(&[1, 2, 4]);
    assert_eq!(c.elect(ElectionType::Preferred, Some(vec![tp(0)])), [(0, ErrorCode::NONE)]);
    assert_eq!(c.state(0).0, 4, "the new one leads already");
    assert_eq!(c.reassign(0, None), (ErrorCode::NONE, None));
    assert_eq!(c.state(0), (1, vec![1, 2], 3));
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[1, 2]), vec![3, 4]));
    let gone = (
        ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
        Some("No partition reassignment is in progress.".to_owned()),
    );
    assert_eq!(c.reassign(0, None), gone);
    assert_eq!(c.reassign(9, None), gone);
}

#[test]
fn what_alone_has_the_data_is_never_dropped() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[4, 3]);
    c.in_sync(&[1, 2, 4]);
    c.die(1);
    c.die(2);
    assert_eq!(c.state(0).1, [4]);
    let (error, message) = c.reassign(0, None);
    assert_eq!(error, ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    assert!(message.unwrap().contains("is on List(4) alone"));
    assert_eq!(c.state(0).1, [4]);
    c.live(1, 1);
    c.in_sync(&[4, 1]);
    assert_eq!(c.reassign(0, None).0, ErrorCode::NONE);
    assert_eq!(c.state(0).1, [1]);
}

#[test]
fn a_move_does_not_end_while_nobody_that_it_leads_to_is_there() {
    let mut c = Cluster::of(4, &[&[1]]);
    c.begin(&[2, 3]);
    // The ISR is complete, and the controller dies before it sees to that; so do those who came.
    c.states.get_mut(&tp(0)).unwrap().isr = vec![1, 2, 3];
    c.fail_over(&[1, 4]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (moving(&[2, 3, 1], &[2, 3], &[1]), vec![]));
    assert_eq!((c.state(0).0, c.state(0).1), (1, vec![1]), "the data is served on");
    c.live(2, 12);
    c.live(3, 13);
    c.in_sync(&[1, 2, 3]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[2, 3]), vec![1]));
    assert_eq!((c.state(0).0, c.state(0).1), (2, vec![2, 3]));
}

#[test]
fn a_newer_reassignment_takes_the_place_of_one_under_way() {
    let mut c = Cluster::of(5, &[&[1, 2]]);
    c.begin(&[4, 3]);
    c.in_sync(&[1, 2, 3]);
    c.begin(&[5, 4]);
    assert_eq!(c.lists[&0], moving(&[5, 4, 1, 2], &[5, 4], &[1, 2]));
    assert_eq!(c.state(0), (1, vec![1, 2], 2));
    assert_eq!(c.deleted_on(), [3], "4 is still wanted");
    c.in_sync(&[1, 2, 4, 5]);
    assert_eq!(c.state(0), (5, vec![4, 5], 3));
    assert_eq!(c.lists[&0], at(&[5, 4]));
}

#[test]
fn requests_are_refused_in_kafkas_words() {
    let mut c = Cluster::new(&[&[1, 2]]);
    let mut refused = |partition, target: &[i32]| {
        let (error, message) = c.reassign(partition, Some(target));
        (error, message.unwrap())
    };
    let invalid = |message: &str| (ErrorCode::INVALID_REPLICA_ASSIGNMENT, message.to_owned());
    assert_eq!(refused(0, &[]), invalid("Empty replica list specified in partition reassignment."));
    assert_eq!(
        refused(0, &[1, 1]),
        invalid("Duplicate replica ids in partition reassignment replica list: ArrayBuffer(1, 1)")
    );
    assert_eq!(refused(0, &[-1, 2]), invalid("Invalid broker id in replica list: ArrayBuffer(-1, 2)"));
    assert_eq!(
        refused(0, &[99, 1]),
        invalid(
            "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(99), live broker list: \
             Set(1, 2, 3)"
        )
    );
    let missing = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.".to_owned());
    assert_eq!(refused(9, &[1]), missing);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    let (error, message) = c.reassign(0, Some(&[3]));
    assert_eq!((error, message.unwrap()), missing);
}

#[test]
fn a_new_replicas_broker_fails_and_comes_back() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.begin(&[4, 2]);
    c.die(4);
    assert_eq!(c.state(0), (1, vec![1, 2], 1));
    c.die(1);
    assert_eq!(c.state(0), (2, vec![2], 2), "an old replica leads meanwhile");
    c.live(4, 4);
    assert_eq!(c.whom_told(), [(2, false), (4, true)]);
    assert_eq!(c.state(0), (2, vec![2], 3), "it is announced again to the one that it waited for");
    c.live(3, 30);
    assert_eq!(c.state(0).2, 3, "and for nobody else");
    c.in_sync(&[2, 4]);
    assert_eq!((c.lists[&0].clone(), c.state(0)), (at(&[4, 2]), (2, vec![2, 4], 4)));
    assert_eq!(c.deleted_on(), [], "1 is away");
    c.live(1, 1);
    assert_eq!(c.deleted_on(), [1], "and deletes its replica when it is back");
    c.answer_stop(1, ErrorCode::KAFKA_STORAGE_ERROR);
    c.live(1, 10);
    assert_eq!(c.deleted_on(), [1]);
    c.answer_stop(1, ErrorCode::NONE);
    c.live(1, 11);
    assert_eq!(c.deleted_on(), [], "once");
}

#[test]
fn a_replica_that_is_wanted_again_is_not_deleted() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.die(1);
    c.begin(&[4, 2]);
    c.in_sync(&[2, 4]);
    c.live(1, 1);
    assert_eq!(c.deleted_on(), [1]);
    c.begin(&[1, 2]);
    assert_eq!((c.deleted_on(), c.whom_told()), (vec![], vec![(1, true), (2, false), (4, false)]));
    c.live(1, 10);
    assert_eq!((c.deleted_on(), c.whom_told()), (vec![], vec![(1, true), (2, false), (4, false)]));
}

#[test]
fn another_controller_goes_on_wherever_the_last_one_stopped() {
    for writes in 0..6 {
        let mut c = Cluster::of(4, &[&[1, 2]]);
        c.writes_left = writes;
        let partitions = BTreeMap::from([(tp(0), Some(vec![3, 4]))]);
        c.step(Event::AlterReassignments { token: Token(7), partitions });
        if c.writes_left > 0 {
            let state = c.states[&tp(0)].clone();
            c.ask_alter(1, state.leader_epoch, state.version, &[1, 2, 3, 4]);
        }
        let begun = c.lists[&0] != at(&[1, 2]);
        c.fail_over(&[1, 2, 3, 4]);
        if !begun {
            assert_eq!(writes, 0);
            continue;
        }
        if c.lists[&0].is_being_reassigned() {
            assert_eq!(c.whom_told(), [(1, false), (2, false), (3, true), (4, true)]);
            assert!(c.state(0).2 >= 1, "nobody knows who heard of it");
            c.in_sync(&[1, 2, 3, 4]);
        }
        assert_eq!((c.lists[&0].clone(), c.state(0).0), (at(&[3, 4]), 3), "after {writes} writes");
        assert_eq!(c.state(0).1, [3, 4]);
    }
}

#[test]
fn lists_that_could_not_be_written_are_written_later() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.failing = 1;
    assert_eq!(c.reassign(0, Some(&[4])).0, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert_eq!(c.state(0), (1, vec![1, 2], 0));
    c.begin(&[4]);
    c.failing = 1;
    c.in_sync(&[1, 2, 4]);
    assert_eq!(c.lists[&0], moving(&[4, 1, 2], &[4], &[1, 2]));
    assert_eq!(c.state(0), (4, vec![4], 2));
    c.step(Event::BalanceLeaders);
    assert_eq!(c.lists[&0], at(&[4]));
}

#[test]
fn a_state_that_another_hand_wrote_is_announced_all_the_same() {
    let mut c = Cluster::of(4, &[&[1, 2]]);
    c.conflicts = 1;
    c.begin(&[4, 2]);
    assert_eq!(c.state(0), (1, vec![1, 2], 1));
    assert_eq!(c.whom_told(), [(1, false), (2, false), (4, true)]);
    c.lost = 1;
    c.in_sync(&[1, 2, 4]);
    assert_eq!((c.lists[&0].clone(), c.deleted_on()), (at(&[4, 2]), vec![1]));
}

#[test]
fn a_topic_is_deleted_after_its_reassignment() {
    let mut c = Cluster::of(4, &[&[1], &[2]]);
    c.begin(&[4]);
    c.step(Event::DeleteTopics(BTreeSet::from(["t".into()])));
    assert_eq!((c.stopped(), c.metadata(0)), (vec![], vec![]), "it lives on");
    let obstacles = vec![(Obstacle::Reassigned, vec![0])];
    assert!(c.out.contains(&Effect::DeletionWaits { topic: "t".into(), obstacles }));
    assert_eq!(c.controller.counts().topics_to_delete, 1);
    assert_eq!(
        c.reassign(1, Some(&[3])).0,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        "but nothing new is begun"
    );
    let unwanted = Some(vec![tp(0)]);
    assert_eq!(c.elect(ElectionType::Preferred, unwanted), [(0, ErrorCode::INVALID_TOPIC_EXCEPTION)]);
    c.in_sync(&[1, 4]);
    assert_eq!(c.deleted_on(), [1, 2, 4]);
    assert_eq!(c.metadata(0).last(), Some(&(4, LEADER_DURING_DELETE)));
    c.answer_stop(2, ErrorCode::NONE);
    c.answer_stop(4, ErrorCode::NONE);
    assert_eq!(c.deleted, ["t"]);
}

#[test]
fn the_old_node_is_followed_and_emptied() {
    let mut c = Cluster::of(4, &[&[1], &[2], &[3]]);
    let wanted = [(tp(0), vec![4]), (tp(1), vec![2]), (tp(2), vec![1]), (tp(9), vec![1])];
    c.step(Event::LegacyReassignment(BTreeMap::from(wanted)));
    assert_eq!(c.lists[&0], moving(&[4, 1], &[4], &[1]));
    assert_eq!(c.lists[&2], moving(&[1, 3], &[1], &[3]));
    assert_eq!(c.legacy_done, [tp(1), tp(9)], "done already, and impossible");
    c.in_sync(&[1, 4]);
    assert_eq!(c.legacy_done, [tp(1), tp(9), tp(0)]);
    assert_eq!(c.reassign(2, None).0, ErrorCode::NONE);
    assert_eq!(c.legacy_done[3..], [tp(2)], "an administrator wants something else");
    assert_eq!(c.lists[&2], at(&[3]));
}

#[test]
fn leaders_are_balanced_while_replicas_move() {
    let mut c = Cluster::new(&[&[1, 2], &[2]]);
    c.die(1);
    c.live(1, 1);
    c.in_sync(&[2, 1]);
    assert_eq!(c.reassign(1, Some(&[3])).0, ErrorCode::NONE);
    c.step(Event::BalanceLeaders);
    assert_eq!(c.state(0).0, 1, "another partition's reassignment is no hindrance");
    assert_eq!(c.reassign(0, Some(&[2, 1, 3])).0, ErrorCode::NONE);
    c.step(Event::BalanceLeaders);
    assert_eq!(c.state(0).0, 2, "nor its own: the first of the new list is in sync");
    assert!(c.lists[&0].is_being_reassigned());
}
