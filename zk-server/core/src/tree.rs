//! The nodes by path, and the digest over all of them, kept up with each change.
//!
//! A node's contribution to the digest is the CRC-32 of its path, its data, and 60 bytes of its metadata. The CRC
//! over path and data is kept with the node, so that a change of metadata costs 60 bytes.

use crate::hash::Sharded;
use crate::path;
use std::collections::BTreeSet;
use wire::zk::{SessionId, Stat, Zxid};

/// What a node's metadata holds in a snapshot: [`Stat`] without what follows from data and children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeStat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Counts creations of children only; clients see twice this less the number of children.
    pub cversion: i32,
    pub aversion: i32,
    /// See [`Lifetime`].
    pub ephemeral_owner: i64,
    pub pzxid: Zxid,
}

impl NodeStat {
    pub fn created(zxid: Zxid, time: i64, lifetime: Lifetime) -> NodeStat {
        NodeStat {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: lifetime.to_owner(),
            pzxid: zxid,
            ..NodeStat::default()
        }
    }

    /// The CRC that ends a node's digest, from the one over its path and data.
    pub fn digest(&self, prefix: u32) -> u64 {
        let mut bytes = [0; 60];
        let longs = [self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime];
        for (at, long) in longs.iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&long.to_be_bytes());
        }
        for (at, int) in [self.version, self.cversion, self.aversion].iter().enumerate() {
            bytes[40 + at * 4..][..4].copy_from_slice(&int.to_be_bytes());
        }
        bytes[52..].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(prefix);
        crc.update(&bytes);
        u64::from(crc.finalize())
    }
}

/// The CRC over a node's path (the root's is empty) and data.
pub fn prefix_crc(key: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key.as_bytes());
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// ZooKeeper's own nodes are left out of the digest, but not `/zookeeper` itself.
pub fn is_digested(key: &str) -> bool {
    !key.starts_with(path::ZOOKEEPER_SUBTREE)
}

/// What a node's `ephemeralOwner` says about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Persistent,
    /// Goes with its session.
    Session(SessionId),
    /// Goes some time after its last child.
    Container,
    /// Goes this many milliseconds after its last change, when it has no children.
    Ttl(i64),
}

const CONTAINER_OWNER: i64 = i64::MIN;
/// Top byte ff, feature code 0 in the next two.
const TTL_OWNER: u64 = 0xff00_0000_0000_0000;
const TTL_MASK: u64 = 0xffff_ff00_0000_0000;
/// Milliseconds.
pub const TTL_MAX: i64 = (1 << 40) - 1;

impl Lifetime {
    pub fn of(owner: i64) -> Lifetime {
        match owner {
            0 => Lifetime::Persistent,
            CONTAINER_OWNER => Lifetime::Container,
            owner if owner as u64 & TTL_MASK == TTL_OWNER => Lifetime::Ttl(owner & TTL_MAX),
            session => Lifetime::Session(session),
        }
    }

    /// As [`Lifetime::of`], for owners that 3.5.3 wrote: whatever is below zero is a time to live. So is, alas, a session
    /// of a server whose id is above 127.
    pub fn of_353(owner: i64) -> Lifetime {
        match owner {
            CONTAINER_OWNER => Lifetime::Container,
            ttl if ttl < 0 => Lifetime::Ttl(ttl & TTL_MAX),
            _ => Lifetime::of(owner),
        }
    }

    pub fn to_owner(self) -> i64 {
        match self {
            Lifetime::Persistent => 0,
            Lifetime::Session(session) => session,
            Lifetime::Container => CONTAINER_OWNER,
            Lifetime::Ttl(ttl) => (TTL_OWNER | (ttl & TTL_MAX) as u64) as i64,
        }
    }
}

static NO_CHILDREN: BTreeSet<Box<str>> = BTreeSet::new();

/// What a node with children has. The sums are kept up with each change, for whoever asks how large a subtree is: a
/// quota, a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Below {
    children: BTreeSet<Box<str>>,
    /// All nodes below, and the bytes of their data.
    nodes: usize,
    bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    data: Option<Box<[u8]>>,
    /// In [`crate::acl::AclTable`].
    pub acl: i64,
    stat: NodeStat,
    /// `None` for most nodes: they have no children.
    below: Option<Box<Below>>,
    /// [`prefix_crc`].
    prefix: u32,
}

impl Node {
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    pub fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    pub fn node_stat(&self) -> &NodeStat {
        &self.stat
    }

