//! What is told again by the batches when a file beside them is damaged: leader epochs and aborted transactions.

use super::EpochEntry;
use super::error::{LogError, Result};
use super::header::Scan;
use super::leader_epochs::LeaderEpochs;
use super::partition_log::{Log, SCAN_CHUNK};
use super::producers::{Producers, read_snapshot};
use std::collections::BTreeSet;

impl Log {
    /// Takes in what `leader-epoch-checkpoint` says. True where it is damaged: then no epoch is known.
    pub(super) fn load_epochs(&mut self, text: Result<Option<String>>) -> Result<bool> {
        match text.and_then(|text| LeaderEpochs::parse(self.epochs.path().to_owned(), text)) {
            Ok(epochs) => {
                self.epochs = epochs;
                Ok(false)
            }
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!("Rebuilding the leader epochs from the batches: {error}");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// The epochs as the batches have them; one in which nothing was written is lost.
    pub(super) fn rebuild_epochs(&mut self) -> Result<()> {
        let mut found: Vec<EpochEntry> = Vec::new();
        for segment in self.segments.values_mut() {
            let (file, size, path) = (segment.file()?, segment.size(), segment.path());
            let mut scan = Scan::new(&file, path, 0, u64::from(size), SCAN_CHUNK);
            while let Some((_, header)) = scan.next_header()? {
                if found.last().is_none_or(|last| header.leader_epoch > last.epoch)
                    && header.leader_epoch >= 0
                {
                    found.push(EpochEntry { epoch: header.leader_epoch, start_offset: header.base_offset });
                }
            }
        }
        self.epochs.replace(found.into_iter())?;
        self.epochs.truncate_from_start(self.log_start)
    }

    /// Reads the transaction indexes that there are, and builds anew what is damaged.
    pub(super) fn check_txn_indexes(&mut self, bases: &[i64]) -> Result<()> {
        for base in bases {
            let Some(segment) = self.segments.get_mut(base) else { continue };
            match segment.txns.entries() {
                Ok(_) => {}
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::warn!("Rebuilding a transaction index from the batches: {error}");
                    self.rebuild_txns(*base)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Replays the producers from the last snapshot below the segment; the aborts within it make the index.
    fn rebuild_txns(&mut self, base: i64) -> Result<()> {
        let mut producers = Producers::new(&self.dir, BTreeSet::new());
        let mut from = self.first_segment_base();
        for snapshot in self.producers.snapshots().rev().filter(|at| *at <= base) {
            match read_snapshot(&self.producers.path(snapshot)) {
                Ok(entries) => {
                    producers.load(entries.into_iter());
                    from = snapshot;
                    break;
                }
                Err(LogError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let first = self.floor(from).unwrap_or(from);
        let mut aborted = Vec::new();
        for (at, segment) in self.segments.range_mut(first..=base) {
            let (file, size, path) = (segment.file()?, segment.size(), segment.path());
            let mut scan = Scan::new(&file, path, 0, u64::from(size), SCAN_CHUNK);
            while let Some((position, header)) = scan.next_header()? {
                if header.last_offset < from || !header.has_producer() {
                    continue;
                }
                let batch = if header.attributes.is_control() { scan.body(position, &header)? } else { &[] };
                aborted.extend(producers.replay(&header, batch).filter(|_| *at == base));
            }
        }
        let Some(segment) = self.segments.get_mut(&base) else { return Ok(()) };
        segment.txns.reset()?;
        aborted.into_iter().try_for_each(|txn| segment.txns.append(txn))
    }
}
