//! `kafka-streams-application-reset`: sets a Kafka Streams application's offsets back, and deletes its internal topics.

use super::consumer_groups::Failure;
use super::group_offsets::{parse_duration, parse_moment};
use super::{
    Stop, VERSION, admin_of, end, java_hash, java_order, partition_hash, properties_of, rule_out, run,
    throwable,
};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use client::cluster::Target;
use client::{Admin, ClientError, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use wire::Str;
use wire::kafka::LeaveGroupRequest;
use wire::kafka::describe_groups::DescribedGroupMember;
use wire::kafka::leave_group::MemberIdentity;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text("application-id", "id", "REQUIRED: the application, and so its group.").unless("help"),
    ToolOption::text("bootstrap-server", "server to connect to", "The brokers to start with.")
        .or("localhost:9092"),
    ToolOption::text("bootstrap-servers", "urls", "DEPRECATED: bootstrap-server by its old name."),
    ToolOption::text("by-duration", "", "To so long before now: PnDTnHnMnS."),
    ToolOption::text("config-file", "file name", "File with settings of admin client and consumer."),
    ToolOption::flag("dry-run", "Shows what would be done."),
    ToolOption::flag("force", "Removes members that the group still has. Stop the application first."),
    ToolOption::text("from-file", "", "To what a file says: topic,partition,offset in each line."),
    ToolOption::text(
        "input-topics",
        "list",
        "Topics to read again, from the first record unless told otherwise.",
    ),
    ToolOption::text("intermediate-topics", "list", "DEPRECATED: topics whose end is gone to."),
    ToolOption::text("internal-topics", "list", "Of the internal topics, delete only these."),
    ToolOption::long("shift-by", "number-of-offsets", "So many records on, or back."),
    ToolOption::text("to-datetime", "", "To the first record from this moment on: YYYY-MM-DDTHH:mm:SS.sss."),
    ToolOption::flag("to-earliest", "To the first record."),
    ToolOption::flag("to-latest", "Behind the last record."),
    ToolOption::long("to-offset", "", "To this offset."),
]);

const SCENARIOS: [&str; 7] =
    ["to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "from-file", "shift-by"];

const ABOUT: &str = "Lets a Kafka Streams application begin anew: its group's offsets go back to the first record of its \
input topics, or to where an option says, and its internal topics are deleted. Its state on disk is its own to clean up. \
Try --dry-run first.";

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, reset(call))
}

/// An exception that ends the tool with `ERROR: ` and its trace.
type Thrown = String;

type Offsets = BTreeMap<TopicPartition, i64>;

fn reset(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args).map_err(|error| Stop::Usage(error.to_string()))?;
    if given.has("help") {
        return Err(Stop::Usage(ABOUT.to_owned()));
    }
    if given.has("version") {
        println!("{VERSION}");
        return Ok(());
    }
    for scenario in SCENARIOS {
        rule_out(&given, scenario, &SCENARIOS)?;
    }
    let bootstrap = match given.has("bootstrap-server") {
        false if given.has("bootstrap-servers") => given.text("bootstrap-servers")?,
        _ => given.text("bootstrap-server")?,
    };
    let config = given.text("config-file")?;
    let admin = properties_of(config).and_then(|_| admin_of(bootstrap.unwrap_or_default(), config));
    let admin = admin.map_err(|stop| match stop {
        Stop::Uncaught(exception, why) => {
            let first = why.split('\n').next().unwrap_or_default();
            eprintln!("ERROR: {exception}: {first}\n{exception}: {why}");
            Stop::Exit(1)
        }
        stop => stop,
    })?;
    let done = run(Reset::new(&given, Admin::new(admin))?.run())?;
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::Exit(1)),
        Err(trace) => {
            eprintln!("ERROR: {}\n{trace}", trace.split('\n').next().unwrap_or_default());
            Err(Stop::Exit(1))
        }
    }
}

fn list(given: &Given, option: &str) -> Vec<String> {
    let all = given.texts(option).iter().flat_map(|text| text.split(','));
    all.map(str::to_owned).collect()
}

fn shown(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// Java's words for one of its own exceptions.
fn illegal(class: &str, why: &str) -> Thrown {
    format!("java.lang.{class}: {why}")
}

fn executed(error: ClientError) -> Thrown {
    let cause = throwable(&error);
    format!("java.util.concurrent.ExecutionException: {cause}\nCaused by: {cause}")
}

struct Reset<'a> {
    given: &'a Given,
    admin: Admin,
    group: Str,
    inputs: Vec<String>,
    intermediates: Vec<String>,
    dry_run: bool,
}

