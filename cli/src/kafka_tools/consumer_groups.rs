//! `kafka-consumer-groups`: lists, describes and deletes consumer groups, and sets their offsets.

use super::group_options::{self, TABLE};
use super::{Stop, admin_options, end, help_or_version, run, throwable, trace_of};
use super::{group_json, group_offsets};
use crate::Call;
use base::Given;
use client::group::read_assignment;
use client::{Admin, ClientError, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;
use wire::Str;
use wire::kafka::ErrorCode;
use wire::kafka::describe_groups::DescribedGroup;

pub const MISSING: &str = "-";

/// Why the command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The message, and Java's exception with it and its causes.
    Failed { message: String, trace: String },
    /// The options cannot be carried out: the message and the table of options.
    Illegal(String),
}

impl Failure {
    /// By the exception's full name.
    pub fn failed(exception: &str, message: String) -> Failure {
        Failure::Failed { trace: format!("{exception}: {message}"), message }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = throwable(&error);
        let mut trace = format!("java.util.concurrent.ExecutionException: {message}");
        let mut next = Some(&error);
        while let Some(cause) = next {
            trace += &format!("\nCaused by: {}", throwable(cause));
            next = cause.cause();
        }
        Failure::Failed { message, trace }
    }
}

impl From<base::OptionError> for Failure {
    fn from(error: base::OptionError) -> Failure {
        Failure::Failed { message: error.to_string(), trace: trace_of(&error) }
    }
}

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, groups(call))
}

fn groups(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    group_options::check(&given)?;
    help_or_version(
        call,
        &given,
        "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset \
         consumer group offsets.",
    )?;
    let actions = ["list", "describe", "delete", "reset-offsets", "delete-offsets"];
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        let why = "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets";
        return Err(Stop::Usage(why.to_owned()));
    }
    let mut options = admin_options(&given, "command-config")?;
    let work = async {
        options.api_timeout = Duration::from_millis(given.number("timeout")?.unwrap_or(5000).max(0) as u64);
        execute(&Admin::new(options), &given).await
    };
    match run(work)? {
        Ok(()) => Ok(()),
        Err(Failure::Illegal(why)) => Err(Stop::Usage(why)),
        // The real tool tells of a failure, and ends as if there were none.
        Err(Failure::Failed { message, trace }) => {
            say_error(&format!("Executing consumer group command failed due to {message}"));
            eprintln!("{trace}");
            Ok(())
        }
    }
}

pub fn say_error(message: &str) {
    println!("\nError: {message}");
}

async fn execute(admin: &Admin, given: &Given) -> Result<(), Failure> {
    if given.has("list") {
        list(admin, given).await
    } else if given.has("describe") {
        describe(admin, given).await
    } else if given.has("delete") {
        delete(admin, given).await
    } else if given.has("reset-offsets") {
        group_offsets::reset(admin, given).await
    } else {
        group_offsets::delete(admin, given).await
    }
}

/// The groups that the options name.
pub async fn named(admin: &Admin, given: &Given) -> Result<BTreeSet<Str>, Failure> {
    match given.has("all-groups") {
        true => Ok(admin.list_groups(&[]).await?.into_keys().collect()),
        false => Ok(given.texts("group").iter().map(|group| group.as_str().into()).collect()),
    }
}

const STATES: [&str; 5] = ["PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty"];

