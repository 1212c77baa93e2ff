//! What there is to be measured, under ZooKeeper's names: `mntr`, the admin server's `monitor` and Prometheus'
//! `/metrics` show the same table.

pub(crate) mod endpoint;
#[cfg(test)]
mod every_metric;
mod table;

use crate::config::Provider;
use crate::disk::LoadStats;
use crate::server::journal::JournalStats;
use crate::words::View;
use base::metrics::{Family, Number, Reading, Sample, Summary, entries, process, prometheus};
use zk_core::measure::{self, Measures};
use zk_core::peer::Status;

/// Whatever a row may want to look at.
pub(crate) struct Figures<'a> {
    pub view: &'a View<'a>,
    pub status: Status,
    pub measures: &'a Measures,
    pub journal: JournalStats,
    pub loads: LoadStats,
}

type Read = fn(&Figures<'_>) -> Reading;
type Row = Family<Read>;

/// Readings of the whole table.
fn samples(view: &View) -> Vec<Sample> {
    let figures = Figures {
        view,
        status: view.peer.status(),
        measures: view.peer.measures(),
        journal: view.journal.get(),
        loads: view.disk.loads(),
    };
    let rows = table::TABLE.iter();
    let own = rows.map(|row| Sample { name: row.name, kind: row.kind, reading: (row.read)(&figures) });
    // With the Prometheus provider, unless `metricsProvider.exportJvmInfo` is off.
    let shows_process = matches!(&view.config.metrics, Provider::Prometheus(endpoint) if endpoint.process);
    own.chain(process::samples().filter(|_| shows_process)).collect()
}

/// Every figure by its name, in the form that the chosen provider has.
pub(crate) fn named(view: &View) -> Vec<(String, Number)> {
    match view.config.metrics {
        Provider::Default => entries(samples(view)),
        Provider::Prometheus(_) => prometheus::entries(samples(view)),
        Provider::Null => vec![],
    }
}

/// The page that Prometheus reads.
pub(crate) fn page(view: &View) -> String {
    prometheus::text(samples(view))
}

/// Counters and summaries begin anew (`srst`); as in Java not with Prometheus, which wants counters that only grow.
pub(crate) fn reset(view: &mut View) {
    if matches!(view.config.metrics, Provider::Prometheus(_)) {
        return view.clients.stats.reset_own();
    }
    view.clients.stats = Default::default();
    view.peer.reset_measures();
    view.journal.reset();
    view.disk.reset_loads();
}

fn summary(of: &measure::Summary) -> Reading {
    summarized(of).into()
}

fn summarized(of: &measure::Summary) -> Summary {
    Summary {
        count: of.count,
        sum: of.sum,
        min: of.min,
        max: of.max,
        p50: of.quantile(0.5),
        p90: of.quantile(0.9),
        p95: of.quantile(0.95),
        p99: of.quantile(0.99),
        p999: of.quantile(0.999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::metrics::Kind;

    #[test]
    fn every_family_has_one_row() {
        let mut names: Vec<&str> = table::TABLE.iter().map(|row| row.name).collect();
        names.extend(process::TABLE.iter().map(|row| row.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// What the usual templates of Zabbix, Datadog and Prometheus' alerts read.
    #[test]
    fn what_monitoring_templates_read_is_there() {
        let kind = |name: &str| table::TABLE.iter().find(|row| row.name == name).map(|row| row.kind);
        for name in [
            "avg_latency",
            "min_latency",
            "max_latency",
            "packets_received",
            "packets_sent",
            "num_alive_connections",
            "outstanding_requests",
            "znode_count",
            "watch_count",
            "ephemerals_count",
            "approximate_data_size",
            "open_file_descriptor_count",
            "max_file_descriptor_count",
            "learners",
            "synced_followers",
            "synced_non_voting_followers",
            "synced_observers",
            "pending_syncs",
            "leader_uptime",
            "last_proposal_size",
            "max_proposal_size",
            "min_proposal_size",
            "quorum_size",
            "uptime",
            "global_sessions",
            "quota_count_usage_per_namespace",
        ] {
            assert!(matches!(kind(name), Some(Kind::Gauge | Kind::GaugeSet)), "{name}");
        }
        for name in [
            "looking_count",
            "diff_count",
            "snap_count",
            "commit_count",
            "proposal_count",
            "connection_request_count",
            "connection_rejected",
            "connection_drop_count",
            "bytes_received_count",
            "response_bytes",
            "digest_mismatches_count",
            "stale_sessions_expired",
            "sessionless_connections_expired",
        ] {
            assert_eq!(kind(name), Some(Kind::Counter), "{name}");
        }
        for name in ["fsynctime", "snapshottime", "election_time", "sync_processor_batch_size"] {
            assert_eq!(kind(name), Some(Kind::Summary), "{name}");
        }
        for name in ["readlatency", "updatelatency", "propagation_latency", "quorum_ack_latency"] {
            assert_eq!(kind(name), Some(Kind::Detailed), "{name}");
        }
    }
}
