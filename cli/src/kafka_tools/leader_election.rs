//! `kafka-leader-election`: has partitions led by their preferred replica, or by any that is left.

use super::delete_records::{read_file, topic_partition};
use super::{Stop, admin_options, end, help_or_version, json, run, throwable};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use client::cluster::Target;
use client::{Admin, ClientError, TopicPartition};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;
use wire::Str;
use wire::kafka::elect_leaders::TopicPartitions;
use wire::kafka::{ElectLeadersRequest, ErrorCode};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text("admin.config", "config file", "File with settings for the admin client."),
    ToolOption::flag("all-topic-partitions", "All partitions for which there is something to do."),
    ToolOption::text("bootstrap-server", "host:port", "REQUIRED: the brokers to start with, host:port,..."),
    ToolOption::text(
        "election-type",
        "[PREFERRED,UNCLEAN]:election type",
        "REQUIRED: preferred: the first replica shall lead; unclean: some replica, for partitions without a leader, even if \
         records are lost.",
    ),
    json::OPTION,
    ToolOption::int("partition", "partition id", "The partition; with --topic."),
    ToolOption::text(
        "path-to-json-file",
        "Path to JSON file",
        "Which partitions: {\"partitions\": [{\"topic\": \"t\", \"partition\": 1}]}.",
    ),
    ToolOption::text("topic", "topic name", "The topic; with --partition."),
]);

const FAILED: &str = "kafka.common.AdminCommandFailedException";

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, elect(call))
}

fn elect(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(
        call,
        &given,
        "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are \
         preferred replicas and unclean replicas.",
    )?;
    check(&given)?;
    let (number, name) = match given.text("election-type")?.unwrap_or_default().to_ascii_lowercase().as_str()
    {
        "preferred" => (0, "PREFERRED"),
        "unclean" => (1, "UNCLEAN"),
        other => {
            let why = format!(
                "Cannot parse argument '{other}' of option election-type\nCaused by: joptsimple.ValueConversionException: \
                 Value [{other}] is not one of [[PREFERRED,UNCLEAN]]"
            );
            return Err(Stop::Uncaught("joptsimple.OptionArgumentConversionException", why));
        }
    };
    let partitions =
        match (given.text("path-to-json-file")?, given.text("topic")?, given.number("partition")?) {
            (Some(path), ..) => Some(parse(&read_file(path)?)?),
            (_, Some(topic), Some(partition)) => {
                Some(BTreeSet::from([TopicPartition::new(topic, partition as i32)]))
            }
            _ => None,
        };
    let mut options = admin_options(&given, "admin.config")?;
    options.api_timeout = Duration::from_secs(30);
    options.request_timeout = Duration::from_secs(15);
    run(ask(Admin::new(options), number, name, partitions, given.has("json")))?
}

