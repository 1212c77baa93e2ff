//! Fetch: sessions, names and limits here; the loop says which bytes; they are read here, on the connection's task.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use broker_core::acl::{Operation, ResourceType};
use broker_core::fetch_session::{Answered, Asked, Context};
use broker_core::partition::{Fetch, Fetcher, Isolation};
use broker_core::quota::QuotaKind;
use bytes::{Bytes, BytesMut};
use wire::Str;
use wire::batch::Batch;
use wire::batch::down::down_convert;
use wire::kafka::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use wire::kafka::{ErrorCode, Message, Uuid};

use super::Call;
use super::access::NO_TOPIC;
use crate::broker::FetchKey;
use crate::config::RACK_AWARE;
use crate::log::FetchSlice;
use crate::metadata::Snapshot;
use crate::shard::{Event, FetchAsk, FetchPart, FetchedPart, Near, wall_clock};

/// A partition on its way: what was asked, and its answer once there is one.
struct Entry {
    key: FetchKey,
    asked: Asked,
    answer: PartitionData,
}

/// Answers a consumer or a follower.
pub async fn answer(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    let uses_ids = call.version() >= 13;
    let follower = if call.version() >= 15 { request.replica_state.replica_id } else { request.replica_id };
    call.by_follower.store(follower >= 0, Ordering::Relaxed);
    let (context, asked) = open(call, &request, uses_ids);
    if let Context::Error(error_code) = context {
        return FetchResponse { error_code, ..Default::default() };
    }
    if !matches!(request.isolation_level, 0 | 1) && finds_any(call, &asked, follower) {
        return stumbled(call, request);
    }
    let read_committed = request.isolation_level == 1;
    let mut entries = serve(call, &request, asked, follower, read_committed).await;
    if follower < 0
        && let Some(response) = throttled(call, &context, &entries)
    {
        return response;
    }
    let response = close(call, context, follower >= 0, uses_ids, &mut entries);
    count(call, &response, follower >= 0);
    if follower >= 0 && call.broker.throttles.leader.is_bounded() {
        call.broker.throttles.leader.record(throttled_size(call, &response));
    }
    response
}

/// Bytes of records that are sent.
fn count(call: &Call<'_>, response: &FetchResponse, by_follower: bool) {
    let traffic = &call.broker.traffic;
    let mut names = None;
    for topic in &response.responses {
        let bytes = |data: &PartitionData| data.records.as_ref().map_or(0, Bytes::len) as u64;
        let bytes: u64 = topic.partitions.iter().map(bytes).sum();
        let failed = topic.partitions.iter().filter(|data| fails(data.error_code)).count() as u64;
        if by_follower {
            traffic.replication_out.fetch_add(bytes, Ordering::Relaxed);
        }
        let to_consumer = if by_follower { 0 } else { bytes };
        if to_consumer == 0 && failed == 0 {
            continue;
        }
        let name = match topic.topic.is_empty() {
            false => Some(&topic.topic),
            true => names.get_or_insert_with(|| call.broker.metadata.snapshot()).names.get(&topic.topic_id),
        };
        let Some(name) = name else { continue };
        if to_consumer > 0 {
            traffic.out.add(name, to_consumer);
        }
        if failed > 0 {
            traffic.failed_fetches.add(name, failed);
        }
    }
}

/// Whether a fetch that ends so counts as failed: not where the client asked the wrong broker, or for what is not there.
fn fails(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::UNKNOWN_SERVER_ERROR | ErrorCode::CORRUPT_MESSAGE)
}

/// Consumers that took too much, or asked for too long, get nothing now and come again when they may; what is not sent
/// does not count.
fn throttled(call: &Call<'_>, context: &Context, entries: &[Entry]) -> Option<FetchResponse> {
    let quotas = &call.broker.quotas;
    let time_ms = call.charge_time();
    let mut throttle_time_ms = time_ms;
    if quotas.is_in_use(QuotaKind::Fetch) {
        let bytes = answer_size(call, context, entries) as f64;
        throttle_time_ms = quotas.record(QuotaKind::Fetch, call.client(), bytes).max(time_ms);
        if throttle_time_ms > 0 {
            quotas.record_only(QuotaKind::Fetch, call.client(), -bytes);
        }
    }
    if throttle_time_ms <= 0 {
        return None;
    }
    let mut response = FetchResponse { throttle_time_ms, ..Default::default() };
    if let Context::Incremental { session, request_epoch } = context {
        match call.broker.fetch_sessions().check(*session, *request_epoch) {
            Ok(()) => response.session_id = *session,
            Err(error_code) => response.error_code = error_code,
        }
    }
    Some(response)
}

