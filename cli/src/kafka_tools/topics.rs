//! `kafka-topics`: lists, describes, creates, alters and deletes topics.

use super::topics_described::Describer;
use super::topics_options::{self, TABLE};
use super::{
    Stop, admin_options, end, help_or_version, json, matches, run, topic_pattern, topics_zookeeper, trace_of,
};
use crate::Call;
use base::Given;
use broker::config::{TOPIC_KEYS, find};
use client::{Admin, ClientError};
use std::collections::BTreeMap;
use std::process::ExitCode;
use wire::Str;
use wire::kafka::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::kafka::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreateableTopicConfig};
use wire::kafka::{ErrorCode, Uuid};

const LOGGER: &str = "kafka.admin.TopicCommand$";
pub const COLLISION_WARNING: &str = "WARNING: Due to limitations in metric names, topics with a period ('.') or \
                                     underscore ('_') could collide. To avoid issues it is best to use either, but \
                                     not both.";

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// Java's exception with the message, and what caused it.
    pub trace: String,
}

impl Failure {
    /// By the exception's full name.
    pub fn new(exception: &str, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { trace: format!("{exception}: {message}"), message }
    }

    pub fn illegal(message: impl Into<String>) -> Failure {
        Failure::new("java.lang.IllegalArgumentException", message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::new(&error.exception(), error.to_string())
    }
}

impl From<base::OptionError> for Failure {
    fn from(error: base::OptionError) -> Failure {
        Failure { message: error.to_string(), trace: trace_of(&error) }
    }
}

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, topics(call))
}

fn topics(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    if call.args.is_empty() {
        return Err(Stop::Usage("Create, delete, describe, or change a topic.".to_owned()));
    }
    help_or_version(call, &given, "This tool helps to create, delete, describe, or change a topic.")?;
    topics_options::check(&given)?;
    let outcome = match given.text("zookeeper")? {
        Some(zookeeper) if !given.has("bootstrap-server") => {
            run(topics_zookeeper::run(call, &given, zookeeper))?
        }
        _ => {
            let options = admin_options(&given, "command-config")?;
            run(execute(&Admin::new(options), &given))?
        }
    };
    outcome.map_err(|Failure { message, trace }| {
        println!("Error while executing topic command : {message}");
        tracing::error!(target: LOGGER, "{trace}\n");
        Stop::Exit(1)
    })
}

async fn execute(admin: &Admin, given: &Given) -> Result<(), Failure> {
    if given.has("create") {
        create(admin, given).await
    } else if given.has("alter") {
        alter(admin, given).await
    } else if given.has("list") {
        let names = names(admin, given).await?;
        match given.has("json") {
            true => json::print(&serde_json::json!({ "topics": names })),
            false => println!("{}", names.join("\n")),
        }
        Ok(())
    } else if given.has("describe") {
        describe(admin, given).await
    } else {
        delete(admin, given).await
    }
}

/// The topics that `--topic` means, or all, in order.
async fn names(admin: &Admin, given: &Given) -> Result<Vec<String>, Failure> {
    let metadata = admin.metadata(None).await?;
    let internal = given.has("exclude-internal");
    let all = metadata.topics.iter().filter(|(_, topic)| !(internal && topic.is_internal));
    filter(all.map(|(name, _)| name.to_string()), given)
}

pub fn filter(names: impl Iterator<Item = String>, given: &Given) -> Result<Vec<String>, Failure> {
    let pattern = given
        .text("topic")?
        .map(topic_pattern)
        .transpose()
        .map_err(|message| Failure::new("java.lang.RuntimeException", message))?;
    Ok(names.filter(|name| pattern.as_ref().is_none_or(|pattern| matches(pattern, name))).collect())
}

