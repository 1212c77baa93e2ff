//! Messages of formats v0 and v1: what was on the wire and in the log before record batches.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | offset |
//! | 4 | size of what follows |
//! | 4 | CRC-32 of what follows it |
//! | 1, 1 | magic: 0 or 1; attributes: bits 0-2 codec, 3 timestamp type (v1) |
//! | 8 | timestamp (v1) |
//! | 4 + n, 4 + n | key, value: length (-1 = null) and bytes |
//!
//! A message with a codec is a wrapper: its value is a set of messages, compressed together. Inside a wrapper of v1
//! offsets count from the first one inside, and the wrapper has the last one's offset; in v0 all are absolute.

use super::header::{LOG_OVERHEAD, MAGIC_AT};
use super::{Attributes, Batch, BatchError, Compression, Header};
use bytes::{BufMut, Bytes, BytesMut};

const CRC_AT: usize = 12;
const ATTRIBUTES_AT: usize = 17;
const TIMESTAMP_AT: usize = 18;
/// Bytes of a message without key and value, behind offset and size, in v0 and v1.
const OVERHEAD: [usize; 2] = [14, 22];
/// Where the LZ4 frame's header has its checksum, if there is no content size.
const LZ4_CHECKSUM_AT: usize = 6;
/// The checksum of the header that [`Compression::Lz4`] writes, taken over the magic number too: as v0 wants it.
const LZ4_CHECKSUM_OF_V0: u8 = 0x1a;

/// One whole message, as a slice of the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Bytes,
}

/// A message of a set, on its own or out of its wrapper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    pub message: Message,
    /// Absolute.
    pub offset: i64,
    /// The wrapper's where that was stamped by a broker; -1 if there is none.
    pub timestamp: i64,
}

/// What a log or a message set consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Batch(Batch),
    Message(Message),
}

impl Entry {
    /// Takes the batch or message that `bytes` starts with; `None` if `bytes` end inside it (or are empty).
    pub fn split_from(bytes: &mut Bytes) -> Result<Option<Entry>, BatchError> {
        match Header::size_of_next(bytes)? {
            Some(size) if size <= bytes.len() && bytes[MAGIC_AT] < 2 => {
                Ok(Some(Entry::Message(Message { bytes: bytes.split_to(size) })))
            }
            _ => Ok(Batch::split_from(bytes)?.map(Entry::Batch)),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Entry::Batch(batch) => batch.bytes(),
            Entry::Message(message) => &message.bytes,
        }
    }
}

impl Message {
    /// As it stands: of a wrapper the last one inside, inside a wrapper of v1 a relative one.
    pub fn offset(&self) -> i64 {
        i64::from_be_bytes(self.part(0))
    }

    /// 0 or 1, unless it came out of a wrapper.
    pub fn magic(&self) -> u8 {
        self.bytes[MAGIC_AT]
    }

    fn attributes(&self) -> Attributes {
        Attributes(i16::from(self.bytes[ATTRIBUTES_AT]))
    }

    pub fn codec(&self) -> Result<Compression, BatchError> {
        self.attributes().compression()
    }

    /// Stamped by a broker; a producer may not say so.
    pub fn is_log_append_time(&self) -> bool {
        self.magic() > 0 && self.attributes().is_log_append_time()
    }

