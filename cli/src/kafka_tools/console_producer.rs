//! `kafka-console-producer`: each line of stdin becomes a record.

use super::{
    Stop, bootstrap_with_ports, end, help_or_version, is_true, log_to_stderr, properties_of, require, run,
    set_pairs, throwable, value,
};
use crate::Call;
use base::{Given, Properties, ToolOption, ToolOptions};
use bytes::Bytes;
use client::{Delivery, Producer, ProducerOptions, ProducerRecord};
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use tokio::sync::mpsc;
use wire::Str;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::int("batch-size", "size", "Bytes of a batch, unless max-partition-memory-bytes is given.")
        .or("16384"),
    ToolOption::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: the brokers to start with, host:port,...",
    )
    .unless("broker-list"),
    ToolOption::text("broker-list", "broker-list", "DEPRECATED: bootstrap-server by its old name."),
    ToolOption::text_if_any(
        "compression-codec",
        "compression-codec",
        "none, gzip, snappy, lz4 or zstd; gzip without a value.",
    ),
    ToolOption::text("line-reader", "reader_class", "How lines become records; there is one way.")
        .or(LINE_READER),
    ToolOption::long(
        "max-block-ms",
        "max block on send",
        "How long a line may wait for metadata and memory.",
    )
    .or("60000"),
    ToolOption::long(
        "max-memory-bytes",
        "total memory in bytes",
        "Memory for records that wait (buffer.memory).",
    )
    .or("33554432"),
    ToolOption::int(
        "max-partition-memory-bytes",
        "memory in bytes per partition",
        "Bytes of a batch (batch.size).",
    )
    .or("16384"),
    ToolOption::int("message-send-max-retries", "", "How often a record is sent again (retries).").or("3"),
    ToolOption::long(
        "metadata-expiry-ms",
        "metadata expiration interval",
        "Age at which metadata is asked for again.",
    )
    .or("300000"),
    ToolOption::text(
        "producer-property",
        "producer_prop",
        "A setting of the producer, key=value; may be repeated.",
    ),
    ToolOption::text(
        "producer.config",
        "config file",
        "File with settings of the producer; producer-property counts over it.",
    ),
    ToolOption::text(
        "property",
        "prop",
        "A setting of the line reader, key=value; may be repeated: parse.key (false), parse.headers (false), ignore.error (false), key.separator (tab), headers.delimiter (tab), headers.separator (,), headers.key.separator (:), null.marker.",
    ),
    ToolOption::text(
        "reader-config",
        "config file",
        "File with settings of the line reader; property counts over it.",
    ),
    ToolOption::text(
        "request-required-acks",
        "request required acks",
        "Who has to have a record: 0, 1, -1 or all.",
    )
    .or("-1"),
    ToolOption::int("request-timeout-ms", "request timeout ms", "How long a broker may take to answer.")
        .or("1500"),
    ToolOption::long("retry-backoff-ms", "", "Pause before a retry.").or("100"),
    ToolOption::int("socket-buffer-size", "size", "Accepted; sockets size their buffers themselves.")
        .or("102400"),
    ToolOption::flag("sync", "Waits for each record's answer."),
    ToolOption::long("timeout", "timeout_ms", "How long a record may wait for company (linger.ms).")
        .or("1000"),
    ToolOption::text("topic", "topic", "REQUIRED: where the records go."),
]);

const LINE_READER: &str = "kafka.tools.ConsoleProducer$LineMessageReader";
const CALLBACK: &str = "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback";

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, produce(call))
}

fn produce(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args).map_err(|error| Stop::Usage(error.to_string()))?;
    help_or_version(
        call,
        &given,
        "This tool helps to read data from standard input and publish it to Kafka.",
    )?;
    require(&given, &["topic"])?;
    // What goes wrong from here on is printed without the thread's name.
    let (options, reader) = prepare(&given).map_err(|stop| match stop {
        Stop::Uncaught(exception, message) if exception.starts_with("joptsimple.") => printed(&message),
        Stop::Uncaught(exception, message) => printed(&format!("{exception}: {message}")),
        stop => stop,
    })?;
    run(send_lines(options, reader, given.has("sync")))?
}

