//! Record batches as old consumers read them: message sets of format v1 (Fetch 2 and 3) or v0 (Fetch 0 and 1).
//!
//! Headers, producers and transactions have no place there and are dropped, with markers and empty batches. A
//! compressed batch stays one, in its codec; of an uncompressed one only what was asked for is written. The answer is
//! as long as what was read or as its first converted batch, as Kafka promises it before it has converted the rest:
//! what is too much is cut off, and what lacks is filled by an entry that announces more than is there, which a
//! consumer takes for one that was cut off.

use super::message_set::{Entry, MessageSetBuilder};
use super::{Batch, BatchError, Compression};
use bytes::{BufMut, Bytes, BytesMut};

/// What the rest is converted by, at a time: a batch without an old form takes its chunk with it.
const CHUNK: usize = 128 << 10;
/// Bytes of a filling entry that announces, and no more.
const FILLING_MIN: usize = 12;
const DECOMPRESSED_MAX: usize = super::compression::DEFAULT_LIMIT;

/// Converts what was read for a fetch from `first_offset` to format `magic`. [`BatchError::NoOldForm`] if the first batch
/// is compressed by zstd.
pub fn down_convert(records: &Bytes, magic: u8, first_offset: i64) -> Result<Bytes, BatchError> {
    let mut rest = records.clone();
    let mut to = BytesMut::new();
    let mut any = false;
    while to.is_empty()
        && let Some(entry) = Entry::split_from(&mut rest)?
    {
        any = true;
        convert(&entry, magic, first_offset, &mut to)?;
    }
    if to.is_empty() {
        if any {
            fill(&mut to, FILLING_MIN);
        }
        return Ok(to.freeze());
    }
    let size = records.len().max(to.len());
    while to.len() < size {
        let before = to.len();
        match convert_chunk(&mut rest, magic, first_offset, &mut to) {
            Ok(true) => {}
            Ok(false) => break,
            // So many bytes were promised; the consumer comes back for this batch, and then hears of it.
            Err(BatchError::NoOldForm) => {
                to.truncate(before);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    to.truncate(size);
    fill(&mut to, size);
    Ok(to.freeze())
}

/// False when nothing is left.
fn convert_chunk(
    rest: &mut Bytes,
    magic: u8,
    first_offset: i64,
    to: &mut BytesMut,
) -> Result<bool, BatchError> {
    let mut taken = 0;
    loop {
        let mut ahead = rest.clone();
        let Some(entry) = Entry::split_from(&mut ahead)? else { return Ok(taken > 0) };
        let size = entry.bytes().len();
        if taken > 0 && taken + size > CHUNK {
            return Ok(true);
        }
        taken += size;
        *rest = ahead;
        convert(&entry, magic, first_offset, to)?;
    }
}

/// Up to `size` bytes.
fn fill(to: &mut BytesMut, size: usize) {
    while to.len() < size {
        let left = size - to.len();
        let announced = (left + 1).max(super::HEADER_SIZE) as i32;
        let mut filling = BytesMut::with_capacity(left.max(FILLING_MIN));
        filling.put_i64(-1);
        filling.put_i32(announced);
        filling.resize(left.clamp(FILLING_MIN, CHUNK), 0);
        to.extend_from_slice(&filling[..left.min(filling.len())]);
    }
}

fn convert(entry: &Entry, magic: u8, first_offset: i64, to: &mut BytesMut) -> Result<(), BatchError> {
    match entry {
        Entry::Batch(batch) => convert_batch(batch, magic, first_offset, to),
        Entry::Message(message) => {
            let codec = message.codec()?;
            if codec == Compression::Zstd {
                return Err(BatchError::NoOldForm);
            }
            if message.magic() <= magic {
                to.extend_from_slice(message.bytes());
                return Ok(());
            }
            let mut all = message.inner(DECOMPRESSED_MAX)?;
            all.retain(|inner| codec != Compression::None || inner.offset >= first_offset);
            let Some(first) = all.first() else { return Ok(()) };
            let mut set = MessageSetBuilder::new(magic, codec, None, first.offset);
            for inner in &all {
                let (key, value) = (inner.message.key()?, inner.message.value()?);
                set.push(inner.offset, inner.timestamp, key.as_deref(), value.as_deref());
            }
            to.extend_from_slice(&set.finish()?);
            Ok(())
        }
    }
}

fn convert_batch(batch: &Batch, magic: u8, first_offset: i64, to: &mut BytesMut) -> Result<(), BatchError> {
    let header = batch.header();
    if header.attributes.is_control() {
        return Ok(());
    }
    let codec = header.attributes.compression()?;
    if codec == Compression::Zstd {
        return Err(BatchError::NoOldForm);
    }
    let stamped = header.attributes.is_log_append_time().then_some(header.max_timestamp);
    let mut set: Option<MessageSetBuilder> = None;
    for record in batch.records_within(DECOMPRESSED_MAX)? {
        let record = record?;
        if codec == Compression::None && record.offset < first_offset {
            continue;
        }
        if record.timestamp < -1 {
            return Err(BatchError::Message { why: "its timestamp is negative" });
        }
        let set = set.get_or_insert_with(|| MessageSetBuilder::new(magic, codec, stamped, record.offset));
        set.push(record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref());
    }
    if let Some(set) = set {
        to.extend_from_slice(&set.finish()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, message_set::Inner};
    use proptest::prelude::*;

    fn batch(base: i64, codec: Compression, count: usize) -> Bytes {
        let mut builder = BatchBuilder::new().base_offset(base).compression(codec);
        for i in 0..count {
            let value = format!("value {i}");
            builder.push(1000 + i as i64, Some(b"k"), Some(value.as_bytes()), &[("h", Some(b"dropped"))]);
        }
        builder.finish().unwrap()
    }

    /// The messages of a set up to what looks cut off, and how many bytes that is.
    fn read(mut bytes: Bytes) -> (Vec<Inner>, usize) {
        let mut all = Vec::new();
        while let Some(Entry::Message(message)) = Entry::split_from(&mut bytes).unwrap() {
            message.check_crc().unwrap();
            all.extend(message.inner(1 << 20).unwrap());
        }
        (all, bytes.len())
    }

    fn offsets(all: &[Inner]) -> Vec<i64> {
        all.iter().map(|inner| inner.offset).collect()
    }

    #[test]
    fn an_uncompressed_batch_starts_at_what_was_asked_for_and_a_compressed_one_is_whole() {
        for magic in [0, 1] {
            let (all, _) = read(down_convert(&batch(10, Compression::None, 4), magic, 12).unwrap());
            assert_eq!(offsets(&all), [12, 13]);
            assert_eq!(all[0].timestamp, if magic == 0 { -1 } else { 1002 });
            let (all, _) = read(down_convert(&batch(10, Compression::Gzip, 4), magic, 12).unwrap());
            assert_eq!(offsets(&all), [10, 11, 12, 13]);
            assert_eq!(all[3].message.value().unwrap().as_deref(), Some(b"value 3".as_slice()));
        }
    }

    #[test]
    fn markers_and_empty_batches_are_left_out_and_what_lacks_is_filled_up() {
        let mut marker = BatchBuilder::new().base_offset(4).producer(1, 0, -1).control(true);
        marker.push(5, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
        let marker = marker.finish().unwrap();
        let alone = down_convert(&marker, 1, 4).unwrap();
        assert_eq!(&alone[..], [&(-1i64).to_be_bytes()[..], &61i32.to_be_bytes()[..]].concat());

        let both: Bytes =
            [&batch(2, Compression::None, 1)[..], &batch(3, Compression::None, 1), &marker].concat().into();
        let converted = down_convert(&both, 1, 2).unwrap();
        assert_eq!(converted.len(), both.len());
        let (all, filling) = read(converted);
        assert_eq!((offsets(&all), filling > 0), (vec![2, 3], true));
    }

    #[test]
    fn zstd_first_is_refused_and_behind_others_left_out() {
        let zstd = batch(4, Compression::Zstd, 2);
        assert_eq!(down_convert(&zstd, 1, 4), Err(BatchError::NoOldForm));
        let both: Bytes = [&batch(0, Compression::None, 4)[..], &zstd[..]].concat().into();
        let converted = down_convert(&both, 1, 0).unwrap();
        assert_eq!(converted.len(), both.len());
        assert_eq!(offsets(&read(converted).0), [0, 1, 2, 3]);
    }

    #[test]
    fn messages_of_the_wanted_format_stay_as_they_are_and_newer_ones_become_older() {
        let mut set = MessageSetBuilder::new(1, Compression::Lz4, None, 3);
        set.push(3, 7, Some(b"k"), Some(b"v"));
        set.push(4, 8, None, None);
        let v1 = set.finish().unwrap();
        assert_eq!(down_convert(&v1, 1, 4).unwrap(), v1);
        let (all, _) = read(down_convert(&v1, 0, 4).unwrap());
        assert_eq!(offsets(&all), [3, 4]);
        assert!(all.iter().all(|inner| inner.message.magic() == 0 && inner.timestamp == -1));
    }

    #[test]
    fn an_empty_read_and_one_without_a_whole_batch_are_empty() {
        assert!(down_convert(&Bytes::new(), 1, 0).unwrap().is_empty());
        assert!(down_convert(&batch(0, Compression::None, 3).slice(..70), 1, 0).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn nothing_visible_is_lost_or_reordered(
            counts in prop::collection::vec((1usize..30, 0usize..4), 1..6),
            magic in 0u8..2,
            skipped in 0i64..30,
        ) {
            let (mut bytes, mut next) = (BytesMut::new(), 0);
            for (count, codec) in &counts {
                bytes.extend_from_slice(&batch(next, Compression::ALL[*codec], *count));
                next += *count as i64;
            }
            let read_len = bytes.len();
            // A read starts with the batch that has the offset.
            let asked = skipped % counts[0].0 as i64;
            let converted = down_convert(&bytes.freeze(), magic, asked).unwrap();
            prop_assert!(converted.len() >= read_len);
            let (all, _) = read(converted);
            let offsets = offsets(&all);
            // All that was asked for is there, as far as the promised size went; nothing comes twice.
            prop_assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{offsets:?}");
            prop_assert!(offsets.first().is_none_or(|first| *first <= asked));
            for inner in &all {
                let value = inner.message.value().unwrap().unwrap();
                prop_assert!(value.starts_with(b"value "));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0u8..2) {
            let _ = down_convert(&Bytes::from(bytes), magic, 0);
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..400, to in any::<u8>(), codec in 0usize..5) {
            let mut bytes = BytesMut::from(&batch(0, Compression::ALL[codec], 9)[..]);
            let at = at % bytes.len();
            bytes[at] = to;
            let bytes = bytes.freeze();
            let _ = down_convert(&bytes, 0, 0);
            let _ = down_convert(&bytes, 1, 0);
        }
    }
}
