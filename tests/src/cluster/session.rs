//! A ZooKeeper session as the client library gives it to a broker: pipelined requests, watches that move along when it
//! reconnects, and its end, which it only hears of from a server.

use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use wire::jute::{Reader, Record};
use wire::zk::{
    Acl, CheckVersionRequest, ConnectRequest, ConnectResponse, CreateRequest, CreateResponse, DeleteRequest,
    GetChildren2Response, GetDataResponse, Id, MultiHeader, PathWatchRequest, ReplyHeader, RequestHeader,
    SetDataRequest, SetWatchesRequest, Stat, WatcherEvent, err, op, perm, xid,
};

/// A broker's `zookeeper.session.timeout.ms`.
pub const SESSION_MS: i32 = 600;
const HANDSHAKE_MS: u64 = 300;

/// A value that comes later; whoever asks first takes it.
#[derive(Debug)]
pub struct Promise<T>(Rc<RefCell<Option<T>>>);

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Promise(self.0.clone())
    }
}

impl<T> Default for Promise<T> {
    fn default() -> Self {
        Promise(Rc::new(RefCell::new(None)))
    }
}

impl<T> Promise<T> {
    pub fn keep(&self, value: T) {
        self.0.borrow_mut().get_or_insert(value);
    }

    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().take()
    }
}

impl<T> Future for Promise<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    Data,
    Exist,
    Child,
}

/// Why a watch has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    Changed,
    SessionOver,
}

#[derive(Debug, Clone)]
pub enum Op {
    Get { path: String, watch: bool },
    Exists { path: String, watch: bool },
    Children { path: String, watch: bool },
    Create { path: String, data: Vec<u8>, flags: i32 },
    Set { path: String, data: Vec<u8>, version: i32 },
    Delete { path: String, version: i32 },
    Check { path: String, version: i32 },
    Multi(Vec<Op>),
    Close,
}

pub const PERSISTENT: i32 = 0;
pub const EPHEMERAL: i32 = 1;
pub const SEQUENTIAL: i32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZkError {
    /// The connection was lost while the request was under way: nobody knows what became of it.
    Loss,
    Expired,
    /// A code of [`err`].
    Refused(i32),
    /// The first operation of a multi that failed, and with what.
    Part(usize, i32),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Data(Vec<u8>, Stat),
    Stat(Option<Stat>),
    Children(Vec<String>),
    Version(i32),
    Done,
    Parts(Vec<Answer>),
}

pub type Outcome = Result<Answer, ZkError>;

#[derive(Debug)]
struct Asked {
    xid: i32,
    op: Op,
    promise: Promise<Outcome>,
    fired: Option<Promise<Fired>>,
}

#[derive(Debug)]
struct Inner {
    id: i64,
    password: Option<Bytes>,
    conn: Option<usize>,
    established: bool,
    since: u64,
    heard_at: u64,
    sent_at: u64,
    last_zxid: i64,
    next_xid: i32,
    unsent: VecDeque<Asked>,
    outstanding: VecDeque<Asked>,
    watches: BTreeMap<(Watch, String), Vec<Promise<Fired>>>,
    over: bool,
    closed: bool,
}

/// What the world is to do for a session.
#[derive(Debug)]
pub enum Wish {
    Connect,
    Close(usize),
    Send(usize, Bytes),
}

#[derive(Debug, Clone)]
pub struct Session(Rc<RefCell<Inner>>);

impl Session {
    /// A new session, or one that somebody else had.
    pub fn new(former: Option<(i64, Bytes)>) -> Session {
        let (id, password) = former.map_or((0, None), |(id, password)| (id, Some(password)));
        Session(Rc::new(RefCell::new(Inner {
            id,
            password,
            conn: None,
            established: false,
            since: 0,
            heard_at: 0,
            sent_at: 0,
            last_zxid: 0,
            next_xid: 1,
            unsent: VecDeque::new(),
            outstanding: VecDeque::new(),
            watches: BTreeMap::new(),
            over: false,
            closed: false,
        })))
    }

