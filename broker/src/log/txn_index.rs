//! `.txnindex`: the aborted transactions whose markers lie in a segment, 34 bytes each: int16 version 0, int64 producer
//! id, first offset, last offset (the marker's) and last stable offset. The file exists only where there are any.

use super::AbortedTxn;
use super::error::{At, LogError, Result};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ENTRY: usize = 34;

/// The entries are read with the first use and kept.
#[derive(Debug)]
pub(crate) struct TxnIndex {
    path: PathBuf,
    base: i64,
    entries: Option<Vec<AbortedTxn>>,
}

impl TxnIndex {
    pub fn new(path: PathBuf, base: i64) -> Self {
        Self { path, base, entries: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file lies elsewhere now.
    pub fn relocate(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub fn entries(&mut self) -> Result<&[AbortedTxn]> {
        if self.entries.is_none() {
            self.entries = Some(self.load()?);
        }
        Ok(self.entries.as_deref().unwrap_or_default())
    }

    fn load(&self) -> Result<Vec<AbortedTxn>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).at("cannot read", &self.path),
        };
        let (chunks, torn) = bytes.as_chunks::<ENTRY>();
        if !torn.is_empty() {
            let reason = format!("an index of {ENTRY} byte entries has {} bytes", bytes.len());
            return Err(LogError::corrupt(&self.path, bytes.len() as u64, reason));
        }
        chunks.iter().enumerate().map(|(n, chunk)| self.decode(chunk, (n * ENTRY) as u64)).collect()
    }

    fn decode(&self, entry: &[u8; ENTRY], position: u64) -> Result<AbortedTxn> {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        let long =
            |n: usize| i64::from_be_bytes(entry[2 + 8 * n..10 + 8 * n].try_into().expect("eight bytes"));
        let txn = AbortedTxn {
            producer_id: long(0),
            first_offset: long(1),
            last_offset: long(2),
            last_stable_offset: long(3),
        };
        if version != 0 {
            return Err(LogError::corrupt(
                &self.path,
                position,
                format!("an aborted transaction of version {version}"),
            ));
        }
        if txn.last_offset < self.base {
            let reason = format!("{txn:?} ends below the segment's first offset {}", self.base);
            return Err(LogError::corrupt(&self.path, position, reason));
        }
        Ok(txn)
    }

    pub fn append(&mut self, txn: AbortedTxn) -> Result<()> {
        let count = self.entries()?.len();
        let mut entry = [0; ENTRY];
        let longs = [txn.producer_id, txn.first_offset, txn.last_offset, txn.last_stable_offset];
        for (n, long) in longs.iter().enumerate() {
            entry[2 + 8 * n..10 + 8 * n].copy_from_slice(&long.to_be_bytes());
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path);
        let file = file.at("cannot open", &self.path)?;
        file.write_all_at(&entry, (count * ENTRY) as u64).at("cannot write", &self.path)?;
        self.entries.get_or_insert_default().push(txn);
        Ok(())
    }

    /// Drops the transactions that end at `offset` or above.
    pub fn truncate_to(&mut self, offset: i64) -> Result<()> {
        let keep = self.entries()?.partition_point(|txn| txn.last_offset < offset);
        if keep < self.entries()?.len() {
            self.set_len(keep)?;
        }
        Ok(())
    }

    /// Forgets everything, readable or not.
    pub fn reset(&mut self) -> Result<()> {
        self.entries = Some(Vec::new());
        if self.path.exists() { self.set_len(0) } else { Ok(()) }
    }

    fn set_len(&mut self, entries: usize) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path).at("cannot open", &self.path)?;
        file.set_len((entries * ENTRY) as u64).at("cannot truncate", &self.path)?;
        self.entries.get_or_insert_default().truncate(entries);
        Ok(())
    }

    pub fn handle(&self) -> Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("cannot open", &self.path),
        }
    }

    /// Adds to `out` what overlaps `from..upper`; true once no later segment can add to it.
    pub fn collect(&mut self, from: i64, upper: i64, out: &mut Vec<AbortedTxn>) -> Result<bool> {
        for txn in self.entries()? {
            if txn.last_offset >= from && txn.first_offset < upper {
                out.push(*txn);
            }
            if txn.last_stable_offset >= upper {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
