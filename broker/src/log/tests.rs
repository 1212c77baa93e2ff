//! A log from the outside: what is appended comes back, whatever happens to the files in between.

use super::*;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::{Batch, BatchBuilder, Batches, Compression, header};

const NOW: i64 = 1_700_000_000_000;

fn small() -> LogConfig {
    LogConfig { index_interval_bytes: 100, segment_index_bytes: 1000, ..LogConfig::default() }
}

/// A batch of `count` records whose timestamps start at NOW + base offset.
fn batch(base: i64, count: i32, epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(epoch);
    for n in 0..count {
        builder.push(NOW + base + i64::from(n), Some(b"key"), Some(format!("value {n}").as_bytes()), &[]);
    }
    builder.finish().unwrap().to_vec()
}

fn transactional(base: i64, producer: i64, sequence: i32) -> Vec<u8> {
    let mut builder =
        BatchBuilder::new().base_offset(base).producer(producer, 0, sequence).transactional(true);
    builder.push(NOW + base, None, Some(b"x"), &[]);
    builder.finish().unwrap().to_vec()
}

fn marker(base: i64, producer: i64, marker: Marker) -> Vec<u8> {
    let mut bytes =
        EndTransaction { marker, coordinator_epoch: 3 }.to_batch(producer, 0, 0, NOW + base).to_vec();
    header::set_base_offset(&mut bytes, base);
    bytes
}

fn open(dir: &Path, config: LogConfig, clean: bool) -> Log {
    let recovery_point = if clean { i64::MAX } else { 0 };
    Log::open(dir, config, OpenAt { recovery_point, clean, ..OpenAt::default() }, NOW).unwrap()
}

/// A log of `batches` batches of two records.
fn filled(dir: &Path, config: LogConfig, batches: i64) -> Log {
    let mut log = open(dir, config, false);
    for n in 0..batches {
        log.append(&batch(2 * n, 2, 0), NOW).unwrap();
    }
    log
}

fn bytes_of(slice: &FetchSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.len as usize];
    if let Some(file) = &slice.file {
        file.read_exact_at(&mut bytes, slice.position).unwrap();
    }
    bytes
}

/// Base offsets of everything from `offset` on, segment by segment.
fn offsets(log: &mut Log, mut offset: i64) -> Vec<i64> {
    let mut found = Vec::new();
    while offset < log.log_end_offset() {
        let slice = log.read(offset, u32::MAX, i64::MAX, true).unwrap();
        for batch in Batches::new(bytes_of(&slice).into()) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            found.push(batch.header().base_offset);
            offset = batch.header().next_offset();
        }
    }
    found
}

/// Every file with its bytes.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn file(dir: &TempDir, base: i64, suffix: &str) -> PathBuf {
    dir.path().join(format!("{base:020}.{suffix}"))
}

#[test]
fn what_is_appended_is_read_back_byte_for_byte_at_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), small(), 200);
    let evens: Vec<i64> = (0..200).map(|n| 2 * n).collect();
    assert_eq!(offsets(&mut log, 0), evens);
    for offset in 0..400 {
        let slice = log.read(offset, 1, i64::MAX, true).unwrap();
        assert_eq!(bytes_of(&slice), batch(offset / 2 * 2, 2, 0), "offset {offset}");
    }
    log.close(NOW).unwrap();
    let mut log = open(dir.path(), small(), true);
    assert_eq!((log.log_end_offset(), log.recovery_point()), (400, 400));
    for offset in 0..400 {
        let slice = log.read(offset, 1, i64::MAX, true).unwrap();
        assert_eq!(bytes_of(&slice), batch(offset / 2 * 2, 2, 0), "offset {offset} from the index");
    }
}

#[test]
fn a_read_ends_at_the_upper_bound_and_at_the_byte_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), LogConfig { segment_bytes: 500, ..small() }, 20);
    let size = batch(0, 2, 0).len() as u32;
    assert_eq!(log.read(2, u32::MAX, 6, true).unwrap().len, 2 * size);
    assert_eq!(log.read(6, u32::MAX, 6, true).unwrap().len, 0);
    assert_eq!(log.read(40, u32::MAX, i64::MAX, true).unwrap().len, 0);
    let cut = log.read(0, size + 5, i64::MAX, true).unwrap();
    assert_eq!((cut.len, cut.first_incomplete), (size + 5, false));
    let cut = log.read(0, 5, i64::MAX, false).unwrap();
    assert_eq!((cut.len, cut.first_incomplete), (5, true));
    assert!(matches!(
        log.read(41, 1, i64::MAX, true),
        Err(LogError::OffsetOutOfRange { start: 0, end: 40, .. })
    ));
}

