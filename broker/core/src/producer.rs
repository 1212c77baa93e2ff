//! Idempotence: what a partition remembers of each producer id.
//!
//! The last five batches are kept, so that a repeated one is recognized and answered with its old offsets; the next
//! one must continue the sequence. Open transactions are followed too, because they bound what read_committed sees.

use crate::error::ErrorCode;
use crate::partition::{BatchMeta, Marker, Origin};
use std::collections::{BTreeMap, VecDeque};

/// Batches remembered per producer; clients keep at most as many in flight.
pub const BATCHES_KEPT: usize = 5;

const NO_EPOCH: i16 = -1;

/// Sequence numbers go from 0 to `i32::MAX` and then start again.
pub fn sequence_add(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

fn sequence_sub(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) - i64::from(delta)) & i64::from(i32::MAX)) as i32
}

/// What is remembered of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    /// Last offset − first offset.
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl CachedBatch {
    fn first_sequence(&self) -> i32 {
        sequence_sub(self.last_sequence, self.offset_delta)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    epoch: i16,
    batches: VecDeque<CachedBatch>,
    coordinator_epoch: i32,
    txn_first_offset: Option<i64>,
    last_timestamp: i64,
}

impl Entry {
    fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// One producer in a snapshot file, field for field; only the newest batch survives in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Not in the file: up to four batches before the newest, oldest first, as a replay of the log behind it found them.
    pub earlier: Vec<CachedBatch>,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 with no batch.
    pub last_sequence: i32,
    /// -1 with no batch.
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    /// -1: none.
    pub txn_first_offset: i64,
}

/// A transaction that a marker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The marker's offset.
    pub last_offset: i64,
    pub aborted: bool,
}

/// What is to be done with a producer's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is in the log already, there.
    Duplicate {
        base_offset: i64,
        last_offset: i64,
        timestamp: i64,
    },
}

/// A producer as DescribeProducers shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub txn_first_offset: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    entries: BTreeMap<i64, Entry>,
    /// First offset of each open transaction.
    open: BTreeMap<i64, i64>,
    /// First offset -> marker offset of transactions that ended above the high watermark.
    unreplicated: BTreeMap<i64, i64>,
}

impl Producers {
    /// From a snapshot file, and what was replayed behind it.
    pub fn import(snapshot: impl IntoIterator<Item = ProducerSnapshot>) -> Producers {
        let mut producers = Producers::default();
        for saved in snapshot {
            let batch = CachedBatch {
                last_sequence: saved.last_sequence,
                last_offset: saved.last_offset,
                offset_delta: saved.offset_delta,
                timestamp: saved.timestamp,
            };
            let txn_first_offset = (saved.txn_first_offset >= 0).then_some(saved.txn_first_offset);
            if let Some(first) = txn_first_offset {
                producers.open.insert(first, saved.producer_id);
            }
            let mut batches = VecDeque::from(saved.earlier);
            batches.extend((saved.last_offset >= 0).then_some(batch));
            producers.entries.insert(
                saved.producer_id,
                Entry {
                    epoch: saved.producer_epoch,
                    batches,
                    coordinator_epoch: saved.coordinator_epoch,
                    txn_first_offset,
                    last_timestamp: saved.timestamp,
                },
            );
        }
        producers
    }

    /// For a snapshot file, by producer id.
    pub fn export(&self) -> impl ExactSizeIterator<Item = ProducerSnapshot> + '_ {
        self.entries.iter().map(|(&producer_id, entry)| {
            let last = entry.batches.back();
            ProducerSnapshot {
                earlier: Vec::new(),
                producer_id,
                producer_epoch: entry.epoch,
                last_sequence: entry.last_sequence(),
                last_offset: last.map_or(-1, |batch| batch.last_offset),
                offset_delta: last.map_or(0, |batch| batch.offset_delta),
                timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                txn_first_offset: entry.txn_first_offset.unwrap_or(-1),
            }
        })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn active(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.export().map(|saved| ActiveProducer {
            producer_id: saved.producer_id,
            producer_epoch: i32::from(saved.producer_epoch),
            last_sequence: saved.last_sequence,
            last_timestamp: saved.timestamp,
            coordinator_epoch: saved.coordinator_epoch,
            txn_first_offset: saved.txn_first_offset,
        })
    }

