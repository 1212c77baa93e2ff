//! One server on its own, over real sockets and files.

mod support;

use bytes::{Bytes, BytesMut};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::{Alone, Client, eventually, word};
use wire::jute::Record;
use wire::zk::{PathWatchRequest, RequestHeader, err, op};

#[test]
fn nodes_are_created_read_changed_watched_and_deleted() {
    let alone = Alone::start("");
    let mut writer = Client::connected(alone.addr());
    let mut watcher = Client::connected(alone.addr());
    assert_eq!(writer.create("/a", "one").unwrap(), Ok("/a".into()));
    assert_eq!(writer.create("/a", "again").unwrap(), Err(err::NODE_EXISTS));
    assert_eq!(writer.create_as("/a/n-", "", 2).unwrap(), Ok("/a/n-0000000000".into()));
    assert_eq!(watcher.get("/a", true).unwrap(), Ok("one".into()));
    assert_eq!(writer.set("/a", "two").unwrap().unwrap().version, 1);
    let event = watcher.event().unwrap();
    assert_eq!((event.kind, &*event.path), (3, "/a"));
    assert_eq!(watcher.get("/a", false).unwrap(), Ok("two".into()));
    assert_eq!(writer.delete("/a").unwrap(), Err(err::NOT_EMPTY));
    assert_eq!(writer.delete("/a/n-0000000000").unwrap(), Ok(()));
    assert_eq!(writer.delete("/a").unwrap(), Ok(()));
    assert_eq!(watcher.get("/a", false).unwrap(), Err(err::NO_NODE));
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut alone = Alone::start("snapCount=20\n");
    let mut client = Client::connected(alone.addr());
    for n in 0..100 {
        client.create(&format!("/n{n}"), &n.to_string()).unwrap().unwrap();
    }
    assert_eq!(alone.stop().unwrap().code, 0);
    let snapshots = |alone: &Alone| {
        let files = std::fs::read_dir(alone.folder.path().join("data/version-2")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot."))
            .count()
    };
    assert!(snapshots(&alone) > 1, "snapshots are taken while it runs");
    alone.restart();
    let mut client = Client::connected(alone.addr());
    for n in 0..100 {
        assert_eq!(client.get(&format!("/n{n}"), false).unwrap(), Ok(n.to_string()));
    }
}

#[test]
fn a_session_survives_its_connection_and_ephemerals_end_with_the_session() {
    let alone = Alone::start("");
    let mut owner = Client::connected(alone.addr());
    owner.create_as("/mine", "", 1).unwrap().unwrap();
    let (session, password) = (owner.handshake.session, owner.handshake.password.clone().unwrap());
    drop(owner);
    let mut again = Client::resume(alone.addr(), session, password).unwrap();
    assert_eq!(again.handshake.session, session);
    let mut other = Client::connected(alone.addr());
    assert_eq!(other.get("/mine", true).unwrap(), Ok(String::new()));
    again.set("/mine", "still").unwrap().unwrap();
    assert_eq!(other.event().unwrap().kind, 3);
    again.close();
    assert_eq!(other.get("/mine", false).unwrap(), Err(err::NO_NODE));
    let wrong = Client::resume(alone.addr(), session, Bytes::from_static(&[1; 16])).unwrap();
    assert_eq!((wrong.handshake.session, wrong.handshake.timeout), (0, 0));
}

#[test]
fn a_thousand_requests_in_one_write_are_answered_in_their_order() {
    let alone = Alone::start("");
    let mut client = Client::connected(alone.addr());
    client.create("/a", "x").unwrap().unwrap();
    let mut burst = BytesMut::new();
    for xid in 1..=1000 {
        let mut frame = BytesMut::new();
        RequestHeader { xid, op: op::GET_DATA }.write(&mut frame);
        PathWatchRequest { path: "/a".into(), watch: false }.write(&mut frame);
        burst.extend_from_slice(&(frame.len() as i32).to_be_bytes());
        burst.extend_from_slice(&frame);
    }
    client.stream.write_all(&burst).unwrap();
    for xid in 1..=1000 {
        let (header, _) = client.answer().unwrap();
        assert_eq!((header.xid, header.err), (xid, 0));
    }
}

#[test]
fn a_client_that_does_not_read_for_a_while_gets_all_its_answers() {
    let alone = Alone::start("");
    let mut client = Client::connected(alone.addr());
    let data = "x".repeat(100_000);
    client.create("/big", &data).unwrap().unwrap();
    for _ in 0..200 {
        client.ask(op::GET_DATA, &PathWatchRequest { path: "/big".into(), watch: false }).unwrap();
    }
    let mut other = Client::connected(alone.addr());
    assert_eq!(other.create("/meanwhile", "").unwrap(), Ok("/meanwhile".into()));
    for _ in 0..200 {
        let (header, rest) = client.answer().unwrap();
        assert_eq!(header.err, 0);
        assert!(rest.remaining() > data.len());
    }
}

#[test]
fn nonsense_closes_its_own_connection_and_nobody_else_s() {
    let alone = Alone::start("");
    let mut honest = Client::connected(alone.addr());
    let nonsense: [&[u8]; 7] = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x04abcd",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\x10\0\0",
        b"\0\0\0\x00",
        b"nope",
    ];
    for (n, bytes) in nonsense.into_iter().enumerate() {
        let mut stream = TcpStream::connect(alone.addr()).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut got = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut got);
        assert_eq!(got, b"", "nonsense {n}");
        honest.create(&format!("/n{n}"), "").unwrap().unwrap();
    }
    let mut in_session = Client::connected(alone.addr());
    support::send(&mut in_session.stream, b"abc").unwrap();
    assert!(in_session.answer().is_err(), "a frame without a header ends the connection");
    honest.create("/still-here", "").unwrap().unwrap();
}

