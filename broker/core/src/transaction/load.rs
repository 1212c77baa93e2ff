//! Taking over a partition of `__transaction_state` from its log.

use super::event::Effect;
use super::records::read;
use super::state::{State, Transaction};
use super::{Active, Coordinator, Slot};
use crate::loaded::{self, Contents};
use std::collections::BTreeMap;
use wire::Str;
use wire::batch::message_set::Entry;

/// What the log's records add up to so far.
#[derive(Debug)]
pub(super) struct Loader {
    epoch: i32,
    transactions: BTreeMap<Str, Transaction>,
}

impl Loader {
    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let Contents::Records { records, .. } = loaded::read(entry)? else { return Ok(()) };
        loaded::take_each(records, |key, value| {
            match read(key, value)? {
                Some((id, Some(transaction))) => self.transactions.insert(id, transaction),
                Some((id, None)) => self.transactions.remove(&id),
                None => return Err("a key of a later version, which is left alone".into()),
            };
            Ok(())
        })
    }
}

impl Coordinator {
    /// A new epoch is a new coordinator, even on the same broker: everything is read again.
    pub(super) fn elected(&mut self, _now: i64, partition: i32, epoch: i32, out: &mut Vec<Effect>) {
        let known = match self.slots.get(&partition) {
            Some(Slot::Loading(loader)) => Some(loader.epoch),
            Some(Slot::Active(active)) => Some(active.epoch),
            None => None,
        };
        if known.is_some_and(|known| known >= epoch) {
            return;
        }
        self.slots.insert(partition, Slot::Loading(Loader { epoch, transactions: BTreeMap::new() }));
        out.push(Effect::Load { partition, epoch });
    }

    pub(super) fn loaded(&mut self, partition: i32, epoch: i32, entry: &Entry, out: &mut Vec<Effect>) {
        let Some(Slot::Loading(loader)) = self.slots.get_mut(&partition) else { return };
        if loader.epoch != epoch {
            return;
        }
        if let Err(why) = loader.entry(entry) {
            out.push(Effect::Warn(loaded::complaint("__transaction_state", partition, entry, &why)));
        }
    }

    pub(super) fn load_done(&mut self, now: i64, partition: i32, epoch: i32, out: &mut Vec<Effect>) {
        let loader = match self.slots.remove(&partition) {
            Some(Slot::Loading(loader)) if loader.epoch == epoch => loader,
            Some(other) => {
                self.slots.insert(partition, other);
                return;
            }
            None => return,
        };
        let mut active = Active { epoch, transactions: loader.transactions };
        let mut ending = Vec::new();
        for transaction in active.transactions.values_mut() {
            if matches!(transaction.state, State::PrepareCommit | State::PrepareAbort) {
                transaction.begin_completion(now);
                ending.push(transaction.id.clone());
            }
        }
        self.slots.insert(partition, Slot::Active(active));
        for id in ending {
            self.send_markers(partition, epoch, &id, out);
        }
    }
}