impl Reset<'_> {
    fn new(given: &Given, admin: Admin) -> Result<Reset<'_>, Stop> {
        Ok(Reset {
            given,
            admin,
            group: given.text("application-id")?.unwrap_or_default().into(),
            inputs: list(given, "input-topics"),
            intermediates: list(given, "intermediate-topics"),
            dry_run: given.has("dry-run"),
        })
    }

    /// Was every topic there?
    async fn run(self) -> Result<bool, Thrown> {
        self.remove_members().await?;
        let metadata = self.admin.metadata(None).await.map_err(executed)?;
        let partitions: BTreeMap<String, Vec<i32>> = (metadata.topics.iter())
            .filter(|(_, topic)| !topic.is_internal)
            .map(|(name, topic)| (name.to_string(), topic.partitions.keys().copied().collect()))
            .collect();
        if self.dry_run {
            println!(
                "----Dry run displays the actions which will be performed when running Streams Reset Tool----"
            );
        }
        let all_there = self.set_offsets(&partitions).await?;
        self.delete_internal(&partitions).await?;
        Ok(all_there)
    }

    async fn remove_members(&self) -> Result<(), Thrown> {
        let members = self.admin.describe_group(&self.group).await.map_err(executed)?.members;
        if members.is_empty() {
            return Ok(());
        }
        if !self.given.has("force") {
            let members: Vec<String> = members.iter().map(member_text).collect();
            return Err(illegal(
                "IllegalStateException",
                &format!(
                    "Consumer group '{}' is still active and has following members: {}. Make sure to stop all running \
                     application instances before running the reset tool. You can use option '--force' to remove active \
                     members from the group.",
                    self.group,
                    shown(&members)
                ),
            ));
        }
        println!("Force deleting all active members in the group: {}", self.group);
        let members = members.into_iter().map(|member| MemberIdentity {
            // A static member leaves by its instance's name.
            member_id: if member.group_instance_id.is_some() { Str::new() } else { member.member_id },
            group_instance_id: member.group_instance_id,
            reason: Some("member was removed by an admin".into()),
        });
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            members: members.collect(),
            ..Default::default()
        };
        let target = Target::Group(self.group.clone());
        let answer =
            self.admin.call(&target, &request, |answer| answer.error_code).await.map_err(executed)?;
        ClientError::check(answer.error_code, &None).map_err(executed)?;
        let each = answer.members.iter().try_for_each(|member| ClientError::check(member.error_code, &None));
        each.map_err(executed)
    }

    async fn set_offsets(&self, topics: &BTreeMap<String, Vec<i32>>) -> Result<bool, Thrown> {
        if self.inputs.is_empty() && self.intermediates.is_empty() {
            println!("No input or intermediate topics specified. Skipping seek.");
            return Ok(true);
        }
        if !self.inputs.is_empty() {
            println!("Reset-offsets for input topics {}", shown(&self.inputs));
        }
        if !self.intermediates.is_empty() {
            println!("Seek-to-end for intermediate topics {}", shown(&self.intermediates));
        }
        let mut all_there = true;
        for (names, what, space) in [(&self.inputs, "input", " "), (&self.intermediates, "intermediate", "")]
        {
            let missing: Vec<&String> = names.iter().filter(|name| !topics.contains_key(*name)).collect();
            if !missing.is_empty() {
                println!("Following {what} topics are not found, skipping them");
                missing.iter().for_each(|name| println!("Topic:{space}{name}"));
                all_there = false;
            }
        }
        let of = |names: &[String]| -> Vec<TopicPartition> {
            let names: BTreeSet<&String> = names.iter().collect();
            let mut found: Vec<TopicPartition> = names
                .into_iter()
                .flat_map(|name| {
                    topics.get(name).into_iter().flatten().map(|n| TopicPartition::new(name.as_str(), *n))
                })
                .collect();
            java_order(&mut found, 16, partition_hash);
            found
        };
        // A topic that is in both lists is an input topic.
        let inputs = of(&self.inputs);
        let mut intermediates = of(&self.intermediates);
        intermediates.retain(|partition| !inputs.contains(partition));
        if inputs.is_empty() && intermediates.is_empty() {
            return Ok(all_there);
        }
        let mut offsets = Offsets::new();
        if !inputs.is_empty() {
            println!("Following input topics offsets will be reset to (for consumer group {})", self.group);
            offsets = self.targets(&inputs).await?;
            for partition in &inputs {
                let TopicPartition { topic, partition: index } = partition;
                println!("Topic: {topic} Partition: {index} Offset: {}", offsets[partition]);
            }
        }
        if !intermediates.is_empty() {
            println!(
                "Following intermediate topics offsets will be reset to end (for consumer group {})",
                self.group
            );
            intermediates.iter().for_each(|partition| println!("Topic: {}", partition.topic));
            offsets.extend(self.listed(&intermediates, -1).await?);
        }
        if !self.dry_run {
            let committed = self.admin.alter_group_offsets(&self.group, &offsets).await;
            committed.map_err(|error| throwable(&error))?;
        }
        println!("Done.");
        Ok(all_there)
    }

    async fn listed(&self, partitions: &[TopicPartition], timestamp: i64) -> Result<Offsets, Thrown> {
        let asked = partitions.iter().map(|partition| (partition.clone(), timestamp)).collect();
        let found = self.admin.list_offsets(&asked).await.map_err(|error| throwable(&error))?;
        (found.into_iter())
            .map(|(partition, found)| Ok((partition, found.map_err(|error| throwable(&error))?.offset)))
            .collect()
    }

    /// Where the input topics are to be read from.
    async fn targets(&self, inputs: &[TopicPartition]) -> Result<Offsets, Thrown> {
        let given = self.given;
        let number = |option: &str| given.number(option).map_err(|error| error.to_string());
        let text = |option: &str| given.text(option).map_err(|error| error.to_string());
        if let Some(offset) = number("to-offset")? {
            let wanted = inputs.iter().map(|partition| (partition.clone(), offset)).collect();
            return self.in_range(inputs, wanted).await;
        }
        if given.has("to-latest") {
            return self.listed(inputs, -1).await;
        }
        if let Some(by) = number("shift-by")? {
            let committed = self.admin.group_offsets(&self.group).await.map_err(|error| throwable(&error))?;
            let mut current = self.listed(inputs, -1).await?;
            for (partition, offset) in &mut current {
                *offset = committed.get(partition).map_or(*offset, |committed| committed.offset);
                *offset = offset.saturating_add(by);
            }
            return self.in_range(inputs, current).await;
        }
        if let Some(moment) = text("to-datetime")? {
            let moment = parse_moment(moment).map_err(|failure| resetting_failed(trace(failure)))?;
            return self.from(inputs, moment).await;
        }
        if let Some(duration) = text("by-duration")? {
            let ago = parse_duration(duration).map_err(trace)?;
            return self.from(inputs, super::now_ms().saturating_sub(ago)).await;
        }
        if let Some(path) = text("from-file")? {
            let plan = read_plan(path)?;
            if let Some(missing) = inputs.iter().find(|partition| !plan.contains_key(partition)) {
                let why = format!("{path} says nothing of {missing}");
                return Err(illegal("NullPointerException", &why));
            }
            return self.in_range(inputs, plan).await;
        }
        self.listed(inputs, -2).await
    }

    /// The first records from a moment on; the end where there are none.
    async fn from(&self, inputs: &[TopicPartition], moment: i64) -> Result<Offsets, Thrown> {
        let (mut found, ends) = (self.listed(inputs, moment).await?, self.listed(inputs, -1).await?);
        for partition in inputs.iter().filter(|partition| found[partition] < 0) {
            println!(
                "Partition {} from topic {} is empty, without a committed record. Falling back to latest known offset.",
                partition.partition, partition.topic
            );
        }
        found.iter_mut().filter(|(_, offset)| **offset < 0).for_each(|(partition, offset)| {
            *offset = ends[partition];
        });
        Ok(found)
    }

    /// No offset stays before the first or behind the last record.
    async fn in_range(&self, inputs: &[TopicPartition], mut wanted: Offsets) -> Result<Offsets, Thrown> {
        let (starts, ends) = (self.listed(inputs, -2).await?, self.listed(inputs, -1).await?);
        wanted.retain(|partition, _| starts.contains_key(partition));
        let mut order: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let buckets = order.len().next_power_of_two();
        java_order(&mut order, buckets, partition_hash);
        for partition in order {
            let offset = wanted[&partition];
            let (start, end) = (starts[&partition], ends[&partition]);
            let (problem, valid) = match offset {
                _ if offset >= end => ("higher than latest", end),
                _ if offset <= start => ("lower than earliest", start),
                _ => continue,
            };
            println!("New offset ({offset}) is {problem} offset. Value will be set to {valid}");
            wanted.insert(partition, valid);
        }
        Ok(wanted)
    }

    async fn delete_internal(&self, topics: &BTreeMap<String, Vec<i32>>) -> Result<(), Thrown> {
        let mut inferred: Vec<String> = topics.keys().cloned().collect();
        java_order(&mut inferred, 16, |name| java_hash(name));
        inferred.retain(|name| {
            !self.inputs.contains(name)
                && !self.intermediates.contains(name)
                && name.strip_prefix(&*self.group).is_some_and(|rest| rest.starts_with('-'))
                && is_internal(name)
        });
        let specified = list(self.given, "internal-topics");
        let (what, topics) = match specified.is_empty() {
            true => ("inferred", inferred),
            false if specified.iter().all(|name| inferred.contains(name)) => ("specified", specified),
            false => {
                return Err(illegal(
                    "IllegalArgumentException",
                    "Invalid topic specified in the --internal-topics option. Ensure that the topics specified are all \
                     internal topics. Do a dry run without the --internal-topics option to see the list of all internal \
                     topics that can be deleted.",
                ));
            }
        };
        println!("Deleting {what} internal topics {}", shown(&topics));
        if !self.dry_run && !topics.is_empty() {
            self.delete(&topics).await?;
        }
        println!("Done.");
        Ok(())
    }

    async fn delete(&self, topics: &[String]) -> Result<(), Thrown> {
        let names: Vec<Str> = topics.iter().map(|name| name.as_str().into()).collect();
        let mut failed = false;
        for (name, deleted) in self.admin.delete_topics(&names).await.map_err(executed)? {
            if let Err(error) = deleted {
                eprintln!("ERROR: deleting topic {name}\n{}", executed(error));
                failed = true;
            }
        }
        match failed {
            true => Err(illegal("RuntimeException", "Encountered an error deleting one or more topics")),
            false => Ok(()),
        }
    }
}

