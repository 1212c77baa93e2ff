//! Requests for brokers, gathered while the state settles and then sent once for each broker.

use super::election::Liveness;
use super::event::{Effect, ToBroker};
use super::state::{LEADER_DURING_DELETE, TopicPartition};
use super::{Controller, PartitionEntry, TopicEntry};
use crate::partition::{EPOCH_DURING_DELETE, EPOCH_UNKNOWN};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
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
    /// Brokers that know nothing yet: they get all partitions' metadata, and the leaders of all replicas that they have.
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

    /// How many brokers hear of everything anyway.
    pub fn newcomers(&self) -> usize {
        self.newcomers.len()
    }

    /// This replica is to hear of its partition's leader. One that was to be deleted is wanted again.
    pub fn leader_and_isr(&mut self, broker: i32, partition: TopicPartition, is_new: bool) {
        if let Some(stop) = self.stop.get_mut(&broker)
            && stop.get(&partition) == Some(&true)
        {
            stop.remove(&partition);
        }
        if is_new || !self.newcomers.contains(&broker) {
            *self.leader_and_isr.entry(broker).or_default().entry(partition).or_default() |= is_new;
        }
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

/// A LeaderAndIsr in the making; partitions come in order.
#[derive(Default)]
struct Draft {
    topic_states: Vec<LeaderAndIsrTopicState>,
    leaders: BTreeSet<i32>,
}

impl Draft {
    fn add(
        &mut self,
        (name, topic): (&Str, &TopicEntry),
        (partition, entry): (i32, &PartitionEntry),
        broker: i32,
        is_new: bool,
    ) {
        let Some(state) = &entry.state else { return };
        // A replica that is being added may be made in any directory.
        let is_new = is_new || entry.assignment.adding.contains(&broker);
        self.leaders.insert(state.leader);
        let partition_state = LeaderAndIsrPartitionState {
            partition_index: partition,
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
        match self.topic_states.last_mut().filter(|last| last.topic_name == *name) {
            Some(last) => last.partition_states.push(partition_state),
            None => {
                // Most brokers have a share of a topic's partitions.
                let mut partition_states = Vec::with_capacity(topic.partitions.len().div_ceil(2));
                partition_states.push(partition_state);
                let (topic_name, topic_id) = (name.clone(), topic.id);
                self.topic_states.push(LeaderAndIsrTopicState { topic_name, topic_id, partition_states });
            }
        }
    }
}

impl Controller {
    /// Sends what has gathered. Brokers first hear who is alive, as they follow only leaders that they know.
    pub(super) fn flush(&mut self, out: &mut Vec<Effect>) {
        let outbox = std::mem::take(&mut self.outbox);
        let newcomers = &outbox.newcomers;
        if !newcomers.is_empty() {
            let all = Arc::new(self.all_metadata());
            newcomers
                .iter()
                .for_each(|&broker| self.send(broker, ToBroker::UpdateMetadata(all.clone()), out));
        }
        let others: Vec<i32> = self.brokers.keys().copied().filter(|id| !newcomers.contains(id)).collect();
        if outbox.brokers_changed && !others.is_empty() {
            let none = Arc::new(self.update_metadata([].iter()));
            others.iter().for_each(|&broker| self.send(broker, ToBroker::UpdateMetadata(none.clone()), out));
        }
        for (broker, request) in self.leaders_for(newcomers, &outbox.leader_and_isr) {
            self.send(broker, ToBroker::LeaderAndIsr(request), out);
        }
        if !outbox.metadata.is_empty() && !others.is_empty() {
            let changed = Arc::new(self.update_metadata(outbox.metadata.iter()));
            others
                .iter()
                .for_each(|&broker| self.send(broker, ToBroker::UpdateMetadata(changed.clone()), out));
        }
        for (&broker, partitions) in outbox.stop.iter().filter(|(_, partitions)| !partitions.is_empty()) {
            self.send(broker, ToBroker::StopReplica(self.stop_replica(partitions)), out);
        }
    }

    fn send(&self, broker: i32, mut request: ToBroker, out: &mut Vec<Effect>) {
        let Some(registered) = self.brokers.get(&broker) else { return };
        let broker_epoch = registered.epoch;
        match &mut request {
            ToBroker::LeaderAndIsr(request) => request.broker_epoch = broker_epoch,
            ToBroker::UpdateMetadata(_) => {}
            ToBroker::StopReplica(request) => request.broker_epoch = broker_epoch,
        }
        out.push(Effect::Send { broker, broker_epoch, request });
    }

    /// Everything. Topics that are being deleted are in it too: a broker that has only lost its session still knows
    /// them, and is to forget them.
    fn all_metadata(&self) -> UpdateMetadataRequest {
        let topic_states = self.topics.iter().filter_map(|(name, topic)| {
            let states =
                topic.partitions.iter().filter_map(|(&id, entry)| self.metadata_of(name, topic, id, entry));
            let mut partition_states = Vec::with_capacity(topic.partitions.len());
            partition_states.extend(states);
            (!partition_states.is_empty()).then(|| UpdateMetadataTopicState {
                topic_name: name.clone(),
                topic_id: topic.id,
                partition_states,
            })
        });
        self.with_brokers(topic_states.collect())
    }

    fn update_metadata<'a>(
        &self,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> UpdateMetadataRequest {
        let mut topic_states: Vec<UpdateMetadataTopicState> = Vec::new();
        for tp in partitions {
            let Some(topic) = self.topics.get(&tp.topic) else { continue };
            let Some(entry) = topic.partitions.get(&tp.partition) else { continue };
            let Some(state) = self.metadata_of(&tp.topic, topic, tp.partition, entry) else { continue };
            match topic_states.last_mut().filter(|last| last.topic_name == tp.topic) {
                Some(last) => last.partition_states.push(state),
                None => topic_states.push(UpdateMetadataTopicState {
                    topic_name: tp.topic.clone(),
                    topic_id: topic.id,
                    partition_states: vec![state],
                }),
            }
        }
        self.with_brokers(topic_states)
    }

    fn with_brokers(&self, topic_states: Vec<UpdateMetadataTopicState>) -> UpdateMetadataRequest {
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

    fn metadata_of(
        &self,
        name: &Str,
        topic: &TopicEntry,
        partition: i32,
        entry: &PartitionEntry,
    ) -> Option<UpdateMetadataPartitionState> {
        let state = entry.state.as_ref()?;
        let deleting = topic.deletion.is_some();
        let replicas = entry.assignment.replicas.clone();
        let offline = |id: &i32| self.liveness_of(*id, name, partition) != Liveness::Online;
        let offline_replicas = replicas.iter().copied().filter(offline).collect();
        Some(UpdateMetadataPartitionState {
            partition_index: partition,
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

    /// What `newcomers` are to hear of all their replicas, and others of the partitions in `told`.
    fn leaders_for(
        &self,
        newcomers: &BTreeSet<i32>,
        told: &BTreeMap<i32, BTreeMap<TopicPartition, bool>>,
    ) -> BTreeMap<i32, LeaderAndIsrRequest> {
        let mut drafts: BTreeMap<i32, Draft> = BTreeMap::new();
        if !newcomers.is_empty() {
            let live = self.topics.iter().filter(|(_, topic)| topic.deletion.is_none());
            for (name, topic) in live {
                for (&id, entry) in &topic.partitions {
                    let replicas = entry.assignment.replicas.iter();
                    for &broker in replicas.filter(|id| newcomers.contains(id)) {
                        let is_new = told.get(&broker).is_some_and(|told| {
                            let tp = TopicPartition { topic: name.clone(), partition: id };
                            told.get(&tp).copied().unwrap_or(false)
                        });
                        drafts.entry(broker).or_default().add((name, topic), (id, entry), broker, is_new);
                    }
                }
            }
        }
        for (&broker, partitions) in told.iter().filter(|(id, _)| !newcomers.contains(id)) {
            for (tp, &is_new) in partitions {
                let Some(topic) = self.topics.get(&tp.topic) else { continue };
                let Some(entry) = topic.partitions.get(&tp.partition) else { continue };
                let one = ((&tp.topic, topic), (tp.partition, entry));
                drafts.entry(broker).or_default().add(one.0, one.1, broker, is_new);
            }
        }
        drafts.into_iter().map(|(broker, draft)| (broker, self.leader_and_isr(draft))).collect()
    }

    fn leader_and_isr(&self, draft: Draft) -> LeaderAndIsrRequest {
        LeaderAndIsrRequest {
            controller_id: self.config.id,
            controller_epoch: self.epoch,
            topic_states: draft.topic_states,
            live_leaders: draft.leaders.into_iter().filter_map(|id| self.live_leader(id)).collect(),
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
