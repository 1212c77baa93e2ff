//! Compaction over real directories: what stays, what goes, and what a crash in between leaves.

use super::cleaner::CleanedGroup;
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::{BatchBuilder, Batches, Compression, header};

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn config() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        index_interval_bytes: 100,
        segment_index_bytes: 1000,
        segment_bytes: 400,
        delete_retention_ms: HOUR,
        min_cleanable_ratio: 0.0,
        ..LogConfig::default()
    }
}

fn options() -> CleanerOptions {
    CleanerOptions { map_bytes: 1 << 20, load_factor: 0.9, bytes_per_second: f64::MAX }
}

fn open(dir: &Path, clean: bool) -> Log {
    let recovery_point = if clean { i64::MAX } else { 0 };
    Log::open(dir, config(), OpenAt { recovery_point, clean, ..OpenAt::default() }, NOW).unwrap()
}

/// Appends one batch of records at the log's end; `None` is a tombstone.
fn put(log: &mut Log, records: &[(&str, Option<&str>)]) {
    append(log, BatchBuilder::new(), records);
}

fn append(log: &mut Log, builder: BatchBuilder, records: &[(&str, Option<&str>)]) {
    let base = log.log_end_offset();
    let mut builder = builder.base_offset(base).leader_epoch(0);
    for (n, (key, value)) in records.iter().enumerate() {
        let at = NOW + base + n as i64;
        builder.push(at, Some(key.as_bytes()), value.map(str::as_bytes), &[("h", Some(b"x"))]);
    }
    log.append(&builder.finish().unwrap(), NOW).unwrap();
}

fn end_txn(log: &mut Log, producer: i64, marker: Marker) {
    let end = log.log_end_offset();
    let mut bytes =
        EndTransaction { marker, coordinator_epoch: 3 }.to_batch(producer, 0, 0, NOW + end).to_vec();
    header::set_base_offset(&mut bytes, end);
    log.append(&bytes, NOW).unwrap();
}

/// Every batch that the segments hold, in order.
fn batches(log: &mut Log) -> Vec<wire::batch::Batch> {
    let mut found = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let slice = log.read(offset, u32::MAX, i64::MAX, true).unwrap();
        if slice.len == 0 {
            break;
        }
        for batch in Batches::new(slice.read().unwrap()) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            offset = batch.header().next_offset();
            found.push(batch);
        }
    }
    found
}

/// Offset, key and value of every record that is data.
fn records(log: &mut Log) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let data = batches(log).into_iter().filter(|batch| !batch.header().attributes.is_control());
    data.flat_map(|batch| batch.records().unwrap().collect::<Vec<_>>())
        .map(|record| record.unwrap())
        .map(|record| (record.offset, text(&record.key.unwrap()), record.value.map(|value| text(&value))))
        .collect()
}

fn offsets(log: &mut Log) -> Vec<i64> {
    records(log).into_iter().map(|(offset, ..)| offset).collect()
}

/// One cleaning of everything that is not in the active segment.
fn clean_at(log: &mut Log, now: i64) -> CleanStats {
    let range = log.cleanable(i64::MAX, now).unwrap().expect("there is something to clean");
    let job = log.start_cleaning(range, now).unwrap();
    let stats = job.run(&options(), &mut |group| log.swap_in(&group, now).unwrap()).unwrap();
    log.finish_cleaning(&job.stop_flag(), Some(stats.end_offset));
    stats
}

fn clean(log: &mut Log) -> CleanStats {
    clean_at(log, NOW)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_last_value_of_each_key_stays_at_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    let mut last = BTreeMap::new();
    for n in 0..200 {
        let key = format!("k{}", n * 7 % 13);
        let codec = Compression::ALL[n as usize % 5];
        let value = format!("v{n}");
        append(
            &mut log,
            BatchBuilder::new().compression(codec),
            &[(&key, Some(&value)), ("always", Some(&value))],
        );
        last.insert(key, (2 * n, value.clone()));
        last.insert("always".to_owned(), (2 * n + 1, value));
    }
    log.roll(NOW).unwrap();
    let before = log.size();
    let stats = clean(&mut log);
    assert_eq!((stats.end_offset, stats.records_read, stats.records_kept, stats.keys), (400, 400, 14, 14));
    assert!(log.size() < before / 5 && stats.bytes_written == log.size());
    let mut expected: Vec<_> = last.into_iter().map(|(key, (at, value))| (at, key, Some(value))).collect();
    expected.sort();
    assert_eq!(records(&mut log), expected);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.cleaned_offset()), (0, 400, Some(400)));
    assert_eq!(log.cleanable(i64::MAX, NOW).unwrap(), None);
    // Records keep their headers and times, batches their offsets; the next append goes on at the end.
    let batch = batches(&mut log).pop().unwrap();
    let record = batch.records().unwrap().last().unwrap().unwrap();
    assert_eq!((record.timestamp, record.headers.len()), (NOW + 399, 1));
    put(&mut log, &[("new", Some("v"))]);
    assert_eq!(offsets(&mut log).last(), Some(&400));
}

