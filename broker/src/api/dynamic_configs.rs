//! What a broker's settings may be changed to while it runs, in Kafka's words.

use std::collections::BTreeMap;

use crate::config::{BROKER_KEYS, Key, Update, find, find_dynamic, is_fixed_at_start};

/// Keys of listeners that all brokers may share.
const SHARED_BY_LISTENERS: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// Keys whose number of threads may at most double or halve.
const THREADS: &[&str] =
    &["background.threads", "num.io.threads", "num.recovery.threads.per.data.dir", "num.replica.fetchers"];

/// The key without the listener that it is for.
fn base_name(name: &str) -> &str {
    let of_listener = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    of_listener.map_or(name, |(_, base)| base)
}

fn named<'a>(problem: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { Ok(()) } else { Err(format!("{problem}: Set({})", names.join(", "))) }
}

/// A setting that nobody would follow before the next start, and not even then, is not taken.
pub fn check_followed<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let fixed: Vec<&str> = names.filter(|name| is_fixed_at_start(name)).collect();
    if fixed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "This broker reads these configs at its start only: Set({}); write them into server.properties",
        fixed.join(", ")
    ))
}

/// Checks a whole set, of one broker or of all; keys that nobody knows are taken.
pub fn check_dynamic(config: &BTreeMap<String, String>, cluster_wide: bool) -> Result<(), String> {
    let of = |test: fn(&Key) -> bool| {
        config.keys().filter(move |name| find(BROKER_KEYS, name).is_some_and(test)).map(String::as_str)
    };
    named("Cannot update these configs dynamically", of(|key| key.update == Update::ReadOnly))?;
    named(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        of(|key| key.update == Update::PerBroker && key.name.starts_with("ssl.")),
    )?;
    for (name, value) in config {
        if let Some(key) = find_dynamic(base_name(name)) {
            key.check(value)?;
        }
    }
    if !cluster_wide {
        return Ok(());
    }
    let is_single = |name: &&String| {
        let base = base_name(name);
        if base == name.as_str() {
            find(BROKER_KEYS, name).is_some_and(|key| key.update == Update::PerBroker)
        } else {
            !SHARED_BY_LISTENERS.contains(&base)
        }
    };
    named(
        "Cannot update these configs at default cluster level, broker id must be specified",
        config.keys().filter(is_single).map(String::as_str),
    )
}

/// Checks numbers of threads against those of now.
pub fn check_threads(config: &BTreeMap<String, String>, now: impl Fn(&str) -> i64) -> Result<(), String> {
    for (name, value) in config {
        let Ok(new) = value.trim().parse::<i64>() else { continue };
        let problem = if THREADS.contains(&name.as_str()) {
            let old = now(name);
            let start = format!("Dynamic thread count update validation failed for {name}={new}");
            match new {
                _ if new == old => None,
                ..=0 => Some(format!("{start}, value should be at least 1")),
                _ if new < old / 2 => {
                    Some(format!("{start}, value should be at least half the current value {old}"))
                }
                _ if new > old * 2 => {
                    Some(format!("{start}, value should not be greater than double the current value {old}"))
                }
                _ => None,
            }
        } else if name == "log.cleaner.threads" {
            let old = now(name);
            match new {
                _ if new == old => None,
                ..1 => Some("Log cleaner threads should be at least 1".to_owned()),
                _ if new < old / 2 => Some(format!(
                    "Log cleaner threads cannot be reduced to less than half the current value {old}"
                )),
                _ if new > old * 2 => Some(format!(
                    "Log cleaner threads cannot be increased to more than double the current value {old}"
                )),
                _ => None,
            }
        } else {
            None
        };
        if let Some(problem) = problem {
            // The words around it are those of Java's exceptions, one inside the other.
            return Err(format!(
                "Invalid value org.apache.kafka.common.config.ConfigException: {problem} for configuration Invalid \
                 dynamic configuration"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn what_may_change_is_said_in_kafkas_words() {
        let wrong = |name: &str, value: &str| check_dynamic(&one(name, value), true).unwrap_err();
        assert_eq!(wrong("log.dirs", "/x"), "Cannot update these configs dynamically: Set(log.dirs)");
        assert_eq!(
            wrong("listeners", "PLAINTEXT://:1"),
            "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)"
        );
        assert!(wrong("ssl.keystore.type", "PEM").starts_with("These security configs can be dynamically"));
        assert!(wrong("listener.name.x.ssl.keystore.type", "PEM").contains("default cluster level"));
        assert_eq!(
            wrong("max.connections", "many"),
            "Invalid value many for configuration max.connections: Not a number of type INT"
        );
        assert!(check_dynamic(&one("listener.name.x.max.connections", "5"), true).is_ok());
        assert!(check_dynamic(&one("listener.name.x.max.connections", "y"), true).is_err());
        assert!(check_dynamic(&one("somebodys.own.key", "y"), true).is_ok());
        assert!(check_dynamic(&one("listeners", "PLAINTEXT://:1"), false).is_ok());
    }

    #[test]
    fn threads_double_or_halve_at_most() {
        let check = |name: &str, value: &str| check_threads(&one(name, value), |_| 8);
        assert!(check("num.io.threads", "16").is_ok() && check("num.io.threads", "4").is_ok());
        assert_eq!(
            check("num.io.threads", "17").unwrap_err(),
            "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed \
             for num.io.threads=17, value should not be greater than double the current value 8 for configuration Invalid \
             dynamic configuration"
        );
        assert!(check("background.threads", "3").unwrap_err().contains("at least half the current value 8"));
        assert!(check("log.cleaner.threads", "0").unwrap_err().contains("should be at least 1"));
        assert!(check("message.max.bytes", "1").is_ok());
    }

    #[test]
    fn what_is_read_at_the_start_only_is_not_taken_later() {
        assert!(check_followed(["log.retention.ms", "compression.type"].into_iter()).is_ok());
        let problem = check_followed(["log.retention.ms", "listeners"].into_iter()).unwrap_err();
        assert!(problem.contains("Set(listeners); write them into server.properties"));
    }
}
