//! Produce: checks that need no state here, then the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::acl::{Operation, ResourceType};
use broker_core::partition::{Origin, ProduceResult};
use broker_core::quota::QuotaKind;
use bytes::Bytes;
use wire::Str;
use wire::batch::produce::{Accepted, Refused, Rules, check};
use wire::batch::{Compression, Header};
use wire::kafka::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use wire::kafka::{ApiKey, ErrorCode};

use super::access::{NO_TOPIC, NO_TRANSACTIONAL_ID};
use super::framing::begins_in_transaction;
use super::{Call, encode};
use crate::config::TopicConfig;
use crate::net::Answer;
use crate::shard::{Event, ProducePart, wall_clock};
use crate::topics;

/// The client id that may write internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// What one compressed batch may grow to.
const DECOMPRESSED_BYTES_MAX: usize = 512 << 20;

/// What is wrong with a batch before its records are looked at.
const OUTSIDE_RECORDS: [ErrorCode; 3] =
    [ErrorCode::CORRUPT_MESSAGE, ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::RECORD_LIST_TOO_LARGE];

/// Where the answer of a partition comes from.
enum Slot {
    /// Known here.
    Done(PartitionProduceResponse),
    /// Refused for its content, which only counts if the partition could take a produce at all.
    Refused(PartitionProduceResponse),
    /// Index of the batch that went to the loop.
    Sent(usize),
}

/// acks=0 has no answer; if anything went wrong then, the connection is closed so that the client notices.
pub async fn answer(call: &Call<'_>, request: ProduceRequest) -> Answer {
    let acks = request.acks;
    let mut response = produce(call, request).await;
    let throttle_ms = call.broker.quotas.record(QuotaKind::Produce, call.client(), call.size as f64);
    if acks == 0 {
        let failed = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        return match failed.into_iter().find(|partition| !partition.error_code.is_ok()) {
            Some(partition) => {
                tracing::info!(
                    "Closing connection from {}: {} for a produce with acks=0",
                    call.peer.address,
                    partition.error_code.name()
                );
                call.count_errors(ApiKey::Produce, &response);
                Answer::Close
            }
            None => call.mute(Answer::Silence, throttle_ms),
        };
    }
    response.throttle_time_ms = throttle_ms;
    let throttle_ms = call.settle(ApiKey::Produce, &mut response);
    call.count_errors(ApiKey::Produce, &response);
    call.mute(Answer::Send(vec![encode(ApiKey::Produce.api(), call.header, &response)]), throttle_ms)
}

async fn produce(call: &Call<'_>, request: ProduceRequest) -> ProduceResponse {
    let all_fail = match in_transaction(&request) {
        Ok(in_transaction) => {
            (in_transaction && !may_write_in(call, &request)).then_some(NO_TRANSACTIONAL_ID)
        }
        Err(broken) => return all_refused(request, &broken),
    };
    let mut parts = Vec::new();
    let mut slots: Vec<(Str, Vec<(i32, Slot)>)> = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let config = call.broker.topic_config(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        let denied = || !call.may(Operation::Write, ResourceType::Topic, &topic.name);
        let all_fail = all_fail.or_else(|| denied().then_some(NO_TOPIC));
        for data in topic.partition_data {
            let index = data.index;
            let slot = match all_fail {
                Some(error) => Slot::Done(failed(index, error)),
                None => one(call, &topic.name, &config, data, request.acks, &mut parts),
            };
            partitions.push((index, slot));
        }
        slots.push((topic.name, partitions));
    }
    refuse_for_the_partitions_sake(call, &mut slots, request.acks).await;
    let results = append(call, parts, request.acks, request.timeout_ms).await;
    let responses = slots.into_iter().map(|(name, partitions)| {
        let partition_responses = partitions.into_iter().map(|(index, slot)| {
            let response = match slot {
                Slot::Done(response) => response,
                Slot::Refused(response) => {
                    call.broker.traffic.refused.add(&name, 1);
                    response
                }
                Slot::Sent(at) => match results.get(at) {
                    Some(result) => appended(index, result),
                    None => failed(index, ErrorCode::NOT_LEADER_OR_FOLLOWER),
                },
            };
            if !response.error_code.is_ok() {
                call.broker.traffic.produce_failed(&name, response.error_code);
            }
            response
        });
        let partition_responses = partition_responses.collect();
        TopicProduceResponse { name, partition_responses }
    });
    ProduceResponse { responses: responses.collect(), ..Default::default() }
}

