//! The broker's ZooKeeper session: one connection, every path relative to the chroot of
//! `zookeeper.connect`. Operations wait out a lost connection (the session survives it) and fail
//! only for answers and for the end of the session.

pub mod acls;
mod configs;
pub mod former;
mod migration;
mod notes;
mod producer_ids;
mod quotas;
mod registration;
mod security;
mod session;
pub mod tokens;
mod topics;
mod users;

use std::future::Future;
use std::time::Duration;

use zookeeper_client::{Client, CreateMode, CreateOptions, Error, Stat};

pub use configs::{ConfigEntity, watch_changes};
pub use notes::{catch_up, may_follow_again};
pub use producer_ids::BLOCK as PRODUCER_ID_BLOCK;
pub use registration::{Registration, random_uuid};
pub use security::{JvmFlags, KEYS as ZK_SECURITY_KEYS, SECURE_ROOTS, ZkSecurity, ZkSecurityError};
pub use session::SessionFigures;
pub use topics::{Assignment, TopicNode};
pub use users::user_of;

/// What ZooKeeper could not do for us, with the path or ensemble it was asked of.
#[derive(Debug, thiserror::Error)]
pub enum ZkError {
    /// No session could be had in time.
    #[error("ZooKeeper at {connect}: {source}")]
    Connect { connect: String, source: Error },
    /// Nobody answered.
    #[error(
        "ZooKeeper at {connect}: no connection within {waited_ms} ms{}: zookeeper.connect has to name servers that run, and \
         zookeeper.connection.timeout.ms says how long to try",
        unresolved(.unknown_hosts)
    )]
    NoAnswer { connect: String, waited_ms: u128, unknown_hosts: Vec<String> },
    /// The session's stores or login cannot be used.
    #[error(transparent)]
    Security(#[from] ZkSecurityError),
    /// An operation failed for another reason than a lost connection.
    #[error("ZooKeeper {operation} {path}: {source}")]
    Operation { operation: &'static str, path: String, source: Error },
    /// A node holds something this version cannot read.
    #[error("ZooKeeper node {path} holds invalid data: {problem}")]
    BadData { path: String, problem: String },
    /// The 63 bits of producer ids are used up.
    #[error("Exhausted all producerIds as the next block's end {start} would exceed the limit")]
    ProducerIdsExhausted { start: i64 },
    /// The registration node belongs to another live session.
    #[error(
        "NodeExists: /brokers/ids/{id} belongs to session 0x{owner:x}: another broker with broker.id={id} is running, \
         or this broker died less than zookeeper.session.timeout.ms ago"
    )]
    AlreadyRegistered { id: i32, owner: i64 },
    /// Another broker is registered with an address of this one.
    #[error(
        "Configured end points {addresses} in advertised listeners are already registered by broker {other}"
    )]
    AddressTaken { addresses: String, other: i32 },
}

impl ZkError {
    /// Whether the session is over, so that only a new one helps.
    pub fn session_over(&self) -> bool {
        let source = match self {
            ZkError::Connect { source, .. } | ZkError::Operation { source, .. } => source,
            _ => return false,
        };
        matches!(source, Error::SessionExpired | Error::ClientClosed | Error::AuthFailed)
    }

    /// Whether the answer was "no such node".
    pub fn no_node(&self) -> bool {
        matches!(self, ZkError::Operation { source: Error::NoNode, .. })
    }

    /// Whether the node has another version by now.
    pub fn bad_version(&self) -> bool {
        matches!(self, ZkError::Operation { source: Error::BadVersion, .. })
    }

    /// Whether the answer was "node exists".
    pub fn node_exists(&self) -> bool {
        matches!(self, ZkError::Operation { source: Error::NodeExists, .. })
    }
}

fn unresolved(hosts: &[String]) -> String {
    match hosts.is_empty() {
        true => String::new(),
        false => format!(" (cannot resolve {})", hosts.join(", ")),
    }
}

/// Those hosts of a connect string that have no address.
async fn unknown_hosts(connect: &str) -> Vec<String> {
    let servers = connect.split('/').next().unwrap_or_default();
    let mut unknown = Vec::new();
    for server in servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
            _ => (server, "2181"),
        };
        if tokio::net::lookup_host(format!("{host}:{port}")).await.is_err() {
            unknown.push(host.to_owned());
        }
    }
    unknown
}

/// A session; clones share it.
#[derive(Clone, Debug)]
pub struct Zk {
    client: Client,
    /// Nodes that are made belong to this session's identity.
    sets_acls: bool,
}

