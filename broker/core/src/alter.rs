//! ISR changes of many partitions in one AlterPartition, and what the controller's answer means for each.

use crate::MetadataVersion;
use crate::error::ErrorCode;
use crate::partition::{AlterPartition, Altered};
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::alter_partition::{BrokerState, RequestPartitionData, RequestTopicData};
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse, Uuid};

/// One partition's wish.
#[derive(Debug)]
pub struct Ask {
    pub topic: Str,
    /// Zero: the topic has none.
    pub id: Uuid,
    pub partition: i32,
    pub ask: AlterPartition,
}

impl Ask {
    /// What it is of.
    pub fn place(&self) -> Place {
        (self.topic.clone(), self.partition)
    }
}

/// Topic and partition.
pub type Place = (Str, i32);
pub type Asks = BTreeMap<Place, Ask>;
pub type Answers = BTreeMap<Place, Result<Altered, ErrorCode>>;

/// The newest version in which these may be asked for: 2 and above name topics by their ids alone.
pub fn highest_version(asks: &Asks, protocol: MetadataVersion) -> i16 {
    let by_id = asks.values().all(|ask| !ask.id.is_zero());
    if by_id { protocol.alter_partition() } else { protocol.alter_partition().min(1) }
}

/// All wishes in one request of this broker.
pub fn request(broker_id: i32, broker_epoch: i64, asks: &Asks) -> AlterPartitionRequest {
    let mut topics: Vec<RequestTopicData> = Vec::new();
    for ((name, partition), ask) in asks {
        let data = RequestPartitionData {
            partition_index: *partition,
            leader_epoch: ask.ask.leader_epoch,
            new_isr: ask.ask.isr.clone(),
            // Epochs of the other brokers are the controller's to know.
            new_isr_with_epochs: ask
                .ask
                .isr
                .iter()
                .map(|id| BrokerState { broker_id: *id, broker_epoch: -1 })
                .collect(),
            leader_recovery_state: 0,
            partition_epoch: ask.ask.partition_epoch,
        };
        match topics.last_mut() {
            Some(topic) if topic.topic_name == *name && topic.topic_id == ask.id => {
                topic.partitions.push(data)
            }
            _ => topics.push(RequestTopicData {
                topic_name: name.clone(),
                topic_id: ask.id,
                partitions: vec![data],
            }),
        }
    }
    AlterPartitionRequest { broker_id, broker_epoch, topics }
}

/// What became of each wish.
pub fn answers(asks: &Asks, response: AlterPartitionResponse) -> Answers {
    let names: BTreeMap<Uuid, &Str> = asks.values().map(|ask| (ask.id, &ask.topic)).collect();
    let mut answers = Answers::new();
    for topic in response.topics {
        let name = match topic.topic_id.is_zero() {
            true => Some(&topic.topic_name),
            false => names.get(&topic.topic_id).copied(),
        };
        let Some(name) = name else { continue };
        for one in topic.partitions {
            let altered = Altered {
                leader_epoch: one.leader_epoch,
                partition_epoch: one.partition_epoch,
                isr: one.isr,
            };
            let result = one.error_code.ok().map(|()| altered);
            answers.insert((name.clone(), one.partition_index), result);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::alter_partition::{ResponsePartitionData, ResponseTopicData};

    fn ask(topic: &str, id: Uuid, partition: i32) -> (Place, Ask) {
        let ask = AlterPartition { request: 1, leader_epoch: 3, partition_epoch: 4, isr: vec![1] };
        let ask = Ask { topic: topic.into(), id, partition, ask };
        (ask.place(), ask)
    }

    #[test]
    fn topics_without_ids_are_asked_for_and_answered_by_name() {
        let named =
            Asks::from([ask("a", Uuid::ZERO, 0), ask("b", Uuid::ZERO, 0), ask("c", Uuid([1; 16]), 0)]);
        assert_eq!(highest_version(&named, MetadataVersion::LATEST), 1);
        let request = request(1, 9, &named);
        assert_eq!(
            request.topics.iter().map(|topic| &*topic.topic_name).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        let topic = |topic_name: &str, partition_epoch| ResponseTopicData {
            topic_name: topic_name.into(),
            partitions: vec![ResponsePartitionData {
                leader_epoch: 3,
                partition_epoch,
                ..Default::default()
            }],
            ..Default::default()
        };
        let topics = vec![topic("a", 5), topic("b", 6), topic("c", 7)];
        let answers = answers(&named, AlterPartitionResponse { topics, ..Default::default() });
        let epochs = answers.values().map(|answer| answer.as_ref().unwrap().partition_epoch);
        assert_eq!(epochs.collect::<Vec<_>>(), [5, 6, 7]);
    }

    #[test]
    fn topics_with_ids_are_answered_by_them() {
        let asks = Asks::from([ask("a", Uuid([1; 16]), 0), ask("b", Uuid([2; 16]), 7)]);
        assert_eq!(highest_version(&asks, MetadataVersion::LATEST), 3);
        assert_eq!(highest_version(&asks, MetadataVersion::V2_7Iv2), 1);
        let partition = ResponsePartitionData {
            partition_index: 7,
            error_code: ErrorCode::FENCED_LEADER_EPOCH,
            ..Default::default()
        };
        let topic =
            ResponseTopicData { topic_id: Uuid([2; 16]), partitions: vec![partition], ..Default::default() };
        let answers = answers(&asks, AlterPartitionResponse { topics: vec![topic], ..Default::default() });
        assert_eq!(answers[&("b".into(), 7)], Err(ErrorCode::FENCED_LEADER_EPOCH));
        assert_eq!(answers.len(), 1);
    }
}
