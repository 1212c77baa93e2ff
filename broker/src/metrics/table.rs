//! The tables. What Kafka has beside them stands in `docs/metrics.md`, with why it is not here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::metrics::{Histogram, Kind, Labels, Number, Reading, Value};

use super::traffic::{ByTopic, Spans};
use broker_core::quota::{QuotaKind, Used};

use crate::controller::stats::Work;
use crate::log::FLUSHES;

use super::{Figures, ListenerFigures, Row};
use crate::shard::{PartitionFigures, TopicTraffic};

type Read = fn(&Figures<'_>) -> Reading;

const fn gauge(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Gauge, read)
}

const fn counter(name: &'static str, read: Read) -> Row {
    Row::new(name, Kind::Counter, read)
}

type Pick = for<'a> fn(&'a Figures<'a>) -> &'a Histogram;

/// A histogram of µs, shown in ms.
macro_rules! timer {
    ($name:expr, $of:expr) => {
        [
            gauge($name, |f| {
                let of: Pick = $of;
                let spread = of(f).look();
                labelled(QUANTILES.map(|(shown, part)| {
                    let ms = spread.quantile(part) / 1e3;
                    (vec![("quantile", shown.to_owned())], Value::Number(Number::Float(ms)))
                }))
            }),
            counter(concat!($name, "_count"), |f| {
                let of: Pick = $of;
                of(f).look().count.into()
            }),
            counter(concat!($name, "_sum"), |f| {
                let of: Pick = $of;
                (of(f).look().sum as f64 / 1e3).into()
            }),
        ]
    };
}

macro_rules! work {
    ($name:literal, $work:expr) => {
        timer!(concat!("kafka_controller_controllerstats_", $name, "rateandtimems"), |f| {
            f.broker.controller_stats.of($work)
        })
    };
}

/// All of the broker.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(TIMERS.iter().flatten())
}

