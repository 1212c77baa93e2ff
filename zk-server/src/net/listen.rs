//! Opening ports.

use super::endpoint::Endpoint;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tracing::warn;

/// The wait between attempts at a port that somebody may be about to leave.
const PAUSE: Duration = Duration::from_secs(1);

/// Binds an address. A wildcard, however it is written, takes IPv4 and IPv6, as Java's does; only IPv4 where the machine
/// has nothing else.
pub(crate) fn bind(at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    if at.is_ipv4()
        && at.ip().is_unspecified()
        && let Ok(both) = bind_as_written(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), at.port()), backlog)
    {
        return Ok(both);
    }
    bind_as_written(at, backlog)
}

fn bind_as_written(at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() && at.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&at.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Binds what our own line of the configuration says, however our own name resolves: to the wildcard, too.
/// `tries`: 0 for without end.
pub(crate) async fn with_retries(own: &Endpoint, on_all: bool, tries: u32) -> io::Result<TcpListener> {
    let mut attempt = 0;
    loop {
        let error = match once(own, on_all).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        attempt += 1;
        warn!("Cannot listen on {own} (attempt {attempt}): {error}");
        if attempt == tries {
            return Err(io::Error::new(error.kind(), format!("cannot listen on {own}: {error}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What there is to listen on: with `on_all`, each port once, whatever the hosts.
pub(crate) fn distinct(own: Vec<Endpoint>, on_all: bool) -> Vec<Endpoint> {
    let mut distinct: Vec<Endpoint> = Vec::new();
    for at in own {
        let same = |other: &Endpoint| other.port == at.port && (on_all || other.host == at.host);
        if !distinct.iter().any(same) {
            distinct.push(at);
        }
    }
    distinct
}

/// One attempt at it.
pub(crate) async fn once(own: &Endpoint, on_all: bool) -> io::Result<TcpListener> {
    let at = match on_all {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), own.port),
        false => own.resolve().await?[0],
    };
    bind(at, 128)
}

/// Ends a listening task and waits until its port is free, for a second at most. Not for the runtime's own threads.
pub(crate) fn end(task: &tokio::task::JoinHandle<()>) {
    task.abort();
    let until = Instant::now() + Duration::from_secs(1);
    while !task.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A connection whose other side takes nothing for so long is broken: there may be another way to that server.
pub(crate) fn give_up_after(stream: &tokio::net::TcpStream, silence: Duration) {
    // A system without it notices late, as without this call.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, silence.as_millis() as u32);
}

/// Detects peers that vanished without a word, on a connection that may be silent for long.
pub(crate) fn keep_alive(stream: &tokio::net::TcpStream) {
    // A socket that refuses is as good as before.
    let _ = SockRef::from(stream).set_keepalive(true);
}
