//! Transactions: what the log stores and a proposal carries.
//!
//! Bytes: [`TxnHeader`] (32), the record of its type, and, when digests are on, [`TxnDigest`] (12).
//! Layouts as in ZooKeeper 3.9.3; older, shorter forms are read (see each record).

use super::{SessionId, Zxid, op};
use crate::Str;
use crate::jute::{DecodeError, Reader, Record};
use crate::record;
use bytes::{Bytes, BytesMut};

record! {
    #[derive(Copy)]
    pub struct TxnHeader {
        pub session: SessionId,
        pub cxid: i32,
        pub zxid: Zxid,
        /// Milliseconds since 1970, from the leader's clock.
        pub time: i64,
        /// An opcode of [`op`].
        pub kind: i32,
    }

    /// `digest` is the tree's digest once the transaction is applied; `version` is 2.
    #[derive(Copy)]
    pub struct TxnDigest { pub version: i32, pub digest: i64, }

    pub struct CreateContainerTxn {
        pub path: Str,
        pub data: Option<Bytes>,
        pub acl: Vec<super::Acl>,
        pub parent_cversion: i32,
    }
    pub struct CreateTtlTxn {
        pub path: Str,
        pub data: Option<Bytes>,
        pub acl: Vec<super::Acl>,
        pub parent_cversion: i32,
        pub ttl: i64,
    }
    pub struct DeleteTxn { pub path: Str, }
    pub struct SetDataTxn { pub path: Str, pub data: Option<Bytes>, pub version: i32, }
    pub struct SetAclTxn { pub path: Str, pub acl: Vec<super::Acl>, pub version: i32, }
    pub struct CheckVersionTxn { pub path: Str, pub version: i32, }
    /// One part of a multi: an opcode and the bytes of its record.
    pub struct SubTxn { pub kind: i32, pub data: Option<Bytes>, }
}

/// `parent_cversion` is the value to set on the parent; -1 (3.3's form, which lacks it): count up by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTxn {
    pub path: Str,
    pub data: Option<Bytes>,
    pub acl: Vec<super::Acl>,
    pub ephemeral: bool,
    pub parent_cversion: i32,
}

impl Record for CreateTxn {
    fn read(from: &mut Reader) -> Result<CreateTxn, DecodeError> {
        Ok(CreateTxn {
            path: from.read()?,
            data: from.read()?,
            acl: from.read()?,
            ephemeral: from.read()?,
            parent_cversion: if from.remaining() >= 4 { from.read()? } else { -1 },
        })
    }
    fn write(&self, to: &mut BytesMut) {
        self.path.write(to);
        self.data.write(to);
        self.acl.write(to);
        self.ephemeral.write(to);
        self.parent_cversion.write(to);
    }
}

/// The part of a transaction between header and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnRecord {
    CreateSession {
        timeout: i32,
    },
    /// `None`: written without the list of paths (before 3.6, or `closeSessionTxn.enabled=false`).
    CloseSession {
        paths: Option<Vec<Str>>,
    },
    Error {
        err: i32,
    },
    Create(CreateTxn),
    Create2(CreateTxn),
    CreateContainer(CreateContainerTxn),
    CreateTtl(CreateTtlTxn),
    Delete(DeleteTxn),
    DeleteContainer(DeleteTxn),
    SetData(SetDataTxn),
    Reconfig(SetDataTxn),
    SetAcl(SetAclTxn),
    Check(CheckVersionTxn),
    Multi(Vec<SubTxn>),
}

impl TxnRecord {
    /// The opcode that goes into the header, or before a multi's part.
    pub fn kind(&self) -> i32 {
        match self {
            TxnRecord::CreateSession { .. } => op::CREATE_SESSION,
            TxnRecord::CloseSession { .. } => op::CLOSE_SESSION,
            TxnRecord::Error { .. } => op::ERROR,
            TxnRecord::Create(_) => op::CREATE,
            TxnRecord::Create2(_) => op::CREATE2,
            TxnRecord::CreateContainer(_) => op::CREATE_CONTAINER,
            TxnRecord::CreateTtl(_) => op::CREATE_TTL,
            TxnRecord::Delete(_) => op::DELETE,
            TxnRecord::DeleteContainer(_) => op::DELETE_CONTAINER,
            TxnRecord::SetData(_) => op::SET_DATA,
            TxnRecord::Reconfig(_) => op::RECONFIG,
            TxnRecord::SetAcl(_) => op::SET_ACL,
            TxnRecord::Check(_) => op::CHECK,
            TxnRecord::Multi(_) => op::MULTI,
        }
    }

    pub fn read(kind: i32, from: &mut Reader) -> Result<TxnRecord, DecodeError> {
        Ok(match kind {
            op::CREATE_SESSION => TxnRecord::CreateSession { timeout: from.read()? },
            op::CLOSE_SESSION => TxnRecord::CloseSession { paths: read_paths(from)? },
            op::ERROR => TxnRecord::Error { err: from.read()? },
            op::CREATE => TxnRecord::Create(from.read()?),
            op::CREATE2 => TxnRecord::Create2(from.read()?),
            op::CREATE_CONTAINER => TxnRecord::CreateContainer(from.read()?),
            op::CREATE_TTL => TxnRecord::CreateTtl(from.read()?),
            op::DELETE => TxnRecord::Delete(from.read()?),
            op::DELETE_CONTAINER => TxnRecord::DeleteContainer(from.read()?),
            op::SET_DATA => TxnRecord::SetData(from.read()?),
            op::RECONFIG => TxnRecord::Reconfig(from.read()?),
            op::SET_ACL => TxnRecord::SetAcl(from.read()?),
            op::CHECK => TxnRecord::Check(from.read()?),
            op::MULTI => TxnRecord::Multi(from.read()?),
            kind => return Err(DecodeError::Kind { at: from.position(), kind }),
        })
    }

