//! The work of compaction, on a thread of its own: which key was written last where, then segment after segment without
//! what is superseded.

use super::clean_filter::{Control, Filter, Kept, Transactions};
use super::error::{At, LogError, Result};
use super::handle::Handle;
use super::header::{Header, Scan};
use super::key_map::KeyMap;
use super::recovery::CLEANED;
use super::segment::{FILE_KINDS, SIZE_MAX, Segment, file_of};
use super::{AbortedTxn, LogConfig};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use wire::batch::{Batch, BatchError};

/// Kept batches are written in pieces of about so many bytes.
const WRITE_CHUNK: usize = 512 << 10;

/// A producer's last batch, by what there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastRecord {
    /// Its last offset.
    Data { offset: i64 },
    /// There is none since the last marker, which has this epoch.
    Marker { epoch: i16 },
}

/// A segment to be cleaned.
#[derive(Debug)]
pub(crate) struct Source {
    pub base: i64,
    pub path: PathBuf,
    pub file: Arc<Handle>,
    pub size: u32,
    /// Bytes of the offset and of the time index.
    pub index_bytes: (u64, u64),
    pub modified: SystemTime,
}

/// One cleaning of one log: [`super::Log::start_cleaning`].
#[derive(Debug)]
pub struct CleanJob {
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    /// All segments below the first uncleanable offset.
    pub(super) sources: Vec<Source>,
    pub(super) first_dirty: i64,
    pub(super) first_uncleanable: i64,
    /// By first offset.
    pub(super) aborted_txns: Vec<AbortedTxn>,
    pub(super) producers: BTreeMap<i64, LastRecord>,
    pub(super) now: i64,
    pub(super) stop: Arc<AtomicBool>,
}

/// A segment that is ready to take the place of others.
#[derive(Debug)]
pub struct CleanedGroup {
    /// Bases of the segments that it replaces, the first is its own.
    pub(super) replaces: Vec<i64>,
    pub(super) stop: Arc<AtomicBool>,
}

/// Settings of all cleanings (`log.cleaner.*`).
#[derive(Debug, Clone, Copy)]
pub struct CleanerOptions {
    /// `dedupe.buffer.size` of one thread.
    pub map_bytes: usize,
    /// `io.buffer.load.factor`
    pub load_factor: f64,
    /// `io.max.bytes.per.second` of one thread.
    pub bytes_per_second: f64,
}

/// What a cleaning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// The first offset that is not clean.
    pub end_offset: i64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub records_read: u64,
    pub records_kept: u64,
    pub keys: usize,
    /// How many keys there was room for.
    pub keys_max: usize,
    /// Records without a key that were dropped.
    pub keyless: u64,
}

/// Why a cleaning came to no end.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The log was truncated, shortened, deleted or closed meanwhile.
    #[error("the cleaning was called off")]
    CalledOff,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Spreads reading and writing over time.
struct Throttle {
    bytes_per_second: f64,
    bytes: u64,
    since: Instant,
}

impl Throttle {
    fn pass(&mut self, bytes: u64, stop: &AtomicBool) {
        self.bytes += bytes;
        if self.bytes_per_second <= 0.0 || self.bytes_per_second >= 1e15 {
            return;
        }
        let due = Duration::try_from_secs_f64(self.bytes as f64 / self.bytes_per_second).unwrap_or_default();
        while let Some(early) = due.checked_sub(self.since.elapsed()).filter(|early| !early.is_zero()) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(early.min(Duration::from_millis(100)));
        }
    }
}

impl CleanJob {
    /// Says which job a log's [`super::Log::finish_cleaning`] is about.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Cleans; `swap` has the log take each new segment over ([`super::Log::swap_in`]) and tells whether it did.
    pub fn run(
        &self,
        options: &CleanerOptions,
        swap: &mut dyn FnMut(CleanedGroup) -> bool,
    ) -> Result<CleanStats, CleanError> {
        let mut throttle =
            Throttle { bytes_per_second: options.bytes_per_second, bytes: 0, since: Instant::now() };
        let mut map = KeyMap::new(options.map_bytes, options.load_factor);
        self.build_map(&mut map, &mut throttle)?;
        let end_offset = map.latest() + 1;
        let mut filter = Filter {
            map: &map,
            producers: &self.producers,
            now: self.now,
            delete_retention_ms: self.config.delete_retention_ms,
            transactions: Transactions::new(&self.aborted_txns),
            seen: 0,
            kept: 0,
            keyless: 0,
        };
        let mut stats =
            CleanStats { end_offset, keys: map.len(), keys_max: map.room(), ..CleanStats::default() };
        for group in self.groups(end_offset) {
            let cleaned = self.clean_group(group, &mut filter, &mut throttle, &mut stats);
            if cleaned.is_err() {
                self.drop_cleaned(group[0].base);
            }
            cleaned?;
            let replaces = group.iter().map(|source| source.base).collect();
            if !swap(CleanedGroup { replaces, stop: Arc::clone(&self.stop) }) {
                self.drop_cleaned(group[0].base);
                return Err(CleanError::CalledOff);
            }
        }
        (stats.records_read, stats.records_kept, stats.keyless) = (filter.seen, filter.kept, filter.keyless);
        Ok(stats)
    }

