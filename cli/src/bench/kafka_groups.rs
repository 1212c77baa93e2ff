//! A large consumer group: its members join, some leave, some die without a word, and some come back. How long each
//! rebalance takes, until every member has its assignment of one and the same generation.
//!
//! One broker, ours and Java's in turn, on a ZooKeeper server of ours, with Kafka's defaults for groups: the first
//! rebalance waits three seconds for more members, and who dies is noticed after its session.

use super::frame::{BrokerAt, Notes, start_zookeeper, two_workers};
use super::kafka_load::Link;
use super::process::wait_for;
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
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

/// Connections that are being opened at a time, so that none is turned away and tries again after a second.
const OPENED_AT_ONCE: usize = 20;

pub fn run(options: &Options) -> Result<()> {
    let runtime = two_workers()?;
    in_turn(options, |kind, dir, figures| measure(options, kind, dir, &runtime, figures))
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    runtime: &tokio::runtime::Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut notes = Notes { kind, figures, prefix: String::new() };
    let _zookeeper = start_zookeeper(options, dir)?;
    let at =
        BrokerAt { kind, id: 0, port: options.port + 1, zookeeper: format!("127.0.0.1:{}", options.port) };
    let more = "zookeeper.session.timeout.ms=6000\noffsets.topic.replication.factor=1\n\
                offsets.topic.num.partitions=1\n";
    let configured = at.configure(dir, more)?;
    let mut broker = configured.start(options)?;
    let address = format!("127.0.0.1:{}", at.port);
    wait_for("a coordinator", PATIENCE, || {
        broker.alive(&configured.log)?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(runtime.block_on(coordinates(&address)).unwrap_or(false))
    })?;
    let count = options.members;
    let part = (count / 10).max(1);
    let first = broker.cpu_seconds()?;
    runtime.block_on(async {
        let begun = Instant::now();
        storm(&address, count).await?;
        notes.note("as many connections at once: until all are answered, s", begun.elapsed().as_secs_f64());
        let mut crowd = Crowd::new(address);
        let mut cpu = broker.cpu_seconds()?;
        for (what, change) in [
            ("all join", Change::Come(count)),
            ("a tenth leaves", Change::Go(part, Order::Leave)),
            ("a tenth is killed, of which the session takes 10", Change::Go(part, Order::Die)),
            ("as many come back", Change::Come(2 * part)),
        ] {
            let begun = crowd.change(change).await?;
            notes.note(&format!("{what}, s"), crowd.settled(begun).await?.as_secs_f64());
            let now = broker.cpu_seconds()?;
            notes.note(&format!("{what}: CPU s of the broker"), now - std::mem::replace(&mut cpu, now));
        }
        sleep(Duration::from_secs(20)).await;
        notes.note("20 s of heartbeats: CPU s of the broker", broker.cpu_seconds()? - cpu);
        anyhow::Ok(())
    })?;
    notes.note("CPU s of the broker", broker.cpu_seconds()? - first);
    notes.note("memory of the broker, MiB", broker.rss()? as f64 / 1_048_576.0);
    Ok(())
}

/// So many connect at the same time and ask something; then they go.
async fn storm(address: &str, count: usize) -> Result<()> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..count {
        let address = address.to_owned();
        all.spawn(async move {
            // In such a crowd one may be turned away, and comes again.
            let end = Instant::now() + PATIENCE;
            while !coordinates(&address).await.unwrap_or(false) {
                ensure!(Instant::now() < end, "no answer within {PATIENCE:?}");
                sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(())
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

/// What becomes of the crowd.
#[derive(Debug, Clone, Copy)]
enum Change {
    Come(usize),
    /// The first of them go.
    Go(usize, Order),
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

    /// When it began; new members are connected before that.
    async fn change(&mut self, change: Change) -> Result<Instant> {
        match change {
            Change::Come(count) => self.add(count).await,
            Change::Go(count, order) => {
                let begun = Instant::now();
                self.end(count, order);
                Ok(begun)
            }
        }
    }

    async fn add(&mut self, count: usize) -> Result<Instant> {
        let mut links = Vec::with_capacity(count);
        while links.len() < count {
            let mut opening = tokio::task::JoinSet::new();
            for _ in 0..OPENED_AT_ONCE.min(count - links.len()) {
                let address = self.address.clone();
                opening.spawn(async move { Link::open(&address).await });
            }
            while let Some(link) = opening.join_next().await {
                links.push(link??);
            }
        }
        let begun = Instant::now();
        for (number, link) in (self.next..).zip(links) {
            let (orders, order) = watch::channel(Order::Stay);
            let member = Member { number, id: Str::new(), order, assigned: self.assigned.clone() };
            let failed = self.failed.clone();
            tokio::spawn(async move {
                if let Err(why) = member.live(link).await {
                    failed
                        .lock()
                        .expect("nobody panics with it")
                        .get_or_insert(format!("member {number}: {why:#}"));
                }
            });
            self.members.insert(number, orders);
        }
        self.next += count;
        Ok(begun)
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
    /// Joins, and joins again whenever it is told to, until it is to go.
    async fn live(mut self, mut link: Link) -> Result<()> {
        loop {
            let joined = self.join(&mut link).await?;
            if !self.sync(&mut link, &joined).await? {
                continue;
            }
            let at = (joined.generation_id, Instant::now());
            self.assigned.lock().expect("nobody panics with it").insert(self.number, at);
            match self.beat(&mut link, joined.generation_id).await? {
                Order::Stay => {}
                Order::Die => return Ok(()),
                Order::Leave => {
                    let members = vec![MemberIdentity { member_id: self.id.clone(), ..Default::default() }];
                    let leave = LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
                    link.call(&leave, LEAVE).await?;
                    return Ok(());
                }
            }
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

    /// Until the group wants it to join again (`Stay`), or it is to go.
    async fn beat(&mut self, link: &mut Link, generation: i32) -> Result<Order> {
        loop {
            tokio::select! {
                () = sleep(HEARTBEATS) => {}
                _ = self.order.wait_for(|order| *order != Order::Stay) => {}
            }
            let order = *self.order.borrow();
            if order != Order::Stay {
                return Ok(order);
            }
            let request = HeartbeatRequest {
                group_id: GROUP.into(),
                generation_id: generation,
                member_id: self.id.clone(),
                ..Default::default()
            };
            match link.call(&request, HEARTBEAT).await.context("Heartbeat")?.error_code {
                ErrorCode::NONE => {}
                ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => return Ok(Order::Stay),
                ErrorCode::UNKNOWN_MEMBER_ID => {
                    self.id = Str::new();
                    return Ok(Order::Stay);
                }
                other => bail!("Heartbeat: {other:?}"),
            }
        }
    }
}
