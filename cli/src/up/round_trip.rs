//! A topic, messages into it, and the same messages back: the proof that the cluster works.

use super::many;
use super::plan::Plan;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use client::admin::Admin;
use client::consumer::{Consumer, ConsumerOptions, OffsetReset, list_offsets};
use client::options::{ClientKind, ClientOptions};
use client::producer::{Producer, ProducerOptions, ProducerRecord};
use client::{Metadata, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::kafka::ErrorCode;
use wire::kafka::create_topics::CreatableTopic;

pub const TOPIC: &str = "hello";
const CLIENT: &str = "menagerie-up";
const MESSAGES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of former runs that are read again, of each partition.
const OLD_READ: i64 = 100;
/// Nobody else is there to be spared: what is not there yet is asked for again soon.
const RETRY: Duration = Duration::from_millis(5);
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// A message and where it was acknowledged to be.
struct Said {
    partition: TopicPartition,
    offset: i64,
    value: Bytes,
}

/// Sends messages round; `step` hears of what is done.
pub async fn run(plan: &Plan, step: impl Fn(&str)) -> Result<()> {
    let admin = Admin::new(options(plan, ClientKind::Admin)?);
    let metadata = brokers(&admin, plan.brokers.len()).await?;
    step(&format!("broker {} is the controller", metadata.controller_id));
    let is_new = create(plan, &admin).await?;
    let partitions = partitions(plan, &admin).await?;
    let begins = offsets(&admin, &partitions, EARLIEST).await?;
    let ends = offsets(&admin, &partitions, LATEST).await?;
    step(&format!(
        "topic {TOPIC} {}, {}, {}",
        if is_new { "created" } else { "is there" },
        many(partitions.len(), "partition"),
        many(plan.replicas(), "replica")
    ));
    let said = produce(plan).await?;
    step(&format!("{} produced", many(said.len(), "message")));
    let from =
        ends.iter().map(|(at, end)| (at.clone(), begins.get(at).copied().unwrap_or(0).max(end - OLD_READ)));
    let (heard, old) = consume(plan, &said, from.collect()).await?;
    let kept: i64 = ends.iter().map(|(at, end)| end - begins.get(at).copied().unwrap_or(0)).sum();
    let last = said.last().map(|said| String::from_utf8_lossy(&said.value).into_owned()).unwrap_or_default();
    step(&format!("{} consumed back, the last one is «{last}»", many(heard, "message")));
    if kept > 0 {
        step(&format!("{kept} messages of former runs are there, {old} of them read again"));
    }
    Ok(())
}

/// What the brokers know of themselves and their topics. Gives up soon: who asks for a status does not wait.
pub async fn metadata(plan: &Plan) -> Result<Arc<Metadata>> {
    let options = ClientOptions { api_timeout: Duration::from_secs(2), ..options(plan, ClientKind::Admin)? };
    Ok(Admin::new(options).metadata(None).await?)
}

fn options(plan: &Plan, kind: ClientKind) -> Result<ClientOptions> {
    let options = ClientOptions::new(kind, &plan.bootstrap(), CLIENT)?;
    Ok(ClientOptions {
        api_timeout: PATIENCE,
        retry_backoff: RETRY,
        reconnect_backoff: (RETRY, PATIENCE),
        ..options
    })
}

/// Waits until every broker is known to the others, and one of them is the controller.
async fn brokers(admin: &Admin, count: usize) -> Result<Arc<Metadata>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let metadata = admin.metadata(Some(&[])).await.context("the brokers do not answer")?;
        if metadata.brokers.len() == count && metadata.brokers.contains_key(&metadata.controller_id) {
            return Ok(metadata);
        }
        if Instant::now() > end {
            let known: Vec<_> = metadata.brokers.keys().collect();
            bail!(
                "no controller within {PATIENCE:?} (controller {}, brokers {known:?})",
                metadata.controller_id
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// False: the topic is there from a former run.
async fn create(plan: &Plan, admin: &Admin) -> Result<bool> {
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: plan.brokers.len() as i32,
        replication_factor: plan.replicas() as i16,
        ..Default::default()
    };
    let answers = admin.create_topics(vec![topic], false).await.with_context(|| format!("topic {TOPIC}"))?;
    match answers.into_values().next() {
        Some(Ok(_)) => Ok(true),
        Some(Err(why)) if why.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => Ok(false),
        Some(Err(why)) => Err(why).with_context(|| format!("topic {TOPIC} cannot be created")),
        None => bail!("topic {TOPIC}: the controller did not answer for it"),
    }
}

/// The topic's partitions, once each has a leader and all its replicas are in sync.
async fn partitions(plan: &Plan, admin: &Admin) -> Result<Vec<TopicPartition>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let metadata = admin.metadata(Some(&[TOPIC.into()])).await.context("the brokers do not answer")?;
        if let Some(topic) = metadata.topics.get(TOPIC).filter(|topic| topic.error.is_ok())
            && !topic.partitions.is_empty()
            && topic.partitions.values().all(|p| p.leader >= 0 && p.isr.len() == plan.replicas())
        {
            return Ok(topic.partitions.keys().map(|number| TopicPartition::new(TOPIC, *number)).collect());
        }
        ensure!(
            Instant::now() < end,
            "topic {TOPIC} is not in sync within {PATIENCE:?}: {:?}",
            metadata.topics.get(TOPIC)
        );
        tokio::time::sleep(RETRY).await;
    }
}

