//! What the files say of the past, for tools that only read: the state at some point, and every transaction. Nothing is
//! written or deleted, and a server may be at work on the same files.

use super::{Disk, DiskError, loading, snapshot, txnlog};
use std::path::{Path, PathBuf};
use tracing::warn;
use wire::jute::Record;
use wire::zk::txn::{Txn, TxnHeader};
use wire::zk::{Zxid, epoch_of};
use zk_core::Database;

/// The two `version-2` folders of a server.
#[derive(Debug, Clone)]
pub struct History {
    snapshots: PathBuf,
    logs: PathBuf,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Once this transaction was applied.
    Zxid(Zxid),
    /// Once the last transaction was applied whose time is not later; ms since 1970, by the leaders' clocks.
    Time(i64),
    /// All that is in the files.
    Newest,
}

/// The state at some point.
#[derive(Debug)]
pub struct Past {
    pub database: Database,
    /// Of the last transaction in it.
    pub zxid: Zxid,
    /// Its time, where the log still has it.
    pub time: Option<i64>,
    /// Where it begins.
    pub snapshot: PathBuf,
    /// Transactions that were replayed over the snapshot.
    pub replayed: u64,
}

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("there is no snapshot in {}", .0.display())]
    Empty(PathBuf),
    /// What leads there was purged.
    #[error("the files do not reach back so far: the oldest point is zxid 0x{zxid:x}{}", at_time(*time))]
    TooOld { zxid: Zxid, time: Option<i64> },
    #[error("the files do not reach so far: the newest point is zxid 0x{zxid:x}{}", at_time(*time))]
    TooNew { zxid: Zxid, time: Option<i64> },
    #[error("transactions 0x{from:x} to 0x{to:x} are missing before {}", path.display())]
    Gap { from: Zxid, to: Zxid, path: PathBuf },
}

fn at_time(time: Option<i64>) -> String {
    let time = time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map(|time| format!(" ({time})")).unwrap_or_default()
}

/// A snapshot, and the last zxid of which it may hold changes.
struct Start {
    database: Database,
    end: Zxid,
    path: PathBuf,
}

impl History {
    /// `data_dir` and `data_log_dir` as in zoo.cfg, without `version-2`.
    pub fn new(data_dir: &Path, data_log_dir: &Path) -> History {
        History { snapshots: data_dir.join("version-2"), logs: data_log_dir.join("version-2") }
    }

    /// Of a server that is running.
    pub(super) fn of(disk: &Disk) -> History {
        History { snapshots: disk.snapshots.clone(), logs: disk.logs.clone() }
    }

    /// Visits the transactions from `from` on, in the log's order, with their file, until `visit` says false. What was
    /// torn at the end of a file is passed over, as at a start; damage is an error.
    pub fn each(
        &self,
        from: Zxid,
        mut visit: impl FnMut(Txn, &Path) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        self.each_payload(from, |payload, path| {
            let txn = Txn::decode(payload).map_err(|error| not_a_transaction(path, &error.to_string()))?;
            visit(txn, path)
        })
    }

