//! The commands that need a connection: one table holds name, usage and options; a file per family holds what they do.

mod acl;
mod delete;
mod ensemble;
mod nodes;
mod quota;
mod watch;

use super::client::{Client, Failure};
use super::words::{self, Parsed};

/// How a command failed: what is printed on stderr, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub text: String,
    pub code: u8,
    /// Java's tool does not catch it: a session of several commands ends here too.
    pub ends: bool,
}

impl Outcome {
    pub fn failed(text: impl Into<String>) -> Outcome {
        Outcome { text: text.into(), code: 1, ends: false }
    }

    /// An exception that Java's tool does not catch.
    pub fn thrown(exception: &str, why: &str) -> Outcome {
        let text = format!("Exception in thread \"main\" java.lang.{exception}: {why}");
        Outcome { text, code: 1, ends: true }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        Outcome::failed(failure.to_string())
    }
}

type Run = fn(&Client, &Parsed) -> Result<(), Outcome>;

struct Command {
    name: &'static str,
    usage: &'static str,
    /// As for getopt.
    letters: &'static str,
    /// How many words there have to be, the name included.
    words_min: usize,
    run: Run,
}

const fn command(
    name: &'static str,
    usage: &'static str,
    letters: &'static str,
    words_min: usize,
    run: Run,
) -> Command {
    Command { name, usage, letters, words_min, run }
}

/// Sorted as the usage is.
const COMMANDS: &[Command] = &[
    command(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        "m:",
        2,
        watch::add_watch,
    ),
    command("addauth", "scheme auth", "", 2, acl::add_auth),
    command("close", "", "", 1, ensemble::close),
    command("config", "[-c] [-w] [-s]", "swc", 1, ensemble::config),
    command("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "esct:", 2, nodes::create),
    command("delete", "[-v version] path", "v:", 2, delete::delete),
    command("deleteall", "path [-b batch size]", "b:", 2, delete::delete_all),
    command("delquota", "[-n|-b|-N|-B] path", "nbNB", 2, quota::delete),
    command("get", "[-s] [-w] [-b] [-x] path", "swbx", 2, nodes::get),
    command("getAcl", "[-s] path", "s", 2, acl::get_acl),
    command("getAllChildrenNumber", "path", "", 2, nodes::all_children_number),
    command("getEphemerals", "path", "", 1, nodes::ephemerals),
    command("listquota", "path", "", 2, quota::list),
    command("ls", "[-s] [-w] [-R] path", "?swR", 1, nodes::ls),
    command(
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add \
         serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        "",
        1,
        ensemble::reconfig,
    ),
    command("removewatches", "path [-c|-d|-a] [-l]", "cdpral", 2, watch::remove_watches),
    command("set", "path data [-s] [-v version] [-b]", "sv:b", 3, nodes::set),
    command("setAcl", "[-s] [-v version] [-R] path acl", "sv:R", 3, acl::set_acl),
    command("setquota", "-n|-b|-N|-B val path", "n:b:N:B:", 2, quota::set),
    command("stat", "[-w] path", "w", 2, nodes::stat),
    command("sync", "path", "", 2, ensemble::sync),
    command("version", "", "", 1, ensemble::version),
    command("whoami", "", "", 1, ensemble::who_am_i),
];

/// Those that the tool itself runs.
const BUILT_IN: &[(&str, &str)] =
    &[("connect", "host:port"), ("history", ""), ("printwatches", "on|off"), ("quit", ""), ("redo", "cmdno")];

/// What stands below the usage of `get` and `set`, one line per option.
const OPTION_LINES: &[(&str, &str)] = &[
    (
        "get",
        " -b   Output data in base64 format\n -s   Print znode stats additionally\n -w   Watch for changes on the znode\n \
         -x   Output data in hexdump format",
    ),
    (
        "set",
        " -b         Supply data in base64 format\n -s         Print znode stats additionally\n -v <arg>   Set with an \
         expected version",
    ),
];

pub struct Commands;

impl Commands {
    pub fn names() -> impl Iterator<Item = &'static str> {
        COMMANDS.iter().map(|command| command.name).chain(BUILT_IN.iter().map(|(name, _)| *name))
    }

    pub fn knows(&self, name: &str) -> bool {
        Commands::names().any(|known| known == name)
    }

    /// Every command with its usage, in ASCII order.
    pub fn usage(&self) -> String {
        let mut lines: Vec<String> =
            COMMANDS.iter().map(|command| format!("\t{} {}", command.name, command.usage)).collect();
        lines.extend(BUILT_IN.iter().map(|(name, usage)| format!("\t{name} {usage}")));
        lines.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        format!(
            "ZooKeeper -server host:port -client-configuration properties-file cmd args\n{}",
            lines.join("\n")
        )
    }

    /// Does nothing for those that the tool itself runs.
    pub fn run(&self, client: &Client, words: &[String]) -> Result<(), Outcome> {
        let Some(command) =
            COMMANDS.iter().find(|command| words.first().is_some_and(|name| name == command.name))
        else {
            return Ok(());
        };
        let parsed = match command.name {
            // Its options are whole words.
            "reconfig" => Parsed::of_words(words),
            _ => words::parse(command.letters, words).map_err(Outcome::failed)?,
        };
        if parsed.args.len() < command.words_min {
            return Err(Outcome::failed(command.usage_text()));
        }
        let parsed = command.old_form(parsed, words)?;
        (command.run)(client, &parsed)
    }
}

