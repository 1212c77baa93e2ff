//! The database as a stream: sessions, ACLs, nodes with parents first, and a closing `/`. The body of a snapshot
//! file, and what follows a SNAP packet.

use super::Database;
use crate::tree::NodeStat;
use bytes::{BufMut, Bytes, BytesMut};
use wire::Str;
use wire::jute::{DecodeError, Reader, Record};
use wire::zk::Acl;

impl Database {
    /// Sessions, ACLs, nodes, and the closing `/`: the body of a snapshot file and of a SNAP stream
    /// (without header, checksums and signature).
    pub fn encode_stream(&self, to: &mut BytesMut) {
        let mut cursor = SnapshotCursor::new();
        while !cursor.next(self, usize::MAX, to) {}
    }

    /// The reverse. `last_zxid` is 0: the caller knows it (file name, SNAP packet).
    pub fn decode_stream(from: &mut Reader) -> Result<Database, DecodeError> {
        let mut db = Database::bare();
        let sessions: i32 = from.read()?;
        for _ in 0..sessions {
            let (session, timeout) = (from.read()?, from.read()?);
            db.sessions.insert(session, timeout);
        }
        let acls: i32 = from.read()?;
        for _ in 0..acls {
            let index = from.read()?;
            let acl: Vec<Acl> = from.read()?;
            db.acls.load(index, &acl);
        }
        loop {
            let at = from.position();
            let path: Str = from.read()?;
            if path == "/" {
                break;
            }
            db.decode_node(&path, at, from)?;
        }
        db.find_quotas();
        db.acls.purge();
        Ok(db)
    }

    fn decode_node(&mut self, path: &str, at: usize, from: &mut Reader) -> Result<(), DecodeError> {
        let data: Option<Bytes> = from.read()?;
        let acl = from.read()?;
        let stat = NodeStat {
            czxid: from.read()?,
            mzxid: from.read()?,
            ctime: from.read()?,
            mtime: from.read()?,
            version: from.read()?,
            cversion: from.read()?,
            aversion: from.read()?,
            ephemeral_owner: from.read()?,
            pzxid: from.read()?,
        };
        // A fuzzy snapshot may hold a node twice: the later one counts.
        if let Some(old) = self.tree.get(path).map(|node| node.acl) {
            self.acls.release(old);
        }
        self.acls.load_use(acl);
        if !self.tree.insert(path, data.as_deref(), acl, stat) {
            return Err(DecodeError::Orphan { at, path: path.to_owned() });
        }
        self.enlist(path, crate::tree::Lifetime::of(stat.ephemeral_owner));
        Ok(())
    }
}

/// Where a snapshot stands that is written piece by piece while the database goes on changing. Such a snapshot is
/// fuzzy: replaying the log from where it began makes it whole.
#[derive(Debug, Default)]
pub struct SnapshotCursor {
    at: Position,
}

#[derive(Debug, Default)]
enum Position {
    #[default]
    Start,
    /// The last path that was written.
    Behind(String),
    Done,
}

impl SnapshotCursor {
    /// Begins with the next call of [`SnapshotCursor::next`]; note the database's last zxid then.
    pub fn new() -> SnapshotCursor {
        SnapshotCursor::default()
    }

    /// Appends the next piece, somewhat more than `budget` bytes at most. True: that was the last one.
    pub fn next(&mut self, db: &Database, budget: usize, to: &mut BytesMut) -> bool {
        let limit = to.len().saturating_add(budget);
        while to.len() < limit {
            match &self.at {
                Position::Start => {
                    encode_tables(db, to);
                    encode_node(db, "", to);
                    self.at = Position::Behind(String::new());
                }
                Position::Behind(path) => match db.tree.next_after(path) {
                    Some(next) => {
                        encode_node(db, &next, to);
                        self.at = Position::Behind(next);
                    }
                    None => {
                        Str::from_static("/").write(to);
                        self.at = Position::Done;
                    }
                },
                Position::Done => break,
            }
        }
        matches!(self.at, Position::Done)
    }
}

fn encode_tables(db: &Database, to: &mut BytesMut) {
    to.put_i32(db.sessions.len() as i32);
    for (session, timeout) in &db.sessions {
        to.put_i64(*session);
        to.put_i32(*timeout);
    }
    to.put_i32(db.acls.len() as i32);
    for (index, acl) in db.acls.iter() {
        to.put_i64(index);
        to.put_i32(acl.len() as i32);
        acl.iter().for_each(|entry| entry.write(to));
    }
}

fn encode_node(db: &Database, path: &str, to: &mut BytesMut) {
    let Some(node) = db.tree.get(path) else { return };
    let stat = node.node_stat();
    to.reserve(path.len() + node.data_len() + 84);
    put_slice(to, path.as_bytes());
    match node.data() {
        Some(data) => put_slice(to, data),
        None => to.put_i32(-1),
    }
    for long in [node.acl, stat.czxid, stat.mzxid, stat.ctime, stat.mtime] {
        to.put_i64(long);
    }
    for int in [stat.version, stat.cversion, stat.aversion] {
        to.put_i32(int);
    }
    to.put_i64(stat.ephemeral_owner);
    to.put_i64(stat.pzxid);
}

fn put_slice(to: &mut BytesMut, bytes: &[u8]) {
    to.put_i32(bytes.len() as i32);
    to.put_slice(bytes);
}
