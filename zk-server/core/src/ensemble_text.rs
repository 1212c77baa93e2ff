//! The text of an ensemble, read: as votes, NEWLEADER, transactions, requests and files carry it.

use crate::config::{Ensemble, Role};
use crate::member::Member;
use crate::quorums::QuorumLines;
use std::collections::BTreeMap;
use wire::zk::{Sid, err};

/// What is wrong with a text, and the error code with which a client's request gets it back: Java's servers answer
/// what is not a number otherwise than what has no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    pub why: String,
    pub code: i32,
}

impl TextError {
    pub(crate) fn senseless(why: impl Into<String>) -> TextError {
        TextError { why: why.into(), code: err::BAD_ARGUMENTS }
    }

    pub(crate) fn no_number(text: &str) -> TextError {
        TextError { why: format!("`{text}` is not a number"), code: err::MARSHALLING }
    }
}

impl Ensemble {
    /// Reads `server.N=...`, `group.N=...`, `weight.N=...` and `version=<hex>` lines. Of two lines with one key, the
    /// later counts; without a version it is 0.
    pub fn parse(text: &str) -> Result<Ensemble, TextError> {
        let mut members = BTreeMap::new();
        let mut version = 0;
        let mut quorums = BTreeMap::new();
        for (key, value) in text.lines().filter_map(entry) {
            if let Some(sid) = key.strip_prefix("server.") {
                let sid = number(sid)?;
                members.insert(sid, Member::parse(sid, value).map_err(TextError::senseless)?);
            } else if QuorumLines::is_one(key) {
                quorums.insert(key, value);
            } else if key == "version" {
                version = i64::from_str_radix(value, 16).map_err(|_| TextError::no_number(value))?;
            } else {
                return Err(TextError::senseless(format!("Unrecognised parameter: {key}")));
            }
        }
        let mut lines = QuorumLines::default();
        for (key, value) in quorums {
            lines.read(key, value).map_err(TextError::senseless)?;
        }
        let quorums = lines.finish(&members).map_err(TextError::senseless)?;
        Ok(Ensemble::new(members, quorums, version))
    }

    /// Whether an ensemble may consist of these. `standalone`: a single voter is a server of its own, and no ensemble.
    pub fn check(&self, standalone: bool) -> Result<(), TextError> {
        let observers = self.members.values().any(|member| member.role == Role::Observer);
        let why = match (self.voters().count(), standalone) {
            (0, false) => "standaloneEnabled = false then number of participants should be >0",
            (0, true) if observers => "Observers w/o participants is an invalid configuration",
            (1, true) if observers => "Observers w/o quorum is an invalid configuration",
            _ => return Ok(()),
        };
        Err(TextError { why: why.into(), code: err::MARSHALLING })
    }
}

/// Key and value of a line of properties; `None` for what is none.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', '!']) {
        return None;
    }
    let end = line.find(|c: char| c == '=' || c == ':' || c.is_whitespace()).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    Some((key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start()))
}

pub(crate) fn number(text: &str) -> Result<Sid, TextError> {
    text.parse().map_err(|_| TextError::no_number(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_written() {
        for text in [
            "server.1=a:1:2:participant;c:5\nserver.2=b:1:2:observer\nversion=10000000a",
            "server.1=a:1:2:participant\nserver.2=b:1:2:participant\ngroup.1=1:2\nweight.1=1\nweight.2=3\nversion=0",
        ] {
            assert_eq!(Ensemble::parse(text).map(|read| read.text), Ok(text.into()));
        }
    }

    #[test]
    fn other_forms_of_properties_mean_the_same() {
        let read = Ensemble::parse("# members\n\nserver.1 = a:1:2 \nserver.2:b:1:2\nserver.1=c:1:2").unwrap();
        assert_eq!(&*read.text, "server.1=c:1:2:participant\nserver.2=b:1:2:participant\nversion=0");
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        let code = |text: &str| Ensemble::parse(text).map_err(|wrong| wrong.code).err();
        assert_eq!(code("server.1=a:1"), Some(err::BAD_ARGUMENTS));
        assert_eq!(code("server.x=a:1:2"), Some(err::MARSHALLING));
        assert_eq!(code("version=xyz"), Some(err::MARSHALLING));
        assert_eq!(code("tickTime=2000"), Some(err::BAD_ARGUMENTS));
        assert_eq!(code("server.1=a:1:2\ngroup.1=2"), Some(err::BAD_ARGUMENTS));
    }

    #[test]
    fn an_ensemble_has_voters() {
        let check = |text: &str, standalone| Ensemble::parse(text).unwrap().check(standalone).is_ok();
        assert!(!check("", false) && check("", true));
        assert!(!check("server.1=a:1:2:observer", true) && !check("server.1=a:1:2:observer", false));
        let observed = "server.1=a:1:2\nserver.2=a:3:4:observer";
        assert!(check(observed, false) && !check(observed, true));
    }
}
