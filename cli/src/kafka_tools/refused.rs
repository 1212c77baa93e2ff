//! Commands of Kafka's `bin` that have nothing to work on here: each says so, and what to take in its place.

use crate::Call;
use std::process::ExitCode;

const CONNECT: &str = "Kafka Connect is not here: run Java's, with these brokers as its bootstrap.servers";

/// The commands, and the way out.
pub const REFUSED: [(&str, &str); 7] = [
    ("connect-distributed", CONNECT),
    ("connect-standalone", CONNECT),
    ("connect-mirror-maker", CONNECT),
    (
        "kafka-mirror-maker",
        "this tool is not here: run Java's, with these brokers in its consumer.config or producer.config",
    ),
    (
        "kafka-jmx",
        "there is no JMX here: brokers show the same figures to Prometheus, over HTTP (menagerie.metrics.address, docs/metrics.md)",
    ),
    (
        "kafka-metadata-shell",
        "there are no KRaft snapshots here: brokers keep their metadata in ZooKeeper; look at it with zookeeper-shell",
    ),
    ("trogdor", "this test framework is not here; bench and the perf-test commands make load"),
];

pub fn main(call: &Call) -> ExitCode {
    let name = crate::bare(&call.name);
    let why = REFUSED.iter().find(|(command, _)| *command == name).map_or("not here", |(_, why)| why);
    eprintln!("{name}: {why}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_command_is_found_and_says_why() {
        for (command, why) in REFUSED {
            assert!(crate::find(command).is_some(), "{command}");
            assert!(!why.is_empty());
        }
    }
}
