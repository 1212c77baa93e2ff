//! Where the members' lines stand: in zoo.cfg itself, or in the file that it names (`dynamicConfigFile`).

use crate::members_file::NEXT;
use base::{ConfigError, Entry, Properties};
use std::path::{Path, PathBuf};
use zk_core::Ensemble;
use zk_core::quorums::QuorumLines;

/// The members' lines, and how new they are.
pub(super) struct Lines {
    pub entries: Properties,
    pub version: i64,
    /// What was on its way when the server was last up.
    pub proposed: Option<Ensemble>,
}

/// `config`: zoo.cfg, whose content is `written`.
pub(super) fn lines(config: &Path, written: &Properties) -> Result<Lines, ConfigError> {
    let Some(named) = written.get("dynamicConfigFile") else {
        let version = written.get("version").map_or(Ok(0), hex)?;
        return Ok(Lines { entries: written.clone(), version, proposed: None });
    };
    let of_members =
        |entry: &&Entry| ["server.", "group", "weight"].iter().any(|start| entry.key.starts_with(start));
    if let Some(entry) = written.iter().find(of_members) {
        return Err(
            entry.error(format!("parameter: {} must be in a separate dynamic config file", entry.key))
        );
    }
    let file = PathBuf::from(named.value.trim());
    let entries = Properties::read(&file).map_err(|wrong| match wrong.origin {
        Some(_) => wrong,
        None => named.error(wrong.message),
    })?;
    for entry in entries.iter() {
        if entry.key == "version" {
            return Err(entry.error("dynamic file shouldn't have version inside: its name ends in it"));
        }
        if !entry.key.starts_with("server.") && !QuorumLines::is_one(&entry.key) {
            return Err(entry.error(format!("Unrecognised parameter: {}: write it into zoo.cfg", entry.key)));
        }
    }
    Ok(Lines { entries, version: version_of(&file), proposed: proposed(config)? })
}

/// The hexadecimal number behind the last dot of the file's name; 0 where there is none.
fn version_of(file: &Path) -> i64 {
    let name = file.to_string_lossy();
    name.rsplit_once('.').and_then(|(_, end)| i64::from_str_radix(end, 16).ok()).unwrap_or(0)
}

fn hex(entry: &Entry) -> Result<i64, ConfigError> {
    i64::from_str_radix(entry.value.trim(), 16)
        .map_err(|_| entry.error(format!("`{}` is not a hexadecimal number", entry.value)))
}

fn proposed(config: &Path) -> Result<Option<Ensemble>, ConfigError> {
    let mut path = config.to_owned().into_os_string();
    path.push(NEXT);
    let path = PathBuf::from(path);
    if !path.exists() {
        return Ok(None);
    }
    let wrong = |why: String| ConfigError::new(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    Ensemble::parse(&text).map(Some).map_err(|error| wrong(error.why))
}
