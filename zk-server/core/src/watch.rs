//! Who wants to hear of which path. Two tables: `data` (also of nodes that do not exist yet) and `child`.
//!
//! A watch is standard (gone once fired), persistent, or persistent recursive (fires for everything below, only in
//! the data table); a connection may have all three on one path.

use crate::event::ConnId;
use crate::hash::Sharded;
use crate::path;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Event types on the wire.
pub mod event {
    pub const CREATED: i32 = 1;
    pub const DELETED: i32 = 2;
    pub const DATA_CHANGED: i32 = 3;
    pub const CHILDREN_CHANGED: i32 = 4;
}

/// A set of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes(u8);

impl Modes {
    pub const STANDARD: Modes = Modes(1);
    pub const PERSISTENT: Modes = Modes(2);
    pub const RECURSIVE: Modes = Modes(4);
    pub const ANY: Modes = Modes(7);

    fn has(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }
}

/// How many watches there are (`wchs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchFigures {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

#[derive(Debug, Default)]
pub struct WatchTable {
    /// Watchers in the order of their connections.
    by_path: Sharded<Arc<str>, Vec<(ConnId, Modes)>>,
    by_conn: BTreeMap<ConnId, BTreeSet<Arc<str>>>,
    recursive: usize,
    /// Paths of connections that are gone and had many. Until they are taken out, nobody is there to hear.
    gone: VecDeque<(ConnId, BTreeSet<Arc<str>>)>,
}

/// Watches of a connection that is gone, of which so many are taken out in one step.
const FORGOTTEN_MAX: usize = 2048;

impl WatchTable {
    pub fn add(&mut self, path: &str, conn: ConnId, mode: Modes) {
        let path: Arc<str> = match self.by_path.get_key_value(path) {
            Some((known, _)) => known.clone(),
            None => path.into(),
        };
        if !self.by_path.contains_key(&path) {
            self.by_path.insert(path.clone(), vec![]);
        }
        let watchers = self.by_path.get_mut(&path).expect("it was put there");
        match watchers.binary_search_by_key(&conn, |(conn, _)| *conn) {
            Ok(at) => {
                let before = watchers[at].1;
                watchers[at].1 = Modes(before.0 | mode.0);
                self.recursive += usize::from(mode.has(Modes::RECURSIVE) && !before.has(Modes::RECURSIVE));
            }
            Err(at) => {
                watchers.insert(at, (conn, mode));
                self.recursive += usize::from(mode.has(Modes::RECURSIVE));
                self.by_conn.entry(conn).or_default().insert(path);
            }
        }
    }

    pub fn contains(&self, path: &str, conn: ConnId, modes: Modes) -> bool {
        let watchers = self.by_path.get(path).map(Vec::as_slice).unwrap_or_default();
        match watchers.binary_search_by_key(&conn, |(conn, _)| *conn) {
            Ok(at) => watchers[at].1.has(modes),
            Err(_) => false,
        }
    }

    /// False: there was none of these modes.
    pub fn remove(&mut self, path: &str, conn: ConnId, modes: Modes) -> bool {
        let Some(watchers) = self.by_path.get_mut(path) else { return false };
        let Ok(at) = watchers.binary_search_by_key(&conn, |(conn, _)| *conn) else { return false };
        let before = watchers[at].1;
        let left = Modes(before.0 & !modes.0);
        if left == before {
            return false;
        }
        self.recursive -= usize::from(before.has(Modes::RECURSIVE) && !left.has(Modes::RECURSIVE));
        if left.0 == 0 {
            watchers.remove(at);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
            self.unlist(path, conn);
        } else {
            watchers[at].1 = left;
        }
        true
    }

