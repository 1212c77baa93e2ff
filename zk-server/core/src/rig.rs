//! A standalone server without log or network: what the tests of the front and of the preparation drive.

use crate::config::CoreConfig;
use crate::config::tests::standalone;
use crate::database::Database;
use crate::event::{ConnId, Effect, Now};
use crate::front::{Front, Request, Upcall};
use crate::prepare::{Context, Prepare, SessionTracker};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::net::IpAddr;
use wire::jute::{Reader, Record};
use wire::zk::txn::Txn;
use wire::zk::{ConnectRequest, ConnectResponse, ReplyHeader, SessionId, Zxid, op};

pub struct Rig {
    pub front: Front,
    pub db: Database,
    pub prepare: Prepare,
    pub sessions: SessionTracker,
    pub zxid: Zxid,
    pub now: Now,
    /// The disk has no room.
    pub full: bool,
    pub out: Vec<Effect>,
    pub up: Vec<Upcall>,
    /// Every transaction so far.
    pub log: Vec<Txn>,
    /// Times of the transactions to come; after the last, `now`.
    pub times: VecDeque<i64>,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(&standalone())
    }

    pub fn with(config: &CoreConfig) -> Rig {
        let now = Now { mono: 1000, wall: 1_700_000_000_000 };
        let db = Database::new();
        let sessions = SessionTracker::new(config, &db, now);
        let mut front = Front::new(config);
        let mut out = vec![];
        front.serve(true, now, &mut out);
        let prepare = Prepare::new(config);
        Rig {
            front,
            db,
            prepare,
            sessions,
            zxid: 0,
            now,
            full: false,
            out,
            up: vec![],
            log: vec![],
            times: VecDeque::new(),
        }
    }

    pub fn open(&mut self, conn: u64) {
        self.front.opened(ConnId(conn), IpAddr::from([127, 0, 0, 1]), self.now, &mut self.out);
    }

    /// Hands a frame over; what it asks for stays in `up`.
    pub fn frame(&mut self, conn: u64, frame: Bytes) {
        self.front.frame(ConnId(conn), frame, self.now, &self.db, &mut self.out, &mut self.up);
    }

    /// One request's frame.
    pub fn request(&mut self, conn: u64, xid: i32, op: i32, body: impl Record) {
        self.frame(conn, frame(xid, op, &body));
    }

    /// Makes a transaction of a request, without applying it.
    pub fn propose(&mut self, request: &Request) -> Txn {
        self.zxid += 1;
        self.now.wall = self.times.pop_front().unwrap_or(self.now.wall);
        let context = Context { local: self.front.is_local(request.session), view: None, full: self.full };
        self.prepare.prepare(request, context, self.zxid, self.now, &self.db, &mut self.sessions)
    }

    pub fn commit(&mut self, txn: &Txn) {
        assert_eq!(Txn::decode(txn.bytes.clone()).as_ref(), Ok(txn));
        self.front.committed(txn, self.now, &mut self.db, &mut self.out, &mut self.up);
        self.prepare.committed(txn.header.zxid);
        if txn.header.kind == op::CLOSE_SESSION {
            self.sessions.remove(txn.header.session);
        }
        self.log.push(txn.clone());
    }

    /// Does all that is asked for.
    pub fn settle(&mut self) {
        while !self.up.is_empty() {
            for upcall in std::mem::take(&mut self.up) {
                match upcall {
                    Upcall::Write(request) => {
                        let txn = self.propose(&request);
                        self.commit(&txn);
                    }
                    Upcall::Sync(request) => {
                        self.front.synced(&request, self.now, &self.db, &mut self.out, &mut self.up);
                    }
                    Upcall::Revalidate { session, timeout } => {
                        let valid = self.sessions.touch(session, timeout, self.now);
                        let (now, db) = (self.now, &self.db);
                        self.front.revalidated(session, valid, now, db, &mut self.out, &mut self.up);
                    }
                }
            }
        }
    }

    /// A new connection with a new session.
    pub fn session(&mut self, conn: u64) -> SessionId {
        self.open(conn);
        self.frame(conn, connect(0, None).encode());
        self.settle();
        let frames = self.sent(conn);
        ConnectResponse::decode(&frames[0].slice(4..)).unwrap().session
    }

    /// Frames sent to a connection since the last call for any; `closed` tells of the end.
    pub fn sent(&mut self, conn: u64) -> Vec<Bytes> {
        let mut frames = vec![];
        for effect in std::mem::take(&mut self.out) {
            match effect {
                Effect::ToClient { conn: to, bytes } if to == ConnId(conn) => {
                    assert_eq!(bytes.len(), 4 + u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize);
                    frames.push(bytes);
                }
                other => self.out.push(other),
            }
        }
        frames
    }

    pub fn closed(&mut self, conn: u64) -> bool {
        let closed =
            |effect: &Effect| matches!(effect, Effect::CloseClient { conn: of } if *of == ConnId(conn));
        self.out.iter().any(closed)
    }

    /// A request and its one reply: header and body.
    pub fn ask(&mut self, conn: u64, op: i32, body: impl Record) -> (ReplyHeader, Bytes) {
        self.request(conn, 9, op, body);
        self.settle();
        let frames = self.sent(conn);
        assert_eq!(frames.len(), 1, "{frames:?}");
        split(&frames[0])
    }

    /// As [`Rig::ask`]: only the code.
    pub fn code(&mut self, conn: u64, op: i32, body: impl Record) -> i32 {
        self.ask(conn, op, body).0.err
    }
}

pub fn frame(xid: i32, op: i32, body: &impl Record) -> Bytes {
    let mut to = BytesMut::new();
    xid.write(&mut to);
    op.write(&mut to);
    body.write(&mut to);
    to.freeze()
}

pub fn connect(session: SessionId, password: Option<&[u8]>) -> ConnectRequest {
    ConnectRequest {
        protocol: 0,
        last_zxid: 0,
        timeout: 10_000,
        session,
        password: password.map(Bytes::copy_from_slice),
        read_only: Some(false),
    }
}

/// Header and body of a frame.
pub fn split(frame: &Bytes) -> (ReplyHeader, Bytes) {
    let mut from = Reader::new(frame.slice(4..));
    (from.read().unwrap(), from.rest())
}
