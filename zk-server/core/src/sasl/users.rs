//! Who may come to the client port by SASL, and as whom.

use super::{Answer, CLIENTS, SaslError, Server};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::fmt;
use wire::Str;
use wire::zk::Id;

#[derive(Clone, PartialEq, Eq)]
pub struct SaslUsers {
    /// Names and passwords.
    pub passwords: BTreeMap<String, String>,
    /// `SASLAuthenticationProvider.superPassword`: of the user `super`, instead of the one above.
    pub super_password: Option<String>,
    /// `superUser` and `superUser.X`: who may do all.
    pub super_users: Vec<Str>,
    /// Who fails keeps the connection (`allowSaslFailedClients`).
    pub keeps_failed: bool,
    /// Known to nobody else: nonces are made of it.
    pub secret: [u8; 32],
}

/// Without passwords.
impl fmt::Debug for SaslUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<&String> = self.passwords.keys().collect();
        write!(f, "SaslUsers {{ users: {users:?}, super: {:?} }}", self.super_users)
    }
}

impl SaslUsers {
    /// An exchange with a client. `number`: of its connection, never used before.
    pub fn begin(&self, number: u64) -> Server {
        let mut nonce = Sha1::new();
        nonce.update(self.secret);
        nonce.update(number.to_be_bytes());
        Server::new(CLIENTS, STANDARD.encode(nonce.finalize()))
    }

    /// The answer to a client's token, and the ids that it has now.
    pub fn evaluate(
        &self,
        exchange: &mut Server,
        token: &[u8],
    ) -> Result<(bytes::Bytes, Vec<Id>), SaslError> {
        let password = |user: &str| {
            let listed = self.passwords.get(user)?;
            let password = self.super_password.as_ref().filter(|_| user == "super");
            Some(password.unwrap_or(listed).clone())
        };
        match exchange.evaluate(token, password)? {
            Answer::Challenge(challenge) => Ok((challenge, vec![])),
            Answer::Done { token, user, authorization } => {
                // A user's name counts; only one with a realm, which nothing here maps, leaves the word to the client.
                let id = match user.contains('@') {
                    true => authorization.unwrap_or(user),
                    false => user,
                };
                let id = Str::from(id);
                let mut ids = vec![Id { scheme: Str::from_static("sasl"), id: id.clone() }];
                if self.super_users.contains(&id) {
                    ids.push(Id { scheme: Str::from_static("super"), id: Str::new() });
                }
                Ok((token, ids))
            }
        }
    }
}
