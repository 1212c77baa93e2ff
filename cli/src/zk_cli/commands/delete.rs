//! Nodes, deleted one by one or with all that is below them.

use super::super::client::{Client, Failure};
use super::super::words::Parsed;
use super::{Outcome, version};

const BATCH: usize = 1000;

pub fn delete(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    Ok(client.delete(&parsed.args[1], version(parsed)?)?)
}

pub fn delete_all(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let batch = match parsed.value('b').map(str::parse::<i32>) {
        None => BATCH,
        Some(Ok(size)) => size.max(0) as usize,
        Some(Err(_)) => return Err(Outcome::failed("-b argument must be an int value")),
    };
    let mut paths = subtree(client, &parsed.args[1])?;
    paths.reverse();
    if batch == 0 {
        return Ok(paths.iter().try_for_each(|path| client.delete(path, -1))?);
    }
    for batch in paths.chunks(batch) {
        if !client.delete_together(batch)? {
            eprintln!("Failed to delete some node(s) in the subtree!");
            break;
        }
    }
    Ok(())
}

/// Parents before their children.
fn subtree(client: &Client, root: &str) -> Result<Vec<String>, Failure> {
    let mut paths = vec![root.to_owned()];
    let mut at = 0;
    while at < paths.len() {
        let (names, _) = client.children(&paths[at], false)?;
        let parent = paths[at].trim_end_matches('/').to_owned();
        paths.extend(names.iter().map(|name| format!("{parent}/{name}")));
        at += 1;
    }
    Ok(paths)
}
