//! How a session proves to ZooKeeper who it is, and whose the nodes are that it makes: TLS by `zookeeper.ssl.*`, SASL by
//! the JAAS file of `KAFKA_OPTS`, `zookeeper.set.acl`.

use std::fmt;

use base::jaas::Jaas;
use tls::{ClientAuth, Kind, Revocation, Store, Tls, TlsSettings, jvm, suites};
use tokio_rustls::rustls::pki_types::ServerName;
use zookeeper_client::{Acl, Acls, Connector, Error, Permission, SaslOptions, TlsOptions};

/// The one socket of Java's client that speaks TLS.
const NETTY: &str = "org.apache.zookeeper.ClientCnxnSocketNetty";
const LOGIN_FILE: &str = "java.security.auth.login.config";
const SASL_ON: &str = "zookeeper.sasl.client";
const SECTION: &str = "zookeeper.sasl.clientconfig";
const SET_ACL: &str = "zookeeper.set.acl";
const ENABLE: &str = "zookeeper.ssl.client.enable";
const SOCKET: &str = "zookeeper.clientCnxnSocket";
const KEY_STORE: &str = "zookeeper.ssl.keystore.location";
const TRUST_STORE: &str = "zookeeper.ssl.truststore.location";
const ALGORITHM: &str = "zookeeper.ssl.endpoint.identification.algorithm";

/// Kafka's keys, and the properties of a JVM that stand for them where a file does not have them.
pub const KEYS: [(&str, &str); 14] = [
    (ENABLE, "zookeeper.client.secure"),
    (SOCKET, SOCKET),
    (KEY_STORE, "zookeeper.ssl.keyStore.location"),
    ("zookeeper.ssl.keystore.password", "zookeeper.ssl.keyStore.password"),
    ("zookeeper.ssl.keystore.type", "zookeeper.ssl.keyStore.type"),
    (TRUST_STORE, "zookeeper.ssl.trustStore.location"),
    ("zookeeper.ssl.truststore.password", "zookeeper.ssl.trustStore.password"),
    ("zookeeper.ssl.truststore.type", "zookeeper.ssl.trustStore.type"),
    ("zookeeper.ssl.protocol", "zookeeper.ssl.protocol"),
    ("zookeeper.ssl.enabled.protocols", "zookeeper.ssl.enabledProtocols"),
    ("zookeeper.ssl.cipher.suites", "zookeeper.ssl.ciphersuites"),
    (ALGORITHM, "zookeeper.ssl.hostnameVerification"),
    ("zookeeper.ssl.crl.enable", "zookeeper.ssl.crl"),
    ("zookeeper.ssl.ocsp.enable", "zookeeper.ssl.ocsp"),
];

/// Why a session cannot be had as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZkSecurityError {
    #[error("{key}: {why}")]
    Key { key: String, why: String },
    /// Java's words.
    #[error(
        "zookeeper.set.acl is true, but ZooKeeper client TLS configuration identifying at least zookeeper.ssl.client.enable, \
         zookeeper.clientCnxnSocket, and zookeeper.ssl.keystore.location was not present and the verification of the JAAS \
         login file failed {jaas}"
    )]
    Nobody { jaas: String },
}

fn wrong(key: &str, why: impl Into<String>) -> ZkSecurityError {
    ZkSecurityError::Key { key: key.into(), why: why.into() }
}

/// The properties `-DKEY=VALUE` of a JVM.
#[derive(Debug, Clone, Default)]
pub struct JvmFlags(Vec<(String, String)>);

impl JvmFlags {
    /// Those of `KAFKA_OPTS`, which Java's scripts hand on.
    pub fn of_environment() -> JvmFlags {
        JvmFlags::parse(&std::env::var("KAFKA_OPTS").unwrap_or_default())
    }

    pub fn parse(flags: &str) -> JvmFlags {
        let words = flags.split_whitespace().map(|word| word.trim_matches('"'));
        let property = |word: &str| {
            let word = word.strip_prefix("-D")?;
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            Some((key.to_owned(), value.to_owned()))
        };
        JvmFlags(words.filter_map(property).collect())
    }

    /// The last one counts, as for the JVM.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// What Java's errors say of the login.
    fn login_state(&self) -> String {
        let file = self.get(LOGIN_FILE).unwrap_or("null");
        let on = self.get(SASL_ON).unwrap_or("default:true");
        let section = self.get(SECTION).unwrap_or("default:Client");
        format!("[{LOGIN_FILE}={file}, {SASL_ON}={on}, {SECTION}={section}]")
    }

