//! What this broker knows of the cluster, as the controller told it: an immutable snapshot behind one pointer, so that
//! connections read it without waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use wire::Str;
use wire::kafka::UpdateMetadataRequest;
use wire::kafka::Uuid;
use wire::kafka::update_metadata::UpdateMetadataPartitionState;

/// `leader` of a partition that is being deleted.
const LEADER_DURING_DELETE: i32 = -2;

/// A live broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Listener name to host and port.
    pub endpoints: BTreeMap<Str, (Str, i32)>,
    pub rack: Option<Str>,
}

/// A partition's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// -1: none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub replicas: Vec<i32>,
    /// Replicas in failed log directories.
    pub offline: Vec<i32>,
}

/// A topic's partitions by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: Uuid,
    pub partitions: BTreeMap<i32, PartitionInfo>,
}

/// One state of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub controller: Option<i32>,
    pub nodes: BTreeMap<i32, Node>,
    pub topics: BTreeMap<Str, Arc<TopicInfo>>,
    pub names: HashMap<Uuid, Str>,
}

impl Snapshot {
    /// The partition, if the topic and it are known.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionInfo> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// The topic's id; zero when unknown.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// Whether no broker but this one is known to be alive.
    pub fn has_only(&self, broker: i32) -> bool {
        self.nodes.keys().all(|node| *node == broker)
    }

    /// A live broker's address on a listener.
    pub fn address(&self, node: i32, listener: &str) -> Option<&(Str, i32)> {
        self.nodes.get(&node)?.endpoints.get(listener)
    }

    /// The next state, and the topics that are gone in it.
    fn updated(&self, request: &UpdateMetadataRequest) -> (Snapshot, Vec<Str>) {
        let mut next = Snapshot {
            controller: Some(request.controller_id).filter(|id| *id >= 0),
            nodes: BTreeMap::new(),
            topics: self.topics.clone(),
            names: self.names.clone(),
        };
        for broker in &request.live_brokers {
            let endpoints = broker
                .endpoints
                .iter()
                .map(|endpoint| {
                    // Before version 3 endpoints had no listener name.
                    let listener = if endpoint.listener.is_empty() {
                        Str::from_static("PLAINTEXT")
                    } else {
                        endpoint.listener.clone()
                    };
                    (listener, (endpoint.host.clone(), endpoint.port))
                })
                .collect();
            next.nodes.insert(broker.id, Node { endpoints, rack: broker.rack.clone() });
        }
        let mut gone = Vec::new();
        for state in &request.ungrouped_partition_states {
            next.set_partition(&state.topic_name, Uuid::ZERO, state, &mut gone);
        }
        for topic in &request.topic_states {
            for state in &topic.partition_states {
                next.set_partition(&topic.topic_name, topic.topic_id, state, &mut gone);
            }
        }
        (next, gone)
    }

    fn set_partition(
        &mut self,
        topic: &Str,
        id: Uuid,
        state: &UpdateMetadataPartitionState,
        gone: &mut Vec<Str>,
    ) {
        if state.leader == LEADER_DURING_DELETE {
            let Some(info) = self.topics.get_mut(topic) else { return };
            let left = Arc::make_mut(info);
            left.partitions.remove(&state.partition_index);
            if left.partitions.is_empty() {
                let id = left.id;
                self.topics.remove(topic);
                self.names.remove(&id);
                gone.push(topic.clone());
            }
            return;
        }
        let info = Arc::make_mut(self.topics.entry(topic.clone()).or_default());
        if !id.is_zero() && info.id != id {
            // A topic made anew under an old name: nothing of the old one counts.
            self.names.remove(&info.id);
            info.partitions.clear();
            info.id = id;
            self.names.insert(id, topic.clone());
        }
        info.partitions.insert(
            state.partition_index,
            PartitionInfo {
                leader: state.leader,
                leader_epoch: state.leader_epoch,
                isr: state.isr.clone(),
                replicas: state.replicas.clone(),
                offline: state.offline_replicas.clone(),
            },
        );
    }
}

