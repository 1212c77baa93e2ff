//! The election port (3888): one connection to every other server, over which votes travel.
//!
//! Of two servers the one with the larger id keeps the connection that it dialled: whoever dials a larger id introduces
//! itself, hangs up, and is dialled back. One task owns all of this; every connection has a reader and a writer.

mod hello;
mod link;

use crate::net::endpoint::Endpoint;
use crate::net::listen;
use crate::net::peers::PeerSecurity;
use crate::net::route::Routes;
use crate::net::stream::{Half, Stream};
use crate::sasl::quorum::QuorumSaslError;
use crate::server::inbox::{Inbox, Input};
use bytes::Bytes;
use link::Link;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};
use wire::jute::Record;
use wire::zk::Sid;
use wire::zk::quorum::{Notification, hello::OBSERVER_ID};

/// The wait after the first failed attempt; doubled by each further one up to the last.
const REDIAL_FIRST: Duration = Duration::from_millis(500);
const REDIAL_LAST: Duration = Duration::from_secs(30);
/// How long the start waits for one of several addresses of ours.
const BIND_FIRST: Duration = Duration::from_secs(1);
/// Hellos that are being read at a time; further connections wait in the listener's queue.
const HELLOS_MAX: usize = 128;
/// Of a process whose election port cannot be opened, as Java's servers end.
const EXIT_ELECTION_PORT: i32 = 14;

/// What the election port needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub myid: Sid,
    /// Every member's election addresses, our own among them.
    pub members: BTreeMap<Sid, Vec<Endpoint>>,
    /// `quorumListenOnAllIPs`.
    pub listen_on_all: bool,
    /// `multiAddress.enabled`: we introduce ourselves with all our addresses.
    pub multi_address: bool,
    pub routes: Routes,
    /// `cnxTimeout`: of one attempt.
    pub connect_within: Duration,
    /// How long a dialler may take for its hello.
    pub hello_within: Duration,
    /// `electionPortBindRetry`; 0: without end.
    pub bind_tries: u32,
    pub keep_alive: bool,
    pub security: PeerSecurity,
}

/// The loop's handle.
#[derive(Debug)]
pub(crate) struct ElectionNet {
    votes: UnboundedSender<Order>,
    board: JoinHandle<()>,
    pub bound: Vec<SocketAddr>,
}

