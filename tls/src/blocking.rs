//! A dialled connection for tools that wait on their sockets: plain, or under TLS with the same calls.

use super::{Tls, matches_host};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Encrypted bytes that are read in one go: what they hold fits into the session's buffer.
const RAW_MAX: usize = 4096;

/// Clones share the connection: one may read while another writes.
#[derive(Debug, Clone)]
pub struct Socket {
    tcp: Arc<TcpStream>,
    tls: Option<Arc<Mutex<ClientConnection>>>,
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Socket {
        Socket { tcp: Arc::new(tcp), tls: None }
    }
}

impl Socket {
    /// Shakes hands with `host`, to which `tcp` is connected. `names`: its certificate has to name it, where the
    /// settings do not say otherwise.
    pub fn dial_tls(tcp: TcpStream, tls: &Tls, host: &str, names: bool) -> io::Result<Socket> {
        let config = tls.client().map_err(io::Error::other)?;
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) => ServerName::IpAddress(tcp.peer_addr()?.ip().into()),
        };
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut raw = &tcp;
        while session.is_handshaking() {
            session.complete_io(&mut raw)?;
        }
        if names && tls.settings.checks_server_host {
            let certificate = session.peer_certificates().and_then(|shown| shown.first());
            let certificate = certificate.ok_or(ErrorKind::InvalidData)?;
            matches_host(certificate, &[host.to_owned()]).map_err(io::Error::other)?;
        }
        Ok(Socket { tcp: Arc::new(tcp), tls: Some(Arc::new(Mutex::new(session))) })
    }

    fn session(&self) -> Option<MutexGuard<'_, ClientConnection>> {
        Some(self.tls.as_ref()?.lock().expect("nobody panics while encrypting"))
    }

    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(timeout)
    }

    /// Ends both directions; whoever reads or writes sees it.
    pub fn shutdown(&self) -> io::Result<()> {
        if let Some(mut session) = self.session() {
            session.send_close_notify();
            let _ = session.write_tls(&mut &*self.tcp);
        }
        self.tcp.shutdown(Shutdown::Both)
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut raw = [0; RAW_MAX];
        loop {
            let Some(mut session) = self.session() else { return (&*self.tcp).read(to) };
            match session.reader().read(to) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            // Nobody waits for the lock while we wait for bytes.
            drop(session);
            let read = (&*self.tcp).read(&mut raw)?;
            let Some(mut session) = self.session() else { continue };
            let mut rest = &raw[..read];
            loop {
                session.read_tls(&mut rest)?;
                session
                    .process_new_packets()
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                if rest.is_empty() {
                    break;
                }
            }
            while session.wants_write() {
                session.write_tls(&mut &*self.tcp)?;
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut session) = self.session() else { return (&*self.tcp).write(bytes) };
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut &*self.tcp)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
