//! Segments whose offsets reach further than an index can tell: relative offsets are 31 bits. Compaction of old brokers
//! made such (KAFKA-6264). They are copied into segments that each stay within reach; nothing of them is lost.
//!
//! As with compaction, the copies are `.cleaned` files first; the last is renamed to `.swap` first, so that a start after a
//! crash sees either none or all of them.

use super::error::{At, LogError, Result};
use super::header::Scan;
use super::partition_log::{Log, SCAN_CHUNK};
use super::recovery::{CLEANED, SWAP};
use super::segment::{LOG, Segment, file_of};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes copied at once.
const COPY_CHUNK: usize = 1 << 20;

/// Where the parts of a segment begin: (base offset, position). One part where all offsets are within reach.
fn parts(file: &File, path: &Path, base: i64, size: u64) -> Result<Vec<(i64, u64)>> {
    let mut parts = vec![(base, 0)];
    let mut scan = Scan::new(file, path, 0, size, SCAN_CHUNK);
    loop {
        let (position, header) = match scan.next_header() {
            Ok(Some(batch)) => batch,
            // What is no batch is left to recovery.
            Ok(None) | Err(LogError::Corrupt { .. }) => return Ok(parts),
            Err(error) => return Err(error),
        };
        let (first, _) = parts[parts.len() - 1];
        if header.last_offset - first > i64::from(i32::MAX) {
            parts.push((header.base_offset, position));
        }
    }
}

impl Log {
    /// Splits the segments that reach too far; only those are read whose neighbours say that they might. The last one has
    /// none: its indexes tell, unless it is going to be `recovered` or its end is known.
    pub(super) fn split_overflowing(&mut self, recovered: bool, end: Option<i64>, now: i64) -> Result<()> {
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        for (n, base) in bases.iter().enumerate() {
            let segment = self.segments.get_mut(base).expect("the key was just listed");
            let next = match bases.get(n + 1) {
                Some(next) => *next,
                None if recovered || end.is_some() => continue,
                None => segment.next_offset()?,
            };
            if next - 1 - base > i64::from(i32::MAX) {
                self.split(*base, now)?;
            }
        }
        Ok(())
    }

    /// Leaves a segment as it is that does not need it.
    pub(super) fn split(&mut self, base: i64, now: i64) -> Result<()> {
        let segment = self.segments.get_mut(&base).expect("the caller looked it up");
        let (file, size, path) = (segment.file()?, u64::from(segment.size()), segment.path().to_owned());
        let parts = parts(&file, &path, base, size)?;
        if parts.len() < 2 {
            return Ok(());
        }
        tracing::warn!("{} reaches over 2^31 offsets: splitting it into {}", path.display(), parts.len());
        for (n, (part, start)) in parts.iter().enumerate() {
            let end = parts.get(n + 1).map_or(size, |(_, next)| *next);
            copy(&file, *start..end, &file_of(&self.dir, *part, &format!("{LOG}.{CLEANED}")))?;
        }
        let dir = self.dir.clone();
        let rename = |part: i64, from: &str, to: &str| {
            let from = file_of(&dir, part, &format!("{LOG}{from}"));
            fs::rename(&from, file_of(&dir, part, &format!("{LOG}{to}"))).at("cannot rename", &from)
        };
        let (cleaned, swap) = (format!(".{CLEANED}"), format!(".{SWAP}"));
        for (part, _) in parts.iter().rev() {
            rename(*part, &cleaned, &swap)?;
        }
        self.remove_segments(&[base], now)?;
        for (part, _) in &parts {
            rename(*part, &swap, "")?;
            // Indexes are built with the first use.
            self.segments.insert(*part, Box::new(Segment::existing(&self.dir, *part, now, &self.config)?));
        }
        Ok(())
    }
}