    /// Names in their order.
    pub fn children(&self) -> &BTreeSet<Box<str>> {
        self.below.as_ref().map_or(&NO_CHILDREN, |below| &below.children)
    }

    /// How many nodes are below this one, and the bytes of their data.
    pub fn below(&self) -> (usize, u64) {
        self.below.as_ref().map_or((0, 0), |below| (below.nodes, below.bytes))
    }

    pub fn prefix(&self) -> u32 {
        self.prefix
    }

    pub fn lifetime(&self) -> Lifetime {
        Lifetime::of(self.stat.ephemeral_owner)
    }

    /// As clients see it.
    pub fn stat(&self) -> Stat {
        let stat = &self.stat;
        let children = self.children().len() as i32;
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: stat.aversion,
            ephemeral_owner: match self.lifetime() {
                Lifetime::Session(session) => session,
                _ => 0,
            },
            data_length: self.data_len() as i32,
            num_children: children,
            pzxid: stat.pzxid,
        }
    }
}

fn remove_child(parent: &mut Node, name: &str) {
    if let Some(below) = &mut parent.below {
        below.children.remove(name);
        if below.children.is_empty() {
            parent.below = None;
        }
    }
}

#[derive(Debug, Default)]
pub struct Tree {
    /// Boxed: a map that grows moves its entries.
    nodes: Sharded<Box<str>, Box<Node>>,
    digest: u64,
    bytes: u64,
}

