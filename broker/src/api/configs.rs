//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs for topics and brokers.

use std::collections::{BTreeMap, BTreeSet};

use wire::Str;
use wire::kafka::alter_configs::{AlterConfigsResource, AlterConfigsResourceResponse};
use wire::kafka::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::kafka::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse, ErrorCode,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, incremental_alter_configs,
};

use super::Call;
use super::dynamic_configs::{check_dynamic, check_followed, check_threads};
use crate::config::{
    BROKER_KEYS, Key, Kind, Source, TOPIC_KEYS, Update, effective, find, find_dynamic, is_fixed_at_start,
    split_list, synonyms,
};
use crate::topics;
use crate::zk::ConfigEntity;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

/// An error code and its text.
type Refusal = (ErrorCode, Option<String>);

fn refusal<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, Some(message.into())))
}

/// Checks one topic config; the error is Kafka's.
pub fn check_topic_config(name: &str, value: &str) -> Result<(), String> {
    find(TOPIC_KEYS, name)
        .map_or_else(|| Err(format!("Unknown topic config name: {name}")), |key| key.check(value))
}

/// Checks all settings of a topic: names first, then values.
pub fn check_topic_configs(config: &BTreeMap<String, String>) -> Result<(), String> {
    if let Some(unknown) = config.keys().find(|name| find(TOPIC_KEYS, name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    config.iter().try_for_each(|(name, value)| check_topic_config(name, value))
}

/// A resource of a kind that Kafka does not describe is the end of the whole request.
fn all_refused(request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let refused = |resource: DescribeConfigsResource| DescribeConfigsResult {
        error_code: ErrorCode::INVALID_REQUEST,
        error_message: Some(ErrorCode::INVALID_REQUEST.message().into()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..Default::default()
    };
    DescribeConfigsResponse {
        results: request.resources.into_iter().map(refused).collect(),
        ..Default::default()
    }
}

pub async fn describe(call: &Call<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    if !request.resources.iter().all(|one| matches!(one.resource_type, TOPIC | BROKER | BROKER_LOGGER)) {
        return all_refused(request);
    }
    let options = (request.include_synonyms, request.include_documentation);
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let described = match resource.resource_type {
            TOPIC => describe_topic(call, &resource.resource_name, options).await,
            BROKER => describe_broker(call, &resource.resource_name, options),
            BROKER_LOGGER => logger(call, &resource.resource_name).and_then(|()| {
                refusal(ErrorCode::INVALID_REQUEST, "Broker loggers are not supported by this broker.")
            }),
            other => refusal(ErrorCode::INVALID_REQUEST, format!("Unsupported resource type: {other}")),
        };
        results.push(result(resource, described));
    }
    DescribeConfigsResponse { results, ..Default::default() }
}

fn result(
    resource: &DescribeConfigsResource,
    described: Result<Vec<DescribeConfigsResourceResult>, Refusal>,
) -> DescribeConfigsResult {
    let mut result = DescribeConfigsResult {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        ..Default::default()
    };
    match described {
        Ok(mut configs) => {
            if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
                configs.retain(|config| keys.contains(&config.name));
            }
            result.configs = configs;
            result.error_message = Some(Str::new());
        }
        Err((code, message)) => {
            result.error_code = code;
            result.error_message = Some(message.unwrap_or_default().into());
        }
    }
    result
}

type Options = (bool, bool);

/// As ZooKeeper has them: a broker without a replica of the topic has not read its settings.
async fn describe_topic(
    call: &Call<'_>,
    name: &str,
    options: Options,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    topics::check_name(name).or_else(|problem| refusal(ErrorCode::INVALID_TOPIC_EXCEPTION, problem))?;
    if !call.broker.metadata.snapshot().topics.contains_key(name) {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None));
    }
    let overrides =
        call.broker.zk().config(&ConfigEntity::Topic(name.to_owned())).await.map_err(zookeeper)?;
    let dynamic = call.broker.dynamic.load();
    let entry = |key: &'static Key| {
        let (value, _) = effective(key.name, &call.broker.config, &dynamic, Some(&overrides));
        let mut all =
            layers(call, key.server_key, &synonyms(key).iter().map(|(name, _)| *name).collect::<Vec<_>>());
        if overrides.contains_key(key.name) {
            all.insert(0, synonym(key.name, value.clone(), Source::Topic));
        }
        described(key, value, all, false, options)
    };
    Ok(TOPIC_KEYS.iter().filter(|key| !key.internal).map(entry).collect())
}

