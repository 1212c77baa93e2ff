//! `leader-epoch-checkpoint`: the first offset of each leader epoch, by which replicas find where they part.

use super::EpochEntry;
use super::checkpoint::{entries_of, replace_unsynced, text_of};
use super::error::Result;
use std::path::{Path, PathBuf};

/// Of the file in a log's directory.
pub(super) const NAME: &str = "leader-epoch-checkpoint";

/// Entries with rising epochs and rising offsets; every change is written to the file.
#[derive(Debug)]
pub(crate) struct LeaderEpochs {
    path: PathBuf,
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    #[cfg(test)]
    pub fn load(path: PathBuf) -> Result<Self> {
        let text = super::checkpoint::read_optional(&path)?;
        Self::parse(path, text)
    }

    /// From the file's text; none are known where there is none.
    pub fn parse(path: PathBuf, text: Option<String>) -> Result<Self> {
        let read = entries_of(&path, &text.unwrap_or_default(), |line| {
            let (epoch, start_offset) = line.trim().split_once(char::is_whitespace)?;
            let entry =
                EpochEntry { epoch: epoch.parse().ok()?, start_offset: start_offset.trim().parse().ok()? };
            (entry.epoch >= 0 && entry.start_offset >= 0).then_some(entry)
        })?;
        let mut epochs = Self { path, entries: Vec::with_capacity(read.len()) };
        for entry in read {
            epochs.insert(entry);
        }
        Ok(epochs)
    }

    /// None known, whatever the file says.
    pub fn empty(path: PathBuf) -> Self {
        Self { path, entries: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log's directory has another name now.
    pub fn relocate(&mut self, dir: &Path) {
        self.path = dir.join(NAME);
    }

    /// The batches' own epochs take the place of what the file said.
    pub fn replace(&mut self, entries: impl Iterator<Item = EpochEntry>) -> Result<()> {
        self.entries.clear();
        for entry in entries {
            self.insert(entry);
        }
        self.flush()
    }

    /// Unsynced: a recovery finds the epochs in the batches, and one without batches is of no use to anybody.
    fn flush(&self) -> Result<()> {
        let lines = self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset));
        replace_unsynced(&self.path, text_of(lines).as_bytes())
    }

    /// The epoch starts at this offset; entries that contradict it are dropped.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> Result<()> {
        if self.insert(EpochEntry { epoch, start_offset }) { self.flush() } else { Ok(()) }
    }

    fn insert(&mut self, new: EpochEntry) -> bool {
        let known = |last: &EpochEntry| new.epoch == last.epoch && new.start_offset >= last.start_offset;
        if self.entries.last().is_some_and(known) {
            return false;
        }
        let contradicts = |old: &EpochEntry| old.epoch >= new.epoch || old.start_offset >= new.start_offset;
        while self.entries.last().is_some_and(contradicts) {
            self.entries.pop();
        }
        self.entries.push(new);
        true
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The largest epoch ≤ `epoch` with the offset at which the next one starts; (-1, -1) for what is not known.
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        if epoch >= 0 && self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return (epoch, log_end_offset);
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        match (epoch, self.entries.get(higher)) {
            (-1, _) | (_, None) => (-1, -1),
            (_, Some(next)) => match higher.checked_sub(1) {
                Some(floor) => (self.entries[floor].epoch, next.start_offset),
                None => (epoch, next.start_offset),
            },
        }
    }

    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|n| self.entries[n].epoch)
    }

    /// Forgets the epochs that start at `end_offset` or above.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> Result<()> {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        if end_offset < 0 || keep == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(keep);
        self.flush()
    }

    /// Forgets what lies below `start_offset`; the epoch in force there now starts there.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> Result<()> {
        let below = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(in_force) = below.checked_sub(1) else { return Ok(()) };
        if in_force == 0 && self.entries[0].start_offset == start_offset {
            return Ok(());
        }
        self.entries.drain(..in_force);
        self.entries[0].start_offset = start_offset;
        self.flush()
    }

    pub fn clear(&mut self) -> Result<()> {
        self.entries.clear();
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(dir: &tempfile::TempDir, entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::load(dir.path().join("leader-epoch-checkpoint")).unwrap();
        for (epoch, start) in entries {
            epochs.assign(*epoch, *start).unwrap();
        }
        epochs
    }

    #[test]
    fn the_file_is_kafkas_text_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let written = epochs(&dir, &[(0, 0), (3, 17)]);
        let path = dir.path().join("leader-epoch-checkpoint");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n2\n0 0\n3 17\n");
        assert_eq!(LeaderEpochs::load(path).unwrap().entries(), written.entries());
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_starts() {
        let dir = tempfile::tempdir().unwrap();
        let epochs = epochs(&dir, &[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(epochs.end_offset_for(7, 44), (7, 44));
        assert_eq!(epochs.end_offset_for(4, 44), (4, 30));
        assert_eq!(epochs.end_offset_for(5, 44), (4, 30));
        assert_eq!(epochs.end_offset_for(1, 44), (1, 10));
        assert_eq!(epochs.end_offset_for(8, 44), (-1, -1));
        assert_eq!(epochs.end_offset_for(-1, 44), (-1, -1));
        assert_eq!(
            [9, 10, 29, 30].map(|offset| epochs.epoch_for_offset(offset)),
            [None, Some(2), Some(4), Some(7)]
        );
    }

    #[test]
    fn a_new_entry_drops_those_it_contradicts() {
        let dir = tempfile::tempdir().unwrap();
        let mut epochs = epochs(&dir, &[(1, 5), (2, 10), (3, 20)]);
        epochs.assign(3, 25).unwrap();
        assert_eq!(epochs.latest(), Some(EpochEntry { epoch: 3, start_offset: 20 }));
        epochs.assign(4, 10).unwrap();
        assert_eq!(
            epochs.entries(),
            [(1, 5), (4, 10)].map(|(epoch, start_offset)| EpochEntry { epoch, start_offset })
        );
    }

    #[test]
    fn truncation_cuts_at_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut epochs = epochs(&dir, &[(1, 5), (2, 10), (3, 20), (4, 30)]);
        epochs.truncate_from_end(30).unwrap();
        epochs.truncate_from_start(12).unwrap();
        let expected = [(2, 12), (3, 20)].map(|(epoch, start_offset)| EpochEntry { epoch, start_offset });
        assert_eq!(epochs.entries(), expected);
        assert_eq!(
            LeaderEpochs::load(dir.path().join("leader-epoch-checkpoint")).unwrap().entries(),
            expected
        );
    }

    #[test]
    fn a_malformed_line_is_named_with_its_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leader-epoch-checkpoint");
        std::fs::write(&path, "0\n2\n0 0\nx 1\n").unwrap();
        let error = LeaderEpochs::load(path).unwrap_err().to_string();
        assert!(
            error.ends_with("leader-epoch-checkpoint: corrupt at byte 8: malformed line 'x 1'"),
            "{error}"
        );
    }
}
