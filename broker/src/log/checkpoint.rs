//! Small files that are replaced as a whole: written to `<name>.tmp`, synced, renamed, the directory synced.
//!
//! The checkpoints are text: a version line `0`, a line with the number of entries, then an entry per line.

use super::TopicPartition;
use super::error::{At, LogError, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Replaces `path` by a file with these bytes, all or nothing.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_temporary(path, bytes)?.sync_all().at("cannot sync", path)?;
    fs::rename(temporary(path), path).at("cannot rename to", path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// As [`replace_file`], but whether the old or the new content is there after a loss of power is left to the file system:
/// for what can be told from the log itself.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    write_temporary(path, bytes)?;
    fs::rename(temporary(path), path).at("cannot rename to", path)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<File> {
    let temporary = temporary(path);
    let mut file = File::create(&temporary).at("cannot create", &temporary)?;
    file.write_all(bytes).at("cannot write", &temporary)?;
    Ok(file)
}

/// A file that has a few bytes, in three calls to the system.
pub(crate) fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 1024];
    let read = file.read(&mut bytes)?;
    let full = read == bytes.len();
    bytes.truncate(read);
    if full {
        file.read_to_end(&mut bytes)?;
    }
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Makes renames, creations and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).at("cannot sync", dir)
}

/// The file's text; `None` where it does not exist.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>> {
    match read_small(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(LogError::corrupt(path, error.utf8_error().valid_up_to() as u64, "not UTF-8")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("cannot read", path),
    }
}

/// The entries of a checkpoint file, each parsed by `entry`; none where the file is absent or empty.
pub(crate) fn read_entries<T>(path: &Path, entry: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    entries_of(path, &read_optional(path)?.unwrap_or_default(), entry)
}

/// As [`read_entries`], of the text that was read from `path`.
pub(crate) fn entries_of<T>(path: &Path, text: &str, entry: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let mut at = 0;
    let mut lines = text.split_inclusive('\n').map(|line| {
        let start = at;
        at += line.len();
        (start as u64, line.trim_end_matches(['\n', '\r']))
    });
    let Some((_, version)) = lines.next() else { return Ok(Vec::new()) };
    if version.trim() != "0" {
        return Err(LogError::corrupt(path, 0, format!("the version is '{version}', not 0")));
    }
    let Some((position, count)) = lines.next() else { return Ok(Vec::new()) };
    let expected: usize = count
        .trim()
        .parse()
        .map_err(|_| LogError::corrupt(path, position, format!("the number of entries is '{count}'")))?;
    let mut entries = Vec::new();
    for (position, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let parsed = entry(line)
            .ok_or_else(|| LogError::corrupt(path, position, format!("malformed line '{line}'")))?;
        entries.push(parsed);
    }
    if entries.len() != expected {
        let reason = format!("{} entries where {expected} are announced", entries.len());
        return Err(LogError::corrupt(path, text.len() as u64, reason));
    }
    Ok(entries)
}

/// The text of a checkpoint file with these lines.
pub(crate) fn text_of(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Reads `<topic> <partition> <offset>` lines.
pub(crate) fn read_offsets(path: &Path) -> Result<BTreeMap<TopicPartition, i64>> {
    let entries = read_entries(path, |line| {
        let mut words = line.split_whitespace();
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let partition = TopicPartition { topic: topic.to_owned(), partition: partition.parse().ok()? };
        Some((partition, offset.parse().ok()?))
    })?;
    Ok(entries.into_iter().collect())
}

pub(crate) fn write_offsets(path: &Path, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        writeln!(text, "{} {} {offset}", partition.topic, partition.partition).expect("a String takes all");
    }
    replace_file(path, text.as_bytes())
}
