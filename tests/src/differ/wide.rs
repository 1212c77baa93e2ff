//! What the sessions of later seeds have besides: the edges of each field, texts as long as they may be and longer, values as
//! Java's parsers take them, and bytes that hold something else.

use bytes::Bytes;
use wire::Str;
use wire::kafka::ApiKey;

use super::draw::Drawer;
use super::wide_records;

/// Numbers and words that one parser takes and another does not.
const VALUES: &[&str] = &[
    " 5 ",
    "+5",
    "-0",
    "05",
    "1_000",
    "0x10",
    "1e3",
    "5L",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "0.5d",
    ".5",
    "1.",
    "NaN",
    "1e-1",
    "TRUE",
    " true",
    "yes",
    "\u{0665}",
    "compact, delete",
    "compact,compact",
    ",delete",
    "delete,",
    " compact ",
    "Compact",
    "3.5",
    "3.5-IV2",
    "2.8-IV0",
    "3.6",
    "0:1",
    "0:1,",
    "0:x",
    "1",
];

/// Settings of topics of each type that the narrow sessions do not have.
const SETTINGS: &[&str] = &[
    "segment.ms",
    "segment.index.bytes",
    "flush.messages",
    "retention.bytes",
    "retention.ms",
    "index.interval.bytes",
    "min.compaction.lag.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "cleanup.policy",
    "preallocate",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.difference.max.ms",
    "follower.replication.throttled.replicas",
    "min.insync.replicas",
    "Retention.ms",
    "remote.storage.enable",
];

/// Where a topic's settings stand in a request.
const CONFIGS: &[ApiKey] = &[ApiKey::CreateTopics, ApiKey::AlterConfigs, ApiKey::IncrementalAlterConfigs];

/// So long may a topic's name be.
const NAME_MAX: usize = 249;

