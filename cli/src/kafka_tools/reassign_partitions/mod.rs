//! `kafka-reassign-partitions`: moves partitions to other brokers and log directories.
//!
//! One file per action: `generate`, `execute` (and cancel), `verify`, `balance` (an addition of ours); what they share:
//! `json` (the files), `throttles`, `dirs` (log directories).

mod balance;
mod dirs;
mod execute;
mod generate;
mod json;
mod throttles;
mod verify;

use super::topics::Failure as Exception;
use super::{Stop, admin_options, end, help_or_version, run, throwable};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use client::{Admin, ClientError, TopicPartition};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;
use wire::kafka::list_partition_reassignments::OngoingPartitionReassignment;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag(
        "additional",
        "With --execute: also while other reassignments are under way; may change their throttle.",
    ),
    ToolOption::flag(
        "balance",
        "Proposes moves that even out the bytes on the brokers, and keeps or widens the spread over racks. Nothing is \
         executed. An addition of ours.",
    ),
    ToolOption::text(
        "bootstrap-server",
        "Server(s) to use for bootstrapping",
        "REQUIRED: the brokers to start with.",
    ),
    ToolOption::text("broker-list", "brokerlist", "The brokers that are to have the partitions: 0,1,2."),
    ToolOption::flag("cancel", "Takes reassignments back that are under way."),
    ToolOption::text(
        "command-config",
        "Admin client property file",
        "File with settings for the admin client.",
    ),
    ToolOption::flag("disable-rack-aware", "Racks do not count."),
    ToolOption::flag("execute", "Starts the reassignments in --reassignment-json-file."),
    ToolOption::flag("generate", "Proposes where partitions could be. Nothing is executed."),
    ToolOption::flag(
        "json",
        "With --list, --verify, --balance: one JSON object instead of text. An addition of ours.",
    ),
    ToolOption::flag("list", "All reassignments that are under way."),
    ToolOption::flag("preserve-throttles", "Throttles stay as they are."),
    ToolOption::text(
        "reassignment-json-file",
        "manual assignment json file path",
        "What is to be where: {\"partitions\": [{\"topic\": \"t\", \"partition\": 1, \"replicas\": [1,2], \"log_dirs\": \
         [\"any\",\"/d\"]}], \"version\": 1}; log_dirs may be left out.",
    ),
    ToolOption::long(
        "replica-alter-log-dirs-throttle",
        "replicaAlterLogDirsThrottle",
        "With --execute: bytes a second at most between log directories of one broker.",
    )
    .or("-1"),
    ToolOption::long("throttle", "throttle", "With --execute: bytes a second at most between brokers.")
        .or("-1"),
    ToolOption::long("timeout", "timeout", "For so many ms log directories may be unable to take a replica.")
        .or("10000"),
    ToolOption::text(
        "topics-to-move-json-file",
        "topics to reassign json file path",
        "With --generate, or --balance: {\"topics\": [{\"topic\": \"t\"}], \"version\": 1}.",
    ),
    ToolOption::flag(
        "verify",
        "How far the reassignments in --reassignment-json-file are; ends throttles when they are done.",
    ),
]);

/// An action, what it needs, and what it may be given besides.
struct Action {
    name: &'static str,
    required: &'static [&'static str],
    permitted: &'static [&'static str],
}

const ACTIONS: &[Action] = &[
    Action {
        name: "generate",
        required: &["topics-to-move-json-file", "broker-list"],
        permitted: &["disable-rack-aware"],
    },
    Action {
        name: "execute",
        required: &["reassignment-json-file"],
        permitted: &["additional", "throttle", "replica-alter-log-dirs-throttle", "timeout"],
    },
    Action {
        name: "verify",
        required: &["reassignment-json-file"],
        permitted: &["preserve-throttles", "json"],
    },
    Action {
        name: "cancel",
        required: &["reassignment-json-file"],
        permitted: &["preserve-throttles", "timeout"],
    },
    Action { name: "list", required: &[], permitted: &["json"] },
    Action {
        name: "balance",
        required: &[],
        permitted: &["topics-to-move-json-file", "broker-list", "disable-rack-aware", "json"],
    },
];

/// Java's own actions, as it lists them.
const JAVAS: usize = 5;

/// Why an action failed.
#[derive(Debug)]
enum Failure {
    /// The message says all.
    Terse(String),
    Exception(Exception),
}

impl Failure {
    fn new(exception: &str, message: impl Into<String>) -> Failure {
        Failure::Exception(Exception::new(exception, message))
    }

    fn refused(message: impl Into<String>) -> Failure {
        Failure::new("kafka.common.AdminCommandFailedException", message)
    }

    fn operation(message: impl Into<String>) -> Failure {
        Failure::new("kafka.admin.AdminOperationException", message)
    }
}

impl From<ClientError> for Failure {
    /// As of a future that was waited for.
    fn from(error: ClientError) -> Failure {
        let cause = throwable(&error);
        let trace = format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}");
        Failure::Exception(Exception { message: cause, trace })
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop {
            Stop::Uncaught(exception, message) => Failure::new(exception, message),
            Stop::Usage(message) => Failure::Terse(message),
            Stop::Exit(code) => Failure::Terse(format!("exit {code}")),
        }
    }
}

impl From<base::OptionError> for Failure {
    fn from(error: base::OptionError) -> Failure {
        Failure::Exception(error.into())
    }
}

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, reassign(call))
}

fn reassign(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, "This tool helps to move topic partitions between replicas.")?;
    let action = check(&given)?;
    let outcome = match admin_options(&given, "command-config") {
        Ok(options) => run(act(&Admin::new(options), action, &given))?,
        Err(stop) => Err(stop.into()),
    };
    outcome.map_err(|failure| {
        match failure {
            Failure::Terse(message) => println!("{message}"),
            Failure::Exception(Exception { message, trace }) => println!("Error: {message}\n{trace}\n"),
        }
        Stop::Exit(1)
    })
}

