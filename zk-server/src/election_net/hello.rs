//! How a dialler introduces itself on the election port; nothing is answered.
//!
//! ```text
//! long -65536, long myid, int len, "host:port"               3.5 and later
//! long -65535, long myid, int len, "host:port|host:port"     with multiAddress.enabled
//! long myid                                                  before 3.5
//! ```

use crate::net::endpoint::Endpoint;
use crate::sasl::quorum::QuorumSaslError;
use bytes::{BufMut, Bytes, BytesMut};
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt};
use wire::zk::Sid;
use wire::zk::quorum::hello::{ADDRESS_MAX, VERSION_1, VERSION_2};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub sid: Sid,
    /// Where the dialler wants to be dialled back; without wildcard addresses.
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    #[error("Got unrecognized protocol version {0}")]
    Version(i64),
    #[error("Unreasonable buffer length: {0}")]
    Length(i32),
    #[error("Badly formed address: {0}")]
    Address(String),
    #[error(transparent)]
    Sasl(#[from] QuorumSaslError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Our own introduction: the first address in the first form, or with `multi_address` all of them in the second.
pub(super) fn encode(myid: Sid, own: &[Endpoint], multi_address: bool) -> Bytes {
    let shown = if multi_address { own } else { &own[..own.len().min(1)] };
    let text = shown.iter().map(Endpoint::to_string).collect::<Vec<_>>().join("|");
    let mut to = BytesMut::with_capacity(20 + text.len());
    to.put_i64(if multi_address { VERSION_2 } else { VERSION_1 });
    to.put_i64(myid);
    to.put_i32(text.len() as i32);
    to.put_slice(text.as_bytes());
    to.freeze()
}

/// Reads a hello and not a byte more.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Hello, HelloError> {
    let version = from.read_i64().await?;
    if version >= 0 {
        return Ok(Hello { sid: version, endpoints: vec![] });
    }
    if version != VERSION_1 && version != VERSION_2 {
        return Err(HelloError::Version(version));
    }
    let sid = from.read_i64().await?;
    let len = from.read_i32().await?;
    if !(1..=ADDRESS_MAX).contains(&len) {
        return Err(HelloError::Length(len));
    }
    let mut text = vec![0; len as usize];
    from.read_exact(&mut text).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let endpoints: Option<Vec<Endpoint>> = text.split('|').map(Endpoint::parse).collect();
    let mut endpoints = endpoints.ok_or(HelloError::Address(text))?;
    endpoints.retain(|at| !at.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()));
    Ok(Hello { sid, endpoints })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_of_hello_is_read() {
        let one = vec![Endpoint::new("test-broker01", 3888)];
        let hello = read(&mut &encode(3, &one, false)[..]).await.unwrap();
        assert_eq!(hello, Hello { sid: 3, endpoints: one });
        let two = vec![Endpoint::new("10.0.0.1", 3888), Endpoint::new("::1", 3888)];
        let hello = read(&mut &encode(3, &two, true)[..]).await.unwrap();
        assert_eq!(hello, Hello { sid: 3, endpoints: two });
        let old = read(&mut &7i64.to_be_bytes()[..]).await.unwrap();
        assert_eq!(old, Hello { sid: 7, endpoints: vec![] });
    }

    #[tokio::test]
    async fn a_wildcard_is_no_address_to_dial_back() {
        let wild = vec![Endpoint::new("0.0.0.0", 3888)];
        assert_eq!(read(&mut &encode(3, &wild, false)[..]).await.unwrap().endpoints, []);
    }

    #[tokio::test]
    async fn the_bytes_of_a_hello_are_those_of_3_9() {
        let own = [Endpoint::new("127.0.0.1", 3888)];
        let bytes = encode(1, &own, false);
        assert_eq!(bytes, &b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0\x0e127.0.0.1:3888"[..]);
        let bytes = encode(1, &own, true);
        assert_eq!(bytes[..8], *b"\xff\xff\xff\xff\xff\xff\0\x01");
        assert_eq!(bytes[20..], *b"127.0.0.1:3888");
    }

    #[tokio::test]
    async fn nonsense_is_refused_with_its_reason() {
        let wrong = |bytes: &'static [u8]| async move { read(&mut &bytes[..]).await.unwrap_err() };
        assert!(matches!(wrong(&[0xff; 8]).await, HelloError::Version(-1)));
        assert!(matches!(
            wrong(b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\x7f\0\0\0").await,
            HelloError::Length(_)
        ));
        assert!(matches!(
            wrong(b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02ab").await,
            HelloError::Address(_)
        ));
        assert!(matches!(wrong(b"\xff\xff").await, HelloError::Io(_)));
    }
}
