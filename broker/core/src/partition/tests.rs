//! One replica's rules, one at a time; several replicas together are simulated in `broker/core/tests`.

use super::*;

const LAG: i64 = 30_000;

fn config(min_insync_replicas: usize) -> PartitionConfig {
    PartitionConfig { min_insync_replicas, replica_lag_ms_max: LAG, ..PartitionConfig::default() }
}

fn state(leader: i32, leader_epoch: i32, isr: &[i32]) -> LeaderAndIsr {
    LeaderAndIsr {
        controller_epoch: 1,
        leader,
        leader_epoch,
        isr: isr.to_vec(),
        partition_epoch: leader_epoch,
        replicas: vec![1, 2, 3],
        ..LeaderAndIsr::default()
    }
}

fn batch(base_offset: i64, count: i32, leader_epoch: i32) -> BatchMeta {
    BatchMeta {
        base_offset,
        last_offset_delta: count - 1,
        leader_epoch,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        max_timestamp: 0,
        size: 100,
        transactional: false,
        marker: None,
    }
}

/// A leader on broker 1 of replicas 1, 2, 3.
fn leader(min_insync: usize, isr: &[i32]) -> Partition {
    let mut p = Partition::new(1, config(min_insync), LogState::default());
    let role = p.leader_and_isr(0, &state(1, 0, isr), &mut Vec::new());
    assert_eq!(role, Ok(RoleChange::Leader { newly: true }));
    p
}

fn produce(p: &mut Partition, now: i64, token: u64, acks: i16, count: i32) -> Vec<Effect> {
    let mut out = Vec::new();
    let batch = batch(0, count, 0);
    let produce = Produce {
        token: Token(token),
        acks,
        timeout_ms: 1000,
        batch,
        origin: Origin::Client,
        log_append_time_ms: -1,
    };
    p.produce(now, produce, &mut out);
    out
}

fn follower_fetch(
    p: &mut Partition,
    now: i64,
    id: i32,
    offset: i64,
) -> (Result<Fetched, ErrorCode>, Vec<Effect>) {
    let mut out = Vec::new();
    let fetcher = Fetcher::Follower { id, alive: true, log_start: 0 };
    let fetch = Fetch { fetcher, offset, current_leader_epoch: p.leader_epoch(), last_fetched_epoch: -1 };
    let answer = p.fetch(now, &fetch, false, &mut out);
    (answer, out)
}

fn replies(effects: &[Effect]) -> Vec<(u64, ErrorCode)> {
    let reply = |effect: &Effect| match effect {
        Effect::Reply { token, result } => Some((token.0, result.error)),
        _ => None,
    };
    effects.iter().filter_map(reply).collect()
}

fn alter(effects: &[Effect]) -> Option<&AlterPartition> {
    effects.iter().find_map(|effect| match effect {
        Effect::AlterPartition(alter) => Some(alter),
        _ => None,
    })
}

#[test]
fn acks_one_is_answered_by_the_leader_alone() {
    let mut p = leader(1, &[1, 2, 3]);
    let out = produce(&mut p, 0, 7, 1, 5);
    assert!(matches!(out[0], Effect::Append { base_offset: 0, leader_epoch: 0 }));
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
    assert_eq!((p.log_end(), p.high_watermark()), (5, 0));
}

#[test]
fn acks_all_waits_for_the_whole_isr() {
    let mut p = leader(2, &[1, 2, 3]);
    assert_eq!(replies(&produce(&mut p, 0, 7, -1, 5)), []);
    assert_eq!(replies(&follower_fetch(&mut p, 1, 2, 5).1), []);
    let (answer, out) = follower_fetch(&mut p, 2, 3, 5);
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
    assert_eq!(answer.unwrap().high_watermark, 5);
}

#[test]
fn too_small_an_isr_is_refused_before_the_append() {
    let mut p = leader(2, &[1]);
    let out = produce(&mut p, 0, 7, -1, 1);
    assert_eq!(replies(&out), [(7, ErrorCode::NOT_ENOUGH_REPLICAS)]);
    let start = |effect: &Effect| matches!(effect, Effect::Reply { result, .. } if result.log_start == 0);
    assert!(out.iter().any(start), "Java tells where the log starts: {out:?}");
    assert_eq!(p.log_end(), 0);
    assert_eq!(replies(&produce(&mut p, 0, 8, 1, 1)), [(8, ErrorCode::NONE)], "acks=1 does not care");
}

