//! Opening a log's directory: what a crash interrupted is finished, what it tore is cut.

use super::LogConfig;
use super::error::{At, LogError, Result};
use super::header::Scan;
use super::leader_epochs::{self, LeaderEpochs};
use super::partition_dir::{LogFile, PartitionDir};
use super::partition_log::{Log, SCAN_CHUNK};
use super::producers::Producers;
use super::segment::{DELETED, INDEX, LOG, Recovered, Segment, TIME_INDEX, TXN_INDEX};
use super::topic_id;
use super::types::OpenAt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

pub(super) const CLEANED: &str = "cleaned";
pub(super) const SWAP: &str = "swap";
const SNAPSHOT: &str = "snapshot";

fn remove(dir: &Path, file: &LogFile) -> Result<()> {
    let path = dir.join(&file.name);
    tracing::info!("Deleting stray file {}", path.display());
    fs::remove_file(&path).at("cannot remove", &path)
}

/// What is left to be opened, by base offset.
struct Tidied {
    dir: PartitionDir,
    snapshots: BTreeSet<i64>,
    txn_indexes: Vec<i64>,
}

/// Removes what deletions and unfinished compactions left, completes compactions whose `.swap` files are whole.
fn tidy(path: &Path) -> Result<Tidied> {
    let mut dir = PartitionDir::open(path)?;
    if dir.files.iter().any(|file| file.suffix().is_some()) {
        let swapped = finish_compactions(path, &mut dir.files)?;
        if swapped {
            dir = PartitionDir::open(path)?;
        }
    }
    let offsets =
        |kind: &'static str| dir.files.iter().filter(move |file| file.is_plain(kind)).map(|f| f.offset);
    let (bases, snapshots): (BTreeSet<i64>, _) = (offsets(LOG).collect(), offsets(SNAPSHOT).collect());
    let is_index =
        |file: &&LogFile| file.suffix().is_none() && [INDEX, TIME_INDEX, TXN_INDEX].contains(&file.kind());
    let orphans = dir.files.iter().filter(is_index).filter(|file| !bases.contains(&file.offset));
    orphans.into_iter().try_for_each(|file| remove(path, file))?;
    let is_txn_index = |file: &&LogFile| file.kind() == TXN_INDEX && bases.contains(&file.offset);
    let txn_indexes = dir.files.iter().filter(is_txn_index).map(|file| file.offset).collect();
    Ok(Tidied { dir, snapshots, txn_indexes })
}

/// True where files have other names now.
fn finish_compactions(dir: &Path, files: &mut Vec<LogFile>) -> Result<bool> {
    let is = |file: &LogFile, suffix: &str| file.suffix() == Some(suffix);
    let least_cleaned = files.iter().filter(|file| is(file, CLEANED)).map(|file| file.offset).min();
    let stale = |file: &LogFile| {
        is(file, DELETED)
            || is(file, CLEANED)
            || is(file, SWAP) && least_cleaned.is_some_and(|least| file.offset >= least)
    };
    files.iter().filter(|file| stale(file)).try_for_each(|file| remove(dir, file))?;
    files.retain(|file| !stale(file));
    let swaps = files.iter().any(|file| is(file, SWAP));
    if swaps {
        finish_swap(dir, files)?;
    }
    Ok(swaps)
}

/// A compaction got as far as its `.swap` files: the segments that they replace go, then they take their names.
fn finish_swap(dir: &Path, files: &[LogFile]) -> Result<()> {
    let swap = |file: &&LogFile| file.suffix() == Some(SWAP);
    let mut range: Option<(i64, i64)> = None;
    for file in files.iter().filter(swap).filter(|file| file.kind() == LOG) {
        let path = dir.join(&file.name);
        let log = fs::File::open(&path).at("cannot open", &path)?;
        let len = log.metadata().at("cannot stat", &path)?.len();
        let mut scan = Scan::new(&log, &path, 0, len, SCAN_CHUNK);
        let mut next = file.offset;
        while let Some((_, header)) = scan.next_header()? {
            next = header.last_offset + 1;
        }
        let (low, high) = range.unwrap_or((file.offset, next));
        range = Some((low.min(file.offset), high.max(next)));
    }
    let (low, high) = range.unwrap_or((i64::MAX, i64::MIN));
    let replaced = |file: &&LogFile| !swap(file) && file.offset >= low && file.offset < high;
    files.iter().filter(replaced).try_for_each(|file| remove(dir, file))?;
    for file in files.iter().filter(swap) {
        let path = dir.join(&file.name);
        let target = path.with_extension("");
        tracing::info!("Recovering file {} by renaming it", path.display());
        fs::rename(&path, &target).at("cannot rename", &path)?;
    }
    Ok(())
}

