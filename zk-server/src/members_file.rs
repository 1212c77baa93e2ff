//! The members on disk, beside zoo.cfg: `zoo.cfg.dynamic.<version>` for those that count, to which zoo.cfg points, and
//! `zoo.cfg.dynamic.next` for those that are on their way. Only servers with `reconfigEnabled=true` write them.
//!
//! Each file is replaced as a whole and synced, so that a crash leaves the old one or the new one. The order matters:
//! zoo.cfg points to the new members before what was on its way is removed.

use base::Properties;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tracing::info;
use wire::zk::Sid;
use zk_core::Ensemble;

/// Behind the name of zoo.cfg.
pub(crate) const NEXT: &str = ".dynamic.next";

#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}: {source}", path.display())]
pub(crate) struct MembersFileError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> MembersFileError {
    move |source| MembersFileError { act, path: path.to_owned(), source }
}

#[derive(Debug)]
pub(crate) struct MembersFile {
    /// zoo.cfg.
    config: PathBuf,
    myid: Sid,
}

impl MembersFile {
    pub fn new(config: &Path, myid: Sid) -> MembersFile {
        MembersFile { config: config.to_owned(), myid }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.config.clone().into_os_string();
        path.push(end);
        path.into()
    }

    /// Keeps a copy of a zoo.cfg with members' lines, before they are moved out of it.
    pub fn back_up(&self) -> Result<(), MembersFileError> {
        let text = fs::read(&self.config).map_err(failed("read", &self.config))?;
        replace(&self.beside(".bak"), &text)
    }

    /// Stores what is on its way; `None`: nothing is.
    pub fn store_proposed(&self, members: Option<&Ensemble>) -> Result<(), MembersFileError> {
        let path = self.beside(NEXT);
        match members {
            Some(members) => replace(&path, sorted(&members.text, true).as_bytes()),
            None => remove(&path),
        }
    }

    /// Stores the members that count, lets zoo.cfg point to them, and removes what was on its way if it is no newer.
    pub fn activate(&self, members: &Ensemble) -> Result<(), MembersFileError> {
        let dynamic = self.beside(&format!(".dynamic.{:x}", members.version));
        replace(&dynamic, sorted(&members.text, false).as_bytes())?;
        let own = members.members.get(&self.myid);
        let erase_client = own.is_some_and(|own| own.client.is_some() && own.client_in_line);
        let text = fs::read(&self.config).map_err(failed("read", &self.config))?;
        let dynamic = fs::canonicalize(&dynamic).map_err(failed("find", &dynamic))?;
        replace(&self.config, &edited(&text, &dynamic, erase_client))?;
        let next = self.beside(NEXT);
        match proposed_version(&next) {
            Some(version) if version > members.version => Ok(()),
            _ => remove(&next),
        }
    }
}

/// As the file says it; `None` where there is none.
fn proposed_version(path: &Path) -> Option<i64> {
    let text = fs::read_to_string(path).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("version="))?;
    i64::from_str_radix(version.trim(), 16).ok()
}

fn replace(path: &Path, text: &[u8]) -> Result<(), MembersFileError> {
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary).map_err(failed("write", &temporary))?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))?;
    info!("Written: {}", path.display());
    sync_folder_of(path)
}

fn remove(path: &Path) -> Result<(), MembersFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path)(error)),
        Ok(()) => sync_folder_of(path),
    }
}

