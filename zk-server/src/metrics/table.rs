//! The table. Rows that a mechanism is missing for are not here: `docs/compatibility.md` lists them.

use super::{Figures, Read, Row, summarized, summary};
use crate::net::client_port::Origin;
use base::metrics::{Kind, Number, Reading, Value};
use zk_core::config::Role;
use zk_core::database::QuotaTotals;
use zk_core::measure::Summary;
use zk_core::peer::Mode;

const fn gauge(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Gauge, read)
}

const fn gauges(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::GaugeSet, read)
}

const fn counter(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Counter, read)
}

const fn basic(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Summary, read)
}

const fn detailed(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Detailed, read)
}

pub(super) static TABLE: &[Row] = &[
    // The server, as `srvr` has it.
    gauge("avg_latency", |f| f.view.clients.stats.latency.mean().into()),
    gauge("min_latency", |f| f.view.clients.stats.latency.min().into()),
    gauge("max_latency", |f| f.view.clients.stats.latency.max.into()),
    gauge("packets_received", |f| f.view.clients.stats.received.into()),
    gauge("packets_sent", |f| f.view.clients.stats.sent.into()),
    gauge("num_alive_connections", |f| f.view.clients.alive().into()),
    gauge("outstanding_requests", |f| f.view.clients.outstanding().into()),
    gauge("uptime", |f| f.view.now.mono.into()),
    gauge("znode_count", |f| f.view.peer.database().node_count().into()),
    gauge("watch_count", |f| {
        let figures = f.view.peer.front().figures();
        (figures.data_watches.watches + figures.child_watches.watches).into()
    }),
    gauge("ephemerals_count", |f| f.view.peer.database().ephemerals_count().into()),
    gauge("approximate_data_size", |f| f.view.peer.database().data_size().into()),
    gauge("global_sessions", |f| f.view.peer.database().sessions().len().into()),
    gauge("local_sessions", |f| f.view.peer.front().local_sessions().len().into()),
    // Of this server alone, in ms: the longest that anybody had to wait for his turn, how much of it the loop worked, and
    // the longest of all single events.
    gauge("max_turn_time_ms", |f| ms(f.view.clients.stats.turns.longest).into()),
    gauge("max_turn_cpu_ms", |f| ms(f.view.clients.stats.turns.longest_cpu).into()),
    gauge("max_step_time_ms", |f| ms(f.view.clients.stats.turns.longest_step).into()),
    detailed("jvm_pause_time_ms", |f| summary(&f.measures.jvm_pause_time_ms)),
    gauge("disk_free_bytes", |f| f.view.disk.space().free().into()),
    gauge("disk_full", |f| u64::from(f.view.disk.space().is_low()).into()),
    gauge("open_file_descriptor_count", |_| base::metrics::process::open_files().into()),
    gauge("max_file_descriptor_count", |_| base::metrics::process::open_files_max().into()),
    gauge("last_client_response_size", |f| f.view.clients.stats.responses.last.into()),
    gauge("max_client_response_size", |f| f.view.clients.stats.responses.max.into()),
    gauge("min_client_response_size", |f| f.view.clients.stats.responses.min.into()),
    gauge("auth_failed_count", |f| f.measures.auth_failed_count.into()),
    gauge("connection_drop_probability", |f| {
        f.view.peer.front().figures().connection_drop_probability.into()
    }),
    gauge("non_mtls_remote_conn_count", |f| f.view.clients.plain_from(Origin::Elsewhere).into()),
    gauge("non_mtls_local_conn_count", |f| f.view.clients.plain_from(Origin::Here).into()),
    gauge("outstanding_tls_handshake", |f| f.view.clients.handshakes().0.into()),
    // The ensemble.
    gauge("quorum_size", |f| voters(f).into()),
    gauge("learners", |f| f.status.learners.into()),
    gauge("synced_followers", |f| f.status.synced_followers.into()),
    gauge("synced_non_voting_followers", |f| f.status.synced_non_voting.into()),
    gauge("synced_observers", |f| {
        let member = !matches!(f.status.mode, Mode::Standalone | Mode::Looking);
        f.status.synced_observers.or(member.then_some(0)).into()
    }),
    gauge("pending_syncs", |f| f.status.pending_syncs.into()),
    gauge("leader_uptime", |f| {
        let since = f.status.leading_since.or((f.status.mode == Mode::Leading).then_some(f.view.now.mono));
        since.map(|since| f.view.now.mono.saturating_sub(since)).into()
    }),
    gauge("last_proposal_size", |f| proposals(f, 0)),
    gauge("min_proposal_size", |f| proposals(f, 1)),
    gauge("max_proposal_size", |f| proposals(f, 2)),
    gauges("quota_count_limit_per_namespace", |f| quotas(f, |of| of.count_limit)),
    gauges("quota_bytes_limit_per_namespace", |f| quotas(f, |of| of.bytes_limit)),
    gauges("quota_count_usage_per_namespace", |f| quotas(f, |of| of.count_usage)),
    gauges("quota_bytes_usage_per_namespace", |f| quotas(f, |of| of.bytes_usage)),
    // Clients.
    counter("connection_request_count", |f| f.measures.connection_request_count.into()),
    counter("connection_revalidate_count", |f| f.measures.connection_revalidate_count.into()),
    counter("connection_rejected", |f| f.view.clients.rejected().into()),
    counter("connection_drop_count", |f| f.view.clients.stats.dropped.into()),
    counter("cnxn_closed_without_zk_server_running", |f| {
        f.measures.cnxn_closed_without_zk_server_running.into()
    }),
    counter("sessionless_connections_expired", |f| f.measures.sessionless_connections_expired.into()),
    counter("stale_sessions_expired", |f| f.measures.stale_sessions_expired.into()),
    counter("bytes_received_count", |f| f.view.clients.stats.bytes_received.into()),
    counter("response_bytes", |f| f.view.clients.stats.response_bytes.into()),
    counter("watch_bytes", |f| f.view.clients.stats.watch_bytes.into()),
    counter("unsuccessful_handshake", |f| f.view.clients.handshakes().1.into()),
    counter("tls_handshake_exceeded", |f| f.view.clients.handshakes_refused().into()),
    basic("connection_token_deficit", |f| summary(&f.measures.connection_token_deficit)),
    counter("large_requests_rejected", |f| f.view.clients.large_rejected().into()),
    counter("request_throttle_wait_count", |f| f.measures.request_throttle_wait_count.into()),
    detailed("request_throttle_queue_time_ms", |f| summary(&f.measures.request_throttle_queue_time_ms)),
    counter("throttled_ops", |f| f.measures.throttled_ops.into()),
    counter("stale_requests_dropped", |f| f.measures.stale_requests_dropped.into()),
    counter("ensemble_auth_success", |f| f.measures.ensemble_auth_success.into()),
    counter("ensemble_auth_fail", |f| f.measures.ensemble_auth_fail.into()),
    counter("ensemble_auth_skip", |f| f.measures.ensemble_auth_skip.into()),
    detailed("readlatency", |f| summary(&f.measures.readlatency)),
    detailed("updatelatency", |f| summary(&f.measures.updatelatency)),
    basic("node_created_watch_count", |f| summary(&f.measures.node_created_watch_count)),
    basic("node_deleted_watch_count", |f| summary(&f.measures.node_deleted_watch_count)),
    basic("node_changed_watch_count", |f| summary(&f.measures.node_changed_watch_count)),
    basic("node_children_watch_count", |f| summary(&f.measures.node_children_watch_count)),
    Row::new("read_per_namespace", Kind::SummarySet, |f| keyed(f.measures.read_per_namespace.iter())),
    Row::new("write_per_namespace", Kind::SummarySet, |f| keyed(f.measures.write_per_namespace.iter())),
    Row::new("quota_exceeded_error_per_namespace", Kind::CounterSet, |f| {
        let counts = f.measures.quota_exceeded_error_per_namespace.iter();
        Reading::Keyed(counts.map(|(name, count)| (name.to_owned(), int(*count as i64))).collect())
    }),
    // The order of transactions.
    counter("prep_processor_request_queued", |f| f.measures.prep_processor_request_queued.into()),
    counter("outstanding_changes_queued", |f| f.measures.outstanding_changes_queued.into()),
    counter("outstanding_changes_removed", |f| f.measures.outstanding_changes_removed.into()),
    counter("proposal_count", |f| f.measures.proposal_count.into()),
    counter("commit_count", |f| f.measures.commit_count.into()),
    counter("revalidate_count", |f| f.measures.revalidate_count.into()),
    counter("learner_proposal_received_count", |f| f.measures.learner_proposal_received_count.into()),
    counter("learner_commit_received_count", |f| f.measures.learner_commit_received_count.into()),
    detailed("propagation_latency", |f| summary(&f.measures.propagation_latency)),
    detailed("proposal_latency", |f| summary(&f.measures.proposal_latency)),
    detailed("proposal_ack_creation_latency", |f| summary(&f.measures.proposal_ack_creation_latency)),
    detailed("commit_propagation_latency", |f| summary(&f.measures.commit_propagation_latency)),
    detailed("quorum_ack_latency", |f| summary(&f.measures.quorum_ack_latency)),
    Row::new("ack_latency", Kind::DetailedSet, |f| keyed(f.measures.ack_latency.iter())),
    // Elections, and bringing learners up.
    counter("looking_count", |f| f.measures.looking_count.into()),
    basic("election_time", |f| summary(&f.measures.election_time)),
    basic("unavailable_time", |f| summary(&f.measures.unavailable_time)),
    basic("leader_unavailable_time", |f| summary(&f.measures.leader_unavailable_time)),
    basic("follower_sync_time", |f| summary(&f.measures.follower_sync_time)),
    basic("observer_sync_time", |f| summary(&f.measures.observer_sync_time)),
    counter("diff_count", |f| f.measures.diff_count.into()),
    counter("snap_count", |f| f.measures.snap_count.into()),
    basic("inflight_diff_count", |f| summary(&f.measures.inflight_diff_count)),
    basic("inflight_snap_count", |f| summary(&f.measures.inflight_snap_count)),
    Row::new("learner_handler_qp_size", Kind::SummarySet, |f| {
        keyed(f.view.clients.stats.learner_handler_qp_size.iter())
    }),
    // The disk.
    basic("fsynctime", |f| summary(&f.journal.fsynctime)),
    basic("sync_processor_batch_size", |f| summary(&f.journal.batch_size)),
    basic("sync_processor_queue_size", |f| summary(&f.journal.queue_size)),
    counter("sync_processor_request_queued", |f| f.journal.requests.into()),
    detailed("sync_processor_queue_time_ms", |f| summary(&f.journal.queue_time)),
    // Writing a batch is its sync: the same figure under its second name.
    detailed("sync_processor_queue_flush_time_ms", |f| summary(&f.journal.fsynctime)),
    detailed("sync_processor_queue_and_flush_time_ms", |f| summary(&f.journal.queue_and_flush_time)),
    basic("snapshottime", |f| summary(&f.view.clients.stats.snapshottime)),
    basic("dbinittime", |f| summary(&f.loads.all)),
    basic("startup_snap_load_time", |f| summary(&f.loads.snapshots)),
    basic("startup_txns_load_time", |f| summary(&f.loads.transactions)),
    basic("startup_txns_loaded", |f| summary(&f.loads.replayed)),
    counter("digest_mismatches_count", |f| f.view.peer.database().digest_mismatches().into()),
    // The admin server.
    counter("snapshot_error_count", |f| f.view.clients.stats.admin.snapshot_error_count.into()),
    counter("snapshot_rate_limited_count", |f| f.view.clients.stats.admin.snapshot_rate_limited_count.into()),
    counter("restore_error_count", |f| f.view.clients.stats.admin.restore_error_count.into()),
    counter("restore_rate_limited_count", |f| f.view.clients.stats.admin.restore_rate_limited_count.into()),
    counter("insecure_admin_count", |f| f.view.clients.stats.admin.insecure_admin_count.into()),
    basic("restore_time", |f| summary(&f.view.clients.stats.admin.restore_time)),
];

/// `None` for a server alone.
fn voters(figures: &Figures) -> Option<usize> {
    let mut members = figures.view.peer.members().peekable();
    members.peek()?;
    Some(members.filter(|(_, member)| member.role == Role::Participant).count())
}

/// Leader only: 0 the last, 1 the smallest, 2 the largest.
fn proposals(figures: &Figures, which: usize) -> Reading {
    let leads = figures.status.mode == Mode::Leading;
    figures.status.proposal_sizes.filter(|_| leads).map(|sizes| sizes[which]).into()
}

fn int(value: i64) -> Value {
    Value::Number(Number::Int(value))
}

fn quotas(figures: &Figures, pick: fn(&QuotaTotals) -> i64) -> Reading {
    let totals = figures.view.peer.database().quota_totals();
    Reading::Keyed(totals.into_iter().map(|(name, of)| (name, int(pick(&of)))).collect())
}

fn keyed<'a, K: ToString>(of: impl Iterator<Item = (K, &'a Summary)>) -> Reading {
    Reading::Keyed(of.map(|(key, of)| (key.to_string(), Value::Summary(summarized(of)))).collect())
}

fn ms(time: std::time::Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