impl Log {
    /// Opens `dir` (created where missing), finishing what a crash interrupted: temporary files, and from the recovery
    /// point on every batch's CRC and the producers, up to the first batch that is not whole. After a clean stop no
    /// segment is read: the log ends at the recovery point, which the first use compares with what is there.
    pub fn open(dir: &Path, config: LogConfig, at: OpenAt, now: i64) -> Result<Self> {
        let Tidied { dir: listed, snapshots, txn_indexes } = tidy(dir)?;
        let mut segments = BTreeMap::new();
        for file in listed.files.iter().filter(|file| file.is_plain(LOG)) {
            let size = listed.size(&file.name)?;
            segments.insert(file.offset, Box::new(Segment::sized(dir, file.offset, size, now, &config)?));
        }
        let mut producers = Producers::new(dir, snapshots);
        if at.clean
            && let Some(file) = listed.files.iter().rfind(|file| file.is_plain(SNAPSHOT))
            && let Some(bytes) = listed.read(&file.name)?
        {
            producers.newest_is(file.offset, bytes);
        }
        let mut log = Self {
            dir: dir.to_owned(),
            config,
            segments,
            log_start: at.log_start_offset,
            end: 0,
            recovery_point: at.recovery_point,
            taken_on_trust: false,
            used: false,
            epochs: LeaderEpochs::empty(dir.join(leader_epochs::NAME)),
            producers,
            topic_id: topic_id::parse(dir, listed.read_text(topic_id::FILE)?)?,
            flush_job: None,
            flushed_at: now,
            cleaned: at.cleaned,
            cleaning: None,
            uncleanable: false,
            doomed: VecDeque::new(),
            batches: Vec::new(),
        };
        let damaged = log.load_epochs(listed.read_text(leader_epochs::NAME))?;
        drop(listed);
        log.load(at, now)?;
        if damaged {
            log.rebuild_epochs()?;
        }
        log.check_txn_indexes(&txn_indexes)?;
        log.release_idle();
        Ok(log)
    }

    fn load(&mut self, at: OpenAt, now: i64) -> Result<()> {
        let trusted = self.trusted_end(at);
        self.taken_on_trust = trusted.is_some();
        self.split_overflowing(!at.clean, trusted, now)?;
        if !at.clean {
            self.recover(at, now)?;
        }
        let mut found = !self.segments.is_empty();
        if found {
            self.end = match trusted {
                Some(end) => end,
                None => self.find_end(at, now)?,
            };
            if self.end < at.log_start_offset {
                self.drop_all_below(at.log_start_offset, now)?;
                found = false;
            }
        }
        if !found {
            self.taken_on_trust = false;
            let base = at.log_start_offset;
            self.segments.insert(base, Box::new(Segment::create(&self.dir, base, now, &self.config)?));
            self.end = base;
        }
        self.recovery_point = if at.clean && found { self.end } else { at.recovery_point.min(self.end) };
        self.epochs.truncate_from_end(self.end)?;
        self.log_start = at.log_start_offset.max(self.first_segment_base());
        self.epochs.truncate_from_start(at.log_start_offset)?;
        let bases = self.segments.keys().copied().collect();
        self.producers.remove_strays(&bases)?;
        self.rebuild_producers(at.clean, now)
    }

