//! `kafka-storage`: random ids, and what is in a broker's log directories. There is nothing to format: brokers here keep
//! their metadata in ZooKeeper.

use super::argparse::{Arg, Command, Parser, Words};
use super::{Stop, Terse, properties_of, value};
use crate::Call;
use base::Properties;
use broker::BrokerConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use wire::kafka::Uuid;

const CONFIG: Arg = Arg::text(&["--config", "-c"], "CONFIG", "The broker's configuration.").required();

pub const PARSER: Parser = Parser {
    prog: "kafka-storage",
    description: "Looks at a broker's log directories.",
    args: &[],
    one_of: &[],
    commands: &[
        Command { name: "info", doc: "What is in the log directories.", args: &[CONFIG] },
        Command {
            name: "format",
            doc: "Of clusters with KRaft: refused here.",
            args: &[
                CONFIG,
                Arg::text(&["--cluster-id", "-t"], "CLUSTER_ID", "The cluster's id.").required(),
                Arg::text(&["--add-scram", "-S"], "ADD_SCRAM", "A SCRAM credential."),
                Arg::flag(&["--ignore-formatted", "-g"], "Passes over what is formatted."),
                Arg::text(&["--release-version", "-r"], "RELEASE_VERSION", "A metadata version."),
            ],
        },
        Command { name: "random-uuid", doc: "Prints a random id.", args: &[] },
    ],
};

pub fn main(call: &Call) -> ExitCode {
    super::end_terse(PARSER.read(&call.args).map_err(Terse::from).and_then(|words| storage(&words)))
}

fn storage(words: &Words) -> Result<(), Terse> {
    if words.command == Some("random-uuid") {
        println!("{}", random_uuid());
        return Ok(());
    }
    let properties = properties_of(words.text("--config")).map_err(Terse::Stopped)?;
    let is_kraft = value(&properties, "process.roles").is_some_and(|roles| !roles.is_empty());
    if is_kraft && words.command == Some("info") {
        return told(&Info::of(&directories_of(&properties), true));
    }
    if is_kraft {
        return Err(Terse::Said(
            "process.roles: brokers here keep their metadata in ZooKeeper, and have no KRaft storage to \
             format; leave process.roles out and start the broker with zookeeper.connect"
                .to_owned(),
        ));
    }
    let config = BrokerConfig::read(&properties).map_err(|error| {
        let why = error.to_string();
        Terse::Stopped(Stop::Uncaught("org.apache.kafka.common.config.ConfigException", why))
    })?;
    if words.command == Some("format") {
        let id = words.text("--cluster-id").unwrap_or_default();
        id.parse::<Uuid>().map_err(|_| {
            Terse::Said(format!(
                "Cluster ID string {id} does not appear to be a valid UUID: {}",
                not_a_uuid(id)
            ))
        })?;
        let node = config.broker_id.unwrap_or(-1);
        if node < 0 {
            let why = "The node.id must be set to a non-negative integer. We saw";
            return Err(Terse::Said(format!("{why} {node}")));
        }
        return Err(Terse::Said(
            "The kafka configuration file appears to be for a legacy cluster. Formatting is only supported for clusters in \
             KRaft mode."
                .to_owned(),
        ));
    }
    let directories: BTreeSet<String> = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    told(&Info::of(&directories, false))
}

/// A KRaft node's log directories, and the one of its metadata: of Kafka's own, since there is none here.
fn directories_of(properties: &Properties) -> BTreeSet<String> {
    let logs =
        value(properties, "log.dirs").or_else(|| value(properties, "log.dir")).unwrap_or("/tmp/kafka-logs");
    let metadata = value(properties, "metadata.log.dir").unwrap_or_default();
    let all = logs.split(',').chain([metadata]).map(str::trim).filter(|dir| !dir.is_empty());
    all.map(str::to_owned).collect()
}

fn told(info: &Info) -> Result<(), Terse> {
    print!("{}", info.text());
    match info.problems.is_empty() {
        true => Ok(()),
        false => Err(Terse::Stopped(Stop::Exit(1))),
    }
}

fn not_a_uuid(text: &str) -> String {
    use base64::Engine;
    if text.len() > 24 {
        return format!(
            "Input string with prefix `{}` is too long to be decoded as a base64 UUID",
            &text.chars().take(24).collect::<String>()
        );
    }
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    match engine.decode(text.trim_end_matches('=')) {
        Ok(bytes) => format!(
            "Input string `{text}` decoded as {} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID",
            bytes.len()
        ),
        Err(error) => error.to_string(),
    }
}

