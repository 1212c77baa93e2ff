//! Transactions: what the producer's coordinator is asked, and what may follow what.

use super::{Producer, Shared};
use crate::TopicPartition;
use crate::cluster::Target;
use crate::connection::Connection;
use crate::error::ClientError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use wire::Str;
use wire::kafka::add_partitions_to_txn::AddPartitionsToTxnTopic;
use wire::kafka::txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::kafka::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, ErrorCode, InitProducerIdRequest,
    Request, TxnOffsetCommitRequest,
};

/// Pause before a partition is added again while the transaction before is still being completed: that takes moments.
const ADD_RETRY: Duration = Duration::from_millis(20);

/// Whose progress is committed along with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    pub group_id: Str,
    /// -1: of no generation, and then without a member.
    pub generation_id: i32,
    pub member_id: Str,
    pub group_instance_id: Option<Str>,
}

impl GroupMetadata {
    /// A group by its name only: nothing is fenced but by the transactional id.
    pub fn of(group_id: impl Into<Str>) -> GroupMetadata {
        let (group_id, member_id) = (group_id.into(), Str::new());
        GroupMetadata { group_id, generation_id: -1, member_id, group_instance_id: None }
    }
}

/// A position to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOffset {
    /// Of the next record to be read.
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: Str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Uninitialized,
    Ready,
    InTransaction,
}

/// The transaction of a producer with a transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    pub id: Str,
    state: State,
    /// Producer id and epoch.
    pub producer: Option<(i64, i16)>,
    /// Partitions that the coordinator knows of.
    added: BTreeSet<TopicPartition>,
    /// The coordinator has to be told of the end.
    started: bool,
    /// Why the transaction can only be aborted.
    failed: Option<ClientError>,
    /// Why this producer can do nothing any more.
    fatal: Option<ClientError>,
    /// A sequence was lost: the next transaction needs another epoch.
    pub bump: bool,
    coordinator: Option<Connection>,
}

impl Transaction {
    pub fn new(id: Str) -> Transaction {
        Transaction {
            id,
            state: State::Uninitialized,
            producer: None,
            added: BTreeSet::new(),
            started: false,
            failed: None,
            fatal: None,
            bump: false,
            coordinator: None,
        }
    }

    fn check(&self, call: &str, wanted: State) -> Result<(), ClientError> {
        if let Some(cause) = &self.fatal {
            return Err(ClientError::InErrorState(Box::new(cause.clone())));
        }
        if self.state == wanted {
            return Ok(());
        }
        Err(ClientError::State(match (self.state, wanted) {
            (State::Uninitialized, _) => format!(
                "Cannot perform '{call}' before completing a call to initTransactions when transactions are enabled."
            ),
            (State::InTransaction, _) => format!("Cannot perform '{call}' while a transaction is open."),
            (State::Ready, _) => format!("Cannot perform '{call}' without an open transaction."),
        }))
    }

    /// Partitions whose records may be sent.
    pub fn added(&self) -> BTreeSet<TopicPartition> {
        self.added.clone()
    }

    /// A record may be sent only inside of a transaction that has not failed.
    pub fn check_send(&self) -> Result<(), ClientError> {
        self.check("send", State::InTransaction)?;
        self.failed.as_ref().map_or(Ok(()), |cause| Err(ClientError::InErrorState(Box::new(cause.clone()))))
    }

    /// Nothing of this transaction can be committed any more; after some errors, nothing of this producer at all.
    pub fn fail(&mut self, error: &ClientError) {
        if is_fatal(error) {
            self.fatal.get_or_insert_with(|| error.clone());
        }
        if self.state == State::InTransaction {
            self.failed.get_or_insert_with(|| error.clone());
        }
    }

    fn ended(&mut self) {
        (self.state, self.started, self.failed) = (State::Ready, false, None);
        self.added.clear();
    }
}

/// Errors after which only another producer can go on.
fn is_fatal(error: &ClientError) -> bool {
    let fatal = [
        ErrorCode::PRODUCER_FENCED,
        ErrorCode::INVALID_TXN_STATE,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ErrorCode::UNSUPPORTED_VERSION,
    ];
    error.code().is_some_and(|code| fatal.contains(&code))
}

