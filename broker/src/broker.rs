//! What all connections and tasks of one broker share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use broker_core::fence;
use broker_core::fetch_session::FetchSessions;
use broker_core::quota::Name;
use wire::Str;
use wire::kafka::{ErrorCode, Uuid};

use crate::authorizer::Authorizer;
use crate::config::{BROKER_KEYS, BrokerConfig, Dynamic, TopicConfig, find};
use crate::controller::ControllerHandle;
use crate::dynamic::Doors;
use crate::metadata::MetadataCache;
use crate::net::Gate;
use crate::passwords::PasswordEncoder;
use crate::shard::ShardHandle;
use crate::zk::{Zk, ZkError};

/// How a fetch session names a partition: by topic id, or by name before Fetch v13.
pub type FetchKey = (Uuid, Str, i32);

/// What a broker needs for logins, its own and those of others.
#[derive(Default)]
pub struct Secured {
    pub users: Arc<crate::security::Users>,
    /// For passwords among dynamic settings; `None`: there is no secret, and so there are none.
    pub passwords: Option<PasswordEncoder>,
    pub among_brokers: client::Security,
    pub of_controller: client::Security,
}

/// A session that was idle for this long makes room for any other.
const SESSION_EVICTION_MS: i64 = 120_000;

/// One broker. Several may live in a process.
pub struct Broker {
    /// What the file says.
    pub config: BrokerConfig,
    /// What counts, with dynamic settings ([`Broker::current`]).
    pub(crate) current: ArcSwap<BrokerConfig>,
    /// Held while dynamic settings are read and followed.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    pub(crate) passwords: Option<PasswordEncoder>,
    /// Set once ports are open.
    pub(crate) doors: OnceLock<Doors>,
    pub id: i32,
    pub cluster_id: Str,
    pub metadata: MetadataCache,
    /// How many partitions `__consumer_offsets` has, or will have.
    pub group_partitions: i32,
    /// Likewise `__transaction_state`.
    pub transaction_partitions: i32,
    /// Replaced when a session expires.
    zk: ArcSwap<Zk>,
    /// czxid of the registration; -1 before it.
    epoch: AtomicI64,
    features_epoch: AtomicI64,
    pub dynamic: ArcSwap<Dynamic>,
    /// Overrides of the topics whose settings were read.
    topic_overrides: ArcSwap<HashMap<Str, BTreeMap<String, String>>>,
    /// Effective settings of the topics that have overrides, worked out once.
    topic_configs: ArcSwap<HashMap<Str, Arc<TopicConfig>>>,
    /// Those of all others.
    default_config: ArcSwapOption<TopicConfig>,
    pub throttles: crate::throttles::Throttles,
    pub quotas: crate::quotas::Quotas,
    /// What connections count, for who measures.
    pub traffic: crate::metrics::Traffic,
    /// Likewise the controller.
    pub controller_stats: Arc<crate::controller::stats::ControllerStats>,
    /// Likewise whoever keeps the session with ZooKeeper.
    pub session_figures: crate::zk::SessionFigures,
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// Credentials for logins.
    pub users: Arc<crate::security::Users>,
    /// `None`: there are no delegation tokens, since there is no key for them.
    pub tokens: Option<Arc<crate::tokens::Tokens>>,
    /// How this broker connects to others, and the controller in it to brokers.
    pub among_brokers: ArcSwap<client::Security>,
    pub of_controller: Arc<ArcSwap<client::Security>>,
    /// None: everybody may do everything.
    pub authorizer: Option<Arc<Authorizer>>,
    /// The newest controller epoch that was obeyed, in whatever kind of request.
    controller_epoch: AtomicI32,
    pub shard: ShardHandle,
    /// Set once the broker stands for election.
    pub controller: OnceLock<ControllerHandle>,
    /// Producer ids that are this broker's to give away: (next, end).
    producer_ids: tokio::sync::Mutex<(i64, i64)>,
    sessions: Mutex<FetchSessions<FetchKey>>,
    /// Topics whose creation is under way here.
    pub creating: Mutex<HashSet<Str>>,
}

impl Broker {
    /// Whether versions of APIs that may still change are answered too (`unstable.api.versions.enable`).
    pub fn serves_unstable(&self) -> bool {
        self.config.bool("unstable.api.versions.enable")
    }

