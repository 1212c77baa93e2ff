//! Keys of 3.5.1 that are checked and then change nothing here. What is given of them is told at the start; but for those
//! that change nothing in Kafka either, such as `ssl.*` with plain listeners.

use crate::connections::of_listener;

/// What only tunes machinery that is of another kind here.
const TUNING: &[&str] = &[
    "auto.include.jmx.reporter",
    "background.threads",
    "delete.records.purgatory.purge.interval.requests",
    "early.start.listeners",
    "fetch.purgatory.purge.interval.requests",
    "kafka.metrics.polling.interval.secs",
    "log.cleaner.io.buffer.size",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "offsets.load.buffer.size",
    "producer.id.expiration.check.interval.ms",
    "producer.purgatory.purge.interval.requests",
    "queued.max.requests",
    "replica.socket.receive.buffer.bytes",
    "server.max.startup.time.ms",
    "socket.connection.setup.timeout.max.ms",
    "socket.send.buffer.bytes",
    "transaction.state.log.load.buffer.size",
    "zookeeper.max.in.flight.requests",
];

/// What to say of a key that was given: a warning, or a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    Warning(String),
    Note(String),
}

/// The remarks on these keys.
pub fn remarks<'a>(given: impl Iterator<Item = &'a String>) -> Vec<Remark> {
    given.filter_map(|key| remark(key)).collect()
}

fn remark(key: &str) -> Option<Remark> {
    let own = key.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    if let Some((_, own)) = own
        && of_listener(key).is_none()
        && !is_of_security(own)
    {
        return Some(Remark::Warning(format!(
            "{key} has no effect on this broker: this setting of a single listener is not followed"
        )));
    }
    TUNING.contains(&key).then(|| Remark::Note(format!("{key} has no effect on this broker")))
}

/// Of a listener's own keys those that are read.
fn is_of_security(key: &str) -> bool {
    key.starts_with("ssl.") || key.contains("sasl.") || key.ends_with("connections.max.reauth.ms")
}

/// Whether a key is taken and nothing comes of it.
#[cfg(test)]
pub fn is_without_effect(key: &str) -> bool {
    remark(key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BROKER_KEYS, find};

    #[test]
    fn every_listed_key_is_one_of_kafkas() {
        for key in TUNING {
            assert!(find(BROKER_KEYS, key).is_some(), "{key}");
        }
    }

    #[test]
    fn what_a_listener_has_for_itself_gets_a_warning_and_tuning_a_note() {
        let given = ["num.io.threads", "listener.name.out.socket.send.buffer.bytes", "broker.id"];
        let remarks = remarks(given.map(String::from).iter());
        assert_eq!(remarks[0], Remark::Note("num.io.threads has no effect on this broker".into()));
        assert!(matches!(&remarks[1], Remark::Warning(text) if text.starts_with("listener.name.out.")));
        assert_eq!(remarks.len(), 2);
    }
}
