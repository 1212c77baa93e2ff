//! Sessions that only their server knows, and reads that are served without a quorum.

use super::*;

fn with_local_sessions(upgrading: bool) -> Rig {
    let local_sessions = LocalSessionRules { enabled: true, upgrading };
    Rig::with(&crate::CoreConfig { local_sessions, ..standalone() })
}

/// What a connection is told of its session: id and time-out.
fn told_of_session(rig: &mut Rig, conn: u64) -> (SessionId, i32) {
    let response = ConnectResponse::decode(&rig.sent(conn)[0].slice(4..)).unwrap();
    (response.session, response.timeout)
}

#[test]
fn a_local_session_takes_no_transaction_to_begin_write_or_end() {
    let mut rig = with_local_sessions(false);
    let session = rig.session(1);
    assert_eq!((rig.log.len(), rig.front.is_local(session)), (0, true));
    assert_eq!(rig.code(1, op::CREATE, create("/a")), 0);
    assert_eq!((rig.log.len(), rig.db.sessions().len()), (1, 0));
    assert!(rig.front.take_touched().is_empty());
    // The end waits for the write before it.
    rig.request(1, 5, op::SET_DATA, set("/a"));
    rig.request(1, 6, op::CLOSE_SESSION, ());
    assert!(rig.sent(1).is_empty());
    rig.settle();
    let xids: Vec<i32> = rig.sent(1).iter().map(|frame| split(frame).0.xid).collect();
    assert_eq!((xids, rig.closed(1), rig.log.len()), (vec![5, 6], true, 2));
    assert!(!rig.front.is_local(session));
}

#[test]
fn a_local_session_is_refused_an_ephemeral_node_where_it_may_not_be_upgraded() {
    let mut rig = with_local_sessions(false);
    rig.session(1);
    let ephemeral = create_with("/e", 1);
    assert_eq!(rig.code(1, op::CREATE, ephemeral.clone()), err::EPHEMERAL_ON_LOCAL_SESSION);
    // A leader elsewhere has another name for it; the client is told the right one.
    rig.request(1, 7, op::CREATE2, ephemeral);
    let Some(Upcall::Write(request)) = rig.up.pop() else { panic!("nothing went up") };
    rig.zxid += 1;
    let header = TxnHeader { session: request.session, cxid: 7, zxid: rig.zxid, time: 0, kind: op::ERROR };
    let refused = Txn::new(header, TxnRecord::Error { err: err::SESSION_EXPIRED }, None);
    rig.commit(&refused);
    assert_eq!(split(&rig.sent(1)[0]).0.err, err::EPHEMERAL_ON_LOCAL_SESSION);
}

#[test]
fn a_local_session_that_makes_an_ephemeral_node_becomes_one_of_the_ensemble_s_once() {
    let mut rig = with_local_sessions(true);
    let session = rig.session(1);
    rig.request(1, 1, op::CREATE, create_with("/e", 1));
    rig.request(1, 2, op::CREATE, create_with("/f", 3));
    let asked = |up: &Upcall| match up {
        Upcall::Write(request) => request.op,
        other => panic!("{other:?}"),
    };
    let ops: Vec<i32> = rig.up.iter().map(asked).collect();
    assert_eq!(ops, [op::CREATE_SESSION, op::CREATE, op::CREATE]);
    rig.settle();
    let codes: Vec<i32> = rig.sent(1).iter().map(|frame| split(frame).0.err).collect();
    assert_eq!((codes, rig.front.is_local(session)), (vec![0, 0], false));
    assert_eq!(rig.db.sessions().get(&session), Some(&10_000));
    assert_eq!(rig.db.ephemerals_count(), 2);
    // From here on, it is the leader who has to hear of it.
    assert_eq!(rig.front.take_touched(), [(session, 10_000)]);
}

#[test]
fn a_multi_with_an_ephemeral_node_upgrades_its_session_too() {
    let mut rig = with_local_sessions(true);
    let session = rig.session(1);
    let mut body = BytesMut::new();
    (1i32).write(&mut body);
    op::MULTI.write(&mut body);
    MultiHeader { op: op::CREATE, done: false, err: -1 }.write(&mut body);
    create_with("/e", 1).write(&mut body);
    MultiHeader::END.write(&mut body);
    rig.frame(1, body.freeze());
    rig.settle();
    assert_eq!((rig.db.ephemerals_of(session).count(), rig.front.is_local(session)), (1, false));
}

