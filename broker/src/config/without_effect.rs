//! Keys of 3.5.1 that are checked and then change nothing here. What is given of them is told at the start; but for those
//! that change nothing in Kafka either, such as `ssl.*` with plain listeners.

use super::{TOPIC_KEYS, Update, find, synonyms};

/// Whoever sets one of these counts on what is not there: (key, what is missing).
const PROMISES: &[(&str, &str)] = &[
    ("max.connection.creation.rate", "new connections are not slowed down"),
    ("queued.max.request.bytes", "memory of waiting requests is bounded per request only"),
    ("password.encoder.secret", PASSWORDS),
    ("password.encoder.old.secret", PASSWORDS),
    ("offsets.commit.required.acks", "commits wait for all in-sync replicas"),
    ("offsets.topic.compression.codec", "offsets are written without compression"),
    ("unstable.api.versions.enable", "only stable versions are answered"),
];

const PASSWORDS: &str = "settings with passwords cannot be changed while the broker runs";

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
    "zookeeper.clientCnxnSocket",
    "zookeeper.max.in.flight.requests",
];

/// Families of such keys.
const TUNING_PREFIXES: &[&str] = &["password.encoder."];

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
    if let Some((_, missing)) = PROMISES.iter().find(|(known, _)| *known == key) {
        return Some(Remark::Warning(format!("{key} has no effect on this broker: {missing}")));
    }
    if key.starts_with("listener.name.") {
        return Some(Remark::Warning(format!(
            "{key} has no effect on this broker: settings of single listeners are not supported yet"
        )));
    }
    let tunes = TUNING.contains(&key) || TUNING_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    tunes.then(|| Remark::Note(format!("{key} has no effect on this broker")))
}

/// Whether a broker key that Kafka changes while it runs is read at the start only. Defaults of topics are followed.
pub fn is_fixed_at_start(key: &str) -> bool {
    let is_default_of_topics =
        TOPIC_KEYS.iter().any(|topic| synonyms(topic).iter().any(|(synonym, _)| *synonym == key));
    find(super::BROKER_KEYS, key).is_some_and(|row| row.update != Update::ReadOnly) && !is_default_of_topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BROKER_KEYS;

    #[test]
    fn every_listed_key_is_one_of_kafkas() {
        for key in PROMISES.iter().map(|(key, _)| *key).chain(TUNING.iter().copied()) {
            assert!(find(BROKER_KEYS, key).is_some(), "{key}");
        }
    }

    #[test]
    fn what_was_promised_gets_a_warning_and_tuning_a_note() {
        let given = [
            "num.io.threads",
            "listener.name.out.max.connections",
            "broker.id",
            "offsets.commit.required.acks",
        ];
        let remarks = remarks(given.map(String::from).iter());
        assert_eq!(remarks[0], Remark::Note("num.io.threads has no effect on this broker".into()));
        assert!(matches!(&remarks[1], Remark::Warning(text) if text.starts_with("listener.name.out.")));
        assert!(
            matches!(&remarks[2], Remark::Warning(text) if text.ends_with("wait for all in-sync replicas"))
        );
        assert_eq!(remarks.len(), 3);
    }

    #[test]
    fn defaults_of_topics_change_at_run_time_and_threads_do_not() {
        assert!(is_fixed_at_start("log.cleaner.threads") && is_fixed_at_start("max.connections"));
        assert!(!is_fixed_at_start("log.retention.ms") && !is_fixed_at_start("message.max.bytes"));
        assert!(!is_fixed_at_start("log.dirs") && !is_fixed_at_start("not.a.key"));
    }
}
