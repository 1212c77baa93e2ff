//! What stands in the fields of a request: mostly what makes sense in the session, now and then the edge of a type or
//! nonsense.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use wire::Str;
use wire::kafka::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use wire::kafka::shape::Draw;
use wire::kafka::{ApiKey, Uuid};

use super::known::Known;
use super::peer::encoded;
use super::records;

/// Draws one request for one broker. Both brokers' are drawn from the same numbers; only what [`Known`] holds differs.
pub struct Drawer<'a> {
    pub rng: ChaCha8Rng,
    pub key: ApiKey,
    pub version: i16,
    pub known: &'a Known,
    /// Goes before the names of topics, groups and transactions of this session.
    pub prefix: &'a str,
    /// Draws what stands at the edges, too: see [`super::steps::WIDE`].
    pub is_wide: bool,
    pub path: Vec<&'static str>,
}

/// Settings of topics, with values that are good, bad, and none.
const TOPIC_CONFIGS: &[(&str, &[&str])] = &[
    ("cleanup.policy", &["compact", "delete", "compact,delete", "", "keep"]),
    ("retention.ms", &["1000", "-1", "-2", "soon", "99999999999999999999"]),
    ("max.message.bytes", &["2000", "0", "-1"]),
    ("min.insync.replicas", &["1", "2", "0"]),
    ("compression.type", &["producer", "gzip", "none", "fast"]),
    ("segment.bytes", &["1048576", "13", "14"]),
    ("message.timestamp.type", &["CreateTime", "LogAppendTime", "Now"]),
    ("unclean.leader.election.enable", &["true", "false", "maybe"]),
    ("min.cleanable.dirty.ratio", &["0.5", "0", "1.5", "x"]),
    ("leader.replication.throttled.replicas", &["*", "0:1,1:1", "", "x"]),
    ("message.format.version", &["3.0", "0.10.0", "x"]),
    ("no.such.config", &["1"]),
    ("", &["1"]),
];

const BROKER_CONFIGS: &[(&str, &[&str])] = &[
    ("log.retention.ms", &["100000000", "-1", "soon"]),
    ("log.segment.bytes", &["1073741824", "1"]),
    ("num.partitions", &["1"]),
    ("broker.id", &["1", "2"]),
    ("no.such.config", &["1"]),
    ("message.max.bytes", &["1048588", "-1"]),
];

