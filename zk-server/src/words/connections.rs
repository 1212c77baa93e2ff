//! `stat`, `cons`, `dump`, `wchs`, `wchc`, `wchp`: connections, sessions and watches.

use super::{VERSION, View, serving};
use crate::server::stats::ConnectionStats;
use std::fmt::Write;
use zk_core::peer::{Mode, Status};

pub(super) fn stat(view: &View, status: &Status, to: &mut String) {
    let _ = writeln!(to, "Zookeeper version: {VERSION}");
    to.push_str("Clients:\n");
    for (_, client) in view.clients.iter() {
        brief(&client.from, 1, client.queued(), &client.stats, to);
        to.push_str(")\n");
    }
    asking(view, to);
    to.push('\n');
    serving::figures(view, status, to);
}

pub(super) fn cons(view: &View, to: &mut String) {
    for (_, client) in view.clients.iter() {
        let stats = &client.stats;
        brief(&client.from, 1, client.queued(), stats, to);
        if stats.session != 0 {
            session(stats, to);
        }
        to.push_str(")\n");
    }
    asking(view, to);
    to.push('\n');
}

/// The connection over which the word came.
fn asking(view: &View, to: &mut String) {
    let stats = ConnectionStats { received: 1, ..ConnectionStats::new(view.now.wall) };
    brief(&view.from, 0, 0, &stats, to);
    to.push_str(")\n");
}

/// `interest`: 1, the server waits for requests.
fn brief(from: &std::net::SocketAddr, interest: u8, queued: usize, stats: &ConnectionStats, to: &mut String) {
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

pub(super) fn dump(view: &View, status: &Status, to: &mut String) {
    let database = view.peer.database();
    to.push_str("SessionTracker dump:\n");
    match status.mode {
        Mode::Leading | Mode::Standalone => expiries(view, to),
        _ => {
            let _ = writeln!(to, "Global Sessions({}):", database.sessions().len());
            for (session, timeout) in database.sessions() {
                let _ = writeln!(to, "0x{session:x}\t{timeout}ms");
            }
        }
    }
    to.push_str("ephemeral nodes dump:\n");
    let _ = writeln!(to, "Sessions with Ephemerals ({}):", database.ephemerals().len());
    for (session, paths) in database.ephemerals() {
        let _ = writeln!(to, "0x{session:x}:");
        for path in paths {
            let _ = writeln!(to, "\t{path}");
        }
    }
    to.push_str("Connections dump:\n");
    let _ = writeln!(to, "Connections Sets (1)/({}):", view.clients.iter().count());
    for (_, client) in view.clients.iter() {
        let _ = writeln!(to, "\tip: /{} sessionId: 0x{:x}", client.from, client.stats.session);
    }
}

/// The leader's sessions by the moment of their end.
fn expiries(view: &View, to: &mut String) {
    let sessions = view.peer.database().sessions();
    let _ = writeln!(to, "Session Sets (1)/({}):", sessions.len());
    for (session, timeout) in sessions {
        let _ = writeln!(to, "\t0x{session:x}\t{timeout}ms");
    }
}

/// Only the table of data watches counts here (exist, data, persistent, recursive), as in ZooKeeper.
pub(super) fn watch_summary(view: &View, to: &mut String) {
    let figures = view.peer.front().watch_figures();
    let _ = writeln!(to, "{} connections watching {} paths", figures.connections, figures.paths);
    let _ = writeln!(to, "Total watches:{}", figures.watches);
}

pub(super) fn watches_by_connection(view: &View, to: &mut String) {
    for (session, paths) in view.peer.front().watches_by_session() {
        let _ = writeln!(to, "0x{session:x}");
        for path in paths {
            let _ = writeln!(to, "\t{path}");
        }
    }
    to.push('\n');
}

pub(super) fn watches_by_path(view: &View, to: &mut String) {
    for (path, sessions) in view.peer.front().watches_by_path() {
        let _ = writeln!(to, "{path}");
        for session in sessions {
            let _ = writeln!(to, "\t0x{session:x}");
        }
    }
    to.push('\n');
}
