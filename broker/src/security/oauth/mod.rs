//! OAUTHBEARER from the server's side: whose tokens are believed. Java's two handlers by their names: tokens that nobody
//! signed (its default, for trying things out), or those that a key of `sasl.oauthbearer.jwks.endpoint.url` has signed.

mod keys;
mod refresh;
mod signed;
mod unsecured;

use base::jaas::Module;
use broker_core::acl::Principal;
use client::security::oauth::message::{AFTER_ERROR, First};
use client::security::{Lookup, OAUTH_MODULE, SecurityError};

use super::mechanism::{Admitted, Rejection, Step, told};
use signed::Signed;
use unsecured::Unsecured;

const HANDLER: &str = "sasl.server.callback.handler.class";
const UNSECURED: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
const SIGNED: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];

/// Who believes which tokens.
pub enum Validator {
    Unsecured(Unsecured),
    Signed(Box<Signed>),
}

/// What is believed of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Believed {
    principal: String,
    /// ms since 1970.
    expires_ms: i64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Disbelieved {
    /// For the broker's log; the client learns no more than that it is so.
    why: String,
    /// What the token would have to allow.
    scope: Option<String>,
}

impl From<String> for Disbelieved {
    fn from(why: String) -> Disbelieved {
        Disbelieved { why, scope: None }
    }
}

impl From<&str> for Disbelieved {
    fn from(why: &str) -> Disbelieved {
        why.to_owned().into()
    }
}

fn wrong(key: &str, why: impl Into<String>) -> SecurityError {
    SecurityError::Key { key: key.to_owned(), why: why.into() }
}

impl Validator {
    /// What the keys of a listener and its login module ask for; keys at an endpoint are not fetched yet.
    /// `place` says in errors where the module stands.
    pub fn read(place: &str, module: &Module, lookup: &Lookup<'_>) -> Result<Validator, SecurityError> {
        if module.class != OAUTH_MODULE {
            let why = format!("OAUTHBEARER needs {OAUTH_MODULE}, and not {}", module.class);
            return Err(wrong(place, why));
        }
        let class = lookup(HANDLER).filter(|class| !class.is_empty());
        match class.as_deref() {
            None | Some(UNSECURED) => Ok(Validator::Unsecured(Unsecured::read(place, &module.options)?)),
            Some(class) if SIGNED.contains(&class) => {
                Ok(Validator::Signed(Box::new(Signed::read(module, lookup)?)))
            }
            Some(class) => Err(wrong(HANDLER, format!("`{class}`: Java's classes cannot be loaded here"))),
        }
    }

    /// Gets the keys that tokens are checked by, where they are at an endpoint, and again from then on.
    pub async fn prepare(&self) -> Result<(), SecurityError> {
        match self {
            Validator::Unsecured(_) => Ok(()),
            Validator::Signed(signed) => signed.prepare().await,
        }
    }

    fn believes(&self, token: &str, now_ms: i64) -> Result<Believed, Disbelieved> {
        match self {
            Validator::Unsecured(unsecured) => unsecured.believes(token, now_ms),
            Validator::Signed(signed) => signed.believes(token, now_ms),
        }
    }
}

/// One login under way.
#[derive(Default)]
pub struct Exchange {
    /// What the client has been told, and has yet to say that it knows.
    error: Option<String>,
}

