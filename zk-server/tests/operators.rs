//! What operators see over HTTP: the admin server, Prometheus' page.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use support::{Alone, Client, Ensemble, PATIENCE, config, eventually, free_ports, runtime, word};
use wire::zk::{Acl, Id, PathRequest, SetAclRequest, Stat as SetAclResponse, op};
use zk_server::server::Server;

const ADMIN: &str = "admin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort=0\n";
const PROMETHEUS: &str = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
                          metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\n";

/// Status line, headers, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn http(at: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn get(at: SocketAddr, command: &str) -> String {
    let answer = http(at, "GET", &format!("/commands/{command}"), "");
    assert_eq!(answer.status, 200, "{command}: {}", answer.body);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    answer.body
}

fn admin(alone: &Alone) -> SocketAddr {
    alone.server.as_ref().unwrap().admin_addr().unwrap()
}

#[test]
fn the_admin_server_answers_as_java_s_does() {
    let alone = Alone::start(ADMIN);
    let at = admin(&alone);
    assert_eq!(get(at, "ruok"), "{\n  \"command\" : \"ruok\",\n  \"error\" : null\n}");
    assert_eq!(
        get(at, "nosuch"),
        "{\n  \"command\" : \"nosuch\",\n  \"error\" : \"Unknown command: nosuch\"\n}"
    );
    assert_eq!(
        get(at, "lead"),
        "{\n  \"error\" : \"server is not initialized\",\n  \"command\" : \"leader\"\n}"
    );
    assert_eq!(
        get(at, "stmk?traceMask=x"),
        "{\n  \"error\" : \"setTraceMask requires long traceMask argument, got x\",\n  \"command\" : \"set_trace_mask\"\n}"
    );
    assert_eq!(
        get(at, "zabstate"),
        "{\n  \"voting\" : false,\n  \"zabstate\" : \"\",\n  \"command\" : \"zabstate\",\n  \"error\" : null\n}"
    );
    let mut client = Client::connected(alone.addr());
    client.create_as("/held", "", 1).unwrap().unwrap();
    client.get("/held", true).unwrap().unwrap();
    let session = client.handshake.session;
    let cons = get(at, "cons");
    assert!(
        cons.starts_with("{\n  \"connections\" : [ {\n    \"remote_socket_address\" : \"127.0.0.1:"),
        "{cons}"
    );
    assert!(
        cons.contains(&format!("\"session_id\" : {session},\n    \"last_operation\" : \"GETD\",")),
        "{cons}"
    );
    assert!(get(at, "dump").contains(&format!("    \"{session}\" : [ \"/held\" ]\n")));
    assert!(get(at, "wchc").contains(&format!("    \"{session}\" : [ \"/held\" ]\n")));
    assert!(get(at, "wchp").contains(&format!("    \"/held\" : [ {session} ]\n")));
    assert!(get(at, "icfg").contains(":\\n") || get(at, "icfg").contains("tickTime=500\\n"));
    let stats = get(at, "stat");
    assert!(
        stats.contains("  \"server_stats\" : {\n    \"packets_sent\" : 3,\n    \"packets_received\" : 3,"),
        "{stats}"
    );
    assert!(stats.contains("\"server_state\" : \"standalone\""));
    get(at, "srst");
    assert!(get(at, "srvr").contains("    \"packets_sent\" : 0,\n"));
    let monitor = get(at, "mntr");
    assert!(monitor.contains("\n  \"server_state\" : \"standalone\",\n"));
    assert!(monitor.contains("\n  \"ephemerals_count\" : 1,\n"));
    assert!(monitor.contains("\n  \"avg_latency\" : 0.0,\n"));
}

#[test]
fn verbs_and_paths_that_do_not_fit_get_java_s_statuses() {
    let alone = Alone::start(ADMIN);
    let at = admin(&alone);
    let status = |method: &str, path: &str| http(at, method, path, "").status;
    assert_eq!(status("POST", "/commands/ruok"), 500);
    assert_eq!(status("TRACE", "/commands/ruok"), 403);
    assert_eq!(status("PUT", "/commands/ruok"), 405);
    assert_eq!(status("PATCH", "/commands/ruok"), 501);
    assert_eq!((status("GET", "/"), status("GET", "/commandsx")), (404, 404));
    let head = http(at, "HEAD", "/commands/ruok", "");
    assert_eq!((head.status, &*head.body), (200, ""));
    let index = http(at, "GET", "/commands", "");
    assert!(index.body.starts_with("<a href=\"/commands/configuration\">configuration</a>\n<br/>\n"));
}

