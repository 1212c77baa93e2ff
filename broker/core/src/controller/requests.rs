//! What brokers and administrators ask of the controller, and who still waits for an answer.

use super::election;
use super::event::{Effect, Elected, ElectionType};
use super::state::{NO_LEADER, PartitionState, TopicPartition};
use super::{Controller, Token, Why};
use crate::error::ErrorCode;
use election::Liveness;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::alter_partition::{RequestTopicData, ResponsePartitionData, ResponseTopicData};
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse};

/// From this AlterPartition version on topics have ids instead of names, and dead replicas an error of their own.
const ALTER_WITH_IDS: i16 = 2;
/// From this one on the ISR comes with broker epochs, which a controller on ZooKeeper does not look at.
const ALTER_WITH_EPOCHS: i16 = 3;

/// One partition's ISR change.
#[derive(Debug, Clone)]
pub(super) struct AlterAsk {
    pub token: Token,
    tp: TopicPartition,
    leader: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: Vec<i32>,
    recovering: bool,
}

#[derive(Debug)]
struct AlterJob {
    version: i16,
    topics: Vec<RequestTopicData>,
    waiting: usize,
    results: BTreeMap<TopicPartition, ErrorCode>,
}

#[derive(Debug)]
struct ElectJob {
    election: ElectionType,
    waiting: usize,
    results: Vec<Elected>,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    alters: BTreeMap<Token, AlterJob>,
    elections: BTreeMap<Token, ElectJob>,
    shutdowns: Vec<(Token, i32)>,
}

impl Controller {
    pub(super) fn alter_partition(
        &mut self,
        token: Token,
        version: i16,
        request: AlterPartitionRequest,
        out: &mut Vec<Effect>,
    ) {
        let registered = self.brokers.get(&request.broker_id);
        if registered.is_none_or(|broker| broker.epoch != request.broker_epoch) {
            let response = AlterPartitionResponse {
                error_code: ErrorCode::STALE_BROKER_EPOCH,
                ..AlterPartitionResponse::default()
            };
            out.push(Effect::AlterPartitionReply { token, response });
            return;
        }
        let asks = self.alter_asks(token, version, &request);
        let job = AlterJob { version, topics: request.topics, waiting: asks.len(), results: BTreeMap::new() };
        self.requests.alters.insert(token, job);
        // Whatever comes of it, the brokers' metadata is refreshed, as that of a leader with an old view may be old.
        asks.iter().for_each(|ask| self.outbox.metadata(ask.tp.clone()));
        asks.into_iter().for_each(|ask| self.alter_one(ask, out));
        self.finish_alter(token, out);
    }

    fn alter_asks(&self, token: Token, version: i16, request: &AlterPartitionRequest) -> Vec<AlterAsk> {
        let mut asks: BTreeMap<TopicPartition, AlterAsk> = BTreeMap::new();
        for topic in &request.topics {
            let name = if version >= ALTER_WITH_IDS {
                self.names.get(&topic.topic_id)
            } else {
                Some(&topic.topic_name)
            };
            let Some(name) = name else { continue };
            for partition in &topic.partitions {
                let isr = if version >= ALTER_WITH_EPOCHS {
                    partition.new_isr_with_epochs.iter().map(|member| member.broker_id).collect()
                } else {
                    partition.new_isr.clone()
                };
                let tp = TopicPartition { topic: name.clone(), partition: partition.partition_index };
                let ask = AlterAsk {
                    token,
                    tp: tp.clone(),
                    leader: request.broker_id,
                    leader_epoch: partition.leader_epoch,
                    partition_epoch: partition.partition_epoch,
                    isr,
                    recovering: partition.leader_recovery_state != 0,
                };
                asks.insert(tp, ask);
            }
        }
        asks.into_values().collect()
    }

    pub(super) fn alter_one(&mut self, ask: AlterAsk, out: &mut Vec<Effect>) {
        let (token, tp) = (ask.token, ask.tp.clone());
        if let Some(entry) = self.entry_mut(&tp)
            && entry.writing.is_some()
        {
            entry.deferred.push(ask);
            return;
        }
        match self.check_alter(&ask) {
            Ok(None) => self.altered(token, &tp, ErrorCode::NONE, out),
            Ok(Some(state)) => self.write_state(&tp, state, Why::Alter(token), out),
            Err(error) => self.altered(token, &tp, error, out),
        }
    }