    /// Whether a leader may append the batch. Errors: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
    /// INVALID_TXN_STATE, TRANSACTION_COORDINATOR_FENCED.
    pub fn check(&self, batch: &BatchMeta, origin: Origin) -> Result<Verdict, ErrorCode> {
        if batch.producer_id < 0 {
            return Ok(Verdict::Append);
        }
        let Some(entry) = self.entries.get(&batch.producer_id) else { return Ok(Verdict::Append) };
        if let Some(marker) = batch.marker {
            return check_marker(entry, batch, marker);
        }
        let last_sequence = sequence_add(batch.base_sequence, batch.last_offset_delta);
        if origin == Origin::Client && batch.producer_epoch == entry.epoch {
            let same = |b: &&CachedBatch| {
                b.last_sequence == last_sequence && b.first_sequence() == batch.base_sequence
            };
            if let Some(found) = entry.batches.iter().find(same) {
                return Ok(Verdict::Duplicate {
                    base_offset: found.last_offset - i64::from(found.offset_delta),
                    last_offset: found.last_offset,
                    timestamp: found.timestamp,
                });
            }
        }
        if batch.producer_epoch < entry.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if origin == Origin::Client && !follows(entry, batch) {
            return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        if entry.txn_first_offset.is_some() && !batch.transactional {
            return Err(ErrorCode::INVALID_TXN_STATE);
        }
        Ok(Verdict::Append)
    }

    /// Remembers a batch that is in the log now, whoever put it there.
    pub fn record(&mut self, batch: &BatchMeta) -> Option<CompletedTxn> {
        if batch.producer_id < 0 {
            return None;
        }
        let entry = self.entries.entry(batch.producer_id).or_insert_with(|| Entry {
            epoch: batch.producer_epoch,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            txn_first_offset: None,
            last_timestamp: batch.max_timestamp,
        });
        entry.set_epoch(batch.producer_epoch);
        entry.last_timestamp = batch.max_timestamp;
        if let Some(marker) = batch.marker {
            entry.coordinator_epoch = marker.coordinator_epoch;
            let first_offset = entry.txn_first_offset.take()?;
            self.open.remove(&first_offset);
            self.unreplicated.insert(first_offset, batch.last_offset());
            return Some(CompletedTxn {
                producer_id: batch.producer_id,
                first_offset,
                last_offset: batch.last_offset(),
                aborted: !marker.commit,
            });
        }
        if entry.batches.len() == BATCHES_KEPT {
            entry.batches.pop_front();
        }
        entry.batches.push_back(CachedBatch {
            last_sequence: sequence_add(batch.base_sequence, batch.last_offset_delta),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        if batch.transactional && entry.txn_first_offset.is_none() {
            entry.txn_first_offset = Some(batch.base_offset);
            self.open.insert(batch.base_offset, batch.producer_id);
        }
        None
    }

    /// Forgets producers without a batch for so long, unless a transaction is open. `now_ms` is wall time, as the
    /// batches' own timestamps are what it is compared with.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.entries.retain(|_, entry| {
            entry.txn_first_offset.is_some() || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    /// The first offset that an undecided or not yet replicated transaction keeps from read_committed.
    pub fn first_unstable(&self) -> Option<i64> {
        let open = self.open.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        open.into_iter().chain(unreplicated).min().copied()
    }

    /// The high watermark passed this: markers below it count now.
    pub fn high_watermark(&mut self, offset: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, &mut marker| marker >= offset);
        }
    }

    /// The log ends at `end` now. Says whether some producer's state cannot be told from what is kept here, so that
    /// it has to be read from the log again.
    pub fn truncate(&mut self, end: i64) -> bool {
        let mut lost = self.unreplicated.values().any(|&marker| marker >= end);
        self.unreplicated.retain(|_, &mut marker| marker < end);
        self.open.retain(|&first, _| first < end);
        self.entries.retain(|_, entry| {
            if entry.txn_first_offset.is_some_and(|first| first >= end) {
                entry.txn_first_offset = None;
            }
            let before = entry.batches.len();
            entry.batches.retain(|batch| batch.last_offset < end);
            // What a marker changed (the end of a transaction, epochs) cannot be undone from here.
            lost |= entry.coordinator_epoch >= 0;
            // Those before the five are in the log.
            lost |= before == BATCHES_KEPT && entry.batches.len() < before;
            if let Some(last) = entry.batches.back() {
                entry.last_timestamp = last.timestamp;
            } else if before > 0 {
                lost = true;
            }
            !entry.batches.is_empty() || before == 0
        });
        lost
    }

    /// These have been read from the log again; of the batches that `before` remembered, those stay that lead up to the
    /// newest one in the log, where the log's snapshot has fewer.
    pub fn with_batches_of(mut self, before: &Producers) -> Producers {
        for (id, entry) in &mut self.entries {
            let Some(old) = before.entries.get(id).filter(|old| old.epoch == entry.epoch) else { continue };
            if entry.batches.len() < old.batches.len() && old.batches.back() == entry.batches.back() {
                entry.batches.clone_from(&old.batches);
            }
        }
        self
    }

    pub fn clear(&mut self) {
        *self = Producers::default();
    }
}

fn check_marker(entry: &Entry, batch: &BatchMeta, marker: Marker) -> Result<Verdict, ErrorCode> {
    if batch.producer_epoch < entry.epoch {
        Err(ErrorCode::INVALID_PRODUCER_EPOCH)
    } else if marker.coordinator_epoch < entry.coordinator_epoch {
        Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED)
    } else {
        Ok(Verdict::Append)
    }
}