    fn unlist(&mut self, path: &str, conn: ConnId) {
        if let Some(paths) = self.by_conn.get_mut(&conn) {
            paths.remove(path);
            if paths.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    /// The connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        let Some(mut paths) = self.by_conn.remove(&conn) else { return };
        if paths.len() > FORGOTTEN_MAX {
            return self.gone.push_back((conn, paths));
        }
        while let Some(path) = paths.pop_first() {
            self.take_out(conn, &path);
        }
    }

    /// Connections that are gone have watches left.
    pub fn is_forgetting(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes some of those out.
    pub fn forget_more(&mut self) {
        for _ in 0..FORGOTTEN_MAX {
            let Some((conn, paths)) = self.gone.front_mut() else { return };
            let conn = *conn;
            match paths.pop_first() {
                Some(path) => self.take_out(conn, &path),
                None => drop(self.gone.pop_front()),
            }
        }
    }

    fn take_out(&mut self, conn: ConnId, path: &str) {
        let Some(watchers) = self.by_path.get_mut(path) else { return };
        if let Ok(at) = watchers.binary_search_by_key(&conn, |(conn, _)| *conn) {
            let (_, modes) = watchers.remove(at);
            self.recursive -= usize::from(modes.has(Modes::RECURSIVE));
        }
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
    }

    /// Appends whoever is to hear of a change at `path`, each once and in the order of their connections; standard
    /// watches are gone by this.
    pub fn fire(&mut self, path: &str, hit: &mut Vec<ConnId>) {
        let mut once = false;
        if let Some(watchers) = self.by_path.get_mut(path) {
            for (conn, modes) in watchers.iter_mut() {
                hit.push(*conn);
                modes.0 &= !Modes::STANDARD.0;
                once |= modes.0 == 0;
            }
        }
        if once {
            self.drop_spent(path);
        }
        if self.recursive == 0 {
            return;
        }
        let own = hit.len();
        for above in path::ancestors(path).skip(1) {
            let watchers = self.by_path.get(above).map(Vec::as_slice).unwrap_or_default();
            hit.extend(
                watchers.iter().filter(|(_, modes)| modes.has(Modes::RECURSIVE)).map(|(conn, _)| *conn),
            );
        }
        if hit.len() > own {
            hit.sort_unstable();
            hit.dedup();
        }
    }

    fn drop_spent(&mut self, path: &str) {
        let Some(watchers) = self.by_path.get_mut(path) else { return };
        let spent: Vec<ConnId> =
            watchers.iter().filter(|(_, modes)| modes.0 == 0).map(|(conn, _)| *conn).collect();
        watchers.retain(|(_, modes)| modes.0 != 0);
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
        spent.into_iter().for_each(|conn| self.unlist(path, conn));
    }

    pub fn figures(&self) -> WatchFigures {
        WatchFigures {
            connections: self.by_conn.len(),
            paths: self.by_path.len(),
            watches: self.by_conn.values().map(BTreeSet::len).sum(),
        }
    }

    /// The next `max` watches behind one, by connection and path.
    pub fn some(&self, behind: Option<&(ConnId, Arc<str>)>, max: usize) -> Vec<(ConnId, Arc<str>)> {
        let first = behind.map_or(ConnId(0), |(conn, _)| *conn);
        let rest = |conn: ConnId| match behind {
            Some((last, path)) if *last == conn => Bound::Excluded(&**path),
            _ => Bound::Unbounded,
        };
        let all = self.by_conn.range(first..).flat_map(|(conn, paths)| {
            paths.range::<str, _>((rest(*conn), Bound::Unbounded)).map(|path| (*conn, path.clone()))
        });
        all.take(max).collect()
    }
}

/// Both tables.
#[derive(Debug, Default)]
pub struct Watches {
    pub data: WatchTable,
    pub child: WatchTable,
}

impl Watches {
    pub fn forget(&mut self, conn: ConnId) {
        self.data.forget(conn);
        self.child.forget(conn);
    }

    /// As [`WatchTable::is_forgetting`].
    pub fn is_forgetting(&self) -> bool {
        self.data.is_forgetting() || self.child.is_forgetting()
    }

    pub fn forget_more(&mut self) {
        self.data.forget_more();
        self.child.forget_more();
    }

    /// `mode` of an addWatch; false: there is no such mode.
    pub fn add_persistent(&mut self, path: &str, conn: ConnId, mode: i32) -> bool {
        match mode {
            0 => {
                self.data.add(path, conn, Modes::PERSISTENT);
                self.child.add(path, conn, Modes::PERSISTENT);
            }
            1 => self.data.add(path, conn, Modes::RECURSIVE),
            _ => return false,
        }
        true
    }

    /// `kind` of a checkWatches; `None`: there is no such kind.
    pub fn contains(&self, path: &str, conn: ConnId, kind: i32) -> Option<bool> {
        Some(match kind {
            1 => self.child.contains(path, conn, Modes::STANDARD),
            2 => self.data.contains(path, conn, Modes::STANDARD),
            3 => self.child.contains(path, conn, Modes::ANY) || self.data.contains(path, conn, Modes::ANY),
            4 => self.data.contains(path, conn, Modes::PERSISTENT),
            5 => self.data.contains(path, conn, Modes::RECURSIVE),
            _ => return None,
        })
    }

    /// `kind` of a removeWatches; whether anything was removed, `None`: there is no such kind.
    pub fn remove(&mut self, path: &str, conn: ConnId, kind: i32) -> Option<bool> {
        Some(match kind {
            1 => self.child.remove(path, conn, Modes::STANDARD),
            2 => self.data.remove(path, conn, Modes::STANDARD),
            3 => self.child.remove(path, conn, Modes::ANY) | self.data.remove(path, conn, Modes::ANY),
            4 => {
                self.child.remove(path, conn, Modes::PERSISTENT)
                    | self.data.remove(path, conn, Modes::PERSISTENT)
            }
            5 => self.data.remove(path, conn, Modes::RECURSIVE),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn fired(table: &mut WatchTable, path: &str) -> Vec<ConnId> {
        let mut hit = vec![];
        table.fire(path, &mut hit);
        hit
    }

    #[test]
    fn a_standard_watch_fires_once_and_a_persistent_one_stays() {
        let mut table = WatchTable::default();
        table.add("/a", A, Modes::STANDARD);
        table.add("/a", B, Modes::STANDARD);
        table.add("/a", B, Modes::PERSISTENT);
        assert_eq!(fired(&mut table, "/a"), [A, B]);
        assert_eq!(fired(&mut table, "/a"), [B]);
        assert_eq!(fired(&mut table, "/a/b"), []);
        assert_eq!(table.figures(), WatchFigures { connections: 1, paths: 1, watches: 1 });
    }

    #[test]
    fn a_recursive_watch_hears_of_everything_below_also_from_the_root() {
        let mut table = WatchTable::default();
        table.add("/", B, Modes::RECURSIVE);
        table.add("/a", A, Modes::RECURSIVE);
        table.add("/a/b", A, Modes::STANDARD);
        assert_eq!(fired(&mut table, "/a/b"), [A, B]);
        assert_eq!(fired(&mut table, "/c"), [B]);
        table.forget(B);
        assert_eq!(fired(&mut table, "/c"), []);
        assert!(table.remove("/a", A, Modes::RECURSIVE));
        assert_eq!((table.recursive, table.figures()), (0, WatchFigures::default()));
    }

    #[test]
    fn many_watches_of_a_connection_that_is_gone_leave_step_by_step() {
        let mut table = WatchTable::default();
        let paths: Vec<String> = (0..5000).map(|n| format!("/a/{n}")).collect();
        for path in &paths {
            table.add(path, A, Modes::RECURSIVE);
        }
        table.add("/a/7", B, Modes::STANDARD);
        table.forget(A);
        assert_eq!(table.figures().watches, 1, "they count no more");
        assert!(table.is_forgetting() && table.recursive == 5000);
        for _ in 0..4 {
            table.forget_more();
        }
        assert!(!table.is_forgetting());
        assert_eq!(table.recursive, 0);
        assert_eq!(table.figures(), WatchFigures { connections: 1, paths: 1, watches: 1 });
        assert_eq!(fired(&mut table, "/a/7"), [B]);
    }

    #[test]
    fn watches_are_listed_in_parts_also_when_the_last_one_is_gone() {
        let mut table = WatchTable::default();
        for path in ["/a", "/b", "/c"] {
            table.add(path, A, Modes::STANDARD);
            table.add(path, B, Modes::STANDARD);
        }
        let shown = |part: &[(ConnId, Arc<str>)]| -> Vec<String> {
            part.iter().map(|(conn, path)| format!("{} {path}", conn.0)).collect()
        };
        let first = table.some(None, 2);
        assert_eq!(shown(&first), ["1 /a", "1 /b"]);
        table.remove("/b", A, Modes::ANY);
        let second = table.some(first.last(), 2);
        assert_eq!(shown(&second), ["1 /c", "2 /a"]);
        table.forget(B);
        assert!(table.some(second.last(), 2).is_empty());
    }

    #[test]
    fn removing_one_mode_leaves_the_others() {
        let mut watches = Watches::default();
        watches.add_persistent("/a", A, 0);
        watches.data.add("/a", A, Modes::STANDARD);
        assert_eq!(watches.remove("/a", A, 4), Some(true));
        assert_eq!(watches.contains("/a", A, 2), Some(true));
        assert_eq!(watches.remove("/a", A, 1), Some(false));
        assert_eq!(watches.remove("/a", A, 3), Some(true));
        assert_eq!(watches.contains("/a", A, 3), Some(false));
        assert_eq!(watches.remove("/a", A, 6), None);
    }
}
