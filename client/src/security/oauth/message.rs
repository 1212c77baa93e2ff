//! The client's first message of OAUTHBEARER (RFC 7628), as Kafka writes and reads it:
//! `n,,^Aauth=Bearer TOKEN^Akey=value^A^A`.

use std::collections::BTreeMap;

/// What a client answers to an error, before it is told so.
pub const AFTER_ERROR: &[u8] = b"\x01";
const SEPARATOR: char = '\x01';
const AUTH: &str = "auth";

/// A client's first message.
#[derive(Clone, PartialEq, Eq)]
pub struct First {
    /// As whom the client wants to act; empty: as whom the token says.
    pub identity: String,
    pub token: String,
    pub extensions: BTreeMap<String, String>,
}

/// Why a message is none; Kafka tells its clients only that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid OAUTHBEARER client first message")]
pub struct Malformed;

impl First {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let identity = if self.identity.is_empty() { String::new() } else { format!("a={}", self.identity) };
        let mut message = format!("n,{identity},{SEPARATOR}{AUTH}=Bearer {}", self.token);
        for (key, value) in &self.extensions {
            message += &format!("{SEPARATOR}{key}={value}");
        }
        message += "\x01\x01";
        message.into_bytes()
    }

    /// Reads [`First::write`].
    pub fn read(bytes: &[u8]) -> Result<First, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        First::parse(text).ok_or(Malformed)
    }

    fn parse(text: &str) -> Option<First> {
        let (identity, rest) = text.strip_prefix("n,")?.split_once(',')?;
        let identity = match identity {
            "" => "",
            given => given.strip_prefix("a=").filter(|name| is_name(name))?,
        };
        let pairs = rest.strip_prefix(SEPARATOR)?.strip_suffix(SEPARATOR)?;
        let mut extensions = BTreeMap::new();
        if !pairs.is_empty() {
            for pair in pairs.strip_suffix(SEPARATOR)?.split(SEPARATOR) {
                let (key, value) = pair.split_once('=')?;
                extensions.insert(key.to_owned(), value.to_owned());
            }
        }
        let auth = extensions.remove(AUTH)?;
        check_extensions(&extensions).ok()?;
        let (scheme, token) = auth.split_once(' ')?;
        let token = token.trim_start_matches(' ');
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.chars().all(is_token);
        fits.then(|| First { identity: identity.to_owned(), token: token.to_owned(), extensions })
    }
}

fn is_name(name: &str) -> bool {
    let plain = name.replace("=2C", "").replace("=3D", "");
    !name.is_empty() && plain.chars().all(|c| c.is_ascii() && !matches!(c, '\0' | '=' | ','))
}

/// Whether names and values of extensions may be sent; the error is Kafka's.
pub fn check_extensions(extensions: &BTreeMap<String, String>) -> Result<(), String> {
    for (key, value) in extensions {
        if key == AUTH || key.is_empty() || !key.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(format!("Extension name {key} is invalid"));
        }
        let may_stand = |c: char| matches!(c, '\x21'..='\x7e' | ' ' | '\t' | '\r' | '\n');
        if value.is_empty() || !value.chars().all(may_stand) {
            return Err(format!("Extension value ({value}) for extension {key} is invalid"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_kafka_writes_it_and_read_back() {
        let extensions = BTreeMap::from([("traceId".to_owned(), "1 2".to_owned())]);
        let first = First { identity: String::new(), token: "a.b.".to_owned(), extensions };
        assert_eq!(first.write(), b"n,,\x01auth=Bearer a.b.\x01traceId=1 2\x01\x01");
        assert!(First::read(&first.write()) == Ok(first.clone()));
        let named = First { identity: "ann=2C".to_owned(), extensions: BTreeMap::new(), ..first };
        assert!(First::read(&named.write()) == Ok(named));
        assert!(First::read(b"n,,\x01k=v\x01auth=bearer   t\x01\x01").is_ok());
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        for message in [
            &b""[..],
            b"n,,",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer t\x01",
            b"y,,\x01auth=Bearer t\x01\x01",
            b"n,x,\x01auth=Bearer t\x01\x01",
            b"n,a=,\x01auth=Bearer t\x01\x01",
            b"n,a=x=y,\x01auth=Bearer t\x01\x01",
            b"n,,\x01auth=Basic t\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer a+b\x01\x01",
            b"n,,\x01k1=v\x01auth=Bearer t\x01\x01",
            b"n,,\x01k=\x01auth=Bearer t\x01\x01",
            b"n,,\x01k\x01auth=Bearer t\x01\x01",
            b"n,,\x01auth=Bearer \xff\x01\x01",
        ] {
            assert!(First::read(message).is_err(), "{:?}", String::from_utf8_lossy(message));
        }
    }
}
