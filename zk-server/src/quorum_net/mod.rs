//! The quorum port (2888): learners dial the leader, and packets flow both ways.
//!
//! A server listens while it leads or looks for a leader (the learners may know before it does that it leads). While
//! it follows, whoever takes it for the leader is refused at once, and tries again, as Java's learners do; what it may
//! listen on then is the observer master's port, where observers speak the same language to it.

mod codec;
mod stream;

use crate::net::endpoint::Endpoint;
use crate::net::gate::Gate;
use crate::net::listen;
use crate::net::outlet::Outlet;
use crate::net::peers::PeerSecurity;
use crate::net::route::Routes;
use crate::net::stream::Stream;
use crate::sasl::quorum::QuorumSaslError;
use crate::server::inbox::{Inbox, Input};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use stream::{Scanned, StreamScan};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use wire::jute::Reader;
use wire::zk::Sid;
use wire::zk::quorum::packet;
use zk_core::database::SnapshotDecoder;
use zk_core::{Event, LinkId};

/// Bytes of packets that may wait for the loop before a link is read no further.
const LOAD_MAX: usize = 8 << 20;
/// How often the loop is told that a snapshot is coming.
const PROGRESS: Duration = Duration::from_millis(100);
/// A read's buffer.
const READ_MIN: usize = 64 << 10;
/// Between attempts to bind the port: a listener of our own last term may be closing yet.
const BIND_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub myid: Sid,
    /// Every member's quorum addresses, our own among them.
    pub members: BTreeMap<Sid, Vec<Endpoint>>,
    pub listen_on_all: bool,
    pub routes: Routes,
    /// `observerMasterPort` of every server.
    pub observer_master_port: Option<u16>,
    /// `initLimit`: the longest silence until a learner is in sync.
    pub joining: Duration,
    /// `syncLimit`: the longest silence after that.
    pub serving: Duration,
    pub security: PeerSecurity,
}

impl Settings {
    /// The hosts of a member, at the observer master's port.
    fn master_addresses(&self, sid: Sid) -> Vec<Endpoint> {
        let Some(port) = self.observer_master_port else { return vec![] };
        let addresses = self.members.get(&sid).cloned().unwrap_or_default();
        let at = addresses.into_iter().map(|address| Endpoint { port, ..address }).collect();
        listen::distinct(at, false)
    }
}

/// What a server listens on for learners: at most one of its two ports at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    None,
    Quorum,
    ObserverMaster,
}

/// The loop's handle on the quorum port.
#[derive(Debug)]
pub(crate) struct QuorumNet {
    settings: Arc<Settings>,
    inbox: Inbox,
    next: Arc<AtomicU64>,
    runtime: Handle,
    listening: Option<(Port, JoinHandle<()>)>,
}

impl Drop for QuorumNet {
    fn drop(&mut self) {
        self.listen(Port::None);
    }
}

impl QuorumNet {
    /// Must be called on the runtime.
    pub fn new(settings: Settings, inbox: Inbox) -> QuorumNet {
        QuorumNet {
            settings: Arc::new(settings),
            inbox,
            next: Arc::new(AtomicU64::new(1)),
            runtime: Handle::current(),
            listening: None,
        }
    }

    /// Closes the port. Not for the runtime's own threads.
    pub fn close(mut self) {
        if let Some((_, task)) = self.listening.take() {
            listen::end(&task);
        }
    }

    fn attachment(&self) -> Attachment {
        Attachment { settings: self.settings.clone(), inbox: self.inbox.clone(), next: self.next.clone() }
    }

    /// Where learners can connect.
    pub fn listen(&mut self, wanted: Port) {
        if self.listening.as_ref().map_or(Port::None, |(port, _)| *port) == wanted {
            return;
        }
        if let Some((_, task)) = self.listening.take() {
            task.abort();
        }
        let own = match wanted {
            Port::None => return,
            Port::Quorum => self.settings.members.get(&self.settings.myid).cloned().unwrap_or_default(),
            Port::ObserverMaster => self.settings.master_addresses(self.settings.myid),
        };
        let task = self.runtime.spawn(accept(own, self.attachment()));
        self.listening = Some((wanted, task));
    }

