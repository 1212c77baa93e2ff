//! `zk-who`: who changed a node, from the transaction log.

use super::answer;
use super::options::{Words, path};
use crate::Call;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use wire::jute::Reader;
use wire::zk::txn::{Txn, TxnRecord};
use wire::zk::{SessionId, Zxid, op};
use zk_server::disk::history::{History, HistoryError, Point};

const USAGE: &str = "\
Usage: menagerie zk-who [options] /x
Tells who changed a node last, from the transaction log: zxid, time, session, operation.
  -n N                the last N changes (1); 0: all
  --data-dir DIR      a server's dataDir (that of the configuration); it is only read, also while the server runs
  --data-log-dir DIR  its dataLogDir
  --config DIR        the configuration's folder, where no --data-dir is given
  --audit FILE        a server's audit log, for the sessions' addresses; once or more";

pub fn main(call: &Call) -> ExitCode {
    answer(call, USAGE, run)
}

fn run(args: &[String]) -> Result<()> {
    let words = Words::parse(args, &["-n", "--data-dir", "--data-log-dir", "--config", "--audit"], &[])?;
    let [node] = &words.rest[..] else { bail!("write one path\n{USAGE}") };
    let node = path(node)?;
    let last: usize = words.value("-n").unwrap_or("1").parse().context("-n N: not a number")?;
    let (history, _) = words.history()?;
    let found = find(&history, &node, if last == 0 { usize::MAX } else { last })?;
    let addresses = addresses(words.values("--audit"), &found)?;
    found.changes.iter().for_each(|change| println!("{}", line(change, &found, &addresses)));
    if found.changes.is_empty() {
        return tell_of_the_node(&history, &node, &found);
    }
    let unknown = |change: &Change| change.session != 0 && !addresses.contains_key(&change.session);
    if found.changes.iter().any(unknown) {
        eprintln!("the log has no addresses: --audit FILE takes them from an audit log");
    }
    Ok(())
}

/// One transaction's effect on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    zxid: Zxid,
    time: i64,
    /// 0: the server itself.
    session: SessionId,
    what: String,
}

/// When a session began, and its time-out in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Began {
    time: i64,
    timeout: i32,
}

#[derive(Debug, Default)]
struct Found {
    /// Oldest first.
    changes: VecDeque<Change>,
    sessions: HashMap<SessionId, Began>,
    /// Where the logs begin.
    first: Option<(Zxid, i64)>,
}

/// The last `max` changes of the node, and the sessions that began in the logs.
fn find(history: &History, node: &str, max: usize) -> Result<Found, HistoryError> {
    let mut found = Found::default();
    // Before 3.6, the end of a session does not say which nodes go with it.
    let mut owner = None;
    history.each(0, |txn, _| {
        found.first.get_or_insert((txn.header.zxid, txn.header.time));
        if let TxnRecord::CreateSession { timeout } = txn.record {
            found.sessions.insert(txn.header.session, Began { time: txn.header.time, timeout });
        }
        for what in effects(&txn, node, &mut owner) {
            if found.changes.len() == max {
                found.changes.pop_front();
            }
            let header = txn.header;
            found.changes.push_back(Change {
                zxid: header.zxid,
                time: header.time,
                session: header.session,
                what,
            });
        }
        Ok(true)
    })?;
    let shown: HashSet<SessionId> = found.changes.iter().map(|change| change.session).collect();
    found.sessions.retain(|session, _| shown.contains(session));
    Ok(found)
}

/// What a transaction did to the node; the parts of a multi count one by one.
fn effects(txn: &Txn, node: &str, owner: &mut Option<SessionId>) -> Vec<String> {
    let TxnRecord::Multi(parts) = &txn.record else {
        return effect(&txn.record, txn.header.session, node, owner).into_iter().collect();
    };
    // A multi that was refused has changed nothing.
    if parts.iter().any(|part| part.kind == op::ERROR) {
        return vec![];
    }
    let decoded = parts.iter().filter_map(|part| {
        let data = part.data.clone().unwrap_or_default();
        TxnRecord::read(part.kind, &mut Reader::new(data)).ok()
    });
    decoded
        .filter_map(|record| effect(&record, txn.header.session, node, owner))
        .map(|what| format!("{what}, in a multi"))
        .collect()
}

