//! Requests that are answered from this server's own state.

use super::pipeline::Connection;
use super::reply::{Replies, put_buffer, put_error_part, put_names, put_part, put_stat};
use super::watching::SetWatches;
use crate::acl;
use crate::auth::{self, AuthRules};
use crate::database::Database;
use crate::event::Effect;
use crate::tree::Node;
use crate::watch::{Modes, Watches};
use bytes::{BufMut, Bytes, BytesMut};
use wire::jute::{Reader, Record};
use wire::zk::{
    Acl, Id, MultiHeader, NullablePathRequest, RequestHeader, WhoAmIResponse, err, op, perm, xid,
};

pub(super) struct Context<'a> {
    pub conn: &'a mut Connection,
    pub db: &'a Database,
    pub watches: &'a mut Watches,
    pub replies: &'a mut Replies,
    pub auth: &'a AuthRules,
    /// Events that a setWatches finds due leave before its reply.
    pub out: &'a mut Vec<Effect>,
}

/// The whole reply to a read, a ping or a watch request.
pub(super) fn serve(context: &mut Context, header: RequestHeader, body: &[u8]) -> Bytes {
    let zxid = context.db.last_zxid();
    match header.op {
        op::PING => context.replies.reply(xid::PING, zxid, 0, |_| {}),
        // Of a local session: nobody else is asked.
        op::CLOSE_SESSION => context.replies.reply(header.xid, zxid, 0, |_| {}),
        op::SET_WATCHES | op::SET_WATCHES2 => {
            let mut all = usize::MAX;
            let set = SetWatches::read(header.op, body);
            let code = set.map(|mut set| set.go_on(context, &mut all)).err().unwrap_or(err::OK);
            context.replies.reply(header.xid, zxid, code, |_| {})
        }
        op::MULTI_READ => multi_read(context, header, body),
        _ => {
            let Context { conn, db, watches, replies, auth, .. } = context;
            let mut one = One { conn, db, watches, auth };
            replies.try_reply(header.xid, zxid, |to| one.serve(header.op, body, to))
        }
    }
}

/// One read, its answer written behind its header.
struct One<'a> {
    conn: &'a mut Connection,
    db: &'a Database,
    watches: &'a mut Watches,
    auth: &'a AuthRules,
}

impl One<'_> {
    fn serve(&mut self, op: i32, body: &[u8], to: &mut BytesMut) -> Result<(), i32> {
        match op {
            op::GET_DATA => self.get_data(body, to),
            op::EXISTS => self.exists(body, to),
            op::GET_CHILDREN => self.get_children(body, to, false),
            op::GET_CHILDREN2 => self.get_children(body, to, true),
            op::GET_ACL => self.get_acl(body, to),
            op::GET_ALL_CHILDREN_NUMBER => {
                let path = Parser(body).text()?;
                self.readable(path)?;
                // By its empty name the root counts the other one, `/`, among its descendants.
                let alias = usize::from(path.is_empty());
                to.put_i32((self.db.tree.descendants(path) + alias) as i32);
                Ok(())
            }
            op::GET_EPHEMERALS => self.get_ephemerals(body, to),
            op::ADD_WATCH => {
                let mut from = Parser(body);
                let (path, mode) = (from.text()?, from.int()?);
                if !self.watches.add_persistent(path, self.conn.id, mode) {
                    return Err(err::MARSHALLING);
                }
                to.put_i32(0);
                Ok(())
            }
            op::CHECK_WATCHES | op::REMOVE_WATCHES => {
                let mut from = Parser(body);
                let (path, kind) = (from.text()?, from.int()?);
                let found = match op {
                    op::CHECK_WATCHES => self.watches.contains(path, self.conn.id, kind),
                    _ => self.watches.remove(path, self.conn.id, kind),
                };
                match found {
                    None => Err(err::MARSHALLING),
                    Some(false) => Err(err::NO_WATCHER),
                    Some(true) => Ok(()),
                }
            }
            op::WHO_AM_I => {
                WhoAmIResponse { ids: auth::client_infos(&self.conn.auth) }.write(to);
                Ok(())
            }
            _ => Err(err::UNIMPLEMENTED),
        }
    }

    fn allows(&self, node: Node<'_>, wanted: i32) -> bool {
        acl::allows(self.auth, self.db.acls.view(node.acl()), wanted, &self.conn.auth)
    }

    /// The node, if it is there and may be read.
    fn readable(&self, path: &str) -> Result<Node<'_>, i32> {
        let node = self.db.tree.get(path).ok_or(err::NO_NODE)?;
        if self.allows(node, perm::READ) { Ok(node) } else { Err(err::NO_AUTH) }
    }

    fn get_data(&mut self, body: &[u8], to: &mut BytesMut) -> Result<(), i32> {
        let (path, watch) = path_and_watch(body)?;
        let node = self.readable(path)?;
        put_buffer(to, node.data());
        put_stat(to, &self.db.stat(node));
        if watch {
            self.watches.data.add(path, self.conn.id, Modes::STANDARD);
        }
        Ok(())
    }

    /// The watch stays also where there is no node yet.
    fn exists(&mut self, body: &[u8], to: &mut BytesMut) -> Result<(), i32> {
        let (path, watch) = path_and_watch(body)?;
        if path.contains('\0') {
            return Err(err::BAD_ARGUMENTS);
        }
        let found = match self.readable(path) {
            Ok(node) => {
                put_stat(to, &self.db.stat(node));
                Ok(())
            }
            Err(err::NO_NODE) => Err(err::NO_NODE),
            Err(err) => return Err(err),
        };
        if watch {
            self.watches.data.add(path, self.conn.id, Modes::STANDARD);
        }
        found
    }

    fn get_children(&mut self, body: &[u8], to: &mut BytesMut, with_stat: bool) -> Result<(), i32> {
        let (path, watch) = path_and_watch(body)?;
        let node = self.readable(path)?;
        put_names(to, node.children());
        if with_stat {
            put_stat(to, &self.db.stat(node));
        }
        if watch {
            self.watches.child.add(path, self.conn.id, Modes::STANDARD);
        }
        Ok(())
    }

    /// Who may read but not administer the node does not see the hashes.
    fn get_acl(&mut self, body: &[u8], to: &mut BytesMut) -> Result<(), i32> {
        let node = self.db.tree.get(Parser(body).text()?).ok_or(err::NO_NODE)?;
        if !self.allows(node, perm::READ | perm::ADMIN) {
            return Err(err::NO_AUTH);
        }
        let open = [acl::world(perm::ALL)];
        let list = self.db.acls.view(node.acl()).unwrap_or(&open);
        let whole = self.allows(node, perm::ADMIN);
        to.put_i32(list.len() as i32);
        for entry in list {
            if whole { entry.write(to) } else { masked(entry).write(to) }
        }
        put_stat(to, &self.db.stat(node));
        Ok(())
    }

    /// Of this session; by the start of their text, not by components.
    fn get_ephemerals(&mut self, body: &[u8], to: &mut BytesMut) -> Result<(), i32> {
        let mut from = Reader::new(Bytes::copy_from_slice(body));
        let request: NullablePathRequest = from.read().map_err(|_| err::MARSHALLING)?;
        let prefix = match request.path.as_deref().map(str::trim) {
            None | Some("" | "/") => "",
            Some(_) => request.path.as_deref().unwrap_or_default(),
        };
        let at = to.len();
        to.put_i32(0);
        let mut count = 0;
        for path in self.db.ephemerals_of(self.conn.session).filter(|path| path.starts_with(prefix)) {
            put_buffer(to, Some(path.as_bytes()));
            count += 1;
        }
        to[at..at + 4].copy_from_slice(&i32::to_be_bytes(count));
        Ok(())
    }
}

