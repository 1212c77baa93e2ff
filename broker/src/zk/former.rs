//! The session of this broker's former life.
//!
//! A broker that was killed leaves a session behind, and with it `/brokers/ids/N` and perhaps `/controller`, until the
//! session times out. Kafka's broker refuses to start meanwhile (NodeExists). Ours notes its session's id in its first
//! log directory, which only one process can have open; the next life finds it there, and ends that session at once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::security::shake_hands;
use tls::Tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::jute::Record;
use wire::zk::request::RequestHeader;
use wire::zk::{ConnectRequest, ConnectResponse, SessionId, op, session_password};

use super::{Zk, ZkSecurity};

/// Names the boot of the machine, or of the machine that this container runs on.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Kafka looks at directories only; a file of this name does not disturb it.
const NOTE: &str = ".zookeeper-session";
/// For one server to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer to a connect request is a few dozen bytes.
const ANSWER_MAX: usize = 1024;

fn note(dir: &Path) -> PathBuf {
    dir.join(NOTE)
}

/// Notes the session for the next life. Not having the note costs that life some seconds, nothing else.
pub fn remember(dir: &Path, zk: &Zk) {
    let text = format!("{}\n{}\n", zk.client().session_id(), boot_id().unwrap_or_default());
    if let Err(error) = std::fs::write(note(dir), text) {
        tracing::warn!("Cannot write {}: {error}", note(dir).display());
    }
}

/// The session has ended in good order.
pub fn forget(dir: &Path) {
    let _ = std::fs::remove_file(note(dir));
}

/// The session that the former life noted; `None` where nothing legible is.
pub fn remembered(dir: &Path) -> Option<SessionId> {
    parse(&std::fs::read_to_string(note(dir)).ok()?)
}

/// Whether the machine has run without a break since the former life's registration, and so has in memory what that life wrote.
/// False where nothing tells.
pub fn same_boot(dir: &Path) -> bool {
    let noted = std::fs::read_to_string(note(dir)).ok();
    let noted = noted.as_deref().and_then(|text| text.lines().nth(1)).map(str::trim);
    noted.is_some_and(|noted| !noted.is_empty() && boot_id().as_deref() == Some(noted))
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned())
}

fn parse(text: &str) -> Option<SessionId> {
    let digits = text.lines().next()?.trim().strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().map(|id| id as i64)
}

/// Ends a session, through the first server of `connect` (`host:port,…[/chroot]`) that does it. False: none did, as where
/// servers serve nobody without a login: the session's password is all that is shown here.
pub async fn end(connect: &str, session: SessionId, security: &ZkSecurity) -> bool {
    let tls = match security.tls() {
        Ok(tls) => tls,
        Err(error) => {
            tracing::warn!("Ending session {session:#x}: {error}");
            return false;
        }
    };
    let hosts = connect.split('/').next().unwrap_or_default();
    for host in hosts.split(',').map(str::trim) {
        let address = if host.contains(':') { host.to_owned() } else { format!("{host}:2181") };
        match tokio::time::timeout(PATIENCE, end_at(&address, session, tls.as_ref())).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::info!("Ending session {session:#x} at {address}: {error}"),
            Err(_) => tracing::info!("Ending session {session:#x} at {address}: no answer"),
        }
    }
    false
}

async fn end_at(address: &str, session: SessionId, tls: Option<&Tls>) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    match tls {
        None => end_over(stream, session).await,
        Some(tls) => {
            end_over(shake_hands(tls, stream, address).await.map_err(io::Error::other)?, session).await
        }
    }
}

async fn end_over(mut stream: impl AsyncRead + AsyncWrite + Unpin, session: SessionId) -> io::Result<()> {
    let request = ConnectRequest {
        protocol: 0,
        last_zxid: 0,
        timeout: 10_000,
        session,
        password: Some(Bytes::copy_from_slice(&session_password(session))),
        read_only: Some(false),
    };
    stream.write_all(&framed(&request.encode())).await?;
    let answer = ConnectResponse::decode(&receive(&mut stream).await?).map_err(io::Error::other)?;
    if answer.session != session {
        // It has expired: what we wanted.
        return Ok(());
    }
    let close = RequestHeader { xid: 1, op: op::CLOSE_SESSION };
    stream.write_all(&framed(&close.encode())).await?;
    receive(&mut stream).await.map(drop)
}

fn framed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.put_u32(body.len() as u32);
    frame.put_slice(body);
    frame.freeze()
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > ANSWER_MAX {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_the_same_if_the_note_names_it_and_another_if_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!same_boot(dir.path()));
        for (text, same) in [("0x1\n", false), ("0x1\n\n", false), ("0x1\nanother\n", false)] {
            std::fs::write(note(dir.path()), text).unwrap();
            assert_eq!(same_boot(dir.path()), same, "{text:?}");
        }
        if let Some(id) = boot_id() {
            std::fs::write(note(dir.path()), format!("0x1\n{id}\n")).unwrap();
            assert!(same_boot(dir.path()));
            assert_eq!(remembered(dir.path()), Some(1));
        }
    }

    #[test]
    fn a_note_is_the_id_in_hex_and_anything_else_is_none() {
        assert_eq!(parse("0x1a1fea342530002\n"), Some(0x1a1_fea3_4253_0002));
        assert_eq!(parse("0xff00000000000001"), Some(0xff00_0000_0000_0001_u64 as i64));
        assert_eq!(parse("17"), None);
        assert_eq!(parse("0xtorn"), None);
    }

    #[tokio::test]
    async fn a_live_session_is_closed_and_an_expired_one_is_let_be() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let mut heard = Vec::new();
            for alive in [true, false] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = ConnectRequest::decode(&receive(&mut stream).await.unwrap()).unwrap();
                assert_eq!(request.password.as_deref(), Some(&session_password(7)[..]));
                let session = if alive { request.session } else { 0 };
                let answer = ConnectResponse {
                    protocol: 0,
                    timeout: 10_000,
                    session,
                    password: Some(Bytes::from_static(&[0; 16])),
                    read_only: Some(false),
                };
                stream.write_all(&framed(&answer.encode())).await.unwrap();
                if alive {
                    heard.push(RequestHeader::decode(&receive(&mut stream).await.unwrap()).unwrap().op);
                    stream.write_all(&framed(&[0; 16])).await.unwrap();
                }
            }
            heard
        });
        let plain = ZkSecurity::default();
        assert!(end(&format!("{address}/test"), 7, &plain).await);
        assert!(end(&address, 7, &plain).await);
        assert_eq!(server.await.unwrap(), [op::CLOSE_SESSION]);
        assert!(!end("127.0.0.1:1", 7, &plain).await);
    }
}
