//! What an administrator asks of transactions: who has one open, and an end to those that nobody ends.

use crate::TopicPartition;
use crate::admin::Admin;
use crate::cluster::Target;
use crate::error::ClientError;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::describe_producers::{ProducerState, TopicRequest};
use wire::kafka::describe_transactions::TransactionState;
use wire::kafka::list_transactions;
use wire::kafka::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::kafka::{
    DescribeProducersRequest, DescribeTransactionsRequest, ErrorCode, ListTransactionsRequest,
    WriteTxnMarkersRequest,
};

/// A transaction that is to be aborted on one partition, whatever its coordinator knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortTransaction {
    pub partition: TopicPartition,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
}

impl Admin {
    /// The transactional ids that each broker coordinates.
    pub async fn list_transactions(
        &self,
    ) -> Result<BTreeMap<i32, Vec<list_transactions::TransactionState>>, ClientError> {
        let brokers: Vec<i32> = self.metadata(Some(&[])).await?.brokers.keys().copied().collect();
        let mut all = BTreeMap::new();
        for broker in brokers {
            let request = ListTransactionsRequest::default();
            let response =
                self.call(&Target::Broker(broker), &request, |response| response.error_code).await?;
            ClientError::check(response.error_code, &None)?;
            all.insert(broker, response.transaction_states);
        }
        Ok(all)
    }

    /// A transactional id, and the broker that coordinates it.
    pub async fn describe_transaction(&self, id: &Str) -> Result<(i32, TransactionState), ClientError> {
        let target = Target::Transaction(id.clone());
        let request = DescribeTransactionsRequest { transactional_ids: vec![id.clone()] };
        let response = self
            .call(&target, &request, |response| {
                response.transaction_states.first().map_or(ErrorCode::NONE, |state| state.error_code)
            })
            .await?;
        let state = response.transaction_states.into_iter().next().unwrap_or_default();
        let refused = match state.error_code {
            ErrorCode::TRANSACTIONAL_ID_NOT_FOUND => Some(Str::from(format!(
                "DescribeTransactions request for transactionalId `{id}` failed because the ID could not be found"
            ))),
            _ => None,
        };
        ClientError::check(state.error_code, &refused)?;
        let coordinator = self.coordinator(&target).await?;
        Ok((coordinator, state))
    }

    async fn coordinator(&self, target: &Target) -> Result<i32, ClientError> {
        let connection =
            self.cluster().find(target, self.cluster().deadline(), "describeTransactions").await?;
        let metadata = self.metadata(Some(&[])).await?;
        let named = metadata.brokers.iter().find(|(_, node)| node.address() == connection.peer());
        named.map(|(id, _)| *id).ok_or_else(|| ErrorCode::COORDINATOR_NOT_AVAILABLE.into())
    }

    /// The producers that a partition's leader knows, or another replica on that broker.
    pub async fn describe_producers(
        &self,
        partition: &TopicPartition,
        broker: Option<i32>,
    ) -> Result<Vec<ProducerState>, ClientError> {
        let broker = match broker {
            Some(broker) => broker,
            None => self.leader_of(partition).await?,
        };
        let topic =
            TopicRequest { name: partition.topic.clone(), partition_indexes: vec![partition.partition] };
        let request = DescribeProducersRequest { topics: vec![topic] };
        let response = self.call(&Target::Broker(broker), &request, |_| ErrorCode::NONE).await?;
        let found = response.topics.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
        ClientError::check(found.error_code, &found.error_message)?;
        Ok(found.active_producers)
    }

    async fn leader_of(&self, partition: &TopicPartition) -> Result<i32, ClientError> {
        let metadata = self.metadata(Some(std::slice::from_ref(&partition.topic))).await?;
        let topic = metadata.topics.get(&partition.topic).map(|topic| topic.error);
        let unknown = topic.filter(|code| !code.is_ok()).unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        metadata.leader(&partition.topic, partition.partition).ok_or_else(|| unknown.into())
    }

    /// Writes the marker of an abort to one partition.
    pub async fn abort_transaction(&self, abort: &AbortTransaction) -> Result<(), ClientError> {
        let leader = self.leader_of(&abort.partition).await?;
        let marker = WritableTxnMarker {
            producer_id: abort.producer_id,
            producer_epoch: abort.producer_epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: abort.partition.topic.clone(),
                partition_indexes: vec![abort.partition.partition],
            }],
            coordinator_epoch: abort.coordinator_epoch,
        };
        let error = |response: &wire::kafka::WriteTxnMarkersResponse| {
            let topics = response.markers.iter().flat_map(|marker| &marker.topics);
            topics.flat_map(|topic| &topic.partitions).next().map_or(ErrorCode::NONE, |one| one.error_code)
        };
        let request = WriteTxnMarkersRequest { markers: vec![marker] };
        let response = self.call(&Target::Broker(leader), &request, error).await?;
        ClientError::check(error(&response), &None)
    }
}
