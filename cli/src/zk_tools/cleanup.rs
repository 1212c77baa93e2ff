//! `zkCleanup [--config DIR] -n COUNT`: deletes the snapshots and logs that the newest COUNT snapshots do not need.

use super::java;
use crate::Call;
use crate::zk_server::place::Place;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;
use zk_server::disk::purge;

const COUNT: &str = "count should be greater than or equal to 3";
const USAGE: &str = "Usage:
PurgeTxnLog dataLogDir [snapDir] -n count
\tdataLogDir -- path to the txn log directory
\tsnapDir -- path to the snapshot directory
\tcount -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3";

pub fn main(call: &Call) -> ExitCode {
    let (place, words) = Place::of_words(&call.args);
    let folder = |key| place.key(key).unwrap_or_default().to_owned();
    let mut given = vec![folder("dataDir")];
    if place.key("dataLogDir").is_some() {
        given.insert(0, folder("dataLogDir"));
    }
    given.extend(words.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned));
    match plan(&given) {
        Ok(plan) => plan.run(),
        Err(wrong) => {
            if !wrong.is_empty() {
                eprintln!("{wrong}");
            }
            println!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    logs: PathBuf,
    snapshots: PathBuf,
    keep: usize,
}

/// `dataLogDir [snapDir] -n count`; the error is what stands above the usage, if anything.
fn plan(words: &[String]) -> Result<Plan, String> {
    let (logs, snapshots, option, count) = match words {
        [both, option, count] => (both, both, option, count),
        [logs, snapshots, option, count] => (logs, snapshots, option, count),
        _ => return Err(String::new()),
    };
    let (logs, snapshots) = (existing(logs)?, existing(snapshots)?);
    let keep: i32 = count.parse().map_err(|_| format!("'{count}' can not be parsed to integer."))?;
    if keep < 3 {
        return Err(COUNT.into());
    }
    match option == "-n" {
        true => Ok(Plan { logs, snapshots, keep: keep as usize }),
        false => Err(String::new()),
    }
}

fn existing(folder: &str) -> Result<PathBuf, String> {
    if !folder.is_empty() && Path::new(folder).exists() {
        return Ok(folder.into());
    }
    let here = env::current_dir().unwrap_or_default();
    let shown = if folder.is_empty() { here } else { here.join(folder) };
    Err(format!("Path '{}' does not exist. ", shown.display()))
}

impl Plan {
    fn run(&self) -> ExitCode {
        let (snapshots, logs) = (self.snapshots.join("version-2"), self.logs.join("version-2"));
        for folder in [&logs, &snapshots] {
            if let Err(error) = fs::create_dir_all(folder) {
                eprintln!("{}: {error}", folder.display());
                return ExitCode::FAILURE;
            }
        }
        let unneeded = match purge::unneeded(&snapshots, &logs, self.keep) {
            Ok(unneeded) => unneeded,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        for path in unneeded {
            let modified = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
            let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            println!("Removing file: {}\t{}", java::date_medium(since.as_millis() as i64), path.display());
            if fs::remove_file(&path).is_err() {
                eprintln!("Failed to remove {}", path.display());
            }
        }
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_are_checked_in_the_real_tool_s_order() {
        assert_eq!(plan(&words("/tmp -n 3")).unwrap().keep, 3);
        assert_eq!(plan(&words("/tmp /tmp -n 12")).unwrap().keep, 12);
        assert_eq!(plan(&words("/tmp -n 2")).unwrap_err(), COUNT);
        assert_eq!(plan(&words("/tmp -n x")).unwrap_err(), "'x' can not be parsed to integer.");
        assert_eq!(plan(&words("/nope /tmp -n x")).unwrap_err(), "Path '/nope' does not exist. ");
        assert_eq!(plan(&words("/tmp -k 3")).unwrap_err(), "");
        assert_eq!(plan(&words("/tmp")).unwrap_err(), "");
    }
}
