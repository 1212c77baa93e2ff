//! Requests of groups, as far as anyone here fills them in, and what is read out of the answers.

use super::{WORK, WORK_PARTITIONS};
use crate::cluster::checks::Checks;
use broker_core::ErrorCode;
use broker_core::group::{Request, Response};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Debug;
use wire::Str;
use wire::kafka::consumer_protocol::ConsumerProtocolSubscription;
use wire::kafka::encode_versioned;
use wire::kafka::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::kafka::offset_fetch::OffsetFetchRequestTopic;
use wire::kafka::txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use wire::kafka::{OffsetCommitRequest, OffsetFetchRequest, TxnOffsetCommitRequest};

/// Offsets by partition of [`WORK`].
pub type Offsets = BTreeMap<i32, i64>;

/// In whose name offsets are committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    pub group: Str,
    pub generation: i32,
    pub member: Str,
    pub instance: Option<Str>,
}

/// What a member says of itself; `changes`: how often it has changed its mind.
pub fn subscription(changes: u8) -> Bytes {
    let user_data = Some(Bytes::copy_from_slice(&[changes]));
    let subscription =
        ConsumerProtocolSubscription { topics: vec![WORK.into()], user_data, ..Default::default() };
    encode_versioned(&subscription, 0)
}

pub fn commit(author: &Author, offsets: &Offsets, retention_ms: i64) -> Request {
    let partition = |(n, offset): (&i32, &i64)| OffsetCommitRequestPartition {
        partition_index: *n,
        committed_offset: *offset,
        ..Default::default()
    };
    let partitions = offsets.iter().map(partition).collect();
    Request::OffsetCommit(OffsetCommitRequest {
        group_id: author.group.clone(),
        generation_id: author.generation,
        member_id: author.member.clone(),
        group_instance_id: author.instance.clone(),
        retention_time_ms: retention_ms,
        topics: vec![OffsetCommitRequestTopic { name: WORK.into(), partitions }],
    })
}

/// Nobody's partition, which is committed to once.
pub const FOUNDATION: i32 = WORK_PARTITIONS;

/// As a part of a transaction.
pub fn txn_commit(author: &Author, id: &Str, producer: (i64, i16), offsets: &Offsets) -> Request {
    let partition = |(n, offset): (&i32, &i64)| TxnOffsetCommitRequestPartition {
        partition_index: *n,
        committed_offset: *offset,
        ..Default::default()
    };
    let partitions = offsets.iter().map(partition).collect();
    Request::TxnOffsetCommit(TxnOffsetCommitRequest {
        transactional_id: id.clone(),
        group_id: author.group.clone(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        generation_id: author.generation,
        member_id: author.member.clone(),
        group_instance_id: author.instance.clone(),
        topics: vec![TxnOffsetCommitRequestTopic { name: WORK.into(), partitions }],
    })
}

/// Of all partitions, and none that a commit under way may change.
pub fn fetch(group: &Str) -> Request {
    let topic = OffsetFetchRequestTopic { name: WORK.into(), partition_indexes: (0..=FOUNDATION).collect() };
    let request = OffsetFetchRequest {
        group_id: group.clone(),
        topics: Some(vec![topic]),
        require_stable: true,
        ..Default::default()
    };
    Request::OffsetFetch { request, errors_by_partition: false }
}

/// The first thing that is wrong with a commit.
pub fn commit_error(response: &Response) -> ErrorCode {
    let errors: Vec<ErrorCode> = match response {
        Response::OffsetCommit(response) => {
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code).collect()
        }
        Response::TxnOffsetCommit(response) => {
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code).collect()
        }
        _ => vec![ErrorCode::UNKNOWN_SERVER_ERROR],
    };
    errors.into_iter().find(|error| !error.is_ok()).unwrap_or(ErrorCode::NONE)
}

/// -1: there is none. A partition that is not stable has its error.
pub fn fetched(response: &Response) -> Result<BTreeMap<i32, Result<i64, ErrorCode>>, ErrorCode> {
    let Response::OffsetFetch(response) = response else { return Err(ErrorCode::UNKNOWN_SERVER_ERROR) };
    if !response.error_code.is_ok() {
        return Err(response.error_code);
    }
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions
        .map(|one| {
            let offset = if one.error_code.is_ok() { Ok(one.committed_offset) } else { Err(one.error_code) };
            (one.partition_index, offset)
        })
        .collect())
}

/// As [`fetched`], where only what passes may be wrong; `who`: asked, and is told of in a failure.
pub fn found(
    checks: &mut Checks,
    who: &impl Debug,
    response: &Response,
) -> Option<BTreeMap<i32, Result<i64, ErrorCode>>> {
    match fetched(response) {
        Ok(found) => return Some(found),
        Err(error) if is_passing(error) => {}
        Err(error) => checks.fail(format!("{who:?} hears {error} of its offsets")),
    }
    None
}

/// Another coordinator may know, or this one later.
pub fn is_passing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::REQUEST_TIMED_OUT
    )
}
