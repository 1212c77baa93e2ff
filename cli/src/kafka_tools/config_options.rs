//! The options of kafka-configs, and what they name.

use super::configs::Failure;
use super::{json, rule_out};
use base::{Given, ToolOption, ToolOptions};

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text(
        "add-config",
        "",
        "What to set: k1=v1,k2=[v1,v2],...; values with commas stand in brackets.",
    ),
    ToolOption::text("add-config-file", "", "Properties file with what to set."),
    ToolOption::flag("all", "With --describe: defaults and what configuration files say, too."),
    ToolOption::flag("alter", "Changes configurations."),
    ToolOption::text("bootstrap-server", "server to connect to", "The brokers to ask, host:port,..."),
    ToolOption::text("broker", "", "The broker with this id."),
    ToolOption::flag("broker-defaults", "What all brokers have unless they have their own."),
    ToolOption::text("broker-logger", "", "The loggers of the broker with this id."),
    ToolOption::text("client", "", "The client with this id."),
    ToolOption::flag("client-defaults", "What all clients have unless they have their own."),
    ToolOption::text(
        "command-config",
        "command config property file",
        "File with settings for the admin client.",
    ),
    ToolOption::text("delete-config", "", "What to take back: k1,k2,..."),
    ToolOption::flag("describe", "Shows configurations."),
    ToolOption::flag("entity-default", "The default of the entity type."),
    ToolOption::text("entity-name", "", "Name of the entity."),
    ToolOption::text("entity-type", "", "topics, clients, users, brokers, broker-loggers or ips."),
    ToolOption::flag("force", "Asks nothing."),
    ToolOption::text("ip", "", "The IP address."),
    ToolOption::flag("ip-defaults", "What all IP addresses have unless they have their own."),
    json::OPTION.if_any_of(&["describe"]),
    ToolOption::text("topic", "", "The topic."),
    ToolOption::text("user", "", "The user's principal name."),
    ToolOption::flag("user-defaults", "What all users have unless they have their own."),
    ToolOption::text(
        "zk-tls-config-file",
        "ZooKeeper TLS configuration",
        "With --zookeeper: file with zookeeper.ssl.*.",
    ),
    ToolOption::text(
        "zookeeper",
        "urls",
        "DEPRECATED; SCRAM credentials of users and settings of brokers, before there is a broker.",
    ),
]);

const FLAGS: [(&str, &str); 6] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
];
const DEFAULT_FLAGS: [(&str, &str); 4] = [
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];
const TYPES: [&str; 6] = ["topics", "clients", "users", "brokers", "ips", "broker-loggers"];

/// What the command is about: types, and names in the same order; an empty name is the type's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entities {
    pub types: Vec<String>,
    pub names: Vec<String>,
}

impl Entities {
    /// From the options, in the order in which `args` has them.
    pub fn read(given: &Given, args: &[String]) -> Result<Entities, Failure> {
        let mut types = given.texts("entity-type").to_vec();
        let mut of_options = given.texts("entity-name").iter();
        let mut names: Vec<String> = Vec::new();
        for word in args {
            match word.trim_start_matches('-').split('=').next() {
                Some("entity-name") if word.starts_with('-') => names.extend(of_options.next().cloned()),
                Some("entity-default") if word.starts_with('-') => names.push(String::new()),
                _ => {}
            }
        }
        for (flag, kind) in FLAGS {
            if given.has(flag) {
                types.push(kind.to_owned());
                names.extend(given.text(flag)?.map(String::from));
            }
        }
        for (flag, kind) in DEFAULT_FLAGS {
            if given.has(flag) {
                types.push(kind.to_owned());
                names.push(String::new());
            }
        }
        Ok(Entities { types, names })
    }

    fn has(&self, kind: &str) -> bool {
        self.types.iter().any(|known| known == kind)
    }
}

fn illegal<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Plain(why.into()))
}

/// The checks before anything is asked of a broker, in the real tool's order.
pub fn check(given: &Given, entities: &Entities) -> Result<(), Failure> {
    if given.has("alter") == given.has("describe") {
        let why = "Command must include exactly one action: --describe, --alter";
        return Err(Failure::Usage(why.to_owned()));
    }
    let usage = |stop| match stop {
        super::Stop::Usage(why) => Failure::Usage(why),
        _ => Failure::Usage(String::new()),
    };
    rule_out(given, "describe", &["alter", "add-config", "delete-config"]).map_err(usage)?;
    check_types(given, entities)?;
    let single = |flags: &[(&str, &str)]| flags.iter().any(|(flag, _)| given.has(flag));
    if ["entity-name", "entity-type", "entity-default"].iter().any(|option| given.has(option))
        && (single(&FLAGS) || single(&DEFAULT_FLAGS))
    {
        return illegal(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags",
        );
    }
    match (given.has("bootstrap-server"), given.has("zookeeper")) {
        (false, false) => {
            return illegal(
                "One of the required --bootstrap-server or --zookeeper arguments must be specified",
            );
        }
        (true, true) => return illegal("Only one of --bootstrap-server or --zookeeper must be specified"),
        (false, true) if given.has("all") => {
            return illegal("--bootstrap-server must be specified for --all");
        }
        _ => {}
    }
    if given.has("zk-tls-config-file") && given.has("bootstrap-server") {
        return illegal(
            "--bootstrap-server doesn't support --zk-tls-config-file option. If you intend the command to communicate \
             directly with ZooKeeper, please use the option --zookeeper instead of --bootstrap-server. Otherwise, remove \
             the --zk-tls-config-file option.",
        );
    }
    check_names(given, entities)?;
    if given.has("alter") { check_alter(given, entities) } else { Ok(()) }
}