fn sync_folder_of(path: &Path) -> Result<(), MembersFileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// The canonical lines by their text, as Java's servers write them: no newline at the end.
fn sorted(text: &str, with_version: bool) -> String {
    let mut lines: Vec<&str> =
        text.lines().filter(|line| with_version || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// zoo.cfg without what the members' own file says, and with the name of that file. Everything else stays as it was
/// written, comments too.
fn edited(text: &[u8], dynamic: &Path, erase_client: bool) -> Vec<u8> {
    let moves = |key: &str| {
        ["server.", "group", "weight", "dynamicConfigFile", "peerType"].iter().any(|it| key.starts_with(it))
            || erase_client && ["clientPort", "clientPortAddress"].contains(&key)
    };
    let mut kept = Vec::new();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        let mut entry = line.to_vec();
        let mut last = line.trim_ascii();
        let comment = last.starts_with(b"#") || last.starts_with(b"!");
        while !comment && is_continued(last) {
            let Some(more) = lines.next() else { break };
            entry.extend_from_slice(more);
            last = more.trim_ascii();
        }
        let read = Properties::parse("zoo.cfg", &entry).unwrap_or_default();
        if !read.iter().any(|entry| moves(&entry.key)) {
            kept.extend_from_slice(&entry);
        }
    }
    if kept.last().is_some_and(|last| *last != b'\n') {
        kept.push(b'\n');
    }
    kept.extend_from_slice(format!("dynamicConfigFile={}\n", dynamic.display()).as_bytes());
    kept
}

/// Ends in an odd number of backslashes.
fn is_continued(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new(text: &str) -> Home {
            let home = Home(tempfile::tempdir().unwrap());
            fs::write(home.config(), text).unwrap();
            home
        }

        fn config(&self) -> PathBuf {
            self.0.path().join("zoo.cfg")
        }

        fn file(&self) -> MembersFile {
            MembersFile::new(&self.config(), 1)
        }

        /// Names and contents, the folder written as `@`.
        fn all(&self) -> Vec<(String, String)> {
            let read = |entry: io::Result<fs::DirEntry>| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let folder = fs::canonicalize(self.0.path()).unwrap().display().to_string();
                (name, fs::read_to_string(&path).unwrap().replace(&folder, "@"))
            };
            let mut all: Vec<_> = fs::read_dir(self.0.path()).unwrap().map(read).collect();
            all.sort();
            all
        }
    }

    fn members(text: &str) -> Ensemble {
        Ensemble::parse(text).unwrap()
    }

    const TWO: &str = "server.2=b:1:2:participant\nserver.1=a:1:2:participant;c:3\nversion=100000005";

    #[test]
    fn members_are_proposed_then_counted() {
        let home =
            Home::new("# mine\ntickTime=2000\nclientPort=3\nserver.1=a:1:2\\\n  ;c:3\npeerType=observer\n");
        let file = home.file();
        file.back_up().unwrap();
        file.store_proposed(Some(&members(TWO))).unwrap();
        let all = home.all();
        assert_eq!(all[2].0, "zoo.cfg.dynamic.next");
        assert_eq!(all[2].1, "server.1=a:1:2:participant;c:3\nserver.2=b:1:2:participant\nversion=100000005");
        assert_eq!(all[1].0, "zoo.cfg.bak");
        assert_eq!(all[1].1, all[0].1);
        file.activate(&members(TWO)).unwrap();
        let all = home.all();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.100000005"]);
        assert_eq!(all[0].1, "# mine\ntickTime=2000\ndynamicConfigFile=@/zoo.cfg.dynamic.100000005\n");
        assert_eq!(all[2].1, "server.1=a:1:2:participant;c:3\nserver.2=b:1:2:participant");
    }

    #[test]
    fn a_client_port_that_the_members_do_not_name_stays_and_so_does_a_newer_proposal() {
        let home = Home::new("clientPort=3\ndynamicConfigFile=/old\n");
        let file = home.file();
        file.store_proposed(Some(&members(&TWO.replace("100000005", "200000000")))).unwrap();
        file.activate(&members("server.1=a:1:2\nversion=7")).unwrap();
        let all = home.all();
        assert_eq!(all[0].1, "clientPort=3\ndynamicConfigFile=@/zoo.cfg.dynamic.7\n");
        assert_eq!(all[2].0, "zoo.cfg.dynamic.next");
        file.store_proposed(None).unwrap();
        file.store_proposed(None).unwrap();
        assert_eq!(home.all().len(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let why = MembersFile::new(Path::new("/no/such/zoo.cfg"), 1).store_proposed(Some(&members(TWO)));
        let why = why.unwrap_err().to_string();
        assert!(why.starts_with("cannot write /no/such/zoo.cfg.dynamic.next.tmp: "), "{why}");
    }
}
