//! `menagerie up`: an ensemble and brokers on this machine by one command, with nothing installed or configured before.

mod cluster;
mod folder;
mod options;
mod plan;
mod ports;
mod round_trip;
mod table;

use anyhow::{Context, Result, bail};
use base::logging::{self, Layout, Output};
use cluster::Cluster;
use folder::Folder;
use options::{Options, USAGE, Verb};
use plan::Plan;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Prints a line, if there is still somebody to read it: a cluster does not end with the pipe of its output.
macro_rules! say {
    ($($text:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($text)*);
    };
}

/// How long `--stop` waits for the process to end.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Runs the tool. Exit codes: 0 done; 1 it failed, or `--status` found nothing that runs; 2 wrong options.
pub fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("menagerie up: {why:#}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match options.verb {
        Verb::Help => {
            println!("{USAGE}");
            Ok(())
        }
        Verb::Up { once } => up(&options, once),
        Verb::Status => status(&options),
        Verb::Stop => stop(&options.folder),
        Verb::Purge => purge(&options.folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("menagerie up: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(options: &Options, once: bool) -> Result<()> {
    let begin = Instant::now();
    let folder = &options.folder;
    let _lock = folder.lock()?;
    let (plan, moved) = Plan::make(options)?;
    let log = folder.log();
    logging::init(Layout::Kafka, &[Output::File(log.clone())])?;
    say!("Data, configurations and log are in {}", folder.path.display());
    for line in moved {
        say!("{line}");
    }
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(run(&plan, begin, once));
    // A thread that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.with_context(|| format!("it came to an end; its log is {}", log.display()))
}

async fn run(plan: &Plan, begin: Instant, once: bool) -> Result<()> {
    let mut asked = stop_signals()?;
    let mut cluster = Cluster::default();
    let outcome = tokio::select! {
        outcome = serve(&mut cluster, plan, begin, once) => outcome,
        _ = asked.wait_for(|asked| *asked) => {
            say!("Stopping");
            Ok(())
        }
    };
    let begin = Instant::now();
    cluster.stop().await;
    if outcome.is_ok() {
        say!(
            "Stopped in {} ms; the data stay in {}",
            begin.elapsed().as_millis(),
            plan.folder.path.display()
        );
    }
    outcome
}

/// Until something ends by itself; with `once`, until the messages are back.
async fn serve(cluster: &mut Cluster, plan: &Plan, begin: Instant, once: bool) -> Result<()> {
    let step = |what: &str| {
        say!("{:>6} ms  {what}", begin.elapsed().as_millis());
    };
    cluster.start_servers(plan).await?;
    step(&format!("{} serving", many(plan.servers.len(), "ZooKeeper server")));
    cluster.start_brokers(plan).await?;
    step(&format!("{} registered under {}", many(plan.brokers.len(), "Kafka broker"), plan::CHROOT));
    round_trip::run(plan, step).await?;
    say!("Ready in {} ms\n", begin.elapsed().as_millis());
    say!("{}", table::of(plan).await?);
    if once {
        return Ok(());
    }
    say!("{}", table::try_it(plan));
    Err(cluster.ended().await)
}

/// Turns true at the first SIGINT or SIGTERM; the second one ends the process at once.
fn stop_signals() -> Result<watch::Receiver<bool>> {
    let (asked_out, asked) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked_out.send_replace(true) {
                eprintln!("menagerie up: ended before everything was stopped");
                std::process::exit(1);
            }
        }
    });
    Ok(asked)
}

fn status(options: &Options) -> Result<()> {
    let folder = &options.folder;
    let Some(pid) = folder.holder()? else {
        bail!("nothing runs from {}", folder.path.display());
    };
    let plan = Plan::load(folder)?.with_context(|| format!("{} holds no plan yet", folder.path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("Process {pid}, folder {}\n", folder.path.display());
    println!("{}", runtime.block_on(table::of(&plan))?);
    Ok(())
}

fn stop(folder: &Folder) -> Result<()> {
    let Some(pid) = folder.holder()? else {
        println!("Nothing runs from {}", folder.path.display());
        return Ok(());
    };
    let process = Pid::from_raw(pid).context("its lock names no process")?;
    kill_process(process, Signal::TERM).with_context(|| format!("process {pid} cannot be stopped"))?;
    let end = Instant::now() + STOP_WITHIN;
    while folder.holder()? == Some(pid) {
        if Instant::now() > end {
            bail!("process {pid} does not end; its log is {}", folder.log().display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("Stopped process {pid}; the data stay in {}", folder.path.display());
    Ok(())
}

fn purge(folder: &Folder) -> Result<()> {
    if !folder.path.exists() {
        println!("There is nothing at {}", folder.path.display());
        return Ok(());
    }
    if !folder.is_ours() {
        bail!("{} was not made by `menagerie up`: nothing is deleted", folder.path.display());
    }
    if folder.holder()?.is_some() {
        stop(folder)?;
    }
    let left = folder.delete()?;
    match &left[..] {
        [] => println!("Deleted {}", folder.path.display()),
        left => println!(
            "Deleted the cluster in {}; not ours, so left: {}",
            folder.path.display(),
            left.join(", ")
        ),
    }
    Ok(())
}

/// `1 server`, `3 servers`.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
