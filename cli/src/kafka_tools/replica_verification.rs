//! `kafka-replica-verification`: reads the same partitions from all their replicas, again and again, and tells where they
//! differ.

use super::{
    Stop, bootstrap_with_ports, end, help_or_version, java_order, log_to_stderr, matches, partition_hash,
    require, run, throwable, topic_pattern,
};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use bytes::Bytes;
use client::{Admin, ClientError, ClientKind, ClientOptions, TopicPartition};
use jiff::Zoned;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wire::batch::message_set::Entry;
use wire::kafka::FetchRequest;
use wire::kafka::fetch::{FetchPartition, FetchTopic, PartitionData};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "broker-list",
        "hostname:port,...,hostname:port",
        "REQUIRED: the brokers to start with.",
    ),
    ToolOption::int("fetch-size", "bytes", "Bytes of a partition in one request.").or("1048576"),
    ToolOption::int("max-wait-ms", "ms", "How long a request may wait for records.").or("1000"),
    ToolOption::long("report-interval-ms", "ms", "How often the largest lag is told.").or("30000"),
    ToolOption::long("time", "timestamp/-1(latest)/-2(earliest)", "Where to begin.").or("-1"),
    ToolOption::text(
        "topic-white-list",
        "Java regex (String)",
        "DEPRECATED: topics-include by its old name.",
    )
    .or(".*"),
    ToolOption::text("topics-include", "Java regex (String)", "Topics whose whole name matches.").or(".*"),
]);

/// A reader that followers answer too.
const DEBUGGING_CONSUMER: i32 = -2;
/// Later versions of Fetch name topics by ids.
const FETCH_BY_NAME: i16 = 12;

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, verify(call))
}

struct Plan {
    topics: fancy_regex::Regex,
    fetch_size: i32,
    wait_ms: i32,
    start: i64,
    report_every: Duration,
}

fn verify(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(call, &given, "Checks that all replicas of topics hold the same records.")?;
    require(&given, &["broker-list"])?;
    let plan = plan(&given)?;
    let brokers = given.text("broker-list")?.unwrap_or_default();
    log_to_stderr();
    let options =
        ClientOptions::new(ClientKind::Admin, brokers, "adminclient-1").and_then(ClientOptions::resolve);
    let options = options.map_err(|error| {
        let why = format!("Failed to create new KafkaAdminClient\nCaused by: {}", throwable(&error));
        Stop::Uncaught("org.apache.kafka.common.KafkaException", why)
    })?;
    run(watch(Admin::new(options), plan))?
}

fn plan(given: &Given) -> Result<Plan, Stop> {
    let include = if given.has("topics-include") { "topics-include" } else { "topic-white-list" };
    let pattern = given.text(include)?.unwrap_or(".*");
    let number = |option: &str| -> Result<i64, Stop> { Ok(given.number(option)?.unwrap_or_default()) };
    let plan = Plan {
        topics: topic_pattern(pattern).map_err(|why| Stop::Uncaught("java.lang.RuntimeException", why))?,
        fetch_size: number("fetch-size")? as i32,
        wait_ms: number("max-wait-ms")? as i32,
        start: number("time")?,
        report_every: Duration::from_millis(number("report-interval-ms")?.max(0) as u64),
    };
    bootstrap_with_ports(given)?;
    Ok(plan)
}

