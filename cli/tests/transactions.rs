//! The client's transactions on a cluster of `menagerie up`: what counts, what does not, and who may.

use client::admin::Admin;
use client::consumer::{Consumer, ConsumerOptions, OffsetReset};
use client::options::{ClientKind, ClientOptions};
use client::{
    ClientError, GroupMetadata, Producer, ProducerOptions, ProducerRecord, TopicPartition, TxnOffset,
};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wire::kafka::ErrorCode;
use wire::kafka::create_topics::CreatableTopic;

const PATIENCE: Duration = Duration::from_secs(60);

/// One server and one broker, in a process that goes with the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cluster and its bootstrap address.
fn up(dir: &std::path::Path) -> (Up, String) {
    let base = 28_000 + (std::process::id() % 700) as u16 * 8;
    let mut command = Command::new(env!("CARGO_BIN_EXE_menagerie"));
    command.arg("up").arg("--data").arg(dir).env_remove("RUST_LOG");
    command.args(["--zk-port", &base.to_string(), "--kafka-port", &(base + 4).to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("It stays up") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    (Up(child), format!("127.0.0.1:{}", base + 4))
}

struct Cluster(String);

impl Cluster {
    fn producer(&self, id: &str) -> Producer {
        let options = ProducerOptions::new(&self.0, "txn-test").unwrap();
        Producer::new(ProducerOptions { transactional_id: Some(id.into()), ..options })
    }

    async fn ready(&self, id: &str) -> Producer {
        let producer = self.producer(id);
        producer.init_transactions().await.unwrap();
        producer
    }

    /// All values of the topic that readers of committed records see, sorted.
    async fn committed(&self, count: usize) -> Vec<String> {
        let mut options = ConsumerOptions::new(&self.0, "txn-test").unwrap();
        (options.read_committed, options.reset) = (true, OffsetReset::Earliest);
        let mut consumer = Consumer::new(options);
        consumer.assign([0, 1].map(|n| TopicPartition::new("t", n)));
        let (mut values, end) = (Vec::new(), Instant::now() + PATIENCE);
        // A poll more than it takes, for what should not come.
        let mut quiet = 0;
        while values.len() < count || quiet < 2 {
            assert!(Instant::now() < end, "{values:?}");
            let records = consumer.poll(Duration::from_millis(700)).await.unwrap();
            quiet = if records.is_empty() { quiet + 1 } else { 0 };
            values.extend(records.into_iter().map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()));
        }
        values.sort();
        values
    }
}

async fn send(producer: &Producer, partition: i32, value: &str) -> Result<client::Delivery, ClientError> {
    let value = Some(bytes::Bytes::copy_from_slice(value.as_bytes()));
    let topic = "t".into();
    producer.send(ProducerRecord { topic, partition: Some(partition), value, ..Default::default() }).await
}

#[test]
fn what_is_committed_counts_what_is_aborted_does_not_and_a_second_producer_shuts_the_first_out() {
    let home = tempfile::tempdir().unwrap();
    let (_up, bootstrap) = up(&home.path().join("cluster"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster(bootstrap);
        let admin = Admin::new(ClientOptions::new(ClientKind::Admin, &cluster.0, "txn-test").unwrap());
        let topic = CreatableTopic {
            name: "t".into(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        };
        admin.create_topics(vec![topic], false).await.unwrap();

        let stranger = cluster.producer("a");
        assert!(send(&stranger, 0, "too early").await.is_err());
        let first = cluster.ready("a").await;
        assert!(first.commit_transaction().await.is_err(), "there is no transaction");
        for round in 0..3 {
            first.begin_transaction().unwrap();
            let deliveries = [
                send(&first, 0, &format!("a{round}")).await.unwrap(),
                send(&first, 1, &format!("b{round}")).await.unwrap(),
            ];
            if round == 1 {
                first.flush().await;
                first.abort_transaction().await.unwrap();
            } else {
                first.commit_transaction().await.unwrap();
                for delivery in deliveries {
                    assert!(delivery.wait().await.unwrap().offset >= 0);
                }
            }
        }
        first.begin_transaction().unwrap();
        first.commit_transaction().await.unwrap();
        first.begin_transaction().unwrap();
        let unsent = send(&first, 0, "perhaps never sent").await.unwrap();
        first.abort_transaction().await.unwrap();
        if let Err(error) = unsent.wait().await {
            assert!(matches!(error, ClientError::TransactionAborted), "{error}");
        }

        let group = GroupMetadata::of("g");
        let at = |offset| {
            BTreeMap::from([(
                TopicPartition::new("t", 1),
                TxnOffset { offset, leader_epoch: -1, metadata: "".into() },
            )])
        };
        let consumer = Consumer::new(ConsumerOptions::new(&cluster.0, "txn-test").unwrap().group("g"));
        for (offset, commits) in [(3, true), (7, false)] {
            first.begin_transaction().unwrap();
            first.send_offsets(&at(offset), &group).await.unwrap();
            if commits {
                first.commit_transaction().await.unwrap()
            } else {
                first.abort_transaction().await.unwrap()
            }
            let partition = [TopicPartition::new("t", 1)];
            let end = Instant::now() + PATIENCE;
            while consumer
                .committed(&partition)
                .await
                .ok()
                .and_then(|all| all.get(&partition[0]).map(|c| c.offset))
                != Some(3)
            {
                assert!(Instant::now() < end, "the offset is not committed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }

        first.begin_transaction().unwrap();
        send(&first, 0, "zombie").await.unwrap();
        first.flush().await;
        let second = cluster.ready("a").await;
        let error = first.commit_transaction().await.unwrap_err();
        let code = error.code().or(error.cause().and_then(ClientError::code));
        assert_eq!(code, Some(ErrorCode::PRODUCER_FENCED), "{error}");
        assert!(first.abort_transaction().await.is_err(), "it can do nothing any more");
        second.begin_transaction().unwrap();
        send(&second, 0, "successor").await.unwrap();
        second.commit_transaction().await.unwrap();
        assert_eq!(cluster.committed(5).await, ["a0", "a2", "b0", "b2", "successor"]);
    });
}
