//! The transactions that a server has: applied, logged and not yet committed, and on stable storage.

use crate::database::Database;
use crate::event::Effect;
use bytes::Bytes;
use std::collections::VecDeque;
use wire::zk::Zxid;
use wire::zk::txn::Txn;

/// A committed transaction as it was logged, kept for learners that lag a little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub zxid: Zxid,
    pub txn: Bytes,
}

#[derive(Debug)]
pub struct History {
    pub db: Database,
    /// The last committed transactions, oldest first.
    committed: VecDeque<Committed>,
    committed_max: usize,
    /// Logged, not committed, in the order of their zxids.
    pending: VecDeque<Txn>,
    /// The last one given to the log, and the last one that is on stable storage.
    appended: Zxid,
    durable: Zxid,
}

impl History {
    pub fn new(mut db: Database, last_logged: Zxid, recent: Vec<Txn>, committed_max: usize) -> History {
        db.set_last_zxid(last_logged);
        let mut history = History {
            db,
            committed: VecDeque::new(),
            committed_max,
            pending: VecDeque::new(),
            appended: last_logged,
            durable: last_logged,
        };
        if recent.last().is_some_and(|txn| txn.zxid() == last_logged) {
            recent.iter().for_each(|txn| history.remember(txn));
        }
        history
    }

    /// The end of this server's history, as votes and ACKEPOCH state it.
    pub fn last_logged(&self) -> Zxid {
        self.pending.back().map_or(self.db.last_zxid(), |txn| txn.zxid())
    }

    pub fn committed(&self) -> &VecDeque<Committed> {
        &self.committed
    }

    pub fn pending(&self) -> &VecDeque<Txn> {
        &self.pending
    }

    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// Nothing that was given to the log could still be lost.
    pub fn is_durable(&self) -> bool {
        self.durable >= self.appended
    }

    pub fn on_durable(&mut self, zxid: Zxid) {
        self.durable = self.durable.max(zxid);
    }

    /// Logs a transaction whose commit comes later.
    pub fn propose(&mut self, txn: Txn, out: &mut Vec<Effect>) {
        self.log(&txn, out);
        self.pending.push_back(txn);
    }

    /// Logs a transaction that is committed already. The caller applies it.
    pub fn log(&mut self, txn: &Txn, out: &mut Vec<Effect>) {
        self.appended = txn.zxid();
        out.push(Effect::Append { zxid: txn.zxid(), txn: txn.bytes.clone() });
    }

    /// Takes the oldest pending transaction out: it is committed, and the caller applies it.
    pub fn commit(&mut self) -> Option<Txn> {
        let txn = self.pending.pop_front()?;
        self.remember(&txn);
        Some(txn)
    }

    /// Applies a committed transaction while nobody is served.
    pub fn replay(&mut self, txn: &Txn) {
        self.db.replay(txn);
        self.db.set_last_zxid(txn.zxid());
        self.remember(txn);
    }

    /// Keeps a committed transaction for learners that lag.
    pub fn remember(&mut self, txn: &Txn) {
        self.committed.push_back(Committed { zxid: txn.zxid(), txn: txn.bytes.clone() });
        while self.committed.len() > self.committed_max {
            self.committed.pop_front();
        }
    }

    /// The whole log counts from here on: what was pending when a role ended is applied, as a restart would. True:
    /// there was something.
    pub fn fast_forward(&mut self) -> bool {
        let any = !self.pending.is_empty();
        while let Some(txn) = self.pending.pop_front() {
            self.replay(&txn);
        }
        any
    }

    /// The log was cut, and this is what is left. Returns what was there.
    pub fn truncated(&mut self, db: Database) -> Database {
        let before = std::mem::replace(&mut self.db, db);
        let zxid = self.db.last_zxid();
        self.pending.clear();
        (self.appended, self.durable) = (zxid, zxid);
        while self.committed.back().is_some_and(|last| last.zxid > zxid) {
            self.committed.pop_back();
        }
        before
    }

    /// Another state takes the place of this one, at the same point of the history. How it came to be nobody knows:
    /// learners that lag get it whole. Returns what was there.
    pub fn restored(&mut self, mut db: Database) -> Database {
        db.set_last_zxid(self.db.last_zxid());
        self.committed.clear();
        std::mem::replace(&mut self.db, db)
    }

    /// A leader's snapshot takes the place of everything; returns what was there. Until the snapshot is saved, the
    /// disk still holds the old history, and that is what counts if the connection breaks.
    #[must_use]
    pub fn install(&mut self, db: Database, zxid: Zxid) -> History {
        let new = History::new(db, zxid, vec![], self.committed_max);
        std::mem::replace(self, new)
    }

    /// A snapshot of the present state is on stable storage.
    pub fn snapshot_saved(&mut self) {
        (self.appended, self.durable) = (self.db.last_zxid(), self.db.last_zxid());
    }
}
