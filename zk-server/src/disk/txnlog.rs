//! The transaction log: `log.<hex zxid of the first entry>`.
//!
//! | part | bytes |
//! |---|---|
//! | header (16) | `ZKLG`, `i32` version 2, `i64` database id 0 |
//! | entry | `i64` Adler-32 of the payload, `i32` its length, the payload, `B` |
//! | padding | zeros up to the preallocated end |
//!
//! A length of 0, a file's end, or an entry without its `B` end the entries of a file: what follows was never synced,
//! and so never acknowledged. A payload that does not match its checksum, or a length beyond all reason, was damaged
//! later: an error.

use super::{DiskError, files_by_zxid, space::Space, sync_folder};
use crate::config::DiskConfig;
use bytes::Bytes;
use simd_adler32::adler32;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};
use wire::zk::Zxid;

const HEADER: [u8; 16] = [b'Z', b'K', b'L', b'G', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
const HEADER_LEN: u64 = HEADER.len() as u64;
const END: u8 = b'B';
/// Checksum, length, end.
const FRAME_LEN: usize = 8 + 4 + 1;
/// Entries are buffered up to here between syncs.
const BUFFER_MAX: usize = 1 << 20;
/// A file grows when less than this is left of it.
const ROOM_MIN: u64 = 4096;

/// The log's end, on the log thread. After an error nothing more can be appended: what reached the disk is unknown.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    current: Option<Current>,
    preallocate: u64,
    sync: bool,
    sync_warning: Duration,
    space: Space,
    file_max: Option<u64>,
    failed: bool,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// Where the buffer goes.
    at: u64,
    /// The file's length, padding included.
    size: u64,
    buffer: Vec<u8>,
    space: Space,
}

impl Log {
    pub(super) fn new(folder: &Path, config: &DiskConfig, space: Space) -> Log {
        Log {
            folder: folder.into(),
            current: None,
            preallocate: config.preallocate,
            sync: config.sync,
            sync_warning: config.sync_warning,
            space,
            file_max: config.log_bytes,
            failed: false,
        }
    }

    /// Buffers one entry; a new file begins at the start and after [`Log::roll`].
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), DiskError> {
        self.guarded(|log| {
            let current = match &mut log.current {
                Some(current) => current,
                None => log.current.insert(Current::create(&log.folder, zxid, &log.space)?),
            };
            current.pad(log.preallocate)?;
            current.buffer.extend_from_slice(&u64::from(adler32(&txn)).to_be_bytes());
            current.buffer.extend_from_slice(&(txn.len() as u32).to_be_bytes());
            current.buffer.extend_from_slice(txn);
            current.buffer.push(END);
            match current.buffer.len() >= BUFFER_MAX {
                true => current.flush(),
                false => Ok(()),
            }
        })
    }

    /// Writes and syncs what was appended: after it, entries survive the machine.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.guarded(|log| {
            let Some(current) = &mut log.current else { return Ok(()) };
            current.flush()?;
            if log.sync {
                current.sync(log.sync_warning)?;
            }
            if log.file_max.is_some_and(|max| current.at > max) {
                log.current = None;
            }
            Ok(())
        })
    }

    /// Syncs, and lets the next append begin a new file.
    pub fn roll(&mut self) -> Result<(), DiskError> {
        self.sync()?;
        self.current = None;
        Ok(())
    }

    /// Bytes of header and entries in the current file, padding not counted; 0 before its first entry.
    pub fn len(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.at + current.buffer.len() as u64)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn guarded(&mut self, action: impl FnOnce(&mut Log) -> Result<(), DiskError>) -> Result<(), DiskError> {
        if self.failed {
            return Err(DiskError::Broken(format!(
                "an earlier write to the log in {} failed; restart the server once the cause is removed",
                self.folder.display()
            )));
        }
        let result = action(self);
        self.failed = result.is_err();
        result
    }
}

