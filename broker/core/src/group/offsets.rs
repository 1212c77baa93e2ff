//! The offsets that a group has committed, those on their way to the log, and those of open transactions.

use std::collections::BTreeMap;
use wire::Str;

pub(super) type TopicPartition = (Str, i32);

/// What a client commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offset {
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: Str,
    pub commit_timestamp: i64,
    /// Only where the client asked for a retention time.
    pub expire_timestamp: Option<i64>,
}

/// An offset and the log offset of the batch it is in; `None` while it is being appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    pub at: Option<i64>,
    pub offset: Offset,
}

#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<TopicPartition, Committed>,
    pending: BTreeMap<TopicPartition, Offset>,
    /// By producer id.
    txn_pending: BTreeMap<i64, BTreeMap<TopicPartition, Committed>>,
}

impl Offsets {
    pub fn get(&self, partition: &TopicPartition) -> Option<&Offset> {
        self.committed.get(partition).map(|committed| &committed.offset)
    }

    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.committed.keys()
    }

    /// Committed or about to be.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty() && self.txn_pending.is_empty()
    }

    /// Whose transactions are open.
    pub fn producers(&self) -> impl Iterator<Item = i64> {
        self.txn_pending.keys().copied()
    }

    /// Is a commit of this partition under way?
    pub fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition) || self.txn_pending.values().any(|of| of.contains_key(partition))
    }

    pub fn prepare(&mut self, offsets: &[(TopicPartition, Offset)]) {
        self.pending.extend(offsets.iter().cloned());
    }

    pub fn prepare_txn(&mut self, producer_id: i64, offsets: &[(TopicPartition, Offset)]) {
        let of = self.txn_pending.entry(producer_id).or_default();
        for (partition, offset) in offsets {
            of.insert(partition.clone(), Committed { at: None, offset: offset.clone() });
        }
    }

    /// The batch with these offsets is in the log at `at`.
    pub fn appended(&mut self, offsets: &[(TopicPartition, Offset)], at: i64) {
        for (partition, offset) in offsets {
            let Some(staged) = self.pending.get(partition) else { continue };
            let newest = staged == offset;
            self.put_if_newer(partition, Committed { at: Some(at), offset: offset.clone() });
            if newest {
                self.pending.remove(partition);
            }
        }
    }

    pub fn append_failed(&mut self, offsets: &[(TopicPartition, Offset)]) {
        for (partition, offset) in offsets {
            if self.pending.get(partition) == Some(offset) {
                self.pending.remove(partition);
            }
        }
    }

    pub fn txn_appended(&mut self, producer_id: i64, offsets: &[(TopicPartition, Offset)], at: i64) {
        let Some(of) = self.txn_pending.get_mut(&producer_id) else { return };
        for (partition, offset) in offsets {
            if let Some(staged) = of.get_mut(partition).filter(|staged| staged.offset == *offset) {
                staged.at = Some(at);
            }
        }
    }

    pub fn txn_append_failed(&mut self, producer_id: i64, offsets: &[(TopicPartition, Offset)]) {
        let Some(of) = self.txn_pending.get_mut(&producer_id) else { return };
        for (partition, _) in offsets {
            of.remove(partition);
        }
        if of.is_empty() {
            self.txn_pending.remove(&producer_id);
        }
    }

    /// The transaction has ended; an offset that was committed later than its own stays.
    pub fn complete_txn(&mut self, producer_id: i64, commit: bool) {
        let Some(of) = self.txn_pending.remove(&producer_id) else { return };
        for (partition, committed) in of {
            if commit && committed.at.is_some() {
                self.put_if_newer(&partition, committed);
            }
        }
    }

    fn put_if_newer(&mut self, partition: &TopicPartition, committed: Committed) {
        let known = self.committed.get(partition);
        if known.is_none_or(|known| known.at < committed.at) {
            self.committed.insert(partition.clone(), committed);
        }
    }

    /// Removes these offsets, whatever state they are in; returns those that were committed.
    pub fn remove<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Vec<TopicPartition> {
        let mut removed = Vec::new();
        for partition in partitions {
            self.pending.remove(partition);
            for of in self.txn_pending.values_mut() {
                of.remove(partition);
            }
            if self.committed.remove(partition).is_some() {
                removed.push(partition.clone());
            }
        }
        self.txn_pending.retain(|_, of| !of.is_empty());
        removed
    }

    /// Removes the committed offsets that `expired` tells, unless a newer one is under way.
    pub fn remove_expired(
        &mut self,
        expired: impl Fn(&TopicPartition, &Offset) -> bool,
    ) -> Vec<TopicPartition> {
        let pending = &self.pending;
        let of = |(partition, committed): (&TopicPartition, &Committed)| {
            (!pending.contains_key(partition) && expired(partition, &committed.offset))
                .then(|| partition.clone())
        };
        let removed: Vec<TopicPartition> = self.committed.iter().filter_map(of).collect();
        for partition in &removed {
            self.committed.remove(partition);
        }
        removed
    }

    /// From the log, in its order.
    pub fn load(&mut self, partition: TopicPartition, offset: Option<Committed>) {
        match offset {
            Some(committed) => self.committed.insert(partition, committed),
            None => self.committed.remove(&partition),
        };
    }

    pub fn load_txn(&mut self, producer_id: i64, partition: TopicPartition, offset: Option<Committed>) {
        let of = self.txn_pending.entry(producer_id).or_default();
        match offset {
            Some(committed) => of.insert(partition, committed),
            None => of.remove(&partition),
        };
        if of.is_empty() {
            self.txn_pending.remove(&producer_id);
        }
    }
}
