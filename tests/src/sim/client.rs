//! Simulated clients: sessions, pipelined requests, and reconnects that bring the watches along. What answers must be
//! like is in [`super::replies`].

use super::Variety;
use super::cells;
use super::invariants::Invariant::Answers;
use super::net::Payload;
use super::node::{self, SESSION_MS};
use super::request::{Cell, Kind, Request, xid_of};
use super::world::{Happening, World};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::Str;
use wire::jute::Record;
use wire::zk::{ConnectRequest, ConnectResponse, RequestHeader, SetWatchesRequest, Zxid, op, xid};
use zk_core::Database;

const OUTSTANDING_MAX: usize = 4;
const HANDSHAKE_MS: u64 = 1500;
const KEYS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Work,
    OneWrite,
    Nothing,
}

/// What a watch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Another mzxid, or the node's end.
    Data,
    /// The node's coming.
    Exist,
    /// Another pzxid, or the node's end.
    Child,
}

#[derive(Debug)]
pub struct Client {
    pub id: usize,
    pub conn: Option<usize>,
    pub established: bool,
    since: u64,
    pub heard_at: u64,
    sent_at: u64,
    pub session: i64,
    password: Option<Bytes>,
    pub last_zxid: Zxid,
    next_xid: i32,
    made: u64,
    pub outstanding: VecDeque<Request>,
    /// What this session knows of each node: the newest mzxid.
    pub known: BTreeMap<String, Zxid>,
    /// The newest pzxid of the root.
    pub known_children: Zxid,
    /// Watches that have not fired, with the zxid of what was seen when they were set.
    pub watched: BTreeMap<(Watch, String), Zxid>,
    /// Acknowledged nodes of this client alone that it has not tried to delete.
    pub mine: BTreeSet<String>,
    /// Those that end with the session.
    pub ephemerals: BTreeSet<String>,
    /// What it knows of the cells: their versions.
    pub cell_versions: BTreeMap<String, i32>,
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
            known_children: 0,
            watched: BTreeMap::new(),
            mine: BTreeSet::new(),
            ephemerals: BTreeSet::new(),
            cell_versions: BTreeMap::new(),
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

    pub fn wrote_new(&mut self) {
        if self.wish == Wish::OneWrite {
            self.wish = Wish::Nothing;
        }
    }

    pub fn forget_connection(&mut self) {
        self.conn = None;
        self.established = false;
        self.outstanding.clear();
    }

    /// Returns what must end with it.
    pub fn forget_session(&mut self) -> BTreeSet<String> {
        self.session = 0;
        self.password = None;
        self.last_zxid = 0;
        self.known.clear();
        self.known_children = 0;
        self.watched.clear();
        std::mem::take(&mut self.ephemerals)
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

    fn watches(&self, kind: Watch) -> Vec<Str> {
        self.watched.keys().filter(|(of, _)| *of == kind).map(|(_, path)| path.as_str().into()).collect()
    }

    fn set_watches(&self) -> Bytes {
        let mut to = BytesMut::new();
        RequestHeader { xid: xid::SET_WATCHES, op: op::SET_WATCHES }.write(&mut to);
        let request = SetWatchesRequest {
            relative_zxid: self.last_zxid,
            data: self.watches(Watch::Data),
            exist: self.watches(Watch::Exist),
            child: self.watches(Watch::Child),
        };
        request.write(&mut to);
        to.freeze()
    }

    /// A watch that ought to have fired by now, in a state that everybody has.
    pub fn overdue_watch(&self, db: &Database) -> Option<String> {
        let stat = |path: &str| db.node(path).map(|node| node.stat());
        let due = self.watched.iter().find(|((kind, path), set)| match kind {
            Watch::Data => stat(path).map(|stat| stat.mzxid) != Some(**set),
            Watch::Child => stat(path).map(|stat| stat.pzxid) != Some(**set),
            Watch::Exist => stat(path).is_some(),
        });
        due.map(|((kind, path), set)| format!("the {kind:?} watch of {path} as of 0x{set:x}"))
    }
}

impl World {
    /// A client's turn: connect, give up, ask.
    pub fn act(&mut self, id: usize) {
        let think = self.rng.random_range(self.profile.think_ms.clone());
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
        // About two a second, however fast clients think: roles that change faster than servers connect are never taken.
        let often = self.profile.think_ms.end as f64 / 3000.0;
        if self.setup.variety == Variety::Changing && !self.calm && self.rng.random_bool(often) {
            return self.ask(id, Kind::Reconfig);
        }
        let watch = self.rng.random_bool(0.4);
        let kind = match self.rng.random_range(0..1000) {
            0..160 => Kind::CreateNew,
            160..190 => Kind::CreateKey,
            190..240 => Kind::CreateEphemeral,
            240..280 => Kind::CreateSequential,
            280..330 => Kind::CreateTwo,
            330..480 => Kind::Set,
            480..530 => Kind::Delete,
            530..650 => Kind::Get { watch },
            650..740 => Kind::Exists { watch },
            740..790 => Kind::Children { watch },
            790..820 => Kind::Sync,
            820..840 => Kind::Cell(Cell::Create),
            840..910 => Kind::Cell(Cell::Set),
            910..920 => Kind::Cell(Cell::Delete),
            920..990 => Kind::Cell(Cell::Read),
            _ => Kind::Close,
        };
        self.ask(id, kind);
    }