fn describe_broker(
    call: &Call<'_>,
    name: &str,
    options: Options,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let dynamic = call.broker.dynamic.load();
    if name.is_empty() {
        let entry = |(name, value): (&String, &String)| {
            let all = vec![synonym(name, Some(value.clone()), Source::DefaultBroker)];
            match find_dynamic(name) {
                Some(key) => described(key, Some(value.clone()), all, false, options),
                None => unknown(name, Source::DefaultBroker),
            }
        };
        return Ok(dynamic.default.iter().map(entry).collect());
    }
    own_id(call, name, "or empty string, ")?;
    let value_of = |key: &Key| {
        let layers = [&dynamic.broker, &dynamic.default, call.broker.config.given()];
        let given = layers.iter().find_map(|layer| layer.get(key.name)).map(String::as_str);
        given.or(key.default).map(str::to_owned)
    };
    let entry = |key: &'static Key| {
        let names = broker_synonyms(key.name);
        let read_only = key.update == Update::ReadOnly || is_fixed_at_start(key.name);
        described(key, value_of(key), layers(call, key.name, &names), read_only, options)
    };
    let is_told = |key: &&'static Key| !key.internal || call.broker.config.is_given(key.name);
    let mut entries: Vec<_> = BROKER_KEYS.iter().filter(is_told).map(entry).collect();
    let strangers = call.broker.config.unknown.iter().map(|name| unknown(name, Source::Static));
    entries.extend(strangers);
    entries.extend(dynamic.broker.keys().filter(|name| find(BROKER_KEYS, name).is_none()).map(|name| {
        match find_dynamic(name) {
            Some(key) => described(key, value_of(key), layers(call, key.name, &[key.name]), false, options),
            None => unknown(name, Source::Broker),
        }
    }));
    Ok(entries)
}

/// A key that nobody knows might be a secret.
fn unknown(name: &str, source: Source) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.into(),
        config_source: source as i8,
        is_sensitive: true,
        ..Default::default()
    }
}

fn synonym(name: &str, value: Option<String>, source: Source) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.into(), value: value.map(Str::from), source: source as i8 }
}

/// Names under which a broker key may be given, itself first.
fn broker_synonyms(name: &'static str) -> Vec<&'static str> {
    match name {
        "log.roll.ms" => vec![name, "log.roll.hours"],
        "log.roll.jitter.ms" => vec![name, "log.roll.jitter.hours"],
        "log.flush.interval.ms" => vec![name, "log.flush.scheduler.interval.ms"],
        "log.retention.ms" => vec![name, "log.retention.minutes", "log.retention.hours"],
        name => vec![name],
    }
}

/// All that is set under these names, nearest first; from the first entry of the primary name on, as Kafka lists it.
fn layers(call: &Call<'_>, primary: &str, names: &[&'static str]) -> Vec<DescribeConfigsSynonym> {
    let dynamic = call.broker.dynamic.load();
    let layers = [
        (&dynamic.broker, Source::Broker),
        (&dynamic.default, Source::DefaultBroker),
        (call.broker.config.given(), Source::Static),
    ];
    let mut all = Vec::new();
    for (layer, source) in layers {
        let set =
            names.iter().filter_map(|name| Some(synonym(name, Some(layer.get(*name)?.clone()), source)));
        all.extend(set);
    }
    let default = |name: &&'static str| {
        let default = find(BROKER_KEYS, name)?.default?;
        Some(synonym(name, Some(default.to_owned()), Source::Default))
    };
    all.extend(names.iter().filter_map(default));
    let first = all.iter().position(|synonym| synonym.name == primary).unwrap_or(all.len());
    all.split_off(first)
}

fn described(
    key: &Key,
    value: Option<String>,
    mut all: Vec<DescribeConfigsSynonym>,
    read_only: bool,
    (include_synonyms, include_documentation): Options,
) -> DescribeConfigsResourceResult {
    let is_sensitive = key.kind == Kind::Password;
    if is_sensitive {
        all.iter_mut().for_each(|synonym| synonym.value = None);
    }
    let config_source = all.first().map_or(Source::Default as i8, |synonym| synonym.source);
    DescribeConfigsResourceResult {
        name: key.name.into(),
        value: value.filter(|_| !is_sensitive).map(Str::from),
        read_only,
        // Java leaves it unset.
        is_default: false,
        config_source,
        is_sensitive,
        synonyms: if include_synonyms { all } else { Vec::new() },
        config_type: key.kind as i8,
        documentation: include_documentation
            .then(|| format!("See Kafka 3.5.1's documentation of {}.", key.name).into()),
    }
}

/// Whose loggers are meant: this broker's.
fn logger(call: &Call<'_>, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return refusal(ErrorCode::INVALID_REQUEST, "Broker id must not be empty");
    }
    own_id(call, name, "").map_err(|(code, message)| {
        let message = message.map(|message| {
            message.replace("Node id", "Broker id").replace(", but received", " but received")
        });
        (code, message)
    })
}

