//! CreateTopics, DeleteTopics, CreatePartitions: written to ZooKeeper by the controller, then waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType};
use wire::Str;
use wire::kafka::create_partitions::{CreatePartitionsTopic, CreatePartitionsTopicResult};
use wire::kafka::create_topics::{CreatableTopic, CreatableTopicConfigs, CreatableTopicResult};
use wire::kafka::delete_topics::DeletableTopicResult;
use wire::kafka::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, ErrorCode, Uuid,
};

use super::access::NO_TOPIC;
use super::{Call, text};
use crate::config::{Dynamic, Source, TOPIC_KEYS, effective};
use crate::controller;
use crate::metadata::Snapshot;
use crate::quotas::Mutations;

/// A name that clusters without ZooKeeper need for themselves: nobody may have it, so that a move to one stays possible.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// An error code and its text.
type Refused = (ErrorCode, Option<String>);

fn refusal(code: ErrorCode, message: impl Into<String>) -> Refused {
    (code, Some(message.into()))
}

/// A text that says no more than the code is not sent.
fn refused(refusal: controller::topics::Refusal) -> Refused {
    let tells = refusal.message != refusal.code.message();
    (refusal.code, tells.then_some(refusal.message))
}

pub async fn create(call: &Call<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut mutations = call.mutations(6);
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let mut results: Vec<CreatableTopicResult> = Vec::with_capacity(request.topics.len());
    let mut made = Vec::new();
    for topic in &request.topics {
        let outcome = if !call.broker.is_controller() {
            Err((ErrorCode::NOT_CONTROLLER, None))
        } else if repeated.contains(&topic.name) {
            Err(refusal(ErrorCode::INVALID_REQUEST, "Found multiple entries for this topic."))
        } else if topic.name == CLUSTER_METADATA_TOPIC || !may_create(call, &topic.name) {
            Err(refusal(ErrorCode::TOPIC_AUTHORIZATION_FAILED, "Authorization failed."))
        } else {
            create_one(call, topic, &mut mutations, request.validate_only).await
        };
        results.push(match outcome {
            Ok(result) => {
                made.push(topic.name.clone());
                result
            }
            Err((error_code, message)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code,
                topic_config_error_code: match error_code {
                    NO_TOPIC if !may_see_configs(call, &topic.name) => NO_TOPIC,
                    _ => ErrorCode::NONE,
                },
                error_message: message.map(Str::from),
                configs: Some(Vec::new()),
                ..Default::default()
            },
        });
    }
    if !request.validate_only && !made.is_empty() {
        let led = |now: &Snapshot, name: &Str| {
            let wanted =
                results.iter().find(|result| result.name == *name).map_or(0, |result| result.num_partitions);
            now.topics.get(name).is_some_and(|topic| {
                topic.partitions.len() as i64 >= i64::from(wanted)
                    && topic.partitions.values().all(|partition| partition.leader >= 0)
            })
        };
        let late = wait(call, request.timeout_ms, &made, led).await;
        for result in results.iter_mut().filter(|result| late.contains(&result.name)) {
            *result = CreatableTopicResult {
                name: result.name.clone(),
                error_code: ErrorCode::REQUEST_TIMED_OUT,
                configs: Some(Vec::new()),
                ..Default::default()
            };
        }
    }
    CreateTopicsResponse { topics: results, throttle_time_ms: mutations.throttle_ms() }
}

/// Names that come more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a Str>) -> BTreeSet<Str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert((*name).clone())).cloned().collect()
}

/// Waits until `done` holds of each topic; those of which it does not in time are returned.
async fn wait(
    call: &Call<'_>,
    timeout_ms: i32,
    names: &[Str],
    done: impl Fn(&Snapshot, &Str) -> bool,
) -> BTreeSet<Str> {
    let metadata = &call.broker.metadata;
    if let Ok(patience) = u64::try_from(timeout_ms)
        && patience > 0
    {
        let all_done = metadata.wait_until(|now| names.iter().all(|name| done(now, name)));
        let _ = tokio::time::timeout(Duration::from_millis(patience), all_done).await;
        let now = metadata.snapshot();
        return names.iter().filter(|name| !done(&now, name)).cloned().collect();
    }
    names.iter().cloned().collect()
}

/// A right to create topics at large, or this one.
fn may_create(call: &Call<'_>, topic: &str) -> bool {
    call.may_quietly(Operation::Create, ResourceType::Cluster, CLUSTER_NAME)
        || call.may(Operation::Create, ResourceType::Topic, topic)
}

