//! Bytes in, bytes out, through a whole standalone server.

mod identity;
mod limits;
mod local_sessions;
mod multi;
mod watches;

use crate::acl::world;
use crate::auth::AuthRules;
use crate::config::tests::standalone;
use crate::config::{LocalSessionRules, RequestLimits};
use crate::event::{ConnId, Now};
use crate::front::Upcall;
use crate::rig::{Rig, connect, frame, split};
use crate::throttle::ConnectLimits;
use bytes::{Bytes, BytesMut};
use wire::Str;
use wire::jute::Record;
use wire::zk::session_password as password;
use wire::zk::txn::{Txn, TxnHeader, TxnRecord};
use wire::zk::*;

fn create(path: &str) -> CreateRequest {
    create_with(path, 0)
}

fn create_with(path: &str, flags: i32) -> CreateRequest {
    CreateRequest { path: path.into(), data: Some(Bytes::from_static(b"x")), acl: vec![world(31)], flags }
}

fn read(path: &str, watch: bool) -> PathWatchRequest {
    PathWatchRequest { path: path.into(), watch }
}

fn delete(path: &str) -> DeleteRequest {
    DeleteRequest { path: path.into(), version: -1 }
}

fn set(path: &str) -> SetDataRequest {
    SetDataRequest { path: path.into(), data: Some(Bytes::from_static(b"new")), version: -1 }
}

/// Kind, path and zxid of the events sent to a connection, and xids of the replies between them.
fn heard(rig: &mut Rig, conn: u64) -> Vec<String> {
    let frames = rig.sent(conn);
    frames
        .iter()
        .map(|frame| {
            let (header, body) = split(frame);
            match header.xid {
                xid::WATCH_EVENT => {
                    let event = WatcherEvent::decode(&body).unwrap();
                    assert_eq!(event.state, 3);
                    format!("{} {} @{}", event.kind, event.path, header.zxid)
                }
                xid => format!("reply {xid}"),
            }
        })
        .collect()
}

#[test]
fn a_new_session_gets_37_bytes_and_what_was_sent_along_is_served_behind_it() {
    let mut rig = Rig::new();
    rig.open(1);
    rig.frame(1, connect(0, None).encode());
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(1, 2, op::GET_DATA, read("/a", false));
    rig.settle();
    let frames = rig.sent(1);
    assert_eq!(frames[0].len(), 4 + 37);
    let response = ConnectResponse::decode(&frames[0].slice(4..)).unwrap();
    assert_eq!((response.timeout, response.read_only), (10_000, Some(false)));
    assert_eq!(response.password.unwrap(), &password(response.session)[..]);
    assert_eq!((response.session as u64) >> 56, 1);
    assert_eq!((split(&frames[1]).0.xid, split(&frames[2]).0.xid), (1, 2));
    assert_eq!(GetDataResponse::decode(&split(&frames[2]).1).unwrap().data.unwrap(), "x");
}

#[test]
fn an_old_client_gets_no_read_only_byte() {
    let mut rig = Rig::new();
    rig.open(1);
    rig.frame(1, ConnectRequest { read_only: None, ..connect(0, None) }.encode());
    rig.settle();
    assert_eq!(rig.sent(1)[0].len(), 4 + 36);
}

#[test]
fn a_client_that_has_seen_more_is_sent_away_without_a_word() {
    let mut rig = Rig::new();
    rig.open(1);
    rig.frame(1, ConnectRequest { last_zxid: 1, ..connect(0, None) }.encode());
    assert!(rig.closed(1) && rig.sent(1).is_empty() && rig.up.is_empty());
}

#[test]
fn a_wrong_password_is_rejected_and_still_kicks_the_old_connection() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.open(2);
    rig.frame(2, connect(session, Some(&[1; 16])).encode());
    rig.settle();
    assert!(rig.closed(1) && rig.closed(2));
    let response = ConnectResponse::decode(&rig.sent(2)[0].slice(4..)).unwrap();
    assert_eq!(
        (response.timeout, response.session, response.password.unwrap()),
        (0, 0, Bytes::from(vec![0; 16]))
    );
}

#[test]
fn a_session_comes_back_with_its_password() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.open(2);
    rig.frame(2, connect(session, Some(&password(session))).encode());
    assert_eq!(rig.up, [Upcall::Revalidate { session, timeout: 10_000 }]);
    rig.settle();
    assert!(rig.closed(1) && !rig.closed(2));
    assert_eq!(ConnectResponse::decode(&rig.sent(2)[0].slice(4..)).unwrap().session, session);
    assert_eq!(rig.front.take_touched(), [(session, 10_000), (session, 10_000)]);
}

