//! Topics as znodes: `/brokers/topics/T` and the deletion requests under `/admin/delete_topics`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConfigEntity, Zk, ZkError};

/// Replicas of each partition.
pub type Assignment = BTreeMap<i32, Vec<i32>>;

/// The contents of `/brokers/topics/T`, version 3.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicNode {
    /// Nil: the topic has none, as before `inter.broker.protocol.version` 2.8.
    pub id: uuid::Uuid,
    pub partitions: Assignment,
    pub adding: Assignment,
    pub removing: Assignment,
}

/// The node as it is read, without a tree between: a new controller reads those of all topics.
#[derive(Deserialize)]
struct Fields {
    topic_id: Option<String>,
    #[serde(default)]
    partitions: Assignment,
    #[serde(default)]
    adding_replicas: Assignment,
    #[serde(default)]
    removing_replicas: Assignment,
}

impl TopicNode {
    /// The node's JSON, keys in Kafka's order.
    pub fn json(&self) -> Vec<u8> {
        let lists = |map: &Assignment| -> Value {
            map.iter()
                .map(|(partition, ids)| (partition.to_string(), json!(ids)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let mut node = json!({
            "removing_replicas": lists(&self.removing),
            "partitions": lists(&self.partitions),
            "topic_id": URL_SAFE_NO_PAD.encode(self.id.as_bytes()),
            "adding_replicas": lists(&self.adding),
            "version": 3,
        });
        if let Some(node) = node.as_object_mut().filter(|_| self.id.is_nil()) {
            node.shift_remove("topic_id");
        }
        node.to_string().into_bytes()
    }

    /// Reads versions 1 to 3; a topic without id has the nil uuid.
    pub fn parse(path: &str, data: &[u8]) -> Result<TopicNode, ZkError> {
        let bad = |problem: String| ZkError::BadData { path: path.to_owned(), problem };
        let node: Fields = serde_json::from_slice(data).map_err(|error| bad(error.to_string()))?;
        let id = match node.topic_id {
            None => uuid::Uuid::nil(),
            Some(text) => URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .and_then(|bytes| uuid::Uuid::from_slice(&bytes).ok())
                .ok_or_else(|| bad("unreadable topic_id".to_owned()))?,
        };
        Ok(TopicNode {
            id,
            partitions: node.partitions,
            adding: node.adding_replicas,
            removing: node.removing_replicas,
        })
    }
}

impl Zk {
    /// Names of all topics.
    pub async fn topics(&self) -> Result<Vec<String>, ZkError> {
        self.children("/brokers/topics").await
    }

    /// The topic's node and its version.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicNode>, ZkError> {
        Ok(self.versioned_topic(name).await?.map(|(node, _)| node))
    }

    /// Whether a deletion of the topic is under way.
    pub async fn topic_is_being_deleted(&self, name: &str) -> Result<bool, ZkError> {
        Ok(self.stat(&format!("/admin/delete_topics/{name}")).await?.is_some())
    }

    /// Writes the topic's config and then its node, which is what the controller acts on. Fails with
    /// NodeExists when the topic is there already.
    pub async fn create_topic(
        &self,
        name: &str,
        node: &TopicNode,
        config: &BTreeMap<String, String>,
    ) -> Result<(), ZkError> {
        let path = format!("/brokers/topics/{name}");
        self.write_config(&ConfigEntity::Topic(name.to_owned()), config).await?;
        match self.create(&path, &node.json()).await {
            Err(error) if error.no_node() => {
                self.make_path("/brokers/topics").await?;
                self.create(&path, &node.json()).await
            }
            done => done,
        }
    }

    /// The topic's node, and the version at which it can be replaced.
    pub async fn versioned_topic(&self, name: &str) -> Result<Option<(TopicNode, i32)>, ZkError> {
        let path = format!("/brokers/topics/{name}");
        let Some((data, stat)) = self.get(&path).await? else { return Ok(None) };
        TopicNode::parse(&path, &data).map(|node| Some((node, stat.version)))
    }

    /// Replaces the topic's node (more partitions) of exactly this version.
    pub async fn set_topic(&self, name: &str, node: &TopicNode, version: i32) -> Result<(), ZkError> {
        self.set(&format!("/brokers/topics/{name}"), &node.json(), Some(version)).await.map(drop)
    }

    /// Asks the controller to delete the topic.
    pub async fn request_topic_deletion(&self, name: &str) -> Result<(), ZkError> {
        match self.create(&format!("/admin/delete_topics/{name}"), b"").await {
            Err(error) if error.node_exists() => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_topic_node_reads_and_writes_back() {
        let recorded = concat!(
            r#"{"removing_replicas":{},"partitions":{"0":[3,1,2],"1":[1,2,3]},"#,
            r#""topic_id":"L4TXRCAySCGe7LmWsDch3w","adding_replicas":{},"version":3}"#
        );
        let node = TopicNode::parse("/brokers/topics/t", recorded.as_bytes()).unwrap();
        assert_eq!(node.partitions[&0], [3, 1, 2]);
        assert_eq!(String::from_utf8(node.json()).unwrap(), recorded);
        let before = recorded.replace(r#""topic_id":"L4TXRCAySCGe7LmWsDch3w","#, "");
        let node = TopicNode::parse("/brokers/topics/t", before.as_bytes()).unwrap();
        assert!(node.id.is_nil() && String::from_utf8(node.json()).unwrap() == before);
    }

    #[test]
    fn garbage_names_the_node() {
        let error = TopicNode::parse("/brokers/topics/t", b"{\"partitions\":{\"x\":1}}").unwrap_err();
        assert!(error.to_string().contains("/brokers/topics/t"), "{error}");
    }
}
