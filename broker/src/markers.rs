//! The markers that end transactions, on their way from the coordinator to the leaders of the partitions.
//!
//! One request takes all that waits for a leader. Nothing is tried again here: the coordinator hears what became of each
//! marker, and sends anew what has to be written still, to whoever leads by then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use broker_core::transaction::{self, MarkerOutcome, Markers, TopicPartition};
use client::Connection;
use tokio::sync::{Semaphore, mpsc};
use wire::kafka::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::kafka::{ErrorCode, WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use crate::api::write_markers;
use crate::broker::Broker;
use crate::peers;
use crate::shard::Event;

/// Transactions whose markers one request takes.
const REQUEST_MAX: usize = 500;
/// Requests under way to one leader.
const IN_FLIGHT_MAX: usize = 8;
/// Pause before a leader that cannot be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// The ways to the leaders.
pub struct MarkerSender {
    broker: Arc<Broker>,
    leaders: HashMap<i32, mpsc::UnboundedSender<Markers>>,
}

impl MarkerSender {
    pub fn new(broker: Arc<Broker>) -> MarkerSender {
        MarkerSender { broker, leaders: HashMap::new() }
    }

    /// Sends markers to those who lead now; what becomes of them goes to the loop as MarkersWritten.
    pub fn send(&mut self, markers: Markers) {
        let now = self.broker.metadata.snapshot();
        let mut by_leader: BTreeMap<Option<i32>, Vec<TopicPartition>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for one in &markers.partitions {
            match now.partition(&one.0, one.1) {
                Some(info) => {
                    let reachable = info.leader == self.broker.id || now.nodes.contains_key(&info.leader);
                    by_leader.entry(reachable.then_some(info.leader)).or_default().push(one.clone());
                }
                None => unknown.push(one.clone()),
            }
        }
        if !unknown.is_empty() {
            tokio::spawn(look_for(self.broker.clone(), Markers { partitions: unknown, ..markers.clone() }));
        }
        for (leader, partitions) in by_leader {
            let part = Markers { partitions, ..markers.clone() };
            match leader {
                Some(leader) => self.queue(leader, part),
                None => {
                    let broker = self.broker.clone();
                    tokio::spawn(async move {
                        report_all(&broker, &part, ErrorCode::NOT_LEADER_OR_FOLLOWER).await
                    });
                }
            }
        }
    }

    fn queue(&mut self, leader: i32, part: Markers) {
        let broker = &self.broker;
        let start = || {
            let (queue, waiting) = mpsc::unbounded_channel();
            tokio::spawn(serve(broker.clone(), leader, waiting));
            queue
        };
        let _ = self.leaders.entry(leader).or_insert_with(start).send(part);
    }
}

/// A partition that this broker has not heard of: it has been deleted, or this broker is new.
async fn look_for(broker: Arc<Broker>, markers: Markers) {
    let mut outcomes = Vec::with_capacity(markers.partitions.len());
    for one in &markers.partitions {
        let outcome = match broker.zk().topic(&one.0).await {
            Ok(Some(node)) if node.partitions.contains_key(&one.1) => {
                MarkerOutcome::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            }
            Ok(_) => MarkerOutcome::Gone,
            Err(error) => {
                tracing::warn!("Whether {}-{} is there still: {error}", one.0, one.1);
                MarkerOutcome::Failed(ErrorCode::NOT_LEADER_OR_FOLLOWER)
            }
        };
        outcomes.push((one.clone(), outcome));
    }
    report(&broker, &markers, outcomes).await;
}

/// Brings everything that waits for one leader to it.
async fn serve(broker: Arc<Broker>, leader: i32, mut waiting: mpsc::UnboundedReceiver<Markers>) {
    let mut connection: Option<Connection> = None;
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut all = Vec::new();
    while waiting.recv_many(&mut all, REQUEST_MAX).await > 0 {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let taken = std::mem::take(&mut all);
        if leader == broker.id {
            let broker = broker.clone();
            tokio::spawn(async move {
                let response = write_markers(&broker, request(&taken)).await;
                report_response(&broker, &taken, &response).await;
                drop(slot);
            });
            continue;
        }
        if connection.as_ref().is_none_or(Connection::is_closed) {
            connection = match peers::connect(&broker, leader, "txn-marker-sender").await {
                Ok(connection) => Some(connection),
                Err(error) => {
                    tracing::info!("Markers for broker {leader}: {error}");
                    tokio::time::sleep(UNREACHABLE_PAUSE).await;
                    None
                }
            };
        }
        let Some(connection) = connection.clone() else {
            for markers in &taken {
                report_all(&broker, markers, ErrorCode::NOT_LEADER_OR_FOLLOWER).await;
            }
            continue;
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            let version = broker.config.protocol.write_txn_markers();
            match connection.call_up_to(&request(&taken), version).await {
                Ok(response) => report_response(&broker, &taken, &response).await,
                Err(error) => {
                    tracing::info!("Markers for broker {leader}: {error}");
                    for markers in &taken {
                        report_all(&broker, markers, ErrorCode::NOT_LEADER_OR_FOLLOWER).await;
                    }
                }
            }
            drop(slot);
        });
    }
}

fn request(all: &[Markers]) -> WriteTxnMarkersRequest {
    let marker = |markers: &Markers| {
        let mut topics: Vec<WritableTxnMarkerTopic> = Vec::new();
        for (name, partition) in &markers.partitions {
            match topics.last_mut().filter(|last| last.name == *name) {
                Some(last) => last.partition_indexes.push(*partition),
                None => topics
                    .push(WritableTxnMarkerTopic { name: name.clone(), partition_indexes: vec![*partition] }),
            }
        }
        WritableTxnMarker {
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            transaction_result: markers.commit,
            topics,
            coordinator_epoch: markers.coordinator_epoch,
        }
    };
    WriteTxnMarkersRequest { markers: all.iter().map(marker).collect() }
}

/// The answer names producers and partitions; one producer may stand in it more than once.
async fn report_response(broker: &Broker, all: &[Markers], response: &WriteTxnMarkersResponse) {
    let mut errors = HashMap::new();
    for result in &response.markers {
        for topic in &result.topics {
            for partition in &topic.partitions {
                errors.insert(
                    (result.producer_id, &topic.name, partition.partition_index),
                    partition.error_code,
                );
            }
        }
    }
    for markers in all {
        let outcome = |one: &TopicPartition| match errors.get(&(markers.producer_id, &one.0, one.1)) {
            Some(error) if error.is_ok() => MarkerOutcome::Written,
            Some(error) => MarkerOutcome::Failed(*error),
            None => MarkerOutcome::Failed(ErrorCode::UNKNOWN_SERVER_ERROR),
        };
        let outcomes = markers.partitions.iter().map(|one| (one.clone(), outcome(one))).collect();
        report(broker, markers, outcomes).await;
    }
}

async fn report_all(broker: &Broker, markers: &Markers, error: ErrorCode) {
    let failed = |one: &TopicPartition| (one.clone(), MarkerOutcome::Failed(error));
    report(broker, markers, markers.partitions.iter().map(failed).collect()).await;
}

async fn report(broker: &Broker, markers: &Markers, outcomes: Vec<(TopicPartition, MarkerOutcome)>) {
    let event = transaction::Event::MarkersWritten {
        transactional_id: markers.transactional_id.clone(),
        coordinator_epoch: markers.coordinator_epoch,
        outcomes,
    };
    let _ = broker.shard.tell(Event::Transaction(event)).await;
}
