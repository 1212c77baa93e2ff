//! Changes of the tree -> watch events.

use super::pipeline::Connection;
use super::reply::{Replies, put_buffer};
use crate::acl::{self, AclList};
use crate::audit;
use crate::auth::AuthRules;
use crate::database::Observer;
use crate::event::{ConnId, Effect};
use crate::hash::Map;
use crate::measure::{Measures, Summary};
use crate::path;
use crate::watch::{Watches, event};
use bytes::{BufMut, Bytes};
use wire::zk::{SessionId, Zxid, perm, xid};

/// The only state that a server ever tells: connected.
const SYNC_CONNECTED: i32 = 3;

pub(super) struct Notifier<'a> {
    pub zxid: Zxid,
    /// The session whose end this is, where that is to be told for the audit trail.
    pub closing: Option<SessionId>,
    pub auth: &'a AuthRules,
    pub watches: &'a mut Watches,
    pub conns: &'a mut Map<ConnId, Connection>,
    pub replies: &'a mut Replies,
    pub measures: &'a mut Measures,
    pub out: &'a mut Vec<Effect>,
    /// Who is told; kept to be used again.
    pub hit: Vec<ConnId>,
}

/// The frame of one event. `zxid` is that of the transaction that fired it, -1 for one that a setWatches replays.
pub(super) fn event_frame(replies: &mut Replies, zxid: Zxid, kind: i32, path: &str) -> Bytes {
    replies.reply(xid::WATCH_EVENT, zxid, 0, |to| {
        to.put_i32(kind);
        to.put_i32(SYNC_CONNECTED);
        put_buffer(to, Some(path.as_bytes()));
    })
}

impl Notifier<'_> {
    /// To those of `hit` from `from` on; a connection that may not read what changed hears nothing.
    fn send(&mut self, from: usize, kind: i32, path: &str, acl: &AclList) {
        let mut frame = None;
        for conn in &self.hit[from..] {
            let Some(known) = self.conns.get_mut(conn) else { continue };
            if !acl::allows(self.auth, acl.as_deref(), perm::READ, &known.auth) {
                continue;
            }
            let bytes = frame.get_or_insert_with(|| event_frame(self.replies, self.zxid, kind, path)).clone();
            self.out.push(Effect::ToClient { conn: *conn, bytes });
        }
    }

    fn fire_data(&mut self, kind: i32, path: &str, acl: &AclList) {
        self.hit.clear();
        self.watches.data.fire(path, &mut self.hit);
        self.send(0, kind, path, acl);
    }

    fn fire_parent(&mut self, path: &str, acl: &AclList) {
        let Some((parent, _)) = path::split(path) else { return };
        self.hit.clear();
        self.watches.child.fire(path::shown(parent), &mut self.hit);
        note(&mut self.measures.node_children_watch_count, self.hit.len());
        self.send(0, event::CHILDREN_CHANGED, path::shown(parent), acl);
    }
}

impl Observer for Notifier<'_> {
    fn created(&mut self, path: &str, acl: &AclList, parent_acl: &AclList) {
        self.fire_data(event::CREATED, path, acl);
        note(&mut self.measures.node_created_watch_count, self.hit.len());
        self.fire_parent(path, parent_acl);
    }

    /// Who hears of the end from the data table does not hear of it again from the child table.
    fn deleted(&mut self, path: &str, acl: &AclList, parent_acl: &AclList) {
        if let Some(session) = self.closing {
            self.out.push(Effect::Audit(audit::ephemeral_gone(session, path)));
        }
        self.fire_data(event::DELETED, path, acl);
        let told = self.hit.len();
        let mut more = vec![];
        self.watches.child.fire(path, &mut more);
        more.retain(|conn| self.hit.binary_search(conn).is_err());
        self.hit.append(&mut more);
        note(&mut self.measures.node_deleted_watch_count, self.hit.len());
        self.send(told, event::DELETED, path, acl);
        self.fire_parent(path, parent_acl);
    }

    fn data_changed(&mut self, path: &str, acl: &AclList) {
        self.fire_data(event::DATA_CHANGED, path, acl);
        note(&mut self.measures.node_changed_watch_count, self.hit.len());
    }
}

/// How many heard of a change; those of which nobody hears do not count.
fn note(summary: &mut Summary, hit: usize) {
    if hit > 0 {
        summary.add(hit as u64);
    }
}
