//! `java.util.Properties` files, each entry with the place where it was written.
//!
//! Syntax is the `java-properties` crate's, which agrees with Java's on comments, continuations, escapes, separators
//! and Latin-1. Beyond it: line numbers, several sources laid over each other, and errors that name the place.

use java_properties::{LineContent, PropertiesIter};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value comes from: a file's line, or something without lines (an environment variable, the command line).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub source: Arc<str>,
    /// From 1; `None` where the source has no lines.
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// A mistake in a configuration: `FILE:LINE: KEY: what is wrong and what would be right`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub origin: Option<Origin>,
    pub key: Option<String>,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl ConfigError {
    /// A mistake that has no line, such as a key that is missing.
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError { origin: None, key: None, message: message.into() }
    }
}

impl Entry {
    /// A mistake in this entry.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError {
            origin: Some(self.origin.clone()),
            key: Some(self.key.clone()),
            message: message.into(),
        }
    }
}

/// Entries in the order in which they were read; of two with one key, the later counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Entry>,
}

impl Properties {
    pub fn new() -> Properties {
        Properties::default()
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Properties, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|error| ConfigError::new(format!("cannot read {}: {error}", path.display())))?;
        Properties::parse(&path.display().to_string(), &text)
    }

    /// Parses a file's content; `source` names it in errors.
    pub fn parse(source: &str, text: &[u8]) -> Result<Properties, ConfigError> {
        let source: Arc<str> = source.into();
        let mut entries = Vec::new();
        for line in PropertiesIter::new(text) {
            let line = line.map_err(|error| ConfigError {
                origin: Some(Origin { source: source.clone(), line: error.line_number() }),
                key: None,
                message: format!("{error}"),
            })?;
            let origin = Origin { source: source.clone(), line: Some(line.line_number()) };
            if let LineContent::KVPair(key, value) = line.consume_content() {
                entries.push(Entry { key, value, origin });
            }
        }
        Ok(Properties { entries })
    }

    /// Adds one entry from a source without lines, such as `--override`; it counts over earlier ones of its key.
    pub fn set(&mut self, source: &str, key: &str, value: &str) {
        let origin = Origin { source: source.into(), line: None };
        self.entries.push(Entry { key: key.into(), value: value.into(), origin });
    }

    /// Adds one entry with its place.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Lays `over` on top: its entries count over those that are here.
    pub fn overlay(&mut self, over: Properties) {
        self.entries.extend(over.entries);
    }

    /// The entry that counts for `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// The entries that count, in the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let counts = |(at, entry): &(usize, &Entry)| {
            !self.entries[at + 1..].iter().any(|later| later.key == entry.key)
        };
        self.entries.iter().enumerate().filter(counts).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_knows_its_line_across_comments_and_continuations() {
        let text = b"# comment\na=1\n\nb = one \\\n   two\nc:3\n";
        let read = Properties::parse("x.cfg", text).unwrap();
        assert_eq!(read.get("b").unwrap().value, "one two");
        assert_eq!(read.get("b").unwrap().origin.line, Some(4));
        assert_eq!(read.get("c").unwrap().error("wrong").to_string(), "x.cfg:6: c: wrong");
    }

    #[test]
    fn the_later_of_two_entries_counts_and_is_listed_once() {
        let mut read = Properties::parse("x.cfg", b"a=1\nb=2\na=3\n").unwrap();
        read.set("--override", "b", "4");
        let seen: Vec<_> = read.iter().map(|entry| (&entry.key[..], &entry.value[..])).collect();
        assert_eq!(seen, [("a", "3"), ("b", "4")]);
        assert_eq!(read.get("b").unwrap().error("x").to_string(), "--override: b: x");
    }

    #[test]
    fn a_broken_escape_is_refused_with_its_line() {
        let error = Properties::parse("x.cfg", b"a=1\nb=\\u12\n").unwrap_err();
        assert_eq!(error.origin.unwrap().line, Some(2));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Properties::read(Path::new("/no/such.cfg")).unwrap_err();
        assert!(error.to_string().contains("/no/such.cfg"), "{error}");
    }
}
