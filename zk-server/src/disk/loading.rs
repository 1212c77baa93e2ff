//! A snapshot's file -> database: one thread reads and decompresses, another decodes what is there and builds the tree, so
//! that no file is ever in memory as a whole.

use super::DiskError;
use super::snapshot::{CLOSE, HEADER, LAST_ZXID_LEN, Snapshot, open};
use bytes::{Bytes, BytesMut};
use simd_adler32::Adler32;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use wire::jute::{DecodeError, Reader};
use wire::zk::Zxid;
use zk_core::Database;
use zk_core::database::SnapshotDecoder;

/// What is read at once, and how many of those wait to be decoded.
const PIECE: usize = 256 << 10;
const PIECES_WAITING: usize = 16;

/// Reads a whole file and checks every seal; a path or a node's data longer than `field_max` is refused.
pub fn read(path: &Path, field_max: usize) -> Result<Snapshot, DiskError> {
    let failed = DiskError::io("read", path);
    let from = open(path).map_err(&failed)?;
    let (pieces, read) = sync_channel(PIECES_WAITING);
    let thread = std::thread::Builder::new().name("SnapshotReader".into());
    let parsed = std::thread::scope(|scope| {
        // Where this ends early, the thread must not wait for room.
        let read = read;
        thread.spawn_scoped(scope, move || read_pieces(from, &pieces)).map_err(Failure::Io)?;
        parse(&read, field_max)
    });
    parsed.map_err(|failure| match failure {
        Failure::Io(source) => failed(source),
        Failure::Corrupt(at, what) => DiskError::Corrupt { path: path.into(), at: at as u64, what },
    })
}

/// Reads the bytes of a plain file.
pub fn decode(bytes: Bytes, field_max: usize) -> Result<Snapshot, String> {
    let (pieces, read) = sync_channel(1);
    // There is room for it.
    let _ = pieces.send(Ok(bytes));
    drop(pieces);
    parse(&read, field_max).map_err(|failure| match failure {
        Failure::Io(error) => error.to_string(),
        Failure::Corrupt(at, what) => format!("at byte {at}: {what}"),
    })
}

type Piece = io::Result<Bytes>;

/// Until the end of the file, or until nobody wants more.
fn read_pieces(mut from: impl Read, to: &SyncSender<Piece>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = from.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let last = !matches!(read, Ok(len) if len > 0);
        let piece = read.map(|_| Bytes::from(piece));
        if to.send(piece).is_err() || last {
            return;
        }
    }
}

enum Failure {
    Io(io::Error),
    /// At which byte, and what.
    Corrupt(usize, String),
}

/// The bytes of a file as they come.
struct Source<'a> {
    pieces: &'a Receiver<Piece>,
    /// Read and not yet understood.
    bytes: Bytes,
    /// Of the first of those; and the checksum of all before it.
    at: usize,
    sum: Adler32,
}

impl Source<'_> {
    /// False: there is no more.
    fn more(&mut self) -> Result<bool, Failure> {
        match self.pieces.recv() {
            Ok(Ok(piece)) if piece.is_empty() => Ok(false),
            Ok(Ok(piece)) if self.bytes.is_empty() => {
                self.bytes = piece;
                Ok(true)
            }
            Ok(Ok(piece)) => {
                let mut both = BytesMut::with_capacity(self.bytes.len() + piece.len());
                both.extend_from_slice(&self.bytes);
                both.extend_from_slice(&piece);
                self.bytes = both.freeze();
                Ok(true)
            }
            Ok(Err(error)) => Err(Failure::Io(error)),
            Err(_) => Ok(false),
        }
    }

    fn take(&mut self, len: usize) -> Bytes {
        let taken = self.bytes.split_to(len);
        self.sum.write(&taken);
        self.at += len;
        taken
    }

    fn corrupt<T>(&self, what: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Corrupt(self.at, what.into()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        match self.bytes.first_chunk() {
            Some(array) => {
                let array = *array;
                self.take(N);
                Ok(array)
            }
            None => self.corrupt(format!("the file ends, {N} bytes were expected")),
        }
    }

    fn check_seal(&mut self) -> Result<(), Failure> {
        let wanted = u64::from(self.sum.finish()).to_be_bytes();
        let at = self.at;
        let seal: [u8; 8 + CLOSE.len()] = self.array()?;
        if seal[..8] != wanted || seal[8..] != CLOSE {
            let what = "CRC corruption: the checksum does not match what is before it";
            return Err(Failure::Corrupt(at, what.into()));
        }
        Ok(())
    }
}

