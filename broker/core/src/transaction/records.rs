//! Keys and values of `__transaction_state`, both of version 0.

use super::event::Record;
use super::state::{NO_EPOCH, NO_PRODUCER_ID, State, Transaction, Transit};
use bytes::Bytes;
use wire::Str;
use wire::kafka::codec::Message;
use wire::kafka::transaction_topic::{PartitionsSchema, TransactionLogKey, TransactionLogValue};
use wire::kafka::{encode_versioned, split_version};

const KEY: i16 = 0;
const VALUE: i16 = 0;
/// Version 1 of the value is as 0, but flexible.
const VALUE_MAX: i16 = 1;

pub(super) fn tombstone(id: &Str) -> Record {
    let key = encode_versioned(&TransactionLogKey { transactional_id: id.clone() }, KEY);
    Record { key, value: None }
}

pub(super) fn record(id: &Str, transit: &Transit) -> Record {
    let mut topics: Vec<PartitionsSchema> = Vec::new();
    for (topic, partition) in &transit.partitions {
        match topics.last_mut().filter(|last| last.topic == *topic) {
            Some(last) => last.partition_ids.push(*partition),
            None => {
                topics.push(PartitionsSchema { topic: topic.clone(), partition_ids: vec![*partition] });
            }
        }
    }
    let value = TransactionLogValue {
        producer_id: transit.producer_id,
        producer_epoch: transit.producer_epoch,
        transaction_timeout_ms: transit.timeout_ms,
        transaction_status: transit.state.number(),
        transaction_partitions: (transit.state != State::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: transit.updated_ms,
        transaction_start_timestamp_ms: transit.start_ms,
    };
    Record { value: Some(encode_versioned(&value, VALUE)), ..tombstone(id) }
}

/// A record of the log, read: a transactional id, and what is known of it, if anything. The inner `None` of the first is a
/// key of a later version, left over from an upgrade that was taken back.
pub(super) fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<(Str, Option<Transaction>)>, String> {
    let (version, body) = split_version(key).map_err(|error| format!("a key's version: {error}"))?;
    if version != KEY {
        return Ok(None);
    }
    let key = TransactionLogKey::decode(&body, version).map_err(|error| format!("a key: {error}"))?;
    let id = key.transactional_id;
    let Some(value) = value else { return Ok(Some((id, None))) };
    let (version, body) = split_version(value).map_err(|error| format!("a value's version: {error}"))?;
    if !(0..=VALUE_MAX).contains(&version) {
        return Err(format!("the value of {id} has version {version}"));
    }
    let value =
        TransactionLogValue::decode(&body, version).map_err(|error| format!("the value of {id}: {error}"))?;
    let state = State::from_number(value.transaction_status)
        .filter(|state| !matches!(state, State::Dead | State::PrepareEpochFence))
        .ok_or_else(|| format!("{id} is in state {}", value.transaction_status))?;
    if value.producer_id < 0 || value.producer_epoch < 0 {
        return Err(format!("{id} has producer id {}, epoch {}", value.producer_id, value.producer_epoch));
    }
    let partitions = value.transaction_partitions.unwrap_or_default().into_iter();
    let all = partitions.flat_map(|of| of.partition_ids.into_iter().map(move |n| (of.topic.clone(), n)));
    let transaction = Transaction {
        id: id.clone(),
        producer_id: value.producer_id,
        last_producer_id: NO_PRODUCER_ID,
        producer_epoch: value.producer_epoch,
        last_producer_epoch: NO_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: if state == State::Empty { Default::default() } else { all.collect() },
        start_ms: value.transaction_start_timestamp_ms,
        updated_ms: value.transaction_last_update_timestamp_ms,
        pending: None,
        fence_failed: false,
        completing: None,
    };
    Ok(Some((id, Some(transaction))))
}
