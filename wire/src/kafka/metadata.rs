//! Metadata, API key 3.

use crate::Str;
use crate::kafka::codec::{Field, message, write_uvarint};
use crate::kafka::{ErrorCode, Message, Uuid};
use bytes::{BufMut, BytesMut};

message! { flexible 9..;
    /// Versions 0-12.
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0.., null 1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    pub struct MetadataRequestTopic {
        topic_id: Uuid [10..],
        name: Option<Str> [0.., null 10..],
    }
}

message! { flexible 9..;
    /// Versions 0-12.
    pub struct MetadataResponse {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker> [0..],
        cluster_id: Option<Str> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic> [0..],
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
    }

    pub struct MetadataResponseBroker {
        node_id: i32 [0..],
        host: Str [0..],
        port: i32 [0..],
        rack: Option<Str> [1..],
    }

    pub struct MetadataResponseTopic {
        error_code: ErrorCode [0..],
        name: Option<Str> [0.., null 12..],
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition> [0..],
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    pub struct MetadataResponsePartition {
        error_code: ErrorCode [0..],
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32> [0..],
        isr_nodes: Vec<i32> [0..],
        offline_replicas: Vec<i32> [5..],
    }
}

impl MetadataResponse {
    /// As [`Message::write`], but for the topics: instead of `self.topics`, there are `count` of them, and `fill` brings one
    /// topic after the other into the same place, so that an answer with all topics of a large cluster is not built first.
    pub fn write_topics(
        &self,
        to: &mut BytesMut,
        version: i16,
        count: usize,
        mut fill: impl FnMut(&mut MetadataResponseTopic),
    ) {
        let flexible = version >= Self::FLEXIBLE_FROM;
        // What stands behind the topics is the end of the message without any.
        let without = MetadataResponse { topics: Vec::new(), ..self.clone() }.encode(version);
        let behind = 4 * usize::from((8..=10).contains(&version)) + usize::from(flexible);
        let count_len = if flexible { 1 } else { 4 };
        let (before, behind) = without.split_at(without.len() - behind);
        to.put_slice(&before[..before.len() - count_len]);
        match flexible {
            true => write_uvarint(to, count as u32 + 1),
            false => to.put_i32(count as i32),
        }
        let mut topic = MetadataResponseTopic::default();
        for _ in 0..count {
            fill(&mut topic);
            Field::write(&topic, to, version, flexible);
        }
        to.put_slice(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_come_one_by_one_are_written_as_all_at_once() {
        let topic = |n: i32| MetadataResponseTopic {
            name: Some(Str::from(format!("t{n}"))),
            partitions: vec![MetadataResponsePartition { leader_id: n, ..Default::default() }; n as usize],
            ..Default::default()
        };
        for (version, count) in (0..=12).flat_map(|version| [(version, 0), (version, 3), (version, 200)]) {
            let whole = MetadataResponse {
                controller_id: 4,
                cluster_id: Some("c".into()),
                brokers: vec![MetadataResponseBroker::default()],
                topics: (0..count).map(topic).collect(),
                cluster_authorized_operations: 5,
                ..Default::default()
            };
            let mut to = BytesMut::new();
            let mut topics = whole.topics.iter();
            let head = MetadataResponse { topics: Vec::new(), ..whole.clone() };
            head.write_topics(&mut to, version, count as usize, |place| {
                *place = topics.next().unwrap().clone()
            });
            assert_eq!(to, whole.encode(version), "version {version}, {count} topics");
        }
    }
}
