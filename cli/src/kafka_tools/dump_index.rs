//! `kafka-dump-log` of the small files beside a log: indexes, producer snapshots, aborted transactions.

use super::Stop;
use super::dump_log::{absolute, bytes_of, gone};
use bytes::Bytes;
use std::io::Write;
use std::path::{Path, PathBuf};
use wire::batch::Batch;

#[derive(Debug, Clone, Copy)]
pub struct Checks {
    pub sanity_only: bool,
    pub verify_only: bool,
}

/// What indexes and logs do not agree on, told when all files are read. By file: (index, log) pairs.
#[derive(Debug, Default)]
pub struct Complaints {
    offsets: Vec<(String, Vec<(i64, i64)>)>,
    timestamps: Vec<(String, Vec<(i64, i64)>)>,
    order: Vec<(String, Vec<(i64, i64)>)>,
    missing: Vec<(String, Vec<(i64, i64)>)>,
}

impl Complaints {
    pub fn tell(&self) {
        let filled = |all: &[(String, Vec<(i64, i64)>)]| -> Vec<(String, Vec<(i64, i64)>)> {
            all.iter().filter(|(_, pairs)| !pairs.is_empty()).cloned().collect()
        };
        for (file, pairs) in filled(&self.offsets) {
            eprintln!("Mismatches in :{file}");
            // The last one comes first.
            pairs
                .iter()
                .rev()
                .for_each(|(index, log)| eprintln!("  Index offset: {index}, log offset: {log}"));
        }
        for (file, pairs) in filled(&self.timestamps) {
            eprintln!("Found timestamp mismatch in :{file}");
            pairs
                .iter()
                .for_each(|(index, log)| eprintln!("  Index timestamp: {index}, log timestamp: {log}"));
        }
        for (file, pairs) in filled(&self.order) {
            eprintln!("Found out of order timestamp in :{file}");
            pairs.iter().for_each(|(index, before)| {
                eprintln!("  Index timestamp: {index}, Previously indexed timestamp: {before}");
            });
        }
        for (_, pairs) in filled(&self.missing) {
            eprintln!("The following indexed offsets are not found in the log.");
            pairs
                .iter()
                .for_each(|(index, log)| eprintln!("Indexed offset: {index}, found log offset: {log}"));
        }
    }
}

/// The offset in a file's name.
pub(super) fn base_offset(path: &Path) -> Result<i64, Stop> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let number = name.split('.').next().unwrap_or_default();
    number.parse().map_err(|_| {
        Stop::Uncaught("java.lang.NumberFormatException", format!("For input string: \"{number}\""))
    })
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{}.{extension}", name.split('.').next().unwrap_or_default()))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Entries of an index: (first number, offset), of `width` bytes each. A segment in use has zeros behind them: they end
/// at the first entry after the first one whose offset is the segment's own.
fn entries(bytes: &[u8], width: usize, base: i64) -> Vec<(i64, i64)> {
    let entry = |chunk: &[u8]| match width {
        8 => (i64::from(i32_at(chunk, 4)), base + i64::from(i32_at(chunk, 0))),
        _ => (i64_at(chunk, 0), base + i64::from(i32_at(chunk, 8))),
    };
    let all = bytes.chunks_exact(width).map(entry).enumerate();
    all.take_while(|(n, (_, offset))| *n == 0 || *offset != base).map(|(_, entry)| entry).collect()
}

/// A whole number of entries, or Java's complaint.
fn check_size(path: &Path, bytes: &[u8], width: usize) -> Result<(), Stop> {
    match bytes.len() % width {
        0 => Ok(()),
        _ => Err(Stop::Uncaught(
            "org.apache.kafka.storage.internals.log.CorruptIndexException",
            format!(
                "Index file {} is corrupt, found {} bytes which is neither positive nor a multiple of {width}",
                absolute(path),
                bytes.len()
            ),
        )),
    }
}

