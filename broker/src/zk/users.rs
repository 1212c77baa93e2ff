//! Users' nodes, `/config/users/NAME`: credentials, and quotas.

use std::collections::BTreeMap;

use broker_core::quota::{DEFAULT, desanitize, sanitize};

use super::{ConfigEntity, Zk, ZkError};

fn entity(user: &str) -> ConfigEntity {
    ConfigEntity::Other(format!("users/{}", sanitize(user)))
}

impl Zk {
    /// Everybody who has a node, by name; the default of all users is nobody.
    pub async fn users(&self) -> Result<Vec<String>, ZkError> {
        let nodes = self.children("/config/users").await?;
        let mut users: Vec<String> =
            nodes.iter().filter(|node| *node != DEFAULT).map(|node| desanitize(node)).collect();
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
    (!node.contains('/') && node != DEFAULT).then(|| desanitize(node))
}
