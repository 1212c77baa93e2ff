//! Several changes in one request: all are made or none.

use super::client::{Client, CreateMode, Failure};
use bytes::{Bytes, BytesMut};
use wire::jute::{DecodeError, Reader, Record};
use wire::zk::*;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Create { path: String, data: Option<Bytes>, acl: Vec<Acl>, mode: CreateMode },
    SetData { path: String, data: Option<Bytes>, version: i32 },
    Delete { path: String, version: i32 },
}

impl Part {
    pub fn path(&self) -> &str {
        match self {
            Part::Create { path, .. } | Part::SetData { path, .. } | Part::Delete { path, .. } => path,
        }
    }

    fn write(&self, path: String, to: &mut BytesMut) {
        let header = |op| MultiHeader { op, done: false, err: -1 };
        let path = path.into();
        match self.clone() {
            Part::Create { data, acl, mode, .. } => {
                let flags = mode.flags();
                match mode.ttl {
                    Some(ttl) => {
                        header(op::CREATE_TTL).write(to);
                        CreateTtlRequest { path, data, acl, flags, ttl }.write(to);
                    }
                    None => {
                        header(if mode.container { op::CREATE_CONTAINER } else { op::CREATE }).write(to);
                        CreateRequest { path, data, acl, flags }.write(to);
                    }
                }
            }
            Part::SetData { data, version, .. } => {
                header(op::SET_DATA).write(to);
                SetDataRequest { path, data, version }.write(to);
            }
            Part::Delete { version, .. } => {
                header(op::DELETE).write(to);
                DeleteRequest { path, version }.write(to);
            }
        }
    }
}

/// The parts as they are sent.
struct Parts(Bytes);

impl Record for Parts {
    fn read(from: &mut Reader) -> Result<Parts, DecodeError> {
        Ok(Parts(from.rest()))
    }
    fn write(&self, to: &mut BytesMut) {
        to.extend_from_slice(&self.0);
    }
}

impl Client {
    /// The failure is that of the part that was refused.
    pub fn together(&self, parts: &[Part]) -> Result<(), Failure> {
        let mut request = BytesMut::new();
        for part in parts {
            part.write(self.full(part.path())?, &mut request);
        }
        MultiHeader::END.write(&mut request);
        let failed = |code, path: Option<&str>| Failure::Keeper { code, path: path.map(String::from) };
        let reply =
            self.session.call(op::MULTI, &Parts(request.freeze())).map_err(|code| failed(code, None))?;
        match refused(reply) {
            Ok(None) => Ok(()),
            Ok(Some((at, code))) => Err(failed(code, parts.get(at).map(Part::path))),
            Err(_) => Err(failed(err::MARSHALLING, None)),
        }
    }
}

/// The part that was refused, and its error. The reply to a multi that was refused has an error for each part: 0
/// before the one that matters, `RuntimeInconsistency` behind it.
fn refused(reply: Bytes) -> Result<Option<(usize, i32)>, DecodeError> {
    let mut from = Reader::new(reply);
    let mut at = 0;
    loop {
        let header: MultiHeader = from.read()?;
        if header.done || header.op != op::ERROR {
            return Ok(None);
        }
        let code: i32 = from.read()?;
        if code != err::OK && code != err::RUNTIME_INCONSISTENCY {
            return Ok(Some((at, code)));
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_was_refused_is_found() {
        let mut reply = BytesMut::new();
        for code in [err::OK, err::BAD_VERSION, err::RUNTIME_INCONSISTENCY] {
            MultiHeader { op: op::ERROR, done: false, err: code }.write(&mut reply);
            code.write(&mut reply);
        }
        MultiHeader::END.write(&mut reply);
        assert_eq!(refused(reply.freeze()), Ok(Some((1, err::BAD_VERSION))));
        let mut whole = BytesMut::new();
        MultiHeader { op: op::DELETE, done: false, err: 0 }.write(&mut whole);
        MultiHeader::END.write(&mut whole);
        assert_eq!(refused(whole.freeze()), Ok(None));
        assert!(refused(Bytes::from_static(b"xx")).is_err());
    }
}
