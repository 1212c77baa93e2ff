//! Starting and stopping one broker, in Kafka's order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zookeeper_client::SessionState;

use client::Protocol;
use client::security::SecurityError;
use wire::Str;
use wire::batch::BatchError;
use wire::batch::message_set::Entry;
use wire::kafka::ControlledShutdownRequest;

use crate::acl_session::{self, Elsewhere};
use crate::alter;
use crate::api::Answerer;
use crate::broker::{Broker, Secured};
use crate::config::{BrokerConfig, Dynamic, Endpoint, Remark, is_authorizers, remarks};
use crate::controller::{self, ControllerHandle};
use crate::dynamic::{self, Doors, Opened};
use crate::features;
use crate::fetcher::Fetchers;
use crate::log::LogError;
use crate::markers::MarkerSender;
use crate::metrics;
use crate::mover::Movers;
use crate::net::{self, Door, Limits, RequestMemory};
use crate::passwords::{self, PasswordEncoder, PasswordError};
use crate::peers::ControllerLink;
use crate::security::{self, ListenerSecurity, Logins, Users};
use crate::shard::{self, Event, Notice, wall_clock};
use crate::store::Store;
use crate::tokens::sweep_while_governing;
use crate::topics::{GROUP_TOPIC, TRANSACTION_TOPIC};
use crate::zk::{self, ConfigEntity, JvmFlags, Registration, Zk, ZkError, ZkSecurity, ZkSecurityError};

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("Socket server failed to bind to {address}: {source}")]
    Bind { address: String, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("this broker's id is unknown: {0}")]
    Id(String),
    #[error("{0}")]
    Security(#[from] client::security::SecurityError),
    #[error("{key}: {source}")]
    Password { key: &'static str, source: PasswordError },
}

/// A broker that runs.
pub struct Running {
    broker: Arc<Broker>,
    addresses: Vec<(String, SocketAddr)>,
    stop_serving: watch::Sender<bool>,
    serving: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    shard: std::thread::JoinHandle<()>,
    /// Turns true when the broker cannot go on.
    halted: watch::Receiver<Option<String>>,
}

/// Runs a broker until `shutdown` completes, then stops it in good order.
pub async fn run(config: BrokerConfig, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let running = start(config).await?;
    tokio::select! {
        () = shutdown => running.stop().await,
        reason = running.halted() => {
            tracing::error!("Halting: {reason}");
            running.stop().await;
        }
    }
    Ok(())
}

/// Starts a broker; it answers when this returns.
pub async fn start(config: BrokerConfig) -> Result<Running, StartError> {
    tracing::info!("starting (kafka.server.KafkaServer)");
    let meant_for_the_authorizer = |key: &&String| config.authorizer.is_some() && is_authorizers(key);
    for key in config.unknown.iter().filter(|key| !meant_for_the_authorizer(key)) {
        tracing::warn!("The configuration '{key}' was supplied but isn't a known config.");
    }
    for remark in remarks(config.given().keys()) {
        match remark {
            Remark::Warning(text) => tracing::warn!("{text}"),
            Remark::Note(text) => tracing::info!("{text}"),
        }
    }
    let passwords = encoder(&config, passwords::SECRET)?;
    let old_passwords = encoder(&config, passwords::OLD_SECRET)?;
    let zk = connect(&config).await?;
    zk.make_base_nodes().await?;
    let cluster_id = zk.cluster_id().await?;
    tracing::info!("Cluster ID = {cluster_id}");

    let mut store = Store::open(&config.log_dirs)?;
    let id = broker_id(&config, &store, &zk, &cluster_id).await?;
    store.sign(id, &cluster_id, wall_clock())?;
    let memory_kept = store.was_clean() || zk::former::same_boot(&config.log_dirs[0]);
    end_former_life(&config, &zk, id).await?;
    if let (Some(old), Some(new)) = (&old_passwords, &passwords) {
        dynamic::reencode(&zk, id, old, new).await?;
    }
    let current = current(&config, &dynamic::read(&zk, id, passwords.as_ref()).await?);
    // Every mistake in stores and logins shows before anybody hears of this broker.
    let (secured, mut asked) = secure(&current, passwords)?;
    prepare(&secured, &asked).await?;
    let (shard, inbox) = shard::inbox();
    let mut bound = Vec::new();
    for endpoint in &current.listeners.bound {
        bound.push((endpoint.listener.clone(), bind(&current, endpoint).await?));
    }
    let measured = match current.given().get(metrics::ADDRESS) {
        None => None,
        Some(address) => Some(
            metrics::endpoint::bind(address)
                .await
                .map_err(|source| StartError::Bind { address: address.clone(), source })?,
        ),
    };
    let addresses: Vec<(String, SocketAddr)> = bound
        .iter()
        .filter_map(|(name, listener)| Some((name.clone(), listener.local_addr().ok()?)))
        .collect();

    let group_partitions =
        partition_count(&zk, GROUP_TOPIC, config.int("offsets.topic.num.partitions")).await?;
    let transaction_partitions =
        partition_count(&zk, TRANSACTION_TOPIC, config.int("transaction.state.log.num.partitions")).await?;
    let coordinated = (group_partitions, transaction_partitions);
    let broker = Arc::new(Broker::new(config, id, &cluster_id, zk.clone(), shard, coordinated, secured));
    let seen_change = zk.newest_change().await?;
    let elsewhere = Elsewhere::of(&broker.config, &JvmFlags::of_environment()).map_err(ZkError::from)?;
    if let Some(authorizer) = &broker.authorizer {
        match &elsewhere {
            Some(elsewhere) => authorizer.set_session(elsewhere.open().await?),
            None => zk.make_acl_nodes().await?,
        }
        authorizer.load(&authorizer.session(zk.clone())).await?;
    }
    if let Some(tokens) = &broker.tokens {
        zk.make_token_nodes().await?;
        tokens.load(&zk).await?;
    }
    broker.reload_dynamic().await?;
    broker.load_quotas().await?;
    let topics: Vec<Str> = zk.topics().await?.iter().map(|topic| Str::from(topic.as_str())).collect();
    broker.load_topic_overrides(&topics).await?;
    let loading = broker.clone();
    let loaded = tokio::task::spawn_blocking(move || {
        let threads = crate::store::threads(&loading.config);
        store.load(&|topic| loading.topic_config(topic).log.clone(), threads, wall_clock()).map(|()| store)
    });
    let store = loaded.await.map_err(|error| StartError::Thread(std::io::Error::other(error)))??;

    let (notices, noticed) = mpsc::unbounded_channel();
    let shard = shard::start(broker.clone(), store, inbox, notices).map_err(StartError::Thread)?;
    let (halt, halted) = watch::channel(None);
    let real_port = |name: &str| addresses.iter().find(|(known, _)| known == name).map(|(_, at)| at.port());
    let registration = Doors::register(id, &broker.current(), real_port);
    if !memory_kept {
        controller::missed::wait(&zk, id, broker.config.millis("zookeeper.session.timeout.ms") * 2).await?;
    }
    let advertised = &broker.current().listeners.advertised;
    let own: Vec<String> = advertised.iter().map(|one| format!("{}:{}", one.host, one.port)).collect();
    register(&broker, &zk, &registration, &own).await?;
    tracing::info!("Registered broker {id} at path /brokers/ids/{id} with broker epoch {}", broker.epoch());
    // Whoever connects is refused until here: without its new epoch the broker would take what a controller ordered an
    // earlier life to do, with what that life had in memory (found by simulation).
    let (stop_serving, stopping) = watch::channel(false);
    let (changes, changed) = mpsc::unbounded_channel();
    let mut open = BTreeMap::new();
    for (name, address) in &addresses {
        let security = asked.get(name).cloned();
        open.insert(name.clone(), Opened { address: *address, security });
    }
    let _ = broker.doors.set(Doors::new(changes, open, registration));
    let door = |(name, socket): (String, TcpSocket)| {
        let security = asked.remove(&name);
        listen(&broker.config, name, socket, security)
    };
    let serving = tokio::spawn(net::serve(
        bound.into_iter().map(door).collect::<Result<_, _>>()?,
        limits(&broker.config),
        broker.gate.clone(),
        Arc::new(Answerer(broker.clone())),
        changed,
        stopping,
    ));
    let (sessions, session) = watch::channel(zk);
    let mut tasks = vec![
        tokio::spawn(follow_configs(broker.clone(), session.clone(), seen_change)),
        tokio::spawn(take_notices(broker.clone(), noticed, halt)),
    ];
    if broker.config.protocol.has_features() {
        tasks.push(tokio::spawn(features::follow(broker.clone(), session.clone())));
    }
    if let Some(authorizer) = broker.authorizer.clone() {
        let session = match elsewhere {
            None => session.clone(),
            Some(elsewhere) => {
                let (sessions, session) = watch::channel(authorizer.session(broker.zk()));
                tasks.push(tokio::spawn(acl_session::keep(elsewhere, authorizer.clone(), sessions)));
                session
            }
        };
        tasks.push(tokio::spawn(authorizer.follow(session)));
    }
    if let Some(tokens) = broker.tokens.clone() {
        tasks.push(tokio::spawn(tokens.follow(session.clone())));
    }
    let (controller, standing) = controller::start(controller::Options::of(&broker), session);
    let _ = broker.controller.set(controller);
    tasks.push(standing);
    if let Some(tokens) = broker.tokens.clone() {
        tasks.push(tokio::spawn(sweep_while_governing(broker.clone(), tokens)));
    }
    tasks.push(tokio::spawn(keep_session(broker.clone(), sessions)));
    if let Some(listener) = measured {
        tasks.push(tokio::spawn(metrics::endpoint::serve(listener, broker.clone())));
    }
    tracing::info!("[KafkaServer id={id}] started (kafka.server.KafkaServer)");
    Ok(Running { broker, addresses, stop_serving, serving, tasks, shard, halted })
}

impl Running {
    /// Where each listener is bound, by name.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The broker's id.
    pub fn id(&self) -> i32 {
        self.broker.id
    }

    /// Until the broker cannot go on, and why; it is still to be stopped.
    pub async fn halted(&self) -> String {
        let mut halted = self.halted.clone();
        let reason = halted.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_else(|| "its tasks ended without a word".into())
    }

    /// Hands leadership over, closes the logs, leaves ZooKeeper.
    pub async fn stop(self) {
        let id = self.broker.id;
        tracing::info!("[KafkaServer id={id}] shutting down (kafka.server.KafkaServer)");
        if self.broker.config.bool("controlled.shutdown.enable") && self.halted.borrow().is_none() {
            let _ = self.broker.shard.tell(Event::Retire).await;
            hand_over(&self.broker).await;
        }
        let _ = self.stop_serving.send(true);
        let _ = self.serving.await;
        stop_logs(&self.broker, &self.shard).await;
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        let log_dirs = self.broker.config.log_dirs.clone();
        let zk = self.broker.zk();
        drop(self.broker);
        zk.close().await;
        zk::former::forget(&log_dirs[0]);
        tracing::info!("[KafkaServer id={id}] shut down completed (kafka.server.KafkaServer)");
    }
}

/// Asks the controller to move leadership elsewhere, until nothing is left that could be moved.
async fn hand_over(broker: &Broker) {
    let link = ControllerLink::default();
    let version = broker.config.protocol.controlled_shutdown();
    let request = ControlledShutdownRequest { broker_id: broker.id, broker_epoch: broker.epoch() };
    let retries = broker.config.int("controlled.shutdown.max.retries").max(0);
    for attempt in 0..=retries {
        if attempt > 0 {
            tracing::warn!("Retrying controlled shutdown after the previous attempt failed...");
            something_changed(broker).await;
        }
        let connection = match link.get(broker).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!("Controlled shutdown: {error}");
                continue;
            }
        };
        match connection.call_up_to(&request, version).await {
            Ok(response) if response.error_code.is_ok() && response.remaining_partitions.is_empty() => {
                tracing::info!("Controlled shutdown request returned successfully");
                return;
            }
            Ok(response) if response.error_code.is_ok() && broker.metadata.snapshot().has_only(broker.id) => {
                let remain = response.remaining_partitions.len();
                tracing::warn!(
                    "No other broker is alive: {remain} partitions are without a leader from now on"
                );
                return;
            }
            Ok(response) => tracing::info!(
                "Controlled shutdown: {}, {} partitions remain",
                response.error_code.name(),
                response.remaining_partitions.len()
            ),
            Err(error) => {
                tracing::warn!("Controlled shutdown: {error}");
                link.forget().await;
            }
        }
    }
    tracing::warn!("Proceeding to do an unclean shutdown as all the controlled shutdown attempts failed");
}

