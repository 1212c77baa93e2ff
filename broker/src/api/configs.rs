//! AlterConfigs, IncrementalAlterConfigs for topics, brokers and loggers.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::MetadataVersion;
use wire::Str;
use wire::kafka::alter_configs::{AlterConfigsResource, AlterConfigsResourceResponse};
use wire::kafka::{
    AlterConfigsRequest, AlterConfigsResponse, ErrorCode, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, incremental_alter_configs,
};

use super::Call;
use super::loggers;
use crate::config::{BROKER_KEYS, Key, Kind, TOPIC_KEYS, asks_for_message_sets, find, split_list};
use crate::dynamic;
use crate::zk::ConfigEntity;

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;

/// An error code and its text.
pub type Refusal = (ErrorCode, Option<String>);

pub fn refusal<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, Some(message.into())))
}

/// The settings of topics as 3.5.1 defines them, one after the other: it tells of the first one in this order whose value is wrong.
const DEFINED: [&str; 29] = [
    "segment.bytes",
    "segment.ms",
    "segment.jitter.ms",
    "segment.index.bytes",
    "flush.messages",
    "flush.ms",
    "retention.bytes",
    "retention.ms",
    "max.message.bytes",
    "index.interval.bytes",
    "delete.retention.ms",
    "min.compaction.lag.ms",
    "max.compaction.lag.ms",
    "file.delete.delay.ms",
    "min.cleanable.dirty.ratio",
    "cleanup.policy",
    "unclean.leader.election.enable",
    "min.insync.replicas",
    "compression.type",
    "preallocate",
    "message.format.version",
    "message.timestamp.type",
    "message.timestamp.difference.max.ms",
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
    "message.downconversion.enable",
    "remote.storage.enable",
    "local.retention.ms",
    "local.retention.bytes",
];

