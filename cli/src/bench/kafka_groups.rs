//! A large consumer group: its members join, some leave, some die without a word, and some come back. How long each
//! rebalance takes, until every member has its assignment of one and the same generation.
//!
//! One broker, ours and Java's in turn, on a ZooKeeper server of ours, with Kafka's defaults for groups: the first
//! rebalance waits three seconds for more members, and who dies is noticed after its session.

use super::kafka_load::Link;
use super::process::{Measured, wait_for};
use super::zk_size::Server;
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;
use wire::Str;
use wire::kafka::ErrorCode;
use wire::kafka::join_group::JoinGroupRequestProtocol;
use wire::kafka::leave_group::MemberIdentity;
use wire::kafka::sync_group::SyncGroupRequestAssignment;
use wire::kafka::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest,
};

const GROUP: &str = "bench-group";
const JOIN: i16 = 7;
const SYNC: i16 = 3;
const HEARTBEAT: i16 = 3;
const LEAVE: i16 = 3;
const SESSION: Duration = Duration::from_secs(10);
const HEARTBEATS: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(180);

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    in_turn(options, |kind, dir, figures| measure(options, kind, dir, &runtime, figures))
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    runtime: &tokio::runtime::Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut note = |what: &str, value: f64| {
        println!("{kind:?}: {what}: {value:.3}");
        figures.entry((what.to_string(), kind)).or_default().push(value);
    };
    let zookeeper_dir = dir.join("zookeeper");
    fs::create_dir_all(&zookeeper_dir)?;
    let mut zookeeper = Server::new(options, Kind::Ours, &zookeeper_dir)?;
    zookeeper.start()?;
    let (mut broker, log) = start_broker(options, kind, dir)?;
    let address = format!("127.0.0.1:{}", options.port + 1);
    wait_for("a coordinator", PATIENCE, || {
        broker.alive(&log)?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(runtime.block_on(coordinates(&address)).unwrap_or(false))
    })?;
    let count = options.members;
    let part = (count / 10).max(1);
    let mut crowd = Crowd::new(address);
    let cpu = broker.cpu_seconds()?;
    runtime.block_on(async {
        let begun = Instant::now();
        crowd.add(count);
        note("all join, s", crowd.settled(begun).await?.as_secs_f64());
        let begun = Instant::now();
        crowd.end(part, Order::Leave);
        note("a tenth leaves, s", crowd.settled(begun).await?.as_secs_f64());
        let begun = Instant::now();
        crowd.end(part, Order::Die);
        note(
            "a tenth is killed, s, of which the session takes 10",
            crowd.settled(begun).await?.as_secs_f64(),
        );
        let begun = Instant::now();
        crowd.add(2 * part);
        note("as many come back, s", crowd.settled(begun).await?.as_secs_f64());
        anyhow::Ok(())
    })?;
    note("CPU s of the broker", broker.cpu_seconds()? - cpu);
    note("memory of the broker, MiB", broker.rss()? as f64 / 1_048_576.0);
    Ok(())
}

fn start_broker(options: &Options, kind: Kind, dir: &Path) -> Result<(Measured, PathBuf)> {
    let (config, log) = (dir.join("server.properties"), dir.join("broker.log"));
    let text = format!(
        "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{}\nlog.dirs={}\nzookeeper.connect=127.0.0.1:{}\n\
         zookeeper.session.timeout.ms=6000\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n",
        options.port + 1,
        dir.join("logs").display(),
        options.port
    );
    fs::write(&config, text)?;
    let mut command = options.command(kind, "kafka-server-start")?;
    command.arg(&config).env("LOG_DIR", dir);
    Ok((Measured::start(format!("{kind:?} broker"), &mut command, &log)?, log))
}

async fn coordinates(address: &str) -> Result<bool> {
    let mut link = Link::open(address).await?;
    let found = link.call(&FindCoordinatorRequest { key: GROUP.into(), ..Default::default() }, 2).await?;
    if !found.error_code.is_ok() {
        return Ok(false);
    }
    let beat = HeartbeatRequest { group_id: GROUP.into(), member_id: "nobody".into(), ..Default::default() };
    Ok(link.call(&beat, HEARTBEAT).await?.error_code == ErrorCode::UNKNOWN_MEMBER_ID)
}

/// What a member is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Stay,
    Leave,
    /// Its connection ends, and no word is said.
    Die,
}

/// The generation of each member that has its assignment, and when it got the last one.
type Assigned = Arc<Mutex<BTreeMap<usize, (i32, Instant)>>>;

struct Crowd {
    address: String,
    members: BTreeMap<usize, watch::Sender<Order>>,
    next: usize,
    assigned: Assigned,
    failed: Arc<Mutex<Option<String>>>,
}

impl Crowd {
    fn new(address: String) -> Crowd {
        Crowd {
            address,
            members: BTreeMap::new(),
            next: 0,
            assigned: Assigned::default(),
            failed: Arc::default(),
        }
    }

