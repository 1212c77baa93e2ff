//! A look inside a batch: which of its records is the first with a timestamp.

use super::TimestampOffset;
use bytes::Bytes;
use wire::batch::BatchError;
use wire::batch::compression::DEFAULT_LIMIT;
use wire::batch::message_set::Entry;

/// The first record of the batch with at least this timestamp, at offset `from` or above.
pub(crate) fn first_at(batch: &[u8], timestamp: i64, from: i64) -> Result<Option<TimestampOffset>, String> {
    find(batch, timestamp, from).map_err(|error| error.to_string())
}

fn find(batch: &[u8], timestamp: i64, from: i64) -> Result<Option<TimestampOffset>, BatchError> {
    let batch = match Entry::split_from(&mut Bytes::copy_from_slice(batch))? {
        None => return Ok(None),
        Some(Entry::Batch(batch)) => batch,
        Some(Entry::Message(message)) => {
            let all = message.inner(DEFAULT_LIMIT)?;
            let first = all.iter().find(|inner| inner.timestamp >= timestamp && inner.offset >= from);
            return Ok(
                first.map(|inner| TimestampOffset { timestamp: inner.timestamp, offset: inner.offset })
            );
        }
    };
    for record in batch.records()? {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from {
            return Ok(Some(TimestampOffset { timestamp: record.timestamp, offset: record.offset }));
        }
    }
    Ok(None)
}