async fn list(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let mut states = Vec::new();
    for word in
        given.text("state")?.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
    {
        let state = STATES.iter().find(|state| **state == word).ok_or_else(|| {
            let (input, valid) = (given.text("state").ok().flatten().unwrap_or_default(), STATES.join(", "));
            Failure::Illegal(format!("Invalid state list '{input}'. Valid states are: {valid}"))
        })?;
        states.push(Str::from(*state));
    }
    let groups = admin.list_groups(&states).await?;
    if given.has("json") {
        group_json::list(&groups);
    } else if given.has("state") {
        let width = groups.keys().map(|group| group.len()).max().unwrap_or(0).max(15);
        println!("{:<width$} STATE", "GROUP");
        groups.values().for_each(|group| println!("{:<width$} {}", group.group_id, group.group_state));
    } else {
        groups.keys().for_each(|group| println!("{group}"));
    }
    Ok(())
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Failure> {
    if given.has("json") {
        return group_json::describe(admin, given).await;
    }
    for group in named(admin, given).await? {
        let described = admin.describe_group(&group).await?;
        if given.has("members") {
            print_members(&group, &described, given.has("verbose"))?;
        } else if given.has("state") {
            print_state(admin, &group, &described).await?;
        } else {
            print_offsets(admin, &group, &described).await?;
        }
    }
    Ok(())
}

/// Tells what is special about the group's state; is there anything to print of so many rows?
fn has_rows(group: &str, described: &DescribedGroup, rows: usize) -> bool {
    match &*described.group_state {
        "Dead" => say_error(&format!("Consumer group '{group}' does not exist.")),
        "Empty" => eprintln!("\nConsumer group '{group}' has no active members."),
        "PreparingRebalance" | "CompletingRebalance" => {
            eprintln!("\nWarning: Consumer group '{group}' is rebalancing.");
        }
        _ => {}
    }
    &*described.group_state != "Dead" && rows > 0
}

/// Where a group is in one partition, and who reads it.
pub struct Row {
    pub partition: TopicPartition,
    pub offset: Option<i64>,
    pub end: i64,
    /// Member, host and client id; `-` each where nobody reads.
    pub consumer: [String; 3],
}

async fn print_offsets(admin: &Admin, group: &Str, described: &DescribedGroup) -> Result<(), Failure> {
    let rows = rows(admin, group, described).await?;
    if has_rows(group, described, rows.len()) {
        print_rows(group, &rows);
    }
    Ok(())
}

/// The partitions that members read, then those that only have an offset.
pub async fn rows(admin: &Admin, group: &Str, described: &DescribedGroup) -> Result<Vec<Row>, Failure> {
    let committed = admin.group_offsets(group).await?;
    let mut members = Vec::new();
    for member in &described.members {
        let partitions = read_assignment(&member.member_assignment)?;
        let consumer = [&member.member_id, &member.client_host, &member.client_id].map(ToString::to_string);
        members.push((partitions, consumer));
    }
    members.sort_by_key(|(partitions, _)| std::cmp::Reverse(partitions.len()));
    let mut of_rows: Vec<(TopicPartition, [String; 3])> = Vec::new();
    for (mut partitions, consumer) in members {
        partitions.sort_by_key(|partition| partition.partition);
        of_rows.extend(partitions.into_iter().map(|partition| (partition, consumer.clone())));
    }
    let assigned: BTreeSet<TopicPartition> = of_rows.iter().map(|(partition, _)| partition.clone()).collect();
    let nobody = [MISSING; 3].map(String::from);
    let unassigned = committed.keys().filter(|partition| !assigned.contains(partition));
    of_rows.extend(unassigned.map(|partition| (partition.clone(), nobody.clone())));
    let ends =
        admin.list_offsets(&of_rows.iter().map(|(partition, _)| (partition.clone(), -1)).collect()).await?;
    let mut rows = Vec::new();
    for (partition, consumer) in of_rows {
        let end = ends[&partition].clone()?.offset;
        let offset = committed.get(&partition).map(|committed| committed.offset);
        rows.push(Row { partition, offset, end, consumer });
    }
    Ok(rows)
}

fn print_rows(group: &str, rows: &[Row]) {
    let widest = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0).max(15);
    let g = group.len().max(15);
    let t = widest(&|row| row.partition.topic.len());
    let c = widest(&|row| row.consumer[0].len());
    let h = widest(&|row| row.consumer[1].len());
    let line = |columns: [&str; 9]| {
        let [group, topic, partition, offset, end, lag, consumer, host, client] = columns;
        format!(
            "{group:<g$} {topic:<t$} {partition:<10} {offset:<15} {end:<15} {lag:<15} {consumer:<c$} {host:<h$} {client}"
        )
    };
    let titles = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    println!("\n{}", line(titles));
    for row in rows {
        let shown = |number: Option<i64>| number.map_or(MISSING.to_owned(), |number| number.to_string());
        let [consumer, host, client] = &row.consumer;
        let (offset, lag) = (shown(row.offset), shown(row.offset.map(|offset| row.end - offset)));
        let (partition, end) = (row.partition.partition.to_string(), row.end.to_string());
        println!(
            "{}",
            line([group, &row.partition.topic, &partition, &offset, &end, &lag, consumer, host, client])
        );
    }
}

