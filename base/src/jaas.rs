//! The login configuration file of Java (JAAS), and values of `sasl.jaas.config`, which are one entry of such a file:
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_bob="builder" user_super="secret";
//! };
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum JaasError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: expected {expected}, found `{found}`")]
    Syntax { path: PathBuf, line: usize, expected: &'static str, found: String },
    #[error("{path}: the specified JAAS configuration section '{section}' could not be found")]
    Section { path: PathBuf, section: String },
}

/// A login module with its options.
#[derive(Clone, Default)]
pub struct Module {
    /// Its whole Java name.
    pub class: String,
    pub options: BTreeMap<String, String>,
}

/// Without the options: passwords are among them.
impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.class)
    }
}

/// The modules that hand a name and a password on to whoever asks, and so do for ZooKeeper's DIGEST-MD5: its own, and
/// those of Kafka, whose files name them for ZooKeeper, too.
const BY_PASSWORD: [&str; 3] = [
    "org.apache.zookeeper.server.auth.DigestLoginModule",
    "org.apache.kafka.common.security.plain.PlainLoginModule",
    "org.apache.kafka.common.security.scram.ScramLoginModule",
];

impl Module {
    /// Whether its `username` and `password`, or its `user_NAME`, are what ZooKeeper's DIGEST-MD5 goes by. The error says
    /// why the module cannot be had.
    pub fn for_digest(&self) -> Result<(), &'static str> {
        match &*self.class {
            class if BY_PASSWORD.contains(&class) => Ok(()),
            class if class.ends_with("Krb5LoginModule") => {
                Err("GSSAPI (Kerberos) is not supported; DigestLoginModule is")
            }
            _ => Err("this login module cannot be loaded here; DigestLoginModule is"),
        }
    }

    /// Reads a value that is one module with its options, up to its `;`. `named` stands in errors.
    pub fn parse(named: &str, text: &str) -> Result<Module, JaasError> {
        let mut words = Words { path: Path::new(named), text, at: 0, line: 1 };
        let class = words.need("a login module")?;
        let module = words.module(class)?;
        match words.next()? {
            None => Ok(module),
            Some(more) => Err(words.wrong("one login module", more)),
        }
    }
}

/// A parsed file.
#[derive(Clone)]
pub struct Jaas {
    pub path: PathBuf,
    sections: BTreeMap<String, Vec<Module>>,
}

/// Without passwords.
impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jaas({}, {:?})", self.path.display(), self.sections.keys().collect::<Vec<_>>())
    }
}

impl Jaas {
    /// `named`: as `-Djava.security.auth.login.config` has it, a path or a `file:` address.
    pub fn read(named: &str) -> Result<Jaas, JaasError> {
        let path = named.strip_prefix('=').unwrap_or(named);
        let path = path.strip_prefix("file:").map_or(path, |path| path.strip_prefix("//").unwrap_or(path));
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| JaasError::Read { path: path.clone(), source })?;
        Jaas::parse(&path, &text)
    }

    /// Reads the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<Jaas, JaasError> {
        let mut words = Words { path, text, at: 0, line: 1 };
        let mut sections = BTreeMap::new();
        while let Some(name) = words.next()? {
            words.expect("{")?;
            let mut modules = Vec::new();
            loop {
                let class = words.need("a login module or }")?;
                if class == "}" {
                    break;
                }
                modules.push(words.module(class)?);
            }
            words.expect(";")?;
            sections.insert(name, modules);
        }
        Ok(Jaas { path: path.into(), sections })
    }

    /// Whether there is such a section with a module in it. One without any is as good as none, as Java has it.
    pub fn has(&self, section: &str) -> bool {
        self.sections.get(section).is_some_and(|modules| !modules.is_empty())
    }

    /// A section's modules, at least one.
    pub fn modules(&self, section: &str) -> Result<&[Module], JaasError> {
        let missing = || JaasError::Section { path: self.path.clone(), section: section.into() };
        let modules = self.sections.get(section).filter(|modules| !modules.is_empty());
        modules.map(Vec::as_slice).ok_or_else(missing)
    }
}

/// The file's words: names, quoted texts, and `{ } ; =`.
struct Words<'a> {
    path: &'a Path,
    text: &'a str,
    at: usize,
    line: usize,
}

