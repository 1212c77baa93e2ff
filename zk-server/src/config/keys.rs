//! The keys of zoo.cfg: one table for those that count here, and what becomes of the others.
//!
//! Java hands every key that it does not know to `System.setProperty("zookeeper." + key)`; such keys are marked
//! [`PROPERTIES`] here, and `-Dzookeeper.KEY=VALUE` sets them too. A value that does not fit is refused, where Java
//! falls back to the default in silence.

use super::security;
use base::{ConfigError, Entry, Kind, Opt, Table};

const INT_MAX: i64 = i32::MAX as i64;

const fn count(key: &'static str, default: &'static str, doc: &'static str) -> Opt {
    Opt::int(key, default, i32::MIN as i64, INT_MAX, doc)
}

const fn port(key: &'static str, doc: &'static str) -> Opt {
    Opt::int_opt(key, 0, 65535, doc)
}

pub const AUDIT_LOGGER: &str = "org.apache.zookeeper.audit.Slf4jAuditLogger";
pub const DEFAULT_METRICS: &str = "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider";
pub const NULL_METRICS: &str = "org.apache.zookeeper.metrics.impl.NullMetricsProvider";
pub const PROMETHEUS_METRICS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";

/// Read from the file only.
pub static TYPED: &[Opt] = &[
    count("tickTime", "3000", "Milliseconds of a tick, the unit of heartbeats and time-outs."),
    count("initLimit", "0", "Ticks in which a learner has to connect and catch up."),
    count("syncLimit", "0", "Ticks by which a learner may lag."),
    Opt::text("dataDir", "Folder of snapshots, myid and epochs (in version-2)."),
    Opt::text("dataLogDir", "Folder of transaction logs (in version-2); dataDir where it is not set."),
    port("clientPort", "Port for plain clients."),
    Opt::text("clientPortAddress", "Address that clientPort is bound to; all where it is not set."),
    count("clientPortListenBacklog", "-1", "Connections waiting to be accepted; -1: the system's default."),
    count("maxClientCnxns", "60", "Connections of one client address; 0: unlimited."),
    count("minSessionTimeout", "-1", "Shortest session time-out in milliseconds; -1: two ticks."),
    count("maxSessionTimeout", "-1", "Longest session time-out in milliseconds; -1: twenty ticks."),
    count("electionAlg", "3", "Only 3."),
    count("connectToLearnerMasterLimit", "0", "Ticks in which a learner has to connect; 0: initLimit."),
    Opt::int(
        "observerMasterPort",
        "0",
        i32::MIN as i64,
        65535,
        "Port at which followers serve observers; 0: none.",
    ),
    Opt::bool("quorumListenOnAllIPs", "false", "Quorum and election ports listen on all addresses."),
    Opt::text("peerType", "participant or observer; the server lines decide.").or("participant"),
    count("autopurge.snapRetainCount", "3", "Snapshots that a purge leaves, 3 or more."),
    count("autopurge.purgeInterval", "0", "Hours between purges; 0: never."),
    Opt::int(
        "autopurge.sizeLimitInMb",
        "10240",
        0,
        INT_MAX,
        "MiB of snapshots and logs above which the oldest go, but for three; 0: no limit. The default counts where \
         autopurge.purgeInterval is not given.",
    ),
    Opt::bool("localSessionsEnabled", "false", "New sessions are known to their server only."),
    Opt::bool("localSessionsUpgradingEnabled", "false", "They become the ensemble's with an ephemeral node."),
    Opt::bool("standaloneEnabled", "true", "A list of one server runs standalone."),
    Opt::text(
        "oraclePath",
        "File that begins with 1 where this server may decide without the other of two voters.",
    ),
    Opt::bool("reconfigEnabled", "false", "Members may be changed while servers run."),
    Opt::text(
        "dynamicConfigFile",
        "File of the server, group and weight lines; its name ends in their version.",
    ),
    Opt::text("metricsProvider.className", "Who keeps the metrics.").or(DEFAULT_METRICS),
    Opt::text("metricsProvider.httpHost", "Address of Prometheus' port.").or("0.0.0.0"),
    Opt::int("metricsProvider.httpPort", "7000", 0, 65535, "Prometheus' port."),
    Opt::bool("metricsProvider.exportJvmInfo", "true", "Prometheus sees the process, too."),
];

