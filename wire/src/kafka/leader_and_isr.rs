//! LeaderAndIsr, API key 4.

use crate::Str;
use crate::kafka::{ErrorCode, Uuid, codec::message};

message! { flexible 4..;
    /// Versions 0-7.
    pub struct LeaderAndIsrRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [7..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [2..] = -1,
        r#type: i8 [5..],
        ungrouped_partition_states: Vec<LeaderAndIsrPartitionState> [0..=1],
        topic_states: Vec<LeaderAndIsrTopicState> [2..],
        live_leaders: Vec<LeaderAndIsrLiveLeader> [0..],
    }

    pub struct LeaderAndIsrPartitionState {
        topic_name: Str [0..=1],
        partition_index: i32 [0..],
        controller_epoch: i32 [0..],
        leader: i32 [0..],
        leader_epoch: i32 [0..],
        isr: Vec<i32> [0..],
        partition_epoch: i32 [0..],
        replicas: Vec<i32> [0..],
        adding_replicas: Vec<i32> [3..],
        removing_replicas: Vec<i32> [3..],
        is_new: bool [1..],
        leader_recovery_state: i8 [6..],
    }

    pub struct LeaderAndIsrTopicState {
        topic_name: Str [2..],
        topic_id: Uuid [5..],
        partition_states: Vec<LeaderAndIsrPartitionState> [2..],
    }

    pub struct LeaderAndIsrLiveLeader {
        broker_id: i32 [0..],
        host_name: Str [0..],
        port: i32 [0..],
    }
}

message! { flexible 4..;
    /// Versions 0-7.
    pub struct LeaderAndIsrResponse {
        error_code: ErrorCode [0..],
        partition_errors: Vec<LeaderAndIsrPartitionError> [0..=4],
        topics: Vec<LeaderAndIsrTopicError> [5..],
    }

    pub struct LeaderAndIsrPartitionError {
        topic_name: Str [0..=4],
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }

    pub struct LeaderAndIsrTopicError {
        topic_id: Uuid [5..],
        partition_errors: Vec<LeaderAndIsrPartitionError> [5..],
    }
}

impl LeaderAndIsrRequest {
    /// This request, whose partitions stand in `topic_states`, as a version has to say it: up to 1 they are not grouped.
    pub fn in_version(&self, version: i16) -> std::borrow::Cow<'_, LeaderAndIsrRequest> {
        if version >= 2 {
            return std::borrow::Cow::Borrowed(self);
        }
        let named = |topic: &LeaderAndIsrTopicState| {
            let name = topic.topic_name.clone();
            let states = topic.partition_states.clone().into_iter();
            states.map(move |state| LeaderAndIsrPartitionState { topic_name: name.clone(), ..state })
        };
        let ungrouped_partition_states = self.topic_states.iter().flat_map(named).collect();
        std::borrow::Cow::Owned(LeaderAndIsrRequest {
            ungrouped_partition_states,
            topic_states: Vec::new(),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Message;

    #[test]
    fn old_versions_name_the_topic_with_each_partition() {
        let state =
            |partition_index| LeaderAndIsrPartitionState { partition_index, leader: 3, ..Default::default() };
        let topic = LeaderAndIsrTopicState {
            topic_name: "t".into(),
            partition_states: vec![state(0), state(4)],
            ..Default::default()
        };
        let request =
            LeaderAndIsrRequest { controller_id: 1, topic_states: vec![topic], ..Default::default() };
        let sent = LeaderAndIsrRequest::decode(&request.in_version(1).encode(1), 1).unwrap();
        let named = sent
            .ungrouped_partition_states
            .iter()
            .map(|one| (&*one.topic_name, one.partition_index, one.leader));
        assert_eq!(named.collect::<Vec<_>>(), [("t", 0, 3), ("t", 4, 3)]);
        assert_eq!(request.in_version(2).topic_states.len(), 1);
    }
}