/// Two names of one thing, in the answers of a coordinator.
fn as_fenced(code: ErrorCode) -> ErrorCode {
    if code == ErrorCode::INVALID_PRODUCER_EPOCH { ErrorCode::PRODUCER_FENCED } else { code }
}

impl Shared {
    fn with_transaction<T>(&self, act: impl FnOnce(&mut Transaction) -> T) -> Result<T, ClientError> {
        let transaction = self.transaction.as_ref().ok_or_else(|| {
            ClientError::State(
                "Cannot use transactional methods without enabling transactions by setting the transactional.id \
                 configuration property"
                    .to_owned(),
            )
        })?;
        Ok(act(&mut transaction.lock().expect("no panic holds it")))
    }

    /// Asks the coordinator until it has answered, or the time is up. `error` finds the error in the answer.
    async fn ask<R: Request>(
        &self,
        request: &R,
        retry: Duration,
        error: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let deadline = Instant::now() + self.options.max_block;
        let id = self.with_transaction(|transaction| transaction.id.clone())?;
        let target = Target::Transaction(id);
        loop {
            let known = self.with_transaction(|transaction| transaction.coordinator.clone())?;
            let attempt = async {
                let connection = match known.filter(|connection| !connection.is_closed()) {
                    Some(connection) => connection,
                    None => self.cluster.find(&target, deadline, "findCoordinator").await?,
                };
                let response = connection.call(request).await?;
                Ok::<_, ClientError>((connection, response))
            };
            let failure = match attempt.await {
                Ok((connection, response)) => {
                    let code = error(&response);
                    let stays =
                        !matches!(code, ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE);
                    self.with_transaction(|transaction| {
                        transaction.coordinator = stays.then_some(connection);
                    })?;
                    if !code.is_retriable() {
                        return Ok(response);
                    }
                    code.into()
                }
                Err(failure) => {
                    self.with_transaction(|transaction| transaction.coordinator = None)?;
                    if !failure.is_retriable() {
                        return Err(failure);
                    }
                    failure
                }
            };
            let busy = failure.code() == Some(ErrorCode::CONCURRENT_TRANSACTIONS);
            let pause = if busy { retry } else { self.options.client.retry_backoff };
            if Instant::now() + pause >= deadline {
                let ms = self.options.max_block.as_millis();
                return Err(ClientError::TimedOut(format!(
                    "Timeout expired after {ms}ms while awaiting the transaction coordinator: {failure}"
                )));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A producer id and epoch: the first, or the next to those that it has.
    async fn init_producer(&self, known: Option<(i64, i16)>) -> Result<(i64, i16), ClientError> {
        let (id, epoch) = known.unwrap_or((-1, -1));
        let request = InitProducerIdRequest {
            transactional_id: Some(self.with_transaction(|transaction| transaction.id.clone())?),
            transaction_timeout_ms: i32::try_from(self.options.transaction_timeout.as_millis())
                .unwrap_or(i32::MAX),
            producer_id: id,
            producer_epoch: epoch,
        };
        let backoff = self.options.client.retry_backoff;
        let response = self.ask(&request, backoff, |response| response.error_code).await?;
        ClientError::check(as_fenced(response.error_code), &None)?;
        let producer = (response.producer_id, response.producer_epoch);
        self.accumulator.lock().expect("no panic holds it").restart_sequences();
        self.with_transaction(|transaction| {
            transaction.producer = Some(producer);
            transaction.bump = false;
        })?;
        Ok(producer)
    }

    /// Tells the coordinator of the partitions that have records to send.
    pub(super) async fn add_partitions(&self) -> Result<(), ClientError> {
        let _turn = self.adding.lock().await;
        let partitions: BTreeSet<TopicPartition> = {
            let accumulator = self.accumulator.lock().expect("no panic holds it");
            let queues = accumulator.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty());
            queues.map(|(partition, _)| partition.clone()).collect()
        };
        let (id, producer, new) = self.with_transaction(|transaction| {
            let new: Vec<TopicPartition> =
                partitions.into_iter().filter(|one| !transaction.added.contains(one)).collect();
            (transaction.id.clone(), transaction.producer, new)
        })?;
        let (Some((producer_id, producer_epoch)), false) = (producer, new.is_empty()) else { return Ok(()) };
        let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
        for one in &new {
            topics.entry(one.topic.clone()).or_default().push(one.partition);
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| AddPartitionsToTxnTopic { name, partitions });
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id,
            v3_and_below_producer_id: producer_id,
            v3_and_below_producer_epoch: producer_epoch,
            v3_and_below_topics: topics.collect(),
            ..Default::default()
        };
        let error = |response: &wire::kafka::AddPartitionsToTxnResponse| {
            let all =
                response.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
            let errors = all.map(|one| one.partition_error_code).filter(|code| !code.is_ok());
            // The others were not tried for the sake of one.
            errors.min_by_key(|code| *code == ErrorCode::OPERATION_NOT_ATTEMPTED).unwrap_or(ErrorCode::NONE)
        };
        let response = self.ask(&request, ADD_RETRY, error).await?;
        ClientError::check(as_fenced(error(&response)), &None)?;
        self.with_transaction(|transaction| {
            transaction.started = true;
            transaction.added.extend(new);
        })
    }

    /// The transaction's batches that have not been sent: nobody shall get them.
    fn drop_waiting(&self) {
        let dropped = {
            let mut accumulator = self.accumulator.lock().expect("no panic holds it");
            accumulator.take_waiting()
        };
        for batch in dropped {
            if batch.sequence.is_some() {
                let _ = self.with_transaction(|transaction| transaction.bump = true);
            }
            self.memory.add_permits(batch.reserved);
            batch.outcome.settle(Err(ClientError::TransactionAborted));
        }
        self.done.notify_waiters();
    }
}

impl Producer {
    /// Makes this the one producer of its transactional id: an earlier one is shut out, and what it had open is aborted.
    pub async fn init_transactions(&self) -> Result<(), ClientError> {
        self.shared
            .with_transaction(|transaction| transaction.check("initTransactions", State::Uninitialized))??;
        let initialized = self.shared.init_producer(None).await;
        self.shared.with_transaction(|transaction| match initialized {
            Ok(_) => {
                transaction.state = State::Ready;
                Ok(())
            }
            Err(error) => {
                transaction.fail(&error);
                Err(error)
            }
        })?
    }