/// Fails if `--topic` means no topic, unless that is allowed.
pub fn ensure_found(found: &[String], given: &Given) -> Result<(), Failure> {
    match given.text("topic")? {
        Some(topic) if found.is_empty() && !given.has("if-exists") => {
            Err(Failure::illegal(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(()),
    }
}

/// What `--create` asks for; `None`: the broker's default.
pub struct Wanted {
    pub name: String,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub assignment: Option<Vec<Vec<i32>>>,
    pub configs: BTreeMap<String, String>,
}

impl Wanted {
    /// Reads and checks the options.
    pub fn read(given: &Given) -> Result<Wanted, Failure> {
        let partitions = given.number("partitions")?;
        let replication_factor = given.number("replication-factor")?;
        let name = given.text("topic")?.unwrap_or_default().to_owned();
        let assignment = given.text("replica-assignment")?.filter(|text| !text.is_empty());
        let assignment = assignment.map(parse_assignment).transpose()?;
        let configs = parse_configs(given.texts("config"))?;
        if name.contains(['.', '_']) {
            println!("{COLLISION_WARNING}");
        }
        if replication_factor.is_some_and(|factor| !(1..=i64::from(i16::MAX)).contains(&factor)) {
            return Err(Failure::illegal("The replication factor must be between 1 and 32767 inclusive"));
        }
        if partitions.is_some_and(|partitions| partitions < 1) {
            return Err(Failure::illegal("The partitions must be greater than 0"));
        }
        Ok(Wanted {
            name,
            partitions: partitions.map(|partitions| partitions as i32),
            replication_factor: replication_factor.map(|factor| factor as i16),
            assignment,
            configs,
        })
    }
}

/// `1:2,2:3`: the replicas of each partition.
pub fn parse_assignment(text: &str) -> Result<Vec<Vec<i32>>, Failure> {
    let mut assignment: Vec<Vec<i32>> = Vec::new();
    // Java's split leaves out what is empty at the end.
    for (partition, list) in text.trim_end_matches(',').split(',').enumerate() {
        let mut replicas: Vec<i32> = Vec::new();
        for id in list.trim_end_matches(':').split(':') {
            let id = id.trim();
            let not_a_number = format!("For input string: \"{id}\"");
            let id = id.parse().map_err(|_| Failure::new("java.lang.NumberFormatException", not_a_number))?;
            if replicas.contains(&id) {
                let why = format!("Partition replica lists may not contain duplicate entries: {id}");
                return Err(Failure::new("kafka.common.AdminCommandFailedException", why));
            }
            replicas.push(id);
        }
        if assignment.first().is_some_and(|first| first.len() != replicas.len()) {
            let why = format!("Partition {partition} has different replication factor: {list}");
            return Err(Failure::new("kafka.admin.AdminOperationException", why));
        }
        assignment.push(replicas);
    }
    Ok(assignment)
}

/// `name=value` each, checked against the table of topic configurations.
fn parse_configs(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut configs = BTreeMap::new();
    for pair in pairs {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && !value.contains('=') => (name.trim(), value.trim()),
            _ => {
                let why = "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".";
                return Err(Failure::illegal(why));
            }
        };
        configs.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in &configs {
        let unknown = || {
            let exception = "org.apache.kafka.common.errors.InvalidConfigurationException";
            Failure::new(exception, format!("Unknown topic config name: {name}"))
        };
        let key = find(TOPIC_KEYS, name).ok_or_else(unknown)?;
        key.check(value)
            .map_err(|message| Failure::new("org.apache.kafka.common.config.ConfigException", message))?;
    }
    Ok(configs)
}

async fn create(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let wanted = Wanted::read(given)?;
    if wanted.name.is_empty() {
        let why = "The given topic name '' cannot be represented in a request.";
        return Err(Failure::new("org.apache.kafka.common.errors.InvalidTopicException", why));
    }
    let assignments: Vec<CreatableReplicaAssignment> = (0..)
        .zip(wanted.assignment.into_iter().flatten())
        .map(|(partition_index, broker_ids)| CreatableReplicaAssignment { partition_index, broker_ids })
        .collect();
    let configs = wanted.configs.into_iter();
    let topic = CreatableTopic {
        name: wanted.name.as_str().into(),
        num_partitions: wanted.partitions.unwrap_or(-1),
        replication_factor: wanted.replication_factor.unwrap_or(-1),
        assignments,
        configs: configs
            .map(|(name, value)| CreateableTopicConfig { name: name.into(), value: Some(value.into()) })
            .collect(),
    };
    for (name, created) in admin.create_topics(vec![topic], false).await? {
        match created {
            Ok(_) => println!("Created topic {name}."),
            Err(error)
                if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) && given.has("if-not-exists") => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn alter(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let assignment = given.text("replica-assignment")?.map(parse_assignment).transpose()?;
    let count = given.number("partitions")?.unwrap_or_default() as i32;
    let names = names(admin, given).await?;
    ensure_found(&names, given)?;
    let metadata = admin.cluster().metadata();
    let topics = names.into_iter().map(|name| {
        let existing = metadata.topics.get(name.as_str()).map_or(0, |topic| topic.partitions.len());
        let added = assignment.as_ref().map(|all| all.iter().skip(existing).cloned());
        CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: added
                .map(|added| added.map(|broker_ids| CreatePartitionsAssignment { broker_ids }).collect()),
        }
    });
    let topics: Vec<CreatePartitionsTopic> = topics.collect();
    if topics.is_empty() {
        return Ok(());
    }
    all_good(admin.create_partitions(topics).await?)
}

async fn delete(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let names = names(admin, given).await?;
    ensure_found(&names, given)?;
    let names: Vec<Str> = names.into_iter().map(Str::from).collect();
    if names.is_empty() {
        return Ok(());
    }
    all_good(admin.delete_topics(&names).await?)
}

fn all_good(results: client::admin::Results<Str, ()>) -> Result<(), Failure> {
    results.into_values().collect::<Result<(), ClientError>>().map_err(Failure::from)
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let id = given
        .text("topic-id")?
        .map(parse_id)
        .transpose()
        .map_err(Failure::illegal)?
        .filter(|id| !id.is_zero());
    let names = match id {
        None => {
            let names = names(admin, given).await?;
            ensure_found(&names, given)?;
            names
        }
        Some(id) => {
            let metadata = admin.metadata(None).await?;
            let named =
                metadata.topics.iter().filter(|(_, topic)| topic.id == id).map(|(name, _)| name.to_string());
            let names: Vec<String> = named.collect();
            if names.is_empty() && !given.has("if-exists") {
                return Err(Failure::illegal(format!("TopicId '{id}' does not exist as expected")));
            }
            names
        }
    };
    if names.is_empty() {
        if given.has("json") {
            json::print(&serde_json::json!({ "topics": [] }));
        }
        return Ok(());
    }
    let names: Vec<Str> = names.into_iter().map(Str::from).collect();
    let described = Describer::ask(admin, given, &names).await?;
    match given.has("json") {
        true => json::print(&described.document(&names)),
        false => described.print(&names),
    }
    Ok(())
}

/// An id, or why Java's decoder refuses it.
fn parse_id(text: &str) -> Result<Uuid, String> {
    let digit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.chars().count() > 24 {
        let start: String = text.chars().take(24).collect();
        return Err(format!("Input string with prefix `{start}` is too long to be decoded as a base64 UUID"));
    }
    if let Some(strange) = text.trim_end_matches('=').chars().find(|c| !digit(*c)) {
        return Err(format!("Illegal base64 character {:x}", strange as u32));
    }
    let digits = text.trim_end_matches('=').len();
    match (text.parse(), digits % 4) {
        (Ok(id), _) => Ok(id),
        (_, 1) => Err("Last unit does not have enough valid bits".to_owned()),
        _ => Err(format!(
            "Input string `{text}` decoded as {} bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID",
            digits * 3 / 4
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_has_equal_lists_without_duplicates() {
        assert_eq!(parse_assignment("1:2, 2:3").unwrap(), [[1, 2], [2, 3]]);
        let message = |text| parse_assignment(text).unwrap_err().message;
        assert_eq!(message("1:1"), "Partition replica lists may not contain duplicate entries: 1");
        assert!(message("1:2,3").starts_with("Partition 1 has different replication factor: "));
        assert_eq!(message("x"), "For input string: \"x\"");
        assert_eq!(parse_assignment("1:2:,2:3,").unwrap(), [[1, 2], [2, 3]]);
    }

    #[test]
    fn an_id_that_is_none_is_refused_as_java_refuses_it() {
        assert!(parse_id("AAAAAAAAAAAAAAAAAAAAAQ").is_ok());
        assert_eq!(parse_id("wrong").unwrap_err(), "Last unit does not have enough valid bits");
        assert_eq!(parse_id("a!").unwrap_err(), "Illegal base64 character 21");
        assert!(parse_id("abcd").unwrap_err().contains("decoded as 3 bytes"));
    }

    #[test]
    fn configurations_are_checked_before_a_broker_is_asked() {
        let message = |pair: &str| parse_configs(&[pair.to_owned()]).unwrap_err().message;
        assert_eq!(message("foo=bar"), "Unknown topic config name: foo");
        assert_eq!(
            message("retention.ms=abc"),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
        assert!(message("x").contains("must be in the format \"key=val\"."));
    }
}
