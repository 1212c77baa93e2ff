//! What a log's owner does about compaction: says how dirty the log is, hands a [`CleanJob`] out, swaps in what comes of
//! it. The job itself runs on another thread and only reads what can no longer change.
//!
//! A job writes `<base>.log.cleaned` and its indexes. To take them over, they are renamed to `.swap`, the segments they
//! replace to `.deleted`, and then they lose the suffix. A start after a crash drops `.cleaned` files and completes
//! `.swap` files, so that each record is there once or, superseded, not at all.

use super::cleaner::{CleanJob, CleanedGroup, LastRecord, Source};
use super::error::{At, Result};
use super::partition_log::Log;
use super::recovery::{CLEANED, SWAP};
use super::segment::{FILE_KINDS, Segment, file_of};
use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much of a log can be compacted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleanable {
    /// Below it the log is compacted.
    pub first_dirty: i64,
    /// Where what must not be touched begins; a segment's base.
    pub first_uncleanable: i64,
    /// Dirty bytes of all bytes below it.
    pub ratio: f64,
    /// Records wait for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
    /// By how many ms.
    pub overdue_ms: i64,
    /// It is dirty enough, or overdue.
    pub is_due: bool,
    pub dirty_bytes: u64,
}

impl Log {
    /// How dirty the log is; `None` where it is not to be cleaned now. Records at `last_stable_offset` and above are left
    /// alone, as are the active segment and what is younger than `min.compaction.lag.ms`.
    pub fn cleanable(&mut self, last_stable_offset: i64, now: i64) -> Result<Option<Cleanable>> {
        Ok(self.dirt(last_stable_offset, now)?.filter(|range| range.is_due))
    }

    /// As [`Log::cleanable`], though it need not be cleaned yet; `None` where there is nothing to clean.
    pub fn dirt(&mut self, last_stable_offset: i64, now: i64) -> Result<Option<Cleanable>> {
        if !self.config.compact || self.cleaning.is_some() || self.uncleanable {
            return Ok(None);
        }
        let first_dirty = match self.cleaned {
            Some(cleaned) if (self.log_start..=self.end).contains(&cleaned) => cleaned,
            _ => self.log_start,
        };
        let active = self.segments.last_key_value().map_or(self.end, |(base, _)| *base);
        let mut upper = last_stable_offset.min(active);
        let from = self.floor(first_dirty).unwrap_or(first_dirty);
        let mut earliest = i64::MAX;
        if self.config.min_compaction_lag_ms > 0 || self.config.max_compaction_lag_ms < i64::MAX {
            for (base, segment) in self.segments.range_mut(from..active.max(from)) {
                if self.config.min_compaction_lag_ms > 0
                    && segment.largest_timestamp()? > now - self.config.min_compaction_lag_ms
                {
                    upper = upper.min(*base);
                    break;
                }
                earliest = earliest.min(segment.first_timestamp()?.filter(|at| *at > 0).unwrap_or(i64::MAX));
            }
        }
        let overdue_ms =
            now.saturating_sub(self.config.max_compaction_lag_ms).saturating_sub(earliest).max(0);
        let overdue = overdue_ms > 0;
        let upper = upper.max(first_dirty);
        let first_uncleanable = self.floor(upper).unwrap_or(upper);
        let size = |from: i64, to: i64| -> u64 {
            if from >= to {
                return 0;
            }
            let from = self.floor(from).unwrap_or(from);
            self.segments.range(from..to).map(|(_, segment)| u64::from(segment.size())).sum()
        };
        let dirty_bytes = size(first_dirty.min(first_uncleanable), first_uncleanable);
        let total = size(i64::MIN, first_dirty) + dirty_bytes;
        if dirty_bytes == 0 {
            return Ok(None);
        }
        let ratio = dirty_bytes as f64 / total as f64;
        let is_due = overdue || ratio > self.config.min_cleanable_ratio;
        Ok(Some(Cleanable {
            first_dirty,
            first_uncleanable,
            ratio,
            overdue,
            overdue_ms,
            is_due,
            dirty_bytes,
        }))
    }

