//! The client ports, plain (2181) and by TLS: accepting, four-letter words, frames, and holding back those who ask too
//! much.

use super::endpoint::Endpoint;
use super::frames::{self, BadLength};
use super::gate::Gate;
use super::listen;
use super::outlet::Outlet;
use super::secure::{ClientTls, Door};
use super::stream::{Half, Stream};
use crate::config::LargeRequests;
use crate::server::inbox::{Inbox, Input};
use crate::words::{self, listing};
use base::{Flood, and_more};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use wire::zk::Id;
use zk_core::ConnId;

/// What requests of one connection may weigh before it is read no further: [`request_weight`].
pub(crate) const CONNECTION_LOAD_MAX: usize = 4 << 20;
/// Unsent bytes above which a connection is not read, and above which it is given up.
const UNSENT_PAUSE: usize = 1 << 20;
pub(crate) const UNSENT_MAX: usize = 256 << 20;
/// A read's buffer: at least, and at most however much a frame still lacks.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 64 << 10;
/// How long a word's answer may take to be rendered.
const WORD_WITHIN: Duration = Duration::from_secs(30);

/// What a request under way weighs: its bytes and what is kept about it.
pub(crate) fn request_weight(frame: usize) -> usize {
    frame + 1024
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub listen: Option<Endpoint>,
    /// The port for TLS alone.
    pub listen_secure: Option<Endpoint>,
    /// What TLS connections are answered with; there is such a port, or the plain port takes both.
    pub tls: Option<ClientTls>,
    pub backlog: i32,
    /// `maxClientCnxns`; 0: no limit.
    pub of_one_address_max: usize,
    /// `maxCnxns`; 0: no limit.
    pub connections_max: usize,
    /// `netty.server.outstandingHandshake.limit`: of a port that takes TLS.
    pub handshakes_max: Option<usize>,
    pub keep_alive: bool,
    pub sessionless: Duration,
    /// `globalOutstandingLimit`
    pub outstanding_max: usize,
    /// `jute.maxbuffer`
    pub frame_max: usize,
    pub large_requests: Option<LargeRequests>,
    pub words: Vec<String>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Settings,
    inbox: Inbox,
    next: AtomicU64,
    /// Connections by the address that they come from.
    from: Mutex<HashMap<IpAddr, usize>>,
    pub connections: AtomicUsize,
    /// Requests that are not answered yet.
    pub outstanding: AtomicUsize,
    pub rejected: AtomicUsize,
    /// TLS handshakes that failed, and those under way; a plain connection's takes no time.
    pub handshakes_failed: AtomicUsize,
    pub handshakes: AtomicUsize,
    /// Handshakes that were not begun because too many were under way.
    pub handshakes_refused: AtomicUsize,
    /// Connections so far that did not come by TLS, from this machine and from others.
    plain: [AtomicUsize; 2],
    /// Requests that were refused for their size.
    pub large_rejected: AtomicUsize,
    /// Bytes of the large ones among the requests that are not answered yet.
    large_bytes: AtomicUsize,
}

// What whoever reaches a port can have written to the log.
static TOO_MANY: Flood = Flood::new(10);
static UNSHAKEN: Flood = Flood::new(10);
static BAD_LENGTHS: Flood = Flood::new(10);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// By the loopback interface.
    Here,
    Elsewhere,
}

impl Shared {
    /// Connections so far that did not come by TLS.
    pub fn plain_from(&self, origin: Origin) -> usize {
        self.plain[origin as usize].load(SeqCst)
    }

    /// One more handshake may begin; it is counted among those under way.
    fn may_shake_hands(&self, door: &Door) -> bool {
        let under_way = self.handshakes.fetch_add(1, SeqCst) + 1;
        let max = self.settings.handshakes_max.filter(|_| !matches!(door, Door::Plain));
        if max.is_none_or(|max| under_way <= max) {
            return true;
        }
        self.handshakes.fetch_sub(1, SeqCst);
        self.handshakes_refused.fetch_add(1, SeqCst);
        false
    }