/// The current snapshot, and word of new ones.
pub struct MetadataCache {
    current: ArcSwap<Snapshot>,
    /// Updates come one at a time.
    writing: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Default for MetadataCache {
    fn default() -> Self {
        MetadataCache {
            current: ArcSwap::from_pointee(Snapshot::default()),
            writing: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }
}

impl MetadataCache {
    /// The current state; it does not change under the reader.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Takes in what the controller sent; the topics that are gone are returned.
    pub fn update(&self, request: &UpdateMetadataRequest) -> Vec<Str> {
        let guard = self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (next, gone) = self.current.load().updated(request);
        self.current.store(Arc::new(next));
        drop(guard);
        self.changes.send_modify(|version| *version += 1);
        gone
    }

    /// Waits until `holds` is true of the current state.
    pub async fn wait_until(&self, mut holds: impl FnMut(&Snapshot) -> bool) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if holds(&self.current.load()) || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::kafka::update_metadata::{
        UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataTopicState,
    };

    use super::*;

    fn request(topic: &'static str, id: u8, partition: i32, leader: i32) -> UpdateMetadataRequest {
        let state = UpdateMetadataPartitionState {
            partition_index: partition,
            leader,
            replicas: vec![1, 2],
            isr: vec![1],
            ..Default::default()
        };
        let endpoint = UpdateMetadataEndpoint {
            port: 9092,
            host: "h".into(),
            listener: "OUT".into(),
            security_protocol: 0,
        };
        UpdateMetadataRequest {
            controller_id: 1,
            topic_states: vec![UpdateMetadataTopicState {
                topic_name: topic.into(),
                topic_id: Uuid([id; 16]),
                partition_states: vec![state],
            }],
            live_brokers: vec![UpdateMetadataBroker {
                id: 1,
                endpoints: vec![endpoint],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn updates_add_up_and_live_brokers_are_replaced() {
        let cache = MetadataCache::default();
        cache.update(&request("a", 1, 0, 1));
        cache.update(&request("a", 1, 1, 2));
        let now = cache.snapshot();
        assert_eq!(now.topics["a"].partitions.len(), 2);
        assert_eq!(now.partition("a", 1).unwrap().leader, 2);
        assert_eq!(now.address(1, "OUT"), Some(&("h".into(), 9092)));
        cache.update(&UpdateMetadataRequest { controller_id: 2, ..Default::default() });
        assert!(cache.snapshot().nodes.is_empty());
        assert_eq!(cache.snapshot().controller, Some(2));
        assert_eq!(cache.snapshot().topics["a"].partitions.len(), 2);
    }

    #[test]
    fn a_topic_goes_with_its_last_partition_and_a_new_id_replaces_the_old_topic() {
        let cache = MetadataCache::default();
        cache.update(&request("a", 1, 0, 1));
        cache.update(&request("a", 1, 1, 1));
        assert!(cache.update(&request("a", 1, 0, -2)).is_empty());
        assert_eq!(cache.update(&request("a", 1, 1, -2)), [Str::from_static("a")]);
        assert!(cache.snapshot().names.is_empty());
        cache.update(&request("a", 2, 0, 1));
        cache.update(&request("a", 3, 1, 1));
        assert_eq!(cache.snapshot().topics["a"].partitions.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(cache.snapshot().names.len(), 1);
    }

    #[tokio::test]
    async fn waiters_see_the_change_they_wait_for() {
        let cache = Arc::new(MetadataCache::default());
        let waiting = cache.clone();
        let waiter =
            tokio::spawn(async move { waiting.wait_until(|now| now.partition("a", 0).is_some()).await });
        tokio::task::yield_now().await;
        cache.update(&request("a", 1, 0, 1));
        waiter.await.unwrap();
    }
}
