//! Option tables: one table holds each key's type, default, range and doc; parser, checks and help come from it.
//!
//! ```
//! use base::{Opt, Properties, Table};
//! static TABLE: Table = Table(&[
//!     Opt::int("tickTime", "3000", 1, i32::MAX as i64, "Milliseconds of a tick."),
//!     Opt::text("dataDir", "Where snapshots are kept."),
//! ]);
//! let file = Properties::parse("zoo.cfg", b"tickTime=2000\nspeling=1\n").unwrap();
//! let settings = TABLE.read(&file).unwrap();
//! assert_eq!(settings.int("tickTime"), 2000);
//! assert_eq!(settings.text_opt("dataDir"), None);
//! assert_eq!(settings.unknown[0].key, "speling");
//! ```

use crate::properties::{ConfigError, Entry, Origin, Properties};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Bool,
    /// A whole number, both ends included.
    Int {
        min: i64,
        max: i64,
    },
    /// A decimal number, both ends included.
    Float {
        min: f64,
        max: f64,
    },
    Text,
    /// As [`Kind::Text`], but never shown.
    Password,
    /// Separated by commas, blanks round them dropped, empty ones too.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opt {
    pub key: &'static str,
    pub kind: Kind,
    /// As it would be written; `None`: unset unless given.
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

impl Opt {
    pub const fn bool(key: &'static str, default: &'static str, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::Bool, default: Some(default), doc }
    }
    pub const fn int(key: &'static str, default: &'static str, min: i64, max: i64, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::Int { min, max }, default: Some(default), doc }
    }
    pub const fn int_opt(key: &'static str, min: i64, max: i64, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::Int { min, max }, default: None, doc }
    }
    pub const fn float(
        key: &'static str,
        default: &'static str,
        min: f64,
        max: f64,
        doc: &'static str,
    ) -> Opt {
        Opt { key, kind: Kind::Float { min, max }, default: Some(default), doc }
    }
    pub const fn text(key: &'static str, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::Text, default: None, doc }
    }
    pub const fn password(key: &'static str, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::Password, default: None, doc }
    }
    pub const fn list(key: &'static str, default: &'static str, doc: &'static str) -> Opt {
        Opt { key, kind: Kind::List, default: Some(default), doc }
    }
    pub const fn choice(
        key: &'static str,
        default: &'static str,
        words: &'static [&'static str],
        doc: &'static str,
    ) -> Opt {
        Opt { key, kind: Kind::Choice(words), default: Some(default), doc }
    }
    /// The same row with another default: `Opt::text(..).or("x")`.
    pub const fn or(mut self, default: &'static str) -> Opt {
        self.default = Some(default);
        self
    }

    /// Reads one value; the error says what is wrong and what would be right.
    pub fn parse(&self, value: &str) -> Result<Value, String> {
        let value = value.trim();
        match self.kind {
            Kind::Bool if value.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Kind::Bool if value.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Kind::Bool => Err(format!("Invalid option {value} for {}. Choose 'true' or 'false.'", self.key)),
            Kind::Int { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Int(number)),
                _ => Err(format!("`{value}` is not a whole number {}", range(min, max))),
            },
            Kind::Float { min, max } => match value.parse::<f64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Float(number)),
                _ => Err(format!("`{value}` is not a number from {min} to {max}")),
            },
            Kind::Text | Kind::Password => Ok(Value::Text(value.into())),
            Kind::List => Ok(Value::List(
                value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect(),
            )),
            Kind::Choice(words) => match words.iter().find(|word| **word == value) {
                Some(word) => Ok(Value::Text((*word).into())),
                None => Err(format!("`{value}` is not one of {}", words.join(", "))),
            },
        }
    }
}

fn range(min: i64, max: i64) -> String {
    match (min, max) {
        (min, i64::MAX | 0x7fff_ffff) => format!("of at least {min}"),
        (min, max) => format!("from {min} to {max}"),
    }
}

/// A value of the type that its [`Kind`] says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<String>),
}

/// All rows, each key once.
#[derive(Debug, Clone, Copy)]
pub struct Table(pub &'static [Opt]);

/// One key's outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub opt: &'static Opt,
    /// `None`: not given, and there is no default.
    pub value: Option<Value>,
    /// `None`: the default counts.
    pub origin: Option<Origin>,
}

