//! `key=value,key="quoted value"`: how both sides write their tokens.

use super::{SaslError, TOKEN_MAX};

/// Keys in lower case, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Directives(Vec<(String, String)>);

impl Directives {
    pub fn parse(token: &[u8]) -> Result<Directives, SaslError> {
        if token.len() > TOKEN_MAX {
            return Err(SaslError::Long(token.len()));
        }
        let text = std::str::from_utf8(token).map_err(|error| SaslError::Malformed(error.valid_up_to()))?;
        let mut walk = Walk { text, at: 0 };
        let mut all = Vec::new();
        loop {
            walk.skip(|letter| letter == ',' || is_blank(letter));
            if walk.rest().is_empty() {
                return Ok(Directives(all));
            }
            all.push(walk.directive()?);
        }
    }

    pub fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A value that may stand once at most.
    pub fn get(&self, key: &'static str) -> Result<Option<&str>, SaslError> {
        match self.0.iter().filter(|(name, _)| name == key).count() {
            0 | 1 => Ok(self.first(key)),
            _ => Err(SaslError::Directive(key)),
        }
    }

    pub fn need(&self, key: &'static str) -> Result<&str, SaslError> {
        self.get(key)?.ok_or(SaslError::Directive(key))
    }
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

/// `"`, with quotes and backslashes escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut to = String::with_capacity(text.len() + 2);
    to.push('"');
    for letter in text.chars() {
        if letter == '"' || letter == '\\' {
            to.push('\\');
        }
        to.push(letter);
    }
    to.push('"');
    to
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes over letters, and gives them.
    fn skip(&mut self, passes: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|letter| !passes(letter)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn directive(&mut self) -> Result<(String, String), SaslError> {
        let key = self.skip(|letter| !is_blank(letter) && !",=\"".contains(letter)).to_ascii_lowercase();
        self.skip(is_blank);
        if key.is_empty() || !self.rest().starts_with('=') {
            return Err(SaslError::Malformed(self.at));
        }
        self.at += 1;
        self.skip(is_blank);
        let value = match self.rest().starts_with('"') {
            true => self.quoted()?,
            false => self.skip(|letter| !is_blank(letter) && !",\"".contains(letter)).to_owned(),
        };
        self.skip(is_blank);
        match self.rest().is_empty() || self.rest().starts_with(',') {
            true => Ok((key, value)),
            false => Err(SaslError::Malformed(self.at)),
        }
    }

    fn quoted(&mut self) -> Result<String, SaslError> {
        let begin = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            value.push_str(self.skip(|letter| letter != '"' && letter != '\\'));
            let mut rest = self.rest().chars();
            match (rest.next(), rest.next()) {
                (Some('"'), _) => {
                    self.at += 1;
                    return Ok(value);
                }
                (Some('\\'), Some(letter)) => {
                    self.at += 1 + letter.len_utf8();
                    value.push(letter);
                }
                _ => return Err(SaslError::Malformed(begin)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_blanks_and_empty_items_are_read() {
        let all = Directives::parse(br#"realm="a,b=\"c\"" , ,NC = 00000001,qop=auth"#).unwrap();
        assert_eq!(all.first("realm"), Some("a,b=\"c\""));
        assert_eq!((all.first("nc"), all.first("qop")), (Some("00000001"), Some("auth")));
        assert_eq!(quoted("a\"b\\"), "\"a\\\"b\\\\\"");
    }

    #[test]
    fn nonsense_is_refused_where_it_begins() {
        let wrong = |text: &[u8]| Directives::parse(text).unwrap_err();
        assert_eq!(wrong(b"realm"), SaslError::Malformed(5));
        assert_eq!(wrong(b"=x"), SaslError::Malformed(0));
        assert_eq!(wrong(b"a=\"x"), SaslError::Malformed(2));
        assert_eq!(wrong(b"a=\"x\"y"), SaslError::Malformed(5));
        assert_eq!(wrong(&[b'a', b'=', 0xff]), SaslError::Malformed(2));
        assert_eq!(wrong(&[b'a'; 5000]), SaslError::Long(5000));
        assert_eq!(Directives::parse(b"nc=1,nc=2").unwrap().get("nc"), Err(SaslError::Directive("nc")));
    }
}
