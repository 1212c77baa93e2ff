//! TLS as users of Java's servers configure it: stores as keytool makes them, certificates that are changed while a server
//! runs, revocation. Which keys say so is the servers' own; they make [`TlsSettings`].
//!
//! A [`Tls`] is made before a port is opened: every mistake in keys and files shows then. What Java can do and this
//! cannot (TLS 1.0 and 1.1, CBC suites) is refused by name.

pub mod blocking;
mod der;
mod http_post;
pub mod jvm;
mod names;
mod ocsp;
mod pbe;
mod settings;
mod store;
mod succession;
pub mod suites;
mod verify;
mod version_one;

pub use names::{common_name, rfc2253};
pub use settings::{ClientAuth, Revocation, TlsSettings};
pub use store::{Kind, Store, StoreError};
pub use succession::{CertificateNames, SuccessionError};
pub use suites::SuiteError;
pub use verify::{HostError, matches_host};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Between two looks at the files: a certificate that was changed is used this much later.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key}: {source}")]
    Store { key: String, source: StoreError },
    #[error("{key} is not set: a TLS server needs a key and its certificate")]
    NoKey { key: String },
    #[error("{key} is not set: without it nobody's certificate can be checked (a server may ask for none)")]
    NoTrust { key: String },
    #[error("{key}: this key cannot be used with this certificate: {source}")]
    Key { key: String, source: rustls::Error },
    #[error("{prefix}: {source}")]
    Context { prefix: String, source: rustls::Error },
    #[error("{prefix}: {source}")]
    Succession { prefix: String, source: SuccessionError },
}

/// What a file was when it was read.
type Stamp = Option<(SystemTime, u64)>;

/// Contexts for both directions, made anew when the files change. A connection keeps the one that it began with.
#[derive(Debug)]
pub struct Tls {
    pub settings: TlsSettings,
    /// Files are looked at again.
    reloads: bool,
    /// What they have become is used only as long as the certificate keeps its names.
    keeps_names: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contexts: Contexts,
    stamps: Vec<(PathBuf, Stamp)>,
    looked: Instant,
}

#[derive(Debug, Clone)]
struct Contexts {
    /// `None`: no key is configured, which a client may do without.
    server: Option<Arc<ServerConfig>>,
    /// `None`: no trust store is configured.
    client: Option<Arc<ClientConfig>>,
    /// What its own certificate is called.
    names: Option<CertificateNames>,
}

impl Tls {
    /// Reads every file. `reloads`: files that change later are read again.
    pub fn new(settings: TlsSettings, reloads: bool) -> Result<Tls, TlsError> {
        let stamps = stamps(&settings);
        let contexts = Contexts::load(&settings)?;
        let state = Mutex::new(State { contexts, stamps, looked: Instant::now() });
        Ok(Tls { settings, reloads, keeps_names: false, state })
    }

    /// As [`Tls::for_server`], for a listener of brokers: files are read again when they change, and are used as long as the
    /// certificate in them keeps its names.
    pub fn for_listener(settings: TlsSettings) -> Result<Tls, TlsError> {
        let tls = Tls::for_server(settings, true)?;
        Ok(Tls { keeps_names: true, ..tls })
    }

    /// As [`Tls::new`], for who accepts connections: a key has to be there.
    pub fn for_server(settings: TlsSettings, reloads: bool) -> Result<Tls, TlsError> {
        let tls = Tls::new(settings, reloads)?;
        tls.server()?;
        Ok(tls)
    }

    /// As [`Tls::new`], for who dials: without a trust store whoever this machine trusts is believed, as by a JVM.
    pub fn for_client(mut settings: TlsSettings, reloads: bool) -> Result<Tls, TlsError> {
        settings.trust_store.get_or_insert_with(Store::system);
        let tls = Tls::new(settings, reloads)?;
        tls.client()?;
        Ok(tls)
    }

