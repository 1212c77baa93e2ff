//! One server's disk: a log whose end is unsafe until it is synced, snapshots, and two epoch files.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use wire::jute::Reader;
use wire::zk::Zxid;
use wire::zk::txn::Txn;
use zk_core::Database;
use zk_core::peer::Recovered;

#[derive(Debug, Default)]
pub struct Disk {
    log: Vec<(Zxid, Bytes)>,
    /// Written, not synced.
    queue: VecDeque<(Zxid, Bytes)>,
    /// How many of the queue the fsync that is under way covers.
    syncing: usize,
    snapshots: BTreeMap<Zxid, Bytes>,
    pub accepted_epoch: i64,
    pub current_epoch: i64,
}

impl Disk {
    pub fn append(&mut self, zxid: Zxid, txn: Bytes) {
        self.queue.push_back((zxid, txn));
    }

    /// An fsync of all that is queued begins; false where there is nothing, or one is under way.
    pub fn begin_sync(&mut self) -> bool {
        let begins = self.syncing == 0 && !self.queue.is_empty();
        if begins {
            self.syncing = self.queue.len();
        }
        begins
    }

    /// The fsync is through: the last zxid that it made stable.
    pub fn end_sync(&mut self) -> Option<Zxid> {
        self.log.extend(self.queue.drain(..self.syncing.min(self.queue.len())));
        (std::mem::take(&mut self.syncing) > 0).then(|| self.log.last().map(|(zxid, _)| *zxid))?
    }

    /// Syncs the whole queue at once; the last zxid, where there was anything.
    pub fn flush(&mut self) -> Option<Zxid> {
        self.syncing = self.queue.len();
        self.end_sync()
    }

    /// `kept`: how many of the unsynced appends happen to survive.
    pub fn crash(&mut self, kept: usize) {
        self.syncing = kept.min(self.queue.len());
        self.end_sync();
        self.queue.clear();
    }

    pub fn last_synced(&self) -> Zxid {
        self.log.last().map_or(0, |(zxid, _)| *zxid)
    }

    pub fn unsynced(&self) -> usize {
        self.queue.len()
    }

    pub fn save_snapshot(&mut self, zxid: Zxid, stream: Bytes) {
        self.snapshots.insert(zxid, stream);
        while self.snapshots.len() > 3 {
            self.snapshots.pop_first();
        }
    }

    pub fn truncate(&mut self, zxid: Zxid) {
        self.log.retain(|(at, _)| *at <= zxid);
        self.snapshots.retain(|at, _| *at <= zxid);
    }

    /// What a start finds: the newest snapshot, and the log behind it.
    pub fn recover(&self, recent_max: usize) -> Result<Recovered, String> {
        let (base, mut database) = match self.snapshots.last_key_value() {
            None => (0, Database::new()),
            Some((zxid, stream)) => {
                let loaded = Database::decode_stream(&mut Reader::new(stream.clone()));
                (*zxid, loaded.map_err(|error| format!("snapshot 0x{zxid:x} cannot be read: {error}"))?)
            }
        };
        database.set_last_zxid(base);
        let mut recent = vec![];
        for (zxid, bytes) in self.log.iter().filter(|(zxid, _)| *zxid > base) {
            let txn = Txn::decode(bytes.clone()).map_err(|error| format!("txn 0x{zxid:x}: {error}"))?;
            database.replay(&txn);
            database.set_last_zxid(*zxid);
            recent.push(txn);
        }
        recent.drain(..recent.len().saturating_sub(recent_max));
        let last_logged = database.last_zxid();
        let (accepted_epoch, current_epoch) = (self.accepted_epoch, self.current_epoch);
        Ok(Recovered { database, last_logged, recent, accepted_epoch, current_epoch })
    }
}
