//! Polls against a broker that answers as slowly as it is told.

use super::*;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use wire::batch::BatchBuilder;
use wire::jute::Reader;
use wire::kafka::api_versions::ApiVersion;
use wire::kafka::fetch::{FetchableTopicResponse, PartitionData};
use wire::kafka::metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use wire::kafka::{
    ApiKey, ApiVersionsResponse, FetchResponse, Message, MetadataResponse, RequestHeader, ResponseHeader,
};

const METADATA: i16 = 4;
const FETCH: i16 = 4;

/// One broker with one partition: its first fetch brings nothing, and that not before `answer`; later ones bring a record.
async fn broker(listener: TcpListener, answer: std::sync::Arc<Notify>) {
    let port = listener.local_addr().unwrap().port();
    let fetches = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, port, answer.clone(), fetches.clone()));
    }
}

async fn serve(
    mut stream: TcpStream,
    port: u16,
    answer: std::sync::Arc<Notify>,
    fetches: std::sync::Arc<std::sync::atomic::AtomicU32>,
) {
    while let Ok(len) = stream.read_i32().await {
        let mut frame = vec![0; len as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let header = RequestHeader::read(&mut Reader::new(frame.into())).unwrap();
        let body = match header.request_api_key {
            key if key == ApiKey::ApiVersions as i16 => versions().encode(header.request_api_version),
            key if key == ApiKey::Metadata as i16 => metadata(port).encode(METADATA),
            key if key == ApiKey::Fetch as i16 => {
                let first = fetches.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                if first {
                    answer.notified().await;
                }
                fetched(!first).encode(FETCH)
            }
            key => panic!("nobody needs {key} here"),
        };
        let mut to = BytesMut::new();
        ResponseHeader { correlation_id: header.correlation_id }.write(&mut to, 0);
        to.extend_from_slice(&body);
        stream.write_i32(to.len() as i32).await.unwrap();
        stream.write_all(&to).await.unwrap();
    }
}

fn versions() -> ApiVersionsResponse {
    let known =
        |(key, version)| ApiVersion { api_key: key as i16, min_version: version, max_version: version };
    let api_keys = [(ApiKey::Metadata, METADATA), (ApiKey::Fetch, FETCH)].map(known).to_vec();
    ApiVersionsResponse { api_keys, ..Default::default() }
}

fn metadata(port: u16) -> MetadataResponse {
    let partition = MetadataResponsePartition {
        partition_index: 0,
        leader_id: 1,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: "127.0.0.1".into(),
            port: i32::from(port),
            ..Default::default()
        }],
        topics: vec![MetadataResponseTopic {
            name: Some("t".into()),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetched(with_record: bool) -> FetchResponse {
    let mut batch = BatchBuilder::new();
    batch.push(1, None, Some(b"v"), &[]);
    let data = PartitionData {
        high_watermark: 1,
        records: with_record.then(|| batch.finish().unwrap()),
        ..Default::default()
    };
    FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn an_empty_answer_that_came_between_two_polls_does_not_keep_the_second_from_asking_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(Notify::new());
    let broker = tokio::spawn(broker(listener, answer.clone()));
    let mut consumer = Consumer::new(ConsumerOptions::new(&bootstrap, "test").unwrap());
    let partition = TopicPartition::new("t", 0);
    consumer.assign([partition.clone()]);
    consumer.seek(&partition, 0);
    // What a poll begins ends with it, but for fetches: it needs the time to find the broker.
    let asking = async {
        while !consumer.assigned[&partition].fetching {
            assert_eq!(consumer.poll(Duration::from_secs(1)).await.unwrap(), []);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("a fetch is under way");
    answer.notify_one();
    let come = async {
        while consumer.answers.1.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), come).await.expect("its answer is there");
    // It is asked for longer than the test has time.
    let polled = tokio::time::timeout(Duration::from_secs(60), consumer.poll(Duration::from_secs(600)));
    let records = polled.await.expect("the broker is asked again at once").unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(consumer.position(&partition), Some(1));
    broker.abort();
}
