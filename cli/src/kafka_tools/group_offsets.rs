//! `kafka-consumer-groups --reset-offsets` and `--delete-offsets`.

use super::consumer_groups::{Failure, named, partitions_of, say_error};
use super::throwable;
use base::Given;
use client::{Admin, ClientError, TopicPartition};
use jiff::{SpanRelativeTo, Timestamp};
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::ErrorCode;

type Offsets = BTreeMap<TopicPartition, i64>;

pub async fn reset(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let mut reset = BTreeMap::new();
    for group in named(admin, given).await? {
        let described = admin.describe_group(&group).await?;
        let state = &*described.group_state;
        if state != "Empty" && state != "Dead" {
            say_error(&format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            ));
            reset.insert(group, Offsets::new());
            continue;
        }
        let offsets = prepare(admin, given, &group).await?;
        if given.has("execute") && !given.has("dry-run") {
            admin.alter_group_offsets(&group, &offsets).await?;
        }
        reset.insert(group, offsets);
    }
    if given.has("export") {
        println!("{}", csv(&reset, given.texts("group").len() == 1));
    } else {
        print(&reset);
    }
    Ok(())
}

fn print(reset: &BTreeMap<Str, Offsets>) {
    if !reset.is_empty() {
        println!("\n{:<30} {:<30} {:<10} {:<15}", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    }
    for (group, offsets) in reset {
        for (TopicPartition { topic, partition }, offset) in offsets {
            println!("{group:<30} {topic:<30} {partition:<10} {offset:<15}");
        }
    }
}

/// The offsets that the options ask for.
async fn prepare(admin: &Admin, given: &Given, group: &Str) -> Result<Offsets, Failure> {
    let partitions = scope(admin, given, group).await?;
    let at = |place: i64| partitions.iter().map(|partition| (partition.clone(), place)).collect::<Offsets>();
    if let Some(offset) = given.number("to-offset")? {
        return in_range(admin, at(offset)).await;
    }
    if given.has("to-earliest") {
        return listed(admin, &at(-2)).await;
    }
    if given.has("to-latest") {
        return listed(admin, &at(-1)).await;
    }
    if let Some(by) = given.number("shift-by")? {
        let committed = admin.group_offsets(group).await?;
        let mut shifted = Offsets::new();
        for partition in partitions {
            let current = committed.get(&partition).ok_or_else(|| {
                Failure::Illegal(format!(
                    "Cannot shift offset for partition {partition} since there is no current committed offset"
                ))
            })?;
            shifted.insert(partition, current.offset.saturating_add(by));
        }
        return in_range(admin, shifted).await;
    }
    if let Some(moment) = given.text("to-datetime")? {
        return from(admin, at(parse_moment(moment)?)).await;
    }
    if let Some(duration) = given.text("by-duration")? {
        let ago = parse_duration(duration)?;
        return from(admin, at(Timestamp::now().as_millisecond().saturating_sub(ago))).await;
    }
    if let Some(path) = given.text("from-file")? {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("Unable to read file {path}");
            let cause = match error.kind() {
                std::io::ErrorKind::NotFound => format!("java.nio.file.NoSuchFileException: {path}"),
                _ => format!("java.io.IOException: {error}"),
            };
            Failure::Failed { trace: format!("java.io.IOException: {message}\nCaused by: {cause}"), message }
        })?;
        let mut plan = parse_csv(&text, given.texts("group"))?;
        let Some(offsets) = plan.remove(group) else {
            say_error(&format!("No reset plan for group {group} found"));
            return Ok(Offsets::new());
        };
        return in_range(admin, offsets).await;
    }
    if given.has("to-current") {
        let committed = admin.group_offsets(group).await?;
        let (with, without): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|p| committed.contains_key(p));
        let mut offsets: Offsets = with.into_iter().map(|p| (p.clone(), committed[&p].offset)).collect();
        offsets.extend(listed(admin, &without.into_iter().map(|partition| (partition, -1)).collect()).await?);
        return Ok(offsets);
    }
    // In the order of Scala's hash set.
    Err(Failure::Illegal(
        "Option '[reset-offsets]' requires one of the following scenarios: Set([by-duration], [to-offset], [from-file], \
         [to-datetime], [to-earliest], [to-current], [shift-by], [to-latest])"
            .to_owned(),
    ))
}

/// The partitions whose offsets are set.
async fn scope(admin: &Admin, given: &Given, group: &Str) -> Result<Vec<TopicPartition>, Failure> {
    if given.has("all-topics") {
        return Ok(admin.group_offsets(group).await?.into_keys().collect());
    }
    if !given.has("topic") {
        return match given.has("from-file") {
            true => Ok(Vec::new()),
            false => Err(Failure::Illegal(
                "One of the reset scopes should be defined: --all-topics, --topic.".to_owned(),
            )),
        };
    }
    let mut partitions = Vec::new();
    for topic in given.texts("topic") {
        match topic.contains(':') {
            true => partitions.extend(parse_partitions(topic)?),
            false => partitions.extend(partitions_of(admin, topic).await?),
        }
    }
    Ok(partitions)
}

