//! What operators are shown of the clients: `wchs`, `wchc`, `wchp`, and how many there are.

use super::Front;
use crate::event::ConnId;
use crate::watch::WatchFigures;
use std::sync::Arc;
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

    /// Watching sessions and their paths (`wchc`, `wchp`; data table), in parts: a step looks at `max` of them. Begins with
    /// none; the one to go on from is `None` where there are no more.
    pub fn some_watches(
        &self,
        behind: Option<&Watching>,
        max: usize,
    ) -> (Vec<(SessionId, Arc<str>)>, Option<Watching>) {
        let part = self.watches.data.some(behind.map(|Watching(last)| last), max);
        let last = part.last().filter(|_| part.len() == max).cloned().map(Watching);
        let session = |conn: ConnId| self.conns.get(&conn).map(|conn| conn.session);
        (part.into_iter().filter_map(|(conn, path)| Some((session(conn)?, path))).collect(), last)
    }
}

/// One watch.
#[derive(Debug, Clone)]
pub struct Watching((ConnId, Arc<str>));
