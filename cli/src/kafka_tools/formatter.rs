//! How kafka-console-consumer prints a record.

use super::deserializer::Deserializer;
use super::{is_true, value};
use base::Properties;
use client::ConsumerRecord;
use std::io::{self, Write};
use wire::kafka::offsets_topic::{GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue};
use wire::kafka::transaction_topic::{TransactionLogKey, TransactionLogValue};
use wire::kafka::{Message, split_version};

/// A formatter by the name of Java's class.
pub enum Formatter {
    Default(Columns),
    NoOp,
    Offsets,
    Groups,
    Transactions,
}

/// Which columns there are, and what stands between.
pub struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null: Vec<u8>,
    of_key: Deserializer,
    of_value: Deserializer,
    of_headers: Deserializer,
}

/// Why a record is not printed.
#[derive(Debug)]
pub enum WriteError {
    /// Nobody reads the output any more.
    Gone,
    /// The record is not what the formatter is for; Java's exception.
    Unreadable(String),
}

impl From<io::Error> for WriteError {
    fn from(_: io::Error) -> WriteError {
        WriteError::Gone
    }
}

impl Formatter {
    /// The error is Java's.
    pub fn new(class: &str, properties: &Properties) -> Result<Formatter, String> {
        match class {
            "kafka.tools.DefaultMessageFormatter" | "kafka.tools.LoggingMessageFormatter" => {
                Columns::new(properties).map(Formatter::Default)
            }
            "kafka.tools.NoOpMessageFormatter" => Ok(Formatter::NoOp),
            "kafka.coordinator.group.GroupMetadataManager$OffsetsMessageFormatter" => Ok(Formatter::Offsets),
            "kafka.coordinator.group.GroupMetadataManager$GroupMetadataMessageFormatter" => {
                Ok(Formatter::Groups)
            }
            "kafka.coordinator.transaction.TransactionLog$TransactionLogMessageFormatter" => {
                Ok(Formatter::Transactions)
            }
            other => Err(format!("java.lang.ClassNotFoundException: {other}")),
        }
    }

    pub fn write(&self, record: &ConsumerRecord, to: &mut impl Write) -> Result<(), WriteError> {
        let line = match self {
            Formatter::Default(columns) => return columns.write(record, to),
            Formatter::NoOp => return Ok(()),
            // Keys of these topics begin with a version.
            _ if record.key.as_ref().is_some_and(|key| key.len() < 2) => {
                return Err(WriteError::Unreadable("java.nio.BufferUnderflowException".to_owned()));
            }
            Formatter::Offsets => offset_line(record),
            Formatter::Groups => group_line(record),
            Formatter::Transactions => transaction_line(record),
        };
        match line {
            Some(line) => Ok(writeln!(to, "{line}")?),
            None => Ok(()),
        }
    }
}

impl Columns {
    fn new(properties: &Properties) -> Result<Columns, String> {
        let deserializer =
            |key| value(properties, key).map_or(Ok(Deserializer::Bytes), Deserializer::by_class);
        let or = |key, default: &str| value(properties, key).unwrap_or(default).as_bytes().to_vec();
        Ok(Columns {
            timestamp: is_true(properties, "print.timestamp"),
            partition: is_true(properties, "print.partition"),
            offset: is_true(properties, "print.offset"),
            headers: is_true(properties, "print.headers"),
            key: is_true(properties, "print.key"),
            value: properties.get("print.value").is_none() || is_true(properties, "print.value"),
            key_separator: or("key.separator", "\t"),
            line_separator: or("line.separator", "\n"),
            headers_separator: or("headers.separator", ","),
            null: or("null.literal", "null"),
            of_key: deserializer("key.deserializer")?,
            of_value: deserializer("value.deserializer")?,
            of_headers: deserializer("headers.deserializer")?,
        })
    }

    fn write(&self, record: &ConsumerRecord, to: &mut impl Write) -> Result<(), WriteError> {
        // What is null is read from the literal, as Java does.
        let read = |with: &Deserializer, part: &Option<bytes::Bytes>| {
            with.text(part.as_deref().unwrap_or(&self.null)).map_err(WriteError::Unreadable)
        };
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = if record.is_log_append_time { "LogAppendTime" } else { "CreateTime" };
            columns.push(format!("{kind}:{}", record.timestamp).into_bytes());
        }
        if self.partition {
            columns.push(format!("Partition:{}", record.partition.partition).into_bytes());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.headers {
            let mut headers = Vec::new();
            for header in &record.headers {
                let value = read(&self.of_headers, &header.value)?;
                headers.push([&header.key.as_bytes()[..], b":", &value].concat());
            }
            columns.push(match headers.is_empty() {
                true => b"NO_HEADERS".to_vec(),
                false => headers.join(&self.headers_separator[..]),
            });
        }
        if self.key {
            columns.push(read(&self.of_key, &record.key)?);
        }
        if self.value {
            columns.push(read(&self.of_value, &record.value)?);
        }
        if columns.is_empty() {
            return Ok(());
        }
        to.write_all(&columns.join(&self.key_separator[..]))?;
        Ok(to.write_all(&self.line_separator)?)
    }
}

/// Of `__consumer_offsets`, the commits.
fn offset_line(record: &ConsumerRecord) -> Option<String> {
    let (version, key) = split_version(record.key.as_ref()?).ok()?;
    let key = (version <= 1).then(|| OffsetCommitKey::decode(&key, version).ok())??;
    let value = match &record.value {
        None => "NULL".to_owned(),
        Some(value) => {
            let (version, value) = split_version(value).ok()?;
            let value = OffsetCommitValue::decode(&value, version).ok()?;
            let epoch = match value.leader_epoch {
                ..0 => "Optional.empty".to_owned(),
                epoch => format!("Optional[{epoch}]"),
            };
            let expires = match value.expire_timestamp {
                -1 => "None".to_owned(),
                time => format!("Some({time})"),
            };
            format!(
                "OffsetAndMetadata(offset={}, leaderEpoch={epoch}, metadata={}, commitTimestamp={}, expireTimestamp={expires})",
                value.offset, value.metadata, value.commit_timestamp
            )
        }
    };
    Some(format!("[{},{},{}]::{value}", key.group, key.topic, key.partition))
}

