//! `kafka-console-consumer`: prints the records of a topic.

use super::formatter::{Formatter, WriteError};
use super::verifiable_producer::{INTERRUPTED, TERMINATED};
use super::{
    Stop, end, help_or_version, log_to_stderr, properties_of, require, run, set_pairs, throwable, value,
};
use crate::Call;
use base::{Given, Properties, ToolOption, ToolOptions};
use client::{ClientError, Consumer, ConsumerOptions, ConsumerRecord, OffsetReset, TopicPartition};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: the brokers to start with, host:port,...",
    ),
    ToolOption::text(
        "consumer-property",
        "consumer_prop",
        "A setting of the consumer, key=value; may be repeated.",
    ),
    ToolOption::text(
        "consumer.config",
        "config file",
        "File with settings of the consumer; consumer-property counts over it.",
    ),
    ToolOption::flag("enable-systest-events", "Prints a line at the end, for system tests."),
    ToolOption::text("formatter", "class", "How a record is printed.")
        .or("kafka.tools.DefaultMessageFormatter"),
    ToolOption::text(
        "formatter-config",
        "config file",
        "File with settings of the formatter; property counts over it.",
    ),
    ToolOption::flag(
        "from-beginning",
        "A group without offsets starts with the first record, not after the last.",
    ),
    ToolOption::text("group", "consumer group id", "The consumer group; one of its own otherwise."),
    ToolOption::text("include", "Java regex (String)", "Reads all topics whose whole name matches."),
    ToolOption::text("isolation-level", "", "read_committed leaves out what is not committed.")
        .or("read_uncommitted"),
    ToolOption::text(
        "key-deserializer",
        "deserializer for key",
        "Class that reads keys; text is what there is.",
    ),
    ToolOption::int("max-messages", "num_messages", "Ends after so many records."),
    ToolOption::text("offset", "consume offset", "Where to start: a number, earliest or latest.")
        .or("latest"),
    ToolOption::int("partition", "partition", "Reads this partition only, from --offset on."),
    ToolOption::text(
        "property",
        "prop",
        "A setting of the formatter, key=value; may be repeated: print.timestamp, print.key, print.offset, print.partition, print.headers, print.value, key.separator, line.separator, headers.separator, null.literal.",
    ),
    ToolOption::flag("skip-message-on-error", "Goes on after a record that cannot be printed."),
    ToolOption::int("timeout-ms", "timeout_ms", "Ends when no record came for so long."),
    ToolOption::text("topic", "topic", "The topic to read."),
    ToolOption::text(
        "value-deserializer",
        "deserializer for values",
        "Class that reads values; text is what there is.",
    ),
    ToolOption::text("whitelist", "Java regex (String)", "DEPRECATED: include by its old name."),
]);

const LOGGER: &str = "kafka.tools.ConsoleConsumer$";

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, consume(call))
}

/// What is read.
enum What {
    Topic(String),
    Include(String),
    Partition(TopicPartition, From),
}

#[derive(Clone, Copy)]
enum From {
    Offset(i64),
    Place(OffsetReset),
}

struct Plan {
    what: What,
    options: ConsumerOptions,
    formatter: Formatter,
    messages_max: Option<u64>,
    timeout: Option<Duration>,
    systest: bool,
    skip_unreadable: bool,
}

fn consume(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args).map_err(|error| Stop::Usage(error.to_string()))?;
    help_or_version(
        call,
        &given,
        "This tool helps to read data from Kafka topics and outputs it to standard output.",
    )?;
    let plan = plan(&given)?;
    run(read(plan))?
}