/// The broker and its topics.
pub(super) static TABLE: &[Row] = &[
    // Topics.
    counter("kafka_server_brokertopicmetrics_messagesin_total", |f| topics(f, |of| of.messages_in)),
    counter("kafka_server_brokertopicmetrics_bytesin_total", |f| topics(f, |of| of.bytes_in)),
    counter("kafka_server_brokertopicmetrics_bytesout_total", |f| counted(f, &f.broker.traffic.out)),
    counter("kafka_server_brokertopicmetrics_totalproducerequests_total", |f| {
        let refused = &f.broker.traffic.refused;
        by_topic(f, f.shard.all.produces + refused.all(), |topic, of| of.produces + refused.of(topic))
    }),
    counter("kafka_server_brokertopicmetrics_failedproducerequests_total", |f| {
        counted(f, &f.broker.traffic.failed)
    }),
    counter("kafka_server_brokertopicmetrics_totalfetchrequests_total", |f| topics(f, |of| of.fetches)),
    counter("kafka_server_brokertopicmetrics_failedfetchrequests_total", |f| {
        counted(f, &f.broker.traffic.failed_fetches)
    }),
    counter("kafka_server_brokertopicmetrics_bytesrejected_total", |f| {
        counted(f, &f.broker.traffic.rejected)
    }),
    counter("kafka_server_brokertopicmetrics_producemessageconversions_total", |f| {
        counted(f, &f.broker.traffic.produce_conversions)
    }),
    counter("kafka_server_brokertopicmetrics_fetchmessageconversions_total", |f| {
        counted(f, &f.broker.traffic.fetch_conversions)
    }),
    counter("kafka_server_brokertopicmetrics_invalidmessagecrcrecords_total", |f| {
        f.broker.traffic.damaged.load(Relaxed).into()
    }),
    counter("kafka_server_brokertopicmetrics_nokeycompactedtopicrecords_total", |f| {
        f.broker.traffic.keyless.load(Relaxed).into()
    }),
    counter("kafka_server_brokertopicmetrics_invalidoffsetorsequencerecords_total", |f| {
        f.broker.traffic.misnumbered.load(Relaxed).into()
    }),
    counter("kafka_server_brokertopicmetrics_reassignmentbytesin_total", |f| {
        f.shard.reassignment_bytes_in.into()
    }),
    counter("kafka_server_brokertopicmetrics_reassignmentbytesout_total", |f| {
        f.broker.traffic.reassignment_out.load(Relaxed).into()
    }),
    counter("kafka_server_brokertopicmetrics_replicationbytesin_total", |f| {
        f.shard.replication_bytes_in.into()
    }),
    counter("kafka_server_brokertopicmetrics_replicationbytesout_total", |f| {
        f.broker.traffic.replication_out.load(Relaxed).into()
    }),
    // Replicas.
    gauge("kafka_server_replicamanager_leadercount", |f| f.shard.leaders.into()),
    gauge("kafka_server_replicamanager_partitioncount", |f| f.shard.replicas.into()),
    gauge("kafka_server_replicamanager_offlinereplicacount", |f| f.shard.offline.into()),
    gauge("kafka_server_replicamanager_underreplicatedpartitions", |f| f.shard.under_replicated.into()),
    gauge("kafka_server_replicamanager_underminisrpartitioncount", |f| f.shard.under_min_isr.into()),
    gauge("kafka_server_replicamanager_atminisrpartitioncount", |f| f.shard.at_min_isr.into()),
    gauge("kafka_server_replicamanager_reassigningpartitions", |f| f.shard.reassigning.into()),
    gauge("kafka_server_replicamanager_produceridcount", |f| f.shard.producer_ids.into()),
    counter("kafka_server_replicamanager_isrshrinks_total", |f| f.shard.isr_shrinks.into()),
    counter("kafka_server_replicamanager_isrexpands_total", |f| f.shard.isr_expands.into()),
    counter("kafka_server_replicamanager_failedisrupdates_total", |f| f.shard.isr_failures.into()),
    gauge("kafka_server_replicafetchermanager_maxlag", |f| {
        labelled([(vec![("clientId", "Replica".into())], number(f.shard.lag_max))])
    }),
    // Log directories.
    gauge("kafka_log_logmanager_offlinelogdirectorycount", |f| {
        f.shard.log_dirs.iter().filter(|(_, live)| !live).count().into()
    }),
    gauge("kafka_log_logmanager_logdirectoryoffline", |f| {
        let dir = |(path, live): &(std::path::PathBuf, bool)| {
            (vec![("logDirectory", path.display().to_string())], Value::from(u64::from(!live)))
        };
        labelled(f.shard.log_dirs.iter().map(dir))
    }),
    gauge("kafka_log_logcleaner_max_buffer_utilization_percent", |f| f.shard.cleaner.buffer_used.into()),
    gauge("kafka_log_logcleaner_cleaner_recopy_percent", |f| f.shard.cleaner.recopied.into()),
    gauge("kafka_log_logcleaner_max_clean_time_secs", |f| f.shard.cleaner.seconds.into()),
    gauge("kafka_log_logcleaner_max_compaction_delay_secs", |f| f.shard.cleaner.overdue_seconds.into()),
    gauge("kafka_log_logcleanermanager_max_dirty_percent", |f| f.shard.cleaner.dirtiest.into()),
    gauge("kafka_log_logcleanermanager_time_since_last_run_ms", |f| f.shard.cleaner.since_asked_ms.into()),
    gauge("kafka_log_logcleanermanager_uncleanable_partitions_count", |f| {
        uncleanable(f, |(logs, _)| logs as u64)
    }),
    gauge("kafka_log_logcleanermanager_uncleanable_bytes", |f| uncleanable(f, |(_, bytes)| bytes)),
    // What waits.
    gauge("kafka_server_delayedoperationpurgatory_purgatorysize", |f| {
        let waits =
            [("Produce", f.shard.produces), ("Fetch", f.shard.fetches), ("DeleteRecords", f.shard.deletes)];
        labelled(
            waits.map(|(name, count)| (vec![("delayedOperation", name.into())], Value::from(count as u64))),
        )
    }),
    gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", |f| {
        f.broker.fetch_sessions().len().into()
    }),
    gauge("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", |f| {
        f.broker.fetch_sessions().partitions().into()
    }),
    counter("kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total", |f| {
        f.broker.fetch_sessions().evictions().into()
    }),
    // Requests.
    counter("kafka_network_requestmetrics_requests_total", |f| {
        let of_api = |api: &super::traffic::ApiFigures| {
            let name = api.name;
            let rows = api.versions().map(move |(version, count)| {
                (vec![("request", name.to_owned()), ("version", version.to_string())], Value::from(count))
            });
            rows.collect::<Vec<_>>()
        };
        labelled(f.broker.traffic.apis().flat_map(of_api))
    }),
    counter("kafka_network_requestmetrics_errors_total", |f| {
        let of_api = |api: &super::traffic::ApiFigures| {
            let name = api.name;
            let rows = api.errors().map(move |(error, count)| {
                (vec![("request", name.to_owned()), ("error", error.name().to_owned())], Value::from(count))
            });
            rows.collect::<Vec<_>>()
        };
        labelled(f.broker.traffic.apis().flat_map(of_api))
    }),
    gauge("kafka_network_requestmetrics_totaltimems", |f| quantiles(f, TIME)),
    counter("kafka_network_requestmetrics_totaltimems_count", |f| counts(f, TIME)),
    counter("kafka_network_requestmetrics_totaltimems_sum", |f| sums(f, TIME)),
    gauge("kafka_network_requestmetrics_throttletimems", |f| quantiles(f, THROTTLE)),
    counter("kafka_network_requestmetrics_throttletimems_count", |f| counts(f, THROTTLE)),
    counter("kafka_network_requestmetrics_throttletimems_sum", |f| sums(f, THROTTLE)),
    gauge("kafka_network_requestmetrics_requestbytes", |f| quantiles(f, BYTES)),
    counter("kafka_network_requestmetrics_requestbytes_count", |f| counts(f, BYTES)),
    counter("kafka_network_requestmetrics_requestbytes_sum", |f| sums(f, BYTES)),
    // Quotas.
    gauge("kafka_server_quota_byte_rate", |f| {
        quotas(f, |kind, used| matches!(kind, QuotaKind::Produce | QuotaKind::Fetch).then_some(used.rate))
    }),
    gauge("kafka_server_quota_request_time", |f| {
        quotas(f, |kind, used| (kind == QuotaKind::Request).then_some(used.rate))
    }),
    gauge("kafka_server_quota_mutation_rate", |f| {
        quotas(f, |kind, used| (kind == QuotaKind::ControllerMutation).then_some(used.rate))
    }),
    gauge("kafka_server_quota_tokens", |f| quotas(f, |_, used| used.tokens)),
    gauge("kafka_server_quota_throttle_time", |f| quotas(f, |_, used| Some(used.throttle_ms))),
    // Connections.
    gauge("kafka_server_socketservermetrics_connection_count", |f| listeners(f, |of| &of.open)),
    counter("kafka_server_socketservermetrics_connection_creation_total", |f| {
        listeners(f, |of| &of.accepted)
    }),
    counter("kafka_server_socketservermetrics_connection_close_total", |f| listeners(f, |of| &of.closed)),
    counter("kafka_server_socketservermetrics_request_total", |f| listeners(f, |of| &of.requests)),
    counter("kafka_server_socketservermetrics_response_total", |f| listeners(f, |of| &of.responses)),
    counter("kafka_server_socketservermetrics_incoming_byte_total", |f| listeners(f, |of| &of.bytes_in)),
    counter("kafka_server_socketservermetrics_outgoing_byte_total", |f| listeners(f, |of| &of.bytes_out)),
    counter("kafka_server_socketservermetrics_successful_authentication_total", |f| {
        listeners(f, |of| &of.authenticated)
    }),
    counter("kafka_server_socketservermetrics_failed_authentication_total", |f| {
        listeners(f, |of| &of.refused)
    }),
    // Groups that are coordinated here.
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroups", |f| f.shard.groups.all.into()),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", |f| {
        f.shard.groups.preparing.into()
    }),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance", |f| {
        f.shard.groups.completing.into()
    }),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupsstable", |f| f.shard.groups.stable.into()),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupsdead", |f| f.shard.groups.dead.into()),
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", |f| f.shard.groups.empty.into()),
    gauge("kafka_coordinator_group_groupmetadatamanager_numoffsets", |f| f.shard.groups.offsets.into()),
    // The cluster, as its controller sees it.
    gauge("kafka_controller_kafkacontroller_activecontrollercount", |f| u64::from(f.governs).into()),
    gauge("kafka_controller_kafkacontroller_activebrokercount", |f| f.controller.brokers.into()),
    gauge("kafka_controller_kafkacontroller_globaltopiccount", |f| f.controller.topics.into()),
    gauge("kafka_controller_kafkacontroller_globalpartitioncount", |f| f.controller.partitions.into()),
    gauge("kafka_controller_kafkacontroller_offlinepartitionscount", |f| {
        f.controller.offline_partitions.into()
    }),
    gauge("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", |f| {
        f.controller.preferred_imbalance.into()
    }),
    gauge("kafka_controller_kafkacontroller_topicstodeletecount", |f| f.controller.topics_to_delete.into()),
    gauge("kafka_controller_kafkacontroller_topicsineligibletodeletecount", |f| {
        f.controller.topics_ineligible.into()
    }),
    gauge("kafka_controller_kafkacontroller_replicastodeletecount", |f| {
        f.controller.replicas_to_delete.into()
    }),
    gauge("kafka_controller_kafkacontroller_replicasineligibletodeletecount", |f| {
        f.controller.replicas_ineligible.into()
    }),
    gauge("kafka_controller_kafkacontroller_fencedbrokercount", |_| 0u64.into()),
    gauge("kafka_controller_kafkacontroller_controllerstate", |f| u64::from(f.controller_state).into()),
    counter("kafka_controller_controllerstats_uncleanleaderelections_total", |f| {
        f.broker.controller_stats.unclean_elections().into()
    }),
    // The session with ZooKeeper.
    counter("kafka_server_sessionexpirelistener_zookeepersyncconnects_total", |f| {
        f.broker.session_figures.connects.load(Relaxed).into()
    }),
    counter("kafka_server_sessionexpirelistener_zookeeperdisconnects_total", |f| {
        f.broker.session_figures.disconnects.load(Relaxed).into()
    }),
    counter("kafka_server_sessionexpirelistener_zookeeperexpires_total", |f| {
        f.broker.session_figures.expires.load(Relaxed).into()
    }),
    counter("kafka_server_sessionexpirelistener_zookeeperauthfailures_total", |f| {
        f.broker.session_figures.refused_logins.load(Relaxed).into()
    }),
    gauge("kafka_server_kafkaserver_linux_disk_read_bytes", |_| disk("read_bytes:")),
    gauge("kafka_server_kafkaserver_linux_disk_write_bytes", |_| disk("write_bytes:")),
    // 3: it serves; 6: it hands its partitions over.
    gauge("kafka_server_kafkaserver_brokerstate", |f| if f.shard.retired { 6u64 } else { 3 }.into()),
];