/// Waits for the retry's time, or until something has changed: another broker governs, or none is left.
async fn something_changed(broker: &Broker) {
    let backoff = broker.config.millis("controlled.shutdown.retry.backoff.ms");
    let asked = broker.controller_id();
    let Some(mut current) = broker.controller.get().map(ControllerHandle::follow) else { return };
    let changed = current.wait_for(|id| *id >= 0 && Some(*id) != asked);
    let alone = broker.metadata.wait_until(|now| now.has_only(broker.id));
    tokio::select! {
        _ = changed => {}
        () = alone => {}
        () = tokio::time::sleep(backoff) => {}
    }
}

async fn stop_logs(broker: &Broker, shard: &std::thread::JoinHandle<()>) {
    let _ = broker.shard.ask(|done| Event::Stop { done }).await;
    while !shard.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many partitions a coordinator's topic has, or will have.
async fn partition_count(zk: &Zk, topic: &str, configured: i64) -> Result<i32, ZkError> {
    let node = zk.topic(topic).await?;
    let count = node.map_or(configured, |node| i64::try_from(node.partitions.len()).unwrap_or(i64::MAX));
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// By a listener's name what it asks for, where it asks for anything.
type Asked = BTreeMap<String, Arc<ListenerSecurity>>;

/// For passwords among dynamic settings, by the secret under `key`.
fn encoder(config: &BrokerConfig, key: &'static str) -> Result<Option<PasswordEncoder>, StartError> {
    PasswordEncoder::of_broker(config, key).map_err(|source| StartError::Password { key, source })
}

/// The file with the dynamic layers over it; where they do not fit, the file alone, as it was before somebody wrote them.
fn current(config: &BrokerConfig, dynamic: &Dynamic) -> BrokerConfig {
    config.with(dynamic).unwrap_or_else(|error| {
        tracing::error!("Dynamic configs could not be applied: {error}");
        config.clone()
    })
}

/// What each listener asks for, and how this broker comes to others.
fn secure(
    config: &BrokerConfig,
    passwords: Option<PasswordEncoder>,
) -> Result<(Secured, Asked), SecurityError> {
    let logins = Logins::of_environment()?;
    let users = Arc::new(Users::default());
    let mut doors = BTreeMap::new();
    for endpoint in &config.listeners.bound {
        if config.listeners.protocol_of(&endpoint.listener) != Protocol::Plaintext {
            let security = ListenerSecurity::read(config, endpoint, &logins, users.clone())?;
            doors.insert(endpoint.listener.clone(), Arc::new(security));
        }
    }
    let among = |listener: &str| security::among_brokers(config, &logins, listener);
    let among_brokers = among(&config.listeners.inter_broker)?;
    let of_controller = among(config.listeners.of_controller())?;
    Ok((Secured { users, passwords, among_brokers, of_controller }, doors))
}

/// Gets what logins need from elsewhere: tokens of this broker's own, keys that others' tokens are checked by.
async fn prepare(secured: &Secured, doors: &Asked) -> Result<(), SecurityError> {
    secured.among_brokers.prepare().await?;
    secured.of_controller.prepare().await?;
    for door in doors.values() {
        door.prepare().await?;
    }
    Ok(())
}

async fn connect(config: &BrokerConfig) -> Result<Zk, ZkError> {
    let address = &config.zookeeper_connect;
    tracing::info!("Connecting to zookeeper on {address}");
    let security = zk_security(config)?;
    let session_timeout = config.millis("zookeeper.session.timeout.ms");
    Zk::connect_as(address, session_timeout, config.zookeeper_connection_timeout(), &security).await
}

/// How this broker comes to ZooKeeper: by its file, and by the flags of a JVM in `KAFKA_OPTS`.
fn zk_security(config: &BrokerConfig) -> Result<ZkSecurity, ZkSecurityError> {
    ZkSecurity::read(&|key| config.given().get(key).cloned(), &JvmFlags::of_environment())
}

/// The configured id, the one that the log directories remember, or a new one.
async fn broker_id(
    config: &BrokerConfig,
    store: &Store,
    zk: &Zk,
    cluster_id: &str,
) -> Result<i32, StartError> {
    if let Some(id) = store.agree(config.broker_id, cluster_id)? {
        return Ok(id);
    }
    let reserved = config.int("reserved.broker.max.id");
    let reserved =
        i32::try_from(reserved).map_err(|_| StartError::Id(format!("reserved.broker.max.id={reserved}")))?;
    Ok(zk.next_broker_id(reserved).await?)
}

pub(crate) async fn bind(config: &BrokerConfig, endpoint: &Endpoint) -> Result<TcpSocket, StartError> {
    let host = if endpoint.host.is_empty() { "0.0.0.0" } else { &endpoint.host };
    let failed = |source| StartError::Bind { address: format!("{host}:{}", endpoint.port), source };
    let address = lookup_host((host, endpoint.port)).await.map_err(failed)?.next();
    let address = address.ok_or_else(|| failed(std::io::Error::other("the name has no address")))?;
    let buffer = u32::try_from(config.int("socket.receive.buffer.bytes")).ok().filter(|bytes| *bytes > 0);
    net::bind(address, buffer).map_err(failed)
}

/// Opens a bound port, with its listener's name and with what that asks for.
pub(crate) fn listen(
    config: &BrokerConfig,
    name: String,
    socket: TcpSocket,
    security: Option<Arc<ListenerSecurity>>,
) -> Result<Door, StartError> {
    let backlog = u32::try_from(config.int("socket.listen.backlog.size")).unwrap_or(50);
    let address = socket.local_addr().map_or_else(|_| name.clone(), |address| address.to_string());
    let listener = socket.listen(backlog).map_err(|source| StartError::Bind { address, source })?;
    Ok(Door { name: name.into(), listener, security })
}

fn limits(config: &BrokerConfig) -> Limits {
    let idle = config.int("connections.max.idle.ms");
    let memory = Some(config.int("queued.max.request.bytes")).filter(|bytes| *bytes > 0);
    Limits {
        request_bytes_max: usize::try_from(config.int("socket.request.max.bytes")).unwrap_or(usize::MAX),
        idle_max: u64::try_from(idle).ok().filter(|ms| *ms > 0).map(Duration::from_millis),
        memory: memory.map(RequestMemory::new),
    }
}

/// A life that was killed may have left a live session behind; it ends now and not when it times out.
async fn end_former_life(config: &BrokerConfig, zk: &Zk, id: i32) -> Result<(), ZkError> {
    let Some(session) = zk::former::remembered(&config.log_dirs[0]) else { return Ok(()) };
    for path in [format!("/brokers/ids/{id}"), "/controller".to_owned()] {
        if zk.stat(&path).await?.is_some_and(|stat| stat.ephemeral_owner == session) {
            tracing::info!("{path} is left from this broker's former life: ending its session {session:#x}");
            zk::former::end(&config.zookeeper_connect, session, &zk_security(config)?).await;
            break;
        }
    }
    Ok(())
}

/// Registers in this session, once a node that somebody else left has gone, or one with these addresses, which
/// are to be this broker's own.
async fn register(
    broker: &Broker,
    zk: &Zk,
    registration: &Registration,
    own: &[String],
) -> Result<(), ZkError> {
    let patience = broker.config.millis("zookeeper.session.timeout.ms") + Duration::from_secs(2);
    let give_up = tokio::time::Instant::now() + patience;
    let mut waiting = false;
    loop {
        let registered = match zk.check_addresses(broker.id, own).await {
            Ok(()) => zk.register(registration).await,
            Err(error) => Err(error),
        };
        match registered {
            Ok(epoch) => {
                broker.set_epoch(epoch);
                zk::former::remember(&broker.config.log_dirs[0], zk);
                return Ok(());
            }
            Err(error @ (ZkError::AlreadyRegistered { .. } | ZkError::AddressTaken { .. }))
                if tokio::time::Instant::now() < give_up =>
            {
                if !waiting {
                    tracing::warn!("{error}; waiting up to {} ms for it to go", patience.as_millis());
                }
                waiting = true;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads settings anew when somebody changed them, in every session.
async fn follow_configs(broker: Arc<Broker>, mut session: watch::Receiver<Zk>, mut seen: i64) {
    loop {
        let zk = session.borrow_and_update().clone();
        let changed = |entity| {
            let broker = broker.clone();
            async move { config_changed(&broker, entity).await }
        };
        let ended = zk::watch_changes(zk, &mut seen, changed).await;
        if !zk::may_follow_again(&mut session, ended).await {
            return;
        }
    }
}

async fn config_changed(broker: &Broker, entity: ConfigEntity) {
    tracing::info!("Processing notification: the configuration of {} changed", entity.path());
    let (read, topic): (_, Option<Str>) = match &entity {
        ConfigEntity::Topic(name) => (broker.reload_topic_overrides(name).await, Some(name.as_str().into())),
        ConfigEntity::Broker(id) if *id != broker.id => return,
        ConfigEntity::Broker(_) | ConfigEntity::BrokerDefault => (broker.reload_dynamic().await, None),
        ConfigEntity::Other(path) => {
            if let Err(error) = broker.reload_quotas(path).await {
                tracing::error!("{error}");
            }
            return;
        }
    };
    match read {
        Ok(()) => {
            match (broker.controller.get(), &topic) {
                (Some(controller), Some(topic)) => controller.topic_config_changed(Str::clone(topic)).await,
                (Some(controller), None) => controller.topic_defaults_changed().await,
                (None, _) => {}
            }
            let _ = broker.shard.tell(Event::ConfigChanged { topic }).await;
        }
        Err(error) => tracing::error!("{error}"),
    }
}

/// Opens a new session when the old one expires, and registers in it.
async fn keep_session(broker: Arc<Broker>, sessions: watch::Sender<Zk>) {
    let figures = &broker.session_figures;
    loop {
        let mut states = broker.zk().client().state_watcher();
        // A session begins with a connection.
        figures.became(SessionState::SyncConnected);
        loop {
            let state = states.changed().await;
            figures.became(state);
            if state.is_terminated() {
                break;
            }
        }
        tracing::warn!("The ZooKeeper session expired, opening another");
        loop {
            match renew(&broker).await {
                Ok(zk) => {
                    tracing::info!("Registered again, with broker epoch {}", broker.epoch());
                    sessions.send_replace(zk);
                    break;
                }
                Err(error) => {
                    tracing::error!("{error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn renew(broker: &Broker) -> Result<Zk, ZkError> {
    let zk = connect(&broker.config).await?;
    zk.make_base_nodes().await?;
    if let Some(doors) = broker.doors.get() {
        let registration = Registration::clone(&doors.registration());
        register(broker, &zk, &Registration { timestamp: wall_clock(), ..registration }, &[]).await?;
    }
    broker.set_zk(zk.clone());
    Ok(zk)
}

/// What the loop wants done elsewhere.
async fn take_notices(
    broker: Arc<Broker>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    halt: watch::Sender<Option<String>>,
) {
    let mut fetchers = Fetchers::new(broker.clone());
    let mut movers = Movers::new(broker.clone());
    let (alters, asked) = mpsc::unbounded_channel();
    let altering = tokio::spawn(alter::run(broker.clone(), asked));
    let _ends = AbortOnDrop(altering);
    let mut markers = MarkerSender::new(broker.clone());
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Flush { topic, partition, job } => {
                let broker = broker.clone();
                tokio::spawn(async move {
                    let (end_offset, dir) = (job.end_offset, job.dir().to_owned());
                    let done = tokio::task::spawn_blocking(move || job.run()).await;
                    let end_offset = match done {
                        Ok(Ok(())) => Some(end_offset),
                        Ok(Err(error)) => {
                            tracing::error!("{error}");
                            None
                        }
                        Err(error) => {
                            tracing::error!("flush of {topic}-{partition}: {error}");
                            None
                        }
                    };
                    let _ = broker.shard.tell(Event::Flushed { topic, partition, dir, end_offset }).await;
                });
            }
            Notice::DirFailed { dir, last } => {
                // A controller of before 1.0 would not tell whether a replica may be made in another directory.
                let last = last || !broker.config.protocol.outlives_log_dirs();
                dir_failed(&broker, dir, last, &halt).await
            }
            Notice::Alter { topic, id, partition, ask } => {
                let _ = alters.send(broker_core::alter::Ask { topic, id, partition, ask });
            }
            Notice::Fetch { leader } => fetchers.follow(leader),
            Notice::Move => movers.wake(),
            Notice::LoadGroups { partition, epoch } => {
                tokio::spawn(load(broker.clone(), GROUP_TOPIC, partition, epoch));
            }
            Notice::LoadTransactions { partition, epoch } => {
                tokio::spawn(load(broker.clone(), TRANSACTION_TOPIC, partition, epoch));
            }
            Notice::SendMarkers(send) => markers.send(send),
            Notice::ClaimProducerId => {
                tokio::spawn(claim_producer_id(broker.clone()));
            }
        }
    }
}

/// A task that goes with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Pause before a group partition that could not be read is read again.
const LOAD_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A producer id for the transaction coordinator.
async fn claim_producer_id(broker: Arc<Broker>) {
    let claimed = broker.next_producer_id().await.map_err(|error| {
        tracing::error!("Claiming producer ids: {error}");
        wire::kafka::ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    });
    let event = broker_core::transaction::Event::ProducerId(claimed);
    let _ = broker.shard.tell(Event::Transaction(event)).await;
}

/// Reads a partition of a coordinator's topic from start to end for it.
async fn load(broker: Arc<Broker>, topic: &'static str, partition: i32, epoch: i32) {
    let started = std::time::Instant::now();
    let mut offset = None;
    loop {
        let Ok(read) =
            broker.shard.ask(|reply| Event::CoordinatorRead { topic, partition, offset, reply }).await
        else {
            return;
        };
        // The replica went meanwhile: the coordinator has been told.
        let Some((slice, end)) = read else { return };
        let read = tokio::task::spawn_blocking(move || slice.read()).await;
        let bytes =
            match read.map_err(std::io::Error::other).and_then(|read| read.map_err(std::io::Error::other)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    // Going on without these records would bring older states back; a disk that stays bad takes the
                    // replica offline, which ends this.
                    tracing::error!("Loading {topic}-{partition}, trying again: {error}");
                    tokio::time::sleep(LOAD_RETRY_PAUSE).await;
                    continue;
                }
            };
        let entries = entries_of(bytes, |error| {
            tracing::error!("Loading {topic}-{partition}, behind offset {offset:?}: {error}");
        });
        let next = entries.last().map_or(end, |entry| match entry {
            Entry::Batch(batch) => batch.header().next_offset(),
            // A wrapper has the last one's offset inside.
            Entry::Message(message) => message.offset().saturating_add(1),
        });
        let done = next >= end;
        let event = Event::CoordinatorLoaded { topic, partition, epoch, entries, done };
        if broker.shard.tell(event).await.is_err() {
            return;
        }
        if done {
            let took = started.elapsed().as_millis();
            tracing::info!("Finished loading {topic}-{partition} in {took} ms");
            return;
        }
        offset = Some(next);
    }
}

/// The whole batches and messages of a part of a log, up to one that makes no sense.
fn entries_of(mut bytes: bytes::Bytes, complain: impl FnOnce(BatchError)) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        match Entry::split_from(&mut bytes) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return entries,
            Err(error) => {
                complain(error);
                return entries;
            }
        }
    }
}

async fn dir_failed(broker: &Broker, dir: PathBuf, last: bool, halt: &watch::Sender<Option<String>>) {
    tracing::error!("Stopping serving logs in dir {}", dir.display());
    if last {
        halt.send_replace(Some(format!(
            "Shutdown broker because all log dirs have failed, {} last",
            dir.display()
        )));
        return;
    }
    let note = format!("{{\"version\":1,\"broker\":{},\"event\":1}}", broker.id);
    let path = "/log_dir_event_notification/log_dir_event_";
    if let Err(error) = broker.zk().create_sequential(path, note.as_bytes()).await {
        tracing::error!("{error}");
    }
}