#[test]
fn segments_roll_by_size_time_and_index() {
    let size = batch(0, 2, 0).len() as u32;
    let rolls = |config: LogConfig| {
        let dir = tempfile::tempdir().unwrap();
        let log = filled(dir.path(), config, 12);
        log.segment_count()
    };
    assert_eq!(rolls(LogConfig { segment_bytes: 3 * size, ..small() }), 4);
    assert_eq!(rolls(LogConfig { segment_ms: 7, ..small() }), 3);
    assert_eq!(rolls(LogConfig { segment_index_bytes: 24, index_interval_bytes: 1, ..small() }), 6);
    assert_eq!(rolls(small()), 1);
}

#[test]
fn before_there_were_timestamps_offsets_were_found_by_the_files_that_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), LogConfig { segment_bytes: 500, ..small() }, 20);
    let bases: Vec<i64> = log.segments.keys().copied().rev().collect();
    assert!(bases.len() > 1);
    let newest_first: Vec<i64> = std::iter::once(40).chain(bases).collect();
    let now = i64::MAX;
    assert_eq!(log.offsets_before(-1, now).unwrap(), newest_first);
    assert_eq!(log.offsets_before(-2, now).unwrap(), [0]);
    assert_eq!(log.offsets_before(-4, now).unwrap(), [0]);
    assert_eq!(log.offsets_before(0, now).unwrap(), [0; 0]);
    assert_eq!(log.offsets_before(now - 1, now).unwrap(), newest_first[1..]);
}

#[test]
fn a_roll_trims_the_indexes_snapshots_producers_and_leaves_a_flush_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), small(), 10);
    let size = |path: PathBuf| fs::metadata(path).unwrap().len();
    assert_eq!((size(file(&dir, 0, "index")), size(file(&dir, 0, "timeindex"))), (1000, 996));
    assert!(log.roll(NOW).unwrap() && !log.roll(NOW).unwrap());
    assert_eq!((size(file(&dir, 0, "index")) % 8, size(file(&dir, 20, "index"))), (0, 1000));
    assert!(size(file(&dir, 0, "index")) < 100 && size(file(&dir, 20, "snapshot")) == 10);
    let job = log.take_flush_job().unwrap();
    job.run().unwrap();
    log.mark_flushed(job.end_offset, NOW);
    assert_eq!(log.recovery_point(), 20);
}

#[test]
fn a_time_finds_its_record_also_inside_of_a_compressed_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), LogConfig { segment_bytes: 1000, ..small() }, 50);
    let mut builder = BatchBuilder::new().base_offset(100).compression(Compression::Lz4);
    for n in 0..10 {
        builder.push(NOW + 1000 + n, None, Some(b"v"), &[]);
    }
    log.append(&builder.finish().unwrap(), NOW).unwrap();
    let at = |offset| Some(TimestampOffset { timestamp: NOW + offset, offset });
    assert_eq!(log.offset_for_timestamp(0).unwrap(), at(0));
    assert_eq!(log.offset_for_timestamp(-5).unwrap(), at(0), "no special time");
    assert_eq!(log.offset_for_timestamp(NOW + 37).unwrap(), at(37));
    let inside = Some(TimestampOffset { timestamp: NOW + 1004, offset: 104 });
    assert_eq!(log.offset_for_timestamp(NOW + 1004).unwrap(), inside);
    assert_eq!(log.offset_for_timestamp(NOW + 1010).unwrap(), None);
    assert_eq!(log.max_timestamp().unwrap(), TimestampOffset { timestamp: NOW + 1009, offset: 109 });
}

