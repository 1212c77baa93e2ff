//! What operators are shown of the clients: `cons`, `stat`, `srvr`, `wchs`, `wchc`, `wchp`.

use super::Front;
use crate::event::{ConnId, Now};
use crate::watch::WatchFigures;
use std::collections::BTreeMap;
use std::net::IpAddr;
use wire::zk::{SessionId, Zxid, op};

/// Latencies in milliseconds, from a request's arrival to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    pub min: u64,
    pub max: u64,
    pub sum: u64,
    pub count: u64,
}

impl Latency {
    fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.sum += ms;
        self.count += 1;
    }
}

/// All clients together, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrontFigures {
    pub connections: usize,
    /// Connections that have a session.
    pub sessions: usize,
    /// Frames.
    pub received: u64,
    pub sent: u64,
    /// Requests that wait for their answer.
    pub outstanding: u64,
    pub latency: Latency,
    pub data_watches: WatchFigures,
    pub child_watches: WatchFigures,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    pub conn: ConnId,
    pub peer: IpAddr,
    /// 0: none yet.
    pub session: SessionId,
    /// Milliseconds, as negotiated.
    pub timeout: i32,
    pub outstanding: u64,
    pub received: u64,
    pub sent: u64,
    /// Mono ms.
    pub established: u64,
    /// `NA` before the first answer.
    pub last_op: &'static str,
    pub last_cxid: i32,
    pub last_zxid: Zxid,
    /// Mono ms.
    pub last_response: u64,
    pub last_latency: u64,
    pub latency: Latency,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub received: u64,
    pub sent: u64,
    pub outstanding: u64,
    latency: Latency,
}

impl Counters {
    pub fn answered(&mut self, ms: u64) {
        self.sent += 1;
        self.latency.add(ms);
    }
}

#[derive(Debug)]
pub(super) struct ConnStats {
    pub received: u64,
    pub sent: u64,
    established: u64,
    last_op: i32,
    last_cxid: i32,
    last_zxid: Zxid,
    last_response: u64,
    last_latency: u64,
    latency: Latency,
}

impl ConnStats {
    pub fn new(now: Now) -> ConnStats {
        ConnStats {
            received: 0,
            sent: 0,
            established: now.mono,
            last_op: 0,
            last_cxid: -1,
            last_zxid: -1,
            last_response: now.mono,
            last_latency: 0,
            latency: Latency::default(),
        }
    }

    /// `since` and `now` in mono ms.
    pub fn answered(&mut self, op: i32, cxid: i32, zxid: Zxid, since: u64, now: u64) {
        self.sent += 1;
        self.last_op = op;
        // Pings and the like have no number of their own.
        if cxid >= 0 {
            self.last_cxid = cxid;
        }
        self.last_zxid = zxid;
        self.last_response = now;
        self.last_latency = now.saturating_sub(since);
        self.latency.add(self.last_latency);
    }
}

/// The name of an operation in `cons`.
fn label(op: i32) -> &'static str {
    match op {
        op::CREATE_SESSION => "SESS",
        op::CLOSE_SESSION => "CLOS",
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => "CREA",
        op::DELETE | op::DELETE_CONTAINER => "DELE",
        op::EXISTS => "EXIS",
        op::GET_DATA => "GETD",
        op::SET_DATA => "SETD",
        op::GET_ACL => "GETA",
        op::SET_ACL => "SETA",
        op::GET_CHILDREN | op::GET_CHILDREN2 => "GETC",
        op::SYNC => "SYNC",
        op::PING => "PING",
        op::MULTI => "MULT",
        op::MULTI_READ => "MLTR",
        op::RECONFIG => "RECO",
        op::CHECK_WATCHES => "CHKW",
        op::REMOVE_WATCHES => "REMW",
        op::SET_WATCHES => "SETW",
        op::SET_WATCHES2 => "STW2",
        op::ADD_WATCH => "ADDW",
        op::GET_EPHEMERALS => "GETE",
        op::GET_ALL_CHILDREN_NUMBER => "GETACN",
        op::WHO_AM_I => "HOMI",
        _ => "NA",
    }
}

impl Front {
    pub fn figures(&self) -> FrontFigures {
        FrontFigures {
            connections: self.conns.len(),
            sessions: self.by_session.len(),
            received: self.counters.received,
            sent: self.counters.sent,
            outstanding: self.counters.outstanding,
            latency: self.counters.latency,
            data_watches: self.watches.data.figures(),
            child_watches: self.watches.child.figures(),
        }
    }

    /// Requests that wait for their answer, of all clients: above a limit the shell stops reading from those that
    /// [`Front::is_waiting`] names.
    pub fn outstanding(&self) -> u64 {
        self.counters.outstanding
    }

    /// The connection has requests that wait for their answer.
    pub fn is_waiting(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|conn| conn.outstanding() > 0)
    }

    /// In the order in which they came.
    pub fn connections(&self) -> Vec<ConnInfo> {
        let mut all: Vec<ConnInfo> = self.conns.keys().filter_map(|conn| self.connection(*conn)).collect();
        all.sort_unstable_by_key(|info| info.conn);
        all
    }

    pub fn connection(&self, conn: ConnId) -> Option<ConnInfo> {
        let known = self.conns.get(&conn)?;
        let stats = &known.stats;
        Some(ConnInfo {
            conn,
            peer: known.peer,
            session: known.session,
            timeout: known.timeout,
            outstanding: known.outstanding(),
            received: stats.received,
            sent: stats.sent,
            established: stats.established,
            last_op: label(stats.last_op),
            last_cxid: stats.last_cxid,
            last_zxid: stats.last_zxid,
            last_response: stats.last_response,
            last_latency: stats.last_latency,
            latency: stats.latency,
        })
    }

    /// Which connection has this session here.
    pub fn connection_of(&self, session: SessionId) -> Option<ConnId> {
        self.by_session.get(&session).copied()
    }

    /// The summary that `wchs` prints counts only the data table, as the real server does.
    pub fn watch_figures(&self) -> WatchFigures {
        self.watches.data.figures()
    }

    /// Watched paths of each session (`wchc`; data table).
    pub fn watches_by_session(&self) -> BTreeMap<SessionId, Vec<&str>> {
        let sessions = self.watches.data.by_connection();
        sessions.filter_map(|(conn, paths)| Some((self.conns.get(&conn)?.session, paths.collect()))).collect()
    }

    /// Watching sessions of each path (`wchp`; data table).
    pub fn watches_by_path(&self) -> BTreeMap<&str, Vec<SessionId>> {
        let session = |conn: ConnId| self.conns.get(&conn).map(|conn| conn.session);
        let paths = self.watches.data.by_path().into_iter();
        paths.map(|(path, conns)| (path, conns.into_iter().filter_map(session).collect())).collect()
    }
}