    /// For connections that are accepted from now on.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.state()
            .contexts
            .server
            .clone()
            .ok_or(TlsError::NoKey { key: self.settings.key_store_key.clone() })
    }

    /// For connections that are dialled from now on.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.state()
            .contexts
            .client
            .clone()
            .ok_or(TlsError::NoTrust { key: self.settings.trust_store_key.clone() })
    }

    /// Reads every file again, now. What cannot be used leaves everything as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let stamps = stamps(&self.settings);
        let contexts = Contexts::load(&self.settings)?;
        let mut state = self.state.lock().expect("nobody panics while reading stores");
        self.check_names(&state.contexts, &contexts)?;
        *state = State { contexts, stamps, looked: Instant::now() };
        Ok(())
    }

    /// What this side's certificate is called; `None`: it has none.
    fn names(&self) -> Option<CertificateNames> {
        self.state().contexts.names.clone()
    }

    fn check_names(&self, old: &Contexts, new: &Contexts) -> Result<(), TlsError> {
        match (&old.names, &new.names) {
            (Some(old), Some(new)) if self.keeps_names => old
                .check(new)
                .map_err(|source| TlsError::Succession { prefix: self.settings.prefix.clone(), source }),
            _ => Ok(()),
        }
    }

    /// The state, with what has changed on disk since the last look.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("nobody panics while reading stores");
        if !self.reloads || state.looked.elapsed() < LOOK_EVERY {
            return state;
        }
        state.looked = Instant::now();
        let now = stamps(&self.settings);
        if now == state.stamps {
            return state;
        }
        state.stamps = now;
        let loaded = Contexts::load(&self.settings);
        let loaded = loaded.and_then(|new| self.check_names(&state.contexts, &new).map(|()| new));
        match loaded {
            Ok(contexts) => {
                info!("{}*: certificate files have changed and were read again", self.settings.prefix);
                state.contexts = contexts;
            }
            Err(error) => warn!("Certificate files have changed, but cannot be used yet: {error}"),
        }
        state
    }
}

fn stamps(settings: &TlsSettings) -> Vec<(PathBuf, Stamp)> {
    let stores = settings.key_store.iter().chain(&settings.trust_store);
    let stamp = |path: &PathBuf| -> Stamp {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    stores.map(|store| (store.path.clone(), stamp(&store.path))).collect()
}

impl Contexts {
    fn load(settings: &TlsSettings) -> Result<Contexts, TlsError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: settings.suites.clone(),
            ..rustls::crypto::aws_lc_rs::default_provider()
        });
        let key = settings.key_store.as_ref().map(store::Store::key).transpose();
        let key = key.map_err(|source| TlsError::Store { key: settings.key_store_key.clone(), source })?;
        let trust = settings.trust_store.as_ref().map(store::Store::trust).transpose();
        let trust =
            trust.map_err(|source| TlsError::Store { key: settings.trust_store_key.clone(), source })?;
        let trust =
            trust.map(|certificates| verify::Trust::new(certificates, settings.revocation, provider.clone()));
        let trust = trust
            .transpose()
            .map_err(|source| TlsError::Store { key: settings.trust_store_key.clone(), source })?;
        Ok(Contexts {
            names: key.as_ref().and_then(|(chain, _)| succession::names_of(chain)),
            server: match &key {
                Some(key) => Some(Arc::new(server(settings, &provider, key, trust.as_ref())?)),
                None => None,
            },
            client: match &trust {
                Some(trust) => Some(Arc::new(client(settings, &provider, key.as_ref(), trust)?)),
                None => None,
            },
        })
    }
}

