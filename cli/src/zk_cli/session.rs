//! A ZooKeeper session with one thread of its own: connects, pings, reconnects, re-arms watches, and tells events
//! with all that a server says of them.

use super::security::Login;
use super::target::Target;
use super::watches::{WatchKind, Watches};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use wire::jute::{Reader, Record};
use wire::zk::{
    AuthRequest, ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, SaslToken, WatcherEvent,
};
use wire::zk::{err, op, xid};
use zk_server::sasl::SaslError;
use zk_server::tls::Tls;
use zk_server::tls::blocking::Socket;

/// The longest frame that is taken from a server.
const FRAME_MAX: usize = 64 << 20;
/// Between two rounds of connection attempts, at most.
const PAUSE_MS_MAX: u64 = 1000;

/// As the prompt shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    ConnectedReadOnly,
    Closed,
    AuthFailed,
}

impl State {
    /// Commands can still succeed, now or once connected.
    pub fn is_alive(self) -> bool {
        !matches!(self, State::Closed | State::AuthFailed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::ConnectedReadOnly => "CONNECTEDREADONLY",
            State::Closed => "CLOSED",
            State::AuthFailed => "AUTH_FAILED",
        })
    }
}

/// A change of the session or, with a path, of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub state: &'static str,
    pub kind: &'static str,
    /// From the server's root.
    pub path: Option<String>,
    /// -1 where the server did not send it.
    pub zxid: i64,
}

impl Event {
    fn of_session(state: &'static str) -> Event {
        Event { state, kind: "None", path: None, zxid: -1 }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Event { state, kind, path, zxid } = self;
        let path = path.as_deref().unwrap_or("null");
        write!(f, "WatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}")
    }
}

/// The reply's body, or its error code.
pub type Reply = Result<Bytes, i32>;

/// How connections are made.
#[derive(Clone, Default)]
pub struct Security {
    /// `None`: plain.
    pub tls: Option<Arc<Tls>>,
    /// As whom the session proves by SASL that it is, on each connection, before anything is asked.
    pub login: Option<Login>,
}

pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Signalled when the state changes.
    changed: Condvar,
    read_only: bool,
    timeout_ms: i32,
    security: Security,
    on_event: Box<dyn Fn(&Event) + Send + Sync>,
}

struct Inner {
    state: State,
    /// The session is being ended from this side: nobody is told of what that does to the connection.
    closing: bool,
    /// The last session event that was told: repeats are not.
    told: &'static str,
    stream: Option<Socket>,
    sent_at: Instant,
    /// Asked while there was no connection.
    waiting: VecDeque<Pending>,
    /// Sent and not answered, in order.
    pending: VecDeque<Pending>,
    next_xid: i32,
    session: i64,
    password: Bytes,
    last_zxid: i64,
    read_timeout: Duration,
    auths: Vec<AuthRequest>,
    watches: Watches,
}

struct Pending {
    xid: i32,
    frame: Bytes,
    answer: SyncSender<Reply>,
    watch: Option<(WatchKind, String)>,
}

