//! One Fetch request to one broker, and what its response holds.

use crate::TopicPartition;
use crate::cluster::Metadata;
use crate::connection::{CallError, Connection};
use crate::consumer::{ConsumerOptions, ConsumerRecord};
use crate::error::ClientError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::Str;
use wire::batch::compression::DEFAULT_LIMIT;
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::message_set::{Entry, Message};
use wire::batch::{Batch, BatchError};
use wire::kafka::fetch::{AbortedTransaction, FetchPartition, FetchTopic, PartitionData};
use wire::kafka::{ErrorCode, FetchRequest, FetchResponse, Uuid};

/// Last version that names topics; later ones have ids.
const NAMES_UP_TO: i16 = 12;

/// Where to read on.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    pub offset: i64,
    /// -1: not known.
    pub leader_epoch: i32,
}

/// One partition of a response.
#[derive(Debug)]
pub struct Fetched {
    pub partition: TopicPartition,
    pub error: ErrorCode,
    pub high_watermark: i64,
    /// The leader reads nothing: this replica is nearer.
    pub preferred: Option<i32>,
    pub records: Vec<ConsumerRecord>,
    /// Where the next fetch starts: records that a reader does not see are behind it too.
    pub next_offset: i64,
    /// The records that follow those in `records` cannot be read.
    pub malformed: Option<ClientError>,
}

/// Fetches what these partitions have from their positions on; `read_committed` and sizes come from the options.
pub async fn fetch(
    connection: &Connection,
    metadata: &Metadata,
    positions: &BTreeMap<TopicPartition, Position>,
    options: &ConsumerOptions,
) -> Result<Vec<Fetched>, CallError> {
    let mut topics: BTreeMap<&Str, FetchTopic> = BTreeMap::new();
    let mut names: HashMap<Uuid, Str> = HashMap::new();
    for (partition, position) in positions {
        let topic_id = metadata.topics.get(&partition.topic).map_or(Uuid::ZERO, |topic| topic.id);
        names.insert(topic_id, partition.topic.clone());
        let topic = topics.entry(&partition.topic).or_insert_with(|| FetchTopic {
            topic: partition.topic.clone(),
            topic_id,
            partitions: Vec::new(),
        });
        topic.partitions.push(FetchPartition {
            partition: partition.partition,
            current_leader_epoch: position.leader_epoch,
            fetch_offset: position.offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: options.partition_bytes_max,
        });
    }
    let request = FetchRequest {
        max_wait_ms: options.wait_max.as_millis() as i32,
        min_bytes: options.bytes_min,
        max_bytes: options.bytes_max,
        isolation_level: options.read_committed as i8,
        topics: topics.into_values().collect(),
        rack_id: options.rack.clone(),
        ..Default::default()
    };
    let highest = if names.contains_key(&Uuid::ZERO) { NAMES_UP_TO } else { i16::MAX };
    let timeout = options.client.request_timeout + options.wait_max;
    let response = connection.start_up_to(&request, highest)?.within(timeout).await?;
    Ok(read(response, &names, positions, options.read_committed))
}

fn read(
    response: FetchResponse,
    names: &HashMap<Uuid, Str>,
    positions: &BTreeMap<TopicPartition, Position>,
    read_committed: bool,
) -> Vec<Fetched> {
    let mut fetched = Vec::new();
    for topic in response.responses {
        let name = match topic.topic.is_empty() {
            true => names.get(&topic.topic_id).cloned().unwrap_or_default(),
            false => topic.topic,
        };
        for data in topic.partitions {
            let partition = TopicPartition::new(name.clone(), data.partition_index);
            if let Some(position) = positions.get(&partition) {
                fetched.push(read_partition(partition, data, *position, read_committed));
            }
        }
    }
    if !response.error_code.is_ok() {
        fetched.extend(positions.iter().map(|(partition, position)| {
            let data = PartitionData { error_code: response.error_code, ..Default::default() };
            read_partition(partition.clone(), data, *position, read_committed)
        }));
    }
    fetched
}

fn read_partition(
    partition: TopicPartition,
    data: PartitionData,
    position: Position,
    read_committed: bool,
) -> Fetched {
    let mut fetched = Fetched {
        error: data.error_code,
        high_watermark: data.high_watermark,
        preferred: Some(data.preferred_read_replica).filter(|replica| *replica >= 0),
        records: Vec::new(),
        next_offset: position.offset,
        malformed: None,
        partition,
    };
    let mut aborted = match read_committed {
        true => Aborted::new(data.aborted_transactions.unwrap_or_default()),
        false => Aborted::new(Vec::new()),
    };
    let mut bytes = data.records.unwrap_or_default();
    loop {
        // Brokers give segments from before record batches as they are.
        let read = Entry::split_from(&mut bytes).and_then(|entry| match entry {
            Some(Entry::Batch(batch)) => read_batch(&batch, &mut fetched, &mut aborted).map(|()| true),
            Some(Entry::Message(message)) => read_message(&message, &mut fetched).map(|()| true),
            None => Ok(false),
        });
        match read {
            Ok(true) => {}
            Ok(false) => break,
            Err(source) => {
                let (partition, offset) = (fetched.partition.clone(), fetched.next_offset);
                fetched.malformed = Some(ClientError::Records { partition, offset, source });
                break;
            }
        }
    }
    fetched
}

