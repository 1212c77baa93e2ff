//! Everything that makes a log shorter, from either end: truncation, retention, the removal of files.

use super::error::Result;
use super::partition_log::Log;
use super::segment::{Segment, doom};
use std::collections::VecDeque;
use std::path::PathBuf;

impl Log {
    /// Drops everything at `offset` and above; false where the log already ends there. Producers are reloaded.
    pub fn truncate_to(&mut self, offset: i64, now: i64) -> Result<bool> {
        if offset >= self.end {
            self.epochs.truncate_from_end(offset)?;
            return Ok(false);
        }
        if offset < self.first_segment_base() {
            self.truncate_fully_and_start_at(offset, now)?;
            return Ok(true);
        }
        self.check_end()?;
        self.abort_cleaning();
        self.cleaned = self.cleaned.map(|cleaned| cleaned.min(offset));
        self.flush_job = None;
        let later: Vec<i64> = self.segments.range(offset + 1..).map(|(base, _)| *base).collect();
        self.remove_segments(&later, now)?;
        let config = self.config.clone();
        self.active().truncate_to(offset, &config, now)?;
        self.end = offset;
        self.recovery_point = self.recovery_point.min(offset);
        self.epochs.truncate_from_end(offset)?;
        self.log_start = self.log_start.min(offset);
        self.rebuild_producers(false, now)?;
        Ok(true)
    }

    /// Drops everything; the next offset is `offset`.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now: i64) -> Result<()> {
        self.abort_cleaning();
        self.taken_on_trust = false;
        self.cleaned = None;
        self.flush_job = None;
        let all: Vec<i64> = self.segments.keys().copied().collect();
        self.remove_segments(&all, now)?;
        let segment = Segment::create(&self.dir, offset, now, &self.config)?;
        self.segments.insert(offset, Box::new(segment));
        self.end = offset;
        self.log_start = offset;
        self.recovery_point = self.recovery_point.min(offset);
        self.epochs.clear()?;
        self.producers.truncate_fully_and_start_at(offset)?;
        self.producers.take_snapshot()
    }

    /// DeleteRecords or a leader's log start. False where it is not above the current one. The caller bounds it by the
    /// high watermark.
    pub fn advance_log_start(&mut self, offset: i64) -> Result<bool> {
        if offset <= self.log_start {
            return Ok(false);
        }
        self.log_start = offset;
        self.epochs.truncate_from_start(offset)?;
        self.producers.log_start_moved(offset);
        Ok(true)
    }

    /// Removes the segments that log start, size and time let go, none above the high watermark; returns how many.
    pub fn apply_retention(&mut self, high_watermark: i64, now: i64) -> Result<usize> {
        let log_start = self.log_start;
        let mut removed =
            self.remove_old(high_watermark, now, |_, next| Ok(next.is_some_and(|next| next <= log_start)))?;
        if self.config.delete {
            removed += self.remove_oversize(high_watermark, now)?;
            removed += self.remove_expired(high_watermark, now)?;
        }
        self.release_idle();
        Ok(removed)
    }

    fn remove_oversize(&mut self, high_watermark: i64, now: i64) -> Result<usize> {
        let mut excess = self.size() as i64 - self.config.retention_bytes;
        if self.config.retention_bytes < 0 || excess < 0 {
            return Ok(0);
        }
        self.remove_old(high_watermark, now, |segment, _| {
            let fits = excess >= i64::from(segment.size());
            if fits {
                excess -= i64::from(segment.size());
            }
            Ok(fits)
        })
    }

    fn remove_expired(&mut self, high_watermark: i64, now: i64) -> Result<usize> {
        let retention_ms = self.config.retention_ms;
        if retention_ms < 0 {
            return Ok(0);
        }
        self.remove_old(high_watermark, now, |segment, _| {
            Ok(now.saturating_sub(segment.largest_timestamp()?) > retention_ms)
        })
    }

    /// Removes the leading segments that `old` (told the next segment's base) lets go.
    fn remove_old(
        &mut self,
        high_watermark: i64,
        now: i64,
        mut old: impl FnMut(&mut Segment, Option<i64>) -> Result<bool>,
    ) -> Result<usize> {
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        let mut removable = Vec::new();
        for (n, base) in bases.iter().enumerate() {
            let next = bases.get(n + 1).copied();
            let segment = self.segments.get_mut(base).expect("the key was just listed");
            if next.is_none() && segment.size() == 0 || high_watermark < next.unwrap_or(self.end) {
                break;
            }
            if !old(segment, next)? {
                break;
            }
            removable.push(*base);
        }
        if removable.is_empty() {
            return Ok(0);
        }
        self.abort_cleaning();
        if removable.len() == bases.len() {
            self.roll_at(self.end, now)?;
        }
        self.remove_segments(&removable, now)?;
        self.advance_log_start(self.first_segment_base())?;
        Ok(removable.len())
    }

    /// Renames the segments and their producer snapshots to `.deleted`; [`Log::tick`] unlinks them later.
    pub(super) fn remove_segments(&mut self, bases: &[i64], now: i64) -> Result<()> {
        let due = now.saturating_add(self.config.file_delete_delay_ms);
        for base in bases {
            let Some(segment) = self.segments.remove(base) else { continue };
            tracing::info!("Deleting segment {}", segment.path().display());
            self.doomed.extend(segment.mark_deleted()?.into_iter().map(|path| (due, path)));
            if let Some(path) = self.producers.release_snapshot(*base) {
                self.doomed.extend(doom(&path)?.map(|path| (due, path)));
            }
        }
        Ok(())
    }

    /// Expires producers; call it every few seconds.
    pub fn tick(&mut self, now: i64) {
        self.producers.expire(now, self.config.producer_id_expiration_ms);
    }

    /// `.deleted` files whose delay has passed; the caller unlinks them, on any thread.
    pub fn take_doomed(&mut self, now: i64) -> Vec<PathBuf> {
        let (due, later) = std::mem::take(&mut self.doomed).into_iter().partition(|(due, _)| *due <= now);
        self.doomed = later;
        let due: VecDeque<(i64, PathBuf)> = due;
        due.into_iter().map(|(_, path)| path).collect()
    }

    /// Gives the handles of segments back that are not written to; the next reader opens them again.
    pub fn release_idle(&mut self) {
        for segment in self.segments.values_mut().filter(|segment| !segment.is_reserved()) {
            segment.release();
        }
    }

    /// Gives all handles back, those of the active segment too; returns whether there were any.
    pub fn release(&mut self) -> bool {
        let mut open = false;
        for segment in self.segments.values_mut().filter(|segment| segment.is_open()) {
            open = true;
            segment.release();
        }
        open
    }
}
