//! The controller's requests: who leads, who follows, what goes.

use broker_core::partition::{LeaderAndIsr, RoleChange};
use wire::Str;
use wire::kafka::leader_and_isr::{
    LeaderAndIsrPartitionError, LeaderAndIsrPartitionState, LeaderAndIsrTopicError,
};
use wire::kafka::stop_replica::StopReplicaPartitionError;
use wire::kafka::{
    ErrorCode, LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse, Uuid,
};

use super::replica::{Records, Replica, partition_config};
use super::{Notice, Shard, find};
use crate::topics::{GROUP_TOPIC, TRANSACTION_TOPIC};

/// What came of one LeaderAndIsr, for a line: one for each of many thousand partitions would take longer than the change.
#[derive(Default)]
struct Roles {
    leads: usize,
    follows: usize,
    /// One of them has a copy that may go on now.
    moving: bool,
    first: Option<String>,
}

impl Roles {
    fn say(&self) {
        let Some(first) = &self.first else { return };
        let more = if self.leads + self.follows > 1 { " and others" } else { "" };
        tracing::info!(
            "{first}{more}: leader of {} partitions, follower of {} now",
            self.leads,
            self.follows
        );
    }
}

impl Shard {
    /// A controller of an older epoch, or word for an earlier life of this broker.
    fn check_fence(&self, controller_epoch: i32, broker_epoch: i64) -> Result<(), ErrorCode> {
        self.broker.check_fence(controller_epoch, broker_epoch)
    }

    pub(super) fn leader_and_isr(&mut self, request: &LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        if let Err(error_code) = self.check_fence(request.controller_epoch, request.broker_epoch) {
            tracing::warn!(
                "Ignoring LeaderAndIsr of controller {} with epoch {}: {}",
                request.controller_id,
                request.controller_epoch,
                error_code.name()
            );
            return LeaderAndIsrResponse { error_code, ..Default::default() };
        }
        let mut response = LeaderAndIsrResponse::default();
        let mut leaders = std::collections::BTreeSet::new();
        let mut roles = Roles::default();
        for state in &request.ungrouped_partition_states {
            let error_code =
                self.one_leader_and_isr(&state.topic_name, Uuid::ZERO, state, &mut leaders, &mut roles);
            response.partition_errors.push(partition_error(
                &state.topic_name,
                state.partition_index,
                error_code,
            ));
        }
        for topic in &request.topic_states {
            let mut errors = Vec::with_capacity(topic.partition_states.len());
            for state in &topic.partition_states {
                let error = self.one_leader_and_isr(
                    &topic.topic_name,
                    topic.topic_id,
                    state,
                    &mut leaders,
                    &mut roles,
                );
                errors.push(partition_error(&topic.topic_name, state.partition_index, error));
            }
            // Up to version 4 errors go by name, from 5 on by id; what a version lacks is not sent.
            response.partition_errors.extend(errors.iter().cloned());
            response
                .topics
                .push(LeaderAndIsrTopicError { topic_id: topic.topic_id, partition_errors: errors });
        }
        roles.say();
        if roles.moving {
            let _ = self.notices.send(Notice::Move);
        }
        for leader in leaders {
            let _ = self.notices.send(Notice::Fetch { leader });
        }
        response
    }

