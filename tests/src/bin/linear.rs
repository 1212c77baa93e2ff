//! `linear FILE`: checks a recorded history, a line for each operation in the order in which they were asked for:
//!
//! ```text
//! session  node  start  end|-  create|set|delete|read  data  expected  answer  version|-  value|-  zxid|-  mzxid|-
//! ```
//!
//! Columns are separated by tabs, times are of one clock, `answer` is done, version, value, none, exists, nonode,
//! badversion or unknown. A node's operations must be linearizable, and a session's answers must not go back.

use std::collections::BTreeMap;
use std::process::ExitCode;
use tests::linear::{self, Answer, Call, Operation, SessionOrder, Verdict};

/// An operation, and what its answer shows of the server's state.
#[derive(Debug)]
struct Line {
    path: String,
    operation: Operation,
    seen: Option<(i64, Option<i64>)>,
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: linear FILE");
        return ExitCode::from(2);
    };
    let lines = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"));
    match lines.and_then(|text| text.lines().map(parse).collect()).and_then(check) {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{broken}");
            ExitCode::FAILURE
        }
    }
}

fn parse(line: &str) -> Result<Line, String> {
    let wrong = |what: &str| format!("{what}: {line}");
    let column: Vec<&str> = line.split('\t').collect();
    let [session, path, start, end, call, data, expected, answer, version, value, zxid, mzxid] = column[..]
    else {
        return Err(wrong("not 12 columns"));
    };
    let number = |text: &str| text.parse::<i64>().map_err(|error| wrong(&format!("{text}: {error}")));
    let optional = |text: &str| if text == "-" { Ok(None) } else { number(text).map(Some) };
    let expected = number(expected)? as i32;
    let call = match call {
        "create" => Call::Create(data.to_owned().into()),
        "set" => Call::Set { data: data.to_owned().into(), expected },
        "delete" => Call::Delete { expected },
        "read" => Call::Read,
        _ => return Err(wrong("no such call")),
    };
    let version = optional(version)?.unwrap_or_default() as i32;
    let answer = match answer {
        "unknown" => None,
        "done" => Some(Answer::Done),
        "version" => Some(Answer::Version(version)),
        "value" => Some(Answer::Read(Some((version, value.to_owned().into())))),
        "none" => Some(Answer::Read(None)),
        "exists" => Some(Answer::NodeExists),
        "nonode" => Some(Answer::NoNode),
        "badversion" => Some(Answer::BadVersion),
        _ => return Err(wrong("no such answer")),
    };
    let answer = answer.map(|answer| Ok::<_, String>((number(end)? as u64, answer))).transpose()?;
    let operation = Operation { session: number(session)?, call, start: number(start)? as u64, answer };
    let seen = optional(zxid)?.map(|zxid| Ok::<_, String>((zxid, optional(mzxid)?))).transpose()?;
    Ok(Line { path: path.to_owned(), operation, seen })
}

fn check(lines: Vec<Line>) -> Result<String, String> {
    let mut order = SessionOrder::default();
    let mut answered: Vec<&Line> = lines.iter().filter(|line| line.seen.is_some()).collect();
    answered.sort_by_key(|line| line.operation.answer.as_ref().map(|(end, _)| *end));
    for Line { path, operation, seen } in answered {
        let Some((zxid, mzxid)) = *seen else { continue };
        order.took(operation.session, path, zxid, mzxid)?;
    }
    let mut nodes: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for line in &lines {
        nodes.entry(&line.path).or_default().push(line.operation.clone());
    }
    let mut unclear = vec![];
    for (path, history) in &nodes {
        match linear::check(history) {
            Verdict::Linearizable => {}
            Verdict::Broken(why) => return Err(format!("{path} is not linearizable: {why}")),
            Verdict::Unclear => unclear.push(*path),
        }
    }
    // Of a few it may be too much to ask; of many, it would hide what is wrong.
    if unclear.len() * 10 > nodes.len() {
        return Err(format!("nobody can say of {unclear:?} whether they are linearizable"));
    }
    Ok(format!("{} operations on {} nodes are linearizable, unclear: {unclear:?}", lines.len(), nodes.len()))
}