    /// As whom a session proves by SASL that it is; `None`: by SASL it proves nothing.
    fn login(&self) -> Result<Option<(String, String)>, ZkSecurityError> {
        let Some(named) = self.get(LOGIN_FILE).filter(|named| !named.is_empty()) else { return Ok(None) };
        let section = self.get(SECTION).unwrap_or("Client");
        let jaas = Jaas::read(named).map_err(|error| {
            let state = self.login_state();
            wrong(
                LOGIN_FILE,
                format!("Exception while loading Zookeeper JAAS login context {state}: {error}"),
            )
        })?;
        if !jaas.has(section) {
            return Ok(None);
        }
        if self.get(SASL_ON).is_some_and(|on| !on.eq_ignore_ascii_case("true")) {
            let state = self.login_state();
            return Err(wrong(
                SASL_ON,
                format!("Exception while determining if ZooKeeper is secure {state}"),
            ));
        }
        let at =
            |why: String| wrong(LOGIN_FILE, format!("{}: section `{section}`: {why}", jaas.path.display()));
        let modules = jaas.modules(section).map_err(|error| wrong(LOGIN_FILE, error.to_string()))?;
        for module in modules {
            module.for_digest().map_err(|why| at(format!("{}: {why}", module.class)))?;
        }
        let option = |name: &str| modules.iter().find_map(|module| module.options.get(name)).cloned();
        match (option("username"), option("password")) {
            (Some(name), Some(password)) => Ok(Some((name, password))),
            _ => Err(at("username and password are needed".to_owned())),
        }
    }
}

/// How sessions are made. Stores are read again for each new session.
#[derive(Clone, Default)]
pub struct ZkSecurity {
    tls: Option<TlsSettings>,
    login: Option<(String, String)>,
    sets_acls: bool,
}

/// Without names and passwords.
impl fmt::Debug for ZkSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ZkSecurity { tls, login, sets_acls } = self;
        write!(f, "ZkSecurity(tls: {}, sasl: {}, acls: {sets_acls})", tls.is_some(), login.is_some())
    }
}

impl ZkSecurity {
    /// Reads Kafka's keys by `lookup`, and the JVM's properties where that has none. No store is opened yet; but for
    /// [`ZkSecurity::check`], that is the first session's.
    pub fn read(
        lookup: &dyn Fn(&str) -> Option<String>,
        flags: &JvmFlags,
    ) -> Result<ZkSecurity, ZkSecurityError> {
        let get = |key: &str| {
            let given = lookup(key).or_else(|| of_flags(key, flags));
            // Given and empty counts, where hosts are not to be checked.
            given.map(|value| value.trim().to_owned()).filter(|value| key == ALGORITHM || !value.is_empty())
        };
        let on = |key: &str| get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let security = ZkSecurity {
            tls: if on(ENABLE) { Some(tls_settings(&get, flags)?) } else { None },
            login: flags.login()?,
            sets_acls: on(SET_ACL),
        };
        match security.sets_acls && !security.is_somebody() {
            true => Err(ZkSecurityError::Nobody { jaas: flags.login_state() }),
            false => Ok(security),
        }
    }

    /// Whether ZooKeeper is shown who this is: by a login, or by a certificate.
    pub fn is_somebody(&self) -> bool {
        self.login.is_some() || self.shows_certificate()
    }

