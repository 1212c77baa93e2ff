//! The header of a record batch, as much of it as a log needs, and a walk over a file's batches.

use super::error::{At, LogError, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use wire::batch::header::{CHECKED_AT, LOG_OVERHEAD, MAGIC_AT};
use wire::batch::{self, Attributes, BatchError, HEADER_SIZE};

/// What tells how large a batch is and of which magic.
const PREFIX_SIZE: usize = MAGIC_AT + 1;
/// The smallest length field: a message of magic 0 with neither key nor value.
const LENGTH_MIN: i32 = 14;

/// One batch's header. The message sets before magic 2, which a log from an older broker may begin with, are walked over
/// but not interpreted: what they lack is -1, and `base_offset` is the offset of the entry, the last one inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub base_offset: i64,
    pub last_offset: i64,
    /// The whole batch, overhead included.
    pub size: u32,
    pub leader_epoch: i32,
    pub magic: u8,
    pub attributes: Attributes,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_sequence: i32,
}

impl Header {
    /// Reads the header of the batch that `bytes` begins with; `None` while more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.len() < PREFIX_SIZE {
            return Ok(None);
        }
        let length = be_i32(bytes, 8);
        if length < LENGTH_MIN {
            return Err(format!("a batch's length is {length}, less than the least of {LENGTH_MIN}"));
        }
        match bytes[MAGIC_AT] {
            magic @ (0 | 1) => Ok(Self::parse_legacy(bytes, length, magic)),
            _ => Self::parse_v2(bytes),
        }
    }

    fn parse_v2(bytes: &[u8]) -> Result<Option<Self>, String> {
        let header = match batch::Header::read(bytes) {
            Err(BatchError::Truncated) => return Ok(None),
            other => other.map_err(|error| error.to_string())?,
        };
        let (base_offset, delta) = (header.base_offset, header.last_offset_delta);
        if base_offset < 0 || delta < 0 || base_offset.checked_add(i64::from(delta) + 1).is_none() {
            return Err(format!("a batch's base offset is {base_offset} and its last offset delta {delta}"));
        }
        Ok(Some(Self {
            base_offset,
            last_offset: header.last_offset(),
            size: header.size() as u32,
            leader_epoch: header.leader_epoch,
            magic: 2,
            attributes: header.attributes,
            max_timestamp: header.max_timestamp,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            last_sequence: header.last_sequence(),
        }))
    }

    fn parse_legacy(bytes: &[u8], length: i32, magic: u8) -> Option<Self> {
        let max_timestamp = match magic {
            0 => -1,
            _ if bytes.len() < 26 => return None,
            _ => be_i64(bytes, 18),
        };
        let offset = be_i64(bytes, 0);
        Some(Self {
            base_offset: offset,
            last_offset: offset,
            size: LOG_OVERHEAD as u32 + length as u32,
            leader_epoch: -1,
            magic,
            attributes: Attributes::default(),
            max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            last_sequence: -1,
        })
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Compares the checksum of the whole batch in `bytes`.
    pub fn check_crc(&self, bytes: &[u8]) -> Result<(), String> {
        let (stored, computed) = if self.magic == 2 {
            (be_i32(bytes, 17) as u32, crc32c::crc32c(&bytes[CHECKED_AT..]))
        } else {
            (be_i32(bytes, 12) as u32, crc32fast::hash(&bytes[16..]))
        };
        if stored == computed {
            return Ok(());
        }
        Err(format!(
            "the batch at offset {} has checksum {computed:#010x}, not {stored:#010x}",
            self.base_offset
        ))
    }
}

fn be_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn be_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A walk over the batches of `position..end` of a file, read in chunks. It ends at the end or at a batch that is cut
/// short there; anything else that is no batch is [`LogError::Corrupt`], and [`Scan::position`] stays in front of it.
pub(crate) struct Scan<'a> {
    file: &'a File,
    path: &'a Path,
    position: u64,
    end: u64,
    chunk: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Scan<'a> {
    pub fn new(file: &'a File, path: &'a Path, position: u64, end: u64, chunk: usize) -> Self {
        Self { file, path, position, end, chunk, buffer: Vec::new(), buffer_at: 0 }
    }

    /// Where the next batch starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch's position and header; its body is not read.
    pub fn next_header(&mut self) -> Result<Option<(u64, Header)>> {
        let position = self.position;
        let want = HEADER_SIZE.min((self.end - position) as usize);
        if want < PREFIX_SIZE {
            return Ok(None);
        }
        let path = self.path;
        let window = self.window(position, want)?;
        let header = Header::parse(window).map_err(|reason| LogError::corrupt(path, position, reason))?;
        match header {
            Some(header) if position + u64::from(header.size) <= self.end => {
                self.position += u64::from(header.size);
                Ok(Some((position, header)))
            }
            _ => Ok(None),
        }
    }

    /// The next batch, whole, its checksum compared.
    pub fn next_valid(&mut self) -> Result<Option<(u64, Header, &[u8])>> {
        let Some((position, header)) = self.next_header()? else { return Ok(None) };
        self.position = position;
        let path = self.path;
        let bytes = self.window(position, header.size as usize)?;
        header.check_crc(bytes).map_err(|reason| LogError::corrupt(path, position, reason))?;
        self.position = position + u64::from(header.size);
        let at = (position - self.buffer_at) as usize;
        Ok(Some((position, header, &self.buffer[at..at + header.size as usize])))
    }

    /// The bytes of the batch that [`Scan::next_header`] just gave.
    pub fn body(&mut self, position: u64, header: &Header) -> Result<&[u8]> {
        self.window(position, header.size as usize)
    }

    /// `len` bytes at `position`, both within the end.
    fn window(&mut self, position: u64, len: usize) -> Result<&[u8]> {
        let buffered = self.buffer_at..self.buffer_at + self.buffer.len() as u64;
        if position < buffered.start || position + len as u64 > buffered.end {
            let size = len.max(self.chunk).min((self.end - position) as usize);
            self.buffer.resize(size, 0);
            self.buffer_at = position;
            let read = self.file.read_exact_at(&mut self.buffer, position).at("cannot read", self.path);
            if read.is_err() {
                self.buffer.clear();
            }
            read?;
        }
        let at = (position - self.buffer_at) as usize;
        Ok(&self.buffer[at..at + len])
    }
}

/// The batches of a buffer, none cut short.
pub(crate) fn headers(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, Header), String>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let start = at;
        let header = match Header::parse(&bytes[at..]) {
            Ok(Some(header)) if header.size as usize <= bytes.len() - at => Ok(header),
            Ok(_) => Err(format!("the batch at byte {at} of the {} to append is cut short", bytes.len())),
            Err(reason) => Err(reason),
        };
        at = header.as_ref().map_or(bytes.len(), |header| at + header.size as usize);
        Some(header.map(|header| (start, header)))
    })
}
