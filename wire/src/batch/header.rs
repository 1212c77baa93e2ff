//! The 61 bytes before a batch's records.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | base offset |
//! | 8 | 4 | length of what follows |
//! | 12 | 4 | partition leader epoch |
//! | 16 | 1 | magic: 2 |
//! | 17 | 4 | CRC-32C of everything from byte 21 to the end |
//! | 21 | 2 | attributes: [`Attributes`] |
//! | 23 | 4 | last offset delta |
//! | 27, 35 | 8, 8 | base timestamp, max timestamp (ms) |
//! | 43, 51, 53 | 8, 2, 4 | producer id, producer epoch, base sequence |
//! | 57 | 4 | record count |
//!
//! Base offset and leader epoch stand before the checksummed part: a leader sets them without touching the rest.

use super::{BatchError, Compression};

/// Bytes before the length field ends: what every batch and message set of any age starts with.
pub const LOG_OVERHEAD: usize = 12;
/// Size of a v2 batch without records.
pub const HEADER_SIZE: usize = 61;
/// Where the magic byte stands, in every format.
pub const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// Where the checksummed part starts.
pub const CHECKED_AT: usize = 21;
/// Smallest message of format 0, without [`LOG_OVERHEAD`].
const RECORD_OVERHEAD_V0: i32 = 14;

/// No producer id, epoch or sequence; no timestamp.
pub const NONE: i64 = -1;

/// Bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    pub const DELETE_HORIZON: i16 = 1 << 6;

    pub fn compression(self) -> Result<Compression, BatchError> {
        Compression::from_id((self.0 & 7) as u8).ok_or(BatchError::Codec { id: (self.0 & 7) as u8 })
    }
    /// All records count as written at the batch's max timestamp.
    pub fn is_log_append_time(self) -> bool {
        self.has(Attributes::LOG_APPEND_TIME)
    }
    pub fn is_transactional(self) -> bool {
        self.has(Attributes::TRANSACTIONAL)
    }
    pub fn is_control(self) -> bool {
        self.has(Attributes::CONTROL)
    }
    /// The base timestamp is the time after which the batch's tombstones may go.
    pub fn has_delete_horizon(self) -> bool {
        self.has(Attributes::DELETE_HORIZON)
    }

    fn has(self, bit: i16) -> bool {
        self.0 & bit != 0
    }
    pub fn with(self, bit: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// A batch's header as plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    /// Bytes after this field; [`Header::size`] is the whole batch.
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// As announced; only an iteration tells whether it is true.
    pub record_count: i32,
}

impl Header {
    /// Reads a header from the first [`HEADER_SIZE`] bytes: no need to have the records.
    pub fn read(bytes: &[u8]) -> Result<Header, BatchError> {
        let size = Header::size_of_next(bytes)?.ok_or(BatchError::Truncated)?;
        if bytes[MAGIC_AT] < 2 {
            return Err(BatchError::OldFormat { magic: bytes[MAGIC_AT] });
        }
        if bytes[MAGIC_AT] > 2 {
            return Err(BatchError::Magic { magic: bytes[MAGIC_AT] });
        }
        if size < HEADER_SIZE {
            return Err(BatchError::Size { size });
        }
        let bytes = bytes.first_chunk::<HEADER_SIZE>().ok_or(BatchError::Truncated)?;
        Ok(Header {
            base_offset: i64::from_be_bytes(part(bytes, 0)),
            batch_length: i32::from_be_bytes(part(bytes, 8)),
            leader_epoch: i32::from_be_bytes(part(bytes, 12)),
            crc: u32::from_be_bytes(part(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(part(bytes, CHECKED_AT))),
            last_offset_delta: i32::from_be_bytes(part(bytes, 23)),
            base_timestamp: i64::from_be_bytes(part(bytes, 27)),
            max_timestamp: i64::from_be_bytes(part(bytes, 35)),
            producer_id: i64::from_be_bytes(part(bytes, 43)),
            producer_epoch: i16::from_be_bytes(part(bytes, 51)),
            base_sequence: i32::from_be_bytes(part(bytes, 53)),
            record_count: i32::from_be_bytes(part(bytes, 57)),
        })
    }

    /// The size of the batch or old message set that starts here; `None` if fewer bytes are there than its magic byte
    /// needs. The size may be more than what is there.
    pub fn size_of_next(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
        if bytes.len() <= MAGIC_AT {
            return Ok(None);
        }
        let length = i32::from_be_bytes(part(bytes, 8));
        if length < RECORD_OVERHEAD_V0 {
            return Err(BatchError::Size { size: (i64::from(length) + 12).max(0) as usize });
        }
        Ok(Some(LOG_OVERHEAD + length as usize))
    }

    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut to = [0; HEADER_SIZE];
        to[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        to[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        to[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        to[MAGIC_AT] = 2;
        to[CRC_AT..21].copy_from_slice(&self.crc.to_be_bytes());
        to[CHECKED_AT..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        to[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        to[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        to[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        to[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        to[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        to[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        to[57..].copy_from_slice(&self.record_count.to_be_bytes());
        to
    }

    /// The checksum that this header has before `records` (as they are stored, compressed or not).
    pub fn crc_with(&self, records: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.encode()[CHECKED_AT..]), records)
    }

    /// Whole size of the batch in bytes.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + self.batch_length as usize
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id > NONE
    }

    /// Sequence of the last record: after 2147483647 comes 0. -1 without a base sequence.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            -1 => -1,
            base => ((i64::from(base) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX)) as i32,
        }
    }
}

/// Rewrites the base offset of the batch that starts `batch`; the checksum does not cover it.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    batch[..8].copy_from_slice(&offset.to_be_bytes());
}

/// Rewrites the partition leader epoch; the checksum does not cover it.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
}

/// Rewrites max timestamp and timestamp type, and the checksum if either changed. `batch` has to be one whole batch.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64, log_append_time: bool) {
    let old = Attributes(i16::from_be_bytes(part(batch, CHECKED_AT)));
    let new = old.with(Attributes::LOG_APPEND_TIME, log_append_time);
    if old == new && i64::from_be_bytes(part(batch, 35)) == max_timestamp {
        return;
    }
    batch[CHECKED_AT..23].copy_from_slice(&new.0.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CHECKED_AT..]);
    batch[CRC_AT..21].copy_from_slice(&crc.to_be_bytes());
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller checked the size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_after_the_largest_is_0() {
        let mut header = Header::read(&crate::batch::BatchBuilder::new().finish().unwrap()).unwrap();
        header.base_sequence = i32::MAX - 1;
        header.last_offset_delta = 2;
        assert_eq!(header.last_sequence(), 0);
        header.base_sequence = -1;
        assert_eq!(header.last_sequence(), -1);
    }

    #[test]
    fn an_old_message_set_is_named_and_a_tiny_size_refused() {
        let mut old = [0; 61];
        old[11] = 49;
        old[MAGIC_AT] = 1;
        assert_eq!(Header::read(&old), Err(BatchError::OldFormat { magic: 1 }));
        old[11] = 13;
        assert_eq!(Header::read(&old), Err(BatchError::Size { size: 25 }));
        old[11] = 48;
        old[MAGIC_AT] = 2;
        assert_eq!(Header::read(&old), Err(BatchError::Size { size: 60 }));
        assert_eq!(Header::read(&old[..16]), Err(BatchError::Truncated));
    }
}