#[test]
fn a_cleaned_log_reads_the_same_after_a_stop_a_crash_and_with_its_indexes_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..100 {
        put(&mut log, &[(&format!("k{}", n % 30), Some("some value")), ("x", Some("y"))]);
    }
    clean(&mut log);
    let expected = records(&mut log);
    let found = |log: &mut Log| {
        for (offset, key, _) in &expected {
            let slice = log.read(*offset, 1, i64::MAX, true).unwrap();
            let batch = Batches::new(slice.read().unwrap()).next().unwrap().unwrap();
            assert!(batch.header().base_offset <= *offset && *offset < batch.header().next_offset(), "{key}");
        }
        assert_eq!(records(log), expected);
    };
    found(&mut log);
    let by_time = log.offset_for_timestamp(NOW + 150).unwrap();
    drop(log);
    let mut log = open(dir.path(), false);
    found(&mut log);
    assert_eq!(log.offset_for_timestamp(NOW + 150).unwrap(), by_time);
    log.close(NOW).unwrap();
    for name in names(dir.path()).iter().filter(|name| name.ends_with("index")) {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    found(&mut open(dir.path(), true));
}

#[test]
fn small_segments_become_one_and_the_active_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..60 {
        put(&mut log, &[("k", Some("value")), (&format!("{}", n % 20), Some("v"))]);
    }
    let (before, active) = (log.segment_count(), *log.segments.last_key_value().unwrap().0);
    let untouched = fs::read(dir.path().join(format!("{active:020}.log"))).unwrap();
    clean(&mut log);
    // Groups are made by the sizes before: the second cleaning finds small segments.
    log.cleaned = None;
    clean(&mut log);
    assert!(log.segment_count() < before, "{before} segments are {}", log.segment_count());
    assert_eq!(fs::read(dir.path().join(format!("{active:020}.log"))).unwrap(), untouched);
    assert!(log.segments.values().all(|segment| segment.size() <= config().segment_bytes));
    assert!(!names(dir.path()).iter().any(|name| name.ends_with("cleaned") || name.ends_with("swap")));
    let doomed = log.take_doomed(NOW + 60_000);
    assert!(doomed.iter().any(|path| path.ends_with("00000000000000000000.log.deleted")));
}

#[test]
fn a_tombstone_stays_until_its_delete_horizon_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    put(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    put(&mut log, &[("a", None), ("c", Some("1"))]);
    log.roll(NOW).unwrap();
    clean(&mut log);
    assert_eq!(offsets(&mut log), [1, 2, 3]);
    let batch = batches(&mut log).pop().unwrap();
    let header = *batch.header();
    assert!(header.attributes.has_delete_horizon() && header.base_timestamp == NOW + HOUR);
    let times: Vec<i64> = batch.records().unwrap().map(|record| record.unwrap().timestamp).collect();
    assert_eq!((times, header.max_timestamp), (vec![NOW + 2, NOW + 3], NOW + 3));

    // Before the horizon it stays as it is; it takes dirt for another pass.
    assert_eq!(log.cleanable(i64::MAX, NOW + 2 * HOUR).unwrap(), None);
    put(&mut log, &[("b", Some("2"))]);
    log.roll(NOW).unwrap();
    clean_at(&mut log, NOW + HOUR - 1);
    assert_eq!(offsets(&mut log), [2, 3, 4]);
    assert_eq!(*batches(&mut log)[0].header(), header);
    put(&mut log, &[("b", Some("3"))]);
    log.roll(NOW).unwrap();
    clean_at(&mut log, NOW + HOUR);
    assert_eq!(offsets(&mut log), [3, 5]);
    assert_eq!(batches(&mut log)[0].header().last_offset_delta, 1);
}

