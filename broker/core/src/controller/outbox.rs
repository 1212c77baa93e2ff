//! Requests for brokers, gathered while the state settles and then sent once for each broker.

use super::Controller;
use super::event::{Effect, ToBroker};
use super::state::{LEADER_DURING_DELETE, TopicPartition};
use crate::partition::{EPOCH_DURING_DELETE, EPOCH_UNKNOWN};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::leader_and_isr::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use wire::kafka::stop_replica::{StopReplicaPartitionState, StopReplicaTopicState};
use wire::kafka::update_metadata::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState, UpdateMetadataTopicState,
};
use wire::kafka::{LeaderAndIsrRequest, StopReplicaRequest, UpdateMetadataRequest};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Brokers that know nothing yet and get all partitions.
    newcomers: BTreeSet<i32>,
    brokers_changed: bool,
    metadata: BTreeSet<TopicPartition>,
    /// By broker; the flag is "new".
    leader_and_isr: BTreeMap<i32, BTreeMap<TopicPartition, bool>>,
    /// By broker; the flag is "delete".
    stop: BTreeMap<i32, BTreeMap<TopicPartition, bool>>,
}

impl Outbox {
    pub fn newcomer(&mut self, broker: i32) {
        self.newcomers.insert(broker);
    }

    /// The list of live brokers, or an endpoint of one, is another.
    pub fn brokers_changed(&mut self) {
        self.brokers_changed = true;
    }

    /// All brokers are to hear of this partition.
    pub fn metadata(&mut self, partition: TopicPartition) {
        self.metadata.insert(partition);
    }

    /// This replica is to hear of its partition's leader.
    pub fn leader_and_isr(&mut self, broker: i32, partition: TopicPartition, is_new: bool) {
        *self.leader_and_isr.entry(broker).or_default().entry(partition).or_default() |= is_new;
    }

    pub fn stop(&mut self, broker: i32, partition: TopicPartition, delete: bool) {
        *self.stop.entry(broker).or_default().entry(partition).or_default() |= delete;
    }

    /// The broker is gone.
    pub fn forget(&mut self, broker: i32) {
        self.newcomers.remove(&broker);
        self.leader_and_isr.remove(&broker);
        self.stop.remove(&broker);
    }
}

impl Controller {
    /// Sends what has gathered. Brokers first hear who is alive, as they follow only leaders that they know.
    pub(super) fn flush(&mut self, out: &mut Vec<Effect>) {
        let outbox = std::mem::take(&mut self.outbox);
        if outbox.brokers_changed || !outbox.newcomers.is_empty() {
            let all: Vec<TopicPartition> =
                if outbox.newcomers.is_empty() { Vec::new() } else { self.known_partitions().collect() };
            for &broker in self.brokers.keys() {
                if outbox.newcomers.contains(&broker) {
                    self.send(broker, ToBroker::UpdateMetadata(self.update_metadata(all.iter())), out);
                } else if outbox.brokers_changed {
                    self.send(broker, ToBroker::UpdateMetadata(self.update_metadata([].iter())), out);
                }
            }
        }
        for (&broker, partitions) in &outbox.leader_and_isr {
            self.send(broker, ToBroker::LeaderAndIsr(self.leader_and_isr(partitions)), out);
        }
        if !outbox.metadata.is_empty() {
            let request = self.update_metadata(outbox.metadata.iter());
            for &broker in self.brokers.keys() {
                self.send(broker, ToBroker::UpdateMetadata(request.clone()), out);
            }
        }
        for (&broker, partitions) in &outbox.stop {
            self.send(broker, ToBroker::StopReplica(self.stop_replica(partitions)), out);
        }
    }

    fn send(&self, broker: i32, mut request: ToBroker, out: &mut Vec<Effect>) {
        let Some(registered) = self.brokers.get(&broker) else { return };
        let broker_epoch = registered.epoch;
        match &mut request {
            ToBroker::LeaderAndIsr(request) => request.broker_epoch = broker_epoch,
            ToBroker::UpdateMetadata(request) => request.broker_epoch = broker_epoch,
            ToBroker::StopReplica(request) => request.broker_epoch = broker_epoch,
        }
        out.push(Effect::Send { broker, broker_epoch, request });
    }

