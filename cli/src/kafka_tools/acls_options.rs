//! What the options of `kafka-acls` ask for: which resources, and which entries on them.

use super::{Stop, json, require, rule_out};
use base::{Given, ToolOption, ToolOptions};
use broker::acl::{
    CLUSTER_NAME, Entry, Operation, PatternType, Permission, Principal, Resource, ResourceType, WILDCARD,
};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag("add", "Adds ACLs."),
    json::OPTION.if_any_of(&["list"]),
    ToolOption::text(
        "allow-host",
        "allow-host",
        "An address from which the principals of --allow-principal may do it; all, if none is given.",
    ),
    ToolOption::text("allow-principal", "allow-principal", "Who may do it: type:name. User:* is everybody."),
    ToolOption::text("authorizer", "authorizer", "DEPRECATED: the authorizer's class."),
    ToolOption::text(
        "authorizer-properties",
        "authorizer-properties",
        "DEPRECATED: zookeeper.connect=host:port of the ZooKeeper to work on directly.",
    ),
    ToolOption::text("bootstrap-server", "server to connect to", "The brokers to start with, host:port,..."),
    ToolOption::flag("cluster", "ACLs of the cluster."),
    ToolOption::text_if_any("command-config", "command-config", "File with settings for the admin client."),
    ToolOption::flag("consumer", "What a consumer needs: READ, DESCRIBE on the topic, READ on the group."),
    ToolOption::text("delegation-token", "delegation-token", "ACLs of a delegation token; * is all."),
    ToolOption::text(
        "deny-host",
        "deny-host",
        "An address from which the principals of --deny-principal may not do it; all, if none is given.",
    ),
    ToolOption::text(
        "deny-principal",
        "deny-principal",
        "Who may not do it, whatever allows it: type:name. User:* is everybody.",
    ),
    ToolOption::flag("force", "Asks nothing."),
    ToolOption::text("group", "group", "ACLs of a consumer group; * is all."),
    ToolOption::flag("idempotent", "With --producer: idempotent writes without a transactional id."),
    ToolOption::flag("list", "Lists ACLs, of the given resources or all."),
    ToolOption::text(
        "operation",
        "",
        "What is allowed or denied: Read, Write, Create, Delete, Alter, Describe, ClusterAction, DescribeConfigs, \
         AlterConfigs, IdempotentWrite, CreateTokens, DescribeTokens, All.",
    )
    .or("All"),
    ToolOption::text_if_any("principal", "principal", "With --list: whose ACLs."),
    ToolOption::flag(
        "producer",
        "What a producer needs: WRITE, DESCRIBE, CREATE on the topic, WRITE, DESCRIBE on the transactional id.",
    ),
    ToolOption::flag("remove", "Removes ACLs."),
    ToolOption::text(
        "resource-pattern-type",
        "ANY|MATCH|LITERAL|PREFIXED",
        "How the resource's name is meant. To list and remove: any, for either kind of this name, and match, for all that \
         affects the resource of this name.",
    )
    .or("LITERAL"),
    ToolOption::text("topic", "topic", "ACLs of a topic; * is all."),
    ToolOption::text("transactional-id", "transactional-id", "ACLs of a transactional id; * is all."),
    ToolOption::text("user-principal", "user-principal", "ACLs of a user as a resource: type:name."),
    ToolOption::text(
        "zk-tls-config-file",
        "Authorizer ZooKeeper TLS configuration",
        "DEPRECATED: settings of TLS to ZooKeeper.",
    ),
]);

/// Resources, or filters for them, with the entries that are to be on them or to go; none: all go.
pub type Wanted = BTreeMap<Resource, BTreeSet<Entry>>;

/// Options that do not go together.
pub fn check(given: &Given) -> Result<(), Stop> {
    let usage = |problem: &str| Err(Stop::Usage(problem.to_owned()));
    let has = |option| given.has(option);
    if has("bootstrap-server") && has("authorizer") {
        return usage("Only one of --bootstrap-server or --authorizer must be specified");
    }
    if !has("bootstrap-server") {
        require(given, &["authorizer-properties"])?;
        if has("command-config") {
            return usage("The --command-config option can only be used with --bootstrap-server option");
        }
    } else if has("authorizer-properties") {
        return usage("The --authorizer-properties option can only be used with --authorizer option");
    }
    if ["add", "remove", "list"].into_iter().filter(|action| has(action)).count() != 1 {
        return usage("Command must include exactly one action: --list, --add, --remove. ");
    }
    rule_out(
        given,
        "list",
        &["producer", "consumer", "allow-host", "allow-principal", "deny-host", "deny-principal"],
    )?;
    rule_out(given, "producer", &["operation", "deny-principal", "deny-host"])?;
    rule_out(given, "consumer", &["operation", "deny-principal", "deny-host"])?;
    if has("principal") && !has("list") {
        return usage("The --principal option is only available if --list is set");
    }
    if has("producer") && !has("topic") {
        return usage("With --producer you must specify a --topic");
    }
    if has("idempotent") && !has("producer") {
        return usage("The --idempotent option is only available if --producer is set");
    }
    let alone = !has("producer") && (has("cluster") || has("transactional-id"));
    if has("consumer") && (!has("topic") || !has("group") || alone) {
        return usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option should \
             be specified.",
        );
    }
    Ok(())
}

