//! The records inside a batch. Numbers are zigzag varints, lowest seven bits first:
//! length · attributes `i8` = 0 · timestamp delta · offset delta · key · value · header count · headers.
//! Key, value and header value are length (-1 = null) + bytes; a header's key is never null.

use super::{BatchError, Header};
use crate::Str;
use bytes::{Bytes, BytesMut};

/// A record, its parts slices of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// Milliseconds; -1 if there is none.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In order, a key as often as it was written.
    pub headers: Vec<RecordHeader>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    pub key: Str,
    pub value: Option<Bytes>,
}

/// A record as it stands in the batch: nothing copied, nothing counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub header_count: i32,
    /// The headers' bytes, checked for shape.
    pub headers: &'a [u8],
    /// Bytes of the record, its length included.
    pub size: usize,
}

/// The records of one batch, in order. An error ends the iteration.
#[derive(Debug, Clone)]
pub struct Records {
    header: Header,
    /// Decompressed.
    payload: Bytes,
    at: usize,
    index: i32,
}

impl Records {
    pub(super) fn new(header: Header, payload: Bytes) -> Records {
        Records { header, payload, at: 0, index: 0 }
    }

    /// The next record without a copy of anything: for checks.
    pub fn next_raw(&mut self) -> Option<Result<RawRecord<'_>, BatchError>> {
        match self.advance() {
            Ok(Some((start, end))) => {
                let index = self.index - 1;
                Some(read_record(&self.payload[start..end]).map_err(|why| BatchError::Record { index, why }))
            }
            Ok(None) => None,
            Err(error) => {
                self.end();
                Some(Err(error))
            }
        }
    }

    /// Steps over one record, and returns its body's place in the payload; `None` after the last.
    fn advance(&mut self) -> Result<Option<(usize, usize)>, BatchError> {
        let announced = self.header.record_count;
        if announced < 0 {
            return Err(BatchError::Count { announced });
        }
        if self.index >= announced {
            return match self.payload.len() - self.at {
                0 => Ok(None),
                left => Err(BatchError::Trailing { left }),
            };
        }
        let index = self.index;
        let mut from = Cursor { bytes: &self.payload, at: self.at };
        let len = from.length().map_err(|why| BatchError::Record { index, why })?;
        let Some(len) = len else { return Err(BatchError::Record { index, why: "negative length" }) };
        if len > from.bytes.len() - from.at {
            return Err(BatchError::Record { index, why: "longer than the batch" });
        }
        let start = from.at;
        self.at = start + len;
        self.index += 1;
        Ok(Some((start, start + len)))
    }

    fn end(&mut self) {
        self.header.record_count = self.index;
        self.at = self.payload.len();
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Result<Record, BatchError>> {
        let payload = self.payload.clone();
        let header = self.header;
        let raw = match self.next_raw()? {
            Ok(raw) => raw,
            Err(error) => {
                self.end();
                return Some(Err(error));
            }
        };
        let slice = |part: &[u8]| payload.slice_ref(part);
        Some(Ok(Record {
            offset: header.base_offset.wrapping_add(i64::from(raw.offset_delta)),
            timestamp: match header.attributes.is_log_append_time() {
                true => header.max_timestamp,
                false => header.base_timestamp.wrapping_add(raw.timestamp_delta),
            },
            key: raw.key.map(slice),
            value: raw.value.map(slice),
            headers: headers(&raw, &payload),
        }))
    }
}

fn headers(raw: &RawRecord<'_>, payload: &Bytes) -> Vec<RecordHeader> {
    let mut from = Cursor { bytes: raw.headers, at: 0 };
    // Every header has at least two bytes, and their shape was checked, so the count is true.
    (0..raw.header_count)
        .map_while(|_| {
            let key = from.slice().ok()??;
            let value = from.slice().ok()?;
            Some(RecordHeader { key: text(key, payload), value: value.map(|value| payload.slice_ref(value)) })
        })
        .collect()
}

