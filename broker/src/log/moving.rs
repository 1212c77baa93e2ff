//! A log on its way from one log directory to another: while it is filled it lies in `<topic>-<partition>.<uuid>-future`,
//! as in Kafka, and it takes the partition's own name when it has all that the log it replaces has.

use super::error::{At, LogError, Result};
use super::partition_log::Log;
use super::segment::Segment;
use super::{checkpoint, header};
use std::fs;

/// A directory's name has at most so many bytes.
const NAME_MAX: usize = 255;

/// A new name for the copy of a partition's log; `None` where the topic's name leaves no room for it.
pub fn future_name(partition: &super::TopicPartition) -> Option<String> {
    let name = format!("{partition}.{}-future", uuid::Uuid::new_v4().simple());
    (name.len() <= NAME_MAX).then_some(name)
}

/// The length of the whole batches at the start of `bytes`, whose checksums are compared. The error tells where in
/// `bytes` a batch is damaged.
pub fn whole_batches(bytes: &[u8]) -> Result<usize, (usize, String)> {
    let mut at = 0;
    while let Some(header) = header::Header::parse(&bytes[at..]).map_err(|reason| (at, reason))? {
        let end = at + header.size as usize;
        if end > bytes.len() {
            break;
        }
        header.check_crc(&bytes[at..end]).map_err(|reason| (at, reason))?;
        at = end;
    }
    Ok(at)
}

impl Log {
    /// Gives the log's directory another name in the same log directory. Readers of slices go on with the files that they
    /// have open.
    pub fn rename(&mut self, name: &str) -> Result<()> {
        let target = self.dir.with_file_name(name);
        fs::rename(&self.dir, &target).at("cannot rename", &self.dir)?;
        // The files that wait for a sync are found again from the recovery point on.
        self.flush_job = None;
        for segment in self.segments.values_mut() {
            Segment::relocate(segment, &target);
        }
        self.epochs.relocate(&target);
        self.producers.relocate(&target);
        for (_, path) in &mut self.doomed {
            if let Some(file) = path.file_name() {
                *path = target.join(file);
            }
        }
        self.dir = target;
        self.dir.parent().map_or(Ok(()), checkpoint::sync_dir)
    }

    /// Appends whole batches of another log of the same partition, read from this log's end on. Where they begin in front
    /// of it (the other log starts inside of a batch), this one is cut back to there.
    pub fn append_copy(&mut self, bytes: &[u8], now: i64) -> Result<()> {
        let refuse = |dir, reason: String| LogError::Append { dir, reason };
        let mut groups: Vec<std::ops::Range<usize>> = Vec::new();
        let mut first = None;
        for item in header::headers(bytes) {
            let (at, header) = item.map_err(|reason| refuse(self.dir.clone(), reason))?;
            first.get_or_insert(header.base_offset);
            let end = at + header.size as usize;
            match groups.last_mut() {
                Some(group) if end - group.start <= self.config.segment_bytes as usize => group.end = end,
                _ => groups.push(at..end),
            }
        }
        match first {
            Some(first) if first < self.end && self.log_start >= self.end => {
                self.truncate_fully_and_start_at(first, now)?;
            }
            Some(first) if first < self.end => {
                self.truncate_to(first, now)?;
            }
            _ => {}
        }
        for group in groups {
            self.append_any_size(&bytes[group], now)?;
        }
        Ok(())
    }

    /// A batch may be larger than a segment since `segment.bytes` was lowered.
    fn append_any_size(&mut self, bytes: &[u8], now: i64) -> Result<()> {
        let limit = self.config.segment_bytes;
        self.config.segment_bytes = limit.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let appended = self.append(bytes, now);
        self.config.segment_bytes = limit;
        appended.map(|_| ())
    }

    /// The compacted part of the log that this one replaces: it has the same records.
    pub fn set_cleaned(&mut self, cleaned: Option<i64>) {
        self.cleaned = cleaned;
    }

    /// Whether a compaction is under way, be it one that was called off and has not heard of it.
    pub fn is_being_cleaned(&self) -> bool {
        self.cleaning.is_some()
    }

    /// Calls off the compaction that is under way.
    pub fn call_cleaning_off(&self) {
        self.abort_cleaning();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogConfig, OpenAt, TopicPartition};
    use wire::batch::BatchBuilder;

