//! A process that is stopped and goes on: this test's own binary is the server, in a process that it starts.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use support::{Client, eventually, free_ports, runtime};
use wire::zk::err;
use zk_server::config::Config;
use zk_server::server::Server;

/// Milliseconds: of the sessions, and of the standstill.
const TIMEOUT: u64 = 1000;
const STILL: Duration = Duration::from_millis(3500);

fn main() {
    match std::env::var_os("STANDSTILL_CFG") {
        Some(file) => serve(Path::new(&file)),
        None => sessions_outlive_a_process_that_stood_still(),
    }
}

/// The server, until it is killed.
fn serve(file: &Path) {
    let config = Config::load(file, "").unwrap();
    runtime().block_on(async {
        let server = Server::start(config).await.unwrap();
        server.ended().await;
    });
}

struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sessions_outlive_a_process_that_stood_still() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let lines = format!(
        "tickTime=250\nclientPort={port}\nclientPortAddress=127.0.0.1\nminSessionTimeout=1\n\
         maxSessionTimeout={TIMEOUT}\n"
    );
    support::config(folder.path(), None, &lines);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let server = Process(command.env("STANDSTILL_CFG", folder.path().join("zoo.cfg")).spawn().unwrap());
    let addr = ([127, 0, 0, 1], port).into();
    let mut client = Client::connected(addr);
    assert_eq!(u64::from(client.handshake.timeout.unsigned_abs()), TIMEOUT);
    client.create_as("/mine", "", 1).unwrap().unwrap();

    // Until the server has counted that it heard of the session: what it counts later would save it anyway.
    std::thread::sleep(Duration::from_millis(TIMEOUT / 2));
    server.signal(Signal::STOP);
    std::thread::sleep(STILL);
    server.signal(Signal::CONT);
    // It is asked for in a session of its own, so that nothing keeps the first one alive meanwhile.
    let mut other = Client::connected(addr);
    assert_eq!(
        other.get("/mine", false).unwrap(),
        Ok(String::new()),
        "a standstill is not the client's silence"
    );
    assert_eq!(client.get("/mine", false).unwrap(), Ok(String::new()));

    let silent_since = Instant::now();
    eventually("the end of the silent session", || {
        (other.get("/mine", false).unwrap() == Err(err::NO_NODE)).then_some(())
    });
    assert!(silent_since.elapsed() >= Duration::from_millis(TIMEOUT / 2), "{:?}", silent_since.elapsed());
    println!("test sessions_outlive_a_process_that_stood_still ... ok");
}
