//! The loop's table of client connections: what goes out in one write, what is under way, and who is too slow.

use super::stats::{ConnectionStats, ServerStats, op_label};
use crate::net::client_port::{Origin, Shared, UNSENT_MAX, request_weight};
use crate::net::gate::Gate;
use crate::net::outlet::Outlet;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tracing::warn;
use wire::zk::{op, xid};
use zk_core::{ConnId, Now};

/// Above this, pieces of one turn are written one by one instead of being copied together.
const COPY_MAX: usize = 64 << 10;

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    since: u64,
    op: i32,
    cxid: i32,
    weight: usize,
    /// Bytes that count among the large requests.
    large: usize,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub from: SocketAddr,
    /// It came by TLS.
    pub secure: bool,
    outlet: Outlet,
    gate: Arc<Gate>,
    /// This turn's output.
    out: Vec<Bytes>,
    pending: VecDeque<Pending>,
    /// The handshake was asked for; and answered.
    asked: bool,
    answered: bool,
    closing: bool,
    /// The loop's clock, ms.
    pub last_heard: u64,
    pub stats: ConnectionStats,
}

impl Client {
    /// Requests that wait for their answer.
    pub fn queued(&self) -> usize {
        self.pending.len()
    }
}

#[derive(Debug)]
pub(crate) struct Clients {
    table: BTreeMap<ConnId, Client>,
    /// Whose `out` is not empty, or who is to be closed.
    dirty: VecDeque<ConnId>,
    port: Option<Arc<Shared>>,
    pub stats: ServerStats,
}

impl Clients {
    pub fn new(port: Option<Arc<Shared>>) -> Clients {
        Clients { table: BTreeMap::new(), dirty: VecDeque::new(), port, stats: ServerStats::default() }
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Client)> {
        self.table.iter().map(|(conn, client)| (*conn, client))
    }

    /// Connections, those that have not spoken yet included.
    pub fn alive(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.connections.load(SeqCst))
    }

    pub fn outstanding(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.outstanding.load(SeqCst))
    }

    pub fn rejected(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.rejected.load(SeqCst))
    }

    /// TLS handshakes under way, and those that failed.
    pub fn handshakes(&self) -> (usize, usize) {
        let port = self.port.as_ref();
        port.map_or((0, 0), |port| (port.handshakes.load(SeqCst), port.handshakes_failed.load(SeqCst)))
    }

    /// TLS handshakes that were not begun because too many were under way.
    pub fn handshakes_refused(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.handshakes_refused.load(SeqCst))
    }

    /// Connections so far that did not come by TLS.
    pub fn plain_from(&self, origin: Origin) -> usize {
        self.port.as_ref().map_or(0, |port| port.plain_from(origin))
    }

    pub fn large_rejected(&self) -> usize {
        self.port.as_ref().map_or(0, |port| port.large_rejected.load(SeqCst))
    }

    pub fn reset(&mut self) {
        self.table.values_mut().for_each(|client| client.stats.reset());
    }

    pub fn opened(&mut self, conn: ConnId, from: SocketAddr, outlet: Outlet, gate: Arc<Gate>, now: Now) {
        let client = Client {
            from,
            secure: false,
            outlet,
            gate,
            out: Vec::new(),
            pending: VecDeque::new(),
            asked: false,
            answered: false,
            closing: false,
            last_heard: now.mono,
            stats: ConnectionStats::new(now.wall),
        };
        self.table.insert(conn, client);
    }

    pub fn note_secure(&mut self, conn: ConnId, secure: bool) {
        if let Some(client) = self.table.get_mut(&conn) {
            client.secure = secure;
        }
    }

    /// Notes a request. False: the connection is being closed, and the frame is not to be looked at.
    pub fn received(&mut self, conn: ConnId, frame: &[u8], now: Now) -> bool {
        self.stats.received += 1;
        self.stats.bytes_received += 4 + frame.len() as u64;
        let Some(client) = self.table.get_mut(&conn) else { return false };
        client.stats.received += 1;
        client.last_heard = now.mono;
        let int =
            |at: usize| frame.get(at..).and_then(<[u8]>::first_chunk).map(|int| i32::from_be_bytes(*int));
        let (op, cxid) = match std::mem::replace(&mut client.asked, true) {
            false => (op::CREATE_SESSION, 0),
            true => (int(4).unwrap_or(0), int(0).unwrap_or(0)),
        };
        let weight = request_weight(frame.len());
        let large = self.port.as_ref().map_or(0, |port| port.large(frame.len()));
        client.pending.push_back(Pending { since: now.mono, op, cxid, weight, large });
        !client.closing
    }

    /// Queues whole frames for the end of the turn.
    pub fn send(&mut self, conn: ConnId, bytes: Bytes, now: Now) {
        let Some(client) = self.table.get_mut(&conn).filter(|client| !client.closing) else { return };
        let mut at = 0;
        while let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
            let len = i32::from_be_bytes(*head).max(0) as usize;
            let frame = &bytes[(at + 4).min(bytes.len())..(at + 4 + len).min(bytes.len())];
            client.stats.sent += 1;
            self.stats.sent += 1;
            client.answered_with(frame, now, &mut self.stats, self.port.as_deref());
            at += 4 + len;
        }
        if client.out.is_empty() {
            self.dirty.push_back(conn);
        }
        client.out.push(bytes);
    }

    /// Closes once this turn's output has left.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(client) = self.table.get_mut(&conn)
            && !std::mem::replace(&mut client.closing, true)
        {
            self.dirty.push_back(conn);
        }
    }

    /// The reader has ended.
    pub fn closed(&mut self, conn: ConnId) {
        if let Some(client) = self.table.remove(&conn) {
            client.outlet.abort();
            self.stats.dropped += u64::from(!client.closing);
            if let Some(port) = &self.port {
                port.outstanding.fetch_sub(client.pending.len(), SeqCst);
                port.large_done(client.pending.iter().map(|pending| pending.large).sum());
            }
        }
    }

    /// Somebody has still to be told something.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// One write for each connection that has something to be told: for `max` of them at most, the longest waiting ones.
    pub fn flush(&mut self, max: usize) {
        let count = self.dirty.len().min(max);
        let mut flushed = std::mem::take(&mut self.dirty);
        for conn in flushed.drain(..count) {
            let Some(client) = self.table.get_mut(&conn) else { continue };
            let unsent = write(&client.outlet, std::mem::take(&mut client.out));
            if unsent > UNSENT_MAX && !client.closing {
                warn!(
                    "Closing the connection of session 0x{:x} from /{}: it does not read, {unsent} bytes wait",
                    client.stats.session, client.from
                );
                client.closing = true;
                client.outlet.abort();
            } else if client.closing {
                client.outlet.close();
            }
            if client.closing {
                client.gate.open();
            }
        }
        self.dirty = flushed;
    }

    /// Everybody out, at once: the server ends.
    pub fn abort_all(&mut self) {
        self.flush(usize::MAX);
        for client in self.table.values() {
            client.outlet.close();
            client.gate.open();
        }
    }
}