fn prepare(given: &Given) -> Result<(ProducerOptions, LineReader), Stop> {
    given.text("topic")?;
    let options = options(given)?;
    if let Some(class) = given.text("line-reader")?.filter(|class| *class != LINE_READER) {
        return Err(Stop::Uncaught("java.lang.ClassNotFoundException", class.to_owned()));
    }
    Ok((options, LineReader::new(given)?))
}

/// What Java prints of an exception that ends the tool.
fn printed(throwable: &str) -> Stop {
    eprintln!("{throwable}");
    Stop::Exit(1)
}

fn options(given: &Given) -> Result<ProducerOptions, Stop> {
    let bootstrap = bootstrap_with_ports(given)?;
    let mut properties = properties_of(given.text("producer.config")?)?;
    set_pairs(&mut properties, "--producer-property", given.texts("producer-property"));
    let codec = match (given.has("compression-codec"), given.text("compression-codec")?) {
        (false, _) => "none",
        (true, None | Some("")) => "gzip",
        (true, Some(codec)) => codec,
    };
    properties.set("--compression-codec", "compression.type", codec);
    // An option that is given counts over a setting, and a setting over the option's default.
    for (option, key) in [
        ("timeout", "linger.ms"),
        ("request-required-acks", "acks"),
        ("request-timeout-ms", "request.timeout.ms"),
        ("message-send-max-retries", "retries"),
        ("retry-backoff-ms", "retry.backoff.ms"),
        ("max-memory-bytes", "buffer.memory"),
        ("batch-size", "batch.size"),
        ("metadata-expiry-ms", "metadata.max.age.ms"),
        ("max-block-ms", "max.block.ms"),
        ("max-partition-memory-bytes", "batch.size"),
    ] {
        let number = option != "request-required-acks";
        if number {
            given.number(option).map_err(|error| printed(&error.to_string()))?;
        }
        if (given.has(option) || properties.get(key).is_none())
            && let Some(text) = given.text(option)?
        {
            properties.set(option, key, text);
        }
    }
    let refused = |error: client::ClientError| printed(&throwable(&error));
    let mut options = ProducerOptions::new(bootstrap, "console-producer").map_err(refused)?;
    let bootstrap = std::mem::take(&mut options.client.bootstrap);
    options = options.with(&properties).map_err(refused)?;
    options.client.bootstrap = bootstrap;
    log_to_stderr();
    options.client = options.client.resolve().map_err(|error| {
        let why = format!("Failed to construct kafka producer\nCaused by: {}", throwable(&error));
        Stop::Uncaught(KAFKA_EXCEPTION, why)
    })?;
    Ok(options)
}

/// How lines become records.
struct LineReader {
    topic: Str,
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
}

impl LineReader {
    fn new(given: &Given) -> Result<LineReader, Stop> {
        let mut properties = properties_of(given.text("reader-config")?)?;
        set_pairs(&mut properties, "--property", given.texts("property"));
        let topic = given.text("topic")?.unwrap_or_default();
        LineReader::configured(topic, &properties)
            .map_err(|why| printed(&format!("{KAFKA_EXCEPTION}: {why}")))
    }

