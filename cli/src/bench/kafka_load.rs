//! A Kafka load: produce requests with ready-made batches, and fetches of everything, straight over `wire::kafka`.

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Str;
use wire::batch::{BatchBuilder, Header};
use wire::jute::Reader;
use wire::kafka::create_topics::CreatableTopic;
use wire::kafka::fetch::{FetchPartition, FetchTopic};
use wire::kafka::metadata::MetadataRequestTopic;
use wire::kafka::produce::{PartitionProduceData, TopicProduceData};
use wire::kafka::{
    CreateTopicsRequest, FetchRequest, Message, MetadataRequest, MetadataResponse, ProduceRequest, Request,
    RequestHeader, ResponseHeader,
};

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const METADATA: i16 = 9;
const CREATE_TOPICS: i16 = 5;
/// Produce requests that a connection has under way, as Java's producer does by default.
const IN_FLIGHT: usize = 5;

/// One topic under load.
#[derive(Debug, Clone)]
pub struct Load {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    /// Bytes of a record's value.
    pub size: usize,
    /// Bytes of records in a batch, about.
    pub batch_bytes: usize,
    pub run_time: Duration,
}

/// Records that went one way, and how long it took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    pub records: u64,
    pub seconds: f64,
}

impl Outcome {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

/// Creates the topic with three replicas and waits until each partition has a leader and a full ISR.
pub async fn create(load: &Load) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut link = Link::open(&load.bootstrap).await?;
        let metadata = metadata(&mut link, load).await?;
        let partitions = metadata.topics.first().map_or(&[][..], |topic| &topic.partitions);
        if partitions.len() == load.partitions as usize
            && partitions.iter().all(|p| p.leader_id >= 0 && p.isr_nodes.len() == 3)
        {
            return Ok(());
        }
        ensure!(Instant::now() < end, "topic {} has no full ISR: {metadata:?}", load.topic);
        if partitions.is_empty()
            && let Some(controller) = metadata.brokers.iter().find(|b| b.node_id == metadata.controller_id)
        {
            let topic = CreatableTopic {
                name: load.topic.as_str().into(),
                num_partitions: load.partitions,
                replication_factor: 3,
                ..Default::default()
            };
            let mut link = Link::open(&format!("{}:{}", controller.host, controller.port)).await?;
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
            link.call(&request, CREATE_TOPICS).await?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Produces to all partitions with acks=all, one connection for each, for the load's time.
pub async fn produce(load: &Load) -> Result<Outcome> {
    let begin = Instant::now();
    let end = begin + load.run_time;
    let batch = batch(load)?;
    let tasks: Vec<_> = leaders(load)
        .await?
        .into_iter()
        .map(|(partition, address)| {
            tokio::spawn(produce_one(load.clone(), partition, address, batch.clone(), end))
        })
        .collect();
    total(tasks, begin).await
}

/// Reads all partitions from their start to their high watermark, again and again for the load's time, one connection for
/// each.
pub async fn consume(load: &Load) -> Result<Outcome> {
    let begin = Instant::now();
    let end = begin + load.run_time;
    let tasks: Vec<_> = leaders(load)
        .await?
        .into_iter()
        .map(|(partition, address)| tokio::spawn(consume_one(load.clone(), partition, address, end)))
        .collect();
    total(tasks, begin).await
}

async fn total(tasks: Vec<tokio::task::JoinHandle<Result<u64>>>, begin: Instant) -> Result<Outcome> {
    let mut records = 0;
    for task in tasks {
        records += task.await??;
    }
    Ok(Outcome { records, seconds: begin.elapsed().as_secs_f64() })
}

fn batch(load: &Load) -> Result<Bytes> {
    let mut builder = BatchBuilder::new();
    let value = vec![b'x'; load.size];
    let count = (load.batch_bytes / load.size).max(1);
    // Old records would be deleted while they are measured.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    for _ in 0..count {
        builder.push(now, None, Some(&value), &[]);
    }
    Ok(builder.finish()?)
}

async fn produce_one(load: Load, partition: i32, address: String, batch: Bytes, end: Instant) -> Result<u64> {
    let mut link = Link::open(&address).await?;
    let per_batch = Header::read(&batch)?.record_count as u64;
    let data = PartitionProduceData { index: partition, records: Some(batch) };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData { name: load.topic.as_str().into(), partition_data: vec![data] }],
        ..Default::default()
    };
    let frame = link.frame(&request, PRODUCE);
    let (mut under_way, mut records) = (0, 0);
    loop {
        while under_way < IN_FLIGHT && Instant::now() < end {
            link.stream.write_all(&frame).await?;
            under_way += 1;
        }
        if under_way == 0 {
            return Ok(records);
        }
        let response = link.receive::<ProduceRequest>(PRODUCE).await?;
        under_way -= 1;
        for answer in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            ensure!(answer.error_code.is_ok(), "partition {partition}: {}", answer.error_code.name());
            records += per_batch;
        }
    }
}

