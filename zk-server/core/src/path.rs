//! Paths of nodes: `/a/b`. The root is stored under the empty path, and also answers to `/`.

/// ZooKeeper's own nodes; nobody deletes them.
pub const ZOOKEEPER: &str = "/zookeeper";
pub const CONFIG: &str = "/zookeeper/config";
pub const QUOTA: &str = "/zookeeper/quota";
/// The prefix of everything that the digest leaves out.
pub const ZOOKEEPER_SUBTREE: &str = "/zookeeper/";

/// The path under which a node is stored.
pub fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// The path by which a node is shown: the reverse of [`key`].
pub fn shown(key: &str) -> &str {
    if key.is_empty() { "/" } else { key }
}

/// Parent's key and the node's own name. `None`: no slash at all (as in the root's key).
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// One of the four nodes that cannot be deleted.
pub fn is_special(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | CONFIG | QUOTA)
}

/// The rules for the path of a node that is created or changed: absolute, no empty, `.` or `..` component, no
/// trailing slash, no control or private characters and nothing outside the basic plane.
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else { return false };
    rest.split('/').all(|name| !matches!(name, "" | "." | "..")) && path.chars().all(is_allowed)
}

fn is_allowed(c: char) -> bool {
    !matches!(c as u32, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// The node's own path and those of its ancestors up to the root (`/`), from the leaf up.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rfind('/') {
        Some(0) if path.len() > 1 => Some("/"),
        Some(0) | None => None,
        Some(slash) => Some(&path[..slash]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_paths_are_absolute_and_plain() {
        for good in ["/", "/a", "/a/b.c", "/...", "/a b", "/\u{e9}"] {
            assert!(is_valid(good), "{good:?}");
        }
        let bad =
            ["", "a", "/a/", "//a", "/a//b", "/.", "/a/../b", "/a\0", "/\u{1f}", "/\u{e000}", "/\u{1f600}"];
        for bad in bad {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn ancestors_end_at_the_root() {
        assert_eq!(ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(ancestors("").collect::<Vec<_>>(), [""]);
    }
}