fn parse(pieces: &Receiver<Piece>, field_max: usize) -> Result<Snapshot, Failure> {
    let mut source = Source { pieces, bytes: Bytes::new(), at: 0, sum: Adler32::new() };
    while source.bytes.len() < HEADER.len() && source.more()? {}
    if source.bytes.len() < HEADER.len() || source.bytes[..8] != HEADER[..8] {
        return source.corrupt("not a snapshot of version 2 (a file begins with ZKSN)");
    }
    source.take(HEADER.len());
    let database = parse_body(&mut source, field_max)?;
    while source.more()? {}
    source.check_seal()?;
    let mut digest = None;
    // Each trailer can be switched off for itself: their lengths tell which are there.
    if !source.bytes.is_empty() && source.bytes.len() != LAST_ZXID_LEN {
        let zxid = Zxid::from_be_bytes(source.array()?);
        let version = i32::from_be_bytes(source.array()?);
        let sum = i64::from_be_bytes(source.array()?);
        source.check_seal()?;
        digest = Some((zxid, sum)).filter(|_| version == 2 && zxid != 0);
    }
    let mut last_zxid = None;
    if !source.bytes.is_empty() {
        last_zxid = Some(Zxid::from_be_bytes(source.array()?));
        source.check_seal()?;
    }
    Ok(Snapshot { database, digest, last_zxid })
}

fn parse_body(source: &mut Source, field_max: usize) -> Result<Database, Failure> {
    let mut decoder = SnapshotDecoder::new();
    loop {
        let mut from = Reader::new(source.bytes.clone()).with_field_max(field_max);
        let taken = decoder.take_whole(&mut from);
        let done = taken.or_else(|error| {
            let at = source.at;
            source.corrupt(format!("{error} (counted from byte {at})"))
        })?;
        source.take(from.position());
        if done {
            return Ok(decoder.finish());
        }
        if !source.more()? {
            let error = DecodeError::Short { at: source.bytes.len(), wanted: 4 };
            let at = source.at;
            return source.corrupt(format!("{error} (counted from byte {at})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_damaged_at_its_beginning_is_refused_without_reading_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.1");
        let mut bytes = HEADER.to_vec();
        // No sessions, no ACLs, and a path of a wild length.
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0]);
        bytes.resize(2 * PIECES_WAITING * PIECE, 0);
        std::fs::write(&path, bytes).unwrap();
        let Err(DiskError::Corrupt { at, what, .. }) = read(&path, usize::MAX) else {
            panic!("it is damaged")
        };
        assert_eq!(at, 16);
        assert!(what.ends_with("at byte 8 is out of range (counted from byte 16)"), "{what}");
    }

    #[test]
    fn a_file_of_many_pieces_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let config = crate::disk::tests::config();
        let mut writer = crate::disk::SnapshotWriter::new(folder.path(), 7, &config, false).unwrap();
        let mut body = BytesMut::new();
        Database::new().encode_stream(&mut body);
        body.truncate(body.len() - CLOSE.len());
        for n in 0..40 {
            let data = vec![n; PIECE / 7 * usize::from(n % 9)];
            let path = format!("/n{n:02}");
            body.extend_from_slice(&(path.len() as i32).to_be_bytes());
            body.extend_from_slice(path.as_bytes());
            body.extend_from_slice(&(data.len() as i32).to_be_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(&[0; 8 + 4 * 8 + 3 * 4 + 2 * 8]);
        }
        body.extend_from_slice(&CLOSE);
        writer.write(&body).unwrap();
        let path = writer.finish(Some((7, 1)), 7).unwrap();
        let snapshot = read(&path, usize::MAX).unwrap();
        assert_eq!((snapshot.digest, snapshot.last_zxid), (Some((7, 1)), Some(7)));
        for n in 0..40u8 {
            let node = snapshot.database.node(&format!("/n{n:02}")).unwrap();
            assert_eq!(node.data(), Some(&vec![n; PIECE / 7 * usize::from(n % 9)][..]));
        }
    }
}