/// `--resource-pattern-type`.
pub fn pattern(given: &Given) -> Result<PatternType, Stop> {
    let text = given.text("resource-pattern-type")?.unwrap_or("LITERAL");
    match PatternType::from_upper(text) {
        PatternType::Unknown => {
            let why = if text.eq_ignore_ascii_case("UNKNOWN") {
                format!("Unknown resource-pattern-type: {text}")
            } else {
                format!("Value [{text}] is not one of [ANY|MATCH|LITERAL|PREFIXED]")
            };
            let message = format!(
                "Cannot parse argument '{text}' of option resource-pattern-type\n\
                 Caused by: joptsimple.ValueConversionException: {why}"
            );
            Err(Stop::Uncaught("joptsimple.OptionArgumentConversionException", message))
        }
        pattern => Ok(pattern),
    }
}

fn cluster() -> Resource {
    let name = Str::from_static(CLUSTER_NAME);
    Resource { kind: ResourceType::Cluster, pattern: PatternType::Literal, name }
}

/// The resources that are named.
pub fn filters(given: &Given) -> Result<BTreeSet<Resource>, Stop> {
    let pattern = pattern(given)?;
    let mut filters = BTreeSet::new();
    for (option, kind) in [
        ("topic", ResourceType::Topic),
        ("group", ResourceType::Group),
        ("transactional-id", ResourceType::TransactionalId),
        ("delegation-token", ResourceType::DelegationToken),
        ("user-principal", ResourceType::User),
    ] {
        for name in given.texts(option) {
            // Blanks may be part of a transactional id.
            let name = if kind == ResourceType::TransactionalId { name } else { name.trim() };
            filters.insert(Resource { kind, pattern, name: name.into() });
        }
    }
    if pattern == PatternType::Literal && (given.has("cluster") || given.has("idempotent")) {
        filters.insert(cluster());
    }
    Ok(filters)
}

/// Principals as ACLs have them.
pub fn principals(given: &Given, option: &str) -> Result<BTreeSet<Str>, Stop> {
    let parsed = given.texts(option).iter().map(|text| {
        let principal = Principal::parse(text.trim());
        principal
            .map(|principal| Str::from(principal.to_string()))
            .map_err(|error| Stop::Uncaught("java.lang.IllegalArgumentException", error.to_string()))
    });
    parsed.collect()
}

fn entries(given: &Given, operations: &[Operation]) -> Result<BTreeSet<Entry>, Stop> {
    let mut entries = BTreeSet::new();
    for (principal_option, host_option, permission) in [
        ("allow-principal", "allow-host", Permission::Allow),
        ("deny-principal", "deny-host", Permission::Deny),
    ] {
        let hosts: BTreeSet<Str> = match given.has(host_option) {
            true => given.texts(host_option).iter().map(|host| Str::from(host.trim())).collect(),
            false => BTreeSet::from([Str::from_static(WILDCARD)]),
        };
        for principal in principals(given, principal_option)? {
            for host in &hosts {
                let entry = |operation: &Operation| Entry {
                    principal: principal.clone(),
                    host: host.clone(),
                    operation: *operation,
                    permission,
                };
                entries.extend(operations.iter().map(entry));
            }
        }
    }
    Ok(entries)
}

/// What is to be added or removed.
pub fn wanted(given: &Given) -> Result<Wanted, Stop> {
    use Operation::{Create, Describe, IdempotentWrite, Read, Write};
    let filters = filters(given)?;
    if filters.is_empty() {
        return Err(Stop::Usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or \
             --delegation-token <Delegation Token ID>"
                .to_owned(),
        ));
    }
    let mut wanted = Wanted::new();
    let mut want = |resource: Resource, operations: &[Operation]| -> Result<(), Stop> {
        wanted.entry(resource).or_default().extend(entries(given, operations)?);
        Ok(())
    };
    let of = |kind| filters.iter().filter(move |resource| resource.kind == kind).cloned();
    if given.has("producer") {
        of(ResourceType::Topic).try_for_each(|topic| want(topic, &[Write, Describe, Create]))?;
        of(ResourceType::TransactionalId).try_for_each(|id| want(id, &[Write, Describe]))?;
        if given.has("idempotent") {
            want(cluster(), &[IdempotentWrite])?;
        }
    }
    if given.has("consumer") {
        of(ResourceType::Topic).try_for_each(|topic| want(topic, &[Read, Describe]))?;
        of(ResourceType::Group).try_for_each(|group| want(group, &[Read]))?;
    }
    if !given.has("producer") && !given.has("consumer") {
        let named = given.texts("operation").iter().map(|name| Operation::from_name(name.trim()));
        let mut operations: Vec<Operation> = named.collect();
        if operations.is_empty() {
            operations.push(Operation::All);
        }
        filters.iter().cloned().try_for_each(|resource| want(resource, &operations))?;
    }
    check_operations(&wanted)?;
    Ok(wanted)
}