    /// The members are other ones from now on. Connections stay; the port moves to where our own line says.
    pub fn follow(&mut self, settings: Settings) {
        let settings = Settings { routes: self.settings.routes.clone(), ..settings };
        let moved = settings.members.get(&settings.myid) != self.settings.members.get(&settings.myid);
        self.settings = Arc::new(settings);
        if let Some((port, _)) = self.listening.as_ref().filter(|_| moved) {
            let port = *port;
            self.listen(Port::None);
            self.listen(port);
        }
    }

    /// One attempt, answered by [`Input::LinkOpened`] or [`Event::DialFailed`].
    pub fn dial(&self, leader: Sid) {
        let at = self.settings.members.get(&leader).cloned().unwrap_or_default();
        self.dial_at(leader, at);
    }

    /// The same for the observer master's port of a follower.
    pub fn dial_master(&self, follower: Sid) {
        self.dial_at(follower, self.settings.master_addresses(follower));
    }

    fn dial_at(&self, leader: Sid, at: Vec<Endpoint>) {
        let attachment = self.attachment();
        self.runtime.spawn(async move {
            if at.is_empty() {
                warn!("Unexpected leader {leader}: it is no member of this ensemble");
                return attachment.inbox.event(Event::DialFailed { leader });
            }
            let Settings { routes, serving, joining, .. } = &*attachment.settings;
            let failed = |shown, error| {
                warn!("Unexpected exception connecting to leader {leader} at {shown}: {error}");
            };
            let Some(socket) = routes.connect(leader, &at, *serving, failed).await else {
                return attachment.inbox.event(Event::DialFailed { leader });
            };
            let why = match timeout(*joining, attachment.greet(socket, &at)).await {
                Ok(Ok(stream)) => return attachment.attach(stream, Bytes::new(), Some(leader)).await,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it says nothing".into(),
            };
            warn!("Unexpected exception connecting to leader {leader}: {why}");
            attachment.inbox.event(Event::DialFailed { leader });
        });
    }
}

/// Listens on every address of ours.
async fn accept(own: Vec<Endpoint>, attachment: Attachment) {
    let settings = &attachment.settings;
    // They end with this task.
    let mut listening = JoinSet::new();
    for at in listen::distinct(own, settings.listen_on_all) {
        listening.spawn(accept_at(at, attachment.clone()));
    }
    while listening.join_next().await.is_some() {}
}

