//! Multis: all or nothing of the writes, one by one of the reads.

use super::*;

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