fn check(given: &Given) -> Result<&'static Action, Stop> {
    let mut wanted = ACTIONS.iter().filter(|action| given.has(action.name));
    let (Some(action), None) = (wanted.next(), wanted.next()) else {
        let names: Vec<String> = ACTIONS[..JAVAS].iter().map(|action| format!("--{}", action.name)).collect();
        return Err(Stop::Usage(format!("Command must include exactly one action: {}", names.join(", "))));
    };
    if !given.has("bootstrap-server") {
        return Err(Stop::Usage("Please specify --bootstrap-server".to_owned()));
    }
    super::require(given, action.required)?;
    let allowed = |name: &str| {
        [action.name, "bootstrap-server", "command-config"].contains(&name)
            || action.required.contains(&name)
            || action.permitted.contains(&name)
    };
    match TABLE.0.iter().find(|option| given.has(option.name) && !allowed(option.name)) {
        Some(option) => Err(Stop::Usage(format!(
            "Option \"[{}]\" can't be used with action \"[{}]\"",
            option.name, action.name
        ))),
        None => Ok(action),
    }
}

async fn act(admin: &Admin, action: &Action, given: &Given) -> Result<(), Failure> {
    let read = |option: &str| -> Result<String, Failure> {
        let path = given.text(option)?.unwrap_or_default();
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| {
            let message = format!("Unable to read file {path}");
            let cause = match error.kind() {
                std::io::ErrorKind::NotFound => format!("java.nio.file.NoSuchFileException: {path}"),
                _ => format!("java.io.IOException: {error}"),
            };
            let trace = format!("java.io.IOException: {message}\nCaused by: {cause}");
            Failure::Exception(Exception { message, trace })
        })
    };
    let number = |option: &str| -> Result<i64, Failure> { Ok(given.number(option)?.unwrap_or(-1)) };
    let racks = !given.has("disable-rack-aware");
    match action.name {
        "verify" => {
            let text = read("reassignment-json-file")?;
            verify::verify(admin, &text, given.has("preserve-throttles"), given.has("json")).await
        }
        "generate" => {
            let text = read("topics-to-move-json-file")?;
            generate::generate(admin, &text, given.text("broker-list")?.unwrap_or_default(), racks).await
        }
        "execute" => {
            // As Java takes them: the file first.
            let text = read("reassignment-json-file")?;
            let limits = execute::Limits {
                additional: given.has("additional"),
                between_brokers: number("throttle")?,
                between_dirs: number("replica-alter-log-dirs-throttle")?,
                timeout_ms: number("timeout")?,
            };
            execute::execute(admin, &text, limits).await
        }
        "cancel" => {
            let text = read("reassignment-json-file")?;
            execute::cancel(admin, &text, given.has("preserve-throttles"), number("timeout")?).await
        }
        "balance" => {
            let topics = match given.has("topics-to-move-json-file") {
                true => Some(json::topics(&read("topics-to-move-json-file")?)?),
                false => None,
            };
            balance::propose(admin, topics, given.text("broker-list")?, racks, given.has("json")).await
        }
        _ => list(admin, given.has("json")).await,
    }
}

type Ongoing = BTreeMap<TopicPartition, OngoingPartitionReassignment>;

/// All reassignments under way.
async fn ongoing(admin: &Admin) -> Result<Ongoing, Failure> {
    let mut found = BTreeMap::new();
    for topic in admin.reassignments().await? {
        for partition in topic.partitions {
            found.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), partition);
        }
    }
    Ok(found)
}

async fn list(admin: &Admin, as_json: bool) -> Result<(), Failure> {
    let ongoing = ongoing(admin).await?;
    if as_json {
        println!("{}", json::ongoing(&ongoing));
        return Ok(());
    }
    if ongoing.is_empty() {
        println!("No partition reassignments found.");
        return Ok(());
    }
    println!("Current partition reassignments:");
    for (partition, one) in &ongoing {
        let named = |name: &str, ids: &[i32]| match ids.is_empty() {
            true => String::new(),
            false => format!(" {name}: {}.", join(ids)),
        };
        println!(
            "{partition}: replicas: {}.{}{}",
            join(&one.replicas),
            named("adding", &one.adding_replicas),
            named("removing", &one.removing_replicas)
        );
    }
    Ok(())
}

/// `1,2,3`.
fn join<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// The plural's s, unless there is one.
fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<&'static str, String> {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        match check(&TABLE.parse(&args).unwrap()) {
            Ok(action) => Ok(action.name),
            Err(Stop::Usage(message)) => Err(message),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn one_action_with_what_belongs_to_it() {
        let which =
            "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list";
        assert_eq!(checked("--bootstrap-server b"), Err(which.to_owned()));
        assert_eq!(checked("--bootstrap-server b --list --verify"), Err(which.to_owned()));
        assert_eq!(checked("--list"), Err("Please specify --bootstrap-server".to_owned()));
        assert_eq!(checked("--list --bootstrap-server b"), Ok("list"));
        assert_eq!(checked("--balance --bootstrap-server b --broker-list 1,2"), Ok("balance"));
        assert_eq!(
            checked("--execute --bootstrap-server b"),
            Err("Missing required argument \"[reassignment-json-file]\"".to_owned())
        );
        assert_eq!(
            checked("--list --bootstrap-server b --throttle 1"),
            Err("Option \"[throttle]\" can't be used with action \"[list]\"".to_owned())
        );
    }
}
