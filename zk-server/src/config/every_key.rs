//! Every key that a server of ZooKeeper 3.9.3 reads has a fate here, and `docs/compatibility.md` says which.

use super::keys;

/// Of zoo.cfg and of `-D` flags, the latter without their `zookeeper.`; keys of clients are not among them. `N` and
/// `<x>` stand for what is to be put there.
const KEYS: &str = "
    tickTime initLimit syncLimit connectToLearnerMasterLimit dataDir dataLogDir clientPort clientPortAddress
    clientPortListenBacklog secureClientPort secureClientPortAddress observerMasterPort maxClientCnxns
    maxCnxns minSessionTimeout maxSessionTimeout electionAlg quorumListenOnAllIPs peerType syncEnabled
    dynamicConfigFile autopurge.snapRetainCount autopurge.purgeInterval standaloneEnabled reconfigEnabled
    localSessionsEnabled localSessionsUpgradingEnabled sslQuorum portUnification sslQuorumReloadCertFiles
    quorum.auth.enableSasl quorum.auth.serverRequireSasl quorum.auth.learnerRequireSasl
    quorum.auth.learner.saslLoginContext quorum.auth.server.saslLoginContext
    quorum.auth.kerberos.servicePrincipal quorum.cnxn.threads.size jvm.pause.monitor
    jvm.pause.info-threshold.ms jvm.pause.warn-threshold.ms jvm.pause.sleep.time.ms metricsProvider.className
    metricsProvider.httpHost metricsProvider.httpPort metricsProvider.exportJvmInfo
    metricsProvider.numWorkerThreads metricsProvider.maxQueueSize metricsProvider.workerShutdownTimeoutMs
    multiAddress.enabled multiAddress.reachabilityCheckEnabled multiAddress.reachabilityCheckTimeoutMs
    oraclePath server.N group.N weight.N version 4lw.commands.whitelist admin.enableServer
    admin.serverAddress admin.serverPort admin.idleTimeout admin.commandURL admin.httpVersion
    admin.portUnification admin.forceHttps admin.needClientAuth admin.rateLimiterIntervalInMS
    admin.snapshot.enabled admin.restore.enabled globalOutstandingLimit preAllocSize snapCount
    snapSizeLimitInKb txnLogSizeLimitInKb commitLogCount snapshotSizeFactor snapshot.compression.method
    snapshot.trust.empty serializeLastProcessedZxid.enabled digest.enabled closeSessionTxn.enabled
    datadir.autocreate db.autocreate forceSync fsync.warningthresholdms flushDelay maxWriteQueuePollTime
    maxBatchSize extendedTypesEnabled emulate353TTLNodes enforceQuota skipACL enableEagerACLCheck
    DigestAuthenticationProvider.enabled DigestAuthenticationProvider.superDigest
    DigestAuthenticationProvider.digestAlg IPAuthenticationProvider.usexforwardedfor
    X509AuthenticationProvider.superUser SASLAuthenticationProvider.superPassword superUser authProvider.<x>
    ssl.authProvider ensembleAuthName sessionRequireClientSASLAuth enforce.auth.enabled enforce.auth.schemes
    allowSaslFailedClients letAnySaslUserDoX requireKerberosConfig kerberos.removeHostFromPrincipal
    kerberos.removeRealmFromPrincipal kerberos.canonicalizeHostNames kerberos.minReLoginTimeMs
    security.auth_to_local serverCnxnFactory client.portUnification client.certReload clientTcpKeepAlive
    tcpKeepAlive nio.numSelectorThreads nio.numWorkerThreads nio.directBufferBytes nio.sessionlessCnxnTimeout
    nio.shutdownTimeout netty.advancedFlowControl.enabled netty.server.outstandingHandshake.limit
    netty.server.earlyDropSecureConnectionHandshakes intBufferStartingSizeBytes maxResponseCacheSize
    maxGetChildrenResponseCacheSize largeRequestMaxBytes largeRequestThreshold request_throttle_max_requests
    request_throttle_stall_time request_throttle_drop_stale request_stale_connection_check
    request_stale_latency_check request_throttler.shutdownTimeout throttled_op_wait_time
    connection_throttle_tokens connection_throttle_fill_time connection_throttle_fill_count
    connection_throttle_freeze_time connection_throttle_drop_increase connection_throttle_drop_decrease
    connection_throttle_decrease_ratio connection_throttle_weight_enabled
    connection_throttle_global_session_weight connection_throttle_local_session_weight
    connection_throttle_renew_session_weight watchManagerName watcherCleanThreadsNum watcherCleanThreshold
    watcherCleanIntervalInSeconds maxInProcessingDeadWatchers bitHashCacheSize cnxTimeout quorumCnxnTimeoutMs
    electionPortBindRetry fastleader.minNotificationInterval fastleader.maxNotificationInterval leaderServes
    leader.maxTimeToWaitForEpoch leader.maxConcurrentSnapSyncs leader.maxConcurrentDiffSyncs
    leader.ackLoggingFrequency leader.closeSocketAsync learner.closeSocketAsync learner.asyncSending
    leaderConnectDelayDuringRetryMs forceSnapshotSync observer.reconnectDelayMs observer.election.DelayMs
    observerMaster.sizeLimit follower.skipLearnerRequestToNextProcessor
    forward_learner_requests_to_commit_processor_disabled commitProcessor.numWorkerThreads
    commitProcessor.shutdownTimeout commitProcessor.maxReadBatchSize commitProcessor.maxCommitBatchSize
    messageTracker.Enabled messageTracker.BufferSize pathStats.enabled pathStats.slotCapacity
    pathStats.slotDuration pathStats.maxDepth pathStats.sampleRate pathStats.initialDelay pathStats.delay
    pathStats.topPathMax audit.enable audit.impl.class ssl.protocol ssl.enabledProtocols ssl.ciphersuites
    ssl.keyStore.location ssl.keyStore.password ssl.keyStore.passwordPath ssl.keyStore.type
    ssl.trustStore.location ssl.trustStore.password ssl.trustStore.passwordPath ssl.trustStore.type
    ssl.context.supplier.class ssl.hostnameVerification ssl.crl ssl.ocsp ssl.clientAuth
    ssl.handshakeDetectionTimeoutMillis ssl.sslProvider fips-mode jmx.log4j.disable testingonly.initialZxid
    jute.maxbuffer jute.maxbuffer.extrasize readonlymode.enabled leader.nodelay follower.nodelay
    znode.container.checkIntervalMs znode.container.maxPerMinute znode.container.maxNeverUsedIntervalMs
    java.security.auth.login.config sasl.serverconfig
