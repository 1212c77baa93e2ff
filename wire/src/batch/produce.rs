//! What a leader checks before it appends a producer's records, in Kafka 3.5.1's order, with its codes and texts.

use super::{Attributes, Batch, BatchBuilder, BatchError, Compression, Header, RawRecord, up};
use crate::kafka::ErrorCode;
use bytes::Bytes;

/// What the topic and the request ask of the records.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// Version of the Produce request: from 3 on, exactly one batch; zstd from 7 on.
    pub version: i16,
    /// Milliseconds since 1970.
    pub now: i64,
    /// `cleanup.policy` contains `compact`: records need a key.
    pub compacted: bool,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.difference.max.ms`
    pub timestamp_difference_ms_max: i64,
    /// `max.message.bytes`
    pub message_bytes_max: usize,
    /// `compression.type`; `None` keeps the producer's.
    pub compression: Option<Compression>,
    /// What the records may grow to when they are decompressed.
    pub decompressed_bytes_max: usize,
}

impl Rules<'_> {
    pub(super) fn keyless(&self) -> String {
        let (topic, partition) = (self.topic, self.partition);
        format!("Compacted topic cannot accept message without key in topic partition {topic}-{partition}")
    }

    /// Why a producer's time is refused, if it is.
    pub(super) fn out_of_range(&self, timestamp: i64, offset: i64) -> Option<String> {
        let (now, difference_max) = (self.now, self.timestamp_difference_ms_max);
        let difference = timestamp.wrapping_sub(now).wrapping_abs();
        if self.log_append_time || timestamp == -1 || difference <= difference_max {
            return None;
        }
        let (low, high) = (now.wrapping_sub(difference_max), now.wrapping_add(difference_max));
        Some(format!(
            "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within [{low}, {high}]"
        ))
    }
}

/// A batch that may be appended, once [`Batch::assign`] has given it its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub batch: Batch,
    /// What to assign: the largest timestamp seen, or now where the topic wants its own.
    pub max_timestamp: i64,
    /// Which record of the batch has it first, counted from 0, where that is told: of an uncompressed batch that is
    /// taken as it came. Elsewhere it is the last record that stands for it, as in Java.
    pub max_timestamp_at: Option<i32>,
}

/// Why a partition's records are not appended; the parts of a Produce response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?} {}", .message.as_deref().unwrap_or_default())]
pub struct Refused {
    pub code: ErrorCode,
    pub message: Option<String>,
    /// (index in the batch, text), for errors of single records.
    pub records: Vec<(i32, String)>,
    /// The request itself is wrong, from version 3 on: that shows before the partition is looked at.
    pub at_the_door: bool,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Refused {
        Refused { code, message: None, records: Vec::new(), at_the_door: false }
    }
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Refused {
        error.code().into()
    }
}

/// Checks the records that a Produce request has for one partition. Records that stand as they should stay a slice of
/// the request; others (another codec wanted, offsets with holes) are written anew.
///
/// Before version 3 of Produce they may be a message set of format v0 or v1, which becomes a batch. Then, and only then,
/// the code NONE says that there is nothing whole to append, which is no error.
pub fn check(records: &Option<Bytes>, rules: &Rules<'_>) -> Result<Accepted, Refused> {
    if rules.version < 3
        && let Some(set) = records.as_ref().filter(|records| up::is_message_set(records))
    {
        return up::convert(set, rules);
    }
    let batch = the_one_batch(records, rules)
        .map_err(|refused| Refused { at_the_door: rules.version >= 3 && records.is_some(), ..refused })?;
    check_batch(&batch, rules)?;
    let seen = check_records(&batch, rules)?;
    let codec = batch.header().attributes.compression()?;
    let wanted = rules.compression.unwrap_or(codec);
    let max_timestamp = if rules.log_append_time { rules.now } else { seen.max_timestamp };
    // Offsets inside an uncompressed batch are taken as they come; only a compressed one is renumbered.
    if wanted != codec || (codec != Compression::None && !seen.offsets_in_order) {
        return Ok(Accepted {
            batch: rewrite(&batch, wanted, rules)?,
            max_timestamp,
            max_timestamp_at: None,
        });
    }
    let told = codec == Compression::None && !rules.log_append_time;
    let max_timestamp_at = seen.max_timestamp_at.filter(|_| told);
    Ok(Accepted { batch, max_timestamp, max_timestamp_at })
}

fn the_one_batch(records: &Option<Bytes>, rules: &Rules<'_>) -> Result<Batch, Refused> {
    let mut records = records.clone().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
    let batch = match Batch::split_from(&mut records) {
        Ok(Some(batch)) => batch,
        Ok(None) if rules.version < 3 => return Err(ErrorCode::NONE.into()),
        Ok(None) => return Err(ErrorCode::INVALID_RECORD.into()),
        Err(BatchError::OldFormat { .. }) => return Err(ErrorCode::INVALID_RECORD.into()),
        Err(error) => return Err(error.into()),
    };
    if batch.header().attributes.compression() == Ok(Compression::Zstd) && (3..7).contains(&rules.version) {
        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE.into());
    }
    // Bytes after the batch that are no whole batch are dropped, another batch is refused.
    if Batch::split_from(&mut records)?.is_some() {
        return Err(ErrorCode::INVALID_RECORD.into());
    }
    Ok(batch)
}

fn check_batch(batch: &Batch, rules: &Rules<'_>) -> Result<(), Refused> {
    let header = batch.header();
    if header.base_offset != 0 {
        return Err(ErrorCode::INVALID_RECORD.into());
    }
    if header.size() > rules.message_bytes_max {
        return Err(ErrorCode::MESSAGE_TOO_LARGE.into());
    }
    batch.check_crc()?;
    let whole =
        header.record_count > 0 && i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1;
    let unsequenced = header.has_producer() && header.base_sequence < 0;
    if !whole || header.attributes.is_control() || unsequenced {
        return Err(ErrorCode::INVALID_RECORD.into());
    }
    Ok(())
}

struct Seen {
    max_timestamp: i64,
    max_timestamp_at: Option<i32>,
    offsets_in_order: bool,
}

fn check_records(batch: &Batch, rules: &Rules<'_>) -> Result<Seen, Refused> {
    let header = *batch.header();
    let mut records = batch.records_within(rules.decompressed_bytes_max)?;
    let mut seen = Seen { max_timestamp: -1, max_timestamp_at: None, offsets_in_order: true };
    let (mut refused, mut invalid_timestamp, mut index) = (Vec::new(), false, 0);
    while let Some(record) = records.next_raw() {
        let record = record?;
        let timestamp = timestamp_of(&header, &record);
        if rules.compacted && record.key.is_none() {
            refused.push((index, rules.keyless()));
        } else if let Some(why) = check_timestamp(&header, &record, timestamp, rules) {
            invalid_timestamp = true;
            refused.push((index, why));
        } else {
            if timestamp > seen.max_timestamp {
                (seen.max_timestamp, seen.max_timestamp_at) = (timestamp, Some(index));
            }
            seen.offsets_in_order &= record.offset_delta == index;
        }
        index += 1;
    }
    match refused.is_empty() {
        true => Ok(seen),
        false => Err(refused_records(refused, invalid_timestamp)),
    }
}

fn timestamp_of(header: &Header, record: &RawRecord<'_>) -> i64 {
    match header.attributes.is_log_append_time() {
        true => header.max_timestamp,
        false => header.base_timestamp.wrapping_add(record.timestamp_delta),
    }
}

fn check_timestamp(
    header: &Header,
    record: &RawRecord<'_>,
    timestamp: i64,
    rules: &Rules<'_>,
) -> Option<String> {
    if let Some(why) = rules.out_of_range(timestamp, i64::from(record.offset_delta)) {
        return Some(why);
    }
    header.attributes.is_log_append_time().then(|| {
        let size = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        format!(
            "Invalid timestamp type in message DefaultRecord(offset={}, timestamp={timestamp}, key={} bytes, \
             value={} bytes). Producer should not set timestamp type to LogAppendTime.",
            record.offset_delta,
            size(record.key),
            size(record.value)
        )
    })
}

pub(super) fn refused_records(records: Vec<(i32, String)>, invalid_timestamp: bool) -> Refused {
    if invalid_timestamp {
        let message = "One or more records have been rejected due to invalid timestamp".to_owned();
        return Refused {
            code: ErrorCode::INVALID_TIMESTAMP,
            message: Some(message),
            records,
            at_the_door: false,
        };
    }
    let first: Vec<String> = records
        .iter()
        .take(3)
        .map(|(index, text)| format!("RecordError(batchIndex={index}, message='{text}')"))
        .collect();
    let message = format!(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three \
         errors at most: [{}]",
        records.len(),
        first.join(", ")
    );
    Refused { code: ErrorCode::INVALID_RECORD, message: Some(message), records, at_the_door: false }
}

/// The same records, numbered from 0 without holes, in another codec.
fn rewrite(batch: &Batch, codec: Compression, rules: &Rules<'_>) -> Result<Batch, Refused> {
    let header = *batch.header();
    let mut builder = BatchBuilder::like(&Header {
        attributes: header.attributes.with(Attributes::LOG_APPEND_TIME, false),
        ..header
    })
    .compression(codec);
    let mut records = batch.records_within(rules.decompressed_bytes_max)?;
    let mut index = 0;
    while let Some(record) = records.next_raw() {
        let record = record?;
        let timestamp = timestamp_of(&header, &record);
        builder.push_raw(index, timestamp, &record);
        index += 1;
    }
    let mut bytes = builder.finish().map_err(|_| Refused::from(ErrorCode::UNKNOWN_SERVER_ERROR))?;
    Ok(Batch::split_from(&mut bytes)?.expect("a finished batch is whole"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bytes::BytesMut;

    pub const RULES: Rules<'_> = Rules {
        topic: "rawc",
        partition: 0,
        version: 8,
        now: 10_000,
        compacted: false,
        log_append_time: false,
        timestamp_difference_ms_max: i64::MAX,
        message_bytes_max: 1_048_588,
        compression: None,
        decompressed_bytes_max: 1 << 20,
    };

    fn builder(values: &[(Option<&[u8]>, &[u8])]) -> BatchBuilder {
        let mut builder = BatchBuilder::new();
        for (key, value) in values {
            builder.push(9_000, *key, Some(value), &[]);
        }
        builder
    }

    fn two() -> BatchBuilder {
        builder(&[(Some(b"k"), b"v"), (None, b"w")])
    }

    /// Changes bytes of a batch, and gives it a checksum that agrees.
    fn forged(batch: BatchBuilder, forge: impl Fn(&mut [u8])) -> Bytes {
        let mut bytes = BytesMut::from(&batch.finish().unwrap()[..]);
        forge(&mut bytes);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.freeze()
    }

    fn code(records: Bytes, rules: Rules<'_>) -> ErrorCode {
        check(&Some(records), &rules).map_or_else(|refused| refused.code, |_| ErrorCode::NONE)
    }

    #[test]
    fn a_good_batch_stays_a_slice_of_the_request() {
        let records = two().finish().unwrap();
        let accepted = check(&Some(records.clone()), &RULES).unwrap();
        assert_eq!(accepted.batch.bytes().as_ptr(), records.as_ptr());
        assert_eq!(accepted.max_timestamp, 9_000);
        assert_eq!(
            check(&Some(records), &Rules { log_append_time: true, ..RULES }).unwrap().max_timestamp,
            10_000
        );
    }

    #[test]
    fn the_record_with_the_largest_time_is_told_of_a_batch_that_is_taken_as_it_came() {
        let timed = |compression| {
            let mut builder = BatchBuilder::new().compression(compression);
            for time in [9_100, 9_400, 9_200, 9_400] {
                builder.push(time, None, Some(b"v"), &[]);
            }
            Some(builder.finish().unwrap())
        };
        let at = |records: &Option<Bytes>, rules| check(records, &rules).unwrap().max_timestamp_at;
        assert_eq!(at(&timed(Compression::None), RULES), Some(1));
        assert_eq!(at(&timed(Compression::Gzip), RULES), None);
        assert_eq!(at(&timed(Compression::None), Rules { log_append_time: true, ..RULES }), None);
        let gzip = Some(Compression::Gzip);
        assert_eq!(at(&timed(Compression::None), Rules { compression: gzip, ..RULES }), None);
    }

    #[test]
    fn each_malformed_batch_gets_the_code_that_kafka_gives() {
        let whole = two().finish().unwrap();
        let twice = Bytes::from([&whole[..], &whole[..]].concat());
        let trailing = Bytes::from([&whole[..], &b"garbage"[..]].concat());
        let mut flipped = BytesMut::from(&whole[..]);
        flipped[70] ^= 1;
        let mut old = BytesMut::from(&whole[..]);
        old[16] = 1;
        let old = old.freeze();
        assert_eq!(code(flipped.freeze(), RULES), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(twice, RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(trailing, RULES), ErrorCode::NONE);
        assert_eq!(code(Bytes::new(), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(whole.slice(..whole.len() - 1), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(old.clone(), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(old, Rules { version: 2, ..RULES }), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(whole, Rules { message_bytes_max: 60, ..RULES }), ErrorCode::MESSAGE_TOO_LARGE);
        assert_eq!(code(two().base_offset(1).finish().unwrap(), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(two().control(true).finish().unwrap(), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(two().producer(1, 0, -1).finish().unwrap(), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(code(forged(two(), |b| b[60] = 3), RULES), ErrorCode::INVALID_RECORD);
        assert_eq!(
            code(
                forged(two(), |b| {
                    b[60] = 3;
                    b[26] = 2;
                }),
                RULES
            ),
            ErrorCode::INVALID_RECORD
        );
        assert_eq!(code(forged(two(), |b| b[22] = 5), RULES), ErrorCode::UNKNOWN_SERVER_ERROR);
        assert_eq!(code(forged(two(), |b| b[22] = 1), RULES), ErrorCode::UNKNOWN_SERVER_ERROR);
        let zstd = two().compression(Compression::Zstd).finish().unwrap();
        assert_eq!(
            code(zstd.clone(), Rules { version: 6, ..RULES }),
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        );
        assert_eq!(code(zstd, RULES), ErrorCode::NONE);
        assert_eq!(check(&None, &RULES).unwrap_err().code, ErrorCode::UNKNOWN_SERVER_ERROR);
    }

    #[test]
    fn a_compacted_topic_names_every_record_without_a_key() {
        let refused = check(&Some(two().finish().unwrap()), &Rules { compacted: true, ..RULES }).unwrap_err();
        let text = "Compacted topic cannot accept message without key in topic partition rawc-0";
        assert_eq!(
            (refused.code, &refused.records[..]),
            (ErrorCode::INVALID_RECORD, &[(1, text.to_owned())][..])
        );
        assert_eq!(
            refused.message.unwrap(),
            format!(
                "One or more records have been rejected due to 1 record errors in total, and only showing the first \
                 three errors at most: [RecordError(batchIndex=1, message='{text}')]"
            )
        );
    }

    #[test]
    fn timestamps_out_of_range_or_of_the_wrong_type_are_refused_by_record() {
        let strict = Rules { timestamp_difference_ms_max: 500, ..RULES };
        let refused = check(&Some(two().finish().unwrap()), &strict).unwrap_err();
        assert_eq!(refused.code, ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(
            refused.records[1].1,
            "Timestamp 9000 of message with offset 1 is out of range. The timestamp should be within [9500, 10500]"
        );
        let refused = check(&Some(two().log_append_time(9_100).finish().unwrap()), &RULES).unwrap_err();
        assert_eq!(
            refused.records[0].1,
            "Invalid timestamp type in message DefaultRecord(offset=0, timestamp=9100, key=1 bytes, value=1 bytes). \
             Producer should not set timestamp type to LogAppendTime."
        );
    }

    #[test]
    fn another_codec_or_holes_between_offsets_mean_a_new_batch() {
        let gzip = Rules { compression: Some(Compression::Gzip), ..RULES };
        let accepted = check(&Some(two().finish().unwrap()), &gzip).unwrap();
        accepted.batch.check_crc().unwrap();
        assert_eq!(accepted.batch.header().attributes.compression(), Ok(Compression::Gzip));
        let values: Vec<_> = accepted.batch.records().unwrap().map(|r| r.unwrap().value.unwrap()).collect();
        assert_eq!(values, ["v", "w"]);

        let mut holes = BatchBuilder::new().compression(Compression::Lz4);
        holes.push_at(0, 1, None, Some(b"a"), &[]);
        holes.push_at(0, 2, None, Some(b"b"), &[]);
        holes.push_at(2, 3, None, Some(b"c"), &[]);
        let accepted = check(&Some(holes.finish().unwrap()), &RULES).unwrap();
        let offsets: Vec<_> = accepted.batch.records().unwrap().map(|r| r.unwrap().offset).collect();
        assert_eq!(offsets, [0, 1, 2]);
    }
}
