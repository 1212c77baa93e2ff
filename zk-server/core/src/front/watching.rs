//! A client that comes back brings its watches along.

use super::notify::event_frame;
use super::read::Context;
use crate::event::Effect;
use crate::watch::{Modes, event};
use bytes::Bytes;
use wire::Str;
use wire::jute::Record;
use wire::zk::{SetWatches2Request, SetWatchesRequest, Zxid, err, op};

/// The zxid of events that no transaction fires.
const REPLAYED: i64 = -1;

/// A setWatches under way: path after path it sends what the client missed since `relative_zxid`, and registers the rest
/// anew. What changes between two of them is seen by the one or the other.
#[derive(Debug)]
pub(super) struct SetWatches {
    request: SetWatches2Request,
    /// Which of the five lists, and how many of it are done.
    list: usize,
    done: usize,
}

impl SetWatches {
    pub fn read(op: i32, body: &[u8]) -> Result<SetWatches, i32> {
        let body = Bytes::copy_from_slice(body);
        let request = match op {
            op::SET_WATCHES => SetWatchesRequest::decode(&body).map(|request| SetWatches2Request {
                relative_zxid: request.relative_zxid,
                data: request.data,
                exist: request.exist,
                child: request.child,
                persistent: vec![],
                recursive: vec![],
            }),
            _ => SetWatches2Request::decode(&body),
        };
        let request = request.map_err(|_| err::MARSHALLING)?;
        Ok(SetWatches { request, list: 0, done: 0 })
    }

    /// Takes up to `left` paths, and that from `left`. True: those were the last.
    pub fn go_on(&mut self, context: &mut Context, left: &mut usize) -> bool {
        let request = &self.request;
        let lists = [&request.data, &request.exist, &request.child, &request.persistent, &request.recursive];
        while let Some(list) = lists.get(self.list) {
            let Some(path) = list.get(self.done) else {
                (self.list, self.done) = (self.list + 1, 0);
                continue;
            };
            if *left == 0 {
                return false;
            }
            *left -= 1;
            self.done += 1;
            match self.list {
                0 => data(context, path, request.relative_zxid),
                1 => exist(context, path),
                2 => child(context, path, request.relative_zxid),
                3 => _ = context.watches.add_persistent(path, context.conn.id, 0),
                _ => _ = context.watches.add_persistent(path, context.conn.id, 1),
            }
        }
        true
    }
}

fn data(context: &mut Context, path: &Str, since: Zxid) {
    match context.db.tree.get(path) {
        None => replay(context, event::DELETED, path),
        Some(node) if node.node_stat().mzxid > since => replay(context, event::DATA_CHANGED, path),
        Some(_) => context.watches.data.add(path, context.conn.id, Modes::STANDARD),
    }
}

fn exist(context: &mut Context, path: &Str) {
    match context.db.tree.contains(path) {
        true => replay(context, event::CREATED, path),
        false => context.watches.data.add(path, context.conn.id, Modes::STANDARD),
    }
}

fn child(context: &mut Context, path: &Str, since: Zxid) {
    match context.db.tree.get(path) {
        None => replay(context, event::DELETED, path),
        Some(node) if node.node_stat().pzxid > since => replay(context, event::CHILDREN_CHANGED, path),
        Some(_) => context.watches.child.add(path, context.conn.id, Modes::STANDARD),
    }
}

fn replay(context: &mut Context, kind: i32, path: &Str) {
    let bytes = event_frame(context.replies, REPLAYED, kind, path);
    context.out.push(Effect::ToClient { conn: context.conn.id, bytes });
}
