//! `kafka-transactions`: what transactions there are, and an end to those that hang.

use super::{Stop, VERSION, admin_of, json, now_ms, print_table, run};
use crate::Call;
use client::transactions::AbortTransaction;
use client::{Admin, ClientError, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use wire::Str;
use wire::kafka::ErrorCode;
use wire::kafka::describe_producers::ProducerState;

const USAGE: &str =
    "usage: kafka-transactions.sh [-h] [-v] [--command-config FILE] --bootstrap-server host:port COMMAND ...
";

const HELP: &str = "
Shows the transactions of a cluster's producers, and ends those that hang.

commands:
  list                   the transactional ids and their coordinators
  describe               one transactional id: --transactional-id ID
  describe-producers     who writes to a partition: --topic TOPIC --partition N [--broker-id ID]
  abort                  ends a hanging transaction: --topic TOPIC --partition N --start-offset OFFSET, or in place of
                         the offset --producer-id ID --producer-epoch N --coordinator-epoch N
  find-hanging           open transactions that no coordinator knows of: [--topic TOPIC [--partition N]] [--broker-id ID]
                         [--max-transaction-timeout MINUTES]
  --json, behind any of them but abort, prints one JSON document in place of the table

optional arguments:
  -h, --help             shows this
  -v, --version          shows the version
  --command-config FILE  settings of the admin client
  --bootstrap-server host:port
                         the brokers to start with
";

/// The options of each command; the required ones first, and how many these are.
const COMMANDS: [(&str, &[&str], usize); 5] = [
    ("list", &[], 0),
    ("describe", &["--transactional-id"], 1),
    ("describe-producers", &["--topic", "--partition", "--broker-id"], 2),
    (
        "abort",
        &[
            "--topic",
            "--partition",
            "--start-offset",
            "--producer-id",
            "--producer-epoch",
            "--coordinator-epoch",
        ],
        2,
    ),
    ("find-hanging", &["--topic", "--partition", "--broker-id", "--max-transaction-timeout"], 0),
];

/// The commands that know --json.
const LISTING: [&str; 4] = ["list", "describe", "describe-producers", "find-hanging"];

const MAX_TIMEOUT_MINUTES: i64 = 15;

pub fn main(call: &Call) -> ExitCode {
    match transactions(&call.args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(why)) => {
            eprintln!("{USAGE}kafka-transactions.sh: error: {why}");
            ExitCode::FAILURE
        }
        Err(Stop::Uncaught(exception, message)) => {
            eprintln!("Exception in thread \"main\" {exception}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The words of a command line.
#[derive(Debug, Default)]
struct Given {
    command: String,
    values: BTreeMap<String, String>,
}

impl Given {
    fn read(args: &[String]) -> Result<Given, Stop> {
        let mut given = Given::default();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-h" | "--help" => {
                    print!("{USAGE}{HELP}");
                    return Err(Stop::Exit(1));
                }
                "--json" if LISTING.contains(&given.command.as_str()) => {
                    given.values.insert("--json".to_owned(), String::new());
                    continue;
                }
                "-v" | "--version" => {
                    println!("{VERSION}");
                    return Err(Stop::Exit(0));
                }
                _ => {}
            }
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let command = COMMANDS.iter().find(|(command, ..)| *command == given.command);
            let of_command = command.is_some_and(|(_, options, _)| options.contains(&name));
            let of_tool = command.is_none() && ["--command-config", "--bootstrap-server"].contains(&name);
            if of_command || of_tool {
                let value = attached.or_else(|| words.next().cloned());
                let value =
                    value.ok_or_else(|| Stop::Usage(format!("argument {name}: expected one argument")))?;
                given.values.insert(name.to_owned(), value);
            } else if command.is_some() || word.starts_with('-') {
                return Err(Stop::Usage(format!("unrecognized arguments: '{word}'")));
            } else if COMMANDS.iter().any(|(command, ..)| command == word) {
                given.command.clone_from(word);
            } else {
                let all: Vec<String> = COMMANDS.iter().map(|(command, ..)| format!("'{command}'")).collect();
                return Err(Stop::Usage(format!(
                    "invalid choice: '{word}' (choose from {})",
                    all.join(", ")
                )));
            }
        }
        let Some((_, options, required)) = COMMANDS.iter().find(|(command, ..)| *command == given.command)
        else {
            return Err(Stop::Usage("too few arguments".to_owned()));
        };
        let needed = std::iter::once(&"--bootstrap-server").chain(&options[..*required]);
        match needed.into_iter().find(|option| !given.values.contains_key(**option)) {
            Some(missing) => Err(Stop::Usage(format!("argument {missing} is required"))),
            None => Ok(given),
        }
    }

    /// The table, or the document with its rows under `name`.
    fn show(&self, name: &str, headers: &[&str], rows: &[Vec<String>]) {
        match self.values.contains_key("--json") {
            true => json::print(&serde_json::json!({ name: json::rows(headers, rows) })),
            false => print_table(headers, rows),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &str, kind: &str) -> Result<Option<T>, Stop> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let why =
            format!("argument {name}: could not convert '{text}' to {kind} (For input string: \"{text}\")");
        text.parse().map(Some).map_err(|_| Stop::Usage(why))
    }

    fn partition(&self) -> Result<TopicPartition, Stop> {
        let number = self.number("--partition", "Integer")?.unwrap_or_default();
        Ok(TopicPartition::new(self.text("--topic").unwrap_or_default(), number))
    }
}

fn transactions(args: &[String]) -> Result<(), Stop> {
    if args.is_empty() {
        return Err(Stop::Usage("too few arguments".to_owned()));
    }
    let given = Given::read(args)?;
    let bootstrap = given.text("--bootstrap-server").unwrap_or_default();
    let admin = Admin::new(admin_of(bootstrap, given.text("--command-config"))?);
    run(async move {
        match given.command.as_str() {
            "list" => list(&admin, &given).await,
            "describe" => describe(&admin, &given).await,
            "describe-producers" => describe_producers(&admin, &given).await,
            "abort" => abort(&admin, &given).await,
            _ => find_hanging(&admin, &given).await,
        }
    })?
}

/// What the tool complains of before it ends with 1.
fn complain(why: &str) -> Stop {
    eprintln!("{why}");
    Stop::Exit(1)
}

fn failed(what: String) -> impl FnOnce(ClientError) -> Stop {
    move |error| complain(&format!("{what}: {error}. Enable debug logging for additional detail."))
}

async fn list(admin: &Admin, given: &Given) -> Result<(), Stop> {
    let all = admin.list_transactions().await.map_err(failed("Failed to list transactions".to_owned()))?;
    let mut rows = Vec::new();
    for (coordinator, states) in all {
        rows.extend(states.into_iter().map(|state| {
            vec![
                state.transactional_id.to_string(),
                coordinator.to_string(),
                state.producer_id.to_string(),
                state.transaction_state.to_string(),
            ]
        }));
    }
    let headers = ["TransactionalId", "Coordinator", "ProducerId", "TransactionState"];
    given.show("transactions", &headers, &rows);
    Ok(())
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Stop> {
    let id = Str::from(given.text("--transactional-id").unwrap_or_default());
    let what = format!("Failed to describe transaction state of transactional-id `{id}`");
    let (coordinator, state) = admin.describe_transaction(&id).await.map_err(failed(what))?;
    let start = Some(state.transaction_start_time_ms).filter(|ms| *ms >= 0);
    let or_none = |value: Option<i64>| value.map_or("None".to_owned(), |value| value.to_string());
    let partitions = state.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|n| TopicPartition::new(topic.topic.clone(), *n).to_string())
    });
    let row = vec![
        coordinator.to_string(),
        id.to_string(),
        state.producer_id.to_string(),
        state.producer_epoch.to_string(),
        state.transaction_state.to_string(),
        state.transaction_timeout_ms.to_string(),
        or_none(start),
        or_none(start.map(|start| now_ms() - start)),
        partitions.collect::<Vec<_>>().join(","),
    ];
    let headers = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    given.show("transactions", &headers, &[row]);
    Ok(())
}

