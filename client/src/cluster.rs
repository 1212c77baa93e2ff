//! A cluster as a client sees it: where to start, who leads what, and a connection to each broker.

use crate::connection::{CallError, Connection, ConnectionOptions};
use crate::error::ClientError;
use crate::options::{ClientKind, ClientOptions};
use std::collections::{BTreeMap, HashMap};
use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use wire::Str;
use wire::kafka::find_coordinator::Coordinator;
use wire::kafka::metadata::MetadataRequestTopic;
use wire::kafka::{
    ApiKey, ErrorCode, FindCoordinatorRequest, MetadataRequest, MetadataResponse, Request, Uuid,
};

const NETWORK: &str = "org.apache.kafka.clients.NetworkClient";

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub host: Str,
    pub port: i32,
    pub rack: Option<Str>,
}

impl Node {
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What one Metadata response said.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pub cluster_id: Option<Str>,
    pub controller_id: i32,
    pub brokers: BTreeMap<i32, Node>,
    pub topics: BTreeMap<Str, Topic>,
}

#[derive(Debug, Clone)]
pub struct Topic {
    pub id: Uuid,
    pub error: ErrorCode,
    pub is_internal: bool,
    /// By partition number.
    pub partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub error: ErrorCode,
    /// -1: none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

impl Metadata {
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// The broker that leads a partition now; `None` if that is not known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.partition(topic, partition).map(|partition| partition.leader).filter(|leader| *leader >= 0)
    }

    /// What no retry helps against: names that no topic can have, or topics that are not for this client.
    pub(crate) fn fatal_error(&self) -> Option<ClientError> {
        let with = |code: ErrorCode| {
            let names = self.topics.iter().filter(|(_, topic)| topic.error == code);
            names.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let found = [
            (ErrorCode::INVALID_TOPIC_EXCEPTION, "Invalid topics"),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, "Not authorized to access topics"),
        ];
        found.into_iter().find_map(|(code, what)| {
            let names = with(code);
            (!names.is_empty()).then(|| ClientError::broker(code, &Some(format!("{what}: [{names}]").into())))
        })
    }

    fn from_response(response: MetadataResponse) -> Metadata {
        let brokers = response.brokers.into_iter().map(|broker| {
            let node = Node { id: broker.node_id, host: broker.host, port: broker.port, rack: broker.rack };
            (node.id, node)
        });
        let topics = response.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                let index = partition.partition_index;
                let partition = Partition {
                    error: partition.error_code,
                    leader: partition.leader_id,
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes,
                    isr: partition.isr_nodes,
                    offline: partition.offline_replicas,
                };
                (index, partition)
            });
            let described = Topic {
                id: topic.topic_id,
                error: topic.error_code,
                is_internal: topic.is_internal,
                partitions: partitions.collect(),
            };
            (topic.name.unwrap_or_default(), described)
        });
        Metadata {
            cluster_id: response.cluster_id,
            controller_id: response.controller_id,
            brokers: brokers.collect(),
            topics: topics.collect(),
        }
    }
}

/// A handle; clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    prefix: String,
    metadata: Mutex<Arc<Metadata>>,
    /// By node id; -1, -2, ... are the bootstrap addresses.
    slots: Mutex<HashMap<i32, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Whom a request is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// Any broker that can be reached.
    Any,
    Controller,
    Broker(i32),
    /// The coordinator of this group.
    Group(Str),
    /// The coordinator of this transactional id.
    Transaction(Str),
}

