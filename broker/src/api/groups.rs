//! Consumer groups: what the coordinator is asked, and what of it this broker answers itself.

use std::collections::{HashMap, HashSet};

use broker_core::acl::{Operation, ResourceType};
use broker_core::group::{JoinContext, Request, Response, java_hash};
use wire::Str;
use wire::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use wire::kafka::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::kafka::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::kafka::txn_offset_commit::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use wire::kafka::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, ErrorCode, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};

use super::Call;
use super::access::{NO_GROUP, NO_TRANSACTIONAL_ID};
use crate::shard::Event;
use crate::topics::{self, GROUP_TOPIC, TRANSACTION_TOPIC};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Sends a request to the coordinator; `None` while the broker stops.
async fn ask(call: &Call<'_>, request: Request) -> Option<Response> {
    call.broker.shard.ask(|reply| Event::Group { request, reply }).await.ok()
}

/// Which broker coordinates a group, or a transactional id; makes the coordinators' topic on the first question.
pub async fn find_coordinator(call: &Call<'_>, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if call.version() < 4 {
        let found = find_one(call, request.key, request.key_type).await;
        return FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        };
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let mut found = find_one(call, key, request.key_type).await;
        if found.error_code != ErrorCode::INVALID_REQUEST {
            found.error_message = Some(Str::new());
        }
        coordinators.push(found);
    }
    FindCoordinatorResponse { coordinators, ..Default::default() }
}

/// The next generation's protocol, of which 3.5 has only the messages.
pub async fn consumer_heartbeat(
    _call: &Call<'_>,
    _request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, ..Default::default() }
}

async fn find_one(call: &Call<'_>, key: Str, key_type: i8) -> Coordinator {
    let nobody = |error: ErrorCode, message: &str| Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code: error,
        error_message: Some(message.into()),
        ..Default::default()
    };
    let (kind, refused) = match key_type {
        TRANSACTION => (ResourceType::TransactionalId, NO_TRANSACTIONAL_ID),
        _ => (ResourceType::Group, NO_GROUP),
    };
    if matches!(key_type, GROUP | TRANSACTION) && !call.may(Operation::Describe, kind, &key) {
        return nobody(refused, refused.message());
    }
    let coordinators_topic = match key_type {
        GROUP => GROUP_TOPIC,
        TRANSACTION => TRANSACTION_TOPIC,
        _ => return nobody(ErrorCode::INVALID_REQUEST, ErrorCode::INVALID_REQUEST.message()),
    };
    let unavailable =
        || nobody(ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::COORDINATOR_NOT_AVAILABLE.message());
    let now = call.broker.metadata.snapshot();
    let Some(topic) = now.topics.get(coordinators_topic) else {
        let name = Str::from_static(coordinators_topic);
        topics::auto_create(call.broker, &name, &mut call.mutations(i16::MAX)).await;
        return unavailable();
    };
    let partition = java_hash(&key).checked_abs().unwrap_or(0)
        % i32::try_from(topic.partitions.len().max(1)).unwrap_or(1);
    let leader = topic.partitions.get(&partition).map_or(-1, |partition| partition.leader);
    match now.address(leader, &call.peer.listener) {
        None => unavailable(),
        Some((host, port)) => Coordinator {
            key,
            node_id: leader,
            host: host.clone(),
            port: *port,
            error_code: ErrorCode::NONE,
            error_message: Some("NONE".into()),
        },
    }
}

