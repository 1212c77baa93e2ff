//! Sessions that are not the ensemble's: those that one server knows, and those of clients that only read.

mod support;

use bytes::Bytes;
use support::{Client, Ensemble, eventually, mode, word};
use wire::zk::{ConnectRequest, err};

/// The lines of `dump` that speak of sessions.
fn sessions(ensemble: &Ensemble, n: usize) -> String {
    let dump = word(ensemble.addr(n), "dump");
    dump.split("ephemeral nodes dump:").next().unwrap_or_default().to_owned()
}

#[test]
fn a_local_session_is_known_to_its_server_until_it_makes_an_ephemeral_node() {
    let more = "localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n";
    let ensemble = Ensemble::start_with::<3>(more, "");
    let leader = ensemble.leader(2);
    for at in [leader, (leader + 1) % 3] {
        let other = (at + 2) % 3;
        let mut client = Client::connected(ensemble.addr(at));
        let (session, password) = (client.handshake.session, client.handshake.password.clone().unwrap());
        let id = format!("0x{session:x}");
        assert!(sessions(&ensemble, at).contains("Local Session Sets (1)/(1):\n"));
        assert!(sessions(&ensemble, at).contains(&id) && !sessions(&ensemble, other).contains(&id));
        assert!(word(ensemble.addr(at), "mntr").contains("zk_local_sessions\t1\n"));
        client.create(&format!("/plain{at}"), "").unwrap().unwrap();
        let moved = Client::resume(ensemble.addr(other), session, password.clone()).unwrap();
        assert_eq!(moved.handshake.timeout, 0, "nobody else knows it");

        client.create_as(&format!("/e{at}"), "", 1).unwrap().unwrap();
        client.create_as(&format!("/e{at}-"), "", 3).unwrap().unwrap();
        assert!(sessions(&ensemble, at).contains("Local Session Sets (0)/(0):\n"));
        eventually("the session everywhere", || sessions(&ensemble, other).contains(&id).then_some(()));
        let moved = Client::resume(ensemble.addr(other), session, password).unwrap();
        assert_eq!(moved.handshake.session, session);
        moved.close();
    }
}

#[test]
fn a_local_session_that_may_not_be_upgraded_gets_no_ephemeral_node() {
    let ensemble = Ensemble::start_with::<3>("localSessionsEnabled=true\n", "");
    let leader = ensemble.leader(2);
    for at in [leader, (leader + 1) % 3] {
        let mut client = Client::connected(ensemble.addr(at));
        let refused = client.create_as("/e", "", 1).unwrap();
        assert_eq!(refused, Err(err::EPHEMERAL_ON_LOCAL_SESSION), "at {at}");
        assert_eq!(client.get("/e", false).unwrap(), Err(err::NO_NODE));
        client.close();
        assert!(sessions(&ensemble, at).contains("Local Session Sets (0)/(0):\n"));
    }
}

#[test]
fn without_a_quorum_clients_read_until_there_is_one_again() {
    let mut ensemble =
        Ensemble::start_with::<3>("localSessionsEnabled=true\n", "-Dreadonlymode.enabled=true");
    ensemble.leader(2);
    Client::connected(ensemble.addr(0)).create("/a", "x").unwrap().unwrap();
    ensemble.stop(1);
    ensemble.stop(2);
    eventually("read-only mode", || (mode(ensemble.addr(0)) == "read-only").then_some(()));
    assert_eq!(word(ensemble.addr(0), "isro"), "ro");
    assert!(word(ensemble.addr(0), "mntr").contains("zk_server_state\tread-only\n"));
    assert!(Client::connect(ensemble.addr(0)).is_err(), "who wants to write is sent away");
    let request = ConnectRequest {
        protocol: 0,
        last_zxid: 0,
        timeout: 10_000,
        session: 0,
        password: Some(Bytes::from_static(&[0; 16])),
        read_only: Some(true),
    };
    let mut reader = Client::with(ensemble.addr(0), &request).unwrap();
    assert_eq!(reader.handshake.read_only, Some(true));
    assert_eq!(reader.get("/a", false).unwrap(), Ok("x".into()));
    assert_eq!(reader.set("/a", "y").unwrap().unwrap_err(), err::NOT_READ_ONLY);
    ensemble.restart(1);
    assert!(
        eventually("the end of the connection", || reader.get("/a", false).err()).kind()
            != std::io::ErrorKind::TimedOut
    );
    eventually("a server that writes", || (word(ensemble.addr(0), "isro") == "rw").then_some(()));
    let mut writer = Client::with(ensemble.addr(0), &request).unwrap();
    assert_eq!(writer.handshake.read_only, Some(false));
    writer.set("/a", "y").unwrap().unwrap();
}
