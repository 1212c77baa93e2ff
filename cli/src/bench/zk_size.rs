//! A large tree on one ZooKeeper server, ours and Java's in turn: memory, snapshots, and the start from them.

use super::process::{Measured, wait_for};
use super::zk_bench::serves;
use super::zk_load::{Link, request};
use super::{Figures, Kind, Options, in_turn};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::sleep;
use wire::zk::{self, op};

/// Connections that fill the tree, and creates that each keeps under way.
const LOADERS: usize = 4;
const UNDER_WAY: usize = 500;
/// Children of each directory.
const FAN_OUT: usize = 1000;
/// Writes under way of the connection that makes a snapshot due.
const PUSHED: usize = 20;
const START_MAX: Duration = Duration::from_secs(300);

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    in_turn(options, |kind, dir, figures| measure(options, kind, dir, &runtime, figures))
}

fn measure(
    options: &Options,
    kind: Kind,
    dir: &Path,
    runtime: &Runtime,
    figures: &mut Figures,
) -> Result<()> {
    let mut note = |what: &str, value: f64| {
        println!("{kind:?}: {what}: {value:.2}");
        figures.entry((what.to_string(), kind)).or_default().push(value);
    };
    let mut server = Server::new(options, kind, dir)?;
    server.start()?;
    let empty = server.rss()?;
    note("memory when empty, MiB", empty);
    let begun = Instant::now();
    runtime.block_on(LocalSet::new().run_until(fill(server.address, options.nodes, options.size)))?;
    note("creates/s while filled", options.nodes as f64 / begun.elapsed().as_secs_f64());
    let mut watcher = runtime.block_on(watch(server.address, options.nodes, options.watches))?;
    std::thread::sleep(Duration::from_secs(2));
    note("memory when filled, MiB", server.rss()?);
    note("bytes of memory a node", (server.rss()? - empty) * 1048576.0 / options.nodes as f64);

    server.note_turns("while filled", &mut note)?;

    let quiet = runtime.block_on(LocalSet::new().run_until(quiet(&server, &mut watcher, options)))?;
    note("longest write, no snapshot under way, ms", quiet.write);
    note("longest read, no snapshot under way, ms", quiet.read);
    server.note_turns("no snapshot under way", &mut note)?;
    let (busy, snapshot) = runtime.block_on(LocalSet::new().run_until(during(&server, &mut watcher)))?;
    note("longest write while a snapshot is taken, ms", busy.write);
    note("longest read while a snapshot is taken, ms", busy.read);
    server.note_turns("while a snapshot is taken", &mut note)?;
    let size = fs::metadata(&snapshot).with_context(|| snapshot.display().to_string())?.len();
    note("snapshot, MiB", size as f64 / 1048576.0);

    server.stop();
    let took = server.start()?;
    note("start from snapshot and log, s", took);
    note("start from snapshot and log, CPU s", server.cpu_seconds()?);
    note("start, MiB of snapshot a second", size as f64 / 1048576.0 / took);
    note("memory after the start, MiB", server.rss()?);
    Ok(())
}

/// One standalone server on this machine.
struct Server {
    kind: Kind,
    command: Options,
    config: PathBuf,
    log: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    running: Option<Measured>,
}

impl Server {
    fn new(options: &Options, kind: Kind, dir: &Path) -> Result<Server> {
        let data = dir.join("data");
        fs::create_dir_all(&data).with_context(|| format!("{}", data.display()))?;
        let config = dir.join("zoo.cfg");
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPort={}\nmaxClientCnxns=0\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\n",
            data.display(),
            options.port
        );
        fs::write(&config, text)?;
        Ok(Server {
            kind,
            command: options.clone(),
            config,
            log: dir.join("server.log"),
            data: data.join("version-2"),
            address: SocketAddr::from(([127, 0, 0, 1], options.port)),
            running: None,
        })
    }

    /// Seconds until it answers.
    fn start(&mut self) -> Result<f64> {
        let mut command = self.command.command(self.kind, "zkServer")?;
        let mut server = Measured::start(format!("{:?}", self.kind), command.arg(&self.config), &self.log)?;
        let took = wait_for("a server that serves", START_MAX, || {
            server.alive(&self.log)?;
            Ok(serves(self.address))
        })?;
        self.running = Some(server);
        Ok(took.as_secs_f64())
    }

    /// At once, as by a loss of power.
    fn stop(&mut self) {
        self.running = None;
    }

    /// MiB.
    fn rss(&self) -> Result<f64> {
        let server = self.running.as_ref().context("it runs")?;
        Ok(server.rss()? as f64 / 1048576.0)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        self.running.as_ref().context("it runs")?.cpu_seconds()
    }

    /// Ours tells how long its loop was busy with one thing at most, and begins anew.
    fn note_turns(&self, when: &str, note: &mut impl FnMut(&str, f64)) -> Result<()> {
        if self.kind == Kind::Java {
            return Ok(());
        }
        let figures = word(self.address, b"mntr")?;
        for (figure, what) in [
            ("zk_max_turn_time_ms", "longest turn"),
            ("zk_max_turn_cpu_ms", "longest turn by its CPU time"),
            ("zk_max_step_time_ms", "longest step"),
        ] {
            // An older one of ours has not all of them.
            let line = figures.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix('\t'));
            if let Some(value) = line.and_then(|value| value.parse().ok()) {
                note(&format!("{what}, {when}, ms"), value);
            }
        }
        word(self.address, b"srst").map(|_| ())
    }

    /// The newest snapshot that is complete, as far as its name and its end tell.
    fn newest_snapshot(&self) -> Result<(u64, PathBuf)> {
        let mut newest = (0, PathBuf::new());
        for entry in fs::read_dir(&self.data)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let zxid = name.strip_prefix("snapshot.").and_then(|hex| u64::from_str_radix(hex, 16).ok());
            if let Some(zxid) = zxid.filter(|zxid| *zxid >= newest.0 && is_complete(&path)) {
                newest = (zxid, path);
            }
        }
        Ok(newest)
    }
}

