//! A ZooKeeper load: connections that each keep a number of requests outstanding, over `wire::zk`.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::jute::Record;
use wire::zk::{self, op};

/// What one run asks of an ensemble.
#[derive(Debug, Clone)]
pub struct Load {
    pub servers: Vec<SocketAddr>,
    pub connections: usize,
    /// Requests that each connection has under way.
    pub outstanding: usize,
    pub run_time: Duration,
    /// Of a hundred requests, how many are reads; the others set data.
    pub read_percent: u32,
    /// Bytes of each node's data.
    pub size: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub ops: u64,
    pub seconds: f64,
    /// Microseconds, unordered until [`Outcome::latency_us`] sorts them; one of each 64 requests.
    latencies_us: Vec<u32>,
}

impl Outcome {
    pub fn ops_per_second(&self) -> f64 {
        self.ops as f64 / self.seconds
    }

    /// The latency that `percent` of the sampled requests stayed under, in microseconds.
    pub fn latency_us(&mut self, percent: f64) -> u32 {
        self.latencies_us.sort_unstable();
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us.get((last as f64 * percent / 100.0) as usize).copied().unwrap_or(0)
    }
}

/// Drives the load to its end. An error reply or a lost connection ends the run with an error.
pub async fn drive(load: &Load) -> Result<Outcome> {
    let begin = Instant::now();
    let end = begin + load.run_time;
    let clients = (0..load.connections).map(|n| tokio::spawn(client(load.clone(), n, end)));
    let mut total = Outcome::default();
    for client in clients.collect::<Vec<_>>() {
        let one = client.await??;
        total.ops += one.ops;
        total.latencies_us.extend(one.latencies_us);
    }
    total.seconds = begin.elapsed().as_secs_f64();
    Ok(total)
}

async fn client(load: Load, n: usize, end: Instant) -> Result<Outcome> {
    let server = load.servers[n % load.servers.len()];
    let mut link = Link::open(server).await.with_context(|| format!("connection {n} to {server}"))?;
    let path = format!("/bench-{n}");
    link.create(&path, load.size).await?;
    let read = request(op::GET_DATA, &zk::PathWatchRequest { path: path.as_str().into(), watch: false });
    let data = Some(Bytes::from(vec![b'x'; load.size]));
    let write = request(op::SET_DATA, &zk::SetDataRequest { path: path.as_str().into(), data, version: -1 });
    let mut outcome = Outcome::default();
    let mut begun: VecDeque<Instant> = VecDeque::with_capacity(load.outstanding);
    let mut sent = n as u32 * 37;
    let mut out = BytesMut::new();
    loop {
        let now = Instant::now();
        if now < end {
            while begun.len() < load.outstanding {
                sent = sent.wrapping_add(1);
                let is_read = sent.wrapping_mul(2_654_435_761) >> 16 < load.read_percent * 65536 / 100;
                link.push(if is_read { &read } else { &write }, &mut out);
                begun.push_back(now);
            }
        } else if begun.is_empty() {
            break;
        }
        link.stream.write_all_buf(&mut out).await?;
        for _ in 0..link.replies().await? {
            let started = begun.pop_front().context("a reply that was not asked for")?;
            outcome.ops += 1;
            if outcome.ops % 64 == 0 {
                outcome.latencies_us.push(started.elapsed().as_micros() as u32);
            }
        }
    }
    Ok(outcome)
}

/// A request without its length and xid: opcode and body.
pub(super) fn request(op: i32, body: &impl Record) -> Bytes {
    let mut to = BytesMut::new();
    to.put_i32(op);
    body.write(&mut to);
    to.freeze()
}

pub(super) struct Link {
    stream: TcpStream,
    input: BytesMut,
    xid: i32,
}

impl Link {
    pub(super) async fn open(server: SocketAddr) -> Result<Link> {
        let mut stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let hello = zk::ConnectRequest {
            protocol: 0,
            last_zxid: 0,
            timeout: 30_000,
            session: 0,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: Some(false),
        }
        .encode();
        stream.write_i32(hello.len() as i32).await?;
        stream.write_all(&hello).await?;
        let length = stream.read_i32().await?;
        let mut answer = vec![0; length.clamp(0, 64) as usize];
        stream.read_exact(&mut answer).await?;
        if zk::ConnectResponse::decode(&answer.into())?.session == 0 {
            bail!("no session was given");
        }
        Ok(Link { stream, input: BytesMut::with_capacity(1 << 16), xid: 0 })
    }

    /// A node with this data that everybody may change.
    pub(super) fn creation(path: &str, data: Bytes) -> Bytes {
        let acl = vec![zk::Acl {
            perms: zk::perm::ALL,
            id: zk::Id { scheme: "world".into(), id: "anyone".into() },
        }];
        request(op::CREATE, &zk::CreateRequest { path: path.into(), data: Some(data), acl, flags: 0 })
    }

    pub(super) async fn create(&mut self, path: &str, size: usize) -> Result<()> {
        let mut out = BytesMut::new();
        self.push(&Link::creation(path, Bytes::from(vec![b'x'; size])), &mut out);
        self.stream.write_all_buf(&mut out).await?;
        // The node may be there from an earlier run.
        self.replies_allowing(Some(zk::err::NODE_EXISTS)).await.map(|_| ())
    }

    /// Sends all of these, so many of them under way.
    pub(super) async fn pipeline(
        &mut self,
        mut requests: impl Iterator<Item = Bytes>,
        under_way: usize,
    ) -> Result<()> {
        let (mut waiting, mut more) = (0, true);
        let mut out = BytesMut::new();
        while more || waiting > 0 {
            while more && waiting < under_way {
                match requests.next() {
                    Some(request) => {
                        self.push(&request, &mut out);
                        waiting += 1;
                    }
                    None => more = false,
                }
            }
            self.send(&mut out).await?;
            if waiting > 0 {
                waiting -= self.replies().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, out: &mut BytesMut) -> Result<()> {
        Ok(self.stream.write_all_buf(out).await?)
    }

    pub(super) fn push(&mut self, request: &Bytes, out: &mut BytesMut) {
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        out.put_i32(request.len() as i32 + 4);
        out.put_i32(self.xid);
        out.put_slice(request);
    }

    pub(super) async fn replies(&mut self) -> Result<usize> {
        self.replies_allowing(None).await
    }

    /// Reads until at least one whole reply is there; gives how many there were.
    async fn replies_allowing(&mut self, allowed: Option<i32>) -> Result<usize> {
        loop {
            let mut count = 0;
            while let Some(length) = self.input.first_chunk().map(|l| i32::from_be_bytes(*l) as usize) {
                if self.input.len() < 4 + length {
                    break;
                }
                let err = self.input[4 + 12..].first_chunk().map(|e| i32::from_be_bytes(*e));
                if err != Some(0) && err != allowed {
                    bail!("a reply with error {err:?}");
                }
                self.input.advance(4 + length);
                count += 1;
            }
            if count > 0 {
                return Ok(count);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}