/// Every key of a table with its value.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In the table's order.
    pub all: Vec<Setting>,
    /// Entries whose key is not in the table, in the order in which they were written.
    pub unknown: Vec<Entry>,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&'static Opt> {
        self.0.iter().find(|opt| opt.key == key)
    }

    /// Checks every entry; the first mistake is the error. Unknown keys are the caller's to judge.
    pub fn read(&self, properties: &Properties) -> Result<Settings, ConfigError> {
        let mut all = Vec::with_capacity(self.0.len());
        for opt in self.0 {
            let entry = properties.get(opt.key);
            let value = match (entry, opt.default) {
                (Some(entry), _) => Some(opt.parse(&entry.value).map_err(|wrong| entry.error(wrong))?),
                (None, Some(default)) => {
                    Some(opt.parse(default).unwrap_or_else(|wrong| panic!("default of {}: {wrong}", opt.key)))
                }
                (None, None) => None,
            };
            all.push(Setting { opt, value, origin: entry.map(|entry| entry.origin.clone()) });
        }
        let unknown = properties.iter().filter(|entry| self.get(&entry.key).is_none()).cloned().collect();
        Ok(Settings { all, unknown })
    }

    /// A line per key, for people.
    pub fn help(&self) -> String {
        let mut text = String::new();
        for opt in self.0 {
            let default = opt.default.unwrap_or("unset");
            text += &format!("{} ({}; default {default})\n    {}\n", opt.key, kind_name(opt.kind), opt.doc);
        }
        text
    }
}

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Int { min, max } => format!("whole number {}", range(min, max)),
        Kind::Float { min, max } => format!("number from {min} to {max}"),
        Kind::Text => "text".into(),
        Kind::Password => "password".into(),
        Kind::List => "list".into(),
        Kind::Choice(words) => words.join(" | "),
    }
}

/// The typed readers below panic on a key that is not in the table, is unset, or is of another type: mistakes of the
/// program, never of the file.
impl Settings {
    pub fn get(&self, key: &str) -> &Setting {
        self.all.iter().find(|setting| setting.opt.key == key).unwrap_or_else(|| panic!("no option {key}"))
    }

    /// The key was written somewhere.
    pub fn is_given(&self, key: &str) -> bool {
        self.get(key).origin.is_some()
    }

    pub fn bool(&self, key: &str) -> bool {
        match &self.get(key).value {
            Some(Value::Bool(value)) => *value,
            other => panic!("{key} is {other:?}"),
        }
    }

    pub fn int_opt(&self, key: &str) -> Option<i64> {
        match &self.get(key).value {
            Some(Value::Int(value)) => Some(*value),
            None => None,
            other => panic!("{key} is {other:?}"),
        }
    }

    pub fn int(&self, key: &str) -> i64 {
        self.int_opt(key).unwrap_or_else(|| panic!("{key} is unset"))
    }

    pub fn float(&self, key: &str) -> f64 {
        match &self.get(key).value {
            Some(Value::Float(value)) => *value,
            other => panic!("{key} is {other:?}"),
        }
    }

    pub fn text_opt(&self, key: &str) -> Option<&str> {
        match &self.get(key).value {
            Some(Value::Text(value)) => Some(value),
            None => None,
            other => panic!("{key} is {other:?}"),
        }
    }

    pub fn text(&self, key: &str) -> &str {
        self.text_opt(key).unwrap_or_else(|| panic!("{key} is unset"))
    }

    pub fn list(&self, key: &str) -> &[String] {
        match &self.get(key).value {
            Some(Value::List(value)) => value,
            other => panic!("{key} is {other:?}"),
        }
    }

    /// A mistake in this key that only shows beside other settings.
    pub fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { origin: self.get(key).origin.clone(), key: Some(key.into()), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Table = Table(&[
        Opt::int("port", "2181", 1, 65535, "The port."),
        Opt::bool("on", "true", "A switch."),
        Opt::float("ratio", "0.33", 0.0, 1.0, "A ratio."),
        Opt::list("names", "", "Names."),
        Opt::choice("mode", "gz", &["gz", "snappy"], "A mode."),
        Opt::text("dir", "A folder."),
    ]);

    fn read(text: &str) -> Result<Settings, ConfigError> {
        TABLE.read(&Properties::parse("t.cfg", text.as_bytes()).unwrap())
    }

    #[test]
    fn values_are_typed_and_defaults_fill_the_rest() {
        let settings = read("port= 99 \non=FALSE\nnames=a, b,,c\n").unwrap();
        assert_eq!(settings.int("port"), 99);
        assert!(!settings.bool("on"));
        assert_eq!(settings.float("ratio"), 0.33);
        assert_eq!(settings.list("names"), ["a", "b", "c"]);
        assert_eq!(settings.text("mode"), "gz");
        assert_eq!(settings.text_opt("dir"), None);
        assert!(settings.is_given("port") && !settings.is_given("mode"));
    }

    #[test]
    fn a_mistake_names_file_line_key_and_what_is_right() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(message("\nport=x\n"), "t.cfg:2: port: `x` is not a whole number from 1 to 65535");
        assert_eq!(message("port=0"), "t.cfg:1: port: `0` is not a whole number from 1 to 65535");
        assert_eq!(message("on=1"), "t.cfg:1: on: Invalid option 1 for on. Choose 'true' or 'false.'");
        assert_eq!(message("mode=zip"), "t.cfg:1: mode: `zip` is not one of gz, snappy");
        assert_eq!(message("ratio=2"), "t.cfg:1: ratio: `2` is not a number from 0 to 1");
    }

    #[test]
    fn unknown_keys_are_handed_to_the_caller() {
        assert_eq!(read("prot=1").unwrap().unknown[0].key, "prot");
    }

    #[test]
    fn help_names_every_key_with_its_default() {
        let help = TABLE.help();
        assert!(
            help.contains("port (whole number from 1 to 65535; default 2181)\n    The port.\n"),
            "{help}"
        );
        assert!(help.contains("dir (text; default unset)"), "{help}");
    }
}
