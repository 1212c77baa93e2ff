//! Three brokers, ours and Java's in turn, each time on a fresh ensemble of ours.

use super::frame::BrokerAt;
use super::kafka_load::{self, Load};
use super::process::{Measured, wait_for};
use super::zk_bench::Ensemble;
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const BROKERS: u16 = 3;
const SIZES: [usize; 2] = [100, 1024];

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    in_turn(options, |kind, dir, figures| {
        let ensemble = Ensemble::start(options, Kind::Ours, dir)?;
        measure(options, kind, dir, &ensemble, &runtime, figures)
    })
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    ensemble: &Ensemble,
    runtime: &tokio::runtime::Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut note = |what: &str, value: f64| figures.entry((what.to_string(), kind)).or_default().push(value);
    let mut cluster = Cluster::start(options, kind, dir, ensemble)?;
    note("start to first answer, s", cluster.ready.as_secs_f64());
    std::thread::sleep(Duration::from_secs(2));
    note("idle memory of a broker, MiB", cluster.rss()? / 1048576.0 / BROKERS as f64);
    warm_up(options, &cluster, runtime).with_context(|| format!("{kind:?}, warming up"))?;
    for size in SIZES {
        let load = load(&cluster, &format!("bench-{size}"), size, options.run_time);
        runtime.block_on(kafka_load::create(&load))?;
        for way in ["produce", "consume"] {
            let before = cluster.cpu_seconds()?;
            let outcome = if way == "produce" {
                runtime.block_on(kafka_load::produce(&load))
            } else {
                runtime.block_on(kafka_load::consume(&load))
            };
            cluster.alive()?;
            let outcome = outcome.with_context(|| format!("{kind:?}, {way}, {size} bytes"))?;
            let cpu = (cluster.cpu_seconds()? - before) / outcome.records as f64 * 1e6;
            println!(
                "{kind:?}: {way} {size} B: {:.0} records/s, {cpu:.2} us of brokers' CPU a record",
                outcome.records_per_second()
            );
            note(&format!("{way} {size} B, records/s"), outcome.records_per_second());
            note(&format!("{way} {size} B, CPU us/record"), cpu);
        }
    }
    note("memory of a broker after the loads, MiB", cluster.rss()? / 1048576.0 / BROKERS as f64);
    Ok(())
}

fn load(cluster: &Cluster, topic: &str, size: usize, run_time: Duration) -> Load {
    let bootstrap = cluster.bootstrap.clone();
    Load { bootstrap, topic: topic.to_owned(), partitions: 6, size, batch_bytes: 16 << 10, run_time }
}

/// Runs both ways unmeasured: Java compiles what is hot.
fn warm_up(options: &Options, cluster: &Cluster, runtime: &tokio::runtime::Runtime) -> Result<()> {
    for (size, run_time) in SIZES.into_iter().map(|size| (size, options.warm_up / 4)) {
        let load = load(cluster, &format!("warm-up-{size}"), size, run_time);
        runtime.block_on(kafka_load::create(&load))?;
        runtime.block_on(kafka_load::produce(&load))?;
        runtime.block_on(kafka_load::consume(&load))?;
    }
    Ok(())
}

struct Cluster {
    brokers: Vec<(Measured, PathBuf)>,
    bootstrap: String,
    ready: Duration,
}

impl Cluster {
    fn start(options: &Options, kind: Kind, dir: &Path, ensemble: &Ensemble) -> Result<Cluster> {
        let begin = Instant::now();
        let connect = ensemble.addresses.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(",");
        let mut brokers = vec![];
        let ports: Vec<u16> = (0..BROKERS).map(|n| options.port + 20 + n).collect();
        for (id, port) in ports.iter().enumerate() {
            let zookeeper = format!("{connect}/test");
            let at = BrokerAt { kind, id: id as i32, port: *port, zookeeper };
            let configured = at.configure(dir, "offsets.topic.replication.factor=3\n")?;
            brokers.push((configured.start(options)?, configured.log));
        }
        let mut cluster =
            Cluster { brokers, bootstrap: format!("127.0.0.1:{}", ports[0]), ready: Duration::ZERO };
        wait_for("three brokers", Duration::from_secs(120), || {
            cluster.alive()?;
            Ok(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()))
        })?;
        cluster.ready = begin.elapsed();
        Ok(cluster)
    }

    fn alive(&mut self) -> Result<()> {
        self.brokers.iter_mut().try_for_each(|(broker, log)| broker.alive(log))
    }

    fn cpu_seconds(&self) -> Result<f64> {
        self.brokers.iter().map(|(broker, _)| broker.cpu_seconds()).sum()
    }

    fn rss(&self) -> Result<f64> {
        self.brokers.iter().map(|(broker, _)| Ok(broker.rss()? as f64)).sum()
    }
}

impl Options {
    /// The command that runs a server of this kind in the foreground; its configuration is the last argument.
    pub(super) fn command(&self, kind: Kind, ours: &str) -> Result<Command> {
        if kind == Kind::Ours {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(ours);
            if ours == "zkServer" {
                command.arg("start-foreground");
            }
            return Ok(command);
        }
        let mut words = self.java.as_deref().unwrap_or_default().split_whitespace();
        let mut command = Command::new(words.next().context("--java is empty")?);
        command.args(words);
        Ok(command)
    }
}
