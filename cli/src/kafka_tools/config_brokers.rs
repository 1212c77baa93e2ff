//! Dynamic settings of brokers that do not run, written into ZooKeeper themselves: passwords before the first start.

use super::config_options::Entities;
use super::configs::{Failure, to_add, to_delete};
use base::Given;
use broker::passwords::{PasswordEncoder, SECRET, is_password};
use broker::zk::{ConfigEntity, Zk};
use std::collections::BTreeMap;

const ONLY_STOPPED: &str = "Broker configuration operations using ZooKeeper are only supported if the affected broker(s) are not running.";

/// Shows or changes the settings of one broker, or of all.
pub async fn execute(zk: &Zk, given: &Given, entities: &Entities) -> Result<(), Failure> {
    match given.has("describe") {
        true => describe(zk, entities).await,
        false => alter(zk, given, entities).await,
    }
}

fn entity(name: &str) -> ConfigEntity {
    name.parse().map_or(ConfigEntity::BrokerDefault, ConfigEntity::Broker)
}

/// As Java shows it.
fn shown(entity: &ConfigEntity) -> String {
    match entity {
        ConfigEntity::Broker(id) => format!("brokers '{id}'"),
        _ => "default brokers".to_owned(),
    }
}

async fn describe(zk: &Zk, entities: &Entities) -> Result<(), Failure> {
    let named: Vec<ConfigEntity> = match entities.names.first() {
        Some(name) => vec![entity(name)],
        None => {
            let nodes = zk.children("/config/brokers").await?;
            let all = nodes.iter().map(|node| ConfigEntity::parse(&format!("brokers/{node}")));
            all.collect()
        }
    };
    let asked = entities.names.first().map_or(ConfigEntity::BrokerDefault, |name| entity(name));
    not_running(zk, &asked, "--bootstrap-server option must be specified to describe brokers").await?;
    for entity in named {
        let config = zk.config(&entity).await?;
        let pairs: Vec<String> = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        println!("Configs for {} are {}", shown(&entity), pairs.join(","));
    }
    Ok(())
}

async fn not_running(zk: &Zk, entity: &ConfigEntity, complaint: &str) -> Result<(), Failure> {
    let required =
        |why: String| Err(Failure::Plain(format!("requirement failed: {complaint} - {why} {ONLY_STOPPED}")));
    match entity {
        ConfigEntity::Broker(id) => match zk.stat(&format!("/brokers/ids/{id}")).await? {
            Some(_) => required(format!("broker {id} is running.")),
            None => Ok(()),
        },
        _ => match zk.stat("/brokers/ids").await? {
            Some(_) => match zk.children("/brokers/ids").await?.len() {
                0 => Ok(()),
                running => required(format!("{running} brokers are running.")),
            },
            None => Ok(()),
        },
    }
}

fn listed(pairs: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", if is_secret(key) { "[hidden]" } else { value }))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

/// What Java would print here, passwords and all, is not for a terminal.
fn is_secret(key: &str) -> bool {
    is_password(key) || key.starts_with("password.encoder.")
}

async fn alter(zk: &Zk, given: &Given, entities: &Entities) -> Result<(), Failure> {
    let added = to_add(given)?;
    let deleted = to_delete(given);
    let entity = entity(entities.names.first().map_or("", String::as_str));
    let complaint = format!(
        "--bootstrap-server option must be specified to update brokers configs: {{add: {}, delete: List({})}}",
        listed(&added),
        deleted.join(", ")
    );
    not_running(zk, &entity, &complaint).await?;
    let of_one = entity != ConfigEntity::BrokerDefault;
    let added = encrypted(added, of_one).map_err(Failure::Plain)?;
    let mut config = zk.config(&entity).await?;
    let missing: Vec<&str> =
        deleted.iter().filter(|key| !config.contains_key(*key)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::Plain(format!("Invalid config(s): {}", missing.join(","))));
    }
    config.extend(added);
    deleted.iter().for_each(|key| drop(config.remove(key)));
    // Before the first broker these are missing.
    zk.make_base_nodes().await?;
    zk.change_config(&entity, &config).await?;
    println!("Completed updating config for entity: {}.", shown(&entity));
    Ok(())
}

/// What is to be kept: without the keys that only say how to encrypt, and with its passwords encrypted.
fn encrypted(mut added: BTreeMap<String, String>, of_one: bool) -> Result<BTreeMap<String, String>, String> {
    let encoding: BTreeMap<String, String> =
        added.extract_if(.., |key, _| key.starts_with("password.encoder.")).collect();
    broker::dynamic::check_layer(&added, !of_one)?;
    let passwords: Vec<String> = added.keys().filter(|key| is_password(key)).cloned().collect();
    if passwords.is_empty() {
        return Ok(added);
    }
    let Some(secret) = encoding.get(SECRET) else {
        return Err(format!(
            "requirement failed: {SECRET} must be specified to update Set({}). Other password encoder configs like \
             cipher algorithm and iterations may also be specified to override the default encoding parameters. Password \
             encoder configs will not be persisted in ZooKeeper.",
            passwords.join(", ")
        ));
    };
    let encoder =
        PasswordEncoder::new(secret, |key| encoding.get(key).cloned()).map_err(|error| error.to_string())?;
    for key in passwords {
        let encoded = encoder.encode(&added[&key]).map_err(|error| error.to_string())?;
        added.insert(key, encoded);
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn passwords_are_kept_encrypted_and_the_secret_is_not_kept() {
        let key = "listener.name.out.ssl.keystore.password";
        let kept = encrypted(pairs(&[(key, "hidden"), (SECRET, "s")]), true).unwrap();
        assert_eq!(kept.len(), 1);
        let encoder = PasswordEncoder::new("s", |_| None).unwrap();
        assert_eq!(encoder.decode(&kept[key]).unwrap(), "hidden");
        let missing = encrypted(pairs(&[(key, "hidden")]), true).unwrap_err();
        assert!(
            missing.contains("password.encoder.secret must be specified to update Set(listener"),
            "{missing}"
        );
        let shared = encrypted(pairs(&[(key, "hidden"), (SECRET, "s")]), false).unwrap_err();
        assert!(shared.starts_with("Cannot update these configs at default cluster level"), "{shared}");
        let fixed = encrypted(pairs(&[("broker.rack", "r")]), true).unwrap_err();
        assert_eq!(fixed, "Cannot update these configs dynamically: Set(broker.rack)");
    }

    #[test]
    fn what_is_told_names_no_password() {
        let told = listed(&pairs(&[("listener.name.x.ssl.key.password", "p"), (SECRET, "s"), ("a", "b")]));
        assert_eq!(
            told,
            "{a=b, listener.name.x.ssl.key.password=[hidden], password.encoder.secret=[hidden]}"
        );
    }
}
