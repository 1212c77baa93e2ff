//! What both HTTP ports share: accepting, plain or by TLS, and ending connections on which nothing moves.

use crate::net::listen;
use crate::net::stream::{Half, Stream, begins_with_tls};
use crate::tls::Tls;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tracing::{debug, warn};

/// What a port expects of a new connection.
#[derive(Clone)]
pub(crate) enum Door {
    Plain,
    Tls(Arc<Tls>),
    /// The first byte decides; whoever comes in plain is told to `plain`.
    Either {
        tls: Arc<Tls>,
        plain: Arc<dyn Fn() + Send + Sync>,
    },
}

impl Door {
    /// The connection, its handshake done; `secure` says whether it was one of TLS.
    async fn enter(self, socket: TcpStream, secure: Arc<AtomicBool>) -> io::Result<Half> {
        let tls = match self {
            Door::Plain => None,
            Door::Tls(tls) => Some(tls),
            Door::Either { tls, .. } if begins_with_tls(&socket).await? => Some(tls),
            Door::Either { plain, .. } => {
                plain();
                None
            }
        };
        let Some(tls) = tls else { return Ok(Half(Arc::new(socket.into()))) };
        let config = tls.server().map_err(io::Error::other)?;
        let stream = Stream::accept_tls(socket, config).await?;
        secure.store(true, SeqCst);
        Ok(Half(Arc::new(stream)))
    }
}

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
    pub fn start(listener: TcpListener, door: Door, router: Router, idle: Duration) -> io::Result<HttpPort> {
        let bound = listener.local_addr()?;
        let service = router.into_make_service_with_connect_info::<Remote>();
        let port = IdleListener { listener, door, idle };
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

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub from: SocketAddr,
    /// Set once a handshake of TLS is done.
    secure: Arc<AtomicBool>,
}

impl Remote {
    /// The request came by TLS.
    pub fn is_secure(&self) -> bool {
        self.secure.load(SeqCst)
    }
}

impl Connected<IncomingStream<'_, IdleListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, IdleListener>) -> Remote {
        Remote { from: *stream.remote_addr(), secure: stream.io().secure.clone() }
    }
}

pub(crate) struct IdleListener {
    listener: TcpListener,
    door: Door,
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
                    return (IdleStream::new(stream, self.door.clone(), self.idle), from);
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

/// A connection that fails once nothing has moved for a while. Its handshake takes place in its own task, with the
/// first bytes that are read.
pub(crate) struct IdleStream {
    stream: Phase,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    secure: Arc<AtomicBool>,
}

enum Phase {
    Entering(Pin<Box<dyn Future<Output = io::Result<Half>> + Send>>),
    Open(Half),
}

impl IdleStream {
    fn new(stream: TcpStream, door: Door, idle: Duration) -> IdleStream {
        let secure = Arc::new(AtomicBool::new(false));
        let entering = Phase::Entering(Box::pin(door.enter(stream, secure.clone())));
        IdleStream { stream: entering, idle, timer: Box::pin(tokio::time::sleep(idle)), secure }
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

    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Half>>> {
        if let Phase::Entering(entering) = &mut self.stream {
            let entered = ready!(entering.as_mut().poll(context));
            self.stream = Phase::Open(entered.inspect_err(|why| debug!("Unsuccessful handshake: {why}"))?);
        }
        match &mut self.stream {
            Phase::Open(half) => Poll::Ready(Ok(Pin::new(half))),
            Phase::Entering(_) => unreachable!("it was just opened"),
        }
    }
}

impl AsyncRead for IdleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let moved = match self.open(context) {
            Poll::Ready(Ok(half)) => half.poll_read(context, to),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.watched(moved, context)
    }
}

impl AsyncWrite for IdleStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = match self.open(context) {
            Poll::Ready(Ok(half)) => half.poll_write(context, from),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.watched(moved, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = match &mut self.stream {
            Phase::Open(half) => Pin::new(half).poll_flush(context),
            // Nothing was written.
            Phase::Entering(_) => return Poll::Ready(Ok(())),
        };
        self.watched(moved, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = match &mut self.stream {
            Phase::Open(half) => Pin::new(half).poll_shutdown(context),
            Phase::Entering(_) => return Poll::Ready(Ok(())),
        };
        self.watched(moved, context)
    }
}
