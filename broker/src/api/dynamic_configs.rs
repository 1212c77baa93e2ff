//! What a broker's settings may be changed to while it runs, in Kafka's words.

use std::collections::BTreeMap;

use crate::config::{Kind, Update, find_dynamic};
use crate::dynamic::check::wrapped;
use crate::dynamic::{STORES, base_name, is_of_one_broker, is_static};

/// Keys whose number of threads may at most double or halve.
const THREADS: &[&str] = &[
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// The classes of Java's that stand for what is here.
const CLASSES: &[&str] = &["org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"];

fn named<'a>(problem: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("{problem}: Set({})", names.join(", "))) }
}

/// Checks a whole set, of one broker or of all; keys that nobody knows are taken.
pub fn check_dynamic(config: &BTreeMap<String, String>, cluster_wide: bool) -> Result<(), String> {
    named("Cannot update these configs dynamically", config.keys().filter(|name| is_static(name)))?;
    named(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        config.keys().filter(|name| STORES.contains(&name.as_str())),
    )?;
    config.iter().try_for_each(|(name, value)| check_value(base_name(name), value))?;
    if !cluster_wide {
        return Ok(());
    }
    named(
        "Cannot update these configs at default cluster level, broker id must be specified",
        config.keys().filter(|name| is_of_one_broker(name)),
    )
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    // What never changes is unknown here, where it stands behind a listener's name.
    let Some(key) = find_dynamic(name).filter(|key| key.update != Update::ReadOnly) else { return Ok(()) };
    key.check(value)?;
    let value = value.trim();
    if key.kind == Kind::Class && !value.is_empty() && !CLASSES.contains(&value) {
        return Err(format!(
            "Invalid value {value} for configuration {name}: Class {value} could not be found."
        ));
    }
    Ok(())
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
            return Err(wrapped(problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BROKER_KEYS, find};

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
    fn only_stores_need_a_listeners_name_and_classes_have_to_be_there() {
        let check = |name: &str, value: &str| check_dynamic(&one(name, value), false);
        assert!(check("ssl.client.auth", "required").is_ok() && check("ssl.client.auth", "often").is_err());
        assert!(check("listener.name.x.plain.sasl.jaas.config", "x").is_ok());
        assert_eq!(
            check("principal.builder.class", "a.B").unwrap_err(),
            "Invalid value a.B for configuration principal.builder.class: Class a.B could not be found."
        );
        assert!(check("principal.builder.class", CLASSES[0]).is_ok());
    }

    #[test]
    fn what_kafka_changes_at_run_time_is_all_of_the_table_that_is_not_read_only() {
        let dynamic = |key: &&crate::config::Key| key.update != Update::ReadOnly;
        // AllDynamicConfigs of 3.5.1.
        assert_eq!(BROKER_KEYS.iter().filter(dynamic).count(), 77);
        assert!(find(BROKER_KEYS, "log.message.format.version").is_some_and(|key| !dynamic(&key)));
    }
}
