//! `partition.metadata`: `version: 0`, a line break, `topic_id: ` and 22 characters of base64, no final line break.

use super::checkpoint::replace_unsynced;
use super::error::{LogError, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::path::Path;

pub(crate) const FILE: &str = "partition.metadata";

/// What the file in `dir` says; `None` where there is none.
pub(crate) fn parse(dir: &Path, text: Option<String>) -> Result<Option<[u8; 16]>> {
    let Some(text) = text else { return Ok(None) };
    let path = dir.join(FILE);
    if text.is_empty() {
        // A loss of power may leave a new file without its content.
        tracing::warn!("{} is empty: waiting for the controller to tell the topic's id", path.display());
        return Ok(None);
    }
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("version: 0") {
        return Err(LogError::corrupt(&path, 0, "the first line is not 'version: 0'"));
    }
    let id = lines.next().and_then(|line| line.strip_prefix("topic_id: ")).map(str::trim_end);
    let decoded =
        id.and_then(|id| URL_SAFE_NO_PAD.decode(id).ok()).and_then(|id| <[u8; 16]>::try_from(id).ok());
    match decoded {
        Some(id) if id != [0; 16] => Ok(Some(id)),
        _ => Err(LogError::corrupt(&path, 11, "the second line holds no topic id")),
    }
}

/// Unsynced: where it is missing the controller tells the id again.
pub(crate) fn write(dir: &Path, id: &[u8; 16]) -> Result<()> {
    replace_unsynced(
        &dir.join(FILE),
        format!("version: 0\ntopic_id: {}", URL_SAFE_NO_PAD.encode(id)).as_bytes(),
    )
}

pub(crate) fn mismatch(dir: &Path, known: &[u8; 16], other: &[u8; 16]) -> String {
    let (known, other) = (URL_SAFE_NO_PAD.encode(known), URL_SAFE_NO_PAD.encode(other));
    format!("{} belongs to the topic of id {known}, not {other}", dir.display())
}
