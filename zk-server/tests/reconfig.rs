//! Members come, go and change their part while servers of ours run and clients write.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use support::{Client, config, eventually, free_ports, mode, runtime, word};
use wire::zk::{GetDataResponse, ReconfigRequest, err, op};
use zk_server::server::Server;

const SIX: usize = 6;

/// Up to six servers of one ensemble, 1 to 3 of them its first members.
struct Cluster {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    lines: Vec<String>,
    clients: [u16; SIX],
    servers: Vec<Option<Server>>,
}

impl Cluster {
    fn start() -> Cluster {
        let (clients, quorum, election) = (free_ports::<SIX>(), free_ports::<SIX>(), free_ports::<SIX>());
        let line = |n: usize| {
            let (q, e, c) = (quorum[n], election[n], clients[n]);
            format!("server.{}=127.0.0.1:{q}:{e}:participant;127.0.0.1:{c}", n + 1)
        };
        let mut cluster = Cluster {
            folder: tempfile::tempdir().unwrap(),
            runtime: runtime(),
            lines: (0..SIX).map(line).collect(),
            clients,
            servers: (0..SIX).map(|_| None).collect(),
        };
        (1..=3).for_each(|sid| cluster.boot(sid, &[1, 2, 3]));
        cluster
    }

    fn home(&self, sid: usize) -> PathBuf {
        self.folder.path().join(sid.to_string())
    }

    fn line(&self, sid: usize) -> String {
        self.lines[sid - 1].clone()
    }

    /// The first start, knowing of these.
    fn boot(&mut self, sid: usize, known: &[usize]) {
        let members: Vec<String> = known.iter().map(|sid| self.line(*sid)).collect();
        let text = format!(
            "tickTime=500\ninitLimit=20\nsyncLimit=10\n4lw.commands.whitelist=*\nskipACL=yes\n\
             reconfigEnabled=true\nstandaloneEnabled=false\n{}\n",
            members.join("\n")
        );
        let config = config(&self.home(sid), Some(sid as i64), &text);
        self.servers[sid - 1] = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    /// A start from what is on disk.
    fn reboot(&mut self, sid: usize) {
        self.stop(sid);
        let config = zk_server::config::Config::load(&self.home(sid).join("zoo.cfg"), "").unwrap();
        self.servers[sid - 1] = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    fn stop(&mut self, sid: usize) {
        if let Some(server) = self.servers[sid - 1].take() {
            self.runtime.block_on(server.stop());
        }
    }

    fn addr(&self, sid: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.clients[sid - 1]))
    }

    #[track_caller]
    fn wait_for(&self, sid: usize, wanted: &str) {
        eventually(&format!("server {sid} becomes a {wanted}"), || {
            (mode(self.addr(sid)) == wanted).then_some(())
        });
    }

    fn leader(&self) -> usize {
        eventually("a leader", || (1..=SIX).find(|sid| mode(self.addr(*sid)) == "leader"))
    }

    /// Its files' names that begin as zoo.cfg does.
    fn files(&self, sid: usize) -> Vec<String> {
        let names = std::fs::read_dir(self.home(sid)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("zoo.cfg")).collect();
        names.sort();
        names
    }
}

fn changed(client: &mut Client, joining: &str, leaving: &str, members: Option<&str>) -> Result<String, i32> {
    let request = ReconfigRequest {
        joining: Some(joining.into()),
        leaving: Some(leaving.into()),
        members: members.map(Into::into),
        config_id: -1,
    };
    let reply = client.call::<GetDataResponse>(op::RECONFIG, &request).unwrap()?;
    Ok(String::from_utf8(reply.data.unwrap_or_default().to_vec()).unwrap())
}

/// Until the new members are in sync.
#[track_caller]
fn change(client: &mut Client, joining: &str, leaving: &str) -> String {
    eventually("a quorum of the new members", || match changed(client, joining, leaving, None) {
        Err(err::NEW_CONFIG_NO_QUORUM) => None,
        other => Some(other.unwrap()),
    })
}