fn own_id(call: &Call<'_>, name: &str, or: &str) -> Result<(), Refusal> {
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

/// The whole set is replaced.
pub async fn alter(call: &Call<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let same = |one: &AlterConfigsResource, other: &AlterConfigsResource| {
        one.resource_type == other.resource_type && one.resource_name == other.resource_name
    };
    for resource in &request.resources {
        let entries = resource.configs.iter();
        let config =
            entries.filter_map(|entry| Some((entry.name.to_string(), entry.value.as_ref()?.to_string())));
        let config: BTreeMap<String, String> = config.collect();
        let names: Vec<&Str> = resource.configs.iter().map(|entry| &entry.name).collect();
        let nulls = resource.configs.iter().filter(|entry| entry.value.is_none());
        let nulls: Vec<&str> = nulls.map(|entry| &*entry.name).collect();
        let repeated = request.resources.iter().filter(|other| same(other, resource)).count() > 1;
        let whole = check_resource(resource.resource_type, repeated, &names, &nulls);
        let followed = match resource.resource_type {
            _ if whole.is_err() => whole,
            // The older request does not know loggers.
            BROKER_LOGGER => refusal(ErrorCode::INVALID_REQUEST, "Unknown resource type 8"),
            BROKER => {
                let dynamic = call.broker.dynamic.load();
                let old = if resource.resource_name.is_empty() { &dynamic.default } else { &dynamic.broker };
                let changed = config.iter().filter(|(name, value)| old.get(*name) != Some(*value));
                check_followed(changed.map(|(name, _)| name.as_str()))
                    .or_else(|problem| refusal(ErrorCode::INVALID_REQUEST, problem))
            }
            _ => Ok(()),
        };
        let outcome = match followed {
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
        let same = |other: &&incremental_alter_configs::AlterConfigsResource| {
            other.resource_type == resource.resource_type && other.resource_name == resource.resource_name
        };
        let repeated = request.resources.iter().filter(same).count() > 1;
        let outcome = alter_one(call, resource, repeated, request.validate_only).await;
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
    repeated: bool,
    validate_only: bool,
) -> Result<(), Refusal> {
    let names: Vec<&Str> = resource.configs.iter().map(|config| &config.name).collect();
    let nulls = resource.configs.iter();
    let nulls = nulls.filter(|config| config.config_operation != DELETE && config.value.is_none());
    let nulls: Vec<&str> = nulls.map(|config| &*config.name).collect();
    check_resource(resource.resource_type, repeated, &names, &nulls)?;
    if resource.resource_type == BROKER_LOGGER {
        own_id(call, &resource.resource_name, "")?;
        return refusal(ErrorCode::INVALID_REQUEST, "Broker loggers are not supported by this broker.");
    }
    let entity = entity(call, resource.resource_type, &resource.resource_name)?;
    if resource.resource_type == BROKER {
        let set = resource.configs.iter().filter(|config| config.config_operation != DELETE);
        check_followed(set.map(|config| &*config.name))
            .or_else(|problem| refusal(ErrorCode::INVALID_REQUEST, problem))?;
    }
    let table = if resource.resource_type == TOPIC { TOPIC_KEYS } else { BROKER_KEYS };
    let unknown = |change: &&incremental_alter_configs::AlterableConfig| {
        !(SET..=SUBTRACT).contains(&change.config_operation)
    };
    if resource.resource_type == TOPIC && resource.configs.iter().any(|change| unknown(&change)) {
        // Java stumbles over it.
        return Err((ErrorCode::UNKNOWN_SERVER_ERROR, None));
    }
    let mut config = call.broker.zk().config(&entity).await.map_err(zookeeper)?;
    for change in &resource.configs {
        apply(&mut config, table, change)?;
    }
    store(call, resource.resource_type, &resource.resource_name, config, validate_only).await
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

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
                items.retain(|known| *known != item);
                if operation == APPEND {
                    items.push(item);
                }
            }
            let joined = items.join(",");
            config.insert(name, joined);
        }
        other => return refusal(ErrorCode::INVALID_REQUEST, format!("Unknown operations type {other}")),
    }
    Ok(())
}

fn zookeeper(error: crate::zk::ZkError) -> Refusal {
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
    let cluster_wide = *entity == ConfigEntity::BrokerDefault;
    check_dynamic(&config, cluster_wide).or_else(|problem| refusal(ErrorCode::INVALID_REQUEST, problem))?;
    check_threads(&config, |key| call.broker.setting_int(key))
        .or_else(|problem| refusal(ErrorCode::INVALID_REQUEST, problem))?;
    if validate_only {
        return Ok(());
    }
    call.broker.zk().change_config(entity, &config).await.map_err(zookeeper)
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
        config.iter().try_for_each(|(key, value)| check_topic_config(key, value))
    } else {
        return store_broker(call, &entity, config, validate_only).await;
    };
    if let Err(problem) = checked {
        let problem =
            format!("Invalid config value for resource ConfigResource(type=TOPIC, name='{name}'): {problem}");
        return refusal(ErrorCode::INVALID_CONFIG, problem);
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
    fn unknown_topic_settings_are_named() {
        assert_eq!(check_topic_config("foo", "1").unwrap_err(), "Unknown topic config name: foo");
    }
}
