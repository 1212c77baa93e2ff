//! The directory of a partition while its log is opened: listed once, its files reached from there by their names, which
//! spares the system the walk along the path for each of them.

use super::error::{At, LogError, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// Bytes of names that are read at once; those of most partitions fit.
const LIST_CHUNK: usize = 8 << 10;
/// A small file is read in one piece up to this size.
const SMALL: usize = 1 << 10;

/// A file named `<offset>.<kind>[.<suffix>]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogFile {
    pub name: String,
    pub offset: i64,
    kind: (usize, usize),
}

impl LogFile {
    fn of(name: &str) -> Option<Self> {
        let (offset, rest) = name.split_once('.')?;
        let kind = rest.split('.').next()?;
        let suffixes = rest.split('.').count() - 1;
        let kind = (offset.len() + 1, offset.len() + 1 + kind.len());
        let offset: i64 = offset.parse().ok()?;
        (offset >= 0 && suffixes <= 1).then(|| Self { name: name.to_owned(), offset, kind })
    }

    pub fn kind(&self) -> &str {
        &self.name[self.kind.0..self.kind.1]
    }

    pub fn suffix(&self) -> Option<&str> {
        self.name.get(self.kind.1 + 1..)
    }

    /// Whether it has this kind, and no suffix.
    pub fn is_plain(&self, kind: &str) -> bool {
        self.suffix().is_none() && self.kind() == kind
    }
}

/// An open directory and what was in it.
#[derive(Debug)]
pub(crate) struct PartitionDir {
    path: PathBuf,
    handle: OwnedFd,
    /// By name.
    pub files: Vec<LogFile>,
    /// The names of all else, but for directories.
    others: Vec<String>,
}

impl PartitionDir {
    /// Opens and lists a directory; it is made where it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat(CWD, path, flags, Mode::empty());
        let handle = match open() {
            Err(Errno::NOENT) => fs::create_dir_all(path).and_then(|()| Ok(open()?)),
            opened => opened.map_err(Into::into),
        };
        let mut dir = Self {
            path: path.to_owned(),
            handle: handle.at("cannot open", path)?,
            files: Vec::new(),
            others: Vec::new(),
        };
        dir.list()?;
        Ok(dir)
    }

    fn list(&mut self) -> Result<()> {
        let mut chunk = [MaybeUninit::uninit(); LIST_CHUNK];
        let mut entries = RawDir::new(&self.handle, &mut chunk);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(std::io::Error::from).at("cannot list", &self.path)?;
            let kind = match entry.file_type() {
                // Some file systems do not tell in the list.
                FileType::Unknown => {
                    let stat = statat(&self.handle, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    let stat = stat.map_err(std::io::Error::from).at("cannot stat", &self.path)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            match (kind, LogFile::of(name)) {
                (FileType::Directory, _) => {}
                (FileType::RegularFile, Some(file)) => self.files.push(file),
                _ => self.others.push(name.to_owned()),
            }
        }
        self.files.sort_unstable();
        Ok(())
    }

    /// Bytes of a file, links followed.
    pub fn size(&self, name: &str) -> Result<u64> {
        let stat = statat(&self.handle, name, AtFlags::empty());
        let stat = stat.map_err(std::io::Error::from).at("cannot stat", &self.path.join(name))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// A small file, whole; `None` where there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(std::io::Error::from(errno)).at("cannot open", &self.path.join(name)),
        };
        let mut small = [0; SMALL];
        let read = file.read(&mut small).and_then(|first| {
            let mut bytes = small[..first].to_vec();
            if first == SMALL {
                file.read_to_end(&mut bytes)?;
            }
            Ok(bytes)
        });
        read.at("cannot read", &self.path.join(name)).map(Some)
    }

    /// A small text file; nothing is asked of the system where the list lacks it.
    pub fn read_text(&self, name: &str) -> Result<Option<String>> {
        if !self.others.iter().any(|other| other == name) {
            return Ok(None);
        }
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to() as u64;
            LogError::corrupt(&self.path.join(name), valid, "not UTF-8")
        });
        text.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let file = LogFile::of("00000000000000000012.timeindex.swap").unwrap();
        assert_eq!((file.offset, file.kind(), file.suffix()), (12, "timeindex", Some("swap")));
        let file = LogFile::of("00000000000000000000.log").unwrap();
        assert_eq!((file.offset, file.kind(), file.suffix()), (0, "log", None));
        assert!(file.is_plain("log") && !file.is_plain("index"));
        for name in ["partition.metadata", "-1.log", "1", "1.log.swap.x", "leader-epoch-checkpoint", ".log"] {
            assert_eq!(LogFile::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_is_made_listed_and_its_files_are_read_by_name() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/t-0");
        assert!(PartitionDir::open(&path).unwrap().files.is_empty());
        fs::create_dir(path.join("7.log")).unwrap();
        for (name, len) in [("12.log", 5), ("3.snapshot", SMALL), ("3.log", 0), ("partition.metadata", 2000)]
        {
            fs::write(path.join(name), vec![b'x'; len]).unwrap();
        }
        let dir = PartitionDir::open(&path).unwrap();
        assert_eq!(
            dir.files.iter().map(|file| &*file.name).collect::<Vec<_>>(),
            ["12.log", "3.log", "3.snapshot"]
        );
        assert_eq!(dir.size("12.log").unwrap(), 5);
        assert!(dir.size("4.log").unwrap_err().is_io());
        assert_eq!(dir.read("3.snapshot").unwrap().unwrap().len(), SMALL);
        assert_eq!(dir.read_text("partition.metadata").unwrap().unwrap().len(), 2000);
        assert_eq!(dir.read("gone").unwrap(), None);
        assert_eq!(dir.read_text("leader-epoch-checkpoint").unwrap(), None);
        fs::write(path.join("partition.metadata"), [b'x', 0xff]).unwrap();
        let error = dir.read_text("partition.metadata").unwrap_err().to_string();
        assert!(error.ends_with("partition.metadata: corrupt at byte 1: not UTF-8"), "{error}");
    }
}
