//! Sockets: listeners, connection limits, one task per connection that frames requests, has them
//! answered one at a time and writes the answers in order.

mod frame;
mod gate;
mod memory;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use base::{Flood, and_more};
use broker_core::acl::Principal;
use broker_core::connections::TurnedAway;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use frame::{FrameError, FrameReader};
pub use gate::Gate;
use gate::Seat;
pub use memory::RequestMemory;

use crate::security::{ListenerSecurity, LoginGate, Told, Verdict};

/// What becomes of a request.
pub enum Answer {
    /// Bytes behind the frame length, in pieces.
    Send(Vec<Bytes>),
    /// Nothing is sent (acks=0), the connection goes on.
    Silence,
    /// The connection is closed without an answer.
    Close,
    /// An answer, behind which nothing is read until then.
    Muted(Box<Answer>, Instant),
}

/// A connection, as requests see it.
#[derive(Debug)]
pub struct Peer {
    /// Name of the listener that it came in by.
    pub listener: Arc<str>,
    pub address: SocketAddr,
    /// Where it came in, if that is known.
    pub came_to: Option<SocketAddr>,
    /// Who authenticated, once somebody has.
    authenticated: OnceLock<Principal>,
    /// Its last login was by a delegation token.
    by_token: AtomicBool,
}

impl Peer {
    /// A connection on which nobody has authenticated.
    pub fn new(listener: Arc<str>, address: SocketAddr) -> Peer {
        Peer {
            listener,
            address,
            came_to: None,
            authenticated: OnceLock::new(),
            by_token: AtomicBool::new(false),
        }
    }

    /// Who asks: whoever authenticated, or [`Principal::anonymous`].
    pub fn principal(&self) -> &Principal {
        static ANONYMOUS: LazyLock<Principal> = LazyLock::new(Principal::anonymous);
        self.authenticated.get().unwrap_or(&ANONYMOUS)
    }

    /// Whether its last login was by a delegation token.
    pub fn came_by_token(&self) -> bool {
        self.by_token.load(Ordering::Relaxed)
    }

    /// Tells who authenticated. A connection's principal never changes after that: false, where it would.
    pub fn authenticate(&self, principal: Principal) -> bool {
        *self.authenticated.get_or_init(|| principal.clone()) == principal
    }
}

// What whoever reaches a port can have written to the log.
static TURNED_AWAY: Flood = Flood::new(10);
static OVERSIZED: Flood = Flood::new(10);
static REFUSED: Flood = Flood::new(10);

/// Answers requests; one call at a time per connection.
pub trait Service: Send + Sync + 'static {
    /// Answers one frame.
    fn answer(&self, peer: &Arc<Peer>, frame: Bytes) -> impl Future<Output = Answer> + Send;

    /// What who asks for versions before logging in is told.
    fn told(&self) -> Told {
        Told::default()
    }
}

/// Limits on requests that hold for all listeners together.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`; none when not positive.
    pub idle_max: Option<Duration>,
    /// `queued.max.request.bytes`, if there is a bound.
    pub memory: Option<Arc<RequestMemory>>,
}

/// Binds a socket with Kafka's options. Until it listens, whoever connects is refused.
pub fn bind(address: SocketAddr, receive_buffer: Option<u32>) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    Ok(socket)
}

/// A listener, and what it asks of who comes in by it.
pub struct Door {
    pub name: Arc<str>,
    pub listener: TcpListener,
    /// `None`: nothing.
    pub security: Option<Arc<ListenerSecurity>>,
}

/// What becomes of listeners while others serve on.
pub enum Change {
    Open(Door),
    /// With the connections that came in by it; `done` is told when nobody listens there any more.
    Close {
        name: String,
        done: oneshot::Sender<()>,
    },
}