/// Times of the controller's work and of flushes: percentiles, a count and a sum for each.
pub(super) static TIMERS: &[[Row; 3]] = &[
    timer!("kafka_log_logflushstats_logflushrateandtimems", |_| FLUSHES.times()),
    work!("controllerchange", Work::ControllerChange),
    work!("leaderelection", Work::BrokerChange),
    work!("topicchange", Work::TopicChange),
    work!("topicdeletion", Work::TopicDeletion),
    work!("partitionreassignment", Work::PartitionReassignment),
    work!("autoleaderbalance", Work::AutoLeaderBalance),
    work!("manualleaderbalance", Work::ManualLeaderBalance),
    work!("controlledshutdown", Work::ControlledShutdown),
    work!("isrchange", Work::IsrChange),
    work!("leaderandisrresponsereceived", Work::LeaderAndIsrResponseReceived),
    work!("logdirchange", Work::LogDirChange),
    work!("uncleanleaderelectionenable", Work::UncleanLeaderElectionEnable),
    work!("topicuncleanleaderelectionenable", Work::TopicUncleanLeaderElectionEnable),
    work!("listpartitionreassignment", Work::ListPartitionReassignment),
];

/// Each partition.
pub(super) static PARTITIONS: &[Row] = &[
    gauge("kafka_log_log_size", |f| partitions(f, |of| of.size as i64)),
    gauge("kafka_log_log_numlogsegments", |f| partitions(f, |of| of.segments as i64)),
    gauge("kafka_log_log_logstartoffset", |f| partitions(f, |of| of.log_start)),
    gauge("kafka_log_log_logendoffset", |f| partitions(f, |of| of.log_end)),
    gauge("kafka_cluster_partition_underreplicated", |f| partitions(f, |of| i64::from(of.under_replicated))),
    gauge("kafka_cluster_partition_underminisr", |f| partitions(f, |of| i64::from(of.under_min_isr))),
    gauge("kafka_cluster_partition_atminisr", |f| partitions(f, |of| i64::from(of.at_min_isr))),
    gauge("kafka_cluster_partition_insyncreplicascount", |f| partitions(f, |of| of.in_sync as i64)),
    gauge("kafka_cluster_partition_replicascount", |f| partitions(f, |of| of.assigned as i64)),
    gauge("kafka_cluster_partition_laststableoffsetlag", |f| partitions(f, |of| of.stable_lag)),
    gauge("kafka_server_fetcherlagmetrics_consumerlag", |f| {
        let followed = f.shard.partitions.iter().filter_map(|of| {
            let (topic, partition) = (of.topic.to_string(), of.partition.to_string());
            Some((vec![("topic", topic), ("partition", partition)], number(of.lag?)))
        });
        labelled(followed)
    }),
];