/// Checks one topic config; the error is Kafka's.
pub fn check_topic_config(name: &str, value: &str, protocol: MetadataVersion) -> Result<(), String> {
    let key = find(TOPIC_KEYS, name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    key.check(value)?;
    if name == "message.format.version" && asks_for_message_sets(protocol, value) {
        return Err(format!(
            "Invalid value {value} for configuration {name}: this broker writes record batches only; write 0.11.0 or newer"
        ));
    }
    Ok(())
}

/// Checks all settings of a topic: names first, then values.
pub fn check_topic_configs(
    config: &BTreeMap<String, String>,
    protocol: MetadataVersion,
) -> Result<(), String> {
    if let Some(unknown) = config.keys().find(|name| find(TOPIC_KEYS, name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    check_values(config, protocol)?;
    lags_conflict(config).map_or(Ok(()), Err)
}

fn check_values(config: &BTreeMap<String, String>, protocol: MetadataVersion) -> Result<(), String> {
    let given = DEFINED.into_iter().filter_map(|name| Some((name, config.get(name)?)));
    given.into_iter().try_for_each(|(name, value)| check_topic_config(name, value, protocol))
}

/// What no topic can obey: to be compacted sooner and later. As in Java, the broker's own defaults do not count.
fn lags_conflict(config: &BTreeMap<String, String>) -> Option<String> {
    let lag = |name: &str, default: i64| {
        config.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    };
    let (min, max) = (lag("min.compaction.lag.ms", 0), lag("max.compaction.lag.ms", i64::MAX));
    (min > max).then(|| {
        format!("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})")
    })
}

pub fn own_id(call: &Call<'_>, name: &str, or: &str) -> Result<(), Refusal> {
    let Ok(id) = name.parse::<i32>() else {
        return refusal(
            ErrorCode::INVALID_REQUEST,
            format!(
                "{} id must be an integer, but it is: {name}",
                if or.is_empty() { "Node" } else { "Broker" }
            ),
        );
    };
    if id == call.broker.id {
        return Ok(());
    }
    let own = call.broker.id;
    let problem = if or.is_empty() {
        format!("Unexpected broker id, expected {own}, but received {name}")
    } else {
        format!("Unexpected broker id, expected {own} {or}but received {name}")
    };
    refusal(ErrorCode::INVALID_REQUEST, problem)
}

/// What is wrong with a resource before anything of it is looked up. `names` are its settings', `nulls` those that have no
/// value and need one.
fn check_resource(
    resource_type: i8,
    is_repeated: bool,
    names: &[&Str],
    nulls: &[&str],
) -> Result<(), Refusal> {
    if is_repeated {
        return refusal(ErrorCode::INVALID_REQUEST, "Each resource must appear at most once.");
    }
    if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
        return refusal(ErrorCode::INVALID_REQUEST, "Error due to duplicate config keys");
    }
    if !nulls.is_empty() {
        let problem = format!("Null value not supported for : {}", nulls.join(", "));
        return refusal(ErrorCode::INVALID_REQUEST, problem);
    }
    if !matches!(resource_type, TOPIC | BROKER | BROKER_LOGGER) {
        return refusal(ErrorCode::INVALID_REQUEST, format!("Unknown resource type {resource_type}"));
    }
    Ok(())
}

/// Which resources are refused for what they are, before anybody asks for rights to them.
pub fn misshapen(call: &Call<'_>, request: &AlterConfigsRequest) -> Vec<bool> {
    let refused = |resource: &AlterConfigsResource| {
        check_whole(request, resource).is_err()
            || is_of_another(call, resource.resource_type, &resource.resource_name)
    };
    request.resources.iter().map(refused).collect()
}

/// As [`misshapen`].
pub fn misshapen_changes(call: &Call<'_>, request: &IncrementalAlterConfigsRequest) -> Vec<bool> {
    let refused = |resource: &incremental_alter_configs::AlterConfigsResource| {
        check_changes(request, resource).is_err()
            || is_of_another(call, resource.resource_type, &resource.resource_name)
    };
    request.resources.iter().map(refused).collect()
}

fn is_of_another(call: &Call<'_>, resource_type: i8, name: &str) -> bool {
    resource_type == BROKER && !name.is_empty() && own_id(call, name, "").is_err()
}

fn check_whole(request: &AlterConfigsRequest, resource: &AlterConfigsResource) -> Result<(), Refusal> {
    let same = |other: &&AlterConfigsResource| {
        other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
    };
    let names: Vec<&Str> = resource.configs.iter().map(|entry| &entry.name).collect();
    let nulls = resource.configs.iter().filter(|entry| entry.value.is_none());
    let nulls: Vec<&str> = nulls.map(|entry| &*entry.name).collect();
    let repeated = request.resources.iter().filter(same).count() > 1;
    check_resource(resource.resource_type, repeated, &names, &nulls)?;
    match resource.resource_type {
        // The older request does not know loggers.
        BROKER_LOGGER => refusal(ErrorCode::INVALID_REQUEST, "Unknown resource type 8"),
        _ => Ok(()),
    }
}

fn check_changes(
    request: &IncrementalAlterConfigsRequest,
    resource: &incremental_alter_configs::AlterConfigsResource,
) -> Result<(), Refusal> {
    let same = |other: &&incremental_alter_configs::AlterConfigsResource| {
        other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
    };
    let names: Vec<&Str> = resource.configs.iter().map(|config| &config.name).collect();
    let nulls = resource.configs.iter();
    let nulls = nulls.filter(|config| config.config_operation != DELETE && config.value.is_none());
    let nulls: Vec<&str> = nulls.map(|config| &*config.name).collect();
    let repeated = request.resources.iter().filter(same).count() > 1;
    check_resource(resource.resource_type, repeated, &names, &nulls)
}

/// The whole set is replaced.
pub async fn alter(call: &Call<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let entries = resource.configs.iter();
        let config =
            entries.filter_map(|entry| Some((entry.name.to_string(), entry.value.as_ref()?.to_string())));
        let config: BTreeMap<String, String> = config.collect();
        let outcome = match check_whole(&request, resource) {
            Ok(()) => {
                let name = &resource.resource_name;
                store(call, resource.resource_type, name, config, request.validate_only).await
            }
            refused => refused,
        };
        let (error_code, message) = outcome.err().unwrap_or((ErrorCode::NONE, None));
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message: message.map(Str::from),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    AlterConfigsResponse { responses, ..Default::default() }
}

/// Entries are set, deleted, appended to or subtracted from, one by one.
pub async fn alter_incrementally(
    call: &Call<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let outcome = match check_changes(&request, resource) {
            Ok(()) => alter_one(call, resource, request.validate_only).await,
            refused => refused,
        };
        let (error_code, message) = outcome.err().unwrap_or((ErrorCode::NONE, None));
        responses.push(incremental_alter_configs::AlterConfigsResourceResponse {
            error_code,
            error_message: message.map(Str::from),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

async fn alter_one(
    call: &Call<'_>,
    resource: &incremental_alter_configs::AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    if resource.resource_type == BROKER_LOGGER {
        own_id(call, &resource.resource_name, "")?;
        return loggers::alter(&resource.configs, validate_only);
    }
    let entity = entity(call, resource.resource_type, &resource.resource_name)?;
    let table = if resource.resource_type == TOPIC { TOPIC_KEYS } else { BROKER_KEYS };
    let unknown = |change: &&incremental_alter_configs::AlterableConfig| {
        !(SET..=SUBTRACT).contains(&change.config_operation)
    };
    if let Some(odd) = resource.configs.iter().find(unknown).filter(|_| resource.resource_type == BROKER) {
        return unknown_operation(odd.config_operation);
    }
    if let Some(why) = no_path(&resource.resource_name).filter(|_| resource.resource_type == TOPIC) {
        return refusal(ErrorCode::INVALID_CONFIG, why);
    }
    let node = call.broker.zk().config(&entity).await.map_err(zookeeper)?;
    let mut config = match &entity {
        ConfigEntity::Topic(_) => node,
        entity => {
            dynamic::readable(node, *entity != ConfigEntity::BrokerDefault, call.broker.passwords.as_ref())
        }
    };
    for change in &resource.configs {
        if resource.resource_type == TOPIC && unknown(&change) {
            // Java stumbles over it.
            return Err((ErrorCode::UNKNOWN_SERVER_ERROR, None));
        }
        apply(&mut config, table, change)?;
    }
    store(call, resource.resource_type, &resource.resource_name, config, validate_only).await
}

fn unknown_operation(operation: i8) -> Result<(), Refusal> {
    refusal(ErrorCode::INVALID_REQUEST, format!("Unknown operations type {operation}"))
}

/// What Java's client for ZooKeeper says of a topic that it cannot look for.
fn no_path(topic: &str) -> Option<String> {
    let path = format!("/config/topics/{topic}");
    let why =
        format!("Invalid path string \"{path}\" caused by relative paths not allowed @{}", path.len() - 1);
    matches!(topic, "." | "..").then(|| {
        format!("Invalid config value for resource ConfigResource(type=TOPIC, name='{topic}'): {why}")
    })
}

pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

fn apply(
    config: &mut BTreeMap<String, String>,
    table: &'static [Key],
    change: &incremental_alter_configs::AlterableConfig,
) -> Result<(), Refusal> {
    let name = change.name.to_string();
    let value = change.value.as_deref().unwrap_or_default();
    match change.config_operation {
        SET => {
            config.insert(name, value.to_owned());
        }
        DELETE => {
            config.remove(&name);
        }
        operation @ (APPEND | SUBTRACT) => {
            // Java stumbles over it.
            let Some(key) = find(table, &name) else { return Err((ErrorCode::UNKNOWN_SERVER_ERROR, None)) };
            if key.kind != Kind::List {
                let verb = if operation == APPEND { "append" } else { "subtract" };
                let problem = format!("Config value {verb} is not allowed for config key: {name}");
                return refusal(ErrorCode::INVALID_CONFIG, problem);
            }
            let old = config.get(&name).map(String::as_str).or(key.default).unwrap_or_default();
            let mut items: Vec<&str> = split_list(old).collect();
            for item in split_list(value) {
                match items.iter().position(|known| *known == item) {
                    Some(at) if operation == SUBTRACT => drop(items.remove(at)),
                    None if operation == APPEND => items.push(item),
                    _ => {}
                }
            }
            let joined = items.join(",");
            config.insert(name, joined);
        }
        other => return unknown_operation(other),
    }
    Ok(())
}

pub fn zookeeper(error: crate::zk::ZkError) -> Refusal {
    (ErrorCode::UNKNOWN_SERVER_ERROR, Some(error.to_string()))
}

fn entity(call: &Call<'_>, resource_type: i8, name: &str) -> Result<ConfigEntity, Refusal> {
    match resource_type {
        TOPIC if name.is_empty() => {
            refusal(ErrorCode::INVALID_REQUEST, "Default topic resources are not allowed.")
        }
        TOPIC => Ok(ConfigEntity::Topic(name.to_owned())),
        BROKER if name.is_empty() => Ok(ConfigEntity::BrokerDefault),
        BROKER => own_id(call, name, "").map(|()| ConfigEntity::Broker(call.broker.id)),
        other => refusal(
            ErrorCode::INVALID_REQUEST,
            format!("AlterConfigs is only supported for topics and brokers, but resource type is {other}"),
        ),
    }
}

/// As [`store`], of a broker or all.
async fn store_broker(
    call: &Call<'_>,
    entity: &ConfigEntity,
    config: BTreeMap<String, String>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let broker = call.broker;
    let cluster_wide = *entity == ConfigEntity::BrokerDefault;
    dynamic::check::layer(broker, &config, cluster_wide)
        .or_else(|problem| refusal(ErrorCode::INVALID_REQUEST, problem))?;
    if validate_only {
        return Ok(());
    }
    let invalid = |problem: String| {
        let name = if cluster_wide { String::new() } else { broker.id.to_string() };
        let problem = format!(
            "Invalid config value for resource ConfigResource(type=BROKER, name='{name}'): {problem}"
        );
        (ErrorCode::INVALID_CONFIG, Some(problem))
    };
    if let Some(doors) = broker.doors.get().filter(|_| !cluster_wide) {
        doors.reload(broker).await.map_err(invalid)?;
    }
    let node = dynamic::persistent(config, broker.passwords.as_ref()).map_err(invalid)?;
    broker.zk().change_config(entity, &node).await.map_err(zookeeper)
}

/// Checks a whole set and writes it with its change note.
async fn store(
    call: &Call<'_>,
    resource_type: i8,
    name: &str,
    config: BTreeMap<String, String>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let entity = entity(call, resource_type, name)?;
    let checked = if resource_type == TOPIC {
        if !call.broker.metadata.snapshot().topics.contains_key(name) {
            let problem = format!("The topic '{name}' does not exist.");
            return refusal(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, problem);
        }
        if let Some(unknown) = config.keys().find(|name| find(TOPIC_KEYS, name).is_none()) {
            return refusal(ErrorCode::INVALID_CONFIG, format!("Unknown topic config name: {unknown}"));
        }
        check_values(&config, call.broker.config.protocol)
    } else {
        return store_broker(call, &entity, config, validate_only).await;
    };
    if let Err(problem) = checked {
        let problem =
            format!("Invalid config value for resource ConfigResource(type=TOPIC, name='{name}'): {problem}");
        return refusal(ErrorCode::INVALID_CONFIG, problem);
    }
    if let Some(conflict) = lags_conflict(&config) {
        return refusal(ErrorCode::INVALID_CONFIG, conflict);
    }
    if validate_only {
        return Ok(());
    }
    call.broker.zk().change_config(&entity, &config).await.map_err(zookeeper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, operation: i8, value: &str) -> incremental_alter_configs::AlterableConfig {
        incremental_alter_configs::AlterableConfig {
            name: name.into(),
            config_operation: operation,
            value: Some(value.into()),
        }
    }

    #[test]
    fn lists_grow_and_shrink_and_other_values_do_not() {
        let mut config = BTreeMap::new();
        apply(&mut config, TOPIC_KEYS, &change("cleanup.policy", APPEND, "compact")).unwrap();
        assert_eq!(config["cleanup.policy"], "delete,compact");
        apply(&mut config, TOPIC_KEYS, &change("cleanup.policy", SUBTRACT, "delete")).unwrap();
        assert_eq!(config["cleanup.policy"], "compact");
        let (code, message) =
            apply(&mut config, TOPIC_KEYS, &change("retention.ms", APPEND, "1")).unwrap_err();
        assert_eq!(code, ErrorCode::INVALID_CONFIG);
        assert_eq!(message.unwrap(), "Config value append is not allowed for config key: retention.ms");
    }

    #[test]
    fn a_topic_cannot_be_compacted_sooner_and_later() {
        let config = |min: &str, max: &str| {
            let pairs = [("min.compaction.lag.ms", min), ("max.compaction.lag.ms", max)];
            let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
            pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(
            check_topic_configs(&config("10", "5"), MetadataVersion::LATEST).unwrap_err(),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
        for (min, max) in [("5", "5"), ("10", ""), ("", "5"), ("", "")] {
            assert_eq!(
                check_topic_configs(&config(min, max), MetadataVersion::LATEST),
                Ok(()),
                "{min} {max}"
            );
        }
    }

    #[test]
    fn of_several_wrong_values_that_of_the_setting_defined_first_is_told() {
        let mut names = DEFINED;
        names.sort_unstable();
        assert_eq!(names.to_vec(), TOPIC_KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
        let config = [("cleanup.policy", "1"), ("segment.bytes", "")];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(
            check_topic_configs(&config, MetadataVersion::LATEST).unwrap_err(),
            "Invalid value  for configuration segment.bytes: Not a number of type INT"
        );
    }

    #[test]
    fn a_topic_whose_name_is_no_path_is_refused_in_javas_words() {
        let why = "Invalid config value for resource ConfigResource(type=TOPIC, name='.'): Invalid path string \
                   \"/config/topics/.\" caused by relative paths not allowed @15";
        assert_eq!(no_path(".").unwrap(), why);
        assert!(no_path("..").unwrap().ends_with("@16"));
        assert_eq!((no_path("..."), no_path("t")), (None, None));
    }

    #[test]
    fn unknown_topic_settings_are_named() {
        assert_eq!(
            check_topic_config("foo", "1", MetadataVersion::LATEST).unwrap_err(),
            "Unknown topic config name: foo"
        );
    }
}
