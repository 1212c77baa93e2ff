//! The death of a controller: how long the cluster is without one, and what its successor costs.
//!
//! Three brokers can be the controller, ours and Java's in turn, on one ZooKeeper server of ours. The partitions' replicas are
//! on a crowd of brokers of metadata alone (`--brokers`), or, with `--brokers 0`, on the three themselves. The
//! controller is killed, and with it a broker that has replicas: all that the dead one led needs new leaders.
//!
//! The end is when each broker that lives knows a live leader for every partition: the real ones in their answers to
//! Metadata, the crowd in what they were told.

use super::frame::{BrokerAt, Notes, start_zookeeper, two_workers};
use super::kafka_load::Link;
use super::kafka_stub::{Layout, Stub};
use super::process::{Measured, cpu_seconds_of, wait_for};
use super::zk_load;
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use wire::kafka::{MetadataRequest, MetadataResponse};
use zookeeper_client::Client;

/// Brokers that can be the controller.
const CANDIDATES: i32 = 3;
/// The first id of the crowd.
const CROWD: i32 = 100;
const REPLICAS: usize = 3;
const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(300);
const METADATA: i16 = 12;

pub fn run(options: &Options) -> Result<()> {
    let runtime = two_workers()?;
    in_turn(options, |kind, dir, figures| measure(options, kind, dir, &runtime, figures))
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    runtime: &Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let layout = Layout { partitions: options.partitions, per_topic: options.per_topic };
    let mut notes = Notes { kind, figures, prefix: String::new() };
    let mut note = |what: &str, value: f64| notes.note(what, value);
    let mut cluster = Cluster::start(options, kind, dir, layout, runtime)?;
    note("start until all is led and known, s", cluster.ready.as_secs_f64());
    if options.idle > Duration::ZERO {
        // Leaders are balanced, and sessions at rest.
        std::thread::sleep(Duration::from_secs(8));
        let before = (cluster.zookeeper_requests()?, cluster.cpu()?, cluster.zookeeper.cpu_seconds()?);
        std::thread::sleep(options.idle);
        let a_minute = 60.0 / options.idle.as_secs_f64();
        let requests = cluster.zookeeper_requests()? - before.0;
        note("idle: requests to ZooKeeper a minute", requests as f64 * a_minute);
        note("idle: CPU s of the brokers a minute", (cluster.cpu()? - before.1) * a_minute);
        let cpu = cluster.zookeeper.cpu_seconds()? - before.2;
        note("idle: CPU s of ZooKeeper a minute", cpu * a_minute);
    }
    note("memory of the old controller, MiB", cluster.rss(cluster.controller)? / 1048576.0);
    let failover = cluster.fail_over(runtime)?;
    let (since_end, since_kill) = (failover.known - failover.session_end, failover.known - failover.kill);
    note("fail-over from the session's end, s", since_end.as_secs_f64());
    note("fail-over from the kill, s", since_kill.as_secs_f64());
    note("CPU s of the new controller", failover.cpu.0);
    note("CPU s of the other broker", failover.cpu.1);
    note("CPU s of ZooKeeper", failover.cpu.2);
    note("CPU s of the crowd and the measuring", failover.cpu.3);
    note("memory of the new controller, MiB", cluster.rss(cluster.controller)? / 1048576.0);
    if let Some(stub) = cluster.crowd.last() {
        note("UpdateMetadata to each broker, MiB", stub.told().2 as f64 / 1048576.0);
    }
    Ok(())
}

struct Cluster {
    layout: Layout,
    zookeeper: Measured,
    zookeeper_at: SocketAddr,
    /// By id; none where it was killed.
    candidates: Vec<Option<(Measured, PathBuf)>>,
    ports: Vec<u16>,
    crowd: Vec<Stub>,
    controller: i32,
    ready: Duration,
}

struct FailOver {
    kill: Instant,
    session_end: Instant,
    known: Instant,
    /// Seconds: the new controller, the other broker, ZooKeeper, the crowd and whoever measures.
    cpu: (f64, f64, f64, f64),
}