fn masked(acl: &Acl) -> Acl {
    match acl.id.id.split_once(':') {
        Some((user, _)) if acl.id.scheme == "digest" => {
            let id = Id { scheme: acl.id.scheme.clone(), id: format!("{user}:x").into() };
            Acl { perms: acl.perms, id }
        }
        _ => acl.clone(),
    }
}

/// Each part fails for itself. A part that is not a read spoils all of it: then the answer is -5, with what had been
/// read before.
fn multi_read(context: &mut Context, header: RequestHeader, body: &[u8]) -> Bytes {
    let Context { conn, db, replies, auth, .. } = context;
    // Watch flags in here count for nothing.
    let mut unwatched = Watches::default();
    let mut one = One { conn, db, watches: &mut unwatched, auth };
    let parts = match read_parts(body) {
        Ok(parts) => parts,
        Err(PartsError::Undecodable) => {
            return replies.reply(header.xid, db.last_zxid(), err::MARSHALLING, |_| {});
        }
        Err(PartsError::Write) => {
            return replies
                .reply(header.xid, db.last_zxid(), err::MARSHALLING, |to| MultiHeader::END.write(to));
        }
    };
    replies.reply(header.xid, db.last_zxid(), 0, |to| {
        for (op, body) in parts {
            let at = to.len();
            put_part(to, op);
            if let Err(err) = one.serve(op, body, to) {
                to.truncate(at);
                put_error_part(to, err);
            }
        }
        MultiHeader::END.write(to);
    })
}

enum PartsError {
    Undecodable,
    /// Only writes: well-formed, but not for this operation.
    Write,
}

/// Opcode and body of each part. Writes and reads are never mixed.
fn read_parts(body: &[u8]) -> Result<Vec<(i32, &[u8])>, PartsError> {
    let mut from = Parser(body);
    let mut parts = vec![];
    loop {
        let (op, done, _) = (from.int(), from.flag(), from.int());
        match (op, done) {
            (Ok(_), Ok(true)) => return Ok(parts),
            (Ok(op @ (op::GET_DATA | op::GET_CHILDREN)), Ok(false)) => {
                let start = from.0;
                from.text().and_then(|_| from.flag()).map_err(|_| PartsError::Undecodable)?;
                parts.push((op, &start[..start.len() - from.0.len()]));
            }
            (Ok(op), Ok(false)) if parts.is_empty() && is_multi_write(op) => return Err(PartsError::Write),
            _ => return Err(PartsError::Undecodable),
        }
    }
}

fn is_multi_write(op: i32) -> bool {
    matches!(
        op,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::SET_DATA
            | op::CHECK
    )
}

fn path_and_watch(body: &[u8]) -> Result<(&str, bool), i32> {
    let mut from = Parser(body);
    Ok((from.text()?, from.flag()?))
}

/// Jute without a copy or a count of references, for the requests that come in their hundred thousands. What it
/// cannot read is a marshalling error.
struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], i32> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(err::MARSHALLING)?;
        self.0 = rest;
        Ok(head)
    }

    fn int(&mut self) -> Result<i32, i32> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or(err::MARSHALLING)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*head))
    }

    fn flag(&mut self) -> Result<bool, i32> {
        Ok(self.take(1)?[0] != 0)
    }

    fn text(&mut self) -> Result<&'a str, i32> {
        let len = usize::try_from(self.int()?).map_err(|_| err::MARSHALLING)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| err::MARSHALLING)
    }
}