#[test]
fn the_largest_time_is_found_at_its_record_where_a_leader_has_said_which_and_at_its_batch_s_last_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), small(), 5);
    let max = |time, offset| TimestampOffset { timestamp: NOW + time, offset };
    let timed = |base: i64, times: [i64; 3]| {
        let mut builder = BatchBuilder::new().base_offset(base);
        times.iter().for_each(|time| builder.push(NOW + time, None, Some(b"v"), &[]));
        builder.finish().unwrap()
    };
    log.append_hinted(&timed(10, [100, 400, 200]), Some(11), NOW).unwrap();
    assert_eq!(log.max_timestamp().unwrap(), max(400, 11));
    log.append_hinted(&timed(13, [300, 350, 300]), Some(14), NOW).unwrap();
    assert_eq!(log.max_timestamp().unwrap(), max(400, 11));
    log.append(&timed(16, [500, 600, 500]), NOW).unwrap();
    assert_eq!(log.max_timestamp().unwrap(), max(600, 18));
}

#[test]
fn an_unclean_start_keeps_every_whole_batch_however_the_tail_is_torn() {
    let whole = batch(0, 2, 0).len();
    for torn in 0..=whole {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), small(), 5));
        let log_file = OpenOptions::new().write(true).open(file(&dir, 0, "log")).unwrap();
        log_file.set_len((4 * whole + torn) as u64).unwrap();
        let mut log = open(dir.path(), small(), false);
        let expected = if torn == whole { 10 } else { 8 };
        assert_eq!(log.log_end_offset(), expected, "{torn} bytes of the last batch");
        assert_eq!(offsets(&mut log, 0).len() as i64, expected / 2);
        log.append(&batch(expected, 2, 0), NOW).unwrap();
        assert_eq!(offsets(&mut log, 0).len() as i64, expected / 2 + 1);
    }
}

#[test]
fn an_unclean_start_cuts_at_a_flipped_bit_and_drops_the_segments_behind() {
    let size = batch(0, 2, 0).len() as u64;
    for at in [16, 17, 20, 21, 61, size - 1] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 3 * size as u32, ..small() };
        drop(filled(dir.path(), config.clone(), 9));
        let log_file = OpenOptions::new().read(true).write(true).open(file(&dir, 6, "log")).unwrap();
        let mut byte = [0];
        log_file.read_exact_at(&mut byte, size + at).unwrap();
        log_file.write_all_at(&[byte[0] ^ 0x40], size + at).unwrap();
        let mut log = open(dir.path(), config, false);
        assert_eq!(offsets(&mut log, 0), [0, 2, 4, 6], "byte {at}");
        assert_eq!(log.log_end_offset(), 8);
        assert!(file(&dir, 12, "log.deleted").exists() && !file(&dir, 12, "log").exists());
    }
}

#[test]
fn a_recovery_builds_the_indexes_that_were_lost() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), 100).close(NOW).unwrap();
    let before = contents(dir.path());
    for suffix in ["index", "timeindex"] {
        fs::remove_file(file(&dir, 0, suffix)).unwrap();
    }
    open(dir.path(), small(), false).close(NOW).unwrap();
    assert_eq!(contents(dir.path()), before);
    fs::write(file(&dir, 0, "index"), [7; 20]).unwrap();
    let mut log = open(dir.path(), small(), true);
    assert_eq!(bytes_of(&log.read(133, 1, i64::MAX, true).unwrap()), batch(132, 2, 0));
}

#[test]
fn a_clean_stop_and_start_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 1000, ..small() };
    let mut log = filled(dir.path(), config.clone(), 50);
    log.set_topic_id([7; 16]).unwrap();
    log.close(NOW).unwrap();
    let before = contents(dir.path());
    for _ in 0..2 {
        let log = open(dir.path(), config.clone(), true);
        assert_eq!((log.log_end_offset(), log.topic_id()), (100, Some([7; 16])));
        log.close(NOW).unwrap();
        assert_eq!(contents(dir.path()), before);
    }
}

#[test]
fn truncation_goes_to_any_offset_and_appends_go_on_from_there() {
    for target in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let mut log = filled(dir.path(), LogConfig { segment_bytes: 300, ..small() }, 12);
        assert!(!log.truncate_to(24, NOW).unwrap());
        assert!(log.truncate_to(target, NOW).unwrap());
        assert_eq!(log.log_end_offset(), target);
        let kept: Vec<i64> = (0..target / 2).map(|n| 2 * n).collect();
        let mut bases = kept.clone();
        log.append(&batch(target, 2, 1), NOW).unwrap();
        bases.push(target);
        assert_eq!(offsets(&mut log, 0), bases, "truncated to {target}");
        assert_eq!(log.latest_epoch(), Some(1));
        assert_eq!(log.end_offset_for_epoch(0), if target == 0 { (0, 0) } else { (0, target) });
    }
}