#[test]
fn a_taken_admin_port_ends_a_server_alone_and_not_one_of_many() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let [client, quorum, election] = free_ports();
    let lines = format!(
        "tickTime=500\nclientPort={client}\nadmin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort={port}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let alone = config(folder.path(), None, &lines);
    let refused = runtime.block_on(Server::start(alone)).unwrap_err();
    assert_eq!(refused.exit_code(), 4, "{refused}");
    let member = format!(
        "{lines}initLimit=20\nsyncLimit=10\nstandaloneEnabled=false\nserver.1=127.0.0.1:{quorum}:{election}\n"
    );
    let member = config(folder.path(), Some(1), &member);
    let server = runtime.block_on(Server::start(member)).unwrap();
    assert_eq!(server.admin_addr(), None);
}

/// Sends a body, and reads headers and bytes.
fn exchange(at: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let len = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Whoever is refused for its headers may not be heard out.
    let _ = stream.write_all(body);
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), answer.split_off(end + 4))
}

const BOB: &str = "Authorization: digest bob:pw\r\n";

#[test]
fn a_snapshot_over_http_is_restored_and_survives_a_restart() {
    let mut alone = Alone::start(&format!("{ADMIN}admin.rateLimiterIntervalInMS=0\n"));
    let at = admin(&alone);
    let mut client = Client::connected(alone.addr());
    client.create("/before", "x").unwrap().unwrap();
    assert_eq!(http(at, "GET", "/commands/snapshot", "").status, 401);
    assert_eq!(http(at, "GET", "/commands/snapshot", "Authorization: nosuch x\r\n").status, 401);
    let (status, head, snapshot) = exchange(at, "GET", "/commands/snapshot", BOB, b"");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    assert!(head.contains("\r\nlast_zxid: 0x2"), "{head}");
    assert!(head.contains(&format!("\r\nsnapshot_size: {}", snapshot.len())), "{head}");
    assert!(snapshot.starts_with(b"ZKSN"));
    let quiet = http(at, "GET", "/commands/snapshot?streaming=false", BOB);
    assert_eq!(quiet.body, "{\n  \"command\" : \"snapshot\",\n  \"error\" : null\n}");
    client.create("/after", "y").unwrap().unwrap();
    assert_eq!(http(at, "GET", "/commands/restore", BOB).status, 500, "only POST restores");
    assert_eq!(exchange(at, "POST", "/commands/restore", BOB, b"Invalid snapshot data").0, 500);
    let (status, _, body) = exchange(at, "POST", "/commands/restore", BOB, &snapshot);
    assert_eq!(status, 200);
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "{\n  \"last_zxid\" : 2,\n  \"command\" : \"restore\",\n  \"error\" : null\n}"
    );
    assert_eq!(client.get("/before", false).unwrap(), Ok("x".into()));
    assert_eq!(client.get("/after", false).unwrap(), Err(-101));
    client.create("/later", "z").unwrap().unwrap();
    alone.restart();
    let mut client = Client::connected(alone.addr());
    assert_eq!(client.get("/after", false).unwrap(), Err(-101));
    assert_eq!(client.get("/later", false).unwrap(), Ok("z".into()));
}

#[test]
fn restores_are_rare_and_need_somebody_who_may_do_all() {
    let alone = Alone::start(ADMIN);
    let at = admin(&alone);
    let mut client = Client::connected(alone.addr());
    let here = Id { scheme: "ip".into(), id: "127.0.0.1".into() };
    let only = SetAclRequest { path: "/".into(), acl: vec![Acl { perms: 31, id: here }], version: -1 };
    client.call::<SetAclResponse>(op::SET_ACL, &only).unwrap().unwrap();
    assert_eq!(http(at, "GET", "/commands/snapshot", BOB).status, 403);
    let here = "Authorization: ip\r\n";
    assert_eq!(exchange(at, "POST", "/commands/restore", here, b"?").0, 500);
    assert_eq!(exchange(at, "POST", "/commands/restore", here, b"?").0, 429);
    let monitor = get(at, "monitor");
    assert!(monitor.contains("\"restore_error_count\" : 1,"), "{monitor}");
    assert!(monitor.contains("\"restore_rate_limited_count\" : 1,"), "{monitor}");
}

