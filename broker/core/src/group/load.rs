//! Taking over a partition of `__consumer_offsets` from its log, and letting it go.

use super::event::{Effect, Response};
use super::offsets::{Committed, Offsets};
use super::records::{Loaded, group_of, read};
use super::state::{Group, State};
use super::{Coordinator, Slot};
use crate::error::ErrorCode;
use crate::loaded::{self, Contents};
use std::collections::BTreeMap;
use wire::Str;
use wire::batch::message_set::Entry;
use wire::kafka::{JoinGroupResponse, SyncGroupResponse};

/// What the log's records add up to so far.
#[derive(Debug)]
pub(super) struct Loader {
    partition: i32,
    epoch: i32,
    groups: BTreeMap<Str, Group>,
    offsets: BTreeMap<Str, Offsets>,
    /// Transactions whose markers were written meanwhile, perhaps behind what is read.
    completed: Vec<(i64, bool)>,
}

impl Loader {
    fn new(partition: i32, epoch: i32) -> Loader {
        let (groups, offsets) = (BTreeMap::new(), BTreeMap::new());
        Loader { partition, epoch, groups, offsets, completed: Vec::new() }
    }

    pub(super) fn txn_completed(&mut self, producer_id: i64, commit: bool) {
        self.completed.push((producer_id, commit));
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let (producer, records) = match loaded::read(entry)? {
            Contents::End { commit: None, .. } => return Ok(()),
            Contents::End { producer_id, commit: Some(commit) } => {
                self.offsets.values_mut().for_each(|offsets| offsets.complete_txn(producer_id, commit));
                return Ok(());
            }
            Contents::Records { producer, records } => (producer, records),
        };
        // As the broker that wrote it counts: all of a batch stands where its first record does.
        let Some(at) = records.first().map(|first| first.offset) else { return Ok(()) };
        loaded::take_each(records, |key, value| {
            read(key, value).and_then(|loaded| self.record(loaded, producer, at))
        })
    }

    fn record(&mut self, loaded: Loaded, producer: Option<i64>, at: i64) -> Result<(), String> {
        match loaded {
            Loaded::Offset { group, partition, offset } => {
                let committed = offset.map(|offset| Committed { at: Some(at), offset });
                let offsets = self.offsets.entry(group).or_default();
                match producer {
                    Some(id) => offsets.load_txn(id, partition, committed),
                    None => offsets.load(partition, committed),
                }
            }
            Loaded::Group { group, value: Some(value), version } => {
                let loaded = group_of(group.clone(), self.partition, value, version);
                self.groups.insert(group, loaded);
            }
            Loaded::Group { group, value: None, .. } => {
                self.groups.remove(&group);
            }
            Loaded::Unknown { version } => {
                return Err(format!("a key of version {version}, which is left alone"));
            }
        }
        Ok(())
    }

    /// The groups with their offsets; offsets without a group's record belong to a simple consumer.
    fn finish(mut self, now: i64) -> BTreeMap<Str, Group> {
        for (producer_id, commit) in std::mem::take(&mut self.completed) {
            self.offsets.values_mut().for_each(|offsets| offsets.complete_txn(producer_id, commit));
        }
        for (id, offsets) in self.offsets {
            if offsets.is_empty() {
                continue;
            }
            let partition = self.partition;
            let group = self.groups.entry(id.clone()).or_insert_with(|| Group::new(id, partition, now));
            group.offsets = offsets;
        }
        self.groups
    }
}

impl Coordinator {
    pub(super) fn elected(&mut self, partition: i32, epoch: i32, out: &mut Vec<Effect>) {
        match self.slots.get_mut(&partition) {
            // Still the leader: what is known holds.
            Some(Slot::Active { epoch: known }) => *known = epoch.max(*known),
            Some(Slot::Loading(loader)) if loader.epoch >= epoch => {}
            _ => {
                self.slots.insert(partition, Slot::Loading(Loader::new(partition, epoch)));
                out.push(Effect::Load { partition, epoch });
            }
        }
    }

    pub(super) fn loaded(&mut self, partition: i32, epoch: i32, entry: &Entry, out: &mut Vec<Effect>) {
        let Some(Slot::Loading(loader)) = self.slots.get_mut(&partition) else { return };
        if loader.epoch != epoch {
            return;
        }
        if let Err(why) = loader.entry(entry) {
            out.push(Effect::Warn(loaded::complaint("__consumer_offsets", partition, entry, &why)));
        }
    }

    pub(super) fn load_done(&mut self, now: i64, partition: i32, epoch: i32, out: &mut Vec<Effect>) {
        match self.slots.get(&partition) {
            Some(Slot::Loading(loader)) if loader.epoch == epoch => {}
            _ => return,
        }
        let Some(Slot::Loading(loader)) = self.slots.insert(partition, Slot::Active { epoch }) else {
            return;
        };
        let size_max = self.config.size_max;
        for (id, group) in loader.finish(now) {
            self.forget(&id);
            for producer_id in group.offsets.producers() {
                self.open.entry(producer_id).or_default().insert(id.clone());
            }
            self.groups.insert(id.clone(), group);
            self.with(now, &id, out, |group, cx| {
                // Some have to go: let them commit first.
                if group.members.len() > size_max {
                    let reason =
                        format!("{} members were loaded and {size_max} may be there", group.members.len());
                    group.prepare_rebalance(&reason, cx);
                }
                let members: Vec<Str> = group.members.keys().cloned().collect();
                members.iter().for_each(|member| group.keep_alive(member, now));
            });
        }
    }

    pub(super) fn resigned(&mut self, now: i64, partition: i32, out: &mut Vec<Effect>) {
        if self.slots.remove(&partition).is_none() {
            return;
        }
        let of = |group: &&Group| group.partition == partition;
        let ids: Vec<Str> = self.groups.values().filter(of).map(|group| group.id.clone()).collect();
        for id in ids {
            self.with(now, &id, out, |group, cx| {
                group.transition(State::Dead, cx.now);
                for member in std::mem::take(&mut group.members).into_values() {
                    let error_code = ErrorCode::NOT_COORDINATOR;
                    let member_id = member.id.clone();
                    if let Some(token) = member.awaiting_join {
                        let response =
                            JoinGroupResponse { error_code, member_id, ..JoinGroupResponse::default() };
                        cx.reply(token, Response::Join(response));
                    }
                    if let Some(token) = member.awaiting_sync {
                        let response = SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
                        cx.reply(token, Response::Sync(response));
                    }
                }
            });
        }
    }
}
