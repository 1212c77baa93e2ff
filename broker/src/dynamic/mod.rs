//! Settings that change while the broker runs: what of `/config/brokers` counts, as passwords go into and come out of it, and
//! what follows from a change. Whether a change is taken at all, [`check`] says.

pub mod check;
mod doors;

use std::collections::{BTreeMap, BTreeSet};

pub use crate::api::check_dynamic as check_layer;
pub use doors::{Doors, Opened};

use crate::broker::Broker;
use crate::config::{BROKER_KEYS, BrokerConfig, Dynamic, Update, find, find_dynamic};
use crate::passwords::{self, PasswordEncoder, is_password};
use crate::zk::{ConfigEntity, Zk, ZkError};

/// The ten keys of a listener's stores; only behind a listener's prefix may they change.
pub const STORES: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Keys of listeners that all brokers may share.
pub const SHARED_BY_LISTENERS: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// The key without the listener that it is for; `None`: it is for none.
pub fn of_listener(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')).map(|(_, base)| base)
}

/// The key without the listener that it may be for.
pub fn base_name(name: &str) -> &str {
    of_listener(name).unwrap_or(name)
}

/// Whether a key of the table, without a listener's name, never changes while a broker runs.
pub fn is_static(name: &str) -> bool {
    find(BROKER_KEYS, name).is_some_and(|key| key.update == Update::ReadOnly)
}

/// Whether a setting belongs to one broker, so that there is no default of it for all.
pub fn is_of_one_broker(name: &str) -> bool {
    match of_listener(name) {
        Some(base) => !SHARED_BY_LISTENERS.contains(&base),
        None => find(BROKER_KEYS, name).is_some_and(|key| key.update == Update::PerBroker),
    }
}

/// What counts of a node of `/config/brokers`, with its passwords readable. The rest is told, and passed over.
pub fn readable(
    mut node: BTreeMap<String, String>,
    of_one: bool,
    encoder: Option<&PasswordEncoder>,
) -> BTreeMap<String, String> {
    let mut drop_where = |problem: &str, test: &dyn Fn(&str, &str) -> bool| {
        let gone: Vec<String> =
            node.extract_if(.., |name, value| test(name, value)).map(|(name, _)| name).collect();
        if !gone.is_empty() {
            tracing::error!("{problem}: {}", gone.join(", "));
        }
    };
    let layer = if of_one { "broker" } else { "default cluster" };
    drop_where(
        &format!("Dynamic {layer} config contains invalid values, these configs will be ignored"),
        &|name, value| {
            let is_plain = !is_password(name);
            is_plain && find_dynamic(base_name(name)).is_some_and(|key| key.check(value).is_err())
        },
    );
    drop_where("Non-dynamic configs configured in ZooKeeper will be ignored", &|name, _| is_static(name));
    drop_where(
        "Security configs can be dynamically updated only using listener prefix, base configs will be ignored",
        &|name, _| STORES.contains(&name),
    );
    if !of_one {
        drop_where("Per-broker configs defined at default cluster level will be ignored", &|name, _| {
            is_of_one_broker(name)
        });
    }
    for name in node.keys().filter(|name| is_password(name)).cloned().collect::<Vec<_>>() {
        let decoded = match encoder {
            Some(encoder) => encoder.decode(&node[&name]).map_err(|error| error.to_string()),
            None => Err(NO_SECRET.to_owned()),
        };
        match decoded {
            Ok(password) => drop(node.insert(name, password)),
            Err(problem) => {
                tracing::error!("Dynamic password config {name} could not be decoded, ignoring: {problem}");
                node.remove(&name);
            }
        }
    }
    node
}

/// What is told where there is no way to encrypt a password.
pub const NO_SECRET: &str = "Password encoder secret not configured";

/// As it is kept in ZooKeeper: with passwords encrypted.
pub fn persistent(
    mut config: BTreeMap<String, String>,
    encoder: Option<&PasswordEncoder>,
) -> Result<BTreeMap<String, String>, String> {
    for (name, value) in &mut config {
        if is_password(name) {
            let encoder = encoder.ok_or(NO_SECRET)?;
            *value = encoder.encode(value).map_err(|error| error.to_string())?;
        }
    }
    Ok(config)
}

