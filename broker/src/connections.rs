//! The limits on connections as the configuration, static and dynamic, has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use broker_core::connections::{ConnectionLimits, ListenerLimits};
use broker_core::quota::Windows;

use crate::config::{BROKER_KEYS, BrokerConfig, Dynamic, find, split_list};

const CONNECTIONS_MAX: &str = "max.connections";
const RATE_MAX: &str = "max.connection.creation.rate";
const PER_IP_MAX: &str = "max.connections.per.ip";
const OVERRIDES: &str = "max.connections.per.ip.overrides";

/// Keys that a listener may have for itself.
const OF_LISTENERS: &[&str] = &[CONNECTIONS_MAX, RATE_MAX];

/// The key without a listener's name, if it is one that a listener may have for itself.
pub fn of_listener(key: &str) -> Option<&'static str> {
    let (_, key) = key.strip_prefix("listener.name.")?.split_once('.')?;
    OF_LISTENERS.iter().copied().find(|known| *known == key)
}

/// Before anything was read.
pub fn without_limits() -> ConnectionLimits {
    ConnectionLimits {
        broker: ListenerLimits { connections_max: usize::MAX, rate_max: u32::MAX },
        listeners: BTreeMap::new(),
        per_ip_max: usize::MAX,
        per_ip_overrides: BTreeMap::new(),
        protected: None,
        windows: Windows::new(1, 1),
    }
}

/// What counts now. Names of hosts among the addresses are looked up.
pub async fn limits(config: &BrokerConfig, dynamic: &Dynamic) -> ConnectionLimits {
    let set = |key: &str| {
        let layers = [&dynamic.broker, &dynamic.default, config.given()];
        layers.into_iter().find_map(|layer| layer.get(key)).map(String::as_str)
    };
    let value = |key: &str| set(key).or_else(|| find(BROKER_KEYS, key)?.default).unwrap_or_default();
    let number = |text: &str| text.trim().parse::<i32>().unwrap_or(i32::MAX).max(0) as u32;
    let listener = |name: Option<&str>| {
        let of = |key: &str| {
            let own = name.and_then(|name| set(&format!("listener.name.{}.{key}", name.to_lowercase())));
            number(own.unwrap_or_else(|| value(key)))
        };
        // The largest number stands for no limit.
        let rate_max = Some(of(RATE_MAX)).filter(|rate| *rate < i32::MAX as u32).unwrap_or(u32::MAX);
        ListenerLimits { connections_max: of(CONNECTIONS_MAX) as usize, rate_max }
    };
    let names: Vec<&String> = config.listeners.bound.iter().map(|endpoint| &endpoint.listener).collect();
    let mut per_ip_overrides = BTreeMap::new();
    for entry in split_list(value(OVERRIDES)) {
        let Some((host, limit)) = entry.rsplit_once(':') else { continue };
        for ip in addresses(host).await {
            per_ip_overrides.insert(ip, number(limit) as usize);
        }
    }
    let windows = Windows::new(config.int("quota.window.num"), config.int("quota.window.size.seconds"));
    ConnectionLimits {
        broker: listener(None),
        listeners: names.iter().map(|name| (name.to_string(), listener(Some(name)))).collect(),
        per_ip_max: number(value(PER_IP_MAX)) as usize,
        per_ip_overrides,
        protected: (names.len() > 1).then(|| config.listeners.inter_broker.clone()),
        windows,
    }
}

/// The addresses of a host, or the one that it is.
pub async fn addresses(host: &str) -> Vec<IpAddr> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return vec![ip];
    }
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::warn!("Unable to resolve address {host}: {error}");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Properties;

    fn config(text: &str) -> BrokerConfig {
        let text = format!("zookeeper.connect=h\nbroker.id=1\n{text}");
        BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_listener_has_its_own_limits_or_the_brokers() {
        let config = config(
            "listeners=IN://h:1,OUT://h:2\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\n\
             inter.broker.listener.name=IN\nmax.connections=10\nlistener.name.out.max.connections=3\n\
             listener.name.out.max.connection.creation.rate=7\nmax.connections.per.ip.overrides=10.0.0.1:2\n",
        );
        let mut dynamic = Dynamic::default();
        let limits = limits(&config, &dynamic).await;
        assert_eq!(limits.listeners["OUT"], ListenerLimits { connections_max: 3, rate_max: 7 });
        assert_eq!(limits.listeners["IN"], ListenerLimits { connections_max: 10, rate_max: u32::MAX });
        assert_eq!(limits.protected.as_deref(), Some("IN"));
        assert_eq!(limits.per_ip_overrides[&IpAddr::from([10, 0, 0, 1])], 2);
        dynamic.default.insert("max.connections".into(), "20".into());
        dynamic.broker.insert("listener.name.out.max.connections".into(), "4".into());
        let limits = super::limits(&config, &dynamic).await;
        assert_eq!((limits.broker.connections_max, limits.listeners["OUT"].connections_max), (20, 4));
    }

    #[test]
    fn some_keys_belong_to_listeners_too() {
        assert_eq!(of_listener("listener.name.out.max.connections"), Some("max.connections"));
        assert_eq!(of_listener("listener.name.out.ssl.keystore.location"), None);
        assert_eq!(of_listener("max.connections"), None);
    }
}
