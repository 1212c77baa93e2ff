//! A running server: ports, files, and the loop between them and [`zk_core::Peer`].
//!
//! Nothing here is global: a process may hold any number of servers.

pub(crate) mod clients;
pub(crate) mod inbox;
pub(crate) mod journal;
pub(crate) mod links;
mod main_loop;
mod oracle;
mod purging;
mod snapshots;
pub(crate) mod stats;
mod streams;
mod turns;

use crate::admin;
use crate::audit;
use crate::config::{Config, HostPort, Provider};
use crate::disk::{Disk, DiskError};
use crate::election_net::{self, ElectionNet};
use crate::http::HttpPort;
use crate::members_file::MembersFile;
use crate::metrics;
use crate::net::client_port::{self, ClientPort};
use crate::net::endpoint::Endpoint;
use crate::net::peers::PeerSecurity;
use crate::net::route::Routes;
use crate::quorum_net::{self, QuorumNet};
use inbox::{Inbox, Input};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info, warn};
use zk_core::peer::Mode;

/// How a server came to its end: `code` as the process would give it to its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    pub why: String,
}

impl Exit {
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("cannot listen for clients on {at}: {source}")]
    ClientPort { at: String, source: std::io::Error },
    #[error("election port: {source}")]
    ElectionPort { source: std::io::Error },
    #[error("{0}")]
    Members(String),
    #[error("Unable to start AdminServer, exiting abnormally: {at}: {source}")]
    AdminServer { at: String, source: std::io::Error },
    #[error("Cannot start /metrics server: {at}: {source}")]
    MetricsPort { at: String, source: std::io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// As ZooKeeper's own process ends: 3 unusable data folder, 4 admin server, 14 election port, 1 anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::Disk(DiskError::Folder(_)) => 3,
            StartError::AdminServer { .. } => 4,
            StartError::ElectionPort { .. } => 14,
            _ => 1,
        }
    }
}

/// A running server. Dropping it stops it, too, without waiting for the end.
#[derive(Debug)]
pub struct Server {
    inbox: Inbox,
    client_addr: Option<SocketAddr>,
    secure_client_addr: Option<SocketAddr>,
    election_addrs: Vec<SocketAddr>,
    admin_addr: Option<SocketAddr>,
    metrics_addr: Option<SocketAddr>,
    mode: watch::Receiver<Mode>,
    ended: watch::Receiver<Option<Exit>>,
}

impl Server {
    /// Recovers what is on disk, binds the ports and starts. Call it on a tokio runtime with I/O and time.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let config = Arc::new(config);
        announce(&config);
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Disk::open(&config)).await
        };
        let (disk, recovered) =
            opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if config.core.reconfig.enabled && !config.is_standalone() && !config.dynamic {
            let file = MembersFile::new(&config.file, config.core.myid);
            file.back_up().map_err(|error| StartError::Members(error.to_string()))?;
        }
        let (inbox, inputs) = Inbox::new();
        let metrics = metrics_port(&config, &inbox)?;
        let admin = admin_port(&config, &inbox)?;
        let (admin_addr, metrics_addr) =
            (admin.as_ref().map(|port| port.bound), metrics.as_ref().map(|port| port.bound));
        let clients = ClientPort::bind(client_port::Settings::from(&*config), inbox.clone())
            .map_err(|(at, source)| StartError::ClientPort { at, source })?;
        let (election, quorum) = match config.is_standalone() {
            true => (None, None),
            false => {
                let election = ElectionNet::start(election_net::Settings::from(&*config), inbox.clone());
                let election = election.await.map_err(|source| StartError::ElectionPort { source })?;
                (Some(election), Some(QuorumNet::new(quorum_net::Settings::from(&*config), inbox.clone())))
            }
        };
        let client_addr = clients.as_ref().and_then(ClientPort::bound);
        let secure_client_addr = clients.as_ref().and_then(ClientPort::bound_secure);
        let election_addrs = election.as_ref().map(|net| net.bound.clone()).unwrap_or_default();
        let (mode_out, mode) = watch::channel(Mode::Looking);
        let (ended_out, ended) = watch::channel(None);
        let parts = main_loop::Parts {
            config,
            disk,
            recovered,
            inbox: inbox.clone(),
            inputs,
            clients,
            election,
            quorum,
            http: metrics.into_iter().chain(admin).collect(),
            mode: mode_out,
            ended: ended_out,
            runtime: tokio::runtime::Handle::current(),
        };
        main_loop::spawn(parts).map_err(StartError::Thread)?;
        Ok(Server {
            inbox,
            client_addr,
            secure_client_addr,
            election_addrs,
            admin_addr,
            metrics_addr,
            mode,
            ended,
        })
    }

    /// Where clients connect; `None`: no client port is configured.
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.client_addr
    }

    /// Where clients connect by TLS; `None`: no such port is configured.
    pub fn secure_client_addr(&self) -> Option<SocketAddr> {
        self.secure_client_addr
    }

    /// Where the election port listens; empty for a standalone server.
    pub fn election_addrs(&self) -> &[SocketAddr] {
        &self.election_addrs
    }

    /// Where the admin server listens; `None`: it is off, or its port was taken.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Where Prometheus reads `/metrics`.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// The server's place in the ensemble, at the moment.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Changes of [`Server::mode`].
    pub fn modes(&self) -> watch::Receiver<Mode> {
        self.mode.clone()
    }

    /// Until the server ends by itself or by [`Server::stop`].
    pub async fn ended(&self) -> Exit {
        let mut ended = self.ended.clone();
        let exit = ended.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        exit.unwrap_or_else(|| Exit { code: 1, why: "the server's loop ended without a word".into() })
    }

    /// Syncs the log, closes every connection, and returns when files and ports are free.
    pub async fn stop(self) -> Exit {
        self.inbox.send(Input::Stop);
        self.ended().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inbox.send(Input::Stop);
    }
}