#[test]
fn minus_one_alone_stands_for_a_leader_epoch_that_is_not_known() {
    let p = leader(1, &[1]);
    assert_eq!(p.check_epoch(-1, true), Ok(()));
    assert_eq!(p.check_epoch(-2, true), Err(ErrorCode::FENCED_LEADER_EPOCH));
    assert_eq!(p.check_epoch(i32::MAX, true), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
}

#[test]
fn an_isr_that_shrank_meanwhile_is_told_after_the_append() {
    let mut p = leader(2, &[1, 2, 3]);
    produce(&mut p, 0, 7, -1, 1);
    follower_fetch(&mut p, 1, 2, 0).0.unwrap();
    let mut out = Vec::new();
    p.tick(LAG + 2, &mut out);
    let asked = alter(&out).unwrap().clone();
    assert_eq!(asked.isr, [1]);
    out.clear();
    let altered = Altered { leader_epoch: 0, partition_epoch: 1, isr: vec![1] };
    p.altered(LAG + 3, asked.request, Ok(altered), &mut out);
    assert_eq!(replies(&out), []);
    assert_eq!(p.isr(), [1]);
}

#[test]
fn a_produce_runs_out_of_time() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 7, -1, 1);
    assert_eq!(p.deadline(), Some(1000));
    let mut out = Vec::new();
    p.tick(1000, &mut out);
    assert_eq!(replies(&out), [(7, ErrorCode::REQUEST_TIMED_OUT)]);
}

#[test]
fn losing_the_leadership_answers_who_waits() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 7, -1, 1);
    let mut out = Vec::new();
    p.watch(Token(9), WatchFor::HighWatermark, 0, &mut out);
    let role = p.leader_and_isr(5, &state(2, 1, &[1, 2]), &mut out);
    assert_eq!(role, Ok(RoleChange::Follower { leader: 2 }));
    assert_eq!(replies(&out), [(7, ErrorCode::NOT_LEADER_OR_FOLLOWER)]);
    assert!(out.contains(&Effect::Wake { token: Token(9) }));
}

#[test]
fn a_new_epoch_of_the_same_leader_keeps_who_waits() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 7, -1, 1);
    let mut out = Vec::new();
    assert_eq!(
        p.leader_and_isr(5, &state(1, 1, &[1]), &mut out),
        Ok(RoleChange::Leader { newly: false }),
        "and 2, out of the ISR now, is no longer waited for"
    );
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
}