    pub fn begin_transaction(&self) -> Result<(), ClientError> {
        self.shared.with_transaction(|transaction| {
            transaction.check("beginTransaction", State::Ready)?;
            transaction.state = State::InTransaction;
            Ok(())
        })?
    }

    /// Commits a group's positions along with the transaction.
    pub async fn send_offsets(
        &self,
        offsets: &BTreeMap<TopicPartition, TxnOffset>,
        group: &GroupMetadata,
    ) -> Result<(), ClientError> {
        let shared = &self.shared;
        let (id, producer) = shared.with_transaction(|transaction| {
            transaction.check_send()?;
            Ok::<_, ClientError>((transaction.id.clone(), transaction.producer.unwrap_or((-1, -1))))
        })??;
        if offsets.is_empty() {
            return Ok(());
        }
        let sent = async {
            let request = AddOffsetsToTxnRequest {
                transactional_id: id.clone(),
                producer_id: producer.0,
                producer_epoch: producer.1,
                group_id: group.group_id.clone(),
            };
            let response = shared.ask(&request, ADD_RETRY, |response| response.error_code).await?;
            ClientError::check(as_fenced(response.error_code), &None)?;
            shared.with_transaction(|transaction| transaction.started = true)?;
            self.commit_offsets(id, producer, offsets, group).await
        };
        let sent = sent.await;
        if let Err(error) = &sent {
            shared.with_transaction(|transaction| transaction.fail(error))?;
        }
        sent
    }

