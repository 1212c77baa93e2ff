//! JoinGroup.

use super::event::{Effect, JoinContext, Response, Token};
use super::records::group_record;
use super::state::{Group, Member, State};
use super::{Coordinator, Cx, Then, store_error};
use crate::error::ErrorCode;
use bytes::Bytes;
use wire::Str;
use wire::kafka::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

/// How long a member that never joined before may wait for its first rebalance to end.
const NEW_MEMBER_JOIN_MS: i64 = 300_000;

/// A request, with what else is needed to decide on it.
struct Joining<'a> {
    token: Token,
    member_id: Str,
    instance_id: Option<Str>,
    rebalance_ms: i32,
    session_ms: i32,
    protocol_type: Str,
    protocols: Vec<(Str, Bytes)>,
    /// Why it joins, in its client's words (KIP-800).
    reason: Option<Str>,
    context: &'a JoinContext,
}

impl Joining<'_> {
    /// Who joins and why, behind the id, for a log.
    fn words(&self) -> String {
        let instance =
            self.instance_id.as_ref().map_or_else(String::new, |id| format!(" with group instance id {id}"));
        let why = self.reason.as_deref().filter(|why| !why.is_empty()).unwrap_or("not provided");
        format!("{instance}; client reason: {why}")
    }
}

/// A static member that came back under a new id, to be answered once that is in the log.
#[derive(Debug)]
pub(super) struct Replaced {
    token: Token,
    instance_id: Str,
    old: Member,
    new_id: Str,
    leader_before: Str,
    can_skip_assignment: bool,
}

fn refusal(member_id: &Str, error: ErrorCode) -> Response {
    Response::Join(JoinGroupResponse {
        error_code: error,
        member_id: member_id.clone(),
        ..JoinGroupResponse::default()
    })
}

impl Coordinator {
    pub(super) fn join(
        &mut self,
        now: i64,
        token: Token,
        request: JoinGroupRequest,
        context: &JoinContext,
        out: &mut Vec<Effect>,
    ) {
        if let Err(error) = self.may_join(&request) {
            out.push(Effect::Reply { token, response: refusal(&request.member_id, error) });
            return;
        }
        let group_id = request.group_id;
        if request.member_id.is_empty() {
            self.group_or_new(now, &group_id);
        }
        let joining = Joining {
            token,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            rebalance_ms: request.rebalance_timeout_ms,
            session_ms: request.session_timeout_ms,
            protocol_type: request.protocol_type,
            protocols: request
                .protocols
                .into_iter()
                .map(|protocol| (protocol.name, protocol.metadata))
                .collect(),
            reason: request.reason,
            context,
        };
        self.with(now, &group_id, out, |group, cx| {
            group.join(joining, cx);
            group.try_complete_join(cx);
        });
    }

