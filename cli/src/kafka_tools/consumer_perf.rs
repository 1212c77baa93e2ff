//! `kafka-consumer-perf-test`: how fast a consumer reads a topic.

use super::metrics::{self, Metric};
use super::{Stop, bootstrap, end, help_or_version, log_to_stderr, properties_of, require, run, throwable};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use client::{ClientError, Consumer, ConsumerOptions, TopicPartition};
use jiff::Zoned;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: the brokers to start with, host:port,...",
    )
    .unless("broker-list"),
    ToolOption::text("broker-list", "broker-list", "DEPRECATED: bootstrap-server by its old name."),
    ToolOption::text("consumer.config", "config file", "File with settings of the consumer."),
    ToolOption::text("date-format", "date format", "How times are shown, of the letters yMdHmsS.")
        .or("yyyy-MM-dd HH:mm:ss:SSS"),
    ToolOption::int("fetch-size", "size", "Bytes of one partition in one request.").or("1048576"),
    ToolOption::flag(
        "from-latest",
        "A group without offsets starts after the last record, not with the first.",
    ),
    ToolOption::text("group", "gid", "The consumer group; one of its own otherwise."),
    ToolOption::flag("hide-header", "Leaves the titles out."),
    ToolOption::long("messages", "count", "REQUIRED: how many records to read."),
    ToolOption::int("num-fetch-threads", "count", "DEPRECATED AND IGNORED.").or("1"),
    ToolOption::flag("print-metrics", "At the end, what the consumer has counted."),
    ToolOption::long("reporting-interval", "interval_ms", "How often --show-detailed-stats shows them.")
        .or("5000"),
    ToolOption::flag("show-detailed-stats", "Shows a line for each interval."),
    ToolOption::int("socket-buffer-size", "size", "Accepted; sockets size their buffers themselves.")
        .or("2097152"),
    ToolOption::int("threads", "count", "DEPRECATED AND IGNORED.").or("10"),
    ToolOption::long_if_any("timeout", "milliseconds", "Ends when no record came for so long.").or("10000"),
    ToolOption::text("topic", "topic", "REQUIRED: the topic to read."),
]);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, perf(call))
}

fn perf(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args).map_err(|error| Stop::Usage(error.to_string()))?;
    if given.has("threads") || given.has("num-fetch-threads") {
        println!(
            "WARNING: option [threads] and [num-fetch-threads] have been deprecated and will be ignored by the test"
        );
    }
    help_or_version(call, &given, "This tool is used to verify the consumer performance.")?;
    require(&given, &["topic", "messages"])?;
    let detailed = given.has("show-detailed-stats");
    if !given.has("hide-header") {
        let first = if detailed { "time, threadId" } else { "start.time, end.time" };
        println!(
            "{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, \
             fetch.MB.sec, fetch.nMsg.sec"
        );
    }
    let failed = |message: String| {
        eprintln!("{message}\n{message}\n");
        Stop::Exit(1)
    };
    let plan = Plan::read(&given).map_err(|stop| match stop {
        Stop::Uncaught(exception, message) => {
            let first = message.split('\n').next().unwrap_or_default();
            // A file that is not there has no message but its name.
            eprintln!("{first}\n{exception}: {message}\n");
            Stop::Exit(1)
        }
        stop => stop,
    })?;
    run(plan.read_all())?.map_err(|error| failed(throwable(&error)))
}

/// `max.poll.records`.
const RECORDS_AT_A_TIME: usize = 500;

struct Plan {
    topic: String,
    options: ConsumerOptions,
    records: i64,
    timeout: Duration,
    report_every: Duration,
    dates: DateFormat,
    detailed: bool,
    metrics: bool,
}

