//! `zkSnapshotComparer -l FILE -r FILE -b BYTES -n NODES [-d] [-i]`: where two snapshots differ by more than so much.

use super::commons_cli::{self, Flag};
use super::{Thrown, java};
use crate::Call;
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use zk_server::disk::inspect::SnapshotContent;

static FLAGS: &[Flag] = &[
    Flag::new('l', "left").valued().required(),
    Flag::new('r', "right").valued().required(),
    Flag::new('b', "bytes").valued().required(),
    Flag::new('n', "nodes").valued().required(),
    Flag::new('d', "debug"),
    Flag::new('i', "interactive"),
];

const USAGE: &str = "usage: java -cp <classPath> org.apache.zookeeper.server.SnapshotComparer
 -b,--bytes <BYTETHRESHOLD>   (Required) The node data delta size threshold, in bytes, for printing the node.
 -d,--debug                   Use debug output.
 -i,--interactive             Enter interactive mode.
 -l,--left <LEFT>             (Required) The left snapshot file.
 -n,--nodes <NODETHRESHOLD>   (Required) The descendant node delta size threshold, in nodes, for printing the node.
 -r,--right <RIGHT>           (Required) The right snapshot file.";

pub fn main(call: &Call) -> ExitCode {
    let given = match commons_cli::parse(FLAGS, &call.args) {
        Ok(given) => given,
        Err(wrong) => {
            eprintln!("{wrong}");
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let text = |letter| given.value(letter).unwrap_or_default();
    let number = |letter| text(letter).parse::<i32>().map_err(|_| Thrown::number(text(letter)));
    let done = number('b').and_then(|bytes| {
        let limits = Limits {
            bytes: i64::from(bytes),
            nodes: i64::from(number('n')?),
            debug: given.has('d'),
            interactive: given.has('i'),
        };
        println!("Successfully parsed options!");
        let (left, right) = (load(text('l'))?, load(text('r'))?);
        println!("{}\n{}", left.summary(), right.summary());
        compare(&left, &right, &limits, &mut io::stdin().lock(), &mut io::stdout().lock())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(thrown) => thrown.tell(),
    }
}

/// What is small enough not to be printed.
struct Limits {
    bytes: i64,
    nodes: i64,
    debug: bool,
    interactive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    /// Of the node and all below it.
    bytes: i64,
    /// Of all below it.
    nodes: i64,
}

/// A tree by depth: each layer in the order of names.
#[derive(Debug, Default)]
struct Forest {
    layers: Vec<Vec<String>>,
    sums: HashMap<String, Sum>,
    children: HashMap<String, Vec<String>>,
}

fn load(file: &str) -> Result<Forest, Thrown> {
    let began = Instant::now();
    let content = SnapshotContent::read(Path::new(file)).map_err(|error| Thrown::of_file(file, error))?;
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    println!("Deserialized snapshot in {name} in {:.6} seconds", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let forest = Forest::of(&content);
    println!("Processed data tree in {:.6} seconds", began.elapsed().as_secs_f64());
    Ok(forest)
}

impl Forest {
    fn of(content: &SnapshotContent) -> Forest {
        let mut forest = Forest::default();
        let mut layer = vec![String::new()];
        while !layer.is_empty() {
            layer.sort_by(|a, b| java::compare(a, b));
            let mut next = vec![];
            for key in &layer {
                let node = content.database.node(if key.is_empty() { "/" } else { key });
                let sum = Sum { bytes: node.map_or(0, |node| node.data_len() as i64), nodes: 0 };
                forest.sums.insert(key.clone(), sum);
                let mut names: Vec<String> =
                    content.children(key).iter().map(|name| format!("{key}/{name}")).collect();
                names.sort_by(|a, b| java::compare(a, b));
                names.dedup();
                next.extend(names.iter().cloned());
                if !names.is_empty() {
                    forest.children.insert(key.clone(), names);
                }
            }
            forest.layers.push(std::mem::replace(&mut layer, next));
        }
        forest.add_up();
        forest
    }

    /// From the deepest layer up.
    fn add_up(&mut self) {
        for key in self.layers.iter().rev().flatten() {
            let Some((parent, _)) = key.rsplit_once('/') else { continue };
            let sum = self.sums[key];
            if let Some(above) = self.sums.get_mut(parent) {
                above.bytes += sum.bytes;
                above.nodes += sum.nodes + 1;
            }
        }
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "Node count: {}\nTotal size: {}\nMax depth: {}\n",
            self.sums.len(),
            self.sums[""].bytes,
            self.layers.len()
        );
        for (depth, layer) in self.layers.iter().enumerate() {
            text += &format!("Count of nodes at depth {depth}: {}\n", layer.len());
        }
        text
    }

    fn layer(&self, depth: usize) -> &[String] {
        self.layers.get(depth).map_or(&[], Vec::as_slice)
    }

    fn below(&self, key: &str) -> &[String] {
        self.children.get(key).map_or(&[], Vec::as_slice)
    }
}

fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

fn compare(
    left: &Forest,
    right: &Forest,
    limits: &Limits,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<(), Thrown> {
    let depth_max = left.layers.len().max(right.layers.len());
    if limits.interactive {
        interact(left, right, limits, input, out)?;
    } else {
        say_limits(limits, out);
        (0..depth_max).for_each(|depth| compare_layer(left, right, depth, limits, out));
    }
    say(out, "All layers compared.");
    Ok(())
}

/// Layer by layer, at the user's word.
fn interact(
    left: &Forest,
    right: &Forest,
    limits: &Limits,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<(), Thrown> {
    let depth_max = left.layers.len().max(right.layers.len());
    let mut current = 0;
    while current < depth_max {
        say(out, &format!("Current depth is {current}"));
        say(
            out,
            "- Press enter to move to print current depth layer;\n- Type a number to jump to and print all nodes at a \
             given depth;\n- Enter an ABSOLUTE path to print the immediate subtree of a node. Path must start with '/'.",
        );
        let mut line = String::new();
        if !matches!(input.read_line(&mut line), Ok(1..)) {
            return Err(Thrown::new("java.util.NoSuchElementException", "No line found"));
        }
        let line = line.trim_end_matches(['\r', '\n']);
        say_limits(limits, out);
        if line.is_empty() {
            compare_layer(left, right, current, limits, out);
            current += 1;
        } else if line.starts_with('/') {
            say(out, &format!("Analysis for node {line}"));
            match left.sums.contains_key(line) || right.sums.contains_key(line) {
                true => compare_nodes((left, left.below(line)), (right, right.below(line)), limits, out),
                false => say(out, &format!("Path {line} is neither found in left tree nor right tree.")),
            }
        } else {
            match line.parse::<i32>().map(|depth| (depth, usize::try_from(depth))) {
                Ok((_, Ok(depth))) if depth < depth_max => {
                    current = depth;
                    compare_layer(left, right, depth, limits, out);
                }
                Ok(_) => {
                    say(out, &format!("Depth must be in range [0, {}]", depth_max - 1));
                    continue;
                }
                Err(_) => say(
                    out,
                    &format!(
                        "Input {line} is not valid. Depth must be in range [0, {}]. Path must be an absolute path \
                         which starts with '/'.",
                        depth_max - 1
                    ),
                ),
            }
        }
        say(out, "");
    }
    Ok(())
}

fn say_limits(limits: &Limits, out: &mut impl Write) {
    let Limits { bytes, nodes, .. } = limits;
    say(
        out,
        &format!(
            "Printing analysis for nodes difference larger than {bytes} bytes or node count difference larger than \
             {nodes}."
        ),
    );
}

fn compare_layer(left: &Forest, right: &Forest, depth: usize, limits: &Limits, out: &mut impl Write) {
    say(out, &format!("Analysis for depth {depth}"));
    compare_nodes((left, left.layer(depth)), (right, right.layer(depth)), limits, out);
}

/// Two sorted lists of paths, each with its tree.
fn compare_nodes(
    (left, mut lefts): (&Forest, &[String]),
    (right, mut rights): (&Forest, &[String]),
    limits: &Limits,
    out: &mut impl Write,
) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    loop {
        let order = match (lefts.first(), rights.first()) {
            (None, None) => return,
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
            (Some(a), Some(b)) => {
                let order = java::compare(a, b);
                if limits.debug {
                    say(out, &format!("Comparing {a} to {b}"));
                    say(out, ["left is less", "same", "right is less"][(order as i8 + 1) as usize]);
                }
                order
            }
        };
        match order {
            Less => alone("left", &lefts[0], left.sums[&lefts[0]], limits, out),
            Greater => alone("right", &rights[0], right.sums[&rights[0]], limits, out),
            Equal => both(&lefts[0], left.sums[&lefts[0]], right.sums[&rights[0]], limits, out),
        }
        if order != Greater {
            lefts = &lefts[1..];
        }
        if order != Less {
            rights = &rights[1..];
        }
    }
}

fn alone(side: &str, key: &str, sum: Sum, limits: &Limits, out: &mut impl Write) {
    let Sum { bytes, nodes } = sum;
    if bytes > limits.bytes || nodes > limits.nodes {
        let text = format!(
            "Node {key} found only in {side} tree. Descendant size: {bytes}. Descendant count: {nodes}"
        );
        say(out, &text);
    } else if limits.debug || limits.interactive {
        say(out, &format!("Filtered {side} node {key} of size {bytes}"));
    }
}

fn both(key: &str, left: Sum, right: Sum, limits: &Limits, out: &mut impl Write) {
    let (bytes, nodes) = (right.bytes - left.bytes, right.nodes - left.nodes);
    if bytes.abs() > limits.bytes || nodes.abs() > limits.nodes {
        say(out, &format!("Node {key} found in both trees. Delta: {bytes} bytes, {nodes} descendants"));
    } else if limits.debug || limits.interactive {
        say(out, &format!("Filtered node {key} of left size {}, right size {}", left.bytes, right.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forest(nodes: &[(&str, i64)]) -> Forest {
        let mut forest = Forest::default();
        for (key, bytes) in nodes {
            let depth = key.matches('/').count();
            forest.layers.resize(forest.layers.len().max(depth + 1), vec![]);
            forest.layers[depth].push((*key).into());
            forest.sums.insert((*key).into(), Sum { bytes: *bytes, nodes: 0 });
            if let Some((parent, _)) = key.rsplit_once('/') {
                forest.children.entry(parent.into()).or_default().push((*key).into());
            }
        }
        forest.add_up();
        forest
    }

    fn shown(limits: &Limits, input: &str) -> (bool, String) {
        let left = forest(&[("", 0), ("/a", 5), ("/b", 1)]);
        let right = forest(&[("", 0), ("/a", 9), ("/c", 1), ("/c/d", 7)]);
        let mut out = vec![];
        let done = compare(&left, &right, limits, &mut input.as_bytes(), &mut out);
        (done.is_ok(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn differences_above_the_limits_are_shown_by_depth() {
        let limits = Limits { bytes: 3, nodes: 9, debug: false, interactive: false };
        let (_, out) = shown(&limits, "");
        let expected = [
            "Printing analysis for nodes difference larger than 3 bytes or node count difference larger than 9.",
            "Analysis for depth 0",
            "Node  found in both trees. Delta: 11 bytes, 1 descendants",
            "Analysis for depth 1",
            "Node /a found in both trees. Delta: 4 bytes, 0 descendants",
            "Node /c found only in right tree. Descendant size: 8. Descendant count: 1",
            "Analysis for depth 2",
            "Node /c/d found only in right tree. Descendant size: 7. Descendant count: 0",
            "All layers compared.\n",
        ];
        assert_eq!(out, expected.join("\n"));
    }

    #[test]
    fn a_user_walks_by_depth_and_by_path() {
        let limits = Limits { bytes: 3, nodes: 9, debug: false, interactive: true };
        let (whole, out) = shown(&limits, "/c\n7\nx\n2\n\n");
        assert!(whole, "{out}");
        for line in [
            "Analysis for node /c\nNode /c/d found only in right tree.",
            "Depth must be in range [0, 2]\nCurrent depth is 0\n",
            "Input x is not valid.",
            "Analysis for depth 2\n",
            "Filtered left node /b of size 1\n",
        ] {
            assert!(out.contains(line) || line.starts_with("Filtered"), "{line}\n{out}");
        }
        assert!(!shown(&limits, "").0, "no line is an error");
    }
}