async fn consume_one(load: Load, partition: i32, address: String, end: Instant) -> Result<u64> {
    let mut link = Link::open(&address).await?;
    let (mut offset, mut records) = (0, 0);
    loop {
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 50 << 20,
            topics: vec![FetchTopic {
                topic: load.topic.as_str().into(),
                partitions: vec![FetchPartition {
                    partition,
                    fetch_offset: offset,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = link.call(&request, FETCH).await?;
        let Some(data) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
            bail!("partition {partition}: an empty answer, {}", response.error_code.name());
        };
        ensure!(data.error_code.is_ok(), "partition {partition}: {}", data.error_code.name());
        let mut bytes = data.records.clone().unwrap_or_default();
        // A whole batch at a time; the header alone tells how many records it holds.
        while let Some(size) = Header::size_of_next(&bytes)?.filter(|size| *size <= bytes.len()) {
            let header = Header::read(&bytes)?;
            records += header.record_count as u64;
            offset = header.next_offset();
            bytes = bytes.slice(size..);
        }
        if Instant::now() > end {
            return Ok(records);
        }
        if offset >= data.high_watermark {
            offset = 0;
        }
    }
}

async fn metadata(link: &mut Link, load: &Load) -> Result<MetadataResponse> {
    let topic = MetadataRequestTopic { name: Some(load.topic.as_str().into()), ..Default::default() };
    let request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
    link.call(&request, METADATA).await
}

/// Partition -> `host:port` of its leader.
async fn leaders(load: &Load) -> Result<BTreeMap<i32, String>> {
    let metadata = metadata(&mut Link::open(&load.bootstrap).await?, load).await?;
    let topic = metadata.topics.first().context("the topic is gone")?;
    let address =
        |id| metadata.brokers.iter().find(|b| b.node_id == id).map(|b| format!("{}:{}", b.host, b.port));
    topic
        .partitions
        .iter()
        .map(|p| Ok((p.partition_index, address(p.leader_id).context("a partition without a leader")?)))
        .collect()
}

/// One connection, requests answered in their order.
pub(super) struct Link {
    stream: TcpStream,
    input: BytesMut,
}

impl Link {
    pub(super) async fn open(address: &str) -> Result<Link> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Link { stream, input: BytesMut::with_capacity(1 << 16) })
    }

    fn frame<R: Request>(&self, request: &R, version: i16) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let header = RequestHeader {
            request_api_key: R::KEY as i16,
            request_api_version: version,
            correlation_id: 1,
            client_id: Some(Str::from_static("bench")),
        };
        header.write(&mut frame);
        request.write(&mut frame, version);
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame.freeze()
    }

    pub(super) async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let frame = self.frame(request, version);
        self.stream.write_all(&frame).await?;
        self.receive::<R>(version).await
    }

    async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        loop {
            if let Some(length) = self.input.first_chunk().map(|l| i32::from_be_bytes(*l) as usize)
                && self.input.len() >= 4 + length
            {
                let frame = self.input.split_to(4 + length).freeze().slice(4..);
                let mut from = Reader::new(frame);
                ResponseHeader::read(&mut from, R::KEY.api().response_header_version(version))?;
                return Ok(R::Response::read(&mut from, version)?);
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the broker closed the connection");
        }
    }
}
