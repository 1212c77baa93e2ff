//! zoo.cfg and myid as a typed [`Config`]: all of it valid before a port is bound or a file is opened.

mod auth;
mod dynamic;
#[cfg(test)]
mod every_key;
#[cfg(test)]
mod every_row;
mod flags;
mod keys;
mod limits;
pub mod security;
#[cfg(test)]
mod tests;

use base::{ConfigError, Entry, Origin, Properties, Settings};
pub use limits::LargeRequests;
pub use security::{AdminHttps, Security};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{error, info, warn};
use wire::zk::Sid;
use zk_core::CoreConfig;
use zk_core::config::{Dialling, Ensemble, LocalSessionRules, Reaping, Reconfig, Role};
pub use zk_core::member::{HostPort, Member};
use zk_core::quorums::{QuorumLines, Quorums};

/// The least time that an election gets before read-only clients are served.
const READ_ONLY_GRACE_MS: u64 = 2000;

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
    /// `largeRequest*`; `None`: no limit.
    pub large_requests: Option<LargeRequests>,

    /// The ensemble; empty for a standalone server.
    pub members: BTreeMap<Sid, Member>,
    /// `oraclePath`: says whether this server may decide without the other of two voters.
    pub oracle: Option<PathBuf>,
    /// The members' lines stand in a file of their own (`dynamicConfigFile`).
    pub dynamic: bool,
    /// The quorum and election ports listen on all addresses.
    pub quorum_listen_on_all_ips: bool,
    /// `observerMasterPort`: where followers serve observers.
    pub observer_master_port: Option<u16>,
    /// How long one of several addresses of a server is given to answer (`multiAddress.reachabilityCheck*`).
    pub address_probe: Option<Duration>,
    /// `cnxTimeout`: of dialling an election port.
    pub connect_timeout: Duration,
    /// `quorumCnxnTimeoutMs`: of reading an election port's hello.
    pub hello_timeout: Duration,
    /// Attempts to bind the election port, a second apart; 0: without end.
    pub election_bind_retries: u32,
    /// `tcpKeepAlive`: on election sockets.
    pub election_keep_alive: bool,

    /// TLS and SASL.
    pub security: Security,

    /// `4lw.commands.whitelist`; `*` allows all.
    pub words: Vec<String>,
    /// The HTTP admin server; `None`: off.
    pub admin: Option<Admin>,
    pub metrics: Provider,

    pub disk: DiskConfig,
    pub core: CoreConfig,
}

/// The admin server's `admin.*` keys.
#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: HostPort,
    /// `/commands`
    pub url: String,
    /// Of a connection without a byte.
    pub idle_timeout: Duration,
    /// `None`: HTTP alone.
    pub https: Option<AdminHttps>,
    /// `admin.snapshot.enabled`, `admin.restore.enabled`
    pub snapshots: bool,
    pub restores: bool,
    /// `admin.rateLimiterIntervalInMS`: a restore in so many milliseconds, a snapshot in as many microseconds.
    pub rate_interval_ms: u64,
}

/// `metricsProvider.className`: in which form metrics are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    Default,
    /// `mntr` has no metrics.
    Null,
    Prometheus(PrometheusEndpoint),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusEndpoint {
    pub listen: HostPort,
    /// The process's own figures stand among the others (`metricsProvider.exportJvmInfo`).
    pub process: bool,
}

/// How snapshots are written; those that are there are read by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotCompression {
    #[default]
    None,
    Gzip,
    Snappy,
}

