//! Three ZooKeeper servers, ours and Java's in turn.

use super::process::{Measured, wait_for};
use super::zk_load::{self, Load};
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SERVERS: u16 = 3;
const LOADS: [(&str, u32); 3] = [("reads", 100), ("90 % reads", 90), ("writes", 0)];

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    in_turn(options, |kind, dir, figures| measure(options, kind, dir, &runtime, figures))
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    runtime: &tokio::runtime::Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut note = |what: &str, value: f64| figures.entry((what.to_string(), kind)).or_default().push(value);
    let mut ensemble = Ensemble::start(options, kind, dir)?;
    note("start to first answer, s", ensemble.ready.as_secs_f64());
    std::thread::sleep(Duration::from_secs(2));
    note("idle memory of a server, MiB", ensemble.rss()? / 1048576.0 / SERVERS as f64);
    for (name, read_percent) in LOADS {
        let load = Load {
            servers: ensemble.addresses.clone(),
            connections: options.connections,
            outstanding: options.outstanding,
            run_time: options.run_time,
            read_percent,
            size: options.size,
        };
        let before = ensemble.cpu_seconds()?;
        let mut outcome =
            runtime.block_on(zk_load::drive(&load)).with_context(|| format!("{kind:?}, {name}"))?;
        let cpu = (ensemble.cpu_seconds()? - before) / outcome.ops as f64 * 1e6;
        ensemble.alive()?;
        println!(
            "{kind:?}: {name}: {:.0} ops/s, p50 {} us, p99 {} us, {cpu:.1} us of servers' CPU an operation",
            outcome.ops_per_second(),
            outcome.latency_us(50.0),
            outcome.latency_us(99.0),
        );
        note(&format!("{name}, ops/s"), outcome.ops_per_second());
        note(&format!("{name}, p99 ms"), outcome.latency_us(99.0) as f64 / 1000.0);
        note(&format!("{name}, CPU us/op"), cpu);
    }
    note("memory of a server after the loads, MiB", ensemble.rss()? / 1048576.0 / SERVERS as f64);
    Ok(())
}

/// Three servers on this machine, measured while this value lives.
pub struct Ensemble {
    servers: Vec<(Measured, PathBuf)>,
    pub addresses: Vec<SocketAddr>,
    ready: Duration,
}

impl Ensemble {
    pub fn start(options: &Options, kind: Kind, dir: &Path) -> Result<Ensemble> {
        let lines: String = (1..=SERVERS)
            .map(|n| {
                let port = options.port + 4 * (n - 1);
                format!("server.{n}=127.0.0.1:{}:{}\n", port + 1, port + 2)
            })
            .collect();
        let begin = Instant::now();
        let (mut servers, mut addresses) = (vec![], vec![]);
        for n in 1..=SERVERS {
            let port = options.port + 4 * (n - 1);
            let data = dir.join(format!("{n}"));
            fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
            fs::write(data.join("myid"), format!("{n}\n"))?;
            let config = dir.join(format!("zoo-{n}.cfg"));
            fs::write(
                &config,
                format!(
                    "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\nmaxClientCnxns=0\n\
                     admin.enableServer=false\n4lw.commands.whitelist=*\n{lines}",
                    data.display()
                ),
            )?;
            let log = dir.join(format!("{n}.log"));
            let mut command = options.command(kind, "zkServer")?;
            let server = Measured::start(format!("{kind:?} {n}"), command.arg(&config), &log)?;
            servers.push((server, log));
            addresses.push(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let mut ensemble = Ensemble { servers, addresses, ready: Duration::ZERO };
        wait_for("an ensemble that serves", Duration::from_secs(60), || {
            ensemble.alive()?;
            Ok(ensemble.addresses.iter().all(|address| serves(*address)))
        })?;
        ensemble.ready = begin.elapsed();
        Ok(ensemble)
    }

    fn alive(&mut self) -> Result<()> {
        self.servers.iter_mut().try_for_each(|(server, log)| server.alive(log))
    }

    fn cpu_seconds(&self) -> Result<f64> {
        self.servers.iter().map(|(server, _)| server.cpu_seconds()).sum()
    }

    fn rss(&self) -> Result<f64> {
        self.servers.iter().map(|(server, _)| Ok(server.rss()? as f64)).sum()
    }
}

/// The server answers `srvr` with a mode: it has found its place.
pub(super) fn serves(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode: "))
}
