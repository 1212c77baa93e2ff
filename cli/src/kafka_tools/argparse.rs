//! Command lines of the tools that read theirs with argparse4j: sub-commands, `-b` beside `--bootstrap-server`, names
//! that may be cut short, groups of which one option has to be there. Mistakes have its texts; its padding of lines to
//! a block is left out.

use super::Stop;
use std::collections::BTreeMap;

/// Columns of a line.
const WIDTH: usize = 75;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Text,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// One of these.
    Choice(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy)]
pub struct Arg {
    /// The long name first.
    pub names: &'static [&'static str],
    pub metavar: &'static str,
    pub takes: Takes,
    pub required: bool,
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

impl Arg {
    pub const fn flag(names: &'static [&'static str], doc: &'static str) -> Arg {
        Arg { names, metavar: "", takes: Takes::Nothing, required: false, default: None, doc }
    }
    pub const fn text(names: &'static [&'static str], metavar: &'static str, doc: &'static str) -> Arg {
        Arg { metavar, takes: Takes::Text, ..Arg::flag(names, doc) }
    }
    pub const fn taking(mut self, takes: Takes) -> Arg {
        self.takes = takes;
        self
    }
    pub const fn required(mut self) -> Arg {
        self.required = true;
        self
    }
    pub const fn or(mut self, default: &'static str) -> Arg {
        self.default = Some(default);
        self
    }

    fn name(&self) -> &'static str {
        self.names[0]
    }

    /// `--id/-i`
    fn shown(&self) -> String {
        self.names.join("/")
    }

    /// `--id ID`
    fn usage(&self, name: &str) -> String {
        if self.metavar.is_empty() { name.to_owned() } else { format!("{name} {}", self.metavar) }
    }
}

/// A sub-command and its options.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    pub doc: &'static str,
    pub args: &'static [Arg],
}

#[derive(Debug, Clone, Copy)]
pub struct Parser {
    pub prog: &'static str,
    pub description: &'static str,
    pub args: &'static [Arg],
    /// Exactly one of these has to be there.
    pub one_of: &'static [Arg],
    pub commands: &'static [Command],
}

/// Why there is nothing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `-h`: the help.
    Help(String),
    Wrong {
        usage: String,
        why: String,
    },
}

impl Parser {
    /// Prints help on stdout, and mistakes under the usage on stderr; both end with 1.
    pub fn read(&self, args: &[String]) -> Result<Words, Stop> {
        self.parse(args).map_err(|refusal| {
            match refusal {
                Refusal::Help(help) => print!("{help}"),
                Refusal::Wrong { usage, why } => eprintln!("{usage}\n{}: error: {why}", self.prog),
            }
            Stop::Exit(1)
        })
    }

    /// What tools say to what the parser has let pass.
    pub fn wrong(&self, why: &str) -> Stop {
        eprintln!("{}\n{}: error: {why}", self.usage(None), self.prog);
        Stop::Exit(1)
    }

