//! One broker with many partitions, ours and Java's in turn: how long it takes to start after a clean stop and after
//! `kill -9`, and what idle replicas cost. The page cache is warm: what is measured is the broker's own work.

use super::frame::{BrokerAt, Configured, Notes, start_zookeeper};
use super::kafka_load::Link;
use super::process::{Measured, wait_for};
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use wire::Str;
use wire::batch::BatchBuilder;
use wire::kafka::create_topics::CreatableTopic;
use wire::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use wire::kafka::produce::{PartitionProduceData, TopicProduceData};
use wire::kafka::{CreateTopicsRequest, ErrorCode, ListOffsetsRequest, ProduceRequest};

const PRODUCE: i16 = 9;
const LIST_OFFSETS: i16 = 6;
const CREATE_TOPICS: i16 = 5;
/// Partitions of each topic.
const PER_TOPIC: i32 = 24;
/// Records of a batch; each partition gets one before each stop.
const RECORDS: usize = 3;
/// Topics that one request is about.
const TOPICS_AT_ONCE: usize = 5;
const START_MAX: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(5);
/// Before idle memory is read.
const REST: Duration = Duration::from_secs(3);

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    in_turn(options, |kind, dir, figures| {
        let counts = options.counts.iter().filter(|count| kind == Kind::Ours || **count <= options.java_most);
        for count in counts {
            measure(options, kind, &dir.join(count.to_string()), *count, &runtime, figures)
                .with_context(|| format!("{kind:?}, {count} partitions"))?;
            fs::remove_dir_all(dir.join(count.to_string())).ok();
        }
        Ok(())
    })
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    count: usize,
    runtime: &Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut notes = Notes { kind, figures, prefix: format!("{count:>6} partitions, ") };
    let mut note = |what: &str, value: f64| notes.note(what, value);
    let _zookeeper = start_zookeeper(options, dir)?;
    let topics: Vec<Topic> = topics(count);
    let mut broker = Broker::new(options, kind, dir)?;
    broker.start()?;
    let begun = Instant::now();
    runtime.block_on(async {
        broker.wait_registered(None).await?;
        create(&broker.address, &topics).await?;
        led(&broker.address, &topics).await
    })?;
    note("created in, s", begun.elapsed().as_secs_f64());
    runtime.block_on(produce(&broker.address, &topics))?;
    std::thread::sleep(REST);
    note("idle memory when created, MiB", broker.rss()?);
    for clean in [true, false] {
        let how = if clean { "clean stop" } else { "kill -9" };
        let last = runtime.block_on(async {
            produce(&broker.address, &topics).await?;
            broker.registration().await
        })?;
        if clean {
            note("stop, s", broker.stop()?);
        } else {
            broker.running = None;
            // Java's broker does not start while the node of its former life is there.
            if kind == Kind::Java {
                runtime.block_on(broker.wait_forgotten())?;
            }
        }
        let begun = Instant::now();
        broker.start()?;
        let [registered, leads, produced] = runtime.block_on(async {
            broker.wait_registered(last).await?;
            let registered = begun.elapsed();
            led(&broker.address, &topics).await?;
            let leads = begun.elapsed();
            note(&format!("start after {how}: CPU s"), broker.cpu()?);
            produce(&broker.address, &topics).await?;
            anyhow::Ok([registered, leads, begun.elapsed()])
        })?;
        note(&format!("start after {how}: registered, s"), registered.as_secs_f64());
        note(&format!("start after {how}: leads all, s"), leads.as_secs_f64());
        note(&format!("start after {how}: Produce answered by all, s"), produced.as_secs_f64());
        std::thread::sleep(REST);
        note(&format!("idle memory after {how}, MiB"), broker.rss()?);
    }
    Ok(())
}

struct Topic {
    name: Str,
    partitions: i32,
}

fn topics(count: usize) -> Vec<Topic> {
    let whole = count / PER_TOPIC as usize;
    let rest = (count % PER_TOPIC as usize) as i32;
    let sizes = std::iter::repeat_n(PER_TOPIC, whole).chain((rest > 0).then_some(rest));
    sizes
        .enumerate()
        .map(|(n, partitions)| Topic { name: format!("start-{n:04}").as_str().into(), partitions })
        .collect()
}

/// A broker on this machine, stopped and started on the same directory.
struct Broker {
    options: Options,
    configured: Configured,
    address: String,
    running: Option<Measured>,
}

impl Broker {
    fn new(options: &Options, kind: Kind, dir: &Path) -> Result<Broker> {
        let port = options.port + 1;
        let at = BrokerAt { kind, id: 0, port, zookeeper: format!("127.0.0.1:{}", options.port) };
        let more = "zookeeper.session.timeout.ms=6000\noffsets.topic.replication.factor=1\n\
                    num.recovery.threads.per.data.dir=2\n";
        Ok(Broker {
            options: options.clone(),
            configured: at.configure(dir, more)?,
            address: format!("127.0.0.1:{port}"),
            running: None,
        })
    }

    fn start(&mut self) -> Result<()> {
        self.running = Some(self.configured.start(&self.options)?);
        Ok(())
    }

    /// In good order; seconds until it had ended.
    fn stop(&mut self) -> Result<f64> {
        let running = self.running.take().context("it runs")?;
        Ok(running.stop(START_MAX)?.as_secs_f64())
    }

