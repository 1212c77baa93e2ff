//! How connections are secured: `security.protocol`, TLS by `ssl.*`, logins by `sasl.*`. Clients have one [`Security`];
//! brokers make theirs for the listener among themselves.

mod handshake;
pub mod oauth;
pub mod scram;
pub mod ssl;

use self::oauth::BearerLogin;
use ::tls::{Tls, TlsError, matches_host};
use base::jaas::{Jaas, JaasError, Module};
use rustls::pki_types::ServerName;
use scram::Hash;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wire::Str;

pub use handshake::AuthenticationError;
pub(crate) use handshake::{Talk, authenticate};

/// Values of keys, as they are given.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
pub const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
pub const OAUTH_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
pub const OAUTHBEARER: &str = "OAUTHBEARER";

/// Why connections cannot be secured as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("{key}: {why}")]
    Key { key: String, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Jaas(#[from] JaasError),
}

pub(crate) fn wrong(key: impl Into<String>, why: impl Into<String>) -> SecurityError {
    SecurityError::Key { key: key.into(), why: why.into() }
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    pub const ALL: [Protocol; 4] =
        [Protocol::Plaintext, Protocol::Ssl, Protocol::SaslPlaintext, Protocol::SaslSsl];

    /// By its name, in whatever case.
    pub fn named(name: &str) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Its number on the wire.
    pub fn number(self) -> i16 {
        self as i16
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    pub fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// As whom a client comes.
#[derive(Clone)]
pub enum Login {
    Plain {
        name: String,
        password: String,
    },
    /// `token`: the name is a delegation token's.
    Scram {
        hash: Hash,
        name: String,
        password: String,
        token: bool,
    },
    Bearer(Arc<BearerLogin>),
}

/// Without passwords.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.mechanism())
    }
}

impl Login {
    pub fn mechanism(&self) -> &'static str {
        match self {
            Login::Plain { .. } => "PLAIN",
            Login::Scram { hash, .. } => hash.mechanism(),
            Login::Bearer(_) => OAUTHBEARER,
        }
    }

    /// By a mechanism and the login module that belongs to it, and by the keys `sasl.*`; `key` stands in errors.
    pub fn read(
        key: &str,
        mechanism: &str,
        module: &Module,
        lookup: &Lookup<'_>,
    ) -> Result<Login, SecurityError> {
        let expected = class_of(mechanism).ok_or_else(|| unknown_mechanism(key, mechanism))?;
        if module.class != expected {
            let why = format!("{mechanism} needs {expected}, and not {}", module.class);
            return Err(wrong(key, why));
        }
        let option = |name: &str| {
            let missing = || wrong(key, format!("{} has no option {name}", module.class));
            module.options.get(name).cloned().ok_or_else(missing)
        };
        match Hash::of_mechanism(mechanism) {
            Some(hash) => {
                let token = module.options.get("tokenauth").is_some_and(|on| on.eq_ignore_ascii_case("true"));
                Ok(Login::Scram { hash, name: option("username")?, password: option("password")?, token })
            }
            None if mechanism == OAUTHBEARER => {
                Ok(Login::Bearer(Arc::new(BearerLogin::read(key, module, lookup)?)))
            }
            None => Ok(Login::Plain { name: option("username")?, password: option("password")? }),
        }
    }
}

/// The login module of a mechanism that is there.
pub fn class_of(mechanism: &str) -> Option<&'static str> {
    match mechanism {
        "PLAIN" => Some(PLAIN_MODULE),
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => Some(SCRAM_MODULE),
        OAUTHBEARER => Some(OAUTH_MODULE),
        _ => None,
    }
}

/// The refusal of a mechanism that is not there.
pub fn unknown_mechanism(key: &str, mechanism: &str) -> SecurityError {
    let why = match mechanism {
        "GSSAPI" => {
            "GSSAPI (Kerberos) is not supported: name PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
                .to_owned()
        }
        other => {
            format!(
                "the SASL mechanism `{other}` is not supported: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER are"
            )
        }
    };
    wrong(key, why)
}