    pub fn id(&self) -> i64 {
        self.0.borrow().id
    }

    pub fn credentials(&self) -> Option<(i64, Bytes)> {
        let inner = self.0.borrow();
        Some((inner.id, inner.password.clone()?)).filter(|(id, _)| *id != 0)
    }

    pub fn conn(&self) -> Option<usize> {
        self.0.borrow().conn
    }

    pub fn is_over(&self) -> bool {
        self.0.borrow().over
    }

    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Sent as soon as there is a connection, in the order of the calls.
    pub fn begin(&self, op: Op) -> Promise<Outcome> {
        self.begin_watched(op, None)
    }

    fn begin_watched(&self, op: Op, fired: Option<Promise<Fired>>) -> Promise<Outcome> {
        let promise = Promise::default();
        let mut inner = self.0.borrow_mut();
        if inner.over {
            promise.keep(Err(ZkError::Expired));
        } else {
            inner.unsent.push_back(Asked { xid: 0, op, promise: promise.clone(), fired });
        }
        promise
    }

    pub fn watched(&self, op: Op) -> (Promise<Outcome>, Promise<Fired>) {
        let fired = Promise::default();
        let asked = self.begin_watched(op, Some(fired.clone()));
        (asked, fired)
    }

    // ---- the world's side

    pub fn connected(&self, conn: usize, now: u64) -> Bytes {
        let mut inner = self.0.borrow_mut();
        (inner.conn, inner.since, inner.heard_at, inner.sent_at) = (Some(conn), now, now, now);
        ConnectRequest {
            protocol: 0,
            last_zxid: inner.last_zxid,
            timeout: SESSION_MS,
            session: inner.id,
            password: inner.password.clone().or_else(|| Some(Bytes::from_static(&[0; 16]))),
            read_only: Some(false),
        }
        .encode()
    }

    pub fn disconnected(&self, conn: usize) {
        let mut inner = self.0.borrow_mut();
        if inner.conn == Some(conn) {
            inner.lose();
        }
    }

    /// What time, or what was asked meanwhile, makes it do.
    pub fn turn(&self, now: u64) -> Vec<Wish> {
        let mut inner = self.0.borrow_mut();
        if inner.over {
            return inner.conn.take().map(Wish::Close).into_iter().collect();
        }
        let Some(conn) = inner.conn else { return vec![Wish::Connect] };
        let patience = SESSION_MS as u64 * 2 / 3;
        let hopeless = !inner.established && inner.since + HANDSHAKE_MS < now;
        if hopeless || inner.established && inner.heard_at + patience < now {
            inner.lose();
            return vec![Wish::Close(conn)];
        }
        if !inner.established {
            return vec![];
        }
        let mut wishes = vec![];
        while let Some(mut asked) = inner.unsent.pop_front() {
            asked.xid = inner.next_xid;
            inner.next_xid += 1;
            wishes.push(Wish::Send(conn, frame(asked.xid, &asked.op)));
            inner.outstanding.push_back(asked);
            inner.sent_at = now;
        }
        if inner.sent_at + patience / 3 < now {
            inner.sent_at = now;
            let mut to = BytesMut::new();
            RequestHeader { xid: xid::PING, op: op::PING }.write(&mut to);
            wishes.push(Wish::Send(conn, to.freeze()));
        }
        wishes
    }

    /// Frames from a server; what is to be sent in answer comes back.
    pub fn take(&self, conn: usize, frames: Bytes, now: u64) -> Result<Vec<Wish>, String> {
        let mut inner = self.0.borrow_mut();
        if inner.conn != Some(conn) {
            return Ok(vec![]);
        }
        inner.heard_at = now;
        let mut from = Reader::new(frames);
        let mut wishes = vec![];
        while let (false, Ok(Some(frame))) = (inner.over, from.read::<Option<Bytes>>()) {
            inner.frame(conn, frame, &mut wishes)?;
        }
        Ok(wishes)
    }
}

