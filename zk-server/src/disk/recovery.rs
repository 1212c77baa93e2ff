//! Files -> database: the newest snapshot that is whole, and the log behind it.

use super::{Disk, DiskError, epoch, loading, snapshot, sync_folder, txnlog};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tracing::{error, info, warn};
use wire::zk::txn::Txn;
use wire::zk::{Zxid, epoch_of};
use zk_core::Database;
use zk_core::peer::Recovered;

/// Snapshots that are tried before giving up.
const TRIED_MAX: usize = 100;

/// What the process finds when it starts.
pub fn recover(disk: &Disk) -> Result<Recovered, DiskError> {
    let trusted = take_initialize(disk)? || disk.config.trust_empty;
    let found = load(disk, Zxid::MAX)?;
    let (database, recent) = match found {
        Some(loaded) => {
            if snapshot::candidates(&disk.snapshots, 1)?.is_empty() {
                // The next start shall not need that trust again.
                disk.save(&loaded.database, true)?;
            }
            (loaded.database, loaded.recent)
        }
        None if trusted => {
            let database = Database::new();
            disk.save(&database, true)?;
            (database, VecDeque::new())
        }
        None => {
            warn!("Unexpected empty data tree, setting zxid to -1");
            let mut database = Database::new();
            database.set_last_zxid(-1);
            (database, VecDeque::new())
        }
    };
    let last_logged = database.last_zxid();
    let (accepted_epoch, current_epoch) = match disk.standalone {
        true => (epoch_of(last_logged).max(0), epoch_of(last_logged).max(0)),
        false => epoch::recover(&disk.snapshots, last_logged)?,
    };
    Ok(Recovered { database, last_logged, recent: recent.into(), accepted_epoch, current_epoch })
}

/// The marker by which an operator lets an empty server vote. It stands beside the log's `version-2`.
fn take_initialize(disk: &Disk) -> Result<bool, DiskError> {
    let Some(path) = disk.logs.parent().map(|parent| parent.join("initialize")) else { return Ok(false) };
    match fs::remove_file(&path) {
        Ok(()) => {
            info!("Initialize file found, an empty database will not block voting participation");
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::io("delete", &path)(error)),
    }
}

/// A database as of some zxid, and where the log stands there.
struct Loaded {
    database: Database,
    /// The last transactions that were replayed.
    recent: VecDeque<Txn>,
    /// The file that holds the last replayed transaction, and the offset behind it.
    end: Option<(PathBuf, u64)>,
    /// Snapshots that were begun early enough, and hold changes from behind the wanted zxid.
    too_late: Vec<PathBuf>,
}

/// Loads the state as of `until` at most. `None`: there is nothing on the disk.
fn load(disk: &Disk, until: Zxid) -> Result<Option<Loaded>, DiskError> {
    let started = Instant::now();
    let loaded = load_files(disk, until)?;
    if let Some(Loaded { database, .. }) = &loaded {
        disk.note_load(|stats| stats.all.add(started.elapsed().as_millis() as u64));
        info!(
            "Snapshot loaded in {} ms, highest zxid is 0x{:x}, digest is {}",
            started.elapsed().as_millis(),
            database.last_zxid(),
            database.digest().digest as u64
        );
    }
    Ok(loaded)
}

fn load_files(disk: &Disk, until: Zxid) -> Result<Option<Loaded>, DiskError> {
    let mut too_late = vec![];
    let Some((database, digest)) = newest_snapshot(disk, until, &mut too_late)? else {
        let logs = txnlog::files_from(&disk.logs, 0)?;
        if logs.is_empty() || !has_entries(&logs)? {
            return Ok(None);
        }
        if !disk.config.trust_logs_alone {
            return Err(DiskError::Broken(
                "No snapshot found, but there are log entries. Something is broken!".into(),
            ));
        }
        warn!("No snapshot found, but there are log entries. This should only be allowed during upgrading.");
        return replay(disk, Database::new(), None, until).map(Some);
    };
    let loaded = replay(disk, database, digest, until)?;
    Ok(Some(Loaded { too_late, ..loaded }))
}

