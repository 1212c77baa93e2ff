//! The layers of a broker's settings put together, as if its file said it all.

use std::collections::BTreeMap;

use base::{ConfigError, Properties};

use super::{BrokerConfig, Dynamic};

/// Keys of one setting in several units: a nearer layer that has one of them takes the others away.
const UNITS: &[&[&str]] = &[
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// What `key` takes away of farther layers.
fn replaces(key: &str) -> &'static [&'static str] {
    if key == "log.flush.interval.ms" {
        return &["log.flush.scheduler.interval.ms"];
    }
    UNITS.iter().copied().find(|units| units.contains(&key)).unwrap_or_default()
}

fn overlay(all: &mut BTreeMap<String, String>, layer: &BTreeMap<String, String>) {
    for (key, value) in layer {
        replaces(key).iter().for_each(|other| drop(all.remove(*other)));
        all.insert(key.clone(), value.clone());
    }
}

impl BrokerConfig {
    /// This configuration with the dynamic layers over it; what is wrong with the whole is the error.
    pub fn with(&self, dynamic: &Dynamic) -> Result<BrokerConfig, ConfigError> {
        let mut all = self.given().clone();
        overlay(&mut all, &dynamic.default);
        overlay(&mut all, &dynamic.broker);
        let mut properties = Properties::new();
        for (key, value) in &all {
            properties.set("dynamic configuration", key, value);
        }
        BrokerConfig::read(&properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> BrokerConfig {
        let text = format!("zookeeper.connect=h\nbroker.id=1\n{text}");
        BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap()
    }

    fn layer(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_brokers_own_layer_comes_before_everybodys_and_both_before_the_file() {
        let file = config("log.retention.hours=5\nnum.io.threads=3\n");
        let dynamic = Dynamic {
            broker: layer(&[("num.io.threads", "6")]),
            default: layer(&[("num.io.threads", "4"), ("log.retention.ms", "7")]),
        };
        let all = file.with(&dynamic).unwrap();
        assert_eq!((all.int("num.io.threads"), all.int_opt("log.retention.ms")), (6, Some(7)));
        assert!(!all.is_given("log.retention.hours"));
    }

    #[test]
    fn listeners_may_be_others_and_are_checked() {
        let file = config("listeners=PLAINTEXT://h:1\n");
        let with = |text: &str| {
            file.with(&Dynamic { broker: layer(&[("listeners", text)]), default: BTreeMap::new() })
        };
        assert_eq!(with("PLAINTEXT://h:1,SSL://h:2").unwrap().listeners.bound.len(), 2);
        assert!(with("SSL://h:2").unwrap_err().message.contains("inter.broker.listener.name must be"));
    }
}
