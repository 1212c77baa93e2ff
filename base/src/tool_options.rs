//! Command-line options of tools, with jopt-simple's behaviour, which scripts rely on: `--name value`, `--name=value`
//! and `-name value`; no abbreviations; words that are no options are passed over; an argument that is required is
//! taken whatever it looks like; mistakes have jopt-simple's texts and exception names.
//!
//! One table holds each option; the parser, its checks and the help come from it.

use std::collections::BTreeMap;

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    None,
    Required(Type),
    /// Taken only if it does not look like an option.
    Optional(Type),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct ToolOption {
    pub name: &'static str,
    pub argument: Argument,
    /// What the help calls the argument; may be empty.
    pub label: &'static str,
    pub default: Option<&'static str>,
    pub doc: &'static str,
    /// The option makes sense only beside one of these.
    pub available_if: &'static [&'static str],
    /// The option has to be given, unless this one is.
    pub required_unless: Option<&'static str>,
}

impl ToolOption {
    pub const fn flag(name: &'static str, doc: &'static str) -> ToolOption {
        let argument = Argument::None;
        ToolOption { name, argument, label: "", default: None, doc, available_if: &[], required_unless: None }
    }
    pub const fn text(name: &'static str, label: &'static str, doc: &'static str) -> ToolOption {
        ToolOption { argument: Argument::Required(Type::Text), label, ..ToolOption::flag(name, doc) }
    }
    pub const fn text_if_any(name: &'static str, label: &'static str, doc: &'static str) -> ToolOption {
        ToolOption { argument: Argument::Optional(Type::Text), label, ..ToolOption::flag(name, doc) }
    }
    pub const fn int(name: &'static str, label: &'static str, doc: &'static str) -> ToolOption {
        ToolOption { argument: Argument::Required(Type::Int), label, ..ToolOption::flag(name, doc) }
    }
    pub const fn long(name: &'static str, label: &'static str, doc: &'static str) -> ToolOption {
        ToolOption { argument: Argument::Required(Type::Long), label, ..ToolOption::flag(name, doc) }
    }
    pub const fn long_if_any(name: &'static str, label: &'static str, doc: &'static str) -> ToolOption {
        ToolOption { argument: Argument::Optional(Type::Long), label, ..ToolOption::flag(name, doc) }
    }
    pub const fn or(mut self, default: &'static str) -> ToolOption {
        self.default = Some(default);
        self
    }
    pub const fn if_any_of(mut self, others: &'static [&'static str]) -> ToolOption {
        self.available_if = others;
        self
    }
    pub const fn unless(mut self, other: &'static str) -> ToolOption {
        self.required_unless = Some(other);
        self
    }
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("{0} is not a recognized option")]
    Unrecognized(String),
    #[error("Option {0} requires an argument")]
    MissingArgument(String),
    #[error("Found multiple arguments for option {0}, but you asked for only one")]
    Multiple(String),
    #[error("Cannot parse argument '{argument}' of option {name}")]
    Conversion { name: String, argument: String },
    #[error("Missing required option(s) [{0}]")]
    MissingOption(String),
    #[error("Option(s) [{0}] are unavailable given other options on the command line")]
    Unavailable(String),
}

impl OptionError {
    /// The exception that jopt-simple throws.
    pub fn exception(&self) -> &'static str {
        match self {
            OptionError::Unrecognized(_) => "joptsimple.UnrecognizedOptionException",
            OptionError::MissingArgument(_) => "joptsimple.OptionMissingRequiredArgumentException",
            OptionError::Multiple(_) => "joptsimple.MultipleArgumentsForOptionException",
            OptionError::Conversion { .. } => "joptsimple.OptionArgumentConversionException",
            OptionError::MissingOption(_) => "joptsimple.MissingRequiredOptionsException",
            OptionError::Unavailable(_) => "joptsimple.UnavailableOptionException",
        }
    }
}

