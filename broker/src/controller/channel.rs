//! The controller's channel to one broker: requests in order, one at a time, each repeated until it is answered or the
//! broker's registration is gone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use broker_core::MetadataVersion;
use broker_core::controller::Event;
use client::{CallError, Connection, ConnectionOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::Str;
use wire::kafka::leader_and_isr::LeaderAndIsrTopicState;
use wire::kafka::update_metadata::SharedUpdateMetadata;
use wire::kafka::{
    ApiKey, ErrorCode, LeaderAndIsrRequest, Message, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest,
};

use super::active::Observed;

/// Pause before a broker that could not be reached is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// An UpdateMetadata for several brokers: whoever needs a version of it first encodes it for all.
pub struct News {
    request: Arc<UpdateMetadataRequest>,
    /// By version.
    encoded: [OnceLock<SharedUpdateMetadata>; 9],
}

impl News {
    pub fn new(request: Arc<UpdateMetadataRequest>) -> Arc<News> {
        Arc::new(News { request, encoded: Default::default() })
    }

    /// Whether it is this very request.
    pub fn is_of(&self, request: &Arc<UpdateMetadataRequest>) -> bool {
        Arc::ptr_eq(&self.request, request)
    }

    fn encoded(&self, version: i16) -> Option<&SharedUpdateMetadata> {
        let place = self.encoded.get(usize::try_from(version).ok()?)?;
        Some(place.get_or_init(|| SharedUpdateMetadata::new(&self.request, version)))
    }
}

/// What a broker is sent.
pub enum Order {
    LeaderAndIsr(LeaderAndIsrRequest),
    StopReplica(StopReplicaRequest),
    UpdateMetadata(Arc<News>),
}

/// One registration of one broker. Dropping it ends it, whatever is still queued.
pub struct Channel {
    requests: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a broker is to be found.
#[derive(Debug, Clone)]
pub struct Target {
    pub broker: i32,
    /// Of its registration.
    pub broker_epoch: i64,
    pub address: String,
    pub security: client::Security,
    pub timeout: Duration,
    /// This broker's own id, by which the other end logs it.
    pub controller: i32,
    /// `inter.broker.protocol.version`: no request is newer.
    pub protocol: MetadataVersion,
}

impl Channel {
    pub fn open(target: Target, observed: mpsc::UnboundedSender<Observed>) -> Channel {
        let (requests, queue) = mpsc::unbounded_channel();
        Channel { requests, task: tokio::spawn(run(target, queue, observed)) }
    }

    pub fn send(&self, order: Order) {
        // The task ends only with this handle, so the queue is open.
        let _ = self.requests.send(order);
    }
}

async fn run(
    target: Target,
    mut queue: mpsc::UnboundedReceiver<Order>,
    observed: mpsc::UnboundedSender<Observed>,
) {
    let mut connection = None;
    while let Some(order) = queue.recv().await {
        let event = loop {
            match exchange(&target, &mut connection, &order).await {
                Ok(event) => break event,
                Err(error) => {
                    tracing::warn!(
                        "[Controller id={}, targetBrokerId={}] Connection to node {} ({}) could not be used: {error}",
                        target.controller,
                        target.broker,
                        target.broker,
                        target.address
                    );
                    connection = None;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        if let Some(event) = event
            && observed.send(Observed::Answer(event)).is_err()
        {
            return;
        }
    }
}

async fn exchange(
    target: &Target,
    connection: &mut Option<Connection>,
    order: &Order,
) -> Result<Option<Event>, CallError> {
    let open = match connection {
        Some(open) if !open.is_closed() => open,
        _ => {
            let options = ConnectionOptions {
                client_id: Str::from(target.controller.to_string()),
                setup_timeout: target.timeout,
                request_timeout: target.timeout,
                security: target.security.clone(),
                ..ConnectionOptions::default()
            };
            connection.insert(Connection::connect(&target.address, options).await?)
        }
    };
    let broker = target.broker;
    match order {
        Order::UpdateMetadata(news) => {
            let version = highest(open, ApiKey::UpdateMetadata, target.protocol.update_metadata());
            let encoded = version.and_then(|version| news.encoded(version).map(|body| (version, body)));
            let response = match encoded {
                Some((version, body)) => {
                    let (head, rest) = body.for_broker(target.broker_epoch);
                    let reply = open.start_encoded::<UpdateMetadataRequest>(version, &head, rest)?;
                    reply.within(target.timeout).await?
                }
                // The error says that the broker does not know the API.
                None => open.call(&*news.request).await?,
            };
            log_refusal(broker, "UpdateMetadata", response.error_code);
            Ok(None)
        }
        Order::LeaderAndIsr(request) => {
            // Encoded here, at its size: that of a broker's first one can be megabytes.
            let response = match highest(open, ApiKey::LeaderAndIsr, target.protocol.leader_and_isr()) {
                Some(version) => {
                    let size = leader_and_isr_bytes(request);
                    let body = request.in_version(version).encode_sized(version, size);
                    let reply = open.start_encoded::<LeaderAndIsrRequest>(version, &[], body)?;
                    reply.within(target.timeout).await?
                }
                None => open.call(request).await?,
            };
            log_refusal(broker, "LeaderAndIsr", response.error_code);
            Ok(Some(Event::LeaderAndIsrAnswered { broker, response }))
        }
        Order::StopReplica(request) => {
            let response = stop_replicas(open, request, target.protocol.stop_replica()).await?;
            log_refusal(broker, "StopReplica", response.error_code);
            Ok(Some(Event::StopReplicaAnswered { broker, request: request.clone(), response }))
        }
    }
}

/// The highest version that both ends know, and that brokers speak among themselves.
fn highest(connection: &Connection, api: ApiKey, spoken: i16) -> Option<i16> {
    connection.versions_of(api).map(|(_, known)| known.min(spoken))
}

/// One answer, also where an old version takes two requests.
async fn stop_replicas(
    connection: &Connection,
    request: &StopReplicaRequest,
    spoken: i16,
) -> Result<StopReplicaResponse, CallError> {
    let version = highest(connection, ApiKey::StopReplica, spoken).unwrap_or(spoken);
    let mut all = StopReplicaResponse::default();
    for one in request.in_version(version) {
        let response = connection.call_up_to(&one, version).await?;
        if !response.error_code.is_ok() {
            return Ok(response);
        }
        all.partition_errors.extend(response.partition_errors);
    }
    Ok(all)
}

/// About the bytes of the request.
fn leader_and_isr_bytes(request: &LeaderAndIsrRequest) -> usize {
    let topic = |topic: &LeaderAndIsrTopicState| 48 + topic.partition_states.len() * 64;
    512 + request.topic_states.iter().map(topic).sum::<usize>()
}

fn log_refusal(broker: i32, api: &str, error: ErrorCode) {
    if error != ErrorCode::NONE {
        tracing::warn!("Broker {broker} refused {api}: {}", error.name());
    }
}
