//! `mntr`: a line for each figure, `zk_<key>\t<value>`.

use super::{VERSION, View, mode_name};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::SeqCst;
use zk_core::peer::{Mode, Status};

pub(super) fn mntr(view: &View, status: &Status, to: &mut String) {
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(to, "zk_{key}\t{value}");
    };
    line("version", &VERSION);
    line("server_state", &mode_name(status));
    if let Some(doing) = peer_state(status) {
        line("peer_state", &doing);
    }
    clients(view, &mut line);
    database(view, &mut line);
    journal(view, &mut line);
    process(view, &mut line);
    ensemble(view, status, &mut line);
}

fn peer_state(status: &Status) -> Option<&'static str> {
    match status.mode {
        Mode::Leading => Some("leading - broadcast"),
        Mode::Following { .. } => Some("following - broadcast"),
        Mode::Observing { .. } => Some("observing - broadcast"),
        Mode::Standalone | Mode::Looking => None,
    }
}

type Line<'a> = dyn FnMut(&str, &dyn Display) + 'a;

fn clients(view: &View, line: &mut Line) {
    let stats = &view.clients.stats;
    line("avg_latency", &format!("{:?}", stats.latency.mean()));
    line("min_latency", &stats.latency.min());
    line("max_latency", &stats.latency.max);
    line("packets_received", &stats.received);
    line("packets_sent", &stats.sent);
    line("num_alive_connections", &view.clients.alive());
    line("outstanding_requests", &view.clients.outstanding());
    line("connection_rejected", &view.clients.rejected());
    line("uptime", &view.now.mono);
}

fn database(view: &View, line: &mut Line) {
    let database = view.peer.database();
    line("znode_count", &database.node_count());
    let watches = view.peer.front().figures();
    line("watch_count", &(watches.data_watches.watches + watches.child_watches.watches));
    line("ephemerals_count", &database.ephemerals_count());
    line("approximate_data_size", &database.data_size());
    line("global_sessions", &database.sessions().len());
    line("local_sessions", &view.peer.front().local_sessions().len());
    line("digest_mismatches_count", &database.digest_mismatches());
}

/// Syncs of the log, in ms as Java's summary.
fn journal(view: &View, line: &mut Line) {
    let journal = view.journal;
    let (syncs, us) = (journal.syncs.load(SeqCst), journal.sync_us.load(SeqCst));
    let mean = if syncs == 0 { 0.0 } else { (us as f64 / syncs as f64 * 10.0).round() / 1e4 };
    line("avg_fsynctime", &format!("{mean:?}"));
    line("max_fsynctime", &(journal.sync_us_max.load(SeqCst) / 1000));
    line("cnt_fsynctime", &syncs);
    line("sum_fsynctime", &(us / 1000));
    let entries = journal.entries.load(SeqCst);
    let batch = if syncs == 0 { 0.0 } else { (entries as f64 / syncs as f64 * 1e4).round() / 1e4 };
    line("avg_sync_processor_batch_size", &format!("{batch:?}"));
    line("cnt_sync_processor_batch_size", &syncs);
    line("sum_sync_processor_batch_size", &entries);
}

fn process(_view: &View, line: &mut Line) {
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    line("open_file_descriptor_count", &open);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    line("max_file_descriptor_count", &limit.current.map_or(-1, |max| max.min(i64::MAX as u64) as i64));
}

fn ensemble(view: &View, status: &Status, line: &mut Line) {
    let Some(ensemble) = &view.config.core.ensemble else { return };
    line("quorum_size", &ensemble.members.len());
    if status.mode == Mode::Leading {
        let learners = status.learners.unwrap_or(0);
        line("learners", &learners);
        line("synced_followers", &status.synced_followers.unwrap_or(0));
        line("synced_non_voting_followers", &status.synced_non_voting.unwrap_or(0));
        line("synced_observers", &status.synced_observers.unwrap_or(0));
        line("pending_syncs", &status.pending_syncs.unwrap_or(0));
        line("leader_uptime", &status.leading_since.map_or(0, |since| view.now.mono.saturating_sub(since)));
        let [last, min, max] = status.proposal_sizes.unwrap_or([-1; 3]);
        line("last_proposal_size", &last);
        line("min_proposal_size", &min);
        line("max_proposal_size", &max);
    } else {
        line("synced_observers", &status.synced_observers.unwrap_or(0));
        if let Some(master) = status.observer_master {
            line("observer_master_id", &master);
        }
    }
}