fn has_entries(logs: &VecDeque<PathBuf>) -> Result<bool, DiskError> {
    for (at, path) in logs.iter().enumerate() {
        if let Some(mut file) = txnlog::open_or_drop(path, at + 1 == logs.len())?
            && file.next()?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

type Digest = Option<(Zxid, i64)>;

/// The newest snapshot that loads whole, with its digest. A damaged one is passed over: the log is replayed from an
/// older one then.
fn newest_snapshot(
    disk: &Disk,
    until: Zxid,
    too_late: &mut Vec<PathBuf>,
) -> Result<Option<(Database, Digest)>, DiskError> {
    let candidates = snapshot::candidates(&disk.snapshots, usize::MAX)?;
    let candidates: Vec<_> =
        candidates.into_iter().filter(|(zxid, _)| *zxid <= until).take(TRIED_MAX).collect();
    let mut damaged = vec![];
    for (zxid, path) in &candidates {
        info!("Reading snapshot {}", path.display());
        let started = Instant::now();
        match loading::read(path, disk.config.entry_max) {
            // Java takes it, and brings back what is being cut off.
            Ok(snapshot) if until != Zxid::MAX && snapshot.reaches() > until => too_late.push(path.clone()),
            Ok(snapshot) => {
                let mut database = snapshot.database;
                database.set_last_zxid(*zxid);
                check_passed_over(disk, &damaged, path)?;
                disk.note_load(|stats| stats.snapshots.add(started.elapsed().as_millis() as u64));
                return Ok(Some((database, snapshot.digest)));
            }
            Err(error) => {
                warn!("problem reading snap file {error}");
                damaged.push((*zxid, path));
            }
        }
    }
    match candidates.is_empty() {
        true => Ok(None),
        false => Err(DiskError::Broken(format!(
            "Not able to find valid snapshots in {}",
            disk.snapshots.display()
        ))),
    }
}

/// A leader's snapshot stands where this server's own log has a gap. Where such a one is damaged, an older one leads to a
/// tree that lacks what was in the gap, and that no check would see again; Java starts with it.
fn check_passed_over(disk: &Disk, damaged: &[(Zxid, &PathBuf)], taken: &Path) -> Result<(), DiskError> {
    for (zxid, path) in damaged {
        if !is_logged(disk, *zxid)? {
            return Err(DiskError::Broken(format!(
                "{} cannot be read, and the log does not lead to it from {}: what only it held is lost here. Remove \
                 the version-2 folders to fetch everything from the leader",
                path.display(),
                taken.display()
            )));
        }
    }
    Ok(())
}

fn is_logged(disk: &Disk, zxid: Zxid) -> Result<bool, DiskError> {
    let mut files = txnlog::files_from(&disk.logs, zxid)?;
    while let Some(path) = files.pop_front() {
        let Some(mut file) = txnlog::open_or_drop(&path, files.is_empty())? else { continue };
        file.set_entry_max(disk.config.entry_max);
        while let Some(entry) = file.next()? {
            let txn = Txn::decode(entry.payload).map_err(|error| file.corrupt(error.to_string()))?;
            if txn.zxid() >= zxid {
                return Ok(txn.zxid() == zxid);
            }
        }
    }
    Ok(false)
}

/// Applies the log's transactions behind the database's last zxid.
fn replay(disk: &Disk, mut database: Database, digest: Digest, until: Zxid) -> Result<Loaded, DiskError> {
    let started = Instant::now();
    let from = database.last_zxid() + 1;
    let mut files = txnlog::files_from(&disk.logs, from)?;
    let mut recent = VecDeque::new();
    let mut end = None;
    let mut loaded = 0;
    compare_digest(&database, digest);
    'files: while let Some(path) = files.pop_front() {
        let Some(mut file) = txnlog::open_or_drop(&path, files.is_empty())? else { continue };
        file.set_entry_max(disk.config.entry_max);
        while let Some(entry) = file.next()? {
            let txn = Txn::decode(entry.payload).map_err(|error| DiskError::Corrupt {
                path: path.clone(),
                at: entry.start,
                what: format!("not a transaction: {error}"),
            })?;
            if txn.zxid() > until {
                break 'files;
            }
            end = Some((path.clone(), entry.end));
            if txn.zxid() < from {
                continue;
            }
            check_order(&database, &txn, &path);
            database.replay(&txn);
            database.set_last_zxid(txn.zxid().max(database.last_zxid()));
            compare_digest(&database, digest);
            loaded += 1;
            if recent.len() == disk.recent_max {
                recent.pop_front();
            }
            recent.push_back(txn);
        }
    }
    let took = started.elapsed().as_millis();
    info!("{loaded} txns loaded in {took} ms");
    disk.note_load(|stats| {
        stats.transactions.add(took as u64);
        stats.replayed.add(loaded as u64);
    });
    Ok(Loaded { database, recent, end, too_late: vec![] })
}

/// What Java only logs, or does not see: a zxid that goes back, or one that is missing within an epoch.
fn check_order(database: &Database, txn: &Txn, path: &Path) {
    let (last, next) = (database.last_zxid(), txn.zxid());
    if next < last {
        error!("{last}(highestZxid) > {next}(next log) for type {} in {}", txn.header.kind, path.display());
    } else if last > 0 && epoch_of(last) == epoch_of(next) && next > last + 1 {
        warn!("transactions 0x{:x} to 0x{:x} are missing before {}", last + 1, next - 1, path.display());
    }
}

/// The digest of a snapshot holds once its zxid is applied, whatever the snapshot caught of later changes.
fn compare_digest(database: &Database, digest: Digest) {
    if let Some((zxid, wanted)) = digest
        && zxid == database.last_zxid()
        && wanted != database.digest().digest
    {
        error!(
            "The digest of the data at zxid 0x{zxid:x} is {}, but the snapshot says {}",
            database.digest().digest as u64,
            wanted as u64
        );
    }
}

/// Cuts everything behind `zxid`. What is left is loaded first: nothing is deleted that could not be done without.
pub fn truncate(disk: &Disk, zxid: Zxid) -> Result<Database, DiskError> {
    let snapshots = super::files_by_zxid(&disk.snapshots, "snapshot")?;
    let has_base = disk.config.trust_logs_alone || snapshots.iter().any(|(at, _)| *at <= zxid);
    let Some(loaded) = has_base.then(|| load(disk, zxid)).transpose()?.flatten() else {
        return Err(DiskError::Broken(format!(
            "cannot truncate to 0x{zxid:x}: no snapshot up to it in {}. Remove the version-2 folders to fetch \
             everything from the leader",
            disk.snapshots.display()
        )));
    };
    let logs: Vec<PathBuf> = txnlog::files_from(&disk.logs, 0)?.into();
    match &loaded.end {
        Some((path, end)) => {
            let later = logs.iter().position(|log| log == path).map_or(logs.len(), |at| at + 1);
            txnlog::cut(path, *end, &logs[later..])?;
        }
        // Every entry that is there is newer.
        None => {
            for path in logs.iter().rev() {
                fs::remove_file(path).map_err(DiskError::io("delete", path))?;
            }
            sync_folder(&disk.logs)?;
        }
    }
    let named_later = snapshots.iter().filter(|(at, _)| *at > zxid).map(|(_, path)| path);
    for path in named_later.chain(&loaded.too_late) {
        fs::remove_file(path).map_err(DiskError::io("delete", path))?;
    }
    sync_folder(&disk.snapshots)?;
    Ok(loaded.database)
}
