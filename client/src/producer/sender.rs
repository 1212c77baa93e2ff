//! The background task: takes ready batches, asks their leaders, and settles or retries them.

use super::Shared;
use super::accumulator::{Acked, PendingBatch};
use crate::TopicPartition;
use crate::cluster::{Metadata, Target};
use crate::connection::{CallError, Connection};
use crate::error::ClientError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use wire::Str;
use wire::kafka::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use wire::kafka::{ErrorCode, InitProducerIdRequest, ProduceRequest, ProduceResponse};

const SENDER: &str = "org.apache.kafka.clients.producer.internals.Sender";

type Batches = Vec<(TopicPartition, PendingBatch)>;

/// What became of one request's batches.
struct Done {
    batches: Batches,
    /// Of the request.
    correlation: i32,
    result: Result<BTreeMap<TopicPartition, PartitionProduceResponse>, ClientError>,
}

struct Sender {
    shared: Arc<Shared>,
    done: mpsc::UnboundedSender<Done>,
    /// Leaders that are being connected to: their partitions wait.
    connecting: BTreeSet<i32>,
    connected: mpsc::UnboundedSender<(i32, bool)>,
    producer_id: Option<(i64, i16)>,
    /// A sequence was lost: take a new producer id as soon as nothing is in flight.
    renumber: bool,
    metadata_stale: bool,
    metadata_fetched: Instant,
}