    fn each_payload(
        &self,
        from: Zxid,
        mut visit: impl FnMut(bytes::Bytes, &Path) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        for path in txnlog::files_from(&self.logs, from)? {
            let Some(mut file) = txnlog::LogFile::open(&path)? else { continue };
            while let Some(entry) = file.next()? {
                let header = TxnHeader::decode(&entry.payload);
                let header = header.map_err(|error| not_a_transaction(&path, &error.to_string()))?;
                if header.zxid >= from && !visit(entry.payload, &path)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Zxid and time of every transaction.
    fn each_time(&self, mut visit: impl FnMut(Zxid, i64)) -> Result<(), HistoryError> {
        self.each_payload(0, |payload, _| {
            if let Ok(header) = TxnHeader::decode(&payload) {
                visit(header.zxid, header.time);
            }
            Ok(true)
        })
    }

    /// The state at `point`.
    pub fn at(&self, point: Point) -> Result<Past, HistoryError> {
        let until = match point {
            Point::Zxid(zxid) => zxid,
            Point::Newest => Zxid::MAX,
            Point::Time(time) => self.zxid_at(time)?,
        };
        let Some(start) = self.start(until)? else { return Err(self.too_old()?) };
        self.replay(start, until)
    }

    /// Of the last transaction whose time is not later.
    fn zxid_at(&self, time: i64) -> Result<Zxid, HistoryError> {
        let mut found = None;
        self.each_time(|zxid, at| {
            if at <= time {
                found = Some(zxid);
            }
        })?;
        found.map_or_else(|| Err(self.too_old()?), Ok)
    }

    fn too_old(&self) -> Result<HistoryError, HistoryError> {
        let candidates = snapshot::candidates(&self.snapshots, usize::MAX)?;
        let oldest = candidates.iter().rev().find_map(|(zxid, path)| read(*zxid, path));
        let Some(oldest) = oldest else { return Ok(HistoryError::Empty(self.snapshots.clone())) };
        Ok(HistoryError::TooOld { zxid: oldest.end, time: self.time_of(oldest.end)? })
    }

    fn time_of(&self, zxid: Zxid) -> Result<Option<i64>, HistoryError> {
        let mut time = None;
        self.each_time(|at, when| {
            if at == zxid {
                time = Some(when);
            }
        })?;
        Ok(time)
    }

    /// The newest whole snapshot that has nothing of what came behind `until`. One that was being written then has
    /// some of it: it is passed over.
    fn start(&self, until: Zxid) -> Result<Option<Start>, HistoryError> {
        let candidates = snapshot::candidates(&self.snapshots, usize::MAX)?;
        if candidates.is_empty() {
            return Err(HistoryError::Empty(self.snapshots.clone()));
        }
        let mut older = candidates.iter().filter(|(zxid, _)| *zxid <= until);
        Ok(older.find_map(|(zxid, path)| read(*zxid, path).filter(|start| start.end <= until)))
    }

    fn replay(&self, start: Start, until: Zxid) -> Result<Past, HistoryError> {
        let from = start.database.last_zxid() + 1;
        let mut past = Past {
            zxid: start.database.last_zxid(),
            time: None,
            database: start.database,
            snapshot: start.path,
            replayed: 0,
        };
        let mut reached = until == Zxid::MAX || past.zxid == until;
        self.each(from, |txn, path| {
            let (last, next) = (past.zxid, txn.zxid());
            if next > until {
                reached = true;
                return Ok(false);
            }
            // The first transaction of an epoch has the counter 1.
            let expected =
                if epoch_of(last) == epoch_of(next) { last + 1 } else { wire::zk::zxid(epoch_of(next), 1) };
            if next > expected {
                return Err(HistoryError::Gap { from: expected, to: next - 1, path: path.into() });
            }
            past.database.replay(&txn);
            past.zxid = past.zxid.max(next);
            past.time = Some(txn.header.time);
            past.replayed += 1;
            reached |= next == until;
            // What follows may be half written.
            Ok(next != until)
        })?;
        // A snapshot that was written while changes went on is whole only behind them.
        if !reached {
            return Err(HistoryError::TooNew { zxid: past.zxid, time: past.time });
        }
        past.database.set_last_zxid(past.zxid);
        if past.time.is_none() {
            past.time = self.time_of(past.zxid)?;
        }
        Ok(past)
    }
}

fn not_a_transaction(path: &Path, why: &str) -> HistoryError {
    HistoryError::Disk(DiskError::Broken(format!("{}: not a transaction: {why}", path.display())))
}

/// `None`, and a line in the log: it is damaged.
fn read(zxid: Zxid, path: &Path) -> Option<Start> {
    match loading::read(path, usize::MAX) {
        Ok(found) => {
            let end = found.reaches().max(zxid);
            let mut database = found.database;
            database.set_last_zxid(zxid);
            Some(Start { database, end, path: path.into() })
        }
        Err(error) => {
            warn!("problem reading snap file {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::{Home, append, create, txn};
    use wire::zk::txn::{DeleteTxn, TxnRecord};

    /// Snapshots at 0 and 4, transactions 1 to 6; the fifth deletes what the second made.
    fn home() -> (Home, History) {
        let home = Home::new();
        let (disk, _) = home.open().unwrap();
        append(&mut disk.log(), 1..=4);
        let (disk, recovered) = home.open().unwrap();
        disk.save(&recovered.database, true).unwrap();
        let mut log = disk.log();
        let delete = txn(5, TxnRecord::Delete(DeleteTxn { path: "/n2".into() }));
        log.append(5, &delete.bytes).unwrap();
        log.append(6, &create(6).bytes).unwrap();
        log.roll().unwrap();
        let history = History::new(home.path(), home.path());
        (home, history)
    }

    fn nodes(past: &Past) -> Vec<String> {
        let root = past.database.node("/").unwrap();
        root.children().filter(|name| *name != "zookeeper").map(str::to_owned).collect()
    }

    #[test]
    fn the_state_is_told_at_each_zxid_and_time() {
        let (_home, history) = home();
        assert_eq!(nodes(&history.at(Point::Zxid(2)).unwrap()), ["n1", "n2"]);
        let past = history.at(Point::Zxid(5)).unwrap();
        assert_eq!(
            (nodes(&past), past.time, past.replayed),
            (vec!["n1".into(), "n3".into(), "n4".into()], Some(1005), 1)
        );
        assert!(past.snapshot.ends_with("snapshot.4"));
        assert_eq!(history.at(Point::Newest).unwrap().zxid, 6);
        assert_eq!(history.at(Point::Time(1003)).unwrap().zxid, 3);
        assert_eq!(history.at(Point::Time(99_999)).unwrap().zxid, 6);
        assert_eq!(history.at(Point::Zxid(4)).unwrap().time, Some(1004));
    }

    #[test]
    fn what_the_files_do_not_reach_is_refused_with_what_they_do() {
        let (home, history) = home();
        let wrong = |point| history.at(point).unwrap_err().to_string();
        assert!(
            wrong(Point::Zxid(7)).contains("the newest point is zxid 0x6 (1970-"),
            "{}",
            wrong(Point::Zxid(7))
        );
        std::fs::remove_file(home.path().join("version-2/snapshot.0")).unwrap();
        assert!(
            wrong(Point::Zxid(3)).contains("the oldest point is zxid 0x4 (1970-"),
            "{}",
            wrong(Point::Zxid(3))
        );
        assert!(wrong(Point::Time(5)).contains("the oldest point is zxid 0x4"));
    }

    #[test]
    fn a_log_that_is_missing_is_an_error() {
        let (home, history) = home();
        std::fs::remove_file(home.path().join("version-2/snapshot.4")).unwrap();
        std::fs::remove_file(home.path().join("version-2/log.1")).unwrap();
        let wrong = history.at(Point::Newest).unwrap_err();
        assert!(matches!(wrong, HistoryError::Gap { from: 1, to: 4, .. }), "{wrong}");
    }

    #[test]
    fn a_snapshot_that_was_being_written_at_that_point_is_passed_over() {
        let (home, history) = home();
        let (disk, recovered) = home.open().unwrap();
        let mut body = bytes::BytesMut::new();
        recovered.database.encode_stream(&mut body);
        // Begun at 4, finished at 6: it has the deletion of the fifth.
        let mut writer = disk.snapshot(4, true).unwrap();
        writer.write(&body).unwrap();
        writer.finish(None, 6).unwrap();
        let past = history.at(Point::Zxid(4)).unwrap();
        assert_eq!(nodes(&past), ["n1", "n2", "n3", "n4"]);
        assert!(past.snapshot.ends_with("snapshot.0"));
        assert!(history.at(Point::Zxid(6)).unwrap().snapshot.ends_with("snapshot.4"));
    }
}
