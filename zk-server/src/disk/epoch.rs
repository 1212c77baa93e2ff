//! `currentEpoch` and `acceptedEpoch`: a decimal number without a newline, replaced as a whole.

use super::{DiskError, sync_folder};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use tracing::info;
use wire::zk::{Zxid, epoch_of};

pub const CURRENT: &str = "currentEpoch";
pub const ACCEPTED: &str = "acceptedEpoch";

/// Writes a temporary file, syncs it, renames it, syncs the folder.
pub fn store(folder: &Path, name: &str, epoch: i64) -> Result<(), DiskError> {
    let temporary = folder.join(format!("{name}.tmp"));
    let failed = DiskError::io("write", &temporary);
    let mut file = File::create(&temporary).map_err(&failed)?;
    file.write_all(epoch.to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(&failed)?;
    let path = folder.join(name);
    fs::rename(&temporary, &path).map_err(DiskError::io("write", &path))?;
    sync_folder(folder)
}

/// `None`: there is no such file.
fn read(folder: &Path, name: &str) -> Result<Option<i64>, DiskError> {
    let path = folder.join(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("read", &path)(error)),
    };
    let first = text.lines().next().unwrap_or_default();
    let epoch = first.trim().parse().map_err(|_| DiskError::Corrupt {
        path,
        at: 0,
        what: format!("`{first}` is not the number of an epoch"),
    })?;
    Ok(Some(epoch))
}

/// The accepted and the current epoch of an ensemble member whose history ends at `last`; missing files are made.
pub fn recover(folder: &Path, last: Zxid) -> Result<(i64, i64), DiskError> {
    let of_last = epoch_of(last).max(0);
    let or_create = |name: &str| match read(folder, name)? {
        Some(epoch) => Ok(epoch),
        None => {
            info!(
                "{name} not found! Creating with a reasonable default of {of_last}. This should only happen when you \
                 are upgrading your installation"
            );
            store(folder, name, of_last).map(|()| of_last)
        }
    };
    let mut current = or_create(CURRENT)?;
    if of_last > current {
        // The process died between the last proposal of a new leader's history and the rename.
        let adopted = read(folder, &format!("{CURRENT}.tmp"))?.filter(|epoch| *epoch >= of_last);
        let Some(epoch) = adopted else {
            return Err(DiskError::Broken(format!(
                "The current epoch, {current:x}, is older than the last zxid, {last}, in {}",
                folder.display()
            )));
        };
        info!("{CURRENT}.tmp found. Setting current epoch to {epoch}.");
        store(folder, CURRENT, epoch)?;
        current = epoch;
    }
    let accepted = or_create(ACCEPTED)?;
    if accepted < current {
        return Err(DiskError::Broken(format!(
            "The accepted epoch, {accepted:x} is less than the current epoch, {current:x}, in {}",
            folder.display()
        )));
    }
    Ok((accepted, current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_made_from_the_last_zxid_and_kept_without_a_newline() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(recover(folder.path(), 0x3_0000_0001).unwrap(), (3, 3));
        store(folder.path(), ACCEPTED, 5).unwrap();
        assert_eq!(fs::read(folder.path().join(ACCEPTED)).unwrap(), b"5");
        assert_eq!(recover(folder.path(), 0x3_0000_0001).unwrap(), (5, 3));
    }

    #[test]
    fn a_history_ahead_of_its_epoch_needs_the_unfinished_file() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), CURRENT, 1).unwrap();
        store(folder.path(), ACCEPTED, 2).unwrap();
        let message = recover(folder.path(), 0x2_0000_0001).unwrap_err().to_string();
        assert!(
            message.starts_with("The current epoch, 1, is older than the last zxid, 8589934593"),
            "{message}"
        );
        fs::write(folder.path().join("currentEpoch.tmp"), "2").unwrap();
        assert_eq!(recover(folder.path(), 0x2_0000_0001).unwrap(), (2, 2));
    }

    #[test]
    fn an_accepted_epoch_behind_the_current_one_and_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), CURRENT, 2).unwrap();
        store(folder.path(), ACCEPTED, 1).unwrap();
        assert!(
            recover(folder.path(), 0).unwrap_err().to_string().starts_with("The accepted epoch, 1 is less")
        );
        fs::write(folder.path().join(CURRENT), "two").unwrap();
        let message = recover(folder.path(), 0).unwrap_err().to_string();
        assert!(message.contains("currentEpoch at byte 0: `two` is not"), "{message}");
    }
}
