//! StopReplica, API key 5.

use crate::Str;
use crate::kafka::{ErrorCode, codec::message};

message! { flexible 2..;
    /// Versions 0-4.
    pub struct StopReplicaRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [4..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [1..] = -1,
        delete_partitions: bool [0..=2],
        ungrouped_partitions: Vec<StopReplicaPartitionV0> [0..=0],
        topics: Vec<StopReplicaTopicV1> [1..=2],
        topic_states: Vec<StopReplicaTopicState> [3..],
    }

    pub struct StopReplicaPartitionV0 {
        topic_name: Str [0..=0],
        partition_index: i32 [0..=0],
    }

    pub struct StopReplicaTopicV1 {
        name: Str [1..=2],
        partition_indexes: Vec<i32> [1..=2],
    }

    pub struct StopReplicaTopicState {
        topic_name: Str [3..],
        partition_states: Vec<StopReplicaPartitionState> [3..],
    }

    pub struct StopReplicaPartitionState {
        partition_index: i32 [3..],
        leader_epoch: i32 [3..] = -1,
        delete_partition: bool [3..],
    }
}

message! { flexible 2..;
    /// Versions 0-4.
    pub struct StopReplicaResponse {
        error_code: ErrorCode [0..],
        partition_errors: Vec<StopReplicaPartitionError> [0..],
    }

    pub struct StopReplicaPartitionError {
        topic_name: Str [0..],
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}

impl StopReplicaRequest {
    /// This request, whose replicas stand in `topic_states`, as requests of an older version have to say it: up to 2 a
    /// request deletes all that it names or nothing. Those that delete come first.
    pub fn in_version(&self, version: i16) -> Vec<StopReplicaRequest> {
        if version >= 3 {
            return vec![self.clone()];
        }
        let of = |delete_partitions: bool| {
            let mut request =
                StopReplicaRequest { delete_partitions, topic_states: Vec::new(), ..self.clone() };
            for topic in &self.topic_states {
                let wanted =
                    topic.partition_states.iter().filter(|one| one.delete_partition == delete_partitions);
                let partition_indexes: Vec<i32> = wanted.map(|one| one.partition_index).collect();
                if partition_indexes.is_empty() {
                    continue;
                }
                request.ungrouped_partitions.extend(partition_indexes.iter().map(|&partition_index| {
                    StopReplicaPartitionV0 { topic_name: topic.topic_name.clone(), partition_index }
                }));
                request.topics.push(StopReplicaTopicV1 { name: topic.topic_name.clone(), partition_indexes });
            }
            request
        };
        [of(true), of(false)].into_iter().filter(|request| !request.topics.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Message;

    #[test]
    fn old_versions_delete_all_that_they_name_or_nothing() {
        let state = |partition_index, delete_partition| StopReplicaPartitionState {
            partition_index,
            leader_epoch: 5,
            delete_partition,
        };
        let topic = |name: &str, partition_states| StopReplicaTopicState {
            topic_name: name.into(),
            partition_states,
        };
        let request = StopReplicaRequest {
            controller_id: 1,
            topic_states: vec![
                topic("t", vec![state(0, true), state(1, false)]),
                topic("u", vec![state(2, false)]),
            ],
            ..Default::default()
        };
        assert_eq!(request.in_version(3), std::slice::from_ref(&request));
        for version in 0..=2 {
            let sent: Vec<StopReplicaRequest> = request
                .in_version(version)
                .iter()
                .map(|one| StopReplicaRequest::decode(&one.encode(version), version).unwrap())
                .collect();
            let said = |one: &StopReplicaRequest| {
                let old = one
                    .ungrouped_partitions
                    .iter()
                    .map(|one| (one.topic_name.to_string(), one.partition_index));
                let by_topic = one.topics.iter().flat_map(|topic| {
                    topic.partition_indexes.iter().map(|index| (topic.name.to_string(), *index))
                });
                (one.delete_partitions, old.chain(by_topic).collect::<Vec<_>>())
            };
            let all: Vec<_> = sent.iter().map(said).collect();
            let stays = vec![("t".to_owned(), 1), ("u".to_owned(), 2)];
            assert_eq!(all, [(true, vec![("t".to_owned(), 0)]), (false, stays)], "version {version}");
        }
    }
}
