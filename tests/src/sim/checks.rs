//! What must hold, whatever goes wrong.

use super::node::Node;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::zk::{SessionId, Zxid, epoch_of};
use zk_core::Peer;
use zk_core::peer::Mode;

#[derive(Debug)]
struct Write {
    path: String,
    data: Bytes,
    lasting: bool,
}

/// Everything that was promised so far.
#[derive(Debug, Default)]
pub struct Checks {
    /// The transaction at each zxid, as any server has logged it.
    txns: BTreeMap<Zxid, Bytes>,
    /// The tree's digest and the sessions after each zxid, on any server.
    states: BTreeMap<Zxid, (i64, u64)>,
    /// Who served as the leader of each epoch.
    leaders: BTreeMap<i64, (usize, u32)>,
    /// Acknowledged writes.
    writes: BTreeMap<Zxid, Write>,
    /// What each version of a node was, as of when.
    versions: BTreeMap<(String, i32), (Zxid, Bytes)>,
    last_acked: Zxid,
}

impl Checks {
    pub fn writes_acked(&self) -> u64 {
        self.writes.len() as u64
    }

    pub fn leaderships(&self) -> u64 {
        self.leaders.len() as u64
    }

    pub fn last_acked(&self) -> Zxid {
        self.last_acked
    }

    /// Agreement: no two servers log different transactions at one zxid.
    pub fn appended(&mut self, zxid: Zxid, txn: &Bytes) -> Result<(), String> {
        let known = self.txns.entry(zxid).or_insert_with(|| txn.clone());
        if known != txn {
            return Err(format!("two transactions have the zxid 0x{zxid:x}"));
        }
        Ok(())
    }

    /// Agreement: one state per zxid. Leadership: one serving leader per epoch, and one stay per leader.
    pub fn after_step(&mut self, node: usize, life: u32, peer: &Peer) -> Result<(), String> {
        let status = peer.status();
        let state = (peer.database().digest().digest, hash(peer.database().sessions()));
        let known = *self.states.entry(status.last_zxid).or_insert(state);
        if known != state {
            return Err(format!(
                "server {} has the tree and the sessions {state:x?} at 0x{:x}, others had {known:x?}",
                node + 1,
                status.last_zxid
            ));
        }
        if status.mode == Mode::Leading && status.serving {
            let epoch = epoch_of(status.last_zxid);
            let leader = *self.leaders.entry(epoch).or_insert((node, life));
            if leader != (node, life) {
                return Err(format!(
                    "epoch {epoch} is led by server {} and by server {}",
                    leader.0 + 1,
                    node + 1
                ));
            }
        }
        Ok(())
    }

    /// A standalone server gives the zxids again that it lost before they were on stable storage.
    pub fn forget_behind(&mut self, zxid: Zxid) {
        self.txns.split_off(&(zxid + 1));
        self.states.split_off(&(zxid + 1));
    }

    /// Writes are in real-time order: `floor` was acknowledged before this one was asked for.
    pub fn acked(
        &mut self,
        path: &str,
        zxid: Zxid,
        version: i32,
        data: &Bytes,
        floor: Zxid,
        lasting: bool,
    ) -> Result<(), String> {
        if zxid <= floor {
            return Err(format!(
                "a write of {path} got 0x{zxid:x}, but 0x{floor:x} was acknowledged before it"
            ));
        }
        let write = Write { path: path.into(), data: data.clone(), lasting };
        if let Some(other) = self.writes.insert(zxid, write) {
            return Err(format!("0x{zxid:x} acknowledges a write of {path} and one of {}", other.path));
        }
        self.last_acked = self.last_acked.max(zxid);
        self.seen(path, zxid, version, data)
    }

    /// A version of a node is one value, written once.
    pub fn seen(&mut self, path: &str, zxid: Zxid, version: i32, data: &Bytes) -> Result<(), String> {
        let value = (zxid, data.clone());
        let known = self.versions.entry((path.into(), version)).or_insert_with(|| value.clone());
        if *known != value {
            return Err(format!("version {version} of {path} is {known:?} and {value:?}"));
        }
        Ok(())
    }

    /// Durability: every acknowledged write is in everyone's state. Agreement: the states are one.
    pub fn final_state(&self, nodes: &[Node]) -> Result<(), String> {
        let mut newest: BTreeMap<&str, (Zxid, &Bytes)> = BTreeMap::new();
        for (zxid, write) in self.writes.iter().filter(|(_, write)| write.lasting) {
            newest.insert(&write.path, (*zxid, &write.data));
        }
        let mut first = None;
        for (at, node) in nodes.iter().enumerate() {
            let db = node.peer.as_ref().ok_or("a server is down at the end")?.database();
            for (path, (zxid, data)) in &newest {
                let node = db
                    .node(path)
                    .ok_or_else(|| format!("server {} lacks {path}, acknowledged at 0x{zxid:x}", at + 1))?;
                let mzxid = node.stat().mzxid;
                let same = mzxid > *zxid || mzxid == *zxid && node.data() == Some(&data[..]);
                if !same {
                    return Err(format!(
                        "server {} has {path} as of 0x{mzxid:x}, 0x{zxid:x} was acknowledged",
                        at + 1
                    ));
                }
            }
            let state = (db.last_zxid(), db.digest().digest, db.sessions());
            let first = first.get_or_insert(state);
            if *first != state {
                return Err(format!("servers end apart: {first:?} and, on server {}, {state:?}", at + 1));
            }
            if db.digest_mismatches() > 0 {
                return Err(format!("server {} counts digest mismatches", at + 1));
            }
        }
        Ok(())
    }
}

fn hash(sessions: &BTreeMap<SessionId, i32>) -> u64 {
    let mut hasher = DefaultHasher::new();
    sessions.hash(&mut hasher);
    hasher.finish()
}
