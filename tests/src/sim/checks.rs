//! What must hold, whatever goes wrong.

use super::client::Client;
use super::invariants::Invariant::*;
use super::node::Node;
use super::request::{Kind, Request};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::zk::{SessionId, Zxid, epoch_of};
use zk_core::peer::Mode;
use zk_core::{Database, Peer};

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
    /// Nodes whose deletion was asked for, and acknowledged.
    vanishing: BTreeSet<String>,
    vanished: BTreeSet<String>,
    /// The numbers of sequential nodes, by zxid.
    numbers: BTreeMap<Zxid, i64>,
    twins: Vec<(String, String)>,
    /// Nodes of sessions that their clients no longer have.
    expiring: BTreeSet<String>,
    /// Sessions that their clients have closed.
    closed: BTreeSet<SessionId>,
    /// Nodes of which nobody else would make one, whose creation was refused.
    refused: BTreeSet<String>,
    /// Acknowledged changes of the members: their text by its version.
    changes: BTreeMap<Zxid, Bytes>,
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
            return Err(OneTransactionPerZxid.broken(format!("two transactions have the zxid 0x{zxid:x}")));
        }
        Ok(())
    }

    /// Agreement: one state per zxid.
    pub fn after_step(&mut self, node: usize, peer: &Peer) -> Result<(), String> {
        let status = peer.status();
        if peer.is_fuzzy() {
            return Ok(());
        }
        let state = (peer.database().digest().digest, hash(peer.database().sessions()));
        let known = *self.states.entry(status.last_zxid).or_insert(state);
        if let Some(session) = peer.database().orphaned_sessions().first() {
            return Err(EphemeralsWithSession
                .broken(format!("server {} has nodes of session 0x{session:x}, which is over", node + 1)));
        }
        if known != state {
            return Err(OneStatePerZxid.broken(format!(
                "server {} has the tree and the sessions {state:x?} at 0x{:x}, others had {known:x?}",
                node + 1,
                status.last_zxid
            )));
        }
        Ok(())
    }

    /// Leadership: one serving leader per epoch, and one stay per leader. A voter that is a quorum alone takes its epoch
    /// and begins to serve in one step: it leads once what it stores in that step is stored.
    pub fn after_effects(&mut self, node: usize, life: u32, peer: &Peer) -> Result<(), String> {
        let status = peer.status();
        if status.mode == Mode::Leading && status.serving {
            let epoch = epoch_of(status.last_zxid);
            let leader = *self.leaders.entry(epoch).or_insert((node, life));
            if leader != (node, life) {
                return Err(OneLeaderPerEpoch.broken(format!(
                    "epoch {epoch} is led by server {} and by server {}",
                    leader.0 + 1,
                    node + 1
                )));
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
            return Err(RealTimeOrder.broken(format!(
                "a write of {path} got 0x{zxid:x}, but 0x{floor:x} was acknowledged before it"
            )));
        }
        let write = Write { path: path.into(), data: data.clone(), lasting };
        if let Some(other) = self.writes.insert(zxid, write) {
            return Err(OneWritePerZxid
                .broken(format!("0x{zxid:x} acknowledges a write of {path} and one of {}", other.path)));
        }
        self.last_acked = self.last_acked.max(zxid);
        self.seen(path, zxid, version, data)
    }

    /// The members change: each version is one text, and counts from its transaction on.
    pub fn changed(&mut self, text: &Bytes, zxid: Zxid, floor: Zxid) -> Result<(), String> {
        if zxid <= floor {
            return Err(RealTimeOrder.broken(format!(
                "a change of the members got 0x{zxid:x}, but 0x{floor:x} was acknowledged before it"
            )));
        }
        if !text.ends_with(format!("version={zxid:x}").as_bytes()) {
            return Err(Answers.broken(format!("a change at 0x{zxid:x} is answered by {text:?}")));
        }
        self.last_acked = self.last_acked.max(zxid);
        match self.changes.insert(zxid, text.clone()) {
            Some(other) if other != text => {
                Err(OneWritePerZxid.broken(format!("the members of 0x{zxid:x} are {other:?} and {text:?}")))
            }
            _ => Ok(()),
        }
    }

    pub fn changes(&self) -> u64 {
        self.changes.len() as u64
    }

    /// All have the members of the last change that was acknowledged, or of a later one.
    fn check_members(&self, nodes: &[Node]) -> Result<(), String> {
        let mut first: Option<&str> = None;
        for (at, node) in nodes.iter().enumerate() {
            let Some((peer, members)) = node.peer.as_ref().and_then(|peer| Some((peer, peer.ensemble()?)))
            else {
                continue;
            };
            let held = peer.database().node("/zookeeper/config").and_then(|node| node.data());
            if held != Some(members.text.as_bytes()) {
                return Err(OneFinalState.broken(format!(
                    "server {} counts with\n{}\nand shows {held:?}",
                    at + 1,
                    members.text
                )));
            }
            let last = self.changes.keys().next_back().copied().unwrap_or(0);
            if members.version < last || *first.get_or_insert(&members.text) != &*members.text {
                return Err(OneFinalState.broken(format!(
                    "server {} has the members\n{}\nthe first one has\n{first:?}, 0x{last:x} was acknowledged",
                    at + 1,
                    members.text
                )));
            }
        }
        Ok(())
    }

    /// Somebody asks for its deletion: from here on it may be gone.
    pub fn may_vanish(&mut self, path: &str) {
        self.vanishing.insert(path.into());
    }

    /// A server without room did not do this.
    pub fn refused(&mut self, request: &Request) {
        if matches!(request.kind, Kind::CreateNew | Kind::CreateEphemeral | Kind::CreateTwo) {
            self.refused.insert(request.path.clone());
        }
    }

    pub fn deleted(&mut self, path: &str, zxid: Zxid, floor: Zxid) -> Result<(), String> {
        if zxid <= floor {
            return Err(RealTimeOrder.broken(format!(
                "a deletion of {path} got 0x{zxid:x}, but 0x{floor:x} was acknowledged before it"
            )));
        }
        self.last_acked = self.last_acked.max(zxid);
        self.vanished.insert(path.into());
        Ok(())
    }

    /// Two nodes of one transaction.
    pub fn both_or_none(&mut self, path: String, twin: String) {
        self.twins.push((path, twin));
    }

    /// Sequential nodes are numbered in the order of their transactions.
    pub fn numbered(&mut self, zxid: Zxid, number: i64) -> Result<(), String> {
        let before = self.numbers.range(..zxid).next_back();
        let after = self.numbers.range(zxid + 1..).next();
        if before.is_some_and(|(_, before)| *before >= number)
            || after.is_some_and(|(_, after)| *after <= number)
        {
            return Err(SequenceOrder
                .broken(format!("0x{zxid:x} has the number {number} between {before:?} and {after:?}")));
        }
        self.numbers.insert(zxid, number);
        Ok(())
    }

    /// A client has closed its session: its nodes are gone.
    pub fn session_closed(&mut self, session: SessionId, ephemerals: BTreeSet<String>) {
        self.closed.insert(session);
        self.vanished.extend(ephemerals);
    }

    /// A client was told that its session is over. A leader says so when it has begun to end the session; another one
    /// that never hears of that ends it once more, when its time is up.
    pub fn session_expired(&mut self, ephemerals: BTreeSet<String>) {
        self.expiring.extend(ephemerals);
    }

    pub fn awaits_expiry(&self) -> bool {
        !self.expiring.is_empty()
    }

    /// A version of a node is one value, written once.
    pub fn seen(&mut self, path: &str, zxid: Zxid, version: i32, data: &Bytes) -> Result<(), String> {
        let value = (zxid, data.clone());
        let known = self.versions.entry((path.into(), version)).or_insert_with(|| value.clone());
        if *known != value {
            return Err(
                OneWritePerZxid.broken(format!("version {version} of {path} is {known:?} and {value:?}"))
            );
        }
        Ok(())
    }

    /// Durability: every acknowledged write is in everyone's state. Agreement: the states are one.
    pub fn final_state(&self, nodes: &[Node]) -> Result<(), String> {
        let mut newest: BTreeMap<&str, (Zxid, &Bytes)> = BTreeMap::new();
        let lasting = |write: &Write| write.lasting && !self.vanishing.contains(&write.path);
        for (zxid, write) in self.writes.iter().filter(|(_, write)| lasting(write)) {
            newest.insert(&write.path, (*zxid, &write.data));
        }
        self.check_members(nodes)?;
        let mut first = None;
        for (at, node) in nodes.iter().enumerate() {
            let db = node
                .peer
                .as_ref()
                .ok_or_else(|| EveryoneServes.broken("a server is down at the end"))?
                .database();
            for (path, (zxid, data)) in &newest {
                let node = db.node(path).ok_or_else(|| {
                    Durability.broken(format!("server {} lacks {path}, acknowledged at 0x{zxid:x}", at + 1))
                })?;
                let mzxid = node.stat().mzxid;
                let same = mzxid > *zxid || mzxid == *zxid && node.data() == Some(&data[..]);
                if !same {
                    return Err(Durability.broken(format!(
                        "server {} has {path} as of 0x{mzxid:x}, 0x{zxid:x} was acknowledged",
                        at + 1
                    )));
                }
            }
            self.check_ends(db).map_err(|why| format!("{why}, on server {}", at + 1))?;
            let state = (db.last_zxid(), db.digest().digest, db.sessions());
            let first = first.get_or_insert(state);
            if *first != state {
                return Err(OneFinalState
                    .broken(format!("servers end apart: {first:?} and, on server {}, {state:?}", at + 1)));
            }
            if db.digest_mismatches() > 0 {
                return Err(Health.broken(format!("server {} counts digest mismatches", at + 1)));
            }
        }
        Ok(())
    }

    /// What was deleted is gone, with what belonged to sessions that are over; multis were whole.
    fn check_ends(&self, db: &Database) -> Result<(), String> {
        let mut gone = self.vanished.iter().chain(&self.expiring);
        if let Some(path) = gone.find(|path| db.node(path).is_some()) {
            return Err(Finality.broken(format!("{path} is there, though its end was acknowledged")));
        }
        if let Some(session) = self.closed.iter().find(|session| db.sessions().contains_key(session)) {
            return Err(Finality.broken(format!("session 0x{session:x} lives, though it was closed")));
        }
        if let Some(path) = self.refused.iter().find(|path| db.node(path).is_some()) {
            return Err(Refusal.broken(format!("{path} is there, though it was refused")));
        }
        let half = |(path, twin): &&(String, String)| db.node(path).is_some() != db.node(twin).is_some();
        // One of two may have been deleted since.
        let half = self.twins.iter().find(|pair| half(pair) && !self.vanishing.contains(&pair.0));
        if let Some((path, twin)) = half {
            return Err(Atomicity.broken(format!("there is only one of {path} and {twin}")));
        }
        Ok(())
    }

    /// Ephemeral nodes live as long as their session.
    pub fn session_state(&self, client: &Client, db: &Database) -> Result<(), String> {
        let lives = db.sessions().contains_key(&client.session);
        let held: BTreeSet<&str> = db.ephemerals_of(client.session).collect();
        for path in &client.ephemerals {
            if held.contains(path.as_str()) != lives || db.node(path).is_some() != lives {
                return Err(EphemeralsWithSession
                    .broken(format!("{path} of session 0x{:x}, which lives: {lives}", client.session)));
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