pub async fn join(call: &Call<'_>, mut request: JoinGroupRequest) -> JoinGroupResponse {
    if call.version() == 0 {
        // There was one timeout for both.
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let context = JoinContext {
        client_id: call.client_id().into(),
        client_host: format!("/{}", call.peer.address.ip()).into(),
        uuid: uuid::Uuid::new_v4().to_string().into(),
        known_member_id_required: call.version() >= 4,
        can_skip_assignment: call.version() >= 9,
    };
    match ask(call, Request::Join(request, context)).await {
        Some(Response::Join(response)) => response,
        _ => JoinGroupResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

pub async fn sync(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    match ask(call, Request::Sync(request)).await {
        Some(Response::Sync(response)) => response,
        _ => SyncGroupResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

pub async fn heartbeat(call: &Call<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    match ask(call, Request::Heartbeat(request)).await {
        Some(Response::Heartbeat(response)) => response,
        _ => HeartbeatResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

pub async fn leave(call: &Call<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let single = call.version() < 3;
    match ask(call, Request::Leave { request, single }).await {
        Some(Response::Leave(response)) => response,
        _ => LeaveGroupResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

/// Partitions that do not exist are answered here, the rest by the coordinator.
pub async fn offset_commit(call: &Call<'_>, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let now = call.broker.metadata.snapshot();
    let order: Vec<(Str, Vec<i32>)> = request
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.partitions.iter().map(|one| one.partition_index).collect()))
        .collect();
    for topic in &mut request.topics {
        let name = topic.name.clone();
        topic.partitions.retain(|one| now.partition(&name, one.partition_index).is_some());
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    // Nothing to keep is nothing to the group, which is not even made for it.
    let response = match request.topics.is_empty() {
        true => OffsetCommitResponse::default(),
        false => match ask(call, Request::OffsetCommit(request)).await {
            Some(Response::OffsetCommit(response)) => response,
            _ => OffsetCommitResponse::default(),
        },
    };
    let answered: HashMap<(Str, i32), ErrorCode> = response
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|one| ((topic.name.clone(), one.partition_index), one.error_code))
        })
        .collect();
    let topics = order.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|partition_index| {
            let known = now.partition(&name, partition_index).is_some();
            let error_code = match answered.get(&(name.clone(), partition_index)) {
                Some(error) => *error,
                None if known => ErrorCode::COORDINATOR_NOT_AVAILABLE,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            OffsetCommitResponsePartition { partition_index, error_code }
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic { name, partitions }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// Partitions that do not exist are answered here, the rest by the coordinator.
pub async fn txn_offset_commit(
    call: &Call<'_>,
    mut request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let now = call.broker.metadata.snapshot();
    let mut unknown: Vec<TxnOffsetCommitResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let is_known = |n: i32| now.partition(&topic.name, n).is_some();
        let gone = topic.partitions.iter().filter(|one| !is_known(one.partition_index));
        let gone: Vec<TxnOffsetCommitResponsePartition> = gone
            .map(|one| TxnOffsetCommitResponsePartition {
                partition_index: one.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            })
            .collect();
        topic.partitions.retain(|one| now.partition(&topic.name, one.partition_index).is_some());
        if !gone.is_empty() {
            unknown.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions: gone });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let mut response = TxnOffsetCommitResponse::default();
    if !request.topics.is_empty() {
        let refused = refused_commit(&request);
        response = match ask(call, Request::TxnOffsetCommit(request)).await {
            Some(Response::TxnOffsetCommit(response)) => response,
            _ => refused,
        };
    }
    // Where the coordinator stumbles, Java refuses the whole request.
    let stumbled = |one: &TxnOffsetCommitResponsePartition| one.error_code == ErrorCode::UNKNOWN_SERVER_ERROR;
    if response.topics.iter().flat_map(|topic| &topic.partitions).any(stumbled) {
        for one in unknown.iter_mut().flat_map(|topic| &mut topic.partitions) {
            one.error_code = ErrorCode::UNKNOWN_SERVER_ERROR;
        }
    }
    if call.version() < 2 {
        // Clients that old do not survive hearing that a coordinator is loading.
        let all = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for one in all.filter(|one| one.error_code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) {
            one.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        }
    }
    for topic in unknown {
        match response.topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    response
}

/// The broker is stopping.
fn refused_commit(request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|one| TxnOffsetCommitResponsePartition {
                partition_index: one.partition_index,
                error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE,
            })
            .collect(),
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

pub async fn offset_fetch(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let errors_by_partition = call.version() < 2;
    match ask(call, Request::OffsetFetch { request, errors_by_partition }).await {
        Some(Response::OffsetFetch(mut response)) => {
            if call.version() == 0 {
                as_of_zookeeper(&mut response);
            }
            response
        }
        _ => OffsetFetchResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

/// The first version, which read ZooKeeper, takes a partition without an offset for one that does not exist, and knows no
/// metadata.
fn as_of_zookeeper(response: &mut OffsetFetchResponse) {
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.metadata = Some(Str::default());
        if partition.committed_offset == -1 && partition.error_code.is_ok() {
            partition.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
}

pub async fn describe(call: &Call<'_>, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = request.include_authorized_operations;
    let mut response = match ask(call, Request::Describe(request)).await {
        Some(Response::Describe(response)) => response,
        _ => DescribeGroupsResponse::default(),
    };
    for group in response.groups.iter_mut().filter(|group| operations && group.error_code.is_ok()) {
        group.authorized_operations = call.operations(ResourceType::Group, &group.group_id);
    }
    response
}

pub async fn list(call: &Call<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    match ask(call, Request::List(request)).await {
        Some(Response::List(response)) => response,
        _ => ListGroupsResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    }
}

pub async fn delete(call: &Call<'_>, mut request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    request.groups_names.retain(|group| seen.insert(group.clone()));
    match ask(call, Request::Delete(request)).await {
        Some(Response::Delete(response)) => response,
        _ => DeleteGroupsResponse::default(),
    }
}

/// Partitions that do not exist are answered here, the rest by the coordinator.
pub async fn offset_delete(call: &Call<'_>, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let now = call.broker.metadata.snapshot();
    let mut unknown: Vec<OffsetDeleteResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let name = topic.name.clone();
        let (known, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
            .into_iter()
            .partition(|one| now.partition(&name, one.partition_index).is_some());
        topic.partitions = known;
        let partitions = gone.into_iter().map(|one| OffsetDeleteResponsePartition {
            partition_index: one.partition_index,
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        });
        unknown.push(OffsetDeleteResponseTopic { name, partitions: partitions.collect() });
    }
    unknown.retain(|topic| !topic.partitions.is_empty());
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let mut response = match ask(call, Request::OffsetDelete(request)).await {
        Some(Response::OffsetDelete(response)) => response,
        _ => OffsetDeleteResponse { error_code: ErrorCode::COORDINATOR_NOT_AVAILABLE, ..Default::default() },
    };
    if response.error_code.is_ok() {
        for topic in unknown {
            match response.topics.iter_mut().find(|known| known.name == topic.name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => response.topics.push(topic),
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use wire::kafka::offset_fetch::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};

    use super::*;

    #[test]
    fn the_first_version_finds_neither_metadata_nor_partitions_without_an_offset() {
        let partition = |committed_offset| OffsetFetchResponsePartition {
            committed_offset,
            metadata: Some("note".into()),
            ..Default::default()
        };
        let topic =
            OffsetFetchResponseTopic { name: "t".into(), partitions: vec![partition(3), partition(-1)] };
        let mut response = OffsetFetchResponse { topics: vec![topic], ..Default::default() };
        as_of_zookeeper(&mut response);
        let partitions = &response.topics[0].partitions;
        assert_eq!(partitions[0].error_code, ErrorCode::NONE);
        assert_eq!(partitions[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert!(partitions.iter().all(|one| one.metadata.as_deref() == Some("")));
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }
}
