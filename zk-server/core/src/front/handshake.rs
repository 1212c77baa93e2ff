//! A connection gets its session: a new one, or the one that it had before.

use super::pipeline::Stage;
use super::{Front, Request, Service, Upcall};
use crate::database::Database;
use crate::event::{ConnId, Effect, LogLevel, Now};
use crate::throttle::Asked;
use bytes::Bytes;
use wire::jute::Record;
use wire::zk::session_password as password;
use wire::zk::{ConnectRequest, ConnectResponse, SessionId, err, op};

/// The request that makes a session one of the ensemble's.
pub(super) fn create_session(session: SessionId, timeout: i32) -> Request {
    let body = timeout.encode();
    Request { session, cxid: 0, op: op::CREATE_SESSION, body, auth: vec![], origin: None }
}

impl Front {
    /// The first frame of a connection.
    pub(super) fn connect(
        &mut self,
        id: ConnId,
        frame: &Bytes,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let Ok(request) = ConnectRequest::decode(frame) else { return self.close(id, out) };
        let asked = match request.session {
            0 if self.locals.rules.enabled => Asked::Local,
            0 => Asked::Global,
            _ => Asked::Renewed,
        };
        if !self.connects.admits(asked, now.mono) {
            let line = "Connection throttle rejected connection: there are too many new ones".into();
            out.push(Effect::Log { level: LogLevel::Warn, line });
            return self.close(id, out);
        }
        self.measures.connection_token_deficit.add(self.connects.figures().0);
        // A client that has seen more than we have must go to another server, and so must one that wants to write
        // while nobody can.
        let refused = self.is_read_only() && request.read_only != Some(true);
        if refused || request.last_zxid > db.last_zxid() {
            return self.close(id, out);
        }
        // The bounds may be set the wrong way round; the upper one then has the last word.
        let timeout = request.timeout.max(self.session_ms_min).min(self.session_ms_max);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        (conn.timeout, conn.read_only) = (timeout, request.read_only);
        self.measures.connection_request_count += 1;
        self.measures.connection_revalidate_count += u64::from(request.session != 0);
        if request.session == 0 {
            self.connect_new(id, now, db, out, up);
        } else {
            self.connect_again(id, &request, now, db, out, up);
        }
    }

    fn connect_new(
        &mut self,
        id: ConnId,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let (session, read_only) = (self.new_session(), self.is_read_only());
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.session = session;
        let timeout = conn.timeout;
        if self.locals.rules.enabled {
            self.by_session.insert(session, id);
            self.locals.add(session, timeout, now);
            self.finish(id, true, now, db, out, up);
        } else if read_only {
            // What a real server says here, in place of an answer to the handshake.
            let bytes = self.replies.reply(0, db.last_zxid(), err::NOT_READ_ONLY, |_| {});
            out.push(Effect::ToClient { conn: id, bytes });
            self.close(id, out);
        } else {
            conn.stage = Stage::Creating;
            self.by_session.insert(session, id);
            up.push(Upcall::Write(create_session(session, timeout)));
        }
    }

    fn connect_again(
        &mut self,
        id: ConnId,
        request: &ConnectRequest,
        now: Now,
        db: &Database,
        out: &mut Vec<Effect>,
        up: &mut Vec<Upcall>,
    ) {
        let session = request.session;
        let read_only = self.is_read_only();
        if read_only && db.sessions().contains_key(&session) {
            // Nobody here could keep a session of the ensemble alive.
            return self.close(id, out);
        }
        if let Some(old) = self.by_session.get(&session).copied() {
            self.close(old, out);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.session = session;
        let timeout = conn.timeout;
        if request.password.as_deref() != Some(&password(session)) {
            return self.reject(id, out);
        }
        self.by_session.insert(session, id);
        if self.locals.touch(session, now) {
            self.finish(id, true, now, db, out, up);
        } else if read_only {
            // Without local sessions, a real server believes whoever has the password.
            self.finish(id, !self.locals.rules.enabled, now, db, out, up);
        } else {
            conn.stage = Stage::Reattaching;
            up.push(Upcall::Revalidate { session, timeout });
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
        let was = std::mem::replace(&mut conn.stage, Stage::Open);
        if !self.locals.contains(conn.session) {
            conn.touched = true;
            self.touched.push((id, conn.session, conn.timeout));
        }
        if was == Stage::Creating {
            self.measures.updatelatency.add(now.mono.saturating_sub(conn.asked_at));
        }
        let response = ConnectResponse {
            protocol: 0,
            timeout: conn.timeout,
            session: conn.session,
            password: Some(Bytes::copy_from_slice(&password(conn.session))),
            read_only: conn.read_only.map(|_| self.service == Service::ReadOnly),
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
            read_only: conn.read_only.map(|_| self.service == Service::ReadOnly),
        };
        let bytes = self.replies.frame(|to| response.write(to));
        out.push(Effect::ToClient { conn: id, bytes });
        self.close(id, out);
    }
}