/// A tool's options. `help` and `version` are in every table.
#[derive(Debug, Clone, Copy)]
pub struct ToolOptions(pub &'static [ToolOption]);

const HELP: ToolOption = ToolOption::flag("help", "Shows these options.");
const VERSION: ToolOption =
    ToolOption::flag("version", "Shows the Kafka version that this tool stands in for.");

/// The options of one command line.
#[derive(Debug, Clone)]
pub struct Given {
    table: ToolOptions,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl ToolOptions {
    fn all(&self) -> impl Iterator<Item = &'static ToolOption> {
        self.0.iter().chain([&HELP, &VERSION])
    }

    fn find(&self, name: &str) -> Option<&'static ToolOption> {
        self.all().find(|option| option.name == name)
    }

    /// Reads a command line, and checks what the table says of options that need each other.
    pub fn parse(&self, args: &[String]) -> Result<Given, OptionError> {
        let mut values: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        let mut words = args.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            if !looks_like_an_option(word) {
                continue;
            }
            let (name, attached) = match word.trim_start_matches('-').split_once('=') {
                Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
                None => (word.trim_start_matches('-'), None),
            };
            let option = self.find(name).ok_or_else(|| unrecognized(word, name))?;
            let given = values.entry(option.name).or_default();
            match (option.argument, attached) {
                (Argument::None, None) => {}
                // A flag that is given a value is another option to jopt-simple.
                (Argument::None, Some(_)) => return Err(unrecognized(word, name)),
                (_, Some(value)) => given.push(value.to_owned()),
                (Argument::Required(_), None) => {
                    given.push(
                        words.next().ok_or_else(|| OptionError::MissingArgument(name.to_owned()))?.clone(),
                    );
                }
                (Argument::Optional(of), None) => {
                    // -1 is a number before it is an option.
                    let is_number = |word: &str| of != Type::Text && word.parse::<i64>().is_ok();
                    given.extend(
                        words.next_if(|next| !looks_like_an_option(next) || is_number(next)).cloned(),
                    );
                }
            }
        }
        let given = Given { table: *self, values };
        self.check(&given)?;
        Ok(given)
    }

    fn check(&self, given: &Given) -> Result<(), OptionError> {
        if given.has("help") || given.has("version") {
            return Ok(());
        }
        for option in self.0 {
            let has = given.has(option.name);
            if option.required_unless.is_some_and(|other| !has && !given.has(other)) {
                return Err(OptionError::MissingOption(option.name.to_owned()));
            }
            if has
                && !option.available_if.is_empty()
                && !option.available_if.iter().any(|other| given.has(other))
            {
                return Err(OptionError::Unavailable(option.name.to_owned()));
            }
        }
        Ok(())
    }

    /// The table that tools print under a usage error: two columns, 80 wide, options in the order of their names.
    pub fn help(&self) -> String {
        let mut rows: Vec<(String, String)> =
            self.all().map(|option| (option.usage(), option.described())).collect();
        rows.sort();
        let widest = |of: fn(&(String, String)) -> usize, title: usize| {
            rows.iter().map(of).max().unwrap_or(0).max(title)
        };
        let left = widest(|row| row.0.len(), "Option".len()).min(39);
        let right = widest(|row| row.1.len(), "Description".len()).min(78 - left);
        let mut help = String::new();
        let mut line = |option: &str, doc: &str| help += &format!("{option:<left$}  {doc:<right$}\n");
        line("Option", "Description");
        line("------", "-----------");
        for (option, doc) in rows {
            let (option, doc) = (wrapped(&option, left), wrapped(&doc, right));
            for at in 0..option.len().max(doc.len()) {
                let part = |column: &[String]| column.get(at).cloned().unwrap_or_default();
                line(&part(&option), &part(&doc));
            }
        }
        help
    }
}

impl ToolOption {
    fn usage(&self) -> String {
        let (open, of, close) = match self.argument {
            Argument::None => return format!("--{}", self.name),
            Argument::Required(of) => ('<', of, '>'),
            Argument::Optional(of) => ('[', of, ']'),
        };
        let of = match of {
            Type::Text => "String",
            Type::Int => "Integer",
            Type::Long => "Long",
        };
        let colon = if self.label.is_empty() { "" } else { ": " };
        format!("--{} {open}{of}{colon}{}{close}", self.name, self.label)
    }

    fn described(&self) -> String {
        match self.default {
            Some(default) => format!("{} (default: {default})", self.doc),
            None => self.doc.to_owned(),
        }
    }
}

fn looks_like_an_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word != "--"
}

/// After one dash, jopt-simple reads letter by letter.
fn unrecognized(word: &str, name: &str) -> OptionError {
    let one_dash = !word.starts_with("--");
    OptionError::Unrecognized(if one_dash { name.chars().take(1).collect() } else { name.to_owned() })
}

