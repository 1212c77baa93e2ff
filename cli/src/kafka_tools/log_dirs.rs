//! `kafka-log-dirs`: how large which replicas are in which log directory, as JSON.

use super::{
    Stop, admin_options, end, help_or_version, java_hash, java_order, json, properties_of, require, run,
    scala_order, string_hash, throwable,
};
use crate::Call;
use base::{ToolOption, ToolOptions};
use client::cluster::Target;
use client::{Admin, ClientError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use wire::kafka::describe_log_dirs::DescribeLogDirsResult;
use wire::kafka::{DescribeLogDirsRequest, ErrorCode};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "bootstrap-server",
        "The server(s) to use for bootstrapping",
        "REQUIRED: the brokers to start with.",
    ),
    ToolOption::text(
        "broker-list",
        "Broker list",
        "Ids of the brokers to ask, separated by commas; all if left out.",
    ),
    ToolOption::text(
        "command-config",
        "Admin client property file",
        "File with settings for the admin client.",
    ),
    ToolOption::flag("describe", "REQUIRED: shows the log directories of the brokers."),
    json::OPTION,
    ToolOption::text("topic-list", "Topic list", "Topics to show, separated by commas; all if left out."),
]);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, describe(call))
}

fn describe(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, "This tool helps to query log directory usage on the specified brokers.")?;
    require(&given, &["bootstrap-server", "describe"])?;
    let mut options = admin_options(&given, "command-config")?;
    if properties_of(given.text("command-config")?)?.get("client.id").is_none() {
        options.client_id = "log-dirs-tool".into();
    }
    let topics: Vec<&str> = words(given.text("topic-list")?.unwrap_or_default()).collect();
    let wanted = given.text("broker-list")?;
    run(async {
        let admin = Admin::new(options);
        let cluster = admin.describe_cluster().await.map_err(uncaught)?;
        let mut there: Vec<i32> = cluster.brokers.iter().map(|broker| broker.broker_id).collect();
        // A map of the client's has them first.
        java_order(&mut there, 16, |id| spread(id.cast_unsigned()));
        let there = set_order(there);
        let asked = match wanted {
            None => there.clone(),
            Some(list) => set_order(words(list).map(id).collect::<Result<_, _>>()?),
        };
        let strange: Vec<i32> = asked.iter().filter(|id| !there.contains(id)).copied().collect();
        if !strange.is_empty() {
            println!(
                "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
                join(&strange),
                join(&there)
            );
            return Ok(());
        }
        let as_json = given.has("json");
        if !as_json {
            println!("Querying brokers for log directories information");
        }
        let mut dirs = BTreeMap::new();
        for &broker in &asked {
            dirs.insert(broker, dirs_of(&admin, broker).await.map_err(uncaught)?);
        }
        if !as_json {
            println!("Received log directory information from brokers {}", join(&asked));
        }
        println!("{}", shown(&dirs, &topics));
        Ok(())
    })?
}

fn uncaught(error: ClientError) -> Stop {
    Stop::Uncaught("java.util.concurrent.ExecutionException", throwable(&error))
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|word| !word.is_empty())
}

