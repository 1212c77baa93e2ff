//! `server.properties`: every key of 3.5.1 is known, checked in Kafka's words with file and line, and what is not
//! there yet is refused rather than ignored.

mod authorizer;
mod broker_keys;
#[cfg(test)]
mod every_key;
mod keys;
mod layers;
mod listeners;
mod protocol;
mod requirements;
mod throttle_keys;
mod topic;
mod topic_keys;
mod without_effect;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base::{ConfigError, Properties};
use broker_core::MetadataVersion;

use crate::authorizer::{ACL_AUTHORIZER, Settings};
use crate::metrics;

pub use authorizer::is_authorizers;
pub use broker_keys::BROKER_KEYS;
pub use keys::{Key, Kind, Update, Valid, find, split_list};
pub use listeners::{Endpoint, Listeners};
pub use protocol::asks_for_message_sets;
use protocol::read_protocol;
pub use requirements::check_local_retention;
pub use throttle_keys::{THROTTLE_KEYS, find_dynamic};
pub use topic::{Dynamic, Source, TopicConfig, effective, synonyms};
pub use topic_keys::TOPIC_KEYS;
pub use without_effect::{Remark, remarks};

/// A checked configuration. Values that only some places need are read by key.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// What the file (and overrides) say.
    given: BTreeMap<String, String>,
    /// `broker.id`; `None`: ask ZooKeeper for one.
    pub broker_id: Option<i32>,
    /// `inter.broker.protocol.version`
    pub protocol: MetadataVersion,
    pub listeners: Listeners,
    pub log_dirs: Vec<PathBuf>,
    /// `host:port,…[/chroot]`
    pub zookeeper_connect: String,
    /// How rights are judged; `None`: everybody may do everything.
    pub authorizer: Option<Settings>,
    /// Keys that Kafka does not know, to be warned of.
    pub unknown: Vec<String>,
}

/// The value of `replica.selector.class` with which consumers are sent to a replica in their rack.
pub const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Keys that ask for a feature this broker does not have: (key, values that do not ask for it).
const NOT_YET: &[(&str, &[&str])] = &[
    ("alter.config.policy.class.name", &[""]),
    ("authorizer.class.name", &["", ACL_AUTHORIZER]),
    ("client.quota.callback.class", &[""]),
    ("create.topic.policy.class.name", &[""]),
    ("kafka.metrics.reporters", &[""]),
    ("log.message.downconversion.enable", &["true", "false"]),
    ("metric.reporters", &["", "org.apache.kafka.common.metrics.JmxReporter"]),
    (
        "principal.builder.class",
        &["", "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"],
    ),
    ("process.roles", &[""]),
    ("remote.log.storage.system.enable", &["false"]),
    ("replica.selector.class", &["", "org.apache.kafka.common.replica.LeaderSelector", RACK_AWARE]),
    ("security.providers", &[""]),
    ("zookeeper.metadata.migration.enable", &["false"]),
];

impl BrokerConfig {
    /// Checks `properties`; the first mistake is the error.
    pub fn read(properties: &Properties) -> Result<BrokerConfig, ConfigError> {
        let mut given = BTreeMap::new();
        let mut unknown = Vec::new();
        for entry in properties.iter() {
            match find(BROKER_KEYS, &entry.key) {
                Some(key) => {
                    key.check(&entry.value).map_err(|problem| at(properties, &entry.key, problem))?
                }
                None if is_prefixed(&entry.key) => {}
                None if entry.key == metrics::ADDRESS => check_address(&entry.value)
                    .map_err(|problem| at(properties, metrics::ADDRESS, problem))?,
                None => unknown.push(entry.key.clone()),
            }
            given.insert(entry.key.clone(), entry.value.trim().to_owned());
        }
        for (key, harmless) in NOT_YET {
            if let Some(value) = given.get(*key)
                && !harmless.contains(&value.as_str())
            {
                let problem =
                    format!("{key}={value} asks for a feature that this broker does not have yet; remove it");
                return Err(at(properties, key, problem));
            }
        }
        let protocol = read_protocol(&given).map_err(|(key, problem)| at(properties, key, problem))?;
        for key in ["listeners", "advertised.listeners"] {
            if given.get(key).is_some_and(|value| split_list(value).next().is_none()) {
                let problem = "There must be at least one advertised listener. Write for example listeners=PLAINTEXT://:9092";
                return Err(at(properties, key, problem.into()));
            }
        }
        let text = |key: &str| given.get(key).map(String::as_str).filter(|value| !value.is_empty());
        // Java takes these by their word even if they are empty, and then nothing is found under it.
        let written = |key: &str| given.get(key).map(String::as_str);
        let listeners = Listeners::read(&listeners::Given {
            listeners: text("listeners").unwrap_or("PLAINTEXT://:9092"),
            advertised: text("advertised.listeners"),
            protocol_map: written("listener.security.protocol.map")
                .unwrap_or("PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"),
            inter_broker_name: written("inter.broker.listener.name"),
            inter_broker_protocol: text("security.inter.broker.protocol"),
            control_plane_name: written("control.plane.listener.name"),
            error: &|key, message| at(properties, key, message),
        })?;
        let zookeeper_connect = text("zookeeper.connect").map(str::to_owned).ok_or_else(|| {
            let missing = ConfigError::new(
                "Missing required configuration `zookeeper.connect` which has no default value. \
                 Write for example zookeeper.connect=localhost:2181",
            );
            match properties.get("zookeeper.connect") {
                Some(empty) => empty.error(missing.message),
                None => missing,
            }
        })?;
        // Given and empty is not the same as not given: the default would put the data where nobody expects it.
        let folders = given.get("log.dirs").or_else(|| given.get("log.dir"));
        let log_dirs: Vec<PathBuf> =
            split_list(folders.map_or("/tmp/kafka-logs", String::as_str)).map(PathBuf::from).collect();
        if log_dirs.is_empty() {
            return Err(at(
                properties,
                "log.dirs",
                "At least one log directory must be defined via log.dirs or log.dir.".into(),
            ));
        }
        let mut config = BrokerConfig {
            given,
            broker_id: None,
            protocol,
            listeners,
            log_dirs,
            zookeeper_connect,
            authorizer: None,
            unknown,
        };
        config.authorizer =
            authorizer::read(&config).map_err(|(key, problem)| at(properties, key, problem))?;
        config.broker_id = config.read_broker_id().map_err(|problem| at(properties, "broker.id", problem))?;
        config.tell_both_names_of_the_id();
        Ok(config)
    }

