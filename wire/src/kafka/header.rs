//! What stands before the body of a request or response. Which version of a header a message has, [`Api`] knows.

use super::codec::{Field, Nullable, read_tagged, write_uvarint};
use super::{Api, ApiKey};
use crate::Str;
use crate::jute::{DecodeError, Reader};
use bytes::BytesMut;

/// The header of a request: key, version, correlation id, client id (from version 1), tagged fields (version 2; none are
/// defined). The client id never has the compact form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader {
    /// A key that [`ApiKey::from_i16`] may not know.
    pub request_api_key: i16,
    pub request_api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

impl RequestHeader {
    pub fn api(&self) -> Option<&'static Api> {
        ApiKey::from_i16(self.request_api_key).map(ApiKey::api)
    }

    /// Reads key and version, and by them the rest. An unknown key, or a version beyond the API's, is read as the
    /// header version that the nearest known one has, as far as the bytes allow; the caller has to check both.
    pub fn read(from: &mut Reader) -> Result<RequestHeader, DecodeError> {
        let mut header = RequestHeader {
            request_api_key: Field::read(from, 0, false)?,
            request_api_version: Field::read(from, 0, false)?,
            correlation_id: Field::read(from, 0, false)?,
            client_id: None,
        };
        let version = header.version();
        if version >= 1 {
            header.client_id = Str::read_nullable(from, version, false)?;
        }
        if version >= 2 {
            read_tagged(from, &mut |_, _| Ok(()))?;
        }
        Ok(header)
    }

    pub fn write(&self, to: &mut BytesMut) {
        let version = self.version();
        self.request_api_key.write(to, version, false);
        self.request_api_version.write(to, version, false);
        self.correlation_id.write(to, version, false);
        if version >= 1 {
            self.client_id.write(to, version, false);
        }
        if version >= 2 {
            write_uvarint(to, 0);
        }
    }

    fn version(&self) -> i16 {
        self.api().map_or(1, |api| api.request_header_version(self.request_api_version))
    }
}

/// The header of a response: correlation id, and tagged fields (version 1; none are defined).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// `version` is [`Api::response_header_version`].
    pub fn read(from: &mut Reader, version: i16) -> Result<ResponseHeader, DecodeError> {
        let header = ResponseHeader { correlation_id: Field::read(from, version, false)? };
        if version >= 1 {
            read_tagged(from, &mut |_, _| Ok(()))?;
        }
        Ok(header)
    }

    pub fn write(&self, to: &mut BytesMut, version: i16) {
        self.correlation_id.write(to, version, false);
        if version >= 1 {
            write_uvarint(to, 0);
        }
    }
}