/// Runs a server until it ends or `shutdown` does, and says how.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Exit {
    let audited = config.core.audit;
    let tell = |operation, result| {
        if audited {
            audit::tell_of_server(operation, result);
        }
    };
    let server = match Server::start(config).await {
        Ok(server) => {
            tell("serverStart", "success");
            server
        }
        Err(error) => {
            tell("serverStart", "failure");
            error!("{error}");
            let exit = Exit { code: error.exit_code(), why: error.to_string() };
            error!("Exiting JVM with code {}", exit.code);
            return exit;
        }
    };
    let exit = tokio::select! {
        exit = server.ended() => exit,
        () = shutdown => server.stop().await,
    };
    tell("serverStop", "invoked");
    match exit.code {
        0 => info!("Exiting JVM with code 0"),
        code => error!("{}: Exiting JVM with code {code}", exit.why),
    }
    exit
}

fn metrics_port(config: &Config, inbox: &Inbox) -> Result<Option<HttpPort>, StartError> {
    let Provider::Prometheus(at) = &config.metrics else { return Ok(None) };
    let port = metrics::endpoint::start(at, inbox.clone());
    port.map(Some).map_err(|source| StartError::MetricsPort { at: at.listen.to_string(), source })
}

/// A member of an ensemble goes on without it, as in Java.
fn admin_port(config: &Config, inbox: &Inbox) -> Result<Option<HttpPort>, StartError> {
    let Some(admin) = &config.admin else { return Ok(None) };
    match admin::start(admin, inbox.clone()) {
        Ok(port) => Ok(Some(port)),
        Err(source) if config.is_standalone() => {
            Err(StartError::AdminServer { at: admin.listen.to_string(), source })
        }
        Err(error) => {
            warn!(
                "Problem starting AdminServer: Problem starting AdminServer on address {}, port {} and \
                 command URL {}: {error}",
                admin.listen.host, admin.listen.port, admin.url
            );
            Ok(None)
        }
    }
}

/// The lines by which operators know what was configured.
fn announce(config: &Config) {
    if config.is_standalone() {
        warn!("Either no config or no quorum defined in config, running in standalone mode");
    } else {
        info!("Starting quorum peer, myid={}", config.core.myid);
    }
    info!(
        "Created server with tickTime {} ms minSessionTimeout {} ms maxSessionTimeout {} ms",
        config.core.tick_ms, config.core.session_ms_min, config.core.session_ms_max
    );
}

impl From<&Config> for client_port::Settings {
    fn from(config: &Config) -> client_port::Settings {
        client_port::Settings {
            listen: config.client.as_ref().map(Endpoint::from),
            listen_secure: config.security.secure_client.as_ref().map(Endpoint::from),
            tls: config.security.client_tls(),
            backlog: config.client_backlog.filter(|backlog| *backlog > 0).unwrap_or(1024),
            of_one_address_max: config.client_cnxns_max,
            connections_max: config.cnxns_max,
            handshakes_max: config.security.handshakes_max,
            keep_alive: config.client_keep_alive,
            sessionless: config.sessionless_timeout,
            outstanding_max: config.outstanding_max,
            frame_max: config.frame_max,
            large_requests: config.large_requests,
            words: config.words.clone(),
        }
    }
}

fn endpoints(addresses: &[HostPort]) -> Vec<Endpoint> {
    addresses.iter().map(Endpoint::from).collect()
}

impl Config {
    /// What servers want of each other.
    fn peer_security(&self) -> PeerSecurity {
        let mut hosts: Vec<String> = Vec::new();
        for at in self.members.values().flat_map(|member| member.quorum.iter().chain(&member.election)) {
            if !hosts.contains(&at.host) {
                hosts.push(at.host.clone());
            }
        }
        let tls = self.security.quorum_tls.clone();
        PeerSecurity { tls, sasl: self.security.quorum_sasl.clone(), hosts: hosts.into() }
    }
}

impl From<&Config> for election_net::Settings {
    fn from(config: &Config) -> election_net::Settings {
        let election = config.members.iter().map(|(sid, member)| (*sid, endpoints(&member.election)));
        election_net::Settings {
            myid: config.core.myid,
            members: election.collect(),
            listen_on_all: config.quorum_listen_on_all_ips,
            multi_address: config.core.multi_address,
            routes: Routes::new(config.address_probe),
            connect_within: config.connect_timeout,
            hello_within: config.hello_timeout,
            bind_tries: config.election_bind_retries,
            keep_alive: config.election_keep_alive,
            security: config.peer_security(),
        }
    }
}

impl From<&Config> for quorum_net::Settings {
    fn from(config: &Config) -> quorum_net::Settings {
        let ticks = |limit: u64| Duration::from_millis((config.core.tick_ms * limit).max(1));
        let quorum = config.members.iter().map(|(sid, member)| (*sid, endpoints(&member.quorum)));
        quorum_net::Settings {
            myid: config.core.myid,
            members: quorum.collect(),
            listen_on_all: config.quorum_listen_on_all_ips,
            routes: Routes::new(config.address_probe),
            observer_master_port: config.observer_master_port,
            joining: ticks(config.core.init_limit),
            serving: ticks(config.core.sync_limit),
            security: config.peer_security(),
        }
    }
}
