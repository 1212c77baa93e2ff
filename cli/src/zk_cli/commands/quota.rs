//! Quotas: two nodes below `/zookeeper/quota` for each node that has one.

use super::super::client::{Client, CreateMode, Failure, open_acl};
use super::super::words::Parsed;
use super::{Outcome, nodes};
use bytes::Bytes;
use std::fmt;
use wire::zk::err;

const ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// What both nodes hold; -1 is no limit. Statistics, and limits of servers before 3.7, lack the hard ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    count: i64,
    bytes: i64,
    byte_hard_limit: Option<i64>,
    count_hard_limit: Option<i64>,
}

impl Figures {
    const NO_LIMITS: Figures =
        Figures { count: -1, bytes: -1, byte_hard_limit: Some(-1), count_hard_limit: Some(-1) };
    const NO_USE: Figures = Figures { count: 0, bytes: 0, byte_hard_limit: None, count_hard_limit: None };

    fn parse(data: Option<Bytes>) -> Figures {
        let text = data.map(|data| String::from_utf8_lossy(&data).into_owned()).unwrap_or_default();
        let mut figures = Figures { count: -1, bytes: -1, ..Figures::NO_USE };
        for (key, value) in text.split([',', ';']).filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('=').parse().unwrap_or(-1);
            match key.trim_matches('=') {
                "count" => figures.count = value,
                "bytes" => figures.bytes = value,
                "byteHardLimit" => figures.byte_hard_limit = Some(value),
                "countHardLimit" => figures.count_hard_limit = Some(value),
                _ => {}
            }
        }
        figures
    }

    fn data(self) -> Option<Bytes> {
        Some(Bytes::from(self.to_string()))
    }
}

/// Hard limits only where they were ever written, behind a `=;` that old servers skip.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        let hard = [("byteHardLimit", self.byte_hard_limit), ("countHardLimit", self.count_hard_limit)];
        let hard: Vec<String> =
            hard.iter().filter_map(|(key, limit)| limit.map(|limit| format!("{key}={limit}"))).collect();
        if hard.is_empty() { Ok(()) } else { write!(f, "=;{}", hard.join(";")) }
    }
}

fn folder(path: &str) -> String {
    format!("{ROOT}{path}")
}

pub fn list(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let path = &parsed.args[1];
    let limits = format!("{}/{LIMITS}", folder(path));
    eprintln!("absolute path is {limits}");
    let read = || -> Result<(Figures, Figures), Failure> {
        let limits = client.get_data(&limits, false)?;
        let stats = client.get_data(&format!("{}/{STATS}", folder(path)), false)?;
        Ok((Figures::parse(limits.data), Figures::parse(stats.data)))
    };
    match read() {
        Ok((limits, stats)) => println!("Output quota for {path} {limits}\nOutput stat for {path} {stats}"),
        Err(failure) if failure.is(err::NO_NODE) => eprintln!("quota for {path} does not exist."),
        Err(failure) => return Err(failure.into()),
    }
    Ok(())
}

pub fn set(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let Some(letter) = one_of_the_limits(parsed)? else {
        return Err(Outcome::failed(
            "org.apache.commons.cli.MissingOptionException: Missing required option: [-n num soft quota, -b bytes \
             soft quota, -N num hard quota, -B bytes hard quota]",
        ));
    };
    let Some(path) = parsed.args.get(1) else { return Err(Outcome::failed("setquota -n|-b|-N|-B val path")) };
    if path.starts_with(ROOT) {
        eprintln!("cannot set a quota under the path: {ROOT}");
        return Ok(());
    }
    let Some(wanted) = wanted(letter, parsed.value(letter).unwrap_or_default()) else { return Ok(()) };
    check_place(client, path)?;
    make_folders(client, path)?;
    write_limits(client, path, wanted)?;
    Ok(())
}

/// `-n`, `-b`, `-N` or `-B`: they exclude each other.
fn one_of_the_limits(parsed: &Parsed) -> Result<Option<char>, Outcome> {
    const LETTERS: &str = "nbNB";
    match parsed.first_two(LETTERS) {
        Some((first, second)) => Err(Outcome::failed(format!(
            "org.apache.commons.cli.AlreadySelectedException: The option '{second}' was specified but an option from \
             this group has already been selected: '{first}'"
        ))),
        None => Ok(LETTERS.chars().find(|letter| parsed.has(*letter))),
    }
}

/// `None`: the value makes no sense, and that was told.
fn wanted(letter: char, value: &str) -> Option<Figures> {
    let Ok(value) = value.parse::<i64>() else {
        eprintln!("NumberFormatException happens when parsing the option value");
        return None;
    };
    if matches!(letter, 'n' | 'N') && value <= 0 {
        eprintln!("the num quota must be greater than zero");
        return None;
    }
    if value < 0 {
        eprintln!("the bytes quota must be greater than or equal to zero");
        return None;
    }
    let mut figures = Figures::NO_LIMITS;
    match letter {
        'n' => figures.count = value,
        'b' => figures.bytes = value,
        'N' => figures.count_hard_limit = Some(value),
        _ => figures.byte_hard_limit = Some(value),
    }
    Some(figures)
}

