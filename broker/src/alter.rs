//! ISR changes on their way to the controller: one AlterPartition at a time, with all that has gathered meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::partition::{AlterPartition, Altered};
use tokio::sync::mpsc;
use wire::Str;
use wire::kafka::alter_partition::{BrokerState, RequestPartitionData, RequestTopicData};
use wire::kafka::{AlterPartitionRequest, AlterPartitionResponse, ErrorCode, Uuid};

use crate::broker::Broker;
use crate::peers::{ControllerLink, RETRY_PAUSE};
use crate::shard::Event;

/// One partition's wish.
pub struct Ask {
    pub topic: Str,
    pub id: Uuid,
    pub partition: i32,
    pub ask: AlterPartition,
}

/// Asks for as long as there is a broker.
pub async fn run(broker: Arc<Broker>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let link = ControllerLink::default();
    let mut gathered = Vec::new();
    while asks.recv_many(&mut gathered, 10_000).await > 0 {
        // A later wish of a partition takes the place of an earlier one.
        let mut latest: BTreeMap<(Uuid, i32), Ask> = BTreeMap::new();
        for ask in gathered.drain(..) {
            latest.insert((ask.id, ask.partition), ask);
        }
        let answers = send(&broker, &link, &latest).await;
        for (key, ask) in latest {
            let result = match &answers {
                Ok(found) => found.get(&key).cloned().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
                Err(error) => Err(*error),
            };
            if let Err(error) = &result {
                tracing::warn!("ISR change of {}-{}: {}", ask.topic, ask.partition, error.name());
            }
            let event = Event::Altered {
                topic: ask.topic,
                partition: ask.partition,
                request: ask.ask.request,
                result,
            };
            if broker.shard.tell(event).await.is_err() {
                return;
            }
        }
    }
}

type Answers = BTreeMap<(Uuid, i32), Result<Altered, ErrorCode>>;

/// An error is one that each partition tries again after.
async fn send(
    broker: &Broker,
    link: &ControllerLink,
    asks: &BTreeMap<(Uuid, i32), Ask>,
) -> Result<Answers, ErrorCode> {
    let failed = async |why: String| {
        tracing::warn!("AlterPartition to the controller: {why}");
        link.forget().await;
        tokio::time::sleep(RETRY_PAUSE).await;
        ErrorCode::NETWORK_EXCEPTION
    };
    let connection = match link.get(broker).await {
        Ok(connection) => connection,
        Err(error) => return Err(failed(error.to_string()).await),
    };
    match connection.call(&request(broker, asks)).await {
        Ok(response) if response.error_code.is_ok() => Ok(answers(response)),
        Ok(response) => {
            failed(response.error_code.name().to_owned()).await;
            Err(response.error_code)
        }
        Err(error) => Err(failed(error.to_string()).await),
    }
}

fn request(broker: &Broker, asks: &BTreeMap<(Uuid, i32), Ask>) -> AlterPartitionRequest {
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
    AlterPartitionRequest { broker_id: broker.id, broker_epoch: broker.epoch(), topics }
}

fn answers(response: AlterPartitionResponse) -> Answers {
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
