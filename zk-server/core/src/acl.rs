//! Who may do what: the table of distinct ACLs, the check of a request, and what a client's ACL is turned into.

use crate::auth::{self, AuthRules};
use crate::hash::Map;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::Str;
use wire::jute::Record;
use wire::zk::{Acl, Id, err, perm};

/// A node's ACL; `None` is the open one, `world:anyone` with every permission.
pub type AclList = Option<Arc<[Acl]>>;

/// The index of the open ACL, which the table never lists.
pub const OPEN: i64 = -1;

/// `world:anyone` with these permissions.
pub fn world(perms: i32) -> Acl {
    Acl { perms, id: Id { scheme: Str::from_static("world"), id: Str::from_static("anyone") } }
}

fn is_open(acl: &[Acl]) -> bool {
    matches!(acl, [only] if only.perms == perm::ALL && is_world(&only.id))
}

fn is_world(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

#[derive(Debug)]
struct Entry {
    acl: Arc<[Acl]>,
    /// Encoded, the key of the reverse map.
    bytes: Bytes,
    uses: u64,
}

/// Each distinct ACL once, by an index that is never reused.
#[derive(Debug, Default)]
pub struct AclTable {
    entries: BTreeMap<i64, Entry>,
    indexes: Map<Bytes, i64>,
    last: i64,
}

impl AclTable {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `None` for the open ACL.
    pub fn get(&self, index: i64) -> AclList {
        self.entries.get(&index).map(|entry| entry.acl.clone())
    }

    pub fn view(&self, index: i64) -> Option<&[Acl]> {
        if index == OPEN { None } else { self.entries.get(&index).map(|entry| &*entry.acl) }
    }

    /// The ACL's index, counted as used once more.
    pub fn acquire(&mut self, acl: &[Acl]) -> i64 {
        if is_open(acl) {
            return OPEN;
        }
        let bytes = encode(acl);
        let index = match self.indexes.get(&bytes) {
            Some(index) => *index,
            None => {
                self.insert(self.last + 1, bytes);
                self.last
            }
        };
        self.count(index);
        index
    }

    /// One node more has this index.
    fn count(&mut self, index: i64) {
        if let Some(entry) = self.entries.get_mut(&index) {
            entry.uses += 1;
        }
    }

    /// One node less has this index; an ACL that nobody uses is forgotten.
    pub fn release(&mut self, index: i64) {
        let Some(entry) = self.entries.get_mut(&index) else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses == 0
            && let Some(entry) = self.entries.remove(&index)
            && self.indexes.get(&entry.bytes) == Some(&index)
        {
            self.indexes.remove(&entry.bytes);
        }
    }

    /// Adds an ACL under the index that it has in a snapshot.
    pub fn load(&mut self, index: i64, acl: &[Acl]) {
        if index != OPEN {
            self.insert(index, encode(acl));
        }
    }

    /// A node of a snapshot has this index. A snapshot is taken while changes go on, so the index may be missing:
    /// until the replay of the log brings the ACL, only a super user gets in.
    pub fn load_use(&mut self, index: i64) {
        if index != OPEN && !self.entries.contains_key(&index) {
            self.insert(index, encode(&[world(0)]));
        }
        self.count(index);
    }

    /// Forgets what no node of the snapshot uses.
    pub fn purge(&mut self) {
        let unused: Vec<i64> =
            self.entries.iter().filter(|(_, entry)| entry.uses == 0).map(|(index, _)| *index).collect();
        unused.into_iter().for_each(|index| self.release(index));
    }

    /// In the order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &[Acl])> {
        self.entries.iter().map(|(index, entry)| (*index, &*entry.acl))
    }

    /// `bytes` own their text, so that no request's buffer is kept alive.
    fn insert(&mut self, index: i64, bytes: Bytes) {
        let acl: Vec<Acl> = Vec::decode(&bytes).expect("an ACL was just encoded");
        self.last = self.last.max(index);
        self.indexes.insert(bytes.clone(), index);
        self.entries.insert(index, Entry { acl: acl.into(), bytes, uses: 0 });
    }
}

fn encode(acl: &[Acl]) -> Bytes {
    let mut to = bytes::BytesMut::with_capacity(64);
    (acl.len() as i32).write(&mut to);
    acl.iter().for_each(|entry| entry.write(&mut to));
    to.freeze()
}

