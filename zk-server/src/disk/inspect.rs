//! Files as an operator's tools look at them: also damaged ones, and in the order in which they were written.

use super::snapshot;
use bytes::{Bytes, BytesMut};
use simd_adler32::adler32;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;
use wire::Str;
use wire::jute::{DecodeError, Reader, Record};
use wire::zk::{Acl, SessionId};
pub use zk_core::Database;
pub use zk_core::tree::{Lifetime, Node, NodeStat};

/// Why a file cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The first four bytes, as a number.
    #[error("mismatching magic headers {found} !=  {wanted}")]
    Magic { found: i32, wanted: i32 },
    #[error("{0}")]
    Decode(#[from] DecodeError),
}

/// A snapshot, and the orders that its file has.
#[derive(Debug)]
pub struct SnapshotContent {
    pub database: Database,
    /// In the file's order.
    pub sessions: Vec<(SessionId, i32)>,
    /// Names of children, in the file's order, by the parent's key (the root's is empty).
    children: HashMap<Str, Vec<Str>>,
}

impl SnapshotContent {
    /// Reads sessions, ACLs and nodes; seals and trailers are not looked at, as Java's tools do not.
    pub fn read(path: &Path) -> Result<SnapshotContent, InspectError> {
        let mut bytes = Vec::new();
        snapshot::open(path)?.read_to_end(&mut bytes)?;
        SnapshotContent::parse(bytes.into())
    }

    fn parse(bytes: Bytes) -> Result<SnapshotContent, InspectError> {
        let mut from = Reader::new(bytes.clone());
        let wanted = i32::from_be_bytes(*b"ZKSN");
        let found: i32 = from.read()?;
        if found != wanted {
            return Err(InspectError::Magic { found, wanted });
        }
        from.take(12)?;
        let database = Database::decode_stream(&mut from.clone())?;
        let mut content = SnapshotContent { database, sessions: vec![], children: HashMap::new() };
        content.read_orders(&mut from)?;
        Ok(content)
    }

    fn read_orders(&mut self, from: &mut Reader) -> Result<(), DecodeError> {
        for _ in 0..from.read::<i32>()? {
            self.sessions.push((from.read()?, from.read()?));
        }
        for _ in 0..from.read::<i32>()? {
            from.read::<i64>()?;
            from.read::<Vec<Acl>>()?;
        }
        loop {
            let path: Str = from.read()?;
            if path == "/" {
                return Ok(());
            }
            from.read::<Option<Bytes>>()?;
            from.take(8 + 4 * 8 + 3 * 4 + 2 * 8)?;
            if let Some((parent, name)) = path.rsplit_once('/') {
                let names = self.children.entry(parent.into()).or_default();
                names.push(name.into());
            }
        }
    }

    /// Of a node, by its key (the root's is empty), in the file's order.
    pub fn children(&self, key: &str) -> &[Str] {
        self.children.get(key).map_or(&[], Vec::as_slice)
    }
}

/// A log, entry by entry, whatever its checksums say.
pub struct RawLog {
    from: BufReader<File>,
    /// The header's 16 bytes.
    pub header: [u8; 16],
    entry_max: usize,
}

/// One entry as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    pub checksum: i64,
    pub payload: Bytes,
    /// The byte behind it, `B` unless it was torn; `None` where the file ends.
    pub end: Option<u8>,
}

impl RawEntry {
    /// The checksum that it should have.
    pub fn right_checksum(&self) -> i64 {
        i64::from(adler32(&&self.payload[..]))
    }

    /// As it is written.
    pub fn write(&self, checksum: i64, to: &mut BytesMut) {
        checksum.write(to);
        Some(self.payload.clone()).write(to);
        to.extend_from_slice(b"B");
    }
}

impl RawLog {
    /// `entry_max`: the longest payload that is believed.
    pub fn open(path: &Path, entry_max: usize) -> Result<RawLog, InspectError> {
        let mut from = BufReader::new(File::open(path)?);
        let mut header = [0; 16];
        from.read_exact(&mut header)?;
        let wanted = i32::from_be_bytes(*b"ZKLG");
        let found = i32::from_be_bytes(header[..4].try_into().expect("4 bytes"));
        match found == wanted {
            true => Ok(RawLog { from, header, entry_max }),
            false => Err(InspectError::Magic { found, wanted }),
        }
    }

    /// `None` where the entries end: at a length of 0, or where the file does.
    pub fn read_entry(&mut self) -> Result<Option<RawEntry>, InspectError> {
        let mut head = [0; 12];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let len = i32::from_be_bytes(head[8..].try_into().expect("4 bytes"));
        let checksum = i64::from_be_bytes(head[..8].try_into().expect("8 bytes"));
        if len == 0 {
            return Ok(None);
        }
        if len < 0 || len as usize > self.entry_max {
            let what = format!("Unreasonable length = {len}");
            return Err(io::Error::new(ErrorKind::InvalidData, what).into());
        }
        let mut payload = Vec::new();
        if ((&mut self.from).take(len as u64).read_to_end(&mut payload)?) < len as usize {
            return Ok(None);
        }
        let mut end = [0];
        let end = self.fill(&mut end)?.then_some(end[0]);
        Ok(Some(RawEntry { checksum, payload: payload.into(), end }))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.from.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/disk/fixtures").join(name)
    }

    #[test]
    fn a_snapshot_of_java_s_keeps_its_order() {
        let content = SnapshotContent::read(&fixture("snapshot.11")).unwrap();
        let mut counted = 1;
        let mut below = vec![String::new()];
        while let Some(key) = below.pop() {
            for name in content.children(&key) {
                let path = format!("{key}/{name}");
                assert!(content.database.node(&path).is_some(), "{path}");
                counted += 1;
                below.push(path);
            }
        }
        assert_eq!(counted + 1, content.database.node_count());
    }

    #[test]
    fn a_file_that_is_no_snapshot_or_log_is_told_by_its_first_bytes() {
        let wrong = SnapshotContent::read(&fixture("log.1")).unwrap_err().to_string();
        assert_eq!(wrong, "mismatching magic headers 1514884167 !=  1514885966");
        assert!(RawLog::open(&fixture("snapshot.0"), 1 << 20).is_err());
    }

    #[test]
    fn a_log_is_read_over_its_wrong_checksums() {
        let mut log = RawLog::open(&fixture("log.1"), 1 << 20).unwrap();
        let first = log.read_entry().unwrap().unwrap();
        assert_eq!((first.checksum, first.end), (first.right_checksum(), Some(b'B')));
        let mut bytes = std::fs::read(fixture("log.1")).unwrap();
        bytes[16] ^= 1;
        bytes[40] ^= 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.1");
        std::fs::write(&path, bytes).unwrap();
        let mut log = RawLog::open(&path, 1 << 20).unwrap();
        let first = log.read_entry().unwrap().unwrap();
        assert_ne!(first.checksum, first.right_checksum());
        let second = log.read_entry().unwrap().unwrap();
        assert_eq!(second.checksum, second.right_checksum());
    }
}
