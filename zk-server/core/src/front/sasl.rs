//! A client's SASL exchange: ordinary requests with a token each, answered at once.

use super::Front;
use crate::event::{ConnId, Effect, LogLevel};
use bytes::Bytes;
use wire::jute::Record;
use wire::zk::{RequestHeader, err};

impl Front {
    pub(super) fn sasl(&mut self, id: ConnId, header: RequestHeader, frame: &Bytes, out: &mut Vec<Effect>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Ok(Some(token)) = Option::<Bytes>::decode(&frame.slice(8..)) else { return self.close(id, out) };
        // A server without a SASL section: the client takes a null token for "not configured".
        let Some(users) = self.auth.sasl_users.clone() else {
            return self.answer_sasl(id, header, err::OK, None, out);
        };
        let exchange = conn.sasl.get_or_insert_with(|| users.begin(id.0));
        let error = match users.evaluate(exchange, &token) {
            Ok((token, ids)) => {
                let session = conn.session;
                for new in ids {
                    let line = format!("Session 0x{session:x}: adding {}:{} by SASL", new.scheme, new.id);
                    out.push(Effect::Log { level: LogLevel::Info, line });
                    if !conn.auth.contains(&new) {
                        conn.auth.push(new);
                    }
                }
                return self.answer_sasl(id, header, err::OK, Some(token), out);
            }
            Err(error) => error,
        };
        let required = self.auth.enforced.iter().any(|scheme| scheme == "sasl");
        let line = format!("Client /{} failed to SASL authenticate: {error}", conn.peer);
        out.push(Effect::Log { level: LogLevel::Warn, line });
        match (required, users.keeps_failed) {
            (false, true) => self.answer_sasl(id, header, err::OK, None, out),
            (required, _) => {
                let code = if required { err::SESSION_CLOSED_REQUIRE_SASL_AUTH } else { err::AUTH_FAILED };
                self.answer_sasl(id, header, code, None, out);
                self.close(id, out);
            }
        }
    }

    fn answer_sasl(
        &mut self,
        id: ConnId,
        header: RequestHeader,
        code: i32,
        token: Option<Bytes>,
        out: &mut Vec<Effect>,
    ) {
        let bytes = self.replies.reply(header.xid, 0, code, |to| token.write(to));
        out.push(Effect::ToClient { conn: id, bytes });
    }
}
