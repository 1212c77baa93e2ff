//! The command lines of the two tools.

use crate::zk_server::place::Place;
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use zk_server::disk::history::{History, Point};

/// Words of the form `--name VALUE`, `--name=VALUE`, `--flag`, and the rest.
#[derive(Debug, Default)]
pub struct Words {
    pub given: Vec<(String, String)>,
    pub rest: Vec<String>,
}

impl Words {
    /// `valued` and `flags` are names with their dashes.
    pub fn parse(args: &[String], valued: &[&str], flags: &[&str]) -> Result<Words> {
        let mut words = Words::default();
        let mut args = args.iter();
        while let Some(word) = args.next() {
            let (name, joined) = match word.split_once('=').filter(|_| word.starts_with("--")) {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            if valued.contains(&name) {
                let value = joined.or_else(|| args.next().cloned());
                words.given.push((name.into(), value.with_context(|| format!("{name} needs a value"))?));
            } else if flags.contains(&name) && joined.is_none() {
                words.given.push((name.into(), String::new()));
            } else {
                ensure!(!word.starts_with('-') || word == "-", "there is no option {word}");
                words.rest.push(word.clone());
            }
        }
        Ok(words)
    }

    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// The last one counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.given.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// `--data-dir` and `--data-log-dir`, else those of the configuration (`--config DIR`).
    pub fn history(&self) -> Result<(History, PathBuf)> {
        let (data, logs) = match self.value("--data-dir") {
            Some(data) => (PathBuf::from(data), self.value("--data-log-dir").map(PathBuf::from)),
            None => {
                let place = Place::find(self.value("--config").map(PathBuf::from), None);
                let data = place.key("dataDir").map(PathBuf::from).with_context(|| {
                    format!("there is no dataDir in {}: write --data-dir DIR", place.file.display())
                })?;
                (data, place.key("dataLogDir").map(PathBuf::from))
            }
        };
        let logs = logs.unwrap_or_else(|| data.clone());
        for folder in [&data, &logs] {
            ensure!(
                folder.join("version-2").is_dir(),
                "{} has no folder version-2: this is not a data directory of ZooKeeper",
                folder.display()
            );
        }
        Ok((History::new(&data, &logs), data))
    }
}

/// A zxid (`0x1f`, `31`) or a time (`2026-11-21T17:03:11Z`, or without the zone in that of this machine).
pub fn point(text: &str) -> Result<Point> {
    if let Some(hex) = text.strip_prefix("0x") {
        let zxid = i64::from_str_radix(hex, 16);
        return Ok(Point::Zxid(zxid.with_context(|| format!("--at {text}: not a hexadecimal zxid"))?));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Point::Zxid(text.parse().with_context(|| format!("--at {text}"))?));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Point::Time(at.as_millisecond()));
    }
    if let Ok(at) = text.parse::<DateTime>() {
        let at = at.to_zoned(TimeZone::system()).with_context(|| format!("--at {text}"))?;
        return Ok(Point::Time(at.timestamp().as_millisecond()));
    }
    bail!("--at {text}: write a zxid (0x1f or 31) or a time (2026-11-21T17:03:11Z, 2026-11-21 17:03:11)")
}

/// An absolute path without a trailing slash.
pub fn path(text: &str) -> Result<String> {
    ensure!(text.starts_with('/'), "{text}: a path begins with /");
    ensure!(text == "/" || !text.ends_with('/'), "{text}: a path does not end with /");
    ensure!(!text.contains("//"), "{text}: a path has no empty names");
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Words> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Words::parse(&args, &["--data-dir", "--at", "-n"], &["--apply"])
    }

    #[test]
    fn words_have_values_behind_them_or_joined() {
        let given = words("--data-dir=/x -n 3 /a --apply --at 0x5").unwrap();
        assert_eq!(
            (given.value("--data-dir"), given.value("-n"), given.value("--at")),
            (Some("/x"), Some("3"), Some("0x5"))
        );
        assert!(given.has("--apply") && given.rest == ["/a"]);
        assert!(words("--nope").unwrap_err().to_string().contains("--nope"));
        assert!(words("--at").unwrap_err().to_string().contains("--at needs a value"));
        assert!(words("--apply=yes").is_err());
    }

    #[test]
    fn a_point_is_a_zxid_or_a_time() {
        assert_eq!(point("0x1f").unwrap(), Point::Zxid(31));
        assert_eq!(point("31").unwrap(), Point::Zxid(31));
        assert_eq!(point("1970-01-01T00:00:01Z").unwrap(), Point::Time(1000));
        assert_eq!(point("1970-01-01T01:00:01+01:00").unwrap(), Point::Time(1000));
        assert!(matches!(point("2026-11-21 17:03:11").unwrap(), Point::Time(_)));
        for wrong in ["yesterday", "", "0x", "-5", "0xzz"] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_absolute() {
        assert_eq!(path("/a/b").unwrap(), "/a/b");
        assert_eq!(path("/").unwrap(), "/");
        assert!(path("a").is_err() && path("/a/").is_err() && path("/a//b").is_err());
    }
}
