//! The sending half of a connection: written by the loop at once, and by a task only where the peer reads too slowly.

use super::stream::Stream;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// A connection's way out. Bytes leave in the order of the calls; nothing here ever blocks the caller.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    stream: Arc<Stream>,
    backlog: Arc<Mutex<Backlog>>,
    /// The backlog shrank, or is given up.
    shrunk: Arc<Notify>,
    runtime: Handle,
}

/// What the socket did not take at once.
#[derive(Debug, Default)]
struct Backlog {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// A task is emptying the queue: new bytes go behind it.
    draining: bool,
    close: bool,
}

impl Outlet {
    pub fn new(stream: Arc<Stream>, runtime: Handle) -> Outlet {
        Outlet { stream, backlog: Arc::default(), shrunk: Arc::default(), runtime }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().expect("nobody panics while holding the backlog")
    }

    pub fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Bytes that the peer has not taken yet.
    pub fn pending(&self) -> usize {
        self.backlog().bytes
    }

    /// Waits while more than `limit` bytes are unsent. For one task, the connection's reader.
    pub async fn wait_until_below(&self, limit: usize) {
        while self.pending() > limit {
            self.shrunk.notified().await;
        }
    }

    /// Sends, and says how many bytes are now waiting for the peer. A broken connection swallows them: its reader
    /// tells the loop.
    pub fn send(&self, mut bytes: Bytes) -> usize {
        let mut backlog = self.backlog();
        if backlog.close {
            return backlog.bytes;
        }
        if !backlog.draining {
            while !bytes.is_empty() {
                match self.stream.try_write(&bytes) {
                    Ok(0) => break,
                    Ok(written) => bytes.advance(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return 0,
                }
            }
            if bytes.is_empty() && self.stream.try_flush().unwrap_or(true) {
                return 0;
            }
        }
        // Without bytes: what TLS has still to send.
        if !bytes.is_empty() {
            backlog.bytes += bytes.len();
            backlog.queue.push_back(bytes);
        }
        self.drain_in_background(&mut backlog);
        backlog.bytes
    }

    /// Ends the connection, both directions, when everything sent so far has left.
    pub fn close(&self) {
        let mut backlog = self.backlog();
        if !std::mem::replace(&mut backlog.close, true) && !backlog.draining {
            self.stream.shut();
        }
    }

    /// Ends the connection now; what was not taken is lost.
    pub fn abort(&self) {
        let mut backlog = self.backlog();
        backlog.close = true;
        backlog.queue.clear();
        backlog.bytes = 0;
        self.stream.shut();
        self.shrunk.notify_one();
    }

    /// For a queue without bytes, too: then TLS has something to send.
    fn drain_in_background(&self, backlog: &mut Backlog) {
        if !std::mem::replace(&mut backlog.draining, true) {
            self.runtime.spawn(drain(self.clone()));
        }
    }
}

async fn drain(outlet: Outlet) {
    let mut current = Bytes::new();
    loop {
        if current.is_empty() {
            let mut backlog = outlet.backlog();
            match backlog.queue.pop_front() {
                Some(next) => current = next,
                None if outlet.stream.try_flush().unwrap_or(true) => {
                    backlog.draining = false;
                    if backlog.close {
                        outlet.stream.shut();
                    }
                    return;
                }
                None => {}
            }
        }
        if outlet.stream.writable().await.is_err() {
            return outlet.abort();
        }
        if current.is_empty() {
            continue;
        }
        match outlet.stream.try_write(&current) {
            Ok(written) => {
                current.advance(written);
                let mut backlog = outlet.backlog();
                backlog.bytes = backlog.bytes.saturating_sub(written);
                outlet.shrunk.notify_one();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return outlet.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_reader_gets_everything_in_order_and_then_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (writer, _) = listener.accept().await.unwrap();
        let outlet = Outlet::new(Arc::new(writer.into()), Handle::current());
        let mut sent = Vec::new();
        for piece in 0..200u8 {
            let bytes = vec![piece; 64 * 1024];
            sent.extend_from_slice(&bytes);
            outlet.send(bytes.into());
        }
        assert!(outlet.pending() > 0, "12 MiB do not fit into the socket's buffers");
        outlet.close();
        outlet.send(Bytes::from_static(b"too late"));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
    }
}
