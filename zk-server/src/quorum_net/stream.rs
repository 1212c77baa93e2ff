//! Where the items of a snapshot stream end, and the stream itself: it stands behind a SNAP packet without a length, and packets follow it.
//!
//! ```text
//! int n, n * (long session, int timeout)
//! int n, n * (long index, int m, m * (int perms, ustring scheme, ustring id))
//! (ustring path, buffer data, 68 bytes)*  ustring "/"
//! ustring "BenWasHere"
//! ```

use wire::zk::quorum::SNAP_SIGNATURE;

/// acl index, 5 longs, 3 ints, owner, pzxid: what follows a node's data.
const NODE_TAIL: usize = 8 + 4 * 8 + 3 * 4 + 8 + 8;
/// The longest path, scheme or id that is believed.
const TEXT_MAX: i32 = 16 << 20;
/// The longest node that is believed.
const DATA_MAX: i32 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("length {len} at byte {at} of the leader's snapshot is out of range")]
    Length { at: usize, len: i32 },
    #[error("the leader's snapshot does not end in its signature but in {found:?}")]
    Signature { found: String },
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Sessions,
    AclCount,
    /// Entries of the ACL table still to come.
    AclEntry(u32),
    /// Entries behind this one, and ACLs of this one still to come.
    Acl(u32, u32),
    Path,
    Data,
    Signature,
}

/// How far a stream is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes that end between two nodes, or behind the closing path: what can be decoded.
    pub whole: usize,
    /// Behind those, the length of the signature, once it is there: the end of the stream.
    pub signature: Option<usize>,
}

/// Finds the items and the end of a stream while its bytes come in; each byte is looked at about once.
#[derive(Debug)]
pub(crate) struct StreamScan {
    next: Next,
    /// Everything before this offset is understood.
    at: usize,
    whole: usize,
}

impl StreamScan {
    pub fn new() -> StreamScan {
        StreamScan { next: Next::Sessions, at: 0, whole: 0 }
    }

    /// `stream`: what has come since the SNAP packet, without what was taken.
    pub fn scan(&mut self, stream: &[u8]) -> Result<Scanned, StreamError> {
        loop {
            let mut walk = Walk { stream, at: self.at };
            match walk.step(self.next)? {
                None => return Ok(Scanned { whole: self.whole, signature: None }),
                Some(Step::Next(next)) => (self.next, self.at) = (next, walk.at),
                Some(Step::End) => {
                    return Ok(Scanned { whole: self.whole, signature: Some(walk.at - self.at) });
                }
            }
            if matches!(self.next, Next::Path | Next::Signature) {
                self.whole = self.at;
            }
        }
    }

    /// The first `bytes` of the stream are gone: at most what is whole.
    pub fn taken(&mut self, bytes: usize) {
        self.at -= bytes;
        self.whole -= bytes;
    }
}

enum Step {
    Next(Next),
    End,
}

