//! What the benchmarks share: figures as they come, and the servers that they are about.

use super::process::{Measured, wait_for};
use super::zk_bench::serves;
use super::{Figures, Kind, Options};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Figures of one kind of server, printed as they come.
pub struct Notes<'a> {
    pub kind: Kind,
    pub figures: &'a mut Figures,
    /// Before each name.
    pub prefix: String,
}

impl Notes<'_> {
    pub fn note(&mut self, what: &str, value: f64) {
        let what = format!("{}{what}", self.prefix);
        println!("{:?}: {what}: {value:.3}", self.kind);
        self.figures.entry((what, self.kind)).or_default().push(value);
    }
}

/// For clients that keep both cores of a small machine busy while the servers rest.
pub fn two_workers() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Whose broker, and where.
#[derive(Debug, Clone)]
pub struct BrokerAt {
    pub kind: Kind,
    pub id: i32,
    pub port: u16,
    /// `zookeeper.connect`
    pub zookeeper: String,
}

impl BrokerAt {
    /// Writes its configuration, these lines among it, into `dir`, where its logs go, too.
    pub fn configure(&self, dir: &Path, more: &str) -> Result<Configured> {
        let BrokerAt { kind, id, port, zookeeper } = self;
        let config = dir.join(format!("server-{id}.properties"));
        let text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\nzookeeper.connect={zookeeper}\n{more}",
            dir.join(format!("kafka-{id}")).display()
        );
        fs::write(&config, text).with_context(|| config.display().to_string())?;
        let log = dir.join(format!("broker-{id}.log"));
        Ok(Configured {
            name: format!("{kind:?} broker {id}"),
            kind: *kind,
            dir: dir.to_owned(),
            config,
            log,
        })
    }
}

/// A broker that can be started, again and again.
#[derive(Debug, Clone)]
pub struct Configured {
    name: String,
    kind: Kind,
    dir: PathBuf,
    config: PathBuf,
    /// What it says.
    pub log: PathBuf,
}

impl Configured {
    pub fn start(&self, options: &Options) -> Result<Measured> {
        let mut command = options.command(self.kind, "kafka-server-start")?;
        command.arg(&self.config).env("LOG_DIR", &self.dir);
        Measured::start(self.name.clone(), &mut command, &self.log)
    }
}

/// One ZooKeeper server of ours, at `--port`, that serves.
pub fn start_zookeeper(options: &Options, dir: &Path) -> Result<Measured> {
    let data = dir.join("zookeeper");
    fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
    let config = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=1000\ndataDir={}\nclientPort={}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
         4lw.commands.whitelist=*\n",
        data.display(),
        options.port
    );
    fs::write(&config, text)?;
    let log = dir.join("zookeeper.log");
    let mut command = options.command(Kind::Ours, "zkServer")?;
    let mut server = Measured::start("ZooKeeper".to_string(), command.arg(&config), &log)?;
    let address = SocketAddr::from(([127, 0, 0, 1], options.port));
    wait_for("a ZooKeeper that serves", Duration::from_secs(60), || {
        server.alive(&log)?;
        Ok(serves(address))
    })?;
    Ok(server)
}
