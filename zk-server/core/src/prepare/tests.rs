//! The order of checks, and what is pending.

use super::*;
use crate::acl::world;
use crate::front::Request;
use crate::rig::Rig;
use bytes::Bytes;
use wire::zk::{CreateRequest, CreateTtlRequest, SessionId};

const SESSION: SessionId = 7;

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.sessions.add(SESSION, 10_000, None, rig.now);
    rig
}

fn request(op: i32, body: impl Record) -> Request {
    Request { session: SESSION, cxid: 1, op, body: body.encode(), auth: vec![], origin: None }
}

fn create(path: &str, flags: i32) -> CreateRequest {
    CreateRequest { path: path.into(), data: None, acl: vec![world(31)], flags }
}

/// Proposes and commits: the error code, or the path of what was created.
fn run(rig: &mut Rig, op: i32, body: impl Record) -> Result<String, i32> {
    let txn = rig.propose(&request(op, body));
    rig.commit(&txn);
    assert_eq!(rig.db.digest_mismatches(), 0, "{txn:?}");
    match txn.record {
        TxnRecord::Error { err } => Err(err),
        TxnRecord::Create(txn) | TxnRecord::Create2(txn) => Ok(txn.path.to_string()),
        TxnRecord::CreateContainer(txn) => Ok(txn.path.to_string()),
        TxnRecord::CreateTtl(txn) => Ok(txn.path.to_string()),
        _ => Ok(String::new()),
    }
}

fn delete(path: &str, version: i32) -> DeleteRequest {
    DeleteRequest { path: path.into(), version }
}

#[test]
fn creates_are_checked_in_the_real_servers_order() {
    let mut rig = rig();
    run(&mut rig, op::CREATE, create("/e", 1)).unwrap();
    let no_acl = |path: &str| CreateRequest { acl: vec![], ..create(path, 0) };
    for (body, code) in [
        (create("/a", 7), err::BAD_ARGUMENTS),
        (create("/a", 5), err::BAD_ARGUMENTS),
        (no_acl("a"), err::BAD_ARGUMENTS),
        (no_acl("/missing/a"), err::INVALID_ACL),
        (create("/x//y", 0), err::NO_NODE),
        (create("/x/../y", 0), err::NO_NODE),
        (create("/zookeeper/config/a", 0), err::NO_AUTH),
        (create("/a/", 0), err::NO_NODE),
        (create("/.", 0), err::BAD_ARGUMENTS),
        (create("/", 0), err::NODE_EXISTS),
        (create("/e", 0), err::NODE_EXISTS),
        (create("/e/child", 0), err::NO_CHILDREN_FOR_EPHEMERALS),
    ] {
        assert_eq!(run(&mut rig, op::CREATE, body.clone()), Err(code), "{body:?}");
    }
    assert_eq!(run(&mut rig, op::CREATE, create("/zookeeper/mine", 0)), Ok("/zookeeper/mine".into()));
    let unknown = Request { session: 8, ..request(op::CREATE, create("/a", 0)) };
    let unknown_ephemeral = Request { session: 8, ..request(op::CREATE, create("/a", 1)) };
    assert_eq!(rig.propose(&unknown).record, TxnRecord::Error { err: -12 });
    assert_eq!(rig.propose(&unknown_ephemeral).record, TxnRecord::Error { err: err::SESSION_EXPIRED });
}

#[test]
fn time_to_live_has_a_range_and_a_flag_and_a_switch() {
    let mut rig = rig();
    let ttl =
        |flags, ttl| CreateTtlRequest { path: "/t".into(), data: None, acl: vec![world(31)], flags, ttl };
    for (flags, value) in [(5, 0), (5, -1), (5, 1 << 40), (0, 5), (0, -1), (4, -1)] {
        assert_eq!(
            run(&mut rig, op::CREATE_TTL, ttl(flags, value)),
            Err(err::BAD_ARGUMENTS),
            "{flags} {value}"
        );
    }
    assert_eq!(run(&mut rig, op::CREATE_TTL, ttl(5, (1 << 40) - 1)), Ok("/t".into()));
    assert_eq!(run(&mut rig, op::CREATE_TTL, ttl(6, 1)), Ok("/t0000000001".into()));
    rig.prepare.extended_types = false;
    assert_eq!(run(&mut rig, op::CREATE_TTL, ttl(5, 1)), Err(err::UNIMPLEMENTED));
}

