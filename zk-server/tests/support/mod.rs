//! What these tests share: servers on free ports in a temporary folder, and a client of a few lines.

#![allow(dead_code)] // every test file uses its part

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wire::Str;
use wire::jute::{Reader, Record};
use wire::zk::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, CreateResponse, DeleteRequest, GetDataResponse, Id,
    PathWatchRequest, ReplyHeader, RequestHeader, SetDataRequest, Stat, WatcherEvent, op, xid,
};
use zk_server::config::Config;
use zk_server::server::{Exit, Server};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Ports that nobody listens on, each given once. They are below those that systems give to outgoing connections, so that
/// a server that starts later, or again, still finds its own free.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let next = || (10_000 + (std::process::id() * 100 + GIVEN.fetch_add(1, Relaxed)) % 20_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    [(); N].map(|()| std::iter::repeat_with(next).find(is_free).expect("a free port"))
}

/// Asks until it is so.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Some(answer) => return answer,
            None => assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes a zoo.cfg (and myid) into `folder`, and loads it.
pub fn config(folder: &Path, myid: Option<i64>, lines: &str) -> Config {
    config_with(folder, myid, lines, "")
}

/// The same with `JVMFLAGS`.
pub fn config_with(folder: &Path, myid: Option<i64>, lines: &str, flags: &str) -> Config {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    if let Some(myid) = myid {
        std::fs::write(data.join("myid"), myid.to_string()).unwrap();
    }
    let file = folder.join("zoo.cfg");
    let text = format!("dataDir={}\nadmin.enableServer=false\n{lines}", data.display());
    std::fs::write(&file, text).unwrap();
    Config::load(&file, flags).unwrap()
}

/// A standalone server.
pub struct Alone {
    pub folder: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
    pub lines: String,
    pub server: Option<Server>,
}

impl Alone {
    /// `lines`: what else its zoo.cfg says.
    pub fn start(lines: &str) -> Alone {
        let [port] = free_ports();
        let lines = format!("tickTime=500\nclientPort={port}\nclientPortAddress=127.0.0.1\n{lines}");
        let mut alone =
            Alone { folder: tempfile::tempdir().unwrap(), runtime: runtime(), lines, server: None };
        alone.restart();
        alone
    }

    /// Stops it, if it runs, and starts it on the same folder.
    pub fn restart(&mut self) {
        self.stop();
        let config = config(self.folder.path(), None, &self.lines);
        self.server = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    pub fn stop(&mut self) -> Option<Exit> {
        self.server.take().map(|server| self.runtime.block_on(server.stop()))
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.as_ref().unwrap().client_addr().unwrap()
    }
}

/// Servers of one ensemble, in this process.
pub struct Ensemble {
    pub folder: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
    lines: String,
    flags: String,
    pub servers: Vec<Option<Server>>,
}

impl Ensemble {
    pub fn start<const N: usize>() -> Ensemble {
        Ensemble::start_with::<N>("", "")
    }

    /// `more`: what else each zoo.cfg says; `flags`: their `JVMFLAGS`.
    pub fn start_with<const N: usize>(more: &str, flags: &str) -> Ensemble {
        let (client, quorum, election) = (free_ports::<N>(), free_ports::<N>(), free_ports::<N>());
        let mut lines = String::from("tickTime=500\ninitLimit=20\nsyncLimit=10\n4lw.commands.whitelist=*\n");
        lines += more;
        for n in 0..N {
            let (c, q, e) = (client[n], quorum[n], election[n]);
            lines += &format!("server.{}=127.0.0.1:{q}:{e};127.0.0.1:{c}\n", n + 1);
        }
        Ensemble::start_as(N, lines, flags)
    }

    /// `lines`: the whole of everybody's zoo.cfg; `flags`: their `JVMFLAGS`.
    pub fn start_as(count: usize, lines: String, flags: &str) -> Ensemble {
        let mut ensemble = Ensemble {
            folder: tempfile::tempdir().unwrap(),
            runtime: runtime(),
            lines,
            flags: flags.into(),
            servers: (0..count).map(|_| None).collect(),
        };
        (0..count).for_each(|n| ensemble.restart(n));
        ensemble
    }

    fn home(&self, n: usize) -> PathBuf {
        self.folder.path().join((n + 1).to_string())
    }