/// A time index ends later than it begins, or Java's complaint: so it is with zeros behind the entries.
fn check_order(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    let mut entries = bytes.chunks_exact(12).map(|entry| i64_at(entry, 0));
    let Some(first) = entries.next() else { return Ok(()) };
    match entries.next_back() {
        Some(last) if last < first => Err(Stop::Uncaught(
            "org.apache.kafka.storage.internals.log.CorruptIndexException",
            format!(
                "Corrupt time index found, time index file ({}) has non-zero size but the last timestamp is {last} which is \
                 less than the first timestamp {first}",
                absolute(path)
            ),
        )),
        _ => Ok(()),
    }
}

/// The first batch at a position, if there is one.
fn batch_at(log: &Bytes, position: i64) -> Option<Batch> {
    let position = usize::try_from(position).ok().filter(|position| *position <= log.len())?;
    Batch::split_from(&mut log.slice(position..)).ok()?
}

/// `.index`: offset and position.
pub(super) fn offsets(
    path: &Path,
    checks: Checks,
    complaints: &mut Complaints,
    to: &mut impl Write,
) -> Result<(), Stop> {
    let base = base_offset(path)?;
    let bytes = bytes_of(path)?;
    if bytes.len() < 8 {
        return writeln!(to, "{} is empty.", path.display()).map_err(gone);
    }
    if checks.sanity_only {
        check_size(path, &bytes, 8)?;
        return writeln!(to, "{} passed sanity check.", path.display()).map_err(gone);
    }
    let log = bytes_of(&beside(path, "log"))?;
    let mut wrong = Vec::new();
    for (position, offset) in entries(&bytes, 8, base) {
        let Some(batch) = batch_at(&log, position) else {
            to.flush().map_err(gone)?;
            return Err(Stop::Uncaught("java.util.NoSuchElementException", String::new()));
        };
        let last = batch.header().last_offset();
        if last != offset {
            wrong.push((offset, last));
        }
        if !checks.verify_only {
            writeln!(to, "offset: {offset} position: {position}").map_err(gone)?;
        }
    }
    complaints.offsets.push((absolute(path), wrong));
    Ok(())
}

/// `.timeindex`: timestamp and offset.
pub(super) fn times(
    path: &Path,
    checks: Checks,
    complaints: &mut Complaints,
    to: &mut impl Write,
) -> Result<(), Stop> {
    let base = base_offset(path)?;
    let bytes = bytes_of(path)?;
    if checks.sanity_only {
        check_size(path, &bytes, 12)?;
        check_order(path, &bytes)?;
        return writeln!(to, "{} passed sanity check.", path.display()).map_err(gone);
    }
    let log = bytes_of(&beside(path, "log"))?;
    let positions = entries(&bytes_of(&beside(path, "index"))?, 8, base);
    let (mut missing, mut wrong, mut order, mut before) = (Vec::new(), Vec::new(), Vec::new(), -1);
    for (timestamp, offset) in entries(&bytes, 12, base) {
        let start =
            positions.iter().rev().find(|(_, known)| *known <= offset).map_or(0, |(position, _)| *position);
        let mut rest = log.slice((start as usize).min(log.len())..);
        let found = std::iter::from_fn(|| Batch::split_from(&mut rest).ok()?)
            .find(|batch| batch.header().last_offset() >= offset);
        match found {
            None => missing.push((offset, -1)),
            Some(batch) if batch.header().last_offset() != offset => {
                missing.push((offset, batch.header().last_offset()));
            }
            Some(batch) => {
                let records = batch.records().into_iter().flatten().filter_map(Result::ok);
                let latest = records.map(|record| record.timestamp).max().unwrap_or(-1);
                if latest != timestamp {
                    wrong.push((timestamp, latest));
                }
                if before >= timestamp {
                    order.push((timestamp, before));
                }
            }
        }
        if !checks.verify_only {
            writeln!(to, "timestamp: {timestamp} offset: {offset}").map_err(gone)?;
        }
        before = timestamp;
    }
    let name = absolute(path);
    complaints.timestamps.push((name.clone(), wrong));
    complaints.order.push((name.clone(), order));
    complaints.missing.push((name, missing));
    Ok(())
}

