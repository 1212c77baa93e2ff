//! What a server's files say of the past: `zk-who` tells who changed a node, `zk-restore` brings a subtree back.

mod image;
mod live;
mod options;
mod plan;
pub mod restore;
pub mod who;

use crate::Call;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::process::ExitCode;

/// A time as these tools print it: `2026-11-21 17:03:11.123 UTC`.
fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// The usage where it is asked for, or nothing is; else what `run` comes to, its mistake on stderr.
fn answer(call: &Call, usage: &str, run: fn(&[String]) -> anyhow::Result<()>) -> ExitCode {
    if call.args.is_empty() || call.args.iter().any(|word| word == "--help" || word == "-h") {
        println!("{usage}");
        return if call.args.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match run(&call.args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
