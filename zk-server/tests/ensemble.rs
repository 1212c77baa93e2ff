//! Three servers in one process, over real sockets and files.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Client, Ensemble, eventually, word};
use wire::zk::PathRequest;
use wire::zk::op;

/// What `addr` has at `path`, once it has caught up with the leader.
fn get_synced(client: &mut Client, path: &str) -> Result<String, i32> {
    client.call::<PathRequest>(op::SYNC, &PathRequest { path: path.into() }).unwrap().unwrap();
    client.get(path, false).unwrap()
}

#[test]
fn three_elect_one_and_what_one_acknowledges_all_have() {
    let ensemble = Ensemble::start::<3>();
    let leader = ensemble.leader(2);
    assert_eq!(leader, 2, "histories are equal: the largest id leads");
    let mut at_follower = Client::connected(ensemble.addr(0));
    let mut at_other = Client::connected(ensemble.addr(1));
    assert_eq!(at_follower.create("/a", "one").unwrap(), Ok("/a".into()));
    assert_eq!(get_synced(&mut at_other, "/a"), Ok("one".into()));
    assert_eq!(at_other.get("/a", true).unwrap(), Ok("one".into()));
    at_follower.set("/a", "two").unwrap().unwrap();
    assert_eq!(at_other.event().unwrap().kind, 3);
    assert!(word(ensemble.addr(leader), "mntr").contains("zk_synced_followers\t2\n"));
    let mntr = word(ensemble.addr(leader), "mntr");
    let figure = |key: &str| {
        let value = mntr.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
        value.unwrap_or_else(|| panic!("no {key} in\n{mntr}")).parse::<u64>().unwrap()
    };
    assert!(figure("zk_leader_uptime") < figure("zk_uptime"), "it leads since it was elected:\n{mntr}");
    assert_eq!((figure("zk_pending_syncs"), figure("zk_synced_non_voting_followers")), (0, 0));
    assert!(word(ensemble.addr(leader), "srvr").contains("Proposal sizes last/min/max: "));
    assert!(word(ensemble.addr(0), "conf").contains("server.3=127.0.0.1:"));
}

#[test]
fn the_ensemble_survives_its_leader_and_takes_it_back() {
    let mut ensemble = Ensemble::start::<3>();
    let old = ensemble.leader(2);
    let mut client = Client::connected(ensemble.addr(0));
    client.create("/before", "").unwrap().unwrap();
    ensemble.stop(old);
    let new = ensemble.leader(1);
    assert_ne!(new, old);
    let mut client = Client::connected(ensemble.addr(new));
    assert_eq!(client.get("/before", false).unwrap(), Ok(String::new()));
    for n in 0..50 {
        client.create(&format!("/after{n}"), "").unwrap().unwrap();
    }
    ensemble.restart(old);
    assert_eq!(ensemble.leader(2), new);
    let mut back = Client::connected(ensemble.addr(old));
    assert_eq!(get_synced(&mut back, "/after49"), Ok(String::new()));
    drop(client);
}

#[test]
fn a_session_moves_to_another_server() {
    let mut ensemble = Ensemble::start::<3>();
    ensemble.leader(2);
    let mut client = Client::connected(ensemble.addr(0));
    client.create_as("/mine", "", 1).unwrap().unwrap();
    let (session, password) = (client.handshake.session, client.handshake.password.clone().unwrap());
    ensemble.stop(0);
    let mut moved = eventually("the session on another server", || {
        let client = Client::resume(ensemble.addr(1), session, password.clone()).ok()?;
        (client.handshake.session == session).then_some(client)
    });
    moved.set("/mine", "moved").unwrap().unwrap();
    moved.close();
    let mut other = Client::connected(ensemble.addr(2));
    assert_eq!(get_synced(&mut other, "/mine"), Err(wire::zk::err::NO_NODE));
}

#[test]
fn nonsense_on_the_election_and_quorum_ports_does_not_disturb_the_ensemble() {
    let ensemble = Ensemble::start::<3>();
    let leader = ensemble.leader(2);
    let conf = word(ensemble.addr(leader), "conf");
    let port = |key: &str| -> u16 {
        conf.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().parse().unwrap()
    };
    let mut client = Client::connected(ensemble.addr(0));
    for (n, key) in ["electionPort", "quorumPort"].into_iter().cycle().take(8).enumerate() {
        let mut stream = TcpStream::connect(("127.0.0.1", port(key))).unwrap();
        stream.write_all(&[[0xff; 32], [n as u8; 32]].concat()).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        client.create(&format!("/n{n}"), "").unwrap().unwrap();
    }
    assert_eq!(ensemble.leader(2), leader);
}