fn number(value: i64) -> Value {
    Value::Number(Number::Int(value))
}

fn labelled(rows: impl IntoIterator<Item = (Labels, Value)>) -> Reading {
    Reading::Labelled(rows.into_iter().collect())
}

/// The broker's figure, and that of each topic that it has replicas of.
fn by_topic(f: &Figures<'_>, all: u64, of: impl Fn(&str, &TopicTraffic) -> u64) -> Reading {
    let each = f
        .shard
        .topics
        .iter()
        .map(|(topic, traffic)| (vec![("topic", topic.to_string())], Value::from(of(topic, traffic))));
    labelled(std::iter::once((vec![], Value::from(all))).chain(each))
}

fn counted(f: &Figures<'_>, counts: &ByTopic) -> Reading {
    by_topic(f, counts.all(), |topic, _| counts.of(topic))
}

fn topics(f: &Figures<'_>, of: fn(&TopicTraffic) -> u64) -> Reading {
    by_topic(f, of(&f.shard.all), |_, traffic| of(traffic))
}

fn listeners(f: &Figures<'_>, of: fn(&ListenerFigures) -> &AtomicU64) -> Reading {
    let all = f.broker.gate.listeners();
    labelled(all.iter().map(|(name, figures)| {
        (vec![("listener", name.to_string())], Value::from(of(figures).load(Relaxed)))
    }))
}

