//! What operators are shown of the clients: `wchs`, `wchc`, `wchp`, and how many there are.

use super::Front;
use crate::event::ConnId;
use crate::watch::WatchFigures;
use std::collections::BTreeMap;
use wire::zk::SessionId;

/// All clients together, at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FrontFigures {
    pub connections: usize,
    /// Connections that have a session.
    pub sessions: usize,
    /// Requests that wait for their answer.
    pub outstanding: u64,
    /// The chance that a new connection is turned away, from 0 to 1.
    pub connection_drop_probability: f64,
    pub data_watches: WatchFigures,
    pub child_watches: WatchFigures,
}

impl Front {
    pub fn figures(&self) -> FrontFigures {
        FrontFigures {
            connections: self.conns.len(),
            sessions: self.by_session.len(),
            outstanding: self.outstanding,
            connection_drop_probability: self.connects.figures().1,
            data_watches: self.watches.data.figures(),
            child_watches: self.watches.child.figures(),
        }
    }

    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
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