    /// What a request of this length counts among the large ones.
    pub fn large(&self, len: usize) -> usize {
        self.settings.large_requests.filter(|large| len > large.above).map_or(0, |_| len)
    }

    /// Counts a large request. An error: there are too many of them under way.
    fn take_large(&self, len: usize) -> io::Result<()> {
        let Some(LargeRequests { bytes_max, .. }) = self.settings.large_requests else { return Ok(()) };
        let len = self.large(len);
        if self.large_bytes.fetch_add(len, SeqCst) + len > bytes_max && len > 0 {
            self.large_bytes.fetch_sub(len, SeqCst);
            self.large_rejected.fetch_add(1, SeqCst);
            return Err(io::Error::other("Rejecting large request"));
        }
        Ok(())
    }

    pub fn large_done(&self, bytes: usize) {
        if bytes > 0 {
            self.large_bytes.fetch_sub(bytes, SeqCst);
        }
    }
}

/// The open ports. They close with this value; connections do not.
#[derive(Debug)]
pub(crate) struct ClientPort {
    plain: Option<Opened>,
    /// For TLS alone.
    secure: Option<Opened>,
    pub shared: Arc<Shared>,
}

#[derive(Debug)]
struct Opened {
    bound: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ClientPort {
    /// Moves the plain port to another address; connections stay. Not for the runtime's own threads.
    pub fn rebind(&mut self, at: Endpoint) -> Result<(), (String, io::Error)> {
        if let Some(old) = self.plain.take() {
            listen::end(&old.task);
        }
        let listener = open(&at, self.shared.settings.backlog)?;
        self.plain = Some(self.accept_plain(listener));
        Ok(())
    }

    /// Where plain connections are taken.
    pub fn bound(&self) -> Option<SocketAddr> {
        self.plain.as_ref().map(|port| port.bound)
    }

    /// Where only TLS connections are taken.
    pub fn bound_secure(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|port| port.bound)
    }

    /// Closes the ports. Not for the runtime's own threads.
    pub fn close(self) {
        for port in self.plain.iter().chain(&self.secure) {
            listen::end(&port.task);
        }
    }

    /// Binds and accepts; `Ok(None)`: no port is configured. Must be called on the runtime.
    pub fn bind(settings: Settings, inbox: Inbox) -> Result<Option<ClientPort>, (String, io::Error)> {
        if settings.listen.is_none() && settings.listen_secure.is_none() {
            return Ok(None);
        }
        let plain = settings.listen.as_ref().map(|at| open(at, settings.backlog)).transpose()?;
        let secure = settings.listen_secure.as_ref().map(|at| open(at, settings.backlog)).transpose()?;
        let shared = Arc::new(Shared {
            settings,
            inbox,
            next: AtomicU64::new(1),
            from: Mutex::default(),
            connections: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            rejected: AtomicUsize::new(0),
            handshakes_failed: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            handshakes_refused: AtomicUsize::new(0),
            plain: Default::default(),
            large_rejected: AtomicUsize::new(0),
            large_bytes: AtomicUsize::new(0),
        });
        let mut port = ClientPort { plain: None, secure: None, shared };
        port.plain = plain.map(|listener| port.accept_plain(listener));
        if let (Some((listener, bound)), Some(tls)) = (secure, port.shared.settings.tls.clone()) {
            let task = tokio::spawn(accept(listener, Door::Tls(tls), port.shared.clone()));
            port.secure = Some(Opened { bound, task });
        }
        Ok(Some(port))
    }

    fn accept_plain(&self, (listener, bound): (TcpListener, SocketAddr)) -> Opened {
        let door = match self.shared.settings.tls.clone().filter(|tls| tls.unified) {
            Some(tls) => Door::Either(tls),
            None => Door::Plain,
        };
        Opened { bound, task: tokio::spawn(accept(listener, door, self.shared.clone())) }
    }
}

