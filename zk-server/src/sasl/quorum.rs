//! SASL between servers: the learner's side dials and begins, behind the election hello or as the first on the quorum
//! port. Each token travels in a packet of its own:
//!
//! ```text
//! long magic, int status (0 in progress, 1 success, -1 error), buffer token
//! ```

use super::{Users, nonce};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{info, warn};
use zk_core::sasl::{Answer, Client, QUORUM, SaslError, Server};

/// Java's `-0xa0dbcafecafe1234L`, which is beyond its range and wraps.
const MAGIC: i64 = 0x5f24_3501_3501_edcc;
const IN_PROGRESS: i32 = 0;
const SUCCESS: i32 = 1;
const ERROR: i32 = -1;
/// Longest token that is taken.
const TOKEN_MAX: i32 = 4096;

/// What the operator wants of it.
#[derive(Clone)]
pub struct QuorumSasl {
    /// Who may come.
    pub users: Users,
    /// As whom we come: name and password.
    pub login: (String, String),
    /// We prove ourselves to whom we dial (`quorum.auth.learnerRequireSasl`).
    pub proves: bool,
    /// Who does not prove itself is sent away (`quorum.auth.serverRequireSasl`).
    pub requires: bool,
}

/// Without passwords.
impl fmt::Debug for QuorumSasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QuorumSasl { proves, requires, .. } = self;
        write!(f, "QuorumSasl {{ proves: {proves}, requires: {requires} }}")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QuorumSaslError {
    #[error("Learner not trying to authenticate and authentication is required")]
    Silent,
    #[error("a token of {0} bytes")]
    Length(i32),
    #[error("the other side refused us: status {0}")]
    Refused(i32),
    #[error(transparent)]
    Sasl(#[from] SaslError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl QuorumSasl {
    /// Proves to whom we dialled that we belong here, if we are to.
    pub async fn prove(
        &self,
        link: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), QuorumSaslError> {
        if !self.proves {
            return Ok(());
        }
        let (user, password) = &self.login;
        let mut client = Client::new(QUORUM, user, password, nonce());
        send(link, IN_PROGRESS, b"").await?;
        loop {
            // The magic number is not looked at, here nor in Java.
            link.read_i64().await?;
            let (status, token) = receive(link).await?;
            if status != IN_PROGRESS && status != SUCCESS {
                return Err(QuorumSaslError::Refused(status));
            }
            match client.evaluate(&token)? {
                Some(response) if status == IN_PROGRESS => send(link, IN_PROGRESS, &response).await?,
                None if status == SUCCESS => return Ok(()),
                _ => return Err(QuorumSaslError::Refused(status)),
            }
        }
    }

    /// Lets whoever dialled us prove itself. Answers with the bytes that were read and are no part of this: who does
    /// not try is let in, unless it has to.
    pub async fn check(
        &self,
        link: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<Bytes, QuorumSaslError> {
        let mut first = [0; 8];
        let mut read = 0;
        while read < first.len() {
            match link.read(&mut first[read..]).await? {
                0 => break,
                more => read += more,
            }
        }
        if read < first.len() || i64::from_be_bytes(first) != MAGIC {
            return match self.requires {
                true => Err(QuorumSaslError::Silent),
                false => Ok(Bytes::copy_from_slice(&first[..read])),
            };
        }
        match self.exchange(link).await {
            Ok(user) => {
                info!("Successfully completed the authentication using SASL: {user}");
                Ok(Bytes::new())
            }
            Err(error) => {
                // It may be gone; then nobody waits for this.
                let _ = send(link, ERROR, b"").await;
                if self.requires {
                    return Err(error);
                }
                warn!("Maintaining learner connection despite SASL authentication failure: {error}");
                Ok(Bytes::new())
            }
        }
    }

    /// The magic number of the first packet is read.
    async fn exchange(
        &self,
        link: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<String, QuorumSaslError> {
        let mut server = Server::new(QUORUM, nonce());
        loop {
            let (_, token) = receive(link).await?;
            match server.evaluate(&token, |user| self.users.get(user).cloned())? {
                Answer::Challenge(challenge) => send(link, IN_PROGRESS, &challenge).await?,
                Answer::Done { authorization: Some(other), .. } => return Err(SaslError::User(other).into()),
                Answer::Done { token, user, .. } => {
                    send(link, SUCCESS, &token).await?;
                    return Ok(user);
                }
            }
            link.read_i64().await?;
        }
    }
}

async fn send(
    link: &mut (impl AsyncWrite + Unpin),
    status: i32,
    token: &[u8],
) -> Result<(), QuorumSaslError> {
    let mut packet = BytesMut::with_capacity(16 + token.len());
    packet.put_i64(MAGIC);
    packet.put_i32(status);
    packet.put_i32(token.len() as i32);
    packet.put_slice(token);
    link.write_all(&packet).await?;
    Ok(link.flush().await?)
}

/// A packet behind its magic number.
async fn receive(link: &mut (impl AsyncRead + Unpin)) -> Result<(i32, Bytes), QuorumSaslError> {
    let status = link.read_i32().await?;
    let len = link.read_i32().await?;
    if !(-1..=TOKEN_MAX).contains(&len) {
        return Err(QuorumSaslError::Length(len));
    }
    let mut token = vec![0; len.max(0) as usize];
    link.read_exact(&mut token).await?;
    Ok((status, token.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(password: &str, requires: bool) -> QuorumSasl {
        QuorumSasl {
            users: [("test".to_owned(), "right".to_owned())].into(),
            login: ("test".into(), password.into()),
            proves: true,
            requires,
        }
    }

    async fn meet(
        learner: QuorumSasl,
        server: QuorumSasl,
    ) -> (Result<(), QuorumSaslError>, Result<Bytes, QuorumSaslError>) {
        let (mut here, mut there) = tokio::io::duplex(1 << 16);
        tokio::join!(learner.prove(&mut here), server.check(&mut there))
    }

    #[tokio::test]
    async fn two_servers_with_the_same_password_meet() {
        let (learner, server) = meet(side("right", true), side("right", true)).await;
        learner.unwrap();
        assert!(server.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_to_both() {
        let (learner, server) = meet(side("wrong", true), side("right", true)).await;
        assert!(matches!(learner, Err(QuorumSaslError::Refused(ERROR))), "{learner:?}");
        assert!(matches!(server, Err(QuorumSaslError::Sasl(SaslError::Mismatch))), "{server:?}");
        let (_, server) = meet(side("wrong", true), side("right", false)).await;
        server.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_try_is_let_in_with_its_bytes_unless_it_has_to() {
        for requires in [false, true] {
            let (mut here, mut there) = tokio::io::duplex(64);
            here.write_all(b"\0\0\0\x0bpacket").await.unwrap();
            match side("right", requires).check(&mut there).await {
                Ok(bytes) => assert!(!requires && bytes == b"\0\0\0\x0bpack"[..]),
                Err(QuorumSaslError::Silent) => assert!(requires),
                other => panic!("{other:?}"),
            }
        }
        // A smaller id hangs up behind its hello.
        let (here, mut there) = tokio::io::duplex(64);
        drop(here);
        assert!(side("right", false).check(&mut there).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_packet_has_the_bytes_of_3_9() {
        let (mut here, mut there) = tokio::io::duplex(64);
        send(&mut here, IN_PROGRESS, b"ab").await.unwrap();
        let mut bytes = [0; 18];
        there.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, *b"\x5f\x24\x35\x01\x35\x01\xed\xcc\0\0\0\0\0\0\0\x02ab");
    }

    #[tokio::test]
    async fn a_token_without_measure_is_refused() {
        let (mut here, mut there) = tokio::io::duplex(64);
        here.write_all(&[0, 0, 0, 0, 0x7f, 0, 0, 0]).await.unwrap();
        assert!(matches!(receive(&mut there).await, Err(QuorumSaslError::Length(_))));
    }
}
