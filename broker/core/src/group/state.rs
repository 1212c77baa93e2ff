//! A group: its members, where it is between two generations, its offsets.

use super::event::Token;
use super::offsets::Offsets;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::consumer_protocol::ConsumerProtocolSubscription;
use wire::kafka::join_group::JoinGroupResponseMember;
use wire::kafka::{codec::Message, split_version};

/// The protocol type of Kafka's own consumers.
pub(super) const CONSUMER: &str = "consumer";

/// Empty ← PreparingRebalance; PreparingRebalance ← Stable, CompletingRebalance, Empty; CompletingRebalance ←
/// PreparingRebalance; Stable ← CompletingRebalance; Dead ← any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub id: Str,
    pub instance_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub rebalance_ms: i32,
    pub session_ms: i32,
    /// Name and metadata, the preferred one first.
    pub protocols: Vec<(Str, Bytes)>,
    pub assignment: Bytes,
    /// It has not yet been through a rebalance: the session time-out does not count while it waits.
    pub is_new: bool,
    pub awaiting_join: Option<Token>,
    pub awaiting_sync: Option<Token>,
    pub session_deadline: Option<i64>,
    /// Members in the order in which they came.
    pub order: u64,
}

impl Member {
    /// Its session starts anew; when it ends.
    pub fn restart_session(&mut self, now: i64) -> Option<i64> {
        self.session_deadline = Some(now + i64::from(self.session_ms));
        self.session_deadline
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

/// Waiting for members to (re)join.
#[derive(Debug, Clone, Copy)]
pub(super) struct JoinWait {
    pub deadline: i64,
    /// The group was empty: it waits in any case, in steps of `delay_ms`, `remaining_ms` more at most.
    pub initial: Option<InitialDelay>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InitialDelay {
    pub delay_ms: i64,
    pub remaining_ms: i64,
}

#[derive(Debug)]
pub(super) struct Group {
    pub id: Str,
    pub partition: i32,
    pub state: State,
    /// When it got into its state; `None` after a load of records that do not say.
    pub state_since: Option<i64>,
    pub protocol_type: Option<Str>,
    pub protocol: Option<Str>,
    pub generation: i32,
    pub leader: Option<Str>,
    pub members: BTreeMap<Str, Member>,
    /// Member ids given out and not used yet, with the end of their time.
    pub pending: BTreeMap<Str, i64>,
    /// Members of this generation that have not sent SyncGroup.
    pub pending_sync: BTreeSet<Str>,
    /// Instance id to member id.
    pub static_members: BTreeMap<Str, Str>,
    pub new_member_added: bool,
    pub join_wait: Option<JoinWait>,
    pub sync_deadline: Option<i64>,
    /// How many members wait for the answer to their JoinGroup.
    joining: usize,
    /// By protocol, how many members know it.
    supported: BTreeMap<Str, usize>,
    /// Nothing is due before this time; later than the earliest deadline it never is.
    due: Option<i64>,
    /// Topics that the members of a consumer group subscribe to, where that is known.
    pub subscribed: Option<BTreeSet<Str>>,
    pub offsets: Offsets,
    /// The time at which the coordinator looks at this group next.
    pub wake_at: Option<i64>,
    next_order: u64,
}

impl Group {
    pub fn new(id: Str, partition: i32, now: i64) -> Group {
        Group {
            id,
            partition,
            state: State::Empty,
            state_since: Some(now),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            static_members: BTreeMap::new(),
            new_member_added: false,
            join_wait: None,
            sync_deadline: None,
            joining: 0,
            supported: BTreeMap::new(),
            due: None,
            subscribed: None,
            offsets: Offsets::default(),
            wake_at: None,
            next_order: 0,
        }
    }

    pub fn transition(&mut self, to: State, now: i64) {
        let allowed = match to {
            State::Empty | State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::PreparingRebalance => self.can_rebalance(),
            State::Stable => self.state == State::CompletingRebalance,
            State::Dead => true,
        };
        assert!(allowed, "group {} cannot go from {:?} to {to:?}", self.id, self.state);
        self.state = to;
        self.state_since = Some(now);
    }

    pub fn can_rebalance(&self) -> bool {
        matches!(self.state, State::Stable | State::CompletingRebalance | State::Empty)
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader == member)
    }

    pub fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|name| name == CONSUMER)
    }

    pub fn awaiting_join_count(&self) -> usize {
        self.joining
    }