impl Current {
    fn create(folder: &Path, zxid: Zxid, space: &Space) -> Result<Current, DiskError> {
        let name = format!("log.{zxid:x}");
        info!("Creating new log file: {name}");
        let path = folder.join(name);
        if path.exists() && LogFile::open(&path)?.is_some_and(|mut old| !matches!(old.next(), Ok(None))) {
            return Err(DiskError::Broken(format!("{} already holds transactions", path.display())));
        }
        let open = || OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = space.patiently(&path, open);
        let file = file.map_err(DiskError::io("create", &path))?;
        let mut current =
            Current { path, file, at: 0, size: HEADER_LEN, buffer: HEADER.to_vec(), space: space.clone() };
        current.flush()?;
        // Without this, a crash could forget the file and every entry that was synced into it.
        sync_folder(folder)?;
        Ok(current)
    }

    /// Grows the file ahead, so that syncs rarely have a length to write. The rule is Java's: see [`padded`].
    fn pad(&mut self, preallocate: u64) -> Result<(), DiskError> {
        let size = padded(self.at, self.size, preallocate);
        if size != self.size {
            let write = || self.file.write_all_at(&[0], size - 1);
            self.space.patiently(&self.path, write).map_err(DiskError::io("write to", &self.path))?;
            self.size = size;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        let write = || self.file.write_all_at(&self.buffer, self.at);
        self.space.patiently(&self.path, write).map_err(DiskError::io("write to", &self.path))?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&self, warning: Duration) -> Result<(), DiskError> {
        let started = Instant::now();
        self.file.sync_data().map_err(DiskError::io("sync", &self.path))?;
        let took = started.elapsed();
        if took > warning {
            warn!(
                "fsync-ing the write ahead log {} took {}ms which will adversely effect operation latency.File size \
                 is {} bytes. See the ZooKeeper troubleshooting guide",
                self.path.display(),
                took.as_millis(),
                self.size
            );
        }
        Ok(())
    }
}

/// The size of a file that is written up to `at`: a block more when 4 KiB or less are left.
pub fn padded(at: u64, size: u64, block: u64) -> u64 {
    match (at + ROOM_MIN >= size, at > size) {
        _ if block == 0 => size,
        (false, _) => size,
        (true, false) => size + block,
        (true, true) => (at + block) / block * block,
    }
}

/// One file, entry by entry.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    from: BufReader<File>,
    /// Behind the last whole entry.
    at: u64,
    size: u64,
    entry_max: usize,
}

/// A log entry that matches its checksum.
#[derive(Debug)]
pub struct Entry {
    pub payload: Bytes,
    /// Offset of its first byte, and of the byte behind it.
    pub start: u64,
    pub end: u64,
}

