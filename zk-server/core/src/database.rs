//! The replicated state: the tree, the sessions, and how far the history has been applied.

mod apply;
mod namespaces;
mod snapshot;

pub use apply::Outcome;
pub use namespaces::QuotaTotals;
pub use snapshot::{SnapshotCursor, SnapshotDecoder, SnapshotStream};

use crate::acl::{AclList, AclTable};
use crate::path;
use crate::quota::{self, Excess, Figures, Quotas};
use crate::tree::{Lifetime, Node, NodeStat, Tree};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use wire::Str;
use wire::zk::txn::{Txn, TxnDigest};
use wire::zk::{SessionId, Stat, Zxid, perm};

/// Which way the digest is calculated.
pub const DIGEST_VERSION: i32 = 2;
/// Every how many transactions the digest is kept, and how many are kept (`hash`).
const DIGEST_INTERVAL: i64 = 128;
const DIGEST_LOG: usize = 1024;

/// The digest of the tree once a transaction was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZxidDigest {
    pub zxid: Zxid,
    pub digest: i64,
}

/// Who is told of each change while a transaction is applied. ACLs are those of the node and of its parent; `None`
/// is the open one.
pub trait Observer {
    fn created(&mut self, path: &str, acl: &AclList, parent_acl: &AclList);
    fn deleted(&mut self, path: &str, acl: &AclList, parent_acl: &AclList);
    fn data_changed(&mut self, path: &str, acl: &AclList);
}

/// Nobody.
impl Observer for () {
    fn created(&mut self, _: &str, _: &AclList, _: &AclList) {}
    fn deleted(&mut self, _: &str, _: &AclList, _: &AclList) {}
    fn data_changed(&mut self, _: &str, _: &AclList) {}
}

/// Where a look for nodes whose time is over stands, which is made piece by piece.
#[derive(Debug, Default)]
pub struct ReapCursor {
    /// The last one that was looked at, of the list that is being looked through.
    behind: Option<Box<str>>,
    containers_done: bool,
    done: bool,
}

impl ReapCursor {
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Looks at `left` paths at most; what is left of that is not 0 where the list has come to its end.
    fn look(
        &mut self,
        list: &BTreeSet<Box<str>>,
        left: &mut usize,
        is_over: impl Fn(&str) -> bool,
        found: &mut Vec<Str>,
    ) {
        let from = self.behind.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for path in list.range((from, Bound::Unbounded)).take(*left) {
            if is_over(path) {
                found.push(Str::from(&**path));
            }
            *left -= 1;
            last = Some(path);
        }
        if *left == 0 {
            self.behind = last.cloned();
        }
    }
}

/// What every server agrees on, and what a snapshot holds.
#[derive(Debug)]
pub struct Database {
    pub(crate) tree: Tree,
    pub(crate) acls: AclTable,
    /// Time-outs in milliseconds.
    sessions: BTreeMap<SessionId, i32>,
    ephemerals: BTreeMap<SessionId, BTreeSet<Box<str>>>,
    /// Of all sessions.
    ephemerals_count: usize,
    containers: BTreeSet<Box<str>>,
    ttls: BTreeSet<Box<str>>,
    quotas: Quotas,
    last_zxid: Zxid,
    applied: Option<ZxidDigest>,
    digest_log: VecDeque<ZxidDigest>,
    digest_mismatches: u64,
    /// Owners below zero are read as 3.5.3 meant them (`emulate353TTLNodes`).
    emulates_353: bool,
}

impl Default for Database {
    fn default() -> Database {
        Database::new()
    }
}

impl Database {
    /// An empty tree with ZooKeeper's own nodes.
    pub fn new() -> Database {
        let mut db = Database::bare();
        for path in ["", path::ZOOKEEPER, path::CONFIG, path::QUOTA] {
            db.tree.insert(path, Some(&[]), crate::acl::OPEN, NodeStat::default());
        }
        let acl = db.acls.acquire(&[crate::acl::world(perm::READ)]);
        db.tree.set_acl(path::CONFIG, acl);
        db.tree.update(path::CONFIG, |stat| stat.aversion = -1);
        db
    }

    /// Without even a root.
    fn bare() -> Database {
        Database {
            tree: Tree::default(),
            acls: AclTable::default(),
            sessions: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            ephemerals_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: Quotas::default(),
            last_zxid: 0,
            applied: None,
            digest_log: VecDeque::new(),
            digest_mismatches: 0,
            emulates_353: false,
        }
    }

    /// zxid of the last applied transaction.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// Replays one transaction while loading: as [`crate::front::Front::committed`], but nobody is told.
    /// Repeating what a snapshot already holds does no harm.
    pub fn replay(&mut self, txn: &Txn) {
        // Over a snapshot that was taken while changes went on, digests differ on the way: that is no news.
        let mismatches = self.digest_mismatches;
        self.apply(txn, &mut ());
        self.digest_mismatches = mismatches;
    }

