//! Kafka's tools, with the real ones' options, outputs and exit codes: one file per tool.
//! What they share is here: usage errors, logs on stderr, client settings from files and options.

pub mod acls;
mod acls_options;
mod argparse;
pub mod broker_api_versions;
pub mod cluster;
mod config_brokers;
mod config_options;
mod config_quotas;
mod config_scram;
pub mod configs;
pub mod console_consumer;
pub mod console_producer;
pub mod consumer_groups;
pub mod consumer_perf;
pub mod delegation_tokens;
pub mod delete_records;
mod deserializer;
mod dump_index;
pub mod dump_log;
pub mod e2e_latency;
pub mod features;
mod formatter;
pub mod get_offsets;
mod group_json;
mod group_offsets;
mod group_options;
mod json;
pub mod leader_election;
pub mod log_dirs;
pub mod metadata_quorum;
mod metadata_records;
mod metrics;
#[cfg(test)]
mod option_lists;
pub mod producer_perf;
pub mod reassign_partitions;
pub mod refused;
pub mod replica_verification;
pub mod run_class;
pub mod storage;
pub mod streams_reset;
mod terse;
pub mod topics;
mod topics_described;
mod topics_options;
mod topics_zookeeper;
pub mod transactions;
pub mod verifiable_consumer;
pub mod verifiable_producer;
mod zk_security;
pub mod zookeeper_security_migration;

use crate::Call;
use base::logging::{self, Layout, Output};
use base::{Given, OptionError, Properties, ToolOptions};
use client::{ClientError, ClientKind, ClientOptions};
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use terse::{Terse, end_terse};

/// The release that these tools stand in for.
const VERSION: &str = "3.5.1";

/// Why a tool ends before its work.
#[derive(Debug)]
pub enum Stop {
    /// A mistake in the options: the message and the table of options on stderr.
    Usage(String),
    /// What Java leaves to its default handler: exception and message on stderr.
    Uncaught(&'static str, String),
    /// The tool has said all there is to say.
    Exit(u8),
}

/// Why a tool's work ended, where each reason has words of its own.
pub enum Failed {
    Stop(Stop),
    Client(ClientError),
}

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Failed {
        Failed::Stop(stop)
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Failed {
        Failed::Client(error)
    }
}

impl From<OptionError> for Stop {
    fn from(error: OptionError) -> Stop {
        let trace = trace_of(&error);
        let message = trace.split_once(": ").map_or(&*trace, |(_, message)| message);
        Stop::Uncaught(error.exception(), message.to_owned())
    }
}

/// Shows what there is to show, and turns it into the exit code.
fn end(table: &ToolOptions, result: Result<(), Stop>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => {
            eprint!("{message}\n{}", table.help());
            ExitCode::FAILURE
        }
        Err(Stop::Uncaught(exception, message)) => {
            let colon = if message.is_empty() { "" } else { ": " };
            eprintln!("Exception in thread \"main\" {exception}{colon}{message}");
            ExitCode::FAILURE
        }
    }
}

/// `--help` (or no argument at all) and `--version`.
fn help_or_version(call: &Call, given: &Given, description: &str) -> Result<(), Stop> {
    if call.args.is_empty() || given.has("help") {
        return Err(Stop::Usage(description.to_owned()));
    }
    if given.has("version") {
        println!("{VERSION}");
        return Err(Stop::Exit(0));
    }
    Ok(())
}

fn require(given: &Given, options: &[&str]) -> Result<(), Stop> {
    match options.iter().find(|option| !given.has(option)) {
        Some(missing) => Err(Stop::Usage(format!("Missing required argument \"[{missing}]\""))),
        None => Ok(()),
    }
}

/// `--bootstrap-server`, or `--broker-list`, its old name.
fn bootstrap(given: &Given) -> Result<&str, Stop> {
    Ok(match given.text("bootstrap-server")? {
        Some(bootstrap) => bootstrap,
        None => given.text("broker-list")?.unwrap_or_default(),
    })
}

/// As [`bootstrap`], of tools that want a port with every host.
fn bootstrap_with_ports(given: &Given) -> Result<&str, Stop> {
    let bootstrap = bootstrap(given)?;
    let has_port =
        |server: &str| server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !bootstrap.split(',').all(has_port) {
        return Err(Stop::Usage("Please provide valid host:port like host1:9091,host2:9092\n ".to_owned()));
    }
    Ok(bootstrap)
}

/// `used` rules the others out.
fn rule_out(given: &Given, used: &str, others: &[&str]) -> Result<(), Stop> {
    match others.iter().find(|other| given.has(used) && **other != used && given.has(other)) {
        Some(other) => {
            Err(Stop::Usage(format!("Option \"[{used}]\" can't be used with option \"[{other}]\"")))
        }
        None => Ok(()),
    }
}

/// A file of settings, if one is named.
fn properties_of(path: Option<&str>) -> Result<Properties, Stop> {
    let Some(path) = path else { return Ok(Properties::new()) };
    Properties::read(Path::new(path)).map_err(|error| match Path::new(path).exists() {
        true => Stop::Uncaught("java.io.IOException", error.to_string()),
        false => Stop::Uncaught("java.nio.file.NoSuchFileException", path.to_owned()),
    })
}

/// `key=value` each; a key alone has an empty value.
fn set_pairs(properties: &mut Properties, source: &str, pairs: &[String]) {
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        properties.set(source, key, value);
    }
}

fn value<'a>(properties: &'a Properties, key: &str) -> Option<&'a str> {
    properties.get(key).map(|entry| entry.value.as_str())
}

