//! The database as a stream: sessions, ACLs, nodes with parents first, and a closing `/`. The body of a snapshot
//! file, and what follows a SNAP packet.

use super::Database;
use crate::tree::{Loader, Node, NodeStat, Walk};
use bytes::{BufMut, Bytes, BytesMut};
use wire::Str;
use wire::jute::{DecodeError, Reader, Record};
use wire::zk::Acl;
use wire::zk::quorum::SNAP_SIGNATURE;

impl Database {
    /// Sessions, ACLs, nodes, and the closing `/`: the body of a snapshot file and of a SNAP stream
    /// (without header, checksums and signature).
    pub fn encode_stream(&self, to: &mut BytesMut) {
        let mut cursor = SnapshotCursor::new();
        while !cursor.next(self, usize::MAX, to) {}
    }

    /// The reverse. `last_zxid` is 0: the caller knows it (file name, SNAP packet).
    pub fn decode_stream(from: &mut Reader) -> Result<Database, DecodeError> {
        let mut decoder = SnapshotDecoder::new();
        match decoder.take(from)? {
            true => Ok(decoder.finish()),
            false => Err(DecodeError::Short { at: from.position(), wanted: 4 }),
        }
    }

    fn decode_tables(&mut self, from: &mut Reader) -> Result<(), DecodeError> {
        let sessions: i32 = from.read()?;
        for _ in 0..sessions {
            let (session, timeout) = (from.read()?, from.read()?);
            self.sessions.insert(session, timeout);
        }
        let acls: i32 = from.read()?;
        for _ in 0..acls {
            let index = from.read()?;
            let acl: Vec<Acl> = from.read()?;
            self.acls.load(index, &acl);
        }
        Ok(())
    }

    fn decode_node(
        &mut self,
        loader: &mut Loader,
        path: &str,
        at: usize,
        from: &mut Reader,
    ) -> Result<(), DecodeError> {
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
        let Some(before) = loader.insert(&mut self.tree, path, data.as_deref(), acl, stat) else {
            return Err(DecodeError::Orphan { at, path: path.to_owned() });
        };
        self.acls.load_use(acl);
        // A fuzzy snapshot may hold a node twice: the later one counts.
        if let Some(before) = before {
            self.acls.release(before);
        }
        self.enlist(path, crate::tree::Lifetime::of(stat.ephemeral_owner));
        Ok(())
    }
}

/// A database that is read piece by piece, as a learner receives it: no stream has to be in memory as a whole.
#[derive(Debug)]
pub struct SnapshotDecoder {
    db: Database,
    loader: Loader,
    /// Sessions and ACLs have been read.
    tables: bool,
}

impl Default for SnapshotDecoder {
    fn default() -> SnapshotDecoder {
        SnapshotDecoder { db: Database::bare(), loader: Loader::default(), tables: false }
    }
}

impl SnapshotDecoder {
    pub fn new() -> SnapshotDecoder {
        SnapshotDecoder::default()
    }

