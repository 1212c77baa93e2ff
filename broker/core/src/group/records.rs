//! Keys and values of `__consumer_offsets`: offset keys of version 1, group keys of version 2; values as 3.5.1 writes
//! them: versions go with `inter.broker.protocol.version`, 3 today, and 1 for an offset with its own expiry.

use super::event::Record;
use super::offsets::{Offset, TopicPartition};
use super::state::{Group, Member, State};
use crate::MetadataVersion;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::codec::Message;
use wire::kafka::offsets_topic::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use wire::kafka::{encode_versioned, split_version};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// Version 4 of the values can be read, too.
const VALUE_MAX: i16 = 4;

pub(super) fn offset_record(
    group: &Str,
    partition: &TopicPartition,
    offset: Option<&Offset>,
    protocol: MetadataVersion,
) -> Record {
    let (topic, number) = partition;
    let key = OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition: *number };
    Record {
        key: encode_versioned(&key, OFFSET_KEY),
        value: offset.map(|offset| offset_value(offset, protocol)),
    }
}

fn offset_value(offset: &Offset, protocol: MetadataVersion) -> Bytes {
    let value = OffsetCommitValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        commit_timestamp: offset.commit_timestamp,
        expire_timestamp: offset.expire_timestamp.unwrap_or(-1),
    };
    encode_versioned(&value, if offset.expire_timestamp.is_some() { 1 } else { protocol.offset_value() })
}

pub(super) fn group_tombstone(group: &Str) -> Record {
    Record { key: encode_versioned(&GroupMetadataKey { group: group.clone() }, GROUP_KEY), value: None }
}

/// The group with these assignments (members without one get none).
pub(super) fn group_record(
    group: &Group,
    assignments: &BTreeMap<Str, Bytes>,
    protocol_version: MetadataVersion,
) -> Record {
    let protocol = group.protocol.clone();
    let mut members: Vec<&Member> = group.members.values().collect();
    members.sort_by_key(|member| member.order);
    let members = members.into_iter().map(|member| MemberMetadata {
        member_id: member.id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_ms,
        session_timeout: member.session_ms,
        subscription: protocol.as_ref().map(|protocol| member.metadata(protocol)).unwrap_or_default(),
        assignment: assignments.get(&member.id).cloned().unwrap_or_default(),
    });
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        leader: group.leader.clone(),
        current_state_timestamp: group.state_since.unwrap_or(-1),
        members: members.collect(),
        protocol,
    };
    let tombstone = group_tombstone(&group.id);
    Record { value: Some(encode_versioned(&value, protocol_version.group_value())), ..tombstone }
}

/// A record of the log, read.
#[derive(Debug)]
pub(super) enum Loaded {
    Offset {
        group: Str,
        partition: TopicPartition,
        offset: Option<Offset>,
    },
    Group {
        group: Str,
        value: Option<GroupMetadataValue>,
        version: i16,
    },
    /// A key of a later version: left over from an upgrade that was taken back.
    Unknown {
        version: i16,
    },
}

pub(super) fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Loaded, String> {
    let (version, body) = split_version(key).map_err(|error| format!("a key's version: {error}"))?;
    match version {
        0 | 1 => {
            let key = OffsetCommitKey::decode(&body, version)
                .map_err(|error| format!("an offset's key: {error}"))?;
            let offset = value.map(read_offset).transpose()?;
            Ok(Loaded::Offset { group: key.group, partition: (key.topic, key.partition), offset })
        }
        GROUP_KEY => {
            let key = GroupMetadataKey::decode(&body, version)
                .map_err(|error| format!("a group's key: {error}"))?;
            let value = value.map(|value| read_value::<GroupMetadataValue>(value, "a group")).transpose()?;
            let version = value.as_ref().map_or(VALUE_MAX, |(_, version)| *version);
            Ok(Loaded::Group { group: key.group, value: value.map(|(value, _)| value), version })
        }
        _ => Ok(Loaded::Unknown { version }),
    }
}

fn read_value<T: Message>(value: &Bytes, what: &str) -> Result<(T, i16), String> {
    let (version, body) = split_version(value).map_err(|error| format!("{what}'s version: {error}"))?;
    if !(0..=VALUE_MAX).contains(&version) {
        return Err(format!("{what}'s value has version {version}"));
    }
    let value = T::decode(&body, version).map_err(|error| format!("{what}'s value: {error}"))?;
    Ok((value, version))
}

fn read_offset(value: &Bytes) -> Result<Offset, String> {
    let (value, _) = read_value::<OffsetCommitValue>(value, "an offset")?;
    Ok(Offset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        commit_timestamp: value.commit_timestamp,
        expire_timestamp: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
    })
}

/// The group of a record: stable with its members, or empty.
pub(super) fn group_of(id: Str, partition: i32, value: GroupMetadataValue, version: i16) -> Group {
    let mut group = Group::new(id, partition, 0);
    group.state_since = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
    group.generation = value.generation;
    for member in value.members {
        let rebalance_ms = if version == 0 { member.session_timeout } else { member.rebalance_timeout };
        let member = Member {
            id: member.member_id,
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_ms,
            session_ms: member.session_timeout,
            protocols: vec![(value.protocol.clone().unwrap_or_default(), member.subscription)],
            assignment: member.assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
            session_deadline: None,
            order: 0,
        };
        group.add(member, &value.protocol_type);
    }
    group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
    group.protocol = value.protocol;
    group.leader = value.leader;
    group.state = if group.members.is_empty() { State::Empty } else { State::Stable };
    group.subscribed = group.compute_subscribed();
    group
}
