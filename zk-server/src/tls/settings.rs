//! The keys of one family, `ssl.` or `ssl.quorum.`, as [`TlsSettings`].

use super::{ClientAuth, Revocation, TlsSettings};
use ::tls::{Kind, Store, suites};
use base::{ConfigError, Opt, Settings};
use std::path::PathBuf;
use std::time::Duration;
use tracing::warn;

macro_rules! keys {
    ($($prefix:literal),*) => {
        &[$(
            Opt::text(concat!($prefix, "protocol"), "TLSv1.3 or TLSv1.2.").or("TLSv1.3"),
            Opt::text(concat!($prefix, "enabledProtocols"), "TLS versions; ssl.protocol where it is not set."),
            Opt::text(concat!($prefix, "ciphersuites"), "Cipher suites by Java's names; all of those here."),
            Opt::text(concat!($prefix, "keyStore.location"), "File with the key and its certificates."),
            Opt::password(concat!($prefix, "keyStore.password"), "Password of the key store and its key."),
            Opt::text(concat!($prefix, "keyStore.passwordPath"), "File with that password."),
            Opt::text(concat!($prefix, "keyStore.type"), "JKS, PKCS12 or PEM; by the file's ending."),
            Opt::text(concat!($prefix, "trustStore.location"), "File with the certificates that are trusted."),
            Opt::password(concat!($prefix, "trustStore.password"), "Password of the trust store."),
            Opt::text(concat!($prefix, "trustStore.passwordPath"), "File with that password."),
            Opt::text(concat!($prefix, "trustStore.type"), "JKS, PKCS12 or PEM; by the file's ending."),
            Opt::text(concat!($prefix, "context.supplier.class"), "Not here: classes cannot be loaded."),
            Opt::bool(concat!($prefix, "hostnameVerification"), "true", "Certificates must name the peer."),
            Opt::bool(concat!($prefix, "crl"), "false", "Revocation lists are asked."),
            Opt::bool(concat!($prefix, "ocsp"), "false", "Issuers are asked whether certificates still count."),
            Opt::text(concat!($prefix, "clientAuth"), "none, want or need.").or("need"),
            Opt::text(
                concat!($prefix, "handshakeDetectionTimeoutMillis"),
                "Milliseconds until a connection has shown whether it is TLS.",
            )
            .or("5000"),
        )*]
    };
}

/// Both families. `fips-mode` decides whether servers check each other's host names.
static FAMILIES: &[Opt] = keys!("ssl.", "ssl.quorum.");
static SHARED: &[Opt] = &[
    Opt::bool("fips-mode", "true", "Servers do not check each other's host names; Java's default."),
    Opt::text("ssl.sslProvider", "JDK; the library that Java would use.").or("JDK"),
];

/// Every key of both families.
pub static KEYS: std::sync::LazyLock<Vec<Opt>> = std::sync::LazyLock::new(|| [FAMILIES, SHARED].concat());

/// Reads `ssl.*`. No file is opened yet but a password's.
pub fn of_clients(settings: &Settings) -> Result<TlsSettings, ConfigError> {
    read(settings, "ssl.")
}

/// Reads `ssl.quorum.*`.
pub fn of_quorum(settings: &Settings) -> Result<TlsSettings, ConfigError> {
    read(settings, "ssl.quorum.")
}

/// For the admin server: the stores of `ssl.quorum.*`, every version and suite that there is.
///
/// `needs`: who connects has to show a certificate.
pub fn of_admin(settings: &Settings, needs: bool) -> Result<TlsSettings, ConfigError> {
    const PREFIX: &str = "ssl.quorum.";
    let (key_store, trust_store) =
        (store(settings, "ssl.quorum.keyStore.")?, store(settings, "ssl.quorum.trustStore.")?);
    if needs && trust_store.is_none() {
        let message =
            "ssl.quorum.trustStore.location is not set: without it nobody's certificate can be checked";
        return Err(settings.error("admin.needClientAuth", message));
    }
    Ok(TlsSettings {
        prefix: PREFIX.to_owned(),
        key_store_key: format!("{PREFIX}keyStore.location"),
        trust_store_key: format!("{PREFIX}trustStore.location"),
        key_store,
        trust_store,
        versions: rustls::ALL_VERSIONS.to_vec(),
        suites: rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec(),
        client_auth: if needs { ClientAuth::Need } else { ClientAuth::None },
        checks_server_host: false,
        checks_client_host: false,
        revocation: Revocation::default(),
        detect_within: Duration::from_secs(5),
    })
}