    async fn zookeeper(&self) -> Result<zookeeper_client::Client> {
        let address = format!("127.0.0.1:{}", self.options.port);
        Ok(zookeeper_client::Client::connect(&address).await?)
    }

    /// The transaction that made this broker's node.
    async fn registration(&self) -> Result<Option<i64>> {
        Ok(self.zookeeper().await?.check_stat("/brokers/ids/0").await?.map(|stat| stat.czxid))
    }

    /// Until its node is there, another one than in its former life.
    async fn wait_registered(&mut self, last: Option<i64>) -> Result<()> {
        let zookeeper = self.zookeeper().await?;
        let end = Instant::now() + START_MAX;
        while Instant::now() < end {
            let node = zookeeper.check_stat("/brokers/ids/0").await?.map(|stat| stat.czxid);
            if node.is_some() && node != last {
                return Ok(());
            }
            self.running.as_mut().context("it runs")?.alive(&self.configured.log)?;
            sleep(POLL).await;
        }
        bail!("the broker did not register within {START_MAX:?}")
    }

    async fn wait_forgotten(&self) -> Result<()> {
        while self.registration().await?.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn cpu(&self) -> Result<f64> {
        self.running.as_ref().context("it runs")?.cpu_seconds()
    }

    /// MiB.
    fn rss(&self) -> Result<f64> {
        Ok(self.running.as_ref().context("it runs")?.rss()? as f64 / 1048576.0)
    }
}

async fn open(address: &str) -> Result<Link> {
    let end = Instant::now() + START_MAX;
    loop {
        match Link::open(address).await {
            Err(_) if Instant::now() < end => sleep(POLL).await,
            opened => return opened,
        }
    }
}

async fn create(address: &str, topics: &[Topic]) -> Result<()> {
    let mut link = open(address).await?;
    for some in topics.chunks(TOPICS_AT_ONCE) {
        let end = Instant::now() + START_MAX;
        loop {
            let creatable = |topic: &Topic| CreatableTopic {
                name: topic.name.clone(),
                num_partitions: topic.partitions,
                replication_factor: 1,
                ..Default::default()
            };
            let topics = some.iter().map(creatable).collect();
            let request = CreateTopicsRequest { topics, timeout_ms: 60_000, validate_only: false };
            let response = link.call(&request, CREATE_TOPICS).await?;
            let known = [ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS];
            let failed = response.topics.iter().find(|topic| !known.contains(&topic.error_code));
            let Some(failed) = failed else { break };
            // There may be no controller yet.
            ensure!(Instant::now() < end, "{}: {}", failed.name, failed.error_code.name());
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Until the broker says that it leads every partition.
async fn led(address: &str, topics: &[Topic]) -> Result<()> {
    let of = |topic: &Topic| ListOffsetsTopic {
        name: topic.name.clone(),
        partitions: (0..topic.partitions)
            .map(|partition_index| ListOffsetsPartition {
                partition_index,
                current_leader_epoch: -1,
                timestamp: -1,
                ..Default::default()
            })
            .collect(),
    };
    until_all(address, topics, async |link, topics| {
        let topics = topics.iter().map(|topic| of(topic)).collect();
        let request = ListOffsetsRequest { replica_id: -1, isolation_level: 0, topics };
        let response = link.call(&request, LIST_OFFSETS).await?;
        let bad = response.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(bad.map(|partition| partition.error_code).find(|code| !code.is_ok()))
    })
    .await
}

/// A batch to every partition, acks=1.
async fn produce(address: &str, topics: &[Topic]) -> Result<()> {
    let batch = batch()?;
    until_all(address, topics, async |link, topics| {
        let data = |topic: &&Topic| TopicProduceData {
            name: topic.name.clone(),
            partition_data: (0..topic.partitions)
                .map(|index| PartitionProduceData { index, records: Some(batch.clone()) })
                .collect(),
        };
        let topic_data = topics.iter().map(data).collect();
        let request = ProduceRequest { acks: 1, timeout_ms: 30_000, topic_data, ..Default::default() };
        let response = link.call(&request, PRODUCE).await?;
        let all = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        Ok(all.map(|partition| partition.error_code).find(|code| !code.is_ok()))
    })
    .await
}

fn batch() -> Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let mut builder = BatchBuilder::new();
    for _ in 0..RECORDS {
        builder.push(now, None, Some(&[b'x'; 100]), &[]);
    }
    Ok(builder.finish()?)
}

/// Asks about some topics at a time, each again until it has no error.
async fn until_all(
    address: &str,
    topics: &[Topic],
    mut ask: impl AsyncFnMut(&mut Link, &[&Topic]) -> Result<Option<ErrorCode>>,
) -> Result<()> {
    let mut link = open(address).await?;
    let end = Instant::now() + START_MAX;
    let topics: Vec<&Topic> = topics.iter().collect();
    for some in topics.chunks(TOPICS_AT_ONCE) {
        while let Some(error) = ask(&mut link, some).await? {
            ensure!(Instant::now() < end, "{} and what follows: {}", some[0].name, error.name());
            sleep(POLL).await;
        }
    }
    Ok(())
}

impl Measured {
    /// SIGTERM, and the time until the process has ended.
    fn stop(mut self, at_most: Duration) -> Result<Duration> {
        self.terminate()?;
        wait_for("the end of the process", at_most, || self.ended())
    }
}
