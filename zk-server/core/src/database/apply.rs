//! Transaction -> changes of the state. The same transactions in the same order give the same state everywhere.

use super::{DIGEST_INTERVAL, DIGEST_LOG, Database, Observer, ZxidDigest};
use crate::path;
use crate::quota::{self, Figures};
use crate::tree::{Lifetime, NodeStat};
use wire::Str;
use wire::jute::Reader;
use wire::zk::txn::{SubTxn, Txn, TxnHeader, TxnRecord};
use wire::zk::{Acl, SessionId, Stat, Zxid, err, op};

/// What a transaction, or a part of a multi, came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// An opcode; [`op::ERROR`] for what was refused.
    pub kind: i32,
    /// An error code. Not 0 also for what was already there, or gone, during a replay.
    pub err: i32,
    /// Empty where the kind has none.
    pub path: Str,
    /// After this change; zeros where the kind has none.
    pub stat: Stat,
    /// A multi's.
    pub parts: Vec<Outcome>,
}

impl Outcome {
    fn new(kind: i32, err: i32) -> Outcome {
        Outcome { kind, err, path: Str::new(), stat: Stat::default(), parts: vec![] }
    }
}

/// The parts of a create that are not about the node's content.
struct Birth {
    zxid: Zxid,
    time: i64,
    lifetime: Lifetime,
    parent_cversion: i32,
}

impl Database {
    /// Applies one transaction, and tells of each change as it is made.
    pub fn apply(&mut self, txn: &Txn, observer: &mut impl Observer) -> Outcome {
        let outcome = self.apply_record(&txn.header, &txn.record, observer);
        self.last_zxid = self.last_zxid.max(txn.header.zxid);
        let digest = self.digest();
        let applied = ZxidDigest { zxid: txn.header.zxid, digest: digest.digest };
        self.applied = Some(applied);
        if txn.digest.is_some_and(|expected| expected.version == digest.version && expected != digest) {
            self.digest_mismatches += 1;
        }
        if applied.zxid % DIGEST_INTERVAL == 0 {
            if self.digest_log.len() == DIGEST_LOG {
                self.digest_log.pop_front();
            }
            self.digest_log.push_back(applied);
        }
        outcome
    }

    fn apply_record(
        &mut self,
        header: &TxnHeader,
        record: &TxnRecord,
        observer: &mut impl Observer,
    ) -> Outcome {
        let birth = |lifetime, parent_cversion| Birth {
            zxid: header.zxid,
            time: header.time,
            lifetime,
            parent_cversion,
        };
        let kind = record.kind();
        match record {
            TxnRecord::CreateSession { timeout } => {
                self.sessions.insert(header.session, *timeout);
                Outcome::new(kind, 0)
            }
            TxnRecord::CloseSession { paths } => {
                self.close_session(
                    header.session,
                    paths.as_deref().unwrap_or_default(),
                    header.zxid,
                    observer,
                );
                Outcome::new(kind, 0)
            }
            TxnRecord::Error { err } => Outcome::new(kind, *err),
            TxnRecord::Create(txn) | TxnRecord::Create2(txn) => {
                let lifetime =
                    if txn.ephemeral { Lifetime::Session(header.session) } else { Lifetime::Persistent };
                let birth = birth(lifetime, txn.parent_cversion);
                let stat = self.create(&txn.path, txn.data.as_deref(), &txn.acl, &birth, observer);
                outcome(kind, &txn.path, stat)
            }
            TxnRecord::CreateContainer(txn) => {
                let birth = birth(Lifetime::Container, txn.parent_cversion);
                let stat = self.create(&txn.path, txn.data.as_deref(), &txn.acl, &birth, observer);
                outcome(kind, &txn.path, stat)
            }
            TxnRecord::CreateTtl(txn) => {
                let birth = birth(Lifetime::Ttl(txn.ttl), txn.parent_cversion);
                let stat = self.create(&txn.path, txn.data.as_deref(), &txn.acl, &birth, observer);
                outcome(kind, &txn.path, stat)
            }
            TxnRecord::Delete(txn) | TxnRecord::DeleteContainer(txn) => outcome(
                kind,
                &txn.path,
                self.delete(&txn.path, header.zxid, observer).map(|()| Stat::default()),
            ),
            TxnRecord::SetData(txn) | TxnRecord::Reconfig(txn) => {
                let stat = self.set_data(&txn.path, txn.data.as_deref(), txn.version, header, observer);
                outcome(kind, &txn.path, stat)
            }
            TxnRecord::SetAcl(txn) => {
                outcome(kind, &txn.path, self.set_acl(&txn.path, &txn.acl, txn.version))
            }
            TxnRecord::Check(txn) => outcome(kind, &txn.path, Ok(Stat::default())),
            TxnRecord::Multi(parts) => self.apply_multi(header, parts, observer),
        }
    }

