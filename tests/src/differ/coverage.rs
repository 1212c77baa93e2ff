//! Which APIs were asked in which versions.

use std::collections::BTreeMap;
use std::fmt::Write;

use wire::kafka::{APIS, ApiKey};

/// Answers that were compared, by API and version.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    counts: BTreeMap<(ApiKey, i16), usize>,
    /// Outcomes of requests whose bytes were damaged.
    pub damaged: usize,
}

impl Coverage {
    pub fn count(&mut self, key: ApiKey, version: i16) {
        *self.counts.entry((key, version)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        self.damaged += other.damaged;
        for (&(key, version), count) in &other.counts {
            *self.counts.entry((key, version)).or_default() += count;
        }
    }

    fn of(&self, key: ApiKey, version: i16) -> usize {
        self.counts.get(&(key, version)).copied().unwrap_or_default()
    }

    /// All answers.
    pub fn total(&self) -> usize {
        self.counts.values().sum::<usize>() + self.damaged
    }

    /// What a broker answers and nobody asked.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for api in APIS {
            let Some((low, high)) = api.broker_versions else { continue };
            let gone = (low..=high).filter(|&version| self.of(api.key, version) == 0);
            missing.extend(gone.map(|version| format!("{} v{version}", api.name)));
        }
        missing
    }

    /// A line for each API: how many answers of each version.
    pub fn table(&self) -> String {
        let mut table = String::from("answers by API and version:\n");
        for api in APIS {
            let Some((low, high)) = api.broker_versions else { continue };
            let _ = write!(table, "{:>4} {:<30}", api.key as i16, api.name);
            for version in low..=high {
                let _ = write!(table, " v{version}:{}", self.of(api.key, version));
            }
            table.push('\n');
        }
        let _ = writeln!(table, "{} damaged requests", self.damaged);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_is_told() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missing().len(), coverage.table().matches(":0").count());
        let mut one = Coverage::default();
        one.count(ApiKey::SaslHandshake, 0);
        one.count(ApiKey::SaslHandshake, 0);
        coverage.add(&one);
        assert!(coverage.missing().contains(&"SaslHandshake v1".to_string()));
        assert!(!coverage.missing().contains(&"SaslHandshake v0".to_string()));
        assert!(
            coverage.table().contains("SaslHandshake                  v0:2 v1:0\n"),
            "{}",
            coverage.table()
        );
    }
}