impl SnapshotCompression {
    /// Behind the zxid in a file's name.
    pub fn suffix(self) -> &'static str {
        match self {
            SnapshotCompression::None => "",
            SnapshotCompression::Gzip => ".gz",
            SnapshotCompression::Snappy => ".snappy",
        }
    }
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
    /// Bytes of the disk that clients' writes leave alone (`diskReserveMb`); 0: none.
    pub reserve: u64,
    /// Commits are synced (`forceSync`).
    pub sync: bool,
    /// A longer sync gets a warning.
    pub sync_warning: Duration,
    /// `maxBatchSize`: a batch ends after this number.
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
    /// `snapshot.compression.method`
    pub compression: SnapshotCompression,
    /// Snapshots that a purge leaves.
    pub snapshots_kept: usize,
    /// Hours between purges; `None`: never.
    pub purge_interval: Option<Duration>,
    /// Bytes of snapshots and logs above which the oldest go, but for the newest three snapshots; `None`: no limit.
    pub size_max: Option<u64>,
    /// Longest transaction, and longest path or data in a snapshot, that recovery takes (`jute.maxbuffer` + its extra).
    pub entry_max: usize,
}

impl Config {
    /// Reads the file and `myid`. `jvm_flags` are the words of `JVMFLAGS`/`SERVER_JVMFLAGS`: `-Dzookeeper.K=V` counts
    /// where the file does not say K.
    ///
    /// The order of checks and the texts are ZooKeeper's where it has them.
    pub fn load(file: &Path, jvm_flags: &str) -> Result<Config, ConfigError> {
        info!("Reading configuration from: {}", file.display());
        if !file.exists() {
            return Err(ConfigError::new(format!("{} file is missing", file.display())));
        }
        let text = std::fs::read(file)
            .map_err(|error| ConfigError::new(format!("cannot read {}: {error}", file.display())))?;
        let written = Properties::parse(&file.display().to_string(), &text)?;
        let settings = settings(&written, jvm_flags)?;
        let config = typed(file, &settings).and_then(|mut config| {
            config.text = String::from_utf8_lossy(&text).into_owned();
            config.join_ensemble(&written, &settings)?;
            Ok(config)
        });
        // What has no line, such as a key that is missing, is told with the file at least.
        config.map_err(|wrong| match wrong.origin {
            Some(_) => wrong,
            None => ConfigError::new(format!("{}: {wrong}", file.display())),
        })
    }

