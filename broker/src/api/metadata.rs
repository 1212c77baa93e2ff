//! Metadata: nodes, topics, leaders; topics that are asked for and missing are created where that is allowed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType};
use bytes::BytesMut;
use wire::Str;
use wire::jute::{DecodeError, Reader};
use wire::kafka::error::ErrorTally;
use wire::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use wire::kafka::{ErrorCode, Message, Uuid};

use super::Call;
use super::access::NO_TOPIC;
use crate::metadata::{PartitionInfo, Snapshot, TopicInfo};
use crate::topics;

/// An answer: some topics, or all of a snapshot, which are written straight from there.
#[derive(Debug, Default)]
pub struct Answer {
    response: MetadataResponse,
    all: Option<All>,
}

#[derive(Debug)]
struct All {
    now: Arc<Snapshot>,
    listener: String,
    operations: i32,
    /// Of the topics, once they are written.
    errors: RefCell<ErrorTally>,
}

/// About the bytes of a partition in an answer.
const PARTITION_BYTES: usize = 48;

impl Answer {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let partitions = |all: &All| {
            all.now
                .topics
                .iter()
                .map(|(name, topic)| 24 + name.len() + topic.partitions.len() * PARTITION_BYTES)
                .sum()
        };
        1024 + self.all.as_ref().map_or(0, partitions)
    }
}

/// It is written only: a client reads it as [`MetadataResponse`].
impl Message for Answer {
    const FLEXIBLE_FROM: i16 = MetadataResponse::FLEXIBLE_FROM;

    fn read(from: &mut Reader, version: i16) -> Result<Answer, DecodeError> {
        Ok(Answer { response: MetadataResponse::read(from, version)?, all: None })
    }

    fn write(&self, to: &mut BytesMut, version: i16) {
        let Some(All { now, listener, operations, errors }) = &self.all else {
            return self.response.write(to, version);
        };
        let mut topics = now.topics.iter();
        let mut tally = ErrorTally::default();
        self.response.write_topics(to, version, now.topics.len(), |place| {
            if let Some((name, topic)) = topics.next() {
                known(version, listener, now, name, topic, place);
                place.topic_authorized_operations = *operations;
                tally.within(|tally| Message::count_errors(place, tally));
            }
        });
        errors.replace(tally);
    }

    fn count_errors(&self, to: &mut ErrorTally) {
        match &self.all {
            Some(all) => to.clone_from(&all.errors.borrow()),
            None => self.response.count_errors(to),
        }
    }
}

