//! Bytes in, bytes out, through a whole standalone server.

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
fn auth_answers_with_zxid_zero_and_a_refusal_ends_the_connection() {
    let mut rig = Rig::new();
    rig.session(1);
    let auth = |scheme: &str, text: &'static str| AuthRequest {
        kind: 0,
        scheme: scheme.into(),
        auth: Some(Bytes::from_static(text.as_bytes())),
    };
    rig.request(1, xid::AUTH, op::AUTH, auth("digest", "bob:pw"));
    rig.request(1, xid::AUTH, op::AUTH, auth("digest", "super:adminpw"));
    for frame in rig.sent(1) {
        assert_eq!(split(&frame), (ReplyHeader { xid: xid::AUTH, zxid: 0, err: 0 }, Bytes::new()));
    }
    let (_, body) = rig.ask(1, op::WHO_AM_I, ());
    let ids: Vec<_> = WhoAmIResponse::decode(&body).unwrap().ids;
    let ids: Vec<_> = ids.iter().map(|id| (&*id.scheme, &*id.user)).collect();
    assert_eq!(ids, [("ip", "127.0.0.1"), ("digest", "bob"), ("super", ""), ("digest", "super")]);
    rig.request(1, xid::AUTH, op::AUTH, auth("world", "anyone"));
    assert_eq!(split(&rig.sent(1)[0]).0, ReplyHeader { xid: xid::AUTH, zxid: 0, err: err::AUTH_FAILED });
    assert!(rig.closed(1));
}

