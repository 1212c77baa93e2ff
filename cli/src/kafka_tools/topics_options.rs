//! The options of kafka-topics, and which go together.

use super::{Stop, json, require, rule_out};
use base::{Given, ToolOption, ToolOptions};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag("alter", "Adds partitions to topics. For configurations there is kafka-configs."),
    ToolOption::flag(
        "at-min-isr-partitions",
        "With --describe: only partitions with exactly min.insync.replicas replicas in sync.",
    ),
    ToolOption::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED (or --zookeeper): the brokers to ask, host:port,...",
    ),
    ToolOption::text(
        "command-config",
        "command config property file",
        "File with settings for the admin client.",
    ),
    ToolOption::text("config", "name=value", "With --create: a configuration of the topic; may be repeated."),
    ToolOption::flag("create", "Creates a topic."),
    ToolOption::flag("delete", "Deletes topics."),
    ToolOption::text("delete-config", "name", "No longer here: see kafka-configs."),
    ToolOption::flag("describe", "Shows topics and their partitions."),
    ToolOption::flag("exclude-internal", "With --list or --describe: leaves internal topics out."),
    ToolOption::flag(
        "if-exists",
        "With --alter, --delete or --describe: does nothing if there is no such topic.",
    ),
    ToolOption::flag("if-not-exists", "With --create: does nothing if there is such a topic."),
    json::OPTION.if_any_of(&["list", "describe"]),
    ToolOption::flag("list", "Shows the names of all topics."),
    ToolOption::int(
        "partitions",
        "# of partitions",
        "With --create or --alter: how many partitions the topic gets in all. Keys of old records stay in the partition where they are. The broker's num.partitions if not given.",
    ),
    ToolOption::text(
        "replica-assignment",
        "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...",
        "The brokers of each partition, the preferred leader first.",
    ),
    ToolOption::int(
        "replication-factor",
        "replication factor",
        "With --create: replicas of each partition. The broker's default.replication.factor if not given.",
    ),
    ToolOption::text(
        "topic",
        "topic",
        "The topic; for all but --create also a regular expression in quotes.",
    ),
    ToolOption::text("topic-id", "topic-id", "With --describe: the topic with this id."),
    ToolOption::flag(
        "topics-with-overrides",
        "With --describe: only topics that have a configuration of their own.",
    ),
    ToolOption::flag("unavailable-partitions", "With --describe: only partitions without a live leader."),
    ToolOption::flag(
        "under-min-isr-partitions",
        "With --describe: only partitions with fewer than min.insync.replicas replicas in sync.",
    ),
    ToolOption::flag(
        "under-replicated-partitions",
        "With --describe: only partitions with replicas that are not in sync.",
    ),
    ToolOption::text(
        "zookeeper",
        "hosts",
        "As up to Kafka 2.8: works on the znodes, host:port,.../chroot. Prefer --bootstrap-server.",
    ),
]);

const ACTIONS: [&str; 5] = ["alter", "create", "describe", "list", "delete"];
const REPORTS: [&str; 4] = [
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

/// The checks before anything is asked of a broker, in the real tool's order.
pub fn check(given: &Given) -> Result<(), Stop> {
    if ACTIONS.iter().filter(|action| given.has(action)).count() != 1 {
        let why =
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete";
        return Err(Stop::Usage(why.to_owned()));
    }
    if !given.has("bootstrap-server") && !given.has("zookeeper") {
        let why = "--bootstrap-server must be specified".to_owned();
        return Err(Stop::Uncaught("java.lang.IllegalArgumentException", why));
    }
    if given.has("describe") && given.has("if-exists") {
        if !given.has("topic") && !given.has("topic-id") {
            return Err(Stop::Usage("--topic or --topic-id is required to describe a topic".to_owned()));
        }
        if given.has("topic") && given.has("topic-id") {
            println!(
                "Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID"
            );
        }
    }
    if !given.has("list") && !given.has("describe") {
        require(given, &["topic"])?;
    }
    if given.has("alter") {
        if given.has("bootstrap-server") && given.has("config") {
            return Err(Stop::Usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (the \
                 kafka-configs CLI supports altering topic configs with a --bootstrap-server option)"
                    .to_owned(),
            ));
        }
        require(given, &["partitions"])?;
    }
    check_pairs(given)
}

fn check_pairs(given: &Given) -> Result<(), Stop> {
    let but =
        |allowed: &[&str]| -> Vec<&str> { ACTIONS.into_iter().filter(|a| !allowed.contains(a)).collect() };
    rule_out(given, "config", &but(&["alter", "create"]))?;
    rule_out(given, "delete-config", &[&but(&["alter"])[..], &["bootstrap-server"]].concat())?;
    rule_out(given, "partitions", &but(&["alter", "create"]))?;
    rule_out(given, "replication-factor", &but(&["create"]))?;
    rule_out(given, "replica-assignment", &but(&["alter", "create"]))?;
    if given.has("create") {
        rule_out(given, "replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        rule_out(given, report, &[&but(&["describe"])[..], &REPORTS, &["topics-with-overrides"]].concat())?;
    }
    rule_out(given, "topics-with-overrides", &[&but(&["describe"])[..], &REPORTS].concat())?;
    rule_out(given, "if-exists", &but(&["alter", "delete", "describe"]))?;
    rule_out(given, "if-not-exists", &but(&["create"]))?;
    rule_out(given, "exclude-internal", &but(&["list", "describe"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        match check(&TABLE.parse(&args).unwrap()) {
            Err(Stop::Usage(message)) => message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        assert!(usage("--list --create").starts_with("Command must include exactly one action"));
        assert_eq!(usage("--bootstrap-server b --create"), "Missing required argument \"[topic]\"");
        assert_eq!(
            usage("--bootstrap-server b --delete --topic t --partitions 1"),
            "Option \"[partitions]\" can't be used with option \"[delete]\""
        );
        assert!(
            usage("--bootstrap-server b --alter --topic t --config a=b").starts_with("Option combination")
        );
        assert_eq!(usage("--bootstrap-server b --list"), "Ok(())");
        assert!(usage("--list").contains("--bootstrap-server must be specified"));
    }
}
