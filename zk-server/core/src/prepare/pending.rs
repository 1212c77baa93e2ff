//! How nodes will look once everything that is proposed is applied.

use crate::acl::AclList;
use crate::database::{DIGEST_VERSION, Database};
use crate::hash::Map;
use crate::path;
use crate::tree::{Lifetime, NodeStat, is_digested, prefix_crc};
use std::collections::{BTreeSet, VecDeque};
use wire::Str;
use wire::zk::txn::TxnDigest;
use wire::zk::{SessionId, Zxid};

/// A node after a change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub stat: NodeStat,
    pub children: i32,
    pub acl: AclList,
    /// CRC over path and data, for the digest.
    prefix: u32,
    pub data_len: usize,
}

impl Change {
    pub fn created(path: &str, data: Option<&[u8]>, acl: AclList, stat: NodeStat) -> Change {
        let mut change = Change { stat, children: 0, acl, prefix: 0, data_len: 0 };
        change.set_data(path, data);
        change
    }

    pub fn set_data(&mut self, path: &str, data: Option<&[u8]>) {
        self.prefix = prefix_crc(path::key(path), data);
        self.data_len = data.unwrap_or_default().len();
    }

    fn digest(&self, key: &str) -> u64 {
        if is_digested(key) { self.stat.digest(self.prefix) } else { 0 }
    }
}

#[derive(Debug)]
struct Latest {
    zxid: Zxid,
    /// `None`: deleted.
    change: Option<Change>,
}

#[derive(Debug)]
struct Undo {
    path: Str,
    before: Option<Latest>,
    digest: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    /// By the key of the path.
    latest: Map<Str, Latest>,
    /// Every change in its order, to be forgotten once it is applied.
    order: VecDeque<(Zxid, Str)>,
    /// Ephemeral nodes that changes created; some may be deleted again.
    ephemerals: BTreeSet<(SessionId, Str)>,
    /// The tree's digest once all is applied. Not kept while nothing is pending.
    digest: u64,
    /// Set while a multi is under way.
    undo: Option<Vec<Undo>>,
}

impl Pending {
    /// Call before a request is looked at.
    pub fn begin(&mut self, db: &Database) {
        if self.order.is_empty() {
            self.digest = db.tree.digest();
        }
    }

    pub fn digest(&self) -> TxnDigest {
        TxnDigest { version: DIGEST_VERSION, digest: self.digest as i64 }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn get(&self, db: &Database, path: &str) -> Option<Change> {
        let key = path::key(path);
        if let Some(latest) = self.latest.get(key) {
            return latest.change.clone();
        }
        let node = db.tree.get(key)?;
        Some(Change {
            stat: node.node_stat(),
            children: node.children_len() as i32,
            acl: db.acl_of(node),
            prefix: node.prefix(),
            data_len: node.data_len(),
        })
    }

    pub fn put(&mut self, db: &Database, zxid: Zxid, path: &Str, change: Option<Change>) {
        let key = path.slice_ref(path::key(path));
        let before = self.get(db, &key).map_or(0, |change| change.digest(&key));
        let after = change.as_ref().map_or(0, |change| change.digest(&key));
        if let Some(Lifetime::Session(session)) =
            change.as_ref().map(|c| Lifetime::of(c.stat.ephemeral_owner))
        {
            self.ephemerals.insert((session, key.clone()));
        }
        let previous = self.latest.insert(key.clone(), Latest { zxid, change });
        if let Some(undo) = &mut self.undo {
            undo.push(Undo { path: key.clone(), before: previous, digest: self.digest });
        }
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        self.order.push_back((zxid, key));
    }

    /// From now on changes can be undone.
    pub fn begin_multi(&mut self) {
        self.undo = Some(vec![]);
    }

    /// Ends what [`Pending::begin_multi`] began.
    pub fn end_multi(&mut self, keep: bool) {
        for undo in self.undo.take().into_iter().flatten().rev().filter(|_| !keep) {
            self.order.pop_back();
            self.digest = undo.digest;
            let after = match undo.before {
                Some(before) => self.latest.insert(undo.path.clone(), before),
                None => self.latest.remove(&undo.path),
            };
            self.forget_ephemeral(after, undo.path);
        }
    }

    pub fn committed(&mut self, zxid: Zxid) {
        while let Some((_, path)) = self.order.pop_front_if(|(at, _)| *at <= zxid) {
            if self.latest.get(&path).is_some_and(|latest| latest.zxid <= zxid) {
                let latest = self.latest.remove(&path);
                self.forget_ephemeral(latest, path);
            }
        }
        if self.order.is_empty() {
            self.ephemerals.clear();
        }
    }

    fn forget_ephemeral(&mut self, gone: Option<Latest>, path: Str) {
        if let Some(change) = gone.and_then(|gone| gone.change)
            && let Lifetime::Session(session) = Lifetime::of(change.stat.ephemeral_owner)
            && !self.owns(session, &path)
        {
            self.ephemerals.remove(&(session, path));
        }
    }

    /// The latest change leaves the node to this session.
    fn owns(&self, session: SessionId, key: &str) -> bool {
        let change = self.latest.get(key).and_then(|latest| latest.change.as_ref());
        change.is_some_and(|change| change.stat.ephemeral_owner == session)
    }

    /// What a session will own, in the order of the paths.
    pub fn ephemerals_of(&self, db: &Database, session: SessionId) -> Vec<Str> {
        let stored = db.ephemerals_of(session).filter(|path| !self.latest.contains_key(*path)).map(Str::from);
        let from = (session, Str::new());
        let created = self.ephemerals.range(from..).take_while(|(owner, _)| *owner == session);
        let created = created.map(|(_, path)| path).filter(|path| self.owns(session, path)).cloned();
        // A stored one may also have been changed, not created, by what is pending.
        let changed = db.ephemerals_of(session).filter(|path| self.owns(session, path)).map(Str::from);
        let all: BTreeSet<Str> = stored.chain(created).chain(changed).collect();
        all.into_iter().collect()
    }
}