    /// One error among the parts undoes all: those before it come out as errors 0, those behind it as -2.
    fn apply_multi(&mut self, header: &TxnHeader, parts: &[SubTxn], observer: &mut impl Observer) -> Outcome {
        let mut whole = Outcome::new(op::MULTI, 0);
        let failed = parts.iter().any(|part| part.kind == op::ERROR);
        let mut behind = false;
        for part in parts {
            let mut from = Reader::new(part.data.clone().unwrap_or_default());
            let done = match TxnRecord::read(part.kind, &mut from) {
                Ok(TxnRecord::Error { err }) => {
                    behind = true;
                    Outcome::new(op::ERROR, err)
                }
                Ok(_) if failed => {
                    Outcome::new(op::ERROR, if behind { err::RUNTIME_INCONSISTENCY } else { 0 })
                }
                // A multi has no multis and no sessions in it: refusing them keeps a hostile log from recursing.
                Ok(
                    TxnRecord::Multi(_) | TxnRecord::CreateSession { .. } | TxnRecord::CloseSession { .. },
                )
                | Err(_) => Outcome::new(op::ERROR, err::MARSHALLING),
                Ok(record) => self.apply_record(header, &record, observer),
            };
            if whole.err == 0 {
                whole.err = done.err;
            }
            whole.parts.push(done);
        }
        whole
    }

    fn create(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        birth: &Birth,
        observer: &mut impl Observer,
    ) -> Result<Stat, i32> {
        let (parent_path, name) = path::split(path).ok_or(err::NO_NODE)?;
        let parent = self.tree.get(parent_path).ok_or(err::NO_NODE)?;
        let parent_acl = self.acls.get(parent.acl());
        let exists = self.tree.contains(path);
        // Counted even if the node is there: the indexes of a replay have to run as they did before.
        let acl = self.acls.acquire(acl);
        self.raise_parent(parent_path, birth);
        if exists {
            // A replay over a snapshot that already held the node, perhaps with an ACL that it did not hold.
            let old = self.tree.get(path).map(|node| node.acl());
            self.tree.set_acl(path, acl);
            old.into_iter().for_each(|old| self.acls.release(old));
            return Err(err::NODE_EXISTS);
        }
        self.tree.insert(path, data, acl, NodeStat::created(birth.zxid, birth.time, birth.lifetime));
        self.enlist(path, self.lifetime(birth.lifetime.to_owner()));
        let stat = self.tree.get(path).map(|node| self.stat(node)).unwrap_or_default();
        self.quota_created(path, parent_path, name, data);
        observer.created(path, &self.acls.get(acl), &parent_acl);
        Ok(stat)
    }

    /// A parent's cversion and pzxid never go back: a replay may repeat a create that a later one has overtaken.
    fn raise_parent(&mut self, parent: &str, birth: &Birth) {
        self.tree.update(parent, |stat| {
            let wanted = match birth.parent_cversion {
                -1 => stat.cversion.wrapping_add(1),
                version => version,
            };
            if wanted > stat.cversion {
                stat.cversion = wanted;
                stat.pzxid = birth.zxid;
            }
        });
    }

    /// Notes in which of the lists a node stands that somebody will have to delete.
    pub(super) fn enlist(&mut self, path: &str, lifetime: Lifetime) {
        match lifetime {
            Lifetime::Persistent => {}
            Lifetime::Session(session) => {
                let new = self.ephemerals.entry(session).or_default().insert(path.into());
                self.ephemerals_count += usize::from(new);
            }
            Lifetime::Container => {
                self.containers.insert(path.into());
            }
            Lifetime::Ttl(_) => {
                self.ttls.insert(path.into());
            }
        }
    }

