//! Long lists (`dump`, `wchc`, `wchp`): the loop gives a part at a time and serves others between two parts, and the text is
//! made elsewhere. A list that changes meanwhile is one of several moments.

use super::{NOT_SERVING, connections};
use crate::server::inbox::Inbox;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use wire::zk::SessionId;

/// Entries of one part.
const PART: usize = 1000;

/// A session, and a path that it watches or owns.
type Entry = (SessionId, Arc<str>);

pub(crate) fn is_long(word: &[u8; 4]) -> bool {
    matches!(word, b"dump" | b"wchc" | b"wchp")
}

/// The whole answer; `None`: the loop has ended.
pub(crate) async fn answer(word: [u8; 4], inbox: &Inbox) -> Option<Bytes> {
    let serving = inbox.look(|view| {
        view.clients.stats.received += 1;
        view.peer.status().serving
    });
    if !serving.await? {
        return Some(NOT_SERVING.into());
    }
    let mut to = String::new();
    match &word {
        b"dump" => {
            to = inbox.look(|view| connections::session_dump(view)).await?;
            ephemeral_dump(&ephemerals(inbox).await?, &mut to);
            to += &inbox.look(|view| connections::connection_dump(view)).await?;
        }
        b"wchc" => list(
            by_session(&watches(inbox).await?),
            |id| format!("0x{id:x}"),
            |path| path.to_string(),
            &mut to,
        ),
        _ => {
            list(by_path(&watches(inbox).await?), |path| path.to_string(), |id| format!("0x{id:x}"), &mut to)
        }
    }
    Some(to.into())
}

/// Of the table of data watches.
pub(crate) async fn watches(inbox: &Inbox) -> Option<Vec<Entry>> {
    let (mut all, mut behind) = (vec![], None);
    loop {
        let part = inbox.look(move |view| view.peer.front().some_watches(behind.as_ref(), PART));
        let (part, last) = part.await?;
        all.extend(part);
        if last.is_none() {
            return Some(all);
        }
        behind = last;
    }
}

pub(crate) async fn ephemerals(inbox: &Inbox) -> Option<Vec<Entry>> {
    let mut all: Vec<Entry> = vec![];
    loop {
        let behind = all.last().cloned();
        let part = inbox.look(move |view| {
            let behind = behind.as_ref().map(|(session, path)| (*session, &**path));
            view.peer.database().some_ephemerals(behind, PART)
        });
        let part = part.await?;
        if part.is_empty() {
            return Some(all);
        }
        all.extend(part);
    }
}

pub(crate) fn by_session(entries: &[Entry]) -> BTreeMap<SessionId, Vec<&str>> {
    let mut all = BTreeMap::<SessionId, Vec<&str>>::new();
    entries.iter().for_each(|(session, path)| all.entry(*session).or_default().push(path));
    all
}

/// Sessions in the order of their connections.
pub(crate) fn by_path(entries: &[Entry]) -> BTreeMap<&str, Vec<SessionId>> {
    let mut all = BTreeMap::<&str, Vec<SessionId>>::new();
    entries.iter().for_each(|(session, path)| all.entry(path).or_default().push(*session));
    all
}

fn list<K, V>(
    entries: BTreeMap<K, Vec<V>>,
    key: impl Fn(K) -> String,
    value: impl Fn(V) -> String,
    to: &mut String,
) {
    for (name, values) in entries {
        let _ = writeln!(to, "{}", key(name));
        for one in values {
            let _ = writeln!(to, "\t{}", value(one));
        }
    }
    to.push('\n');
}

fn ephemeral_dump(entries: &[Entry], to: &mut String) {
    let by_session = by_session(entries);
    to.push_str("ephemeral nodes dump:\n");
    let _ = writeln!(to, "Sessions with Ephemerals ({}):", by_session.len());
    for (session, paths) in by_session {
        let _ = writeln!(to, "0x{session:x}:");
        for path in paths {
            let _ = writeln!(to, "\t{path}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_sessions_or_paths() {
        let entries: Vec<Entry> = vec![(7, "/a".into()), (7, "/b".into()), (-3, "/a".into())];
        let mut text = String::new();
        list(by_session(&entries), |id| format!("0x{id:x}"), |path| path.to_string(), &mut text);
        assert_eq!(text, "0xfffffffffffffffd\n\t/a\n0x7\n\t/a\n\t/b\n\n");
        text.clear();
        list(by_path(&entries), |path| path.to_string(), |id| format!("0x{id:x}"), &mut text);
        assert_eq!(text, "/a\n\t0x7\n\t0xfffffffffffffffd\n/b\n\t0x7\n\n");
        text.clear();
        ephemeral_dump(&entries[..2], &mut text);
        assert_eq!(text, "ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x7:\n\t/a\n\t/b\n");
    }
}
