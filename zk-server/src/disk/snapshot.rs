//! Snapshots: `snapshot.<hex zxid>[.gz|.snappy]`, the zxid being the last that was applied when writing began.
//!
//! | part | bytes |
//! |---|---|
//! | header (16) | `ZKSN`, `i32` version 2, `i64` database id -1 |
//! | body | sessions, ACLs, nodes, closing `/`: [`Database::encode_stream`] |
//! | seal (13) | `i64` Adler-32 of everything before it, ustring `/` |
//! | digest (20), seal | `i64` zxid, `i32` version 2, `i64` the tree's digest as of that zxid; only with digests on |
//! | last zxid (8), seal | `i64` last zxid applied when writing ended; optional |
//!
//! Older files end behind the first or second seal. The checksum is of the uncompressed bytes.

use super::snappy::{self, SnappyReader, SnappyWriter};
use super::{DiskError, files_by_zxid, sync_folder};
use crate::config::{DiskConfig, SnapshotCompression};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use simd_adler32::{Adler32, adler32};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing::info;
use wire::zk::Zxid;
use zk_core::Database;

pub(super) const HEADER: [u8; 16] =
    [b'Z', b'K', b'S', b'N', 0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 255];
pub(super) const CLOSE: [u8; 5] = [0, 0, 0, 1, b'/'];
/// The last trailer with its seal.
pub(super) const LAST_ZXID_LEN: usize = 8 + 8 + CLOSE.len();
/// Endings of names.
const COMPRESSED: [&str; 2] = ["gz", "snappy"];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A snapshot under way; dropped before it is published it leaves nothing behind.
pub struct SnapshotWriter {
    sink: Sink,
    path: PathBuf,
    temporary: Temporary,
    checksum: Adler32,
    sync: bool,
    with_digest: bool,
    with_last_zxid: bool,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    Snappy(Box<SnappyWriter<BufWriter<File>>>),
}

impl SnapshotWriter {
    pub(super) fn new(
        folder: &Path,
        zxid: Zxid,
        config: &DiskConfig,
        sync: bool,
    ) -> Result<SnapshotWriter, DiskError> {
        let name = format!("snapshot.{zxid:x}{}", config.compression.suffix());
        let path = folder.join(&name);
        info!("Snapshotting: 0x{zxid:x} to {}", path.display());
        // One that was given up may still be on its way out under the same zxid.
        let temporary = folder.join(format!("{name}.{}.tmp", NEXT.fetch_add(1, Relaxed)));
        let file = File::create(&temporary).map_err(DiskError::io("create", &temporary))?;
        let temporary = Temporary(temporary);
        let file = BufWriter::with_capacity(1 << 18, file);
        let sink = match config.compression {
            SnapshotCompression::None => Sink::Plain(file),
            SnapshotCompression::Gzip => Sink::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
            SnapshotCompression::Snappy => Sink::Snappy(Box::new(SnappyWriter::new(file))),
        };
        let mut writer = SnapshotWriter {
            sink,
            path,
            temporary,
            checksum: Adler32::new(),
            sync,
            with_digest: config.digest,
            with_last_zxid: config.last_zxid_trailer,
        };
        writer.write(&HEADER)?;
        Ok(writer)
    }

    /// The next bytes of the body.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), DiskError> {
        self.checksum.write(chunk);
        let result = match &mut self.sink {
            Sink::Plain(to) => to.write_all(chunk),
            Sink::Gzip(to) => to.write_all(chunk),
            Sink::Snappy(to) => to.write_all(chunk),
        };
        result.map_err(DiskError::io("write to", &self.temporary.0))
    }

    /// It bears the name of this zxid instead.
    pub fn set_zxid(&mut self, zxid: Zxid) {
        let suffix = self.path.extension().filter(|ending| COMPRESSED.iter().any(|suffix| ending == suffix));
        let suffix = suffix.map(|suffix| format!(".{}", suffix.display())).unwrap_or_default();
        self.path.set_file_name(format!("snapshot.{zxid:x}{suffix}"));
    }

    /// What a plain file holds by now is on stable storage when this returns, so that its end takes no time.
    pub fn sync_so_far(&mut self) -> Result<(), DiskError> {
        let synced = match &mut self.sink {
            Sink::Plain(to) if self.sync => to.flush().and_then(|()| to.get_ref().sync_data()),
            _ => Ok(()),
        };
        synced.map_err(DiskError::io("write to", &self.temporary.0))
    }

    /// Seals it: `digest` is a zxid and the tree's digest as of it, `last_zxid` the last one applied by now. Returns
    /// the file.
    pub fn finish(self, digest: Option<(Zxid, i64)>, last_zxid: Zxid) -> Result<PathBuf, DiskError> {
        self.seal(digest, last_zxid)?.publish()
    }

    /// As [`SnapshotWriter::finish`], but the file does not count before it is published.
    pub fn seal(mut self, digest: Option<(Zxid, i64)>, last_zxid: Zxid) -> Result<SealedSnapshot, DiskError> {
        self.end_part()?;
        if let Some((zxid, digest)) = digest.filter(|_| self.with_digest) {
            self.write(&zxid.to_be_bytes())?;
            self.write(&2i32.to_be_bytes())?;
            self.write(&digest.to_be_bytes())?;
            self.end_part()?;
        }
        if self.with_last_zxid {
            self.write(&last_zxid.to_be_bytes())?;
            self.end_part()?;
        }
        let SnapshotWriter { sink, path, temporary, sync, .. } = self;
        let ended = match sink {
            Sink::Plain(to) => to.into_inner().map_err(io::IntoInnerError::into_error),
            Sink::Gzip(to) => {
                to.finish().and_then(|to| to.into_inner().map_err(io::IntoInnerError::into_error))
            }
            Sink::Snappy(to) => {
                to.finish().and_then(|to| to.into_inner().map_err(io::IntoInnerError::into_error))
            }
        };
        let synced = ended.and_then(|file| if sync { file.sync_all() } else { Ok(()) });
        synced.map_err(DiskError::io("write to", &temporary.0))?;
        Ok(SealedSnapshot { path, temporary, sync })
    }

    fn end_part(&mut self) -> Result<(), DiskError> {
        self.write(&u64::from(self.checksum.finish()).to_be_bytes())?;
        self.write(&CLOSE)
    }
}

