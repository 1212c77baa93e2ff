//! `simulate --seed N [--servers N]`: replays one simulated run and prints its history.
//! `simulate --seeds FIRST..END [--servers N]`: runs many, and prints only what broke.
//! Without `--servers` the seed decides, as in the test.

use std::ops::Range;
use std::process::ExitCode;
use tests::sim::{self, Setup};

#[derive(Debug, Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<Range<u64>>,
    servers: Option<usize>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Some(Args { seed: Some(seed), seeds: None, servers }) => replay(seed, servers),
        Some(Args { seed: None, seeds: Some(seeds), servers }) => run_many(seeds, servers),
        _ => {
            eprintln!("usage: simulate --seed N | --seeds FIRST..END [--servers N]");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
    let mut args = Args::default();
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name.as_str() {
            "--seed" => args.seed = Some(value.parse().ok()?),
            "--seeds" => {
                let (first, end) = value.split_once("..")?;
                args.seeds = Some(first.parse().ok()?..end.parse().ok()?);
            }
            "--servers" => args.servers = Some(value.parse().ok().filter(|servers| *servers > 0)?),
            _ => return None,
        }
    }
    Some(args)
}

fn replay(seed: u64, servers: Option<usize>) -> ExitCode {
    let servers = servers.unwrap_or_else(|| sim::servers_of(seed));
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

fn run_many(seeds: Range<u64>, servers: Option<usize>) -> ExitCode {
    let mut failed = 0;
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        let servers = servers.unwrap_or_else(|| sim::servers_of(seed));
        if let Some(failure) = sim::run(Setup { seed, servers, trace: false }).failure {
            println!("--seed {seed} --servers {servers}: {failure}");
            failed += 1;
        }
    }
    println!("{failed} of {count} seeds failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