impl Cluster {
    /// Connects to nobody yet.
    pub fn new(options: ClientOptions) -> Cluster {
        let prefix = options.log_prefix();
        Cluster {
            inner: Arc::new(Inner { options, prefix, metadata: Mutex::default(), slots: Mutex::default() }),
        }
    }

    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// What Java puts before this client's log lines.
    pub fn log_prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// The metadata that was fetched last.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.inner.metadata.lock().expect("no panic holds it").clone()
    }

    /// When an operation that starts now has to give up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.inner.options.api_timeout
    }

    /// Fetches metadata of these topics, or of all, and keeps it for [`Cluster::metadata`].
    pub async fn fetch_metadata(
        &self,
        topics: Option<&[Str]>,
        create: bool,
        deadline: Instant,
    ) -> Result<Arc<Metadata>, ClientError> {
        let request = MetadataRequest {
            topics: topics.map(|topics| {
                let named =
                    |name: &Str| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
                topics.iter().map(named).collect()
            }),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        loop {
            let connection = self.any(deadline, "fetchMetadata").await?;
            let reply = connection.start(&request);
            let correlation = reply.as_ref().map_or(0, |reply| reply.correlation_id());
            let response = match reply {
                Ok(reply) => reply.within(self.inner.options.request_timeout).await,
                Err(error) => Err(error),
            };
            match response {
                Ok(response) => {
                    let metadata = Arc::new(Metadata::from_response(response));
                    self.warn_of_topic_errors(&metadata, correlation);
                    self.keep(&metadata, topics);
                    return Ok(metadata);
                }
                Err(error @ CallError::Unsupported { .. }) => return Err(error.into()),
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => self.back_off().await,
            }
        }
    }

    fn keep(&self, fetched: &Arc<Metadata>, asked: Option<&[Str]>) {
        let mut kept = self.inner.metadata.lock().expect("no panic holds it");
        *kept = match asked {
            // Who asked for no topics learns of brokers only.
            Some([]) => Arc::new(Metadata { topics: kept.topics.clone(), ..Metadata::clone(fetched) }),
            _ => fetched.clone(),
        };
    }

    /// Drops what is known of a topic.
    pub(crate) fn forget(&self, topic: &Str) {
        Arc::make_mut(&mut self.inner.metadata.lock().expect("no panic holds it")).topics.remove(topic);
    }

    fn warn_of_topic_errors(&self, metadata: &Metadata, correlation: i32) {
        if self.inner.options.kind == ClientKind::Admin {
            return;
        }
        let errors: Vec<String> = (metadata.topics.iter())
            .filter(|(_, topic)| !topic.error.is_ok())
            .map(|(name, topic)| format!("{name}={}", topic.error.name()))
            .collect();
        if !errors.is_empty() {
            let (prefix, errors) = (&self.inner.prefix, errors.join(", "));
            tracing::warn!(target: NETWORK, "{prefix}Error while fetching metadata with correlation id {correlation} : {{{errors}}}");
            self.tell_fatal_topic_errors(metadata);
        }
    }

    fn tell_fatal_topic_errors(&self, metadata: &Metadata) {
        const METADATA: &str = "org.apache.kafka.clients.Metadata";
        let with = |code: ErrorCode| {
            let names = metadata.topics.iter().filter(|(_, topic)| topic.error == code);
            names.map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ")
        };
        let prefix = &self.inner.prefix;
        let invalid = with(ErrorCode::INVALID_TOPIC_EXCEPTION);
        if !invalid.is_empty() {
            tracing::error!(target: METADATA, "{prefix}Metadata response reported invalid topics [{invalid}]");
        }
        let forbidden = with(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
        if !forbidden.is_empty() {
            tracing::error!(target: METADATA, "{prefix}Topic authorization failed for topics [{forbidden}]");
        }
    }

    pub(crate) async fn back_off(&self) {
        sleep(self.inner.options.retry_backoff).await;
    }

    /// A connection to any broker: one that is open, else the first that can be opened. Keeps trying until `deadline`;
    /// `call` names the operation in the error that then comes.
    pub async fn any(&self, deadline: Instant, call: &str) -> Result<Connection, ClientError> {
        let metadata = self.metadata();
        let mut ids: Vec<i32> = metadata.brokers.keys().copied().collect();
        // Bootstrap addresses come last: by then all known brokers may have moved.
        let bootstrap = (1..=self.inner.options.bootstrap.len() as i32).map(|n| -n);
        let start = rand::random_range(0..ids.len().max(1));
        if !ids.is_empty() {
            ids.rotate_left(start);
        }
        ids.extend(bootstrap);
        loop {
            for id in &ids {
                if let Some(connection) = self.open(*id).await {
                    return Ok(connection);
                }
            }
            for id in &ids {
                match tokio::time::timeout_at(deadline, self.connect(*id)).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error @ ClientError::Call(CallError::Authentication { .. }))) => {
                        return Err(error);
                    }
                    Ok(Err(ClientError::Call(_))) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {
                        let why = format!("Timed out waiting for a node assignment. Call: {call}");
                        return Err(ClientError::TimedOut(why));
                    }
                }
            }
        }
    }

    /// The connection to a broker, if it is open.
    pub(crate) async fn open(&self, id: i32) -> Option<Connection> {
        let slot = self.slot(id);
        let slot = slot.lock().await;
        slot.connection.clone().filter(|connection| !connection.is_closed())
    }

    fn slot(&self, id: i32) -> Arc<tokio::sync::Mutex<Slot>> {
        self.inner.slots.lock().expect("no panic holds it").entry(id).or_default().clone()
    }

    /// The connection to a broker; opened if need be, after the back-off that earlier failures ask for.
    pub async fn connect(&self, id: i32) -> Result<Connection, ClientError> {
        let address = match id {
            ..0 => self.inner.options.bootstrap.get((-id - 1) as usize).cloned(),
            _ => self.metadata().brokers.get(&id).map(Node::address),
        };
        let address = address.ok_or(ClientError::from(ErrorCode::BROKER_NOT_AVAILABLE))?;
        let slot = self.slot(id);
        let mut slot = slot.lock().await;
        if let Some(connection) = &slot.connection {
            if !connection.is_closed() && connection.peer() == address {
                return Ok(connection.clone());
            }
            slot.connection = None;
        }
        if let Some(not_before) = slot.not_before {
            sleep_until(not_before).await;
        }
        let options = &self.inner.options;
        let connecting = Connection::connect(
            &address,
            ConnectionOptions {
                client_id: options.client_id.clone(),
                setup_timeout: options.setup_timeout,
                request_timeout: options.request_timeout,
                security: options.security.clone(),
                ..ConnectionOptions::default()
            },
        );
        match connecting.await {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), ..Slot::default() };
                Ok(connection)
            }
            Err(error) => {
                slot.not_before = Some(Instant::now() + self.reconnect_backoff(slot.failures));
                slot.failures += 1;
                self.warn_of_failure(id, &address, &error);
                Err(error.into())
            }
        }
    }

    /// Doubles from the first to the largest, a fifth more or less.
    fn reconnect_backoff(&self, failures: u32) -> Duration {
        let (first, max) = self.inner.options.reconnect_backoff;
        let backoff = first.saturating_mul(1 << failures.min(16)).min(max);
        backoff.mul_f64(rand::random_range(0.8..1.2))
    }

    fn warn_of_failure(&self, id: i32, address: &str, error: &CallError) {
        let prefix = &self.inner.prefix;
        let shown = shown_address(address);
        if let CallError::Authentication { why, .. } = error {
            tracing::error!(
                target: NETWORK,
                "{prefix}Connection to node {id} ({shown}) failed authentication due to: {why}"
            );
            return;
        }
        tracing::warn!(
            target: NETWORK,
            "{prefix}Connection to node {id} ({shown}) could not be established. Broker may not be available."
        );
        if id < 0 && self.inner.options.kind != ClientKind::Admin {
            tracing::warn!(target: NETWORK, "{prefix}Bootstrap broker {address} (id: {id} rack: null) disconnected");
        }
    }

    /// Finds the broker that `target` means.
    pub async fn find(
        &self,
        target: &Target,
        deadline: Instant,
        call: &str,
    ) -> Result<Connection, ClientError> {
        match target {
            Target::Any => self.any(deadline, call).await,
            Target::Broker(id) => {
                if !self.metadata().brokers.contains_key(id) {
                    self.fetch_metadata(Some(&[]), false, deadline).await?;
                }
                self.connect(*id).await
            }
            Target::Controller => {
                let metadata =
                    self.fetch_metadata(Some(&[]), false, deadline).await.map_err(|e| renamed(e, call))?;
                match metadata.controller_id {
                    ..0 => Err(ErrorCode::NOT_CONTROLLER.into()),
                    id => self.connect(id).await,
                }
            }
            Target::Group(key) => {
                self.find_coordinator(key, 0, deadline, &format!("{call}(api=FIND_COORDINATOR)")).await
            }
            Target::Transaction(key) => {
                self.find_coordinator(key, 1, deadline, &format!("{call}(api=FIND_COORDINATOR)")).await
            }
        }
    }

    async fn find_coordinator(
        &self,
        key: &Str,
        key_type: i8,
        deadline: Instant,
        call: &str,
    ) -> Result<Connection, ClientError> {
        let request =
            FindCoordinatorRequest { key: key.clone(), key_type, coordinator_keys: vec![key.clone()] };
        let connection = self.any(deadline, call).await?;
        let response = connection.call(&request).await?;
        // From version 4 on, coordinators come as a list.
        let found = response.coordinators.into_iter().next().unwrap_or(Coordinator {
            key: key.clone(),
            node_id: response.node_id,
            host: response.host,
            port: response.port,
            error_code: response.error_code,
            error_message: response.error_message,
        });
        ClientError::check(found.error_code, &found.error_message)?;
        let node = Node { id: found.node_id, host: found.host, port: found.port, rack: None };
        self.know(node);
        self.connect(found.node_id).await
    }

    /// Adds a broker that no metadata has named yet.
    fn know(&self, node: Node) {
        let mut metadata = self.inner.metadata.lock().expect("no panic holds it");
        if metadata.brokers.get(&node.id).is_none_or(|known| known.address() != node.address()) {
            Arc::make_mut(&mut metadata).brokers.insert(node.id, node);
        }
    }

    /// Calls `target`, and calls again after errors that may pass, until the operation's time is up. `error` finds the
    /// error in a response that asks for that, such as NOT_CONTROLLER.
    pub async fn call<R: Request>(
        &self,
        target: &Target,
        request: &R,
        error: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let (deadline, name) = (self.deadline(), call_name(R::KEY));
        loop {
            let attempt = async { Ok(self.find(target, deadline, &name).await?.call(request).await?) };
            let (response, failure): (_, ClientError) = match attempt.await {
                Err(failure) => (None, failure),
                Ok(response) => match error(&response) {
                    code if code.is_retriable() => (Some(response), code.into()),
                    _ => return Ok(response),
                },
            };
            if !failure.is_retriable() {
                return Err(failure);
            }
            if Instant::now() + self.inner.options.retry_backoff >= deadline {
                // The last response says more than that time is up.
                return response.ok_or(failure);
            }
            self.back_off().await;
        }
    }
}