fn open(at: &Endpoint, backlog: i32) -> Result<(TcpListener, SocketAddr), (String, io::Error)> {
    let failed = |error| (at.to_string(), error);
    info!("binding to port {at}");
    let address = at.resolve_blocking().map_err(failed)?.into_iter().next();
    let address = address.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let listener = listen::bind(address, backlog).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// One place among the connections, given back when dropped.
struct Place {
    shared: Arc<Shared>,
    ip: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, ip: IpAddr) -> Option<Place> {
        let Settings { of_one_address_max, connections_max, .. } = shared.settings;
        let mut from = shared.from.lock().expect("nobody panics while counting");
        let of_this = from.entry(ip).or_default();
        if of_one_address_max > 0 && *of_this >= of_one_address_max {
            if let Some(more) = TOO_MANY.admits() {
                warn!("Too many connections from /{ip} - max is {of_one_address_max}{}", and_more(more));
            }
            return None;
        }
        if connections_max > 0 && shared.connections.load(SeqCst) >= connections_max {
            if let Some(more) = TOO_MANY.admits() {
                warn!("Too many connections - max is {connections_max}{}", and_more(more));
            }
            return None;
        }
        *of_this += 1;
        shared.connections.fetch_add(1, SeqCst);
        Some(Place { shared: shared.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, SeqCst);
        let mut from = self.shared.from.lock().expect("nobody panics while counting");
        if let Some(count) = from.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                from.remove(&self.ip);
            }
        }
    }
}

