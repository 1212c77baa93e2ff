//! What the elected controller decides: who leads which partition, who is in its ISR, which brokers are told.
//!
//! The core holds the cluster as ZooKeeper does, and as it should be. Whenever something happens, the partitions it
//! concerns are looked at again ([`election`]): a state that should be another is written to ZooKeeper, at most one
//! write per partition at a time, and when the write is done the replicas get a LeaderAndIsr and all brokers an
//! UpdateMetadata. Requests are gathered until no write is under way, and then sent once per broker.
//!
//! A controller that finds `/controller_epoch` changed is no longer one: the shell drops it, and a later election
//! starts with a fresh core from a fresh [`Snapshot`].
//!
//! In the terms of Kafka's own state machines: a partition without a state is New, one with a live leader Online, one
//! without Offline; of a topic being deleted, NonExistent. Replicas are Online or Offline by their brokers, and while
//! being deleted as `deletion` tells.

mod deletion;
pub mod election;
mod event;
mod outbox;
pub mod paths;
mod reassignment;
#[cfg(test)]
mod reassignment_tests;
mod requests;
mod state;
#[cfg(test)]
mod tests;

pub use crate::partition::Token;
pub use event::{
    Effect, Elected, ElectionType, Event, Obstacle, OpId, Reassigned, ToBroker, Write, WriteError,
};
pub use state::*;

use deletion::Deletion;
use election::Liveness;
use outbox::Outbox;
use reassignment::{Change, Reassignments};
use requests::{AlterAsk, Requests};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::{ErrorCode, LeaderAndIsrResponse, Uuid};

#[derive(Debug)]
struct PartitionEntry {
    assignment: Assignment,
    /// `None` while the partition is new.
    state: Option<PartitionState>,
    writing: Option<Writing>,
    /// Something happened during the write: look again afterwards.
    again: bool,
    /// ISR changes that came during the write.
    deferred: Vec<AlterAsk>,
    /// The assignment is new to its replicas: they are told under a new leader epoch.
    announce: bool,
    /// Replicas that go when the state has been written without them.
    dropped: Vec<i32>,
    /// A reassignment has come to its end, which the topic's node does not show yet.
    ending: bool,
}

impl PartitionEntry {
    fn new(assignment: Assignment, state: Option<PartitionState>) -> PartitionEntry {
        PartitionEntry {
            // What another controller left half done is announced again, as nobody knows who heard of it.
            announce: assignment.is_being_reassigned(),
            assignment,
            state,
            writing: None,
            again: false,
            deferred: Vec::new(),
            dropped: Vec::new(),
            ending: false,
        }
    }
}

#[derive(Debug)]
struct Writing {
    state: PartitionState,
    why: Why,
    /// Replicas hear of their new assignment with it.
    announces: bool,
}

/// Who wants a partition's state written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The controller: replicas are told.
    Election,
    /// The leader, which knows already.
    Alter(Token),
    /// An administrator.
    Asked(Token),
}

#[derive(Debug)]
struct TopicEntry {
    id: Uuid,
    partitions: BTreeMap<i32, PartitionEntry>,
    deletion: Option<Deletion>,
}

/// What an outcome belongs to.
#[derive(Debug, Clone)]
enum Purpose {
    State(TopicPartition),
    DeleteTopic(Str),
    Assign(Change),
    Forget,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub brokers: usize,
    pub topics: usize,
    pub partitions: usize,
    pub offline_partitions: usize,
    pub preferred_imbalance: usize,
    pub topics_to_delete: usize,
    /// Replicas of these that are still there.
    pub replicas_to_delete: usize,
    /// Of these topics, those whose deletion waits for something.
    pub topics_ineligible: usize,
    /// Replicas that cannot be deleted now.
    pub replicas_ineligible: usize,
    pub reassigning_partitions: usize,
}

#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    /// The controller epoch that was won.
    epoch: i32,
    brokers: BTreeMap<i32, Broker>,
    shutting_down: BTreeSet<i32>,
    /// Replicas in failed log directories.
    offline_dirs: BTreeMap<i32, BTreeSet<TopicPartition>>,
    topics: BTreeMap<Str, TopicEntry>,
    names: BTreeMap<Uuid, Str>,
    unclean: BTreeSet<Str>,
    outbox: Outbox,
    ops: BTreeMap<OpId, Purpose>,
    next_op: u64,
    requests: Requests,
    reassignments: Reassignments,
    /// Topics that are deleted when their reassignments have ended.
    postponed: BTreeSet<Str>,
    /// The work is being taken up: who is away was lost under another controller.
    succeeds: bool,
    /// Leaders chosen from outside the ISR, since somebody asked.
    unclean_elections: u64,
}

