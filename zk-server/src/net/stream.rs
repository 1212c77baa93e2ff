//! A connection, plain or under TLS, which the loop writes to without waiting while a task reads from it.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The first byte of a TLS handshake: no other protocol of ours begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Mutex<Connection>>>,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream { socket, tls: None }
    }
}

/// Whether the other side begins a TLS handshake. Nothing is taken from the socket.
pub(crate) async fn begins_with_tls(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == TLS_HANDSHAKE),
    }
}

impl Stream {
    /// Answers a TLS handshake.
    pub async fn accept_tls(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Stream> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Stream::handshake(socket, session.into()).await
    }

    /// Begins a TLS handshake with a host that was dialled.
    pub async fn dial_tls(socket: TcpStream, config: Arc<ClientConfig>, host: &str) -> io::Result<Stream> {
        // A name that TLS cannot carry is left out: the address stands for it.
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) => ServerName::IpAddress(socket.peer_addr()?.ip().into()),
        };
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Stream::handshake(socket, session.into()).await
    }

    async fn handshake(socket: TcpStream, session: Connection) -> io::Result<Stream> {
        let stream = Stream { socket, tls: Some(Box::new(Mutex::new(session))) };
        loop {
            while !stream.try_flush()? {
                stream.socket.writable().await?;
            }
            let (handshaking, read) = {
                let mut session = stream.session().expect("it was just made");
                match session.is_handshaking() {
                    false => (false, Ok(0)),
                    true => (true, feed(&stream.socket, &mut session)),
                }
            };
            match read {
                _ if !handshaking => return Ok(stream),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => stream.socket.readable().await?,
                Err(error) => {
                    // The alert that says why, if the socket takes it.
                    let _ = stream.try_flush();
                    return Err(error);
                }
            }
        }
    }

    fn session(&self) -> Option<MutexGuard<'_, Connection>> {
        Some(self.tls.as_ref()?.lock().expect("nobody panics while encrypting"))
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What the other side has shown, its own certificate first; empty without TLS or certificate.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let session = self.session();
        let shown = session.as_ref().and_then(|session| session.peer_certificates());
        shown
            .map(|certificates| certificates.iter().map(|one| one.clone().into_owned()).collect())
            .unwrap_or_default()
    }

    /// `TLSv1.3 - TLS_AES_256_GCM_SHA384`, as Java logs it.
    pub fn tls_shown(&self) -> Option<String> {
        let session = self.session()?;
        let version = format!("{:?}", session.protocol_version()?).replace('_', ".");
        let suite = format!("{:?}", session.negotiated_cipher_suite()?.suite());
        Some(format!("{version} - {}", suite.replacen("TLS13_", "TLS_", 1)))
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Takes what it can of `bytes`, at least one, or fails with `WouldBlock`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut session) = self.session() else { return self.socket.try_write(bytes) };
        if !flush(&self.socket, &mut session)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = session.writer().write(bytes)?;
        flush(&self.socket, &mut session)?;
        match taken {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    /// True: nothing that was written waits here for the socket any more.
    pub fn try_flush(&self) -> io::Result<bool> {
        match self.session() {
            Some(mut session) => flush(&self.socket, &mut session),
            None => Ok(true),
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Appends what is there to `buffer`, as much as it has room for; 0 at the end.
    pub fn try_read_buf(&self, buffer: &mut bytes::BytesMut) -> io::Result<usize> {
        let Some(mut session) = self.session() else { return self.socket.try_read_buf(buffer) };
        let room = buffer.capacity() - buffer.len();
        let start = buffer.len();
        buffer.resize(start + room, 0);
        let read = read_tls(&self.socket, &mut session, &mut buffer[start..]);
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read
    }

    /// As [`Stream::try_read_buf`], once there is something.
    pub async fn read_buf(&self, buffer: &mut bytes::BytesMut) -> io::Result<usize> {
        loop {
            match self.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.socket.readable().await?,
                read => return read,
            }
        }
    }

    /// Ends both directions. The reader of the same socket sees its end at once.
    pub fn shut(&self) {
        if let Some(mut session) = self.session() {
            session.send_close_notify();
            let _ = flush(&self.socket, &mut session);
        }
        // It may be gone already: then there is nothing to end.
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}

/// A socket that never waits, as `rustls` wants one.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encrypted bytes to the socket. False: it takes no more for now.
fn flush(socket: &TcpStream, session: &mut Connection) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut Raw(socket)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Encrypted bytes from the socket, one read; says how many. Not to be asked while there is something to read.
fn feed(socket: &TcpStream, session: &mut Connection) -> io::Result<usize> {
    let read = session.read_tls(&mut Raw(socket))?;
    session.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(read)
}

/// Decrypted bytes; 0 at the end, also where it comes without TLS's own farewell.
fn read_tls(socket: &TcpStream, session: &mut Connection, to: &mut [u8]) -> io::Result<usize> {
    loop {
        match session.reader().read(to) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            read => return read,
        }
        feed(socket, session)?;
        // A key update asks for an answer.
        flush(socket, session)?;
    }
}

/// One direction of a shared [`Stream`], for tasks that may wait. One task reads, one writes.
#[derive(Debug, Clone)]
pub(crate) struct Half(pub Arc<Stream>);

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let stream = &self.0;
            let read = match stream.session() {
                Some(mut session) => read_tls(&stream.socket, &mut session, to.initialize_unfilled()),
                None => stream.socket.try_read(to.initialize_unfilled()),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(stream.socket.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    to.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.0.socket.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(mut session) = self.0.session() {
            session.send_close_notify();
        }
        ready!(self.flushed(cx))?;
        let _ = SockRef::from(&self.0.socket).shutdown(Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

impl Half {
    fn flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.0.try_flush()? {
            ready!(self.0.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}
