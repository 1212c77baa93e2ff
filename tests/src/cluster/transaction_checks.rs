//! What transactions promise: all of one or nothing, as its producer was told, once; nothing else is read as committed.

use super::checks::Key;
use super::disk::{LogFile, Stored};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

/// What the n-th batch of a transaction is.
pub fn value_of(transaction: u64, n: u64) -> u64 {
    VALUES + (transaction << 8) + n
}

const VALUES: u64 = 1 << 60;

/// `None`: it belongs to none.
fn transaction_of(value: u64) -> Option<u64> {
    (value >> 60 == 1).then(|| (value - VALUES) >> 8)
}

#[derive(Debug, Default)]
pub struct Transactions {
    /// How a transaction ended, as its producer was told.
    told: BTreeMap<u64, bool>,
    acknowledged: BTreeSet<u64>,
    /// What was read as committed, and up to where.
    seen: BTreeMap<Key, BTreeMap<i64, u64>>,
    read_to: BTreeMap<Key, i64>,
    /// Whose each producer was, in that epoch.
    producers: BTreeMap<(i64, i16), Str>,
    /// In logs, at the end.
    committed: BTreeMap<u64, BTreeSet<u64>>,
    aborted: BTreeMap<u64, BTreeSet<u64>>,
    problem: Option<String>,
}

impl Transactions {
    fn fail(&mut self, why: String) {
        self.problem.get_or_insert(why);
    }

    /// What broke first.
    pub fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    pub fn commits(&self) -> u64 {
        self.told.values().filter(|commit| **commit).count() as u64
    }

    pub fn aborts(&self) -> u64 {
        self.told.len() as u64 - self.commits()
    }

    /// Transactions whose producers never heard of an end: those in the logs, at the end.
    pub fn untold(&self) -> u64 {
        let all: BTreeSet<&u64> = self.committed.keys().chain(self.aborted.keys()).collect();
        all.into_iter().filter(|one| !self.told.contains_key(one)).count() as u64
    }

    /// No two lives have the same producer id and epoch.
    pub fn producer(&mut self, id: &Str, producer: (i64, i16)) {
        if let Some(other) = self.producers.insert(producer, id.clone()) {
            self.fail(format!("{id} is {producer:?}, which {other} was before"));
        }
    }

    pub fn told(&mut self, transaction: u64, commit: bool) {
        self.told.insert(transaction, commit);
    }

    pub fn acknowledged(&mut self, value: u64) {
        self.acknowledged.insert(value);
    }

    /// Somebody reads this as committed.
    pub fn seen(&mut self, key: Key, stored: &Stored) {
        if let Some(transaction) = transaction_of(stored.value)
            && self.told.get(&transaction) == Some(&false)
        {
            let at = stored.meta.base_offset;
            self.fail(format!("{} at {at} of {key:?} was aborted, and is read as committed", stored.value));
        }
        self.seen.entry(key).or_default().insert(stored.meta.base_offset, stored.value);
    }

    pub fn read_to(&mut self, key: Key, position: i64) {
        let to = self.read_to.entry(key).or_default();
        *to = position.max(*to);
    }

    /// A log that everyone has.
    pub fn end(&mut self, key: Key, log: &LogFile) {
        let mut open: BTreeMap<i64, Vec<Stored>> = BTreeMap::new();
        let mut visible: BTreeMap<i64, u64> = BTreeMap::new();
        for stored in &log.batches {
            match stored.meta.marker {
                Some(marker) => {
                    for one in open.remove(&stored.meta.producer_id).into_iter().flatten() {
                        let ends = if marker.commit { &mut self.committed } else { &mut self.aborted };
                        if let Some(transaction) = transaction_of(one.value) {
                            ends.entry(transaction).or_default().insert(one.value);
                        }
                        if marker.commit {
                            visible.insert(one.meta.base_offset, one.value);
                        }
                    }
                }
                None if stored.meta.transactional => {
                    open.entry(stored.meta.producer_id).or_default().push(*stored)
                }
                None => drop(visible.insert(stored.meta.base_offset, stored.value)),
            }
        }
        if !open.is_empty() {
            self.fail(format!("transactions of {key:?} are open at the end: {:?}", open.keys()));
        }
        let read_to = self.read_to.get(&key).copied().unwrap_or(0);
        let Some(seen) = self.seen.remove(&key) else { return };
        let expected: BTreeMap<i64, u64> =
            visible.range(..read_to).map(|(at, value)| (*at, *value)).collect();
        if seen != expected {
            let differs = |(at, value): &(&i64, &u64)| seen.get(at) != Some(*value);
            let missed = expected.iter().find(differs);
            let more = seen.iter().find(|(at, value)| expected.get(at) != Some(*value));
            self.fail(format!(
                "of {key:?}, {missed:?} was committed and not read, {more:?} read and not committed"
            ));
        }
    }

    /// After the end of every log.
    pub fn conclude(&mut self) {
        let mut problems = vec![];
        for (transaction, values) in &self.committed {
            if let Some(other) = self.aborted.get(transaction) {
                problems.push(format!(
                    "of transaction {transaction}, {values:?} is committed, {other:?} aborted"
                ));
            }
            if self.told.get(transaction) == Some(&false) {
                problems.push(format!("transaction {transaction} was aborted, and {values:?} is committed"));
            }
        }
        for (transaction, values) in &self.aborted {
            if self.told.get(transaction) == Some(&true) {
                problems.push(format!("transaction {transaction} was committed, and {values:?} is aborted"));
            }
        }
        let there = |value: &u64| {
            let of = |ends: &BTreeMap<u64, BTreeSet<u64>>| {
                transaction_of(*value).and_then(|one| ends.get(&one)).is_some_and(|all| all.contains(value))
            };
            of(&self.committed) || of(&self.aborted)
        };
        if let Some(lost) = self.acknowledged.iter().find(|value| !there(value)) {
            problems.push(format!("{lost} was acknowledged, and no transaction at the end has it"));
        }
        problems.into_iter().for_each(|problem| self.fail(problem));
    }
}