impl Plan {
    fn read(given: &Given) -> Result<Plan, Stop> {
        let report_every = given.number("reporting-interval")?.unwrap_or_default();
        if report_every <= 0 {
            let why = "Reporting interval must be greater than 0.".to_owned();
            return Err(Stop::Uncaught("java.lang.IllegalArgumentException", why));
        }
        let dates = DateFormat::new(given.text("date-format")?.unwrap_or_default())
            .map_err(|why| Stop::Uncaught("java.lang.IllegalArgumentException", why))?;
        log_to_stderr();
        let mut properties = properties_of(given.text("consumer.config")?)?;
        let bootstrap = bootstrap(given)?;
        properties.set("--bootstrap-server", "bootstrap.servers", bootstrap);
        let own = format!("perf-consumer-{}", rand::random_range(0..100_000));
        properties.set("--group", "group.id", given.text("group")?.unwrap_or(&own));
        let size = given.number("fetch-size")?.unwrap_or_default().to_string();
        properties.set("--fetch-size", "max.partition.fetch.bytes", &size);
        let reset = if given.has("from-latest") { "latest" } else { "earliest" };
        properties.set("--from-latest", "auto.offset.reset", reset);
        let not_made = |cause: String| {
            let why = format!("Failed to construct kafka consumer\nCaused by: {cause}");
            Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
        };
        let refused = |error: ClientError| not_made(throwable(&error));
        let options = ConsumerOptions::new(bootstrap, "perf-consumer-client").map_err(refused)?;
        let mut options = options.with(&properties).map_err(|error| match error {
            // A class that is not there.
            ClientError::State(why) => not_made(format!("org.apache.kafka.common.KafkaException: {why}")),
            error => Stop::Uncaught("org.apache.kafka.common.config.ConfigException", error.to_string()),
        })?;
        options.client = options.client.resolve().map_err(refused)?;
        let millis = |ms: i64| Duration::from_millis(ms.max(0) as u64);
        Ok(Plan {
            topic: given.text("topic")?.unwrap_or_default().to_owned(),
            options,
            records: given.number("messages")?.unwrap_or_default(),
            timeout: millis(given.number("timeout")?.unwrap_or_default()),
            report_every: millis(report_every),
            dates,
            detailed: given.has("show-detailed-stats"),
            metrics: given.has("print-metrics"),
        })
    }

    async fn read_all(self) -> Result<(), ClientError> {
        let mut consumer = Consumer::new(self.options.clone());
        let (start, start_time) = (Instant::now(), Zoned::now());
        consumer.subscribe(vec![self.topic.as_str().into()])?;
        let (mut read, mut reported) = (Progress::default(), Progress::default());
        let (mut last_report, mut last_read) = (start, start);
        let (mut joined, mut joined_since_report) = (None, Duration::ZERO);
        let mut now = start;
        while read.records < self.records && now - last_read <= self.timeout {
            let records = consumer.poll(Duration::from_millis(100)).await?;
            now = Instant::now();
            if joined.is_none() && consumer.assignment().next().is_some() {
                joined = Some(now - start);
                joined_since_report = now - start;
            }
            if records.is_empty() {
                continue;
            }
            last_read = now;
            // More than Java's max.poll.records never come before the count is looked at.
            let left = (self.records - read.records).max(0) as usize;
            for record in records.into_iter().take(left.next_multiple_of(RECORDS_AT_A_TIME)) {
                let len = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
                read.records += 1;
                read.bytes += len(&record.key) + len(&record.value);
                if now - last_report >= self.report_every {
                    if self.detailed {
                        self.report(read, reported, now - last_report, joined_since_report);
                    }
                    joined_since_report = Duration::ZERO;
                    (last_report, reported) = (now, read);
                }
            }
        }
        if read.records < self.records {
            println!(
                "WARNING: Exiting before consuming the expected number of messages: timeout ({} ms) exceeded. You can use the \
                 --timeout option to increase the timeout.",
                self.timeout.as_millis()
            );
        }
        let (elapsed, end_time) = (start.elapsed(), Zoned::now());
        let partitions: Vec<TopicPartition> = consumer.assignment().cloned().collect();
        let lag = partitions.iter().filter_map(|partition| consumer.lag(partition)).max();
        consumer.close().await;
        if !self.detailed {
            let joined = joined.unwrap_or_default();
            let times = format!("{}, {}", self.dates.show(&start_time), self.dates.show(&end_time));
            println!("{times}, {}", read.line(read, elapsed, joined));
        }
        if self.metrics {
            metrics::print(&self.counted(read, elapsed, partitions.len(), lag));
        }
        Ok(())
    }