    fn check_stop(&self) -> Result<(), CleanError> {
        if self.stop.load(Ordering::Relaxed) { Err(CleanError::CalledOff) } else { Ok(()) }
    }

    /// An error of a job that was called off says nothing.
    fn judge(&self, error: LogError) -> CleanError {
        if self.stop.load(Ordering::Relaxed) { CleanError::CalledOff } else { error.into() }
    }

    /// Reads the keys of the dirty part, as many as the map takes.
    fn build_map(&self, map: &mut KeyMap, throttle: &mut Throttle) -> Result<(), CleanError> {
        let open = self.aborted_txns.iter().filter(|txn| txn.last_offset >= self.first_dirty);
        let open: Vec<AbortedTxn> = open.copied().collect();
        let mut transactions = Transactions::new(&open);
        for (n, source) in self.sources.iter().enumerate() {
            let next = self.sources.get(n + 1).map_or(self.first_uncleanable, |next| next.base);
            if next <= self.first_dirty {
                continue;
            }
            if !self.map_segment(source, map, &mut transactions, throttle)? {
                return Ok(());
            }
            // Where compaction left a gap before the next segment.
            map.set_latest(next - 1);
        }
        Ok(())
    }

    /// False once the map is full.
    fn map_segment(
        &self,
        source: &Source,
        map: &mut KeyMap,
        transactions: &mut Transactions<'_>,
        throttle: &mut Throttle,
    ) -> Result<bool, CleanError> {
        let mut scan = Scan::new(&source.file, &source.path, 0, u64::from(source.size), WRITE_CHUNK);
        while let Some((position, header)) = scan.next_header().map_err(|error| self.judge(error))? {
            self.check_stop()?;
            throttle.pass(u64::from(header.size), &self.stop);
            if header.last_offset < self.first_dirty {
                // Transactions that reach into the dirty part are told by the transaction index.
                continue;
            }
            let batch = self.batch(source, &mut scan, position, &header)?;
            let corrupt = |error: BatchError| LogError::corrupt(&source.path, position, error.to_string());
            if header.attributes.is_control() {
                transactions.control(&header, Control::of(&batch).map_err(corrupt)?);
            } else if !transactions.batch(&header) {
                let mut records = batch.records().map_err(corrupt)?;
                while let Some(record) = records.next_raw() {
                    let record = record.map_err(corrupt)?;
                    let offset = header.base_offset + i64::from(record.offset_delta);
                    let Some(key) = record.key.filter(|_| offset >= self.first_dirty) else { continue };
                    if !map.put(key, offset) {
                        return Ok(false);
                    }
                }
            }
            map.set_latest(header.last_offset);
        }
        Ok(true)
    }

    fn batch(
        &self,
        source: &Source,
        scan: &mut Scan<'_>,
        position: u64,
        header: &Header,
    ) -> Result<Batch, CleanError> {
        let corrupt = |reason: String| LogError::corrupt(&source.path, position, reason);
        if header.magic < 2 {
            let reason = format!("message sets of format {} cannot be compacted", header.magic);
            return Err(corrupt(reason).into());
        }
        let body = scan.body(position, header).map_err(|error| self.judge(error))?;
        header.check_crc(body).map_err(corrupt)?;
        let batch = Batch::split_from(&mut Bytes::copy_from_slice(body));
        let batch = batch.map_err(|error| corrupt(error.to_string()))?;
        Ok(batch.ok_or_else(|| corrupt("the batch is cut short".into()))?)
    }