/// Bytes of the response that these entries would make.
fn answer_size(call: &Call<'_>, context: &Context, entries: &[Entry]) -> usize {
    let news_only = matches!(context, Context::Incremental { .. });
    let mut shell = FetchResponse::default();
    let mut bytes = 0;
    for entry in entries {
        let records = entry.answer.records.as_ref().map_or(0, Bytes::len);
        if news_only && records == 0 && entry.answer.error_code.is_ok() {
            continue;
        }
        bytes += records;
        let bare = PartitionData { records: Some(Bytes::new()), ..entry.answer.clone() };
        let (id, name, _) = &entry.key;
        match shell.responses.last_mut() {
            Some(last) if last.topic_id == *id && last.topic == *name => last.partitions.push(bare),
            _ => shell.responses.push(topic(*id, name.clone(), bare)),
        }
    }
    let mut encoded = BytesMut::new();
    shell.write(&mut encoded, call.version());
    bytes + encoded.len()
}

/// Whether there is any of the partitions, of those that the sender may read.
fn finds_any(call: &Call<'_>, asked: &[(FetchKey, Asked)], follower: i32) -> bool {
    let now = call.broker.metadata.snapshot();
    let may_follow = follower >= 0 && call.may_on_cluster(Operation::ClusterAction);
    asked.iter().any(|((id, topic, partition), _)| {
        let name = if call.version() >= 13 { now.names.get(id) } else { Some(topic) };
        name.is_some_and(|name| {
            let may = match follower {
                0.. => may_follow,
                _ => call.may(Operation::Read, ResourceType::Topic, name),
            };
            may && now.partition(name, *partition).is_some()
        })
    })
}

/// Java stumbles over an isolation level that it does not know.
fn stumbled(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    let error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
    let mut response = FetchResponse { error_code, session_id: request.session_id, ..Default::default() };
    if call.version() < 13 {
        let topics = request.topics.into_iter().map(|topic| {
            let failed = |partition: FetchPartition| PartitionData {
                records: None,
                ..failed(partition.partition, error_code)
            };
            let partitions = topic.partitions.into_iter().map(failed).collect();
            FetchableTopicResponse { topic: topic.topic, topic_id: topic.topic_id, partitions }
        });
        response.responses = topics.collect();
    }
    response
}

/// Bytes of the response that are for throttled replicas, with what is around them.
fn throttled_size(call: &Call<'_>, response: &FetchResponse) -> u64 {
    let now = call.broker.metadata.snapshot();
    let mut bytes = 0;
    let mut shell = FetchResponse::default();
    for topic in &response.responses {
        let named = if topic.topic.is_empty() { now.names.get(&topic.topic_id) } else { Some(&topic.topic) };
        let Some(name) = named else { continue };
        let config = call.broker.topic_config(name);
        let throttled =
            |data: &&PartitionData| config.leader_throttled.contains(data.partition_index, call.broker.id);
        let mut listed = bare(topic);
        for data in topic.partitions.iter().filter(throttled) {
            bytes += data.records.as_ref().map_or(0, Bytes::len);
            listed.partitions.push(PartitionData { records: Some(Bytes::new()), ..data.clone() });
        }
        if !listed.partitions.is_empty() {
            shell.responses.push(listed);
        }
    }
    let mut encoded = BytesMut::new();
    shell.write(&mut encoded, call.version());
    (bytes + encoded.len()) as u64
}

fn bare(topic: &FetchableTopicResponse) -> FetchableTopicResponse {
    FetchableTopicResponse { topic: topic.topic.clone(), topic_id: topic.topic_id, partitions: Vec::new() }
}