#[test]
fn members_come_and_go_and_the_files_follow() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let mut client = Client::connected(cluster.addr(leader));
    client.create("/a", "1").unwrap().unwrap();
    let first = client.get("/zookeeper/config", true).unwrap().unwrap();
    let version = first.lines().last().unwrap().strip_prefix("version=").unwrap().to_owned();
    assert_eq!(cluster.files(leader), ["zoo.cfg", "zoo.cfg.bak", &format!("zoo.cfg.dynamic.{version}")]);

    cluster.boot(4, &[1, 2, 3, 4]);
    cluster.wait_for(4, "follower");
    let text = change(&mut client, &cluster.line(4), "");
    assert!(text.contains(&cluster.line(4)) && !text.contains(&version), "{text}");
    assert_eq!(&*client.event().unwrap().path, "/zookeeper/config");
    let mut newcomer = Client::connected(cluster.addr(4));
    newcomer.create("/b", "2").unwrap().unwrap();
    assert_eq!(newcomer.get("/a", false).unwrap().as_deref(), Ok("1"));
    eventually("server 4 has the members", || {
        let text = newcomer.get("/zookeeper/config", false).unwrap().unwrap();
        text.contains(&cluster.line(4)).then_some(())
    });
    assert!(word(cluster.addr(4), "conf").contains(&cluster.line(4)), "conf shows the members");

    let gone = (1..=3).find(|sid| *sid != leader).unwrap();
    let text = change(&mut client, "", &gone.to_string());
    assert!(!text.contains(&cluster.line(gone)), "{text}");
    cluster.stop(gone);
    client.create("/c", "3").unwrap().unwrap();

    let stays: Vec<usize> = (1..=4).filter(|sid| *sid != gone).collect();
    drop((client, newcomer));
    stays.iter().for_each(|sid| cluster.reboot(*sid));
    let leader = cluster.leader();
    let mut client = Client::connected(cluster.addr(leader));
    assert_eq!(client.get("/c", false).unwrap().as_deref(), Ok("3"));
    let text = client.get("/zookeeper/config", false).unwrap().unwrap();
    assert!(text.contains(&cluster.line(4)) && !text.contains(&cluster.line(gone)), "{text}");
}

#[test]
fn a_leader_that_leaves_hands_over_and_one_server_grows_to_three() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let others: Vec<usize> = (1..=3).filter(|sid| *sid != leader).collect();
    others.iter().for_each(|sid| cluster.wait_for(*sid, "follower"));
    let mut client = Client::connected(cluster.addr(others[0]));
    client.create("/a", "1").unwrap().unwrap();
    // The answer may be lost with the connection: whoever asked is at a server whose leader changes.
    let _ = client.ask(
        op::RECONFIG,
        &ReconfigRequest {
            joining: None,
            leaving: Some(leader.to_string().as_str().into()),
            members: None,
            config_id: -1,
        },
    );
    let next = eventually("another leader", || {
        others.iter().copied().find(|sid| mode(cluster.addr(*sid)) == "leader")
    });
    let rest = *others.iter().find(|sid| **sid != next).unwrap();
    cluster.wait_for(rest, "follower");
    let mut client = Client::connected(cluster.addr(next));
    assert_eq!(client.get("/a", false).unwrap().as_deref(), Ok("1"));
    client.create("/b", "2").unwrap().unwrap();
    cluster.stop(leader);

    change(&mut client, "", &rest.to_string());
    cluster.stop(rest);
    client.create("/alone", "").unwrap().unwrap();
    assert_eq!(changed(&mut client, "", &next.to_string(), None), Err(err::BAD_ARGUMENTS));

    cluster.boot(5, &[next, 5]);
    cluster.boot(6, &[next, 6]);
    let both = format!("{},{}", cluster.line(5), cluster.line(6));
    change(&mut client, &both, "");
    let mut five = Client::connected(cluster.addr(5));
    assert_eq!(five.get("/b", false).unwrap().as_deref(), Ok("2"));
    assert!(five.get("/alone", false).unwrap().is_ok());
}

#[test]
fn roles_and_client_ports_change() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let other = (1..=3).find(|sid| *sid != leader).unwrap();
    let mut client = Client::connected(cluster.addr(leader));
    cluster.wait_for(other, "follower");
    let observing = cluster.line(other).replace("participant", "observer");
    change(&mut client, &observing, "");
    cluster.wait_for(other, "observer");
    client.create("/a", "1").unwrap().unwrap();

    // It gets its vote back, at another port for clients.
    let [port] = free_ports();
    let moved = cluster.line(other).replace(&cluster.clients[other - 1].to_string(), &port.to_string());
    change(&mut client, &moved, "");
    let moved_to = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("a follower at its new port", || (mode(moved_to) == "follower").then_some(()));
    assert_eq!(word(cluster.addr(other), "ruok"), "");
    let mut there = Client::connected(moved_to);
    assert_eq!(there.get("/a", false).unwrap().as_deref(), Ok("1"));
    let saved = std::fs::read_to_string(cluster.home(other).join("zoo.cfg")).unwrap();
    assert!(saved.contains("dynamicConfigFile="), "{saved}");

    let bad = changed(&mut client, "server.9=127.0.0.1:1:2", "", None);
    assert_eq!(bad, Err(err::BAD_ARGUMENTS));
    let all = [1, 2, 3].map(|sid| if sid == other { moved.clone() } else { cluster.line(sid) }).join(",");
    let grouped = changed(&mut client, "", "", Some(&format!("{all},group.1=1:2:3"))).unwrap();
    assert!(grouped.contains("group.1=1:2:3\nweight.1=1\n"), "{grouped}");
    assert_eq!(changed(&mut client, "", "3", None), Err(err::BAD_ARGUMENTS), "groups change as a whole");
    assert!(client.set("/a", "2").unwrap().is_ok());
}