    /// A broker that has a session but is not registered yet.
    pub fn new(
        config: BrokerConfig,
        id: i32,
        cluster_id: &str,
        zk: Zk,
        shard: ShardHandle,
        (group_partitions, transaction_partitions): (i32, i32),
        Secured { users, passwords, among_brokers, of_controller }: Secured,
    ) -> Broker {
        let session_slots =
            usize::try_from(config.int("max.incremental.fetch.session.cache.slots")).unwrap_or(0);
        let authorizer = config.authorizer.clone().map(Authorizer::new).map(Arc::new);
        let throttles = crate::throttles::Throttles::new(&config);
        let quotas = crate::quotas::Quotas::new(&config);
        let tokens = crate::tokens::Tokens::of(&config, &users).map(Arc::new);
        let gate = Gate::new(crate::connections::without_limits());
        let features_epoch = if config.protocol.has_features() { 0 } else { crate::features::UNKNOWN };
        Broker {
            features_epoch: AtomicI64::new(features_epoch),
            current: ArcSwap::from_pointee(config.clone()),
            reloading: tokio::sync::Mutex::default(),
            passwords,
            doors: OnceLock::new(),
            config,
            id,
            cluster_id: cluster_id.into(),
            metadata: MetadataCache::default(),
            group_partitions,
            transaction_partitions,
            zk: ArcSwap::from_pointee(zk),
            epoch: AtomicI64::new(-1),
            dynamic: ArcSwap::default(),
            topic_overrides: ArcSwap::default(),
            topic_configs: ArcSwap::default(),
            default_config: ArcSwapOption::default(),
            throttles,
            quotas,
            traffic: crate::metrics::Traffic::default(),
            controller_stats: Arc::default(),
            session_figures: Default::default(),
            gate,
            users,
            tokens,
            among_brokers: ArcSwap::from_pointee(among_brokers),
            of_controller: Arc::new(ArcSwap::from_pointee(of_controller)),
            authorizer,
            controller_epoch: AtomicI32::new(0),
            shard,
            controller: OnceLock::new(),
            producer_ids: tokio::sync::Mutex::new((0, 0)),
            sessions: Mutex::new(FetchSessions::new(session_slots, SESSION_EVICTION_MS)),
            creating: Mutex::default(),
        }
    }

    /// The current ZooKeeper session.
    pub fn zk(&self) -> Zk {
        Zk::clone(&self.zk.load())
    }

    /// A new session has taken the old one's place.
    pub fn set_zk(&self, zk: Zk) {
        self.zk.store(zk.into());
    }

    /// The broker epoch, or -1.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The broker has been registered.
    pub fn set_epoch(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Whether a controller's request is to be obeyed ([`fence::check`]).
    pub fn check_fence(&self, controller_epoch: i32, broker_epoch: i64) -> Result<(), ErrorCode> {
        let mut seen = self.controller_epoch.load(Ordering::Acquire);
        loop {
            let newest = fence::check(seen, controller_epoch, broker_epoch, self.epoch())?;
            match self.controller_epoch.compare_exchange(seen, newest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Version of `/feature`, for ApiVersions; -1 where the versions of features are not agreed on.
    pub fn features_epoch(&self) -> i64 {
        self.features_epoch.load(Ordering::Relaxed)
    }

    pub(crate) fn set_features_epoch(&self, epoch: i64) {
        self.features_epoch.store(epoch, Ordering::Relaxed);
    }

    /// Whether this broker is the cluster's controller.
    pub fn is_controller(&self) -> bool {
        self.controller.get().is_some_and(ControllerHandle::is_active)
    }

    /// Who governs: as `/controller` says, or, before that was read, as the controller itself told.
    pub fn controller_id(&self) -> Option<i32> {
        let elected = self.controller.get().map(ControllerHandle::controller_id).filter(|id| *id >= 0);
        elected.or_else(|| self.metadata.snapshot().controller)
    }

    /// A producer id that nobody has had.
    pub async fn next_producer_id(&self) -> Result<i64, ZkError> {
        let mut block = self.producer_ids.lock().await;
        if block.0 == block.1 {
            let start = self.zk().claim_producer_ids(self.id).await?;
            *block = (start, start + crate::zk::PRODUCER_ID_BLOCK);
        }
        block.0 += 1;
        Ok(block.0 - 1)
    }

    /// The fetch sessions; held for moments.
    pub fn fetch_sessions(&self) -> std::sync::MutexGuard<'_, FetchSessions<FetchKey>> {
        self.sessions.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A topic's effective settings.
    pub fn topic_config(&self, topic: &str) -> Arc<TopicConfig> {
        if let Some(known) = self.topic_configs.load().get(topic) {
            return known.clone();
        }
        let overrides = self.topic_overrides.load();
        let Some(overrides) = overrides.get(topic).filter(|overrides| !overrides.is_empty()) else {
            return self.default_topic_config();
        };
        let config = Arc::new(TopicConfig::resolve(&self.config, &self.dynamic.load(), overrides));
        self.topic_configs.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.insert(topic.into(), config.clone());
            all
        });
        config
    }

    fn default_topic_config(&self) -> Arc<TopicConfig> {
        if let Some(known) = &*self.default_config.load() {
            return known.clone();
        }
        let dynamic = self.dynamic.load();
        let config = Arc::new(TopicConfig::resolve(&self.config, &dynamic, &BTreeMap::new()));
        self.default_config.store(Some(config.clone()));
        config
    }

    /// Whether a topic's settings were read.
    pub fn knows_topic_overrides(&self, topic: &str) -> bool {
        self.topic_overrides.load().contains_key(topic)
    }

    /// Reads a topic's overrides anew.
    pub async fn reload_topic_overrides(&self, topic: &str) -> Result<(), ZkError> {
        let read = self.zk().config(&crate::zk::ConfigEntity::Topic(topic.to_owned())).await?;
        self.topic_overrides.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.insert(topic.into(), read.clone());
            all
        });
        self.forget_topic_config(topic);
        Ok(())
    }

