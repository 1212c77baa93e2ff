//! Whether a change of settings is taken while the broker runs: Kafka's rules, in its words and its order.

use std::collections::{BTreeMap, BTreeSet};

use client::Protocol;

use super::{SHARED_BY_LISTENERS, STORES, of_listener};
use crate::api::{check_dynamic, check_threads};
use crate::broker::Broker;
use crate::config::{BROKER_KEYS, BrokerConfig, Dynamic, Update, find, split_list};
use crate::security::{self, ListenerSecurity, Logins, listener_tls, prefix};

/// Java's exception inside another one, whose arguments it takes for a key and its value.
pub fn wrapped(problem: impl std::fmt::Display) -> String {
    format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: {problem} for configuration Invalid dynamic \
         configuration"
    )
}

/// Checks a whole layer that is to take the place of one: of this broker, or of all.
pub fn layer(broker: &Broker, config: &BTreeMap<String, String>, cluster_wide: bool) -> Result<(), String> {
    check_dynamic(config, cluster_wide)?;
    let mut dynamic = Dynamic::clone(&broker.dynamic.load());
    match cluster_wide {
        true => dynamic.default = config.clone(),
        false => dynamic.broker = config.clone(),
    }
    let before = broker.current();
    check_reporters(config)?;
    let next = broker.config.with(&dynamic).map_err(|error| in_javas_words(&error, &dynamic))?;
    if let Some(unmet) = next.unmet_requirement()
        && before.unmet_requirement().as_ref() != Some(&unmet)
    {
        return Err(unmet.in_javas_words());
    }
    change(broker, &before, &next)
}

/// What Java checks by `require` says so.
const REQUIREMENTS: &[&str] = &[
    "Each listener must have a different",
    "advertised.listeners",
    "control.plane.listener.name",
    "inter.broker.listener.name must",
];

fn in_javas_words(error: &base::ConfigError, dynamic: &Dynamic) -> String {
    let message = &error.message;
    if REQUIREMENTS.iter().any(|start| message.starts_with(start)) {
        return format!("requirement failed: {message}");
    }
    let listeners = ["listeners", "advertised.listeners"];
    match error.key.as_deref() {
        Some(key) if listeners.contains(&key) => {
            let value = dynamic.broker.get(key).map_or("", String::as_str);
            format!("Error creating broker listeners from '{value}': {message}")
        }
        _ => message.clone(),
    }
}

/// No reporter of Java's can be loaded, but the one that is always there.
fn check_reporters(config: &BTreeMap<String, String>) -> Result<(), String> {
    const KEY: &str = "metric.reporters";
    let known = |class: &str| class == "org.apache.kafka.common.metrics.JmxReporter";
    match config.get(KEY).is_none_or(|value| split_list(value).all(known)) {
        true => Ok(()),
        false => Err(wrapped(format!(
            "Validation of dynamic config update of Set({KEY}) failed with class class \
             kafka.server.DynamicMetricsReporters"
        ))),
    }
}

fn changed_keys(before: &BrokerConfig, next: &BrokerConfig) -> BTreeSet<String> {
    let (old, new) = (before.given(), next.given());
    let keys = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key));
    keys.cloned().collect()
}

/// Checks one configuration that is to follow another.
pub fn change(broker: &Broker, before: &BrokerConfig, next: &BrokerConfig) -> Result<(), String> {
    let changed = changed_keys(before, next);
    if changed.is_empty() {
        return Ok(());
    }
    for endpoint in &before.listeners.bound {
        stores_of(broker, before, next, &endpoint.listener)?;
        limits_of(before, next, &endpoint.listener)?;
    }
    let threads: BTreeMap<String, String> = changed
        .iter()
        .filter(|key| of_listener(key).is_none() && find(BROKER_KEYS, key).is_some())
        .filter_map(|key| Some((key.clone(), next.text(key)?.to_owned())))
        .collect();
    check_threads(&threads, |key| before.int(key))?;
    if changed.iter().any(|key| concerns_listeners(key)) {
        listeners(before, next)?;
    }
    new_listeners(broker, before, next)
}