    async fn commit_offsets(
        &self,
        transactional_id: Str,
        (producer_id, producer_epoch): (i64, i16),
        offsets: &BTreeMap<TopicPartition, TxnOffset>,
        group: &GroupMetadata,
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<Str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, offset) in offsets {
            topics.entry(partition.topic.clone()).or_default().push(TxnOffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: offset.offset,
                committed_leader_epoch: offset.leader_epoch,
                committed_metadata: Some(offset.metadata.clone()),
            });
        }
        let topics =
            topics.into_iter().map(|(name, partitions)| TxnOffsetCommitRequestTopic { name, partitions });
        let request = TxnOffsetCommitRequest {
            transactional_id,
            group_id: group.group_id.clone(),
            producer_id,
            producer_epoch,
            generation_id: group.generation_id,
            member_id: group.member_id.clone(),
            group_instance_id: group.group_instance_id.clone(),
            topics: topics.collect(),
        };
        let error = |response: &wire::kafka::TxnOffsetCommitResponse| {
            let all = response.topics.iter().flat_map(|topic| &topic.partitions);
            let mut errors = all.map(|one| one.error_code).filter(|code| !code.is_ok());
            errors.next().unwrap_or(ErrorCode::NONE)
        };
        let target = Target::Group(group.group_id.clone());
        let response = self.shared.cluster.call(&target, &request, error).await?;
        ClientError::check(as_fenced(error(&response)), &None)
    }

    /// Waits for all that was sent, and commits it. After an error that is not fatal the transaction is to be aborted; a
    /// time-out leaves it open how it ended, and the commit may be asked for again.
    pub async fn commit_transaction(&self) -> Result<(), ClientError> {
        self.shared
            .with_transaction(|transaction| transaction.check("commitTransaction", State::InTransaction))??;
        self.flush().await;
        let failed = self.shared.with_transaction(|transaction| transaction.failed.clone())?;
        if let Some(cause) = failed {
            return Err(ClientError::InErrorState(Box::new(cause)));
        }
        self.end(true).await
    }

    /// Undoes what was sent in this transaction.
    pub async fn abort_transaction(&self) -> Result<(), ClientError> {
        self.shared
            .with_transaction(|transaction| transaction.check("abortTransaction", State::InTransaction))??;
        self.shared.drop_waiting();
        self.flush().await;
        // What came back to be sent again meanwhile goes the same way.
        self.shared.drop_waiting();
        self.end(false).await
    }

    async fn end(&self, committed: bool) -> Result<(), ClientError> {
        let shared = &self.shared;
        // A partition that is being added still belongs to this transaction.
        let _turn = shared.adding.lock().await;
        let (id, producer, started) = shared.with_transaction(|transaction| {
            (transaction.id.clone(), transaction.producer.unwrap_or((-1, -1)), transaction.started)
        })?;
        if started {
            let request = EndTxnRequest {
                transactional_id: id,
                producer_id: producer.0,
                producer_epoch: producer.1,
                committed,
            };
            let ask =
                shared.ask(&request, shared.options.client.retry_backoff, |response| response.error_code);
            let ended = match ask.await {
                Ok(response) => ClientError::check(as_fenced(response.error_code), &None),
                Err(error) => return Err(error),
            };
            if let Err(error) = ended {
                shared.with_transaction(|transaction| transaction.fail(&error))?;
                return Err(error);
            }
        }
        let bump = shared.with_transaction(|transaction| {
            transaction.ended();
            transaction.bump
        })?;
        if bump {
            shared.init_producer(Some(producer)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Transaction {
        Transaction { state: State::Ready, ..Transaction::new("id".into()) }
    }

    #[test]
    fn records_are_sent_inside_of_a_transaction_only() {
        let mut transaction = Transaction::new("id".into());
        let text = transaction.check_send().unwrap_err().to_string();
        assert!(
            text.starts_with("Cannot perform 'send' before completing a call to initTransactions"),
            "{text}"
        );
        transaction.state = State::Ready;
        assert!(transaction.check_send().is_err());
        transaction.state = State::InTransaction;
        assert!(transaction.check_send().is_ok());
    }

    #[test]
    fn what_failed_can_be_aborted_and_who_was_fenced_can_do_nothing() {
        let mut transaction = Transaction { state: State::InTransaction, ..ready() };
        transaction.fail(&ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.into());
        assert!(transaction.check_send().is_err());
        assert!(transaction.check("abortTransaction", State::InTransaction).is_ok());
        transaction.fail(&ErrorCode::PRODUCER_FENCED.into());
        let error = transaction.check("abortTransaction", State::InTransaction).unwrap_err();
        assert_eq!(error.cause().and_then(ClientError::code), Some(ErrorCode::PRODUCER_FENCED));
    }
}