    /// Puts the membership's text into `/zookeeper/config`, outside of any transaction, as each member does when it
    /// starts. `version` (the configuration's) becomes the node's mzxid.
    pub fn set_config(&mut self, text: &[u8], version: i64, wall: i64) {
        self.tree.set_data(path::CONFIG, Some(text), |stat| {
            stat.version = -1;
            stat.mzxid = version;
            stat.mtime = wall;
        });
    }

    /// Time-outs in milliseconds, by id.
    pub fn sessions(&self) -> &BTreeMap<SessionId, i32> {
        &self.sessions
    }

    /// Paths by owner.
    pub fn ephemerals(&self) -> &BTreeMap<SessionId, BTreeSet<Box<str>>> {
        &self.ephemerals
    }

    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// The next `max` ephemeral nodes behind one, by owner and path.
    pub fn some_ephemerals(
        &self,
        behind: Option<(SessionId, &str)>,
        max: usize,
    ) -> Vec<(SessionId, Arc<str>)> {
        let first = behind.map_or(SessionId::MIN, |(session, _)| session);
        let rest = |session: SessionId| match behind {
            Some((last, path)) if last == session => Bound::Excluded(path),
            _ => Bound::Unbounded,
        };
        let all = self.ephemerals.range(first..).flat_map(|(session, paths)| {
            let paths = paths.range::<str, _>((rest(*session), Bound::Unbounded));
            paths.map(|path| (*session, Arc::from(&**path)))
        });
        all.take(max).collect()
    }

    /// Sessions that own nodes but are not known: a standalone server closes them when it starts.
    pub fn orphaned_sessions(&self) -> Vec<SessionId> {
        self.ephemerals.keys().filter(|session| !self.sessions.contains_key(session)).copied().collect()
    }

    /// From now on, owners below zero are times to live: those of the nodes that are there, too.
    pub fn emulate_353(&mut self) {
        self.emulates_353 = true;
        let below_zero: Vec<SessionId> = self.ephemerals.range(..0).map(|(owner, _)| *owner).collect();
        let paths = below_zero.into_iter().filter_map(|owner| self.ephemerals.remove(&owner));
        let paths: Vec<Box<str>> = paths.flatten().collect();
        self.ephemerals_count -= paths.len();
        self.ttls.extend(paths);
    }

    /// What a node's owner says about its end.
    pub fn lifetime(&self, owner: i64) -> Lifetime {
        if self.emulates_353 { Lifetime::of_353(owner) } else { Lifetime::of(owner) }
    }

    /// A node's figures, as clients see them.
    pub fn stat(&self, node: Node<'_>) -> Stat {
        self.shown(node.stat())
    }

    fn shown(&self, stat: Stat) -> Stat {
        let hidden = self.emulates_353 && stat.ephemeral_owner < 0;
        Stat { ephemeral_owner: if hidden { 0 } else { stat.ephemeral_owner }, ..stat }
    }