    /// Behind the last batch. What follows it that is none is cut, although the stop was clean.
    fn find_end(&mut self, at: OpenAt, now: i64) -> Result<i64> {
        match self.active().next_offset() {
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::warn!("Recovering the last segment: {error}");
                let recovery_point = self.active().base;
                self.recover(OpenAt { recovery_point, ..at }, now)?;
                self.active().next_offset()
            }
            found => found,
        }
    }

    /// After a clean stop the recovery point is the log's end; `None` where it does not fit the active segment.
    fn trusted_end(&self, at: OpenAt) -> Option<i64> {
        let (base, active) = self.segments.last_key_value()?;
        let above = at.recovery_point.checked_sub(*base)?;
        let fits = (0..=i64::from(i32::MAX)).contains(&above) && (above == 0) == (active.size() == 0);
        (at.clean && fits).then_some(at.recovery_point)
    }

    /// The segments end below the log start: they were taken away by hand, and nothing of them is of use.
    fn drop_all_below(&mut self, log_start: i64, now: i64) -> Result<()> {
        let end = self.end;
        tracing::warn!(
            "{}: the log ends at {end}, below its start {log_start}: deleting it",
            self.dir.display()
        );
        let all: Vec<i64> = self.segments.keys().copied().collect();
        self.remove_segments(&all, now)?;
        self.epochs.clear()?;
        self.producers.truncate_fully_and_start_at(log_start)
    }

    /// Re-reads the segments from the recovery point on; behind the first that had to be cut nothing is kept.
    fn recover(&mut self, at: OpenAt, now: i64) -> Result<()> {
        let from = self.floor(at.recovery_point).unwrap_or(i64::MIN);
        let unflushed: Vec<i64> = self.segments.range(from..).map(|(base, _)| *base).collect();
        for (n, base) in unflushed.iter().enumerate() {
            tracing::debug!("{}: recovering unflushed segment {base}", self.dir.display());
            if n > 0 {
                self.producers.take_snapshot()?;
            }
            if n == 0 {
                self.producers.restore(
                    at.log_start_offset,
                    *base,
                    now,
                    self.config.producer_id_expiration_ms,
                )?;
                self.replay_producers(at.log_start_offset, *base)?;
            }
            self.producers.set_end_offset(*base);
            let segment = self.segments.get_mut(base).expect("the key was just listed");
            let recovered = segment.recover(&mut self.producers, &mut self.epochs, &self.config)?;
            let Recovered::Cut(cut) = recovered else {
                self.split(*base, now)?;
                return self.recover(at, now);
            };
            if cut > 0 {
                let path = self.segments[base].path().display();
                tracing::warn!("{path}: cut {cut} bytes behind the last whole batch");
                self.remove_segments(&unflushed[n + 1..], now)?;
                break;
            }
        }
        Ok(())
    }

    /// Brings the producers to the log end, from the last snapshot on.
    pub(super) fn rebuild_producers(&mut self, clean: bool, now: i64) -> Result<()> {
        if clean && self.producers.latest_snapshot().is_none() {
            let last_two = self.segments.keys().rev().take(2).rev().copied();
            for offset in last_two.chain([self.end]).collect::<Vec<_>>() {
                self.producers.set_end_offset(offset);
                self.producers.take_snapshot()?;
            }
            return Ok(());
        }
        let idle = self.producers.entries().len() == 0 && self.producers.end_offset() >= self.end;
        self.producers.reload(self.log_start, self.end, now, self.config.producer_id_expiration_ms)?;
        if !idle {
            self.replay_producers(self.log_start, self.end)?;
        }
        self.producers.set_end_offset(self.end);
        // Without producers there is nothing that a snapshot would spare; a clean stop writes one in any case.
        if self.producers.entries().len() == 0 { Ok(()) } else { self.producers.take_snapshot() }
    }

    /// Replays the batches from where the producers are up to `end`, with snapshots where the last two segments start.
    fn replay_producers(&mut self, log_start: i64, end: i64) -> Result<()> {
        let mut at = self.producers.end_offset();
        if at >= end {
            return Ok(());
        }
        let last_two: Vec<i64> = self.segments.keys().rev().take(2).copied().collect();
        let first = self.floor(at).unwrap_or(at);
        for (base, segment) in self.segments.range_mut(first..end) {
            at = at.max(*base).max(log_start);
            self.producers.set_end_offset(at);
            if last_two.contains(base) {
                self.producers.take_snapshot()?;
            }
            let Some(start) = segment.translate(at)? else { continue };
            let (file, size, path) = (segment.file()?, segment.size(), segment.path());
            let mut scan = Scan::new(&file, path, u64::from(start.position), u64::from(size), SCAN_CHUNK);
            while let Some((position, header)) = scan.next_header()? {
                if header.last_offset >= end {
                    break;
                }
                if !header.has_producer() {
                    continue;
                }
                let batch = if header.attributes.is_control() { scan.body(position, &header)? } else { &[] };
                self.producers.replay(&header, batch);
            }
            at = self.producers.end_offset();
        }
        Ok(())
    }
}
