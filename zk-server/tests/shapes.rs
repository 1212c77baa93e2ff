//! Ensembles of other shapes than voters that count the same: over real sockets, in one process.

mod support;

use support::{Client, Ensemble, eventually, free_ports, mode, word};
use wire::zk::PathRequest;
use wire::zk::op;

const COMMON: &str = "tickTime=500\ninitLimit=20\nsyncLimit=10\n4lw.commands.whitelist=*\n";

/// What `addr` has at `path`, once it has caught up with the leader.
fn get_synced(client: &mut Client, path: &str) -> Result<String, i32> {
    client.call::<PathRequest>(op::SYNC, &PathRequest { path: path.into() }).unwrap().unwrap();
    client.get(path, false).unwrap()
}

/// A client of a server that serves now or will soon.
fn client_of(ensemble: &Ensemble, n: usize) -> Client {
    eventually("a server that serves", || (!mode(ensemble.addr(n)).is_empty()).then_some(()));
    Client::connected(ensemble.addr(n))
}

#[test]
fn groups_that_weigh_something_decide_and_the_others_only_follow() {
    let (client, quorum, election) = (free_ports::<5>(), free_ports::<5>(), free_ports::<5>());
    let mut lines = format!("{COMMON}group.1=1:2:3\ngroup.2=4:5\nweight.4=0\nweight.5=0\n");
    for n in 0..5 {
        let (c, q, e) = (client[n], quorum[n], election[n]);
        lines += &format!("server.{}=127.0.0.1:{q}:{e};127.0.0.1:{c}\n", n + 1);
    }
    let mut ensemble = Ensemble::start_as(5, lines, "");
    assert_eq!(ensemble.leader(4), 2, "the largest id that weighs something");
    assert!(word(ensemble.addr(0), "conf").contains("group.2=4:5\nweight.1=1\n"));
    let mut at_weightless = Client::connected(ensemble.addr(4));
    at_weightless.create("/a", "one").unwrap().unwrap();
    drop(at_weightless);
    ensemble.stop(3);
    ensemble.stop(4);
    ensemble.stop(2);
    assert_eq!(ensemble.leader(1), 1, "two of the group are enough");
    let mut client = Client::connected(ensemble.addr(0));
    assert_eq!(get_synced(&mut client, "/a"), Ok("one".into()));
    ensemble.restart(3);
    ensemble.restart(4);
    ensemble.leader(3);
    ensemble.stop(1);
    for n in [0, 3, 4] {
        let gone = || mode(ensemble.addr(n)).is_empty().then_some(());
        eventually("no quorum, though three of five are there", gone);
    }
}

#[test]
fn an_address_that_is_out_of_reach_is_left_for_another() {
    let (client, quorum, election) = (free_ports::<3>(), free_ports::<3>(), free_ports::<3>());
    let mut lines =
        format!("{COMMON}multiAddress.enabled=true\nmultiAddress.reachabilityCheckTimeoutMs=200\n");
    for n in 0..3 {
        let (c, q, e) = (client[n], quorum[n], election[n]);
        let dead = format!("0.nowhere.invalid:{q}:{e}");
        lines += &format!("server.{}=127.0.0.1:{q}:{e}|{dead};127.0.0.1:{c}\n", n + 1);
    }
    let mut ensemble = Ensemble::start_as(3, lines, "");
    let leader = ensemble.leader(2);
    let conf = word(ensemble.addr(0), "conf");
    let line =
        format!("server.1=0.nowhere.invalid:{0}:{1}|127.0.0.1:{0}:{1}:participant;", quorum[0], election[0]);
    assert!(conf.contains(&line), "{conf}");
    Client::connected(ensemble.addr(0)).create("/a", "one").unwrap().unwrap();
    ensemble.stop(leader);
    let next = ensemble.leader(1);
    assert_eq!(get_synced(&mut client_of(&ensemble, next), "/a"), Ok("one".into()));
}

/// Voters 1 to 3 and observer 4, each on an address of its own, with the same port for observers.
fn with_observer_masters(longest_session: u32) -> Ensemble {
    let (client, quorum, election) = (free_ports::<4>(), free_ports::<4>(), free_ports::<4>());
    let [port] = free_ports();
    let mut lines = format!("{COMMON}observerMasterPort={port}\nmaxSessionTimeout={longest_session}\n");
    for n in 0..4 {
        let (c, q, e) = (client[n], quorum[n], election[n]);
        let role = if n == 3 { "observer" } else { "participant" };
        lines += &format!("server.{0}=127.0.0.{0}:{q}:{e}:{role};127.0.0.1:{c}\n", n + 1);
    }
    Ensemble::start_as(4, lines, "")
}

/// The id of the server that serves the observer.
fn master(ensemble: &Ensemble) -> Option<usize> {
    let mntr = word(ensemble.addr(3), "mntr");
    mntr.lines().find_map(|line| line.strip_prefix("zk_observer_master_id\t"))?.parse().ok()
}

