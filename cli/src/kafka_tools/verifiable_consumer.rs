//! `kafka-verifiable-consumer`: a member of a group that tells of what it gets, loses, reads and commits in lines of
//! JSON. Its lines are read by system tests.

use super::argparse::{Arg, Parser, Takes, Words};
use super::verifiable_producer::{BRIEFLY, SERVERS, config_of, event, json, until_signalled};
use super::{Stop, log_to_stderr, run, throwable};
use crate::Call;
use client::{ClientError, Consumer, ConsumerOptions, ConsumerRecord, Rebalance, TopicPartition};
use std::collections::BTreeMap;
use std::process::ExitCode;
use wire::Str;
use wire::kafka::ErrorCode;

const RANGE: &str = "org.apache.kafka.clients.consumer.RangeAssignor";

pub const PARSER: Parser = Parser {
    prog: "verifiable-consumer",
    description: "Reads a topic as a member of a group, and tells on stdout, as lines of JSON, of the partitions that it gets \
                  and loses, of what it reads and of what it commits.",
    args: &[
        Arg::text(&["--topic"], "TOPIC", "The topic to read.").required(),
        Arg::text(&["--group-id"], "GROUP_ID", "The consumer group.").required(),
        Arg::text(&["--group-instance-id"], "GROUP_INSTANCE_ID", "Makes a static member."),
        Arg::text(&["--max-messages"], "MAX-MESSAGES", "Ends after so many records; -1: when it is stopped.")
            .taking(Takes::Int)
            .or("-1"),
        Arg::text(&["--session-timeout"], "TIMEOUT_MS", "The member's session.")
            .taking(Takes::Int)
            .or("30000"),
        Arg::flag(&["--verbose"], "Tells of each record."),
        Arg::flag(&["--enable-autocommit"], "Commits by itself, in intervals."),
        Arg::text(
            &["--reset-policy"],
            "RESETPOLICY",
            "Where a group without offsets starts: earliest, latest or none.",
        )
        .or("earliest"),
        Arg::text(
            &["--assignment-strategy"],
            "ASSIGNMENTSTRATEGY",
            "How partitions are dealt out: the name of a class, or names with commas between them.",
        )
        .or(RANGE),
        Arg::text(
            &["--consumer.config"],
            "CONFIG_FILE",
            "File with settings of the consumer; options count over it.",
        ),
    ],
    one_of: &[
        Arg::text(&["--bootstrap-server"], SERVERS, "The brokers to start with."),
        Arg::text(&["--broker-list"], SERVERS, "DEPRECATED: bootstrap-server by its old name."),
    ],
    commands: &[],
};

pub fn main(call: &Call) -> ExitCode {
    if call.args.is_empty() {
        print!("{}", PARSER.help(None));
        return ExitCode::SUCCESS;
    }
    match PARSER.read(&call.args).and_then(|words| consume(&words)) {
        Ok(code) => ExitCode::from(code),
        Err(stop) => super::end_terse(Err(super::Terse::Stopped(stop))),
    }
}

fn consume(words: &Words) -> Result<u8, Stop> {
    let options = options(words)?;
    let plan = Plan {
        topic: words.text("--topic").unwrap_or_default().into(),
        left: words.number("--max-messages").and_then(|max| usize::try_from(max).ok()),
        commits: !words.has("--enable-autocommit"),
        verbose: words.has("--verbose"),
    };
    run(read_all(plan, options))
}

