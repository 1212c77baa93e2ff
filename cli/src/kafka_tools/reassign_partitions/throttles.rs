//! Limits on what moving replicas may take: settings of brokers, and of topics which name the replicas concerned.

use super::{Failure, Ongoing, join, s};
use client::admin::{BROKER, TOPIC};
use client::{Admin, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LOG_DIR_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

const SET: i8 = 0;
const DELETE: i8 = 1;

/// From where to where one partition's data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    sources: BTreeSet<i32>,
    destinations: BTreeSet<i32>,
}

/// All moves: those under way, and the new ones instead of what they replace.
pub fn moves(
    ongoing: &Ongoing,
    proposed: &BTreeMap<TopicPartition, Vec<i32>>,
    current: &BTreeMap<TopicPartition, Vec<i32>>,
) -> Result<BTreeMap<TopicPartition, Move>, Failure> {
    let mut moves: BTreeMap<TopicPartition, Move> = BTreeMap::new();
    for (partition, one) in ongoing {
        let destinations: BTreeSet<i32> = one.adding_replicas.iter().copied().collect();
        let sources = one.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect();
        moves.insert(partition.clone(), Move { sources, destinations });
    }
    for (partition, replicas) in proposed {
        let sources: BTreeSet<i32> = match (moves.get(partition), current.get(partition)) {
            (Some(ongoing), _) => ongoing.sources.clone(),
            (None, Some(replicas)) => replicas.iter().copied().collect(),
            (None, None) => {
                let why = format!("Trying to reassign a topic partition {partition} with 0 replicas");
                return Err(Failure::new("java.lang.RuntimeException", why));
            }
        };
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        moves.insert(partition.clone(), Move { sources, destinations });
    }
    Ok(moves)
}

/// `partition:broker,...` by topic, in the order of their texts.
fn replicas(
    moves: &BTreeMap<TopicPartition, Move>,
    of: impl Fn(&Move) -> &BTreeSet<i32>,
) -> BTreeMap<Str, String> {
    let mut lists: BTreeMap<Str, BTreeSet<String>> = BTreeMap::new();
    for (partition, one) in moves {
        let texts = of(one).iter().map(|id| format!("{}:{id}", partition.partition));
        lists.entry(partition.topic.clone()).or_default().extend(texts);
    }
    lists.into_iter().map(|(topic, list)| (topic, join(list))).collect()
}

async fn alter(
    admin: &Admin,
    resource_type: i8,
    resources: impl Iterator<Item = (Str, Vec<(&'static str, Option<String>)>)>,
) -> Result<(), Failure> {
    let resources: Vec<AlterConfigsResource> = resources
        .map(|(resource_name, entries)| {
            let config = |(name, value): (&'static str, Option<String>)| AlterableConfig {
                name: name.into(),
                config_operation: if value.is_some() { SET } else { DELETE },
                value: value.map(Str::from),
            };
            let configs = entries.into_iter().map(config).collect();
            AlterConfigsResource { resource_type, resource_name, configs }
        })
        .collect();
    for result in admin.incremental_alter_configs(resources).await?.into_values() {
        result?;
    }
    Ok(())
}

/// Limits what goes between brokers, in bytes a second.
pub async fn between_brokers(
    admin: &Admin,
    moves: &BTreeMap<TopicPartition, Move>,
    rate: i64,
) -> Result<(), Failure> {
    let leaders = replicas(moves, |one| &one.sources);
    let mut followers = replicas(moves, |one| &one.destinations);
    let topics = leaders.into_iter().map(|(topic, list)| {
        let follower = followers.remove(&topic).unwrap_or_default();
        (topic, vec![(LEADER_REPLICAS, Some(list)), (FOLLOWER_REPLICAS, Some(follower))])
    });
    alter(admin, TOPIC, topics).await?;
    let brokers: BTreeSet<i32> =
        moves.values().flat_map(|one| one.sources.union(&one.destinations)).copied().collect();
    let entries = || vec![(LEADER_RATE, Some(rate.to_string())), (FOLLOWER_RATE, Some(rate.to_string()))];
    alter(admin, BROKER, brokers.iter().map(|id| (id.to_string().into(), entries()))).await?;
    println!("The inter-broker throttle limit was set to {rate} B/s");
    Ok(())
}

/// Limits what goes between the log directories of a broker, in bytes a second.
pub async fn between_dirs(admin: &Admin, brokers: &BTreeSet<i32>, rate: i64) -> Result<(), Failure> {
    let entries = || vec![(LOG_DIR_RATE, Some(rate.to_string()))];
    alter(admin, BROKER, brokers.iter().map(|id| (id.to_string().into(), entries()))).await?;
    println!("The replica-alter-dir throttle limit was set to {rate} B/s");
    Ok(())
}

/// Ends all limits of live brokers and of those in the plan, and of the plan's topics. It says so, unless it is to be
/// `quiet`.
pub async fn clear(admin: &Admin, plan: &[(TopicPartition, Vec<i32>)], quiet: bool) -> Result<(), Failure> {
    let metadata = admin.metadata(Some(&[])).await?;
    let mut brokers: BTreeSet<i32> = metadata.brokers.keys().copied().collect();
    brokers.extend(plan.iter().flat_map(|(_, replicas)| replicas));
    if !quiet {
        println!("Clearing broker-level throttles on broker{} {}", s(brokers.len()), join(&brokers));
    }
    let entries = || vec![(LEADER_RATE, None), (FOLLOWER_RATE, None), (LOG_DIR_RATE, None)];
    alter(admin, BROKER, brokers.iter().map(|id| (id.to_string().into(), entries()))).await?;
    let mut topics: Vec<Str> = Vec::new();
    for (partition, _) in plan {
        if !topics.contains(&partition.topic) {
            topics.push(partition.topic.clone());
        }
    }
    if !quiet {
        println!("Clearing topic-level throttles on topic{} {}", s(topics.len()), join(&topics));
    }
    let entries = || vec![(LEADER_REPLICAS, None), (FOLLOWER_REPLICAS, None)];
    alter(admin, TOPIC, topics.into_iter().map(|topic| (topic, entries()))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::list_partition_reassignments::OngoingPartitionReassignment;

    #[test]
    fn sources_are_limited_as_leaders_and_destinations_as_followers() {
        let ongoing = BTreeMap::from([(
            TopicPartition::new("t", 1),
            OngoingPartitionReassignment {
                partition_index: 1,
                replicas: vec![4, 1, 2],
                adding_replicas: vec![4],
                removing_replicas: vec![1],
            },
        )]);
        let (first, second) = (TopicPartition::new("t", 0), TopicPartition::new("t", 10));
        let proposed = BTreeMap::from([(first.clone(), vec![3, 2]), (second.clone(), vec![1])]);
        let current = BTreeMap::from([(first, vec![1, 2]), (second, vec![2])]);
        let moves = moves(&ongoing, &proposed, &current).unwrap();
        assert_eq!(replicas(&moves, |one| &one.sources)["t"], "0:1,0:2,10:2,1:1,1:2");
        assert_eq!(replicas(&moves, |one| &one.destinations)["t"], "0:3,10:1,1:4");
    }
}