impl Session {
    /// Begins to connect and returns at once. `on_event` is called on the session's own thread.
    pub fn start(
        target: &Target,
        security: Security,
        timeout_ms: i32,
        read_only: bool,
        on_event: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Session {
        let inner = Inner {
            state: State::Connecting,
            closing: false,
            told: "Disconnected",
            stream: None,
            sent_at: Instant::now(),
            waiting: VecDeque::new(),
            pending: VecDeque::new(),
            next_xid: 1,
            session: 0,
            password: Bytes::from_static(&[0; 16]),
            last_zxid: 0,
            read_timeout: Duration::from_millis(timeout_ms.max(1) as u64 * 2 / 3),
            auths: Vec::new(),
            watches: Watches::default(),
        };
        let on_event = Box::new(on_event);
        let (inner, changed) = (Mutex::new(inner), Condvar::new());
        let shared = Arc::new(Shared { inner, changed, read_only, timeout_ms, security, on_event });
        let (runner, mut servers) = (shared.clone(), target.servers.clone());
        for at in (1..servers.len()).rev() {
            servers.swap(at, (rand::random::<u64>() % (at as u64 + 1)) as usize);
        }
        thread::spawn(move || runner.run(&servers));
        Session { shared }
    }

    pub fn state(&self) -> State {
        self.shared.lock().state
    }

    /// Whether a connection came about within `patience`.
    pub fn wait_connected(&self, patience: Duration) -> bool {
        let inner = self.shared.lock();
        let waited =
            self.shared.changed.wait_timeout_while(inner, patience, |inner| inner.state == State::Connecting);
        let (inner, _) = waited.expect("no panic under the lock");
        matches!(inner.state, State::Connected | State::ConnectedReadOnly)
    }

    /// Asks and waits for the answer.
    pub fn call(&self, op: i32, body: &impl Record) -> Reply {
        self.call_watching(op, body, None)
    }

    /// As [`Session::call`]; the watch is noted where the answer says that the server has set it.
    pub fn call_watching(&self, op: i32, body: &impl Record, watch: Option<(WatchKind, String)>) -> Reply {
        let (answer, answered) = sync_channel(1);
        {
            let mut inner = self.shared.lock();
            match inner.state {
                State::Closed => return Err(err::SESSION_EXPIRED),
                State::AuthFailed => return Err(err::AUTH_FAILED),
                _ => {}
            }
            let xid = inner.next_xid;
            inner.next_xid = xid.checked_add(1).unwrap_or(1);
            let pending = Pending { xid, frame: frame(Some(RequestHeader { xid, op }), body), answer, watch };
            inner.submit(pending);
        }
        answered.recv().unwrap_or(Err(err::CONNECTION_LOSS))
    }

    /// Presents an identity, now and on every later connection. A refusal shows as an event.
    pub fn add_auth(&self, scheme: &str, auth: Option<Bytes>) {
        let request = AuthRequest { kind: 0, scheme: scheme.into(), auth };
        let mut inner = self.shared.lock();
        inner.send_auth(&request);
        inner.auths.push(request);
    }

    /// The watches of that kind on a path are gone, by the server's word or for lack of it. True: there were some.
    pub fn forget_watches(&self, kinds: &[WatchKind], path: &str) -> Vec<WatchKind> {
        self.shared.lock().watches.forget(kinds, path)
    }

    pub fn has_watches(&self, kinds: &[WatchKind], path: &str) -> bool {
        self.shared.lock().watches.has(kinds, path)
    }

    /// An event that this side alone knows of.
    pub fn tell(&self, kind: &'static str, path: &str) {
        (self.shared.on_event)(&Event { state: "SyncConnected", kind, path: Some(path.into()), zxid: -1 });
    }

    /// Ends the session on the server, too, where there is a connection.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        if matches!(self.state(), State::Connected | State::ConnectedReadOnly) {
            let _ = self.call(op::CLOSE_SESSION, &());
        }
        let was_alive = {
            let mut inner = self.shared.lock();
            let was_alive = inner.state.is_alive();
            inner.end(State::Closed, err::SESSION_EXPIRED);
            self.shared.changed.notify_all();
            was_alive
        };
        if was_alive {
            self.shared.tell_session("Closed");
        }
    }
}

impl Inner {
    fn submit(&mut self, pending: Pending) {
        match self.stream.is_some() {
            true => {
                let written = self.write(&pending.frame);
                self.pending.push_back(pending);
                if written.is_err() {
                    self.drop_stream();
                }
            }
            false => self.waiting.push_back(pending),
        }
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.sent_at = Instant::now();
        match &mut self.stream {
            Some(stream) => stream.write_all(frame),
            None => Ok(()),
        }
    }

    fn send_auth(&mut self, request: &AuthRequest) {
        let _ = self.write(&frame(Some(RequestHeader { xid: xid::AUTH, op: op::AUTH }), request));
    }

    /// The reader notices, and does the rest.
    fn drop_stream(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown();
        }
    }

    fn fail_all(&mut self, code: i32) {
        for pending in self.pending.drain(..).chain(self.waiting.drain(..)) {
            let _ = pending.answer.send(Err(code));
        }
    }

    fn end(&mut self, state: State, code: i32) {
        if self.state.is_alive() {
            self.state = state;
        }
        self.drop_stream();
        self.stream = None;
        self.fail_all(code);
    }
}

/// A frame: length, header, body.
fn frame(header: Option<RequestHeader>, body: &impl Record) -> Bytes {
    let mut to = BytesMut::from(&[0; 4][..]);
    if let Some(header) = header {
        header.write(&mut to);
    }
    body.write(&mut to);
    let len = (to.len() - 4) as u32;
    to[..4].copy_from_slice(&len.to_be_bytes());
    to.freeze()
}

/// Why somebody did not prove who he is.
enum SaslFailed {
    Io(io::Error),
    /// One side does not believe the other.
    Refused(String),
}

impl From<io::Error> for SaslFailed {
    fn from(error: io::Error) -> SaslFailed {
        SaslFailed::Io(error)
    }
}

impl From<SaslError> for SaslFailed {
    fn from(error: SaslError) -> SaslFailed {
        SaslFailed::Refused(error.to_string())
    }
}

impl From<wire::jute::DecodeError> for SaslFailed {
    fn from(error: wire::jute::DecodeError) -> SaslFailed {
        SaslFailed::Refused(error.to_string())
    }
}