fn concerns_listeners(key: &str) -> bool {
    let of_one = find(BROKER_KEYS, key).is_some_and(|row| row.update == Update::PerBroker);
    of_one || SHARED_BY_LISTENERS.contains(&key)
}

/// Whether a listener's stores are to be others.
pub fn other_stores(before: &BrokerConfig, next: &BrokerConfig, listener: &str) -> bool {
    let differs = |key: &&str| security::value(before, listener, key) != security::value(next, listener, key);
    before.listeners.protocol_of(listener).is_tls() && STORES.iter().any(differs)
}

fn of_factory(problem: impl std::fmt::Display) -> String {
    format!("Validation of dynamic config update of SSLFactory failed: {problem}")
}

fn stores_of(
    broker: &Broker,
    before: &BrokerConfig,
    next: &BrokerConfig,
    listener: &str,
) -> Result<(), String> {
    if !other_stores(before, next, listener) {
        return Ok(());
    }
    match broker.doors.get().and_then(|doors| doors.security(listener)) {
        Some(security) => successor(&security, next, listener).map(drop).map_err(wrapped),
        None => Ok(()),
    }
}

/// A listener's stores as `next` has them, where they may take the place of those of now; else why not, in Kafka's words.
pub fn successor(
    security: &ListenerSecurity,
    next: &BrokerConfig,
    listener: &str,
) -> Result<tls::Tls, String> {
    let new = listener_tls(next, listener)
        .map_err(|error| of_factory(format_args!("org.apache.kafka.common.KafkaException: {error}")))?;
    if let Some(old) = security.tls() {
        let among_brokers = next.listeners.inter_broker == listener;
        old.check_successor(&new, among_brokers).map_err(|error| {
            let exception = match error {
                tls::SuccessionError::Distrusted(_) => "javax.net.ssl.SSLHandshakeException",
                _ => "org.apache.kafka.common.config.ConfigException",
            };
            of_factory(format_args!("{exception}: {error}"))
        })?;
    }
    Ok(new)
}

/// The value of a number that a listener may have for itself.
fn number_of(config: &BrokerConfig, listener: &str, key: &str) -> i64 {
    let own = config.given().get(&format!("{}{key}", prefix(listener)));
    own.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| config.int(key))
}

fn limits_of(before: &BrokerConfig, next: &BrokerConfig, listener: &str) -> Result<(), String> {
    let numbers = |key: &str| (number_of(before, listener, key), number_of(next, listener, key));
    let limits = ["max.connections", "max.connection.creation.rate"].map(|key| (key, numbers(key)));
    if limits.iter().any(|(_, (old, new))| old != new)
        && let Some((key, (_, wrong))) = limits.iter().find(|(_, (_, new))| *new <= 0)
    {
        return Err(wrapped(format!("Invalid {key} {wrong}")));
    }
    let key = "num.network.threads";
    let (old, new) = numbers(key);
    check_threads(&BTreeMap::from([(key.to_owned(), new.to_string())]), |_| old)
}

/// What of a listener's own settings stays as it is as long as it is open.
fn fixed<'a>(config: &'a BrokerConfig, listener: &str) -> BTreeMap<&'a str, &'a str> {
    let prefix = prefix(listener);
    let own = config.given().iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, &**value)));
    own.filter(|(key, _)| !STORES.contains(key) && !SHARED_BY_LISTENERS.contains(key)).collect()
}