impl Controller {
    /// The controller of `epoch`, with the cluster as it stands in ZooKeeper. Call [`Controller::start`] next.
    pub fn new(config: ControllerConfig, epoch: i32, snapshot: Snapshot) -> Controller {
        let Snapshot { brokers, topics, states, unclean } = snapshot;
        let mut controller = Controller {
            config,
            epoch,
            brokers,
            shutting_down: BTreeSet::new(),
            offline_dirs: BTreeMap::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            unclean,
            outbox: Outbox::default(),
            ops: BTreeMap::new(),
            next_op: 0,
            requests: Requests::default(),
            reassignments: Reassignments::default(),
            postponed: BTreeSet::new(),
            succeeds: false,
            unclean_elections: 0,
        };
        // Both are in the order of names and numbers.
        let mut states = states.into_iter().peekable();
        for (name, topic) in topics {
            let entry = |(partition, assignment)| {
                let own = TopicPartition { topic: name.clone(), partition };
                while states.next_if(|(tp, _)| *tp < own).is_some() {}
                let state = states.next_if(|(tp, _)| *tp == own).map(|(_, state)| state);
                (partition, PartitionEntry::new(assignment, state))
            };
            let partitions = topic.partitions.into_iter().map(entry).collect();
            controller.is_called(topic.id, &name);
            controller.topics.insert(name, TopicEntry { id: topic.id, partitions, deletion: None });
        }
        controller
    }

    /// Takes up the work: every broker is told everything, partitions are led by who is alive, and `deletions`, the
    /// children of `/admin/delete_topics`, go on.
    pub fn start(&mut self, deletions: BTreeSet<Str>, out: &mut Vec<Effect>) {
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        brokers.iter().for_each(|&id| self.outbox.newcomer(id));
        self.delete_topics(deletions, out);
        self.succeeds = true;
        self.look_at_all(|_| true, out);
        self.succeeds = false;
        self.settle(out);
    }