fn uncleanable(f: &Figures<'_>, of: fn((usize, u64)) -> u64) -> Reading {
    labelled(
        f.shard.uncleanable.iter().map(|(dir, figures)| {
            (vec![("logDirectory", dir.display().to_string())], Value::from(of(*figures)))
        }),
    )
}

/// A figure of each quota that is in use, by the resource and whoever shares it.
fn quotas(f: &Figures<'_>, of: fn(QuotaKind, &Used) -> Option<f64>) -> Reading {
    let all = f.quotas.iter().filter_map(|(kind, used)| {
        let resource = match kind {
            QuotaKind::Produce => "Produce",
            QuotaKind::Fetch => "Fetch",
            QuotaKind::Request => "Request",
            QuotaKind::ControllerMutation => "ControllerMutation",
        };
        let who = [("user", &used.user), ("clientId", &used.client_id)];
        let named = who.into_iter().filter(|(_, name)| !name.is_empty());
        let labels = std::iter::once(("resource", resource.to_owned()))
            .chain(named.map(|(label, name)| (label, name.clone())));
        Some((labels.collect(), Value::Number(Number::Float(of(*kind, used)?))))
    });
    labelled(all)
}

/// Bytes that this process had the disks read or write, as Linux counts them.
fn disk(field: &str) -> Reading {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok());
    bytes.into()
}

