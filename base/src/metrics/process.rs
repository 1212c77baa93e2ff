//! The process, as Prometheus' client libraries describe every process.

use super::{Family, Kind, Reading, Sample};
use std::fs;

/// Of Linux' `/proc`; what cannot be read there is absent.
pub static TABLE: &[Family<fn() -> Reading>] = &[
    Family::new("process_cpu_seconds_total", Kind::Counter, || stat().map(|stat| stat.cpu_seconds).into()),
    Family::new("process_start_time_seconds", Kind::Gauge, || start_seconds().into()),
    Family::new("process_open_fds", Kind::Gauge, || open_files().into()),
    Family::new("process_max_fds", Kind::Gauge, || open_files_max().into()),
    Family::new("process_virtual_memory_bytes", Kind::Gauge, || stat().map(|stat| stat.virtual_bytes).into()),
    Family::new("process_resident_memory_bytes", Kind::Gauge, || {
        stat().map(|stat| stat.resident_bytes).into()
    }),
];

/// Readings of the whole table.
pub fn samples() -> impl Iterator<Item = Sample> {
    TABLE.iter().map(|row| Sample { name: row.name, kind: row.kind, reading: (row.read)() })
}

/// How many files this process has open.
pub fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0)
}

/// -1: no limit.
pub fn open_files_max() -> i64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(-1, |max| max.min(i64::MAX as u64) as i64)
}

/// What `/proc/self/stat` says.
struct Stat {
    cpu_seconds: f64,
    /// Since the machine's start.
    started_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

fn stat() -> Option<Stat> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields are counted behind the process's name, which may hold anything. Ticks are 1/100 s.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) as f64 / 100.0,
        started_seconds: field(22)? as f64 / 100.0,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
    })
}

/// Seconds since 1970.
fn start_seconds() -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat()?.started_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_name() {
        let line =
            "42 (a ) b) S 1 42 42 0 -1 4194560 9 0 0 0 150 30 0 0 20 0 7 0 12345 9221652 100 18446744073";
        let stat = parse(line).unwrap();
        assert_eq!((stat.cpu_seconds, stat.started_seconds), (1.8, 123.45));
        assert_eq!(stat.virtual_bytes, 9_221_652);
        assert_eq!(stat.resident_bytes, 100 * rustix::param::page_size() as u64);
        assert!(parse("42 (x) S 1").is_none());
    }
}