fn trace(failure: Failure) -> Thrown {
    match failure {
        Failure::Failed { trace, .. } => trace,
        Failure::Illegal(why) => illegal("IllegalArgumentException", &why),
    }
}

fn resetting_failed(trace: Thrown) -> Thrown {
    eprintln!("ERROR: Resetting offsets failed.");
    trace
}

fn member_text(member: &DescribedGroupMember) -> String {
    let partitions = client::group::read_assignment(&member.member_assignment).unwrap_or_default();
    let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    format!(
        "(memberId={}, groupInstanceId={}, clientId={}, host={}, assignment=(topicPartitions={}))",
        member.member_id,
        member.group_instance_id.as_deref().unwrap_or("null"),
        member.client_id,
        member.client_host,
        partitions.join(",")
    )
}

/// What Kafka Streams calls its own topics, behind the application's id.
fn is_internal(name: &str) -> bool {
    let ends =
        ["-changelog", "-repartition", "-subscription-registration-topic", "-subscription-response-topic"];
    let numbered = ["REGISTRATION", "RESPONSE"].iter().any(|kind| {
        let middle = format!("-KTABLE-FK-JOIN-SUBSCRIPTION-{kind}-");
        let number = name.strip_suffix("-topic").and_then(|rest| rest.rsplit_once(middle.as_str()));
        number.is_some_and(|(before, digits)| {
            !before.is_empty() && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
        })
    });
    numbered || ends.iter().any(|end| name.ends_with(end))
}

