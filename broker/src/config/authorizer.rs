//! The authorizer's own keys. Kafka's table does not have them: the class that is named reads them.

use std::collections::BTreeSet;

use broker_core::acl::Principal;

use super::BrokerConfig;
use crate::acl_session::is_of_session;
use crate::authorizer::{ACL_AUTHORIZER, Settings};

const SUPER_USERS: &str = "super.users";
const ALLOW_IF_NONE: &str = "allow.everyone.if.no.acl.found";
const PREFIX: &str = "authorizer.";
/// They are about a session of the authorizer's own, where it has one.
const OF_ITS_SESSION: &[&str] = &[
    "authorizer.zookeeper.connection.timeout.ms",
    "authorizer.zookeeper.session.timeout.ms",
    "authorizer.zookeeper.max.in.flight.requests",
];

/// Whether a key is the authorizer's.
pub fn is_authorizers(key: &str) -> bool {
    key == SUPER_USERS || key == ALLOW_IF_NONE || key.starts_with(PREFIX)
}

/// What the keys say, if an authorizer is named; the error is a key and its problem.
pub fn read(config: &BrokerConfig) -> Result<Option<Settings>, (&'static str, String)> {
    if config.text("authorizer.class.name") != Some(ACL_AUTHORIZER) {
        return Ok(None);
    }
    let given = config.given();
    let mut super_users = BTreeSet::new();
    if let Some(names) = given.get(SUPER_USERS).filter(|names| !names.is_empty()) {
        for name in names.trim_end_matches(';').split(';') {
            let principal =
                Principal::parse(name.trim()).map_err(|error| (SUPER_USERS, error.to_string()))?;
            super_users.insert(principal);
        }
    }
    let allow_if_none = match given.get(ALLOW_IF_NONE).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err((ALLOW_IF_NONE, format!("Expected value to be either true or false, not {other}")));
        }
    };
    let strange = |key: &&String| {
        key.starts_with(PREFIX)
            && !is_of_session(key)
            && *key != "authorizer.class.name"
            && !OF_ITS_SESSION.contains(&key.as_str())
    };
    if let Some(key) = given.keys().find(strange) {
        let problem = format!("{key} asks for a feature that this broker does not have yet; remove it");
        return Err(("authorizer.class.name", problem));
    }
    Ok(Some(Settings { super_users, allow_if_none }))
}

#[cfg(test)]
mod tests {
    use base::Properties;

    use super::*;

    fn read(text: &str) -> Result<Option<Settings>, String> {
        let text = format!("zookeeper.connect=h\nauthorizer.class.name={ACL_AUTHORIZER}\n{text}");
        let properties = Properties::parse("server.properties", text.as_bytes()).unwrap();
        BrokerConfig::read(&properties).map(|config| config.authorizer).map_err(|error| error.to_string())
    }

    #[test]
    fn super_users_and_the_rule_for_what_has_no_acls_are_the_authorizers() {
        let settings = read("super.users=User:a; User:CN=b,O=c;\nallow.everyone.if.no.acl.found=TRUE\n");
        let settings = settings.unwrap().unwrap();
        assert!(settings.allow_if_none);
        let names: Vec<String> = settings.super_users.iter().map(Principal::to_string).collect();
        assert_eq!(names, ["User:CN=b,O=c", "User:a"]);
        let plain = read("").unwrap().unwrap();
        assert!(plain.super_users.is_empty() && !plain.allow_if_none);
    }

    #[test]
    fn what_cannot_be_followed_stops_the_start_with_its_key() {
        let wrong = read("super.users=alice\n").unwrap_err();
        assert!(
            wrong.starts_with("server.properties:3: super.users: expected a string in format"),
            "{wrong}"
        );
        assert!(read("allow.everyone.if.no.acl.found=yes\n").unwrap_err().contains("either true or false"));
        assert!(read("authorizer.zookeeper.url=elsewhere\n").is_ok());
        assert!(read("authorizer.zookeeper.ssl.client.enable=true\n").is_ok());
        assert!(read("authorizer.zookeeper.ssl.unknown=true\n").is_err());
    }
}
