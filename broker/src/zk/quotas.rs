//! `/config/users`, `/config/clients` and `/config/ips`: what clients are limited to.

use std::collections::BTreeMap;

use super::{ConfigEntity, Zk, ZkError};

/// The settings of one entity, under its path below `/config`.
pub type EntityConfig = (String, BTreeMap<String, String>);

impl Zk {
    /// The entities right below `/config/KIND`, sorted.
    pub async fn entities(&self, kind: &str) -> Result<Vec<EntityConfig>, ZkError> {
        let mut names = self.children(&format!("/config/{kind}")).await?;
        names.sort();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let path = format!("{kind}/{name}");
            let config = self.config(&ConfigEntity::Other(path.clone())).await?;
            all.push((path, config));
        }
        Ok(all)
    }

    /// The client ids of all users: `users/U/clients/C`, sorted by both.
    pub async fn client_ids_of_users(&self) -> Result<Vec<EntityConfig>, ZkError> {
        let mut users = self.children("/config/users").await?;
        users.sort();
        let mut all = Vec::new();
        for user in users {
            all.extend(self.entities(&format!("users/{user}/clients")).await?);
        }
        Ok(all)
    }

    /// Replaces the settings of a user, client id, pair or address, and leaves a note. Nodes without settings go, with the
    /// parents that nothing else is left of.
    pub async fn change_quotas(&self, path: &str, config: &BTreeMap<String, String>) -> Result<(), ZkError> {
        let entity = ConfigEntity::Other(path.to_owned());
        let node = format!("/config/{path}");
        if config.is_empty() && self.children(&node).await?.is_empty() {
            self.delete(&node).await?;
            if let Some((clients, _)) =
                node.rsplit_once('/').filter(|(parent, _)| parent.ends_with("/clients"))
                && path.starts_with("users/")
            {
                self.delete_parents(clients).await?;
            }
        } else {
            self.write_config(&entity, config).await?;
        }
        self.note_change(&entity).await
    }

    /// `/config/users/U/clients`, and the user's node if it has no settings either.
    async fn delete_parents(&self, clients: &str) -> Result<(), ZkError> {
        if !self.children(clients).await?.is_empty() {
            return Ok(());
        }
        let Some((user, _)) = clients.rsplit_once('/') else { return Ok(()) };
        for (node, has_settings) in [(clients, false), (user, true)] {
            if has_settings && self.get(node).await?.is_some_and(|(data, _)| has_any(node, &data)) {
                return Ok(());
            }
            match self.delete(node).await {
                // Somebody added a client meanwhile.
                Err(ZkError::Operation { source: zookeeper_client::Error::NotEmpty, .. }) => return Ok(()),
                done => done?,
            }
        }
        Ok(())
    }
}

fn has_any(path: &str, data: &[u8]) -> bool {
    super::configs::parse(path, data).map_or(true, |config| !config.is_empty())
}
