//! What both HTTP ports share: accepting, and ending connections on which nothing moves.

use crate::net::listen;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tracing::warn;

/// An open port. It closes with this value.
#[derive(Debug)]
pub(crate) struct HttpPort {
    pub bound: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for HttpPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpPort {
    /// Serves `router` behind `listener`; connections end after `idle` without a byte.
    pub fn start(listener: TcpListener, router: Router, idle: Duration) -> io::Result<HttpPort> {
        let bound = listener.local_addr()?;
        let service = router.into_make_service_with_connect_info::<Remote>();
        let port = IdleListener { listener, idle };
        let task = tokio::spawn(async move {
            // It never ends by itself.
            let _ = axum::serve(port, service).await;
        });
        Ok(HttpPort { bound, task })
    }

    /// Closes the port. Not for the runtime's own threads.
    pub fn close(self) {
        listen::end(&self.task);
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote(pub SocketAddr);

impl Connected<IncomingStream<'_, IdleListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, IdleListener>) -> Remote {
        Remote(*stream.remote_addr())
    }
}

pub(crate) struct IdleListener {
    listener: TcpListener,
    idle: Duration,
}

impl Listener for IdleListener {
    type Io = IdleStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (IdleStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    return (IdleStream::new(stream, self.idle), from);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others have to close first.
                    warn!("Error accepting new connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once nothing has moved for a while.
pub(crate) struct IdleStream {
    stream: TcpStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
}

impl IdleStream {
    fn new(stream: TcpStream, idle: Duration) -> IdleStream {
        IdleStream { stream, idle, timer: Box::pin(tokio::time::sleep(idle)) }
    }

    /// What came of an attempt: the clock starts anew when something moved, and has the last word when nothing did.
    fn watched<T>(&mut self, moved: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            let until = Instant::now() + self.idle;
            self.timer.as_mut().reset(until);
            return moved;
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for IdleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_read(context, to);
        self.watched(moved, context)
    }
}

impl AsyncWrite for IdleStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(context, from);
        self.watched(moved, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
