//! zoo.cfg and myid as a typed [`Config`]: all of it valid before a port is bound or a file is opened.

pub mod member;

use base::ConfigError;
pub use member::{HostPort, Member};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::zk::Sid;
use zk_core::CoreConfig;

/// Everything that a server is told by its operator.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as it was named on the command line.
    pub file: PathBuf,
    /// The file's content (`initial_configuration`).
    pub text: String,
    /// `dataDir`, without `version-2`.
    pub data_dir: PathBuf,
    /// `dataLogDir`; `dataDir` where it is not set.
    pub data_log_dir: PathBuf,

    /// Where clients are listened for; `None`: nowhere.
    pub client: Option<HostPort>,
    /// `clientPortListenBacklog`; `None`: the system's.
    pub client_backlog: Option<i32>,
    /// `maxClientCnxns`, of one address; 0: unlimited.
    pub client_cnxns_max: usize,
    /// `maxCnxns`, of the server; 0: unlimited.
    pub cnxns_max: usize,
    /// `clientTcpKeepAlive`
    pub client_keep_alive: bool,
    /// How long a connection may live without a session.
    pub sessionless_timeout: Duration,
    /// `globalOutstandingLimit`: reading pauses above it.
    pub outstanding_max: usize,
    /// `jute.maxbuffer`: the longest frame of a client.
    pub frame_max: usize,

    /// The ensemble; empty for a standalone server.
    pub members: BTreeMap<Sid, Member>,
    /// The quorum and election ports listen on all addresses.
    pub quorum_listen_on_all_ips: bool,
    /// `cnxTimeout`: of dialling an election port.
    pub connect_timeout: Duration,
    /// `quorumCnxnTimeoutMs`: of reading an election port's hello.
    pub hello_timeout: Duration,
    /// Attempts to bind the election port, a second apart; 0: without end.
    pub election_bind_retries: u32,
    /// `tcpKeepAlive`: on election sockets.
    pub election_keep_alive: bool,

    /// `4lw.commands.whitelist`; `*` allows all.
    pub words: Vec<String>,
    /// The HTTP admin server; `None`: off.
    pub admin: Option<Admin>,

    pub disk: DiskConfig,
    pub core: CoreConfig,
}

/// The admin server's `admin.*` keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub listen: HostPort,
    /// `/commands`
    pub url: String,
}

/// What log and snapshots are told.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// Missing folders are created (`datadir.autocreate`).
    pub autocreate: bool,
    /// An empty database may vote (`db.autocreate`).
    pub trust_empty: bool,
    /// Logs without any snapshot are replayed from nothing (`snapshot.trust.empty`).
    pub trust_logs_alone: bool,
    /// Bytes by which a log grows ahead (`preAllocSize`).
    pub preallocate: u64,
    /// Commits are synced (`forceSync`).
    pub sync: bool,
    /// A longer sync gets a warning.
    pub sync_warning: Duration,
    /// `flushDelay`, `maxBatchSize`: a batch ends after this delay or number.
    pub flush_delay: Duration,
    pub batch_max: usize,
    /// Transactions between snapshots; the trigger is drawn from its upper half.
    pub snap_count: u64,
    /// Bytes of log between snapshots, likewise; 0: no limit.
    pub snap_bytes: u64,
    /// Bytes at which a log rolls; `None`: only with a snapshot.
    pub log_bytes: Option<u64>,
    /// The tree's digest stands in transactions and snapshots (`digest.enabled`).
    pub digest: bool,
    /// Snapshots end in their last zxid (`serializeLastProcessedZxid.enabled`).
    pub last_zxid_trailer: bool,
    /// Snapshots are compressed (`snapshot.compression.method=gz`).
    pub gzip: bool,
    /// Snapshots that a purge leaves.
    pub snapshots_kept: usize,
    /// Hours between purges; `None`: never.
    pub purge_interval: Option<Duration>,
}

impl Config {
    /// Reads the file and `myid`. `jvm_flags` are the words of `JVMFLAGS`/`SERVER_JVMFLAGS`: `-Dzookeeper.K=V` counts
    /// where the file does not say K.
    pub fn load(_file: &Path, _jvm_flags: &str) -> Result<Config, ConfigError> {
        unimplemented!()
    }

    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }
}