impl Inner {
    fn lose(&mut self) {
        self.conn = None;
        self.established = false;
        for asked in self.outstanding.drain(..) {
            asked.promise.keep(Err(ZkError::Loss));
        }
    }

    fn end(&mut self) {
        self.over = true;
        let all = std::mem::take(&mut self.outstanding).into_iter().chain(std::mem::take(&mut self.unsent));
        all.for_each(|asked| asked.promise.keep(Err(ZkError::Expired)));
        for promise in std::mem::take(&mut self.watches).into_values().flatten() {
            promise.keep(Fired::SessionOver);
        }
    }

    fn frame(&mut self, conn: usize, frame: Bytes, wishes: &mut Vec<Wish>) -> Result<(), String> {
        let mut from = Reader::new(frame);
        if !self.established {
            let welcome: ConnectResponse = read(&mut from)?;
            if welcome.session == 0 {
                self.end();
                return Ok(());
            }
            (self.id, self.password, self.established) = (welcome.session, welcome.password, true);
            if !self.watches.is_empty() {
                wishes.push(Wish::Send(conn, self.set_watches()));
            }
            return Ok(());
        }
        let header: ReplyHeader = read(&mut from)?;
        match header.xid {
            xid::PING | xid::SET_WATCHES => Ok(()),
            xid::WATCH_EVENT => {
                let event: WatcherEvent = read(&mut from)?;
                self.fire(&event);
                Ok(())
            }
            _ => {
                let asked = self.outstanding.pop_front().ok_or("an answer without a request")?;
                if asked.xid != header.xid {
                    return Err(format!("request {} is answered by {}", asked.xid, header.xid));
                }
                self.last_zxid = self.last_zxid.max(header.zxid);
                if header.err == err::SESSION_EXPIRED {
                    asked.promise.keep(Err(ZkError::Expired));
                    self.end();
                    return Ok(());
                }
                let outcome = answer(&asked.op, header.err, &mut from)?;
                self.register(&asked, &outcome);
                if matches!(asked.op, Op::Close) {
                    self.closed = true;
                    self.end();
                }
                asked.promise.keep(outcome);
                Ok(())
            }
        }
    }

    fn register(&mut self, asked: &Asked, outcome: &Outcome) {
        let Some(fired) = &asked.fired else { return };
        let key = match (&asked.op, outcome) {
            (Op::Get { path, .. }, Ok(_)) => (Watch::Data, path),
            (Op::Exists { path, .. }, Ok(Answer::Stat(Some(_)))) => (Watch::Data, path),
            (Op::Exists { path, .. }, Ok(_)) => (Watch::Exist, path),
            (Op::Children { path, .. }, Ok(_)) => (Watch::Child, path),
            _ => return,
        };
        self.watches.entry((key.0, key.1.clone())).or_default().push(fired.clone());
    }

    fn fire(&mut self, event: &WatcherEvent) {
        let over: &[Watch] = match event.kind {
            2 => &[Watch::Exist, Watch::Data, Watch::Child],
            4 => &[Watch::Child],
            _ => &[Watch::Exist, Watch::Data],
        };
        for watch in over {
            let gone = self.watches.remove(&(*watch, event.path.to_string()));
            gone.into_iter().flatten().for_each(|promise| promise.keep(Fired::Changed));
        }
    }

    fn set_watches(&self) -> Bytes {
        let of = |kind| {
            self.watches.keys().filter(|(k, _)| *k == kind).map(|(_, path)| path.as_str().into()).collect()
        };
        let mut to = BytesMut::new();
        RequestHeader { xid: xid::SET_WATCHES, op: op::SET_WATCHES }.write(&mut to);
        SetWatchesRequest {
            relative_zxid: self.last_zxid,
            data: of(Watch::Data),
            exist: of(Watch::Exist),
            child: of(Watch::Child),
        }
        .write(&mut to);
        to.freeze()
    }
}

fn read<T: Record>(from: &mut Reader) -> Result<T, String> {
    from.read().map_err(|error| format!("an answer that cannot be read: {error}"))
}