fn effect(
    record: &TxnRecord,
    session: SessionId,
    node: &str,
    owner: &mut Option<SessionId>,
) -> Option<String> {
    let size = |data: &Option<bytes::Bytes>| match data {
        Some(data) => format!("{} bytes", data.len()),
        None => "no data".into(),
    };
    match record {
        TxnRecord::Create(txn) | TxnRecord::Create2(txn) if txn.path == node => {
            *owner = txn.ephemeral.then_some(session);
            Some(format!("create{}, {}", if txn.ephemeral { " ephemeral" } else { "" }, size(&txn.data)))
        }
        TxnRecord::CreateContainer(txn) if txn.path == node => {
            Some(format!("create container, {}", size(&txn.data)))
        }
        TxnRecord::CreateTtl(txn) if txn.path == node => {
            Some(format!("create with time to live {} ms, {}", txn.ttl, size(&txn.data)))
        }
        TxnRecord::SetData(txn) if txn.path == node => {
            Some(format!("setData, version {}, {}", txn.version, size(&txn.data)))
        }
        TxnRecord::Reconfig(txn) if txn.path == node => Some(format!("reconfig, {}", size(&txn.data))),
        TxnRecord::SetAcl(txn) if txn.path == node => Some(format!("setAcl, ACL version {}", txn.version)),
        TxnRecord::Delete(txn) if txn.path == node => {
            *owner = None;
            Some("delete".into())
        }
        TxnRecord::DeleteContainer(txn) if txn.path == node => Some("delete, its time had come".into()),
        TxnRecord::CloseSession { paths } => {
            let listed = paths.as_ref().is_some_and(|paths| paths.iter().any(|path| path == node));
            let gone = listed || (*owner == Some(session));
            if gone {
                *owner = None;
            }
            gone.then(|| "delete, the session ended".into())
        }
        _ => None,
    }
}

/// The session's id has the server that made it in its top byte.
fn line(change: &Change, found: &Found, addresses: &BTreeMap<SessionId, String>) -> String {
    let Change { zxid, time, session, what } = change;
    let who = match *session {
        0 => "the server itself".to_owned(),
        session => {
            let address = match addresses.get(&session) {
                Some(address) => format!("from {address}, "),
                None => String::new(),
            };
            let server = format!("made by server {}", (session as u64) >> 56);
            let began = match found.sessions.get(&session) {
                Some(began) => format!(" at {}, time-out {} ms", super::time(began.time), began.timeout),
                None => ", before these logs".into(),
            };
            format!("session 0x{session:x} ({address}{server}{began})")
        }
    };
    format!("0x{zxid:x}\t{}\t{what}\t{who}", super::time(*time))
}

/// Java's and our audit lines are `key=value` words between tabs.
fn addresses<'a>(files: impl Iterator<Item = &'a str>, found: &Found) -> Result<BTreeMap<SessionId, String>> {
    let wanted: HashSet<SessionId> = found.changes.iter().map(|change| change.session).collect();
    let mut addresses = BTreeMap::new();
    for file in files {
        let lines = BufReader::new(File::open(file).with_context(|| file.to_owned())?);
        for line in lines.split(b'\n') {
            let line = line.with_context(|| file.to_owned())?;
            if let Some((session, address)) = audited(&String::from_utf8_lossy(&line))
                && wanted.contains(&session)
            {
                addresses.insert(session, address);
            }
        }
    }
    Ok(addresses)
}

fn audited(line: &str) -> Option<(SessionId, String)> {
    let word = |key: &str| line.split(['\t', ' ']).find_map(|word| word.strip_prefix(key));
    let session = u64::from_str_radix(word("session=")?.strip_prefix("0x")?, 16).ok()?;
    Some((session as SessionId, word("ip=")?.to_owned()))
}

