//! Dynamic configuration: `/config/TYPE/NAME`, and the change notes that tell every broker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{Zk, ZkError, retry};

/// Change notes older than this are deleted by whoever reads the list next.
const CHANGE_EXPIRATION: Duration = Duration::from_secs(15 * 60);
const CHANGES: &str = "/config/changes";
const CHANGE_PREFIX: &str = "config_change_";

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigEntity {
    Topic(String),
    Broker(i32),
    /// The defaults of all brokers.
    BrokerDefault,
    /// Users, clients and IPs, as they stand in the change note (`clients/c1`).
    Other(String),
}

impl ConfigEntity {
    /// The path below `/config`, as change notes write it.
    pub fn path(&self) -> String {
        match self {
            ConfigEntity::Topic(name) => format!("topics/{name}"),
            ConfigEntity::Broker(id) => format!("brokers/{id}"),
            ConfigEntity::BrokerDefault => "brokers/<default>".to_owned(),
            ConfigEntity::Other(path) => path.clone(),
        }
    }

    /// Reads the path of a change note.
    pub fn parse(path: &str) -> ConfigEntity {
        match path.split_once('/') {
            Some(("topics", name)) => ConfigEntity::Topic(name.to_owned()),
            Some(("brokers", "<default>")) => ConfigEntity::BrokerDefault,
            Some(("brokers", id)) if id.parse::<i32>().is_ok() => {
                ConfigEntity::Broker(id.parse().unwrap_or_default())
            }
            _ => ConfigEntity::Other(path.to_owned()),
        }
    }
}

/// Requests that are under way at a time.
const WINDOW: usize = 512;

impl Zk {
    /// The entity's overrides; none when it has no node.
    pub async fn config(&self, entity: &ConfigEntity) -> Result<BTreeMap<String, String>, ZkError> {
        let path = format!("/config/{}", entity.path());
        match self.get(&path).await? {
            Some((data, _)) => parse(&path, &data),
            None => Ok(BTreeMap::new()),
        }
    }

    /// The overrides of these topics, in their order; many requests are under way at a time.
    pub async fn topic_configs<T: AsRef<str>>(
        &self,
        topics: &[T],
    ) -> Result<Vec<BTreeMap<String, String>>, ZkError> {
        let mut configs = Vec::with_capacity(topics.len());
        for topics in topics.chunks(WINDOW) {
            let paths: Vec<String> =
                topics.iter().map(|topic| format!("/config/topics/{}", topic.as_ref())).collect();
            let reads: Vec<_> = paths.iter().map(|path| self.client.get_data(path)).collect();
            for (path, read) in paths.iter().zip(reads) {
                let node = match read.await {
                    Ok(node) => Some(node),
                    Err(zookeeper_client::Error::NoNode) => None,
                    // Lost connections and the like: alone and with retries.
                    Err(_) => self.get(path).await?,
                };
                configs.push(node.map_or_else(|| Ok(BTreeMap::new()), |(data, _)| parse(path, &data))?);
            }
        }
        Ok(configs)
    }

    /// Replaces the entity's overrides without telling anybody (topics that are being created).
    pub async fn write_config(
        &self,
        entity: &ConfigEntity,
        config: &BTreeMap<String, String>,
    ) -> Result<(), ZkError> {
        let node = json!({ "version": 1, "config": config }).to_string();
        self.put(&format!("/config/{}", entity.path()), node.as_bytes()).await
    }

    /// Replaces the entity's overrides and leaves a change note for every broker.
    pub async fn change_config(
        &self,
        entity: &ConfigEntity,
        config: &BTreeMap<String, String>,
    ) -> Result<(), ZkError> {
        self.write_config(entity, config).await?;
        self.note_change(entity).await
    }

    /// Tells every broker that an entity's settings are others now.
    pub(super) async fn note_change(&self, entity: &ConfigEntity) -> Result<(), ZkError> {
        let note = json!({ "version": 2, "entity_path": entity.path() }).to_string();
        self.create_sequential(&format!("{CHANGES}/{CHANGE_PREFIX}"), note.as_bytes()).await
    }