    fn one_leader_and_isr(
        &mut self,
        topic: &Str,
        id: Uuid,
        state: &LeaderAndIsrPartitionState,
        leaders: &mut std::collections::BTreeSet<i32>,
        roles: &mut Roles,
    ) -> ErrorCode {
        if !state.replicas.contains(&self.broker.id) {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        if let Err(error) = self.make_replica(topic, id, state.partition_index, state.is_new) {
            return error;
        }
        let Some(replica) = find(&mut self.replicas, topic, state.partition_index) else {
            return ErrorCode::KAFKA_STORAGE_ERROR;
        };
        let change = LeaderAndIsr::from(state);
        let role = replica
            .step(&mut self.turn, Records::None, |core, now, out| core.leader_and_isr(now, &change, out));
        self.replicas_due = self.replicas_due.min(replica.core.deadline().unwrap_or(i64::MAX));
        let log_end = replica.core.log_end();
        roles.moving |= replica.future.is_some();
        match role {
            Ok(RoleChange::Leader { .. }) => {
                self.coordinator_role(topic, state.partition_index, Some(state.leader_epoch));
            }
            Ok(RoleChange::Follower { .. }) => self.coordinator_role(topic, state.partition_index, None),
            Ok(RoleChange::Unchanged) | Err(_) => {}
        }
        match role {
            Ok(RoleChange::Leader { newly }) => {
                if newly {
                    roles.leads += 1;
                    roles.first.get_or_insert_with(|| format!("{topic}-{}", state.partition_index));
                    tracing::debug!(
                        "Leader of {topic}-{} in epoch {} from offset {}, ISR {:?}",
                        state.partition_index,
                        state.leader_epoch,
                        log_end,
                        state.isr
                    );
                }
            }
            Ok(RoleChange::Follower { leader }) => {
                roles.follows += 1;
                roles.first.get_or_insert_with(|| format!("{topic}-{}", state.partition_index));
                tracing::debug!("Follower of {topic}-{}, led by {leader}", state.partition_index);
                if leader >= 0 {
                    leaders.insert(leader);
                    self.following.begins(leader, topic.clone(), state.partition_index);
                }
            }
            Ok(RoleChange::Unchanged) => {}
            Err(error) => return error,
        }
        ErrorCode::NONE
    }

    /// A partition of a coordinator's topic got a leader here, in that epoch, or lost it.
    pub(super) fn coordinator_role(&mut self, topic: &str, partition: i32, leads: Option<i32>) {
        match topic {
            GROUP_TOPIC => self.group_role(partition, leads),
            TRANSACTION_TOPIC => self.transaction_role(partition, leads),
            _ => {}
        }
    }

    /// The replica and its log are there afterwards.
    fn make_replica(&mut self, topic: &Str, id: Uuid, partition: i32, is_new: bool) -> Result<(), ErrorCode> {
        let storage = |error: &dyn std::fmt::Display| {
            tracing::error!("{topic}-{partition}: {error}");
            ErrorCode::KAFKA_STORAGE_ERROR
        };
        if let Some(replica) = find(&mut self.replicas, topic, partition) {
            if replica.id.is_zero() && !id.is_zero() {
                replica.log.set_topic_id(id.0).map_err(|error| storage(&error))?;
                if let Some(future) = &mut replica.future {
                    future.log.set_topic_id(id.0).map_err(|error| storage(&error))?;
                }
                replica.id = id;
                if let Some(next) = replica.core.next_fetch() {
                    // Its leader is asked under the id from now on, though nothing else has changed.
                    self.following.changes(next.leader, topic.clone(), partition);
                    let _ = self.notices.send(Notice::Fetch { leader: next.leader });
                }
            }
            return if id.is_zero() || replica.id == id {
                Ok(())
            } else {
                Err(ErrorCode::INCONSISTENT_TOPIC_ID)
            };
        }
        let config = self.broker.topic_config(topic);
        let (mut log, dir) = self
            .store
            .create(
                (topic, partition),
                is_new,
                self.moves.preferred(topic, partition),
                config.log.clone(),
                self.turn.wall,
            )
            .map_err(|error| storage(&error))?;
        self.moves.take_preferred(topic, partition);
        if !id.is_zero() {
            log.set_topic_id(id.0).map_err(|error| storage(&error))?;
        }
        let lag = self.broker.config.int("replica.lag.time.max.ms");
        let name = (topic.clone(), partition);
        let mut replica = Replica::new(self.broker.id, name, log, dir, 0, partition_config(&config, lag));
        replica.id = id;
        if self.retired {
            replica.core.retire();
        }
        if let Some(future) = self.moves.take_orphan(topic, partition) {
            self.moves.attach(&mut replica, future);
        }
        self.replicas.entry(topic.clone()).or_default().insert(partition, replica);
        Ok(())
    }

    pub(super) fn stop_replica(&mut self, request: &StopReplicaRequest) -> StopReplicaResponse {
        if let Err(error_code) = self.check_fence(request.controller_epoch, request.broker_epoch) {
            return StopReplicaResponse { error_code, ..Default::default() };
        }
        let mut asks: Vec<(&Str, i32, i32, bool)> = Vec::new();
        let unknown = broker_core::partition::EPOCH_UNKNOWN;
        for one in &request.ungrouped_partitions {
            asks.push((&one.topic_name, one.partition_index, unknown, request.delete_partitions));
        }
        for topic in &request.topics {
            let all = topic.partition_indexes.iter();
            asks.extend(all.map(|index| (&topic.name, *index, unknown, request.delete_partitions)));
        }
        for topic in &request.topic_states {
            let all = topic.partition_states.iter();
            asks.extend(all.map(|state| {
                (&topic.topic_name, state.partition_index, state.leader_epoch, state.delete_partition)
            }));
        }
        let mut response = StopReplicaResponse::default();
        for (topic, partition, epoch, delete) in asks {
            response.partition_errors.push(StopReplicaPartitionError {
                topic_name: topic.clone(),
                partition_index: partition,
                error_code: self.one_stop(topic, partition, epoch, delete),
            });
        }
        response
    }

    fn one_stop(&mut self, topic: &Str, partition: i32, epoch: i32, delete: bool) -> ErrorCode {
        let Some(replica) = find(&mut self.replicas, topic, partition) else {
            if delete {
                self.drop_orphan(topic, partition);
            }
            return ErrorCode::NONE;
        };
        let stopped =
            replica.step(&mut self.turn, Records::None, |core, _, out| core.stop_replica(epoch, out));
        if let Err(error) = stopped {
            return error;
        }
        self.coordinator_role(topic, partition, None);
        if delete
            && let Some(partitions) = self.replicas.get_mut(topic)
            && let Some(replica) = partitions.remove(&partition)
        {
            self.tally.replica_gone(topic, replica.traffic, partitions.is_empty());
            if partitions.is_empty() {
                self.replicas.remove(topic);
            }
            tracing::info!("Deleting {topic}-{partition}");
            self.moves.forget(topic, partition);
            let delay = self.broker.config.int("log.segment.delete.delay.ms");
            let future = replica.future.map(|future| (future.log, future.dir));
            for (log, dir) in std::iter::once((replica.log, replica.dir)).chain(future) {
                if let Err(error) = self.store.delete(log, dir, self.turn.wall, delay) {
                    tracing::error!("{topic}-{partition}: {error}");
                    return ErrorCode::KAFKA_STORAGE_ERROR;
                }
            }
        }
        ErrorCode::NONE
    }

    /// Settings are read anew for one topic, or for all.
    pub(super) fn config_changed(&mut self, topic: Option<&Str>) {
        let lag = self.broker.config.int("replica.lag.time.max.ms");
        for (name, partitions) in &mut self.replicas {
            if topic.is_some_and(|topic| topic != name) {
                continue;
            }
            let config = self.broker.topic_config(name);
            for replica in partitions.values_mut() {
                replica.log.set_config(config.log.clone());
                if let Some(future) = &mut replica.future {
                    future.log.set_config(config.log.clone());
                }
                replica.core.set_config(partition_config(&config, lag));
            }
        }
    }
}

fn partition_error(topic: &Str, partition: i32, error_code: ErrorCode) -> LeaderAndIsrPartitionError {
    LeaderAndIsrPartitionError { topic_name: topic.clone(), partition_index: partition, error_code }
}
