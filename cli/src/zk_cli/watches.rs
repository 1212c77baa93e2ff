//! Which watches this session has set, to set them again on a new connection. Paths are from the server's root.

use std::collections::BTreeSet;
use wire::zk::{SetWatches2Request, err};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

use WatchKind::{Child, Data, Exist, Persistent, Recursive};

#[derive(Debug, Default)]
pub struct Watches {
    sets: [BTreeSet<String>; 5],
}

impl Watches {
    fn set(&mut self, kind: WatchKind) -> &mut BTreeSet<String> {
        &mut self.sets[kind as usize]
    }

    /// A request that asked for a watch was answered: is it set now, and as what?
    pub fn answered(&mut self, kind: WatchKind, path: String, code: i32) {
        match (kind, code) {
            (Exist, err::OK) => self.set(Data).insert(path),
            (Exist, err::NO_NODE) => self.set(Exist).insert(path),
            (kind, err::OK) => self.set(kind).insert(path),
            _ => false,
        };
    }

    /// An event uses up the watches that fire once.
    pub fn fired(&mut self, event: i32, path: &str) {
        let used: &[WatchKind] = match event {
            1 | 3 => &[Data, Exist],
            2 => &[Data, Exist, Child],
            _ => &[Child],
        };
        for kind in used {
            self.set(*kind).remove(path);
        }
    }

    pub fn has(&self, kinds: &[WatchKind], path: &str) -> bool {
        kinds.iter().any(|kind| self.sets[*kind as usize].contains(path))
    }

    /// Removes them; returns the kinds of which there was one.
    pub fn forget(&mut self, kinds: &[WatchKind], path: &str) -> Vec<WatchKind> {
        kinds.iter().copied().filter(|kind| self.set(*kind).remove(path)).collect()
    }

    /// What a new connection is told; `None`: there is nothing.
    pub fn rearm(&self, last_zxid: i64) -> Option<SetWatches2Request> {
        if self.sets.iter().all(BTreeSet::is_empty) {
            return None;
        }
        let list =
            |kind: WatchKind| self.sets[kind as usize].iter().map(|path| path.as_str().into()).collect();
        Some(SetWatches2Request {
            relative_zxid: last_zxid,
            data: list(Data),
            exist: list(Exist),
            child: list(Child),
            persistent: list(Persistent),
            recursive: list(Recursive),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_kept_until_its_event_and_persistent_ones_beyond() {
        let mut watches = Watches::default();
        watches.answered(Exist, "/there".into(), err::OK);
        watches.answered(Exist, "/not".into(), err::NO_NODE);
        watches.answered(Data, "/refused".into(), err::NO_NODE);
        watches.answered(Persistent, "/there".into(), err::OK);
        let armed = watches.rearm(7).unwrap();
        assert_eq!((armed.data.len(), armed.exist.len(), armed.persistent.len()), (1, 1, 1));
        watches.fired(2, "/there");
        watches.fired(1, "/not");
        assert!(!watches.has(&[Data, Exist], "/there"));
        assert_eq!(watches.forget(&[Data, Persistent, Recursive], "/there"), [Persistent]);
        assert_eq!(watches.rearm(7), None);
    }
}