fn code(op: &Op) -> i32 {
    match op {
        Op::Get { .. } => op::GET_DATA,
        Op::Exists { .. } => op::EXISTS,
        Op::Children { .. } => op::GET_CHILDREN2,
        Op::Create { .. } => op::CREATE,
        Op::Set { .. } => op::SET_DATA,
        Op::Delete { .. } => op::DELETE,
        Op::Check { .. } => op::CHECK,
        Op::Multi(_) => op::MULTI,
        Op::Close => op::CLOSE_SESSION,
    }
}

fn frame(xid: i32, op: &Op) -> Bytes {
    let mut to = BytesMut::new();
    RequestHeader { xid, op: code(op) }.write(&mut to);
    body(op, &mut to);
    to.freeze()
}

fn body(op: &Op, to: &mut BytesMut) {
    match op {
        Op::Get { path, watch } | Op::Exists { path, watch } | Op::Children { path, watch } => {
            PathWatchRequest { path: path.as_str().into(), watch: *watch }.write(to);
        }
        Op::Create { path, data, flags } => {
            let anyone = Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } };
            let data = Some(Bytes::copy_from_slice(data));
            CreateRequest { path: path.as_str().into(), data, acl: vec![anyone], flags: *flags }.write(to);
        }
        Op::Set { path, data, version } => {
            let data = Some(Bytes::copy_from_slice(data));
            SetDataRequest { path: path.as_str().into(), data, version: *version }.write(to);
        }
        Op::Delete { path, version } => {
            DeleteRequest { path: path.as_str().into(), version: *version }.write(to);
        }
        Op::Check { path, version } => {
            CheckVersionRequest { path: path.as_str().into(), version: *version }.write(to);
        }
        Op::Multi(ops) => {
            for op in ops {
                MultiHeader { op: code(op), done: false, err: -1 }.write(to);
                body(op, to);
            }
            MultiHeader::END.write(to);
        }
        Op::Close => {}
    }
}

fn answer(asked: &Op, error: i32, from: &mut Reader) -> Result<Outcome, String> {
    if let Op::Multi(ops) = asked {
        if from.remaining() == 0 {
            return Ok(Err(ZkError::Refused(error)));
        }
        return parts(ops, from);
    }
    if error != err::OK {
        return Ok(match asked {
            Op::Exists { .. } if error == err::NO_NODE => Ok(Answer::Stat(None)),
            _ => Err(ZkError::Refused(error)),
        });
    }
    one(asked, from).map(Ok)
}

fn one(asked: &Op, from: &mut Reader) -> Result<Answer, String> {
    Ok(match asked {
        Op::Get { .. } => {
            let got: GetDataResponse = read(from)?;
            Answer::Data(got.data.unwrap_or_default().to_vec(), got.stat)
        }
        Op::Exists { .. } => Answer::Stat(Some(read(from)?)),
        Op::Children { .. } => {
            let got: GetChildren2Response = read(from)?;
            Answer::Children(got.children.iter().map(ToString::to_string).collect())
        }
        Op::Create { .. } => {
            let _: CreateResponse = read(from)?;
            Answer::Done
        }
        Op::Set { .. } => {
            let stat: Stat = read(from)?;
            Answer::Version(stat.version)
        }
        Op::Delete { .. } | Op::Check { .. } | Op::Multi(_) | Op::Close => Answer::Done,
    })
}

fn parts(ops: &[Op], from: &mut Reader) -> Result<Outcome, String> {
    let mut answers = vec![];
    let mut failed = None;
    for (at, op) in ops.iter().enumerate() {
        let header: MultiHeader = read(from)?;
        if header.op == op::ERROR {
            let code: i32 = read(from)?;
            if code != err::OK && code != err::RUNTIME_INCONSISTENCY {
                failed.get_or_insert(ZkError::Part(at, code));
            }
        } else {
            answers.push(one(op, from)?);
        }
    }
    Ok(failed.map_or(Ok(Answer::Parts(answers)), Err))
}
