//! Whom a JVM trusts where nobody names a store: the properties `javax.net.ssl.trustStore*` of its flags.

use super::{Kind, Store, StoreError};

/// Where errors say that such a store was named.
pub const TRUST_STORE: &str = "javax.net.ssl.trustStore";

/// The property `key` among the words `-DKEY=VALUE` of a JVM's flags; the last one counts, as for the JVM.
pub fn property<'a>(flags: &'a str, key: &str) -> Option<&'a str> {
    let words = flags.split_whitespace().rev().map(|word| word.trim_matches('"'));
    let mut values = words.filter_map(|word| word.strip_prefix("-D")?.strip_prefix(key)?.strip_prefix('='));
    values.next()
}

/// The store that `javax.net.ssl.trustStore` names; `None`: none, so whoever this machine trusts is believed. A JVM passes
/// over a file that it cannot read and trusts nobody then; here, opening the store tells.
///
/// Its key store has no such meaning: neither Kafka nor ZooKeeper shows a certificate that their own keys do not name.
pub fn default_trust<'a>(property: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Store>, StoreError> {
    let get = |key: &str| property(key).map(str::trim).filter(|value| !value.is_empty());
    let Some(path) = get(TRUST_STORE) else { return Ok(None) };
    if path == "NONE" {
        return Err(StoreError::Nobody);
    }
    let kind = match get("javax.net.ssl.trustStoreType").map(Kind::named).transpose()? {
        // Kafka's own word, which a JVM does not know.
        Some(Kind::Pem) => return Err(StoreError::Kind("PEM".into())),
        kind => kind.unwrap_or(Kind::Java),
    };
    let password = get("javax.net.ssl.trustStorePassword").unwrap_or_default().to_owned();
    Ok(Some(Store { path: path.into(), kind, password, key_password: None, inline: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(flags: &str) -> Result<Option<Store>, String> {
        default_trust(|key| property(flags, key)).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_of_a_jvm_name_whom_it_trusts() {
        assert!(
            of("-Xmx1G -Djavax.net.ssl.trustStorePassword=x -Djavax.net.ssl.trustStore=").unwrap().is_none()
        );
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores");
        let flags = |file: &str, password: &str| {
            format!(
                "-Djavax.net.ssl.trustStore=/no/where \"-Djavax.net.ssl.trustStore={folder}/{file}\" \
                 -Djavax.net.ssl.trustStorePassword={password} -Djavax.net.ssl.trustStoreType=jks"
            )
        };
        for file in ["trust.p12", "trust.jks"] {
            let store = of(&flags(file, "secret")).unwrap().unwrap();
            assert!(!store.trust().unwrap().is_empty(), "{file}");
        }
        let wrong = of(&flags("trust.p12", "wrong")).unwrap().unwrap().trust().unwrap_err().to_string();
        assert!(wrong.contains("trust.p12: cannot be opened"), "{wrong}");
    }

    #[test]
    fn a_store_that_leaves_nobody_to_trust_is_refused() {
        let none = of("-Djavax.net.ssl.trustStore=NONE").unwrap_err();
        assert!(none.starts_with("NONE leaves nobody"), "{none}");
        for kind in ["PEM", "Windows-ROOT"] {
            let flags = format!("-Djavax.net.ssl.trustStore=/a -Djavax.net.ssl.trustStoreType={kind}");
            assert!(of(&flags).unwrap_err().starts_with(&format!("`{kind}` is not a type of store")));
        }
    }
}