    fn may_join(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        self.check(&request.group_id, false)?;
        let allowed = self.config.session_ms_min..=self.config.session_ms_max;
        if !allowed.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        if !request.member_id.is_empty() && !self.groups.contains_key(&request.group_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        Ok(())
    }
}

impl Group {
    fn join(&mut self, joining: Joining<'_>, cx: &mut Cx<'_>) {
        let nobody = Str::new();
        if !self.has_room_for(&joining.member_id, cx.config.size_max) {
            self.drop_member(&joining.member_id, cx);
            return cx.reply(joining.token, refusal(&nobody, ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        let is_new = joining.member_id.is_empty();
        if !self.supports(&joining.protocol_type, &joining.protocols) {
            let id = if is_new { &nobody } else { &joining.member_id };
            return cx.reply(joining.token, refusal(id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        match (is_new, self.pending.contains_key(&joining.member_id)) {
            (true, _) => self.join_new(joining, cx),
            // Ids are given out to dynamic members only; Java's code does not expect this either.
            (false, true) if joining.instance_id.is_some() => {
                cx.reply(joining.token, refusal(&nobody, ErrorCode::UNKNOWN_SERVER_ERROR));
            }
            (false, true) => self.add_member(joining.member_id.clone(), joining, cx),
            (false, false) => self.join_known(joining, cx),
        }
    }

    fn has_room_for(&self, member: &str, size_max: usize) -> bool {
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                let waits = self.members.get(member).is_some_and(|member| member.awaiting_join.is_some());
                waits || self.awaiting_join_count() < size_max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(member) || self.members.len() < size_max
            }
        }
    }

    fn join_new(&mut self, joining: Joining<'_>, cx: &mut Cx<'_>) {
        let context = joining.context;
        let prefix = joining.instance_id.as_ref().unwrap_or(&context.client_id);
        let new_id = Str::from(format!("{prefix}-{}", context.uuid));
        let known =
            joining.instance_id.as_ref().and_then(|instance| self.static_members.get(instance).cloned());
        match (known, &joining.instance_id) {
            (Some(old_id), Some(_)) => self.replace_static(&old_id, new_id, joining, cx),
            (_, None) if context.known_member_id_required => {
                let deadline = cx.now + i64::from(joining.session_ms);
                self.is_due_at(deadline);
                self.pending.insert(new_id.clone(), deadline);
                cx.reply(joining.token, refusal(&new_id, ErrorCode::MEMBER_ID_REQUIRED));
            }
            _ => self.add_member(new_id, joining, cx),
        }
    }

    fn add_member(&mut self, id: Str, joining: Joining<'_>, cx: &mut Cx<'_>) {
        if self.state == State::PreparingRebalance && self.generation == 0 {
            self.new_member_added = true;
        }
        let reason = format!("Adding new member {id}{}", joining.words());
        let member = Member {
            id,
            instance_id: joining.instance_id,
            client_id: joining.context.client_id.clone(),
            client_host: joining.context.client_host.clone(),
            rebalance_ms: joining.rebalance_ms,
            session_ms: joining.session_ms,
            protocols: joining.protocols,
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: Some(joining.token),
            awaiting_sync: None,
            session_deadline: Some(cx.now + NEW_MEMBER_JOIN_MS),
            order: 0,
        };
        self.add(member, &joining.protocol_type);
        self.maybe_prepare_rebalance(&reason, cx);
    }

    /// Is this the member it says, and under its current id?
    pub(super) fn check_member(&self, member: &str, instance: Option<&Str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if current != member => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    fn join_known(&mut self, joining: Joining<'_>, cx: &mut Cx<'_>) {
        let id = joining.member_id.clone();
        if let Err(error) = self.check_member(&id, joining.instance_id.as_ref()) {
            return cx.reply(joining.token, refusal(&id, error));
        }
        let unchanged = self.members.get(&id).is_some_and(|member| member.protocols == joining.protocols);
        match self.state {
            // It may have missed the answer to its first request.
            State::CompletingRebalance if unchanged => {
                let response = self.joined(&id);
                cx.reply(joining.token, Response::Join(response));
            }
            State::Stable if unchanged && !self.is_leader(&id) => {
                let response = self.joined(&id);
                cx.reply(joining.token, Response::Join(response));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let verb = if self.is_leader(&id) { "Leader re-joins:" } else { "Updating metadata of" };
                let reason = format!("{verb} member {id} in state {}{}", self.state.name(), joining.words());
                self.update_member(&id, joining, cx);
                self.maybe_prepare_rebalance(&reason, cx);
            }
            State::Empty | State::Dead => cx.reply(joining.token, refusal(&id, ErrorCode::UNKNOWN_MEMBER_ID)),
        }
    }

    /// A member that joins twice waits for the second answer; nobody else reads the first, but it is not left open.
    fn update_member(&mut self, id: &str, joining: Joining<'_>, cx: &mut Cx<'_>) {
        self.update(id, joining.protocols, joining.rebalance_ms, joining.session_ms);
        if let Some(before) = self.await_join(id, joining.token) {
            cx.reply(before, refusal(&Str::from(id), ErrorCode::REBALANCE_IN_PROGRESS));
        }
    }

    /// A static member came back without its id: it gets a new one, and whoever still uses the old one is fenced.
    fn replace_static(&mut self, old_id: &Str, new_id: Str, joining: Joining<'_>, cx: &mut Cx<'_>) {
        let Some(instance_id) = joining.instance_id.clone() else { return };
        let leader_before = self.leader.clone().unwrap_or_default();
        let Some(old) = self.members.get(old_id).cloned() else { return };
        self.rename_static(&instance_id, old_id, &new_id, cx);
        self.keep_alive(&new_id, cx.now);
        let reason = format!("Static member {new_id} came back{}", joining.words());
        let (token, can_skip_assignment) = (joining.token, joining.context.can_skip_assignment);
        self.update_member(&new_id, joining, cx);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                let assignments = self
                    .members
                    .values()
                    .map(|member| (member.id.clone(), member.assignment.clone()))
                    .collect();
                let record = group_record(self, &assignments, cx.config.protocol);
                let replaced =
                    Replaced { token, instance_id, old, new_id, leader_before, can_skip_assignment };
                cx.append(self, vec![record], None, Then::Replaced(Box::new(replaced)));
            }
            State::Stable => self.maybe_prepare_rebalance(&reason, cx),
            // The old id may be with the leader already, which would leave the new one without assignment.
            State::CompletingRebalance => self.prepare_rebalance(&reason, cx),
            State::PreparingRebalance | State::Empty | State::Dead => {}
        }
    }

    fn rename_static(&mut self, instance: &Str, from: &Str, to: &Str, cx: &mut Cx<'_>) {
        let fenced = ErrorCode::FENCED_INSTANCE_ID;
        let Response::Join(response) = refusal(from, fenced) else { return };
        self.answer_join(from, response, cx);
        let Some(mut member) = self.members.remove(from) else { return };
        if let Some(token) = member.awaiting_sync.take() {
            let response = SyncGroupResponse { error_code: fenced, ..SyncGroupResponse::default() };
            cx.reply(token, Response::Sync(response));
        }
        member.id = to.clone();
        self.members.insert(to.clone(), member);
        if self.pending_sync.remove(from) {
            self.pending_sync.insert(to.clone());
        }
        if self.is_leader(from) {
            self.leader = Some(to.clone());
        }
        self.static_members.insert(instance.clone(), to.clone());
    }

    /// The new id of a static member is in the log, or cannot be.
    pub(super) fn replaced(&mut self, replaced: Replaced, result: Result<i64, ErrorCode>, cx: &mut Cx<'_>) {
        let Replaced { token, instance_id, old, new_id, leader_before, can_skip_assignment } = replaced;
        // Something else may have answered it, or taken its place, in the meantime.
        let waits = self.members.get(&new_id).is_some_and(|member| member.awaiting_join == Some(token));
        if !waits {
            return;
        }
        if let Err(error) = result {
            let response = JoinGroupResponse {
                error_code: store_error(error),
                generation_id: self.generation,
                protocol_type: self.protocol_type.clone(),
                protocol_name: self.protocol.clone(),
                leader: leader_before,
                ..JoinGroupResponse::default()
            };
            self.answer_join(&new_id, response, cx);
            let old_id = old.id.clone();
            self.rename_static(&instance_id, &new_id, &old_id, cx);
            self.update(&old_id, old.protocols, old.rebalance_ms, old.session_ms);
            return self.keep_alive(&old_id, cx.now);
        }
        let mut response = self.joined(&new_id);
        if can_skip_assignment {
            response.skip_assignment = self.is_leader(&new_id);
        } else {
            // Told the leader's old id, it does not take itself for the leader and leaves the assignment alone.
            response.members = Vec::new();
            response.leader = leader_before;
        }
        self.answer_join(&new_id, response, cx);
        self.keep_alive(&new_id, cx.now);
    }
}
