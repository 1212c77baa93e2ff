//! One server's disk: a log whose end is unsafe until it is synced, snapshots, and two epoch files; and what becomes of
//! them.
//!
//! | damage | what a start finds |
//! |---|---|
//! | crash with unsynced appends | some of them, perhaps the next one torn: it is dropped, as if it had not been written |
//! | a sector of the log is damaged | an error, wherever it is: what is behind it must not be lost silently |
//! | one is that a newer snapshot holds | nothing, until the server has to go back before that snapshot: then an error |
//! | a sector of a snapshot is damaged | the snapshot before it and the log from there, or an error where that has a gap |
//! | a disk that lies about its syncs | less than it promised, and no way to see it: no promise stands on that |

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use wire::jute::Reader;
use wire::zk::Zxid;
use wire::zk::txn::Txn;
use zk_core::Database;
use zk_core::peer::Recovered;

/// Snapshots that are kept.
const SNAPSHOTS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// A part of it was written when the process died.
    Torn,
    /// It was whole once.
    Damaged,
}

#[derive(Debug)]
struct Entry {
    zxid: Zxid,
    txn: Bytes,
    health: Health,
}

#[derive(Debug)]
struct Snapshot {
    stream: Bytes,
    damaged: bool,
}

#[derive(Debug)]
pub struct Disk {
    log: VecDeque<Entry>,
    /// Written, not synced.
    queue: VecDeque<(Zxid, Bytes)>,
    /// How many of the queue the fsync that is under way covers.
    syncing: usize,
    snapshots: BTreeMap<Zxid, Snapshot>,
    /// The log up to here was removed: snapshots hold it.
    purged: Zxid,
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    /// False: it was emptied, and has not taken over a leader's history since. Such a server is nobody's witness.
    pub trusted: bool,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            log: VecDeque::new(),
            queue: VecDeque::new(),
            syncing: 0,
            snapshots: BTreeMap::new(),
            purged: 0,
            accepted_epoch: 0,
            current_epoch: 0,
            trusted: true,
        }
    }
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
        let covered = self.queue.drain(..self.syncing.min(self.queue.len()));
        self.log.extend(covered.map(|(zxid, txn)| Entry { zxid, txn, health: Health::Good }));
        (std::mem::take(&mut self.syncing) > 0).then(|| self.log.back().map(|entry| entry.zxid))?
    }

    /// Syncs the whole queue at once; the last zxid, where there was anything.
    pub fn flush(&mut self) -> Option<Zxid> {
        self.syncing = self.queue.len();
        self.end_sync()
    }

    /// `kept`: how many of the unsynced appends happen to survive; the one behind them is torn.
    pub fn crash(&mut self, kept: usize, torn: bool) {
        self.syncing = kept.min(self.queue.len());
        self.end_sync();
        if let Some((zxid, txn)) = self.queue.pop_front().filter(|_| torn) {
            self.log.push_back(Entry { zxid, txn, health: Health::Torn });
        }
        self.queue.clear();
    }

    /// The last `count` of the appends that it said to be synced never were.
    pub fn lied(&mut self, count: usize) {
        self.log.truncate(self.log.len().saturating_sub(count));
    }

    pub fn last_synced(&self) -> Zxid {
        self.log.iter().rfind(|entry| entry.health != Health::Torn).map_or(0, |entry| entry.zxid)
    }

    pub fn unsynced(&self) -> usize {
        self.queue.len()
    }

    pub fn log_len(&self) -> usize {
        self.log.len()
    }

    /// A leader's snapshot fills a disk that was emptied.
    pub fn save_snapshot(&mut self, zxid: Zxid, stream: Bytes) {
        self.trusted = true;
        self.snapshots.insert(zxid, Snapshot { stream, damaged: false });
        while self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_first();
        }
    }

    pub fn truncate(&mut self, zxid: Zxid) {
        self.log.retain(|entry| entry.zxid <= zxid);
        self.snapshots.retain(|at, _| *at <= zxid);
    }

    /// Removes the log that the oldest snapshot holds. Returns how many transactions that were.
    pub fn purge(&mut self) -> usize {
        let Some((&oldest, _)) = self.snapshots.first_key_value().filter(|_| self.snapshots.len() > 1) else {
            return 0;
        };
        let before = self.log.len();
        self.purged = self.purged.max(oldest);
        self.log.retain(|entry| entry.zxid > oldest);
        before - self.log.len()
    }

    /// A state as of this zxid can be made of what is there.
    pub fn can_go_back_to(&self, zxid: Zxid) -> bool {
        self.base(zxid).is_ok()
    }

    /// It has all that its server ever vouched for, and keeps it where the server has to go back: damage in the log is
    /// damage, though a snapshot hides it from a start.
    pub fn is_whole(&self) -> bool {
        let damaged = self.log.iter().any(|entry| entry.health == Health::Damaged);
        self.trusted && !damaged && self.base(Zxid::MAX).is_ok()
    }

    /// The snapshot from which a state as of `until` at most is loaded. Whatever is damaged and newer, the log has to lead
    /// past it: a leader's snapshot stands where the log has a gap.
    fn base(&self, until: Zxid) -> Result<Zxid, String> {
        let mut snapshots = self.snapshots.range(..=until);
        let base = snapshots.clone().rfind(|(_, snapshot)| !snapshot.damaged).map_or(0, |(zxid, _)| *zxid);
        let logged = |zxid| self.log.iter().any(|entry| entry.zxid == zxid);
        if let Some((zxid, _)) = snapshots.find(|(zxid, _)| **zxid > base && !logged(**zxid)) {
            return Err(format!("snapshot 0x{zxid:x} is damaged, and the log does not lead to it"));
        }
        if base < self.purged {
            return Err(format!("damaged: no snapshot leads to the log behind 0x{:x}", self.purged));
        }
        let mut needed = self.log.iter().filter(|entry| entry.zxid > base && entry.zxid <= until);
        match needed.find(|entry| entry.health == Health::Damaged) {
            Some(entry) => Err(format!("the log is damaged at 0x{:x}", entry.zxid)),
            None => Ok(base),
        }
    }

    /// Damages an entry of the log.
    pub fn damage_log(&mut self, at: usize) {
        if let Some(entry) = self.log.get_mut(at) {
            entry.health = Health::Damaged;
        }
    }

    /// Damages the newest snapshot.
    pub fn damage_snapshot(&mut self) -> Option<Zxid> {
        let (zxid, newest) = self.snapshots.iter_mut().next_back()?;
        newest.damaged = true;
        Some(*zxid)
    }

    /// An operator empties it, because it cannot be read: it is to be filled by a leader.
    pub fn wipe(&mut self) {
        *self = Disk { trusted: false, ..Disk::default() };
    }

    /// What a start finds: the newest snapshot that can be read, and the log behind it.
    pub fn recover(&mut self, recent_max: usize) -> Result<Recovered, String> {
        if self.log.back().is_some_and(|entry| entry.health == Health::Torn) {
            self.log.pop_back();
        }
        let base = self.base(Zxid::MAX)?;
        let mut database = match self.snapshots.get(&base) {
            None => Database::new(),
            Some(Snapshot { stream, .. }) => Database::decode_stream(&mut Reader::new(stream.clone()))
                .map_err(|error| format!("snapshot 0x{base:x} cannot be read: {error}"))?,
        };
        database.set_last_zxid(base);
        let mut recent = vec![];
        for Entry { zxid, txn, .. } in self.log.iter().filter(|entry| entry.zxid > base) {
            let txn = Txn::decode(txn.clone()).map_err(|error| format!("txn 0x{zxid:x}: {error}"))?;
            database.replay(&txn);
            database.set_last_zxid(*zxid);
            recent.push(txn);
        }
        recent.drain(..recent.len().saturating_sub(recent_max));
        let last_logged = if self.trusted { database.last_zxid() } else { -1 };
        let (accepted_epoch, current_epoch) = (self.accepted_epoch, self.current_epoch);
        Ok(Recovered { database, last_logged, recent, accepted_epoch, current_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{create, path};
    use bytes::BytesMut;

    fn disk(zxids: impl IntoIterator<Item = Zxid>) -> Disk {
        let mut disk = Disk::default();
        zxids.into_iter().for_each(|zxid| disk.append(zxid, create(zxid).bytes));
        disk
    }

    fn snapshot(disk: &mut Disk, zxid: Zxid) {
        let mut database = Database::new();
        (1..=zxid).for_each(|zxid| database.replay(&create(zxid)));
        let mut stream = BytesMut::new();
        database.encode_stream(&mut stream);
        disk.save_snapshot(zxid, stream.freeze());
    }

    fn has(disk: &mut Disk, zxid: Zxid) -> bool {
        disk.recover(9).unwrap().database.node(&path(zxid)).is_some()
    }

    #[test]
    fn what_was_not_synced_is_lost_and_the_torn_entry_with_it() {
        let mut disk = disk(1..=4);
        disk.crash(2, true);
        assert_eq!((disk.last_synced(), disk.log_len()), (2, 3));
        assert_eq!(disk.recover(9).unwrap().last_logged, 2);
        assert_eq!(disk.log_len(), 2);
    }

    #[test]
    fn damage_in_the_log_stops_a_start_unless_a_snapshot_stands_behind_it() {
        for at in [1, 3] {
            let mut disk = disk(1..=4);
            disk.flush();
            disk.damage_log(at);
            assert!(disk.recover(9).is_err() && !disk.is_whole());
            snapshot(&mut disk, 4);
            assert!(has(&mut disk, 2));
        }
    }

    #[test]
    fn damage_that_a_snapshot_hides_is_met_where_the_server_goes_back_before_that() {
        let mut disk = disk(1..=4);
        disk.flush();
        disk.damage_log(1);
        snapshot(&mut disk, 4);
        assert!(has(&mut disk, 4) && !disk.is_whole());
        assert_eq!([1, 2, 3, 4].map(|zxid| disk.can_go_back_to(zxid)), [true, false, false, true]);
        disk.truncate(1);
        assert!(has(&mut disk, 1) && disk.is_whole());
    }

    #[test]
    fn a_damaged_snapshot_is_passed_over_where_the_log_leads_past_it() {
        let mut own = disk(1..=4);
        own.flush();
        snapshot(&mut own, 3);
        own.damage_snapshot();
        assert!(has(&mut own, 4) && own.is_whole());
        // That of a leader, in whose place the log has a gap.
        let mut taken = disk([1, 9]);
        taken.flush();
        snapshot(&mut taken, 8);
        assert!(has(&mut taken, 9));
        taken.damage_snapshot();
        assert!(taken.recover(9).is_err() && !taken.is_whole());
        assert!(taken.can_go_back_to(1) && !taken.can_go_back_to(8));
    }

    #[test]
    fn an_emptied_disk_is_nobody_s_witness_until_a_leader_has_filled_it() {
        let mut disk = disk(1..=4);
        disk.wipe();
        assert_eq!(disk.recover(9).unwrap().last_logged, -1);
        snapshot(&mut disk, 4);
        assert_eq!(disk.recover(9).unwrap().last_logged, 4);
    }

    #[test]
    fn what_was_purged_cannot_be_gone_back_to() {
        let mut disk = disk(1..=6);
        disk.flush();
        [2, 4].iter().for_each(|zxid| snapshot(&mut disk, *zxid));
        assert_eq!(disk.purge(), 2);
        assert!(disk.can_go_back_to(3) && !disk.can_go_back_to(1));
        assert!((1..=6).all(|zxid| has(&mut disk, zxid)));
    }
}
