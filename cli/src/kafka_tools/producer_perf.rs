//! `kafka-producer-perf-test`: how many records a second a producer gets rid of, and how long each takes.

use super::metrics::{self, Metric};
use super::{Stop, log_to_stderr, properties_of, run, throwable};
use crate::Call;
use base::Properties;
use bytes::Bytes;
use client::{ClientError, Delivery, Producer, ProducerOptions, ProducerRecord};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The line that every mistake is shown under.
const USAGE: &str = "usage: producer-performance [-h] --topic TOPIC --num-records NUM-RECORDS
                            [--payload-delimiter PAYLOAD-DELIMITER]
                            --throughput THROUGHPUT
                            [--producer-props PROP-NAME=PROP-VALUE [PROP-NAME=PROP-VALUE ...]]
                            [--producer.config CONFIG-FILE]
                            [--print-metrics]
                            [--transactional-id TRANSACTIONAL-ID]
                            [--transaction-duration-ms TRANSACTION-DURATION]
                            (--record-size RECORD-SIZE |
                            --payload-file PAYLOAD-FILE)
";

const HELP: &str = "
Measures a producer: records per second, and how long each takes to be answered.

optional arguments:
  -h, --help             shows this
  --topic TOPIC          where the records go
  --num-records NUM-RECORDS
                         how many
  --payload-delimiter PAYLOAD-DELIMITER
                         what stands between the payloads of the file (default: \\n)
  --throughput THROUGHPUT
                         about so many records a second at most; -1: as many as there can be
  --producer-props PROP-NAME=PROP-VALUE [PROP-NAME=PROP-VALUE ...]
                         settings of the producer; they count over the file's
  --producer.config CONFIG-FILE
                         file with settings of the producer
  --print-metrics        at the end, what the producer has counted
  --transactional-id TRANSACTIONAL-ID
                         in whose transactions the records go, if they go in transactions (default:
                         performance-producer-default-transactional-id)
  --transaction-duration-ms TRANSACTION-DURATION
                         a transaction is committed with the first record after so long; 0: no transactions (default: 0)

  one of these two:

  --record-size RECORD-SIZE
                         bytes of each record, random letters
  --payload-file PAYLOAD-FILE
                         text to take records from, by chance
";

/// An option, and whether it takes values.
const OPTIONS: [(&str, bool); 11] = [
    ("--topic", true),
    ("--num-records", true),
    ("--payload-delimiter", true),
    ("--throughput", true),
    ("--producer-props", true),
    ("--producer.config", true),
    ("--print-metrics", false),
    ("--transactional-id", true),
    ("--transaction-duration-ms", true),
    ("--record-size", true),
    ("--payload-file", true),
];