    /// Everything that a cleaner needs to work apart from the log. Truncations, retention and deletion call it off.
    pub fn start_cleaning(&mut self, range: Cleanable, now: i64) -> Result<CleanJob> {
        let first = self.first_segment_base();
        let upper = range.first_uncleanable;
        let mut sources = Vec::new();
        for (base, segment) in self.segments.range_mut(..upper) {
            sources.push(Source {
                base: *base,
                path: segment.path().to_owned(),
                file: segment.file()?,
                size: segment.size(),
                index_bytes: segment.index_bytes()?,
                modified: segment.modified()?,
            });
        }
        let mut aborted_txns = self.aborted_txns(first, upper)?;
        aborted_txns.sort_by_key(|txn| txn.first_offset);
        let producers = self.producers.entries().map(|entry| {
            let last = match entry.last_offset {
                -1 => LastRecord::Marker { epoch: entry.epoch },
                offset => LastRecord::Data { offset },
            };
            (entry.producer_id, last)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let job = CleanJob {
            dir: self.dir.clone(),
            config: self.config.clone(),
            sources,
            first_dirty: range.first_dirty,
            first_uncleanable: upper,
            aborted_txns,
            producers: producers.collect(),
            now,
            stop: Arc::clone(&stop),
        };
        self.cleaning = Some(stop);
        Ok(job)
    }

    /// Puts a cleaned segment in the place of those that it was made of. False where the job was called off meanwhile: the
    /// caller then has it give up.
    pub fn swap_in(&mut self, group: &CleanedGroup, now: i64) -> Result<bool> {
        if !self.is_cleaning(&group.stop)
            || !group.replaces.iter().all(|base| self.segments.contains_key(base))
        {
            return Ok(false);
        }
        let base = group.replaces[0];
        for kind in FILE_KINDS {
            let cleaned = file_of(&self.dir, base, &format!("{kind}.{CLEANED}"));
            rename_if_there(&cleaned, &file_of(&self.dir, base, &format!("{kind}.{SWAP}")))?;
        }
        let due = now.saturating_add(self.config.file_delete_delay_ms);
        for old in &group.replaces {
            let Some(segment) = self.segments.remove(old) else { continue };
            self.doomed.extend(segment.mark_deleted()?.into_iter().map(|path| (due, path)));
            if *old != base {
                self.producers.remove_snapshot(*old)?;
            }
        }
        for kind in FILE_KINDS {
            let swap = file_of(&self.dir, base, &format!("{kind}.{SWAP}"));
            rename_if_there(&swap, &file_of(&self.dir, base, kind))?;
        }
        self.segments.insert(base, Box::new(Segment::existing(&self.dir, base, now, &self.config)?));
        Ok(true)
    }

    /// The job is over: up to `end` the log is clean; `None` where it failed or gave up.
    pub fn finish_cleaning(&mut self, stop: &Arc<AtomicBool>, end: Option<i64>) {
        if !self.cleaning.as_ref().is_some_and(|known| Arc::ptr_eq(known, stop)) {
            return;
        }
        if end.is_some() && self.is_cleaning(stop) {
            self.cleaned = end;
        }
        self.cleaning = None;
    }

    /// Nothing of this log will be cleaned until the broker starts again: its content cannot be read.
    pub fn is_uncleanable(&self) -> bool {
        self.uncleanable
    }

    pub fn mark_uncleanable(&mut self) {
        self.uncleanable = true;
    }

    /// Below it the log is compacted; goes to `cleaner-offset-checkpoint`.
    pub fn cleaned_offset(&self) -> Option<i64> {
        self.cleaned
    }

    fn is_cleaning(&self, stop: &Arc<AtomicBool>) -> bool {
        let known = self.cleaning.as_ref();
        known.is_some_and(|known| Arc::ptr_eq(known, stop)) && !stop.load(Ordering::Relaxed)
    }

    /// The segments are about to change under a job's feet. No other job starts before this one says that it is over.
    pub(super) fn abort_cleaning(&self) {
        if let Some(stop) = &self.cleaning {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn rename_if_there(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("cannot rename", from),
        _ => Ok(()),
    }
}
