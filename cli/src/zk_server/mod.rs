//! `zkServer [--config DIR] start|start-foreground|stop|restart|status|version|print-cmd [FILE]`
//!
//! What it prints, where, and its exit codes are those of ZooKeeper 3.9.3's `zkServer.sh`: the first two lines on
//! stderr, the rest on stdout.

pub mod place;
pub mod process;
mod status;

use crate::{Call, install};
use place::Place;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// The hidden tool that is the server itself: `--zookeeper-server FILE`.
pub const PROCESS: &str = "--zookeeper-server";
/// What `version` prints: this server stands in for that release.
pub const VERSION: &str = "Apache ZooKeeper, version 3.9.3 2024-10-17 23:21 UTC";

const SUCCESS: ExitCode = ExitCode::SUCCESS;
const FAILURE: ExitCode = ExitCode::FAILURE;

pub fn main(call: &Call) -> ExitCode {
    let (folder, words) = Place::folder_of(&call.args);
    let verb = words.first().map(String::as_str).unwrap_or_default();
    let place = Place::find(folder, words.get(1).map(String::as_str));
    run(verb, &place, &call.name)
}

fn run(verb: &str, place: &Place, name: &str) -> ExitCode {
    jmx_lines().iter().for_each(|line| eprintln!("{line}"));
    eprintln!("Using config: {}", place.file.display());
    if let Err(missing) = place.prepare_folders() {
        println!("{missing}");
        return FAILURE;
    }
    match verb {
        "start" => start(place),
        "start-foreground" => start_foreground(place),
        "stop" => stop(place),
        "restart" => {
            stop(place);
            sleep(Duration::from_secs(3));
            run("start", place, name)
        }
        "status" => status::status(place),
        "version" => {
            println!("{VERSION}");
            SUCCESS
        }
        "print-cmd" => {
            let out = place.out_file();
            println!(
                "\"{}\" {PROCESS} \"{}\" > \"{}\" 2>&1 < /dev/null",
                exe().display(),
                place.file.display(),
                out.display()
            );
            SUCCESS
        }
        _ => {
            eprintln!(
                "Usage: {name} [--config <conf-dir>] {{start|start-foreground|stop|version|restart|status|print-cmd}}"
            );
            SUCCESS
        }
    }
}

/// There is no JMX here; the lines are what scripts that compare outputs expect.
fn jmx_lines() -> Vec<String> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    if set("JMXDISABLE").is_some_and(|value| value != "false") {
        return vec!["JMX disabled by user request".into()];
    }
    let mut lines = vec!["ZooKeeper JMX enabled by default".to_owned()];
    if let Some(port) = set("JMXPORT") {
        let or = |name: &str, default: &str| set(name).unwrap_or_else(|| default.to_owned());
        lines.push(format!("ZooKeeper remote JMX Port set to {port}"));
        lines.push(format!("ZooKeeper remote JMX authenticate set to {}", or("JMXAUTH", "false")));
        lines.push(format!("ZooKeeper remote JMX ssl set to {}", or("JMXSSL", "false")));
        lines.push(format!("ZooKeeper remote JMX log4j set to {}", or("JMXLOG4J", "true")));
        lines.extend(set("JMXHOSTNAME").map(|host| format!("ZooKeeper remote JMX Hostname set to {host}")));
    }
    lines
}

fn exe() -> PathBuf {
    install::bin().join("menagerie")
}

/// The server's own command line.
fn server(place: &Place) -> Command {
    let mut command = Command::new(env::current_exe().unwrap_or_else(|_| exe()));
    command.arg0("menagerie").arg(PROCESS).arg(&place.file).env("JVMFLAGS", place.jvm_flags());
    command.env_remove("SERVER_JVMFLAGS");
    command
}

fn start(place: &Place) -> ExitCode {
    say("Starting zookeeper ... ");
    if let Some(pid) = read_pid(&place.pid_file)
        && is_alive(pid)
    {
        println!("already running as process {pid}.");
        return FAILURE;
    }
    let mut child = match start_behind(place) {
        Ok(child) => child,
        Err(why) => {
            println!("SERVER DID NOT START");
            eprintln!("{why}");
            return FAILURE;
        }
    };
    if let Err(error) = fs::write(&place.pid_file, child.id().to_string()) {
        println!("FAILED TO WRITE PID");
        eprintln!("{}: {error}", place.pid_file.display());
        // A server that `stop` could not find must not stay.
        let _ = child.kill();
        return FAILURE;
    }
    sleep(Duration::from_secs(1));
    match child.try_wait() {
        Ok(None) => {
            println!("STARTED");
            SUCCESS
        }
        _ => {
            println!("FAILED TO START");
            eprintln!("The reason is in {}", place.out_file().display());
            FAILURE
        }
    }
}

fn start_behind(place: &Place) -> Result<Child, String> {
    let path = place.out_file();
    let out = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let err = out.try_clone().map_err(|error| format!("{}: {error}", path.display()))?;
    let mut command = server(place);
    command.env(process::DETACH, "1").stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().map_err(|error| format!("{}: {error}", exe().display()))
}

/// Becomes the server, so that signals and the exit code are its own.
fn start_foreground(place: &Place) -> ExitCode {
    let error = server(place).exec();
    eprintln!("{}: {error}", exe().display());
    FAILURE
}

fn stop(place: &Place) -> ExitCode {
    say("Stopping zookeeper ... ");
    match read_pid(&place.pid_file) {
        Some(pid) => {
            if let Some(pid) = rustix::process::Pid::from_raw(pid)
                && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            {
                eprintln!("kill {}: {error}", pid.as_raw_nonzero());
            }
            let _ = fs::remove_file(&place.pid_file);
            sleep(Duration::from_secs(1));
            println!("STOPPED");
        }
        None => println!("no zookeeper to stop (could not find file {})", place.pid_file.display()),
    }
    SUCCESS
}

fn read_pid(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

fn is_alive(pid: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Without a line end, and seen at once.
fn say(text: &str) {
    print!("{text}");
    let _ = io::stdout().flush();
}