    pub fn parse(&self, args: &[String]) -> Result<Words, Refusal> {
        let mut words = Words::default();
        let mut command: Option<&'static Command> = None;
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let now = command;
            let refuse = |why: String| Refusal::Wrong { usage: self.usage(now), why };
            if word == "-h" || word == "--help" {
                return Err(Refusal::Help(self.help(command)));
            }
            if !looks_like_an_option(word) {
                if self.commands.is_empty() || command.is_some() {
                    return Err(refuse(format!("unrecognized arguments: '{word}'")));
                }
                command = self.commands.iter().find(|one| one.name == word);
                if command.is_none() {
                    let names: Vec<String> =
                        self.commands.iter().map(|one| format!("'{}'", one.name)).collect();
                    return Err(refuse(format!(
                        "invalid choice: '{word}' (choose from {})",
                        names.join(", ")
                    )));
                }
                words.command = command.map(|one| one.name);
                continue;
            }
            let (arg, attached) = self.find(command, word).map_err(refuse)?;
            if let Some(other) = self.excluded_by(arg, &words) {
                let (this, other) = (arg.shown(), other.shown());
                return Err(refuse(format!("argument {this}: not allowed with argument {other}")));
            }
            let value = match (arg.takes, attached) {
                (Takes::Nothing, None) => String::new(),
                (Takes::Nothing, Some(value)) => {
                    return Err(refuse(format!(
                        "argument {}: ignored explicit argument '{value}'",
                        arg.shown()
                    )));
                }
                (_, Some(value)) => value,
                (_, None) => match rest.as_slice().first().filter(|next| !looks_like_an_option(next)) {
                    Some(value) => {
                        rest.next();
                        value.clone()
                    }
                    None => {
                        return Err(refuse(format!("argument {}: expected one argument", arg.shown())));
                    }
                },
            };
            check(arg, &value).map_err(refuse)?;
            words.values.entry(arg.name()).or_default().push(value);
        }
        self.complete(command, words)
    }

    /// Sees that nothing is missing, and fills in defaults.
    fn complete(&self, command: Option<&'static Command>, mut words: Words) -> Result<Words, Refusal> {
        let refuse =
            |of: Option<&'static Command>, why: String| Refusal::Wrong { usage: self.usage(of), why };
        if command.is_none() && !self.commands.is_empty() {
            return Err(refuse(None, "too few arguments".to_owned()));
        }
        let of_command = command.map_or(&[][..], |command| command.args);
        for (args, of) in [(of_command, command), (self.args, None)] {
            if let Some(missing) = args.iter().find(|arg| arg.required && !words.has(arg.name())) {
                return Err(refuse(of, format!("argument {} is required", missing.shown())));
            }
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|arg| words.has(arg.name())) {
            let names: Vec<String> = self.one_of.iter().map(Arg::shown).collect();
            return Err(refuse(None, format!("one of the arguments {} is required", names.join(" "))));
        }
        for arg in self.args.iter().chain(of_command) {
            if let Some(default) = arg.default {
                words.values.entry(arg.name()).or_insert_with(|| vec![default.to_owned()]);
            }
        }
        Ok(words)
    }

    fn known(&self, command: Option<&'static Command>) -> Vec<&'static Arg> {
        match command {
            Some(command) => command.args.iter().collect(),
            None => self.args.iter().chain(self.one_of).collect(),
        }
    }

    fn excluded_by(&self, arg: &Arg, words: &Words) -> Option<&'static Arg> {
        let in_group = self.one_of.iter().any(|other| other.name() == arg.name());
        let other = |other: &&Arg| in_group && other.name() != arg.name() && words.has(other.name());
        self.one_of.iter().find(other)
    }

    /// The option that a word means, and what is attached to it.
    fn find(
        &self,
        command: Option<&'static Command>,
        word: &str,
    ) -> Result<(&'static Arg, Option<String>), String> {
        let known = self.known(command);
        let exact = |name: &str| known.iter().copied().find(|arg| arg.names.contains(&name));
        if let Some(arg) = exact(word) {
            return Ok((arg, None));
        }
        let unrecognized = || format!("unrecognized arguments: '{word}'");
        if !word.starts_with("--") {
            let short = word.get(..2).and_then(exact).ok_or_else(unrecognized)?;
            return Ok((short, Some(word[2..].to_owned())));
        }
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        let starts = |arg: &&&'static Arg| arg.names.iter().any(|full| full.starts_with(name));
        let found: Vec<&'static Arg> = match exact(name) {
            Some(arg) => vec![arg],
            None => known.iter().filter(starts).copied().collect(),
        };
        match found[..] {
            [arg] => Ok((arg, attached)),
            [] => Err(unrecognized()),
            _ => {
                let names: Vec<&str> = found.iter().map(|arg| arg.name()).collect();
                Err(format!("ambiguous option: {name} could match {}", names.join(", ")))
            }
        }
    }

    /// `usage: PROG [-h] --topic TOPIC ...`, wrapped.
    pub fn usage(&self, command: Option<&'static Command>) -> String {
        let mut parts = Vec::new();
        if let Some(command) = command {
            let required = self.args.iter().filter(|arg| arg.required);
            parts.extend(required.map(|arg| arg.usage(arg.name())));
            parts.push(command.name.to_owned());
        }
        parts.push("[-h]".to_owned());
        let args = command.map_or(self.args, |command| command.args);
        parts.extend(args.iter().map(|arg| match arg.required {
            true => arg.usage(arg.name()),
            false => format!("[{}]", arg.usage(arg.name())),
        }));
        if command.is_none() {
            let last = self.one_of.len().saturating_sub(1);
            parts.extend(self.one_of.iter().enumerate().map(|(at, arg)| {
                let (open, close) = (if at == 0 { "(" } else { "| " }, if at == last { ")" } else { "" });
                format!("{open}{}{close}", arg.usage(arg.name()))
            }));
            if !self.commands.is_empty() {
                parts.push(format!("{{{}}}", self.names().join(",")));
                parts.push("...".to_owned());
            }
        }
        let start = format!("usage: {}", self.prog);
        let indent = " ".repeat(start.len());
        let (mut lines, mut line) = (Vec::new(), start);
        for part in parts {
            if line.len() + 1 + part.len() > WIDTH && line.trim() != "" {
                lines.push(std::mem::replace(&mut line, indent.clone()));
            }
            line = format!("{line} {part}");
        }
        lines.push(line);
        lines.join("\n")
    }

    fn names(&self) -> Vec<&'static str> {
        self.commands.iter().map(|command| command.name).collect()
    }

    pub fn help(&self, command: Option<&'static Command>) -> String {
        let mut help = format!("{}\n\n", self.usage(command));
        if command.is_none() {
            help += &format!("{}\n\n", wrapped(self.description, WIDTH).join("\n"));
            if !self.commands.is_empty() {
                help += &format!("positional arguments:\n  {{{}}}\n", self.names().join(","));
                self.commands.iter().for_each(|one| help += &row(&format!("  {}", one.name), one.doc));
                help.push('\n');
            }
        }
        help += "optional arguments:\n";
        help += &row("-h, --help", "shows this");
        for arg in self.known(command) {
            let names: Vec<String> = arg.names.iter().map(|name| arg.usage(name)).collect();
            let doc = match arg.default {
                Some(default) => format!("{} (default: {default})", arg.doc),
                None => arg.doc.to_owned(),
            };
            help += &row(&names.join(", "), &doc);
        }
        help
    }
}

