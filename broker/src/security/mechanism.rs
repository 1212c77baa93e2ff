//! The server's side of one login: PLAIN, SCRAM (of users and of delegation tokens) and OAUTHBEARER, in Kafka's words.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_core::acl::Principal;
use client::security::OAUTHBEARER;
use client::security::scram::{Credential, Hash, ITERATIONS_MIN, attribute, name_of, nonce};

use super::Users;
use super::oauth::{self, Validator};

/// What becomes of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More is to come.
    Continue(Vec<u8>),
    Done {
        token: Vec<u8>,
        admitted: Admitted,
    },
}

/// Whom a login has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub principal: Principal,
    /// When what was shown expires, in ms since 1970.
    pub until_ms: Option<i64>,
    /// It was a delegation token.
    pub by_token: bool,
}

impl Admitted {
    pub fn for_ever(principal: Principal) -> Admitted {
        Admitted { principal, until_ms: None, by_token: false }
    }
}

/// What logins are checked by.
pub struct Checks<'a> {
    /// Names and passwords of PLAIN.
    pub passwords: &'a BTreeMap<String, String>,
    pub users: &'a Users,
    /// Of OAUTHBEARER.
    pub bearer: Option<&'a Validator>,
    /// ms since 1970.
    pub now_ms: i64,
}

/// A login that fails, with what the client may know of it; most of what is wrong it may not.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection(pub Option<String>);

pub(super) fn told<T>(why: &str) -> Result<T, Rejection> {
    Err(Rejection(Some(why.to_owned())))
}

/// One login under way.
pub enum Exchange {
    Plain,
    Scram(Box<Scram>),
    Bearer(oauth::Exchange),
}

impl Exchange {
    /// Of a mechanism that is enabled.
    pub fn new(mechanism: &str) -> Exchange {
        match Hash::of_mechanism(mechanism) {
            Some(hash) => Exchange::Scram(Box::new(Scram { hash, nonce: nonce(), asked: None })),
            None if mechanism == OAUTHBEARER => Exchange::Bearer(oauth::Exchange::default()),
            None => Exchange::Plain,
        }
    }

    /// Takes the client's next token.
    pub fn take(&mut self, token: &[u8], checks: &Checks<'_>) -> Result<Step, Rejection> {
        match self {
            Exchange::Plain => plain(token, checks.passwords),
            Exchange::Scram(scram) => scram.take(token, checks.users),
            Exchange::Bearer(bearer) => match checks.bearer {
                Some(validator) => bearer.take(token, validator, checks.now_ms),
                None => Err(Rejection(None)),
            },
        }
    }
}

const OTHER_IDENTITY: &str =
    "Authentication failed: Client requested an authorization id that is different from username";

fn plain(token: &[u8], passwords: &BTreeMap<String, String>) -> Result<Step, Rejection> {
    let text = String::from_utf8_lossy(token);
    let parts: Vec<&str> = text.splitn(5, '\0').collect();
    let [identity, name, password] = parts[..] else {
        let count = parts.len().min(4);
        return told(&format!("Invalid SASL/PLAIN response: expected 3 tokens, got {count}"));
    };
    if name.is_empty() {
        return told("Authentication failed: username not specified");
    }
    if password.is_empty() {
        return told("Authentication failed: password not specified");
    }
    let known = passwords.get(name).is_some_and(|expected| {
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), password.as_bytes()).is_ok()
    });
    if !known {
        return told("Authentication failed: Invalid username or password");
    }
    if !identity.is_empty() && identity != name {
        return told(OTHER_IDENTITY);
    }
    Ok(Step::Done { token: Vec::new(), admitted: Admitted::for_ever(Principal::user(name)) })
}

/// SCRAM from the server's side.
pub struct Scram {
    hash: Hash,
    /// The server's part.
    nonce: String,
    /// What was asked first, and who.
    asked: Option<Asked>,
}

struct Asked {
    admitted: Admitted,
    credential: Credential,
    /// The client's first message without its header, and the answer to it, joined as they are signed.
    exchange: String,
    nonce: String,
}

impl Scram {
    fn take(&mut self, token: &[u8], users: &Users) -> Result<Step, Rejection> {
        let text = std::str::from_utf8(token).map_err(|_| Rejection(None))?;
        match self.asked.take() {
            None => self.first(text, users),
            Some(asked) => self.last(text, &asked),
        }
    }

