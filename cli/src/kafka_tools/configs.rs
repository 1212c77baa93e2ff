//! `kafka-configs`: shows and changes configurations of topics, brokers and loggers, and quotas of users, clients and
//! addresses.

use super::config_options::{Entities, TABLE, check};
use super::{
    Stop, admin_options, config_quotas, config_scram, end, help_or_version, json, properties_of, run,
    throwable,
};
use crate::Call;
use base::Given;
use broker::topics::check_name;
use client::cluster::Target;
use client::{Admin, ClientError};
use fancy_regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use wire::Str;
use wire::kafka::alter_configs::{AlterConfigsResource, AlterableConfig};
use wire::kafka::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use wire::kafka::{AlterConfigsRequest, DescribeConfigsRequest, ErrorCode, incremental_alter_configs};

/// Why the command ended.
#[derive(Debug)]
pub enum Failure {
    /// A message and the table of options.
    Usage(String),
    /// A message alone.
    Plain(String),
    /// Java's exception and its causes.
    Failed(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::execution(&throwable(&error))
    }
}

impl From<base::OptionError> for Failure {
    fn from(error: base::OptionError) -> Failure {
        Failure::Plain(error.to_string())
    }
}

impl Failure {
    fn execution(cause: &str) -> Failure {
        Failure::Failed(format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}"))
    }

    /// A broker's error with its message as it is, empty or not.
    pub fn checked(code: ErrorCode, message: &Option<Str>) -> Result<(), Failure> {
        if code.is_ok() {
            return Ok(());
        }
        let exception = ClientError::from(code).exception();
        Err(Failure::execution(&format!("{exception}: {}", message.as_deref().unwrap_or(code.message()))))
    }
}

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, configs(call))
}

fn configs(call: &Call) -> Result<(), Stop> {
    let plain = |why: String| {
        eprintln!("{why}");
        Stop::Exit(1)
    };
    let given = TABLE.parse(&call.args).map_err(|error| plain(error.to_string()))?;
    help_or_version(
        call,
        &given,
        "This tool helps to manipulate and describe entity config for a topic, client, user, broker or ip",
    )?;
    let failed = |failure| match failure {
        Failure::Usage(why) => Stop::Usage(why),
        Failure::Plain(why) => plain(why),
        Failure::Failed(trace) => {
            eprintln!("Error while executing config command with args '{}'\n{trace}", call.args.join(" "));
            Stop::Exit(1)
        }
    };
    let entities = Entities::read(&given, &call.args).map_err(failed)?;
    check(&given, &entities).map_err(failed)?;
    if let Some(zookeeper) = given.text("zookeeper").map_err(|error| plain(error.to_string()))? {
        println!("Warning: --zookeeper is deprecated and will be removed in a future version of Kafka.");
        println!("Use --bootstrap-server instead to specify a broker to connect to.");
        return run(config_scram::by_zookeeper(&given, &entities, zookeeper))?.map_err(failed);
    }
    let options = admin_options(&given, "command-config").map_err(|stop| match stop {
        Stop::Uncaught(exception, message) => failed(Failure::Failed(format!("{exception}: {message}"))),
        stop => stop,
    })?;
    run(execute(&Admin::new(options), &given, &entities))?.map_err(failed)
}

async fn execute(admin: &Admin, given: &Given, entities: &Entities) -> Result<(), Failure> {
    let of_quotas = matches!(&*entities.types[0], "users" | "clients" | "ips");
    if given.has("describe") {
        return match of_quotas {
            true => config_quotas::describe(admin, entities, given.has("json")).await,
            false => describe(admin, given, entities).await,
        };
    }
    if entities.types.len() != entities.names.len() {
        return Err(Failure::Plain("An entity name must be specified for every entity type".to_owned()));
    }
    let added = to_add(given)?;
    let deleted = to_delete(given);
    let (kind, name) = (&*entities.types[0], &*entities.names[0]);
    match kind {
        "topics" => alter_incrementally(admin, kind, name, added, deleted, "Invalid config(s)").await?,
        "brokers" => alter_broker(admin, name, added, deleted).await?,
        "broker-loggers" => {
            alter_incrementally(admin, kind, name, added, deleted, "Invalid broker logger(s)").await?;
        }
        _ => config_quotas::alter(admin, entities, added, deleted).await?,
    }
    match name.is_empty() {
        true => println!("Completed updating default config for {kind} in the cluster."),
        false => println!("Completed updating config for {} {name}.", singular(kind)),
    }
    Ok(())
}

fn singular(kind: &str) -> &str {
    &kind[..kind.len() - 1]
}

/// `k1,k2`
pub fn to_delete(given: &Given) -> Vec<String> {
    let keys = given.texts("delete-config").iter().flat_map(|list| list.split(','));
    keys.map(|key| key.trim().to_owned()).collect()
}

