//! The nodes by path, and the digest over all of them, kept up with each change.
//!
//! A node has a number, and a [`record`] under it that holds its name and its parent's number; a path is found by its
//! hash ([`index`]) and compared name by name. So a path is kept nowhere, and a name once. Numbers of nodes that are gone
//! are used again, and never shown.
//!
//! A node's contribution to the digest is the CRC-32 of its path, its data, and 60 bytes of its metadata. The CRC
//! over path and data is kept with the node, so that a change of metadata costs 60 bytes.

mod children;
mod index;
mod record;
mod stat;
mod walk;

pub use stat::{Lifetime, NodeStat, TTL_MAX, is_digested, prefix_crc};
pub use walk::Walk;

use crate::hash::{Sharded, hash_of};
use crate::path;
use children::Children;
use index::Index;
use record::{Parts, Record};
use std::fmt;
use wire::zk::Stat;

/// Records that stand together: no list of all of them is ever moved.
const BLOCK: usize = 4096;
/// The root's parent.
const NO_PARENT: u32 = u32::MAX;

static NO_CHILDREN: Children = Children::NONE;

/// What a node with children has. The sums are kept up with each change, for whoever asks how large a subtree is: a
/// quota, a client.
#[derive(Debug, Default)]
struct Below {
    children: Children,
    /// All nodes below, and the bytes of their data.
    nodes: usize,
    bytes: u64,
}

/// One node of a [`Tree`], to be looked at.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree,
    number: u32,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Node").field(self.record()).finish()
    }
}

impl<'a> Node<'a> {
    fn record(self) -> &'a Record {
        self.tree.record(self.number)
    }

    /// Its own, the last part of its path; the root's is empty.
    pub fn name(self) -> &'a str {
        self.record().name_text()
    }

    pub fn data(self) -> Option<&'a [u8]> {
        self.record().data()
    }

    pub fn data_len(self) -> usize {
        self.record().data_len()
    }

    /// In [`crate::acl::AclTable`].
    pub fn acl(self) -> i64 {
        self.record().acl()
    }

    pub fn node_stat(self) -> NodeStat {
        self.record().stat()
    }

    fn sums(self) -> Option<&'a Below> {
        self.tree.below(self.number)
    }

    pub fn children_len(self) -> usize {
        self.sums().map_or(0, |below| below.children.len())
    }

    /// Names in their order.
    pub fn children(self) -> impl ExactSizeIterator<Item = &'a str> {
        let children = self.sums().map_or(&NO_CHILDREN, |below| &below.children);
        Names { tree: self.tree, children, next: (0, 0), left: children.len() }
    }

    /// How many nodes are below this one, and the bytes of their data.
    pub fn below(self) -> (usize, u64) {
        self.sums().map_or((0, 0), |below| (below.nodes, below.bytes))
    }

    pub fn prefix(self) -> u32 {
        self.record().prefix()
    }

    pub fn lifetime(self) -> Lifetime {
        Lifetime::of(self.node_stat().ephemeral_owner)
    }

    /// As clients see it.
    pub fn stat(self) -> Stat {
        let (stat, children) = (self.node_stat(), self.children_len() as i32);
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: stat.aversion,
            ephemeral_owner: match Lifetime::of(stat.ephemeral_owner) {
                Lifetime::Session(session) => session,
                _ => 0,
            },
            data_length: self.data_len() as i32,
            num_children: children,
            pzxid: stat.pzxid,
        }
    }
}

struct Names<'a> {
    tree: &'a Tree,
    children: &'a Children,
    next: children::Place,
    left: usize,
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (number, next) = self.children.at(self.next)?;
        self.next = next;
        self.left -= 1;
        Some(self.tree.record(number).name_text())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Names<'_> {}

/// A node that was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    pub acl: i64,
    pub ephemeral_owner: i64,
    pub data_len: usize,
}

#[derive(Debug, Default)]
pub struct Tree {
    index: Index,
    /// By number, [`BLOCK`] in each.
    blocks: Vec<Vec<Record>>,
    /// Numbers that nobody has.
    free: Vec<u32>,
    /// Of those with children.
    below: Sharded<u32, Box<Below>>,
    digest: u64,
    bytes: u64,
}

