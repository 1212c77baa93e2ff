//! Simulated clients: sessions, pipelined requests, reconnects, and the checks that one session allows.

use super::net::Payload;
use super::node::SESSION_MS;
use super::world::{Happening, World};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use std::collections::{BTreeMap, VecDeque};
use wire::jute::{Reader, Record};
use wire::zk::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, CreateResponse, GetDataResponse, Id, PathRequest,
    PathWatchRequest, ReplyHeader, RequestHeader, SetDataRequest, Stat, WatcherEvent, Zxid, err, op, perm,
    xid,
};

/// The time between two thoughts, ms.
const THINK_MS: std::ops::Range<u64> = 10..120;
const OUTSTANDING_MAX: usize = 4;
const HANDSHAKE_MS: u64 = 1500;
const KEYS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A node of its own name: must succeed.
    CreateNew,
    CreateKey,
    CreateEphemeral,
    Set,
    Get {
        watch: bool,
    },
    Sync,
    Ping,
}

#[derive(Debug)]
struct Request {
    xid: i32,
    kind: Kind,
    path: String,
    data: Bytes,
    /// The last write that anyone had seen acknowledged when this was sent.
    floor: Zxid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Work,
    OneWrite,
    Nothing,
}

#[derive(Debug)]
pub struct Client {
    pub id: usize,
    conn: Option<usize>,
    established: bool,
    since: u64,
    heard_at: u64,
    sent_at: u64,
    session: i64,
    password: Option<Bytes>,
    last_zxid: Zxid,
    next_xid: i32,
    made: u64,
    outstanding: VecDeque<Request>,
    /// What this session knows of each node: the newest mzxid.
    known: BTreeMap<String, Zxid>,
    /// Nodes with a watch, and their mzxid when it was set.
    watched: BTreeMap<String, Zxid>,
    wish: Wish,
}

impl Client {
    pub fn new(id: usize) -> Client {
        Client {
            id,
            conn: None,
            established: false,
            since: 0,
            heard_at: 0,
            sent_at: 0,
            session: 0,
            password: None,
            last_zxid: 0,
            next_xid: 1,
            made: 0,
            outstanding: VecDeque::new(),
            known: BTreeMap::new(),
            watched: BTreeMap::new(),
            wish: Wish::Work,
        }
    }

    /// From now on: one write, then only pings.
    pub fn ask_for_one_more(&mut self) {
        self.wish = Wish::OneWrite;
    }

    pub fn is_content(&self) -> bool {
        self.wish == Wish::Nothing
    }

    fn forget_connection(&mut self) {
        self.conn = None;
        self.established = false;
        self.outstanding.clear();
        self.watched.clear();
    }

    fn forget_session(&mut self) {
        self.session = 0;
        self.password = None;
        self.last_zxid = 0;
        self.known.clear();
    }

    fn hello(&self) -> Bytes {
        ConnectRequest {
            protocol: 0,
            last_zxid: self.last_zxid,
            timeout: SESSION_MS,
            session: self.session,
            password: self.password.clone().or_else(|| Some(Bytes::from_static(&[0; 16]))),
            read_only: Some(false),
        }
        .encode()
    }
}

impl Request {
    fn frame(&self) -> Bytes {
        let mut to = BytesMut::new();
        let path = || self.path.as_str().into();
        let create = |flags| {
            let anyone = Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } };
            CreateRequest { path: path(), data: Some(self.data.clone()), acl: vec![anyone], flags }
        };
        let op = match self.kind {
            Kind::CreateNew | Kind::CreateKey | Kind::CreateEphemeral => op::CREATE,
            Kind::Set => op::SET_DATA,
            Kind::Get { .. } => op::GET_DATA,
            Kind::Sync => op::SYNC,
            Kind::Ping => op::PING,
        };
        RequestHeader { xid: self.xid, op }.write(&mut to);
        match self.kind {
            Kind::CreateNew | Kind::CreateKey => create(0).write(&mut to),
            Kind::CreateEphemeral => create(1).write(&mut to),
            Kind::Set => {
                SetDataRequest { path: path(), data: Some(self.data.clone()), version: -1 }.write(&mut to);
            }
            Kind::Get { watch } => PathWatchRequest { path: path(), watch }.write(&mut to),
            Kind::Sync => PathRequest { path: path() }.write(&mut to),
            Kind::Ping => {}
        }
        to.freeze()
    }
}