    pub fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.len() == self.joining
    }

    /// The member waits for the answer to this JoinGroup; gives the one that it waited for before.
    pub fn await_join(&mut self, id: &str, token: Token) -> Option<Token> {
        let before = self.members.get_mut(id)?.awaiting_join.replace(token);
        self.joining += usize::from(before.is_none());
        before
    }

    /// The JoinGroup that the member waits for is to be answered.
    pub fn take_join(&mut self, id: &str) -> Option<Token> {
        let token = self.members.get_mut(id)?.awaiting_join.take();
        self.joining -= usize::from(token.is_some());
        token
    }

    fn count_protocols(&mut self, protocols: &[(Str, Bytes)], known: bool) {
        for (n, (name, _)) in protocols.iter().enumerate() {
            if protocols[..n].iter().any(|(before, _)| before == name) {
                continue;
            }
            let count = self.supported.entry(name.clone()).or_default();
            *count = if known { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.supported.remove(name);
            }
        }
    }

    /// What a member says of itself when it joins again.
    pub fn update(&mut self, id: &str, protocols: Vec<(Str, Bytes)>, rebalance_ms: i32, session_ms: i32) {
        let Some(member) = self.members.get_mut(id) else { return };
        (member.rebalance_ms, member.session_ms) = (rebalance_ms, session_ms);
        if member.protocols == protocols {
            return;
        }
        let before = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_protocols(&before, false);
        self.count_protocols(&protocols, true);
    }

    pub fn add(&mut self, mut member: Member, protocol_type: &Str) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending.remove(&member.id);
        self.count_protocols(&member.protocols, true);
        self.joining += usize::from(member.awaiting_join.is_some());
        if let Some(at) = member.session_deadline {
            self.is_due_at(at);
        }
        member.order = self.next_order;
        self.next_order += 1;
        self.members.insert(member.id.clone(), member);
    }

    pub fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id);
        if let Some(member) = &member {
            self.count_protocols(&member.protocols, false);
            self.joining -= usize::from(member.awaiting_join.is_some());
        }
        if let Some(instance) = member.as_ref().and_then(|member| member.instance_id.as_ref()) {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.first_member(|_| true);
        }
        member
    }

    fn first_member(&self, of: impl Fn(&Member) -> bool) -> Option<Str> {
        let found = self.members.values().filter(|member| of(member)).min_by_key(|member| member.order);
        found.map(|member| member.id.clone())
    }

    /// Makes sure that the leader is among those who joined. False where nobody is.
    pub fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader.as_ref().and_then(|leader| self.members.get(leader)) else {
            return false;
        };
        if leader.awaiting_join.is_some() {
            return true;
        }
        match self.first_member(|member| member.awaiting_join.is_some()) {
            Some(joined) => {
                self.leader = Some(joined);
                true
            }
            None => false,
        }
    }

    /// The longest rebalance time-out of the members.
    pub fn rebalance_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_ms)).max().unwrap_or(0).max(0)
    }

    /// What is counted along the way is what there is. Of a crowd it would be counted too often.
    #[cfg(test)]
    pub fn check(&self) {
        if self.state == State::Dead || self.members.len() > 50 {
            return;
        }
        let joining = self.members.values().filter(|member| member.awaiting_join.is_some()).count();
        assert_eq!(self.joining, joining, "{}", self.id);
        let mut supported: BTreeMap<Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let names: BTreeSet<&Str> = member.protocols.iter().map(|(name, _)| name).collect();
            names.into_iter().for_each(|name| *supported.entry(name.clone()).or_default() += 1);
        }
        assert_eq!(self.supported, supported, "{}", self.id);
        let found = self.earliest();
        assert!(found.is_none() || self.due.is_some_and(|due| Some(due) <= found), "{}: {found:?}", self.id);
    }

    fn supported_by_all(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// May a member with these protocols be in the group?
    pub fn supports(&self, protocol_type: &str, protocols: &[(Str, Bytes)]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let same_type = self.protocol_type.as_ref().is_some_and(|own| own == protocol_type);
        same_type && protocols.iter().any(|(name, _)| self.supported_by_all(name))
    }

    /// The protocol with the most votes; every member votes for the first of its own that all support. Between equals
    /// the vote of whoever came first counts.
    pub fn select_protocol(&self) -> Option<Str> {
        let mut voters: Vec<&Member> = self.members.values().collect();
        voters.sort_by_key(|member| member.order);
        let mut votes: Vec<(&Str, usize)> = Vec::new();
        for member in voters {
            let Some((name, _)) = member.protocols.iter().find(|(name, _)| self.supported_by_all(name))
            else {
                continue;
            };
            match votes.iter_mut().find(|(voted, _)| *voted == name) {
                Some((_, count)) => *count += 1,
                None => votes.push((name, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    pub fn next_generation(&mut self, now: i64) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        let to = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.transition(to, now);
        self.pending_sync.clear();
    }

    /// The topics of all subscriptions; `None` where they are not Kafka's consumers' or cannot be read.
    pub fn compute_subscribed(&self) -> Option<BTreeSet<Str>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let (_, body) = split_version(&member.metadata(protocol)).ok()?;
            topics.extend(ConsumerProtocolSubscription::decode(&body, 0).ok()?.topics);
        }
        Some(topics)
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().is_none_or(|topics| topics.iter().any(|name| name == topic))
    }

    /// What the leader is told of all members.
    pub fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.clone().unwrap_or_default();
        let mut members: Vec<&Member> = self.members.values().collect();
        members.sort_by_key(|member| member.order);
        let of = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        members.into_iter().map(of).collect()
    }

    /// Something happens by itself at that time, unless something else happens before.
    pub fn is_due_at(&mut self, at: i64) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Nothing happens by itself before this time.
    pub fn deadline(&self) -> Option<i64> {
        self.due
    }

    /// What has been due was seen to: finds the next.
    pub fn find_due(&mut self) {
        self.due = self.earliest();
    }

    fn earliest(&self) -> Option<i64> {
        let sessions = self.members.values().filter_map(|member| member.session_deadline);
        let pending = self.pending.values().copied();
        let waits = [self.join_wait.map(|wait| wait.deadline), self.sync_deadline].into_iter().flatten();
        sessions.chain(pending).chain(waits).min()
    }
}