fn partitions(f: &Figures<'_>, of: fn(&PartitionFigures) -> i64) -> Reading {
    labelled(f.shard.partitions.iter().map(|one| {
        (vec![("topic", one.topic.to_string()), ("partition", one.partition.to_string())], number(of(one)))
    }))
}

/// A histogram of [`Spans`], and what to divide its values by.
type Span = (fn(&Spans) -> &Histogram, f64);
/// In ms.
const TIME: Span = (|of| &of.time, 1e3);
const THROTTLE: Span = (|of| &of.throttle, 1.0);
const BYTES: Span = (|of| &of.bytes, 1.0);

/// Of every API, of Fetch thrice.
fn spans<'a>(f: &'a Figures<'_>) -> Vec<(&'static str, &'a Spans)> {
    let traffic = &f.broker.traffic;
    let mut all: Vec<(&'static str, &Spans)> = traffic.apis().map(|api| (api.name, &api.spans)).collect();
    if all.iter().any(|(name, _)| *name == "Fetch") {
        all.extend([("FetchConsumer", &traffic.consumers), ("FetchFollower", &traffic.followers)]);
    }
    all
}

fn counts(f: &Figures<'_>, (of, _): Span) -> Reading {
    labelled(spans(f).into_iter().map(|(name, all)| (request(name), Value::from(of(all).look().count))))
}

fn sums(f: &Figures<'_>, (of, unit): Span) -> Reading {
    let sum = |all: &Spans| Value::Number(Number::Float(of(all).look().sum as f64 / unit));
    labelled(spans(f).into_iter().map(|(name, all)| (request(name), sum(all))))
}

fn request(name: &str) -> Labels {
    vec![("request", name.to_owned())]
}

/// As jmx_exporter names the percentiles of a JMX histogram.
const QUANTILES: [(&str, f64); 6] =
    [("0.50", 0.5), ("0.75", 0.75), ("0.95", 0.95), ("0.98", 0.98), ("0.99", 0.99), ("0.999", 0.999)];

fn quantiles(f: &Figures<'_>, (of, unit): Span) -> Reading {
    let each = spans(f).into_iter().flat_map(|(name, all)| {
        let spread = of(all).look();
        QUANTILES.map(|(shown, part)| {
            let labels = vec![("request", name.to_owned()), ("quantile", shown.to_owned())];
            (labels, Value::Number(Number::Float(spread.quantile(part) / unit)))
        })
    });
    labelled(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The rows of `docs/metrics.md` name every family, and no other.
    #[test]
    fn the_documents_name_every_family() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("| `kafka_"));
        let told: Vec<&str> = lines.filter_map(|row| row.split('`').nth(1)).collect();
        let told_once: BTreeSet<&str> = told.iter().copied().collect();
        assert_eq!(told.len(), told_once.len());
        let shown: BTreeSet<&str> = rows().chain(PARTITIONS).map(|row| row.name).collect();
        assert_eq!(told_once, shown);
        assert_eq!(shown.len(), rows().chain(PARTITIONS).count(), "a family has one row");
    }

    #[test]
    fn counters_end_as_counters_do() {
        // As the rules name them.
        let exceptions = ["connection_count", "uncleanable_partitions_count"];
        for row in rows().chain(PARTITIONS) {
            let counts = ["_total", "_count", "_sum"].iter().any(|end| row.name.ends_with(end));
            let is_gauge = row.kind == Kind::Gauge;
            let excepted = exceptions.iter().any(|end| row.name.ends_with(end));
            assert!(counts != is_gauge || excepted, "{}", row.name);
        }
    }
}
