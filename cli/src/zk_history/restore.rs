//! `zk-restore`: what a subtree was at some point, from snapshots and logs, and what it takes to have it so again.

use super::answer;
use super::image::{self, Image};
use super::live::Live;
use super::options::{Words, path, point};
use super::plan::{Plan, Step, plan};
use crate::Call;
use anyhow::{Context, Result, ensure};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use zk_server::disk::history::{Past, Point};

const USAGE: &str = "\
Usage: menagerie zk-restore --at ZXID|TIME --path /x [options]
Shows what has to be done so that /x and everything below it is again what it was. Nothing is changed without --apply.
  --at ZXID|TIME      0x1f or 31; 2026-11-21T17:03:11Z, or '2026-11-21 17:03:11' in this machine's zone
  --path /x           the subtree; / is everything but /zookeeper
  --data-dir DIR      a server's dataDir (that of the configuration); it is only read, also while the server runs
  --data-log-dir DIR  its dataLogDir
  --config DIR        the configuration's folder, where no --data-dir is given
  --server H:P[,H:P]  compare with the live tree there; without it, with the newest state in the files
  --auth SCHEME:AUTH  as addauth of zkCli does, once or more
  --dry-run           only show the plan: the default
  --apply             do it, over --server";

/// Of one multi: below what servers take with their defaults.
const STEPS_MAX: usize = 500;
const BYTES_MAX: usize = 256 << 10;

pub fn main(call: &Call) -> ExitCode {
    answer(call, USAGE, run)
}

fn run(args: &[String]) -> Result<()> {
    let valued = ["--at", "--path", "--data-dir", "--data-log-dir", "--config", "--server", "--auth"];
    let words = Words::parse(args, &valued, &["--dry-run", "--apply"])?;
    ensure!(words.rest.is_empty(), "{}: what is this? A path is given by --path", words.rest.join(" "));
    let apply = words.has("--apply");
    ensure!(!(apply && words.has("--dry-run")), "--dry-run and --apply exclude each other");
    let root = path(words.value("--path").context("--path /x is missing")?)?;
    ensure!(!image::is_own(&root), "{root}: ZooKeeper's own nodes are not brought back");
    let at = point(words.value("--at").context("--at ZXID|TIME is missing")?)?;
    let server = words.value("--server");
    ensure!(!apply || server.is_some(), "--apply needs --server H:P");
    let (history, _) = words.history()?;
    let past = history.at(at)?;
    let then = image::of_database(&past.database, &root);
    println!("{root} as of {}", describe(&past));
    drop(past.database);
    let live = server.map(|server| Live::connect(server, words.values("--auth"))).transpose()?;
    let now = match &live {
        Some(live) => {
            println!("now: the tree at {}", server.unwrap_or_default());
            live.image(&root)?
        }
        None => {
            let newest = history.at(Point::Newest)?;
            println!("now: the files' newest state, {}", describe(&newest));
            image::of_database(&newest.database, &root)
        }
    };
    let plan = plan(&then, &now);
    show(&plan, &then, &now);
    if let Some(live) = live.filter(|_| apply) {
        let done = carry_out(&plan, &live);
        live.close();
        done?;
    } else if !plan.steps.is_empty() {
        println!("dry run: nothing was changed; --apply --server H:P does it");
    }
    Ok(())
}

fn describe(past: &Past) -> String {
    let time = past.time.map(|ms| format!(" ({})", super::time(ms))).unwrap_or_default();
    let snapshot = past.snapshot.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("zxid 0x{:x}{time}: {snapshot} and {} transactions", past.zxid, past.replayed)
}

fn show(plan: &Plan, then: &Image, now: &Image) {
    let mut out = BufWriter::new(io::stdout().lock());
    // Nobody reads any more where this fails.
    let _ = print(plan, &mut out);
    if plan.steps.is_empty() {
        let what = if then.is_empty() && now.is_empty() {
            "it was not there, and is not"
        } else {
            "it is as it was"
        };
        let _ = writeln!(out, "nothing to do: {what}");
    }
    let _ = out.flush();
}

fn print(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    for step in &plan.steps {
        writeln!(out, "  {}", line(step))?;
    }
    for left in &plan.left {
        writeln!(out, "  leave   {}: {}", left.path, left.why)?;
    }
    let [creates, sets, deletes, acls] = plan.counts();
    writeln!(
        out,
        "{creates} to create, {sets} to set, {deletes} to delete, {acls} ACLs to set, {} left alone",
        plan.left.len()
    )
}

fn line(step: &Step) -> String {
    let bytes = |data: &Option<bytes::Bytes>| match data {
        Some(data) => format!("{} bytes", data.len()),
        None => "no data".into(),
    };
    match step {
        Step::Create { path, data, kind, .. } => match kind {
            image::Kind::Container => format!("create  {path} ({}, a container)", bytes(data)),
            image::Kind::Ttl(ttl) => format!("create  {path} ({}, time to live {ttl} ms)", bytes(data)),
            _ => format!("create  {path} ({})", bytes(data)),
        },
        Step::SetData { path, data, version } => {
            format!("set     {path} ({}, over version {version})", bytes(data))
        }
        Step::Delete { path, version } => format!("delete  {path} (version {version})"),
        Step::SetAcl { path, acl, aversion } => {
            let acl: Vec<String> = acl.iter().map(crate::zk_cli::print::acl_word).collect();
            format!("setAcl  {path} {} (over ACL version {aversion})", acl.join(","))
        }
    }
}

/// Batch by batch; each is done whole or not at all.
fn carry_out(plan: &Plan, live: &Live) -> Result<()> {
    let mut done = 0;
    for batch in plan.batches(STEPS_MAX, BYTES_MAX) {
        live.take(batch).with_context(|| {
            let all = plan.steps.len();
            format!("stopped after {done} of {all} changes, somebody else changed the tree or may not be overridden; run it again for a new plan")
        })?;
        done += batch.len();
    }
    println!("done: {done} changes");
    Ok(())
}