    /// A standalone server from words: `PORT DATADIR [TICKTIME] [MAXCNXNS]`, the form of ZooKeeper's first releases.
    pub fn from_arguments(
        port: &str,
        data_dir: &str,
        rest: &[String],
        jvm_flags: &str,
    ) -> Result<Config, ConfigError> {
        let mut words = Properties::new();
        let max_cnxns = rest.get(1).map_or("0", String::as_str);
        for (key, value) in [("clientPort", port), ("dataDir", data_dir), ("maxClientCnxns", max_cnxns)] {
            words.set("arguments", key, value);
        }
        if let Some(tick) = rest.first() {
            words.set("arguments", "tickTime", tick);
        }
        typed(Path::new(""), &settings(&words, jvm_flags)?)
    }

    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }

    /// Java passes `group.N` lines over where there is an oracle, and the oracle where there are more than two voters.
    fn check_oracle(
        &self,
        settings: &Settings,
        members: &BTreeMap<Sid, Member>,
        quorums: &Quorums,
    ) -> Result<(), ConfigError> {
        if self.oracle.is_none() {
            return Ok(());
        }
        if *quorums != Quorums::Majority {
            let message = "an oracle decides between two voters, not between groups: remove one or the other";
            return Err(settings.error("oraclePath", message));
        }
        let voters = members.values().filter(|member| member.role == Role::Participant).count();
        if voters != 2 {
            warn!("oraclePath is without effect: there are {voters} voters, and not two");
        }
        Ok(())
    }

    /// The `server.N` lines, `myid`, and what has to hold between them.
    fn join_ensemble(&mut self, written: &Properties, settings: &Settings) -> Result<(), ConfigError> {
        let dynamic::Lines { entries, version, proposed } = dynamic::lines(&self.file, written)?;
        let mut members = read_members(&entries, self.core.multi_address)?;
        let quorums = read_quorums(&entries, &members)?;
        let distributed = is_distributed(&members, settings.bool("standaloneEnabled"))?;
        let myid = read_myid(&self.data_dir)?;
        if let Some(myid) = myid {
            base::logging::set_myid(myid);
            if let Some(me) = members.get_mut(&myid) {
                self.agree_on_client(myid, me)?;
                check_peer_type(settings, me.role);
            }
        }
        if !distributed {
            return Ok(());
        }
        self.check_oracle(settings, &members, &quorums)?;
        if self.core.init_limit == 0 {
            return Err(ConfigError::new("initLimit is not set"));
        }
        if self.core.sync_limit == 0 {
            return Err(ConfigError::new("syncLimit is not set"));
        }
        let Some(myid) = myid else {
            return Err(ConfigError::new(format!(
                "{} file is missing",
                self.data_dir.join("myid").display()
            )));
        };
        if !members.contains_key(&myid) {
            return Err(ConfigError::new(format!(
                "My id {myid} not in the peer list: {} says {myid}, but there is no server.{myid} line",
                self.data_dir.join("myid").display()
            )));
        }
        if self.core.extended_types && myid > 254 {
            return Err(settings.error("extendedTypesEnabled", "server ids above 254 cannot have TTL nodes"));
        }
        self.core.myid = myid;
        // Both are a member's: a server that runs by itself passes these settings over, in Java, too.
        self.core.local_sessions = LocalSessionRules {
            enabled: settings.bool("localSessionsEnabled"),
            upgrading: settings.bool("localSessionsUpgradingEnabled"),
        };
        let grace = self.core.tick_ms.max(READ_ONLY_GRACE_MS);
        self.core.read_only_after_ms = settings.bool("readonlymode.enabled").then_some(grace);
        self.core.reconfig.proposed = proposed;
        self.core.ensemble = Some(Ensemble::new(members.clone(), quorums, version));
        self.members = members;
        Ok(())
    }

    /// The client address of this server's line and the one of `clientPort` must not contradict each other.
    fn agree_on_client(&mut self, myid: Sid, me: &mut Member) -> Result<(), ConfigError> {
        match (&self.client, &me.client) {
            (Some(here), Some(there)) => {
                let any = here.host == "0.0.0.0" || here.host == "::";
                if here.port != there.port || (!any && here.host != there.host) {
                    return Err(ConfigError::new(format!(
                        "client address for this server (id = {myid}) in static config file is {here} is different \
                         from client address found in dynamic file: {there}"
                    )));
                }
                self.client = me.client.clone();
            }
            (None, Some(_)) => self.client = me.client.clone(),
            (Some(_), None) => me.client = self.client.clone(),
            (None, None) => {}
        }
        Ok(())
    }
}

/// The file over the flags, with everything refused that this server cannot keep.
fn settings(written: &Properties, jvm_flags: &str) -> Result<Settings, ConfigError> {
    let mut effective = flags::read(jvm_flags);
    if let Some(refused) = effective.iter().chain(written.iter()).find_map(keys::refusal) {
        return Err(refused);
    }
    let mut file = Properties::new();
    for entry in written.iter() {
        match keys::flag(&entry.key).is_some() {
            true => {
                warn!("{}: {} has no effect in this file; set -D{0} in JVMFLAGS", entry.origin, entry.key)
            }
            false => file.push(entry.clone()),
        }
    }
    effective.overlay(file);
    let settings = keys::table().read(&effective)?;
    for entry in &settings.unknown {
        tell_unused(entry);
    }
    Ok(settings)
}

fn tell_unused(entry: &Entry) {
    let Entry { key, origin, .. } = entry;
    if key.starts_with("server.")
        || QuorumLines::is_one(key)
        || key == "version"
        || key.starts_with("superUser.")
    {
        return;
    }
    match keys::suggestion(key) {
        _ if key.starts_with(keys::PROVIDER) => {
            if !keys::BUILT_IN_PROVIDERS.contains(&entry.value.trim()) {
                // As with a class that Java does not find: nobody can use its scheme.
                warn!("{origin}: {key}: Problems loading {}: classes cannot be loaded here", entry.value);
            }
        }
        _ if keys::is_without_effect(key) => info!("{origin}: {key} has no effect on this server"),
        Some(known) => warn!("{origin}: {key} is not known and has no effect; did you mean {known}?"),
        None => warn!("{origin}: {key} is not known and has no effect"),
    }
}

