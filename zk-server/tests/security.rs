//! TLS and SASL over real sockets.

mod support;

use base::{Properties, Table};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::{Alone, Client, Ensemble, PATIENCE, eventually};
use wire::jute::{Reader, Record};
use wire::zk::{ConnectRequest, PathWatchRequest, RequestHeader, op};
use zk_server::tls::blocking::Socket;
use zk_server::tls::{KEYS, Tls, of_clients};

/// The lines of one family for one key of `tests/stores`.
fn stores(prefix: &str, key: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/tests/stores");
    format!(
        "{prefix}keyStore.location={folder}/{key}.p12\n{prefix}keyStore.password=secret\n\
         {prefix}trustStore.location={folder}/trust.p12\n{prefix}trustStore.password=secret\n"
    )
}

fn dial(at: SocketAddr, key: &str) -> std::io::Result<Socket> {
    let lines = Properties::parse("client", stores("ssl.", key).as_bytes()).unwrap();
    let settings = of_clients(&Table(&KEYS).read(&lines).unwrap()).unwrap();
    let tls = Tls::for_client(settings, false).unwrap();
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Socket::dial_tls(stream, &tls, "localhost", true)
}

fn word(mut socket: Socket, word: &str) -> String {
    let mut answer = String::new();
    socket.write_all(word.as_bytes()).unwrap();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn send(socket: &mut Socket, header: Option<RequestHeader>, body: &impl Record) {
    let mut frame = bytes::BytesMut::new();
    if let Some(header) = header {
        header.write(&mut frame);
    }
    body.write(&mut frame);
    socket.write_all(&(frame.len() as i32).to_be_bytes()).unwrap();
    socket.write_all(&frame).unwrap();
}

fn receive(socket: &mut Socket) -> Vec<u8> {
    let mut len = [0; 4];
    socket.read_exact(&mut len).unwrap();
    let mut frame = vec![0; i32::from_be_bytes(len) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn a_client_by_tls_is_served_as_a_plain_one_and_a_slow_one_gets_everything() {
    let more = stores("ssl.", "server");
    let alone = Alone::start(&format!(
        "secureClientPort=0\nsecureClientPortAddress=127.0.0.1\nclient.portUnification=true\n{more}"
    ));
    let secure = alone.server.as_ref().unwrap().secure_client_addr().unwrap();
    for at in [secure, alone.addr()] {
        assert!(word(dial(at, "client").unwrap(), "srvr").contains("Mode: standalone"));
    }
    // Of another authority: TLS 1.3 tells a client so only behind its handshake.
    let refused = dial(secure, "stranger").and_then(|mut socket| {
        socket.write_all(b"srvr")?;
        socket.read(&mut [0; 64])
    });
    assert!(!matches!(refused, Ok(1..)), "{refused:?}");
    let mut plain = TcpStream::connect(secure).unwrap();
    plain.write_all(b"srvr").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"Zookeeper"), "a port for TLS answers in plain");

    let mut writer = Client::connected(alone.addr());
    let data = "x".repeat(500_000);
    writer.create("/big", &data).unwrap().unwrap();
    let mut socket = dial(secure, "client").unwrap();
    let hello = ConnectRequest {
        protocol: 0,
        last_zxid: 0,
        timeout: 10_000,
        session: 0,
        password: Some(bytes::Bytes::from_static(&[0; 16])),
        read_only: Some(false),
    };
    send(&mut socket, None, &hello);
    receive(&mut socket);
    for xid in 1..=40 {
        let read = PathWatchRequest { path: "/big".into(), watch: false };
        send(&mut socket, Some(RequestHeader { xid, op: op::GET_DATA }), &read);
    }
    // 20 MB wait for this client; meanwhile others are served.
    assert_eq!(writer.create("/meanwhile", "").unwrap(), Ok("/meanwhile".into()));
    for xid in 1..=40 {
        let mut answer = Reader::new(receive(&mut socket).into());
        assert_eq!(answer.read::<i32>().unwrap(), xid);
        assert!(answer.remaining() > data.len());
    }
}

/// What one server acknowledges, all have.
fn check(ensemble: &Ensemble, path: &str) {
    ensemble.leader(2);
    let mut client = Client::connected(ensemble.addr(0));
    assert_eq!(client.create(path, "x").unwrap(), Ok(path.into()));
    for n in 0..3 {
        let mut client = Client::connected(ensemble.addr(n));
        let data = eventually(path, || client.get(path, false).unwrap().ok());
        assert_eq!(data, "x");
    }
}

#[test]
fn an_ensemble_goes_over_to_tls_while_it_serves() {
    let both = format!("portUnification=true\n{}", stores("ssl.quorum.", "server"));
    let mut ensemble = Ensemble::start_with::<3>("", "");
    check(&ensemble, "/plain");
    for (path, more) in [
        ("/takes-both", both.clone()),
        ("/dials-tls", format!("{both}sslQuorum=true\n")),
        ("/only-tls", format!("{both}sslQuorum=true\nportUnification=false\nfips-mode=false\n")),
    ] {
        for n in 0..3 {
            ensemble.stop(n);
            ensemble.restart_with(n, &more);
            ensemble.leader(2);
        }
        check(&ensemble, path);
    }
}

#[test]
fn servers_that_have_to_prove_themselves_let_nobody_in_who_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let digest = "org.apache.zookeeper.server.auth.DigestLoginModule required";
    let flags = |name: &str, password: &str| {
        let file = folder.path().join(name);
        let text = format!(
            "QuorumServer {{ {digest} user_zoo=\"keeper\"; }};\n\
             QuorumLearner {{ {digest} username=\"zoo\" password=\"{password}\"; }};\n"
        );
        std::fs::write(&file, text).unwrap();
        format!("-Djava.security.auth.login.config={}", file.display())
    };
    let lines = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\nquorum.auth.serverRequireSasl=true\n";
    let mut ensemble = Ensemble::start_with::<3>(lines, &flags("right", "keeper"));
    check(&ensemble, "/proven");
    ensemble.stop(0);
    ensemble.restart_as(0, &flags("wrong", "thief"));
    let leader = ensemble.leader(1);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < until {
        assert!(!["leader", "follower"].contains(&support::mode(ensemble.addr(0)).as_str()));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut client = Client::connected(ensemble.addr(leader));
    assert_eq!(client.create("/without", "x").unwrap(), Ok("/without".into()));
}

fn https(at: SocketAddr, key: &str) -> std::io::Result<String> {
    let mut socket = dial(at, key)?;
    socket.write_all(b"GET /commands/ruok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `None`: the connection ended without a word.
fn http(at: SocketAddr) -> Option<String> {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /commands/ruok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.starts_with("HTTP/").then_some(answer)
}

#[test]
fn the_admin_server_speaks_https_alone_or_beside_http_and_may_want_to_know_who_asks() {
    const HSTS: &str = "strict-transport-security: max-age=86400; includesubdomains\r\n";
    let ours = "\"command\" : \"ruok\"";
    let start = |more: &str| {
        Alone::start(&format!(
            "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort=0\n{more}{}",
            stores("ssl.quorum.", "server")
        ))
    };
    let admin = |alone: &Alone| alone.server.as_ref().unwrap().admin_addr().unwrap();

    let both = start("admin.portUnification=true\n4lw.commands.whitelist=*\n");
    // Nobody is asked for a certificate: also who shows one of another authority is served.
    let answer = https(admin(&both), "stranger").unwrap();
    assert!(answer.contains(ours) && answer.to_lowercase().contains(HSTS), "{answer}");
    let insecure = |both: &Alone| {
        let text = support::word(both.addr(), "mntr");
        text.lines().find_map(|line| line.strip_prefix("zk_insecure_admin_count\t")).unwrap().to_owned()
    };
    assert_eq!(insecure(&both), "0");
    let answer = http(admin(&both)).unwrap();
    assert!(answer.contains(ours) && !answer.to_lowercase().contains("strict-transport"), "{answer}");
    assert_eq!(insecure(&both), "1");

    let forced = start("admin.forceHttps=true\nadmin.portUnification=true\n");
    assert!(https(admin(&forced), "client").unwrap().contains(ours));
    assert_eq!(http(admin(&forced)), None);

    let closed = start("admin.forceHttps=true\nadmin.needClientAuth=true\n");
    assert!(https(admin(&closed), "client").unwrap().contains(ours));
    let refused = https(admin(&closed), "stranger");
    assert!(!refused.as_ref().is_ok_and(|answer| answer.contains(ours)), "{refused:?}");
}

#[test]
fn a_port_for_https_is_not_held_up_by_who_shakes_no_hands() {
    let alone = Alone::start(&format!(
        "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort=0\nadmin.idleTimeout=300\n\
         admin.portUnification=true\n{}",
        stores("ssl.quorum.", "server")
    ));
    let at = alone.server.as_ref().unwrap().admin_addr().unwrap();
    let mut silent = TcpStream::connect(at).unwrap();
    let mut halting = TcpStream::connect(at).unwrap();
    halting.write_all(&[0x16, 3, 1]).unwrap();
    assert!(https(at, "client").unwrap().contains("ruok"));
    for socket in [&mut silent, &mut halting] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(socket.read(&mut [0; 64]), Ok(0)), "an idle connection stays");
    }
}

#[test]
fn plain_connections_are_counted_and_too_many_handshakes_refused() {
    let alone = Alone::start(&format!(
        "secureClientPort=0\nsecureClientPortAddress=127.0.0.1\nnetty.server.outstandingHandshake.limit=2\n\
         4lw.commands.whitelist=*\n{}",
        stores("ssl.", "server")
    ));
    let secure = alone.server.as_ref().unwrap().secure_client_addr().unwrap();
    let figure = |name: &str| -> u64 {
        let text = word(dial(secure, "client").unwrap(), "mntr");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    // What started the server asked it for its mode.
    let before = figure("non_mtls_local_conn_count");
    support::word(alone.addr(), "ruok");
    assert_eq!(figure("non_mtls_local_conn_count"), before + 1);
    assert_eq!(figure("non_mtls_remote_conn_count"), 0);
    assert_eq!(figure("tls_handshake_exceeded"), 0);
    let silent = [(); 2].map(|()| TcpStream::connect(secure).unwrap());
    let refused = support::eventually("a handshake too many", || dial(secure, "client").err());
    drop(silent);
    let exceeded =
        support::eventually("room again", || dial(secure, "client").ok().map(|socket| word(socket, "mntr")));
    assert!(!exceeded.contains("zk_tls_handshake_exceeded\t0\n"), "{refused}: {exceeded}");
}