/// Pause before an operation is sent again after the connection was lost.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Zk {
    /// Opens a session on `connect` (`host:port,…[/chroot]`), making the chroot when it is missing
    /// (as Kafka, over a short session of its own).
    pub async fn connect(
        connect: &str,
        session_timeout: Duration,
        connection_timeout: Duration,
    ) -> Result<Zk, ZkError> {
        Zk::connect_as(connect, session_timeout, connection_timeout, &ZkSecurity::default()).await
    }

    /// As [`Zk::connect`], by TLS and with a login as `security` says.
    pub async fn connect_as(
        connect: &str,
        session_timeout: Duration,
        connection_timeout: Duration,
        security: &ZkSecurity,
    ) -> Result<Zk, ZkError> {
        security.check(connect)?;
        let sets_acls = security.sets_acls();
        let open = |target: String| async move {
            // About Java's two thirds, and by that also its pace of pings: left to itself the crate pings half as often
            // again.
            let connector = Client::connector()
                .with_session_timeout(session_timeout)
                .with_connection_timeout(session_timeout * 3 / 5);
            let (connector, by_tls) = security.onto(connector)?;
            let connecting = async {
                match by_tls {
                    true => connector.secure_connect(&target).await,
                    false => connector.connect(&target).await,
                }
            };
            let client = match tokio::time::timeout(connection_timeout, connecting).await {
                Ok(result) => result,
                Err(_) => {
                    let (unknown_hosts, waited_ms) =
                        (unknown_hosts(&target).await, connection_timeout.as_millis());
                    return Err(ZkError::NoAnswer { connect: connect.to_owned(), waited_ms, unknown_hosts });
                }
            };
            let client = client.map_err(|source| ZkError::Connect { connect: connect.to_owned(), source })?;
            Ok::<Zk, ZkError>(Zk { client, sets_acls })
        };
        if let Some(slash) = connect.find('/') {
            let (hosts, chroot) = connect.split_at(slash);
            let chroot = chroot.trim_end_matches('/');
            if !chroot.is_empty() {
                let bare = open(hosts.to_owned()).await?;
                if bare.stat(chroot).await?.is_none() {
                    bare.make_path(chroot).await?;
                }
                return open(format!("{hosts}{chroot}")).await;
            }
            return open(hosts.to_owned()).await;
        }
        open(connect.to_owned()).await
    }

    /// How a persistent node at `path` is made.
    pub(crate) fn persistent(&self, path: &str) -> CreateOptions<'static> {
        CreateMode::Persistent.with_acls(security::acls_of(self.sets_acls, path))
    }

    /// How a node at `path` is made that goes with the session.
    pub(crate) fn ephemeral(&self, path: &str) -> CreateOptions<'static> {
        CreateMode::Ephemeral.with_acls(security::acls_of(self.sets_acls, path))
    }

    fn sequential(&self, prefix: &str) -> CreateOptions<'static> {
        CreateMode::PersistentSequential.with_acls(security::acls_of(self.sets_acls, prefix))
    }

    /// Gives a node the ACLs that it would be made with.
    pub async fn set_default_acls(&self, path: &str) -> Result<(), ZkError> {
        let acls = security::acls_of(self.sets_acls, path);
        retry("setACL", path, || self.client.set_acl(path, &acls, None)).await.map(drop)
    }

    /// Ends the session when nothing else holds it any more; the last clone's end is the session's.
    pub async fn close(self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut states = self.client.state_watcher();
        let session = self.client.session_id();
        drop(self);
        let ended = async { while !states.changed().await.is_terminated() {} };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("ZooKeeper session {session} could not be closed, it will time out");
        }
    }

    /// The client underneath, for watches and transactions.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The node's data, or `None` when there is no such node.
    pub async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, ZkError> {
        match retry("get", path, || self.client.get_data(path)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.no_node() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The node's stat, or `None` when there is no such node.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        retry("exists", path, || self.client.check_stat(path)).await
    }

    /// The node's children; none when there is no such node.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, ZkError> {
        match retry("getChildren", path, || self.client.get_children(path)).await {
            Ok((names, _)) => Ok(names),
            Err(error) if error.no_node() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Creates a persistent node.
    pub async fn create(&self, path: &str, data: &[u8]) -> Result<(), ZkError> {
        let options = self.persistent(path);
        retry("create", path, || self.client.create(path, data, &options)).await.map(drop)
    }

    /// Creates a persistent node with the next sequence number behind `prefix`.
    pub async fn create_sequential(&self, prefix: &str, data: &[u8]) -> Result<(), ZkError> {
        let options = self.sequential(prefix);
        retry("create", prefix, || self.client.create(prefix, data, &options)).await.map(drop)
    }

    /// Replaces a node's data whatever its version; creates it, and its parents, when missing.
    pub async fn put(&self, path: &str, data: &[u8]) -> Result<(), ZkError> {
        match self.set(path, data, None).await {
            Err(error) if error.no_node() => {}
            done => return done.map(drop),
        }
        if let Some(parent) = path.rfind('/').filter(|at| *at > 0) {
            self.make_path(&path[..parent]).await?;
        }
        match self.create(path, data).await {
            Err(error) if error.node_exists() => self.set(path, data, None).await.map(drop),
            done => done,
        }
    }

    /// Replaces a node's data, if `version` is given only at that version.
    pub async fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, ZkError> {
        retry("setData", path, || self.client.set_data(path, data, version)).await
    }

    /// Deletes a node at any version.
    pub async fn delete(&self, path: &str) -> Result<(), ZkError> {
        match retry("delete", path, || self.client.delete(path, None)).await {
            Err(error) if error.no_node() => Ok(()),
            done => done,
        }
    }

    /// Deletes a node at exactly this version; false where it has another.
    pub async fn delete_at(&self, path: &str, version: i32) -> Result<bool, ZkError> {
        match retry("delete", path, || self.client.delete(path, Some(version))).await {
            Ok(()) => Ok(true),
            Err(error) if error.no_node() => Ok(true),
            Err(error) if error.bad_version() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates every missing level of `path`, the last too.
    pub async fn make_path(&self, path: &str) -> Result<(), ZkError> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for end in ends {
            match self.create(&path[..end], b"").await {
                Err(error) if !error.node_exists() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Parses a node's JSON.
    fn json(path: &str, data: &[u8]) -> Result<serde_json::Value, ZkError> {
        serde_json::from_slice(data)
            .map_err(|error| ZkError::BadData { path: path.to_owned(), problem: error.to_string() })
    }
}

/// Runs one operation until something other than a lost connection comes of it.
pub(crate) async fn retry<T, F, Fut>(operation: &'static str, path: &str, mut run: F) -> Result<T, ZkError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    loop {
        match run().await {
            Err(Error::ConnectionLoss) => tokio::time::sleep(RETRY_PAUSE).await,
            Ok(value) => return Ok(value),
            Err(source) => return Err(ZkError::Operation { operation, path: path.to_owned(), source }),
        }
    }
}