pub fn main(call: &Call) -> ExitCode {
    match perf(call) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(why)) => {
            eprintln!("{USAGE}producer-performance: error: {why}");
            ExitCode::FAILURE
        }
        Err(Stop::Uncaught(exception, message)) => {
            eprintln!("Exception in thread \"main\" {exception}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn perf(call: &Call) -> Result<(), Stop> {
    if call.args.is_empty() {
        print!("{USAGE}{HELP}");
        return Ok(());
    }
    let plan = Plan::read(&call.args)?;
    let payloads = plan.payloads()?;
    let options = plan.options()?;
    run(send(plan, payloads, options))?
}

/// What the command line asks for.
#[derive(Debug)]
struct Plan {
    topic: String,
    records: i64,
    record_size: Option<usize>,
    payload_file: Option<String>,
    delimiter: String,
    /// Records per second; negative: no limit.
    throughput: i64,
    properties: Vec<String>,
    config: Option<String>,
    transactions: Option<Transactions>,
    metrics: bool,
}

const DEFAULT_ID: &str = "performance-producer-default-transactional-id";

/// The records go in transactions.
#[derive(Debug)]
struct Transactions {
    id: String,
    duration: Duration,
}

impl Plan {
    /// Reads words as argparse does.
    fn read(args: &[String]) -> Result<Plan, Stop> {
        let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut words = args.iter().peekable();
        while let Some(word) = words.next() {
            if word == "-h" || word == "--help" {
                print!("{USAGE}{HELP}");
                return Err(Stop::Exit(1));
            }
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let Some((name, takes)) = OPTIONS.iter().find(|(option, _)| *option == name) else {
                return Err(Stop::Usage(format!("unrecognized arguments: '{word}'")));
            };
            let given = values.entry(name).or_default();
            given.extend(attached);
            while *takes && (given.is_empty() || *name == "--producer-props") {
                let is_value = |next: &&String| !next.starts_with('-') || next[1..].parse::<u32>().is_ok();
                match words.next_if(is_value) {
                    Some(value) => given.push(value.clone()),
                    None if given.is_empty() => {
                        let count = if *name == "--producer-props" {
                            "at least one argument"
                        } else {
                            "one argument"
                        };
                        return Err(Stop::Usage(format!("argument {name}: expected {count}")));
                    }
                    None => break,
                }
            }
        }
        Plan::of(&values)
    }

    fn of(values: &BTreeMap<&str, Vec<String>>) -> Result<Plan, Stop> {
        let usage = |why: String| Stop::Usage(why);
        let text = |name: &str| values.get(name).and_then(|all| all.last().cloned());
        let number = |name: &str, kind: &str, max: i64| -> Result<Option<i64>, Stop> {
            let Some(text) = text(name) else { return Ok(None) };
            let number = text.parse().ok().filter(|number: &i64| number.abs() <= max);
            let why = format!(
                "argument {name}: could not convert '{text}' to {kind} (For input string: \"{text}\")"
            );
            number.map(Some).ok_or(usage(why))
        };
        let (int, long) = (i64::from(i32::MAX), i64::MAX);
        let records = number("--num-records", "Long", long)?;
        let throughput = number("--throughput", "Integer", int)?;
        let record_size = number("--record-size", "Integer", int)?;
        let payload_file = text("--payload-file");
        if record_size.is_some() && payload_file.is_some() {
            return Err(usage("argument --payload-file: not allowed with argument --record-size".to_owned()));
        }
        let required = |name: &str| usage(format!("argument {name} is required"));
        let throughput = throughput.ok_or_else(|| required("--throughput"))?;
        let topic = text("--topic").ok_or_else(|| required("--topic"))?;
        let records = records.ok_or_else(|| required("--num-records"))?;
        if record_size.is_none() && payload_file.is_none() {
            return Err(usage("one of the arguments --record-size --payload-file is required".to_owned()));
        }
        let duration = number("--transaction-duration-ms", "Long", long)?.unwrap_or(0);
        let properties = values.get("--producer-props").cloned();
        let config = text("--producer.config");
        if properties.is_none() && config.is_none() {
            return Err(usage("Either --producer-props or --producer.config must be specified.".to_owned()));
        }
        let delimiter = text("--payload-delimiter").filter(|text| text != "\\n").unwrap_or("\n".to_owned());
        Ok(Plan {
            topic,
            records,
            record_size: record_size.map(|size| size.max(0) as usize),
            payload_file,
            delimiter,
            throughput,
            properties: properties.unwrap_or_default(),
            config,
            metrics: values.contains_key("--print-metrics"),
            transactions: u64::try_from(duration).ok().filter(|ms| *ms > 0).map(|ms| Transactions {
                id: text("--transactional-id").unwrap_or(DEFAULT_ID.to_owned()),
                duration: Duration::from_millis(ms),
            }),
        })
    }

    fn payloads(&self) -> Result<Payloads, Stop> {
        let random = SplitMix(0);
        let Some(file) = &self.payload_file else {
            return Ok(Payloads { random, size: self.record_size.unwrap_or(0), given: Vec::new() });
        };
        let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
        println!("Reading payloads from: {}", path.display());
        let text = std::fs::read(file).unwrap_or_default();
        if text.is_empty() {
            let why = "File does not exist or empty file provided.".to_owned();
            return Err(Stop::Uncaught("java.lang.IllegalArgumentException", why));
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut given: Vec<Bytes> =
            text.split(&self.delimiter).map(|payload| Bytes::copy_from_slice(payload.as_bytes())).collect();
        while given.len() > 1 && given.last().is_some_and(Bytes::is_empty) {
            given.pop();
        }
        println!("Number of messages read: {}", given.len());
        Ok(Payloads { random, size: 0, given })
    }

    fn options(&self) -> Result<ProducerOptions, Stop> {
        log_to_stderr();
        let mut properties: Properties = properties_of(self.config.as_deref())?;
        for property in &self.properties {
            let pieces: Vec<&str> = property.split('=').collect();
            let [key, value] = pieces[..] else {
                let why = format!("Invalid property: {property}");
                return Err(Stop::Uncaught("java.lang.IllegalArgumentException", why));
            };
            properties.set("--producer-props", key, value);
        }
        if let Some(transactions) = &self.transactions {
            properties.set("--transactional-id", "transactional.id", &transactions.id);
        }
        let refused = |error: ClientError| {
            let why = format!("Failed to construct kafka producer\nCaused by: {}", throwable(&error));
            Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
        };
        let bootstrap = super::value(&properties, "bootstrap.servers").unwrap_or_default().to_owned();
        let options = ProducerOptions::new(&bootstrap, "perf-producer-client").map_err(refused)?;
        let config = |error: ClientError| {
            Stop::Uncaught("org.apache.kafka.common.config.ConfigException", error.to_string())
        };
        let mut options = options.with(&properties).map_err(config)?;
        options.client = options.client.resolve().map_err(refused)?;
        Ok(options)
    }
}

/// Steele, Lea and Flood's generator: enough for letters.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

struct Payloads {
    random: SplitMix,
    size: usize,
    given: Vec<Bytes>,
}

impl Payloads {
    fn next(&mut self) -> Bytes {
        if !self.given.is_empty() {
            let at = self.random.next() % self.given.len() as u64;
            return self.given[at as usize].clone();
        }
        let mut payload = Vec::with_capacity(self.size + 8);
        while payload.len() < self.size {
            payload.extend(self.random.next().to_le_bytes().map(|byte| b'A' + byte % 26));
        }
        payload.truncate(self.size);
        payload.into()
    }
}

/// A record on its way.
struct Sent {
    at: Instant,
    bytes: usize,
    delivery: Delivery,
}

async fn send(plan: Plan, mut payloads: Payloads, options: ProducerOptions) -> Result<(), Stop> {
    let client_id = options.client.client_id.to_string();
    let producer = Producer::new(options);
    let stats = Arc::new(Mutex::new(Stats::new(plan.records)));
    // A partition's records are answered in order; those of two partitions wait for their own.
    let mut waiters: BTreeMap<i32, mpsc::UnboundedSender<Sent>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let failed =
        |error: ClientError| Stop::Uncaught("org.apache.kafka.common.KafkaException", error.to_string());
    if plan.transactions.is_some() {
        producer.init_transactions().await.map_err(failed)?;
    }
    let mut begun: Option<Instant> = None;
    let start = Instant::now();
    for sent in 0..plan.records {
        if plan.transactions.is_some() && begun.is_none() {
            producer.begin_transaction().map_err(failed)?;
            begun = Some(Instant::now());
        }
        let value = payloads.next();
        let (at, bytes) = (Instant::now(), value.len());
        let record =
            ProducerRecord { topic: plan.topic.as_str().into(), value: Some(value), ..Default::default() };
        match producer.send(record).await {
            Ok(delivery) => {
                let waiter = waiters.entry(delivery.partition().partition).or_insert_with(|| {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    tasks.spawn(count(receiver, stats.clone()));
                    sender
                });
                let _ = waiter.send(Sent { at, bytes, delivery });
            }
            Err(error) => {
                stats.lock().expect("no panic holds it").errors += 1;
                eprintln!("{}", throwable(&error));
            }
        }
        if let (Some(since), Some(transactions)) = (begun, &plan.transactions)
            && transactions.duration <= at.duration_since(since)
        {
            producer.commit_transaction().await.map_err(failed)?;
            begun = None;
        }
        if plan.throughput >= 0 {
            throttle(start, sent + 1, plan.throughput).await;
        }
    }
    if begun.is_some() {
        producer.commit_transaction().await.map_err(failed)?;
    }
    producer.flush().await;
    drop(waiters);
    while tasks.join_next().await.is_some() {}
    let mut stats = stats.lock().expect("no panic holds it");
    println!("{}", stats.total());
    if plan.metrics {
        metrics::print(&stats.metrics(&client_id, &plan.topic));
    }
    Ok(())
}

/// Waits until `sent` records are due.
pub async fn throttle(start: Instant, sent: i64, per_second: i64) {
    let due = match per_second {
        0 => Duration::MAX,
        _ => Duration::from_secs_f64(sent as f64 / per_second as f64),
    };
    let early = due.saturating_sub(start.elapsed());
    // Shorter sleeps are not worth a timer.
    if early > Duration::from_millis(2) {
        tokio::time::sleep(early).await;
    }
}

async fn count(mut records: mpsc::UnboundedReceiver<Sent>, stats: Arc<Mutex<Stats>>) {
    while let Some(Sent { at, bytes, delivery }) = records.recv().await {
        match delivery.wait().await {
            Ok(_) => stats.lock().expect("no panic holds it").record(at.elapsed(), bytes),
            Err(error) => {
                stats.lock().expect("no panic holds it").errors += 1;
                eprintln!("{}", throwable(&error));
            }
        }
    }
}

const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Latencies are sampled so that no more are kept.
const SAMPLES_MAX: i64 = 500_000;

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    count: i64,
    bytes: usize,
    latency_total: i64,
    latency_max: i64,
}

impl Window {
    fn record(&mut self, latency: i64, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        self.latency_total += latency;
        self.latency_max = self.latency_max.max(latency);
    }

    fn rates(&self, elapsed: Duration) -> (f64, f64, f64) {
        let seconds = (elapsed.as_millis() as f64) / 1000.0;
        let megabytes = self.bytes as f64 / seconds / (1024.0 * 1024.0);
        (self.count as f64 / seconds, megabytes, self.latency_total as f64 / self.count as f64)
    }
}

struct Stats {
    start: Instant,
    all: Window,
    window_start: Instant,
    window: Window,
    sampling: i64,
    /// Records that were refused or given up.
    errors: i64,
    /// The largest value, in bytes.
    largest: usize,
    /// Milliseconds.
    latencies: Vec<i64>,
}

impl Stats {
    fn new(records: i64) -> Stats {
        let start = Instant::now();
        let sampling = (records / records.clamp(1, SAMPLES_MAX)).max(1);
        let (all, window) = (Window::default(), Window::default());
        Stats {
            start,
            all,
            window_start: start,
            window,
            sampling,
            errors: 0,
            largest: 0,
            latencies: Vec::new(),
        }
    }

    fn record(&mut self, latency: Duration, bytes: usize) {
        let latency = latency.as_millis() as i64;
        if self.all.count % self.sampling == 0 {
            self.latencies.push(latency);
        }
        self.all.record(latency, bytes);
        self.largest = self.largest.max(bytes);
        self.window.record(latency, bytes);
        let elapsed = self.window_start.elapsed();
        if elapsed >= REPORT_EVERY {
            let (records, megabytes, average) = self.window.rates(elapsed);
            println!(
                "{} records sent, {records:.1} records/sec ({megabytes:.2} MB/sec), {average:.1} ms avg latency, {:.1} ms \
                 max latency.",
                self.window.count, self.window.latency_max as f64
            );
            self.window = Window::default();
            self.window_start = Instant::now();
        }
    }

    fn metrics(&self, client_id: &str, topic: &str) -> Vec<Metric> {
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let (count, bytes) = (self.all.count as f64, self.all.bytes as f64);
        let of_client = vec![("client-id", client_id.to_owned())];
        let of_topic = vec![("client-id", client_id.to_owned()), ("topic", topic.to_owned())];
        let client = |name, value| Metric { group: "producer-metrics", name, tags: of_client.clone(), value };
        let topic =
            |name, value| Metric { group: "producer-topic-metrics", name, tags: of_topic.clone(), value };
        vec![
            client("record-error-total", self.errors as f64),
            client("record-send-rate", count / seconds),
            client("record-send-total", count),
            client("record-size-avg", bytes / count.max(1.0)),
            client("record-size-max", self.largest as f64),
            topic("byte-rate", bytes / seconds),
            topic("byte-total", bytes),
            topic("record-error-total", self.errors as f64),
            topic("record-send-rate", count / seconds),
            topic("record-send-total", count),
        ]
    }

    fn total(&mut self) -> String {
        let (records, megabytes, average) =
            self.all.rates(self.start.elapsed().max(Duration::from_millis(1)));
        self.latencies.sort_unstable();
        let percentile = |part: f64| {
            self.latencies.get((part * self.latencies.len() as f64) as usize).copied().unwrap_or_default()
        };
        let average = if average.is_nan() { "NaN".to_owned() } else { format!("{average:.2}") };
        format!(
            "{} records sent, {records:.6} records/sec ({megabytes:.2} MB/sec), {average} ms avg latency, {:.2} ms max \
             latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.all.count,
            self.all.latency_max as f64,
            percentile(0.5),
            percentile(0.95),
            percentile(0.99),
            percentile(0.999)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Plan, String> {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        Plan::read(&args).map_err(|stop| match stop {
            Stop::Usage(why) => why,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_command_line_is_read_as_argparse_reads_it() {
        let line = "--topic t --num-records 10 --throughput -1 --record-size=5 --producer-props a=b c=d --payload-delimiter x";
        let plan = read(line).unwrap();
        assert_eq!((plan.records, plan.throughput, plan.record_size), (10, -1, Some(5)));
        assert_eq!(plan.properties, ["a=b", "c=d"]);
        assert_eq!(read("--topic t").unwrap_err(), "argument --throughput is required");
        assert_eq!(read("--foo").unwrap_err(), "unrecognized arguments: '--foo'");
        assert_eq!(read("--topic").unwrap_err(), "argument --topic: expected one argument");
        let both = "--topic t --num-records 1 --throughput 1 --record-size 1 --payload-file x";
        assert!(read(both).unwrap_err().contains("not allowed with"));
    }

    #[test]
    fn the_last_line_counts_what_was_answered() {
        let mut stats = Stats::new(4);
        for ms in [1, 2, 3, 10] {
            stats.record(Duration::from_millis(ms), 100);
        }
        let line = stats.total();
        assert!(line.starts_with("4 records sent, "), "{line}");
        assert!(line.ends_with(
            "4.00 ms avg latency, 10.00 ms max latency, 3 ms 50th, 10 ms 95th, 10 ms 99th, 10 ms 99.9th."
        ));
    }

    #[test]
    fn payloads_are_letters_of_the_size_asked_for() {
        let mut payloads = Payloads { random: SplitMix(0), size: 11, given: Vec::new() };
        let payload = payloads.next();
        assert!(payload.len() == 11 && payload.iter().all(u8::is_ascii_uppercase));
        assert_ne!(payload, payloads.next());
    }
}