/// Whether `ids` may do what needs one of the `wanted` permissions. The open and the empty ACL allow everything, and
/// so do the scheme `super` and `skipACL`.
pub fn allows(rules: &AuthRules, acl: Option<&[Acl]>, wanted: i32, ids: &[Id]) -> bool {
    let Some(acl) = acl.filter(|_| !rules.skip_acl) else { return true };
    if acl.is_empty() || ids.iter().any(|id| id.scheme == "super") {
        return true;
    }
    acl.iter().filter(|entry| entry.perms & wanted != 0).any(|entry| {
        is_world(&entry.id)
            || ids.iter().any(|id| {
                id.scheme == entry.id.scheme && auth::matches(rules, &id.scheme, &id.id, &entry.id.id)
            })
    })
}

/// What a client's ACL becomes in the transaction: no duplicates, `auth:` replaced by the client's own ids.
/// Anything without a provider or with a malformed id is refused with -114.
pub fn fix_up(rules: &AuthRules, acl: &[Acl], ids: &[Id]) -> Result<Vec<Acl>, i32> {
    let mut fixed = Vec::with_capacity(acl.len());
    for (at, entry) in acl.iter().enumerate() {
        if acl[..at].contains(entry) {
            continue;
        }
        if is_world(&entry.id) {
            fixed.push(entry.clone());
        } else if entry.id.scheme == "auth" {
            let before = fixed.len();
            let own = ids.iter().filter(|id| auth::is_authenticated(rules, &id.scheme));
            fixed.extend(own.map(|id| Acl { perms: entry.perms, id: id.clone() }));
            if fixed.len() == before {
                return Err(err::INVALID_ACL);
            }
        } else if auth::is_valid(rules, &entry.id.scheme, &entry.id.id) {
            fixed.push(entry.clone());
        } else {
            return Err(err::INVALID_ACL);
        }
    }
    if fixed.is_empty() { Err(err::INVALID_ACL) } else { Ok(fixed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(perms: i32, scheme: &'static str, id: &'static str) -> Acl {
        Acl { perms, id: Id { scheme: Str::from_static(scheme), id: Str::from_static(id) } }
    }

    #[test]
    fn equal_acls_share_an_index_and_leave_with_their_last_user() {
        let mut table = AclTable::default();
        assert_eq!(table.acquire(&[world(perm::ALL)]), OPEN);
        let read = table.acquire(&[world(perm::READ)]);
        assert_eq!((read, table.acquire(&[world(perm::READ)])), (1, 1));
        table.release(read);
        assert!(table.get(read).is_some());
        table.release(read);
        assert_eq!(table.len(), 0);
        assert_eq!(table.acquire(&[world(perm::READ)]), 2);
    }

    #[test]
    fn an_entry_counts_when_any_wanted_bit_is_set() {
        let ids = [acl(0, "digest", "bob:x").id];
        let list = [acl(perm::ADMIN, "digest", "bob:x"), acl(perm::READ, "digest", "ann:y")];
        assert!(allows(&AuthRules::default(), Some(&list), perm::READ | perm::ADMIN, &ids));
        assert!(!allows(&AuthRules::default(), Some(&list), perm::READ, &ids));
        assert!(allows(&AuthRules::default(), Some(&list), perm::READ, &[acl(0, "super", "").id]));
        assert!(allows(&AuthRules::default(), Some(&[]), perm::READ, &[]));
    }

    #[test]
    fn fix_up_removes_duplicates_expands_auth_and_refuses_the_rest() {
        let ids = [acl(0, "ip", "127.0.0.1").id, acl(0, "digest", "bob:x").id];
        let open = world(perm::ALL);
        assert_eq!(
            fix_up(&AuthRules::default(), &[open.clone(), open.clone()], &ids),
            Ok(vec![open.clone()])
        );
        assert_eq!(
            fix_up(&AuthRules::default(), &[acl(3, "auth", "anything")], &ids),
            Ok(vec![acl(3, "digest", "bob:x")])
        );
        for refused in [
            vec![],
            vec![acl(3, "world", "someone")],
            vec![acl(3, "digest", "bob")],
            vec![acl(3, "none", "x")],
            vec![acl(3, "ip", "::1")],
        ] {
            assert_eq!(fix_up(&AuthRules::default(), &refused, &ids), Err(err::INVALID_ACL), "{refused:?}");
        }
        assert_eq!(fix_up(&AuthRules::default(), &[acl(3, "auth", "")], &ids[..1]), Err(err::INVALID_ACL));
    }
}
