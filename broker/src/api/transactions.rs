//! Transactions: what the coordinator is asked, and what of it this broker answers itself.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::acl::{Operation, ResourceType};
use broker_core::transaction::{Request, Response, TopicPartition};
use wire::Str;
use wire::kafka::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};
use wire::kafka::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse, ErrorCode,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse,
};

use super::Call;
use super::access::{NO_GROUP, NO_TOPIC, NO_TRANSACTIONAL_ID};
use crate::shard::Event;
use crate::topics::{GROUP_TOPIC, is_internal};

/// Sends a request to the coordinator; `None` while the broker stops.
async fn ask(call: &Call<'_>, request: Request) -> Option<Response> {
    call.broker.shard.ask(|reply| Event::TransactionRequest { request, reply }).await.ok()
}

async fn done(call: &Call<'_>, request: Request) -> ErrorCode {
    match ask(call, request).await {
        Some(Response::Done(error)) => error,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

/// Clients that do not know PRODUCER_FENCED get the error that it replaced.
fn known_to(version: i16, knows_from: i16, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::PRODUCER_FENCED if version < knows_from => ErrorCode::INVALID_PRODUCER_EPOCH,
        error => error,
    }
}

/// InitProducerId with a transactional id.
pub async fn init(call: &Call<'_>, id: Str, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        known => Some(known),
    };
    let timeout_ms = request.transaction_timeout_ms;
    match ask(call, Request::Init { transactional_id: id, timeout_ms, expected }).await {
        Some(Response::Init { error, producer_id, producer_epoch }) => InitProducerIdResponse {
            error_code: known_to(call.version(), 4, error),
            producer_id,
            producer_epoch,
            ..Default::default()
        },
        _ => InitProducerIdResponse {
            error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
            producer_epoch: -1,
            ..Default::default()
        },
    }
}

/// Whether the sender may write in the transactions of this id.
fn may_write(call: &Call<'_>, transactional_id: &str) -> bool {
    call.may(Operation::Write, ResourceType::TransactionalId, transactional_id)
}

/// From version 4 on it is brokers who ask, for several transactions at a time and perhaps only whether partitions are
/// part of them.
pub async fn add_partitions(
    call: &Call<'_>,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if call.version() < 4 {
        let asked = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        };
        let results_by_topic_v3_and_below = add_to_one(call, asked).await;
        return AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() };
    }
    if !call.may_on_cluster(Operation::ClusterAction) {
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return AddPartitionsToTxnResponse { error_code, ..Default::default() };
    }
    let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
    for asked in request.transactions {
        let transactional_id = asked.transactional_id.clone();
        let topic_results = add_to_one(call, asked).await;
        results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
}

/// One partition that does not exist, or is not the sender's to write, fails all.
async fn add_to_one(
    call: &Call<'_>,
    asked: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let now = call.broker.metadata.snapshot();
    let of_client = call.version() < 4;
    let topics = asked.topics;
    let may_write = !of_client || may_write(call, &asked.transactional_id);
    let is_denied =
        |topic: &Str| is_internal(topic) || !call.may(Operation::Write, ResourceType::Topic, topic);
    let names = topics.iter().map(|topic| &topic.name);
    let denied: BTreeSet<Str> =
        names.filter(|name| of_client && may_write && is_denied(name)).cloned().collect();
    let refusal = |topic: &Str, n: i32| match now.partition(topic, n) {
        _ if !may_write => Some(NO_TRANSACTIONAL_ID),
        _ if denied.contains(topic) => Some(NO_TOPIC),
        None => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Some(_) => None,
    };
    let all = || {
        let each = |topic: &AddPartitionsToTxnTopic| {
            let name = topic.name.clone();
            topic.partitions.clone().into_iter().map(move |n| (name.clone(), n))
        };
        topics.iter().flat_map(each)
    };
    let verdicts: BTreeMap<TopicPartition, ErrorCode> =
        if all().any(|(topic, n)| refusal(&topic, n).is_some()) {
            BTreeMap::new()
        } else {
            let partitions: Vec<TopicPartition> = all().collect::<BTreeSet<_>>().into_iter().collect();
            let (id, producer_id, producer_epoch) =
                (asked.transactional_id, asked.producer_id, asked.producer_epoch);
            let errors = match asked.verify_only {
                true => verify(call, id, (producer_id, producer_epoch), partitions.clone()).await,
                false => {
                    let request = Request::AddPartitions {
                        transactional_id: id,
                        producer_id,
                        producer_epoch,
                        partitions: partitions.clone(),
                    };
                    vec![known_to(call.version(), 2, done(call, request).await); partitions.len()]
                }
            };
            partitions.into_iter().zip(errors).collect()
        };
    let verdict = |topic: &Str, n: i32| {
        let added = verdicts.get(&(topic.clone(), n)).copied();
        refusal(topic, n).or(added).unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED)
    };
    let results = topics.iter().map(|topic| {
        let results = topic.partitions.iter().map(|n| AddPartitionsToTxnPartitionResult {
            partition_index: *n,
            partition_error_code: verdict(&topic.name, *n),
        });
        let results_by_partition = results.collect();
        AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition }
    });
    results.collect()
}