impl Tree {
    fn record(&self, number: u32) -> &Record {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    fn record_mut(&mut self, number: u32) -> &mut Record {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    fn node(&self, number: u32) -> Node<'_> {
        Node { tree: self, number }
    }

    fn below(&self, number: u32) -> Option<&Below> {
        if !self.record(number).has_children() {
            return None;
        }
        self.below.get(&number).map(|below| &**below)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.number_of(hash_of(key), key)
    }

    fn number_of(&self, hash: u64, key: &str) -> Option<u32> {
        self.index.find(hash, |number| self.is_at(number, key))
    }

    fn is_at(&self, mut number: u32, key: &str) -> bool {
        let mut rest = key.as_bytes();
        loop {
            let record = self.record(number);
            number = record.parent();
            if number == NO_PARENT {
                return rest.is_empty();
            }
            match rest.strip_suffix(record.name()).and_then(|rest| rest.strip_suffix(b"/")) {
                Some(above) => rest = above,
                None => return false,
            }
        }
    }

    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        self.number(path::key(path)).map(|number| self.node(number))
    }

    pub fn contains(&self, path: &str) -> bool {
        self.number(path::key(path)).is_some()
    }

    /// Nodes, the root once.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let parent = match path::split(key) {
            Some((parent, _)) => self.number(parent),
            None if key.is_empty() => Some(NO_PARENT),
            None => None,
        };
        parent.map(|parent| self.insert_below(parent, key, data, acl, stat)).is_some()
    }

    /// As [`Tree::insert`], the parent's number being known. The ACL of a node that was there.
    fn insert_below(
        &mut self,
        parent: u32,
        key: &str,
        data: Option<&[u8]>,
        acl: i64,
        stat: NodeStat,
    ) -> Option<i64> {
        let hash = hash_of(key);
        let prefix = prefix_crc(key, data);
        let name = path::split(key).map_or("", |(_, name)| name);
        let old = self.number_of(hash, key);
        if let Some(old) = old {
            self.count_out(old, key);
        }
        let acl_before = old.map(|old| self.record(old).acl());
        let has_children = old.is_some_and(|old| self.record(old).has_children());
        let record = Record::new(&Parts { parent, prefix, name, data, acl, stat, has_children });
        let number = match old {
            Some(old) => {
                *self.record_mut(old) = record;
                old
            }
            None => {
                let number = self.keep(record);
                self.index.insert(hash, number);
                self.adopt(parent, number);
                number
            }
        };
        self.count_in(number, key);
        acl_before
    }

    /// Gives the record a number.
    fn keep(&mut self, record: Record) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.record_mut(number) = record;
            return number;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("there is one");
        block.push(record);
        (before + block.len() - 1) as u32
    }

    /// Lists a node among its parent's children.
    fn adopt(&mut self, parent: u32, number: u32) {
        if parent == NO_PARENT {
            return;
        }
        if !self.record(parent).has_children() {
            self.record_mut(parent).set_has_children(true);
            self.below.insert(parent, Box::default());
        }
        let place = self.place_in(parent, self.record(number).name());
        if let (Some(below), Some(Err(place))) = (self.below.get_mut(&parent), place) {
            below.children.insert(place, number);
        }
    }

    /// Where a name stands among a node's children, or would.
    fn place_in(&self, parent: u32, name: &[u8]) -> Option<Result<children::Place, children::Place>> {
        let below = self.below.get(&parent)?;
        Some(below.children.place(|number| self.record(number).name().cmp(name)))
    }

    /// Takes a node from its parent's children.
    fn disown(&mut self, parent: u32, number: u32) {
        let Some(Ok(place)) = self.place_in(parent, self.record(number).name()) else { return };
        let Some(below) = self.below.get_mut(&parent) else { return };
        below.children.remove(place);
        if below.children.is_empty() {
            self.below.remove(&parent);
            self.record_mut(parent).set_has_children(false);
        }
    }

    /// Adds to the sums of everything above a node.
    fn grow_above(&mut self, number: u32, nodes: isize, bytes: i64) {
        let mut above = self.record(number).parent();
        while above != NO_PARENT {
            if let Some(below) = self.below.get_mut(&above) {
                below.nodes = below.nodes.wrapping_add_signed(nodes);
                below.bytes = below.bytes.wrapping_add_signed(bytes);
            }
            above = self.record(above).parent();
        }
    }

    /// The node counts in all sums from now on.
    fn count_in(&mut self, number: u32, key: &str) {
        let data_len = self.record(number).data_len();
        self.grow_above(number, 1, data_len as i64);
        self.bytes += (key.len() + data_len) as u64;
        self.digest = self.digest.wrapping_add(self.digest_of(number, key));
    }

    fn count_out(&mut self, number: u32, key: &str) {
        let data_len = self.record(number).data_len();
        self.grow_above(number, -1, -(data_len as i64));
        self.bytes -= (key.len() + data_len) as u64;
        self.digest = self.digest.wrapping_sub(self.digest_of(number, key));
    }

    fn digest_of(&self, number: u32, key: &str) -> u64 {
        if !is_digested(key) {
            return 0;
        }
        let record = self.record(number);
        record.stat().digest(record.prefix())
    }

    /// Takes a node out, also of its parent's children. Below it there must be nothing.
    pub fn remove(&mut self, path: &str) -> Option<Removed> {
        let key = path::key(path);
        let hash = hash_of(key);
        let number = self.number_of(hash, key)?;
        self.count_out(number, key);
        let parent = self.record(number).parent();
        if parent != NO_PARENT {
            self.disown(parent, number);
        }
        self.below.remove(&number);
        self.index.remove(hash, number);
        self.free.push(number);
        let record = std::mem::take(self.record_mut(number));
        Some(Removed {
            acl: record.acl(),
            ephemeral_owner: record.stat().ephemeral_owner,
            data_len: record.data_len(),
        })
    }

    pub fn set_acl(&mut self, path: &str, acl: i64) {
        if let Some(number) = self.number(path::key(path)) {
            let record = self.record_mut(number);
            record.set_stat(acl, &record.stat());
        }
    }

    /// Changes the metadata.
    pub fn update(&mut self, path: &str, change: impl FnOnce(&mut NodeStat)) -> Option<Node<'_>> {
        let key = path::key(path);
        let number = self.number(key)?;
        let record = self.record_mut(number);
        let (before, prefix) = (record.stat(), record.prefix());
        let mut after = before;
        change(&mut after);
        record.set_stat(record.acl(), &after);
        self.note_change(key, before.digest(prefix), after.digest(prefix));
        Some(self.node(number))
    }

    /// Changes data and metadata.
    pub fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut NodeStat),
    ) -> Option<Node<'_>> {
        let key = path::key(path);
        let number = self.number(key)?;
        let len = data.unwrap_or_default().len();
        let prefix = prefix_crc(key, data);
        let record = self.record_mut(number);
        let (len_before, before, prefix_before) = (record.data_len(), record.stat(), record.prefix());
        let mut after = before;
        change(&mut after);
        record.set_data(data, prefix, &after);
        if len != len_before {
            self.grow_above(number, 0, len as i64 - len_before as i64);
        }
        self.bytes = self.bytes - len_before as u64 + len as u64;
        self.note_change(key, before.digest(prefix_before), after.digest(prefix));
        Some(self.node(number))
    }

    fn note_change(&mut self, key: &str, before: u64, after: u64) {
        if is_digested(key) {
            self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        }
    }

    /// How many nodes are below this one.
    pub fn descendants(&self, path: &str) -> usize {
        self.get(path).map_or(0, |node| node.below().0)
    }

    /// Visits every node below `path`, parents first.
    pub fn walk_below(&self, path: &str, visit: &mut impl FnMut(&str, Node<'_>)) {
        let mut walk = Walk::below(self, path);
        while let Some((key, node)) = walk.next() {
            visit(key, node);
        }
    }
}

