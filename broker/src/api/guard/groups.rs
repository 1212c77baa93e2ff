//! Consumer groups and the offsets that they keep.

use broker_core::acl::{CLUSTER_NAME, Operation, ResourceType};
use wire::Str;
use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::describe_groups::DescribedGroup;
use wire::kafka::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::kafka::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::kafka::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use wire::kafka::txn_offset_commit::{
    TxnOffsetCommitRequestTopic, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use wire::kafka::*;

use crate::api::access::{NO_GROUP, NO_TOPIC, NO_TRANSACTIONAL_ID};
use crate::api::{Call, groups};

use ResourceType::{Group, Topic};

/// Static members need every broker to know of them: a coordinator of before 2.3 would make them dynamic.
fn may_be_static(call: &Call<'_>, instance: &Option<Str>) -> bool {
    instance.is_none() || call.broker.config.protocol.has_static_members()
}

pub async fn join_group(call: &Call<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let error_code = match call.may(Operation::Read, Group, &request.group_id) {
        true if may_be_static(call, &request.group_instance_id) => return groups::join(call, request).await,
        true => ErrorCode::UNSUPPORTED_VERSION,
        false => NO_GROUP,
    };
    let protocol_name = (call.version() < 7).then(Str::default);
    JoinGroupResponse { error_code, generation_id: -1, protocol_name, ..Default::default() }
}

pub async fn sync_group(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let lacks_protocol =
        call.version() >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none());
    let error_code = if !may_be_static(call, &request.group_instance_id) {
        ErrorCode::UNSUPPORTED_VERSION
    } else if lacks_protocol {
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    } else if call.may(Operation::Read, Group, &request.group_id) {
        return groups::sync(call, request).await;
    } else {
        NO_GROUP
    };
    SyncGroupResponse { error_code, ..Default::default() }
}

pub async fn heartbeat(call: &Call<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let error_code = match call.may(Operation::Read, Group, &request.group_id) {
        true if may_be_static(call, &request.group_instance_id) => {
            return groups::heartbeat(call, request).await;
        }
        true => ErrorCode::UNSUPPORTED_VERSION,
        false => NO_GROUP,
    };
    HeartbeatResponse { error_code, ..Default::default() }
}

pub async fn leave_group(call: &Call<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    if call.may(Operation::Read, Group, &request.group_id) {
        return groups::leave(call, request).await;
    }
    LeaveGroupResponse { error_code: NO_GROUP, ..Default::default() }
}

pub async fn describe_groups(call: &Call<'_>, mut request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let denied = call.split(Operation::Describe, Group, &mut request.groups, |group| group);
    let mut response = match request.groups.is_empty() && !denied.is_empty() {
        true => DescribeGroupsResponse::default(),
        false => groups::describe(call, request).await,
    };
    let failed = |group_id| DescribedGroup { group_id, error_code: NO_GROUP, ..Default::default() };
    response.groups.splice(0..0, denied.into_iter().map(failed));
    response
}

pub async fn list_groups(call: &Call<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    let mut response = groups::list(call, request).await;
    if !call.may_quietly(Operation::Describe, ResourceType::Cluster, CLUSTER_NAME) {
        response.groups.retain(|group| call.may_quietly(Operation::Describe, Group, &group.group_id));
    }
    response
}

pub async fn delete_groups(call: &Call<'_>, mut request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let denied = call.split(Operation::Delete, Group, &mut request.groups_names, |group| group);
    let mut response = match request.groups_names.is_empty() && !denied.is_empty() {
        true => DeleteGroupsResponse::default(),
        false => groups::delete(call, request).await,
    };
    let failed = |group_id| DeletableGroupResult { group_id, error_code: NO_GROUP };
    response.results.extend(denied.into_iter().map(failed));
    response
}

pub async fn offset_commit(call: &Call<'_>, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let may = call.may(Operation::Read, Group, &request.group_id);
    let unsafely_static = !may_be_static(call, &request.group_instance_id);
    let (denied, error_code) = match may {
        true if unsafely_static => (std::mem::take(&mut request.topics), ErrorCode::UNSUPPORTED_VERSION),
        true => (call.split(Operation::Read, Topic, &mut request.topics, |topic| &topic.name), NO_TOPIC),
        false => (std::mem::take(&mut request.topics), NO_GROUP),
    };
    let mut response = match request.topics.is_empty() && !denied.is_empty() {
        true => OffsetCommitResponse::default(),
        false if may && !unsafely_static => groups::offset_commit(call, request).await,
        false => OffsetCommitResponse::default(),
    };
    let failed = denied.into_iter().map(|topic| {
        let failed = |partition_index| OffsetCommitResponsePartition { partition_index, error_code };
        let partitions = topic.partitions.iter().map(|one| failed(one.partition_index)).collect();
        OffsetCommitResponseTopic { name: topic.name, partitions }
    });
    response.topics.splice(0..0, failed);
    response
}

