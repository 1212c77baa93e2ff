//! Message sets of old producers (Produce 0-2), made one record batch: the only format that is written.

use super::message_set::{Entry, Inner, Message};
use super::produce::{Accepted, Refused, Rules, refused_records};
use super::{Batch, BatchBuilder, Compression};
use crate::kafka::ErrorCode;
use bytes::Bytes;

/// Whether the first thing in there is a message.
pub(super) fn is_message_set(records: &Bytes) -> bool {
    records.get(super::header::MAGIC_AT).is_some_and(|magic| *magic < 2)
}

/// Checks a message set and turns it into a batch with offsets from 0. The code NONE: there is no whole message, which
/// is no error, and nothing to be appended.
pub(super) fn convert(records: &Bytes, rules: &Rules<'_>) -> Result<Accepted, Refused> {
    let (messages, source) = split(records, rules)?;
    let magic = match messages.first() {
        None => return Err(ErrorCode::NONE.into()),
        Some(first) => first.magic(),
    };
    let codec = rules.compression.unwrap_or(source);
    let mut builder = BatchBuilder::new().compression(codec);
    let mut max_timestamp = -1;
    for message in &messages {
        if message.magic() != magic {
            return Err(ErrorCode::INVALID_RECORD.into());
        }
        let records = message.inner(rules.decompressed_bytes_max)?;
        check(message, &records, rules)?;
        for Inner { message, timestamp, .. } in &records {
            if *timestamp < -1 {
                return Err(ErrorCode::UNKNOWN_SERVER_ERROR.into());
            }
            let (key, value) = (message.key()?, message.value()?);
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &[]);
            max_timestamp = max_timestamp.max(*timestamp);
        }
    }
    let mut bytes = builder.finish().map_err(|_| Refused::from(ErrorCode::UNKNOWN_SERVER_ERROR))?;
    let batch = Batch::split_from(&mut bytes)?.expect("a finished batch is whole");
    if batch.header().size() > rules.message_bytes_max {
        return Err(ErrorCode::MESSAGE_TOO_LARGE.into());
    }
    let max_timestamp = if rules.log_append_time { rules.now } else { max_timestamp };
    Ok(Accepted { batch, max_timestamp, max_timestamp_at: None })
}

/// The whole messages, and their codec: with one there has to be one wrapper and nothing else.
fn split(records: &Bytes, rules: &Rules<'_>) -> Result<(Vec<Message>, Compression), Refused> {
    let (mut rest, mut messages, mut source) = (records.clone(), Vec::new(), Compression::None);
    while let Some(entry) = Entry::split_from(&mut rest).map_err(|_| ErrorCode::CORRUPT_MESSAGE)? {
        let Entry::Message(message) = entry else { return Err(ErrorCode::INVALID_RECORD.into()) };
        if message.bytes().len() > rules.message_bytes_max {
            return Err(ErrorCode::MESSAGE_TOO_LARGE.into());
        }
        message.check_crc()?;
        match message.codec()? {
            Compression::None => {}
            codec => source = codec,
        }
        messages.push(message);
    }
    if source != Compression::None && messages.len() > 1 {
        return Err(ErrorCode::INVALID_RECORD.into());
    }
    Ok((messages, source))
}

fn check(outer: &Message, records: &[Inner], rules: &Rules<'_>) -> Result<(), Refused> {
    let compressed = outer.codec()? != Compression::None;
    let (mut refused, mut invalid_timestamp) = (Vec::new(), false);
    for (index, Inner { message, timestamp, offset }) in (0..).zip(records) {
        if compressed {
            if message.codec()? != Compression::None {
                return Err(ErrorCode::INVALID_RECORD.into());
            }
            message.check_crc()?;
        }
        if message.magic() != outer.magic() {
            refused.push((index, "A message's format is not its wrapper's.".to_owned()));
        } else if rules.compacted && message.key()?.is_none() {
            refused.push((index, rules.keyless()));
        } else if let Some(why) = check_timestamp(outer, *timestamp, *offset, rules) {
            invalid_timestamp = true;
            refused.push((index, why));
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused_records(refused, invalid_timestamp)),
    }
}