#[test]
fn a_local_session_comes_back_where_it_is_known_and_ends_in_time() {
    let mut rig = with_local_sessions(false);
    let session = rig.session(1);
    rig.open(2);
    rig.frame(2, connect(session, Some(&password(session))).encode());
    assert!(rig.closed(1));
    assert_eq!(told_of_session(&mut rig, 2), (session, 10_000));
    rig.out.clear();
    rig.now.mono += 10_000 + 2000;
    let deadline = rig.front.deadline().unwrap();
    assert!(deadline <= rig.now.mono);
    rig.front.tick(rig.now, &rig.db, &mut rig.out);
    assert!(rig.closed(2) && !rig.front.is_local(session));
    rig.open(3);
    rig.frame(3, connect(session, Some(&password(session))).encode());
    rig.settle();
    assert_eq!(told_of_session(&mut rig, 3), (0, 0));
}

fn read_only_rig(enabled: bool) -> Rig {
    let local_sessions = LocalSessionRules { enabled, upgrading: false };
    let mut rig = Rig::with(&crate::CoreConfig { local_sessions, ..standalone() });
    rig.front.serve(false, rig.now, &mut rig.out);
    rig.front.serve_read_only(rig.now, &mut rig.out);
    rig
}

fn connect_read_only(session: SessionId) -> ConnectRequest {
    ConnectRequest { read_only: Some(true), ..connect(session, Some(&password(session))) }
}

#[test]
fn without_a_quorum_only_who_asks_for_no_more_may_read() {
    let mut rig = read_only_rig(true);
    rig.open(1);
    rig.frame(1, connect(0, None).encode());
    assert!(rig.closed(1) && rig.sent(1).is_empty());
    rig.open(2);
    rig.frame(2, connect_read_only(0).encode());
    let response = ConnectResponse::decode(&rig.sent(2)[0].slice(4..)).unwrap();
    assert_eq!((response.read_only, response.timeout), (Some(true), 10_000));
    assert_eq!(rig.code(2, op::GET_DATA, read("/", false)), 0);
    assert_eq!(rig.code(2, op::CREATE, create("/a")), err::NOT_READ_ONLY);
    assert_eq!(rig.code(2, op::SYNC, PathRequest { path: "/".into() }), err::NOT_READ_ONLY);
    assert!(rig.up.is_empty());
    assert_eq!(rig.code(2, op::CLOSE_SESSION, ()), 0);
    assert!(rig.closed(2));
    // A quorum again: whoever only read is sent away, to come back for more.
    rig.open(3);
    rig.frame(3, connect_read_only(0).encode());
    rig.sent(3);
    rig.front.serve(true, rig.now, &mut rig.out);
    assert!(rig.closed(3) && rig.front.local_sessions().is_empty());
}

#[test]
fn sessions_of_the_ensemble_find_no_home_where_only_reads_are_served() {
    for local in [true, false] {
        let mut rig = read_only_rig(local);
        let header = TxnHeader { session: 7, cxid: 0, zxid: 1, time: 0, kind: op::CREATE_SESSION };
        rig.db.replay(&Txn::new(header, TxnRecord::CreateSession { timeout: 9 }, None));
        rig.open(1);
        rig.frame(1, connect_read_only(7).encode());
        assert!(rig.closed(1) && rig.sent(1).is_empty());
        rig.open(2);
        rig.frame(2, connect_read_only(8).encode());
        let expected = if local { (0, 0) } else { (8, 10_000) };
        assert_eq!(told_of_session(&mut rig, 2), expected);
        rig.open(3);
        rig.frame(3, connect_read_only(0).encode());
        let answer = rig.sent(3)[0].clone();
        let refused = ReplyHeader { xid: 0, zxid: rig.db.last_zxid(), err: err::NOT_READ_ONLY };
        assert_eq!(split(&answer).0 == refused && answer.len() == 20, !local);
    }
}
