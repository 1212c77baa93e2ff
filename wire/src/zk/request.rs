//! The client protocol: handshake, headers, request and reply bodies, watch events.

use crate::Str;
use crate::jute::{DecodeError, Reader, Record};
use crate::record;
use bytes::{Bytes, BytesMut};

/// Who may do something: `scheme` names the provider, `id` its subject (`world:anyone`, `digest:bob:...`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    pub scheme: Str,
    pub id: Str,
}

impl Record for Id {
    /// Null reads as empty: both are refused as an invalid ACL, not as an unreadable request.
    fn read(from: &mut Reader) -> Result<Id, DecodeError> {
        let (scheme, id) = (from.read::<Option<Str>>()?, from.read::<Option<Str>>()?);
        Ok(Id { scheme: scheme.unwrap_or_default(), id: id.unwrap_or_default() })
    }
    fn write(&self, to: &mut BytesMut) {
        self.scheme.write(to);
        self.id.write(to);
    }
}

record! {
    pub struct Acl { pub perms: i32, pub id: Id, }

    /// A node's metadata as clients see it, 68 bytes. `cversion` is twice the stored one less the children.
    #[derive(Default, Copy)]
    pub struct Stat {
        pub czxid: i64,
        pub mzxid: i64,
        pub ctime: i64,
        pub mtime: i64,
        pub version: i32,
        pub cversion: i32,
        pub aversion: i32,
        pub ephemeral_owner: i64,
        pub data_length: i32,
        pub num_children: i32,
        pub pzxid: i64,
    }

    #[derive(Copy)]
    pub struct RequestHeader { pub xid: i32, pub op: i32, }

    #[derive(Copy)]
    pub struct ReplyHeader { pub xid: i32, pub zxid: i64, pub err: i32, }

    pub struct CreateRequest { pub path: Str, pub data: Option<Bytes>, pub acl: Vec<Acl>, pub flags: i32, }
    pub struct CreateTtlRequest {
        pub path: Str,
        pub data: Option<Bytes>,
        pub acl: Vec<Acl>,
        pub flags: i32,
        pub ttl: i64,
    }
    pub struct CreateResponse { pub path: Str, }
    pub struct Create2Response { pub path: Str, pub stat: Stat, }
    pub struct DeleteRequest { pub path: Str, pub version: i32, }
    pub struct PathWatchRequest { pub path: Str, pub watch: bool, }
    pub struct PathRequest { pub path: Str, }
    pub struct NullablePathRequest { pub path: Option<Str>, }
    pub struct GetDataResponse { pub data: Option<Bytes>, pub stat: Stat, }
    pub struct SetDataRequest { pub path: Str, pub data: Option<Bytes>, pub version: i32, }
    pub struct GetAclResponse { pub acl: Vec<Acl>, pub stat: Stat, }
    pub struct SetAclRequest { pub path: Str, pub acl: Vec<Acl>, pub version: i32, }
    pub struct GetChildrenResponse { pub children: Vec<Str>, }
    pub struct GetChildren2Response { pub children: Vec<Str>, pub stat: Stat, }
    pub struct CheckVersionRequest { pub path: Str, pub version: i32, }
    pub struct ReconfigRequest {
        pub joining: Option<Str>,
        pub leaving: Option<Str>,
        pub members: Option<Str>,
        pub config_id: i64,
    }
    /// `kind`: 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
    pub struct WatchesRequest { pub path: Str, pub kind: i32, }
    /// `kind` is always 0.
    pub struct AuthRequest { pub kind: i32, pub scheme: Str, pub auth: Option<Bytes>, }
    pub struct SetWatchesRequest {
        pub relative_zxid: i64,
        pub data: Vec<Str>,
        pub exist: Vec<Str>,
        pub child: Vec<Str>,
    }
    pub struct SetWatches2Request {
        pub relative_zxid: i64,
        pub data: Vec<Str>,
        pub exist: Vec<Str>,
        pub child: Vec<Str>,
        pub persistent: Vec<Str>,
        pub recursive: Vec<Str>,
    }
    /// `mode`: 0 persistent, 1 persistent recursive.
    pub struct AddWatchRequest { pub path: Str, pub mode: i32, }
    pub struct ErrorResponse { pub err: i32, }
    pub struct GetEphemeralsResponse { pub ephemerals: Vec<Str>, }
    pub struct GetAllChildrenNumberResponse { pub total: i32, }
    pub struct ClientInfo { pub scheme: Str, pub user: Str, }
    pub struct WhoAmIResponse { pub ids: Vec<ClientInfo>, }
    pub struct SaslToken { pub token: Option<Bytes>, }