impl Drawer<'_> {
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count.max(1))
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One of what was learned; the same place for both brokers. `None` while there is nothing.
    pub(super) fn learned<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let back = self.below(4);
        from.iter().rev().nth(back).or(from.last()).cloned()
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn field(&self) -> &'static str {
        self.path.last().copied().unwrap_or_default()
    }

    fn within(&self, field: &str) -> bool {
        self.path.contains(&field)
    }

    pub(super) fn is(&self, keys: &[ApiKey]) -> bool {
        keys.contains(&self.key)
    }

    fn odd_text(&mut self) -> Str {
        match self.below(6) {
            0 => "".into(),
            1 => "bad name!".into(),
            2 => ".".into(),
            3 => "x".repeat(250).into(),
            4 => "snow\u{2603}man".into(),
            _ => "__consumer_offsets".into(),
        }
    }

    pub(super) fn topic(&mut self) -> Str {
        let name = match self.below(10) {
            0..4 => "a",
            4..7 => "b",
            7 => "new",
            8 => "none",
            // What is in an internal topic is different at each.
            _ if self.is(&[
                ApiKey::Fetch,
                ApiKey::ListOffsets,
                ApiKey::DeleteRecords,
                ApiKey::OffsetForLeaderEpoch,
            ]) =>
            {
                "none"
            }
            _ => return self.odd_text(),
        };
        format!("{}{name}", self.prefix).into()
    }

    pub(super) fn group(&mut self) -> Str {
        let name = match self.below(16) {
            0..10 => "g",
            10..13 => "h",
            13..15 => "none",
            _ => match self.of(&["", " x y", "\u{2603}"]) {
                "" => return "".into(),
                odd => odd,
            },
        };
        format!("{}{name}", self.prefix).into()
    }

    pub(super) fn transaction(&mut self) -> Str {
        let name = match self.below(12) {
            0..7 => "t",
            7..10 => "u",
            10 => "none",
            _ => return "".into(),
        };
        format!("{}{name}", self.prefix).into()
    }

    fn member(&mut self) -> Str {
        match self.below(10) {
            0..7 => self.learned(&self.known.members.clone()).unwrap_or_default(),
            7 | 8 => "".into(),
            _ => "nobody".into(),
        }
    }

    fn partition(&mut self) -> i64 {
        match self.below(10) {
            0..6 => 0,
            6..8 => 1,
            8 => 7,
            _ => self.of(&[-1, i64::from(i32::MAX)]),
        }
    }

    fn config_name(&mut self) -> Str {
        let table = if self.one_in(5) { BROKER_CONFIGS } else { TOPIC_CONFIGS };
        self.of(table).0.into()
    }

    fn config_value(&mut self) -> Str {
        let table = if self.one_in(5) { BROKER_CONFIGS } else { TOPIC_CONFIGS };
        let (_, values) = self.of(table);
        self.of(values).into()
    }

    fn edge(&mut self, bits: u32) -> i64 {
        let max = if bits >= 64 { i64::MAX } else { (1 << (bits - 1)) - 1 };
        self.of(&[0, 1, -1, max, -max - 1])
    }

    fn subscription(&mut self) -> Bytes {
        let topics = (0..self.below(3)).map(|_| self.topic()).collect();
        let version = self.of(&[0, 1, 3]);
        encoded(&ConsumerProtocolSubscription { topics, ..Default::default() }, version)
    }

    fn assignment(&mut self) -> Bytes {
        let partitions = vec![AssignmentTopicPartition { topic: self.topic(), partitions: vec![0] }];
        let assigned = ConsumerProtocolAssignment { assigned_partitions: partitions, ..Default::default() };
        encoded(&assigned, 0)
    }

    /// Times in which a request waits at most.
    fn wait(&mut self) -> i64 {
        match self.field() {
            "max_wait_ms" => self.of(&[0, 10, 100, -1]),
            "rebalance_timeout_ms" => self.of(&[500, 500, 500, 900, 0, -1]),
            "session_timeout_ms" => {
                self.of(&[10_000, 10_000, 30_000, 6000, 1_800_000, 0, -1, 5999, i64::from(i32::MAX)])
            }
            "transaction_timeout_ms" => self.of(&[60_000, 60_000, 900_000, 0, -1, 900_001]),
            _ => self.of(&[5000, 5000, 10_000]),
        }
    }
}

