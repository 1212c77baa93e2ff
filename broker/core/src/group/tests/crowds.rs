//! Many members, and members that ask twice.

use super::*;

#[test]
fn two_thousand_members_join_leave_and_fail_in_a_generation_each() {
    let mut world = World::new(Config::default());
    let tokens: Vec<u64> =
        (0..2_000).map(|_| world.join("", Join { id_first: true, ..Join::default() })).collect();
    let ids: Vec<String> =
        tokens.into_iter().map(|token| world.joined(token).member_id.to_string()).collect();
    let tokens: Vec<u64> = ids.iter().map(|id| world.join(id, Join::default())).collect();
    world.pass(6_000);
    let joined: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| world.joined(token)).collect();
    assert!(joined.iter().all(|joined| joined.generation_id == 1));
    assert_eq!(joined.iter().filter(|joined| !joined.members.is_empty()).count(), 1);
    assert_eq!(joined[0].members.len(), 2_000);
    for id in &ids[..200] {
        assert_eq!(world.leave(id, None), Code::NONE);
    }
    // Of the others every ninth says no more.
    let (silent, alive): (Vec<_>, Vec<_>) = ids[200..].iter().enumerate().partition(|(n, _)| n % 9 == 0);
    let tokens: Vec<u64> = alive.iter().map(|(_, id)| world.join(id, Join::default())).collect();
    assert!(tokens.iter().all(|token| !world.answers.contains_key(token)), "the silent ones are waited for");
    world.pass(10_000);
    let second: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| world.joined(token)).collect();
    assert!(second.iter().all(|joined| joined.generation_id == 2));
    assert_eq!(world.state(), ("CompletingRebalance".into(), alive.len()));
    assert_eq!(silent.len() + alive.len(), 1_800);
}

#[test]
fn a_member_that_joins_twice_waits_for_the_second_answer_and_the_first_is_not_left_open() {
    let mut world = World::new(Config::default());
    let (first, second) = world.stable_pair();
    let before = world.join(&first, Join::default());
    let after = world.join(&first, Join::default());
    assert_eq!(world.joined(before).error_code, Code::REBALANCE_IN_PROGRESS);
    let other = world.join(&second, Join::default());
    assert_eq!((world.joined(after).generation_id, world.joined(other).generation_id), (2, 2));
    let before = world.sync(&second, 2, &[]);
    let after = world.sync(&second, 2, &[]);
    assert_eq!(world.synced(before).0, Code::REBALANCE_IN_PROGRESS);
    let leader = world.sync(&first, 2, &[&first, &second]);
    assert_eq!((world.synced(leader).0, world.synced(after).0), (Code::NONE, Code::NONE));
}

#[test]
fn the_end_of_a_transaction_reaches_every_group_of_its_producer_and_no_other() {
    let mut world = World::new(Config::default());
    let commit = |world: &mut World, group: &str, producer_id: i64, offset: i64| {
        let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let token = world.send(Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            group_id: text(group),
            producer_id,
            topics: vec![TxnOffsetCommitRequestTopic { name: text("t"), partitions: vec![partition] }],
            generation_id: -1,
            ..TxnOffsetCommitRequest::default()
        }));
        assert!(matches!(world.answers.remove(&token), Some(Response::TxnOffsetCommit(_))));
    };
    let fetch = |world: &mut World, group: &str| {
        let request = OffsetFetchRequest { group_id: text(group), ..OffsetFetchRequest::default() };
        let request = OffsetFetchRequest { topics: None, ..request };
        let token = world.send(Request::OffsetFetch { request, errors_by_partition: false });
        let Some(Response::OffsetFetch(response)) = world.answers.remove(&token) else { panic!("no answer") };
        let topics = response.topics.into_iter().flat_map(|topic| topic.partitions);
        topics.map(|partition| partition.committed_offset).collect::<Vec<_>>()
    };
    commit(&mut world, "a", 7, 1);
    commit(&mut world, "b", 7, 2);
    commit(&mut world, "b", 8, 3);
    world.step(Event::TxnCompleted { producer_id: 7, partitions: vec![1], commit: true });
    assert_eq!((fetch(&mut world, "a"), fetch(&mut world, "b")), (vec![], vec![]), "another partition's end");
    world.step(Event::TxnCompleted { producer_id: 7, partitions: vec![0], commit: true });
    assert_eq!((fetch(&mut world, "a"), fetch(&mut world, "b")), (vec![1], vec![2]));
    world.fail_over();
    world.step(Event::TxnCompleted { producer_id: 8, partitions: vec![0], commit: true });
    assert_eq!(
        (fetch(&mut world, "a"), fetch(&mut world, "b")),
        (vec![], vec![3]),
        "no marker of 7 is in the log"
    );
}