    /// `kind`: 1 created, 2 deleted, 3 data changed, 4 children changed. `state` is always 3, connected.
    pub struct WatcherEvent { pub kind: i32, pub state: i32, pub path: Str, }

    pub struct MultiHeader { pub op: i32, pub done: bool, pub err: i32, }
}

impl MultiHeader {
    /// Ends every multi request and reply: `ffffffff 01 ffffffff`.
    pub const END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };
}

/// A client's first frame. It has no request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol: i32,
    pub last_zxid: i64,
    /// Milliseconds; clamped by the server.
    pub timeout: i32,
    /// 0 asks for a new session.
    pub session: i64,
    pub password: Option<Bytes>,
    /// `None`: a client older than 3.4, which does not send the byte.
    pub read_only: Option<bool>,
}

impl Record for ConnectRequest {
    fn read(from: &mut Reader) -> Result<ConnectRequest, DecodeError> {
        Ok(ConnectRequest {
            protocol: from.read()?,
            last_zxid: from.read()?,
            timeout: from.read()?,
            session: from.read()?,
            password: from.read()?,
            read_only: if from.remaining() > 0 { Some(from.read()?) } else { None },
        })
    }
    fn write(&self, to: &mut BytesMut) {
        self.protocol.write(to);
        self.last_zxid.write(to);
        self.timeout.write(to);
        self.session.write(to);
        self.password.write(to);
        self.read_only.iter().for_each(|flag| flag.write(to));
    }
}

/// The answer to a [`ConnectRequest`]. `timeout` 0 and `session` 0: the session is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    pub protocol: i32,
    pub timeout: i32,
    pub session: i64,
    /// 16 bytes.
    pub password: Option<Bytes>,
    /// Present only when the request carried the byte.
    pub read_only: Option<bool>,
}

impl Record for ConnectResponse {
    fn read(from: &mut Reader) -> Result<ConnectResponse, DecodeError> {
        Ok(ConnectResponse {
            protocol: from.read()?,
            timeout: from.read()?,
            session: from.read()?,
            password: from.read()?,
            read_only: if from.remaining() > 0 { Some(from.read()?) } else { None },
        })
    }
    fn write(&self, to: &mut BytesMut) {
        self.protocol.write(to);
        self.timeout.write(to);
        self.session.write(to);
        self.password.write(to);
        self.read_only.iter().for_each(|flag| flag.write(to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_response_is_37_bytes_with_the_read_only_byte_as_seen_live() {
        let response = ConnectResponse {
            protocol: 0,
            timeout: 10_000,
            session: 0x0100_000f_433d_0000,
            password: Some(Bytes::from_static(&[
                0x99, 0x3d, 0x63, 0x3d, 0xb2, 0xe1, 0x39, 0x90, 0x9f, 0xd0, 0x83, 0x7d, 0x4b, 0xf6, 0xc4,
                0xa8,
            ])),
            read_only: Some(false),
        };
        let bytes = response.encode();
        assert_eq!(bytes.len(), 37);
        assert_eq!(ConnectResponse::decode(&bytes), Ok(response));
    }

    #[test]
    fn an_old_client_sends_no_read_only_byte() {
        let mut to = BytesMut::new();
        (0, 0i64, 5000, 0i64).write_all(&mut to);
        Some(Bytes::from_static(&[0; 16])).write(&mut to);
        assert_eq!(ConnectRequest::decode(&to.freeze()).unwrap().read_only, None);
    }

    trait WriteAll {
        fn write_all(&self, to: &mut BytesMut);
    }
    impl WriteAll for (i32, i64, i32, i64) {
        fn write_all(&self, to: &mut BytesMut) {
            self.0.write(to);
            self.1.write(to);
            self.2.write(to);
            self.3.write(to);
        }
    }
}