impl Draw for Drawer<'_> {
    fn enter(&mut self, field: &'static str) {
        self.path.push(field);
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn null(&mut self) -> bool {
        if let Some(drawn) = self.guarded_null() {
            return drawn;
        }
        match self.field() {
            "group_instance_id" => !self.one_in(4),
            "transactional_id" if self.key == ApiKey::Produce => !self.one_in(3),
            "transactional_id" => self.one_in(6),
            "protocol_type" | "protocol_name" => self.one_in(3),
            "name" if self.key == ApiKey::Metadata => self.one_in(8),
            "name" if self.key == ApiKey::DeleteTopics => self.one_in(2),
            "topics" | "configuration_keys" | "topic_partitions" => self.one_in(3),
            "cluster_id" => true,
            // Java closes the connection now and then.
            "records" => false,
            "assignments" => !self.one_in(3),
            "replicas" => self.one_in(2),
            _ => self.one_in(5),
        }
    }

    fn count(&mut self) -> usize {
        if let Some(drawn) = self.wide_count().or_else(|| self.guarded_count()) {
            return drawn;
        }
        match self.field() {
            "configuration_keys" => self.below(3),
            // Records of one partition are mostly for one topic; so are members.
            "assignments" | "configs" | "states_filter" | "state_filters" | "producer_id_filters" => {
                self.below(3)
            }
            // Java keeps the last of those that are named twice, and never answers to a protocol or resource named twice.
            "markers" | "topic_data" | "partition_data" | "protocols" | "resources" => 1,
            // Java never answers to none.
            "groups" if self.is(&[ApiKey::OffsetFetch]) => 1,
            "forgotten_topics_data" => usize::from(self.one_in(5)),
            "broker_ids" | "replicas" => 1 + usize::from(self.one_in(5)),
            "new_isr" | "new_isr_with_epochs" => 1,
            "live_brokers" | "live_leaders" => 0,
            _ => match self.below(12) {
                0 => 0,
                1..9 => 1,
                _ => 2,
            },
        }
    }

    fn bool(&mut self) -> bool {
        match self.field() {
            "allow_auto_topic_creation" | "is_kraft_controller" => false,
            "validate_only" => self.one_in(4),
            "allow_downgrade" => self.one_in(2),
            _ => self.one_in(2),
        }
    }

    fn int(&mut self, bits: u32) -> i64 {
        if let Some(drawn) = self.wide_int().or_else(|| self.guarded_int()) {
            return drawn;
        }
        if self.field().ends_with("timeout_ms") || self.field() == "max_wait_ms" || self.field() == "timeout"
        {
            return self.wait();
        }
        match self.field() {
            "partition_index" | "partition" | "partitions" | "index" | "partition_indexes"
            | "partition_indices" => self.partition(),
            "num_partitions" => self.of(&[1, 2, 3, -1, 0, -2]),
            "count" => self.of(&[1, 2, 3, 4, 0, -1]),
            "replication_factor" => self.of(&[1, 1, 1, -1, 0, 2, -3]),
            "broker_ids" | "replicas" | "new_isr" => self.of(&[1, 1, 1, 1, 2, -1]),
            // Only who does not exist: the brokers under test go on.
            "broker_id" => self.of(&[99, -1]),
            "broker_epoch" | "replica_epoch" => self.of(&[-1, 0]),
            "controller_id" => 1,
            "controller_epoch" | "coordinator_epoch" => self.of(&[0, -1]),
            "generation_id" => match self.below(6) {
                0..4 => self.learned(&self.known.generations.clone()).unwrap_or(1).into(),
                4 => -1,
                _ => self.of(&[0, 7]),
            },
            "producer_id" | "v3_and_below_producer_id" | "producer_id_filters" => match self.below(8) {
                0..6 => self.learned(&self.known.producers.clone()).map_or(-1, |producer| producer.0),
                6 => -1,
                _ => 1_000_000_007,
            },
            "producer_epoch" | "v3_and_below_producer_epoch" => match self.below(8) {
                0..6 => self.learned(&self.known.producers.clone()).map_or(-1, |producer| producer.1.into()),
                6 => -1,
                _ => self.of(&[0, 1, 32767]),
            },
            "session_id" => match self.below(4) {
                0..2 => 0,
                2 => self.learned(&self.known.fetch_sessions.clone()).unwrap_or(0).into(),
                _ => 12_345,
            },
            "session_epoch" => self.of(&[-1, 0, 1, 2, -1]),
            "replica_id" => -1,
            "acks" => self.of(&[1, -1, -1, 1, 0, 2]),
            "min_bytes" => self.of(&[0, 1, 1, 100_000]),
            "max_bytes" | "partition_max_bytes" => self.of(&[1_048_576, 1_048_576, 100, 0, 1]),
            "fetch_offset" | "offset" => self.of(&[0, 0, 1, 2, 3, 5, -1, 1000]),
            "committed_offset" => match self.of(&[0, 1, 42, -1, i64::MAX]) {
                // In ZooKeeper that is an offset; in a group it is none.
                -1 if self.version == 0 => 42,
                offset => offset,
            },
            "log_start_offset" => -1,
            "current_leader_epoch" => self.of(&[-1, -1, 0, 1, 7]),
            "last_fetched_epoch" => self.of(&[-1, -1, 0, 1]),
            "leader_epoch" => self.of(&[0, 0, 1, -1]),
            "committed_leader_epoch" => self.of(&[-1, 0, 1]),
            "timestamp" => self.of(&[-1, -2, -3, -4, 0, records::TIME, records::TIME + 1, i64::MAX]),
            "max_num_offsets" => self.of(&[1, 2, 10, 0]),
            "isolation_level" => self.of(&[0, 1, 1, 2]),
            "key_type" => self.of(&[0, 0, 1, 2]),
            "resource_type" => self.of(&[2, 2, 2, 4, 8, 0, 3]),
            "config_operation" => self.of(&[0, 0, 1, 2, 3, 9]),
            "election_type" => self.of(&[0, 1, 2]),
            "retention_time_ms" | "commit_timestamp" => self.of(&[-1, 3_600_000]),
            "max_version_level" => self.of(&[0, 1, 3]),
            "upgrade_type" => self.of(&[1, 2, 3, 0]),
            _ => self.edge(bits),
        }
    }

    fn float(&mut self) -> f64 {
        if let Some(drawn) = self.wide_float() {
            return drawn;
        }
        self.of(&[1e6, 1e9, 0.0, 1.0, 1000.5, -1.0, f64::MAX])
    }

    fn text(&mut self) -> Str {
        if let Some(drawn) = self.wide_text().or_else(|| self.guarded_text()) {
            return drawn;
        }
        match self.field() {
            "group_id" | "groups" | "groups_names" => self.group(),
            "key" | "coordinator_keys" => {
                if self.one_in(3) {
                    self.transaction()
                } else {
                    self.group()
                }
            }
            "transactional_id" | "v3_and_below_transactional_id" | "transactional_ids" => self.transaction(),
            "member_id" => self.member(),
            "group_instance_id" => {
                let number = self.below(2);
                format!("{}i{number}", self.prefix).into()
            }
            "protocol_type" => {
                self.of(&["consumer", "consumer", "consumer", "consumer", "connect", ""]).into()
            }
            "name" if self.within("protocols") => self.of(&["range", "range", "range", "sticky", ""]).into(),
            "protocol_name" => self.of(&["range", "range", "sticky", ""]).into(),
            "name" if self.within("configs") => self.config_name(),
            "configuration_keys" => self.config_name(),
            "value" => self.config_value(),
            "resource_name" => match self.below(5) {
                0 => self.of(&["1", "2", "", "x"]).into(),
                _ => self.topic(),
            },
            "states_filter" => {
                self.of(&["Stable", "Empty", "empty", "Dead", "Nonsense", "PreparingRebalance"]).into()
            }
            "state_filters" => self.of(&["Ongoing", "Empty", "CompleteCommit", "Nonsense"]).into(),
            "committed_metadata" => self.of(&["", "note", "note"]).into(),
            "reason" => "because".into(),
            "rack_id" => "".into(),
            "client_software_name" => self.of(&["differ", "", "bad name", "-x"]).into(),
            "client_software_version" => self.of(&["1.0", "", "a b"]).into(),
            "feature" => self.of(&["metadata.version", "x", ""]).into(),
            "name" | "topic" | "topic_name" | "topic_names" => self.topic(),
            _ => self.odd_text(),
        }
    }

    fn bytes(&mut self) -> Bytes {
        if let Some(drawn) = self.wide_bytes().or_else(|| self.guarded_bytes()) {
            return drawn;
        }
        match self.field() {
            "records" => records::draw(&mut self.rng, self.version, &self.known.producers),
            "metadata" => self.subscription(),
            "assignment" => self.assignment(),
            _ => Bytes::from_static(b"bytes"),
        }
    }

    fn id(&mut self) -> Uuid {
        let name = match self.below(6) {
            0..3 => "a",
            3..5 => "b",
            // Java stumbles over a zero one in a fetch.
            _ => return Uuid([if self.is(&[ApiKey::Metadata, ApiKey::Fetch]) { 9 } else { 0 }; 16]),
        };
        let name = format!("{}{name}", self.prefix);
        self.known.topic_ids.get(name.as_str()).copied().unwrap_or_default()
    }
}