#[test]
fn words_are_answered_as_the_whitelist_says() {
    let alone = Alone::start("4lw.commands.whitelist=srvr,ruok,mntr,stat,cons,isro,envi,conf,crst,wchs\n");
    let addr = alone.addr();
    assert_eq!(word(addr, "ruok"), "imok");
    assert_eq!(word(addr, "dump"), "dump is not executed because it is not in the whitelist.\n");
    let mut client = Client::connected(addr);
    client.create("/a", "").unwrap().unwrap();
    client.get("/a", true).unwrap().unwrap();
    let srvr = word(addr, "srvr");
    let lines: Vec<&str> = srvr.lines().map(|line| line.split(':').next().unwrap()).collect();
    let names = [
        "Zookeeper version",
        "Latency min/avg/max",
        "Received",
        "Sent",
        "Connections",
        "Outstanding",
        "Zxid",
        "Mode",
        "Node count",
    ];
    assert_eq!(lines, names);
    assert!(srvr.contains("Mode: standalone\nNode count: 6\n"), "{srvr}");
    let mntr = word(addr, "mntr");
    for line in [
        "zk_server_state\tstandalone",
        "zk_znode_count\t6",
        "zk_watch_count\t1",
        "zk_outstanding_requests\t0",
    ] {
        assert!(mntr.lines().any(|found| found == line), "{line} in\n{mntr}");
    }
    assert_eq!(word(addr, "isro"), "rw");
    assert_eq!(word(addr, "wchs"), "1 connections watching 1 paths\nTotal watches:1\n");
    assert!(word(addr, "cons").contains(",lop=GETD,"), "{}", word(addr, "cons"));
    assert!(word(addr, "conf").ends_with("serverId=0\n"));
    assert!(word(addr, "envi").starts_with("Environment:\nzookeeper.version="));
    assert_eq!(word(addr, "crst"), "Connection stats reset.\n");
    assert!(word(addr, "cons").contains("lop=NA"));
}

#[test]
fn dump_lists_sessions_ephemerals_and_connections_by_their_ends() {
    let alone = Alone::start("4lw.commands.whitelist=dump,wchc,wchp\n");
    let mut client = Client::connected(alone.addr());
    client.create_as("/mine", "", 1).unwrap().unwrap();
    client.get("/mine", true).unwrap().unwrap();
    let session = client.handshake.session;
    let dump = word(alone.addr(), "dump");
    let lines: Vec<&str> = dump.lines().collect();
    assert_eq!(lines[..2], ["SessionTracker dump:", "Session Sets (1)/(1):"]);
    assert!(lines[2].starts_with("1 expire at ") && lines[2].ends_with(':'), "{dump}");
    assert_eq!(lines[3], format!("\t0x{session:x}"));
    let ephemerals =
        ["ephemeral nodes dump:", "Sessions with Ephemerals (1):", &format!("0x{session:x}:"), "\t/mine"];
    assert_eq!(lines[4..8], ephemerals);
    assert_eq!(lines[8..10], ["Connections dump:", "Connections Sets (1)/(1):"]);
    assert!(lines[11].starts_with("\tip: /127.0.0.1:"), "{dump}");
    assert!(lines[11].ends_with(&format!(" sessionId: 0x{session:x}")), "{dump}");
    assert_eq!(word(alone.addr(), "wchc"), format!("0x{session:x}\n\t/mine\n\n"));
    assert_eq!(word(alone.addr(), "wchp"), format!("/mine\n\t0x{session:x}\n\n"));
}

#[test]
fn one_address_gets_no_more_connections_than_it_may() {
    let alone = Alone::start("maxClientCnxns=2\n");
    let first = Client::connected(alone.addr());
    let _second = Client::connected(alone.addr());
    assert!(Client::connect(alone.addr()).is_err());
    drop(first);
    Client::connected(alone.addr());
}

#[test]
fn a_full_port_is_an_error_at_the_start() {
    let alone = Alone::start("");
    let other = tempfile::tempdir().unwrap();
    let config = support::config(other.path(), None, &alone.lines);
    let error = alone.runtime.block_on(zk_server::server::Server::start(config)).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("cannot listen for clients"), "{error}");
}

#[test]
fn sessions_that_fall_silent_expire() {
    let alone = Alone::start("minSessionTimeout=500\nmaxSessionTimeout=1000\n");
    let mut owner = Client::connected(alone.addr());
    assert_eq!(owner.handshake.timeout, 1000);
    owner.create_as("/mine", "", 1).unwrap().unwrap();
    let mut gone = false;
    eventually("the ephemeral node's end", || {
        let mut other = Client::connected(alone.addr());
        gone |= other.get("/mine", false).unwrap() == Err(err::NO_NODE);
        std::thread::sleep(Duration::from_millis(100));
        gone.then_some(())
    });
}

#[test]
fn large_requests_have_a_budget_of_their_own() {
    let alone = Alone::start("largeRequestThreshold=1000\nlargeRequestMaxBytes=3000\n");
    let mut client = Client::connected(alone.addr());
    client.create("/a", "").unwrap().unwrap();
    // Given back with each answer.
    for _ in 0..5 {
        client.set("/a", &"x".repeat(2500)).unwrap().unwrap();
    }
    let mut greedy = Client::connected(alone.addr());
    assert!(greedy.set("/a", &"x".repeat(3500)).is_err());
    client.set("/a", &"y".repeat(2500)).unwrap().unwrap();
}
