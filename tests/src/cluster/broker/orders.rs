//! What the controller has a broker do: who leads, what is deleted, what the cluster looks like.

use super::*;
use broker_core::fence;
use wire::kafka::leader_and_isr::{
    LeaderAndIsrPartitionError, LeaderAndIsrPartitionState, LeaderAndIsrTopicError,
};
use wire::kafka::stop_replica::StopReplicaPartitionError;

impl Broker {
    fn check_fence(
        &mut self,
        checks: &mut Checks,
        controller_epoch: i32,
        broker_epoch: i64,
    ) -> Result<(), ErrorCode> {
        let Some(life) = &mut self.up else { return Err(ErrorCode::UNKNOWN_SERVER_ERROR) };
        let own = life.desk.borrow().broker_epoch;
        life.seen = fence::check(life.seen, controller_epoch, broker_epoch, own)?;
        checks.obeys(self.id, self.lives, controller_epoch, broker_epoch, own);
        Ok(())
    }

    pub(super) fn leader_and_isr(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        request: &LeaderAndIsrRequest,
    ) -> LeaderAndIsrResponse {
        if let Err(error_code) = self.check_fence(checks, request.controller_epoch, request.broker_epoch) {
            return LeaderAndIsrResponse { error_code, ..Default::default() };
        }
        let mut response = LeaderAndIsrResponse::default();
        for topic in &request.topic_states {
            let mut errors = vec![];
            for state in &topic.partition_states {
                let tp = TopicPartition { topic: topic.topic_name.clone(), partition: state.partition_index };
                errors.push(LeaderAndIsrPartitionError {
                    topic_name: topic.topic_name.clone(),
                    partition_index: state.partition_index,
                    error_code: self.one_leader_and_isr(net, checks, &tp, topic.topic_id, state),
                });
            }
            response
                .topics
                .push(LeaderAndIsrTopicError { topic_id: topic.topic_id, partition_errors: errors });
        }
        response
    }

    fn one_leader_and_isr(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        tp: &TopicPartition,
        id: Uuid,
        state: &LeaderAndIsrPartitionState,
    ) -> ErrorCode {
        if !state.replicas.contains(&self.id) {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        let Some(life) = &mut self.up else { return ErrorCode::UNKNOWN_SERVER_ERROR };
        match life.replicas.get(tp) {
            Some(replica) if replica.id != id => return ErrorCode::INCONSISTENT_TOPIC_ID,
            Some(_) => {}
            None => {
                let dir = net.rng.random_range(0..DIRS);
                let dir = if life.failed_dirs.contains(&dir) { DIRS - 1 - dir } else { dir };
                let log = LogFile { id, dir, ..LogFile::default() };
                let mut core = log.open(self.id, self.config.clone(), 0);
                if life.leaving.is_some() {
                    core.retire();
                }
                self.disk.logs.insert(tp.clone(), log);
                life.replicas.insert(tp.clone(), Replica { id, core });
            }
        }
        let change = LeaderAndIsr::from(state);
        let before = self.replica(tp).map_or(-1, |replica| replica.core.leader_epoch());
        let role =
            self.step(net, checks, tp, None, &[], |core, now, out| core.leader_and_isr(now, &change, out));
        let own = self.id;
        net.note(|| format!("broker {own}: {tp:?} {change:?} gives {role:?}"));
        let after = self.replica(tp).map_or(before, |replica| replica.core.leader_epoch());
        if after < before {
            checks.fail(format!("broker {own} goes back from leader epoch {before} of {tp:?} to {after}"));
        }
        match role {
            Some(Ok(RoleChange::Leader { .. })) => self.coordinates(tp, Some(state.leader_epoch)),
            Some(Ok(RoleChange::Follower { .. })) => self.coordinates(tp, None),
            _ => {}
        }
        match role {
            Some(Ok(RoleChange::Leader { .. })) => {
                let log = &self.disk.logs[tp];
                checks.leads(self.id, (id, tp.partition), state.leader_epoch, log);
                ErrorCode::NONE
            }
            Some(Ok(RoleChange::Follower { leader })) if leader >= 0 => {
                if let Some(life) = &mut self.up {
                    // Parts that are new are asked for at once, over a new connection.
                    life.followers.insert(leader, Follower::default());
                }
                ErrorCode::NONE
            }
            Some(Ok(_)) => ErrorCode::NONE,
            Some(Err(error)) => error,
            None => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }

    pub(super) fn stop_replica(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        request: &StopReplicaRequest,
    ) -> StopReplicaResponse {
        if let Err(error_code) = self.check_fence(checks, request.controller_epoch, request.broker_epoch) {
            return StopReplicaResponse { error_code, ..Default::default() };
        }
        let mut response = StopReplicaResponse::default();
        for topic in &request.topic_states {
            for state in &topic.partition_states {
                let tp = TopicPartition { topic: topic.topic_name.clone(), partition: state.partition_index };
                let epoch = state.leader_epoch;
                let stopped =
                    self.step(net, checks, &tp, None, &[], |core, _, out| core.stop_replica(epoch, out));
                let error_code = stopped.and_then(Result::err).unwrap_or(ErrorCode::NONE);
                if error_code.is_ok() {
                    self.coordinates(&tp, None);
                }
                if error_code.is_ok() && state.delete_partition {
                    if let Some(life) = &mut self.up {
                        life.replicas.remove(&tp);
                    }
                    self.disk.logs.remove(&tp);
                }
                let own = self.id;
                net.note(|| format!("broker {own} stops {tp:?}, {state:?}: {error_code}"));
                response.partition_errors.push(StopReplicaPartitionError {
                    topic_name: tp.topic,
                    partition_index: tp.partition,
                    error_code,
                });
            }
        }
        response
    }

    pub(super) fn update_metadata(
        &mut self,
        net: &mut Net,
        checks: &mut Checks,
        request: &UpdateMetadataRequest,
    ) -> UpdateMetadataResponse {
        if let Err(error_code) = self.check_fence(checks, request.controller_epoch, request.broker_epoch) {
            return UpdateMetadataResponse { error_code };
        }
        let Some(life) = &mut self.up else { return UpdateMetadataResponse::default() };
        life.metadata.update(request);
        let alive: BTreeSet<i32> = request.live_brokers.iter().map(|node| node.id).collect();
        if alive != life.alive {
            life.alive = alive.clone();
            let all: Vec<TopicPartition> = life.replicas.keys().cloned().collect();
            for tp in all {
                self.step(net, checks, &tp, None, &[], |core, now, out| {
                    core.alive_are(now, |id| alive.contains(&id), out);
                });
            }
        }
        UpdateMetadataResponse::default()
    }
}
