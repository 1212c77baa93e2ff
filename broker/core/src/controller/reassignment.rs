//! Other replicas for a partition (KIP-455). The lists in the topic's node tell how far it is, so that any controller
//! can go on where another stopped:
//!
//! 1. The node gets the union of old and new replicas, and who is added and removed; then a new leader epoch makes all
//!    of them listen. The new ones fetch.
//! 2. When all of the target is in sync, a state is written that has the target alone, led by one of it. Replicas hear
//!    of it, and those to go are told to delete their logs.
//! 3. Only now does the node lose the old replicas: it is the one place that knows who they are.
//!
//! Taking a reassignment back is one to the original replicas, which are in sync already as a rule. A newer
//! reassignment takes the place of one under way: what was being added and is no longer wanted goes at once.

use super::event::{Effect, Reassigned, Write};
use super::state::{Assignment, TopicPartition};
use super::{Controller, PartitionEntry, Purpose, Token};
use crate::error::ErrorCode;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::Str;
use wire::kafka::{StopReplicaRequest, StopReplicaResponse};

type Lists = BTreeMap<i32, Assignment>;

/// A write of some of a topic's lists.
#[derive(Debug, Clone)]
pub(super) struct Change {
    topic: Str,
    lists: Lists,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Asked for by an administrator, or by the old node.
    Begin(Option<Token>),
    End,
}

#[derive(Debug)]
struct Ask {
    /// `None`: by the old node.
    token: Option<Token>,
    partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
}

#[derive(Debug, Default)]
pub(super) struct Reassignments {
    /// In turn, each when nothing else is under way.
    asked: VecDeque<Ask>,
    /// What became of requests that are still to be answered.
    jobs: BTreeMap<Token, Vec<Reassigned>>,
    /// Replicas have been told; the topics' nodes are next.
    ended: BTreeMap<Str, Lists>,
    /// Likewise, but ZooKeeper refused the write: to be tried when something else happens.
    refused: BTreeMap<Str, Lists>,
    /// What the old node still holds.
    legacy: BTreeSet<TopicPartition>,
    /// Replicas that are to be deleted, by broker, until the broker says that they are: one that is away is told when it
    /// is back.
    unwanted: BTreeMap<i32, BTreeSet<TopicPartition>>,
}

impl Reassignments {
    /// The topic is gone.
    pub fn forget(&mut self, topic: &Str) {
        self.ended.remove(topic);
        self.refused.remove(topic);
        self.unwanted.values_mut().for_each(|partitions| partitions.retain(|tp| tp.topic != *topic));
    }
}

impl PartitionEntry {
    pub(super) fn is_moving(&self) -> bool {
        self.assignment.is_being_reassigned() || self.ending
    }

    /// Whether all replicas that a reassignment leads to are in sync.
    pub(super) fn is_in_place(&self) -> bool {
        self.assignment.is_being_reassigned()
            && self
                .state
                .as_ref()
                .is_some_and(|state| self.assignment.target().iter().all(|id| state.isr.contains(id)))
    }

    /// From here on only the target counts; the state is written next, and then the lists.
    pub(super) fn end_move(&mut self) {
        let replicas = self.assignment.target();
        let old = std::mem::replace(&mut self.assignment, Assignment { replicas, ..Assignment::default() });
        self.dropped.extend(old.removing);
        self.announce = true;
        self.ending = true;
    }
}

fn refused(partition: &TopicPartition, error: ErrorCode, message: impl Into<Str>) -> Reassigned {
    Reassigned { partition: partition.clone(), error, message: Some(message.into()) }
}

/// As Scala prints its collections.
fn listed(kind: &str, ids: impl IntoIterator<Item = i32>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    format!("{kind}({})", ids.join(", "))
}

impl Controller {
    /// Partitions with a reassignment under way, of those asked about, or of all.
    pub fn reassignments(&self, of: Option<&BTreeSet<TopicPartition>>) -> Vec<(TopicPartition, Assignment)> {
        let mut found = Vec::new();
        for (name, topic) in &self.topics {
            for (&partition, entry) in &topic.partitions {
                let tp = TopicPartition { topic: name.clone(), partition };
                if entry.assignment.is_being_reassigned() && of.is_none_or(|of| of.contains(&tp)) {
                    found.push((tp, entry.assignment.clone()));
                }
            }
        }
        found
    }

