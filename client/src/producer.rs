//! The producer: records are collected into a batch per partition, and sent by one background task.
//!
//! A batch goes out when it is full or has waited for `linger`. Up to five requests per partition are under way; with
//! idempotence (the default with `acks=all`) the broker keeps their order through retries. After a failure that may pass,
//! a partition waits until all its requests are back, and sends what failed first.

mod accumulator;
mod sender;
mod transaction;

pub use transaction::{GroupMetadata, TxnOffset};

use crate::TopicPartition;
use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::options::{ClientKind, ClientOptions, set};
use crate::partitioner::{Sticky, partition_of_key};
use accumulator::{Accumulator, Outcome};
use base::Properties;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use wire::Str;
use wire::batch::Compression;

#[derive(Debug, Clone)]
pub struct ProducerOptions {
    pub client: ClientOptions,
    /// -1 all in-sync replicas, 0 no answer, 1 the leader.
    pub acks: i16,
    pub idempotent: bool,
    pub linger: Duration,
    /// A batch is closed at this size, in bytes before compression; a larger record gets a batch of its own.
    pub batch_size: usize,
    /// Bytes of records that may wait; `send` waits when there are more.
    pub buffer_memory: usize,
    /// How long `send` may wait for metadata and for memory.
    pub max_block: Duration,
    pub request_size_max: usize,
    pub compression: Compression,
    pub retries: u32,
    /// How long a record may take from `send` to its answer.
    pub delivery_timeout: Duration,
    pub in_flight_max: usize,
    /// Records are sent in transactions of this id only.
    pub transactional_id: Option<Str>,
    /// How long a transaction may take before its coordinator aborts it.
    pub transaction_timeout: Duration,
}

impl ProducerOptions {
    /// Java's defaults.
    pub fn new(bootstrap: &str, client_id: &str) -> Result<ProducerOptions, ClientError> {
        Ok(ProducerOptions {
            client: ClientOptions::new(ClientKind::Producer, bootstrap, client_id)?,
            acks: -1,
            idempotent: true,
            linger: Duration::ZERO,
            batch_size: 16384,
            buffer_memory: 32 << 20,
            max_block: Duration::from_secs(60),
            request_size_max: 1 << 20,
            compression: Compression::None,
            retries: i32::MAX as u32,
            delivery_timeout: Duration::from_secs(120),
            in_flight_max: 5,
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
        })
    }

    /// Takes the settings that are given under Java's names.
    pub fn with(mut self, properties: &Properties) -> Result<ProducerOptions, ClientError> {
        self.client = self.client.with(properties)?;
        let millis = |to: &mut Duration, key| set(properties, key, |ms: u64| *to = Duration::from_millis(ms));
        millis(&mut self.linger, "linger.ms")?;
        millis(&mut self.max_block, "max.block.ms")?;
        millis(&mut self.delivery_timeout, "delivery.timeout.ms")?;
        set(properties, "batch.size", |size| self.batch_size = size)?;
        set(properties, "buffer.memory", |size| self.buffer_memory = size)?;
        set(properties, "max.request.size", |size| self.request_size_max = size)?;
        set(properties, "retries", |retries| self.retries = retries)?;
        set(properties, "max.in.flight.requests.per.connection", |max: usize| {
            self.in_flight_max = max.max(1)
        })?;
        if let Some(entry) = properties.get("acks") {
            self.acks = match entry.value.as_str() {
                "all" | "-1" => -1,
                "0" => 0,
                "1" => 1,
                other => {
                    let why = format!(
                        "Invalid value {other} for configuration acks: String must be one of: all, -1, 0, 1"
                    );
                    return Err(ClientError::Config(why));
                }
            };
        }
        if let Some(entry) = properties.get("compression.type") {
            let unknown = || {
                ClientError::Config(format!(
                    "Invalid value {} for configuration compression.type: String must be one of: none, gzip, snappy, \
                     lz4, zstd",
                    entry.value
                ))
            };
            self.compression = Compression::from_name(&entry.value).ok_or_else(unknown)?;
        }
        let wanted = properties.get("enable.idempotence").map(|entry| entry.value == "true");
        if wanted == Some(true) && self.acks != -1 {
            let why = "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.";
            return Err(ClientError::Config(why.to_owned()));
        }
        self.idempotent = wanted.unwrap_or(self.acks == -1 && self.retries > 0 && self.in_flight_max <= 5);
        millis(&mut self.transaction_timeout, "transaction.timeout.ms")?;
        if let Some(entry) = properties.get("transactional.id") {
            self.transactional_id = Some(entry.value.as_str().into());
        }
        if self.transactional_id.is_some() && !self.idempotent {
            let why = "Cannot set a transactional.id without also enabling idempotence.";
            return Err(ClientError::Config(why.to_owned()));
        }
        Ok(self)
    }
}

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    pub topic: Str,
    /// `None`: by the key's hash, or sticky without a key.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Str, Option<Bytes>)>,
    /// Milliseconds; `None`: now.
    pub timestamp: Option<i64>,
}

