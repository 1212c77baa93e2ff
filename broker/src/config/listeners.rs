//! `listeners`, `advertised.listeners` and which of them the brokers use among themselves.

use std::collections::BTreeMap;

use base::ConfigError;
use client::Protocol;

/// A listener's name, host and port; the security protocol is what its name maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub protocol: String,
    pub host: String,
    pub port: u16,
}

/// All that the listener keys say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// What is bound; an empty host means every address.
    pub bound: Vec<Endpoint>,
    /// What clients and brokers are told.
    pub advertised: Vec<Endpoint>,
    /// Name of the listener between brokers.
    pub inter_broker: String,
    /// Name of the listener by which the controller speaks to brokers, where that is one of its own.
    pub control_plane: Option<String>,
}

/// The keys' values; `error` makes an error at a key.
pub struct Given<'a> {
    pub listeners: &'a str,
    pub advertised: Option<&'a str>,
    pub protocol_map: &'a str,
    pub inter_broker_name: Option<&'a str>,
    /// Only when it was written: it may not stand beside `inter_broker_name`.
    pub inter_broker_protocol: Option<&'a str>,
    pub control_plane_name: Option<&'a str>,
    pub error: &'a dyn Fn(&str, String) -> ConfigError,
}

impl Listeners {
    /// Reads and cross-checks the keys.
    pub fn read(given: &Given<'_>) -> Result<Listeners, ConfigError> {
        let protocols = protocol_map(given)?;
        let bound = endpoints("listeners", given.listeners, &protocols, given)?;
        check_unique(&bound, given)?;
        let advertised = advertised(&bound, &protocols, given)?;
        let inter_broker = match (given.inter_broker_name, given.inter_broker_protocol) {
            (Some(_), Some(_)) => {
                return Err((given.error)(
                    "inter.broker.listener.name",
                    "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".into(),
                ));
            }
            (Some(name), None) => named("inter.broker.listener.name", "with name ", name, &protocols, given)?,
            (None, protocol) => protocol.unwrap_or("PLAINTEXT").to_uppercase(),
        };
        if !advertised.iter().any(|endpoint| endpoint.listener == inter_broker) {
            let names: Vec<_> = advertised.iter().map(|endpoint| endpoint.listener.as_str()).collect();
            return Err((given.error)(
                "inter.broker.listener.name",
                format!(
                    "inter.broker.listener.name must be a listener name defined in advertised.listeners. \
                     The valid options based on currently configured listeners are {}",
                    names.join(",")
                ),
            ));
        }
        let control_plane = given
            .control_plane_name
            .map(|name| named("control.plane.listener.name", "with ", name, &protocols, given))
            .transpose()?;
        if let Some(name) = &control_plane {
            check_control_plane(name, &inter_broker, &bound, &advertised, given)?;
        }
        Ok(Listeners { bound, advertised, inter_broker, control_plane })
    }

    /// What a listener speaks; nothing special, if there is none of that name.
    pub fn protocol_of(&self, listener: &str) -> Protocol {
        let bound = self.bound.iter().find(|endpoint| endpoint.listener == listener);
        bound.and_then(|endpoint| Protocol::named(&endpoint.protocol)).unwrap_or_default()
    }

    /// By which the controller speaks to brokers.
    pub fn of_controller(&self) -> &str {
        self.control_plane.as_deref().unwrap_or(&self.inter_broker)
    }
}

/// A listener's name at a key, which has to have a protocol.
fn named(
    key: &str,
    with: &str,
    name: &str,
    protocols: &BTreeMap<String, String>,
    given: &Given<'_>,
) -> Result<String, ConfigError> {
    let name = name.to_uppercase();
    if protocols.contains_key(&name) {
        return Ok(name);
    }
    let problem =
        format!("Listener {with}{name} defined in {key} not found in listener.security.protocol.map.");
    Err((given.error)(key, problem))
}

