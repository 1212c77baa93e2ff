//! The login configuration file of Java (JAAS):
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

/// The one module that works here.
const DIGEST: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";
/// `user_NAME=PASSWORD`
const USER: &str = "user_";

#[derive(Debug, thiserror::Error)]
pub enum JaasError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: expected {expected}, found `{found}`")]
    Syntax { path: PathBuf, line: usize, expected: &'static str, found: String },
    #[error("{path}: section `{section}`: {class}: {why}")]
    Module { path: PathBuf, section: String, class: String, why: &'static str },
    #[error("{path}: the specified JAAS configuration section '{section}' could not be found")]
    Section { path: PathBuf, section: String },
    #[error("{path}: section `{section}`: username and password are needed")]
    Login { path: PathBuf, section: String },
}

#[derive(Debug, Clone, Default)]
struct Module {
    class: String,
    options: BTreeMap<String, String>,
}

/// A parsed file.
#[derive(Clone)]
pub struct Jaas {
    path: PathBuf,
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

    fn parse(path: &Path, text: &str) -> Result<Jaas, JaasError> {
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
                // required, requisite, sufficient, optional: there is one module to ask.
                words.need("required, requisite, sufficient or optional")?;
                let options = words.options()?;
                modules.push(Module { class, options });
            }
            words.expect(";")?;
            sections.insert(name, modules);
        }
        Ok(Jaas { path: path.into(), sections })
    }

    pub fn has(&self, section: &str) -> bool {
        self.sections.contains_key(section)
    }

    /// Who may come, by a section of a server.
    pub fn users(&self, section: &str) -> Result<super::Users, JaasError> {
        let options = self.digest(section)?.flat_map(|module| &module.options);
        let user = |(key, value): (&String, &String)| Some((key.strip_prefix(USER)?.into(), value.clone()));
        Ok(options.filter_map(user).collect())
    }

    /// As whom we come, by a section of a client.
    pub fn login(&self, section: &str) -> Result<(String, String), JaasError> {
        let mut modules = self.digest(section)?;
        let login = modules.find_map(|module| {
            Some((module.options.get("username")?.clone(), module.options.get("password")?.clone()))
        });
        login.ok_or_else(|| JaasError::Login { path: self.path.clone(), section: section.into() })
    }

    /// A section's modules, all of the one kind that works here.
    fn digest(&self, section: &str) -> Result<impl Iterator<Item = &Module>, JaasError> {
        let missing = || JaasError::Section { path: self.path.clone(), section: section.into() };
        let modules = self.sections.get(section).filter(|modules| !modules.is_empty()).ok_or_else(missing)?;
        match modules.iter().find(|module| module.class != DIGEST) {
            None => Ok(modules.iter()),
            Some(other) => Err(JaasError::Module {
                path: self.path.clone(),
                section: section.into(),
                class: other.class.clone(),
                why: match other.class.ends_with("Krb5LoginModule") {
                    true => "GSSAPI (Kerberos) is not supported; DigestLoginModule is",
                    false => "this login module cannot be loaded here; DigestLoginModule is",
                },
            }),
        }
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
                return Err(self.wrong("a closing quote", rest.lines().next().unwrap_or_default()));
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

    /// `key=value ... ;`
    fn options(&mut self) -> Result<BTreeMap<String, String>, JaasError> {
        let mut options = BTreeMap::new();
        loop {
            let key = self.need("key=value or ;")?;
            if key == ";" {
                return Ok(options);
            }
            self.expect("=")?;
            let value = self.need("a value")?;
            if value.contains("${") {
                return Err(self.wrong("a value without ${...}", value));
            }
            options.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        // of the ensemble
        Server {
            org.apache.zookeeper.server.auth.DigestLoginModule required
            user_super="adminsecret" /* and */ user_bob='bob;s secret';
        };
        QuorumLearner { org.apache.zookeeper.server.auth.DigestLoginModule required
            username=test password="mypassword"; };
        Kerberos { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true; };
    "#;

    fn parse(text: &str) -> Result<Jaas, JaasError> {
        Jaas::parse(Path::new("jaas.conf"), text)
    }

    #[test]
    fn users_and_logins_are_read() {
        let jaas = parse(FILE).unwrap();
        let users = jaas.users("Server").unwrap();
        assert_eq!(users["super"], "adminsecret");
        assert_eq!(users["bob"], "bob;s secret");
        assert_eq!(jaas.login("QuorumLearner").unwrap(), ("test".into(), "mypassword".into()));
        assert!(!format!("{jaas:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_work_is_told_with_file_and_section() {
        let jaas = parse(FILE).unwrap();
        let wrong = jaas.users("Kerberos").unwrap_err().to_string();
        assert_eq!(
            wrong,
            "jaas.conf: section `Kerberos`: com.sun.security.auth.module.Krb5LoginModule: GSSAPI (Kerberos) is not \
             supported; DigestLoginModule is"
        );
        let wrong = jaas.users("None").unwrap_err().to_string();
        assert_eq!(wrong, "jaas.conf: the specified JAAS configuration section 'None' could not be found");
        assert!(jaas.login("Server").unwrap_err().to_string().contains("username and password are needed"));
        for (text, expected) in [
            ("A {\n B required\n x=1; }", "jaas.conf:3: expected ;, found `the end`"),
            ("A B", "jaas.conf:1: expected {, found `B`"),
            ("A { B required x; };", "jaas.conf:1: expected =, found `;`"),
            ("A { B required x=\"1; };", "jaas.conf:1: expected a closing quote, found `\"1; };`"),
            ("A { B required x=\"${p}\"; };", "jaas.conf:1: expected a value without ${...}, found `${p}`"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
