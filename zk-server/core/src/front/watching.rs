//! A client that comes back brings its watches along.

use super::notify::event_frame;
use super::read::Context;
use crate::event::Effect;
use crate::watch::{Modes, event};
use bytes::Bytes;
use wire::Str;
use wire::jute::Record;
use wire::zk::{SetWatches2Request, SetWatchesRequest, err, op};

/// The zxid of events that no transaction fires.
const REPLAYED: i64 = -1;

/// Sends at once what the client missed since `relative_zxid`, and registers the rest anew.
pub(super) fn set_watches(context: &mut Context, op: i32, body: &[u8]) -> Result<(), i32> {
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
    let conn = context.conn.id;
    for path in &request.data {
        match context.db.tree.get(path) {
            None => replay(context, event::DELETED, path),
            Some(node) if node.node_stat().mzxid > request.relative_zxid => {
                replay(context, event::DATA_CHANGED, path);
            }
            Some(_) => context.watches.data.add(path, conn, Modes::STANDARD),
        }
    }
    for path in &request.exist {
        match context.db.tree.get(path) {
            Some(_) => replay(context, event::CREATED, path),
            None => context.watches.data.add(path, conn, Modes::STANDARD),
        }
    }
    for path in &request.child {
        match context.db.tree.get(path) {
            None => replay(context, event::DELETED, path),
            Some(node) if node.node_stat().pzxid > request.relative_zxid => {
                replay(context, event::CHILDREN_CHANGED, path);
            }
            Some(_) => context.watches.child.add(path, conn, Modes::STANDARD),
        }
    }
    for path in &request.persistent {
        context.watches.child.add(path, conn, Modes::PERSISTENT);
        context.watches.data.add(path, conn, Modes::PERSISTENT);
    }
    for path in &request.recursive {
        context.watches.data.add(path, conn, Modes::RECURSIVE);
    }
    Ok(())
}

fn replay(context: &mut Context, kind: i32, path: &Str) {
    let bytes = event_frame(context.replies, REPLAYED, kind, path);
    context.out.push(Effect::ToClient { conn: context.conn.id, bytes });
}