/// Of `__consumer_offsets`, the groups.
fn group_line(record: &ConsumerRecord) -> Option<String> {
    let (version, key) = split_version(record.key.as_ref()?).ok()?;
    let group = (version == 2).then(|| GroupMetadataKey::decode(&key, version).ok())??.group;
    let Some(value) = &record.value else { return Some(format!("{group}::NULL")) };
    let (version, value) = split_version(value).ok()?;
    let value = GroupMetadataValue::decode(&value, version).ok()?;
    let option =
        |text: &Option<wire::Str>| text.as_ref().map_or("None".to_owned(), |text| format!("Some({text})"));
    let protocol = value.protocol.clone().unwrap_or_default();
    let members: Vec<String> = (value.members.iter())
        .map(|member| {
            format!(
                "{id} -> MemberMetadata(memberId={id}, groupInstanceId={}, clientId={}, clientHost={}, \
                 sessionTimeoutMs={}, rebalanceTimeoutMs={}, supportedProtocols=List({protocol}))",
                option(&member.group_instance_id),
                member.client_id,
                member.client_host,
                member.session_timeout,
                member.rebalance_timeout,
                id = member.member_id,
            )
        })
        .collect();
    let state = if members.is_empty() { "Empty" } else { "Stable" };
    let protocol_type = match &*value.protocol_type {
        "" => "None".to_owned(),
        kind => format!("Some({kind})"),
    };
    Some(format!(
        "{group}::GroupMetadata(groupId={group}, generation={}, protocolType={protocol_type}, currentState={state}, members=Map({}))",
        value.generation,
        members.join(", ")
    ))
}

pub const TRANSACTION_STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// Of `__transaction_state`.
fn transaction_line(record: &ConsumerRecord) -> Option<String> {
    let (version, key) = split_version(record.key.as_ref()?).ok()?;
    let id = TransactionLogKey::decode(&key, version).ok()?.transactional_id;
    let Some(value) = &record.value else { return Some(format!("{id}::NULL")) };
    let (version, value) = split_version(value).ok()?;
    let value = TransactionLogValue::decode(&value, version).ok()?;
    let state = TRANSACTION_STATES.get(value.transaction_status as usize)?;
    let partitions: Vec<String> = (value.transaction_partitions.iter().flatten())
        .flat_map(|topic| topic.partition_ids.iter().map(|partition| format!("{}-{partition}", topic.topic)))
        .collect();
    Some(format!(
        "{id}::TransactionMetadata(transactionalId={id}, producerId={}, producerEpoch={}, txnTimeoutMs={}, state={state}, \
         pendingState=None, topicPartitions=Set({}), txnStartTimestamp={}, txnLastUpdateTimestamp={})",
        value.producer_id,
        value.producer_epoch,
        value.transaction_timeout_ms,
        partitions.join(", "),
        value.transaction_start_timestamp_ms,
        value.transaction_last_update_timestamp_ms
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use client::TopicPartition;
    use wire::kafka::encode_versioned;

    fn record(key: Option<Bytes>, value: Option<Bytes>) -> ConsumerRecord {
        ConsumerRecord {
            partition: TopicPartition::new("t", 1),
            offset: 2,
            timestamp: 5,
            is_log_append_time: false,
            leader_epoch: 0,
            key,
            value,
            headers: Vec::new(),
        }
    }

    fn shown(formatter: &Formatter, record: &ConsumerRecord) -> String {
        let mut to = Vec::new();
        formatter.write(record, &mut to).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn columns_come_in_a_fixed_order() {
        let all = "print.timestamp=true\nprint.key=true\nprint.offset=true\nprint.partition=true\nprint.headers=true";
        let properties = Properties::parse("test", all.as_bytes()).unwrap();
        let formatter = Formatter::new("kafka.tools.DefaultMessageFormatter", &properties).unwrap();
        let plain = record(None, Some("v".into()));
        assert_eq!(shown(&formatter, &plain), "CreateTime:5\tPartition:1\tOffset:2\tNO_HEADERS\tnull\tv\n");
        let formatter = Formatter::new("kafka.tools.DefaultMessageFormatter", &Properties::new()).unwrap();
        assert_eq!(shown(&formatter, &record(None, None)), "null\n");
    }

    #[test]
    fn a_commit_prints_as_scala_prints_it() {
        let key = OffsetCommitKey { group: "g1".into(), topic: "p1".into(), partition: 1 };
        let value = OffsetCommitValue {
            offset: 4,
            leader_epoch: 0,
            commit_timestamp: 1795253798870,
            ..Default::default()
        };
        let commit = record(Some(encode_versioned(&key, 1)), Some(encode_versioned(&value, 3)));
        assert_eq!(
            shown(&Formatter::Offsets, &commit),
            "[g1,p1,1]::OffsetAndMetadata(offset=4, leaderEpoch=Optional[0], metadata=, commitTimestamp=1795253798870, \
             expireTimestamp=None)\n"
        );
        assert_eq!(shown(&Formatter::Groups, &commit), "");
        let group = GroupMetadataKey { group: "g1".into() };
        assert_eq!(shown(&Formatter::Groups, &record(Some(encode_versioned(&group, 2)), None)), "g1::NULL\n");
    }
}