    /// Segments below `end_offset` that become one, by size and by how far apart their offsets are.
    fn groups(&self, end_offset: i64) -> Vec<&[Source]> {
        let count = self.sources.partition_point(|source| source.base < end_offset);
        let all = &self.sources[..count];
        let log_max = u64::from(self.config.segment_bytes).min(SIZE_MAX);
        let index_max = u64::from(self.config.segment_index_bytes);
        let mut groups = Vec::new();
        let mut start = 0;
        let (mut log, mut offsets, mut times) = (0, 0, 0);
        for (n, source) in all.iter().enumerate() {
            let end = all.get(n + 1).map_or(self.first_uncleanable, |next| next.base);
            let reach = source.size == 0 || end - 1 - all[start].base <= i64::from(i32::MAX);
            let fits = log + u64::from(source.size) <= log_max
                && offsets + source.index_bytes.0 <= index_max
                && times + source.index_bytes.1 <= index_max
                && reach;
            if n > start && !fits {
                groups.push(&all[start..n]);
                start = n;
                (log, offsets, times) = (0, 0, 0);
            }
            log += u64::from(source.size);
            offsets += source.index_bytes.0;
            times += source.index_bytes.1;
        }
        if start < count {
            groups.push(&all[start..]);
        }
        groups
    }

    fn clean_group(
        &self,
        group: &[Source],
        filter: &mut Filter<'_>,
        throttle: &mut Throttle,
        stats: &mut CleanStats,
    ) -> Result<(), CleanError> {
        let suffix = format!(".{CLEANED}");
        let config = LogConfig { preallocate: false, ..self.config.clone() };
        let segment = Segment::create_named(&self.dir, group[0].base, &suffix, self.now, &config);
        let mut cleaned = segment.map_err(|error| self.judge(error))?;
        let mut out = Output { bytes: Vec::with_capacity(WRITE_CHUNK + 4096), headers: Vec::new() };
        for source in group {
            let mut scan = Scan::new(&source.file, &source.path, 0, u64::from(source.size), WRITE_CHUNK);
            while let Some((position, header)) = scan.next_header().map_err(|error| self.judge(error))? {
                self.check_stop()?;
                throttle.pass(u64::from(header.size), &self.stop);
                stats.bytes_read += u64::from(header.size);
                let batch = self.batch(source, &mut scan, position, &header)?;
                let decided = filter.batch(&header, &batch);
                let (kept, aborted) =
                    decided.map_err(|error| LogError::corrupt(&source.path, position, error.to_string()))?;
                if let Some(aborted) = aborted {
                    cleaned.txns.append(aborted).map_err(|error| self.judge(error))?;
                }
                out.take(&kept, &header, &batch);
                if out.bytes.len() >= WRITE_CHUNK {
                    throttle.pass(out.bytes.len() as u64, &self.stop);
                    stats.bytes_written += self.write(&mut out, &mut cleaned)?;
                }
            }
        }
        throttle.pass(out.bytes.len() as u64, &self.stop);
        stats.bytes_written += self.write(&mut out, &mut cleaned)?;
        let modified = group[group.len() - 1].modified;
        let sealed =
            cleaned.seal().and_then(|()| cleaned.set_modified(modified)).and_then(|()| cleaned.sync());
        sealed.map_err(|error| self.judge(error))
    }

    fn write(&self, out: &mut Output, to: &mut Segment) -> Result<u64, CleanError> {
        let written = out.bytes.len() as u64;
        let appended = to.append_cleaned(&out.bytes, &out.headers, self.config.index_interval_bytes);
        out.bytes.clear();
        out.headers.clear();
        appended.map_err(|error| self.judge(error))?;
        Ok(written)
    }

    /// What is not taken over goes; what cannot be removed goes at the next start.
    fn drop_cleaned(&self, base: i64) {
        for kind in FILE_KINDS {
            let path = file_of(&self.dir, base, &format!("{kind}.{CLEANED}"));
            if let Err(error) = fs::remove_file(&path).at("cannot remove", &path)
                && path.exists()
            {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Kept batches that are not written yet.
struct Output {
    bytes: Vec<u8>,
    headers: Vec<Header>,
}

impl Output {
    fn take(&mut self, kept: &Kept, header: &Header, batch: &Batch) {
        match kept {
            Kept::Nothing => {}
            Kept::Whole => {
                self.bytes.extend_from_slice(batch.bytes());
                self.headers.push(*header);
            }
            Kept::Rewritten(bytes) => {
                if let Ok(Some(header)) = Header::parse(bytes) {
                    self.bytes.extend_from_slice(bytes);
                    self.headers.push(header);
                }
            }
        }
    }
}