#[test]
fn a_full_truncation_starts_anew_at_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), small(), 5);
    log.truncate_fully_and_start_at(1000, NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.latest_epoch()), (1000, 1000, None));
    log.append(&batch(1000, 2, 4), NOW).unwrap();
    assert_eq!(offsets(&mut log, 1000), [1000]);
    assert!(log.take_doomed(NOW + 59_999).is_empty());
    let doomed: BTreeSet<PathBuf> = log.take_doomed(NOW + 60_000).into_iter().collect();
    let deleted = contents(dir.path()).into_iter().filter(|(name, _)| name.ends_with(".deleted"));
    assert_eq!(doomed, deleted.map(|(name, _)| dir.path().join(name)).collect());
    assert_eq!(doomed.len(), 3);
}

#[test]
fn retention_by_time_size_and_log_start_stops_at_the_high_watermark() {
    let size = batch(0, 2, 0).len() as u32;
    let config = LogConfig { segment_bytes: 2 * size, retention_ms: -1, ..small() };
    let run = |config: LogConfig, high_watermark: i64, log_start: i64, now: i64| {
        let dir = tempfile::tempdir().unwrap();
        let mut log = filled(dir.path(), config, 10);
        log.advance_log_start(log_start).unwrap();
        let removed = log.apply_retention(high_watermark, now).unwrap();
        (removed, log.log_start_offset(), log.segment_count())
    };
    assert_eq!(run(config.clone(), 20, 9, NOW), (2, 9, 3));
    assert_eq!(
        run(LogConfig { retention_bytes: i64::from(5 * size), ..config.clone() }, 20, 0, NOW),
        (2, 8, 3)
    );
    assert_eq!(run(LogConfig { retention_ms: 100, ..config.clone() }, 20, 0, NOW + 108), (2, 8, 3));
    assert_eq!(run(LogConfig { retention_ms: 100, ..config.clone() }, 7, 0, NOW + 108), (1, 4, 4));
    assert_eq!(run(LogConfig { retention_ms: 100, ..config.clone() }, 20, 0, NOW + 1000), (5, 20, 1));
    assert_eq!(run(LogConfig { delete: false, retention_ms: 100, ..config }, 20, 0, NOW + 1000), (0, 0, 5));
}

#[test]
fn producers_and_aborted_transactions_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), small(), false);
    for (n, bytes) in [
        transactional(0, 7, 0),
        transactional(1, 8, 0),
        transactional(2, 7, 1),
        marker(3, 7, Marker::Abort),
        marker(4, 8, Marker::Commit),
        transactional(5, 7, 2),
    ]
    .iter()
    .enumerate()
    {
        log.append(bytes, NOW).unwrap();
        if n == 2 {
            log.roll(NOW).unwrap();
        }
    }
    let producers = log.producers();
    let aborted = AbortedTxn { producer_id: 7, first_offset: 0, last_offset: 3, last_stable_offset: 1 };
    assert_eq!(
        producers.iter().map(|p| (p.producer_id, p.last_sequence, p.txn_first_offset)).collect::<Vec<_>>(),
        [(7, 2, 5), (8, 0, -1)]
    );
    assert_eq!(log.aborted_txns(0, 6).unwrap(), [aborted]);
    assert_eq!(log.aborted_txns(4, 6).unwrap(), []);
    let index = fs::read(file(&dir, 3, "txnindex")).unwrap();
    drop(log);
    let mut log = open(dir.path(), small(), false);
    assert_eq!((log.producers(), log.aborted_txns(0, 6).unwrap()), (producers, vec![aborted]));
    assert_eq!(fs::read(file(&dir, 3, "txnindex")).unwrap(), index);
    log.truncate_to(3, NOW).unwrap();
    assert_eq!(
        log.producers().iter().map(|p| (p.last_sequence, p.txn_first_offset)).collect::<Vec<_>>(),
        [(1, 0), (0, 1)]
    );
    assert_eq!(log.aborted_txns(0, 6).unwrap(), []);
}