/// The exchange of SASL's tokens, as the first on a connection with a session.
fn prove((user, password): &Login, stream: &mut Socket, input: &mut BytesMut) -> Result<(), SaslFailed> {
    let mut client = zk_server::sasl::client(user, password);
    let mut token = Bytes::new();
    for xid in 1.. {
        let header = RequestHeader { xid, op: op::SASL };
        stream.write_all(&frame(Some(header), &SaslToken { token: Some(token) }))?;
        let answer = loop {
            if let Some(frame) = take_frame(input)? {
                break frame;
            }
            read_some(stream, input)?;
        };
        let mut answer = Reader::new(answer);
        let header: ReplyHeader = answer.read()?;
        if header.err != err::OK {
            return Err(SaslFailed::Refused(format!("the server answers with the error {}", header.err)));
        }
        let SaslToken { token: said } = answer.read()?;
        let said = said.ok_or_else(|| SaslFailed::Refused("the server's token is null".into()))?;
        match client.evaluate(&said)? {
            Some(next) => token = next,
            None => break,
        }
    }
    Ok(())
}

/// Why a connection ended.
enum Lost {
    /// Try another.
    Connection,
    /// The session is over.
    Session,
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Lost {
        Lost::Connection
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic under the lock")
    }

    fn tell_session(&self, state: &'static str) {
        if std::mem::replace(&mut self.lock().told, state) != state {
            (self.on_event)(&Event::of_session(state));
        }
    }

    /// Until the session is over.
    fn run(&self, servers: &[(String, u16)]) {
        let patience = Duration::from_millis((self.timeout_ms.max(1) as u64 / servers.len() as u64).max(1));
        let mut tried = 0;
        for (host, port) in servers.iter().cycle() {
            let lost = match self.connect(host, *port, patience) {
                Ok((stream, rest)) => {
                    tried = 0;
                    let lost = self.read_all(stream, rest);
                    self.lost(err::CONNECTION_LOSS);
                    lost
                }
                Err(lost) => lost,
            };
            tried += 1;
            if matches!(lost, Lost::Session) || self.is_over() {
                return;
            }
            // Whoever waits for an answer waits for a whole round, not longer.
            if tried >= servers.len() {
                self.lost(err::CONNECTION_LOSS);
                tried = 0;
                self.pause();
            }
        }
    }

    fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.closing || !inner.state.is_alive()
    }

    fn lost(&self, code: i32) {
        let alive = {
            let mut inner = self.lock();
            inner.stream = None;
            inner.fail_all(code);
            if inner.state.is_alive() {
                inner.state = State::Connecting;
            }
            inner.state.is_alive() && !inner.closing
        };
        if alive {
            self.tell_session("Disconnected");
        }
    }

    fn pause(&self) {
        let pause = Duration::from_millis(rand::random::<u64>() % PAUSE_MS_MAX);
        let _ = self.changed.wait_timeout_while(self.lock(), pause, |inner| inner.state.is_alive());
    }

    /// Connects, shakes hands, and sends what waits. Returns what was read beyond the answer.
    fn connect(&self, host: &str, port: u16, patience: Duration) -> Result<(Socket, BytesMut), Lost> {
        let stream = connect_any(host, port, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let mut stream = match &self.security.tls {
            None => Socket::from(stream),
            Some(tls) => match Socket::dial_tls(stream, tls, host, true) {
                Ok(stream) => stream,
                Err(error) => {
                    eprintln!("Unsuccessful handshake with {host}:{port}: {error}");
                    return Err(Lost::Connection);
                }
            },
        };
        let hello = {
            let inner = self.lock();
            ConnectRequest {
                protocol: 0,
                last_zxid: inner.last_zxid,
                timeout: self.timeout_ms,
                session: inner.session,
                password: Some(inner.password.clone()),
                read_only: Some(self.read_only),
            }
        };
        stream.write_all(&frame(None, &hello))?;
        let mut input = BytesMut::new();
        let answer = loop {
            if let Some(frame) = take_frame(&mut input)? {
                break ConnectResponse::decode(&frame).map_err(|_| Lost::Connection)?;
            }
            read_some(&mut stream, &mut input)?;
        };
        if answer.timeout <= 0 {
            self.lock().end(State::Closed, err::SESSION_EXPIRED);
            self.changed.notify_all();
            self.tell_session("Expired");
            return Err(Lost::Session);
        }
        let proved = match &self.security.login {
            Some(login) => match prove(login, &mut stream, &mut input) {
                Err(SaslFailed::Io(error)) => return Err(error.into()),
                proved => Some(proved),
            },
            None => None,
        };
        let read_only = answer.read_only == Some(true);
        let connected = if read_only { "ConnectedReadOnly" } else { "SyncConnected" };
        if let Some(Err(SaslFailed::Refused(why))) = &proved {
            self.tell_session(connected);
            eprintln!("SASL authentication with Zookeeper Quorum member failed: {why}");
            self.lock().end(State::AuthFailed, err::AUTH_FAILED);
            self.changed.notify_all();
            self.tell_session("AuthFailed");
            return Err(Lost::Session);
        }
        self.connected(stream.clone(), answer);
        self.tell_session(connected);
        if proved.is_some() {
            self.tell_session("SaslAuthenticated");
        }
        Ok((stream, input))
    }

    fn connected(&self, stream: Socket, answer: ConnectResponse) {
        let mut inner = self.lock();
        if !inner.state.is_alive() {
            return;
        }
        inner.stream = Some(stream);
        inner.session = answer.session;
        inner.password = answer.password.unwrap_or_default();
        inner.read_timeout = Duration::from_millis(answer.timeout as u64 * 2 / 3);
        inner.state = match answer.read_only {
            Some(true) => State::ConnectedReadOnly,
            _ => State::Connected,
        };
        for auth in inner.auths.clone() {
            inner.send_auth(&auth);
        }
        if let Some(request) = inner.watches.rearm(inner.last_zxid) {
            let header = RequestHeader { xid: xid::SET_WATCHES, op: op::SET_WATCHES2 };
            let _ = inner.write(&frame(Some(header), &request));
        }
        for waiting in std::mem::take(&mut inner.waiting) {
            inner.submit(waiting);
        }
        self.changed.notify_all();
    }

    /// Takes frames until the connection ends; pings when nothing else is said.
    fn read_all(&self, mut stream: Socket, mut input: BytesMut) -> Lost {
        let mut heard_at = Instant::now();
        loop {
            loop {
                match take_frame(&mut input) {
                    Ok(Some(frame)) => {
                        if self.take_reply(frame).is_err() {
                            return Lost::Connection;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => return Lost::Connection,
                }
            }
            let read_timeout = {
                let mut inner = self.lock();
                if !inner.state.is_alive() {
                    return Lost::Session;
                }
                if inner.sent_at.elapsed() > inner.read_timeout / 2 {
                    let ping = frame(Some(RequestHeader { xid: xid::PING, op: op::PING }), &());
                    let _ = inner.write(&ping);
                }
                inner.read_timeout
            };
            if heard_at.elapsed() > read_timeout {
                return Lost::Connection;
            }
            let _ = stream.set_read_timeout(Some((read_timeout / 8).max(Duration::from_millis(1))));
            match read_some(&mut stream, &mut input) {
                Ok(()) => heard_at = Instant::now(),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Lost::Connection,
            }
        }
    }

    fn take_reply(&self, frame: Bytes) -> Result<(), wire::jute::DecodeError> {
        let mut from = Reader::new(frame);
        let header: ReplyHeader = from.read()?;
        match header.xid {
            xid::WATCH_EVENT => self.take_event(from.read()?, header.zxid),
            xid::PING | xid::SET_WATCHES => {}
            xid::AUTH if header.err == err::OK => {}
            xid::AUTH => {
                self.lock().end(State::AuthFailed, err::AUTH_FAILED);
                self.changed.notify_all();
                self.tell_session("AuthFailed");
            }
            _ => self.take_answer(header, from.rest()),
        }
        Ok(())
    }

    fn take_answer(&self, header: ReplyHeader, body: Bytes) {
        let mut inner = self.lock();
        if header.zxid > 0 {
            inner.last_zxid = header.zxid;
        }
        let Some(pending) = inner.pending.pop_front() else { return };
        if pending.xid != header.xid {
            // The order is broken: nothing that follows could be trusted.
            let _ = pending.answer.send(Err(err::CONNECTION_LOSS));
            return inner.drop_stream();
        }
        if let Some((kind, path)) = pending.watch {
            inner.watches.answered(kind, path, header.err);
        }
        let reply = if header.err == err::OK { Ok(body) } else { Err(header.err) };
        let _ = pending.answer.send(reply);
    }

    fn take_event(&self, event: WatcherEvent, zxid: i64) {
        let kind = match event.kind {
            1 => "NodeCreated",
            2 => "NodeDeleted",
            3 => "NodeDataChanged",
            4 => "NodeChildrenChanged",
            _ => return,
        };
        self.lock().watches.fired(event.kind, &event.path);
        (self.on_event)(&Event { state: "SyncConnected", kind, path: Some(event.path.to_string()), zxid });
    }
}

fn connect_any(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_some(stream: &mut Socket, input: &mut BytesMut) -> io::Result<()> {
    let mut chunk = [0; 16384];
    match stream.read(&mut chunk)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        len => {
            input.extend_from_slice(&chunk[..len]);
            Ok(())
        }
    }
}

fn take_frame(input: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(len) = input.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize) else {
        return Ok(None);
    };
    if len > FRAME_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    if input.len() < 4 + len {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(len).freeze()))
}
