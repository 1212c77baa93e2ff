//! Frames to clients, written one behind the other into a shared buffer, of which each reply is a slice.

use crate::database::Outcome;
use bytes::{BufMut, Bytes, BytesMut};
use wire::Str;
use wire::jute::Record;
use wire::zk::{MultiHeader, Stat, Zxid, err, op};

const CHUNK: usize = 64 * 1024;
/// Less than this left: begin a new chunk rather than move a half-written reply.
const CHUNK_LEFT_MIN: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Replies {
    buffer: BytesMut,
}

impl Replies {
    /// A whole frame: its length and what `body` writes.
    pub fn frame(&mut self, body: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.buffer.capacity() < CHUNK_LEFT_MIN {
            self.buffer.reserve(CHUNK);
        }
        self.buffer.put_u32(0);
        body(&mut self.buffer);
        let length = (self.buffer.len() - 4) as u32;
        self.buffer[..4].copy_from_slice(&length.to_be_bytes());
        self.buffer.split().freeze()
    }

    /// A frame with a reply header.
    pub fn reply(&mut self, xid: i32, zxid: Zxid, err: i32, body: impl FnOnce(&mut BytesMut)) -> Bytes {
        self.frame(|to| {
            put_header(to, xid, zxid, err);
            body(to);
        })
    }

    /// As [`Replies::reply`], for a body that may turn out to be an error on the way: then only the header remains.
    pub fn try_reply(
        &mut self,
        xid: i32,
        zxid: Zxid,
        body: impl FnOnce(&mut BytesMut) -> Result<(), i32>,
    ) -> Bytes {
        self.frame(|to| {
            put_header(to, xid, zxid, 0);
            let at = to.len();
            if let Err(err) = body(to) {
                to.truncate(at);
                to[at - 4..].copy_from_slice(&err.to_be_bytes());
            }
        })
    }
}

fn put_header(to: &mut BytesMut, xid: i32, zxid: Zxid, err: i32) {
    to.put_i32(xid);
    to.put_i64(zxid);
    to.put_i32(err);
}

pub(super) fn put_buffer(to: &mut BytesMut, data: Option<&[u8]>) {
    match data {
        None => to.put_i32(-1),
        Some(data) => {
            to.put_i32(data.len() as i32);
            to.put_slice(data);
        }
    }
}

pub(super) fn put_stat(to: &mut BytesMut, stat: &Stat) {
    stat.write(to);
}

/// The body that answers a committed write, by what the client asked for.
pub(super) fn put_written(to: &mut BytesMut, asked: i32, outcome: &Outcome) {
    match asked {
        op::CREATE => outcome.path.write(to),
        op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => {
            outcome.path.write(to);
            put_stat(to, &outcome.stat);
        }
        op::SET_DATA | op::SET_ACL => put_stat(to, &outcome.stat),
        op::MULTI => put_multi(to, &outcome.parts),
        _ => {}
    }
}

fn put_multi(to: &mut BytesMut, parts: &[Outcome]) {
    for part in parts {
        match part.kind {
            op::CREATE => {
                put_part(to, op::CREATE);
                part.path.write(to);
            }
            op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => {
                put_part(to, op::CREATE2);
                part.path.write(to);
                put_stat(to, &part.stat);
            }
            op::SET_DATA => {
                put_part(to, op::SET_DATA);
                put_stat(to, &part.stat);
            }
            op::DELETE | op::CHECK => put_part(to, part.kind),
            _ => put_error_part(to, part.err),
        }
    }
    MultiHeader::END.write(to);
}

/// The header of a part that went well.
pub(super) fn put_part(to: &mut BytesMut, op: i32) {
    MultiHeader { op, done: false, err: err::OK }.write(to);
}

/// A part that did not, with its code twice.
pub(super) fn put_error_part(to: &mut BytesMut, err: i32) {
    MultiHeader { op: op::ERROR, done: false, err }.write(to);
    to.put_i32(err);
}

pub(super) fn put_names<'a>(to: &mut BytesMut, names: impl ExactSizeIterator<Item = &'a str>) {
    to.put_i32(names.len() as i32);
    for name in names {
        put_buffer(to, Some(name.as_bytes()));
    }
}

/// The path of a sync, as it came.
pub(super) fn put_path(to: &mut BytesMut, path: &Option<Str>) {
    path.write(to);
}
