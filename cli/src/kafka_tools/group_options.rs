//! The options of kafka-consumer-groups, and which go together.

use super::{Stop, json, require, rule_out};
use base::{Given, ToolOption, ToolOptions};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag("all-groups", "For every group."),
    ToolOption::flag("all-topics", "With --reset-offsets: all topics that the group has offsets of."),
    ToolOption::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: the brokers to ask, host:port,...",
    ),
    ToolOption::text(
        "by-duration",
        "duration",
        "With --reset-offsets: to the first record of this last while, such as P1DT2H.",
    ),
    ToolOption::text(
        "command-config",
        "command config property file",
        "File with settings for the admin client.",
    ),
    ToolOption::flag("delete", "Deletes groups and their offsets."),
    ToolOption::flag("delete-offsets", "Deletes a group's offsets of topics."),
    ToolOption::flag("describe", "Shows a group's offsets and how far they are behind."),
    ToolOption::flag("dry-run", "With --reset-offsets: shows what would be set."),
    ToolOption::flag("execute", "With --reset-offsets: sets the offsets."),
    ToolOption::flag("export", "With --reset-offsets: prints CSV."),
    ToolOption::text("from-file", "path to CSV file", "With --reset-offsets: to what the file says."),
    ToolOption::text("group", "consumer group", "The group; may be repeated."),
    json::OPTION.if_any_of(&["list", "describe"]),
    ToolOption::flag("list", "Shows the names of all groups."),
    ToolOption::flag("members", "With --describe: the group's members.").if_any_of(&["describe"]),
    ToolOption::flag("offsets", "With --describe: the group's offsets; this is the default.")
        .if_any_of(&["describe"]),
    ToolOption::flag(
        "reset-offsets",
        "Sets the offsets of a group without members. Needs a scope (--all-topics, --topic or --from-file) and one of --to-datetime, --by-duration, --to-earliest, --to-latest, --shift-by, --from-file, --to-current, --to-offset.",
    ),
    ToolOption::long(
        "shift-by",
        "number-of-offsets",
        "With --reset-offsets: so far on, or back if it is negative.",
    ),
    ToolOption::text_if_any(
        "state",
        "",
        "With --describe: the group's state. With --list: the states too, or only groups in these states.",
    )
    .if_any_of(&["describe", "list"]),
    ToolOption::long("timeout", "timeout (ms)", "How long a request may take.").or("5000"),
    ToolOption::flag("to-current", "With --reset-offsets: to the offsets as they are."),
    ToolOption::text(
        "to-datetime",
        "datetime",
        "With --reset-offsets: to the first record from this moment on, such as 2026-01-31T12:00:00.000.",
    ),
    ToolOption::flag("to-earliest", "With --reset-offsets: to the first records."),
    ToolOption::flag("to-latest", "With --reset-offsets: behind the last records."),
    ToolOption::long("to-offset", "offset", "With --reset-offsets: to this offset."),
    ToolOption::text("topic", "topic", "The topic, or topic:0,1 for some partitions; may be repeated."),
    ToolOption::flag("verbose", "With --describe: more.").if_any_of(&["describe"]),
]);

pub const SCENARIOS: [&str; 8] = [
    "to-offset",
    "shift-by",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "from-file",
];

/// The checks before anything is asked of a broker, in the real tool's order.
pub fn check(given: &Given) -> Result<(), Stop> {
    require(given, &["bootstrap-server"])?;
    let has_group = given.has("group") || given.has("all-groups");
    let usage = |why: &str| Err(Stop::Usage(why.to_owned()));
    if given.has("describe") {
        if !has_group {
            return usage("Option [describe] takes one of these options: [group], [all-groups]");
        }
        if ["members", "offsets", "state"].iter().filter(|option| given.has(option)).count() > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            );
        }
        if given.has("state") && given.text("state")?.is_some() {
            return usage("Option [describe] does not take a value for [state]");
        }
    }
    if given.has("delete") {
        if !has_group {
            return usage("Option [delete] takes one of these options: [group], [all-groups]");
        }
        if given.has("topic") {
            return usage(
                "The consumer does not support topic-specific offset deletion from a consumer group.",
            );
        }
    }
    if given.has("delete-offsets") && !(given.has("group") && given.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]");
    }
    if given.has("reset-offsets") {
        check_reset(given, has_group)?;
    }
    rule_out(given, "group", &["all-groups"])?;
    rule_out(given, "group", &["list"])?;
    rule_out(given, "topic", &["list", "describe"])
}

fn check_reset(given: &Given, has_group: bool) -> Result<(), Stop> {
    if given.has("dry-run") && given.has("execute") {
        return Err(Stop::Usage(
            "Option [reset-offsets] only accepts one of [execute] and [dry-run]".to_owned(),
        ));
    }
    if !given.has("dry-run") && !given.has("execute") {
        eprintln!(
            "WARN: No action will be performed as the --execute option is missing.In a future major release, the \
             default behavior of this command will be to prompt the user before executing the reset rather than \
             doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and \
             want to keep the current default behavior without prompting."
        );
    }
    if !has_group {
        return Err(Stop::Usage(
            "Option [reset-offsets] takes one of these options: [group], [all-groups]".to_owned(),
        ));
    }
    SCENARIOS.iter().try_for_each(|scenario| rule_out(given, scenario, &SCENARIOS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        match TABLE.parse(&args).map_err(Stop::from).and_then(|given| check(&given)) {
            Err(Stop::Usage(message)) => message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        assert_eq!(refusal("--list"), "Missing required argument \"[bootstrap-server]\"");
        let describe = "Option [describe] takes one of these options: [group], [all-groups]";
        assert_eq!(refusal("--bootstrap-server b --describe"), describe);
        assert!(refusal("--bootstrap-server b --members").contains("Option(s) [members] are unavailable"));
        assert_eq!(
            refusal("--bootstrap-server b --reset-offsets --dry-run --group g --to-earliest --to-latest"),
            "Option \"[to-earliest]\" can't be used with option \"[to-latest]\""
        );
        assert_eq!(refusal("--bootstrap-server b --list --state"), "Ok(())");
    }
}
