//! The producers of a partition as far as its log keeps them: `<offset>.snapshot` files, and the replay that leads from
//! a snapshot to a later offset.
//!
//! A snapshot is int16 version 1, uint32 CRC-32C of what follows, int32 count, then 46 bytes per producer: int64 id,
//! int16 epoch, int32 last sequence, int64 last offset, int32 offset delta, int64 timestamp, int32 coordinator epoch,
//! int64 first offset of the open transaction. Only the last batch survives in it; of those that are replayed behind a
//! snapshot, as of those that are appended, a producer's last five are known.

use super::checkpoint::read_small;
use super::error::{At, LogError, Result};
use super::handle::Handle;
use super::header::Header;
use super::{AbortedTxn, ProducerBatch, ProducerEntry};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wire::batch::Batch;
use wire::batch::control::{EndTransaction, Marker};

const VERSION: i16 = 1;
const HEADER: usize = 10;
const ENTRY: usize = 46;
/// Batches known before the last one: with it they are as many as clients keep in flight.
const EARLIER: usize = 4;

#[derive(Debug)]
struct Known {
    entry: ProducerEntry,
    /// Of the last batch: a marker changes the entry's.
    batch_timestamp: i64,
    /// Before the last batch, oldest first.
    earlier: VecDeque<ProducerBatch>,
}

impl Known {
    fn of(entry: ProducerEntry) -> Known {
        Known { entry, batch_timestamp: entry.timestamp, earlier: VecDeque::new() }
    }

    /// The last batch becomes an earlier one.
    fn keep_last(&mut self) {
        let ProducerEntry { last_sequence, last_offset, offset_delta, .. } = self.entry;
        let timestamp = self.batch_timestamp;
        if last_offset < 0 {
            return;
        }
        if self.earlier.len() == EARLIER {
            self.earlier.pop_front();
        }
        self.earlier.push_back(ProducerBatch { last_sequence, last_offset, offset_delta, timestamp });
    }
}

/// The producers as of `end_offset`, and the snapshots that lie in the directory.
#[derive(Debug)]
pub(crate) struct Producers {
    dir: PathBuf,
    entries: BTreeMap<i64, Known>,
    /// Open transactions by first offset.
    open_txns: BTreeMap<i64, i64>,
    end_offset: i64,
    last_snapshot: i64,
    snapshots: BTreeSet<i64>,
    /// Written and not yet handed to a sync. A torn one is known by its checksum, and the one before it counts.
    unsynced: Vec<i64>,
    /// The newest snapshot as it was read when the directory was listed.
    newest: Option<(i64, Vec<u8>)>,
}

impl Producers {
    pub fn new(dir: &Path, snapshots: BTreeSet<i64>) -> Self {
        Self {
            dir: dir.to_owned(),
            entries: BTreeMap::new(),
            open_txns: BTreeMap::new(),
            end_offset: 0,
            last_snapshot: 0,
            snapshots,
            unsynced: Vec::new(),
            newest: None,
        }
    }

