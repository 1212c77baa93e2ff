//! Control batches: the markers that end a transaction on a partition.
//!
//! One record; key: version `i16` 0, type `i16` (0 abort, 1 commit); value: version `i16` 0, coordinator epoch `i32`.

use super::{Batch, BatchBuilder, BatchError};
use bytes::Bytes;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

/// The contents of a control batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransaction {
    pub marker: Marker,
    pub coordinator_epoch: i32,
}

impl EndTransaction {
    /// The batch of 78 bytes that a leader appends.
    pub fn to_batch(self, producer_id: i64, producer_epoch: i16, leader_epoch: i32, timestamp: i64) -> Bytes {
        let key = [0, 0, 0, self.marker as u8];
        let epoch = self.coordinator_epoch.to_be_bytes();
        let value = [0, 0, epoch[0], epoch[1], epoch[2], epoch[3]];
        let mut batch = BatchBuilder::new()
            .producer(producer_id, producer_epoch, -1)
            .leader_epoch(leader_epoch)
            .transactional(true)
            .control(true);
        batch.push(timestamp, Some(&key), Some(&value), &[]);
        batch.finish().expect("nothing is compressed")
    }

    /// Reads a control batch; `None` for a control type that is not a marker.
    pub fn from_batch(batch: &Batch) -> Result<Option<EndTransaction>, BatchError> {
        let malformed = |why| BatchError::Record { index: 0, why };
        let mut records = batch.records()?;
        let record = records.next_raw().ok_or(BatchError::Count { announced: 0 })??;
        let Some([_, _, kind @ ..]) = record.key.and_then(|key| key.first_chunk::<4>()) else {
            return Err(malformed("its key is not a control type"));
        };
        let marker = match i16::from_be_bytes(*kind) {
            0 => Marker::Abort,
            1 => Marker::Commit,
            _ => return Ok(None),
        };
        let Some([_, _, epoch @ ..]) = record.value.and_then(|value| value.first_chunk::<6>()) else {
            return Err(malformed("its value has no coordinator epoch"));
        };
        Ok(Some(EndTransaction { marker, coordinator_epoch: i32::from_be_bytes(*epoch) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_78_bytes_and_reads_back() {
        let end = EndTransaction { marker: Marker::Commit, coordinator_epoch: 7 };
        let mut bytes = end.to_batch(2001, 3, 0, 1_700_000_000_000);
        assert_eq!(bytes.len(), 78);
        let batch = Batch::split_from(&mut bytes).unwrap().unwrap();
        assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional());
        assert_eq!((batch.header().producer_id, batch.header().base_sequence), (2001, -1));
        assert_eq!(EndTransaction::from_batch(&batch), Ok(Some(end)));
    }
}