impl LogFile {
    /// `None`: a file whose header never reached the disk, and so no entry either.
    pub fn open(path: &Path) -> Result<Option<LogFile>, DiskError> {
        let failed = DiskError::io("read", path);
        let file = File::open(path).map_err(&failed)?;
        let size = file.metadata().map_err(&failed)?.len();
        let mut from = BufReader::with_capacity(BUFFER_MAX, file);
        let mut header = [0; HEADER.len()];
        match from.read_exact(&mut header) {
            Ok(()) if header[..8] == HEADER[..8] => {}
            Ok(()) if header == [0; HEADER.len()] => return Ok(None),
            Ok(()) => {
                return Err(DiskError::Corrupt {
                    path: path.into(),
                    at: 0,
                    what: "not a transaction log of version 2 (a file begins with ZKLG)".into(),
                });
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        Ok(Some(LogFile { path: path.into(), from, at: HEADER_LEN, size, entry_max: usize::MAX }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Longer entries are errors from now on.
    pub fn set_entry_max(&mut self, entry_max: usize) {
        self.entry_max = entry_max;
    }

    /// The next entry; `None` where the file's entries end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, DiskError> {
        let failed = DiskError::io("read", &self.path);
        let whole = |result: io::Result<()>| match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(failed(error)),
        };
        let mut head = [0; 12];
        if !whole(self.from.read_exact(&mut head))? {
            return Ok(None);
        }
        let (checksum, len) = head.split_at(8);
        let checksum = u64::from_be_bytes(checksum.try_into().expect("8 bytes"));
        let len = i32::from_be_bytes(len.try_into().expect("4 bytes"));
        if len < 0 || len as usize > self.entry_max {
            return Err(self.corrupt(format!(
                "Unreasonable length = {len}: -Djute.maxbuffer with its extra allows {}. Set it in JVMFLAGS to what the \
                 servers had that wrote this; or the length is damaged",
                self.entry_max
            )));
        }
        // Zero: padding. Beyond the file: the entry was torn.
        let left = self.size - self.at;
        if len == 0 || (len as usize + FRAME_LEN) as u64 > left {
            return Ok(None);
        }
        let mut payload = vec![0; len as usize + 1];
        if !whole(self.from.read_exact(&mut payload))? {
            return Ok(None);
        }
        if payload.pop() != Some(END) {
            warn!("{} at byte {}: Last transaction was partial.", self.path.display(), self.at);
            return Ok(None);
        }
        if u64::from(adler32(&payload.as_slice())) != checksum {
            return Err(self.corrupt("CRC check failed"));
        }
        let start = self.at;
        self.at += (payload.len() + FRAME_LEN) as u64;
        Ok(Some(Entry { payload: payload.into(), start, end: self.at }))
    }

    /// An error at the entry that comes next.
    pub fn corrupt(&self, what: impl Into<String>) -> DiskError {
        DiskError::Corrupt { path: self.path.clone(), at: self.at, what: what.into() }
    }
}

/// The files that may hold entries from `zxid` on, oldest first.
pub fn files_from(folder: &Path, zxid: Zxid) -> Result<VecDeque<PathBuf>, DiskError> {
    let files = files_by_zxid(folder, "log")?;
    let first = files.iter().rposition(|(begins, _)| *begins < zxid).unwrap_or(0);
    Ok(files.into_iter().skip(first).map(|(_, path)| path).collect())
}

/// Opens a file, or deletes it where it is the last one and holds nothing.
pub fn open_or_drop(path: &Path, is_last: bool) -> Result<Option<LogFile>, DiskError> {
    if let Some(file) = LogFile::open(path)? {
        return Ok(Some(file));
    }
    if !is_last {
        let what = "the header is missing, and later logs exist".into();
        return Err(DiskError::Corrupt { path: path.into(), at: 0, what });
    }
    warn!("Delete empty tail log file to recover from corruption file: {}", path.display());
    fs::remove_file(path).map_err(DiskError::io("delete", path))?;
    Ok(None)
}

/// Cuts a file at `end` and deletes the later ones, newest first, so that a crash in between leaves no gap.
pub fn cut(path: &Path, end: u64, later: &[PathBuf]) -> Result<(), DiskError> {
    for path in later.iter().rev() {
        fs::remove_file(path).map_err(DiskError::io("delete", path))?;
    }
    let failed = DiskError::io("truncate", path);
    let file = OpenOptions::new().write(true).open(path).map_err(&failed)?;
    file.set_len(end).and_then(|()| file.sync_all()).map_err(&failed)?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::config;

    fn open(folder: &Path, config: &DiskConfig) -> Log {
        Log::new(folder, config, Space::new(folder, folder, 0))
    }

    fn write(folder: &Path, zxids: &[Zxid]) -> PathBuf {
        let mut log = open(folder, &config());
        for zxid in zxids {
            log.append(*zxid, format!("transaction {zxid}").as_bytes()).unwrap();
        }
        log.roll().unwrap();
        folder.join(format!("log.{:x}", zxids[0]))
    }

    fn read(path: &Path) -> Result<Vec<String>, DiskError> {
        let Some(mut file) = LogFile::open(path)? else { return Ok(vec![]) };
        let mut all = Vec::new();
        while let Some(entry) = file.next()? {
            all.push(String::from_utf8(entry.payload.to_vec()).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn entries_come_back_from_a_padded_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &[0x1a, 0x1b]);
        assert_eq!(path.file_name().unwrap(), "log.1a");
        assert_eq!(fs::metadata(&path).unwrap().len(), 16 + config().preallocate);
        assert_eq!(read(&path).unwrap(), ["transaction 26", "transaction 27"]);
    }

    #[test]
    fn padding_grows_as_java_s_does() {
        const BLOCK: u64 = 64 << 20;
        assert_eq!(padded(16, 16, BLOCK), 67_108_880);
        assert_eq!(padded(67_104_783, 67_108_880, BLOCK), 67_108_880);
        assert_eq!(padded(67_104_784, 67_108_880, BLOCK), 67_108_880 + BLOCK);
        assert_eq!(padded(BLOCK + 100_000, BLOCK, BLOCK), 2 * BLOCK);
        assert_eq!(padded(100, 100, 0), 100);
    }

    #[test]
    fn a_tail_torn_at_any_byte_costs_the_torn_entry_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &[1, 2]);
        let whole = fs::read(&path).unwrap();
        let end = 16 + 2 * (FRAME_LEN + "transaction 1".len());
        let begin = end - FRAME_LEN - "transaction 1".len();
        for kept in begin..end {
            let mut torn = whole.clone();
            torn[kept..].fill(0);
            for cut in [torn.len(), kept] {
                fs::write(&path, &torn[..cut]).unwrap();
                assert_eq!(read(&path).unwrap(), ["transaction 1"], "{kept} of {cut} bytes");
            }
        }
    }

    #[test]
    fn a_length_beyond_all_reason_is_damage_and_one_beyond_the_file_a_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &[1, 2]);
        let whole = fs::read(&path).unwrap();
        let second = |length: i32| {
            let mut bytes = whole.clone();
            let at = 16 + FRAME_LEN + "transaction 1".len() + 8;
            bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
            fs::write(&path, bytes).unwrap();
            let mut file = LogFile::open(&path).unwrap().unwrap();
            file.set_entry_max(100_000);
            file.next().unwrap().unwrap();
            file.next()
        };
        for length in [-1, i32::MIN, 100_001, i32::MAX] {
            let wrong = second(length).unwrap_err().to_string();
            assert!(wrong.contains("log.1 at byte 42: Unreasonable length = "), "{length}: {wrong}");
        }
        assert!(second(90_000).unwrap().is_none());
        assert!(second(0).unwrap().is_none());
    }