/// `k1=v1,k2=[v1,v2]` and the file's settings.
pub fn to_add(given: &Given) -> Result<BTreeMap<String, String>, Failure> {
    let mut added = BTreeMap::new();
    if let Some(file) = given.text("add-config-file")? {
        let properties = properties_of(Some(file)).map_err(|stop| match stop {
            Stop::Uncaught(exception, message) => Failure::Failed(format!("{exception}: {message}")),
            _ => Failure::Plain(format!("{file} cannot be read")),
        })?;
        added.extend(properties.iter().map(|entry| (entry.key.clone(), entry.value.clone())));
    }
    if let Some(text) = given.text("add-config")? {
        added.extend(parse_pairs(text).ok_or_else(|| {
            let why = "Invalid entity config: all configs to be added must be in the format \"key=val\".";
            Failure::Plain(format!("requirement failed: {why}"))
        })?);
    }
    if let Some(version) = added.get("message.format.version") {
        println!(
            "WARNING: The configuration message.format.version={version} is specified. This configuration will be ignored \
             if the version is newer than the inter.broker.protocol.version specified in the broker or if the \
             inter.broker.protocol.version is 3.0 or newer. This configuration is deprecated and it will be removed in \
             Apache Kafka 4.0."
        );
    }
    Ok(added)
}

/// Commas and equals signs in brackets are part of a value. `None`: something is no pair.
fn parse_pairs(text: &str) -> Option<BTreeMap<String, String>> {
    // As Java's split: only outside brackets, and without what is empty at the end.
    let comma = Regex::new(r",(?=[^\]]*(?:\[|$))").expect("a valid pattern");
    let equals = Regex::new(r"\s*=\s*(?=[^\]]*(?:\[|$))").expect("a valid pattern");
    let mut parts: Vec<&str> = comma.split(text).map_while(Result::ok).collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    let mut pairs = BTreeMap::new();
    for part in parts {
        let pair: Vec<&str> = equals.split(part).map_while(Result::ok).collect();
        let [key, value] = pair[..] else { return None };
        pairs.insert(key.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned());
    }
    Some(pairs)
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
/// Names of `config_source` by its number.
const SOURCES: [&str; 7] = [
    "UNKNOWN",
    "DYNAMIC_TOPIC_CONFIG",
    "DYNAMIC_BROKER_CONFIG",
    "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "STATIC_BROKER_CONFIG",
    "DEFAULT_CONFIG",
    "DYNAMIC_BROKER_LOGGER_CONFIG",
];

fn source(number: i8) -> &'static str {
    usize::try_from(number).ok().and_then(|number| SOURCES.get(number)).unwrap_or(&SOURCES[0])
}

/// Type number of the resource, the source of what was set for it, and who is asked.
fn resource_of(kind: &str, name: &str) -> Result<(i8, Option<i8>, Target), Failure> {
    let broker = name.parse().map_or(Target::Any, Target::Broker);
    match kind {
        "topics" => {
            if !name.is_empty() {
                check_name(name).map_err(|why| {
                    Failure::Failed(format!("org.apache.kafka.common.errors.InvalidTopicException: {why}"))
                })?;
            }
            Ok((TOPIC, Some(1), Target::Any))
        }
        "brokers" if name.is_empty() => Ok((BROKER, Some(3), Target::Any)),
        "brokers" => Ok((BROKER, Some(2), broker)),
        _ => Ok((BROKER_LOGGER, None, broker)),
    }
}

