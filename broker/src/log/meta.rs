//! `meta.properties`: which broker of which cluster a log directory belongs to.

use super::checkpoint::{read_optional, replace_file};
use super::error::{LogError, Result};
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

    /// What the directories agree on, and with the configured id (`None`: to be generated) and the cluster's.
    pub fn agree(found: &[(&Path, Self)], broker_id: Option<i32>, cluster_id: &str) -> Result<Self> {
        let mut agreed = Self { broker_id, cluster_id: Some(cluster_id.to_owned()) };
        let mut stored: Option<(&Path, i32)> = None;
        for (dir, meta) in found {
            match &meta.cluster_id {
                Some(id) if id != cluster_id => {
                    return Err(LogError::Identity(format!(
                        "The Cluster ID {cluster_id} doesn't match stored clusterId Some({id}) in {}. The broker is \
                         trying to join the wrong cluster. Configured zookeeper.connect may be wrong.",
                        dir.join(FILE).display()
                    )));
                }
                _ => {}
            }
            let Some(id) = meta.broker_id else { continue };
            if let Some((other, known)) = stored
                && known != id
            {
                return Err(LogError::Identity(format!(
                    "the log directories belong to different brokers: {} to {known}, {} to {id}",
                    other.display(),
                    dir.display()
                )));
            }
            stored = Some((dir, id));
        }
        match (broker_id, stored) {
            (Some(configured), Some((dir, id))) if configured != id => Err(LogError::Identity(format!(
                "Configured broker.id {configured} doesn't match stored broker.id {id} in {}. If you moved your data, \
                 make sure your configured broker.id matches. If you intend to create a new broker, you should remove \
                 all data in your data directories (log.dirs).",
                dir.join(FILE).display()
            ))),
            (None, Some((_, id))) => {
                agreed.broker_id = Some(id);
                Ok(agreed)
            }
            _ => Ok(agreed),
        }
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
}