/// A complete file that does not bear its name yet; dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct SealedSnapshot {
    path: PathBuf,
    temporary: Temporary,
    sync: bool,
}

impl SealedSnapshot {
    pub fn publish(self) -> Result<PathBuf, DiskError> {
        fs::rename(&self.temporary.0, &self.path).map_err(DiskError::io("write", &self.path))?;
        if self.sync {
            self.path.parent().map_or(Ok(()), sync_folder)?;
        }
        Ok(self.path)
    }
}

/// Numbers the temporary files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone after the rename; otherwise the file is not wanted.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a file holds.
#[derive(Debug)]
pub struct Snapshot {
    pub database: Database,
    /// The digest trailer; `None` in files that lack it, and where nothing had been applied.
    pub digest: Option<(Zxid, i64)>,
    /// The last one applied when writing ended: the tree may have changes up to it. `None` in files that lack it.
    pub last_zxid: Option<Zxid>,
}

impl Snapshot {
    /// The last transaction of which it may hold changes: what was applied while it was being written is in it, too.
    pub fn reaches(&self) -> Zxid {
        let told = self.last_zxid.or(self.digest.map(|(zxid, _)| zxid));
        told.unwrap_or_else(|| newest_change(&self.database))
    }
}

/// The highest zxid that a node has: for snapshots of servers before 3.6, which do not say when they were finished.
fn newest_change(database: &Database) -> Zxid {
    let mut newest = 0;
    let mut below = vec![String::new()];
    while let Some(key) = below.pop() {
        let Some(node) = database.node(if key.is_empty() { "/" } else { &key }) else { continue };
        let stat = node.node_stat();
        newest = newest.max(stat.mzxid).max(stat.pzxid).max(stat.czxid);
        below.extend(node.children().map(|name| format!("{key}/{name}")));
    }
    newest
}

/// The bytes of a plain file that holds a database as it is.
pub fn encode(database: &Database, with_digest: bool) -> Bytes {
    let mut to = BytesMut::from(&HEADER[..]);
    database.encode_stream(&mut to);
    let end_part = |to: &mut BytesMut| {
        let seal = u64::from(adler32(&&to[..]));
        to.extend_from_slice(&seal.to_be_bytes());
        to.extend_from_slice(&CLOSE);
    };
    end_part(&mut to);
    if with_digest {
        let digest = database.snapshot_digest();
        to.extend_from_slice(&digest.zxid.to_be_bytes());
        to.extend_from_slice(&2i32.to_be_bytes());
        to.extend_from_slice(&digest.digest.to_be_bytes());
        end_part(&mut to);
    }
    to.extend_from_slice(&database.last_zxid().to_be_bytes());
    end_part(&mut to);
    to.freeze()
}

/// Files that look complete, newest first, at most `max`.
pub fn candidates(folder: &Path, max: usize) -> Result<Vec<(Zxid, PathBuf)>, DiskError> {
    let mut files = Vec::new();
    for (zxid, path) in files_by_zxid(folder, "snapshot")?.into_iter().rev() {
        if looks_complete(&path)? && files.len() < max {
            files.push((zxid, path));
        }
    }
    Ok(files)
}