fn check_timestamp(outer: &Message, timestamp: i64, offset: i64, rules: &Rules<'_>) -> Option<String> {
    rules
        .out_of_range(timestamp, offset)
        .or_else(|| outer.is_log_append_time().then(|| "A producer may not say LogAppendTime.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::message_set::MessageSetBuilder;
    use super::super::produce::{check, tests::RULES};
    use super::*;
    use bytes::BytesMut;

    const OLD: Rules<'_> = Rules { version: 2, ..RULES };

    fn set(magic: u8, codec: Compression, base: i64) -> Bytes {
        let mut set = MessageSetBuilder::new(magic, codec, None, base);
        set.push(base, 5000, Some(b"k"), Some(b"v"));
        set.push(base + 1, 4000, None, Some(b"w"));
        set.finish().unwrap()
    }

    fn code(bytes: impl Into<Bytes>, rules: &Rules<'_>) -> ErrorCode {
        check(&Some(bytes.into()), rules).unwrap_err().code
    }

    #[test]
    fn message_sets_become_one_batch_in_their_codec_or_the_topics() {
        for magic in [0, 1] {
            for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
                for wanted in [None, Some(Compression::Zstd), Some(Compression::None)] {
                    let rules = Rules { compression: wanted, ..OLD };
                    let accepted = check(&Some(set(magic, codec, 0)), &rules).unwrap();
                    let header = accepted.batch.header();
                    accepted.batch.check_crc().unwrap();
                    assert_eq!(header.attributes.compression(), Ok(wanted.unwrap_or(codec)));
                    assert_eq!(
                        (header.record_count, header.last_offset_delta, header.producer_id),
                        (2, 1, -1)
                    );
                    let all: Vec<_> = accepted.batch.records().unwrap().map(Result::unwrap).collect();
                    let stamps = if magic == 0 { [-1, -1] } else { [5000, 4000] };
                    assert_eq!([all[0].timestamp, all[1].timestamp], stamps);
                    assert_eq!(accepted.max_timestamp, stamps[0]);
                    assert_eq!((all[0].key.as_deref(), all[1].key.as_deref()), (Some(b"k".as_slice()), None));
                }
            }
        }
    }

    #[test]
    fn the_offsets_that_a_producer_wrote_do_not_count() {
        for codec in [Compression::None, Compression::Gzip] {
            let accepted = check(&Some(set(1, codec, 700)), &OLD).unwrap();
            assert_eq!(accepted.batch.header().base_offset, 0);
        }
    }

    #[test]
    fn nothing_whole_is_nothing_to_append() {
        assert_eq!(code(Bytes::new(), &OLD), ErrorCode::NONE);
        assert_eq!(code(set(1, Compression::Gzip, 0).slice(..40), &OLD), ErrorCode::NONE);
        let one_and_a_half = set(1, Compression::None, 0);
        let accepted = check(&Some(one_and_a_half.slice(..50)), &OLD).unwrap();
        assert_eq!(accepted.batch.header().record_count, 1);
    }

    #[test]
    fn what_is_wrong_gets_the_code_that_kafka_gives() {
        let flipped = |mut bytes: BytesMut| {
            *bytes.last_mut().unwrap() ^= 1;
            bytes.freeze()
        };
        let plain = set(1, Compression::None, 0);
        assert_eq!(code(flipped(BytesMut::from(&plain[..])), &OLD), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(plain.clone(), &Rules { version: 3, ..OLD }), ErrorCode::INVALID_RECORD);
        assert_eq!(
            code(plain.clone(), &Rules { message_bytes_max: 30, ..OLD }),
            ErrorCode::MESSAGE_TOO_LARGE
        );
        assert_eq!(code(plain.clone(), &Rules { compacted: true, ..OLD }), ErrorCode::INVALID_RECORD);
        let mixed = [&plain[..], &set(0, Compression::None, 0)[..]].concat();
        assert_eq!(code(mixed, &OLD), ErrorCode::INVALID_RECORD);
        let two_wrappers = [&set(1, Compression::Gzip, 0)[..], &set(1, Compression::Gzip, 0)[..]].concat();
        assert_eq!(code(two_wrappers, &OLD), ErrorCode::INVALID_RECORD);
        let mut stamped = MessageSetBuilder::new(1, Compression::None, Some(5000), 0);
        stamped.push(0, 1, None, None);
        assert_eq!(code(stamped.finish().unwrap(), &OLD), ErrorCode::INVALID_TIMESTAMP);
        let late = Rules { timestamp_difference_ms_max: 10, ..OLD };
        assert_eq!(code(plain, &late), ErrorCode::INVALID_TIMESTAMP);
        assert!(check(&Some(set(0, Compression::None, 0)), &late).is_ok(), "v0 has no time to be wrong");
    }

    #[test]
    fn a_brokers_time_is_the_batchs() {
        let accepted = check(&Some(set(1, Compression::None, 0)), &Rules { log_append_time: true, ..OLD });
        assert_eq!(accepted.unwrap().max_timestamp, OLD.now);
    }
}
