//! ISR changes on their way to the controller: one AlterPartition at a time, with all that has gathered meanwhile.

use std::sync::Arc;

use broker_core::alter::{Answers, Ask, Asks, answers, highest_version, request};
use broker_core::partition::Altered;
use tokio::sync::mpsc;
use wire::kafka::ErrorCode;

use crate::broker::Broker;
use crate::isr_changes;
use crate::peers::{ControllerLink, RETRY_PAUSE};
use crate::shard::Event;

/// Asks for as long as there is a broker, in the way of `inter.broker.protocol.version`.
pub async fn run(broker: Arc<Broker>, asks: mpsc::UnboundedReceiver<Ask>) {
    if broker.config.protocol.alters_by_request() {
        ask_the_controller(broker, asks).await;
    } else {
        isr_changes::run(broker, asks).await;
    }
}

async fn ask_the_controller(broker: Arc<Broker>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let link = ControllerLink::default();
    let mut gathered = Vec::new();
    while asks.recv_many(&mut gathered, 10_000).await > 0 {
        // A later wish of a partition takes the place of an earlier one.
        let latest: Asks = gathered.drain(..).map(|ask| (ask.place(), ask)).collect();
        let answers = send(&broker, &link, &latest).await;
        for (place, ask) in latest {
            let result = match &answers {
                Ok(found) => found.get(&place).cloned().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
                Err(error) => Err(*error),
            };
            if !tell(&broker, ask, result).await {
                return;
            }
        }
    }
}

/// Tells the partition what came of its wish; `false`: the broker stops.
pub(crate) async fn tell(broker: &Broker, ask: Ask, result: Result<Altered, ErrorCode>) -> bool {
    if let Err(error) = &result {
        tracing::warn!("ISR change of {}-{}: {}", ask.topic, ask.partition, error.name());
    }
    let (request, partition) = (ask.ask.request, ask.partition);
    let event = Event::Altered { topic: ask.topic, id: ask.id, partition, request, result };
    broker.shard.tell(event).await.is_ok()
}

/// An error is one that each partition tries again after.
async fn send(broker: &Broker, link: &ControllerLink, asks: &Asks) -> Result<Answers, ErrorCode> {
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
    let version = highest_version(asks, broker.config.protocol);
    match connection.call_up_to(&request(broker.id, broker.epoch(), asks), version).await {
        Ok(response) if response.error_code.is_ok() => Ok(answers(asks, response)),
        Ok(response) => {
            failed(response.error_code.name().to_owned()).await;
            Err(response.error_code)
        }
        Err(error) => Err(failed(error.to_string()).await),
    }
}