#[test]
fn old_news_of_leadership_is_refused() {
    let mut p = leader(1, &[1, 2]);
    let refused = Err(ErrorCode::STALE_CONTROLLER_EPOCH);
    assert_eq!(p.leader_and_isr(1, &state(2, 0, &[1, 2]), &mut Vec::new()), refused);
    let elsewhere = LeaderAndIsr { replicas: vec![2, 3], ..state(2, 1, &[2]) };
    assert_eq!(p.leader_and_isr(1, &elsewhere, &mut Vec::new()), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[test]
fn a_replica_in_time_enters_the_isr_and_counts_from_the_asking_on() {
    let mut p = leader(1, &[1]);
    produce(&mut p, 0, 1, -1, 3);
    assert_eq!(p.high_watermark(), 3);
    let (_, out) = follower_fetch(&mut p, 10, 2, 3);
    let asked = alter(&out).unwrap().clone();
    assert_eq!((asked.isr.as_slice(), asked.partition_epoch), ([1, 2].as_slice(), 0));
    assert_eq!(p.isr(), [1], "nothing is written yet");
    assert_eq!(replies(&produce(&mut p, 20, 2, -1, 1)), [], "but the newcomer is waited for");
    assert!(alter(&follower_fetch(&mut p, 30, 3, 4).1).is_none(), "one change at a time");
    let mut out = Vec::new();
    let altered = Altered { leader_epoch: 0, partition_epoch: 1, isr: vec![1, 2] };
    p.altered(40, asked.request, Ok(altered), &mut out);
    assert_eq!((p.isr(), p.partition_epoch()), ([1, 2].as_slice(), 1));
}

#[test]
fn who_caught_up_while_another_joined_is_asked_for_next_if_it_still_fetches() {
    let joined = |now: i64| {
        let mut p = leader(1, &[1]);
        let request = alter(&follower_fetch(&mut p, 10, 2, 0).1).unwrap().request;
        assert!(alter(&follower_fetch(&mut p, 20, 3, 0).1).is_none());
        let mut out = Vec::new();
        let altered = Altered { leader_epoch: 0, partition_epoch: 1, isr: vec![1, 2] };
        p.altered(now, request, Ok(altered), &mut out);
        alter(&out).map(|asked| (asked.isr.clone(), asked.partition_epoch))
    };
    assert_eq!(joined(30), Some((vec![1, 2, 3], 1)));
    assert_eq!(joined(21 + LAG), None);
}

#[test]
fn a_refused_isr_change_is_dropped_kept_or_tried_again_by_its_error() {
    let ask = || {
        let mut p = leader(1, &[1]);
        let (_, out) = follower_fetch(&mut p, 10, 2, 0);
        let request = alter(&out).unwrap().request;
        (p, request)
    };
    let (mut p, request) = ask();
    p.altered(20, request, Err(ErrorCode::INELIGIBLE_REPLICA), &mut Vec::new());
    assert!(alter(&follower_fetch(&mut p, 30, 2, 0).1).is_some(), "dropped, so asked anew");

    let (mut p, request) = ask();
    p.altered(20, request, Err(ErrorCode::INVALID_UPDATE_VERSION), &mut Vec::new());
    assert!(alter(&follower_fetch(&mut p, 30, 2, 0).1).is_none(), "waits for LeaderAndIsr");

    let (mut p, request) = ask();
    p.altered(20, request, Err(ErrorCode::UNKNOWN_SERVER_ERROR), &mut Vec::new());
    let mut out = Vec::new();
    p.tick(p.deadline().unwrap(), &mut out);
    assert_eq!(alter(&out).unwrap().request, request);
}

#[test]
fn a_broker_that_is_gone_is_not_waited_for_however_recently_it_kept_up() {
    let mut p = leader(1, &[1]);
    follower_fetch(&mut p, 10, 2, 0).0.unwrap();
    assert_eq!(replies(&produce(&mut p, 20, 7, -1, 1)), [], "it is about to join");
    let mut out = Vec::new();
    p.altered(30, 1, Err(ErrorCode::INELIGIBLE_REPLICA), &mut out);
    assert_eq!(replies(&out), [], "it lives, and keeps up");
    p.alive_are(40, |id| id != 2, &mut out);
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
}

#[test]
fn an_answer_to_a_past_leadership_is_none_to_this_one() {
    let mut p = leader(1, &[1]);
    let asked = |p: &mut Partition, now| alter(&follower_fetch(p, now, 2, 0).1).unwrap().request;
    let late = asked(&mut p, 10);
    p.leader_and_isr(20, &state(3, 1, &[1, 3]), &mut Vec::new()).unwrap();
    p.leader_and_isr(30, &state(1, 2, &[1]), &mut Vec::new()).unwrap();
    let current = asked(&mut p, 40);
    p.alive_are(40, |id| id == 1, &mut Vec::new());
    p.altered(50, late, Err(ErrorCode::INELIGIBLE_REPLICA), &mut Vec::new());
    assert_eq!(replies(&produce(&mut p, 60, 7, -1, 1)), [], "2 may be in the ISR by now");
    let mut out = Vec::new();
    p.altered(70, current, Err(ErrorCode::INELIGIBLE_REPLICA), &mut out);
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
}

#[test]
fn a_refused_expansion_no_longer_holds_records_up() {
    let mut p = leader(1, &[1]);
    follower_fetch(&mut p, 10, 2, 0).0.unwrap();
    produce(&mut p, 20, 7, -1, 1);
    let mut out = Vec::new();
    p.altered(20 + LAG, 1, Err(ErrorCode::INELIGIBLE_REPLICA), &mut out);
    assert_eq!(replies(&out), [(7, ErrorCode::NONE)]);
}

#[test]
fn a_slow_replica_leaves_the_isr_only_when_it_has_not_kept_up_for_the_lag() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 1, 1, 1);
    follower_fetch(&mut p, 1000, 2, 1).0.unwrap();
    produce(&mut p, 2000, 2, 1, 1);
    let mut out = Vec::new();
    p.tick(1000 + LAG, &mut out);
    assert!(alter(&out).is_none());
    p.tick(1000 + LAG + LAG / 2 + 1, &mut out);
    assert_eq!(alter(&out).unwrap().isr, [1]);
}