/// Accepts on every listener until `stop` turns true, then ends all connections. Listeners come and go by `changes`.
///
/// Each listener has a thread of its own, as in Java: among the tasks of thousands of connections a task that accepts comes
/// too late for a crowd that connects at once, and the kernel turns away those behind `socket.listen.backlog.size`, who
/// try again after seconds.
pub async fn serve<S: Service>(
    listeners: Vec<Door>,
    limits: Limits,
    gate: Arc<Gate>,
    service: Arc<S>,
    mut changes: mpsc::UnboundedReceiver<Change>,
    mut stop: watch::Receiver<bool>,
) {
    let limits = Arc::new(limits);
    let open = |door: Door| {
        let (stop, stopped) = watch::channel(false);
        let (gate, limits, service) = (gate.clone(), limits.clone(), service.clone());
        let name = format!("acceptor-{}", door.name);
        (stop, in_thread(name, accept(door, limits, gate, service, stopped)))
    };
    let mut doors: BTreeMap<String, _> =
        listeners.into_iter().map(|door| (door.name.to_string(), open(door))).collect();
    loop {
        let change = tokio::select! {
            Some(change) = changes.recv() => change,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match change {
            Change::Open(door) => drop(doors.insert(door.name.to_string(), open(door))),
            Change::Close { name, done } => {
                if let Some((stop, accepting)) = doors.remove(&name) {
                    let _ = stop.send(true);
                    let _ = accepting.await;
                }
                let _ = done.send(());
            }
        }
    }
    for (stop, _) in doors.values() {
        let _ = stop.send(true);
    }
    for (_, accepting) in doors.into_values() {
        let _ = accepting.await;
    }
}

/// Runs `work` in a thread of its own; what it spawns runs among the tasks. The receiver hears of its end.
fn in_thread(name: String, work: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
    let runtime = tokio::runtime::Handle::current();
    let (ended, end) = oneshot::channel();
    let started = std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(work);
        let _ = ended.send(());
    });
    if let Err(error) = started {
        tracing::error!("A thread to accept connections: {error}");
    }
    end
}