#[test]
fn who_has_no_id_of_an_enforced_scheme_is_told_so_and_sent_away() {
    let rules = AuthRules { enforced: vec!["digest".into()], ..AuthRules::default() };
    let mut rig = Rig::with(&crate::CoreConfig { auth: rules, ..standalone() });
    rig.session(1);
    rig.request(1, xid::PING, op::PING, ());
    let told = ReplyHeader { xid: xid::PING, zxid: 0, err: err::SESSION_CLOSED_REQUIRE_SASL_AUTH };
    assert_eq!(split(&rig.sent(1)[0]).0, told);
    assert!(rig.closed(1));
    rig.session(2);
    let auth = AuthRequest { kind: 0, scheme: "digest".into(), auth: Some(Bytes::from_static(b"bob:pw")) };
    rig.request(2, xid::AUTH, op::AUTH, auth);
    rig.sent(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/", false)), 0);
}

#[test]
fn a_key_opens_what_was_made_with_it_and_a_wrong_one_ends_the_connection() {
    let rules = AuthRules { key: true, ..AuthRules::default() };
    let mut rig = Rig::with(&crate::CoreConfig { auth: rules, ..standalone() });
    let auth = |text: &'static str| AuthRequest {
        kind: 0,
        scheme: "key".into(),
        auth: Some(Bytes::from_static(text.as_bytes())),
    };
    rig.session(1);
    rig.request(1, xid::AUTH, op::AUTH, auth("25"));
    rig.sent(1);
    let own = Acl { perms: perm::ALL, id: Id { scheme: "auth".into(), id: Str::new() } };
    let key = Some(Bytes::from_static(b"5"));
    let key = CreateRequest { data: key, acl: vec![own], ..create("/key") };
    assert_eq!(rig.code(1, op::CREATE, key), 0);
    rig.session(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/key", false)), err::NO_AUTH);
    rig.request(2, xid::AUTH, op::AUTH, auth("10"));
    rig.sent(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/key", false)), 0);
    rig.session(3);
    rig.request(3, xid::AUTH, op::AUTH, auth("11"));
    assert_eq!(split(&rig.sent(3)[0]).0.err, err::AUTH_FAILED);
    assert!(rig.closed(3));
}

#[test]
fn sasl_without_a_server_section_is_answered_with_a_null_token() {
    let mut rig = Rig::new();
    rig.session(1);
    let (header, body) = rig.ask(1, op::SASL, SaslToken { token: Some(Bytes::new()) });
    assert_eq!((header.zxid, header.err, &body[..]), (0, 0, &[0xff; 4][..]));
}

#[test]
fn reconfig_is_refused_as_disabled() {
    let mut rig = Rig::new();
    rig.session(1);
    let request = ReconfigRequest { joining: None, leaving: None, members: None, config_id: -1 };
    assert_eq!(rig.code(1, op::RECONFIG, request), err::RECONFIG_DISABLED);
}

#[test]
fn acls_are_enforced_and_hashes_hidden() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.session(2);
    rig.request(
        1,
        xid::AUTH,
        op::AUTH,
        AuthRequest { kind: 0, scheme: "digest".into(), auth: Some(Bytes::from_static(b"bob:pw")) },
    );
    rig.sent(1);
    let all = Acl { perms: perm::ALL, id: Id { scheme: "auth".into(), id: Str::new() } };
    let acl = vec![all.clone(), world(perm::READ)];
    assert_eq!(rig.code(1, op::CREATE, CreateRequest { acl, ..create("/mine") }), 0);
    let (_, body) = rig.ask(2, op::GET_ACL, PathRequest { path: "/mine".into() });
    assert_eq!(GetAclResponse::decode(&body).unwrap().acl[0].id.id, "bob:x");
    let (_, body) = rig.ask(1, op::GET_ACL, PathRequest { path: "/mine".into() });
    assert_eq!(GetAclResponse::decode(&body).unwrap().acl[0].id.id, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    assert_eq!(rig.code(2, op::SET_DATA, set("/mine")), err::NO_AUTH);
    assert_eq!(rig.code(1, op::SET_DATA, set("/mine")), 0);
    assert_eq!(rig.code(2, op::SET_DATA, set("/zookeeper/config")), err::NO_AUTH);

    // Without READ no event is delivered, but the watch is spent.
    assert_eq!(rig.code(2, op::EXISTS, read("/mine", true)), 0);
    let acl = vec![all];
    rig.code(1, op::SET_ACL, SetAclRequest { path: "/mine".into(), acl, version: -1 });
    rig.code(1, op::SET_DATA, set("/mine"));
    assert!(rig.sent(2).is_empty());
    assert_eq!(rig.front.watch_figures().watches, 0);
    assert_eq!(rig.code(2, op::GET_DATA, read("/mine", false)), err::NO_AUTH);
}

#[test]
fn standard_watches_follow_the_table() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.session(2);
    // A watch of exists stays though the node is missing; one of getData does not.
    assert_eq!(rig.code(2, op::EXISTS, read("/a", true)), err::NO_NODE);
    assert_eq!(rig.code(2, op::GET_DATA, read("/b", true)), err::NO_NODE);
    assert_eq!(rig.code(2, op::GET_CHILDREN, read("/", true)), 0);
    rig.code(1, op::CREATE, create("/a"));
    assert_eq!(heard(&mut rig, 2), ["1 /a @3", "4 / @3"]);
    rig.code(1, op::CREATE, create("/b"));
    assert!(heard(&mut rig, 2).is_empty());

    // One Deleted for a connection that watches data and children.
    rig.code(2, op::GET_DATA, read("/a", true));
    rig.code(2, op::GET_CHILDREN2, read("/a", true));
    rig.code(1, op::DELETE, delete("/a"));
    assert_eq!(heard(&mut rig, 2), ["2 /a @5"]);
    assert_eq!(rig.front.figures().child_watches.watches, 0);
}

#[test]
fn persistent_and_recursive_watches_stay() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.session(2);
    let watch = |path: &str, mode| AddWatchRequest { path: path.into(), mode };
    let (_, body) = rig.ask(2, op::ADD_WATCH, watch("/a", 0));
    assert_eq!(i32::decode(&body), Ok(0));
    rig.code(2, op::ADD_WATCH, watch("/", 1));
    assert_eq!(rig.code(2, op::ADD_WATCH, watch("/", 2)), err::MARSHALLING);
    for _ in 0..2 {
        rig.code(1, op::CREATE, create("/a"));
        rig.code(1, op::CREATE, create("/a/b"));
        rig.code(1, op::SET_DATA, set("/a/b"));
        rig.code(1, op::DELETE, delete("/a/b"));
        rig.code(1, op::DELETE, delete("/a"));
        let zxid = rig.zxid;
        let expected =
            [(1, "/a", 4), (1, "/a/b", 3), (4, "/a", 3), (3, "/a/b", 2), (2, "/a/b", 1), (4, "/a", 1)];
        let expected = expected.iter().chain(&[(2, "/a", 0)]);
        let expected: Vec<_> =
            expected.map(|(kind, path, ago)| format!("{kind} {path} @{}", zxid - ago)).collect();
        assert_eq!(heard(&mut rig, 2), expected);
    }
    let kind = |kind| WatchesRequest { path: "/a".into(), kind };
    assert_eq!(rig.code(2, op::CHECK_WATCHES, kind(4)), 0);
    assert_eq!(rig.code(2, op::CHECK_WATCHES, kind(5)), err::NO_WATCHER);
    assert_eq!(rig.code(2, op::CHECK_WATCHES, kind(6)), err::MARSHALLING);
    assert_eq!(rig.code(2, op::REMOVE_WATCHES, kind(3)), 0);
    assert_eq!(rig.code(2, op::REMOVE_WATCHES, kind(3)), err::NO_WATCHER);
}