#[test]
fn a_connection_without_a_session_is_dropped_after_ten_seconds() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.open(2);
    assert_eq!(rig.front.deadline(), Some(11_000));
    rig.front.tick(Now { mono: 10_999, wall: 0 }, &rig.db, &mut rig.out);
    assert!(!rig.closed(2));
    rig.front.tick(Now { mono: 11_000, wall: 0 }, &rig.db, &mut rig.out);
    assert!(rig.closed(2) && !rig.closed(1));
}

#[test]
fn reads_wait_behind_the_writes_before_them_and_the_order_stays() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(1, 2, op::GET_DATA, read("/a", false));
    rig.request(1, 3, op::CREATE, create("/b"));
    rig.request(1, 4, op::PING, ());
    rig.request(1, 5, op::SYNC, PathRequest { path: "any".into() });
    rig.request(1, 6, op::EXISTS, read("/b", false));
    assert!(rig.sent(1).is_empty());
    assert_eq!((rig.up.len(), rig.front.figures().outstanding), (3, 6));
    rig.settle();
    let frames = rig.sent(1);
    let headers: Vec<_> = frames.iter().map(|frame| split(frame).0).collect();
    assert_eq!(headers.iter().map(|header| header.xid).collect::<Vec<_>>(), [1, 2, 3, -2, 5, 6]);
    assert!(headers.iter().all(|header| header.err == 0));
    // The read between the writes was served when the first was applied, not later.
    assert_eq!((headers[1].zxid, headers[2].zxid), (2, 3));
    assert_eq!(PathRequest::decode(&split(&frames[4]).1).unwrap().path, "any");
    assert_eq!(rig.front.figures().outstanding, 0);
}

#[test]
fn an_unknown_opcode_is_answered_with_zxid_minus_one_and_the_end() {
    for unknown in [0, -1, 10, op::CHECK, 99] {
        let mut rig = Rig::new();
        rig.session(1);
        let (header, _) = rig.ask(1, unknown, ());
        assert_eq!(header, ReplyHeader { xid: 9, zxid: -1, err: err::UNIMPLEMENTED });
        assert!(rig.closed(1));
    }
}

#[test]
fn undecodable_requests_are_minus_five_and_the_connection_goes_on() {
    let mut rig = Rig::new();
    rig.session(1);
    for op in
        [op::GET_DATA, op::EXISTS, op::CREATE, op::MULTI, op::SET_WATCHES, op::ADD_WATCH, op::MULTI_READ]
    {
        assert_eq!(rig.code(1, op, 5), err::MARSHALLING, "{op}");
    }
    assert_eq!(rig.code(1, op::CREATE_SESSION, ()), err::MARSHALLING);
    assert_eq!(rig.code(1, op::PING, ()), 0);
    rig.frame(1, Bytes::from_static(&[0; 7]));
    assert!(rig.closed(1));
}

#[test]
fn the_root_is_also_the_empty_path_and_other_odd_paths_are_not_there() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.code(1, op::CREATE, create("/a"));
    for (path, code) in [("", 0), ("/", 0), ("/a/", -101), ("a", -101), ("/a\0", -101)] {
        assert_eq!(rig.code(1, op::GET_DATA, read(path, false)), code, "{path:?}");
    }
    assert_eq!(rig.code(1, op::EXISTS, read("/a\0", false)), err::BAD_ARGUMENTS);
    let (_, body) = rig.ask(1, op::GET_ALL_CHILDREN_NUMBER, PathRequest { path: "/".into() });
    assert_eq!(i32::decode(&body), Ok(4));
    let (_, body) = rig.ask(1, op::GET_CHILDREN2, read("/", false));
    let children = GetChildren2Response::decode(&body).unwrap();
    assert_eq!(children.children, ["a", "zookeeper"]);
    // One creation, two children: twice the stored 1 less 2.
    assert_eq!((children.stat.cversion, children.stat.num_children), (0, 2));
}

#[test]
fn closing_a_session_is_answered_then_the_connection_ends_and_its_nodes_go() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.session(2);
    rig.code(1, op::CREATE, create_with("/e", 1));
    assert_eq!(rig.code(2, op::EXISTS, read("/e", true)), 0);
    rig.request(1, 7, op::CLOSE_SESSION, ());
    rig.settle();
    assert_eq!(heard(&mut rig, 1), ["reply 7"]);
    assert!(rig.closed(1));
    assert_eq!(heard(&mut rig, 2), ["2 /e @4"]);
    assert!(rig.db.node("/e").is_none() && !rig.db.sessions().contains_key(&session));
}

#[test]
fn an_expired_session_ends_without_a_packet() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.request(1, 3, op::CREATE, create("/late"));
    rig.now.mono += 60_000;
    assert_eq!(rig.sessions.expire(rig.now, 9), [session]);
    let close = crate::front::Request {
        session,
        cxid: 0,
        op: op::CLOSE_SESSION,
        body: Bytes::new(),
        auth: vec![],
        origin: None,
    };
    let txn = rig.propose(&close);
    rig.commit(&txn);
    assert!(rig.closed(1) && rig.sent(1).is_empty());
    // What was under way is refused, and nobody is there to be told.
    rig.settle();
    assert_eq!(rig.log.last().unwrap().record, txn::TxnRecord::Error { err: -12 });
}