    /// The newest snapshot's bytes, to be used in place of a look at the file.
    pub fn newest_is(&mut self, offset: i64, bytes: Vec<u8>) {
        self.newest = Some((offset, bytes));
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = &ProducerEntry> {
        self.entries.values().map(|known| &known.entry)
    }

    /// Each producer with the batches before its last one, oldest first.
    pub fn entries_with_batches(&self) -> impl Iterator<Item = (&ProducerEntry, Vec<ProducerBatch>)> {
        self.entries.values().map(|known| (&known.entry, known.earlier.iter().copied().collect()))
    }

    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    pub fn set_end_offset(&mut self, offset: i64) {
        self.end_offset = offset;
    }

    pub fn latest_snapshot(&self) -> Option<i64> {
        self.snapshots.last().copied()
    }

    /// Where snapshots lie, in order.
    pub fn snapshots(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.snapshots.iter().copied()
    }

    /// The log's directory has another name now.
    pub fn relocate(&mut self, dir: &Path) {
        self.dir = dir.to_owned();
    }

    pub fn path(&self, offset: i64) -> PathBuf {
        self.dir.join(format!("{offset:020}.snapshot"))
    }

    /// Takes a batch over, without judging it; an abort comes back as the transaction index's entry.
    pub fn replay(&mut self, header: &Header, batch: &[u8]) -> Option<AbortedTxn> {
        self.end_offset = header.last_offset + 1;
        if !header.has_producer() {
            return None;
        }
        if header.attributes.is_control() {
            let (end, timestamp) = marker_of(batch)?;
            return self.end_txn(header, end, timestamp);
        }
        self.add_batch(header);
        None
    }

    fn known(&mut self, header: &Header) -> &mut Known {
        let known = self.entries.entry(header.producer_id).or_insert_with(|| {
            Known::of(ProducerEntry {
                producer_id: header.producer_id,
                epoch: header.producer_epoch,
                last_sequence: -1,
                last_offset: -1,
                offset_delta: 0,
                timestamp: -1,
                coordinator_epoch: -1,
                txn_first_offset: -1,
            })
        });
        let entry = &mut known.entry;
        if entry.epoch != header.producer_epoch {
            entry.epoch = header.producer_epoch;
            (entry.last_sequence, entry.last_offset, entry.offset_delta) = (-1, -1, 0);
            known.earlier.clear();
        }
        known
    }

    fn add_batch(&mut self, header: &Header) {
        let known = self.known(header);
        known.keep_last();
        known.batch_timestamp = header.max_timestamp;
        let entry = &mut known.entry;
        entry.last_sequence = header.last_sequence;
        entry.last_offset = header.last_offset;
        entry.offset_delta = (header.last_offset - header.base_offset) as i32;
        entry.timestamp = header.max_timestamp;
        if header.attributes.is_transactional() && entry.txn_first_offset < 0 {
            entry.txn_first_offset = header.base_offset;
            self.open_txns.insert(header.base_offset, header.producer_id);
        }
    }

    fn end_txn(&mut self, header: &Header, end: EndTransaction, timestamp: i64) -> Option<AbortedTxn> {
        let entry = &mut self.known(header).entry;
        let first_offset = std::mem::replace(&mut entry.txn_first_offset, -1);
        entry.coordinator_epoch = end.coordinator_epoch;
        entry.timestamp = timestamp;
        if first_offset < 0 {
            return None;
        }
        self.open_txns.remove(&first_offset);
        let last_offset = header.base_offset;
        let last_stable_offset =
            self.open_txns.first_key_value().map_or(last_offset + 1, |(first, _)| *first);
        let producer_id = header.producer_id;
        let aborted = AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset };
        (end.marker == Marker::Abort).then_some(aborted)
    }

    /// Forgets producers that are idle for longer than `expiration_ms` and have no open transaction.
    pub fn expire(&mut self, now: i64, expiration_ms: i64) {
        self.entries.retain(|_, known| !is_expired(&known.entry, now, expiration_ms));
    }

    /// Snapshots that a flush has to sync, opened; each is handed out once.
    pub fn take_unsynced(&mut self) -> Result<Vec<(PathBuf, Handle)>> {
        let kept: Vec<i64> = self.unsynced.drain(..).filter(|at| self.snapshots.contains(at)).collect();
        kept.into_iter()
            .map(|at| self.path(at))
            .map(|path| Ok((path.clone(), Handle::open(&path)?)))
            .collect()
    }

    /// Writes a snapshot at the end offset, unless the last one already is there.
    pub fn take_snapshot(&mut self) -> Result<()> {
        if self.end_offset <= self.last_snapshot {
            return Ok(());
        }
        let path = self.path(self.end_offset);
        fs::write(&path, encode(self.entries())).at("cannot write", &path)?;
        self.unsynced.push(self.end_offset);
        self.snapshots.insert(self.end_offset);
        self.last_snapshot = self.end_offset;
        Ok(())
    }

    /// Goes back to the last snapshot within `log_start..=end`; later and earlier ones are removed. The caller replays
    /// from [`Producers::end_offset`] on.
    pub fn reload(&mut self, log_start: i64, end: i64, now: i64, expiration_ms: i64) -> Result<()> {
        let outside: Vec<i64> =
            self.snapshots.iter().copied().filter(|at| *at > end || *at <= log_start).collect();
        for offset in outside {
            self.remove_snapshot(offset)?;
        }
        if end == self.end_offset {
            self.newest = None;
            self.log_start_moved(log_start);
            return Ok(());
        }
        self.restore(log_start, end, now, expiration_ms)
    }

