//! Every option of Kafka 3.5.1's tools is in ours, by the help tables of the real ones; what ours have beyond them is
//! listed.

use super::argparse::{Arg, Parser};
use super::*;
use std::collections::BTreeSet;

/// Tool, its table, Java's options, and ours beyond these.
const JOPT: [(&str, ToolOptions, &[&str], &[&str]); 16] = [
    ("kafka-acls", acls_options::TABLE, &["add", "allow-host", "allow-principal", "authorizer", "authorizer-properties", "bootstrap-server", "cluster", "command-config", "consumer", "delegation-token", "deny-host", "deny-principal", "force", "group", "idempotent", "list", "operation", "principal", "producer", "remove", "resource-pattern-type", "topic", "transactional-id", "user-principal", "zk-tls-config-file"], &["json"]),
    ("kafka-broker-api-versions", broker_api_versions::TABLE, &["bootstrap-server", "command-config"], &["json"]),
    ("kafka-configs", config_options::TABLE, &["add-config", "add-config-file", "all", "alter", "bootstrap-server", "broker", "broker-defaults", "broker-logger", "client", "client-defaults", "command-config", "delete-config", "describe", "entity-default", "entity-name", "entity-type", "force", "ip", "ip-defaults", "topic", "user", "user-defaults", "zk-tls-config-file", "zookeeper"], &["json"]),
    ("kafka-console-consumer", console_consumer::TABLE, &["bootstrap-server", "consumer-property", "consumer.config", "enable-systest-events", "formatter", "formatter-config", "from-beginning", "group", "include", "isolation-level", "key-deserializer", "max-messages", "offset", "partition", "property", "skip-message-on-error", "timeout-ms", "topic", "value-deserializer", "whitelist"], &[]),
    ("kafka-console-producer", console_producer::TABLE, &["batch-size", "bootstrap-server", "broker-list", "compression-codec", "line-reader", "max-block-ms", "max-memory-bytes", "max-partition-memory-bytes", "message-send-max-retries", "metadata-expiry-ms", "producer-property", "producer.config", "property", "reader-config", "request-required-acks", "request-timeout-ms", "retry-backoff-ms", "socket-buffer-size", "sync", "timeout", "topic"], &[]),
    ("kafka-consumer-groups", group_options::TABLE, &["all-groups", "all-topics", "bootstrap-server", "by-duration", "command-config", "delete", "delete-offsets", "describe", "dry-run", "execute", "export", "from-file", "group", "list", "members", "offsets", "reset-offsets", "shift-by", "state", "timeout", "to-current", "to-datetime", "to-earliest", "to-latest", "to-offset", "topic", "verbose"], &["json"]),
    ("kafka-consumer-perf-test", consumer_perf::TABLE, &["bootstrap-server", "broker-list", "consumer.config", "date-format", "fetch-size", "from-latest", "group", "hide-header", "messages", "num-fetch-threads", "print-metrics", "reporting-interval", "show-detailed-stats", "socket-buffer-size", "threads", "timeout", "topic"], &[]),
    ("kafka-delete-records", delete_records::TABLE, &["bootstrap-server", "command-config", "offset-json-file"], &[]),
    ("kafka-dump-log", dump_log::TABLE, &["cluster-metadata-decoder", "deep-iteration", "files", "index-sanity-check", "key-decoder-class", "max-bytes", "max-message-size", "offsets-decoder", "print-data-log", "skip-record-metadata", "transaction-log-decoder", "value-decoder-class", "verify-index-only"], &[]),
    ("kafka-get-offsets", get_offsets::TABLE, &["bootstrap-server", "broker-list", "command-config", "exclude-internal-topics", "partitions", "time", "topic", "topic-partitions"], &["json"]),
    ("kafka-leader-election", leader_election::TABLE, &["admin.config", "all-topic-partitions", "bootstrap-server", "election-type", "partition", "path-to-json-file", "topic"], &["json"]),
    ("kafka-log-dirs", log_dirs::TABLE, &["bootstrap-server", "broker-list", "command-config", "describe", "topic-list"], &["json"]),
    ("kafka-reassign-partitions", reassign_partitions::TABLE, &["additional", "bootstrap-server", "broker-list", "cancel", "command-config", "disable-rack-aware", "execute", "generate", "list", "preserve-throttles", "reassignment-json-file", "replica-alter-log-dirs-throttle", "throttle", "timeout", "topics-to-move-json-file", "verify"], &["balance", "json"]),
    ("kafka-replica-verification", replica_verification::TABLE, &["broker-list", "fetch-size", "max-wait-ms", "report-interval-ms", "time", "topic-white-list", "topics-include"], &[]),
    ("kafka-streams-application-reset", streams_reset::TABLE, &["application-id", "bootstrap-server", "bootstrap-servers", "by-duration", "config-file", "dry-run", "force", "from-file", "input-topics", "intermediate-topics", "internal-topics", "shift-by", "to-datetime", "to-earliest", "to-latest", "to-offset"], &[]),
    ("kafka-topics", topics_options::TABLE, &["alter", "at-min-isr-partitions", "bootstrap-server", "command-config", "config", "create", "delete", "delete-config", "describe", "exclude-internal", "if-exists", "if-not-exists", "list", "partitions", "replica-assignment", "replication-factor", "topic", "topic-id", "topics-with-overrides", "unavailable-partitions", "under-min-isr-partitions", "under-replicated-partitions"], &["json", "zookeeper"]),
];

