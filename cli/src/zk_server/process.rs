//! The server's own process: `--zookeeper-server FILE`, or `PORT DATADIR [TICKTIME] [MAXCNXNS]`.
//!
//! Exit codes are ZooKeeper's: 0 stopped, 1 unexpected, 2 arguments or configuration, 3 data folder, 14 election port,
//! and those that the server itself ends with.

use crate::Call;
use base::ConfigError;
use base::logging::{self, Layout, Output};
use std::env;
use std::path::Path;
use std::process::ExitCode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use zk_server::config::Config;
use zk_server::server;

/// Set for a background start: leave the terminal's session first.
pub const DETACH: &str = "MENAGERIE_DETACH";

pub fn main(call: &Call) -> ExitCode {
    if env::var_os(DETACH).is_some()
        && let Err(error) = rustix::process::setsid()
    {
        eprintln!("cannot leave the terminal's session: {error}");
    }
    if let Err(error) = logging::init(Layout::ZooKeeper, &[Output::Stdout]) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let code = serve(&call.args);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn serve(args: &[String]) -> i32 {
    let config = match configure(args) {
        Ok(config) => config,
        Err(wrong) => {
            error!("Invalid config, exiting abnormally: {wrong}");
            eprintln!("Invalid config, exiting abnormally");
            eprintln!("{wrong}");
            error!("Exiting JVM with code 2");
            return 2;
        }
    };
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(until_stopped(config)),
        Err(error) => {
            error!("Unexpected exception, exiting abnormally: {error}");
            1
        }
    }
}

fn configure(args: &[String]) -> Result<Config, ConfigError> {
    let flags = [env::var("SERVER_JVMFLAGS"), env::var("JVMFLAGS")].map(Result::unwrap_or_default).join(" ");
    match args {
        [file] => Config::load(Path::new(file), &flags),
        [port, data_dir, rest @ ..] if rest.len() <= 2 => {
            Config::from_arguments(port, data_dir, rest, &flags)
        }
        _ => Err(ConfigError::new(format!(
            "Invalid number of arguments: {args:?}; write a configuration file's path"
        ))),
    }
}

async fn until_stopped(config: Config) -> i32 {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("Unexpected exception, exiting abnormally: signals cannot be caught");
        return 1;
    };
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => info!("Stopping on SIGTERM"),
            _ = interrupt.recv() => info!("Stopping on SIGINT"),
        }
    };
    let exit = server::run(config, stopped).await;
    match exit.code {
        0 => {}
        3 => eprintln!("Unable to access datadir, exiting abnormally\n{}", exit.why),
        _ => eprintln!("{}", exit.why),
    }
    exit.code
}
