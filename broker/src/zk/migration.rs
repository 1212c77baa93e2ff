//! Giving nodes that are there the ACLs that they would be made with today: `zookeeper-security-migration`.

use zookeeper_client::Error;

use super::{Zk, ZkError, security};

/// Requests that are under way at a time.
const WINDOW: usize = 256;

impl Zk {
    /// Gives the node and all below it their default ACLs. What goes away meanwhile is passed over with a warning.
    pub async fn set_default_acls_below(&self, root: &str) -> Result<(), ZkError> {
        let mut level = vec![root.to_owned()];
        while !level.is_empty() {
            let mut next = Vec::new();
            for paths in level.chunks(WINDOW) {
                next.extend(self.set_and_list(paths).await?);
            }
            level = next;
        }
        Ok(())
    }

    /// Sets the ACLs of these nodes; their children are the answer.
    async fn set_and_list(&self, paths: &[String]) -> Result<Vec<String>, ZkError> {
        let begin = |path: &String| {
            let acls = security::acls_of(self.sets_acls, path);
            (self.client.set_acl(path, &acls, None), self.client.get_children(path))
        };
        let asked: Vec<_> = paths.iter().map(begin).collect();
        let mut found = Vec::new();
        for (path, (set, listed)) in paths.iter().zip(asked) {
            match set.await {
                Ok(_) => {}
                // A lost connection: alone and with retries.
                Err(Error::ConnectionLoss) => {
                    self.set_default_acls(path).await.or_else(|error| gone(path, error))?
                }
                Err(source) => {
                    gone(path, ZkError::Operation { operation: "setACL", path: path.clone(), source })?
                }
            }
            let names = match listed.await {
                Ok((names, _)) => names,
                Err(Error::NoNode) => Vec::new(),
                Err(Error::ConnectionLoss) => self.children(path).await?,
                Err(source) => {
                    return Err(ZkError::Operation { operation: "getChildren", path: path.clone(), source });
                }
            };
            found.extend(names.iter().map(|name| format!("{path}/{name}")));
        }
        Ok(found)
    }
}

fn gone(path: &str, error: ZkError) -> Result<(), ZkError> {
    if error.no_node() {
        tracing::warn!("Znode is gone, it could be have been legitimately deleted: {path}");
        return Ok(());
    }
    Err(error)
}
