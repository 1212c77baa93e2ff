//! From one generation to the next: who is waited for, for how long, and what the members are told.

use super::event::Response;
use super::records::group_record;
use super::state::{Group, InitialDelay, JoinWait, Member, State};
use super::{Cx, Then};
use crate::error::ErrorCode;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::Str;
use wire::kafka::{JoinGroupResponse, SyncGroupResponse};

impl Group {
    /// The answer to a member that has joined this generation.
    pub(super) fn joined(&self, member: &str) -> JoinGroupResponse {
        let members = if self.is_leader(member) { self.members_for_leader() } else { Vec::new() };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: Str::from(member),
            members,
            ..JoinGroupResponse::default()
        }
    }

    /// Answers a member that waits for the end of a rebalance.
    pub(super) fn answer_join(&mut self, member: &str, response: JoinGroupResponse, cx: &mut Cx<'_>) {
        if let Some(token) = self.take_join(member) {
            cx.reply(token, Response::Join(response));
        }
    }

    /// Starts a rebalance where the state allows one.
    pub(super) fn maybe_prepare_rebalance(&mut self, reason: &str, cx: &mut Cx<'_>) {
        if self.can_rebalance() {
            self.prepare_rebalance(reason, cx);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, reason: &str, cx: &mut Cx<'_>) {
        cx.tell(format!(
            "Preparing to rebalance group {} in state {} with old generation {} (__consumer_offsets-{}) (reason: {reason})",
            self.id,
            self.state.name(),
            self.generation,
            self.partition
        ));
        if self.state == State::CompletingRebalance {
            self.fail_syncs(ErrorCode::REBALANCE_IN_PROGRESS, cx);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        let delay_ms = cx.config.initial_rebalance_delay_ms;
        let wait = if self.state == State::Empty {
            let remaining_ms = (self.rebalance_ms() - delay_ms).max(0);
            JoinWait { deadline: cx.now + delay_ms, initial: Some(InitialDelay { delay_ms, remaining_ms }) }
        } else {
            JoinWait { deadline: cx.now + self.rebalance_ms(), initial: None }
        };
        self.wait_for_joins(wait);
        self.transition(State::PreparingRebalance, cx.now);
        self.try_complete_join(cx);
    }

    fn wait_for_joins(&mut self, wait: JoinWait) {
        self.is_due_at(wait.deadline);
        self.join_wait = Some(wait);
    }

    /// Ends the wait for members if all are there.
    pub(super) fn try_complete_join(&mut self, cx: &mut Cx<'_>) {
        let waits = self.join_wait.is_some_and(|wait| wait.initial.is_none());
        if self.state == State::PreparingRebalance && waits && self.all_joined() {
            self.complete_join(cx);
        }
    }

    fn join_deadline_passed(&mut self, cx: &mut Cx<'_>) {
        let initial = self.join_wait.and_then(|wait| wait.initial);
        if let Some(InitialDelay { delay_ms, remaining_ms }) = initial
            && self.new_member_added
            && remaining_ms != 0
        {
            self.new_member_added = false;
            let next_ms = cx.config.initial_rebalance_delay_ms.min(remaining_ms);
            let initial = InitialDelay { delay_ms: next_ms, remaining_ms: (remaining_ms - delay_ms).max(0) };
            self.wait_for_joins(JoinWait { deadline: cx.now + next_ms, initial: Some(initial) });
            return;
        }
        self.complete_join(cx);
    }

    /// Whoever has not joined by now is out, unless static; the rest is the next generation.
    fn complete_join(&mut self, cx: &mut Cx<'_>) {
        self.join_wait = None;
        let late = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        let late: Vec<Str> = self.members.values().filter(late).map(|member| member.id.clone()).collect();
        if let Some(first) = late.first() {
            let (id, count) = (&self.id, late.len());
            cx.tell(format!("Group {id} removed {count} dynamic members who haven't joined, {first} first"));
        }
        for member in late {
            self.drop_member(&member, cx);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Static members only, and none came: wait until one does, or all sessions have ended.
            let deadline = cx.now + self.rebalance_ms().max(1);
            cx.tell(format!("Group {} could not complete its rebalance because no member rejoined", self.id));
            self.wait_for_joins(JoinWait { deadline, initial: None });
            return;
        }
        self.next_generation(cx.now);
        cx.tell(if self.state == State::Empty {
            format!(
                "Group {} with generation {} is now empty (__consumer_offsets-{})",
                self.id, self.generation, self.partition
            )
        } else {
            format!(
                "Stabilized group {} generation {} (__consumer_offsets-{}) with {} members",
                self.id,
                self.generation,
                self.partition,
                self.members.len()
            )
        });
        if self.state == State::Empty {
            let record = group_record(self, &BTreeMap::new(), cx.config.protocol);
            cx.append(self, vec![record], None, Then::Emptied);
            return;
        }
        let members: Vec<Str> = self.members.keys().cloned().collect();
        for id in members {
            let response = self.joined(&id);
            self.answer_join(&id, response, cx);
            self.keep_alive(&id, cx.now);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.pending_sync.insert(id);
        }
        let deadline = cx.now + self.rebalance_ms();
        self.is_due_at(deadline);
        self.sync_deadline = Some(deadline);
    }

    /// The member's session starts anew.
    pub(super) fn keep_alive(&mut self, member: &str, now: i64) {
        if let Some(member) = self.members.get_mut(member) {
            let deadline = now + i64::from(member.session_ms);
            member.session_deadline = Some(deadline);
            self.is_due_at(deadline);
        }
    }

    /// Removes a member for good; the others may have to rebalance.
    pub(super) fn remove_and_rebalance(&mut self, member: &str, reason: &str, cx: &mut Cx<'_>) {
        self.drop_member(member, cx);
        match self.state {
            State::Dead | State::Empty => {}
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(reason, cx),
            State::PreparingRebalance => self.try_complete_join(cx),
        }
    }

    /// Removes a member; whatever it waits for is answered.
    pub(super) fn drop_member(&mut self, member: &str, cx: &mut Cx<'_>) {
        let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
        self.answer_join(
            member,
            JoinGroupResponse { error_code: unknown, ..JoinGroupResponse::default() },
            cx,
        );
        if let Some(token) = self.remove(member).and_then(|member| member.awaiting_sync) {
            let response = SyncGroupResponse { error_code: unknown, ..SyncGroupResponse::default() };
            cx.reply(token, Response::Sync(response));
        }
    }

    pub(super) fn remove_pending(&mut self, member: &str, cx: &mut Cx<'_>) {
        self.remove(member);
        self.try_complete_join(cx);
    }

    /// Gives every member its assignment, and an answer to those who wait for one.
    pub(super) fn propagate(&mut self, assignments: &BTreeMap<Str, Bytes>, cx: &mut Cx<'_>) {
        let mut due = None;
        for member in self.members.values_mut() {
            member.assignment = assignments.get(&member.id).cloned().unwrap_or_default();
            let Some(token) = member.awaiting_sync.take() else { continue };
            due = member.restart_session(cx.now).min(due.or(Some(i64::MAX)));
            let response = SyncGroupResponse {
                protocol_type: self.protocol_type.clone(),
                protocol_name: self.protocol.clone(),
                assignment: member.assignment.clone(),
                ..SyncGroupResponse::default()
            };
            cx.reply(token, Response::Sync(response));
        }
        due.into_iter().for_each(|at| self.is_due_at(at));
    }

    /// There will be no assignment for this generation.
    pub(super) fn fail_syncs(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        let mut due = None;
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            let Some(token) = member.awaiting_sync.take() else { continue };
            due = member.restart_session(cx.now).min(due.or(Some(i64::MAX)));
            let response = SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() };
            cx.reply(token, Response::Sync(response));
        }
        due.into_iter().for_each(|at| self.is_due_at(at));
    }

    /// What is due: sessions, ids given out in vain, members that did not come or did not sync.
    pub(super) fn run_timers(&mut self, cx: &mut Cx<'_>) {
        let due = |deadline: Option<i64>| deadline.is_some_and(|at| at <= cx.now);
        let pending: Vec<Str> =
            self.pending.iter().filter(|(_, at)| **at <= cx.now).map(|(id, _)| id.clone()).collect();
        let members: Vec<Str> =
            self.members.values().filter(|m| due(m.session_deadline)).map(|m| m.id.clone()).collect();
        for id in pending {
            self.remove_pending(&id, cx);
        }
        for id in members {
            self.session_ended(&id, cx);
        }
        if self.join_wait.is_some_and(|wait| wait.deadline <= cx.now) {
            self.join_deadline_passed(cx);
        }
        if self.sync_deadline.is_some_and(|at| at <= cx.now) {
            self.sync_deadline_passed(cx);
        }
        self.find_due();
    }

    fn session_ended(&mut self, id: &str, cx: &mut Cx<'_>) {
        let Some(member) =
            self.members.get_mut(id).filter(|m| m.session_deadline.is_some_and(|at| at <= cx.now))
        else {
            return;
        };
        // Waiting for an answer of ours is as good as a heartbeat; the answer starts the session anew.
        let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
        if waits && !member.is_new {
            member.session_deadline = None;
            return;
        }
        cx.tell(format!("Member {id} in group {} has failed, removing it from the group", self.id));
        self.remove_and_rebalance(id, &format!("removing member {id} on heartbeat expiration"), cx);
    }

    fn sync_deadline_passed(&mut self, cx: &mut Cx<'_>) {
        self.sync_deadline = None;
        let active = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !active || self.pending_sync.is_empty() {
            return;
        }
        let late = std::mem::take(&mut self.pending_sync);
        for member in &late {
            self.drop_member(member, cx);
        }
        let first = late.first().map_or("", |member| member);
        let reason =
            format!("removing {} members without assignment, {first} first, on sync expiration", late.len());
        self.prepare_rebalance(&reason, cx);
    }
}
