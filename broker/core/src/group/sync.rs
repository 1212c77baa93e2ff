//! SyncGroup, Heartbeat, LeaveGroup.

use super::event::{Effect, Response, Token};
use super::records::group_record;
use super::state::{Group, State};
use super::{Coordinator, Cx, Then, store_error};
use crate::error::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::leave_group::{MemberIdentity, MemberResponse};
use wire::kafka::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};

/// The leader's assignment, on its way to the log.
#[derive(Debug)]
pub(super) struct Assigning {
    generation: i32,
    assignments: BTreeMap<Str, Bytes>,
}

fn sync_refusal(error: ErrorCode) -> Response {
    Response::Sync(SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() })
}

impl Coordinator {
    pub(super) fn sync(&mut self, now: i64, token: Token, request: SyncGroupRequest, out: &mut Vec<Effect>) {
        let refused = match self.check(&request.group_id, false) {
            // The rebalance is lost with what the last coordinator knew: the member has to join again. Old clients do
            // not expect to hear of the load.
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => Some(ErrorCode::REBALANCE_IN_PROGRESS),
            Err(error) => Some(error),
            Ok(()) if !self.groups.contains_key(&request.group_id) => Some(ErrorCode::UNKNOWN_MEMBER_ID),
            Ok(()) => None,
        };
        if let Some(error) = refused {
            out.push(Effect::Reply { token, response: sync_refusal(error) });
            return;
        }
        let group_id = request.group_id.clone();
        self.with(now, &group_id, out, |group, cx| group.sync(token, request, cx));
    }

    pub(super) fn heartbeat(
        &mut self,
        now: i64,
        token: Token,
        request: &HeartbeatRequest,
        out: &mut Vec<Effect>,
    ) {
        let error_code = match self.check(&request.group_id, false) {
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => ErrorCode::NONE,
            Err(error) => error,
            Ok(()) => self
                .with(now, &request.group_id, out, |group, cx| group.heartbeat(request, cx.now))
                .unwrap_or(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        let response = HeartbeatResponse { error_code, ..HeartbeatResponse::default() };
        out.push(Effect::Reply { token, response: Response::Heartbeat(response) });
    }

    pub(super) fn leave(
        &mut self,
        now: i64,
        token: Token,
        request: LeaveGroupRequest,
        single: bool,
        out: &mut Vec<Effect>,
    ) {
        let leaving = match single {
            true => vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }],
            false => request.members,
        };
        let mut response = LeaveGroupResponse::default();
        match self.check(&request.group_id, false) {
            // Java has no room for what is wrong with the group where an answer is for one member.
            Err(_) if single => response.error_code = ErrorCode::UNSUPPORTED_VERSION,
            Err(error) => response.error_code = error,
            Ok(()) => {
                let left = self.with(now, &request.group_id, out, |group, cx| {
                    leaving.iter().map(|member| group.leave(member, cx)).collect::<Vec<_>>()
                });
                let errors = left.unwrap_or_else(|| vec![ErrorCode::UNKNOWN_MEMBER_ID; leaving.len()]);
                let members = leaving.into_iter().zip(errors);
                response.members =
                    members.map(|(member, error_code)| left_response(member, error_code)).collect();
            }
        }
        if single && let [member] = &response.members[..] {
            response = LeaveGroupResponse { error_code: member.error_code, ..LeaveGroupResponse::default() };
        }
        out.push(Effect::Reply { token, response: Response::Leave(response) });
    }
}

fn left_response(member: MemberIdentity, error_code: ErrorCode) -> MemberResponse {
    MemberResponse { member_id: member.member_id, group_instance_id: member.group_instance_id, error_code }
}

impl Group {
    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |theirs: &Option<Str>, ours: &Option<Str>| theirs.is_some() && theirs != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.state {
            State::Dead => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    fn sync(&mut self, token: Token, request: SyncGroupRequest, cx: &mut Cx<'_>) {
        if let Err(error) = self.check_sync(&request) {
            return cx.reply(token, sync_refusal(error));
        }
        self.pending_sync.remove(&request.member_id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
        let Some(member) = self.members.get_mut(&request.member_id) else { return };
        if self.state == State::Stable {
            let response = SyncGroupResponse {
                protocol_type: self.protocol_type.clone(),
                protocol_name: self.protocol.clone(),
                assignment: member.assignment.clone(),
                ..SyncGroupResponse::default()
            };
            cx.reply(token, Response::Sync(response));
            return self.keep_alive(&request.member_id, cx.now);
        }
        if let Some(before) = member.awaiting_sync.replace(token) {
            cx.reply(before, sync_refusal(ErrorCode::REBALANCE_IN_PROGRESS));
        }
        if self.is_leader(&request.member_id) {
            let given = request.assignments.into_iter().map(|given| (given.member_id, given.assignment));
            let assignments = given.collect();
            let record = group_record(self, &assignments, cx.config.protocol);
            let assigning = Assigning { generation: self.generation, assignments };
            cx.append(self, vec![record], None, Then::Assign(assigning));
        }
    }

    /// The leader's assignment is in the log, or cannot be. A rebalance may have begun in between.
    pub(super) fn assigned(&mut self, assigning: Assigning, result: Result<i64, ErrorCode>, cx: &mut Cx<'_>) {
        if self.state != State::CompletingRebalance || self.generation != assigning.generation {
            return;
        }
        match result {
            Ok(_) => {
                self.propagate(&assigning.assignments, cx);
                self.transition(State::Stable, cx.now);
            }
            Err(error) => {
                self.fail_syncs(store_error(error), cx);
                self.maybe_prepare_rebalance(&format!("{error:?} when storing the assignment"), cx);
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, now: i64) -> ErrorCode {
        if let Err(error) = self.check_member(&request.member_id, request.group_instance_id.as_ref()) {
            return error;
        }
        if request.generation_id != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        match self.state {
            State::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            State::Dead => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            State::PreparingRebalance => {
                self.keep_alive(&request.member_id, now);
                ErrorCode::REBALANCE_IN_PROGRESS
            }
            State::CompletingRebalance | State::Stable => {
                self.keep_alive(&request.member_id, now);
                ErrorCode::NONE
            }
        }
    }

    /// One member leaves, or is made to by its instance id.
    fn leave(&mut self, leaving: &MemberIdentity, cx: &mut Cx<'_>) -> ErrorCode {
        let instance = leaving.group_instance_id.as_ref();
        let member = match leaving.member_id.is_empty() {
            true => match instance.and_then(|instance| self.static_members.get(instance)) {
                Some(member) => member.clone(),
                None => return ErrorCode::UNKNOWN_MEMBER_ID,
            },
            false => leaving.member_id.clone(),
        };
        if self.pending.contains_key(&member) {
            self.remove_pending(&member, cx);
            return ErrorCode::NONE;
        }
        match self.check_member(&member, instance) {
            Err(error) => error,
            Ok(()) => {
                let why = leaving.reason.as_deref().filter(|why| !why.is_empty()).unwrap_or("not provided");
                let reason = format!("Removing member {member} on LeaveGroup; client reason: {why}");
                self.remove_and_rebalance(&member, &reason, cx);
                ErrorCode::NONE
            }
        }
    }
}