/// Read from the file, else from `-Dzookeeper.KEY`.
pub static PROPERTIES: &[Opt] = &[
    Opt::int("maxCnxns", "0", 0, INT_MAX, "Connections of the server; 0: unlimited."),
    Opt::list("4lw.commands.whitelist", "srvr", "Four-letter words that are answered; * allows all."),
    Opt::bool("admin.enableServer", "true", "HTTP admin server."),
    Opt::text("admin.serverAddress", "Address of the admin server.").or("0.0.0.0"),
    Opt::int("admin.serverPort", "8080", 0, 65535, "Port of the admin server."),
    Opt::text("admin.commandURL", "Path of the admin server's commands.").or("/commands"),
    Opt::bool("admin.snapshot.enabled", "true", "Snapshots over HTTP."),
    Opt::bool("admin.restore.enabled", "true", "Restoring over HTTP."),
    Opt::int("admin.rateLimiterIntervalInMS", "300000", 0, INT_MAX, "Milliseconds between two restores."),
    Opt::int("admin.idleTimeout", "30000", 1, INT_MAX, "Milliseconds of an admin connection without a byte."),
    Opt::bool("audit.enable", "false", "Writes are told in the log."),
    Opt::text("audit.impl.class", "Who tells them.").or(AUDIT_LOGGER),
    Opt::int("globalOutstandingLimit", "1000", 1, INT_MAX, "Requests under way above which reading pauses."),
    Opt::int("preAllocSize", "65536", 1, INT_MAX, "KiB by which a log grows ahead."),
    Opt::int(
        "diskReserveMb",
        "-1",
        -1,
        INT_MAX,
        "MiB of the disk below which writes are refused; -1: 64, or preAllocSize if that is more; 0: none.",
    ),
    Opt::int("snapCount", "100000", 0, INT_MAX, "Transactions between snapshots, 2 or more."),
    Opt::int(
        "snapSizeLimitInKb",
        "4194304",
        i64::MIN,
        i64::MAX,
        "KiB of log between snapshots; 0: no limit.",
    ),
    Opt::int("txnLogSizeLimitInKb", "-1", i64::MIN, i64::MAX, "KiB at which a log rolls; -1: no limit."),
    Opt::int(
        "commitLogCount",
        "500",
        i32::MIN as i64,
        INT_MAX,
        "Transactions kept for learners, 500 or more.",
    ),
    Opt::choice(
        "snapshot.compression.method",
        "",
        &["", "gz", "snappy"],
        "Compression of snapshots: none, gz or snappy.",
    ),
    Opt::bool("snapshot.trust.empty", "false", "Logs without any snapshot are replayed from nothing."),
    Opt::bool("serializeLastProcessedZxid.enabled", "true", "Snapshots end in their last zxid."),
    Opt::bool("digest.enabled", "true", "The tree's digest stands in transactions and snapshots."),
    Opt::bool("datadir.autocreate", "true", "Missing folders are created."),
    Opt::bool("db.autocreate", "true", "An empty database may vote."),
    Opt::choice("forceSync", "yes", &["yes", "no"], "Commits are synced to the disk."),
    Opt::int("fsync.warningthresholdms", "1000", 0, i64::MAX, "Milliseconds of a sync that get a warning."),
    Opt::int("maxBatchSize", "1000", 0, INT_MAX, "Transactions of a batch of the log; 0: no limit."),
    Opt::bool("closeSessionTxn.enabled", "true", "The end of a session lists the nodes that go with it."),
    count("largeRequestThreshold", "-1", "Bytes above which a request is a large one; -1: none is."),
    Opt::int("largeRequestMaxBytes", "104857600", 1, INT_MAX, "Bytes of large requests under way."),
    count("request_throttle_max_requests", "0", "Requests under way above which others wait; 0: no limit."),
    Opt::bool("request_throttle_drop_stale", "true", "Requests that waited in vain are dropped."),
    Opt::bool(
        "request_stale_latency_check",
        "false",
        "A wait longer than the session's time-out is in vain.",
    ),
    count(
        "throttled_op_wait_time",
        "0",
        "Milliseconds of waiting after which a request is refused; 0: never.",
    ),
    Opt::int("connection_throttle_tokens", "0", 0, INT_MAX, "New connections at once; 0: no limit."),
    Opt::int(
        "connection_throttle_fill_time",
        "1",
        1,
        INT_MAX,
        "Milliseconds in which fill_count more may come.",
    ),
    Opt::int("connection_throttle_fill_count", "1", 0, INT_MAX, "Connections that fill_time adds."),
    Opt::int(
        "connection_throttle_freeze_time",
        "-1",
        -1,
        INT_MAX,
        "Milliseconds between changes of the chance to be dropped; -1: nobody is.",
    ),
    Opt::float("connection_throttle_drop_increase", "0.02", 0.0, 1.0, "Added to that chance."),
    Opt::float("connection_throttle_drop_decrease", "0.002", 0.0, 1.0, "Taken from that chance."),
    Opt::float(
        "connection_throttle_decrease_ratio",
        "0",
        0.0,
        1.0,
        "Tokens missing, of all, up to which it shrinks.",
    ),
    Opt::bool("connection_throttle_weight_enabled", "false", "Connections cost what their sessions weigh."),
    count("connection_throttle_global_session_weight", "3", "Tokens of a new session."),
    count("connection_throttle_local_session_weight", "1", "Tokens of a new local session."),
    count("connection_throttle_renew_session_weight", "2", "Tokens of a session that comes back."),
    Opt::bool("extendedTypesEnabled", "false", "TTL nodes are allowed; server ids are at most 254."),
    Opt::bool("emulate353TTLNodes", "false", "TTL nodes that 3.5.3 wrote are told by its own encoding."),
    Opt::bool("enforceQuota", "false", "Writes that exceed a hard quota are refused."),
    Opt::int(
        "leaderConnectDelayDuringRetryMs",
        "100",
        0,
        INT_MAX,
        "Milliseconds between a learner's attempts.",
    ),
    Opt::text("leaderServes", "A leader serves clients unless this says no.").or("yes"),
    Opt::choice("skipACL", "no", &["yes", "no"], "ACLs are not checked."),
    Opt::text(
        "DigestAuthenticationProvider.superDigest",
        "super:<base64 of the hash>: the identity that may do all.",
    ),
    Opt::bool("DigestAuthenticationProvider.enabled", "true", "There is a scheme `digest`."),
    Opt::text("DigestAuthenticationProvider.digestAlg", "The hash of the scheme `digest`.").or("SHA1"),
    Opt::bool("enforce.auth.enabled", "false", "Clients need an id of one of enforce.auth.schemes."),
    Opt::list("enforce.auth.schemes", "", "Schemes of which each client needs one."),
    Opt::bool("clientTcpKeepAlive", "false", "SO_KEEPALIVE on clients' sockets."),
    Opt::bool("tcpKeepAlive", "false", "SO_KEEPALIVE on election sockets."),
    Opt::int("nio.sessionlessCnxnTimeout", "10000", 0, INT_MAX, "Milliseconds of life without a session."),
    Opt::bool("multiAddress.enabled", "false", "Servers may have several addresses (a:1:2|b:1:2)."),
    Opt::bool(
        "multiAddress.reachabilityCheckEnabled",
        "true",
        "An address that does not answer is left for another.",
    ),
    Opt::int(
        "multiAddress.reachabilityCheckTimeoutMs",
        "1000",
        1,
        INT_MAX,
        "Milliseconds for one of several addresses to answer.",
    ),
    Opt::int("cnxTimeout", "5000", 0, INT_MAX, "Milliseconds for dialling an election port."),
    Opt::int("quorumCnxnTimeoutMs", "-1", -1, INT_MAX, "Milliseconds for an election hello; -1: syncLimit."),
    Opt::int("electionPortBindRetry", "3", 0, INT_MAX, "Attempts to bind the election port; 0: without end."),
    Opt::int("jute.maxbuffer.extrasize", "-1", -1, INT_MAX, "Added to jute.maxbuffer for one field."),
    Opt::text(
        "ensembleAuthName",
        "Names of this ensemble, for the scheme of EnsembleAuthenticationProvider.",
    ),
];

