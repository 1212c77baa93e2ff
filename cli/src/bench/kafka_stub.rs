//! Brokers of metadata alone: registered in ZooKeeper, told by the controller over our codecs what any broker is told,
//! and without a single log. They are the crowd of a cluster that is too large for one machine.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, BytesMut};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wire::jute::Reader;
use wire::kafka::api_versions::ApiVersion;
use wire::kafka::leader_and_isr::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use wire::kafka::stop_replica::StopReplicaPartitionError;
use wire::kafka::{
    APIS, ApiKey, ApiVersionsResponse, LeaderAndIsrRequest, LeaderAndIsrResponse, Message, RequestHeader,
    ResponseHeader, StopReplicaRequest, StopReplicaResponse, UpdateMetadataRequest, UpdateMetadataResponse,
};
use zookeeper_client::{Acls, Client, CreateMode};

/// How many partitions a stub has been told a live leader for, and when it last heard of one.
#[derive(Debug)]
pub struct Told {
    led: Vec<bool>,
    pub count: usize,
    pub last: Instant,
    /// Bytes of all UpdateMetadata.
    pub bytes: usize,
}

/// One broker; its registration goes with it.
pub struct Stub {
    pub id: i32,
    told: Arc<Mutex<Told>>,
    serving: JoinHandle<()>,
    session: Option<Client>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What partitions there are, by number.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub partitions: usize,
    pub per_topic: usize,
}

impl Layout {
    pub fn topics(&self) -> usize {
        self.partitions.div_ceil(self.per_topic)
    }

    pub fn topic(&self, n: usize) -> String {
        format!("failover-{n:06}")
    }

    /// The partition's number among all; `None` for another bench's, or an internal one.
    fn number(&self, topic: &str, partition: i32) -> Option<usize> {
        let topic: usize = topic.strip_prefix("failover-")?.parse().ok()?;
        let number = topic * self.per_topic + usize::try_from(partition).ok()?;
        (number < self.partitions).then_some(number)
    }
}

impl Stub {
    /// Listens and registers.
    pub async fn start(id: i32, port: u16, zookeeper: &str, layout: Layout) -> Result<Stub> {
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("port {port}"))?;
        let told = Told { led: vec![false; layout.partitions], count: 0, last: Instant::now(), bytes: 0 };
        let told = Arc::new(Mutex::new(told));
        let serving = tokio::spawn(accept(listener, told.clone(), layout));
        let session =
            Client::connector().with_session_timeout(Duration::from_secs(30)).connect(zookeeper).await?;
        let node = format!(
            "{{\"listener_security_protocol_map\":{{\"PLAINTEXT\":\"PLAINTEXT\"}},\
             \"endpoints\":[\"PLAINTEXT://127.0.0.1:{port}\"],\"jmx_port\":-1,\"features\":{{}},\
             \"host\":\"127.0.0.1\",\"timestamp\":\"1\",\"port\":{port},\"version\":5}}"
        );
        let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        session.create(&format!("/brokers/ids/{id}"), node.as_bytes(), &ephemeral).await?;
        Ok(Stub { id, told, serving, session: Some(session) })
    }

    /// Ends the session: ZooKeeper takes the registration away at once.
    pub fn die(&mut self) {
        self.session = None;
    }

    /// Forgets what it was told, to see what it is told from here on.
    pub fn forget(&self) {
        let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        told.led.fill(false);
        (told.count, told.bytes) = (0, 0);
    }

    /// Partitions that it has been told a live leader for, when it last was, and the bytes of that.
    pub fn told(&self) -> (usize, Instant, usize) {
        let told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (told.count, told.last, told.bytes)
    }
}

async fn accept(listener: TcpListener, told: Arc<Mutex<Told>>, layout: Layout) {
    while let Ok((stream, _)) = listener.accept().await {
        let told = told.clone();
        tokio::spawn(async move {
            // A controller that goes away is what is measured.
            let _ = serve(stream, told, layout).await;
        });
    }
}