impl Words<'_> {
    fn wrong(&self, expected: &'static str, found: impl Into<String>) -> JaasError {
        JaasError::Syntax { path: self.path.into(), line: self.line, expected, found: found.into() }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, len: usize) -> String {
        let taken = self.rest()[..len].to_owned();
        self.line += taken.matches('\n').count();
        self.at += len;
        taken
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), JaasError> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.take(blank);
            } else if rest.starts_with("//") || rest.starts_with('#') {
                let len = rest.find('\n').unwrap_or(rest.len());
                self.take(len);
            } else if rest.starts_with("/*") {
                let Some(len) = rest.find("*/") else { return Err(self.wrong("*/", "the end")) };
                self.take(len + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Option<String>, JaasError> {
        self.skip_blanks_and_comments()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(None) };
        if "{};=".contains(first) {
            return Ok(Some(self.take(1)));
        }
        if first == '"' || first == '\'' {
            let Some(len) = rest[1..].find([first, '\n']).filter(|at| rest[1 + at..].starts_with(first))
            else {
                return Err(self.wrong("a closing quote", "the end of the line"));
            };
            let quoted = self.take(len + 2);
            return Ok(Some(quoted[1..=len].to_owned()));
        }
        let len = rest.find(|letter: char| letter.is_whitespace() || "{};=\"'".contains(letter));
        let len = len.unwrap_or(rest.len());
        Ok(Some(self.take(len)))
    }

    fn need(&mut self, expected: &'static str) -> Result<String, JaasError> {
        match self.next()? {
            Some(word) => Ok(word),
            None => Err(self.wrong(expected, "the end")),
        }
    }

    fn expect(&mut self, expected: &'static str) -> Result<(), JaasError> {
        match self.need(expected)? {
            word if word == expected => Ok(()),
            word => Err(self.wrong(expected, word)),
        }
    }

    /// What follows a class: its flag and its options. There is one module to ask, so the flag says nothing.
    fn module(&mut self, class: String) -> Result<Module, JaasError> {
        self.need("required, requisite, sufficient or optional")?;
        Ok(Module { class, options: self.options()? })
    }

    /// `key=value ... ;`
    fn options(&mut self) -> Result<BTreeMap<String, String>, JaasError> {
        let mut options = BTreeMap::new();
        loop {
            let key = self.need("key=value or ;")?;
            if key == ";" {
                return Ok(options);
            }
            // What stands here by mistake may be a password, and the error ends in a log.
            let sign = self.need("=")?;
            if sign != "=" {
                return Err(self.wrong("=", if sign == ";" || sign == "}" { &*sign } else { "a word" }));
            }
            let value = self.need("a value")?;
            if value.contains("${") {
                return Err(self.wrong("a value without ${...}", "one with it"));
            }
            options.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_modules_with_options_and_no_secret_is_shown() {
        let text = "// a\nServer { a.Digest required user_a=\"x;y\" /* b */ user_b='z'; c.Other optional; };";
        let jaas = Jaas::parse(Path::new("jaas.conf"), text).unwrap();
        let modules = jaas.modules("Server").unwrap();
        assert_eq!((&*modules[0].options["user_a"], &*modules[0].options["user_b"]), ("x;y", "z"));
        assert_eq!(modules[1].class, "c.Other");
        assert!(!format!("{jaas:?}{modules:?}").contains("x;y"));
        let missing = jaas.modules("None").unwrap_err().to_string();
        assert_eq!(missing, "jaas.conf: the specified JAAS configuration section 'None' could not be found");
    }

    #[test]
    fn a_section_without_modules_is_as_good_as_none() {
        let jaas =
            Jaas::parse(Path::new("jaas.conf"), "KafkaServer { a.Plain required; };\nClient {};").unwrap();
        assert!(jaas.has("KafkaServer") && !jaas.has("Client"));
        assert!(jaas.modules("Client").is_err());
    }

    #[test]
    fn a_value_of_a_key_is_one_module() {
        let module =
            Module::parse("sasl.jaas.config", "a.Plain required username=\"u\" password='p';").unwrap();
        assert_eq!((&*module.class, &*module.options["password"]), ("a.Plain", "p"));
        for wrong in ["", "a.Plain", "a.Plain required x", "a.Plain required; b.Plain required;"] {
            let error = Module::parse("sasl.jaas.config", wrong).unwrap_err().to_string();
            assert!(error.starts_with("sasl.jaas.config:1: expected"), "{error}");
        }
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        for (text, expected) in [
            ("A {\n B required\n x=1; }", "jaas.conf:3: expected ;, found `the end`"),
            ("A B", "jaas.conf:1: expected {, found `B`"),
            ("A { B required x; };", "jaas.conf:1: expected =, found `;`"),
            (
                "A { B required x=\"1; };",
                "jaas.conf:1: expected a closing quote, found `the end of the line`",
            ),
            (
                "A { B required x=\"${p}\"; };",
                "jaas.conf:1: expected a value without ${...}, found `one with it`",
            ),
            ("A { B required password \"secret\"; };", "jaas.conf:1: expected =, found `a word`"),
            ("A { B password=secret; };", "jaas.conf:1: expected =, found `a word`"),
        ] {
            let error = Jaas::parse(Path::new("jaas.conf"), text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