/// Read from `-DKEY` only: in zoo.cfg they have no effect, in Java neither.
pub static FLAGS: &[Opt] = &[
    Opt::int("jute.maxbuffer", "1048575", 0, INT_MAX, "Longest frame of a client in bytes."),
    Opt::bool("readonlymode.enabled", "false", "Read-only clients are served without a quorum."),
    Opt::int(
        "znode.container.checkIntervalMs",
        "60000",
        1,
        INT_MAX,
        "Milliseconds between looks for empty containers.",
    ),
    Opt::int(
        "znode.container.maxPerMinute",
        "10000",
        1,
        INT_MAX,
        "Containers and TTL nodes removed in a minute.",
    ),
    Opt::int(
        "znode.container.maxNeverUsedIntervalMs",
        "0",
        0,
        i64::MAX,
        "Age of unused containers; 0: they stay.",
    ),
];

/// A key that needs what is not built: accepted only with a value that asks for nothing.
pub struct Refused {
    pub key: &'static str,
    pub harmless: &'static [&'static str],
    pub why: &'static str,
}

const fn refused(key: &'static str, harmless: &'static [&'static str], why: &'static str) -> Refused {
    Refused { key, harmless, why }
}

/// With another value than those, the server would be less safe or other than its operator thinks.
pub static REFUSED: &[Refused] = &[refused(
    "serverCnxnFactory",
    &[
        "org.apache.zookeeper.server.NIOServerCnxnFactory",
        "org.apache.zookeeper.server.NettyServerCnxnFactory",
    ],
    "classes cannot be loaded here: remove this line",
)];

/// `authProvider.N=CLASS`: a class that Java would load.
pub const PROVIDER: &str = "authProvider.";
pub const ENSEMBLE_PROVIDER: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
pub const DIGEST_PROVIDER: &str = "org.apache.zookeeper.server.auth.DigestAuthenticationProvider";
pub const X509_PROVIDER: &str = "org.apache.zookeeper.server.auth.X509AuthenticationProvider";
pub const SASL_PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
pub const KEY_PROVIDER: &str = "org.apache.zookeeper.server.auth.KeyAuthenticationProvider";
/// Those that are here under the same name.
pub static BUILT_IN_PROVIDERS: &[&str] = &[
    DIGEST_PROVIDER,
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
    X509_PROVIDER,
    SASL_PROVIDER,
    ENSEMBLE_PROVIDER,
    KEY_PROVIDER,
];
/// The package of ZooKeeper's own; those that are not here yet are refused.
const ZOOKEEPER_PROVIDERS: &str = "org.apache.zookeeper.server.auth.";

/// Keys of ZooKeeper that change nothing that this server promises; each given one is told in the log.
pub static WITHOUT_EFFECT: &[&str] = &[
    "syncEnabled",
    "requireKerberosConfig",
    "enableEagerACLCheck",
    "watchManagerName",
    "maxResponseCacheSize",
    "maxGetChildrenResponseCacheSize",
    "intBufferStartingSizeBytes",
    "bitHashCacheSize",
    "maxInProcessingDeadWatchers",
    "request_throttle_stall_time",
    "request_stale_connection_check",
    "request_throttler.shutdownTimeout",
    "maxWriteQueuePollTime",
    "snapshotSizeFactor",
    "forceSnapshotSync",
    "flushDelay",
    "forward_learner_requests_to_commit_processor_disabled",
];

/// The same for whole families.
pub static WITHOUT_EFFECT_PREFIXES: &[&str] = &[
    "quorum.auth.kerberos.",
    "quorum.cnxn.",
    "jvm.pause.",
    "metricsProvider.",
    "admin.",
    "IPAuthenticationProvider.",
    "kerberos.",
    "security.",
    "client.",
    "nio.",
    "netty.",
    "watcherClean",
    "fastleader.",
    "leader.",
    "learner.",
    "follower.",
    "observer.",
    "observerMaster.",
    "commitProcessor.",
    "messageTracker.",
    "pathStats.",
    "audit.",
    "jmx.",
    "testingonly.",
];

/// Why an entry cannot be accepted, if so.
pub fn refusal(entry: &Entry) -> Option<ConfigError> {
    let value = entry.value.trim();
    let by_key = REFUSED.iter().find(|refused| refused.key == entry.key);
    if let Some(refused) = by_key {
        let harmless = refused.harmless.iter().any(|word| word.eq_ignore_ascii_case(value));
        return (!harmless).then(|| entry.error(format!("`{value}`: {}", refused.why)));
    }
    let is_provider = entry.key.starts_with(PROVIDER) && value.starts_with(ZOOKEEPER_PROVIDERS);
    if is_provider && !BUILT_IN_PROVIDERS.contains(&value) {
        return Some(entry.error(format!("`{value}`: this scheme is not supported yet: remove this line")));
    }
    None
}

/// A key that ZooKeeper knows and this server does not need.
pub fn is_without_effect(key: &str) -> bool {
    WITHOUT_EFFECT.contains(&key) || WITHOUT_EFFECT_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// All keys that count, in one table.
pub fn table() -> Table {
    static ALL: std::sync::OnceLock<Vec<Opt>> = std::sync::OnceLock::new();
    Table(ALL.get_or_init(|| {
        let security = [security::TYPED, security::PROPERTIES, security::FLAGS, crate::tls::KEYS.as_slice()];
        [[TYPED, PROPERTIES, FLAGS].concat(), security.concat()].concat()
    }))
}

/// The row of a key that counts by `-DKEY` only.
pub fn flag(key: &str) -> Option<&'static Opt> {
    FLAGS.iter().chain(security::FLAGS).find(|opt| opt.key == key)
}

/// Counts in the file only: `-D` does not set it.
pub fn is_typed(key: &str) -> bool {
    TYPED.iter().chain(security::TYPED).any(|opt| opt.key == key)
}

/// The key nearest to a mistyped one, if one is near.
pub fn suggestion(key: &str) -> Option<&'static str> {
    let known = table().0.iter().map(|opt| opt.key).chain(REFUSED.iter().map(|refused| refused.key));
    known
        .map(|known| (distance(key, known), known))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, known)| known)
}

/// Letters to change, add or drop, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (before + (x != y) as usize).min(above + 1).min(row[j] + 1);
            before = above;
        }
    }
    row[b.len()]
}

/// A value of a flag as `Integer.getInteger` reads it: also hexadecimal.
pub fn decoded(opt: &Opt, value: &str) -> String {
    let hex =
        value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")).or_else(|| value.strip_prefix('#'));
    match (opt.kind, hex.and_then(|digits| i64::from_str_radix(digits, 16).ok())) {
        (Kind::Int { .. }, Some(number)) => number.to_string(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_one_list_only() {
        let mut keys: Vec<&str> = table().0.iter().map(|opt| opt.key).collect();
        keys.extend(REFUSED.iter().map(|refused| refused.key));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert!(table().read(&base::Properties::new()).is_ok(), "a default does not fit its own row");
    }

    #[test]
    fn a_near_miss_is_told_and_a_stranger_is_not() {
        assert_eq!(suggestion("ticktime"), Some("tickTime"));
        assert_eq!(suggestion("dataDirr"), Some("dataDir"));
        assert_eq!(suggestion("somethingElse"), None);
    }
}
