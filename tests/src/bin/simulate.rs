//! `simulate --seed N`: replays one simulated run and prints its history.
//! `simulate --seeds FIRST..END`: runs many, and prints only what broke.
//!
//! It is an ensemble of ZooKeeper servers; with `--partition`, the replicas of a broker's partition; with `--brokers`, a
//! cluster of brokers with their controllers and an ensemble; with `--transactions`,
//! such a cluster with transactions; with `--groups`, with consumer groups; with `--unclean`, one whose topics allow
//! unclean elections. `--servers N` says how many there are: without it the seed decides, as in the tests. `--lying-disks`: crashes also take what was synced,
//! which is to be seen as broken promises. `--changing`: the members change on the way. `--full-disks`: disks come to their
//! reserve, and to their end.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;
use tests::sim::{self, Variety};
use tests::{cluster, replicas};

#[derive(Debug, Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<Range<u64>>,
    servers: Option<usize>,
    partition: bool,
    brokers: bool,
    cluster: cluster::Variety,
    variety: Variety,
}

/// What one run did.
struct Run {
    servers: usize,
    trace: Vec<String>,
    figures: String,
    failure: Option<String>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Some(args @ Args { seed: Some(seed), seeds: None, .. }) => replay(&args, seed),
        Some(args @ Args { seed: None, seeds: Some(_), .. }) => run_many(&args),
        _ => {
            eprintln!(
                "usage: simulate [--partition | --brokers | --transactions | --unclean | --groups | --lying-disks | --changing | --full-disks] --seed N | --seeds FIRST..END [--servers N]"
            );
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Args> {
    let mut args = Args::default();
    while let Some(name) = words.next() {
        let mut value = || words.next();
        match name.as_str() {
            "--seed" => args.seed = Some(value()?.parse().ok()?),
            "--seeds" => {
                let value = value()?;
                let (first, end) = value.split_once("..")?;
                args.seeds = Some(first.parse().ok()?..end.parse().ok()?);
            }
            "--servers" => args.servers = Some(value()?.parse().ok().filter(|servers| *servers > 0)?),
            "--partition" => args.partition = true,
            "--brokers" => args.brokers = true,
            "--transactions" => (args.brokers, args.cluster) = (true, cluster::Variety::Transactions),
            "--unclean" => (args.brokers, args.cluster) = (true, cluster::Variety::Unclean),
            "--groups" => (args.brokers, args.cluster) = (true, cluster::Variety::Groups),
            "--lying-disks" => args.variety = Variety::LyingDisks,
            "--changing" => args.variety = Variety::Changing,
            "--full-disks" => args.variety = Variety::FullDisks,
            _ => return None,
        }
    }
    Some(args)
}

fn run(args: &Args, seed: u64, trace: bool) -> Run {
    if args.partition {
        let replicas = args.servers.unwrap_or_else(|| replicas::replicas_of(seed));
        let report = replicas::run(replicas::Setup { seed, replicas, trace });
        let figures = format!("{:?}", report.figures);
        return Run { servers: replicas, trace: report.trace, figures, failure: report.failure };
    }
    if args.brokers {
        let brokers = args.servers.unwrap_or_else(|| cluster::brokers_of(seed));
        let report = cluster::run(cluster::Setup { seed, brokers, variety: args.cluster, trace });
        let figures = format!("{:?}", report.figures);
        return Run { servers: brokers, trace: report.trace, figures, failure: report.failure };
    }
    let servers = args.servers.unwrap_or_else(|| sim::servers_of(seed));
    let report = sim::run(sim::Setup { seed, servers, trace, variety: args.variety });
    Run { servers, trace: report.trace, figures: format!("{:?}", report.figures), failure: report.failure }
}

fn replay(args: &Args, seed: u64) -> ExitCode {
    let run = run(args, seed, true);
    run.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", run.figures);
    match run.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("FAILED {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_many(args: &Args) -> ExitCode {
    let seeds = args.seeds.clone().unwrap_or_default();
    let (mut failed, count) = (0, seeds.end.saturating_sub(seeds.start));
    let partition = match args {
        Args { partition: true, .. } => "--partition ",
        Args { brokers: true, .. } => &format!("{} ", args.cluster.option()),
        _ => args.variety.option(),
    };
    let begin = Instant::now();
    for seed in seeds {
        let run = run(args, seed, false);
        if let Some(failure) = run.failure {
            println!("{partition}--seed {seed} --servers {}: {failure}", run.servers);
            failed += 1;
        }
    }
    let each = begin.elapsed().as_secs_f64() * 1000.0 / count.max(1) as f64;
    println!("{failed} of {count} seeds failed, {each:.1} ms for each");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