fn plan(given: &Given) -> Result<Plan, Stop> {
    let usage = |why: &str| Err(Stop::Usage(why.to_owned()));
    let mut settings = properties_of(given.text("consumer.config")?)?;
    let group_in_file = value(&settings, "group.id").map(String::from);
    let mut of_formatter = properties_of(given.text("formatter-config")?)?;
    set_pairs(&mut of_formatter, "--property", given.texts("property"));
    for (option, key) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = given.text(option)?.filter(|class| !class.is_empty()) {
            of_formatter.set(option, key, class);
        }
    }
    let class = given.text("formatter")?.unwrap_or_default();
    let uncaught = |why: String| Stop::Uncaught("java.lang.ClassNotFoundException", why);
    let formatter = Formatter::new(class, &of_formatter)
        .map_err(|why| uncaught(why.trim_start_matches("java.lang.ClassNotFoundException: ").to_owned()))?;
    let included = match given.text("include")? {
        Some(include) => Some(include),
        None => given.text("whitelist")?,
    };
    let topic = given.text("topic")?;
    if topic.is_some() == included.is_some() {
        let old = match given.has("whitelist") {
            true => "--whitelist is DEPRECATED use --include instead; ignored if --include specified.",
            false => "()",
        };
        return usage(&format!("Exactly one of --include/--topic is required. {old}"));
    }
    let partition = given.number("partition")?.map(|partition| partition as i32);
    let beginning = given.has("from-beginning");
    match partition {
        Some(_) if topic.is_none() => return usage("The topic is required when partition is specified."),
        Some(_) if beginning && given.has("offset") => {
            return usage("Options from-beginning and offset cannot be specified together.");
        }
        None if given.has("offset") => return usage("The partition is required when offset is specified."),
        _ => {}
    }
    let from = start(given, beginning)?;
    require(given, &["bootstrap-server"])?;
    set_pairs(&mut settings, "--consumer-property", given.texts("consumer-property"));
    let named_group = group(given, &mut settings, group_in_file)?;
    if named_group && partition.is_some() {
        return usage("Options group and partition cannot be specified together.");
    }
    let what = match (topic, included, partition) {
        (Some(topic), _, Some(partition)) => What::Partition(TopicPartition::new(topic, partition), from),
        (Some(topic), ..) => What::Topic(topic.to_owned()),
        (None, include, _) => What::Include(include.unwrap_or_default().to_owned()),
    };
    Ok(Plan {
        what,
        options: options(given, settings, beginning)?,
        formatter,
        messages_max: given.number("max-messages")?.and_then(|max| u64::try_from(max).ok()),
        timeout: given.number("timeout-ms")?.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
        systest: given.has("enable-systest-events"),
        skip_unreadable: given.has("skip-message-on-error"),
    })
}

fn start(given: &Given, beginning: bool) -> Result<From, Stop> {
    if !given.has("offset") {
        return Ok(From::Place(if beginning { OffsetReset::Earliest } else { OffsetReset::Latest }));
    }
    let text = given.text("offset")?.unwrap_or_default().to_lowercase();
    match text.as_str() {
        "earliest" => Ok(From::Place(OffsetReset::Earliest)),
        "latest" => Ok(From::Place(OffsetReset::Latest)),
        number => number.parse().ok().filter(|offset| *offset >= 0).map(From::Offset).ok_or_else(|| {
            Stop::Usage(format!(
                "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a \
                 non-negative long."
            ))
        }),
    }
}

/// Sees to a group id in the settings; was one named?
fn group(given: &Given, settings: &mut Properties, in_file: Option<String>) -> Result<bool, Stop> {
    let mut named: Vec<String> = Vec::new();
    let by_property = value(settings, "group.id").map(String::from);
    for group in [given.text("group")?.map(String::from), in_file, by_property].into_iter().flatten() {
        if !named.contains(&group) {
            named.push(group);
        }
    }
    match &named[..] {
        [] => {
            let group = format!("console-consumer-{}", rand::random_range(0..100_000));
            settings.set("default", "group.id", &group);
            // The group is for this once: its offsets are of no use to anyone.
            if settings.get("enable.auto.commit").is_none() {
                settings.set("default", "enable.auto.commit", "false");
            }
            Ok(false)
        }
        [group] => {
            settings.set("--group", "group.id", group);
            Ok(true)
        }
        several => Err(Stop::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer.config') do not match. Detected group ids: '{}'",
            several.join("', '")
        ))),
    }
}