    /// All of it.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) =
            (u32::from_be_bytes(self.part(CRC_AT)), crc32fast::hash(&self.bytes[MAGIC_AT..]));
        match stored == computed {
            true => Ok(()),
            false => Err(BatchError::Crc { stored, computed }),
        }
    }

    /// -1 in v0.
    pub fn timestamp(&self) -> Result<i64, BatchError> {
        match self.magic() {
            0 => Ok(-1),
            _ if self.bytes.len() < TIMESTAMP_AT + 8 => Err(too_short()),
            _ => Ok(i64::from_be_bytes(self.part(TIMESTAMP_AT))),
        }
    }

    pub fn key(&self) -> Result<Option<Bytes>, BatchError> {
        Ok(self.delimited(self.key_at())?.0)
    }

    pub fn value(&self) -> Result<Option<Bytes>, BatchError> {
        let (_, value_at) = self.delimited(self.key_at())?;
        Ok(self.delimited(value_at)?.0)
    }

    fn key_at(&self) -> usize {
        LOG_OVERHEAD + OVERHEAD[usize::from(self.magic() > 0)] - 8
    }

    /// The part at `at`, and where the next one starts.
    fn delimited(&self, at: usize) -> Result<(Option<Bytes>, usize), BatchError> {
        let length = self.bytes.get(at..at + 4).ok_or_else(too_short)?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let (start, Ok(length)) = (at + 4, usize::try_from(length)) else { return Ok((None, at + 4)) };
        if length > self.bytes.len() - start {
            return Err(BatchError::Message { why: "a part is longer than the message" });
        }
        Ok((Some(self.bytes.slice(start..start + length)), start + length))
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.bytes[at..].first_chunk().expect("the size was checked")
    }

    /// The messages inside, or the message itself if it is no wrapper. Refuses more than `limit` bytes of them.
    pub fn inner(&self, limit: usize) -> Result<Vec<Inner>, BatchError> {
        let wrapper = |why| BatchError::Wrapper { why };
        let codec = self.codec()?;
        if codec == Compression::None {
            let (offset, timestamp) = (self.offset(), self.timestamp()?);
            return Ok(vec![Inner { message: self.clone(), offset, timestamp }]);
        }
        if codec == Compression::Zstd {
            return Err(wrapper("no message set is compressed by zstd"));
        }
        let value = self.value()?.ok_or(wrapper("its value is null"))?;
        let mut set = decompress(value, codec, self.magic(), limit)?;
        let mut all = Vec::new();
        // What is cut off at the end is no message.
        while set.len() > MAGIC_AT {
            let size = Header::size_of_next(&set)?.unwrap_or(usize::MAX);
            if size > set.len() {
                break;
            }
            let message = Message { bytes: set.split_to(size) };
            let own = message.timestamp();
            let timestamp = match self.is_log_append_time() && message.magic() == 1 {
                true => self.timestamp()?,
                false => own?,
            };
            all.push(Inner { offset: message.offset(), message, timestamp });
        }
        let last = all.last().ok_or(wrapper("there is no message inside"))?.offset;
        if self.magic() == 1 {
            let base = match self.offset() {
                0 => 0,
                offset if offset < last => {
                    return Err(wrapper("its offset is below the last one inside"));
                }
                offset => offset.wrapping_sub(last),
            };
            all.iter_mut().for_each(|inner| inner.offset = inner.offset.wrapping_add(base));
        }
        Ok(all)
    }
}

fn too_short() -> BatchError {
    BatchError::Message { why: "it ends early" }
}

/// v0's LZ4 frames have a wrong checksum in the header, which is not looked at.
fn decompress(value: Bytes, codec: Compression, magic: u8, limit: usize) -> Result<Bytes, BatchError> {
    if codec != Compression::Lz4 || magic > 0 || value.len() <= LZ4_CHECKSUM_AT {
        return codec.decompress(value, limit);
    }
    let has_content_size = value[4] & 8 != 0;
    let checksum_at = if has_content_size { LZ4_CHECKSUM_AT + 8 } else { LZ4_CHECKSUM_AT };
    let mut value = BytesMut::from(&value[..]);
    if checksum_at < value.len() {
        value[checksum_at] = (xxh32(&value[4..checksum_at]) >> 8) as u8;
    }
    codec.decompress(value.freeze(), limit)
}