/// An error for each of the partitions.
async fn verify(
    call: &Call<'_>,
    transactional_id: Str,
    (producer_id, producer_epoch): (i64, i16),
    partitions: Vec<TopicPartition>,
) -> Vec<ErrorCode> {
    let count = partitions.len();
    match ask(call, Request::VerifyPartitions { transactional_id, producer_id, producer_epoch, partitions })
        .await
    {
        Some(Response::Verified(errors)) => errors,
        _ => vec![ErrorCode::COORDINATOR_NOT_AVAILABLE; count],
    }
}

/// The group's partition of `__consumer_offsets` becomes part of the transaction.
pub async fn add_offsets(call: &Call<'_>, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let refused = |error_code| AddOffsetsToTxnResponse { error_code, ..Default::default() };
    if !may_write(call, &request.transactional_id) {
        return refused(NO_TRANSACTIONAL_ID);
    }
    if !call.may(Operation::Read, ResourceType::Group, &request.group_id) {
        return refused(NO_GROUP);
    }
    let hash = broker_core::group::java_hash(&request.group_id).checked_abs().unwrap_or(0);
    let partition = hash % call.broker.group_partitions.max(1);
    let asked = Request::AddPartitions {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        partitions: vec![(Str::from_static(GROUP_TOPIC), partition)],
    };
    let error_code = known_to(call.version(), 2, done(call, asked).await);
    AddOffsetsToTxnResponse { error_code, ..Default::default() }
}

pub async fn end(call: &Call<'_>, request: EndTxnRequest) -> EndTxnResponse {
    if !may_write(call, &request.transactional_id) {
        return EndTxnResponse { error_code: NO_TRANSACTIONAL_ID, ..Default::default() };
    }
    let asked = Request::End {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        commit: request.committed,
    };
    let error_code = known_to(call.version(), 2, done(call, asked).await);
    EndTxnResponse { error_code, ..Default::default() }
}

pub async fn describe(call: &Call<'_>, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for id in request.transactional_ids {
        if !call.may(Operation::Describe, ResourceType::TransactionalId, &id) {
            response.transaction_states.push(wire::kafka::describe_transactions::TransactionState {
                error_code: NO_TRANSACTIONAL_ID,
                transactional_id: id,
                ..Default::default()
            });
            continue;
        }
        let mut state = match ask(call, Request::Describe { transactional_id: id.clone() }).await {
            Some(Response::Describe(state)) => state,
            _ => wire::kafka::describe_transactions::TransactionState {
                error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
                transactional_id: id,
                ..Default::default()
            },
        };
        state.topics.retain(|topic| call.may(Operation::Describe, ResourceType::Topic, &topic.topic));
        response.transaction_states.push(state);
    }
    response
}

pub async fn list(call: &Call<'_>, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let asked = Request::List { states: request.state_filters, producer_ids: request.producer_id_filters };
    match ask(call, asked).await {
        Some(Response::List(mut response)) => {
            let may = |id: &str| call.may(Operation::Describe, ResourceType::TransactionalId, id);
            response.transaction_states.retain(|state| may(&state.transactional_id));
            response
        }
        _ => ListTransactionsResponse {
            error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ..Default::default()
        },
    }
}