impl World {
    /// A client's turn: connect, give up, ask.
    pub fn act(&mut self, id: usize) {
        let think = self.rng.random_range(THINK_MS);
        self.schedule(think, Happening::Act { client: id });
        let (now, client) = (self.now, &mut self.clients[id]);
        let Some(conn) = client.conn else { return self.call_a_server(id) };
        let patience = SESSION_MS as u64 * 2 / 3;
        let hopeless = !client.established && client.since + HANDSHAKE_MS < now;
        if hopeless || client.established && client.heard_at + patience < now {
            client.forget_connection();
            return self.close(conn, 0);
        }
        if !client.established {
            return;
        }
        let busy = client.outstanding.len() >= OUTSTANDING_MAX;
        match client.wish {
            Wish::Work if !busy && self.rng.random_bool(0.7) => {
                let burst = if self.rng.random_bool(0.1) { OUTSTANDING_MAX } else { 1 };
                (0..burst).for_each(|_| self.ask_something(id));
            }
            Wish::OneWrite if client.outstanding.is_empty() => self.ask(id, Kind::CreateNew),
            _ if client.sent_at + patience / 2 < now => self.ask(id, Kind::Ping),
            _ => {}
        }
    }

    fn call_a_server(&mut self, id: usize) {
        let node = self.rng.random_range(0..self.nodes.len());
        let Some(conn) = self.connect(id, node) else { return };
        let now = self.now;
        let client = &mut self.clients[id];
        (client.conn, client.since, client.heard_at) = (Some(conn), now, now);
        let hello = client.hello();
        self.note(|| format!("client {id} connects to server {}", node + 1));
        self.send(conn, 1, Payload::Frame(hello));
    }

    fn ask_something(&mut self, id: usize) {
        let kind = match self.rng.random_range(0..100) {
            0..20 => Kind::CreateNew,
            20..24 => Kind::CreateKey,
            24..30 => Kind::CreateEphemeral,
            30..60 => Kind::Set,
            60..70 => Kind::Get { watch: true },
            70..92 => Kind::Get { watch: false },
            _ => Kind::Sync,
        };
        self.ask(id, kind);
    }

    fn ask(&mut self, id: usize, kind: Kind) {
        let key = self.rng.random_range(0..KEYS);
        let floor = self.checks.last_acked();
        let client = &mut self.clients[id];
        let Some(conn) = client.conn else { return };
        client.made += 1;
        let path = match kind {
            Kind::CreateNew => format!("/new-{id}-{}", client.made),
            Kind::CreateEphemeral => format!("/eph-{id}-{}", client.made),
            _ => format!("/key-{key}"),
        };
        let data = Bytes::from(format!("{id}.{}", client.made));
        let xid = if kind == Kind::Ping { xid::PING } else { client.next_xid };
        client.next_xid += i32::from(kind != Kind::Ping);
        client.sent_at = self.now;
        let request = Request { xid, kind, path, data, floor };
        let frame = request.frame();
        if request.kind != Kind::Ping {
            let line = format!("client {id} asks {xid}: {:?} {}", request.kind, request.path);
            client.outstanding.push_back(request);
            self.note(|| line);
        }
        self.send(conn, 1, Payload::Frame(frame));
    }

    pub fn to_client(&mut self, id: usize, conn: usize, payload: Payload) -> Result<(), String> {
        if self.clients[id].conn != Some(conn) {
            return Ok(());
        }
        self.clients[id].heard_at = self.now;
        match payload {
            Payload::Frame(frames) => {
                let mut from = Reader::new(frames);
                while let Ok(Some(frame)) = from.read::<Option<Bytes>>() {
                    self.take_frame(id, frame).map_err(|why| format!("client {id}: {why}"))?;
                }
            }
            Payload::Closed => {
                self.note(|| format!("client {id} is disconnected"));
                self.clients[id].forget_connection();
            }
            Payload::Opened { .. } | Payload::Packet(_) | Payload::Snapshot(_) => {}
        }
        Ok(())
    }

    fn take_frame(&mut self, id: usize, frame: Bytes) -> Result<(), String> {
        if self.clients[id].conn.is_none() {
            return Ok(());
        }
        let mut from = Reader::new(frame);
        if !self.clients[id].established {
            let welcome: ConnectResponse = read(&mut from)?;
            return self.take_welcome(id, welcome);
        }
        let header: ReplyHeader = read(&mut from)?;
        match header.xid {
            xid::PING => Ok(()),
            xid::WATCH_EVENT => {
                let event: WatcherEvent = read(&mut from)?;
                self.clients[id].watched.remove(&*event.path);
                Ok(())
            }
            _ => self.take_reply(id, header, from),
        }
    }