fn is_true(properties: &Properties, key: &str) -> bool {
    value(properties, key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Warnings go to stderr, in log4j's layout.
fn log_to_stderr() {
    // A second start in one process (tests) keeps the first one's layout.
    let _ = logging::init_at("warn", Layout::Kafka, &[Output::Stderr]);
}

/// An admin client for `--bootstrap-server`, with the settings in the file that `config_option` names.
fn admin_options(given: &Given, config_option: &str) -> Result<ClientOptions, Stop> {
    admin_of(given.text("bootstrap-server")?.unwrap_or_default(), given.text(config_option)?)
}

/// An admin client for these brokers, with the settings in a file, if one is named.
fn admin_of(bootstrap: &str, config: Option<&str>) -> Result<ClientOptions, Stop> {
    log_to_stderr();
    let properties = properties_of(config)?;
    let options =
        ClientOptions::new(ClientKind::Admin, bootstrap, "adminclient-1").and_then(ClientOptions::resolve);
    let options = options.map_err(|error| {
        let why = format!("Failed to create new KafkaAdminClient\nCaused by: {}", throwable(&error));
        Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
    })?;
    // Where the brokers are, the option alone says.
    let bootstrap = options.bootstrap.clone();
    let options = options.with(&properties).map_err(|error| {
        Stop::Uncaught("org.apache.kafka.common.config.ConfigException", error.to_string())
    })?;
    Ok(ClientOptions { bootstrap, ..options })
}

/// `exception: message` and its causes, as a stack trace without its frames.
fn trace_of(error: &OptionError) -> String {
    let mut trace = format!("{}: {error}", error.exception());
    if let OptionError::Conversion { argument, .. } = error {
        let cause = format!("java.lang.NumberFormatException: For input string: \"{argument}\"");
        trace +=
            &format!("\nCaused by: joptsimple.internal.ReflectionException: {cause}\nCaused by: {cause}");
    }
    trace
}

/// The hash by which a Java map orders its keys.
fn java_hash(key: &str) -> u32 {
    let hash = string_hash(key);
    hash ^ (hash >> 16)
}

/// The hash by which a Java map orders partitions.
fn partition_hash(partition: &client::TopicPartition) -> u32 {
    let topic = string_hash(&partition.topic);
    let hash = 31_u32.wrapping_add(partition.partition.cast_unsigned()).wrapping_mul(31).wrapping_add(topic);
    hash ^ (hash >> 16)
}

/// The order of a Java map that begins with so many buckets: those in one bucket stay as they are.
fn java_order<T>(items: &mut [T], mut buckets: usize, hash: impl Fn(&T) -> u32) {
    while items.len() > buckets * 3 / 4 {
        buckets *= 2;
    }
    items.sort_by_key(|item| hash(item) as usize % buckets);
}

/// The order of Scala 2.12's mutable map of keys with these hash codes: buckets from the last to the first, in each the newest
/// first.
fn scala_order<K: Clone>(keys: &[K], hash: impl Fn(&K) -> u32) -> Vec<K> {
    let mut table: Vec<Vec<K>> = vec![Vec::new(); 16];
    for (n, key) in keys.iter().enumerate() {
        let at = scala_bucket(hash(key), table.len());
        table[at].insert(0, key.clone());
        if n + 1 > table.len() * 3 / 4 {
            let mut larger = vec![Vec::new(); table.len() * 2];
            for key in table.into_iter().rev().flatten() {
                let at = scala_bucket(hash(&key), larger.len());
                larger[at].insert(0, key);
            }
            table = larger;
        }
    }
    table.into_iter().rev().flatten().collect()
}

/// Of a table whose size is a power of two.
fn scala_bucket(hash: u32, size: usize) -> usize {
    const MIX: u32 = 0x9e37_75cd;
    let bits = size.trailing_zeros();
    let mixed = hash.wrapping_mul(MIX).swap_bytes().wrapping_mul(MIX).rotate_right(bits);
    (mixed >> (32 - bits)) as usize
}

/// `hashCode` of a Java string.
fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// Columns as wide as their widest cell, a tab behind each.
fn print_table(headers: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headers[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let headers = headers.iter().map(|header| (*header).to_owned()).collect::<Vec<String>>();
    for row in std::iter::once(&headers).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}\t"));
        println!("{}", cells.collect::<String>());
    }
}

/// Runs a tool's asynchronous part.
fn run<T>(work: impl Future<Output = T>) -> Result<T, Stop> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Uncaught("java.lang.Error", error.to_string()))?;
    let result = runtime.block_on(work);
    // A thread that still reads stdin is no reason to stay.
    runtime.shutdown_background();
    Ok(result)
}

/// `org.apache.kafka.common.errors.TopicExistsException: Topic 't' already exists.`
fn throwable(error: &ClientError) -> String {
    client::error::Throwable(error).to_string()
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// A topic pattern as tools take it: a Java regex for the whole name; commas mean "or", quotes at the ends go.
fn topic_pattern(raw: &str) -> Result<fancy_regex::Regex, String> {
    let quotes = ['"', '\''];
    let regex = raw.trim().replace(',', "|").replace(' ', "");
    let regex = regex.trim_start_matches(quotes).trim_end_matches(quotes);
    fancy_regex::Regex::new(&format!("^(?:{regex})$")).map_err(|_| format!("{regex} is an invalid regex."))
}

fn matches(pattern: &fancy_regex::Regex, name: &str) -> bool {
    // A pattern that backtracks without end matches nothing.
    pattern.is_match(name).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_pattern_is_for_the_whole_name_and_commas_mean_or() {
        let pattern = topic_pattern(" 'a, b.*'").unwrap();
        assert!(matches(&pattern, "a") && matches(&pattern, "bcd"));
        assert!(!matches(&pattern, "xa") && !matches(&pattern, "ab"));
        assert_eq!(topic_pattern("(").unwrap_err(), "( is an invalid regex.");
    }
}