fn check_operations(wanted: &Wanted) -> Result<(), Stop> {
    for (resource, entries) in wanted {
        let valid = [resource.kind.operations(), &[Operation::All]].concat();
        if entries.iter().any(|entry| !valid.contains(&entry.operation)) {
            let names: Vec<&str> = valid.iter().map(|operation| operation.upper()).collect();
            let problem =
                format!("ResourceType {} only supports operations {}", resource.kind, names.join(","));
            return Err(Stop::Usage(problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Given {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        TABLE.parse(&args).unwrap()
    }

    fn asked(line: &str) -> Vec<String> {
        let wanted = wanted(&given(line)).unwrap();
        let one = |(resource, entries): (&Resource, &BTreeSet<Entry>)| {
            let of = |entry: &Entry| {
                let Entry { principal, host, operation, permission } = entry;
                format!("{principal} {host} {operation} {permission}")
            };
            format!(
                "{} {}: {}",
                resource.kind,
                resource.name,
                entries.iter().map(of).collect::<Vec<_>>().join(", ")
            )
        };
        wanted.iter().map(one).collect()
    }

    fn mistake(line: &str) -> String {
        let given = given(line);
        match check(&given).and_then(|()| wanted(&given).map(drop)) {
            Err(Stop::Usage(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn producers_and_consumers_get_what_they_need() {
        assert_eq!(
            asked("--add --producer --idempotent --topic t --transactional-id x --allow-principal User:a"),
            [
                "TOPIC t: User:a * WRITE ALLOW, User:a * CREATE ALLOW, User:a * DESCRIBE ALLOW",
                "CLUSTER kafka-cluster: User:a * IDEMPOTENT_WRITE ALLOW",
                "TRANSACTIONAL_ID x: User:a * WRITE ALLOW, User:a * DESCRIBE ALLOW",
            ]
        );
        assert_eq!(
            asked("--add --consumer --producer --topic t --group g --allow-principal User:a --allow-host h"),
            [
                "TOPIC t: User:a h READ ALLOW, User:a h WRITE ALLOW, User:a h CREATE ALLOW, User:a h DESCRIBE ALLOW",
                "GROUP g: User:a h READ ALLOW",
            ]
        );
    }

    #[test]
    fn hosts_belong_to_their_principals_and_all_operations_are_the_default() {
        assert_eq!(
            asked("--add --topic t --allow-principal User:a --deny-principal User:b --deny-host 1.2.3.4"),
            ["TOPIC t: User:a * ALL ALLOW, User:b 1.2.3.4 ALL DENY"]
        );
        assert_eq!(asked("--remove --topic t --deny-host 1.2.3.4"), ["TOPIC t: "]);
    }

    #[test]
    fn what_does_not_go_together_is_told_in_javas_words() {
        let on = "--bootstrap-server h:1";
        for (line, message) in [
            ("--list", "Missing required argument \"[authorizer-properties]\""),
            (
                "--bootstrap-server h:1 --authorizer x --list",
                "Only one of --bootstrap-server or --authorizer must be specified",
            ),
            (on, "Command must include exactly one action: --list, --add, --remove. "),
            (
                "--bootstrap-server h:1 --list --producer",
                "Option \"[list]\" can't be used with option \"[producer]\"",
            ),
            (
                "--bootstrap-server h:1 --add --producer --topic t --deny-principal User:a",
                "Option \"[producer]\" can't be used with option \"[deny-principal]\"",
            ),
            (
                "--bootstrap-server h:1 --add --allow-principal User:a",
                "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or \
                 --delegation-token <Delegation Token ID>",
            ),
            (
                "--bootstrap-server h:1 --add --allow-principal User:a --group g --operation Write",
                "ResourceType GROUP only supports operations READ,DELETE,DESCRIBE,ALL",
            ),
        ] {
            assert_eq!(mistake(line), message);
        }
        assert!(matches!(
            filters(&given("--list --topic t --resource-pattern-type x")),
            Err(Stop::Uncaught("joptsimple.OptionArgumentConversionException", _))
        ));
    }
}
