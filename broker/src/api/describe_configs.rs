//! DescribeConfigs for topics, brokers and loggers: values, where they come from, and what else was set for them.

use std::collections::BTreeSet;

use wire::Str;
use wire::kafka::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::kafka::{DescribeConfigsRequest, DescribeConfigsResponse, ErrorCode};

use super::configs::{BROKER, BROKER_LOGGER, Refusal, TOPIC, own_id, refusal, zookeeper};
use super::{Call, loggers};
use crate::config::{
    BROKER_KEYS, Key, Kind, Source, TOPIC_KEYS, Update, effective, find, find_dynamic, synonyms,
};
use crate::dynamic::of_listener;
use crate::topics;
use crate::zk::ConfigEntity;

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
            _ => logger(call, &resource.resource_name).map(|()| loggers::describe()),
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

/// Whether synonyms and documentation are asked for.
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
        let (mut value, _) = effective(key.name, &call.broker.config, &dynamic, Some(&overrides));
        if key.name == "message.format.version" && !overrides.contains_key(key.name) {
            // As in Java with this protocol, what the broker has for it stands in the file and does not count.
            value = key.default.map(str::to_owned);
        }
        let mut all =
            layers(call, key.server_key, &synonyms(key).iter().map(|(name, _)| *name).collect::<Vec<_>>());
        if overrides.contains_key(key.name) {
            all.insert(0, synonym(key.name, value.clone(), Source::Topic));
        }
        described(key.name, Some(key.kind), value, all, false, options)
    };
    Ok(TOPIC_KEYS.iter().filter(|key| !key.internal).map(entry).collect())
}

fn describe_broker(
    call: &Call<'_>,
    name: &str,
    options: Options,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let current = call.broker.current();
    let entry = |name: &str, value: Option<String>, of_one: bool| {
        let mut all = layers(call, name, &broker_synonyms(name));
        if !of_one {
            all.retain(|synonym| synonym.source == Source::DefaultBroker as i8);
        }
        let changes = find(BROKER_KEYS, name).is_some_and(|key| key.update != Update::ReadOnly);
        described(name, kind_of(name), value, all, !changes, options)
    };
    if name.is_empty() {
        let dynamic = call.broker.dynamic.load();
        let entry = |(name, value): (&String, &String)| entry(name, Some(value.clone()), false);
        return Ok(dynamic.default.iter().map(entry).collect());
    }
    own_id(call, name, "or empty string, ")?;
    let public = BROKER_KEYS.iter().filter(|key| !key.internal).map(|key| key.name);
    let given = current.given();
    let names: BTreeSet<&str> = public.chain(given.keys().map(String::as_str)).collect();
    let value_of = |name: &str| {
        let default = || find(BROKER_KEYS, name)?.default;
        given.get(name).map(String::as_str).or_else(default).map(str::to_owned)
    };
    Ok(names.into_iter().map(|name| entry(name, value_of(name), true)).collect())
}

/// The type of a key, or of the one that it is for a listener. `None`: nobody knows it.
fn kind_of(name: &str) -> Option<Kind> {
    let exact = find_dynamic(name);
    exact.or_else(|| broker_synonyms(name).into_iter().find_map(find_dynamic)).map(|key| key.kind)
}

fn synonym(name: &str, value: Option<String>, source: Source) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.into(), value: value.map(Str::from), source: source as i8 }
}

/// Keys that a listener has for each of its mechanisms.
const OF_MECHANISMS: &[&str] = &[
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// Names under which a broker key may be given, itself first.
fn broker_synonyms(name: &str) -> Vec<&str> {
    match name {
        "log.roll.ms" | "log.roll.hours" => vec!["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => vec!["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "log.flush.interval.ms" => vec![name, "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            vec!["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
        }
        name => match of_listener(name) {
            Some(base) => {
                let of_mechanism = OF_MECHANISMS.iter().copied().find(|key| base.ends_with(key));
                vec![name, of_mechanism.unwrap_or(base)]
            }
            None => vec![name],
        },
    }
}

/// All that is set under these names, nearest first; from the first entry of the primary name on, as Kafka lists it.
fn layers(call: &Call<'_>, primary: &str, names: &[&str]) -> Vec<DescribeConfigsSynonym> {
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
    let default = |name: &&str| {
        let default = find(BROKER_KEYS, name)?.default?;
        Some(synonym(name, Some(default.to_owned()), Source::Default))
    };
    all.extend(names.iter().filter_map(default));
    let first = all.iter().position(|synonym| synonym.name == primary).unwrap_or(all.len());
    all.split_off(first)
}

/// A setting of a type; one that nobody knows might be a secret.
fn described(
    name: &str,
    kind: Option<Kind>,
    value: Option<String>,
    mut all: Vec<DescribeConfigsSynonym>,
    read_only: bool,
    (include_synonyms, include_documentation): Options,
) -> DescribeConfigsResourceResult {
    let is_sensitive = kind.is_none_or(|kind| kind == Kind::Password);
    if is_sensitive {
        all.iter_mut().for_each(|synonym| synonym.value = None);
    }
    let config_source = all.first().map_or(Source::Default as i8, |synonym| synonym.source);
    let is_known = find_dynamic(name).is_some() || find(TOPIC_KEYS, name).is_some();
    DescribeConfigsResourceResult {
        name: name.into(),
        value: value.filter(|_| !is_sensitive).map(Str::from),
        read_only,
        // Java leaves it unset.
        is_default: false,
        config_source,
        is_sensitive,
        synonyms: if include_synonyms { all } else { Vec::new() },
        config_type: kind.map_or(0, |kind| kind as i8),
        documentation: (include_documentation && is_known)
            .then(|| format!("See Kafka 3.5.1's documentation of {name}.").into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listeners_key_is_of_the_type_of_the_one_without_its_name() {
        assert_eq!(kind_of("listener.name.out.ssl.keystore.password"), Some(Kind::Password));
        assert_eq!(kind_of("listener.name.out.plain.sasl.jaas.config"), Some(Kind::Password));
        assert_eq!(kind_of("listener.name.out.ssl.keystore.location"), Some(Kind::Text));
        assert_eq!(kind_of("listener.name.out.plain.connections.max.reauth.ms"), Some(Kind::Long));
        assert_eq!(kind_of("leader.replication.throttled.rate"), Some(Kind::Long));
        assert_eq!(kind_of("somebodys.own"), None);
        assert_eq!(broker_synonyms("listener.name.out.max.connections")[1], "max.connections");
    }
}