/// Both layers as they count for broker `id`.
pub async fn read(zk: &Zk, id: i32, encoder: Option<&PasswordEncoder>) -> Result<Dynamic, ZkError> {
    let default = readable(zk.config(&ConfigEntity::BrokerDefault).await?, false, None);
    let broker = readable(zk.config(&ConfigEntity::Broker(id)).await?, true, encoder);
    Ok(Dynamic { broker, default })
}

/// Encrypts anew, by the secret of now, what was encrypted by the old one.
pub async fn reencode(zk: &Zk, id: i32, old: &PasswordEncoder, new: &PasswordEncoder) -> Result<(), ZkError> {
    let entity = ConfigEntity::Broker(id);
    let mut node = zk.config(&entity).await?;
    let mut changed = BTreeSet::new();
    for (name, value) in node.iter_mut().filter(|(name, _)| is_password(name)) {
        // What the new secret reads has been encrypted anew before: the old one need not have been taken away at once.
        if new.decode(value).is_ok() {
            continue;
        }
        if let Ok(password) = old.decode(value)
            && let Ok(again) = new.encode(&password)
        {
            *value = again;
            changed.insert(name.clone());
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    tracing::info!("Passwords are encrypted anew by {}: {changed:?}", passwords::SECRET);
    zk.change_config(&entity, &node).await
}

impl Broker {
    /// The file with the dynamic layers of now over it.
    pub fn current(&self) -> std::sync::Arc<BrokerConfig> {
        self.current.load_full()
    }

    /// Reads the brokers' dynamic settings anew, and follows them.
    pub async fn reload_dynamic(&self) -> Result<(), ZkError> {
        let _turn = self.reloading.lock().await;
        let dynamic = read(&self.zk(), self.id, self.passwords.as_ref()).await?;
        let before = self.current();
        let next = self.config.with(&dynamic).map_err(|error| error.message);
        // At the start nothing runs yet that a change could be too much for.
        let next = next.and_then(|next| match self.doors.get() {
            Some(_) => check::change(self, &before, &next).map(|()| next),
            None => Ok(next),
        });
        self.throttles.set(&dynamic.broker);
        self.dynamic.store(dynamic.into());
        match next {
            Ok(next) => self.current.store(next.into()),
            Err(problem) => {
                tracing::error!("Failed to update broker configuration: {problem}");
            }
        }
        let now = self.current();
        self.gate.set_limits(crate::connections::limits(&now, &self.dynamic.load()).await);
        self.forget_topic_configs();
        if let Some(doors) = self.doors.get() {
            doors.follow(self, &before, &now).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_does_not_count_in_zookeeper_is_passed_over() {
        let node = layer(&[
            ("log.retention.ms", "5"),
            ("message.max.bytes", "much"),
            ("broker.rack", "r"),
            ("ssl.keystore.location", "/k"),
            ("listener.name.out.ssl.keystore.location", "/k"),
            ("listener.name.out.max.connections", "3"),
            ("somebodys.own", "x"),
        ]);
        let of_one: Vec<String> = readable(node.clone(), true, None).into_keys().collect();
        let out = ["listener.name.out.max.connections", "listener.name.out.ssl.keystore.location"];
        assert_eq!(of_one, [out[0], out[1], "log.retention.ms", "somebodys.own"]);
        let of_all: Vec<String> = readable(node, false, None).into_keys().collect();
        assert_eq!(of_all, [out[0], "log.retention.ms", "somebodys.own"]);
    }

    #[test]
    fn passwords_go_in_encrypted_and_come_out_readable() {
        let encoder = PasswordEncoder::new("secret", |_| None).unwrap();
        let key = "listener.name.out.ssl.keystore.password";
        let config = layer(&[(key, "hidden"), ("log.retention.ms", "5")]);
        let node = persistent(config.clone(), Some(&encoder)).unwrap();
        assert!(!node[key].contains("hidden") && node["log.retention.ms"] == "5");
        assert_eq!(readable(node.clone(), true, Some(&encoder)), config);
        assert_eq!(readable(node, true, None), layer(&[("log.retention.ms", "5")]));
        assert_eq!(persistent(config, None).unwrap_err(), NO_SECRET);
    }
}