#[test]
fn a_consumer_reads_up_to_the_high_watermark_and_is_out_of_range_beyond_the_end() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 1, 1, 5);
    let fetcher = Fetcher::Consumer { isolation: Isolation::ReadUncommitted, leader_only: true };
    let mut ask = |offset, epoch| {
        let fetch = Fetch { fetcher, offset, current_leader_epoch: epoch, last_fetched_epoch: -1 };
        p.fetch(0, &fetch, false, &mut Vec::new()).map(|fetched| fetched.outcome)
    };
    assert_eq!(ask(0, -1), Ok(FetchOutcome::Read { up_to: 0 }));
    assert_eq!(ask(5, 0), Ok(FetchOutcome::Read { up_to: 0 }));
    assert_eq!(ask(6, 0), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert_eq!(ask(0, 1), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
}

#[test]
fn a_stranger_may_not_replicate() {
    let mut p = leader(1, &[1]);
    assert_eq!(follower_fetch(&mut p, 0, 9, 0).0, Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
}

fn follower(log: LogState) -> Partition {
    let mut p = Partition::new(2, config(1), log);
    p.leader_and_isr(0, &state(1, 5, &[1, 2]), &mut Vec::new()).unwrap();
    p
}

fn log_of(epochs: &[(i32, i64)], log_end: i64, high_watermark: i64) -> LogState {
    let starts = epochs.iter().map(|&(epoch, start_offset)| EpochStart { epoch, start_offset });
    LogState { log_end, high_watermark, epochs: LeaderEpochs::new(starts), ..LogState::default() }
}

fn from_leader<'a>(p: &Partition, body: LeaderBody<'a>) -> FromLeader<'a> {
    let next = p.next_fetch().unwrap();
    FromLeader { leader_epoch: next.leader_epoch, offset: next.offset, high_watermark: 4, log_start: 0, body }
}

#[test]
fn a_follower_appends_and_takes_the_leaders_high_watermark_within_its_own_log() {
    let mut p = follower(LogState::default());
    let mut out = Vec::new();
    let batches = [batch(0, 3, 5)];
    let got = p.fetched(from_leader(&p, LeaderBody::Batches(&batches)), &mut out);
    assert_eq!(got, FollowerOutcome::Applied);
    assert!(out.contains(&Effect::AppendFetched { from: 0 }));
    assert_eq!((p.log_end(), p.high_watermark()), (3, 3));
    let next = p.next_fetch().unwrap();
    assert_eq!((next.offset, next.last_fetched_epoch), (3, 5));
}

#[test]
fn a_broker_that_shuts_down_follows_no_new_leader() {
    let mut p = follower(LogState::default());
    p.retire();
    assert_eq!(p.next_fetch().map(|next| next.leader_epoch), Some(5), "it goes on with the one it has");
    p.leader_and_isr(1, &state(3, 6, &[3]), &mut Vec::new()).unwrap();
    assert!(p.is_follower());
    assert_eq!(p.next_fetch(), None);

    let mut led = Partition::new(2, config(1), LogState::default());
    led.leader_and_isr(0, &state(2, 5, &[1, 2]), &mut Vec::new()).unwrap();
    led.retire();
    led.leader_and_isr(1, &state(1, 6, &[1]), &mut Vec::new()).unwrap();
    assert_eq!(led.next_fetch(), None, "it gave leadership away in order not to come back");
}

#[test]
fn an_answer_to_an_older_question_is_ignored() {
    let mut p = follower(log_of(&[(1, 0)], 3, 3));
    let batches = [batch(3, 1, 5)];
    let asked = from_leader(&p, LeaderBody::Batches(&batches));
    assert_eq!(p.fetched(asked, &mut Vec::new()), FollowerOutcome::Applied);
    assert_eq!(p.fetched(asked, &mut Vec::new()), FollowerOutcome::Stale, "the end has moved");
    p.leader_and_isr(1, &state(3, 6, &[3]), &mut Vec::new()).unwrap();
    let old = FromLeader { offset: 4, ..asked };
    assert_eq!(p.fetched(old, &mut Vec::new()), FollowerOutcome::Stale, "and so has the leader");
}