    pub fn node(&self, path: &str) -> Option<Node<'_>> {
        self.tree.get(path)
    }

    /// `None` for the open ACL.
    pub fn acl_of(&self, node: Node<'_>) -> AclList {
        self.acls.get(node.acl())
    }

    /// Containers and TTL nodes whose time has come (`wall`: ms since 1970): a leader proposes a deleteContainer for
    /// each. Containers that never had a child stay unless they are older than `never_used_ms` (0: stay forever). Looks
    /// at `budget` nodes at most, and moves the cursor behind them.
    pub fn reapable(
        &self,
        wall: i64,
        never_used_ms: i64,
        cursor: &mut ReapCursor,
        budget: usize,
    ) -> Vec<Str> {
        let childless = |path: &str| self.tree.get(path).filter(|node| node.children_len() == 0);
        let age = |node: Node<'_>| wall - node.node_stat().mtime;
        let unused = |path: &str| {
            childless(path).is_some_and(|node| {
                node.node_stat().cversion > 0 || (never_used_ms != 0 && age(node) > never_used_ms)
            })
        };
        let outlived = |path: &str| {
            childless(path).is_some_and(|node| {
                let lifetime = self.lifetime(node.node_stat().ephemeral_owner);
                matches!(lifetime, Lifetime::Ttl(ttl) if ttl != 0 && age(node) > ttl)
            })
        };
        let (mut found, mut left) = (vec![], budget);
        if !cursor.containers_done {
            cursor.look(&self.containers, &mut left, unused, &mut found);
            cursor.containers_done = left > 0;
        }
        if cursor.containers_done {
            cursor.look(&self.ttls, &mut left, outlived, &mut found);
            cursor.done = left > 0;
        }
        found
    }

    /// Nodes as ZooKeeper counts them: the root twice, as `` and `/`.
    pub fn node_count(&self) -> usize {
        self.tree.len() + 1
    }

    /// Bytes of all paths and data (`zk_approximate_data_size`).
    pub fn data_size(&self) -> u64 {
        self.tree.bytes() + 1
    }

    pub fn ephemerals_count(&self) -> usize {
        self.ephemerals_count
    }

    /// The tree's digest, version 2.
    pub fn digest(&self) -> TxnDigest {
        TxnDigest { version: DIGEST_VERSION, digest: self.tree.digest() as i64 }
    }

    /// What a snapshot says of the digest: the last transaction and the digest after it; zeros before the first.
    pub fn snapshot_digest(&self) -> ZxidDigest {
        self.applied.unwrap_or_default()
    }

    /// The digests of every 128th zxid, oldest first.
    pub fn digest_log(&self) -> impl Iterator<Item = &ZxidDigest> {
        self.digest_log.iter()
    }

    /// How many transactions led to another digest here than on the leader.
    pub fn digest_mismatches(&self) -> u64 {
        self.digest_mismatches
    }

    /// The limits that a change of this size below `path` exceeds, as far as usage is known by now, and the path that has
    /// them.
    pub fn quota_excesses<'a>(
        &self,
        path: &'a str,
        bytes: i64,
        count: i64,
    ) -> Option<(&'a str, Vec<Excess>)> {
        let limited = self.quotas.covering(path)?;
        let figures =
            |path: String| self.tree.get(&path).map(|node| Figures::parse(node.data().unwrap_or_default()));
        let (limits, usage) = (figures(quota::limits_path(limited))?, figures(quota::stats_path(limited))?);
        Some((limited, limits.excesses(&usage, bytes, count)))
    }

    /// Whether a change of this size below `path` breaks a hard limit.
    #[cfg(test)]
    pub fn breaks_quota(&self, path: &str, bytes: i64, count: i64) -> bool {
        let excesses = self.quota_excesses(path, bytes, count);
        excesses.is_some_and(|(_, excesses)| excesses.iter().any(|excess| excess.is_hard))
    }
}

#[cfg(test)]
impl Database {
    /// [`Database::reapable`] in pieces of two.
    pub(crate) fn all_reapable(&self, wall: i64, never_used_ms: i64) -> Vec<Str> {
        let (mut cursor, mut found) = (ReapCursor::default(), vec![]);
        while !cursor.is_done() {
            found.extend(self.reapable(wall, never_used_ms, &mut cursor, 2));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_3_5_3_gave_a_time_to_live_is_no_session_s_once_that_is_emulated() {
        let mut db = Database::new();
        let stat = NodeStat::created(1, 1000, Lifetime::Session(i64::MIN | 100));
        db.tree.insert("/old", None, crate::acl::OPEN, stat);
        db.enlist("/old", Lifetime::of(stat.ephemeral_owner));
        assert_eq!(db.orphaned_sessions(), [i64::MIN | 100]);
        db.emulate_353();
        assert_eq!((db.orphaned_sessions(), db.ephemerals_count()), (vec![], 0));
        assert_eq!(db.stat(db.node("/old").unwrap()).ephemeral_owner, 0);
        assert!(db.all_reapable(1100, 0).is_empty());
        assert_eq!(db.all_reapable(1101, 0), ["/old"]);
    }

    #[test]
    fn ephemeral_nodes_are_listed_in_parts() {
        let mut db = Database::new();
        for (owner, path) in [(-5, "/z"), (3, "/b"), (3, "/a"), (9, "/c")] {
            db.enlist(path, Lifetime::Session(owner));
        }
        let (mut all, mut parts) = (vec![], 0);
        loop {
            let behind = all.last().map(|(session, path): &(SessionId, Arc<str>)| (*session, &**path));
            let part = db.some_ephemerals(behind, 2);
            if part.is_empty() {
                break;
            }
            parts += 1;
            all.extend(part);
        }
        let shown: Vec<(SessionId, &str)> = all.iter().map(|(session, path)| (*session, &**path)).collect();
        assert_eq!((shown, parts), (vec![(-5, "/z"), (3, "/a"), (3, "/b"), (9, "/c")], 2));
    }

    #[test]
    fn a_fresh_tree_has_the_figures_of_the_real_server() {
        let db = Database::new();
        assert_eq!(db.digest().digest, 1_371_985_504);
        assert_eq!((db.node_count(), db.data_size(), db.ephemerals_count()), (5, 44, 0));
        assert_eq!(db.node("/").unwrap().stat().cversion, -1);
        let config = db.node("/zookeeper/config").unwrap();
        assert_eq!(config.stat().aversion, -1);
        assert_eq!(db.acl_of(config).as_deref(), Some(&[crate::acl::world(perm::READ)][..]));
    }
}