/// `topic:0,1`
fn parse_partitions(text: &str) -> Result<Vec<TopicPartition>, Failure> {
    let wrong =
        || Failure::Illegal(format!("Invalid topic arg '{text}', expected topic name and partitions"));
    let (topic, partitions) =
        text.split_once(':').filter(|(_, rest)| !rest.contains(':')).ok_or_else(wrong)?;
    let parse = |partition: &str| {
        let number = partition.parse().map_err(|_| {
            Failure::Illegal(format!("Invalid partition '{partition}' specified in topic arg '{text}''"))
        })?;
        Ok(TopicPartition::new(topic, number))
    };
    partitions.split(',').map(parse).collect()
}

/// Offsets by timestamp (-1 latest, -2 earliest); any partition's error is the command's.
async fn listed(admin: &Admin, timestamps: &Offsets) -> Result<Offsets, Failure> {
    let found = admin.list_offsets(timestamps).await?;
    let offsets: Result<Offsets, ClientError> =
        found.into_iter().map(|(partition, found)| Ok((partition, found?.offset))).collect();
    Ok(offsets?)
}

/// The first records from a moment on; the end where there are none.
async fn from(admin: &Admin, timestamps: Offsets) -> Result<Offsets, Failure> {
    let mut offsets = listed(admin, &timestamps).await?;
    let none: Offsets = offsets
        .iter()
        .filter(|(_, offset)| **offset < 0)
        .map(|(partition, _)| (partition.clone(), -1))
        .collect();
    for TopicPartition { topic, partition } in none.keys() {
        println!(
            "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."
        );
    }
    offsets.extend(listed(admin, &none).await?);
    Ok(offsets)
}

/// No offset stays before the first or behind the last record.
async fn in_range(admin: &Admin, mut offsets: Offsets) -> Result<Offsets, Failure> {
    let at = |place: i64| offsets.keys().map(|partition| (partition.clone(), place)).collect::<Offsets>();
    let (starts, ends) = (listed(admin, &at(-2)).await?, listed(admin, &at(-1)).await?);
    for (partition, offset) in &mut offsets {
        let (start, end) = (starts[partition], ends[partition]);
        if (start..=end).contains(offset) {
            continue;
        }
        let (problem, valid) = match *offset > end {
            true => ("higher than latest", end),
            false => ("lower than earliest", start),
        };
        tracing::warn!(
            target: "kafka.admin.ConsumerGroupCommand$",
            "New offset ({offset}) is {problem} offset for topic partition {partition}. Value will be set to {valid}"
        );
        *offset = valid;
    }
    Ok(offsets)
}

/// `2026-01-31T12:00:00.000`, in UTC unless an offset follows; in milliseconds.
pub fn parse_moment(text: &str) -> Result<i64, Failure> {
    let Some((_, time)) = text.split_once('T') else {
        let why = "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format";
        return Err(Failure::failed("java.text.ParseException", why.to_owned()));
    };
    let zoned = if time.contains(['+', '-', 'Z']) { text.to_owned() } else { format!("{text}Z") };
    match zoned.parse::<Timestamp>() {
        // Milliseconds have to be written.
        Ok(moment) if time.contains('.') => Ok(moment.as_millisecond()),
        _ => Err(Failure::failed("java.text.ParseException", format!("Unparseable date: \"{zoned}\""))),
    }
}

/// `P1DT2H`, in milliseconds; a day has 24 hours.
pub fn parse_duration(text: &str) -> Result<i64, Failure> {
    let wrong = || {
        let why = "Text cannot be parsed to a Duration".to_owned();
        Failure::failed("java.time.format.DateTimeParseException", why)
    };
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    i64::try_from(duration.as_millis()).map_err(|_| wrong())
}

/// `topic,partition,offset` of one group, `group,topic,partition,offset` of several.
fn csv(reset: &BTreeMap<Str, Offsets>, one_group: bool) -> String {
    let mut text = String::new();
    for (group, offsets) in reset {
        for (TopicPartition { topic, partition }, offset) in offsets {
            if !one_group {
                text += &format!("{},", quoted(group));
            }
            text += &format!("{},{partition},{offset}\n", quoted(topic));
        }
    }
    text
}

