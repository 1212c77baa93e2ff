//! `kafka-verifiable-producer`: counts upward into a topic, and tells of each record in a line of JSON. Its lines are
//! read by system tests.

use super::argparse::{Arg, Parser, Takes, Words};
use super::producer_perf::throttle;
use super::{Stop, log_to_stderr, now_ms, properties_of, run, throwable};
use crate::Call;
use base::Properties;
use client::{ClientError, Delivery, Producer, ProducerOptions, ProducerRecord};
use serde_json::to_string as quoted;
use std::collections::BTreeMap;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::Str;

pub const PARSER: Parser = Parser {
    prog: "verifiable-producer",
    description: "Writes the numbers from 0 on to a topic, and tells on stdout, as lines of JSON, of each record that a \
                  broker has taken or refused.",
    args: &[
        Arg::text(&["--topic"], "TOPIC", "Where the records go.").required(),
        Arg::text(&["--max-messages"], "MAX-MESSAGES", "How many; -1: until it is stopped.")
            .taking(Takes::Int)
            .or("-1"),
        Arg::text(&["--throughput"], "THROUGHPUT", "About so many records a second at most; -1: no limit.")
            .taking(Takes::Int)
            .or("-1"),
        Arg::text(&["--acks"], "ACKS", "Who has to have a record: -1 all in sync, 0 nobody, 1 the leader.")
            .taking(Takes::Choice(&["0", "1", "-1"]))
            .or("-1"),
        Arg::text(&["--producer.config"], "CONFIG_FILE", "File with settings of the producer."),
        Arg::text(&["--message-create-time"], "CREATETIME", "The first record's time, in ms since 1970.")
            .taking(Takes::Long)
            .or("-1"),
        Arg::text(&["--value-prefix"], "VALUE-PREFIX", "A number and a dot before each value.")
            .taking(Takes::Int),
        Arg::text(
            &["--repeating-keys"],
            "REPEATING-KEYS",
            "Keys count from 0 to below this, again and again.",
        )
        .taking(Takes::Int),
    ],
    one_of: &[
        Arg::text(&["--bootstrap-server"], SERVERS, "The brokers to start with."),
        Arg::text(&["--broker-list"], SERVERS, "DEPRECATED: bootstrap-server by its old name."),
    ],
    commands: &[],
};

pub const SERVERS: &str = "HOST1:PORT1[,HOST2:PORT2[...]]";

pub fn main(call: &Call) -> ExitCode {
    if call.args.is_empty() {
        print!("{}", PARSER.help(None));
        return ExitCode::SUCCESS;
    }
    match PARSER.read(&call.args).and_then(|words| produce(&words)) {
        Ok(code) => ExitCode::from(code),
        Err(stop) => super::end_terse(Err(super::Terse::Stopped(stop))),
    }
}

/// As a shell tells of a signal.
pub const TERMINATED: u8 = 143;
pub const INTERRUPTED: u8 = 130;

fn produce(words: &Words) -> Result<u8, Stop> {
    let options = options(words)?;
    run(send_all(Plan::of(words), options))
}

struct Plan {
    topic: Str,
    /// `None`: no end.
    records: Option<i64>,
    throughput: i64,
    prefix: Option<i64>,
    keys: Option<i64>,
    create_time: Option<i64>,
}

impl Plan {
    fn of(words: &Words) -> Plan {
        Plan {
            topic: words.text("--topic").unwrap_or_default().into(),
            records: words.number("--max-messages").filter(|max| *max >= 0),
            throughput: words.number("--throughput").unwrap_or(-1),
            prefix: words.number("--value-prefix"),
            keys: words.number("--repeating-keys"),
            create_time: words.number("--message-create-time").filter(|ms| *ms != -1),
        }
    }

    fn value(&self, number: i64) -> String {
        self.prefix.map_or(number.to_string(), |prefix| format!("{prefix}.{number}"))
    }
}

fn options(words: &Words) -> Result<ProducerOptions, Stop> {
    log_to_stderr();
    let mut properties = Properties::new();
    let bootstrap = words.text("--bootstrap-server").or(words.text("--broker-list")).unwrap_or_default();
    properties.set("--bootstrap-server", "bootstrap.servers", bootstrap);
    properties.set("--acks", "acks", words.text("--acks").unwrap_or("-1"));
    // A record that fails is told of, not sent again.
    properties.set("default", "retries", "0");
    properties.overlay(config_of(&PARSER, words, "--producer.config")?);
    let refused = |error: ClientError| {
        let why = format!("Failed to construct kafka producer\nCaused by: {}", throwable(&error));
        Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
    };
    let bootstrap = super::value(&properties, "bootstrap.servers").unwrap_or_default().to_owned();
    let options = ProducerOptions::new(&bootstrap, "producer-1").map_err(refused)?;
    let mut options = options.with(&properties).map_err(|error| {
        Stop::Uncaught("org.apache.kafka.common.config.ConfigException", error.to_string())
    })?;
    options.client = options.client.resolve().map_err(refused)?;
    Ok(options)
}

/// A file of settings; one that is not there is a mistake in the command line.
pub fn config_of(parser: &Parser, words: &Words, option: &str) -> Result<Properties, Stop> {
    let path = words.text(option);
    properties_of(path).map_err(|stop| match stop {
        Stop::Uncaught(_, why) => parser.wrong(&why),
        stop => stop,
    })
}