/// A message of v0 or v1, or those inside of a compressed one. They know neither headers nor leader epochs.
fn read_message(message: &Message, fetched: &mut Fetched) -> Result<(), BatchError> {
    message.check_crc()?;
    for inner in message.inner(DEFAULT_LIMIT)? {
        if inner.offset < fetched.next_offset {
            continue;
        }
        fetched.next_offset = inner.offset + 1;
        fetched.records.push(ConsumerRecord {
            partition: fetched.partition.clone(),
            offset: inner.offset,
            timestamp: inner.timestamp,
            is_log_append_time: message.is_log_append_time(),
            leader_epoch: -1,
            key: inner.message.key()?,
            value: inner.message.value()?,
            headers: Vec::new(),
        });
    }
    Ok(())
}

fn read_batch(batch: &Batch, fetched: &mut Fetched, aborted: &mut Aborted) -> Result<(), BatchError> {
    batch.check_crc()?;
    let header = batch.header();
    let visible = aborted.lets_through(batch)? && !header.attributes.is_control();
    if visible {
        for record in batch.records()? {
            let record = record?;
            // A fetch returns whole batches: their first records may be behind the position.
            if record.offset < fetched.next_offset {
                continue;
            }
            fetched.next_offset = record.offset + 1;
            fetched.records.push(ConsumerRecord {
                partition: fetched.partition.clone(),
                offset: record.offset,
                timestamp: record.timestamp,
                is_log_append_time: header.attributes.is_log_append_time(),
                leader_epoch: header.leader_epoch,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
        }
    }
    fetched.next_offset = fetched.next_offset.max(header.next_offset());
    Ok(())
}

/// Which producers' records belong to aborted transactions, from batch to batch.
struct Aborted {
    /// By first offset, the last one first.
    ahead: Vec<AbortedTransaction>,
    producers: BTreeSet<i64>,
}

impl Aborted {
    fn new(mut ahead: Vec<AbortedTransaction>) -> Aborted {
        ahead.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Aborted { ahead, producers: BTreeSet::new() }
    }

    fn lets_through(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        while self.ahead.last().is_some_and(|next| next.first_offset <= header.last_offset()) {
            self.producers.extend(self.ahead.pop().map(|transaction| transaction.producer_id));
        }
        if header.attributes.is_control() {
            if let Some(EndTransaction { marker: Marker::Abort, .. }) = EndTransaction::from_batch(batch)? {
                self.producers.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(!(header.attributes.is_transactional() && self.producers.contains(&header.producer_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use wire::batch::message_set::MessageSetBuilder;
    use wire::batch::{BatchBuilder, Compression};

    fn batch(base: i64, producer: i64, values: &[&str]) -> Bytes {
        let mut builder =
            BatchBuilder::new().base_offset(base).producer(producer, 0, 0).transactional(producer >= 0);
        for value in values {
            builder.push(1, None, Some(value.as_bytes()), &[]);
        }
        builder.finish().unwrap()
    }

    fn marker(base: i64, producer: i64, marker: Marker) -> Bytes {
        let mut bytes =
            BytesMut::from(&EndTransaction { marker, coordinator_epoch: 0 }.to_batch(producer, 0, 0, 1)[..]);
        wire::batch::header::set_base_offset(&mut bytes, base);
        bytes.freeze()
    }

    fn fetched(
        from: i64,
        read_committed: bool,
        aborted: &[(i64, i64)],
        batches: &[Bytes],
    ) -> (Vec<String>, i64) {
        let data = PartitionData {
            records: Some(batches.concat().into()),
            aborted_transactions: Some(
                aborted
                    .iter()
                    .map(|(producer_id, first_offset)| AbortedTransaction {
                        producer_id: *producer_id,
                        first_offset: *first_offset,
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        let position = Position { offset: from, leader_epoch: -1 };
        let fetched = read_partition(TopicPartition::new("t", 0), data, position, read_committed);
        assert!(fetched.malformed.is_none());
        let shown = |r: &ConsumerRecord| {
            format!("{}={}", r.offset, String::from_utf8_lossy(r.value.as_ref().unwrap()))
        };
        (fetched.records.iter().map(shown).collect(), fetched.next_offset)
    }

    #[test]
    fn records_before_the_position_are_left_out_of_a_batch() {
        assert_eq!(
            fetched(6, false, &[], &[batch(5, -1, &["a", "b", "c"])]),
            (vec!["6=b".into(), "7=c".into()], 8)
        );
    }

    #[test]
    fn messages_from_before_record_batches_are_read_too() {
        for magic in [0, 1] {
            for codec in [Compression::None, Compression::Gzip, Compression::Lz4] {
                let mut set = MessageSetBuilder::new(magic, codec, None, 3);
                for (offset, value) in [(3, "a"), (4, "b"), (5, "c")] {
                    set.push(offset, 7, Some(b"k"), Some(value.as_bytes()));
                }
                let entries = [set.finish().unwrap(), batch(6, -1, &["d"])];
                let read = fetched(4, false, &[], &entries);
                assert_eq!(read, (vec!["4=b".into(), "5=c".into(), "6=d".into()], 7), "v{magic} {codec:?}");
            }
        }
    }

    #[test]
    fn aborted_records_are_skipped_up_to_the_marker_and_only_by_those_who_ask() {
        let batches = [
            batch(0, 7, &["x"]),
            batch(1, 8, &["kept"]),
            marker(2, 7, Marker::Abort),
            batch(3, 7, &["later"]),
            marker(4, 8, Marker::Commit),
            marker(5, 7, Marker::Commit),
        ];
        let all = fetched(0, false, &[(7, 0)], &batches);
        assert_eq!(all, (vec!["0=x".into(), "1=kept".into(), "3=later".into()], 6));
        let committed = fetched(0, true, &[(7, 0)], &batches);
        assert_eq!(committed, (vec!["1=kept".into(), "3=later".into()], 6));
    }
}
