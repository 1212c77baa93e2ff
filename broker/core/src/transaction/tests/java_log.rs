//! Values that Kafka's own `TransactionLogValue` (3.5.1) has written, byte for byte, in hexadecimal: producer 4000 in epoch 3
//! commits on `t-0` and `t-2`; producer 4001 in epoch 0 has no transaction.

use super::*;
use crate::hex::bytes;
use wire::batch::Compression;
use wire::batch::message_set::MessageSetBuilder;

const COMMITTING_0: &str = "\
    00000000000000000fa000030000ea60020000000100017400000002000000000000000200000000000f4a1000000000000f\
    4628";
const COMMITTING_1: &str = "\
    00010000000000000fa000030000ea60020202740300000000000000020000000000000f4a1000000000000f462800";
const EMPTY: &str = "\
    00000000000000000fa100000000ea6000ffffffff00000000000f4a10ffffffffffffffff";
const KEY: &str = "000000026964";

/// A coordinator that has read this.
fn loaded(mut log: Bytes) -> World {
    let mut world = World::new();
    let mut out = Vec::new();
    world.coordinator.step(world.now, Event::Elected { partition: 0, epoch: 9 }, &mut out);
    while let Some(entry) = Entry::split_from(&mut log).unwrap() {
        world.step(Event::Loaded { partition: 0, epoch: 9, entry });
    }
    world.step(Event::LoadDone { partition: 0, epoch: 9 });
    assert!(world.notes.is_empty(), "{:?}", world.notes);
    world
}

fn check_commit_goes_on(world: &World, what: &str) {
    let [markers] = &world.markers[..] else { panic!("{what}: {:?}", world.markers) };
    let of = (markers.producer_id, markers.producer_epoch, markers.coordinator_epoch, markers.commit);
    assert_eq!(of, (4000, 3, 9, true), "{what}");
    assert_eq!(markers.partitions, [at("t", 0), at("t", 2)], "{what}");
}

#[test]
fn a_decision_of_either_version_that_kafka_wrote_is_carried_out() {
    for (version, value) in [COMMITTING_0, COMMITTING_1].into_iter().enumerate() {
        let mut builder = BatchBuilder::new();
        builder.push(1, Some(&bytes(KEY)), Some(&bytes(EMPTY)), &[]);
        builder.push(1, Some(&bytes(KEY)), Some(&bytes(value)), &[]);
        check_commit_goes_on(&loaded(builder.finish().unwrap()), &format!("version {version}"));
    }
}

#[test]
fn a_log_in_message_sets_is_read_too() {
    for (magic, codec) in [(0, Compression::None), (1, Compression::None), (1, Compression::Gzip)] {
        let mut set = MessageSetBuilder::new(magic, codec, None, 0);
        set.push(0, 1, Some(&bytes(KEY)), Some(&bytes(COMMITTING_0)));
        check_commit_goes_on(&loaded(set.finish().unwrap()), &format!("magic {magic}, {codec:?}"));
    }
}

#[test]
fn an_id_without_a_transaction_keeps_its_producer() {
    let mut builder = BatchBuilder::new();
    builder.push(1, Some(&bytes(KEY)), Some(&bytes(EMPTY)), &[]);
    let mut world = loaded(builder.finish().unwrap());
    assert!(world.markers.is_empty());
    let described = world.coordinator.describe(text("id"));
    let found = (described.producer_id, described.producer_epoch, described.transaction_timeout_ms);
    assert_eq!(found, (4001, 0, 60_000));
    assert_eq!(
        (described.transaction_state.as_ref() as &str, described.transaction_start_time_ms),
        ("Empty", -1)
    );
}