#[test]
fn five_batches_of_a_producer_are_known_after_a_crash_and_after_a_truncation_but_one_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), small(), false);
    for n in 0..8 {
        log.append(&transactional(n, 7, n as i32), NOW).unwrap();
    }
    let known = |log: &Log| -> Vec<i32> {
        let producers = log.producers_with_batches();
        producers
            .flat_map(|(entry, earlier)| {
                earlier.into_iter().map(|batch| batch.last_sequence).chain([entry.last_sequence])
            })
            .collect()
    };
    assert_eq!(known(&log), [3, 4, 5, 6, 7]);
    drop(log);
    let mut log = open(dir.path(), small(), false);
    assert_eq!(known(&log), [3, 4, 5, 6, 7]);
    log.truncate_to(6, NOW).unwrap();
    assert_eq!(known(&log), [1, 2, 3, 4, 5]);
    log.append(&marker(6, 7, Marker::Commit), NOW).unwrap();
    assert_eq!(known(&log), [1, 2, 3, 4, 5], "a marker is no batch");
    log.close(NOW).unwrap();
    let mut log = open(dir.path(), small(), true);
    assert_eq!(known(&log), [5], "a snapshot keeps the last one");
    log.append(&transactional(7, 7, 6), NOW).unwrap();
    assert_eq!(known(&log), [5, 6]);
    // Another epoch begins anew.
    let mut next = BatchBuilder::new().base_offset(8).producer(7, 1, 0);
    next.push(NOW, None, Some(b"x"), &[]);
    log.append(&next.finish().unwrap(), NOW).unwrap();
    assert_eq!(known(&log), [0]);
}

#[test]
fn batches_that_do_not_fit_are_refused_before_a_byte_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), LogConfig { segment_bytes: 1000, ..small() }, 2);
    let whole = batch(4, 2, 0);
    let cases =
        [Vec::new(), batch(3, 2, 0), whole[..whole.len() - 1].to_vec(), batch(4, 100, 0), vec![0; 100]];
    for bytes in cases {
        assert!(matches!(log.append(&bytes, NOW), Err(LogError::Append { .. })));
    }
    assert_eq!((log.log_end_offset(), log.size()), (4, 2 * whole.len() as u64));
}

#[test]
fn leftovers_of_deletions_and_compactions_are_tidied() {
    let dir = tempfile::tempdir().unwrap();
    let size = batch(0, 2, 0).len() as u32;
    let config = LogConfig { segment_bytes: 2 * size, ..small() };
    filled(dir.path(), config.clone(), 6).close(NOW).unwrap();
    // Compaction made one segment of the first two, and was stopped before it took the old files away.
    fs::write(file(&dir, 0, "log.swap"), [batch(2, 2, 0), batch(6, 2, 0)].concat()).unwrap();
    fs::write(file(&dir, 8, "log.deleted"), b"x").unwrap();
    fs::write(file(&dir, 99, "index"), b"x").unwrap();
    let mut log = open(dir.path(), config, true);
    assert_eq!(offsets(&mut log, 0), [2, 6, 8, 10]);
    let names: Vec<String> = contents(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert!(
        names.iter().all(|name| !name.contains("swap") && !name.contains("deleted") && !name.contains("99"))
    );
}

#[test]
fn a_directory_loads_all_its_logs_and_names_those_that_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = LogDir::open(dir.path()).unwrap();
    for topic in ["a-0", "a-1", "b.c-0"] {
        filled(&dir.path().join(topic), small(), 3).close(NOW).unwrap();
    }
    let gone = open(&dir.path().join("gone-0"), small(), false).delete().unwrap();
    assert!(gone.file_name().unwrap().to_string_lossy().starts_with("gone-0."));
    let watermarks = [("a-0".parse().unwrap(), 4), ("a-1".parse().unwrap(), 99)].into();
    log_dir.write_checkpoint(Checkpoint::HighWatermark, &watermarks).unwrap();
    fs::write(dir.path().join("b.c-0/partition.metadata"), "nonsense").unwrap();
    let config = |_: &str| small();
    let loaded = log_dir.load(&LoadOptions { config: &config, threads: 2, now: NOW }).unwrap();
    let found: Vec<_> =
        loaded.logs.iter().map(|log| (log.partition.to_string(), log.high_watermark)).collect();
    assert_eq!(found, [("a-0".to_owned(), 4), ("a-1".to_owned(), 6)]);
    assert_eq!(loaded.deleted, [gone]);
    let [(partition, error)] = &loaded.failed[..] else { panic!("one log fails") };
    assert!(partition.to_string() == "b.c-0" && error.to_string().contains("b.c-0/partition.metadata"));
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert!(matches!(
        log_dir.load(&LoadOptions { config: &config, threads: 1, now: NOW }),
        Err(LogError::NotAPartition { .. })
    ));
}

