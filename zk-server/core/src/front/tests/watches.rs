//! Watches of every kind: what fires them, what is replayed, how many are set at a time.

use super::*;

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
