//! `kafka-get-offsets`: first, last or timestamped offsets of partitions.

use super::{
    Stop, bootstrap_with_ports, end, json, log_to_stderr, matches, properties_of, run, throwable,
    topic_pattern,
};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use client::{Admin, ClientError, ClientKind, ClientOptions, TopicPartition};
use fancy_regex::Regex;
use std::collections::BTreeMap;
use std::process::ExitCode;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text("bootstrap-server", "HOST1:PORT1,...,HOST3:PORT3", "REQUIRED: the brokers to ask.").unless("broker-list"),
    ToolOption::text("broker-list", "HOST1:PORT1,...,HOST3:PORT3", "DEPRECATED: bootstrap-server by its old name."),
    ToolOption::text("command-config", "config file", "File with settings for the admin client."),
    ToolOption::flag("exclude-internal-topics", "Leaves internal topics out."),
    json::OPTION,
    ToolOption::text("partitions", "partition ids", "Only these partitions; not with --topic-partitions."),
    ToolOption::text(
        "time",
        "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp",
        "Of the first record from this moment on (ms), or one of the places; nothing is shown where there is none.",
    )
    .or("latest"),
    ToolOption::text("topic", "topic", "Topics whose whole name matches; not with --topic-partitions."),
    ToolOption::text(
        "topic-partitions",
        "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
        "Topics (a regular expression each) and their partitions: one, from-before, from- or -before.",
    ),
]);

pub fn main(call: &Call) -> ExitCode {
    let result = match offsets(call) {
        Err(Stop::Uncaught(_, message)) => {
            println!("Error occurred: {message}");
            Err(Stop::Exit(1))
        }
        other => other,
    };
    end(&TABLE, result)
}

fn illegal(why: impl Into<String>) -> Stop {
    Stop::Uncaught("java.lang.IllegalArgumentException", why.into())
}

fn offsets(call: &Call) -> Result<(), Stop> {
    if call.args.is_empty() {
        return Err(Stop::Usage("An interactive shell for getting topic-partition offsets.".to_owned()));
    }
    let given = TABLE.parse(&call.args).map_err(|error| illegal(error.to_string()))?;
    // The real tool knows neither.
    if let Some(option) = ["help", "version"].iter().find(|option| given.has(option)) {
        return Err(illegal(format!("{option} is not a recognized option")));
    }
    let bootstrap = bootstrap_with_ports(&given)?;
    if given.has("topic-partitions") && (given.has("topic") || given.has("partitions")) {
        return Err(illegal("--topic-partitions cannot be used with --topic or --partitions"));
    }
    let timestamp = parse_time(given.text("time")?.unwrap_or_default())?;
    let filter = Filter::read(&given)?;
    log_to_stderr();
    let properties = properties_of(given.text("command-config")?)?;
    let not_made = |_: ClientError| illegal("Failed to create new KafkaAdminClient");
    let options = ClientOptions::new(ClientKind::Admin, bootstrap, "GetOffsetShell")
        .and_then(ClientOptions::resolve)
        .map_err(not_made)?;
    let options = options.with(&properties).map_err(|error| illegal(error.to_string()))?;
    let shown = async move {
        let found =
            offsets_of(&Admin::new(options), filter, timestamp, given.has("exclude-internal-topics")).await?;
        show(&found, given.has("json"));
        Ok(())
    };
    run(shown)?
}

fn parse_time(text: &str) -> Result<i64, Stop> {
    match text {
        "latest" => Ok(-1),
        "earliest" => Ok(-2),
        "max-timestamp" => Ok(-3),
        number => number.parse().map_err(|_| {
            illegal(format!(
                "Malformed time argument {number}, please use -1 or latest / -2 or earliest / -3 or max-timestamp, or a \
                 specified long format timestamp"
            ))
        }),
    }
}

/// Which partitions are asked about.
struct Filter(Vec<(Regex, Partitions)>);

#[derive(Debug, PartialEq, Eq)]
enum Partitions {
    /// None: all.
    Set(Vec<i32>),
    Range(i32, i32),
}

