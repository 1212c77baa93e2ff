//! A proposal as for new topics: round the brokers, rack after rack.

use super::{Failure, execute, json};
use broker::assignment::{Candidate, Start, assign};
use client::{Admin, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

pub async fn generate(admin: &Admin, text: &str, brokers: &str, racks: bool) -> Result<(), Failure> {
    let ids = broker_list(brokers)?;
    let topics = json::topics(text)?;
    let twice = duplicates(&topics);
    if !twice.is_empty() {
        let list = super::join(twice);
        return Err(Failure::refused(format!(
            "List of topics to reassign contains duplicate entries: {list}"
        )));
    }
    let current = execute::assignments(admin, topics.iter()).await?;
    let brokers = candidates(admin, &ids, racks).await?;
    let mut proposed = BTreeMap::new();
    for topic in topics {
        let lists: Vec<&Vec<i32>> =
            current.iter().filter(|(partition, _)| partition.topic == topic).map(|(_, list)| list).collect();
        let count = u32::try_from(brokers.len().max(1)).unwrap_or(1);
        let start = Start {
            index: rand::random::<u32>() % count,
            shift: rand::random::<u32>() % count,
            partition: 0,
        };
        let factor = lists.first().map_or(0, |list| list.len() as i32);
        let lists = assign(&brokers, lists.len() as i32, factor, start).map_err(|error| {
            let class = match error {
                broker::assignment::AssignmentError::RacksIncomplete => "kafka.admin.AdminOperationException",
                _ => "org.apache.kafka.common.errors.InvalidReplicationFactorException",
            };
            Failure::new(class, error.to_string())
        })?;
        proposed
            .extend((0..).zip(lists).map(|(index, list)| (TopicPartition::new(topic.clone(), index), list)));
    }
    println!("Current partition replica assignment\n{}\n", json::assignments(&current));
    println!("Proposed partition reassignment configuration\n{}", json::assignments(&proposed));
    Ok(())
}

/// `1,2,3`.
pub fn broker_list(text: &str) -> Result<Vec<i32>, Failure> {
    let id = |id: &str| {
        id.parse().map_err(|_| {
            Failure::new("java.lang.NumberFormatException", format!("For input string: \"{id}\""))
        })
    };
    let ids = text.split(',').map(id).collect::<Result<Vec<i32>, Failure>>()?;
    let twice = duplicates(&ids);
    match twice.is_empty() {
        true => Ok(ids),
        false => {
            Err(Failure::refused(format!("Broker list contains duplicate entries: {}", super::join(twice))))
        }
    }
}

fn duplicates<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for item in items {
        if !seen.insert(item) {
            twice.insert(item.clone());
        }
    }
    twice.into_iter().collect()
}

/// Those of the brokers that are there, with their racks where those count.
pub async fn candidates(admin: &Admin, ids: &[i32], racks: bool) -> Result<Vec<Candidate>, Failure> {
    let metadata = admin.metadata(Some(&[] as &[Str])).await?;
    let found: Vec<Candidate> = metadata
        .brokers
        .values()
        .filter(|node| ids.contains(&node.id))
        .map(|node| Candidate {
            id: node.id,
            rack: node.rack.as_ref().filter(|_| racks).map(ToString::to_string),
        })
        .collect();
    let rackless = found.iter().filter(|broker| broker.rack.is_none()).count();
    if racks && rackless != 0 && rackless != found.len() {
        return Err(Failure::operation(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica \
             assignment without rack information.",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_brokers_names_each_once() {
        let why = |text: &str| match broker_list(text) {
            Err(Failure::Exception(exception)) => exception.message,
            other => format!("{other:?}"),
        };
        assert_eq!(broker_list("3,1").unwrap(), [3, 1]);
        assert_eq!(why("1,2,1"), "Broker list contains duplicate entries: 1");
        assert_eq!(why("1,x"), "For input string: \"x\"");
    }
}