    fn first(&mut self, text: &str, users: &Users) -> Result<Step, Rejection> {
        let first = First::read(text).ok_or(Rejection(None))?;
        let known = match first.token {
            true => users.tokens().credential(&first.name, self.hash).map(|(token, credential)| {
                // Whoever has a token of somebody else's kind is a user by that name all the same.
                let principal = Principal::user(token.owner.name.clone());
                (Admitted { principal, until_ms: Some(token.expires_ms), by_token: true }, credential)
            }),
            false => users
                .credential(&first.name, self.hash)
                .map(|credential| (Admitted::for_ever(Principal::user(first.name.as_str())), credential)),
        };
        let (admitted, credential) = known.ok_or(Rejection(None))?;
        if first.identity.as_ref().is_some_and(|identity| *identity != first.name) {
            return told(OTHER_IDENTITY);
        }
        if credential.iterations < ITERATIONS_MIN {
            return Err(Rejection(None));
        }
        let nonce = format!("{}{}", first.nonce, self.nonce);
        let answer = format!("r={nonce},s={},i={}", BASE64.encode(&credential.salt), credential.iterations);
        let exchange = format!("{},{answer}", first.bare);
        self.asked = Some(Asked { admitted, credential, exchange, nonce });
        Ok(Step::Continue(answer.into_bytes()))
    }

    fn last(&self, text: &str, asked: &Asked) -> Result<Step, Rejection> {
        let (signed, proof) = text.rsplit_once(",p=").ok_or(Rejection(None))?;
        let mut parts = signed.split(',');
        let binding = attribute(parts.next(), "c").is_some_and(|text| BASE64.decode(text).is_ok());
        let nonce = attribute(parts.next(), "r").is_some_and(|nonce| nonce == asked.nonce);
        let proof = BASE64.decode(proof).ok().filter(|_| binding && nonce).ok_or(Rejection(None))?;
        let exchange = format!("{},{signed}", asked.exchange);
        if !asked.credential.proves(self.hash, &exchange, &proof) {
            return Err(Rejection(None));
        }
        let signature = asked.credential.server_signature(self.hash, &exchange);
        let token = format!("v={}", BASE64.encode(signature)).into_bytes();
        Ok(Step::Done { token, admitted: asked.admitted.clone() })
    }
}

/// A client's first message.
#[derive(Debug, PartialEq, Eq)]
struct First {
    identity: Option<String>,
    name: String,
    nonce: String,
    /// The name is that of a delegation token.
    token: bool,
    bare: String,
}