/// The response's bytes, about.
pub fn size(response: &FetchResponse) -> usize {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    256 + partitions.map(|data| 128 + data.records.as_ref().map_or(0, Bytes::len)).sum::<usize>()
}

fn open(call: &Call<'_>, request: &FetchRequest, uses_ids: bool) -> (Context, Vec<(FetchKey, Asked)>) {
    let named: Vec<(FetchKey, Asked)> = request
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let asked = Asked {
                    offset: partition.fetch_offset,
                    log_start: partition.log_start_offset,
                    max_bytes: partition.partition_max_bytes,
                    // Below zero there is none.
                    current_leader_epoch: partition.current_leader_epoch.max(-1),
                    last_fetched_epoch: partition.last_fetched_epoch.max(-1),
                };
                ((topic.topic_id, topic.topic.clone(), partition.partition), asked)
            })
        })
        .collect();
    let named = once(named);
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.topic_id, topic.topic.clone(), *partition))
    });
    let mut sessions = call.broker.fetch_sessions();
    // Before version 7 there were no sessions; their epoch reads as "none".
    let context = sessions.open(
        wall_clock(),
        request.session_id,
        request.session_epoch,
        uses_ids,
        named.iter().cloned(),
        forgotten,
    );
    let asked = match context {
        Context::Incremental { session, .. } => {
            sessions.asked(session).map(|(key, asked)| (key.clone(), *asked)).collect()
        }
        _ => named,
    };
    (context, asked)
}

/// A partition that is named twice is asked for as it is named last, where it is named first.
fn once(named: Vec<(FetchKey, Asked)>) -> Vec<(FetchKey, Asked)> {
    let mut last: BTreeMap<&FetchKey, Asked> = BTreeMap::new();
    for (key, asked) in &named {
        last.insert(key, *asked);
    }
    if last.len() == named.len() {
        drop(last);
        return named;
    }
    let mut once = Vec::with_capacity(last.len());
    for (key, _) in &named {
        once.extend(last.remove(key).map(|asked| (key.clone(), asked)));
    }
    once
}

/// Asks the loop, and reads what it points to.
async fn serve(
    call: &Call<'_>,
    request: &FetchRequest,
    asked: Vec<(FetchKey, Asked)>,
    follower: i32,
    read_committed: bool,
) -> Vec<Entry> {
    let now = call.broker.metadata.snapshot();
    let mut entries = Vec::with_capacity(asked.len());
    let mut parts = Vec::with_capacity(asked.len());
    let mut places = Vec::with_capacity(asked.len());
    let mut rights = Rights::of(call, follower);
    for (key, asked) in asked {
        let part = find(call, &now, &key, &asked, follower, read_committed, &mut rights);
        let mut answer = failed(key.2, ErrorCode::NONE);
        match part {
            Ok(part) => {
                places.push(entries.len());
                parts.push(part);
            }
            Err(error) => answer = failed(key.2, error),
        }
        entries.push(Entry { key, asked, answer });
    }
    let limit = i32::try_from(call.broker.config.int("fetch.max.bytes")).unwrap_or(i32::MAX);
    // More than what a quota lets through at once would be throttled for certain, and for ever.
    let burst = call.broker.quotas.burst(QuotaKind::Fetch, call.client()).filter(|_| follower < 0);
    let limit = burst.map_or(limit, |burst| limit.min(burst as i32));
    let max_bytes = i64::from(request.max_bytes.min(limit));
    let ask = FetchAsk {
        at_once: parts.len() < entries.len(),
        parts,
        max_wait_ms: i64::from(request.max_wait_ms),
        min_bytes: i64::from(request.min_bytes).min(max_bytes),
        max_bytes,
        version: call.version(),
        read_committed,
        near: near(call, request, follower),
    };
    let fetched = call.broker.shard.ask(|reply| Event::Fetch { ask, reply }).await.unwrap_or_default();
    for (place, part) in places.into_iter().zip(fetched) {
        let entry = &mut entries[place];
        entry.answer = read(call, &entry.key, entry.asked.offset, part);
    }
    entries
}

