//! A topic's effective settings: its own overrides over the broker's (dynamic, static, default).

use std::collections::BTreeMap;

use broker_core::throttle::ThrottledReplicas;

use super::{BrokerConfig, Key, TOPIC_KEYS, find, split_list};
use crate::log::LogConfig;

/// The dynamic layers over the static file, as `/config/brokers/…` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// `/config/brokers/<id>`
    pub broker: BTreeMap<String, String>,
    /// `/config/brokers/<default>`
    pub default: BTreeMap<String, String>,
}

/// Where a value comes from, by the numbers of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic = 1,
    Broker = 2,
    DefaultBroker = 3,
    Static = 4,
    Default = 5,
}

/// Broker keys that stand for a topic key when its first server key is not given: (topic key, (broker key, factor to
/// the topic key's unit)…).
const LATER_SYNONYMS: &[(&str, &[(&str, i64)])] = &[
    ("segment.ms", &[("log.roll.hours", 3_600_000)]),
    ("segment.jitter.ms", &[("log.roll.jitter.hours", 3_600_000)]),
    ("flush.ms", &[("log.flush.scheduler.interval.ms", 1)]),
    ("retention.ms", &[("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
];

/// The broker keys behind a topic key, nearest first, with the factor to its unit.
pub fn synonyms(key: &Key) -> Vec<(&'static str, i64)> {
    if key.server_key.is_empty() {
        return Vec::new();
    }
    let later = LATER_SYNONYMS.iter().find(|(name, _)| *name == key.name).map_or(&[][..], |(_, all)| all);
    std::iter::once((key.server_key, 1)).chain(later.iter().copied()).collect()
}

/// What a topic obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub log: LogConfig,
    /// `max.message.bytes`
    pub message_bytes_max: i32,
    /// `min.insync.replicas`
    pub insync_min: i32,
    /// `compression.type`
    pub compression: String,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.difference.max.ms`
    pub timestamp_difference_max: i64,
    /// `unclean.leader.election.enable`
    pub unclean_election: bool,
    /// `message.downconversion.enable`
    pub down_conversion: bool,
    /// `leader.replication.throttled.replicas`
    pub leader_throttled: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`
    pub follower_throttled: ThrottledReplicas,
}

impl TopicConfig {
    /// Resolves a topic's settings. Overrides that do not parse (written past the broker) count as absent.
    pub fn resolve(
        broker: &BrokerConfig,
        dynamic: &Dynamic,
        overrides: &BTreeMap<String, String>,
    ) -> TopicConfig {
        let value = |name: &str| effective(name, broker, dynamic, Some(overrides)).0.unwrap_or_default();
        let number = |name: &str| value(name).parse::<i64>().unwrap_or_default();
        let flag = |name: &str| value(name).eq_ignore_ascii_case("true");
        let policy = value("cleanup.policy");
        let has = |word: &str| split_list(&policy).any(|item| item == word);
        TopicConfig {
            log: LogConfig {
                segment_bytes: number("segment.bytes") as u32,
                segment_ms: number("segment.ms"),
                segment_jitter_ms: number("segment.jitter.ms"),
                segment_index_bytes: number("segment.index.bytes") as u32,
                index_interval_bytes: number("index.interval.bytes") as u32,
                retention_ms: number("retention.ms"),
                retention_bytes: number("retention.bytes"),
                file_delete_delay_ms: number("file.delete.delay.ms"),
                delete: has("delete"),
                compact: has("compact"),
                flush_messages: number("flush.messages"),
                flush_ms: number("flush.ms"),
                delete_retention_ms: number("delete.retention.ms"),
                min_compaction_lag_ms: number("min.compaction.lag.ms"),
                max_compaction_lag_ms: number("max.compaction.lag.ms"),
                min_cleanable_ratio: value("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
                preallocate: flag("preallocate"),
                producer_id_expiration_ms: producer_id_expiration(broker, dynamic),
            },
            message_bytes_max: number("max.message.bytes") as i32,
            insync_min: number("min.insync.replicas") as i32,
            compression: value("compression.type"),
            log_append_time: value("message.timestamp.type") == "LogAppendTime",
            timestamp_difference_max: number("message.timestamp.difference.max.ms"),
            unclean_election: flag("unclean.leader.election.enable"),
            down_conversion: flag("message.downconversion.enable"),
            leader_throttled: ThrottledReplicas::parse(&value("leader.replication.throttled.replicas")),
            follower_throttled: ThrottledReplicas::parse(&value("follower.replication.throttled.replicas")),
        }
    }
}

/// A key of the broker that no topic has for itself.
fn producer_id_expiration(broker: &BrokerConfig, dynamic: &Dynamic) -> i64 {
    const KEY: &str = "producer.id.expiration.ms";
    let set =
        [&dynamic.broker, &dynamic.default].into_iter().find_map(|layer| layer.get(KEY)?.trim().parse().ok());
    set.unwrap_or_else(|| broker.int(KEY))
}

/// The value that counts for a topic key, and where it comes from. Without `overrides`: the default for topics.
/// As in Java, a layer counts as where it comes from only if it has the key by its first name: two hours by `log.roll.hours`
/// count, and are told as a default.
pub fn effective(
    name: &str,
    broker: &BrokerConfig,
    dynamic: &Dynamic,
    overrides: Option<&BTreeMap<String, String>>,
) -> (Option<String>, Source) {
    let Some(key) = find(TOPIC_KEYS, name) else { return (None, Source::Default) };
    if let Some(value) = overrides.and_then(|all| all.get(name)).filter(|value| key.check(value).is_ok()) {
        return (Some(value.trim().to_owned()), Source::Topic);
    }
    let layers = [
        (&dynamic.broker, Source::Broker),
        (&dynamic.default, Source::DefaultBroker),
        (broker.given(), Source::Static),
    ];
    let value = layers.iter().find_map(|(layer, _)| {
        let set = |(synonym, factor): (&str, i64)| Some(scaled(layer.get(synonym)?, factor));
        synonyms(key).into_iter().find_map(set)
    });
    let source = layers.into_iter().find(|(layer, _)| layer.contains_key(key.server_key));
    let source = source.map_or(Source::Default, |(_, source)| source);
    (value.or_else(|| key.default.map(str::to_owned)), source)
}

/// A number times its unit; "no limit" (-1) stays.
fn scaled(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        _ => value.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use base::Properties;

    use super::*;

    fn broker(text: &str) -> BrokerConfig {
        let text = format!("broker.id=1\nzookeeper.connect=h\n{text}");
        BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_nearest_layer_counts() {
        let broker = broker("log.retention.hours=2\nmessage.max.bytes=500\n");
        let mut overrides = BTreeMap::new();
        let mut dynamic = Dynamic::default();
        let retention = |dynamic: &Dynamic, overrides: &BTreeMap<_, _>| {
            TopicConfig::resolve(&broker, dynamic, overrides).log.retention_ms
        };
        assert_eq!(retention(&dynamic, &overrides), 7_200_000);
        dynamic.default.insert("log.retention.ms".into(), "9".into());
        assert_eq!(retention(&dynamic, &overrides), 9);
        dynamic.broker.insert("log.retention.ms".into(), "8".into());
        assert_eq!(retention(&dynamic, &overrides), 8);
        overrides.insert("retention.ms".into(), "7".into());
        assert_eq!(retention(&dynamic, &overrides), 7);
        dynamic.default.insert("producer.id.expiration.ms".into(), "6".into());
        assert_eq!(TopicConfig::resolve(&broker, &dynamic, &overrides).log.producer_id_expiration_ms, 6);
        assert_eq!(TopicConfig::resolve(&broker, &dynamic, &overrides).message_bytes_max, 500);
    }

    #[test]
    fn what_is_set_in_hours_is_told_as_a_default() {
        let mut dynamic = Dynamic::default();
        let of = |text: &str, dynamic: &Dynamic| effective("segment.ms", &broker(text), dynamic, None);
        assert_eq!(of("log.roll.hours=2\n", &dynamic), (Some("7200000".into()), Source::Default));
        assert_eq!(of("log.roll.ms=5\n", &dynamic), (Some("5".into()), Source::Static));
        dynamic.default.insert("log.roll.ms".into(), "9".into());
        assert_eq!(of("log.roll.hours=2\n", &dynamic), (Some("9".into()), Source::DefaultBroker));
    }

    #[test]
    fn minutes_come_before_hours_and_no_limit_stays() {
        let of = |text: &str| {
            TopicConfig::resolve(&broker(text), &Dynamic::default(), &BTreeMap::new()).log.retention_ms
        };
        assert_eq!(of("log.retention.hours=1\nlog.retention.minutes=1\n"), 60_000);
        assert_eq!(of("log.retention.hours=-1\n"), -1);
        assert_eq!(of(""), 604_800_000);
    }
}