/// A time-out under the name of the operation that it ended.
pub(crate) fn renamed(error: ClientError, call: &str) -> ClientError {
    match error {
        ClientError::TimedOut(_) => {
            ClientError::TimedOut(format!("Timed out waiting for a node assignment. Call: {call}"))
        }
        other => other,
    }
}

/// `createTopics` for CreateTopics: what Java's admin client calls the call.
fn call_name(key: ApiKey) -> String {
    let name = match key {
        ApiKey::Metadata => "listTopics",
        ApiKey::DeleteGroups => "deleteConsumerGroups",
        ApiKey::ListGroups => "listConsumerGroups",
        other => other.api().name,
    };
    name[..1].to_ascii_lowercase() + &name[1..]
}

/// `localhost/127.0.0.1:9092`, and `/127.0.0.1:9092` for a literal address, as Java shows one.
fn shown_address(address: &str) -> String {
    let Some((host, port)) = address.rsplit_once(':') else { return address.to_owned() };
    let resolved = address.to_socket_addrs().ok().and_then(|mut all| all.next());
    match resolved {
        Some(resolved) if resolved.ip().to_string() == host.trim_matches(['[', ']']) => {
            format!("/{host}:{port}")
        }
        Some(resolved) => format!("{host}/{resolved}"),
        None => format!("{host}/<unresolved>:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_java_shows_them() {
        assert_eq!(shown_address("127.0.0.1:9092"), "/127.0.0.1:9092");
        assert_eq!(shown_address("no.such.host.invalid:1"), "no.such.host.invalid/<unresolved>:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_cannot_be_reached_is_given_up_with_the_calls_name() {
        // A port that was just bound and closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = ClientOptions::new(ClientKind::Admin, &format!("127.0.0.1:{port}"), "x").unwrap();
        let error = Cluster::new(options)
            .call(&Target::Any, &MetadataRequest::default(), |_| ErrorCode::NONE)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "Timed out waiting for a node assignment. Call: listTopics");
    }
}