/// A consumer that may be sent to a replica in its rack.
fn near(call: &Call<'_>, request: &FetchRequest, follower: i32) -> Option<Near> {
    let asks = call.version() >= 11 && follower < 0 && !request.rack_id.is_empty();
    let selects = asks && call.broker.config.text("replica.selector.class") == Some(RACK_AWARE);
    selects.then(|| Near {
        rack: request.rack_id.clone(),
        listener: call.peer.listener.clone(),
        cluster: call.broker.metadata.snapshot(),
    })
}

/// What the fetcher may read: a follower everything or nothing, a consumer topic by topic.
struct Rights<'a> {
    call: &'a Call<'a>,
    follower: Option<bool>,
    /// Partitions of a topic mostly come together.
    last: Option<(Str, bool)>,
}

impl Rights<'_> {
    fn of<'a>(call: &'a Call<'a>, follower: i32) -> Rights<'a> {
        let follower = (follower >= 0).then(|| call.may_on_cluster(Operation::ClusterAction));
        Rights { call, follower, last: None }
    }

    fn check_cluster(&self) -> Result<(), ErrorCode> {
        if self.follower == Some(false) { Err(NO_TOPIC) } else { Ok(()) }
    }

    fn check_topic(&mut self, topic: &Str) -> Result<(), ErrorCode> {
        if self.follower.is_some() || self.call.authorizer().is_none() {
            return Ok(());
        }
        let known = self.last.as_ref().filter(|(name, _)| name == topic).map(|(_, may)| *may);
        let may = known.unwrap_or_else(|| {
            let may = self.call.may(Operation::Read, ResourceType::Topic, topic);
            self.last = Some((topic.clone(), may));
            may
        });
        if may { Ok(()) } else { Err(NO_TOPIC) }
    }
}