async fn describe_producers(admin: &Admin, given: &Given) -> Result<(), Stop> {
    let (partition, broker) = (given.partition()?, given.number("--broker-id", "Integer")?);
    let on = broker.map_or("leader".to_owned(), |id: i32| format!("broker {id}"));
    let what = format!("Failed to describe producers for partition {partition} on {on}");
    let producers = admin.describe_producers(&partition, broker).await.map_err(failed(what))?;
    let row = |producer: &ProducerState| {
        let start = Some(producer.current_txn_start_offset).filter(|offset| *offset >= 0);
        vec![
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.max(-1).to_string(),
            producer.last_sequence.to_string(),
            producer.last_timestamp.to_string(),
            start.map_or("None".to_owned(), |offset| offset.to_string()),
        ]
    };
    let headers = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    given.show("producers", &headers, &producers.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn abort(admin: &Admin, given: &Given) -> Result<(), Stop> {
    let partition = given.partition()?;
    let start: Option<i64> = given.number("--start-offset", "Long")?;
    let producer: Option<i64> = given.number("--producer-id", "Long")?;
    let abort = match (start, producer) {
        (Some(start), _) => {
            let what = format!("Failed to validate producer state for partition {partition}");
            let producers = admin.describe_producers(&partition, None).await.map_err(failed(what))?;
            let found = producers.into_iter().find(|producer| producer.current_txn_start_offset == start);
            let found = found.ok_or_else(|| {
                complain(&format!(
                    "Could not find any open transactions starting at offset {start} on partition {partition}"
                ))
            })?;
            AbortTransaction {
                partition,
                producer_id: found.producer_id,
                producer_epoch: found.producer_epoch as i16,
                coordinator_epoch: found.coordinator_epoch.max(0),
            }
        }
        (None, Some(producer_id)) => {
            let missing = |name: &str| complain(&format!("Missing required argument {name}"));
            let epoch: Option<i16> = given.number("--producer-epoch", "Short")?;
            let producer_epoch = epoch.ok_or_else(|| missing("--producer-epoch"))?;
            let epoch: Option<i32> = given.number("--coordinator-epoch", "Integer")?;
            let coordinator_epoch = epoch.ok_or_else(|| missing("--coordinator-epoch"))?.max(0);
            AbortTransaction { partition, producer_id, producer_epoch, coordinator_epoch }
        }
        (None, None) => {
            return Err(complain(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or \
                 with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)",
            ));
        }
    };
    let what = format!(
        "Failed to abort transaction AbortTransactionSpec(topicPartition={}, producerId={}, producerEpoch={}, \
         coordinatorEpoch={})",
        abort.partition, abort.producer_id, abort.producer_epoch, abort.coordinator_epoch
    );
    admin.abort_transaction(&abort).await.map_err(failed(what))
}

/// Open for longer than any transaction may be, and no coordinator knows that the partition belongs to it.
async fn find_hanging(admin: &Admin, given: &Given) -> Result<(), Stop> {
    let broker: Option<i32> = given.number("--broker-id", "Integer")?;
    let (topic, one) = (given.text("--topic"), given.number::<i32>("--partition", "Integer")?);
    if topic.is_none() && broker.is_none() {
        return Err(complain(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search",
        ));
    }
    if topic.is_none() && one.is_some() {
        return Err(complain("The --partition argument requires --topic to be provided"));
    }
    let minutes = given.number("--max-transaction-timeout", "Integer")?.unwrap_or(MAX_TIMEOUT_MINUTES);
    let partitions = match (topic, one) {
        (Some(topic), Some(one)) => vec![TopicPartition::new(topic, one)],
        _ => partitions_of(admin, topic, broker).await?,
    };
    let mut open = Vec::new();
    for partition in partitions {
        let what = "Failed to describe producers for 1 partitions".to_owned();
        let producers = admin.describe_producers(&partition, broker).await.map_err(failed(what))?;
        let old = |producer: &ProducerState| {
            producer.current_txn_start_offset >= 0
                && now_ms() - producer.last_timestamp > minutes.saturating_mul(60_000)
        };
        open.extend(producers.into_iter().filter(old).map(|producer| (partition.clone(), producer)));
    }
    let known = if open.is_empty() { BTreeMap::new() } else { known_partitions(admin, &open).await? };
    let rows = open.iter().filter(|(partition, producer)| {
        known.get(&producer.producer_id).is_none_or(|partitions| !partitions.contains(partition))
    });
    let rows = rows.map(|(partition, producer)| {
        vec![
            partition.topic.to_string(),
            partition.partition.to_string(),
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.max(-1).to_string(),
            producer.current_txn_start_offset.to_string(),
            producer.last_timestamp.to_string(),
            ((now_ms() - producer.last_timestamp) / 60_000).to_string(),
        ]
    });
    let headers = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    given.show("hanging", &headers, &rows.collect::<Vec<_>>());
    Ok(())
}

/// A topic's partitions, or all that a broker has replicas of.
async fn partitions_of(
    admin: &Admin,
    topic: Option<&str>,
    broker: Option<i32>,
) -> Result<Vec<TopicPartition>, Stop> {
    let wanted = topic.map(|topic| vec![Str::from(topic)]);
    let metadata = admin.metadata(wanted.as_deref()).await;
    let metadata = metadata.map_err(failed("Failed to list topics".to_owned()))?;
    let mut found = Vec::new();
    for (name, info) in &metadata.topics {
        if topic.is_some_and(|topic| name != topic) {
            continue;
        }
        ClientError::check(info.error, &None).map_err(failed("Failed to describe 1 topics".to_owned()))?;
        let here =
            info.partitions.iter().filter(|(_, one)| broker.is_none_or(|id| one.replicas.contains(&id)));
        found.extend(here.map(|(n, _)| TopicPartition::new(name.clone(), *n)));
    }
    Ok(found)
}

/// By producer id: the partitions that its coordinator knows to be in its transaction.
async fn known_partitions(
    admin: &Admin,
    open: &[(TopicPartition, ProducerState)],
) -> Result<BTreeMap<i64, BTreeSet<TopicPartition>>, Stop> {
    let listed = admin.list_transactions().await;
    let listed = listed.map_err(failed("Failed to list transactions".to_owned()))?;
    let mut known = BTreeMap::new();
    for state in listed.into_values().flatten() {
        if !open.iter().any(|(_, producer)| producer.producer_id == state.producer_id) {
            continue;
        }
        match admin.describe_transaction(&state.transactional_id).await {
            Ok((_, described)) => {
                let partitions = described.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|n| TopicPartition::new(topic.topic.clone(), *n))
                });
                known.insert(state.producer_id, partitions.collect());
            }
            Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => {}
            Err(error) => return Err(failed("Failed to describe 1 transactions".to_owned())(error)),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match Given::read(&words) {
            Err(Stop::Usage(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_line_is_checked_as_argparse_checks_it() {
        assert_eq!(why("--bootstrap-server h:1"), "too few arguments");
        assert_eq!(why("list"), "argument --bootstrap-server is required");
        assert_eq!(why("--bootstrap-server h:1 describe"), "argument --transactional-id is required");
        assert_eq!(why("--bootstrap-server h:1 list --topic t"), "unrecognized arguments: '--topic'");
        assert!(
            why("--bootstrap-server h:1 lists").starts_with("invalid choice: 'lists' (choose from 'list', ")
        );
        let words =
            ["--bootstrap-server=h:1", "abort", "--topic", "t", "--partition", "x"].map(str::to_owned);
        let given = Given::read(&words).unwrap();
        assert!(
            matches!(given.partition(), Err(Stop::Usage(why)) if why.contains("could not convert 'x' to Integer"))
        );
    }
}
