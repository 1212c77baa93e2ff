//! Runs a server from a zoo.cfg: `zoo FILE`. Ends on SIGTERM or Ctrl-C.

use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use zk_server::config::Config;
use zk_server::server;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or("info".into()))
        .with_writer(std::io::stderr)
        .init();
    let file = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: zoo FILE"))?;
    let config = match Config::load(Path::new(&file), &std::env::var("JVMFLAGS").unwrap_or_default()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("Invalid config, exiting abnormally: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut term = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let exit = server::run(config, shutdown).await;
    Ok(ExitCode::from(exit.code as u8))
}
