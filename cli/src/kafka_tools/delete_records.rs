//! `kafka-delete-records`: deletes the records before given offsets.

use super::{Stop, admin_options, end, help_or_version, json, require, run, throwable};
use crate::Call;
use base::{ToolOption, ToolOptions};
use client::{Admin, TopicPartition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "bootstrap-server",
        "server(s) to use for bootstrapping",
        "REQUIRED: the brokers to start with.",
    ),
    ToolOption::text(
        "command-config",
        "command config property file path",
        "File with settings for the admin client.",
    ),
    json::OPTION,
    ToolOption::text(
        "offset-json-file",
        "Offset json file path",
        "REQUIRED: what to delete: {\"partitions\": [{\"topic\": \"t\", \"partition\": 1, \"offset\": 1}], \"version\": 1}; offset -1: all.",
    ),
]);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, delete(call))
}

fn delete(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(
        call,
        &given,
        "This tool helps to delete records of the given partitions down to the specified offset.",
    )?;
    require(&given, &["bootstrap-server", "offset-json-file"])?;
    let options = admin_options(&given, "command-config")?;
    let before = parse(&read_file(given.text("offset-json-file")?.unwrap_or_default())?)?;
    let as_json = given.has("json");
    run(async move {
        if !as_json {
            println!("Executing records delete operation");
        }
        let deleted = Admin::new(options).delete_records(&before).await;
        let results = before.keys().map(|partition| {
            let result = match &deleted {
                Ok(results) => results.get(partition).cloned(),
                Err(error) => Some(Err(error.clone())),
            };
            let result = match result {
                Some(Ok(low)) => Ok(low),
                Some(Err(error)) => Err(throwable(&error)),
                None => Err("the broker said nothing of it".to_owned()),
            };
            (partition, result)
        });
        if as_json {
            json::print(&document(results));
            return;
        }
        println!("Records delete operation completed:");
        for (partition, result) in results {
            match result {
                Ok(low) => println!("partition: {partition}\tlow_watermark: {low}"),
                Err(error) => println!("partition: {partition}\terror: {error}"),
            }
        }
    })
}

/// Each partition with its low watermark, or what was wrong.
fn document<'a>(results: impl Iterator<Item = (&'a TopicPartition, Result<i64, String>)>) -> Value {
    let entry = |(partition, result): (&TopicPartition, Result<i64, String>)| {
        let mut entry = json::partition(partition);
        match result {
            Ok(low) => entry["low_watermark"] = low.into(),
            Err(error) => entry["error"] = error.into(),
        }
        entry
    };
    json!({ "partitions": results.map(entry).collect::<Vec<Value>>() })
}

/// A file's text, or Java's complaint.
pub(super) fn read_file(path: &str) -> Result<String, Stop> {
    std::fs::read_to_string(path).map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => format!("java.nio.file.NoSuchFileException: {path}"),
            _ => format!("java.io.IOException: {error}"),
        };
        Stop::Uncaught("java.io.IOException", format!("Unable to read file {path}\nCaused by: {cause}"))
    })
}

fn parse(text: &str) -> Result<BTreeMap<TopicPartition, i64>, Stop> {
    let refused = |why: &str| Stop::Uncaught("kafka.admin.AdminOperationException", why.to_owned());
    let json: Value =
        serde_json::from_str(text).map_err(|_| refused("The input string is not a valid JSON"))?;
    match json.get("version") {
        None => {}
        Some(version) if version.as_i64() == Some(1) => {}
        Some(version) => return Err(refused(&format!("Not supported version field value {version}"))),
    }
    let partitions = json.get("partitions").and_then(Value::as_array);
    let (mut before, mut twice) = (BTreeMap::new(), Vec::new());
    for entry in partitions.ok_or_else(|| refused("Missing partitions field"))? {
        let (partition, offset) = (topic_partition(entry)?, entry.get("offset").and_then(Value::as_i64));
        let offset = offset.ok_or_else(|| malformed("offset", entry))?;
        if before.insert(partition.clone(), offset).is_some() {
            twice.push(partition.to_string());
        }
    }
    match twice.is_empty() {
        true => Ok(before),
        false => Err(Stop::Uncaught(
            "kafka.common.AdminCommandFailedException",
            format!("Offset json file contains duplicate topic partitions: {}", twice.join(",")),
        )),
    }
}

fn malformed(field: &str, entry: &Value) -> Stop {
    Stop::Uncaught(
        "com.fasterxml.jackson.databind.JsonMappingException",
        format!("No usable field \"{field}\" in {entry}"),
    )
}

/// `{"topic": "t", "partition": 1}`
pub(super) fn topic_partition(entry: &Value) -> Result<TopicPartition, Stop> {
    let topic = entry.get("topic").and_then(Value::as_str).ok_or_else(|| malformed("topic", entry))?;
    let partition =
        entry.get("partition").and_then(Value::as_i64).and_then(|index| i32::try_from(index).ok());
    Ok(TopicPartition::new(topic, partition.ok_or_else(|| malformed("partition", entry))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_checked_before_a_broker_is_asked() {
        let why = |text: &str| match parse(text) {
            Err(Stop::Uncaught(_, why)) => why,
            other => format!("{other:?}"),
        };
        let one = r#"{"topic":"t","partition":1,"offset":5}"#;
        assert_eq!(
            parse(&format!(r#"{{"partitions":[{one}],"version":1}}"#)).unwrap()[&TopicPartition::new("t", 1)],
            5
        );
        assert_eq!(why("x"), "The input string is not a valid JSON");
        assert_eq!(why("{}"), "Missing partitions field");
        assert_eq!(why(r#"{"version":2}"#), "Not supported version field value 2");
        let twice = format!(r#"{{"partitions":[{one},{one}]}}"#);
        assert_eq!(why(&twice), "Offset json file contains duplicate topic partitions: t-1");
        assert!(why(r#"{"partitions":[{"topic":"t"}]}"#).contains("\"partition\""));
    }

    #[test]
    fn a_document_has_each_partition_with_its_low_watermark_or_error() {
        let (done, failed) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let results = [(&done, Ok(5)), (&failed, Err("out of range".to_owned()))];
        assert_eq!(
            document(results.into_iter()).to_string(),
            r#"{"partitions":[{"topic":"t","partition":0,"low_watermark":5},{"topic":"t","partition":1,"error":"out of range"}]}"#
        );
    }
}