#[test]
fn set_watches_replays_what_was_missed_before_its_reply() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.session(2);
    rig.code(1, op::CREATE, create("/old"));
    let relative_zxid = rig.zxid;
    rig.code(1, op::CREATE, create("/new"));
    rig.code(1, op::SET_DATA, set("/new"));
    rig.code(1, op::CREATE, create("/new/child"));
    let request = SetWatches2Request {
        relative_zxid,
        data: vec!["/gone".into(), "/new".into(), "/old".into()],
        exist: vec!["/new".into(), "/missing".into()],
        child: vec!["/gone".into(), "/new".into(), "/old".into()],
        persistent: vec!["/p".into()],
        recursive: vec!["/r".into()],
    };
    rig.request(2, xid::SET_WATCHES, op::SET_WATCHES2, request);
    let expected = ["2 /gone @-1", "3 /new @-1", "1 /new @-1", "2 /gone @-1", "4 /new @-1", "reply -8"];
    assert_eq!(heard(&mut rig, 2), expected);
    rig.code(1, op::SET_DATA, set("/old"));
    rig.code(1, op::CREATE, create("/missing"));
    rig.code(1, op::CREATE, create("/r"));
    rig.code(1, op::CREATE, create("/r/x"));
    let (a, b, c, d) = (rig.zxid - 3, rig.zxid - 2, rig.zxid - 1, rig.zxid);
    let expected =
        [format!("3 /old @{a}"), format!("1 /missing @{b}"), format!("1 /r @{c}"), format!("1 /r/x @{d}")];
    assert_eq!(heard(&mut rig, 2), expected);
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
fn many_watches_are_set_step_by_step_and_what_comes_behind_waits() {
    let mut rig = Rig::new();
    rig.session(1);
    let gone: Vec<Str> = (0..2500).map(|n| format!("/gone-{n}").into()).collect();
    let request = SetWatches2Request {
        relative_zxid: 0,
        data: gone,
        exist: (0..2500).map(|n| format!("/missing-{n}").into()).collect(),
        child: vec![],
        persistent: vec![],
        recursive: vec![],
    };
    rig.request(1, xid::SET_WATCHES, op::SET_WATCHES2, request);
    rig.request(1, 7, op::EXISTS, read("/missing-0", false));
    assert_eq!(rig.front.figures().outstanding, 2);
    // Events of what is gone; then watches, silently; then both answers.
    assert_eq!(step_by_step(&mut rig, 1), [1024, 1024, 452, 0, 2]);
    assert_eq!((rig.front.watch_figures().watches, rig.front.figures().outstanding), (2500, 0));
    assert_eq!(rig.code(1, op::EXISTS, read("/missing-0", false)), -101);
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
fn watches_go_with_their_connection() {
    let mut rig = Rig::new();
    let session = rig.session(1);
    rig.code(1, op::EXISTS, read("/a", true));
    let (watches, more) = rig.front.some_watches(None, 1);
    assert_eq!(watches, [(session, "/a".into())]);
    let (watches, more) = rig.front.some_watches(more.as_ref(), 1);
    assert!(watches.is_empty() && more.is_none());
    rig.front.closed(crate::event::ConnId(1));
    assert_eq!(rig.front.watch_figures(), Default::default());
}

/// Parts of a multi: header and body each, then the end.
fn multi(parts: &[(i32, Bytes)]) -> Vec<u8> {
    let mut to = BytesMut::new();
    for (op, body) in parts {
        MultiHeader { op: *op, done: false, err: -1 }.write(&mut to);
        to.extend_from_slice(body);
    }
    MultiHeader::END.write(&mut to);
    to.to_vec()
}

fn ask_raw(rig: &mut Rig, op: i32, body: &[u8]) -> (i32, Bytes) {
    let mut bytes = frame(9, op, &()).to_vec();
    bytes.extend_from_slice(body);
    rig.frame(1, bytes.into());
    rig.settle();
    let (header, body) = split(&rig.sent(1)[0]);
    (header.err, body)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_failed_multi_says_so_in_every_part_and_leaves_nothing() {
    let mut rig = Rig::new();
    rig.session(1);
    let parts = [
        (op::CREATE, create("/a").encode()),
        (op::DELETE, delete("/missing").encode()),
        (op::CREATE, create("/b").encode()),
    ];
    let (err, body) = ask_raw(&mut rig, op::MULTI, &multi(&parts));
    let expected = "ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b \
                    ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff";
    assert_eq!((err, hex(&body)), (0, expected.replace(' ', "")));
    assert!(rig.db.node("/a").is_none());
    assert_eq!(rig.db.digest_mismatches(), 0);
    // The failed attempt used no sequence number.
    let (_, body) = rig.ask(1, op::CREATE, create_with("/s", 2));
    assert_eq!(Str::decode(&body).unwrap(), "/s0000000000");
}

#[test]
fn a_multi_sees_its_own_changes_and_answers_by_kind() {
    let mut rig = Rig::new();
    rig.session(1);
    let ttl = CreateTtlRequest { path: "/t".into(), data: None, acl: vec![world(31)], flags: 5, ttl: 1000 };
    let parts = [
        (op::CREATE, create("/a").encode()),
        (op::CREATE2, create_with("/a/s", 2).encode()),
        (op::SET_DATA, set("/a").encode()),
        (op::CHECK, CheckVersionRequest { path: "/a".into(), version: 1 }.encode()),
        (op::CREATE_TTL, ttl.encode()),
        (op::DELETE, delete("/a/s0000000000").encode()),
    ];
    let (err, body) = ask_raw(&mut rig, op::MULTI, &multi(&parts));
    assert_eq!(err, 0);
    let mut from = wire::jute::Reader::new(body);
    let mut header = || -> (i32, Option<Str>, Option<Stat>) {
        let header: MultiHeader = from.read().unwrap();
        assert_eq!(header.err, if header.done { -1 } else { 0 });
        match header.op {
            1 => (1, Some(from.read().unwrap()), None),
            15 => (15, Some(from.read().unwrap()), Some(from.read().unwrap())),
            5 => (5, None, Some(from.read().unwrap())),
            op => (op, None, None),
        }
    };
    assert_eq!(header(), (1, Some("/a".into()), None));
    assert_eq!(header().1.unwrap(), "/a/s0000000000");
    let (kind, _, stat) = header();
    assert_eq!((kind, stat.unwrap().version), (5, 1));
    assert_eq!(header().0, 13);
    let (kind, path, stat) = header();
    assert_eq!((kind, path.unwrap(), stat.unwrap().ephemeral_owner), (15, "/t".into(), 0));
    assert_eq!((header().0, header().0), (2, -1));
    assert_eq!((from.remaining(), rig.db.digest_mismatches()), (0, 0));
}

#[test]
fn odd_multis_are_refused_whole_and_an_empty_one_is_not() {
    let mut rig = Rig::new();
    rig.session(1);
    assert_eq!(ask_raw(&mut rig, op::MULTI, &multi(&[])), (0, MultiHeader::END.encode()));
    for parts in [
        vec![(op::CREATE, create_with("/a", 7).encode())],
        vec![(op::GET_DATA, read("/", false).encode())],
        vec![(op::CREATE, create("/a").encode()), (op::GET_DATA, read("/", false).encode())],
        vec![(op::SET_ACL, SetAclRequest { path: "/".into(), acl: vec![], version: -1 }.encode())],
        vec![(op::MULTI, Bytes::from(multi(&[])))],
    ] {
        assert_eq!(ask_raw(&mut rig, op::MULTI, &multi(&parts)), (err::MARSHALLING, Bytes::new()));
    }
    assert!(rig.db.node("/a").is_none());
}

#[test]
fn reads_of_a_multi_fail_one_by_one_and_set_no_watch() {
    let mut rig = Rig::new();
    rig.session(1);
    let parts = [
        (op::GET_DATA, read("/missing", true).encode()),
        (op::GET_CHILDREN, read("/zookeeper", true).encode()),
        (op::GET_DATA, read("/zookeeper", true).encode()),
    ];
    let (err, body) = ask_raw(&mut rig, op::MULTI_READ, &multi(&parts));
    let mut from = wire::jute::Reader::new(body);
    assert_eq!(err, 0);
    assert_eq!(from.read(), Ok(MultiHeader { op: -1, done: false, err: -101 }));
    assert_eq!(from.read(), Ok(-101));
    assert_eq!(from.read(), Ok(MultiHeader { op: 8, done: false, err: 0 }));
    assert_eq!(from.read::<Vec<Str>>(), Ok(vec!["config".into(), "quota".into()]));
    assert_eq!(from.read(), Ok(MultiHeader { op: 4, done: false, err: 0 }));
    assert_eq!(from.read::<GetDataResponse>().unwrap().data.unwrap(), "");
    assert_eq!(from.read(), Ok(MultiHeader::END));
    assert_eq!(rig.front.watch_figures().watches, 0);
    let write = multi(&[(op::CREATE, create("/a").encode())]);
    assert_eq!(ask_raw(&mut rig, op::MULTI_READ, &write), (err::MARSHALLING, MultiHeader::END.encode()));
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

#[test]
fn who_sends_too_much_before_the_session_is_there_is_closed() {
    let mut rig = Rig::new();
    rig.open(1);
    rig.frame(1, connect(0, None).encode());
    rig.frame(1, Bytes::from(vec![0; 2_000_000]));
    assert!(!rig.closed(1));
    rig.frame(1, Bytes::from(vec![0; 100_000]));
    assert!(rig.closed(1));
    rig.settle();
    assert!(rig.sent(1).is_empty());
}

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

fn with_requests(requests: RequestLimits) -> Rig {
    Rig::with(&crate::CoreConfig { requests, ..standalone() })
}

#[test]
fn requests_above_the_limit_wait_until_those_before_them_are_done() {
    let mut rig = with_requests(RequestLimits { in_process_max: 1, ..RequestLimits::default() });
    rig.session(1);
    rig.session(2);
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(2, 1, op::CREATE, create("/b"));
    rig.request(2, 2, op::GET_DATA, read("/b", false));
    rig.request(1, 2, op::PING, ());
    assert_eq!((rig.up.len(), rig.sent(1).len(), rig.sent(2).len()), (1, 0, 0));
    rig.settle();
    let codes = |frames: Vec<Bytes>| -> Vec<(i32, i32)> {
        frames.iter().map(|frame| split(frame).0).map(|header| (header.xid, header.err)).collect()
    };
    assert_eq!(codes(rig.sent(2)), [(1, 0), (2, 0)]);
    assert_eq!(codes(rig.sent(1)), [(1, 0), (xid::PING, 0)]);
}

#[test]
fn the_requests_of_a_connection_that_is_gone_are_not_served() {
    let mut rig = with_requests(RequestLimits { in_process_max: 1, ..RequestLimits::default() });
    rig.session(1);
    rig.session(2);
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(2, 1, op::CREATE, create("/b"));
    rig.front.closed(ConnId(2));
    rig.settle();
    assert!(rig.db.node("/a").is_some() && rig.db.node("/b").is_none());
}

#[test]
fn who_waited_for_too_long_is_refused_or_sent_away() {
    let limits = RequestLimits { in_process_max: 1, drop_late: false, wait_ms_max: Some(50) };
    let mut rig = with_requests(limits.clone());
    rig.session(1);
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(1, 2, op::CREATE, create("/b"));
    rig.request(1, 3, op::PING, ());
    rig.now.mono += 51;
    rig.settle();
    let codes: Vec<i32> = rig.sent(1).iter().map(|frame| split(frame).0.err).collect();
    assert_eq!(codes, [0, err::THROTTLED_OP, 0]);

    let mut rig = with_requests(RequestLimits { drop_late: true, ..limits });
    rig.session(1);
    rig.request(1, 1, op::CREATE, create("/a"));
    rig.request(1, 2, op::CREATE, create("/b"));
    rig.now.mono += 10_001;
    rig.settle();
    assert!(rig.closed(1) && rig.db.node("/b").is_none());
}

#[test]
fn connections_above_the_throttle_end_without_a_word() {
    let connects = ConnectLimits { tokens: 2, fill_ms: 1000, ..ConnectLimits::default() };
    let mut rig = Rig::with(&crate::CoreConfig { connects, ..standalone() });
    rig.now.mono = 0;
    rig.session(1);
    rig.session(2);
    rig.open(3);
    rig.frame(3, connect(0, None).encode());
    assert!(rig.closed(3) && rig.sent(3).is_empty());
    rig.now.mono += 1001;
    rig.session(4);
}

#[test]
fn a_client_proves_by_sasl_who_it_is_and_a_wrong_password_ends_the_connection() {
    use crate::sasl::{CLIENTS, Client, SaslUsers};
    let users = SaslUsers {
        passwords: [("bob".to_owned(), "builder".to_owned())].into(),
        super_password: None,
        super_users: vec!["bob".into()],
        keeps_failed: false,
        secret: [7; 32],
    };
    for (password, works) in [("builder", true), ("bulldozer", false)] {
        let auth = AuthRules {
            sasl: true,
            sasl_users: Some(std::sync::Arc::new(users.clone())),
            ..AuthRules::default()
        };
        let mut rig = Rig::with(&crate::CoreConfig { auth, ..standalone() });
        rig.session(1);
        let mut client = Client::new(CLIENTS, "bob", password, "c".into());
        let mut say = |token: Option<Bytes>| {
            let (header, body) = rig.ask(1, op::SASL, SaslToken { token });
            (header.zxid, header.err, SaslToken::decode(&body).unwrap().token)
        };
        let (_, _, challenge) = say(Some(Bytes::new()));
        let response = client.evaluate(&challenge.unwrap()).unwrap();
        let (zxid, code, token) = say(response);
        assert_eq!(zxid, 0);
        if works {
            client.evaluate(&token.unwrap()).unwrap();
            assert!(client.is_complete());
            let (_, body) = rig.ask(1, op::WHO_AM_I, ());
            let ids = WhoAmIResponse::decode(&body).unwrap().ids;
            assert_eq!(ids.iter().map(|id| &*id.scheme).collect::<Vec<_>>(), ["ip", "sasl", "super"]);
        } else {
            assert_eq!((code, token), (err::AUTH_FAILED, None));
            assert!(rig.closed(1));
        }
    }
}
