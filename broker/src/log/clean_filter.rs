//! What compaction keeps of a batch.
//!
//! A record stays if no later one has its key. A tombstone, or the marker of a transaction of which nothing is left, stays
//! until the batch's delete horizon, which the first cleaning that meets it writes into the batch (attribute bit 6, the
//! base timestamp becomes the horizon). Records of aborted transactions go. The last batch of a producer that is still
//! known stays, empty if need be, for its epoch and sequence. Offsets never change.

use super::AbortedTxn;
use super::cleaner::LastRecord;
use super::header::Header;
use super::key_map::KeyMap;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::{self, Attributes, Batch, BatchBuilder, BatchError, Compression};

/// Follows transactions through the batches, in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Transactions<'a> {
    /// Not begun yet; by first offset.
    waiting: &'a [AbortedTxn],
    /// By producer; true once one of its batches was seen.
    aborted: BTreeMap<i64, (AbortedTxn, bool)>,
    /// Producers of whose transaction, which is committed in the end, a batch was seen.
    committed: BTreeSet<i64>,
}

impl<'a> Transactions<'a> {
    /// `aborted` is sorted by first offset.
    pub fn new(aborted: &'a [AbortedTxn]) -> Self {
        Self { waiting: aborted, aborted: BTreeMap::new(), committed: BTreeSet::new() }
    }

    fn advance(&mut self, offset: i64) {
        while let Some((first, rest)) = self.waiting.split_first()
            && first.first_offset <= offset
        {
            self.aborted.entry(first.producer_id).or_insert((*first, false));
            self.waiting = rest;
        }
    }

    /// A batch of data; true where it belongs to an aborted transaction.
    pub fn batch(&mut self, header: &Header) -> bool {
        self.advance(header.last_offset);
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, seen)) => {
                *seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch: whether nothing of its transaction is left, and the entry of the transaction index where something
    /// is and it was aborted.
    pub fn control(&mut self, header: &Header, marker: Control) -> (bool, Option<AbortedTxn>) {
        self.advance(header.last_offset);
        match marker {
            Control::Empty => (true, None),
            Control::Other => (false, None),
            Control::End(Marker::Commit) => (!self.committed.remove(&header.producer_id), None),
            Control::End(Marker::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((txn, true)) => (false, Some(txn)),
                _ => (true, None),
            },
        }
    }
}

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    End(Marker),
    /// Not about transactions.
    Other,
    /// An earlier cleaning emptied it.
    Empty,
}

impl Control {
    pub fn of(batch: &Batch) -> Result<Self, BatchError> {
        if batch.header().record_count == 0 {
            return Ok(Self::Empty);
        }
        Ok(EndTransaction::from_batch(batch)?.map_or(Self::Other, |end| Self::End(end.marker)))
    }
}

/// A batch's fate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    /// As it is.
    Whole,
    /// Another batch in its place.
    Rewritten(Bytes),
}

/// One cleaning's rules.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    pub map: &'a KeyMap,
    pub producers: &'a BTreeMap<i64, LastRecord>,
    pub now: i64,
    pub delete_retention_ms: i64,
    pub transactions: Transactions<'a>,
    /// Records seen and kept.
    pub seen: u64,
    pub kept: u64,
    /// Records without a key, which have no place in a compacted log.
    pub keyless: u64,
}