fn metrics_provider(settings: &Settings) -> Result<Provider, ConfigError> {
    let class = settings.text("metricsProvider.className").trim();
    info!("metricsProvider.className is {class}");
    match class {
        keys::DEFAULT_METRICS => Ok(Provider::Default),
        keys::NULL_METRICS => Ok(Provider::Null),
        keys::PROMETHEUS_METRICS => Ok(Provider::Prometheus(PrometheusEndpoint {
            listen: HostPort::new(
                settings.text("metricsProvider.httpHost"),
                settings.int("metricsProvider.httpPort") as u16,
            ),
            process: settings.bool("metricsProvider.exportJvmInfo"),
        })),
        other => {
            let message = format!("metrics provider class was not found: {other}");
            Err(settings.error("metricsProvider.className", message))
        }
    }
}

/// Everything but the ensemble, in ZooKeeper's order of checks.
fn typed(file: &Path, settings: &Settings) -> Result<Config, ConfigError> {
    if settings.int("electionAlg") != 3 {
        return Err(settings.error("electionAlg", "Invalid electionAlg value. Only 3 is supported."));
    }
    let peer_type = settings.text("peerType");
    if !["participant", "observer"].contains(&peer_type.to_ascii_lowercase().as_str()) {
        return Err(settings.error(
            "peerType",
            format!("Unrecognised peertype: {peer_type}: write participant or observer"),
        ));
    }
    let Some(data_dir) = settings.text_opt("dataDir").map(PathBuf::from) else {
        return Err(ConfigError::new("dataDir is not set"));
    };
    let client = client_address(settings)?;
    let security = Security::read(settings)?;
    let (tick, session_min, session_max) = times(settings)?;
    let sync_limit = settings.int("syncLimit");
    let hello_timeout = match settings.int("quorumCnxnTimeoutMs") {
        -1 => tick * sync_limit.max(0),
        given => given,
    };
    let frame_max = settings.int("jute.maxbuffer");
    let core = CoreConfig {
        // A standalone server's session ids begin with 1, whatever its myid.
        myid: 1,
        ensemble: None,
        tick_ms: tick as u64,
        init_limit: settings.int("initLimit").max(0) as u64,
        sync_limit: sync_limit.max(0) as u64,
        session_ms_min: session_min,
        session_ms_max: session_max,
        auth: auth::rules(settings, &security)?,
        extended_types: settings.bool("extendedTypesEnabled"),
        emulate_353: settings.bool("extendedTypesEnabled") && settings.bool("emulate353TTLNodes"),
        enforce_quota: settings.bool("enforceQuota"),
        digest: settings.bool("digest.enabled"),
        sessionless_ms: settings.int("nio.sessionlessCnxnTimeout").max(0) as u64,
        connects: limits::connects(settings),
        requests: limits::requests(settings),
        close_session_lists: settings.bool("closeSessionTxn.enabled"),
        commit_log_count: settings.int("commitLogCount").max(500) as usize,
        term_end: zk_core::config::TERM_END,
        jute_max: field_max(settings),
        reaping: reaping(settings),
        multi_address: settings.bool("multiAddress.enabled"),
        local_sessions: LocalSessionRules::default(),
        read_only_after_ms: None,
        reconfig: Reconfig {
            enabled: settings.bool("reconfigEnabled"),
            standalone: settings.bool("standaloneEnabled"),
            proposed: None,
        },
        oracle: settings.is_given("oraclePath"),
        observer_masters: observer_master_port(settings).is_some(),
        leader_serves: settings.text("leaderServes") != "no",
        dialling: Dialling {
            limit: settings.int("connectToLearnerMasterLimit").max(0) as u64,
            pause_ms: settings.int("leaderConnectDelayDuringRetryMs") as u64,
        },
        audit: audited(settings)?,
    };
    Ok(Config {
        file: file.into(),
        text: String::new(),
        data_log_dir: settings.text_opt("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from),
        data_dir,
        client,
        client_backlog: i32::try_from(settings.int("clientPortListenBacklog"))
            .ok()
            .filter(|backlog| *backlog > 0),
        client_cnxns_max: settings.int("maxClientCnxns").max(0) as usize,
        cnxns_max: settings.int("maxCnxns") as usize,
        client_keep_alive: settings.bool("clientTcpKeepAlive"),
        sessionless_timeout: millis(settings, "nio.sessionlessCnxnTimeout"),
        outstanding_max: settings.int("globalOutstandingLimit") as usize,
        frame_max: frame_max as usize,
        large_requests: limits::large_requests(settings),
        members: BTreeMap::new(),
        oracle: settings.text_opt("oraclePath").map(PathBuf::from),
        dynamic: settings.text_opt("dynamicConfigFile").is_some(),
        quorum_listen_on_all_ips: settings.bool("quorumListenOnAllIPs"),
        observer_master_port: observer_master_port(settings),
        address_probe: settings
            .bool("multiAddress.reachabilityCheckEnabled")
            .then(|| millis(settings, "multiAddress.reachabilityCheckTimeoutMs")),
        connect_timeout: millis(settings, "cnxTimeout"),
        hello_timeout: Duration::from_millis(hello_timeout as u64),
        election_bind_retries: settings.int("electionPortBindRetry") as u32,
        election_keep_alive: settings.bool("tcpKeepAlive"),
        security,
        words: words(settings),
        admin: admin(settings)?,
        metrics: metrics_provider(settings)?,
        disk: disk(settings),
        core,
    })
}

fn admin(settings: &Settings) -> Result<Option<Admin>, ConfigError> {
    if !settings.bool("admin.enableServer") {
        return Ok(None);
    }
    let port = settings.int("admin.serverPort") as u16;
    Ok(Some(Admin {
        listen: HostPort::new(settings.text("admin.serverAddress"), port),
        url: settings.text("admin.commandURL").into(),
        idle_timeout: millis(settings, "admin.idleTimeout"),
        https: security::admin_https(settings)?,
        snapshots: settings.bool("admin.snapshot.enabled"),
        restores: settings.bool("admin.restore.enabled"),
        rate_interval_ms: settings.int("admin.rateLimiterIntervalInMS") as u64,
    }))
}

/// Whether the audit trail is on; only Java could load another class for it.
fn audited(settings: &Settings) -> Result<bool, ConfigError> {
    let on = settings.bool("audit.enable");
    let class = settings.text("audit.impl.class").trim();
    if on && class != keys::AUDIT_LOGGER {
        let message =
            format!("Couldn't instantiate {class}: classes cannot be loaded here: remove this line");
        return Err(settings.error("audit.impl.class", message));
    }
    info!("ZooKeeper audit is {}.", if on { "enabled" } else { "disabled" });
    Ok(on)
}

fn millis(settings: &Settings, key: &str) -> Duration {
    Duration::from_millis(settings.int(key) as u64)
}

fn client_address(settings: &Settings) -> Result<Option<HostPort>, ConfigError> {
    let address = settings.text_opt("clientPortAddress");
    let client = match (settings.int_opt("clientPort"), address) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(
                settings.error("clientPortAddress", "clientPortAddress is set but clientPort is not set")
            );
        }
        (Some(port), address) => {
            let host = address.unwrap_or("0.0.0.0");
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some(HostPort::new(bare, port as u16))
        }
    };
    match &client {
        Some(client) => info!("clientPortAddress is {client}"),
        None => info!("clientPort is not set"),
    }
    match observer_master_port(settings) {
        Some(port) => info!("observerMasterPort is {port}"),
        None => info!("observerMasterPort is not set"),
    }
    Ok(client)
}