/// What the owning task is told.
#[derive(Debug)]
enum Order {
    Vote(Sid, Notification),
    /// A hello was read on a connection that was accepted at this moment.
    /// The bytes are the first of what follows it.
    Accepted(Instant, hello::Hello, Arc<Stream>, Bytes),
    /// A dialled connection is open and introduced; `None`: it came to nothing, or was hung up as the rules want.
    Dialled(Sid, Option<Arc<Stream>>, DialEnd),
    LinkEnded(Sid, u64),
    /// The members' addresses from now on, our own among them where we are one.
    Members(BTreeMap<Sid, Vec<Endpoint>>),
    /// Our own addresses have moved, and this is where we listen now.
    Listening(Vec<TcpListener>, Vec<Endpoint>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DialEnd {
    Failed,
    Introduced,
}

impl ElectionNet {
    /// Binds our own election addresses and starts. Must be called on the runtime.
    pub async fn start(settings: Settings, inbox: Inbox) -> io::Result<ElectionNet> {
        let own = settings.members.get(&settings.myid).cloned().unwrap_or_default();
        let (listeners, late) =
            bind(listen::distinct(own.clone(), settings.listen_on_all), &settings).await?;
        let bound = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        for at in &bound {
            info!("{} is accepting connections now, my election bind port: {at}", settings.myid);
        }
        let (votes, orders) = unbounded_channel();
        let board = Board {
            hello: hello::encode(settings.myid, &own, settings.multi_address),
            settings,
            inbox,
            me: votes.downgrade(),
            peers: BTreeMap::new(),
            observers: 0,
            links: 0,
            listening: Vec::new(),
            tasks: JoinSet::new(),
        };
        let board = tokio::spawn(board.run(listeners, late, orders));
        Ok(ElectionNet { votes, board, bound })
    }

    /// Closes the port and every connection. Not for the runtime's own threads.
    pub fn close(self) {
        listen::end(&self.board);
    }

    /// The members are other ones from now on. Votes to newcomers are sent to their addresses, and our own port moves.
    pub fn follow(&self, members: BTreeMap<Sid, Vec<Endpoint>>) {
        let _ = self.votes.send(Order::Members(members));
    }

    /// Queues a vote; it replaces one to the same server that has not left yet.
    pub fn send(&self, to: Sid, vote: Notification) {
        // The task ends with this handle, not before.
        let _ = self.votes.send(Order::Vote(to, vote));
    }
}

/// One other server.
#[derive(Debug, Default)]
struct Peer {
    /// The newest vote, encoded: sent, or waiting for a connection.
    newest: Option<bytes::Bytes>,
    /// `newest` was given to a connection.
    sent: bool,
    link: Option<Link>,
    dialling: bool,
    /// Where it wants to be dialled back, from its last hello.
    told: Vec<Endpoint>,
    /// The wait before the next attempt of our own, and when that is.
    redial: Option<(Duration, Instant)>,
}

struct Board {
    settings: Settings,
    hello: bytes::Bytes,
    inbox: Inbox,
    /// Weak: the task ends when the loop's handle is gone.
    me: tokio::sync::mpsc::WeakUnboundedSender<Order>,
    peers: BTreeMap<Sid, Peer>,
    /// Observers without an id get -1, -2, ...
    observers: i64,
    links: u64,
    /// What accepts on our addresses.
    listening: Vec<AbortHandle>,
    /// Dials, hellos, readers and writers: they end with this task.
    tasks: JoinSet<()>,
}

impl Board {
    async fn run(
        mut self,
        listeners: Vec<TcpListener>,
        late: Vec<Endpoint>,
        mut orders: UnboundedReceiver<Order>,
    ) {
        self.listen(listeners, late);
        loop {
            let redial = self.peers.values().filter_map(|peer| peer.redial.map(|(_, at)| at)).min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(_) = self.tasks.join_next() => {}
                () = sleep_until(redial.unwrap_or_else(Instant::now)), if redial.is_some() => self.redial_due(),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Vote(to, vote) => self.vote(to, vote),
            Order::Accepted(at, hello, stream, first) => self.accepted(at, hello, stream, first),
            Order::Dialled(sid, stream, end) => self.dialled(sid, stream, end),
            Order::Members(members) => self.follow(members),
            Order::Listening(listeners, late) => self.listen(listeners, late),
            Order::LinkEnded(sid, number) => {
                let peer = self.peers.entry(sid).or_default();
                if peer.link.as_ref().is_some_and(|link| link.number == number) {
                    debug!("Connection to server {sid} on the election port ended");
                    peer.link = None;
                    if self.has_other_ways(sid) {
                        // What was written last may not have arrived.
                        self.peers.entry(sid).or_default().sent = false;
                        self.dial(sid);
                    }
                }
            }
        }
    }

    fn listen(&mut self, listeners: Vec<TcpListener>, late: Vec<Endpoint>) {
        let within = self.settings.hello_within;
        for listener in listeners {
            let accepting = accept(listener, self.me.clone(), within, self.settings.security.clone());
            self.listening.push(self.tasks.spawn(accepting));
        }
        for at in late {
            let (me, on_all, tries) =
                (self.me.clone(), self.settings.listen_on_all, self.settings.bind_tries);
            let security = self.settings.security.clone();
            self.listening.push(self.tasks.spawn(async move {
                match listen::with_retries(&at, on_all, tries).await {
                    Ok(listener) => accept(listener, me, within, security).await,
                    Err(error) => warn!("Votes come by our other addresses only: {error}"),
                }
            }));
        }
    }

    fn follow(&mut self, members: BTreeMap<Sid, Vec<Endpoint>>) {
        let before = std::mem::replace(&mut self.settings.members, members);
        for (sid, peer) in &mut self.peers {
            let at = self.settings.members.get(sid);
            if at.is_some() && at != before.get(sid) {
                // It may have moved: whatever was tried in vain is tried anew, at once.
                peer.told.clear();
                peer.redial = peer.redial.map(|_| (REDIAL_FIRST, Instant::now()));
            }
        }
        let own = self.settings.members.get(&self.settings.myid);
        if let Some(own) = own.filter(|own| Some(*own) != before.get(&self.settings.myid)).cloned() {
            self.hello = hello::encode(self.settings.myid, &own, self.settings.multi_address);
            self.move_to(own);
        }
    }

    /// The old port closes first: the new one may be the same on another address.
    fn move_to(&mut self, own: Vec<Endpoint>) {
        self.listening.drain(..).for_each(|task| task.abort());
        let (me, inbox, settings) = (self.me.clone(), self.inbox.clone(), self.settings.clone());
        self.tasks.spawn(async move {
            match bind(listen::distinct(own, settings.listen_on_all), &settings).await {
                Ok((listeners, late)) => {
                    let bound = listeners.iter().flat_map(TcpListener::local_addr);
                    bound.for_each(|at| info!("My election bind port is now: {at}"));
                    if let Some(me) = me.upgrade() {
                        let _ = me.send(Order::Listening(listeners, late));
                    }
                }
                Err(error) => {
                    inbox.send(Input::Broken {
                        code: EXIT_ELECTION_PORT,
                        why: format!("election port: {error}"),
                    });
                }
            }
        });
    }

    fn vote(&mut self, to: Sid, vote: Notification) {
        if to == self.settings.myid {
            return self.inbox.vote(to, vote);
        }
        let peer = self.peers.entry(to).or_default();
        let bytes = vote.encode();
        peer.sent = peer.link.as_ref().is_some_and(|link| link.send(bytes.clone()));
        peer.newest = Some(bytes);
        if !peer.sent {
            peer.link = None;
            self.dial(to);
        }
    }

    /// Where `sid` may be: what is configured, then what it said itself.
    fn endpoints(&self, sid: Sid) -> Vec<Endpoint> {
        let told = self.peers.get(&sid).map(|peer| peer.told.clone()).unwrap_or_default();
        let mut all = self.settings.members.get(&sid).cloned().unwrap_or_default();
        for at in told {
            if !all.contains(&at) {
                all.push(at);
            }
        }
        all
    }

    /// It has several addresses, and a way that is dead is to be noticed.
    fn has_other_ways(&self, sid: Sid) -> bool {
        let several = self.settings.members.get(&sid).is_some_and(|all| all.len() > 1);
        several && self.settings.multi_address && self.settings.routes.probe().is_some()
    }

    fn dial(&mut self, sid: Sid) {
        let endpoints = self.endpoints(sid);
        let peer = self.peers.entry(sid).or_default();
        if peer.dialling || endpoints.is_empty() {
            return;
        }
        peer.dialling = true;
        let (me, hello, within) = (self.me.clone(), self.hello.clone(), self.settings.connect_within);
        let (myid, keep) = (self.settings.myid, sid < self.settings.myid);
        let (routes, security) = (self.settings.routes.clone(), self.settings.security.clone());
        self.tasks.spawn(async move {
            let mut given_up = None;
            let introduced = introduce(sid, &endpoints, &routes, &hello, within, &security).await;
            let (stream, end) = match introduced {
                None => (None, DialEnd::Failed),
                Some(stream) if keep => (Some(stream), DialEnd::Introduced),
                Some(stream) => {
                    given_up = Some(stream);
                    info!(
                        "Have smaller server identifier, so dropping the connection: \
                         (myId:{myid} --> sid:{sid})"
                    );
                    (None, DialEnd::Introduced)
                }
            };
            if let Some(me) = me.upgrade() {
                let _ = me.send(Order::Dialled(sid, stream, end));
            }
            if let Some(stream) = given_up {
                security.hang_up(stream).await;
            }
        });
    }

    fn dialled(&mut self, sid: Sid, stream: Option<Arc<Stream>>, end: DialEnd) {
        let peer = self.peers.entry(sid).or_default();
        peer.dialling = false;
        // A larger id dials back; should it not, the next attempt reminds it.
        let wait = match (end, peer.redial) {
            (DialEnd::Introduced, _) => REDIAL_FIRST * 4,
            (DialEnd::Failed, None) => REDIAL_FIRST,
            (DialEnd::Failed, Some((wait, _))) => (wait * 2).min(REDIAL_LAST),
        };
        peer.redial = peer.link.is_none().then(|| (wait, Instant::now() + wait));
        if let Some(stream) = stream {
            self.install(sid, stream, Bytes::new());
        }
    }

    fn redial_due(&mut self) {
        let now = Instant::now();
        let due = |peer: &Peer| peer.redial.is_some_and(|(_, at)| at <= now);
        let sids: Vec<Sid> = self.peers.iter().filter(|(_, peer)| due(peer)).map(|(sid, _)| *sid).collect();
        for sid in sids {
            let peer = self.peers.get_mut(&sid).expect("just found");
            if peer.link.is_some() || peer.sent || peer.dialling {
                peer.redial = None;
            } else {
                // Keeps the wait for the back-off; the moment is set anew by the attempt's end.
                peer.redial = peer.redial.map(|(wait, _)| (wait, now + REDIAL_LAST));
                self.dial(sid);
            }
        }
    }

    fn accepted(&mut self, at: Instant, hello: hello::Hello, stream: Arc<Stream>, first: Bytes) {
        let mut sid = hello.sid;
        if sid == OBSERVER_ID {
            self.observers -= 1;
            sid = self.observers;
            info!("Setting arbitrary identifier to observer: {sid}");
            return self.install(sid, stream, first);
        }
        let known = self.settings.members.contains_key(&sid);
        self.peers.entry(sid).or_default().told = hello.endpoints;
        if sid == self.settings.myid {
            warn!(
                "We got a connection request from a server with our own ID. \
                 This should be either a configuration error, or a bug."
            );
        } else if sid > self.settings.myid {
            self.install(sid, stream, first);
        } else {
            debug!("Server {sid} (member: {known}) dialled: hanging up and dialling back");
            drop(stream);
            let peer = self.peers.entry(sid).or_default();
            // Who dialled before we had come through does not know yet that we have: where handshakes take their time,
            // each would break off what the other has just begun.
            if peer.link.as_ref().is_none_or(|link| link.since <= at) {
                peer.link = None;
                self.dial(sid);
            }
        }
    }

    /// The connection to `sid` from now on; an older one is closed. The newest vote is sent (again).
    /// `first`: what was already read from it.
    fn install(&mut self, sid: Sid, stream: Arc<Stream>, first: Bytes) {
        self.links += 1;
        if self.settings.keep_alive {
            listen::keep_alive(stream.socket());
        }
        if let Some(probe) = self.settings.routes.probe().filter(|_| self.has_other_ways(sid)) {
            listen::give_up_after(stream.socket(), probe);
        }
        let me = self.me.clone();
        let number = self.links;
        let ended = move || {
            if let Some(me) = me.upgrade() {
                let _ = me.send(Order::LinkEnded(sid, number));
            }
        };
        let link = Link::start(number, sid, (stream, first), self.inbox.clone(), ended, &mut self.tasks);
        let peer = self.peers.entry(sid).or_default();
        if let Some(newest) = &peer.newest {
            peer.sent = link.send(newest.clone());
        }
        peer.link = Some(link);
        peer.redial = None;
    }
}

/// Connects, sends our hello and proves who we are. Failures are warnings in the words that operators look for.
async fn introduce(
    sid: Sid,
    endpoints: &[Endpoint],
    routes: &Routes,
    hello: &bytes::Bytes,
    within: Duration,
    security: &PeerSecurity,
) -> Option<Arc<Stream>> {
    let failed = |shown, error| warn!("Cannot open channel to {sid} at election address {shown}: {error}");
    let socket = routes.connect(sid, endpoints, within, failed).await?;
    match timeout(within, greet(socket, endpoints, hello, security)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => warn!("Cannot introduce ourselves to {sid}: {error}"),
        Err(_) => warn!("Cannot introduce ourselves to {sid}: it takes nothing"),
    }
    None
}

/// Binds what can be bound now, and says what cannot: that may be an address of which we have others. With none of
/// them bound, one after the other is tried again until its tries are over, and then it is an error.
async fn bind(own: Vec<Endpoint>, settings: &Settings) -> io::Result<(Vec<TcpListener>, Vec<Endpoint>)> {
    let (mut listeners, mut late) = (Vec::new(), Vec::new());
    if own.len() > 1 {
        for at in own {
            match timeout(BIND_FIRST, listen::once(&at, settings.listen_on_all)).await {
                Ok(Ok(listener)) => listeners.push(listener),
                Ok(Err(error)) => {
                    warn!("Cannot listen on {at}: {error}");
                    late.push(at);
                }
                // The resolver is slow, and there are others.
                Err(_) => late.push(at),
            }
        }
    } else {
        late = own;
    }
    if !listeners.is_empty() {
        return Ok((listeners, late));
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "this server has no election address");
    for at in late {
        match listen::with_retries(&at, settings.listen_on_all, settings.bind_tries).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => failed = error,
        }
    }
    if listeners.is_empty() { Err(failed) } else { Ok((listeners, vec![])) }
}

async fn greet(
    socket: TcpStream,
    endpoints: &[Endpoint],
    hello: &[u8],
    security: &PeerSecurity,
) -> Result<Arc<Stream>, QuorumSaslError> {
    use tokio::io::AsyncWriteExt;
    let stream = Arc::new(security.dial(socket, endpoints).await?);
    let mut half = Half(stream.clone());
    half.write_all(hello).await?;
    half.flush().await?;
    security.prove(&stream).await?;
    Ok(stream)
}

/// Reads the hello of whoever dialled us, and checks that it belongs here.
async fn welcome(
    socket: TcpStream,
    security: &PeerSecurity,
) -> Result<(hello::Hello, Arc<Stream>, Bytes), hello::HelloError> {
    let stream = Arc::new(security.accept(socket).await?);
    let hello = hello::read(&mut Half(stream.clone())).await?;
    let first = security.check(&stream).await?;
    Ok((hello, stream, first))
}

async fn accept(
    listener: TcpListener,
    me: tokio::sync::mpsc::WeakUnboundedSender<Order>,
    within: Duration,
    security: PeerSecurity,
) {
    let mut hellos = JoinSet::new();
    loop {
        while hellos.try_join_next().is_some() {}
        if hellos.len() >= HELLOS_MAX {
            hellos.join_next().await;
        }
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("Cannot accept a connection on the election port: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (me, security) = (me.clone(), security.clone());
        hellos.spawn(async move {
            let at = Instant::now();
            debug!("Received connection request from {from}");
            let _ = stream.set_nodelay(true);
            match timeout(within, welcome(stream, &security)).await {
                Ok(Ok((hello, stream, first))) => {
                    if let Some(me) = me.upgrade() {
                        let _ = me.send(Order::Accepted(at, hello, stream, first));
                    }
                }
                Ok(Err(error)) => warn!("Exception reading or writing challenge from /{from}: {error}"),
                Err(_) => warn!("Exception reading or writing challenge from /{from}: it says nothing"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