struct Walk<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn int(&mut self) -> Option<i32> {
        let int = self.stream.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(i32::from_be_bytes(*int))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.stream.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// A length-prefixed piece: `Some(None)` for null.
    fn piece(&mut self, max: i32) -> Result<Option<&'a [u8]>, StreamError> {
        let at = self.at;
        match self.int() {
            None => Ok(None),
            Some(-1) => Ok(Some(&[])),
            Some(len) if !(0..=max).contains(&len) => Err(StreamError::Length { at, len }),
            Some(len) => Ok(self.take(len as usize)),
        }
    }

    fn count(&mut self) -> Option<u32> {
        self.int().map(|count| count.max(0) as u32)
    }

    /// One item of the stream; `None` while it is not all there.
    fn step(&mut self, next: Next) -> Result<Option<Step>, StreamError> {
        Ok(Some(Step::Next(match next {
            Next::Sessions => match self.count().map(|count| self.take(count as usize * 12)) {
                Some(Some(_)) => Next::AclCount,
                _ => return Ok(None),
            },
            Next::AclCount => match self.count() {
                Some(count) => Next::AclEntry(count),
                None => return Ok(None),
            },
            Next::AclEntry(0) => Next::Path,
            Next::AclEntry(left) => match self.take(8).and_then(|_| self.count()) {
                Some(acls) => Next::Acl(left - 1, acls),
                None => return Ok(None),
            },
            Next::Acl(left, 0) => Next::AclEntry(left),
            Next::Acl(left, acls) => {
                if self.int().is_none() || self.piece(TEXT_MAX)?.is_none() || self.piece(TEXT_MAX)?.is_none()
                {
                    return Ok(None);
                }
                Next::Acl(left, acls - 1)
            }
            Next::Path => match self.piece(TEXT_MAX)? {
                Some(b"/") => Next::Signature,
                Some(_) => Next::Data,
                None => return Ok(None),
            },
            Next::Data => match self.piece(DATA_MAX)?.map(|_| self.take(NODE_TAIL)) {
                Some(Some(_)) => Next::Path,
                _ => return Ok(None),
            },
            Next::Signature => match self.piece(TEXT_MAX)? {
                Some(text) if text == SNAP_SIGNATURE.as_bytes() => return Ok(Some(Step::End)),
                Some(text) => {
                    let found = String::from_utf8_lossy(text).into_owned();
                    return Err(StreamError::Signature { found });
                }
                None => return Ok(None),
            },
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};

    fn text(to: &mut BytesMut, text: &str) {
        to.put_i32(text.len() as i32);
        to.put_slice(text.as_bytes());
    }

    /// A stream with two sessions, one ACL, two nodes.
    fn stream(signature: &str) -> (BytesMut, usize) {
        let mut to = BytesMut::new();
        to.put_i32(2);
        to.put_bytes(7, 24);
        to.put_i32(1);
        to.put_i64(1);
        to.put_i32(1);
        to.put_i32(31);
        text(&mut to, "digest");
        text(&mut to, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        for path in ["", "/zookeeper"] {
            text(&mut to, path);
            to.put_i32(if path.is_empty() { -1 } else { 3 });
            to.put_bytes(9, if path.is_empty() { 0 } else { 3 });
            to.put_bytes(0, NODE_TAIL);
        }
        text(&mut to, "/");
        let len = to.len();
        text(&mut to, signature);
        (to, len)
    }

    #[test]
    fn the_end_is_found_byte_by_byte_and_never_before() {
        let (bytes, len) = stream(SNAP_SIGNATURE);
        let mut scan = StreamScan::new();
        let mut wholes = vec![];
        for upto in 0..bytes.len() {
            let scanned = scan.scan(&bytes[..upto]).unwrap();
            assert_eq!(scanned.signature, None, "{upto} bytes");
            wholes.push(scanned.whole);
        }
        let with_packets_behind = [&bytes[..], b"more"].concat();
        let signature = Some(bytes.len() - len);
        assert_eq!(scan.scan(&with_packets_behind), Ok(Scanned { whole: len, signature }));
        wholes.dedup();
        let node = |path: usize, data: usize| 4 + path + 4 + data + NODE_TAIL;
        let tables = len - 5 - node(10, 3) - node(0, 0);
        assert_eq!(wholes, [0, tables, tables + node(0, 0), len - 5, len]);
    }

    #[test]
    fn what_is_taken_does_not_move_the_end() {
        let (bytes, len) = stream(SNAP_SIGNATURE);
        let (mut scan, mut taken) = (StreamScan::new(), 0);
        for upto in 0..bytes.len() {
            let whole = scan.scan(&bytes[taken..upto]).unwrap().whole;
            scan.taken(whole);
            taken += whole;
        }
        assert_eq!(taken, len);
        let signature = Some(bytes.len() - len);
        assert_eq!(scan.scan(&bytes[taken..]), Ok(Scanned { whole: 0, signature }));
    }

    #[test]
    fn a_wrong_signature_and_a_wild_length_are_refused() {
        assert!(matches!(
            StreamScan::new().scan(&stream("BenWasNot!").0),
            Err(StreamError::Signature { .. })
        ));
        let wild = [&[0; 8][..], &i32::MAX.to_be_bytes()].concat();
        assert_eq!(StreamScan::new().scan(&wild), Err(StreamError::Length { at: 8, len: i32::MAX }));
    }
}