impl Exchange {
    /// Takes the client's next message.
    pub fn take(&mut self, message: &[u8], validator: &Validator, now_ms: i64) -> Result<Step, Rejection> {
        if let Some(error) = self.error.take().filter(|_| message == AFTER_ERROR) {
            return Err(Rejection(Some(error)));
        }
        let first = First::read(message).map_err(|_| Rejection(None))?;
        match validator.believes(&first.token, now_ms) {
            Ok(believed) if !first.identity.is_empty() && first.identity != believed.principal => {
                told(&format!(
                    "Authentication failed: Client requested an authorization id ({}) that is different from the token's principal name ({})",
                    first.identity, believed.principal
                ))
            }
            Ok(Believed { principal, expires_ms }) => {
                let principal = Principal::user(principal);
                let admitted = Admitted { principal, until_ms: Some(expires_ms), by_token: false };
                Ok(Step::Done { token: Vec::new(), admitted })
            }
            Err(Disbelieved { why, scope }) => {
                tracing::info!("A token is not believed: {why}");
                let error = match scope {
                    None => r#"{"status":"invalid_token"}"#.to_owned(),
                    Some(scope) => format!(r#"{{"status":"insufficient_scope", "scope":"{scope}"}}"#),
                };
                self.error = Some(error.clone());
                Ok(Step::Continue(error.into_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(super) fn validator(options: &str, keys: &[(&str, &str)]) -> Result<Validator, String> {
        let module = Module::parse("jaas", &format!("{OAUTH_MODULE} required {options};")).unwrap();
        let keys: BTreeMap<_, _> = keys.iter().copied().collect();
        let lookup = |key: &str| keys.get(key).map(|value| (*value).to_owned());
        Validator::read("jaas", &module, &lookup).map_err(|error| error.to_string())
    }

    fn first(token: &str, identity: &str) -> Vec<u8> {
        First { identity: identity.into(), token: token.into(), extensions: BTreeMap::new() }.write()
    }

    #[test]
    fn a_token_that_is_not_believed_is_answered_in_json_and_the_login_ends_with_it() {
        let validator = validator("unsecuredValidatorRequiredScope=\"a b\"", &[]).unwrap();
        // {"alg":"none"} and {"sub":"ann","exp":10,"scope":"a"}; then without its scope.
        let narrow = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjEwLCJzY29wZSI6ImEifQ.";
        let mut login = Exchange::default();
        let error = r#"{"status":"insufficient_scope", "scope":"[a, b]"}"#;
        let step = login.take(&first(narrow, ""), &validator, 1);
        assert_eq!(step, Ok(Step::Continue(error.into())));
        assert_eq!(login.take(AFTER_ERROR, &validator, 1), told(error));
        // Said without an error, it is nothing.
        assert_eq!(login.take(AFTER_ERROR, &validator, 1), Err(Rejection(None)));
        let step = login.take(&first("x.y.z", ""), &validator, 1);
        assert_eq!(step, Ok(Step::Continue(br#"{"status":"invalid_token"}"#.to_vec())));
    }

    #[test]
    fn whoever_the_token_names_is_in_until_it_expires_and_nobody_else() {
        let validator = validator("", &[]).unwrap();
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjEwLCJzY29wZSI6ImEifQ.";
        let take = |identity: &str, now_ms: i64| {
            Exchange::default().take(&first(token, identity), &validator, now_ms)
        };
        let admitted =
            Admitted { principal: Principal::user("ann"), until_ms: Some(10_000), by_token: false };
        assert_eq!(take("", 9_999), Ok(Step::Done { token: vec![], admitted: admitted.clone() }));
        assert_eq!(take("ann", 1), Ok(Step::Done { token: vec![], admitted }));
        assert!(
            matches!(take("eve", 1), Err(Rejection(Some(why))) if why.contains("authorization id (eve)"))
        );
        assert!(matches!(take("", 10_000), Ok(Step::Continue(_))));
    }

    #[test]
    fn a_handler_that_is_not_there_or_has_nowhere_to_look_is_told_by_name() {
        for (options, keys, problem) in [
            ("", &[(HANDLER, "com.example.Mine")][..], "`com.example.Mine`: Java's classes"),
            ("", &[(HANDLER, SIGNED[0])], "sasl.oauthbearer.jwks.endpoint.url value must be non-null"),
            (
                "",
                &[(HANDLER, SIGNED[1]), ("sasl.oauthbearer.jwks.endpoint.url", "file:///no/where")],
                "/no/where",
            ),
            (
                "unsecuredValidatorAllowableClockSkewMs=-1",
                &[],
                "Allowable clock skew millis must not be negative: -1",
            ),
            ("unsecuredValidatorRequiredScope=\"a \u{e4}\"", &[], "Invalid scope value: \u{e4}"),
        ] {
            let error = validator(options, keys).err().unwrap();
            assert!(error.contains(problem), "{error}");
        }
    }
}