/// Where a record went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    pub partition: TopicPartition,
    /// -1 with `acks=0`.
    pub offset: i64,
    pub timestamp: i64,
}

/// A record on its way. Dropping it does not stop the record.
#[derive(Debug)]
pub struct Delivery {
    outcome: Arc<Outcome>,
    partition: TopicPartition,
    index: i64,
    timestamp: i64,
}

impl Delivery {
    /// Where the record goes.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Waits until the broker has answered, or the record was given up.
    pub async fn wait(self) -> Result<RecordMetadata, ClientError> {
        let acked = self.outcome.wait().await.map_err(|error| error.of_record(self.index))?;
        Ok(RecordMetadata {
            partition: self.partition,
            offset: if acked.base_offset < 0 { -1 } else { acked.base_offset + self.index },
            timestamp: if acked.log_append_time < 0 { self.timestamp } else { acked.log_append_time },
        })
    }
}

/// A handle; clones share buffers. The last one to go drops what was not flushed.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    _sender: Arc<SenderTask>,
}

#[derive(Debug)]
struct SenderTask(tokio::task::AbortHandle);

impl Drop for SenderTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    options: ProducerOptions,
    cluster: Cluster,
    accumulator: Mutex<Accumulator>,
    sticky: Mutex<Sticky>,
    /// A permit per byte.
    memory: Arc<Semaphore>,
    /// The sender has something to look at.
    wake: Notify,
    /// A batch is done.
    done: Notify,
    transaction: Option<Mutex<transaction::Transaction>>,
    /// Held while partitions are added to the transaction, and while it ends.
    adding: tokio::sync::Mutex<()>,
}