type Key = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    (chain, key): &Key,
    trust: Option<&verify::Trust>,
) -> Result<ServerConfig, TlsError> {
    let context = |source| TlsError::Context { prefix: settings.prefix.clone(), source };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&settings.versions)
        .map_err(context)?;
    let builder = match (settings.client_auth, trust) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(TlsError::NoTrust { key: settings.trust_store_key.clone() }),
        (asked, Some(trust)) => {
            let verifier = trust.for_clients(asked == ClientAuth::Need);
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let own = version_one::own(provider, chain, key)
        .map_err(|source| TlsError::Key { key: settings.key_store_key.clone(), source })?;
    let mut config = builder.with_cert_resolver(own);
    // Every connection shows its certificate, also after a trust store was changed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    key: Option<&Key>,
    trust: &verify::Trust,
) -> Result<ClientConfig, TlsError> {
    let context = |source| TlsError::Context { prefix: settings.prefix.clone(), source };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&settings.versions)
        .map_err(context)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust.for_servers()));
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_cert_resolver(
            version_one::own(provider, chain, key)
                .map_err(|source| TlsError::Key { key: settings.key_store_key.clone(), source })?,
        ),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn store(path: PathBuf, kind: Kind) -> Option<Store> {
        Some(Store { path, kind, password: "secret".into(), key_password: None, inline: None })
    }

    fn kept(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(name)
    }

    fn settings(key_store: Option<Store>, trust_store: Option<Store>) -> TlsSettings {
        TlsSettings {
            prefix: "ssl.".into(),
            key_store_key: "ssl.keystore.location".into(),
            trust_store_key: "ssl.truststore.location".into(),
            key_store,
            trust_store,
            versions: rustls::ALL_VERSIONS.to_vec(),
            suites: suites::suites(None).unwrap(),
            client_auth: ClientAuth::None,
            checks_server_host: true,
            checks_client_host: false,
            revocation: Revocation::default(),
            detect_within: Duration::from_secs(5),
        }
    }

    #[test]
    fn stores_that_change_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.p12");
        std::fs::copy(kept("server.p12"), &key).unwrap();
        let tls = Tls::for_server(settings(store(key.clone(), Kind::Java), None), true).unwrap();
        let look = |tls: &Tls| tls.state.lock().unwrap().looked = Instant::now() - LOOK_EVERY;
        let first = tls.server().unwrap();
        std::fs::write(&key, b"half written").unwrap();
        look(&tls);
        assert!(Arc::ptr_eq(&first, &tls.server().unwrap()));
        assert!(tls.reload().unwrap_err().to_string().starts_with("ssl.keystore.location: "));
        std::fs::copy(kept("elsewhere.p12"), &key).unwrap();
        look(&tls);
        assert!(!Arc::ptr_eq(&first, &tls.server().unwrap()));
    }

    #[test]
    fn a_store_may_stand_in_the_configuration_and_its_key_may_have_a_password_of_its_own() {
        let text = |name: &str| Some(std::fs::read_to_string(kept(name)).unwrap());
        let inline = |name: &str, key_password: Option<&str>| {
            Some(Store {
                path: "ssl.keystore.key".into(),
                kind: Kind::Pem,
                password: "another".into(),
                key_password: key_password.map(str::to_owned),
                inline: text(name),
            })
        };
        let trust = || inline("trust.pem", None);
        Tls::for_server(settings(inline("server-encrypted.pem", Some("secret")), trust()), true).unwrap();
        Tls::for_client(settings(None, trust()), true).unwrap();
        let wrong =
            Tls::for_server(settings(inline("server-encrypted.pem", None), trust()), true).unwrap_err();
        assert!(wrong.to_string().contains("ssl.keystore.key: cannot be opened"), "{wrong}");
        let (chain, key) = store(kept("server.p12"), Kind::Java).unwrap().key_as_pem().unwrap();
        let pem = |text: String| Some(Store { inline: Some(text), ..inline("trust.pem", None).unwrap() });
        let trusted = pem(store(kept("trust.p12"), Kind::Java).unwrap().trust_as_pem().unwrap());
        Tls::for_server(settings(pem(chain + &key), trusted), true).unwrap();
        // By 3DES as in PKCS#12, which is what Java's libraries write.
        let pkcs12 = || inline("server-encrypted-v1.pem", Some("secret"));
        let same = pkcs12().unwrap().key_as_pem().unwrap();
        assert_eq!(same, store(kept("server.p12"), Kind::Java).unwrap().key_as_pem().unwrap());
        Tls::for_server(settings(pkcs12(), trust()), true).unwrap();
        let wrong = inline("server-encrypted-v1.pem", None).unwrap().key_as_pem().unwrap_err().to_string();
        assert!(wrong.contains("wrong password"), "{wrong}");
        let none = Tls::for_server(settings(None, trust()), true).unwrap_err().to_string();
        assert!(none.starts_with("ssl.keystore.location is not set"), "{none}");
    }

    #[test]
    fn stores_take_the_place_of_others_where_names_stay_and_trust_goes_both_ways() {
        let tls = |key: &str, trust: &str| {
            let (key, trust) = (store(kept(key), Kind::Java), store(kept(trust), Kind::Java));
            Tls::for_server(settings(key, trust), false).unwrap()
        };
        let old = tls("server.p12", "trust.p12");
        assert_eq!(old.check_successor(&tls("server.jks", "trust.jks"), true), Ok(()));
        assert_eq!(old.check_self(), Ok(()));
        let other = old.check_successor(&tls("client.p12", "trust.p12"), false).unwrap_err();
        assert!(other.to_string().starts_with("Keystore DistinguishedName does not match"), "{other}");
        let none = Tls::for_server(settings(store(kept("server.p12"), Kind::Java), None), false).unwrap();
        assert_eq!(none.check_successor(&old, false), Err(SuccessionError::TrustAdded));
        assert_eq!(none.check_successor(&none, false), Ok(()));
        // Without a trust store, whom this machine trusts is believed: the issuer is not among them.
        assert!(matches!(none.check_self(), Err(SuccessionError::Distrusted(_))));
        assert!(matches!(none.check_successor(&none, true), Err(SuccessionError::Distrusted(_))));
        let distrusted = tls("stranger.p12", "trust.p12").check_self();
        assert!(matches!(distrusted, Err(SuccessionError::Distrusted(_))), "{distrusted:?}");
    }

    #[test]
    fn a_listener_does_not_take_a_certificate_of_another_name_when_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.p12");
        std::fs::copy(kept("server.p12"), &key).unwrap();
        let tls = Tls::for_listener(settings(store(key.clone(), Kind::Java), None)).unwrap();
        let first = tls.server().unwrap();
        std::fs::copy(kept("client.p12"), &key).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Succession { .. })));
        tls.state.lock().unwrap().looked = Instant::now() - LOOK_EVERY;
        assert!(Arc::ptr_eq(&first, &tls.server().unwrap()));
    }
}
