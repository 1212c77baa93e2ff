//! UpdateMetadata, API key 6.

use crate::Str;
use crate::kafka::{ErrorCode, Message, Uuid, codec::message};
use bytes::Bytes;

message! { flexible 6..;
    /// Versions 0-8.
    pub struct UpdateMetadataRequest {
        controller_id: i32 [0..],
        is_kraft_controller: bool [8..],
        controller_epoch: i32 [0..],
        broker_epoch: i64 [5..] = -1,
        ungrouped_partition_states: Vec<UpdateMetadataPartitionState> [0..=4],
        topic_states: Vec<UpdateMetadataTopicState> [5..],
        live_brokers: Vec<UpdateMetadataBroker> [0..],
    }

    pub struct UpdateMetadataPartitionState {
        topic_name: Str [0..=4],
        partition_index: i32 [0..],
        controller_epoch: i32 [0..],
        leader: i32 [0..],
        leader_epoch: i32 [0..],
        isr: Vec<i32> [0..],
        zk_version: i32 [0..],
        replicas: Vec<i32> [0..],
        offline_replicas: Vec<i32> [4..],
    }

    pub struct UpdateMetadataTopicState {
        topic_name: Str [5..],
        topic_id: Uuid [7..],
        partition_states: Vec<UpdateMetadataPartitionState> [5..],
    }

    pub struct UpdateMetadataBroker {
        id: i32 [0..],
        v0_host: Str [0..=0],
        v0_port: i32 [0..=0],
        endpoints: Vec<UpdateMetadataEndpoint> [1..],
        rack: Option<Str> [2..],
    }

    pub struct UpdateMetadataEndpoint {
        port: i32 [1..],
        host: Str [1..],
        listener: Str [3..],
        security_protocol: i16 [1..],
    }
}

message! { flexible 6..;
    /// Versions 0-8.
    pub struct UpdateMetadataResponse {
        error_code: ErrorCode [0..],
    }
}

impl UpdateMetadataRequest {
    /// As versions up to 4 have it: the topic is named with each partition.
    fn ungrouped(&self) -> UpdateMetadataRequest {
        let named = |topic: &UpdateMetadataTopicState| {
            let name = topic.topic_name.clone();
            let states = topic.partition_states.clone().into_iter();
            states.map(move |state| UpdateMetadataPartitionState { topic_name: name.clone(), ..state })
        };
        let ungrouped_partition_states = self.topic_states.iter().flat_map(named).collect();
        UpdateMetadataRequest { ungrouped_partition_states, topic_states: Vec::new(), ..self.clone() }
    }
}

/// About the bytes of a partition with three replicas.
const PARTITION_BYTES: usize = 56;

/// A body that many brokers get, encoded once: only the epoch of the broker in it differs.
#[derive(Debug, Clone)]
pub struct SharedUpdateMetadata {
    version: i16,
    body: Bytes,
}

impl SharedUpdateMetadata {
    /// Partitions stand in `topic_states`, whatever the version.
    pub fn new(request: &UpdateMetadataRequest, version: i16) -> SharedUpdateMetadata {
        if version <= 4 {
            return SharedUpdateMetadata { version, body: request.ungrouped().encode(version) };
        }
        let partitions: usize = request.topic_states.iter().map(|topic| topic.partition_states.len()).sum();
        let size = 1024 + request.topic_states.len() * 48 + partitions * PARTITION_BYTES;
        SharedUpdateMetadata { version, body: request.encode_sized(version, size) }
    }

    /// The start of the body for the broker of this epoch, and the rest, which is all brokers'.
    pub fn for_broker(&self, broker_epoch: i64) -> (Vec<u8>, Bytes) {
        // Before it stand the controller's id and epoch, and whether it is KRaft's.
        let epoch_at = match self.version {
            ..=4 => return (Vec::new(), self.body.clone()),
            5..=7 => 8,
            _ => 9,
        };
        let mut head = self.body[..epoch_at].to_vec();
        head.extend_from_slice(&broker_epoch.to_be_bytes());
        let rest = self.body.slice(head.len()..);
        (head, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_name_the_topic_with_each_partition() {
        let state = UpdateMetadataPartitionState { partition_index: 4, leader: 3, ..Default::default() };
        let topic = UpdateMetadataTopicState {
            topic_name: "t".into(),
            partition_states: vec![state],
            ..Default::default()
        };
        let request = UpdateMetadataRequest { topic_states: vec![topic], ..Default::default() };
        let (mut whole, rest) = SharedUpdateMetadata::new(&request, 4).for_broker(7);
        whole.extend_from_slice(&rest);
        let sent = UpdateMetadataRequest::decode(&whole.into(), 4).unwrap();
        let named = sent
            .ungrouped_partition_states
            .iter()
            .map(|one| (&*one.topic_name, one.partition_index, one.leader));
        assert_eq!(named.collect::<Vec<_>>(), [("t", 4, 3)]);
    }

    #[test]
    fn a_shared_body_differs_in_the_broker_s_epoch_alone() {
        let broker = UpdateMetadataBroker { id: 3, ..Default::default() };
        let request = UpdateMetadataRequest {
            controller_id: 1,
            controller_epoch: 7,
            live_brokers: vec![broker],
            ..Default::default()
        };
        for version in 0..=8 {
            let shared = SharedUpdateMetadata::new(&request, version);
            for broker_epoch in [5, 0x1_0000_0002] {
                let (mut whole, rest) = shared.for_broker(broker_epoch);
                whole.extend_from_slice(&rest);
                let own = UpdateMetadataRequest { broker_epoch, ..request.clone() };
                assert_eq!(whole, own.encode(version), "version {version}");
            }
        }
    }
}