/// 22 characters of base64 for URLs; none that could be taken for an option.
pub fn random_uuid() -> Uuid {
    loop {
        let mut bytes: [u8; 16] = rand::random();
        // Version 4, variant 2.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = Uuid(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[derive(Default)]
struct Info {
    found: Vec<String>,
    /// The first directory's `meta.properties`, which all others have to repeat.
    metadata: Option<BTreeMap<String, String>>,
    problems: Vec<String>,
}

impl Info {
    /// `is_kraft`: what the configuration is for.
    fn of(directories: &BTreeSet<String>, is_kraft: bool) -> Info {
        let mut info = Info::default();
        directories.iter().for_each(|dir| info.look_at(dir));
        let version =
            info.metadata.as_ref().map(|metadata| metadata.get("version").map_or("0", String::as_str));
        let (other, file, formatted) = match is_kraft {
            true => ("0", "a cluster in KRaft mode", "legacy mode"),
            false => ("1", "a legacy cluster", "a cluster in KRaft mode"),
        };
        if version == Some(other) {
            info.problems.push(format!(
                "The kafka configuration file appears to be for {file}, but the directories are formatted for {formatted}."
            ));
        }
        info
    }

    fn look_at(&mut self, dir: &str) {
        let path = Path::new(dir);
        if !path.is_dir() {
            let what = if path.exists() { "is not a directory" } else { "does not exist" };
            return self.problems.push(format!("{dir} {what}"));
        }
        self.found.push(dir.to_owned());
        let file = path.join("meta.properties");
        let Ok(properties) = Properties::read(&file) else {
            return self.problems.push(format!("{dir} is not formatted."));
        };
        let metadata: BTreeMap<String, String> =
            properties.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        let version = metadata.get("version").map_or("0", String::as_str);
        if !["0", "1"].contains(&version) {
            return self.problems.push(format!("Unsupported version for {}: {version}", file.display()));
        }
        match &self.metadata {
            None => self.metadata = Some(metadata),
            Some(first) if *first != metadata => {
                let (here, there) = (shown(&metadata), shown(first));
                self.problems.push(format!(
                    "Metadata for {} was {here}, but other directories featured {there}",
                    file.display()
                ));
            }
            Some(_) => {}
        }
    }

    fn text(&self) -> String {
        let several = |list: &[String], one: &str, many: &str| {
            let title = if list.len() == 1 { one } else { many };
            let lines: String = list.iter().map(|line| format!("  {line}\n")).collect();
            if list.is_empty() { String::new() } else { format!("{title}:\n{lines}\n") }
        };
        let metadata =
            self.metadata.as_ref().map(|metadata| format!("Found metadata: {}\n\n", shown(metadata)));
        several(&self.found, "Found log directory", "Found log directories")
            + &metadata.unwrap_or_default()
            + &several(&self.problems, "Found problem", "Found problems")
    }
}

fn shown(metadata: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_22_characters_that_can_follow_an_option() {
        for _ in 0..200 {
            let id = random_uuid().to_string();
            assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
        }
    }

    #[test]
    fn directories_are_told_with_their_metadata_and_what_is_wrong_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let dir = |name: &str| folder.path().join(name).display().to_string();
        for (name, id) in [("a", "x"), ("b", "y")] {
            std::fs::create_dir(dir(name)).unwrap();
            let text = format!("version=0\nbroker.id=1\ncluster.id={id}\n");
            std::fs::write(Path::new(&dir(name)).join("meta.properties"), text).unwrap();
        }
        let (a, b, c) = (dir("a"), dir("b"), dir("c"));
        let info = Info::of(&[a.clone()].into(), false);
        assert_eq!(
            info.text(),
            format!(
                "Found log directory:\n  {a}\n\nFound metadata: {{broker.id=1, cluster.id=x, version=0}}\n\n"
            )
        );
        assert_eq!(
            Info::of(&[a.clone()].into(), true).problems,
            [
                "The kafka configuration file appears to be for a cluster in KRaft mode, but the directories are formatted \
              for legacy mode."
            ]
        );
        let info = Info::of(&[a, b.clone(), c.clone()].into(), false);
        assert_eq!(info.problems.len(), 2);
        assert!(
            info.problems[0]
                .starts_with(&format!("Metadata for {b}/meta.properties was {{broker.id=1, cluster.id=y"))
        );
        assert_eq!(info.problems[1], format!("{c} does not exist"));
    }
}
