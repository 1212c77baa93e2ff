//! The consumer-group coordinator: who is in a group, who has which partitions, where a group stands.
//!
//! A [`Coordinator`] looks after the groups whose partition of `__consumer_offsets` this broker leads. It knows neither
//! versions nor authorization; it takes [`Event`]s and emits [`Effect`]s. What has to outlive the broker is a record: a
//! request that needs one is answered once [`Event::Appended`] says that the record is replicated.
//!
//! * `state`: a group; `rebalance`: how it gets from one generation to the next.
//! * `join`, `sync` (with heartbeats and leaving), `commit` (offsets), `admin`: the requests.
//! * `records`: what is in the log; `load`: reading it back.

mod admin;
mod commit;
mod event;
mod join;
mod load;
mod offsets;
mod rebalance;
mod records;
mod state;
mod sync;
#[cfg(test)]
mod tests;

pub use event::*;

use crate::error::ErrorCode;
use load::Loader;
use state::{Group, State};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

/// A partition of `__consumer_offsets` that this broker leads.
#[derive(Debug)]
enum Slot {
    Loading(Loader),
    Active { epoch: i32 },
}

/// All groups of this broker.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    stopped: bool,
    slots: BTreeMap<i32, Slot>,
    groups: BTreeMap<Str, Group>,
    /// By producer id, the groups that may have offsets of its open transaction.
    open: BTreeMap<i64, BTreeSet<Str>>,
    appends: Appends,
    /// When to look at which group; each has one entry at most, its `wake_at`.
    wakes: BTreeSet<(i64, Str)>,
}

/// Appends whose end is awaited.
#[derive(Debug, Default)]
struct Appends {
    next: u64,
    waiting: BTreeMap<AppendId, Waiting>,
}

/// What goes on when an append is done.
#[derive(Debug)]
struct Waiting {
    group: Str,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Assign(sync::Assigning),
    /// A generation without members: nobody waits for it.
    Emptied,
    Replaced(Box<join::Replaced>),
    Offsets(commit::Committing),
}

/// What the decisions about one group need besides the group.
struct Cx<'a> {
    now: i64,
    config: &'a Config,
    appends: &'a mut Appends,
    out: &'a mut Vec<Effect>,
}

impl Cx<'_> {
    fn reply(&mut self, token: Token, response: Response) {
        self.out.push(Effect::Reply { token, response });
    }

    fn tell(&mut self, text: String) {
        self.out.push(Effect::Tell(text));
    }

    fn append(&mut self, group: &Group, records: Vec<Record>, producer: Option<(i64, i16)>, then: Then) {
        let append = AppendId(self.appends.next);
        self.appends.next += 1;
        self.appends.waiting.insert(append, Waiting { group: group.id.clone(), then });
        self.out.push(Effect::Append { partition: group.partition, append: Some(append), records, producer });
    }

    fn append_unwatched(&mut self, group: &Group, records: Vec<Record>) {
        if !records.is_empty() {
            let partition = group.partition;
            self.out.push(Effect::Append { partition, append: None, records, producer: None });
        }
    }
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupFigures {
    pub all: usize,
    pub preparing: usize,
    pub completing: usize,
    pub stable: usize,
    pub dead: usize,
    pub empty: usize,
    /// Committed offsets of all groups.
    pub offsets: usize,
}

impl Coordinator {
    /// The groups that are coordinated here, by state.
    pub fn figures(&self) -> GroupFigures {
        let mut figures = GroupFigures { all: self.groups.len(), ..GroupFigures::default() };
        for group in self.groups.values() {
            figures.offsets += group.offsets.partitions().count();
            *match group.state {
                State::Empty => &mut figures.empty,
                State::PreparingRebalance => &mut figures.preparing,
                State::CompletingRebalance => &mut figures.completing,
                State::Stable => &mut figures.stable,
                State::Dead => &mut figures.dead,
            } += 1;
        }
        figures
    }

    pub fn new(config: Config) -> Coordinator {
        Coordinator {
            config,
            stopped: false,
            slots: BTreeMap::new(),
            groups: BTreeMap::new(),
            open: BTreeMap::new(),
            appends: Appends::default(),
            wakes: BTreeSet::new(),
        }
    }

    /// The partition of `__consumer_offsets` that a group belongs to: Java's hash of the name.
    pub fn partition_for(&self, group: &str) -> i32 {
        java_hash(group).checked_abs().unwrap_or(0) % self.config.partitions.max(1)
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn deadline(&self) -> Option<i64> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// One event, at `now` (ms since 1970), and all that follows from it.
    pub fn step(&mut self, now: i64, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Request { token, request } => self.request(now, token, request, out),
            Event::Appended { append, result } => self.appended(now, append, result, out),
            Event::Elected { partition, epoch } => self.elected(partition, epoch, out),
            Event::Loaded { partition, epoch, entry } => self.loaded(partition, epoch, &entry, out),
            Event::LoadDone { partition, epoch } => self.load_done(now, partition, epoch, out),
            Event::Resigned { partition } => self.resigned(now, partition, out),
            Event::TxnCompleted { producer_id, partitions, commit } => {
                self.txn_completed(producer_id, &partitions, commit);
            }
            Event::Deleted { partitions } => self.topics_deleted(now, &partitions, out),
            Event::ExpireOffsets => self.expire_offsets(now, out),
            Event::Tick => {}
            Event::Stop => self.stopped = true,
        }
        self.run_timers(now, out);
    }