    /// A topic of before there were ids is found by its name alone.
    fn is_called(&mut self, id: Uuid, name: &Str) {
        if !id.is_zero() {
            self.names.insert(id, name.clone());
        }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Whether the topic is known, so that [`Event::Topics`] need not bring its node.
    pub fn knows(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub fn topics(&self) -> impl Iterator<Item = &Str> {
        self.topics.keys()
    }

    /// The topic's partitions, if it is known and not being deleted.
    pub fn assignment(&self, topic: &str) -> Option<Topic> {
        let entry = self.topics.get(topic).filter(|entry| entry.deletion.is_none())?;
        let partitions = entry.partitions.iter().map(|(&id, p)| (id, p.assignment.clone())).collect();
        Some(Topic { id: entry.id, partitions })
    }

    pub fn topic_name(&self, id: &Uuid) -> Option<&Str> {
        self.names.get(id)
    }

    /// Brokers that may get replicas.
    pub fn brokers(&self) -> &BTreeMap<i32, Broker> {
        &self.brokers
    }

    /// A partition's state as last written; `None` while it is new.
    pub fn state(&self, tp: &TopicPartition) -> Option<&PartitionState> {
        self.entry(tp)?.state.as_ref()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            brokers: self.brokers.len(),
            topics: self.topics.len(),
            topics_to_delete: self.postponed.len(),
            topics_ineligible: self.postponed.len(),
            ..Counts::default()
        };
        for (name, topic) in &self.topics {
            if let Some(deletion) = &topic.deletion {
                counts.topics_to_delete += 1;
                counts.topics_ineligible += usize::from(deletion.waits());
                counts.replicas_to_delete += deletion.left();
                counts.replicas_ineligible += deletion.ineligible();
                continue;
            }
            if self.postponed.contains(name) {
                let replicas = topic.partitions.values().map(|entry| entry.assignment.replicas.len());
                counts.replicas_to_delete += replicas.sum::<usize>();
            }
            counts.partitions += topic.partitions.len();
            for (&partition, entry) in &topic.partitions {
                let leader = entry.state.as_ref().map_or(NO_LEADER, |state| state.leader);
                counts.reassigning_partitions += usize::from(entry.is_moving());
                let tp = TopicPartition { topic: name.clone(), partition };
                counts.offline_partitions += usize::from(self.liveness(leader, &tp) == Liveness::Offline);
                counts.preferred_imbalance +=
                    usize::from(entry.assignment.replicas.first().is_some_and(|&first| first != leader));
            }
        }
        counts
    }

    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Brokers(brokers) => self.brokers_are(brokers, out),
            Event::Topics { names, added } => self.topics_are(&names, added, out),
            Event::TopicChanged { name, topic } => self.topic_changed(name, topic, out),
            Event::DeleteTopics(topics) => self.delete_topics(topics, out),
            Event::UncleanElection { topic, enabled } => self.unclean_election(topic, enabled, out),
            Event::UncleanTopics(topics) => self.unclean_topics(topics, out),
            Event::StatesChanged(states) => self.states_changed(states, out),
            Event::LogDirsFailed(brokers) => {
                for tp in self.partitions_where(|_, _| true) {
                    brokers.iter().for_each(|&id| self.tell_replica(id, &tp, false));
                }
            }
            Event::BalanceLeaders => self.balance_leaders(out),
            Event::Written { op, result } => self.written(op, result, out),
            Event::StateRead { op, state } => self.state_read(op, state, out),
            Event::LeaderAndIsrAnswered { broker, response } => {
                self.leader_and_isr_answered(broker, &response, out)
            }
            Event::StopReplicaAnswered { broker, request, response } => {
                self.unwanted_stopped(broker, &request, &response);
                self.replicas_stopped(broker, &request, &response, out)
            }
            Event::AlterPartition { token, version, request } => {
                self.alter_partition(token, version, request, out)
            }
            Event::ControlledShutdown { token, broker, broker_epoch } => {
                self.controlled_shutdown(token, broker, broker_epoch, out)
            }
            Event::ElectLeaders { token, election, partitions } => {
                self.elect_leaders(token, election, partitions, out)
            }
            Event::AlterReassignments { token, partitions } => self.ask_reassignments(token, partitions),
            Event::LegacyReassignment(partitions) => self.legacy_reassignment(partitions),
        }
        self.settle(out);
    }

    /// When nothing is under way any more, brokers are told, and then whoever asked; and what had to wait for that is
    /// begun.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        while self.ops.is_empty() {
            self.flush(out);
            self.answer_reassignments(out);
            if !self.end_reassignments(out) && !self.begin_reassignments(out) {
                self.answer_shutdowns(out);
                return;
            }
        }
    }

    fn entry(&self, tp: &TopicPartition) -> Option<&PartitionEntry> {
        self.topics.get(&tp.topic)?.partitions.get(&tp.partition)
    }

    fn entry_mut(&mut self, tp: &TopicPartition) -> Option<&mut PartitionEntry> {
        self.topics.get_mut(&tp.topic)?.partitions.get_mut(&tp.partition)
    }

    fn is_deleting(&self, topic: &Str) -> bool {
        self.topics.get(topic).is_some_and(|entry| entry.deletion.is_some())
    }

    /// Being deleted, or about to be.
    fn is_doomed(&self, topic: &Str) -> bool {
        self.is_deleting(topic) || self.postponed.contains(topic)
    }

    fn liveness(&self, broker: i32, tp: &TopicPartition) -> Liveness {
        self.liveness_of(broker, &tp.topic, tp.partition)
    }

    fn liveness_of(&self, broker: i32, topic: &Str, partition: i32) -> Liveness {
        let dir_failed = |offline: &BTreeSet<TopicPartition>| {
            !offline.is_empty() && offline.contains(&TopicPartition { topic: topic.clone(), partition })
        };
        if !self.brokers.contains_key(&broker) || self.offline_dirs.get(&broker).is_some_and(dir_failed) {
            Liveness::Offline
        } else if self.shutting_down.contains(&broker) {
            Liveness::ShuttingDown
        } else {
            Liveness::Online
        }
    }

    fn is_online(&self, broker: i32, tp: &TopicPartition) -> bool {
        self.liveness(broker, tp) == Liveness::Online
    }

    /// Partitions of topics that are not being deleted.
    fn partitions_where(
        &self,
        wanted: impl Fn(&TopicPartition, &PartitionEntry) -> bool,
    ) -> Vec<TopicPartition> {
        let mut found = Vec::new();
        for (name, topic) in self.topics.iter().filter(|(_, topic)| topic.deletion.is_none()) {
            for (&partition, entry) in &topic.partitions {
                let tp = TopicPartition { topic: name.clone(), partition };
                if wanted(&tp, entry) {
                    found.push(tp);
                }
            }
        }
        found
    }

    fn partitions_on(&self, broker: i32) -> Vec<TopicPartition> {
        self.partitions_where(|_, entry| entry.assignment.replicas.contains(&broker))
    }

    // ---- what happens to the cluster

    fn brokers_are(&mut self, now: BTreeMap<i32, Broker>, out: &mut Vec<Effect>) {
        let gone: Vec<i32> = self
            .brokers
            .iter()
            .filter(|(id, old)| now.get(id).is_none_or(|new| new.epoch != old.epoch))
            .map(|(&id, _)| id)
            .collect();
        let come: Vec<i32> = now
            .iter()
            .filter(|(id, new)| self.brokers.get(id).is_none_or(|old| old.epoch != new.epoch))
            .map(|(&id, _)| id)
            .collect();
        self.retry_endings();
        if now != self.brokers {
            self.outbox.brokers_changed();
        }
        // A broker that is back with another epoch has failed in between: it may have lost the end of its logs.
        for id in &gone {
            self.brokers.remove(id);
            self.shutting_down.remove(id);
            self.offline_dirs.remove(id);
            self.outbox.forget(*id);
        }
        if !gone.is_empty() {
            self.halt_deletions_on(&gone, out);
        }
        if !gone.is_empty() {
            self.look_at_all(|entry| gone.iter().any(|id| entry.assignment.replicas.contains(id)), out);
        }
        self.brokers = now;
        for &id in &come {
            self.outbox.newcomer(id);
            self.stop_unwanted(id);
        }
        if !come.is_empty() {
            self.resume_reassignments(&come);
            self.look_at_all(|entry| come.iter().any(|id| entry.assignment.replicas.contains(id)), out);
        }
        if !come.is_empty() {
            self.resume_deletions(out);
        }
    }

    fn topics_are(&mut self, names: &BTreeSet<Str>, added: BTreeMap<Str, Topic>, out: &mut Vec<Effect>) {
        let gone: Vec<Str> = self.topics.keys().filter(|name| !names.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove_topic(name, out));
        for (name, topic) in added {
            if !names.contains(&name) || self.topics.contains_key(&name) {
                continue;
            }
            self.is_called(topic.id, &name);
            let entry = TopicEntry { id: topic.id, partitions: BTreeMap::new(), deletion: None };
            self.topics.insert(name.clone(), entry);
            self.topic_changed(name, topic, out);
        }
    }

    fn topic_changed(&mut self, name: Str, topic: Topic, out: &mut Vec<Effect>) {
        let Some(entry) = self.topics.get_mut(&name).filter(|entry| entry.deletion.is_none()) else { return };
        let mut new = Vec::new();
        for (partition, assignment) in topic.partitions {
            entry.partitions.entry(partition).or_insert_with(|| {
                new.push(TopicPartition { topic: name.clone(), partition });
                PartitionEntry::new(assignment, None)
            });
        }
        new.iter().for_each(|tp| self.look_at(tp, out));
    }

    fn remove_topic(&mut self, name: &Str, out: &mut Vec<Effect>) {
        let Some(topic) = self.topics.remove(name) else { return };
        self.names.remove(&topic.id);
        self.unclean.remove(name);
        self.postponed.remove(name);
        self.reassignments.forget(name);
        for offline in self.offline_dirs.values_mut() {
            offline.retain(|tp| tp.topic != *name);
        }
        let gone = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        for (partition, entry) in topic.partitions {
            let tp = TopicPartition { topic: name.clone(), partition };
            match entry.writing.map(|writing| writing.why) {
                Some(Why::Alter(token)) => self.altered(token, &tp, gone, out),
                Some(Why::Asked(token)) => self.elected(token, &tp, gone, out),
                Some(Why::Election) | None => {}
            }
            entry.deferred.iter().for_each(|ask| self.altered(ask.token, &tp, gone, out));
        }
    }

    fn unclean_election(&mut self, topic: Str, enabled: bool, out: &mut Vec<Effect>) {
        if !enabled {
            self.unclean.remove(&topic);
            return;
        }
        self.unclean.insert(topic.clone());
        let Some(entry) = self.topics.get(&topic) else { return };
        for partition in entry.partitions.keys().copied().collect::<Vec<_>>() {
            self.look_at(&TopicPartition { topic: topic.clone(), partition }, out);
        }
    }

    fn unclean_topics(&mut self, topics: BTreeSet<Str>, out: &mut Vec<Effect>) {
        let added: Vec<Str> = topics.difference(&self.unclean).cloned().collect();
        self.unclean = topics;
        added.into_iter().for_each(|topic| self.unclean_election(topic, true, out));
    }

    /// Brokers hear of what was written; of a partition that is being written, the outcome will tell.
    fn states_changed(&mut self, states: BTreeMap<TopicPartition, PartitionState>, out: &mut Vec<Effect>) {
        for (tp, state) in states {
            let Some(entry) = self.entry_mut(&tp).filter(|entry| entry.writing.is_none()) else { continue };
            entry.state = Some(state);
            let in_place = entry.is_in_place();
            self.tell_all(&tp);
            if in_place {
                self.look_at(&tp, out);
            }
        }
    }

    /// Moves leadership back to preferred replicas, for brokers that lead too little of what they should. Not while
    /// replicas move: the leaders may soon have to go anyway.
    fn balance_leaders(&mut self, out: &mut Vec<Effect>) {
        self.retry_endings();
        let mut preferred: BTreeMap<i32, (usize, Vec<TopicPartition>)> = BTreeMap::new();
        for (name, topic) in self.topics.iter().filter(|(name, _)| !self.is_doomed(name)) {
            for (&partition, entry) in &topic.partitions {
                let Some(state) = &entry.state else { continue };
                let Some(&first) = entry.assignment.replicas.first() else { continue };
                let (count, elsewhere) = preferred.entry(first).or_default();
                *count += 1;
                if state.leader != first {
                    elsewhere.push(TopicPartition { topic: name.clone(), partition });
                }
            }
        }
        for (count, elsewhere) in preferred.into_values() {
            if elsewhere.len() * 100 > count * self.config.imbalance_percent_max as usize {
                for tp in elsewhere {
                    self.elect_preferred(&tp, Why::Election, out);
                }
            }
        }
    }

    // ---- partition states

    /// Writes the state that a partition should have, if it has another.
    fn look_at(&mut self, tp: &TopicPartition, out: &mut Vec<Effect>) {
        let unclean = self.unclean.contains(&tp.topic);
        self.look_at_with(tp, unclean, Why::Election, out);
    }

    /// Looks at all partitions that `concerned` is true of, in one pass: most of them are as they should be.
    fn look_at_all(&mut self, concerned: impl Fn(&PartitionEntry) -> bool, out: &mut Vec<Effect>) {
        let mut moved = Vec::new();
        for (name, topic) in self.topics.iter().filter(|(_, topic)| topic.deletion.is_none()) {
            let unclean = self.unclean.contains(name);
            for (&partition, entry) in topic.partitions.iter().filter(|(_, entry)| concerned(entry)) {
                let changes = entry.writing.is_some() || entry.is_in_place();
                if changes || self.wanted(name, partition, entry, unclean).is_some() {
                    moved.push(TopicPartition { topic: name.clone(), partition });
                }
            }
        }
        moved.iter().for_each(|tp| self.look_at(tp, out));
    }

    /// The state that a partition should have, if it has another.
    fn wanted(
        &self,
        topic: &Str,
        partition: i32,
        entry: &PartitionEntry,
        unclean: bool,
    ) -> Option<PartitionState> {
        let liveness = |id| self.liveness_of(id, topic, partition);
        let recovery = self.config.protocol.has_leader_recovery();
        let rules = election::Rules { controller_epoch: self.epoch, unclean, recovery };
        let Some(state) = &entry.state else {
            return election::first_state(&entry.assignment, self.epoch, liveness);
        };
        let fallen = match self.succeeds {
            true => election::without_the_lost(&entry.assignment, state, self.epoch, liveness),
            false => None,
        };
        let before = fallen.as_ref().unwrap_or(state);
        election::reassess(&entry.assignment, before, rules, liveness)
            .or(fallen)
            .or_else(|| entry.announce.then(|| election::renewed(state, self.epoch)))
    }

    /// Says whether a write was begun.
    fn look_at_with(&mut self, tp: &TopicPartition, unclean: bool, why: Why, out: &mut Vec<Effect>) -> bool {
        if self.is_deleting(&tp.topic) {
            return false;
        }
        if let Some(entry) = self.entry_mut(tp)
            && entry.writing.is_some()
        {
            entry.again = true;
            return false;
        }
        // Where none that the move leads to is there, who else has the data goes on with it.
        let reached = |entry: &PartitionEntry| {
            entry.is_in_place() && entry.assignment.target().iter().any(|&id| self.is_online(id, tp))
        };
        if self.entry(tp).is_some_and(reached)
            && let Some(entry) = self.entry_mut(tp)
        {
            entry.end_move();
        }
        let Some(entry) = self.entry(tp) else { return false };
        let Some(new) = self.wanted(&tp.topic, tp.partition, entry, unclean) else { return false };
        self.write_state(tp, new, why, out);
        true
    }

    /// Says whether a write was begun.
    fn elect_preferred(&mut self, tp: &TopicPartition, why: Why, out: &mut Vec<Effect>) -> bool {
        let Some(entry) = self.entry(tp).filter(|entry| entry.writing.is_none()) else { return false };
        let Some(state) = &entry.state else { return false };
        let new = election::preferred(&entry.assignment, state, self.epoch, |id| self.liveness(id, tp));
        let Some(new) = new else { return false };
        self.write_state(tp, new, why, out);
        true
    }

    /// How many leaders were chosen that may lack records, since this was asked last.
    pub fn take_unclean_elections(&mut self) -> u64 {
        std::mem::take(&mut self.unclean_elections)
    }

    fn write_state(&mut self, tp: &TopicPartition, state: PartitionState, why: Why, out: &mut Vec<Effect>) {
        let Some(entry) = self.entry(tp) else { return };
        let before = entry.state.as_ref();
        let is_unclean = before.is_some_and(|before| election::is_unclean(before, &state));
        self.unclean_elections += u64::from(is_unclean);
        let Some(entry) = self.entry_mut(tp) else { return };
        let partition = tp.clone();
        let write = match entry.state {
            None => Write::CreateState { partition, state: state.clone() },
            Some(_) => Write::SetState { partition, state: state.clone() },
        };
        // Any change of the leader epoch will do.
        let announces = entry.announce && !matches!(why, Why::Alter(_));
        entry.writing = Some(Writing { state, why, announces });
        self.write(Purpose::State(tp.clone()), write, out);
    }

    fn write(&mut self, purpose: Purpose, write: Write, out: &mut Vec<Effect>) {
        let op = self.op(purpose);
        out.push(Effect::Write { op, write });
    }

    fn op(&mut self, purpose: Purpose) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.ops.insert(op, purpose);
        op
    }

    fn written(&mut self, op: OpId, result: Result<i32, WriteError>, out: &mut Vec<Effect>) {
        match self.ops.remove(&op) {
            Some(Purpose::State(tp)) => self.state_written(&tp, result, out),
            Some(Purpose::DeleteTopic(topic)) => self.topic_deleted(&topic, result.is_ok(), out),
            Some(Purpose::Assign(change)) => self.assigned(change, result.is_ok(), out),
            Some(Purpose::Forget) | None => {}
        }
    }

    fn state_written(&mut self, tp: &TopicPartition, result: Result<i32, WriteError>, out: &mut Vec<Effect>) {
        let Some(entry) = self.entry_mut(tp) else { return };
        let Some(Writing { state, why, announces }) = entry.writing.take() else { return };
        let error = match result {
            Ok(version) => {
                let is_new = entry.state.is_none();
                entry.state = Some(PartitionState { version, ..state });
                entry.again |= entry.is_in_place();
                self.tell_all(tp);
                if !matches!(why, Why::Alter(_)) {
                    self.tell_replicas(tp, is_new);
                }
                if announces {
                    self.announced(tp);
                }
                ErrorCode::NONE
            }
            Err(WriteError::Conflict) => {
                // Another hand wrote it, or ours did and the answer was lost: it is read before anything else.
                entry.writing = Some(Writing { state, why, announces });
                let op = self.op(Purpose::State(tp.clone()));
                out.push(Effect::ReadState { op, partition: tp.clone() });
                return;
            }
            Err(WriteError::Failed) => ErrorCode::UNKNOWN_SERVER_ERROR,
        };
        self.answer_write(tp, why, error, out);
        self.after_write(tp, out);
    }

    fn state_read(&mut self, op: OpId, state: Option<PartitionState>, out: &mut Vec<Effect>) {
        let Some(Purpose::State(tp)) = self.ops.remove(&op) else { return };
        let Some(entry) = self.entry_mut(&tp) else { return };
        let Some(Writing { state: wanted, why, announces }) = entry.writing.take() else { return };
        let done =
            state.as_ref().is_some_and(|read| PartitionState { version: read.version, ..wanted } == *read);
        entry.state = state;
        entry.again = true;
        self.tell_all(&tp);
        self.tell_replicas(&tp, false);
        if announces && done {
            self.announced(&tp);
        }
        let error = if done { ErrorCode::NONE } else { ErrorCode::INVALID_UPDATE_VERSION };
        self.answer_write(&tp, why, error, out);
        self.after_write(&tp, out);
    }

    fn answer_write(&mut self, tp: &TopicPartition, why: Why, error: ErrorCode, out: &mut Vec<Effect>) {
        match why {
            Why::Election => {}
            Why::Alter(token) => self.altered(token, tp, error, out),
            Why::Asked(token) => self.elected(token, tp, error, out),
        }
    }

    /// The partition is free for the next write: what came meanwhile has its turn.
    fn after_write(&mut self, tp: &TopicPartition, out: &mut Vec<Effect>) {
        let Some(entry) = self.entry_mut(tp) else { return };
        let deferred = std::mem::take(&mut entry.deferred);
        if std::mem::take(&mut entry.again) {
            self.look_at(tp, out);
        }
        deferred.into_iter().for_each(|ask| self.alter_one(ask, out));
        if self.is_deleting(&tp.topic) {
            self.resume_deletion(&tp.topic.clone(), out);
        }
    }

    /// Every broker's metadata; newcomers get all of it in any case.
    fn tell_all(&mut self, tp: &TopicPartition) {
        if self.outbox.newcomers() < self.brokers.len() {
            self.outbox.metadata(tp.clone());
        }
    }

    fn tell_replicas(&mut self, tp: &TopicPartition, is_new: bool) {
        let Some(replicas) = self.entry(tp).map(|entry| entry.assignment.replicas.clone()) else { return };
        replicas.into_iter().for_each(|id| self.tell_replica(id, tp, is_new));
    }

    fn tell_replica(&mut self, broker: i32, tp: &TopicPartition, is_new: bool) {
        let known = self
            .entry(tp)
            .is_some_and(|entry| entry.state.is_some() && entry.assignment.replicas.contains(&broker));
        if known && self.brokers.contains_key(&broker) && !self.is_deleting(&tp.topic) {
            self.outbox.leader_and_isr(broker, tp.clone(), is_new);
        }
    }

    /// A broker says which of its replicas are in failed log directories, and that others work.
    fn leader_and_isr_answered(
        &mut self,
        broker: i32,
        response: &LeaderAndIsrResponse,
        out: &mut Vec<Effect>,
    ) {
        if response.error_code != ErrorCode::NONE || !self.brokers.contains_key(&broker) {
            return;
        }
        let mut changed = Vec::new();
        // By name up to version 4, by id from 5 on.
        let named = (!response.partition_errors.is_empty()).then_some((None, &response.partition_errors));
        let by_id = response.topics.iter().map(|topic| (Some(topic.topic_id), &topic.partition_errors));
        for (id, errors) in named.into_iter().chain(by_id) {
            for partition in errors {
                let name = match id {
                    Some(id) => self.names.get(&id),
                    None => Some(&partition.topic_name),
                };
                let Some(name) = name.filter(|name| self.topics.contains_key(*name)) else { continue };
                let tp = TopicPartition { topic: name.clone(), partition: partition.partition_index };
                let offline = self.offline_dirs.entry(broker).or_default();
                let moved = match partition.error_code {
                    ErrorCode::KAFKA_STORAGE_ERROR => offline.insert(tp.clone()),
                    ErrorCode::NONE => offline.remove(&tp),
                    _ => false,
                };
                if moved {
                    changed.push(tp);
                }
            }
        }
        for tp in changed {
            self.tell_all(&tp);
            self.look_at(&tp, out);
        }
    }
}
