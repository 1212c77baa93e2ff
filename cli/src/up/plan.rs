//! What is to run: how many of each, on which ports, with which configuration.

use super::folder::Folder;
use super::many;
use super::options::Options;
use super::ports::Ports;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The chroot under which the brokers register, as in the tutorial.
pub const CHROOT: &str = "/test";
const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;
const BROKER_PORT: u16 = 9092;

/// A cluster on this machine. It is kept as `up.json` in its folder, for the next start and for `--status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub servers: Vec<Member>,
    pub brokers: Vec<Member>,
    #[serde(skip, default = "nowhere")]
    pub folder: Folder,
}

/// A server or a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: u32,
    /// Where clients connect.
    pub port: u16,
}

fn nowhere() -> Folder {
    Folder::new(PathBuf::new())
}

impl Plan {
    /// The plan that a folder holds, if any.
    pub fn load(folder: &Folder) -> Result<Option<Plan>> {
        let file = folder.plan();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why).with_context(|| format!("{}", file.display())),
        };
        let read: Result<Plan, _> = serde_json::from_str(&text);
        let plan = read.with_context(|| {
            format!(
                "{} is damaged: delete the cluster with --purge, or choose another folder with --data",
                file.display()
            )
        })?;
        Ok(Some(Plan { folder: folder.clone(), ..plan }))
    }

    /// Chooses ports, writes each member's configuration, and the plan. Gives what the user should know of ports, too.
    pub fn make(options: &Options) -> Result<(Plan, Vec<String>)> {
        let folder = &options.folder;
        let old = Plan::load(folder)?;
        let servers = size("server", options.servers, old.as_ref().map(|old| &old.servers[..]))?;
        let brokers = size("broker", options.brokers, old.as_ref().map(|old| &old.brokers[..]))?;
        let mut ports = Ports::default();
        let mut plan = Plan { servers: vec![], brokers: vec![], folder: folder.clone() };
        for n in 0..servers {
            let whose = format!("ZooKeeper server {}", n + 1);
            let before = old.as_ref().map_or(CLIENT_PORT + n as u16, |old| old.servers[n as usize].port);
            let port = match options.zk_port {
                Some(first) => ports.exactly(first + n as u16, &whose, "--zk-port"),
                None => ports.near(before, &whose, "--zk-port"),
            };
            plan.servers.push(Member { id: n + 1, port: port? });
        }
        for n in 0..brokers {
            let whose = format!("Kafka broker {n}");
            let before = old.as_ref().map_or(BROKER_PORT + n as u16, |old| old.brokers[n as usize].port);
            let port = match options.kafka_port {
                Some(first) => ports.exactly(first + n as u16, &whose, "--kafka-port"),
                None => ports.near(before, &whose, "--kafka-port"),
            };
            plan.brokers.push(Member { id: n, port: port? });
        }
        plan.write(&mut ports)?;
        Ok((plan, ports.moved))
    }

    fn write(&self, ports: &mut Ports) -> Result<()> {
        let mut ensemble = String::new();
        // One server alone is a standalone one.
        for server in self.servers.iter().filter(|_| self.servers.len() > 1) {
            let (quorum, election) = (ports.any_near(QUORUM_PORT)?, ports.any_near(ELECTION_PORT)?);
            ensemble += &format!("server.{}=127.0.0.1:{quorum}:{election}\n", server.id);
        }
        for server in &self.servers {
            let data = self.folder.path.join(format!("zookeeper-{}", server.id));
            fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
            write(&data.join("myid"), &format!("{}\n", server.id))?;
            let text = format!(
                "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
                 4lw.commands.whitelist=*\nadmin.enableServer=false\n{ensemble}",
                data.display(),
                server.port
            );
            write(&self.server_config(server), &text)?;
        }
        let replicas = self.replicas();
        // They all stop together: there is nobody whom leadership could be handed to.
        for broker in &self.brokers {
            let text = format!(
                "broker.id={}\nlisteners=PLAINTEXT://127.0.0.1:{}\nlog.dirs={}\nzookeeper.connect={}{CHROOT}\n\
                 default.replication.factor={replicas}\noffsets.topic.replication.factor={replicas}\n\
                 controlled.shutdown.enable=false\noffsets.topic.num.partitions=10\ntransaction.state.log.replication.factor={replicas}\n\
                 transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
                broker.id,
                broker.port,
                self.folder.path.join(format!("kafka-{}", broker.id)).display(),
                self.connect()
            );
            write(&self.broker_config(broker), &text)?;
        }
        write(&self.folder.plan(), &(serde_json::to_string_pretty(self)? + "\n"))
    }

    pub fn server_config(&self, server: &Member) -> PathBuf {
        self.folder.path.join(format!("zoo.cfg-{}", server.id))
    }

    pub fn broker_config(&self, broker: &Member) -> PathBuf {
        self.folder.path.join(format!("server.properties-{}", broker.id))
    }

    /// Replicas of a topic: three where there are so many brokers.
    pub fn replicas(&self) -> usize {
        self.brokers.len().min(3)
    }

    /// `host:port,...` of the servers, without the chroot.
    pub fn connect(&self) -> String {
        addresses(&self.servers)
    }

    pub fn bootstrap(&self) -> String {
        addresses(&self.brokers)
    }
}

