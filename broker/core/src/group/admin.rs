//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete, and the removal of offsets that nobody needs any more.

use super::event::{Effect, Record, Response, Token};
use super::offsets::{Offset, TopicPartition};
use super::records::{group_tombstone, offset_record};
use super::state::{Group, Member, State};
use super::{Coordinator, Cx, Slot};
use crate::error::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::delete_groups::DeletableGroupResult;
use wire::kafka::describe_groups::{DescribedGroup, DescribedGroupMember};
use wire::kafka::list_groups::ListedGroup;
use wire::kafka::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::kafka::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};

impl Coordinator {
    pub(super) fn describe(&mut self, token: Token, request: DescribeGroupsRequest, out: &mut Vec<Effect>) {
        let groups = request.groups.into_iter().map(|id| match self.check(&id, true) {
            Err(error_code) => DescribedGroup { error_code, group_id: id, ..DescribedGroup::default() },
            Ok(()) => match self.groups.get(&id) {
                Some(group) => group.describe(),
                None => {
                    let group_state = Str::from_static(State::Dead.name());
                    DescribedGroup { group_id: id, group_state, ..DescribedGroup::default() }
                }
            },
        });
        let response =
            DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() };
        out.push(Effect::Reply { token, response: Response::Describe(response) });
    }

    pub(super) fn list(&mut self, token: Token, request: &ListGroupsRequest, out: &mut Vec<Effect>) {
        let mut response = ListGroupsResponse::default();
        if self.stopped {
            response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE;
        } else {
            if self.slots.values().any(|slot| matches!(slot, Slot::Loading(_))) {
                response.error_code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
            }
            let wanted = |group: &&Group| {
                let filter = &request.states_filter;
                filter.is_empty() || filter.iter().any(|state| state == group.state.name())
            };
            let groups = self.groups.values().filter(wanted).map(|group| ListedGroup {
                group_id: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                group_state: Str::from_static(group.state.name()),
            });
            response.groups = groups.collect();
        }
        out.push(Effect::Reply { token, response: Response::List(response) });
    }

    pub(super) fn delete(
        &mut self,
        now: i64,
        token: Token,
        request: DeleteGroupsRequest,
        out: &mut Vec<Effect>,
    ) {
        let mut results: BTreeMap<Str, ErrorCode> = BTreeMap::new();
        for id in &request.groups_names {
            if results.contains_key(id) {
                continue;
            }
            let error = match self.check(id, true) {
                Err(error) => error,
                Ok(()) => self
                    .with(now, id, out, |group, cx| group.delete(cx))
                    .unwrap_or(ErrorCode::GROUP_ID_NOT_FOUND),
            };
            results.insert(id.clone(), error);
        }
        let mut response = DeleteGroupsResponse::default();
        for group_id in request.groups_names {
            // The names are a set: each is answered once.
            if let Some(error_code) = results.remove(&group_id) {
                response.results.push(DeletableGroupResult { group_id, error_code });
            }
        }
        out.push(Effect::Reply { token, response: Response::Delete(response) });
    }

    pub(super) fn offset_delete(
        &mut self,
        now: i64,
        token: Token,
        request: OffsetDeleteRequest,
        out: &mut Vec<Effect>,
    ) {
        let deleted = self.check(&request.group_id, false).and_then(|()| {
            self.with(now, &request.group_id, out, |group, cx| group.delete_offsets(&request, cx))
                .unwrap_or(Err(ErrorCode::GROUP_ID_NOT_FOUND))
        });
        let response = match deleted {
            Ok(topics) => OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() },
            Err(error_code) => OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() },
        };
        out.push(Effect::Reply { token, response: Response::OffsetDelete(response) });
    }

    pub(super) fn expire_offsets(&mut self, now: i64, out: &mut Vec<Effect>) {
        let retention_ms = self.config.offsets_retention_ms;
        self.clean_up_all(now, out, |group| group.expired(now, retention_ms));
    }

    pub(super) fn topics_deleted(&mut self, now: i64, partitions: &[TopicPartition], out: &mut Vec<Effect>) {
        self.clean_up_all(now, out, |group| group.offsets.remove(partitions));
    }

    fn clean_up_all(
        &mut self,
        now: i64,
        out: &mut Vec<Effect>,
        remove: impl Fn(&mut Group) -> Vec<TopicPartition>,
    ) {
        let ids: Vec<Str> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with(now, &id, out, |group, cx| {
                let removed = remove(group);
                group.clean_up(removed, cx);
            });
        }
    }
}