async fn accept<S: Service>(
    Door { name, listener, security }: Door,
    limits: Arc<Limits>,
    gate: Arc<Gate>,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: try again when some have been closed.
                tracing::error!("Error accepting on listener {name}: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Whoever comes next waits for as long as this one.
        let entered = tokio::select! {
            entered = gate.enter(&name, address.ip()) => entered,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let seat = match entered {
            Ok(seat) => seat,
            Err(turned_away) => {
                if let Some(more) = TURNED_AWAY.admits() {
                    tracing::info!("Rejected connection from {address}: {turned_away}{}", and_more(more));
                }
                if let TurnedAway::TooFast { ms, .. } = turned_away {
                    let until = Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                    connections.spawn(close_later(socket, until, stop.clone()));
                }
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let came_to = socket.local_addr().ok();
        let peer = Arc::new(Peer { came_to, ..Peer::new(name.clone(), address) });
        let (limits, service, stop) = (limits.clone(), service.clone(), stop.clone());
        let security = security.clone();
        let number = seat.number();
        let task = connections.spawn(async move {
            let welcomed = welcome(socket, &peer, &seat, security.as_ref(), &limits, &*service, stop);
            if let Err(error) = welcomed.await {
                match error {
                    FrameError::Size { .. } => {
                        if let Some(more) = OVERSIZED.admits() {
                            tracing::warn!(
                                "Closing connection from {}: {error}{}",
                                peer.address,
                                and_more(more)
                            );
                        }
                    }
                    FrameError::Io(_) => tracing::debug!("Connection from {}: {error}", peer.address),
                }
            }
        });
        gate.seated(&number, task);
    }
    while connections.join_next().await.is_some() {}
}

/// An address that is too fast learns so after its time, or it would come again at once.
async fn close_later(socket: TcpStream, until: Instant, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(socket);
}

/// One connection: what its listener asks for before anything else, then requests.
async fn welcome<S: Service>(
    socket: TcpStream,
    peer: &Arc<Peer>,
    seat: &Seat,
    security: Option<&Arc<ListenerSecurity>>,
    limits: &Limits,
    service: &S,
    mut stop: watch::Receiver<bool>,
) -> Result<(), FrameError> {
    let login = security.and_then(|security| LoginGate::new(security, service.told()));
    let Some((security, tls)) = security.and_then(|security| Some((security, security.tls()?))) else {
        let delay = security.map_or(Duration::ZERO, |security| security.failure_delay);
        let (read, write) = socket.into_split();
        return converse((read, write), (login, delay), peer, seat, limits, service, stop).await;
    };
    let config = tls.server().map_err(std::io::Error::other)?;
    let shaking = tokio_rustls::TlsAcceptor::from(config).accept(socket);
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = tokio::time::sleep(idle_max(limits)) => return Ok(()),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            failed_authentication(peer, seat, &format!("SSL handshake failed): {error}"), "");
            tokio::time::sleep(security.failure_delay).await;
            return Ok(());
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    if let Some(certificate) = shown.filter(|_| login.is_none()) {
        let Some(principal) = security.principal_of(certificate) else {
            failed_authentication(peer, seat, "no rule maps its certificate's name", ")");
            return Ok(());
        };
        peer.authenticate(principal);
    }
    if login.is_none() {
        seat.figures().authenticated.fetch_add(1, Ordering::Relaxed);
    }
    converse(tokio::io::split(stream), (login, security.failure_delay), peer, seat, limits, service, stop)
        .await
}

fn failed_authentication(peer: &Peer, seat: &Seat, why: &str, end: &str) {
    seat.figures().refused.fetch_add(1, Ordering::Relaxed);
    if let Some(more) = REFUSED.admits() {
        tracing::info!("Failed authentication with {} ({why}{end}{}", peer.address, and_more(more));
    }
}

fn idle_max(limits: &Limits) -> Duration {
    limits.idle_max.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
}

/// A frame, its answer, the next frame.
async fn converse<R, W, S>(
    (read, mut write): (R, W),
    (mut login, failure_delay): (Option<LoginGate>, Duration),
    peer: &Arc<Peer>,
    seat: &Seat,
    limits: &Limits,
    service: &S,
    mut stop: watch::Receiver<bool>,
) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Service,
{
    let mut frames = FrameReader::new(read, limits.request_bytes_max).within(limits.memory.clone());
    loop {
        if let Some(login) = &login {
            frames.set_limit(login.receive_max(limits.request_bytes_max));
        }
        let frame = tokio::select! {
            frame = frames.next() => frame?,
            () = tokio::time::sleep(idle_max(limits)) => return Ok(()),
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Some(frame) = frame else { return Ok(()) };
        seat.touch();
        seat.figures().received(frame.len());
        let verdict = match &mut login {
            Some(login) => login.take(frame, std::time::Instant::now()),
            None => Verdict::Pass(frame),
        };
        let frame = match verdict {
            Verdict::Pass(frame) => frame,
            Verdict::Answer(answer) => {
                if let Some(login) = &login
                    && let Some(principal) = login.principal()
                {
                    if peer.authenticated.get().is_none() {
                        seat.figures().authenticated.fetch_add(1, Ordering::Relaxed);
                    }
                    peer.authenticate(principal.clone());
                    peer.by_token.store(login.came_by_token(), Ordering::Relaxed);
                }
                send(&mut write, seat, vec![answer]).await?;
                continue;
            }
            Verdict::Refuse { answer, why } => {
                failed_authentication(peer, seat, &why, ")");
                tokio::time::sleep(failure_delay).await;
                if let Some(answer) = answer {
                    send(&mut write, seat, vec![answer]).await?;
                    write.shutdown().await?;
                }
                return Ok(());
            }
        };
        let answer = tokio::select! {
            answer = service.answer(peer, frame) => answer,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let (answer, muted_until) = match answer {
            Answer::Muted(answer, until) => (*answer, Some(until)),
            answer => (answer, None),
        };
        frames.answered();
        match answer {
            Answer::Send(pieces) => send(&mut write, seat, pieces).await?,
            Answer::Silence | Answer::Muted(..) => {}
            Answer::Close => return Ok(()),
        }
        if let Some(until) = muted_until {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }
}

/// Writes the frame length and the pieces, gathered into as few system calls as the socket takes.
async fn send(
    write: &mut (impl AsyncWrite + Unpin),
    seat: &Seat,
    mut pieces: Vec<Bytes>,
) -> std::io::Result<()> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    seat.figures().sent(length);
    pieces.insert(0, Bytes::copy_from_slice(&(length as i32).to_be_bytes()));
    let mut first = 0;
    while first < pieces.len() {
        let slices: Vec<IoSlice<'_>> =
            pieces[first..].iter().take(64).map(|piece| IoSlice::new(piece)).collect();
        let mut written = write.write_vectored(&slices).await?;
        if written == 0 && pieces[first..].iter().any(|piece| !piece.is_empty()) {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while first < pieces.len() && written >= pieces[first].len() {
            written -= pieces[first].len();
            first += 1;
        }
        if first < pieces.len() {
            pieces[first].advance(written);
        }
    }
    // TLS holds back what the socket did not take.
    write.flush().await
}

#[cfg(test)]
mod tests {
    use broker_core::connections::{ConnectionLimits, ListenerLimits};
    use broker_core::quota::Windows;
    use tokio::io::AsyncReadExt;

    use super::*;

    struct Echo;
    impl Service for Echo {
        async fn answer(&self, _: &Arc<Peer>, frame: Bytes) -> Answer {
            match &frame[..] {
                b"quiet" => Answer::Silence,
                b"close" => Answer::Close,
                b"mute" => Answer::Muted(
                    Box::new(Answer::Send(vec![frame])),
                    Instant::now() + Duration::from_millis(300),
                ),
                _ => Answer::Send(vec![
                    Bytes::from_static(b"<"),
                    Bytes::new(),
                    frame,
                    Bytes::from_static(b">"),
                ]),
            }
        }
    }

    async fn start(per_ip_max: usize) -> (SocketAddr, watch::Sender<bool>) {
        let listener = bind("127.0.0.1:0".parse().unwrap(), None).unwrap().listen(50).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { request_bytes_max: 100, idle_max: None, memory: None };
        let any = ListenerLimits { connections_max: 10, rate_max: u32::MAX };
        let gate = Gate::new(ConnectionLimits {
            broker: any,
            listeners: Default::default(),
            per_ip_max,
            per_ip_overrides: Default::default(),
            protected: None,
            windows: Windows::new(11, 1),
        });
        let (stop, stopped) = watch::channel(false);
        let doors = vec![Door { name: "PLAINTEXT".into(), listener, security: None }];
        tokio::spawn(serve(doors, limits, gate, Arc::new(Echo), mpsc::unbounded_channel().1, stopped));
        (address, stop)
    }

    #[test]
    fn a_connection_is_anonymous_until_somebody_authenticates_and_then_keeps_that_name() {
        let peer = Peer::new("SASL_PLAINTEXT".into(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(*peer.principal(), Principal::anonymous());
        assert!(peer.authenticate(Principal::user("alice")) && peer.authenticate(Principal::user("alice")));
        assert!(!peer.authenticate(Principal::user("bob")));
        assert_eq!(*peer.principal(), Principal::user("alice"));
    }

    #[tokio::test]
    async fn answers_come_in_request_order_and_silence_sends_nothing() {
        let (address, _stop) = start(10).await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"\0\0\0\x01a\0\0\0\x05quiet\0\0\0\x01b\0\0\0\x05close").await.unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"\0\0\0\x03<a>\0\0\0\x03<b>");
    }

    #[tokio::test]
    async fn a_muted_connection_is_answered_at_once_and_read_later() {
        let (address, _stop) = start(10).await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        socket.write_all(b"\0\0\0\x04mute\0\0\0\x01b").await.unwrap();
        let mut answer = [0; 8];
        socket.read_exact(&mut answer).await.unwrap();
        assert!(&answer[4..] == b"mute" && begun.elapsed() < Duration::from_millis(290));
        socket.read_exact(&mut answer[..7]).await.unwrap();
        assert!(&answer[4..7] == b"<b>" && begun.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn a_connection_above_the_per_ip_limit_is_closed_and_its_place_comes_back() {
        let (address, _stop) = start(1).await;
        let first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
        drop(first);
        for _ in 0..100 {
            let mut third = TcpStream::connect(address).await.unwrap();
            if third.write_all(b"\0\0\0\x01a").await.is_ok()
                && third.read(&mut [0; 1]).await.unwrap_or(0) == 1
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the place never came back");
    }

    #[tokio::test]
    async fn who_was_idle_longest_makes_room_when_the_limit_comes_down() {
        let any = ListenerLimits { connections_max: 10, rate_max: u32::MAX };
        let limits = |broker| ConnectionLimits {
            broker,
            listeners: Default::default(),
            per_ip_max: 10,
            per_ip_overrides: Default::default(),
            protected: None,
            windows: Windows::new(11, 1),
        };
        let gate = Gate::new(limits(any));
        let listener = bind("127.0.0.1:0".parse().unwrap(), None).unwrap().listen(50).unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let requests = Limits { request_bytes_max: 100, idle_max: None, memory: None };
        let doors = vec![Door { name: "A".into(), listener, security: None }];
        let (_changes, changed) = mpsc::unbounded_channel();
        let serving = serve(doors, requests, gate.clone(), Arc::new(Echo), changed, stopped);
        tokio::spawn(serving);
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"\0\0\0\x01a").await.unwrap();
            socket.read_exact(&mut [0; 7]).await.unwrap();
            sockets.push(socket);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sockets[0].write_all(b"\0\0\0\x01a").await.unwrap();
        sockets[0].read_exact(&mut [0; 7]).await.unwrap();
        gate.set_limits(limits(ListenerLimits { connections_max: 1, ..any }));
        for idle in [1, 2] {
            assert_eq!(sockets[idle].read(&mut [0; 1]).await.unwrap_or(0), 0);
        }
        sockets[0].write_all(b"\0\0\0\x01b").await.unwrap();
        sockets[0].read_exact(&mut [0; 7]).await.unwrap();
        // The next one waits in the listener until the first has gone.
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"\0\0\0\x01c").await.unwrap();
        let mut answer = [0; 7];
        let early = tokio::time::timeout(Duration::from_millis(100), next.read_exact(&mut answer)).await;
        assert!(early.is_err());
        drop(sockets);
        next.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[4..], b"<c>");
    }

    #[tokio::test]
    async fn listeners_come_and_go_while_others_serve_on() {
        let open = |name: &str| {
            let listener = bind("127.0.0.1:0".parse().unwrap(), None).unwrap().listen(50).unwrap();
            let address = listener.local_addr().unwrap();
            (Door { name: name.into(), listener, security: None }, address)
        };
        let limits = Limits { request_bytes_max: 100, idle_max: None, memory: None };
        let gate = Gate::new(crate::connections::without_limits());
        let (_stop, stopped) = watch::channel(false);
        let (changes, changed) = mpsc::unbounded_channel();
        let ((first, first_at), (second, second_at)) = (open("A"), open("B"));
        tokio::spawn(serve(vec![first], limits, gate, Arc::new(Echo), changed, stopped));
        let echo = async |socket: &mut TcpStream| {
            socket.write_all(b"\0\0\0\x01a").await.unwrap();
            socket.read_exact(&mut [0; 7]).await.map(drop)
        };
        let mut stays = TcpStream::connect(first_at).await.unwrap();
        assert!(changes.send(Change::Open(second)).is_ok());
        let mut goes = TcpStream::connect(second_at).await.unwrap();
        echo(&mut stays).await.unwrap();
        echo(&mut goes).await.unwrap();
        let (done, closed) = oneshot::channel();
        assert!(changes.send(Change::Close { name: "B".into(), done }).is_ok());
        closed.await.unwrap();
        assert_eq!(goes.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(second_at).await.is_err());
        echo(&mut stays).await.unwrap();
    }
}
