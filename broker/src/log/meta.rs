//! `meta.properties`: which broker of which cluster a log directory belongs to.

use super::checkpoint::{read_optional, replace_file};
use super::error::{LogError, Result};
use std::fmt;
use std::path::Path;

const FILE: &str = "meta.properties";

/// The content of one `meta.properties`, version 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaProperties {
    pub broker_id: Option<i32>,
    pub cluster_id: Option<String>,
}

impl MetaProperties {
    /// Reads a directory's file; `None` where there is none yet.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let Some(text) = read_optional(&path)? else { return Ok(None) };
        let mut meta = Self::default();
        let mut version = None;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let position = at;
            at += line.len() as u64;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            let value = value.trim().replace("\\:", ":").replace("\\=", "=");
            match key.trim() {
                "broker.id" => {
                    let id = value.parse();
                    let reason = || format!("broker.id is '{value}'");
                    meta.broker_id = Some(id.map_err(|_| LogError::corrupt(&path, position, reason()))?);
                }
                "cluster.id" => meta.cluster_id = Some(value),
                "version" => version = Some((position, value)),
                _ => {}
            }
        }
        match version {
            Some((_, version)) if version == "0" => Ok(Some(meta)),
            Some((position, version)) => {
                Err(LogError::corrupt(&path, position, format!("the version is '{version}', not 0")))
            }
            None => Err(LogError::corrupt(&path, 0, "there is no version")),
        }
    }

    /// Writes the file as Java's properties are written; `now` is in its comment.
    pub fn write(&self, dir: &Path, now: i64) -> Result<()> {
        let mut text = format!("#\n#{}\n", java_date(now));
        if let Some(id) = self.broker_id {
            text.push_str(&format!("broker.id={id}\n"));
        }
        text.push_str("version=0\n");
        if let Some(id) = &self.cluster_id {
            text.push_str(&format!("cluster.id={id}\n"));
        }
        replace_file(&dir.join(FILE), text.as_bytes())
    }

    /// What the directories agree on, and with the configured id (`None`: to be generated) and the cluster's. Checked in
    /// Java's order: the directories among each other, then the cluster, then the id.
    pub fn agree(found: &[(&Path, Self)], broker_id: Option<i32>, cluster_id: &str) -> Result<Self> {
        let mut agreed = Self { broker_id, cluster_id: Some(cluster_id.to_owned()) };
        let Some((dir, stored)) = found.first() else { return Ok(agreed) };
        if found.iter().any(|(_, meta)| meta != stored) {
            let each: Vec<String> =
                found.iter().map(|(dir, meta)| format!("{} -> {meta}", dir.display())).collect();
            return Err(LogError::Identity(format!(
                "BrokerMetadata is not consistent across log.dirs. Brokers may have shared a directory, or part of \
                 another broker's data was copied here. Found: {}",
                each.join(", ")
            )));
        }
        let file = dir.join(FILE);
        if let Some(id) = stored.cluster_id.as_ref().filter(|id| *id != cluster_id) {
            return Err(LogError::Identity(format!(
                "The Cluster ID {cluster_id} doesn't match stored clusterId Some({id}) in {}. The broker is \
                 trying to join the wrong cluster. Configured zookeeper.connect may be wrong.",
                file.display()
            )));
        }
        match (broker_id, stored.broker_id) {
            (Some(configured), Some(id)) if configured != id => Err(LogError::Identity(format!(
                "Configured broker.id {configured} doesn't match stored broker.id {id} in {}. If you moved your data, \
                 make sure your configured broker.id matches. If you intend to create a new broker, you should remove \
                 all data in your data directories (log.dirs).",
                file.display()
            ))),
            (configured, stored) => {
                agreed.broker_id = configured.or(stored);
                Ok(agreed)
            }
        }
    }
}

impl fmt::Display for MetaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{version=0")?;
        if let Some(id) = self.broker_id {
            write!(f, ", broker.id={id}")?;
        }
        if let Some(id) = &self.cluster_id {
            write!(f, ", cluster.id={id}")?;
        }
        f.write_str("}")
    }
}

/// `Sat Nov 21 12:05:00 UTC 2026`, as `java.util.Date` prints.
fn java_date(now_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = now_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}", MONTHS[month as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_has_javas_date() {
        assert_eq!(java_date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(1_795_263_900_000), "Sat Nov 21 12:25:00 UTC 2026");
        assert_eq!(java_date(1_709_164_799_000), "Wed Feb 28 23:59:59 UTC 2024");
        assert_eq!(java_date(1_709_164_800_000), "Thu Feb 29 00:00:00 UTC 2024");
    }

    #[test]
    fn a_file_reads_back_and_strangers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), None);
        let meta = MetaProperties { broker_id: Some(1), cluster_id: Some("f0tm3O9lQ_SfkZyueplkdA".into()) };
        meta.write(dir.path(), 0).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let expected =
            "#\n#Thu Jan 01 00:00:00 UTC 1970\nbroker.id=1\nversion=0\ncluster.id=f0tm3O9lQ_SfkZyueplkdA\n";
        assert_eq!(text, expected);
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), Some(meta.clone()));

        let found = [(dir.path(), meta.clone())];
        let cluster = "f0tm3O9lQ_SfkZyueplkdA";
        assert_eq!(MetaProperties::agree(&found, Some(1), cluster).unwrap(), meta);
        assert_eq!(MetaProperties::agree(&found, None, cluster).unwrap(), meta);
        assert!(matches!(MetaProperties::agree(&found, Some(2), cluster), Err(LogError::Identity(_))));
        assert!(matches!(MetaProperties::agree(&found, Some(1), "other"), Err(LogError::Identity(_))));
    }

    #[test]
    fn directories_that_differ_are_told_before_a_cluster_or_an_id_that_is_another() {
        let of = |id: i32, cluster: &str| MetaProperties {
            broker_id: Some(id),
            cluster_id: Some(cluster.to_owned()),
        };
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        let told = |found: &[(&Path, MetaProperties)]| {
            MetaProperties::agree(found, Some(3), "ours").unwrap_err().to_string()
        };
        let clusters = told(&[(a, of(1, "theirs")), (b, of(1, "others"))]);
        assert!(clusters.contains("not consistent across log.dirs"), "{clusters}");
        assert!(clusters.contains("/b -> {version=0, broker.id=1, cluster.id=others}"), "{clusters}");
        let ids = told(&[(a, of(1, "ours")), (b, of(2, "ours"))]);
        assert!(ids.contains("not consistent across log.dirs"), "{ids}");
        let cluster = told(&[(a, of(1, "theirs")), (b, of(1, "theirs"))]);
        assert!(cluster.contains("doesn't match stored clusterId Some(theirs)"), "{cluster}");
        let id = told(&[(a, of(1, "ours")), (b, of(1, "ours"))]);
        assert!(id.contains("Configured broker.id 3 doesn't match stored broker.id 1"), "{id}");
    }
}