    /// As [`Producers::reload`], but later snapshots stay where they are: a recovery may yet reach them.
    pub fn restore(&mut self, log_start: i64, end: i64, now: i64, expiration_ms: i64) -> Result<()> {
        self.entries.clear();
        self.open_txns.clear();
        self.end_offset = log_start;
        self.last_snapshot = log_start;
        let mut newest = self.newest.take();
        while let Some(offset) =
            self.snapshots.range(..=end).next_back().copied().filter(|at| *at > log_start)
        {
            let path = self.path(offset);
            let read = match newest.take_if(|(at, _)| *at == offset) {
                Some((_, bytes)) => parse_snapshot(&path, &bytes),
                None => read_snapshot(&path),
            };
            match read {
                Ok(entries) => {
                    self.load(entries.into_iter().filter(|entry| !is_expired(entry, now, expiration_ms)));
                    self.end_offset = offset;
                    self.last_snapshot = offset;
                    break;
                }
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::warn!("Leaving out a producer snapshot: {error}");
                    self.remove_snapshot(offset)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn load(&mut self, entries: impl Iterator<Item = ProducerEntry>) {
        for entry in entries {
            if entry.txn_first_offset >= 0 {
                self.open_txns.insert(entry.txn_first_offset, entry.producer_id);
            }
            self.entries.insert(entry.producer_id, Known::of(entry));
        }
    }

    pub fn log_start_moved(&mut self, log_start: i64) {
        self.end_offset = self.end_offset.max(log_start);
        self.last_snapshot = self.latest_snapshot().unwrap_or(log_start);
    }

    pub fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<()> {
        self.entries.clear();
        self.open_txns.clear();
        while let Some(snapshot) = self.latest_snapshot() {
            self.remove_snapshot(snapshot)?;
        }
        self.last_snapshot = 0;
        self.end_offset = offset;
        Ok(())
    }

    /// Removes the snapshots that belong to no segment, but for the newest, if that is above all segments' bases.
    pub fn remove_strays(&mut self, bases: &BTreeSet<i64>) -> Result<()> {
        let mut strays: Vec<i64> = self.snapshots.difference(bases).copied().collect();
        if strays.last() >= bases.last() {
            strays.pop();
        }
        strays.into_iter().try_for_each(|offset| self.remove_snapshot(offset))
    }

    pub fn remove_snapshot(&mut self, offset: i64) -> Result<()> {
        if !self.snapshots.remove(&offset) {
            return Ok(());
        }
        let path = self.path(offset);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("cannot remove", &path),
            _ => Ok(()),
        }
    }

    /// Gives a snapshot up whose file the caller renames; `None` where there is none at `offset`.
    pub fn release_snapshot(&mut self, offset: i64) -> Option<PathBuf> {
        self.snapshots.remove(&offset).then(|| self.path(offset))
    }
}

fn is_expired(entry: &ProducerEntry, now: i64, expiration_ms: i64) -> bool {
    entry.txn_first_offset < 0 && now.saturating_sub(entry.timestamp) >= expiration_ms
}

/// The place of a producer in Java's file: its map has so many buckets, 16 at least, and is full to three quarters at most.
fn place(producer_id: i64, buckets: u32) -> u32 {
    let hash = (producer_id ^ (producer_id as u64 >> 32) as i64) as u32;
    (hash ^ (hash >> 16)) & (buckets - 1)
}

/// In the order in which Java's map, grown by these producers alone, would give them.
fn in_java_s_order<'a>(entries: impl ExactSizeIterator<Item = &'a ProducerEntry>) -> Vec<&'a ProducerEntry> {
    let mut entries: Vec<&ProducerEntry> = entries.collect();
    let buckets = (entries.len() * 4).div_ceil(3).next_power_of_two().max(16) as u32;
    entries.sort_by_key(|entry| place(entry.producer_id, buckets));
    entries
}