/// The tick, and the shortest and longest session, in milliseconds.
fn times(settings: &Settings) -> Result<(i64, i32, i32), ConfigError> {
    let tick = settings.int("tickTime");
    if tick <= 0 {
        return Err(settings.error("tickTime", "tickTime is not set: write milliseconds, such as 2000"));
    }
    let or_ticks = |key: &str, ticks: i64| match settings.int(key) {
        -1 => (tick * ticks).min(i32::MAX as i64) as i32,
        given => given as i32,
    };
    let (min, max) = (or_ticks("minSessionTimeout", 2), or_ticks("maxSessionTimeout", 20));
    if min > max {
        let message = format!("minSessionTimeout must not be larger than maxSessionTimeout ({min} > {max})");
        let given = settings.is_given("minSessionTimeout") || !settings.is_given("maxSessionTimeout");
        return Err(settings.error(if given { "minSessionTimeout" } else { "maxSessionTimeout" }, message));
    }
    Ok((tick, min, max))
}

/// `srvr` is always among them, because `zkServer status` asks it; `isro` with read-only mode.
fn words(settings: &Settings) -> Vec<String> {
    let mut words = settings.list("4lw.commands.whitelist").to_vec();
    if settings.bool("readonlymode.enabled") {
        words.push("isro".into());
    }
    words.push("srvr".into());
    words
}