impl Cluster {
    fn start(
        options: &Options,
        kind: Kind,
        dir: &Path,
        layout: Layout,
        runtime: &Runtime,
    ) -> Result<Cluster> {
        let zookeeper = start_zookeeper(options, dir)?;
        let zookeeper_at = SocketAddr::from(([127, 0, 0, 1], options.port));
        let mut cluster = Cluster {
            layout,
            zookeeper,
            zookeeper_at,
            candidates: Vec::new(),
            ports: (0..CANDIDATES as u16).map(|n| options.port + 1 + n).collect(),
            crowd: Vec::new(),
            controller: -1,
            ready: Duration::ZERO,
        };
        runtime.block_on(cluster.gather_crowd(options))?;
        if options.brokers > 0 {
            runtime.block_on(write_topics(zookeeper_at, layout, options.brokers))?;
        }
        let begin = Instant::now();
        for id in 0..CANDIDATES {
            cluster.start_candidate(options, kind, dir, id)?;
        }
        let mut begin = begin;
        if options.brokers == 0 {
            let ports = cluster.ports.clone();
            wait_for("three brokers", PATIENCE, || {
                cluster.alive()?;
                Ok(ports.iter().all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok()))
            })?;
            begin = Instant::now();
            runtime.block_on(write_topics(zookeeper_at, layout, 0))?;
        }
        wait_for("a cluster at work", PATIENCE, || {
            cluster.alive()?;
            std::thread::sleep(Duration::from_millis(200));
            Ok(runtime.block_on(cluster.all_know(&[])).unwrap_or(false))
        })?;
        cluster.ready = begin.elapsed();
        // Answers to what was sent so far come in, and the first balance of leaders is over.
        std::thread::sleep(Duration::from_secs(6));
        cluster.controller = runtime.block_on(cluster.metadata(0, Some(&[])))?.controller_id;
        Ok(cluster)
    }

    async fn gather_crowd(&mut self, options: &Options) -> Result<()> {
        let address = self.zookeeper_at.to_string();
        let mut link = zk_load::Link::open(self.zookeeper_at).await?;
        for path in ["/brokers", "/brokers/ids", "/brokers/topics"] {
            link.create(path, 0).await?;
        }
        for n in 0..options.brokers {
            let port = options.port + 1 + CANDIDATES as u16 + n as u16;
            self.crowd.push(Stub::start(CROWD + n as i32, port, &address, self.layout).await?);
        }
        Ok(())
    }

    fn start_candidate(&mut self, options: &Options, kind: Kind, dir: &Path, id: i32) -> Result<()> {
        let (port, zookeeper) = (self.ports[id as usize], self.zookeeper_at.to_string());
        let more = format!(
            "zookeeper.session.timeout.ms={}\nreplica.lag.time.max.ms=3600000\n",
            SESSION.as_millis()
        );
        let configured = BrokerAt { kind, id, port, zookeeper }.configure(dir, &more)?;
        let (broker, log) = (configured.start(options)?, configured.log);
        self.candidates.push(Some((broker, log)));
        Ok(())
    }

    fn alive(&mut self) -> Result<()> {
        self.candidates.iter_mut().flatten().try_for_each(|(broker, log)| broker.alive(log))
    }

    fn rss(&self, id: i32) -> Result<f64> {
        Ok(self.candidate(id)?.rss()? as f64)
    }

    fn candidate(&self, id: i32) -> Result<&Measured> {
        let found = self.candidates.get(id as usize).and_then(Option::as_ref);
        found.map(|(broker, _)| broker).with_context(|| format!("broker {id} is no candidate that lives"))
    }

    /// Seconds of all candidates that live.
    fn cpu(&self) -> Result<f64> {
        self.candidates.iter().flatten().map(|(broker, _)| broker.cpu_seconds()).sum()
    }

    /// Requests that ZooKeeper has had, pings among them.
    fn zookeeper_requests(&self) -> Result<u64> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.zookeeper_at)?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let line = answer.lines().find_map(|line| line.strip_prefix("Received: "));
        Ok(line.with_context(|| format!("no count of requests: {answer}"))?.trim().parse()?)
    }

    /// `topics`: `None` for all.
    async fn metadata(&self, id: i32, topics: Option<&[usize]>) -> Result<MetadataResponse> {
        let mut link = Link::open(&format!("127.0.0.1:{}", self.ports[id as usize])).await?;
        let topics = topics.map(|topics| {
            let named = |&n: &usize| wire::kafka::metadata::MetadataRequestTopic {
                name: Some(self.layout.topic(n).into()),
                ..Default::default()
            };
            topics.iter().map(named).collect()
        });
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        link.call(&request, METADATA).await
    }

    /// Whether every broker that lives has a live leader, none of `dead`, for each partition, and one controller that is
    /// not dead.
    async fn all_know(&self, dead: &[i32]) -> Result<bool> {
        let partitions = |answer: &MetadataResponse, dead: &[i32]| {
            let all = answer.topics.iter().flat_map(|topic| &topic.partitions);
            all.filter(|p| p.leader_id >= 0 && !dead.contains(&p.leader_id)).count()
        };
        if self.crowd.iter().any(|stub| !dead.contains(&stub.id) && stub.told().0 < self.layout.partitions) {
            return Ok(false);
        }
        // A few topics first: an answer of all takes its time.
        let last = self.layout.topics() - 1;
        let few = [0, last / 3, last / 2, last];
        for id in (0..CANDIDATES).filter(|&id| self.candidate(id).is_ok()) {
            let answer = self.metadata(id, Some(&few)).await?;
            if answer.controller_id < 0 || dead.contains(&answer.controller_id) {
                return Ok(false);
            }
            let expected: usize = answer.topics.iter().map(|topic| topic.partitions.len()).sum();
            if expected == 0 || partitions(&answer, dead) < expected {
                return Ok(false);
            }
        }
        for id in (0..CANDIDATES).filter(|&id| self.candidate(id).is_ok()) {
            if partitions(&self.metadata(id, None).await?, dead) < self.layout.partitions {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills the controller, and a broker of the crowd with it.
    fn fail_over(&mut self, runtime: &Runtime) -> Result<FailOver> {
        let mut dead = vec![self.controller];
        let watch = runtime.block_on(async {
            let client = Client::connect(&self.zookeeper_at.to_string()).await?;
            let (_, _, watcher) = client.get_and_watch_data("/controller").await?;
            anyhow::Ok(tokio::spawn(async move {
                let _alive = client;
                watcher.changed().await;
                Instant::now()
            }))
        })?;
        let (zookeeper, own) = (self.zookeeper.cpu_seconds()?, cpu_seconds_of(std::process::id())?);
        let before: Vec<f64> = self
            .candidates
            .iter()
            .map(|broker| broker.as_ref().map_or(Ok(0.0), |(broker, _)| broker.cpu_seconds()))
            .collect::<Result<_>>()?;
        self.candidates[self.controller as usize] = None;
        let kill = Instant::now();
        // A broker that lives as far as ZooKeeper knows would be told everything, and is not: so it goes before the
        // controller's session ends.
        if let Some(stub) = self.crowd.first_mut() {
            stub.die();
            dead.push(stub.id);
        }
        self.crowd.iter().for_each(Stub::forget);
        let session_end = runtime.block_on(watch)?;
        ensure!(session_end - kill < SESSION * 3, "the session of the dead controller lives on");
        let mut known = None;
        wait_for("a new controller, and all partitions led", PATIENCE, || {
            self.alive()?;
            let done = runtime.block_on(self.all_know(&dead)).unwrap_or(false);
            known = done.then(Instant::now);
            Ok(done)
        })?;
        self.controller =
            runtime.block_on(self.metadata((dead[0] + 1) % CANDIDATES, Some(&[])))?.controller_id;
        let used = |id: i32| anyhow::Ok(self.candidate(id)?.cpu_seconds()? - before[id as usize]);
        let other = (0..CANDIDATES).find(|id| *id != dead[0] && *id != self.controller).unwrap_or(0);
        Ok(FailOver {
            kill,
            session_end,
            known: known.context("it came")?,
            cpu: (
                used(self.controller)?,
                used(other)?,
                self.zookeeper.cpu_seconds()? - zookeeper,
                cpu_seconds_of(std::process::id())? - own,
            ),
        })
    }
}

/// Topics straight into ZooKeeper; with a crowd also the states of all partitions, led by their first replicas.
async fn write_topics(server: SocketAddr, layout: Layout, crowd: usize) -> Result<()> {
    let replicas = |number: usize| -> Vec<i32> {
        let (count, first) = if crowd == 0 { (CANDIDATES as usize, 0) } else { (crowd, CROWD) };
        // The followers of one broker's partitions are spread over all others.
        let shift = if count > 2 { 1 + number / count % (count - 1) } else { 1 };
        let follower = |n: usize| match n {
            0 => number % count,
            n => (number + (shift + n - 2) % (count - 1) + 1) % count,
        };
        (0..REPLICAS.min(count)).map(|n| first + follower(n) as i32).collect()
    };
    let mut creates: Vec<Bytes> = Vec::new();
    let create = |path: String, data: String| zk_load::Link::creation(&path, data.into());
    for topic in 0..layout.topics() {
        let first = topic * layout.per_topic;
        let numbers = first..layout.partitions.min(first + layout.per_topic);
        let list: Vec<String> = numbers
            .clone()
            .map(|n| format!("\"{}\":{:?}", n - first, replicas(n)).replace(' ', ""))
            .collect();
        let mut id = [7; 16];
        id[8..].copy_from_slice(&(topic as u64 + 1).to_be_bytes());
        let node = format!(
            "{{\"removing_replicas\":{{}},\"partitions\":{{{}}},\"topic_id\":\"{}\",\"adding_replicas\":{{}},\
             \"version\":3}}",
            list.join(","),
            URL_SAFE_NO_PAD.encode(id)
        );
        let path = format!("/brokers/topics/{}", layout.topic(topic));
        creates.push(create(path.clone(), node));
        if crowd == 0 {
            continue;
        }
        creates.push(create(format!("{path}/partitions"), String::new()));
        for n in numbers {
            let path = format!("{path}/partitions/{}", n - first);
            let isr = replicas(n);
            let state = format!(
                "{{\"controller_epoch\":1,\"leader\":{},\"version\":1,\"leader_epoch\":0,\"isr\":{:?}}}",
                isr[0], isr
            );
            creates.push(create(path.clone(), String::new()));
            creates.push(create(format!("{path}/state"), state.replace(' ', "")));
        }
    }
    let mut link = zk_load::Link::open(server).await?;
    link.pipeline(creates.into_iter(), 500).await
}