/// Tool, its parser, Java's options (of all its commands), and ours beyond these.
const ARGPARSE: [(&str, Parser, &[&str], &[&str]); 6] = [
    ("kafka-verifiable-producer", verifiable_producer::PARSER, &["--acks", "--bootstrap-server", "--broker-list", "--max-messages", "--message-create-time", "--producer.config", "--repeating-keys", "--throughput", "--topic", "--value-prefix"], &[]),
    ("kafka-verifiable-consumer", verifiable_consumer::PARSER, &["--assignment-strategy", "--bootstrap-server", "--broker-list", "--consumer.config", "--enable-autocommit", "--group-id", "--group-instance-id", "--max-messages", "--reset-policy", "--session-timeout", "--topic", "--verbose"], &[]),
    ("kafka-cluster", cluster::PARSER, &["--bootstrap-server", "--config", "--id"], &["--json"]),
    ("kafka-features", features::PARSER, &["--bootstrap-server", "--command-config", "--dry-run", "--feature", "--metadata", "--unsafe"], &["--json"]),
    ("kafka-metadata-quorum", metadata_quorum::PARSER, &["--bootstrap-server", "--command-config", "--replication", "--status"], &[]),
    ("kafka-storage", storage::PARSER, &["--add-scram", "--cluster-id", "--config", "--ignore-formatted", "--release-version"], &[]),
];

#[test]
fn every_option_of_the_real_tools_is_known_and_others_are_listed() {
    for (tool, table, options, more) in JOPT {
        let ours: BTreeSet<&str> = table.0.iter().map(|option| option.name).collect();
        let expected: BTreeSet<&str> = options.iter().chain(more).copied().collect();
        assert_eq!(ours, expected, "{tool}");
    }
    for (tool, parser, options, more) in ARGPARSE {
        let of_commands = parser.commands.iter().flat_map(|command| command.args);
        let all = parser.args.iter().chain(parser.one_of).chain(of_commands);
        let ours: BTreeSet<&str> = all.map(|arg: &Arg| arg.names[0]).collect();
        let expected: BTreeSet<&str> = options.iter().chain(more).copied().collect();
        assert_eq!(ours, expected, "{tool}");
    }
}

/// The commands of Kafka's `bin` that other tools here stand for, or nothing yet.
const ELSEWHERE: [&str; 1] = ["kafka-delegation-tokens"];

#[test]
fn every_command_of_kafkas_bin_is_there() {
    for command in [
        "connect-distributed", "connect-mirror-maker", "connect-standalone", "kafka-acls",
        "kafka-broker-api-versions", "kafka-cluster", "kafka-configs", "kafka-console-consumer",
        "kafka-console-producer", "kafka-consumer-groups", "kafka-consumer-perf-test", "kafka-delegation-tokens",
        "kafka-delete-records", "kafka-dump-log", "kafka-e2e-latency", "kafka-features", "kafka-get-offsets",
        "kafka-jmx", "kafka-leader-election", "kafka-log-dirs", "kafka-metadata-quorum", "kafka-metadata-shell",
        "kafka-mirror-maker", "kafka-producer-perf-test", "kafka-reassign-partitions",
        "kafka-replica-verification", "kafka-run-class", "kafka-server-start", "kafka-server-stop",
        "kafka-storage", "kafka-streams-application-reset", "kafka-topics", "kafka-transactions",
        "kafka-verifiable-consumer", "kafka-verifiable-producer", "trogdor", "zookeeper-security-migration",
        "zookeeper-server-start", "zookeeper-server-stop", "zookeeper-shell",
    ] {
        assert!(crate::find(command).is_some() || ELSEWHERE.contains(&command), "{command}");
    }
}