pub(super) async fn run(shared: Arc<Shared>) {
    let (done, mut answers) = mpsc::unbounded_channel();
    let (connected, mut connections) = mpsc::unbounded_channel();
    let mut sender = Sender {
        shared: shared.clone(),
        done,
        connecting: BTreeSet::new(),
        connected,
        producer_id: None,
        renumber: false,
        metadata_stale: false,
        metadata_fetched: Instant::now(),
    };
    loop {
        while let Ok(answer) = answers.try_recv() {
            sender.settle(answer);
        }
        sender.refresh_metadata().await;
        let next = sender.send_ready().await;
        tokio::select! {
            Some(answer) = answers.recv() => sender.settle(answer),
            Some((leader, connected)) = connections.recv() => {
                sender.connecting.remove(&leader);
                sender.metadata_stale |= !connected;
            }
            () = shared.wake.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

impl Sender {
    async fn refresh_metadata(&mut self) {
        let shared = self.shared.clone();
        let old = self.metadata_fetched.elapsed() > shared.options.client.metadata_age_max;
        let topics = shared.accumulator.lock().expect("no panic holds it").topics();
        if topics.is_empty() || !(self.metadata_stale || old) {
            return;
        }
        let deadline = Instant::now() + shared.options.client.request_timeout;
        // A failure was warned of by the cluster; the batches' own time-outs end a long one.
        if shared.cluster.fetch_metadata(Some(&topics), true, deadline).await.is_ok() {
            self.metadata_stale = false;
            self.metadata_fetched = Instant::now();
        }
    }

    /// Sends all batches whose time has come; returns when to look again.
    async fn send_ready(&mut self) -> Instant {
        let shared = self.shared.clone();
        let mut next = Instant::now() + Duration::from_secs(60);
        self.expire();
        if !self.ensure_producer_id(&mut next).await || !self.ensure_partitions_added().await {
            return next;
        }
        let mut by_leader: BTreeMap<i32, Batches> = BTreeMap::new();
        let metadata = shared.cluster.metadata();
        let open = self.open_leaders(&metadata).await;
        let added = shared.transaction.as_ref().map(|one| one.lock().expect("no panic holds it").added());
        {
            let now = Instant::now();
            let mut accumulator = shared.accumulator.lock().expect("no panic holds it");
            for (partition, queue) in &mut accumulator.queues {
                let Some(ready_at) = queue.ready_at(&shared.options) else { continue };
                if ready_at > now {
                    next = next.min(ready_at);
                    continue;
                }
                // A record that came while others were added: what the coordinator does not know of, it cannot end.
                if added.as_ref().is_some_and(|added| !added.contains(partition)) {
                    next = now;
                    continue;
                }
                let Some(leader) = metadata.leader(&partition.topic, partition.partition) else {
                    self.metadata_stale = true;
                    next = next.min(now + shared.options.client.retry_backoff);
                    continue;
                };
                if !open.contains_key(&leader) {
                    continue;
                }
                let mut batch = queue.pop().expect("a ready queue has a batch");
                if let (Some((id, epoch)), None) = (self.producer_id, batch.sequence) {
                    batch.number(Some((id, epoch, queue.next_sequence)));
                    let after = i64::from(queue.next_sequence) + i64::from(batch.record_count());
                    queue.next_sequence = (after & i64::from(i32::MAX)) as i32;
                }
                queue.in_flight += 1;
                by_leader.entry(leader).or_default().push((partition.clone(), batch));
                // There may be more behind it.
                next = now;
            }
        }
        for (leader, batches) in by_leader {
            self.send(&open[&leader], batches);
        }
        next
    }

    /// The connections that are open to leaders of partitions with records; the others are opened meanwhile.
    async fn open_leaders(&mut self, metadata: &Metadata) -> BTreeMap<i32, Connection> {
        let leaders: BTreeSet<i32> = {
            let accumulator = self.shared.accumulator.lock().expect("no panic holds it");
            let waiting = accumulator.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty());
            waiting
                .filter_map(|(partition, _)| metadata.leader(&partition.topic, partition.partition))
                .collect()
        };
        let mut open = BTreeMap::new();
        for leader in leaders {
            if self.connecting.contains(&leader) {
                continue;
            }
            if let Some(connection) = self.shared.cluster.open(leader).await {
                open.insert(leader, connection);
                continue;
            }
            self.connecting.insert(leader);
            let (cluster, connected) = (self.shared.cluster.clone(), self.connected.clone());
            tokio::spawn(async move {
                let _ = connected.send((leader, cluster.connect(leader).await.is_ok()));
            });
        }
        open
    }

    async fn ensure_producer_id(&mut self, next: &mut Instant) -> bool {
        let shared = self.shared.clone();
        if !shared.options.idempotent {
            return true;
        }
        if let Some(transaction) = &shared.transaction {
            // What a lost sequence means here, the transaction's end sees to.
            let mut transaction = transaction.lock().expect("no panic holds it");
            transaction.bump |= std::mem::take(&mut self.renumber);
            self.producer_id = transaction.producer;
            return self.producer_id.is_some();
        }
        if self.renumber {
            let mut accumulator = shared.accumulator.lock().expect("no panic holds it");
            if accumulator.queues.values().any(|queue| queue.in_flight > 0) {
                return true;
            }
            accumulator.restart_sequences();
            self.producer_id = None;
            self.renumber = false;
        }
        let idle = shared.accumulator.lock().expect("no panic holds it").is_empty();
        if self.producer_id.is_some() || idle {
            return true;
        }
        let request = InitProducerIdRequest {
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let initialized =
            shared.cluster.call(&Target::Any, &request, |response| response.error_code).await.and_then(
                |response| {
                    ClientError::check(response.error_code, &None)?;
                    Ok((response.producer_id, response.producer_epoch))
                },
            );
        match initialized {
            Ok(id) => self.producer_id = Some(id),
            Err(error) if error.is_retriable() || matches!(error, ClientError::TimedOut(_)) => {
                *next = Instant::now() + shared.options.client.retry_backoff;
            }
            Err(error) => self.fail_all(&error),
        }
        self.producer_id.is_some()
    }

    /// The coordinator knows of every partition that has records to send. An error fails the transaction.
    async fn ensure_partitions_added(&mut self) -> bool {
        let shared = self.shared.clone();
        if shared.transaction.is_none() {
            return true;
        }
        match shared.add_partitions().await {
            Ok(()) => true,
            Err(error) => {
                self.fail_transaction(&error);
                self.fail_all(&error);
                false
            }
        }
    }

    fn fail_transaction(&self, error: &ClientError) {
        if let Some(transaction) = &self.shared.transaction {
            transaction.lock().expect("no panic holds it").fail(error);
        }
    }

    fn fail_all(&mut self, error: &ClientError) {
        let failed = self.shared.accumulator.lock().expect("no panic holds it").take_waiting();
        for batch in failed {
            self.renumber |= batch.sequence.is_some();
            self.finish(batch, Err(error.clone()));
        }
    }

    /// Gives up batches that are too old.
    fn expire(&mut self) {
        let timeout = self.shared.options.delivery_timeout;
        let mut expired = Vec::new();
        for (partition, queue) in &mut self.shared.accumulator.lock().expect("no panic holds it").queues {
            while queue.waiting.front().is_some_and(|batch| batch.created.elapsed() >= timeout) {
                expired.extend(queue.pop().map(|batch| (partition.clone(), batch)));
            }
        }
        for (partition, batch) in expired {
            let (count, ms) = (batch.record_count(), batch.created.elapsed().as_millis());
            self.renumber |= batch.sequence.is_some();
            let why =
                format!("Expiring {count} record(s) for {partition}:{ms} ms has passed since batch creation");
            let error = ClientError::TimedOut(why);
            self.fail_transaction(&error);
            self.finish(batch, Err(error));
        }
    }

    /// Writes one request to a leader, in order, and awaits its answer elsewhere.
    fn send(&mut self, leader: &Connection, mut batches: Batches) {
        let shared = self.shared.clone();
        let request = match request_of(&mut batches, &shared) {
            Ok(request) => request,
            Err(error) => return self.settle(Done { batches, correlation: 0, result: Err(error) }),
        };
        if shared.options.acks == 0 {
            let result = leader.send(&request).map(|()| BTreeMap::new()).map_err(ClientError::from);
            return self.settle(Done { batches, correlation: 0, result });
        }
        let done = self.done.clone();
        match leader.start(&request) {
            Err(error) => self.settle(Done { batches, correlation: 0, result: Err(error.into()) }),
            Ok(reply) => {
                let correlation = reply.correlation_id();
                let timeout = shared.options.client.request_timeout;
                tokio::spawn(async move {
                    let result = answers_of(reply.within(timeout).await);
                    let _ = done.send(Done { batches, correlation, result });
                });
            }
        }
    }

    fn settle(&mut self, done: Done) {
        for (partition, batch) in done.batches {
            if let Some(queue) =
                self.shared.accumulator.lock().expect("no panic holds it").queues.get_mut(&partition)
            {
                queue.in_flight -= 1;
            }
            let result = match &done.result {
                Err(error) => Err(error.clone()),
                Ok(_) if self.shared.options.acks == 0 => Ok(Acked { base_offset: -1, log_append_time: -1 }),
                Ok(answers) => acked(answers.get(&partition)),
            };
            match result {
                Err(error) if self.may_retry(&partition, &batch, &error) => {
                    self.retry(partition, batch, done.correlation, &error)
                }
                Err(error) => {
                    let code = error.code().unwrap_or_default();
                    self.metadata_stale |= code.is_invalid_metadata();
                    // The broker never saw this sequence, so those behind it would be out of order.
                    self.renumber |= batch.sequence.is_some();
                    self.fail_transaction(&error);
                    self.finish(batch, Err(error));
                }
                acked => self.finish(batch, acked),
            }
        }
    }

    fn may_retry(&self, partition: &TopicPartition, batch: &PendingBatch, error: &ClientError) -> bool {
        let options = &self.shared.options;
        if batch.attempts >= options.retries || batch.created.elapsed() >= options.delivery_timeout {
            return false;
        }
        // Behind a batch that is to be sent again, being out of order is no surprise.
        let behind_another = error.code() == Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            && self.shared.accumulator.lock().expect("no panic holds it").queues[partition]
                .retry_at
                .is_some();
        error.is_retriable() || behind_another
    }

    fn retry(
        &mut self,
        partition: TopicPartition,
        mut batch: PendingBatch,
        correlation: i32,
        error: &ClientError,
    ) {
        let options = &self.shared.options;
        let left = options.retries - batch.attempts - 1;
        let (prefix, name) =
            (self.shared.cluster.log_prefix(), error.code().map_or("NETWORK_EXCEPTION", ErrorCode::name));
        tracing::warn!(
            target: SENDER,
            "{prefix}Got error produce response with correlation id {correlation} on topic-partition {partition}, retrying \
             ({left} attempts left). Error: {name}"
        );
        self.metadata_stale |= error.code().is_none_or(ErrorCode::is_invalid_metadata);
        batch.attempts += 1;
        let at = Instant::now() + options.client.retry_backoff;
        let mut accumulator = self.shared.accumulator.lock().expect("no panic holds it");
        accumulator.queues.entry(partition).or_default().put_back(batch, at);
    }

    fn finish(&self, batch: PendingBatch, result: Result<Acked, ClientError>) {
        self.shared.memory.add_permits(batch.reserved);
        batch.outcome.settle(result);
        self.shared.done.notify_waiters();
    }
}

fn request_of(batches: &mut Batches, shared: &Shared) -> Result<ProduceRequest, ClientError> {
    let mut topics: BTreeMap<Str, Vec<PartitionProduceData>> = BTreeMap::new();
    for (partition, batch) in batches {
        let data = PartitionProduceData { index: partition.partition, records: Some(batch.encode()?) };
        topics.entry(partition.topic.clone()).or_default().push(data);
    }
    Ok(ProduceRequest {
        transactional_id: shared.options.transactional_id.clone(),
        acks: shared.options.acks,
        timeout_ms: shared.options.client.request_timeout.as_millis() as i32,
        topic_data: topics
            .into_iter()
            .map(|(name, partition_data)| TopicProduceData { name, partition_data })
            .collect(),
    })
}

fn answers_of(
    response: Result<ProduceResponse, CallError>,
) -> Result<BTreeMap<TopicPartition, PartitionProduceResponse>, ClientError> {
    let mut answers = BTreeMap::new();
    for topic in response?.responses {
        for partition in topic.partition_responses {
            answers.insert(TopicPartition::new(topic.name.clone(), partition.index), partition);
        }
    }
    Ok(answers)
}

fn acked(answer: Option<&PartitionProduceResponse>) -> Result<Acked, ClientError> {
    let answer = answer.ok_or(ClientError::from(ErrorCode::UNKNOWN_SERVER_ERROR))?;
    // A batch that was appended before counts: its offset is the first append's.
    if answer.error_code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER {
        return Ok(Acked { base_offset: -1, log_append_time: -1 });
    }
    if !answer.error_code.is_ok() && !answer.record_errors.is_empty() {
        let records = answer.record_errors.iter();
        let records =
            records.map(|record| (i64::from(record.batch_index), record.batch_index_error_message.clone()));
        return Err(ClientError::RefusedRecords {
            code: answer.error_code,
            message: answer.error_message.clone(),
            records: Arc::new(records.collect()),
        });
    }
    ClientError::check(answer.error_code, &answer.error_message)?;
    Ok(Acked { base_offset: answer.base_offset, log_append_time: answer.log_append_time_ms })
}
