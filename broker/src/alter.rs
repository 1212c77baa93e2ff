//! ISR changes on their way to the controller: one AlterPartition at a time, with all that has gathered meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::alter::{Answers, Ask, answers, request};
use tokio::sync::mpsc;
use wire::kafka::{ErrorCode, Uuid};

use crate::broker::Broker;
use crate::peers::{ControllerLink, RETRY_PAUSE};
use crate::shard::Event;

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
                id: ask.id,
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
    match connection.call(&request(broker.id, broker.epoch(), asks)).await {
        Ok(response) if response.error_code.is_ok() => Ok(answers(response)),
        Ok(response) => {
            failed(response.error_code.name().to_owned()).await;
            Err(response.error_code)
        }
        Err(error) => Err(failed(error.to_string()).await),
    }
}