#[test]
fn aborted_records_go_and_markers_stay_as_long_as_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    let txn =
        |producer: i64, sequence| BatchBuilder::new().producer(producer, 0, sequence).transactional(true);
    put(&mut log, &[("a", Some("old")), ("b", Some("old"))]);
    append(&mut log, txn(7, 0), &[("a", Some("aborted"))]);
    append(&mut log, txn(8, 0), &[("b", Some("new"))]);
    end_txn(&mut log, 7, Marker::Abort);
    end_txn(&mut log, 8, Marker::Commit);
    append(&mut log, txn(7, 1), &[("c", Some("1"))]);
    end_txn(&mut log, 7, Marker::Commit);
    log.roll(NOW).unwrap();
    clean(&mut log);
    let text = |(at, key, value): &(i64, String, Option<String>)| {
        format!("{at} {key} {}", value.as_deref().unwrap_or("-"))
    };
    let found: Vec<String> = records(&mut log).iter().map(text).collect();
    assert_eq!(found, ["0 a old", "3 b new", "6 c 1"]);
    // The abort marker was seen with its data: it stays for one more pass, in the transaction index, too.
    let controls = |log: &mut Log| -> Vec<(i64, bool)> {
        let all = batches(log);
        let all = all.iter().map(wire::batch::Batch::header).filter(|header| header.attributes.is_control());
        all.map(|header| (header.base_offset, header.attributes.has_delete_horizon())).collect()
    };
    assert_eq!(controls(&mut log), [(4, false), (5, false), (7, false)]);
    assert_eq!(log.aborted_txns(0, 8).unwrap().len(), 1);

    put(&mut log, &[("b", Some("newer"))]);
    log.roll(NOW).unwrap();
    clean(&mut log);
    // Of the transactions 7 (first) and 8 nothing is left: their markers get a horizon; producer 8 keeps an empty batch.
    assert_eq!(controls(&mut log), [(4, true), (5, false), (7, false)]);
    assert!(log.aborted_txns(0, 9).unwrap().is_empty());
    put(&mut log, &[("b", Some("newest"))]);
    log.roll(NOW).unwrap();
    clean_at(&mut log, NOW + HOUR);
    assert_eq!(controls(&mut log), [(5, false), (7, false)]);
    assert_eq!(offsets(&mut log), [0, 6, 9]);
}

#[test]
fn a_producers_last_batch_stays_though_it_is_empty_and_survives_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..3 {
        append(&mut log, BatchBuilder::new().producer(5, 2, n), &[("k", Some("v"))]);
    }
    append(&mut log, BatchBuilder::new().producer(6, 0, 0), &[("k", Some("v"))]);
    put(&mut log, &[("k", Some("last"))]);
    log.roll(NOW).unwrap();
    clean(&mut log);
    let found: Vec<_> = batches(&mut log)
        .iter()
        .map(|batch| batch.header())
        .map(|header| (header.base_offset, header.producer_id, header.record_count, header.size()))
        .collect();
    assert_eq!(found[..2], [(2, 5, 0, 61), (3, 6, 0, 61)]);
    assert_eq!(found[2].0, 4);
    let producers = log.producers();
    drop(log);
    for name in names(dir.path()).iter().filter(|name| name.ends_with("snapshot")) {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let log = open(dir.path(), false);
    assert_eq!(log.producers(), producers);
    assert_eq!(producers.iter().map(|p| (p.epoch, p.last_sequence)).collect::<Vec<_>>(), [(2, 2), (0, 0)]);
}