async fn offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    time: i64,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let end = Instant::now() + PATIENCE;
    let asked = partitions.iter().map(|partition| (partition.clone(), time)).collect();
    loop {
        let listed = list_offsets(admin.cluster(), &asked, false).await?;
        let mut wrong =
            listed.iter().filter_map(|(partition, found)| Some((partition, found.as_ref().err()?)));
        let Some((partition, code)) = wrong.next() else {
            return Ok(listed.into_iter().filter_map(|(at, found)| Some((at, found.ok()?.offset))).collect());
        };
        ensure!(code.is_retriable() && Instant::now() < end, "offsets of {partition}: {}", code.message());
        tokio::time::sleep(RETRY).await;
        admin.metadata(Some(&[TOPIC.into()])).await?;
    }
}

/// Sends messages that no former run has sent, in turn to all partitions.
async fn produce(plan: &Plan) -> Result<Vec<Said>> {
    let mut producing = ProducerOptions::new(&plan.bootstrap(), CLIENT)?;
    producing.client = options(plan, ClientKind::Producer)?;
    let producer = Producer::new(producing);
    let mut deliveries = vec![];
    for n in 0..MESSAGES {
        let value = Bytes::from(format!("message {} of process {}", n + 1, std::process::id()));
        let record = ProducerRecord {
            topic: TOPIC.into(),
            partition: Some((n % plan.brokers.len()) as i32),
            value: Some(value.clone()),
            ..Default::default()
        };
        deliveries.push((producer.send(record).await?, value));
    }
    let mut said = vec![];
    for (delivery, value) in deliveries {
        let at = delivery.wait().await.context("a message was not acknowledged")?;
        said.push(Said { partition: at.partition, offset: at.offset, value });
    }
    Ok(said)
}

/// Reads on until each message was found where its acknowledgement said. Gives how many they were, and how many others
/// came.
async fn consume(plan: &Plan, said: &[Said], from: BTreeMap<TopicPartition, i64>) -> Result<(usize, usize)> {
    let mut options_ =
        ConsumerOptions { reset: OffsetReset::Earliest, ..ConsumerOptions::new(&plan.bootstrap(), CLIENT)? };
    options_.client = options(plan, ClientKind::Consumer)?;
    let mut consumer = Consumer::new(options_);
    consumer.assign(from.keys().cloned());
    for (partition, offset) in &from {
        consumer.seek(partition, *offset);
    }
    let mut wanted: BTreeMap<(TopicPartition, i64), &Bytes> =
        said.iter().map(|said| ((said.partition.clone(), said.offset), &said.value)).collect();
    let (mut old, end) = (0, Instant::now() + PATIENCE);
    while let Some((partition, offset)) = wanted.keys().next().cloned() {
        for record in consumer.poll(Duration::from_millis(500)).await? {
            match wanted.remove(&(record.partition.clone(), record.offset)) {
                Some(value) if record.value.as_ref() == Some(value) => {}
                Some(value) => bail!(
                    "{} at offset {}: {:?} in the place of {value:?}",
                    record.partition,
                    record.offset,
                    record.value
                ),
                None => old += 1,
            }
        }
        ensure!(Instant::now() < end, "{partition} gave nothing at offset {offset} within {PATIENCE:?}");
    }
    consumer.close().await;
    Ok((said.len(), old))
}