    fn txn_completed(&mut self, producer_id: i64, partitions: &[i32], commit: bool) {
        let groups = self.open.remove(&producer_id).unwrap_or_default();
        let mut others = BTreeSet::new();
        for id in groups {
            match self.groups.get_mut(&id) {
                Some(group) if partitions.contains(&group.partition) => {
                    group.offsets.complete_txn(producer_id, commit);
                }
                Some(_) => {
                    others.insert(id);
                }
                None => {}
            }
        }
        if !others.is_empty() {
            self.open.insert(producer_id, others);
        }
        for partition in partitions {
            if let Some(Slot::Loading(loader)) = self.slots.get_mut(partition) {
                loader.txn_completed(producer_id, commit);
            }
        }
    }

    fn request(&mut self, now: i64, token: Token, request: Request, out: &mut Vec<Effect>) {
        match request {
            Request::Join(request, context) => self.join(now, token, request, &context, out),
            Request::Sync(request) => self.sync(now, token, request, out),
            Request::Heartbeat(request) => self.heartbeat(now, token, &request, out),
            Request::Leave { request, single } => self.leave(now, token, request, single, out),
            Request::OffsetCommit(request) => self.offset_commit(now, token, request, out),
            Request::TxnOffsetCommit(request) => self.txn_offset_commit(now, token, request, out),
            Request::OffsetFetch { request, errors_by_partition } => {
                self.offset_fetch(token, request, errors_by_partition, out);
            }
            Request::Describe(request) => self.describe(token, request, out),
            Request::List(request) => self.list(token, &request, out),
            Request::Delete(request) => self.delete(now, token, request, out),
            Request::OffsetDelete(request) => self.offset_delete(now, token, request, out),
        }
    }

    /// May this broker answer for the group? Some requests allow the empty name, which old simple consumers use.
    fn check(&self, group: &str, empty_allowed: bool) -> Result<(), ErrorCode> {
        if group.is_empty() && !empty_allowed {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if self.stopped {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        match self.slots.get(&self.partition_for(group)) {
            Some(Slot::Loading(_)) => Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            Some(Slot::Active { .. }) => Ok(()),
            None => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    /// Lets `decide` change a group, and sees to its next deadline. `None`: there is no such group.
    fn with<T>(
        &mut self,
        now: i64,
        id: &str,
        out: &mut Vec<Effect>,
        decide: impl FnOnce(&mut Group, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let mut cx = Cx { now, config: &self.config, appends: &mut self.appends, out };
        let result = decide(group, &mut cx);
        #[cfg(test)]
        group.check();
        Self::reschedule(&mut self.wakes, group);
        if group.state == State::Dead {
            self.forget(id);
        }
        Some(result)
    }

    /// A deadline that moved back is found when its old time comes; only an earlier one needs a new entry.
    fn reschedule(wakes: &mut BTreeSet<(i64, Str)>, group: &mut Group) {
        let Some(deadline) = group.deadline() else { return };
        if group.wake_at.is_some_and(|at| at <= deadline) {
            return;
        }
        if let Some(at) = group.wake_at.replace(deadline) {
            wakes.remove(&(at, group.id.clone()));
        }
        wakes.insert((deadline, group.id.clone()));
    }

    fn forget(&mut self, id: &str) {
        if let Some(group) = self.groups.remove(id)
            && let Some(at) = group.wake_at
        {
            self.wakes.remove(&(at, group.id));
        }
    }

    fn group_or_new(&mut self, now: i64, id: &Str) {
        let partition = self.partition_for(id);
        self.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone(), partition, now));
    }

    /// All that is due by `now`.
    fn run_timers(&mut self, now: i64, out: &mut Vec<Effect>) {
        while let Some((at, id)) = self.wakes.first().cloned()
            && at <= now
        {
            self.wakes.pop_first();
            if let Some(group) = self.groups.get_mut(&id) {
                group.wake_at = None;
            }
            self.with(now, &id, out, Group::run_timers);
        }
    }

    fn appended(
        &mut self,
        now: i64,
        append: AppendId,
        result: Result<i64, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let Some(Waiting { group, then }) = self.appends.waiting.remove(&append) else { return };
        match then {
            Then::Emptied => {}
            Then::Assign(assigning) => {
                self.with(now, &group, out, |group, cx| group.assigned(assigning, result, cx));
            }
            Then::Replaced(replaced) => {
                self.with(now, &group, out, |group, cx| group.replaced(*replaced, result, cx));
            }
            Then::Offsets(committing) => {
                self.with(now, &group, out, |group, _| committing.apply(group, result));
                committing.reply(result, out);
            }
        }
    }
}

/// `String.hashCode`, by which names of groups and transactional ids are spread over partitions.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// What a failed append of a group's metadata is to a member.
fn store_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::REQUEST_TIMED_OUT => ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}