pub async fn txn_offset_commit(
    call: &Call<'_>,
    mut request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let refused = if !call.may(Operation::Write, ResourceType::TransactionalId, &request.transactional_id) {
        Some(NO_TRANSACTIONAL_ID)
    } else if !call.may(Operation::Read, Group, &request.group_id) {
        Some(NO_GROUP)
    } else {
        None
    };
    let failed = |topic: TxnOffsetCommitRequestTopic, error_code| {
        let failed = |partition_index| TxnOffsetCommitResponsePartition { partition_index, error_code };
        let partitions = topic.partitions.iter().map(|one| failed(one.partition_index)).collect();
        TxnOffsetCommitResponseTopic { name: topic.name, partitions }
    };
    if let Some(error) = refused {
        let topics = request.topics.into_iter().map(|topic| failed(topic, error)).collect();
        return TxnOffsetCommitResponse { topics, ..Default::default() };
    }
    let denied = call.split(Operation::Read, Topic, &mut request.topics, |topic| &topic.name);
    let mut response = groups::txn_offset_commit(call, request).await;
    response.topics.splice(0..0, denied.into_iter().map(|topic| failed(topic, NO_TOPIC)));
    response
}

/// Offsets of topics that the sender may not look at are left out where all were asked for.
pub async fn offset_fetch(call: &Call<'_>, mut request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.authorizer().is_none() {
        return groups::offset_fetch(call, request).await;
    }
    if call.version() >= 8 {
        return offset_fetch_by_group(call, request).await;
    }
    if !call.may(Operation::Describe, Group, &request.group_id) {
        return refused_fetch(call, request);
    }
    let all = request.topics.is_none();
    let denied = match &mut request.topics {
        Some(topics) => call.split(Operation::Describe, Topic, topics, |topic| &topic.name),
        None => Vec::new(),
    };
    let mut response = groups::offset_fetch(call, request).await;
    if all {
        response.topics.retain(|topic| call.may(Operation::Describe, Topic, &topic.name));
    } else if response.error_code.is_ok() {
        response.topics.extend(denied.into_iter().map(|topic| {
            let failed = |partition_index| unseen(partition_index, NO_TOPIC);
            let partitions = topic.partition_indexes.into_iter().map(failed).collect();
            OffsetFetchResponseTopic { name: topic.name, partitions }
        }));
    }
    response
}

fn unseen(partition_index: i32, error_code: ErrorCode) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: -1,
        metadata: Some(Str::default()),
        error_code,
        ..Default::default()
    }
}

/// Version 0 tells of the error with each partition; version 1 has no place for it.
fn refused_fetch(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.filter(|_| call.version() == 0).unwrap_or_default();
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.into_iter().map(|index| unseen(index, NO_GROUP));
        OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    OffsetFetchResponse { error_code: NO_GROUP, topics: topics.collect(), ..Default::default() }
}

async fn offset_fetch_by_group(call: &Call<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let mut groups_answered = Vec::with_capacity(request.groups.len());
    for mut group in request.groups {
        if !call.may(Operation::Describe, Group, &group.group_id) {
            groups_answered.push(OffsetFetchResponseGroup {
                group_id: group.group_id,
                error_code: NO_GROUP,
                ..Default::default()
            });
            continue;
        }
        let denied = match &mut group.topics {
            Some(topics) => call.split(Operation::Describe, Topic, topics, |topic| &topic.name),
            None => Vec::new(),
        };
        let mut answered = one_group(call, group, request.require_stable).await;
        if answered.error_code.is_ok() {
            answered.topics.extend(denied.into_iter().map(|topic| {
                let failed = |partition_index| OffsetFetchResponsePartitions {
                    partition_index,
                    committed_offset: -1,
                    metadata: Some(Str::default()),
                    error_code: NO_TOPIC,
                    ..Default::default()
                };
                let partitions = topic.partition_indexes.into_iter().map(failed).collect();
                OffsetFetchResponseTopics { name: topic.name, partitions }
            }));
        }
        groups_answered.push(answered);
    }
    OffsetFetchResponse { groups: groups_answered, ..Default::default() }
}

async fn one_group(
    call: &Call<'_>,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let (group_id, all) = (group.group_id.clone(), group.topics.is_none());
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
    let response = groups::offset_fetch(call, request).await;
    let failed = OffsetFetchResponseGroup { group_id, error_code: response.error_code, ..Default::default() };
    let mut answered = response.groups.into_iter().next().unwrap_or(failed);
    if all {
        answered.topics.retain(|topic| call.may(Operation::Describe, Topic, &topic.name));
    }
    answered
}

pub async fn offset_delete(call: &Call<'_>, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    if !call.may(Operation::Delete, Group, &request.group_id) {
        return OffsetDeleteResponse { error_code: NO_GROUP, ..Default::default() };
    }
    let denied = call.split(Operation::Read, Topic, &mut request.topics, |topic| &topic.name);
    let mut response = groups::offset_delete(call, request).await;
    if response.error_code.is_ok() {
        let failed = denied.into_iter().map(|topic| {
            let failed =
                |partition_index| OffsetDeleteResponsePartition { partition_index, error_code: NO_TOPIC };
            let partitions = topic.partitions.iter().map(|one| failed(one.partition_index)).collect();
            OffsetDeleteResponseTopic { name: topic.name, partitions }
        });
        response.topics.splice(0..0, failed);
    }
    response
}
