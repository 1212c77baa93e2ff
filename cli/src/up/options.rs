//! The command line.

use super::folder::Folder;
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::path::PathBuf;

pub const USAGE: &str = "\
Usage: menagerie up [options]
Starts ZooKeeper servers and Kafka brokers on this machine, sends messages round, and stays up until Ctrl-C.
  --servers N      ZooKeeper servers, 1 to 9 (1; later as before)
  --brokers N      Kafka brokers, 1 to 9 (1; later as before)
  --data DIR       folder of data, configurations and log
  --zk-port N      first client port of the servers (2181 or the next free ones)
  --kafka-port N   first port of the brokers (9092 or the next free ones)
  --once           stop after the messages came back
Of a cluster that is there:
  --status         who runs, where, in which role
  --stop           stop it, keep its data
  --purge          stop it and delete its data";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Up { once: bool },
    Status,
    Stop,
    Purge,
    Help,
}

#[derive(Debug)]
pub struct Options {
    pub verb: Verb,
    /// `None`: as many as the folder's cluster has, or one.
    pub servers: Option<u32>,
    pub brokers: Option<u32>,
    pub folder: Folder,
    /// The first port; `None`: the usual one or the next that is free.
    pub zk_port: Option<u16>,
    pub kafka_port: Option<u16>,
}

impl Options {
    pub fn parse(args: &[String]) -> Result<Options> {
        let (mut verb, mut once, mut dir) = (None, false, None);
        let (mut servers, mut brokers, mut zk_port, mut kafka_port) = (None, None, None, None);
        let mut args = args.iter();
        while let Some(word) = args.next() {
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let asked = match name {
                "--status" => Some(Verb::Status),
                "--stop" => Some(Verb::Stop),
                "--purge" => Some(Verb::Purge),
                "--help" | "-h" => Some(Verb::Help),
                _ => None,
            };
            if name == "--once" || asked.is_some() {
                ensure!(joined.is_none(), "{name} takes no value");
                once |= name == "--once";
                if let Some(asked) = asked {
                    ensure!(verb.is_none_or(|verb| verb == asked), "{name}: one of these at a time");
                    verb = Some(asked);
                }
                continue;
            }
            let mut value = || {
                joined
                    .clone()
                    .or_else(|| args.next().cloned())
                    .with_context(|| format!("{name} needs a value"))
            };
            match name {
                "--servers" => servers = Some(count(name, &value()?)?),
                "--brokers" => brokers = Some(count(name, &value()?)?),
                "--data" => dir = Some(std::path::absolute(value()?).context("--data")?),
                "--zk-port" => zk_port = Some(port(name, &value()?)?),
                "--kafka-port" => kafka_port = Some(port(name, &value()?)?),
                _ => bail!("there is no option {name}"),
            }
        }
        let starts = once || servers.or(brokers).is_some() || zk_port.or(kafka_port).is_some();
        ensure!(
            verb.is_none_or(|verb| verb == Verb::Help) || !starts,
            "options of a start and of a running cluster do not go together"
        );
        let dir = dir.map_or_else(default_dir, Ok)?;
        let verb = verb.unwrap_or(Verb::Up { once });
        Ok(Options { verb, servers, brokers, folder: Folder::new(dir), zk_port, kafka_port })
    }
}

fn count(name: &str, value: &str) -> Result<u32> {
    match value.parse() {
        Ok(n @ 1..=9) => Ok(n),
        _ => bail!("{name} {value}: a number from 1 to 9 is needed"),
    }
}

fn port(name: &str, value: &str) -> Result<u16> {
    match value.parse() {
        // Room for nine members.
        Ok(n @ 1..=65_500) => Ok(n),
        _ => bail!("{name} {value}: a port from 1 to 65500 is needed"),
    }
}

fn default_dir() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").filter(|dir| dir.is_absolute());
    let data = data.or_else(|| set("HOME").map(|home| home.join(".local/share")));
    Ok(data.context("HOME is not set: name a folder with --data")?.join("menagerie/up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn values_follow_their_option_or_an_equals_sign() {
        let options = parse("--servers 3 --brokers=2 --data=/x --kafka-port 19092 --once").unwrap();
        assert_eq!(options.verb, Verb::Up { once: true });
        assert_eq!((options.servers, options.brokers), (Some(3), Some(2)));
        assert_eq!((options.zk_port, options.kafka_port), (None, Some(19092)));
        assert_eq!(options.folder.path, PathBuf::from("/x"));
        assert_eq!(parse("--data /x --status").unwrap().verb, Verb::Status);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("--servers", "--servers needs a value"),
            ("--servers ten", "--servers ten: a number from 1 to 9"),
            ("--brokers 0", "--brokers 0: a number from 1 to 9"),
            ("--zk-port 0", "--zk-port 0: a port"),
            ("--kafka-port 70000", "--kafka-port 70000: a port"),
            ("--spelling", "there is no option --spelling"),
            ("up", "there is no option up"),
            ("--once=yes", "--once takes no value"),
            ("--stop --purge", "--purge: one of these at a time"),
            ("--stop --once", "do not go together"),
            ("--status --servers 3", "do not go together"),
        ];
        for (line, expected) in cases {
            let error = parse(&format!("--data /x {line}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