/// The JAAS file that `-Djava.security.auth.login.config` in these flags of a JVM names, if it does.
pub fn jaas_of_flags(flags: &str) -> Result<Option<Jaas>, SecurityError> {
    const FLAG: &str = "-Djava.security.auth.login.config=";
    // The last one counts, as for the JVM.
    let named = flags.split_whitespace().rev().find_map(|flag| flag.trim_matches('"').strip_prefix(FLAG));
    Ok(named.map(Jaas::read).transpose()?)
}

/// The JAAS file that `KAFKA_OPTS` names, as Java's scripts hand it on.
pub fn jaas_of_environment() -> Result<Option<Jaas>, SecurityError> {
    jaas_of_flags(&std::env::var("KAFKA_OPTS").unwrap_or_default())
}

/// The module of `class` among a section's.
pub fn module_of<'a>(jaas: &'a Jaas, section: &str, class: &str) -> Result<&'a Module, SecurityError> {
    let modules = jaas.modules(section)?;
    modules.iter().find(|module| module.class == class).ok_or_else(|| {
        wrong(jaas.path.display().to_string(), format!("section `{section}` has no module {class}"))
    })
}

/// How the connections of one client are secured; by default not at all.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub protocol: Protocol,
    tls: Option<Arc<Tls>>,
    login: Option<Login>,
}

/// A connection's bytes, whatever carries them.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is ready for requests.
pub struct Secured {
    pub stream: Box<dyn Stream>,
    /// After this the broker wants to see the login again.
    pub lifetime: Option<Duration>,
}

impl Security {
    /// What a client's own keys say: `security.protocol`, `ssl.*`, `sasl.mechanism`, `sasl.jaas.config`. Stores are read.
    pub fn of_client(lookup: &Lookup<'_>) -> Result<Security, SecurityError> {
        const KEY: &str = "security.protocol";
        let named = lookup(KEY).unwrap_or_else(|| "PLAINTEXT".to_owned());
        let protocol = Protocol::named(named.trim()).ok_or_else(|| {
            let names = Protocol::ALL.map(Protocol::name).join(", ");
            wrong(
                KEY,
                format!("Invalid value {named} for configuration {KEY}: String must be one of: {names}"),
            )
        })?;
        let login = match protocol.is_sasl() {
            true => Some(client_login(lookup)?),
            false => None,
        };
        Security::new(protocol, "", lookup, login)
    }

    /// With a login that is known; `prefix` stands before the keys `ssl.*` in errors.
    pub fn new(
        protocol: Protocol,
        prefix: &str,
        lookup: &Lookup<'_>,
        login: Option<Login>,
    ) -> Result<Security, SecurityError> {
        let tls = match protocol.is_tls() {
            true => Some(Arc::new(Tls::for_client(ssl::settings(prefix, lookup)?, true)?)),
            false => None,
        };
        Ok(Security { protocol, tls, login })
    }

    /// Shakes hands on a connection to `address` (`host:port`) as far as the protocol asks for it.
    pub async fn secure(
        &self,
        stream: TcpStream,
        address: &str,
        client_id: &Str,
    ) -> Result<Secured, AuthenticationError> {
        let mut stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => Box::new(shake_hands(tls, stream, address).await?),
            None => Box::new(stream),
        };
        let lifetime = match &self.login {
            Some(login) => handshake::first_login(&mut stream, login, client_id).await?,
            None => None,
        };
        Ok(Secured { stream, lifetime })
    }
}

impl Security {
    /// As whom; `None`: nobody logs in here.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Gets what a login needs from elsewhere, so that a mistake shows before anybody is connected to.
    pub async fn prepare(&self) -> Result<(), SecurityError> {
        match &self.login {
            Some(Login::Bearer(bearer)) => match bearer.token().await {
                Ok(_) => Ok(()),
                Err(error) => Err(wrong("sasl.jaas.config", error.to_string())),
            },
            _ => Ok(()),
        }
    }
}