#[test]
fn a_sequence_counts_every_child_also_those_still_pending() {
    let mut rig = rig();
    run(&mut rig, op::CREATE, create("/a", 0)).unwrap();
    run(&mut rig, op::CREATE, create("/a/plain", 0)).unwrap();
    let first = rig.propose(&request(op::CREATE, create("/a/s-", 2)));
    let second = rig.propose(&request(op::CREATE, create("/a/", 3)));
    let paths = [&first, &second].map(|txn| match &txn.record {
        TxnRecord::Create(txn) => txn.path.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(paths, ["/a/s-0000000001", "/a/0000000002"]);
    rig.commit(&first);
    rig.commit(&second);
    assert_eq!((rig.db.digest_mismatches(), rig.prepare.pending()), (0, 0));
}

#[test]
fn deletes_are_checked_in_the_real_servers_order() {
    let mut rig = rig();
    run(&mut rig, op::CREATE, create("/a", 0)).unwrap();
    run(&mut rig, op::CREATE, create("/a/b", 0)).unwrap();
    for (path, version, code) in [
        ("/", 5, err::BAD_ARGUMENTS),
        ("/zookeeper", -1, err::BAD_ARGUMENTS),
        ("/zookeeper/quota", -1, err::BAD_ARGUMENTS),
        ("a", -1, err::BAD_ARGUMENTS),
        ("/a\0", -1, err::BAD_ARGUMENTS),
        ("/x/y", -1, err::NO_NODE),
        ("/x", -1, err::NO_NODE),
        ("/a/", -1, err::NO_NODE),
        ("/a", 1, err::BAD_VERSION),
        ("/a", -2, err::BAD_VERSION),
        ("/a", -1, err::NOT_EMPTY),
    ] {
        assert_eq!(run(&mut rig, op::DELETE, delete(path, version)), Err(code), "{path:?}");
    }
    // Both at once: the second already counts on the first.
    let child = rig.propose(&request(op::DELETE, delete("/a/b", 0)));
    let parent = rig.propose(&request(op::DELETE, delete("/a", 0)));
    assert_eq!(parent.header.kind, op::DELETE);
    rig.commit(&child);
    rig.commit(&parent);
    assert!(rig.db.node("/a").is_none());
}

#[test]
fn versions_count_up_and_pending_ones_are_seen() {
    let mut rig = rig();
    let set = |path: &str, version| SetDataRequest { path: path.into(), data: Some(Bytes::new()), version };
    assert_eq!(run(&mut rig, op::SET_DATA, set("/", 0)), Ok(String::new()));
    assert_eq!(run(&mut rig, op::SET_DATA, set("/", 0)), Err(err::BAD_VERSION));
    let first = rig.propose(&request(op::SET_DATA, set("/", 1)));
    let second = rig.propose(&request(op::SET_DATA, set("/", 1)));
    assert_eq!(second.record, TxnRecord::Error { err: err::BAD_VERSION });
    rig.commit(&first);
    rig.commit(&second);
    assert_eq!(rig.db.node("/").unwrap().stat().version, 2);
    let acl = |version| SetAclRequest { path: "/".into(), acl: vec![world(99)], version };
    assert_eq!(run(&mut rig, op::SET_ACL, acl(1)), Err(err::BAD_VERSION));
    assert_eq!(run(&mut rig, op::SET_ACL, acl(0)), Ok(String::new()));
}

#[test]
fn a_closing_session_takes_its_nodes_stored_or_pending() {
    let mut rig = rig();
    run(&mut rig, op::CREATE, create("/stored", 1)).unwrap();
    run(&mut rig, op::CREATE, create("/dropped", 1)).unwrap();
    let txns = [
        rig.propose(&request(op::CREATE, create("/pending", 1))),
        rig.propose(&request(op::DELETE, delete("/dropped", -1))),
        rig.propose(&request(op::CREATE, create("/kept", 0))),
        rig.propose(&request(op::CREATE, create("/brief", 1))),
        rig.propose(&request(op::DELETE, delete("/brief", -1))),
        rig.propose(&request(op::CLOSE_SESSION, ())),
    ];
    let expected = Some(vec!["/pending".into(), "/stored".into()]);
    assert_eq!(txns[5].record, TxnRecord::CloseSession { paths: expected });
    assert_eq!(rig.propose(&request(op::CREATE, create("/x", 0))).header.kind, op::ERROR);
    txns.iter().for_each(|txn| rig.commit(txn));
    let left: Vec<_> = rig.db.node("/").unwrap().children().collect();
    assert_eq!((left, rig.db.digest_mismatches()), (vec!["kept", "zookeeper"], 0));
    assert_eq!(rig.db.ephemerals_count(), 0);
}

#[test]
fn a_close_that_is_to_list_nothing_takes_the_nodes_all_the_same() {
    let mut rig = rig();
    rig.prepare.close_session_lists = false;
    run(&mut rig, op::CREATE, create("/e", 1)).unwrap();
    let txn = rig.propose(&request(op::CLOSE_SESSION, ()));
    assert_eq!(txn.record, TxnRecord::CloseSession { paths: None });
    rig.commit(&txn);
    assert_eq!((rig.db.ephemerals_count(), rig.db.digest_mismatches()), (0, 0));
}

#[test]
fn containers_go_after_their_last_child_and_ttl_nodes_after_their_time() {
    let mut rig = rig();
    run(&mut rig, op::CREATE_CONTAINER, create("/used", 4)).unwrap();
    run(&mut rig, op::CREATE_CONTAINER, create("/unused", 0)).unwrap();
    // With opcode 1 the flag makes a plain node.
    run(&mut rig, op::CREATE, create("/plain", 4)).unwrap();
    run(&mut rig, op::CREATE, create("/used/a", 0)).unwrap();
    let ttl = CreateTtlRequest { path: "/ttl".into(), data: None, acl: vec![world(31)], flags: 5, ttl: 500 };
    run(&mut rig, op::CREATE_TTL, ttl).unwrap();
    assert!(rig.db.all_reapable(rig.now.wall + 500, 0).is_empty());
    run(&mut rig, op::DELETE, delete("/used/a", -1)).unwrap();
    assert_eq!(rig.db.all_reapable(rig.now.wall + 501, 0), ["/used", "/ttl"]);
    assert_eq!(rig.db.all_reapable(rig.now.wall + 501, 100), ["/unused", "/used", "/ttl"]);

    run(&mut rig, op::CREATE, create("/e", 1)).unwrap();
    let reap = |path: &str| PathRequest { path: path.into() };
    assert_eq!(run(&mut rig, op::DELETE_CONTAINER, reap("/e")), Err(err::BAD_VERSION));
    assert_eq!(run(&mut rig, op::DELETE_CONTAINER, reap("/used")), Ok(String::new()));
    assert_eq!(run(&mut rig, op::DELETE_CONTAINER, reap("/used")), Err(err::NO_NODE));
    assert_eq!(rig.db.all_reapable(rig.now.wall + 501, 0), ["/ttl"]);
}

#[test]
fn a_hard_quota_refuses_where_it_is_enforced() {
    let mut rig = rig();
    let with = |path: &str, text: &'static str| CreateRequest {
        data: Some(Bytes::from_static(text.as_bytes())),
        ..create(path, 0)
    };
    run(&mut rig, op::CREATE, with("/q", "12")).unwrap();
    run(&mut rig, op::CREATE, create("/zookeeper/quota/q", 0)).unwrap();
    let limits = "count=-1,bytes=-1=;byteHardLimit=5;countHardLimit=3";
    run(&mut rig, op::CREATE, with("/zookeeper/quota/q/zookeeper_limits", limits)).unwrap();
    run(&mut rig, op::CREATE, with("/zookeeper/quota/q/zookeeper_stats", "")).unwrap();
    let set = |data: &'static str| SetDataRequest {
        path: "/q".into(),
        data: Some(Bytes::from_static(data.as_bytes())),
        version: -1,
    };
    assert_eq!(run(&mut rig, op::SET_DATA, set("123456")), Ok(String::new()));
    run(&mut rig, op::SET_DATA, set("12")).unwrap();
    rig.prepare.enforce_quota = true;
    assert_eq!(run(&mut rig, op::SET_DATA, set("123456")), Err(err::QUOTA_EXCEEDED));
    let told = rig.prepare.take_excess(rig.now);
    assert_eq!(told.as_deref(), Some("Quota exceeded: /q [current bytes=6, hardByteLimit=5]"));
    assert_eq!(run(&mut rig, op::SET_DATA, set("12345")), Ok(String::new()));
    assert_eq!(run(&mut rig, op::CREATE, with("/q/a", "1")), Err(err::QUOTA_EXCEEDED));
    run(&mut rig, op::CREATE, create("/q/a", 0)).unwrap();
    run(&mut rig, op::CREATE, create("/q/b", 0)).unwrap();
    assert_eq!(run(&mut rig, op::CREATE, create("/q/c", 0)), Err(err::QUOTA_EXCEEDED));
    assert_eq!(run(&mut rig, op::CREATE, create("/elsewhere", 0)), Ok("/elsewhere".into()));
}

#[test]
fn without_digests_transactions_carry_none() {
    let mut rig = rig();
    rig.prepare.digest = false;
    assert_eq!(rig.propose(&request(op::CREATE, create("/a", 0))).digest, None);
}

#[test]
fn without_room_only_sessions_come_and_go() {
    let mut rig = rig();
    rig.full = true;
    assert_eq!(run(&mut rig, op::CREATE, create("/a", 0)), Err(err::SYSTEM));
    assert_eq!(run(&mut rig, op::MULTI, ()), Err(err::SYSTEM));
    assert_eq!(run(&mut rig, op::CLOSE_SESSION, ()), Ok(String::new()));
    rig.full = false;
    rig.sessions.add(SESSION, 10_000, None, rig.now);
    assert_eq!(run(&mut rig, op::CREATE, create("/a", 0)), Ok("/a".into()));
}
