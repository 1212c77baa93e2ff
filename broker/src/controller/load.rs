//! Reading the cluster from ZooKeeper, many nodes at a time: requests are all sent before the first answer is awaited.

use std::collections::BTreeMap;

use broker_core::controller::{Assignment, Broker, PartitionState, Topic, TopicPartition};
use wire::Str;
use wire::kafka::Uuid;
use zookeeper_client::{Error, OneshotWatcher, Stat};

use super::nodes;
use crate::zk::{TopicNode, Zk, ZkError, retry};

/// Requests that are under way at a time.
const WINDOW: usize = 256;

/// Data and stat of those nodes that exist, by the position of their path.
pub async fn read_all(zk: &Zk, paths: &[String]) -> Result<BTreeMap<usize, (Vec<u8>, Stat)>, ZkError> {
    let mut found = BTreeMap::new();
    for (chunk, paths) in paths.chunks(WINDOW).enumerate() {
        let reads: Vec<_> = paths.iter().map(|path| zk.client().get_data(path)).collect();
        for (at, read) in reads.into_iter().enumerate() {
            let node = match read.await {
                Ok(node) => Some(node),
                Err(Error::NoNode) => None,
                // Lost connections and the like: alone and with retries.
                Err(_) => zk.get(&paths[at]).await?,
            };
            found.extend(node.map(|node| (chunk * WINDOW + at, node)));
        }
    }
    Ok(found)
}

/// A node's data, its stat, and the watch for its next change.
type Watched = (Vec<u8>, Stat, OneshotWatcher);

/// As [`read_all`], and watches the nodes from then on.
async fn watch_all(zk: &Zk, paths: &[String]) -> Result<BTreeMap<usize, Watched>, ZkError> {
    let mut found = BTreeMap::new();
    for (chunk, paths) in paths.chunks(WINDOW).enumerate() {
        let reads: Vec<_> = paths.iter().map(|path| zk.client().get_and_watch_data(path)).collect();
        for (at, read) in reads.into_iter().enumerate() {
            let path = &paths[at];
            let node = match read.await {
                Ok(node) => Some(node),
                Err(Error::NoNode) => None,
                Err(_) => match retry("getData", path, || zk.client().get_and_watch_data(path)).await {
                    Ok(node) => Some(node),
                    Err(error) if error.no_node() => None,
                    Err(error) => return Err(error),
                },
            };
            found.extend(node.map(|node| (chunk * WINDOW + at, node)));
        }
    }
    Ok(found)
}

/// The brokers that are registered under these ids.
pub async fn brokers(zk: &Zk, ids: &[String]) -> Result<(BTreeMap<i32, Broker>, Watches<i32>), ZkError> {
    let paths: Vec<String> = ids.iter().map(|id| format!("{}/{id}", nodes::BROKERS)).collect();
    let (mut brokers, mut watches) = (BTreeMap::new(), Vec::new());
    for (at, (data, stat, watcher)) in watch_all(zk, &paths).await? {
        let Ok(id) = ids[at].parse() else {
            tracing::warn!("{} is no broker id", paths[at]);
            continue;
        };
        brokers.insert(id, nodes::broker(&paths[at], &data, stat.czxid)?);
        watches.push((id, watcher));
    }
    Ok((brokers, watches))
}

/// Watches for the next change of each node.
pub type Watches<K> = Vec<(K, OneshotWatcher)>;

/// These topics, as far as they exist. One without an id gets one.
pub async fn topics(zk: &Zk, names: &[Str]) -> Result<(BTreeMap<Str, Topic>, Watches<Str>), ZkError> {
    let paths: Vec<String> = names.iter().map(|name| nodes::topic_path(name)).collect();
    let (mut topics, mut watches) = (BTreeMap::new(), Vec::new());
    for (at, (data, stat, watcher)) in watch_all(zk, &paths).await? {
        let mut node = TopicNode::parse(&paths[at], &data)?;
        if node.id.is_nil() {
            node.id = crate::zk::random_uuid();
            zk.set(&paths[at], &node.json(), Some(stat.version)).await?;
        }
        topics.insert(names[at].clone(), topic(&node));
        watches.push((names[at].clone(), watcher));
    }
    Ok((topics, watches))
}

fn topic(node: &TopicNode) -> Topic {
    let partitions = node.partitions.iter().map(|(&partition, replicas)| {
        let listed = |lists: &crate::zk::Assignment| lists.get(&partition).cloned().unwrap_or_default();
        let assignment = Assignment {
            replicas: replicas.clone(),
            adding: listed(&node.adding),
            removing: listed(&node.removing),
        };
        (partition, assignment)
    });
    Topic { id: Uuid(*node.id.as_bytes()), partitions: partitions.collect() }
}

/// The states of all partitions of these topics that have one.
pub async fn states(
    zk: &Zk,
    topics: &BTreeMap<Str, Topic>,
) -> Result<BTreeMap<TopicPartition, PartitionState>, ZkError> {
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|(name, topic)| {
            let of = |&partition: &i32| TopicPartition { topic: name.clone(), partition };
            topic.partitions.keys().map(of)
        })
        .collect();
    let paths: Vec<String> = partitions.iter().map(nodes::state_path).collect();
    let mut states = BTreeMap::new();
    for (at, (data, stat)) in read_all(zk, &paths).await? {
        states.insert(partitions[at].clone(), nodes::partition_state(&paths[at], &data, stat.version)?);
    }
    Ok(states)
}

/// The children of a node, and the watch for their next change.
pub async fn children(zk: &Zk, path: &str) -> Result<(Vec<String>, OneshotWatcher), ZkError> {
    let (names, _, watcher) = retry("getChildren", path, || zk.client().get_and_watch_children(path)).await?;
    Ok((names, watcher))
}