fn check_control_plane(
    name: &str,
    inter_broker: &str,
    bound: &[Endpoint],
    advertised: &[Endpoint],
    given: &Given<'_>,
) -> Result<(), ConfigError> {
    const KEY: &str = "control.plane.listener.name";
    let names = |all: &[Endpoint]| {
        all.iter().map(|endpoint| endpoint.listener.as_str()).collect::<Vec<_>>().join(",")
    };
    let is_there = |all: &[Endpoint]| all.iter().any(|endpoint| endpoint.listener == name);
    if !is_there(bound) || !is_there(advertised) {
        let problem = format!(
            "{KEY} must be a listener name defined in advertised.listeners. The valid options based on currently \
             configured listeners are {}",
            names(advertised)
        );
        return Err((given.error)(KEY, problem));
    }
    if name == inter_broker {
        let problem =
            format!("{KEY}, when defined, should have a different value from the inter broker listener name");
        return Err((given.error)(KEY, problem));
    }
    Ok(())
}

fn advertised(
    bound: &[Endpoint],
    protocols: &BTreeMap<String, String>,
    given: &Given<'_>,
) -> Result<Vec<Endpoint>, ConfigError> {
    let mut advertised = match given.advertised {
        None => bound.to_vec(),
        Some(text) => {
            tell_of_other_brokers_addresses(text, given)?;
            endpoints("advertised.listeners", text, protocols, given)?
        }
    };
    for endpoint in &mut advertised {
        if endpoint.host.is_empty() {
            endpoint.host = own_host_name();
        }
        if endpoint.host == "0.0.0.0" {
            return Err((given.error)(
                "advertised.listeners",
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."
                    .into(),
            ));
        }
        if !bound.iter().any(|listener| listener.listener == endpoint.listener) {
            let names: Vec<_> = bound.iter().map(|listener| listener.listener.as_str()).collect();
            return Err((given.error)(
                "advertised.listeners",
                format!(
                    "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. \
                     Found {}. The valid options based on the current configuration are {}",
                    endpoint.listener,
                    names.join(",")
                ),
            ));
        }
    }
    Ok(advertised)
}

/// Catches the most common mistake: the addresses of all brokers in one broker's `advertised.listeners`.
fn tell_of_other_brokers_addresses(text: &str, given: &Given<'_>) -> Result<(), ConfigError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let name = |part: &&str| part.split_once("://").map_or(String::new(), |(name, _)| name.to_uppercase());
    let mut names: Vec<String> = parts.iter().map(name).collect();
    names.sort();
    let repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
    let bare = parts.len() > 1 && parts.iter().any(|part| !part.contains("://"));
    if !repeated && !bare {
        return Ok(());
    }
    let first = parts[0];
    let example = if first.contains("://") { first.to_owned() } else { format!("PLAINTEXT://{first}") };
    Err((given.error)(
        "advertised.listeners",
        format!(
            "Each listener must have a different name, listeners: {text}. These look like the addresses of several \
             brokers, but one broker advertises only its own: write one address per listener name, such as \
             advertised.listeners={example} here, and each other broker's address in its own server.properties. \
             Clients that should know several brokers list them in bootstrap.servers."
        ),
    ))
}

fn protocol_map(given: &Given<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut map = BTreeMap::new();
    for entry in given.protocol_map.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let bad = |problem: String| (given.error)("listener.security.protocol.map", problem);
        let (name, protocol) =
            entry.split_once(':').ok_or_else(|| bad(format!("`{entry}` is not LISTENER_NAME:PROTOCOL")))?;
        let protocol = protocol.trim().to_uppercase();
        if Protocol::named(&protocol).is_none() {
            let all = Protocol::ALL.map(Protocol::name).join(", ");
            return Err(bad(format!("No security protocol `{protocol}`: one of {all}")));
        }
        map.insert(name.trim().to_uppercase(), protocol);
    }
    Ok(map)
}