#[test]
fn a_full_map_cleans_a_part_and_the_next_pass_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..40 {
        put(&mut log, &[(&format!("k{}", n % 10), Some(&format!("{n}")))]);
    }
    log.roll(NOW).unwrap();
    let small = CleanerOptions { map_bytes: 24 * 5, load_factor: 1.0, ..options() };
    let mut ends = Vec::new();
    while let Some(range) = log.cleanable(i64::MAX, NOW).unwrap() {
        let job = log.start_cleaning(range, NOW).unwrap();
        let stats = job.run(&small, &mut |group| log.swap_in(&group, NOW).unwrap()).unwrap();
        log.finish_cleaning(&job.stop_flag(), Some(stats.end_offset));
        ends.push(stats.end_offset);
        // Whatever has been cleaned, every key still has its last value.
        let found: BTreeMap<String, i64> =
            records(&mut log).into_iter().map(|(at, key, _)| (key, at)).collect();
        let expected = (0..10).map(|n| (format!("k{n}"), 30 + n)).collect();
        assert_eq!(found, expected);
    }
    assert!(ends.len() > 1 && ends.is_sorted() && ends.last() == Some(&40), "{ends:?}");
}

#[test]
fn what_is_young_or_unstable_is_not_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..20 {
        put(&mut log, &[("k", Some(&format!("{n}")))]);
    }
    let bases: Vec<i64> = log.segments.keys().copied().collect();
    let range = log.cleanable(bases[2] + 1, NOW).unwrap().unwrap();
    assert_eq!((range.first_dirty, range.first_uncleanable), (0, bases[2]));
    assert_eq!(log.cleanable(bases[1] - 1, NOW).unwrap(), None);
    log.set_config(LogConfig { min_compaction_lag_ms: 1000, ..config() });
    let range = log.cleanable(i64::MAX, NOW + bases[3] + 999).unwrap().unwrap();
    assert_eq!(range.first_uncleanable, bases[3]);
    assert_eq!(log.cleanable(i64::MAX, NOW).unwrap(), None);
    // Little dirt waits, unless it waits too long.
    log.set_config(LogConfig { min_cleanable_ratio: 1.0, max_compaction_lag_ms: 5000, ..config() });
    assert_eq!(log.cleanable(i64::MAX, NOW + 5000).unwrap(), None);
    assert!(log.cleanable(i64::MAX, NOW + 5001).unwrap().is_some_and(|range| range.overdue));
    log.set_config(LogConfig { compact: false, ..config() });
    assert_eq!(log.cleanable(i64::MAX, NOW).unwrap(), None);
}

#[test]
fn a_truncation_calls_the_cleaning_off_and_nothing_of_it_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..40 {
        put(&mut log, &[("k", Some(&format!("{n}")))]);
    }
    let range = log.cleanable(i64::MAX, NOW).unwrap().unwrap();
    let job = log.start_cleaning(range, NOW).unwrap();
    assert_eq!(log.cleanable(i64::MAX, NOW).unwrap(), None, "one cleaning at a time");
    log.truncate_to(5, NOW).unwrap();
    let outcome = job.run(&options(), &mut |group| log.swap_in(&group, NOW).unwrap());
    assert!(matches!(outcome, Err(CleanError::CalledOff)));
    let stale = CleanedGroup { replaces: vec![0], stop: job.stop_flag() };
    assert!(!log.swap_in(&stale, NOW).unwrap());
    log.finish_cleaning(&job.stop_flag(), Some(40));
    assert_eq!((offsets(&mut log), log.cleaned_offset()), (vec![0, 1, 2, 3, 4], None));
    assert!(!names(dir.path()).iter().any(|name| name.ends_with("cleaned")));
    assert!(job.stop_flag().load(Ordering::Relaxed));
}