impl Tree {
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path::key(path)).map(|node| &**node)
    }

    /// Nodes, the root once.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Sum over all nodes, modulo 2^64.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Lengths of all paths and data.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts a node below its parent, or the root. The parent's metadata stay as they are. `false`: no parent.
    pub fn insert(&mut self, path: &str, data: Option<&[u8]>, acl: i64, stat: NodeStat) -> bool {
        let key = path::key(path);
        if let Some((parent, name)) = path::split(key) {
            let Some(parent) = self.nodes.get_mut(parent) else { return false };
            parent.below.get_or_insert_default().children.insert(name.into());
        } else if !key.is_empty() {
            return false;
        }
        let below = self.remove_node(key).and_then(|old| old.below);
        self.grow_above(key, 1, data.unwrap_or_default().len() as i64);
        let prefix = prefix_crc(key, data);
        if is_digested(key) {
            self.digest = self.digest.wrapping_add(stat.digest(prefix));
        }
        self.bytes += (key.len() + data.unwrap_or_default().len()) as u64;
        let node = Node { data: data.map(Into::into), acl, stat, below, prefix };
        self.nodes.insert(key.into(), Box::new(node));
        true
    }

    /// Adds to the sums of everything above a node.
    fn grow_above(&mut self, key: &str, nodes: isize, bytes: i64) {
        let mut at = key;
        while let Some((parent, _)) = path::split(at) {
            if let Some(below) = self.nodes.get_mut(parent).and_then(|node| node.below.as_mut()) {
                below.nodes = below.nodes.wrapping_add_signed(nodes);
                below.bytes = below.bytes.wrapping_add_signed(bytes);
            }
            at = parent;
        }
    }

    fn remove_node(&mut self, key: &str) -> Option<Node> {
        let node = *self.nodes.remove(key)?;
        self.grow_above(key, -1, -(node.data_len() as i64));
        if is_digested(key) {
            self.digest = self.digest.wrapping_sub(node.stat.digest(node.prefix));
        }
        self.bytes -= (key.len() + node.data_len()) as u64;
        Some(node)
    }

    /// Takes a node out, also of its parent's children. Below it there must be nothing.
    pub fn remove(&mut self, path: &str) -> Option<Node> {
        let key = path::key(path);
        let node = self.remove_node(key);
        if let Some((parent, name)) = path::split(key)
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            remove_child(parent, name);
        }
        node
    }

    pub fn set_acl(&mut self, path: &str, acl: i64) {
        if let Some(node) = self.nodes.get_mut(path::key(path)) {
            node.acl = acl;
        }
    }

    /// Changes the metadata.
    pub fn update(&mut self, path: &str, change: impl FnOnce(&mut NodeStat)) -> Option<&Node> {
        let key = path::key(path);
        let node = self.nodes.get_mut(key)?;
        if is_digested(key) {
            self.digest = self.digest.wrapping_sub(node.stat.digest(node.prefix));
        }
        change(&mut node.stat);
        if is_digested(key) {
            self.digest = self.digest.wrapping_add(node.stat.digest(node.prefix));
        }
        Some(node)
    }

    /// Changes data and metadata.
    pub fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut NodeStat),
    ) -> Option<&Node> {
        let key = path::key(path);
        let grown = data.unwrap_or_default().len() as i64 - self.nodes.get(key)?.data_len() as i64;
        if grown != 0 {
            self.grow_above(key, 0, grown);
        }
        let node = self.nodes.get_mut(key)?;
        if is_digested(key) {
            self.digest = self.digest.wrapping_sub(node.stat.digest(node.prefix));
        }
        self.bytes = self.bytes - node.data_len() as u64 + data.unwrap_or_default().len() as u64;
        node.data = data.map(Into::into);
        node.prefix = prefix_crc(key, data);
        change(&mut node.stat);
        if is_digested(key) {
            self.digest = self.digest.wrapping_add(node.stat.digest(node.prefix));
        }
        Some(node)
    }

    /// The path that follows in depth-first order: children before siblings, names in their order. It is right even
    /// when the node at `path` is gone by now.
    pub fn next_after(&self, path: &str) -> Option<String> {
        let mut key = path::key(path);
        if let Some(name) = self.nodes.get(key).and_then(|node| node.children().first()) {
            return Some([key, "/", name].concat());
        }
        while let Some((parent, name)) = path::split(key) {
            let after = (std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded);
            let next = self.nodes.get(parent).and_then(|node| node.children().range::<str, _>(after).next());
            if let Some(next) = next {
                return Some([parent, "/", next].concat());
            }
            key = parent;
        }
        None
    }

    /// How many nodes are below this one.
    pub fn descendants(&self, path: &str) -> usize {
        self.get(path).map_or(0, |node| node.below().0)
    }

    /// Visits every node below `path`, parents first.
    pub fn walk_below(&self, path: &str, visit: &mut impl FnMut(&str, &Node)) {
        let key = path::key(path);
        let mut at = key.to_owned();
        while let Some(next) = self.next_after(&at) {
            if !next.strip_prefix(key).is_some_and(|rest| rest.starts_with('/')) {
                return;
            }
            if let Some(node) = self.nodes.get(next.as_str()) {
                visit(&next, node);
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_3_5_3_wrote_is_a_time_to_live() {
        let owner = i64::MIN | 100;
        assert_eq!(Lifetime::of(owner), Lifetime::Session(owner));
        assert_eq!(Lifetime::of_353(owner), Lifetime::Ttl(100));
        assert_eq!(Lifetime::of_353(Lifetime::Ttl(7).to_owner()), Lifetime::Ttl(7));
        for same in [0, 5, i64::MIN] {
            assert_eq!(Lifetime::of_353(same), Lifetime::of(same));
        }
    }

    #[test]
    fn lifetimes_survive_their_encoding() {
        for lifetime in [
            Lifetime::Persistent,
            Lifetime::Session(0x0100_000f_433d_0000),
            Lifetime::Container,
            Lifetime::Ttl(1),
            Lifetime::Ttl(TTL_MAX),
        ] {
            assert_eq!(Lifetime::of(lifetime.to_owner()), lifetime);
        }
        assert_eq!(Lifetime::Ttl(5).to_owner() as u64, 0xff00_0000_0000_0005);
        assert_eq!(Lifetime::Container.to_owner() as u64, 0x8000_0000_0000_0000);
    }

    #[test]
    fn the_order_is_depth_first_also_after_a_node_that_is_gone() {
        let mut tree = Tree::default();
        for path in ["", "/a", "/a/x", "/a/y", "/b", "/a-c"] {
            assert!(tree.insert(path, None, -1, NodeStat::default()));
        }
        let mut seen = vec![];
        tree.walk_below("/", &mut |path, _| seen.push(path.to_owned()));
        assert_eq!(seen, ["/a", "/a/x", "/a/y", "/a-c", "/b"]);
        assert_eq!(tree.next_after("/a/xx").as_deref(), Some("/a/y"));
        assert_eq!(tree.next_after("/a/z/deep").as_deref(), Some("/a-c"));
        assert_eq!((tree.descendants("/a"), tree.descendants("/")), (2, 5));
    }

    #[test]
    fn a_node_without_a_parent_is_refused() {
        let mut tree = Tree::default();
        assert!(!tree.insert("/a", None, -1, NodeStat::default()));
        assert!(!tree.insert("a", None, -1, NodeStat::default()));
    }
}