    /// Replicas that no partition has any more, or will not have, and whose brokers are still to say that they are deleted.
    /// Who governs next does not know of them: what a broker keeps then stays until the partition comes back to it,
    /// with Kafka's too.
    pub fn unwanted(&self) -> BTreeSet<(i32, TopicPartition)> {
        let mut found = BTreeSet::new();
        for (&broker, partitions) in &self.reassignments.unwanted {
            found.extend(partitions.iter().map(|tp| (broker, tp.clone())));
        }
        for (name, topic) in &self.topics {
            for (&partition, entry) in &topic.partitions {
                let tp = TopicPartition { topic: name.clone(), partition };
                found.extend(entry.dropped.iter().map(|&broker| (broker, tp.clone())));
            }
        }
        let changes = self.ops.values().filter_map(|purpose| match purpose {
            Purpose::Assign(change) => Some(change),
            _ => None,
        });
        for Change { topic, lists, .. } in changes {
            for (&partition, new) in lists {
                let tp = TopicPartition { topic: topic.clone(), partition };
                let Some(entry) = self.entry(&tp) else { continue };
                let old = entry.assignment.replicas.iter().filter(|id| !new.replicas.contains(id));
                found.extend(old.map(|&broker| (broker, tp.clone())));
            }
        }
        found
    }