fn follows(entry: &Entry, batch: &BatchMeta) -> bool {
    if batch.producer_epoch != entry.epoch {
        return batch.base_sequence == 0 || entry.epoch == NO_EPOCH;
    }
    let last = entry.last_sequence();
    i64::from(batch.base_sequence) == i64::from(last) + 1 || (batch.base_sequence == 0 && last == i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> BatchMeta {
        BatchMeta {
            base_offset,
            last_offset_delta: count - 1,
            leader_epoch: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            max_timestamp: 1000 + base_offset,
            size: 100,
            transactional: false,
            marker: None,
        }
    }

    fn with(batches: &[BatchMeta]) -> Producers {
        let mut producers = Producers::default();
        batches.iter().for_each(|b| {
            producers.record(b);
        });
        producers
    }

    fn check(producers: &Producers, epoch: i16, sequence: i32, count: i32) -> Result<Verdict, ErrorCode> {
        producers.check(&batch(epoch, sequence, count, 0), Origin::Client)
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(check(&Producers::default(), 3, 4711, 2), Ok(Verdict::Append));
    }

    #[test]
    fn the_sequence_must_go_on_without_a_gap() {
        let p = with(&[batch(0, 0, 10, 0)]);
        assert_eq!(check(&p, 0, 10, 1), Ok(Verdict::Append));
        assert_eq!(check(&p, 0, 11, 1), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(check(&p, 0, 5, 1), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    }

    #[test]
    fn the_last_five_batches_are_duplicates_and_older_ones_out_of_order() {
        let p = with(&(0..6).map(|i| batch(0, i * 2, 2, i64::from(i) * 2)).collect::<Vec<_>>());
        assert_eq!(check(&p, 0, 0, 2), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(
            check(&p, 0, 2, 2),
            Ok(Verdict::Duplicate { base_offset: 2, last_offset: 3, timestamp: 1002 })
        );
        assert_eq!(check(&p, 0, 2, 1), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER), "half of a batch");
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
        let p = with(&[batch(1, 0, 1, 0)]);
        assert_eq!(check(&p, 2, 0, 1), Ok(Verdict::Append));
        assert_eq!(check(&p, 2, 1, 1), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(check(&p, 0, 0, 1), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    }

    #[test]
    fn sequences_wrap_around_between_and_inside_batches() {
        let p = with(&[batch(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(check(&p, 0, 0, 5), Ok(Verdict::Append));
        let p = with(&[batch(0, i32::MAX, 3, 0)]);
        assert_eq!(check(&p, 0, 2, 1), Ok(Verdict::Append), "MAX, 0, 1 were used");
        assert_eq!(
            check(&p, 0, i32::MAX, 3),
            Ok(Verdict::Duplicate { base_offset: 0, last_offset: 2, timestamp: 1000 })
        );
    }

    #[test]
    fn a_snapshot_keeps_the_newest_batch_only() {
        let p = with(&[batch(0, 0, 2, 0), batch(0, 2, 3, 2)]);
        let q = Producers::import(p.export());
        assert!(matches!(check(&q, 0, 2, 3), Ok(Verdict::Duplicate { base_offset: 2, .. })));
        assert_eq!(check(&q, 0, 0, 2), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(check(&q, 0, 5, 1), Ok(Verdict::Append));
        assert_eq!(q.export().collect::<Vec<_>>(), p.export().collect::<Vec<_>>());
    }

    #[test]
    fn batches_that_were_replayed_behind_a_snapshot_are_remembered() {
        let p = with(&(0..5).map(|i| batch(0, i * 2, 2, i64::from(i) * 2)).collect::<Vec<_>>());
        let mut saved: Vec<ProducerSnapshot> = p.export().collect();
        saved[0].earlier = p.entries[&7].batches.iter().take(4).copied().collect();
        assert_eq!(Producers::import(saved), p);
    }

    #[test]
    fn a_truncation_of_one_of_five_batches_asks_for_those_before_them() {
        let all: Vec<BatchMeta> = (0..7).map(|i| batch(0, i * 2, 2, i64::from(i) * 2)).collect();
        let mut p = with(&all);
        assert!(p.truncate(12));
        let again = with(&all[..6]).with_batches_of(&p);
        assert!(matches!(check(&again, 0, 2, 2), Ok(Verdict::Duplicate { base_offset: 2, .. })));
        assert!(!with(&all[..4]).truncate(6), "all that there ever was is remembered");
    }

    #[test]
    fn expiry_forgets_by_the_batch_timestamp() {
        let mut p = with(&[batch(0, 0, 1, 0)]);
        p.expire(1999, 1000);
        assert_eq!(p.len(), 1);
        p.expire(2000, 1000);
        assert!(p.is_empty());
    }

    #[test]
    fn truncation_steps_back_and_tells_when_it_cannot() {
        let mut p = with(&[batch(0, 0, 2, 0), batch(0, 2, 2, 2)]);
        assert!(!p.truncate(2));
        assert_eq!(check(&p, 0, 2, 7), Ok(Verdict::Append));
        assert!(p.truncate(0));
    }

    #[test]
    fn an_open_transaction_bounds_what_is_stable_until_its_marker_is_replicated() {
        let mut p = Producers::default();
        p.record(&BatchMeta { transactional: true, ..batch(0, 0, 2, 10) });
        assert_eq!(p.first_unstable(), Some(10));
        assert_eq!(check(&p, 0, 2, 1), Err(ErrorCode::INVALID_TXN_STATE));
        let marker = BatchMeta {
            transactional: true,
            marker: Some(Marker { coordinator_epoch: 1, commit: false }),
            ..batch(0, -1, 1, 12)
        };
        let done = CompletedTxn { producer_id: 7, first_offset: 10, last_offset: 12, aborted: true };
        assert_eq!(p.record(&marker), Some(done));
        assert_eq!(p.first_unstable(), Some(10));
        p.high_watermark(13);
        assert_eq!(p.first_unstable(), None);
    }
    fn marker(epoch: i16, coordinator_epoch: i32, base_offset: i64) -> BatchMeta {
        BatchMeta {
            transactional: true,
            marker: Some(Marker { coordinator_epoch, commit: true }),
            ..batch(epoch, -1, 1, base_offset)
        }
    }

    #[test]
    fn markers_of_an_earlier_coordinator_or_producer_are_refused_and_those_of_a_later_one_shut_the_earlier_out()
     {
        let p = with(&[BatchMeta { transactional: true, ..batch(3, 0, 2, 0) }, marker(4, 6, 2)]);
        let check = |batch: BatchMeta| p.check(&batch, Origin::Coordinator);
        assert_eq!(check(marker(4, 5, 3)), Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED));
        assert_eq!(check(marker(3, 6, 3)), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
        assert_eq!(check(marker(4, 6, 3)), Ok(Verdict::Append));
        assert_eq!(super::tests::check(&p, 3, 2, 1), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
        assert_eq!(super::tests::check(&p, 4, 0, 1), Ok(Verdict::Append));
    }

    #[test]
    fn a_truncation_below_a_marker_needs_the_log_and_keeps_what_led_up_to_the_batch_it_finds_there() {
        let data = [batch(0, 0, 2, 0), batch(0, 2, 2, 2)].map(|b| BatchMeta { transactional: true, ..b });
        let mut p = with(&[data[0], data[1], marker(0, 1, 4)]);
        p.high_watermark(5);
        assert!(p.truncate(4), "the transaction is open again");
        let again = Producers::import(with(&data).export()).with_batches_of(&p);
        assert_eq!(again.first_unstable(), Some(0));
        assert!(matches!(check(&again, 0, 0, 2), Ok(Verdict::Duplicate { base_offset: 0, .. })));
    }
}