    pub fn restart(&mut self, n: usize) {
        let config = config_with(&self.home(n), Some(n as i64 + 1), &self.lines, &self.flags);
        self.servers[n] = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    /// The same with more lines, which count instead of those before.
    pub fn restart_with(&mut self, n: usize, more: &str) {
        let lines = format!("{}{more}", self.lines);
        let config = config_with(&self.home(n), Some(n as i64 + 1), &lines, &self.flags);
        self.servers[n] = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    /// The same with other `JVMFLAGS`.
    pub fn restart_as(&mut self, n: usize, flags: &str) {
        let config = config_with(&self.home(n), Some(n as i64 + 1), &self.lines, flags);
        self.servers[n] = Some(self.runtime.block_on(Server::start(config)).unwrap());
    }

    pub fn stop(&mut self, n: usize) {
        if let Some(server) = self.servers[n].take() {
            self.runtime.block_on(server.stop());
        }
    }

    pub fn addr(&self, n: usize) -> SocketAddr {
        self.servers[n].as_ref().unwrap().client_addr().unwrap()
    }

    /// The index of the server that leads, once it serves and `followers` others do.
    #[track_caller]
    pub fn leader(&self, followers: usize) -> usize {
        eventually("a leader and its followers", || {
            let modes: Vec<String> = (0..self.servers.len())
                .map(|n| self.servers[n].as_ref().map(|_| mode(self.addr(n))).unwrap_or_default())
                .collect();
            let following = modes.iter().filter(|mode| *mode == "follower").count();
            let leader = modes.iter().position(|mode| mode == "leader")?;
            (following >= followers).then_some(leader)
        })
    }
}

/// A four-letter word's answer; empty where the server has none.
pub fn word(addr: SocketAddr, word: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(addr) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(word.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// `srvr`'s mode.
pub fn mode(addr: SocketAddr) -> String {
    let answer = word(addr, "srvr");
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).unwrap_or_default().to_owned()
}

/// A client that does one thing at a time.
pub struct Client {
    pub stream: TcpStream,
    xid: i32,
    pub handshake: ConnectResponse,
    pub events: VecDeque<WatcherEvent>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        Client::resume(addr, 0, Bytes::from_static(&[0; 16]))
    }

    /// Tries until a server takes it.
    #[track_caller]
    pub fn connected(addr: SocketAddr) -> Client {
        eventually("a session", || Client::connect(addr).ok())
    }

    pub fn resume(addr: SocketAddr, session: i64, password: Bytes) -> io::Result<Client> {
        Client::with(
            addr,
            &ConnectRequest {
                protocol: 0,
                last_zxid: 0,
                timeout: 10_000,
                session,
                password: Some(password),
                read_only: Some(false),
            },
        )
    }

    pub fn with(addr: SocketAddr, request: &ConnectRequest) -> io::Result<Client> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        send(&mut stream, &request.encode())?;
        let handshake = ConnectResponse::decode(&receive(&mut stream)?).map_err(io::Error::other)?;
        Ok(Client { stream, xid: 0, handshake, events: VecDeque::new() })
    }

    /// Sends a request and says its xid.
    pub fn ask(&mut self, op: i32, body: &impl Record) -> io::Result<i32> {
        self.xid += 1;
        let mut to = BytesMut::new();
        RequestHeader { xid: self.xid, op }.write(&mut to);
        body.write(&mut to);
        send(&mut self.stream, &to)?;
        Ok(self.xid)
    }

    /// The next reply; events on the way are kept.
    pub fn answer(&mut self) -> io::Result<(ReplyHeader, Reader)> {
        loop {
            let mut reader = Reader::new(receive(&mut self.stream)?);
            let header: ReplyHeader = reader.read().map_err(io::Error::other)?;
            if header.xid != xid::WATCH_EVENT {
                return Ok((header, reader));
            }
            self.events.push_back(reader.read().map_err(io::Error::other)?);
        }
    }

    /// The body, or the error code.
    pub fn call<T: Record>(&mut self, op: i32, body: &impl Record) -> io::Result<Result<T, i32>> {
        let asked = self.ask(op, body)?;
        let (header, mut reader) = self.answer()?;
        assert_eq!(header.xid, asked, "answers come in the order of the questions");
        match header.err {
            0 => reader.read().map(Ok).map_err(io::Error::other),
            err => Ok(Err(err)),
        }
    }

    pub fn create(&mut self, path: &str, data: &str) -> io::Result<Result<String, i32>> {
        self.create_as(path, data, 0)
    }

    pub fn create_as(&mut self, path: &str, data: &str, flags: i32) -> io::Result<Result<String, i32>> {
        let everyone = Id { scheme: Str::from_static("world"), id: Str::from_static("anyone") };
        let request = CreateRequest {
            path: path.into(),
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            acl: vec![Acl { perms: 31, id: everyone }],
            flags,
        };
        let made = self.call::<CreateResponse>(op::CREATE, &request)?;
        Ok(made.map(|made| made.path.to_string()))
    }

    pub fn get(&mut self, path: &str, watch: bool) -> io::Result<Result<String, i32>> {
        let got =
            self.call::<GetDataResponse>(op::GET_DATA, &PathWatchRequest { path: path.into(), watch })?;
        Ok(got.map(|got| String::from_utf8(got.data.unwrap_or_default().to_vec()).unwrap()))
    }

    pub fn set(&mut self, path: &str, data: &str) -> io::Result<Result<Stat, i32>> {
        let data = Some(Bytes::copy_from_slice(data.as_bytes()));
        self.call(op::SET_DATA, &SetDataRequest { path: path.into(), data, version: -1 })
    }

    pub fn delete(&mut self, path: &str) -> io::Result<Result<(), i32>> {
        self.call(op::DELETE, &DeleteRequest { path: path.into(), version: -1 })
    }

    /// The next watch event, whatever else may come before it.
    pub fn event(&mut self) -> io::Result<WatcherEvent> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let mut reader = Reader::new(receive(&mut self.stream)?);
        let header: ReplyHeader = reader.read().map_err(io::Error::other)?;
        assert_eq!(header.xid, xid::WATCH_EVENT);
        reader.read().map_err(io::Error::other)
    }

    pub fn close(mut self) {
        let _ = self.call::<()>(op::CLOSE_SESSION, &());
    }
}

pub fn send(stream: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&[&(payload.len() as i32).to_be_bytes(), payload].concat())
}

pub fn receive(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload.into())
}
