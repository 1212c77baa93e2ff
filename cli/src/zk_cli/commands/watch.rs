//! Persistent watches, and watches taken back.

use super::super::client::{Client, Failure};
use super::super::words::Parsed;
use super::Outcome;

pub fn add_watch(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    const USAGE: &str = "addWatch [-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
                         default is PERSISTENT_RECURSIVE";
    let mode = parsed.value('m').unwrap_or("PERSISTENT_RECURSIVE").to_ascii_uppercase();
    let recursive = match (mode.as_str(), parsed.args.len()) {
        ("PERSISTENT", 2) => false,
        ("PERSISTENT_RECURSIVE", 2) => true,
        _ => return Err(Outcome::failed(USAGE)),
    };
    client.add_watch(&parsed.args[1], recursive).map_err(|failure| match failure {
        Failure::Malformed(why) => Outcome::thrown("IllegalArgumentException", &why),
        other => other.into(),
    })
}

pub fn remove_watches(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let kinds = [('c', 1), ('d', 2), ('p', 4), ('r', 5), ('a', 3)];
    let kind = kinds.iter().find(|(letter, _)| parsed.has(*letter)).map_or(3, |(_, kind)| *kind);
    Ok(client.remove_watches(&parsed.args[1], kind, parsed.has('l'))?)
}