    pub fn write(&self, to: &mut BytesMut) {
        match self {
            TxnRecord::CreateSession { timeout } => timeout.write(to),
            TxnRecord::CloseSession { paths } => paths.iter().for_each(|paths| paths.write(to)),
            TxnRecord::Error { err } => err.write(to),
            TxnRecord::Create(record) | TxnRecord::Create2(record) => record.write(to),
            TxnRecord::CreateContainer(record) => record.write(to),
            TxnRecord::CreateTtl(record) => record.write(to),
            TxnRecord::Delete(record) | TxnRecord::DeleteContainer(record) => record.write(to),
            TxnRecord::SetData(record) | TxnRecord::Reconfig(record) => record.write(to),
            TxnRecord::SetAcl(record) => record.write(to),
            TxnRecord::Check(record) => record.write(to),
            TxnRecord::Multi(parts) => parts.write(to),
        }
    }
}

/// The list is absent at the end of a record; 12 bytes that are left there are a digest, not a list.
fn read_paths(from: &mut Reader) -> Result<Option<Vec<Str>>, DecodeError> {
    const DIGEST: usize = 12;
    if matches!(from.remaining(), 0 | DIGEST) && !starts_with_list(from) {
        return Ok(None);
    }
    from.read().map(Some)
}

/// A digest starts with its version, 2. Two paths take at least 12 bytes after the count, so 12 bytes in all
/// that start with 2 are a digest.
fn starts_with_list(from: &Reader) -> bool {
    from.clone().read::<i32>().is_ok_and(|first| first != 2)
}

/// A transaction: decoded, and the bytes that are logged and proposed as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub header: TxnHeader,
    pub record: TxnRecord,
    /// Absent for errors, and where `digest.enabled` is off.
    pub digest: Option<TxnDigest>,
    pub bytes: Bytes,
}

impl Txn {
    pub fn new(header: TxnHeader, record: TxnRecord, digest: Option<TxnDigest>) -> Txn {
        let mut to = BytesMut::new();
        header.write(&mut to);
        record.write(&mut to);
        digest.iter().for_each(|digest| digest.write(&mut to));
        Txn { header, record, digest, bytes: to.freeze() }
    }

    /// Reads a log entry's payload or a proposal's data.
    pub fn decode(bytes: Bytes) -> Result<Txn, DecodeError> {
        let mut from = Reader::new(bytes.clone());
        let header: TxnHeader = from.read()?;
        let record = TxnRecord::read(header.kind, &mut from)?;
        let digest = if from.remaining() >= 12 { Some(from.read()?) } else { None };
        Ok(Txn { header, record, digest, bytes })
    }

    pub fn zxid(&self) -> Zxid {
        self.header.zxid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: i32) -> TxnHeader {
        TxnHeader { session: 7, cxid: 1, zxid: 0x1_0000_0001, time: 1000, kind }
    }

    fn round_trip(record: TxnRecord, digest: Option<TxnDigest>) -> Txn {
        let txn = Txn::new(header(record.kind()), record, digest);
        let back = Txn::decode(txn.bytes.clone()).unwrap();
        assert_eq!(back, txn);
        back
    }

    #[test]
    fn a_session_is_48_bytes_with_its_digest_and_an_error_36_without() {
        let digest = Some(TxnDigest { version: 2, digest: 1371985504 });
        assert_eq!(round_trip(TxnRecord::CreateSession { timeout: 10_000 }, digest).bytes.len(), 48);
        assert_eq!(round_trip(TxnRecord::Error { err: -101 }, None).bytes.len(), 36);
    }

    #[test]
    fn a_close_without_its_list_is_told_from_one_with_an_empty_list() {
        let digest = Some(TxnDigest { version: 2, digest: 5 });
        round_trip(TxnRecord::CloseSession { paths: None }, None);
        round_trip(TxnRecord::CloseSession { paths: None }, digest);
        round_trip(TxnRecord::CloseSession { paths: Some(vec![]) }, digest);
        round_trip(TxnRecord::CloseSession { paths: Some(vec!["/a".into(), "/b".into()]) }, None);
        round_trip(TxnRecord::CloseSession { paths: Some(vec!["/abc".into()]) }, None);
    }

    #[test]
    fn a_create_of_3_3_has_no_parent_cversion() {
        let record =
            CreateTxn { path: "/a".into(), data: None, acl: vec![], ephemeral: false, parent_cversion: -1 };
        let whole = Txn::new(header(op::CREATE), TxnRecord::Create(record.clone()), None).bytes;
        let old = Txn::decode(whole.slice(..whole.len() - 4)).unwrap();
        assert_eq!(old.record, TxnRecord::Create(record));
    }
}
