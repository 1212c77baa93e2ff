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

    /// Which of these limits usage that grows by so much exceeds, count before bytes, as far as the first hard one. Only
    /// what changes is looked at, and where a hard limit is set the soft one is not.
    pub fn excesses(&self, usage: &Figures, bytes: i64, count: i64) -> Vec<Excess> {
        let excess = |what, used: i64, more: i64, soft: i64, hard: i64| {
            let (limit, is_hard) = if hard > -1 { (hard, true) } else { (soft, false) };
            (more != 0 && limit > -1 && used + more > limit).then_some(Excess {
                what,
                used: used + more,
                limit,
                is_hard,
            })
        };
        let mut all = vec![];
        all.extend(excess("count", usage.count, count, self.count, self.count_hard));
        if !all.iter().any(|excess| excess.is_hard) {
            all.extend(excess("byte", usage.bytes, bytes, self.bytes, self.bytes_hard));
        }
        all
    }
}

/// A limit that a change would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    what: &'static str,
    used: i64,
    limit: i64,
    /// The change is refused.
    pub is_hard: bool,
}

impl Excess {
    /// The line by which operators know it.
    pub fn line(&self, path: &str) -> String {
        let Excess { what, used, limit, is_hard } = self;
        let plural = if *what == "byte" { "bytes" } else { what };
        let (kind, what) =
            (if *is_hard { "hard" } else { "soft" }, if *what == "byte" { "Byte" } else { "Count" });
        format!("Quota exceeded: {path} [current {plural}={used}, {kind}{what}Limit={limit}]")
    }
}

/// The lines that are to be told, not more often than it helps.
#[derive(Debug, Default)]
pub struct ExcessLog {
    line: Option<String>,
    /// Mono ms.
    told_at: Option<u64>,
}

impl ExcessLog {
    const INTERVAL_MS: u64 = 100;

    pub fn note(&mut self, line: String) {
        self.line = Some(line);
    }

    /// The newest line, if the last one is long enough ago. `now`: mono ms.
    pub fn take(&mut self, now: u64) -> Option<String> {
        let silent = self.told_at.is_some_and(|told| now.saturating_sub(told) < Self::INTERVAL_MS);
        let line = self.line.take().filter(|_| !silent)?;
        self.told_at = Some(now);
        Some(line)
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
    fn a_hard_limit_hides_the_soft_one_and_only_what_changes_is_looked_at() {
        let limits = Figures { count: 1, bytes: 100, count_hard: 3, bytes_hard: -1 };
        let usage = Figures { count: 3, bytes: 99, ..Figures::UNSET };
        let lines = |bytes, count| -> Vec<(bool, String)> {
            let excesses = limits.excesses(&usage, bytes, count);
            excesses.iter().map(|excess| (excess.is_hard, excess.line("/q"))).collect()
        };
        let hard = (true, "Quota exceeded: /q [current count=4, hardCountLimit=3]".to_owned());
        assert_eq!(lines(5, 1), [hard]);
        let soft = (false, "Quota exceeded: /q [current bytes=104, softByteLimit=100]".to_owned());
        assert_eq!(lines(5, 0), [soft]);
        assert_eq!((lines(1, 0), lines(0, 0)), (vec![], vec![]));
    }

    #[test]
    fn excesses_are_told_at_intervals() {
        let mut log = ExcessLog::default();
        let mut tell = |line: &str, now| {
            log.note(line.into());
            log.take(now)
        };
        assert_eq!(tell("a", 5).as_deref(), Some("a"));
        assert_eq!(tell("b", 104), None);
        assert_eq!(tell("c", 105).as_deref(), Some("c"));
        assert_eq!(log.take(500), None);
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