    /// Whether ZooKeeper is shown a login.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// Whether ZooKeeper is shown a certificate.
    pub fn shows_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.key_store.is_some())
    }

    /// The same with or without ACLs on what it makes.
    pub fn with_acls(self, sets_acls: bool) -> ZkSecurity {
        ZkSecurity { sets_acls, ..self }
    }

    /// Whether the nodes that are made belong to their maker.
    pub fn sets_acls(&self) -> bool {
        self.sets_acls
    }

    /// Whether this may be in one process with another: the library's versions and suites are the process's.
    pub fn check_beside(&self, other: &ZkSecurity) -> Result<(), ZkSecurityError> {
        let spoken = |tls: &TlsSettings| (tls.versions.clone(), tls.suites.clone());
        match (&self.tls, &other.tls) {
            (Some(one), Some(another)) if spoken(one) != spoken(another) => {
                let why = "one broker speaks the same TLS versions and suites to every ZooKeeper";
                Err(wrong("authorizer.zookeeper.ssl.protocol", why))
            }
            _ => Ok(()),
        }
    }

    /// Opens the stores, so that a mistake in them shows before anything is asked of ZooKeeper.
    pub fn check(&self, connect: &str) -> Result<(), ZkSecurityError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        for server in connect.split('/').next().unwrap_or_default().split(',') {
            let server = server.trim();
            let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
            if ServerName::try_from(host.trim_matches(['[', ']'])).is_err() {
                return Err(wrong("zookeeper.connect", format!("`{host}` can be in no certificate")));
            }
        }
        options(tls).map(drop)
    }

    /// A connector with all of this, and whether it is to be asked for TLS.
    pub(super) fn onto(&self, mut connector: Connector) -> Result<(Connector, bool), ZkSecurityError> {
        if let Some(tls) = &self.tls {
            connector = connector.with_tls(options(tls)?);
        }
        if let Some((name, password)) = &self.login {
            connector = connector.with_sasl(SaslOptions::digest_md5(name.clone(), password.clone()));
        }
        Ok((connector, self.tls.is_some()))
    }

    /// For a connection without that library.
    pub(super) fn tls(&self) -> Result<Option<Tls>, ZkSecurityError> {
        let tls = self.tls.clone().map(|settings| Tls::for_client(settings, false)).transpose();
        tls.map_err(|error| wrong(TRUST_STORE, error.to_string()))
    }
}

/// A JVM's property, as Kafka's key would say it.
fn of_flags(key: &str, flags: &JvmFlags) -> Option<String> {
    let (_, property) = KEYS.iter().find(|(known, _)| *known == key)?;
    let value = flags.get(property)?.to_owned();
    match key {
        ALGORITHM if value.eq_ignore_ascii_case("true") => Some("HTTPS".to_owned()),
        ALGORITHM => Some(String::new()),
        _ => Some(value),
    }
}

type Get<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn tls_settings(get: &Get<'_>, flags: &JvmFlags) -> Result<TlsSettings, ZkSecurityError> {
    if get(SOCKET).as_deref() != Some(NETTY) {
        return Err(wrong(SOCKET, format!("TLS to ZooKeeper needs {SOCKET}={NETTY}, as Java's client does")));
    }
    for key in ["zookeeper.ssl.crl.enable", "zookeeper.ssl.ocsp.enable"] {
        if get(key).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(wrong(
                key,
                "revocation of ZooKeeper's certificates is not looked up here; remove it",
            ));
        }
    }
    const SUITES: &str = "zookeeper.ssl.cipher.suites";
    const PROTOCOLS: &str = "zookeeper.ssl.enabled.protocols";
    let suites = suites::suites(get(SUITES).as_deref()).map_err(|error| wrong(SUITES, error.to_string()))?;
    let protocol = get("zookeeper.ssl.protocol").unwrap_or_else(|| "TLSv1.2".to_owned());
    let versions = suites::versions(get(PROTOCOLS).as_deref(), &protocol, false, &suites)
        .map_err(|error| wrong(PROTOCOLS, error.to_string()))?;
    let algorithm = get(ALGORITHM).unwrap_or_else(|| "HTTPS".to_owned());
    let (trust_store_key, trust_store) = match store(get, "zookeeper.ssl.truststore.")? {
        Some(store) => (TRUST_STORE, store),
        None => {
            let named = jvm::default_trust(|key| flags.get(key));
            let named = named.map_err(|error| wrong(jvm::TRUST_STORE, error.to_string()))?;
            (jvm::TRUST_STORE, named.unwrap_or_else(Store::system))
        }
    };
    Ok(TlsSettings {
        prefix: "zookeeper.ssl.".into(),
        key_store_key: KEY_STORE.into(),
        trust_store_key: trust_store_key.into(),
        key_store: store(get, "zookeeper.ssl.keystore.")?,
        trust_store: Some(trust_store),
        versions,
        suites,
        client_auth: ClientAuth::None,
        // Anything else but https switches it off, as in Java.
        checks_server_host: algorithm.eq_ignore_ascii_case("https"),
        checks_client_host: false,
        revocation: Revocation::default(),
        detect_within: std::time::Duration::from_secs(5),
    })
}

fn store(get: &Get<'_>, prefix: &str) -> Result<Option<Store>, ZkSecurityError> {
    let key = |rest: &str| format!("{prefix}{rest}");
    let Some(path) = get(&key("location")).map(std::path::PathBuf::from) else { return Ok(None) };
    let kind = match get(&key("type")) {
        Some(named) => Kind::named(&named).map_err(|error| wrong(&key("type"), error.to_string()))?,
        None => Kind::of_file(&path).map_err(|error| wrong(&key("location"), error.to_string()))?,
    };
    let password = get(&key("password")).unwrap_or_default();
    Ok(Some(Store { path, kind, password, key_password: None, inline: None }))
}

