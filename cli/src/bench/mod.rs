//! `menagerie bench`: ours and the Java peer in turn, A B A B, driven by the same generator.
//!
//! Figures are ratios of what was measured in one run on one machine: operations a second, CPU of the servers for
//! each, idle memory, and the time from start to the first answer.

mod frame;
mod kafka_bench;
mod kafka_failover;
mod kafka_groups;
mod kafka_load;
mod kafka_start;
mod kafka_stub;
mod process;
mod zk_bench;
mod zk_load;
mod zk_size;

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
menagerie bench zookeeper [options]    three servers: reads, 90 % reads, writes
menagerie bench zookeeper-size [options]    one server with a large tree: memory, longest write, start
menagerie bench kafka [options]        three brokers, three replicas, acks=all: produce, then consume
menagerie bench kafka-failover [options]    the controller is killed: until all brokers know live leaders
menagerie bench kafka-groups [options] one broker and a large consumer group: members join, leave, are killed
menagerie bench kafka-start [options]  one broker with many partitions: start after a clean stop and after kill -9
  --java 'COMMAND'     the peer: COMMAND FILE runs Java's server in the foreground; left out, only ours is measured
  --rounds N           how often both are measured in turn (2)
  --seconds N          how long each load runs (5)
  --warm-up N          seconds of load on brokers before they are measured (8)
  --connections N      clients (100)
  --outstanding N      requests that each keeps under way (50)
  --size BYTES         of each node's data (1024)
  --nodes N            of the large tree, 100 bytes each unless --size says otherwise (1000000)
  --watches N          on so many of them (100000)
  --partitions N       of the cluster whose controller dies, three replicas each (10000)
  --per-topic N        partitions of each of its topics (50)
  --brokers N          of metadata alone that have the replicas, in this process (10); 0: the three real ones have them
  --idle SECONDS       watch the cluster do nothing before the controller dies (0)
  --port PORT          first of 24 ports on this machine, or as many more as --brokers says (24100)
  --members N          of the consumer group (2000)
  --counts N,N         partitions of the broker that starts (1000,24000)
  --java-most N        of them that Java's broker is measured with (2000)";

/// Runs the benchmark that the arguments name.
pub fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((what, rest)) = args.split_first() else { bail!("what is to be measured?\n{USAGE}") };
    let mut options = Options::parse(rest)?;
    if what == "zookeeper-size" && !rest.iter().any(|option| option == "--size") {
        options.size = 100;
    }
    match what.as_str() {
        "zookeeper" => zk_bench::run(&options),
        "zookeeper-size" => zk_size::run(&options),
        "kafka" => kafka_bench::run(&options),
        "kafka-failover" => kafka_failover::run(&options),
        "kafka-groups" => kafka_groups::run(&options),
        "kafka-start" => kafka_start::run(&options),
        other => bail!("there is no benchmark {other}\n{USAGE}"),
    }
}

#[derive(Debug, Clone)]
struct Options {
    java: Option<String>,
    rounds: usize,
    run_time: Duration,
    warm_up: Duration,
    connections: usize,
    outstanding: usize,
    size: usize,
    nodes: usize,
    watches: usize,
    partitions: usize,
    per_topic: usize,
    brokers: usize,
    idle: Duration,
    counts: Vec<usize>,
    java_most: usize,
    members: usize,
    port: u16,
}

impl Options {
    fn kinds(&self) -> Vec<Kind> {
        if self.java.is_some() { vec![Kind::Ours, Kind::Java] } else { vec![Kind::Ours] }
    }

    fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options {
            java: None,
            rounds: 2,
            run_time: Duration::from_secs(5),
            warm_up: Duration::from_secs(8),
            connections: 100,
            outstanding: 50,
            size: 1024,
            nodes: 1_000_000,
            watches: 100_000,
            partitions: 10_000,
            per_topic: 50,
            brokers: 10,
            idle: Duration::ZERO,
            counts: vec![1000, 24_000],
            java_most: 2000,
            members: 2000,
            port: 24100,
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
            let number =
                || value.parse::<u64>().with_context(|| format!("{name} {value}: a number is needed"));
            match name.as_str() {
                "--java" => options.java = Some(value.clone()),
                "--rounds" => options.rounds = number()?.max(1) as usize,
                "--seconds" => options.run_time = Duration::from_secs(number()?.max(1)),
                "--warm-up" => options.warm_up = Duration::from_secs(number()?),
                "--connections" => options.connections = number()?.max(1) as usize,
                "--outstanding" => options.outstanding = number()?.max(1) as usize,
                "--size" => options.size = number()? as usize,
                "--nodes" => options.nodes = number()?.max(1) as usize,
                "--watches" => options.watches = number()? as usize,
                "--partitions" => options.partitions = number()?.max(1) as usize,
                "--per-topic" => options.per_topic = number()?.max(1) as usize,
                "--brokers" => options.brokers = number()? as usize,
                "--idle" => options.idle = Duration::from_secs(number()?),
                "--counts" => {
                    let counts = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    options.counts =
                        counts.with_context(|| format!("--counts {value}: numbers are needed"))?;
                }
                "--java-most" => options.java_most = number()? as usize,
                "--members" => options.members = number()?.max(1) as usize,
                "--port" => options.port = u16::try_from(number()?).context("--port")?,
                _ => bail!("there is no option {name}\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// Whose server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ours,
    Java,
}

/// Every figure that was measured, by its name and whose it is.
type Figures = BTreeMap<(String, Kind), Vec<f64>>;

/// Measures both in turn, each time in a new folder, and reports.
fn in_turn(
    options: &Options,
    mut measure: impl FnMut(Kind, &Path, &mut Figures) -> Result<()>,
) -> Result<()> {
    let root = std::env::temp_dir().join(format!("menagerie-bench-{}", std::process::id()));
    let mut figures = Figures::new();
    for round in 0..options.rounds {
        for kind in options.kinds() {
            let dir = root.join(format!("{round}-{kind:?}"));
            measure(kind, &dir, &mut figures)?;
            fs::remove_dir_all(&dir).ok();
        }
    }
    fs::remove_dir_all(&root).ok();
    report(&figures);
    Ok(())
}

fn report(figures: &Figures) {
    println!("\n{:<72} {:>12} {:>12} {:>12}", "median", "ours", "Java", "ours / Java");
    let names: std::collections::BTreeSet<&String> = figures.keys().map(|(name, _)| name).collect();
    for name in names {
        let of = |kind| figures.get(&(name.clone(), kind)).map(|values| median(values.clone()));
        let (ours, java) = (of(Kind::Ours), of(Kind::Java));
        let cell = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.2}"));
        let ratio = ours.zip(java).map(|(ours, java)| ours / java);
        println!("{name:<72} {:>12} {:>12} {:>12}", cell(ours), cell(java), cell(ratio));
    }
}

/// The middle of a few measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