impl Client {
    /// A frame goes out: unless it is a watch's event, it answers the oldest request.
    fn answered_with(&mut self, frame: &[u8], now: Now, server: &mut ServerStats, port: Option<&Shared>) {
        let int =
            |at: usize| frame.get(at..).and_then(<[u8]>::first_chunk).map(|int| i32::from_be_bytes(*int));
        let long =
            |at: usize| frame.get(at..).and_then(<[u8]>::first_chunk).map(|int| i64::from_be_bytes(*int));
        // Without the four bytes of its length, as Java counts answers.
        server.response_bytes += frame.len() as u64;
        if std::mem::replace(&mut self.answered, true) {
            if int(0) == Some(xid::WATCH_EVENT) && self.pending.front().is_none_or(|next| next.cxid != -1) {
                server.watch_bytes += frame.len() as u64;
                return;
            }
            server.responses.add(frame.len());
            self.stats.last_zxid = long(4).unwrap_or(0);
        } else {
            self.stats.timeout = int(4).unwrap_or(0);
            self.stats.session = long(8).unwrap_or(0);
        }
        let Some(done) = self.pending.pop_front() else { return };
        let ms = now.mono.saturating_sub(done.since);
        self.stats.last_op = op_label(done.op);
        if done.cxid >= 0 && done.op != op::CREATE_SESSION {
            self.stats.last_cxid = done.cxid;
        }
        self.stats.last_response = now.mono;
        self.stats.last_latency = ms;
        self.stats.latency.add(ms);
        server.latency.add(ms);
        self.gate.take_off(done.weight);
        if let Some(port) = port {
            port.outstanding.fetch_sub(1, SeqCst);
            port.large_done(done.large);
        }
    }
}

/// Small pieces leave in one write. Says how many bytes the other side has not taken.
fn write(outlet: &Outlet, mut pieces: Vec<Bytes>) -> usize {
    let total: usize = pieces.iter().map(Bytes::len).sum();
    if pieces.len() > 1 && total <= COPY_MAX {
        let mut joined = BytesMut::with_capacity(total);
        pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        pieces = vec![joined.freeze()];
    }
    pieces.into_iter().map(|piece| outlet.send(piece)).last().unwrap_or(0)
}