/// Breaks text between words; lines after the first are indented by two.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.len() + word.trim_end().len() > width && !line.trim().is_empty() {
            *line = line.trim_end().to_owned();
            lines.push(format!("  {word}"));
        } else {
            line.push_str(word);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

impl Given {
    /// Was the option given? `name` has to be in the table.
    pub fn has(&self, name: &str) -> bool {
        debug_assert!(self.table.find(name).is_some(), "{name} is not in the table");
        self.values.contains_key(name)
    }

    /// The one value, or the default.
    pub fn text(&self, name: &str) -> Result<Option<&str>, OptionError> {
        match self.values.get(name).map(Vec::as_slice) {
            Some([value]) => Ok(Some(value)),
            Some([]) | None => Ok(self.table.find(name).and_then(|option| option.default)),
            Some(_) => Err(OptionError::Multiple(name.to_owned())),
        }
    }

    /// All values; the option may be repeated.
    pub fn texts(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one value, or the default, as a number of the option's width.
    pub fn number(&self, name: &str) -> Result<Option<i64>, OptionError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let argument = self.table.find(name).map(|option| option.argument);
        let number = match argument {
            Some(Argument::Required(Type::Int) | Argument::Optional(Type::Int)) => {
                text.parse::<i32>().map(i64::from).ok()
            }
            _ => text.parse().ok(),
        };
        let unreadable = || OptionError::Conversion { name: name.to_owned(), argument: text.to_owned() };
        number.map(Some).ok_or_else(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: ToolOptions = ToolOptions(&[
        ToolOption::flag("list", "Lists."),
        ToolOption::flag("describe", "Describes."),
        ToolOption::text("topic", "topic", "The topic that this is about, in words enough to fill a line."),
        ToolOption::int("partitions", "# of partitions", "How many.").or("7"),
        ToolOption::text_if_any("state", "", "State.").if_any_of(&["list", "describe"]),
        ToolOption::long_if_any("period", "", "Milliseconds."),
    ]);

    fn parse(line: &str) -> Result<Given, OptionError> {
        TABLE.parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_attached_or_follow_and_one_dash_will_do() {
        for line in ["--topic a --list", "--topic=a stray --list", "-topic a -list"] {
            let given = parse(line).unwrap();
            assert_eq!(given.text("topic"), Ok(Some("a")), "{line}");
            assert!(given.has("list") && !given.has("describe"));
        }
        assert_eq!(parse("--topic --list").unwrap().text("topic"), Ok(Some("--list")));
        assert_eq!(parse("--list -- --topic a").unwrap().text("topic"), Ok(None));
    }

    #[test]
    fn a_negative_number_is_an_optional_argument_where_a_number_may_be() {
        assert_eq!(parse("--list --period -1").unwrap().number("period"), Ok(Some(-1)));
        assert_eq!(parse("--period --list").unwrap().number("period"), Ok(None));
        assert_eq!(parse("--list --state -1").unwrap_err().to_string(), "1 is not a recognized option");
    }

    #[test]
    fn an_optional_argument_is_not_an_option() {
        let given = parse("--list --state --topic a").unwrap();
        assert_eq!((given.has("state"), given.text("state")), (true, Ok(None)));
        assert_eq!(parse("--list --state Empty").unwrap().text("state"), Ok(Some("Empty")));
    }

    #[test]
    fn mistakes_have_jopts_words() {
        let text = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(text("--zookeeper x"), "zookeeper is not a recognized option");
        assert_eq!(text("-x"), "x is not a recognized option");
        assert_eq!(text("--top a"), "top is not a recognized option");
        assert_eq!(text("--topic"), "Option topic requires an argument");
        assert_eq!(
            text("--state"),
            "Option(s) [state] are unavailable given other options on the command line"
        );
        let twice = parse("--topic a --topic b").unwrap();
        assert_eq!(
            twice.text("topic").unwrap_err().to_string(),
            "Found multiple arguments for option topic, but you asked for only one"
        );
        let error = parse("--partitions 9999999999").unwrap().number("partitions").unwrap_err();
        assert_eq!(error.to_string(), "Cannot parse argument '9999999999' of option partitions");
        assert_eq!(error.exception(), "joptsimple.OptionArgumentConversionException");
        assert_eq!(parse("").unwrap().number("partitions"), Ok(Some(7)));
    }

    #[test]
    fn the_help_has_two_columns_in_80() {
        let help = TABLE.help();
        let lines: Vec<&str> = help.lines().collect();
        assert!(lines[0].starts_with("Option ") && lines[1].starts_with("------ "), "{help}");
        assert!(lines.iter().all(|line| line.len() <= 80), "{help}");
        assert!(help.contains("--partitions <Integer: # of partitions>  How many. (default: 7)"), "{help}");
    }
}