fn options(words: &Words) -> Result<ConsumerOptions, Stop> {
    log_to_stderr();
    let mut properties = config_of(&PARSER, words, "--consumer.config")?;
    let group = words.text("--group-id").unwrap_or_default();
    let bootstrap = words.text("--bootstrap-server").or(words.text("--broker-list")).unwrap_or_default();
    let strategy = words.text("--assignment-strategy").unwrap_or(RANGE);
    for (option, key, value) in [
        ("--assignment-strategy", "partition.assignment.strategy", Some(strategy)),
        ("--group-id", "group.id", Some(group)),
        ("--group-instance-id", "group.instance.id", words.text("--group-instance-id")),
        ("--bootstrap-server", "bootstrap.servers", Some(bootstrap)),
        (
            "--enable-autocommit",
            "enable.auto.commit",
            Some(if words.has("--enable-autocommit") { "true" } else { "false" }),
        ),
        ("--reset-policy", "auto.offset.reset", words.text("--reset-policy")),
        ("--session-timeout", "session.timeout.ms", words.text("--session-timeout")),
    ] {
        if let Some(value) = value {
            properties.set(option, key, value);
        }
    }
    let not_made = |cause: String| {
        let why = format!("Failed to construct kafka consumer\nCaused by: {cause}");
        Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
    };
    let refused = |error: ClientError| not_made(throwable(&error));
    let options = ConsumerOptions::new(bootstrap, &format!("consumer-{group}-1")).map_err(refused)?;
    let mut options = options.with(&properties).map_err(|error| match error {
        ClientError::State(why) => not_made(format!("org.apache.kafka.common.KafkaException: {why}")),
        error => Stop::Uncaught("org.apache.kafka.common.config.ConfigException", error.to_string()),
    })?;
    options.client = options.client.resolve().map_err(refused)?;
    Ok(options)
}

struct Plan {
    topic: Str,
    /// How many records are still wanted; `None`: all.
    left: Option<usize>,
    commits: bool,
    verbose: bool,
}

async fn read_all(mut plan: Plan, options: ConsumerOptions) -> u8 {
    event("startup_complete", "");
    let mut consumer = Consumer::new(options);
    consumer.rebalances();
    let ended = until_signalled(plan.read(&mut consumer)).await;
    if let Ok(Err(error)) = &ended {
        tracing::error!(
            target: "org.apache.kafka.tools.VerifiableConsumer",
            "Error during processing, terminating consumer process: "
        );
        eprintln!("{}", throwable(error));
    }
    tell_rebalances(&mut consumer);
    let own: Vec<TopicPartition> = consumer.assignment().cloned().collect();
    if !own.is_empty() {
        event("partitions_revoked", &format!(",\"partitions\":{}", partitions(&own)));
    }
    consumer.close().await;
    event("shutdown_complete", "");
    ended.map_or_else(|code| code, |_| 0)
}

fn partition(partition: &TopicPartition) -> String {
    format!("\"topic\":{},\"partition\":{}", json(Some(&partition.topic)), partition.partition)
}

fn partitions(all: &[TopicPartition]) -> String {
    let all: Vec<String> = all.iter().map(|one| format!("{{{}}}", partition(one))).collect();
    format!("[{}]", all.join(","))
}

fn tell_rebalances(consumer: &mut Consumer) {
    for rebalance in consumer.rebalances() {
        let (name, all) = match &rebalance {
            Rebalance::Revoked(all) => ("partitions_revoked", all),
            Rebalance::Assigned(all) => ("partitions_assigned", all),
        };
        event(name, &format!(",\"partitions\":{}", partitions(all)));
    }
}

/// One partition's records of one poll.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    partition: TopicPartition,
    count: usize,
    first: i64,
    last: i64,
}

impl Plan {
    async fn read(&mut self, consumer: &mut Consumer) -> Result<(), ClientError> {
        consumer.subscribe(vec![self.topic.clone()])?;
        while self.left != Some(0) {
            // Rebalances are told of as they come, not with the next record.
            let polled = consumer.poll(BRIEFLY).await;
            tell_rebalances(consumer);
            let records = polled?;
            if records.is_empty() {
                continue;
            }
            let runs = self.take(&records);
            if self.commits {
                commit(consumer, &runs).await?;
            }
        }
        Ok(())
    }