fn looks_like_an_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err()
}

fn check(arg: &Arg, value: &str) -> Result<(), String> {
    let fits = match arg.takes {
        Takes::Nothing | Takes::Text => return Ok(()),
        Takes::Int => value.parse::<i32>().map_err(|_| "Integer"),
        Takes::Long => value.parse::<i64>().map(|_| 0).map_err(|_| "Long"),
        Takes::Choice(choices) if choices.contains(&value) => return Ok(()),
        Takes::Choice(choices) => {
            let choices = choices.join(",");
            return Err(format!(
                "argument {}: invalid choice: '{value}' (choose from {{{choices}}})",
                arg.shown()
            ));
        }
    };
    fits.map(drop).map_err(|kind| {
        format!(
            "argument {}: could not convert '{value}' to {kind} (For input string: \"{value}\")",
            arg.shown()
        )
    })
}

/// Two columns of help.
fn row(name: &str, doc: &str) -> String {
    const LEFT: usize = 25;
    let lines = wrapped(doc, WIDTH - LEFT);
    let mut text = format!("  {name}");
    let mut lines = lines.iter();
    if text.len() < LEFT - 1 {
        let first = lines.next().map_or("", String::as_str);
        text = format!("{text:<LEFT$}{first}");
    }
    lines.for_each(|line| text += &format!("\n{:LEFT$}{line}", ""));
    text.trim_end().to_owned() + "\n"
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

/// What a command line says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Words {
    pub command: Option<&'static str>,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Words {
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last one counts.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    pub fn texts(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// What the parser has let pass as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Parser = Parser {
        prog: "tool",
        description: "Does this and that.",
        args: &[
            Arg::text(&["--topic"], "TOPIC", "the topic").required(),
            Arg::text(&["--max-messages"], "N", "how many").taking(Takes::Int).or("-1"),
            Arg::text(&["--max-time"], "MS", "how long").taking(Takes::Long),
            Arg::text(&["--acks"], "ACKS", "acks").taking(Takes::Choice(&["0", "1", "-1"])),
            Arg::flag(&["--verbose"], "more"),
        ],
        one_of: &[Arg::text(&["--server"], "H:P", "where"), Arg::text(&["--list"], "H:P", "old name")],
        commands: &[],
    };
    const SUB: Parser = Parser {
        prog: "sub",
        description: "Has commands.",
        args: &[Arg::text(&["--server"], "S", "where").required()],
        one_of: &[],
        commands: &[
            Command { name: "show", doc: "shows", args: &[] },
            Command {
                name: "drop",
                doc: "drops",
                args: &[Arg::text(&["--id", "-i"], "ID", "which").taking(Takes::Int).required()],
            },
        ],
    };

    fn why(parser: &Parser, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parser.parse(&words) {
            Err(Refusal::Wrong { why, .. }) => why,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn mistakes_have_argparses_words() {
        let fine = "--topic t --server s";
        assert_eq!(why(&TOOL, "--topic"), "argument --topic: expected one argument");
        assert_eq!(why(&TOOL, "--server s"), "argument --topic is required");
        assert_eq!(why(&TOOL, "--topic t"), "one of the arguments --server --list is required");
        assert_eq!(why(&TOOL, "--foo"), "unrecognized arguments: '--foo'");
        assert_eq!(
            why(&TOOL, &format!("{fine} --list l")),
            "argument --list: not allowed with argument --server"
        );
        assert_eq!(
            why(&TOOL, &format!("{fine} --acks 5")),
            "argument --acks: invalid choice: '5' (choose from {0,1,-1})"
        );
        assert_eq!(
            why(&TOOL, &format!("{fine} --max-messages a")),
            "argument --max-messages: could not convert 'a' to Integer (For input string: \"a\")"
        );
        assert_eq!(
            why(&TOOL, &format!("{fine} --max 1")),
            "ambiguous option: --max could match --max-messages, --max-time"
        );
        assert_eq!(why(&SUB, "--server s"), "too few arguments");
        assert_eq!(why(&SUB, "show"), "argument --server is required");
        assert_eq!(why(&SUB, "--server s drop"), "argument --id/-i is required");
        assert_eq!(why(&SUB, "--server s drop --server s"), "unrecognized arguments: '--server'");
        assert_eq!(why(&SUB, "fly"), "invalid choice: 'fly' (choose from 'show', 'drop')");
    }

    #[test]
    fn names_may_be_cut_short_values_attached_and_defaults_fill_in() {
        let words: Vec<String> =
            ["--to", "t", "--server=s", "--max-m", "-3", "--verb"].map(str::to_owned).to_vec();
        let read = TOOL.parse(&words).unwrap();
        assert_eq!(
            (read.text("--topic"), read.number("--max-messages"), read.has("--verbose")),
            (Some("t"), Some(-3), true)
        );
        assert_eq!(
            TOOL.parse(&["--topic", "t", "--list", "l"].map(str::to_owned)).unwrap().number("--max-messages"),
            Some(-1)
        );
        let words = ["--server", "s", "drop", "-i7"].map(str::to_owned);
        let read = SUB.parse(&words).unwrap();
        assert_eq!((read.command, read.number("--id")), (Some("drop"), Some(7)));
    }

    #[test]
    fn the_usage_is_wrapped_behind_the_programs_name() {
        assert_eq!(SUB.usage(Some(&SUB.commands[1])), "usage: sub --server S drop [-h] --id ID");
        assert_eq!(SUB.usage(None), "usage: sub [-h] --server S {show,drop} ...");
        let usage = TOOL.usage(None);
        assert!(usage.lines().all(|line| line.len() <= WIDTH), "{usage}");
        assert!(usage.contains("\n            "), "{usage}");
        assert!(usage.ends_with("(--server H:P | --list H:P)"), "{usage}");
        let help = TOOL.help(None);
        assert!(help.contains("\n  --max-messages N       how many (default: -1)\n"), "{help}");
    }
}
