//! `simulate SEED [--servers N]`: replays one simulated run and prints its history.
//! `simulate FIRST..END [--servers N]`: runs many, and prints only what broke.

use std::process::ExitCode;
use tests::sim::{self, Setup};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let servers =
        args.iter().position(|arg| arg == "--servers").and_then(|at| args.get(at + 1)?.parse().ok());
    let servers = servers.unwrap_or(3);
    let wanted = args.first().map(String::as_str).unwrap_or_default();
    if let Some((first, end)) = wanted.split_once("..") {
        let (Ok(first), Ok(end)) = (first.parse(), end.parse()) else { return usage() };
        return run_many(first..end, servers);
    }
    let Ok(seed) = wanted.parse() else { return usage() };
    let report = sim::run(Setup { seed, servers, trace: true });
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("{:?}", report.figures);
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_many(seeds: std::ops::Range<u64>, servers: usize) -> ExitCode {
    let mut failed = 0;
    for seed in seeds.clone() {
        if let Some(failure) = sim::run(Setup { seed, servers, trace: false }).failure {
            println!("seed {seed} --servers {servers}: {failure}");
            failed += 1;
        }
    }
    println!("{} of {} seeds failed", failed, seeds.end.saturating_sub(seeds.start));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: simulate SEED|FIRST..END [--servers N]");
    ExitCode::from(2)
}
