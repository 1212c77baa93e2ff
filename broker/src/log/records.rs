//! A look inside a batch: which of its records is the first with a timestamp.

use super::TimestampOffset;
use bytes::Bytes;
use wire::batch::{Batch, BatchError};

/// The first record of the batch with at least this timestamp, at offset `from` or above.
pub(crate) fn first_at(batch: &[u8], timestamp: i64, from: i64) -> Result<Option<TimestampOffset>, String> {
    find(batch, timestamp, from).map_err(|error| error.to_string())
}

fn find(batch: &[u8], timestamp: i64, from: i64) -> Result<Option<TimestampOffset>, BatchError> {
    let Some(batch) = Batch::split_from(&mut Bytes::copy_from_slice(batch))? else { return Ok(None) };
    for record in batch.records()? {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from {
            return Ok(Some(TimestampOffset { timestamp: record.timestamp, offset: record.offset }));
        }
    }
    Ok(None)
}