    fn batch(offset: i64, epoch: i32, records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new().base_offset(offset).leader_epoch(epoch);
        for n in 0..records {
            builder.push(1000 + n as i64, Some(b"k"), Some(&[7; 40]), &[]);
        }
        builder.finish().unwrap().to_vec()
    }

    fn open(dir: &std::path::Path, name: &str, segment_bytes: u32) -> Log {
        let config = LogConfig { segment_bytes, ..LogConfig::default() };
        Log::open(&dir.join(name), config, OpenAt::default(), 0).unwrap()
    }

    fn read(log: &mut Log, from: i64) -> Vec<u8> {
        let end = log.log_end_offset();
        log.read(from, u32::MAX, end, true).unwrap().read().unwrap().to_vec()
    }

    #[test]
    fn a_copy_has_all_of_the_log_and_goes_on_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let partition: TopicPartition = "t-3".parse().unwrap();
        let name = future_name(&partition).unwrap();
        assert!(name.starts_with("t-3.") && name.ends_with("-future") && name.len() == 4 + 32 + 7, "{name}");
        let mut source = open(dir.path(), "source-0", 400);
        let mut copy = open(dir.path(), &name, 160);
        for (n, epoch) in [0, 0, 2, 2, 5].into_iter().enumerate() {
            source.append(&batch(n as i64 * 2, epoch, 2), 0).unwrap();
        }
        while copy.log_end_offset() < source.log_end_offset() {
            let bytes = read(&mut source, copy.log_end_offset());
            let whole = whole_batches(&bytes).unwrap();
            copy.append_copy(&bytes[..whole], 0).unwrap();
        }
        assert_eq!((copy.log_end_offset(), copy.epochs()), (10, source.epochs()));
        assert!(copy.segment_count() > source.segment_count());
        copy.rename("t-3").unwrap();
        assert!(!dir.path().join(&name).exists());
        for n in 5..9 {
            copy.append(&batch(n * 2, 6, 2), 0).unwrap();
        }
        copy.truncate_to(16, 0).unwrap();
        for path in copy.take_doomed(i64::MAX) {
            assert!(path.exists(), "{}", path.display());
        }
        copy.close(0).unwrap();
        let mut again = open(dir.path(), "t-3", 160);
        assert_eq!((again.log_end_offset(), again.latest_epoch()), (16, Some(6)));
        assert_eq!(read(&mut again, 0)[..8], 0i64.to_be_bytes());
    }

    #[test]
    fn a_copy_starts_where_the_batch_does_that_the_log_starts_in() {
        let dir = tempfile::tempdir().unwrap();
        let mut copy = open(dir.path(), "t-0.x-future", 1000);
        copy.truncate_fully_and_start_at(105, 0).unwrap();
        copy.append_copy(&batch(100, 1, 10), 0).unwrap();
        assert_eq!((copy.log_start_offset(), copy.log_end_offset()), (100, 110));
        copy.append_copy(&batch(105, 1, 10), 0).unwrap();
        assert_eq!(copy.log_end_offset(), 115);
        // A segment has less room now than this batch takes.
        copy.set_config(LogConfig { segment_bytes: 100, ..LogConfig::default() });
        copy.append_copy(&batch(115, 1, 50), 0).unwrap();
        assert_eq!((copy.log_end_offset(), copy.config().segment_bytes), (165, 100));
    }

    #[test]
    fn a_damaged_batch_is_not_copied_and_a_cut_one_is_left_for_later() {
        let mut bytes = batch(0, 0, 1);
        let first = bytes.len();
        bytes.extend(batch(1, 0, 3));
        assert_eq!(whole_batches(&bytes), Ok(bytes.len()));
        for cut in first..bytes.len() {
            assert_eq!(whole_batches(&bytes[..cut]), Ok(first), "cut at {cut}");
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let (at, reason) = whole_batches(&bytes).unwrap_err();
        assert!(at == first && reason.contains("checksum"), "{reason}");
    }

    #[test]
    fn a_topic_whose_name_is_too_long_cannot_move() {
        let long = TopicPartition { topic: "x".repeat(213), partition: 0 };
        assert_eq!(future_name(&long).map(|name| name.len()), Some(255));
        assert_eq!(future_name(&TopicPartition { topic: "x".repeat(214), partition: 0 }), None);
    }
}