/// The node has to exist, and no quota may stand above or below it.
fn check_place(client: &Client, path: &str) -> Result<(), Outcome> {
    if client.exists(path, false)?.is_none() {
        return Err(Outcome::failed(format!("{path} does not exist.")));
    }
    let mut with_quota = Vec::new();
    let own = folder(path);
    let visited = nodes::visit(client, &own, false, &mut |node| {
        if let Some(owner) = node.strip_suffix(&format!("/{LIMITS}")).filter(|owner| *owner != own) {
            with_quota.push(owner.to_owned());
        }
    });
    match visited {
        Err(failure) if !failure.is(err::NO_NODE) => return Err(failure.into()),
        _ => {}
    }
    let short = |node: &str| node.strip_prefix(ROOT).unwrap_or(node).to_owned();
    if let Some(child) = with_quota.first() {
        return Err(Outcome::failed(format!("{path} has a child {} which has a quota", short(child))));
    }
    let parents = own.match_indices('/').map(|(at, _)| &own[..at]).filter(|parent| parent.len() > ROOT.len());
    for parent in parents {
        if client.exists(&format!("{parent}/{LIMITS}"), false)?.is_some() {
            return Err(Outcome::failed(format!("{path} has a parent {} which has a quota", short(parent))));
        }
    }
    Ok(())
}

fn make_folders(client: &Client, path: &str) -> Result<(), Failure> {
    let own = folder(path);
    let ends = own.match_indices('/').map(|(at, _)| at).skip(1).chain([own.len()]);
    for end in ends {
        match client.create(&own[..end], None, open_acl(), CreateMode::PERSISTENT) {
            Err(failure) if !failure.is(err::NODE_EXISTS) => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

fn write_limits(client: &Client, path: &str, wanted: Figures) -> Result<(), Failure> {
    let (limits, stats) = (format!("{}/{LIMITS}", folder(path)), format!("{}/{STATS}", folder(path)));
    if client.exists(&limits, false)?.is_none() {
        client.create(&limits, wanted.data(), open_acl(), CreateMode::PERSISTENT)?;
        client.create(&stats, Figures::NO_USE.data(), open_acl(), CreateMode::PERSISTENT)?;
        warn_if_exceeded(wanted, Figures::parse(client.get_data(&stats, false)?.data));
        return Ok(());
    }
    let mut now = Figures::parse(client.get_data(&limits, false)?.data);
    let over = |now: i64, wanted: i64| if wanted > -1 { wanted } else { now };
    now.count = over(now.count, wanted.count);
    now.bytes = over(now.bytes, wanted.bytes);
    let given = |limit: Option<i64>| limit.filter(|limit| *limit > -1);
    now.count_hard_limit = given(wanted.count_hard_limit).or(now.count_hard_limit);
    now.byte_hard_limit = given(wanted.byte_hard_limit).or(now.byte_hard_limit);
    warn_if_exceeded(now, Figures::parse(client.get_data(&stats, false)?.data));
    client.set_data(&limits, now.data(), -1).map(drop)
}

fn warn_if_exceeded(limits: Figures, stats: Figures) {
    let below = |limit: i64, used: i64| limit > -1 && limit < used;
    for (what, soft, hard, used) in [
        ("count", limits.count, limits.count_hard_limit, stats.count),
        ("bytes", limits.bytes, limits.byte_hard_limit, stats.bytes),
    ] {
        if below(soft, used) || hard.is_some_and(|hard| below(hard, used)) {
            println!("[Warning]: the {what} quota you create is less than the existing {what}:{used}");
        }
    }
}

pub fn delete(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let given = one_of_the_limits(parsed)?;
    let path = &parsed.args[1];
    let own = folder(path);
    let limits = format!("{own}/{LIMITS}");
    if client.exists(&limits, false)?.is_none() {
        println!("Quota does not exist for {path}");
        return Ok(());
    }
    let Some(letter) = given else { return Ok(delete_folders(client, &own)?) };
    let mut figures = Figures::parse(client.get_data(&limits, false)?.data);
    match letter {
        'n' => figures.count = -1,
        'b' => figures.bytes = -1,
        'N' => figures.count_hard_limit = Some(-1),
        _ => figures.byte_hard_limit = Some(-1),
    }
    client.set_data(&limits, figures.data(), -1)?;
    Ok(())
}

/// Both nodes, and every folder above that is empty then.
fn delete_folders(client: &Client, own: &str) -> Result<(), Failure> {
    for name in client.children(own, false)?.0 {
        client.delete(&format!("{own}/{name}"), -1)?;
    }
    let mut folder = own;
    while folder.len() > ROOT.len() && client.children(folder, false)?.0.is_empty() {
        client.delete(folder, -1)?;
        folder = &folder[..folder.rfind('/').unwrap_or(0)];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_java_writes_them() {
        let soft = Figures { count: 2, bytes: 100, ..Figures::NO_USE };
        let hard = Figures { byte_hard_limit: Some(50), count_hard_limit: Some(3), ..soft };
        assert_eq!(soft.to_string(), "count=2,bytes=100");
        assert_eq!(Figures::NO_LIMITS.to_string(), "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1");
        assert_eq!(hard.to_string(), "count=2,bytes=100=;byteHardLimit=50;countHardLimit=3");
        for figures in [soft, hard, Figures::NO_LIMITS] {
            assert_eq!(Figures::parse(figures.data()), figures);
        }
    }
}
