//! A process that appends to a log is killed (SIGKILL) at any moment; what it said to be written is there afterwards, and
//! what it was writing is there whole or not at all.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use broker::log::{Log, LogConfig, OpenAt};
use wire::batch::{BatchBuilder, Batches};

const DIR: &str = "KILLED_WRITER_DIR";

fn config() -> LogConfig {
    LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, flush_messages: 50, ..LogConfig::default() }
}

fn open(dir: &Path) -> Log {
    Log::open(dir, config(), OpenAt::default(), 0).unwrap()
}

fn batch(base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new().base_offset(base).leader_epoch(0).producer(7, 0, base as i32);
    for n in 0..3 {
        builder.push(base + n, Some(b"key"), Some(format!("value {}", base + n).as_bytes()), &[]);
    }
    builder.finish().unwrap().to_vec()
}

/// Runs in the child only, until it is killed.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut log = open(Path::new(&dir));
    loop {
        let appended = log.append(&batch(log.log_end_offset()), 0).unwrap();
        println!("acknowledged {}", appended.end_offset);
    }
}

#[test]
fn what_a_killed_writer_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut end = 0;
    for life in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = end;
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(offset) =
                    line.rsplit_once("acknowledged ").and_then(|(_, offset)| offset.parse().ok())
                {
                    acknowledged = offset;
                }
            }
            acknowledged
        });
        std::thread::sleep(Duration::from_millis(150 + 37 * life));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap();

        let mut log = open(dir.path());
        end = log.log_end_offset();
        assert!(end >= acknowledged, "life {life}: the log ends at {end}, {acknowledged} was acknowledged");
        let mut offset = 0;
        while offset < end {
            let slice = log.read(offset, u32::MAX, i64::MAX, true).unwrap();
            for found in Batches::new(slice.read().unwrap()) {
                assert_eq!(found.unwrap().bytes()[..], batch(offset), "offset {offset}");
                offset += 3;
            }
        }
        assert_eq!(offset, end);
        let producers = log.producers();
        assert!(end == 0 || producers[0].last_offset == end - 1, "{producers:?}");
        // The last five batches, of three records each, are known to whoever sends them again.
        let earlier = log.producers_with_batches().flat_map(|(_, earlier)| earlier);
        let earlier: Vec<(i64, i32)> =
            earlier.map(|batch| (batch.last_offset, batch.last_sequence)).collect();
        let expected = (1..5).rev().map(|n| end - 1 - 3 * n).filter(|last| *last > 0);
        assert_eq!(earlier, expected.map(|last| (last, last as i32)).collect::<Vec<_>>(), "life {life}");
    }
    assert!(end > 300, "the writer came to {end} only");
    assert!(open(dir.path()).segment_count() > 1);
}
