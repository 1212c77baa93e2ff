//! ZooKeeper's tools that work on files. Words, outputs, streams and exit codes are those of 3.9.3's.

pub mod cleanup;
mod commons_cli;
pub mod initialize;
mod java;
pub mod snapshot_comparer;
pub mod snapshot_summary;
pub mod snapshot_toolkit;
mod txn_text;
pub mod txnlog_toolkit;

use std::env;
use std::io;
use std::process::ExitCode;
use wire::jute::DecodeError;
use zk_server::disk::inspect::InspectError;

/// An error that ends a tool as an uncaught exception ends Java's: a line on stderr, exit code 1.
#[derive(Debug)]
pub struct Thrown {
    class: &'static str,
    message: Option<String>,
}

impl Thrown {
    pub fn new(class: &'static str, message: impl Into<String>) -> Thrown {
        Thrown { class, message: Some(message.into()) }
    }

    /// Where an entry or a file ends in its middle.
    pub fn end_of_file() -> Thrown {
        Thrown { class: "java.io.EOFException", message: None }
    }

    pub fn io(error: &io::Error) -> Thrown {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Thrown::end_of_file(),
            _ => Thrown::new("java.io.IOException", error.to_string()),
        }
    }

    /// A number that does not read as one.
    pub fn number(text: &str) -> Thrown {
        Thrown::new("java.lang.NumberFormatException", format!("For input string: \"{text}\""))
    }

    /// What Java's `getMessage` gives.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("null")
    }

    /// With the file that could not be read.
    pub fn of_file(path: &str, error: InspectError) -> Thrown {
        match error {
            InspectError::Io(error) if error.raw_os_error().is_some() => {
                let text = error.to_string();
                let reason = text.split(" (os error").next().unwrap_or_default();
                Thrown::new("java.io.FileNotFoundException", format!("{path} ({reason})"))
            }
            InspectError::Io(error) => Thrown::io(&error),
            InspectError::Decode(error) => error.into(),
            magic @ InspectError::Magic { .. } => Thrown::new("java.io.IOException", magic.to_string()),
        }
    }

    pub fn tell(&self) -> ExitCode {
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        eprintln!("Exception in thread \"main\" {}{message}", self.class);
        ExitCode::FAILURE
    }
}

impl From<DecodeError> for Thrown {
    fn from(error: DecodeError) -> Thrown {
        match error {
            DecodeError::Short { .. } => Thrown::end_of_file(),
            DecodeError::Length { len, .. } => {
                Thrown::new("java.io.IOException", format!("Unreasonable length = {len}"))
            }
            DecodeError::Orphan { path, .. } => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let text = format!("Invalid Datatree, unable to find parent {parent} of path {path}");
                Thrown::new("java.io.IOException", text)
            }
            other => Thrown::new("java.io.IOException", other.to_string()),
        }
    }
}

/// `-DNAME=VALUE` of `JVMFLAGS`, as a whole number; the last one counts.
fn jvm_number(name: &str) -> Option<u64> {
    let flags = env::var("JVMFLAGS").unwrap_or_default();
    let values = flags.split_whitespace().filter_map(|word| word.strip_prefix("-D")?.split_once('='));
    values.filter(|(key, _)| *key == name).filter_map(|(_, value)| value.parse().ok()).next_back()
}

/// The longest buffer that Java's tools believe: `jute.maxbuffer` and its extra.
fn entry_max() -> usize {
    let max = jvm_number("jute.maxbuffer").unwrap_or(0xfffff);
    let extra = jvm_number("zookeeper.jute.maxbuffer.extrasize").unwrap_or(max).max(1024);
    (max + extra).min(i32::MAX as u64) as usize
}
