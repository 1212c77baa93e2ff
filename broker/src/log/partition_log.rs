//! [`Log`]: the segments of one partition, its epochs and its producers.

use super::error::{At, LogError, Result};
use super::flushes::FLUSHES;
use super::header::{self, Header, Scan};
use super::leader_epochs::LeaderEpochs;
use super::producers::Producers;
use super::segment::{BatchAt, Segment};
use super::topic_id;
use super::types::{
    AbortedTxn, Appended, EpochEntry, FetchSlice, FlushJob, ProducerBatch, ProducerEntry, TimestampOffset,
};
use super::{LogConfig, checkpoint, records};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// Bytes read at once while searching batches by timestamp or replaying producers.
pub(super) const SCAN_CHUNK: usize = 64 << 10;

/// One partition's log. Dropping it without [`Log::close`] leaves what a crash would leave.
#[derive(Debug)]
pub struct Log {
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    /// Boxed: most logs have one, and a node of the map has room for eleven.
    pub(super) segments: BTreeMap<i64, Box<Segment>>,
    pub(super) log_start: i64,
    pub(super) end: i64,
    pub(super) recovery_point: i64,
    /// The end was not looked for in the active segment yet.
    pub(super) taken_on_trust: bool,
    /// Appended to or read since the last [`Log::was_used`].
    pub(super) used: bool,
    pub(super) epochs: LeaderEpochs,
    pub(super) producers: Producers,
    pub(super) topic_id: Option<[u8; 16]>,
    pub(super) flush_job: Option<FlushJob>,
    pub(super) flushed_at: i64,
    /// Below it the log is compacted; `None` before its first cleaning.
    pub(super) cleaned: Option<i64>,
    /// Set while a [`super::CleanJob`] is at work; true tells it to give up.
    pub(super) cleaning: Option<Arc<AtomicBool>>,
    pub(super) uncleanable: bool,
    /// Files renamed to `.deleted` and when they may go.
    pub(super) doomed: VecDeque<(i64, PathBuf)>,
    /// Scratch of one append.
    pub(super) batches: Vec<BatchAt>,
}

/// In a line of the broker's log.
impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Log(dir={}, logStartOffset={}, logEndOffset={}) with {} segments",
            self.dir.display(),
            self.log_start,
            self.end,
            self.segments.len()
        )
    }
}

impl Log {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn log_start_offset(&self) -> i64 {
        self.log_start
    }

    /// The next offset to be assigned (LEO).
    pub fn log_end_offset(&self) -> i64 {
        self.end
    }