/// A file that was cut short is told apart without reading it all.
fn looks_complete(path: &Path) -> Result<bool, DiskError> {
    let failed = DiskError::io("read", path);
    let mut file = File::open(path).map_err(&failed)?;
    match extension(path) {
        "gz" => {
            let mut magic = [0; 2];
            Ok(file.read_exact(&mut magic).is_ok() && magic == GZIP_MAGIC)
        }
        "snappy" => {
            let mut magic = [0; snappy::MAGIC.len()];
            Ok(file.read_exact(&mut magic).is_ok() && magic == snappy::MAGIC)
        }
        _ => {
            if file.metadata().map_err(&failed)?.len() < 10 {
                return Ok(false);
            }
            let mut end = [0; CLOSE.len()];
            file.seek(SeekFrom::End(-(CLOSE.len() as i64))).map_err(&failed)?;
            file.read_exact(&mut end).map_err(&failed)?;
            Ok(end == CLOSE)
        }
    }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// The plain bytes of a file; its name says how it is compressed.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    Ok(match extension(path) {
        "gz" => Box::new(MultiGzDecoder::new(file)),
        "snappy" => Box::new(SnappyReader::new(BufReader::new(file))),
        _ => Box::new(BufReader::with_capacity(1 << 18, file)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::loading::{decode, read};
    use super::*;
    use crate::disk::tests::config;

    fn write(folder: &Path, config: &DiskConfig) -> PathBuf {
        let mut writer = SnapshotWriter::new(folder, 0x8d, config, true).unwrap();
        let mut body = bytes::BytesMut::new();
        Database::new().encode_stream(&mut body);
        body.chunks(7).for_each(|chunk| writer.write(chunk).unwrap());
        writer.finish(Some((0x8c, 1371985504)), 0x8d).unwrap()
    }

    #[test]
    fn a_snapshot_comes_back_with_its_trailers_or_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &config());
        assert_eq!(path.file_name().unwrap(), "snapshot.8d");
        let plain = fs::metadata(&path).unwrap().len();
        assert_eq!(read(&path, usize::MAX).unwrap().digest, Some((0x8c, 1371985504)));
        let bare = DiskConfig { digest: false, last_zxid_trailer: false, ..config() };
        let path = write(folder.path(), &bare);
        assert_eq!(fs::metadata(&path).unwrap().len(), plain - 20 - 13 - 8 - 13);
        assert_eq!(read(&path, usize::MAX).unwrap().digest, None);
        for (digest, last_zxid_trailer) in [(true, false), (false, true), (true, true)] {
            let path = write(folder.path(), &DiskConfig { digest, last_zxid_trailer, ..config() });
            let back = read(&path, usize::MAX).unwrap();
            assert_eq!((back.digest.is_some(), back.last_zxid), (digest, last_zxid_trailer.then_some(0x8d)));
        }
    }

    #[test]
    fn a_snapshot_may_get_its_zxid_when_it_is_written() {
        for (compression, name) in [
            (SnapshotCompression::None, "snapshot.ab"),
            (SnapshotCompression::Gzip, "snapshot.ab.gz"),
            (SnapshotCompression::Snappy, "snapshot.ab.snappy"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let config = DiskConfig { compression, ..config() };
            let mut writer = SnapshotWriter::new(folder.path(), 0xcd, &config, true).unwrap();
            let mut body = bytes::BytesMut::new();
            Database::new().encode_stream(&mut body);
            writer.write(&body).unwrap();
            writer.sync_so_far().unwrap();
            writer.set_zxid(0xab);
            let path = writer.finish(None, 0xab).unwrap();
            assert_eq!(path.file_name().unwrap(), name);
            assert_eq!(read(&path, usize::MAX).unwrap().last_zxid, Some(0xab));
        }
    }

    #[test]
    fn a_compressed_snapshot_comes_back() {
        for (compression, name) in [
            (SnapshotCompression::Gzip, "snapshot.8d.gz"),
            (SnapshotCompression::Snappy, "snapshot.8d.snappy"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = write(folder.path(), &DiskConfig { compression, ..config() });
            assert_eq!(path.file_name().unwrap(), name);
            let back = read(&path, usize::MAX).unwrap().database;
            assert_eq!(back.node_count(), Database::new().node_count());
            assert_eq!(candidates(folder.path(), 9).unwrap(), [(0x8d, path)]);
        }
    }

    #[test]
    fn a_compressed_snapshot_without_its_magic_is_no_candidate() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["snapshot.1.gz", "snapshot.2.snappy"] {
            fs::write(folder.path().join(name), b"something else").unwrap();
        }
        assert!(candidates(folder.path(), 9).unwrap().is_empty());
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &config());
        let whole = fs::read(&path).unwrap();
        // The header's database id is not looked at, here or in Java; all else is under a seal.
        for at in (0..8).chain(16..whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(bytes.into(), usize::MAX).is_err(), "byte {at} of {}", whole.len());
        }
    }

    #[test]
    fn a_file_that_was_cut_short_is_no_candidate() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &config());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(candidates(folder.path(), 9).unwrap().is_empty());
    }

    #[test]
    fn an_unfinished_snapshot_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SnapshotWriter::new(folder.path(), 1, &config(), false).unwrap();
        writer.write(b"half").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