fn endpoints(
    key: &str,
    text: &str,
    protocols: &BTreeMap<String, String>,
    given: &Given<'_>,
) -> Result<Vec<Endpoint>, ConfigError> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let bad = |problem: &str| {
            (given.error)(key, format!("Unable to parse {part} to a broker endpoint{problem}"))
        };
        let (name, address) = part.split_once("://").ok_or_else(|| bad(": write NAME://HOST:PORT"))?;
        let listener = name.to_uppercase();
        let protocol = protocols.get(&listener).cloned().ok_or_else(|| {
            (given.error)(key, format!("No security protocol defined for listener {listener}"))
        })?;
        let (host, port) = address.rsplit_once(':').ok_or_else(|| bad(": the port is missing"))?;
        let port = port.parse().map_err(|_| bad(": the port is not a number up to 65535"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        all.push(Endpoint { listener, protocol, host, port });
    }
    if all.is_empty() {
        return Err((given.error)(key, format!("At least one listener has to be configured in {key}")));
    }
    Ok(all)
}

fn check_unique(bound: &[Endpoint], given: &Given<'_>) -> Result<(), ConfigError> {
    for (at, one) in bound.iter().enumerate() {
        for other in &bound[at + 1..] {
            if one.listener == other.listener {
                let problem =
                    format!("Each listener must have a different name, listeners: {}", given.listeners);
                return Err((given.error)("listeners", problem));
            }
            if one.port == other.port && one.port != 0 && one.host == other.host {
                let problem =
                    format!("Each listener must have a different port, listeners: {}", given.listeners);
                return Err((given.error)("listeners", problem));
            }
        }
    }
    Ok(())
}

/// The name under which this host advertises itself when none is configured.
fn own_host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        listeners: &str,
        advertised: Option<&str>,
        inter_broker: Option<&str>,
    ) -> Result<Listeners, String> {
        Listeners::read(&Given {
            listeners,
            advertised,
            protocol_map: "PLAINTEXT:PLAINTEXT,SSL:SSL,OUT:PLAINTEXT",
            inter_broker_name: inter_broker,
            inter_broker_protocol: None,
            control_plane_name: None,
            error: &|key, message| ConfigError { origin: None, key: Some(key.into()), message },
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn a_listener_without_host_advertises_this_host() {
        let listeners = read("PLAINTEXT://:9092", None, None).unwrap();
        assert_eq!(listeners.bound[0].host, "");
        assert!(!listeners.advertised[0].host.is_empty());
        assert_eq!(listeners.advertised[0].port, 9092);
    }

    #[test]
    fn three_brokers_addresses_in_one_broker_are_refused_with_what_to_write() {
        for mistake in
            ["PLAINTEXT://a:9092,PLAINTEXT://b:9092,PLAINTEXT://c:9092", "PLAINTEXT://a:9092,b:9092,c:9092"]
        {
            let error = read("PLAINTEXT://:9092", Some(mistake), None).unwrap_err();
            assert!(error.contains("advertised.listeners=PLAINTEXT://a:9092"), "{error}");
            assert!(error.contains("its own server.properties"), "{error}");
        }
    }

    #[test]
    fn names_ports_and_protocols_are_checked() {
        assert!(read("PLAINTEXT://:1,OUT://:1", None, None).unwrap_err().contains("different port"));
        assert!(read("PLAINTEXT://:1,PLAINTEXT://:2", None, None).unwrap_err().contains("different name"));
        assert!(read("SSL://:1", None, None).unwrap_err().contains("inter.broker.listener.name must be"));
        assert_eq!(read("SSL://:1", None, Some("SSL")).unwrap().protocol_of("SSL"), Protocol::Ssl);
        assert!(
            read("FOO://:1", None, None)
                .unwrap_err()
                .contains("No security protocol defined for listener FOO")
        );
        assert!(read("PLAINTEXT:9092", None, None).unwrap_err().contains("Unable to parse"));
        assert!(read("PLAINTEXT://0.0.0.0:1", None, None).unwrap_err().contains("0.0.0.0"));
        let named = read("PLAINTEXT://:1,OUT://h:2", Some("PLAINTEXT://x:3,OUT://y:4"), Some("OUT")).unwrap();
        assert_eq!(named.inter_broker, "OUT");
        assert!(read("OUT://h:2", None, None).unwrap_err().contains("inter.broker.listener.name must be"));
    }
}