impl Filter {
    fn read(given: &Given) -> Result<Filter, Stop> {
        let pattern = |text: &str| topic_pattern(text).map_err(illegal);
        if let Some(rules) = given.text("topic-partitions")? {
            let rules = rules.split(',').map(|rule| {
                let (topic, partitions) =
                    parse_rule(rule).ok_or_else(|| illegal(format!("Invalid rule specification: {rule}")))?;
                Ok((pattern(if topic.is_empty() { ".*" } else { topic })?, partitions))
            });
            return rules.collect::<Result<_, Stop>>().map(Filter);
        }
        let ids = given.text("partitions")?.unwrap_or_default();
        let parse = |id: &str| {
            id.parse().map_err(|_| {
                illegal(format!("--partitions expects a comma separated list of numeric partition ids, but received: {ids}"))
            })
        };
        let ids = ids.split(',').filter(|_| !ids.is_empty()).map(parse).collect::<Result<_, Stop>>()?;
        Ok(Filter(vec![(pattern(given.text("topic")?.unwrap_or(".*"))?, Partitions::Set(ids))]))
    }

    fn allows(&self, topic: &str, partition: i32) -> bool {
        self.0.iter().any(|(pattern, partitions)| {
            matches(pattern, topic)
                && match partitions {
                    Partitions::Set(ids) => ids.is_empty() || ids.contains(&partition),
                    Partitions::Range(from, before) => (*from..*before).contains(&partition),
                }
        })
    }
}

/// `topic`, `topic:1`, `topic:0-3`, `topic:5-`, `topic:-3`, each with or without a topic.
fn parse_rule(rule: &str) -> Option<(&str, Partitions)> {
    let (topic, partitions) = rule.split_once(':').unwrap_or((rule, ""));
    let number = |text: &str, or: i32| if text.is_empty() { Some(or) } else { text.parse().ok() };
    let partitions = match partitions.split_once('-') {
        Some((from, before)) => Partitions::Range(number(from, 0)?, number(before, i32::MAX)?),
        None if partitions.is_empty() => Partitions::Range(0, i32::MAX),
        None => Partitions::Set(vec![partitions.parse().ok()?]),
    };
    Some((topic, partitions))
}

/// Partitions without an offset there are left out.
async fn offsets_of(
    admin: &Admin,
    filter: Filter,
    timestamp: i64,
    exclude_internal: bool,
) -> Result<Vec<(TopicPartition, i64)>, Stop> {
    let failed = |error: ClientError| illegal(throwable(&error));
    let metadata = admin.metadata(None).await.map_err(failed)?;
    let topics = metadata.topics.iter().filter(|(_, topic)| !(exclude_internal && topic.is_internal));
    let partitions =
        topics.flat_map(|(name, topic)| topic.partitions.keys().map(|index| (name.clone(), *index)));
    let asked: BTreeMap<TopicPartition, i64> = partitions
        .filter(|(name, index)| filter.allows(name, *index))
        .map(|(name, index)| (TopicPartition::new(name, index), timestamp))
        .collect();
    if asked.is_empty() {
        return Err(illegal("Could not match any topic-partitions with the specified filters"));
    }
    let mut offsets = Vec::new();
    for (partition, found) in admin.list_offsets(&asked).await.map_err(failed)? {
        match found {
            Ok(found) if found.offset >= 0 => offsets.push((partition, found.offset)),
            Ok(_) => {}
            Err(error) => {
                let TopicPartition { topic, partition } = partition;
                eprintln!(
                    "Skip getting offsets for topic-partition {topic}:{partition} due to error: {error}"
                );
            }
        }
    }
    Ok(offsets)
}

fn show(found: &[(TopicPartition, i64)], as_json: bool) {
    if as_json {
        let all: Vec<serde_json::Value> = (found.iter())
            .map(|(partition, offset)| {
                let mut one = json::partition(partition);
                one["offset"] = (*offset).into();
                one
            })
            .collect();
        return json::print(&serde_json::json!({ "offsets": all }));
    }
    for (TopicPartition { topic, partition }, offset) in found {
        println!("{topic}:{partition}:{offset}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_topics_and_partitions() {
        assert_eq!(parse_rule("t:1"), Some(("t", Partitions::Set(vec![1]))));
        assert_eq!(parse_rule("t:1-3"), Some(("t", Partitions::Range(1, 3))));
        assert_eq!(parse_rule(":-3"), Some(("", Partitions::Range(0, 3))));
        assert_eq!(parse_rule("t"), Some(("t", Partitions::Range(0, i32::MAX))));
        assert_eq!(parse_rule("t:x"), None);
    }

    #[test]
    fn a_time_is_a_number_or_a_place() {
        assert_eq!(parse_time("earliest").unwrap(), -2);
        assert_eq!(parse_time("123").unwrap(), 123);
        let Err(Stop::Uncaught(_, why)) = parse_time("noon") else { panic!("accepted") };
        assert!(why.starts_with("Malformed time argument noon, "));
    }
}