fn options(given: &Given, mut settings: Properties, beginning: bool) -> Result<ConsumerOptions, Stop> {
    match value(&settings, "auto.offset.reset") {
        Some(reset) if beginning && reset != "earliest" => {
            eprintln!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            );
            return Err(Stop::Exit(1));
        }
        Some(_) => {}
        None => settings.set("default", "auto.offset.reset", if beginning { "earliest" } else { "latest" }),
    }
    if (given.has("isolation-level") || settings.get("isolation.level").is_none())
        && let Some(level) = given.text("isolation-level")?
    {
        settings.set("--isolation-level", "isolation.level", level);
    }
    let bootstrap = given.text("bootstrap-server")?.unwrap_or_default();
    settings.set("--bootstrap-server", "bootstrap.servers", bootstrap);
    log_to_stderr();
    let fail = |trace: String| {
        tracing::error!(target: LOGGER, "Unknown error when running consumer: ");
        eprintln!("{trace}");
        Stop::Exit(1)
    };
    const NOT_MADE: &str = "org.apache.kafka.common.KafkaException: Failed to construct kafka consumer";
    let not_made = |error: ClientError| fail(format!("{NOT_MADE}\nCaused by: {}", throwable(&error)));
    let mut options = ConsumerOptions::new(bootstrap, "console-consumer").map_err(not_made)?;
    options = options.with(&settings).map_err(|error| match error {
        // A class that is not there.
        ClientError::State(why) => {
            fail(format!("{NOT_MADE}\nCaused by: org.apache.kafka.common.KafkaException: {why}"))
        }
        error => fail(throwable(&error)),
    })?;
    options.client = options.client.resolve().map_err(not_made)?;
    Ok(options)
}

/// Why reading ended.
enum Ended {
    Enough,
    /// The exit code that a shell has for it.
    Signalled(u8),
    TimedOut,
    Failed(ClientError),
    /// A record that the formatter cannot print.
    Unprintable(String),
    /// Nobody reads the output any more.
    OutputGone,
}

async fn read(plan: Plan) -> Result<(), Stop> {
    let mut consumer = Consumer::new(plan.options.clone());
    let mut reading = Reading { count: 0, unread: BTreeMap::new() };
    let ended = match begin(&mut consumer, &plan.what) {
        Err(error) => {
            tracing::error!(target: LOGGER, "Unknown error when running consumer: ");
            eprintln!("{error}");
            return Err(Stop::Exit(1));
        }
        Ok(()) => {
            let mut interrupt = signal(SignalKind::interrupt()).map_err(|_| Stop::Exit(1))?;
            let mut terminate = signal(SignalKind::terminate()).map_err(|_| Stop::Exit(1))?;
            tokio::select! {
                ended = reading.print(&mut consumer, &plan) => ended,
                _ = interrupt.recv() => Ended::Signalled(INTERRUPTED),
                _ = terminate.recv() => Ended::Signalled(TERMINATED),
            }
        }
    };
    let fatal = say(&ended);
    // What was fetched and not printed is not consumed.
    for (partition, offset) in &reading.unread {
        consumer.seek(partition, *offset);
    }
    consumer.close().await;
    eprintln!("Processed a total of {} messages", reading.count);
    if plan.systest {
        println!("shutdown_complete");
    }
    if let Ended::Unprintable(why) = &ended {
        tracing::error!(target: LOGGER, "Unknown error when running consumer: ");
        eprintln!("{why}");
        return Err(Stop::Exit(1));
    }
    match (fatal, ended) {
        (true, _) => Err(Stop::Exit(1)),
        // As after a signal that nothing handled.
        (_, Ended::Signalled(code)) => Err(Stop::Exit(code)),
        _ => Ok(()),
    }
}

fn begin(consumer: &mut Consumer, what: &What) -> Result<(), ClientError> {
    match what {
        What::Topic(topic) => consumer.subscribe(vec![topic.as_str().into()]),
        What::Include(include) => {
            let pattern = fancy_regex::Regex::new(&format!("^(?:{include})$")).map_err(|error| {
                ClientError::Config(format!("java.util.regex.PatternSyntaxException: {error}\n{include}"))
            })?;
            consumer.subscribe_matching(move |topic| super::matches(&pattern, topic))
        }
        What::Partition(partition, from) => {
            consumer.assign([partition.clone()]);
            match from {
                From::Offset(offset) => consumer.seek(partition, *offset),
                From::Place(place) => consumer.seek_to(partition, *place),
            }
            Ok(())
        }
    }
}

