//! What a real ZooKeeper 3.9.3 answered and logged, against what this one does with the same frames.
//!
//! `testdata/session-3.9.3.bin` was recorded at a standalone server (extended types and quotas on): some hundred
//! requests of a dozen connections, one after the other, with every reply and event, and then the payloads of the
//! transaction log. Entries are `connection i32, kind i32, length i32, bytes`. Left out is
//!
//! * what the real server lists in the order of a hash;
//! * digests that it forecasts wrongly: containers made by another flag, that flag with another opcode, and errors of
//!   multis with parts that no multi may have (they carry a digest there);
//! * single writes that cannot be decoded: it logs their error under the zxid before, a second time. Here an error
//!   takes a zxid of its own, as in a multi, so that no zxid stands twice in the history.

use crate::ConnId;
use crate::config::tests::standalone;
use crate::rig::Rig;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use wire::jute::Reader;
use wire::zk::txn::Txn;

const RECORDED: &[u8] = include_bytes!("../testdata/session-3.9.3.bin");

#[derive(Debug)]
enum Entry {
    Opened(u64),
    Sent(u64, Bytes),
    Received(u64, Bytes),
    Closed(u64),
    Logged(Txn),
}

fn entries() -> Vec<Entry> {
    let mut from = Reader::new(Bytes::from_static(RECORDED));
    let mut entries = vec![];
    while from.remaining() > 0 {
        let (conn, kind) = (from.read::<i32>().unwrap() as u64, from.read::<i32>().unwrap());
        let length = from.read::<i32>().unwrap() as usize;
        let bytes = from.take(length).unwrap();
        entries.push(match kind {
            0 => Entry::Opened(conn),
            1 => Entry::Sent(conn, bytes),
            2 => Entry::Received(conn, bytes),
            3 => Entry::Closed(conn),
            4 => Entry::Logged(Txn::decode(bytes).unwrap()),
            other => panic!("kind {other}"),
        });
    }
    entries
}

#[test]
fn a_recorded_session_is_answered_and_logged_byte_for_byte() {
    let entries = entries();
    let logged: Vec<&Txn> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Logged(txn) => Some(txn),
            _ => None,
        })
        .collect();
    let mut rig = Rig::with(&crate::CoreConfig { enforce_quota: true, ..standalone() });
    rig.times = logged.iter().map(|txn| txn.header.time).collect();
    rig.front.begin_sessions_at(logged[0].header.session);

    let mut ours: BTreeMap<u64, VecDeque<Bytes>> = BTreeMap::new();
    let mut asked = BTreeMap::new();
    for entry in &entries {
        match entry {
            Entry::Opened(conn) => rig.open(*conn),
            Entry::Sent(conn, frame) => {
                rig.frame(*conn, frame.clone());
                rig.settle();
                asked.insert(conn, frame);
            }
            Entry::Received(conn, theirs) => {
                for conn in 1..32 {
                    let frames = rig.sent(conn);
                    ours.entry(conn).or_default().extend(frames);
                }
                let frame = ours.get_mut(conn).and_then(VecDeque::pop_front).map(|frame| frame.slice(4..));
                assert_eq!(frame.as_ref(), Some(theirs), "after {:?} of {conn}", asked[conn]);
            }
            Entry::Closed(conn) => {
                assert!(rig.closed(*conn), "{conn} goes on after {:?}", asked[conn]);
                assert!(!rig.front.is_connected(ConnId(*conn)));
            }
            Entry::Logged(_) => {}
        }
    }
    assert!(ours.values().all(VecDeque::is_empty), "{ours:?}");
    assert_eq!(rig.log.len(), logged.len());
    for (ours, theirs) in rig.log.iter().zip(logged) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(rig.db.digest_mismatches(), 0);
}
