//! Each file of a log directory, truncated, flipped and extended: nothing panics, and what is valid comes back.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::{Path, PathBuf};
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::{BatchBuilder, Batches, header};

const NOW: i64 = 1_700_000_000_000;
const PRODUCER: i64 = 7;
const ROUNDS: u64 = 16;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 200,
        segment_index_bytes: 1000,
        producer_id_expiration_ms: i64::MAX,
        ..LogConfig::default()
    }
}

fn transactional(base: i64, sequence: i32, epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .base_offset(base)
        .leader_epoch(epoch)
        .producer(PRODUCER, 0, sequence)
        .transactional(true);
    builder.push(NOW + base, Some(b"key"), Some(&[b'v'; 40]), &[]);
    builder.finish().unwrap().to_vec()
}

fn abort(base: i64, epoch: i32) -> Vec<u8> {
    let end = EndTransaction { marker: Marker::Abort, coordinator_epoch: 3 };
    let mut bytes = end.to_batch(PRODUCER, 0, epoch, NOW + base).to_vec();
    header::set_base_offset(&mut bytes, base);
    bytes
}

/// What a log tells to readers.
#[derive(Debug, PartialEq)]
struct Told {
    batches: Vec<Vec<u8>>,
    aborted: Vec<AbortedTxn>,
    epochs: Vec<EpochEntry>,
    producers: Vec<ProducerEntry>,
    at_time: Option<TimestampOffset>,
}

/// Some transactions in several segments and two leader epochs; every third is aborted.
fn fill(dir: &Path) -> Told {
    let mut log = Log::open(dir, config(), OpenAt::default(), NOW).unwrap();
    let (mut at, mut sequence) = (0, 0);
    for n in 0..20 {
        let epoch = n / 10;
        for _ in 0..3 {
            log.append(&transactional(at, sequence, epoch), NOW).unwrap();
            (at, sequence) = (at + 1, sequence + 1);
        }
        log.append(&abort(at, epoch), NOW).unwrap();
        at += 1;
    }
    log.set_topic_id([7; 16]).unwrap();
    let told = tell(&mut log).unwrap();
    assert!(log.segment_count() > 2 && told.aborted.len() == 20 && told.epochs.len() == 2);
    log.close(NOW).unwrap();
    told
}

