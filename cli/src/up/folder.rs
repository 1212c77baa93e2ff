//! The folder of a cluster: who holds it, and what of it may be deleted.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Locked by the process that runs the cluster for as long as it lives, and holds its number.
const LOCK: &str = "up.lock";
const PLAN: &str = "up.json";
const LOG: &str = "up.log";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// What the cluster consists of.
    pub fn plan(&self) -> PathBuf {
        self.path.join(PLAN)
    }

    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// A cluster was, or was to be, made here.
    pub fn is_ours(&self) -> bool {
        self.path.join(LOCK).exists() || self.plan().exists()
    }

    /// Makes the folder if need be and takes it for this process. The system gives it back however the process ends.
    pub fn lock(&self) -> Result<File> {
        let dir = self.path.display();
        fs::create_dir_all(&self.path)
            .with_context(|| format!("folder {dir} cannot be made: choose another with --data"))?;
        if !self.is_ours() && fs::read_dir(&self.path).with_context(|| format!("{dir}"))?.next().is_some() {
            bail!("folder {dir} holds other things: choose an empty or a new one with --data");
        }
        let path = self.path.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened
            .with_context(|| format!("folder {dir} cannot be written to: choose another with --data"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = self.holder()?.map_or_else(String::new, |pid| format!(" as process {pid}"));
                bail!(
                    "it is up already{pid}, from {dir}: see --status, --stop, or choose another folder with --data"
                );
            }
            Err(TryLockError::Error(why)) => return Err(why).with_context(|| format!("{}", path.display())),
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id()).with_context(|| format!("{}", path.display()))?;
        Ok(file)
    }

    /// The process that runs the cluster.
    pub fn holder(&self) -> Result<Option<i32>> {
        let path = self.path.join(LOCK);
        let named = || format!("{}", path.display());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why).with_context(named),
        };
        // The holder writes its number a moment after it has locked.
        for _ in 0..50 {
            match file.try_lock_shared() {
                Ok(()) => return Ok(None),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(why)) => return Err(why).with_context(named),
            }
            let mut text = String::new();
            file.rewind()?;
            file.read_to_string(&mut text).with_context(named)?;
            if let Ok(pid) = text.trim().parse() {
                return Ok(Some(pid));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{} is locked by a process that it does not name", path.display())
    }

    /// Deletes what `up` has made, then the folder. Gives the names of other things: then both stay.
    pub fn delete(&self) -> Result<Vec<String>> {
        let mut left = vec![];
        let mut last = vec![];
        for entry in fs::read_dir(&self.path).with_context(|| format!("{}", self.path.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match &name[..] {
                // These tell that the rest is ours: they go when the rest is gone.
                LOCK | PLAN => last.push(path),
                name if is_made_by_up(name) => remove(&path)?,
                _ => left.push(name),
            }
        }
        for path in last {
            remove(&path)?;
        }
        if left.is_empty() {
            fs::remove_dir(&self.path).with_context(|| format!("{}", self.path.display()))?;
        }
        left.sort();
        Ok(left)
    }
}

fn remove(path: &Path) -> Result<()> {
    let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("{} cannot be deleted", path.display()))
}

fn is_made_by_up(name: &str) -> bool {
    let numbered = |prefix: &str| name.strip_prefix(prefix).is_some_and(|id| id.parse::<u32>().is_ok());
    name == LOG || ["zookeeper-", "zoo.cfg-", "kafka-", "server.properties-"].into_iter().any(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_process_for_as_long_as_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("new/deep"));
        assert_eq!(folder.holder().unwrap(), None);
        let lock = folder.lock().unwrap();
        assert_eq!(folder.holder().unwrap(), Some(std::process::id() as i32));
        assert!(folder.lock().unwrap_err().to_string().contains("up already as process"));
        drop(lock);
        // The file stays, the lock does not: a killed process leaves just that.
        assert_eq!(folder.holder().unwrap(), None);
        folder.lock().unwrap();
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let folder = Folder::new(dir.path().into());
        assert!(folder.lock().unwrap_err().to_string().contains("holds other things"));
        assert!(!folder.is_ours());
    }

    #[test]
    fn only_what_up_has_made_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("up"));
        drop(folder.lock().unwrap());
        for sub in ["zookeeper-1/version-2", "kafka-0/t-0", "kafka-mine"] {
            fs::create_dir_all(folder.path.join(sub)).unwrap();
        }
        for file in [LOG, PLAN, "zoo.cfg-1", "notes"] {
            fs::write(folder.path.join(file), "x").unwrap();
        }
        assert_eq!(folder.delete().unwrap(), ["kafka-mine", "notes"]);
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 2);
        fs::remove_file(folder.path.join("notes")).unwrap();
        fs::remove_dir(folder.path.join("kafka-mine")).unwrap();
        assert!(folder.delete().unwrap().is_empty());
        assert!(!folder.path.exists());
    }
}
