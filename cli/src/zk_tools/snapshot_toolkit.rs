//! `zkSnapShotToolkit [-d|-json] SNAPSHOT`: every node and session of a snapshot.

use super::{Thrown, java};
use crate::Call;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::Str;
use zk_server::disk::inspect::{Node, NodeStat, SnapshotContent};

const USAGE: &str = "USAGE: SnapshotFormatter [-d|-json] snapshot_file
       -d dump the data for each znode
       -json dump znode info in json format";

pub fn main(call: &Call) -> ExitCode {
    let (mut with_data, mut json) = (false, false);
    let mut words = call.args.iter();
    let file = loop {
        match words.next().map(String::as_str) {
            Some("-d") => with_data = true,
            Some("-json") => json = true,
            other => break other,
        }
    };
    let Some(file) = file.filter(|_| words.next().is_none()) else { return refuse(USAGE) };
    if let Err(wrong) = validate(file) {
        return refuse(&wrong);
    }
    if with_data && json {
        return refuse("Cannot specify both data dump (-d) and json mode (-json) in same call");
    }
    let content = match SnapshotContent::read(Path::new(file)) {
        Ok(content) => content,
        Err(error) => return Thrown::of_file(file, error).tell(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match json {
        true => print_json(&content, &mut out),
        false => print_details(&content, file_zxid(file), with_data, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

fn validate(file: &str) -> Result<(), String> {
    let absolute = env::current_dir().unwrap_or_default().join(file);
    let shown = absolute.display();
    match fs::metadata(file) {
        Err(_) => Err(format!("File '{shown}' does not exist.")),
        Ok(_) if File::open(file).is_err() => Err(format!("Read permission is denied on the file '{shown}'")),
        Ok(meta) if meta.is_dir() => Err(format!("'{shown}' is a directory. it must be a file.")),
        Ok(_) => Ok(()),
    }
}

/// From a name like `snapshot.8d.gz`; -1 from another.
fn file_zxid(file: &str) -> i64 {
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = name.split('.');
    match (parts.next(), parts.next()) {
        (Some("snapshot"), Some(hex)) => i64::from_str_radix(hex, 16).unwrap_or(-1),
        _ => -1,
    }
}

/// Every node, parents first, with its path; siblings in the order of Java's sets.
fn walk<'a>(
    content: &'a SnapshotContent,
    key: &str,
    visit: &mut impl FnMut(&str, Node<'a>) -> io::Result<()>,
) -> io::Result<()> {
    let Some(node) = content.database.node(if key.is_empty() { "/" } else { key }) else { return Ok(()) };
    visit(key, node)?;
    for name in in_java_s_order(content.children(key)) {
        walk(content, &format!("{key}/{name}"), visit)?;
    }
    Ok(())
}

/// A node's set of children begins with room for eight.
pub fn in_java_s_order(names: &[Str]) -> Vec<&Str> {
    java::hash_order(names, 8, |name| java::string_hash(name))
}

fn print_details(
    content: &SnapshotContent,
    file_zxid: i64,
    with_data: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "ZNode Details (count={}):", content.database.node_count())?;
    let mut zxid = file_zxid;
    walk(content, "", &mut |key, node| {
        let stat = node.node_stat();
        zxid = zxid.max(stat.mzxid).max(stat.pzxid);
        writeln!(out, "----\n{}", if key.is_empty() { "/" } else { key })?;
        print_stat(&stat, out)?;
        match with_data {
            true => writeln!(out, "  data = {}", BASE64_STANDARD.encode(node.data().unwrap_or_default())),
            false => writeln!(out, "  dataLength = {}", node.data_len()),
        }
    })?;
    writeln!(out, "----\nSession Details (sid, timeout, ephemeralCount):")?;
    for (session, timeout) in
        java::hash_order(&content.sessions, 16, |(session, _)| java::long_hash(*session))
    {
        let ephemerals = content.database.ephemerals_of(*session).count();
        writeln!(out, "{session:#016x}, {timeout}, {ephemerals}")?;
    }
    writeln!(out, "----\nLast zxid: 0x{zxid:x}")
}

fn print_stat(stat: &NodeStat, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  cZxid = {:#016x}\n  ctime = {}", stat.czxid, java::date(stat.ctime))?;
    writeln!(out, "  mZxid = {:#016x}\n  mtime = {}", stat.mzxid, java::date(stat.mtime))?;
    writeln!(out, "  pZxid = {:#016x}\n  cversion = {}", stat.pzxid, stat.cversion)?;
    writeln!(out, "  dataVersion = {}\n  aclVersion = {}", stat.version, stat.aversion)?;
    writeln!(out, "  ephemeralOwner = {:#016x}", stat.ephemeral_owner)
}

/// As `ncdu` reads it.
fn print_json(content: &SnapshotContent, out: &mut impl Write) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    write!(out, "[1,0,{{\"progname\":\"SnapshotFormatter.java\",\"progver\":\"0.01\",\"timestamp\":{now}}}")?;
    let mut inode = 1000;
    print_json_node(content, "", &mut inode, out)?;
    write!(out, "]")
}

fn print_json_node(
    content: &SnapshotContent,
    key: &str,
    inode: &mut u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(node) = content.database.node(if key.is_empty() { "/" } else { key }) else { return Ok(()) };
    let name = key.rsplit_once('/').map_or("/", |(_, name)| name);
    let size = node.data_len();
    *inode += 1;
    let line = format!(
        "{{\"name\":\"{}\",\"asize\":{size},\"dsize\":{size},\"dev\":0,\"ino\":{inode}}}",
        quoted(name)
    );
    match &in_java_s_order(content.children(key))[..] {
        [] => write!(out, ",{line}"),
        names => {
            write!(out, ",[{line}")?;
            for name in names {
                print_json_node(content, &format!("{key}/{name}"), inode, out)?;
            }
            write!(out, "]")
        }
    }
}

/// The inside of a JSON string, with Jackson's escapes.
fn quoted(text: &str) -> String {
    let mut to = String::new();
    for c in text.chars() {
        match c {
            '"' => to += "\\\"",
            '\\' => to += "\\\\",
            '\u{8}' => to += "\\b",
            '\t' => to += "\\t",
            '\n' => to += "\\n",
            '\u{c}' => to += "\\f",
            '\r' => to += "\\r",
            c if c < ' ' => to += &format!("\\u{:04X}", c as u32),
            c => to.push(c),
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zxid_is_in_the_file_s_name() {
        assert_eq!(file_zxid("/x/snapshot.8d"), 0x8d);
        assert_eq!(file_zxid("snapshot.8d.gz"), 0x8d);
        assert_eq!((file_zxid("snapshot.x"), file_zxid("other.8d")), (-1, -1));
    }

    #[test]
    fn names_are_quoted_for_json() {
        assert_eq!(quoted("a\"b\\c\u{1}\t\u{e4}"), "a\\\"b\\\\c\\u0001\\t\u{e4}");
    }
}