/// Tells why reading ended; is it worth an exit code?
fn say(ended: &Ended) -> bool {
    let terminating = || {
        tracing::error!(target: LOGGER, "Error processing message, terminating consumer process: ");
    };
    match ended {
        Ended::Enough | Ended::Signalled(_) => {}
        Ended::OutputGone => eprintln!("Unable to write to standard out, closing consumer."),
        Ended::TimedOut => {
            terminating();
            eprintln!("org.apache.kafka.common.errors.TimeoutException");
        }
        Ended::Failed(ClientError::Config(why)) => {
            tracing::error!(target: LOGGER, "Unknown error when running consumer: ");
            eprintln!("{why}");
            return true;
        }
        // Told when all is closed.
        Ended::Unprintable(_) => {}
        Ended::Failed(error) => {
            terminating();
            eprintln!("{}", throwable(error));
        }
    }
    false
}

struct Reading {
    count: u64,
    /// The first record of each partition that was polled and not printed.
    unread: BTreeMap<TopicPartition, i64>,
}

impl Reading {
    async fn print(&mut self, consumer: &mut Consumer, plan: &Plan) -> Ended {
        let mut to = BufWriter::new(std::io::stdout());
        let mut last = Instant::now();
        while plan.messages_max.is_none_or(|max| self.count < max) {
            let wait = match plan.timeout {
                Some(timeout) if last.elapsed() > timeout => return Ended::TimedOut,
                Some(timeout) => (timeout + Duration::from_millis(1)).saturating_sub(last.elapsed()),
                None => Duration::from_secs(3600),
            };
            let records = match consumer.poll(wait).await {
                Ok(records) if records.is_empty() => continue,
                Ok(records) => records,
                Err(error) => return Ended::Failed(error),
            };
            last = Instant::now();
            match self.write(records, plan, &mut to) {
                Ok(()) => {}
                Err(WriteError::Gone) => return Ended::OutputGone,
                Err(WriteError::Unreadable(why)) => {
                    let _ = to.flush();
                    return Ended::Unprintable(why);
                }
            }
        }
        Ended::Enough
    }

    fn write(
        &mut self,
        records: Vec<ConsumerRecord>,
        plan: &Plan,
        to: &mut impl Write,
    ) -> Result<(), WriteError> {
        for record in records {
            if plan.messages_max.is_some_and(|max| self.count >= max) {
                self.unread.entry(record.partition).or_insert(record.offset);
                continue;
            }
            self.count += 1;
            match plan.formatter.write(&record, to) {
                Err(WriteError::Unreadable(why)) if plan.skip_unreadable => {
                    tracing::error!(target: LOGGER, "Error processing message, skipping this message: ");
                    eprintln!("{why}");
                }
                written => written?,
            }
        }
        Ok(to.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        match plan(&TABLE.parse(&args).unwrap()) {
            Err(Stop::Usage(message)) => message,
            Err(other) => format!("{other:?}"),
            Ok(_) => "fine".to_owned(),
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        assert_eq!(refusal("--bootstrap-server b:1"), "Exactly one of --include/--topic is required. ()");
        assert_eq!(refusal("--topic t --offset 3"), "The partition is required when offset is specified.");
        assert!(refusal("--topic t --partition 0 --offset -3").contains("'-3' is incorrect"));
        assert_eq!(refusal("--topic t"), "Missing required argument \"[bootstrap-server]\"");
        assert_eq!(
            refusal("--topic t --bootstrap-server b:1 --group g --partition 0"),
            "Options group and partition cannot be specified together."
        );
        assert!(
            refusal("--topic t --bootstrap-server b:1 --group g --consumer-property group.id=h")
                .contains("'g', 'h'")
        );
        assert_eq!(refusal("--topic t --bootstrap-server 127.0.0.1:1 --from-beginning"), "fine");
    }
}