fn print_members(group: &str, described: &DescribedGroup, verbose: bool) -> Result<(), Failure> {
    if !has_rows(group, described, described.members.len()) {
        return Ok(());
    }
    let members = &described.members;
    let instance = |member: &wire::kafka::describe_groups::DescribedGroupMember| {
        member.group_instance_id.clone().unwrap_or_default()
    };
    let g = group.len().max(15);
    let c = members.iter().map(|member| member.member_id.len()).max().unwrap_or(0).max(15);
    let i = members.iter().map(|member| instance(member).len()).max().unwrap_or(0).max(17);
    let h = members.iter().map(|member| member.client_host.len()).max().unwrap_or(0).max(15);
    let n = members.iter().map(|member| member.client_id.len()).max().unwrap_or(0).max(15);
    let with_instances = members.iter().any(|member| !instance(member).is_empty());
    let line = |[group, consumer, instance, host, client, count]: [&str; 6]| {
        let instance = if with_instances { format!("{instance:<i$} ") } else { String::new() };
        format!("{group:<g$} {consumer:<c$} {instance}{host:<h$} {client:<n$} {count:<15} ")
    };
    let title = if verbose { "ASSIGNMENT" } else { "" };
    println!(
        "\n{}{title}",
        line(["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"])
    );
    for member in members {
        let partitions = read_assignment(&member.member_assignment)?;
        let columns = line([
            group,
            &member.member_id,
            &instance(member),
            &member.client_host,
            &member.client_id,
            &partitions.len().to_string(),
        ]);
        println!("{columns}{}", if verbose { assignment(&partitions) } else { String::new() });
    }
    Ok(())
}

/// `p1(0,1), p2(0)`
fn assignment(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&Str, BTreeSet<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().insert(partition.partition);
    }
    if topics.is_empty() {
        return MISSING.to_owned();
    }
    let shown = topics.iter().map(|(topic, partitions)| {
        let list: Vec<String> = partitions.iter().map(i32::to_string).collect();
        format!("{topic}({})", list.join(","))
    });
    shown.collect::<Vec<_>>().join(", ")
}

async fn print_state(admin: &Admin, group: &Str, described: &DescribedGroup) -> Result<(), Failure> {
    let node = admin.group_coordinator(group).await?;
    if has_rows(group, described, 1) {
        let coordinator = format!("{}:{} ({})", node.host, node.port, node.id);
        let width = coordinator.len().max(25);
        let line = |[group, coordinator, strategy, state, members]: [&str; 5]| {
            print!("\n{group:<width$} {coordinator:<25} {strategy:<20} {state:<15} {members}");
        };
        line(["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"]);
        let members = described.members.len().to_string();
        line([group, &coordinator, &described.protocol_data, &described.group_state, &members]);
        println!();
    }
    Ok(())
}

async fn delete(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in named(admin, given).await? {
        match admin.delete_group(&group).await {
            Ok(()) => deleted.push(group),
            Err(error) => failed.push((group, error)),
        }
    }
    let quoted = |groups: &[Str]| format!("'{}'", groups.join("', '"));
    if failed.is_empty() {
        println!("Deletion of requested consumer groups ({}) was successful.", quoted(&deleted));
        return Ok(());
    }
    say_error("Deletion of some consumer groups failed:");
    for (group, error) in failed {
        let cause = format!("java.util.concurrent.ExecutionException: {}", throwable(&error));
        println!("* Group '{group}' could not be deleted due to: {cause}");
    }
    if !deleted.is_empty() {
        println!("\nThese consumer groups were deleted successfully: {}", quoted(&deleted));
    }
    Ok(())
}

/// The partitions of these topics; fails for the first one that is not there.
pub async fn partitions_of(admin: &Admin, topic: &str) -> Result<Vec<TopicPartition>, ClientError> {
    let name = Str::from(topic);
    let metadata = admin.metadata(Some(std::slice::from_ref(&name))).await?;
    let topic = metadata.topics.get(&name).ok_or(ClientError::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
    topic.error.ok()?;
    Ok(topic.partitions.keys().map(|partition| TopicPartition::new(name.clone(), *partition)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_lists_partitions_by_topic() {
        let partitions =
            [("b", 1), ("a", 2), ("b", 0)].map(|(topic, index)| TopicPartition::new(topic, index));
        assert_eq!(assignment(&partitions), "a(2), b(0,1)");
        assert_eq!(assignment(&[]), "-");
    }
}