    fn configured(topic: &str, properties: &Properties) -> Result<LineReader, String> {
        let or = |key, default: &str| value(properties, key).unwrap_or(default).to_owned();
        let reader = LineReader {
            topic: topic.into(),
            parse_key: is_true(properties, "parse.key"),
            key_separator: or("key.separator", "\t"),
            parse_headers: is_true(properties, "parse.headers"),
            headers_delimiter: or("headers.delimiter", "\t"),
            headers_separator: or("headers.separator", ","),
            headers_key_separator: or("headers.key.separator", ":"),
            ignore_error: is_true(properties, "ignore.error"),
            null_marker: value(properties, "null.marker").map(String::from),
        };
        let separators = [
            ("headers.delimiter", &reader.headers_delimiter),
            ("headers.separator", &reader.headers_separator),
            ("headers.key.separator", &reader.headers_key_separator),
        ];
        // The key's separator may be the headers' delimiter, and is by default.
        for (at, (name, text)) in separators.iter().enumerate() {
            if let Some((other, _)) = separators[at + 1..].iter().find(|(_, other)| other == text) {
                return Err(format!("{name} and {other} may not be equal"));
            }
        }
        let [delimiter, separator, key_separator] = separators;
        for (other, text) in [("key.separator", &reader.key_separator), separator, delimiter, key_separator] {
            if reader.null_marker.as_ref() == Some(text) {
                return Err(format!("null.marker and {other} may not be equal"));
            }
        }
        Ok(reader)
    }

    fn record(&self, number: usize, line: &str) -> Result<ProducerRecord, String> {
        let (headers, rest) =
            self.split(self.parse_headers, line, &self.headers_delimiter, "headers delimiter", number, line)?;
        let (key, value) =
            self.split(self.parse_key, rest, &self.key_separator, "key separator", number, line)?;
        let headers = headers.filter(|headers| !self.is_null(headers));
        Ok(ProducerRecord {
            topic: self.topic.clone(),
            key: key.and_then(|key| self.bytes(key)),
            value: self.bytes(value),
            headers: headers.map(|headers| self.headers(number, headers)).transpose()?.unwrap_or_default(),
            ..Default::default()
        })
    }

    /// What stands before the separator, and the rest.
    fn split<'a>(
        &self,
        enabled: bool,
        text: &'a str,
        separator: &str,
        name: &str,
        number: usize,
        line: &str,
    ) -> Result<(Option<&'a str>, &'a str), String> {
        if !enabled {
            return Ok((None, text));
        }
        match text.split_once(separator) {
            Some((part, rest)) => Ok((Some(part), rest)),
            None if self.ignore_error => Ok((None, text)),
            None => Err(format!("No {name} found on line number {number}: '{line}'")),
        }
    }

    fn headers(&self, number: usize, headers: &str) -> Result<Vec<(Str, Option<Bytes>)>, String> {
        let mut parsed = Vec::new();
        for pair in headers.split(&self.headers_separator) {
            match pair.split_once(&self.headers_key_separator) {
                Some((key, _)) if self.is_null(key) => {
                    return Err(format!(
                        "Header keys should not be equal to the null marker '{key}' as they can't be null"
                    ));
                }
                Some((key, value)) => parsed.push((key.into(), self.bytes(value))),
                None if self.ignore_error => parsed.push((pair.into(), None)),
                None => {
                    return Err(format!(
                        "No header key separator found in pair '{pair}' on line number {number}"
                    ));
                }
            }
        }
        Ok(parsed)
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    fn bytes(&self, text: &str) -> Option<Bytes> {
        (!self.is_null(text)).then(|| Bytes::copy_from_slice(text.as_bytes()))
    }
}

const KAFKA_EXCEPTION: &str = "org.apache.kafka.common.KafkaException";

/// Reads lines on a thread of its own: a read from a terminal cannot be given up.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1024);
    std::thread::spawn(move || {
        let prompt = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mut input = std::io::stdin().lock();
        loop {
            if prompt {
                print!(">");
                let _ = std::io::stdout().flush();
            }
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(1..) => {
                    while line.last().is_some_and(|end| matches!(end, b'\n' | b'\r')) {
                        line.pop();
                    }
                    if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                }
                // The end, or an input that is gone: there is no more to come.
                Ok(0) | Err(_) => return,
            }
        }
    });
    lines
}

