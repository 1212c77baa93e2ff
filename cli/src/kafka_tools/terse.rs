//! How tools with sub-commands end: a word of their own on stderr, or an exception with its message first.

use super::Stop;
use client::{ClientError, error::Throwable};
use std::process::ExitCode;

/// Why such a tool ends before its work.
#[derive(Debug)]
pub enum Terse {
    /// This line on stderr says all.
    Said(String),
    /// The message, then the exception as a stack trace shows it.
    Thrown {
        message: String,
        trace: String,
    },
    Stopped(Stop),
}

impl From<Stop> for Terse {
    fn from(stop: Stop) -> Terse {
        match stop {
            Stop::Uncaught(exception, message) => {
                let first = message.split('\n').next().unwrap_or_default().to_owned();
                Terse::Thrown { message: first, trace: format!("{exception}: {message}") }
            }
            stop => Terse::Stopped(stop),
        }
    }
}

impl Terse {
    /// The error of a request that Java names `call`, out of its future.
    pub fn executed(call: &str, error: ClientError) -> Terse {
        let error = match error {
            ClientError::TimedOut(_) => {
                ClientError::TimedOut(format!("Timed out waiting for a node assignment. Call: {call}"))
            }
            error => error,
        };
        let cause = Throwable(&error).to_string();
        let trace = format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}");
        Terse::Thrown { message: cause, trace }
    }

    /// As [`Terse::executed`], of a tool that catches nothing.
    pub fn uncaught(self) -> Terse {
        match self {
            Terse::Thrown { trace, .. } => {
                eprintln!("Exception in thread \"main\" {trace}");
                Terse::Stopped(Stop::Exit(1))
            }
            other => other,
        }
    }
}

pub fn end_terse(result: Result<(), Terse>) -> ExitCode {
    match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Terse::Said(line)) => eprintln!("{line}"),
        Err(Terse::Thrown { message, trace }) => eprintln!("{message}\n{trace}\n"),
        Err(Terse::Stopped(Stop::Exit(code))) => return ExitCode::from(code),
        Err(Terse::Stopped(Stop::Usage(why))) => eprintln!("{why}"),
        Err(Terse::Stopped(Stop::Uncaught(exception, why))) => {
            eprintln!("Exception in thread \"main\" {exception}: {why}");
        }
    }
    ExitCode::FAILURE
}
