//! Deletes snapshots and logs that no recovery needs: `autopurge` and `zkCleanup`.

use super::{DiskError, files_by_zxid, snapshot, sync_folder};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Snapshots that stay, whatever the size.
const KEPT_MIN: usize = 3;

/// Keeps the newest `keep` whole snapshots, and every log entry behind the oldest of them. Returns what was deleted.
pub fn purge(snapshots: &Path, logs: &Path, keep: usize) -> Result<Vec<PathBuf>, DiskError> {
    remove(unneeded(snapshots, logs, keep)?)
}

/// Deletes the oldest until `size_max` bytes are left, but for the newest three snapshots. Returns what was deleted.
pub fn purge_to_size(snapshots: &Path, logs: &Path, size_max: u64) -> Result<Vec<PathBuf>, DiskError> {
    let mut total = 0;
    for (_, path) in files_by_zxid(snapshots, "snapshot")?.into_iter().chain(files_by_zxid(logs, "log")?) {
        total += size(&path)?;
    }
    if total <= size_max {
        return Ok(vec![]);
    }
    // The fewer stay, the less there is: the largest number that fits is found by halving.
    let (mut fits, mut too_many) = (KEPT_MIN, snapshot::candidates(snapshots, usize::MAX)?.len() + 1);
    while fits + 1 < too_many {
        let keep = fits + (too_many - fits) / 2;
        let gone: u64 =
            unneeded(snapshots, logs, keep)?.iter().map(|path| size(path)).sum::<Result<_, _>>()?;
        match total - gone <= size_max {
            true => fits = keep,
            false => too_many = keep,
        }
    }
    remove(unneeded(snapshots, logs, fits)?)
}

/// What a file takes of the disk: a log's padding may take nothing yet.
fn size(path: &Path) -> Result<u64, DiskError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.blocks() * 512),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(DiskError::io("read", path)(error)),
    }
}

fn remove(gone: Vec<PathBuf>) -> Result<Vec<PathBuf>, DiskError> {
    for path in &gone {
        match fs::remove_file(path) {
            // Another purge, or the operator's own, was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => done.map_err(DiskError::io("delete", path))?,
        }
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
    fn the_oldest_go_until_the_rest_fits_but_three_stay() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let left = || {
            let mut names = super::super::names(folder).unwrap();
            names.sort();
            names
        };
        for zxid in 1..=6 {
            let mut bytes = vec![7; 64 << 10];
            bytes.extend_from_slice(b"\0\0\0\x01/");
            fs::write(folder.join(format!("snapshot.{zxid}")), bytes).unwrap();
            fs::write(folder.join(format!("log.{zxid}")), vec![7; 64 << 10]).unwrap();
        }
        let sizes = |count: u64| {
            count * size(&folder.join("snapshot.6")).unwrap() + count * size(&folder.join("log.6")).unwrap()
        };
        assert!(purge_to_size(folder, folder, sizes(6)).unwrap().is_empty());
        assert_eq!(purge_to_size(folder, folder, sizes(5)).unwrap().len(), 2);
        assert_eq!(left()[..2], ["log.2", "log.3"]);
        assert_eq!(purge_to_size(folder, folder, 1).unwrap().len(), 4);
        assert_eq!(left(), ["log.4", "log.5", "log.6", "snapshot.4", "snapshot.5", "snapshot.6"]);
        assert!(purge_to_size(folder, folder, 1).unwrap().is_empty());
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
