//! Kafka's keys `ssl.*`, of a client, a broker or one of its listeners.

use super::{Lookup, SecurityError, wrong};
use ::tls::{ClientAuth, Kind, Revocation, Store, TlsSettings, jvm, suites};
use std::path::PathBuf;
use std::time::Duration;

/// Reads the keys; `prefix` stands before them in errors (`listener.name.out.`). Without a trust store the one that the flags
/// of a JVM in `KAFKA_OPTS` name is taken. No file is opened yet.
pub fn settings(prefix: &str, lookup: &Lookup<'_>) -> Result<TlsSettings, SecurityError> {
    settings_with(prefix, lookup, &std::env::var("KAFKA_OPTS").unwrap_or_default())
}

fn settings_with(prefix: &str, lookup: &Lookup<'_>, flags: &str) -> Result<TlsSettings, SecurityError> {
    let get = |key: &str| lookup(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let named = |key: &str| format!("{prefix}{key}");
    for key in ["ssl.engine.factory.class", "ssl.provider", "ssl.secure.random.implementation"] {
        if let Some(value) = get(key) {
            return Err(wrong(
                named(key),
                format!("`{value}`: Java's classes cannot be loaded here; remove it"),
            ));
        }
    }
    let suites = suites::suites(get("ssl.cipher.suites").as_deref())
        .map_err(|error| wrong(named("ssl.cipher.suites"), error.to_string()))?;
    let enabled = get("ssl.enabled.protocols").unwrap_or_else(|| "TLSv1.2,TLSv1.3".to_owned());
    let versions = suites::versions(Some(&enabled), "", false, &suites)
        .map_err(|error| wrong(named("ssl.enabled.protocols"), error.to_string()))?;
    let client_auth = match get("ssl.client.auth").as_deref() {
        None | Some("none") => ClientAuth::None,
        Some("requested") => ClientAuth::Want,
        Some("required") => ClientAuth::Need,
        Some(other) => {
            return Err(wrong(
                named("ssl.client.auth"),
                format!("`{other}`: one of required, requested, none"),
            ));
        }
    };
    // Given and empty switches the check off; not given, it is on.
    let algorithm = lookup("ssl.endpoint.identification.algorithm").unwrap_or_else(|| "https".to_owned());
    if !algorithm.trim().is_empty() && !algorithm.trim().eq_ignore_ascii_case("https") {
        let key = named("ssl.endpoint.identification.algorithm");
        return Err(wrong(key, format!("`{algorithm}`: https, or nothing")));
    }
    let (mut trust_store, mut trust_store_key) =
        (trust_store(prefix, &get)?, named("ssl.truststore.location"));
    if trust_store.is_none() {
        trust_store = jvm::default_trust(|key| jvm::property(flags, key))
            .map_err(|error| wrong(jvm::TRUST_STORE, error.to_string()))?;
        if trust_store.is_some() {
            trust_store_key = jvm::TRUST_STORE.to_owned();
        }
    }
    Ok(TlsSettings {
        prefix: named("ssl."),
        key_store_key: named("ssl.keystore.location"),
        trust_store_key,
        key_store: key_store(prefix, &get)?,
        trust_store,
        versions,
        suites,
        client_auth,
        checks_server_host: !algorithm.trim().is_empty(),
        checks_client_host: false,
        revocation: Revocation::default(),
        detect_within: Duration::from_secs(5),
    })
}

type Get<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn kind(prefix: &str, key: &str, get: &Get<'_>) -> Result<Kind, SecurityError> {
    let named = get(key).unwrap_or_else(|| "JKS".to_owned());
    Kind::named(&named).map_err(|error| wrong(format!("{prefix}{key}"), error.to_string()))
}

fn key_store(prefix: &str, get: &Get<'_>) -> Result<Option<Store>, SecurityError> {
    let kind = kind(prefix, "ssl.keystore.type", get)?;
    let key_password = get("ssl.key.password");
    let password = get("ssl.keystore.password").unwrap_or_default();
    match (get("ssl.keystore.location"), get("ssl.keystore.key"), get("ssl.keystore.certificate.chain")) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(wrong(
            format!("{prefix}ssl.keystore.location"),
            "Both SSL key store location and separate private key are specified.",
        )),
        (Some(path), None, None) => {
            Ok(Some(Store { path: PathBuf::from(path), kind, password, key_password, inline: None }))
        }
        (None, Some(key), Some(chain)) => {
            inline_only(prefix, "ssl.keystore.type", kind)?;
            let text = format!("{}\n{}", pem_lines(&key), pem_lines(&chain));
            let path = PathBuf::from(format!("{prefix}ssl.keystore.key"));
            Ok(Some(Store { path, kind, password, key_password, inline: Some(text) }))
        }
        (None, Some(_), None) => Err(wrong(
            format!("{prefix}ssl.keystore.certificate.chain"),
            "SSL certificate chain is not specified, but the private key is.",
        )),
        (None, None, Some(_)) => Err(wrong(
            format!("{prefix}ssl.keystore.key"),
            "SSL private key is not specified, but the certificate chain is.",
        )),
        (None, None, None) => Ok(None),
    }
}

