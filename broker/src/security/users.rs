//! SCRAM credentials of users, as `/config/users` has them, at hand for logins.

use std::collections::{BTreeMap, HashMap};

use arc_swap::ArcSwap;
use client::security::scram::{Credential, Hash};

type Known = HashMap<String, HashMap<Hash, Credential>>;

/// What is known of users; replaced user by user when ZooKeeper tells of a change.
#[derive(Default)]
pub struct Users(ArcSwap<Known>);

impl Users {
    /// A user's credential for a mechanism.
    pub fn credential(&self, user: &str, hash: Hash) -> Option<Credential> {
        self.0.load().get(user)?.get(&hash).cloned()
    }

    /// Takes over what a user's node says.
    pub fn read(&self, user: &str, config: &BTreeMap<String, String>) {
        for hash in Hash::ALL {
            let credential = config.get(hash.mechanism()).map(|text| Credential::parse(text));
            if credential == Some(None) {
                tracing::error!(
                    "The {} credential of user {user} in ZooKeeper cannot be read",
                    hash.mechanism()
                );
            }
            self.set(user, hash, credential.flatten());
        }
    }

    /// Sets one credential, or takes it away.
    pub fn set(&self, user: &str, hash: Hash, credential: Option<Credential>) {
        self.0.rcu(|known| {
            let mut known = Known::clone(known);
            let own = known.entry(user.to_owned()).or_default();
            match &credential {
                Some(credential) => own.insert(hash, credential.clone()),
                None => own.remove(&hash),
            };
            if own.is_empty() {
                known.remove(user);
            }
            known
        });
    }
}

/// A name as a node's name: what is no letter, digit, `.`, `-` or `_` becomes `%` and two digits.
pub fn sanitized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The name of [`sanitized`]; what is no such name stays as it is.
pub fn desanitized(node: &str) -> String {
    let mut out = Vec::with_capacity(node.len());
    let mut bytes = node.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let code = rest.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| node.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_nodes_and_come_back() {
        assert_eq!(sanitized("CN=a b,*~é"), "CN%3Da%20b%2C%2A%7E%C3%A9");
        for name in ["CN=a b,*~é", "plain", "%", ""] {
            assert_eq!(desanitized(&sanitized(name)), name);
        }
        assert_eq!(desanitized("100%"), "100%");
    }

    #[test]
    fn a_users_node_replaces_what_was_known() {
        let users = Users::default();
        let credential = Credential::of_password(Hash::Sha256, "x", 4096);
        let node =
            BTreeMap::from([("SCRAM-SHA-256".to_owned(), credential.text()), ("other".into(), "1".into())]);
        users.read("ann", &node);
        assert_eq!(users.credential("ann", Hash::Sha256), Some(credential));
        assert_eq!(users.credential("ann", Hash::Sha512), None);
        users.read("ann", &BTreeMap::new());
        assert_eq!(users.credential("ann", Hash::Sha256), None);
    }
}