async fn accept(listener: TcpListener, door: Door, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match Place::take(&shared, from.ip().to_canonical()) {
                Some(place) => {
                    tokio::spawn(serve(stream, from, door.clone(), place));
                }
                None => {
                    shared.rejected.fetch_add(1, SeqCst);
                }
            },
            Err(error) => {
                // Out of file descriptors, most likely: others have to close first.
                warn!("Error accepting new connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One connection from its first byte to its last.
async fn serve(stream: TcpStream, from: SocketAddr, door: Door, place: Place) {
    let shared = &place.shared;
    let _ = stream.set_nodelay(true);
    if shared.settings.keep_alive {
        listen::keep_alive(&stream);
    }
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    if !shared.may_shake_hands(&door) {
        return debug!("/{from} is sent away: too many handshakes are under way");
    }
    let entered = timeout(shared.settings.sessionless, door.enter(stream)).await;
    shared.handshakes.fetch_sub(1, SeqCst);
    let (stream, ids) = match entered {
        Ok(Ok(entered)) => entered,
        Ok(Err(why)) => {
            shared.handshakes_failed.fetch_add(1, SeqCst);
            if let Some(more) = UNSHAKEN.admits() {
                warn!("Unsuccessful handshake with /{from}: {why}{}", and_more(more));
            }
            return;
        }
        Err(_) => return debug!("/{from} left without a handshake"),
    };
    if !stream.is_tls() {
        let origin = if from.ip().is_loopback() { Origin::Here } else { Origin::Elsewhere };
        shared.plain[origin as usize].fetch_add(1, SeqCst);
    }
    let mut buffer = BytesMut::with_capacity(READ_MIN);
    let first = timeout(shared.settings.sessionless, async {
        while buffer.len() < 4 {
            if read(&stream, &mut buffer, 0).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok::<(), io::Error>(())
    });
    if !matches!(first.await, Ok(Ok(()))) {
        return debug!("/{from} left without a request");
    }
    match buffer.first_chunk::<4>() {
        Some(word) if words::is_word(word) => {
            let word = *word;
            answer(stream, word, buffer, from, shared).await
        }
        _ => session(stream, ids, buffer, from, shared).await,
    }
}

/// The next bytes, 0 at the end; `lacking`: how many the next frame still needs.
async fn read(stream: &Stream, buffer: &mut BytesMut, lacking: usize) -> io::Result<usize> {
    buffer.reserve(lacking.clamp(READ_MIN, READ_MAX));
    stream.read_buf(buffer).await
}

/// A four-letter word: its answer, and the end.
async fn answer(stream: Stream, word: [u8; 4], mut rest: BytesMut, from: SocketAddr, shared: &Shared) {
    let name = String::from_utf8_lossy(&word).into_owned();
    info!("Processing {name} command from /{from}");
    let argument = rest.split_off(4).freeze();
    let text = if !words::is_allowed(&name, &shared.settings.words) {
        Bytes::from(format!("{name} is not executed because it is not in the whitelist.\n"))
    } else if listing::is_long(&word) {
        match timeout(WORD_WITHIN, listing::answer(word, &shared.inbox)).await {
            Ok(Some(text)) => text,
            _ => return,
        }
    } else {
        let (answer, rendered) = oneshot::channel();
        shared.inbox.send(Input::Word { word, argument, from, answer });
        match timeout(WORD_WITHIN, rendered).await {
            Ok(Ok(text)) => text,
            _ => return,
        }
    };
    // Whoever asks and does not listen gets what the socket took.
    let mut stream = Half(Arc::new(stream));
    let _ = timeout(WORD_WITHIN, async {
        stream.write_all(&text).await?;
        stream.shutdown().await
    })
    .await;
}

async fn session(stream: Stream, ids: Vec<Id>, mut buffer: BytesMut, from: SocketAddr, shared: &Shared) {
    let conn = ConnId(shared.next.fetch_add(1, SeqCst));
    let secure = stream.is_tls();
    let stream = Arc::new(stream);
    let outlet = Outlet::new(stream.clone(), Handle::current());
    let gate = Arc::new(Gate::default());
    let (outlet_too, gate_too) = (outlet.clone(), gate.clone());
    let opened = Input::ClientOpened { conn, from, outlet: outlet_too, gate: gate_too, secure, ids };
    shared.inbox.send(opened);
    if let Err(error) = requests(conn, from, &stream, &mut buffer, &outlet, &gate, shared).await {
        debug!("Connection {conn:?} from /{from} ends: {error}");
    }
    shared.inbox.send(Input::ClientClosed { conn });
}

/// Counts the large ones; the first that is one too many goes, with all behind it.
fn keep_what_fits(frames: &mut Vec<Bytes>, shared: &Shared) -> io::Result<()> {
    for at in 0..frames.len() {
        if let Err(error) = shared.take_large(frames[at].len()) {
            frames.truncate(at);
            return Err(error);
        }
    }
    Ok(())
}

async fn requests(
    conn: ConnId,
    from: SocketAddr,
    stream: &Stream,
    buffer: &mut BytesMut,
    outlet: &Outlet,
    gate: &Gate,
    shared: &Shared,
) -> io::Result<()> {
    let Settings { frame_max, outstanding_max, .. } = shared.settings;
    loop {
        let mut frames = Vec::new();
        let lacking = frames::split(buffer, frame_max, &mut frames);
        let rejected = keep_what_fits(&mut frames, shared);
        if !frames.is_empty() {
            gate.add(frames.iter().map(|frame| request_weight(frame.len())).sum());
            shared.outstanding.fetch_add(frames.len(), SeqCst);
            shared.inbox.send(Input::ClientFrames { conn, frames });
        }
        rejected?;
        let lacking = lacking.map_err(|BadLength { len, max }| {
            if let Some(more) = BAD_LENGTHS.admits() {
                warn!(
                    "Close of session: Len error. A message from /{from} with advertised length of {len} is either a malformed \
                     message or too large to process (length is greater than jute.maxbuffer={max}){}",
                    and_more(more)
                );
            }
            io::Error::other(BadLength { len, max })
        })?;
        let crowded = || shared.outstanding.load(SeqCst) > outstanding_max;
        gate.wait_while(|load| load > CONNECTION_LOAD_MAX || load > 0 && crowded()).await;
        outlet.wait_until_below(UNSENT_PAUSE).await;
        if read(stream, buffer, lacking).await? == 0 {
            return Ok(());
        }
    }
}
