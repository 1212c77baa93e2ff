//! What reaches the transaction coordinator, and what it asks for in return.

use bytes::Bytes;
use wire::Str;
use wire::batch::message_set::Entry;
use wire::kafka::{ErrorCode, describe_transactions, list_transactions};

pub use crate::group::AppendId;
pub use crate::partition::Token;

/// A partition of a topic.
pub type TopicPartition = (Str, i32);

/// The broker's settings for transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Partitions of `__transaction_state`, as the topic has them (else `transaction.state.log.num.partitions`).
    pub partitions: i32,
    /// `transaction.max.timeout.ms`
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiry_interval_ms: i64,
    /// What one batch of tombstones may take at most: `max.message.bytes` of the topic.
    pub batch_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            partitions: 50,
            timeout_ms_max: 900_000,
            id_expiration_ms: 604_800_000,
            abort_interval_ms: 10_000,
            expiry_interval_ms: 3_600_000,
            batch_bytes_max: 1_048_588,
        }
    }
}

/// A client's request, authorized, its partitions known to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Init {
        transactional_id: Str,
        timeout_ms: i32,
        /// Producer id and epoch that the client has, from version 3 on.
        expected: Option<(i64, i16)>,
    },
    AddPartitions {
        transactional_id: Str,
        producer_id: i64,
        producer_epoch: i16,
        partitions: Vec<TopicPartition>,
    },
    /// Which of these partitions are part of the transaction? Another broker asks, before it appends.
    VerifyPartitions {
        transactional_id: Str,
        producer_id: i64,
        producer_epoch: i16,
        partitions: Vec<TopicPartition>,
    },
    End {
        transactional_id: Str,
        producer_id: i64,
        producer_epoch: i16,
        commit: bool,
    },
    Describe {
        transactional_id: Str,
    },
    List {
        states: Vec<Str>,
        producer_ids: Vec<i64>,
    },
}

/// The answer. PRODUCER_FENCED is INVALID_PRODUCER_EPOCH to old clients, which is the caller's to see to.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    Init {
        error: ErrorCode,
        /// -1 with an error, as the epoch.
        producer_id: i64,
        producer_epoch: i16,
    },
    /// AddPartitions, End.
    Done(ErrorCode),
    /// VerifyPartitions: an error for each, in their order.
    Verified(Vec<ErrorCode>),
    Describe(describe_transactions::TransactionState),
    List(list_transactions::ListTransactionsResponse),
}

/// Markers of one transaction that are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    pub transactional_id: Str,
    /// Leader epoch of the transaction's partition of `__transaction_state`.
    pub coordinator_epoch: i32,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub commit: bool,
    pub partitions: Vec<TopicPartition>,
}

/// What became of a marker on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerOutcome {
    /// It is replicated.
    Written,
    /// The partition does not exist any more.
    Gone,
    /// WriteTxnMarkers' error, or NOT_LEADER_OR_FOLLOWER where nobody could be asked.
    Failed(ErrorCode),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Request {
        token: Token,
        request: Request,
    },
    /// An append is replicated, or not.
    Appended {
        append: AppendId,
        result: Result<(), ErrorCode>,
    },
    /// Answers [`Effect::ClaimProducerId`].
    ProducerId(Result<i64, ErrorCode>),
    /// Answers [`Effect::SendMarkers`], all at once or in parts.
    MarkersWritten {
        transactional_id: Str,
        coordinator_epoch: i32,
        outcomes: Vec<(TopicPartition, MarkerOutcome)>,
    },
    /// This broker leads a partition of `__transaction_state`.
    Elected {
        partition: i32,
        epoch: i32,
    },
    /// A batch of the log, or a message of an older format, in order; answers [`Effect::Load`].
    Loaded {
        partition: i32,
        epoch: i32,
        entry: Entry,
    },
    /// There are no more batches.
    LoadDone {
        partition: i32,
        epoch: i32,
    },
    /// This broker no longer leads it, or no longer holds it.
    Resigned {
        partition: i32,
    },
    /// The time of [`super::Coordinator::deadline`] has come.
    Tick,
    /// The broker shuts down: from here on every request is refused.
    Stop,
}

/// A record for `__transaction_state`, created at the time of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    /// `None` deletes the key.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Reply {
        token: Token,
        response: Response,
    },
    /// One batch for a partition of `__transaction_state`, acks -1, answered by [`Event::Appended`].
    Append {
        partition: i32,
        append: AppendId,
        records: Vec<Record>,
    },
    /// A producer id that nobody has had.
    ClaimProducerId,
    /// To the leaders of these partitions.
    SendMarkers(Markers),
    /// Read the partition from its log start to its end, and send it as [`Event::Loaded`], then [`Event::LoadDone`].
    Load {
        partition: i32,
        epoch: i32,
    },
    /// What an operator may want to know: transactions that were aborted for their time, or ids that expired.
    Info(String),
    /// Something in the log that cannot be read, or markers that cannot be written.
    Warn(String),
}