async fn watch(admin: Admin, plan: Plan) -> Result<(), Stop> {
    let failed = |error: ClientError| {
        let cause = throwable(&error);
        Stop::Uncaught("java.util.concurrent.ExecutionException", format!("{cause}\nCaused by: {cause}"))
    };
    let metadata = admin.metadata(None).await.map_err(failed)?;
    let mut replicas: BTreeMap<TopicPartition, Vec<i32>> = BTreeMap::new();
    for (name, topic) in metadata.topics.iter().filter(|(name, _)| matches(&plan.topics, name)) {
        for (index, partition) in &topic.partitions {
            replicas.insert(TopicPartition::new(name.clone(), *index), partition.replicas.clone());
        }
    }
    if replicas.is_empty() {
        tracing::error!(
            target: "kafka.tools.ReplicaVerificationTool$",
            "No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic."
        );
        return Err(Stop::Exit(1));
    }
    let asked = replicas.keys().map(|partition| (partition.clone(), plan.start)).collect();
    let mut offsets = BTreeMap::new();
    for (partition, found) in admin.list_offsets(&asked).await.map_err(failed)? {
        offsets.insert(partition, found.map_err(failed)?.offset.max(0));
    }
    println!("{}: verification process is started.", now());
    let mut checked = Checked { replicas, offsets };
    let mut reported = Instant::now();
    loop {
        let began = Instant::now();
        let fetched = fetch_all(&admin, &checked, &plan).await;
        let lag = checked.compare(&fetched)?;
        if reported.elapsed() > plan.report_every {
            let Lag { records, partition, offset } = lag;
            println!(
                "{}: max lag is {records} for partition {partition} at offset {offset} among {} partitions",
                now(),
                checked.replicas.len()
            );
            reported = Instant::now();
        }
        // Brokers that fail at once are not asked in a loop.
        if fetched.is_empty() && began.elapsed() < Duration::from_millis(100) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn now() -> String {
    Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string()
}

/// What one replica has.
#[derive(Debug, Clone)]
struct Held {
    high_watermark: i64,
    /// The last offset of each batch or message, and its checksum.
    batches: Vec<(i64, u32)>,
}

impl Held {
    fn of(data: PartitionData) -> Held {
        let (mut bytes, mut batches): (Bytes, _) = (data.records.unwrap_or_default(), Vec::new());
        // What is left over was cut by the size of the fetch.
        while let Ok(Some(entry)) = Entry::split_from(&mut bytes) {
            batches.push(match entry {
                Entry::Batch(batch) => (batch.header().last_offset(), batch.header().crc),
                Entry::Message(message) => (message.offset(), crc32c::crc32c(message.bytes())),
            });
        }
        Held { high_watermark: data.high_watermark, batches }
    }
}

type Fetched = BTreeMap<(TopicPartition, i32), Held>;

async fn fetch_all(admin: &Admin, checked: &Checked, plan: &Plan) -> Fetched {
    let brokers: BTreeSet<i32> = checked.replicas.values().flatten().copied().collect();
    let mut tasks = tokio::task::JoinSet::new();
    for broker in brokers {
        let (request, cluster) = (checked.request(broker, plan), admin.cluster().clone());
        let patience = Duration::from_millis(30_000 + plan.wait_ms.max(0) as u64);
        tasks.spawn(async move {
            let fetched = async {
                let connection = cluster.connect(broker).await?;
                let response = connection.start_up_to(&request, FETCH_BY_NAME)?.within(patience).await?;
                Ok::<_, ClientError>(response)
            };
            (broker, fetched.await)
        });
    }
    let mut all = Fetched::new();
    while let Some(done) = tasks.join_next().await {
        // A broker that does not answer holds nothing, this time.
        let Ok((broker, Ok(response))) = done else { continue };
        for topic in response.responses {
            for data in topic.partitions {
                let partition = TopicPartition::new(topic.topic.clone(), data.partition_index);
                all.insert((partition, broker), Held::of(data));
            }
        }
    }
    all
}

struct Checked {
    replicas: BTreeMap<TopicPartition, Vec<i32>>,
    /// Up to where all replicas are the same.
    offsets: BTreeMap<TopicPartition, i64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Lag {
    records: i64,
    partition: String,
    offset: i64,
}

impl Checked {
    fn request(&self, broker: i32, plan: &Plan) -> FetchRequest {
        let mut topics: BTreeMap<wire::Str, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, _) in self.replicas.iter().filter(|(_, replicas)| replicas.contains(&broker)) {
            topics.entry(partition.topic.clone()).or_default().push(FetchPartition {
                partition: partition.partition,
                current_leader_epoch: -1,
                fetch_offset: self.offsets.get(partition).copied().unwrap_or_default(),
                last_fetched_epoch: -1,
                log_start_offset: 0,
                partition_max_bytes: plan.fetch_size,
            });
        }
        let topics = topics.into_iter().map(|(topic, partitions)| FetchTopic {
            topic,
            partitions,
            ..Default::default()
        });
        FetchRequest {
            replica_id: DEBUGGING_CONSUMER,
            max_wait_ms: plan.wait_ms,
            min_bytes: 1,
            max_bytes: i32::MAX,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    /// Goes through what the replicas hold, up to their high watermarks; the largest lag is told.
    fn compare(&mut self, fetched: &Fetched) -> Result<Lag, Stop> {
        let mut partitions: Vec<TopicPartition> = self.replicas.keys().cloned().collect();
        java_order(&mut partitions, 16, partition_hash);
        let mut largest = Lag { records: -1, partition: String::new(), offset: -1 };
        for partition in partitions {
            let ids = &self.replicas[&partition];
            let held: Vec<(i32, &Held)> =
                (ids.iter()).filter_map(|id| Some((*id, fetched.get(&(partition.clone(), *id))?))).collect();
            let high = held.iter().map(|(_, held)| held.high_watermark).max().unwrap_or(-1);
            if held.len() == ids.len() {
                let next = same_up_to(&partition, &held)?;
                if let Some(next) = next {
                    self.offsets.insert(partition.clone(), next);
                }
            }
            let offset = self.offsets.get(&partition).copied().unwrap_or_default();
            if high - offset > largest.records {
                largest = Lag { records: high - offset, partition: partition.to_string(), offset };
            }
        }
        Ok(largest)
    }
}

/// The offset behind the last batch that all replicas hold, if there is one more.
fn same_up_to(partition: &TopicPartition, held: &[(i32, &Held)]) -> Result<Option<i64>, Stop> {
    let mut next = None;
    for place in 0.. {
        let mut first: Option<(i32, i64, u32)> = None;
        for (id, held) in held {
            let Some((offset, checksum)) = held.batches.get(place).copied() else { return Ok(next) };
            if offset >= held.high_watermark {
                return Ok(next);
            }
            match first {
                None => first = Some((*id, offset, checksum)),
                Some((other, other_offset, _)) if other_offset != offset => {
                    println!(
                        "{}: partition {partition}: replica {other}'s offset {other_offset} doesn't match replica {id}'s \
                         offset {offset}",
                        now()
                    );
                    return Err(Stop::Exit(1));
                }
                Some((other, _, other_checksum)) if other_checksum != checksum => println!(
                    "{}: partition {partition} has unmatched checksum at offset {offset}; replica {other}'s checksum \
                     {other_checksum}; replica {id}'s checksum {checksum}",
                    now()
                ),
                Some(_) => {}
            }
        }
        next = first.map(|(_, offset, _)| offset + 1);
        if next.is_none() {
            return Ok(None);
        }
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(high_watermark: i64, batches: &[(i64, u32)]) -> Held {
        Held { high_watermark, batches: batches.to_vec() }
    }

    #[test]
    fn replicas_are_the_same_up_to_the_shortest_and_the_high_watermark() {
        let partition = TopicPartition::new("t", 0);
        let (long, short) = (held(9, &[(3, 1), (5, 2), (9, 3)]), held(6, &[(3, 1), (5, 2)]));
        assert_eq!(same_up_to(&partition, &[(1, &long), (2, &short)]).unwrap(), Some(6));
        assert_eq!(same_up_to(&partition, &[(1, &held(3, &[(3, 1)]))]).unwrap(), None);
        let other = held(9, &[(4, 1)]);
        assert!(matches!(same_up_to(&partition, &[(1, &long), (2, &other)]), Err(Stop::Exit(1))));
    }

    #[test]
    fn the_largest_lag_counts_what_not_all_replicas_have() {
        let partition = TopicPartition::new("t", 0);
        let mut checked = Checked {
            replicas: [(partition.clone(), vec![1, 2])].into(),
            offsets: [(partition.clone(), 0)].into(),
        };
        let fetched: Fetched = [
            ((partition.clone(), 1), held(9, &[(3, 1), (8, 2)])),
            ((partition.clone(), 2), held(9, &[(3, 1)])),
        ]
        .into();
        let lag = checked.compare(&fetched).unwrap();
        assert_eq!(lag, Lag { records: 5, partition: "t-0".to_owned(), offset: 4 });
    }
}
