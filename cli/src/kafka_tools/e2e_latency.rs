//! `kafka-e2e-latency`: how long one record takes from a producer to a consumer.

use super::{Stop, Terse, log_to_stderr, now_ms, properties_of, run, throwable};
use crate::Call;
use base::Properties;
use bytes::Bytes;
use client::{
    Admin, ClientError, ClientOptions, Consumer, ConsumerOptions, OffsetReset, Producer, ProducerOptions,
    ProducerRecord, TopicPartition,
};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wire::Str;
use wire::kafka::create_topics::CreatableTopic;

const POLL: Duration = Duration::from_secs(60);

pub fn main(call: &Call) -> ExitCode {
    super::end_terse(latency(&call.args))
}

struct Plan {
    bootstrap: String,
    topic: Str,
    records: usize,
    acks: String,
    size: usize,
    settings: Properties,
}

fn illegal(why: &str) -> Terse {
    Terse::from(Stop::Uncaught("java.lang.IllegalArgumentException", why.to_owned()))
}

impl Plan {
    fn read(args: &[String]) -> Result<Plan, Terse> {
        let [bootstrap, topic, records, acks, size, file @ ..] = args else { return Err(usage()) };
        if file.len() > 1 {
            return Err(usage());
        }
        let number = |text: &String| {
            text.parse::<i32>().map_err(|_| {
                let why = format!("For input string: \"{text}\"");
                Terse::from(Stop::Uncaught("java.lang.NumberFormatException", why))
            })
        };
        let (records, size) = (number(records)?, number(size)?);
        if !["1", "all"].contains(&acks.as_str()) {
            return Err(illegal("Latency testing requires synchronous acknowledgement. Please use 1 or all"));
        }
        let natural = |number: i32, what: &str| {
            usize::try_from(number)
                .map_err(|_| illegal(&format!("{what} is {number}: write a positive number")))
        };
        let file = file.first().map(String::as_str).filter(|path| !path.trim().is_empty());
        Ok(Plan {
            bootstrap: bootstrap.clone(),
            topic: topic.as_str().into(),
            records: natural(records, "num_messages")?,
            acks: acks.clone(),
            size: natural(size, "message_size_bytes")?,
            settings: properties_of(file)?,
        })
    }

    fn settings(&self, more: &[(&str, &str)]) -> Properties {
        let mut settings = self.settings.clone();
        settings.set("broker_list", "bootstrap.servers", &self.bootstrap);
        more.iter().for_each(|(key, value)| settings.set("kafka-e2e-latency", key, value));
        settings
    }
}

fn usage() -> Terse {
    Terse::Said(
        "USAGE: java org.apache.kafka.tools.EndToEndLatency broker_list topic num_messages producer_acks \
         message_size_bytes [optional] properties_file"
            .to_owned(),
    )
}

fn latency(args: &[String]) -> Result<(), Terse> {
    let plan = Plan::read(args)?;
    log_to_stderr();
    let refused = |what: &str, error: ClientError| {
        let why = format!("Failed to construct kafka {what}\nCaused by: {}", throwable(&error));
        Terse::from(Stop::Uncaught("org.apache.kafka.common.KafkaException", why))
    };
    let group = format!("test-group-{}", now_ms());
    let own = [
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "latest"),
        ("fetch.max.wait.ms", "0"),
    ];
    let consumer = ConsumerOptions::new(&plan.bootstrap, &format!("consumer-{group}-1"))
        .and_then(|options| options.with(&plan.settings(&own)))
        .and_then(|mut options| {
            options.client = options.client.resolve()?;
            Ok(options)
        })
        .map_err(|error| refused("consumer", error))?;
    let own = [("linger.ms", "0"), ("acks", plan.acks.as_str())];
    let producer = ProducerOptions::new(&plan.bootstrap, "producer-1")
        .and_then(|options| options.with(&plan.settings(&own)))
        .map_err(|error| refused("producer", error))?;
    run(measure(plan, consumer, producer))?
}

async fn measure(plan: Plan, consumer: ConsumerOptions, producer: ProducerOptions) -> Result<(), Terse> {
    let failed = |error: ClientError| {
        let trace = throwable(&error);
        Terse::Thrown { message: error.to_string(), trace }
    };
    prepare(&plan, consumer.client.clone()).await?;
    let mut consumer = Consumer::new(consumer);
    let producer = Producer::new(producer);
    start_at_the_end(&mut consumer, &plan.topic).await.map_err(failed)?;
    let mut latencies = Vec::with_capacity(plan.records);
    for index in 0..plan.records {
        // A letter, so many times.
        let letter = b'A' + rand::random_range(0..26_u8);
        let message = Bytes::from(vec![letter; plan.size]);
        let begin = Instant::now();
        let record =
            ProducerRecord { topic: plan.topic.clone(), value: Some(message.clone()), ..Default::default() };
        let sent = match producer.send(record).await {
            Ok(delivery) => delivery.wait().await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| Terse::executed("send", error))?;
        let read = consumer.poll(POLL).await.map_err(failed)?;
        let elapsed = begin.elapsed();
        let values: Vec<Bytes> = read.into_iter().map(|record| record.value.unwrap_or_default()).collect();
        if let Err(why) = check(&message, &values) {
            let _ = consumer.commit().await;
            return Err(Terse::from(Stop::Uncaught("java.lang.RuntimeException", why)));
        }
        if index % 1000 == 0 {
            println!("{index}\t{:?}", elapsed.as_nanos() as f64 / 1e6);
        }
        latencies.push(elapsed);
    }
    println!("{}", summary(&mut latencies));
    consumer.commit().await.map_err(failed)
}