impl Filter<'_> {
    /// Decides about the next batch. The transaction index's entry comes with the marker that has to be kept.
    pub fn batch(
        &mut self,
        header: &Header,
        batch: &Batch,
    ) -> Result<(Kept, Option<AbortedTxn>), BatchError> {
        let control = header.attributes.is_control();
        let horizon = header.attributes.has_delete_horizon().then_some(batch.header().base_timestamp);
        let (unneeded, entry) = if control {
            self.transactions.control(header, Control::of(batch)?)
        } else {
            (self.transactions.batch(header), None)
        };
        let discard = unneeded && (!control || horizon.is_some_and(|horizon| horizon <= self.now));
        let for_producer = self.is_last_of_producer(header);
        if discard && !for_producer {
            self.seen += batch.header().record_count.max(0) as u64;
            return Ok((Kept::Nothing, entry));
        }
        let expired = horizon.is_some_and(|horizon| horizon <= self.now);
        let mut retained = Vec::with_capacity(batch.header().record_count.clamp(0, 1 << 16) as usize);
        let mut tombstones = false;
        let mut records = batch.records()?;
        while let Some(record) = records.next_raw() {
            let record = record?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let keep =
                !discard && (control || self.keeps(offset, record.key, record.value.is_some(), expired));
            tombstones |= keep && record.value.is_none();
            retained.push(keep);
        }
        let count = retained.iter().filter(|keep| **keep).count();
        self.seen += retained.len() as u64;
        self.kept += count as u64;
        if count == 0 {
            let kept = if for_producer { Kept::Rewritten(emptied(batch.header())) } else { Kept::Nothing };
            return Ok((kept, entry));
        }
        let needs_horizon = horizon.is_none() && (tombstones || control && unneeded);
        if count == retained.len() && !needs_horizon {
            return Ok((Kept::Whole, entry));
        }
        let new = needs_horizon.then(|| self.now.saturating_add(self.delete_retention_ms));
        Ok((Kept::Rewritten(rewritten(batch, &retained, new)?), entry))
    }

    fn keeps(&mut self, offset: i64, key: Option<&[u8]>, has_value: bool, expired: bool) -> bool {
        if offset > self.map.latest() {
            return true;
        }
        let Some(key) = key else {
            self.keyless += 1;
            return false;
        };
        offset >= self.map.get(key) && (has_value || !expired)
    }

    fn is_last_of_producer(&self, header: &Header) -> bool {
        if !header.has_producer() {
            return false;
        }
        self.producers.get(&header.producer_id).is_some_and(|last| match last {
            LastRecord::Data { offset } => header.last_offset == *offset,
            LastRecord::Marker { epoch } => header.attributes.is_control() && header.producer_epoch == *epoch,
        })
    }
}

/// The batch without its records.
fn emptied(header: &batch::Header) -> Bytes {
    let kept = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;
    let mut header = batch::Header {
        attributes: Attributes(header.attributes.0 & kept),
        batch_length: (batch::HEADER_SIZE - batch::header::LOG_OVERHEAD) as i32,
        base_timestamp: -1,
        record_count: 0,
        ..*header
    };
    header.crc = header.crc_with(&[]);
    Bytes::copy_from_slice(&header.encode())
}

/// The batch with the records that are kept, and a delete horizon if it gets one now.
fn rewritten(batch: &Batch, retained: &[bool], horizon: Option<i64>) -> Result<Bytes, BatchError> {
    let header = batch.header();
    let mut like = *header;
    if let Some(horizon) = horizon {
        like.attributes = like.attributes.with(Attributes::DELETE_HORIZON, true);
        like.base_timestamp = horizon;
    }
    let mut builder = BatchBuilder::like(&like);
    let append_time = header.attributes.is_log_append_time();
    if append_time {
        builder = builder.log_append_time(header.max_timestamp);
    }
    let mut records = batch.records()?;
    let mut keep = retained.iter();
    while let Some(record) = records.next_raw() {
        let record = record?;
        if keep.next() != Some(&true) {
            continue;
        }
        let timestamp = match append_time {
            true => header.max_timestamp,
            false => header.base_timestamp.wrapping_add(record.timestamp_delta),
        };
        builder.push_raw(record.offset_delta, timestamp, &record);
    }
    let codec = header.attributes.compression().unwrap_or(Compression::None).name();
    let built = builder.last_offset_delta(header.last_offset_delta).finish();
    built.map_err(|error| BatchError::Decompress { codec, why: error.to_string() })
}