fn read_plan(path: &str) -> Result<Offsets, Thrown> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => format!("java.nio.file.NoSuchFileException: {path}"),
            _ => format!("java.io.IOException: {error}"),
        };
        resetting_failed(format!("java.io.IOException: Unable to read file {path}\nCaused by: {cause}"))
    })?;
    parse_plan(&text)
}

fn parse_plan(text: &str) -> Result<Offsets, Thrown> {
    let wrong = |why: &str| resetting_failed(format!("java.text.ParseException: {why}"));
    if text.is_empty() {
        return Err(wrong("Error parsing reset plan CSV file. It is empty,"));
    }
    let mut plan = Offsets::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let [topic, partition, offset] = line.split(',').collect::<Vec<_>>()[..] else {
            return Err(wrong("Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`."));
        };
        let not = |text: &str| illegal("NumberFormatException", &format!("For input string: \"{text}\""));
        let index = partition.parse().map_err(|_| not(partition))?;
        plan.insert(TopicPartition::new(topic, index), offset.parse().map_err(|_| not(offset))?);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_are_known_by_the_ends_of_their_names() {
        for name in
            ["a-x-changelog", "a-KSTREAM-1-repartition", "a-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-07-topic"]
        {
            assert!(is_internal(name), "{name}");
        }
        for name in ["a-x", "a-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE--topic", "changelog"] {
            assert!(!is_internal(name), "{name}");
        }
    }

    #[test]
    fn a_plan_has_three_fields_in_each_line() {
        let plan = parse_plan("t,0,5\nt,1,7\n").unwrap();
        assert_eq!(plan[&TopicPartition::new("t", 1)], 7);
        assert!(parse_plan("t,0").unwrap_err().contains("TOPIC,PARTITION,OFFSET"));
        assert!(parse_plan("t,x,1").unwrap_err().contains("For input string: \"x\""));
        assert!(parse_plan("").unwrap_err().contains("It is empty"));
    }
}