#[test]
fn offsets_that_do_not_follow_are_rejected() {
    let mut p = follower(log_of(&[(1, 0)], 3, 3));
    let batches = [batch(2, 3, 5)];
    let got = p.fetched(from_leader(&p, LeaderBody::Batches(&batches)), &mut Vec::new());
    assert_eq!(got, FollowerOutcome::Rejected { expected: 3, got: 2 });
    let gap = [batch(7, 1, 5)];
    let got = p.fetched(from_leader(&p, LeaderBody::Batches(&gap)), &mut Vec::new());
    assert_eq!(got, FollowerOutcome::Applied, "a gap is what compaction leaves");
}

#[test]
fn a_follower_cuts_where_its_log_left_the_leaders() {
    // The leader's epoch 3 ended at 7, ours at 10.
    let mut p = follower(log_of(&[(1, 0), (3, 5)], 10, 4));
    let mut out = Vec::new();
    let end = EpochEnd { epoch: 3, end_offset: 7 };
    p.fetched(from_leader(&p, LeaderBody::Diverging(end)), &mut out);
    assert!(out.contains(&Effect::Truncate { to: 7, producers_lost: false }));

    // The leader does not have our epoch 3 at all: its largest below is 2, which we never saw.
    let mut p = follower(log_of(&[(1, 0), (3, 5)], 10, 4));
    let end = EpochEnd { epoch: 2, end_offset: 9 };
    p.fetched(from_leader(&p, LeaderBody::Diverging(end)), &mut Vec::new());
    assert_eq!((p.log_end(), p.epochs().latest()), (5, Some(1)));
}

#[test]
fn an_epoch_without_data_goes_even_when_no_record_does() {
    let mut p = follower(log_of(&[(1, 0), (4, 10)], 10, 4));
    let end = EpochEnd { epoch: 1, end_offset: 10 };
    p.fetched(from_leader(&p, LeaderBody::Diverging(end)), &mut Vec::new());
    assert_eq!((p.log_end(), p.epochs().latest()), (10, Some(1)));
}

#[test]
fn a_follower_without_epochs_keeps_what_is_committed() {
    let p = follower(LogState { log_end: 10, high_watermark: 4, ..LogState::default() });
    assert_eq!(p.log_end(), 4);
}

#[test]
fn out_of_range_starts_again_at_the_leaders_log() {
    let mut p = follower(log_of(&[(1, 0)], 10, 10));
    let mut out = Vec::new();
    p.leader_bounds(5, 50, 60, &mut out);
    assert!(out.contains(&Effect::TruncateFully { start_at: 50 }));
    assert_eq!((p.log_start(), p.log_end(), p.high_watermark()), (50, 50, 50));
    let mut p = follower(log_of(&[(1, 0)], 10, 10));
    p.leader_bounds(5, 0, 8, &mut out);
    assert_eq!(p.log_end(), 8);
}

#[test]
fn the_leader_tells_a_follower_where_the_logs_part() {
    let mut p = Partition::new(1, config(1), log_of(&[(1, 0), (2, 4)], 9, 4));
    p.leader_and_isr(0, &state(1, 5, &[1]), &mut Vec::new()).unwrap();
    let fetcher = Fetcher::Follower { id: 2, alive: true, log_start: 0 };
    let mut ask = |offset, last_fetched_epoch| {
        let fetch = Fetch { fetcher, offset, current_leader_epoch: 5, last_fetched_epoch };
        p.fetch(0, &fetch, false, &mut Vec::new()).map(|fetched| fetched.outcome)
    };
    let diverging = |epoch, end_offset| Ok(FetchOutcome::Diverging(EpochEnd { epoch, end_offset }));
    assert_eq!(ask(6, 1), diverging(1, 4));
    assert_eq!(ask(12, 3), diverging(2, 9));
    assert_eq!(ask(9, 2), Ok(FetchOutcome::Read { up_to: 9 }));
    assert_eq!(p.follower_log_end(2), Some(9), "only a fetch that agrees tells its progress");
}

#[test]
fn a_fresh_leader_does_not_offer_latest_before_its_epoch_is_committed() {
    let mut p = Partition::new(1, config(1), log_of(&[(1, 0)], 9, 4));
    p.leader_and_isr(0, &state(1, 5, &[1, 2]), &mut Vec::new()).unwrap();
    let bounds = |p: &Partition| p.offset_bounds(5, Some(Isolation::ReadUncommitted), true).unwrap();
    assert!(bounds(&p).not_available);
    follower_fetch(&mut p, 1, 2, 9).0.unwrap();
    assert!(!bounds(&p).not_available);
    assert_eq!(bounds(&p).latest, 9);
}