async fn serve(mut stream: TcpStream, told: Arc<Mutex<Told>>, layout: Layout) -> Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = stream.read_i32().await? as usize;
        ensure!(length < 256 << 20, "a frame of {length} bytes");
        let mut frame = BytesMut::with_capacity(length);
        while frame.len() < length {
            let mut limited = (&mut stream).take((length - frame.len()) as u64);
            ensure!(limited.read_buf(&mut frame).await? > 0, "the end inside a frame");
        }
        let mut from = Reader::new(frame.freeze());
        let header = RequestHeader::read(&mut from)?;
        let api = header.api().context("an unknown API")?;
        let version = header.request_api_version;
        let mut to = BytesMut::new();
        to.put_i32(0);
        let answer = ResponseHeader { correlation_id: header.correlation_id };
        answer.write(&mut to, api.response_header_version(version));
        match api.key {
            ApiKey::ApiVersions => api_versions().write(&mut to, version.min(3)),
            ApiKey::UpdateMetadata => {
                take_in(&UpdateMetadataRequest::read(&mut from, version)?, length, &told, layout);
                UpdateMetadataResponse::default().write(&mut to, version);
            }
            ApiKey::LeaderAndIsr => {
                let request = LeaderAndIsrRequest::read(&mut from, version)?;
                leader_and_isr(&request).write(&mut to, version);
            }
            ApiKey::StopReplica => {
                let request = StopReplicaRequest::read(&mut from, version)?;
                stop_replica(&request).write(&mut to, version);
            }
            _ => anyhow::bail!("{} is not for a broker of metadata alone", api.name),
        }
        let length = (to.len() - 4) as i32;
        to[..4].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&to).await?;
    }
}

fn api_versions() -> ApiVersionsResponse {
    let keys = [ApiKey::LeaderAndIsr, ApiKey::StopReplica, ApiKey::UpdateMetadata, ApiKey::ApiVersions];
    let api_keys = APIS.iter().filter(|api| keys.contains(&api.key)).map(|api| ApiVersion {
        api_key: api.key as i16,
        min_version: api.versions.0,
        max_version: api.versions.1,
    });
    ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() }
}

fn take_in(request: &UpdateMetadataRequest, bytes: usize, told: &Mutex<Told>, layout: Layout) {
    let mut told = told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    told.bytes += bytes;
    let mut any = false;
    for topic in &request.topic_states {
        for partition in &topic.partition_states {
            let Some(number) = layout.number(&topic.topic_name, partition.partition_index) else { continue };
            let led = request.live_brokers.iter().any(|broker| broker.id == partition.leader);
            any = true;
            if led != std::mem::replace(&mut told.led[number], led) {
                told.count = if led { told.count + 1 } else { told.count - 1 };
            }
        }
    }
    if any {
        told.last = Instant::now();
    }
}

fn leader_and_isr(request: &LeaderAndIsrRequest) -> LeaderAndIsrResponse {
    let error = |partition_index| LeaderAndIsrPartitionError { partition_index, ..Default::default() };
    let topics = request.topic_states.iter().map(|topic| LeaderAndIsrTopicError {
        topic_id: topic.topic_id,
        partition_errors: topic.partition_states.iter().map(|state| error(state.partition_index)).collect(),
    });
    LeaderAndIsrResponse { topics: topics.collect(), ..Default::default() }
}

fn stop_replica(request: &StopReplicaRequest) -> StopReplicaResponse {
    let partition_errors = request.topic_states.iter().flat_map(|topic| {
        topic.partition_states.iter().map(|state| StopReplicaPartitionError {
            topic_name: topic.topic_name.clone(),
            partition_index: state.partition_index,
            ..Default::default()
        })
    });
    StopReplicaResponse { partition_errors: partition_errors.collect(), ..Default::default() }
}