";

/// Lines that make the ensemble, or name classes: they are looked at, but are no keys of the table.
const SHAPES: &[&str] =
    &["server.N", "group.N", "weight.N", "version", "authProvider.<x>", "metricsProvider.className"];
/// Of the JVM itself, looked at by nobody but it.
const OF_THE_JVM: &[&str] = &["java.security.auth.login.config"];

fn all() -> impl Iterator<Item = &'static str> {
    KEYS.split_whitespace()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Counts,
    Refused,
    Ignored,
}

fn fate(key: &str) -> Option<Fate> {
    let refused = || keys::REFUSED.iter().any(|refused| refused.key == key);
    match key {
        _ if SHAPES.contains(&key) || keys::table().get(key).is_some() => Some(Fate::Counts),
        _ if refused() => Some(Fate::Refused),
        _ if keys::is_without_effect(key) || OF_THE_JVM.contains(&key) => Some(Fate::Ignored),
        _ => None,
    }
}

/// The rows of the table of keys: what stands in backticks in the first column, and the second column.
fn documented() -> Vec<(Vec<String>, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("## Configuration").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.replace("\\|", "/").split('|').map(str::to_owned).collect::<Vec<_>>());
    cells.map(|cells| (names(&cells[1]), cells[2].trim().to_owned())).collect()
}

fn names(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let words = quoted.flat_map(str::split_whitespace);
    words.map(|word| word.split(['=', '(', ';']).next().unwrap_or_default().to_owned()).collect()
}

/// The key itself, or its family: `admin.*`, `*RequireSasl`.
fn speaks_of(name: &str, key: &str) -> bool {
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(end), _) if !end.is_empty() => key.ends_with(end),
        (_, Some(start)) if !start.is_empty() => key.starts_with(start),
        _ => name == key || name == key.replace("<x>", "N"),
    }
}

#[test]
fn every_key_of_zookeeper_has_a_fate() {
    let without: Vec<&str> = all().filter(|key| fate(key).is_none()).collect();
    assert_eq!(without, Vec::<&str>::new());
    assert_eq!(fate("noSuchKey"), None);
}

#[test]
fn the_documents_say_what_becomes_of_every_key() {
    let rows = documented();
    let wrong: Vec<String> = all()
        .filter_map(|key| {
            let fate = fate(key)?;
            // A row that names the key counts for more than one of its family.
            let exact = rows.iter().filter(|(names, _)| names.iter().any(|name| name == key));
            let family = rows.iter().filter(|(names, _)| names.iter().any(|name| speaks_of(name, key)));
            let states: Vec<&str> = match exact.clone().count() {
                0 => family.map(|(_, state)| &**state).collect(),
                _ => exact.map(|(_, state)| &**state).collect(),
            };
            let says = |state: &&str| match fate {
                Fate::Counts => !state.starts_with("ignored"),
                Fate::Refused => state.contains("refused"),
                Fate::Ignored => state.contains("ignored"),
            };
            (!states.iter().any(says)).then(|| format!("{key}: {fate:?}, and the rows say {states:?}"))
        })
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}