    /// Reads the overrides of many topics.
    pub async fn load_topic_overrides(&self, topics: &[Str]) -> Result<(), ZkError> {
        let read = self.zk().topic_configs(topics).await?;
        self.topic_overrides.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.extend(topics.iter().cloned().zip(read.iter().cloned()));
            all
        });
        self.topic_configs.rcu(|all| {
            let mut all = HashMap::clone(all);
            for topic in topics {
                all.remove(topic);
            }
            all
        });
        Ok(())
    }

    /// A topic is gone, and its settings with it.
    pub fn forget_topic(&self, topic: &str) {
        self.topic_overrides.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.remove(topic);
            all
        });
        self.forget_topic_config(topic);
    }

    fn forget_topic_config(&self, topic: &str) {
        self.topic_configs.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.remove(topic);
            all
        });
    }

    /// The value of a broker key that may change while the broker runs; what does not parse counts as absent.
    pub fn setting(&self, key: &str) -> Option<String> {
        let row = find(BROKER_KEYS, key)?;
        let dynamic = self.dynamic.load();
        let layers = [&dynamic.broker, &dynamic.default, self.config.given()];
        let set =
            layers.into_iter().filter_map(|layer| layer.get(key)).find(|value| row.check(value).is_ok());
        set.map(|value| value.trim()).or(row.default).map(str::to_owned)
    }

    /// Likewise, a whole number that has a default.
    pub fn setting_int(&self, key: &str) -> i64 {
        self.setting(key).and_then(|value| value.parse().ok()).unwrap_or_else(|| self.config.int(key))
    }

    /// Reads the quotas of all users, client ids, pairs and addresses, and with them the users' credentials.
    pub async fn load_quotas(&self) -> Result<(), ZkError> {
        let zk = self.zk();
        for kind in ["users", "clients", "ips"] {
            for (path, config) in zk.entities(kind).await? {
                self.set_quotas(&path, &config).await;
            }
        }
        for (path, config) in zk.client_ids_of_users().await? {
            self.set_quotas(&path, &config).await;
        }
        Ok(())
    }

    /// Reads the quotas, and credentials, at one path below `/config` anew.
    pub async fn reload_quotas(&self, path: &str) -> Result<(), ZkError> {
        let config = self.zk().config(&crate::zk::ConfigEntity::Other(path.to_owned())).await?;
        self.set_quotas(path, &config).await;
        Ok(())
    }

    async fn set_quotas(&self, path: &str, config: &BTreeMap<String, String>) {
        self.quotas.set(path, config);
        if let Some(user) = crate::zk::user_of(path) {
            self.users.read(&user, config);
        }
        let Some(node) = path.strip_prefix("ips/") else { return };
        let rate = config.get(crate::quotas::CONNECTION_RATE).and_then(|rate| rate.trim().parse().ok());
        match Name::read(node) {
            Name::Default => self.gate.set_ip_rate(None, rate),
            Name::Named(host) => {
                for ip in crate::connections::addresses(&host).await {
                    self.gate.set_ip_rate(Some(ip), rate);
                }
            }
        }
    }

    /// The settings of topics are to be worked out anew.
    pub(crate) fn forget_topic_configs(&self) {
        self.topic_configs.store(HashMap::new().into());
        self.default_config.store(None);
    }
}