impl Group {
    fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol.clone().filter(|_| self.state == State::Stable);
        let mut members: Vec<&Member> = self.members.values().collect();
        members.sort_by_key(|member| member.order);
        let members = members.into_iter().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol.as_ref().map(|name| member.metadata(name)).unwrap_or_default(),
            member_assignment: match self.state {
                State::Stable => member.assignment.clone(),
                _ => Bytes::new(),
            },
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: Str::from_static(self.state.name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.clone().unwrap_or_default(),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }

    fn delete(&mut self, cx: &mut Cx<'_>) -> ErrorCode {
        match self.state {
            State::Dead => ErrorCode::GROUP_ID_NOT_FOUND,
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                ErrorCode::NON_EMPTY_GROUP
            }
            State::Empty => {
                let all: Vec<TopicPartition> = self.offsets.partitions().cloned().collect();
                let removed = self.offsets.remove(&all);
                self.transition(State::Dead, cx.now);
                self.clean_up(removed, cx);
                ErrorCode::NONE
            }
        }
    }

    fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<OffsetDeleteResponseTopic>, ErrorCode> {
        let active =
            matches!(self.state, State::PreparingRebalance | State::CompletingRebalance | State::Stable);
        if active && !self.is_consumer_group() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut topics = Vec::new();
        let mut deletable = Vec::new();
        for topic in &request.topics {
            let subscribed = active && self.is_subscribed_to(&topic.name);
            let error_code = if subscribed { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            });
            topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            });
            if !subscribed {
                deletable.extend(topic.partitions.iter().map(|p| (topic.name.clone(), p.partition_index)));
            }
        }
        if !deletable.is_empty() {
            let removed = self.offsets.remove(&deletable);
            self.clean_up(removed, cx);
        }
        Ok(topics)
    }

    /// Writes tombstones for what was removed. An empty group without offsets is gone.
    fn clean_up(&mut self, removed: Vec<TopicPartition>, cx: &mut Cx<'_>) {
        if self.state == State::Empty && self.offsets.is_empty() {
            self.transition(State::Dead, cx.now);
        }
        let mut records: Vec<Record> = removed
            .iter()
            .map(|partition| offset_record(&self.id, partition, None, cx.config.protocol))
            .collect();
        // Generation 0 was never written.
        if self.state == State::Dead && self.generation > 0 {
            records.push(group_tombstone(&self.id));
        }
        cx.append_unwatched(self, records);
    }

    /// Removes the offsets whose time is over: counted from when the group became empty, or from the commit where
    /// nobody subscribes to the topic or the group was never managed by us.
    fn expired(&mut self, now: i64, retention_ms: i64) -> Vec<TopicPartition> {
        let expired = |offset: &Offset, base: i64| match offset.expire_timestamp {
            Some(at) => now >= at,
            None => now.saturating_sub(base) >= retention_ms,
        };
        let since = self.state_since;
        match (&self.protocol_type, self.state, &self.subscribed) {
            (Some(_), State::Empty, _) => self
                .offsets
                .remove_expired(|_, offset| expired(offset, since.unwrap_or(offset.commit_timestamp))),
            (Some(_), State::Stable, Some(subscribed)) if self.is_consumer_group() => {
                self.offsets.remove_expired(|(topic, _), offset| {
                    !subscribed.contains(topic) && expired(offset, offset.commit_timestamp)
                })
            }
            (None, _, _) => self.offsets.remove_expired(|_, offset| expired(offset, offset.commit_timestamp)),
            _ => Vec::new(),
        }
    }
}