    /// Tells of the records that are wanted.
    fn take(&mut self, records: &[ConsumerRecord]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for record in records {
            match &mut self.left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {}
            }
            if self.verbose {
                tell_record(record);
            }
            match runs.iter_mut().find(|run| run.partition == record.partition) {
                Some(run) => (run.count, run.last) = (run.count + 1, record.offset),
                None => runs.push(Run {
                    partition: record.partition.clone(),
                    count: 1,
                    first: record.offset,
                    last: record.offset,
                }),
            }
        }
        let shown: Vec<String> = (runs.iter())
            .map(|run| {
                let Run { count, first, last, .. } = run;
                format!(
                    "{{{},\"count\":{count},\"minOffset\":{first},\"maxOffset\":{last}}}",
                    partition(&run.partition)
                )
            })
            .collect();
        // The count is that of the poll, also where fewer are wanted.
        event(
            "records_consumed",
            &format!(",\"count\":{},\"partitions\":[{}]", records.len(), shown.join(",")),
        );
        runs
    }
}

fn tell_record(record: &ConsumerRecord) {
    let text = |part: &Option<bytes::Bytes>| {
        json(part.as_ref().map(|bytes| String::from_utf8_lossy(bytes)).as_deref())
    };
    event(
        "record_data",
        &format!(
            ",\"key\":{},\"value\":{},{},\"offset\":{}",
            text(&record.key),
            text(&record.value),
            partition(&record.partition),
            record.offset
        ),
    );
}

async fn commit(consumer: &mut Consumer, runs: &[Run]) -> Result<(), ClientError> {
    let offsets: BTreeMap<TopicPartition, i64> =
        runs.iter().map(|run| (run.partition.clone(), run.last + 1)).collect();
    let committed = consumer.commit_offsets(&offsets).await;
    let shown: Vec<String> = (runs.iter())
        .map(|run| format!("{{{},\"offset\":{}}}", partition(&run.partition), run.last + 1))
        .collect();
    let offsets = format!(",\"offsets\":[{}]", shown.join(","));
    match committed {
        Ok(()) => event("offsets_committed", &format!("{offsets},\"success\":true")),
        Err(error) if error.code() == Some(ErrorCode::FENCED_INSTANCE_ID) => return Err(error),
        Err(error) => {
            let why = json(Some(&error.to_string()));
            event("offsets_committed", &format!("{offsets},\"error\":{why},\"success\":false"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::assignor::Assignor;

    fn record(partition: i32, offset: i64) -> ConsumerRecord {
        ConsumerRecord {
            partition: TopicPartition::new("t", partition),
            offset,
            timestamp: 0,
            is_log_append_time: false,
            leader_epoch: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn records_count_by_partition_and_no_further_than_is_wanted() {
        let mut plan = Plan { topic: "t".into(), left: Some(3), commits: true, verbose: false };
        let runs = plan.take(&[record(1, 5), record(0, 0), record(0, 1), record(0, 2)]);
        let run = |partition, count, first, last| Run {
            partition: TopicPartition::new("t", partition),
            count,
            first,
            last,
        };
        assert_eq!(runs, [run(1, 1, 5, 5), run(0, 2, 0, 1)]);
        assert_eq!(plan.left, Some(0));
    }

    #[test]
    fn assignors_are_given_by_class_and_others_are_refused_by_name() {
        let given = |strategy: &str| {
            let line =
                format!("--topic t --group-id g --broker-list 127.0.0.1:1 --assignment-strategy {strategy}");
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            options(&PARSER.parse(&words).unwrap())
        };
        let both = "org.apache.kafka.clients.consumer.StickyAssignor,org.apache.kafka.clients.consumer.RangeAssignor";
        assert_eq!(given(both).unwrap().assignors, [Assignor::Sticky, Assignor::Range]);
        let refused = given("no.Such").unwrap_err();
        assert!(matches!(refused, Stop::Uncaught(_, why) if why.contains("no.Such ClassNotFoundException")));
    }
}
