//! Names under which operators know loggers, Java's and our own, and what they have logged here. Java's are a tree by their
//! dots, ours (modules of Rust) by `::`; a logger without a level of its own has that of the nearest one above it, at last
//! that of `root`. Where several speak of one module, the most talkative of those that were set counts.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use base::logging;
use tracing::level_filters::LevelFilter;

/// The one above all others.
pub const ROOT: &str = "root";

/// A level as Kafka names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// In the order in which Kafka names them in errors.
    pub const ALL: [Level; 6] =
        [Level::Trace, Level::Error, Level::Info, Level::Fatal, Level::Debug, Level::Warn];

    pub fn name(self) -> &'static str {
        match self {
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }

    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    fn filter(self) -> LevelFilter {
        match self {
            // Nothing is logged as fatal here.
            Level::Fatal => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }

    fn of(filter: LevelFilter) -> Level {
        Level::ALL.into_iter().find(|level| level.filter() == filter).unwrap_or(Level::Fatal)
    }
}

/// Java's loggers and the modules that log here what they log there. Those without any are branches of the tree, or log what
/// does not come up here; they are known so that who sets them is not refused.
const OF_JAVA: &[(&str, &[&str])] = &[
    ("kafka", &[]),
    ("kafka.Kafka$", &["kafka.Kafka$"]),
    ("kafka.authorizer.logger", &["kafka.authorizer.logger"]),
    ("kafka.cluster", &[]),
    ("kafka.cluster.Partition", &["broker::shard::replica"]),
    ("kafka.cluster.Replica", &["broker::shard::replica"]),
    ("kafka.controller", &[]),
    ("kafka.controller.ControllerChannelManager", &["broker::controller::channel"]),
    ("kafka.controller.ControllerEventManager$ControllerEventThread", &["broker::controller"]),
    ("kafka.controller.KafkaController", &["broker::controller", "broker::controller::active"]),
    ("kafka.controller.RequestSendThread", &["broker::controller::channel"]),
    ("kafka.controller.TopicDeletionManager", &["broker::controller::topics"]),
    ("kafka.controller.ZkPartitionStateMachine", &["broker::controller::writes"]),
    ("kafka.controller.ZkReplicaStateMachine", &["broker::controller::lists"]),
    ("kafka.coordinator", &[]),
    ("kafka.coordinator.group", &[]),
    ("kafka.coordinator.group.GroupCoordinator", &["broker::shard::groups"]),
    ("kafka.coordinator.group.GroupMetadataManager", &["broker::shard::groups"]),
    ("kafka.coordinator.transaction", &[]),
    ("kafka.coordinator.transaction.TransactionCoordinator", &["broker::shard::transactions"]),
    ("kafka.coordinator.transaction.TransactionMarkerChannelManager", &["broker::markers"]),
    ("kafka.coordinator.transaction.TransactionStateManager", &["broker::shard::transactions"]),
    ("kafka.coordinator.transaction.ZkProducerIdManager", &["broker::zk::producer_ids"]),
    ("kafka.log", &[]),
    ("kafka.log.LocalLog", &["broker::log"]),
    ("kafka.log.LogCleaner", &["broker::shard::cleaner", "broker::log::cleaner"]),
    ("kafka.log.LogCleaner$CleanerThread", &["broker::shard::cleaner", "broker::log::cleaner"]),
    ("kafka.log.LogCleanerManager", &["broker::shard::cleaner"]),
    ("kafka.log.LogLoader", &["broker::log::load", "broker::log::recovery"]),
    ("kafka.log.LogManager", &["broker::store", "broker::shard::upkeep"]),
    ("kafka.log.LogSegment", &["broker::log::segment"]),
    ("kafka.log.UnifiedLog", &["broker::log"]),
    ("kafka.network", &[]),
    ("kafka.network.ConnectionQuotas", &["broker::connections"]),
    ("kafka.network.DataPlaneAcceptor", &["broker::net"]),
    ("kafka.network.Processor", &["broker::net"]),
    ("kafka.network.RequestChannel$", &[REQUESTS]),
    ("kafka.network.SocketServer", &["broker::net"]),
    ("kafka.request.logger", &[REQUESTS]),
    ("kafka.security", &[]),
    ("kafka.security.authorizer.AclAuthorizer", &["broker::authorizer"]),
    ("kafka.server", &[]),
    ("kafka.server.BrokerToControllerRequestThread", &["broker::peers"]),
    ("kafka.server.ClientQuotaManager", &["broker::quotas"]),
    ("kafka.server.ClientRequestQuotaManager", &["broker::quotas"]),
    ("kafka.server.ConfigAdminManager", &["broker::api::configs"]),
    ("kafka.server.DefaultAlterPartitionManager", &["broker::alter"]),
    ("kafka.server.DynamicBrokerConfig", &["broker::dynamic"]),
    ("kafka.server.DynamicConfigManager", &["broker::server"]),
    ("kafka.server.FetchManager", &["broker::api::fetch"]),
    ("kafka.server.KafkaApis", &["broker::api"]),
    ("kafka.server.KafkaConfig", &["broker::config"]),
    ("kafka.server.KafkaRequestHandler", &["broker::api"]),
    ("kafka.server.KafkaRequestHandlerPool", &["broker::api"]),
    ("kafka.server.KafkaServer", &["broker::server"]),
    ("kafka.server.ReplicaAlterLogDirsManager", &["broker::mover"]),
    ("kafka.server.ReplicaAlterLogDirsThread", &["broker::mover", "broker::shard::moves"]),
    ("kafka.server.ReplicaFetcherManager", &["broker::fetcher"]),
    ("kafka.server.ReplicaFetcherThread", &["broker::fetcher"]),
    ("kafka.server.ReplicaManager", &["broker::shard", "broker::shard::control"]),
    ("kafka.server.ReplicationQuotaManager", &["broker::throttles"]),
    ("kafka.server.ZkAdminManager", &["broker::api::configs", "broker::topics"]),
    ("kafka.server.metadata.ZkMetadataCache", &["broker::metadata"]),
    ("kafka.utils", &[]),
    ("kafka.utils.Log4jController", &["broker::loggers"]),
    ("kafka.zk", &[]),
    ("kafka.zk.KafkaZkClient", &["broker::zk"]),
    ("kafka.zookeeper", &[]),
    ("kafka.zookeeper.ZooKeeperClient", &["broker::zk"]),
    ("org.apache.kafka", &[]),
    ("org.apache.kafka.clients", &[]),
    ("org.apache.kafka.clients.NetworkClient", &["client"]),
    ("org.apache.kafka.common.network", &[]),
    ("org.apache.kafka.common.network.Selector", &["broker::net"]),
    ("org.apache.kafka.common.network.SslTransportLayer", &["tls"]),
    ("org.apache.kafka.common.security", &["broker::security", "tls"]),
    ("org.apache.kafka.controller", &[]),
    ("org.apache.zookeeper", &["zookeeper_client"]),
    ("org.apache.zookeeper.ClientCnxn", &["zookeeper_client"]),
    ("state.change.logger", &["broker::shard::control", "broker::controller::writes"]),
];

