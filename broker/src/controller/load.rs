//! Reading the cluster from ZooKeeper, many nodes at a time: hundreds in one request, and several requests under way, so
//! that neither end waits for the other.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;

use broker_core::controller::{Assignment, Broker, PartitionState, Topic, TopicPartition};
use wire::Str;
use wire::kafka::Uuid;
use zookeeper_client::{Error, MultiReadResult, OneshotWatcher, Stat};

use super::nodes;
use crate::zk::{RETRY_PAUSE, TopicNode, Zk, ZkError, retry};

/// Requests for one node each that are under way at a time.
const WINDOW: usize = 256;
/// Nodes in one request. Their paths and answers stay far below `jute.maxbuffer`, whatever the names of topics are.
const NODES: usize = 250;
/// Requests for many nodes that are under way at a time.
const REQUESTS: usize = 8;

/// Data and stat of those nodes that exist, by the position of their path.
pub async fn read_all(zk: &Zk, paths: &[String]) -> Result<BTreeMap<usize, (Vec<u8>, Stat)>, ZkError> {
    let mut found = BTreeMap::new();
    read_each(zk, paths, |at, data, stat| {
        found.insert(at, (data, stat));
        Ok(())
    })
    .await?;
    Ok(found)
}

type Reading<'a> = Pin<Box<dyn Future<Output = Result<Vec<MultiReadResult>, Error>> + Send + 'a>>;

/// Calls `found` for each node that exists, in the order of `paths`, with its position, data and stat.
async fn read_each(
    zk: &Zk,
    paths: &[String],
    mut found: impl FnMut(usize, Vec<u8>, Stat) -> Result<(), ZkError>,
) -> Result<(), ZkError> {
    let mut ahead: VecDeque<Reading<'_>> = VecDeque::with_capacity(REQUESTS);
    let mut chunks = paths.chunks(NODES);
    for (chunk, paths) in paths.chunks(NODES).enumerate() {
        while ahead.len() < REQUESTS
            && let Some(next) = chunks.next()
        {
            ahead.push_back(begin(zk, next)?);
        }
        let answer = match ahead.pop_front() {
            Some(reading) => reading.await,
            None => return Ok(()),
        };
        for (at, node) in nodes_of(zk, paths, answer).await?.into_iter().enumerate() {
            if let Some((data, stat)) = node {
                found(chunk * NODES + at, data, stat)?;
            }
        }
    }
    Ok(())
}

/// Sends one request for all of these.
fn begin<'a>(zk: &'a Zk, paths: &[String]) -> Result<Reading<'a>, ZkError> {
    let mut reader = zk.client().new_multi_reader();
    for path in paths {
        let added = reader.add_get_data(path);
        added.map_err(|source| ZkError::Operation { operation: "multiRead", path: path.clone(), source })?;
    }
    Ok(Box::pin(reader.commit()))
}

type Node = Option<(Vec<u8>, Stat)>;

/// The nodes of an answer; where there was none, or not for all, they are asked for again.
async fn nodes_of(
    zk: &Zk,
    paths: &[String],
    answer: Result<Vec<MultiReadResult>, Error>,
) -> Result<Vec<Node>, ZkError> {
    let results = match answer {
        Ok(results) if results.len() == paths.len() => results,
        Err(Error::ConnectionLoss) => {
            tokio::time::sleep(RETRY_PAUSE).await;
            return one_by_one(zk, paths).await;
        }
        // A ZooKeeper before 3.6 does not know the request.
        Ok(_) | Err(_) => return one_by_one(zk, paths).await,
    };
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, result) in paths.iter().zip(results) {
        nodes.push(match result {
            MultiReadResult::Data { data, stat } => Some((data, stat)),
            MultiReadResult::Error { err: Error::NoNode } => None,
            _ => zk.get(path).await?,
        });
    }
    Ok(nodes)
}

/// A request for each node, all of them sent before the first answer is awaited.
async fn one_by_one(zk: &Zk, paths: &[String]) -> Result<Vec<Node>, ZkError> {
    let reads: Vec<_> = paths.iter().map(|path| zk.client().get_data(path)).collect();
    let mut nodes = Vec::with_capacity(paths.len());
    for (path, read) in paths.iter().zip(reads) {
        nodes.push(match read.await {
            Ok(node) => Some(node),
            Err(Error::NoNode) => None,
            // Lost connections and the like: alone and with retries.
            Err(_) => zk.get(path).await?,
        });
    }
    Ok(nodes)
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

/// These topics, as far as they exist. One without an id gets one, where topics have them.
pub async fn topics(
    zk: &Zk,
    names: &[Str],
    with_ids: bool,
) -> Result<(BTreeMap<Str, Topic>, Watches<Str>), ZkError> {
    let paths: Vec<String> = names.iter().map(|name| nodes::topic_path(name)).collect();
    let (mut topics, mut watches) = (BTreeMap::new(), Vec::new());
    for (at, (data, stat, watcher)) in watch_all(zk, &paths).await? {
        let mut node = TopicNode::parse(&paths[at], &data)?;
        if with_ids && node.id.is_nil() {
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
    let partitions = topics
        .iter()
        .flat_map(|(name, topic)| {
            let of = |&partition: &i32| TopicPartition { topic: name.clone(), partition };
            topic.partitions.keys().map(of)
        })
        .collect();
    states_of(zk, partitions).await
}

/// The states of those of these partitions that have one.
pub async fn states_of(
    zk: &Zk,
    partitions: Vec<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, PartitionState>, ZkError> {
    let paths: Vec<String> = partitions.iter().map(nodes::state_path).collect();
    let mut states = Vec::with_capacity(partitions.len());
    read_each(zk, &paths, |at, data, stat| {
        states.push((partitions[at].clone(), nodes::partition_state(&paths[at], &data, stat.version)?));
        Ok(())
    })
    .await?;
    Ok(states.into_iter().collect())
}

/// The children of a node, and the watch for their next change.
pub async fn children(zk: &Zk, path: &str) -> Result<(Vec<String>, OneshotWatcher), ZkError> {
    let (names, _, watcher) = retry("getChildren", path, || zk.client().get_and_watch_children(path)).await?;
    Ok((names, watcher))
}