/// Where the logs tell nothing, the node's own record does, without who it was.
fn tell_of_the_node(history: &History, node: &str, found: &Found) -> Result<()> {
    let newest = history.at(Point::Newest)?;
    let Some(stat) = newest.database.node(node).map(|node| node.node_stat()) else {
        bail!("there is no {node}, and the logs do not mention it")
    };
    let begin = match found.first {
        Some((zxid, time)) => format!("which begin at zxid 0x{zxid:x} ({})", super::time(time)),
        None => "which are empty".into(),
    };
    println!("no change of {node} is in the logs, {begin}");
    println!("created: zxid 0x{:x}, {}", stat.czxid, super::time(stat.ctime));
    println!("last set: zxid 0x{:x}, {}, version {}", stat.mzxid, super::time(stat.mtime), stat.version);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::jute::Record;
    use wire::zk::txn::{CreateTxn, DeleteTxn, SetDataTxn, SubTxn, TxnHeader};

    fn txn(session: SessionId, record: TxnRecord) -> Txn {
        Txn::new(TxnHeader { session, cxid: 0, zxid: 1, time: 0, kind: record.kind() }, record, None)
    }

    fn create(path: &str, ephemeral: bool) -> TxnRecord {
        TxnRecord::Create(CreateTxn {
            path: path.into(),
            data: None,
            acl: vec![],
            ephemeral,
            parent_cversion: 1,
        })
    }

    #[test]
    fn changes_of_one_node_are_told_from_those_of_others() {
        let mut owner = None;
        let mut told = |record| effects(&txn(7, record), "/a", &mut owner);
        assert_eq!(told(create("/a", false)), ["create, no data"]);
        assert!(told(create("/a/b", false)).is_empty());
        let set = SetDataTxn { path: "/a".into(), data: Some("xy".into()), version: 4 };
        assert_eq!(told(TxnRecord::SetData(set)), ["setData, version 4, 2 bytes"]);
        assert_eq!(told(TxnRecord::Delete(DeleteTxn { path: "/a".into() })), ["delete"]);
    }

    #[test]
    fn an_ephemeral_node_goes_with_its_session_also_where_the_log_does_not_list_it() {
        let mut owner = None;
        effects(&txn(7, create("/e", true)), "/e", &mut owner);
        let close = || TxnRecord::CloseSession { paths: None };
        assert!(effects(&txn(8, close()), "/e", &mut owner).is_empty());
        assert_eq!(effects(&txn(7, close()), "/e", &mut owner), ["delete, the session ended"]);
        assert!(effects(&txn(7, close()), "/e", &mut owner).is_empty());
        let listed = TxnRecord::CloseSession { paths: Some(vec!["/e".into()]) };
        assert_eq!(effects(&txn(9, listed), "/e", &mut owner).len(), 1);
    }

    #[test]
    fn parts_of_a_multi_count_unless_it_was_refused() {
        let part = |record: TxnRecord| {
            let mut data = bytes::BytesMut::new();
            record.write(&mut data);
            SubTxn { kind: record.kind(), data: Some(data.freeze()) }
        };
        let mut owner = None;
        let whole = vec![part(create("/a", false)), part(TxnRecord::Delete(DeleteTxn { path: "/a".into() }))];
        let told = effects(&txn(7, TxnRecord::Multi(whole.clone())), "/a", &mut owner);
        assert_eq!(told, ["create, no data, in a multi", "delete, in a multi"]);
        let refused = SubTxn { kind: op::ERROR, data: Some((-2i32).encode()) };
        let parts = [whole, vec![refused]].concat();
        assert!(effects(&txn(7, TxnRecord::Multi(parts)), "/a", &mut owner).is_empty());
    }

    #[test]
    fn addresses_come_from_audit_lines() {
        let line = "2026-11-21 09:27:11,057 INFO o.a.z.a.Slf4jAuditLogger: session=0x100000f468f0000\tuser=127.0.0.1\tip=127.0.0.1\toperation=create\tznode=/eph1\tresult=success";
        assert_eq!(audited(line), Some((0x0100_000f_468f_0000, "127.0.0.1".into())));
        assert_eq!(audited("user=root\toperation=serverStart\tresult=success"), None);
    }
}