fn find(
    call: &Call<'_>,
    now: &Snapshot,
    (id, name, partition): &FetchKey,
    asked: &Asked,
    follower: i32,
    read_committed: bool,
    rights: &mut Rights<'_>,
) -> Result<FetchPart, ErrorCode> {
    rights.check_cluster()?;
    let topic = if call.version() >= 13 {
        now.names.get(id).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?
    } else {
        name.clone()
    };
    rights.check_topic(&topic)?;
    now.partition(&topic, *partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if call.version() < 10 {
        let config = call.broker.topic_config(&topic);
        if config.compression == "zstd" {
            return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        }
        if call.version() < 4 && follower < 0 && !config.down_conversion {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
    }
    let fetcher = match follower {
        id if id >= 0 => Fetcher::Follower { id, alive: false, log_start: asked.log_start },
        _ => Fetcher::Consumer {
            isolation: if read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted },
            leader_only: call.version() < 11,
        },
    };
    let fetch = Fetch {
        fetcher,
        offset: asked.offset,
        current_leader_epoch: asked.current_leader_epoch,
        last_fetched_epoch: asked.last_fetched_epoch,
    };
    Ok(FetchPart { topic, id: *id, partition: *partition, fetch, max_bytes: asked.max_bytes })
}

/// Refused: no aborted transactions, and no records, in place of null. Where it is the conversion to an old format that is refused
/// Java has null for the records (*old_formats*).
fn failed(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    let unconverted =
        [ErrorCode::UNSUPPORTED_VERSION, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE].contains(&error_code);
    PartitionData {
        partition_index,
        error_code,
        high_watermark: -1,
        aborted_transactions: Some(Vec::new()),
        records: (!unconverted).then(Bytes::new),
        ..Default::default()
    }
}

fn count_records(mut batches: Bytes) -> u64 {
    let mut count = 0;
    while let Ok(Some(batch)) = Batch::split_from(&mut batches) {
        count += u64::try_from(batch.header().record_count).unwrap_or(0);
    }
    count
}

/// The message format of a consumer from before record batches.
fn old_format(version: i16) -> Option<u8> {
    match version {
        0 | 1 => Some(0),
        2 | 3 => Some(1),
        _ => None,
    }
}

fn read(call: &Call<'_>, (_, topic, partition): &FetchKey, offset: i64, part: FetchedPart) -> PartitionData {
    let (partition, traffic) = (*partition, &call.broker.traffic);
    let mut error_code = part.error;
    if error_code == ErrorCode::KAFKA_STORAGE_ERROR && call.version() <= 5 {
        error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    }
    let records = match part.slice.as_ref().map(FetchSlice::read) {
        None => Bytes::new(),
        Some(Ok(records)) => records,
        Some(Err(error)) => {
            tracing::error!("Reading partition {partition}: {error}");
            error_code = ErrorCode::KAFKA_STORAGE_ERROR;
            Bytes::new()
        }
    };
    if part.reassigns {
        traffic.reassignment_out.fetch_add(records.len() as u64, Ordering::Relaxed);
    }
    let records = match old_format(call.version()) {
        None => records,
        Some(magic) => match down_convert(&records, magic, offset) {
            Ok(converted) => {
                traffic.fetch_conversions.add(topic, count_records(records));
                converted
            }
            Err(error) => {
                tracing::warn!(
                    "Partition {partition} from offset {offset} for a fetch of format {magic}: {error}"
                );
                return failed(partition, error.code());
            }
        },
    };
    let diverging_epoch = part.diverging.map_or_else(EpochEndOffset::default, |end| EpochEndOffset {
        epoch: end.epoch,
        end_offset: end.end_offset,
    });
    let aborted = part.aborted.map(|all| {
        let entry = |(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset };
        all.into_iter().map(entry).collect()
    });
    PartitionData {
        partition_index: partition,
        error_code,
        high_watermark: part.high_watermark,
        last_stable_offset: part.last_stable_offset,
        log_start_offset: part.log_start,
        diverging_epoch,
        aborted_transactions: aborted,
        preferred_read_replica: part.preferred.unwrap_or(-1),
        records: Some(records),
        ..Default::default()
    }
}

fn answered(data: &PartitionData) -> Answered {
    Answered {
        error: data.error_code,
        has_records: data.records.as_ref().is_some_and(|records| !records.is_empty()),
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
        has_preferred_replica: data.preferred_read_replica >= 0,
        has_diverging_epoch: data.diverging_epoch != EpochEndOffset::default(),
    }
}

/// What the session lets through, by topic.
fn close(
    call: &Call<'_>,
    context: Context,
    follower: bool,
    uses_ids: bool,
    entries: &mut Vec<Entry>,
) -> FetchResponse {
    let mut response = FetchResponse::default();
    let mut sessions = call.broker.fetch_sessions();
    match context {
        Context::Incremental { session, request_epoch } => {
            if let Err(error_code) = sessions.check(session, request_epoch) {
                return FetchResponse { error_code, ..Default::default() };
            }
            response.session_id = session;
            entries.retain(|entry| sessions.select(session, &entry.key, &answered(&entry.answer)));
        }
        Context::Full => {
            let served: Vec<_> = entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.asked, answered(&entry.answer)))
                .collect();
            let random = rand::random::<i32>;
            response.session_id =
                sessions.create(wall_clock(), follower, uses_ids, served.into_iter(), random);
        }
        Context::Sessionless | Context::Error(_) => {}
    }
    drop(sessions);
    for entry in entries.drain(..) {
        let (id, name, _) = entry.key;
        match response.responses.last_mut() {
            Some(last) if last.topic_id == id && last.topic == name => last.partitions.push(entry.answer),
            _ => response.responses.push(topic(id, name, entry.answer)),
        }
    }
    response
}

fn topic(topic_id: Uuid, topic: Str, first: PartitionData) -> FetchableTopicResponse {
    FetchableTopicResponse { topic, topic_id, partitions: vec![first] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_named_twice_is_fetched_once_as_it_is_named_last() {
        let named = |partition: i32, offset| {
            let asked = Asked {
                offset,
                log_start: -1,
                max_bytes: 1,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
            };
            ((Uuid::ZERO, Str::from_static("t"), partition), asked)
        };
        let all = once(vec![named(3, 7), named(1, 5), named(3, 9)]);
        assert_eq!(all, [named(3, 9), named(1, 5)]);
        assert_eq!(once(vec![named(3, 7), named(1, 5)]), [named(3, 7), named(1, 5)]);
    }
}