    /// The state to be written, or `None` if it is written already.
    fn check_alter(&self, ask: &AlterAsk) -> Result<Option<PartitionState>, ErrorCode> {
        let version = self.requests.alters.get(&ask.token).map_or(0, |job| job.version);
        let current = self
            .entry(&ask.tp)
            .and_then(|entry| entry.state.as_ref())
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if ask.partition_epoch > current.version || ask.leader_epoch > current.leader_epoch {
            return Err(ErrorCode::NOT_CONTROLLER);
        }
        if ask.leader_epoch < current.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        let same =
            ask.leader == current.leader && ask.isr == current.isr && ask.recovering == current.recovering;
        if same {
            return Ok(None);
        }
        if ask.partition_epoch < current.version {
            return Err(ErrorCode::INVALID_UPDATE_VERSION);
        }
        if ask.isr.is_empty() || (ask.recovering && (ask.isr.len() > 1 || !current.recovering)) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let live = |id: &i32| self.brokers.contains_key(id) && !self.shutting_down.contains(id);
        if !ask.isr.iter().all(live) {
            return Err(if version >= ALTER_WITH_IDS {
                ErrorCode::INELIGIBLE_REPLICA
            } else {
                ErrorCode::OPERATION_NOT_ATTEMPTED
            });
        }
        Ok(Some(PartitionState {
            controller_epoch: self.epoch,
            leader: ask.leader,
            leader_epoch: ask.leader_epoch,
            isr: ask.isr.clone(),
            recovering: ask.recovering,
            version: current.version,
        }))
    }

    pub(super) fn altered(
        &mut self,
        token: Token,
        tp: &TopicPartition,
        error: ErrorCode,
        out: &mut Vec<Effect>,
    ) {
        let Some(job) = self.requests.alters.get_mut(&token) else { return };
        job.waiting -= 1;
        job.results.insert(tp.clone(), error);
        self.finish_alter(token, out);
    }

    fn finish_alter(&mut self, token: Token, out: &mut Vec<Effect>) {
        if self.requests.alters.get(&token).is_none_or(|job| job.waiting > 0) {
            return;
        }
        let Some(job) = self.requests.alters.remove(&token) else { return };
        let topics = job.topics.iter().map(|topic| self.alter_answer(&job, topic)).collect();
        let response = AlterPartitionResponse { topics, ..AlterPartitionResponse::default() };
        out.push(Effect::AlterPartitionReply { token, response });
    }