    /// The number of the newest change note: what comes behind it is news to whoever reads settings from now on.
    pub async fn newest_change(&self) -> Result<i64, ZkError> {
        let names = self.children(CHANGES).await?;
        Ok(names.iter().filter_map(|name| sequence(name)).max().unwrap_or(-1))
    }
}

/// Reads a node of `/config`; an empty one has no overrides.
pub(super) fn parse(path: &str, data: &[u8]) -> Result<BTreeMap<String, String>, ZkError> {
    if data.is_empty() {
        return Ok(BTreeMap::new());
    }
    let node = Zk::json(path, data)?;
    let entries = node["config"]
        .as_object()
        .ok_or_else(|| ZkError::BadData { path: path.to_owned(), problem: "no \"config\" object".into() })?;
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(entries.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

/// Follows `/config/changes` and calls `changed` for each entity that a note behind number `seen` names. Ends with the
/// session; what was seen by then need not be seen again in the next.
pub async fn watch_changes<F, Fut>(zk: Zk, seen: &mut i64, mut changed: F) -> ZkError
where
    F: FnMut(ConfigEntity) -> Fut,
    Fut: Future<Output = ()>,
{
    loop {
        let listed = retry("getChildren", CHANGES, || zk.client.get_and_watch_children(CHANGES)).await;
        let (mut names, _, watcher) = match listed {
            Ok(listed) => listed,
            Err(error) => return error,
        };
        names.sort();
        for (number, name) in names.iter().filter_map(|name| Some((sequence(name)?, name))) {
            if number <= *seen {
                continue;
            }
            match read_note(&zk, name).await {
                Ok(Some(entity)) => changed(entity).await,
                Ok(None) => {}
                Err(error) if error.session_over() => return error,
                Err(error) => tracing::warn!("{error}"),
            }
            *seen = number;
        }
        if let Err(error) = purge(&zk, &names).await {
            return error;
        }
        let event = watcher.changed().await;
        if event.event_type == zookeeper_client::EventType::Session && event.session_state.is_terminated() {
            let source = zookeeper_client::Error::SessionExpired;
            return ZkError::Operation { operation: "watch", path: CHANGES.into(), source };
        }
    }
}

fn sequence(name: &str) -> Option<i64> {
    name.strip_prefix(CHANGE_PREFIX)?.parse().ok()
}

async fn read_note(zk: &Zk, name: &str) -> Result<Option<ConfigEntity>, ZkError> {
    let path = format!("{CHANGES}/{name}");
    let Some((data, _)) = zk.get(&path).await? else { return Ok(None) };
    let note = Zk::json(&path, &data)?;
    // Version 1 notes name type and entity apart.
    if let (Some(kind), Some(name)) = (note["entity_type"].as_str(), note["entity_name"].as_str()) {
        return Ok(Some(ConfigEntity::parse(&format!("{kind}/{name}"))));
    }
    let entity = note["entity_path"].as_str();
    entity
        .map(|entity| Some(ConfigEntity::parse(entity)))
        .ok_or_else(|| ZkError::BadData { path, problem: "no entity_path".into() })
}

/// Deletes notes that every broker has had time to read.
async fn purge(zk: &Zk, names: &[String]) -> Result<(), ZkError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    for name in names {
        let path = format!("{CHANGES}/{name}");
        let Some(stat) = zk.stat(&path).await? else { continue };
        if (stat.ctime as u128) + CHANGE_EXPIRATION.as_millis() < now.as_millis() {
            zk.delete(&path).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_paths_read_back_as_written() {
        let all = [
            ConfigEntity::Topic("t1".into()),
            ConfigEntity::Broker(3),
            ConfigEntity::BrokerDefault,
            ConfigEntity::Other("users/u1/clients/c1".into()),
        ];
        for entity in all {
            assert_eq!(ConfigEntity::parse(&entity.path()), entity);
        }
    }
}
