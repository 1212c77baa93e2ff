//! A subtree as a plain value: of a database, or of a live tree.

use bytes::Bytes;
use std::collections::BTreeMap;
use wire::zk::{Acl, Id, SessionId, perm};
use zk_server::disk::inspect::{Database, Lifetime, Node};

/// Nodes by path: parents come before their children.
pub type Image = BTreeMap<String, NodeImage>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeImage {
    pub data: Option<Bytes>,
    pub acl: Vec<Acl>,
    pub version: i32,
    pub aversion: i32,
    pub kind: Kind,
}

/// A live tree does not tell containers and TTL nodes from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    /// Milliseconds.
    Ttl(i64),
}

/// Everything at and below `root` but ZooKeeper's own nodes. Empty: there is no such node.
pub fn of_database(database: &Database, root: &str) -> Image {
    let mut image = Image::new();
    let mut below = vec![root.to_owned()];
    while let Some(path) = below.pop() {
        let Some(node) = database.node(&path).filter(|_| !is_own(&path)) else { continue };
        below.extend(node.children().map(|name| child(&path, name)));
        image.insert(path, of_node(database, node));
    }
    image
}

fn of_node(database: &Database, node: Node<'_>) -> NodeImage {
    let acl = database.acl_of(node);
    let stat = node.node_stat();
    NodeImage {
        data: node.data().map(Bytes::copy_from_slice),
        acl: acl.as_deref().map_or_else(open_acl, <[Acl]>::to_vec),
        version: stat.version,
        aversion: stat.aversion,
        kind: match node.lifetime() {
            Lifetime::Persistent => Kind::Persistent,
            Lifetime::Session(session) => Kind::Ephemeral(session),
            Lifetime::Container => Kind::Container,
            Lifetime::Ttl(ttl) => Kind::Ttl(ttl),
        },
    }
}

fn open_acl() -> Vec<Acl> {
    vec![Acl { perms: perm::ALL, id: Id { scheme: "world".into(), id: "anyone".into() } }]
}

/// ZooKeeper's own: its configuration, quotas. They are not brought back.
pub fn is_own(path: &str) -> bool {
    path == "/zookeeper" || path.starts_with("/zookeeper/")
}

pub fn child(path: &str, name: &str) -> String {
    match path {
        "/" => format!("/{name}"),
        path => format!("{path}/{name}"),
    }
}

/// `None` of the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_parent_but_for_the_root() {
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), (Some("/a"), Some("/"), None));
        assert_eq!((child("/", "a"), child("/a", "b")), ("/a".into(), "/a/b".into()));
    }

    #[test]
    fn an_image_has_a_subtree_and_not_zookeeper_s_own_nodes() {
        let image = of_database(&Database::new(), "/");
        assert_eq!(image.keys().collect::<Vec<_>>(), ["/"]);
        assert_eq!(image["/"].acl, open_acl());
        assert!(of_database(&Database::new(), "/nope").is_empty());
    }
}