fn may_see_configs(call: &Call<'_>, topic: &str) -> bool {
    call.may_quietly(Operation::DescribeConfigs, ResourceType::Topic, topic)
}

async fn create_one(
    call: &Call<'_>,
    topic: &CreatableTopic,
    mutations: &mut Mutations<'_>,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refused> {
    let check = super::configs::check_topic_configs;
    let created = controller::topics::create_topic(call.broker, topic, check, mutations, validate_only)
        .await
        .map_err(refused)?;
    if !may_see_configs(call, &topic.name) {
        return Ok(CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: created.id,
            topic_config_error_code: NO_TOPIC,
            configs: Some(Vec::new()),
            ..Default::default()
        });
    }
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(described(call, &created.overrides)),
        ..Default::default()
    })
}

/// The new topic's settings as they will be in effect.
fn described(call: &Call<'_>, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let dynamic: &Dynamic = &call.broker.dynamic.load();
    let entry = |name: &'static str| {
        let (value, source): (_, Source) = effective(name, &call.broker.config, dynamic, Some(overrides));
        CreatableTopicConfigs {
            name: name.into(),
            value: value.map(Str::from),
            read_only: false,
            config_source: source as i8,
            is_sensitive: false,
        }
    };
    TOPIC_KEYS.iter().filter(|key| !key.internal).map(|key| entry(key.name)).collect()
}

pub async fn delete(call: &Call<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut mutations = call.mutations(5);
    let now = call.broker.metadata.snapshot();
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
    let by_state = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let asked: Vec<(Option<Str>, Uuid)> = by_name.chain(by_state).collect();
    let enabled = call.broker.config.bool("delete.topic.enable");
    let all_fail = if !call.broker.is_controller() {
        Some(ErrorCode::NOT_CONTROLLER)
    } else if !enabled {
        let old = call.version() < 3;
        Some(if old { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED })
    } else {
        asked.iter().any(names_twice).then_some(ErrorCode::INVALID_REQUEST)
    };
    let named = |(name, topic_id)| match all_fail {
        Some(error_code) => DeletableTopicResult { name, topic_id, error_code, ..Default::default() },
        None => find_one(call, &now, name, topic_id),
    };
    let mut results: Vec<DeletableTopicResult> = asked.into_iter().map(named).collect();
    // Each is deleted once, however often it is named, and the first of its results tells how that went.
    let (mut tried, mut going) = (BTreeSet::new(), Vec::new());
    for result in &mut results {
        let Some(name) = result.name.clone().filter(|_| result.error_code.is_ok()) else { continue };
        if tried.insert(name.clone()) {
            match delete_one(call, &now, &name, &mut mutations).await {
                Ok(()) => going.push(name),
                Err(error_code) => result.error_code = error_code,
            }
        }
    }
    if !going.is_empty() {
        let late = wait(call, request.timeout_ms, &going, |now, name| !now.topics.contains_key(name)).await;
        for name in late {
            if let Some(first) = results.iter_mut().find(|result| result.name.as_ref() == Some(&name)) {
                first.error_code = ErrorCode::REQUEST_TIMED_OUT;
            }
        }
    }
    DeleteTopicsResponse { responses: results, throttle_time_ms: mutations.throttle_ms() }
}

/// By name and by id: one of them is too much, and spoils the whole request.
fn names_twice((name, id): &(Option<Str>, Uuid)) -> bool {
    name.is_some() && !id.is_zero()
}

/// Which topic is meant, and whether it is there and may be deleted.
fn find_one(call: &Call<'_>, now: &Snapshot, name: Option<Str>, topic_id: Uuid) -> DeletableTopicResult {
    let by_id = !topic_id.is_zero();
    let name = if by_id { now.names.get(&topic_id).cloned() } else { name };
    let (error_code, name) = match name {
        None if by_id => (ErrorCode::UNKNOWN_TOPIC_ID, None),
        None => (NO_TOPIC, None),
        // Whoever may look at the topic may know its name.
        Some(name) if by_id && !may(call, Operation::Describe, &name) => (NO_TOPIC, None),
        Some(name) if !may(call, Operation::Delete, &name) => (NO_TOPIC, Some(name)),
        Some(name) if !now.topics.contains_key(&name) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(name)),
        Some(name) => (ErrorCode::NONE, Some(name)),
    };
    DeletableTopicResult { name, topic_id, error_code, ..Default::default() }
}