    fn alter_answer(&self, job: &AlterJob, topic: &RequestTopicData) -> ResponseTopicData {
        let by_id = job.version >= ALTER_WITH_IDS;
        let name = if by_id { self.names.get(&topic.topic_id) } else { Some(&topic.topic_name) };
        let answer = |partition_index: i32| {
            let refused = |error_code| ResponsePartitionData {
                partition_index,
                error_code,
                ..ResponsePartitionData::default()
            };
            let Some(name) = name else { return refused(ErrorCode::UNKNOWN_TOPIC_ID) };
            let tp = TopicPartition { topic: name.clone(), partition: partition_index };
            let error = job.results.get(&tp).copied().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            match self.state(&tp).filter(|_| error == ErrorCode::NONE) {
                None if error == ErrorCode::NONE => refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                None => refused(error),
                Some(state) => ResponsePartitionData {
                    partition_index,
                    error_code: ErrorCode::NONE,
                    leader_id: state.leader,
                    leader_epoch: state.leader_epoch,
                    isr: state.isr.clone(),
                    leader_recovery_state: i8::from(state.recovering),
                    partition_epoch: state.version,
                },
            }
        };
        ResponseTopicData {
            topic_name: topic.topic_name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|partition| answer(partition.partition_index)).collect(),
        }
    }

    /// Moves away what a broker leads, and takes it out of the ISRs where it follows; partitions that only it has stay.
    pub(super) fn controlled_shutdown(
        &mut self,
        token: Token,
        broker: i32,
        broker_epoch: i64,
        out: &mut Vec<Effect>,
    ) {
        let error = match self.brokers.get(&broker) {
            // Java looks the epoch up first, and stumbles.
            None if broker_epoch >= 0 => Some(ErrorCode::UNKNOWN_SERVER_ERROR),
            None => Some(ErrorCode::BROKER_NOT_AVAILABLE),
            Some(registered) if broker_epoch >= 0 && broker_epoch < registered.epoch => {
                Some(ErrorCode::STALE_BROKER_EPOCH)
            }
            Some(_) => None,
        };
        if let Some(error) = error {
            out.push(Effect::ControlledShutdownReply { token, result: Err(error) });
            return;
        }
        self.shutting_down.insert(broker);
        for tp in self.partitions_on(broker) {
            let Some(entry) = self.entry(&tp) else { continue };
            let follows = entry.state.as_ref().is_some_and(|state| state.leader != broker);
            if entry.assignment.replicas.len() > 1 {
                if follows {
                    self.outbox.stop(broker, tp.clone(), false);
                }
                self.look_at(&tp, out);
            }
        }
        self.requests.shutdowns.push((token, broker));
    }

    pub(super) fn answer_shutdowns(&mut self, out: &mut Vec<Effect>) {
        for (token, broker) in std::mem::take(&mut self.requests.shutdowns) {
            let led = self.partitions_where(|_, entry| {
                entry.assignment.replicas.len() > 1
                    && entry.state.as_ref().is_some_and(|state| state.leader == broker)
            });
            out.push(Effect::ControlledShutdownReply { token, result: Ok(led) });
        }
    }

    pub(super) fn elect_leaders(
        &mut self,
        token: Token,
        election: ElectionType,
        partitions: Option<Vec<TopicPartition>>,
        out: &mut Vec<Effect>,
    ) {
        let all = partitions.is_none();
        let partitions =
            partitions.unwrap_or_else(|| self.partitions_where(|_, entry| entry.state.is_some()));
        self.requests.elections.insert(token, ElectJob { election, waiting: 0, results: Vec::new() });
        for tp in partitions {
            let outcome = self.elect_one(token, election, &tp, out);
            let Some(job) = self.requests.elections.get_mut(&token) else { return };
            match outcome {
                None => job.waiting += 1,
                // Asked for all, only what was done, or should have been, is told.
                Some((ErrorCode::ELECTION_NOT_NEEDED, _)) if all => {}
                Some((error, message)) => job.results.push(Elected { partition: tp, error, message }),
            }
        }
        self.finish_election(token, out);
    }

    /// Begins an election, or says why not.
    fn elect_one(
        &mut self,
        token: Token,
        election: ElectionType,
        tp: &TopicPartition,
        out: &mut Vec<Effect>,
    ) -> Option<(ErrorCode, Option<Str>)> {
        let told = |error, message| Some((error, Some(Str::from_static(message))));
        if self.is_doomed(&tp.topic) {
            return told(ErrorCode::INVALID_TOPIC_EXCEPTION, "The topic is being deleted");
        }
        let missing = told(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.");
        let Some(entry) = self.entry(tp) else { return missing };
        let Some(state) = &entry.state else { return missing };
        let needed = match election {
            ElectionType::Preferred => entry.assignment.replicas.first() != Some(&state.leader),
            ElectionType::Unclean => {
                state.leader == NO_LEADER || self.liveness(state.leader, tp) != Liveness::Online
            }
        };
        if !needed {
            let message = "Leader election not needed for topic partition.";
            return told(ErrorCode::ELECTION_NOT_NEEDED, message);
        }
        let (begun, error) = match election {
            ElectionType::Preferred => {
                let begun = self.elect_preferred(tp, Why::Asked(token), out);
                (begun, ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE)
            }
            ElectionType::Unclean => {
                let begun = self.look_at_with(tp, true, Why::Asked(token), out);
                (begun, ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE)
            }
        };
        (!begun).then(|| (error, Some(not_elected(election, tp))))
    }

    pub(super) fn elected(
        &mut self,
        token: Token,
        tp: &TopicPartition,
        error: ErrorCode,
        out: &mut Vec<Effect>,
    ) {
        let led = self.state(tp).is_some_and(|state| state.leader != NO_LEADER);
        let Some(job) = self.requests.elections.get_mut(&token) else { return };
        job.waiting -= 1;
        let error = match (error, job.election) {
            (ErrorCode::NONE, ElectionType::Unclean) if !led => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
            (error, _) => error,
        };
        let message =
            (error == ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE).then(|| not_elected(job.election, tp));
        job.results.push(Elected { partition: tp.clone(), error, message });
        self.finish_election(token, out);
    }

    fn finish_election(&mut self, token: Token, out: &mut Vec<Effect>) {
        if self.requests.elections.get(&token).is_none_or(|job| job.waiting > 0) {
            return;
        }
        if let Some(job) = self.requests.elections.remove(&token) {
            out.push(Effect::ElectLeadersReply { token, results: job.results });
        }
    }
}

/// Nobody could lead, in Kafka's words.
fn not_elected(election: ElectionType, tp: &TopicPartition) -> Str {
    let strategy = match election {
        ElectionType::Preferred => "PreferredReplicaPartitionLeaderElectionStrategy",
        ElectionType::Unclean => "OfflinePartitionLeaderElectionStrategy(true)",
    };
    format!("Failed to elect leader for partition {}-{} under strategy {strategy}", tp.topic, tp.partition)
        .into()
}
