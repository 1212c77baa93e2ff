//! How far the reassignments of a plan are.

use super::{Failure, dirs, join, json, ongoing, throttles};
use client::{Admin, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::ErrorCode;

/// One partition of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub current: Vec<i32>,
    pub target: Vec<i32>,
    /// Nothing is under way.
    pub done: bool,
}

pub async fn verify(
    admin: &Admin,
    text: &str,
    preserve_throttles: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let plan = json::plan(text)?;
    let ongoing = ongoing(admin).await?;
    let mut states = BTreeMap::new();
    let rest: BTreeSet<Str> = plan
        .partitions
        .iter()
        .filter(|(partition, _)| !ongoing.contains_key(partition))
        .map(|(partition, _)| partition.topic.clone())
        .collect();
    let metadata = admin.metadata(Some(&rest.into_iter().collect::<Vec<_>>())).await?;
    for (partition, target) in &plan.partitions {
        let found = metadata.partition(&partition.topic, partition.partition);
        let topic = metadata.topics.get(&partition.topic).map(|topic| topic.error);
        let current = match (ongoing.get(partition), found, topic) {
            (Some(ongoing), ..) => ongoing.replicas.clone(),
            (None, Some(found), _) => found.replicas.clone(),
            (None, None, None | Some(ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)) => Vec::new(),
            (None, None, Some(code)) => return Err(client::ClientError::from(code).into()),
        };
        let done = !ongoing.contains_key(partition);
        states.insert(partition.clone(), State { current, target: target.clone(), done });
    }
    let moves = dirs::states(admin, &plan.dirs).await?;
    if as_json {
        println!("{}", json::verified(&states, &moves));
    } else {
        println!("{}", describe(&states));
        let lines: Vec<String> = moves.iter().map(|(replica, state)| state.describe(replica)).collect();
        println!("{}", lines.join("\n"));
    }
    let moving = moves.values().any(|state| !state.is_done());
    if ongoing.is_empty() && !moving && !preserve_throttles {
        throttles::clear(admin, &plan.partitions, as_json).await?;
    }
    Ok(())
}

fn describe(states: &BTreeMap<TopicPartition, State>) -> String {
    let mut lines = vec!["Status of partition reassignment:".to_owned()];
    for (partition, State { current, target, done }) in states {
        lines.push(if !done {
            format!("Reassignment of partition {partition} is still in progress.")
        } else if current == target {
            format!("Reassignment of partition {partition} is completed.")
        } else {
            format!(
                "There is no active reassignment of partition {partition}, but replica set is {} rather than {}.",
                join(current),
                join(target)
            )
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_is_done_under_way_or_somewhere_else() {
        let state = |current: &[i32], done| State { current: current.to_vec(), target: vec![2, 1], done };
        let states = BTreeMap::from([
            (TopicPartition::new("t", 0), state(&[2, 1], true)),
            (TopicPartition::new("t", 1), state(&[2, 1, 3], false)),
            (TopicPartition::new("t", 2), state(&[1, 3], true)),
        ]);
        let text = "Status of partition reassignment:\nReassignment of partition t-0 is completed.\nReassignment of \
                    partition t-1 is still in progress.\nThere is no active reassignment of partition t-2, but replica \
                    set is 1,3 rather than 2,1.";
        assert_eq!(describe(&states), text);
    }
}