impl First {
    fn read(text: &str) -> Option<First> {
        let (identity, bare) = text.strip_prefix("n,")?.split_once(',')?;
        let identity = match identity {
            "" => None,
            given => Some(given.strip_prefix("a=")?.to_owned()),
        };
        // What is reserved is passed over, as by Kafka.
        let bare = match bare.strip_prefix("m=") {
            Some(reserved) => reserved.split_once(',')?.1,
            None => bare,
        };
        let mut parts = bare.split(',');
        let name = name_of(attribute(parts.next(), "n").filter(|name| !name.is_empty())?)?;
        let nonce = attribute(parts.next(), "r").filter(|nonce| !nonce.is_empty())?;
        if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut token = false;
        for extension in parts {
            let (key, value) = extension.split_once('=')?;
            token |= key == "tokenauth" && value.eq_ignore_ascii_case("true");
        }
        Some(First { identity, name, nonce: nonce.to_owned(), token, bare: bare.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use client::security::scram::ScramClient;

    use super::super::TokenKey;
    use super::super::tokens::tests::token;
    use super::*;

    fn passwords() -> BTreeMap<String, String> {
        BTreeMap::from([("ann".to_owned(), "secret".to_owned())])
    }

    #[test]
    fn plain_takes_the_right_password_and_says_why_it_takes_no_other() {
        let users = Users::default();
        let take = |token: &[u8]| Exchange::Plain.take(token, &checks(&passwords(), &users));
        let ann = Step::Done { token: vec![], admitted: Admitted::for_ever(Principal::user("ann")) };
        assert_eq!(take(b"\0ann\0secret"), Ok(ann));
        for (token, why) in [
            (&b"\0ann\0wrong"[..], "Authentication failed: Invalid username or password"),
            (b"\0eve\0secret", "Authentication failed: Invalid username or password"),
            (b"eve\0ann\0secret", OTHER_IDENTITY),
            (b"\0\0secret", "Authentication failed: username not specified"),
            (b"\0ann\0", "Authentication failed: password not specified"),
            (b"ann", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
            (b"a\0b\0c\0d\0e", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        ] {
            assert_eq!(take(token), told(why));
        }
    }

    fn checks<'a>(passwords: &'a BTreeMap<String, String>, users: &'a Users) -> Checks<'a> {
        Checks { passwords, users, bearer: None, now_ms: 0 }
    }

    #[test]
    fn whoever_has_a_delegation_token_is_its_owner_for_as_long_as_it_lives() {
        let (users, key) = (Users::default(), TokenKey::new("secret").unwrap());
        users.tokens().set(&key, token("id", "ann", 77));
        let password = BASE64.encode(key.sign("id"));
        for hash in Hash::ALL {
            let login = |password: &str, by_token: bool| {
                let mut client = ScramClient::new(hash, "id", password, by_token);
                let mut server = Exchange::new(hash.mechanism());
                let mut take = |text: String| server.take(text.as_bytes(), &checks(&BTreeMap::new(), &users));
                let Step::Continue(first) = take(client.first())? else { panic!("ended too early") };
                let proof = client.answer(std::str::from_utf8(&first).unwrap()).unwrap();
                let Step::Done { admitted, .. } = take(proof)? else { panic!("not ended") };
                Ok(admitted)
            };
            let principal = Principal::user("ann");
            assert_eq!(
                login(&password, true),
                Ok(Admitted { principal, until_ms: Some(77), by_token: true })
            );
            assert_eq!(login("other", true), Err(Rejection(None)));
            assert_eq!(login(&password, false), Err(Rejection(None)));
        }
    }

    #[test]
    fn scram_ends_well_with_the_right_password_and_without_a_word_with_any_other() {
        let users = Users::default();
        for hash in Hash::ALL {
            users.set("ann=b,c", hash, Some(Credential::of_password(hash, "secret", 4096)));
            let login = |password: &str| {
                let mut client = ScramClient::new(hash, "ann=b,c", password, false);
                let mut server = Exchange::new(hash.mechanism());
                let mut take = |text: String| server.take(text.as_bytes(), &checks(&BTreeMap::new(), &users));
                let Step::Continue(first) = take(client.first())? else { panic!("ended too early") };
                let proof = client.answer(std::str::from_utf8(&first).unwrap()).unwrap();
                let Step::Done { token, admitted } = take(proof)? else { panic!("not ended") };
                client.finish(std::str::from_utf8(&token).unwrap()).unwrap();
                Ok(admitted.principal)
            };
            assert_eq!(login("secret"), Ok(Principal::user("ann=b,c")));
            assert_eq!(login("other"), Err(Rejection(None)));
        }
    }

    #[test]
    fn no_message_of_a_stranger_gets_further_than_a_refusal() {
        let users = Users::default();
        users.set("ann", Hash::Sha256, Some(Credential::of_password(Hash::Sha256, "secret", 4096)));
        users.set("weak", Hash::Sha256, Some(Credential::of_password(Hash::Sha256, "secret", 16)));
        let first = |text: &str| {
            Exchange::new("SCRAM-SHA-256").take(text.as_bytes(), &checks(&BTreeMap::new(), &users))
        };
        assert!(matches!(first("n,,n=ann,r=abc"), Ok(Step::Continue(_))));
        assert!(matches!(first("n,a=ann,m=x,n=ann,r=abc,e=f"), Ok(Step::Continue(_))));
        assert_eq!(first("n,a=eve,n=ann,r=abc"), told(OTHER_IDENTITY));
        for text in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=,r=a",
            "n,,n=ann",
            "n,,n=ann,r=",
            "n,,r=a,n=ann",
            "y,,n=ann,r=a",
            "p=tls,,n=ann,r=a",
            "n,,n=a=b,r=a",
            "n,,n=eve,r=a",
            "n,,n=weak,r=a",
            "n,,n=ann,r=a b",
            "n,,n=ann,r=a,tokenauth=true",
            "n,,n=ann,r=a,x",
        ] {
            assert_eq!(first(text), Err(Rejection(None)), "{text}");
        }
        for last in ["", "c=biws", "c=biws,r=x,p=AAAA", "p=", "c=biws,r=abc,p=!"] {
            let mut server = Exchange::new("SCRAM-SHA-256");
            server.take(b"n,,n=ann,r=abc", &checks(&BTreeMap::new(), &users)).unwrap();
            assert_eq!(server.take(last.as_bytes(), &checks(&BTreeMap::new(), &users)), Err(Rejection(None)));
        }
    }
}
