//! `stat`, `cons`, `dump`, `wchs`, `wchc`, `wchp`: connections, sessions and watches.

use super::{VERSION, View, serving};
use crate::server::clients::Client;
use crate::server::stats::ConnectionStats;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use wire::zk::SessionId;
use zk_core::peer::Status;

pub(super) fn stat(view: &View, status: &Status, from: SocketAddr, to: &mut String) {
    let _ = writeln!(to, "Zookeeper version: {VERSION}");
    to.push_str("Clients:\n");
    for (_, client) in view.clients.iter() {
        brief(&client.from, 1, client.queued(), &client.stats, to);
        to.push_str(")\n");
    }
    asking(view, from, to);
    to.push('\n');
    serving::figures(view, status, to);
}

pub(super) fn cons(view: &View, from: SocketAddr, to: &mut String) {
    for (_, client) in view.clients.iter() {
        let stats = &client.stats;
        brief(&client.from, 1, client.queued(), stats, to);
        if stats.session != 0 {
            session(stats, to);
        }
        to.push_str(")\n");
    }
    asking(view, from, to);
    to.push('\n');
}

/// The connection over which the word came.
fn asking(view: &View, from: SocketAddr, to: &mut String) {
    let stats = ConnectionStats { received: 1, ..ConnectionStats::new(view.now.wall) };
    brief(&from, 0, 0, &stats, to);
    to.push_str(")\n");
}

/// `interest`: 1, the server waits for requests.
fn brief(from: &SocketAddr, interest: u8, queued: usize, stats: &ConnectionStats, to: &mut String) {
    let _ = write!(to, " /{from}[{interest}](queued={queued},recved={},sent={}", stats.received, stats.sent);
}

fn session(stats: &ConnectionStats, to: &mut String) {
    let _ = write!(to, ",sid=0x{:x},lop={}", stats.session, stats.last_op);
    let _ = write!(to, ",est={},to={}", stats.established, stats.timeout);
    if stats.last_cxid >= 0 {
        let _ = write!(to, ",lcxid=0x{:x}", stats.last_cxid);
    }
    let mean = stats.latency.sum.checked_div(stats.latency.count).unwrap_or(0);
    let _ = write!(
        to,
        ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={mean},maxlat={}",
        stats.last_zxid,
        stats.last_response,
        stats.last_latency,
        stats.latency.min(),
        stats.latency.max
    );
}

/// What `dump` says before the ephemeral nodes.
pub(super) fn session_dump(view: &View) -> String {
    let mut text = String::new();
    let to = &mut text;
    let database = view.peer.database();
    to.push_str("SessionTracker dump:\n");
    let locals = view.peer.front().local_sessions();
    let with_locals = locals.rules.enabled;
    if with_locals {
        to.push_str("Local ");
        session_sets(view, locals.buckets().by_deadline(), to);
    }
    match view.peer.expiries() {
        Some(expiries) => {
            to.push_str(if with_locals { "Global " } else { "" });
            session_sets(view, expiries, to);
        }
        None => {
            let _ = writeln!(to, "Global Sessions({}):", database.sessions().len());
            for (session, timeout) in database.sessions() {
                let _ = writeln!(to, "0x{session:x}\t{timeout}ms");
            }
        }
    }
    text
}

/// And what behind them.
pub(super) fn connection_dump(view: &View) -> String {
    let mut text = String::new();
    let to = &mut text;
    to.push_str("Connections dump:\n");
    connection_expiries(view, to);
    text
}

fn session_sets(view: &View, expiries: &BTreeMap<u64, BTreeSet<SessionId>>, to: &mut String) {
    let count: usize = expiries.values().map(BTreeSet::len).sum();
    let _ = writeln!(to, "Session Sets ({})/({count}):", expiries.len());
    for (deadline, sessions) in expiries {
        bucket(view, *deadline, sessions.len(), to);
        for session in sessions {
            let _ = writeln!(to, "\t0x{session:x}");
        }
    }
}

/// Connections by the moment at which their silence ends them, whole ticks as for sessions.
fn connection_expiries(view: &View, to: &mut String) {
    let tick = view.config.core.tick_ms.max(1);
    let mut expiries = BTreeMap::<u64, Vec<&Client>>::new();
    for (_, client) in view.clients.iter() {
        let allowed = match client.stats.timeout {
            0 => view.config.sessionless_timeout.as_millis() as u64,
            timeout => timeout.max(0) as u64,
        };
        expiries.entry(((client.last_heard + allowed) / tick + 1) * tick).or_default().push(client);
    }
    let count: usize = expiries.values().map(Vec::len).sum();
    let _ = writeln!(to, "Connections Sets ({})/({count}):", expiries.len());
    for (deadline, clients) in expiries {
        bucket(view, deadline, clients.len(), to);
        for client in clients {
            let _ = writeln!(to, "\tip: /{} sessionId: 0x{:x}", client.from, client.stats.session);
        }
    }
}

/// `2 expire at Sat Nov 21 09:34:09 UTC 2026:`, from a moment of the loop's clock.
fn bucket(view: &View, deadline: u64, count: usize, to: &mut String) {
    let wall = view.now.wall + deadline as i64 - view.now.mono as i64;
    let at = jiff::Timestamp::from_millisecond(wall).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::system());
    let _ = writeln!(to, "{count} expire at {}:", at.strftime("%a %b %d %H:%M:%S %Z %Y"));
}

/// Only the table of data watches counts here (exist, data, persistent, recursive), as in ZooKeeper.
pub(super) fn watch_summary(view: &View, to: &mut String) {
    let figures = view.peer.front().watch_figures();
    let _ = writeln!(to, "{} connections watching {} paths", figures.connections, figures.paths);
    let _ = writeln!(to, "Total watches:{}", figures.watches);
}