#[test]
fn an_observer_is_served_by_one_follower_and_then_by_the_other() {
    let mut ensemble = with_observer_masters(10_000);
    let leader = ensemble.leader(2);
    let mut at_observer = client_of(&ensemble, 3);
    let first = master(&ensemble).unwrap();
    assert_ne!(first, leader + 1, "followers are there to serve it");
    assert!(word(ensemble.addr(first - 1), "mntr").contains("zk_synced_observers\t1\n"));
    assert!(word(ensemble.addr(leader), "mntr").contains("zk_synced_observers\t0\n"));
    at_observer.create("/a", "one").unwrap().unwrap();
    at_observer.create_as("/mine", "", 1).unwrap().unwrap();
    let mut at_leader = Client::connected(ensemble.addr(leader));
    at_leader.set("/a", "two").unwrap().unwrap();
    assert_eq!(get_synced(&mut at_observer, "/a"), Ok("two".into()));
    let (session, password) =
        (at_observer.handshake.session, at_observer.handshake.password.clone().unwrap());

    ensemble.stop(first - 1);
    let second = eventually("another master", || master(&ensemble).filter(|id| *id != first));
    assert_ne!(second, leader + 1);
    let mut back = eventually("the session on the observer again", || {
        let client = Client::resume(ensemble.addr(3), session, password.clone()).ok()?;
        (client.handshake.session == session).then_some(client)
    });
    assert_eq!(get_synced(&mut back, "/mine"), Ok(String::new()));
    back.close();
    assert_eq!(get_synced(&mut at_leader, "/mine"), Err(wire::zk::err::NO_NODE));
}

#[test]
fn an_observer_s_session_lives_as_long_as_its_client_is_heard_of_through_the_follower() {
    let ensemble = with_observer_masters(2000);
    let leader = ensemble.leader(2);
    let mut at_observer = client_of(&ensemble, 3);
    at_observer.create_as("/mine", "", 1).unwrap().unwrap();
    let timeout = std::time::Duration::from_millis(at_observer.handshake.timeout as u64);
    let mut at_leader = Client::connected(ensemble.addr(leader));
    let until = std::time::Instant::now() + timeout * 2;
    while std::time::Instant::now() < until {
        assert_eq!(at_observer.get("/mine", false).unwrap(), Ok(String::new()));
        at_leader.get("/", false).unwrap().unwrap();
        std::thread::sleep(timeout / 8);
    }
    drop(at_observer);
    eventually("the end of a session of which nothing is heard", || {
        (at_leader.get("/mine", false).unwrap() == Err(wire::zk::err::NO_NODE)).then_some(())
    });
}

#[test]
fn of_two_servers_one_goes_on_alone_where_its_oracle_says_so() {
    let (client, quorum, election) = (free_ports::<2>(), free_ports::<2>(), free_ports::<2>());
    let oracles = tempfile::tempdir().unwrap();
    let oracle = |n: usize| oracles.path().join(n.to_string());
    let mut lines = COMMON.to_owned();
    for n in 0..2 {
        std::fs::write(oracle(n), "0").unwrap();
        let (c, q, e) = (client[n], quorum[n], election[n]);
        lines += &format!("server.{}=127.0.0.1:{q}:{e};127.0.0.1:{c}\n", n + 1);
    }
    let mut ensemble = Ensemble::start_as(2, lines, "");
    for n in 0..2 {
        ensemble.stop(n);
        ensemble.restart_with(n, &format!("oraclePath={}\n", oracle(n).display()));
    }
    ensemble.leader(1);
    assert_eq!(client_of(&ensemble, 0).create("/both", "").unwrap(), Ok("/both".into()));

    ensemble.stop(1);
    eventually("the end of a quorum", || (!mode(ensemble.addr(0)).contains("er")).then_some(()));
    std::fs::write(oracle(0), "1\n").unwrap();
    eventually("a lone leader", || (mode(ensemble.addr(0)) == "leader").then_some(()));
    let mut alone = client_of(&ensemble, 0);
    assert_eq!(alone.create("/alone", "x").unwrap(), Ok("/alone".into()));

    // The other comes back, whose oracle lets it do nothing by itself.
    ensemble.restart_with(1, &format!("oraclePath={}\n", oracle(1).display()));
    eventually("a follower", || (mode(ensemble.addr(1)) == "follower").then_some(()));
    assert_eq!(get_synced(&mut client_of(&ensemble, 1), "/alone"), Ok("x".into()));

    // The oracle moves over.
    std::fs::write(oracle(0), "0").unwrap();
    std::fs::write(oracle(1), "1").unwrap();
    ensemble.stop(0);
    eventually("the other leader", || (mode(ensemble.addr(1)) == "leader").then_some(()));
    assert_eq!(client_of(&ensemble, 1).get("/alone", false).unwrap(), Ok("x".into()));
    std::fs::remove_file(oracle(1)).unwrap();
    eventually("an oracle that is gone", || (mode(ensemble.addr(1)) != "leader").then_some(()));
}