/// The session's library takes PEM, and its versions and suites from the process.
fn options(tls: &TlsSettings) -> Result<TlsOptions, ZkSecurityError> {
    let library = |key: &str, error: Error| wrong(key, error.to_string());
    suites::install_for_others(&tls.versions, &tls.suites);
    let mut options = TlsOptions::new();
    if let Some(store) = &tls.trust_store {
        let key = &tls.trust_store_key;
        let trusted = store.trust_as_pem().map_err(|error| wrong(key, error.to_string()))?;
        options = options.with_pem_ca(&trusted).map_err(|error| library(key, error))?;
    }
    if let Some(store) = &tls.key_store {
        let (chain, key) = store.key_as_pem().map_err(|error| wrong(KEY_STORE, error.to_string()))?;
        options = options.with_pem_identity(&chain, &key).map_err(|error| library(KEY_STORE, error))?;
    }
    if !tls.checks_server_host {
        // Marked as unsafe for what it means, not for memory.
        #[allow(unsafe_code)]
        let unchecked = unsafe { options.with_no_hostname_verification() };
        options = unchecked;
    }
    Ok(options)
}

static OWNERS: [Acl; 2] =
    [Acl::new_const(Permission::ALL, "auth", ""), Acl::new_const(Permission::READ, "world", "anyone")];

/// What is nobody's business but the brokers': credentials, passwords, tokens.
const SENSITIVE: [&str; 3] = ["/config/users", "/config/brokers", "/delegation_token/tokens"];
/// Old consumers, whoever they are, write below it.
const OLD_CONSUMERS: &str = "/consumers";

/// Every path at which Kafka keeps something, in the order in which its migration goes through them.
pub const SECURE_ROOTS: [&str; 17] = [
    "/admin",
    "/brokers",
    "/cluster",
    "/config",
    "/controller",
    "/controller_epoch",
    "/isr_change_notification",
    "/latest_producer_id_block",
    "/log_dir_event_notification",
    "/delegation_token",
    "/kafka-acl-extended",
    "/migration",
    "/feature",
    "/kafka-acl",
    "/kafka-acl-changes",
    "/kafka-acl-extended/prefixed",
    "/kafka-acl-extended-changes",
];

