//! Requests, bytes and connections above the limits.

use super::*;

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
