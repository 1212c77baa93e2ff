//! `.timeindex`: entries of int64 timestamp and int32 offset − base, timestamps strictly rising: no record before the
//! entry's chunk end has a larger timestamp.

use super::TimestampOffset;
use super::error::{LogError, Result};
use super::index_file::IndexFile;
use std::path::PathBuf;

const ENTRY: usize = 12;

#[derive(Debug)]
pub(crate) struct TimeIndex {
    pub file: IndexFile,
    base: i64,
    last: TimestampOffset,
}

impl TimeIndex {
    pub fn new(path: PathBuf, base: i64) -> Self {
        let last = TimestampOffset { timestamp: -1, offset: base };
        Self { file: IndexFile::new(path, ENTRY as u32), base, last }
    }

    pub fn open_existing(&mut self) -> Result<()> {
        self.file.open_existing()?;
        self.check()?;
        self.load_last()
    }

    /// Timestamps rise, offsets do not fall.
    fn check(&self) -> Result<()> {
        let mut last: Option<(i64, i32)> = None;
        self.file.for_each(|n, entry: &[u8; ENTRY]| {
            let next = split(entry);
            let follows = last.is_none_or(|last| next.0 > last.0 && next.1 >= last.1) && next.1 >= 0;
            if !follows {
                let reason = format!("the entry {next:?} (time, offset) does not follow {last:?}");
                return Err(LogError::corrupt(self.file.path(), u64::from(n) * ENTRY as u64, reason));
            }
            last = Some(next);
            Ok(())
        })
    }

    pub fn create(&mut self, bytes: u32) -> Result<()> {
        self.file.create(bytes)?;
        self.load_last()
    }

    fn load_last(&mut self) -> Result<()> {
        self.last = match self.file.entries() {
            0 => TimestampOffset { timestamp: -1, offset: self.base },
            n => self.decode(&self.file.entry(n - 1)?),
        };
        Ok(())
    }

    fn decode(&self, entry: &[u8; ENTRY]) -> TimestampOffset {
        let (timestamp, relative) = split(entry);
        TimestampOffset { timestamp, offset: self.base + i64::from(relative) }
    }

    /// The last entry; (-1, base offset) where there is none.
    pub fn last(&self) -> TimestampOffset {
        self.last
    }

    /// One slot stays free for the entry that a roll adds.
    pub fn is_full(&self) -> bool {
        self.file.entries() + 1 >= self.file.capacity()
    }

    /// Adds the entry unless its timestamp is no larger than the last one.
    pub fn maybe_append(&mut self, at: TimestampOffset) -> Result<()> {
        if at.timestamp <= self.last.timestamp {
            return Ok(());
        }
        if self.file.entries() != 0 && at.offset < self.last.offset {
            let reason = format!("offset {} does not follow {}", at.offset, self.last.offset);
            return Err(LogError::corrupt(self.file.path(), self.file.size(), reason));
        }
        let relative = (at.offset - self.base) as u32;
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&at.timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&relative.to_be_bytes());
        self.file.append(&entry)?;
        self.last = at;
        Ok(())
    }

    /// The last entry whose timestamp is at most `timestamp`.
    pub fn lookup(&self, timestamp: i64) -> Result<TimestampOffset> {
        let slot = self.file.partition_point(|entry: &[u8; ENTRY]| split(entry).0 <= timestamp)?;
        if slot == 0 {
            return Ok(TimestampOffset { timestamp: -1, offset: self.base });
        }
        Ok(self.decode(&self.file.entry(slot - 1)?))
    }

    /// Drops the entries at `offset` and above.
    pub fn truncate_to(&mut self, offset: i64) -> Result<()> {
        let relative = offset - self.base;
        let keep = self.file.partition_point(|entry: &[u8; ENTRY]| i64::from(split(entry).1) < relative)?;
        self.file.truncate(keep)?;
        self.load_last()
    }
}

fn split(entry: &[u8; ENTRY]) -> (i64, i32) {
    let (timestamp, relative) = entry.split_at(8);
    let timestamp = i64::from_be_bytes(timestamp.try_into().expect("eight bytes"));
    (timestamp, i32::from_be_bytes(relative.try_into().expect("four bytes")))
}
