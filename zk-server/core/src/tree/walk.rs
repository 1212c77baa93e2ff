//! Node after node, children before siblings, names in their order.

use super::children::{Children, Place};
use super::{NO_CHILDREN, Node, Tree};
use crate::path;

/// Stands still as long as the tree does: whoever goes on later begins anew, [`Walk::behind`] the last one.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    /// The key of the last one.
    key: String,
    /// From the top down to the last one, or its parent.
    levels: Vec<Level<'a>>,
}

/// A node whose children are being visited.
#[derive(Debug)]
struct Level<'a> {
    children: &'a Children,
    next: Place,
    key_len: usize,
}

impl<'a> Walk<'a> {
    /// All below this node, but not the node itself.
    pub fn below(tree: &'a Tree, path: &str) -> Walk<'a> {
        let mut walk = Walk { tree, key: path::key(path).to_owned(), levels: vec![] };
        if let Some(number) = tree.number(&walk.key) {
            walk.enter(number);
        }
        walk
    }

    /// All that follows this path in the whole tree. It is right even when the node is gone by now.
    pub fn behind(tree: &'a Tree, path: &str) -> Walk<'a> {
        let mut walk = Walk::below(tree, "");
        let Some(names) = path::key(path).strip_prefix('/') else { return walk };
        for name in names.split('/') {
            let Some(level) = walk.levels.last_mut() else { break };
            if level.key_len != walk.key.len() {
                // The last one has no children.
                break;
            }
            match level.children.place(|number| tree.record(number).name().cmp(name.as_bytes())) {
                Ok(place) => {
                    level.next = place;
                    walk.next();
                }
                Err(place) => {
                    level.next = place;
                    break;
                }
            }
        }
        walk
    }

    fn enter(&mut self, number: u32) {
        let children = self.tree.below(number).map_or(&NO_CHILDREN, |below| &below.children);
        if !children.is_empty() {
            self.levels.push(Level { children, next: (0, 0), key_len: self.key.len() });
        }
    }

    /// Its key and the node. The key is that of [`Walk::key`] until the next call.
    #[allow(clippy::should_implement_trait, reason = "what it lends is its own")]
    pub fn next(&mut self) -> Option<(&str, Node<'a>)> {
        loop {
            let level = self.levels.last_mut()?;
            self.key.truncate(level.key_len);
            let Some((number, next)) = level.children.at(level.next) else {
                self.levels.pop();
                continue;
            };
            level.next = next;
            let node = self.tree.node(number);
            self.key.push('/');
            self.key.push_str(node.name());
            self.enter(number);
            return Some((&self.key, node));
        }
    }

    /// Of the last one.
    pub fn into_key(self) -> String {
        self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::NodeStat;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for path in paths {
            assert!(tree.insert(path, None, -1, NodeStat::default()), "{path}");
        }
        tree
    }

    fn next_after(tree: &Tree, path: &str) -> Option<String> {
        Walk::behind(tree, path).next().map(|(key, _)| key.to_owned())
    }

    #[test]
    fn the_order_is_depth_first_also_after_a_node_that_is_gone() {
        let tree = tree(&["", "/a", "/a/x", "/a/y", "/b", "/a-c"]);
        let mut seen = vec![];
        tree.walk_below("/", &mut |path, _| seen.push(path.to_owned()));
        assert_eq!(seen, ["/a", "/a/x", "/a/y", "/a-c", "/b"]);
        for (at, path) in seen.iter().enumerate() {
            assert_eq!(next_after(&tree, path), seen.get(at + 1).cloned(), "{path}");
        }
        assert_eq!(next_after(&tree, "").as_deref(), Some("/a"));
        assert_eq!(next_after(&tree, "/a/xx").as_deref(), Some("/a/y"));
        assert_eq!(next_after(&tree, "/a/z/deep").as_deref(), Some("/a-c"));
        assert_eq!(next_after(&tree, "/a/x/deep/er").as_deref(), Some("/a/y"));
        assert_eq!(next_after(&tree, "/c"), None);
        assert_eq!((tree.descendants("/a"), tree.descendants("/")), (2, 5));
    }

    #[test]
    fn a_walk_below_ends_with_the_subtree() {
        let tree = tree(&["", "/a", "/a/x", "/a/x/1", "/b"]);
        let mut seen = vec![];
        tree.walk_below("/a", &mut |path, _| seen.push(path.to_owned()));
        assert_eq!(seen, ["/a/x", "/a/x/1"]);
        tree.walk_below("/none", &mut |path, _| panic!("{path}"));
    }
}