#[test]
fn a_batch_split_from_a_slice_is_what_a_follower_appends() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = filled(&dir.path().join("l-0"), small(), 30);
    let mut follower = open(&dir.path().join("f-0"), small(), false);
    let mut bytes = bytes_of(&leader.read(0, 1000, i64::MAX, true).unwrap()).into();
    let mut whole = Vec::new();
    while let Some(batch) = Batch::split_from(&mut bytes).unwrap() {
        whole.extend_from_slice(batch.bytes());
    }
    let appended = follower.append(&whole, NOW).unwrap();
    assert_eq!((appended.first_offset, appended.end_offset % 2), (0, 0));
    assert_eq!(bytes_of(&follower.read(0, 1000, i64::MAX, true).unwrap()), whole);
}

/// A directory of a real 3.5.1 broker: 60 records in lz4 batches, then 60 in transactions, cleanly shut down.
#[test]
fn a_directory_of_kafka_3_5_1_opens_with_nothing_changed() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-3.5.1/java-0");
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&fixture).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = LogConfig { segment_bytes: 4096, index_interval_bytes: 512, ..LogConfig::default() };
    // The producers of the fixture must not have expired.
    let log =
        Log::open(dir.path(), config.clone(), OpenAt { clean: true, ..OpenAt::default() }, NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segment_count()), (0, 125, 4));
    assert!(log.topic_id().is_some() && log.epochs() == [EpochEntry { epoch: 0, start_offset: 0 }]);
    assert_eq!(
        log.producers().iter().map(|p| (p.last_sequence, p.txn_first_offset)).collect::<Vec<_>>(),
        [(59, -1), (59, -1)]
    );
    let producers = log.producers();
    log.close(NOW).unwrap();
    assert_eq!(contents(dir.path()), contents(&fixture));
    // Recovery finds every batch whole, and comes to the same producers.
    let mut log = open(dir.path(), config, false);
    assert_eq!((log.log_end_offset(), log.producers()), (125, producers));
    let readable = (0..125).filter(|offset| log.read(*offset, 1, i64::MAX, true).unwrap().len > 0).count();
    assert_eq!(readable, 125);
}

#[test]
fn a_log_that_gives_its_handles_back_after_every_use_writes_the_same_files() {
    let config = LogConfig { segment_bytes: 1000, ..small() };
    let run = |release: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), config.clone(), false);
        for n in 0..60 {
            log.append(&batch(2 * n, 2, 0), NOW).unwrap();
            assert_eq!(log.read(n, 1, i64::MAX, true).unwrap().len as usize, batch(n / 2 * 2, 2, 0).len());
            assert!(log.was_used() && !log.was_used());
            if release {
                assert!(log.release() && !log.release());
            }
        }
        log.truncate_to(101, NOW).unwrap();
        log.close(NOW).unwrap();
        contents(dir.path()).into_iter().filter(|(name, _)| !name.ends_with("deleted")).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_recovery_point_that_does_not_fit_is_told_before_anything_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), small(), 5).close(NOW).unwrap();
    let at = OpenAt { recovery_point: 8, clean: true, ..OpenAt::default() };
    let mut log = Log::open(dir.path(), small(), at, NOW).unwrap();
    let error = log.append(&batch(8, 2, 0), NOW).unwrap_err().to_string();
    assert!(error.contains("00000000000000000000.log") && error.contains("ends at offset 10"), "{error}");
    let mut log = open(dir.path(), small(), false);
    assert_eq!(offsets(&mut log, 0), [0, 2, 4, 6, 8]);
}

#[test]
fn indexes_that_a_recovery_passed_over_are_there_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 1000, ..small() };
    filled(dir.path(), config.clone(), 60).close(NOW).unwrap();
    let before = contents(dir.path());
    for (name, _) in before.iter().filter(|(name, _)| name.ends_with("index")) {
        fs::write(dir.path().join(name), [9; 7]).unwrap();
    }
    open(dir.path(), config, false).close(NOW).unwrap();
    let indexes = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| name.ends_with("index")).collect()
    };
    assert_eq!(indexes(contents(dir.path())), indexes(before));
}