impl Command {
    fn usage_text(&self) -> String {
        let options = OPTION_LINES.iter().find(|(name, _)| *name == self.name);
        let lines = options.map(|(_, lines)| format!("\n{lines}")).unwrap_or_default();
        format!("{} {}{lines}", self.name, self.usage)
    }

    /// `ls path watch` and its like are still understood, with a warning.
    fn old_form(&self, parsed: Parsed, words: &[String]) -> Result<Parsed, Outcome> {
        let (old, new) = match self.name {
            "ls" => ("ls path [watch]", "ls [-w] path"),
            "get" => ("get path [watch]", "get [-s] [-w] path"),
            "stat" => ("stat path [watch]", "stat [-w] path"),
            "delete" => ("delete path [version]", "delete [-v version] path"),
            _ => return Ok(parsed),
        };
        if parsed.args.len() <= 2 {
            return Ok(parsed);
        }
        eprintln!("'{old}' has been deprecated. Please use '{new}' instead.");
        if self.name == "delete" {
            return Ok(parsed);
        }
        let mut words = words.to_vec();
        words[2] = "-w".into();
        words::parse(self.letters, &words).map_err(Outcome::failed)
    }
}

/// A command's name, options and what stands below them.
fn usage_of(name: &str) -> String {
    COMMANDS.iter().find(|command| command.name == name).map(Command::usage_text).unwrap_or_default()
}

/// A whole number, or Java's complaint.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, Outcome> {
    text.parse().map_err(|_| Outcome::failed(format!("For input string: \"{text}\"")))
}

/// `-v`, else any version.
fn version(parsed: &Parsed) -> Result<i32, Outcome> {
    parsed.value('v').map_or(Ok(-1), whole_number)
}

/// As [`number`], where Java's tool does not catch the exception.
pub fn whole_number<T: std::str::FromStr>(text: &str) -> Result<T, Outcome> {
    text.parse()
        .map_err(|_| Outcome::thrown("NumberFormatException", &format!("For input string: \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_has_28_lines_sorted_by_name() {
        let usage = Commands.usage();
        let names: Vec<&str> =
            usage.lines().skip(1).map(|line| line.trim_start().split(' ').next().unwrap()).collect();
        assert_eq!(names.len(), 28);
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!((names[0], names[1]), ("addWatch", "addauth"));
        assert!(usage.contains("\n\tquit \n"));
    }
}