impl Drawer<'_> {
    /// Whether this value is an odd one: one of so many.
    fn odd(&mut self, one_in: usize) -> bool {
        self.is_wide && self.one_in(one_in)
    }

    pub(super) fn wide_int(&mut self) -> Option<i64> {
        if !self.odd(5) {
            return None;
        }
        let (least, most) = (i64::from(i32::MIN), i64::from(i32::MAX));
        Some(match self.field() {
            // Those who wait: not at all.
            "timeout_ms" if !self.is(&[ApiKey::LeaderAndIsr]) => self.of(&[0, -1, least]),
            "replica_id" => self.of(&[-2, -3, 1, 99]),
            "log_start_offset" => self.of(&[0, 5, -2, i64::MAX]),
            "max_bytes" | "partition_max_bytes" => self.of(&[-1, least, most, 61]),
            "min_bytes" => self.of(&[-1, least]),
            "fetch_offset" | "offset" => self.of(&[-2, i64::MIN, i64::MAX, 4]),
            "committed_offset" if self.version > 0 => self.of(&[-2, i64::MIN]),
            "committed_leader_epoch" | "current_leader_epoch" | "leader_epoch" | "last_fetched_epoch" => {
                self.of(&[-2, least, most])
            }
            "timestamp" => self.of(&[-5, i64::MIN, 1]),
            "max_num_offsets" => self.of(&[-1, most]),
            "acks" => self.of(&[-2, 32_767, -32_768]),
            "generation_id" => self.of(&[least, most, -2]),
            "session_epoch" => self.of(&[most, least, 3]),
            "producer_id" | "v3_and_below_producer_id" => self.of(&[-2, i64::MIN, i64::MAX]),
            "replication_factor" => self.of(&[32_767, -32_768]),
            "key_type" => self.of(&[-1, 127]),
            "config_operation" => self.of(&[-1, 127]),
            "election_type" => self.of(&[-1, 127]),
            "retention_time_ms" | "commit_timestamp" => self.of(&[0, -2, i64::MAX]),
            "resource_type" if !self.is(&[ApiKey::CreateAcls, ApiKey::DescribeAcls, ApiKey::DeleteAcls]) => {
                self.of(&[1, 5, 16, -1, 127])
            }
            _ => return None,
        })
    }

    pub(super) fn wide_float(&mut self) -> Option<f64> {
        self.odd(3).then(|| {
            self.of(&[
                0.1,
                1e-7,
                f64::NAN,
                f64::INFINITY,
                -0.0,
                9_007_199_254_740_993.0,
                1e21,
                1.0000005,
                123_456_789.0,
                f64::MIN_POSITIVE,
            ])
        })
    }

    pub(super) fn wide_count(&mut self) -> Option<usize> {
        match self.field() {
            "topics" | "partitions" | "partition_indexes" | "configs" | "groups_names" | "members"
            | "transactions" | "coordinator_keys" | "replicas" | "configuration_keys"
                if self.odd(6) =>
            {
                Some(self.of(&[2, 3, 3]))
            }
            _ => None,
        }
    }

    pub(super) fn wide_text(&mut self) -> Option<Str> {
        if !self.odd(4) {
            return None;
        }
        let field = self.field();
        let is_setting = self.is(CONFIGS) && self.path.contains(&"configs");
        Some(match field {
            "name" if is_setting => self.of(SETTINGS).into(),
            "value" if is_setting => self.of(VALUES).into(),
            "committed_metadata" if self.version > 0 => "m".repeat(self.of(&[4096, 4097])).into(),
            "client_software_name" | "client_software_version" => match self.below(6) {
                0 => "a".repeat(300).into(),
                1 => "a-".into(),
                2 => "a..b-c".into(),
                3 => "\u{e9}".into(),
                4 => "a\n".into(),
                _ => "7".into(),
            },
            "rack_id" => self.of(&["r1", "\u{2603}"]).into(),
            "reason" => "why ".repeat(100).into(),
            "protocol_type" => "Consumer".into(),
            "feature" => self.of(&["metadata.version", "Metadata.version"]).into(),
            "group_instance_id" => match self.below(5) {
                0 => "".into(),
                1 => ".".into(),
                2 => "bad id!".into(),
                3 => "x".repeat(250).into(),
                _ => format!("{}{}", self.prefix, "i".repeat(200)).into(),
            },
            "name" | "topic" | "topic_name" | "topic_names"
                if self.is(&[
                    ApiKey::CreateTopics,
                    ApiKey::DeleteTopics,
                    ApiKey::CreatePartitions,
                    ApiKey::Metadata,
                    ApiKey::Produce,
                    ApiKey::Fetch,
                    ApiKey::ListOffsets,
                    ApiKey::OffsetCommit,
                    ApiKey::OffsetFetch,
                    ApiKey::AddPartitionsToTxn,
                    ApiKey::ElectLeaders,
                    ApiKey::DescribeProducers,
                    ApiKey::DeleteRecords,
                ]) && !self.path.contains(&"configs") =>
            {
                self.wide_topic()
            }
            _ => return None,
        })
    }

    /// Names that are taken for one another, and names at the limit.
    fn wide_topic(&mut self) -> Str {
        let prefix = self.prefix;
        match self.below(6) {
            0 => format!("{prefix}new.x").into(),
            1 => format!("{prefix}new_x").into(),
            2 => format!("{prefix}{}", "l".repeat(NAME_MAX - prefix.len())).into(),
            3 => format!("{prefix}{}", "l".repeat(NAME_MAX + 1 - prefix.len())).into(),
            4 => "..".into(),
            _ => format!("{prefix}A").into(),
        }
    }

    pub(super) fn wide_bytes(&mut self) -> Option<Bytes> {
        match self.field() {
            "records" if self.odd(2) => {
                Some(wide_records::draw(&mut self.rng, self.version, &self.known.producers))
            }
            "metadata" | "assignment" if self.odd(4) => Some(Bytes::from_static(self.of(&[
                &b""[..],
                b"\0",
                b"\0\x09\0\0\0\0\0\0\0\0",
                b"\xff\xff\xff\xff\xff\xff",
            ]))),
            _ => None,
        }
    }
}