/// How many there are to be. A cluster does not change its size by being started differently.
fn size(what: &str, asked: Option<u32>, old: Option<&[Member]>) -> Result<u32> {
    match (asked, old) {
        (asked, None) => Ok(asked.unwrap_or(1)),
        (Some(asked), Some(old)) if asked as usize != old.len() => bail!(
            "the folder holds a cluster of {}, not {asked}: leave --{what}s out, begin anew after --purge, \
             or choose another folder with --data",
            many(old.len(), what)
        ),
        (_, Some(old)) => Ok(old.len() as u32),
    }
}

fn addresses(members: &[Member]) -> String {
    members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect::<Vec<_>>().join(",")
}

/// Whole or not at all: a start that is killed leaves what was there.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_added_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::options::Options;

    fn options(dir: &Path, more: &str) -> Options {
        let line = format!("--data {} {more}", dir.display());
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_plan_comes_back_as_it_was_and_keeps_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let (plan, _) = Plan::make(&options(dir.path(), "--servers 3 --brokers 2")).unwrap();
        assert_eq!(Plan::load(&plan.folder).unwrap().as_ref(), Some(&plan));
        let (again, _) = Plan::make(&options(dir.path(), "")).unwrap();
        assert_eq!((again.servers.len(), again.brokers.len()), (3, 2));
        let error = Plan::make(&options(dir.path(), "--servers 1")).unwrap_err().to_string();
        assert!(error.contains("3 servers, not 1"), "{error}");
    }

    #[test]
    fn a_damaged_plan_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("up.json"), "{\"servers\": 1").unwrap();
        let error = Plan::make(&options(dir.path(), "")).unwrap_err().to_string();
        assert!(error.contains("up.json is damaged") && error.contains("--purge"), "{error}");
    }

    #[test]
    fn configurations_are_read_by_the_servers_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let (plan, _) = Plan::make(&options(dir.path(), "--servers 3 --brokers 3")).unwrap();
        for server in &plan.servers {
            let config = zk_server::config::Config::load(&plan.server_config(server), "").unwrap();
            assert_eq!(config.core.myid, i64::from(server.id));
            assert_eq!(config.members.len(), 3);
        }
        for broker in &plan.brokers {
            let properties = base::Properties::read(&plan.broker_config(broker)).unwrap();
            let config = broker::BrokerConfig::read(&properties).unwrap();
            assert_eq!(config.broker_id, Some(broker.id as i32));
            assert!(config.unknown.is_empty(), "{:?}", config.unknown);
            assert!(config.zookeeper_connect.ends_with(CHROOT));
        }
    }
}