#[test]
fn an_ensemble_is_restored_member_by_member() {
    let ensemble = Ensemble::start_with::<3>(&format!("{ADMIN}admin.rateLimiterIntervalInMS=0\n"), "");
    let leader = ensemble.leader(2);
    let at = |n: usize| ensemble.servers[n].as_ref().unwrap().admin_addr().unwrap();
    let mut client = Client::connected(ensemble.addr(0));
    client.create("/before", "x").unwrap().unwrap();
    let (_, _, snapshot) = exchange(at(leader), "GET", "/commands/snapshot", BOB, b"");
    client.create("/after", "y").unwrap().unwrap();
    for n in 0..3 {
        let (status, _, body) = exchange(at(n), "POST", "/commands/restore", BOB, &snapshot);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    client.create("/later", "z").unwrap().unwrap();
    for n in 0..3 {
        let mut client = Client::connected(ensemble.addr(n));
        let path = PathRequest { path: "/".into() };
        client.call::<PathRequest>(op::SYNC, &path).unwrap().unwrap();
        assert_eq!(client.get("/after", false).unwrap(), Err(-101));
        assert_eq!(client.get("/later", false).unwrap(), Ok("z".into()));
        assert!(word(ensemble.addr(n), "mntr").contains("zk_digest_mismatches_count\t0\n"));
    }
}

#[test]
fn prometheus_reads_families_with_java_s_names_and_types() {
    let alone = Alone::start(&format!("{PROMETHEUS}4lw.commands.whitelist=*\n"));
    let at = alone.server.as_ref().unwrap().metrics_addr().unwrap();
    let mut client = Client::connected(alone.addr());
    client.create("/a", "x").unwrap().unwrap();
    client.get("/a", false).unwrap().unwrap();
    let page = http(at, "GET", "/metrics", "");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", page.head);
    for line in [
        "# HELP znode_count znode_count\n# TYPE znode_count gauge\nznode_count 6.0\n",
        "# TYPE connection_request_count counter\nconnection_request_count 1.0\n",
        "# TYPE updatelatency summary\nupdatelatency{quantile=\"0.5\",} ",
        "updatelatency_count 2.0\n",
        "read_per_namespace_sum{key=\"a\",} 71.0\n",
        "# TYPE process_open_fds gauge\n",
        "election_time{quantile=\"0.5\",} NaN\n",
    ] {
        assert!(page.body.contains(line), "{line} in\n{}", page.body);
    }
    assert!(!page.body.contains("learners"), "a server alone has none");
    assert_eq!(http(at, "GET", "/", "").status, 404);
    let mntr = word(alone.addr(), "mntr");
    assert!(mntr.contains("zk_updatelatency{quantile=\"0.99\"}\t"), "{mntr}");
    assert!(mntr.contains("zk_znode_count\t6.0\n"), "{mntr}");
}

#[test]
fn members_of_an_ensemble_tell_who_leads_and_what_they_measured() {
    // Two elect the one with the higher id, whoever is faster; the third finds a leader. Limits are long, so that on a
    // busy machine, too, each looks once.
    let more = format!("{ADMIN}tickTime=2000\ninitLimit=30\nsyncLimit=30\n");
    let mut ensemble = Ensemble::start_with::<3>(&more, "");
    ensemble.leader(2);
    (0..3).for_each(|n| ensemble.stop(n));
    let (follower, leader) = (0, 2);
    ensemble.restart(1);
    ensemble.restart(leader);
    assert_eq!(ensemble.leader(1), leader);
    ensemble.restart(follower);
    ensemble.leader(2);
    let at = |n: usize| ensemble.servers[n].as_ref().unwrap().admin_addr().unwrap();
    let mut client = Client::connected(ensemble.addr(follower));
    client.create("/a", "x").unwrap().unwrap();
    let told = get(at(follower), "leader");
    let id = leader + 1;
    let wanted = format!("\"is_leader\" : false,\n  \"leader_id\" : {id},\n  \"leader_ip\" : \"127.0.0.1\"");
    assert!(told.contains(&wanted), "{told}");
    assert!(get(at(leader), "zabstate").contains("\"zabstate\" : \"broadcast\""));
    assert!(
        get(at(leader), "voting_view").contains("    \"3\" : {\n      \"server_addresses\" : [ \"127.0.0.1:")
    );
    assert!(get(at(leader), "srvr").contains("  \"proposal_stats\" : {\n    \"last_buffer_size\" : "));
    let figure = |n: usize, name: &str| -> u64 {
        let monitor = get(at(n), "monitor");
        let key = format!("\n  \"{name}\" : ");
        let (_, rest) = monitor.split_once(&key).unwrap_or_else(|| panic!("no {name} in\n{monitor}"));
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    assert_eq!((figure(leader, "proposal_count"), figure(leader, "commit_count")), (2, 2));
    // One came before the leader served, the other behind an empty history of its own.
    assert_eq!((figure(leader, "diff_count"), figure(leader, "snap_count")), (1, 1));
    assert_eq!(figure(leader, "cnt_leader_unavailable_time"), 1);
    assert_eq!(figure(leader, "cnt_quorum_ack_latency"), figure(leader, "commit_count"));
    assert_eq!(figure(follower, "learner_proposal_received_count"), 2);
    for once in ["cnt_follower_sync_time", "looking_count", "cnt_unavailable_time"] {
        assert_eq!(figure(follower, once), 1, "{once}");
    }
    assert_eq!(figure(follower, "cnt_a_write_per_namespace"), 1);
}

/// The number behind `"name" : `, of every object that has one.
fn numbers(json: &str, name: &str) -> Vec<i64> {
    let key = format!("\"{name}\" : ");
    json.split(&key)
        .skip(1)
        .map(|rest| rest.split([',', '\n', ' ']).next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn observers_are_told_by_whom_they_learn_from() {
    let (client, quorum, election) = (free_ports::<4>(), free_ports::<4>(), free_ports::<4>());
    let mut lines = format!("{ADMIN}tickTime=500\ninitLimit=20\nsyncLimit=10\n4lw.commands.whitelist=*\n");
    for n in 0..4 {
        let role = if n == 3 { "observer" } else { "participant" };
        let (c, q, e) = (client[n], quorum[n], election[n]);
        lines += &format!("server.{}=127.0.0.1:{q}:{e}:{role};127.0.0.1:{c}\n", n + 1);
    }
    let ensemble = Ensemble::start_as(4, lines, "");
    let leader = ensemble.leader(2);
    let at = |n: usize| ensemble.servers[n].as_ref().unwrap().admin_addr().unwrap();
    let mut through = eventually("an observer in service", || Client::connect(ensemble.addr(3)).ok());
    through.create("/a", "x").unwrap().unwrap();
    let told = get(at(leader), "observers");
    assert!(told.contains("\"synced_observers\" : 1,"), "{told}");
    assert!(told.contains("\"remote_socket_address\" : \"/127.0.0.1:"), "{told}");
    assert_eq!(numbers(&told, "sid"), [4]);
    // The session, the node, and the end of the connection's set-up.
    assert!(numbers(&told, "requests")[0] >= 2 && numbers(&told, "packets_received")[0] >= 2, "{told}");
    assert!(numbers(&told, "packets_sent")[0] >= 4 && numbers(&told, "last_zxid")[0] > 1 << 32, "{told}");
    assert!(numbers(&told, "established")[0] > 1_700_000_000_000, "{told}");
    assert_eq!((numbers(&told, "queued_packets"), numbers(&told, "queued_packets_size")), (vec![0], vec![0]));
    get(at(leader), "orst");
    assert_eq!(numbers(&get(at(leader), "obsr"), "requests"), [0]);
    let nobody = "{\n  \"synced_observers\" : 0,\n  \"observers\" : [ ],\n  \"command\" : \"observers\",\n  \"error\" : null\n}";
    assert_eq!(get(at((leader + 1) % 3), "observers"), nobody);
    assert!(get(at(leader), "monitor").contains("_4_learner_handler_qp_size\" : "));
}