/// Java writes the file under its name from the beginning: the end shows whether it is all there.
fn is_complete(path: &Path) -> bool {
    use std::io::{Seek, SeekFrom};
    let end = || -> std::io::Result<[u8; 5]> {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::End(-5))?;
        let mut end = [0; 5];
        file.read_exact(&mut end)?;
        Ok(end)
    };
    end().is_ok_and(|end| end == [0, 0, 0, 1, b'/'])
}

fn path_of(n: usize) -> String {
    format!("/size/d{:05}/n{n:08}", n / FAN_OUT)
}

async fn fill(server: SocketAddr, nodes: usize, size: usize) -> Result<()> {
    let mut link = Link::open(server).await?;
    for path in ["/size", "/push", "/write"] {
        link.create(path, 0).await?;
    }
    for dir in 0..nodes.div_ceil(FAN_OUT) {
        link.create(&format!("/size/d{dir:05}"), 0).await?;
    }
    let loaders = (0..LOADERS).map(|loader| {
        tokio::task::spawn_local(async move {
            let mut link = Link::open(server).await?;
            let data = Bytes::from(vec![b'x'; size]);
            let creates = (loader..nodes).step_by(LOADERS).map(|n| Link::creation(&path_of(n), data.clone()));
            link.pipeline(creates, UNDER_WAY).await
        })
    });
    for loader in loaders.collect::<Vec<_>>() {
        loader.await??;
    }
    Ok(())
}

/// A connection that watches the first `watches` nodes.
async fn watch(server: SocketAddr, nodes: usize, watches: usize) -> Result<Link> {
    let mut link = Link::open(server).await?;
    let reads = (0..watches.min(nodes)).map(|n| {
        request(op::EXISTS, &zk::PathWatchRequest { path: path_of(n).as_str().into(), watch: true })
    });
    link.pipeline(reads, UNDER_WAY).await?;
    Ok(link)
}

/// What a four-letter word is answered with.
fn word(address: SocketAddr, word: &[u8; 4]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(word)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Longest {
    write: f64,
    read: f64,
}

/// Writes one after the other, and reads beside them.
async fn quiet(server: &Server, link: &mut Link, options: &Options) -> Result<Longest> {
    let end = Instant::now() + options.run_time;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::task::spawn_local(reads(server.address, options.nodes, done.clone()));
    let mut longest = 0.0f64;
    while Instant::now() < end {
        longest = longest.max(write(link).await?);
    }
    done.store(true, SeqCst);
    Ok(Longest { write: longest, read: reader.await?? })
}

/// Reads nodes all over the tree, one after the other, until it is done; the longest took so many milliseconds.
async fn reads(server: SocketAddr, nodes: usize, done: Arc<AtomicBool>) -> Result<f64> {
    let mut link = Link::open(server).await?;
    let (mut longest, mut n) = (0.0f64, 0usize);
    while !done.load(SeqCst) {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let path = path_of((n >> 33) % nodes);
        let read = request(op::GET_DATA, &zk::PathWatchRequest { path: path.as_str().into(), watch: false });
        longest = longest.max(timed(&mut link, &read).await?);
    }
    Ok(longest)
}

async fn write(link: &mut Link) -> Result<f64> {
    let data = Some(Bytes::from_static(&[b'w'; 100]));
    let write = request(op::SET_DATA, &zk::SetDataRequest { path: "/write".into(), data, version: -1 });
    timed(link, &write).await
}

async fn timed(link: &mut Link, request: &Bytes) -> Result<f64> {
    let mut out = BytesMut::new();
    let begun = Instant::now();
    link.push(request, &mut out);
    link.send(&mut out).await?;
    link.replies().await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

/// The longest write from before a snapshot is begun until it is there, and the snapshot. Another connection writes as
/// much as it takes to make one due, and stops when the file appears.
async fn during(server: &Server, link: &mut Link) -> Result<(Longest, PathBuf)> {
    let (before, _) = server.newest_snapshot()?;
    let done = Arc::new(AtomicBool::new(false));
    let pusher = {
        let (done, address) = (done.clone(), server.address);
        tokio::task::spawn_local(async move {
            let mut link = Link::open(address).await?;
            let data = Some(Bytes::from_static(b"p"));
            let push = request(op::SET_DATA, &zk::SetDataRequest { path: "/push".into(), data, version: -1 });
            let pushes = std::iter::repeat(push).take_while(|_| !done.load(SeqCst));
            link.pipeline(pushes, PUSHED).await
        })
    };
    let reader = tokio::task::spawn_local(reads(server.address, server.command.nodes, done.clone()));
    let mut longest = 0.0f64;
    let mut looked = Instant::now();
    loop {
        longest = longest.max(write(link).await?);
        if looked.elapsed() > Duration::from_millis(200) {
            looked = Instant::now();
            let (zxid, path) = server.newest_snapshot()?;
            if zxid > before {
                done.store(true, SeqCst);
                pusher.await??;
                sleep(Duration::from_millis(500)).await;
                return Ok((Longest { write: longest, read: reader.await?? }, path));
            }
        }
    }
}