/// Where each request is told, with its answer's time.
pub const REQUESTS: &str = "kafka.request.logger";

/// Our own that no logger of Java's speaks of.
const OWN: &[&str] = &["broker", "broker_core"];

/// All modules that are loggers, for whoever reads `(broker::net)` in a log.
static MODULES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let of_java = OF_JAVA.iter().flat_map(|(_, modules)| modules.iter().copied());
    let mut all: Vec<&str> = of_java.chain(OWN.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
});

/// What was set.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loggers {
    /// `None`: as it was configured at the start.
    root: Option<Level>,
    set: BTreeMap<&'static str, Level>,
}

/// The name above, if it is not `root`.
fn parent(name: &str) -> Option<&str> {
    match name.rfind("::") {
        Some(at) => Some(&name[..at]),
        None => name.rfind('.').map(|at| &name[..at]),
    }
}

/// All names there are, but for `root`.
fn names() -> impl Iterator<Item = &'static str> {
    let own = MODULES.iter().copied().filter(|module| !OF_JAVA.iter().any(|(name, _)| name == module));
    OF_JAVA.iter().map(|(name, _)| *name).chain(own)
}

fn known(name: &str) -> Option<&'static str> {
    names().find(|known| *known == name)
}

/// Whether there is such a logger.
pub fn exists(name: &str) -> bool {
    name == ROOT || known(name).is_some()
}

impl Loggers {
    /// Gives a logger a level, or takes it away. False: there is no such logger.
    fn set(&mut self, name: &str, level: Option<Level>) -> bool {
        if name == ROOT {
            self.root = level.or(self.root);
            return true;
        }
        let Some(name) = known(name) else { return false };
        match level {
            Some(level) => drop(self.set.insert(name, level)),
            None => drop(self.set.remove(name)),
        }
        true
    }

    /// The level that was set for a logger or one above it, but for `root`.
    fn explicit(&self, name: &str) -> Option<Level> {
        let mut at = Some(name);
        while let Some(name) = at {
            if let Some(level) = self.set.get(name) {
                return Some(*level);
            }
            at = parent(name);
        }
        None
    }

    fn root(&self, configured: &dyn Fn(&str) -> LevelFilter) -> Level {
        self.root.unwrap_or_else(|| Level::of(configured("")))
    }