fn tell(log: &mut Log) -> Result<Told> {
    let (mut at, end) = (log.log_start_offset(), log.log_end_offset());
    let mut batches = Vec::new();
    while at < end {
        let slice = log.read(at, u32::MAX, i64::MAX, true)?;
        let before = at;
        for batch in Batches::new(slice.read().unwrap()) {
            let Ok(batch) = batch else { break };
            batches.push(batch.bytes().to_vec());
            at = batch.header().next_offset();
        }
        assert!(at > before, "no batch at {at}, the log ends at {end}");
    }
    Ok(Told {
        batches,
        aborted: log.aborted_txns(0, end)?,
        epochs: log.epochs().to_vec(),
        producers: log.producers(),
        at_time: log.offset_for_timestamp(NOW + 41)?,
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Changes a file in one of three ways.
fn damage(path: &Path, random: &mut StdRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    let what = match random.random_range(0..3) {
        0 => {
            bytes.truncate(random.random_range(0..bytes.len().max(1)));
            format!("truncated to {}", bytes.len())
        }
        1 if !bytes.is_empty() => {
            let at = random.random_range(0..bytes.len());
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        _ => {
            let more = random.random_range(1..100);
            bytes.extend((0..more).map(|_| random.random::<u8>()));
            format!("extended by {more}")
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{} {what}", path.file_name().unwrap().to_string_lossy())
}

/// Opens a damaged copy for every file that ends in `suffix`, and has `check` look at it.
fn each_damaged(suffix: &str, clean: bool, check: impl Fn(&Told, Result<Log>, &Path, &str)) {
    let origin = tempfile::tempdir().unwrap();
    let told = fill(origin.path());
    let files: Vec<PathBuf> = fs::read_dir(origin.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    assert!(!files.is_empty(), "there is a file {suffix}");
    let mut random = StdRng::seed_from_u64(suffix.len() as u64);
    for file in files {
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir().unwrap();
            copy(origin.path(), dir.path());
            let what = damage(&dir.path().join(file.file_name().unwrap()), &mut random);
            let end = told.batches.len() as i64;
            let at = OpenAt { clean, recovery_point: if clean { end } else { 0 }, ..OpenAt::default() };
            let log = Log::open(dir.path(), config(), at, NOW);
            check(&told, log, dir.path(), &format!("{what}, clean: {clean}"));
        }
    }
}

#[test]
fn files_that_the_batches_tell_again_lose_nothing_whatever_becomes_of_them() {
    // A bit of a number in a text may be flipped into another number: nobody can tell, and epochs are left out here.
    for suffix in [".index", ".txnindex", ".snapshot"] {
        for clean in [true, false] {
            each_damaged(suffix, clean, |told, log, _, what| {
                let mut log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut now = tell(&mut log).unwrap_or_else(|error| panic!("{what}: {error}"));
                if suffix == ".txnindex" && clean && now.aborted != told.aborted {
                    // Cut or altered at an entry's edge: a well-formed index that tells of other transactions.
                    now.aborted.clone_from(&told.aborted);
                }
                assert_eq!(&now, told, "{what}");
            });
        }
    }
}

#[test]
fn a_damaged_time_index_still_leads_to_every_batch() {
    for clean in [true, false] {
        each_damaged(".timeindex", clean, |told, log, _, what| {
            let mut log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
            let now = tell(&mut log).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(now.batches, told.batches, "{what}");
            if !clean {
                assert_eq!(now.at_time, told.at_time, "{what}");
            }
        });
    }
}

#[test]
fn a_malformed_list_of_leader_epochs_is_told_again_by_the_batches() {
    for text in ["", "nonsense", "0\n3\n0 0\n1 40\n", "0\n2\n0 0\n1 x\n", "7\n0\n", "0\n2\n0 0\n1 40\n\u{0}"]
    {
        let dir = tempfile::tempdir().unwrap();
        let told = fill(dir.path());
        let path = dir.path().join("leader-epoch-checkpoint");
        fs::write(&path, text).unwrap();
        let at = OpenAt { clean: true, ..OpenAt::default() };
        let log = Log::open(dir.path(), config(), at, NOW).unwrap();
        if text.is_empty() {
            assert_eq!(log.epochs(), [], "as a new log's");
        } else {
            assert_eq!(log.epochs(), told.epochs, "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "0\n2\n0 0\n1 40\n");
        }
    }
}

#[test]
fn of_damaged_batches_a_recovery_keeps_all_before_them() {
    each_damaged(".log", false, |told, log, _, what| {
        let mut log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
        let now = tell(&mut log).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Base offset and leader epoch are not under the checksum: a leader gives them.
        let checked = |batches: &[Vec<u8>]| -> Vec<Vec<u8>> {
            batches.iter().map(|batch| [&batch[8..12], &batch[16..]].concat()).collect()
        };
        if log.log_end_offset() > told.batches.len() as i64 {
            // An offset far above: the batches behind it cannot follow.
            return;
        }
        assert!(checked(&told.batches).starts_with(&checked(&now.batches)), "{what}");
        let (end, count) = (log.log_end_offset(), now.batches.len());
        log.append(&transactional(end, 1000, 5), NOW).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(tell(&mut log).unwrap().batches.len(), count + 1, "{what}");
    });
}

#[test]
fn batches_that_were_damaged_after_a_clean_stop_are_named_and_no_other_is_lost() {
    each_damaged(".log", true, |told, log, dir, what| {
        let mut log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
        for offset in 0..told.batches.len() as i64 {
            match log.read(offset, 1, i64::MAX, true) {
                Ok(_) => {}
                Err(LogError::Corrupt { path, .. }) => assert!(path.starts_with(dir), "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
        }
        let end = log.log_end_offset();
        match log.append(&transactional(end, 1000, 5), NOW) {
            Ok(_) => assert_eq!(log.log_end_offset(), end + 1),
            Err(LogError::Corrupt { path, .. }) => assert!(path.starts_with(dir), "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    });
}

#[test]
fn a_damaged_file_of_the_log_directory_costs_time_or_is_refused_by_its_name() {
    let origin = tempfile::tempdir().unwrap();
    let partition: TopicPartition = "t-0".parse().unwrap();
    let told = fill(&origin.path().join("t-0"));
    let end = told.batches.len() as i64;
    let log_dir = LogDir::open(origin.path()).unwrap();
    for which in Checkpoint::ALL {
        let offset = if which == Checkpoint::LogStart { 1 } else { end };
        log_dir.write_checkpoint(which, &[(partition.clone(), offset)].into()).unwrap();
    }
    let meta = MetaProperties { broker_id: Some(1), cluster_id: Some("c".into()) };
    meta.write(origin.path(), NOW).unwrap();
    drop(log_dir);
    let mut random = StdRng::seed_from_u64(11);
    let files = ["recovery-point", "log-start", "replication", "cleaner"]
        .map(|name| format!("{name}-offset-checkpoint"));
    let files = files.into_iter().chain(["meta.properties", "t-0/partition.metadata"].map(str::to_owned));
    for file in files {
        for round in 0..ROUNDS {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(origin.path(), dir.path());
            let what = damage(&dir.path().join(&file), &mut random);
            let named = |error: &LogError| {
                let name = file.rsplit('/').next().unwrap();
                assert!(error.to_string().contains(name), "{what}: {error}");
            };
            if let Err(error) = MetaProperties::read(dir.path()) {
                named(&error);
                continue;
            }
            let log_dir = LogDir::open(dir.path()).unwrap();
            if round % 2 == 0 {
                log_dir.mark_clean().unwrap();
            }
            drop(log_dir);
            let log_dir = LogDir::open(dir.path()).unwrap();
            let loaded = log_dir.load(&LoadOptions { config: &|_| config(), threads: 1, now: NOW });
            let mut loaded = match loaded.and_then(LoadedDir::all_or_error) {
                Ok(loaded) => loaded,
                Err(error) => {
                    named(&error);
                    continue;
                }
            };
            let LoadedLog { log, .. } = &mut loaded.logs[0];
            if log.log_start_offset() > 1 || log.log_end_offset() != end {
                // Another number that is well formed, which nobody can tell from the right one.
                continue;
            }
            let now = tell(log).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(told.batches.ends_with(&now.batches), "{what}");
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
