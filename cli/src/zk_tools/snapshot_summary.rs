//! `zkSnapshotRecursiveSummaryToolkit SNAPSHOT NODE DEPTH`: how many nodes and bytes are below each node.

use super::Thrown;
use super::snapshot_toolkit::in_java_s_order;
use crate::Call;
use std::path::Path;
use std::process::ExitCode;
use zk_server::disk::inspect::SnapshotContent;

const USAGE: &str = "USAGE:


SnapshotRecursiveSummary  <snapshot_file>  <starting_node>  <max_depth>


snapshot_file:    path to the zookeeper snapshot
starting_node:    the path in the zookeeper tree where the traversal should begin
max_depth:        defines the depth where the tool still writes to the output. 0 means there is no depth limit, every \
non-leaf node's stats will be displayed, 1 means it will only contain the starting node's and it's children's stats, 2 \
ads another level and so on. This ONLY affects the level of details displayed, NOT the calculation.";

pub fn main(call: &Call) -> ExitCode {
    let depth = call.args.get(2).and_then(|depth| depth.parse::<i32>().ok());
    let ([file, start, _], Some(depth)) = (&call.args[..], depth) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let content = match SnapshotContent::read(Path::new(file)) {
        Ok(content) => content,
        Err(error) => return Thrown::of_file(file, error).tell(),
    };
    let mut text = String::new();
    match summarize(&content, start, 0, depth, &mut text) {
        Some(_) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        None => {
            let what = format!("there is no node {start} in {file}");
            Thrown::new("java.lang.NullPointerException", what).tell()
        }
    }
}

/// Nodes and bytes of a node and all below it; `None`: it is not there. `text` gets the parents among them.
fn summarize(
    content: &SnapshotContent,
    path: &str,
    level: usize,
    depth: i32,
    text: &mut String,
) -> Option<(u64, u64)> {
    let node = content.database.node(path)?;
    let mut sum = (1, node.data_len() as u64);
    let key = if path == "/" { "" } else { path };
    let names = in_java_s_order(content.children(key));
    if names.is_empty() {
        return Some(sum);
    }
    let mut below = String::new();
    for name in names {
        let path = format!("{key}/{name}");
        if let Some((nodes, bytes)) = summarize(content, &path, level + 1, depth, &mut below) {
            sum = (sum.0 + nodes, sum.1 + bytes);
        }
    }
    if depth == 0 || level as i64 <= i64::from(depth) {
        let tab = "--".repeat(level);
        *text += &format!("{tab} {path}\n{tab}   children: {}\n{tab}   data: {}\n", sum.0 - 1, sum.1);
        *text += &below;
    }
    Some(sum)
}
