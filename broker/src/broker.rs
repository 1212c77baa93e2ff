//! What all connections and tasks of one broker share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use wire::Str;

use crate::config::{BrokerConfig, Dynamic, TopicConfig};
use crate::metadata::MetadataCache;
use crate::zk::{Zk, ZkError};

/// One broker. Several may live in a process.
pub struct Broker {
    pub config: BrokerConfig,
    pub id: i32,
    pub cluster_id: Str,
    pub metadata: MetadataCache,
    /// Replaced when a session expires.
    zk: ArcSwap<Zk>,
    /// czxid of the registration; -1 before it.
    epoch: AtomicI64,
    pub dynamic: ArcSwap<Dynamic>,
    /// Overrides of topics that have some.
    pub topic_overrides: ArcSwap<HashMap<Str, BTreeMap<String, String>>>,
    /// Topics whose creation is under way here.
    pub creating: Mutex<HashSet<Str>>,
}

impl Broker {
    /// A broker that has a session but is not registered yet.
    pub fn new(config: BrokerConfig, id: i32, cluster_id: &str, zk: Zk) -> Broker {
        Broker {
            config,
            id,
            cluster_id: cluster_id.into(),
            metadata: MetadataCache::default(),
            zk: ArcSwap::from_pointee(zk),
            epoch: AtomicI64::new(-1),
            dynamic: ArcSwap::default(),
            topic_overrides: ArcSwap::default(),
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

    /// Version of `/feature`, for ApiVersions; features are not used, so it never leaves 0.
    pub fn features_epoch(&self) -> i64 {
        0
    }

    /// A topic's effective settings.
    pub fn topic_config(&self, topic: &str) -> TopicConfig {
        let overrides = self.topic_overrides.load();
        let none = BTreeMap::new();
        TopicConfig::resolve(&self.config, &self.dynamic.load(), overrides.get(topic).unwrap_or(&none))
    }

    /// Reads a topic's overrides anew.
    pub async fn reload_topic_overrides(&self, topic: &str) -> Result<(), ZkError> {
        let read = self.zk().config(&crate::zk::ConfigEntity::Topic(topic.to_owned())).await?;
        self.topic_overrides.rcu(|all| {
            let mut all = HashMap::clone(all);
            if read.is_empty() {
                all.remove(topic);
            } else {
                all.insert(topic.into(), read.clone());
            }
            all
        });
        Ok(())
    }

    /// Reads the brokers' dynamic settings anew.
    pub async fn reload_dynamic(&self) -> Result<(), ZkError> {
        let zk = self.zk();
        let broker = zk.config(&crate::zk::ConfigEntity::Broker(self.id)).await?;
        let default = zk.config(&crate::zk::ConfigEntity::BrokerDefault).await?;
        self.dynamic.store(Dynamic { broker, default }.into());
        Ok(())
    }
}
