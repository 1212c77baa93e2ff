//! What there is to be measured of a broker, in Prometheus' form, under the names that the usual rules of jmx_exporter make of
//! Kafka's MBeans. Figures are plain fields of their owners (the loop, the controller, the tasks of connections); [`table`]
//! names those that are shown, and they are read when somebody asks.

pub mod endpoint;
mod table;
mod traffic;

use base::metrics::{Family, Reading, Sample, process, prometheus};
use broker_core::controller::Counts;
use broker_core::quota::{QuotaKind, Used};

use crate::broker::Broker;
use crate::shard::{Event, ShardFigures};
pub use traffic::{ListenerFigures, Traffic};

/// The key of `server.properties` that opens the port: `host:port`. Ours alone; Kafka warns of it and goes on.
pub const ADDRESS: &str = "menagerie.metrics.address";

/// Which of the two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Broker,
    Partitions,
}

/// Whatever a row may want to look at.
pub(crate) struct Figures<'a> {
    pub broker: &'a Broker,
    pub shard: ShardFigures,
    /// All 0 where this broker does not govern, as in Kafka.
    pub controller: Counts,
    pub governs: bool,
    /// What the controller was doing when this was asked; 0: nothing.
    pub controller_state: u8,
    pub quotas: Vec<(QuotaKind, Used)>,
}

type Row = Family<fn(&Figures<'_>) -> Reading>;

/// A page; `None`: the broker is stopping.
pub async fn page(broker: &Broker, part: Part) -> Option<String> {
    let partitions = part == Part::Partitions;
    let shard = broker.shard.ask(|reply| Event::Measure { partitions, reply }).await.ok()?;
    let controller_state = broker.controller_stats.state();
    let counts = match broker.controller.get() {
        Some(controller) if controller.is_active() => controller.counts().await,
        _ => None,
    };
    let figures = Figures {
        broker,
        shard,
        governs: counts.is_some(),
        controller: counts.unwrap_or_default(),
        controller_state,
        quotas: broker.quotas.used(),
    };
    let known = broker.metadata.snapshot();
    broker.traffic.retain(|topic| known.topics.contains_key(topic));
    let sample = |row: &Row| Sample { name: row.name, kind: row.kind, reading: (row.read)(&figures) };
    Some(match part {
        Part::Broker => prometheus::text(table::rows().map(sample).chain(process::samples())),
        Part::Partitions => prometheus::text(table::PARTITIONS.iter().map(sample)),
    })
}