/// The real tool's CSV writer quotes what is long, too.
fn quoted(text: &str) -> String {
    match text.len() > 24 || text.bytes().any(|byte| byte <= b',') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// `topic,partition,offset` if there is one group and the first line reads so, else `group,topic,partition,offset`, of
/// which fields that are missing are nothing or zero, as in the real tool's CSV reader.
fn parse_csv(text: &str, groups: &[String]) -> Result<BTreeMap<Str, Offsets>, Failure> {
    let fields = |line: &str| -> Vec<String> {
        line.split(',').map(|field| field.trim().trim_matches('"').to_owned()).collect()
    };
    let lines: Vec<Vec<String>> = text.lines().filter(|line| !line.trim().is_empty()).map(fields).collect();
    let is_number = |field: &String| field.parse::<i64>().is_ok();
    let without_group =
        lines.first().is_some_and(|first| first.len() <= 3 && first[1..].iter().all(is_number));
    let mut plan: BTreeMap<Str, Offsets> = BTreeMap::new();
    for line in lines {
        let (group, rest) = match groups {
            [group] if without_group => (group.as_str(), &line[..]),
            _ => (line[0].as_str(), &line[1..]),
        };
        let number = |at: usize| {
            match rest.get(at) {
            None => Ok(0),
            Some(field) => field.parse::<i64>().map_err(|_| {
                let why = format!("Cannot deserialize value of type `long` from String \"{field}\": not a valid `long` value");
                Failure::failed("com.fasterxml.jackson.databind.exc.InvalidFormatException", why)
            }),
        }
        };
        let topic = rest.first().map_or("", String::as_str);
        let partition = TopicPartition::new(topic, number(1)? as i32);
        plan.entry(group.into()).or_default().insert(partition, number(2)?);
    }
    Ok(plan)
}

pub async fn delete(admin: &Admin, given: &Given) -> Result<(), Failure> {
    let group = given.text("group")?.unwrap_or_default();
    let mut results: BTreeMap<TopicPartition, Result<(), ClientError>> = BTreeMap::new();
    let mut partitions = Vec::new();
    for topic in given.texts("topic") {
        if topic.contains(':') {
            partitions.extend(parse_partitions(topic)?);
            continue;
        }
        match partitions_of(admin, topic).await {
            Ok(all) => partitions.extend(all),
            Err(error) => {
                results.insert(TopicPartition::new(topic.as_str(), -1), Err(error));
            }
        }
    }
    let deleted = admin.delete_group_offsets(&group.into(), &partitions).await;
    let code = |error: &ClientError| match error {
        ClientError::TimedOut(_) => ErrorCode::REQUEST_TIMED_OUT,
        error => error.code().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR),
    };
    let first_error = match &deleted {
        Err(error) => code(error),
        Ok(deleted) => {
            deleted.values().find_map(|result| result.as_ref().err().map(code)).unwrap_or_default()
        }
    };
    for partition in partitions {
        let result = match &deleted {
            Err(error) => Err(error.clone()),
            Ok(deleted) => {
                deleted.get(&partition).cloned().unwrap_or(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into()))
            }
        };
        results.insert(partition, result);
    }
    match first_error {
        ErrorCode::NONE => {
            println!(
                "Request succeed for deleting offsets with topic {} group {group}",
                given.texts("topic").join(", ")
            );
        }
        ErrorCode::INVALID_GROUP_ID => say_error(&format!("'{group}' is not valid.")),
        ErrorCode::GROUP_ID_NOT_FOUND => say_error(&format!("'{group}' does not exist.")),
        ErrorCode::GROUP_AUTHORIZATION_FAILED => {
            say_error(&format!("Access to '{group}' is not authorized."))
        }
        ErrorCode::NON_EMPTY_GROUP => say_error(&format!(
            "Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty."
        )),
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
        | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            say_error("Encounter some partition level error, see the follow-up details:");
        }
        other => say_error(&format!("Encounter some unknown error: {}", other.name())),
    }
    println!("\n{:<30} {:<15} {:<15}", "TOPIC", "PARTITION", "STATUS");
    for (TopicPartition { topic, partition }, result) in results {
        let partition = if partition < 0 { "Not Provided".to_owned() } else { partition.to_string() };
        let status = match result {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", throwable(&error)),
        };
        println!("{topic:<30} {partition:<15} {status:<15}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_utc_unless_it_says_otherwise_and_has_milliseconds() {
        assert_eq!(parse_moment("2020-01-01T00:00:00.000").ok(), Some(1_577_836_800_000));
        assert_eq!(parse_moment("2020-01-01T01:00:00.000+01:00").ok(), Some(1_577_836_800_000));
        assert!(parse_moment("2020-01-01").is_err() && parse_moment("2020-01-01T00:00:00").is_err());
    }

    #[test]
    fn a_duration_has_days_of_24_hours() {
        assert_eq!(parse_duration("P1DT1H").ok(), Some(25 * 3_600_000));
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn what_is_exported_can_be_read_again() {
        let long = "a-topic-with-a-name-of-more-than-24";
        let offsets = Offsets::from([(TopicPartition::new("t", 0), 5), (TopicPartition::new(long, 1), 6)]);
        let reset = BTreeMap::from([(Str::from("g"), offsets)]);
        assert_eq!(csv(&reset, true), format!("\"{long}\",1,6\nt,0,5\n"));
        assert_eq!(parse_csv(&csv(&reset, true), &["g".to_owned()]).ok(), Some(reset.clone()));
        assert_eq!(parse_csv(&csv(&reset, false), &[]).ok(), Some(reset));
        assert!(parse_csv("t,0,x", &["g".to_owned()]).is_err());
    }
}