    fn delist(&mut self, path: &str, lifetime: Lifetime) {
        match lifetime {
            Lifetime::Persistent => {}
            Lifetime::Session(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    self.ephemerals_count -= usize::from(paths.remove(path));
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Lifetime::Container => {
                self.containers.remove(path);
            }
            Lifetime::Ttl(_) => {
                self.ttls.remove(path);
            }
        }
    }

    fn delete(&mut self, path: &str, zxid: Zxid, observer: &mut impl Observer) -> Result<(), i32> {
        let (parent_path, name) = path::split(path).ok_or(err::NO_NODE)?;
        if path::is_special(path) {
            return Err(err::BAD_ARGUMENTS);
        }
        let parent = self.tree.update(parent_path, |stat| stat.pzxid = stat.pzxid.max(zxid));
        let parent_acl = parent.map(|node| node.acl()).ok_or(err::NO_NODE)?;
        // Only a replay over a newer snapshot meets a node with children here: they go first, as they did then.
        let mut below = vec![];
        self.tree.walk_below(path, &mut |path, _| below.push(path.to_owned()));
        below.iter().rev().for_each(|path| {
            self.forget(path);
        });
        let (acl, bytes) = self.forget(path).ok_or(err::NO_NODE)?;
        self.quota_deleted(path, parent_path, name, bytes);
        observer.deleted(path, &acl, &self.acls.get(parent_acl));
        Ok(())
    }

    /// Takes a node out of the tree and of every list. Its ACL and the length of its data.
    fn forget(&mut self, path: &str) -> Option<(crate::acl::AclList, usize)> {
        let node = self.tree.remove(path)?;
        let acl = self.acls.get(node.acl);
        self.acls.release(node.acl);
        self.delist(path, self.lifetime(node.ephemeral_owner));
        Some((acl, node.data_len))
    }

    fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        header: &TxnHeader,
        observer: &mut impl Observer,
    ) -> Result<Stat, i32> {
        let before = self.tree.get(path).ok_or(err::NO_NODE)?.data_len();
        let node = self.tree.set_data(path, data, |stat| {
            stat.version = version;
            stat.mzxid = header.zxid;
            stat.mtime = header.time;
        });
        let (stat, acl) = node.map(|node| (node.stat(), node.acl())).ok_or(err::NO_NODE)?;
        self.quota_used(path, data.unwrap_or_default().len() as i64 - before as i64, 0);
        observer.data_changed(path, &self.acls.get(acl));
        Ok(self.shown(stat))
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, i32> {
        let old = self.tree.get(path).ok_or(err::NO_NODE)?.acl();
        let acl = self.acls.acquire(acl);
        self.acls.release(old);
        self.tree.set_acl(path, acl);
        let node = self.tree.update(path, |stat| stat.aversion = version);
        let stat = node.map(|node| node.stat()).ok_or(err::NO_NODE)?;
        Ok(self.shown(stat))
    }

    /// Deletes what the leader listed, then what only this server knows of (a snapshot may lag behind the list).
    fn close_session(&mut self, session: SessionId, paths: &[Str], zxid: Zxid, observer: &mut impl Observer) {
        self.sessions.remove(&session);
        for path in paths {
            // A node may be gone already: replayed over a newer snapshot.
            let _ = self.delete(path, zxid, observer);
        }
        let left = self.ephemerals.remove(&session).unwrap_or_default();
        self.ephemerals_count -= left.len();
        for path in left {
            let _ = self.delete(&path, zxid, observer);
        }
    }

    fn quota_created(&mut self, path: &str, parent: &str, name: &str, data: Option<&[u8]>) {
        if let Some(subject) = quota::subject(parent) {
            match name {
                quota::LIMITS => self.quotas.add(subject),
                quota::STATS => self.recount(subject),
                _ => {}
            }
        }
        self.quota_used(path, data.unwrap_or_default().len() as i64, 1);
    }

    fn quota_deleted(&mut self, path: &str, parent: &str, name: &str, bytes: usize) {
        if name == quota::LIMITS
            && let Some(subject) = quota::subject(parent)
        {
            self.quotas.remove(subject);
        }
        self.quota_used(path, -(bytes as i64), -1);
    }

    /// Adds to the usage of the quota that covers `path`, in place: no version, no zxid, no event.
    fn quota_used(&mut self, path: &str, bytes: i64, count: i64) {
        let Some(limited) = self.quotas.covering(path) else { return };
        let stats = quota::stats_path(limited);
        let Some(node) = self.tree.get(&stats) else { return };
        let mut usage = Figures::parse(node.data().unwrap_or_default());
        usage.count += count;
        usage.bytes += bytes;
        self.tree.set_data(&stats, Some(usage.to_text().as_bytes()), |_| {});
    }

    /// Writes the size of a subtree into its stats node.
    pub(super) fn recount(&mut self, subject: &str) {
        let (count, bytes) = self.tree.get(subject).map_or((0, 0), |node| {
            let (nodes, bytes) = node.below();
            (nodes as i64 + 1, bytes as i64 + node.data_len() as i64)
        });
        let usage = Figures { count, bytes, ..Figures::UNSET };
        self.tree.set_data(&quota::stats_path(subject), Some(usage.to_text().as_bytes()), |_| {});
    }

    /// Finds the quotas of a tree that was just loaded, and counts what they cover.
    pub(super) fn find_quotas(&mut self) {
        let mut found = vec![];
        self.tree.walk_below(path::QUOTA, &mut |path, _| {
            if let Some((parent, quota::LIMITS)) = path::split(path)
                && let Some(subject) = quota::subject(parent)
            {
                found.push(subject.to_owned());
            }
        });
        for subject in found {
            self.recount(&subject);
            self.quotas.add(&subject);
        }
    }
}

fn outcome(kind: i32, path: &Str, stat: Result<Stat, i32>) -> Outcome {
    let (stat, err) = match stat {
        Ok(stat) => (stat, 0),
        Err(err) => (Stat::default(), err),
    };
    Outcome { kind, err, path: path.clone(), stat, parts: vec![] }
}