async fn entries_of(
    admin: &Admin,
    kind: &str,
    name: &str,
    all: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let (resource_type, dynamic, target) = resource_of(kind, name)?;
    let resource =
        DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys: None };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: false,
    };
    let response = admin.call(&target, &request, |_| ErrorCode::NONE).await?;
    let mut entries = Vec::new();
    for result in response.results {
        Failure::checked(result.error_code, &result.error_message)?;
        entries.extend(result.configs);
    }
    if !all && let Some(dynamic) = dynamic {
        entries.retain(|entry| entry.config_source == dynamic);
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

async fn describe(admin: &Admin, given: &Given, entities: &Entities) -> Result<(), Failure> {
    let (kind, all) = (&*entities.types[0], given.has("all"));
    let names: Vec<String> = match (entities.names.first(), kind) {
        (Some(name), _) => vec![name.clone()],
        (None, "topics") => admin.metadata(None).await?.topics.keys().map(ToString::to_string).collect(),
        (None, _) => {
            let cluster = admin.describe_cluster().await?;
            let ids = cluster.brokers.iter().map(|broker| broker.broker_id.to_string());
            ids.chain([String::new()]).collect()
        }
    };
    if given.has("json") {
        let mut described = Vec::new();
        for name in names {
            let entries = entries_of(admin, kind, &name, all).await?;
            let entries: Vec<Value> = entries.iter().map(document).collect();
            let name = (!name.is_empty()).then_some(name);
            described.push(json!({ "entity_type": kind, "entity_name": name, "entries": entries }));
        }
        json::print(&json!({ "configs": described }));
        return Ok(());
    }
    for name in names {
        match (&*name, all) {
            ("", _) => println!("Default configs for {kind} in the cluster are:"),
            (_, true) => println!("All configs for {} {name} are:", singular(kind)),
            (_, false) => println!("Dynamic configs for {} {name} are:", singular(kind)),
        }
        for entry in entries_of(admin, kind, &name, all).await? {
            println!("{}", line(&entry));
        }
    }
    Ok(())
}

fn document(entry: &DescribeConfigsResourceResult) -> Value {
    let synonym = |name: &Str, value: &Option<Str>, from: i8| json!({ "name": &**name, "value": value.as_deref(), "source": source(from) });
    let synonyms: Vec<Value> =
        entry.synonyms.iter().map(|one| synonym(&one.name, &one.value, one.source)).collect();
    let mut shown = synonym(&entry.name, &entry.value, entry.config_source);
    shown["sensitive"] = json!(entry.is_sensitive);
    shown["synonyms"] = json!(synonyms);
    shown
}

fn line(entry: &DescribeConfigsResourceResult) -> String {
    let shown = |value: &Option<Str>| value.as_deref().unwrap_or("null").to_owned();
    let synonyms = entry.synonyms.iter();
    let synonyms: Vec<String> =
        synonyms.map(|one| format!("{}:{}={}", source(one.source), one.name, shown(&one.value))).collect();
    format!(
        "  {}={} sensitive={} synonyms={{{}}}",
        entry.name,
        shown(&entry.value),
        entry.is_sensitive,
        synonyms.join(", ")
    )
}

async fn alter_incrementally(
    admin: &Admin,
    kind: &str,
    name: &str,
    added: BTreeMap<String, String>,
    deleted: Vec<String>,
    complaint: &str,
) -> Result<(), Failure> {
    let old = entries_of(admin, kind, name, false).await?;
    let unknown = |key: &&String| !old.iter().any(|entry| *entry.name == ***key);
    let mut invalid: Vec<&str> = deleted.iter().filter(unknown).map(String::as_str).collect();
    if kind == "broker-loggers" {
        invalid.extend(added.keys().filter(unknown).map(String::as_str));
    }
    if !invalid.is_empty() {
        return Err(Failure::Plain(format!("{complaint}: {}", invalid.join(","))));
    }
    let (resource_type, _, target) = resource_of(kind, name)?;
    let set = added.into_iter().map(|(key, value)| (key, 0, Some(value.into())));
    let ops = set.chain(deleted.into_iter().map(|key| (key, 1, Some(Str::new()))));
    let configs = ops.map(|(key, config_operation, value)| incremental_alter_configs::AlterableConfig {
        name: key.into(),
        config_operation,
        value,
    });
    let resource = incremental_alter_configs::AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    let request =
        wire::kafka::IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = admin.call(&target, &request, |_| ErrorCode::NONE).await?;
    response.responses.iter().try_for_each(|one| Failure::checked(one.error_code, &one.error_message))
}

/// A broker's settings are replaced as a whole, as by the real tool, which knew brokers without the newer request.
async fn alter_broker(
    admin: &Admin,
    name: &str,
    added: BTreeMap<String, String>,
    deleted: Vec<String>,
) -> Result<(), Failure> {
    let old = entries_of(admin, "brokers", name, false).await?;
    let mut entries: BTreeMap<String, Option<String>> = old
        .into_iter()
        .map(|entry| (entry.name.to_string(), entry.value.map(|value| value.to_string())))
        .collect();
    let invalid: Vec<&str> =
        deleted.iter().filter(|key| !entries.contains_key(*key)).map(String::as_str).collect();
    if !invalid.is_empty() {
        return Err(Failure::Plain(format!("Invalid config(s): {}", invalid.join(","))));
    }
    entries.extend(added.into_iter().map(|(key, value)| (key, Some(value))));
    deleted.iter().for_each(|key| drop(entries.remove(key)));
    let secret: Vec<&str> =
        entries.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !secret.is_empty() {
        return Err(Failure::Plain(format!(
            "All sensitive broker config entries must be specified for --alter, missing entries: Set({})",
            secret.join(", ")
        )));
    }
    let (resource_type, _, target) = resource_of("brokers", name)?;
    let configs = entries
        .into_iter()
        .map(|(key, value)| AlterableConfig { name: key.into(), value: value.map(Str::from) })
        .collect();
    let resource = AlterConfigsResource { resource_type, resource_name: name.into(), configs };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = admin.call(&target, &request, |_| ErrorCode::NONE).await?;
    response.responses.iter().try_for_each(|one| Failure::checked(one.error_code, &one.error_message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_brackets_are_part_of_a_value() {
        let pairs = parse_pairs("a=1, cleanup.policy=[compact,delete],c=[x=y]").unwrap();
        assert_eq!(pairs["cleanup.policy"], "compact,delete");
        assert_eq!((&*pairs["a"], &*pairs["c"]), ("1", "x=y"));
        assert_eq!(parse_pairs("a=").unwrap()["a"], "");
        assert!(
            parse_pairs("a").is_none() && parse_pairs("a=b=c").is_none() && parse_pairs("a=b,c").is_none()
        );
    }
}