fn listeners(before: &BrokerConfig, next: &BrokerConfig) -> Result<(), String> {
    for endpoint in &next.listeners.bound {
        let name = &endpoint.listener;
        let Some(old) = before.listeners.bound.iter().find(|old| old.listener == *name) else { continue };
        if fixed(before, name) != fixed(next, name) {
            return Err(wrapped(format!(
                "Configs cannot be updated dynamically for existing listener ListenerName({name}), restart broker or \
                 create a new listener for update"
            )));
        }
        if old.protocol != endpoint.protocol {
            return Err(wrapped(format!(
                "Security protocol cannot be updated for existing listener ListenerName({name})"
            )));
        }
    }
    Ok(())
}

/// A listener that comes has to be able to open, which Java finds out later.
fn new_listeners(broker: &Broker, before: &BrokerConfig, next: &BrokerConfig) -> Result<(), String> {
    let is_new = |name: &str| !before.listeners.bound.iter().any(|old| old.listener == name);
    for endpoint in next.listeners.bound.iter().filter(|endpoint| is_new(&endpoint.listener)) {
        if Protocol::named(&endpoint.protocol).unwrap_or_default() == Protocol::Plaintext {
            continue;
        }
        let logins = Logins::of_environment().map_err(wrapped)?;
        ListenerSecurity::read(next, endpoint, &logins, broker.users.clone()).map_err(wrapped)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Properties;

    fn config(text: &str) -> BrokerConfig {
        let text = format!(
            "zookeeper.connect=h\nbroker.id=1\nlisteners=IN://h:1,OUT://h:2\ninter.broker.listener.name=IN\n\
             listener.security.protocol.map=IN:PLAINTEXT,OUT:SASL_PLAINTEXT,NEW:PLAINTEXT\n{text}"
        );
        BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn an_open_listener_keeps_its_settings_and_its_protocol() {
        let before = config("listener.name.out.max.connections=5\n");
        assert_eq!(listeners(&before, &config("listener.name.out.max.connections=9\n")), Ok(()));
        let logins = listeners(&before, &config("listener.name.out.sasl.enabled.mechanisms=PLAIN\n"));
        assert!(logins.unwrap_err().contains("for existing listener ListenerName(OUT), restart broker"));
        let mut other = config("listener.name.out.max.connections=5\n");
        other.listeners.bound[1].protocol = "PLAINTEXT".into();
        let protocol = listeners(&before, &other).unwrap_err();
        assert_eq!(
            protocol,
            wrapped("Security protocol cannot be updated for existing listener ListenerName(OUT)")
        );
        assert_eq!(listeners(&before, &config("listener.name.new.ssl.client.auth=none\n")), Ok(()));
    }

    #[test]
    fn limits_of_listeners_stay_above_zero_and_threads_at_most_double() {
        let before = config("");
        let wrong = |text: &str| limits_of(&before, &config(text), "OUT").unwrap_err();
        assert_eq!(wrong("listener.name.out.max.connections=0"), wrapped("Invalid max.connections 0"));
        assert!(wrong("num.network.threads=7").contains("not be greater than double the current value 3"));
        assert_eq!(limits_of(&before, &config("listener.name.out.num.network.threads=6"), "OUT"), Ok(()));
    }

    #[test]
    fn mistakes_in_listeners_are_told_as_java_tells_them() {
        let dynamic = |text: &str| Dynamic {
            broker: BTreeMap::from([("listeners".to_owned(), text.to_owned())]),
            default: BTreeMap::new(),
        };
        let wrong = |text: &str| {
            let dynamic = dynamic(text);
            in_javas_words(&config("").with(&dynamic).unwrap_err(), &dynamic)
        };
        assert_eq!(
            wrong("IN://h:1,IN://h:2"),
            "requirement failed: Each listener must have a different name, listeners: IN://h:1,IN://h:2"
        );
        assert_eq!(
            wrong("IN://h:1,FOO://h:2"),
            "Error creating broker listeners from 'IN://h:1,FOO://h:2': No security protocol defined for listener FOO"
        );
        assert!(wrong("OUT://h:2").starts_with("requirement failed: inter.broker.listener.name must be"));
    }
}