fn trust_store(prefix: &str, get: &Get<'_>) -> Result<Option<Store>, SecurityError> {
    let kind = kind(prefix, "ssl.truststore.type", get)?;
    let password = get("ssl.truststore.password").unwrap_or_default();
    match (get("ssl.truststore.location"), get("ssl.truststore.certificates")) {
        (Some(_), Some(_)) => Err(wrong(
            format!("{prefix}ssl.truststore.location"),
            "Both SSL trust store location and separate trust certificates are specified.",
        )),
        (Some(path), None) => {
            Ok(Some(Store { path: PathBuf::from(path), kind, password, key_password: None, inline: None }))
        }
        (None, Some(certificates)) => {
            inline_only(prefix, "ssl.truststore.type", kind)?;
            let path = PathBuf::from(format!("{prefix}ssl.truststore.certificates"));
            let inline = Some(pem_lines(&certificates));
            Ok(Some(Store { path, kind, password, key_password: None, inline }))
        }
        (None, None) => Ok(None),
    }
}

fn inline_only(prefix: &str, key: &str, kind: Kind) -> Result<(), SecurityError> {
    match kind {
        Kind::Pem => Ok(()),
        _ => Err(wrong(format!("{prefix}{key}"), "keys and certificates in the configuration are PEM")),
    }
}

/// PEM that may have become one line in a properties file, with its lines again.
fn pem_lines(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        rest = &rest[begin..];
        let Some(label) = rest["-----BEGIN ".len()..].split("-----").next() else { break };
        let head = format!("-----BEGIN {label}-----");
        let foot = format!("-----END {label}-----");
        let Some(end) = rest.find(&foot) else { break };
        let body: String = rest.get(head.len()..end).unwrap_or_default().split_whitespace().collect();
        out.push_str(&format!("{head}\n{body}\n{foot}\n"));
        rest = &rest[end + foot.len()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(pairs: &[(&str, &str)]) -> Result<TlsSettings, String> {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        settings("listener.name.out.", &|key| map.get(key).map(|value| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn kafkas_keys_make_the_settings() {
        let plain = read(&[]).unwrap();
        assert!(plain.checks_server_host && plain.client_auth == ClientAuth::None);
        assert_eq!(plain.versions.len(), 2);
        let all = read(&[
            ("ssl.client.auth", "required"),
            ("ssl.endpoint.identification.algorithm", ""),
            ("ssl.enabled.protocols", "TLSv1.3"),
            ("ssl.keystore.location", "/k.jks"),
            ("ssl.key.password", "own"),
        ])
        .unwrap();
        assert!(!all.checks_server_host && all.client_auth == ClientAuth::Need);
        assert_eq!(all.key_store.unwrap().key_password.as_deref(), Some("own"));
        assert_eq!(all.key_store_key, "listener.name.out.ssl.keystore.location");
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (pairs, expected) in [
            (&[("ssl.engine.factory.class", "a.B")][..], "listener.name.out.ssl.engine.factory.class: `a.B`"),
            (
                &[("ssl.enabled.protocols", "TLSv1.1")],
                "listener.name.out.ssl.enabled.protocols: `TLSv1.1` is not",
            ),
            (&[("ssl.keystore.type", "BCFKS")], "listener.name.out.ssl.keystore.type: BCFKS"),
            (
                &[("ssl.keystore.key", "x"), ("ssl.keystore.type", "PEM")],
                "certificate.chain: SSL certificate",
            ),
            (&[("ssl.truststore.certificates", "x")], "ssl.truststore.type: keys and certificates"),
        ] {
            let error = read(pairs).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn without_a_trust_store_the_jvms_counts() {
        let read = |pairs: &[(&str, &str)], flags: &str| {
            let map: BTreeMap<_, _> = pairs.iter().copied().collect();
            settings_with("", &|key| map.get(key).map(|value| (*value).to_owned()), flags)
                .map_err(|error| error.to_string())
        };
        let flags = "-Djavax.net.ssl.trustStore=/jvm.p12 -Djavax.net.ssl.keyStore=/key.p12";
        let of_jvm = read(&[], flags).unwrap();
        assert_eq!(of_jvm.trust_store.unwrap().path, PathBuf::from("/jvm.p12"));
        assert_eq!(of_jvm.trust_store_key, "javax.net.ssl.trustStore");
        assert!(of_jvm.key_store.is_none(), "Kafka takes no key from there");
        let own = read(&[("ssl.truststore.location", "/own.jks")], flags).unwrap();
        assert_eq!(own.trust_store.unwrap().path, PathBuf::from("/own.jks"));
        assert_eq!(own.trust_store_key, "ssl.truststore.location");
        assert!(read(&[], "").unwrap().trust_store.is_none());
        let none = read(&[], "-Djavax.net.ssl.trustStore=NONE").unwrap_err();
        assert!(none.starts_with("javax.net.ssl.trustStore: NONE"), "{none}");
    }

    #[test]
    fn pem_on_one_line_gets_its_lines_back() {
        let one =
            "-----BEGIN CERTIFICATE----- AA BB -----END CERTIFICATE----- -----BEGIN X----- C -----END X-----";
        let lines = "-----BEGIN CERTIFICATE-----\nAABB\n-----END CERTIFICATE-----\n-----BEGIN X-----\nC\n-----END X-----\n";
        assert_eq!(pem_lines(one), lines);
        assert_eq!(pem_lines(lines), lines);
        assert_eq!(pem_lines("-----BEGIN "), "");
    }
}