/// The file of these producers.
pub(crate) fn encode<'a>(entries: impl ExactSizeIterator<Item = &'a ProducerEntry>) -> Vec<u8> {
    let entries = in_java_s_order(entries);
    let mut bytes = Vec::with_capacity(HEADER + ENTRY * entries.len());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.txn_first_offset.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Reads a snapshot file whole.
pub(crate) fn read_snapshot(path: &Path) -> Result<Vec<ProducerEntry>> {
    parse_snapshot(path, &read_small(path).at("cannot read", path)?)
}

fn parse_snapshot(path: &Path, bytes: &[u8]) -> Result<Vec<ProducerEntry>> {
    let corrupt = |position: usize, reason: String| Err(LogError::corrupt(path, position as u64, reason));
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return corrupt(bytes.len(), format!("a snapshot's header is {HEADER} bytes long"));
    };
    let version = i16::from_be_bytes([header[0], header[1]]);
    if version != VERSION {
        return corrupt(0, format!("the snapshot has version {version}, not {VERSION}"));
    }
    let stored = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let computed = crc32c::crc32c(&bytes[6..]);
    if stored != computed {
        return corrupt(2, format!("the snapshot has checksum {computed:#010x}, not {stored:#010x}"));
    }
    let count = i32::from_be_bytes([header[6], header[7], header[8], header[9]]);
    let (chunks, rest) = body.as_chunks::<ENTRY>();
    if !rest.is_empty() || usize::try_from(count) != Ok(chunks.len()) {
        return corrupt(6, format!("{count} producers do not take {} bytes", body.len()));
    }
    Ok(chunks.iter().map(decode).collect())
}

fn decode(bytes: &[u8; ENTRY]) -> ProducerEntry {
    let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    ProducerEntry {
        producer_id: long(0),
        epoch: i16::from_be_bytes([bytes[8], bytes[9]]),
        last_sequence: int(10),
        last_offset: long(14),
        offset_delta: int(22),
        timestamp: long(26),
        coordinator_epoch: int(34),
        txn_first_offset: long(38),
    }
}

/// The transaction marker of a control batch and its timestamp; `None` for other control records.
fn marker_of(batch: &[u8]) -> Option<(EndTransaction, i64)> {
    let batch = Batch::split_from(&mut Bytes::copy_from_slice(batch)).ok()??;
    let end = EndTransaction::from_batch(&batch).ok()??;
    Some((end, batch.header().base_timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(producer_id: i64) -> ProducerEntry {
        ProducerEntry {
            producer_id,
            epoch: 3,
            last_sequence: 41,
            last_offset: 99,
            offset_delta: 4,
            timestamp: 1_700_000_000_000,
            coordinator_epoch: 7,
            txn_first_offset: 95,
        }
    }

    #[test]
    fn a_snapshot_reads_back_and_an_empty_one_has_ten_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.snapshot");
        let entries = [entry(1), entry(2)];
        fs::write(&path, encode(entries.iter())).unwrap();
        assert_eq!(read_snapshot(&path).unwrap(), entries);
        assert_eq!(encode([].iter()).len(), 10);
    }

    #[test]
    fn producers_stand_in_the_order_of_java_s_map() {
        let all: Vec<ProducerEntry> = (1000..1012).map(entry).collect();
        let ids = |entries: &[ProducerEntry]| -> Vec<i64> {
            in_java_s_order(entries.iter()).iter().map(|entry| entry.producer_id).collect()
        };
        // 1000 is 8 modulo 16.
        assert_eq!(ids(&all), [1008, 1009, 1010, 1011, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007]);
        // A thirteenth doubles the buckets.
        let more: Vec<ProducerEntry> = (1000..1013).map(entry).collect();
        assert_eq!(ids(&more), (1000..1013).collect::<Vec<_>>());
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.snapshot");
        let whole = encode([entry(1)].iter());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(read_snapshot(&path), Err(LogError::Corrupt { .. })), "byte {at}");
        }
    }

    #[test]
    fn a_reload_passes_over_a_corrupt_snapshot_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut producers = Producers::new(dir.path(), BTreeSet::new());
        producers.load([entry(1)].into_iter());
        producers.set_end_offset(100);
        producers.take_snapshot().unwrap();
        producers.set_end_offset(200);
        producers.take_snapshot().unwrap();
        fs::write(dir.path().join("00000000000000000200.snapshot"), b"torn").unwrap();
        producers.reload(0, 300, 1_700_000_000_000, 1000).unwrap();
        assert_eq!((producers.end_offset(), producers.latest_snapshot()), (100, Some(100)));
        assert_eq!(producers.entries().copied().collect::<Vec<_>>(), [entry(1)]);
    }

    #[test]
    fn strays_go_but_for_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut producers = Producers::new(dir.path(), BTreeSet::from([5, 10, 15, 33]));
        producers.remove_strays(&BTreeSet::from([0, 10])).unwrap();
        assert_eq!(producers.snapshots, BTreeSet::from([10, 33]));
    }
}