    fn take_welcome(&mut self, id: usize, welcome: ConnectResponse) -> Result<(), String> {
        self.note(|| format!("client {id} has session 0x{:x}", welcome.session));
        let client = &mut self.clients[id];
        if welcome.session == 0 {
            client.forget_session();
            return Ok(());
        }
        if client.session != 0 && client.session != welcome.session {
            return Err(format!("asked for 0x{:x}, got 0x{:x}", client.session, welcome.session));
        }
        (client.session, client.password, client.established) = (welcome.session, welcome.password, true);
        Ok(())
    }

    fn take_reply(&mut self, id: usize, header: ReplyHeader, mut from: Reader) -> Result<(), String> {
        self.count_reply();
        self.note(|| format!("client {id} gets {}: 0x{:x}, {}", header.xid, header.zxid, header.err));
        let client = &mut self.clients[id];
        let request = client.outstanding.pop_front().ok_or("a reply to nothing")?;
        if request.xid != header.xid {
            return Err(format!("reply {} where {} is due", header.xid, request.xid));
        }
        if header.zxid > 0 && header.zxid < client.last_zxid {
            return Err(format!("zxid goes back from 0x{:x} to 0x{:x}", client.last_zxid, header.zxid));
        }
        client.last_zxid = client.last_zxid.max(header.zxid);
        let refused = match (&request.kind, header.err) {
            (_, err::OK) => None,
            (Kind::CreateKey, err::NODE_EXISTS) | (Kind::Set | Kind::Get { .. }, err::NO_NODE) => Some(()),
            // Whatever it was, the session is over.
            (_, err::SESSION_EXPIRED | err::SESSION_MOVED) => Some(()),
            (kind, err) => return Err(format!("{kind:?} {} is answered by error {err}", request.path)),
        };
        if refused.is_some() {
            let lost = header.err == err::NO_NODE && client.known.contains_key(&request.path);
            return if lost { Err(format!("{} was there before", request.path)) } else { Ok(()) };
        }
        match request.kind {
            Kind::CreateNew | Kind::CreateKey | Kind::CreateEphemeral => {
                let created: CreateResponse = read(&mut from)?;
                if created.path != request.path {
                    return Err(format!("{} was created as {}", request.path, created.path));
                }
                self.wrote(id, &request, header.zxid, 0)
            }
            Kind::Set => {
                let stat: Stat = read(&mut from)?;
                if stat.mzxid != header.zxid {
                    return Err(format!("set at 0x{:x} answers mzxid 0x{:x}", header.zxid, stat.mzxid));
                }
                self.wrote(id, &request, header.zxid, stat.version)
            }
            Kind::Get { watch } => {
                let got: GetDataResponse = read(&mut from)?;
                self.saw(id, &request, watch, got)
            }
            Kind::Sync | Kind::Ping => Ok(()),
        }
    }

    fn wrote(&mut self, id: usize, request: &Request, zxid: Zxid, version: i32) -> Result<(), String> {
        let lasting = request.kind != Kind::CreateEphemeral;
        self.checks.acked(&request.path, zxid, version, &request.data, request.floor, lasting)?;
        let client = &mut self.clients[id];
        if lasting {
            client.known.insert(request.path.clone(), zxid);
        }
        if client.wish == Wish::OneWrite && request.kind == Kind::CreateNew {
            client.wish = Wish::Nothing;
        }
        Ok(())
    }

    fn saw(&mut self, id: usize, request: &Request, watch: bool, got: GetDataResponse) -> Result<(), String> {
        let (path, zxid) = (&request.path, got.stat.mzxid);
        self.checks.seen(path, zxid, got.stat.version, &got.data.unwrap_or_default())?;
        let client = &mut self.clients[id];
        let known = client.known.entry(path.clone()).or_insert(zxid);
        if *known > zxid {
            return Err(format!("{path} was known as of 0x{known:x}, and is read as of 0x{zxid:x}"));
        }
        *known = zxid;
        if client.watched.get(path).is_some_and(|set| *set < zxid) {
            return Err(format!("{path} is read as of 0x{zxid:x} before its watch has fired"));
        }
        if watch {
            client.watched.insert(path.clone(), zxid);
        }
        Ok(())
    }
}

fn read<T: Record>(from: &mut Reader) -> Result<T, String> {
    from.read().map_err(|error| format!("an answer that cannot be read: {error}"))
}