async fn send_lines(options: ProducerOptions, reader: LineReader, sync: bool) -> Result<(), Stop> {
    let producer = Producer::new(options);
    let (sent, deliveries) = mpsc::unbounded_channel();
    let reporter = tokio::spawn(report(deliveries));
    let (mut lines, mut number, mut stop) = (lines(), 0, Ok(()));
    while let Some(line) = lines.recv().await {
        number += 1;
        let record = match reader.record(number, &line) {
            Ok(record) => record,
            Err(why) => {
                stop = Err(printed(&format!("{KAFKA_EXCEPTION}: {why}")));
                break;
            }
        };
        let of = Lengths::of(&record);
        match producer.send(record).await {
            Ok(delivery) if sync => {
                if let Err(error) = delivery.wait().await {
                    stop = Err(printed(&execution_exception(&error)));
                    break;
                }
            }
            Ok(delivery) => sent.send((of, delivery)).expect("the reporter runs until this goes"),
            Err(error) if sync => {
                stop = Err(printed(&execution_exception(&error)));
                break;
            }
            Err(error) => of.log(&error),
        }
    }
    producer.flush().await;
    drop(sent);
    let _ = reporter.await;
    stop
}

fn execution_exception(error: &client::ClientError) -> String {
    let cause = throwable(error);
    format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}")
}

async fn report(mut deliveries: mpsc::UnboundedReceiver<(Lengths, Delivery)>) {
    while let Some((of, delivery)) = deliveries.recv().await {
        if let Err(error) = delivery.wait().await {
            of.log(&error);
        }
    }
}

/// What an error says of its record.
struct Lengths {
    topic: Str,
    key: Option<usize>,
    value: Option<usize>,
}

impl Lengths {
    fn of(record: &ProducerRecord) -> Lengths {
        let len = |part: &Option<Bytes>| part.as_ref().map(Bytes::len);
        Lengths { topic: record.topic.clone(), key: len(&record.key), value: len(&record.value) }
    }

    fn log(&self, error: &client::ClientError) {
        let shown = |len: Option<usize>| len.map_or("null".to_owned(), |len| format!("{len} bytes"));
        let (topic, key, value) = (&self.topic, shown(self.key), shown(self.value));
        tracing::error!(
            target: CALLBACK,
            "Error when sending message to topic {topic} with key: {key}, value: {value} with error:"
        );
        eprintln!("{}", throwable(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(settings: &str) -> LineReader {
        LineReader::configured("t", &Properties::parse("test", settings.as_bytes()).unwrap()).unwrap()
    }

    fn shown(record: ProducerRecord) -> String {
        let part = |part: &Option<Bytes>| {
            part.as_ref().map_or("-".into(), |p| String::from_utf8_lossy(p).into_owned())
        };
        let headers: Vec<String> = record.headers.iter().map(|(k, v)| format!("{k}={}", part(v))).collect();
        format!("{} {} [{}]", part(&record.key), part(&record.value), headers.join(" "))
    }

    #[test]
    fn a_line_has_headers_then_key_then_value() {
        let all = reader("parse.key=true\nparse.headers=true\nkey.separator=\\:\nnull.marker=NIL");
        assert_eq!(shown(all.record(1, "h1:x,h2:NIL\tk:v:w").unwrap()), "k v:w [h1=x h2=-]");
        assert_eq!(shown(all.record(1, "NIL\tNIL:NIL").unwrap()), "- - []");
        assert_eq!(shown(reader("").record(1, "a\tb").unwrap()), "- a\tb []");
    }

    #[test]
    fn a_line_without_separator_is_an_error_that_can_be_ignored() {
        let error = reader("parse.key=true").record(1, "nokey").unwrap_err();
        assert_eq!(error, "No key separator found on line number 1: 'nokey'");
        assert_eq!(
            shown(reader("parse.key=true\nignore.error=true").record(1, "nokey").unwrap()),
            "- nokey []"
        );
    }

    #[test]
    fn separators_that_cannot_be_told_apart_are_refused() {
        let properties = Properties::parse("test", b"headers.separator=\\:").unwrap();
        let error = LineReader::configured("t", &properties).err().unwrap();
        assert_eq!(error, "headers.separator and headers.key.separator may not be equal");
    }
}