/// `.snapshot`: int16 version 1, uint32 CRC-32C of what follows, int32 count, then 46 bytes per producer.
pub(super) fn producers(path: &Path, to: &mut impl Write) -> Result<(), Stop> {
    let bytes = bytes_of(path)?;
    let corrupt = |why: String| {
        eprintln!("{why}");
        Ok(())
    };
    if bytes.len() < 10 {
        return corrupt(format!("Snapshot failed schema validation: {} bytes are too few", bytes.len()));
    }
    let version = i16::from_be_bytes([bytes[0], bytes[1]]);
    if version != 1 {
        return corrupt(format!("Snapshot contained an unknown file version {version}"));
    }
    let (stored, computed) = (i32_at(&bytes, 2) as u32, crc32c::crc32c(&bytes[6..]));
    if stored != computed {
        return corrupt(format!(
            "Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}"
        ));
    }
    let count = i32_at(&bytes, 6).max(0) as usize;
    for entry in bytes[10..].chunks_exact(46).take(count) {
        let [id, last_offset, timestamp, open] = [0, 14, 26, 38].map(|at| i64_at(entry, at));
        let [last_sequence, delta, coordinator_epoch] = [10, 22, 34].map(|at| i32_at(entry, at));
        let epoch = i16::from_be_bytes([entry[8], entry[9]]);
        let open = if open < 0 { "OptionalLong.empty".to_owned() } else { format!("OptionalLong[{open}]") };
        write!(
            to,
            "producerId: {id} producerEpoch: {epoch} coordinatorEpoch: {coordinator_epoch} currentTxnFirstOffset: {open} \
             lastTimestamp: {timestamp} "
        )
        .map_err(gone)?;
        if last_offset >= 0 {
            // Sequences count on from zero after the largest.
            let first_sequence = (i64::from(last_sequence) - i64::from(delta)) & i64::from(i32::MAX);
            write!(
                to,
                "firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: \
                 {delta} timestamp: {timestamp}"
            )
            .map_err(gone)?;
        }
        writeln!(to).map_err(gone)?;
    }
    Ok(())
}

/// `.txnindex`: int16 version, producer id, first, last and last stable offset, 34 bytes each.
pub(super) fn aborted(path: &Path, to: &mut impl Write) -> Result<(), Stop> {
    for entry in bytes_of(path)?.chunks_exact(34) {
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        let [producer, first, last, stable] = [2, 10, 18, 26].map(|at| i64_at(entry, at));
        writeln!(
            to,
            "version: {version} producerId: {producer} firstOffset: {first} lastOffset: {last} lastStableOffset: {stable}"
        )
        .map_err(gone)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_the_entries_are_no_entries() {
        let mut bytes = vec![0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 2, 0];
        bytes.extend([0; 16]);
        assert_eq!(entries(&bytes, 8, 100), [(256, 105), (512, 109)]);
        assert_eq!(entries(&[0; 24], 8, 100), [(0, 100)]);
    }

    #[test]
    fn a_snapshot_shows_its_producers() {
        let mut entry = Vec::new();
        entry.extend(2001_i64.to_be_bytes());
        entry.extend(3_i16.to_be_bytes());
        entry.extend(19_i32.to_be_bytes());
        entry.extend(22_i64.to_be_bytes());
        entry.extend(4_i32.to_be_bytes());
        entry.extend(1_795_254_133_442_i64.to_be_bytes());
        entry.extend(0_i32.to_be_bytes());
        entry.extend((-1_i64).to_be_bytes());
        let body = [&1_i32.to_be_bytes()[..], &entry].concat();
        let bytes = [&1_i16.to_be_bytes()[..], &crc32c::crc32c(&body).to_be_bytes(), &body].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000023.snapshot");
        std::fs::write(&path, bytes).unwrap();
        let mut to = Vec::new();
        producers(&path, &mut to).unwrap();
        assert_eq!(
            String::from_utf8(to).unwrap(),
            "producerId: 2001 producerEpoch: 3 coordinatorEpoch: 0 currentTxnFirstOffset: OptionalLong.empty lastTimestamp: \
             1795254133442 firstSequence: 15 lastSequence: 19 lastOffset: 22 offsetDelta: 4 timestamp: 1795254133442\n"
        );
    }
}
