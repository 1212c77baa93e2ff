//! Logs that older brokers have written: message sets, and keys and values of every version.

use super::*;
use wire::batch::Compression;
use wire::batch::message_set::MessageSetBuilder;
use wire::kafka::offsets_topic::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};

fn offset_key(topic: &str, version: i16) -> Bytes {
    let key = OffsetCommitKey { group: text("g"), topic: text(topic), partition: 0 };
    encode_versioned(&key, version)
}

fn offset_value(offset: i64, expire_timestamp: i64, version: i16) -> Bytes {
    let value = OffsetCommitValue {
        offset,
        commit_timestamp: 900_000,
        expire_timestamp,
        ..OffsetCommitValue::default()
    };
    encode_versioned(&value, version)
}

fn group_key() -> Bytes {
    encode_versioned(&GroupMetadataKey { group: text("g") }, 2)
}

fn group_value(members: usize, version: i16) -> Bytes {
    let member = |n| MemberMetadata {
        member_id: text(&format!("m{n}")),
        client_id: text("c"),
        client_host: text("/127.0.0.1"),
        rebalance_timeout: 60_000,
        session_timeout: 10_000,
        subscription: subscription("t"),
        assignment: Bytes::from_static(b"a"),
        ..MemberMetadata::default()
    };
    let value = GroupMetadataValue {
        protocol_type: text("consumer"),
        generation: 7,
        protocol: Some(text("range")),
        leader: Some(text("m0")),
        current_state_timestamp: 950_000,
        members: (0..members).map(member).collect(),
    };
    encode_versioned(&value, version)
}

/// A coordinator that has read this.
pub(super) fn loaded(mut log: Bytes, config: Config) -> World {
    let mut world = World::new(config);
    let mut out = Vec::new();
    world.coordinator.step(world.now, Event::Resigned { partition: 0 }, &mut out);
    world.coordinator.step(world.now, Event::Elected { partition: 0, epoch: 5 }, &mut out);
    while let Some(entry) = Entry::split_from(&mut log).unwrap() {
        world.step(Event::Loaded { partition: 0, epoch: 5, entry });
    }
    world.step(Event::LoadDone { partition: 0, epoch: 5 });
    world
}

pub(super) fn offset_of(world: &mut World, topic: &str) -> i64 {
    world.offsets(false, Some(topic))[0].0
}

#[test]
fn offsets_are_read_from_message_sets_of_either_format_compressed_or_not() {
    for (magic, codec) in [0, 1].into_iter().flat_map(|magic| {
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4]
            .map(|codec| (magic, codec))
    }) {
        let mut set = MessageSetBuilder::new(magic, codec, None, 10);
        set.push(10, 1, Some(&offset_key("t", 0)), Some(&offset_value(41, -1, 0)));
        set.push(11, 1, Some(&offset_key("t", 1)), Some(&offset_value(42, -1, 1)));
        set.push(12, 1, Some(&offset_key("u", 0)), Some(&offset_value(43, -1, 0)));
        set.push(14, 1, Some(&offset_key("u", 1)), None);
        set.push(15, 1, Some(&group_key()), Some(&group_value(2, 1)));
        let mut log = set.finish().unwrap().to_vec();
        let mut builder = BatchBuilder::new().base_offset(16);
        builder.push(2, Some(&offset_key("v", 1)), Some(&offset_value(44, -1, 3)), &[]);
        log.extend(builder.finish().unwrap());
        let mut world = loaded(log.into(), Config::default());
        let offsets = ["t", "u", "v"].map(|topic| offset_of(&mut world, topic));
        assert_eq!(offsets, [42, -1, 44], "magic {magic}, {codec:?}");
        assert_eq!(world.state(), ("Stable".into(), 2), "magic {magic}, {codec:?}");
    }
}

#[test]
fn an_offset_of_an_old_version_expires_at_its_own_time() {
    let mut set = MessageSetBuilder::new(1, Compression::None, None, 0);
    set.push(0, 1, Some(&offset_key("own", 1)), Some(&offset_value(1, 1_000_500, 1)));
    set.push(1, 1, Some(&offset_key("rule", 1)), Some(&offset_value(2, -1, 0)));
    let config = Config { offsets_retention_ms: 200_000, ..Config::default() };
    let mut world = loaded(set.finish().unwrap(), config);
    world.pass(499);
    world.step(Event::ExpireOffsets);
    assert_eq!(world.offsets(false, None).len(), 2);
    world.pass(1);
    world.step(Event::ExpireOffsets);
    assert_eq!(["own", "rule"].map(|topic| offset_of(&mut world, topic)), [-1, 2]);
    world.pass(100_000);
    world.step(Event::ExpireOffsets);
    assert_eq!(world.state().0, "Dead", "from the commit on, where nobody was ever a member");
}

#[test]
fn groups_of_every_version_are_read() {
    for version in 0..=4 {
        let mut set = MessageSetBuilder::new(1, Compression::None, None, 0);
        set.push(0, 1, Some(&group_key()), Some(&group_value(2, version)));
        let mut world = loaded(set.finish().unwrap(), Config::default());
        assert_eq!(world.state(), ("Stable".into(), 2), "version {version}");
        assert_eq!(world.heartbeat("m1", 7), Code::NONE);
        let token = world.sync("m1", 7, &[]);
        assert_eq!(world.synced(token), (Code::NONE, Bytes::from_static(b"a")));
        // The leader joins again; the other has as long as its version says.
        world.join("m0", Join { rebalance_ms: 1_000, ..Join::default() });
        let longest_ms = if version == 0 { 10_000 } else { 60_000 };
        for _ in 0..longest_ms / 1_000 - 1 {
            world.pass(1_000);
            assert_eq!(world.heartbeat("m1", 7), Code::REBALANCE_IN_PROGRESS, "version {version}");
        }
        world.pass(1_000);
        assert_eq!(world.heartbeat("m1", 7), Code::UNKNOWN_MEMBER_ID, "version {version}");
    }
}

#[test]
fn an_empty_group_of_an_old_version_keeps_its_offsets_from_their_commits_on() {
    for (version, lives) in [(1, false), (2, true)] {
        let mut set = MessageSetBuilder::new(1, Compression::None, None, 0);
        set.push(0, 1, Some(&offset_key("t", 1)), Some(&offset_value(1, -1, 1)));
        set.push(1, 1, Some(&group_key()), Some(&group_value(0, version)));
        // Committed at 900 s; empty since 950 s, which only version 2 says.
        let config = Config { offsets_retention_ms: 120_000, ..Config::default() };
        let mut world = loaded(set.finish().unwrap(), config);
        world.pass(30_000);
        world.step(Event::ExpireOffsets);
        assert_eq!(world.offsets(false, None).len(), usize::from(lives), "version {version}");
    }
}