    fn add(&mut self, count: usize) {
        for number in self.next..self.next + count {
            let (orders, order) = watch::channel(Order::Stay);
            let member = Member { number, id: Str::new(), order, assigned: self.assigned.clone() };
            let (address, failed) = (self.address.clone(), self.failed.clone());
            tokio::spawn(async move {
                if let Err(why) = member.live(&address).await {
                    failed
                        .lock()
                        .expect("nobody panics with it")
                        .get_or_insert(format!("member {number}: {why:#}"));
                }
            });
            self.members.insert(number, orders);
        }
        self.next += count;
    }

    /// The first `count` members go.
    fn end(&mut self, count: usize, order: Order) {
        for _ in 0..count {
            let Some((number, orders)) = self.members.pop_first() else { return };
            let _ = orders.send(order);
            self.assigned.lock().expect("nobody panics with it").remove(&number);
        }
    }

    /// Until all members are in one generation that is younger than `begun`; the time that it took.
    async fn settled(&self, begun: Instant) -> Result<Duration> {
        let end = begun + PATIENCE;
        while Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
            if let Some(why) = self.failed.lock().expect("nobody panics with it").take() {
                bail!("{why}");
            }
            let assigned = self.assigned.lock().expect("nobody panics with it");
            let first = assigned.values().next().map(|(generation, _)| *generation);
            let one = assigned.values().all(|(generation, at)| Some(*generation) == first && *at > begun);
            if assigned.len() == self.members.len() && one {
                let last = assigned.values().map(|(_, at)| *at).max().unwrap_or(begun);
                return Ok(last - begun);
            }
        }
        bail!("the group has not settled within {PATIENCE:?}")
    }
}

struct Member {
    number: usize,
    id: Str,
    order: watch::Receiver<Order>,
    assigned: Assigned,
}

impl Member {
    async fn live(mut self, address: &str) -> Result<()> {
        let mut link = Link::open(address).await?;
        let mut orders = self.order.clone();
        tokio::select! {
            done = self.member(&mut link) => return done,
            _ = orders.wait_for(|order| *order != Order::Stay) => {}
        }
        if *self.order.borrow() == Order::Die {
            return Ok(());
        }
        // The answer to what was under way would be taken for that to the leaving: another connection says it.
        drop(link);
        let mut link = Link::open(address).await?;
        let members = vec![MemberIdentity { member_id: self.id.clone(), ..Default::default() }];
        link.call(&LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() }, LEAVE)
            .await?;
        Ok(())
    }

    /// Joins, and joins again whenever it is told to.
    async fn member(&mut self, link: &mut Link) -> Result<()> {
        loop {
            let joined = self.join(link).await?;
            if !self.sync(link, &joined).await? {
                continue;
            }
            let at = (joined.generation_id, Instant::now());
            self.assigned.lock().expect("nobody panics with it").insert(self.number, at);
            self.beat(link, joined.generation_id).await?;
        }
    }

    async fn join(&mut self, link: &mut Link) -> Result<JoinGroupResponse> {
        loop {
            let protocol =
                JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(&[0; 20]) };
            let request = JoinGroupRequest {
                group_id: GROUP.into(),
                session_timeout_ms: SESSION.as_millis() as i32,
                rebalance_timeout_ms: 60_000,
                member_id: self.id.clone(),
                protocol_type: "bench".into(),
                protocols: vec![protocol],
                ..Default::default()
            };
            let joined = link.call(&request, JOIN).await?;
            match joined.error_code {
                ErrorCode::NONE => {
                    self.id = joined.member_id.clone();
                    return Ok(joined);
                }
                ErrorCode::MEMBER_ID_REQUIRED => self.id = joined.member_id,
                ErrorCode::UNKNOWN_MEMBER_ID => self.id = Str::new(),
                ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::COORDINATOR_NOT_AVAILABLE => {}
                other => bail!("JoinGroup: {other:?}"),
            }
        }
    }

    /// Whether there is an assignment.
    async fn sync(&mut self, link: &mut Link, joined: &JoinGroupResponse) -> Result<bool> {
        let assignments = joined.members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from_static(&[0; 20]),
        });
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: joined.generation_id,
            member_id: self.id.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let synced = link.call(&request, SYNC).await?;
        match synced.error_code {
            ErrorCode::NONE => {
                ensure!(synced.assignment.len() == 20, "an assignment of {} bytes", synced.assignment.len());
                Ok(true)
            }
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Ok(false),
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.id = Str::new();
                Ok(false)
            }
            other => bail!("SyncGroup: {other:?}"),
        }
    }

    /// Until the group wants it to join again.
    async fn beat(&mut self, link: &mut Link, generation: i32) -> Result<()> {
        loop {
            sleep(HEARTBEATS).await;
            let request = HeartbeatRequest {
                group_id: GROUP.into(),
                generation_id: generation,
                member_id: self.id.clone(),
                ..Default::default()
            };
            match link.call(&request, HEARTBEAT).await.context("Heartbeat")?.error_code {
                ErrorCode::NONE => {}
                ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => return Ok(()),
                ErrorCode::UNKNOWN_MEMBER_ID => {
                    self.id = Str::new();
                    return Ok(());
                }
                other => bail!("Heartbeat: {other:?}"),
            }
        }
    }
}