/// Answers from the snapshot of this moment.
pub async fn answer(call: &Call<'_>, request: MetadataRequest) -> Answer {
    let version = call.version();
    if version < 12
        && let Some(topics) = &request.topics
        && topics.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
    {
        let refused = |topic: &MetadataRequestTopic| MetadataResponseTopic {
            // This version has no null there.
            name: topic.name.clone().or_else(|| Some(Str::new())),
            ..failed(None, topic.topic_id, ErrorCode::INVALID_REQUEST)
        };
        let topics = topics.iter().map(refused).collect();
        return Answer { response: MetadataResponse { topics, ..Default::default() }, all: None };
    }
    let now = call.broker.metadata.snapshot();
    let listener = &call.peer.listener;
    let mut response = MetadataResponse {
        brokers: nodes(&now, listener),
        cluster_id: Some(call.broker.cluster_id.clone()),
        controller_id: now.controller.unwrap_or(-1),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = call.cluster_operations();
    }
    let operations = |topic: &str| match request.include_topic_authorized_operations {
        true => call.operations(ResourceType::Topic, topic),
        false => i32::MIN,
    };
    let Some(asked) = request.topics.filter(|asked| version > 0 || !asked.is_empty()) else {
        if call.authorizer().is_some() {
            for (name, topic) in now.topics.iter().filter(|(name, _)| may_see_quietly(call, name)) {
                let mut place = MetadataResponseTopic::default();
                known(version, listener, &now, name, topic, &mut place);
                place.topic_authorized_operations = operations(name);
                response.topics.push(place);
            }
            return Answer { response, all: None };
        }
        // They are the same for every topic.
        let all = All {
            now,
            listener: listener.to_string(),
            operations: operations(""),
            errors: RefCell::default(),
        };
        let all = Some(all);
        return Answer { response, all };
    };
    let may_create =
        request.allow_auto_topic_creation && call.broker.config.bool("auto.create.topics.enable");
    for topic in wanted(asked) {
        let by_id = !topic.topic_id.is_zero();
        let name = if by_id { now.names.get(&topic.topic_id).cloned() } else { topic.name };
        let mut answer = match (name, by_id) {
            (Some(name), _) if !call.may(Operation::Describe, ResourceType::Topic, &name) => {
                // Whoever asks by name learns nothing of the topic, and by id only that.
                let name = (!by_id).then_some(name);
                response.topics.push(MetadataResponseTopic {
                    is_internal: false,
                    ..failed(name, topic.topic_id, NO_TOPIC)
                });
                continue;
            }
            (Some(name), _) => match now.topics.get(&name) {
                Some(topic) => {
                    let mut place = MetadataResponseTopic::default();
                    known(version, listener, &now, &name, topic, &mut place);
                    place
                }
                None => missing(call, name, may_create).await,
            },
            (None, true) => failed(None, topic.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
            (None, false) => failed(None, Uuid::ZERO, ErrorCode::INVALID_REQUEST),
        };
        if !matches!(answer.error_code, ErrorCode::UNKNOWN_TOPIC_ID | NO_TOPIC) {
            let name = answer.name.as_deref().unwrap_or_default();
            answer.topic_authorized_operations = operations(name);
        }
        response.topics.push(answer);
    }
    Answer { response, all: None }
}

/// Each topic once. One id makes it a request for ids: names do not count then, nor whoever has only a name. (Java's
/// clients send an empty name with each id.)
fn wanted(mut asked: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    let by_id = asked.iter().any(|topic| !topic.topic_id.is_zero());
    let mut seen = HashSet::new();
    asked.retain(|topic| match by_id {
        true => !topic.topic_id.is_zero() && seen.insert((None, topic.topic_id)),
        false => seen.insert((topic.name.clone(), Uuid::ZERO)),
    });
    asked
}

fn nodes(now: &Snapshot, listener: &str) -> Vec<MetadataResponseBroker> {
    let on_listener = |(id, node): (&i32, &crate::metadata::Node)| {
        let (host, port) = node.endpoints.get(listener)?.clone();
        Some(MetadataResponseBroker { node_id: *id, host, port, rack: node.rack.clone() })
    };
    now.nodes.iter().filter_map(on_listener).collect()
}

fn failed(name: Option<Str>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(topics::is_internal);
    MetadataResponseTopic { error_code: error, name, topic_id: id, is_internal, ..Default::default() }
}

fn may_see_quietly(call: &Call<'_>, topic: &str) -> bool {
    call.may_quietly(Operation::Describe, ResourceType::Topic, topic)
}

/// A right to create topics at large, or this one.
fn may_create_it(call: &Call<'_>, topic: &str) -> bool {
    call.may_quietly(Operation::Create, ResourceType::Cluster, CLUSTER_NAME)
        || call.may(Operation::Create, ResourceType::Topic, topic)
}

async fn missing(call: &Call<'_>, name: Str, may_create: bool) -> MetadataResponseTopic {
    let error = if topics::check_name(&name).is_err() {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    } else if may_create && !may_create_it(call, &name) {
        NO_TOPIC
    } else if may_create {
        topics::auto_create(call.broker, &name, &mut call.mutations(i16::MAX)).await
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    };
    failed(Some(name), Uuid::ZERO, error)
}

/// Brings a topic into `place`, whatever was there before: its lists keep their memory.
fn known(
    version: i16,
    listener: &str,
    now: &Snapshot,
    name: &Str,
    topic: &TopicInfo,
    place: &mut MetadataResponseTopic,
) {
    place.error_code = ErrorCode::NONE;
    place.name = Some(name.clone());
    place.topic_id = topic.id;
    place.is_internal = topics::is_internal(name);
    place.partitions.resize_with(topic.partitions.len(), Default::default);
    for (place, (index, partition)) in place.partitions.iter_mut().zip(&topic.partitions) {
        one_partition(version, listener, now, *index, partition, place);
    }
}

fn one_partition(
    version: i16,
    listener: &str,
    now: &Snapshot,
    index: i32,
    partition: &PartitionInfo,
    place: &mut MetadataResponsePartition,
) {
    // Version 0 leaves out replicas that nobody can reach, and says so.
    let reachable = |ids: &[i32], into: &mut Vec<i32>| {
        into.clear();
        into.extend(ids.iter().filter(|id| version > 0 || now.address(**id, listener).is_some()));
        into.len() < ids.len()
    };
    let mut short = reachable(&partition.replicas, &mut place.replica_nodes);
    short |= reachable(&partition.isr, &mut place.isr_nodes);
    (place.leader_id, place.error_code) = if now.address(partition.leader, listener).is_some() {
        (partition.leader, if short { ErrorCode::REPLICA_NOT_AVAILABLE } else { ErrorCode::NONE })
    } else if now.nodes.contains_key(&partition.leader) && version >= 6 {
        (-1, ErrorCode::LISTENER_NOT_FOUND)
    } else {
        (-1, ErrorCode::LEADER_NOT_AVAILABLE)
    };
    place.partition_index = index;
    place.leader_epoch = partition.leader_epoch;
    place.offline_replicas.clone_from(&partition.offline);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: Option<&'static str>, id: u8) -> MetadataRequestTopic {
        MetadataRequestTopic { name: name.map(Str::from_static), topic_id: Uuid([id; 16]) }
    }

    #[test]
    fn one_id_makes_it_a_request_for_ids_and_each_topic_is_answered_once() {
        let names = |topics: Vec<MetadataRequestTopic>| -> Vec<(Option<Str>, u8)> {
            wanted(topics).into_iter().map(|topic| (topic.name, topic.topic_id.0[0])).collect()
        };
        let a = Some(Str::from_static("a"));
        let none = Some(Str::from_static(""));
        assert_eq!(
            names(vec![asked(Some("a"), 0), asked(Some("a"), 0), asked(None, 0)]),
            [(a, 0), (None, 0)]
        );
        let mixed = vec![asked(Some("a"), 0), asked(Some(""), 1), asked(None, 2), asked(None, 1)];
        assert_eq!(names(mixed), [(none, 1), (None, 2)]);
    }
}
