//! What a coordinator reads back from the log of its partition: record batches, and the message sets that a log begins with
//! where a broker older than 0.11 began it.

use bytes::Bytes;
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::message_set::Entry;

/// What one wrapper of a message set may take, decompressed.
const DECOMPRESSED_MAX: usize = 256 << 20;

/// A record of the log, as far as a coordinator looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub offset: i64,
    pub key: Option<Bytes>,
    /// `None` deletes the key.
    pub value: Option<Bytes>,
}

/// A batch, or a message with what is inside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A transaction of this producer ends here; `None`: a control record of a kind that is not known.
    End { producer_id: i64, commit: Option<bool> },
    Records {
        /// Whose transaction it belongs to.
        producer: Option<i64>,
        records: Vec<Record>,
    },
}

/// Errors: why it cannot be read, for a log of our own.
pub(crate) fn read(entry: &Entry) -> Result<Contents, String> {
    let batch = match entry {
        Entry::Batch(batch) => batch,
        Entry::Message(message) => {
            let inner = message.inner(DECOMPRESSED_MAX).map_err(|error| error.to_string())?;
            let record = |one: wire::batch::message_set::Inner| {
                let (key, value) = (one.message.key()?, one.message.value()?);
                Ok(Record { offset: one.offset, key, value })
            };
            let records: Result<Vec<Record>, wire::batch::BatchError> =
                inner.into_iter().map(record).collect();
            let records = records.map_err(|error| error.to_string())?;
            return Ok(Contents::Records { producer: None, records });
        }
    };
    let header = batch.header();
    if header.attributes.is_control() {
        let end = EndTransaction::from_batch(batch).map_err(|error| error.to_string())?;
        let commit = end.map(|end| end.marker == Marker::Commit);
        return Ok(Contents::End { producer_id: header.producer_id, commit });
    }
    let mut records = Vec::new();
    for record in batch.records().map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        records.push(Record { offset: record.offset, key: record.key, value: record.value });
    }
    let producer = header.attributes.is_transactional().then_some(header.producer_id);
    Ok(Contents::Records { producer, records })
}

/// Hands keys and values to `take`, and goes on behind a record that it does not understand. Errors: the last of those.
pub(crate) fn take_each(
    records: Vec<Record>,
    mut take: impl FnMut(&Bytes, Option<&Bytes>) -> Result<(), String>,
) -> Result<(), String> {
    let mut problem = Ok(());
    for Record { offset, key, value } in records {
        let taken = match &key {
            Some(key) => take(key, value.as_ref()),
            None => Err("a record without a key".to_owned()),
        };
        problem = taken.map_err(|why| format!("offset {offset}: {why}")).and(problem);
    }
    problem
}

/// What is said of an entry that could not be read, or not wholly.
pub(crate) fn complaint(topic: &str, partition: i32, entry: &Entry, why: &str) -> String {
    let at = match entry {
        Entry::Batch(batch) => batch.header().base_offset,
        Entry::Message(message) => message.offset(),
    };
    format!("{topic}-{partition}: the batch at offset {at}: {why}")
}
