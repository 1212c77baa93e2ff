//! `menagerie up` as a user meets it: a process of its own, its output and its exit status.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn menagerie(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_menagerie"));
    command.arg("up").arg("--data").arg(dir).args(args).env_remove("RUST_LOG");
    command
}

fn up(dir: &Path, args: &[&str]) -> Output {
    menagerie(dir, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed; it must have gone well.
fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What it complained of; it must have failed with this status.
fn bad(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// The first of four free ports in a row, which no other test of this process gets.
fn ports() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let first =
            21_000 + (std::process::id() % 400) as u16 * 16 + NEXT.fetch_add(4, Ordering::Relaxed) % 6000;
        if (first..first + 4).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first.to_string();
        }
    }
}

/// A cluster that stays up; killed if the test fails.
struct Up {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Up {
    /// Returns once it is ready.
    fn start(dir: &Path, args: &[&str]) -> Up {
        let mut child = menagerie(dir, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("It stays up") {
            if lines.read_line(&mut said).unwrap() == 0 {
                let mut complaint = String::new();
                child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
                panic!("it ended: {said}{complaint}");
            }
        }
        Up { child, lines }
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end; gives its exit code and what it said last.
    fn end(&mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut rest = String::new();
                self.lines.read_to_string(&mut rest).unwrap();
                return (status.code(), rest);
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_with<'a>(said: &'a str, what: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.contains(what)).collect()
}

#[test]
fn one_of_each_sends_messages_round_and_finds_those_of_the_former_run() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("cluster");
    let (zk, kafka) = (ports(), ports());
    let first = good(&up(&dir, &["--once", "--zk-port", &zk, "--kafka-port", &kafka]));
    for expected in
        ["topic hello created, 1 partition, 1 replica", "3 messages consumed back", "Ready in ", "Stopped in"]
    {
        assert!(first.contains(expected), "{first}");
    }
    assert_eq!(lines_with(&first, "standalone").len(), 1, "{first}");
    assert!(first.contains(&format!("zookeeper.connect=127.0.0.1:{zk}/test")), "{first}");
    assert!(first.contains(&format!("bootstrap.servers=127.0.0.1:{kafka}")), "{first}");

    // The same ports without being told, and the data.
    let second = good(&up(&dir, &["--once"]));
    assert!(second.contains("topic hello is there"), "{second}");
    assert!(second.contains("3 messages of former runs are there, 3 of them read again"), "{second}");
    assert!(second.contains(&format!("bootstrap.servers=127.0.0.1:{kafka}")), "{second}");

    let error = bad(&up(&dir, &["--once", "--brokers", "3"]), 1);
    assert!(error.contains("holds a cluster of 1 broker, not 3"), "{error}");
    assert!(bad(&up(&dir, &["--status"]), 1).contains("nothing runs from"));
    assert!(good(&up(&dir, &["--stop"])).contains("Nothing runs from"));
    assert!(good(&up(&dir, &["--purge"])).contains("Deleted"));
    assert!(!dir.exists());
    assert!(good(&up(&dir, &["--purge"])).contains("There is nothing at"));
}

#[test]
fn three_of_each_stay_up_show_their_roles_and_are_stopped_and_purged_by_others() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("cluster");
    let (zk, kafka) = (ports(), ports());
    let args = ["--servers", "3", "--brokers", "3", "--zk-port", &zk, "--kafka-port", &kafka];
    let mut cluster = Up::start(&dir, &args);
    let status = good(&up(&dir, &["--status"]));
    assert!(status.contains(&format!("Process {}", cluster.child.id())), "{status}");
    let servers = lines_with(&status, "ZooKeeper server");
    assert_eq!(servers.iter().filter(|line| line.ends_with(" leader")).count(), 1, "{status}");
    assert_eq!(servers.iter().filter(|line| line.ends_with(" follower")).count(), 2, "{status}");
    let brokers = lines_with(&status, "Kafka broker");
    assert_eq!(brokers.iter().filter(|line| line.contains("leader of")).count(), 3, "{status}");
    assert_eq!(lines_with(&status, "controller, ").len(), 1, "{status}");

