//! SCRAM credentials of users, as `/config/users` has them, at hand for logins.

use std::collections::{BTreeMap, HashMap};

use arc_swap::ArcSwap;
use client::security::scram::{Credential, Hash};

use super::TokenCache;

type Known = HashMap<String, HashMap<Hash, Credential>>;

/// What is known of users; replaced user by user when ZooKeeper tells of a change.
#[derive(Default)]
pub struct Users {
    known: ArcSwap<Known>,
    tokens: TokenCache,
}

impl Users {
    /// Delegation tokens: users of their own kind.
    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// A user's credential for a mechanism.
    pub fn credential(&self, user: &str, hash: Hash) -> Option<Credential> {
        self.known.load().get(user)?.get(&hash).cloned()
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
        self.known.rcu(|known| {
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

#[cfg(test)]
mod tests {
    use super::*;

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
