//! Why a client's operation failed.

use crate::connection::CallError;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use wire::Str;
use wire::batch::BatchError;
use wire::kafka::ErrorCode;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// A setting that cannot work; in Java's words where tools print them.
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Call(#[from] CallError),
    /// A broker's error, with its own message if it sent one.
    #[error("{}", .message.as_deref().unwrap_or(code.message()))]
    Broker { code: ErrorCode, message: Option<Str> },
    /// A batch that was refused for some of its records, by their place in it.
    #[error("{}", .message.as_deref().unwrap_or(code.message()))]
    RefusedRecords { code: ErrorCode, message: Option<Str>, records: Arc<BTreeMap<i64, Option<Str>>> },
    /// The record was in a batch with such records.
    #[error("Failed to append record because it was part of a batch which had one more more invalid records")]
    BesideRefused,
    /// Retries went on for as long as they may.
    #[error("{0}")]
    TimedOut(String),
    /// Records that a broker sent and that cannot be read.
    #[error("{partition}, offset {offset}: {source}")]
    Records { partition: crate::TopicPartition, offset: i64, source: BatchError },
    /// A call that goes to every broker, when nobody knows which there are.
    #[error("Failed to find brokers to send {call}")]
    NoBrokers { call: &'static str, cause: Box<ClientError> },
    #[error("the producer is closed")]
    Closed,
    /// A call that has no place here: a record outside of a transaction, for example.
    #[error("{0}")]
    State(String),
    /// A transaction, or its producer, has failed before.
    #[error("Cannot execute transactional method because we are in an error state")]
    InErrorState(Box<ClientError>),
    /// The record's transaction was aborted before the record was sent.
    #[error("Failing batch since transaction was aborted")]
    TransactionAborted,
}

impl ClientError {
    pub fn broker(code: ErrorCode, message: &Option<Str>) -> ClientError {
        ClientError::Broker { code, message: message.clone().filter(|message| !message.is_empty()) }
    }

    /// `Ok` for `NONE`.
    pub fn check(code: ErrorCode, message: &Option<Str>) -> Result<(), ClientError> {
        if code.is_ok() { Ok(()) } else { Err(ClientError::broker(code, message)) }
    }

    /// The broker's error code, if it is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } | ClientError::RefusedRecords { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What a batch's error says of one of its records.
    pub fn of_record(self, index: i64) -> ClientError {
        let ClientError::RefusedRecords { code, message, records } = self else { return self };
        match records.get(&index) {
            None => ClientError::BesideRefused,
            // With more than one, nobody knows whose the code is.
            Some(own) => ClientError::Broker {
                code: if records.len() == 1 { code } else { ErrorCode::INVALID_RECORD },
                message: own.clone().or(message).or_else(|| Some(code.message().into())),
            },
        }
    }

    /// What Java calls the cause.
    pub fn cause(&self) -> Option<&ClientError> {
        match self {
            ClientError::NoBrokers { cause, .. } | ClientError::InErrorState(cause) => Some(cause),
            _ => None,
        }
    }

    /// May the operation succeed if it is tried again?
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Broker { code, .. } | ClientError::RefusedRecords { code, .. } => {
                code.is_retriable()
            }
            ClientError::Call(error) => {
                !matches!(error, CallError::Unsupported { .. } | CallError::Authentication { .. })
            }
            _ => false,
        }
    }

    /// The full name of the exception that Java's clients would throw: tools print it.
    pub fn exception(&self) -> String {
        let simple = match self {
            ClientError::Config(_) => return "org.apache.kafka.common.config.ConfigException".to_owned(),
            ClientError::Broker { code: ErrorCode::INVALID_RECORD, .. } => {
                return "org.apache.kafka.common.InvalidRecordException".to_owned();
            }
            ClientError::Broker { code, .. } | ClientError::RefusedRecords { code, .. } => code.exception(),
            ClientError::TimedOut(_) | ClientError::Call(CallError::TimedOut { .. }) => "TimeoutException",
            ClientError::Call(CallError::Unsupported { .. }) => "UnsupportedVersionException",
            ClientError::Call(CallError::Authentication { exception, .. }) => exception,
            ClientError::Call(_) => "DisconnectException",
            ClientError::TransactionAborted => "TransactionAbortedException",
            ClientError::Records { .. }
            | ClientError::BesideRefused
            | ClientError::NoBrokers { .. }
            | ClientError::InErrorState(_) => {
                return "org.apache.kafka.common.KafkaException".to_owned();
            }
            ClientError::Closed | ClientError::State(_) => {
                return "java.lang.IllegalStateException".to_owned();
            }
        };
        format!("org.apache.kafka.common.errors.{simple}")
    }
}

impl From<ErrorCode> for ClientError {
    fn from(code: ErrorCode) -> ClientError {
        ClientError::Broker { code, message: None }
    }
}

/// `exception: message`, as Java prints a throwable.
pub struct Throwable<'a>(pub &'a ClientError);

impl fmt::Display for Throwable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.exception(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_batch_tells_each_record_what_is_its_own() {
        let refused = |places: &[i64]| ClientError::RefusedRecords {
            code: ErrorCode::INVALID_TIMESTAMP,
            message: None,
            records: Arc::new(places.iter().map(|place| (*place, Some("why".into()))).collect()),
        };
        assert_eq!(refused(&[1]).of_record(1).code(), Some(ErrorCode::INVALID_TIMESTAMP));
        assert_eq!(refused(&[0, 1]).of_record(1).code(), Some(ErrorCode::INVALID_RECORD));
        assert_eq!(refused(&[0, 1]).of_record(1).to_string(), "why");
        assert_eq!(refused(&[1]).of_record(0).exception(), "org.apache.kafka.common.KafkaException");
    }
}
