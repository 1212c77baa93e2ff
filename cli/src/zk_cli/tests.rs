use super::client::{CreateMode, open_acl};
use super::*;
use std::sync::mpsc::{Receiver, channel};
use tokio::runtime::Runtime;
use wire::zk::err;
use zk_server::config::Config;
use zk_server::server::Server;

fn parse(line: &str) -> Options {
    Options::parse(&line.split(' ').map(String::from).collect::<Vec<_>>())
}

#[test]
fn options_end_at_the_command_and_strangers_are_passed_over() {
    let options = parse("-server h:1 -x -r get -s /a");
    assert_eq!((options.server.as_str(), options.read_only), ("h:1", true));
    assert_eq!(options.command.unwrap(), ["get", "-s", "/a"]);
}

#[test]
fn an_option_without_its_value_leads_to_the_prompt() {
    let options = parse("-server");
    assert_eq!(options.server, "localhost:2181");
    assert!(options.command.is_none());
}

/// A real server in this process, on a port that it keeps across restarts.
struct Alone {
    folder: tempfile::TempDir,
    runtime: Runtime,
    port: u16,
    server: Option<Server>,
}

impl Alone {
    fn start() -> Alone {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let runtime = Runtime::new().unwrap();
        let mut alone = Alone { folder: tempfile::tempdir().unwrap(), runtime, port, server: None };
        alone.restart();
        alone
    }

    fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
        let file = self.folder.path().join("zoo.cfg");
        let text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            self.folder.path().display(),
            self.port
        );
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file, "").unwrap();
        self.server = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    fn client(&self, chroot: &str) -> (Client, Receiver<String>) {
        let target = Target::parse(&format!("127.0.0.1:{}{chroot}", self.port)).unwrap();
        let (events, received) = channel();
        let client = Client::start(target, Default::default(), 10_000, false, move |event| {
            let _ = events.send(event.to_string());
        });
        (client, received)
    }
}

fn next(events: &Receiver<String>) -> String {
    events.recv_timeout(Duration::from_secs(20)).expect("an event within 20 s")
}

const CONNECTED: &str = "WatchedEvent state:SyncConnected type:None path:null zxid: -1";

#[test]
fn an_event_has_its_path_below_the_chroot_and_the_zxid_of_its_cause() {
    let server = Alone::start();
    let (plain, _plain_events) = server.client("");
    plain.create("/app", None, open_acl(), CreateMode::PERSISTENT).unwrap();
    let (client, events) = server.client("/app");
    assert_eq!(client.create("/n", None, open_acl(), CreateMode::PERSISTENT).unwrap(), "/n");
    client.get_data("/n", true).unwrap();
    let stat = plain.set_data("/app/n", Some("x".into()), -1).unwrap();
    assert_eq!(next(&events), CONNECTED);
    let wanted =
        format!("WatchedEvent state:SyncConnected type:NodeDataChanged path:/n zxid: {}", stat.mzxid);
    assert_eq!(next(&events), wanted);
    client.close();
    assert_eq!(next(&events), "WatchedEvent state:Closed type:None path:null zxid: -1");
    assert!(client.get_data("/n", false).unwrap_err().is(err::SESSION_EXPIRED));
}

#[test]
fn a_session_and_its_watches_survive_a_restart_of_the_server() {
    let mut server = Alone::start();
    let (client, events) = server.client("");
    let ephemeral = CreateMode { ephemeral: true, ..CreateMode::PERSISTENT };
    client.create("/mine", None, open_acl(), ephemeral).unwrap();
    client.exists("/later", true).unwrap();
    assert_eq!(next(&events), CONNECTED);
    server.restart();
    assert_eq!(next(&events), "WatchedEvent state:Disconnected type:None path:null zxid: -1");
    assert_eq!(next(&events), CONNECTED);
    assert!(client.exists("/mine", false).unwrap().is_some());
    client.create("/later", None, open_acl(), CreateMode::PERSISTENT).unwrap();
    assert!(
        next(&events).starts_with("WatchedEvent state:SyncConnected type:NodeCreated path:/later zxid: ")
    );
}

#[test]
fn a_server_that_is_down_costs_one_round_and_then_the_command_fails() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target::parse(&nobody.to_string()).unwrap();
    let client = Client::start(target, Default::default(), 2_000, false, |_| {});
    assert!(client.get_data("/", false).unwrap_err().is(err::CONNECTION_LOSS));
    assert!(client.state().is_alive());
    client.close();
}

#[test]
fn a_watch_that_was_never_set_cannot_be_removed_and_one_that_was_is_told() {
    let server = Alone::start();
    let (client, events) = server.client("");
    assert!(client.remove_watches("/", 3, false).unwrap_err().is(err::NO_WATCHER));
    client.add_watch("/", true).unwrap();
    client.remove_watches("/", 3, false).unwrap();
    assert_eq!(next(&events), CONNECTED);
    assert_eq!(next(&events), "WatchedEvent state:SyncConnected type:PersistentWatchRemoved path:/ zxid: -1");
}
