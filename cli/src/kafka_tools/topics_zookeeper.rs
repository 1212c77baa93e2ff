//! `kafka-topics --zookeeper`: works on the znodes, as the tool did up to Kafka 2.8. Pointed at a broker, as old
//! tutorials do it, it says what to write instead.

use super::topics::{Failure, Wanted, ensure_found, filter, parse_assignment};
use crate::Call;
use base::Given;
use broker::assignment::{Candidate, Start, assign, start_for_added};
use broker::topics::{check_name, colliding, is_internal};
use broker::zk::{ConfigEntity, TopicNode, Zk, ZkError, random_uuid};
use client::{Connection, ConnectionOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Str;
use wire::kafka::Uuid;

const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

impl From<ZkError> for Failure {
    fn from(error: ZkError) -> Failure {
        Failure::new("org.apache.zookeeper.KeeperException", error.to_string())
    }
}

pub async fn run(call: &Call, given: &Given, zookeeper: &str) -> Result<(), Failure> {
    let (hosts, chroot) = zookeeper.split_at(zookeeper.find('/').unwrap_or(zookeeper.len()));
    if let Some(broker) = find_broker(hosts).await {
        return Err(Failure::illegal(advice(call, &broker, hosts)));
    }
    let security = super::zk_security::of_environment().map_err(|stop| match stop {
        super::Stop::Uncaught(exception, why) => Failure::new(exception, why),
        stop => Failure::illegal(format!("{stop:?}")),
    })?;
    let open = async |target: &str| Zk::connect_as(target, SESSION_TIMEOUT, SESSION_TIMEOUT, &security).await;
    let bare = open(hosts).await?;
    let chroot = chroot.trim_end_matches('/');
    let zk = match chroot.is_empty() {
        true => bare,
        false if bare.stat(chroot).await?.is_none() => {
            return Err(Failure::illegal(format!(
                "ZooKeeper at {hosts} has no node {chroot}: no Kafka cluster is there"
            )));
        }
        false => open(&format!("{hosts}{chroot}")).await?,
    };
    if given.has("create") {
        create(&zk, given).await
    } else if given.has("list") {
        list(&zk, given).await
    } else if given.has("describe") {
        describe(&zk, given).await
    } else if given.has("delete") {
        delete(&zk, given).await
    } else {
        alter(&zk, given).await
    }
}

/// The first of these hosts that answers and is a Kafka broker. ZooKeeper answers a four-letter word, if only to say
/// that it is not allowed; a broker never does.
async fn find_broker(hosts: &str) -> Option<String> {
    for host in hosts.split(',') {
        let answer = async {
            let mut stream = TcpStream::connect(host).await.ok()?;
            stream.write_all(b"srvr").await.ok()?;
            // A broker closes the connection, with or without a reset.
            Some(stream.read(&mut [0; 1]).await.unwrap_or(0))
        };
        match tokio::time::timeout(PROBE_TIMEOUT, answer).await {
            Ok(Some(1..)) => return None,
            Ok(None) => continue,
            _ => {}
        }
        let options = ConnectionOptions { setup_timeout: PROBE_TIMEOUT, ..ConnectionOptions::default() };
        if Connection::connect(host, options).await.is_ok() {
            return Some(host.to_owned());
        }
    }
    None
}

/// The same command, for brokers.
fn advice(call: &Call, broker: &str, hosts: &str) -> String {
    let mut rest = Vec::new();
    let mut words = call.args.iter();
    while let Some(word) = words.next() {
        if word == "--zookeeper" || word == "-zookeeper" {
            words.next();
        } else if !word.starts_with("--zookeeper=") {
            rest.push(word.as_str());
        }
    }
    format!(
        "{broker} is a Kafka broker, and --zookeeper needs ZooKeeper (its port is often 2181). To ask the brokers, write\n\
         {} --bootstrap-server {hosts} {}",
        call.name,
        rest.join(" ")
    )
}

async fn names(zk: &Zk, given: &Given) -> Result<Vec<String>, Failure> {
    let mut all = zk.topics().await?;
    all.sort();
    let exclude = given.has("exclude-internal");
    filter(all.into_iter().filter(|name| !(exclude && is_internal(name))), given)
}

async fn brokers(zk: &Zk) -> Result<Vec<Candidate>, Failure> {
    let mut brokers = Vec::new();
    for id in zk.children("/brokers/ids").await? {
        let Some((data, _)) = zk.get(&format!("/brokers/ids/{id}")).await? else { continue };
        let node: serde_json::Value = serde_json::from_slice(&data).unwrap_or_default();
        if let Ok(id) = id.parse() {
            brokers.push(Candidate { id, rack: node["rack"].as_str().map(String::from) });
        }
    }
    Ok(brokers)
}

async fn create(zk: &Zk, given: &Given) -> Result<(), Failure> {
    let wanted = Wanted::read(given)?;
    let exception = |name: &str, message: String| {
        Failure::new(&format!("org.apache.kafka.common.errors.{name}"), message)
    };
    check_name(&wanted.name).map_err(|why| exception("InvalidTopicException", why))?;
    let existing: Vec<Str> = zk.topics().await?.into_iter().map(Str::from).collect();
    if existing.iter().any(|name| **name == *wanted.name) {
        if given.has("if-not-exists") {
            return Ok(());
        }
        return Err(exception("TopicExistsException", format!("Topic '{}' already exists.", wanted.name)));
    }
    let others = colliding(&wanted.name, existing.iter());
    if !others.is_empty() {
        let why = format!("Topic '{}' collides with existing topics: {}", wanted.name, others.join(", "));
        return Err(exception("InvalidTopicException", why));
    }
    let lists = match (wanted.assignment, wanted.partitions, wanted.replication_factor) {
        (Some(lists), ..) => lists,
        (None, Some(partitions), Some(factor)) => {
            let brokers = brokers(zk).await?;
            let count = brokers.len().max(1) as u32;
            let start = Start {
                index: rand::random::<u32>() % count,
                shift: rand::random::<u32>() % count,
                partition: 0,
            };
            assign(&brokers, partitions, i32::from(factor), start)
                .map_err(|why| exception("InvalidReplicationFactorException", why.to_string()))?
        }
        (None, None, _) => return Err(Failure::illegal("Missing required argument \"[partitions]\"")),
        (None, ..) => return Err(Failure::illegal("Missing required argument \"[replication-factor]\"")),
    };
    let node = TopicNode { id: random_uuid(), partitions: (0..).zip(lists).collect(), ..Default::default() };
    match zk.create_topic(&wanted.name, &node, &wanted.configs).await {
        Err(error) if error.node_exists() => {
            Err(exception("TopicExistsException", format!("Topic '{}' already exists.", wanted.name)))
        }
        done => {
            done?;
            println!("Created topic {}.", wanted.name);
            Ok(())
        }
    }
}

async fn list(zk: &Zk, given: &Given) -> Result<(), Failure> {
    for name in names(zk, given).await? {
        match zk.topic_is_being_deleted(&name).await? {
            true => println!("{name} - marked for deletion"),
            false => println!("{name}"),
        }
    }
    Ok(())
}

async fn delete(zk: &Zk, given: &Given) -> Result<(), Failure> {
    let names = names(zk, given).await?;
    ensure_found(&names, given)?;
    for name in names {
        if is_internal(&name) {
            let why = format!(
                "Topic {name} is a kafka internal topic and is not allowed to be marked for deletion."
            );
            return Err(Failure::new("kafka.admin.AdminOperationException", why));
        }
        match zk.topic_is_being_deleted(&name).await? {
            true => println!("Topic {name} is already marked for deletion."),
            false => {
                zk.request_topic_deletion(&name).await?;
                println!("Topic {name} is marked for deletion.");
                println!("Note: This will have no impact if delete.topic.enable is not set to true.");
            }
        }
    }
    Ok(())
}

async fn alter(zk: &Zk, given: &Given) -> Result<(), Failure> {
    if given.has("config") || given.has("delete-config") {
        return Err(Failure::illegal("--zookeeper does not change configurations here: use kafka-configs"));
    }
    let names = names(zk, given).await?;
    ensure_found(&names, given)?;
    let wanted = given.number("partitions")?.unwrap_or_default() as i32;
    let assignment = given.text("replica-assignment")?.map(parse_assignment).transpose()?;
    let exception =
        |message: String| Failure::new("org.apache.kafka.common.errors.InvalidPartitionsException", message);
    for name in names {
        let Some((mut node, version)) = zk.versioned_topic(&name).await? else { continue };
        println!(
            "WARNING: If partitions are increased for a topic that has a key, the partition logic or ordering of the \
             messages will be affected"
        );
        let existing = node.partitions.len() as i32;
        let more = wanted - existing;
        if more <= 0 {
            return Err(exception(format!(
                "The number of partitions for a topic can only be increased. Topic {name} currently has {existing} \
                 partitions, {wanted} would not be an increase."
            )));
        }
        let lists = match &assignment {
            Some(all) => all.iter().skip(existing as usize).cloned().collect(),
            None => {
                let brokers = brokers(zk).await?;
                let first = node.partitions.get(&0).cloned().unwrap_or_default();
                let start =
                    start_for_added(&brokers, existing as u32, first.first().copied().unwrap_or_default());
                assign(&brokers, more, first.len() as i32, start).map_err(|why| exception(why.to_string()))?
            }
        };
        node.partitions.extend((existing..).zip(lists));
        zk.set_topic(&name, &node, version).await?;
        println!("Adding partitions succeeded!");
    }
    Ok(())
}

async fn describe(zk: &Zk, given: &Given) -> Result<(), Failure> {
    let names = names(zk, given).await?;
    ensure_found(&names, given)?;
    let live: BTreeSet<i32> = brokers(zk).await?.into_iter().map(|broker| broker.id).collect();
    for name in names {
        let Some(node) = zk.topic(&name).await? else { continue };
        let configs = zk.config(&ConfigEntity::Topic(name.clone())).await?;
        let deleting = if zk.topic_is_being_deleted(&name).await? { "\tMarkedForDeletion: true" } else { "" };
        let mut states = BTreeMap::new();
        for partition in node.partitions.keys() {
            states.insert(*partition, state(zk, &name, *partition).await?);
        }
        let reports = Reports::of(given);
        if reports.all || reports.overrides && !configs.is_empty() {
            let id = Uuid(*node.id.as_bytes());
            let id = if id.is_zero() { String::new() } else { format!("\tTopicId: {id}") };
            let factor = node.partitions.get(&0).map_or(0, Vec::len);
            let pairs: Vec<String> = configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            println!(
                "Topic: {name}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}{deleting}",
                node.partitions.len(),
                pairs.join(",")
            );
        }
        let min_isr = configs.get("min.insync.replicas").and_then(|value| value.parse().ok()).unwrap_or(1);
        for (partition, replicas) in &node.partitions {
            let (leader, isr) = &states[partition];
            if !reports.want(replicas, *leader, isr, &live, min_isr) {
                continue;
            }
            let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
            let leader = if *leader < 0 { "none".to_owned() } else { leader.to_string() };
            println!(
                "\tTopic: {name}\tPartition: {partition}\tLeader: {leader}\tReplicas: {}\tIsr: {}{deleting}",
                list(replicas),
                list(isr)
            );
        }
    }
    Ok(())
}

/// Leader (-1: none) and in-sync replicas; a partition that the controller has not made yet has neither.
async fn state(zk: &Zk, name: &str, partition: i32) -> Result<(i32, Vec<i32>), Failure> {
    let path = format!("/brokers/topics/{name}/partitions/{partition}/state");
    let Some((data, _)) = zk.get(&path).await? else { return Ok((-1, Vec::new())) };
    let node: serde_json::Value = serde_json::from_slice(&data).unwrap_or_default();
    let isr = node["isr"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_i64())
        .map(|id| id as i32)
        .collect();
    Ok((node["leader"].as_i64().unwrap_or(-1) as i32, isr))
}

struct Reports {
    all: bool,
    overrides: bool,
    under_replicated: bool,
    unavailable: bool,
    under_min_isr: bool,
    at_min_isr: bool,
}

impl Reports {
    fn of(given: &Given) -> Reports {
        let mut reports = Reports {
            all: false,
            overrides: given.has("topics-with-overrides"),
            under_replicated: given.has("under-replicated-partitions"),
            unavailable: given.has("unavailable-partitions"),
            under_min_isr: given.has("under-min-isr-partitions"),
            at_min_isr: given.has("at-min-isr-partitions"),
        };
        let Reports { overrides, under_replicated, unavailable, under_min_isr, at_min_isr, .. } = reports;
        reports.all = !(overrides || under_replicated || unavailable || under_min_isr || at_min_isr);
        reports
    }

    fn want(&self, replicas: &[i32], leader: i32, isr: &[i32], live: &BTreeSet<i32>, min_isr: usize) -> bool {
        self.all
            || self.under_replicated && isr.len() < replicas.len()
            || self.unavailable && !live.contains(&leader)
            || self.under_min_isr && (leader < 0 || isr.len() < min_isr)
            || self.at_min_isr && isr.len() == min_isr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_the_same_command_for_brokers() {
        let args = "--create --zookeeper h1:9092,h2:9092/test --replication-factor 1 --partitions 1 --topic test_log";
        let call = Call {
            name: "bin/kafka-topics.sh".to_owned(),
            args: args.split(' ').map(String::from).collect(),
        };
        let advice = advice(&call, "h1:9092", "h1:9092,h2:9092");
        assert!(advice.starts_with("h1:9092 is a Kafka broker"));
        assert!(advice.ends_with(
            "\nbin/kafka-topics.sh --bootstrap-server h1:9092,h2:9092 --create --replication-factor 1 --partitions 1 \
             --topic test_log"
        ));
    }

    #[tokio::test]
    async fn a_port_that_answers_four_letter_words_is_no_broker() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"srvr is not executed because it is not in the whitelist.").await.unwrap();
        });
        assert_eq!(find_broker(&address).await, None);
    }
}