    /// Whichever of `broker.id` and `node.id` the file gives, the other has its value; both are described as given.
    fn tell_both_names_of_the_id(&mut self) {
        for (one, other) in [("broker.id", "node.id"), ("node.id", "broker.id")] {
            if let Some(id) = self.given.get(one).cloned() {
                self.given.entry(other.to_owned()).or_insert(id);
            }
        }
    }

    fn read_broker_id(&self) -> Result<Option<i32>, String> {
        let (id, node_id) = (self.int("broker.id"), self.int("node.id"));
        let id = match (self.is_given("broker.id"), self.is_given("node.id")) {
            (true, true) if id != node_id => {
                return Err("You must set `node.id` to the same value as `broker.id`.".into());
            }
            (false, true) => node_id,
            _ => id,
        };
        let generate = self.bool("broker.id.generation.enable");
        let reserved_max = self.int("reserved.broker.max.id");
        match i32::try_from(id).unwrap_or(-1) {
            -1 if generate => Ok(None),
            id if id < 0 => {
                Err(format!("Invalid value {id} for configuration broker.id: it must be at least 0"))
            }
            id if generate && i64::from(id) > reserved_max => Err(format!(
                "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id ({reserved_max})"
            )),
            id => Ok(Some(id)),
        }
    }

    /// Whether the file says anything of `key`.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// The keys that the file gives, with their values.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// The value of a key as text: the file's, or the default. Panics on a key that is not in the table, as the typed
    /// readers do, and they also on another type: mistakes of the program, for the file is checked.
    pub fn text(&self, key: &str) -> Option<&str> {
        let row = find(BROKER_KEYS, key).unwrap_or_else(|| panic!("no broker config {key}"));
        self.given.get(key).map(String::as_str).or(row.default)
    }

    /// A whole number, if it has a value.
    pub fn int_opt(&self, key: &str) -> Option<i64> {
        self.text(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key} is not a number")))
    }

    /// A whole number that has a default.
    pub fn int(&self, key: &str) -> i64 {
        self.int_opt(key).unwrap_or_else(|| panic!("{key} is unset"))
    }

    /// A switch.
    pub fn bool(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Milliseconds, negative ones as zero.
    pub fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.int(key)).unwrap_or(0))
    }

    /// `zookeeper.connection.timeout.ms`, which defaults to the session's.
    pub fn zookeeper_connection_timeout(&self) -> Duration {
        let given = self.int_opt("zookeeper.connection.timeout.ms");
        given
            .map_or(self.millis("zookeeper.session.timeout.ms"), |ms| Duration::from_millis(ms.max(0) as u64))
    }
}

/// Prefixed keys belong to a listener, and are judged with it.
/// `host:port`; a port of 0 is given by the system.
fn check_address(value: &str) -> Result<(), String> {
    let parts = value.trim().rsplit_once(':');
    match parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        true => Ok(()),
        false => {
            Err(format!("Invalid value {value} for configuration {}: write host:port", metrics::ADDRESS))
        }
    }
}

fn is_prefixed(key: &str) -> bool {
    let of_mechanism = |mechanism: &&str| {
        let prefix = format!("{}.", mechanism.to_lowercase());
        key.strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with("sasl.") || rest.starts_with("connections."))
    };
    key.starts_with("listener.name.")
        || ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"].iter().any(of_mechanism)
}

