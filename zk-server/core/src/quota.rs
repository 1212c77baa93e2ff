//! Quotas: limits and usage of a subtree, kept as text in ordinary nodes below `/zookeeper/quota`.

use crate::path;
use std::collections::BTreeSet;

pub const LIMITS: &str = "zookeeper_limits";
pub const STATS: &str = "zookeeper_stats";

/// The text of a limits or stats node; -1 = not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub count: i64,
    pub bytes: i64,
    pub count_hard: i64,
    pub bytes_hard: i64,
}

impl Figures {
    pub const UNSET: Figures = Figures { count: -1, bytes: -1, count_hard: -1, bytes_hard: -1 };

    /// `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`: pairs apart by commas or semicolons; what is not a
    /// known pair is passed over.
    pub fn parse(text: &[u8]) -> Figures {
        let mut figures = Figures::UNSET;
        let text = String::from_utf8_lossy(text);
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (Some(key), Some(value)) = (parts.next(), parts.next()) else { continue };
            let Ok(value) = value.parse() else { continue };
            match key {
                "count" => figures.count = value,
                "bytes" => figures.bytes = value,
                "countHardLimit" => figures.count_hard = value,
                "byteHardLimit" => figures.bytes_hard = value,
                _ => {}
            }
        }
        figures
    }

    /// The reverse, with the `=` before the hard limits that keeps older readers going.
    pub fn to_text(self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if self.bytes_hard >= 0 || self.count_hard >= 0 {
            text.push('=');
        }
        for (key, value) in [("byteHardLimit", self.bytes_hard), ("countHardLimit", self.count_hard)] {
            if value >= 0 {
                text.push_str(&format!(";{key}={value}"));
            }
        }
        text
    }

    /// Whether usage that grows to this breaks a hard limit. Only what grows is looked at, and where a hard limit
    /// is set the soft one is not.
    pub fn refuses(&self, usage: &Figures, bytes: i64, count: i64) -> bool {
        let count_over = count != 0 && self.count_hard > -1 && usage.count + count > self.count_hard;
        let bytes_over = bytes != 0 && self.bytes_hard > -1 && usage.bytes + bytes > self.bytes_hard;
        count_over || bytes_over
    }
}

/// The paths that have limits.
#[derive(Debug, Default)]
pub struct Quotas {
    limited: BTreeSet<Box<str>>,
}

impl Quotas {
    pub fn add(&mut self, path: &str) {
        self.limited.insert(path.into());
    }

    pub fn remove(&mut self, path: &str) {
        self.limited.remove(path);
    }

    /// The longest limited path that covers this one.
    pub fn covering<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.limited.is_empty() {
            return None;
        }
        path::ancestors(path).find(|at| self.limited.contains(*at))
    }
}

pub fn limits_path(path: &str) -> String {
    [path::QUOTA, path, "/", LIMITS].concat()
}

pub fn stats_path(path: &str) -> String {
    [path::QUOTA, path, "/", STATS].concat()
}

/// The path that a limits or stats node below `/zookeeper/quota` speaks of, from that node's parent. Never the root.
pub fn subject(parent: &str) -> Option<&str> {
    parent.strip_prefix(path::QUOTA).filter(|subject| !subject.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_real_server() {
        let text = "count=2,bytes=100=;byteHardLimit=50;countHardLimit=3";
        let figures = Figures { count: 2, bytes: 100, count_hard: 3, bytes_hard: 50 };
        assert_eq!(Figures::parse(text.as_bytes()), figures);
        assert_eq!(figures.to_text(), text);
        assert_eq!(Figures { count_hard: -1, bytes_hard: -1, ..figures }.to_text(), "count=2,bytes=100");
        assert_eq!(Figures::parse(b"nonsense"), Figures::UNSET);
    }

    #[test]
    fn the_longest_limited_path_covers() {
        let mut quotas = Quotas::default();
        quotas.add("/a");
        quotas.add("/a/b");
        assert_eq!(quotas.covering("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.covering("/a/bc"), Some("/a"));
        assert_eq!(quotas.covering("/b"), None);
    }
}