fn check_types(given: &Given, entities: &Entities) -> Result<(), Failure> {
    let types = &entities.types;
    let mut seen: Vec<&String> = Vec::new();
    let twice: Vec<&str> = types
        .iter()
        .filter(|kind| {
            let known = seen.contains(kind);
            seen.push(kind);
            known
        })
        .map(String::as_str)
        .collect();
    if !twice.is_empty() {
        return illegal(format!("Duplicate entity type(s) specified: {}", twice.join(",")));
    }
    let (allowed, by): (&[&str], _) = match given.has("bootstrap-server") {
        true => (&TYPES, "--bootstrap-server"),
        false => (&["users", "brokers"], "--zookeeper"),
    };
    if let Some(wrong) = types.iter().find(|kind| !allowed.contains(&kind.as_str())) {
        return illegal(format!(
            "Invalid entity type {wrong}, the entity type must be one of {} with the {by} argument",
            allowed.join(", ")
        ));
    }
    match types.len() {
        0 => illegal("At least one entity type must be specified"),
        1 => Ok(()),
        _ if entities.has("users") && entities.has("clients") => Ok(()),
        _ => illegal("Only 'users' and 'clients' entity types may be specified together"),
    }
}

fn check_names(given: &Given, entities: &Entities) -> Result<(), Failure> {
    let named = entities.names.iter().any(|name| !name.is_empty());
    let first = &entities.types[0];
    if named && (entities.has("brokers") || entities.has("broker-loggers")) {
        let mut names = entities.names.iter().filter(|name| !name.is_empty());
        if let Some(name) = names.find(|name| name.parse::<i32>().is_err()) {
            return illegal(format!(
                "The entity name for {first} must be a valid integer broker id, but it is: {name}"
            ));
        }
    }
    if given.has("describe") && entities.has("broker-loggers") && !named {
        return illegal(format!(
            "an entity name must be specified with --describe of {}",
            entities.types.join(",")
        ));
    }
    Ok(())
}

fn check_alter(given: &Given, entities: &Entities) -> Result<(), Failure> {
    let named = entities.names.iter().any(|name| !name.is_empty());
    let of_default = entities.names.iter().any(String::is_empty);
    if ["users", "clients", "brokers", "ips"].iter().any(|kind| entities.has(kind)) {
        if !named && !of_default {
            return illegal(
                "an entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
            );
        }
    } else if !named {
        return illegal(format!(
            "an entity name must be specified with --alter of {}",
            entities.types.join(",")
        ));
    }
    match (given.has("add-config"), given.has("add-config-file"), given.has("delete-config")) {
        (true, true, _) => illegal("Only one of --add-config or --add-config-file must be specified"),
        (false, false, false) => illegal(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Given, Entities) {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        let given = TABLE.parse(&args).unwrap();
        let entities = Entities::read(&given, &args).unwrap();
        (given, entities)
    }

    fn refusal(line: &str) -> String {
        let (given, entities) = read(line);
        match check(&given, &entities) {
            Ok(()) => "fine".to_owned(),
            Err(Failure::Plain(why) | Failure::Usage(why)) => why,
            Err(Failure::Failed(trace)) => trace,
        }
    }

    #[test]
    fn names_come_in_the_order_of_the_command_line() {
        let entities = read("--entity-type users --entity-default --entity-type clients --entity-name c").1;
        assert_eq!(entities.types, ["users", "clients"]);
        assert_eq!(entities.names, ["", "c"]);
        assert_eq!(read("--user-defaults --client c").1.types, ["clients", "users"]);
    }

    #[test]
    fn options_that_do_not_go_together_are_named() {
        assert!(refusal("--bootstrap-server b").starts_with("Command must include exactly one action"));
        assert_eq!(refusal("--bootstrap-server b --describe"), "At least one entity type must be specified");
        assert!(
            refusal("--zookeeper z --describe --topic t")
                .starts_with("Invalid entity type topics, the entity type")
        );
        assert!(refusal("--bootstrap-server b --describe --broker x").ends_with("but it is: x"));
        assert!(
            refusal("--bootstrap-server b --alter --topic t").starts_with("At least one of --add-config")
        );
        assert_eq!(refusal("--bootstrap-server b --alter --topic t --add-config a=b"), "fine");
    }
}
