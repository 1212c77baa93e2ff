//! Writes record batches.

use super::record::{varint_size, varlong_size, write_varint};
use super::{Attributes, Compression, HEADER_SIZE, Header};
use bytes::{Bytes, BytesMut};

/// Collects records into one batch. The first record's timestamp becomes the base timestamp.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: Header,
    compression: Compression,
    /// Records as they will stand, uncompressed.
    records: BytesMut,
    next_delta: i32,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// A batch at offset 0, without producer, leader epoch and compression.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            header: Header {
                base_offset: 0,
                batch_length: 0,
                leader_epoch: -1,
                crc: 0,
                attributes: Attributes::default(),
                last_offset_delta: -1,
                base_timestamp: -1,
                max_timestamp: -1,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                record_count: 0,
            },
            compression: Compression::None,
            records: BytesMut::new(),
            next_delta: 0,
        }
    }

    /// A batch like `header`, without its records: for rewriting one.
    pub fn like(header: &Header) -> BatchBuilder {
        let compression = header.attributes.compression().unwrap_or_default();
        let header = Header { record_count: 0, last_offset_delta: -1, max_timestamp: -1, ..*header };
        BatchBuilder { header, compression, ..BatchBuilder::new() }
    }

    pub fn base_offset(mut self, offset: i64) -> BatchBuilder {
        self.header.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.header.leader_epoch = epoch;
        self
    }

    pub fn compression(mut self, codec: Compression) -> BatchBuilder {
        self.compression = codec;
        self
    }

    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self, on: bool) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with(Attributes::TRANSACTIONAL, on);
        self
    }

    pub fn control(mut self, on: bool) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with(Attributes::CONTROL, on);
        self
    }

    /// All records count as written at `now` (ms).
    pub fn log_append_time(mut self, now: i64) -> BatchBuilder {
        self.header.attributes = self.header.attributes.with(Attributes::LOG_APPEND_TIME, true);
        self.header.max_timestamp = now;
        self
    }

    /// Adds a record at the offset after the last one's.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        self.push_at(self.next_delta, timestamp, key, value, headers);
    }

    /// Adds a record `offset_delta` after the base offset; deltas have to ascend.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let timestamp_delta = self.stamp(offset_delta, timestamp);
        let part = |bytes: Option<&[u8]>| match bytes {
            None => 1,
            Some(bytes) => varint_size(bytes.len() as i32) + bytes.len(),
        };
        let headers_size: usize =
            headers.iter().map(|(key, value)| part(Some(key.as_bytes())) + part(*value)).sum();
        let size = 1
            + varlong_size(timestamp_delta)
            + varint_size(offset_delta)
            + part(key)
            + part(value)
            + varint_size(headers.len() as i32)
            + headers_size;
        let to = &mut self.records;
        to.reserve(size + 5);
        write_varint(to, size as i64);
        to.extend_from_slice(&[0]);
        write_varint(to, timestamp_delta);
        write_varint(to, i64::from(offset_delta));
        write_part(to, key);
        write_part(to, value);
        write_varint(to, headers.len() as i64);
        for (key, value) in headers {
            write_part(to, Some(key.as_bytes()));
            write_part(to, *value);
        }
    }

    /// Adds a record that was read from another batch, its headers byte for byte.
    pub fn push_raw(&mut self, offset_delta: i32, timestamp: i64, raw: &super::RawRecord<'_>) {
        let timestamp_delta = self.stamp(offset_delta, timestamp);
        let mut body = BytesMut::with_capacity(raw.size + 10);
        body.extend_from_slice(&[raw.attributes as u8]);
        write_varint(&mut body, timestamp_delta);
        write_varint(&mut body, i64::from(offset_delta));
        write_part(&mut body, raw.key);
        write_part(&mut body, raw.value);
        write_varint(&mut body, i64::from(raw.header_count));
        body.extend_from_slice(raw.headers);
        write_varint(&mut self.records, body.len() as i64);
        self.records.extend_from_slice(&body);
    }

    /// Counts one more record, and returns its timestamp delta.
    fn stamp(&mut self, offset_delta: i32, timestamp: i64) -> i64 {
        let header = &mut self.header;
        if header.record_count == 0 && !header.attributes.has_delete_horizon() {
            header.base_timestamp = timestamp;
        }
        if !header.attributes.is_log_append_time() {
            header.max_timestamp = header.max_timestamp.max(timestamp);
        }
        header.record_count += 1;
        header.last_offset_delta = offset_delta;
        self.next_delta = offset_delta + 1;
        timestamp.wrapping_sub(header.base_timestamp)
    }

    /// Says that the batch ends at this offset though its last records are gone.
    pub fn last_offset_delta(mut self, delta: i32) -> BatchBuilder {
        self.header.last_offset_delta = delta;
        self
    }

    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes that the batch would have, uncompressed.
    pub fn size(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    /// The batch. Fails only if a compressor does.
    pub fn finish(mut self) -> std::io::Result<Bytes> {
        let compressed;
        let records = match self.compression {
            Compression::None => &self.records[..],
            codec => {
                compressed = codec.compress(&self.records)?;
                &compressed
            }
        };
        let header = &mut self.header;
        header.attributes = Attributes(header.attributes.0 & !7 | i16::from(self.compression.id()));
        header.batch_length = (HEADER_SIZE - super::header::LOG_OVERHEAD + records.len()) as i32;
        header.crc = header.crc_with(records);
        let mut batch = BytesMut::with_capacity(HEADER_SIZE + records.len());
        batch.extend_from_slice(&header.encode());
        batch.extend_from_slice(records);
        Ok(batch.freeze())
    }
}

fn write_part(to: &mut BytesMut, part: Option<&[u8]>) {
    match part {
        None => write_varint(to, -1),
        Some(bytes) => {
            write_varint(to, bytes.len() as i64);
            to.extend_from_slice(bytes);
        }
    }
}