/// Prints an event; `rest` begins with a comma, or is empty.
pub fn event(name: &str, rest: &str) {
    println!("{{\"timestamp\":{},\"name\":\"{name}\"{rest}}}", now_ms());
}

struct Sent {
    key: Option<String>,
    value: String,
    delivery: Delivery,
}

async fn send_all(plan: Plan, options: ProducerOptions) -> u8 {
    let (start, acked) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    event("startup_complete", "");
    let producer = Producer::new(options);
    let mut waiters: BTreeMap<i32, mpsc::UnboundedSender<Sent>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut sent = 0_i64;
    let sending = async {
        let mut create_time = plan.create_time;
        while plan.records.is_none_or(|max| sent < max) {
            let key = plan.keys.filter(|keys| *keys > 0).map(|keys| (sent % keys).to_string());
            let value = plan.value(sent);
            let record = ProducerRecord {
                topic: plan.topic.clone(),
                key: key.clone().map(Into::into),
                value: Some(value.clone().into()),
                timestamp: create_time,
                ..Default::default()
            };
            if let Some(time) = &mut create_time {
                *time += start.elapsed().as_millis() as i64;
            }
            sent += 1;
            match producer.send(record).await {
                Ok(delivery) => {
                    let waiter = waiters.entry(delivery.partition().partition).or_insert_with(|| {
                        let (sender, receiver) = mpsc::unbounded_channel();
                        tasks.spawn(tell(plan.topic.clone(), receiver, acked.clone()));
                        sender
                    });
                    let _ = waiter.send(Sent { key, value, delivery });
                }
                Err(error) => failed(&plan.topic, key.as_deref(), &value, &error),
            }
            if plan.throughput >= 0 {
                throttle(start, sent, plan.throughput).await;
            }
        }
    };
    let code = until_signalled(sending).await.map_or_else(|code| code, |()| 0);
    producer.flush().await;
    drop(waiters);
    while tasks.join_next().await.is_some() {}
    event("shutdown_complete", "");
    let acked = acked.load(Ordering::Relaxed);
    let rate = 1000.0 * (acked as f64 / (start.elapsed().as_millis() as f64).max(1.0));
    event(
        "tool_data",
        &format!(
            ",\"sent\":{sent},\"acked\":{acked},\"target_throughput\":{},\"avg_throughput\":{rate:?}",
            plan.throughput
        ),
    );
    code
}

/// The exit code of the signal that ended the work, if one did.
pub async fn until_signalled<T>(work: impl Future<Output = T>) -> Result<T, u8> {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Ok(work.await);
    };
    tokio::select! {
        done = work => Ok(done),
        _ = interrupt.recv() => Err(INTERRUPTED),
        _ = terminate.recv() => Err(TERMINATED),
    }
}

/// A partition's records are answered in order.
async fn tell(topic: Str, mut records: mpsc::UnboundedReceiver<Sent>, acked: Arc<AtomicU64>) {
    while let Some(Sent { key, value, delivery }) = records.recv().await {
        match delivery.wait().await {
            Ok(at) => {
                acked.fetch_add(1, Ordering::Relaxed);
                event(
                    "producer_send_success",
                    &format!(
                        ",\"key\":{},\"value\":{},\"offset\":{},\"topic\":{},\"partition\":{}",
                        json(key.as_deref()),
                        json(Some(&value)),
                        at.offset,
                        json(Some(&topic)),
                        at.partition.partition
                    ),
                );
            }
            Err(error) => failed(&topic, key.as_deref(), &value, &error),
        }
    }
}

fn failed(topic: &str, key: Option<&str>, value: &str, error: &ClientError) {
    event(
        "producer_send_error",
        &format!(
            ",\"topic\":{},\"key\":{},\"value\":{},\"exception\":{},\"message\":{}",
            json(Some(topic)),
            json(key),
            json(Some(value)),
            json(Some(&format!("class {}", error.exception()))),
            json(Some(&error.to_string()))
        ),
    );
}

/// A string in JSON, or null.
pub fn json(text: Option<&str>) -> String {
    text.and_then(|text| quoted(text).ok()).unwrap_or("null".to_owned())
}

/// How long a signal may wait for a consumer that is busy with its group.
pub const BRIEFLY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_and_have_their_prefix() {
        let words = ["--topic", "t", "--broker-list", "b:1", "--value-prefix", "7"].map(str::to_owned);
        let plan = Plan::of(&PARSER.parse(&words).unwrap());
        assert_eq!((plan.value(0), plan.records, plan.throughput), ("7.0".to_owned(), None, -1));
        let words = ["--topic", "t", "--broker-list", "b:1", "--max-messages", "0"].map(str::to_owned);
        let plan = Plan::of(&PARSER.parse(&words).unwrap());
        assert_eq!((plan.value(12), plan.records, plan.create_time), ("12".to_owned(), Some(0), None));
    }

    #[test]
    fn text_is_escaped_and_nothing_is_null() {
        assert_eq!((json(Some("a\"b")), json(None)), ("\"a\\\"b\"".to_owned(), "null".to_owned()));
    }
}
