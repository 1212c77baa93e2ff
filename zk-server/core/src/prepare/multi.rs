//! Several changes under one zxid: all or none.

use super::Step;
use super::create::CreateMode;
use bytes::{Bytes, BytesMut};
use wire::jute::{DecodeError, Reader, Record};
use wire::zk::txn::{SubTxn, TxnRecord};
use wire::zk::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiHeader, SetDataRequest, err, op,
};

enum Part {
    Create(i32, CreateRequest, i64),
    Delete(DeleteRequest),
    SetData(SetDataRequest),
    Check(CheckVersionRequest),
}

impl Step<'_> {
    pub(super) fn multi(&mut self) -> Result<TxnRecord, i32> {
        let parts = read_parts(&mut Reader::new(self.request.body.clone())).map_err(|_| err::MARSHALLING)?;
        let mut records = Vec::with_capacity(parts.len());
        self.prepare.pending.begin_multi();
        let mut failed = false;
        for part in parts {
            let record = if failed { Err(err::RUNTIME_INCONSISTENCY) } else { self.part(part) };
            failed |= record.is_err();
            let record = record.unwrap_or_else(|err| TxnRecord::Error { err });
            let mut data = BytesMut::new();
            record.write(&mut data);
            records.push(SubTxn { kind: record.kind(), data: Some(data.freeze()) });
        }
        self.prepare.pending.end_multi(!failed);
        Ok(TxnRecord::Multi(records))
    }

    fn part(&mut self, part: Part) -> Result<TxnRecord, i32> {
        match part {
            Part::Create(kind, request, ttl) => self.create(kind, request, ttl),
            Part::Delete(request) => self.delete(request),
            Part::SetData(request) => self.set_data(request),
            Part::Check(request) => self.check(request),
        }
    }
}

/// Up to the end header. Anything that is not a write of a multi, or has flags that do not exist, spoils all of it.
fn read_parts(from: &mut Reader) -> Result<Vec<Part>, DecodeError> {
    let mut parts = vec![];
    loop {
        let at = from.position();
        let header: MultiHeader = from.read()?;
        if header.done {
            return Ok(parts);
        }
        parts.push(match header.op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                let request: CreateRequest = from.read()?;
                check_flags(request.flags, from)?;
                Part::Create(header.op, request, -1)
            }
            op::CREATE_TTL => {
                let CreateTtlRequest { path, data, acl, flags, ttl } = from.read()?;
                check_flags(flags, from)?;
                Part::Create(header.op, CreateRequest { path, data, acl, flags }, ttl)
            }
            op::DELETE => Part::Delete(from.read()?),
            op::SET_DATA => Part::SetData(from.read()?),
            op::CHECK => Part::Check(from.read()?),
            kind => return Err(DecodeError::Kind { at, kind }),
        });
    }
}

/// The request, well-formed, makes a node that goes with its session: one by one or within a multi.
pub(crate) fn makes_ephemeral(op: i32, body: &Bytes) -> bool {
    let is_ephemeral = |flags| CreateMode::from_flags(flags).is_some_and(|mode| mode.ephemeral);
    match op {
        op::CREATE | op::CREATE2 => {
            CreateRequest::decode(body).is_ok_and(|request| is_ephemeral(request.flags))
        }
        op::MULTI => read_parts(&mut Reader::new(body.clone())).is_ok_and(|parts| {
            parts.iter().any(|part| match part {
                Part::Create(op::CREATE | op::CREATE2, request, _) => is_ephemeral(request.flags),
                _ => false,
            })
        }),
        _ => false,
    }
}

fn check_flags(flags: i32, from: &Reader) -> Result<(), DecodeError> {
    match CreateMode::from_flags(flags) {
        Some(_) => Ok(()),
        None => Err(DecodeError::Kind { at: from.position(), kind: flags }),
    }
}