#[test]
fn a_moved_session_is_closed_without_a_reply() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.sessions.set_owner(session, Some(crate::event::LinkId(5)));
    rig.request(1, 3, op::CREATE, create("/a"));
    rig.settle();
    assert_eq!(rig.log.last().unwrap().record, txn::TxnRecord::Error { err: err::SESSION_MOVED });
    assert!(rig.closed(1) && rig.sent(1).is_empty());
}

#[test]
fn reconfig_is_refused_as_disabled() {
    let mut rig = Rig::new();
    rig.session(1);
    let request = ReconfigRequest { joining: None, leaving: None, members: None, config_id: -1 };
    assert_eq!(rig.code(1, op::RECONFIG, request), err::RECONFIG_DISABLED);
}

/// What each step sends to a connection until nothing is left to be done: how many frames.
fn step_by_step(rig: &mut Rig, conn: u64) -> Vec<usize> {
    let mut steps = vec![rig.sent(conn).len()];
    while rig.front.deadline() == Some(0) {
        rig.front.tick(rig.now, &rig.db, &mut rig.out);
        steps.push(rig.sent(conn).len());
    }
    steps
}

#[test]
fn many_reads_behind_a_write_are_served_step_by_step_and_in_their_order() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.request(1, 1, op::CREATE, create("/a"));
    (2..302).for_each(|xid| rig.request(1, xid, op::EXISTS, read("/a", false)));
    rig.settle();
    rig.request(1, 302, op::CREATE, create("/b"));
    let (mut xids, mut steps) = (vec![], vec![]);
    loop {
        let sent = rig.sent(1);
        steps.push(sent.len());
        xids.extend(sent.iter().map(|frame| split(frame).0.xid));
        if rig.front.deadline() != Some(0) {
            break;
        }
        rig.front.tick(rig.now, &rig.db, &mut rig.out);
    }
    assert_eq!(steps, [128, 128, 45]);
    assert_eq!(xids, (1..302).collect::<Vec<_>>());
    rig.settle();
    assert_eq!(split(&rig.sent(1)[0]).0.xid, 302);
}

#[test]
fn a_session_s_end_answers_all_that_came_before_it() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.request(1, 1, op::CREATE, create("/a"));
    (2..302).for_each(|xid| rig.request(1, xid, op::EXISTS, read("/a", false)));
    rig.request(1, 302, op::CLOSE_SESSION, ());
    rig.settle();
    assert_eq!(rig.sent(1).len(), 302);
    assert!(rig.closed(1));
}

#[test]
fn ephemerals_are_listed_by_the_start_of_their_text() {
    let mut rig = Rig::new();
    rig.session(1);
    for path in ["/ab", "/a", "/b"] {
        assert_eq!(rig.code(1, op::CREATE, create_with(path, 1)), 0);
    }
    let mut list = |prefix: Option<&str>| {
        let (_, body) = rig.ask(1, op::GET_EPHEMERALS, NullablePathRequest { path: prefix.map(Str::from) });
        GetEphemeralsResponse::decode(&body).unwrap().ephemerals
    };
    assert_eq!(list(Some("/a")), ["/a", "/ab"]);
    for all in [None, Some(" "), Some("/")] {
        assert_eq!(list(all), ["/a", "/ab", "/b"]);
    }
}

#[test]
fn whoever_is_not_serving_sends_everybody_away() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.front.serve(false, rig.now, &mut rig.out);
    assert!(rig.closed(1));
    rig.open(2);
    assert!(rig.closed(2));
    rig.request(1, 1, op::PING, ());
    assert!(rig.sent(1).is_empty());
}

#[test]
fn reads_and_writes_are_measured_from_their_arrival() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.request(1, 41, op::CREATE, create("/a/b"));
    rig.request(1, 42, op::CREATE, create("/a"));
    rig.request(1, 43, op::EXISTS, read("/a", false));
    rig.now.mono += 5;
    rig.settle();
    let measures = &rig.front.measures;
    assert_eq!((measures.updatelatency.count, measures.updatelatency.max), (3, 5));
    assert_eq!((measures.readlatency.count, measures.readlatency.max), (1, 5));
    let written: Vec<_> = measures.write_per_namespace.iter().map(|(name, of)| (name, of.count)).collect();
    assert_eq!(written, [("a", 1)]);
    let read: Vec<_> = measures.read_per_namespace.iter().map(|(name, of)| (name, of.sum)).collect();
    assert_eq!(read, [("a", 2 + 68)]);
    assert_eq!((measures.connection_request_count, measures.propagation_latency.count), (1, 3));
}
