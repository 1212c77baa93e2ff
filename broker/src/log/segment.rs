//! A segment: `.log` with its three indexes, all named after its first possible offset.

use super::error::{At, LogError, Result};
use super::handle::Handle;
use super::header::{Header, Scan};
use super::leader_epochs::LeaderEpochs;
use super::offset_index::OffsetIndex;
use super::producers::Producers;
use super::time_index::TimeIndex;
use super::txn_index::TxnIndex;
use super::{LogConfig, TimestampOffset};
use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::batch::HEADER_SIZE;

/// Positions of the newest batches kept in memory, so that readers at the tail need neither index nor scan.
const RECENT_MAX: usize = 64;
/// Bytes read at once while walking from an index entry to an offset.
const WALK_CHUNK: usize = 8 << 10;
/// Bytes read at once while reading a segment from end to end.
const SCAN_CHUNK: usize = 1 << 20;
/// The indexes of a recovered segment up to this size are built when they are needed.
const LAZY_MAX: u32 = 256 << 10;
/// `.log` sizes and positions are Java ints.
pub(crate) const SIZE_MAX: u64 = i32::MAX as u64;

pub(crate) const LOG: &str = "log";
pub(crate) const INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const DELETED: &str = "deleted";

/// What a segment consists of, the log first.
pub(crate) const FILE_KINDS: [&str; 4] = [LOG, INDEX, TIME_INDEX, TXN_INDEX];

/// The path of a file of the segment at `base`.
pub(crate) fn file_of(dir: &Path, base: i64, suffix: &str) -> PathBuf {
    dir.join(format!("{base:020}.{suffix}"))
}

/// Where a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchAt {
    pub position: u32,
    pub size: u32,
    pub last_offset: i64,
}

/// What [`Segment::recover`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// So many bytes behind the last whole batch were cut.
    Cut(u32),
    /// An offset is more than 2^31 - 1 above the base: the segment has to be split.
    ReachesTooFar,
}

/// Handles are opened with the first use; the sizes are known from the start.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base: i64,
    path: PathBuf,
    file: Option<Arc<Handle>>,
    size: u32,
    offsets: OffsetIndex,
    times: TimeIndex,
    pub txns: TxnIndex,
    /// Both indexes are as long as `segment.index.bytes` asks for.
    reserved: bool,
    /// A recovery passed the indexes over: they are built with their first use.
    stale_indexes: bool,
    bytes_since_index: u32,
    max_timestamp: Option<TimestampOffset>,
    /// The first chunk's largest timestamp, from which `segment.ms` counts.
    first_timestamp: Option<i64>,
    created: i64,
    pub jitter_ms: i64,
    /// For indexes that are built anew.
    index_interval_bytes: u32,
    recent: VecDeque<BatchAt>,
    /// Behind the last batch; `None` where it was not looked for.
    end: Option<i64>,
}

impl Segment {
    fn at(dir: &Path, base: i64, size: u32, now: i64, config: &LogConfig) -> Self {
        Self::named(dir, base, "", size, now, config)
    }

    /// `suffix` follows the names of all files.
    fn named(dir: &Path, base: i64, suffix: &str, size: u32, now: i64, config: &LogConfig) -> Self {
        let path = |kind: &str| file_of(dir, base, &format!("{kind}{suffix}"));
        Self {
            base,
            path: path(LOG),
            file: None,
            size,
            offsets: OffsetIndex::new(path(INDEX), base),
            times: TimeIndex::new(path(TIME_INDEX), base),
            txns: TxnIndex::new(path(TXN_INDEX), base),
            reserved: false,
            stale_indexes: false,
            bytes_since_index: 0,
            max_timestamp: None,
            first_timestamp: None,
            created: now,
            jitter_ms: jitter(config),
            index_interval_bytes: config.index_interval_bytes,
            recent: VecDeque::new(),
            end: None,
        }
    }

    /// A segment that lies there.
    pub fn existing(dir: &Path, base: i64, now: i64, config: &LogConfig) -> Result<Self> {
        let path = file_of(dir, base, LOG);
        let size = fs::metadata(&path).at("cannot stat", &path)?.len();
        Self::sized(dir, base, size, now, config)
    }