    pub(super) fn is_moving(&self, topic: &Str) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|entry| entry.deletion.is_none() && entry.partitions.values().any(|p| p.is_moving()))
    }

    pub(super) fn ask_reassignments(
        &mut self,
        token: Token,
        partitions: BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) {
        self.reassignments.asked.push_back(Ask { token: Some(token), partitions });
    }

    pub(super) fn legacy_reassignment(&mut self, partitions: BTreeMap<TopicPartition, Vec<i32>>) {
        self.reassignments.legacy.extend(partitions.keys().cloned());
        let partitions = partitions.into_iter().map(|(tp, target)| (tp, Some(target))).collect();
        self.reassignments.asked.push_back(Ask { token: None, partitions });
    }

    /// Takes up the next request; `false` if there is none.
    pub(super) fn begin_reassignments(&mut self, out: &mut Vec<Effect>) -> bool {
        let Some(Ask { token, partitions }) = self.reassignments.asked.pop_front() else { return false };
        let mut results = Vec::new();
        let mut lists: BTreeMap<Str, Lists> = BTreeMap::new();
        // The old node is no longer followed where it asks for what cannot be or is so already, nor where an
        // administrator wants something else now.
        let mut settled = BTreeSet::new();
        let mut repeated = Vec::new();
        for (tp, target) in partitions {
            let planned = self.plan(&tp, target.as_deref(), token.is_some());
            let begins = matches!(&planned, Ok(Some(_)));
            let under_way = self.entry(&tp).is_some_and(|entry| entry.assignment.is_being_reassigned());
            let over = match token {
                Some(_) => planned.is_ok(),
                None => planned.is_err() || (!begins && !under_way),
            };
            if over {
                settled.insert(tp.clone());
            }
            match planned {
                Ok(Some(new)) => {
                    lists.entry(tp.topic).or_default().insert(tp.partition, new);
                }
                Ok(None) => {
                    repeated.push(tp.clone());
                    results.push(Reassigned { partition: tp, error: ErrorCode::NONE, message: None });
                }
                Err(refusal) => results.push(refusal),
            }
        }
        self.drop_legacy(settled, out);
        for (topic, lists) in lists {
            self.write_lists(Change { topic, lists, step: Step::Begin(token) }, out);
        }
        repeated.iter().for_each(|tp| self.announce_again(tp, out));
        if let Some(token) = token {
            self.reassignments.jobs.insert(token, results);
        }
        true
    }

    /// Asked for what is so already, Java tells the replicas once more, under a new leader epoch. At rest only a leader that
    /// is there is told.
    fn announce_again(&mut self, tp: &TopicPartition, out: &mut Vec<Effect>) {
        let Some(entry) = self.entry(tp) else { return };
        let led = entry.state.as_ref().is_some_and(|state| self.is_online(state.leader, tp));
        if led || entry.assignment.is_being_reassigned() {
            let assignment = entry.assignment.clone();
            self.replicas_wanted(tp.clone(), assignment, out);
        }
    }

    /// The lists that a partition is to have; `None` if it has them.
    fn plan(
        &self,
        tp: &TopicPartition,
        target: Option<&[i32]>,
        checked: bool,
    ) -> Result<Option<Assignment>, Reassigned> {
        let none = Assignment::default();
        let entry = self.entry(tp);
        let current = entry.map_or(&none, |entry| &entry.assignment);
        if let Some(target) = target.filter(|_| checked) {
            let problem = self.problem_with(current, target);
            problem
                .map_or(Ok(()), |problem| Err(refused(tp, ErrorCode::INVALID_REPLICA_ASSIGNMENT, problem)))?;
        }
        let target = match target {
            Some(target) => target.to_vec(),
            None if current.is_being_reassigned() => current.origin(),
            None => {
                let error = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
                return Err(refused(tp, error, error.message()));
            }
        };
        let entry = entry.filter(|entry| !entry.assignment.replicas.is_empty() && !self.is_doomed(&tp.topic));
        let missing = || refused(tp, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.");
        let entry = entry.ok_or_else(missing)?;
        let new = entry.assignment.reassigned_to(&target);
        if new == entry.assignment {
            return Ok(None);
        }
        if let Some(state) = &entry.state
            && !new.replicas.iter().any(|id| state.isr.contains(id))
        {
            let isr = listed("List", state.isr.iter().copied());
            let problem = format!(
                "None of the replicas {} is in sync: the partition's data is on {isr} alone, which would be deleted.",
                listed("List", new.replicas)
            );
            return Err(refused(tp, ErrorCode::INVALID_REPLICA_ASSIGNMENT, problem));
        }
        Ok(Some(new))
    }

    /// What is wrong with a list of replicas, in Kafka's words.
    fn problem_with(&self, current: &Assignment, target: &[i32]) -> Option<String> {
        let distinct: BTreeSet<i32> = target.iter().copied().collect();
        let given = || listed("ArrayBuffer", target.iter().copied());
        if target.is_empty() {
            return Some("Empty replica list specified in partition reassignment.".to_owned());
        }
        if distinct.len() != target.len() {
            return Some(format!(
                "Duplicate replica ids in partition reassignment replica list: {}",
                given()
            ));
        }
        if target.iter().any(|&id| id < 0) {
            return Some(format!("Invalid broker id in replica list: {}", given()));
        }
        let adding = current.reassigned_to(target).adding;
        let live = || self.brokers.keys().copied().filter(|id| !self.shutting_down.contains(id));
        let dead = adding.iter().any(|&id| !live().any(|live| live == id));
        dead.then(|| {
            format!(
                "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
                listed("ArrayBuffer", adding),
                listed("Set", live())
            )
        })
    }

    fn drop_legacy(&mut self, partitions: BTreeSet<TopicPartition>, out: &mut Vec<Effect>) {
        let partitions: BTreeSet<TopicPartition> =
            partitions.into_iter().filter(|tp| self.reassignments.legacy.remove(tp)).collect();
        if !partitions.is_empty() {
            self.write(Purpose::Forget, Write::DropLegacy { partitions }, out);
        }
    }

    fn write_lists(&mut self, change: Change, out: &mut Vec<Effect>) {
        let write = Write::SetAssignments { topic: change.topic.clone(), partitions: change.lists.clone() };
        self.write(Purpose::Assign(change), write, out);
    }

    /// Writes the lists of what has come to its end; `false` if nothing has.
    pub(super) fn end_reassignments(&mut self, out: &mut Vec<Effect>) -> bool {
        let ended = std::mem::take(&mut self.reassignments.ended);
        let any = !ended.is_empty();
        for (topic, lists) in ended {
            self.write_lists(Change { topic, lists, step: Step::End }, out);
        }
        any
    }

    pub(super) fn retry_endings(&mut self) {
        for (topic, lists) in std::mem::take(&mut self.reassignments.refused) {
            self.reassignments.ended.entry(topic).or_default().extend(lists);
        }
    }

    /// The outcome of [`Controller::write_lists`].
    pub(super) fn assigned(&mut self, change: Change, ok: bool, out: &mut Vec<Effect>) {
        let Change { topic, lists, step } = change;
        match step {
            Step::Begin(token) => {
                let error = if ok { ErrorCode::NONE } else { ErrorCode::UNKNOWN_SERVER_ERROR };
                let results = token.and_then(|token| self.reassignments.jobs.get_mut(&token));
                if let Some(results) = results {
                    results.extend(lists.keys().map(|&partition| Reassigned {
                        partition: TopicPartition { topic: topic.clone(), partition },
                        error,
                        message: (!ok).then(|| error.message().into()),
                    }));
                }
                for (partition, new) in if ok { lists } else { Lists::new() } {
                    self.replicas_wanted(TopicPartition { topic: topic.clone(), partition }, new, out);
                }
            }
            Step::End if ok => self.lists_ended(&topic, &lists, out),
            Step::End => {
                self.reassignments.refused.entry(topic).or_default().extend(lists);
            }
        }
    }

    /// The node has the new lists.
    fn replicas_wanted(&mut self, tp: TopicPartition, new: Assignment, out: &mut Vec<Effect>) {
        if let Some(lists) = self.reassignments.refused.get_mut(&tp.topic) {
            lists.remove(&tp.partition);
        }
        let Some(entry) = self.entry_mut(&tp) else { return };
        entry.ending = false;
        let old = std::mem::replace(&mut entry.assignment, new);
        let unwanted = old.replicas.into_iter().filter(|id| !entry.assignment.replicas.contains(id));
        entry.dropped.extend(unwanted);
        entry.announce = true;
        self.tell_all(&tp);
        self.look_at(&tp, out);
    }

    /// Brokers are there (again): what moves to them is announced once more, as it was when it began.
    pub(super) fn resume_reassignments(&mut self, come: &[i32]) {
        for topic in self.topics.values_mut().filter(|topic| topic.deletion.is_none()) {
            for entry in topic.partitions.values_mut().filter(|entry| entry.assignment.is_being_reassigned())
            {
                entry.announce |= entry.assignment.target().iter().any(|id| come.contains(id));
            }
        }
    }

    /// A state was written whose epoch all replicas will listen to: they know the assignment now, and who is no longer
    /// part of it is deleted.
    pub(super) fn announced(&mut self, tp: &TopicPartition) {
        let Some(entry) = self.entry_mut(tp) else { return };
        entry.announce = false;
        let assignment = entry.assignment.clone();
        let (dropped, ending) = (std::mem::take(&mut entry.dropped), entry.ending);
        for id in dropped.into_iter().filter(|id| !assignment.replicas.contains(id)) {
            self.outbox.stop(id, tp.clone(), true);
            self.reassignments.unwanted.entry(id).or_default().insert(tp.clone());
        }
        if ending {
            self.reassignments.ended.entry(tp.topic.clone()).or_default().insert(tp.partition, assignment);
        }
    }

    /// The broker is there (again): it deletes what it still has and should not.
    pub(super) fn stop_unwanted(&mut self, broker: i32) {
        let Some(partitions) = self.reassignments.unwanted.get_mut(&broker) else { return };
        let mut unwanted = std::mem::take(partitions);
        unwanted
            .retain(|tp| self.entry(tp).is_some_and(|entry| !entry.assignment.replicas.contains(&broker)));
        unwanted.iter().for_each(|tp| self.outbox.stop(broker, tp.clone(), true));
        self.reassignments.unwanted.insert(broker, unwanted);
    }

    /// The broker's answer: what it has deleted is done with.
    pub(super) fn unwanted_stopped(
        &mut self,
        broker: i32,
        request: &StopReplicaRequest,
        response: &StopReplicaResponse,
    ) {
        let Some(unwanted) = self.reassignments.unwanted.get_mut(&broker) else { return };
        let failed = |topic: &Str, partition: i32| {
            response.partition_errors.iter().any(|one| {
                one.topic_name == *topic
                    && one.partition_index == partition
                    && one.error_code != ErrorCode::NONE
            })
        };
        for topic in request.topic_states.iter().filter(|_| response.error_code == ErrorCode::NONE) {
            for partition in topic.partition_states.iter().filter(|partition| partition.delete_partition) {
                if !failed(&topic.topic_name, partition.partition_index) {
                    let (topic, partition) = (topic.topic_name.clone(), partition.partition_index);
                    unwanted.remove(&TopicPartition { topic, partition });
                }
            }
        }
        if unwanted.is_empty() {
            self.reassignments.unwanted.remove(&broker);
        }
    }

    fn lists_ended(&mut self, topic: &Str, lists: &Lists, out: &mut Vec<Effect>) {
        let mut ended = BTreeSet::new();
        for &partition in lists.keys() {
            let tp = TopicPartition { topic: topic.clone(), partition };
            if let Some(entry) = self.entry_mut(&tp) {
                entry.ending = false;
            }
            self.tell_all(&tp);
            ended.insert(tp);
        }
        self.drop_legacy(ended, out);
        self.resume_postponed(topic, out);
    }

    /// Nothing is under way: who asked hears what became of it, the new leader epochs included.
    pub(super) fn answer_reassignments(&mut self, out: &mut Vec<Effect>) {
        for (token, mut results) in std::mem::take(&mut self.reassignments.jobs) {
            results.sort_by(|a, b| a.partition.cmp(&b.partition));
            out.push(Effect::AlterReassignmentsReply { token, results });
        }
    }
}
