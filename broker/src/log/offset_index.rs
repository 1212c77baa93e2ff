//! `.index`: entries of int32 offset − base and int32 position of the chunk that ends with this offset.

use super::error::{LogError, Result};
use super::index_file::IndexFile;
use std::path::PathBuf;

const ENTRY: usize = 8;

#[derive(Debug)]
pub(crate) struct OffsetIndex {
    pub file: IndexFile,
    base: i64,
    last_offset: i64,
}

impl OffsetIndex {
    pub fn new(path: PathBuf, base: i64) -> Self {
        Self { file: IndexFile::new(path, ENTRY as u32), base, last_offset: base }
    }

    /// Opens what lies beside a segment of so many bytes.
    pub fn open_existing(&mut self, log_size: u32) -> Result<()> {
        self.file.open_existing()?;
        self.check(log_size)?;
        self.load_last()
    }

    /// Offsets and positions rise, and lie within the segment.
    fn check(&self, log_size: u32) -> Result<()> {
        let (mut offset, mut position) = (0, None);
        self.file.for_each(|n, entry: &[u8; ENTRY]| {
            let (next, at) = split(entry);
            let reason = match (n, next > offset, position.is_none_or(|before| at > before), at < log_size) {
                (_, true, true, true) => {
                    (offset, position) = (next, Some(at));
                    return Ok(());
                }
                (0, false, ..) => {
                    format!("the first entry's offset is the base offset {} and {next}", self.base)
                }
                (_, false, ..) => {
                    format!("an entry's offset {next} above the base offset is not above {offset}")
                }
                (_, _, _, false) => {
                    format!("an entry's position {at} is not within the segment's {log_size} bytes")
                }
                _ => format!("an entry's position {at} is not above the one before"),
            };
            Err(LogError::corrupt(self.file.path(), u64::from(n) * ENTRY as u64, reason))
        })
    }

    pub fn create(&mut self, bytes: u32) -> Result<()> {
        self.file.create(bytes)?;
        self.last_offset = self.base;
        Ok(())
    }

    fn load_last(&mut self) -> Result<()> {
        self.last_offset = match self.file.entries() {
            0 => self.base,
            n => self.decode(&self.file.entry(n - 1)?).0,
        };
        Ok(())
    }

    fn decode(&self, entry: &[u8; ENTRY]) -> (i64, u32) {
        let (offset, position) = split(entry);
        (self.base + i64::from(offset), position)
    }

    /// Offset of the last entry, the base offset where there is none.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    pub fn is_full(&self) -> bool {
        self.file.entries() >= self.file.capacity()
    }

    pub fn append(&mut self, offset: i64, position: u32) -> Result<()> {
        if self.file.entries() != 0 && offset <= self.last_offset {
            let reason = format!("offset {offset} does not follow {}", self.last_offset);
            return Err(LogError::corrupt(self.file.path(), self.file.size(), reason));
        }
        let relative = (offset - self.base) as u32;
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&relative.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        self.file.append(&entry)?;
        self.last_offset = offset;
        Ok(())
    }

    /// The position to scan from for `offset`: that of the last entry at or below it.
    pub fn lookup(&self, offset: i64) -> Result<u32> {
        let relative = offset - self.base;
        let slot = self.file.partition_point(|entry: &[u8; ENTRY]| i64::from(split(entry).0) <= relative)?;
        if slot == 0 { Ok(0) } else { Ok(self.decode(&self.file.entry(slot - 1)?).1) }
    }

    /// Drops the entries at `offset` and above.
    pub fn truncate_to(&mut self, offset: i64) -> Result<()> {
        let relative = offset - self.base;
        let keep = self.file.partition_point(|entry: &[u8; ENTRY]| i64::from(split(entry).0) < relative)?;
        self.file.truncate(keep)?;
        self.load_last()
    }
}

fn split(entry: &[u8; ENTRY]) -> (i32, u32) {
    let [a, b, c, d, e, f, g, h] = *entry;
    (i32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}
