//! ISR changes of many partitions in one AlterPartition, and what the controller's answer means for each.

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
    pub id: Uuid,
    pub partition: i32,
    pub ask: AlterPartition,
}

/// By topic and partition.
pub type Answers = BTreeMap<(Uuid, i32), Result<Altered, ErrorCode>>;

/// All wishes in one request of this broker.
pub fn request(
    broker_id: i32,
    broker_epoch: i64,
    asks: &BTreeMap<(Uuid, i32), Ask>,
) -> AlterPartitionRequest {
    let mut topics: Vec<RequestTopicData> = Vec::new();
    for ((id, partition), ask) in asks {
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
            Some(topic) if topic.topic_id == *id => topic.partitions.push(data),
            _ => topics.push(RequestTopicData {
                topic_name: ask.topic.clone(),
                topic_id: *id,
                partitions: vec![data],
            }),
        }
    }
    AlterPartitionRequest { broker_id, broker_epoch, topics }
}

/// What became of each wish.
pub fn answers(response: AlterPartitionResponse) -> Answers {
    let mut answers = Answers::new();
    for topic in response.topics {
        for one in topic.partitions {
            let altered = Altered {
                leader_epoch: one.leader_epoch,
                partition_epoch: one.partition_epoch,
                isr: one.isr,
            };
            let result = one.error_code.ok().map(|()| altered);
            answers.insert((topic.topic_id, one.partition_index), result);
        }
    }
    answers
}