/// Makes the topic, if it is not there.
async fn prepare(plan: &Plan, options: ClientOptions) -> Result<(), Terse> {
    let admin = Admin::new(ClientOptions { kind: client::ClientKind::Admin, ..options });
    let metadata = admin.metadata(None).await.map_err(|error| Terse::executed("listTopics", error))?;
    if metadata.topics.contains_key(&plan.topic) {
        return Ok(());
    }
    println!(
        "Topic \"{}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1",
        plan.topic
    );
    let topic = CreatableTopic {
        name: plan.topic.clone(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let made = admin.create_topics(vec![topic], false).await;
    let made = made.and_then(|mut results| results.remove(&plan.topic).map_or(Ok(()), |made| made.map(drop)));
    made.map_err(|error| {
        println!("Creation of topic {} failed", plan.topic);
        let cause = throwable(&error);
        let message = format!("java.util.concurrent.ExecutionException: {cause}");
        Terse::Thrown {
            trace: format!("java.lang.RuntimeException: {message}\nCaused by: {message}\nCaused by: {cause}"),
            message,
        }
    })
}

async fn start_at_the_end(consumer: &mut Consumer, topic: &Str) -> Result<(), ClientError> {
    let cluster = consumer.cluster().clone();
    let deadline = cluster.deadline();
    let partitions: Vec<TopicPartition> = loop {
        let metadata = cluster.fetch_metadata(Some(std::slice::from_ref(topic)), false, deadline).await?;
        let found = metadata.topics.get(topic).map(|topic| &topic.partitions);
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            break found.keys().map(|index| TopicPartition::new(topic.clone(), *index)).collect();
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ClientError::TimedOut(format!("Timeout expired while fetching metadata of {topic}")));
        }
        // A topic that was just made is not known everywhere yet.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    consumer.assign(partitions.clone());
    partitions.iter().for_each(|partition| consumer.seek_to(partition, OffsetReset::Latest));
    while partitions.iter().any(|partition| consumer.position(partition).is_none()) {
        consumer.poll(Duration::from_millis(50)).await?;
    }
    Ok(())
}

/// Exactly what was sent has to come back.
fn check(sent: &[u8], read: &[Bytes]) -> Result<(), String> {
    let Some(first) = read.first() else {
        return Err(format!("poll() timed out before finding a result (timeout:[{}])", POLL.as_millis()));
    };
    if first != sent {
        let text = String::from_utf8_lossy;
        return Err(format!(
            "The message read [{}] did not match the message sent [{}]",
            text(first),
            text(sent)
        ));
    }
    match read.len() {
        1 => Ok(()),
        count => Err(format!("Only one result was expected during this test. We found [{count}]")),
    }
}

fn summary(latencies: &mut [Duration]) -> String {
    let total: Duration = latencies.iter().sum();
    latencies.sort_unstable();
    let at = |part: f64| {
        let place = (latencies.len() as f64 * part) as usize;
        latencies.get(place).map_or(0, Duration::as_millis)
    };
    format!(
        "Avg latency: {:.4} ms\nPercentiles: 50th = {}, 99th = {}, 99.9th = {}",
        total.as_nanos() as f64 / latencies.len() as f64 / 1e6,
        at(0.5),
        at(0.99),
        at(0.999)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match Plan::read(&words) {
            Err(Terse::Said(why) | Terse::Thrown { message: why, .. }) => why,
            Err(other) => format!("{other:?}"),
            Ok(plan) => format!("{} {}", plan.records, plan.size),
        }
    }

    #[test]
    fn five_or_six_words_are_checked_in_the_real_tools_order() {
        assert!(said("a b c").starts_with("USAGE: "));
        assert!(said("a b c d e f g").starts_with("USAGE: "));
        assert_eq!(said("b:1 t x 0 10"), "For input string: \"x\"");
        assert!(said("b:1 t 10 0 10").starts_with("Latency testing requires"));
        assert!(said("b:1 t 10 1 -1").starts_with("message_size_bytes is -1"));
        assert_eq!(said("b:1 t 10 all /nonexistent"), "For input string: \"/nonexistent\"");
        assert_eq!(said("b:1 t 10 all 7"), "10 7");
    }

    #[test]
    fn only_what_was_sent_may_come_back() {
        let read = |values: &[&'static str]| -> Vec<Bytes> {
            values.iter().map(|value| Bytes::from_static(value.as_bytes())).collect()
        };
        assert_eq!(check(b"aa", &read(&["aa"])), Ok(()));
        assert!(check(b"aa", &read(&[])).unwrap_err().starts_with("poll() timed out"));
        assert!(check(b"aa", &read(&["bb"])).unwrap_err().contains("[bb] did not match"));
        assert!(check(b"aa", &read(&["aa", "aa"])).unwrap_err().ends_with("[2]"));
    }

    #[test]
    fn a_percentile_is_the_latency_at_its_place() {
        let mut latencies: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(
            summary(&mut latencies),
            "Avg latency: 50.5000 ms\nPercentiles: 50th = 51, 99th = 100, 99.9th = 100"
        );
    }
}
