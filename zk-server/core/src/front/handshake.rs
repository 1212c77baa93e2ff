//! A connection gets its session: a new one, or the one that it had before.

use super::pipeline::Stage;
use super::{Front, Request, Upcall};
use crate::database::Database;
use crate::event::{ConnId, Effect, Now};
use bytes::Bytes;
use wire::jute::Record;
use wire::zk::session_password as password;
use wire::zk::{ConnectRequest, ConnectResponse, SessionId, op};

impl Front {
    /// The first frame of a connection.
    pub(super) fn connect(
        &mut self,
        id: ConnId,
        frame: &Bytes,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let request = match ConnectRequest::decode(frame) {
            // A client that has seen more than we have must go to another server.
            Ok(request) if request.last_zxid <= db.last_zxid() => request,
            _ => return self.close(id, out),
        };
        // The bounds may be set the wrong way round; the upper one then has the last word.
        let timeout = request.timeout.max(self.session_ms_min).min(self.session_ms_max);
        let known = request.session != 0;
        let session = if known { request.session } else { self.new_session() };
        if known && let Some(old) = self.by_session.get(&session).copied() {
            self.close(old, out);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.session = session;
        conn.timeout = timeout;
        conn.read_only = request.read_only;
        if !known {
            conn.stage = Stage::Creating;
            self.by_session.insert(session, id);
            let body = timeout.encode();
            let (op, auth) = (op::CREATE_SESSION, vec![]);
            up.push(Upcall::Write(Request { session, cxid: 0, op, body, auth, origin: None }));
        } else if request.password.as_deref() == Some(&password(session)) {
            conn.stage = Stage::Reattaching;
            self.by_session.insert(session, id);
            up.push(Upcall::Revalidate { session, timeout });
        } else {
            self.reject(id, out);
        }
    }

    /// For the repetition of what was recorded elsewhere.
    #[cfg(test)]
    pub(crate) fn begin_sessions_at(&mut self, session: SessionId) {
        self.next_session = session;
    }

    fn new_session(&mut self) -> SessionId {
        let session = self.next_session;
        self.next_session += 1;
        session
    }

    pub(super) fn finish_reattach(
        &mut self,
        session: SessionId,
        valid: bool,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let Some(id) = self.by_session.get(&session).copied() else { return };
        if self.conns.get(&id).is_some_and(|conn| conn.stage == Stage::Reattaching) {
            self.finish(id, valid, now, db, out, up);
        }
    }

    /// The session is there, or will never be.
    pub(super) fn finish(
        &mut self,
        id: ConnId,
        valid: bool,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        if !valid {
            return self.reject(id, out);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stage = Stage::Open;
        conn.touched = true;
        self.touched.push((id, conn.session, conn.timeout));
        conn.stats.answered(op::CREATE_SESSION, 0, db.last_zxid(), now.mono, now.mono);
        self.counters.answered(0);
        let response = ConnectResponse {
            protocol: 0,
            timeout: conn.timeout,
            session: conn.session,
            password: Some(Bytes::copy_from_slice(&password(conn.session))),
            read_only: conn.read_only.map(|_| false),
        };
        let bytes = self.replies.frame(|to| response.write(to));
        out.push(Effect::ToClient { conn: id, bytes });
        self.serve_early(id, now, db, out, up);
    }

    /// "There is no such session", then the end.
    fn reject(&mut self, id: ConnId, out: &mut Vec<Effect>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let response = ConnectResponse {
            protocol: 0,
            timeout: 0,
            session: 0,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: conn.read_only.map(|_| false),
        };
        let bytes = self.replies.frame(|to| response.write(to));
        out.push(Effect::ToClient { conn: id, bytes });
        self.close(id, out);
    }
}