/// XXH32 with seed 0, of fewer than 16 bytes.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let mut words = bytes.chunks_exact(4);
    for word in words.by_ref() {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        hash = hash.wrapping_add(word.wrapping_mul(PRIMES[2])).rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in words.remainder() {
        let byte = u32::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.wrapping_add(byte).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

/// Writes messages one behind the other, or into one wrapper.
#[derive(Debug)]
pub struct MessageSetBuilder {
    magic: u8,
    codec: Compression,
    /// All messages count as written at this time.
    log_append_time: Option<i64>,
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    set: BytesMut,
}

impl MessageSetBuilder {
    /// A set of `magic` 0 or 1, whose first message has this offset.
    pub fn new(magic: u8, codec: Compression, log_append_time: Option<i64>, base_offset: i64) -> Self {
        MessageSetBuilder {
            magic: magic.min(1),
            codec,
            log_append_time,
            base_offset,
            last_offset: base_offset,
            max_timestamp: -1,
            set: BytesMut::new(),
        }
    }

    /// Adds a message; offsets have to ascend.
    pub fn push(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let timestamp = self.log_append_time.unwrap_or(timestamp);
        let relative = self.magic > 0 && self.codec != Compression::None;
        let written = if relative { offset.wrapping_sub(self.base_offset) } else { offset };
        self.write(written, timestamp, Compression::None, key, value);
        self.last_offset = offset;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    fn write(
        &mut self,
        offset: i64,
        timestamp: i64,
        codec: Compression,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let size = OVERHEAD[usize::from(self.magic)] + part(key) + part(value);
        let start = self.set.len();
        self.set.reserve(LOG_OVERHEAD + size);
        self.set.put_i64(offset);
        self.set.put_i32(size as i32);
        self.set.put_u32(0);
        let stamped = self.magic > 0 && self.log_append_time.is_some();
        let attributes = Attributes(i16::from(codec.id())).with(Attributes::LOG_APPEND_TIME, stamped);
        self.set.put_u8(self.magic);
        self.set.put_u8(attributes.0 as u8);
        if self.magic > 0 {
            self.set.put_i64(timestamp);
        }
        for part in [key, value] {
            self.set.put_i32(part.map_or(-1, |part| part.len() as i32));
            self.set.put_slice(part.unwrap_or_default());
        }
        let crc = crc32fast::hash(&self.set[start + MAGIC_AT..]);
        self.set[start + CRC_AT..start + MAGIC_AT].copy_from_slice(&crc.to_be_bytes());
    }

    /// The set. Fails only if a compressor does; there is none for zstd.
    pub fn finish(mut self) -> Result<Bytes, BatchError> {
        if self.codec == Compression::None || self.set.is_empty() {
            return Ok(self.set.freeze());
        }
        if self.codec == Compression::Zstd {
            return Err(BatchError::NoOldForm);
        }
        let set = std::mem::take(&mut self.set);
        let compressed = self.codec.compress(&set);
        let mut compressed = compressed
            .map_err(|error| BatchError::Decompress { codec: self.codec.name(), why: error.to_string() })?;
        if self.codec == Compression::Lz4 && self.magic == 0 && compressed.len() > LZ4_CHECKSUM_AT {
            compressed[LZ4_CHECKSUM_AT] = LZ4_CHECKSUM_OF_V0;
        }
        let timestamp = self.log_append_time.unwrap_or(self.max_timestamp);
        self.write(self.last_offset, timestamp, self.codec, None, Some(&compressed));
        Ok(self.set.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD_CODECS: [Compression; 4] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];

    fn read(mut bytes: Bytes) -> Vec<Inner> {
        let mut all = Vec::new();
        while let Some(Entry::Message(message)) = Entry::split_from(&mut bytes).unwrap() {
            message.check_crc().unwrap();
            all.extend(message.inner(1 << 20).unwrap());
        }
        assert!(bytes.is_empty());
        all
    }

    #[test]
    fn what_is_written_in_either_format_and_any_codec_is_read_back() {
        for magic in [0, 1] {
            for codec in OLD_CODECS {
                let mut set = MessageSetBuilder::new(magic, codec, None, 70);
                set.push(70, 1000, Some(b"k"), Some(b"v"));
                set.push(72, 900, None, Some(b""));
                set.push(75, 1100, Some(b""), None);
                let all = read(set.finish().unwrap());
                let offsets: Vec<_> = all.iter().map(|inner| inner.offset).collect();
                assert_eq!(offsets, [70, 72, 75], "{magic} {codec:?}");
                let timestamps: Vec<_> = all.iter().map(|inner| inner.timestamp).collect();
                assert_eq!(timestamps, if magic == 0 { [-1; 3] } else { [1000, 900, 1100] });
                assert_eq!(all[0].message.key().unwrap().as_deref(), Some(b"k".as_slice()));
                assert_eq!(all[1].message.value().unwrap().as_deref(), Some(b"".as_slice()));
                assert_eq!(all[2].message.value().unwrap(), None);
                all.iter().for_each(|inner| inner.message.check_crc().unwrap());
            }
        }
    }

    #[test]
    fn a_brokers_time_on_the_wrapper_counts_for_all_inside() {
        let mut set = MessageSetBuilder::new(1, Compression::Gzip, Some(5000), 3);
        set.push(3, 1, None, Some(b"a"));
        set.push(4, 2, None, Some(b"b"));
        let all = read(set.finish().unwrap());
        assert_eq!(all.iter().map(|inner| inner.timestamp).collect::<Vec<_>>(), [5000, 5000]);
    }

    #[test]
    fn a_message_whose_lengths_lie_is_refused_and_one_cut_off_is_none() {
        let mut set = MessageSetBuilder::new(1, Compression::None, None, 0);
        set.push(0, 1, Some(b"key"), Some(b"value"));
        let whole = set.finish().unwrap();
        for len in 0..whole.len() {
            assert_eq!(Entry::split_from(&mut whole.slice(..len)), Ok(None));
        }
        let mut lying = BytesMut::from(&whole[..]);
        lying[26..30].copy_from_slice(&i32::MAX.to_be_bytes());
        let Some(Entry::Message(message)) = Entry::split_from(&mut lying.freeze()).unwrap() else { panic!() };
        assert!(matches!(message.key(), Err(BatchError::Message { .. })));
        assert!(matches!(message.check_crc(), Err(BatchError::Crc { .. })));
    }

    #[test]
    fn a_wrapper_that_says_nothing_true_is_refused() {
        let wrap = |value: Option<&[u8]>, codec, offset| {
            let mut set = MessageSetBuilder::new(1, Compression::None, None, offset);
            set.write(offset, 1, codec, None, value);
            let Some(Entry::Message(message)) = Entry::split_from(&mut set.set.freeze()).unwrap() else {
                panic!()
            };
            message.inner(1 << 20).unwrap_err()
        };
        let gzip = |plain: &[u8]| Compression::Gzip.compress(plain).unwrap();
        assert!(matches!(wrap(None, Compression::Gzip, 0), BatchError::Wrapper { .. }));
        assert!(matches!(wrap(Some(b"x"), Compression::Zstd, 0), BatchError::Wrapper { .. }));
        assert!(matches!(wrap(Some(&gzip(b"")), Compression::Gzip, 0), BatchError::Wrapper { .. }));
        assert!(matches!(wrap(Some(b"junk"), Compression::Gzip, 0), BatchError::Decompress { .. }));
        let mut inside = MessageSetBuilder::new(1, Compression::None, None, 0);
        inside.push(9, 1, None, None);
        let inside = gzip(&inside.finish().unwrap());
        assert!(matches!(wrap(Some(&inside), Compression::Gzip, 5), BatchError::Wrapper { .. }));
    }

    #[test]
    fn the_checksum_of_an_lz4_header_is_javas() {
        let frame = Compression::Lz4.compress(b"x").unwrap();
        assert_eq!(frame[LZ4_CHECKSUM_AT], (xxh32(&frame[4..LZ4_CHECKSUM_AT]) >> 8) as u8);
        assert_eq!(LZ4_CHECKSUM_OF_V0, (xxh32(&frame[..LZ4_CHECKSUM_AT]) >> 8) as u8);
    }
}