fn read(settings: &Settings, prefix: &'static str) -> Result<TlsSettings, ConfigError> {
    let key = |rest: &str| format!("{prefix}{rest}");
    refuse(settings, &key)?;
    let quorum = prefix == "ssl.quorum.";
    let fips = settings.bool("fips-mode");
    let names = settings.bool(&key("hostnameVerification"));
    if quorum && fips && settings.is_given(&key("hostnameVerification")) && names {
        warn!(
            "{}: servers do not check each other's host names while fips-mode is on, which it is unless \
             fips-mode=false",
            key("hostnameVerification")
        );
    }
    let suites = suites::suites(settings.text_opt(&key("ciphersuites")));
    let suites = suites.map_err(|wrong| settings.error(&key("ciphersuites"), wrong.to_string()))?;
    let (enabled, protocol) = (settings.text_opt(&key("enabledProtocols")), settings.text(&key("protocol")));
    let named = if enabled.is_some() { key("enabledProtocols") } else { key("protocol") };
    let versions = suites::versions(enabled, protocol, quorum, &suites)
        .map_err(|wrong| settings.error(&named, wrong.to_string()))?;
    Ok(TlsSettings {
        prefix: prefix.to_owned(),
        key_store_key: key("keyStore.location"),
        trust_store_key: key("trustStore.location"),
        key_store: store(settings, &key("keyStore."))?,
        trust_store: store(settings, &key("trustStore."))?,
        versions,
        suites,
        client_auth: client_auth(settings, &key("clientAuth"))?,
        checks_server_host: names && !(quorum && fips),
        checks_client_host: names && quorum && !fips,
        revocation: Revocation { crl: settings.bool(&key("crl")), ocsp: settings.bool(&key("ocsp")) },
        detect_within: detect_within(settings, &key("handshakeDetectionTimeoutMillis"))?,
    })
}

fn refuse(settings: &Settings, key: &dyn Fn(&str) -> String) -> Result<(), ConfigError> {
    let class = key("context.supplier.class");
    if let Some(name) = settings.text_opt(&class) {
        return Err(settings.error(
            &class,
            format!(
                "`{name}`: classes cannot be loaded here: name the stores by {}",
                key("keyStore.location")
            ),
        ));
    }
    Ok(())
}

fn client_auth(settings: &Settings, key: &str) -> Result<ClientAuth, ConfigError> {
    match settings.text(key).to_ascii_lowercase().as_str() {
        "none" => Ok(ClientAuth::None),
        "want" => Ok(ClientAuth::Want),
        "need" | "" => Ok(ClientAuth::Need),
        other => Err(settings.error(key, format!("`{other}` is not one of none, want, need"))),
    }
}

fn detect_within(settings: &Settings, key: &str) -> Result<Duration, ConfigError> {
    let text = settings.text(key);
    match text.parse::<i64>() {
        Ok(ms) if ms >= 1 => Ok(Duration::from_millis(ms as u64)),
        Ok(ms) => {
            warn!("Invalid value for {key}: {ms}, using the default value of 5000");
            Ok(Duration::from_secs(5))
        }
        Err(_) => Err(settings.error(key, format!("`{text}` is not a number of milliseconds"))),
    }
}

/// One store's keys; `None` where no file is named. The password's file is read at once and wins, as in Java.
fn store(settings: &Settings, prefix: &str) -> Result<Option<Store>, ConfigError> {
    let key = |rest: &str| format!("{prefix}{rest}");
    let location = settings.text_opt(&key("location")).filter(|path| !path.is_empty());
    let Some(path) = location.map(PathBuf::from) else { return Ok(None) };
    let kind = match settings.text_opt(&key("type")).filter(|kind| !kind.is_empty()) {
        Some(named) => Kind::named(named).map_err(|wrong| settings.error(&key("type"), wrong.to_string()))?,
        None => Kind::of_file(&path).map_err(|wrong| settings.error(&key("location"), wrong.to_string()))?,
    };
    let password = match settings.text_opt(&key("passwordPath")).filter(|path| !path.is_empty()) {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                settings.error(&key("passwordPath"), format!("cannot read {file}: {error}"))
            })?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => settings.text_opt(&key("password")).unwrap_or_default().to_owned(),
    };
    Ok(Some(Store { path, kind, password, key_password: None, inline: None }))
}
