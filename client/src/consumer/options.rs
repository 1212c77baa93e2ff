//! What a consumer is told to do, under Java's names.

use crate::assignor::Assignor;
use crate::error::ClientError;
use crate::options::{ClientKind, ClientOptions, set};
use base::Properties;
use std::time::Duration;
use wire::Str;

/// `auto.offset.reset`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// A partition without a position is an error.
    None,
}

#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    pub client: ClientOptions,
    pub group_id: Option<Str>,
    /// Makes a static member.
    pub instance_id: Option<Str>,
    pub reset: OffsetReset,
    pub auto_commit: Option<Duration>,
    pub read_committed: bool,
    pub poll_records_max: usize,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    pub wait_max: Duration,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub poll_interval_max: Duration,
    pub allow_auto_create_topics: bool,
    /// Empty: none.
    pub rack: Str,
    /// How the group's partitions may be dealt out, the first choice first.
    pub assignors: Vec<Assignor>,
}

impl ConsumerOptions {
    /// Java's defaults.
    pub fn new(bootstrap: &str, client_id: &str) -> Result<ConsumerOptions, ClientError> {
        Ok(ConsumerOptions {
            client: ClientOptions::new(ClientKind::Consumer, bootstrap, client_id)?,
            group_id: None,
            instance_id: None,
            reset: OffsetReset::Latest,
            auto_commit: Some(Duration::from_secs(5)),
            read_committed: false,
            poll_records_max: 500,
            bytes_min: 1,
            bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
            wait_max: Duration::from_millis(500),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            poll_interval_max: Duration::from_secs(300),
            allow_auto_create_topics: true,
            rack: Str::new(),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
        })
    }

    pub fn group(mut self, group: impl Into<Str>) -> ConsumerOptions {
        let group = group.into();
        self.client.group_id = Some(group.clone());
        self.group_id = Some(group);
        self
    }

    /// Takes the settings that are given under Java's names.
    pub fn with(mut self, properties: &Properties) -> Result<ConsumerOptions, ClientError> {
        self.client = self.client.with(properties)?;
        let text = |key: &str| properties.get(key).map(|entry| entry.value.clone());
        if let Some(group) = text("group.id") {
            self = self.group(group);
        }
        if let Some(instance) = text("group.instance.id") {
            self.instance_id = Some(instance.into());
        }
        if let Some(rack) = text("client.rack") {
            self.rack = rack.into();
        }
        if let Some(classes) = text("partition.assignment.strategy") {
            self.assignors = assignors(&classes)?;
        }
        let choice = |key: &str, words: &[&str]| -> Result<Option<usize>, ClientError> {
            let Some(value) = text(key) else { return Ok(None) };
            let place = words.iter().position(|word| *word == value.to_lowercase());
            place.map(Some).ok_or_else(|| {
                let words = words.join(", ");
                let why =
                    format!("Invalid value {value} for configuration {key}: String must be one of: {words}");
                ClientError::Config(why)
            })
        };
        if let Some(place) = choice("auto.offset.reset", &["latest", "earliest", "none"])? {
            self.reset = [OffsetReset::Latest, OffsetReset::Earliest, OffsetReset::None][place];
        }
        if let Some(place) = choice("isolation.level", &["read_committed", "read_uncommitted"])? {
            self.read_committed = place == 0;
        }
        let millis = |to: &mut Duration, key| set(properties, key, |ms: u64| *to = Duration::from_millis(ms));
        let mut interval = self.auto_commit.unwrap_or(Duration::from_secs(5));
        millis(&mut interval, "auto.commit.interval.ms")?;
        if self.auto_commit.is_some() {
            self.auto_commit = Some(interval);
        }
        if let Some(place) = choice("enable.auto.commit", &["false", "true"])? {
            self.auto_commit = (place == 1).then_some(interval);
        }
        if let Some(place) = choice("allow.auto.create.topics", &["false", "true"])? {
            self.allow_auto_create_topics = place == 1;
        }
        millis(&mut self.wait_max, "fetch.max.wait.ms")?;
        millis(&mut self.session_timeout, "session.timeout.ms")?;
        millis(&mut self.heartbeat_interval, "heartbeat.interval.ms")?;
        millis(&mut self.poll_interval_max, "max.poll.interval.ms")?;
        set(properties, "max.poll.records", |max| self.poll_records_max = max)?;
        set(properties, "fetch.min.bytes", |bytes| self.bytes_min = bytes)?;
        set(properties, "fetch.max.bytes", |bytes| self.bytes_max = bytes)?;
        set(properties, "max.partition.fetch.bytes", |bytes| self.partition_bytes_max = bytes)?;
        Ok(self)
    }
}

/// Java's class names, separated by commas.
fn assignors(classes: &str) -> Result<Vec<Assignor>, ClientError> {
    let classes: Vec<&str> = classes.split(',').map(str::trim).filter(|class| !class.is_empty()).collect();
    if classes.is_empty() {
        return Err(ClientError::State(
            "Must configure at least one partition assigner class name to partition.assignment.strategy \
             configuration property"
                .to_owned(),
        ));
    }
    let known = |class: &&str| {
        let unknown = || ClientError::State(format!("{class} ClassNotFoundException exception occurred"));
        Assignor::of_class(class).ok_or_else(unknown)
    };
    classes.iter().map(known).collect()
}