fn id(word: &str) -> Result<i32, Stop> {
    let refuse =
        |_| Stop::Uncaught("java.lang.NumberFormatException", format!("For input string: \"{word}\""));
    word.parse().map_err(refuse)
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

async fn dirs_of(admin: &Admin, broker: i32) -> Result<Vec<DescribeLogDirsResult>, ClientError> {
    let request = DescribeLogDirsRequest { topics: None };
    let response = admin.call(&Target::Broker(broker), &request, |response| response.error_code).await?;
    if response.results.is_empty() {
        // Before version 3 an answer says by its emptiness that nothing may be seen.
        return Err(ClientError::from(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
    }
    Ok(response.results)
}

/// The JSON line; brokers, directories and partitions come in the order of Java's and Scala's hash maps.
fn shown(brokers: &BTreeMap<i32, Vec<DescribeLogDirsResult>>, topics: &[&str]) -> Value {
    let mut ids: Vec<i32> = brokers.keys().copied().collect();
    java_order(&mut ids, brokers.len().next_power_of_two(), |id| spread(id.cast_unsigned()));
    let brokers: Vec<Value> = scala_order(&ids, |id| id.cast_unsigned())
        .into_iter()
        .map(|id| json!({"broker": id, "logDirs": dirs_shown(&brokers[&id], topics)}))
        .collect();
    json!({"version": 1, "brokers": brokers})
}

fn dirs_shown(dirs: &[DescribeLogDirsResult], topics: &[&str]) -> Vec<Value> {
    let mut dirs: Vec<&DescribeLogDirsResult> = dirs.iter().collect();
    let buckets = dirs.len().next_power_of_two();
    java_order(&mut dirs, buckets, |dir| java_hash(&dir.log_dir));
    let dir = |dir: &DescribeLogDirsResult| {
        let error = (!dir.error_code.is_ok()).then(|| exception(dir.error_code));
        json!({"logDir": &*dir.log_dir, "error": error, "partitions": partitions_shown(dir, topics)})
    };
    dirs.into_iter().map(dir).collect()
}

/// The name of the class alone.
fn exception(code: ErrorCode) -> String {
    let text = throwable(&ClientError::from(code));
    text.split_once(':').map_or(text.as_str(), |(class, _)| class).to_owned()
}

fn partitions_shown(dir: &DescribeLogDirsResult, topics: &[&str]) -> Vec<Value> {
    let mut found: Vec<(u32, bool, Value)> = Vec::new();
    for topic in &dir.topics {
        let is_wanted = topics.is_empty() || topics.contains(&&*topic.name);
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let value = json!({
                "partition": format!("{}-{index}", topic.name),
                "size": partition.partition_size,
                "offsetLag": partition.offset_lag,
                "isFuture": partition.is_future_key,
            });
            found.push((spread(hash_of_partition(&topic.name, index)), is_wanted, value));
        }
    }
    // What is wanted goes from a map of all into another.
    java_order(&mut found, 16, |(hash, ..)| *hash);
    found.retain(|(_, is_wanted, _)| *is_wanted);
    java_order(&mut found, 16, |(hash, ..)| *hash);
    found.into_iter().map(|(.., value)| value).collect()
}

fn spread(hash: u32) -> u32 {
    hash ^ (hash >> 16)
}

fn hash_of_partition(topic: &str, partition: i32) -> u32 {
    let name = string_hash(topic);
    31_u32.wrapping_add(partition.cast_unsigned()).wrapping_mul(31).wrapping_add(name)
}

/// The order of a Scala 2.12 set: up to four as they came, more by hash, five bits at a time from the lowest on.
fn set_order(mut ids: Vec<i32>) -> Vec<i32> {
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    if ids.len() > 4 {
        ids.sort_by_key(|id| {
            let mut hash = id.cast_unsigned();
            hash = hash.wrapping_add(!(hash << 9));
            hash ^= hash >> 14;
            hash = hash.wrapping_add(hash << 4);
            hash ^= hash >> 10;
            [0, 5, 10, 15, 20, 25, 30].map(|shift| (hash >> shift) & 31)
        });
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::describe_log_dirs::{DescribeLogDirsPartition, DescribeLogDirsTopic};

    #[test]
    fn directories_are_shown_as_one_line_of_json_in_javas_order() {
        let partition = |partition_index, is_future_key| DescribeLogDirsPartition {
            partition_index,
            partition_size: 10,
            offset_lag: 0,
            is_future_key,
        };
        let topic =
            |name: &'static str, partitions: Vec<_>| DescribeLogDirsTopic { name: name.into(), partitions };
        let ok = DescribeLogDirsResult {
            log_dir: "/d".into(),
            topics: vec![
                topic("t", vec![partition(1, false), partition(0, true)]),
                topic("u", vec![partition(0, false)]),
            ],
            ..Default::default()
        };
        let failed = DescribeLogDirsResult {
            log_dir: "/e".into(),
            error_code: ErrorCode::KAFKA_STORAGE_ERROR,
            ..Default::default()
        };
        let brokers = BTreeMap::from([(2, vec![ok, failed])]);
        assert_eq!(
            shown(&brokers, &["t"]).to_string(),
            concat!(
                r#"{"version":1,"brokers":[{"broker":2,"logDirs":[{"logDir":"/d","error":null,"partitions":["#,
                r#"{"partition":"t-1","size":10,"offsetLag":0,"isFuture":false},"#,
                r#"{"partition":"t-0","size":10,"offsetLag":0,"isFuture":true}]},"#,
                r#"{"logDir":"/e","error":"org.apache.kafka.common.errors.KafkaStorageException","partitions":[]}]}]}"#
            )
        );
    }

    #[test]
    fn a_set_of_brokers_keeps_its_order_up_to_four() {
        assert_eq!(set_order(vec![3, 1, 3, 2]), [3, 1, 2]);
        let mut sorted = set_order(vec![5, 3, 1, 4, 2]);
        assert_eq!(sorted, set_order(vec![1, 2, 3, 4, 5]));
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn brokers_come_in_the_order_of_a_scala_map() {
        assert_eq!(scala_order(&[1_i32, 2, 3], |id| id.cast_unsigned()), [2, 1, 3], "as seen of Java's tool");
        let mut many = scala_order(&(0..100_i32).collect::<Vec<_>>(), |id| id.cast_unsigned());
        many.sort_unstable();
        assert_eq!(many, (0..100).collect::<Vec<_>>());
    }
}
