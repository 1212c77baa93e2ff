//! What a broker knows of the cluster, as its metadata cache does.

use broker_core::controller::LEADER_DURING_DELETE;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::update_metadata::UpdateMetadataPartitionState;
use wire::kafka::{UpdateMetadataRequest, Uuid};

#[derive(Debug, Default)]
pub struct TopicInfo {
    pub id: Uuid,
    pub partitions: BTreeMap<i32, UpdateMetadataPartitionState>,
}

#[derive(Debug, Default)]
pub struct Metadata {
    pub controller: Option<i32>,
    pub nodes: BTreeSet<i32>,
    pub topics: BTreeMap<Str, TopicInfo>,
}

impl Metadata {
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&UpdateMetadataPartitionState> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// Zero when unknown.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id)
    }

    pub fn update(&mut self, request: &UpdateMetadataRequest) {
        self.controller = Some(request.controller_id).filter(|id| *id >= 0);
        self.nodes = request.live_brokers.iter().map(|node| node.id).collect();
        for topic in &request.topic_states {
            for state in &topic.partition_states {
                self.set(&topic.topic_name, topic.topic_id, state);
            }
        }
    }

    fn set(&mut self, name: &Str, id: Uuid, state: &UpdateMetadataPartitionState) {
        if state.leader == LEADER_DURING_DELETE {
            let Some(topic) = self.topics.get_mut(name) else { return };
            topic.partitions.remove(&state.partition_index);
            if topic.partitions.is_empty() {
                self.topics.remove(name);
            }
            return;
        }
        let topic = self.topics.entry(name.clone()).or_default();
        if topic.id != id {
            *topic = TopicInfo { id, ..TopicInfo::default() };
        }
        topic.partitions.insert(state.partition_index, state.clone());
    }
}