    /// Everything below is on stable storage; goes to `recovery-point-offset-checkpoint`.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// Bytes of all segments' `.log`.
    pub fn size(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.size())).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// First offset of the first segment; a log start above it goes to `log-start-offset-checkpoint`.
    pub fn first_segment_base(&self) -> i64 {
        self.segments.first_key_value().map_or(self.end, |(base, _)| *base)
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes effect with the next append or retention pass.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub(super) fn active(&mut self) -> &mut Segment {
        self.segments.last_entry().expect("a log has at least one segment").into_mut()
    }

    /// The segment that `offset` falls in.
    pub(super) fn floor(&self, offset: i64) -> Option<i64> {
        self.segments.range(..=offset).next_back().map(|(base, _)| *base)
    }

    /// Appends whole batches whose offsets and leader epochs are final. Rolls first where it must. fsyncs only where
    /// `flush.messages` asks for it.
    pub fn append(&mut self, records: &[u8], now: i64) -> Result<Appended> {
        self.append_hinted(records, None, now)
    }

    /// As [`Log::append`], by a leader that knows which record has the largest timestamp; the time index then holds its
    /// offset in place of its batch's last one.
    pub fn append_hinted(
        &mut self,
        records: &[u8],
        max_timestamp_offset: Option<i64>,
        now: i64,
    ) -> Result<Appended> {
        self.check_end()?;
        let mut batches = std::mem::take(&mut self.batches);
        let appended = self.measure(records, max_timestamp_offset, &mut batches);
        let appended = appended.and_then(|appended| self.write(records, &batches, appended, now));
        batches.clear();
        self.batches = batches;
        appended
    }

    /// Whether it was appended to or read since this was asked last.
    pub fn was_used(&mut self) -> bool {
        std::mem::take(&mut self.used)
    }

    /// Nothing was appended since the last flush.
    pub fn is_flushed(&self) -> bool {
        self.recovery_point >= self.end
    }

    /// With the first use: does the active segment end where the checkpoint says?
    pub(super) fn check_end(&mut self) -> Result<()> {
        self.used = true;
        if !self.taken_on_trust {
            return Ok(());
        }
        let (end, active) = (self.end, self.active());
        let found = active.next_offset()?;
        if found != end {
            let reason =
                format!("the last whole batch ends at offset {found}, where the recovery point is {end}");
            return Err(LogError::corrupt(active.path(), u64::from(active.size()), reason));
        }
        self.taken_on_trust = false;
        Ok(())
    }

    /// Walks the batches; whatever is wrong with them is found before a byte is written.
    fn measure(&self, records: &[u8], max_hint: Option<i64>, batches: &mut Vec<BatchAt>) -> Result<Appended> {
        let refuse = |reason: String| LogError::Append { dir: self.dir.clone(), reason };
        if records.is_empty() {
            return Err(refuse("there are no batches".into()));
        }
        if records.len() as u64 > u64::from(self.config.segment_bytes) {
            let limit = self.config.segment_bytes;
            return Err(refuse(format!("{} bytes are more than the {limit} of a segment", records.len())));
        }
        let mut appended = Appended {
            first_offset: -1,
            end_offset: self.end,
            max_timestamp: -1,
            offset_of_max_timestamp: -1,
            rolled: false,
        };
        for item in header::headers(records) {
            let (position, header) = item.map_err(refuse)?;
            if header.base_offset < appended.end_offset {
                let next = appended.end_offset;
                return Err(refuse(format!("offset {} is below the next offset {next}", header.base_offset)));
            }
            if batches.is_empty() {
                appended.first_offset = header.base_offset;
            }
            appended.end_offset = header.last_offset + 1;
            if header.max_timestamp > appended.max_timestamp {
                appended.max_timestamp = header.max_timestamp;
                appended.offset_of_max_timestamp = max_hint.unwrap_or(header.last_offset);
            }
            let batch =
                BatchAt { position: position as u32, size: header.size, last_offset: header.last_offset };
            batches.push(batch);
        }
        Ok(appended)
    }

    fn write(
        &mut self,
        records: &[u8],
        batches: &[BatchAt],
        mut appended: Appended,
        now: i64,
    ) -> Result<Appended> {
        let last = TimestampOffset { timestamp: appended.max_timestamp, offset: appended.end_offset - 1 };
        let config = self.config.clone();
        if self.active().should_roll(records.len(), last, &config, now)? {
            self.roll_at(appended.first_offset, now)?;
            appended.rolled = true;
        }
        let max =
            TimestampOffset { timestamp: appended.max_timestamp, offset: appended.offset_of_max_timestamp };
        self.active().append(records, batches, max, &config)?;
        self.end = appended.end_offset;
        for batch in batches {
            let bytes = &records[batch.position as usize..(batch.position + batch.size) as usize];
            self.follow(bytes)?;
        }
        if self.end - self.recovery_point >= self.config.flush_messages {
            self.flush(now)?;
        }
        Ok(appended)
    }

    /// Epochs, producers and the transaction index after an append.
    fn follow(&mut self, batch: &[u8]) -> Result<()> {
        let Ok(Some(header)) = Header::parse(batch) else { return Ok(()) };
        if header.leader_epoch >= 0 {
            self.epochs.assign(header.leader_epoch, header.base_offset)?;
        }
        if let Some(aborted) = self.producers.replay(&header, batch) {
            self.active().txns.append(aborted)?;
        }
        Ok(())
    }

    /// Starts a new segment unless the active one is empty.
    pub fn roll(&mut self, now: i64) -> Result<bool> {
        if self.active().size() == 0 {
            return Ok(false);
        }
        self.roll_at(self.end, now)?;
        Ok(true)
    }

    /// Starts a segment at `first_offset`; the one before is sealed and left to a [`FlushJob`].
    pub(super) fn roll_at(&mut self, first_offset: i64, now: i64) -> Result<()> {
        let base = first_offset.max(self.end);
        let active = self.active();
        let replaced = active.base == base;
        if replaced && active.size() > 0 {
            let reason = format!("a segment at {base} exists and has {} bytes", active.size());
            return Err(LogError::corrupt(active.path(), 0, reason));
        }
        if !replaced {
            active.seal()?;
        }
        let segment = Segment::create(&self.dir, base, now, &self.config)?;
        self.segments.insert(base, Box::new(segment));
        self.producers.set_end_offset(base);
        self.producers.take_snapshot()?;
        self.queue_flush(base)
    }

    /// Adds the segments from the recovery point up to `end_offset` to the flush job.
    fn queue_flush(&mut self, end_offset: i64) -> Result<()> {
        let queued = self.flush_job.as_ref().map_or(self.recovery_point, |job| job.end_offset);
        let from = self.floor(queued).unwrap_or(queued);
        let mut files = self.flush_job.take().map_or_else(Vec::new, |job| job.files);
        for (_, segment) in self.segments.range_mut(from..end_offset) {
            files.extend(segment.sync_handles()?);
        }
        let snapshots = self.producers.take_unsynced()?;
        files.extend(snapshots.into_iter().map(|(path, file)| (path, Arc::new(file))));
        self.flush_job = Some(FlushJob { files, dir: self.dir.clone(), end_offset });
        Ok(())
    }

    /// Work left by a roll: old segments to fsync on another thread.
    pub fn take_flush_job(&mut self) -> Option<FlushJob> {
        self.flush_job.take()
    }

    /// A job's files are on disk.
    pub fn mark_flushed(&mut self, end_offset: i64, now: i64) {
        self.recovery_point = self.recovery_point.max(end_offset.min(self.end));
        self.flushed_at = now;
    }

    /// Leaves a flush of everything to a [`FlushJob`] if `flush.ms` asks for one.
    pub fn start_flush(&mut self, now: i64) -> Result<()> {
        if self.end <= self.recovery_point || now.saturating_sub(self.flushed_at) < self.config.flush_ms {
            return Ok(());
        }
        self.flushed_at = now;
        self.queue_flush(self.end)
    }

    /// fsyncs everything now; the recovery point becomes the log end.
    pub fn flush(&mut self, now: i64) -> Result<()> {
        if self.recovery_point < self.end {
            FLUSHES.time(|| self.sync())?;
            self.flush_job = None;
        }
        self.mark_flushed(self.end, now);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let from = self.floor(self.recovery_point).unwrap_or(i64::MIN);
        for (_, segment) in self.segments.range_mut(from..) {
            segment.sync()?;
        }
        for (path, file) in self.producers.take_unsynced()? {
            file.sync_data().at("cannot sync", &path)?;
        }
        checkpoint::sync_dir(&self.dir)
    }

    /// Up to `max_bytes` from the batch that holds `offset`, none of a batch at or above `upper` (high watermark, last
    /// stable offset or log end). With `min_one` the first batch comes whole even where it is larger.
    /// [`LogError::OffsetOutOfRange`] below the log start or beyond the log end.
    pub fn read(&mut self, offset: i64, max_bytes: u32, upper: i64, min_one: bool) -> Result<FetchSlice> {
        let upper = upper.min(self.end);
        if offset < self.log_start || offset > self.end {
            let (start, end) = (self.log_start, self.end);
            return Err(LogError::OffsetOutOfRange { dir: self.dir.clone(), offset, start, end });
        }
        let base = self.floor(offset).unwrap_or(self.log_start);
        let mut slice = FetchSlice {
            file: None,
            position: 0,
            len: 0,
            segment_base: base,
            first_incomplete: false,
            bytes: None,
        };
        if offset >= upper {
            return Ok(slice);
        }
        self.check_end()?;
        let end = self.end;
        let mut segments = self.segments.range_mut(base..).peekable();
        while let Some((base, segment)) = segments.next() {
            let segment_end = segments.peek().map_or(end, |(next, _)| **next);
            let Some(first) = segment.translate(offset)? else { continue };
            let limit = match upper < segment_end {
                true => segment.translate(upper)?.map_or(segment.size(), |batch| batch.position),
                false => segment.size(),
            };
            let wanted = if min_one { max_bytes.max(first.size) } else { max_bytes };
            slice.position = u64::from(first.position);
            slice.len = limit.saturating_sub(first.position).min(wanted);
            slice.segment_base = *base;
            slice.first_incomplete = wanted < first.size;
            if slice.len > 0 {
                slice.file = Some(segment.file()?);
            }
            break;
        }
        Ok(slice)
    }

    /// Aborted transactions that overlap `from..upper`, in the order of their markers.
    pub fn aborted_txns(&mut self, from: i64, upper: i64) -> Result<Vec<AbortedTxn>> {
        let mut found = Vec::new();
        let base = self.floor(from).unwrap_or(from);
        for (_, segment) in self.segments.range_mut(base..) {
            if segment.txns.collect(from, upper, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// The first record with at least this timestamp (its own timestamp and offset); decompresses one batch.
    pub fn offset_for_timestamp(&mut self, timestamp: i64) -> Result<Option<TimestampOffset>> {
        let from = self.log_start;
        for segment in self.segments.values_mut() {
            if segment.largest_timestamp()? < timestamp {
                continue;
            }
            let start = segment.timestamp_scan_start(timestamp, from)?;
            let (file, size, path) = (segment.file()?, segment.size(), segment.path());
            let mut scan = Scan::new(&file, path, u64::from(start), u64::from(size), SCAN_CHUNK);
            while let Some((position, header)) = scan.next_header()? {
                if header.max_timestamp < timestamp || header.last_offset < from {
                    continue;
                }
                let found = records::first_at(scan.body(position, &header)?, timestamp, from);
                match found.map_err(|reason| LogError::corrupt(path, position, reason))? {
                    None => {}
                    found => return Ok(found),
                }
            }
            return Ok(None);
        }
        Ok(None)
    }

    /// The starts of segments, and the end of the log, that were there at `timestamp` (by when files were last written
    /// to), the newest first; -1 stands for now, -2 and -4 for the first of them (ListOffsets of version 0).
    pub fn offsets_before(&self, timestamp: i64, now: i64) -> Result<Vec<i64>> {
        let mut known = Vec::with_capacity(self.segments.len() + 1);
        for (base, segment) in &self.segments {
            let written = segment.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            known.push(((*base).max(self.log_start), written.as_millis() as i64));
        }
        if self.segments.last_key_value().is_some_and(|(_, segment)| segment.size() > 0) {
            known.push((self.end, now));
        }
        let count = match timestamp {
            -1 => known.len(),
            -2 | -4 => known.len().min(1),
            _ => known.iter().rposition(|(_, written)| *written <= timestamp).map_or(0, |at| at + 1),
        };
        let mut offsets: Vec<i64> = known[..count].iter().map(|(offset, _)| *offset).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        Ok(offsets)
    }

    /// The largest timestamp of the log, and the offset of the record that has it, or else its batch's last one
    /// (ListOffsets -3).
    pub fn max_timestamp(&mut self) -> Result<TimestampOffset> {
        let mut max = TimestampOffset { timestamp: -1, offset: self.first_segment_base() };
        for segment in self.segments.values_mut() {
            let other = segment.max_timestamp()?;
            if other.timestamp > max.timestamp {
                max = other;
            }
        }
        Ok(max)
    }

    /// This replica became leader of `epoch` with `start_offset` = its log end.
    pub fn assign_epoch(&mut self, epoch: i32, start_offset: i64) -> Result<()> {
        self.epochs.assign(epoch, start_offset)
    }

    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest().map(|entry| entry.epoch)
    }

    /// OffsetsForLeaderEpoch: the largest epoch ≤ `epoch` and its end offset; (-1, -1) where unknown.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> (i32, i64) {
        self.epochs.end_offset_for(epoch, self.end)
    }

    pub fn epochs(&self) -> &[EpochEntry] {
        self.epochs.entries()
    }

    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.epoch_for_offset(offset)
    }

    /// The producers as of the log end, by id: after `open` and truncations the partition core starts from these.
    pub fn producers(&self) -> Vec<ProducerEntry> {
        self.producers.entries().copied().collect()
    }

    /// [`Log::producers`], each with up to four batches before its last one, oldest first: those that were appended, or
    /// replayed, since the snapshot that the producers were last loaded from.
    pub fn producers_with_batches(&self) -> impl Iterator<Item = (&ProducerEntry, Vec<ProducerBatch>)> {
        self.producers.entries_with_batches()
    }

    /// The 16 bytes of `partition.metadata`, `None` where the file is absent.
    pub fn topic_id(&self) -> Option<[u8; 16]> {
        self.topic_id
    }

    /// Writes `partition.metadata`; an error where another id is there.
    pub fn set_topic_id(&mut self, id: [u8; 16]) -> Result<()> {
        match self.topic_id {
            Some(known) if known == id => Ok(()),
            Some(known) => Err(LogError::Identity(topic_id::mismatch(&self.dir, &known, &id))),
            None => {
                topic_id::write(&self.dir, &id)?;
                self.topic_id = Some(id);
                Ok(())
            }
        }
    }

    /// Flushes, snapshots the producers, trims the indexes: the directory then opens without a scan. The recovery point
    /// to be checkpointed is the log end.
    pub fn close(mut self, now: i64) -> Result<()> {
        self.finish()?;
        self.flush(now)
    }

    /// As [`Log::close`], the flush left to the caller, who syncs the whole file system.
    pub fn close_unsynced(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.abort_cleaning();
        self.producers.take_snapshot()?;
        self.segments.values_mut().try_for_each(|segment| segment.settle_indexes())?;
        self.active().seal()
    }

    /// Renames the directory to `<topic>-<partition>.<uuid>-delete` and returns its new path; the caller removes it
    /// after the delay.
    pub fn delete(self) -> Result<PathBuf> {
        self.abort_cleaning();
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = self.dir.with_file_name(deleted_name(&name, &uuid::Uuid::new_v4().simple().to_string()));
        fs::rename(&self.dir, &target).at("cannot rename", &self.dir)?;
        if let Some(parent) = target.parent() {
            checkpoint::sync_dir(parent)?;
        }
        Ok(target)
    }
}

/// The name of a directory about to be removed, at most 255 bytes of topic, partition, id and suffix.
fn deleted_name(name: &str, uuid: &str) -> String {
    let stem = name.split_once('.').filter(|_| name.ends_with("-future") || name.ends_with("-delete"));
    let name = stem.and(name.rsplit_once('.')).map_or(name, |(stem, _)| stem);
    let (topic, partition) = name.rsplit_once('-').unwrap_or((name, "0"));
    let suffix = format!("-{partition}.{uuid}-delete");
    format!("{}{suffix}", &topic[..topic.len().min(255 - suffix.len())])
}