fn at(properties: &Properties, key: &str, problem: String) -> ConfigError {
    match properties.get(key) {
        Some(entry) => {
            ConfigError { origin: Some(entry.origin.clone()), key: Some(key.into()), message: problem }
        }
        None => ConfigError { origin: None, key: Some(key.into()), message: problem },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BrokerConfig, String> {
        let properties = Properties::parse("server.properties", text.as_bytes()).unwrap();
        BrokerConfig::read(&properties).map_err(|error| error.to_string())
    }

    #[test]
    fn a_small_file_fills_up_with_defaults() {
        let config =
            read("broker.id=3\nzookeeper.connect=h1:2181,h2:2181/test\nlog.dirs=/a, /b\nfoo=1\n").unwrap();
        assert_eq!(config.broker_id, Some(3));
        assert_eq!(config.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.int("replica.lag.time.max.ms"), 30_000);
        assert!(config.bool("auto.create.topics.enable"));
        assert_eq!(config.unknown, ["foo"]);
        assert_eq!(config.zookeeper_connection_timeout(), Duration::from_millis(18_000));
    }

    #[test]
    fn blanks_behind_a_value_are_no_part_of_it() {
        let config = read(
            "zookeeper.connect=h\nlog.dirs=/a\nnum.partitions=3 \nauto.create.topics.enable=true \nbroker.rack=r1\t\n",
        )
        .unwrap();
        assert_eq!(config.int("num.partitions"), 3);
        assert!(config.bool("auto.create.topics.enable"));
        assert_eq!(config.text("broker.rack"), Some("r1"));
    }

    #[test]
    fn empty_log_dirs_are_refused_and_do_not_become_the_default() {
        for text in ["log.dirs=\n", "log.dir=\n", "log.dirs=,\nlog.dir=/a\n"] {
            let wrong = read(&format!("zookeeper.connect=h\n{text}")).unwrap_err();
            assert!(wrong.contains("At least one log directory must be defined"), "{text}: {wrong}");
        }
    }

    #[test]
    fn empty_listeners_are_refused_and_do_not_become_the_default() {
        for text in ["listeners=\n", "listeners=,\n", "advertised.listeners=\n"] {
            let wrong = read(&format!("zookeeper.connect=h\n{text}")).unwrap_err();
            assert!(wrong.contains("There must be at least one advertised listener"), "{text}: {wrong}");
        }
    }

    #[test]
    fn empty_names_and_protocols_of_listeners_are_taken_by_their_word() {
        for (text, expected) in [
            ("listener.security.protocol.map=", "No security protocol defined for listener PLAINTEXT"),
            (
                "inter.broker.listener.name=",
                "Listener with name  defined in inter.broker.listener.name not found",
            ),
            (
                "control.plane.listener.name=",
                "Listener with  defined in control.plane.listener.name not found",
            ),
        ] {
            let wrong = read(&format!("zookeeper.connect=h\n{text}\n")).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }

    #[test]
    fn an_invalid_value_is_told_with_file_and_line() {
        assert_eq!(
            read("zookeeper.connect=h\nnum.partitions=none\n").unwrap_err(),
            "server.properties:2: num.partitions: Invalid value none for configuration num.partitions: \
             Not a number of type INT"
        );
    }

    #[test]
    fn features_that_are_not_there_are_refused() {
        let error =
            read("zookeeper.connect=h\nauthorizer.class.name=kafka.security.auth.SimpleAclAuthorizer\n");
        assert!(error.unwrap_err().starts_with("server.properties:2: authorizer.class.name: "));
        assert!(read("zookeeper.connect=h\nmetric.reporters=com.example.Reporter\n").is_err());
        assert!(read("zookeeper.connect=h\nreplica.selector.class=com.example.Selector\n").is_err());
        assert!(read(&format!("zookeeper.connect=h\nreplica.selector.class={RACK_AWARE}\n")).is_ok());
        assert!(read("zookeeper.connect=h\ndelegation.token.secret.key=x\n").is_ok());
        assert!(read("zookeeper.connect=h\nmetric.reporters=\nsecurity.providers=\n").is_ok());
    }

    #[test]
    fn the_broker_id_has_two_names() {
        for name in ["broker.id", "node.id"] {
            let config = read(&format!("zookeeper.connect=h\n{name}=4\n")).unwrap();
            assert_eq!((config.broker_id, config.int("broker.id"), config.int("node.id")), (Some(4), 4, 4));
        }
        assert!(read("zookeeper.connect=h\nbroker.id=4\nnode.id=5\n").is_err());
        assert_eq!(read("zookeeper.connect=h\n").unwrap().given().get("node.id"), None);
    }

    #[test]
    fn a_broker_id_is_given_in_range_or_generated() {
        assert_eq!(read("zookeeper.connect=h\n").unwrap().broker_id, None);
        assert!(read("zookeeper.connect=h\nbroker.id=1001\n").is_err());
        assert!(read("zookeeper.connect=h\nbroker.id=1001\nbroker.id.generation.enable=false\n").is_ok());
        assert!(read("zookeeper.connect=h\nbroker.id.generation.enable=false\n").is_err());
        assert!(read("broker.id=1\n").unwrap_err().contains("zookeeper.connect"));
    }
}