    /// Takes the next piece, which ends between two nodes: the first one holds both tables at least. True: the closing
    /// `/` was read, and nothing behind it.
    pub fn take(&mut self, from: &mut Reader) -> Result<bool, DecodeError> {
        if !self.tables {
            self.db.decode_tables(from)?;
            self.tables = true;
        }
        while from.remaining() > 0 {
            if self.take_node(from)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As [`SnapshotDecoder::take`] of a piece that ends anywhere: what is not whole is left unread.
    pub fn take_whole(&mut self, from: &mut Reader) -> Result<bool, DecodeError> {
        loop {
            let at = from.position();
            let taken = match self.tables {
                true => self.take_node(from),
                // Once more from the beginning, if need be: the same sessions and ACLs.
                false => self.db.decode_tables(from).map(|()| {
                    self.tables = true;
                    false
                }),
            };
            match taken {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(DecodeError::Short { .. }) => {
                    from.go_back(at);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One node; true: it was the closing `/` instead.
    fn take_node(&mut self, from: &mut Reader) -> Result<bool, DecodeError> {
        let at = from.position();
        let path: Str = from.read()?;
        if path == "/" {
            return Ok(true);
        }
        self.db.decode_node(&mut self.loader, &path, at, from)?;
        Ok(false)
    }

    pub fn finish(mut self) -> Database {
        self.db.find_quotas();
        self.db.acls.purge();
        self.db
    }
}

/// What follows a SNAP packet, begun at the state that the packet names, and as fuzzy behind that as any snapshot that
/// is written piece by piece: the transactions that come behind it make it whole.
#[derive(Debug)]
pub struct SnapshotStream {
    /// Sessions, ACLs and the root, until they are sent.
    head: BytesMut,
    cursor: SnapshotCursor,
}

impl SnapshotStream {
    pub fn begin(db: &Database) -> SnapshotStream {
        let (mut head, mut cursor) = (BytesMut::new(), SnapshotCursor::new());
        cursor.next(db, 1, &mut head);
        SnapshotStream { head, cursor }
    }

    /// Appends the next piece, somewhat more than `budget` bytes at most. True: that was the last one, with the
    /// signature.
    pub fn next(&mut self, db: &Database, budget: usize, to: &mut BytesMut) -> bool {
        if !self.head.is_empty() {
            to.unsplit(self.head.split());
        }
        let last = self.cursor.next(db, budget, to);
        if last {
            Str::from_static(SNAP_SIGNATURE).write(to);
        }
        last
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
                    if let Some(root) = db.tree.get("") {
                        encode_node("", root, to);
                    }
                    self.at = Position::Behind(String::new());
                }
                Position::Behind(path) => {
                    let mut walk = Walk::behind(&db.tree, path);
                    self.at = loop {
                        let Some((key, node)) = walk.next() else {
                            Str::from_static("/").write(to);
                            break Position::Done;
                        };
                        encode_node(key, node, to);
                        if to.len() >= limit {
                            break Position::Behind(walk.into_key());
                        }
                    };
                }
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

fn encode_node(path: &str, node: Node<'_>, to: &mut BytesMut) {
    let stat = node.node_stat();
    to.reserve(path.len() + node.data_len() + 84);
    put_slice(to, path.as_bytes());
    match node.data() {
        Some(data) => put_slice(to, data),
        None => to.put_i32(-1),
    }
    for long in [node.acl(), stat.czxid, stat.mzxid, stat.ctime, stat.mtime] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::world;
    use crate::rig::Rig;
    use proptest::prelude::*;
    use wire::zk::txn::Txn;
    use wire::zk::{
        CreateRequest, CreateTtlRequest, DeleteRequest, MultiHeader, PathRequest, SetAclRequest,
        SetDataRequest, op, perm,
    };

    fn encoded(db: &Database) -> Bytes {
        let mut to = BytesMut::new();
        db.encode_stream(&mut to);
        to.freeze()
    }

    fn decoded(bytes: Bytes) -> Result<Database, DecodeError> {
        let mut from = Reader::new(bytes);
        let db = Database::decode_stream(&mut from)?;
        assert_eq!(from.remaining(), 0);
        Ok(db)
    }

    fn check_same(a: &Database, b: &Database) {
        assert_eq!(encoded(a), encoded(b));
        assert_eq!(a.digest(), b.digest());
        assert_eq!((a.node_count(), a.data_size()), (b.node_count(), b.data_size()));
        assert_eq!(a.sessions(), b.sessions());
        assert_eq!(a.ephemerals(), b.ephemerals());
        assert_eq!(a.all_reapable(i64::MAX, 1), b.all_reapable(i64::MAX, 1));
        assert_eq!(a.ephemerals_count(), b.ephemerals_count());
    }

    #[test]
    fn a_fresh_stream_has_the_four_nodes_and_one_acl() {
        let bytes = encoded(&Database::new());
        // No sessions; one ACL with index 1: world:anyone:r.
        assert_eq!(bytes[..20], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert!(bytes.ends_with(&[0, 0, 0, 1, b'/']));
        check_same(&decoded(bytes).unwrap(), &Database::new());
    }

    #[test]
    fn a_stream_that_ends_early_or_lacks_a_parent_is_refused() {
        let bytes = encoded(&Database::new());
        for len in 0..bytes.len() {
            assert!(Database::decode_stream(&mut Reader::new(bytes.slice(..len))).is_err(), "{len}");
        }
        let mut orphan = vec![0; 8];
        orphan.extend_from_slice(b"\0\0\0\x02/x\xff\xff\xff\xff");
        orphan.extend_from_slice(&[0; 76]);
        let error = decoded(orphan.into()).unwrap_err();
        assert_eq!(error.to_string(), "the node \"/x\" at byte 8 comes before its parent");
    }

    #[test]
    fn pieces_may_end_anywhere_and_nothing_is_taken_twice() {
        let mut rig = Rig::new();
        (1..4).for_each(|conn| {
            rig.session(conn);
            rig.request(conn, 1, op::CREATE, create(&format!("/e{conn}"), 1));
            rig.request(conn, 2, op::CREATE, create(&format!("/e{conn}/"), 0));
        });
        let bytes = encoded(&rig.db);
        for len in [1, 7, 64, 1000] {
            let (mut decoder, mut left, mut done) = (SnapshotDecoder::new(), vec![], false);
            for piece in bytes.chunks(len) {
                assert!(!done);
                let mut from = Reader::new([&left[..], piece].concat().into());
                done = decoder.take_whole(&mut from).unwrap();
                left = from.rest().to_vec();
            }
            assert!(done && left.is_empty());
            check_same(&decoder.finish(), &rig.db);
        }
    }

    #[test]
    fn quotas_are_counted_again_when_loaded() {
        let mut rig = Rig::new();
        rig.session(1);
        let mut create = |path: &str, data: &'static str| {
            let data = Some(Bytes::from_static(data.as_bytes()));
            let request = CreateRequest { path: path.into(), data, acl: vec![world(perm::ALL)], flags: 0 };
            assert_eq!(rig.code(1, op::CREATE, request), 0, "{path}");
        };
        create("/q", "12");
        create("/zookeeper/quota/q", "");
        create("/zookeeper/quota/q/zookeeper_limits", "count=2,bytes=-1=;countHardLimit=3");
        create("/zookeeper/quota/q/zookeeper_stats", "");
        create("/q/a", "345");
        create("/q/b", "");
        let stats = |db: &Database| {
            let node = db.node("/zookeeper/quota/q/zookeeper_stats").unwrap();
            (String::from_utf8(node.data().unwrap().to_vec()).unwrap(), node.stat().version)
        };
        assert_eq!(stats(&rig.db), ("count=3,bytes=5".to_owned(), 0));
        assert!(rig.db.breaks_quota("/q/c", 0, 1) && !rig.db.breaks_quota("/r", 0, 1));
        let loaded = decoded(encoded(&rig.db)).unwrap();
        assert_eq!(stats(&loaded), stats(&rig.db));
        assert!(loaded.breaks_quota("/q/c", 0, 1));
        rig.code(1, op::DELETE, DeleteRequest { path: "/q/a".into(), version: -1 });
        assert_eq!(stats(&rig.db).0, "count=2,bytes=2");
        rig.code(
            1,
            op::DELETE,
            DeleteRequest { path: "/zookeeper/quota/q/zookeeper_limits".into(), version: -1 },
        );
        assert!(!rig.db.breaks_quota("/q/c", 0, 9));
    }

    /// Something a client may ask for, on few enough paths that requests meet.
    #[derive(Debug, Clone)]
    enum Ask {
        Create { kind: i32, path: String, flags: i32 },
        Delete { path: String },
        Reap { path: String },
        Set { path: String, len: usize },
        SetAcl { path: String, perms: i32 },
        Multi { first: String, second: String },
        Close,
    }

    fn path() -> impl Strategy<Value = String> {
        "(/[ab]){1,3}"
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let kind = prop::sample::select(vec![op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL]);
        prop_oneof![
            6 => (kind, path(), 0..7).prop_map(|(kind, path, flags)| Ask::Create { kind, path, flags }),
            3 => path().prop_map(|path| Ask::Delete { path }),
            1 => path().prop_map(|path| Ask::Reap { path }),
            2 => (path(), 0usize..40).prop_map(|(path, len)| Ask::Set { path, len }),
            2 => (path(), 1..32).prop_map(|(path, perms)| Ask::SetAcl { path, perms }),
            2 => (path(), path()).prop_map(|(first, second)| Ask::Multi { first, second }),
            1 => Just(Ask::Close),
        ]
    }

    fn create(path: &str, flags: i32) -> CreateRequest {
        CreateRequest { path: path.into(), data: Some(Bytes::from_static(b"d")), acl: vec![world(31)], flags }
    }

    fn send(rig: &mut Rig, conn: u64, ask: &Ask) {
        match ask {
            Ask::Create { kind: op::CREATE_TTL, path, flags } => {
                let CreateRequest { path, data, acl, flags } = create(path, *flags);
                rig.request(conn, 1, op::CREATE_TTL, CreateTtlRequest { path, data, acl, flags, ttl: 5 });
            }
            Ask::Create { kind, path, flags } => rig.request(conn, 1, *kind, create(path, *flags)),
            Ask::Delete { path } => {
                rig.request(conn, 1, op::DELETE, DeleteRequest { path: path.as_str().into(), version: -1 });
            }
            Ask::Reap { path } => {
                rig.request(conn, 1, op::DELETE_CONTAINER, PathRequest { path: path.as_str().into() });
            }
            Ask::Set { path, len } => {
                let data = Some(Bytes::from(vec![7; *len]));
                rig.request(
                    conn,
                    1,
                    op::SET_DATA,
                    SetDataRequest { path: path.as_str().into(), data, version: -1 },
                );
            }
            Ask::SetAcl { path, perms } => {
                let acl = vec![world(*perms | perm::ADMIN | perm::CREATE)];
                rig.request(
                    conn,
                    1,
                    op::SET_ACL,
                    SetAclRequest { path: path.as_str().into(), acl, version: -1 },
                );
            }
            Ask::Multi { first, second } => {
                let mut body = BytesMut::new();
                MultiHeader { op: op::CREATE, done: false, err: -1 }.write(&mut body);
                create(first, 1).write(&mut body);
                MultiHeader { op: op::DELETE, done: false, err: -1 }.write(&mut body);
                DeleteRequest { path: second.as_str().into(), version: -1 }.write(&mut body);
                MultiHeader::END.write(&mut body);
                let head = crate::rig::frame(1, op::MULTI, &());
                rig.frame(conn, [&head[..], &body[..]].concat().into());
            }
            Ask::Close => rig.request(conn, 1, op::CLOSE_SESSION, ()),
        }
    }

    /// Proposes all that waits, and only then commits it: the preparation works on what is pending.
    fn settle_late(rig: &mut Rig) {
        let asked = std::mem::take(&mut rig.up);
        let txns: Vec<Txn> = asked
            .into_iter()
            .filter_map(|upcall| match upcall {
                crate::front::Upcall::Write(request) => Some(rig.propose(&request)),
                _ => None,
            })
            .collect();
        txns.iter().for_each(|txn| rig.commit(txn));
        assert_eq!(rig.prepare.pending(), 0);
    }

    fn check_whole(db: &Database) {
        let mut nodes = 0;
        let ephemerals: usize = db.ephemerals().values().map(|paths| paths.len()).sum();
        assert_eq!(db.ephemerals_count(), ephemerals);
        db.tree.walk_below("", &mut |path, node| {
            nodes += 1;
            let mut below = (0, 0);
            db.tree.walk_below(path, &mut |_, node| {
                below = (below.0 + 1, below.1 + node.data_len() as u64);
            });
            assert_eq!(node.below(), below, "{path}");
            let (parent, name) = path.rsplit_once('/').unwrap();
            assert!(db.node(parent).unwrap().children().any(|child| child == name));
            for child in node.children() {
                assert!(db.node(&format!("{path}/{child}")).is_some());
            }
        });
        // Nothing hangs about without a parent.
        assert_eq!(nodes + 1, db.tree.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        /// The leader's forecast of the digest holds, the tree stays whole, a snapshot gives the same state, and so
        /// does one that was written while changes went on, once the log is replayed over it.
        #[test]
        fn any_history_keeps_the_tree_whole_and_survives_its_snapshots(
            rounds in prop::collection::vec(prop::collection::vec((0u64..3, ask()), 1..6), 1..16),
            begin in 0usize..8,
            budget in 1usize..200,
        ) {
            let mut rig = Rig::new();
            let mut conns = [1, 2, 3];
            let mut next = 4;
            conns.iter().for_each(|conn| { rig.session(*conn); });
            let mut cursor = SnapshotCursor::new();
            let (mut piece, mut started, mut done) = (BytesMut::new(), None, false);
            for (round, asks) in rounds.iter().enumerate() {
                if round >= begin && !done {
                    started.get_or_insert(rig.db.last_zxid());
                    done = cursor.next(&rig.db, budget, &mut piece);
                }
                asks.iter().for_each(|(conn, ask)| send(&mut rig, conns[*conn as usize], ask));
                settle_late(&mut rig);
                for conn in &mut conns {
                    if !rig.front.is_connected(crate::ConnId(*conn)) {
                        rig.session(next);
                        *conn = next;
                        next += 1;
                    }
                }
                prop_assert_eq!(rig.db.digest_mismatches(), 0);
                check_whole(&rig.db);
            }
            check_same(&decoded(encoded(&rig.db)).unwrap(), &rig.db);

            let started = *started.get_or_insert(rig.db.last_zxid());
            while !done {
                done = cursor.next(&rig.db, budget, &mut piece);
            }
            let mut replayed = decoded(piece.freeze()).unwrap();
            rig.log.iter().filter(|txn| txn.header.zxid > started).for_each(|txn| replayed.replay(txn));
            check_whole(&replayed);
            check_replayed(&replayed, &rig.db);
        }
    }

    /// As [`check_same`], but for the numbers of the ACLs.
    fn check_replayed(a: &Database, b: &Database) {
        assert_eq!(a.digest(), b.digest());
        assert_eq!((a.sessions(), a.ephemerals()), (b.sessions(), b.ephemerals()));
        b.tree.walk_below("/", &mut |path, node| {
            let same = a.node(path).unwrap_or_else(|| panic!("{path} is missing"));
            assert_eq!((same.data(), same.stat()), (node.data(), node.stat()), "{path}");
            assert_eq!(a.acl_of(same), b.acl_of(node), "{path}");
        });
        assert_eq!(a.acls.len(), b.acls.len());
    }
}