impl Producer {
    /// Starts the background task; connects with the first record.
    pub fn new(options: ProducerOptions) -> Producer {
        let shared = Arc::new(Shared {
            cluster: Cluster::new(options.client.clone()),
            accumulator: Mutex::default(),
            sticky: Mutex::default(),
            memory: Arc::new(Semaphore::new(options.buffer_memory.min(Semaphore::MAX_PERMITS))),
            wake: Notify::new(),
            done: Notify::new(),
            adding: tokio::sync::Mutex::default(),
            transaction: options
                .transactional_id
                .clone()
                .map(|id| Mutex::new(transaction::Transaction::new(id))),
            options,
        });
        let task = tokio::spawn(sender::run(shared.clone()));
        Producer { shared, _sender: Arc::new(SenderTask(task.abort_handle())) }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// Queues a record; waits only for metadata and memory. Its fate is the [`Delivery`]'s.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let shared = &self.shared;
        if let Some(transaction) = &shared.transaction {
            transaction.lock().expect("no panic holds it").check_send()?;
        }
        let deadline = Instant::now() + shared.options.max_block;
        let (partitions, available) = self.partitions_of(&record.topic, deadline).await?;
        let size = record_size(&record);
        let (alone, max) = (size + wire::batch::HEADER_SIZE, shared.options.request_size_max);
        if alone > max {
            let why = format!(
                "The message is {alone} bytes when serialized which is larger than {max}, which is the value of the \
                 max.request.size configuration."
            );
            return Err(ClientError::broker(wire::kafka::ErrorCode::MESSAGE_TOO_LARGE, &Some(why.into())));
        }
        self.reserve(size, deadline).await?;
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, partitions),
            (None, None) => {
                let mut sticky = shared.sticky.lock().expect("no panic holds it");
                sticky.partition(&record.topic, size, shared.options.batch_size, &available, partitions)
            }
        };
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let partition = TopicPartition { topic: record.topic.clone(), partition };
        let appended = {
            let mut accumulator = shared.accumulator.lock().expect("no panic holds it");
            accumulator.append(&partition, &record, timestamp, size, &shared.options)
        };
        if appended.wake {
            shared.wake.notify_one();
        }
        Ok(Delivery { outcome: appended.outcome, partition, index: appended.index, timestamp })
    }

    /// Takes the record's bytes from the buffer memory until its batch is done.
    async fn reserve(&self, size: usize, deadline: Instant) -> Result<(), ClientError> {
        let shared = &self.shared;
        let permits = (size as u32).min(shared.options.buffer_memory as u32);
        let acquire = shared.memory.acquire_many(permits);
        let permit = match tokio::time::timeout_at(deadline, acquire).await {
            Ok(permit) => permit.map_err(|_| ClientError::Closed)?,
            Err(_) => {
                let ms = shared.options.max_block.as_millis();
                let why = format!(
                    "Failed to allocate {size} bytes within the configured max blocking time {ms} ms."
                );
                return Err(ClientError::TimedOut(why));
            }
        };
        permit.forget();
        Ok(())
    }

    /// How many partitions the topic has, and which of them have a leader.
    async fn partitions_of(&self, topic: &Str, deadline: Instant) -> Result<(i32, Vec<i32>), ClientError> {
        let cluster = &self.shared.cluster;
        loop {
            if let Some(known) = cluster.metadata().topics.get(topic) {
                match known.error {
                    error if error.is_ok() && !known.partitions.is_empty() => {
                        let led = known.partitions.iter().filter(|(_, partition)| partition.leader >= 0);
                        return Ok((known.partitions.len() as i32, led.map(|(index, _)| *index).collect()));
                    }
                    error if !error.is_ok() && !error.is_retriable() => {
                        let message = match error.name() {
                            "INVALID_TOPIC_EXCEPTION" => Some(format!("Invalid topics: [{topic}]").into()),
                            "TOPIC_AUTHORIZATION_FAILED" => {
                                Some(format!("Not authorized to access topics: [{topic}]").into())
                            }
                            _ => None,
                        };
                        // The next record asks anew.
                        cluster.forget(topic);
                        return Err(ClientError::broker(error, &message));
                    }
                    _ => cluster.back_off().await,
                }
            }
            let missing = || {
                let ms = self.shared.options.max_block.as_millis();
                ClientError::TimedOut(format!("Topic {topic} not present in metadata after {ms} ms."))
            };
            if Instant::now() >= deadline {
                return Err(missing());
            }
            let mut topics = self.shared.accumulator.lock().expect("no panic holds it").topics();
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
            cluster.fetch_metadata(Some(&topics), true, deadline).await.map_err(|error| match error {
                ClientError::TimedOut(_) => missing(),
                other => other,
            })?;
        }
    }

    /// Sends what waits, and waits until everything that was sent before is answered or given up.
    pub async fn flush(&self) {
        loop {
            let done = self.shared.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            {
                let mut accumulator = self.shared.accumulator.lock().expect("no panic holds it");
                if accumulator.is_empty() {
                    return;
                }
                accumulator.flush();
            }
            self.shared.wake.notify_one();
            done.await;
        }
    }
}

/// An upper bound of the record's bytes in a batch; Java's, since its errors tell it.
fn record_size(record: &ProducerRecord) -> usize {
    /// Length, attributes, timestamp and offset at their longest.
    const OVERHEAD_MAX: usize = 21;
    // Zigzag: a bit more, seven to a byte.
    let varint = |number: usize| (usize::BITS - (number << 1 | 1).leading_zeros()).div_ceil(7) as usize;
    let sized = |len: usize| varint(len) + len;
    let part = |part: &Option<Bytes>| part.as_ref().map_or(1, |bytes| sized(bytes.len()));
    let headers: usize = record.headers.iter().map(|(key, value)| sized(key.len()) + part(value)).sum();
    OVERHEAD_MAX + part(&record.key) + part(&record.value) + varint(record.headers.len()) + headers
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