fn check(given: &Given) -> Result<(), Stop> {
    let failed = |why: String| Err(Stop::Uncaught(FAILED, why));
    let missing: Vec<&str> =
        ["election-type", "bootstrap-server"].into_iter().filter(|option| !given.has(option)).collect();
    if !missing.is_empty() {
        return failed(format!("Missing required option(s): {}", missing.join(", ")));
    }
    let scopes = ["topic", "all-topic-partitions", "path-to-json-file"];
    if scopes.iter().filter(|option| given.has(option)).count() != 1 {
        return failed(format!(
            "One and only one of the following options is required: {}",
            scopes.join(", ")
        ));
    }
    match (given.has("topic"), given.has("partition")) {
        (true, false) => failed("Missing required option(s): partition".to_owned()),
        (false, true) => failed("Option partition is only allowed if topic is used".to_owned()),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Result<BTreeSet<TopicPartition>, Stop> {
    let refused = |why: String| Stop::Uncaught("kafka.admin.AdminOperationException", why);
    let json: Value =
        serde_json::from_str(text).map_err(|_| refused("Replica election data is empty".to_owned()))?;
    let entries = json.get("partitions").and_then(Value::as_array);
    let entries =
        entries.ok_or_else(|| refused("Replica election data is missing \"partitions\" field".to_owned()))?;
    let (mut partitions, mut twice) = (BTreeSet::new(), Vec::new());
    for entry in entries {
        let partition = topic_partition(entry)?;
        if !partitions.insert(partition.clone()) {
            twice.push(partition.to_string());
        }
    }
    match twice.is_empty() {
        true => Ok(partitions),
        false => {
            Err(refused(format!("Replica election data contains duplicate partitions: {}", twice.join(","))))
        }
    }
}

async fn ask(
    admin: Admin,
    election_type: i8,
    name: &str,
    partitions: Option<BTreeSet<TopicPartition>>,
    as_json: bool,
) -> Result<(), Stop> {
    let topic_partitions = partitions.map(|partitions| {
        let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic).or_default().push(partition.partition);
        }
        topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic, partitions }).collect()
    });
    let request = ElectLeadersRequest { election_type, topic_partitions, timeout_ms: 15_000 };
    let answered = admin.call(&Target::Controller, &request, |response| response.error_code).await;
    let response = answered.and_then(|response| {
        ClientError::check(response.error_code, &None)?;
        Ok(response)
    });
    let response = response.map_err(|error| {
        let why = match &error {
            ClientError::TimedOut(_) => "Timeout waiting for election results",
            error if error.code() == Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED) => {
                "Not authorized to perform leader election"
            }
            error => {
                let cause = throwable(error);
                return Stop::Uncaught(
                    "java.util.concurrent.ExecutionException",
                    format!("{cause}\nCaused by: {cause}"),
                );
            }
        };
        println!("{why}");
        Stop::Uncaught(FAILED, format!("{why}\nCaused by: {}", throwable(&error)))
    })?;
    let (mut elected, mut needless, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for topic in response.replica_election_results {
        for result in topic.partition_result {
            let partition = TopicPartition::new(topic.topic.clone(), result.partition_id);
            match result.error_code {
                ErrorCode::NONE => elected.push(partition),
                ErrorCode::ELECTION_NOT_NEEDED => needless.push(partition),
                code => {
                    failed.push((partition, throwable(&ClientError::broker(code, &result.error_message))))
                }
            }
        }
    }
    let join = |all: &[TopicPartition]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if as_json {
        let all = |partitions: &[TopicPartition]| partitions.iter().map(json::partition).collect::<Value>();
        let failed = failed.iter().map(|(partition, error)| {
            let mut one = json::partition(partition);
            one["error"] = error.as_str().into();
            one
        });
        json::print(&serde_json::json!({
            "election_type": name, "elected": all(&elected), "not_needed": all(&needless),
            "failed": failed.collect::<Value>(),
        }));
    }
    if !as_json && !elected.is_empty() {
        println!("Successfully completed leader election ({name}) for partitions {}", join(&elected));
    }
    if !as_json && !needless.is_empty() {
        println!("Valid replica already elected for partitions {}", join(&needless));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let mut why = format!("{} replica(s) could not be elected", failed.len());
    for (partition, error) in failed {
        if !as_json {
            println!("Error completing leader election ({name}) for partition: {partition}: {error}");
        }
        why += &format!("\n\tSuppressed: {error}");
    }
    Err(Stop::Uncaught(FAILED, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_not_go_together_are_named() {
        let why = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(String::from).collect();
            match check(&TABLE.parse(&args).unwrap()) {
                Err(Stop::Uncaught(_, why)) => why,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(why("--topic t"), "Missing required option(s): election-type, bootstrap-server");
        let both = "--bootstrap-server b --election-type preferred";
        assert!(why(both).starts_with("One and only one of the following options is required: topic, "));
        assert_eq!(why(&format!("{both} --topic t")), "Missing required option(s): partition");
        assert_eq!(why(&format!("{both} --topic t --partition 0")), "Ok(())");
    }

    #[test]
    fn a_file_names_partitions_once() {
        let text = r#"{"partitions":[{"topic":"t","partition":1},{"topic":"t","partition":1}]}"#;
        let Err(Stop::Uncaught(_, why)) = parse(text) else { panic!("accepted") };
        assert_eq!(why, "Replica election data contains duplicate partitions: t-1");
    }
}
