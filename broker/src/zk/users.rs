//! Users' nodes, `/config/users/NAME`: credentials, and quotas.

use std::collections::BTreeMap;

use super::{ConfigEntity, Zk, ZkError};
use crate::security::{desanitized, sanitized};

fn entity(user: &str) -> ConfigEntity {
    ConfigEntity::Other(format!("users/{}", sanitized(user)))
}

impl Zk {
    /// Everybody who has a node, by name; the default of all users is nobody.
    pub async fn users(&self) -> Result<Vec<String>, ZkError> {
        let nodes = self.children("/config/users").await?;
        let mut users: Vec<String> =
            nodes.iter().filter(|node| *node != "<default>").map(|node| desanitized(node)).collect();
        users.sort();
        Ok(users)
    }

    /// What a user's node says.
    pub async fn user(&self, user: &str) -> Result<BTreeMap<String, String>, ZkError> {
        self.config(&entity(user)).await
    }

    /// Replaces what a user's node says, and tells every broker.
    pub async fn change_user(&self, user: &str, config: &BTreeMap<String, String>) -> Result<(), ZkError> {
        self.change_config(&entity(user), config).await
    }
}

/// The user whose node a change note names; `None`: it is of something else.
pub fn user_of(path: &str) -> Option<String> {
    let node = path.strip_prefix("users/")?;
    (!node.contains('/') && node != "<default>").then(|| desanitized(node))
}
