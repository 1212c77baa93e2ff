//! What a client may be told: the checks that one session allows.

use super::Variety;
use super::client::Watch;
use super::invariants::Invariant::{Answers, SessionOrder, Watches};
use super::net::Payload;
use super::request::{Kind, Request};
use super::world::World;
use bytes::Bytes;
use wire::jute::{Reader, Record};
use wire::zk::{
    ConnectResponse, CreateResponse, GetChildren2Response, GetDataResponse, MultiHeader, ReplyHeader, Stat,
    WatcherEvent, Zxid, err, xid,
};

/// Kinds of event.
const CREATED: i32 = 1;
const DELETED: i32 = 2;
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;

impl World {
    pub fn to_client(&mut self, id: usize, conn: usize, payload: Payload) -> Result<(), String> {
        if self.clients[id].conn != Some(conn) {
            return Ok(());
        }
        self.clients[id].heard_at = self.now;
        match payload {
            Payload::Frame(frames) => {
                let mut from = Reader::new(frames);
                while let Ok(Some(frame)) = from.read::<Option<Bytes>>() {
                    self.take_frame(id, frame).map_err(|why| format!("{why}, client {id}"))?;
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
            xid::PING | xid::SET_WATCHES => Ok(()),
            xid::WATCH_EVENT => {
                let event: WatcherEvent = read(&mut from)?;
                self.take_event(id, &event)
            }
            _ => self.take_reply(id, header, from),
        }
    }

    fn take_event(&mut self, id: usize, event: &WatcherEvent) -> Result<(), String> {
        self.note(|| format!("client {id} is told of event {} at {}", event.kind, event.path));
        let over: &[Watch] = match event.kind {
            CREATED => &[Watch::Exist],
            DELETED => &[Watch::Exist, Watch::Data, Watch::Child],
            DATA_CHANGED => &[Watch::Exist, Watch::Data],
            CHILDREN_CHANGED => &[Watch::Child],
            kind => return Err(Answers.broken(format!("an event of kind {kind}"))),
        };
        let watched = &mut self.clients[id].watched;
        let fired =
            over.iter().filter(|watch| watched.remove(&(**watch, event.path.to_string())).is_some()).count();
        if fired == 0 {
            return Err(Watches
                .broken(format!("an event of kind {} at {}, where no watch is", event.kind, event.path)));
        }
        Ok(())
    }

    fn take_reply(&mut self, id: usize, header: ReplyHeader, mut from: Reader) -> Result<(), String> {
        self.count_reply();
        self.note(|| format!("client {id} gets {}: 0x{:x}, {}", header.xid, header.zxid, header.err));
        let client = &mut self.clients[id];
        let request = client.outstanding.pop_front().ok_or_else(|| Answers.broken("a reply to nothing"))?;
        if request.xid != header.xid {
            return Err(SessionOrder.broken(format!("reply {} where {} is due", header.xid, request.xid)));
        }
        if header.zxid > 0 && header.zxid < client.last_zxid {
            return Err(SessionOrder
                .broken(format!("zxid goes back from 0x{:x} to 0x{:x}", client.last_zxid, header.zxid)));
        }
        client.last_zxid = client.last_zxid.max(header.zxid);
        if let Kind::Cell(cell) = request.kind {
            return self.cell_answered(id, cell, &request, header.err, &mut from);
        }
        match (request.kind, header.err) {
            (_, err::OK) => {}
            // Whatever it was, the session is over.
            (_, err::SESSION_EXPIRED | err::SESSION_MOVED) => return Ok(()),
            (kind, err::SYSTEM) if self.setup.variety == Variety::FullDisks && kind.writes() => {
                self.figures.refused += 1;
                self.checks.refused(&request);
                return Ok(());
            }
            (Kind::CreateKey, err::NODE_EXISTS) => return Ok(()),
            // Another change is under way, too few are in sync, or nobody would be left.
            (Kind::Reconfig, err::RECONFIG_IN_PROGRESS | err::NEW_CONFIG_NO_QUORUM | err::BAD_ARGUMENTS) => {
                return Ok(());
            }
            (Kind::Set | Kind::Get { .. } | Kind::Exists { .. }, err::NO_NODE) => {
                return self.missed(id, &request);
            }
            (kind, err) => {
                return Err(Answers.broken(format!("{kind:?} {} is answered by error {err}", request.path)));
            }
        }
        match request.kind {
            Kind::CreateNew | Kind::CreateKey | Kind::CreateEphemeral | Kind::CreateSequential => {
                let created: CreateResponse = read(&mut from)?;
                self.created(id, request, header.zxid, &created.path)
            }
            Kind::CreateTwo => self.created_two(id, &request, header.zxid, &mut from),
            Kind::Set => {
                let stat: Stat = read(&mut from)?;
                if stat.mzxid != header.zxid {
                    return Err(Answers
                        .broken(format!("set at 0x{:x} answers mzxid 0x{:x}", header.zxid, stat.mzxid)));
                }
                self.wrote(id, &request, header.zxid, stat.version)
            }
            Kind::Delete => self.checks.deleted(&request.path, header.zxid, request.floor),
            Kind::Get { watch } => {
                let got: GetDataResponse = read(&mut from)?;
                let data = got.data.unwrap_or_default();
                self.checks.seen(&request.path, got.stat.mzxid, got.stat.version, &data)?;
                self.saw(id, &request, watch, &got.stat)
            }
            Kind::Exists { watch } => {
                let stat: Stat = read(&mut from)?;
                self.saw(id, &request, watch, &stat)
            }
            Kind::Children { watch } => {
                let got: GetChildren2Response = read(&mut from)?;
                self.saw_children(id, watch, &got)
            }
            Kind::Reconfig => {
                let got: GetDataResponse = read(&mut from)?;
                self.checks.changed(&got.data.unwrap_or_default(), header.zxid, request.floor)
            }
            Kind::Close => {
                let session = self.clients[id].session;
                let ended = self.clients[id].forget_session();
                self.checks.session_closed(session, ended);
                Ok(())
            }
            Kind::Sync | Kind::Ping | Kind::Cell(_) => Ok(()),
        }
    }

    fn created(&mut self, id: usize, request: Request, zxid: Zxid, path: &str) -> Result<(), String> {
        let mut request = request;
        if request.kind == Kind::CreateSequential {
            let number = path.strip_prefix(&request.path).filter(|number| number.len() == 10);
            let number = number.and_then(|number| number.parse().ok());
            let number = number.ok_or_else(|| format!("{} was created as {path}", request.path))?;
            self.checks.numbered(zxid, number)?;
            request.path = path.to_owned();
        }
        if path != request.path {
            return Err(Answers.broken(format!("{} was created as {path}", request.path)));
        }
        self.wrote(id, &request, zxid, 0)?;
        let client = &mut self.clients[id];
        match request.kind {
            Kind::CreateEphemeral => drop(client.ephemerals.insert(request.path)),
            Kind::CreateKey => {}
            _ => drop(client.mine.insert(request.path)),
        }
        if request.kind == Kind::CreateNew {
            client.wrote_new();
        }
        Ok(())
    }

    fn created_two(
        &mut self,
        id: usize,
        request: &Request,
        zxid: Zxid,
        from: &mut Reader,
    ) -> Result<(), String> {
        for expected in [&request.path, &request.twin()] {
            let part: MultiHeader = read(from)?;
            let created: CreateResponse = read(from)?;
            if part.err != err::OK || created.path != expected.as_str() {
                return Err(
                    Answers.broken(format!("{expected} of a multi is answered by {part:?} {created:?}"))
                );
            }
        }
        self.wrote(id, request, zxid, 0)
    }

    fn wrote(&mut self, id: usize, request: &Request, zxid: Zxid, version: i32) -> Result<(), String> {
        let lasting = request.kind != Kind::CreateEphemeral;
        self.checks.acked(&request.path, zxid, version, &request.data, request.floor, lasting)?;
        let client = &mut self.clients[id];
        let known = client.known.entry(request.path.clone()).or_insert(zxid);
        *known = zxid.max(*known);
        // The change's own event is due before its answer.
        let missed = client.watched.get(&(Watch::Data, request.path.clone())).is_some_and(|set| *set < zxid)
            || client.watched.contains_key(&(Watch::Exist, request.path.clone()));
        if missed {
            return Err(Watches
                .broken(format!("{} is written at 0x{zxid:x} before its watch has fired", request.path)));
        }
        Ok(())
    }

    /// There is no such node.
    fn missed(&mut self, id: usize, request: &Request) -> Result<(), String> {
        let path = || request.path.clone();
        let client = &mut self.clients[id];
        if client.known.contains_key(&request.path) {
            return Err(SessionOrder.broken(format!("{} was there before", request.path)));
        }
        if client.watched.contains_key(&(Watch::Data, path())) {
            return Err(Watches.broken(format!("{} is missing before its watch has fired", request.path)));
        }
        if request.kind == (Kind::Exists { watch: true }) {
            client.watched.insert((Watch::Exist, path()), 0);
        }
        Ok(())
    }

    fn saw(&mut self, id: usize, request: &Request, watch: bool, stat: &Stat) -> Result<(), String> {
        let (path, zxid) = (&request.path, stat.mzxid);
        let client = &mut self.clients[id];
        // A node that this client may have deleted meanwhile is no longer known by intent.
        let known = client.known.get(path).copied().unwrap_or(0);
        if known > zxid {
            return Err(SessionOrder
                .broken(format!("{path} was known as of 0x{known:x}, and is read as of 0x{zxid:x}")));
        }
        if path.starts_with("/key-") {
            client.known.insert(path.clone(), zxid);
        }
        let missed = client.watched.get(&(Watch::Data, path.clone())).is_some_and(|set| *set < zxid)
            || client.watched.contains_key(&(Watch::Exist, path.clone()));
        if missed {
            return Err(Watches.broken(format!("{path} is read as of 0x{zxid:x} before its watch has fired")));
        }
        if watch {
            client.watched.insert((Watch::Data, path.clone()), zxid);
        }
        Ok(())
    }

    fn saw_children(&mut self, id: usize, watch: bool, got: &GetChildren2Response) -> Result<(), String> {
        let client = &mut self.clients[id];
        let pzxid = got.stat.pzxid;
        if pzxid < client.known_children {
            let known = client.known_children;
            return Err(SessionOrder
                .broken(format!("children were known as of 0x{known:x}, and are read as of 0x{pzxid:x}")));
        }
        client.known_children = pzxid;
        let lacks = client.mine.iter().find(|path| !got.children.iter().any(|name| *name == path[1..]));
        if let Some(path) = lacks.filter(|path| client.known.contains_key(*path)) {
            return Err(SessionOrder.broken(format!("the children as of 0x{pzxid:x} lack {path}")));
        }
        let root = (Watch::Child, "/".to_owned());
        if client.watched.get(&root).is_some_and(|set| *set < pzxid) {
            return Err(Watches
                .broken(format!("the children are read as of 0x{pzxid:x} before their watch has fired")));
        }
        if watch {
            client.watched.insert(root, pzxid);
        }
        Ok(())
    }
}

pub fn read<T: Record>(from: &mut Reader) -> Result<T, String> {
    from.read().map_err(|error| Answers.broken(format!("an answer that cannot be read: {error}")))
}