fn copy(from: &File, range: std::ops::Range<u64>, to: &Path) -> Result<()> {
    let target = File::create(to).at("cannot create", to)?;
    let mut buffer = vec![0; COPY_CHUNK];
    let mut at = range.start;
    while at < range.end {
        let piece = &mut buffer[..COPY_CHUNK.min((range.end - at) as usize)];
        from.read_exact_at(piece, at).at("cannot read for", to)?;
        target.write_all_at(piece, at - range.start).at("cannot write", to)?;
        at += piece.len() as u64;
    }
    target.sync_all().at("cannot sync", to)
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use std::fs;
    use std::path::Path;
    use wire::batch::{BatchBuilder, Batches};

    const FAR: i64 = 3_000_000_000;
    const FARTHER: i64 = 6_000_000_000;

    fn batch(base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(0);
        builder.push(1_700_000_000_000, Some(b"k"), Some(b"v"), &[]);
        builder.finish().unwrap().to_vec()
    }

    /// Bases of all batches.
    fn offsets(log: &mut Log) -> Vec<i64> {
        let mut found = Vec::new();
        let mut offset = log.log_start_offset();
        while offset < log.log_end_offset() {
            let slice = log.read(offset, u32::MAX, i64::MAX, true).unwrap();
            for batch in Batches::new(slice.read().unwrap()) {
                found.push(batch.unwrap().header().base_offset);
                offset = found[found.len() - 1] + 1;
            }
        }
        found
    }

    fn open(dir: &Path, clean: bool, recovery_point: i64) -> Log {
        let at = OpenAt { clean, recovery_point, ..OpenAt::default() };
        Log::open(dir, LogConfig::default(), at, 0).unwrap()
    }

    #[test]
    fn a_segment_that_reaches_too_far_is_split_and_keeps_every_record() {
        let all = [0, 5, FAR, FAR + 1, FARTHER];
        let bytes: Vec<u8> = all.iter().flat_map(|base| batch(*base)).collect();
        for (behind, clean) in [(false, false), (false, true), (true, false), (true, true)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("00000000000000000000.log"), &bytes).unwrap();
            let mut expected = all.to_vec();
            if behind {
                fs::write(dir.path().join(format!("{:020}.log", FARTHER + 9)), batch(FARTHER + 9)).unwrap();
                expected.push(FARTHER + 9);
            }
            let mut log = open(dir.path(), clean, 0);
            assert_eq!(offsets(&mut log), expected, "{behind} {clean}");
            let bases: Vec<i64> = log.segments.keys().copied().collect();
            assert_eq!(bases[..3], [0, FAR, FARTHER]);
            log.close(0).unwrap();
            assert_eq!(offsets(&mut open(dir.path(), true, i64::MAX)), expected);
        }
    }

    #[test]
    fn a_split_that_was_interrupted_is_begun_again_or_completed() {
        let all = [0, FAR, FARTHER];
        let name = |base: i64, suffix: &str| format!("{base:020}.log{suffix}");
        let states: [&[(i64, &str)]; 3] = [
            &[(0, ".cleaned"), (FAR, ".cleaned"), (FARTHER, ".swap")],
            &[(0, ".swap"), (FAR, ".swap"), (FARTHER, ".swap")],
            &[(0, ""), (FAR, ".swap"), (FARTHER, ".swap")],
        ];
        for state in states {
            let dir = tempfile::tempdir().unwrap();
            let whole: Vec<u8> = all.iter().flat_map(|base| batch(*base)).collect();
            fs::write(dir.path().join(name(0, "")), whole).unwrap();
            for (base, suffix) in state {
                fs::write(dir.path().join(name(*base, suffix)), batch(*base)).unwrap();
            }
            let mut log = open(dir.path(), false, 0);
            assert_eq!(offsets(&mut log), all, "{state:?}");
        }
    }

    #[test]
    fn offsets_far_apart_in_segments_of_their_own_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for base in [0, FAR, FARTHER] {
            fs::write(dir.path().join(format!("{base:020}.log")), batch(base)).unwrap();
        }
        let mut log = open(dir.path(), false, 0);
        assert_eq!((offsets(&mut log), log.segment_count()), (vec![0, FAR, FARTHER], 3));
        assert!(
            fs::read_dir(dir.path())
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_string_lossy().contains(".deleted") })
        );
    }
}