    /// As [`Segment::existing`], where the size of its `.log` is known.
    pub fn sized(dir: &Path, base: i64, size: u64, now: i64, config: &LogConfig) -> Result<Self> {
        if size > SIZE_MAX {
            let reason = format!("a segment has at most {SIZE_MAX} bytes");
            return Err(LogError::corrupt(&file_of(dir, base, LOG), size, reason));
        }
        Ok(Self::at(dir, base, size as u32, now, config))
    }

    /// A new, empty segment; files of its name that are in the way are replaced.
    pub fn create(dir: &Path, base: i64, now: i64, config: &LogConfig) -> Result<Self> {
        Self::create_named(dir, base, "", now, config)
    }

    /// As [`Segment::create`], with a suffix (`.cleaned`) behind the files' names.
    pub fn create_named(dir: &Path, base: i64, suffix: &str, now: i64, config: &LogConfig) -> Result<Self> {
        let mut segment = Self::named(dir, base, suffix, 0, now, config);
        let file = Handle::create(&segment.path)?;
        if config.preallocate {
            file.set_len(u64::from(config.segment_bytes)).at("cannot allocate", &segment.path)?;
        }
        segment.file = Some(Arc::new(file));
        segment.offsets.create(config.segment_index_bytes)?;
        segment.times.create(config.segment_index_bytes)?;
        segment.reserved = true;
        segment.max_timestamp = Some(segment.times.last());
        match fs::remove_file(segment.txns.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).at("cannot remove", segment.txns.path());
            }
            _ => {}
        }
        Ok(segment)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory has another name now.
    pub fn relocate(&mut self, dir: &Path) {
        let of = |kind: &str| file_of(dir, self.base, kind);
        self.offsets.file.relocate(of(INDEX));
        self.times.file.relocate(of(TIME_INDEX));
        self.txns.relocate(of(TXN_INDEX));
        self.path = of(LOG);
    }

    pub fn size(&self) -> u32 {
        self.size
    }

    pub fn file(&mut self) -> Result<Arc<Handle>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(Handle::open(&self.path)?);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// True where handles are held.
    pub fn is_open(&self) -> bool {
        self.file.is_some() || self.offsets.file.is_open() || self.times.file.is_open()
    }

    /// Whether this is a segment that was made ready for appends.
    pub fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Lets go of the handles and of what spares readers at the tail a look at the disk; the next use opens them again.
    pub fn release(&mut self) {
        self.file = None;
        self.offsets.file.release();
        self.times.file.release();
        self.recent = VecDeque::new();
    }

    /// True where both index files exist.
    pub fn has_indexes(&self) -> Result<bool> {
        Ok(self.offsets.file.exists()? && self.times.file.exists()?)
    }

    /// Opens the indexes; those that are damaged or missing are built anew from the batches.
    fn open_indexes(&mut self) -> Result<()> {
        if self.offsets.file.is_known() && self.times.file.is_known() {
            return Ok(());
        }
        if self.stale_indexes {
            return self.rebuild_indexes();
        }
        let opened = match self.has_indexes()? {
            true => self.offsets.open_existing(self.size).and_then(|()| self.times.open_existing()),
            false => Err(LogError::corrupt(self.offsets.file.path(), 0, "the segment lacks an index")),
        };
        match opened {
            Ok(()) => {
                self.max_timestamp.get_or_insert(self.times.last());
                Ok(())
            }
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!("Rebuilding the indexes of {}: {error}", self.path.display());
                self.rebuild_indexes()
            }
            Err(error) => Err(error),
        }
    }

    fn rebuild_indexes(&mut self) -> Result<()> {
        self.stale_indexes = false;
        let interval = self.index_interval_bytes;
        self.reset_indexes(0)?;
        let file = self.file()?;
        let path = self.path.clone();
        let mut scan = Scan::new(&file, &path, 0, u64::from(self.size), SCAN_CHUNK);
        while let Some((position, header)) = scan.next_header()? {
            self.index_batch(position as u32, &header, interval)?;
        }
        self.finish_indexes()
    }

    fn reset_indexes(&mut self, bytes: u32) -> Result<()> {
        self.offsets.create(bytes)?;
        self.times.create(bytes)?;
        self.reserved = false;
        self.max_timestamp = Some(self.times.last());
        self.bytes_since_index = 0;
        Ok(())
    }

    /// The indexes that lie there are not to be believed; they are built when they are needed.
    fn forget_indexes(&mut self) {
        self.offsets.file.forget();
        self.times.file.forget();
        self.stale_indexes = true;
        self.reserved = false;
        self.max_timestamp = None;
        self.bytes_since_index = 0;
    }

    /// An index entry for the batch where one is due, as recovery sets them.
    fn index_batch(&mut self, position: u32, header: &Header, interval: u32) -> Result<()> {
        self.note_timestamp(TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset });
        if self.bytes_since_index > interval {
            self.offsets.append(header.last_offset, position)?;
            self.times.maybe_append(self.max_timestamp_so_far())?;
            self.bytes_since_index = 0;
        }
        self.bytes_since_index = self.bytes_since_index.saturating_add(header.size);
        Ok(())
    }

    /// Writes batches that compaction kept, each indexed by its own place.
    pub fn append_cleaned(&mut self, bytes: &[u8], headers: &[Header], interval: u32) -> Result<()> {
        let mut position = self.size;
        if u64::from(position) + bytes.len() as u64 > SIZE_MAX {
            let reason =
                format!("a segment has at most {SIZE_MAX} bytes, and another {} do not fit", bytes.len());
            return Err(LogError::corrupt(&self.path, u64::from(position), reason));
        }
        self.file()?.write_all_at(bytes, u64::from(position)).at("cannot write", &self.path)?;
        for header in headers {
            self.index_batch(position, header, interval)?;
            position += header.size;
        }
        self.size = position;
        self.end = headers.last().map(|header| header.last_offset + 1).or(self.end);
        Ok(())
    }

    /// Sizes of the offset and of the time index in use.
    pub fn index_bytes(&mut self) -> Result<(u64, u64)> {
        self.open_indexes()?;
        Ok((self.offsets.file.size(), self.times.file.size()))
    }

    /// When the log was last written to.
    pub fn modified(&self) -> Result<SystemTime> {
        fs::metadata(&self.path).and_then(|meta| meta.modified()).at("cannot stat", &self.path)
    }

    /// Pretends that all files were last written to at `time`: by it retention goes where records have no time.
    pub fn set_modified(&mut self, time: SystemTime) -> Result<()> {
        self.file()?.set_modified(time).at("cannot touch", &self.path)
    }

    /// The last entry and the trimming that a closed segment has.
    fn finish_indexes(&mut self) -> Result<()> {
        self.times.maybe_append(self.max_timestamp_so_far())?;
        self.offsets.file.trim()?;
        self.times.file.trim()?;
        self.reserved = false;
        self.bytes_since_index = 0;
        Ok(())
    }

    fn note_timestamp(&mut self, at: TimestampOffset) {
        if at.timestamp > self.max_timestamp_so_far().timestamp {
            self.max_timestamp = Some(at);
        }
    }

    fn max_timestamp_so_far(&self) -> TimestampOffset {
        self.max_timestamp.unwrap_or(TimestampOffset { timestamp: -1, offset: self.base })
    }

    /// The largest timestamp and its offset, (-1, base offset) for none.
    pub fn max_timestamp(&mut self) -> Result<TimestampOffset> {
        if self.max_timestamp.is_none() {
            self.open_indexes()?;
        }
        Ok(self.max_timestamp_so_far())
    }

    /// The largest timestamp, the file's own where no record has any.
    pub fn largest_timestamp(&mut self) -> Result<i64> {
        let max = self.max_timestamp()?.timestamp;
        if max >= 0 {
            return Ok(max);
        }
        Ok(self.modified()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64))
    }

    /// Makes ready for appends: handles open, indexes at their full size.
    fn prepare(&mut self, config: &LogConfig) -> Result<()> {
        if self.reserved {
            return Ok(());
        }
        self.open_indexes()?;
        self.offsets.file.reserve(config.segment_index_bytes)?;
        self.times.file.reserve(config.segment_index_bytes)?;
        self.reserved = true;
        Ok(())
    }

    /// True where these batches must go to a new segment.
    pub fn should_roll(
        &mut self,
        bytes: usize,
        last: TimestampOffset,
        config: &LogConfig,
        now: i64,
    ) -> Result<bool> {
        if last.offset - self.base > i64::from(i32::MAX) {
            return Ok(true);
        }
        let limit = u64::from(config.segment_bytes).min(SIZE_MAX);
        if u64::from(self.size) + bytes as u64 > limit {
            return Ok(true);
        }
        self.prepare(config)?;
        if self.offsets.is_full() || self.times.is_full() {
            return Ok(true);
        }
        Ok(self.size > 0 && self.waited(last.timestamp, now)? > config.roll_ms() - self.jitter_ms)
    }

    /// The largest timestamp of the first batch.
    pub fn first_timestamp(&mut self) -> Result<Option<i64>> {
        if self.first_timestamp.is_none() && self.size > 0 {
            let file = self.file()?;
            let mut scan = Scan::new(&file, &self.path, 0, u64::from(self.size), HEADER_SIZE);
            self.first_timestamp = scan.next_header()?.map(|(_, header)| header.max_timestamp);
        }
        Ok(self.first_timestamp)
    }

    /// Time from the first batch to this timestamp, or since creation where the first batch has none.
    fn waited(&mut self, timestamp: i64, now: i64) -> Result<i64> {
        Ok(match self.first_timestamp()? {
            Some(first) if first >= 0 => timestamp.saturating_sub(first),
            _ => now.saturating_sub(self.created),
        })
    }

    /// Writes whole batches behind the last one. `batches` tells where they lie in `bytes`.
    pub fn append(
        &mut self,
        bytes: &[u8],
        batches: &[BatchAt],
        max: TimestampOffset,
        config: &LogConfig,
    ) -> Result<()> {
        self.prepare(config)?;
        let position = self.size;
        if let Err(error) = self.file()?.write_all_at(bytes, u64::from(position)) {
            self.cut_torn_write(config);
            return Err(error).at("cannot write", &self.path);
        }
        if position == 0 {
            self.first_timestamp = Some(max.timestamp);
        }
        self.size += bytes.len() as u32;
        self.end = batches.last().map(|batch| batch.last_offset + 1).or(self.end);
        self.note_timestamp(max);
        for batch in batches {
            self.remember(BatchAt { position: position + batch.position, ..*batch });
        }
        if self.bytes_since_index > config.index_interval_bytes {
            let last_offset = batches.last().map_or(self.base, |batch| batch.last_offset);
            self.offsets.append(last_offset, position)?;
            self.times.maybe_append(self.max_timestamp_so_far())?;
            self.bytes_since_index = 0;
        }
        self.bytes_since_index = self.bytes_since_index.saturating_add(bytes.len() as u32);
        Ok(())
    }

    /// After a failed write: what it left behind the end is no batch. Should this fail too, the next recovery does it.
    fn cut_torn_write(&self, config: &LogConfig) {
        let len = if config.preallocate { config.segment_bytes.max(self.size) } else { self.size };
        if let Some(file) = &self.file
            && let Err(error) = file.set_len(u64::from(self.size)).and_then(|()| file.set_len(u64::from(len)))
        {
            tracing::warn!(
                "cannot cut {} back to {} bytes after a failed write: {error}",
                self.path.display(),
                self.size
            );
        }
    }

    fn remember(&mut self, batch: BatchAt) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(batch);
    }

    /// The first batch that ends at `offset` or above; `None` where the segment ends before.
    pub fn translate(&mut self, offset: i64) -> Result<Option<BatchAt>> {
        if let Some(found) = self.translate_recent(offset) {
            return Ok(found);
        }
        if self.size == 0 {
            return Ok(None);
        }
        let start = self.start_for(offset)?;
        let file = self.file()?;
        let mut scan = Scan::new(&file, &self.path, u64::from(start), u64::from(self.size), WALK_CHUNK);
        while let Some((position, header)) = scan.next_header()? {
            if header.last_offset >= offset {
                let position = position as u32;
                return Ok(Some(BatchAt { position, size: header.size, last_offset: header.last_offset }));
            }
        }
        Ok(None)
    }

    /// Where the index says that a walk to `offset` may begin; if there is no batch, or a later one, the index is wrong, and
    /// is built anew.
    fn start_for(&mut self, offset: i64) -> Result<u32> {
        self.open_indexes()?;
        let start = self.offsets.lookup(offset)?;
        if start == 0 || self.is_batch_below(start, offset)? {
            return Ok(start);
        }
        tracing::warn!(
            "Rebuilding the indexes of {}: they lead to byte {start} for offset {offset}",
            self.path.display()
        );
        self.rebuild_indexes()?;
        self.offsets.lookup(offset)
    }

    fn is_batch_below(&mut self, position: u32, offset: i64) -> Result<bool> {
        let file = self.file()?;
        let mut scan = Scan::new(&file, &self.path, u64::from(position), u64::from(self.size), HEADER_SIZE);
        match scan.next_header() {
            Ok(found) => Ok(found.is_some_and(|(_, header)| header.base_offset <= offset)),
            Err(LogError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// From memory: `None` for "not known here".
    fn translate_recent(&self, offset: i64) -> Option<Option<BatchAt>> {
        let last = self.recent.back()?;
        if offset > last.last_offset {
            return Some(None);
        }
        let at = self.recent.partition_point(|batch| batch.last_offset < offset);
        // Only the batch before the first known one could end at the offset, too.
        let known = at > 0 || self.recent[0].position == 0;
        known.then(|| self.recent.get(at).copied())
    }

    /// The offset behind the last batch, the base offset where there is none.
    pub fn next_offset(&mut self) -> Result<i64> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        if self.size == 0 {
            return Ok(self.base);
        }
        self.open_indexes()?;
        let start = self.start_for(self.offsets.last_offset())?;
        let file = self.file()?;
        let mut scan = Scan::new(&file, &self.path, u64::from(start), u64::from(self.size), WALK_CHUNK);
        let mut next = self.base;
        let valid = loop {
            let at = scan.position();
            match scan.next_header()? {
                Some((_, header)) => next = header.last_offset + 1,
                None => break at,
            }
        };
        if valid < u64::from(self.size) {
            let reason = format!("there is no whole batch in front of the end at byte {}", self.size);
            return Err(LogError::corrupt(&self.path, valid, reason));
        }
        self.end = Some(next);
        Ok(next)
    }

    /// Where to start looking for the first record with at least this timestamp, at `from` or above.
    pub fn timestamp_scan_start(&mut self, timestamp: i64, from: i64) -> Result<u32> {
        self.open_indexes()?;
        let below = self.times.lookup(timestamp)?;
        self.start_for(below.offset.max(from))
    }

    /// Reads the segment from the start: checks every batch, builds indexes, epochs and producers anew, and cuts what
    /// follows the last whole batch. A segment that reaches too far is left as it is.
    pub fn recover(
        &mut self,
        producers: &mut Producers,
        epochs: &mut LeaderEpochs,
        config: &LogConfig,
    ) -> Result<Recovered> {
        let lazy = self.size <= LAZY_MAX;
        if !lazy {
            self.reset_indexes(config.segment_index_bytes)?;
        }
        self.txns.reset()?;
        self.recent.clear();
        let file = self.file()?;
        let path = self.path.clone();
        let len = u64::from(self.size);
        let mut scan = Scan::new(&file, &path, 0, len, SCAN_CHUNK);
        let mut next_offset = self.base;
        let valid = loop {
            let before = scan.position();
            let (position, header, batch) = match scan.next_valid() {
                Ok(Some(batch)) => batch,
                Ok(None) => break before,
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::warn!("Found invalid batches: {error}");
                    break before;
                }
                Err(error) => return Err(error),
            };
            if header.last_offset - self.base > i64::from(i32::MAX) {
                return Ok(Recovered::ReachesTooFar);
            }
            if header.last_offset < next_offset {
                let last = header.last_offset;
                tracing::warn!(
                    "{}: byte {position}: offset {last} cannot follow {next_offset}",
                    path.display()
                );
                break before;
            }
            next_offset = header.last_offset + 1;
            if header.leader_epoch >= 0
                && epochs.latest().is_none_or(|latest| header.leader_epoch > latest.epoch)
            {
                epochs.assign(header.leader_epoch, header.base_offset)?;
            }
            if let Some(aborted) = producers.replay(&header, batch) {
                self.txns.append(aborted)?;
            }
            if !lazy {
                self.index_batch(position as u32, &header, config.index_interval_bytes)?;
            }
        };
        if valid < len {
            self.cut(valid as u32)?;
        }
        if lazy {
            self.forget_indexes();
        } else {
            self.finish_indexes()?;
        }
        self.end = Some(next_offset);
        Ok(Recovered::Cut((len - valid) as u32))
    }

    fn cut(&mut self, size: u32) -> Result<()> {
        self.file()?.set_len(u64::from(size)).at("cannot truncate", &self.path)?;
        self.size = size;
        Ok(())
    }

    /// Drops the batch that holds `offset` and all behind it.
    pub fn truncate_to(&mut self, offset: i64, config: &LogConfig, now: i64) -> Result<()> {
        self.prepare(config)?;
        let found = self.translate(offset)?;
        self.offsets.truncate_to(offset)?;
        self.times.truncate_to(offset)?;
        self.txns.truncate_to(offset)?;
        self.recent.clear();
        self.end = None;
        if let Some(batch) = found {
            self.cut(batch.position)?;
        }
        if self.size == 0 {
            self.created = now;
            self.first_timestamp = None;
        }
        self.bytes_since_index = 0;
        self.reload_max_timestamp()
    }

    /// The largest timestamp after a truncation: the last index entry's or one behind it.
    fn reload_max_timestamp(&mut self) -> Result<()> {
        let last = self.times.last();
        self.max_timestamp = Some(last);
        let start = self.start_for(last.offset)?;
        let file = self.file()?;
        let path = self.path.clone();
        let mut scan = Scan::new(&file, &path, u64::from(start), u64::from(self.size), WALK_CHUNK);
        while let Some((_, header)) = scan.next_header()? {
            self.note_timestamp(TimestampOffset {
                timestamp: header.max_timestamp,
                offset: header.last_offset,
            });
        }
        Ok(())
    }

    /// The segment is no longer the active one: last time index entry, indexes and a preallocated file trimmed.
    pub fn seal(&mut self) -> Result<()> {
        self.settle_indexes()?;
        if self.reserved {
            self.finish_indexes()?;
            self.file()?.set_len(u64::from(self.size)).at("cannot trim", &self.path)?;
        }
        Ok(())
    }

    /// Indexes that a recovery passed over are built now: nobody will mistrust them when the recovery point has passed.
    pub fn settle_indexes(&mut self) -> Result<()> {
        if self.stale_indexes { self.rebuild_indexes() } else { Ok(()) }
    }

    /// What a flush must sync, with names for errors.
    pub fn sync_handles(&mut self) -> Result<Vec<(PathBuf, Arc<Handle>)>> {
        self.settle_indexes()?;
        let mut files = vec![(self.path.clone(), self.file()?)];
        for index in [&self.offsets.file, &self.times.file] {
            if let Some(file) = index.duplicate()? {
                files.push((index.path().to_owned(), Arc::new(Handle::new(file))));
            }
        }
        if let Some(file) = self.txns.handle()? {
            files.push((self.txns.path().to_owned(), Arc::new(Handle::new(file))));
        }
        Ok(files)
    }

    /// Renames the files to `.deleted` and returns their new paths.
    pub fn mark_deleted(self) -> Result<Vec<PathBuf>> {
        let mut doomed = Vec::with_capacity(4);
        for path in [&self.path, self.offsets.file.path(), self.times.file.path(), self.txns.path()] {
            doomed.extend(doom(path)?);
        }
        Ok(doomed)
    }

    pub fn sync(&mut self) -> Result<()> {
        for (path, file) in self.sync_handles()? {
            file.sync_data().at("cannot sync", &path)?;
        }
        Ok(())
    }
}

/// Renames one file to `.deleted`; `None` where it does not exist.
pub(crate) fn doom(path: &Path) -> Result<Option<PathBuf>> {
    let mut deleted = path.as_os_str().to_owned();
    deleted.push(".");
    deleted.push(DELETED);
    let deleted = PathBuf::from(deleted);
    match fs::rename(path, &deleted) {
        Ok(()) => Ok(Some(deleted)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("cannot rename", path),
    }
}

fn jitter(config: &LogConfig) -> i64 {
    let max = config.segment_jitter_ms.min(config.roll_ms());
    if max > 0 { rand::random_range(0..max) } else { 0 }
}