fn client_login(lookup: &Lookup<'_>) -> Result<Login, SecurityError> {
    const KEY: &str = "sasl.jaas.config";
    let mechanism = lookup("sasl.mechanism").unwrap_or_else(|| "GSSAPI".to_owned());
    let mechanism = mechanism.trim();
    let class = class_of(mechanism).ok_or_else(|| unknown_mechanism("sasl.mechanism", mechanism))?;
    if let Some(text) = lookup(KEY) {
        return Login::read(KEY, mechanism, &Module::parse(KEY, &text)?, lookup);
    }
    let Some(jaas) = jaas_of_environment()? else {
        let why = "Could not find a 'KafkaClient' entry in the JAAS configuration. System property \
                   'java.security.auth.login.config' is not set: write sasl.jaas.config, or name a file in KAFKA_OPTS";
        return Err(wrong(KEY, why));
    };
    let module = module_of(&jaas, "KafkaClient", class)?;
    Login::read(&jaas.path.display().to_string(), mechanism, module, lookup)
}

/// Shakes hands by TLS on a connection to `address` (`host:port`), and looks whether the certificate names it.
pub async fn shake_hands(
    tls: &Tls,
    stream: TcpStream,
    address: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, AuthenticationError> {
    let refused = |why: String| AuthenticationError::Tls(why);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = match ServerName::try_from(host.to_owned()) {
        Ok(name) => name,
        Err(_) => ServerName::IpAddress(stream.peer_addr()?.ip().into()),
    };
    let config = tls.client().map_err(|error| refused(error.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(config);
    // A peer that hangs up, or is not there any more, is no refusal.
    let stream = connector.connect(name, stream).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => refused(error.to_string()),
        _ => AuthenticationError::Io(error),
    })?;
    if tls.settings.checks_server_host {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.ok_or_else(|| refused("the server shows no certificate".to_owned()))?;
        matches_host(certificate, &[host.to_owned()]).map_err(|error| refused(error.to_string()))?;
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn client(pairs: &[(&str, &str)]) -> Result<Security, String> {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        Security::of_client(&|key| map.get(key).map(|value| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_clients_keys_say_how_it_comes_and_passwords_are_not_shown() {
        assert_eq!(client(&[]).unwrap().protocol, Protocol::Plaintext);
        let jaas = format!("{SCRAM_MODULE} required username=\"a\" password=\"hidden\";");
        let all = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.jaas.config", &*jaas),
        ];
        let shown = format!("{:?}", client(&all).unwrap());
        assert!(shown.contains("SCRAM-SHA-512") && !shown.contains("hidden"), "{shown}");
        let plain = [all[0], ("sasl.mechanism", "PLAIN"), all[2]];
        assert!(client(&plain).unwrap_err().contains("PLAIN needs org.apache.kafka"));
    }

    #[test]
    fn what_cannot_work_is_told_by_name() {
        for (pairs, expected) in [
            (&[("security.protocol", "TLS")][..], "security.protocol: Invalid value TLS for configuration"),
            (&[("security.protocol", "SASL_SSL")], "sasl.mechanism: GSSAPI (Kerberos) is not supported"),
            (
                &[("security.protocol", "SSL"), ("ssl.truststore.location", "/no/where")],
                "ssl.truststore.location: cannot read /no/where",
            ),
            (
                &[
                    ("security.protocol", "SASL_PLAINTEXT"),
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.jaas.config", "x"),
                ],
                "sasl.jaas.config:1: expected",
            ),
        ] {
            let error = client(pairs).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_jvms_flag_names_the_jaas_file() {
        let file = std::env::temp_dir().join(format!("jaas-{}.conf", std::process::id()));
        let text = format!("KafkaClient {{ {PLAIN_MODULE} required username=a password=b; }};");
        std::fs::write(&file, text).unwrap();
        let jaas = jaas_of_flags(&format!("-Xmx1g -Djava.security.auth.login.config={}", file.display()));
        std::fs::remove_file(&file).unwrap();
        let jaas = jaas.unwrap().unwrap();
        assert!(module_of(&jaas, "KafkaClient", PLAIN_MODULE).is_ok());
        assert!(module_of(&jaas, "KafkaClient", SCRAM_MODULE).is_err());
        assert!(jaas_of_flags("-Xmx1g").unwrap().is_none());
    }
}