/// Kafka's ACLs for a node, below the chroot: its maker's, and readable but for what is sensitive; or everybody's.
pub fn acls_of(sets_acls: bool, path: &str) -> Acls<'static> {
    if !sets_acls || path == OLD_CONSUMERS {
        return Acls::anyone_all();
    }
    let readable = !SENSITIVE.iter().any(|root| path.starts_with(root));
    Acls::new(if readable { &OWNERS } else { &OWNERS[..1] })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)], flags: &str) -> Result<ZkSecurity, String> {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        ZkSecurity::read(&|key| map.get(key).map(|value| (*value).to_owned()), &JvmFlags::parse(flags))
            .map_err(|error| error.to_string())
    }

    fn kept(name: &str) -> String {
        format!("{}/../tls/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn tls_is_read_from_kafkas_keys_or_the_jvms_and_opens_its_stores() {
        let (trust, key) = (kept("trust.jks"), kept("client.p12"));
        let all = [
            (ENABLE, "true"),
            (SOCKET, NETTY),
            (TRUST_STORE, &*trust),
            ("zookeeper.ssl.truststore.password", "secret"),
            (KEY_STORE, &*key),
            ("zookeeper.ssl.keystore.password", "secret"),
            (SET_ACL, "true"),
        ];
        let security = read(&all, "").unwrap();
        assert!(security.sets_acls() && security.shows_certificate());
        assert!(!format!("{security:?}").contains("secret"));
        security.check("localhost:2181,[::1]:2181/test").unwrap();
        assert!(security.check("a b:2181").unwrap_err().to_string().contains("can be in no certificate"));
        let flags = format!(
            "-Xmx1g -Dzookeeper.client.secure=true -Dzookeeper.clientCnxnSocket={NETTY} \
             -Dzookeeper.ssl.trustStore.location={trust} -Dzookeeper.ssl.trustStore.password=wrong \
             -Dzookeeper.ssl.hostnameVerification=false"
        );
        let security = read(&all[3..4], &flags).unwrap();
        assert!(!security.is_somebody() && !security.tls.as_ref().unwrap().checks_server_host);
        security.check("localhost").unwrap();
        let wrong = read(&[], &flags).unwrap().check("localhost").unwrap_err().to_string();
        assert!(
            wrong.starts_with("zookeeper.ssl.truststore.location: ") && wrong.contains("wrong password"),
            "{wrong}"
        );
    }

    #[test]
    fn without_a_trust_store_the_jvms_counts_and_then_the_machines() {
        let trust = kept("trust.jks");
        let of_jvm = |password: &str| {
            let flags =
                format!("-Djavax.net.ssl.trustStore={trust} -Djavax.net.ssl.trustStorePassword={password}");
            read(&[(ENABLE, "true"), (SOCKET, NETTY)], &flags).unwrap().check("localhost")
        };
        of_jvm("secret").unwrap();
        let wrong = of_jvm("wrong").unwrap_err().to_string();
        assert!(
            wrong.starts_with("javax.net.ssl.trustStore: ") && wrong.contains("wrong password"),
            "{wrong}"
        );
        read(&[(ENABLE, "true"), (SOCKET, NETTY)], "").unwrap().check("localhost").unwrap();
    }

    #[test]
    fn what_would_be_less_safe_than_it_reads_is_refused_by_name() {
        for (pairs, expected) in [
            (&[(ENABLE, "true")][..], "zookeeper.clientCnxnSocket: TLS to ZooKeeper needs"),
            (
                &[(ENABLE, "true"), (SOCKET, NETTY), ("zookeeper.ssl.ocsp.enable", "true")],
                "zookeeper.ssl.ocsp.enable: revocation",
            ),
            (
                &[(ENABLE, "true"), (SOCKET, NETTY), ("zookeeper.ssl.protocol", "TLSv1.1")],
                "zookeeper.ssl.enabled.protocols: `TLSv1.1`",
            ),
            (
                &[(SET_ACL, "true")],
                "zookeeper.set.acl is true, but ZooKeeper client TLS configuration identifying at least",
            ),
        ] {
            let error = read(pairs, "").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_login_stands_in_the_section_client_of_the_jaas_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"
            Client { org.apache.zookeeper.server.auth.DigestLoginModule required username="kafka" password="hidden"; };
            Plain { org.apache.kafka.common.security.plain.PlainLoginModule required username=test password="testtest"
                user_test="testtest"; };
            Kerberos { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true; };
        "#;
        std::fs::write(file.path(), text).unwrap();
        let flags = format!("-D{LOGIN_FILE}={}", file.path().display());
        let security = read(&[(SET_ACL, "true")], &flags).unwrap();
        assert!(security.is_somebody() && security.tls.is_none());
        assert!(!format!("{security:?}").contains("hidden"));
        let nobody = read(&[], &format!("{flags} -D{SECTION}=Other")).unwrap();
        assert!(!nobody.is_somebody());
        let plain = read(&[], &format!("{flags} -D{SECTION}=Plain")).unwrap();
        assert_eq!(plain.login, Some(("test".into(), "testtest".into())));
        let kerberos = read(&[], &format!("{flags} -D{SECTION}=Kerberos")).unwrap_err();
        assert!(kerberos.contains("GSSAPI (Kerberos) is not supported"), "{kerberos}");
        let off = read(&[], &format!("{flags} -D{SASL_ON}=false")).unwrap_err();
        assert!(off.contains("zookeeper.sasl.client=false"), "{off}");
        assert!(read(&[], &format!("-D{LOGIN_FILE}=/no/such/file")).unwrap_err().contains("/no/such/file"));
    }

    #[test]
    fn nodes_are_their_makers_and_all_but_secrets_can_be_read() {
        let shown = |sets: bool, path: &str| {
            let acls = acls_of(sets, path);
            acls.iter()
                .map(|acl| format!("{}:{:?}", acl.scheme(), acl.permission()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown(true, "/brokers/ids/1"), shown(true, "/delegation_token"));
        assert!(
            shown(true, "/brokers/ids/1").starts_with("auth:") && shown(true, "/brokers").contains("world:")
        );
        for path in ["/config/users", "/config/users/a", "/config/brokers/1", "/delegation_token/tokens/x"] {
            assert!(!shown(true, path).contains("world:"), "{path}");
        }
        assert_eq!(shown(true, "/consumers"), shown(false, "/brokers"));
    }
}
