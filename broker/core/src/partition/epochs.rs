//! Which leader epoch wrote which part of the log.

/// The end of an epoch, as a leader answers it: `end_offset` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: i32,
    pub end_offset: i64,
}

impl EpochEnd {
    /// "I do not know": both -1.
    pub const UNKNOWN: EpochEnd = EpochEnd { epoch: -1, end_offset: -1 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: i32,
    pub start_offset: i64,
}

/// The start offset of each leader epoch that has data in the log, strictly rising in both; the content of the
/// `leader-epoch-checkpoint` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// From a checkpoint; entries that contradict earlier ones replace them, as [`LeaderEpochs::assign`] does.
    pub fn new(entries: impl IntoIterator<Item = EpochStart>) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch that wrote this offset.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Data of this epoch starts here. Says whether anything changed.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if let Some(last) = self.entries.last()
            && last.epoch == epoch
            && start_offset >= last.start_offset
        {
            return false;
        }
        while self.entries.last().is_some_and(|e| e.epoch >= epoch || e.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start_offset });
        true
    }

    /// The log now ends here (exclusive). Says whether anything changed.
    pub fn truncate_end(&mut self, end: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end);
        self.entries.len() != before
    }

    /// The log now starts here: the epoch that holds `start` starts there. Says whether anything changed.
    pub fn truncate_start(&mut self, start: i64) -> bool {
        let after = self.entries.partition_point(|entry| entry.start_offset <= start);
        let Some(at) = after.checked_sub(1) else { return false };
        if at == 0 && self.entries[0].start_offset == start {
            return false;
        }
        self.entries.drain(..at);
        self.entries[0].start_offset = start;
        true
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Where the largest epoch that is at most `epoch` ends in a log that ends at `log_end`;
    /// [`EpochEnd::UNKNOWN`] for an epoch above all that are known, or -1.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> EpochEnd {
        if epoch == -1 {
            return EpochEnd::UNKNOWN;
        }
        if self.latest() == Some(epoch) {
            return EpochEnd { epoch, end_offset: log_end };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match self.entries.get(above) {
            None => EpochEnd::UNKNOWN,
            Some(next) => {
                let epoch = if above == 0 { epoch } else { self.entries[above - 1].epoch };
                EpochEnd { epoch, end_offset: next.start_offset }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::new(entries.iter().map(|&(epoch, start_offset)| EpochStart { epoch, start_offset }))
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_starts() {
        let e = epochs(&[(2, 0), (4, 10), (7, 30)]);
        assert_eq!(e.end_of(7, 50), EpochEnd { epoch: 7, end_offset: 50 });
        assert_eq!(e.end_of(4, 50), EpochEnd { epoch: 4, end_offset: 30 });
        assert_eq!(e.end_of(5, 50), EpochEnd { epoch: 4, end_offset: 30 }, "the floor of an unknown epoch");
        assert_eq!(e.end_of(1, 50), EpochEnd { epoch: 1, end_offset: 0 }, "before all that is known");
        assert_eq!(e.end_of(8, 50), EpochEnd::UNKNOWN);
        assert_eq!(e.end_of(-1, 50), EpochEnd::UNKNOWN);
        assert_eq!(
            e.end_of(-2, 50),
            EpochEnd { epoch: -2, end_offset: 0 },
            "an epoch like any other, in Java"
        );
    }

    #[test]
    fn a_new_epoch_at_an_old_offset_replaces_what_contradicts_it() {
        let mut e = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(e.assign(4, 10));
        assert_eq!(e, epochs(&[(1, 0), (4, 10)]));
        assert!(!e.assign(4, 12), "a later start of the same epoch is no news");
    }

    #[test]
    fn truncation_drops_and_clamps() {
        let mut e = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(e.truncate_end(20));
        assert!(!e.truncate_end(20));
        assert!(e.truncate_start(15));
        assert_eq!(e, epochs(&[(2, 15)]));
        assert_eq!(e.epoch_of(14), None);
        assert_eq!(e.epoch_of(15), Some(2));
    }
}