    /// All loggers with their levels, `root` among them.
    fn levels(&self, configured: &dyn Fn(&str) -> LevelFilter) -> BTreeMap<&'static str, Level> {
        let root = self.root(configured);
        let of = |name: &'static str| {
            let from_file = || if self.root.is_some() { root } else { Level::of(configured(name)) };
            (name, self.explicit(name).unwrap_or_else(from_file))
        };
        names().map(of).chain([(ROOT, root)]).collect()
    }

    /// From which level on each module is logged.
    fn filters(&self, configured: &dyn Fn(&str) -> LevelFilter) -> Vec<(&'static str, LevelFilter)> {
        let of = |module: &'static str| {
            let speakers = OF_JAVA.iter().filter(|(_, modules)| modules.contains(&module));
            let said = speakers.filter_map(|(name, _)| self.explicit(name));
            let loudest = said.chain(self.explicit(module)).max();
            let level = loudest.or(self.root).map(Level::filter);
            (module, level.unwrap_or_else(|| configured(module)))
        };
        MODULES.iter().map(|module| of(module)).collect()
    }
}

static LOGGERS: Mutex<Loggers> = Mutex::new(Loggers { root: None, set: BTreeMap::new() });

/// All loggers of this process with their levels, by name.
pub fn levels() -> BTreeMap<&'static str, Level> {
    LOGGERS.lock().unwrap_or_else(PoisonError::into_inner).levels(&logging::configured_level)
}

/// Gives loggers levels, or takes them away; names that are unknown are passed over.
pub fn change<'a>(changes: impl Iterator<Item = (&'a str, Option<Level>)>) {
    let mut loggers = LOGGERS.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, level) in changes {
        loggers.set(name, level);
    }
    let root = loggers.root(&logging::configured_level).filter();
    logging::set_levels(root, loggers.filters(&logging::configured_level).into_iter());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(_: &str) -> LevelFilter {
        LevelFilter::INFO
    }

    #[test]
    fn javas_names_are_sorted_and_each_stands_there_once() {
        assert!(OF_JAVA.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_one_above_it_that_has_one() {
        let mut loggers = Loggers::default();
        assert!(loggers.set("kafka", Some(Level::Warn)) && loggers.set("kafka.log", Some(Level::Debug)));
        assert!(
            !loggers.set("kafka.log.NoSuchClass", Some(Level::Debug)) && !exists("Some Other LogCleaner")
        );
        let levels = loggers.levels(&info);
        assert_eq!(levels["kafka.log.LogCleaner"], Level::Debug);
        assert_eq!(levels["kafka.server.ReplicaManager"], Level::Warn);
        assert_eq!((levels["org.apache.kafka"], levels[ROOT]), (Level::Info, Level::Info));
        loggers.set("kafka.log", None);
        loggers.set(ROOT, Some(Level::Error));
        let levels = loggers.levels(&info);
        assert_eq!((levels["kafka.log.LogCleaner"], levels["client"]), (Level::Warn, Level::Error));
        loggers.set(ROOT, None);
        assert_eq!(loggers.levels(&info)[ROOT], Level::Error);
    }

    #[test]
    fn modules_follow_those_that_speak_of_them_and_each_other_not() {
        let mut loggers = Loggers::default();
        let of = |loggers: &Loggers, module: &str| {
            loggers.filters(&info).into_iter().find(|(name, _)| *name == module).unwrap().1
        };
        loggers.set("kafka.server.ReplicaManager", Some(Level::Trace));
        loggers.set("kafka.log.LogCleaner", Some(Level::Error));
        assert_eq!(of(&loggers, "broker::shard"), LevelFilter::TRACE);
        assert_eq!(of(&loggers, "broker::shard::cleaner"), LevelFilter::ERROR);
        assert_eq!(of(&loggers, "broker::fetcher"), LevelFilter::INFO);
        loggers.set("broker", Some(Level::Fatal));
        assert_eq!(of(&loggers, "broker::fetcher"), LevelFilter::OFF);
        assert_eq!(of(&loggers, "broker::shard"), LevelFilter::TRACE);
        loggers.set("kafka.request.logger", Some(Level::Debug));
        assert_eq!(of(&loggers, REQUESTS), LevelFilter::DEBUG);
    }

    #[test]
    fn what_the_file_says_counts_until_the_root_is_set() {
        let configured =
            |name: &str| if name.starts_with("broker") { LevelFilter::DEBUG } else { LevelFilter::WARN };
        let mut loggers = Loggers::default();
        assert_eq!(loggers.levels(&configured)["broker::net"], Level::Debug);
        assert_eq!(loggers.levels(&configured)[ROOT], Level::Warn);
        loggers.set(ROOT, Some(Level::Info));
        assert_eq!(loggers.levels(&configured)["broker::net"], Level::Info);
    }
}
