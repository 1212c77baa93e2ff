//! TLS as a client is told of it: `-client-configuration FILE`, `CLIENT_JVMFLAGS` and `JVMFLAGS`.

use base::{Properties, Table};
use std::sync::Arc;
use zk_server::tls::{KEYS, Tls, TlsSettings};

/// The words `-DKEY=VALUE` of the environment.
pub fn flags() -> Properties {
    let mut flags = Properties::new();
    for name in ["CLIENT_JVMFLAGS", "JVMFLAGS"] {
        let words = std::env::var(name).unwrap_or_default();
        for word in words.split_whitespace().filter_map(|word| word.strip_prefix("-D")) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            flags.set(name, key, value);
        }
    }
    flags
}

/// TLS is asked for (`zookeeper.client.secure`).
pub fn is_secure(asked: &Properties) -> bool {
    asked.get("zookeeper.client.secure").is_some_and(|entry| entry.value.trim() == "true")
}

/// The stores that `zookeeper.ssl.*` names; the error says what is wrong with them.
pub fn tls(asked: &Properties) -> Result<Arc<Tls>, String> {
    let mut keys = Properties::new();
    for entry in asked.iter() {
        if let Some(key) = entry.key.strip_prefix("zookeeper.") {
            keys.push(base::Entry { key: key.into(), ..entry.clone() });
        }
    }
    let settings = Table(&KEYS).read(&keys).map_err(|error| error.to_string())?;
    let settings = TlsSettings::of_clients(&settings).map_err(|error| error.to_string())?;
    Tls::for_client(settings, false).map(Arc::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_zookeeper_s_properties() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../zk-server/tests/stores");
        let mut asked = Properties::new();
        assert!(!is_secure(&asked));
        asked.set("flags", "zookeeper.client.secure", "true");
        assert!(is_secure(&asked));
        assert!(tls(&asked).unwrap_err().starts_with("ssl.trustStore.location is not set"));
        for (key, value) in [
            ("trustStore.location", format!("{folder}/trust.p12")),
            ("trustStore.password", "secret".into()),
            ("keyStore.location", format!("{folder}/client.p12")),
            ("keyStore.password", "secret".into()),
        ] {
            asked.set("flags", &format!("zookeeper.ssl.{key}"), &value);
        }
        tls(&asked).unwrap();
    }
}