/// Puts many nodes in, one after the other: where the next has the same parent, that is not looked for.
#[derive(Debug, Default)]
pub struct Loader {
    /// The last parent's key, and its number.
    parent: Option<(String, u32)>,
}

impl Loader {
    /// As [`Tree::insert`]; `None`: no parent. Else the ACL of a node that was there. Between two calls, nothing is taken
    /// out.
    pub fn insert(
        &mut self,
        tree: &mut Tree,
        path: &str,
        data: Option<&[u8]>,
        acl: i64,
        stat: NodeStat,
    ) -> Option<Option<i64>> {
        let key = path::key(path);
        if key.is_empty() {
            return Some(tree.insert_below(NO_PARENT, key, data, acl, stat));
        }
        let (above, _) = path::split(key)?;
        let known = self.parent.as_ref().filter(|(known, _)| known == above).map(|(_, number)| *number);
        let parent = known.or_else(|| tree.number(above))?;
        if known.is_none() {
            let mut text = self.parent.take().map(|(text, _)| text).unwrap_or_default();
            text.clear();
            text.push_str(above);
            self.parent = Some((text, parent));
        }
        Some(tree.insert_below(parent, key, data, acl, stat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_node_without_a_parent_is_refused() {
        let mut tree = Tree::default();
        assert!(!tree.insert("/a", None, -1, NodeStat::default()));
        assert!(!tree.insert("a", None, -1, NodeStat::default()));
        assert!(tree.insert("", None, -1, NodeStat::default()));
        assert!(!tree.insert("/a/b", None, -1, NodeStat::default()));
    }

    /// What is kept up is what can be counted.
    fn check(tree: &Tree, model: &BTreeMap<String, Vec<u8>>) {
        let mut seen = vec![];
        tree.walk_below("", &mut |key, node| {
            assert_eq!(node.data(), model.get(key).map(|data| &**data), "{key}");
            seen.push(key.to_owned());
        });
        seen.sort();
        assert_eq!(seen, model.keys().cloned().collect::<Vec<_>>());
        assert_eq!(tree.len(), model.len() + 1);
        let bytes: usize = model.iter().map(|(key, data)| key.len() + data.len()).sum();
        assert_eq!(tree.bytes(), bytes as u64);
        let digest = model.iter().map(|(key, data)| {
            let node = tree.get(key).unwrap();
            assert_eq!(node.prefix(), prefix_crc(key, Some(data)));
            node.node_stat().digest(node.prefix())
        });
        let root = tree.get("/").unwrap();
        let digest = digest.fold(root.node_stat().digest(root.prefix()), u64::wrapping_add);
        assert_eq!(tree.digest(), digest);
        let below: usize = model.values().map(Vec::len).sum();
        assert_eq!(root.below(), (model.len(), below as u64));
    }

    #[test]
    fn numbers_are_used_again_and_nothing_of_who_had_them_is_left() {
        let mut tree = Tree::default();
        tree.insert("", None, -1, NodeStat::default());
        let mut model = BTreeMap::new();
        let path =
            |n: usize| if n.is_multiple_of(7) { format!("/{n}") } else { format!("/{}/{n}", n / 7 * 7) };
        for round in 0..3 {
            for n in 0..700 {
                let (key, data) = (path(n), vec![round; n % 5]);
                assert!(tree.insert(&key, Some(&data), n as i64 % 3 - 1, NodeStat::default()));
                model.insert(key, data);
            }
            check(&tree, &model);
            for n in (0..700).rev().filter(|n| n % 3 != 0 && n % 7 != 0) {
                assert!(tree.remove(&path(n)).is_some_and(|gone| gone.acl == n as i64 % 3 - 1));
                assert!(tree.remove(&path(n)).is_none());
                model.remove(&path(n));
            }
            check(&tree, &model);
            for n in (0..700).step_by(9) {
                let (key, data) = (path(n), vec![9; n % 4]);
                let set = tree.set_data(&key, Some(&data), |stat| stat.version += 1).is_some();
                assert_eq!(set, model.contains_key(&key));
                model.entry(key.clone()).and_modify(|held| *held = data);
                tree.update(&key, |stat| stat.pzxid += 5);
            }
            check(&tree, &model);
        }
        assert_eq!(tree.blocks.iter().map(Vec::len).sum::<usize>(), 701, "one number for each");
    }

    #[test]
    fn a_loader_makes_the_tree_that_single_inserts_make() {
        let paths = ["", "/a", "/a/1", "/a/2", "/a/2/x", "/a/3", "/b", "/a/4", "/b/1"];
        let (mut one, mut other, mut loader) = (Tree::default(), Tree::default(), Loader::default());
        for path in paths {
            assert!(one.insert(path, Some(path.as_bytes()), 5, NodeStat::default()));
            let before = loader.insert(&mut other, path, Some(path.as_bytes()), 5, NodeStat::default());
            assert_eq!(before, Some(None));
        }
        assert_eq!(loader.insert(&mut other, "/c/1", None, 5, NodeStat::default()), None);
        let again = loader.insert(&mut other, "/a/4", Some(b"/a/4"), 5, NodeStat::default());
        assert_eq!(again, Some(Some(5)));
        let mut walk = Walk::below(&other, "");
        one.walk_below("", &mut |key, node| {
            let (same, found) = walk.next().unwrap();
            assert_eq!((key, node.data(), node.below()), (same, found.data(), found.below()));
        });
        assert!(walk.next().is_none());
        assert_eq!((one.digest(), one.bytes()), (other.digest(), other.bytes()));
    }
}
