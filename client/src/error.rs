//! Why a client's operation failed.

use crate::connection::CallError;
use std::fmt;
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
    /// Retries went on for as long as they may.
    #[error("{0}")]
    TimedOut(String),
    /// Records that a broker sent and that cannot be read.
    #[error("{partition}, offset {offset}: {source}")]
    Records { partition: crate::TopicPartition, offset: i64, source: BatchError },
    #[error("the producer is closed")]
    Closed,
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
            ClientError::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// May the operation succeed if it is tried again?
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Broker { code, .. } => code.is_retriable(),
            ClientError::Call(error) => !matches!(error, CallError::Unsupported { .. }),
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
            ClientError::Broker { code, .. } => code.exception(),
            ClientError::TimedOut(_) | ClientError::Call(CallError::TimedOut { .. }) => "TimeoutException",
            ClientError::Call(CallError::Unsupported { .. }) => "UnsupportedVersionException",
            ClientError::Call(_) => "DisconnectException",
            ClientError::Records { .. } => return "org.apache.kafka.common.KafkaException".to_owned(),
            ClientError::Closed => return "java.lang.IllegalStateException".to_owned(),
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