fn disk(settings: &Settings) -> DiskConfig {
    let mut kept = settings.int("autopurge.snapRetainCount");
    if kept < 3 {
        warn!("Invalid autopurge.snapRetainCount: {kept}. Defaulting to 3");
        kept = 3;
    }
    let hours = settings.int("autopurge.purgeInterval");
    info!("autopurge.snapRetainCount set to {kept}");
    info!("autopurge.purgeInterval set to {hours}");
    let size_max = purge_size(settings);
    let kib = |key: &str| settings.int(key).max(0) as u64 * 1024;
    DiskConfig {
        autocreate: settings.bool("datadir.autocreate"),
        trust_empty: settings.bool("db.autocreate"),
        trust_logs_alone: settings.bool("snapshot.trust.empty"),
        preallocate: kib("preAllocSize"),
        reserve: match settings.int("diskReserveMb") {
            -1 => kib("preAllocSize").max(64 << 20),
            mib => (mib as u64) << 20,
        },
        sync: settings.text("forceSync") == "yes",
        sync_warning: millis(settings, "fsync.warningthresholdms"),
        batch_max: match settings.int("maxBatchSize") {
            0 => usize::MAX,
            given => given as usize,
        },
        snap_count: settings.int("snapCount").max(2) as u64,
        snap_bytes: kib("snapSizeLimitInKb"),
        log_bytes: Some(kib("txnLogSizeLimitInKb")).filter(|bytes| *bytes > 0),
        digest: settings.bool("digest.enabled"),
        last_zxid_trailer: settings.bool("serializeLastProcessedZxid.enabled"),
        compression: match settings.text("snapshot.compression.method") {
            "gz" => SnapshotCompression::Gzip,
            "snappy" => SnapshotCompression::Snappy,
            _ => SnapshotCompression::None,
        },
        snapshots_kept: kept as usize,
        size_max,
        purge_interval: (hours > 0).then(|| Duration::from_secs(hours as u64 * 3600)),
        entry_max: field_max(settings),
    }
}

/// Longest field of a record: `jute.maxbuffer`, and as much again or the given extra.
fn field_max(settings: &Settings) -> usize {
    let frame_max = settings.int("jute.maxbuffer");
    let extra = match settings.int("jute.maxbuffer.extrasize") {
        -1 => frame_max,
        given => given,
    };
    (frame_max + extra.max(1024)) as usize
}

fn reaping(settings: &Settings) -> Reaping {
    Reaping {
        check_ms: settings.int("znode.container.checkIntervalMs") as u64,
        gap_ms: 60_000 / settings.int("znode.container.maxPerMinute") as u64,
        never_used_ms: settings.int("znode.container.maxNeverUsedIntervalMs"),
    }
}

fn observer_master_port(settings: &Settings) -> Option<u16> {
    u16::try_from(settings.int("observerMasterPort")).ok().filter(|port| *port > 0)
}

