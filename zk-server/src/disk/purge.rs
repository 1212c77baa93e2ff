//! Deletes snapshots and logs that no recovery needs: `autopurge` and `zkCleanup`.

use super::{DiskError, files_by_zxid, snapshot, sync_folder};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Keeps the newest `keep` whole snapshots, and every log entry behind the oldest of them. Returns what was deleted.
pub fn purge(snapshots: &Path, logs: &Path, keep: usize) -> Result<Vec<PathBuf>, DiskError> {
    let gone = unneeded(snapshots, logs, keep)?;
    for path in &gone {
        fs::remove_file(path).map_err(DiskError::io("delete", path))?;
    }
    Ok(gone)
}

/// What [`purge`] deletes: logs, then snapshots. Those that stay are on the disk when this returns.
pub fn unneeded(snapshots: &Path, logs: &Path, keep: usize) -> Result<Vec<PathBuf>, DiskError> {
    let kept = snapshot::candidates(snapshots, keep)?;
    let Some((oldest, _)) = kept.last() else { return Ok(vec![]) };
    let older = |files: Vec<(i64, PathBuf)>, limit: i64| {
        files.into_iter().filter(move |(zxid, _)| *zxid < limit).map(|(_, path)| path)
    };
    let log_files = files_by_zxid(logs, "log")?;
    // The log that is under way at the oldest snapshot holds entries behind it.
    let needed = log_files.iter().rev().map(|(zxid, _)| *zxid).find(|zxid| zxid <= oldest);
    let mut unneeded: Vec<PathBuf> = older(log_files, needed.unwrap_or(*oldest)).collect();
    unneeded.extend(older(files_by_zxid(snapshots, "snapshot")?, *oldest));
    if !unneeded.is_empty() {
        // Those that stay must be on the disk before those that they replace are gone.
        for (_, path) in &kept {
            File::open(path).and_then(|file| file.sync_all()).map_err(DiskError::io("sync", path))?;
        }
        sync_folder(snapshots)?;
    }
    Ok(unneeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(zxids: &[(&str, i64)], keep: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (kind, zxid) in zxids {
            let end: &[u8] = if *kind == "torn" { b"cut" } else { b"......\0\0\0\x01/" };
            let name = if *kind == "torn" { "snapshot" } else { kind };
            fs::write(folder.path().join(format!("{name}.{zxid:x}")), end).unwrap();
        }
        purge(folder.path(), folder.path(), keep).unwrap();
        let mut names = super::super::names(folder.path()).unwrap();
        names.sort();
        names
    }

    #[test]
    fn the_log_under_way_at_the_oldest_kept_snapshot_stays() {
        let files = [
            ("log", 1),
            ("log", 5),
            ("log", 9),
            ("log", 13),
            ("snapshot", 0),
            ("snapshot", 4),
            ("snapshot", 8),
            ("snapshot", 12),
        ];
        assert_eq!(
            left(&files, 3),
            ["log.1", "log.5", "log.9", "log.d", "snapshot.4", "snapshot.8", "snapshot.c"]
        );
        assert_eq!(left(&files, 2), ["log.5", "log.9", "log.d", "snapshot.8", "snapshot.c"]);
    }

    #[test]
    fn a_snapshot_that_was_cut_short_is_not_counted() {
        let files = [("log", 1), ("log", 6), ("snapshot", 5), ("torn", 7)];
        assert_eq!(left(&files, 1), ["log.1", "log.6", "snapshot.5", "snapshot.7"]);
    }

    #[test]
    fn nothing_goes_while_there_are_fewer_snapshots() {
        let files = [("log", 1), ("snapshot", 0), ("snapshot", 3)];
        assert_eq!(left(&files, 3), ["log.1", "snapshot.0", "snapshot.3"]);
    }
}
