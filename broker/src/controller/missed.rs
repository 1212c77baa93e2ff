//! A broker whose machine went down registers when nobody counts any more on what it had in memory.
//!
//! What is acknowledged is in the page caches of the replicas in sync, not on their disks. A broker that is back without
//! its cache must not be taken for one that never went: a controller that sees it go takes it out of every ISR, and it
//! joins again once it has caught up. Where the controller went with it, though, and the next one reads the cluster when
//! the broker is back already, nobody has seen it go: it would lead on without its tail, and the others would cut
//! theirs. Kafka's own broker is rarely that early, as its former registration has to time out first; ours ends its
//! former life's session at once. So a broker that may have lost something stays away until it has been missed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::zk::{TopicNode, retry};
use broker_core::controller::PartitionState;

const PAUSE: Duration = Duration::from_millis(50);

/// Waits, `patience` at most, until the former registration has gone and no partition counts broker `id` as in sync beside
/// others. It does not wait where no other broker is registered: nobody would miss it. Topics on their way out do not count.
pub async fn wait(zk: &Zk, id: i32, patience: Duration) -> Result<(), ZkError> {
    let give_up = Instant::now() + patience;
    let own = format!("{}/{id}", nodes::BROKERS);
    let mut counted: Option<Vec<TopicPartition>> = None;
    let mut told = false;
    loop {
        retry("sync", nodes::BROKERS, || zk.client().sync(nodes::BROKERS)).await?;
        if zk.children(nodes::BROKERS).await?.is_empty() {
            return Ok(());
        }
        let registered = zk.stat(&own).await?.is_some();
        if registered && !told {
            told = true;
            tracing::warn!(
                "{own} is there: this broker's former registration, or another broker with broker.id={id}. Waiting up to {} \
                 ms for it to go",
                patience.as_millis()
            );
        }
        if !registered {
            // Nobody takes who is away into an ISR, so that only what is left has to be read again.
            let partitions = match &counted {
                Some(left) => left.clone(),
                None => assigned(zk, id).await?,
            };
            let left = counting_on(load::states_of(zk, partitions).await?, id);
            let Some(one) = left.first() else { return Ok(()) };
            if counted.is_none() {
                let (count, topic, partition) = (left.len(), &one.topic, one.partition);
                tracing::info!(
                    "The machine went down: this broker registers when it is out of {count} ISRs, {topic}-{partition}'s among them"
                );
            }
            counted = Some(left);
        }
        if Instant::now() >= give_up {
            if registered {
                // The registration, which comes next, says whose it is.
                return Ok(());
            }
            let (count, waited) = (counted.map_or(0, |left| left.len()), patience.as_millis());
            tracing::warn!(
                "Registering, although nobody took this broker out of {count} ISRs within {waited} ms: records that it alone \
                 lost with its machine's memory may be lost to all"
            );
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// Partitions with a replica on this broker.
async fn assigned(zk: &Zk, id: i32) -> Result<Vec<TopicPartition>, ZkError> {
    let deletions = zk.children(nodes::DELETIONS).await?;
    let mut names = zk.children(nodes::TOPICS).await?;
    names.retain(|name| !deletions.contains(name));
    let paths: Vec<String> = names.iter().map(|name| nodes::topic_path(name)).collect();
    let mut partitions = Vec::new();
    for (at, (data, _)) in load::read_all(zk, &paths).await? {
        let topic = Str::from(names[at].as_str());
        let node = TopicNode::parse(&paths[at], &data)?;
        let own = node.partitions.iter().filter(|(_, replicas)| replicas.contains(&id));
        partitions.extend(own.map(|(&partition, _)| TopicPartition { topic: topic.clone(), partition }));
    }
    Ok(partitions)
}

fn counting_on(states: BTreeMap<TopicPartition, PartitionState>, id: i32) -> Vec<TopicPartition> {
    states.into_iter().filter(|(_, state)| state.counts_on(id)).map(|(partition, _)| partition).collect()
}