    assert!(bad(&up(&dir, &["--once"]), 1).contains("it is up already as process"));
    let taken = home.path().join("other");
    let error = bad(&up(&taken, &["--once", "--kafka-port", &kafka]), 1);
    assert!(error.contains(&format!("port {kafka}, for Kafka broker 0, is taken")), "{error}");
    assert!(error.contains("--kafka-port"), "{error}");

    assert!(good(&up(&dir, &["--stop"])).contains("Stopped process"));
    let (code, said) = cluster.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Stopping") && said.contains("Stopped in"), "{said}");

    let mut cluster = Up::start(&dir, &[]);
    assert!(good(&up(&dir, &["--purge"])).contains("Deleted"));
    assert_eq!(cluster.end().0, Some(0));
    assert!(!dir.exists());
}

#[test]
fn both_signals_stop_it_in_good_order_and_a_killed_one_is_started_again_on_its_data() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("cluster");
    let (zk, kafka) = (ports(), ports());
    let ports = ["--zk-port", &zk[..], "--kafka-port", &kafka];
    for signal in ["-INT", "-TERM"] {
        let mut cluster = Up::start(&dir, &ports);
        cluster.signal(signal);
        let (code, said) = cluster.end();
        assert_eq!(code, Some(0), "{signal}: {said}");
        assert!(said.contains("the data stay in"), "{signal}: {said}");
    }
    let mut cluster = Up::start(&dir, &ports);
    cluster.signal("-KILL");
    cluster.end();
    assert!(bad(&up(&dir, &["--status"]), 1).contains("nothing runs from"));
    let again = good(&up(&dir, &["--once"]));
    assert!(again.contains("9 messages of former runs are there, 9 of them read again"), "{again}");
}

#[test]
fn a_usual_port_that_is_taken_is_named_and_the_next_free_one_used() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("cluster");
    let (zk, kafka) = (ports(), ports());
    good(&up(&dir, &["--once", "--zk-port", &zk, "--kafka-port", &kafka]));
    let other = TcpListener::bind(("127.0.0.1", kafka.parse().unwrap())).unwrap();
    let said = good(&up(&dir, &["--once"]));
    assert!(
        said.contains(&format!("Port {kafka} is taken by another program: Kafka broker 0 uses ")),
        "{said}"
    );
    assert!(said.contains("3 messages of former runs are there"), "{said}");
    drop(other);
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("letter"), "dear").unwrap();
    assert!(bad(&up(home.path(), &["--once"]), 1).contains("holds other things"));
    assert!(bad(&up(home.path(), &["--purge"]), 1).contains("was not made by `menagerie up`"));
    assert!(bad(&up(&home.path().join("letter/sub"), &["--once"]), 1).contains("--data"));
    assert!(bad(&up(&home.path().join("new"), &["--spelling"]), 2).contains("no option --spelling"));

    let dir = home.path().join("cluster");
    let (zk, kafka) = (ports(), ports());
    good(&up(&dir, &["--once", "--zk-port", &zk, "--kafka-port", &kafka]));
    fs::write(dir.join("kafka-0/meta.properties"), "version=0\nbroker.id=7\ncluster.id=x\n").unwrap();
    let error = bad(&up(&dir, &["--once"]), 1);
    assert!(error.contains("Kafka broker 0") && error.contains("meta.properties"), "{error}");
    assert!(error.contains("up.log"), "{error}");
    fs::write(dir.join("zookeeper-1/version-2/log.1"), "not a log").unwrap();
    let snapshots = fs::read_dir(dir.join("zookeeper-1/version-2")).unwrap();
    for snapshot in snapshots
        .filter_map(|entry| entry.ok())
        .filter(|e| text(e.file_name().as_encoded_bytes()).starts_with("snapshot"))
    {
        fs::write(snapshot.path(), "not a snapshot").unwrap();
    }
    let error = bad(&up(&dir, &["--once"]), 1);
    assert!(error.contains("ZooKeeper server 1") && error.contains("version-2"), "{error}");
    fs::write(dir.join("up.json"), "{").unwrap();
    let error = bad(&up(&dir, &["--once"]), 1);
    assert!(error.contains("up.json is damaged") && error.contains("--purge"), "{error}");
    assert!(good(&up(&dir, &["--purge"])).contains("Deleted"));
}