    fn ask(&mut self, id: usize, kind: Kind) {
        let key = format!("/key-{}", self.rng.random_range(0..KEYS));
        let floor = self.checks.last_acked();
        let at = self.rng.random_range(0..1000);
        let mut since = None;
        if kind == Kind::Cell(Cell::Read) {
            // It counts from the sync before it.
            since = Some(self.history.now());
            self.ask(id, Kind::Sync);
        }
        let servers = self.nodes.len();
        let client = &mut self.clients[id];
        // Nothing is asked behind the end of a session.
        let closing = client.outstanding.back().is_some_and(|last| last.kind == Kind::Close);
        let (Some(conn), false) = (client.conn, closing) else { return };
        client.made += 1;
        let own = client.mine.iter().nth(at % client.mine.len().max(1)).cloned();
        let path = match kind {
            Kind::CreateNew => format!("/new-{id}-{}", client.made),
            Kind::CreateEphemeral => format!("/eph-{id}-{}", client.made),
            Kind::CreateTwo => format!("/two-{id}-{}", client.made),
            Kind::CreateSequential => "/seq-".into(),
            // Somebody's next node, perhaps.
            Kind::Exists { .. } if at < 300 => format!("/new-{}-{}", at % 3, client.made + 2),
            Kind::Children { .. } => "/".into(),
            Kind::Reconfig => {
                let sid = at % servers + 1;
                match at / 10 % 5 {
                    0 => sid.to_string(),
                    1 => node::line(sid, "observer"),
                    _ => node::line(sid, "participant"),
                }
            }
            Kind::Cell(_) => cells::path(at),
            Kind::Delete => {
                let Some(own) = own else { return };
                client.mine.remove(&own);
                client.known.remove(&own);
                self.checks.may_vanish(&own);
                own
            }
            Kind::Get { .. } | Kind::Exists { .. } if at % 3 == 0 => own.unwrap_or(key),
            _ => key,
        };
        let data = Bytes::from(format!("{id}.{}", client.made));
        let xid = xid_of(kind, &mut client.next_xid);
        client.sent_at = self.now;
        let known = client.cell_versions.get(&path).filter(|_| at % 2 == 0);
        let expected = known.copied().unwrap_or(-1);
        let session = client.session;
        let mut request = Request { xid, kind, path, data, floor, expected, recorded: None };
        if let Kind::Cell(cell) = kind {
            request.recorded = Some(self.history.asked(session, cell, &request, since));
        }
        let frame = request.frame();
        if kind == Kind::CreateTwo {
            self.checks.both_or_none(request.path.clone(), request.twin());
        }
        if kind != Kind::Ping {
            let line = format!("client {id} asks {xid}: {kind:?} {}", request.path);
            client.outstanding.push_back(request);
            self.note(|| line);
        }
        self.send(conn, 1, Payload::Frame(frame));
    }

    pub fn take_welcome(&mut self, id: usize, welcome: ConnectResponse) -> Result<(), String> {
        self.note(|| format!("client {id} has session 0x{:x}", welcome.session));
        if welcome.session == 0 {
            let ended = self.clients[id].forget_session();
            self.checks.session_expired(ended);
            return Ok(());
        }
        let client = &mut self.clients[id];
        if client.session != 0 && client.session != welcome.session {
            return Err(
                Answers.broken(format!("asked for 0x{:x}, got 0x{:x}", client.session, welcome.session))
            );
        }
        (client.session, client.password, client.established) = (welcome.session, welcome.password, true);
        if let (Some(conn), false) = (client.conn, client.watched.is_empty()) {
            let frame = client.set_watches();
            self.send(conn, 1, Payload::Frame(frame));
        }
        Ok(())
    }
}