async fn accept_at(own: Endpoint, attachment: Attachment) {
    let mut attempts = 0u32;
    let listener = loop {
        match listen::once(&own, attachment.settings.listen_on_all).await {
            Ok(listener) => break listener,
            Err(error) if attempts % 50 == 5 => {
                warn!("Couldn't bind to {own}, learners cannot connect: {error}")
            }
            Err(_) => {}
        }
        attempts += 1;
        sleep(BIND_PAUSE).await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(attachment.clone().welcome(stream, from));
            }
            Err(error) => {
                warn!("Exception while accepting a learner: {error}");
                sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// What makes a connection a link.
#[derive(Clone)]
struct Attachment {
    settings: Arc<Settings>,
    inbox: Inbox,
    next: Arc<AtomicU64>,
}

impl Attachment {
    /// TLS and SASL with the leader that we dialled.
    async fn greet(&self, socket: TcpStream, at: &[Endpoint]) -> Result<Arc<Stream>, QuorumSaslError> {
        let stream = Arc::new(self.settings.security.dial(socket, at).await?);
        self.settings.security.prove(&stream).await?;
        Ok(stream)
    }

    /// TLS and SASL with whoever dialled us; then it is a learner.
    async fn welcome(self, socket: TcpStream, from: std::net::SocketAddr) {
        let security = &self.settings.security;
        let entered = timeout(self.settings.joining, async {
            let stream = Arc::new(security.accept(socket).await?);
            let first = security.check(&stream).await?;
            Ok::<_, QuorumSaslError>((stream, first))
        });
        match entered.await {
            Ok(Ok((stream, first))) => self.attach(stream, first, None).await,
            Ok(Err(error)) => warn!("Exception while accepting a learner from /{from}: {error}"),
            Err(_) => warn!("Exception while accepting a learner from /{from}: it says nothing"),
        }
    }

    /// Announces the link, and reads it to its end. `first`: what was already read from it.
    async fn attach(self, stream: Arc<Stream>, first: Bytes, leader: Option<Sid>) {
        let link = LinkId(self.next.fetch_add(1, SeqCst));
        let peer = stream
            .peer_addr()
            .map(|at| std::net::SocketAddr::new(at.ip().to_canonical(), at.port()).to_string())
            .unwrap_or_default();
        let outlet = Outlet::new(stream.clone(), Handle::current());
        let gate = Arc::new(Gate::default());
        self.inbox.send(Input::LinkOpened { link, leader, outlet: outlet.clone(), gate: gate.clone() });
        let mut reading = Reading {
            link,
            from_leader: leader.is_some(),
            stream,
            buffer: BytesMut::from(first),
            silence_max: self.settings.joining,
            serving: self.settings.serving,
            gate,
            inbox: self.inbox.clone(),
        };
        let Err(why) = reading.run().await;
        match leader {
            Some(leader) => warn!("Connection to leader {leader} at /{peer} ended: {why}"),
            None => info!("******* GOODBYE /{peer} ******** ({why})"),
        }
        outlet.abort();
        self.inbox.event(Event::LinkClosed { link });
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("closed by the other side")]
    End,
    #[error("nothing came for {0:?}")]
    Silence(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Packet(#[from] codec::PacketError),
    #[error(transparent)]
    Stream(#[from] stream::StreamError),
    #[error("the leader's snapshot cannot be read: {0}")]
    Snapshot(#[from] wire::jute::DecodeError),
}

struct Reading {
    link: LinkId,
    from_leader: bool,
    stream: Arc<Stream>,
    buffer: BytesMut,
    silence_max: Duration,
    serving: Duration,
    gate: Arc<Gate>,
    inbox: Inbox,
}

impl Reading {
    async fn run(&mut self) -> Result<std::convert::Infallible, LinkError> {
        loop {
            if self.packets()? {
                self.snapshot().await?;
                continue;
            }
            self.gate.wait_while(|load| load > LOAD_MAX).await;
            self.more().await?;
        }
    }

    /// Hands over every packet that is there. True: the last one announces a snapshot.
    fn packets(&mut self) -> Result<bool, LinkError> {
        let before = self.buffer.len();
        let mut packets = Vec::new();
        let mut snapshot = false;
        let mut failed = None;
        while !snapshot {
            match codec::next_packet(&mut self.buffer) {
                Ok(Some(packet)) => {
                    snapshot = self.from_leader && packet.kind == packet::SNAP;
                    self.note(packet.kind);
                    packets.push(packet);
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !packets.is_empty() {
            let load = before - self.buffer.len();
            self.gate.add(load);
            self.inbox.send(Input::LinkPackets { link: self.link, packets, load });
        }
        failed.map_or(Ok(snapshot), |error| Err(error.into()))
    }

    /// A learner is in sync when it has acknowledged NEWLEADER, a leader's word for it is UPTODATE.
    fn note(&mut self, kind: i32) {
        let in_sync = if self.from_leader { packet::UP_TO_DATE } else { packet::ACK };
        if kind == in_sync {
            self.silence_max = self.serving;
        }
    }

    async fn more(&mut self) -> Result<(), LinkError> {
        self.buffer.reserve(READ_MIN);
        match timeout(self.silence_max, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Err(LinkError::End),
            Ok(read) => Ok(read.map(|_| ())?),
            Err(_) => Err(LinkError::Silence(self.silence_max)),
        }
    }

    /// The stream behind a SNAP packet, to its signature, decoded as it comes.
    async fn snapshot(&mut self) -> Result<(), LinkError> {
        let (mut scan, mut decoder) = (StreamScan::new(), SnapshotDecoder::new());
        let mut told = Instant::now();
        loop {
            let Scanned { whole, signature } = scan.scan(&self.buffer)?;
            if whole > 0 {
                decoder.take(&mut Reader::new(self.buffer.split_to(whole).freeze()))?;
                scan.taken(whole);
            }
            if let Some(len) = signature {
                self.buffer.advance(len);
                break;
            }
            self.more().await?;
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                self.inbox.event(Event::LinkProgress { link: self.link });
            }
        }
        let database = decoder.finish();
        self.inbox.event(Event::LinkSnapshot { link: self.link, database: Box::new(database) });
        Ok(())
    }
}
