//! Starting reassignments, and taking them back.

use super::json::{self, Plan};
use super::throttles::{self, moves};
use super::{Failure, dirs, join, ongoing, s};
use client::{Admin, ClientError, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::ErrorCode;

const UNDER_WAY: &str = "Cannot execute because there is an existing partition assignment.  Use --additional to override \
                         this and create a new partition assignment in addition to the existing one. The --additional \
                         flag can also be used to change the throttle by resubmitting the current reassignment.";

/// How a plan is executed; rates are in bytes a second, negative for none.
pub struct Limits {
    pub additional: bool,
    pub between_brokers: i64,
    pub between_dirs: i64,
    pub timeout_ms: i64,
}

pub async fn execute(admin: &Admin, text: &str, limits: Limits) -> Result<(), Failure> {
    let plan = json::plan(text)?;
    let proposed = plan.checked()?;
    let ongoing = ongoing(admin).await?;
    if !limits.additional && !ongoing.is_empty() {
        return Err(Failure::Terse(UNDER_WAY.to_owned()));
    }
    check_brokers(admin, &plan).await?;
    let mut current = assignments(admin, proposed.keys().map(|partition| &partition.topic)).await?;
    current.retain(|partition, _| proposed.contains_key(partition));
    println!(
        "Current partition replica assignment\n\n{}\n\nSave this to use as the --reassignment-json-file option during \
         rollback",
        json::assignments(&current)
    );
    if limits.between_brokers >= 0 || limits.between_dirs >= 0 {
        println!(
            "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is \
             removed."
        );
        if limits.between_brokers >= 0 {
            let moves = moves(&ongoing, &proposed, &current)?;
            throttles::between_brokers(admin, &moves, limits.between_brokers).await?;
        }
        if limits.between_dirs >= 0 {
            let brokers: BTreeSet<i32> = plan.dirs.keys().map(|replica| replica.broker).collect();
            throttles::between_dirs(admin, &brokers, limits.between_dirs).await?;
        }
    }
    let wanted = proposed.iter().map(|(partition, replicas)| (partition.clone(), Some(replicas.clone())));
    let refused = refusals(admin, wanted.collect()).await?;
    if !refused.is_empty() {
        return Err(Failure::Terse(format!("Error reassigning partition(s):\n{}", refused.join("\n"))));
    }
    println!(
        "Successfully started partition reassignment{} for {}",
        s(proposed.len()),
        join(proposed.keys())
    );
    match plan.dirs.is_empty() {
        true => Ok(()),
        false => dirs::start(admin, plan.dirs, limits.timeout_ms).await,
    }
}

/// `partition: why` of those that were refused.
async fn refusals(
    admin: &Admin,
    wanted: BTreeMap<TopicPartition, Option<Vec<i32>>>,
) -> Result<Vec<String>, Failure> {
    let results = match admin.alter_reassignments(wanted.clone()).await {
        Ok(results) => results,
        // What goes for all goes for each.
        Err(error) => wanted.into_keys().map(|partition| (partition, Err(error.clone()))).collect(),
    };
    let why = |(partition, result): (TopicPartition, Result<(), ClientError>)| {
        result.err().map(|error| format!("{partition}: {error}"))
    };
    Ok(results.into_iter().filter_map(why).collect())
}

async fn check_brokers(admin: &Admin, plan: &Plan) -> Result<(), Failure> {
    let metadata = admin.metadata(Some(&[])).await?;
    let named = plan.partitions.iter().flat_map(|(_, replicas)| replicas);
    match named.into_iter().find(|id| !metadata.brokers.contains_key(id)) {
        Some(unknown) => Err(Failure::refused(format!("Unknown broker id {unknown}"))),
        None => Ok(()),
    }
}

/// The replicas of all partitions of these topics.
pub async fn assignments(
    admin: &Admin,
    topics: impl Iterator<Item = &Str>,
) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
    let topics: BTreeSet<Str> = topics.cloned().collect();
    let metadata = admin.metadata(Some(&topics.iter().cloned().collect::<Vec<_>>())).await?;
    let mut found = BTreeMap::new();
    for name in topics {
        let topic = metadata.topics.get(&name);
        match topic.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.error) {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                let why = Some(format!("Topic {name} not found.").into());
                return Err(ClientError::broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, &why).into());
            }
            code => return Err(ClientError::from(code).into()),
        }
        for (&index, partition) in topic.iter().flat_map(|topic| &topic.partitions) {
            found.insert(TopicPartition::new(name.clone(), index), partition.replicas.clone());
        }
    }
    Ok(found)
}

pub async fn cancel(
    admin: &Admin,
    text: &str,
    preserve_throttles: bool,
    timeout_ms: i64,
) -> Result<(), Failure> {
    let plan = json::plan(text)?;
    let ongoing = ongoing(admin).await?;
    let named: BTreeSet<&TopicPartition> = plan.partitions.iter().map(|(partition, _)| partition).collect();
    let active: Vec<&TopicPartition> = ongoing.keys().filter(|partition| named.contains(partition)).collect();
    if active.is_empty() {
        println!("None of the specified partition reassignments are active.");
    } else {
        let wanted = active.iter().map(|partition| ((*partition).clone(), None)).collect();
        let refused = refusals(admin, wanted).await?;
        if !refused.is_empty() {
            return Err(Failure::Terse(format!(
                "Error cancelling partition reassignment{} for:\n{}",
                s(refused.len()),
                refused.join("\n")
            )));
        }
        println!("Successfully cancelled partition reassignment{} for: {}", s(active.len()), join(&active));
    }
    let moving = dirs::under_way(admin, &plan.dirs).await?;
    if moving.is_empty() {
        println!("None of the specified partition moves are active.");
    } else {
        dirs::start(admin, moving, timeout_ms).await?;
    }
    match preserve_throttles {
        true => Ok(()),
        false => throttles::clear(admin, &plan.partitions, false).await,
    }
}