fn read_members(written: &Properties, multi_address: bool) -> Result<BTreeMap<Sid, Member>, ConfigError> {
    let mut members = BTreeMap::new();
    for entry in written.iter() {
        let Some(sid) = entry.key.strip_prefix("server.") else { continue };
        let sid: Sid =
            sid.parse().map_err(|_| entry.error(format!("`{sid}` is not a number: write server.N=...")))?;
        let member = Member::parse(sid, entry.value.trim());
        let member = if multi_address { member } else { member.and_then(|member| member.single(sid)) };
        members.insert(sid, member.map_err(|wrong| entry.error(wrong))?);
    }
    Ok(members)
}

/// The `group.N` and `weight.N` lines.
fn read_quorums(written: &Properties, members: &BTreeMap<Sid, Member>) -> Result<Quorums, ConfigError> {
    let mut lines = QuorumLines::default();
    for entry in written.iter().filter(|entry| QuorumLines::is_one(&entry.key)) {
        lines.read(&entry.key, &entry.value).map_err(|wrong| entry.error(wrong))?;
    }
    lines.finish(members).map_err(|wrong| match wrong.split_once(' ').and_then(|(key, _)| written.get(key)) {
        Some(entry) => entry.error(wrong),
        None => ConfigError::new(wrong),
    })
}

/// Whether the list makes an ensemble, and not one server that runs by itself.
fn is_distributed(members: &BTreeMap<Sid, Member>, standalone: bool) -> Result<bool, ConfigError> {
    let voters = members.values().filter(|member| member.role == Role::Participant).count();
    let observers = members.len() - voters;
    match voters {
        0 if !standalone => {
            Err(ConfigError::new("standaloneEnabled = false then number of participants should be >0"))
        }
        0 if observers > 0 => Err(ConfigError::new("Observers w/o participants is an invalid configuration")),
        0 => Ok(false),
        1 if standalone && observers > 0 => {
            Err(ConfigError::new("Observers w/o quorum is an invalid configuration"))
        }
        1 if standalone => {
            error!("Invalid configuration, only one server specified (ignoring)");
            Ok(false)
        }
        _ => {
            if voters <= 2 {
                warn!("No server failure will be tolerated. You need at least 3 servers.");
            } else if voters.is_multiple_of(2) {
                warn!("Non-optimal configuration, consider an odd number of servers.");
            }
            Ok(true)
        }
    }
}

/// `dataDir/myid`: its first line. `None` where there is no such file.
fn read_myid(data_dir: &Path) -> Result<Option<Sid>, ConfigError> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|error| ConfigError::new(format!("cannot read {}: {error}", path.display())))?;
    let first = text.lines().next().unwrap_or_default();
    // Java refuses blanks round the number; they are forgiven here, as `echo 1 > myid` variants leave them.
    first.trim().parse().map(Some).map_err(|_| ConfigError {
        origin: Some(Origin { source: path.display().to_string().into(), line: Some(1) }),
        key: None,
        message: format!("serverid {first} is not a number"),
    })
}

fn check_peer_type(settings: &Settings, by_list: Role) {
    let (said, listed) =
        (settings.text("peerType").to_ascii_uppercase(), format!("{by_list:?}").to_uppercase());
    if said != listed {
        warn!(
            "Peer type from servers list ({listed}) doesn't match peerType ({said}). Defaulting to servers list."
        );
    }
}

/// Where the operator says nothing of purges, they are bounded by size; where he says so, as he says.
fn purge_size(settings: &Settings) -> Option<u64> {
    const KEY: &str = "autopurge.sizeLimitInMb";
    let bytes = settings.int(KEY) as u64 * (1 << 20);
    let counts = settings.is_given(KEY) || !settings.is_given("autopurge.purgeInterval");
    let limit = Some(bytes).filter(|bytes| counts && *bytes > 0)?;
    info!(
        "{KEY} is {}: the oldest snapshots and logs go above it, but the newest three and their logs stay",
        settings.int(KEY)
    );
    Some(limit)
}