#[test]
fn a_duplicate_is_answered_with_its_first_offsets() {
    let mut p = leader(1, &[1]);
    let mut send = |sequence| {
        let mut out = Vec::new();
        let batch =
            BatchMeta { producer_id: 9, producer_epoch: 0, base_sequence: sequence, ..batch(0, 2, 0) };
        let produce = Produce {
            token: Token(1),
            acks: -1,
            timeout_ms: 1000,
            batch,
            origin: Origin::Client,
            log_append_time_ms: -1,
        };
        p.produce(0, produce, &mut out);
        out.into_iter()
            .find_map(|e| if let Effect::Reply { result, .. } = e { Some(result) } else { None })
            .unwrap()
    };
    assert_eq!(send(0).base_offset, 0);
    assert_eq!(send(2).base_offset, 2);
    let repeated = send(0);
    assert_eq!((repeated.error, repeated.base_offset, repeated.next_offset), (ErrorCode::NONE, 0, 2));
    assert_eq!(send(7).error, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(p.log_end(), 4);
}

#[test]
fn records_are_deleted_when_the_slowest_replica_has_deleted_them() {
    let mut p = leader(1, &[1, 2, 3]);
    produce(&mut p, 0, 1, 1, 5);
    follower_fetch(&mut p, 1, 2, 5).0.unwrap();
    follower_fetch(&mut p, 1, 3, 5).0.unwrap();
    let mut out = Vec::new();
    p.delete_records(2, Token(4), TO_HIGH_WATERMARK, 1000, &mut out);
    assert!(out.contains(&Effect::AdvanceLogStart { to: 5 }));
    for id in [2, 3] {
        let fetcher = Fetcher::Follower { id, alive: true, log_start: 5 };
        let fetch = Fetch { fetcher, offset: 5, current_leader_epoch: 0, last_fetched_epoch: -1 };
        assert!(!out.iter().any(|e| matches!(e, Effect::RecordsDeleted { .. })));
        p.fetch(3, &fetch, false, &mut out).unwrap();
    }
    assert!(out.contains(&Effect::RecordsDeleted { token: Token(4), result: Ok(5) }));
}

#[test]
fn a_failed_log_refuses_everything() {
    let mut p = leader(1, &[1, 2]);
    produce(&mut p, 0, 7, -1, 1);
    let mut out = Vec::new();
    p.log_failed(&mut out);
    assert_eq!(replies(&out), [(7, ErrorCode::KAFKA_STORAGE_ERROR)]);
    assert_eq!(replies(&produce(&mut p, 0, 8, 1, 1)), [(8, ErrorCode::KAFKA_STORAGE_ERROR)]);
    assert_eq!(p.leader_and_isr(1, &state(1, 9, &[1]), &mut Vec::new()), Err(ErrorCode::KAFKA_STORAGE_ERROR));
}

#[test]
fn a_consumer_is_sent_to_the_in_sync_follower_in_its_rack_that_has_come_furthest() {
    let mut p = leader(1, &[1, 2, 3]);
    produce(&mut p, 0, 7, 1, 10);
    follower_fetch(&mut p, 1, 2, 6).0.unwrap();
    follower_fetch(&mut p, 2, 3, 4).0.unwrap();
    let both = |id: i32| id != 1;
    assert_eq!(p.replica_in_rack(0, both), Some(2));
    assert_eq!(p.replica_in_rack(0, |id| id == 3), Some(3));
    assert_eq!(p.replica_in_rack(5, |id| id == 3), None, "it does not have the offset yet");
    assert_eq!(p.replica_in_rack(-1, both), None, "nor does anyone have one before the start");
    assert_eq!(p.replica_in_rack(0, |_| true), None, "the leader is in the rack itself");
    assert_eq!(p.replica_in_rack(0, |_| false), None);
    follower_fetch(&mut p, 3, 3, 6).0.unwrap();
    assert_eq!(p.replica_in_rack(0, both), Some(3), "the higher id where nothing else tells them apart");
    let mut p = leader(1, &[1, 3]);
    produce(&mut p, 0, 7, 1, 1);
    follower_fetch(&mut p, 1, 2, 0).0.unwrap();
    assert_eq!(p.replica_in_rack(0, |id| id == 2), None, "one that is not in sync may fall behind for ever");
    assert_eq!(p.bounds_for_consumer(5), Err(ErrorCode::UNKNOWN_LEADER_EPOCH));
}