fn may(call: &Call<'_>, operation: Operation, topic: &str) -> bool {
    call.may(operation, ResourceType::Topic, topic)
}

async fn delete_one(
    call: &Call<'_>,
    now: &Snapshot,
    name: &Str,
    mutations: &mut Mutations<'_>,
) -> Result<(), ErrorCode> {
    let partitions = now.topics.get(name).map_or(0, |topic| topic.partitions.len());
    if !mutations.allow(partitions) {
        return Err(ErrorCode::THROTTLING_QUOTA_EXCEEDED);
    }
    controller::topics::delete_topic(call.broker, name).await.map_err(|refusal| refusal.code)
}

pub async fn create_partitions(
    call: &Call<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut mutations = call.mutations(3);
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let mut results: Vec<CreatePartitionsTopicResult> = Vec::with_capacity(request.topics.len());
    let mut grown = Vec::new();
    for topic in &request.topics {
        if results.iter().any(|result| result.name == topic.name) {
            continue;
        }
        let outcome = if !call.broker.is_controller() {
            Err((ErrorCode::NOT_CONTROLLER, None))
        } else if repeated.contains(&topic.name) {
            Err(refusal(ErrorCode::INVALID_REQUEST, "Duplicate topic in request."))
        } else if !call.may(Operation::Alter, ResourceType::Topic, &topic.name) {
            Err(refusal(NO_TOPIC, "The topic authorization is failed."))
        } else if call.broker.zk().topic_is_being_deleted(&topic.name).await.unwrap_or(false) {
            Err(refusal(ErrorCode::INVALID_TOPIC_EXCEPTION, "The topic is queued for deletion."))
        } else if !can_be_a_node(&topic.name) {
            return stumbled(&request);
        } else {
            controller::topics::create_partitions(call.broker, topic, &mut mutations, request.validate_only)
                .await
                .map_err(refused)
        };
        let (error_code, message) = match outcome {
            Ok(()) => {
                grown.push(topic.name.clone());
                (ErrorCode::NONE, None)
            }
            Err(refused) => refused,
        };
        let error_message = message.and_then(text);
        results.push(CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message });
    }
    if !request.validate_only && !grown.is_empty() {
        let led = |now: &Snapshot, name: &Str| {
            let count =
                request.topics.iter().find(|topic| topic.name == *name).map_or(0, |topic| topic.count);
            now.topics.get(name).is_some_and(|topic| {
                (0..count)
                    .all(|index| topic.partitions.get(&index).is_some_and(|partition| partition.leader >= 0))
            })
        };
        let late = wait(call, request.timeout_ms, &grown, led).await;
        for result in results.iter_mut().filter(|result| late.contains(&result.name)) {
            result.error_code = ErrorCode::REQUEST_TIMED_OUT;
        }
    }
    CreatePartitionsResponse { results, throttle_time_ms: mutations.throttle_ms() }
}

/// Whether ZooKeeper takes a topic's name as (the end of) a path.
fn can_be_a_node(name: &str) -> bool {
    let plain = |c: char| !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    name.split('/').all(|part| !matches!(part, "" | "." | "..")) && name.chars().all(plain)
}

/// Java stumbles over a name that can be no node, and with it over all of the request; what came before it is done.
fn stumbled(request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let failed = |topic: &CreatePartitionsTopic| CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
        error_message: None,
    };
    CreatePartitionsResponse { results: request.topics.iter().map(failed).collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_zookeeper_takes_for_no_path_is_known() {
        assert!(can_be_a_node("a.b") && can_be_a_node("bad name!") && can_be_a_node("..."));
        for name in ["", ".", "..", "a/", "a//b", "a/../b", "a\0", "\u{7f}"] {
            assert!(!can_be_a_node(name), "{name:?}");
        }
    }

    #[test]
    fn a_topic_to_delete_is_named_by_name_or_id_not_by_both() {
        let (name, id) = (Some(Str::from_static("a")), Uuid([1; 16]));
        assert!(names_twice(&(name.clone(), id)));
        assert!(!names_twice(&(name, Uuid::ZERO)) && !names_twice(&(None, id)));
    }

    #[test]
    fn a_repeated_name_is_found_once() {
        let names = [Str::from_static("a"), Str::from_static("b"), Str::from_static("a")];
        assert_eq!(repeated(names.iter()).into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