    #[test]
    fn a_damaged_payload_is_an_error_with_file_and_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &[1, 2]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[16 + 12 + 13 + 1 + 12] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert_eq!(message, format!("{} at byte 42: CRC check failed", path.display()));
    }

    #[test]
    fn a_file_without_its_header_holds_nothing_and_a_stranger_s_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.1");
        for empty in [&b""[..], b"ZKLG", &[0; 64]] {
            fs::write(&path, empty).unwrap();
            assert!(LogFile::open(&path).unwrap().is_none());
        }
        fs::write(&path, [7; 64]).unwrap();
        assert!(LogFile::open(&path).unwrap_err().to_string().contains("not a transaction log"));
    }

    #[test]
    fn a_file_with_transactions_is_never_overwritten_and_one_without_is() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[1]);
        let mut log = open(folder.path(), &config());
        assert!(log.append(1, b"x").unwrap_err().to_string().ends_with("log.1 already holds transactions"));
        fs::write(folder.path().join("log.5"), HEADER).unwrap();
        assert_eq!(read(&write(folder.path(), &[5])).unwrap(), ["transaction 5"]);
    }

    #[test]
    fn nothing_is_appended_behind_a_failed_write() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(&folder.path().join("missing"), &config());
        let message = log.append(1, b"x").unwrap_err().to_string();
        assert!(message.contains("missing/log.1"), "{message}");
        fs::create_dir(folder.path().join("missing")).unwrap();
        assert!(log.append(2, b"x").unwrap_err().to_string().contains("an earlier write"));
    }

    #[test]
    fn a_disk_that_is_full_to_the_end_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(folder.path(), folder.path(), 0);
        space.stop_waiting();
        let mut log = open(folder.path(), &config());
        let path = folder.path().join("log.1");
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        log.current = Some(Current { path, file: full, at: 16, size: 1 << 30, buffer: vec![], space });
        log.append(1, b"x").unwrap();
        let message = log.sync().unwrap_err().to_string();
        assert!(message.contains("log.1: No space left on device"), "{message}");
        assert!(log.sync().is_err());
    }

    #[test]
    fn a_log_rolls_at_its_limit_and_reading_begins_at_the_file_that_may_hold_the_zxid() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), &DiskConfig { log_bytes: Some(100), ..config() });
        for zxid in 1..=9 {
            log.append(zxid, &[zxid as u8; 20]).unwrap();
            log.sync().unwrap();
        }
        let names = |from: Zxid| -> Vec<String> {
            let files = files_from(folder.path(), from).unwrap();
            files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(0), ["log.1", "log.4", "log.7"]);
        assert_eq!(names(6), ["log.4", "log.7"]);
        assert_eq!(names(8), ["log.7"]);
    }
}