    fn counted(&self, read: Progress, elapsed: Duration, partitions: usize, lag: Option<i64>) -> Vec<Metric> {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let (records, bytes) = (read.records as f64, read.bytes as f64);
        let of_client = vec![("client-id", self.options.client.client_id.to_string())];
        let metric = |group, name, value| Metric { group, name, tags: of_client.clone(), value };
        let fetch = |name, value| metric("consumer-fetch-manager-metrics", name, value);
        let mut all = vec![
            metric("consumer-coordinator-metrics", "assigned-partitions", partitions as f64),
            fetch("bytes-consumed-rate", bytes / seconds),
            fetch("bytes-consumed-total", bytes),
            fetch("records-consumed-rate", records / seconds),
            fetch("records-consumed-total", records),
        ];
        all.extend(lag.map(|lag| fetch("records-lag-max", lag as f64)));
        all
    }

    fn report(&self, read: Progress, before: Progress, elapsed: Duration, joined: Duration) {
        let since = Progress { records: read.records - before.records, bytes: read.bytes - before.bytes };
        println!("{}, 0, {}", self.dates.show(&Zoned::now()), read.line(since, elapsed, joined));
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    records: i64,
    bytes: usize,
}

impl Progress {
    fn megabytes(self) -> f64 {
        self.bytes as f64 / (1024.0 * 1024.0)
    }

    /// What was read in all, and the rates of what was read `since`, in all that time and without the group's joining.
    fn line(self, since: Progress, elapsed: Duration, joined: Duration) -> String {
        let seconds = elapsed.as_millis() as f64 / 1000.0;
        let fetching = elapsed.saturating_sub(joined).as_millis();
        let fetch_seconds = fetching as f64 / 1000.0;
        let rate = |amount: f64, seconds: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        format!(
            "{:.4}, {:.4}, {}, {:.4}, {}, {fetching}, {:.4}, {:.4}",
            self.megabytes(),
            rate(since.megabytes(), seconds),
            self.records,
            rate(since.records as f64, seconds),
            joined.as_millis(),
            rate(since.megabytes(), fetch_seconds),
            rate(since.records as f64, fetch_seconds)
        )
    }
}

/// Java's date patterns, as far as dates and times of day go.
#[derive(Debug)]
struct DateFormat(String);

impl DateFormat {
    fn new(pattern: &str) -> Result<DateFormat, String> {
        if let Some(unknown) = pattern.chars().find(|c| c.is_ascii_alphabetic() && !"yMdHmsS".contains(*c)) {
            return Err(format!("Illegal pattern character '{unknown}' (this tool knows yMdHmsS)"));
        }
        Ok(DateFormat(pattern.to_owned()))
    }

    fn show(&self, time: &Zoned) -> String {
        let mut shown = String::new();
        let mut letters = self.0.chars().peekable();
        while let Some(letter) = letters.next() {
            let mut width = 1;
            while letters.next_if_eq(&letter).is_some() {
                width += 1;
            }
            let number = match letter {
                'y' if width == 2 => i64::from(time.year()) % 100,
                'y' => i64::from(time.year()),
                'M' => i64::from(time.month()),
                'd' => i64::from(time.day()),
                'H' => i64::from(time.hour()),
                'm' => i64::from(time.minute()),
                's' => i64::from(time.second()),
                'S' => i64::from(time.millisecond()),
                other => {
                    shown.extend(std::iter::repeat_n(other, width));
                    continue;
                }
            };
            shown += &format!("{number:0width$}");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    #[test]
    fn a_date_is_shown_as_the_pattern_says() {
        let time = date(2026, 1, 2).at(3, 4, 5, 60_000_000).to_zoned(TimeZone::UTC).unwrap();
        let shown = |pattern: &str| DateFormat::new(pattern).unwrap().show(&time);
        assert_eq!(shown("yyyy-MM-dd HH:mm:ss:SSS"), "2026-01-02 03:04:05:060");
        assert_eq!(shown("d/M/yy"), "2/1/26");
        assert!(DateFormat::new("EEE").is_err());
    }

    #[test]
    fn rates_leave_out_the_time_to_join() {
        let read = Progress { records: 10_000, bytes: 1_000_000 };
        let line = read.line(read, Duration::from_millis(590), Duration::from_millis(402));
        assert_eq!(line, "0.9537, 1.6164, 10000, 16949.1525, 402, 188, 5.0727, 53191.4894");
    }
}
