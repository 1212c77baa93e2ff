//! `kafka-server-start [-daemon] server.properties [--override property=value]*` and `kafka-server-stop`.
//!
//! Logs go to stdout and to `logs/server.log` (`LOG_DIR` names another folder); with `-daemon`, stdout goes to
//! `logs/kafkaServer.out`. `KAFKA_HEAP_OPTS` is accepted: there is no heap to be sized.

use crate::{Call, install};
use base::logging::{self, Layout, Output};
use base::{ConfigError, Properties};
use broker::BrokerConfig;
use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const TOOL: &str = "kafka-server-start";
/// The release that this broker stands in for.
const VERSION: &str = "3.5.1";

pub fn start(call: &Call) -> ExitCode {
    match &call.args[..] {
        [] => usage(call),
        [flag, rest @ ..] if flag == "-daemon" => start_behind(TOOL, "kafkaServer.out", rest),
        [flag, ..] if flag == "--version" => {
            println!("{VERSION}");
            ExitCode::SUCCESS
        }
        args => run(args),
    }
}

fn usage(call: &Call) -> ExitCode {
    println!("USAGE: {} [-daemon] server.properties [--override property=value]*", call.name);
    ExitCode::FAILURE
}

fn log_dir() -> PathBuf {
    env::var_os("LOG_DIR").map_or_else(|| install::bin().join("../logs"), PathBuf::from)
}

/// Starts a command in a process group of its own, its output in the file `out` of the logs, and leaves it there.
pub fn start_behind(tool: &str, out: &str, args: &[String]) -> ExitCode {
    let dir = log_dir();
    let path = dir.join(out);
    let opened = fs::create_dir_all(&dir)
        .and_then(|()| File::create(&path))
        .and_then(|out| Ok((out.try_clone()?, out)));
    let (out, err) = match opened {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let spawned = env::current_exe().and_then(|exe| {
        let mut command = Command::new(exe);
        command.arg0("menagerie").arg(tool).args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        // A group of its own: a ^C on the terminal is not for it.
        command.process_group(0).spawn()
    });
    match spawned {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot start {tool}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> ExitCode {
    let dir = log_dir();
    let outputs = [Output::Stdout, Output::Hourly { dir, name: "server.log".into() }];
    if let Err(error) = logging::init(Layout::Kafka, &outputs) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let config = match configure(args) {
        Ok(config) => config,
        Err(error) => return fatal(&error),
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&error),
    };
    let ended = runtime.block_on(async {
        match broker::run(config, terminated()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fatal(&error),
        }
    });
    runtime.shutdown_background();
    ended
}

fn fatal(error: &dyn std::fmt::Display) -> ExitCode {
    tracing::error!(target: "kafka.Kafka$", "Exiting Kafka due to fatal exception: {error}");
    ExitCode::FAILURE
}

/// SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught: kill -9 is the only way to stop this broker");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("Terminating process due to signal SIGTERM"),
        _ = interrupt.recv() => tracing::info!("Terminating process due to signal SIGINT"),
    }
}

fn configure(args: &[String]) -> Result<BrokerConfig, ConfigError> {
    let (file, rest) =
        args.split_first().ok_or_else(|| ConfigError::new("no configuration file is given"))?;
    let mut properties = Properties::read(Path::new(file))?;
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let pair = match (word.as_str(), word.strip_prefix("--override=")) {
            ("--override", _) => rest.next().map(String::as_str).unwrap_or_default(),
            (_, Some(pair)) => pair,
            _ => return Err(ConfigError::new(format!("Found non argument parameters: {word}"))),
        };
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| ConfigError::new(format!("--override {pair}: write --override property=value")))?;
        properties.set("--override", key, value);
    }
    let config = BrokerConfig::read(&properties)?;
    config.check_requirements(&properties)?;
    Ok(config)
}

/// Signals every broker of this installation (`SIGNAL`, else TERM), and does not wait.
pub fn stop(call: &Call) -> ExitCode {
    signal_all(call, &[TOOL], "kafka")
}

/// Signals the processes of this installation that run one of `tools`.
pub fn signal_all(call: &Call, tools: &[&str], what: &str) -> ExitCode {
    let name = env::var("SIGNAL").unwrap_or_else(|_| "TERM".into());
    let Some(signal) = signal_named(&name) else {
        eprintln!("{}: SIGNAL={name} is not known here: TERM, INT, HUP, QUIT or KILL", call.name);
        return ExitCode::FAILURE;
    };
    let servers = processes(tools);
    if servers.is_empty() {
        println!("No {what} server to stop");
        return ExitCode::FAILURE;
    }
    for pid in servers {
        if let Err(error) = rustix::process::kill_process(pid, signal) {
            eprintln!("cannot signal process {}: {error}", pid.as_raw_nonzero());
        }
    }
    ExitCode::SUCCESS
}

fn signal_named(name: &str) -> Option<rustix::process::Signal> {
    use rustix::process::Signal;
    Some(match name.trim_start_matches("SIG") {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "KILL" => Signal::KILL,
        _ => return None,
    })
}

/// Processes that run this same binary as one of these tools.
fn processes(tools: &[&str]) -> Vec<rustix::process::Pid> {
    let own = env::current_exe().unwrap_or_default();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pid = |entry: fs::DirEntry| {
        let raw = entry.file_name().to_str()?.parse().ok()?;
        let exe = fs::read_link(entry.path().join("exe")).ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        (exe == own && runs(tools, &line)).then(|| rustix::process::Pid::from_raw(raw)).flatten()
    };
    entries.filter_map(Result::ok).filter_map(pid).collect()
}

/// By its command line: words that each end with a zero byte.
fn runs(tools: &[&str], line: &[u8]) -> bool {
    let words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let named = |word: &str| {
        let file = Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        tools.contains(&file.strip_suffix(".sh").unwrap_or(&file))
    };
    words.take(2).any(|word| named(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_known_by_its_command_line() {
        let is_broker = |line: &[u8]| runs(&[TOOL], line);
        assert!(is_broker(b"bin/kafka-server-start.sh\0config/server.properties\0"));
        assert!(is_broker(b"menagerie\0kafka-server-start\0x\0"));
        assert!(!is_broker(b"vi\0notes\0kafka-server-start\0"));
        assert!(!is_broker(b"bin/kafka-server-stop.sh\0"));
    }

    #[test]
    fn overrides_count_over_the_file() {
        let file = tempfile("broker.id=1\nzookeeper.connect=h:1\n");
        let path = file.display().to_string();
        let words = |words: &[&str]| -> Vec<String> {
            std::iter::once(path.clone()).chain(words.iter().map(|word| (*word).to_owned())).collect()
        };
        let config =
            configure(&words(&["--override", "broker.id=2", "--override=num.partitions=7"])).unwrap();
        assert_eq!(config.broker_id, Some(2));
        assert_eq!(config.int("num.partitions"), 7);
        assert!(configure(&words(&["--override", "broker.id"])).is_err());
        assert!(configure(&words(&["stray"])).unwrap_err().to_string().contains("stray"));
        let error = configure(&words(&["--override", "broker.id=x"])).unwrap_err().to_string();
        assert!(error.starts_with("--override: broker.id: "), "{error}");
        fs::remove_file(file).unwrap();
    }

    fn tempfile(text: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("kafka-server-test-{}.properties", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }
}
