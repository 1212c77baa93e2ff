//! Batches that wait to be sent, or for their answer.

use super::{ProducerOptions, ProducerRecord};
use crate::TopicPartition;
use crate::error::ClientError;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::Str;
use wire::batch::BatchBuilder;

/// What a broker said of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Acked {
    pub base_offset: i64,
    pub log_append_time: i64,
}

/// A batch's fate, shared by the deliveries of its records.
#[derive(Debug, Default)]
pub struct Outcome {
    result: OnceLock<Result<Acked, ClientError>>,
    settled: Notify,
}

impl Outcome {
    pub async fn wait(&self) -> Result<Acked, ClientError> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            settled.await;
        }
    }

    pub fn settle(&self, result: Result<Acked, ClientError>) {
        let _ = self.result.set(result);
        self.settled.notify_waiters();
    }
}

/// One batch of records for one partition.
#[derive(Debug)]
pub struct PendingBatch {
    builder: BatchBuilder,
    pub outcome: Arc<Outcome>,
    pub created: Instant,
    /// Permits of the buffer memory, in bytes.
    pub reserved: usize,
    pub attempts: u32,
    /// (producer id, epoch, base sequence), given when it is first sent.
    pub sequence: Option<(i64, i16, i32)>,
    /// Written once, so that a retry has the same bytes.
    encoded: Option<Bytes>,
}

impl PendingBatch {
    pub fn record_count(&self) -> i32 {
        self.builder.record_count()
    }

    /// Numbers the batch anew: what was encoded counts no more.
    pub fn number(&mut self, sequence: Option<(i64, i16, i32)>) {
        self.sequence = sequence;
        self.encoded = None;
    }

    pub fn encode(&mut self) -> Result<Bytes, ClientError> {
        if let Some(encoded) = &self.encoded {
            return Ok(encoded.clone());
        }
        let mut builder = self.builder.clone();
        if let Some((id, epoch, sequence)) = self.sequence {
            builder = builder.producer(id, epoch, sequence);
        }
        let failed = |error: std::io::Error| ClientError::Config(format!("cannot compress a batch: {error}"));
        let encoded = builder.finish().map_err(failed)?;
        self.encoded = Some(encoded.clone());
        Ok(encoded)
    }
}

/// A partition's batches.
#[derive(Debug, Default)]
pub struct Queue {
    /// The first goes out first; records are added to the last.
    pub waiting: VecDeque<PendingBatch>,
    pub in_flight: usize,
    /// A batch came back to be sent again: nothing goes out before all that is in flight is back, and not before this.
    pub retry_at: Option<Instant>,
    /// The sequence of the next record, under the producer id that is in use.
    pub next_sequence: i32,
    /// Nothing is added to a batch any more that a flush wants out.
    flushing: usize,
}

#[derive(Debug, Default)]
pub struct Accumulator {
    pub queues: BTreeMap<TopicPartition, Queue>,
}

pub struct Appended {
    pub outcome: Arc<Outcome>,
    pub index: i64,
    /// The sender has to look: there is a new batch, or a full one.
    pub wake: bool,
}

impl Accumulator {
    pub fn append(
        &mut self,
        partition: &TopicPartition,
        record: &ProducerRecord,
        timestamp: i64,
        size: usize,
        options: &ProducerOptions,
    ) -> Appended {
        if !self.queues.contains_key(partition) {
            self.queues.insert(partition.clone(), Queue::default());
        }
        let queue = self.queues.get_mut(partition).expect("it was just inserted");
        let open = queue.waiting.len() > queue.flushing;
        let fits = |batch: &&mut PendingBatch| {
            batch.attempts == 0
                && batch.sequence.is_none()
                && batch.builder.size() + size <= options.batch_size
        };
        let batch = match queue.waiting.back_mut().filter(|_| open).filter(fits) {
            Some(batch) => batch,
            None => {
                queue.waiting.push_back(PendingBatch {
                    builder: BatchBuilder::new()
                        .compression(options.compression)
                        .transactional(options.transactional_id.is_some()),
                    outcome: Arc::default(),
                    created: Instant::now(),
                    reserved: 0,
                    attempts: 0,
                    sequence: None,
                    encoded: None,
                });
                queue.waiting.back_mut().expect("it was just pushed")
            }
        };
        let index = i64::from(batch.builder.record_count());
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (key.as_ref(), value.as_deref())).collect();
        batch.builder.push(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        batch.reserved += size.min(options.buffer_memory);
        let full = batch.builder.size() >= options.batch_size;
        let outcome = batch.outcome.clone();
        Appended { outcome, index, wake: index == 0 || full }
    }

    pub fn topics(&self) -> Vec<Str> {
        let mut topics: Vec<Str> = self.queues.keys().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        topics
    }

    pub fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.waiting.is_empty() && queue.in_flight == 0)
    }

    /// Batches that have not been sent, or came back.
    pub fn take_waiting(&mut self) -> Vec<PendingBatch> {
        self.queues.values_mut().flat_map(|queue| std::iter::from_fn(|| queue.pop())).collect()
    }

    /// Another producer id or epoch: sequences begin at 0 again.
    pub fn restart_sequences(&mut self) {
        for queue in self.queues.values_mut() {
            queue.next_sequence = 0;
            queue.waiting.iter_mut().for_each(|batch| batch.number(None));
        }
    }

    /// All batches that wait now go out without lingering.
    pub fn flush(&mut self) {
        for queue in self.queues.values_mut() {
            queue.flushing = queue.waiting.len();
        }
    }
}

impl Queue {
    /// When the first batch may go out; `None`: it has to wait for an answer, or there is none.
    pub fn ready_at(&self, options: &ProducerOptions) -> Option<Instant> {
        let first = self.waiting.front()?;
        if self.retry_at.is_some() && self.in_flight > 0 || self.in_flight >= options.in_flight_max {
            return None;
        }
        let full = self.waiting.len() > 1 || first.builder.size() >= options.batch_size;
        if let Some(at) = self.retry_at {
            return Some(at);
        }
        match full || self.flushing > 0 || first.attempts > 0 {
            true => Some(first.created),
            false => Some(first.created + options.linger),
        }
    }

    pub fn pop(&mut self) -> Option<PendingBatch> {
        let batch = self.waiting.pop_front()?;
        self.flushing = self.flushing.saturating_sub(1);
        self.retry_at = None;
        Some(batch)
    }

    /// Puts a batch back in front of those with later sequences.
    pub fn put_back(&mut self, batch: PendingBatch, at: Instant) {
        let sequence =
            |batch: &PendingBatch| batch.sequence.map_or(i64::MAX, |(_, _, sequence)| i64::from(sequence));
        // Sequences start again at 0 after the largest: what is far below is later.
        let later = |a: i64, b: i64| a != b && (b == i64::MAX || ((b - a) as i32) > 0);
        let place = self.waiting.iter().position(|other| later(sequence(&batch), sequence(other)));
        self.waiting.insert(place.unwrap_or(self.waiting.len()), batch);
        self.flushing += 1;
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.max(at)));
    }
}