/// Copies a directory as a crash would leave it.
fn crash(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names(dir) {
        fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

#[test]
fn a_crash_at_any_step_of_a_swap_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..16 {
        append(
            &mut log,
            BatchBuilder::new().producer(9, 0, n),
            &[(&format!("k{}", n % 4), Some(&format!("{n}")))],
        );
    }
    log.roll(NOW).unwrap();
    log.flush(NOW).unwrap();
    let producers = log.producers();
    let expected: BTreeMap<String, i64> =
        records(&mut log).into_iter().map(|(at, key, _)| (key, at)).collect();
    let range = log.cleanable(i64::MAX, NOW).unwrap().unwrap();
    let job = log.start_cleaning(range, NOW).unwrap();
    let mut states = Vec::new();
    job.run(&options(), &mut |group| {
        if states.len() > 20 {
            return log.swap_in(&group, NOW).unwrap();
        }
        states.push(crash(dir.path()));
        // The renames one by one, as `swap_in` does them.
        let base = group.replaces[0];
        let kinds = ["log", "index", "timeindex"];
        let path = |base: i64, suffix: String| dir.path().join(format!("{base:020}.{suffix}"));
        let mut back = Vec::new();
        let mut step = |from: std::path::PathBuf, to: std::path::PathBuf| {
            fs::rename(&from, &to).unwrap();
            states.push(crash(dir.path()));
            back.push((to, from));
        };
        for kind in kinds {
            step(path(base, format!("{kind}.cleaned")), path(base, format!("{kind}.swap")));
        }
        for old in &group.replaces {
            for kind in kinds {
                step(path(*old, kind.to_owned()), path(*old, format!("{kind}.deleted")));
            }
        }
        for kind in kinds {
            step(path(base, format!("{kind}.swap")), path(base, kind.to_owned()));
        }
        for (from, to) in back.into_iter().rev() {
            fs::rename(from, to).unwrap();
        }
        log.swap_in(&group, NOW).unwrap()
    })
    .unwrap();
    assert!(states.len() > 15, "{}", states.len());
    for (n, state) in states.iter().enumerate() {
        for clean in [true, false] {
            let copy = crash(state.path());
            let mut log = open(copy.path(), clean);
            let found: BTreeMap<String, i64> =
                records(&mut log).into_iter().map(|(at, key, _)| (key, at)).collect();
            assert_eq!(found, expected, "state {n}, clean {clean}: {:?}", names(state.path()));
            assert_eq!(log.log_end_offset(), 16, "state {n}");
            assert_eq!(log.producers(), producers, "state {n}, clean {clean}");
            assert!(offsets(&mut log).is_sorted());
        }
    }
}

#[test]
fn a_damaged_batch_ends_the_cleaning_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), false);
    for n in 0..20 {
        put(&mut log, &[("k", Some(&format!("{n}")))]);
    }
    let path = dir.path().join("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let range = log.cleanable(i64::MAX, NOW).unwrap().unwrap();
    let job = log.start_cleaning(range, NOW).unwrap();
    let error = job.run(&options(), &mut |_| panic!("nothing is swapped in")).unwrap_err().to_string();
    assert!(error.contains("00000000000000000000.log: corrupt at byte 0"), "{error}");
    log.finish_cleaning(&job.stop_flag(), None);
    log.mark_uncleanable();
    assert_eq!(log.cleanable(i64::MAX, NOW).unwrap(), None);
}

/// Logs of compacted topics of a real 3.5.1 broker before and after its cleaner, in segments of 4096 bytes: `cmp` has three
/// idempotent producers and three others, 37 keys, 360 records; `txn` three transactional producers, whose transactions are
/// committed and aborted in turns, another one, 41 keys, and a tombstone in every ninth record.
#[test]
fn the_cleaner_of_kafka_3_5_1_leaves_the_same_bytes() {
    for (topic, end, dirty_end, files) in [("cmp", 342, 360, 5), ("txn", 364, 378, 16)] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-3.5.1");
        let java = fixture.join(format!("{topic}-cleaned"));
        let dir = crash(&fixture.join(format!("{topic}-dirty")));
        let config = LogConfig {
            segment_bytes: 4096,
            index_interval_bytes: 512,
            delete_retention_ms: 24 * HOUR,
            ..config()
        };
        let at = OpenAt { clean: true, ..OpenAt::default() };
        let mut log = Log::open(dir.path(), config, at, NOW).unwrap();
        let stats = clean_at(&mut log, java_time(&java).map_or(NOW, |horizon| horizon - 24 * HOUR));
        assert_eq!((stats.end_offset, log.log_end_offset()), (end, dirty_end));
        let cleaned = names(&java);
        assert_eq!(cleaned.len(), files);
        for name in cleaned {
            let ours = fs::read(dir.path().join(&name)).unwrap();
            assert_eq!(ours, fs::read(java.join(&name)).unwrap(), "{topic} {name}");
        }
    }
}

/// The delete horizon that Java's cleaner wrote.
fn java_time(dir: &Path) -> Option<i64> {
    let logs = names(dir).into_iter().filter(|name| name.ends_with(".log"));
    let batches = logs.flat_map(|name| Batches::new(fs::read(dir.join(name)).unwrap().into()));
    let mut headers = batches.map(|batch| *batch.unwrap().header());
    headers.find(|header| header.attributes.has_delete_horizon()).map(|header| header.base_timestamp)
}