/// Whether there are records of a transaction. That a partition was added to it before is not checked, as in 3.5.1.
/// The search for them stumbles over bytes that cannot be records, which fails the whole request, wherever they were to go.
fn in_transaction(request: &ProduceRequest) -> Result<bool, Refused> {
    for data in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
        if let Some(records) = &data.records
            && begins_in_transaction(records)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn all_refused(request: ProduceRequest, broken: &Refused) -> ProduceResponse {
    let responses = request.topic_data.into_iter().map(|topic| {
        let failed = |data: &PartitionProduceData| PartitionProduceResponse {
            error_message: broken.message.as_deref().map(Str::from),
            ..failed(data.index, broken.code)
        };
        let partition_responses = topic.partition_data.iter().map(failed).collect();
        TopicProduceResponse { name: topic.name, partition_responses }
    });
    ProduceResponse { responses: responses.collect(), ..Default::default() }
}

/// A transaction that the request does not name is nobody's.
fn may_write_in(call: &Call<'_>, request: &ProduceRequest) -> bool {
    let id = request.transactional_id.as_ref();
    id.is_some_and(|id| call.may(Operation::Write, ResourceType::TransactionalId, id))
}

fn one(
    call: &Call<'_>,
    topic: &Str,
    config: &Arc<TopicConfig>,
    data: PartitionProduceData,
    acks: i16,
    parts: &mut Vec<ProducePart>,
) -> Slot {
    if call.broker.metadata.snapshot().partition(topic, data.index).is_none() {
        return Slot::Done(failed(data.index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }
    let rules = Rules {
        topic,
        partition: data.index,
        version: call.version(),
        now: wall_clock(),
        compacted: config.log.compact,
        log_append_time: config.log_append_time,
        timestamp_difference_ms_max: config.timestamp_difference_max,
        message_bytes_max: usize::try_from(config.message_bytes_max).unwrap_or(0),
        compression: codec(&config.compression),
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    };
    let checked = check(&data.records, &rules);
    count_contents(call, topic, &data, &checked, config.log.compact);
    if let Err(refused) = &checked
        && refused.at_the_door
    {
        return Slot::Done(failed(data.index, refused.code));
    }
    if !(-1..=1).contains(&acks) {
        return Slot::Done(failed(data.index, ErrorCode::INVALID_REQUIRED_ACKS));
    }
    if topics::is_internal(topic) && call.client_id() != ADMIN_CLIENT {
        return Slot::Done(failed(data.index, ErrorCode::INVALID_TOPIC_EXCEPTION));
    }
    if !call.broker.config.protocol.has_zstd() && is_zstd(&data.records, rules.compression) {
        return Slot::Refused(failed(data.index, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE));
    }
    match checked {
        Ok(accepted) => {
            parts.push(ProducePart {
                topic: topic.clone(),
                partition: data.index,
                accepted,
                log_append_time: config.log_append_time,
            });
            Slot::Sent(parts.len() - 1)
        }
        Err(refused) => Slot::Refused(refusal(data.index, refused)),
    }
}

/// What was wrong with records, and how many had to be written anew.
fn count_contents(
    call: &Call<'_>,
    topic: &Str,
    data: &PartitionProduceData,
    checked: &Result<Accepted, Refused>,
    compacted: bool,
) {
    let traffic = &call.broker.traffic;
    let Some(came) = &data.records else { return };
    match checked {
        Ok(accepted) => {
            // What stays as it came is a slice of the request.
            if !came.as_ptr_range().contains(&accepted.batch.bytes().as_ptr()) {
                let records = u64::try_from(accepted.batch.header().record_count).unwrap_or(0);
                traffic.produce_conversions.add(topic, records);
            }
        }
        Err(refused) => match refused.code {
            ErrorCode::MESSAGE_TOO_LARGE => traffic.rejected.add(topic, came.len() as u64),
            ErrorCode::CORRUPT_MESSAGE => count_one(&traffic.damaged, 1),
            ErrorCode::INVALID_RECORD if compacted && !refused.records.is_empty() => {
                count_one(&traffic.keyless, refused.records.len() as u64);
            }
            ErrorCode::INVALID_RECORD if refused.records.is_empty() => count_one(&traffic.misnumbered, 1),
            _ => {}
        },
    }
}

fn count_one(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Whether records would be written that brokers of before 2.1 cannot read.
fn is_zstd(records: &Option<Bytes>, of_topic: Option<Compression>) -> bool {
    let header = records.as_ref().and_then(|records| Header::read(records).ok());
    let came = header.and_then(|header| header.attributes.compression().ok());
    of_topic.or(came) == Some(Compression::Zstd)
}

/// `compression.type`; `producer` keeps what came.
fn codec(name: &str) -> Option<Compression> {
    match name {
        "producer" => None,
        "uncompressed" => Some(Compression::None),
        name => Compression::from_name(name),
    }
}

fn refusal(index: i32, refused: Refused) -> PartitionProduceResponse {
    let record_errors = refused.records.into_iter().map(|(batch_index, message)| BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(message.into()),
    });
    PartitionProduceResponse {
        record_errors: record_errors.collect(),
        error_message: refused.message.map(Str::from),
        ..failed(index, refused.code)
    }
}

/// A partition that cannot take a produce says so, whatever was wrong with the batch.
async fn refuse_for_the_partitions_sake(call: &Call<'_>, slots: &mut [(Str, Vec<(i32, Slot)>)], acks: i16) {
    let refused: Vec<(Str, i32)> = slots
        .iter()
        .flat_map(|(name, all)| all.iter().map(move |(index, slot)| (name, *index, slot)))
        .filter(|(.., slot)| matches!(slot, Slot::Refused(_)))
        .map(|(name, index, _)| (name.clone(), index))
        .collect();
    if refused.is_empty() {
        return;
    }
    let Ok(checked) =
        call.broker.shard.ask(|reply| Event::CheckProduce { parts: refused, acks, reply }).await
    else {
        return;
    };
    let waiting =
        slots.iter_mut().flat_map(|(_, all)| all.iter_mut()).filter(|(_, s)| matches!(s, Slot::Refused(_)));
    for ((index, slot), result) in waiting.zip(checked) {
        match (result, &mut *slot) {
            ((Err(error @ ErrorCode::NOT_ENOUGH_REPLICAS), log_start_offset), _) => {
                *slot = Slot::Done(PartitionProduceResponse { log_start_offset, ..failed(*index, error) });
            }
            ((Err(error), _), _) => *slot = Slot::Done(failed(*index, error)),
            // Java has it where the records themselves are wrong, and not where they are too many or damaged.
            ((Ok(()), start), Slot::Refused(refused)) if !OUTSIDE_RECORDS.contains(&refused.error_code) => {
                refused.log_start_offset = start;
            }
            _ => {}
        }
    }
}

async fn append(call: &Call<'_>, parts: Vec<ProducePart>, acks: i16, timeout_ms: i32) -> Vec<ProduceResult> {
    if parts.is_empty() {
        return Vec::new();
    }
    let timeout_ms = i64::from(timeout_ms);
    let origin = Origin::Client;
    let asked = call.broker.shard.ask(|reply| Event::Produce { parts, acks, timeout_ms, origin, reply });
    asked.await.unwrap_or_default()
}

fn failed(index: i32, error_code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { index, error_code, base_offset: -1, ..Default::default() }
}

fn appended(index: i32, result: &ProduceResult) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: result.error,
        base_offset: result.base_offset,
        log_append_time_ms: result.log_append_time_ms,
        log_start_offset: result.log_start,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::batch::BatchBuilder;
    use wire::kafka::produce::TopicProduceData;

    fn request(in_txn: bool, id: Option<&str>) -> ProduceRequest {
        let mut batch = BatchBuilder::new().producer(7, 0, 0).transactional(in_txn);
        batch.push(1, None, Some(b"x"), &[]);
        let records = Some(batch.finish().unwrap());
        let data = PartitionProduceData { index: 0, records };
        let topic = TopicProduceData { name: "t".into(), partition_data: vec![data] };
        ProduceRequest { transactional_id: id.map(Str::from), topic_data: vec![topic], ..Default::default() }
    }

    #[test]
    fn records_of_a_transaction_are_recognized() {
        assert!(!in_transaction(&request(false, None)).unwrap());
        assert!(!in_transaction(&request(false, Some("id"))).unwrap());
        assert!(
            in_transaction(&request(true, None)).unwrap()
                && in_transaction(&request(true, Some("id"))).unwrap()
        );
    }
}
