//! TLS and SASL as a client is told of them: `-client-configuration FILE`, `CLIENT_JVMFLAGS` and `JVMFLAGS`.

use base::{Properties, Table};
use std::sync::Arc;
use zk_server::sasl::jaas::Jaas;
use zk_server::tls::{KEYS, Tls, jvm, of_clients};

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
    let mut settings = of_clients(&settings).map_err(|error| error.to_string())?;
    if settings.trust_store.is_none() {
        settings.trust_store = jvm::default_trust(|key| asked.get(key).map(|entry| entry.value.as_str()))
            .map_err(|error| format!("{}: {error}", jvm::TRUST_STORE))?;
    }
    Tls::for_client(settings, false).map(Arc::new).map_err(|error| error.to_string())
}

/// As whom a session is to prove by SASL that it is: name and password.
pub type Login = (String, String);

/// The login of the JAAS file's section for clients (`zookeeper.sasl.clientconfig`, `Client`). `Ok(None)`: no file is
/// named, or SASL is switched off. The error says why there is none although a file is named.
pub fn login(asked: &Properties) -> Result<Option<Login>, String> {
    let value = |key: &str| asked.get(key).map(|entry| entry.value.trim()).filter(|value| !value.is_empty());
    let Some(file) = value("java.security.auth.login.config") else { return Ok(None) };
    if value("zookeeper.sasl.client").is_some_and(|on| !on.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let section = value("zookeeper.sasl.clientconfig").unwrap_or("Client");
    let login = Jaas::read(file).and_then(|jaas| jaas.login(section));
    login.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_stands_in_the_section_for_clients_unless_sasl_is_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
        std::fs::write(
            file.path(),
            format!(
                "Client {{ {module} username=\"bob\" password=\"builder\"; }};\n\
                 Other {{ {module} username=\"eve\" password=\"x\"; }};\n"
            ),
        )
        .unwrap();
        let mut asked = Properties::new();
        assert_eq!(login(&asked), Ok(None));
        asked.set("flags", "java.security.auth.login.config", &file.path().display().to_string());
        assert_eq!(login(&asked), Ok(Some(("bob".into(), "builder".into()))));
        asked.set("flags", "zookeeper.sasl.clientconfig", "Other");
        assert_eq!(login(&asked), Ok(Some(("eve".into(), "x".into()))));
        asked.set("flags", "zookeeper.sasl.clientconfig", "Nobody");
        assert!(login(&asked).unwrap_err().contains("section 'Nobody' could not be found"));
        asked.set("flags", "zookeeper.sasl.client", "false");
        assert_eq!(login(&asked), Ok(None));
    }

    #[test]
    fn stores_are_named_by_zookeeper_s_properties() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/tests/stores");
        let mut asked = Properties::new();
        assert!(!is_secure(&asked));
        asked.set("flags", "zookeeper.client.secure", "true");
        assert!(is_secure(&asked));
        // No store named: the system's certificates are believed, as a JVM believes its own.
        tls(&asked).unwrap();
        asked.set("flags", "javax.net.ssl.trustStore", "/of/the/jvm");
        let error = tls(&asked).unwrap_err();
        assert!(error.contains("/of/the/jvm"), "{error}");
        asked.set("flags", "zookeeper.ssl.trustStore.location", "/no/where");
        let error = tls(&asked).unwrap_err();
        assert!(error.contains("/no/where"), "{error}");
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