    /// Those of topics that are being deleted too: a broker that has only lost its session still knows them, and is
    /// to forget them.
    fn known_partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.iter().flat_map(|(name, topic)| {
            let led = topic.partitions.iter().filter(|(_, entry)| entry.state.is_some());
            led.map(|(&partition, _)| TopicPartition { topic: name.clone(), partition })
        })
    }

    fn update_metadata<'a>(
        &self,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> UpdateMetadataRequest {
        let mut topic_states: Vec<UpdateMetadataTopicState> = Vec::new();
        for tp in partitions {
            let Some(state) = self.metadata_of(tp) else { continue };
            let topic_id = self.topics.get(&tp.topic).map(|topic| topic.id).unwrap_or_default();
            match topic_states.last_mut().filter(|last| last.topic_name == tp.topic) {
                Some(last) => last.partition_states.push(state),
                None => topic_states.push(UpdateMetadataTopicState {
                    topic_name: tp.topic.clone(),
                    topic_id,
                    partition_states: vec![state],
                }),
            }
        }
        let live_brokers = self.brokers.iter().map(|(&id, broker)| UpdateMetadataBroker {
            id,
            endpoints: broker
                .endpoints
                .iter()
                .map(|endpoint| UpdateMetadataEndpoint {
                    port: endpoint.port,
                    host: endpoint.host.clone(),
                    listener: endpoint.listener.clone(),
                    security_protocol: endpoint.security_protocol,
                })
                .collect(),
            rack: broker.rack.clone(),
            ..UpdateMetadataBroker::default()
        });
        UpdateMetadataRequest {
            controller_id: self.config.id,
            controller_epoch: self.epoch,
            topic_states,
            live_brokers: live_brokers.collect(),
            ..UpdateMetadataRequest::default()
        }
    }

    fn metadata_of(&self, tp: &TopicPartition) -> Option<UpdateMetadataPartitionState> {
        let topic = self.topics.get(&tp.topic)?;
        let entry = topic.partitions.get(&tp.partition)?;
        let state = entry.state.as_ref()?;
        let deleting = topic.deletion.is_some();
        let replicas = entry.assignment.replicas.clone();
        let offline_replicas = replicas.iter().copied().filter(|&id| !self.is_online(id, tp)).collect();
        Some(UpdateMetadataPartitionState {
            partition_index: tp.partition,
            controller_epoch: state.controller_epoch,
            leader: if deleting { LEADER_DURING_DELETE } else { state.leader },
            leader_epoch: if deleting { 0 } else { state.leader_epoch },
            isr: state.isr.clone(),
            zk_version: if deleting { 0 } else { state.version },
            replicas,
            offline_replicas,
            ..UpdateMetadataPartitionState::default()
        })
    }

    fn leader_and_isr(&self, partitions: &BTreeMap<TopicPartition, bool>) -> LeaderAndIsrRequest {
        let mut topic_states: Vec<LeaderAndIsrTopicState> = Vec::new();
        let mut leaders = BTreeSet::new();
        for (tp, &is_new) in partitions {
            let Some(topic) = self.topics.get(&tp.topic) else { continue };
            let Some(entry) = topic.partitions.get(&tp.partition) else { continue };
            let Some(state) = &entry.state else { continue };
            leaders.insert(state.leader);
            let partition_state = LeaderAndIsrPartitionState {
                partition_index: tp.partition,
                controller_epoch: state.controller_epoch,
                leader: state.leader,
                leader_epoch: state.leader_epoch,
                isr: state.isr.clone(),
                partition_epoch: state.version,
                replicas: entry.assignment.replicas.clone(),
                adding_replicas: entry.assignment.adding.clone(),
                removing_replicas: entry.assignment.removing.clone(),
                is_new,
                leader_recovery_state: i8::from(state.recovering),
                ..LeaderAndIsrPartitionState::default()
            };
            match topic_states.last_mut().filter(|last| last.topic_name == tp.topic) {
                Some(last) => last.partition_states.push(partition_state),
                None => topic_states.push(LeaderAndIsrTopicState {
                    topic_name: tp.topic.clone(),
                    topic_id: topic.id,
                    partition_states: vec![partition_state],
                }),
            }
        }
        LeaderAndIsrRequest {
            controller_id: self.config.id,
            controller_epoch: self.epoch,
            topic_states,
            live_leaders: leaders.into_iter().filter_map(|id| self.live_leader(id)).collect(),
            ..LeaderAndIsrRequest::default()
        }
    }

    fn live_leader(&self, id: i32) -> Option<LeaderAndIsrLiveLeader> {
        let endpoints = &self.brokers.get(&id)?.endpoints;
        let endpoint = endpoints.iter().find(|endpoint| endpoint.listener == self.config.listener)?;
        Some(LeaderAndIsrLiveLeader { broker_id: id, host_name: endpoint.host.clone(), port: endpoint.port })
    }

    fn stop_replica(&self, partitions: &BTreeMap<TopicPartition, bool>) -> StopReplicaRequest {
        let mut topic_states: BTreeMap<Str, Vec<StopReplicaPartitionState>> = BTreeMap::new();
        for (tp, &delete_partition) in partitions {
            let topic = self.topics.get(&tp.topic);
            let leader_epoch = match topic {
                Some(topic) if topic.deletion.is_some() => EPOCH_DURING_DELETE,
                Some(topic) => topic
                    .partitions
                    .get(&tp.partition)
                    .and_then(|entry| entry.state.as_ref())
                    .map_or(EPOCH_UNKNOWN, |state| state.leader_epoch),
                None => EPOCH_UNKNOWN,
            };
            let state =
                StopReplicaPartitionState { partition_index: tp.partition, leader_epoch, delete_partition };
            topic_states.entry(tp.topic.clone()).or_default().push(state);
        }
        let topic_states = topic_states
            .into_iter()
            .map(|(topic_name, partition_states)| StopReplicaTopicState { topic_name, partition_states });
        StopReplicaRequest {
            controller_id: self.config.id,
            controller_epoch: self.epoch,
            topic_states: topic_states.collect(),
            ..StopReplicaRequest::default()
        }
    }
}
