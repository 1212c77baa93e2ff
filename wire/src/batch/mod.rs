//! Record batches (format v2), as they are on the wire and in the log: checked and rewritten in place.
//!
//! * [`Header`]: the 61 bytes before the records; rewriting in place.
//! * [`Batch`]: one batch as a slice; [`Batches`]: all of a buffer.
//! * [`record`]: iteration of records; [`BatchBuilder`]: writing of batches; [`control`]: transaction markers.
//! * [`compression`]: the codecs, with Java's framing.
//! * [`produce`]: what a leader checks before it appends.
//!
//! * [`message_set`]: formats v0 and v1, for old producers, old consumers and old segments; [`down`]: from batches to them.
//!
//! A [`Batch`] is of format v2: reading one where a message stands gives [`BatchError::OldFormat`].

pub mod builder;
pub mod compression;
pub mod control;
pub mod down;
pub mod header;
pub mod message_set;
pub mod produce;
pub mod record;
mod up;

pub use builder::BatchBuilder;
pub use compression::Compression;
pub use header::{Attributes, HEADER_SIZE, Header};
pub use record::{RawRecord, Record, RecordHeader, Records};

use crate::kafka::ErrorCode;
use bytes::{Bytes, BytesMut};

/// Why bytes are not the batch that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the buffer ends inside a batch")]
    Truncated,
    #[error("a batch of {size} bytes is too small to be one")]
    Size { size: usize },
    #[error("message format {magic} is not supported: only record batches (format 2) are")]
    OldFormat { magic: u8 },
    #[error("unknown message format {magic}")]
    Magic { magic: u8 },
    #[error("the batch has checksum {stored}, its bytes {computed}")]
    Crc { stored: u32, computed: u32 },
    #[error("unknown compression codec {id}")]
    Codec { id: u8 },
    #[error("{codec} data that does not decompress: {why}")]
    Decompress { codec: &'static str, why: String },
    #[error("{codec} data of more than {limit} bytes when decompressed")]
    TooLarge { codec: &'static str, limit: usize },
    #[error("record {index} of the batch is malformed: {why}")]
    Record { index: i32, why: &'static str },
    #[error("the batch announces {announced} records")]
    Count { announced: i32 },
    #[error("a message is malformed: {why}")]
    Message { why: &'static str },
    #[error("a compressed message set is malformed: {why}")]
    Wrapper { why: &'static str },
    #[error("records compressed by zstd have no form in old message formats")]
    NoOldForm,
    #[error("{left} bytes follow the last record")]
    Trailing { left: usize },
}

impl BatchError {
    /// What a broker answers to a produce request with such a batch.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::Crc { .. } | BatchError::Size { .. } | BatchError::Magic { .. } => {
                ErrorCode::CORRUPT_MESSAGE
            }
            BatchError::Codec { .. }
            | BatchError::Decompress { .. }
            | BatchError::TooLarge { .. }
            | BatchError::Message { .. } => ErrorCode::UNKNOWN_SERVER_ERROR,
            BatchError::NoOldForm => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            BatchError::Truncated
            | BatchError::Wrapper { .. }
            | BatchError::Record { .. }
            | BatchError::Count { .. }
            | BatchError::Trailing { .. } => ErrorCode::INVALID_RECORD,
            BatchError::OldFormat { .. } => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
        }
    }
}

/// One whole batch: its header, and its bytes as a slice of the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
}

impl Batch {
    /// Takes the batch that `bytes` starts with; `None` if `bytes` end inside it (or are empty). The checksum is not
    /// looked at.
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
        match Header::size_of_next(bytes)? {
            Some(size) if size <= bytes.len() => {
                let header = Header::read(bytes)?;
                Ok(Some(Batch { header, bytes: bytes.split_to(size) }))
            }
            _ => Ok(None),
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What follows the header, compressed or not.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_SIZE..)
    }

    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[header::CHECKED_AT..]);
        match computed == self.header.crc {
            true => Ok(()),
            false => Err(BatchError::Crc { stored: self.header.crc, computed }),
        }
    }

    /// Sets what a leader sets: base offset and leader epoch; max timestamp and timestamp type, where they differ. Works
    /// in place if no one else holds the buffer, else on a copy.
    pub fn assign(&mut self, base_offset: i64, leader_epoch: i32, max_timestamp: i64, log_append_time: bool) {
        let mut bytes = std::mem::take(&mut self.bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        header::set_base_offset(&mut bytes, base_offset);
        header::set_leader_epoch(&mut bytes, leader_epoch);
        header::set_max_timestamp(&mut bytes, max_timestamp, log_append_time);
        self.header = Header::read(&bytes).expect("the size and magic are as they were");
        self.bytes = bytes.freeze();
    }

    /// The records, decompressed if need be.
    pub fn records(&self) -> Result<Records, BatchError> {
        self.records_within(compression::DEFAULT_LIMIT)
    }

    /// As [`Batch::records`]; refuses records of more than `limit` bytes when decompressed.
    pub fn records_within(&self, limit: usize) -> Result<Records, BatchError> {
        let payload = self.header.attributes.compression()?.decompress(self.payload(), limit)?;
        Ok(Records::new(self.header, payload))
    }
}

/// The whole batches of a buffer, as a fetch response or a log segment has them. Ends at a batch that is cut off, or
/// after an error.
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
}

impl Batches {
    pub fn new(bytes: Bytes) -> Batches {
        Batches { bytes }
    }

    /// What has not been returned yet; at the end, the batch that is cut off.
    pub fn remaining(&self) -> &Bytes {
        &self.bytes
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Result<Batch, BatchError>> {
        let next = Batch::split_from(&mut self.bytes).transpose();
        if matches!(next, Some(Err(_))) {
            self.bytes.clear();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder.push(1000, None, Some(value.as_bytes()), &[]);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_buffer_gives_its_whole_batches_and_keeps_the_one_cut_off() {
        let (one, two) = (batch(&["a", "b"]), batch(&["c"]));
        let mut both = BytesMut::from(&one[..]);
        both.extend_from_slice(&two[..two.len() - 1]);
        let mut batches = Batches::new(both.freeze());
        assert_eq!(batches.next().unwrap().unwrap().into_bytes(), one);
        assert!(batches.next().is_none());
        assert_eq!(batches.remaining().len(), two.len() - 1);
    }

    #[test]
    fn assigned_offsets_need_no_new_checksum_and_append_time_gets_one() {
        let mut batch = Batch::split_from(&mut batch(&["a", "b"])).unwrap().unwrap();
        let crc = batch.header().crc;
        batch.assign(70, 5, 1000, false);
        batch.check_crc().unwrap();
        assert_eq!((batch.header().base_offset, batch.header().leader_epoch), (70, 5));
        assert_eq!((batch.header().next_offset(), batch.header().crc), (72, crc));
        batch.assign(70, 5, 2000, true);
        batch.check_crc().unwrap();
        assert!(batch.header().attributes.is_log_append_time());
        let timestamps: Vec<i64> = batch.records().unwrap().map(|r| r.unwrap().timestamp).collect();
        assert_eq!(timestamps, [2000, 2000]);
    }

    #[test]
    fn a_flipped_bit_fails_the_checksum() {
        let mut bytes = BytesMut::from(&batch(&["a"])[..]);
        *bytes.last_mut().unwrap() ^= 1;
        let batch = Batch::split_from(&mut bytes.freeze()).unwrap().unwrap();
        assert!(matches!(batch.check_crc(), Err(BatchError::Crc { .. })));
    }
}
