//! What this broker knows of the cluster, as the controller told it: an immutable snapshot behind one pointer, so that
//! connections read it without waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use wire::Str;
use wire::kafka::UpdateMetadataRequest;
use wire::kafka::Uuid;
use wire::kafka::update_metadata::{UpdateMetadataBroker, UpdateMetadataPartitionState};

use crate::shared_map::SharedMap;

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
    pub topics: SharedMap<Str, Arc<TopicInfo>>,
    pub names: SharedMap<Uuid, Str>,
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
    fn updated(&self, request: UpdateMetadataRequest) -> (Snapshot, Vec<Str>) {
        let mut next = Snapshot {
            controller: Some(request.controller_id).filter(|id| *id >= 0),
            nodes: request.live_brokers.into_iter().map(|broker| (broker.id, node(broker))).collect(),
            topics: self.topics.clone(),
            names: self.names.clone(),
        };
        let mut gone = Vec::new();
        for state in request.ungrouped_partition_states {
            let topic = state.topic_name.clone();
            next.set_partitions(topic, Uuid::ZERO, vec![state], &mut gone);
        }
        for topic in request.topic_states {
            next.set_partitions(topic.topic_name, topic.topic_id, topic.partition_states, &mut gone);
        }
        (next, gone)
    }

    /// Takes in a topic's partitions. A new controller tells of all of them, of which few are another than before: a
    /// topic in which nothing changes stays shared with the snapshots before.
    fn set_partitions(
        &mut self,
        name: Str,
        id: Uuid,
        mut states: Vec<UpdateMetadataPartitionState>,
        gone: &mut Vec<Str>,
    ) {
        let known = self.topics.get(&name);
        // A topic made anew under an old name: nothing of the old one counts. One that ends does so by its name.
        let ends = states.iter().all(|state| state.leader == LEADER_DURING_DELETE);
        let same = known.filter(|known| id.is_zero() || known.id == id || ends);
        if let Some(known) = same {
            states.retain(|state| match known.partitions.get(&state.partition_index) {
                Some(partition) => !partition.is(state),
                None => state.leader != LEADER_DURING_DELETE,
            });
            if states.is_empty() {
                return;
            }
        } else if ends {
            return;
        }
        let mut info = match same {
            // All is new: what was is not worth a copy.
            Some(known) if states.len() == known.partitions.len() && covers(known, &states) => {
                TopicInfo { id: known.id, partitions: BTreeMap::new() }
            }
            Some(known) => TopicInfo::clone(known),
            None => TopicInfo { id, partitions: BTreeMap::new() },
        };
        if let Some(known) = known.filter(|known| known.id != info.id) {
            let old = known.id;
            self.names.remove(&old);
        }
        for state in states {
            if state.leader == LEADER_DURING_DELETE {
                info.partitions.remove(&state.partition_index);
            } else {
                info.partitions.insert(state.partition_index, PartitionInfo::of(state));
            }
        }
        if info.partitions.is_empty() {
            self.topics.remove(&name);
            self.names.remove(&info.id);
            gone.push(name);
            return;
        }
        if !info.id.is_zero() && !self.names.contains_key(&info.id) {
            self.names.insert(info.id, name.clone());
        }
        self.topics.insert(name, Arc::new(info));
    }
}

/// Whether each partition is among those that are told of.
fn covers(known: &TopicInfo, states: &[UpdateMetadataPartitionState]) -> bool {
    states.iter().all(|state| known.partitions.contains_key(&state.partition_index))
}

fn node(broker: UpdateMetadataBroker) -> Node {
    let endpoints = broker.endpoints.into_iter().map(|endpoint| {
        // Before version 3 endpoints had no listener name.
        let listener =
            if endpoint.listener.is_empty() { Str::from_static("PLAINTEXT") } else { endpoint.listener };
        (listener, (endpoint.host, endpoint.port))
    });
    Node { endpoints: endpoints.collect(), rack: broker.rack }
}

impl PartitionInfo {
    fn of(state: UpdateMetadataPartitionState) -> PartitionInfo {
        PartitionInfo {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            isr: state.isr,
            replicas: state.replicas,
            offline: state.offline_replicas,
        }
    }

    fn is(&self, state: &UpdateMetadataPartitionState) -> bool {
        self.leader == state.leader
            && self.leader_epoch == state.leader_epoch
            && self.isr == state.isr
            && self.replicas == state.replicas
            && self.offline == state.offline_replicas
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
    pub fn update(&self, request: UpdateMetadataRequest) -> Vec<Str> {
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
    use wire::kafka::update_metadata::{UpdateMetadataEndpoint, UpdateMetadataTopicState};

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
        cache.update(request("a", 1, 0, 1));
        cache.update(request("a", 1, 1, 2));
        let now = cache.snapshot();
        assert_eq!(now.topics.get("a").unwrap().partitions.len(), 2);
        assert_eq!(now.partition("a", 1).unwrap().leader, 2);
        assert_eq!(now.address(1, "OUT"), Some(&("h".into(), 9092)));
        cache.update(UpdateMetadataRequest { controller_id: 2, ..Default::default() });
        assert!(cache.snapshot().nodes.is_empty());
        assert_eq!(cache.snapshot().controller, Some(2));
        assert_eq!(cache.snapshot().topics.get("a").unwrap().partitions.len(), 2);
    }

    #[test]
    fn a_topic_goes_with_its_last_partition_and_a_new_id_replaces_the_old_topic() {
        let cache = MetadataCache::default();
        cache.update(request("a", 1, 0, 1));
        cache.update(request("a", 1, 1, 1));
        assert!(cache.update(request("a", 1, 0, -2)).is_empty());
        assert_eq!(cache.update(request("a", 1, 1, -2)), [Str::from_static("a")]);
        assert!(cache.snapshot().names.is_empty());
        cache.update(request("a", 2, 0, 1));
        cache.update(request("a", 3, 1, 1));
        assert_eq!(cache.snapshot().topics.get("a").unwrap().partitions.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(cache.snapshot().names.len(), 1);
    }

    #[test]
    fn a_topic_in_which_nothing_changes_stays_shared() {
        let cache = MetadataCache::default();
        cache.update(request("a", 1, 0, 1));
        cache.update(request("b", 2, 0, 1));
        let before = cache.snapshot();
        cache.update(request("a", 1, 0, 1));
        cache.update(request("b", 2, 0, 2));
        let now = cache.snapshot();
        let shared = |topic| Arc::ptr_eq(before.topics.get(topic).unwrap(), now.topics.get(topic).unwrap());
        assert!(shared("a") && !shared("b"));
        assert_eq!(now.names.get(&Uuid([2; 16])), Some(&"b".into()));
    }

    #[tokio::test]
    async fn waiters_see_the_change_they_wait_for() {
        let cache = Arc::new(MetadataCache::default());
        let waiting = cache.clone();
        let waiter =
            tokio::spawn(async move { waiting.wait_until(|now| now.partition("a", 0).is_some()).await });
        tokio::task::yield_now().await;
        cache.update(request("a", 1, 0, 1));
        waiter.await.unwrap();
    }
}