/// Java reads a header key that is not UTF-8 with replacement characters, and so does this.
fn text(bytes: &[u8], payload: &Bytes) -> Str {
    match Str::try_from(payload.slice_ref(bytes)) {
        Ok(text) => text,
        Err(_) => Str::from(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn read_record(body: &[u8]) -> Result<RawRecord<'_>, &'static str> {
    let mut from = Cursor { bytes: body, at: 0 };
    let attributes = from.byte()? as i8;
    let timestamp_delta = from.varlong()?;
    let offset_delta = from.varint()?;
    let key = from.slice()?;
    let value = from.slice()?;
    let header_count = from.varint()?;
    if header_count < 0 || header_count as usize > body.len() - from.at {
        return Err("more headers than bytes");
    }
    let headers = &body[from.at..];
    for _ in 0..header_count {
        from.slice()?.ok_or("a header's key is null")?;
        from.slice()?;
    }
    if from.at != body.len() {
        return Err("bytes follow its last header");
    }
    let size = body.len() + varint_size(body.len() as i32);
    Ok(RawRecord { attributes, timestamp_delta, offset_delta, key, value, header_count, headers, size })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.at).ok_or("it ends early")?;
        self.at += 1;
        Ok(byte)
    }

    fn unsigned(&mut self, bits: u32) -> Result<u64, &'static str> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift >= bits {
                return Err("a number is too long");
            }
        }
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        let raw = self.unsigned(35)? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, &'static str> {
        let raw = self.unsigned(70)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A length; negative is null.
    fn length(&mut self) -> Result<Option<usize>, &'static str> {
        Ok(usize::try_from(self.varint()?).ok())
    }

    fn slice(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let Some(len) = self.length()? else { return Ok(None) };
        let slice = self.bytes.get(self.at..self.at + len).ok_or("a part is longer than the record")?;
        self.at += len;
        Ok(Some(slice))
    }
}

/// Bytes of a zigzag varint.
pub fn varint_size(value: i32) -> usize {
    varlong_size(i64::from(value))
}

/// Bytes of a zigzag varint of 64 bits.
pub fn varlong_size(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Writes a zigzag varint; a 32-bit value has the same bytes at either width.
pub fn write_varint(to: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        to.extend_from_slice(&[rest as u8 | 0x80]);
        rest >>= 7;
    }
    to.extend_from_slice(&[rest as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, BatchBuilder};

    #[test]
    fn varints_are_javas() {
        for (value, bytes) in [
            (0i64, &[0u8][..]),
            (-1, &[1]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-8193, &[0x81, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut to = BytesMut::new();
            write_varint(&mut to, value);
            assert_eq!(to, bytes, "{value}");
            assert_eq!(varlong_size(value), bytes.len(), "{value}");
            assert_eq!(Cursor { bytes, at: 0 }.varlong(), Ok(value));
        }
    }

    #[test]
    fn headers_keep_their_order_and_their_duplicates() {
        let mut builder = BatchBuilder::new();
        builder.push(
            5,
            Some(b"k"),
            None,
            &[("h", Some(b"1".as_slice())), ("h", None), ("a", Some(b"2".as_slice()))],
        );
        let batch = Batch::split_from(&mut builder.finish().unwrap()).unwrap().unwrap();
        let record = batch.records().unwrap().next().unwrap().unwrap();
        let headers: Vec<_> = record.headers.iter().map(|h| (h.key.as_ref(), h.value.as_deref())).collect();
        assert_eq!(headers, [("h", Some(b"1".as_slice())), ("h", None), ("a", Some(b"2".as_slice()))]);
        assert_eq!((record.key.as_deref(), record.value), (Some(b"k".as_slice()), None));
    }

    #[test]
    fn a_count_that_is_not_true_is_found_out() {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"v"), &[]);
        let bytes = builder.finish().unwrap();
        for (announced, expected) in [
            (2u8, BatchError::Record { index: 1, why: "it ends early" }),
            (0, BatchError::Trailing { left: bytes.len() - 61 }),
        ] {
            let mut lying = BytesMut::from(&bytes[..]);
            lying[60] = announced;
            let batch = Batch::split_from(&mut lying.freeze()).unwrap().unwrap();
            assert_eq!(batch.records().unwrap().find_map(Result::err), Some(expected));
        }
    }
}
